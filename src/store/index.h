/* index.h - the rows as of the last checkpoint, in LMDB.
 *
 * One environment, one database, keys led by their table's byte.  MDB_NOLOCK: there is exactly one
 * process (the LABEL is locked) with one reader (the loop) and one writer (the checkpoint's
 * helper), and they keep LMDB's rule among themselves.  LMDB may reuse a page in transaction N
 * only if the page was freed before transaction N-1; a reader at snapshot S therefore sees its
 * pages untouched while writer S+1 runs.  The loop renews its snapshot when writer S+1 has
 * committed and before S+2 can begin (checkpoint.c), so it is never more than one behind.
 *
 * MDB_NOTLS: the read transaction is the environment's own, not bound to a thread.  Never NOSYNC,
 * NOMETASYNC or WRITEMAP (S7).
 *
 * The map is a mapping of a file: if the device loses pages, a read of it is SIGBUS.  Every read
 * is guarded; a fault comes back as -EUCLEAN and is damage with a reason, not a crash loop. Rows
 * are copied out under that guard. */
#ifndef HF_STORE_INDEX_H
#define HF_STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct index;

struct index_row {
	const uint8_t *key, *val; /* valid until the next read */
	size_t key_len, val_len;
};

/* Makes an empty index in `dir` (must exist); *txn_put fills the first transaction. */
int index_open(struct index **ip, const char *dir, uint64_t map_bytes, bool create, bool read_only);
void index_close(struct index *x);
/* Makes durable what is seen.  A commit that failed in writing its root page, or was killed in it,
 * leaves the disk with the new one and the page cache with the old one, or the other way round:
 * before the log goes on from what was read here, both must say the same. */
int index_settle(struct index *x);
/* A new snapshot for the reader. */
int index_renew(struct index *x);

/* Reader: 0, -ENOENT, or -EUCLEAN. */
int index_get(struct index *x, const uint8_t *key, size_t len, struct index_row *out);
/* First row with a key >= key, and the one after the row that was read last. */
int index_seek(struct index *x, const uint8_t *key, size_t len, struct index_row *out);
int index_next(struct index *x, struct index_row *out);

/* Writer (another thread): begin, puts and dels, commit.  -errno; after an error only abort. */
int index_write_begin(struct index *x);
int index_put(struct index *x, const uint8_t *key, size_t key_len, const void *val, size_t val_len);
int index_del(struct index *x, const uint8_t *key, size_t key_len);
/* A row as the transaction has it so far: 0, -ENOENT, or -EUCLEAN; valid like index_get()'s. */
int index_write_get(struct index *x, const uint8_t *key, size_t len, struct index_row *out);
/* Only if there is none yet: -EEXIST. */
int index_put_new(struct index *x, const uint8_t *key, size_t key_len, const void *val,
		  size_t val_len);
/* The first key from this one on, as the transaction has it: 0, -ENOENT, ...; valid until the next
 * call of the writer. */
int index_after(struct index *x, const uint8_t *key, size_t len, const uint8_t **next,
		size_t *next_len);
/* Rows put in order fill their pages if each comes last on its page, but LMDB halves a page that
 * gets them in its middle: index_part() takes the rows from this key on off their page, if some
 * before it share it, and index_join() puts them back. */
int index_part(struct index *x, const uint8_t *key, size_t len);
int index_join(struct index *x);
/* The same for a long run of new rows whose last one is known, key and value valid to the end: that
 * one lies behind the others on their page, for LMDB finds a place between two rows of the page it is
 * at without going through the tree.  Then all others by index_run_put(), then index_run_end(). */
int index_run(struct index *x, const uint8_t *key, size_t len, const struct index_row *last);
int index_run_put(struct index *x, const uint8_t *key, size_t key_len, const void *val, size_t val_len);
int index_run_end(struct index *x);
/* Every row whose key begins so. */
int index_del_prefix(struct index *x, const uint8_t *prefix, size_t len);
int index_write_commit(struct index *x);
void index_write_abort(struct index *x);

/* Pages: up to the highest one in use, of those free for the next writer, that the map allows, and
 * bytes of one. */
struct index_size {
	uint64_t pages_used, pages_free, pages_max, page_bytes;
};
void index_size(struct index *x, struct index_size *out);
int index_fd(struct index *x);
/* What went wrong last, for people. */
const char *index_error(const struct index *x);

#endif
