/* adopt.c - an existing tree becomes a store in place: the steps, and where a new run goes on.
 *
 *	1 look     DIR is locked; every name is looked at; one that cannot be taken ends it, with
 *	           nothing changed (adopt_look.c)
 *	2 begin    the work folder DIR/.holdfast-adopt is made; in it ROOT keeps DIR's own times
 *	3 build    in it a store without LABEL: each file is linked to its object, rows go into
 *	           the index
 *	4 compare  the tree is walked again and held against the rows
 *	5 commit   everything is made durable, then LABEL appears in the work folder's store
 *	6 settle   objects and parts get the owner and mode that the worker needs
 *	7 remove   a name goes when the store has it and its object is that very file
 *	8 move     the parts move up into DIR, LABEL last
 *	9 end      DIR gets the store's mode, the work folder goes
 *
 * Why a crash anywhere loses nothing:
 *  - Up to 5 the tree is only read and linked.  A new run throws away what was built, for the tree
 *    may have been changed meanwhile, and begins at 1.
 *  - LABEL in the work folder is the one fact that decides.  It appears by one rename after a
 *    syncfs of everything that it speaks of.  With it a new run only goes forward, from 6.
 *  - 6 and 7 may be done again from their start: settling what is settled changes nothing; a name
 *    that is gone is not met again.  No name goes that the store does not have, and the data of
 *    one that it has are the object's, for it is the same inode; a write between 4 and 7 is seen at
 *    7 by size and time, and the row follows.
 *  - 8 moves one part after the other, each is in one place or in the other.  DIR is no store
 *    before its LABEL is there, which is last: no worker can open it half moved.
 *  - LABEL in DIR with a work folder beside it means that 9 is left.
 *
 * A second adopt meets the lock on DIR (flock).  A worker finds no LABEL in DIR, and when it does,
 * the lock on it until 9 is over. */
#include "store/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/trace.h"
#include "store/adopt_impl.h"

#define TELL_NS        NSEC
#define ROOT_SIZE      256U
#define BYTES_PER_NAME 360U /* rows of a name and its inode, pages two thirds full */

static const char *const parts[] = {"index", "log", "objects"};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* ---- what all steps use -------------------------------------------------------------------- */

void adopt_find(struct adopt *k, enum adopt_finding f, const char *path, const char *what)
{
	if (f == ADOPT_CANNOT)
		k->n->cannot++;
	else
		k->n->notes++;
	if (k->a->finding)
		k->a->finding(k->a->arg, f, path, what);
}

void adopt_progress(struct adopt *k, const char *step)
{
	uint64_t now;

	if (k->step != step) {
		k->n->done = 0;
		k->step_began_ns = loop_clock_ns();
	}
	k->step = step;
	k->n->done++;
	if (!k->a->progress || k->n->done % 64 != 0)
		return;
	now = loop_clock_ns();
	if (now < k->told_ns + TELL_NS)
		return;
	k->told_ns = now;
	k->n->seconds = (double)(now - k->began_ns) / 1e9;
	k->n->rate = (double)k->n->done * 1e9 / (double)(now - k->step_began_ns + 1);
	k->a->progress(k->a->arg, step, k->n);
}

void adopt_point(struct adopt *k, unsigned step, bool inside)
{
	if (k->a->point)
		k->a->point(k->a->arg, step, inside);
}

int adopt_trouble(struct adopt *k, int code, const char *what)
{
	return say(k->err, k->err_size, code, "%s: %s: %s", k->a->dir, what, strerror(-code));
}

bool adopt_leaves(const struct adopt *k, const struct tree_entry *e)
{
	if (e->dir->up)
		return false;
	if (strcmp(e->name, ADOPT_WORK) == 0)
		return true;
	return k->dir_is_mount && strcmp(e->name, "lost+found") == 0;
}

uint64_t adopt_index_bytes(const struct adopt_counts *n)
{
	return n->names * BYTES_PER_NAME + n->xattrs * BYTES_PER_NAME + ((uint64_t)1 << 20);
}

int sync_dir(int fd)
{
	return fsync(fd) ? -errno : 0;
}

