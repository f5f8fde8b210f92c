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
	g->xdrop_count = g->unlink_count = g->unlink_rows = g->gone_count = g->chunk_count = 0;
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

/* Fewer than eight bytes as a number, without a call. */
static inline uint64_t hash_tail(const uint8_t *p, size_t len)
{
	uint32_t low, high;

	if (len >= 4) {
		memcpy(&low, p, 4);
		memcpy(&high, p + len - 4, 4);
		return low | (uint64_t)high << 8 * (len - 4);
	}
	if (len == 0)
		return 0;
	return p[0] | (uint64_t)p[len / 2] << 8 * (len / 2) | (uint64_t)p[len - 1] << 8 * (len - 1);
}

/* Clients choose names, so the hash is seeded: nobody can aim at one chain. */
uint64_t row_hash(uint64_t seed, const uint8_t *key, size_t len)
{
	uint64_t h = seed ^ len * 0x9e3779b97f4a7c15ULL, word;

	for (; len >= 8; len -= 8, key += 8) {
		memcpy(&word, key, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	h = (h ^ hash_tail(key, len)) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 29;
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

uint64_t name_hash(uint64_t seed, uint64_t dir, const void *name, size_t len)
{
	return row_hash(seed ^ dir * 0x9e3779b97f4a7c15ULL, name, len);
}

/* Where a row is looked for.  Inode numbers and cookies are ours, dense and never used twice: rows
 * of inodes, and of one directory, that were made one after the other lie side by side. */
static uint64_t gen_hash(const struct gen *g, const uint8_t *key, size_t len)
{
	if (key[0] == TABLE_NAME && len > 9)
		return name_hash(g->seed, be64(key + 1), key + 9, len - 9);
	if (key[0] == TABLE_INODE && len == 9)
		return be64(key + 1);
	if (key[0] == TABLE_DIR && len == 17)
		return row_hash(g->seed, key, 9) + be64(key + 9);
	return row_hash(g->seed, key, len);
}

static struct row *chain_find(struct row *r, uint32_t hash, const uint8_t *key, size_t len)
{
	for (; r; r = r->next)
		if (r->hash == hash && r->key_len == len && memcmp(r->key, key, len) == 0)
			return r;
	return NULL;
}

void gen_hint_name(const struct gen *g, uint64_t hash)
{
	__builtin_prefetch(&g->bucket[hash & g->mask]);
}

struct row *gen_find(const struct gen *g, const uint8_t *key, size_t len)
{
	uint64_t h = gen_hash(g, key, len);

	return chain_find(g->bucket[h & g->mask], (uint32_t)h, key, len);
}

static void buckets_grow(struct gen *g)
{
	size_t mask = g->mask * 4 + 3;
	struct row **bucket = mem_zalloc(mask + 1, sizeof(*bucket)), *next;

	for (size_t i = 0; i <= g->mask; i++) {
		for (struct row *r = g->bucket[i]; r; r = next) {
			size_t at = gen_hash(g, r->key, r->key_len) & mask;

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
	uint64_t h = gen_hash(g, key, key_len);
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

/* ---- rows in key order ------------------------------------------------------------------------ */

/* The rows of one table, with what follows the table's letter of a key beside the pointer: most
 * comparisons then touch no row at all. */
struct sort_item {
	uint64_t head[3];
	struct row *row;
};

static uint64_t key_word(const struct row *r, size_t at)
{
	uint8_t b[8] = {0};

	if (r->key_len >= at + 8)
		return be64(r->key + at);
	if (r->key_len > at)
		memcpy(b, r->key + at, r->key_len - at);
	return be64(b);
}

static bool row_before(const struct row *x, const struct row *y)
{
	size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
	int d = memcmp(x->key, y->key, n);

	return d ? d < 0 : x->key_len < y->key_len;
}

static inline bool item_before(const struct sort_item *x, const struct sort_item *y)
{
	for (int i = 0; i < 3; i++)
		if (x->head[i] != y->head[i])
			return x->head[i] < y->head[i];
	return row_before(x->row, y->row);
}

/* How many from here on are in order already. */
static size_t run_length(const struct sort_item *a, size_t n)
{
	size_t len = 1;

	while (len < n && !item_before(&a[len], &a[len - 1]))
		len++;
	return len;
}

static void run_merge(const struct sort_item *a, size_t n, const struct sort_item *b, size_t m,
		      struct sort_item *out)
{
	while (n && m) {
		if (item_before(b, a)) {
			*out++ = *b++;
			m--;
		} else {
			*out++ = *a++;
			n--;
		}
	}
	memcpy(out, a, n * sizeof(*a));
	memcpy(out + n, b, m * sizeof(*b));
}

/* Merges neighbouring runs until one is left: inodes and directories were mostly made in order, and
 * cost one look.  Returns where the sorted ones are: in `a` or in `b`. */
static struct sort_item *items_sort(struct sort_item *a, struct sort_item *b, size_t n)
{
	for (;;) {
		size_t first = n ? run_length(a, n) : 0, at = 0;
		struct sort_item *swap = a;

		if (first == n)
			return a;
		while (at < n) {
			size_t second = first < n - at ? run_length(a + at + first, n - at - first) : 0;

			run_merge(a + at, first, a + at + first, second, b + at);
			at += first + second;
			first = at < n ? run_length(a + at, n - at) : 0;
		}
		a = b;
		b = swap;
	}
}

struct row **gen_sorted(const struct gen *g)
{
	struct sort_item *item = mem_alloc(2 * g->rows * sizeof(*item)), *sorted;
	struct row **all = mem_alloc(g->rows * sizeof(struct row *));
	size_t start[257] = {0}, place[256];

	for (size_t i = 0; i < g->rows; i++)
		start[g->list[i]->key[0] + 1]++;
	for (size_t t = 0; t < 256; t++)
		start[t + 1] += start[t];
	memcpy(place, start, sizeof(place));
	for (size_t i = 0; i < g->rows; i++) {
		struct row *r = g->list[i];

		item[place[r->key[0]]++] =
		    (struct sort_item){{key_word(r, 1), key_word(r, 9), key_word(r, 17)}, r};
	}
	for (size_t t = 0; t < 256; t++) {
		size_t n = start[t + 1] - start[t];

		sorted = items_sort(item + start[t], item + g->rows + start[t], n);
		for (size_t i = 0; i < n; i++)
			all[start[t] + i] = sorted[i].row;
	}
	free(item);
	return all;
}
