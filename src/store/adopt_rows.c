/* adopt_rows.c - from names to rows and links, the comparison, and the end of the old names.
 *
 * Memory is bounded whatever the tree: one frame a level of the walk, one transaction of at most
 * ADOPT_BATCH_ROWS rows, and inodes with several names in a small database of their own beside
 * the index (host inode -> our number, names seen). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/adopt_impl.h"

#define DIR_SIZE     4096U
#define COOKIE_FIRST 3U
#define BLOCK        512U

static uint64_t be64(const uint8_t *p)
{
	struct rd r;

	rd_init(&r, p, 8);
	return rd_u64(&r);
}

static int index_trouble(struct adopt *k, struct index *x, int err)
{
	return say(k->err, k->err_size, err, "%s: the index cannot be written: %s: %s", k->a->dir,
		   strerror(-err), index_error(x));
}

/* ---- rows in transactions ------------------------------------------------------------------ */

static int both_begin(struct adopt *k)
{
	int err = index_write_begin(k->x);

	if (err)
		return index_trouble(k, k->x, err);
	err = index_write_begin(k->links);
	k->rows = k->row_bytes = 0;
	return err ? index_trouble(k, k->links, err) : 0;
}

static int one_commit(struct adopt *k, struct index *x)
{
	int err = index_write_commit(x);

	if (err == 0)
		err = index_renew(x);
	return err ? index_trouble(k, x, err) : 0;
}

static int both_commit(struct adopt *k)
{
	int err = one_commit(k, k->x);

	return err ? err : one_commit(k, k->links);
}

static int put(struct adopt *k, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	int err = index_put(k->x, key, key_len, val, len);

	k->rows++;
	k->row_bytes += key_len + len;
	return err ? index_trouble(k, k->x, err) : 0;
}

static int batch_end(struct adopt *k)
{
	int err;

	if (k->rows < ADOPT_BATCH_ROWS && k->row_bytes < ADOPT_BATCH_BYTES)
		return 0;
	err = both_commit(k);
	return err ? err : both_begin(k);
}

/* ---- one inode ----------------------------------------------------------------------------- */

static enum store_type type_of(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return STORE_DIR;
	case S_IFBLK:
		return STORE_BLK;
	case S_IFCHR:
		return STORE_CHR;
	case S_IFLNK:
		return STORE_LNK;
	case S_IFSOCK:
		return STORE_SOCK;
	case S_IFIFO:
		return STORE_FIFO;
	default:
		return STORE_REG;
	}
}

static void row_of(const struct adopt *k, struct inode_row *r, uint64_t ino, const struct statx *st)
{
	uint64_t seed = k->seed;

	*r = (struct inode_row){.pub = {.ino = ino,
					.type = type_of(st->stx_mode),
					.mode = st->stx_mode & 07777,
					.nlink = st->stx_nlink,
					.uid = st->stx_uid,
					.gid = st->stx_gid,
					.atime_ns = tree_ns(st->stx_atime),
					.mtime_ns = tree_ns(st->stx_mtime),
					.ctime_ns = tree_ns(st->stx_ctime)}};
	r->pub.generation = (uint32_t)row_hash(seed, (const uint8_t *)&ino, sizeof(ino)) | 1U;
	if (r->pub.type == STORE_BLK || r->pub.type == STORE_CHR) {
		r->pub.major = st->stx_rdev_major;
		r->pub.minor = st->stx_rdev_minor;
	}
	if (r->pub.type == STORE_REG) {
		r->pub.size = st->stx_size;
		r->pub.used = st->stx_blocks * BLOCK;
		r->has_object = true;
	}
}

static int put_inode(struct adopt *k, const struct inode_row *r)
{
	uint8_t key[9], val[ROW_INODE_MAX];

	return put(k, key, key_inode(key, r->pub.ino), val, inode_row_encode(r, val, sizeof(val)));
}

struct xattr_put {
	struct adopt *k;
	uint64_t ino;
	bool any;
};

static int put_xattr(void *arg, const char *name, const void *value, size_t len)
{
	struct xattr_put *p = arg;
	uint8_t key[ROW_KEY_MAX], *row;
	size_t n = strlen(name);
	int err;

	if (n > STORE_NAME_MAX || len > XATTR_VALUE_MAX)
		return -E2BIG;
	row = mem_alloc(XATTR_HEAD + len);
	err = put(p->k, key, key_xattr(key, p->ino, name, n), row, xattr_encode(row, value, len));
	free(row);
	p->any = true;
	p->k->n->xattrs++;
	if (strncmp(name, "system.posix_acl", 16) == 0)
		p->k->n->acls++;
	return err;
}

