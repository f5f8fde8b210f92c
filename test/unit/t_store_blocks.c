/* t_store_blocks.c - file blocks kept in memory: the cache by itself, and a store that must never
 * show what is no longer so. */
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "check.h"
#include "lib_storefake.h"
#include "store/blocks.h"

#define ROOT	 STORE_ROOT_INO
#define FILE_MAX 150000U

/* 64 blocks, eight sets. */
static void t_finds_what_was_added(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);
	const uint8_t *got;
	unsigned found = 0;

	CHECK(blocks_new(BLOCKS_SIZE) == NULL);
	CHECK(blocks_find(b, 1, 0) == NULL);
	CHECK(!blocks_wanted(b, 1, 0));
	CHECK(blocks_wanted(b, 1, 0));
	for (unsigned i = 0; i < 1000; i++)
		memset(blocks_add(b, 1 + i % 3, i), (int)(i & 255), BLOCKS_SIZE);
	for (unsigned i = 0; i < 1000; i++) {
		got = blocks_find(b, 1 + i % 3, i);
		CHECK(!got || (got[0] == (i & 255) && got[BLOCKS_SIZE - 1] == (i & 255)));
		CHECK(blocks_find(b, 4, i) == NULL);
		found += got != NULL;
	}
	CHECK_EQ(64, found);
	for (unsigned i = 0; i < 1000; i++)
		blocks_drop(b, 1 + i % 3, i);
	for (unsigned i = 0; i < 1000; i++)
		CHECK(blocks_find(b, 1 + i % 3, i) == NULL);
	blocks_free(b);
}

/* What there is room for takes nobody's place. */
static void t_room_first(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);
	unsigned added = 0;

	for (unsigned i = 0; i < 1000; i++) {
		if (!blocks_room(b, 1, i))
			continue;
		memset(blocks_add(b, 1, i), (int)(i & 255), BLOCKS_SIZE);
		added++;
	}
	CHECK_EQ(64, added);
	for (unsigned i = 0; i < 1000; i++)
		added -= blocks_find(b, 1, i) != NULL;
	CHECK_EQ(0, added);
	blocks_free(b);
}

/* What is used stays while others come and go. */
static void t_keeps_what_is_used(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);

	memset(blocks_add(b, 7, 7), 7, BLOCKS_SIZE);
	for (unsigned i = 0; i < 1000; i++) {
		const uint8_t *got = blocks_find(b, 7, 7);

		CHECK(got && got[0] == 7);
		blocks_add(b, 9, i);
	}
	blocks_free(b);
}

/* What is lent is neither used again nor freed, at most half is lent.   covers: S12 */
static void t_lent(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);
	const uint8_t *lent[33];
	unsigned n = 0, refused = 0;

	for (unsigned i = 0; i < 1000 && n < 33; i++) {
		uint8_t *at = blocks_add(b, 1, i);

		if (!at) {
			refused++; /* a set of which all is lent */
			continue;
		}
		memset(at, (int)n, BLOCKS_SIZE);
		if (!blocks_lend(b, at))
			break;
		lent[n++] = at;
		if (i % 2)
			blocks_drop(b, 1, i);
	}
	CHECK_EQ(32, n);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t *at = blocks_add(b, 2, i);

		if (at)
			memset(at, 0xff, BLOCKS_SIZE);
		refused += !at;
	}
	for (unsigned i = 0; i < n; i++)
		CHECK(lent[i][0] == i && lent[i][BLOCKS_SIZE - 1] == i);
	blocks_give_back(b, lent[0] + 100);
	CHECK(blocks_lend(b, lent[1])); /* twice */
	CHECK(!blocks_lend(b, lent[2]));
	blocks_give_back(b, lent[1]);
	blocks_free(b);
	for (unsigned i = 1; i < n; i++) {
		CHECK_EQ(i, lent[i][1]);
		blocks_give_back(b, lent[i]);
	}
}

static void t_all_of_a_set_lent(void)
{
	struct blocks *b = blocks_new(16 * BLOCKS_SIZE); /* two sets */
	const uint8_t *lent[8];
	unsigned n = 0, full = 0, mate[200], mates = 0;

	for (unsigned i = 0; i < 200; i++)
		blocks_add(b, 1, i);
	blocks_drop(b, 1, 199); /* its set is the only one with room */
	for (unsigned i = 0; i < 200; i++)
		if (blocks_room(b, 1, i))
			mate[mates++] = i;
	CHECK(mates > 20 && mates < 180);
	for (unsigned i = 0; i < mates && n < 8; i++) {
		const uint8_t *at = blocks_add(b, 1, mate[i]);

		if (blocks_lend(b, at))
			lent[n++] = at;
	}
	CHECK_EQ(8, n);
	for (unsigned i = 0; i < 100; i++)
		full += blocks_add(b, 2, i) == NULL;
	CHECK(full > 20 && full < 80);
	while (n)
		blocks_give_back(b, lent[--n]);
	for (unsigned i = 0; i < 100; i++)
		CHECK(blocks_add(b, 3, i) != NULL);
	blocks_free(b);
}

