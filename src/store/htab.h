/* htab.h - chained hash tables that grow one bucket at a time, so that no call pays for all.
 *
 * Linear hashing: of the buckets of the larger power of two the first `buckets` are there, the
 * others' entries lie in the bucket of the smaller one until it is its turn to be split.  Buckets
 * come in segments that never move.  An entry begins with a link; its owner chooses the hash.
 *
 * Most of what is looked for is not there (a new name, a call that is no repeat), and each entry
 * looked at is a line of memory fetched from afar.  So a bucket has a filter in the 16 bits that a
 * pointer leaves free: a bit for each entry of its chain, chosen by the entry's hash.  A bit that
 * is not set says that there is no such entry; one that is set says nothing.  Taking an entry out
 * leaves its bit until the bucket is empty or split. */
#ifndef HF_STORE_HTAB_H
#define HF_STORE_HTAB_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define HTAB_AHEAD   4U
#define HTAB_SEGMENT ((size_t)2048)

struct htab_link {
	struct htab_link *next;
	uint64_t hash;
};

struct htab {
	uint64_t **segment;
	size_t segments, cap;
	size_t mask;    /* of the smaller power of two */
	size_t buckets; /* more than mask, at most twice that */
};

#define HTAB_POINTER (((uint64_t)1 << 48) - 1)

static inline uint64_t *htab_bucket(const struct htab *t, size_t i)
{
	return &t->segment[i / HTAB_SEGMENT][i % HTAB_SEGMENT];
}

/* Where the chain of a hash begins; valid until the table grows.  For prefetching, mostly. */
static inline uint64_t *htab_at(const struct htab *t, uint64_t hash)
{
	size_t i = hash & (t->mask * 2 + 1);

	return htab_bucket(t, i < t->buckets ? i : i & t->mask);
}

static inline struct htab_link *htab_chain(uint64_t bucket)
{
	return (struct htab_link *)(uintptr_t)(bucket & HTAB_POINTER);
}

/* Hashes of one bucket share their low bits, and may be dense numbers: all bits take part. */
static inline uint64_t htab_bit(uint64_t hash)
{
	return (uint64_t)1 << (48 + (hash * 0x9e3779b97f4a7c15ULL >> 60));
}

static inline uint64_t htab_pack(struct htab_link *l, uint64_t filter)
{
	uint64_t at = (uint64_t)(uintptr_t)l;

	hf_assert(at <= HTAB_POINTER);
	return l ? at | (filter & ~HTAB_POINTER) : 0;
}

/* The first entry that may have this hash, or NULL; go on with its `next`. */
static inline struct htab_link *htab_first(const struct htab *t, uint64_t hash)
{
	uint64_t bucket = *htab_at(t, hash);

	return bucket & htab_bit(hash) ? htab_chain(bucket) : NULL;
}

static inline struct htab_link *htab_find(const struct htab *t, uint64_t hash)
{
	struct htab_link *l = htab_first(t, hash);

	while (l && l->hash != hash)
		l = l->next;
	return l;
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

static inline void htab_push(uint64_t *bucket, struct htab_link *l)
{
	uint64_t filter = *bucket | htab_bit(l->hash);

#ifdef HF_MUTANT_FILTER_FORGETS
	filter = htab_bit(l->hash);
#endif
	l->next = htab_chain(*bucket);
	*bucket = htab_pack(l, filter);
}

/* What the next splits will look at: of each chain one entry more at each step, nearer and nearer.
 * Nothing is asked for at NULL: that costs a walk through all page tables each time. */
static inline void htab_ahead(const struct htab *t, size_t i)
{
	const struct htab_link *l;

	for (size_t n = 0; n < HTAB_AHEAD; n++) {
		l = htab_chain(*htab_bucket(t, (i + HTAB_AHEAD - n) & t->mask));
		for (size_t deep = 0; l && deep < n; deep++)
			l = l->next;
		if (l)
			__builtin_prefetch(l);
	}
}

/* One more bucket: takes its share of the one below it. */
static inline void htab_split(struct htab *t)
{
	size_t i = t->buckets, bit = t->mask + 1;
	struct htab_link *l, *next;
	uint64_t *from, *to;

	if (i / HTAB_SEGMENT == t->segments)
		htab_segment_add(t);
	htab_ahead(t, i);
	from = htab_bucket(t, i & t->mask);
	to = htab_bucket(t, i);
	l = htab_chain(*from);
	for (*from = *to = 0; l; l = next) {
		next = l->next;
		htab_push(l->hash & bit ? to : from, l);
	}
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
	l->hash = hash;
	htab_push(htab_at(t, hash), l);
}

/* Takes out an entry that is in the table. */
static inline void htab_del(struct htab *t, struct htab_link *l)
{
	uint64_t *bucket = htab_at(t, l->hash);
	struct htab_link *before = htab_chain(*bucket);

	if (before == l) {
		*bucket = htab_pack(l->next, *bucket);
		return;
	}
	while (before->next != l)
		before = before->next;
	before->next = l->next;
}

#endif
