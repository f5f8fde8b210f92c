/* simdisk.c - see simdisk.h.  Durable content is held in memory, sparse by pages. */
#include "simdisk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE	  4096U
#define FILES_MAX 4096U
#define FDS_MAX	  4096
#define PATH_ROOM 160

#define REAL(nr, ...) syscall(SYS_##nr, __VA_ARGS__)

struct pending {
	struct pending *next;
	bool cut; /* a truncate to `off` */
	uint64_t off;
	size_t len;
	uint8_t data[];
};

struct file {
	char path[PATH_ROOM]; /* below the root */
	bool live, durable;   /* has a name now; would have one after a power loss */
	uint8_t **page;	      /* durable content; NULL: zeros */
	uint64_t pages, size;
	struct pending *first, *last;
	/* (log) the batch in flight */
	const uint8_t *log_buf;
	size_t log_len;
	uint64_t log_off;
};

const char *const sim_place_name[SIM_PLACES] = {
    "write", "meta-write", "log-write", "before-sync", "after-sync", "name", "cut", "between"};
const char *const sim_fate_name[SIM_FATES] = {
    "kept",      "dropped",	 "torn-512",  "torn-4k",  "reordered", "cut-lost",
    "name-lost", "name-back-again", "log-torn", "log-lost", "log-kept"};

void (*sim_hook)(enum sim_place where);
struct sim_counts *sim_counts;

static char root[PATH_ROOM], empty_folders[PATH_ROOM];
static size_t root_len;
static struct file *file[FILES_MAX];
static unsigned files;
static struct file *by_fd[FDS_MAX];
static bool dsync[FDS_MAX];
static uint64_t state = 1;

uint64_t sim_rand(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

void sim_seed(uint64_t seed)
{
	state = seed;
}

static void fate(enum sim_fate f)
{
	if (sim_counts)
		__atomic_add_fetch(&sim_counts->fate[f], 1, __ATOMIC_RELAXED);
}

static void boundary(enum sim_place where)
{
	if (root_len && sim_hook)
		sim_hook(where);
}

/* ---- durable content --------------------------------------------------------------------------- */

static void content_grow(struct file *f, uint64_t size)
{
	uint64_t pages = (size + PAGE - 1) / PAGE;

	if (pages > f->pages) {
		f->page = realloc(f->page, pages * sizeof(*f->page));
		if (!f->page)
			abort();
		memset(f->page + f->pages, 0, (pages - f->pages) * sizeof(*f->page));
		f->pages = pages;
	}
	if (size > f->size)
		f->size = size;
}

static void content_write(struct file *f, uint64_t off, const uint8_t *data, size_t len)
{
	content_grow(f, off + len);
	while (len) {
		uint64_t at = off % PAGE, n = PAGE - at < len ? PAGE - at : len;
		uint8_t **p = &f->page[off / PAGE];

		if (!*p)
			*p = calloc(1, PAGE);
		if (!*p)
			abort();
		memcpy(*p + at, data, n);
		off += n;
		data += n;
		len -= n;
	}
}

static void content_cut(struct file *f, uint64_t size)
{
	if (size >= f->size) {
		content_grow(f, size);
		return;
	}
	for (uint64_t i = (size + PAGE - 1) / PAGE; i < f->pages; i++) {
		free(f->page[i]);
		f->page[i] = NULL;
	}
	if (size % PAGE && f->page[size / PAGE])
		memset(f->page[size / PAGE] + size % PAGE, 0, PAGE - size % PAGE);
	f->size = size;
}

static void apply_pending(struct file *f, const struct pending *p)
{
	if (p->cut)
		content_cut(f, p->off);
	else
		content_write(f, p->off, p->data, p->len);
}

static void file_synced(struct file *f)
{
	struct pending *next;

	for (struct pending *p = f->first; p; p = next) {
		next = p->next;
		apply_pending(f, p);
		free(p);
	}
	f->first = f->last = NULL;
}

static void add_pending(struct file *f, bool cut, uint64_t off, const void *data, size_t len)
{
	struct pending *p = malloc(sizeof(*p) + len);

	if (!p)
		abort();
	*p = (struct pending){.cut = cut, .off = off, .len = len};
	if (len)
		memcpy(p->data, data, len);
	if (f->last)
		f->last->next = p;
	else
		f->first = p;
	f->last = p;
}

/* ---- files by path and descriptor --------------------------------------------------------------- */

static struct file *file_find(const char *rel, bool make)
{
	for (unsigned i = 0; i < files; i++)
		if (strcmp(file[i]->path, rel) == 0)
			return file[i];
	if (!make)
		return NULL;
	if (files == FILES_MAX)
		abort();
	file[files] = calloc(1, sizeof(**file));
	snprintf(file[files]->path, PATH_ROOM, "%s", rel);
	return file[files++];
}

/* The path of an open descriptor below the root, or NULL. */
static const char *fd_path(int fd)
{
	static char path[PATH_ROOM * 2];
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || !root_len)
		return NULL;
	path[n] = 0;
	if (strncmp(path, root, root_len) != 0 || path[root_len] != '/')
		return NULL;
	return path + root_len + 1;
}

