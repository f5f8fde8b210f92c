/* nfs3_name.c - the procedures that change directories: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR,
 * RENAME, LINK. */
#include <errno.h>
#include <string.h>

#include "nfs/rpc_int.h"

static const char *chars(const struct xdr_bytes *b)
{
	return (const char *)b->p;
}

/* May entries be made in or taken from this directory at all? */
static int check_dir(const struct store_inode *dir)
{
	return dir->type == STORE_DIR ? NFS3_OK : NFS3ERR_NOTDIR;
}

/* ---- making --------------------------------------------------------------------------------- */
/* Before anything is made in c->obj: the directory, the name, whether it is there (*ino, else 0). */
static int look_before(struct call *c, const struct xdr_bytes *name, uint64_t *ino)
{
	struct obj *o = &c->obj;
	int status = check_dir(o->in), err;

	*ino = 0;
	if (status != NFS3_OK)
		return status;
	if (is_dot(name) || is_dotdot(name))
		return NFS3ERR_EXIST;
	status = check_name(name);
	if (status != NFS3_OK)
		return status;
	if (access_check(o->in, &c->cred, MAY_EXEC) != 0)
		return NFS3ERR_ACCES;
	err = store_lookup(o->fs->store, o->ino, chars(name), name->n, ino);
	if (err == -ENOENT)
		*ino = 0;
	return err == -ENOENT ? NFS3_OK : nfs3_status(err);
}

static int put_created(struct call *c, uint64_t ino)
{
	struct obj *o = &c->obj;
	const struct store_inode *in = store_inode_passing(o->fs->store, ino);

	if (in == NULL)
		return NFS3ERR_IO;
	wr_u32(&c->out, 1);
	put_handle(&c->out, o->x, in);
	put_attr(&c->out, o->fs, in);
	put_wcc(&c->out, o);
	return NFS3_OK;
}

/* Makes `what`, whose attributes are the client's wishes. */
static int make(struct call *c, const struct xdr_bytes *name, struct store_new *what)
{
	struct obj *o = &c->obj;
	const struct store_inode *dir = store_inode(o->fs->store, o->ino);
	uint64_t ino = 0;
	int err;

	if (dir == NULL)
		return NFS3ERR_STALE;
	if (access_check(dir, &c->cred, MAY_WRITE | MAY_EXEC) != 0)
		return NFS3ERR_ACCES;
	access_new(dir, &c->cred, what->type, &what->attr);
	err = store_create(o->fs->store, o->ino, chars(name), name->n, what, &ino);
	return err ? nfs3_status(err) : put_created(c, ino);
}

static int make_new(struct call *c, const struct xdr_bytes *name, struct store_new *what)
{
	uint64_t ino;
	int status = look_before(c, name, &ino);

	if (status != NFS3_OK)
		return status;
	return ino ? NFS3ERR_EXIST : make(c, name, what);
}

/* CREATE UNCHECKED of what exists: at most its size is set. */
static int reuse(struct call *c, uint64_t ino, const struct sattr3 *want)
{
	struct obj *o = &c->obj;
	const struct store_inode *in = store_inode(o->fs->store, ino);
	struct store_attr attr = {.set_size = want->size.set_it};
	uint64_t wait = 0;
	int err;

	if (in == NULL)
		return NFS3ERR_IO;
	if (in->type != STORE_REG)
		return NFS3ERR_EXIST;
	if (attr.set_size) {
		attr.size = want->size.size;
		err = access_setattr(in, &c->cred, &attr);
		if (!err)
			err = store_setattr(o->fs->store, ino, &attr, &wait);
		if (err == STORE_WAIT)
			c->wait_lsn = wait;
		if (err)
			return nfs3_status(err);
	}
	return put_created(c, ino);
}

static uint64_t exclusive_verifier(const struct CREATE3args *a)
{
	uint64_t v = xdr_take64(a->how.u.verf);

	return v ? v : 1; /* the store says 0 for "none" */
}

static int create_exclusive(struct call *c, uint64_t ino)
{
	const struct CREATE3args *a = &c->args.create;
	struct store_new what = {.type = STORE_REG, .verifier = exclusive_verifier(a)};
	const struct store_inode *in;

	if (ino == 0)
		return make(c, &a->where.name, &what);
	in = store_inode(c->obj.fs->store, ino);
	if (in && in->type == STORE_REG && in->verifier == what.verifier)
		return put_created(c, ino);
	return NFS3ERR_EXIST;
}

