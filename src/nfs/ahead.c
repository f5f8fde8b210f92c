/* ahead.c - looking at the next call while this one runs.
 *
 * A changing call looks in tables that fit no cache: is it a repeat, is the name there?  So does a
 * small READ: which block is it, and is it lent?  Each look is
 * a line of memory fetched from afar, which takes a tenth of the call's time, and longer than it takes
 * from reading the call to needing them.  Calls mostly come several at a time; so before one is carried
 * out the next one's lines are asked for.
 *
 * Nothing is decided here and nothing is kept: what cannot be read, or is no call of this kind, is met
 * again when it is received.  Handles are not proved: all that a wrong one can bring about is that the
 * wrong line comes. */
#include "base/buf.h"
#include "base/sum64.h"
#include "base/trace.h"
#include "nfs/handle.h"
#include "nfs/rpc_int.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/rpc_xdr.h"

/* Of longer arguments the sum would cost more than the line of memory that it is needed for. */
#define SUM_MAX 16384U

void rpc_key(struct store_caller *k, const uint8_t client[16], uint32_t xid,
	     const struct rpc_program *program, uint32_t proc, const struct rd *args)
{
	memcpy(k->client, client, sizeof(k->client));
	k->xid = xid;
	k->prog = program->prog;
	k->vers = program->vers;
	k->proc = proc;
	/* Over all of them, also a megabyte of data: xids of two mounts of one client may meet, and the
	 * same blocks are written again and again with little in them that differs. */
#ifdef HF_MUTANT_NFS_SUM_OF_HEAD
	k->sum = sum64(args->p, rd_left(args) < 256 ? rd_left(args) : 256);
#else
	k->sum = sum64(args->p, rd_left(args));
#endif
}

bool rpc_takes_name(uint32_t proc)
{
	switch (proc) {
	case NFSPROC3_CREATE:
	case NFSPROC3_MKDIR:
	case NFSPROC3_SYMLINK:
	case NFSPROC3_MKNOD:
	case NFSPROC3_REMOVE:
	case NFSPROC3_RMDIR:
	case NFSPROC3_RENAME:
		return true;
	default:
		return false;
	}
}

/* The arguments' first handle, and its name where there is one. */
static bool read_where(struct rd args, uint32_t proc, struct diropargs3 *where)
{
	if (rpc_takes_name(proc))
		xdr_get_diropargs3(&args, where);
	else
		xdr_get_nfs_fh3(&args, &where->dir);
	return rd_ok(&args);
}

static struct store *store_of(const struct rpc_server *s, uint64_t fsid)
{
	for (unsigned i = 0; i < s->fs_count; i++)
		if (s->fs[i].fsid == fsid)
			return s->fs[i].store;
	return NULL;
}

/* Is it a READ, or a call that the duplicate cache is asked about?  Then `in` is at its arguments. */
static bool worth_it(struct rd *in, const uint8_t *msg, size_t len, struct rpc_call_head *head)
{
	struct opaque_auth cred, verf;

	rd_init(in, msg, len);
	xdr_get_rpc_call_head(in, head);
	if (!rd_ok(in) || head->mtype != CALL || head->rpcvers != RPC_VERSION ||
	    head->prog != nfs3_program.prog || head->vers != nfs3_program.vers ||
	    head->proc >= nfs3_program.proc_count ||
	    (head->proc != NFSPROC3_READ && nfs3_program.procs[head->proc].repeats != RPC_ONCE))
		return false;
	xdr_get_opaque_auth(in, &cred);
	xdr_get_opaque_auth(in, &verf);
	return rd_ok(in);
}

/* Behind the handle, which is sound: where and how much. */
static void ahead_of_read(struct store *store, const struct rd *args, uint64_t ino)
{
	struct READ3args a;
	struct rd in = *args;

	xdr_get_READ3args(&in, &a);
	if (rd_ok(&in) && a.count <= RPC_COPY_MAX) {
		HF_MARK("nfs.ahead_of_read");
		store_lend_hint(store, ino, a.offset);
	}
}

void rpc_ahead(const struct rpc_server *s, const struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	struct diropargs3 where = {0};
	struct store_caller key;
	struct rpc_call_head head;
	struct store *store;
	uint8_t client[16];
	struct handle h;
	struct rd in;

	if (!worth_it(&in, msg, len, &head) || !read_where(in, head.proc, &where) ||
	    !handle_decode(&h, where.dir.data.p, where.dir.data.n))
		return;
	store = store_of(s, h.fsid);
	if (!store)
		return;
	if (head.proc == NFSPROC3_READ) {
		ahead_of_read(store, &in, h.ino);
		return;
	}
	if (rd_left(&in) > SUM_MAX) {
		HF_MARK("nfs.ahead_long");
		return; /* the call itself sums every byte, once */
	}
	HF_MARK("nfs.ahead");
	rpc_client_of(from, client);
	rpc_key(&key, client, head.xid, &nfs3_program, head.proc, &in);
	store_change_hint(store, &key, h.ino, (const char *)where.name.p, where.name.n);
}
