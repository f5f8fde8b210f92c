/* rpc_int.h - the RPC server's insides, for the files of this room only.
 *
 * One call at a time runs to completion on a scratch `struct call`: its arguments point into the
 * message, its reply is encoded into the server's scratch buffer, behind the RPC header that is
 * there already.  What must outlive the call is copied into a `struct held`: a reply that waits
 * for the log, a message to be run again, or a COMMIT under way. */
#ifndef HF_NFS_RPC_INT_H
#define HF_NFS_RPC_INT_H

#include "base/buf.h"
#include "base/list.h"
#include "nfs/access.h"
#include "nfs/exports.h"
#include "nfs/handle.h"
#include "nfs/rpc.h"
#include "nfs/stats.h"
#include "xdr/mount_xdr.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/pmap_xdr.h"
#include "xdr/rpc_xdr.h"

#define RPC_SCRATCH_SIZE (64U * 1024)	 /* the largest reply that is not bulk */
#define RPC_COPY_MAX	 (16U * 1024)	 /* payload up to this is copied, above it is bulk */
#define RPC_UDP_MAX	 (32U * 1024)	 /* payload and listings over UDP */
#define RPC_REPLY_HEAD	 24		 /* of an accepted reply with a null verifier */
#define RPC_DIRLIST_MAX	 (60U * 1024)
#define LSN_LAST	 UINT64_MAX	 /* wait for whatever was the last change */
#define MOUNTS_MAX	 1024		 /* entries remembered for MOUNTPROC_DUMP */

/* A store as the server sees it, and the replies that wait for it, lowest lsn first. */
struct fs {
	struct store *store; /* NULL: not served while it is repaired (VS 1.15) */
	uint64_t fsid;
	uint8_t handle_key[HANDLE_KEY_SIZE];
	uint8_t write_verf[NFS3_WRITEVERFSIZE];
	struct list held;
};

/* What came of a call. */
enum call_end {
	CALL_REPLY,	/* encoded in c->out; leaves once c->wait_lsn is durable */
	CALL_AGAIN,	/* nothing done: run again once c->wait_lsn is durable */
	CALL_LATER,	/* somebody else sends the reply, or did already */
	CALL_TOO_WEAK,	/* the export wants a better flavor of authentication */
	CALL_SILENT,	/* its store is being repaired: no answer, and the client asks again */
};

struct obj {
	struct export *x;
	const struct export_rule *rule;
	struct fs *fs;
	uint64_t ino;
	bool known;		/* the handle was good: the fields above and `pre` hold */
	struct wcc_attr pre;	/* as the call found it */
	const struct store_inode *in; /* until the procedure's first call on the store */
};

union call_args {
	struct nfs_fh3 fh; /* every NFS procedure's first field */
	struct diropargs3 where; /* ... and of those that make, remove or rename */
	struct GETATTR3args getattr;
	struct SETATTR3args setattr;
	struct LOOKUP3args lookup;
	struct ACCESS3args access;
	struct READLINK3args readlink;
	struct READ3args read;
	struct WRITE3args write;
	struct CREATE3args create;
	struct MKDIR3args mkdir;
	struct SYMLINK3args symlink;
	struct MKNOD3args mknod;
	struct REMOVE3args remove;
	struct RENAME3args rename;
	struct LINK3args link;
	struct READDIR3args readdir;
	struct READDIRPLUS3args readdirplus;
	struct COMMIT3args commit;
	struct mnt_dirpath dirpath;
	struct mapping mapping;
	struct rpcb rpcb;
};

struct call;

/* How a repeat of a call is met. */
enum rpc_class {
	RPC_PLAIN, /* idempotent: run again */
	RPC_ONCE,  /* answered from the duplicate cache, which outlives the node */
	RPC_ASYNC, /* idempotent, but slow: a repeat joins the one under way */
};

/* What a failed NFS reply carries besides its status. */
enum rpc_fail { FAIL_NONE, FAIL_ATTR, FAIL_WCC, FAIL_TWO_WCC, FAIL_LINK };

/* One procedure.  NULL `run`: unavailable. */
struct rpc_proc {
	const char *name;
	void (*decode)(struct rd *r, void *args);
	int (*run)(struct call *c);
	enum rpc_class repeats;
	enum rpc_fail fail;
	uint32_t reply_max; /* without bulk payload and listings; 0: up to the scratch buffer */
};

struct rpc_program {
	const char *name;
	uint32_t prog, vers;
	const struct rpc_proc *procs;
	unsigned proc_count;
	/* What its procedures have in common; NULL: `run` encodes the whole result. */
	enum call_end (*call)(struct call *c);
};

