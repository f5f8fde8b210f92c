/* main.c - holdfast: what operators type.
 *
 * One table of commands; each turns its words into one request to the node's daemon (ctl.h) and
 * shows the answer, as tables or, with --json, as it came.  check, adopt, release, events and
 * init work without a daemon. */
#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"
#include "conf/conf.h"
#include "ctl/ctl.h"

#define CONF_DEFAULT "/etc/holdfast/holdfast.conf"
#define DAY_S	     86400.0
#define LOOK_S	     0.2

/* Options that not every command takes.  One that a command does not know is refused: who writes
 * `shutdown --dry-run` must not find the node shut down. */
enum option_bit {
	OPT_DRY = 1,
	OPT_FORCE = 2,
	OPT_IN = 4,
	OPT_USER = 8,
	OPT_FROM = 16,
	OPT_REASON = 32,
	OPT_REPAIR = 64,
	OPT_EVENTS = 128, /* --since, --follow, -n */
	OPT_CANCEL = 256,
	OPT_RESTART = 512,
	OPT_ROLLING = 1024,
	OPT_ALL = 2048,
};

static const struct {
	char letter;
	unsigned bit;
	const char *name;
} option_bits[] = {{'d', OPT_DRY, "--dry-run"},	  {'f', OPT_FORCE, "--force"},
		   {'i', OPT_IN, "--in"},	  {'u', OPT_USER, "--user"},
		   {'K', OPT_FROM, "--from"},	  {'W', OPT_REASON, "--reason"},
		   {'r', OPT_REPAIR, "--repair"}, {'S', OPT_EVENTS, "--since"},
		   {'F', OPT_EVENTS, "--follow"}, {'A', OPT_ALL, "--all"},
		   {'n', OPT_EVENTS, "-n"},	  {'C', OPT_CANCEL, "--cancel"},
		   {'R', OPT_RESTART, "--restart"}, {'O', OPT_ROLLING, "--rolling"}};
#define OPTION_BITS (sizeof(option_bits) / sizeof(option_bits[0]))

static void print_json(const json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
}

/* The whole answer, a new reference, or NULL after a line. */
static json_t *call(struct cli *c, json_t *request, int *status)
{
	char err[512] = "";
	json_t *answer;
	unsigned wait_ms = c->timeout_ms + (c->in_s > 0 ? (unsigned)(c->in_s * 1000) : 0);

	if (!request) { /* jansson made none of it */
		*status = cli_fail(c, CLI_USAGE, NULL, "a word of the command is not UTF-8");
		return NULL;
	}
	if (c->in_s >= 0)
		json_object_set_new(request, "in_ms", json_integer((json_int_t)(c->in_s * 1000)));
	if (c->force)
		json_object_set_new(request, "force", json_true());
	if (c->dry_run)
		json_object_set_new(request, "dry_run", json_true());
	answer = ctl_call(c->socket, request, wait_ms, err, sizeof(err));
	if (!answer)
		*status = cli_fail(c, CLI_UNAVAILABLE, NULL, "%s", err);
	return answer;
}

/* A single veto is the refusal itself: it is not said twice. */
static void show_refusal(const struct cli *c, const json_t *answer)
{
	const char *todo = json_string_value(json_object_get(answer, "todo")),
		   *text = cli_string(answer, "text"), *reason = cli_string(answer, "reason");
	const json_t *vetoes = json_object_get(answer, "vetoes"), *first = json_array_get(vetoes, 0);
	bool single = json_array_size(vetoes) == 1 &&
		      strcmp(cli_string(first, "reason"), reason) == 0 &&
		      *cli_string(first, "text") == '-';

	if (c->json)
		print_json(answer);
	fprintf(stderr, "holdfast: refused: %s%s%s%s%s%s\n", reason, *text == '-' ? "" : ": ",
		*text == '-' ? "" : text, todo && *todo ? "; " : "", todo ? todo : "",
		single && json_is_true(json_object_get(first, "force")) &&
				!(todo && strstr(todo, "--force")) ?
			"; --force goes over it" :
			"");
	if (!single)
		show_vetoes(stderr, vetoes);
}

