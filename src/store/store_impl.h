/* store_impl.h - the inside of a store, shared by this room's files only.
 *
 *	label.c      LABEL, the lock on it, making a new store
 *	log.c        halves, batches, group commit, room
 *	record.c     bytes of log and rows (pure)
 *	overlay.c    one generation of rows
 *	index.c      LMDB
 *	cache.c      live inodes and names over generations and index; apply() of rows
 *	blocks.c     file blocks that are read often
 *	object.c     object files: opening, reading, effects, space
 *	cold.c       reads that would wait for the disk
 *	dir.c        lookup and listing
 *	ops.c        the changing calls
 *	commit.c     COMMIT
 *	dup.c        the duplicate request cache
 *	roll.c       its rows in the index
 *	conn.c       client connections
 *	checkpoint.c freeze, the helper thread, dropping a generation
 *	recover.c    reading the log back
 *	defer.c      what recovery leaves to be done on objects while serving
 *	check*.c     offline check; fix.c, salvage.c, pages.c: its repair (check_impl.h)
 *	adopt.c      a tree becomes a store: the steps (adopt_look.c, adopt_rows.c: what they do)
 *	release.c    a store becomes a tree (release_tree.c: what is made)
 *	tree.c       walking trees of the kernel's file system
 *	store.c      life
 *
 * The rule that carries it: state changes only through apply_change(), live and in recovery; a
 * changing call checks everything first, then emits its changes, each of which goes into the
 * record and is applied at once.  Rows are applied to the active generation, effects on objects
 * wait on the batch until it is durable (S1). */
#ifndef HF_STORE_IMPL_H
#define HF_STORE_IMPL_H

#include <pthread.h>

#include "base/list.h"
#include "base/slab.h"
#include "io/loop.h"
#include "store/blocks.h"
#include "store/index.h"
#include "store/overlay.h"
#include "store/record.h"
#include "store/store.h"
#include "store/htab.h"

#define OP_ROOM	     (40U << 10) /* no record without file data is bigger */
#define HALF_RESERVE (64U << 10) /* the end of a half is kept for the records of coming opens */
#define OP_EFFECTS   4U
#define NO_LSN	     UINT64_MAX
#define NSEC	     1000000000ULL

/* ---- live inodes and names ------------------------------------------------------------------- */

/* What only an inode needs whose object is, or was, in use: see object_known(). */
struct object {
	struct inode *ip;
	struct list fd_lru, cut;
	int fd;		   /* or -1 */
	bool checked;	   /* it is known not to be longer than the inode */
	uint8_t *map;	   /* it in memory, for as long as it is open; NULL: not yet */
	uint64_t map_bytes;
	uint64_t trunc_lsn; /* last lsn with an effect, done or not, that cuts it */
	uint64_t alloc_from, alloc_to; /* this range of it is known to have its blocks */
	uint64_t pieces_to; /* up to here it was written in pieces since it is known */
	/* Unstable writes seen, and how many of them the last COMMIT's fsync covered; mark_lsn is
	 * that COMMIT's record.  Equal: nothing is in the page cache only. */
	uint64_t dirty_seq, clean_seq, mark_lsn;
	uint64_t contents; /* what its blocks are known by in s->blocks; 0: none are */
};

/* Memory touched for the first time is a good part of what a CREATE costs: nothing is in here that
 * not every inode needs. */
struct inode {
	struct htab_link link; /* the number itself is the hash */
	struct inode_row row;  /* row.pub is what callers see; its target is our own copy */
	struct list lru;
	struct object *obj;  /* never NULL; &object_none, which is const, until it is needed */
	uint64_t effect_lsn; /* last lsn with an effect on the object, done or not */
	unsigned pins;	     /* effects and fsyncs under way: not to be evicted */
	bool ref;	     /* used since the last look of the evictor */
	bool whole;	     /* a directory: each of its names is among the cached ones */
};

