/* blocks.c - a set-associative cache of file blocks; see blocks.h.
 *
 * A set's eight keys are a cache line: file and block are one number, and what is too far back to be
 * part of one is not kept.  The victim is the next one that was not used since
 * the hand came by.  Who was asked for once is known by a few bits in a table that forgets by being
 * overwritten: a mistake there keeps a block early, or late. */
#include "store/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"

#define WAYS	   8U
#define SEEN_SLOTS 65536U
#define LINE	   64U

#define BLOCK_BITS 28 /* files of up to a TiB; beyond it nothing is kept */

struct set {
	uint64_t key[WAYS]; /* 0: empty */
};

struct blocks {
	struct set *set;
	uint8_t *used, *hand; /* of each set: bits of the ways, the next victim */
	uint8_t *mem;
	uint32_t *place; /* of each way: which block of `mem` it has, and 1; 0: none yet */
	uint32_t places; /* given out: memory is touched from its begin on, whole pages of it */
	uint32_t *lent;	 /* of each block: how many times */
	size_t mask, lent_count;
	bool freed; /* but for what is lent */
	uint16_t seen[SEEN_SLOTS];
};

struct blocks *blocks_new(size_t bytes)
{
	size_t sets = 1;
	struct blocks *b;

	if (bytes < WAYS * BLOCKS_SIZE)
		return NULL;
	while (sets * 2 * WAYS * BLOCKS_SIZE <= bytes)
		sets *= 2;
	b = mem_zalloc(1, sizeof(*b));
	b->mask = sets - 1;
	b->set = memset(mem_aligned(LINE, sets * sizeof(*b->set)), 0, sets * sizeof(*b->set));
	b->used = mem_zalloc(sets, 1);
	b->hand = mem_zalloc(sets, 1);
	b->lent = mem_zalloc(sets * WAYS, sizeof(*b->lent));
	b->place = mem_zalloc(sets * WAYS, sizeof(*b->place));
	b->mem = mem_huge(sets * WAYS * BLOCKS_SIZE);
	return b;
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	b->freed = true;
	if (b->lent_count)
		return;
	free(b->set);
	free(b->used);
	free(b->hand);
	free(b->lent);
	free(b->place);
	free(b->mem);
	free(b);
}

/* 0: it has none. */
static uint64_t key_of(uint64_t id, uint64_t block)
{
#ifdef HF_MUTANT_BLOCKS_KEY_CUT
	return id << BLOCK_BITS | (block & (((uint64_t)1 << BLOCK_BITS) - 1));
#endif
	return block >> BLOCK_BITS || id >> (64 - BLOCK_BITS) ? 0 : id << BLOCK_BITS | block;
}

static uint64_t hash(uint64_t key)
{
	uint64_t x = (key ^ key >> BLOCK_BITS) * 0xd6e8feb86659fd93ULL;

	return x ^ x >> 32;
}

static int way_of(const struct set *s, uint64_t key)
{
	for (unsigned i = 0; key && i < WAYS; i++)
		if (s->key[i] == key)
			return (int)i;
	return -1;
}

static uint8_t *memory(const struct blocks *b, size_t set, unsigned way)
{
	return b->mem + (size_t)(b->place[set * WAYS + way] - 1) * BLOCKS_SIZE;
}

static bool is_lent(const struct blocks *b, size_t set, unsigned way)
{
	uint32_t place = b->place[set * WAYS + way];

	return place && b->lent[place - 1];
}

const uint8_t *blocks_find(struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t key = key_of(id, block);
	size_t at = hash(key) & b->mask;
	int way = way_of(&b->set[at], key);

	if (way < 0)
		return NULL;
	b->used[at] |= (uint8_t)(1U << way);
	return memory(b, at, (unsigned)way);
}

void blocks_hint(const struct blocks *b, uint64_t id, uint64_t block)
{
	size_t at = hash(key_of(id, block)) & b->mask;

	__builtin_prefetch(&b->set[at]);
	__builtin_prefetch(&b->place[at * WAYS]);
}

bool blocks_wanted(struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t h = hash(key_of(id, block));
	uint16_t *slot = &b->seen[h % SEEN_SLOTS], mark = (uint16_t)(h >> 48 | 1);

	if (*slot == mark)
		return true;
	*slot = mark;
	return false;
}

/* One that holds nothing, or WAYS. */
static unsigned empty_way(const struct blocks *b, size_t at)
{
	unsigned way = 0;

	while (way < WAYS && (b->set[at].key[way] || is_lent(b, at, way)))
		way++;
	return way;
}

bool blocks_room(const struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t key = key_of(id, block);

	return key && empty_way(b, hash(key) & b->mask) < WAYS;
}

/* An empty one, else the next that is neither lent nor used since the hand came by, or WAYS: all are
 * lent. */
static unsigned victim(struct blocks *b, size_t at)
{
	unsigned way = empty_way(b, at);

	if (way < WAYS)
		return way;
	way = b->hand[at];
	for (unsigned i = 0; i < 2 * WAYS; i++, way = (way + 1) % WAYS) {
#ifndef HF_MUTANT_BLOCKS_LENT_USED
		if (is_lent(b, at, way))
			continue;
#endif
		if (!(b->used[at] & 1U << way)) {
			b->hand[at] = (uint8_t)((way + 1) % WAYS);
			return way;
		}
		b->used[at] &= (uint8_t)~(1U << way);
	}
	return WAYS;
}

uint8_t *blocks_add(struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t key = key_of(id, block);
	size_t at = hash(key) & b->mask;
	unsigned way;

	if (!key)
		return NULL;
	way = victim(b, at);
	if (way == WAYS) {
		HF_MARK("store.blocks_all_lent");
		return NULL;
	}
	if (b->set[at].key[way])
		HF_MARK("store.block_evicted");
	b->set[at].key[way] = key;
	if (!b->place[at * WAYS + way])
		b->place[at * WAYS + way] = ++b->places;
	return memory(b, at, way);
}

static uint32_t *lent_of(const struct blocks *b, const uint8_t *data)
{
	return &b->lent[(size_t)(data - b->mem) / BLOCKS_SIZE];
}

bool blocks_lend(struct blocks *b, const uint8_t *data)
{
	uint32_t *n = lent_of(b, data);

	if (b->lent_count >= (b->mask + 1) * WAYS / 2)
		return false;
	b->lent_count++;
	++*n;
	return true;
}

void blocks_give_back(struct blocks *b, const uint8_t *data)
{
	uint32_t *n = lent_of(b, data);

	hf_assert(*n > 0);
	--*n;
	if (--b->lent_count == 0 && b->freed)
		blocks_free(b);
}

void blocks_write(struct blocks *b, uint64_t id, uint64_t block, const struct blocks_part *p)
{
	uint64_t key = key_of(id, block);
	size_t at = hash(key) & b->mask;
	int way = way_of(&b->set[at], key);

	if (way < 0)
		return;
#ifndef HF_MUTANT_BLOCKS_LENT_WRITTEN
	if (is_lent(b, at, (unsigned)way)) {
		HF_MARK("store.block_lent_written");
		blocks_drop(b, id, block);
		return;
	}
#endif
	memcpy(memory(b, at, (unsigned)way) + p->from, p->data, p->len);
}

void blocks_drop(struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t key = key_of(id, block);
	size_t at = hash(key) & b->mask;
	int way = way_of(&b->set[at], key);

	if (way >= 0)
		b->set[at].key[way] = 0;
}