json_t *cli_ask(struct cli *c, json_t *request, int *status)
{
	json_t *result, *answer = call(c, request, status);

	if (!answer)
		return NULL;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		show_refusal(c, answer);
		*status = CLI_FAILED;
		json_decref(answer);
		return NULL;
	}
	result = json_object_get(answer, "result");
	json_incref(result);
	json_decref(answer);
	*status = CLI_OK;
	return result;
}

/* status, vs list: one request, shown by `show`. */
static int ask_status(struct cli *c, void (*show)(const json_t *))
{
	int status;
	json_t *r = cli_ask(c, json_pack("{s:s}", "verb", "status"), &status);

	if (!r)
		return status;
	if (c->json)
		print_json(r);
	else
		show(r);
	json_decref(r);
	return status;
}

static void act_done(const struct cli *c, const json_t *r)
{
	const json_t *vetoes = json_object_get(r, "vetoes");

	if (strcmp(cli_string(r, "reason"), "already-there") == 0) {
		printf("nothing to do: it is so already\n");
		return;
	}
	printf("%s%s\n", c->dry_run ? "dry run, nothing was changed: " : "", cli_string(r, "text"));
	if (json_array_size(vetoes) == 0)
		return;
	printf("%s:\n", c->force ? "what --force goes over" : "what stands in the way");
	show_vetoes(stdout, vetoes);
}

/* What acts: says what was (or would be) done. */
static int act(struct cli *c, json_t *request)
{
	int status;
	json_t *r = cli_ask(c, request, &status);

	if (!r)
		return status;
	if (c->json)
		print_json(r);
	else
		act_done(c, r);
	json_decref(r);
	return status;
}

static int do_status(struct cli *c, char **w)
{
	(void)w;
	return ask_status(c, show_status);
}

static int do_vs_list(struct cli *c, char **w)
{
	(void)w;
	return ask_status(c, show_vservers);
}

static json_t *find_vserver(const json_t *status, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach(json_object_get(status, "vservers"), i,
			   v) if (strcmp(cli_string(v, "name"), name) == 0) return v;
	return NULL;
}

static int do_vs_show(struct cli *c, char **w)
{
	int status;
	json_t *v, *r = cli_ask(c, json_pack("{s:s}", "verb", "status"), &status);

	if (!r)
		return status;
	v = find_vserver(r, w[0]);
	if (!v) {
		status = cli_fail(c, CLI_FAILED, "unknown-vserver",
				  "no virtual server is named %s; see: holdfast vs list", w[0]);
	} else if (c->json) {
		print_json(v);
	} else {
		show_vserver(r, w[0]);
	}
	json_decref(r);
	return status;
}

/* How it stands now, asked without the options of the command; NULL after a line. */
static json_t *now(const struct cli *c, int *status)
{
	struct cli plain = *c;

	plain.dry_run = plain.force = false;
	plain.in_s = -1;
	return cli_ask(&plain, json_pack("{s:s}", "verb", "status"), status);
}

/* Until NODE serves it, or the time is over. */
static bool wait_served(struct cli *c, char **w, double left_s)
{
	bool there = false;
	int status = CLI_OK;

	for (; !there && status == CLI_OK && left_s > 0; left_s -= LOOK_S) {
		json_t *s = now(c, &status);
		const json_t *o = json_object_get(find_vserver(s, w[0]), "owner");

		there = strcmp(cli_string(o, "node"), w[1]) == 0 &&
			strcmp(cli_string(o, "says"), "SERVING") == 0;
		json_decref(s);
		if (!there)
			usleep((useconds_t)(LOOK_S * 1e6));
	}
	return there;
}

/* The daemon says after its own time that the move is not over yet, and goes on with it: --in goes
 * on looking. */
