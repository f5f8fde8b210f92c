/* check.c - `holdfast check [--repair] DIR`: looks at a store that is not open, and mends it.
 *
 * Findings go to stdout, progress to stderr (a line that is written over on a terminal, now and
 * then a line of its own elsewhere). */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

#define TERMINAL_NS 200000000ULL
#define FILE_NS	    5000000000ULL

struct findings {
	bool json, terminal, shown;
	json_t *list;
	uint64_t said_ns;
};

static void wipe(struct findings *f)
{
	if (f->shown)
		fprintf(stderr, "\r\033[K");
	f->shown = false;
}

static void found(void *arg, const struct store_finding *s)
{
	struct findings *f = arg;
	char text[4096];

	wipe(f);
	cli_text(text, sizeof(text), s->text);
	if (f->json)
		json_array_append_new(f->list,
				      json_pack("{s:s, s:s, s:s, s:b, s:b}", "code", s->code, "text",
						text, "repair", s->repair, "repaired",
						s->repaired, "lost", s->lost));
	else
		printf("%s: %s%s%s%s\n", s->code, text, s->repaired ? " [" : "",
		       s->repaired ? s->repair : "", s->repaired ? "]" : "");
}

static void progress(void *arg, const char *phase, uint64_t done, uint64_t all)
{
	struct findings *f = arg;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	if (f->said_ns == 0)
		f->said_ns = now;
	if (now < f->said_ns + (f->terminal ? TERMINAL_NS : FILE_NS))
		return;
	f->said_ns = now;
	fprintf(stderr, "%s%s: %llu", f->terminal ? "\r\033[K" : "", phase, (unsigned long long)done);
	if (all)
		fprintf(stderr, " of %llu", (unsigned long long)all);
	f->shown = f->terminal;
	if (!f->terminal)
		fputc('\n', stderr);
	fflush(stderr);
}

static void show_json(const struct findings *f, const char *dir, int res,
		      const struct store_check_result *r, const char *err)
{
	char name[4096], text[2048];
	json_t *o = json_pack("{s:s, s:b, s:i, s:s, s:I, s:I, s:I, s:I, s:s, s:O}", "store",
			      cli_text(name, sizeof(name), dir), "clean", res == 0, "error",
			      res < 0 ? -res : 0, "text", cli_text(text, sizeof(text), err), "inodes",
			      (json_int_t)r->inodes, "repaired", (json_int_t)r->repaired, "left",
			      (json_int_t)r->left, "lost", (json_int_t)r->lost, "kept", r->kept,
			      "findings", f->list);

	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

static void show_text(const char *dir, int res, const struct store_check_result *r)
{
	if (res == 0)
		printf("%s: clean\n", dir);
	else if (res > 0 && r->repaired == 0)
		printf("%s: %llu findings; nothing was changed\n", dir,
		       (unsigned long long)r->findings);
	else if (res > 0)
		printf("%s: %llu findings, %llu repaired, %llu left%s%s%s\n", dir,
		       (unsigned long long)r->findings, (unsigned long long)r->repaired,
		       (unsigned long long)r->left, r->kept[0] ? "; what was thrown away is in " : "",
		       r->kept, r->lost ? "; something that was acknowledged is lost" : "");
}

static int exit_of(int res, const struct store_check_result *r)
{
	if (res == -EBUSY || res == -EAGAIN)
		return CLI_IN_USE;
	if (res == -EUCLEAN || res == -ENOTSUP || res == -ENOENT)
		return CLI_DAMAGED;
	if (res < 0)
		return r->repaired ? CLI_INTERNAL : CLI_DAMAGED;
	if (res == 0)
		return CLI_OK;
	return r->left ? CLI_DAMAGED : CLI_REPAIRED;
}

int cli_check(struct cli *c, const char *dir)
{
	struct findings f = {.json = c->json, .list = json_array(), .terminal = isatty(2)};
	struct store_check_args a = {.dir = dir, .repair = c->repair, .found = found,
				     .progress = progress, .arg = &f};
	struct store_check_result r;
	char err[512];
	int res = store_check_run(&a, &r, err, sizeof(err));

	wipe(&f);
	if (c->json)
		show_json(&f, dir, res, &r, err);
	else
		show_text(dir, res, &r);
	json_decref(f.list);
	if (res < 0)
		fprintf(stderr, "holdfast: %s\n", err);
	return exit_of(res, &r);
}
