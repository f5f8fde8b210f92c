/* index.c - LMDB behind a guard against SIGBUS, one reader and one writer. */
#include "store/index.h"

#include <errno.h>
#include <lmdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/record.h"

#define KEY_ROOM   512U
#define ASIDE_ROWS 128U
#define READ_AHEAD 16384U
#define PAGE_HEAD  16U /* LMDB's, of a page ... */
#define PAGE_ROW   10U /* ... and of a row with its place in the page's list */
#define RUN_ROW_MAX 512U

struct index {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader;
	MDB_cursor *cursor;
	MDB_txn *writer; /* (helper thread) */
	MDB_cursor *put;
	const char *error;
	struct aside { /* rows of one page, off it for a moment */
		struct aside_row {
			uint16_t key_len, val_len;
		} row[ASIDE_ROWS];
		unsigned count;
		size_t used;
		uint8_t bytes[8192];
	} aside;
	struct run { /* new rows being put in order */
		struct index_row last;
		bool there;    /* the last one is, behind the newest */
		size_t room;   /* then: that their page has left */
		size_t leaves; /* else: pages of rows so far */
		size_t before; /* bytes of the newest row */
	} run;
	struct slot {
		uint8_t key[KEY_ROOM];
		uint8_t *copy;
		size_t copy_size;
	} point, scan; /* apart, so that a listing's caller may look at inodes */
};

/* ---- the guard -------------------------------------------------------------------------------- */

static _Thread_local sigjmp_buf *volatile guard;

static void on_bus(int sig)
{
	if (guard)
		siglongjmp(*guard, 1);
	signal(sig, SIG_DFL); /* not ours: the access repeats and ends the process */
}

/* A page that is no page leads LMDB to addresses that are none, or to its own assertions. */
static void on_assert(MDB_env *env, const char *what)
{
	(void)env;
	(void)what;
	if (guard)
		siglongjmp(*guard, 2);
}

static void guard_install(void)
{
	struct sigaction sa = {.sa_handler = on_bus, .sa_flags = SA_NODEFER};

#ifdef HF_MUTANT_NO_BUS_GUARD
	sa.sa_handler = SIG_DFL;
#endif
	sigaction(SIGBUS, &sa, NULL);
#if !defined(__SANITIZE_ADDRESS__) && !defined(HF_MUTANT_NO_BUS_GUARD)
	sigaction(SIGSEGV, &sa, NULL);
#endif
}

static int fault(struct index *x, int how)
{
	guard = NULL;
	x->error = how == 1 ? "the index file cannot be read (SIGBUS on its mapping)"
			    : "the index contradicts itself (an assertion of LMDB)";
	HF_MARK("store.index_bus");
	return -EUCLEAN;
}

/* Runs the following expression under the guard. */
#define GUARDED(x, err, expr)                                                                      \
	do {                                                                                       \
		sigjmp_buf jump_;                                                                  \
		int how_ = sigsetjmp(jump_, 0);                                                    \
		if (how_ == 0) {                                                                   \
			guard = &jump_;                                                            \
			(err) = (expr);                                                            \
			guard = NULL;                                                              \
		} else {                                                                           \
			(err) = fault(x, how_);                                                    \
		}                                                                                  \
	} while (0)

static int from_lmdb(struct index *x, int rc)
{
	if (rc == 0)
		return 0;
	if (rc == MDB_NOTFOUND)
		return -ENOENT;
	if (rc != -EUCLEAN)
		x->error = mdb_strerror(rc);
	if (rc == MDB_MAP_FULL)
		return -ENOSPC;
	if (rc == MDB_VERSION_MISMATCH)
		return -ENOTSUP;
	return rc > 0 ? -rc : -EUCLEAN;
}

/* ---- life ------------------------------------------------------------------------------------- */