static int do_vs_move(struct cli *c, char **w)
{
	int status = CLI_OK;
	json_t *result, *answer = call(c, json_pack("{s:s, s:s, s:s}", "verb", "vs-move", "vs", w[0],
						    "node", w[1]), &status);

	if (!answer)
		return status;
	if (c->in_s > 0 && strcmp(cli_string(answer, "reason"), "timeout") == 0 &&
	    wait_served(c, w, c->in_s)) {
		json_decref(answer);
		answer = json_pack("{s:b, s:{s:s, s:s}}", "ok", 1, "result", "reason", "none", "text",
				   "served there now");
	}
	result = json_object_get(answer, "result");
	if (!json_is_true(json_object_get(answer, "ok"))) {
		show_refusal(c, answer);
		status = CLI_FAILED;
	} else if (c->json) {
		print_json(result);
	} else {
		act_done(c, result);
	}
	json_decref(answer);
	return status;
}

static int do_vs_start(struct cli *c, char **w)
{
	return act(c, json_pack("{s:s, s:s}", "verb", "vs-start", "vs", w[0]));
}

static int do_takeover(struct cli *c, char **w)
{
	int status = CLI_OK;
	json_t *s;

	if (c->cancel && (c->dry_run || c->force || c->in_s >= 0))
		return cli_fail(c, CLI_USAGE, NULL,
				"takeover --cancel takes no --dry-run, --force or --in");
	s = now(c, &status);
	if (!s)
		return status;
	if (strcmp(cli_string(s, "node"), w[0]) == 0)
		status = cli_fail(c, CLI_FAILED, "unknown-node",
				  "%s is this node: takeover takes what another node has; to have "
				  "another take it: holdfast vs move VS NODE", w[0]);
	json_decref(s);
	if (status)
		return status;
	return act(c, json_pack("{s:s, s:s}", "verb", c->cancel ? "cancel" : "takeover", "node", w[0]));
}

static int do_giveback(struct cli *c, char **w)
{
	return act(c, json_pack("{s:s, s:s}", "verb", "giveback", "node", w[0]));
}

static int do_cancel(struct cli *c, char **w)
{
	return act(c, json_pack("{s:s, s:s}", "verb", "cancel", "node", w[0]));
}

/* Any other word must not clear a flag. */
static bool on_or_off(const struct cli *c, const char *word, bool *on)
{
	*on = strcmp(word, "on") == 0;
	if (*on || strcmp(word, "off") == 0)
		return true;
	cli_fail(c, CLI_USAGE, NULL, "inhibit: on or off is wanted, not %s", word);
	return false;
}

static int do_inhibit_vs(struct cli *c, char **w)
{
	bool on;

	if (!on_or_off(c, w[1], &on))
		return CLI_USAGE;
	return act(c, json_pack("{s:s, s:s, s:s, s:b, s:s*}", "verb", "inhibit", "scope", "vs",
				"vs", w[0], "on", on, "text", c->reason));
}

static int do_inhibit(struct cli *c, char **w)
{
	bool on;

	if (strcmp(w[0], "self") != 0 && strcmp(w[0], "mine") != 0 && strcmp(w[0], "cluster") != 0)
		return cli_fail(c, CLI_USAGE, NULL,
				"inhibit: self, mine, cluster or vs is wanted, not %s", w[0]);
	if (!on_or_off(c, w[1], &on))
		return CLI_USAGE;
	return act(c, json_pack("{s:s, s:s, s:b, s:s*}", "verb", "inhibit", "scope", w[0], "on",
				on, "text", c->reason));
}

static int do_reboot(struct cli *c, char **w)
{
	(void)w;
	return act(c, json_pack("{s:s}", "verb", "reboot"));
}

static int do_restart(struct cli *c, char **w)
{
	return cli_restart(c, w);
}

static int do_shutdown(struct cli *c, char **w)
{
	(void)w;
	return act(c, json_pack("{s:s}", "verb", "shutdown"));
}

static int do_check(struct cli *c, char **w)
{
	return cli_check(c, w[0]);
}

static int do_adopt(struct cli *c, char **w)
{
	return cli_adopt(c, w[0]);
}

static int do_release(struct cli *c, char **w)
{
	return cli_release(c, w[0]);
}

static int do_init(struct cli *c, char **w)
{
	(void)w;
	return cli_init(c);
}

