/* make.c - a new, empty store.
 *
 * In order: LABEL.new, empty, its name durable; folders, log halves, index; all given to the user
 * that will serve it; syncfs; the label's bytes, durable; LABEL.new becomes LABEL.  So a folder with
 * LABEL is a whole store, whatever was lost with the power, and one with LABEL.new alone is what a
 * making that was broken off has left: nothing in it was ever promised, and the next one removes it
 * and begins again.  A folder with neither must be empty: a store that lost its LABEL is not made
 * over.  The folder is locked meanwhile (flock), so two never make one store. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define HALF_MIN  ((uint64_t)4 << 20)
#define HALF_MAX  ((uint64_t)1 << 30)
#define MAP_MIN	  ((uint64_t)16 << 20)
#define ZERO_STEP ((size_t)1 << 20)
#define MARK	  "LABEL.new"

/* ---- parts ------------------------------------------------------------------------------------ */

/* Written, not only allocated: later direct writes then change no metadata (S7). */
int half_make(int dir_fd, const char *name, uint64_t bytes)
{
	int fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), err = 0;
	uint8_t *zero;

	if (fd < 0)
		return -errno;
	zero = mem_zalloc(1, ZERO_STEP);
	for (uint64_t at = 0; at < bytes && !err; at += ZERO_STEP) {
		size_t step = bytes - at < ZERO_STEP ? (size_t)(bytes - at) : ZERO_STEP;
		ssize_t n = pwrite(fd, zero, step, (off_t)at);

		if (n < 0 || (size_t)n != step)
			err = n < 0 ? -errno : -ENOSPC;
	}
	if (err == 0 && fsync(fd))
		err = -errno;
	free(zero);
	close(fd);
	return err;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NSEC + ts.tv_nsec;
}

static int put_root(struct index *x, uint64_t verifier)
{
	static const uint8_t meta_key[2] = {TABLE_META, 0}, verifier_key[2] = {TABLE_STATE, 'v'};
	int64_t now = now_ns();
	struct inode_row root = {.pub = {.ino = STORE_ROOT_INO, .generation = 1, .type = STORE_DIR,
					 .mode = 0755, .nlink = 2, .size = 4096, .used = 4096,
					 .atime_ns = now, .mtime_ns = now, .ctime_ns = now,
					 .parent = STORE_ROOT_INO},
				 .cookie_next = 3};
	struct meta meta = {.next_ino = STORE_ROOT_INO + 1, .files = 1, .time_ns = now,
			    .clean = true};
	uint8_t key[9], val[ROW_INODE_MAX], meta_val[META_SIZE], ver[8];
	struct wr w;
	int err;

	wr_init(&w, ver, sizeof(ver));
	wr_u64(&w, verifier);
	meta_encode(&meta, meta_val);
	err = index_put(x, key, key_inode(key, STORE_ROOT_INO), val,
			inode_row_encode(&root, val, sizeof(val)));
	if (err == 0)
		err = index_put(x, verifier_key, sizeof(verifier_key), ver, sizeof(ver));
	return err ? err : index_put(x, meta_key, sizeof(meta_key), meta_val, sizeof(meta_val));
}

static int index_make(const char *dir, uint64_t map_bytes, uint64_t verifier)
{
	size_t n = strlen(dir) + 8;
	char *path = mem_alloc(n);
	struct index *x;
	int err;

	snprintf(path, n, "%s/index", dir);
	err = index_open(&x, path, map_bytes, true, false);
	free(path);
	if (err)
		return err;
	err = index_write_begin(x);
	if (err == 0)
		err = put_root(x, verifier);
	if (err == 0)
		err = index_write_commit(x);
	index_close(x);
	return err;
}

/* ---- LABEL ------------------------------------------------------------------------------------ */

/* From here on what is in the folder is nobody's (file comment). */
static int mark_make(int dir_fd)
{
	int fd = openat(dir_fd, MARK, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return fsync(dir_fd) ? -errno : 0;
}

int label_make(int dir_fd, const struct label *l)
{
	uint8_t buf[LABEL_SIZE];
	int fd = openat(dir_fd, MARK, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t n;
	int err = 0;

	if (fd < 0)
		return -errno;
	label_encode(l, buf);
	n = pwrite(fd, buf, sizeof(buf), 0);
	if (n != (ssize_t)sizeof(buf) || fsync(fd))
		err = n >= 0 && n != (ssize_t)sizeof(buf) ? -EIO : -errno;
	close(fd);
	if (err)
		return err;
	if (renameat(dir_fd, MARK, dir_fd, "LABEL"))
		return -errno;
	return fsync(dir_fd) ? -errno : 0;
}

int store_conf_check(const struct store_conf *c, char *err, size_t err_size)
{
	if (c->log_half_bytes < HALF_MIN || c->log_half_bytes > HALF_MAX ||
	    c->log_half_bytes % BATCH_ALIGN)
		return say(err, err_size, -EINVAL,
			   "log half of %llu bytes: allowed are 4 MiB to 1 GiB in steps of 4 KiB",
			   (unsigned long long)c->log_half_bytes);
	if (c->index_map_bytes < MAP_MIN)
		return say(err, err_size, -EINVAL, "index map of %llu bytes: at least 16 MiB",
			   (unsigned long long)c->index_map_bytes);
	return 0;
}

/* ---- making ----------------------------------------------------------------------------------- */

static bool is_there(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Everything but the mark: 1 for none, 0 for something, or -errno. */
static int dir_is_empty(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), empty = 1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, MARK) != 0)
			empty = 0;
	closedir(d);
	return empty;
}

