/* config.c - `holdfast config show|diff|apply`: the committed configuration, and its changes.
 *
 * The daemon decides what a change needs (conf/conf_diff.h); diff is an apply that is only asked for.
 * apply names the version it was compared with, so of two at the same time one is refused. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/conf.h"

#define TEXT_MAX 65536

static void dump(const json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
}

/* Once, from its beginning to its end: it may be a pipe. */
static int read_text(const char *file, char *text, size_t *len)
{
	FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	int rc;

	if (!f)
		return -errno;
	errno = 0;
	*len = fread(text, 1, TEXT_MAX + 1, f);
	rc = ferror(f) ? -(errno ? errno : EIO) : 0;
	if (f != stdin)
		fclose(f);
	return rc;
}

/* The file's text after it was parsed here, or NULL with a line and *status. */
static char *read_file(const struct cli *c, const char *file, int *status)
{
	struct conf *conf = mem_zalloc(1, sizeof(*conf));
	char err[512], *text = mem_zalloc(1, TEXT_MAX + 2);
	size_t len = 0;
	int rc = read_text(file, text, &len);

	if (rc)
		snprintf(err, sizeof(err), "%s: %s", file, strerror(-rc));
	else if (len > TEXT_MAX)
		snprintf(err, sizeof(err), "%s: longer than %d bytes", file, TEXT_MAX);
	else
		rc = conf_parse(conf, text, len, file, err, sizeof(err));
	free(conf);
	if (rc == 0 && len <= TEXT_MAX)
		return text;
	free(text);
	*status = cli_fail(c, CLI_CONFIG, NULL, "%s", err);
	return NULL;
}

static void show_change(const json_t *c)
{
	const char *from = cli_string(c, "from"), *to = cli_string(c, "to"),
		   *effect = cli_string(c, "effect");

	printf("%s\n", cli_string(c, "where"));
	if (*from && *from != '-')
		printf("  - %s\n", from);
	if (*to && *to != '-')
		printf("  + %s\n", to);
	if (strcmp(effect, "online") == 0)
		printf("    taken online\n");
	else
		printf("    %s: %s\n", strcmp(effect, "never") == 0 ? "refused" : "needs a restart",
		       cli_string(c, "why"));
}

static void show_changes(const json_t *r)
{
	size_t i;
	json_t *c;

	if (json_is_true(json_object_get(r, "same"))) {
		printf("no difference to version %.0f\n", cli_number(r, "version"));
		return;
	}
	json_array_foreach(json_object_get(r, "changes"), i, c) show_change(c);
}

/* What would change; a new reference. */
static json_t *ask_diff(struct cli *c, const char *text, int *status)
{
	return cli_ask(c, json_pack("{s:s, s:s, s:b}", "verb", "config-apply", "text", text,
				    "dry_run", 1), status);
}

int cli_config_diff(struct cli *c, const char *file)
{
	int status = CLI_OK;
	char *text = read_file(c, file, &status);
	json_t *r = text ? ask_diff(c, text, &status) : NULL;

	free(text);
	if (!r)
		return status;
	if (c->json)
		dump(r);
	else
		show_changes(r);
	json_decref(r);
	return CLI_OK;
}

static void names(const char *what, const json_t *list)
{
	size_t i;
	json_t *n;

	if (json_array_size(list) == 0)
		return;
	printf("%s", what);
	json_array_foreach(list, i, n) printf(" %s", json_string_value(n));
	printf("\n");
}

static int applied(struct cli *c, json_t *r)
{
	bool all = json_array_size(json_object_get(r, "missing")) == 0,
	     restart = json_is_true(json_object_get(r, "restart"));

	if (c->json && c->rolling && restart) { /* the walk's report is the answer */
		all = true;
	} else if (c->json) {
		dump(r);
	} else {
		printf("version %.0f is committed\n", cli_number(r, "version"));
		names("in effect on", json_object_get(r, "taken"));
		names(restart ? "after a restart of holdfastd on" : "not yet on",
		      json_object_get(r, "missing"));
		names("when it is back:", json_object_get(r, "absent"));
	}
	json_decref(r);
	return all || restart ? CLI_OK : CLI_FAILED;
}

static bool needs_restart(const json_t *r)
{
	size_t i;
	json_t *ch;

	json_array_foreach(json_object_get(r, "changes"), i, ch) if (
	    strcmp(cli_string(ch, "effect"), "restart") == 0) return true;
	return false;
}

/* Commits what was compared; *version becomes 0 when no node has to begin anew for it. */
static int commit(struct cli *c, const char *text, const json_t *diff, double *version)
{
	int status = CLI_OK;
	bool rolls = c->rolling && needs_restart(diff);
	json_t *r, *base = json_object_get(diff, "version");

	if (rolls)
		status = cli_rolling_check(c);
	if (status)
		return status;
	r = cli_ask(c, json_pack("{s:s, s:s, s:O, s:b}", "verb", "config-apply", "text", text, "base",
				 base, "restart", c->restart), &status);
	if (!r)
		return status;
	*version = rolls ? cli_number(r, "version") : 0;
	return applied(c, r);
}

int cli_config_apply(struct cli *c, const char *file)
{
	int status = CLI_OK;
	char *text = read_file(c, file, &status);
	json_t *r = text ? ask_diff(c, text, &status) : NULL;
	bool same = json_is_true(json_object_get(r, "same"));
	double version = c->rolling ? cli_number(r, "version") : 0;

	if (r && !c->json)
		show_changes(r);
	if (r && !same && !c->dry_run)
		status = commit(c, text, r, &version);
	else if (r && c->json && !c->rolling)
		dump(r);
	if (c->dry_run && !same)
		version += needs_restart(r);
	json_decref(r);
	free(text);
	/* Also when it was committed before: who has it not yet begins anew. */
	return status == CLI_OK && version > 0 ? cli_rolling(c, version) : status;
}

static void show_head(const json_t *r)
{
	printf("# version %.0f, in effect here: version %.0f\n", cli_number(r, "version"),
	       cli_number(r, "running"));
	printf("# hash %s\n", cli_string(r, "hash"));
	if (json_is_true(json_object_get(r, "waits_for_restart")))
		printf("# waits for a restart of holdfastd: %s\n", cli_string(r, "why"));
	if (json_is_true(json_object_get(r, "file_differs")))
		printf("# %s differs from it\n", cli_string(r, "file"));
}

int cli_config_show(struct cli *c)
{
	int status;
	json_t *r = cli_ask(c, json_pack("{s:s}", "verb", "config-show"), &status);

	if (!r)
		return status;
	if (c->json) {
		dump(r);
	} else {
		show_head(r);
		fputs(cli_string(r, "text"), stdout);
	}
	json_decref(r);
	return CLI_OK;
}
