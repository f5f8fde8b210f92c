/* blocks.c - a set-associative cache of file blocks; see blocks.h.
 *
 * A set's eight keys lie in two cache lines.  The victim is the next one that was not used since
 * the hand came by.  Who was asked for once is known by a few bits in a table that forgets by being
 * overwritten: a mistake there keeps a block early, or late. */
#include "store/blocks.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/trace.h"

#define WAYS	   8U
#define SEEN_SLOTS 65536U

struct set {
	uint64_t id[WAYS], block[WAYS]; /* id 0: empty */
};

struct blocks {
	struct set *set;
	uint8_t *used, *hand; /* of each set: bits of the ways, the next victim */
	uint8_t *mem;
	size_t mask;
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
	b->set = mem_zalloc(sets, sizeof(*b->set));
	b->used = mem_zalloc(sets, 1);
	b->hand = mem_zalloc(sets, 1);
	b->mem = mem_aligned(BLOCKS_SIZE, sets * WAYS * BLOCKS_SIZE);
	return b;
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	free(b->set);
	free(b->used);
	free(b->hand);
	free(b->mem);
	free(b);
}

static uint64_t hash(uint64_t id, uint64_t block)
{
	uint64_t x = (id * 0x9e3779b97f4a7c15ULL ^ block) * 0xd6e8feb86659fd93ULL;

	return x ^ x >> 32;
}

static int way_of(const struct set *s, uint64_t id, uint64_t block)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (s->block[i] == block && s->id[i] == id)
			return (int)i;
	return -1;
}

static uint8_t *memory(const struct blocks *b, size_t set, unsigned way)
{
	return b->mem + (set * WAYS + way) * BLOCKS_SIZE;
}

const uint8_t *blocks_find(struct blocks *b, uint64_t id, uint64_t block)
{
	size_t at = hash(id, block) & b->mask;
	int way = way_of(&b->set[at], id, block);

	if (way < 0)
		return NULL;
	b->used[at] |= (uint8_t)(1U << way);
	return memory(b, at, (unsigned)way);
}

bool blocks_wanted(struct blocks *b, uint64_t id, uint64_t block)
{
	uint64_t h = hash(id, block);
	uint16_t *slot = &b->seen[h % SEEN_SLOTS], mark = (uint16_t)(h >> 48 | 1);

	if (*slot == mark)
		return true;
	*slot = mark;
	return false;
}

static unsigned victim(struct blocks *b, size_t at)
{
	unsigned way = b->hand[at];

	while (b->set[at].id[way] && b->used[at] & 1U << way) {
		b->used[at] &= (uint8_t)~(1U << way);
		way = (way + 1) % WAYS;
	}
	b->hand[at] = (uint8_t)((way + 1) % WAYS);
	return way;
}

uint8_t *blocks_add(struct blocks *b, uint64_t id, uint64_t block)
{
	size_t at = hash(id, block) & b->mask;
	unsigned way = victim(b, at);

	if (b->set[at].id[way])
		HF_MARK("store.block_evicted");
	b->set[at].id[way] = id;
	b->set[at].block[way] = block;
	return memory(b, at, way);
}

void blocks_drop(struct blocks *b, uint64_t id, uint64_t block)
{
	size_t at = hash(id, block) & b->mask;
	int way = way_of(&b->set[at], id, block);

	if (way >= 0)
		b->set[at].id[way] = b->set[at].block[way] = 0;
}
