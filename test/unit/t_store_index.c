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

static void put_by(int (*how)(struct index *, const uint8_t *, size_t, const void *, size_t), uint64_t id,
		   size_t len)
{
	uint8_t key[9], val[600];

	memset(val, (int)id, sizeof(val));
	CHECK_EQ(0, how(ix, key, table_key(key, TABLE_INODE, id), val, len));
}

/* Of rows of several lengths, some of them too long to lie on a page with others: every length from
 * one on, to meet each way in which a page can be full. */
static size_t run_len(uint64_t id, size_t step)
{
	return step == 0 ? 60 : 1 + id * step % 600;
}

static uint64_t grown_by_run(size_t step)
{
	uint64_t before = pages();
	uint8_t key[9], last[9], val[600];
	struct index_row end = {.key = last, .val = val};

	end.key_len = table_key(last, TABLE_INODE, OLD + ROWS - 1);
	end.val_len = run_len(OLD + ROWS - 1, step);
	memset(val, (int)(OLD + ROWS - 1), sizeof(val));
	CHECK_EQ(0, index_write_begin(ix));
	CHECK_EQ(0, index_run(ix, key, table_key(key, TABLE_INODE, OLD), &end));
	for (uint64_t i = OLD; i + 1 < OLD + ROWS; i++)
		put_by(index_run_put, i, run_len(i, step));
	CHECK_EQ(0, index_run_end(ix));
	CHECK_EQ(0, index_write_commit(ix));
	return pages() - before;
}

/* All rows of the run, in order, with their values, and those behind it. */
static void check_run(size_t step)
{
	struct index_row row;
	uint8_t key[9];

	table_key(key, TABLE_INODE, 0);
	for (uint64_t i = 0; i < OLD + ROWS; i++) {
		size_t len = i < OLD ? 60 : run_len(i, step);

		table_key(key, TABLE_INODE, i);
		CHECK_EQ(0, i ? index_next(ix, &row) : index_seek(ix, key, 9, &row));
		if (row.key_len != 9 || memcmp(row.key, key, 9) != 0 || row.val_len != len ||
		    row.val[0] != (uint8_t)i || row.val[len - 1] != (uint8_t)i)
			CHECK_EQ(i, 0);
	}
	for (uint64_t i = 0; i < OLD; i++) {
		table_key(key, TABLE_NAME, i);
		CHECK_EQ(0, index_next(ix, &row));
		CHECK(row.key_len == 9 && memcmp(row.key, key, 9) == 0);
	}
	CHECK_EQ(-ENOENT, index_next(ix, &row));
}

/* The order is memcmp()'s: others (pages.c, an older program) look for rows by it. */
static void t_order(void)
{
	static const uint8_t of[] = {0, 1, 0x7f, 0x80, 0xff};
	struct index_row row;
	uint8_t key[40] = {1}, before[40] = {0};
	size_t before_len = 0, count = 0;
	uint32_t x = 1;

	open_new();
	CHECK_EQ(0, index_write_begin(ix));
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = 1 + i % 28;

		for (size_t k = 0; k < len; k++) {
			x = x * 1103515245U + 12345U;
			key[k] = of[(x >> 16) % (k < 12 ? 2 : sizeof(of))]; /* many begin alike */
		}
		CHECK_EQ(0, index_put(ix, key, len, &i, sizeof(i)));
		CHECK_EQ(0, index_write_get(ix, key, len, &row));
	}
	CHECK_EQ(0, index_write_commit(ix));
	CHECK_EQ(0, index_renew(ix));
	for (int err = index_seek(ix, before, 1, &row); err == 0; err = index_next(ix, &row)) {
		size_t n = row.key_len < before_len ? row.key_len : before_len;
		int d = memcmp(before, row.key, n);

		if (d > 0 || (d == 0 && before_len >= row.key_len))
			CHECK_EQ(0, count);
		memcpy(before, row.key, row.key_len);
		before_len = row.key_len;
		count++;
	}
	CHECK(count > 10000);
	close_and_remove();
}

static void t_run(void)
{
	static const size_t step[] = {0, 1, 7, 77, 131};

	for (size_t i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		uint64_t bytes = 0, whole;

		for (uint64_t n = OLD; n < OLD + ROWS; n++)
			bytes += 9 + run_len(n, step[i]) + 11;
		open_new();
		fill();
		whole = grown_by_run(step[i]);
		CHECK(whole * 4096 < bytes * (step[i] ? 13 : 11) / 10);
		check_run(step[i]);
		close_and_remove();
	}
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
	CASE(t_order);
	CASE(t_run);
	CASE(t_nothing_is_lost);
	CASE(t_after);
	return check_end();
}
