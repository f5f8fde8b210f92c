/* release_tree.c - from rows and objects to names with attributes.
 *
 * The store is open for reading only, its log is empty.  Its directories are walked from the root,
 * a few dozen entries at a time, so memory does not depend on their size. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "store/adopt_impl.h"

#define CHUNK      32U /* entries read at a time */
#define LINKED_MAX ((size_t)4 << 20)

struct out_dir {
	struct out_dir *up;
	int fd; /* -1: only looked at */
	unsigned depth;
	uint64_t ino;
};

struct out_entry {
	struct out_dir *dir;
	const char *name, *path;
	struct inode_row row;
	int child_fd; /* each(): of a directory, when there is one to go down into */
};

struct out_walk {
	struct adopt *k;
	int (*each)(struct out_walk *w, struct out_entry *e);
	int (*leave)(struct out_walk *w, struct out_entry *e);
	struct tree_path path;
	char target[STORE_TARGET_MAX + 1];
};

struct chunk {
	uint64_t after;
	unsigned count;
	struct {
		uint64_t ino;
		char name[STORE_NAME_MAX + 1];
	} item[CHUNK];
};

/* ---- walking the store --------------------------------------------------------------------- */

static bool gather(void *arg, uint64_t cookie, uint64_t ino, const char *name, size_t len)
{
	struct chunk *c = arg;

	if (c->count == CHUNK)
		return false;
	c->after = cookie;
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return true;
	c->item[c->count].ino = ino;
	memcpy(c->item[c->count].name, name, len);
	c->item[c->count].name[len] = 0;
	c->count++;
	return true;
}

static int damaged(struct adopt *k, const char *path, const char *what)
{
	return say(k->err, k->err_size, -EUCLEAN, "%s: %s: %s; run holdfast check", k->a->dir, path,
		   what);
}

/* A copy: what the cache has may go with the next look. */
static int row_of(struct out_walk *w, uint64_t ino, struct inode_row *row)
{
	const struct store_inode *pub = store_inode(w->k->s, ino);
	struct inode *ip = pub ? inode_cached(w->k->s, ino) : NULL;

	if (!ip)
		return -ENOENT;
	*row = ip->row;
	if (row->target_len) {
		memcpy(w->target, row->pub.target, row->target_len + 1);
		row->pub.target = w->target;
	}
	return 0;
}

static int out_dir(struct out_walk *w, struct out_dir *d);

static int out_down(struct out_walk *w, struct out_entry *e)
{
	struct out_dir inside = {
	    .up = e->dir, .fd = e->child_fd, .depth = e->dir->depth + 1, .ino = e->row.pub.ino};
	int err = out_dir(w, &inside);

	if (e->child_fd >= 0)
		close(e->child_fd);
	return err || !w->leave ? err : w->leave(w, e);
}

static int out_name(struct out_walk *w, struct out_dir *d, uint64_t ino, const char *name)
{
	struct out_entry e = {.dir = d, .name = name, .child_fd = -1};
	size_t before = tree_path_push(&w->path, name, strlen(name));
	int err = row_of(w, ino, &e.row);

	e.path = w->path.text;
	if (err)
		err = damaged(w->k, e.path, "leads to no inode");
	else if (d->depth >= TREE_DEPTH_MAX)
		err = say(w->k->err, w->k->err_size, -ENAMETOOLONG,
			  "%s: %s: too many directories in each "
			  "other",
			  w->k->a->dir, e.path);
	else
		err = w->each(w, &e);
	if (err == 0 && e.row.pub.type == STORE_DIR)
		err = out_down(w, &e);
	tree_path_pop(&w->path, before);
	return err;
}

static int out_dir(struct out_walk *w, struct out_dir *d)
{
	struct chunk *c = mem_zalloc(1, sizeof(*c));
	bool eof = false;
	int err = 0;

	while (!err && !eof) {
		c->count = 0;
		err = store_readdir(w->k->s, d->ino, c->after, gather, c, &eof);
		if (err)
			err = damaged(w->k, w->path.len ? w->path.text : ".", "cannot be listed");
		for (unsigned i = 0; i < c->count && !err; i++)
			err = out_name(w, d, c->item[i].ino, c->item[i].name);
	}
	free(c);
	return err;
}

static int out_walk(struct out_walk *w, int fd)
{
	struct out_dir top = {.fd = fd, .ino = STORE_ROOT_INO};
	int err = out_dir(w, &top);

	free(w->path.text);
	return err;
}

static int trouble(struct out_walk *w, const struct out_entry *e, int code, const char *what)
{
	return say(w->k->err, w->k->err_size, code, "%s: %s: %s: %s", w->k->a->dir, e->path, what,
		   strerror(-code));
}

/* ---- rows of extended attributes ----------------------------------------------------------- */

