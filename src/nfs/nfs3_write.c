/* nfs3_write.c - SETATTR, WRITE, COMMIT. */
#include <string.h>

#include "base/assert.h"
#include "nfs/rpc_int.h"

int nfs3_setattr(struct call *c)
{
	const struct SETATTR3args *a = &c->args.setattr;
	struct obj *o = &c->obj;
	struct store_attr attr;
	uint64_t wait = 0;
	int err;

	if (a->guard.check && memcmp(&a->guard.obj_ctime, &o->pre.ctime, sizeof(o->pre.ctime)) != 0)
		return NFS3ERR_NOT_SYNC;
	nfs3_sattr(&attr, &a->new_attributes);
	err = access_setattr(o->in, &c->cred, &attr);
	if (!err)
		err = store_setattr(o->fs->store, o->ino, &attr, &wait);
	if (err == STORE_WAIT)
		c->wait_lsn = wait;
	if (err)
		return nfs3_status(err);
	put_wcc(&c->out, o);
	return NFS3_OK;
}

/* ---- WRITE ---------------------------------------------------------------------------------- */
static int check_write(const struct call *c)
{
	const struct WRITE3args *a = &c->args.write;
	const struct store_inode *in = c->obj.in;

	if (in->type == STORE_DIR)
		return NFS3ERR_ISDIR;
	if (in->type != STORE_REG || a->count != a->data.n || a->stable > FILE_SYNC)
		return NFS3ERR_INVAL;
	if (access_data(in, &c->cred, MAY_WRITE) != 0)
		return NFS3ERR_ACCES;
	if (a->count && (a->offset > (uint64_t)STORE_FILE_SIZE_MAX ||
			 a->count > (uint64_t)STORE_FILE_SIZE_MAX - a->offset))
		return NFS3ERR_FBIG;
	return NFS3_OK;
}

/* Takes set-user-ID and set-group-ID away, as an operation of our own in front of the write. */
static int clear_setid(struct call *c, uint32_t mode)
{
	struct store_attr attr = {.set_mode = true, .mode = mode};
	struct store *s = c->fs->store;
	uint64_t wait = 0;
	int err;

	op_cancel(c);
	err = store_op_begin(s, NULL, &wait);
	if (err == 0) {
		err = store_setattr(s, c->obj.ino, &attr, &wait);
		if (err)
			store_op_cancel(s);
		else
			store_op_end(s, NULL, 0);
	}
	if (err == STORE_WAIT)
		c->wait_lsn = wait;
	return err ? nfs3_status(err) : op_begin(c);
}

int nfs3_write(struct call *c)
{
	const struct WRITE3args *a = &c->args.write;
	struct obj *o = &c->obj;
	bool stable = a->stable != UNSTABLE;
	uint64_t wait = 0;
	uint32_t mode;
	int status = check_write(c), err = 0;

	if (status == NFS3_OK && a->count && access_write_clears(o->in, &c->cred, &mode))
		status = clear_setid(c, mode);
	if (status != NFS3_OK)
		return status;
	if (a->count)
		err = store_write(o->fs->store, o->ino, a->offset, a->data.p, a->count, stable,
				  &wait);
	if (err == STORE_WAIT)
		c->wait_lsn = wait;
	if (err)
		return nfs3_status(err);
	c->srv->stats.bytes_written += a->count;
	put_wcc(&c->out, o);
	wr_u32(&c->out, a->count);
	wr_u32(&c->out, stable ? FILE_SYNC : UNSTABLE);
	wr_bytes(&c->out, o->fs->write_verf, NFS3_WRITEVERFSIZE);
	return NFS3_OK;
}

/* ---- COMMIT --------------------------------------------------------------------------------- */
/* The object's data are on disk (or not); the reply is made now and waits for the mark's lsn. */
static void on_committed(void *arg, int err, uint64_t lsn)
{
	struct held *h = arg;
	struct rpc_server *s = h->srv;
	int status = nfs3_status(err);
	uint8_t bytes[256];
	struct wr w;

	wr_init(&w, bytes, sizeof(bytes));
	rpc_put_head(&w, h->xid);
	wr_u32(&w, (uint32_t)status);
	put_wcc(&w, &h->obj);
	if (status == NFS3_OK)
		wr_bytes(&w, h->obj.fs->write_verf, NFS3_WRITEVERFSIZE);
	else
		h->stat->errors++;
	hf_assert(wr_ok(&w));
	rpc_reply_late(s, h, err ? LSN_LAST : lsn, &w);
}

static int check_commit(const struct call *c)
{
	const struct store_inode *in = c->obj.in;

	if (in->type == STORE_DIR)
		return NFS3ERR_ISDIR;
	if (in->type != STORE_REG)
		return NFS3ERR_INVAL;
	return nfs3_status(access_data(in, &c->cred, MAY_WRITE));
}

int nfs3_commit(struct call *c)
{
	struct rpc_server *s = c->srv;
	struct held *h;
	uint64_t wait = 0;
	int status = check_commit(c), err;

	if (status != NFS3_OK)
		return status;
	h = held_new(s, HELD_LATER, c->peer, NULL, 0);
	h->xid = c->xid;
	h->obj = c->obj;
	h->stat = rpc_stat(c);
	held_key(s, h, &c->key);
	list_add_tail(&s->later, &h->link);
	err = store_commit(c->fs->store, c->obj.ino, on_committed, h, &wait);
	if (err == 0)
		return RUN_LATER;
	held_free(s, h);
	if (err == STORE_WAIT)
		c->wait_lsn = wait;
	return nfs3_status(err);
}
