/* pages.c - walking the index file's trees page by page; see pages.h. */
#include "store/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"

#define HEAD	      16U /* of a page */
#define NODE	      8U  /* of a node */
#define IS_BRANCH     1U
#define IS_LEAF	      2U
#define IS_OVERFLOW   4U
#define IS_META	      8U
#define WAS_DIRTY     0x10U
#define DATA_ELSEWHERE 1U
#define MAGIC	      0xbeefc0deU
#define DATA_VERSION  1U
#define META_BYTES    152
#define SIZE_MAX_PAGE 65536U
#define DEPTH_MAX     24U
#define NO_PAGE	      UINT64_MAX
/* Pages at the end that a transaction took and gave back are counted and never written; it takes
 * no more than these. */
#define UNWRITTEN_MAX (1U << 17)

static uint16_t n16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t n32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t n64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool bit(const uint8_t *map, uint64_t i)
{
	return map[i / 8] >> (i % 8) & 1;
}

static void bit_set(uint8_t *map, uint64_t i)
{
	map[i / 8] = (uint8_t)(map[i / 8] | 1U << (i % 8));
}

/* ---- the two heads --------------------------------------------------------------------------- */

/* How many of the three things that tell a head are right: LMDB wants all of both heads, or opens
 * nothing; two are enough to know one. */
static unsigned head_signs(const uint8_t *b)
{
	unsigned kind = (n16(b + 10) & IS_META) != 0, magic = n32(b + 16) == MAGIC;
	unsigned version = n32(b + 20) == DATA_VERSION;

	return kind + magic + version;
}

static bool head_is(const uint8_t *b)
{
	uint32_t size = n32(b + 40);

	return head_signs(b) >= 2 && size >= 512 && size <= SIZE_MAX_PAGE && (size & (size - 1)) == 0 &&
	       n16(b + 46) <= DEPTH_MAX && n16(b + 94) <= DEPTH_MAX;
}

static bool head_read(int fd, uint32_t at, uint8_t *b)
{
	return pread(fd, b, META_BYTES, (off_t)at) == META_BYTES && head_is(b);
}

static void head_take(struct pages *p, unsigned which, const uint8_t *b)
{
	if (n64(b + 144) < p->txn)
		return;
	p->head = which;
	p->page_bytes = n32(b + 40);
	p->free_depth = n16(b + 46);
	p->free_root = n64(b + 80);
	p->depth = n16(b + 94);
	p->root = n64(b + 128);
	p->last = p->said_last = n64(b + 136);
	p->txn = n64(b + 144);
}

/* The second head stands at the size of a page, and says that size; the first may have it wrong. */
static uint32_t head_second(int fd, const uint8_t *first, bool any, uint8_t *b)
{
	uint32_t said = any ? n32(first + 40) : 512;

	if (any && head_read(fd, said, b) && n32(b + 40) == said)
		return said;
	for (uint32_t at = 512; at <= SIZE_MAX_PAGE; at *= 2)
		if (head_read(fd, at, b) && n32(b + 40) == at)
			return at;
	return 0;
}

int pages_open(struct pages *p, int fd)
{
	uint8_t first[META_BYTES], second[META_BYTES];
	struct stat st;
	bool any;
	uint32_t at;

	p->fd = fd;
	p->txn = 0;
	if (fstat(fd, &st))
		return -errno;
	any = head_read(fd, 0, first);
	at = head_second(fd, first, any, second);
	if (!any && !at)
		return -EUCLEAN;
	p->headless = !any || !at || n32(first + 40) != at || head_signs(first) + head_signs(second) < 6;
	p->broken_head = any && (!at || n32(first + 40) == at) && head_signs(first) == 3;
	if (any && (at == 0 || n32(first + 40) == at))
		head_take(p, 0, first);
	if (at)
		head_take(p, 1, second);
	p->file_pages = (uint64_t)st.st_size / p->page_bytes;
#ifndef HF_MUTANT_PAGES_UNBOUND
	p->too_many = p->last > p->file_pages + UNWRITTEN_MAX;
	if (p->last >= p->file_pages)
		p->last = p->file_pages ? p->file_pages - 1 : 0;
#endif
	p->seen = mem_zalloc(p->last / 8 + 1, 1);
	p->spare = mem_zalloc(p->last / 8 + 1, 1);
	return 0;
}

