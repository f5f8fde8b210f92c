/* t_adopt.c - a tree becomes a store and comes back: what must be refused, and that a run that ends
 * at any numbered step is finished by the next.  The whole of it, with an independent comparison,
 * is test/adopt/run.
 *
 * covers: S1 S7 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "check.h"
#include "lib_storefake.h"
#include "store/adopt.h"
#include "store/tree.h"

#define STEPS 9U

static char dir[64], err[512], text[2048];
static struct adopt_counts n;
static unsigned stop_step, stop_after, points;

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

static void tree_drop(void)
{
	nftw(dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void file_make(const char *name, const char *data)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	CHECK(f != NULL);
	CHECK(fputs(data, f) >= 0);
	fclose(f);
}

static void path_of(char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", dir, name);
}

static void tree_make(void)
{
	char a[128], b[128];

	snprintf(dir, sizeof(dir), "/tmp/hf-adopt-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	path_of(a, "sub");
	CHECK_EQ(0, mkdir(a, 0750));
	path_of(a, "sub/log"); /* a store has such names, too */
	CHECK_EQ(0, mkdir(a, 0755));
	file_make("one", "first");
	file_make("log", "mine");
	file_make("sub/log/deep", "deep");
	path_of(a, "one");
	path_of(b, "sub/again");
	CHECK_EQ(0, link(a, b));
	path_of(b, "sym");
	CHECK_EQ(0, symlink("sub/again", b));
	CHECK_EQ(0, chmod(a, 04711));
}

static void on_finding(void *arg, enum adopt_finding f, const char *path, const char *what)
{
	size_t len = strlen(text);

	(void)arg;
	snprintf(text + len, sizeof(text) - len, "%s %s: %s\n",
		 f == ADOPT_CANNOT ? "cannot" : "note", path, what);
}

static void on_point(void *arg, unsigned step, bool inside)
{
	(void)arg;
	(void)inside;
	points++;
	if (step == stop_step && stop_after-- == 0)
		_exit(9);
}

static int call(bool adopt, bool dry)
{
	struct adopt_args a = {.dir = dir,
			       .dry_run = dry,
			       .uid = geteuid(),
			       .gid = getegid(),
			       .finding = on_finding,
			       .point = on_point};

	store_conf_default(&a.conf);
	a.conf.log_half_bytes = 4 << 20;
	text[0] = 0;
	return adopt ? store_adopt(&a, &n, err, sizeof(err))
		     : store_release(&a, &n, err, sizeof(err));
}

/* Ends at the given point of a step; true when there was one. */
static bool killed(bool adopt, unsigned step, unsigned after)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		stop_step = step;
		stop_after = after;
		_exit(call(adopt, false) ? 1 : 0);
	}
	CHECK_EQ(pid, waitpid(pid, &status, 0));
	CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
	return WEXITSTATUS(status) == 9;
}

static void is_file(const char *name, const char *want, mode_t mode, nlink_t links)
{
	char path[128], data[64] = "";
	struct stat st;
	int fd;

	path_of(path, name);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK(read(fd, data, sizeof(data) - 1) >= 0);
	CHECK_EQ(0, fstat(fd, &st));
	close(fd);
	CHECK(strcmp(data, want) == 0);
	CHECK_EQ(mode, st.st_mode & 07777);
	CHECK_EQ(links, st.st_nlink);
}

static void is_tree(void)
{
	char path[128], target[64] = "";
	struct stat st;

	is_file("one", "first", 04711, 2);
	is_file("sub/again", "first", 04711, 2);
	is_file("sub/log/deep", "deep", 0644, 1);
	is_file("log", "mine", 0644, 1);
	path_of(path, "sym");
	CHECK(readlink(path, target, sizeof(target)) == 9 && strcmp(target, "sub/again") == 0);
	path_of(path, "sub");
	CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0750);
	path_of(path, ".holdfast-adopt");
	CHECK(access(path, F_OK) != 0);
	path_of(path, ".holdfast-release");
	CHECK(access(path, F_OK) != 0);
}

