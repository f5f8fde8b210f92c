/* nfs3.c - NFS version 3 (RFC 1813): the table of procedures and what all of them share.
 *
 * nfs3_call() opens the first handle (export, client rule, squashing, MAC, generation), meets
 * repeats, brackets a change between store_op_begin() and store_op_end(), and gives every failed
 * reply its attributes; a procedure is left with the checks and the result that are its own.
 *
 * Repeats (SAFETY S11): a RPC_ONCE call that is still waiting here gets its reply redirected to
 * where the repeat came from; one that was carried out, on this node or on the one before, gets
 * the bytes of its first answer. */
#include <errno.h>
#include <string.h>

#include "base/trace.h"
#include "nfs/rpc_int.h"

static int nfs3_null(struct call *c)
{
	(void)c;
	return NFS3_OK;
}

#define ROW(NAME, fn, repeats, fail, max)                                                          \
	[NFSPROC3_##NAME] = {#NAME, xdr_args_NFSPROC3_##NAME, fn, repeats, fail, max}

static const struct rpc_proc procs[] = {
    [NFSPROC3_NULL] = {"NULL", NULL, nfs3_null, RPC_PLAIN, FAIL_NONE, 24},
    ROW(GETATTR, nfs3_getattr, RPC_PLAIN, FAIL_NONE, 112),
    ROW(SETATTR, nfs3_setattr, RPC_ONCE, FAIL_WCC, 144),
    ROW(LOOKUP, nfs3_lookup, RPC_PLAIN, FAIL_ATTR, 240),
    ROW(ACCESS, nfs3_access, RPC_PLAIN, FAIL_ATTR, 120),
    ROW(READLINK, nfs3_readlink, RPC_PLAIN, FAIL_ATTR, 120 + STORE_TARGET_MAX + 1),
    ROW(READ, nfs3_read, RPC_PLAIN, FAIL_ATTR, 128 + RPC_COPY_MAX),
    ROW(WRITE, nfs3_write, RPC_ONCE, FAIL_WCC, 160),
    ROW(CREATE, nfs3_create, RPC_ONCE, FAIL_WCC, 272),
    ROW(MKDIR, nfs3_mkdir, RPC_ONCE, FAIL_WCC, 272),
    ROW(SYMLINK, nfs3_symlink, RPC_ONCE, FAIL_WCC, 272),
    ROW(MKNOD, nfs3_mknod, RPC_ONCE, FAIL_WCC, 272),
    ROW(REMOVE, nfs3_remove, RPC_ONCE, FAIL_WCC, 144),
    ROW(RMDIR, nfs3_rmdir, RPC_ONCE, FAIL_WCC, 144),
    ROW(RENAME, nfs3_rename, RPC_ONCE, FAIL_TWO_WCC, 260),
    ROW(LINK, nfs3_link, RPC_ONCE, FAIL_LINK, 232),
    ROW(READDIR, nfs3_readdir, RPC_PLAIN, FAIL_ATTR, 0),
    ROW(READDIRPLUS, nfs3_readdirplus, RPC_PLAIN, FAIL_ATTR, 0),
    [NFSPROC3_FSSTAT] = {"FSSTAT", xdr_args_NFSPROC3_GETATTR, nfs3_fsstat, RPC_PLAIN, FAIL_ATTR,
			 168},
    [NFSPROC3_FSINFO] = {"FSINFO", xdr_args_NFSPROC3_GETATTR, nfs3_fsinfo, RPC_PLAIN, FAIL_ATTR,
			 168},
    [NFSPROC3_PATHCONF] = {"PATHCONF", xdr_args_NFSPROC3_GETATTR, nfs3_pathconf, RPC_PLAIN,
			   FAIL_ATTR, 144},
    ROW(COMMIT, nfs3_commit, RPC_ASYNC, FAIL_WCC, 152),
};
#undef ROW

/* ---- numbers and attributes ----------------------------------------------------------------- */
int nfs3_status(int err)
{
	static const struct {
		int err, status;
	} map[] = {
	    {0, NFS3_OK},
	    {STORE_WAIT, RUN_AGAIN},
	    {-ENOENT, NFS3ERR_NOENT},
	    {-EEXIST, NFS3ERR_EXIST},
	    {-EACCES, NFS3ERR_ACCES},
	    {-EPERM, NFS3ERR_PERM},
	    {-ENOTDIR, NFS3ERR_NOTDIR},
	    {-EISDIR, NFS3ERR_ISDIR},
	    {-ENOTEMPTY, NFS3ERR_NOTEMPTY},
	    {-EINVAL, NFS3ERR_INVAL},
	    {-EFBIG, NFS3ERR_FBIG},
	    {-ENOSPC, NFS3ERR_NOSPC},
	    {-EDQUOT, NFS3ERR_DQUOT},
	    {-EROFS, NFS3ERR_ROFS},
	    {-EMLINK, NFS3ERR_MLINK},
	    {-ENAMETOOLONG, NFS3ERR_NAMETOOLONG},
	    {-ESTALE, NFS3ERR_STALE},
	    {-EXDEV, NFS3ERR_XDEV},
	    {-ENXIO, NFS3ERR_NXIO},
	    {-ENODEV, NFS3ERR_NODEV},
	    {-EOPNOTSUPP, NFS3ERR_NOTSUPP},
	    {-ENOMEM, NFS3ERR_JUKEBOX},
	    {-EAGAIN, NFS3ERR_JUKEBOX},
	    {-EIO, NFS3ERR_IO},
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (map[i].err == err)
			return map[i].status;
	}
	return NFS3ERR_SERVERFAULT;
}

void nfs3_time(struct nfstime3 *t, int64_t ns)
{
	int64_t s = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		s--;
	}
	t->seconds = (uint32_t)s;
	t->nseconds = (uint32_t)rest;
}