static struct file *of_fd(int fd)
{
	return fd >= 0 && fd < FDS_MAX && root_len ? by_fd[fd] : NULL;
}

static void opened(int fd, int flags)
{
	const char *rel;
	struct stat st;
	struct file *f;

	if (fd < 0 || fd >= FDS_MAX)
		return;
	by_fd[fd] = NULL;
	rel = fd_path(fd);
	if (!rel || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	f = file_find(rel, true);
	by_fd[fd] = f;
	dsync[fd] = (flags & O_DSYNC) != 0;
	if (!f->live) {
		f->live = true;
		boundary(SIM_NAME);
	}
}

/* ---- watching ------------------------------------------------------------------------------------ */

static void adopt_file(const char *path, const char *rel)
{
	int fd = (int)REAL(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	struct file *f = file_find(rel, true);
	static uint8_t buf[PAGE * 64], zero[PAGE];
	uint64_t off = 0;
	ssize_t n;

	f->live = f->durable = true;
	while ((n = pread(fd, buf, sizeof(buf), (off_t)off)) > 0) {
		for (size_t at = 0; at < (size_t)n; at += PAGE) {
			size_t part = (size_t)n - at < PAGE ? (size_t)n - at : PAGE;

			if (memcmp(buf + at, zero, part) != 0)
				content_write(f, off + at, buf + at, part);
		}
		off += (uint64_t)n;
	}
	content_grow(f, off);
	REAL(close, fd);
}

static void adopt_dir(const char *path, const char *rel)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char sub[PATH_ROOM * 2], sub_rel[PATH_ROOM];

	while (d && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		snprintf(sub_rel, sizeof(sub_rel), "%.100s%s%.50s", rel, *rel ? "/" : "", e->d_name);
		if (e->d_type == DT_DIR)
			adopt_dir(sub, sub_rel);
		else if (e->d_type == DT_REG)
			adopt_file(sub, sub_rel);
	}
	if (d)
		closedir(d);
}

void sim_unwatch(void)
{
	root_len = 0;
	for (unsigned i = 0; i < files; i++) {
		struct pending *next;

		for (struct pending *p = file[i]->first; p; p = next) {
			next = p->next;
			free(p);
		}
		for (uint64_t k = 0; k < file[i]->pages; k++)
			free(file[i]->page[k]);
		free(file[i]->page);
		free(file[i]);
	}
	files = 0;
	memset(by_fd, 0, sizeof(by_fd));
}

void sim_empty_folders(const char *path)
{
	char sub[PATH_ROOM * 2];

	snprintf(empty_folders, sizeof(empty_folders), "%s", path);
	mkdir(path, 0700);
	for (unsigned b = 0; b < 16; b++) {
		snprintf(sub, sizeof(sub), "%s/%02x", path, b);
		mkdir(sub, 0700);
	}
}

void sim_watch(const char *dir)
{
	sim_unwatch();
	adopt_dir(dir, "");
	snprintf(root, sizeof(root), "%s", dir);
	root_len = strlen(root);
}

/* ---- the crash ------------------------------------------------------------------------------------ */

/* Some of a write's sectors or pages land, the rest do not. */
static void land_part(struct file *f, uint64_t off, const uint8_t *data, size_t len, size_t unit)
{
	for (size_t at = 0; at < len;) {
		size_t n = unit - (off + at) % unit;

		if (n > len - at)
			n = len - at;
		if (sim_below(2))
			content_write(f, off + at, data + at, n);
		at += n;
	}
}

static void land_pending(struct file *f, const struct pending *p)
{
	switch (sim_below(4)) {
	case 0:
		fate(p->cut ? SIM_CUT_LOST : SIM_DROPPED);
		return;
	case 1:
		if (!p->cut) {
			fate(SIM_TORN_512);
			land_part(f, p->off, p->data, p->len, 512);
			return;
		}
		break;
	case 2:
		if (!p->cut) {
			fate(SIM_TORN_4K);
			land_part(f, p->off, p->data, p->len, PAGE);
			return;
		}
		break;
	default:
		break;
	}
	fate(SIM_KEPT);
	apply_pending(f, p);
}

/* The kernel's page cache holds one version of a page: what lands of a page is a version that it
 * had. So order is changed only between writes that do not share pages. */
static bool share_pages(const struct pending *a, const struct pending *b)
{
	return a->cut || b->cut ||
	       (a->off / PAGE <= (b->off + b->len) / PAGE && b->off / PAGE <= (a->off + a->len) / PAGE);
}

static void land_all(struct file *f)
{
	for (struct pending *p = f->first; p; p = p->next) {
		if (p->next && !share_pages(p, p->next) && sim_below(3) == 0) {
			fate(SIM_REORDERED);
			land_pending(f, p->next);
			land_pending(f, p);
			p = p->next;
			continue;
		}
		land_pending(f, p);
	}
}

static void land_log(struct file *f, bool torn_allowed)
{
	switch (sim_below(torn_allowed ? 4 : 2)) {
	case 0:
		fate(SIM_LOG_LOST);
		return;
	case 1:
		fate(SIM_LOG_KEPT);
		content_write(f, f->log_off, f->log_buf, f->log_len);
		return;
	default:
		fate(SIM_LOG_TORN);
		land_part(f, f->log_off, f->log_buf, f->log_len, sim_below(2) ? 512 : PAGE);
		return;
	}
}

static void file_write_out(const struct file *f, const char *to)
{
	char path[PATH_ROOM * 2];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", to, f->path);
	fd = (int)REAL(openat, AT_FDCWD, path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || REAL(ftruncate, fd, f->size))
		abort();
	for (uint64_t i = 0; i < f->pages; i++) {
		uint64_t n = f->size - i * PAGE < PAGE ? f->size - i * PAGE : PAGE;

		if (i * PAGE < f->size && f->page[i] &&
		    REAL(pwrite64, fd, f->page[i], n, i * PAGE) != (long)n)
			abort();
	}
	REAL(close, fd);
}

/* Inode numbers stay small here, so only the first sixteen folders are ever used: the others are
 * links to an empty tree, which spares most of the time that a crash takes. */
static void make_folders(const char *to)
{
	char path[PATH_ROOM * 2];

	snprintf(path, sizeof(path), "%s/index", to);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/log", to);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/objects", to);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/objects/00", to);
	mkdir(path, 0700);
	for (unsigned b = 0; b < 16; b++) {
		snprintf(path, sizeof(path), "%s/objects/00/%02x", to, b);
		mkdir(path, 0700);
	}
	for (unsigned a = 1; a < 16; a++) {
		snprintf(path, sizeof(path), "%s/objects/%02x", to, a);
		if (symlink(empty_folders, path))
			abort();
	}
}

