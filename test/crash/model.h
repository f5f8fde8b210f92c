/* model.h - what a file system should be, written without looking at how the store does it: a
 * flat list of nodes and names, and for each byte whether NFS promises its value.
 *
 * A byte is certain, or `open`: an unstable write put it there and no COMMIT was answered, so after
 * a crash it has this value or the one before; or `free`: anything that was ever written; or `any`:
 * so even now, for a write went wrong half-way. */
#ifndef HF_TEST_MODEL_H
#define HF_TEST_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define MODEL_NODES    256U
#define MODEL_ENTRIES  256U
#define MODEL_FILE_MAX ((size_t)256 << 10)

enum op_type {
	OP_CREATE, /* and mkdir, symlink, mknod, exclusive create */
	OP_LINK,
	OP_REMOVE,
	OP_RMDIR,
	OP_RENAME,
	OP_WRITE,
	OP_SETATTR,
	OP_COMMIT,
	OP_TOUCH,  /* an access time */
	OP_FORGET, /* a client restarted: its replies are void */
	OP_FAILED, /* an operation that was refused, and whose reply is remembered */
	OP_TYPES
};

struct op {
	enum op_type type, asked; /* asked: what it was before it failed */
	uint64_t dir, dir2, ino;  /* inode numbers as the store gave them */
	char name[16], name2[16];
	enum store_type kind; /* CREATE */
	uint32_t major, minor;
	uint64_t verifier;
	struct store_attr attr;
	uint64_t off;
	size_t len;
	uint32_t fill; /* what a write's bytes are made of */
	bool stable;
	uint32_t began; /* COMMIT: writes before this one are covered */
	uint32_t xid;
	uint8_t client;  /* FORGET */
	bool known;      /* answered without waiting */
	bool forgotten;  /* its reply was not remembered: the index is full */
	int64_t time_ns; /* of its record, as the store showed it */
	uint64_t lsn, wait_lsn;
};

enum certainty { BYTE_CERTAIN, BYTE_OPEN, BYTE_FREE, BYTE_ANY };

struct node {
	uint64_t ino, parent, size, verifier;
	enum store_type type;
	uint32_t nlink, mode, uid, gid, major, minor;
	int64_t atime_ns, mtime_ns, ctime_ns;
	bool touched; /* its access time is anything */
	char target[16];
	uint64_t lsn; /* of the record that changed it last, unstable writes apart: they may be undone */
	size_t room;  /* of these four; regular files only */
	uint8_t *val, *was, *state;
	uint32_t *seq;
};

struct model {
	struct node node[MODEL_NODES];
	unsigned nodes;
	struct entry {
		uint64_t dir, ino;
		char name[16];
	} entry[MODEL_ENTRIES];
	unsigned entries;
	uint32_t applied;
};

uint8_t op_byte(const struct op *op, size_t i);
void model_init(struct model *m, int64_t root_time_ns);
void model_fini(struct model *m);
void model_copy(struct model *to, const struct model *from); /* `to` is empty */
/* What the store must answer to it now. */
int model_expect(const struct model *m, const struct op *op);
void model_apply(struct model *m, const struct op *op);
/* An unstable write that may have reached the object without its record. */
void model_may_have(struct model *m, const struct op *op);
/* After an orderly close every unstable byte has its last value. */
void model_settle(struct model *m);
/* After a crash open bytes may be either, and stay so. */
void model_after_crash(struct model *m);
struct node *model_node(struct model *m, uint64_t ino);
const struct entry *model_entry(const struct model *m, uint64_t dir, const char *name);
/* Holds the store against the model; false and a line in `why` when they differ. */
bool model_same(struct model *m, struct store *s, void (*round)(void), char *why, size_t size);
/* One inode without its bytes; `lsn`: also that a reply showing it waits for the right record. */
bool model_node_same(const struct node *n, struct store *s, bool lsn, char *why, size_t size);
/* A link's target, derived from the number that the operation has. */
void model_target(const struct op *op, char out[16]);

#endif