int64_t nfs3_ns(const struct nfstime3 *t)
{
	return (int64_t)t->seconds * 1000000000 + t->nseconds;
}

static enum store_set_time set_time(const struct set_time *in, int64_t *ns)
{
	if (in->set_it == SET_TO_SERVER_TIME)
		return STORE_TIME_SERVER;
	if (in->set_it != SET_TO_CLIENT_TIME)
		return STORE_TIME_KEEP;
	*ns = nfs3_ns(&in->time);
	return STORE_TIME_CLIENT;
}

void nfs3_sattr(struct store_attr *a, const struct sattr3 *in)
{
	memset(a, 0, sizeof(*a));
	a->set_mode = in->mode.set_it;
	a->mode = in->mode.set_it ? in->mode.mode & 07777 : 0;
	a->set_uid = in->uid.set_it;
	a->uid = in->uid.set_it ? in->uid.uid : 0;
	a->set_gid = in->gid.set_it;
	a->gid = in->gid.set_it ? in->gid.gid : 0;
	a->set_size = in->size.set_it;
	a->size = in->size.set_it ? in->size.size : 0;
	a->set_atime = set_time(&in->atime, &a->atime_ns);
	a->set_mtime = set_time(&in->mtime, &a->mtime_ns);
}

_Static_assert((int)STORE_REG == NF3REG && (int)STORE_DIR == NF3DIR && (int)STORE_BLK == NF3BLK &&
		   (int)STORE_CHR == NF3CHR && (int)STORE_LNK == NF3LNK &&
		   (int)STORE_SOCK == NF3SOCK && (int)STORE_FIFO == NF3FIFO,
	       "types have the protocol's numbers");

static void put_time(uint8_t *b, int64_t ns)
{
	struct nfstime3 t;

	nfs3_time(&t, ns);
	put_u32(b, t.seconds);
	put_u32(b + 4, t.nseconds);
}

/* A fattr3, without a struct in between: it is in nearly every reply, and in each entry of a
 * listing. */
static void pack_fattr(uint8_t *b, const struct fs *fs, const struct store_inode *in)
{
	put_u32(b, (uint32_t)in->type);
	put_u32(b + 4, in->mode);
	put_u32(b + 8, in->nlink);
	put_u32(b + 12, in->uid);
	put_u32(b + 16, in->gid);
	xdr_put64(b + 20, in->size);
	xdr_put64(b + 28, in->used);
	put_u32(b + 36, in->major);
	put_u32(b + 40, in->minor);
	xdr_put64(b + 44, fs->fsid);
	xdr_put64(b + 52, in->ino);
	put_time(b + 60, in->atime_ns);
	put_time(b + 68, in->mtime_ns);
	put_time(b + 76, in->ctime_ns);
}

