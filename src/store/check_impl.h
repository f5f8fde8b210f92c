/* check_impl.h - the inside of the check, shared by check*.c, fix.c and salvage.c.
 *
 * A check is a number of passes over index and objects.  A pass that repairs collects its changes
 * in one transaction of the index, which is committed at its end: a crash leaves the state of
 * before or after.  Passes go on until one finds nothing to repair, so a repair that uncovers
 * something else needs no cleverness of its own.
 *
 * Memory: 16 bytes for an inode, 80 more for a directory. */
#ifndef HF_STORE_CHECK_IMPL_H
#define HF_STORE_CHECK_IMPL_H

#include <stdio.h>

#include "store/store_impl.h"

enum finding {
#define FINDING(sym, name, class, repair) FOUND_##sym,
#include "store/tbl_finding.h"
#undef FINDING
	FOUND_COUNT
};
enum finding_class { CLASS_FIX, CLASS_LOST, CLASS_LEFT };

#define KNOWN_NLINK  0xffffffU /* greatest count that is told apart */
#define KNOWN_TYPE   24	       /* where the type stands in `said` */
#define KNOWN_OBJECT (1U << 27)
#define KNOWN_XATTR  (1U << 28)
#define KNOWN_SEEN   (1U << 29) /* its object is there */

struct known {
	uint64_t ino;
	uint32_t said;	/* link count, type and flags, as its row says */
	uint32_t links; /* names that were counted */
};

struct known_dir {
	uint64_t ino, parent, entries, cookie_next; /* as its row says */
	uint64_t names, cookie_max;		    /* counted */
	uint64_t named_in, named_cookie;	    /* its own entry */
	uint32_t subdirs;
	uint32_t walk; /* number of the walk upwards that came by */
};

/* What is thrown away is kept: STORE/repaired/WHEN/. */
struct keep {
	int fd;	    /* the folder, -1: not made yet */
	FILE *rows; /* rows as they were, in hex */
	char name[48];
};

struct check {
	const struct store_check_args *a;
	struct store_check_result *res;
	struct store *s;
	bool repair;
	int err; /* a repair that could not be written */
	/* one pass */
	unsigned pass;
	uint64_t fixes;
	bool writing; /* the transaction is open */
	bool rebuilt; /* inodes were made in this pass */
	bool moved;   /* a row function moved the cursor */
	struct known *inode;
	size_t count, cap;
	struct known_dir *dir;
	size_t dir_count, dir_cap;
	uint64_t next_ino, files;
	bool verifier_seen;
	struct map64 made; /* inodes that this pass made */
	uint64_t *unnamed; /* to be put into lost+found at its end */
	size_t unnamed_count, unnamed_cap;
	uint64_t steps;
	struct keep keep;
	char line[512];
};

/* ---- check.c ---- */
/* Says it; true when it is to be repaired now. */
bool found(struct check *k, enum finding f, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void progress(struct check *k, const char *phase, uint64_t done, uint64_t all);
struct known *known_get(struct check *k, uint64_t ino);
struct known_dir *known_dir_get(struct check *k, uint64_t ino);
enum store_type known_type(const struct known *n);
typedef void check_row_fn(struct check *k, const struct index_row *row);
/* Every live row of a table, through the layers. */
int check_rows(struct check *k, enum table table, const char *phase, check_row_fn *each);
uint64_t check_be64(const uint8_t *p);

/* ---- check_tree.c, check_objects.c, check_small.c: parts of a pass; 0 or -errno ---- */
int check_tree(struct check *k);
void check_sums(struct check *k);
int check_small(struct check *k);
int check_objects(struct check *k);
/* Does the inode have an object in the folders?  0: no; else 1 and its size. */
int check_object_size(struct check *k, uint64_t ino, uint64_t *size);

/* ---- fix.c: the writing side ---- */
void fix_put(struct check *k, const uint8_t *key, size_t key_len, const void *val, size_t val_len);
void fix_del(struct check *k, const uint8_t *key, size_t key_len);
/* The row as this pass has left it; valid until the next call. */
int fix_get(struct check *k, const uint8_t *key, size_t key_len, struct index_row *out);
/* `target` has room for STORE_TARGET_MAX + 1. */
int fix_get_inode(struct check *k, uint64_t ino, struct inode_row *row, char *target);
void fix_put_inode(struct check *k, const struct inode_row *row);
/* An inode with default attributes; `size` of its object, or a directory. */
void fix_make_inode(struct check *k, uint64_t ino, enum store_type type, uint64_t parent,
		    bool has_object, uint64_t size);
void fix_put_entry(struct check *k, uint64_t dir, const char *name, size_t len, uint64_t cookie,
		   uint64_t ino);
void fix_del_entry(struct check *k, uint64_t dir, const char *name, size_t len, uint64_t cookie);
/* Puts what has no name into lost+found. */
void fix_attach(struct check *k);
void fix_meta(struct check *k);
/* Ends the pass: 0 or -errno. */
int fix_commit(struct check *k);
/* The folder for what is thrown away, made when first wanted: its descriptor or -errno. */
int keep_folder(struct check *k);
void keep_row(struct check *k, const char *what, const uint8_t *key, size_t key_len,
	      const void *val, size_t val_len);
/* Moves a file of the store there, under this name. */
int keep_file(struct check *k, int dir_fd, const char *name, const char *as);
/* A second name; where the file system has none, a copy. */
int keep_link(struct check *k, int dir_fd, const char *name, const char *as);
int keep_copy(struct check *k, int dir_fd, const char *name, const char *as);
int keep_sync(struct check *k);
void keep_end(struct check *k);

/* ---- salvage.c: before a repair can open the store; 0 or -errno ---- */
/* Makes the store fit to be opened: log files, index pages, META, rows that recovery reads. */
int salvage(struct check *k);
/* Pages of the index: the number that are damaged, or -errno. */
int salvage_look(struct check *k, int dir_fd);

#endif