int adopt_mkdir(int dir_fd, const char *name)
{
	return mkdirat(dir_fd, name, 0700) && errno != EEXIST ? -errno : 0;
}

int adopt_dir(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

bool adopt_exists(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int adopt_rename(int from, int to, const char *name)
{
	if (renameat2(from, name, to, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	if (adopt_exists(to, name))
		return -EEXIST;
	return renameat(from, name, to, name) ? -errno : 0;
}

static void restore_times(const struct adopt *k)
{
	(void)tree_set_times(k->dir_fd, ".", k->times.atime_ns, k->times.mtime_ns);
}

/* ---- ROOT: one line of numbers ------------------------------------------------------------- */

int root_times_write(int work_fd, const struct root_times *t)
{
	char text[ROOT_SIZE];
	int n = snprintf(text, sizeof(text), "1 %" PRId64 " %" PRId64 " %" PRId64 " %u %u %u\n",
			 t->atime_ns, t->mtime_ns, t->ctime_ns, t->mode, t->uid, t->gid);
	int fd = openat(work_fd, "ROOT.new", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	int err = 0;
	ssize_t done;

	if (fd < 0)
		return -errno;
	done = write(fd, text, (size_t)n);
	if (done != n)
		err = done < 0 ? -errno : -ENOSPC;
	else if (fsync(fd))
		err = -errno;
	close(fd);
	if (err == 0 && renameat(work_fd, "ROOT.new", work_fd, "ROOT"))
		err = -errno;
	return err ? err : sync_dir(work_fd);
}

int root_times_read(int work_fd, struct root_times *t)
{
	char text[ROOT_SIZE];
	int fd = openat(work_fd, "ROOT", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EBADMSG;
	text[n] = 0;
	return sscanf(text, "1 %" SCNd64 " %" SCNd64 " %" SCNd64 " %u %u %u", &t->atime_ns,
		      &t->mtime_ns, &t->ctime_ns, &t->mode, &t->uid, &t->gid) == 6
		   ? 0
		   : -EBADMSG;
}

/* ---- 2 begin ------------------------------------------------------------------------------- */

int adopt_lock(struct adopt *k)
{
	k->dir_fd = adopt_dir(AT_FDCWD, k->a->dir);
	if (k->dir_fd < 0)
		return adopt_trouble(k, k->dir_fd, "not a directory that can be opened");
	if (flock(k->dir_fd, LOCK_EX | LOCK_NB))
		return say(k->err, k->err_size, -EBUSY, "%s: another adopt or release is at work",
			   k->a->dir);
	if (tree_stat(k->dir_fd, ".", &k->root))
		return adopt_trouble(k, -errno, "cannot be looked at");
	k->dir_is_mount =
	    k->root.stx_attributes & k->root.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

static int begin(struct adopt *k)
{
	int err;

	k->times = (struct root_times){tree_ns(k->root.stx_atime),
				       tree_ns(k->root.stx_mtime),
				       tree_ns(k->root.stx_ctime),
				       k->root.stx_mode & 07777U,
				       k->root.stx_uid,
				       k->root.stx_gid};
	err = adopt_mkdir(k->dir_fd, ADOPT_WORK);
	if (err)
		return adopt_trouble(k, err, "the work folder " ADOPT_WORK " cannot be made");
	k->work_fd = adopt_dir(k->dir_fd, ADOPT_WORK);
	if (k->work_fd < 0)
		return adopt_trouble(k, k->work_fd, ADOPT_WORK);
	if (root_times_read(k->work_fd, &k->times) == 0)
		k->n->resumed = true;
	else if ((err = root_times_write(k->work_fd, &k->times)) != 0)
		return adopt_trouble(k, err, ADOPT_WORK "/ROOT cannot be written");
	restore_times(k);
	err = sync_dir(k->dir_fd);
	adopt_point(k, 2, false);
	return err ? adopt_trouble(k, err, "cannot be made durable") : 0;
}

/* ---- 3 build ------------------------------------------------------------------------------- */

static int remove_built(struct adopt *k)
{
	int err = tree_remove(k->work_fd, "store");

	if (err == 0)
		err = tree_remove(k->work_fd, "links");
	return err ? adopt_trouble(k, err, "what an earlier run built cannot be removed") : 0;
}

static int indexes_open(struct adopt *k, bool create)
{
	size_t n = strlen(k->a->dir) + 64;
	char *path = mem_alloc(n);
	int err;

	snprintf(path, n, "%s/" ADOPT_WORK "/store/index", k->a->dir);
	err = index_open(&k->x, path, k->a->conf.index_map_bytes, create, false);
	snprintf(path, n, "%s/" ADOPT_WORK "/links", k->a->dir);
	if (err == 0 && create)
		err = index_open(&k->links, path, k->a->conf.index_map_bytes, true, false);
	free(path);
	return err ? adopt_trouble(k, err, "the index cannot be opened") : 0;
}

static int store_open_fds(struct adopt *k)
{
	k->store_fd = adopt_dir(k->work_fd, "store");
	if (k->store_fd < 0)
		return adopt_trouble(k, k->store_fd, ADOPT_WORK "/store");
	k->objects_fd = adopt_dir(k->store_fd, "objects");
	if (k->objects_fd < 0)
		k->objects_fd = adopt_dir(k->dir_fd, "objects");
	return k->objects_fd < 0 ? adopt_trouble(k, k->objects_fd, "objects") : 0;
}

static int frame_make(struct adopt *k)
{
	int err = adopt_mkdir(k->work_fd, "store"), fd;

	if (err)
		return err;
	fd = adopt_dir(k->work_fd, "store");
	if (fd < 0)
		return fd;
	err = mkdirat(fd, "index", 0700) || mkdirat(fd, "log", 0700) ? -errno : 0;
	if (err == 0)
		err = half_make(fd, "log/0", k->a->conf.log_half_bytes);
	if (err == 0)
		err = half_make(fd, "log/1", k->a->conf.log_half_bytes);
	if (err == 0)
		err = objects_make(fd);
	close(fd);
	return err ? err : adopt_mkdir(k->work_fd, "links");
}

static int build(struct adopt *k)
{
	struct index_size size;
	int err = frame_make(k);

	if (err)
		return adopt_trouble(k, err, "log and folders of the store cannot be made");
	err = indexes_open(k, true);
	if (err == 0)
		err = store_open_fds(k);
	if (getrandom(&k->seed, sizeof(k->seed), 0) != sizeof(k->seed))
		k->seed = loop_clock_ns();
	*k->n = (struct adopt_counts){.resumed = k->n->resumed, .notes = k->n->notes};
	if (err == 0)
		err = adopt_build(k);
	if (k->x) {
		index_size(k->x, &size);
		k->n->index_bytes = size.pages_used * size.page_bytes;
	}
	adopt_point(k, 3, false);
	return err;
}

/* ---- 5 commit ------------------------------------------------------------------------------ */

static int commit(struct adopt *k)
{
	struct label l = {.half_bytes = k->a->conf.log_half_bytes};
	struct timespec ts;
	int err;

	clock_gettime(CLOCK_REALTIME, &ts);
	l.created_ns = (int64_t)ts.tv_sec * (int64_t)NSEC + ts.tv_nsec;
	if (getrandom(l.uuid, 16, 0) != 16 || getrandom(l.handle_key, 16, 0) != 16)
		return adopt_trouble(k, -EIO, "no random numbers");
	if (syncfs(k->dir_fd))
		return adopt_trouble(k, -errno, "cannot be made durable");
	err = label_make(k->store_fd, &l);
	if (err)
		return adopt_trouble(k, err, "LABEL cannot be written");
	k->n->committed = true;
	adopt_point(k, 5, false);
	return 0;
}

/* ---- 6 settle ------------------------------------------------------------------------------ */

static int settle_each(struct tree_walk *w, struct tree_entry *e)
{
	struct adopt *k = w->arg;
	unsigned mode = S_ISDIR(e->st.stx_mode) ? 0700 : 0600;

	adopt_point(k, 6, true);
	if ((e->st.stx_uid != k->a->uid || e->st.stx_gid != k->a->gid) &&
	    fchownat(e->dir->fd, e->name, k->a->uid, k->a->gid, AT_SYMLINK_NOFOLLOW))
		return adopt_trouble(k, -errno, "the store cannot be given to its user");
	if ((e->st.stx_mode & 07777U) != mode && fchmodat(e->dir->fd, e->name, mode, 0))
		return adopt_trouble(k, -errno, "a mode cannot be set");
	return 0;
}

static int settle_part(struct adopt *k, const char *name)
{
	struct tree_walk w = {
	    .each = settle_each, .arg = k, .err = k->err, .err_size = k->err_size};
	struct tree_dir top = {.fd = adopt_dir(k->store_fd, name)};
	int err;

	if (top.fd == -ENOENT) /* moved already: so it was settled */
		return 0;
	if (top.fd < 0)
		return adopt_trouble(k, top.fd, name);
	err = tree_walk(&w, &top);
	if (err == 0 && (fchown(top.fd, k->a->uid, k->a->gid) || fchmod(top.fd, 0700)))
		err = adopt_trouble(k, -errno, "the store cannot be given to its user");
	close(top.fd);
	return err;
}

static int settle(struct adopt *k)
{
	int err = 0;

	for (size_t i = 0; i < PARTS && !err; i++)
		err = settle_part(k, parts[i]);
	if (err == 0 && fchownat(k->store_fd, "LABEL", k->a->uid, k->a->gid, 0))
		err = adopt_trouble(k, -errno, "the store cannot be given to its user");
	if (err == 0 && syncfs(k->dir_fd)) /* before the last names go */
		err = adopt_trouble(k, -errno, "cannot be made durable");
	adopt_point(k, 6, false);
	return err;
}

/* ---- 7 remove, 8 move ---------------------------------------------------------------------- */

static int remove_names(struct adopt *k)
{
	int err = k->x ? 0 : indexes_open(k, false);

	if (err == 0)
		err = adopt_remove_names(k);
	map64_fini(&k->strange);
	index_close(k->x);
	k->x = NULL;
	if (err == 0 && syncfs(k->dir_fd))
		err = adopt_trouble(k, -errno, "cannot be made durable");
	adopt_point(k, 7, false);
	return err;
}

/* Into DIR, unless it is there already; never over anything. */
static int move_up(struct adopt *k, const char *name)
{
	int err;

	if (!adopt_exists(k->store_fd, name) && adopt_exists(k->dir_fd, name))
		return 0;
	err = adopt_rename(k->store_fd, k->dir_fd, name);
	if (err)
		return say(k->err, k->err_size, err,
			   "%s/%s: the store's part cannot be moved here: %s", k->a->dir, name,
			   strerror(-err));
	adopt_point(k, 8, true);
	return 0;
}

static int move(struct adopt *k)
{
	int err = 0;

	for (size_t i = 0; i < PARTS && !err; i++)
		err = move_up(k, parts[i]);
	if (err == 0)
		err = sync_dir(k->dir_fd) ? adopt_trouble(k, -errno, "cannot be made durable") : 0;
	if (err == 0)
		err = move_up(k, "LABEL");
	if (err == 0 && (sync_dir(k->dir_fd) || sync_dir(k->store_fd)))
		err = adopt_trouble(k, -errno, "cannot be made durable");
	adopt_point(k, 8, false);
	return err;
}

/* ---- 9 end --------------------------------------------------------------------------------- */

static int end(struct adopt *k)
{
	int err = 0;

	if ((k->root.stx_uid != k->a->uid || k->root.stx_gid != k->a->gid) &&
	    fchown(k->dir_fd, k->a->uid, k->a->gid))
		err = adopt_trouble(k, -errno, "the store cannot be given to its user");
	if (err == 0 && fchmod(k->dir_fd, 0700))
		err = adopt_trouble(k, -errno, "its mode cannot be set");
	adopt_point(k, 9, true);
	if (err == 0)
		err = tree_remove(k->dir_fd, ADOPT_WORK);
	if (err == 0)
		err = sync_dir(k->dir_fd);
	adopt_point(k, 9, false);
	return err;
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* The lock that keeps a worker out as soon as there is a LABEL. */
static int lock_label(struct adopt *k, int dir_fd)
{
	k->label_fd = openat(dir_fd, "LABEL", O_RDWR | O_CLOEXEC);
	if (k->label_fd < 0)
		return adopt_trouble(k, -errno, "LABEL cannot be opened");
	return label_lock(k->label_fd, k->a->dir, k->err, k->err_size);
}

static int forward(struct adopt *k)
{
	int err = lock_label(k, k->store_fd);

	k->n->committed = true;
#ifndef HF_MUTANT_ADOPT_SETTLE_SKIPPED
	if (err == 0)
		err = settle(k);
#else
	if (err == 0 && !k->n->resumed)
		err = settle(k);
#endif
	/* The first part moves after the last name went, and that is durable by then. */
	if (err == 0 && adopt_exists(k->store_fd, parts[0]))
		err = remove_names(k);
	if (err == 0)
		err = move(k);
	return err ? err : end(k);
}

/* Up to the commit: the tree is as it was, whatever happens. */
static int backward(struct adopt *k)
{
	bool begun = adopt_exists(k->dir_fd, ADOPT_WORK);
	int err = begun ? begin(k) : 0;

	if (err == 0 && begun)
		err = remove_built(k);
	if (err == 0)
		err = adopt_look(k);
	adopt_point(k, 1, false);
	if (err == 0 && !begun)
		err = begin(k);
	if (err == 0)
		err = build(k);
#ifdef HF_MUTANT_ADOPT_NAMES_EARLY
	if (err == 0)
		err = adopt_remove_names(k);
#else
	if (err == 0)
		err = adopt_compare(k);
#endif
	adopt_point(k, 4, false);
	if (err == 0)
		err = commit(k);
	return err;
}

static void give_up(struct adopt *k)
{
	index_close(k->x);
	index_close(k->links);
	k->x = k->links = NULL;
	if (tree_remove(k->dir_fd, ADOPT_WORK) == 0 && k->work_fd >= 0)
		restore_times(k);
}

/* Looks without a trace. */
static int dry_run(struct adopt *k)
{
	k->n->resumed = adopt_exists(k->dir_fd, ADOPT_WORK);
	if (!k->n->resumed)
		return adopt_look(k);
	adopt_find(k, ADOPT_NOTE, ".",
		   k->n->committed
		       ? "an adopt was begun and is committed: running it finishes it"
		       : "an adopt was begun and is not committed: running it begins anew");
	return k->n->committed ? 0 : adopt_look(k);
}

bool adopt_is_store(int dir_fd)
{
	int fd = tree_open(dir_fd, "LABEL", O_RDONLY | O_NONBLOCK);
	uint8_t buf[LABEL_SIZE] = {0};
	struct label l;
	struct stat st;
	bool is;

	if (fd < 0)
		return false;
	/* A tree may have a file of that name; one that cannot be a store's is not even read (who is not its
	 * owner cannot do that without a trace: its time of access). */
	is = fstat(fd, &st) == 0 && st.st_size > (off_t)LABEL_USED &&
	     st.st_size <= (off_t)LABEL_SIZE &&
	     pread(fd, buf, sizeof(buf), 0) > 0 && label_decode(&l, buf, sizeof(buf)) != -EBADMSG;
	close(fd);
	return is;
}

static bool is_file(int dir_fd, const char *name, off_t least)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size >= least;
}

static bool is_dir(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

bool adopt_was_store(int dir_fd)
{
	unsigned signs = is_file(dir_fd, "index/data.mdb", 1);

	signs += is_file(dir_fd, "log/0", BATCH_ALIGN) && is_file(dir_fd, "log/1", BATCH_ALIGN);
	signs += is_dir(dir_fd, "objects/00/00") && is_dir(dir_fd, "objects/0f/0f");
#ifdef HF_MUTANT_ADOPT_STORE_UNSEEN
	return false;
#endif
	/* One of them may be what else was damaged; an ordinary tree has not even one. */
	return signs >= 2 && !adopt_is_store(dir_fd);
}

int adopt_no_label(const struct adopt *k)
{
	HF_MARK("adopt.was_store");
	return say(k->err, k->err_size, -EUCLEAN,
		   "%s: is a store whose LABEL is damaged or missing: restore LABEL from a copy",
		   k->a->dir);
}

/* Is one of the directories above DIR a store?  As far as they can be looked into. */
static bool inside_store(const struct adopt *k)
{
	int fd = adopt_dir(k->dir_fd, ".."), up;
	struct statx a = k->root, b;
	bool is = false;

	while (fd >= 0 && !is && tree_stat(fd, ".", &b) == 0 &&
	       (a.stx_ino != b.stx_ino || a.stx_dev_minor != b.stx_dev_minor ||
		a.stx_dev_major != b.stx_dev_major)) {
		is = adopt_is_store(fd) || adopt_was_store(fd);
		a = b;
		up = adopt_dir(fd, "..");
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return is;
}

/* What nobody meant by a tree: the parts of a store. */
static int look_round(struct adopt *k)
{
	if (!adopt_exists(k->dir_fd, RELEASE_WORK) && adopt_was_store(k->dir_fd))
		return adopt_no_label(k);
	if (!inside_store(k))
		return 0;
	HF_MARK("adopt.inside_store");
	return say(k->err, k->err_size, -EINVAL, "%s: lies inside of a store: it is a part of it",
		   k->a->dir);
}

/* What an earlier run, or another program, left. */
static int where(struct adopt *k)
{
	bool work = adopt_exists(k->dir_fd, ADOPT_WORK), label = adopt_is_store(k->dir_fd);

	k->n->committed = adopt_exists(k->dir_fd, ADOPT_WORK "/store/LABEL");
	k->ending = work && label && !k->n->committed;
	k->n->committed |= k->ending;
	if (label && !work)
		return say(k->err, k->err_size, -EEXIST, "%s: has a LABEL: it is a store already",
			   k->a->dir);
	if (!k->n->committed)
		return look_round(k);
	if (k->a->dry_run)
		return 0;
	k->n->resumed = true;
	k->work_fd = adopt_dir(k->dir_fd, ADOPT_WORK);
	if (k->work_fd < 0)
		return adopt_trouble(k, k->work_fd, ADOPT_WORK);
	return k->ending ? 0 : store_open_fds(k);
}

static int run(struct adopt *k)
{
	int err = adopt_lock(k);

	if (err == 0)
		err = store_conf_check(&k->a->conf, k->err, k->err_size);
	if (err == 0)
		err = where(k);
	if (err)
		return err;
	if (k->a->dry_run)
		return dry_run(k);
	if (!k->n->committed) {
		err = backward(k);
		if (err && !k->n->committed)
			give_up(k);
	} else if (k->ending) {
		err = lock_label(k, k->dir_fd);
		return err ? err : end(k);
	}
	return err ? err : forward(k);
}

static void fds_raise(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
}

void adopt_begin(struct adopt *k, const struct adopt_args *a, struct adopt_counts *n, char *err,
		 size_t err_size)
{
	*k = (struct adopt){.a = a,
			    .n = n,
			    .err = err,
			    .err_size = err_size,
			    .dir_fd = -1,
			    .work_fd = -1,
			    .store_fd = -1,
			    .objects_fd = -1,
			    .label_fd = -1,
			    .tree_fd = -1,
			    .made_fd = -1};
	*n = (struct adopt_counts){0};
	err[0] = 0;
	k->began_ns = loop_clock_ns();
	fds_raise();
}

int adopt_end(struct adopt *k, int code, const char *cannot)
{
	const int fds[] = {k->made_fd, k->tree_fd, k->label_fd, k->objects_fd,
			   k->store_fd, k->work_fd, k->dir_fd};

	if (!k->a->dry_run)
		k->n->seconds = (double)(loop_clock_ns() - k->began_ns) / 1e9;
	if (code == -EINVAL && !k->err[0])
		say(k->err, k->err_size, 0, "%s: %llu things cannot be %s; nothing was changed",
		    k->a->dir, (unsigned long long)k->n->cannot, cannot);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return code;
}

int store_adopt(const struct adopt_args *a, struct adopt_counts *n, char *err, size_t err_size)
{
	struct adopt k;
	int code;

	adopt_begin(&k, a, n, err, err_size);
	/* Somebody may open a file in the moment that tree_in_use() holds a lease on it. */
	signal(SIGIO, SIG_IGN);
	code = run(&k);
	index_close(k.x);
	index_close(k.links);
	return adopt_end(&k, code, "taken");
}
