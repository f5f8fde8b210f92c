/* salvage.c - makes a damaged store fit to be opened by recovery.
 *
 *	1. what an earlier repair began and did not end is removed
 *	2. log halves that are missing or too short are made anew
 *	3. every page of the index is looked at; if one is damaged, all rows that can be read go into
 *	   a new index file, which then takes the old one's place in one step; the old one has a
 *	   second name among what is kept by then
 *	4. rows that recovery reads before anything else are held against their formats; META is made
 *	   anew from the log
 *
 * Why META can be made anew: each half begins with a batch at offset 0 and goes on unbroken.  If
 * one half's chain goes on in the other, all records from its beginning to the end of the log are
 * at hand; else those of the younger half are.  Records hold whole rows, so carrying out records
 * that the index has already changes nothing, as long as all that followed come after them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/folder.h"
#include "store/check_impl.h"
#include "store/pages.h"

#define ULL(x)	  ((unsigned long long)(x))
#define MAP_ROOM  ((uint64_t)1 << 30)
#define ROWS_TXN  100000U
#define ZERO_STEP ((size_t)1 << 20)
#define EPOCH_GAP 1000U

struct job {
	struct check *k;
	int dir_fd, label_fd;
	struct label label;
	bool gone;	      /* not even the heads of the index file are left */
	struct index *to;     /* the new one */
	uint64_t rows, in_txn;
	int err;
	uint64_t map_bytes;
};