static void on_line(void *arg, const char *line)
{
	(void)arg;
	snprintf(err, sizeof(err), "%s", line);
}

static int is_closed(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)path, (void)w;
	return type == FTW_F && (st->st_mode & 07777) != 0600;
}

/* A store that says of itself that it is whole, whose files are the worker's alone. */
static void is_store(void)
{
	char path[128];

	CHECK_EQ(0, store_check(dir, on_line, NULL));
	path_of(path, "objects");
	CHECK_EQ(0, nftw(path, is_closed, 16, FTW_PHYS));
}

static void t_round_trip(void)
{
	struct stat before, after;

	umask(022);
	tree_make();
	CHECK_EQ(0, stat(dir, &before));
	CHECK_EQ(0, call(true, true));
	CHECK(n.files == 3 && n.directories == 3 && n.symlinks == 1 && n.names == 7 &&
	      n.cannot == 0);
	is_tree();
	CHECK_EQ(0, call(true, false));
	CHECK(n.files == 3 && n.directories == 3 && n.symlinks == 1 && n.names == 7 && n.committed);
	is_store();
	CHECK_EQ(-EEXIST, call(true, false));
	CHECK_EQ(0, call(false, true));
	CHECK_EQ(0, call(false, false));
	is_tree();
	CHECK_EQ(0, stat(dir, &after));
	CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec && before.st_mode == after.st_mode);
	CHECK_EQ(-ENOENT, call(false, false));
	tree_drop();
}

/* In the middle of the step, or at its end. */
static unsigned points_before(unsigned step)
{
	return step == 3 ? 4 : 0;
}

static void t_adopt_ended(void)
{
	for (unsigned step = 1; step <= STEPS; step++) {
		tree_make();
		if (killed(true, step, points_before(step))) {
			int res = call(true, false);

			CHECK(res == 0 || (step == 9 && res == -EEXIST));
		}
		is_store();
		CHECK_EQ(0, call(false, false));
		is_tree();
		tree_drop();
	}
}

static void t_release_ended(void)
{
	for (unsigned step = 1; step <= STEPS; step++) {
		tree_make();
		CHECK_EQ(0, call(true, false));
		if (killed(false, step, points_before(step)))
			CHECK_EQ(0, call(false, false));
		is_tree();
		tree_drop();
	}
}

/* What only the log knows is in the tree. */
static void t_log_recovered(void)
{
	char back[128];
	uint64_t ino;
	struct fs f;

	if (geteuid() != 0) { /* its files belong to others */
		printf("# t_log_recovered: skipped, needs root\n");
		return;
	}
	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "made", STORE_REG, &ino));
	CHECK_EQ(0, fs_write(&f, ino, 0, "stable", 6, true));
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "hole", STORE_REG, &ino));
	CHECK_EQ(0, fs_truncate(&f, ino, 100000));
	CHECK_EQ(0, fs_link(&f, ino, STORE_ROOT_INO, "hole-again"));
	store_free(f.s);
	f.s = NULL;
	snprintf(dir, sizeof(dir), "%s", f.dir);
	CHECK_EQ(0, call(false, true));
	CHECK_EQ(0, call(false, false));
	CHECK(n.files == 2 && n.names == 3);
	path_of(back, "made");
	is_file("made", "stable", 0640, 1);
	path_of(back, "hole-again");
	{
		struct stat st;

		CHECK(stat(back, &st) == 0 && st.st_size == 100000 && st.st_nlink == 2);
	}
	fs_drop(&f);
}

#define SOMEBODY 54321U

static int strangers;

static int give(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return lchown(path, SOMEBODY, SOMEBODY);
}

static int strange(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path, (void)type, (void)at;
	strangers += st->st_uid != SOMEBODY;
	return 0;
}

