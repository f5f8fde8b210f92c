/* golden.c - scenarios as text: lines that begin with "> " are commands, the rest is what the
 * cluster did.  Fixed delays, no chance.  Commands are listed in doc/golden.md. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "base/trace.h"

#define WORDS 8

static unsigned number(const char *word)
{
	return word ? (unsigned)strtoul(word, NULL, 10) : 0;
}

/* "n2" -> 1, "v1" -> 0 */
static unsigned thing(const char *word)
{
	unsigned k = word && word[0] ? number(word + 1) : 0;

	return k > 0 && k <= SIM_NODES ? k - 1 : 0;
}

/* "links": the networks, while the ports look good; "clients": network 0, whose port looks bad. */
static void cut(struct world *w, unsigned i, const char *what, bool on)
{
	bool all = strcmp(what, "all") == 0, net = all || strcmp(what, "net") == 0;
	bool clients = strcmp(what, "clients") == 0, links = strcmp(what, "links") == 0;

	for (unsigned p = 0; p < w->path_count; p++)
		for (unsigned k = 0; k < w->node_count; k++)
			if (net || links || (clients && p == 0))
				w->cut[p][i][k] = w->cut[p][k][i] = on;
	if (net || clients)
		sim_port(w, i, 0, on ? 0 : 2);
	if (!all && strcmp(what, "disk") != 0)
		return;
	w->node[i].cut_storage = on;
	for (unsigned d = 0; d < w->device_count; d++)
		w->node[i].cut_device[d] = on;
}

static void heal(struct world *w)
{
	for (unsigned i = 0; i < w->node_count; i++)
		cut(w, i, "all", false);
	memset(w->dead_device, 0, sizeof(w->dead_device));
}

static int command_verb(const char *name)
{
	static const struct {
		const char *name;
		enum control_verb verb;
	} verb[] = {{"move", CONTROL_VS_MOVE},      {"start-vs", CONTROL_VS_START},
		    {"takeover", CONTROL_TAKEOVER}, {"takeover-force", CONTROL_TAKEOVER},
		    {"giveback", CONTROL_GIVEBACK}, {"shutdown", CONTROL_SHUTDOWN},
		    {"inhibit", CONTROL_INHIBIT},
		    {"cancel", CONTROL_CANCEL},     {"reboot", CONTROL_REBOOT},
		    {"restart", CONTROL_RESTART}};

	for (unsigned i = 0; i < sizeof(verb) / sizeof(verb[0]); i++)
		if (strcmp(name, verb[i].name) == 0)
			return (int)verb[i].verb;
	return 0;
}

static void say_state(struct world *w)
{
	for (unsigned i = 0; i < w->node_count; i++) {
		const struct sim_node *s = &w->node[i];

		if (s->on)
			fprintf(w->out, "= n%u %s role=%s generation=%llu\n", i + 1,
				node_state_name(s->brain->state), status_role_name(s->brain->role),
				(unsigned long long)s->brain->generation);
		else
			fprintf(w->out, "= n%u off\n", i + 1);
	}
	for (unsigned v = 0; v < w->vs_count; v++) {
		int at = sim_server(w, v);

		if (at < 0)
			fprintf(w->out, "= v%u not served\n", v + 1);
		else
			fprintf(w->out, "= v%u served by n%d epoch=%llu\n", v + 1, at + 1,
				(unsigned long long)w->node[at].worker[v].epoch);
	}
}

static void say_phases(struct world *w, unsigned v)
{
	int at = sim_server(w, v);

	if (at < 0)
		return;
	fprintf(w->out, "= v%u phases in ms:", v + 1);
	for (unsigned p = 0; p < PHASE_COUNT; p++)
		fprintf(w->out, " %s=%llu.%llu", vs_phase_name(p),
			(unsigned long long)(w->node[at].brain->vs[v].phase_ns[p] / MS),
			(unsigned long long)(w->node[at].brain->vs[v].phase_ns[p] % MS / 100000));
	fprintf(w->out, "\n");
}

static void option(struct world *w, struct node_conf *c, const char *word)
{
	if (strcmp(word, "memory") == 0)
		c->memory = true;
	else if (strcmp(word, "standby-off") == 0)
		c->standby_off = true;
	else if (strcmp(word, "reboot-manual") == 0)
		c->reboot_manual = true;
	else if (strcmp(word, "assign-manual") == 0)
		c->vs[0].assign_manual = true;
	else if (strcmp(word, "giveback-auto") == 0)
		c->vs[0].giveback_auto = true;
	for (unsigned v = 0; v < w->vs_count && strcmp(word, "local") == 0; v++)
		w->unit[v].local = c->unit[v].fence_command = true;
}

static bool cluster(struct world *w, char **word)
{
	world_init(w, 1, number(word[1]), number(word[2]), number(word[3]));
	w->fixed = w->verbose = true;
	for (unsigned i = 4; i < WORDS && word[i]; i++)
		for (unsigned k = 0; k < w->node_count; k++)
			option(w, &w->node[k].conf, word[i]);
	return true;
}

