/* fuzz_record.c - record marking: the first byte says how the rest is cut into pieces.  However a
 * stream is cut, the same records come out, and nothing is left behind. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "io/record.h"

#define RECORD_MAX 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint32_t crc;
	unsigned count;
	int err;
};

static enum record_verdict take(void *arg, const uint8_t *msg, size_t len)
{
	struct seen *s = arg;
	uint64_t n = len;

	s->crc = crc32c(s->crc, &n, sizeof(n));
	s->crc = crc32c(s->crc, msg, len);
	s->count++;
	return len && msg[0] == 0xee ? RECORD_CLOSE : s->count % 5 ? RECORD_NEXT : RECORD_PAUSE;
}

static size_t room_part(size_t room, size_t left)
{
	return room - 1 < left ? room - 1 : left;
}

static struct seen run(const uint8_t *data, size_t size, size_t piece)
{
	struct record_pool pool;
	struct record_in r = {.buf = NULL};
	struct seen s = {0};
	size_t at = 0, used, room;

	record_pool_init(&pool, RECORD_MAX);
	while (at < size && s.err == 0) {
		size_t n = size - at < piece ? size - at : piece;
		uint8_t *to = record_direct(&r, &room);

		if (to && n > 1) { /* as a recv into it would */
			n = room_part(room, n);
			memcpy(to, data + at, n);
			record_landed(&r, n);
			at += n;
			continue;
		}
		s.err = record_feed(&pool, &r, data + at, n, &used, take, &s);
		if (used > n)
			abort();
		at += used;
	}
	record_drop(&pool, &r);
	if (pool.bytes)
		abort();
	record_pool_fini(&pool);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, cut;

	if (size < 2)
		return 0;
	whole = run(data + 1, size - 1, size);
	cut = run(data + 1, size - 1, (size_t)data[0] + 1);
	if (whole.count != cut.count || whole.crc != cut.crc || whole.err != cut.err)
		abort();
	return 0;
}