/* A release by root that is refused after it took the log over: the store can be served by its user
 * as before. */
static void t_refused_as_root(void)
{
	char path[128];
	uint64_t ino;
	struct fs f;
	int fd;

	if (geteuid() != 0) {
		printf("# t_refused_as_root: skipped, needs root\n");
		return;
	}
	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "made", STORE_REG, &ino));
	CHECK_EQ(0, fs_write(&f, ino, 0, "stable", 6, true));
	store_free(f.s);
	f.s = NULL;
	/* As if the power had gone before the object was made: the log makes it. */
	snprintf(path, sizeof(path), "%s/objects/00/00/%016llx", f.dir, (unsigned long long)ino);
	CHECK_EQ(0, unlink(path));
	snprintf(path, sizeof(path), "%s/made", f.dir); /* in the way */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(0, nftw(f.dir, give, 16, FTW_PHYS));
	snprintf(dir, sizeof(dir), "%s", f.dir);
	CHECK_EQ(-EINVAL, call(false, false));
	CHECK(n.cannot == 1);
	strangers = 0;
	CHECK_EQ(0, nftw(f.dir, strange, 16, FTW_PHYS));
	CHECK_EQ(0, strangers);
	fs_drop(&f);
}

static void t_refused(void)
{
	char path[128];
	int fd;

	tree_make();
	path_of(path, "one");
	fd = open(path, O_RDWR);
	CHECK_EQ(-EINVAL, call(true, false));
	CHECK(n.cannot == 1 && strstr(text, "open for writing") && !n.committed);
	close(fd);
	fd = open(path, O_RDONLY);
	CHECK_EQ(0, flock(fd, LOCK_SH));
	CHECK_EQ(-EINVAL, call(true, true));
	CHECK(strstr(text, "locked") != NULL);
	close(fd);
	fd = open(dir, O_RDONLY);
	CHECK_EQ(0, flock(fd, LOCK_EX));
	CHECK_EQ(-EBUSY, call(true, false));
	close(fd);
	is_tree();
	CHECK_EQ(-ENOENT, call(false, false));
	snprintf(dir + strlen(dir), 8, "/one");
	CHECK_EQ(-ENOTDIR, call(true, false));
	dir[strlen(dir) - 4] = 0;
	tree_drop();
	CHECK_EQ(-ENOENT, call(true, false));
}

/* Cut, overwritten or gone: what is beside it tells that this is no tree, and nothing is changed.  With
 * its LABEL it is the store that it was. */
static void t_label_damaged(void)
{
	char label[128], kept[128], folder[128];
	const off_t cut[] = {75, 79, 0};

	tree_make();
	CHECK_EQ(0, call(true, false));
	path_of(label, "LABEL");
	snprintf(kept, sizeof(kept), "%s.label", dir);
	for (unsigned i = 0; i <= 3; i++) {
		CHECK_EQ(0, rename(label, kept));
		if (i < 3) {
			file_make("LABEL", "this is none");
			CHECK_EQ(0, truncate(label, cut[i]));
		}
		CHECK_EQ(-EUCLEAN, call(true, false));
		CHECK(strstr(err, "restore LABEL") != NULL);
		CHECK_EQ(-EUCLEAN, call(false, false));
		path_of(folder, ".holdfast-release"); /* of a release that ended before its commit */
		CHECK_EQ(0, mkdir(folder, 0700));
		CHECK_EQ(-EUCLEAN, call(false, false));
		CHECK_EQ(-EINVAL, call(true, false));
		CHECK_EQ(0, rmdir(folder));
		CHECK_EQ(0, rename(kept, label));
		is_store();
	}
	CHECK_EQ(0, call(false, false));
	is_tree();
	tree_drop();
}