int nfs3_create(struct call *c)
{
	const struct CREATE3args *a = &c->args.create;
	struct store_new what = {.type = STORE_REG};
	uint64_t ino;
	int status = look_before(c, &a->where.name, &ino);

	if (status != NFS3_OK)
		return status;
	if (a->how.mode == EXCLUSIVE)
		return create_exclusive(c, ino);
	if (ino)
		return a->how.mode == GUARDED ? NFS3ERR_EXIST
					      : reuse(c, ino, &a->how.u.obj_attributes);
	nfs3_sattr(&what.attr, &a->how.u.obj_attributes);
	if (what.attr.set_size && what.attr.size > (uint64_t)STORE_FILE_SIZE_MAX)
		return NFS3ERR_FBIG;
	return make(c, &a->where.name, &what);
}

int nfs3_mkdir(struct call *c)
{
	const struct MKDIR3args *a = &c->args.mkdir;
	struct store_new what = {.type = STORE_DIR};

	nfs3_sattr(&what.attr, &a->attributes);
	what.attr.set_size = false;
	return make_new(c, &a->where.name, &what);
}

int nfs3_symlink(struct call *c)
{
	const struct SYMLINK3args *a = &c->args.symlink;
	const struct xdr_bytes *target = &a->symlink.symlink_data;
	struct store_new what = {.type = STORE_LNK, .target = chars(target), .target_len = target->n};

	if (target->n > STORE_TARGET_MAX)
		return NFS3ERR_NAMETOOLONG;
	if (target->n == 0 || memchr(target->p, 0, target->n))
		return NFS3ERR_INVAL;
	nfs3_sattr(&what.attr, &a->symlink.symlink_attributes);
	what.attr.set_size = false;
	return make_new(c, &a->where.name, &what);
}

int nfs3_mknod(struct call *c)
{
	const struct MKNOD3args *a = &c->args.mknod;
	struct store_new what = {0};

	switch (a->what.type) {
	case NF3CHR:
	case NF3BLK:
		if (c->cred.uid != 0)
			return NFS3ERR_PERM;
		nfs3_sattr(&what.attr, &a->what.u.device.dev_attributes);
		what.major = a->what.u.device.spec.specdata1;
		what.minor = a->what.u.device.spec.specdata2;
		break;
	case NF3SOCK:
	case NF3FIFO:
		nfs3_sattr(&what.attr, &a->what.u.pipe_attributes);
		break;
	default:
		return NFS3ERR_BADTYPE;
	}
	what.type = (enum store_type)a->what.type;
	what.attr.set_size = false;
	return make_new(c, &a->where.name, &what);
}

/* ---- removing ------------------------------------------------------------------------------- */
/* The entry's inode number, when the caller may take the entry away. */
static int find_victim(struct call *c, const struct obj *o, const struct xdr_bytes *name,
		       uint64_t *ino)
{
	struct store *s = o->fs->store;
	const struct store_inode *in;
	struct store_inode victim;
	int status = check_name(name), err;

	if (status != NFS3_OK)
		return status;
	in = store_inode(s, o->ino);
	if (in == NULL)
		return NFS3ERR_STALE;
	if (access_check(in, &c->cred, MAY_EXEC) != 0)
		return NFS3ERR_ACCES;
	err = store_lookup(s, o->ino, chars(name), name->n, ino);
	if (err)
		return nfs3_status(err);
	in = store_inode(s, *ino);
	if (in == NULL)
		return NFS3ERR_IO;
	victim = *in;
	in = store_inode(s, o->ino);
	return in ? nfs3_status(access_remove(in, &victim, &c->cred)) : NFS3ERR_STALE;
}

typedef int take_away_fn(struct store *s, uint64_t dir, const char *name, size_t name_len);

/* What REMOVE and RMDIR have in common: `dot` and `dotdot` are the answers to those names. */
static int remove_name(struct call *c, int dot, int dotdot, take_away_fn *take)
{
	const struct xdr_bytes *name = &c->args.remove.object.name;
	struct obj *o = &c->obj;
	uint64_t ino;
	int status = check_dir(o->in);

	if (status != NFS3_OK)
		return status;
	if (is_dot(name))
		return dot;
	if (is_dotdot(name))
		return dotdot;
	status = find_victim(c, o, name, &ino);
	if (status == NFS3_OK && ino == o->x->root_ino)
		status = NFS3ERR_ACCES; /* the export's own root stays */
	if (status == NFS3_OK)
		status = nfs3_status(take(o->fs->store, o->ino, chars(name), name->n));
	if (status != NFS3_OK)
		return status;
	put_wcc(&c->out, o);
	return NFS3_OK;
}

