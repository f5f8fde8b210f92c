/* adopt_look.c - can this tree be taken?  Step 1 of adopt, and all of its dry run.
 *
 * Every name is looked at; nothing is changed, not even an access time where the kernel allows
 * that.  What cannot be taken is told name by name, and one such name is enough to begin nothing:
 * a tree is taken whole or not at all.  What will be different is a note. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/trace.h"
#include "store/adopt_impl.h"

#define LINKED_MAX ((size_t)4 << 20) /* inodes with several names that are counted; more: a note   \
				      */
#define NO_LINKS_FAT   0x4d44L
#define NO_LINKS_EXFAT 0x2011BAB0L
#define BUILD_FACTOR   3.5 /* of the time of looking: linking, rows, comparing, removing */
#define ZERO_RATE      (100.0 * (1 << 20)) /* bytes of log a second, slow disk */

static void cannot(struct adopt *k, const struct tree_entry *e, const char *what)
{
	adopt_find(k, ADOPT_CANNOT, e->path, what);
}

/* ---- names of one kind or another ---------------------------------------------------------- */

static bool other_file_system(const struct adopt *k, const struct statx *st)
{
	return st->stx_dev_major != k->root.stx_dev_major ||
	       st->stx_dev_minor != k->root.stx_dev_minor ||
	       (st->stx_attributes & st->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
}

static void look_flags(struct adopt *k, const struct tree_entry *e)
{
	uint64_t on = e->st.stx_attributes & e->st.stx_attributes_mask;

	if (on & STATX_ATTR_IMMUTABLE)
		cannot(k, e, "immutable: take the flag away first (chattr -i)");
	else if (on & STATX_ATTR_APPEND)
		cannot(k, e, "append-only: take the flag away first (chattr -a)");
	if (on & STATX_ATTR_ENCRYPTED)
		cannot(k, e, "encrypted by the file system");
}

static void look_times(struct adopt *k, const struct tree_entry *e)
{
	if (!tree_time_fits(e->st.stx_atime) || !tree_time_fits(e->st.stx_mtime))
		cannot(k, e, "has a time after the year 2262: give it another first (touch)");
}

static void look_owner(struct adopt *k, const struct tree_entry *e)
{
	if (!k->fowner && e->st.stx_uid != geteuid())
		cannot(k, e, "belongs to another user: only root can take it");
	else if (!k->fowner && S_ISDIR(e->st.stx_mode) && (e->st.stx_mode & 0700) != 0700)
		cannot(k, e, "its owner may not read and change it: only root can take it");
}

static void look_file(struct adopt *k, const struct tree_entry *e)
{
	uint32_t project;

	if (e->st.stx_size > STORE_FILE_SIZE_MAX)
		cannot(k, e, "larger than a file of a store can be");
	if (strcmp(e->name, "LABEL") == 0 && adopt_is_store(e->dir->fd))
		cannot(k, e, "the directory is a store: release it, or move it away");
	switch (tree_in_use(e->dir->fd, e->name, &project)) {
	case TREE_USE_FREE:
		break;
	case TREE_USE_WRITER:
		cannot(k, e, "open for writing: end the program that has it open (fuser)");
		break;
	case TREE_USE_LOCKED:
		cannot(k, e, "locked: end the program that holds the lock (fuser)");
		break;
	}
	if (k->inherits && project != k->project)
		cannot(k, e, "has another project (quota) number than the directory");
}

static void look_dir(struct adopt *k, const struct tree_entry *e)
{
	bool inherits;

	if ((strcmp(e->name, "index") == 0 || strcmp(e->name, "objects") == 0) &&
	    adopt_was_store(e->dir->fd))
		cannot(k, e, "a part of a store whose LABEL is damaged or missing: restore that, or "
			     "move it away");
	if (e->dir->depth + 1 == TREE_DEPTH_MAX)
		cannot(k, e, "too many directories in each other");
	if (tree_project(e->dir->fd, &inherits) != 0 && e->dir->up == NULL && e->dir->entries == 0)
		adopt_find(k, ADOPT_NOTE, ".",
			   "project (quota) numbers of directories are not kept");
}

static int note_acl(void *arg, const char *name, const void *value, size_t len)
{
	struct adopt *k = arg;

	(void)value;
	(void)len;
	k->n->xattrs++;
	if (strncmp(name, "system.posix_acl", 16) == 0)
		k->n->acls++;
	return 0;
}

/* ---- several names ------------------------------------------------------------------------- */

/* Is this the first name of its inode? */
static bool count_link(struct adopt *k, const struct tree_entry *e)
{
	uint64_t *left;

	if (e->st.stx_nlink < 2 || S_ISDIR(e->st.stx_mode))
		return true;
	if (k->linked.count >= LINKED_MAX && !map64_find(&k->linked, e->st.stx_ino))
		return true;
	left = map64_put(&k->linked, e->st.stx_ino);
	if (*left == 0) {
		*left = e->st.stx_nlink;
		return true;
	}
	--*left;
	return false;
}

static void look_outside(struct adopt *k)
{
	char what[160];

	for (size_t i = 0; k->linked.count && i <= k->linked.mask; i++)
		if (k->linked.slot[i].key && k->linked.slot[i].val > 1)
			k->n->outside++;
	if (k->linked.count >= LINKED_MAX)
		adopt_find(k, ADOPT_NOTE, ".",
			   "too many hard links to say whether all names are "
			   "inside");
	if (!k->n->outside)
		return;
	HF_MARK("adopt.outside");
	snprintf(what, sizeof(what),
		 "%llu files have other names outside of this tree: what is done "
		 "there is done to the store's data (owner and mode become the store's)",
		 (unsigned long long)k->n->outside);
	adopt_find(k, ADOPT_NOTE, ".", what);
}

/* ---- the walk ------------------------------------------------------------------------------ */

static void count_inode(struct adopt *k, const struct statx *st)
{
	if (S_ISDIR(st->stx_mode))
		k->n->directories++;
	else if (S_ISLNK(st->stx_mode))
		k->n->symlinks++;
	else if (!S_ISREG(st->stx_mode))
		k->n->specials++;
	else
		k->n->files++;
	if (S_ISREG(st->stx_mode))
		k->n->bytes += st->stx_size;
}

static int look_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	int err;

	if (adopt_leaves(k, e))
		return TREE_SKIP;
	if (other_file_system(k, &e->st)) {
		cannot(k, e,
		       "another file system is mounted here: adopt it by itself, or unmount it");
		return TREE_SKIP;
	}
	k->n->names++;
	e->dir->entries++;
	adopt_progress(k, "looking");
	if (strlen(e->name) > STORE_NAME_MAX)
		cannot(k, e, "a name of more than 255 bytes");
	if (e->dir->up == NULL && (strcmp(e->name, RELEASE_WORK) == 0))
		cannot(k, e, "is what an unfinished release left: finish that one");
	look_flags(k, e);
	look_times(k, e);
	look_owner(k, e);
	if (!S_ISDIR(e->st.stx_mode) && e->st.stx_nlink >= STORE_LINK_MAX)
		cannot(k, e, "has 65,000 names or more");
	if (!count_link(k, e))
		return TREE_SKIP;
	count_inode(k, &e->st);
	if (S_ISREG(e->st.stx_mode))
		look_file(k, e);
	else if (S_ISDIR(e->st.stx_mode))
		look_dir(k, e);
	err = tree_xattr_each(e->dir->fd, e->name, note_acl, k);
	if (err)
		cannot(k, e, "its extended attributes cannot be read (is /proc mounted?)");
	/* What cannot be entered is told already. */
	return !k->fowner && (e->st.stx_mode & 0700) != 0700 ? TREE_SKIP : 0;
}

