/* crash.c - the store on a disk in memory, stopped everywhere: random histories, each of a seed.
 *
 *	crash [--seed A] [--count N] [--every N] [--quick] [--trace] [--verbose] [--keep DIR]
 *
 * --count: histories of that many seeds from A on, each ended at one boundary, with or without an
 * injected error, and opened again, perhaps crashed while it opens.  --every: of that many seeds
 * from A on, every boundary of the first life is a crash (power loss and kill) and every call that
 * may fail fails in each of its ways.  --quick: the first failure ends the run.  --trace: what
 * happened, line by line; the digest at the end says the same in one number, and is the same each
 * time.  Without --quick the run fails, too, when a numbered step of doc/store.md was never crashed
 * at, a call never failed, or a kind of loss never happened: then it would have shown nothing.
 *
 * covers: S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 */
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "gone.h"
#include "history.h"
#include "store/record.h"

#define BATCH    250U /* histories of one process */
#define LOG_HALF ((uint64_t)256 << 10)

/* The steps of doc/store.md: where a crash must have happened. */
static const struct step {
	const char *name;
	enum phase phase;
	enum place place;
} steps[] = {
    {"A1 between operations", IN_SERVICE, AT_BETWEEN},
    {"A2 unstable write or effect in an object", IN_SERVICE, AT_OBJECT_WRITE},
    {"A3 object made", IN_SERVICE, AT_OBJECT_MAKE},
    {"A4 blocks reserved", IN_SERVICE, AT_OBJECT_RESERVE},
    {"B1 batch on its way", IN_SERVICE, AT_LOG_WRITE},
    {"B2 batch durable, nobody told", IN_SERVICE, AT_LOG_LANDED},
    {"B3 object cut", IN_SERVICE, AT_OBJECT_CUT},
    {"C1 COMMIT: before fdatasync", IN_SERVICE, AT_OBJECT_SYNC},
    {"C2 COMMIT: after fdatasync", IN_SERVICE, AT_OBJECT_SYNCED},
    {"C3 COMMIT: before the folder's fsync", IN_SERVICE, AT_FOLDER_SYNC},
    {"C4 COMMIT: after the folder's fsync", IN_SERVICE, AT_FOLDER_SYNCED},
    {"D1 checkpoint: before an object's sync", IN_CHECKPOINT, AT_OBJECT_SYNC},
    {"D2 checkpoint: after an object's sync", IN_CHECKPOINT, AT_OBJECT_SYNCED},
    {"D3 checkpoint: before a folder's sync", IN_CHECKPOINT, AT_FOLDER_SYNC},
    {"D4 checkpoint: after a folder's sync", IN_CHECKPOINT, AT_FOLDER_SYNCED},
    {"D5 checkpoint: index page written", IN_CHECKPOINT, AT_INDEX_WRITE},
    {"D6 checkpoint: before the index's sync", IN_CHECKPOINT, AT_INDEX_SYNC},
    {"D7 checkpoint: after the index's sync", IN_CHECKPOINT, AT_INDEX_SYNCED},
    {"D8 checkpoint: root page on its way", IN_CHECKPOINT, AT_META_WRITE},
    {"D9 checkpoint: committed", IN_CHECKPOINT, AT_META_LANDED},
    {"D10 checkpoint: object unlinked", IN_CHECKPOINT, AT_OBJECT_UNLINK},
    {"E1 close: before syncfs", IN_CLOSE, AT_ALL_SYNC},
    {"E2 close: after syncfs", IN_CLOSE, AT_ALL_SYNCED},
    {"E3 close: index page written", IN_CLOSE, AT_INDEX_WRITE},
    {"E4 close: root page on its way", IN_CLOSE, AT_META_WRITE},
    {"E5 close: committed", IN_CLOSE, AT_META_LANDED},
    {"E6 close: object unlinked that was due before", IN_CLOSE, AT_OBJECT_UNLINK},
    {"F1 open: before the root pages' sync", IN_OPEN, AT_INDEX_SYNC},
    {"F2 open: after the root pages' sync", IN_OPEN, AT_INDEX_SYNCED},
    {"F3 open: epoch's batch on its way", IN_OPEN, AT_LOG_WRITE},
    {"F4 open: epoch's batch durable", IN_OPEN, AT_LOG_LANDED},
    {"F5 open: deferred effect makes an object", IN_OPEN, AT_OBJECT_MAKE},
    {"F6 open: deferred effect writes", IN_OPEN, AT_OBJECT_WRITE},
    {"F7 open: deferred effect cuts", IN_OPEN, AT_OBJECT_CUT},
    {"F8 open: checkpoint of a full half", IN_OPEN, AT_META_LANDED},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static char work[64];
static bool quick;

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

/* A store as it is made, but with a small log: so both halves fill within a short history. */
static bool template_make(void)
{
	struct store_conf c;
	struct label l;
	uint8_t buf[LABEL_SIZE];
	char dir[80], path[96], err[256];
	int fd;

	snprintf(dir, sizeof(dir), "%s/t", work);
	mkdir(dir, 0700);
	store_conf_default(&c);
	c.log_half_bytes = 4 << 20;
	c.index_map_bytes = 16 << 20;
	if (store_create_at(dir, &c, NULL, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		return false;
	}
	snprintf(path, sizeof(path), "%s/LABEL", dir);
	fd = open(path, O_RDWR);
	if (fd < 0 || pread(fd, buf, sizeof(buf), 0) != sizeof(buf) ||
	    label_decode(&l, buf, sizeof(buf)))
		return false;
	l.half_bytes = LOG_HALF;
	label_encode(&l, buf);
	if (pwrite(fd, buf, sizeof(buf), 0) != sizeof(buf))
		return false;
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/log/%u", dir, i);
		if (truncate(path, (off_t)LOG_HALF))
			return false;
	}
	return disk_load(dir);
}

/* Seeds from h->seed on in one process; that of `counts->now` is under way. */
static void batch(struct history *h, uint64_t end)
{
	pid_t pid;

	fflush(stdout);
	counts->now = h->seed;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (; h->seed < end; h->seed = ++counts->now)
			history_run(h);
		fflush(stdout);
		_exit(0);
	}
	gone_child = pid;
	counts->status = -1;
	waitpid(pid, &counts->status, 0);
	gone_child = 0;
}

