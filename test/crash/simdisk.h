/* simdisk.h - what a disk has kept when the power goes, for the files below one directory.
 *
 * The program that links this (and liblmdb in it) calls open, pwrite, fdatasync and so on as
 * always; they are interposed by symbol.  The real files show what a running machine sees.  Beside
 * them this module keeps, for each file, what is durable and what is not: writes and cuts wait in
 * a list until a sync of that file, names until a sync of their folder.  Each call that changes or
 * syncs something is a boundary: sim_hook is called, and may fork a process that goes on from
 * there as the machine after the crash. */
#ifndef HF_TEST_SIMDISK_H
#define HF_TEST_SIMDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where we are when a crash may happen. */
enum sim_place {
	SIM_WRITE,     /* an ordinary write to an object or the index */
	SIM_DSYNC,     /* inside a write that is durable on return: LMDB's meta page */
	SIM_LOG,       /* a log batch is on its way */
	SIM_SYNC,      /* before a sync has done anything */
	SIM_SYNC_DONE, /* after it */
	SIM_NAME,      /* after a create or unlink */
	SIM_CUT,       /* after a truncate */
	SIM_BETWEEN,   /* between two operations */
	SIM_PLACES
};
extern void (*sim_hook)(enum sim_place where);

/* What may have happened to what was not durable. */
enum sim_fate {
	SIM_KEPT,	/* a pending write survived whole */
	SIM_DROPPED,	/* ... was lost */
	SIM_TORN_512,	/* ... survived in part, by sectors */
	SIM_TORN_4K,	/* ... by pages */
	SIM_REORDERED,	/* two overlapping or neighbouring writes landed in the other order */
	SIM_CUT_LOST,	/* a truncate was lost */
	SIM_NAME_LOST,	/* a created file had no name */
	SIM_NAME_BACK,	/* an unlinked file was there again */
	SIM_LOG_TORN,	/* the batch in flight landed in part */
	SIM_LOG_LOST,	/* ... not at all */
	SIM_LOG_KEPT,	/* ... whole, unacknowledged */
	SIM_FATES
};
extern const char *const sim_place_name[SIM_PLACES], *const sim_fate_name[SIM_FATES];
/* Counters shared by all processes of the run. */
struct sim_counts {
	uint64_t place[SIM_PLACES], fate[SIM_FATES];
};
extern struct sim_counts *sim_counts;

uint64_t sim_rand(void);
void sim_seed(uint64_t seed);
static inline uint64_t sim_below(uint64_t n)
{
	return sim_rand() % n;
}

/* An empty tree of folders, shared by all crashed machines for those that they never use. */
void sim_empty_folders(const char *path);
/* Watches `root`; everything in it now is durable. */
void sim_watch(const char *root);
/* Stops watching; what is held in memory is dropped. */
void sim_unwatch(void);
/* Makes `to` (an existing empty directory) what is left after a power loss now. */
void sim_power_loss(const char *to);
/* Makes `to` a copy of the running state: a killed process, the kernel lived on. */
void sim_process_kill(const char *to);

/* The log's writes do not go through pwrite, but through the loop (fakeloop.c). */
void sim_log_begin(int fd, const void *buf, size_t len, uint64_t off);
void sim_log_end(int fd);

#endif
