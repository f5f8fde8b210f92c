/* adopt.h - a tree that exists becomes a store in place, and a store a tree again (DESIGN 4).
 *
 * Objects are hard links to the tree's files, the other way round as well: no data is copied.  Both
 * are done in numbered steps (adopt.c, release.c, doc/adopt.md); the old names go only after the
 * new ones are durable, and running the same command again after a crash at any point finishes the
 * work. */
#ifndef HF_STORE_ADOPT_H
#define HF_STORE_ADOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/store.h"

enum adopt_finding {
	ADOPT_NOTE,   /* will be different from what it was, or is worth to be known */
	ADOPT_CANNOT, /* cannot be taken: nothing is begun */
};

struct adopt_counts {
	uint64_t files, directories, symlinks, specials; /* inodes, not names */
	uint64_t names, bytes, xattrs, acls;
	uint64_t done; /* names of the present step */
	double rate;   /* of them a second */
	uint64_t cannot, notes;
	uint64_t outside;     /* files with names that are not in the tree */
	uint64_t late;        /* changed after the store was committed, taken over */
	uint64_t index_bytes; /* of the index: made, or (dry run) needed, roughly */
	double seconds;       /* took; or (dry run) will take, roughly */
	bool resumed;         /* there was something begun earlier */
	bool committed;       /* the old form is given up: only forward */
};

struct adopt_args {
	const char *dir;
	bool dry_run;
	bool give; /* adopt: the store is for this user, not for who calls */
	uid_t uid;
	gid_t gid;
	struct store_conf conf;
	/* Called now and then. */
	void (*progress)(void *arg, const char *step, const struct adopt_counts *so_far);
	void (*finding)(void *arg, enum adopt_finding f, const char *path, const char *what);
	/* For tests: the end of a numbered step (inside: false), or one more name in the step. */
	void (*point)(void *arg, unsigned step, bool inside);
	void *arg;
};

/* 0, or -errno with one line: -EBUSY in use; -EPERM privileges; -ENOTDIR; -EUCLEAN a damaged store;
 * -EINVAL what cannot be taken was found; ... */
int store_adopt(const struct adopt_args *a, struct adopt_counts *n, char *err, size_t err_size);
int store_release(const struct adopt_args *a, struct adopt_counts *n, char *err, size_t err_size);

#endif
