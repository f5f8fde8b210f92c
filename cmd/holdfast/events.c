/* events.c - `holdfast events`: what happened on this node, or in files of several nodes.
 *
 * Reads the files themselves, so it works when no daemon does.  Given files of several nodes it
 * puts them together in the order of their clocks. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "ctl/events.h"

#define FOLLOW_US 200000

static double wall_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* "30s", "10min", "2h", "7d" ago, or a UTC time "2026-01-31", "2026-01-31T10:20:30"; false: none. */
static bool parse_since(const char *text, double *at_s)
{
	static const struct {
		const char *unit;
		double s;
	} units[] = {{"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
	char *rest;
	double v = strtod(text, &rest);

	for (size_t i = 0; rest != text && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(rest, units[i].unit) == 0 && v >= 0) {
			*at_s = wall_s() - v * units[i].s;
			return true;
		}
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);

		if (!end)
			continue;
		v = *end == '.' ? strtod(end, &rest) : (rest = (char *)(uintptr_t)end, 0.0);
		if (*rest && strcmp(rest, "Z") != 0)
			continue;
		*at_s = (double)timegm(&tm) + v;
		return true;
	}
	return false;
}

static int by_time(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	json_int_t s = json_integer_value(json_object_get(x, "time_ns")),
		   t = json_integer_value(json_object_get(y, "time_ns"));

	return s < t ? -1 : s > t;
}

/* A node's own order is that of its numbers, whatever its clock did: only files are merged. */
static void merge(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **all = mem_zalloc(n + 1, sizeof(*all));

	for (size_t i = 0; i < n; i++)
		all[i] = json_incref(json_array_get(list, i));
	qsort(all, n, sizeof(*all), by_time);
	json_array_clear(list);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, all[i]);
	free(all);
}

static void show(const json_t *e, bool json)
{
	const char *reason = cli_string(e, "reason"), *todo = cli_string(e, "todo");

	if (json) {
		json_dumpf(e, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		return;
	}
	printf("%s %s %.0f.%.0f %-7s %s: %s", cli_string(e, "time"), cli_string(e, "node"),
	       cli_number(e, "generation"), cli_number(e, "seq"), cli_string(e, "level"),
	       cli_string(e, "object"), cli_string(e, "what"));
	if (*reason != '-')
		printf(" [%s%s%s]", reason, *todo == '-' ? "" : ": ", *todo == '-' ? "" : todo);
	putchar('\n');
}

struct view {
	struct cli *c;
	char dir[CONF_PATH_MAX];
	char **files; /* instead of dir; NULL at the end */
	double since_s;
	double last_seq;
	uint64_t damaged_told;
};

/* qsort is no stable sort of equal times, but those are of different nodes. */
static int read_all(struct view *v, json_t *list, struct events_seen *seen)
{
	int rc;

	if (!v->files[0])
		return events_read_dir(v->dir, list, seen);
	for (char **f = v->files; *f; f++) {
		rc = events_read_file(*f, list, seen);
		if (rc) {
			cli_fail(v->c, CLI_FAILED, NULL, "%s: %s", *f, strerror(-rc));
			return rc;
		}
	}
	merge(list);
	return 0;
}

static void print_new(struct view *v, const json_t *list)
{
	size_t i, n = json_array_size(list), skip = 0, shown = 0;
	json_t *e;

	json_array_foreach(list, i, e)
		shown += cli_number(e, "time_ns") / 1e9 >= v->since_s &&
			 cli_number(e, "seq") > v->last_seq;
	if (v->c->count && shown > v->c->count)
		skip = shown - v->c->count;
	for (i = 0; i < n; i++) {
		e = json_array_get(list, i);
		if (cli_number(e, "time_ns") / 1e9 < v->since_s ||
		    cli_number(e, "seq") <= v->last_seq)
			continue;
		if (skip)
			skip--;
		else
			show(e, v->c->json);
	}
	if (!v->files[0] && n && cli_number(json_array_get(list, n - 1), "seq") > v->last_seq)
		v->last_seq = cli_number(json_array_get(list, n - 1), "seq");
	fflush(stdout);
}

static int once(struct view *v)
{
	struct events_seen seen = {0};
	json_t *list = json_array();
	int rc = read_all(v, list, &seen);

	if (rc == 0)
		print_new(v, list);
	else if (!v->files[0])
		cli_fail(v->c, CLI_FAILED, NULL, "%s/events: %s", v->dir, strerror(-rc));
	json_decref(list);
	if (seen.damaged > v->damaged_told) {
		fprintf(stderr, "holdfast: events: %llu damaged lines were left out\n",
			(unsigned long long)seen.damaged);
		v->damaged_told = seen.damaged;
	}
	return rc ? CLI_FAILED : seen.damaged ? CLI_DAMAGED : CLI_OK;
}

/* Until the reader has seen enough. */
static int follow(struct view *v)
{
	char path[CONF_PATH_MAX + 16];
	struct stat last = {0}, now;

	snprintf(path, sizeof(path), "%s/events", v->dir);
	for (;;) {
		if (stat(path, &now) == 0 &&
		    (now.st_ino != last.st_ino || now.st_size != last.st_size)) {
			last = now;
			once(v);
			v->c->count = 0;
		}
		if (ferror(stdout))
			return CLI_FAILED;
		usleep(FOLLOW_US);
	}
}

static int find_dir(struct view *v)
{
	struct conf *conf = mem_zalloc(1, sizeof(*conf));
	char err[512];
	int status = CLI_OK;

	if (conf_load(conf, v->c->conf_path, err, sizeof(err))) {
		status = cli_fail(v->c, CLI_CONFIG, NULL, "%s", err);
	} else if (strstr(conf->state_dir, "%n") && !v->c->node) {
		status = cli_fail(v->c, CLI_USAGE, NULL,
				  "state_dir depends on the node (%%n): name it with -N");
	} else {
		conf_path(v->dir, sizeof(v->dir), conf->state_dir, v->c->node ? v->c->node : "");
	}
	free(conf);
	return status;
}

int cli_events(struct cli *c, char **files)
{
	struct view v = {.c = c, .files = files, .last_seq = -1};
	int status;

	if (c->all)
		return cli_fail(c, CLI_FAILED, NULL, "events --all: nodes do not read each other's "
				"logs; ask each node, or copy its files and name them: holdfast events "
				"FILE ...");
	if (c->since && !parse_since(c->since, &v.since_s))
		return cli_fail(c, CLI_USAGE, NULL, "--since %s: a time ago like 10min, 2h or 7d is "
				"wanted, or a UTC time like 2026-01-31T10:20", c->since);
	if (files[0] && c->follow)
		return cli_fail(c, CLI_USAGE, NULL,
				"events: --follow reads this node's log, no files");
	status = files[0] ? CLI_OK : find_dir(&v);
	if (status)
		return status;
	return c->follow ? follow(&v) : once(&v);
}
