/* t_record.c - record marking: whole, split anywhere, in fragments, too long, too many; and the
 * queue of replies on their way out. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/outq.h"
#include "io/record.h"

#define MAX 200000

static struct record_pool pool;
static uint8_t got[4][MAX];
static size_t got_len[4];
static int got_count, pause_after;

static enum record_verdict take(void *arg, const uint8_t *msg, size_t len)
{
	(void)arg;
	if (got_count < 4) {
		memcpy(got[got_count], msg, len);
		got_len[got_count] = len;
	}
	got_count++;
	if (len >= 3 && memcmp(msg, "bad", 3) == 0)
		return RECORD_CLOSE;
	return got_count == pause_after ? RECORD_PAUSE : RECORD_NEXT;
}

static void fresh(size_t max)
{
	record_pool_init(&pool, max);
	got_count = 0;
	pause_after = 0;
}

static size_t put(uint8_t *out, bool last, const void *data, size_t n)
{
	out[0] = (uint8_t)((last ? 0x80 : 0) | n >> 24);
	out[1] = (uint8_t)(n >> 16);
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	memcpy(out + 4, data, n);
	return n + 4;
}

/* Two records, one of them in three fragments (one empty), cut at every place into two feeds. */
static void t_split(void)
{
	uint8_t in[128];
	size_t n = 0, used;

	n += put(in + n, true, "first record", 12);
	n += put(in + n, false, "sec", 3);
	n += put(in + n, false, "", 0);
	n += put(in + n, true, "ond", 3);
	for (size_t cut = 0; cut <= n; cut++) {
		struct record_in r = {.buf = NULL};

		fresh(100);
		CHECK_EQ(0, record_feed(&pool, &r, in, cut, &used, take, NULL));
		CHECK_EQ(cut, used);
		CHECK_EQ(0, record_feed(&pool, &r, in + cut, n - cut, &used, take, NULL));
		CHECK_EQ(n - cut, used);
		CHECK_EQ(2, got_count);
		CHECK_EQ(12, got_len[0]);
		CHECK_EQ(6, got_len[1]);
		CHECK(memcmp(got[0], "first record", 12) == 0);
		CHECK(memcmp(got[1], "second", 6) == 0);
		CHECK(!record_partial(&r));
		CHECK_EQ(0, pool.bytes);
		record_pool_fini(&pool);
	}
}

static void t_bytewise(void)
{
	struct record_in r = {.buf = NULL};
	uint8_t in[64];
	size_t n = put(in, false, "ab", 2), used;

	n += put(in + n, true, "c", 1);
	n += put(in + n, true, "", 0);
	fresh(100);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(0, record_feed(&pool, &r, in + i, 1, &used, take, NULL));
	CHECK_EQ(2, got_count);
	CHECK_EQ(3, got_len[0]);
	CHECK_EQ(0, got_len[1]);
}

static void t_limits(void)
{
	struct record_in r = {.buf = NULL};
	uint8_t in[64], giant[4] = {0xff, 0xff, 0xff, 0xff};
	size_t n, used;
	int err = 0, i;

	fresh(20);
	CHECK_EQ(-EMSGSIZE, record_feed(&pool, &r, giant, 4, &used, take, NULL));
	record_drop(&pool, &r);
	CHECK_EQ(0, record_feed(&pool, &r, giant, 3, &used, take, NULL));
	CHECK_EQ(-EMSGSIZE, record_feed(&pool, &r, giant + 3, 1, &used, take, NULL));
	record_drop(&pool, &r);
	n = put(in, false, "0123456789", 10);
	n += put(in + n, true, "0123456789a", 11);
	CHECK_EQ(-EMSGSIZE, record_feed(&pool, &r, in, n, &used, take, NULL));
	record_drop(&pool, &r);
	n = put(in, false, "", 0);
	for (i = 0; i < RECORD_FRAGMENTS_MAX + 2 && err == 0; i++)
		err = record_feed(&pool, &r, in, n, &used, take, NULL);
	CHECK_EQ(-EPROTO, err);
	record_drop(&pool, &r);
	n = put(in, true, "bad", 3);
	CHECK_EQ(-ECONNABORTED, record_feed(&pool, &r, in, n, &used, take, NULL));
	CHECK_EQ(1, got_count);
	CHECK_EQ(0, pool.bytes);
}

static void t_pause(void)
{
	struct record_in r = {.buf = NULL};
	uint8_t in[64];
	size_t n = put(in, true, "one", 3), first = n, used;

	n += put(in + n, true, "two", 3);
	fresh(100);
	pause_after = 1;
	CHECK_EQ(0, record_feed(&pool, &r, in, n, &used, take, NULL));
	CHECK_EQ(first, used);
	CHECK_EQ(0, record_feed(&pool, &r, in + used, n - used, &used, take, NULL));
	CHECK_EQ(2, got_count);
}

static struct record_in pair;
static int seen;

/* In front of the second one: it is there to be seen, whole or not at all. */
static enum record_verdict peek(void *arg, const uint8_t *msg, size_t len)
{
	size_t next_len = 0;
	const uint8_t *next = record_ahead(&pair, *(const size_t *)arg, &next_len);

	(void)msg;
	if (next) {
		CHECK_EQ(5, len);
		CHECK_EQ(6, next_len);
		CHECK(memcmp(next, "second", 6) == 0);
		seen++;
	}
	return RECORD_NEXT;
}

