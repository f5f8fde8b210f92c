/* check_objects.c - the folders of objects against the inodes.
 *
 * An object that is shorter than its inode is no finding: the rest is zeros (a file that was
 * extended, or data that were never committed).  Nor is one that is longer: an unfinished write
 * leaves that, and the tail is cut before the object is used. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/trace.h"
#include "store/check_impl.h"

#define FOLDERS 256U
#define ULL(x)	((unsigned long long)(x))

int check_object_size(struct check *k, uint64_t ino, uint64_t *size)
{
	struct stat st;
	char path[48];

	object_path(ino, path, sizeof(path));
	if (fstatat(k->s->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	*size = (uint64_t)st.st_size;
	return 1;
}

/* What the log says of it is not carried out yet (when only looking). */
static bool touched(const struct gen *g, uint64_t ino, uint64_t bits)
{
	uint64_t *t = g ? map64_find(&g->touched, ino) : NULL;

	return t && (*t & bits);
}

static bool made_in_log(const struct store *s, uint64_t ino)
{
	return touched(s->active, ino, TOUCH_NEW) || touched(s->frozen, ino, TOUCH_NEW);
}

static bool to_be_unlinked(const struct store *s, uint64_t ino)
{
	for (size_t i = 0; i < s->cp.gone_count; i++)
		if (s->cp.gone[i] == ino)
			return true;
	return touched(s->active, ino, TOUCH_SYNC | TOUCH_NEW | TOUCH_GONE) ||
	       touched(s->frozen, ino, TOUCH_SYNC | TOUCH_NEW | TOUCH_GONE);
}

/* ---- files in the folders -------------------------------------------------------------------- */

struct folder {
	struct check *k;
	int fd;
	char name[16]; /* "aa/bb" */
};

static void throw_away(struct folder *f, const char *name)
{
	char as[300];

	snprintf(as, sizeof(as), "object-%.2s-%.2s-%.200s", f->name, f->name + 3, name);
	if (keep_file(f->k, f->fd, name, as) == 0)
		f->k->fixes++;
}

static void misplaced(struct folder *f, const char *name, uint64_t ino)
{
	struct check *k = f->k;
	struct known *n = known_get(k, ino);
	char want[48];

	object_path(ino, want, sizeof(want));
	if (!found(k, FOUND_OBJECT_PLACE, "objects/%s/%s: belongs to objects/%s", f->name, name, want))
		return;
	if (n && known_type(n) == STORE_REG &&
	    renameat2(f->fd, name, k->s->objects_fd, want, RENAME_NOREPLACE) == 0) {
		n->said |= KNOWN_SEEN;
		k->fixes++;
	} else {
		throw_away(f, name);
	}
}

static void nobodys(struct folder *f, const char *name, uint64_t ino)
{
	struct check *k = f->k;
	struct known *n = known_get(k, ino);
	uint64_t size;

	if (to_be_unlinked(k->s, ino) || map64_find(&k->made, ino) ||
	    !found(k, FOUND_OBJECT_UNKNOWN, "objects/%s/%s: belongs to no inode", f->name, name))
		return;
	if (n || ino == 0 || ino > INT64_MAX || !check_object_size(k, ino, &size)) {
		throw_away(f, name); /* of something that is no file */
		return;
	}
	fix_make_inode(k, ino, STORE_REG, 0, true, size);
}

static void on_file(struct folder *f, const struct dirent *e)
{
	struct check *k = f->k;
	unsigned long long ino;
	struct known *n;
	char path[300], want[48], junk;

	if (strlen(e->d_name) != 16 || sscanf(e->d_name, "%16llx%c", &ino, &junk) != 1 ||
	    (e->d_type != DT_REG && e->d_type != DT_UNKNOWN)) {
		if (found(k, FOUND_OBJECT_NAME, "objects/%s/%.255s: not a file of the store", f->name,
			  e->d_name))
			throw_away(f, e->d_name);
		return;
	}
	object_path(ino, want, sizeof(want));
	snprintf(path, sizeof(path), "%s/%s", f->name, e->d_name);
	n = known_get(k, ino);
	if (strcmp(path, want) != 0)
		misplaced(f, e->d_name, ino);
	else if (!n || known_type(n) != STORE_REG)
		nobodys(f, e->d_name, ino);
	else
		n->said |= KNOWN_SEEN;
}

/* Makes a folder; what stands in its place and is none is kept. */
static int folder_make(struct check *k, const char *name, const char *as)
{
	int top = k->s->objects_fd, fd = openat(top, name, O_PATH | O_DIRECTORY | O_CLOEXEC), err;

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (faccessat(top, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (err = keep_file(k, top, name, as)) != 0)
		return err;
	return mkdirat(top, name, 0700) ? -errno : 0;
}

static int folder_open(struct check *k, const char *name)
{
	int fd = openat(k->s->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char above[3] = {name[0], name[1], '\0'};
	char as[64];
	int why = errno, err;

	if (fd >= 0)
		return fd;
	if (why != ENOENT && why != ENOTDIR)
		return -why;
	if (!found(k, FOUND_FOLDER, "objects/%s: %s", name, strerror(why)))
		return -why;
	snprintf(as, sizeof(as), "object-folder-%s", above);
	err = folder_make(k, above, as);
	snprintf(as, sizeof(as), "object-folder-%s-%s", above, name + 3);
	if (err == 0)
		err = folder_make(k, name, as);
	if (err)
		return err;
	k->fixes++;
	return openat(k->s->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int check_folder(struct check *k, uint64_t i)
{
	struct folder f = {.k = k};
	struct dirent *e;
	DIR *d;

	object_parent(i << 6, f.name, sizeof(f.name));
	f.fd = folder_open(k, f.name);
	if (f.fd < 0)
		return k->repair ? f.fd : 0;
	d = fdopendir(f.fd);
	if (!d)
		return -errno;
	errno = 0;
	while ((e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			on_file(&f, e);
		errno = 0;
	}
	i = (uint64_t)errno;
	closedir(d);
	return -(int)i;
}

/* ---- inodes without their file --------------------------------------------------------------- */

static void missing(struct check *k, const struct known *n)
{
	char target[STORE_TARGET_MAX + 1], path[48];
	struct inode_row r;

	object_path(n->ino, path, sizeof(path));
	if (!found(k, FOUND_OBJECT_MISSING, "inode %llu: its object objects/%s is missing", ULL(n->ino),
		   path) ||
	    fix_get_inode(k, n->ino, &r, target))
		return;
#ifndef HF_MUTANT_CHECK_KEEPS_SIZE
	r.pub.size = r.pub.used = 0;
#endif
	r.has_object = false;
	fix_put_inode(k, &r);
}

int check_objects(struct check *k)
{
	int err = 0;

	for (uint64_t i = 0; i < FOLDERS && err == 0; i++) {
		err = check_folder(k, i);
		if (k->a->progress)
			k->a->progress(k->a->arg, "folders", i + 1, FOLDERS);
	}
	for (size_t i = 0; i < k->count && err == 0; i++) {
		const struct known *n = &k->inode[i];

		if ((n->said & KNOWN_OBJECT) && !(n->said & KNOWN_SEEN) &&
		    !made_in_log(k->s, n->ino))
			missing(k, n);
	}
	return err;
}
