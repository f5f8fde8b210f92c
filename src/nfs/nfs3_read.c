/* nfs3_read.c - the procedures that look: GETATTR, LOOKUP, ACCESS, READLINK, READ, FSSTAT, FSINFO,
 * PATHCONF.
 *
 * The first three and READ show particular inodes and wait for the lsn of those only (LOOKUP shows the
 * directory's attributes only when it need not wait for them); the others
 * wait for whatever changed last (SAFETY S8). */
#include <string.h>

#include "base/trace.h"
#include "nfs/rpc_int.h"

#define READ_SLACK 8	/* padding behind a bulk payload */
#define LEND_MIN   2048 /* to copy less costs less than one segment more to send */

int nfs3_getattr(struct call *c)
{
	c->wait_lsn = c->obj.in->lsn;
	put_fattr(&c->out, c->obj.fs, c->obj.in);
	return NFS3_OK;
}

/* The answer shows directories that it does not name: it waits for the last change. */
static int lookup_up(struct obj *o, uint64_t *ino, uint64_t *lsn)
{
	if (!export_is_whole(o->x))
		*lsn = LSN_LAST;
	return nfs3_status(export_parent(o->x, o->fs->store, o->ino, ino));
}

/* Resolves a name in a directory of this export. */
static int lookup(struct call *c, const struct xdr_bytes *name, uint64_t *ino, uint64_t *lsn)
{
	struct obj *o = &c->obj;
	int status;

	*ino = o->ino;
	if (is_dot(name))
		return NFS3_OK;
	if (is_dotdot(name)) {
		*lsn = o->in->lsn;
		return lookup_up(o, ino, lsn);
	}
	status = check_name(name);
	if (status != NFS3_OK)
		return status;
	return nfs3_status(store_lookup(o->fs->store, o->ino, (const char *)name->p, name->n, ino));
}

/* The directory's own attributes are a gift: while others work in it they change all the time, and a
 * reply that has them would wait for the log each time. */
static void put_dir_attr(struct call *c)
{
	const struct store_inode *dir = store_inode(c->fs->store, c->obj.ino);

#ifndef HF_MUTANT_NFS_LOOKUP_SHOWS_ALL
	if (dir && dir->lsn > c->wait_lsn && dir->lsn > store_durable_lsn(c->fs->store)) {
		HF_MARK("nfs.lookup_without_dir");
		dir = NULL;
	}
#endif
	put_attr(&c->out, c->fs, dir);
}

int nfs3_lookup(struct call *c)
{
	struct obj *o = &c->obj;
	const struct store_inode *in;
	uint64_t ino = 0, lsn = o->in->enter_lsn;
	int status;

	if (o->in->type != STORE_DIR)
		return NFS3ERR_NOTDIR;
	if (access_check(o->in, &c->cred, MAY_EXEC) != 0)
		return NFS3ERR_ACCES;
	status = lookup(c, &c->args.lookup.what.name, &ino, &lsn);
	if (status != NFS3_OK)
		return status;
	in = store_inode(o->fs->store, ino);
	if (in == NULL)
		return NFS3ERR_IO;
	c->wait_lsn = in->lsn > lsn ? in->lsn : lsn;
	put_handle(&c->out, o->x, in);
	put_attr(&c->out, o->fs, in);
	put_dir_attr(c);
	return NFS3_OK;
}

int nfs3_access(struct call *c)
{
	struct obj *o = &c->obj;

	c->wait_lsn = o->in->lsn;
	put_attr(&c->out, o->fs, o->in);
	wr_u32(&c->out,
	       access_nfs3(o->in, &c->cred, c->args.access.access, o->rule->conf.rw));
	return NFS3_OK;
}

int nfs3_readlink(struct call *c)
{
	struct obj *o = &c->obj;
	struct xdr_bytes target;

	if (o->in->type != STORE_LNK)
		return NFS3ERR_INVAL;
	target.p = (const uint8_t *)o->in->target;
	target.n = (uint32_t)strlen(o->in->target);
	put_attr(&c->out, o->fs, o->in);
	xdr_put_bytes(&c->out, &target);
	return NFS3_OK;
}

static int check_read(struct call *c)
{
	const struct store_inode *in = c->obj.in;

	if (in->type == STORE_DIR)
		return NFS3ERR_ISDIR;
	if (in->type != STORE_REG)
		return NFS3ERR_INVAL;
	return nfs3_status(access_data(in, &c->cred, MAY_READ));
}

/* How much of what was asked can be there at all. */
static size_t read_size(const struct call *c)
{
	const struct READ3args *a = &c->args.read;
	uint64_t len = a->count, size = c->obj.in->size;

	if (a->offset >= size)
		return 0;
	if (len > size - a->offset)
		len = size - a->offset;
	if (len > NFS3_DATA_MAX)
		len = NFS3_DATA_MAX;
	if (!c->peer->stream && len > RPC_UDP_MAX)
		len = RPC_UDP_MAX;
	return (size_t)len;
}

static void on_warm(void *arg)
{
	struct held *h = arg;

	rpc_release(h->srv, h);
}

/* The disk is read while other calls go on; then this one is run again, from its bytes. */
static int read_later(struct call *c, size_t len)
{
	struct held *h = held_new(c->srv, HELD_CALL, c->peer, c->msg, c->msg_len);

	list_add_tail(&c->srv->later, &h->link);
	c->srv->stats.cold++;
	store_warm(c->fs->store, c->obj.ino, c->args.read.offset, len, on_warm, h);
	return RUN_LATER;
}