void put_fattr(struct wr *w, const struct fs *fs, const struct store_inode *in)
{
	uint8_t *b = wr_room(w, FATTR_SIZE);

	if (b)
		pack_fattr(b, fs, in);
}

void put_attr(struct wr *w, const struct fs *fs, const struct store_inode *in)
{
	uint8_t *b = wr_room(w, in ? 4 + FATTR_SIZE : 4);

	if (b == NULL)
		return;
	put_u32(b, in != NULL);
	if (in)
		pack_fattr(b + 4, fs, in);
}

void put_attr_of(struct wr *w, const struct fs *fs, uint64_t ino)
{
	put_attr(w, fs, store_inode(fs->store, ino));
}

void put_wcc_unknown(struct wr *w)
{
	wr_u64(w, 0);
}

void put_wcc(struct wr *w, const struct obj *o)
{
	if (!o->known) {
		put_wcc_unknown(w);
		return;
	}
	wr_u32(w, 1);
	xdr_put_wcc_attr(w, &o->pre);
	put_attr_of(w, o->fs, o->ino);
}

static uint64_t note_key(const struct export *x, uint32_t generation)
{
	return (uint64_t)1 << 63 | (uint64_t)x->id << 32 | generation;
}

/* The MAC is kept with the inode: listings show the same ones again and again.  Under a key, since
 * an inode may be seen through several exports. */
void put_handle(struct wr *w, const struct export *x, const struct store_inode *in)
{
	struct handle h = {x->id, x->fs->fsid, in->ino, in->generation};
	uint64_t key = note_key(x, in->generation);
	uint8_t *b = wr_room(w, 4 + HANDLE_SIZE);

	if (b == NULL)
		return;
	put_u32(b, HANDLE_SIZE);
	if (in->note.key == key) {
		handle_encode_with(b + 4, &h, in->note.value);
		return;
	}
	handle_encode(b + 4, &h, x->fs->handle_key);
	*store_note_of(in) = (struct store_note){key, handle_mac(b + 4)};
}

/* ---- names ---------------------------------------------------------------------------------- */
bool is_dot(const struct xdr_bytes *name)
{
	return name->n == 1 && name->p[0] == '.';
}

bool is_dotdot(const struct xdr_bytes *name)
{
	return name->n == 2 && name->p[0] == '.' && name->p[1] == '.';
}

int check_name(const struct xdr_bytes *name)
{
	if (name->n > STORE_NAME_MAX)
		return NFS3ERR_NAMETOOLONG;
	if (name->n == 0 || memchr(name->p, '/', name->n) || memchr(name->p, 0, name->n))
		return NFS3ERR_ACCES;
	return NFS3_OK;
}

/* ---- handles -------------------------------------------------------------------------------- */
int export_admit(struct call *c, const struct export *x, const struct export_rule **rule)
{
	const struct export_rule *r = export_rule_for(x, c->client);

	*rule = r;
	if (r == NULL) {
		c->srv->stats.refused_client++;
		return NFS3ERR_ACCES;
	}
	if (!r->conf.insecure && c->port >= 1024) {
		c->srv->stats.refused_port++;
		return NFS3ERR_PERM;
	}
	return NFS3_OK;
}

static int bad_handle(struct call *c)
{
	c->srv->stats.bad_handle++;
	return NFS3ERR_BADHANDLE;
}

static int stale_handle(struct call *c)
{
	c->srv->stats.stale_handle++;
	return NFS3ERR_STALE;
}

void obj_pre(struct obj *o, const struct store_inode *in)
{
	o->pre.size = in->size;
	nfs3_time(&o->pre.mtime, in->mtime_ns);
	nfs3_time(&o->pre.ctime, in->ctime_ns);
}

/* Is the handle one that we made?  What was proved or made once is kept with the inode: its fields say
 * which bytes the MAC was made of, all of them. */
static bool handle_ours(const struct obj *o, const struct handle *h, const uint8_t *fh)
{
	const struct store_inode *in = store_inode_here(o->fs->store, h->ino);
	uint64_t key = note_key(o->x, h->generation);

#ifdef HF_MUTANT_NFS_NOTE_OF_ANY
	if (in && in->note.key)
		return true;
#endif
	if (in && in->note.key == key)
		return in->note.value == handle_mac(fh);
	if (!handle_authentic(fh, o->fs->handle_key))
		return false;
	if (in && in->generation == h->generation) {
		HF_MARK("nfs.handle_noted");
		*store_note_of(in) = (struct store_note){key, handle_mac(fh)};
	}
	return true;
}

