/* tree.h - a tree of the kernel's file system, walked; what else files of it have.
 *
 * For adopt and release only.  A walk holds one descriptor a level, calls `each` for every name
 * with its attributes as they were before anything of it was opened, and opens directories without
 * touching their access time where the kernel lets it. */
#ifndef HF_STORE_TREE_H
#define HF_STORE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define TREE_DEPTH_MAX 3000U /* descriptors: one a level */

/* Names from the top, for people. */
struct tree_path {
	char *text;
	size_t len, size;
};
size_t tree_path_push(struct tree_path *p, const char *name, size_t len); /* what pop wants */
void tree_path_pop(struct tree_path *p, size_t before);

/* A directory on the way down; ino and the rest belong to whoever walks. */
struct tree_dir {
	struct tree_dir *up;
	int fd;
	unsigned depth;
	uint64_t ino, entries, subdirs, cookie;
};

struct tree_entry {
	struct tree_dir *dir;
	const char *name;
	const char *path; /* from the top, for people */
	struct statx st;
	uint64_t child; /* each(): becomes the ino of the directory that is gone down into */
};

#define TREE_SKIP 1 /* each(): do not go down */
#define TREE_GONE 2 /* each(): the name was removed */

struct tree_walk {
	int (*each)(struct tree_walk *w, struct tree_entry *e);
	/* After everything below a directory; not for the top.  TREE_GONE: it was removed. */
	int (*leave)(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside);
	void *arg;
	bool removes; /* names go while it walks: folders are read until nothing goes any more */
	char *err;
	size_t err_size;
	struct tree_path path; /* (walk) */
};
/* `top` has fd and ino; the descriptor stays the caller's.  0, or -errno with a line in err. */
int tree_walk(struct tree_walk *w, struct tree_dir *top);

/* Never through a link, the access time left alone where the caller may; the descriptor or -errno.
 */
int tree_open(int dir_fd, const char *name, int flags);
int tree_stat(int dir_fd, const char *name, struct statx *st);
/* A row counts nanoseconds in 64 bits: from the year 1677 to 2262.  ext4 and xfs go on to 2446 and
 * 2486: such a time is no time of a row. */
static inline bool tree_time_fits(struct statx_timestamp t)
{
	return t.tv_sec > INT64_MIN / 1000000000LL && t.tv_sec < INT64_MAX / 1000000000LL;
}
static inline int64_t tree_ns(struct statx_timestamp t)
{
	if (!tree_time_fits(t))
		return t.tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
struct timespec tree_timespec(int64_t ns);
/* Both times of a name, not those of what a link leads to. */
int tree_set_times(int dir_fd, const char *name, int64_t atime_ns, int64_t mtime_ns);
/* Everything below a directory, and itself; names that are not there are no error. */
int tree_remove(int dir_fd, const char *name);

/* ---- extended attributes ------------------------------------------------------------------- */
typedef int tree_xattr_fn(void *arg, const char *name, const void *value, size_t len);
/* All that the caller may see; none where the file system has none. */
int tree_xattr_each(int dir_fd, const char *name, tree_xattr_fn *each, void *arg);
/* Leaves what is so already alone. */
int tree_xattr_set(int dir_fd, const char *name, const char *xattr, const void *value, size_t len);
int tree_xattr_drop(int dir_fd, const char *name, const char *xattr);

/* ---- what may be done ---------------------------------------------------------------------- */
bool tree_capable(unsigned cap); /* CAP_... of linux/capability.h, effective now */

enum tree_use {
	TREE_USE_FREE = 0,
	TREE_USE_WRITER = 1, /* somebody has it open for writing */
	TREE_USE_LOCKED = 2, /* somebody holds a lock on it */
};
/* A regular file, as far as can be seen; *project its project number (0: none). */
enum tree_use tree_in_use(int dir_fd, const char *name, uint32_t *project);
/* Of a directory: its project number, and whether what is made or linked in it gets it. */
uint32_t tree_project(int dir_fd, bool *inherited);

#endif
