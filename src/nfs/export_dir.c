/* export_dir.c - from paths to directories of a store: the root of an export, mounts below it, and
 * the way up.
 *
 * A directory may be moved out of an export, or the export's path lead to another one than before,
 * while clients are in it.  So ".." in an export of a directory is answered when the way up from
 * there meets the export's root; no other call looks where its object lies. */
#include <errno.h>
#include <string.h>

#include "nfs/exports.h"

#define UP_MAX 4096U /* directories on the way up: longer than a path can be */

int export_walk(struct store *s, uint64_t *ino, const char *path, size_t len)
{
	const char *end = path + len;

	while (path < end) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t n = (size_t)((slash ? slash : end) - path);
		int err;

		if (n > STORE_NAME_MAX)
			return -ENAMETOOLONG;
		if (n == 2 && path[0] == '.' && path[1] == '.')
			return -EACCES;
		err = n ? store_lookup(s, *ino, path, n, ino) : 0;
		if (err)
			return err;
		path += slash ? n + 1 : n;
	}
	return 0;
}

/* What was the root stays it while the name leads nowhere: handles that were given are good. */
uint64_t export_root(struct export *x, struct store *s)
{
	const struct store_inode *in = NULL;
	uint64_t ino = STORE_ROOT_INO;

	if (export_is_whole(x)) {
		x->found = true;
		return x->root_ino = ino;
	}
	if (export_walk(s, &ino, x->dir, strlen(x->dir)) == 0)
		in = store_inode(s, ino);
	x->found = in && in->type == STORE_DIR;
	if (x->found)
		x->root_ino = ino;
	return x->found ? ino : 0;
}

static bool is_inside(const struct export *x, struct store *s, uint64_t ino)
{
#ifdef HF_MUTANT_NFS_UP_AND_OUT
	(void)x, (void)s, (void)ino;
#else
	for (unsigned up = 0; ino != x->root_ino; up++)
		if (ino == STORE_ROOT_INO || up == UP_MAX ||
		    store_lookup(s, ino, "..", 2, &ino) != 0)
			return false;
#endif
	return true;
}

int export_parent(const struct export *x, struct store *s, uint64_t ino, uint64_t *parent)
{
	int err;

	*parent = ino;
	if (ino == x->root_ino)
		return 0;
	err = store_lookup(s, ino, "..", 2, parent);
	if (err || export_is_whole(x))
		return err;
	return is_inside(x, s, *parent) ? 0 : -EACCES;
}
