/* crc32c.c - two implementations of one polynomial; a test holds them against each other. */
#include "base/crc32c.h"

#include <string.h>

#define POLY_REFLECTED 0x82f63b78U

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
	static uint32_t table[256];
	const uint8_t *p = data;

	if (table[1] == 0) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? c >> 1 ^ POLY_REFLECTED : c >> 1;
			table[i] = c;
		}
	}
	crc = ~crc;
	while (len--)
		crc = table[(crc ^ *p++) & 0xff] ^ crc >> 8;
	return ~crc;
}

#ifdef __x86_64__
/* The instruction takes three cycles but a new one can begin with each: three strands of `lane`
 * bytes are summed side by side and joined.  Joining moves a sum past the bytes that follow it;
 * that is linear, so a table for each of its four bytes does it. */
struct strands {
	size_t lane;
	uint32_t past[4][256];
};
static struct strands strands_long = {.lane = 1024}, strands_short = {.lane = 128};

static uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

__attribute__((target("sse4.2"))) static void strands_init(struct strands *t)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		uint64_t c = 1U << bit;

		for (size_t i = 0; i < t->lane; i += 8)
			c = __builtin_ia32_crc32di(c, 0);
		for (unsigned b = 0; b < 256; b++)
			if (b >> bit % 8 & 1)
				t->past[bit / 8][b] ^= (uint32_t)c;
	}
}

/* Before main(), so that no thread ever sees half a table. */
__attribute__((constructor)) static void strands_ready(void)
{
	if (__builtin_cpu_supports("sse4.2")) {
		strands_init(&strands_long);
		strands_init(&strands_short);
	}
}

static uint64_t move_past(const struct strands *t, uint64_t c)
{
	return t->past[0][c & 0xff] ^ t->past[1][c >> 8 & 0xff] ^ t->past[2][c >> 16 & 0xff] ^
	       t->past[3][c >> 24 & 0xff];
}

/* As many times three lanes as there are; returns what is left. */
__attribute__((target("sse4.2"))) static size_t strands_run(const struct strands *t, uint64_t *crc,
							    const uint8_t **data, size_t len)
{
	const uint8_t *p = *data;
	size_t lane = t->lane;

	for (; len >= 3 * lane; len -= 3 * lane, p += 3 * lane) {
		uint64_t a = *crc, b = 0, c = 0;

		for (size_t i = 0; i < lane; i += 8) {
			a = __builtin_ia32_crc32di(a, load(p + i));
			b = __builtin_ia32_crc32di(b, load(p + lane + i));
			c = __builtin_ia32_crc32di(c, load(p + 2 * lane + i));
		}
		*crc = move_past(t, move_past(t, a) ^ b) ^ c;
	}
	*data = p;
	return len;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data,
							       size_t len)
{
	const uint8_t *p = data;
	uint64_t c = ~crc;

	len = strands_run(&strands_long, &c, &p, len);
	len = strands_run(&strands_short, &c, &p, len);
	for (; len >= 8; len -= 8, p += 8)
		c = __builtin_ia32_crc32di(c, load(p));
	for (; len; len--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
	return ~(uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#ifdef __x86_64__
	static int have = -1;

	if (have < 0)
		have = __builtin_cpu_supports("sse4.2") ? 1 : 0;
	if (have)
		return crc32c_sse42(crc, data, len);
#endif
	return crc32c_table(crc, data, len);
}
