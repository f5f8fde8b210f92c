/* release.c - a store becomes a plain tree again, in place: the steps, and where a new run goes on.
 *
 *	1 begin    DIR is locked; the log is recovered into index and objects and ends empty; from
 *	           then on the store is only read
 *	2 look     what cannot be given back ends it (release_tree.c)
 *	3 build    in the work folder DIR/.holdfast-release/tree: directories, a hard link for each
 *	           name of a file, links and special files; closed to all but the store's user
 *	4 sync     everything is made durable
 *	5 commit   LABEL moves from DIR into the work folder: DIR is no store any more
 *	6 move     the store's parts move into the work folder, then the tree's names into DIR
 *	7 set      owners, extended attributes, modes, times; directories after what is in them
 *	8 done     everything is made durable, then LABEL becomes DONE in the work folder
 *	9 end      the work folder goes with the store in it; DIR gets its own owner, mode, times
 *
 * Why a crash anywhere loses nothing:
 *  - Up to 4 the store is as it was: objects have names more, nothing else.  It may be served
 *    again; a new run throws away what was built and begins at 1.
 *  - LABEL's place is the one fact that decides; it moves by a rename after a syncfs of all that
 *    the tree needs.  Without LABEL no worker opens DIR.  A new run goes forward from 6.
 *  - 6 moves names that are in one place or in the other; 7 sets what is set already, again.
 *  - The store goes only when DONE says that every name has its attributes and every object has
 *    another name.  What a crash leaves of it a new run removes.
 *  - DIR's own times come last, for taking the work folder away changes them.  A crash between
 *    these two system calls leaves DIR (nothing below) with the time of the removal. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "store/adopt_impl.h"

#define CACHE_INODES 20000U
#define WAIT_NS      (NSEC / 10)
#define BUILD_FACTOR 4.0 /* of the time of looking: linking, attributes, removing */

static const char *const parts[] = {"index", "log", "objects"};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* ---- 1 begin ------------------------------------------------------------------------------- */

static void on_closed(void *arg, int err)
{
	*(int *)arg = err;
}

/* A whole life of the store: recovery, a checkpoint of everything, an orderly end. */
static int log_drain(struct adopt *k, uint64_t epoch)
{
	struct store_open_args a = {.dir = k->a->dir, .epoch = epoch, .conf = k->a->conf};
	int err = loop_new(&a.loop, 64), closed = 1;
	struct store *s;

	if (err)
		return adopt_trouble(k, err, "io_uring is refused: the log cannot be written");
	err = store_open(&s, &a, k->err, k->err_size);
	if (err == 0) {
		store_close(s, on_closed, &closed);
		while (closed > 0)
			loop_once(a.loop, WAIT_NS);
		store_free(s);
		while (loop_busy(a.loop))
			loop_once(a.loop, WAIT_NS);
		if (closed)
			err = adopt_trouble(k, closed, "the log cannot be taken over");
	}
	loop_free(a.loop);
	return err;
}

static int store_look(struct adopt *k, const char *dir, struct recovered *from)
{
	int err = store_open_dry(&k->s, dir, from, k->err, k->err_size);

	if (err == 0)
		k->s->conf.cache_inodes = CACHE_INODES;
	return err;
}

static int begin(struct adopt *k)
{
	struct recovered from;
	int err = store_look(k, k->a->dir, &from);
	bool owner;

	if (err || k->a->dry_run || k->s->was_clean)
		return err;
	store_free(k->s);
	k->s = NULL;
	/* It may have to be served again: if something cannot be given back. */
	owner = store_as_owner(k->a->dir);
	err = log_drain(k, from.epoch + 1);
	store_as_self(owner);
	return err ? err : store_look(k, k->a->dir, &from);
}

/* ---- 3 build, 4 sync, 5 commit ------------------------------------------------------------- */

static int work_make(struct adopt *k)
{
	int err = tree_remove(k->dir_fd, RELEASE_WORK);

	if (err == 0)
		err = adopt_mkdir(k->dir_fd, RELEASE_WORK);
	if (err == 0 && (k->work_fd = adopt_dir(k->dir_fd, RELEASE_WORK)) < 0)
		err = k->work_fd;
	if (err == 0)
		err = adopt_mkdir(k->work_fd, "tree");
	if (err == 0)
		err = adopt_mkdir(k->work_fd, "made");
	if (err == 0)
		err = adopt_mkdir(k->work_fd, "store");
	return err ? adopt_trouble(k, err, "the work folder " RELEASE_WORK " cannot be made") : 0;
}

