/* record.c - RPC record marking, receiving side.
 *
 *	  mark         fragment          mark         fragment
 *	[0|len 31] [... len bytes ...] [1|len 31] [... len bytes ...]     one record of two fragments
 *
 * feed() works through the bytes at hand: at a record's beginning it looks whether the whole of it
 * lies there as a single fragment and hands it over in place.  Otherwise it collects: marks byte
 * by byte, fragments into `buf`. */
#include "io/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define LAST_BIT     0x80000000U
#define SMALL_BYTES  65536U /* below: an own heap block; above: one of the pool */
#define DIRECT_BYTES 16384U /* from here on a fragment is received in place */

void record_pool_init(struct record_pool *p, size_t record_max)
{
	*p = (struct record_pool){.record_max = record_max};
}

void record_pool_fini(struct record_pool *p)
{
	while (p->kept)
		free(p->block[--p->kept]);
}

static uint32_t mark_value(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void block_put(struct record_pool *p, uint8_t *buf, size_t cap)
{
	p->bytes -= cap;
	if (cap == p->record_max && p->kept < RECORD_POOL_KEEP)
		p->block[p->kept++] = buf;
	else
		free(buf);
}

/* Makes `buf` at least `want` bytes.  Memory that was never written costs nothing: a client that
 * announces a megabyte and sends a byte gets a megabyte of addresses and one page. */
static void block_grow(struct record_pool *p, struct record_in *r, size_t want)
{
	size_t cap = want <= SMALL_BYTES ? want : p->record_max;
	uint8_t *bigger;

	if (want <= r->cap)
		return;
	if (cap == p->record_max && p->kept)
		bigger = p->block[--p->kept];
	else
		bigger = mem_alloc(cap);
	p->bytes += cap;
	if (r->buf) {
		memcpy(bigger, r->buf, r->len);
		block_put(p, r->buf, r->cap);
	}
	r->buf = bigger;
	r->cap = cap;
}

void record_drop(struct record_pool *p, struct record_in *r)
{
	if (r->buf)
		block_put(p, r->buf, r->cap);
	*r = (struct record_in){.buf = NULL};
}

bool record_partial(const struct record_in *r)
{
	return r->in_frag || r->mark_len || r->fragments;
}

/* A mark is complete: is this fragment acceptable? */
static int frag_begin(struct record_pool *p, struct record_in *r, uint32_t mark)
{
	r->mark_len = 0;
	r->last = (mark & LAST_BIT) != 0;
	r->frag_left = mark & ~LAST_BIT;
	if (r->frag_left > p->record_max - r->len)
		return -EMSGSIZE;
	if (++r->fragments > RECORD_FRAGMENTS_MAX)
		return -EPROTO;
	r->in_frag = true;
	if (r->frag_left)
		block_grow(p, r, r->len + r->frag_left);
	return 0;
}

/* All bytes of a fragment are there: the end of a record, or the next mark is due. */
static enum record_verdict frag_end(struct record_pool *p, struct record_in *r, record_fn *each,
				    void *arg)
{
	enum record_verdict v;

	r->in_frag = false;
	if (!r->last)
		return RECORD_NEXT;
	v = each(arg, r->buf ? r->buf : (const uint8_t *)"", r->len);
	record_drop(p, r);
	return v;
}

static int verdict_errno(enum record_verdict v)
{
	return v == RECORD_CLOSE ? -ECONNABORTED : 0;
}

/* The slow way, one step: some bytes of a mark or of a fragment.  Advances *data. */
static int collect(struct record_pool *p, struct record_in *r, const uint8_t **data, size_t left,
		   record_fn *each, void *arg, enum record_verdict *v)
{
	size_t n;
	int err;

	if (!r->in_frag) {
		n = 4U - r->mark_len < left ? 4U - r->mark_len : left;
		memcpy(r->mark + r->mark_len, *data, n);
		r->mark_len = (uint8_t)(r->mark_len + n);
		*data += n;
		if (r->mark_len < 4)
			return 0;
		err = frag_begin(p, r, mark_value(r->mark));
		if (err)
			return err;
	} else {
		n = r->frag_left < left ? r->frag_left : left;
		memcpy(r->buf + r->len, *data, n);
		r->len += n;
		r->frag_left -= (uint32_t)n;
		*data += n;
	}
	if (r->frag_left == 0)
		*v = frag_end(p, r, each, arg);
	return 0;
}

int record_feed(struct record_pool *p, struct record_in *r, const uint8_t *data, size_t len,
		size_t *used, record_fn *each, void *arg)
{
	const uint8_t *at = data, *end = data + len;
	enum record_verdict v = RECORD_NEXT;
	int err = 0;

	while (at < end && v == RECORD_NEXT && err == 0) {
		size_t left = (size_t)(end - at);

		if (left >= 4 && !record_partial(r)) {
			uint32_t mark = mark_value(at), n = mark & ~LAST_BIT;

			if (n > p->record_max) {
				err = -EMSGSIZE;
				break;
			}
			if ((mark & LAST_BIT) && n <= left - 4) {
				r->ahead = at + 4 + n;
				r->ahead_len = left - 4 - n;
				v = each(arg, at + 4, n);
				at += 4 + (size_t)n;
				continue;
			}
		}
		r->ahead_len = 0;
		err = collect(p, r, &at, left, each, arg, &v);
	}
	*used = (size_t)(at - data);
	return err ? err : verdict_errno(v);
}

const uint8_t *record_ahead(const struct record_in *r, size_t max, size_t *len)
{
	uint32_t mark;

	if (r->ahead_len < 4)
		return NULL;
	mark = mark_value(r->ahead);
	*len = mark & ~LAST_BIT;
	return (mark & LAST_BIT) && *len <= max && *len <= r->ahead_len - 4 ? r->ahead + 4 : NULL;
}

uint8_t *record_direct(struct record_in *r, size_t *room)
{
	if (!r->in_frag || r->frag_left < DIRECT_BYTES)
		return NULL;
	*room = r->frag_left;
	return r->buf + r->len;
}

void record_landed(struct record_in *r, size_t n)
{
	hf_assert(n == 0 || (r->in_frag && n < r->frag_left));
	r->len += n;
	r->frag_left -= (uint32_t)n;
}
