/* model.h - what a file system should be, written without looking at how the store does it: a
 * flat list of nodes and names, and for each byte whether NFS promises its value.
 *
 * A byte is certain, or `open`: an unstable write put it there and no COMMIT was answered, so after
 * a crash it has this value or the one before; or `free`: anything that was ever written. */
#ifndef HF_TEST_MODEL_H
#define HF_TEST_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define MODEL_NODES   512U
#define MODEL_ENTRIES 512U
#define MODEL_FILE_MAX ((size_t)640 << 10)

enum op_type {
	OP_CREATE,
	OP_LINK,
	OP_REMOVE,
	OP_RMDIR,
	OP_RENAME,
	OP_WRITE,
	OP_TRUNCATE,
	OP_CHMOD,
	OP_COMMIT,
	OP_TYPES
};

struct op {
	enum op_type type;
	uint64_t dir, dir2, ino; /* inode numbers as the store gave them */
	char name[16], name2[16];
	enum store_type kind; /* CREATE */
	uint64_t off, size;
	size_t len;
	uint32_t fill; /* what a write's bytes are made of */
	uint32_t mode;
	bool stable;
	uint32_t began; /* COMMIT: writes before this one are covered */
	uint32_t xid;
	int64_t ctime_ns; /* of the inode, as the store gave it */
	int64_t ctime2_ns; /* RENAME: of the file that lost this name */
	uint64_t lsn, wait_lsn;
};

enum certainty { BYTE_CERTAIN, BYTE_OPEN, BYTE_FREE };

struct node {
	uint64_t ino, parent, size;
	enum store_type type;
	uint32_t nlink, mode;
	int64_t ctime_ns;
	uint8_t *val, *was, *state; /* regular files, MODEL_FILE_MAX each, made at first use */
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
void model_init(struct model *m, int64_t root_ctime_ns);
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

#endif