static int put_xattrs(struct adopt *k, int dir_fd, const char *name, struct inode_row *r)
{
	struct xattr_put p = {.k = k, .ino = r->pub.ino};
	int err = tree_xattr_each(dir_fd, name, put_xattr, &p);

	r->has_xattr = p.any;
	return err ? adopt_trouble(k, err, "extended attributes cannot be taken") : 0;
}

static int put_entry(struct adopt *k, struct tree_dir *d, const char *name, uint64_t ino)
{
	uint8_t key[ROW_KEY_MAX], val[8 + STORE_NAME_MAX];
	uint64_t cookie = COOKIE_FIRST + d->cookie++;
	size_t len = strlen(name);
	struct wr w;
	int err;

	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_u64(&w, cookie);
	err = put(k, key, key_name(key, d->ino, name, len), val, wr_len(&w));
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_bytes(&w, name, len);
	if (err == 0)
		err = put(k, key, key_dir(key, d->ino, cookie), val, wr_len(&w));
	d->entries++;
	k->n->names++;
	return err;
}

/* ---- inodes with several names ------------------------------------------------------------- */

struct linked {
	uint64_t ino, names, seen;
};

static size_t link_key(uint8_t key[9], uint64_t host_ino)
{
	return key_inode(key, host_ino);
}

static int linked_decode(const struct index_row *row, struct linked *l)
{
	struct rd r;

	rd_init(&r, row->val, row->val_len);
	l->ino = rd_u64(&r);
	l->names = rd_u64(&r);
	l->seen = rd_u64(&r);
	return rd_done(&r) ? 0 : -EBADMSG;
}

static int linked_put(struct adopt *k, uint64_t host_ino, const struct linked *l)
{
	uint8_t key[9], val[24];
	struct wr w;
	int err;

	wr_init(&w, val, sizeof(val));
	wr_u64(&w, l->ino);
	wr_u64(&w, l->names);
	wr_u64(&w, l->seen);
	err = index_put(k->links, key, link_key(key, host_ino), val, sizeof(val));
	return err ? index_trouble(k, k->links, err) : 0;
}

/* One more name of an inode that is there already: *ino, else 0. */
static int linked_again(struct adopt *k, const struct statx *st, uint64_t *ino)
{
	struct linked l;
	struct index_row row;
	uint8_t key[9];
	int err;

	*ino = 0;
	if (st->stx_nlink < 2)
		return 0;
	err = index_write_get(k->links, key, link_key(key, st->stx_ino), &row);
	if (err == -ENOENT)
		return 0;
	if (err || linked_decode(&row, &l))
		return index_trouble(k, k->links, err ? err : -EBADMSG);
	*ino = l.ino;
	l.seen++;
	return linked_put(k, st->stx_ino, &l);
}

/* A name is missing in the tree: the row gets the number of those that are there. */
static int linked_fix(struct adopt *k, const struct linked *l)
{
	struct inode_row r;
	struct index_row row;
	uint8_t key[9], val[ROW_INODE_MAX];
	int err = index_get(k->x, key, key_inode(key, l->ino), &row);

	if (err || inode_row_decode(&r, row.val, row.val_len))
		return index_trouble(k, k->x, err ? err : -EBADMSG);
	r.pub.ino = l->ino;
	r.pub.nlink = (uint32_t)l->seen;
	k->n->outside++;
	err = put(k, key, key_inode(key, l->ino), val, inode_row_encode(&r, val, sizeof(val)));
	return err;
}

static int linked_finish(struct adopt *k)
{
	static const uint8_t first[1] = {TABLE_INODE};
	struct index_row row;
	struct linked l;
	int err = index_seek(k->links, first, sizeof(first), &row);

	while (err == 0) {
		err = linked_decode(&row, &l);
		if (err)
			return index_trouble(k, k->links, err);
		if (l.seen != l.names && (err = linked_fix(k, &l)) != 0)
			return err;
		err = index_next(k->links, &row);
	}
	return err == -ENOENT ? 0 : index_trouble(k, k->links, err);
}

/* ---- building ------------------------------------------------------------------------------ */