struct dent {
	struct htab_link link;
	struct list lru;
	uint64_t dir, ino, cookie; /* ino 0: there is no such name */
	bool ref;
	uint8_t len;
	char name[];
};

/* They are kept by the length of the name: up to 14, 30, 46 ... bytes. */
#define DENT_STEP    16U
#define DENT_FIRST   14U
#define DENT_CLASSES ((STORE_NAME_MAX - DENT_FIRST + DENT_STEP - 1) / DENT_STEP + 1)

/* ---- the log ---------------------------------------------------------------------------------- */

struct effect {
	struct inode *ip;
	enum change_type type;
	uint64_t off, lsn;
	const uint8_t *data;
	size_t len;
};

struct batch {
	struct list link;
	struct loop_op op;
	struct store *store; /* NULL: the store is gone, the write is not */
	uint8_t *buf;
	size_t cap, len; /* len: header and records */
	uint64_t first_lsn;
	uint32_t count, crc;
	unsigned half;
	uint64_t off;
	struct effect *effect;
	size_t effect_count, effect_cap;
};

struct wal {
	int fd[2];
	uint64_t half_bytes;
	unsigned half;	   /* that the filling batch belongs to */
	uint64_t off;	   /* where the filling batch will start in it */
	struct batch *fill;
	struct list queue; /* full batches, oldest first */
	struct batch *in_flight;
	uint32_t chain_crc; /* of the last batch sealed */
	struct list pool;
	unsigned pooled;
	bool stalled; /* a caller was told to wait for room */
	struct loop_timer held; /* the next write waits until then: a checkpoint is late */
	bool held_over;		/* ... it has waited */
	struct gather {
		unsigned count;	   /* records that the next write waits for; 0: none */
		unsigned seen;	   /* that were there at the last round's end */
		uint64_t until_ns; /* ... and no longer */
		bool waited;
		unsigned fails, skip; /* in a row; completions after which nobody waits */
		struct loop_timer timer;
	} gather;
	uint64_t begun_ns; /* the write in flight */
};

/* ---- the operation under way ------------------------------------------------------------------ */

struct op {
	bool active;
	bool unstable; /* the reply does not wait for this record */
	bool has_caller;
	struct store_caller caller;
	enum rec_type type;
	uint64_t lsn, shown_lsn; /* an unstable write's reply waits for what else it shows */
	int64_t time_ns;
	struct wr w;
	unsigned changes;
	struct effect effect[OP_EFFECTS];
	unsigned effects;
};

/* ---- duplicate requests ----------------------------------------------------------------------- */

/* A row of the index that names the entries of many chunks, so that opening need not read them. */
struct dup_roll {
	uint64_t id;
	unsigned chunks; /* of it that are still there */
};

struct dup_client {
	struct dup_client *next;
	uint8_t client[16];
	struct dup_ent *first, *last;
	uint64_t count, last_lsn;
	uint64_t roll_id; /* (helper) the roll being written, and this client's place in it */
	uint16_t roll_at;
};

struct dup_ent {
	struct htab_link link;
	struct dup_ent *later; /* the client's next */
	struct dup_client *owner;
	struct dup_chunk *chunk;
	uint32_t lsn; /* both since the chunk's */
	uint32_t service_ms : 31;
	bool gone : 1;
};

struct dup_chunk {
	struct list link;
	uint64_t id;
	struct dup_roll *roll; /* NULL: the index does not have it yet */
	uint8_t *body;	       /* the encoded entries, NULL once the index has them */
	size_t size, used;     /* of the body */
	uint64_t lsn, service_ms; /* of its first entry */
	unsigned room, count, live;
	bool filling, writing;
	struct dup_ent ent[];
};

/* Of the longest entry in memory: 60 bytes and the reply, in whole words. */
#define DUP_WORDS (60U + STORE_REPLY_MAX + 4U)
#define DUP_CODED (DUP_WORDS + DUP_WORDS / 16U + 1U)

#define DUP_HASHED 4U