/* The reply goes as it is, and now: no padding, nothing to wait for (S8, F4). */
static bool read_at_once(const struct call *c, size_t len)
{
	const struct obj *o = &c->obj;

#ifndef HF_MUTANT_NFS_BULK_BEFORE_FENCE
	if (c->srv->read_fence_strict)
		return false;
#endif
	return len % 4 == 0 && c->peer->stream &&
	       o->in->lsn <= store_durable_lsn(o->fs->store);
}

/* Without a copy of ours, from where the store has it: large ones from the page cache, small ones
 * from the blocks it keeps. */
static bool read_in_place(struct call *c, size_t len)
{
	struct store *s = c->obj.fs->store;
	uint64_t ino = c->obj.ino, off = c->args.read.offset;

	if (len < LEND_MIN || !read_at_once(c, len))
		return false;
	if (len <= RPC_COPY_MAX)
		c->lent = store_lend(s, ino, off, len, &c->lent_from);
	else if (c->peer->ops->send_borrowed)
		c->here = store_read_here(s, ino, off, len);
	return c->lent || c->here;
}

/* Into a buffer of our own: behind the numbers, or as bulk. */
static int read_copied(struct call *c, size_t len, size_t *got, bool *eof)
{
	struct obj *o = &c->obj;
	uint8_t *data;
	uint64_t wait = 0;
	int err = 0;

	c->bulk = len > RPC_COPY_MAX ? bulk_get(c->srv, len + READ_SLACK) : NULL;
	data = c->bulk ? c->bulk : c->out.p;
	if (len)
		err = store_read_try(o->fs->store, o->ino, c->args.read.offset, len, data, got, eof,
				     &wait);
	if (err) {
		if (c->bulk)
			bulk_put(c->srv, c->bulk);
		c->bulk = NULL;
		if (err == STORE_COLD)
			return read_later(c, len);
		c->wait_lsn = wait;
		return nfs3_status(err);
	}
	memset(data + *got, 0, xdr_padded(*got) - *got);
	if (c->bulk)
		c->bulk_len = xdr_padded(*got);
	else
		wr_room(&c->out, xdr_padded(*got));
	return NFS3_OK;
}

int nfs3_read(struct call *c)
{
	struct obj *o = &c->obj;
	size_t len, got = 0;
	uint8_t *numbers;
	bool eof = true;
	int status = check_read(c);

	if (status != NFS3_OK)
		return status;
	c->wait_lsn = o->in->lsn;
	len = read_size(c);
	eof = c->args.read.offset >= o->in->size || len == o->in->size - c->args.read.offset;
	put_attr(&c->out, o->fs, o->in);
	numbers = wr_room(&c->out, 12);
	if (read_in_place(c, len))
		c->bulk_len = got = len;
	else
		status = read_copied(c, len, &got, &eof);
	if (status != NFS3_OK)
		return status;
	put_u32(numbers, (uint32_t)got);
	put_u32(numbers + 4, eof);
	put_u32(numbers + 8, (uint32_t)got);
	c->srv->stats.bytes_read += got;
	store_touch(o->fs->store, o->ino);
	return NFS3_OK;
}

int nfs3_fsstat(struct call *c)
{
	struct obj *o = &c->obj;
	struct store_space sp;
	int err;

	put_attr(&c->out, o->fs, o->in);
	err = store_space(o->fs->store, &sp);
	if (err)
		return nfs3_status(err);
	wr_u64(&c->out, sp.bytes_total);
	wr_u64(&c->out, sp.bytes_free);
	wr_u64(&c->out, sp.bytes_avail);
	wr_u64(&c->out, sp.files_total);
	wr_u64(&c->out, sp.files_free);
	wr_u64(&c->out, sp.files_free);
	wr_u32(&c->out, 0); /* invarsec: may change at once */
	return NFS3_OK;
}

int nfs3_fsinfo(struct call *c)
{
	uint32_t max = c->peer->stream ? NFS3_DATA_MAX : RPC_UDP_MAX;

	put_attr(&c->out, c->obj.fs, c->obj.in);
	for (unsigned i = 0; i < 2; i++) { /* for reading, for writing: most, preferred, multiple */
		wr_u32(&c->out, max);
		wr_u32(&c->out, max);
		wr_u32(&c->out, 4096);
	}
	wr_u32(&c->out, RPC_UDP_MAX); /* dtpref */
	wr_u64(&c->out, (uint64_t)STORE_FILE_SIZE_MAX);
	wr_u64(&c->out, 1); /* time_delta: 0 s, 1 ns */
	wr_u32(&c->out, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
	return NFS3_OK;
}

int nfs3_pathconf(struct call *c)
{
	put_attr(&c->out, c->obj.fs, c->obj.in);
	wr_u32(&c->out, STORE_LINK_MAX);
	wr_u32(&c->out, STORE_NAME_MAX);
	wr_u32(&c->out, 1); /* no_trunc: longer names are refused */
	wr_u32(&c->out, 1); /* chown_restricted */
	wr_u32(&c->out, 0); /* case_insensitive */
	wr_u32(&c->out, 1); /* case_preserving */
	return NFS3_OK;
}