typedef int xattr_row_fn(struct out_walk *w, const struct out_entry *e, const char *name,
			 const uint8_t *value, size_t len);

static int xattr_rows(struct out_walk *w, const struct out_entry *e, xattr_row_fn *each)
{
	uint8_t key[ROW_KEY_MAX];
	char name[STORE_NAME_MAX + 1];
	size_t prefix = key_xattr(key, e->row.pub.ino, "", 0), len;
	struct index_row row;
	const uint8_t *value;
	int err = e->row.has_xattr ? index_seek(w->k->s->index, key, prefix, &row) : -ENOENT;

	while (err == 0 && row.key_len > prefix && memcmp(row.key, key, prefix) == 0) {
		memcpy(name, row.key + prefix, row.key_len - prefix);
		name[row.key_len - prefix] = 0;
		err = xattr_decode(row.val, row.val_len, &value, &len);
		if (err)
			return damaged(w->k, e->path, "an extended attribute cannot be decoded");
		err = each(w, e, name, value, len);
		if (err)
			return err;
		err = index_next(w->k->s->index, &row);
	}
	return err == -EUCLEAN ? damaged(w->k, e->path, "the index cannot be read") : 0;
}

/* ---- 2 look -------------------------------------------------------------------------------- */

static void cannot(struct out_walk *w, const struct out_entry *e, const char *what)
{
	adopt_find(w->k, ADOPT_CANNOT, e->path, what);
}

static int look_xattr(struct out_walk *w, const struct out_entry *e, const char *name,
		      const uint8_t *value, size_t len)
{
	(void)value;
	(void)len;
	w->k->n->xattrs++;
	if (strncmp(name, "trusted.", 8) == 0 && !tree_capable(CAP_SYS_ADMIN))
		cannot(w, e, "has a trusted extended attribute: only root can set it");
	return 0;
}

static void look_owner(struct out_walk *w, const struct out_entry *e)
{
	const struct store_inode *p = &e->row.pub;

	if (!w->k->chown && (p->uid != geteuid() || p->gid != getegid()))
		cannot(w, e, "belongs to another user or group: only root can give it to them");
	if (!w->k->mknod && (p->type == STORE_BLK || p->type == STORE_CHR))
		cannot(w, e, "a device: only root can make it");
}

static void look_object(struct out_walk *w, const struct out_entry *e)
{
	struct statx st;
	char path[48];

	if (!e->row.has_object)
		return;
	object_path(e->row.pub.ino, path, sizeof(path));
	if (tree_stat(w->k->objects_fd, path, &st) == 0) {
		if (st.stx_nlink + e->row.pub.nlink > STORE_LINK_MAX)
			cannot(w, e, "would have more than 65,000 names");
	} else if (w->k->s->active->records == 0 && !w->k->s->frozen) {
		cannot(w, e, "its object is missing: run holdfast check");
	}
}

/* Each inode once, as far as there is room to know. */
static bool first_name(struct adopt *k, const struct store_inode *p)
{
	uint64_t *at;

	if (p->type == STORE_DIR || p->nlink < 2)
		return true;
	if (k->linked.count >= LINKED_MAX && !map64_find(&k->linked, p->ino))
		return true;
	at = map64_put(&k->linked, p->ino);
	return ++*at == 1;
}

static void look_count(struct adopt *k, const struct store_inode *p)
{
	k->files++;
	if (p->type == STORE_DIR)
		k->n->directories++;
	else if (p->type == STORE_LNK)
		k->n->symlinks++;
	else if (p->type != STORE_REG)
		k->n->specials++;
	else
		k->n->files++;
	k->n->bytes += p->type == STORE_REG ? p->size : 0;
}

static bool is_part(const char *name)
{
	return strcmp(name, "index") == 0 || strcmp(name, "log") == 0 ||
	       strcmp(name, "objects") == 0 || strcmp(name, "LABEL") == 0;
}

static int look_each(struct out_walk *w, struct out_entry *e)
{
	struct adopt *k = w->k;

	k->n->names++;
	adopt_progress(k, "looking");
	if (!e->dir->up && !is_part(e->name) &&
	    (strcmp(e->name, RELEASE_WORK) == 0 || adopt_exists(k->dir_fd, e->name)))
		cannot(w, e, "the store's directory has something of this name beside the store");
	if (!first_name(k, &e->row.pub))
		return 0;
	look_count(k, &e->row.pub);
	look_owner(w, e);
	look_object(w, e);
	return xattr_rows(w, e, look_xattr);
}