struct dup {
	struct htab table;
	struct slab chunks, bodies;
	size_t count, clients;
	struct dup_client *client[256];
	struct dup_chunk *fill;
	struct list stored; /* chunks that the index has */
	uint64_t next_id;
	uint8_t reply[STORE_REPLY_MAX]; /* the one found last */
	uint8_t before[DUP_WORDS]; /* the filling chunk's last entry */
	/* Callers whose hashes were asked for of late, by their xids: the one that is served and those
	 * that were seen coming. */
	struct dup_hashed {
		struct store_caller caller;
		uint64_t hash;
		bool known;
	} hashed[DUP_HASHED];
};

/* ---- connections ------------------------------------------------------------------------------ */

struct conn {
	struct list link;
	struct store_conn c;
	bool old;    /* of the previous owner */
	bool open;   /* as the callers see it */
	bool logged; /* as the log has it */
};

/* ---- checkpoints ------------------------------------------------------------------------------ */

enum checkpoint_state { CHECKPOINT_IDLE, CHECKPOINT_FROZEN, CHECKPOINT_RUNNING };

struct checkpoint {
	enum checkpoint_state state;
	pthread_t thread;
	struct loop_wake wake;
	struct loop_timer timer;
	struct meta meta;
	uint64_t frozen_ns, started_ns;
	bool wanted;   /* on demand */
	bool close;    /* the last one: everything, and say clean */
	bool closed;   /* ... it was begun */
	bool done;     /* (helper, atomically) */
	const char *damage;
	size_t unlinked; /* (helper) of the frozen generation's list, the first so many */
	uint64_t *gone; /* rows of TABLE_UNLINK whose objects are gone: dropped by the next one */
	size_t gone_count;
};

struct commit {
	struct list link;
	struct loop_op op;
	struct store *store;
	struct inode *ip; /* pinned until the mark is written */
	uint64_t ino, mark, dirty_seq;
	int dir_fd;
	bool parent;	 /* the folder is made durable, too */
	bool needs_mark; /* else there was nothing to make durable */
	bool synced;
	void (*done)(void *arg, int err, uint64_t lsn);
	void *arg;
};

struct store {
	char *path;
	struct store_conf conf;
	struct loop *loop;
	struct loop_hook hook;
	void (*on_durable)(void *arg, uint64_t lsn);
	bool (*may_write)(void *arg);
	void (*on_damage)(void *arg, const char *reason);
	void (*on_failing)(void *arg, const char *reason);
	void *arg;
	/* Repair only: a damaged place (else: a senseless record) of the log was passed over. */
	void (*on_log)(void *arg, bool rot, const char *text);
	void *on_log_arg;
	int dir_fd, label_fd, objects_fd;
	struct label label;
	struct index *index;
	struct wal log;
	struct gen *active, *frozen, *spare;
	struct op op;
	struct dup dup;
	struct checkpoint cp;
	struct defer *defer; /* NULL: nothing is left to be done */

	uint64_t seed;
	uint64_t epoch, verifier;
	uint64_t last_lsn, durable_lsn, checkpoint_lsn;
	uint64_t next_ino, files;
	uint64_t first_ino; /* from here on an inode without an object has no file either */
	int64_t time_ns;
	uint64_t round_began_ns; /* of the loop; round_time_ns is what the clock said in it */
	int64_t round_time_ns;
	uint64_t service_base_ns, opened_ns; /* service clock = base + (now - opened) */
	uint64_t replay_service_ns;	      /* in recovery: the batch's */
	bool replaying;
	bool damaged;
	bool was_clean;
	uint64_t recovered_records, recovery_ns;

	struct slab inodes;
	struct htab inode_table;
	size_t inode_count;
	struct list inode_lru, inode_dead, fd_lru;
	struct inode passing; /* looked at only: store_inode_passing() */
	size_t fd_count, fd_max;
	struct blocks *blocks; /* from the first small read on */
	uint64_t last_contents;
	struct slab dents[DENT_CLASSES];
	struct htab dent_table;
	size_t dent_count;
	struct list dent_lru;
	struct list conns;
	bool conns_dirty;
	struct list cuts;    /* inodes with a leftover behind their end, pinned */
	struct list commits; /* waiting for the fsync, or for room in the log */
	struct list colds;   /* reads under way of what was not in memory */
	bool reads_wait;     /* a call is run again after that: it may wait for the disk */