static int obj_open(struct call *c, struct obj *o, const struct nfs_fh3 *fh)
{
	struct handle h;
	int status;

	if (!handle_decode(&h, fh->data.p, fh->data.n))
		return bad_handle(c);
	o->x = exports_by_id(&c->srv->exports, h.export_id);
	if (o->x == NULL)
		return stale_handle(c);
#ifndef HF_MUTANT_NFS_ACROSS_STORES
	if (o == &c->obj2 && o->x != c->obj.x)
		return NFS3ERR_XDEV; /* before c->fs: the operation is the first one's */
#endif
#ifdef HF_MUTANT_NFS_CLOSED_IS_STALE
	if (o->x->fs->store == NULL)
		return stale_handle(c);
#endif
	if (o->x->fs->store == NULL)
		return RUN_SILENT;
	if (o->x->fs->fsid != h.fsid)
		return stale_handle(c);
	o->fs = o->x->fs;
	if (!handle_ours(o, &h, fh->data.p))
		return bad_handle(c);
	status = export_admit(c, o->x, &o->rule);
	if (status != NFS3_OK)
		return status;
	c->fs = o->fs; /* from here on the answer reveals state */
	o->in = store_inode(o->fs->store, h.ino);
	if (o->in == NULL || o->in->generation != h.generation)
		return stale_handle(c);
	o->ino = h.ino;
	o->known = true;
	obj_pre(o, o->in);
	return NFS3_OK;
}

int obj_open2(struct call *c, const struct nfs_fh3 *fh)
{
	return obj_open(c, &c->obj2, fh);
}

/* ---- repeats -------------------------------------------------------------------------------- */
static void make_key(struct call *c)
{
	rpc_key(&c->key, c->client, c->xid, c->program, (uint32_t)(c->proc - c->program->procs), &c->in);
#ifdef HF_MUTANT_NFS_DUP_BY_PORT
	put_u32(c->key.client, c->port);
#endif
	c->keyed = true;
}

/* For those that nobody saw coming (ahead.c). */
static void hint(struct call *c)
{
	const struct xdr_bytes *name = rpc_takes_name(c->key.proc) ? &c->args.where.name : NULL;

	store_change_hint(c->fs->store, &c->key, c->obj.ino, name ? (const char *)name->p : NULL,
			  name ? name->n : 0);
}

static void redirect(struct held *h, struct rpc_peer *to)
{
	struct rpc_peer *old = h->peer;

	h->peer = to->ops->get(to);
	old->ops->put(old);
}

/* True when this was a repeat; it is answered then, or will be. */
static bool met_repeat(struct call *c)
{
	struct rpc_server *s = c->srv;
	struct held *h = held_find(s, &c->key);
	enum store_dup found;
	const void *reply;
	size_t len;
	uint64_t lsn;
	struct wr w;

	if (h) {
		HF_MARK("nfs.repeat_pending");
		s->stats.repeats_pending++;
		redirect(h, c->peer);
		return true;
	}
#ifdef HF_MUTANT_NFS_NO_DUP
	return false;
#endif
	if (c->proc->repeats != RPC_ONCE)
		return false;
	found = store_dup_find(c->fs->store, &c->key, &reply, &len, &lsn);
	if (found != STORE_DUP_DONE)
		return found == STORE_DUP_LOST; /* the store is closed: nothing is answered */
	HF_MARK("nfs.repeat");
	s->stats.repeats++;
	wr_init(&w, s->scratch, RPC_SCRATCH_SIZE);
	wr_bytes(&w, reply, len);
	rpc_reply(s, c->peer, c->fs, lsn, &c->key, &w, NULL, 0);
	return true;
}

/* A failure is remembered when the same call could later succeed: a repeat of it that comes late
 * must not do then what its caller was told it had not done. */
