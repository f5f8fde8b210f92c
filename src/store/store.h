/* store.h - a Holdfast file system: a directory with a log, an index and objects (DESIGN 4).
 *
 * One process has it open, one thread calls it.  A change is: store_op_begin(), one of the
 * changing calls (which decides, assigns ids and time, and applies the change to the overlay), the
 * caller encodes its protocol reply from the new state, store_op_end() seals record and reply into
 * the current log batch and returns the lsn the reply must wait for.  Everything between begin and
 * end happens without returning to the event loop.  Batches go out at the end of each loop round.
 *
 * Calls return 0 or -errno (-ENOENT, -EEXIST, -ENOTEMPTY, -ENOTDIR, -EISDIR, -ENOSPC, -ESTALE,
 * -ENAMETOOLONG, -EINVAL, -EFBIG, -EMLINK, ...), or STORE_WAIT: nothing was done, call again once
 * store_durable_lsn() has reached the lsn given in *wait_lsn.
 *
 * An error from a log write, an fsync or an index commit is never retried: one line says what and
 * where, and the process ends with STORE_EXIT_FATAL (S6).
 *
 * Permissions are the caller's business (nfs/access.c); consistency of the tree is this room's. */
#ifndef HF_STORE_STORE_H
#define HF_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/loop.h"

struct store;
struct blocks;

#define STORE_WAIT	    1
#define STORE_COLD	    2
#define STORE_EXIT_FATAL    70
#define STORE_ROOT_INO	    1ULL
#define STORE_NAME_MAX	    255
#define STORE_TARGET_MAX    4095
#define STORE_REPLY_MAX	    8192
#define STORE_WRITE_MAX	    (1U << 20)
#define STORE_LINK_MAX	    65000	/* names of a file: what ext4 can take back (release) */
#define STORE_SUBDIR_MAX    0x7ffffffeU /* directories have no such limit, there or here */
#define STORE_FILE_SIZE_MAX (INT64_MAX - 1)

enum store_type { STORE_REG = 1, STORE_DIR, STORE_BLK, STORE_CHR, STORE_LNK, STORE_SOCK, STORE_FIFO };

/* A little memory that lives as long as the inode is cached, for the callers' use: zeros at first. */
struct store_note {
	uint64_t key, value;
};

/* An inode as callers see it; valid until the next call on this store.  Times are nanoseconds
 * since 1970, signed.  `lsn` is the record that changed it last (unstable writes and times of access
 * apart): what a reply showing it waits for.  `enter_lsn`: the one that last changed who may do what
 * with it; of a directory, a reply that shows none of its attributes but what a name in it leads to
 * waits for that only, and for that inode: each record that gives an inode a name changes the inode. */
struct store_inode {
	uint64_t ino;
	uint32_t generation;
	enum store_type type;
	uint32_t mode; /* permission bits, 07777 */
	uint32_t nlink, uid, gid;
	uint32_t major, minor;
	uint64_t size, used; /* bytes; `used` is what it occupies */
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint64_t parent;   /* directories only */
	uint64_t verifier; /* of an exclusive create, else 0 */
	uint64_t lsn, enter_lsn;
	const char *target; /* symbolic links: NUL terminated */
	struct store_note note;
};

/* To be written to, though the rest of the inode is not. */
static inline struct store_note *store_note_of(const struct store_inode *in)
{
	return (struct store_note *)(uintptr_t)&in->note;
}

/* Which attributes a create or setattr gives, and how. */
enum store_set_time { STORE_TIME_KEEP, STORE_TIME_SERVER, STORE_TIME_CLIENT };
struct store_attr {
	bool set_mode, set_uid, set_gid, set_size;
	uint32_t mode, uid, gid;
	uint64_t size;
	enum store_set_time set_atime, set_mtime;
	int64_t atime_ns, mtime_ns;
};

/* Identity of a request, the key of the duplicate cache (SAFETY S11): client identity is the
 * address without the port (IPv4 as ::ffff:a.b.c.d); `sum` covers the whole argument bytes. */
struct store_caller {
	uint8_t client[16];
	uint32_t xid, prog, vers, proc;
	uint64_t sum;
};

/* Owners count epochs from 1; holdfast-vs --standalone takes milliseconds of the clock. */
#define EPOCH_OF_CLOCK ((uint64_t)1 << 40)

