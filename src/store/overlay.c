/* overlay.c - a generation: rows by hash, directories by cookie, touched objects. */
#include "store/overlay.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/record.h"

#define ARENA_BLOCK  ((size_t)1 << 20)
#define BUCKETS_MIN  ((size_t)1 << 12)

/* ---- arena ---------------------------------------------------------------------------------- */

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b;
	void *at;

	size = (size + 15) & ~(size_t)15;
	while (a->at && a->at->size - a->at->used < size && a->at->next)
		a->at = a->at->next;
	if (!a->at || a->at->size - a->at->used < size) {
		size_t room = size > ARENA_BLOCK ? size : ARENA_BLOCK;

		b = mem_alloc(sizeof(*b) + room);
		b->next = NULL;
		b->size = room;
		b->used = 0;
		if (a->at)
			a->at->next = b;
		else
			a->first = b;
		a->at = b;
	}
	at = a->at->mem + a->at->used;
	a->at->used += size;
	a->bytes += size;
	return at;
}

void arena_reset(struct arena *a)
{
	for (struct arena_block *b = a->first; b; b = b->next)
		b->used = 0;
	a->at = a->first;
	a->bytes = 0;
}

void arena_fini(struct arena *a)
{
	struct arena_block *next;

	for (struct arena_block *b = a->first; b; b = next) {
		next = b->next;
		free(b);
	}
	memset(a, 0, sizeof(*a));
}

/* ---- life ----------------------------------------------------------------------------------- */

struct gen *gen_new(uint64_t seed)
{
	struct gen *g = mem_zalloc(1, sizeof(*g));

	g->seed = seed;
	g->mask = BUCKETS_MIN - 1;
	g->bucket = mem_zalloc(BUCKETS_MIN, sizeof(*g->bucket));
	list_init(&g->chunks);
	return g;
}

static void dirs_free(struct gen *g)
{
	for (size_t i = 0; g->dirs.count && i <= g->dirs.mask; i++) {
		struct gen_dir *d = (struct gen_dir *)(uintptr_t)g->dirs.slot[i].val;

		if (d)
			free(d->row);
	}
	map64_clear(&g->dirs);
}

void gen_reset(struct gen *g)
{
	hf_assert(list_empty(&g->chunks));
	dirs_free(g);
	if (g->rows)
		memset(g->bucket, 0, (g->mask + 1) * sizeof(*g->bucket));
	g->rows = 0;
	arena_reset(&g->arena);
	map64_clear(&g->touched);
	g->xdrop_count = g->unlink_count = g->gone_count = g->chunk_count = 0;
	g->records = g->last_lsn = 0;
	g->chain_crc = 0;
	g->chain_known = false;
}

