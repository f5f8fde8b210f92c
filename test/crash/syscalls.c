/* syscalls.c - the system calls of the store and of LMDB, answered from the disk in memory.
 *
 * A path below DISK_ROOT, a descriptor from such a path, or an address inside the images is ours;
 * everything else goes on to the kernel.  Folders need not be made: any is there. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "diskfile.h"

#define FD_FIRST 600
#define FD_COUNT 400
#define POOL     ((size_t)384 << 20)

#define REAL(nr, ...) syscall(SYS_##nr, __VA_ARGS__)

struct open_file {
	bool used;
	struct file *f; /* NULL: a folder */
	char path[40];  /* of a folder, below the root */
	int flags;
	uint64_t pos;
};
static struct open_file table[FD_COUNT];
static uint8_t *pool;
static size_t pool_used;

void *disk_real_map(size_t size)
{
	uint8_t *at;

	if (!pool) {
		pool = (uint8_t *)REAL(mmap, NULL, POOL, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
		if (pool == MAP_FAILED)
			return NULL;
	}
	if (pool_used + size > POOL)
		return NULL;
	at = pool + pool_used;
	pool_used += size;
	return at;
}

void disk_fds_gone(void)
{
	memset(table, 0, sizeof(table));
}

static struct open_file *of_fd(int fd)
{
	if (fd < FD_FIRST || fd >= FD_FIRST + FD_COUNT || !table[fd - FD_FIRST].used)
		return NULL;
	return &table[fd - FD_FIRST];
}

static int fail(int err)
{
	errno = err;
	return -1;
}

static int fault_errno(enum fault f)
{
	return f == FAULT_ENOSPC ? ENOSPC : EIO;
}

/* ---- open, close ------------------------------------------------------------------------------
 */

/* The path below the root, or false: not ours. */
static bool path_of(int at, const char *path, char out[40])
{
	const struct open_file *d = at == AT_FDCWD ? NULL : of_fd(at);
	size_t root = strlen(DISK_ROOT);
	char full[96];

	if (d)
		snprintf(full, sizeof(full), "%.40s%s%.40s", d->path, *d->path ? "/" : "", path);
	else if (strncmp(path, DISK_ROOT, root) == 0)
		snprintf(full, sizeof(full), "%.80s",
			 path[root] == '/' ? path + root + 1 : path + root);
	else
		return false;
	if (strlen(full) >= 40)
		abort();
	memcpy(out, full, strlen(full) + 1);
	return true;
}

static int fd_new(struct file *f, const char *path, int flags)
{
	for (int i = 0; i < FD_COUNT; i++) {
		struct open_file *o = &table[i];

		if (o->used)
			continue;
		*o = (struct open_file){.used = true, .f = f, .flags = flags};
		snprintf(o->path, sizeof(o->path), "%s", path);
		return FD_FIRST + i;
	}
	return fail(EMFILE);
}

static int make(const char *path, struct file **f)
{
	enum fault bad = disk_fault(AT_OBJECT_MAKE);

	if (bad)
		return fail(fault_errno(bad));
	if (*f)
		file_remake(*f);
	else
		*f = file_make(path);
	(*f)->live = true;
	return 0;
}

static int do_open(int at, const char *path, int flags, unsigned mode)
{
	struct file *f;
	char rel[40];
	int fd;

	if (!path_of(at, path, rel))
		return (int)REAL(openat, at, path, flags, mode);
	if (flags & O_DIRECTORY)
		return fd_new(NULL, rel, flags);
	f = file_find(rel);
	if (f && f->live)
		return fd_new(f, rel, flags);
	if (!(flags & O_CREAT))
		return fail(ENOENT);
	if (make(rel, &f))
		return -1;
	fd = fd_new(f, rel, flags);
	disk_at_boundary(AT_OBJECT_MAKE);
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = va_arg(ap, unsigned);
	va_end(ap);
	return do_open(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = va_arg(ap, unsigned);
	va_end(ap);
	return do_open(at, path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
	return do_open(AT_FDCWD, path, flags, 0);
}

int __openat_2(int at, const char *path, int flags);
int __openat_2(int at, const char *path, int flags)
{
	return do_open(at, path, flags, 0);
}

int close(int fd)
{
	struct open_file *o = of_fd(fd);

	if (!o)
		return (int)REAL(close, fd);
	memset(o, 0, sizeof(*o));
	return 0;
}

/* ---- reading
 * -------------------------------------------------------------------------------------- */

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	struct open_file *o = of_fd(fd);
	const struct file *f = o ? o->f : NULL;

	if (!o)
		return REAL(pread64, fd, buf, len, off);
	if (!f)
		return fail(EISDIR);
	if (f->kind == FILE_LOG && disk_fault(AT_LOG_READ))
		return fail(EIO);
	if (f->kind == FILE_OBJECT && disk_fault(AT_OBJECT_READ))
		return fail(EIO);
	if ((uint64_t)off >= f->size)
		return 0;
	if (len > f->size - (uint64_t)off)
		len = f->size - (uint64_t)off;
	memcpy(buf, f->now + off, len);
	return (ssize_t)len;
}

/* All is in memory here: nothing would wait. */
ssize_t preadv2(int fd, const struct iovec *v, int count, off_t off, int flags)
{
	(void)flags;
	return count == 1 ? pread(fd, v->iov_base, v->iov_len, off) : fail(EINVAL);
}

static int do_stat(int fd, struct stat *st)
{
	const struct open_file *o = of_fd(fd);

	if (!o)
		return (int)REAL(newfstatat, fd, "", st, AT_EMPTY_PATH);
	memset(st, 0, sizeof(*st));
	st->st_mode = o->f ? S_IFREG | 0600 : S_IFDIR | 0700;
	st->st_size = o->f ? (off_t)o->f->size : 4096;
	st->st_blksize = 4096;
	st->st_blocks = o->f ? (blkcnt_t)(file_blocks(o->f) * (DISK_BLOCK / 512)) : 8;
	st->st_nlink = 1;
	return 0;
}

int fstat(int fd, struct stat *st)
{
	return do_stat(fd, st);
}

int __fxstat(int version, int fd, struct stat *st);
int __fxstat(int version, int fd, struct stat *st)
{
	(void)version;
	return do_stat(fd, st);
}

int fstatvfs(int fd, struct statvfs *v)
{
	uint64_t left = disk_free() > 1U << 30 ? 1U << 30 : disk_free();

	(void)fd;
	*v = (struct statvfs){.f_bsize = 4096,
			      .f_frsize = 4096,
			      .f_blocks = 1U << 30,
			      .f_bfree = left,
			      .f_bavail = left,
			      .f_files = 1U << 20,
			      .f_ffree = 1U << 20,
			      .f_favail = 1U << 20};
	return 0;
}

int fstatfs(int fd, struct statfs *v)
{
	if (!of_fd(fd))
		return (int)REAL(fstatfs, fd, v);
	memset(v, 0, sizeof(*v));
	return 0;
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	const struct open_file *o = of_fd(fd);

	if (!o)
		return (void *)REAL(mmap, at, len, prot, flags, fd, off);
	if (len > o->f->room || off || (prot & PROT_WRITE))
		abort();
	return o->f->now;
}

static bool in_pool(const void *p)
{
	return pool && (const uint8_t *)p >= pool && (const uint8_t *)p < pool + POOL;
}

int munmap(void *at, size_t len)
{
	return in_pool(at) ? 0 : (int)REAL(munmap, at, len);
}

int madvise(void *at, size_t len, int advice)
{
	return in_pool(at) ? 0 : (int)REAL(madvise, at, len, advice);
}

/* ---- writing
 * -------------------------------------------------------------------------------------- */

static ssize_t log_write(struct open_file *o, const void *data, size_t len, uint64_t off)
{
	enum fault bad;
	ssize_t n;

	if (!(o->flags & O_DIRECT) || len % DISK_BLOCK || off % DISK_BLOCK ||
	    (uintptr_t)data % DISK_BLOCK)
		return fail(EINVAL);
	file_log_begin(o->f, data, len, off);
	disk_at_boundary(AT_LOG_WRITE);
	bad = disk_fault(AT_LOG_WRITE);
	n = file_log_end(o->f, bad, (o->flags & O_DSYNC) != 0);
	if (n == (ssize_t)len)
		disk_at_boundary(AT_LOG_LANDED);
	return n;
}

static ssize_t meta_write(struct open_file *o, const void *data, size_t len, uint64_t off)
{
	enum fault bad = disk_fault(AT_META_WRITE);

	if (bad == FAULT_SHORT)
		len /= 2;
	file_write(o->f, off, data, len);
	disk_at_boundary(AT_META_WRITE);
	file_last_synced(o->f, bad == FAULT_EIO || bad == FAULT_ENOSPC);
	if (bad == FAULT_EIO || bad == FAULT_ENOSPC)
		return fail(fault_errno(bad));
	disk_at_boundary(AT_META_LANDED);
	return (ssize_t)len;
}

static ssize_t plain_write(struct open_file *o, const void *data, size_t len, uint64_t off)
{
	enum place where = o->f->kind == FILE_INDEX ? AT_INDEX_WRITE : AT_OBJECT_WRITE;
	enum fault bad = disk_fault(where);
	size_t room = file_take(o->f, off, len);

	if (bad == FAULT_SHORT)
		room = room / 2 ? room / 2 : room;
	else if (bad)
		room = below(2) ? 0 : room / 2; /* something may have been written all the same */
	file_write(o->f, off, data, room);
	if (room)
		disk_at_boundary(where);
	if (bad == FAULT_EIO || bad == FAULT_ENOSPC)
		return fail(fault_errno(bad));
	return room ? (ssize_t)room : fail(ENOSPC);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	struct open_file *o = of_fd(fd);

	if (!o)
		return REAL(pwrite64, fd, data, len, off);
	if (o->f->kind == FILE_LOG)
		return log_write(o, data, len, (uint64_t)off);
	if (o->f->kind == FILE_INDEX && (o->flags & O_DSYNC))
		return meta_write(o, data, len, (uint64_t)off);
	return plain_write(o, data, len, (uint64_t)off);
}

off_t lseek(int fd, off_t off, int whence)
{
	struct open_file *o = of_fd(fd);

	if (!o)
		return REAL(lseek, fd, off, whence);
	if (whence != SEEK_SET)
		return fail(EINVAL);
	o->pos = (uint64_t)off;
	return off;
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	struct open_file *o = of_fd(fd);
	static uint8_t all[1 << 20];
	size_t len = 0;
	ssize_t n;

	if (!o)
		return REAL(writev, fd, v, count);
	for (int i = 0; i < count; i++) {
		if (len + v[i].iov_len > sizeof(all))
			abort();
		memcpy(all + len, v[i].iov_base, v[i].iov_len);
		len += v[i].iov_len;
	}
	n = plain_write(o, all, len, o->pos);
	if (n > 0)
		o->pos += (uint64_t)n;
	return n;
}

int ftruncate(int fd, off_t size)
{
	struct open_file *o = of_fd(fd);

	if (!o)
		return (int)REAL(ftruncate, fd, size);
	if (disk_fault(AT_OBJECT_CUT))
		return fail(EIO);
	file_cut(o->f, (uint64_t)size);
	disk_at_boundary(AT_OBJECT_CUT);
	return 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	struct open_file *o = of_fd(fd);
	enum fault bad;

	if (!o)
		return (int)REAL(fallocate, fd, mode, off, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		abort();
	if (o->f->kind == FILE_INDEX)
		return file_take(o->f, (uint64_t)off, (size_t)len) == (size_t)len ? 0
										  : fail(ENOSPC);
	bad = disk_fault(AT_OBJECT_RESERVE);
	if (bad)
		return fail(fault_errno(bad));
	if (file_take(o->f, (uint64_t)off, (size_t)len) < (size_t)len)
		return fail(ENOSPC);
	disk_at_boundary(AT_OBJECT_RESERVE);
	return 0;
}

int unlinkat(int at, const char *path, int flags)
{
	struct file *f;
	char rel[40];

	if (!path_of(at, path, rel))
		return (int)REAL(unlinkat, at, path, flags);
	f = file_find(rel);
	if (!f || !f->live)
		return fail(ENOENT);
	if (disk_fault(AT_OBJECT_UNLINK))
		return fail(EIO);
	file_unlink(f);
	disk_at_boundary(AT_OBJECT_UNLINK);
	return 0;
}

/* ---- syncing
 * -------------------------------------------------------------------------------------- */

static int sync_folder(const char *path)
{
	size_t n = strlen(path);
	struct file *f;

	disk_at_boundary(AT_FOLDER_SYNC);
	if (disk_fault(AT_FOLDER_SYNC))
		return fail(EIO);
	for (unsigned i = 0; (f = file_nth(i)) != NULL; i++)
		if (strncmp(f->path, path, n) == 0 && f->path[n] == '/' &&
		    !strchr(f->path + n + 1, '/'))
			file_name_durable(f);
	disk_at_boundary(AT_FOLDER_SYNCED);
	return 0;
}

static int sync_file(struct file *f, uint64_t upto)
{
	bool index = f->kind == FILE_INDEX;

	disk_at_boundary(index ? AT_INDEX_SYNC : AT_OBJECT_SYNC);
	if (disk_fault(index ? AT_INDEX_SYNC : AT_OBJECT_SYNC)) {
		file_sync_failed(f);
		return fail(EIO);
	}
	file_synced(f, upto);
	disk_at_boundary(index ? AT_INDEX_SYNCED : AT_OBJECT_SYNCED);
	return 0;
}

int fdatasync(int fd)
{
	struct open_file *o = of_fd(fd);

	if (!o)
		return (int)REAL(fdatasync, fd);
	return o->f ? sync_file(o->f, disk_seq()) : sync_folder(o->path);
}

int fsync(int fd)
{
	return of_fd(fd) ? fdatasync(fd) : (int)REAL(fsync, fd);
}

int syncfs(int fd)
{
	uint64_t upto = disk_seq();
	bool bad;

	if (!of_fd(fd))
		return (int)REAL(syncfs, fd);
	disk_at_boundary(AT_ALL_SYNC);
	bad = disk_fault(AT_ALL_SYNC);
	for (unsigned i = 0; file_nth(i); i++) {
		if (bad && below(2)) {
			file_sync_failed(file_nth(i));
			continue;
		}
		file_synced(file_nth(i), upto);
		file_name_durable(file_nth(i));
	}
	if (bad)
		return fail(EIO);
	disk_at_boundary(AT_ALL_SYNCED);
	return 0;
}

/* ---- through the loop
 * ------------------------------------------------------------------------------ */

void disk_log_begin(int fd, const void *buf, size_t len, uint64_t off)
{
	struct open_file *o = of_fd(fd);

	if (!o || !(o->flags & O_DIRECT) || len % DISK_BLOCK || off % DISK_BLOCK ||
	    (uintptr_t)buf % DISK_BLOCK)
		abort();
	file_log_begin(o->f, buf, len, off);
	disk_at_boundary(AT_LOG_WRITE);
}

ssize_t disk_log_end(int fd)
{
	struct open_file *o = of_fd(fd);
	enum fault bad = disk_fault(AT_LOG_WRITE);
	ssize_t n = file_log_end(o->f, bad, (o->flags & O_DSYNC) != 0);

	if (n < 0)
		return -errno;
	if (bad == FAULT_NONE)
		disk_at_boundary(AT_LOG_LANDED);
	return n;
}

uint64_t disk_sync_begin(int fd)
{
	(void)fd;
	return disk_seq();
}

int disk_sync_end(int fd, uint64_t upto)
{
	struct open_file *o = of_fd(fd);
	int err;

	if (!o)
		abort();
	err = o->f ? sync_file(o->f, upto) : sync_folder(o->path);
	return err ? -errno : 0;
}

/* ---- the rest
 * --------------------------------------------------------------------------------------- */

int flock(int fd, int how);
int flock(int fd, int how)
{
	return of_fd(fd) ? 0 : (int)REAL(flock, fd, how);
}

int fcntl(int fd, int what, ...)
{
	struct open_file *o = of_fd(fd);
	va_list ap;
	long arg;

	va_start(ap, what);
	arg = va_arg(ap, long);
	va_end(ap);
	if (!o)
		return (int)REAL(fcntl, fd, what, arg);
	return what == F_GETFL ? o->flags : 0;
}

/* Everything follows from the seed. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
	uint8_t *p = out;

	(void)flags;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)dice();
	return (ssize_t)len;
}

/* ---- from and to a real directory
 * -------------------------------------------------------------------- */

static size_t load_root;

static int load_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	struct file *f;
	int fd;

	(void)w;
	if (type != FTW_F)
		return 0;
	f = file_make(path + load_root + 1);
	f->size = f->disk_size = (uint64_t)st->st_size;
	if (f->size > f->room)
		return -1;
	fd = (int)REAL(openat, AT_FDCWD, path, O_RDONLY, 0);
	if (fd < 0 || REAL(pread64, fd, f->now, f->size, 0) != (long)f->size)
		return -1;
	REAL(close, fd);
	if (f->disk != f->now)
		memcpy(f->disk, f->now, f->size);
	file_original(f);
	return file_take(f, 0, f->size) == f->size ? 0 : -1;
}

bool disk_load(const char *dir)
{
	load_root = strlen(dir);
	return nftw(dir, load_one, 16, FTW_PHYS) == 0;
}

static bool save_one(const struct file *f, const char *dir)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%.150s/%s", dir, f->path);
	for (char *at = strchr(path + strlen(dir) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		mkdir(path, 0700);
		*at = '/';
	}
	fd = (int)REAL(openat, AT_FDCWD, path, O_CREAT | O_RDWR | O_TRUNC, 0600);
	if (fd < 0 || REAL(pwrite64, fd, f->now, f->size, 0) != (long)f->size)
		return false;
	REAL(close, fd);
	return true;
}

/* Folders that hold nothing may be missing but for the first level's. */
bool disk_save(const char *dir)
{
	char path[200];
	bool good = true;

	snprintf(path, sizeof(path), "%.150s/objects", dir);
	mkdir(path, 0700);
	for (unsigned a = 0; a < 256; a++) {
		if (a % 16 == 0) {
			snprintf(path, sizeof(path), "%.150s/objects/%02x", dir, a / 16);
			mkdir(path, 0700);
		}
		snprintf(path, sizeof(path), "%.150s/objects/%02x/%02x", dir, a / 16, a % 16);
		mkdir(path, 0700);
	}
	for (unsigned i = 0; file_nth(i) && good; i++)
		if (file_nth(i)->live)
			good = save_one(file_nth(i), dir);
	return good;
}