/* A part of a store is no tree, and a tree with a store in it is not taken. */
static void t_store_around(void)
{
	char a[128], b[128];

	tree_make();
	CHECK_EQ(0, call(true, false));
	snprintf(dir + strlen(dir), 16, "/objects/00");
	CHECK_EQ(-EINVAL, call(true, false));
	CHECK(strstr(err, "inside of a store") != NULL);
	*strstr(dir, "/objects") = 0;
	path_of(b, "sub");
	CHECK_EQ(0, mkdir(b, 0700));
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = {"LABEL", "index", "log", "objects"};

		snprintf(a, sizeof(a), "%s/%s", dir, names[i]);
		snprintf(b, sizeof(b), "%s/sub/%s", dir, names[i]);
		CHECK_EQ(0, rename(a, b));
	}
	CHECK_EQ(-EINVAL, call(true, false));
	CHECK(strstr(text, "the directory is a store") != NULL);
	path_of(b, "sub/LABEL");
	CHECK_EQ(0, truncate(b, 75));
	CHECK_EQ(-EINVAL, call(true, false));
	CHECK(strstr(text, "a part of a store") != NULL);
	tree_drop();
}

/* A row counts from 1677 to 2262; the file system's own times go on. */
static void t_late_times(void)
{
	const struct timespec late[2] = {{.tv_sec = 9300000000}, {.tv_sec = 9300000000}};
	const struct timespec last[2] = {{.tv_sec = 9223372035, .tv_nsec = 999999999},
					 {.tv_sec = -1, .tv_nsec = 999999999}};
	struct statx_timestamp t = {.tv_sec = INT64_MAX / 1000000000};
	char path[128];
	struct stat st;

	CHECK(!tree_time_fits(t) && tree_ns(t) == INT64_MAX);
	t.tv_sec = INT64_MIN;
	CHECK(!tree_time_fits(t) && tree_ns(t) == INT64_MIN);
	tree_make();
	path_of(path, "sub");
	CHECK_EQ(0, utimensat(AT_FDCWD, path, late, 0));
	CHECK_EQ(0, stat(path, &st));
	if (st.st_mtim.tv_sec == late[0].tv_sec) { /* this file system has such times */
		CHECK_EQ(-EINVAL, call(true, false));
		CHECK(n.cannot == 1 && strstr(text, "sub: has a time after") != NULL);
		CHECK_EQ(0, utimensat(AT_FDCWD, path, last, 0));
		CHECK_EQ(0, call(true, false));
		CHECK_EQ(0, call(false, false));
		CHECK_EQ(0, stat(path, &st));
		CHECK(st.st_atim.tv_sec == last[0].tv_sec && st.st_atim.tv_nsec == 999999999 &&
		      st.st_mtim.tv_sec == -1 && st.st_mtim.tv_nsec == 999999999);
	}
	tree_drop();
}

/* A store that is being served is neither adopted nor released. */
static void t_in_use(void)
{
	struct fs f;

	fs_new(&f);
	snprintf(dir, sizeof(dir), "%s", f.dir);
	CHECK_EQ(-EEXIST, call(true, false));
	CHECK_EQ(-EBUSY, call(false, false));
	fs_drop(&f);
}

static void t_times(void)
{
	struct timespec t = tree_timespec(-1);

	CHECK(t.tv_sec == -1 && t.tv_nsec == 999999999);
	t = tree_timespec(1000000001);
	CHECK(t.tv_sec == 1 && t.tv_nsec == 1);
	t = tree_timespec(-1000000000);
	CHECK(t.tv_sec == -1 && t.tv_nsec == 0);
}

int main(void)
{
	log_open("t", LOG_L_ERR);
	CASE(t_times);
	CASE(t_round_trip);
	CASE(t_adopt_ended);
	CASE(t_release_ended);
	CASE(t_log_recovered);
	CASE(t_refused_as_root);
	CASE(t_refused);
	CASE(t_label_damaged);
	CASE(t_store_around);
	CASE(t_late_times);
	CASE(t_in_use);
	return check_end();
}
