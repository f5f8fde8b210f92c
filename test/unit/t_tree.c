/* t_tree.c - walking trees: every name once, whatever goes meanwhile; attributes; who uses a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "store/tree.h"

#define DEEP  600
#define NAMES 700

static char dir[64], seen[4096], err[256];
static int top_fd;
static unsigned count, left;

static void tree_make(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hf-tree-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	top_fd = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK(top_fd >= 0);
	seen[0] = 0;
	count = left = 0;
}

static void tree_drop(void)
{
	close(top_fd);
	CHECK_EQ(0, tree_remove(AT_FDCWD, dir));
	CHECK(access(dir, F_OK) != 0);
}

static void make(const char *name)
{
	int fd = openat(top_fd, name, O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0);
	close(fd);
}

static int each(struct tree_walk *w, struct tree_entry *e)
{
	size_t len = strlen(seen);

	(void)w;
	count++;
	if (len + strlen(e->path) + 2 < sizeof(seen))
		snprintf(seen + len, sizeof(seen) - len, "%s ", e->path);
	return strcmp(e->name, "skipped") == 0 ? TREE_SKIP : 0;
}

static int leave(struct tree_walk *w, struct tree_entry *e, const struct tree_dir *inside)
{
	(void)w;
	CHECK(inside->up == e->dir && inside->depth == e->dir->depth + 1);
	left++;
	return 0;
}

static void t_every_name(void)
{
	struct tree_walk w = {.each = each, .leave = leave, .err = err, .err_size = sizeof(err)};
	struct tree_dir top = {0};

	tree_make();
	CHECK_EQ(0, mkdirat(top_fd, "d", 0700));
	CHECK_EQ(0, mkdirat(top_fd, "d/e", 0700));
	CHECK_EQ(0, mkdirat(top_fd, "d/skipped", 0700));
	make("d/e/file");
	make("d/skipped/unseen");
	CHECK_EQ(0, symlinkat("d", top_fd, "link")); /* is not followed */
	top.fd = top_fd;
	CHECK_EQ(0, tree_walk(&w, &top));
	CHECK_EQ(5, count);
	CHECK_EQ(2, left);
	CHECK(strstr(seen, "d/e/file ") && strstr(seen, "d/skipped ") && !strstr(seen, "unseen"));
	tree_drop();
}

static int stop(struct tree_walk *w, struct tree_entry *e)
{
	(void)w;
	(void)e;
	count++;
	return -ECANCELED;
}

static void t_an_error_stops(void)
{
	struct tree_walk w = {.each = stop, .err = err, .err_size = sizeof(err)};
	struct tree_dir top = {0};

	tree_make();
	make("a");
	make("b");
	top.fd = top_fd;
	CHECK_EQ(-ECANCELED, tree_walk(&w, &top));
	CHECK_EQ(1, count);
	tree_drop();
}

/* Many names, and many levels: all go. */
static void t_remove(void)
{
	char name[32];
	int at, next;

	tree_make();
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make(name);
	}
	at = dup(top_fd);
	for (int i = 0; i < DEEP; i++) {
		CHECK_EQ(0, mkdirat(at, "deeper", 0700));
		next = openat(at, "deeper", O_RDONLY | O_DIRECTORY);
		CHECK(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	tree_drop();
	CHECK_EQ(0, tree_remove(AT_FDCWD, dir)); /* nothing there is fine */
}

static int count_xattr(void *arg, const char *name, const void *value, size_t len)
{
	if (strcmp(name, "user.one") == 0) {
		CHECK(len == 3 && memcmp(value, "a\0b", 3) == 0);
		++*(unsigned *)arg;
	}
	return 0;
}

static void t_xattrs(void)
{
	unsigned n = 0;
	int rc;

	tree_make();
	make("f");
	rc = tree_xattr_set(top_fd, "f", "user.one", "a\0b", 3);
	if (rc != -EOPNOTSUPP) { /* a file system without */
		CHECK_EQ(0, rc);
		CHECK_EQ(0, tree_xattr_each(top_fd, "f", count_xattr, &n));
		CHECK_EQ(1, n);
		CHECK_EQ(0, tree_xattr_drop(top_fd, "f", "user.one"));
		CHECK_EQ(0, tree_xattr_drop(top_fd, "f", "user.one"));
		CHECK_EQ(0, tree_xattr_each(top_fd, "f", count_xattr, &n));
		CHECK_EQ(1, n);
	}
	CHECK(tree_xattr_each(top_fd, "nothing", count_xattr, &n) < 0);
	tree_drop();
}

static void t_in_use(void)
{
	uint32_t project;
	int fd;

	tree_make();
	make("f");
	CHECK_EQ(TREE_USE_FREE, tree_in_use(top_fd, "f", &project));
	fd = openat(top_fd, "f", O_RDONLY);
	CHECK_EQ(TREE_USE_FREE, tree_in_use(top_fd, "f", &project));
	CHECK_EQ(0, flock(fd, LOCK_SH));
	CHECK_EQ(TREE_USE_LOCKED, tree_in_use(top_fd, "f", &project));
	close(fd);
	fd = openat(top_fd, "f", O_WRONLY);
	CHECK_EQ(TREE_USE_WRITER, tree_in_use(top_fd, "f", &project));
	close(fd);
	CHECK_EQ(TREE_USE_FREE, tree_in_use(top_fd, "f", &project));
	tree_drop();
}

static void t_times(void)
{
	struct timespec t = tree_timespec(-1);
	struct statx st;

	CHECK(t.tv_sec == -1 && t.tv_nsec == 999999999);
	t = tree_timespec(-1000000000);
	CHECK(t.tv_sec == -1 && t.tv_nsec == 0);
	tree_make();
	CHECK_EQ(0, symlinkat("nowhere", top_fd, "l"));
	CHECK_EQ(0, tree_set_times(top_fd, "l", 5, 1000000007));
	CHECK_EQ(0, tree_stat(top_fd, "l", &st));
	CHECK_EQ(1000000007, tree_ns(st.stx_mtime));
	CHECK_EQ(5, tree_ns(st.stx_atime));
	tree_drop();
}

int main(void)
{
	CASE(t_every_name);
	CASE(t_an_error_stops);
	CASE(t_remove);
	CASE(t_xattrs);
	CASE(t_in_use);
	CASE(t_times);
	return check_end();
}
