/* main.c - holdfast-sim: one seed with a trace, or a range of seeds with coverage.
 *
 * Exit status: 0 all seeds passed, 1 a checker found something or a required mark was not hit,
 * 2 usage. */
#include "sim.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define FAILURES_MAX 5

static jmp_buf panic_out;
static volatile sig_atomic_t seed_runs;

struct options {
	struct sim_range range;
	bool marks;
	const char *require, *list;
};

/* An assertion of the brain is a checker like the others: it already said what it found. */
static void on_abort(int sig)
{
	(void)sig;
	if (seed_runs)
		longjmp(panic_out, 1);
}

static int usage(void)
{
	fputs("usage: holdfast-sim --seed N [--only FAULTS] [--nodes A-B] [--trace | --brief]\n"
	      "       holdfast-sim --seeds A-B [--calm | --only FAULTS] [--nodes A-B] [--first]\n"
	      "                    [--versions] [--jobs N] [--marks] [--require FILE]\n"
	      "       holdfast-sim --list FILE\n"
	      "       holdfast-sim --config --seeds A-B [--trace]\n",
	      stderr);
	return 2;
}

/* `A` or `A-B`. */
static bool range_of(const char *text, uint64_t *lo, uint64_t *hi)
{
	char *end;

	*lo = *hi = strtoull(text, &end, 10);
	if (end == text)
		return false;
	if (*end == '-') {
		text = end + 1;
		*hi = strtoull(text, &end, 10);
	}
	return *end == '\0' && end != text && *lo <= *hi;
}

static bool parse_value(struct options *o, const char *name, const char *value)
{
	struct sim_range *r = &o->range;
	uint64_t lo, hi;

	if (strcmp(name, "--seed") == 0 || strcmp(name, "--seeds") == 0)
		return range_of(value, &r->first, &r->last);
	if (strcmp(name, "--require") == 0) {
		o->require = value;
	} else if (strcmp(name, "--list") == 0) {
		o->list = value;
	} else if (strcmp(name, "--only") == 0) {
		r->mode.only = value;
	} else if (strcmp(name, "--jobs") == 0) {
		if (!range_of(value, &lo, &hi) || lo != hi || lo < 1 || lo > SIM_JOBS)
			return false;
		r->jobs = (unsigned)lo;
	} else if (strcmp(name, "--nodes") == 0) {
		if (!range_of(value, &lo, &hi) || lo < 2 || hi > SIM_NODES)
			return false;
		r->mode.nodes_lo = (unsigned)lo;
		r->mode.nodes_hi = (unsigned)hi;
	} else {
		return false;
	}
	return true;
}

static bool parse(int argc, const char *const *argv, struct options *o)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	o->range = (struct sim_range){.first = 1, .failures_max = FAILURES_MAX};
	o->range.jobs = processors < 1 ? 1 : processors > SIM_JOBS ? SIM_JOBS : (unsigned)processors;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0) {
			o->range.mode.trace = true;
		} else if (strcmp(argv[i], "--brief") == 0) {
			o->range.mode.trace = o->range.mode.brief = true;
		} else if (strcmp(argv[i], "--first") == 0) {
			o->range.failures_max = 1;
		} else if (strcmp(argv[i], "--calm") == 0) {
			o->range.mode.calm = true;
		} else if (strcmp(argv[i], "--versions") == 0) {
			o->range.mode.versions = true;
		} else if (strcmp(argv[i], "--marks") == 0) {
			o->marks = true;
		} else if (i + 1 < argc && parse_value(o, argv[i], argv[i + 1])) {
			i++;
		} else {
			return false;
		}
	}
	return o->list || o->range.first <= o->range.last;
}

/* ---- one seed -------------------------------------------------------------------------------- */

int sim_guarded(struct sim *s, uint64_t seed, const struct sim_mode *mode)
{
	int rc;

	seed_runs = 1;
	if (setjmp(panic_out) == 0) {
		rc = sim_run(s, seed, mode);
	} else {
		rc = 2;
		snprintf(s->failed, sizeof(s->failed), "assertion of the brain, see above");
	}
	seed_runs = 0;
	return rc;
}

void sim_result(const struct sim *s, struct seed_result *r)
{
	memset(r, 0, sizeof(*r));
	r->state = s->failed[0] ? SEED_FAILED : SEED_PASSED;
	r->hash = s->hash;
	r->now_ns = s->now_ns;
	r->heal_ns = s->healed_ns ? s->now_ns - s->healed_ns : 0;
	for (unsigned v = 0; v < SIM_VS; v++)
		r->answers += s->answers[v];
	r->writes = s->writes_ok;
	r->measured = s->measured;
	memcpy(r->gap_ns, s->gap_ns, sizeof(r->gap_ns));
}

void sim_report(uint64_t seed, double at_s, const char *text, const struct sim_mode *mode)
{
	char nodes[32] = "";

	if (mode->nodes_lo)
		snprintf(nodes, sizeof(nodes), " --nodes %u-%u", mode->nodes_lo, mode->nodes_hi);
	fflush(stdout);
	printf("seed %llu FAILED at %.3f s: %s\n", (unsigned long long)seed, at_s, text);
	printf("  again: holdfast-sim --seed %llu%s%s%s%s --brief\n", (unsigned long long)seed,
	       mode->calm ? " --calm" : mode->versions ? " --versions" : "", mode->only ? " --only " : "",
	       mode->only ? mode->only : "", nodes);
}