static uint64_t eight(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

/* LMDB's own order, byte by byte and the shorter one first, without a call for each: it is asked for
 * some dozens of times a row. */
static int key_order(const MDB_val *a, const MDB_val *b)
{
	const uint8_t *p = a->mv_data, *q = b->mv_data;
	size_t n = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;

	for (; n >= 8; n -= 8, p += 8, q += 8) {
		uint64_t x = eight(p), y = eight(q);

		if (x != y)
			return x < y ? -1 : 1;
	}
	for (; n > 0; n--, p++, q++)
		if (*p != *q)
			return *p < *q ? -1 : 1;
	return (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

static int env_open(struct index *x, const char *dir, uint64_t map_bytes, bool create, bool ro)
{
	/* Who looks for a row that is not in memory wants its page, not 32 of its neighbours: those
	 * that lie side by side are asked for where they are read (copy_out). */
	unsigned flags = MDB_NOLOCK | MDB_NOTLS | MDB_NOMEMINIT | MDB_NORDAHEAD |
			 (ro ? MDB_RDONLY : 0U);
#ifdef HF_MUTANT_HALF_FREED_EARLY
	flags |= MDB_NOSYNC; /* the half is used again before the commit is durable */
#endif
	MDB_txn *txn = NULL;
	char path[4096];
	struct stat st;
	int rc;

	/* Looked at first: to open a pipe would wait for its other end. */
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	if (!create && stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		x->error = "the index is no file";
		return -EUCLEAN;
	}
	if ((rc = mdb_env_set_mapsize(x->env, map_bytes)) != 0 ||
	    (rc = mdb_env_open(x->env, dir, flags, 0600)) != 0)
		return rc;
	if ((rc = mdb_txn_begin(x->env, NULL, create ? 0 : MDB_RDONLY, &txn)) != 0)
		return rc;
	if ((rc = mdb_dbi_open(txn, NULL, 0, &x->dbi)) != 0 ||
	    (rc = mdb_set_compare(txn, x->dbi, key_order)) != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	if (create && (rc = mdb_txn_commit(txn)) != 0)
		return rc;
	if (create)
		rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &txn);
	if (rc == 0)
		x->reader = txn;
	return rc;
}

int index_open(struct index **ip, const char *dir, uint64_t map_bytes, bool create, bool read_only)
{
	struct index *x = mem_zalloc(1, sizeof(*x));
	int rc;

	guard_install();
	rc = mdb_env_create(&x->env);
	if (rc == 0)
		mdb_env_set_assert(x->env, on_assert);
	if (rc == 0)
		GUARDED(x, rc, env_open(x, dir, map_bytes, create, read_only));
	if (rc) {
		rc = from_lmdb(x, rc);
		index_close(x);
		return rc;
	}
	*ip = x;
	return 0;
}

void index_close(struct index *x)
{
	if (!x)
		return;
	if (x->cursor)
		mdb_cursor_close(x->cursor);
	if (x->reader)
		mdb_txn_abort(x->reader);
	if (x->env)
		mdb_env_close(x->env);
	free(x->point.copy);
	free(x->scan.copy);
	free(x);
}

int index_settle(struct index *x)
{
	uint8_t *roots;
	MDB_stat st;
	ssize_t len, n;
	int fd = index_fd(x), err = 0;

	mdb_env_stat(x->env, &st);
	len = 2 * (ssize_t)st.ms_psize;
	roots = mem_alloc((size_t)len);
	n = pread(fd, roots, (size_t)len, 0);
	if (n == len)
		n = pwrite(fd, roots, (size_t)len, 0);
	if (n != len)
		err = n < 0 ? -errno : -EIO;
	else if (fdatasync(fd))
		err = -errno;
	free(roots);
	return err;
}

int index_renew(struct index *x)
{
	int rc;

	if (x->cursor)
		mdb_cursor_close(x->cursor);
	x->cursor = NULL;
	mdb_txn_reset(x->reader);
	GUARDED(x, rc, mdb_txn_renew(x->reader));
	return from_lmdb(x, rc);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* Into our own memory, under the caller's guard. */
static int copy_out(struct slot *to, const MDB_val *key, const MDB_val *val, struct index_row *out)
{
	if (key->mv_size > KEY_ROOM)
		return MDB_CORRUPTED;
	if (val->mv_size > to->copy_size) {
		free(to->copy);
		to->copy_size = val->mv_size + 4096;
		to->copy = mem_alloc(to->copy_size);
	}
	if (key->mv_data != to->key)
		memcpy(to->key, key->mv_data, key->mv_size);
	if (val->mv_size >= READ_AHEAD) /* its pages lie side by side: one read, not one each */
		madvise((void *)((uintptr_t)val->mv_data & ~4095UL), val->mv_size + 4096, MADV_WILLNEED);
	if (val->mv_size)
		memcpy(to->copy, val->mv_data, val->mv_size);
	out->key = to->key;
	out->key_len = key->mv_size;
	out->val = to->copy;
	out->val_len = val->mv_size;
	return 0;
}

static int do_get(struct index *x, MDB_txn *txn, MDB_val *k, struct index_row *out)
{
	MDB_val v;
	int rc = mdb_get(txn, x->dbi, k, &v);

	return rc ? rc : copy_out(&x->point, k, &v, out);
}

static int get(struct index *x, MDB_txn *txn, const uint8_t *key, size_t len, struct index_row *out)
{
	MDB_val k = {.mv_size = len, .mv_data = x->point.key};
	int rc;

	hf_assert(len <= KEY_ROOM);
	memmove(x->point.key, key, len);
	GUARDED(x, rc, do_get(x, txn, &k, out));
	return from_lmdb(x, rc);
}

int index_get(struct index *x, const uint8_t *key, size_t len, struct index_row *out)
{
	return get(x, x->reader, key, len, out);
}

static int do_cursor(struct index *x, MDB_val *k, MDB_cursor_op op, struct index_row *out)
{
	MDB_val v;
	int rc = x->cursor ? 0 : mdb_cursor_open(x->reader, x->dbi, &x->cursor);

	if (rc == 0)
		rc = mdb_cursor_get(x->cursor, k, &v, op);
	return rc ? rc : copy_out(&x->scan, k, &v, out);
}

int index_seek(struct index *x, const uint8_t *key, size_t len, struct index_row *out)
{
	MDB_val k = {.mv_size = len, .mv_data = x->scan.key};
	int rc;

	hf_assert(len <= KEY_ROOM);
	memmove(x->scan.key, key, len);
	GUARDED(x, rc, do_cursor(x, &k, MDB_SET_RANGE, out));
	return from_lmdb(x, rc);
}

int index_next(struct index *x, struct index_row *out)
{
	MDB_val k;
	int rc;

	GUARDED(x, rc, do_cursor(x, &k, MDB_NEXT, out));
	return from_lmdb(x, rc);
}

/* ---- writing ---------------------------------------------------------------------------------- */

static int do_begin(struct index *x)
{
	int rc = mdb_txn_begin(x->env, NULL, 0, &x->writer);

	if (rc == 0)
		rc = mdb_cursor_open(x->writer, x->dbi, &x->put);
	return rc;
}

int index_write_begin(struct index *x)
{
	int rc;

	GUARDED(x, rc, do_begin(x));
	return from_lmdb(x, rc);
}

int index_put(struct index *x, const uint8_t *key, size_t key_len, const void *val, size_t val_len)
{
	/* LMDB's structures have no const; it does not write through these. */
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)(uintptr_t)key};
	MDB_val v = {.mv_size = val_len, .mv_data = (void *)(uintptr_t)val};
	int rc;

	GUARDED(x, rc, mdb_cursor_put(x->put, &k, &v, 0));
	return from_lmdb(x, rc);
}

/* By the cursor: rows go in order, too, and mostly from the page that it is at. */
static int do_del(struct index *x, MDB_val k)
{
	MDB_val v;
	int rc = mdb_cursor_get(x->put, &k, &v, MDB_SET);

	return rc ? rc : mdb_cursor_del(x->put, 0);
}

int index_del(struct index *x, const uint8_t *key, size_t key_len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)(uintptr_t)key};
	int rc;

	GUARDED(x, rc, do_del(x, k));
	return from_lmdb(x, rc);
}

