/* map64.h - a small open-addressed map from 64-bit keys (never 0) to 64-bit values.
 * Grows by doubling; nothing is removed but everything at once. */
#ifndef HF_STORE_MAP64_H
#define HF_STORE_MAP64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct map64_slot {
	uint64_t key, val;
};

struct map64 {
	struct map64_slot *slot;
	size_t mask, count; /* mask 0: nothing allocated yet */
};

static inline uint64_t map64_mix(uint64_t k)
{
	k *= 0x9e3779b97f4a7c15ULL;
	return k ^ k >> 29;
}

static inline struct map64_slot *map64_slot(const struct map64 *m, uint64_t key)
{
	size_t i = map64_mix(key) & m->mask;

	while (m->slot[i].key && m->slot[i].key != key)
		i = (i + 1) & m->mask;
	return &m->slot[i];
}

static inline uint64_t *map64_find(const struct map64 *m, uint64_t key)
{
	struct map64_slot *at = m->mask ? map64_slot(m, key) : NULL;

	return at && at->key ? &at->val : NULL;
}

static inline void map64_grow(struct map64 *m)
{
	struct map64 bigger = {.mask = m->mask ? m->mask * 2 + 1 : 63, .count = m->count};

	bigger.slot = mem_zalloc(bigger.mask + 1, sizeof(*bigger.slot));
	for (size_t i = 0; m->mask && i <= m->mask; i++)
		if (m->slot[i].key)
			*map64_slot(&bigger, m->slot[i].key) = m->slot[i];
	free(m->slot);
	*m = bigger;
}

/* The value's place, made (with value 0) when it was not there; valid until the next call. */
static inline uint64_t *map64_put(struct map64 *m, uint64_t key)
{
	struct map64_slot *at;

	if (m->count * 4 >= m->mask * 3)
		map64_grow(m);
	at = map64_slot(m, key);
	if (!at->key) {
		at->key = key;
		m->count++;
	}
	return &at->val;
}

static inline void map64_clear(struct map64 *m)
{
	if (m->count)
		memset(m->slot, 0, (m->mask + 1) * sizeof(*m->slot));
	m->count = 0;
}

static inline void map64_fini(struct map64 *m)
{
	free(m->slot);
	memset(m, 0, sizeof(*m));
}

#endif