/* Far back in a file nothing is kept, and never that of another place shown.   covers: S12 */
static void t_far_back(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);
	const uint64_t far[] = {(uint64_t)1 << 28, ((uint64_t)1 << 50) + 5};
	struct blocks_part p = {.data = "new", .from = 0, .len = 3};

	memset(blocks_add(b, 1, 0), 'o', BLOCKS_SIZE);
	memset(blocks_add(b, 1, 5), 'o', BLOCKS_SIZE);
	memset(blocks_add(b, 2, 0), 'o', BLOCKS_SIZE);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(blocks_find(b, 1, far[i]) == NULL);
		CHECK(!blocks_room(b, 1, far[i]));
		CHECK(blocks_add(b, 1, far[i]) == NULL);
		blocks_hint(b, 1, far[i]);
		blocks_write(b, 1, far[i], &p);
		blocks_drop(b, 1, far[i]);
	}
	CHECK(blocks_add(b, (uint64_t)1 << 36, 0) == NULL);
	CHECK(blocks_add(b, ((uint64_t)1 << 36) - 1, 0) != NULL);
	CHECK_EQ('o', blocks_find(b, 1, 0)[0]);
	CHECK_EQ('o', blocks_find(b, 1, 5)[0]);
	CHECK_EQ('o', blocks_find(b, 2, 0)[0]);
	blocks_free(b);
}

/* A write is followed, but not where the bytes are lent.   covers: S12 */
static void t_follows_writes(void)
{
	struct blocks *b = blocks_new(64 * BLOCKS_SIZE);
	struct blocks_part p = {.data = "new", .from = BLOCKS_SIZE - 3, .len = 3};
	uint8_t *at = blocks_add(b, 1, 1);

	memset(at, 'o', BLOCKS_SIZE);
	blocks_write(b, 1, 2, &p); /* not there */
	blocks_write(b, 2, 1, &p);
	CHECK_EQ('o', at[BLOCKS_SIZE - 1]);
	blocks_write(b, 1, 1, &p);
	CHECK(blocks_find(b, 1, 1) == at);
	CHECK(memcmp(at + BLOCKS_SIZE - 4, "onew", 4) == 0);
	CHECK(blocks_lend(b, at));
	p.from = 0;
	blocks_write(b, 1, 1, &p);
	CHECK_EQ('o', at[0]);
	CHECK(blocks_find(b, 1, 1) == NULL);
	blocks_give_back(b, at);
	blocks_free(b);
}

static struct fs f;
static uint8_t model[FILE_MAX];
static size_t model_len;
static uint64_t file;

static unsigned rnd(unsigned below)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 33) % below;
}

static void read_and_compare(void)
{
	static uint8_t buf[16384];
	size_t off = rnd(FILE_MAX), len = 1 + rnd(rnd(2) ? 500 : sizeof(buf));
	size_t want = off < model_len ? model_len - off : 0;

	want = want < len ? want : len;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ((long)want, fs_read(&f, file, off, buf, len));
		CHECK(memcmp(buf, model + off, want) == 0);
	}
}

static void change(void)
{
	static uint8_t data[100000]; /* the largest are dropped, others followed */
	size_t len = 1 + rnd(rnd(8) ? 9000 : sizeof(data)), off = rnd(FILE_MAX - (unsigned)len);

	if (rnd(5) == 0) {
		size_t to = rnd(FILE_MAX);

		CHECK_EQ(0, fs_truncate(&f, file, to));
		if (to < model_len)
			memset(model + to, 0, model_len - to);
		model_len = to;
		return;
	}
	memset(data, (int)(1 + rnd(255)), len);
	CHECK_EQ(0, fs_write(&f, file, off, data, len, rnd(2)));
	memcpy(model + off, data, len);
	if (off + len > model_len)
		model_len = off + len;
}

/* covers: S12 */
static void t_never_shows_what_was(void)
{
	uint64_t kept = trace_mark_count("store.block_kept");

	fs_new(&f);
	f.conf.read_cache_bytes = 8 * BLOCKS_SIZE;
	fs_restart(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &file);
	for (unsigned i = 0; i < 400; i++) {
		change();
		for (int k = 0; k < 6; k++)
			read_and_compare();
		if (i % 150 == 149) {
			CHECK_EQ(0, fs_commit(&f, file));
			fs_crash(&f);
		}
	}
	CHECK(trace_mark_count("store.block_kept") > kept + 100);
	CHECK(trace_mark_count("store.block_evicted") > 0);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_finds_what_was_added);
	CASE(t_room_first);
	CASE(t_keeps_what_is_used);
	CASE(t_lent);
	CASE(t_all_of_a_set_lent);
	CASE(t_far_back);
	CASE(t_follows_writes);
	CASE(t_never_shows_what_was);
	return check_end();
}