struct call {
	struct rpc_server *srv;
	struct rpc_peer *peer;
	const struct rpc_program *program;
	const struct rpc_proc *proc;
	uint32_t xid;
	bool sys; /* AUTH_SYS, else AUTH_NONE */
	struct cred cred;
	uint16_t port;
	uint8_t client[16];
	const uint8_t *msg;
	size_t msg_len;
	struct rd in; /* the arguments */
	struct wr out;
	union call_args args;
	uint64_t wait_lsn;
	bool failed; /* for the statistics */
	/* bulk payload behind what `out` holds */
	void *bulk;
	size_t bulk_len;
	const void *here; /* instead of `bulk`: where the store has the bytes */
	void *lent;	  /* instead of both: bytes in the store's keeping, to be given back */
	struct blocks *lent_from;
	/* NFS: the objects of the first and the second handle */
	struct fs *fs; /* the one that wait_lsn counts in; NULL: no waiting */
	struct obj obj, obj2;
	bool keyed; /* `key` is set: in the duplicate cache, or a COMMIT */
	bool begun; /* between store_op_begin() and its end or cancel */
	struct store_caller key;
};

enum held_kind { HELD_REPLY, HELD_CALL, HELD_LATER };

struct held {
	struct list link; /* in fs->held or srv->later */
	struct held *hash_next;
	enum held_kind kind;
	bool keyed;
	unsigned size_class;
	struct store_caller key;
	struct rpc_peer *peer; /* a reference */
	struct fs *fs;
	uint64_t lsn, since_ns;
	void *bulk;
	size_t bulk_len;
	/* HELD_LATER */
	struct rpc_server *srv;
	uint32_t xid;
	struct obj obj;
	struct proc_stat *stat;
	size_t len;
	uint8_t data[];
};

struct proc_stat {
	uint64_t calls, errors;
};

struct mount_row {
	uint8_t client[16];
	char path[MNTPATHLEN + 1];
};

struct dir_entry {
	uint64_t cookie, ino;
	uint32_t name_at, name_len;
};

#define HELD_CLASSES 4
#define BULK_CLASSES 3
#define HELD_HASH_SIZE 1024
#define DIR_ENTRIES_MAX 2048

struct rpc_server {
	struct loop *loop;
	struct loop_timer retry;
	bool (*may_serve)(void *arg);
	void (*on_first_reply)(void *arg);
	void *arg;
	bool replied;
	uint16_t nfs_port, mount_port, portmap_port;
	bool read_fence_strict;
	struct exports exports;
	/* Calls under way may still name an export of before; a change is rare, so these stay. */
	struct exports *old_exports;
	unsigned old_export_count;
	struct fs *fs;
	unsigned fs_count;
	struct nfs_stats stats;
	struct proc_stat *proc_stats; /* of all programs, one behind the other */
	struct call call;	      /* the one that runs */
	uint8_t *scratch;
	/* held.c */
	struct list later;
	uint64_t waits[RPC_WAIT_BINS];
	struct list parked; /* came, or would have left, without a lease */
	size_t pending, parked_count;
	struct held *hash[HELD_HASH_SIZE]; /* those with a key */
	struct held *held_free[HELD_CLASSES];
	unsigned held_free_count[HELD_CLASSES];
	struct bulk *bulk_free[BULK_CLASSES];
	unsigned bulk_free_count[BULK_CLASSES];
	/* mount.c */
	struct mount_row *mounts;
	unsigned mount_count;
	/* nfs3_dir.c: one listing being made */
	struct dir_entry *entries;
	uint8_t *names;
};

/* ---- rpc.c ---- */
void rpc_run(struct rpc_server *s, struct rpc_peer *peer, const uint8_t *msg, size_t len,
	     bool again);
struct proc_stat *rpc_stat(const struct call *c);
/* Ends a HELD_LATER with its reply. */
void rpc_reply_late(struct rpc_server *s, struct held *h, uint64_t lsn, const struct wr *out);
/* What it waited for has happened: its reply leaves, or its call is run again. */
void rpc_release(struct rpc_server *s, struct held *h);
/* Takes `h` over until the lease is back. */
void rpc_park(struct rpc_server *s, struct held *h);
/* The header of an accepted, successful reply. */
void rpc_put_head(struct wr *w, uint32_t xid);
/* Sends now or holds, as `lsn` asks; takes over `bulk`. */
void rpc_reply(struct rpc_server *s, struct rpc_peer *peer, struct fs *fs, uint64_t lsn,
	       const struct store_caller *key, const struct wr *out, void *bulk, size_t bulk_len);
