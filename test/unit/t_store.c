/* t_store.c - a store as its callers see it: the tree, data, restarts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "lib_storefake.h"

#define ROOT STORE_ROOT_INO

static struct fs f;

static void t_tree(void)
{
	uint64_t a, b, d, e;
	char names[256];

	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, ROOT, "a", STORE_REG, &a));
	CHECK_EQ(-EEXIST, fs_make(&f, ROOT, "a", STORE_REG, &b));
	CHECK_EQ(0, fs_make(&f, ROOT, "d", STORE_DIR, &d));
	CHECK_EQ(0, fs_make(&f, d, "e", STORE_DIR, &e));
	CHECK_EQ(0, fs_make(&f, d, "l", STORE_LNK, &b));
	CHECK(strcmp(store_inode(f.s, b)->target, "some/where") == 0);
	CHECK_EQ(3, store_inode(f.s, ROOT)->nlink);
	CHECK_EQ(-ENOTEMPTY, fs_rmdir(&f, ROOT, "d"));
	CHECK_EQ(-EISDIR, fs_remove(&f, ROOT, "d"));
	CHECK_EQ(-ENOTDIR, fs_rmdir(&f, ROOT, "a"));
	CHECK_EQ(0, fs_link(&f, a, e, "hard"));
	CHECK_EQ(2, store_inode(f.s, a)->nlink);
	CHECK_EQ(0, fs_remove(&f, ROOT, "a"));
	CHECK_EQ(a, fs_look(&f, e, "hard"));
	CHECK_EQ(0, fs_look(&f, ROOT, "a"));
	CHECK_EQ(d, fs_look(&f, e, ".."));
	fs_list(&f, ROOT, 0, 99, names, sizeof(names));
	CHECK(strcmp(names, ". .. d ") == 0);
	CHECK_EQ(0, fs_remove(&f, e, "hard"));
	CHECK(store_inode(f.s, a) == NULL);
	fs_drop(&f);
}

/* A look in passing sees what a look sees, and leaves nothing in memory. */
static void t_passing(void)
{
	const struct store_inode *in;
	uint64_t file, link, cached;
	struct store_stats st;

	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, ROOT, "file", STORE_REG, &file));
	CHECK_EQ(0, fs_make(&f, ROOT, "link", STORE_LNK, &link));
	store_stats(f.s, &st);
	cached = st.cached_inodes;
	in = store_inode_passing(f.s, link);
	CHECK(in && in->ino == link && in->type == STORE_LNK && strcmp(in->target, "some/where") == 0);
	in = store_inode_passing(f.s, file);
	CHECK(in && in->ino == file && in->type == STORE_REG && in->target == NULL);
	CHECK(in->lsn > 0 && in->lsn <= store_last_lsn(f.s));
	CHECK(store_inode_passing(f.s, link + 1) == NULL);
	store_stats(f.s, &st);
	CHECK_EQ(cached, st.cached_inodes);
	CHECK(store_inode(f.s, file) == store_inode_passing(f.s, file)); /* now it is there */
	CHECK_EQ(0, fs_remove(&f, ROOT, "file"));
	CHECK(store_inode_passing(f.s, file) == NULL);
	fs_drop(&f);
}