/* One request about units, shown by `show`. */
static int ask_units(struct cli *c, json_t *request, int (*show)(const json_t *))
{
	int status;
	json_t *r = cli_ask(c, request, &status);

	if (!r)
		return status;
	if (c->json)
		print_json(r);
	else
		status = show(r);
	json_decref(r);
	return status;
}

static int do_unit_list(struct cli *c, char **w)
{
	(void)w;
	return ask_units(c, json_pack("{s:s}", "verb", "unit-list"), show_units);
}

static int do_unit_show(struct cli *c, char **w)
{
	return ask_units(c, json_pack("{s:s, s:s}", "verb", "unit-show", "unit", w[0]), show_unit);
}

static int do_unit_claim(struct cli *c, char **w)
{
	return act(c, json_pack("{s:s, s:s}", "verb", "unit-claim", "unit", w[0]));
}

static int do_unit_release(struct cli *c, char **w)
{
	return act(c, json_pack("{s:s, s:s}", "verb", "unit-release", "unit", w[0]));
}

static int do_unit_scan(struct cli *c, char **w)
{
	(void)w;
	return cli_unit_scan(c);
}

static int do_events(struct cli *c, char **w)
{
	return cli_events(c, w);
}

static int do_config_show(struct cli *c, char **w)
{
	(void)w;
	return cli_config_show(c);
}

static int do_config_diff(struct cli *c, char **w)
{
	return cli_config_diff(c, w[0]);
}

static int do_config_apply(struct cli *c, char **w)
{
	return cli_config_apply(c, w[0]);
}

#define ANY_WORDS 1000 /* none or more */

static int do_key_show(struct cli *c, char **w)
{
	(void)w;
	return cli_key_show(c);
}

static int do_key_add(struct cli *c, char **w)
{
	(void)w;
	return cli_key_add(c);
}

static int do_key_use(struct cli *c, char **w)
{
	return cli_key_step(c, "key-use", w[0]);
}

static int do_key_drop(struct cli *c, char **w)
{
	return cli_key_step(c, "key-drop", w[0]);
}

static int do_version(struct cli *c, char **w)
{
	json_t *o = json_pack("{s:s}", "version", HF_VERSION);

	(void)w;
	if (c->json)
		print_json(o);
	else
		puts("holdfast " HF_VERSION);
	json_decref(o);
	return CLI_OK;
}