static void t_ahead(void)
{
	uint8_t in[64];
	size_t n = put(in, true, "first", 5), used, max = 6;

	n += put(in + n, true, "second", 6);
	for (size_t cut = 0; cut <= n; cut++) {
		fresh(100);
		pair = (struct record_in){.buf = NULL};
		seen = 0;
		CHECK_EQ(0, record_feed(&pool, &pair, in, cut, &used, peek, &max));
		CHECK_EQ(cut == n, seen);
		CHECK_EQ(0, record_feed(&pool, &pair, in + cut, n - cut, &used, peek, &max));
		CHECK_EQ(cut == n || cut == 0, seen); /* else the first was not handed over where it lay */
		CHECK(record_ahead(&pair, max, &used) == NULL);
	}
	max = 5;
	seen = 0;
	CHECK_EQ(0, record_feed(&pool, &pair, in, n, &used, peek, &max));
	CHECK_EQ(0, seen);
}

/* A large record is received in place, all but its last byte. */
static void t_direct(void)
{
	struct record_in r = {.buf = NULL};
	static uint8_t in[150004], body[150000];
	size_t n, used, room = 0;
	uint8_t *at;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	n = put(in, true, body, sizeof(body));
	fresh(MAX);
	for (int round = 0; round < 3; round++) {
		got_count = 0;
		CHECK(record_direct(&r, &room) == NULL);
		CHECK_EQ(0, record_feed(&pool, &r, in, 1000, &used, take, NULL));
		CHECK_EQ(MAX, pool.bytes);
		at = record_direct(&r, &room);
		CHECK(at != NULL);
		CHECK_EQ(n - 1000, room);
		memcpy(at, in + 1000, room - 1);
		record_landed(&r, room - 1);
		CHECK_EQ(0, got_count);
		CHECK_EQ(0, record_feed(&pool, &r, in + n - 1, 1, &used, take, NULL));
		CHECK_EQ(1, got_count);
		CHECK_EQ(sizeof(body), got_len[0]);
		CHECK(memcmp(got[0], body, sizeof(body)) == 0);
		CHECK_EQ(0, pool.bytes);
	}
	CHECK_EQ(1, pool.kept);
	record_pool_fini(&pool);
}

static int freed;

static void body_free(void *arg, void *body)
{
	CHECK(arg == &freed);
	free(body);
	freed++;
}

static void nothing_freed(void *arg, void *body)
{
	(void)body;
	++*(int *)arg;
}

static void t_outq(void)
{
	struct outq_pool p;
	struct outq q = {.head = NULL};
	struct iovec iov[8];
	uint8_t *big = malloc(100000);

	outq_pool_init(&p);
	memcpy(outq_room(&p, &q, 5), "hello", 5);
	memcpy(outq_room(&p, &q, 6), " there", 6);
	CHECK_EQ(1, outq_iov(&q, iov, 8));
	CHECK_EQ(11, iov[0].iov_len);
	memset(big, 'x', 100000);
	outq_ref(&p, &q, big, 100000, body_free, &freed);
	memcpy(outq_room(&p, &q, 3), "end", 3);
	memset(outq_room(&p, &q, 50000), 'y', 50000);
	CHECK_EQ(4, outq_iov(&q, iov, 8));
	CHECK_EQ(2, outq_iov(&q, iov, 2));
	CHECK_EQ(11 + 100000 + 3 + 50000, q.bytes);
	outq_consume(&p, &q, 6);
	outq_iov(&q, iov, 8);
	CHECK(memcmp(iov[0].iov_base, "there", 5) == 0);
	outq_consume(&p, &q, 5 + 99999);
	CHECK_EQ(0, freed);
	outq_consume(&p, &q, 2);
	CHECK_EQ(1, freed);
	CHECK_EQ(2, outq_iov(&q, iov, 8));
	CHECK(memcmp(iov[0].iov_base, "nd", 2) == 0);
	outq_drop(&p, &q);
	CHECK_EQ(0, p.bytes);
	CHECK_EQ(0, outq_iov(&q, iov, 8));
	outq_pool_fini(&p);
}

/* Small, lent, small, lent: the small ones lie side by side in one chunk, nothing is left over. */
static void t_outq_chunk_goes_on(void)
{
	static uint8_t block[4096];
	struct outq_pool p;
	struct outq q = {.head = NULL};
	struct iovec iov[64];
	unsigned n;

	outq_pool_init(&p);
	for (unsigned round = 0; round < 3; round++) {
		int back = freed;

		for (unsigned i = 0; i < 30; i++) {
			memset(outq_room(&p, &q, 100), (int)i, 100);
			outq_ref(&p, &q, block, sizeof(block), nothing_freed, &freed);
		}
		n = outq_iov(&q, iov, 64);
		CHECK_EQ(60, n);
		for (unsigned i = 2; i < n; i += 2) {
			CHECK((uint8_t *)iov[i].iov_base == (uint8_t *)iov[i - 2].iov_base + 100);
			CHECK_EQ(i / 2, *(uint8_t *)iov[i].iov_base);
			CHECK(iov[i + 1].iov_base == block);
		}
		outq_consume(&p, &q, 100 + sizeof(block) + 50);
		CHECK_EQ(back + 1, freed);
		outq_drop(&p, &q);
		CHECK_EQ(back + 30, freed);
		CHECK_EQ(0, p.bytes);
		CHECK_EQ(1, p.chunk_count);
		CHECK_EQ(60, p.seg_count);
	}
	outq_pool_fini(&p);
}

int main(void)
{
	CASE(t_split);
	CASE(t_bytewise);
	CASE(t_limits);
	CASE(t_pause);
	CASE(t_ahead);
	CASE(t_direct);
	CASE(t_outq);
	CASE(t_outq_chunk_goes_on);
	return check_end();
}
