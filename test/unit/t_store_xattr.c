/* t_store_xattr.c - rows of extended attributes: their bytes, and that they go with their inode,
 * whatever comes between the removal and the checkpoint. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "lib_storefake.h"
#include "store/index.h"
#include "store/record.h"

#define BIG 60000U

static void t_bytes(void)
{
	static const uint8_t want[] = {1, 0, 'h', 'e', 'y'};
	uint8_t row[XATTR_HEAD + 8], key[ROW_KEY_MAX];
	const uint8_t *value;
	size_t len;

	CHECK_EQ(sizeof(want), xattr_encode(row, "hey", 3));
	CHECK(memcmp(row, want, sizeof(want)) == 0);
	CHECK_EQ(0, xattr_decode(row, 5, &value, &len));
	CHECK(len == 3 && memcmp(value, "hey", 3) == 0);
	CHECK_EQ(0, xattr_decode(row, 2, &value, &len));
	CHECK_EQ(0, len);
	CHECK_EQ(-EBADMSG, xattr_decode(row, 1, &value, &len));
	row[1] = 1;
	CHECK_EQ(-ENOTSUP, xattr_decode(row, 5, &value, &len));
	row[0] = 2;
	CHECK_EQ(-ENOTSUP, xattr_decode(row, 5, &value, &len));
	row[0] = 0;
	CHECK_EQ(-EBADMSG, xattr_decode(row, 5, &value, &len));
	CHECK_EQ(9 + 6, key_xattr(key, 0x0102, "user.a", 6));
	CHECK(key[0] == 'X' && key[8] == 2 && memcmp(key + 9, "user.a", 6) == 0);
}

static void t_change_bytes(void)
{
	uint8_t buf[512], key[ROW_KEY_MAX], row[XATTR_HEAD + 3];
	struct change c = {.type = CHANGE_XDROP, .ino = 7}, d;
	struct wr w;
	struct rd r;

	wr_init(&w, buf, sizeof(buf));
	change_encode(&w, &c);
	CHECK_EQ(9, wr_len(&w));
	CHECK(buf[0] == 8 && buf[8] == 7);
	rd_init(&r, buf, wr_len(&w));
	CHECK_EQ(0, change_decode(&d, &r));
	CHECK(d.type == CHANGE_XDROP && d.ino == 7 && rd_done(&r));
	wr_init(&w, buf, sizeof(buf));
	c = (struct change){.type = CHANGE_PUT, .key = key, .val = row};
	c.key_len = key_xattr(key, 7, "user.a", 6);
	c.val_len = xattr_encode(row, "abc", 3);
	change_encode(&w, &c);
	rd_init(&r, buf, wr_len(&w));
	CHECK_EQ(0, change_decode(&d, &r));
	CHECK(d.val_len == 5 && d.key_len == 15);
}

/* Behind a closed store's back: as an adopted tree has them. */
static void attributes_add(struct fs *f, uint64_t ino, unsigned count)
{
	static uint8_t val[XATTR_HEAD + BIG], zero[BIG];
	uint8_t key[ROW_KEY_MAX], row[ROW_INODE_MAX];
	struct inode_row r;
	struct index_row at;
	struct index *x;
	char path[128], name[32];

	snprintf(path, sizeof(path), "%s/index", f->dir);
	CHECK_EQ(0, index_open(&x, path, f->conf.index_map_bytes, false, false));
	CHECK_EQ(0, index_get(x, key, key_inode(key, ino), &at));
	CHECK_EQ(0, inode_row_decode(&r, at.val, at.val_len));
	r.has_xattr = true;
	CHECK_EQ(0, index_write_begin(x));
	CHECK_EQ(0, index_put(x, key, key_inode(key, ino), row,
			      inode_row_encode(&r, row, sizeof(row))));
	for (unsigned i = 0; i < count; i++) {
		int n = snprintf(name, sizeof(name), "user.number-%u", i);

		CHECK_EQ(0, index_put(x, key, key_xattr(key, ino, name, (size_t)n), val,
				      xattr_encode(val, zero, i == 1 ? BIG : i % 50)));
	}
	CHECK_EQ(0, index_write_commit(x));
	index_close(x);
}

static unsigned attributes_count(struct fs *f, uint64_t ino)
{
	uint8_t key[ROW_KEY_MAX];
	struct index_row at;
	struct index *x;
	char path[128];
	unsigned n = 0;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "%s/index", f->dir);
	CHECK_EQ(0, index_open(&x, path, f->conf.index_map_bytes, false, true));
	len = key_xattr(key, ino, "", 0);
	for (err = index_seek(x, key, len, &at); err == 0 && memcmp(at.key, key, len) == 0;
	     err = index_next(x, &at))
		n++;
	index_close(x);
	return n;
}

static void t_gone_with_the_inode(void)
{
	uint64_t file, dir, keep;
	struct fs f;

	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "file", STORE_REG, &file));
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "dir", STORE_DIR, &dir));
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "keep", STORE_REG, &keep));
	CHECK_EQ(0, fs_link(&f, file, STORE_ROOT_INO, "second"));
	fs_close(&f);
	attributes_add(&f, file, 900);
	attributes_add(&f, dir, 3);
	attributes_add(&f, keep, 5);
	CHECK_EQ(0, fs_check(&f));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_write(&f, keep, 0, "x", 1, true)); /* the flag stays */
	CHECK_EQ(0, fs_remove(&f, STORE_ROOT_INO, "file"));
	fs_restart(&f);
	CHECK_EQ(900, (fs_close(&f), attributes_count(&f, file)));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_remove(&f, STORE_ROOT_INO, "second"));
	CHECK_EQ(0, fs_rmdir(&f, STORE_ROOT_INO, "dir"));
	store_free(f.s); /* killed: only the log knows */
	f.s = NULL;
	CHECK_EQ(0, fs_check(&f));
	CHECK_EQ(900, attributes_count(&f, file));
	CHECK_EQ(0, fs_open(&f));
	fs_close(&f);
	CHECK_EQ(0, attributes_count(&f, file));
	CHECK_EQ(0, attributes_count(&f, dir));
	CHECK_EQ(5, attributes_count(&f, keep));
	CHECK_EQ(0, fs_check(&f));
	fs_drop(&f);
}

static void t_stray_is_found(void)
{
	uint64_t file;
	struct inode_row r;
	struct index_row at;
	struct index *x;
	uint8_t key[ROW_KEY_MAX], row[ROW_INODE_MAX];
	char path[128];
	struct fs f;

	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "file", STORE_REG, &file));
	fs_close(&f);
	attributes_add(&f, file, 1);
	snprintf(path, sizeof(path), "%s/index", f.dir);
	CHECK_EQ(0, index_open(&x, path, f.conf.index_map_bytes, false, false));
	CHECK_EQ(0, index_get(x, key, key_inode(key, file), &at));
	CHECK_EQ(0, inode_row_decode(&r, at.val, at.val_len));
	r.has_xattr = false;
	CHECK_EQ(0, index_write_begin(x));
	CHECK_EQ(0, index_put(x, key, key_inode(key, file), row,
			      inode_row_encode(&r, row, sizeof(row))));
	CHECK_EQ(0, index_write_commit(x));
	index_close(x);
	CHECK_EQ(1, fs_check(&f));
	CHECK(strstr(f.err, "user.number-0") != NULL);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_bytes);
	CASE(t_change_bytes);
	CASE(t_gone_with_the_inode);
	CASE(t_stray_is_found);
	return check_end();
}
