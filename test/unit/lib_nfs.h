/* lib_nfs.h - an NFS client in memory for the unit tests: encodes calls, hands them to
 * rpc_receive() of a server on a real store in a temporary directory, decodes the replies.
 *
 * A reply's opaque fields point into the last reply, valid until the next call. */
#ifndef HF_TEST_LIB_NFS_H
#define HF_TEST_LIB_NFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "nfs/handle.h"
#include "nfs/rpc.h"
#include "store/store.h"
#include "xdr/mount_xdr.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/pmap_xdr.h"
#include "xdr/rpc_xdr.h"

#define NT_MSG_SIZE  (1200U * 1024)
#define NT_QUEUE_MAX 4096

struct nt_reply {
	uint8_t *msg;
	size_t len;
};

struct nt_peer {
	struct rpc_peer peer; /* first */
	int refs;
	size_t count; /* replies ever */
	bool keep_body; /* the next bulk body is left unsent in `body`: nt_body_sent() ends that */
	void *body, *body_arg;
	void (*body_free)(void *arg, void *body);
	struct nt_reply last[NT_QUEUE_MAX]; /* by count % NT_QUEUE_MAX */
};

struct nt_fh {
	uint8_t b[NFS3_FHSIZE];
	uint32_t n;
};

struct nt {
	struct loop *loop;
	struct store *store;
	struct store *other; /* nt_second() */
	bool other_away;     /* the server is started without it */
	struct rpc_server *srv;
	char dir[64], other_dir[64];
	uint64_t epoch;
	struct store_conf store_conf;
	struct nt_peer *peer; /* the one that calls go to */
	struct nt_peer *first_peer;
	struct cred cred;
	uint32_t flavor;
	uint32_t xid;
	bool lease; /* what may_serve() says */
	bool read_fence_strict;
	uint8_t *msg;
	size_t msg_len;
	struct wr w;
	struct rd r; /* the result, behind the RPC header */
	struct nt_fh root;
	struct export_client_conf rule, sub_rule; /* of /e, of /sub */
	const char *sub_dir; /* of /sub; NULL: no such export */
	bool closed;
};

/* Brings up store and server with "/e" (rule: rw, no_root_squash), "/ro" (read only), "/squash"
 * (all_squash), "/sub" (directory "sub" of the store, made); mounts /e as root. */
void nt_up(struct nt *t);
/* The same with sizes of the store, 0: the usual ones. */
void nt_up_sized(struct nt *t, uint64_t log_half_bytes, uint64_t index_map_bytes);
void nt_down(struct nt *t);
/* After nt_up(): another store, with the export "/two". */
void nt_second(struct nt *t);
/* Drops store and server as a crash would (or closes them) and opens them again. */
void nt_restart(struct nt *t, bool crash);
/* What is on the disk at this moment, in another directory; nt_restart() then opens that. */
void nt_dir_moves(struct nt *t);
void nt_server_restart(struct nt *t);
/* The exports as t->rule, t->sub_rule and t->sub_dir are now, while the server runs. */
void nt_exports(struct nt *t);
/* Runs the loop until nothing is under way (at most some seconds). */
void nt_settle(struct nt *t);

struct nt_peer *nt_peer_new(const char *remote, uint16_t port, bool stream);
void nt_peer_free(struct nt_peer *p);
void nt_body_sent(struct nt_peer *p);

/* A call: begin, put arguments into t->w, end. The xid is new unless t->xid was set back. */
void nt_begin(struct nt *t, uint32_t prog, uint32_t vers, uint32_t proc);
/* Sends without waiting. */
bool nt_send(struct nt *t);
/* Sends and waits for the reply; t->r is then behind an accepted, successful header. */
void nt_call(struct nt *t);
/* The same, but returns how the RPC itself went: 0 or accept_stat; 100 + auth_stat for AUTH_ERROR,
 * 200 for RPC_MISMATCH; -1: no reply. */
int nt_call_stat(struct nt *t);
/* Sends the very same bytes once more. */
void nt_repeat(struct nt *t);
/* Waits until the peer has `count` replies; false after some seconds. */
bool nt_wait(struct nt *t, struct nt_peer *p, size_t count);
int nt_reply_stat(struct nt *t, const struct nt_peer *p);

struct xdr_bytes nt_text(const char *s);
struct sattr3 nt_mode(uint32_t mode);
struct nfs_fh3 nt_wire(const struct nt_fh *fh);

uint32_t nt_mount(struct nt *t, const char *path, struct nt_fh *out);
uint32_t nt_getattr(struct nt *t, const struct nt_fh *fh, struct fattr3 *out);
uint32_t nt_lookup(struct nt *t, const struct nt_fh *dir, const char *name, struct nt_fh *out);
uint32_t nt_setattr(struct nt *t, const struct nt_fh *fh, const struct sattr3 *a,
		    const struct nfstime3 *guard, struct wcc_data *wcc);
uint32_t nt_access(struct nt *t, const struct nt_fh *fh, uint32_t want, uint32_t *got);
uint32_t nt_create(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t how,
		   const struct sattr3 *a, uint64_t verf, struct nt_fh *out);
/* The file's bytes are in `data`, which has room for `count`. */
uint32_t nt_read(struct nt *t, const struct nt_fh *fh, uint64_t off, uint32_t count, void *data,
		 uint32_t *got, bool *eof);
uint32_t nt_write(struct nt *t, const struct nt_fh *fh, uint64_t off, const void *data, uint32_t n,
		  uint32_t stable, struct WRITE3resok *out);
uint32_t nt_commit(struct nt *t, const struct nt_fh *fh, uint8_t verf[8]);
uint32_t nt_mkdir(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t mode,
		  struct nt_fh *out);
uint32_t nt_symlink(struct nt *t, const struct nt_fh *dir, const char *name, const char *target);
uint32_t nt_readlink(struct nt *t, const struct nt_fh *fh, char *out, size_t size);
uint32_t nt_mknod(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t type,
		  struct nt_fh *out);
uint32_t nt_remove(struct nt *t, const struct nt_fh *dir, const char *name);
uint32_t nt_rmdir(struct nt *t, const struct nt_fh *dir, const char *name);
uint32_t nt_rename(struct nt *t, const struct nt_fh *from, const char *name,
		   const struct nt_fh *to, const char *name2);
uint32_t nt_link(struct nt *t, const struct nt_fh *fh, const struct nt_fh *dir, const char *name);

struct nt_dirent {
	uint64_t fileid, cookie;
	char name[256];
	bool has_attr, has_fh;
	struct nt_fh fh;
	struct fattr3 attr;
};
/* One READDIR (maxcount 0) or READDIRPLUS call; entries into `out`, at most `max`. */
uint32_t nt_readdir(struct nt *t, const struct nt_fh *dir, uint64_t cookie, uint8_t verf[8],
		    uint32_t count, uint32_t maxcount, struct nt_dirent *out, unsigned max,
		    unsigned *got, bool *eof);
uint64_t nt_counter(const struct nt *t, const char *name);

#endif