/* inhibit self|mine|cluster|vs v1 [off] */
static bool inhibit(struct world *w, char **word)
{
	static const char *const scopes[] = {[INHIBIT_SELF] = "self", [INHIBIT_MINE] = "mine",
					     [INHIBIT_CLUSTER] = "cluster", [INHIBIT_VS] = "vs"};
	unsigned scope = INHIBIT_SELF;
	bool off = false;

	while (scope < INHIBIT_VS && (!word[2] || strcmp(word[2], scopes[scope]) != 0))
		scope++;
	for (unsigned i = 3; i < WORDS && word[i]; i++)
		off = off || strcmp(word[i], "off") == 0;
	sim_inhibit(w, thing(word[0]), (enum inhibit_scope)scope,
		    scope == INHIBIT_VS ? thing(word[3]) : 0, !off);
	return true;
}

static bool operator_command(struct world *w, char **word)
{
	int verb = word[1] ? command_verb(word[1]) : 0;
	bool is_vs = verb == CONTROL_VS_MOVE || verb == CONTROL_VS_START;
	const char *to = is_vs ? word[3] : word[2];

	if (!verb)
		return false;
	if (verb == CONTROL_INHIBIT)
		return inhibit(w, word);
	sim_control(w, thing(word[0]), (enum control_verb)verb, to ? thing(to) + 1 : 0,
		    is_vs ? thing(word[2]) : 0, strcmp(word[1], "takeover-force") == 0, true);
	return true;
}

static bool command(struct world *w, char **word)
{
	const char *c = word[0];

	if (strcmp(c, "cluster") == 0)
		return cluster(w, word);
	if (c[0] == 'n' && c[1] >= '1' && c[1] <= '8')
		return operator_command(w, word);
	if (strcmp(c, "run") == 0)
		world_run(w, w->now_ns + number(word[1]) * MS);
	else if (strcmp(c, "start") == 0)
		for (unsigned i = 1; i < WORDS && word[i]; i++)
			sim_start(w, thing(word[i]));
	else if (strcmp(c, "kill") == 0)
		sim_crash(w, thing(word[1]));
	else if (strcmp(c, "forget") == 0)
		sim_forget(w, thing(word[1]));
	else if (strcmp(c, "pause") == 0)
		sim_pause(w, thing(word[1]), word[2] != NULL);
	else if (strcmp(c, "resume") == 0)
		sim_resume(w, thing(word[1]));
	else if (strcmp(c, "cut") == 0 && word[1] && word[2])
		cut(w, thing(word[1]), word[2], true);
	else if (strcmp(c, "heal") == 0)
		heal(w);
	else if (strcmp(c, "lose-device") == 0)
		w->dead_device[number(word[1]) % SIM_DEV] = true;
	else if (strcmp(c, "kill-worker") == 0)
		sim_kill_worker(w, thing(word[1]));
	else if (strcmp(c, "damage") == 0)
		sim_damage(w, thing(word[1]), word[2] != NULL);
	else if (strcmp(c, "fail-mount") == 0)
		w->node[thing(word[1])].mount_fails = true;
	else if (strcmp(c, "hang-drain") == 0)
		w->node[thing(word[1])].drain_hangs = true;
	else if (strcmp(c, "fail-memory") == 0)
		w->node[thing(word[1])].memory_fails = !word[2];
	else if (strcmp(c, "lose-memory") == 0)
		w->node[thing(word[1])].has_persisted = false;
	else if (strcmp(c, "state") == 0)
		say_state(w);
	else if (strcmp(c, "phases") == 0)
		say_phases(w, thing(word[1]));
	else
		return false;
	return true;
}

static int run_line(struct world *w, char *line, unsigned number_of_line)
{
	char *word[WORDS] = {0}, *save = NULL;
	unsigned count = 0;

	for (char *t = strtok_r(line, " \n", &save); t && count < WORDS - 1;
	     t = strtok_r(NULL, " \n", &save))
		word[count++] = t;
	if (count == 0 || word[0][0] == '#')
		return 0;
	if (!command(w, word)) {
		fprintf(stderr, "line %u: unknown command '%s'\n", number_of_line, word[0]);
		return 2;
	}
	if (w->failure[0]) {
		fprintf(w->out, "! %s\n", w->failure);
		return 1;
	}
	return 0;
}

int golden_run(const char *path)
{
	static struct world w;
	FILE *f = fopen(path, "r");
	char line[256];
	unsigned at = 0;
	int st = 0;

	if (!f) {
		fprintf(stderr, "%s: cannot be opened\n", path);
		return 2;
	}
	while (st == 0 && fgets(line, sizeof(line), f)) {
		at++;
		if (strncmp(line, "> ", 2) != 0)
			continue;
		fputs(line, stdout);
		st = run_line(&w, line + 2, at);
	}
	fclose(f);
	world_free(&w);
	return st;
}
