/* export_dir.c - from paths to directories of a store: the root of an export, mounts below it. */
#include <errno.h>
#include <string.h>

#include "nfs/exports.h"

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

uint64_t export_root(struct export *x, struct store *s)
{
	const struct store_inode *in;
	uint64_t ino = STORE_ROOT_INO;

	if (x->root_ino)
		return x->root_ino;
	if (export_walk(s, &ino, x->dir, strlen(x->dir)) != 0)
		return 0;
	in = store_inode(s, ino);
	if (in && in->type == STORE_DIR)
		x->root_ino = ino;
	return x->root_ino;
}