static const struct command {
	const char *noun, *verb; /* verb NULL: the noun is the whole command */
	unsigned words;
	bool local; /* needs no daemon */
	int (*run)(struct cli *c, char **words);
	const char *help;
	unsigned takes; /* of enum option_bit */
} commands[] = {
    {"status", NULL, 0, false, do_status,
     "status                      nodes, paths, devices, virtual servers: who, since when, why", 0},
    {"events", NULL, ANY_WORDS, true, do_events,
     "events [FILE ...]           what happened here [--since TIME] [--follow] [-n COUNT]",
     OPT_EVENTS | OPT_ALL},
    {"vs", "list", 0, false, do_vs_list, "vs list                     the virtual servers", 0},
    {"vs", "show", 1, false, do_vs_show,
     "vs show VS                  one of them, with the times of its last bring-up here", 0},
    {"vs", "move", 2, false, do_vs_move,
     "vs move VS NODE             planned move [--in 30s] [--dry-run]",
     OPT_DRY | OPT_FORCE | OPT_IN},
    {"vs", "start", 1, false, do_vs_start,
     "vs start VS                 try again after failures or a crash loop",
     OPT_DRY},
    {"takeover", NULL, 1, false, do_takeover,
     "takeover NODE               take everything of NODE [--in 30s] [--force] [--dry-run] [--cancel]",
     OPT_DRY | OPT_FORCE | OPT_IN | OPT_CANCEL},
    {"giveback", NULL, 1, false, do_giveback,
     "giveback NODE               give back to NODE what is at home there [--dry-run]",
     OPT_DRY | OPT_FORCE},
    {"cancel", NULL, 1, false, do_cancel,
     "cancel NODE                 stop a takeover's countdown, or a giveback that waits for NODE", 0},
    {"inhibit", "vs", 2, false, do_inhibit_vs,
     "inhibit vs VS on|off        forbid takeover of one virtual server [--reason TEXT]",
     OPT_DRY | OPT_REASON},
    {"inhibit", NULL, 2, false, do_inhibit,
     "inhibit self|mine|cluster on|off   forbid takeover by me, of me, by anybody [--reason TEXT]",
     OPT_DRY | OPT_REASON},
    {"config", "show", 0, false, do_config_show,
     "config show                 the committed configuration", 0},
    {"config", "diff", 1, false, do_config_diff,
     "config diff FILE            what FILE would change, and what each change needs", 0},
    {"config", "apply", 1, false, do_config_apply,
     "config apply FILE           commit FILE and take it [--dry-run] [--restart] [--rolling]",
     OPT_DRY | OPT_FORCE | OPT_RESTART | OPT_ROLLING},
    {"restart", NULL, ANY_WORDS, false, do_restart,
     "restart NODE ... | --all    hand over and begin anew, one by one [--dry-run] [--force]",
     OPT_DRY | OPT_FORCE | OPT_ALL},
    {"reboot", NULL, 0, false, do_reboot, "reboot                      leave STOPPED (231)", 0},
    {"shutdown", NULL, 0, false, do_shutdown,
     "shutdown                    hand everything over, then end the daemon", 0},
    {"unit", "list", 0, false, do_unit_list,
     "unit list                   storage units: who owns them, paths, whether this node may use them", 0},
    {"unit", "show", 1, false, do_unit_show,
     "unit show UNIT              one of them: record, reservation, keys, paths", 0},
    {"unit", "claim", 1, false, do_unit_claim,
     "unit claim UNIT             have this node own it and serve what is on it [--force] [--dry-run]",
     OPT_DRY | OPT_FORCE},
    {"unit", "release", 1, false, do_unit_release,
     "unit release UNIT           have this node give it up and leave it [--dry-run]",
     OPT_DRY},
    {"unit", "scan", 0, true, do_unit_scan,
     "unit scan                   disks that are here: WWID, paths, what the configuration calls them", 0},
    {"key", "show", 0, false, do_key_show,
     "key show                    the cluster's keys, and who has which", 0},
    {"key", "add", 0, false, do_key_add,
     "key add                     make a new key, or take those of a copied key file [--from FILE]",
     OPT_DRY | OPT_FROM},
    {"key", "use", 1, false, do_key_use,
     "key use ID                  send and sign with it, when all nodes have it [--dry-run]",
     OPT_DRY},
    {"key", "drop", 1, false, do_key_drop,
     "key drop ID                 forget it, when no node sends with it [--dry-run]",
     OPT_DRY},
    {"check", NULL, 1, true, do_check,
     "check STOREDIR              verify a store that is not open [--repair]",
     OPT_REPAIR},
    {"adopt", NULL, 1, true, do_adopt,
     "adopt DIR                   make a store of an existing tree, in place [--user NAME] [--dry-run]",
     OPT_DRY | OPT_USER},
    {"release", NULL, 1, true, do_release,
     "release DIR                 give the tree of a store back, in place [--dry-run]",
     OPT_DRY},
    {"init", NULL, 0, true, do_init,
     "init                        make what the configuration names and does not exist yet", 0},
    {"version", NULL, 0, true, do_version,
     "version                     of this program [--json]; also --version", 0},
};

static int usage(FILE *to)
{
	fprintf(to, "usage: holdfast [-c FILE] [-N NODE] [-s SOCKET] [--json] COMMAND\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %s\n", commands[i].help);
	return CLI_USAGE;
}

/* Behind a line that says what was wrong; the list of all commands would push that off the screen. */
static int see_help(void)
{
	fprintf(stderr, "see: holdfast --help\n");
	return CLI_USAGE;
}

/* The usage of a command, or of those that begin like what was given. */
static int wrong_use(const char *noun, const char *verb)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].noun, noun) == 0 &&
		    (!verb || (commands[i].verb && strcmp(commands[i].verb, verb) == 0)))
			fprintf(stderr, "  %s\n", commands[i].help);
	return see_help();
}

