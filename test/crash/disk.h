/* disk.h - a disk and its kernel in memory, for the store below one directory, DISK_ROOT.
 *
 * The program that links this (and liblmdb in it) calls open, pwrite, mmap, fdatasync and so on as
 * always; these are interposed by symbol and never reach the kernel for anything below DISK_ROOT.
 * Each file has two images: what the running machine sees (the page cache; LMDB's mapping is this
 * memory itself) and what the device would still have after a power loss.  Between them lie the
 * writes and cuts that no sync has covered.  So what counts is what reached the device, whatever
 * the calls returned.
 *
 * Each call that changes or syncs something is a boundary: disk_at_boundary() hears of it and may
 * never return (the crash).  Each call may also be told to fail: disk_fault() decides. */
#ifndef HF_TEST_DISK_H
#define HF_TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_ROOT  "/memdisk"
#define DISK_BLOCK 4096U

/* Boundaries; a fault names the one whose call fails. */
enum place {
	AT_BETWEEN,     /* between two operations of the history */
	AT_LOG_WRITE,   /* a batch is on its way: none, some, all of it lands */
	AT_LOG_LANDED,  /* it is durable, and nobody has been told */
	AT_INDEX_WRITE, /* pages of LMDB */
	AT_INDEX_SYNC,  /* before its sync has done anything */
	AT_INDEX_SYNCED,
	AT_META_WRITE, /* its root page, synchronous: may be torn */
	AT_META_LANDED,
	AT_OBJECT_MAKE,
	AT_OBJECT_WRITE,
	AT_OBJECT_CUT,
	AT_OBJECT_RESERVE,
	AT_OBJECT_SYNC,
	AT_OBJECT_SYNCED,
	AT_FOLDER_SYNC,
	AT_FOLDER_SYNCED,
	AT_ALL_SYNC, /* syncfs */
	AT_ALL_SYNCED,
	AT_OBJECT_UNLINK,
	AT_LOG_READ, /* faults only, from here on */
	AT_OBJECT_READ,
	PLACES
};
extern const char *const place_name[PLACES];

enum fault { FAULT_NONE, FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULTS };
extern const char *const fault_name[FAULTS];

/* Given by the history. */
void disk_at_boundary(enum place where);
enum fault disk_fault(enum place where);

/* What a power loss did to what was not durable. */
enum fate {
	FATE_KEPT,      /* all of a file's pending writes survived */
	FATE_DROPPED,   /* none did */
	FATE_PART,      /* some pages have newer contents than others */
	FATE_REORDERED, /* a later write survived, an earlier one did not */
	FATE_TORN,      /* a page survived by sectors */
	FATE_CUT_LOST,
	FATE_NAME_LOST, /* a new file has no name */
	FATE_NAME_BACK, /* an unlinked one has its name again */
	FATE_LOG_TORN,
	FATE_LOG_LOST,
	FATE_LOG_KEPT, /* whole, though nobody was told */
	FATES
};
extern const char *const fate_name[FATES];
extern uint64_t *disk_fates; /* FATES counters */

/* Everything is decided by these numbers. */
uint64_t dice(void);
void dice_seed(uint64_t seed);
static inline uint64_t below(uint64_t n)
{
	return dice() % n;
}

/* Takes a store that was made in a real directory as the disk's contents, all durable. */
bool disk_load(const char *dir);
/* As it was loaded. */
void disk_reset(void);
/* Writes what a running machine sees to a real, empty directory. */
bool disk_save(const char *dir);
/* Blocks that new data may still take; UINT64_MAX: any number. */
void disk_set_free(uint64_t blocks);
uint64_t disk_free(void);

/* The machine loses power, or only the process dies; descriptors are gone after both. */
void disk_power_loss(void);
void disk_process_gone(void);
/* Flips bits in a batch that is durable and not the last; false when there is none. */
bool disk_rot(void);
/* The log's writes and the COMMIT's syncs do not go through pwrite and fdatasync, but through the
 * loop (fakeloop.c).  begin gives a number for end; end gives what the call would return. */
void disk_log_begin(int fd, const void *buf, size_t len, uint64_t off);
ssize_t disk_log_end(int fd);
uint64_t disk_sync_begin(int fd);
int disk_sync_end(int fd, uint64_t upto);

#endif
