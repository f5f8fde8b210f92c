/* t_store_index.c - rows put in order into the middle of an index fill their pages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "store/index.h"
#include "store/record.h"

#define OLD  1017U /* the last page of inodes has names behind them */
#define ROWS 20000U

static struct index *ix;
static char dir[64];

static void open_new(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hf-index.XXXXXX");
	CHECK(mkdtemp(dir));
	CHECK_EQ(0, index_open(&ix, dir, 256 << 20, true, false));
}

static void close_and_remove(void)
{
	char path[96];

	index_close(ix);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	unlink(path);
	rmdir(dir);
}

static void put(enum table t, uint64_t id)
{
	uint8_t key[9], val[60];

	memset(val, (int)id, sizeof(val));
	CHECK_EQ(0, index_put(ix, key, table_key(key, t, id), val, sizeof(val)));
}

/* Inodes, and names behind them, as an index has them that was in use. */
static void fill(void)
{
	CHECK_EQ(0, index_write_begin(ix));
	for (uint64_t i = 0; i < OLD; i++)
		put(TABLE_INODE, i);
	for (uint64_t i = 0; i < OLD; i++)
		put(TABLE_NAME, i);
	CHECK_EQ(0, index_write_commit(ix));
}

static uint64_t pages(void)
{
	struct index_size z;

	CHECK_EQ(0, index_renew(ix));
	index_size(ix, &z);
	return z.pages_used - z.pages_free;
}

static uint64_t grown_by(bool parted)
{
	uint64_t before = pages();
	uint8_t key[9];

	CHECK_EQ(0, index_write_begin(ix));
	if (parted)
		CHECK_EQ(0, index_part(ix, key, table_key(key, TABLE_INODE, OLD)));
	for (uint64_t i = OLD; i < OLD + ROWS; i++)
		put(TABLE_INODE, i);
	if (parted)
		CHECK_EQ(0, index_join(ix));
	CHECK_EQ(0, index_write_commit(ix));
	return pages() - before;
}

static void t_parted_pages_are_full(void)
{
	uint64_t bytes = ROWS * (9 + 60 + 1 + 8 + 2), whole, halves;

	open_new();
	fill();
	halves = grown_by(false);
	close_and_remove();
	open_new();
	fill();
	whole = grown_by(true);
	close_and_remove();
	CHECK(whole * 4096 < bytes * 11 / 10);
	CHECK(halves * 4096 > bytes * 16 / 10);
}

/* Whatever place is asked for: every row is there once, with its value, in order. */
static void t_nothing_is_lost(void)
{
	struct index_row row;
	uint8_t key[9];

	open_new();
	fill();
	for (unsigned round = 0; round < 200; round++) {
		CHECK_EQ(0, index_write_begin(ix));
		for (unsigned n = 0; n < 3; n++) {
			uint64_t at = (round * 7919U + n * 31U) % 2100;
			enum table t = at & 1 ? TABLE_INODE : TABLE_NAME;

			CHECK_EQ(0, index_part(ix, key, table_key(key, t, at / 2)));
			put(TABLE_XATTR, round);
			CHECK_EQ(0, index_join(ix));
		}
		CHECK_EQ(0, index_write_commit(ix));
		CHECK_EQ(0, index_renew(ix));
	}
	for (unsigned t = 0; t < 2; t++) {
		for (uint64_t i = 0; i < OLD; i++) {
			table_key(key, t ? TABLE_NAME : TABLE_INODE, i);
			CHECK_EQ(0, t || i ? index_next(ix, &row) : index_seek(ix, key, 9, &row));
			CHECK(row.key_len == 9 && memcmp(row.key, key, 9) == 0);
			CHECK(row.val_len == 60 && row.val[0] == (uint8_t)i && row.val[59] == (uint8_t)i);
		}
	}
	close_and_remove();
}

static void t_after(void)
{
	const uint8_t *next;
	uint8_t key[9];
	size_t len;

	open_new();
	fill();
	CHECK_EQ(0, index_write_begin(ix));
	CHECK_EQ(0, index_after(ix, key, table_key(key, TABLE_INODE, OLD), &next, &len));
	CHECK(len == 9 && next[0] == TABLE_NAME && next[8] == 0);
	CHECK_EQ(0, index_after(ix, key, table_key(key, TABLE_INODE, 7), &next, &len));
	CHECK(len == 9 && memcmp(next, key, 9) == 0);
	CHECK_EQ(-ENOENT, index_after(ix, key, table_key(key, TABLE_XATTR, 0), &next, &len));
	index_write_abort(ix);
	close_and_remove();
}

int main(void)
{
	CASE(t_parted_pages_are_full);
	CASE(t_nothing_is_lost);
	CASE(t_after);
	return check_end();
}