/* The socket: -s, else the run_dir of the configuration. */
static int find_socket(struct cli *c)
{
	struct conf *conf;
	char err[512], dir[CONF_PATH_MAX];

	if (c->socket[0])
		return CLI_OK;
	conf = mem_zalloc(1, sizeof(*conf));
	if (conf_load(conf, c->conf_path, err, sizeof(err))) {
		free(conf);
		return cli_fail(c, CLI_CONFIG, NULL, "%s", err);
	}
	if (strstr(conf->run_dir, "%n") && !c->node) {
		free(conf);
		return cli_fail(c, CLI_USAGE, NULL, "run_dir depends on the node (%%n): name it with "
				"-N, or the socket with -s");
	}
	conf_path(dir, sizeof(dir), conf->run_dir, c->node ? c->node : "");
	snprintf(c->socket, sizeof(c->socket), "%s/control.sock", dir);
	free(conf);
	return CLI_OK;
}

/* At most a day; -1: no time ("nan" and "inf" are numbers to strtod). */
static double duration_s(const char *text)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *text < '0' || *text > '9')
		return -1;
	if (strcmp(end, "ms") == 0)
		v /= 1000;
	else if (strcmp(end, "m") == 0 || strcmp(end, "min") == 0)
		v *= 60;
	else if (strcmp(end, "") != 0 && strcmp(end, "s") != 0)
		return -1;
	return v <= DAY_S ? v : -1;
}

static bool option_time(const struct cli *c, const char *name, const char *text, double *s)
{
	*s = duration_s(text);
	if (*s >= 0)
		return true;
	cli_fail(c, CLI_USAGE, NULL,
		 "%s %s: a time like 30s, 500ms or 2min is wanted, at most 24 hours", name, text);
	return false;
}

static bool option_count(const struct cli *c, const char *text, unsigned *count)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*count = (unsigned)n;
	if (*text >= '0' && *text <= '9' && *end == '\0' && n > 0 && n <= UINT32_MAX)
		return true;
	cli_fail(c, CLI_USAGE, NULL, "-n %s: a number of events is wanted", text);
	return false;
}

/* The long ones are words of their own, of the others several may share one. */
static void wrong_option(const struct cli *c, char **argv)
{
	if (strncmp(argv[optind - 1], "--", 2) == 0)
		cli_fail(c, CLI_USAGE, NULL, "unknown option %s", argv[optind - 1]);
	else
		cli_fail(c, CLI_USAGE, NULL, "unknown option -%c", optopt);
}

static bool options(struct cli *c, int argc, char **argv, bool given[OPTION_BITS])
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
					      {"dry-run", no_argument, NULL, 'd'},
					      {"force", no_argument, NULL, 'f'},
					      {"in", required_argument, NULL, 'i'},
					      {"user", required_argument, NULL, 'u'},
					      {"from", required_argument, NULL, 'K'},
					      {"reason", required_argument, NULL, 'W'},
					      {"timeout", required_argument, NULL, 't'},
					      {"repair", no_argument, NULL, 'r'},
					      {"since", required_argument, NULL, 'S'},
					      {"follow", no_argument, NULL, 'F'},
					      {"all", no_argument, NULL, 'A'},
					      {"cancel", no_argument, NULL, 'C'},
					      {"restart", no_argument, NULL, 'R'},
					      {"rolling", no_argument, NULL, 'O'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {NULL, 0, NULL, 0}};
	double s;
	int o;

	while ((o = getopt_long(argc, argv, ":c:N:s:jdfi:t:ru:n:hV", longs, NULL)) != -1) {
		for (size_t i = 0; i < OPTION_BITS; i++)
			if (option_bits[i].letter == o)
				given[i] = true;
		switch (o) {
		case 'c':
			c->conf_path = optarg;
			break;
		case 'N':
			c->node = optarg;
			break;
		case 's':
			if (strlen(optarg) >= sizeof(c->socket)) {
				cli_fail(c, CLI_USAGE, NULL, "-s: the path is too long");
				return false;
			}
			snprintf(c->socket, sizeof(c->socket), "%s", optarg);
			break;
		case 'j':
			c->json = true;
			break;
		case 'd':
			c->dry_run = true;
			break;
		case 'f':
			c->force = true;
			break;
		case 'i':
			if (!option_time(c, "--in", optarg, &c->in_s))
				return false;
			break;
		case 'r':
			c->repair = true;
			break;
		case 'n':
			if (!option_count(c, optarg, &c->count))
				return false;
			break;
		case 'S':
			c->since = optarg;
			break;
		case 'F':
			c->follow = true;
			break;
		case 'C':
			c->cancel = true;
			break;
		case 'A':
			c->all = true;
			break;
		case 'R':
			c->restart = true;
			break;
		case 'O':
			c->restart = c->rolling = true;
			break;
		case 'u':
			c->user = optarg;
			break;
		case 'K':
			c->from = optarg;
			break;
		case 'W':
			c->reason = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(CLI_OK);
		case 'V':
			exit(do_version(c, NULL));
		case 't':
			if (!option_time(c, "--timeout", optarg, &s))
				return false;
			c->timeout_ms = (unsigned)(s * 1000);
			break;
		case ':':
			cli_fail(c, CLI_USAGE, NULL, "option %s wants a value", argv[optind - 1]);
			return false;
		default:
			wrong_option(c, argv);
			return false;
		}
	}
	return true;
}

