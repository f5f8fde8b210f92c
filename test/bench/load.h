/* load.h - the load generator's parts.
 *
 *	load.c   options, connections, keeping the calls in flight, measuring
 *	calls.c  what each operation sends and what its reply must hold
 *	tree.c   what comes before and after: mount, files, directories, and taking them away */
#ifndef HF_BENCH_LOAD_H
#define HF_BENCH_LOAD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define PROG_NFS   100003
#define PROG_MOUNT 100005
#define FH_MAX	   64
#define MIB	   (1024U * 1024)
#define LIST_FILES 64U /* entries of the directory that READDIR and READDIRPLUS list */

/* Names, procedures.  Those of the last line are the tool's own. */
#define OPS(X)                                                                                     \
	X(ECHO, 1)                                                                                 \
	X(ECHO4K, 1)                                                                               \
	X(ECHO1M, 1)                                                                               \
	X(ECHOW4K, 1)                                                                              \
	X(ECHOW1M, 1)                                                                              \
	X(NULL, 0)                                                                                 \
	X(GETATTR, 1)                                                                              \
	X(SETATTR, 2)                                                                              \
	X(LOOKUP, 3)                                                                               \
	X(ACCESS, 4)                                                                               \
	X(READLINK, 5)                                                                             \
	X(READ4K, 6)                                                                               \
	X(READ1M, 6)                                                                               \
	X(WRITE4K, 7)                                                                              \
	X(WRITE4KS, 7)                                                                             \
	X(WRITE1M, 7)                                                                              \
	X(CREATE, 8)                                                                               \
	X(MKDIR, 9)                                                                                \
	X(REMOVE, 12)                                                                              \
	X(RMDIR, 13)                                                                               \
	X(RENAME, 14)                                                                              \
	X(READDIR, 16)                                                                             \
	X(READDIRPLUS, 17)                                                                         \
	X(FSSTAT, 18)                                                                              \
	X(COMMIT, 21)                                                                              \
	X(MIX, 0)                                                                                  \
	X(STEADY, 0)                                                                               \
	X(LIST, 17)                                                                                \
	X(TLOOKUP, 3)                                                                              \
	X(TGETATTR, 1)                                                                             \
	X(FILLTREE, 8)                                                                             \
	X(FINDTREE, 3)                                                                             \
	X(FILLDATA, 7)

enum op {
#define X(name, proc) OP_##name,
	OPS(X)
#undef X
	    OP_COUNT
};

struct op_info {
	const char *name;
	uint32_t proc;
};
extern const struct op_info ops[OP_COUNT];

struct fh {
	uint32_t len;
	uint8_t data[FH_MAX];
};

/* A call in flight. */
struct slot {
	uint32_t xid;
	enum op op;
	uint64_t sent_ns;
	uint32_t arg; /* by operation: number of a name, file or block */
	bool flipped; /* RENAME: where its file is now */
	uint64_t cookie, verf; /* LIST: how far it is */
};

struct conn {
	int fd;
	unsigned id, in_flight;
	struct slot *slot;
	uint8_t *in, *out;
	size_t in_len, out_len, out_sent;
	bool want_out;
};

/* Numbers of names that exist for sure: their CREATE was answered. */
struct names {
	uint32_t *at;
	size_t len, cap;
};

struct load {
	const char *addr, *export, *work; /* `work`: name of its directory */
	uint16_t port, mount_port;
	unsigned conns, depth;
	double secs, rate, want_rate; /* rate > 0: calls a second */
	const char *times;
	int pid;
	struct conn *conn;
	struct fh root, dir, list, link;
	struct fh *file; /* `files` of 1 MiB, for reading and writing */
	uint32_t files;
	/* the tree: `tree_files` empty files in directories of `tree_per_dir` */
	struct fh *tree_dir;
	uint8_t *tree_fh; /* handles of tree_fh_len bytes each */
	uint32_t tree_files, tree_per_dir, tree_dirs, tree_fh_len;
	uint32_t tree_set; /* so many of its files are looked at */
	size_t in_size, out_size;
	uint32_t next_xid;
	uint32_t created, made, filled; /* numbers given out */
	struct names there;
	uint64_t calls, errors, entries;
	uint64_t rnd;
	int ep;
	bool stop, keep, found; /* `found`: an earlier run left it */
	bool lazy;   /* no handles of the tree's files */
	bool spread; /* CREATE works in all directories of the tree */
};
extern struct load L;

/* ---- load.c ---- */
_Noreturn void die(const char *what);
int dial(uint16_t port);
/* Keeps all slots busy with `op` until the time `end` or until there is nothing left to do. */
void drive(enum op op, uint64_t end);
uint64_t now_ns(void);

/* ---- calls.c ---- */
uint32_t rnd(uint32_t below);
void put_header(struct wr *w, uint32_t xid, uint32_t prog, uint32_t proc);
void put_opaque(struct wr *w, const void *data, size_t len);
void put_fh(struct wr *w, const struct fh *fh);
/* Mode 0644 and nothing else. */
void put_sattr(struct wr *w);
void mark_set(uint8_t *at, size_t len);
/* What `op` means this time: MIX is one of the others.  OP_COUNT: there is nothing left to do. */
enum op op_now(enum op op);
/* `number` is the slot's, counted over all connections. */
void put_args(struct wr *w, struct slot *s, uint32_t number);
bool header_ok(struct rd *r);
bool reply_ok(struct rd *r, struct slot *s);

/* ---- tree.c ---- */
void set_up(void);
void clean_up(void);

#endif