static void t_rename(void)
{
	uint64_t a, b, d, e;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &a);
	fs_make(&f, ROOT, "b", STORE_REG, &b);
	fs_make(&f, ROOT, "d", STORE_DIR, &d);
	fs_make(&f, d, "e", STORE_DIR, &e);
	CHECK_EQ(-EINVAL, fs_rename(&f, ROOT, "d", e, "x"));
	CHECK_EQ(0, fs_rename(&f, ROOT, "a", ROOT, "a"));
	CHECK_EQ(0, fs_rename(&f, ROOT, "a", ROOT, "b"));
	CHECK(store_inode(f.s, b) == NULL);
	CHECK_EQ(a, fs_look(&f, ROOT, "b"));
	CHECK_EQ(-EISDIR, fs_rename(&f, ROOT, "b", ROOT, "d"));
	CHECK_EQ(-ENOTDIR, fs_rename(&f, ROOT, "d", ROOT, "b"));
	CHECK_EQ(0, fs_rename(&f, d, "e", ROOT, "e"));
	CHECK_EQ(2, store_inode(f.s, d)->nlink);
	CHECK_EQ(4, store_inode(f.s, ROOT)->nlink);
	CHECK_EQ(ROOT, fs_look(&f, e, ".."));
	CHECK_EQ(0, fs_rename(&f, ROOT, "e", ROOT, "d"));
	CHECK_EQ(3, store_inode(f.s, ROOT)->nlink);
	CHECK(store_inode(f.s, d) == NULL);
	CHECK_EQ(0, fs_link(&f, a, ROOT, "b2"));
	CHECK_EQ(0, fs_rename(&f, ROOT, "b", ROOT, "b2"));
	CHECK_EQ(a, fs_look(&f, ROOT, "b")); /* the same file: both names stay */
	fs_drop(&f);
}

static void t_data(void)
{
	uint64_t a;
	char buf[64];

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &a);
	CHECK_EQ(0, fs_write(&f, a, 0, "hello", 5, true));
	CHECK_EQ(0, fs_write(&f, a, 10, "world", 5, false));
	CHECK_EQ(15, fs_read(&f, a, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, "hello\0\0\0\0\0world", 15) == 0);
	CHECK_EQ(0, fs_commit(&f, a));
	CHECK_EQ(0, fs_truncate(&f, a, 3));
	CHECK_EQ(0, fs_truncate(&f, a, 8));
	CHECK_EQ(8, fs_read(&f, a, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, "hel\0\0\0\0\0", 8) == 0);
	fs_crash(&f);
	CHECK_EQ(8, fs_read(&f, a, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, "hel\0\0\0\0\0", 8) == 0);
	CHECK_EQ(0, fs_write(&f, a, (uint64_t)5 << 30, "far", 3, true));
	CHECK_EQ(3, fs_read(&f, a, (uint64_t)5 << 30, buf, sizeof(buf)));
	CHECK_EQ(-EFBIG, fs_write(&f, a, STORE_FILE_SIZE_MAX, "x", 1, true));
	fs_drop(&f);
}

static void t_restart(void)
{
	struct store_info before, after;
	uint64_t a, d;
	char buf[8];

	fs_new(&f);
	fs_make(&f, ROOT, "d", STORE_DIR, &d);
	fs_make(&f, d, "a", STORE_REG, &a);
	fs_write(&f, a, 0, "data", 4, true);
	store_info(f.s, &before);
	fs_restart(&f);
	store_info(f.s, &after);
	CHECK(after.was_clean && after.recovered_records == 0);
	CHECK_EQ(a, fs_look(&f, d, "a"));
	CHECK_EQ(4, fs_read(&f, a, 0, buf, sizeof(buf)));
	fs_make(&f, d, "b", STORE_REG, NULL);
	fs_crash(&f);
	store_info(f.s, &after);
	CHECK(!after.was_clean && after.recovered_records == 2);
	CHECK(fs_look(&f, d, "b") != 0);
	fs_drop(&f);
}

/* A new directory answers for names that are not there by itself, but not once some of its names
 * have been let go. */
static void t_whole(void)
{
	char name[32];
	uint64_t dir, ino;

	fs_new(&f);
	f.conf.cache_inodes = 64;
	fs_crash(&f);
	fs_make(&f, ROOT, "dir", STORE_DIR, &dir);
	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		CHECK_EQ(0, fs_make(&f, dir, name, STORE_REG, &ino));
		CHECK(fs_look(&f, dir, "none") == 0 && fs_look(&f, dir, name) == ino);
	}
	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		CHECK(fs_look(&f, dir, name) != 0);
	}
	fs_drop(&f);
}

