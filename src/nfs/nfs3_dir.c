/* nfs3_dir.c - READDIR and READDIRPLUS.
 *
 * Cookies are the store's: fixed for the life of an entry and growing, so a listing goes on
 * rightly whatever was added or removed meanwhile, on this node or another.  A cookie is thus
 * never bad; the verifier is a constant of the file system.  A foreign one is refused all the
 * same, except all zeros: clients that seek in a directory they have just opened send that.
 *
 * A listing is gathered first (the names copied, since looking at an inode ends the life of what
 * the store showed), then encoded; limits are counted by the protocol's own sizes on the way. */
#include <string.h>

#include "base/assert.h"
#include "nfs/rpc_int.h"

#define LIST_TAIL      8	     /* no more entries, eof */
#define ATTR_SIZE      (4 + FATTR_SIZE) /* post_op_attr */
#define HANDLE_XDR     (4 + 4 + HANDLE_SIZE)
#define COOKIE_DOTDOT  2
#define AHEAD	       6 /* entries between the two hints and the use of an inode */

struct listing {
	struct rpc_server *srv;
	uint64_t root_parent; /* what ".." is here, 0: what the store says */
	bool hide_up;	      /* ".." is a name only: it may lie outside (exports.h) */
	size_t room, left;    /* for entries in the reply: at first, now */
	size_t dir_left;      /* READDIRPLUS: of what dircount counts */
	size_t per_entry;
	uint32_t count, names_len;
	bool full;
};

static bool gather(void *arg, uint64_t cookie, uint64_t ino, const char *name, size_t name_len)
{
	struct listing *l = arg;
	size_t plain = 8 + 4 + xdr_padded(name_len) + 8;
	size_t whole = 4 + plain + l->per_entry;
	struct dir_entry *e = &l->srv->entries[l->count];

	if (whole > l->left || plain > l->dir_left || l->count == DIR_ENTRIES_MAX) {
		l->full = true;
		return false;
	}
	l->left -= whole;
	l->dir_left -= plain;
	e->cookie = cookie;
	e->ino = cookie == COOKIE_DOTDOT && l->root_parent ? l->root_parent : ino;
	e->name_at = l->names_len;
	e->name_len = (uint32_t)name_len;
	memcpy(l->srv->names + l->names_len, name, name_len);
	l->names_len += (uint32_t)name_len;
	l->count++;
	return true;
}

static void put_verifier(struct wr *w, const struct fs *fs)
{
	wr_u64(w, fs->fsid | 1);
}

static bool verifier_ok(const struct fs *fs, uint64_t cookie, const uint8_t *verf)
{
	uint64_t v = xdr_take64(verf);

	return cookie == 0 || v == 0 || v == (fs->fsid | 1);
}

static int check_dir(const struct call *c, uint64_t cookie, const uint8_t *verf)
{
	if (c->obj.in->type != STORE_DIR)
		return NFS3ERR_NOTDIR;
	if (access_check(c->obj.in, &c->cred, MAY_READ) != 0)
		return NFS3ERR_ACCES;
	return verifier_ok(c->obj.fs, cookie, verf) ? NFS3_OK : NFS3ERR_BAD_COOKIE;
}

/* Gathers entries after `cookie` into replies of at most `max` bytes. */
static int list_dir(struct call *c, struct listing *l, uint64_t cookie, size_t max, bool *eof)
{
	struct obj *o = &c->obj;
	size_t limit = c->peer->stream ? RPC_DIRLIST_MAX : RPC_UDP_MAX;
	size_t fixed = ATTR_SIZE + NFS3_COOKIEVERFSIZE + LIST_TAIL;
	int err;

	max = max < limit ? max : limit;
	if (max < fixed)
		return NFS3ERR_TOOSMALL;
	l->srv = c->srv;
	l->room = l->left = max - fixed;
	l->root_parent = o->ino == o->x->root_ino ? o->ino : 0;
#ifdef HF_MUTANT_NFS_LISTS_UP
	l->hide_up = false;
#else
	l->hide_up = !l->root_parent && !export_is_whole(o->x);
#endif
	err = store_readdir(o->fs->store, o->ino, cookie, gather, l, eof);
	if (err)
		return nfs3_status(err);
	if (l->count == 0 && l->full)
		return NFS3ERR_TOOSMALL;
	store_touch(o->fs->store, o->ino);
	put_attr_of(&c->out, o->fs, o->ino);
	put_verifier(&c->out, o->fs);
	return NFS3_OK;
}