void rpc_send(struct rpc_server *s, struct rpc_peer *peer, const void *msg, size_t len, void *bulk,
	      size_t bulk_len);

/* Who it is, whatever it is connected from; its port. */
uint16_t rpc_client_of(const struct rpc_peer *p, uint8_t client[16]);

/* ---- ahead.c ---- */
/* The key of a call with these arguments in the duplicate cache, and for held_find(). */
void rpc_key(struct store_caller *k, const uint8_t client[16], uint32_t xid,
	     const struct rpc_program *program, uint32_t proc, const struct rd *args);
/* Procedures that begin with a directory and a name to make or remove. */
bool rpc_takes_name(uint32_t proc);

/* ---- held.c ---- */
struct held *held_new(struct rpc_server *s, enum held_kind kind, struct rpc_peer *peer,
		      const void *data, size_t len);
/* Takes it out of list and hash. */
void held_unlink(struct rpc_server *s, struct held *h);
/* That, and drops its reference to the peer and its bulk buffer. */
void held_free(struct rpc_server *s, struct held *h);
void held_key(struct rpc_server *s, struct held *h, const struct store_caller *key);
struct held *held_find(const struct rpc_server *s, const struct store_caller *key);
/* Queues it until `lsn` is durable. */
void held_wait(struct rpc_server *s, struct held *h, struct fs *fs, uint64_t lsn);
void held_fini(struct rpc_server *s);
/* A buffer for `len` bytes of payload; NULL never. */
void *bulk_get(struct rpc_server *s, size_t len);
void bulk_put(void *server, void *body);

/* ---- programs ---- */
extern const struct rpc_program nfs3_program, mount1_program, mount3_program;
extern const struct rpc_program pmap2_program, rpcb3_program, rpcb4_program;
void mount_fini(struct rpc_server *s);

/* ---- nfs3.c: for the procedures and MOUNT ---- */
/* A procedure returns an nfsstat3, with the successful result encoded behind the status word, or
 * one of these: */
enum { RUN_AGAIN = -1, RUN_LATER = -2, RUN_SILENT = -3 };
/* From 0, -errno or STORE_WAIT. */
int nfs3_status(int err);
void nfs3_time(struct nfstime3 *t, int64_t ns);
int64_t nfs3_ns(const struct nfstime3 *t);
void nfs3_sattr(struct store_attr *a, const struct sattr3 *in);
#define FATTR_SIZE 84
void put_fattr(struct wr *w, const struct fs *fs, const struct store_inode *in);
/* post_op_attr of an inode at hand, or of a number. */
void put_attr(struct wr *w, const struct fs *fs, const struct store_inode *in);
void put_attr_of(struct wr *w, const struct fs *fs, uint64_t ino);
void put_wcc(struct wr *w, const struct obj *o);
void put_wcc_unknown(struct wr *w);
void put_handle(struct wr *w, const struct export *x, const struct store_inode *in);
/* `pre` of an object whose attributes are at hand. */
void obj_pre(struct obj *o, const struct store_inode *in);
/* The second handle of a call; it must belong to the same export. */
int obj_open2(struct call *c, const struct nfs_fh3 *fh);
/* The export's rule for the caller, or an nfsstat3. */
int export_admit(struct call *c, const struct export *x, const struct export_rule **rule);
/* NFS3_OK when it can name an entry. */
int check_name(const struct xdr_bytes *name);
bool is_dot(const struct xdr_bytes *name);
bool is_dotdot(const struct xdr_bytes *name);
int op_begin(struct call *c);
void op_cancel(struct call *c);

/* ---- procedures ---- */
int nfs3_getattr(struct call *c), nfs3_lookup(struct call *c), nfs3_access(struct call *c);
int nfs3_readlink(struct call *c), nfs3_read(struct call *c), nfs3_fsstat(struct call *c);
int nfs3_fsinfo(struct call *c), nfs3_pathconf(struct call *c);
int nfs3_readdir(struct call *c), nfs3_readdirplus(struct call *c);
int nfs3_setattr(struct call *c), nfs3_write(struct call *c), nfs3_commit(struct call *c);
int nfs3_create(struct call *c), nfs3_mkdir(struct call *c), nfs3_symlink(struct call *c);
int nfs3_mknod(struct call *c), nfs3_remove(struct call *c), nfs3_rmdir(struct call *c);
int nfs3_rename(struct call *c), nfs3_link(struct call *c);

#endif