int release_look(struct adopt *k)
{
	struct out_walk w = {.k = k, .each = look_each};
	struct out_entry self = {.name = ".", .path = "."};
	int err = row_of(&w, STORE_ROOT_INO, &self.row);

	if (err)
		return damaged(k, ".", "the store has no root directory");
	look_count(k, &self.row.pub);
	look_owner(&w, &self);
	if (adopt_exists(k->dir_fd, "repaired"))
		adopt_find(k, ADOPT_NOTE, "repaired", "what repairs of the store kept stays here");
	err = xattr_rows(&w, &self, look_xattr);
	if (err == 0)
		err = out_walk(&w, -1);
	if (err == 0 && k->linked.count < LINKED_MAX && k->files != k->s->files)
		adopt_find(k, ADOPT_CANNOT, ".",
			   "there are inodes without a name: run holdfast check");
	map64_fini(&k->linked);
	return err == 0 && k->n->cannot ? -EINVAL : err;
}

/* ---- 3 build ------------------------------------------------------------------------------- */

static mode_t type_bits(enum store_type t)
{
	switch (t) {
	case STORE_DIR:
		return S_IFDIR;
	case STORE_BLK:
		return S_IFBLK;
	case STORE_CHR:
		return S_IFCHR;
	case STORE_LNK:
		return S_IFLNK;
	case STORE_SOCK:
		return S_IFSOCK;
	case STORE_FIFO:
		return S_IFIFO;
	case STORE_REG:
		break;
	}
	return S_IFREG;
}

/* What has no object: closed to everybody else until it gets its owner and mode. */
static int make_new(int fd, const char *name, const struct inode_row *r)
{
	if (r->pub.type == STORE_LNK)
		return symlinkat(r->pub.target, fd, name) ? -errno : 0;
	return mknodat(fd, name, type_bits(r->pub.type) | 0600, makedev(r->pub.major, r->pub.minor))
		   ? -errno
		   : 0;
}

/* The first name of several is made aside, and all are linked to that. */
static int make_shared(struct adopt *k, const struct out_entry *e)
{
	char id[20];
	int err;

	snprintf(id, sizeof(id), "%016llx", (unsigned long long)e->row.pub.ino);
	err = make_new(k->made_fd, id, &e->row);
	if (err && err != -EEXIST)
		return err;
	return linkat(k->made_fd, id, e->dir->fd, e->name, 0) ? -errno : 0;
}

static int make_object(struct adopt *k, const struct out_entry *e)
{
	char path[48];

	object_path(e->row.pub.ino, path, sizeof(path));
	return linkat(k->objects_fd, path, e->dir->fd, e->name, 0) ? -errno : 0;
}

static int build_each(struct out_walk *w, struct out_entry *e)
{
	struct adopt *k = w->k;
	int err;

	adopt_progress(k, "linking");
	adopt_point(k, 3, true);
	if (e->row.pub.type == STORE_DIR) {
		err = mkdirat(e->dir->fd, e->name, 0700) ? -errno : 0;
		if (err == 0)
			e->child_fd = adopt_dir(e->dir->fd, e->name);
		if (err == 0 && e->child_fd < 0)
			err = e->child_fd;
	} else if (e->row.has_object) {
		err = make_object(k, e);
	} else if (e->row.pub.nlink > 1) {
		err = make_shared(k, e);
	} else {
		err = make_new(e->dir->fd, e->name, &e->row);
	}
	return err ? trouble(w, e, err, "cannot be made (the store is unchanged)") : 0;
}

int release_build(struct adopt *k)
{
	struct out_walk w = {.k = k, .each = build_each};

	return out_walk(&w, k->tree_fd);
}

/* ---- 7 attributes -------------------------------------------------------------------------- */

static int xattr_set(struct out_walk *w, const struct out_entry *e, const char *name,
		     const uint8_t *value, size_t len)
{
	int err = tree_xattr_set(e->dir->fd, e->name, name, value, len);

	return err ? trouble(w, e, err, name) : 0;
}

struct prune {
	struct out_walk *w;
	const struct out_entry *e;
};

/* Attributes that it got from where it was made, such as a default ACL of DIR. */
static int xattr_prune(void *arg, const char *name, const void *value, size_t len)
{
	struct prune *p = arg;
	uint8_t key[ROW_KEY_MAX];
	struct index_row row;
	size_t n = strlen(name);

	(void)value;
	(void)len;
	if (n <= STORE_NAME_MAX && p->e->row.has_xattr &&
	    index_get(p->w->k->s->index, key, key_xattr(key, p->e->row.pub.ino, name, n), &row) ==
		0)
		return 0;
	if (tree_xattr_drop(p->e->dir->fd, p->e->name, name) == 0 ||
	    strncmp(name, "security.", 9) == 0)
		return 0;
	return trouble(p->w, p->e, -EPERM, name);
}

/* The object may be shorter (the rest is zeros), or longer (a leftover). */
static int size_set(const struct out_entry *e, uint64_t size)
{
	int fd, err;

	if (fchmodat(e->dir->fd, e->name, 0600, 0))
		return -errno;
	fd = openat(e->dir->fd, e->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, (off_t)size) ? -errno : 0;
	close(fd);
	return err;
}