void pages_close(struct pages *p)
{
	free(p->seen);
	free(p->spare);
	p->seen = p->spare = NULL;
}

/* ---- one page -------------------------------------------------------------------------------- */

struct bounds {
	const uint8_t *low, *high; /* NULL: none */
	size_t low_len, high_len;
};

static int key_cmp(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static unsigned keys_of(const uint8_t *b)
{
	return (unsigned)(n16(b + 12) - HEAD) / 2;
}

static const uint8_t *node_of(const uint8_t *b, unsigned i)
{
	return b + n16(b + HEAD + 2 * i);
}

static size_t data_len(const uint8_t *node)
{
	return n16(node) | (size_t)n16(node + 2) << 16;
}

static uint64_t child_of(const uint8_t *node)
{
	return n16(node) | (uint64_t)n16(node + 2) << 16 | (uint64_t)n16(node + 4) << 32;
}

static const char *node_bad(const struct pages *p, const uint8_t *b, unsigned i, bool leaf)
{
	size_t at = n16(b + HEAD + 2 * i), end, key;

	if (at < n16(b + 14) || at + NODE > p->page_bytes)
		return "a node is outside of it";
	key = n16(b + at + 6);
	end = at + NODE + key;
	if (leaf)
		end += n16(b + at + 4) & DATA_ELSEWHERE ? 8 : data_len(b + at);
	if (key > PAGES_KEY_MAX || (leaf && key == 0) || end > p->page_bytes)
		return "a node does not fit";
	if (leaf && n16(b + at + 4) & ~DATA_ELSEWHERE)
		return "a node is of no kind that is used";
	return NULL;
}

static size_t node_end(const uint8_t *b, size_t at, bool leaf)
{
	size_t end = at + NODE + n16(b + at + 6);

	if (leaf)
		end += n16(b + at + 4) & DATA_ELSEWHERE ? 8 : data_len(b + at);
	return (end + 1) & ~(size_t)1;
}

/* Nodes lie side by side up to the end of the page, none over another and nothing between them: LMDB
 * reckons with that when it moves them.  If each ends where another begins, or at the end, and their
 * lengths make up the whole, it is so. */
static const char *nodes_bad(const struct pages *p, const uint8_t *b, bool leaf)
{
	uint8_t start[SIZE_MAX_PAGE / 16] = {0};
	size_t sum = 0, at, end;

#ifdef HF_MUTANT_PAGES_GAPS
	return NULL;
#endif
	for (unsigned i = 0; i < keys_of(b); i++) {
		at = n16(b + HEAD + 2 * i);
		if (at % 2 || bit(start, at / 2))
			return "a node lies over another";
		bit_set(start, at / 2);
		sum += node_end(b, at, leaf) - at;
	}
	for (unsigned i = 0; i < keys_of(b); i++) {
		end = node_end(b, n16(b + HEAD + 2 * i), leaf);
		if (end != p->page_bytes && (end > p->page_bytes || !bit(start, end / 2)))
			return "a node has another length";
	}
	return sum == p->page_bytes - n16(b + 14) ? NULL : "its nodes do not fill it";
}

static bool in_bounds(const struct bounds *w, const uint8_t *key, size_t len)
{
	return (!w->low || key_cmp(key, len, w->low, w->low_len) >= 0) &&
	       (!w->high || key_cmp(key, len, w->high, w->high_len) < 0);
}

static const char *keys_bad(const uint8_t *b, const struct bounds *w, bool leaf, bool bytes)
{
	for (unsigned i = leaf ? 0 : 1; i < keys_of(b); i++) {
		const uint8_t *n = node_of(b, i), *prev = i ? node_of(b, i - 1) : NULL;

		if (!bytes) /* numbers in the machine's order: the list of free pages */
			continue;
		if (!in_bounds(w, n + NODE, n16(n + 6)))
			return "a key is not between those of the branch above";
		if (prev && (leaf || i > 1) &&
		    key_cmp(prev + NODE, n16(prev + 6), n + NODE, n16(n + 6)) >= 0)
			return "its keys are not in order";
	}
	return NULL;
}

static const char *page_bad(const struct pages *p, const uint8_t *b, uint64_t page, bool leaf,
			    const struct bounds *w, bool bytes)
{
	unsigned flags = n16(b + 10) & ~WAS_DIRTY, low = n16(b + 12), high = n16(b + 14);
	const char *why = NULL;

	if (n64(b) != page)
		return "it is another page";
	if (flags != (leaf ? IS_LEAF : IS_BRANCH))
		return leaf ? "it is no leaf" : "it is no branch";
	if (low < HEAD || low > high || high > p->page_bytes || low % 2 || keys_of(b) < 1)
		return "its bounds make no sense";
	for (unsigned i = 0; i < keys_of(b) && !why; i++)
		why = node_bad(p, b, i, leaf);
	if (!why)
		why = nodes_bad(p, b, leaf);
	return why ? why : keys_bad(b, w, leaf, bytes);
}

static void damaged(struct pages *p, uint64_t page, bool leaf, const char *why)
{
	p->bad++;
	if (!leaf)
		p->bad_branches++;
	if (p->damage)
		p->damage(p->arg, page, why);
}

static const char *page_read(struct pages *p, uint64_t page, uint64_t count, uint8_t *b)
{
	size_t len = (size_t)count * p->page_bytes;

	if (page < 2 || page > p->last || count > p->last - page + 1)
		return "there is no such page";
	for (uint64_t i = 0; i < count; i++) {
		if (bit(p->seen, page + i))
			return "two places lead to it";
		bit_set(p->seen, page + i);
	}
	if (pread(p->fd, b, len, (off_t)(page * p->page_bytes)) != (ssize_t)len)
		return "it cannot be read";
	return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool take_row(struct pages *p, const uint8_t *node,
		     bool (*row)(void *, const uint8_t *, size_t, const uint8_t *, size_t), void *arg)
{
	size_t key_len = n16(node + 6), len = data_len(node);
	const uint8_t *key = node + NODE;
	uint64_t page, count;
	const char *why;
	uint8_t *big;
	bool on;

	if (!(n16(node + 4) & DATA_ELSEWHERE))
		return row(arg, key, key_len, key + key_len, len);
	page = n64(key + key_len);
	count = (len + HEAD + p->page_bytes - 1) / p->page_bytes;
	if (count > p->last) {
		damaged(p, page, true, "its length makes no sense");
		return true;
	}
	big = mem_alloc((size_t)count * p->page_bytes);
	why = page_read(p, page, count, big);
	if (!why && (n64(big) != page || (n16(big + 10) & ~WAS_DIRTY) != IS_OVERFLOW ||
		     n32(big + 12) != count))
		why = "it is not the page that holds the row";
	if (why)
		damaged(p, page, true, why);
	on = why || row(arg, key, key_len, big + HEAD, len);
	free(big);
	return on;
}

struct tree {
	struct pages *p;
	bool (*row)(void *, const uint8_t *, size_t, const uint8_t *, size_t);
	void *arg;
	bool bytes, stopped;
};

static void walk(struct tree *t, uint64_t page, unsigned depth, const struct bounds *w)
{
	struct pages *p = t->p;
	uint8_t *b = mem_alloc(p->page_bytes);
	bool leaf = depth == 1;
	const char *why = page_read(p, page, 1, b);

	if (!why)
		why = page_bad(p, b, page, leaf, w, t->bytes);
	if (why)
		damaged(p, page, leaf, why);
	if (p->step)
		p->step(p->arg, ++p->done, p->last);
	for (unsigned i = 0; !why && i < keys_of(b) && !t->stopped; i++) {
		const uint8_t *n = node_of(b, i), *next = i + 1 < keys_of(b) ? node_of(b, i + 1) : NULL;
		struct bounds in = *w;

		if (leaf) {
			t->stopped = !take_row(p, n, t->row, t->arg);
			continue;
		}
		if (i > 0) {
			in.low = n + NODE;
			in.low_len = n16(n + 6);
		}
		if (next) {
			in.high = next + NODE;
			in.high_len = n16(next + 6);
		}
		walk(t, child_of(n), depth - 1, &in);
	}
	free(b);
}

/* A transaction's freed pages: how many, which, the greatest first.  LMDB writes over them without
 * another look, so one that is wrong costs a page that is used. */
static bool on_free(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t len)
{
	struct pages *p = arg;
	uint64_t count = len >= 8 ? n64(val) : 0, before = UINT64_MAX;
	bool bad = len < 8 || count >= len / 8;

	(void)key;
	(void)key_len;
	for (uint64_t i = 1; i <= count && i < len / 8; i++) {
		uint64_t page = n64(val + 8 * i);

		bad |= page < 2 || page > p->said_last || page >= before;
		if (page <= p->last) {
			bad |= bit(p->spare, page);
			bit_set(p->spare, page);
		}
		before = page;
	}
#ifndef HF_MUTANT_PAGES_FREE_TRUSTED
	if (bad)
		damaged(p, p->free_root, true, "its list of free pages makes no sense");
#endif
	return true;
}

static void free_but_used(struct pages *p)
{
#ifdef HF_MUTANT_PAGES_FREE_TRUSTED
	return;
#endif
	for (uint64_t i = 2; i <= p->last; i++)
		if (bit(p->seen, i) && bit(p->spare, i))
			damaged(p, i, true, "it is listed as free and is used");
}

int pages_walk(struct pages *p)
{
	struct tree t = {.p = p, .row = on_free, .arg = p};
	struct bounds none = {0};

	if (p->headless) {
		HF_MARK("store.head_gone");
		p->bad++;
		if (p->damage)
			p->damage(p->arg, p->broken_head, "it is no head of an index");
	}
	if (p->too_many) {
		p->bad++;
		if (p->damage)
			p->damage(p->arg, p->head, "it counts far more pages than the file has");
	}
	if (p->free_root != NO_PAGE && p->free_depth)
		walk(&t, p->free_root, p->free_depth, &none);
	t = (struct tree){.p = p, .row = p->row, .arg = p->arg, .bytes = true};
	if (p->root != NO_PAGE && p->depth)
		walk(&t, p->root, p->depth, &none);
	if (!t.stopped)
		free_but_used(p);
	return t.stopped ? -ECANCELED : 0;
}

int pages_strays(struct pages *p)
{
	uint8_t *b = mem_alloc(p->page_bytes);
	struct bounds none = {0};
	bool on = true;

#ifdef HF_MUTANT_NO_STRAYS
	p->last = 0;
#endif
	for (uint64_t i = 2; i <= p->last && on; i++) {
		if (bit(p->seen, i) || bit(p->spare, i) ||
		    pread(p->fd, b, p->page_bytes, (off_t)(i * p->page_bytes)) !=
			    (ssize_t)p->page_bytes ||
		    page_bad(p, b, i, true, &none, true))
			continue;
		HF_MARK("store.page_stray");
		for (unsigned k = 0; k < keys_of(b) && on; k++)
			on = take_row(p, node_of(b, k), p->row, p->arg);
	}
	free(b);
	return on ? 0 : -ECANCELED;
}