/* ---- life ---------------------------------------------------------------------------------- */
struct store_conf {
	uint64_t log_half_bytes;	 /* at creation; 4 MiB to 1 GiB, default 16 MiB */
	uint64_t index_map_bytes;	 /* LMDB map size: the index may not grow beyond it */
	uint64_t checkpoint_interval_ns; /* default 5 s */
	uint64_t cache_inodes;		 /* clean inodes kept in memory */
	uint64_t read_cache_bytes;	 /* file data kept in our own memory; 0: none */
	uint64_t dup_keep_ns;		 /* duplicate cache, service time: default 120 s (S11) */
};
void store_conf_default(struct store_conf *c);

/* Who shall serve it. */
struct store_owner {
	uint32_t uid, gid;
};
/* Makes a new, empty store in an existing directory: an empty one, or one in which a making was
 * broken off.  It is there whole or not at all, whatever happens.  `owner` NULL: the caller's.
 * `err` gets one line for people: what, where, what to do. */
int store_create_at(const char *dir, const struct store_conf *c, const struct store_owner *owner,
		    char *err, size_t err_size);
/* Was a making broken off here? */
bool store_is_half_made(const char *dir);

struct store_open_args {
	const char *dir;
	struct loop *loop;
	uint64_t epoch; /* of the ownership record: greater than any before (S3) */
	struct store_conf conf;
	/* Called in the loop's thread whenever more has become durable. */
	void (*on_durable)(void *arg, uint64_t lsn);
	/* May the log be written at this moment (SAFETY F4)?  Asked right before each write; while it
	 * says no, what was begun waits, and is asked for again in each round.  NULL: always. */
	bool (*may_write)(void *arg);
	/* Damage was found while serving (VS 1.15): the store answers nothing any more. */
	void (*on_damage)(void *arg, const char *reason);
	/* The file system below fails (I/O error, gone read-only, shut down, damaged): called once, in
	 * any thread, and perhaps right before the process ends.  NULL: on_damage, or just the end. */
	void (*on_failing)(void *arg, const char *reason);
	void *arg;
};
/* Recovers and opens.  -EBUSY: in use; -EUCLEAN: damaged; -ENOTSUP: newer format; with a line. */
int store_open(struct store **sp, const struct store_open_args *a, char *err, size_t err_size);
/* Drain: a checkpoint that ends with an empty log; then `done`.  No operation may follow. */
void store_close(struct store *s, void (*done)(void *arg, int err), void *arg);
/* After close's done, or to drop everything at once as a crash would. */
void store_free(struct store *s);

struct store_info {
	uint8_t uuid[16];
	uint8_t handle_key[16]; /* secret for file handles */
	uint64_t write_verifier; /* S9 */
	uint64_t epoch, last_lsn, durable_lsn, checkpoint_lsn;
	uint64_t recovered_records, recovery_ns;
	bool was_clean;
};
void store_info(const struct store *s, struct store_info *out);
/* Damage was found: whatever it answered in this call must not reach a client. */
bool store_is_damaged(const struct store *s);
uint64_t store_last_lsn(const struct store *s);
uint64_t store_durable_lsn(const struct store *s);
/* Not less than store_last_lsn(), and the write that makes it durable has not begun: who waits for it
 * knows afterwards that the storage was still ours (F4, read_fence strict). */
uint64_t store_fence(struct store *s);

struct store_space {
	uint64_t bytes_total, bytes_free, bytes_avail;
	uint64_t files_total, files_free;
};
int store_space(struct store *s, struct store_space *out);
/* Starts a checkpoint unless one is under way. */
void store_checkpoint(struct store *s);

/* ---- looking ------------------------------------------------------------------------------- */
/* NULL when there is no such inode. */
const struct store_inode *store_inode(struct store *s, uint64_t ino);
/* NULL also when it is not in memory. */
const struct store_inode *store_inode_here(const struct store *s, uint64_t ino);
/* As store_inode(), but what is not in memory is not kept there: for the answer to a call that made it, as
 * long as nobody has asked for it.  Valid until the next look of this kind, and until it changes. */
const struct store_inode *store_inode_passing(struct store *s, uint64_t ino);
/* A hint: store_inode() will be called for `ino` after some of other inodes.  First with `second`
 * false, some later with true. */
