/* htab.h - hash tables that grow a line at a time, so that no call pays for all.
 *
 * A bucket is a line of memory: seven entries and the way to the next line, for the few that got
 * more.  Of an entry there is its address and, in the 16 bits that an address leaves free, a part
 * of its hash (the tag).  Most of what is looked for is not there (a new name, a call that is no
 * repeat), and each entry that is looked at is a line fetched from afar, mostly with a walk through
 * page tables; so entries are looked at only when their tag is the one that is looked for.
 *
 * Linear hashing: of the buckets of the larger power of two the first `buckets` are there, the
 * others' entries lie in the bucket of the smaller one until it is its turn to be split.  Who goes
 * where is decided by a bit of the tag, so that a split touches no entry, as long as the tag has it.
 * Buckets come in segments that never move.  A line of the few is given back when it is empty, to the
 * table for the next bucket that gets more: else each bucket would keep what it once needed, and a
 * table of steady size would grow for hours.  An entry has a link; its owner chooses the hash. */
#ifndef HF_STORE_HTAB_H
#define HF_STORE_HTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define HTAB_SEGMENT ((size_t)256) /* buckets */
#define HTAB_SLOTS   7U
#define HTAB_FULL    5U /* entries a bucket, on average */
#define HTAB_LINE    64U
#define HTAB_POINTER (((uint64_t)1 << 48) - 1)
#define HTAB_TAG_AT  8U /* the tag's lowest bit in the hash: the first that a split may ask for */
#define HTAB_TAG_END (HTAB_TAG_AT + 16)

_Static_assert(HTAB_SEGMENT == (size_t)1 << HTAB_TAG_AT, "a table begins with one segment");

struct htab_link {
	uint64_t hash;
};

struct htab_line {
	uint64_t slot[HTAB_SLOTS]; /* tag and address of a link; 0: free */
	struct htab_line *more;
};

struct htab {
	struct htab_line **segment;
	size_t segments, cap;
	size_t mask;	/* of the smaller power of two */
	size_t buckets; /* more than mask, at most twice that */
	struct htab_line *unused; /* lines of the few, a chain */
};

static inline struct htab_line *htab_bucket(const struct htab *t, size_t i)
{
	return &t->segment[i / HTAB_SEGMENT][i % HTAB_SEGMENT];
}

/* The bucket of a hash; valid until the table grows. */
static inline struct htab_line *htab_at(const struct htab *t, uint64_t hash)
{
	size_t i = hash & (t->mask * 2 + 1);

	return htab_bucket(t, i < t->buckets ? i : i & t->mask);
}

static inline struct htab_link *htab_entry(uint64_t slot)
{
	return (struct htab_link *)(uintptr_t)(slot & HTAB_POINTER);
}

static inline uint64_t htab_slot(const struct htab_link *l)
{
	uint64_t at = (uint64_t)(uintptr_t)l;

	hf_assert(at <= HTAB_POINTER);
	return at | l->hash >> HTAB_TAG_AT << 48;
}

/* ---- looking ----------------------------------------------------------------------------------- */

/* Goes through what may have this hash:
 *	for (l = htab_first(&k, t, hash); l; l = htab_next(&k)) ... */
struct htab_look {
	const struct htab_line *line;
	uint64_t hash;
	unsigned at;
};

static inline struct htab_link *htab_next(struct htab_look *k)
{
	uint64_t tag = k->hash >> HTAB_TAG_AT << 48;

	for (; k->line; k->line = k->line->more, k->at = 0)
		while (k->at < HTAB_SLOTS) {
			uint64_t slot = k->line->slot[k->at++];

			if (slot && ((slot ^ tag) & ~HTAB_POINTER) == 0)
				return htab_entry(slot);
		}
	return NULL;
}

static inline struct htab_link *htab_first(struct htab_look *k, const struct htab *t, uint64_t hash)
{
	*k = (struct htab_look){.line = htab_at(t, hash), .hash = hash};
	return htab_next(k);
}

static inline struct htab_link *htab_find(const struct htab *t, uint64_t hash)
{
	struct htab_look k;
	struct htab_link *l = htab_first(&k, t, hash);

	while (l && l->hash != hash)
		l = htab_next(&k);
	return l;
}

/* ---- changing ---------------------------------------------------------------------------------- */

static inline struct htab_line *htab_lines(size_t count)
{
	struct htab_line *line = mem_aligned(HTAB_LINE, count * sizeof(*line));

	for (size_t i = 0; i < count; i++)
		line[i] = (struct htab_line){.more = NULL};
	return line;
}