/* ---- what was reached
 * ------------------------------------------------------------------------------- */

static unsigned show_steps(void)
{
	unsigned missing = 0;

	for (size_t i = 0; i < STEPS; i++) {
		uint64_t n = counts->crash[steps[i].phase][steps[i].place];

		printf("crash  %-45s %8llu\n", steps[i].name, (unsigned long long)n);
		missing += n == 0;
	}
	for (int p = 0; p < PHASES; p++)
		for (int w = 0; w < PLACES; w++) {
			bool listed = false;

			for (size_t i = 0; i < STEPS; i++)
				listed |= (int)steps[i].phase == p && (int)steps[i].place == w;
			if (!listed && counts->crash[p][w])
				printf("crash  also in %-10s at %-25s %8llu\n", phase_name[p],
				       place_name[w], (unsigned long long)counts->crash[p][w]);
		}
	return missing;
}

static unsigned show_faults(void)
{
	unsigned missing = 0;

	for (int w = 0; w < PLACES; w++)
		for (unsigned f = 1; f < FAULTS; f++) {
			if (!(faults_of((enum place)w) & 1U << f))
				continue;
			printf("fault  %-15s %-29s %8llu\n", place_name[w], fault_name[f],
			       (unsigned long long)counts->fault[w][f]);
			missing += counts->fault[w][f] == 0;
		}
	for (int f = 0; f < FATES; f++) {
		printf("lost   %-45s %8llu\n", fate_name[f], (unsigned long long)counts->fate[f]);
		missing += counts->fate[f] == 0;
	}
	return missing;
}