void store_inode_hint(const struct store *s, uint64_t ino, bool second);
/* `name` has no slash; "." and ".." are answered here ("..": of the root is the root). */
int store_lookup(struct store *s, uint64_t dir, const char *name, size_t name_len, uint64_t *ino);

/* One directory entry; `cookie` is stable for the entry's life and greater than every earlier one
 * of the directory.  Cookies 1 and 2 are "." and "..". Return false to stop before this entry. */
typedef bool store_dir_fn(void *arg, uint64_t cookie, uint64_t ino, const char *name,
			  size_t name_len);
/* Calls `each` for entries with a cookie > `after`, in order.  *eof is true when none is left. */
int store_readdir(struct store *s, uint64_t dir, uint64_t after, store_dir_fn *each, void *arg,
		  bool *eof);
/* Up to `len` bytes at `off` (short at end of file); *got bytes.  May give STORE_WAIT. */
int store_read(struct store *s, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *got,
	       bool *eof, uint64_t *wait_lsn);
/* The same, but never waits for the disk: STORE_COLD then, and store_warm() should follow. */
int store_read_try(struct store *s, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *got,
		   bool *eof, uint64_t *wait_lsn);
/* The bytes themselves where they lie in memory, all of them, or NULL: read them.  They may change
 * with the next call on this store; to touch them may fault, so only the kernel should (EFAULT). */
const void *store_read_here(struct store *s, uint64_t ino, uint64_t off, size_t len);
/* A small range that is kept in our own memory, or NULL: read it.  It stays there and as it is until
 * store_give_back(*from, it), which may come after the store's end (S12). */
void *store_lend(struct store *s, uint64_t ino, uint64_t off, size_t len, struct blocks **from);
/* A hint: store_lend() will be called for what lies there. */
void store_lend_hint(const struct store *s, uint64_t ino, uint64_t off);
void store_give_back(void *from, void *data);
/* Brings a range into memory that store_read_try() just called cold, then calls `done`, in which
 * store_read_try() should be called again: that one waits if it must. */
void store_warm(struct store *s, uint64_t ino, uint64_t off, size_t len, void (*done)(void *arg),
		void *arg);

/* ---- changing ------------------------------------------------------------------------------ */
/* Begins an operation for this caller (NULL: our own doing, nothing is remembered for repeats);
 * `time` of the record is fixed here (S10).  0, or STORE_WAIT: both log halves are full (the only
 * back-pressure there is); then nothing was begun, and neither end nor cancel may follow. */
int store_op_begin(struct store *s, const struct store_caller *c, uint64_t *wait_lsn)
    __attribute__((warn_unused_result));
/* Ends it: the reply (at most STORE_REPLY_MAX) is remembered for repeats.  Also for operations
 * that failed (then the record holds only the reply; none while the index is full) - see nfs:
 * which failures are worth a record.
 * Returns the lsn to wait for. */
uint64_t store_op_end(struct store *s, const void *reply, size_t reply_len);
/* Nothing was changed and nothing is to be remembered. */
void store_op_cancel(struct store *s);

int store_setattr(struct store *s, uint64_t ino, const struct store_attr *a, uint64_t *wait_lsn);
struct store_new {
	enum store_type type;
	struct store_attr attr; /* mode, uid, gid must be set */
	uint32_t major, minor;
	const char *target; /* symbolic links */
	size_t target_len;
	uint64_t verifier; /* exclusive create: not 0 */
};
int store_create(struct store *s, uint64_t dir, const char *name, size_t name_len,
		 const struct store_new *what, uint64_t *ino);
int store_link(struct store *s, uint64_t ino, uint64_t dir, const char *name, size_t name_len);
/* A non-directory. */
int store_remove(struct store *s, uint64_t dir, const char *name, size_t name_len);
int store_rmdir(struct store *s, uint64_t dir, const char *name, size_t name_len);
int store_rename(struct store *s, uint64_t from_dir, const char *from, size_t from_len,
		 uint64_t to_dir, const char *to, size_t to_len);
/* Stable: the data go into the record and the reply waits for it.  Unstable: the data go to the
 * object now, the record holds only the new attributes and store_op_end() returns the lsn of the last
 * change but unstable ones.  May give STORE_WAIT (before anything was done). -ENOSPC is decided here (S6). */
