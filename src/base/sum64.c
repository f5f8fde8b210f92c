/* sum64.c - two implementations of one sum; a test holds them against each other.
 *
 * Long inputs go in stripes of 128 bytes through sixteen strands that do not wait for each other:
 * the halves of a word, mixed with a key, are multiplied, and the word is added, so that a half
 * of zeros hides nothing.  The keys change from stripe to stripe: the order counts.  With vectors of
 * 32 bytes that goes as quickly as memory can be read (a MiB: 15 us, where products of 64 by 64
 * bits took 45).  The rest, and what is short, goes through such products, 16 bytes at a time. */
#include "base/sum64.h"

#include <endian.h>
#include <string.h>

#define WORDS	16U
#define STRIPE	(WORDS * 8U)
#define STRIPED (2U * STRIPE) /* from here on the strands pay */
#define STEP	0x9e3779b97f4a7c15ULL

/* The fraction of pi. */
static const uint64_t keys[WORDS] __attribute__((aligned(32))) = {
    0x243f6a8885a308d3ULL, 0x13198a2e03707344ULL, 0xa4093822299f31d0ULL, 0x082efa98ec4e6c89ULL,
    0x452821e638d01377ULL, 0xbe5466cf34e90c6cULL, 0xc0ac29b7c97c50ddULL, 0x3f84d5b5b5470917ULL,
    0x9216d5d98979fb1bULL, 0xd1310ba698dfb5acULL, 0x2ffd72dbd01adfb7ULL, 0xb8e1afed6a267e96ULL,
    0xba7c9045f12c7f99ULL, 0x24a19947b3916cf7ULL, 0x0801f2e2858efc16ULL, 0x636920d871574e69ULL,
};

typedef void stripes_fn(uint64_t sum[WORDS], const uint8_t *p, size_t count);

static uint64_t word(const uint8_t *b)
{
	uint64_t v;

	memcpy(&v, b, 8);
	return le64toh(v);
}

static void stripes_plain(uint64_t sum[WORDS], const uint8_t *p, size_t count)
{
	for (uint64_t at = 0; count > 0; count--, p += STRIPE) {
		for (unsigned i = 0; i < WORDS; i++) {
			uint64_t w = word(p + (size_t)8 * i), x = w ^ (keys[i] + at);

			sum[i] += (x & UINT32_MAX) * (x >> 32) + w;
		}
#ifndef HF_MUTANT_SUM_WITHOUT_ORDER
		at += STEP;
#endif
	}
}

#ifdef __x86_64__
typedef uint64_t vec __attribute__((vector_size(32)));
typedef int vec_int __attribute__((vector_size(32)));
typedef uint64_t vec_loose __attribute__((vector_size(32), aligned(1), may_alias));

#define VECS (STRIPE / 32U)

__attribute__((target("avx2"))) static void stripes_avx2(uint64_t sum[WORDS], const uint8_t *p,
							 size_t count)
{
	const vec step = {STEP, STEP, STEP, STEP};
	vec a[VECS], k[VECS];

	memcpy(a, sum, sizeof(a));
	memcpy(k, keys, sizeof(k));
	for (; count > 0; count--, p += STRIPE) {
#pragma GCC unroll 4
		for (unsigned i = 0; i < VECS; i++) {
			vec w = *(const vec_loose *)(p + (size_t)32 * i), x = w ^ k[i];

			a[i] += (vec)__builtin_ia32_pmuludq256((vec_int)x, (vec_int)(x >> 32)) + w;
			k[i] += step;
		}
	}
	memcpy(sum, a, sizeof(a));
}
#endif

/* Both halves of the product of two words, each mixed with something of the other side. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide p = (wide)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t sum_with(stripes_fn *stripes, const uint8_t *p, size_t n)
{
	uint64_t h = n ^ keys[0], g = keys[4];
	uint8_t tail[16] = {0};

	if (n >= STRIPED) {
		uint64_t sum[WORDS] = {0};
		size_t count = n / STRIPE;

		stripes(sum, p, count);
		for (unsigned i = 0; i < WORDS; i += 2)
			h = fold(sum[i] ^ h, sum[i + 1] ^ keys[i]);
		p += count * STRIPE;
		n -= count * STRIPE;
	}
	for (; n >= 32; p += 32, n -= 32) {
		h = fold(word(p) ^ h, word(p + 8) ^ keys[1]);
		g = fold(word(p + 16) ^ g, word(p + 24) ^ keys[5]);
	}
	if (n > 16) {
		h = fold(word(p) ^ h, word(p + 8) ^ keys[1]);
		p += 16;
		n -= 16;
	}
	memcpy(tail, p, n);
	h = fold(word(tail) ^ h, word(tail + 8) ^ keys[1]);
	return fold(h ^ keys[2], g ^ keys[3]);
}

uint64_t sum64_plain(const void *data, size_t len)
{
	return sum_with(stripes_plain, data, len);
}

uint64_t sum64(const void *data, size_t len)
{
#ifdef __x86_64__
	static int have = -1;

	if (have < 0)
		have = __builtin_cpu_supports("avx2") ? 1 : 0;
	if (have)
		return sum_with(stripes_avx2, data, len);
#endif
	return sum64_plain(data, len);
}