/* A directory may have more subdirectories than a file may have names. */
/* Names that have gone are not remembered; what they were says the overlay, then the index. */
static void t_removed_names(void)
{
	struct store_stats st;
	uint64_t ino, before;
	char name[16];

	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, ROOT, "stays", STORE_REG, &ino));
	store_stats(f.s, &st);
	before = st.cached_names;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CHECK_EQ(0, fs_make(&f, ROOT, name, STORE_REG, &ino));
		if (i == 50)
			fs_checkpoint(&f);
		CHECK_EQ(0, fs_remove(&f, ROOT, name));
	}
	store_stats(f.s, &st);
	CHECK_EQ(before, st.cached_names);
	CHECK_EQ(0, fs_look(&f, ROOT, "n7"));
	CHECK_EQ(0, fs_look(&f, ROOT, "n50"));
	CHECK(fs_look(&f, ROOT, "stays") != 0);
	fs_drop(&f);
}

static void t_subdirs(void)
{
	struct store_new n = {.type = STORE_DIR, .attr = {.set_mode = true, .mode = 0755}};
	uint64_t dir, wait, ino;
	char name[32];

	fs_new(&f);
	f.conf.index_map_bytes = 256 << 20;
	fs_restart(&f);
	fs_make(&f, ROOT, "dir", STORE_DIR, &dir);
	for (unsigned i = 0; i < STORE_LINK_MAX + 10; i++) {
		while (store_op_begin(f.s, NULL, &wait))
			fs_wait(&f, wait);
		snprintf(name, sizeof(name), "d%u", i);
		CHECK_EQ(0, store_create(f.s, dir, name, strlen(name), &n, &ino));
		store_op_end(f.s, NULL, 0);
		if (i % 64 == 0)
			loop_once(f.loop, 0);
	}
	CHECK_EQ(STORE_LINK_MAX + 12, store_inode(f.s, dir)->nlink);
	fs_settle(&f);
	fs_drop(&f);
}

/* Many more records than a half holds, checkpoints and crashes in between. */
static void t_many(void)
{
	struct store_stats st;
	char name[32], out[64];
	uint64_t cookie = 0, dir;
	unsigned seen = 0;

	fs_new(&f);
	f.conf.cache_inodes = 64;
	fs_crash(&f);
	fs_make(&f, ROOT, "dir", STORE_DIR, &dir);
	for (unsigned i = 0; i < 6000; i++) {
		struct store_caller c = fs_caller(100000 + i);
		struct store_new n = {.type = STORE_REG, .attr = {.set_mode = true}};
		uint64_t wait, ino;

		while (store_op_begin(f.s, &c, &wait))
			fs_wait(&f, wait);
		snprintf(name, sizeof(name), "file%u", i);
		CHECK_EQ(0, store_create(f.s, dir, name, strlen(name), &n, &ino));
		store_op_end(f.s, "ok", 2);
		if (i % 64 == 0)
			loop_once(f.loop, 0);
		if (i % 1500 == 1499) {
			fs_settle(&f);
			fs_crash(&f);
		}
	}
	fs_settle(&f);
	store_stats(f.s, &st);
	for (;;) {
		uint64_t next = fs_list(&f, dir, cookie, 1, out, sizeof(out));

		if (next == cookie)
			break;
		cookie = next;
		seen++;
	}
	CHECK_EQ(6002, seen);
	CHECK(fs_look(&f, dir, "file5999") != 0 && fs_look(&f, dir, "file0") != 0);
	fs_restart(&f);
	CHECK(fs_look(&f, dir, "file5999") != 0 && fs_look(&f, dir, "file0") != 0);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_tree);
	CASE(t_passing);
	CASE(t_rename);
	CASE(t_data);
	CASE(t_restart);
	CASE(t_whole);
	CASE(t_removed_names);
	CASE(t_subdirs);
	CASE(t_many);
	return check_end();
}