static inline void htab_segment_add(struct htab *t)
{
	if (t->segments == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->segment = mem_realloc(t->segment, t->cap * sizeof(*t->segment));
	}
	t->segment[t->segments++] = htab_lines(HTAB_SEGMENT);
}

static inline void htab_init(struct htab *t)
{
	*t = (struct htab){.mask = HTAB_SEGMENT - 1, .buckets = HTAB_SEGMENT};
	htab_segment_add(t);
}

static inline struct htab_line *htab_line_get(struct htab *t)
{
	struct htab_line *line = t->unused;

	if (!line)
		return htab_lines(1);
	t->unused = line->more;
	*line = (struct htab_line){.more = NULL};
	return line;
}

static inline void htab_line_put(struct htab *t, struct htab_line *line)
{
	line->more = t->unused;
	t->unused = line;
}

static inline void htab_more_free(struct htab_line *more)
{
	for (struct htab_line *next; more; more = next) {
		next = more->more;
		free(more);
	}
}

static inline void htab_fini(struct htab *t)
{
	for (size_t i = 0; i < t->buckets && t->segments; i++)
		htab_more_free(htab_bucket(t, i)->more);
	htab_more_free(t->unused);
	for (size_t i = 0; i < t->segments; i++)
		free(t->segment[i]);
	free(t->segment);
	*t = (struct htab){0};
}

static inline void htab_add(struct htab *t, struct htab_line *line, uint64_t slot)
{
	for (;; line = line->more) {
		for (unsigned i = 0; i < HTAB_SLOTS; i++)
			if (!line->slot[i]) {
				line->slot[i] = slot;
				return;
			}
		if (!line->more)
			line->more = htab_line_get(t);
	}
}

/* Does the entry belong to the upper of the two buckets that this bit tells apart? */
static inline bool htab_upper(uint64_t slot, unsigned bit)
{
	if (bit < HTAB_TAG_END)
		return slot >> (48 + bit - HTAB_TAG_AT) & 1;
	return htab_entry(slot)->hash >> bit & 1;
}

/* One more bucket: takes its share of the one below it. */
static inline void htab_split(struct htab *t)
{
	size_t i = t->buckets, half = t->mask + 1;
	unsigned bit = (unsigned)__builtin_ctzll(half);
	struct htab_line *from = htab_bucket(t, i & t->mask), was = *from, *to;

	if (i / HTAB_SEGMENT == t->segments)
		htab_segment_add(t);
	to = htab_bucket(t, i);
#ifdef HF_MUTANT_SPLIT_BY_NEIGHBOUR
	bit++;
#endif
	*from = (struct htab_line){.more = NULL};
	for (const struct htab_line *line = &was; line; line = line->more)
		for (unsigned k = 0; k < HTAB_SLOTS; k++)
			if (line->slot[k])
				htab_add(t, htab_upper(line->slot[k], bit) ? to : from, line->slot[k]);
	for (struct htab_line *line = was.more, *next; line; line = next) {
		next = line->more;
		htab_line_put(t, line);
	}
	if (++t->buckets == 2 * half)
		t->mask = 2 * half - 1;
	/* The next split is some additions away and begins with these, which are in no cache. */
	__builtin_prefetch(htab_bucket(t, t->buckets & t->mask), 1);
}

/* Buckets for so many entries; a step at a time when it is called at each addition. */
static inline void htab_grow(struct htab *t, size_t wanted)
{
	while (t->buckets * HTAB_FULL < wanted)
		htab_split(t);
}

static inline void htab_put(struct htab *t, struct htab_link *l, uint64_t hash)
{
	l->hash = hash;
	htab_add(t, htab_at(t, hash), htab_slot(l));
}

static inline bool htab_empty(const struct htab_line *line)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < HTAB_SLOTS; i++)
		any |= line->slot[i];
#ifdef HF_MUTANT_LINES_KEPT
	any = 1;
#endif
	return any == 0;
}

/* Takes out an entry that is in the table.  A look through it ends with that. */
static inline void htab_del(struct htab *t, struct htab_link *l)
{
	uint64_t slot = htab_slot(l);
	struct htab_line *line = htab_at(t, l->hash), *before = NULL;
	unsigned i = 0;

	while (line->slot[i] != slot)
		if (++i == HTAB_SLOTS) {
			before = line;
			line = line->more;
			i = 0;
		}
	line->slot[i] = 0;
	if (before && htab_empty(line)) {
		before->more = line->more;
		htab_line_put(t, line);
	}
}

#endif