	uint64_t index_pages, index_asked_ns;
	uint64_t index_room;	  /* pages that the index may grow by before it must ask again */
	uint64_t index_allocated; /* bytes of the index file that have their blocks */

	void (*close_done)(void *arg, int err);
	void *close_arg;
	struct store_stats stats;
};

/* Says what failed where, and ends the process (S6). */
_Noreturn void store_fatal(const struct store *s, const char *what, const char *where, int err);
/* Damage: reported once; the store answers nothing any more. */
void store_damage(struct store *s, const char *reason);
/* An operation on a file of the store failed: if the file system below is at fault, the store answers
 * nothing any more.  Returns the error that the caller gives back. */
int store_io_error(struct store *s, const char *what, int err);
uint64_t store_service_ns(const struct store *s);

/* store.c: recovery into memory only, for the check. */
struct recovered {
	unsigned half;
	uint64_t off; /* where the log goes on */
	uint32_t chain_crc;
	uint64_t epoch; /* the last one seen */
};
int store_open_dry(struct store **sp, const char *dir, struct recovered *from, char *err,
		   size_t err_size);

/* As an open, but everything of the log goes into index and objects, and its damaged places are
 * passed over and told: for the repair.  No loop, nothing runs. */
int store_open_repair(struct store **sp, const char *dir,
		      void (*on_log)(void *arg, bool rot, const char *text), void *arg, char *err,
		      size_t err_size);

/* The work folders of adopt.c and release.c in a store's directory. */
#define ADOPT_WORK   ".holdfast-adopt"
#define RELEASE_WORK ".holdfast-release"

/* label.c */
int label_read(struct label *l, int dir_fd, const char *dir, int *fd, char *err, size_t err_size);
/* Root that writes to a store does so as its owner (LABEL's), as the worker will read it: what it
 * makes belongs to whom it must, and a link to elsewhere leads nowhere.  Of the calling thread and
 * of those that it starts; true when store_as_self(true) has to end it. */
