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

#include "base/log.h"
#include "base/mem.h"

#define FAILURES_MAX 5

static jmp_buf panic_out;
static volatile sig_atomic_t seed_runs;

struct options {
	uint64_t first, last;
	struct sim_mode mode;
	bool marks;
	unsigned failures_max;
	const char *require;
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
	fputs("usage: holdfast-sim --seed N [--trace | --brief]\n"
	      "       holdfast-sim --seeds A-B [--calm | --only FAULTS] [--first] [--marks] "
	      "[--require FILE]\n",
	      stderr);
	return 2;
}

static bool number(const char *text, char end, uint64_t *out, const char **rest)
{
	char *stop;

	*out = strtoull(text, &stop, 10);
	*rest = stop + 1;
	return stop != text && *stop == end;
}

static bool parse(int argc, char **argv, struct options *o)
{
	const char *rest;

	o->first = 1;
	o->last = 0;
	o->failures_max = FAILURES_MAX;
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--seed") == 0 && more) {
			if (!number(argv[++i], '\0', &o->first, &rest))
				return false;
			o->last = o->first;
		} else if (strcmp(argv[i], "--seeds") == 0 && more) {
			if (!number(argv[++i], '-', &o->first, &rest) ||
			    !number(rest, '\0', &o->last, &rest))
				return false;
		} else if (strcmp(argv[i], "--require") == 0 && more) {
			o->require = argv[++i];
		} else if (strcmp(argv[i], "--trace") == 0) {
			o->mode.trace = true;
		} else if (strcmp(argv[i], "--brief") == 0) {
			o->mode.trace = o->mode.brief = true;
		} else if (strcmp(argv[i], "--only") == 0 && more) {
			o->mode.only = argv[++i];
		} else if (strcmp(argv[i], "--first") == 0) {
			o->failures_max = 1;
		} else if (strcmp(argv[i], "--calm") == 0) {
			o->mode.calm = true;
		} else if (strcmp(argv[i], "--marks") == 0) {
			o->marks = true;
		} else {
			return false;
		}
	}
	return o->first <= o->last;
}

static int run_guarded(struct sim *s, uint64_t seed, const struct options *o)
{
	int rc;

	seed_runs = 1;
	if (setjmp(panic_out) == 0) {
		rc = sim_run(s, seed, &o->mode);
	} else {
		rc = 2;
		snprintf(s->failed, sizeof(s->failed), "assertion of the brain, see above");
	}
	seed_runs = 0;
	return rc;
}

/* The same seed must give the same trace. */
static bool same_again(struct sim *s, const struct options *o)
{
	struct options quiet = *o;
	uint64_t first;

	quiet.mode.trace = false;
	if (run_guarded(s, o->first, &quiet) != 0)
		return true; /* it fails by itself */
	first = s->hash;
	run_guarded(s, o->first, &quiet);
	return first == s->hash;
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

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct sim *s = mem_zalloc(1, sizeof(*s));
	uint64_t passed = 0, failed = 0, hash = 0, answers = 0, writes = 0, virtual_s = 0,
		 slowest = 0, slowest_ns = 0;
	double begun = seconds(), took;

	if (!parse(argc, argv, &o))
		return usage();
	signal(SIGABRT, on_abort);
	for (uint64_t seed = o.first; seed <= o.last && failed < o.failures_max; seed++) {
		int rc = run_guarded(s, seed, &o);

		hash = hash * 31 + s->hash;
		for (unsigned v = 0; v < SIM_VS; v++)
			answers += s->answers[v];
		writes += s->writes_ok;
		virtual_s += s->now_ns / SECOND;
		if (rc == 0 && s->healed_ns && s->now_ns - s->healed_ns > slowest_ns) {
			slowest_ns = s->now_ns - s->healed_ns;
			slowest = seed;
		}
		if (rc == 0) {
			passed++;
			continue;
		}
		failed++;
		fflush(stdout);
		printf("seed %llu FAILED at %.3f s: %s\n", (unsigned long long)seed,
		       (double)s->now_ns / 1e9, s->failed);
		printf("  again: holdfast-sim --seed %llu%s%s%s --brief\n",
		       (unsigned long long)seed, o.mode.calm ? " --calm" : "",
		       o.mode.only ? " --only " : "", o.mode.only ? o.mode.only : "");
		if (rc == 2)
			break; /* a panic can happen once in a process */
	}
	took = seconds() - begun;
	if (failed == 0 && !o.mode.trace && !same_again(s, &o)) {
		printf("seed %llu FAILED: a second run gave another trace\n",
		       (unsigned long long)o.first);
		failed++;
	}
	calm_report();
	if (o.marks)
		mark_dump();
	if (!o.mode.trace) /* a trace is the same every time */
		printf("seeds=%llu-%llu hash=%016llx seeds_per_s=%.2f virtual_s=%llu answers=%llu "
		       "writes=%llu slowest_heal_s=%.1f (seed %llu)\n",
		       (unsigned long long)o.first, (unsigned long long)o.last,
		       (unsigned long long)hash, (double)(passed + failed) / (took > 0 ? took : 1),
		       (unsigned long long)virtual_s, (unsigned long long)answers,
		       (unsigned long long)writes, (double)slowest_ns / 1e9,
		       (unsigned long long)slowest);
	if (o.require && failed == 0)
		failed += missing_marks(o.require);
	free(s);
	printf("%llu passed, %llu failed\n", (unsigned long long)passed,
	       (unsigned long long)failed);
	return failed ? 1 : 0;
}