static int work_open(struct adopt *k)
{
	k->tree_fd = adopt_dir(k->work_fd, "tree");
	k->made_fd = adopt_dir(k->work_fd, "made");
	k->store_fd = adopt_dir(k->work_fd, "store");
	if (k->tree_fd < 0 || k->made_fd < 0 || k->store_fd < 0)
		return adopt_trouble(k, -EIO, "the work folder " RELEASE_WORK " is not complete");
	return 0;
}

static int commit(struct adopt *k)
{
	int err = 0;

	if (syncfs(k->dir_fd))
		return adopt_trouble(k, -errno, "cannot be made durable");
	adopt_point(k, 4, false);
	if (renameat(k->dir_fd, "LABEL", k->store_fd, "LABEL"))
		return adopt_trouble(k, -errno, "LABEL cannot be moved");
	k->n->committed = true;
	if (sync_dir(k->store_fd) || sync_dir(k->dir_fd))
		err = adopt_trouble(k, -errno, "cannot be made durable");
	adopt_point(k, 5, false);
	return err;
}

/* ---- 6 move -------------------------------------------------------------------------------- */

static int move_name(struct adopt *k, int from, int to, const char *name)
{
	int err = adopt_rename(from, to, name);

	if (err)
		return say(k->err, k->err_size, err, "%s/%s: cannot be moved: %s", k->a->dir, name,
			   strerror(-err));
	adopt_point(k, 6, true);
	return 0;
}

static int move_parts(struct adopt *k)
{
	int err = 0;

	for (size_t i = 0; i < PARTS && !err; i++)
		if (!adopt_exists(k->store_fd, parts[i]))
			err = move_name(k, k->dir_fd, k->store_fd, parts[i]);
	if (err == 0 && (sync_dir(k->store_fd) || sync_dir(k->dir_fd)))
		err = adopt_trouble(k, -errno, "cannot be made durable");
	return err;
}

/* Until none is left: names go while the folder is read. */
static int move_tree(struct adopt *k)
{
	int fd = adopt_dir(k->tree_fd, "."), err = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool moved = true;

	if (!d)
		return adopt_trouble(k, -errno, "the built tree cannot be read");
	for (; moved && !err; rewinddir(d)) {
		moved = false;
		while (!err && (e = readdir(d)) != NULL) {
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			err = move_name(k, k->tree_fd, k->dir_fd, e->d_name);
			moved = true;
		}
	}
	closedir(d);
	if (err == 0 && (sync_dir(k->tree_fd) || sync_dir(k->dir_fd)))
		err = adopt_trouble(k, -errno, "cannot be made durable");
	return err;
}

/* ---- 7 set, 8 done, 9 end ------------------------------------------------------------------ */

static int done(struct adopt *k)
{
	int err = release_objects(k);

	if (err)
		return err;
	err = root_times_write(k->work_fd, &k->times);
	k->times_known = true;
	if (err == 0 && syncfs(k->dir_fd))
		err = -errno;
	if (err == 0 && renameat(k->store_fd, "LABEL", k->work_fd, "DONE"))
		err = -errno;
	if (err == 0)
		err = sync_dir(k->work_fd);
	adopt_point(k, 8, false);
	return err ? adopt_trouble(k, err, "cannot be made durable") : 0;
}