int store_write(struct store *s, uint64_t ino, uint64_t off, const void *data, size_t len,
		bool stable, uint64_t *wait_lsn);
/* fdatasync of the object, then a record with the S2 mark; done(arg, 0 or -errno, lsn) when that
 * lsn is known (the reply waits for it). May give STORE_WAIT. */
int store_commit(struct store *s, uint64_t ino, void (*done)(void *arg, int err, uint64_t lsn),
		 void *arg, uint64_t *wait_lsn);
/* Access time, relatime-like and never waited for. */
void store_touch(struct store *s, uint64_t ino);

/* ---- duplicate requests (S11) --------------------------------------------------------------- */
/* This caller is about to ask for a change, of this name in this directory (or NULL): what will be
 * looked at comes from memory meanwhile, all of it at once. */
void store_change_hint(struct store *s, const struct store_caller *c, uint64_t dir,
		       const char *name, size_t len);

enum store_dup { STORE_DUP_NEW, STORE_DUP_DONE, STORE_DUP_LOST };
/* Is this a repeat?  DONE: *reply (valid until the next call) and the lsn it waits for: an entry
 * exists from store_op_end() on, long before its record is durable, and nothing returns to the
 * event loop between begin and end.  A call that was told STORE_WAIT asks here again when it is
 * run again, for a repeat of it may have been carried out meanwhile.  LOST: it is one, but its reply
 * cannot be read; the store is damaged now, and the call must not be answered. */
enum store_dup store_dup_find(struct store *s, const struct store_caller *c, const void **reply,
			      size_t *reply_len, uint64_t *wait_lsn);

/* The client restarted (its SM_NOTIFY): drops its entries.  Between begin and end. */
void store_dup_forget(struct store *s, const uint8_t client[16]);

/* ---- connections (for tickle ACKs by the successor) ------------------------------------------ */
struct store_conn {
	uint8_t remote[16], local[16];
	uint16_t remote_port, local_port;
};
/* Remembers or forgets a client connection; lazily durable, never waited for. */
void store_conn_add(struct store *s, const struct store_conn *c);
void store_conn_del(struct store *s, const struct store_conn *c);
/* Those that the previous owner had when it ended; `each` is called for each. */
void store_conn_each(struct store *s, void (*each)(void *arg, const struct store_conn *c), void *arg);
void store_conn_forget_all(struct store *s);

/* ---- numbers ------------------------------------------------------------------------------- */
struct store_stats {
	uint64_t records, batches, log_bytes, checkpoints, checkpoint_ns_last, checkpoint_ns_max;
	uint64_t cold_reads; /* of what was not in memory */
	uint64_t overlay_bytes, cached_inodes, cached_names, dup_entries, dup_clients;
	uint64_t stalls;	  /* both halves were full: nothing could be changed for a while */
	uint64_t gathered, gathered_short; /* log writes that waited for more records, and in vain */
	uint64_t paced, paced_ns; /* log writes that were held back a little, and how long in all */
	uint64_t half_used_bytes, half_size_bytes;
};
void store_stats(const struct store *s, struct store_stats *out);

/* ---- check and repair ------------------------------------------------------------------------ */
struct store_finding {
	const char *code;   /* its kind, a stable name: doc/check.md */
	const char *text;   /* what, where: one line */
	const char *repair; /* what a repair does about it */
	bool repaired;
	bool lost; /* something that was acknowledged is gone */
};

/* Offline: the store must not be open.  With `repair` what was found is put right, as far as that can
 * be done, in steps each of which leaves the store as it was or better when it is interrupted. */
struct store_check_args {
	const char *dir;
	bool repair;
	void (*found)(void *arg, const struct store_finding *f);
	/* Now and then; all = 0: nobody knows.  May be NULL. */
	void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t all);
	void *arg;
};
struct store_check_result {
	uint64_t findings, repaired, left, lost;
	uint64_t inodes;
	unsigned passes;
	char kept[48]; /* where in the store lies what was thrown away; empty: nothing was */
};
/* 0 clean, 1 findings (res->left of them still there), -errno with a line: it could not be done. */
int store_check_run(const struct store_check_args *a, struct store_check_result *res, char *err,
		    size_t err_size);
/* Looks only, and gives each finding's line. */
int store_check(const char *dir, void (*say)(void *arg, const char *line), void *arg);

#endif