/* ---- what surrounds it --------------------------------------------------------------------- */

static void look_space(struct adopt *k)
{
	uint64_t need = 2 * k->a->conf.log_half_bytes + k->n->index_bytes;
	struct statvfs v;
	char what[160];

	if (k->n->index_bytes > k->a->conf.index_map_bytes)
		adopt_find(k, ADOPT_CANNOT, ".", "more names than the index may hold (index map)");
	if (fstatvfs(k->dir_fd, &v) || v.f_bavail * v.f_frsize >= need)
		return;
	snprintf(what, sizeof(what), "log and index need about %llu MiB, %llu are free",
		 (unsigned long long)(need >> 20),
		 (unsigned long long)(v.f_bavail * v.f_frsize >> 20));
	adopt_find(k, ADOPT_CANNOT, ".", what);
}

static void look_file_system(struct adopt *k)
{
	struct statfs fs;

	if (fstatfs(k->dir_fd, &fs) == 0 &&
	    (fs.f_type == NO_LINKS_FAT || fs.f_type == NO_LINKS_EXFAT))
		adopt_find(k, ADOPT_CANNOT, ".", "this file system has no hard links");
}

static void look_notes(struct adopt *k)
{
	char what[160];

	look_outside(k);
	if (k->n->acls) {
		snprintf(what, sizeof(what),
			 "%llu POSIX ACLs are kept and come back with a release; "
			 "while the store is served they grant and forbid nothing",
			 (unsigned long long)k->n->acls);
		adopt_find(k, ADOPT_NOTE, ".", what);
	}
	if (k->n->specials && !tree_capable(CAP_MKNOD))
		adopt_find(k, ADOPT_NOTE, ".",
			   "there are special files; devices can only be given back "
			   "by root");
}

int adopt_look(struct adopt *k)
{
	struct tree_walk w = {.each = look_each, .arg = k, .err = k->err, .err_size = k->err_size};
	struct tree_dir top = {.fd = k->dir_fd, .ino = STORE_ROOT_INO};
	struct tree_entry self = {.dir = &top, .name = ".", .path = ".", .st = k->root};
	int err;

	k->fowner =
	    tree_capable(CAP_FOWNER) && tree_capable(CAP_DAC_OVERRIDE) && tree_capable(CAP_CHOWN);
	k->project = tree_project(k->dir_fd, &k->inherits);
	look_flags(k, &self);
	look_times(k, &self);
	look_owner(k, &self);
	look_file_system(k);
	if (k->a->give && k->a->uid != geteuid() && !tree_capable(CAP_CHOWN))
		adopt_find(k, ADOPT_CANNOT, ".", "only root can give a store to another user");
	if (!k->fowner && k->n->cannot)
		return -EINVAL;
	count_inode(k, &k->root);
	err = tree_xattr_each(k->dir_fd, ".", note_acl, k);
	if (err)
		return adopt_trouble(k, err,
				     "extended attributes cannot be read (is /proc mounted?)");
	err = tree_walk(&w, &top);
	k->n->index_bytes = adopt_index_bytes(k->n);
	look_notes(k);
	look_space(k);
	map64_fini(&k->linked);
	k->n->seconds = (double)(loop_clock_ns() - k->began_ns) / 1e9 * BUILD_FACTOR +
			2 * (double)k->a->conf.log_half_bytes / ZERO_RATE;
	if (err == 0 && k->n->cannot)
		err = -EINVAL;
	return err;
}
