/* lib_storefake.h - a store in a temporary directory with a loop of its own, for unit tests.
 *
 * Calls run to the end: fs_end() waits until the record is durable.  fs_crash() drops the store as
 * a killed process would and opens it again; fs_restart() closes it in order. */
#ifndef HF_TEST_LIB_STOREFAKE_H
#define HF_TEST_LIB_STOREFAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

struct fs {
	char dir[64];
	char err[256];
	struct loop *loop;
	struct store *s;
	struct store_conf conf;
	uint64_t epoch, durable;
	uint32_t xid;
	char damage[128];
	bool closed;
};

/* Makes and opens a new store with small halves; never fails. */
void fs_new(struct fs *f);
void fs_drop(struct fs *f); /* everything, and the directory */
int fs_open(struct fs *f);
void fs_crash(struct fs *f);
void fs_close(struct fs *f); /* in order; f->s is NULL then */
void fs_restart(struct fs *f);
void fs_wait(struct fs *f, uint64_t lsn);
void fs_settle(struct fs *f); /* everything so far is durable */
void fs_checkpoint(struct fs *f);

/* Each does one whole operation under a caller of its own and waits for it. */
int fs_make(struct fs *f, uint64_t dir, const char *name, enum store_type type, uint64_t *ino);
int fs_remove(struct fs *f, uint64_t dir, const char *name);
int fs_rmdir(struct fs *f, uint64_t dir, const char *name);
int fs_rename(struct fs *f, uint64_t d1, const char *from, uint64_t d2, const char *to);
int fs_link(struct fs *f, uint64_t ino, uint64_t dir, const char *name);
int fs_write(struct fs *f, uint64_t ino, uint64_t off, const void *data, size_t len, bool stable);
int fs_truncate(struct fs *f, uint64_t ino, uint64_t size);
int fs_commit(struct fs *f, uint64_t ino);
/* Reads, waiting as it must; the number of bytes or -errno. */
long fs_read(struct fs *f, uint64_t ino, uint64_t off, void *buf, size_t len);
uint64_t fs_look(struct fs *f, uint64_t dir, const char *name); /* 0: not there */
/* All names of a directory from `after` on, each followed by a space; the last cookie. */
uint64_t fs_list(struct fs *f, uint64_t dir, uint64_t after, unsigned max, char *out, size_t size);
/* Findings of store_check() on the (closed or crashed) store; text in f->err. */
int fs_check(struct fs *f);
struct store_caller fs_caller(uint32_t xid);

#endif
