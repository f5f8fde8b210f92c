/* range.c - a range of seeds over the processors, as if one process had run them in order.
 *
 * Worker processes take the next seed from a common counter and leave what it came to in a common
 * table; a seed is a world of its own, so it does not matter who runs it.  Totals, the hash and the
 * failures are put together from the table in the order of the seeds, marks by adding: the same
 * range prints the same lines with any number of processes.  A worker that an assertion or a
 * signal ended costs that one seed; another takes its place. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

#define TEXTS        64
#define PATIENCE_S   300 /* a seed takes hundredths of a second: one that does not end is a fault */
#define ENDS_PANICED 3

struct table {
	_Atomic uint64_t next;
	_Atomic unsigned failed, texts;
	struct {
		uint64_t seed; /* under way, or 0 */
	} job[SIM_JOBS];
	struct {
		uint64_t seed;
		char text[sizeof(((struct sim *)0)->failed)];
	} text[TEXTS];
	struct seed_result result[];
};

static struct seed_result *result_of(struct table *t, const struct sim_range *r, uint64_t seed)
{
	return &t->result[seed - r->first];
}

static void say_failed(struct table *t, struct seed_result *res, uint64_t seed, const char *text)
{
	unsigned at = t->texts++;

	res->state = SEED_FAILED;
	t->failed++;
	if (at >= TEXTS)
		return;
	t->text[at].seed = seed;
	snprintf(t->text[at].text, sizeof(t->text[at].text), "%s", text);
}

/* Runs seeds until there are none, or enough failed.  Marks go to `out` at the end. */
static _Noreturn void work(struct table *t, const struct sim_range *r, unsigned job, FILE *out)
{
	struct sim *s = mem_zalloc(1, sizeof(*s));
	bool paniced = false;

	while (!paniced && t->failed < r->failures_max) {
		uint64_t seed = t->next++;
		struct seed_result *res;

		if (seed > r->last)
			break;
		t->job[job].seed = seed;
		alarm(PATIENCE_S);
		paniced = sim_guarded(s, seed, &r->mode) == 2;
		res = result_of(t, r, seed);
		sim_result(s, res);
		if (s->failed[0])
			say_failed(t, res, seed, s->failed);
		t->job[job].seed = 0;
	}
	mark_dump(out);
	fclose(out);
	_exit(paniced ? ENDS_PANICED : 0);
}

static pid_t start(struct table *t, const struct sim_range *r, unsigned job, FILE *out)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("holdfast-sim: fork");
		exit(1);
	}
	if (pid == 0)
		work(t, r, job, out);
	return pid;
}

/* A worker ended; true: another one is needed. */
static bool ended(struct table *t, const struct sim_range *r, unsigned job, int status)
{
	uint64_t seed = t->job[job].seed;
	char text[64];

	t->job[job].seed = 0;
	if (seed) {
		snprintf(text, sizeof(text), "crash: signal %d%s", WTERMSIG(status),
			 WTERMSIG(status) == SIGALRM ? ", it does not end" : "");
		say_failed(t, result_of(t, r, seed), seed, text);
	}
	return (seed || status) && t->next <= r->last && t->failed < r->failures_max;
}

static void gather_marks(FILE *f)
{
	char name[64];
	unsigned long long hits;

	rewind(f);
	while (fscanf(f, "mark %63s %llu\n", name, &hits) == 2)
		mark_add(name, hits);
}

static void run_all(struct table *t, const struct sim_range *r)
{
	FILE *out[SIM_JOBS];
	pid_t pid[SIM_JOBS];
	unsigned running = r->jobs;

	for (unsigned i = 0; i < r->jobs; i++) {
		out[i] = tmpfile();
		if (!out[i]) {
			perror("holdfast-sim: a temporary file");
			exit(1);
		}
		pid[i] = start(t, r, i, out[i]);
	}
	while (running) {
		int status;
		pid_t gone = wait(&status);

		for (unsigned i = 0; i < r->jobs; i++) {
			if (pid[i] != gone)
				continue;
			gather_marks(out[i]);
			fclose(out[i]);
			pid[i] = 0;
			running--;
			if (!ended(t, r, i, status))
				continue;
			out[i] = tmpfile();
			pid[i] = out[i] ? start(t, r, i, out[i]) : 0;
			running += pid[i] != 0;
		}
	}
}

static const char *text_of(const struct table *t, uint64_t seed)
{
	for (unsigned i = 0; i < TEXTS && i < t->texts; i++)
		if (t->text[i].seed == seed)
			return t->text[i].text;
	return "?";
}

static void add_up(const struct table *t, const struct sim_range *r, struct sim_total *sum)
{
	for (uint64_t seed = r->first; seed <= r->last; seed++) {
		const struct seed_result *res = &t->result[seed - r->first];

		if (res->state == SEED_NOT_RUN)
			continue;
		total_add(sum, seed, res);
		if (res->state == SEED_FAILED)
			sim_report(seed, (double)res->now_ns / 1e9, text_of(t, seed), &r->mode);
	}
}

void range_run(const struct sim_range *r, struct sim_total *sum)
{
	size_t size = sizeof(struct table) + (r->last - r->first + 1) * sizeof(struct seed_result);
	struct table *t = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED) {
		perror("holdfast-sim: the table of seeds");
		exit(1);
	}
	t->next = r->first;
	run_all(t, r);
	add_up(t, r, sum);
	munmap(t, size);
}