void gen_free(struct gen *g)
{
	if (!g)
		return;
	dirs_free(g);
	map64_fini(&g->dirs);
	map64_fini(&g->touched);
	arena_fini(&g->arena);
	free(g->bucket);
	free(g->list);
	free(g->unlink);
	free(g->xdrop);
	free(g->gone);
	free(g);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Clients choose names, so the hash is seeded: nobody can aim at one chain. */
uint64_t row_hash(uint64_t seed, const uint8_t *key, size_t len)
{
	uint64_t h = seed ^ len * 0x9e3779b97f4a7c15ULL, word = 0;

	for (; len >= 8; len -= 8, key += 8) {
		memcpy(&word, key, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, key, len);
	h = (h ^ word) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 29;
}

static struct row *chain_find(struct row *r, uint32_t hash, const uint8_t *key, size_t len)
{
	for (; r; r = r->next)
		if (r->hash == hash && r->key_len == len && memcmp(r->key, key, len) == 0)
			return r;
	return NULL;
}

struct row *gen_find(const struct gen *g, const uint8_t *key, size_t len)
{
	uint64_t h = row_hash(g->seed, key, len);

	return chain_find(g->bucket[h & g->mask], (uint32_t)h, key, len);
}

static void buckets_grow(struct gen *g)
{
	size_t mask = g->mask * 4 + 3;
	struct row **bucket = mem_zalloc(mask + 1, sizeof(*bucket)), *next;

	for (size_t i = 0; i <= g->mask; i++) {
		for (struct row *r = g->bucket[i]; r; r = next) {
			size_t at = row_hash(g->seed, r->key, r->key_len) & mask;

			next = r->next;
			r->next = bucket[at];
			bucket[at] = r;
		}
	}
	free(g->bucket);
	g->bucket = bucket;
	g->mask = mask;
}

static struct row *row_new(struct gen *g, uint64_t h, const uint8_t *key, size_t len, size_t val)
{
	struct row *r;

	if (g->rows * 2 > g->mask) /* sparse: each link of a chain is a cache miss */
		buckets_grow(g);
	r = arena_alloc(&g->arena, sizeof(*r) + len + val);
	memset(r, 0, sizeof(*r));
	memcpy(r->key, key, len);
	r->key_len = (uint16_t)len;
	r->hash = (uint32_t)h;
	r->val = r->key + len;
	r->val_cap = (uint32_t)val;
	r->next = g->bucket[h & g->mask];
	g->bucket[h & g->mask] = r;
	if (g->rows == g->list_cap) {
		g->list_cap = g->list_cap ? g->list_cap * 2 : BUCKETS_MIN;
		g->list = mem_realloc(g->list, g->list_cap * sizeof(*g->list));
	}
	g->list[g->rows++] = r;
	return r;
}

/* ---- directories ---------------------------------------------------------------------------- */

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static struct gen_dir *gen_dir_make(struct gen *g, uint64_t ino)
{
	uint64_t *at = map64_put(&g->dirs, ino);

	if (!*at) {
		struct gen_dir *d = arena_alloc(&g->arena, sizeof(*d));

		memset(d, 0, sizeof(*d));
		*at = (uint64_t)(uintptr_t)d;
	}
	return (struct gen_dir *)(uintptr_t)*at;
}

static void gen_dir_note(struct gen *g, struct row *r, bool made)
{
	struct gen_dir *d = gen_dir_make(g, be64(r->key + 1));

	if (!made) {
		d->dead++;
		return;
	}
	if (d->count == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 8;
		d->row = mem_realloc(d->row, d->cap * sizeof(*d->row));
	}
	d->row[d->count++] = r;
}

const struct gen_dir *gen_dir(const struct gen *g, uint64_t ino)
{
	uint64_t *at = g ? map64_find(&g->dirs, ino) : NULL;

	return at ? (const struct gen_dir *)(uintptr_t)*at : NULL;
}

size_t gen_dir_after(const struct gen_dir *d, uint64_t after)
{
	size_t lo = 0, hi = d ? d->count : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (be64(d->row[mid]->key + 9) > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct row *gen_put(struct gen *g, const uint8_t *key, size_t key_len, const uint8_t *val,
		    size_t val_len, uint64_t lsn, bool fresh)
{
	uint64_t h = row_hash(g->seed, key, key_len);
	/* What is known to be new need not be looked for. */
	struct row *r =
	    fresh ? NULL : chain_find(g->bucket[h & g->mask], (uint32_t)h, key, key_len);

	if (!r) {
		r = row_new(g, h, key, key_len, val_len);
		r->fresh = fresh;
		if (key[0] == TABLE_DIR)
			gen_dir_note(g, r, val != NULL);
	} else if (val_len > r->val_cap) {
		r->val = arena_alloc(&g->arena, val_len);
		r->val_cap = (uint32_t)val_len;
	}
	if (val)
		memcpy(r->val, val, val_len);
	r->val_len = (uint32_t)val_len;
	r->dead = val == NULL;
	r->lsn = lsn;
	return r;
}

/* ---- what else a checkpoint must do ----------------------------------------------------------- */

void gen_touch(struct gen *g, uint64_t ino, enum touch bits)
{
	*map64_put(&g->touched, ino) |= (uint64_t)bits;
}

static void u64_push(uint64_t **list, size_t *count, size_t *cap, uint64_t v)
{
	if (*count == *cap) {
		*cap = *cap ? *cap * 2 : 64;
		*list = mem_realloc(*list, *cap * sizeof(**list));
	}
	(*list)[(*count)++] = v;
}

void gen_unlink_add(struct gen *g, uint64_t ino)
{
	u64_push(&g->unlink, &g->unlink_count, &g->unlink_cap, ino);
	gen_touch(g, ino, TOUCH_GONE);
}

void gen_xdrop_add(struct gen *g, uint64_t ino)
{
	u64_push(&g->xdrop, &g->xdrop_count, &g->xdrop_cap, ino);
}

bool gen_xdrops(const struct gen *g, uint64_t ino)
{
	for (size_t i = 0; g && i < g->xdrop_count; i++)
		if (g->xdrop[i] == ino)
			return true;
	return false;
}

void gen_gone_add(struct gen *g, enum table t, uint64_t id)
{
	u64_push(&g->gone, &g->gone_count, &g->gone_cap, (uint64_t)t << 56 | id);
}

/* The beginning of a key beside the pointer: most comparisons then touch no row at all. */
struct sort_item {
	uint64_t head[3];
	struct row *row;
};

static uint64_t key_word(const struct row *r, size_t at)
{
	uint8_t b[8] = {0};

	if (r->key_len > at)
		memcpy(b, r->key + at, r->key_len - at < 8 ? r->key_len - at : 8);
	return be64(b);
}

static int row_order(const struct row *x, const struct row *y)
{
	size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
	int d = memcmp(x->key, y->key, n);

	return d ? d : (int)x->key_len - (int)y->key_len;
}

static int item_order(const void *a, const void *b)
{
	const struct sort_item *x = a, *y = b;

	for (int i = 0; i < 3; i++)
		if (x->head[i] != y->head[i])
			return x->head[i] < y->head[i] ? -1 : 1;
	return row_order(x->row, y->row);
}

struct row **gen_sorted(const struct gen *g)
{
	struct sort_item *item = mem_alloc(g->rows * sizeof(*item));
	struct row **all = (struct row **)item;

	for (size_t i = 0; i < g->rows; i++) {
		struct row *r = g->list[i];

		item[i] = (struct sort_item){{key_word(r, 0), key_word(r, 8), key_word(r, 16)}, r};
	}
	qsort(item, g->rows, sizeof(*item), item_order);
	for (size_t i = 0; i < g->rows; i++) /* in place: a pointer is smaller than an item */
		all[i] = item[i].row;
	return all;
}
