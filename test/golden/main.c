/* holdfast-golden - whole clusters on virtual time; see world.h and doc/golden.md.
 *
 *	holdfast-golden seeds FIRST COUNT [MARKS]	random runs; MARKS: a file of marks that
 *must
 *be hit holdfast-golden seed N			one run, with its trace holdfast-golden twice N
 *runs a seed twice and compares holdfast-golden golden FILE		a scenario; prints commands
 *and trace
 *
 * Exit status: 0 good, 1 a checker failed (the seed is printed), 2 usage. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "world.h"

static char crash_note[64];

/* An assertion of the brain: say which seed it was. */
static void on_abort(int sig)
{
	(void)sig;
	if (write(STDOUT_FILENO, crash_note, strlen(crash_note)) < 0)
		_exit(1);
	_exit(1);
}

static int run_seed(uint64_t seed, bool verbose, uint32_t *hash)
{
	snprintf(crash_note, sizeof(crash_note), "seed %llu: FAILED: assertion\n",
		 (unsigned long long)seed);
	return faults_run(seed, verbose, hash);
}

static int check_marks(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[128];
	int missing = 0;

	if (!f) {
		fprintf(stderr, "%s: cannot be opened\n", path);
		return 2;
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, " #\n")] = '\0';
		if (line[0] && trace_mark_count(line) == 0) {
			printf("mark never hit: %s\n", line);
			missing = 1;
		}
	}
	fclose(f);
	return missing;
}

static int run_seeds(uint64_t first, uint64_t count, const char *marks)
{
	unsigned failed = 0;
	uint32_t hash;

	for (uint64_t i = 0; i < count && failed < 5; i++)
		failed += run_seed(first + i, false, &hash) != 0;
	trace_mark_dump(stdout);
	printf("%llu seeds from %llu, %u failed\n", (unsigned long long)count,
	       (unsigned long long)first, failed);
	if (failed)
		return 1;
	return marks ? check_marks(marks) : 0;
}

static int run_twice(uint64_t seed)
{
	uint32_t a, b;
	int st = run_seed(seed, false, &a) | run_seed(seed, false, &b);

	if (a != b)
		printf("seed %llu: two runs differ\n", (unsigned long long)seed);
	return st || a != b;
}

int main(int argc, char **argv)
{
	uint32_t hash;

	signal(SIGABRT, on_abort);
	if (argc >= 4 && strcmp(argv[1], "seeds") == 0)
		return run_seeds(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
				 argc > 4 ? argv[4] : NULL);
	if (argc == 3 && strcmp(argv[1], "seed") == 0)
		return run_seed(strtoull(argv[2], NULL, 10), true, &hash);
	if (argc == 3 && strcmp(argv[1], "twice") == 0)
		return run_twice(strtoull(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "golden") == 0)
		return golden_run(argv[2]);
	fprintf(
	    stderr,
	    "usage: holdfast-golden seeds FIRST COUNT [MARKS] | seed N | twice N | golden FILE\n");
	return 2;
}
