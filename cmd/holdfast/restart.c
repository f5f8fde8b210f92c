/* restart.c - `holdfast restart NODE ...|--all`, and the second half of `config apply --rolling`: nodes
 * begin anew one after the other while the others serve.
 *
 * Before anything is done every node is asked whether it may (a dry run there), so that a walk does not
 * begin that could not end.  Then for each: it hands over what it has and begins anew (core/restart.c);
 * it is waited for until it is a member again, of a new boot generation, with the version that is
 * wanted, and until everything that was served is served.  The first that does not come back ends the
 * walk: the rest go on as they are.  Last, what was moved goes back to where it was.
 *
 * Nothing is kept outside the nodes: an interrupted walk is begun again, and `config apply --rolling`
 * leaves out who has the version already.  This node's daemon is one of those that begin anew, so its
 * socket may be silent for a moment. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"

#define NODES_MAX 8
#define LOOK_MS	  100
#define ASK_MS	  5000

struct member {
	char name[64];
	double generation, version;
	bool ready; /* at the beginning */
	unsigned serves;
	bool self;
};

struct walk {
	struct cli *c;
	double version; /* wanted; 0: none in particular */
	unsigned count;
	struct member node[NODES_MAX];
	json_t *before;		  /* the vservers at the beginning */
	json_t *report, *nodes, *back; /* borrowed: the last two are in the first */
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* For people; a machine gets one object at the end. */
static FILE *progress(const struct walk *w)
{
	return w->c->json ? stderr : stdout;
}

/* What this node sees now, or NULL while it is away itself. */
static json_t *look(const struct cli *c)
{
	char err[512];
	json_t *answer = ctl_call(c->socket, json_pack("{s:s}", "verb", "status"), ASK_MS, err,
				  sizeof(err)),
	       *result = json_incref(json_object_get(answer, "result"));

	json_decref(answer);
	return result;
}

/* ---- what is seen ---------------------------------------------------------------------------- */

static bool works(const json_t *o)
{
	const char *state = cli_string(o, "state");

	return (strcmp(state, "NORMAL") == 0 || strcmp(state, "TAKEOVER") == 0) &&
	       !json_is_true(json_object_get(o, "leaving"));
}

static void see_self(const json_t *status, struct member *m)
{
	snprintf(m->name, sizeof(m->name), "%s", cli_string(status, "node"));
	m->generation = cli_number(status, "generation");
	m->version = cli_number(json_object_get(status, "config"), "running");
	m->ready = works(status);
	m->self = true;
}

static void see_peer(const json_t *p, struct member *m)
{
	const char *verdict = cli_string(p, "verdict");

	snprintf(m->name, sizeof(m->name), "%s", cli_string(p, "name"));
	m->generation = cli_number(p, "generation");
	m->version = cli_number(p, "config_version");
	m->ready = works(p) &&
		   (strcmp(verdict, "alive") == 0 || strcmp(verdict, "unreachable") == 0);
}

static bool see(const json_t *status, const char *name, struct member *m)
{
	size_t i;
	json_t *p;

	memset(m, 0, sizeof(*m));
	see_self(status, m);
	if (strcmp(m->name, name) == 0)
		return true;
	json_array_foreach(json_object_get(status, "peers"), i, p) {
		memset(m, 0, sizeof(*m));
		see_peer(p, m);
		if (strcmp(m->name, name) == 0)
			return true;
	}
	return false;
}

static const json_t *vserver_of(const json_t *list, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v) if (strcmp(cli_string(v, "name"), name) == 0) return v;
	return NULL;
}

static bool is_served(const json_t *v)
{
	return v && strcmp(cli_string(json_object_get(v, "owner"), "says"), "SERVING") == 0;
}

/* NULL, or what of the beginning is not there again. */
static const char *missing(const struct walk *w, const json_t *status)
{
	const json_t *now = json_object_get(status, "vservers");
	struct member m;
	size_t i;
	json_t *v;

	for (unsigned k = 0; k < w->count; k++)
		if (w->node[k].ready && (!see(status, w->node[k].name, &m) || !m.ready))
			return w->node[k].name;
	json_array_foreach(w->before, i, v) {
		const json_t *same = vserver_of(now, cli_string(v, "name"));

		if (is_served(v) && same && !is_served(same))
			return cli_string(v, "name");
	}
	return NULL;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void count_served(struct walk *w)
{
	size_t i;
	json_t *v;

	json_array_foreach(w->before, i, v) for (unsigned k = 0; k < w->count; k++) if (
	    is_served(v) && strcmp(cli_string(v, "node"), w->node[k].name) == 0) w->node[k].serves++;
}

/* Who has least goes first, this node last of equals: as few moves as can be. */
static int by_service(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->serves != y->serves)
		return x->serves < y->serves ? -1 : 1;
	return x->self != y->self ? (x->self ? 1 : -1) : strcmp(x->name, y->name);
}

