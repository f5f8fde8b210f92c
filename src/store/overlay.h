/* overlay.h - one generation of changes that the index does not have yet.
 *
 * A generation belongs to one log half: it holds the latest image of every index row that the
 * half's records touched, which objects they touched, which are to be unlinked, and the new parts
 * of the duplicate cache.  The loop's thread fills the active one; a frozen one is immutable and
 * read by both the loop and the checkpoint's helper thread.
 *
 * Rows are in a hash table over an arena; a directory's new entries are also kept in cookie order
 * so that READDIR can go on from any cookie. */
#ifndef HF_STORE_OVERLAY_H
#define HF_STORE_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "store/map64.h"
#include "store/record.h"

struct row {
	struct row *next;
	uint8_t *val;
	uint64_t lsn; /* of the change; tombstones keep theirs (S7) */
	uint32_t hash;
	uint32_t val_len, val_cap;
	uint16_t key_len;
	bool dead;  /* a tombstone */
	bool fresh; /* made in this generation: no older layer has ever had it */
	uint8_t key[];
};

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	uint8_t mem[];
};
struct arena {
	struct arena_block *first, *at;
	size_t bytes; /* handed out */
};
void *arena_alloc(struct arena *a, size_t size);
/* Everything handed out is void; the memory is kept for the next round. */
void arena_reset(struct arena *a);
void arena_fini(struct arena *a);

/* A directory's entries made in this generation, by cookie; and how many it lost. */
struct gen_dir {
	struct row **row;
	size_t count, cap;
	uint64_t dead;
};

enum touch {
	TOUCH_SYNC = 1,	 /* has effects from the log: made durable by the checkpoint */
	TOUCH_NEW = 2,	 /* its file was created: the parent directory, too (S7) */
	TOUCH_GONE = 4,	 /* to be unlinked: needs nothing */
};

struct gen {
	struct row **bucket;
	struct row **list; /* all rows, in the order they were made */
	size_t mask, rows, list_cap;
	struct arena arena;
	struct map64 dirs;    /* ino -> struct gen_dir * */
	struct map64 touched; /* ino -> enum touch bits */
	uint64_t *unlink;
	size_t unlink_count, unlink_cap;
	size_t unlink_rows; /* of these have rows in the index already: the first so many */
	uint64_t *xdrop; /* inodes whose extended attributes go */
	size_t xdrop_count, xdrop_cap;
	struct list chunks;   /* of the duplicate cache, made in this generation */
	size_t chunk_count;
	uint64_t *gone; /* its stored rows that have no use any more: table << 56 | number */
	size_t gone_count, gone_cap;
	uint64_t seed;
	/* the log's side */
	unsigned half;
	uint64_t records, last_lsn;
	uint32_t chain_crc; /* (frozen) of its last batch, when that is durable */
	bool chain_known;
};

struct gen *gen_new(uint64_t seed);
void gen_free(struct gen *g);
/* Empties it for the next use, keeping memory.  Chunks must have been taken out. */
void gen_reset(struct gen *g);

uint64_t row_hash(uint64_t seed, const uint8_t *key, size_t len);
/* Of a name in a directory: its row's here, and its own among the cached names. */
uint64_t name_hash(uint64_t seed, uint64_t dir, const void *name, size_t len);
/* The row of a name with this hash is about to be looked for. */
void gen_hint_name(const struct gen *g, uint64_t hash);
struct row *gen_find(const struct gen *g, const uint8_t *key, size_t len);
/* Puts (val != NULL) or buries a row. `fresh`: the caller knows that no older layer has it. */
struct row *gen_put(struct gen *g, const uint8_t *key, size_t key_len, const uint8_t *val,
		    size_t val_len, uint64_t lsn, bool fresh);
void gen_touch(struct gen *g, uint64_t ino, enum touch bits);
void gen_unlink_add(struct gen *g, uint64_t ino);
void gen_xdrop_add(struct gen *g, uint64_t ino);
bool gen_xdrops(const struct gen *g, uint64_t ino);
void gen_gone_add(struct gen *g, enum table t, uint64_t id);
const struct gen_dir *gen_dir(const struct gen *g, uint64_t ino);
/* First entry of the list with a cookie > after. */
size_t gen_dir_after(const struct gen_dir *d, uint64_t after);
/* All rows sorted by key; a malloc'd array of g->rows pointers. */
struct row **gen_sorted(const struct gen *g);

#endif
