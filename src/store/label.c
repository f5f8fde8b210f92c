/* label.c - LABEL: what this directory is; the lock that says who has it; making a new store.
 *
 * A new store gets its LABEL last, by rename, after everything else was made durable: a directory
 * without LABEL is no store. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <dirent.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define HALF_MIN  ((uint64_t)4 << 20) /* to be made; tests open smaller ones */
#define HALF_LEAST ((uint64_t)256 << 10)
#define HALF_MAX  ((uint64_t)1 << 30)
#define MAP_MIN   ((uint64_t)16 << 20)
#define LOCK_TRIES    400U
#define LOCK_PAUSE_US 2000U
#define ZERO_STEP ((size_t)1 << 20)

int say(char *err, size_t size, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	return code;
}

void store_conf_default(struct store_conf *c)
{
	*c = (struct store_conf){
	    .log_half_bytes = (uint64_t)16 << 20, /* what two halves hold is replayed within the pause */
	    .index_map_bytes = (uint64_t)16 << 30,
	    .checkpoint_interval_ns = 5 * NSEC,
	    .cache_inodes = 500000,
	    .read_cache_bytes = 64U << 20,
	    .dup_keep_ns = 120 * NSEC,
	};
}

/* ---- reading ---------------------------------------------------------------------------------- */

static int no_label(int dir_fd, const char *dir, char *err, size_t err_size)
{
	if (faccessat(dir_fd, ADOPT_WORK, F_OK, 0) == 0)
		return say(err, err_size, -ENOENT,
			   "%s: an adopt of it is not finished; run holdfast adopt again", dir);
	if (faccessat(dir_fd, RELEASE_WORK, F_OK, 0) == 0)
		return say(err, err_size, -ENOENT,
			   "%s: a release of it is not finished; run holdfast release again", dir);
	return say(err, err_size, -ENOENT,
		   "%s: not a store (no LABEL); make one or give its directory", dir);
}

int label_read(struct label *l, int dir_fd, const char *dir, int *fd, char *err, size_t err_size)
{
	uint8_t buf[LABEL_SIZE] = {0};
	ssize_t n;
	int code;

	*fd = openat(dir_fd, "LABEL", O_RDWR | O_CLOEXEC);
	if (*fd < 0 && errno == ENOENT)
		return no_label(dir_fd, dir, err, err_size);
	if (*fd < 0)
		return say(err, err_size, -errno, "%s/LABEL: cannot open: %s; check owner and mode", dir,
			   strerror(errno));
	n = pread(*fd, buf, sizeof(buf), 0);
	code = n < 0 ? -errno : label_decode(l, buf, (size_t)n);
	if (code == 0 && (l->half_bytes < HALF_LEAST || l->half_bytes > HALF_MAX ||
			  l->half_bytes % BATCH_ALIGN))
		code = -EBADMSG;
	if (code == -ENOTSUP && l->version < LABEL_VERSION)
		say(err, err_size, 0, "%s/LABEL: format %u is older than this program's %u; make a plain "
		    "tree of it with the program that wrote it (holdfast release), then adopt that",
		    dir, l->version, LABEL_VERSION);
	else if (code == -ENOTSUP)
		say(err, err_size, 0, "%s/LABEL: format %u is newer than this program's %u; use a newer "
		    "program", dir, l->version, LABEL_VERSION);
	else if (code == -EBADMSG)
		code = say(err, err_size, -EUCLEAN, "%s/LABEL: damaged; restore it from a copy", dir);
	else if (code)
		say(err, err_size, 0, "%s/LABEL: cannot be read: %s", dir, strerror(-code));
	if (code) {
		close(*fd);
		*fd = -1;
	}
	return code;
}

/* A killed process is gone before its ring is: the kernel ends the ring's writes and lets go of
 * the lock a moment later (F5). That moment is waited for here, with the lock, not the pid. */
int label_lock(int fd, const char *dir, char *err, size_t err_size)
{
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES)
			break;
		HF_MARK("store.lock_waited");
		usleep(LOCK_PAUSE_US);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return say(err, err_size, -EBUSY, "%s: in use by another process; stop that one first",
			   dir);
	return say(err, err_size, -errno, "%s/LABEL: cannot be locked: %s", dir, strerror(errno));
}