int index_write_get(struct index *x, const uint8_t *key, size_t len, struct index_row *out)
{
	return get(x, x->writer, key, len, out);
}

int index_put_new(struct index *x, const uint8_t *key, size_t key_len, const void *val,
		  size_t val_len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)(uintptr_t)key};
	MDB_val v = {.mv_size = val_len, .mv_data = (void *)(uintptr_t)val};
	int rc;

	GUARDED(x, rc, mdb_cursor_put(x->put, &k, &v, MDB_NOOVERWRITE));
	return rc == MDB_KEYEXIST ? -EEXIST : from_lmdb(x, rc);
}

static int do_after(struct index *x, MDB_val *k)
{
	MDB_val v;

	return mdb_cursor_get(x->put, k, &v, MDB_SET_RANGE);
}

int index_after(struct index *x, const uint8_t *key, size_t len, const uint8_t **next,
		size_t *next_len)
{
	MDB_val k = {.mv_size = len, .mv_data = (void *)(uintptr_t)key};
	int rc;

	GUARDED(x, rc, do_after(x, &k));
	*next = k.mv_data;
	*next_len = k.mv_size;
	return from_lmdb(x, rc);
}

/* ---- parting a page ----------------------------------------------------------------------------- */

/* A page that nobody has written to yet lies where the file is mapped; of others it is not known
 * where they begin, and then fewer rows are taken, or none. */