/* ---- many ------------------------------------------------------------------------------------ */

void total_add(struct sim_total *sum, uint64_t seed, const struct seed_result *r)
{
	sum->hash = sum->hash * 31 + r->hash;
	sum->answers += r->answers;
	sum->writes += r->writes;
	sum->virtual_ns += r->now_ns;
	if (r->state == SEED_FAILED) {
		sum->failed++;
		return;
	}
	sum->passed++;
	calm_count(seed, r->measured, r->gap_ns);
	if (r->heal_ns > sum->slowest_ns) {
		sum->slowest_ns = r->heal_ns;
		sum->slowest = seed;
	}
}

/* The same seed must give the same trace. */
static bool same_again(const struct sim_range *r)
{
	struct sim *s = mem_zalloc(1, sizeof(*s));
	uint64_t first;
	bool same = true;

	if (sim_guarded(s, r->first, &r->mode) == 0) { /* else it fails by itself */
		first = s->hash;
		sim_guarded(s, r->first, &r->mode);
		same = first == s->hash;
	}
	free(s);
	return same;
}

/* Each line of the file is the name of a mark; # begins a comment. */
static unsigned missing_marks(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned missing = 0;
	char line[128];

	if (!f) {
		fprintf(stderr, "holdfast-sim: %s cannot be read\n", path);
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "# \t\n")] = '\0';
		if (line[0] && mark_hits(line) == 0) {
			printf("mark %s was never hit\n", line);
			missing++;
		}
	}
	fclose(f);
	return missing;
}

/* Each line of the file is a seed that once failed: `SEED [--only FAULTS] [--nodes A-B]  # why`. */
static bool run_list(const char *path, struct sim_total *sum)
{
	FILE *f = fopen(path, "r");
	char line[512];

	if (!f) {
		fprintf(stderr, "holdfast-sim: %s cannot be read\n", path);
		return false;
	}
	while (fgets(line, sizeof(line), f)) {
		const char *argv[8] = {"", "--seed"};
		char *rest = line;
		struct options o = {0};
		int argc = 2;

		line[strcspn(line, "#\n")] = '\0';
		for (char *word; argc < 8 && (word = strsep(&rest, " \t")) != NULL;)
			if (word[0])
				argv[argc++] = word;
		if (argc == 2)
			continue;
		if (!parse(argc, argv, &o)) {
			fprintf(stderr, "holdfast-sim: %s: not a seed: %s\n", path, argv[2]);
			fclose(f);
			return false;
		}
		range_run(&o.range, sum);
	}
	fclose(f);
	return true;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_one(const struct sim_range *r, struct sim_total *sum)
{
	struct sim *s = mem_zalloc(1, sizeof(*s));
	struct seed_result res;

	sim_guarded(s, r->first, &r->mode);
	sim_result(s, &res);
	total_add(sum, r->first, &res);
	if (s->failed[0])
		sim_report(r->first, (double)s->now_ns / 1e9, s->failed, &r->mode);
	free(s);
}

static void print_totals(const struct options *o, const struct sim_total *sum, double took)
{
	calm_report();
	if (o->marks)
		mark_dump(stdout);
	if (o->range.mode.trace || o->list) /* a trace is the same every time */
		return;
	printf("seeds=%llu-%llu hash=%016llx seeds_per_s=%.2f jobs=%u virtual_s=%llu answers=%llu "
	       "writes=%llu slowest_heal_s=%.1f (seed %llu)\n",
	       (unsigned long long)o->range.first, (unsigned long long)o->range.last,
	       (unsigned long long)sum->hash,
	       (double)(sum->passed + sum->failed) / (took > 0 ? took : 1), o->range.jobs,
	       (unsigned long long)sum->virtual_ns / SECOND, (unsigned long long)sum->answers,
	       (unsigned long long)sum->writes, (double)sum->slowest_ns / 1e9,
	       (unsigned long long)sum->slowest);
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct sim_total sum = {0};
	double begun = seconds(), took;

	if (argc > 1 && strcmp(argv[1], "--config") == 0)
		return config_main(argc - 1, argv + 1);
	if (!parse(argc, (const char *const *)argv, &o))
		return usage();
	signal(SIGABRT, on_abort);
	if (o.list) {
		if (!run_list(o.list, &sum))
			return 2;
	} else if (o.range.mode.trace) {
		run_one(&o.range, &sum);
	} else {
		range_run(&o.range, &sum);
	}
	took = seconds() - begun;
	if (sum.failed == 0 && !o.list && !o.range.mode.trace && !same_again(&o.range)) {
		printf("seed %llu FAILED: a second run gave another trace\n",
		       (unsigned long long)o.range.first);
		sum.failed++;
	}
	print_totals(&o, &sum, took);
	if (o.require && sum.failed == 0)
		sum.failed += missing_marks(o.require);
	printf("%llu passed, %llu failed\n", (unsigned long long)sum.passed,
	       (unsigned long long)sum.failed);
	return sum.failed ? 1 : 0;
}
