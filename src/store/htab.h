/* htab.h - chained hash tables that grow one bucket at a time, so that no call pays for all.
 *
 * Linear hashing: of the buckets of the larger power of two the first `buckets` are there, the
 * others' entries lie in the bucket of the smaller one until it is its turn to be split.  Buckets
 * come in segments that never move.  An entry begins with a link; its owner chooses the hash. */
#ifndef HF_STORE_HTAB_H
#define HF_STORE_HTAB_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

#define HTAB_SEGMENT ((size_t)2048)

struct htab_link {
	struct htab_link *next;
	uint64_t hash;
};

struct htab {
	struct htab_link ***segment;
	size_t segments, cap;
	size_t mask;	/* of the smaller power of two */
	size_t buckets; /* more than mask, at most twice that */
};

static inline struct htab_link **htab_bucket(const struct htab *t, size_t i)
{
	return &t->segment[i / HTAB_SEGMENT][i % HTAB_SEGMENT];
}

/* Where the chain of a hash begins; valid until the table grows. */
static inline struct htab_link **htab_at(const struct htab *t, uint64_t hash)
{
	size_t i = hash & (t->mask * 2 + 1);

	return htab_bucket(t, i < t->buckets ? i : i & t->mask);
}

static inline void htab_segment_add(struct htab *t)
{
	if (t->segments == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->segment = mem_realloc(t->segment, t->cap * sizeof(*t->segment));
	}
	t->segment[t->segments++] = mem_zalloc(HTAB_SEGMENT, sizeof(**t->segment));
}

static inline void htab_init(struct htab *t)
{
	*t = (struct htab){.mask = HTAB_SEGMENT - 1, .buckets = HTAB_SEGMENT};
	htab_segment_add(t);
}

static inline void htab_fini(struct htab *t)
{
	for (size_t i = 0; i < t->segments; i++)
		free(t->segment[i]);
	free(t->segment);
	*t = (struct htab){0};
}

/* One more bucket: takes its share of the one below it. */
static inline void htab_split(struct htab *t)
{
	struct htab_link **from, **to, *l;
	size_t i = t->buckets, bit = t->mask + 1;

	if (i / HTAB_SEGMENT == t->segments)
		htab_segment_add(t);
	from = htab_bucket(t, i & t->mask);
	to = htab_bucket(t, i);
	while ((l = *from) != NULL) {
		if (l->hash & bit) {
			*from = l->next;
			*to = l;
			to = &l->next;
		} else {
			from = &l->next;
		}
	}
	*to = NULL;
	if (++t->buckets == 2 * bit)
		t->mask = 2 * bit - 1;
}

/* Buckets for so many entries; a step or two at a time when it is called at each addition. */
static inline void htab_grow(struct htab *t, size_t wanted)
{
	while (t->buckets < wanted)
		htab_split(t);
}

static inline void htab_put(struct htab *t, struct htab_link *l, uint64_t hash)
{
	struct htab_link **at = htab_at(t, hash);

	l->hash = hash;
	l->next = *at;
	*at = l;
}

#endif
