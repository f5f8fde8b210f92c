/* adopt_impl.h - what adopt.c, adopt_look.c, adopt_rows.c and release.c share. */
#ifndef HF_STORE_ADOPT_IMPL_H
#define HF_STORE_ADOPT_IMPL_H

#include "store/adopt.h"
#include "store/store_impl.h"
#include "store/tree.h"

#define ADOPT_BATCH_ROWS  20000U
#define ADOPT_BATCH_BYTES ((size_t)16 << 20)

/* Of DIR itself, from before anything was done to it. */
struct root_times {
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint32_t mode, uid, gid;
};

struct adopt {
	const struct adopt_args *a;
	struct adopt_counts *n;
	char *err;
	size_t err_size;
	int dir_fd, work_fd, store_fd, objects_fd, label_fd;
	struct statx root;
	struct root_times times;
	bool dir_is_mount;
	bool ending; /* only step 9 is left */
	uint64_t began_ns, told_ns;
	const char *step; /* under way, for progress */
	uint64_t step_began_ns;
	/* looking */
	bool fowner, inherits;
	uint32_t project;
	struct map64 linked; /* host inode -> names still to be seen */
	/* building */
	struct index *x, *links;
	size_t rows, row_bytes;
	uint64_t next_ino, files, seed;
	struct map64 strange; /* host inodes of names that the store does not have */
	/* release */
	struct store *s;
	int tree_fd, made_fd;
	bool chown, mknod, times_known;
};

/* What is said of a name; CANNOT is counted. */
void adopt_find(struct adopt *k, enum adopt_finding f, const char *path, const char *what);
void adopt_progress(struct adopt *k, const char *step);
/* Is this directory a store? */
bool adopt_is_store(int dir_fd);
/* Has it what a store has, but no LABEL that can be read?  Then it is one that was damaged. */
bool adopt_was_store(int dir_fd);
int adopt_no_label(const struct adopt *k); /* says so: -EUCLEAN */
void adopt_point(struct adopt *k, unsigned step, bool inside);
/* Names of DIR that are not of the tree. */
bool adopt_leaves(const struct adopt *k, const struct tree_entry *e);
int adopt_trouble(struct adopt *k, int code, const char *what);
int adopt_lock(struct adopt *k);
bool adopt_exists(int dir_fd, const char *name);
/* Never over what is there, also where the file system cannot promise it. 0 or -errno. */
int adopt_rename(int from, int to, const char *name);
void adopt_begin(struct adopt *k, const struct adopt_args *a, struct adopt_counts *n, char *err,
		 size_t err_size);
/* Says what it took and what could not be (`cannot`), closes; gives `code`. */
int adopt_end(struct adopt *k, int code, const char *cannot);
int adopt_mkdir(int dir_fd, const char *name);
int adopt_dir(int dir_fd, const char *name);
int sync_dir(int fd);
int root_times_write(int work_fd, const struct root_times *t);
int root_times_read(int work_fd, struct root_times *t);
uint64_t adopt_index_bytes(const struct adopt_counts *n);

/* adopt_look.c: step 1; nothing is changed. */
int adopt_look(struct adopt *k);

/* adopt_rows.c: steps 3, 4, 7 */
int adopt_build(struct adopt *k);
int adopt_compare(struct adopt *k);
int adopt_remove_names(struct adopt *k);

/* release_tree.c: steps 2, 3, 7 of release */
int release_look(struct adopt *k);
int release_build(struct adopt *k);
int release_attributes(struct adopt *k);
/* Has each object a name in the tree now? */
int release_objects(struct adopt *k);

#endif