/* ---- whose it is ------------------------------------------------------------------------------ */

bool store_as_owner(const char *dir)
{
	size_t n = strlen(dir) + sizeof("/LABEL");
	char *path = mem_alloc(n);
	struct stat st;
	bool is = false;

	snprintf(path, n, "%s/LABEL", dir);
#ifndef HF_MUTANT_REPAIR_AS_ROOT
	is = geteuid() == 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid != 0;
#endif
	free(path);
	if (!is)
		return false;
	HF_MARK("store.as_owner");
	setfsgid(st.st_gid);
	setfsuid(st.st_uid); /* with this go the rights over others' files, until it is 0 again */
	return true;
}

void store_as_self(bool owner)
{
	if (!owner)
		return;
	setfsuid(geteuid());
	setfsgid(getegid());
}

/* ---- making ----------------------------------------------------------------------------------- */

static int dir_is_empty(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), empty = 1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			empty = 0;
	closedir(d);
	return empty;
}

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

int label_make(int dir_fd, const struct label *l)
{
	uint8_t buf[LABEL_SIZE];
	int fd = openat(dir_fd, "LABEL.new", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	label_encode(l, buf);
	n = pwrite(fd, buf, sizeof(buf), 0);
	if (n != (ssize_t)sizeof(buf) || fsync(fd)) {
		int err = n < 0 ? -errno : -EIO;

		close(fd);
		return err;
	}
	close(fd);
	if (renameat(dir_fd, "LABEL.new", dir_fd, "LABEL"))
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

/* What could not be finished leaves nothing.  The directory was empty, so these names are ours. */
static void store_unmake(int dir_fd)
{
	static const char *const files[] = {"LABEL", "LABEL.new", "index/data.mdb", "index/lock.mdb",
					    "log/0", "log/1"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(dir_fd, files[i], 0);
	unlinkat(dir_fd, "index", AT_REMOVEDIR);
	unlinkat(dir_fd, "log", AT_REMOVEDIR);
	objects_unmake(dir_fd);
}

static int store_make(int dir_fd, const char *dir, const struct store_conf *c)
{
	struct label l = {.half_bytes = c->log_half_bytes, .created_ns = now_ns()};
	uint64_t verifier;
	int err = dir_is_empty(dir_fd);

	if (err <= 0)
		return err ? err : -ENOTEMPTY;
	if (getrandom(l.uuid, 16, 0) != 16 || getrandom(l.handle_key, 16, 0) != 16 ||
	    getrandom(&verifier, sizeof(verifier), 0) != sizeof(verifier))
		return -EIO;
	err = mkdirat(dir_fd, "index", 0700) || mkdirat(dir_fd, "log", 0700) ? -errno : 0;
	if (err == 0)
		err = half_make(dir_fd, "log/0", c->log_half_bytes);
	if (err == 0)
		err = half_make(dir_fd, "log/1", c->log_half_bytes);
	if (err == 0)
		err = objects_make(dir_fd);
	if (err == 0)
		err = index_make(dir, c->index_map_bytes, verifier);
	if (err == 0 && syncfs(dir_fd))
		err = -errno;
	if (err == 0)
		err = label_make(dir_fd, &l);
	if (err)
		store_unmake(dir_fd);
	return err;
}

int store_create_at(const char *dir, const struct store_conf *c, char *err, size_t err_size)
{
	int fd, code = store_conf_check(c, err, err_size);

	if (code)
		return code;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return say(err, err_size, -errno, "%s: cannot open the directory: %s", dir,
			   strerror(errno));
	code = store_make(fd, dir, c);
	close(fd);
	if (code == -ENOTEMPTY)
		return say(err, err_size, code, "%s: not empty; a store needs a directory of its own",
			   dir);
	if (code)
		return say(err, err_size, code, "%s: cannot make the store: %s; nothing of it was "
			   "left", dir, strerror(-code));
	return 0;
}