static int changed(struct adopt *k, const struct tree_entry *e)
{
	HF_MARK("adopt.changed_meanwhile");
	return say(k->err, k->err_size, -EAGAIN,
		   "%s/%s: was changed while the tree was read; end what "
		   "uses it and try again (the tree is unchanged)",
		   k->a->dir, e->path);
}

static int link_object(struct adopt *k, const struct tree_entry *e, uint64_t ino)
{
	struct statx obj;
	char path[48];

	object_path(ino, path, sizeof(path));
	if (linkat(e->dir->fd, e->name, k->objects_fd, path, 0) == 0) {
		/* The name may have been given to something else, a symbolic link perhaps. */
		if (tree_stat(k->objects_fd, path, &obj) == 0 && obj.stx_ino == e->st.stx_ino)
			return 0;
		return changed(k, e);
	}
	return say(k->err, k->err_size, -errno,
		   "%s/%s: no hard link can be made: %s; the tree is "
		   "unchanged",
		   k->a->dir, e->path, strerror(errno));
}

static int read_target(struct adopt *k, const struct tree_entry *e, struct inode_row *r, char *buf)
{
	ssize_t n = readlinkat(e->dir->fd, e->name, buf, STORE_TARGET_MAX + 1);

	if (n <= 0 || n > (ssize_t)STORE_TARGET_MAX)
		return adopt_trouble(k, n < 0 ? -errno : -EINVAL, "a symbolic link cannot be read");
	buf[n] = 0;
	r->pub.target = buf;
	r->target_len = (uint32_t)n;
	r->pub.size = (uint64_t)n;
	return 0;
}

static void count_inode(struct adopt *k, const struct inode_row *r)
{
	if (r->pub.type == STORE_REG)
		k->n->files++;
	else if (r->pub.type == STORE_LNK)
		k->n->symlinks++;
	else
		k->n->specials++;
	k->n->bytes += r->pub.type == STORE_REG ? r->pub.size : 0;
}

static int build_inode(struct adopt *k, const struct tree_entry *e, uint64_t ino)
{
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;
	int err = 0;

	row_of(k, &r, ino, &e->st);
	count_inode(k, &r);
	if (r.pub.type == STORE_REG)
		err = link_object(k, e, ino);
	else if (r.pub.type == STORE_LNK)
		err = read_target(k, e, &r, target);
	if (err == 0)
		err = put_xattrs(k, e->dir->fd, e->name, &r);
	if (err == 0 && e->st.stx_nlink > 1)
		err = linked_put(k, e->st.stx_ino,
				 &(struct linked){.ino = ino, .names = e->st.stx_nlink, .seen = 1});
	return err ? err : put_inode(k, &r);
}

static int build_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	bool is_dir = S_ISDIR(e->st.stx_mode);
	uint64_t ino = 0;
	int err;

	if (adopt_leaves(k, e))
		return TREE_SKIP;
	adopt_progress(k, "linking");
	adopt_point(k, 3, true);
	err = is_dir ? 0 : linked_again(k, &e->st, &ino);
	if (err == 0 && ino == 0) {
		ino = k->next_ino++;
		k->files++;
		if (is_dir)
			e->dir->subdirs++;
		else
			err = build_inode(k, e, ino);
	}
	if (err == 0)
		err = put_entry(k, e->dir, e->name, ino);
	e->child = ino;
	return err ? err : batch_end(k);
}

static int put_dir(struct adopt *k, struct inode_row *r, const struct tree_dir *inside, int fd,
		   const char *name)
{
	int err = put_xattrs(k, fd, name, r);

	r->pub.size = r->pub.used = DIR_SIZE;
	r->pub.nlink = (uint32_t)(2 + inside->subdirs);
	r->pub.parent = inside->up ? inside->up->ino : STORE_ROOT_INO;
	r->entries = inside->entries;
	r->cookie_next = COOKIE_FIRST + inside->cookie;
	k->n->directories++;
	return err ? err : put_inode(k, r);
}

static int build_leave(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside)
{
	struct adopt *k = w->arg;
	struct inode_row r;
	int err;

	row_of(k, &r, e->child, &e->st);
	err = put_dir(k, &r, inside, e->dir->fd, e->name);
	return err ? err : batch_end(k);
}