/* A change of owner takes set-uid bits and capabilities away, an ACL's mask is the mode's group
 * bits: so the order is owner, extended attributes, mode, times. */
static int attributes_set(struct out_walk *w, const struct out_entry *e)
{
	const struct store_inode *p = &e->row.pub;
	struct prune prune = {.w = w, .e = e};
	struct statx st;
	int err = tree_stat(e->dir->fd, e->name, &st);

	if (err == 0 && (st.stx_mode & S_IFMT) != type_bits(p->type))
		err = -EEXIST;
	if (err == 0 && p->type == STORE_REG && st.stx_size != p->size)
		err = size_set(e, p->size);
	if (err == 0 && (st.stx_uid != p->uid || st.stx_gid != p->gid) &&
	    fchownat(e->dir->fd, e->name, p->uid, p->gid, AT_SYMLINK_NOFOLLOW))
		err = -errno;
	if (err)
		return trouble(w, e, err, "owner or size cannot be set");
	err = tree_xattr_each(e->dir->fd, e->name, xattr_prune, &prune);
	if (err == 0)
		err = xattr_rows(w, e, xattr_set);
	if (err)
		return w->k->err[0] ? err : trouble(w, e, err, "extended attributes");
	if (p->type != STORE_LNK && fchmodat(e->dir->fd, e->name, p->mode, 0))
		return trouble(w, e, -errno, "mode cannot be set");
	err = tree_set_times(e->dir->fd, e->name, p->atime_ns, p->mtime_ns);
	return err ? trouble(w, e, err, "times cannot be set") : 0;
}

static int attributes_each(struct out_walk *w, struct out_entry *e)
{
	struct adopt *k = w->k;

	adopt_progress(k, "setting attributes");
	adopt_point(k, 7, true);
	if (e->row.pub.type != STORE_DIR)
		return attributes_set(w, e);
	/* In an earlier run it may have got the mode that its owner may not enter it with. */
	if (!k->fowner && fchmodat(e->dir->fd, e->name, 0700, 0))
		return trouble(w, e, -errno, "mode cannot be set");
	e->child_fd = adopt_dir(e->dir->fd, e->name);
	return e->child_fd < 0 ? trouble(w, e, e->child_fd, "cannot be opened") : 0;
}

static int attributes_leave(struct out_walk *w, struct out_entry *e)
{
	return attributes_set(w, e);
}

/* DIR itself: everything but owner, mode and times, which wait for the end. */
static int attributes_root(struct out_walk *w)
{
	struct out_dir top = {.fd = w->k->dir_fd, .ino = STORE_ROOT_INO};
	struct out_entry self = {.dir = &top, .name = ".", .path = "."};
	struct prune prune = {.w = w, .e = &self};
	int err = row_of(w, STORE_ROOT_INO, &self.row);

	if (err)
		return damaged(w->k, ".", "the store has no root directory");
	w->k->times =
	    (struct root_times){self.row.pub.atime_ns, self.row.pub.mtime_ns, self.row.pub.ctime_ns,
				self.row.pub.mode,     self.row.pub.uid,      self.row.pub.gid};
	err = tree_xattr_each(top.fd, ".", xattr_prune, &prune);
	if (err == 0)
		err = xattr_rows(w, &self, xattr_set);
	if (err == 0 && fchmod(top.fd, 0700)) /* an ACL has opened it */
		err = -errno;
	return err && !w->k->err[0] ? trouble(w, &self, err, "extended attributes") : err;
}

int release_attributes(struct adopt *k)
{
	struct out_walk w = {.k = k, .each = attributes_each, .leave = attributes_leave};
	int err = attributes_root(&w);

	return err ? err : out_walk(&w, k->dir_fd);
}

/* ---- before objects go --------------------------------------------------------------------- */

static int object_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	unsigned long long ino;
	struct inode *ip;

	if (S_ISDIR(e->st.stx_mode) || e->st.stx_nlink > 1 || sscanf(e->name, "%16llx", &ino) != 1)
		return 0;
	ip = store_inode(k->s, ino) ? inode_cached(k->s, ino) : NULL;
	if (!ip || !ip->row.has_object)
		return 0;
	HF_MARK("release.last_name");
	return say(k->err, k->err_size, -EUCLEAN,
		   "%s: objects/%s has no name in the tree; nothing more is "
		   "removed, the store is in %s/" RELEASE_WORK "/store",
		   k->a->dir, e->path, k->a->dir);
}

int release_objects(struct adopt *k)
{
	struct tree_walk w = {
	    .each = object_each, .arg = k, .err = k->err, .err_size = k->err_size};
	struct tree_dir top = {.fd = k->objects_fd};

	return tree_walk(&w, &top);
}