/* What the mark says is nobody's; the mark stays. */
static void parts_remove(int dir_fd)
{
	static const char *const files[] = {"index/data.mdb", "index/lock.mdb", "log/0", "log/1"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(dir_fd, files[i], 0);
	unlinkat(dir_fd, "index", AT_REMOVEDIR);
	unlinkat(dir_fd, "log", AT_REMOVEDIR);
	objects_unmake(dir_fd);
}

/* What could not be finished leaves nothing; it has the mark as long as anything of it may be
 * there after a power loss. */
static void store_unmake(int dir_fd)
{
	if (renameat(dir_fd, "LABEL", dir_fd, MARK) == 0 && fsync(dir_fd))
		return; /* whole or marked, nobody knows which */
	parts_remove(dir_fd);
	if (fsync(dir_fd) == 0)
		unlinkat(dir_fd, MARK, 0);
}

static int give_one(int dir_fd, const char *name, const struct store_owner *o)
{
	if (fchownat(dir_fd, name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return errno == ENOENT ? 0 : -errno;
}

static int give(int dir_fd, const struct store_owner *o)
{
	static const char *const names[] = {".",     "index",   "index/data.mdb", "index/lock.mdb",
					    "log",   "log/0",   "log/1",	  "objects",
					    MARK};
	char path[32];
	int err = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && err == 0; i++)
		err = give_one(dir_fd, names[i], o);
	for (unsigned a = 0; a < 16 && err == 0; a++) {
		snprintf(path, sizeof(path), "objects/%02x", a);
		err = give_one(dir_fd, path, o);
		for (unsigned b = 0; b < 16 && err == 0; b++) {
			snprintf(path, sizeof(path), "objects/%02x/%02x", a, b);
			err = give_one(dir_fd, path, o);
		}
	}
	return err;
}

static int parts_make(int dir_fd, const char *dir, const struct store_conf *c)
{
	uint64_t verifier;
	int err;

	if (getrandom(&verifier, sizeof(verifier), 0) != sizeof(verifier))
		return -EIO;
	err = mkdirat(dir_fd, "index", 0700) || mkdirat(dir_fd, "log", 0700) ? -errno : 0;
	if (err == 0)
		err = half_make(dir_fd, "log/0", c->log_half_bytes);
	if (err == 0)
		err = half_make(dir_fd, "log/1", c->log_half_bytes);
	if (err == 0)
		err = objects_make(dir_fd);
	return err ? err : index_make(dir, c->index_map_bytes, verifier);
}

/* Nobody else makes it at the same time, and there is nothing here that anybody wants. */
static int place_ready(int dir_fd)
{
	int err;

	if (flock(dir_fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (is_there(dir_fd, "LABEL"))
		return -ENOTEMPTY;
	if (is_there(dir_fd, MARK)) {
		HF_MARK("store.made_again");
		parts_remove(dir_fd);
	}
	err = dir_is_empty(dir_fd);
	if (err <= 0)
		return err ? err : -ENOTEMPTY;
#ifdef HF_MUTANT_MAKE_UNMARKED
	return 0;
#endif
	return mark_make(dir_fd);
}

static int store_make(int dir_fd, const char *dir, const struct store_conf *c,
		      const struct store_owner *owner)
{
	struct label l = {.half_bytes = c->log_half_bytes, .created_ns = now_ns()};
	int err;

	if (getrandom(l.uuid, 16, 0) != 16 || getrandom(l.handle_key, 16, 0) != 16)
		return -EIO;
	err = parts_make(dir_fd, dir, c);
	if (err == 0 && owner)
		err = give(dir_fd, owner);
#ifndef HF_MUTANT_MAKE_UNSYNCED
	if (err == 0 && syncfs(dir_fd))
		err = -errno;
#endif
	if (err == 0)
		err = label_make(dir_fd, &l);
	if (err)
		store_unmake(dir_fd);
	return err;
}

bool store_is_half_made(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is = fd >= 0 && is_there(fd, MARK) && !is_there(fd, "LABEL");

	if (fd >= 0)
		close(fd);
	return is;
}

int store_create_at(const char *dir, const struct store_conf *c, const struct store_owner *owner,
		    char *err, size_t err_size)
{
	int fd, code = store_conf_check(c, err, err_size);

	if (code)
		return code;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return say(err, err_size, -errno, "%s: cannot open the directory: %s", dir,
			   strerror(errno));
	code = place_ready(fd);
	if (code == 0)
		code = store_make(fd, dir, c, owner);
	close(fd);
	if (code == -ENOTEMPTY)
		return say(err, err_size, code, "%s: not empty; a store needs a directory of its own",
			   dir);
	if (code == -EBUSY)
		return say(err, err_size, code, "%s: somebody else makes a store of it; wait for that",
			   dir);
	if (code)
		return say(err, err_size, code, "%s: cannot make the store: %s; nothing of it was "
			   "left", dir, strerror(-code));
	return 0;
}