/* What an owner needs to take the folder away is lent until it is gone. */
static int end(struct adopt *k)
{
	const struct root_times *t = &k->times;
	int err = 0;

	if (k->times_known && (k->root.stx_uid != t->uid || k->root.stx_gid != t->gid) &&
	    fchown(k->dir_fd, t->uid, t->gid))
		err = -errno;
	if (k->times_known && err == 0 && fchmod(k->dir_fd, t->mode | 0700))
		err = -errno;
	/* ROOT goes last: a run that ends before finds it. */
	if (err == 0)
		err = tree_remove(k->work_fd, "store");
	adopt_point(k, 9, true);
	if (err == 0)
		err = tree_remove(k->work_fd, "tree");
	if (err == 0)
		err = tree_remove(k->work_fd, "made");
	if (err == 0)
		err = tree_remove(k->work_fd, "DONE");
	adopt_point(k, 9, true);
	if (err == 0)
		err = tree_remove(k->dir_fd, RELEASE_WORK);
	if (k->times_known && err == 0 && fchmod(k->dir_fd, t->mode))
		err = -errno;
	if (k->times_known && err == 0)
		err = tree_set_times(k->dir_fd, ".", t->atime_ns, t->mtime_ns);
	if (err == 0)
		err = sync_dir(k->dir_fd);
	adopt_point(k, 9, false);
	return err ? adopt_trouble(k, err, "the work folder " RELEASE_WORK " cannot be removed")
		   : 0;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static int objects_open(struct adopt *k, int dir_fd)
{
	k->objects_fd = adopt_dir(dir_fd, "objects");
	return k->objects_fd < 0 ? adopt_trouble(k, k->objects_fd, "objects") : 0;
}

static int forward(struct adopt *k)
{
	int err = 0;

#ifdef HF_MUTANT_RELEASE_MOVE_SKIPPED
	if (!k->n->resumed)
#endif
		err = move_tree(k);
	adopt_point(k, 6, false);
	if (err == 0)
		err = release_attributes(k);
	adopt_point(k, 7, false);
	if (err == 0)
		err = done(k);
	store_free(k->s);
	k->s = NULL;
	return err ? err : end(k);
}

static int backward(struct adopt *k)
{
	int err = 0;

	if (adopt_was_store(k->dir_fd))
		return adopt_no_label(k);
	if (!adopt_is_store(k->dir_fd))
		return say(k->err, k->err_size, -ENOENT, "%s: not a store: it has no LABEL of one",
			   k->a->dir);
	err = begin(k);
	if (err == 0)
		err = objects_open(k, k->dir_fd);
	adopt_point(k, 1, false);
	if (err == 0)
		err = release_look(k);
	k->n->seconds = (double)(loop_clock_ns() - k->began_ns) / 1e9 * BUILD_FACTOR;
	adopt_point(k, 2, false);
	if (err || k->a->dry_run)
		return err;
	err = work_make(k);
	if (err == 0)
		err = work_open(k);
	if (err == 0)
		err = release_build(k);
	adopt_point(k, 3, false);
	if (err == 0)
		err = commit(k);
	if (err && !k->n->committed)
		(void)tree_remove(k->dir_fd, RELEASE_WORK);
	return err ? err : move_parts(k);
}

/* Committed by an earlier run. */
static int again(struct adopt *k)
{
	size_t n = strlen(k->a->dir) + 64;
	struct recovered from;
	char *path;
	int err = work_open(k);

	if (err == 0)
		err = move_parts(k);
	if (err)
		return err;
	path = mem_alloc(n);
	snprintf(path, n, "%s/" RELEASE_WORK "/store", k->a->dir);
	err = store_look(k, path, &from);
	free(path);
	return err ? err : objects_open(k, k->store_fd);
}

static int resume(struct adopt *k)
{
	int err;

	k->n->resumed = true;
	k->work_fd = adopt_dir(k->dir_fd, RELEASE_WORK);
	if (k->work_fd < 0)
		return adopt_trouble(k, k->work_fd, RELEASE_WORK);
	if (!adopt_exists(k->work_fd, "store/LABEL")) {
		k->times_known = root_times_read(k->work_fd, &k->times) == 0;
		return end(k);
	}
	err = again(k);
	return err ? err : forward(k);
}

static int run(struct adopt *k)
{
	int err = adopt_lock(k);

	if (err)
		return err;
	k->chown = tree_capable(CAP_CHOWN);
	k->mknod = tree_capable(CAP_MKNOD);
	k->fowner = tree_capable(CAP_FOWNER) && tree_capable(CAP_DAC_OVERRIDE);
	if (adopt_exists(k->dir_fd, ADOPT_WORK))
		return say(k->err, k->err_size, -EINVAL,
			   "%s: an adopt is not finished: run holdfast adopt "
			   "again first",
			   k->a->dir);
	k->n->committed = adopt_exists(k->dir_fd, RELEASE_WORK) && !adopt_is_store(k->dir_fd);
	/* Not the commit took LABEL away: it would be in the work folder, or the parts would be gone. */
	if (k->n->committed && !adopt_exists(k->dir_fd, RELEASE_WORK "/store/LABEL") &&
	    adopt_was_store(k->dir_fd))
		return adopt_no_label(k);
	if (k->n->committed && k->a->dry_run) {
		adopt_find(k, ADOPT_NOTE, ".",
			   "a release was begun and is committed: running it finishes "
			   "it");
		return 0;
	}
	if (k->n->committed)
		return resume(k);
	err = backward(k);
	return err || k->a->dry_run ? err : forward(k);
}

int store_release(const struct adopt_args *a, struct adopt_counts *n, char *err, size_t err_size)
{
	struct adopt k;
	int code;

	adopt_begin(&k, a, n, err, err_size);
	code = run(&k);
	store_free(k.s);
	return adopt_end(&k, code, "given back");
}