static unsigned show_rest(void)
{
	static const char *const op_name[OP_TYPES] = {"create", "link",   "remove",  "rmdir",
						      "rename", "write",  "setattr", "commit",
						      "touch",  "forget", "failed"};
	const struct {
		const char *name;
		uint64_t n;
	} more[] = {{"power losses", counts->powers},
		    {"kills", counts->kills},
		    {"ended itself after an error", counts->fatals},
		    {"orderly ends", counts->closes},
		    {"crashed again while opening", counts->double_crashes},
		    {"opens that failed", counts->opens_failed},
		    {"rotten batches", counts->rots},
		    {"operations sent again", counts->resent},
		    {"repeats that got their first answer", counts->repeated},
		    {"durable, but the reply never left", counts->last_reply},
		    {"operations refused", counts->refused},
		    {"... for want of room", counts->full},
		    {"offline checks", counts->checks}};
	unsigned missing = 0;

	for (unsigned i = 0; i < history_mark_count; i++) {
		printf("mark   %-45s %8llu\n", history_marks[i],
		       (unsigned long long)counts->mark[i]);
		missing += counts->mark[i] == 0;
	}
	for (int i = 0; i < OP_TYPES; i++) {
		printf("op     %-45s %8llu\n", op_name[i], (unsigned long long)counts->ops[i]);
		missing += counts->ops[i] == 0;
	}
	for (int i = STORE_REG; i <= STORE_FIFO; i++)
		missing += counts->kinds[i] == 0;
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		printf("count  %-45s %8llu\n", more[i].name, (unsigned long long)more[i].n);
		missing += more[i].n == 0;
	}
	return missing;
}

/* ---- the run
 * ------------------------------------------------------------------------------------------ */

static bool setup(bool verbose)
{
	/* Few descriptors, so that the store must close some. */
	struct rlimit files = {.rlim_cur = 24, .rlim_max = 24};
	int null = open("/dev/null", O_WRONLY);

	counts =
	    mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED || null < 0 ||
	    !gone_with(work, sizeof(work), "hf-crash"))
		return false;
	dup2(2, OUR_STDERR); /* ours; what the store says of injected errors is not news */
	if (!verbose)
		dup2(null, 2);
	setrlimit(RLIMIT_NOFILE, &files);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	log_open("crash", verbose ? LOG_L_INFO : LOG_L_ERR);
	return template_make();
}

static void run(struct history *h, uint64_t count)
{
	uint64_t first = h->seed, end = first + count;

	while (h->seed < end && counts->failed <= (quick ? 0 : 20)) {
		uint64_t to = end - h->seed > BATCH ? h->seed + BATCH : end;

		batch(h, to);
		if (counts->status != 0) {
			counts->failed++;
			dprintf(OUR_STDERR, "seed %llu%s: status 0x%x\n",
				(unsigned long long)counts->now, h->every ? " --every 1" : "",
				(unsigned)counts->status);
			counts->now++;
		}
		counts->histories += counts->now - h->seed;
		h->seed = counts->now;
	}
	h->seed = first;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"seed", required_argument, NULL, 's'},  {"count", required_argument, NULL, 'n'},
	    {"every", required_argument, NULL, 'e'}, {"quick", no_argument, NULL, 'q'},
	    {"trace", no_argument, NULL, 't'},       {"verbose", no_argument, NULL, 'v'},
	    {"keep", required_argument, NULL, 'k'},  {NULL, 0, NULL, 0}};
	static char out[4096]; /* not from a history's memory */
	struct history h = {.seed = 1, .work = work};
	uint64_t count = 1, every = 0;
	unsigned missing;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			h.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			count = strtoull(optarg, NULL, 0);
		else if (c == 'e')
			every = strtoull(optarg, NULL, 0);
		else if (c == 'q')
			quick = true;
		else if (c == 't')
			h.trace = true;
		else if (c == 'v')
			h.verbose = true;
		else if (c == 'k')
			snprintf(h.keep, sizeof(h.keep), "%s", optarg);
		else
			return 2;
	}
	setvbuf(stdout, out, h.trace ? _IOLBF : _IOFBF, sizeof(out));
	if (!setup(h.verbose))
		return 2;
	run(&h, count);
	h.every = true;
	run(&h, every);
	nftw(work, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	missing = show_steps();
	missing += show_faults();
	missing += show_rest();
	if (missing)
		printf("%u kinds never happened\n", missing);
	printf("%llu boundaries in %llu lives, digest %016llx\n",
	       (unsigned long long)counts->boundaries, (unsigned long long)counts->lives,
	       (unsigned long long)counts->digest);
	printf("%llu passed, %llu failed\n",
	       (unsigned long long)(counts->histories - counts->failed),
	       (unsigned long long)counts->failed);
	return counts->failed || (!quick && missing && !h.trace);
}