static const struct command *find_command(int argc, char **argv, int *used)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *k = &commands[i];

		if (argc < 1 || strcmp(argv[0], k->noun) != 0)
			continue;
		if (k->verb && (argc < 2 || strcmp(argv[1], k->verb) != 0))
			continue;
		*used = k->verb ? 2 : 1;
		return k;
	}
	return NULL;
}

static int wrong_command(const struct cli *c, const struct command *k, int argc, char **argv,
			 int used)
{
	if (k)
		cli_fail(c, CLI_USAGE, NULL, "%s%s%s: %u word%s wanted behind it, %d given", k->noun,
			 k->verb ? " " : "", k->verb ? k->verb : "", k->words,
			 k->words == 1 ? "" : "s", argc - used);
	else if (argc > 0)
		cli_fail(c, CLI_USAGE, NULL, "no such command: %s%s%s", argv[0], argc > 1 ? " " : "",
			 argc > 1 ? argv[1] : "");
	else if (c->json)
		cli_fail(c, CLI_USAGE, NULL, "a command is wanted");
	else
		return usage(stderr);
	if (argc == 0)
		return see_help();
	return k ? wrong_use(k->noun, k->verb) : wrong_use(argv[0], NULL);
}

static bool takes_all(const struct cli *c, const struct command *k, const bool given[OPTION_BITS])
{
	for (size_t i = 0; i < OPTION_BITS; i++)
		if (given[i] && !(k->takes & option_bits[i].bit)) {
			cli_fail(c, CLI_USAGE, NULL, "%s%s%s takes no %s", k->noun,
				 k->verb ? " " : "", k->verb ? k->verb : "", option_bits[i].name);
			return false;
		}
	return true;
}

int main(int argc, char **argv)
{
	bool given[OPTION_BITS] = {false};
	struct cli c = {.conf_path = CONF_DEFAULT, .timeout_ms = 60000, .in_s = -1};
	const struct command *k;
	int used = 0, status;

	if (getenv("HOLDFAST_CONFIG"))
		c.conf_path = getenv("HOLDFAST_CONFIG");
	c.node = getenv("HOLDFAST_NODE");
	for (int i = 1; i < argc; i++) /* what is wrong may stand before it */
		c.json = c.json || strcmp(argv[i], "--json") == 0;
	if (!options(&c, argc, argv, given))
		return see_help();
	k = find_command(argc - optind, argv + optind, &used);
	if (!k || (k->words != ANY_WORDS && argc - optind - used != (int)k->words))
		return wrong_command(&c, k, argc - optind, argv + optind, used);
	if (!takes_all(&c, k, given))
		return CLI_USAGE;
	if (!k->local) {
		status = find_socket(&c);
		if (status)
			return status;
	}
	return k->run(&c, argv + optind + used);
}