bool store_as_owner(const char *dir);
void store_as_self(bool owner);
int label_lock(int fd, const char *dir, char *err, size_t err_size);
int say(char *err, size_t size, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* make.c */
int half_make(int dir_fd, const char *name, uint64_t bytes);
/* By rename, durable: from here on the directory is a store. */
int label_make(int dir_fd, const struct label *l);
int store_conf_check(const struct store_conf *c, char *err, size_t err_size);

/* wal.c */
int wal_open(struct store *s, int flags, char *err, size_t err_size);
void wal_start(struct store *s, unsigned half, uint64_t off, uint32_t chain_crc);
void wal_close(struct store *s);
/* Is there room in the active half for one more operation of this size? Freezes if that helps. */
bool wal_room(struct store *s, size_t len);
/* At least `len` bytes at the filling batch's end; a record begun there moves along. */
void wal_reserve(struct store *s, size_t len);
void wal_append(struct store *s, size_t len);
void wal_seal(struct store *s);
/* Starts the write of the oldest batch unless one is in flight. */
void wal_submit(struct store *s);
/* The same, and waits: only while opening. */
int wal_write_now(struct store *s);
uint64_t wal_half_used(const struct store *s);

/* cache.c */
int cache_init(struct store *s);
void cache_fini(struct store *s);
void cache_trim(struct store *s);
/* Row through the layers: 0, -ENOENT, -EUCLEAN.  Valid until the next change or read. */
int row_get(struct store *s, const uint8_t *key, size_t len, struct index_row *out, uint64_t *lsn);
void apply_row(struct store *s, const struct change *c, uint64_t lsn, bool fresh);
struct inode *inode_get(struct store *s, uint64_t ino);
/* The cached one only. */
struct inode *inode_cached(const struct store *s, uint64_t ino);
/* This directory was made just now: as long as no name of it is let go, a name that is not cached
 * is not there, and nobody need look in the index. */
void cache_whole(struct store *s, uint64_t dir);
/* This name is about to be looked for. */
void cache_hint_name(const struct store *s, uint64_t dir, const char *name, size_t len);
/* 0 or -ENOENT. */
int name_get(struct store *s, uint64_t dir, const char *name, size_t len, uint64_t *ino,
	     uint64_t *cookie);

/* object.c */
int objects_make(int dir_fd);
void objects_unmake(int dir_fd); /* while all of them are empty */
size_t object_path(uint64_t ino, char *out, size_t size);
void object_parent(uint64_t ino, char *out, size_t size);
/* Opens (and with `make` creates) the object. */
int object_open(struct store *s, struct inode *ip, bool make);
/* Gives the inode an object of its own to keep what is known about it. */
void object_known(struct inode *ip);
extern const struct object object_none;
/* ... and sees that it is not longer than the inode; STORE_WAIT: it is, and will be cut. */
int object_ready(struct store *s, struct inode *ip, bool make, uint64_t *wait_lsn);
/* Writes the records that cut leftovers, in the round's end. */
void object_cut_progress(struct store *s);
void object_close(struct store *s, struct inode *ip);
/* 0, -errno, or STORE_COLD: it is not in memory, and `try`. */
int object_read(struct store *s, struct inode *ip, uint64_t off, size_t len, void *buf, bool try);
/* The same for what may be asked for again soon. */
int object_read_small(struct store *s, struct inode *ip, uint64_t off, size_t len, uint8_t *buf,
		      bool try);
/* The object's bytes in a mapping if all of them are in memory, or NULL. */
const uint8_t *object_here(struct store *s, struct inode *ip, uint64_t off, size_t len);
/* object_lend() is about to be called. */
void object_lend_hint(const struct store *s, const struct inode *ip, uint64_t off);
/* Within one block that is kept, lent to the caller; or NULL. */
const uint8_t *object_lend(struct store *s, struct inode *ip, uint64_t off, size_t len);
int object_write(struct store *s, struct inode *ip, uint64_t off, const void *data, size_t len);
int object_reserve(struct store *s, struct inode *ip, uint64_t off, size_t len);
void object_effect(struct store *s, const struct effect *e);
/* Recovery writes many objects in turn; some descriptors are kept, by inode number. */
#define REPLAY_FDS 512U
struct replay_fds {
	uint64_t ino[REPLAY_FDS]; /* 0: free */
	int fd[REPLAY_FDS];
};
int object_replay(struct store *s, struct replay_fds *fds, const struct change *c);
void replay_fds_close(struct replay_fds *fds);
int object_unlink(struct store *s, uint64_t ino);
int object_sync(struct store *s, uint64_t ino);
int object_sync_parent(struct store *s, uint64_t ino);
void fd_trim(struct store *s);

/* ops.c */
void emit(struct store *s, const struct change *c, bool fresh);
void apply_change(struct store *s, const struct change *c, uint64_t lsn, bool fresh);

/* commit.c */
/* Ends commits whose fsync is done, as far as the log has room. */
void commit_progress(struct store *s);

/* cold.c */
/* The store goes; what the kernel still has in hand ends by itself. */
void colds_abandon(struct store *s);

/* dup.c */
void dup_init(struct store *s);
void dup_fini(struct store *s);
void dup_add(struct store *s, const struct store_caller *c, const uint8_t *reply, size_t len,
	     uint64_t lsn, uint64_t service_ns);
void dup_forget_apply(struct store *s, const uint8_t client[16], uint64_t lsn);
void dup_expire(struct store *s, uint64_t now_ns, size_t most);
int dup_load(struct store *s);
void dup_freeze(struct store *s);
void dup_written(struct store *s);
/* A chunk for `room` entries; it begins empty.  Entries count from its lsn and service time. */
struct dup_chunk *dup_chunk_new(struct store *s, uint64_t id, unsigned room, uint64_t lsn,
				uint64_t service_ms);
/* An entry of a stored chunk is there again. */
void dup_restore(struct store *s, struct dup_chunk *c, const uint8_t client[16], uint64_t hash,
		 uint64_t lsn, uint64_t service_ms);
/* All entries of a chunk are gone: so is the chunk, unless it is in use. */
void dup_chunk_empty(struct store *s, struct dup_chunk *c);

/* roll.c */
/* An entry as words of 4 bytes; how many. */
size_t dup_entry_words(uint8_t out[DUP_WORDS], const struct store_caller *caller, uint64_t lsn,
		       uint64_t service_ns, const uint8_t *reply, size_t len);
/* Codes it against the words of the entry before it in its body (zeros for the first): the length. */
size_t dup_entry_encode(uint8_t out[DUP_CODED], const uint8_t *entry, size_t words,
			const uint8_t *before);
/* Finds the entry of a lsn in a body: its reply's length, -ENOENT or -EBADMSG. */
int dup_body_find(const uint8_t *body, size_t len, const struct store_caller *caller, uint64_t lsn,
		  uint8_t reply[STORE_REPLY_MAX]);
/* (helper) Writes a frozen generation's chunks and their rolls. */
int rolls_put(struct store *s);
/* The same rolls, on the loop's side, when they are in the index. */
void rolls_written(struct store *s);
int rolls_load(struct store *s);
/* Does a row of TABLE_REPLIES or TABLE_ROLL make sense? */
bool dup_row_sane(const struct index_row *row);
/* Repair: a roll without the chunks that `keep` refuses; its length, 0: none is left. */
size_t dup_roll_trim(const struct index_row *row, uint8_t *out, size_t size,
		     bool (*keep)(void *arg, uint64_t chunk), void *arg);

/* conn.c */
void conn_apply(struct store *s, const uint8_t *key, bool put);
void conn_progress(struct store *s);
void conn_fini(struct store *s);
int conn_load(struct store *s);

/* checkpoint.c */
int checkpoint_init(struct store *s);
void checkpoint_fini(struct store *s);
/* The active generation becomes the frozen one; the other half takes over. */
void checkpoint_freeze(struct store *s);
/* Called when more is durable, and at the end of each round. */
void checkpoint_progress(struct store *s);
/* In the foreground: only while opening. */
int checkpoint_now(struct store *s);
/* Will the index file take what the generations hold? (S6) */
bool index_has_room(struct store *s, bool growing);
void index_allocate(struct store *s);
/* The active generation becomes the frozen one (the log's side is the caller's). */
void checkpoint_switch(struct store *s, unsigned half);

/* defer.c */
/* Lists an effect; its data stay valid until defer_keep()'s buffers are freed. */
void defer_add(struct store *s, const struct change *c);
/* Takes over a buffer that listed data lie in. */
void defer_keep(struct store *s, unsigned half, uint8_t *buf);
/* Everything listed for this inode, now. */
void defer_inode(struct store *s, uint64_t ino);
/* Before blocks are taken while effects are listed: theirs come first (S6). */
void defer_space(struct store *s, uint64_t bytes);
/* Some more, in the round's end; s->defer is NULL when all is done. */
void defer_progress(struct store *s);
/* All of it, without a loop. */
void defer_all(struct store *s);
void defer_fini(struct store *s);

/* recover.c */
/* Reads META and the log, rebuilds both generations; `dry`: objects are left alone. */
int recover(struct store *s, bool dry, struct recovered *out, char *err, size_t err_size);

/* ops.c */
void op_start(struct store *s, const struct store_caller *c);
/* A record that changes nothing: 0, or STORE_WAIT. */
int op_note(struct store *s, uint64_t *wait_lsn);

#endif