static bool worth_a_record(int status)
{
	switch (status) {
	case NFS3ERR_BADHANDLE:
	case NFS3ERR_STALE:
	case NFS3ERR_NAMETOOLONG:
	case NFS3ERR_ROFS:
	case NFS3ERR_NOTSUPP:
	case NFS3ERR_BADTYPE:
	case NFS3ERR_JUKEBOX:
	case NFS3ERR_SERVERFAULT:
	case NFS3ERR_IO:
		return false;
	default:
		return true;
	}
}

int op_begin(struct call *c)
{
	int err = store_op_begin(c->fs->store, &c->key, &c->wait_lsn);

	c->begun = err == 0;
	return nfs3_status(err);
}

void op_cancel(struct call *c)
{
	if (c->begun)
		store_op_cancel(c->fs->store);
	c->begun = false;
}

static void op_finish(struct call *c, int status)
{
	uint64_t lsn;

	if (!c->begun)
		return;
	if (status != NFS3_OK && !worth_a_record(status)) {
		op_cancel(c);
		return;
	}
	lsn = store_op_end(c->fs->store, c->out.start, wr_len(&c->out));
	c->begun = false;
	if (status == NFS3_OK)
		c->wait_lsn = lsn;
}

/* ---- one call ------------------------------------------------------------------------------- */
static void put_failure(struct call *c)
{
	switch (c->proc->fail) {
	case FAIL_NONE:
		break;
	case FAIL_ATTR:
		if (c->obj.known)
			put_attr_of(&c->out, c->obj.fs, c->obj.ino);
		else
			wr_u32(&c->out, 0);
		break;
	case FAIL_WCC:
		put_wcc(&c->out, &c->obj);
		break;
	case FAIL_TWO_WCC:
		put_wcc(&c->out, &c->obj);
		put_wcc(&c->out, &c->obj2);
		break;
	case FAIL_LINK:
		if (c->obj.known)
			put_attr_of(&c->out, c->obj.fs, c->obj.ino);
		else
			wr_u32(&c->out, 0);
		put_wcc(&c->out, &c->obj2);
		break;
	}
}

static enum call_end conclude(struct call *c, int status)
{
	uint8_t *at = c->out.start + RPC_REPLY_HEAD;

	if (status == RUN_AGAIN || status == RUN_LATER || status == RUN_SILENT) {
		op_cancel(c);
		return status == RUN_AGAIN   ? CALL_AGAIN
		       : status == RUN_LATER ? CALL_LATER
					     : CALL_SILENT;
	}
	put_u32(at, (uint32_t)status);
	if (status != NFS3_OK) {
		c->failed = true;
		c->wait_lsn = LSN_LAST;
		c->out.p = at + 4;
		put_failure(c);
	}
	op_finish(c, status);
	return CALL_REPLY;
}

/* NFS3_OK, or why the object cannot be used; with its fields set as far as they are known. */
static int open_first(struct call *c, bool *too_weak)
{
	int status = obj_open(c, &c->obj, &c->args.fh);

	if (status != NFS3_OK)
		return status;
	*too_weak = !c->sys && !c->obj.rule->conf.sec_none;
	export_squash_cred(c->obj.rule, c->sys, &c->cred);
	if (c->proc->repeats == RPC_ONCE && !c->obj.rule->conf.rw)
		return NFS3ERR_ROFS;
	return NFS3_OK;
}

static enum call_end nfs3_call(struct call *c)
{
	bool too_weak = false;
	int status;

	c->begun = false;
	if (c->proc->decode == NULL)
		return CALL_REPLY; /* NULL: the header is all there is to say */
	wr_u32(&c->out, 0);
	status = open_first(c, &too_weak);
	if (too_weak)
		return CALL_TOO_WEAK;
	if (status != NFS3_OK)
		return conclude(c, status);
	if (c->proc->repeats != RPC_PLAIN) {
		make_key(c);
		hint(c);
		if (met_repeat(c))
			return CALL_LATER;
	}
	if (c->proc->repeats == RPC_ONCE) {
		status = op_begin(c);
		if (status != NFS3_OK)
			return conclude(c, status);
		c->obj.in = store_inode(c->fs->store, c->obj.ino);
	}
	return conclude(c, c->proc->run(c));
}

const struct rpc_program nfs3_program = {
    .name = "nfs3",
    .prog = NFS_PROGRAM,
    .vers = NFS_V3,
    .procs = procs,
    .proc_count = sizeof(procs) / sizeof(procs[0]),
    .call = nfs3_call,
};