static int put_root(struct adopt *k, const struct tree_dir *top)
{
	struct inode_row r;

	row_of(k, &r, STORE_ROOT_INO, &k->root);
	r.pub.atime_ns = k->times.atime_ns;
	r.pub.mtime_ns = k->times.mtime_ns;
	r.pub.ctime_ns = k->times.ctime_ns;
	return put_dir(k, &r, top, k->dir_fd, ".");
}

static int put_meta(struct adopt *k)
{
	static const uint8_t key[2] = {TABLE_META, 0}, verifier_key[2] = {TABLE_STATE, 'v'};
	struct meta m = {.next_ino = k->next_ino, .files = k->files, .clean = true};
	uint8_t val[META_SIZE];
	struct timespec ts;
	int err = put(k, verifier_key, sizeof(verifier_key), &k->seed, sizeof(k->seed));

	clock_gettime(CLOCK_REALTIME, &ts);
	m.time_ns = (int64_t)ts.tv_sec * (int64_t)NSEC + ts.tv_nsec;
	meta_encode(&m, val);
	return err ? err : put(k, key, sizeof(key), val, sizeof(val));
}

int adopt_build(struct adopt *k)
{
	struct tree_walk w = {.each = build_each,
			      .leave = build_leave,
			      .arg = k,
			      .err = k->err,
			      .err_size = k->err_size};
	struct tree_dir top = {.fd = k->dir_fd, .ino = STORE_ROOT_INO};
	int err = both_begin(k);

	k->next_ino = STORE_ROOT_INO + 1;
	k->files = 1;
	if (err == 0)
		err = tree_walk(&w, &top);
	if (err == 0)
		err = put_root(k, &top);
	if (err == 0)
		err = put_meta(k);
	if (err == 0)
		err = both_commit(k);
	if (err == 0)
		err = both_begin(k);
	if (err == 0)
		err = linked_finish(k);
	return err ? err : both_commit(k);
}

/* ---- comparing: did anybody change the tree while it was read? ----------------------------- */

/* The row of a name: 0, -ENOENT, or trouble. */
static int row_of_name(struct adopt *k, uint64_t dir, const char *name, struct inode_row *r)
{
	uint8_t key[ROW_KEY_MAX];
	struct index_row row;
	uint64_t ino;
	int err = index_get(k->x, key, key_name(key, dir, name, strlen(name)), &row);

	if (err == 0 && row.val_len != 16)
		err = -EUCLEAN;
	if (err)
		return err;
	ino = be64(row.val);
	err = index_get(k->x, key, key_inode(key, ino), &row);
	if (err == 0)
		err = inode_row_decode(r, row.val, row.val_len);
	if (err)
		return -EUCLEAN;
	r->pub.ino = ino;
	return 0;
}

static bool same_data(const struct inode_row *r, const struct statx *st)
{
	return r->pub.type != STORE_REG ||
	       (r->pub.size == st->stx_size && r->pub.mtime_ns == tree_ns(st->stx_mtime));
}

static bool same_file(const struct inode_row *r, const struct statx *st)
{
	return r->pub.type == type_of(st->stx_mode) && r->pub.mode == (st->stx_mode & 07777U) &&
	       r->pub.uid == st->stx_uid && r->pub.gid == st->stx_gid &&
	       r->pub.mtime_ns == tree_ns(st->stx_mtime) && same_data(r, st);
}

static int compare_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	struct inode_row r;
	int err;

	if (adopt_leaves(k, e))
		return TREE_SKIP;
	adopt_progress(k, "comparing");
	adopt_point(k, 4, true);
	err = row_of_name(k, e->dir->ino, e->name, &r);
	if (err == -ENOENT || (err == 0 && !same_file(&r, &e->st)))
		return changed(k, e);
	if (err)
		return index_trouble(k, k->x, err);
	e->dir->entries++;
	e->child = r.pub.ino;
	return 0;
}

static int compare_count(struct adopt *k, struct tree_entry *e, uint64_t ino, uint64_t entries)
{
	struct inode_row r;
	struct index_row row;
	uint8_t key[9];
	int err = index_get(k->x, key, key_inode(key, ino), &row);

	if (err == 0)
		err = inode_row_decode(&r, row.val, row.val_len);
	if (err)
		return index_trouble(k, k->x, err);
	return r.entries == entries ? 0 : changed(k, e);
}

static int compare_leave(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside)
{
	return compare_count(w->arg, e, inside->ino, inside->entries);
}