/* Where the entries go: behind the rest, or when they are long where they can be sent from. */
static struct wr entries_begin(struct call *c, const struct listing *l)
{
	size_t len = l->room - l->left + LIST_TAIL;
	struct wr w;

	if (!c->peer->stream || len <= RPC_COPY_MAX)
		return c->out;
	c->bulk = bulk_get(c->srv, len);
	wr_init(&w, c->bulk, len);
	return w;
}

static void put_entry(struct call *c, struct wr *w, const struct dir_entry *e)
{
	struct xdr_bytes name = {c->srv->names + e->name_at, e->name_len};

	wr_u32(w, 1);
	wr_u64(w, e->ino);
	xdr_put_bytes(w, &name);
	wr_u64(w, e->cookie);
}

static void entries_end(struct call *c, struct wr *w, bool eof)
{
	wr_u32(w, 0);
	wr_u32(w, eof);
	hf_assert(wr_ok(w));
	if (c->bulk)
		c->bulk_len = wr_len(w);
	else
		c->out = *w;
}

int nfs3_readdir(struct call *c)
{
	const struct READDIR3args *a = &c->args.readdir;
	struct listing l = {.dir_left = SIZE_MAX};
	bool eof = false;
	struct wr w;
	int status = check_dir(c, a->cookie, a->cookieverf);

	if (status == NFS3_OK)
		status = list_dir(c, &l, a->cookie, a->count, &eof);
	if (status != NFS3_OK)
		return status;
	w = entries_begin(c, &l);
	for (uint32_t i = 0; i < l.count; i++)
		put_entry(c, &w, &c->srv->entries[i]);
	entries_end(c, &w, eof);
	return NFS3_OK;
}

/* Attributes and handle, when they may be shown. */
static void put_plus(struct call *c, struct wr *w, const struct dir_entry *e, bool may_show)
{
	const struct obj *o = &c->obj;
	const struct store_inode *in = may_show ? store_inode(o->fs->store, e->ino) : NULL;

	put_attr(w, o->fs, in);
	wr_u32(w, in != NULL);
	if (in)
		put_handle(w, o->x, in);
}

/* The inodes of a listing lie anywhere in memory: asked for early, they come while others are
 * being encoded. */
static void look_ahead(struct call *c, uint32_t i, uint32_t count)
{
	const struct dir_entry *e = c->srv->entries;

	if (i + 2 * AHEAD < count)
		store_inode_hint(c->fs->store, e[i + 2 * AHEAD].ino, false);
	if (i + AHEAD < count)
		store_inode_hint(c->fs->store, e[i + AHEAD].ino, true);
}

int nfs3_readdirplus(struct call *c)
{
	const struct READDIRPLUS3args *a = &c->args.readdirplus;
	struct listing l = {.dir_left = a->dircount ? a->dircount : SIZE_MAX,
			    .per_entry = ATTR_SIZE + HANDLE_XDR};
	bool eof = false, may_search = access_check(c->obj.in, &c->cred, MAY_EXEC) == 0;
	struct wr w;
	int status = check_dir(c, a->cookie, a->cookieverf);

	if (status == NFS3_OK)
		status = list_dir(c, &l, a->cookie, a->maxcount, &eof);
	if (status != NFS3_OK)
		return status;
	w = entries_begin(c, &l);
	for (uint32_t i = 0; i < l.count; i++) {
		const struct dir_entry *e = &c->srv->entries[i];

		look_ahead(c, i, l.count);
		put_entry(c, &w, e);
		put_plus(c, &w, e, may_search && !(l.hide_up && e->cookie == COOKIE_DOTDOT));
	}
	entries_end(c, &w, eof);
	return NFS3_OK;
}
