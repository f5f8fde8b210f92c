/* fix.c - what a repair writes, and what it keeps of what it throws away.
 *
 * All changes of a pass are one transaction of the index.  Before it commits, the rows that it
 * replaces are durable in STORE/repaired/WHEN/rows as text: `what`, key and old value in hex. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "store/check_impl.h"

#define FOUND_FOLDER_NAME "lost+found"
#define COPY_STEP	  ((size_t)1 << 20)

/* ---- keeping --------------------------------------------------------------------------------- */

static int store_dir(struct check *k)
{
	return open(k->a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int make_folder(struct check *k, int top)
{
	struct timespec ts;
	struct tm tm;
	char stamp[24];
	int fd;

	if (mkdirat(top, "repaired", 0700) && errno != EEXIST)
		return -errno;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(k->keep.name, sizeof(k->keep.name), "repaired/%s-%02u", stamp, i);
		if (mkdirat(top, k->keep.name, 0700) == 0)
			break;
		if (errno != EEXIST)
			return -errno;
	}
	fd = openat(top, k->keep.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A descriptor, or -errno. */
int keep_folder(struct check *k)
{
	int top;

	if (k->keep.fd >= 0)
		return k->keep.fd;
	top = store_dir(k);
	if (top < 0)
		return -errno;
	k->keep.fd = make_folder(k, top);
	if (k->keep.fd < 0)
		k->keep.name[0] = '\0';
	close(top);
	return k->keep.fd;
}

static void put_hex(FILE *f, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%02x", p[i]);
}

void keep_row(struct check *k, const char *what, const uint8_t *key, size_t key_len,
	      const void *val, size_t val_len)
{
	int fd = keep_folder(k);

	if (fd >= 0 && !k->keep.rows) {
		fd = openat(fd, "rows", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
		k->keep.rows = fd < 0 ? NULL : fdopen(fd, "a");
		if (!k->keep.rows) {
			k->err = -errno;
			if (fd >= 0)
				close(fd);
			return;
		}
	}
	if (fd < 0) {
		k->err = fd;
		return;
	}
	fprintf(k->keep.rows, "%s ", what);
	put_hex(k->keep.rows, key, key_len);
	fputc(' ', k->keep.rows);
	put_hex(k->keep.rows, val, val_len);
	fputc('\n', k->keep.rows);
}

int keep_file(struct check *k, int dir_fd, const char *name, const char *as)
{
	int fd = keep_folder(k), rc = -1;
	char other[NAME_MAX + 1];

	snprintf(other, sizeof(other), "%.240s", as);
	if (fd >= 0)
		rc = renameat2(dir_fd, name, fd, other, RENAME_NOREPLACE);
	/* Never over what is kept already. */
	for (unsigned i = 1; fd >= 0 && rc && errno == EEXIST && i < 10000; i++) {
		snprintf(other, sizeof(other), "%.240s.%u", as, i);
		rc = renameat2(dir_fd, name, fd, other, RENAME_NOREPLACE);
	}
	if (rc)
		k->err = fd < 0 ? fd : -errno;
	return rc ? k->err : 0;
}

static int copy_all(int from, int to)
{
	uint8_t *buf = mem_alloc(COPY_STEP);
	ssize_t n = 1;
	int err = 0;

	for (off_t at = 0; n > 0 && !err; at += n) {
		n = pread(from, buf, COPY_STEP, at);
		if (n < 0)
			err = -errno;
		else if (n > 0 && pwrite(to, buf, (size_t)n, at) != n)
			err = -ENOSPC;
	}
	if (err == 0 && fsync(to))
		err = -errno;
	free(buf);
	return err;
}

int keep_copy(struct check *k, int dir_fd, const char *name, const char *as)
{
	int fd = keep_folder(k), from, to, err;

	if (fd < 0)
		return fd;
	from = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return errno == ENOENT ? 0 : -errno;
	to = openat(fd, as, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
	err = to < 0 ? -errno : copy_all(from, to);
	close(from);
	if (to >= 0)
		close(to);
	return err;
}

int keep_link(struct check *k, int dir_fd, const char *name, const char *as)
{
	int fd = keep_folder(k);

	if (fd < 0)
		return fd;
	return linkat(dir_fd, name, fd, as, 0) ? keep_copy(k, dir_fd, name, as) : 0;
}

int keep_sync(struct check *k)
{
	if (k->keep.rows && (fflush(k->keep.rows) || fsync(fileno(k->keep.rows))))
		return -errno;
	return k->keep.fd >= 0 && fsync(k->keep.fd) ? -errno : 0;
}

void keep_end(struct check *k)
{
	if (k->keep.rows)
		fclose(k->keep.rows);
	if (k->keep.fd >= 0)
		close(k->keep.fd);
	k->keep = (struct keep){.fd = -1};
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool writing(struct check *k)
{
	int err;

	if (k->err || k->writing)
		return !k->err;
	err = index_write_begin(k->s->index);
	if (err)
		k->err = err;
	k->writing = err == 0;
	return err == 0;
}

int fix_get(struct check *k, const uint8_t *key, size_t key_len, struct index_row *out)
{
	if (!k->writing)
		return index_get(k->s->index, key, key_len, out);
	return index_write_get(k->s->index, key, key_len, out);
}

static void keep_old(struct check *k, const char *what, const uint8_t *key, size_t key_len)
{
	struct index_row old;

	if (fix_get(k, key, key_len, &old) == 0)
		keep_row(k, what, key, key_len, old.val, old.val_len);
}

void fix_put(struct check *k, const uint8_t *key, size_t key_len, const void *val, size_t val_len)
{
	int err;

	if (!writing(k))
		return;
	keep_old(k, "was", key, key_len);
	err = index_put(k->s->index, key, key_len, val, val_len);
	if (err)
		k->err = err;
	k->fixes++;
}

void fix_del(struct check *k, const uint8_t *key, size_t key_len)
{
	uint8_t copy[ROW_KEY_MAX + 256];
	int err;

	if (key_len > sizeof(copy) || !writing(k))
		return;
	memcpy(copy, key, key_len); /* it may lie in a row that is read next */
	keep_old(k, "removed", copy, key_len);
	err = index_del(k->s->index, copy, key_len);
	if (err && err != -ENOENT)
		k->err = err;
	k->fixes++;
}

int fix_get_inode(struct check *k, uint64_t ino, struct inode_row *row, char *target)
{
	struct index_row val;
	uint8_t key[9];
	int err = fix_get(k, key, key_inode(key, ino), &val);

	if (err == 0)
		err = inode_row_decode(row, val.val, val.val_len);
	if (err)
		return err;
	row->pub.ino = ino;
	if (row->target_len) {
		memcpy(target, row->pub.target, row->target_len + 1);
		row->pub.target = target;
	}
	return 0;
}

void fix_put_inode(struct check *k, const struct inode_row *row)
{
	uint8_t key[9], val[ROW_INODE_MAX];

	fix_put(k, key, key_inode(key, row->pub.ino), val, inode_row_encode(row, val, sizeof(val)));
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NSEC + ts.tv_nsec;
}

void fix_make_inode(struct check *k, uint64_t ino, enum store_type type, uint64_t parent,
		    bool has_object, uint64_t size)
{
	int64_t now = now_ns();
	struct inode_row r = {.pub = {.ino = ino, .type = type, .mode = type == STORE_DIR ? 0700 : 0600,
				      .nlink = type == STORE_DIR ? 2 : 1, .parent = parent,
				      .size = type == STORE_DIR ? 4096 : size, .atime_ns = now,
				      .mtime_ns = now, .ctime_ns = now},
			      .has_object = has_object};

	r.pub.used = (r.pub.size + 4095) / 4096 * 4096;
	/* Handles of before are void: nobody knows the generation any more. */
	r.pub.generation = (uint32_t)map64_mix(ino ^ (uint64_t)now ^ k->s->seed) | 1U;
	if (ino == STORE_ROOT_INO)
		r.pub.generation = 1;
	if (ino == STORE_ROOT_INO)
		r.pub.mode = 0755;
	if (type == STORE_DIR)
		r.cookie_next = 3;
	if (ino >= k->next_ino)
		k->next_ino = ino + 1;
	fix_put_inode(k, &r);
	k->files++;
	k->rebuilt = true;
}

void fix_put_entry(struct check *k, uint64_t dir, const char *name, size_t len, uint64_t cookie,
		   uint64_t ino)
{
	uint8_t key[ROW_KEY_MAX], val[8 + STORE_NAME_MAX];
	struct wr w;

	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_u64(&w, cookie);
	fix_put(k, key, key_name(key, dir, name, len), val, wr_len(&w));
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_bytes(&w, name, len);
	fix_put(k, key, key_dir(key, dir, cookie), val, wr_len(&w));
}

void fix_del_entry(struct check *k, uint64_t dir, const char *name, size_t len, uint64_t cookie)
{
	uint8_t key[ROW_KEY_MAX];
	struct index_row row;

	fix_del(k, key, key_name(key, dir, name, len));
	if (fix_get(k, key, key_dir(key, dir, cookie), &row) == 0 && row.val_len == 8 + len &&
	    memcmp(row.val + 8, name, len) == 0)
		fix_del(k, key, key_dir(key, dir, cookie));
}

/* ---- lost+found ------------------------------------------------------------------------------ */

static void dir_grow(struct check *k, uint64_t dir, unsigned subdirs, uint64_t cookie)
{
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;

	if (fix_get_inode(k, dir, &r, target))
		return;
	r.entries++;
	r.pub.nlink += subdirs;
	if (r.cookie_next <= cookie)
		r.cookie_next = cookie + 1;
	fix_put_inode(k, &r);
}

static uint64_t next_cookie(struct check *k, uint64_t dir)
{
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;

	return fix_get_inode(k, dir, &r, target) ? 0 : r.cookie_next;
}

static void attach(struct check *k, uint64_t dir, const char *name, uint64_t ino)
{
	char target[STORE_TARGET_MAX + 1];
	uint64_t cookie = next_cookie(k, dir);
	struct inode_row r;

	if (cookie < 3 || fix_get_inode(k, ino, &r, target))
		return;
	if (r.pub.type == STORE_DIR)
		r.pub.parent = dir;
	else
		r.pub.nlink = 1;
	fix_put_inode(k, &r);
	fix_put_entry(k, dir, name, strlen(name), cookie, ino);
	dir_grow(k, dir, r.pub.type == STORE_DIR, cookie);
}

/* The number of the directory lost+found, made when it is not there. */
static uint64_t found_folder(struct check *k)
{
	char name[32] = FOUND_FOLDER_NAME;
	uint8_t key[ROW_KEY_MAX];
	struct index_row row;
	const struct known *n;
	uint64_t ino;

	for (unsigned i = 1; i < 1000; i++) {
		if (fix_get(k, key, key_name(key, STORE_ROOT_INO, name, strlen(name)), &row) ||
		    row.val_len != 16)
			break;
		ino = check_be64(row.val);
		n = known_get(k, ino);
		if (n && known_type(n) == STORE_DIR)
			return ino;
		snprintf(name, sizeof(name), FOUND_FOLDER_NAME ".%u", i);
	}
	ino = k->next_ino;
	fix_make_inode(k, ino, STORE_DIR, STORE_ROOT_INO, false, 0);
	attach(k, STORE_ROOT_INO, name, ino);
	return ino;
}

void fix_attach(struct check *k)
{
	const struct known *root = known_get(k, STORE_ROOT_INO);
	uint64_t dir = 0;

	/* A root that this pass makes is there for the next one to see. */
	if (!k->repair || !root || known_type(root) != STORE_DIR)
		return;
	for (size_t i = 0; i < k->unnamed_count && !k->err; i++) {
		char name[32];

		if (k->unnamed[i] == STORE_ROOT_INO)
			continue;
		if (dir == 0)
			dir = found_folder(k);
		snprintf(name, sizeof(name), "#%llu", (unsigned long long)k->unnamed[i]);
		attach(k, dir, name, k->unnamed[i]);
		HF_MARK("store.fix_attached");
	}
}

/* ---- the end of a pass ----------------------------------------------------------------------- */

void fix_meta(struct check *k)
{
	static const uint8_t key[2] = {TABLE_META, 0};
	struct index_row row;
	uint8_t val[META_SIZE];
	struct meta m;
	/* What was counted, what was made: removed rows show up in the next pass. */
	uint64_t files = k->count + (k->files - k->s->files);

	if (!k->repair || k->fixes == 0 || k->err)
		return;
	if (fix_get(k, key, sizeof(key), &row) || meta_decode(&m, row.val, row.val_len)) {
		k->err = -EUCLEAN;
		return;
	}
	m.files = files;
	m.next_ino = k->next_ino;
	m.clean = false; /* the next open renews the write verifier */
	meta_encode(&m, val);
	fix_put(k, key, sizeof(key), val, sizeof(val));
	k->s->files = files;
	k->s->next_ino = k->next_ino;
}

int fix_commit(struct check *k)
{
	int err = k->err ? k->err : keep_sync(k);

	if (!k->writing)
		return err;
	k->writing = false;
#ifdef HF_MUTANT_FIX_NOT_COMMITTED
	err = err ? err : 1;
#endif
	if (err == 0)
		err = index_write_commit(k->s->index);
	else
		index_write_abort(k->s->index);
#ifdef HF_MUTANT_FIX_NOT_COMMITTED
	err = 0;
#endif
	return err ? err : index_renew(k->s->index);
}