static int index_path(const struct check *k, const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", k->a->dir, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */

static void on_damaged_page(void *arg, uint64_t page, const char *why)
{
	struct check *k = arg;

	found(k, FOUND_INDEX_PAGE, "index: page %llu is damaged: %s", ULL(page), why);
}

static void on_step(void *arg, uint64_t done, uint64_t all)
{
	progress(arg, "index pages", done, all);
}

static bool no_row(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t len)
{
	(void)arg, (void)key, (void)key_len, (void)val, (void)len;
	return true;
}

/* Findings, or -errno. */
static int look_at_pages(struct check *k, int dir_fd, bool *gone)
{
	struct pages p = {.arg = k, .row = no_row, .damage = on_damaged_page, .step = on_step};
	int fd, err;
	struct stat st;

	*gone = true;
	if (fstatat(dir_fd, "index/data.mdb", &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT && errno != ENOTDIR)
			return -errno;
		found(k, FOUND_INDEX_GONE, "index/data.mdb: does not exist");
		return 1;
	}
	if (!S_ISREG(st.st_mode)) { /* nor is it opened: a pipe would wait */
		found(k, FOUND_INDEX_GONE, "index/data.mdb: is no file");
		return 1;
	}
	fd = openat(dir_fd, "index/data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = pages_open(&p, fd);
	if (err == -EUCLEAN) {
		found(k, FOUND_INDEX_GONE, "index/data.mdb: is no index any more");
		close(fd);
		return 1;
	}
	*gone = false;
	if (err == 0)
		err = pages_walk(&p);
	if (err == 0 && p.bad)
		err = p.bad > INT32_MAX ? INT32_MAX : (int)p.bad;
	pages_close(&p);
	close(fd);
	return err;
}

/* One that is missing, or no file, is what the open fails with. */
static void look_at_halves(struct check *k, int dir_fd)
{
	static const char *const names[2] = {"log/0", "log/1"};
	struct label l;
	struct stat st;
	char err[512];
	int fd;

	if (label_read(&l, dir_fd, k->a->dir, &fd, err, sizeof(err)))
		return;
	close(fd);
#ifdef HF_MUTANT_LOOK_PAST_LOG
	return;
#endif
	for (unsigned i = 0; i < 2; i++)
		if (fstatat(dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && (uint64_t)st.st_size < l.half_bytes)
			found(k, FOUND_LOG_GONE, "%s: %llu bytes, should be %llu", names[i],
			      ULL(st.st_size), ULL(l.half_bytes));
}

int salvage_look(struct check *k, int dir_fd)
{
	bool gone;
	int fd = dir_fd < 0 ? open(k->a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : dir_fd, err;
	struct stat st;

	if (fd < 0)
		return 0; /* the open that follows says it better */
	if (fstatat(fd, "LABEL", &st, 0) == 0 && S_ISREG(st.st_mode))
		look_at_halves(k, fd);
	err = fstatat(fd, "LABEL", &st, 0) ? 0 : look_at_pages(k, fd, &gone);
	if (dir_fd < 0)
		close(fd);
	return err;
}

/* ---- a new index file ------------------------------------------------------------------------ */

static bool shape_ok(const uint8_t *key, size_t len)
{
	switch ((enum table)key[0]) {
	case TABLE_INODE:
	case TABLE_REPLIES:
	case TABLE_ROLL:
	case TABLE_UNLINK:
		return len == 9;
	case TABLE_NAME:
		return len > 9 && len <= ROW_KEY_MAX;
	case TABLE_XATTR:
		return len > 9;
	case TABLE_DIR:
	case TABLE_FORGET:
		return len == 17;
	case TABLE_CONN:
		return len == 37;
	case TABLE_STATE:
	case TABLE_META:
		return len == 2;
	}
	return true; /* a newer version's: kept as it is */
}

static int to_commit(struct job *j, bool more)
{
	int err = index_write_commit(j->to);

	j->in_txn = 0;
	return err || !more ? err : index_write_begin(j->to);
}

static bool take_row(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t len)
{
	struct job *j = arg;

	if (!shape_ok(key, key_len))
		return true;
	j->err = index_put_new(j->to, key, key_len, val, len);
	if (j->err == -EEXIST)
		j->err = 0;
	if (j->err == 0 && ++j->in_txn >= ROWS_TXN)
		j->err = to_commit(j, true);
	progress(j->k, "rows saved", ++j->rows, 0);
	return j->err == 0;
}

static int take_rows(struct job *j)
{
	struct pages p = {.arg = j, .row = take_row};
	int fd = openat(j->dir_fd, "index/data.mdb", O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : pages_open(&p, fd);

	if (err == 0) {
		err = pages_walk(&p);
		if (err == 0 && p.bad_branches)
			err = pages_strays(&p);
	}
	pages_close(&p);
	if (fd >= 0)
		close(fd);
	return err == -ECANCELED ? j->err : err;
}

static int fill_new(struct job *j)
{
	char path[4096];
	int err = index_path(j->k, "index.new", path, sizeof(path));

	if (err == 0 && mkdirat(j->dir_fd, "index.new", 0700))
		err = -errno;
	if (err == 0)
		err = index_open(&j->to, path, j->map_bytes, true, false);
	if (err)
		return err;
	err = index_write_begin(j->to);
	if (err == 0 && !j->gone)
		err = take_rows(j);
	if (err == 0)
		err = to_commit(j, false);
	else
		index_write_abort(j->to);
	index_close(j->to);
	return err;
}

/* What is there gets its second name, in the folder of what is kept, before anything takes its
 * place: whoever is stopped in between leaves the old file, the new one, or both. */
static int keep_old_index(struct job *j)
{
	int err;

	if (faccessat(j->dir_fd, "index/data.mdb", F_OK, 0))
		return errno == ENOENT ? 0 : -errno;
#ifdef HF_MUTANT_SWAP_FIRST
	return 0;
#endif
	err = keep_link(j->k, j->dir_fd, "index/data.mdb", "index.mdb");
	if (err == 0)
		err = keep_sync(j->k);
	if (err == 0)
		err = folder_sync(j->dir_fd, "repaired");
	return err ? err : folder_sync(j->dir_fd, ".");
}

/* The new file takes the old one's place at once; the old one is kept. */
static int swap_in(struct job *j)
{
	int err = folder_sync(j->dir_fd, "index.new");

	if (err)
		return err;
	if (mkdirat(j->dir_fd, "index", 0700) && errno != EEXIST)
		return -errno;
	err = keep_old_index(j);
	if (err)
		return err;
	if (renameat(j->dir_fd, "index.new/data.mdb", j->dir_fd, "index/data.mdb"))
		return -errno;
	err = folder_sync(j->dir_fd, "index");
	if (err == 0)
		err = folder_sync(j->dir_fd, ".");
	unlinkat(j->dir_fd, "index.new/lock.mdb", 0);
	if (unlinkat(j->dir_fd, "index.new", AT_REMOVEDIR) && err == 0)
		err = -errno;
	return err;
}

static void leftovers_remove(struct job *j)
{
	unlinkat(j->dir_fd, "index.new/data.mdb", 0);
	unlinkat(j->dir_fd, "index.new/lock.mdb", 0);
	unlinkat(j->dir_fd, "index.new", AT_REMOVEDIR);
}

static int renew_index(struct job *j)
{
	int err = fill_new(j);

	HF_MARK("store.index_renewed");
	return err ? err : swap_in(j);
}

/* ---- what stands at the fixed places --------------------------------------------------------- */

/* 1: there is what belongs there; 0: nothing, any more (what stood there is kept); or -errno.  A file is
 * no link: what a repair by root writes would go to whatever it leads to. */
static int place(struct job *j, const char *name, mode_t type)
{
	struct stat st;
	char as[32];

	if (fstatat(j->dir_fd, name, &st, type == S_IFREG ? AT_SYMLINK_NOFOLLOW : 0) == 0 &&
	    (st.st_mode & S_IFMT) == type)
		return 1;
	if (fstatat(j->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	HF_MARK("store.place_taken");
	snprintf(as, sizeof(as), "%s%s", strncmp(name, "objects/", 8) == 0 ? "object-folder-" : "",
		 strncmp(name, "objects/", 8) == 0 ? name + 8 : name);
	for (char *p = as; *p; p++)
		*p = *p == '/' ? '-' : *p;
	return keep_file(j->k, j->dir_fd, name, as);
}

static int files_placed(struct job *j)
{
	static const struct {
		const char *name;
		mode_t type;
	} all[] = {{"index", S_IFDIR},	       {"log", S_IFDIR},   {"index/data.mdb", S_IFREG},
		   {"log/0", S_IFREG}, {"log/1", S_IFREG}};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc >= 0; i++) {
		rc = place(j, all[i].name, all[i].type);
		if (rc == 0 && all[i].type == S_IFDIR && mkdirat(j->dir_fd, all[i].name, 0700))
			rc = -errno;
	}
	return rc < 0 ? rc : 0;
}

/* A folder for objects, told unless the one above it was. */
static int folder_placed(struct job *j, const char *name, bool *told)
{
	int rc = place(j, name, S_IFDIR);

	if (rc)
		return rc < 0 ? rc : 0;
	if (!*told && !found(j->k, FOUND_FOLDER, "%s: is not there, or no folder", name))
		return -EUCLEAN;
	*told = true;
	return mkdirat(j->dir_fd, name, 0700) ? -errno : 0;
}

/* Before recovery, which may have to make objects in them. */
static int folders_placed(struct job *j)
{
	char path[32];
	bool none = false;
	int err = folder_placed(j, "objects", &none);

	for (unsigned a = 0; a < 16 && err == 0; a++) {
		bool gone = none, leaf;

		snprintf(path, sizeof(path), "objects/%02x", a);
		err = folder_placed(j, path, &gone);
		for (unsigned b = 0; b < 16 && err == 0; b++) {
			leaf = gone;
			snprintf(path, sizeof(path), "objects/%02x/%02x", a, b);
			err = folder_placed(j, path, &leaf);
		}
	}
	return err;
}

/* ---- the log's files ------------------------------------------------------------------------- */

static int half_refill(struct job *j, const char *name, uint64_t from)
{
	int fd = openat(j->dir_fd, name, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600), err = 0;
	uint8_t *zero = mem_zalloc(1, ZERO_STEP);

	if (fd < 0)
		err = -errno;
	for (uint64_t at = from; at < j->label.half_bytes && !err; at += ZERO_STEP) {
		size_t step = j->label.half_bytes - at < ZERO_STEP
				  ? (size_t)(j->label.half_bytes - at)
				  : ZERO_STEP;

		if (pwrite(fd, zero, step, (off_t)at) != (ssize_t)step)
			err = -EIO;
	}
	if (err == 0 && fsync(fd))
		err = -errno;
	free(zero);
	if (fd >= 0)
		close(fd);
	return err ? err : folder_sync(j->dir_fd, "log");
}

static int log_files(struct job *j)
{
	static const char *const names[2] = {"log/0", "log/1"};
	struct stat st;
	int err = 0;

	for (unsigned i = 0; i < 2 && !err; i++) {
		uint64_t have = fstatat(j->dir_fd, names[i], &st, 0) ? 0 : (uint64_t)st.st_size;

		if (have >= j->label.half_bytes)
			continue;
		if (!found(j->k, FOUND_LOG_GONE, "%s: %llu bytes, should be %llu", names[i], ULL(have),
			   ULL(j->label.half_bytes)))
			return -EUCLEAN;
		err = half_refill(j, names[i], have / BATCH_ALIGN * BATCH_ALIGN);
	}
	return err;
}

/* ---- META ------------------------------------------------------------------------------------ */

struct chain {
	bool any;
	uint64_t first_lsn, next_lsn, epoch, service_ns;
	uint32_t before, crc; /* what its first batch names; the CRC of its last */
	int64_t time_ns;
	uint64_t ino_max;
};

static void chain_note(struct chain *c, const struct batch_head *h, const uint8_t *buf)
{
	struct record rec;
	struct change ch;
	struct rd in, changes;

	rd_init(&in, buf + BATCH_HEAD, h->length - BATCH_HEAD);
	for (uint32_t i = 0; i < h->count && rec_decode(&rec, &in) == 0; i++) {
		if (rec.time_ns > c->time_ns)
			c->time_ns = rec.time_ns;
		rd_init(&changes, rec.changes, rec.changes_len);
		for (unsigned n = 0; n < rec.change_count && change_decode(&ch, &changes) == 0; n++)
			if (ch.type == CHANGE_PUT && ch.key[0] == TABLE_INODE &&
			    check_be64(ch.key + 1) > c->ino_max)
				c->ino_max = check_be64(ch.key + 1);
	}
}

static int chain_look(struct job *j, const char *name, struct chain *c)
{
	int fd = openat(j->dir_fd, name, O_RDONLY | O_CLOEXEC);
	uint8_t *buf = mem_alloc(BATCH_MAX);
	struct batch_head h;
	uint64_t at = 0;

	memset(c, 0, sizeof(*c));
	while (fd >= 0) {
		ssize_t n = pread(fd, buf, BATCH_MAX, (off_t)at);

		if (n < (ssize_t)BATCH_HEAD || batch_head_decode(&h, buf, BATCH_HEAD) ||
		    memcmp(h.uuid, j->label.uuid, 16) != 0 || h.length > (uint64_t)n ||
		    !batch_body_ok(&h, buf, h.length))
			break;
		if (c->any && (h.prev_crc != c->crc || h.first_lsn != c->next_lsn))
			break;
		if (!c->any) {
			c->first_lsn = h.first_lsn;
			c->before = h.prev_crc;
		}
		c->any = true;
		c->next_lsn = h.first_lsn + h.count;
		c->crc = h.crc;
		c->epoch = h.epoch;
		c->service_ns = h.service_ns;
		chain_note(c, &h, buf);
		at += batch_padded(h.length);
	}
	free(buf);
	if (fd >= 0)
		close(fd);
	return 0;
}

static uint64_t greatest_ino(struct job *j)
{
	uint8_t key[9];
	struct index_row row;
	uint64_t low = 1, high = INT64_MAX;

	/* The last row of the table, by halving: there is no step backwards. */
	while (low < high) {
		uint64_t mid = low + (high - low) / 2 + 1;

		if (index_seek(j->to, key, key_inode(key, mid), &row) == 0 && row.key_len == 9 &&
		    row.key[0] == TABLE_INODE)
			low = check_be64(row.key + 1) > mid ? check_be64(row.key + 1) : mid;
		else
			high = mid - 1;
	}
	return low;
}

static uint64_t count_inodes(struct job *j)
{
	static const uint8_t first[1] = {TABLE_INODE};
	struct index_row row;
	uint64_t n = 0;

	for (int err = index_seek(j->to, first, 1, &row);
	     err == 0 && row.key_len && row.key[0] == TABLE_INODE; err = index_next(j->to, &row))
		n++;
	return n;
}

static void meta_from_log(struct job *j, struct meta *m)
{
	struct chain c[2], *from;
	unsigned old;

	chain_look(j, "log/0", &c[0]);
	chain_look(j, "log/1", &c[1]);
	/* The younger half; before it the other, if it leads there. */
	old = c[0].next_lsn > c[1].next_lsn ? 0 : 1;
	from = &c[old];
	if (c[old ^ 1U].any && c[old].any && c[old ^ 1U].next_lsn == c[old].first_lsn &&
	    c[old ^ 1U].crc == c[old].before)
		from = &c[old ^= 1U];
	*m = (struct meta){.next_ino = greatest_ino(j), .files = count_inodes(j)};
	if (from->any) {
		m->checkpoint_lsn = from->first_lsn - 1;
		m->chain_crc = from->before;
		m->next_half = old;
		m->service_ns = from->service_ns;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (c[i].ino_max > m->next_ino)
			m->next_ino = c[i].ino_max;
		if (c[i].time_ns > m->time_ns)
			m->time_ns = c[i].time_ns;
	}
	m->next_ino += EPOCH_GAP; /* of numbers that were given out and are gone */
}

static int meta_check(struct job *j)
{
	static const uint8_t key[2] = {TABLE_META, 0};
	struct index_row row;
	uint8_t val[META_SIZE];
	struct meta m;
	int err = index_get(j->to, key, sizeof(key), &row);

	if (err == 0)
		err = meta_decode(&m, row.val, row.val_len);
	if (err == 0 || err == -ENOTSUP)
		return 0; /* a newer version's: the open says so */
	if (!j->gone)
		found(j->k, FOUND_META, "the META row of the index is missing or makes no sense");
	meta_from_log(j, &m);
	meta_encode(&m, val);
	err = index_write_begin(j->to);
	if (err == 0)
		err = index_put(j->to, key, sizeof(key), val, sizeof(val));
	return err ? err : index_write_commit(j->to);
}

/* ---- rows that recovery reads ---------------------------------------------------------------- */

static const char *bad_row(struct job *j, const struct index_row *row, enum finding *f)
{
	uint8_t key[9];
	struct index_row other;
	struct rd r;

	switch ((enum table)row->key[0]) {
	case TABLE_REPLIES:
	case TABLE_ROLL:
		*f = FOUND_REPLIES;
		return dup_row_sane(row) ? NULL : "replies";
	case TABLE_CONN:
		*f = FOUND_CONN;
		return row->key_len == 37 ? NULL : "a client connection";
	case TABLE_FORGET:
		*f = FOUND_CONN;
		return row->key_len == 17 && row->val_len == 8 ? NULL : "a client that restarted";
	case TABLE_UNLINK:
		*f = FOUND_UNLINK;
		if (row->key_len != 9)
			return "an object to be unlinked";
		rd_init(&r, row->key + 1, 8);
		return index_get(j->to, key, key_inode(key, rd_u64(&r)), &other) == 0
			       ? "an object to be unlinked, whose inode exists"
			       : NULL;
	case TABLE_INODE:
	case TABLE_NAME:
	case TABLE_DIR:
	case TABLE_XATTR:
	case TABLE_STATE:
	case TABLE_META:
		return NULL;
	}
	*f = FOUND_TABLE;
	return "a newer version's";
}

static int drop_row(struct job *j, const struct index_row *row)
{
	int err;

	keep_row(j->k, "removed", row->key, row->key_len, row->val, row->val_len);
	err = index_write_begin(j->to);
	if (err == 0)
		err = index_del(j->to, row->key, row->key_len);
	if (err == 0)
		err = keep_sync(j->k);
	if (err == 0)
		err = index_write_commit(j->to);
	else
		index_write_abort(j->to);
	return err ? err : index_renew(j->to);
}

static bool chunk_is_there(void *arg, uint64_t chunk)
{
	struct job *j = arg;
	struct index_row row;
	uint8_t key[9];

	return index_get(j->to, key, table_key(key, TABLE_REPLIES, chunk), &row) == 0;
}

static int roll_trim(struct job *j, const struct index_row *row)
{
	uint8_t *out = mem_alloc(row->val_len + 1);
	size_t len = dup_roll_trim(row, out, row->val_len, chunk_is_there, j);
	int err = 0;

	if (len != row->val_len)
		err = index_write_begin(j->to);
	if (len == 0)
		err = err ? err : index_del(j->to, row->key, row->key_len);
	else if (len != row->val_len)
		err = err ? err : index_put(j->to, row->key, row->key_len, out, len);
	if (err == 0 && len != row->val_len)
		err = index_write_commit(j->to);
	free(out);
	return err ? err : index_renew(j->to);
}

/* Rolls name no chunk that is gone: whoever asked for one of its replies would find damage. */
static int rolls_trim(struct job *j)
{
	uint8_t key[16] = {TABLE_ROLL};
	struct index_row row;
	size_t len = 1;
	int err;

	while ((err = index_seek(j->to, key, len, &row)) == 0 && row.key[0] == TABLE_ROLL) {
		len = 9;
		memcpy(key, row.key, len);
		err = roll_trim(j, &row);
		if (err)
			return err;
		key[len++] = 0;
	}
	return err == -ENOENT ? 0 : err;
}

/* Every row of the small tables; those of the tree are looked at by the passes. */
static int rows_check(struct job *j)
{
	static const uint8_t big[] = {TABLE_DIR, TABLE_INODE, TABLE_NAME, TABLE_XATTR};
	uint8_t key[ROW_KEY_MAX + 256] = {0};
	struct index_row row;
	enum finding f = FOUND_STATE;
	size_t len = 1;
	int err;

	while ((err = index_seek(j->to, key, len, &row)) == 0) {
		const char *bad;

		if (memchr(big, row.key[0], sizeof(big))) {
			key[0] = (uint8_t)(row.key[0] + 1);
			len = 1;
			continue;
		}
		len = row.key_len;
		memcpy(key, row.key, len);
		bad = bad_row(j, &row, &f);
		if (bad && found(j->k, f, "a row of the index makes no sense: %s", bad) &&
		    (err = drop_row(j, &row)) != 0)
			return err;
		key[len++] = 0; /* the next one */
	}
	return err == -ENOENT ? 0 : err;
}

static int verifier_check(struct job *j)
{
	static const uint8_t key[2] = {TABLE_STATE, 'v'};
	struct index_row row;
	uint8_t val[8];
	int err = index_get(j->to, key, sizeof(key), &row);

	if (err == 0 && row.val_len == 8)
		return 0;
	if (!j->gone)
		found(j->k, FOUND_VERIFIER, "the index has no write verifier");
	if (getrandom(val, sizeof(val), 0) != sizeof(val))
		return -EIO;
	err = index_write_begin(j->to);
	if (err == 0)
		err = index_put(j->to, key, sizeof(key), val, sizeof(val));
	if (err == 0)
		err = index_write_commit(j->to);
	return err ? err : index_renew(j->to);
}

static int first_rows(struct job *j)
{
	char path[4096];
	int err = index_path(j->k, "index", path, sizeof(path));

	if (err == 0)
		err = index_open(&j->to, path, j->map_bytes, false, false);
	if (err)
		return err;
	err = verifier_check(j);
	if (err == 0)
		err = meta_check(j);
	if (err == 0)
		err = index_renew(j->to);
	if (err == 0)
		err = rows_check(j);
	if (err == 0)
		err = rolls_trim(j);
	index_close(j->to);
	return err;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static uint64_t map_for(int dir_fd)
{
	struct store_conf c;
	struct stat st;

	store_conf_default(&c);
	if (fstatat(dir_fd, "index/data.mdb", &st, 0) == 0 &&
	    (uint64_t)st.st_size * 2 + MAP_ROOM > c.index_map_bytes)
		return (uint64_t)st.st_size * 2 + MAP_ROOM;
	return c.index_map_bytes;
}

static int salvage_steps(struct job *j)
{
	int err;

	leftovers_remove(j);
	j->map_bytes = map_for(j->dir_fd);
	err = files_placed(j);
	if (err == 0)
		err = log_files(j);
	if (err == 0)
		err = folders_placed(j);
	if (err)
		return err;
	err = look_at_pages(j->k, j->dir_fd, &j->gone);
	if (err > 0)
		err = renew_index(j);
	return err ? err : first_rows(j);
}

int salvage(struct check *k)
{
	struct job j = {.k = k, .label_fd = -1};
	char err[512];
	int code;

	j.dir_fd = open(k->a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j.dir_fd < 0)
		return 0; /* the open that follows says it better */
	code = label_read(&j.label, j.dir_fd, k->a->dir, &j.label_fd, err, sizeof(err));
	if (code == 0)
		code = label_lock(j.label_fd, k->a->dir, err, sizeof(err));
	if (code == 0)
		code = salvage_steps(&j);
	else
		code = 0;
	if (j.label_fd >= 0)
		close(j.label_fd);
	close(j.dir_fd);
	return code;
}