int nfs3_remove(struct call *c)
{
	return remove_name(c, NFS3ERR_ISDIR, NFS3ERR_ISDIR, store_remove);
}

int nfs3_rmdir(struct call *c)
{
	return remove_name(c, NFS3ERR_INVAL, NFS3ERR_EXIST, store_rmdir);
}

/* ---- RENAME --------------------------------------------------------------------------------- */
/* The source: a directory that changes its parent is written itself (its ".." changes). */
static int check_source(struct call *c, uint64_t *ino)
{
	const struct store_inode *in;
	int status = find_victim(c, &c->obj, &c->args.rename.from.name, ino);

	if (status != NFS3_OK)
		return status;
	in = store_inode(c->fs->store, *ino);
	if (in && in->type == STORE_DIR && c->obj.ino != c->obj2.ino)
		return nfs3_status(access_check(in, &c->cred, MAY_WRITE));
	return NFS3_OK;
}

/* The target: may be absent; what is there goes by the rules of removal. */
static int check_target(struct call *c, uint64_t *ino)
{
	const struct store_inode *dir;
	int status = find_victim(c, &c->obj2, &c->args.rename.to.name, ino);

	if (status != NFS3ERR_NOENT)
		return status;
	*ino = 0;
	dir = store_inode(c->fs->store, c->obj2.ino);
	if (dir == NULL)
		return NFS3ERR_STALE;
	return nfs3_status(access_check(dir, &c->cred, MAY_WRITE | MAY_EXEC));
}

static int rename_checks(struct call *c, bool *nothing)
{
	const struct RENAME3args *a = &c->args.rename;
	uint64_t from = 0, to = 0;
	int status;

	if (is_dot(&a->from.name) || is_dotdot(&a->from.name) || is_dot(&a->to.name) ||
	    is_dotdot(&a->to.name))
		return NFS3ERR_INVAL;
	status = check_source(c, &from);
	if (status == NFS3_OK)
		status = check_target(c, &to);
	*nothing = status == NFS3_OK && from == to; /* two names of one object: both stay */
	return status;
}

int nfs3_rename(struct call *c)
{
	const struct RENAME3args *a = &c->args.rename;
	struct obj *from = &c->obj, *to = &c->obj2;
	bool from_is_dir = check_dir(from->in) == NFS3_OK, nothing = false;
	int status = obj_open2(c, &a->to.dir);

	if (status != NFS3_OK)
		return status;
	if (!from_is_dir || check_dir(to->in) != NFS3_OK)
		return NFS3ERR_NOTDIR;
	status = rename_checks(c, &nothing);
	if (status == NFS3_OK && !nothing)
		status = nfs3_status(store_rename(c->fs->store, from->ino, chars(&a->from.name),
						  a->from.name.n, to->ino, chars(&a->to.name),
						  a->to.name.n));
	if (status != NFS3_OK)
		return status;
	put_wcc(&c->out, from);
	put_wcc(&c->out, to);
	return NFS3_OK;
}

/* ---- LINK ----------------------------------------------------------------------------------- */
int nfs3_link(struct call *c)
{
	const struct LINK3args *a = &c->args.link;
	const struct xdr_bytes *name = &a->link.name;
	struct obj *o = &c->obj, *dir = &c->obj2;
	bool is_dir = o->in->type == STORE_DIR;
	int status = obj_open2(c, &a->link.dir), err;

	if (status == NFS3_OK)
		status = check_dir(dir->in);
	if (status != NFS3_OK)
		return status;
	if (is_dir)
		return NFS3ERR_PERM;
	if (is_dot(name) || is_dotdot(name))
		return NFS3ERR_EXIST;
	status = check_name(name);
	if (status != NFS3_OK)
		return status;
	if (access_check(dir->in, &c->cred, MAY_WRITE | MAY_EXEC) != 0)
		return NFS3ERR_ACCES;
	err = store_link(c->fs->store, o->ino, dir->ino, chars(name), name->n);
	if (err)
		return nfs3_status(err);
	put_attr_of(&c->out, o->fs, o->ino);
	put_wcc(&c->out, dir);
	return NFS3_OK;
}