int adopt_compare(struct adopt *k)
{
	struct tree_walk w = {.each = compare_each,
			      .leave = compare_leave,
			      .arg = k,
			      .err = k->err,
			      .err_size = k->err_size};
	struct tree_dir top = {.fd = k->dir_fd, .ino = STORE_ROOT_INO};
	struct tree_entry self = {.dir = &top, .name = ".", .path = "."};
	int err = tree_walk(&w, &top);

	return err ? err : compare_count(k, &self, STORE_ROOT_INO, top.entries);
}

/* ---- the end of the old names -------------------------------------------------------------- */

/* Written to after the comparison: the object has it, for it is the same file; the row follows. */
static int late_change(struct adopt *k, struct inode_row *r, const struct statx *st)
{
	uint8_t key[9], val[ROW_INODE_MAX];
	int err = index_write_begin(k->x);

	HF_MARK("adopt.late_change");
	r->pub.size = st->stx_size;
	r->pub.used = st->stx_blocks * BLOCK;
	r->pub.mtime_ns = r->pub.ctime_ns = tree_ns(st->stx_mtime);
	k->n->late++;
	if (err == 0)
		err = index_put(k->x, key, key_inode(key, r->pub.ino), val,
				inode_row_encode(r, val, sizeof(val)));
	if (err == 0)
		err = index_write_commit(k->x);
	if (err == 0)
		err = index_renew(k->x);
	return err ? index_trouble(k, k->x, err) : 0;
}

/* Is this name's file the very one that the store has? */
static bool same_object(struct adopt *k, const struct inode_row *r, const struct statx *st)
{
	struct statx obj;
	char path[48];

	if (r->pub.type != type_of(st->stx_mode))
		return false;
	if (r->pub.type != STORE_REG)
		return r->pub.type == STORE_DIR || r->pub.mtime_ns == tree_ns(st->stx_mtime);
	object_path(r->pub.ino, path, sizeof(path));
	return tree_stat(k->objects_fd, path, &obj) == 0 && obj.stx_ino == st->stx_ino;
}

static int strange(struct adopt *k, const struct tree_entry *e)
{
	HF_MARK("adopt.strange");
	if (*map64_put(&k->strange, e->st.stx_ino + 1) == 0)
		adopt_find(k, ADOPT_NOTE, e->path,
			   "came after the store was committed: left where it "
			   "is");
	*map64_put(&k->strange, e->st.stx_ino + 1) = 1;
	return TREE_SKIP;
}

static int remove_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	struct inode_row r;
	int err;

	if (adopt_leaves(k, e))
		return TREE_SKIP;
	adopt_progress(k, "removing old names");
	adopt_point(k, 7, true);
	err = row_of_name(k, e->dir->ino, e->name, &r);
	if (err == -ENOENT)
		return strange(k, e);
	if (err)
		return index_trouble(k, k->x, err);
	if (!same_object(k, &r, &e->st))
		return strange(k, e);
	e->child = r.pub.ino;
	if (r.pub.type == STORE_DIR)
		return 0;
	if (!same_data(&r, &e->st) && (err = late_change(k, &r, &e->st)) != 0)
		return err;
	if (unlinkat(e->dir->fd, e->name, 0) && errno != ENOENT)
		return adopt_trouble(k, -errno, "an old name cannot be removed");
	return TREE_GONE;
}

static int remove_leave(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside)
{
	struct adopt *k = w->arg;

	(void)inside;
	if (unlinkat(e->dir->fd, e->name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return TREE_GONE;
	/* Something strange is in it, and was told. */
	return errno == ENOTEMPTY || errno == EEXIST
		   ? 0
		   : adopt_trouble(k, -errno, "an old directory cannot be removed");
}

int adopt_remove_names(struct adopt *k)
{
	struct tree_walk w = {.each = remove_each,
			      .leave = remove_leave,
			      .removes = true,
			      .arg = k,
			      .err = k->err,
			      .err_size = k->err_size};
	struct tree_dir top = {.fd = k->dir_fd, .ino = STORE_ROOT_INO};
	int err = tree_walk(&w, &top);

	if (err || !k->strange.count)
		return err;
	return say(k->err, k->err_size, -ENOTEMPTY,
		   "%s: %llu names came after the store was committed; "
		   "move them away, then run the same command again",
		   k->a->dir, (unsigned long long)k->strange.count);
}