static int begin(struct walk *w, struct cli *c, double version)
{
	int status = CLI_OK;
	size_t i;
	json_t *p, *s = cli_ask(c, json_pack("{s:s}", "verb", "status"), &status);

	*w = (struct walk){.c = c, .version = version};
	if (!s)
		return status;
	see_self(s, &w->node[w->count++]);
	json_array_foreach(json_object_get(s, "peers"), i, p) if (w->count < NODES_MAX)
		see_peer(p, &w->node[w->count++]);
	w->before = json_incref(json_object_get(s, "vservers"));
	json_decref(s);
	count_served(w);
	qsort(w->node, w->count, sizeof(w->node[0]), by_service);
	w->nodes = json_array();
	w->back = json_array();
	w->report = json_pack("{s:o, s:o, s:b}", "nodes", w->nodes, "moved_back", w->back, "dry_run",
			      c->dry_run);
	return CLI_OK;
}

static int end(struct walk *w, int status, const char *text)
{
	if (w->c->json) {
		json_object_set_new(w->report, "done", json_boolean(status == CLI_OK));
		json_object_set_new(w->report, "text", json_string(text));
		json_dumpf(w->report, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		fprintf(status == CLI_OK ? stdout : stderr, "%s%s\n",
			status == CLI_OK ? "" : "holdfast: ", text);
	}
	json_decref(w->report);
	json_decref(w->before);
	return status;
}

/* Who of them it is about: named, or all that are there and lack the version. */
static bool concerns(const struct walk *w, const struct member *m, char **names)
{
	if (!names)
		return m->ready && (!w->version || m->version < w->version);
	for (; *names; names++)
		if (strcmp(*names, m->name) == 0)
			return true;
	return false;
}

/* A refusal is told to people; a machine gets one object, at the end. */
static int ask(struct walk *w, json_t *request)
{
	bool json = w->c->json;
	int status = CLI_OK;

	w->c->json = false;
	json_decref(cli_ask(w->c, request, &status));
	w->c->json = json;
	return status;
}

static int ask_restart(struct walk *w, const struct member *m)
{
	return ask(w, json_pack("{s:s, s:s}", "verb", "restart", "node", m->name));
}

/* Asks each whether it may; what it says against it was shown. */
static int may_all(struct walk *w, char **names)
{
	bool dry_run = w->c->dry_run;
	int status = CLI_OK;

	w->c->dry_run = true;
	for (unsigned k = 0; k < w->count && status == CLI_OK; k++)
		if (concerns(w, &w->node[k], names))
			status = ask_restart(w, &w->node[k]);
	w->c->dry_run = dry_run;
	return status;
}

/* ---- one node -------------------------------------------------------------------------------- */

/* It stays as it was: what it was to let go of could not be let go of. */
static bool gave_up(const struct member *was, const struct member *is, bool *left)
{
	*left = *left || !is->ready;
	return *left && is->ready && is->generation <= was->generation;
}

static bool wait_back(struct walk *w, const struct member *was, struct member *is, char *why,
		      size_t size)
{
	double until = now_ms() + w->c->timeout_ms;
	const char *lacks = was->name;
	bool left = false, stays = false;
	char what[64] = "it";
	json_t *s;

	while (now_ms() < until && !stays) {
		pause_ms(LOOK_MS);
		s = look(w->c);
		if (!s)
			continue;
		lacks = missing(w, s);
		stays = !see(s, was->name, is) || gave_up(was, is, &left);
		if (!lacks && !stays && is->generation > was->generation) {
			json_decref(s);
			return true;
		}
		if (!lacks)
			lacks = was->name;
		snprintf(what, sizeof(what), "%s", lacks);
		json_decref(s);
	}
	if (stays)
		snprintf(why, size, "%s could not let go of everything and goes on as it was: see its "
			 "log", was->name);
	else
		snprintf(why, size, "after %s began anew something is missing (%s): see its log and holdfast "
			 "status; the other nodes go on as they are", was->name, what);
	return false;
}

static int restart_one(struct walk *w, const struct member *m, unsigned at, unsigned of, char *why,
		       size_t size)
{
	double begun = now_ms();
	struct member is = *m;
	int status;

	fprintf(progress(w), "%s: begins anew (%u of %u)%s\n", m->name, at, of,
		m->serves ? ", hands over first" : "");
	fflush(progress(w));
	status = ask_restart(w, m);
	snprintf(why, size, "%s refused; the nodes behind it go on as they are", m->name);
	if (status)
		return status;
	if (!wait_back(w, m, &is, why, size))
		return CLI_FAILED;
	json_array_append_new(w->nodes,
			      json_pack("{s:s, s:f, s:I, s:I, s:I}", "node", m->name, "ms",
					now_ms() - begun, "from_generation",
					(json_int_t)m->generation, "generation",
					(json_int_t)is.generation, "version", (json_int_t)is.version));
	if (w->version && is.version < w->version) {
		snprintf(why, size, "%s is back with version %.0f instead of %.0f: see holdfast config "
			 "show there", m->name, is.version, w->version);
		return CLI_FAILED;
	}
	fprintf(progress(w), "%s: back after %.1f s, boot generation %.0f, version %.0f\n", m->name,
		(now_ms() - begun) / 1e3, is.generation, is.version);
	fflush(progress(w));
	return CLI_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* True: it is where it was, or was moved there. */
static bool move_back(struct walk *w, const json_t *was)
{
	const char *name = cli_string(was, "name"), *node = cli_string(was, "node");
	json_t *s = look(w->c);
	const json_t *v = vserver_of(json_object_get(s, "vservers"), name);
	bool there = !v || strcmp(cli_string(v, "node"), node) == 0;

	json_decref(s);
	if (there)
		return true;
	fprintf(progress(w), "%s: back to %s\n", name, node);
	if (ask(w, json_pack("{s:s, s:s, s:s}", "verb", "vs-move", "vs", name, "node", node)))
		return false;
	json_array_append_new(w->back, json_pack("{s:s, s:s}", "vs", name, "node", node));
	return true;
}

static int walk(struct walk *w, char **names)
{
	unsigned of = 0, at = 0;
	char why[256] = "";
	bool all = true;
	size_t i;
	json_t *v;
	int status;

	for (unsigned k = 0; k < w->count; k++)
		of += concerns(w, &w->node[k], names);
	for (unsigned k = 0; k < w->count; k++) {
		if (!concerns(w, &w->node[k], names))
			continue;
		status = restart_one(w, &w->node[k], ++at, of, why, sizeof(why));
		if (status)
			return end(w, status, why);
	}
	json_array_foreach(w->before, i, v) if (is_served(v)) all = move_back(w, v) && all;
	if (!all)
		return end(w, CLI_FAILED, "all nodes began anew, but not everything is back where it "
			   "was: see holdfast vs list");
	snprintf(why, sizeof(why), of == 1 ? "%u node began anew" : "%u nodes began anew", of);
	return end(w, CLI_OK, why);
}

static void plan(struct walk *w, char **names)
{
	for (unsigned k = 0; k < w->count; k++) {
		const struct member *m = &w->node[k];

		if (!concerns(w, m, names)) {
			if (!m->ready)
				fprintf(progress(w), "%s: is not here, and takes it at its start\n", m->name);
			continue;
		}
		json_array_append_new(w->nodes, json_pack("{s:s, s:i}", "node", m->name, "serves",
							  (int)m->serves));
		fprintf(progress(w), "%s: would hand over %u and begin anew\n", m->name, m->serves);
	}
}

/* `names` ends with NULL; NULL: all that are there and have not `version` yet. */
static int roll(struct cli *c, char **names, double version)
{
	struct walk w;
	int status = begin(&w, c, version);

	if (status)
		return status;
	status = may_all(&w, names);
	if (status)
		return end(&w, status, "not every node may begin anew now; nothing was done");
	if (!c->dry_run)
		return walk(&w, names);
	plan(&w, names);
	return end(&w, CLI_OK, "dry run, nothing was changed");
}

int cli_restart(struct cli *c, char **names)
{
	struct walk w;
	int status;

	if (c->all == (*names != NULL))
		return cli_fail(c, CLI_USAGE, NULL, "restart: name the nodes, or --all");
	if (c->all)
		return roll(c, NULL, 0);
	status = begin(&w, c, 0);
	for (char **n = names; *n && status == CLI_OK; n++) {
		struct member *m = w.node;

		while (m < w.node + w.count && strcmp(m->name, *n) != 0)
			m++;
		if (m < w.node + w.count)
			continue;
		status = cli_fail(c, CLI_FAILED, "unknown-node",
				  "no node is named %s; see: holdfast status", *n);
	}
	json_decref(w.report);
	json_decref(w.before);
	return status ? status : roll(c, names, 0);
}

int cli_rolling_check(struct cli *c)
{
	struct walk w;
	int status = begin(&w, c, 0);

	if (status)
		return status;
	status = may_all(&w, NULL);
	if (status)
		return end(&w, status, "not every node may begin anew now; nothing was done");
	json_decref(w.report);
	json_decref(w.before);
	return CLI_OK;
}

int cli_rolling(struct cli *c, double version)
{
	return roll(c, NULL, version);
}
