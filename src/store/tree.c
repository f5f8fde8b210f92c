/* tree.c - walking a tree, its extended attributes, and who uses its files. */
#include "store/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_impl.h"

#define XATTR_ROOM 65536U

/* ---- walking ------------------------------------------------------------------------------- */

int tree_stat(int dir_fd, const char *name, struct statx *st)
{
	return statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, st)
		   ? -errno
		   : 0;
}

struct timespec tree_timespec(int64_t ns)
{
	int64_t sec = ns / (int64_t)NSEC;

	if (ns % (int64_t)NSEC < 0) /* before 1970 */
		sec--;
	return (struct timespec){.tv_sec = sec, .tv_nsec = ns - sec * (int64_t)NSEC};
}

int tree_set_times(int dir_fd, const char *name, int64_t atime_ns, int64_t mtime_ns)
{
	const struct timespec t[2] = {tree_timespec(atime_ns), tree_timespec(mtime_ns)};

	return utimensat(dir_fd, name, t, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int tree_open(int dir_fd, const char *name, int flags)
{
	int fd = openat(dir_fd, name, flags | O_NOATIME | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int trouble(struct tree_walk *w, int code, const char *what)
{
	return say(w->err, w->err_size, code, "%s: %s: %s", w->path.len ? w->path.text : ".", what,
		   strerror(-code));
}

size_t tree_path_push(struct tree_path *p, const char *name, size_t len)
{
	size_t before = p->len;

	if (p->len + len + 2 > p->size) {
		p->size = (p->len + len + 2) * 2;
		p->text = mem_realloc(p->text, p->size);
	}
	if (p->len)
		p->text[p->len++] = '/';
	memcpy(p->text + p->len, name, len);
	p->len += len;
	p->text[p->len] = 0;
	return before;
}

void tree_path_pop(struct tree_path *p, size_t before)
{
	p->len = before;
	p->text[before] = 0;
}

static int walk_dir(struct tree_walk *w, struct tree_dir *d, bool own_fd);

static int walk_down(struct tree_walk *w, struct tree_entry *e)
{
	struct tree_dir inside = {.up = e->dir, .depth = e->dir->depth + 1, .ino = e->child};
	int err;

	if (inside.depth > TREE_DEPTH_MAX)
		return trouble(w, -ENAMETOOLONG, "too many directories in each other");
	inside.fd = tree_open(e->dir->fd, e->name, O_RDONLY | O_DIRECTORY);
	if (inside.fd < 0)
		return trouble(w, inside.fd, "the directory cannot be opened");
	err = walk_dir(w, &inside, true);
	return err || !w->leave ? err : w->leave(w, e, &inside);
}

static int walk_name(struct tree_walk *w, struct tree_dir *d, const char *name)
{
	struct tree_entry e = {.dir = d, .name = name};
	size_t before = tree_path_push(&w->path, name, strlen(name));
	int err = tree_stat(d->fd, name, &e.st);

	e.path = w->path.text;
	if (err == -ENOENT && w->removes)
		err = 0;
	else if (err)
		trouble(w, err, "cannot be looked at");
	else
		err = w->each(w, &e);
	if (err == 0 && S_ISDIR(e.st.stx_mode) && e.st.stx_mode)
		err = walk_down(w, &e);
	tree_path_pop(&w->path, before);
	return err;
}

/* One reading of the folder; *gone: names went meanwhile, so it may have missed some. */
static int walk_once(struct tree_walk *w, struct tree_dir *d, DIR *dir, bool *gone)
{
	struct dirent *e;
	int err = 0;

	while (err >= 0 && (errno = 0, e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		err = walk_name(w, d, e->d_name);
		if (err == TREE_GONE)
			*gone = true;
	}
	if (err < 0)
		return err;
	return errno ? trouble(w, -errno, "the directory cannot be read") : 0;
}

static int walk_dir(struct tree_walk *w, struct tree_dir *d, bool own_fd)
{
	int fd = own_fd ? d->fd : tree_open(d->fd, ".", O_RDONLY | O_DIRECTORY), err;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool gone;

	if (!dir) {
		err = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
		return trouble(w, err, "the directory cannot be read");
	}
	do {
		gone = false;
		err = walk_once(w, d, dir, &gone);
		rewinddir(dir);
	} while (err == 0 && gone && w->removes);
	closedir(dir);
	return err;
}

int tree_walk(struct tree_walk *w, struct tree_dir *top)
{
	int err;

	w->path = (struct tree_path){0};
	err = walk_dir(w, top, false);
	free(w->path.text);
	return err;
}

static int remove_each(struct tree_walk *w, struct tree_entry *e)
{
	(void)w;
	if (S_ISDIR(e->st.stx_mode))
		return 0;
	return unlinkat(e->dir->fd, e->name, 0) && errno != ENOENT ? -errno : TREE_GONE;
}

static int remove_leave(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside)
{
	(void)w;
	(void)inside;
	return unlinkat(e->dir->fd, e->name, AT_REMOVEDIR) && errno != ENOENT ? -errno : TREE_GONE;
}

int tree_remove(int dir_fd, const char *name)
{
	char err[128];
	struct tree_walk w = {.each = remove_each,
			      .leave = remove_leave,
			      .removes = true,
			      .err = err,
			      .err_size = sizeof(err)};
	struct tree_dir top = {.fd = tree_open(dir_fd, name, O_RDONLY | O_DIRECTORY)};
	int code;

	if (top.fd == -ENOENT)
		return 0;
	if (top.fd == -ENOTDIR)
		return unlinkat(dir_fd, name, 0) ? -errno : 0;
	if (top.fd < 0)
		return top.fd;
	code = tree_walk(&w, &top);
	close(top.fd);
	if (code == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR))
		code = -errno;
	return code;
}

/* ---- extended attributes ------------------------------------------------------------------- */

/* There is no call that takes a directory and a name; /proc makes a path of them. */
static char *proc_path(int dir_fd, const char *name)
{
	size_t n = strlen(name) + 40;
	char *path = mem_alloc(n);

	snprintf(path, n, "/proc/self/fd/%d/%s", dir_fd, name);
	return path;
}

static int xattr_one(const char *path, const char *xattr, uint8_t *value, tree_xattr_fn *each,
		     void *arg)
{
	ssize_t n = lgetxattr(path, xattr, value, XATTR_ROOM);

	if (n < 0)
		return errno == ENODATA ? 0 : -errno;
	return each(arg, xattr, value, (size_t)n);
}

int tree_xattr_each(int dir_fd, const char *name, tree_xattr_fn *each, void *arg)
{
	char *path = proc_path(dir_fd, name), *list;
	ssize_t len = llistxattr(path, NULL, 0), n = 0;
	uint8_t *value;
	int err = 0;

	if (len <= 0) { /* the usual case is cheap */
		err = len < 0 && errno != EOPNOTSUPP ? -errno : 0;
		free(path);
		return err;
	}
	list = mem_alloc(XATTR_ROOM + 1);
	value = mem_alloc(XATTR_ROOM);
	len = llistxattr(path, list, XATTR_ROOM);
	if (len < 0)
		err = -errno;
	for (; n < len && !err; n += (ssize_t)strlen(list + n) + 1)
		err = xattr_one(path, list + n, value, each, arg);
	free(value);
	free(list);
	free(path);
	return err;
}

int tree_xattr_set(int dir_fd, const char *name, const char *xattr, const void *value, size_t len)
{
	char *path = proc_path(dir_fd, name);
	uint8_t *now = mem_alloc(XATTR_ROOM);
	ssize_t n = lgetxattr(path, xattr, now, XATTR_ROOM);
	int err = 0;

	if (n < 0 || (size_t)n != len || memcmp(now, value, len) != 0)
		err = lsetxattr(path, xattr, value, len, 0) ? -errno : 0;
	free(now);
	free(path);
	return err;
}

int tree_xattr_drop(int dir_fd, const char *name, const char *xattr)
{
	char *path = proc_path(dir_fd, name);
	int err = lremovexattr(path, xattr) && errno != ENODATA ? -errno : 0;

	free(path);
	return err;
}

/* ---- what may be done ---------------------------------------------------------------------- */

bool tree_capable(unsigned cap)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &head, data))
		return geteuid() == 0;
	return data[cap / 32].effective >> cap % 32 & 1U;
}

static uint32_t project_of(int fd, bool *inherited)
{
	struct fsxattr x = {0};

	*inherited = false;
	if (ioctl(fd, FS_IOC_FSGETXATTR, &x))
		return 0;
	*inherited = x.fsx_xflags & FS_XFLAG_PROJINHERIT;
	return x.fsx_projid;
}

uint32_t tree_project(int dir_fd, bool *inherited)
{
	int fd = tree_open(dir_fd, ".", O_RDONLY | O_DIRECTORY);
	uint32_t id;

	*inherited = false;
	if (fd < 0)
		return 0;
	id = project_of(fd, inherited);
	close(fd);
	return id;
}

/* A lease for reading is refused while anybody can write; locks say so themselves. */
enum tree_use tree_in_use(int dir_fd, const char *name, uint32_t *project)
{
	int fd = tree_open(dir_fd, name, O_RDONLY | O_NONBLOCK);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	enum tree_use use = TREE_USE_FREE;
	bool inherited;

	*project = 0;
	if (fd < 0)
		return use;
	*project = project_of(fd, &inherited);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	else if (errno == EAGAIN)
		use = TREE_USE_WRITER;
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		use = TREE_USE_LOCKED;
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		use = TREE_USE_LOCKED;
	close(fd);
	return use;
}