static uintptr_t page_of(const MDB_val *v)
{
	return (uintptr_t)v->mv_data & ~(uintptr_t)4095;
}

static void aside_keep(struct aside *a, const MDB_val *k, const MDB_val *v)
{
	struct aside_row *r = &a->row[a->count++];

	r->key_len = (uint16_t)k->mv_size;
	r->val_len = (uint16_t)v->mv_size;
	memcpy(a->bytes + a->used, k->mv_data, k->mv_size);
	memcpy(a->bytes + a->used + k->mv_size, v->mv_data, v->mv_size);
	a->used += k->mv_size + v->mv_size;
}

static int do_part(struct index *x, MDB_val key)
{
	struct aside *a = &x->aside;
	MDB_val k = key, v, before;
	uintptr_t page;
	int rc = mdb_cursor_get(x->put, &k, &v, MDB_SET_RANGE);

	if (rc)
		return rc == MDB_NOTFOUND ? 0 : rc;
	page = page_of(&v);
	rc = mdb_cursor_get(x->put, &k, &before, MDB_PREV);
	if (rc || page_of(&before) != page)
		return rc == MDB_NOTFOUND ? 0 : rc;
	rc = mdb_cursor_get(x->put, &k, &v, MDB_NEXT);
	while (rc == 0 && page_of(&v) == page && a->count < ASIDE_ROWS &&
	       a->used + k.mv_size + v.mv_size <= sizeof(a->bytes)) {
		aside_keep(a, &k, &v);
		rc = mdb_cursor_get(x->put, &k, &v, MDB_NEXT);
	}
	for (unsigned i = 0; i < a->count && (rc == 0 || rc == MDB_NOTFOUND); i++) {
#ifdef HF_MUTANT_PART_LOSES
		if (i == 0)
#endif
			k = key; /* a search leaves it pointing into the page */
		rc = mdb_cursor_get(x->put, &k, &v, MDB_SET_RANGE);
		if (rc == 0)
			rc = mdb_cursor_del(x->put, 0);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int index_part(struct index *x, const uint8_t *key, size_t len)
{
	MDB_val k = {.mv_size = len, .mv_data = (void *)(uintptr_t)key};
	int rc;

	hf_assert(x->aside.count == 0);
	GUARDED(x, rc, do_part(x, k));
	return from_lmdb(x, rc);
}

int index_join(struct index *x)
{
	struct aside *a = &x->aside;
	const uint8_t *at = a->bytes;
	int err = 0;

	for (unsigned i = 0; i < a->count && !err; i++) {
		const struct aside_row *r = &a->row[i];

		err = index_put(x, at, r->key_len, at + r->key_len, r->val_len);
		at += r->key_len + r->val_len;
	}
	a->count = 0;
	a->used = 0;
	return err;
}

/* ---- a run of new rows --------------------------------------------------------------------------- */

/* What a row takes of its page; large ones lie elsewhere. */
static size_t row_bytes(size_t key_len, size_t val_len)
{
	return PAGE_ROW + ((key_len + val_len + 1) & ~(size_t)1);
}

static int do_stat(struct index *x, MDB_stat *st)
{
	return mdb_stat(x->writer, x->dbi, st);
}

int index_run(struct index *x, const uint8_t *key, size_t len, const struct index_row *last)
{
	MDB_stat st;
	int rc, err = index_part(x, key, len);

	if (err)
		return err;
	GUARDED(x, rc, do_stat(x, &st));
	if (rc)
		return from_lmdb(x, rc);
	x->run = (struct run){.last = *last, .leaves = st.ms_leaf_pages};
	return 0;
}

/* If a page was full, a new one has the newest row and the one before: the last one goes behind them. */
static int run_page(struct index *x, size_t bytes)
{
	struct run *r = &x->run;
	size_t last = row_bytes(r->last.key_len, r->last.val_len), used = r->before + bytes + last;
	bool begun;
	MDB_stat st;
	int rc;

	GUARDED(x, rc, do_stat(x, &st));
	if (rc)
		return from_lmdb(x, rc);
	begun = st.ms_leaf_pages == r->leaves + 1;
	r->leaves = st.ms_leaf_pages;
	if (!begun || r->before > RUN_ROW_MAX || bytes > RUN_ROW_MAX || last > RUN_ROW_MAX)
		return 0;
	r->there = true;
	r->room = st.ms_psize - PAGE_HEAD - used;
	HF_MARK("store.index_run");
	return index_put(x, r->last.key, r->last.key_len, r->last.val, r->last.val_len);
}

/* The page is full: its rows stay, the next one begins a new page as the last of all. */
static int run_lift(struct index *x)
{
	MDB_val k = {.mv_size = x->run.last.key_len, .mv_data = (void *)(uintptr_t)x->run.last.key};
	int rc;

	x->run.there = false;
	GUARDED(x, rc, do_del(x, k));
	return from_lmdb(x, rc);
}

int index_run_put(struct index *x, const uint8_t *key, size_t key_len, const void *val, size_t val_len)
{
	size_t bytes = row_bytes(key_len, val_len);
	struct run *r = &x->run;
	int err = 0;

	if (r->there && bytes > r->room)
		err = run_lift(x);
	if (!err)
		err = index_put(x, key, key_len, val, val_len);
	if (err)
		return err;
	if (r->there)
		r->room -= bytes;
	else
		err = run_page(x, bytes);
	r->before = bytes;
	return err;
}

int index_run_end(struct index *x)
{
	const struct index_row *last = &x->run.last;
	int err = 0;

#ifdef HF_MUTANT_RUN_LOSES_LAST
	x->run.there = true;
#endif
	if (!x->run.there)
		err = index_put(x, last->key, last->key_len, last->val, last->val_len);
	x->run.there = false;
	return err ? err : index_join(x);
}

static int do_del_prefix(struct index *x, const uint8_t *prefix, size_t len)
{
	for (;;) {
		MDB_val k = {.mv_size = len, .mv_data = (void *)(uintptr_t)prefix}, v;
		int rc = mdb_cursor_get(x->put, &k, &v, MDB_SET_RANGE);

		if (rc == MDB_NOTFOUND)
			return 0;
		if (rc)
			return rc;
		if (k.mv_size < len || memcmp(k.mv_data, prefix, len) != 0)
			return 0;
		if ((rc = mdb_cursor_del(x->put, 0)) != 0)
			return rc;
	}
}

int index_del_prefix(struct index *x, const uint8_t *prefix, size_t len)
{
	int rc;

	GUARDED(x, rc, do_del_prefix(x, prefix, len));
	return from_lmdb(x, rc);
}

static int do_commit(struct index *x)
{
	MDB_txn *txn = x->writer;

	mdb_cursor_close(x->put);
	x->put = NULL;
	x->writer = NULL;
	return mdb_txn_commit(txn);
}

int index_write_commit(struct index *x)
{
	int rc;

	GUARDED(x, rc, do_commit(x));
	return from_lmdb(x, rc);
}

void index_write_abort(struct index *x)
{
	if (x->put)
		mdb_cursor_close(x->put);
	if (x->writer)
		mdb_txn_abort(x->writer);
	x->put = NULL;
	x->writer = NULL;
}

/* ---- size ------------------------------------------------------------------------------------- */

/* LMDB's list of free pages is its database 0: a transaction's number -> how many, which.  What the
 * last one freed is not to be had by the next. */
static int do_free(struct index *x, uint64_t last_txn, uint64_t *pages)
{
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(x->reader, 0, &c);

	if (rc)
		return rc;
	while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
		size_t txn, count;

		if (k.mv_size != sizeof(txn) || v.mv_size < sizeof(count))
			continue;
		memcpy(&txn, k.mv_data, sizeof(txn));
		memcpy(&count, v.mv_data, sizeof(count));
		if (txn < last_txn)
			*pages += count;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

void index_size(struct index *x, struct index_size *out)
{
	MDB_envinfo info;
	MDB_stat st;
	int rc;

	memset(out, 0, sizeof(*out));
	GUARDED(x, rc, mdb_env_info(x->env, &info));
	if (rc)
		return;
	GUARDED(x, rc, mdb_env_stat(x->env, &st));
	if (rc)
		return;
	GUARDED(x, rc, do_free(x, info.me_last_txnid, &out->pages_free));
	out->page_bytes = st.ms_psize;
	out->pages_used = info.me_last_pgno + 1;
	out->pages_max = info.me_mapsize / st.ms_psize;
}

int index_fd(struct index *x)
{
	int fd = -1;

	mdb_env_get_fd(x->env, &fd);
	return fd;
}

const char *index_error(const struct index *x)
{
	return x->error ? x->error : "no reason given";
}