/* A name that is not durable yet may or may not be; so may one whose removal is not. */
static bool name_survives(const struct file *f)
{
	bool yes = f->durable;

	if (f->durable != f->live && sim_below(2))
		yes = f->live;
	if (f->live && !yes)
		fate(SIM_NAME_LOST);
	if (!f->live && yes)
		fate(SIM_NAME_BACK);
	return yes;
}

void sim_power_loss(const char *to)
{
	root_len = 0;
	make_folders(to);
	for (unsigned i = 0; i < files; i++) {
		if (!name_survives(file[i]))
			continue;
		land_all(file[i]);
		if (file[i]->log_buf)
			land_log(file[i], true);
		file_write_out(file[i], to);
	}
}

void sim_process_kill(const char *to)
{
	root_len = 0;
	make_folders(to);
	for (unsigned i = 0; i < files; i++) {
		if (!file[i]->live)
			continue;
		file_synced(file[i]);
		if (file[i]->log_buf) /* the kernel has the write, or never got it */
			land_log(file[i], false);
		file_write_out(file[i], to);
	}
}

/* ---- the log's writes ------------------------------------------------------------------------------ */

void sim_log_begin(int fd, const void *buf, size_t len, uint64_t off)
{
	struct file *f = of_fd(fd);

	if (!f)
		return;
	f->log_buf = buf;
	f->log_len = len;
	f->log_off = off;
	boundary(SIM_LOG);
}

