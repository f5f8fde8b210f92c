/* adopt.c - `holdfast adopt DIR` and `holdfast release DIR`: a tree becomes a store and back.
 *
 * Findings go to stdout, one a line (or into the JSON object), progress to stderr: over and over on
 * the same line of a terminal, else a line now and then. */
#include "cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/adopt.h"

#define LIST_MAX 1000U

struct job {
	struct cli *c;
	json_t *list;
	bool terminal, shown;
};

static void size_text(char out[32], uint64_t bytes)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1024 && u + 1 < sizeof(unit) / sizeof(unit[0]); u++)
		v /= 1024;
	snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

static void on_progress(void *arg, const char *step, const struct adopt_counts *n)
{
	struct job *j = arg;
	char size[32];

	size_text(size, n->bytes);
	fprintf(stderr, "%s%s: %llu names (%.0f a second), %llu files, %s, %.0f s%s",
		j->terminal ? "\r" : "", step, (unsigned long long)n->done, n->rate,
		(unsigned long long)n->files, size, n->seconds, j->terminal ? "   " : "\n");
	fflush(stderr);
	j->shown = true;
}

static void on_finding(void *arg, enum adopt_finding f, const char *path, const char *what)
{
	const char *kind = f == ADOPT_CANNOT ? "cannot" : "note";
	struct job *j = arg;
	char text[4096];

	cli_text(text, sizeof(text), path);
	if (!j->c->json)
		printf("%s: %s: %s\n", kind, text, what);
	else if (json_array_size(j->list) < LIST_MAX)
		json_array_append_new(j->list, json_pack("{s:s, s:s, s:s}", "kind", kind, "path",
							 text, "what", what));
}

static void show_json(const struct job *j, const char *dir, int res, const char *err,
		      const struct adopt_counts *n)
{
	char name[4096], error[2048];
	json_t *o = json_pack("{s:s, s:b, s:b, s:s, s:b, s:b}", "directory",
			      cli_text(name, sizeof(name), dir), "dry_run", j->c->dry_run, "done",
			      res == 0 && !j->c->dry_run, "error", cli_text(error, sizeof(error), err),
			      "resumed", n->resumed, "committed", n->committed);
	const struct {
		const char *name;
		uint64_t value;
	} number[] = {{"files", n->files},
		      {"directories", n->directories},
		      {"symlinks", n->symlinks},
		      {"specials", n->specials},
		      {"names", n->names},
		      {"bytes", n->bytes},
		      {"xattrs", n->xattrs},
		      {"acls", n->acls},
		      {"outside", n->outside},
		      {"late", n->late},
		      {"index_bytes", n->index_bytes},
		      {"cannot", n->cannot},
		      {"notes", n->notes}};

	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		json_object_set_new(o, number[i].name, json_integer((json_int_t)number[i].value));
	json_object_set_new(o, "seconds", json_real(n->seconds));
	json_object_set(o, "findings", j->list);
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

static void show_text(const struct job *j, const char *dir, const char *verb,
		      const struct adopt_counts *n)
{
	char size[32], index[32], name[4096];

	size_text(size, n->bytes);
	size_text(index, n->index_bytes);
	cli_text(name, sizeof(name), dir);
	printf(
	    "%s: %s%s: %llu files (%s), %llu directories, %llu symbolic links, %llu special files, "
	    "%llu names, %llu extended attributes; index %s; %s%.1f s\n",
	    name, j->c->dry_run ? "would be " : "", verb, (unsigned long long)n->files, size,
	    (unsigned long long)n->directories, (unsigned long long)n->symlinks,
	    (unsigned long long)n->specials, (unsigned long long)n->names,
	    (unsigned long long)n->xattrs, index, j->c->dry_run ? "about " : "", n->seconds);
}

static int status_of(int res)
{
	if (res == 0)
		return CLI_OK;
	if (res == -EBUSY || res == -EAGAIN)
		return CLI_IN_USE;
	return res == -EUCLEAN ? CLI_DAMAGED : CLI_FAILED;
}

/* Whom the store is for. */
static int user_find(const struct cli *c, struct adopt_args *a)
{
	const struct passwd *pw;

	a->uid = geteuid();
	a->gid = getegid();
	if (!c->user)
		return CLI_OK;
	pw = getpwnam(c->user);
	if (!pw)
		return cli_fail(c, CLI_FAILED, NULL, "--user %s: there is no such user", c->user);
	a->give = true;
	a->uid = pw->pw_uid;
	a->gid = pw->pw_gid;
	return CLI_OK;
}

static int run(struct cli *c, const char *dir, const char *verb,
	       int (*call)(const struct adopt_args *, struct adopt_counts *, char *, size_t))
{
	struct job j = {.c = c, .list = json_array(), .terminal = isatty(STDERR_FILENO)};
	struct adopt_args a = {.dir = dir,
			       .dry_run = c->dry_run,
			       .progress = on_progress,
			       .finding = on_finding,
			       .arg = &j};
	struct adopt_counts n;
	char err[512] = "", text[2048];
	int res, status = user_find(c, &a);

	if (status)
		return status;
	log_open("holdfast", LOG_L_WARN);
	store_conf_default(&a.conf);
	res = call(&a, &n, err, sizeof(err));
	if (j.shown && j.terminal)
		fprintf(stderr, "\n");
	if (c->json)
		show_json(&j, dir, res, err, &n);
	else if (res == 0 && !(c->dry_run && n.committed))
		show_text(&j, dir, verb, &n);
	if (res)
		fprintf(stderr, "holdfast: %s\n", cli_text(text, sizeof(text), err));
	json_decref(j.list);
	return status_of(res);
}

int cli_adopt(struct cli *c, const char *dir)
{
	return run(c, dir, "adopted", store_adopt);
}

int cli_release(struct cli *c, const char *dir)
{
	return run(c, dir, "released", store_release);
}
