/* cli.h - the command line: nouns and verbs, tables for people, --json for machines. */
#ifndef HF_CMD_CLI_H
#define HF_CMD_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses, also in holdfast(8). */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,       /* it was refused or did not work; the line says why */
	CLI_REPAIRED = 1,     /* check --repair: there were findings, and all are repaired */
	CLI_USAGE = 64,       /* no such command or option */
	CLI_DAMAGED = 65,     /* check found something; a store that cannot be read */
	CLI_UNAVAILABLE = 69, /* no daemon answers */
	CLI_INTERNAL = 70,
	CLI_EXISTS = 73, /* init: something is there already, or cannot be created */
	CLI_IN_USE = 75, /* check, adopt, release: the store or the tree is in use */
	CLI_CONFIG = 78,
};

struct cli {
	const char *conf_path; /* -c, default /etc/holdfast/holdfast.conf */
	const char *node;      /* -N */
	const char *user;      /* adopt: --user */
	const char *from;      /* key add: --from */
	const char *reason;    /* inhibit: --reason */
	char socket[512];      /* -s, else RUN_DIR/control.sock of the configuration */
	const char *since;     /* events: --since */
	bool json, dry_run, force, yes, repair, all, follow, cancel;
	bool restart, rolling; /* config apply: --restart, --rolling */
	unsigned count; /* events: -n, 0 all */
	unsigned timeout_ms;
	double in_s; /* --in, < 0: not given */
};

/* Sends a request (taken over) and gives the `result` of the answer, a new reference; NULL after a
 * line on stderr, with *status set. */
json_t *cli_ask(struct cli *c, json_t *request, int *status);
/* An error that is no answer of the daemon: a line on stderr, with --json also an object on stdout as
 * the daemon refuses (ok, reason, text).  The reason, if NULL, goes by the exit status; gives that. */
int cli_fail(const struct cli *c, int status, const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Seconds with a unit, for people: "412 ms", "3.2 s", "5 min", "2 d"; -1 gives "never". */
const char *cli_age(double ms, char out[32]);
const char *cli_string(const json_t *o, const char *key);
/* A name may be any bytes; a line of text or a JSON string may not: the others become \xHH. */
const char *cli_text(char *out, size_t size, const char *text);
double cli_number(const json_t *o, const char *key);

void show_vetoes(FILE *to, const json_t *list);
void show_status(const json_t *status);
void show_vservers(const json_t *status);
bool show_vserver(const json_t *status, const char *name);

/* Exit status: 1 when one of them cannot be read. */
int show_units(const json_t *list);
int show_unit(const json_t *unit);

int cli_adopt(struct cli *c, const char *dir);
int cli_release(struct cli *c, const char *dir);
int cli_check(struct cli *c, const char *dir);
int cli_init(struct cli *c);
int cli_unit_scan(struct cli *c);

/* `names` ends with NULL; none: --all. */
int cli_restart(struct cli *c, char **names);
/* May every node begin anew now?  Says which not. */
int cli_rolling_check(struct cli *c);
/* Every node that is there and has not that version begins anew. */
int cli_rolling(struct cli *c, double version);

int cli_key_show(struct cli *c);
int cli_key_add(struct cli *c);
int cli_key_step(struct cli *c, const char *verb, const char *id);
int cli_config_show(struct cli *c);
int cli_config_diff(struct cli *c, const char *file);
int cli_config_apply(struct cli *c, const char *file);
/* `files` ends with NULL; none: this node's. */
int cli_events(struct cli *c, char **files);

#endif