void sim_log_end(int fd)
{
	struct file *f = of_fd(fd);

	if (!f || !f->log_buf)
		return;
	content_write(f, f->log_off, f->log_buf, f->log_len);
	if (REAL(pwrite64, fd, f->log_buf, f->log_len, f->log_off) != (long)f->log_len)
		abort();
	f->log_buf = NULL;
}

/* ---- interposed calls ------------------------------------------------------------------------------ */

static int do_open(int at, const char *path, int flags, unsigned mode)
{
	/* Direct writes would only make this slower. */
	long fd = REAL(openat, at, path, flags & ~O_DIRECT, mode);

	if (fd < 0) {
		errno = (int)errno;
		return -1;
	}
	if (root_len)
		opened((int)fd, flags);
	else if (fd < FDS_MAX)
		by_fd[fd] = NULL;
	return (int)fd;
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
	if (fd >= 0 && fd < FDS_MAX)
		by_fd[fd] = NULL;
	return (int)REAL(close, fd);
}

/* A write at `off`: the real one, and for a watched file the books. */
static ssize_t wrote(int fd, ssize_t n, const void *data, uint64_t off)
{
	struct file *f = of_fd(fd);

	if (!f || n <= 0)
		return n;
	add_pending(f, false, off, data, (size_t)n);
	boundary(dsync[fd] ? SIM_DSYNC : SIM_WRITE);
	if (dsync[fd])
		file_synced(f);
	return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	return wrote(fd, REAL(pwrite64, fd, data, len, off), data, (uint64_t)off);
}

ssize_t write(int fd, const void *data, size_t len)
{
	off_t off = of_fd(fd) ? lseek(fd, 0, SEEK_CUR) : 0;

	return wrote(fd, REAL(write, fd, data, len), data, (uint64_t)off);
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	struct file *f = of_fd(fd);
	off_t off = f ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t n = REAL(writev, fd, v, count), left = n;

	for (int i = 0; f && i < count && left > 0; i++) {
		ssize_t part = (ssize_t)v[i].iov_len < left ? (ssize_t)v[i].iov_len : left;

		add_pending(f, false, (uint64_t)off, v[i].iov_base, (size_t)part);
		off += part;
		left -= part;
	}
	if (f)
		boundary(SIM_WRITE);
	return n;
}

static int do_sync(int fd)
{
	struct file *f = of_fd(fd);
	const char *rel;
	size_t n;

	boundary(SIM_SYNC);
	if (f) {
		file_synced(f);
	} else if ((rel = fd_path(fd)) != NULL) {
		n = strlen(rel);
		for (unsigned i = 0; i < files; i++)
			if (strncmp(file[i]->path, rel, n) == 0 && file[i]->path[n] == '/' &&
			    !strchr(file[i]->path + n + 1, '/'))
				file[i]->durable = file[i]->live;
	}
	boundary(SIM_SYNC_DONE);
	return 0;
}

int fsync(int fd)
{
	return do_sync(fd);
}

int fdatasync(int fd)
{
	return do_sync(fd);
}

int syncfs(int fd)
{
	(void)fd;
	boundary(SIM_SYNC);
	for (unsigned i = 0; root_len && i < files; i++) {
		file_synced(file[i]);
		file[i]->durable = file[i]->live;
	}
	boundary(SIM_SYNC_DONE);
	return 0;
}

/* Everything follows from the seed. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
	uint8_t *p = out;

	(void)flags;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)sim_rand();
	return (ssize_t)len;
}

int ftruncate(int fd, off_t size)
{
	int err = (int)REAL(ftruncate, fd, size);
	struct file *f = of_fd(fd);

	if (f && err == 0) {
		add_pending(f, true, (uint64_t)size, NULL, 0);
		boundary(SIM_CUT);
	}
	return err;
}

/* Reserves nothing here: in memory it would only cost time. */
int fallocate(int fd, int mode, off_t off, off_t len)
{
	(void)fd, (void)mode, (void)off, (void)len;
	return 0;
}

int unlinkat(int at, const char *path, int flags)
{
	int err = (int)REAL(unlinkat, at, path, flags);
	const char *rel = err == 0 && at != AT_FDCWD ? fd_path(at) : NULL;
	char full[PATH_ROOM * 3];
	struct file *f;

	if (!rel)
		return err;
	snprintf(full, sizeof(full), "%s/%s", rel, path);
	f = file_find(full, false);
	if (f) {
		f->live = false;
		boundary(SIM_NAME);
	}
	return err;
}
