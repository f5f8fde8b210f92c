/* outq.c - queue of reply segments; see outq.h. */
#include "io/outq.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define CHUNK_BYTES 32640U /* with its header and malloc's a little below 32 KiB */
#define CHUNKS_KEPT 64
#define SEGS_KEPT   4096

/* Memory for small things; goes back when the queue that fills it and all segments let go of it. */
struct out_chunk {
	struct out_chunk *next;
	unsigned refs;
	size_t used, cap;
	uint8_t bytes[];
};

struct out_seg {
	struct out_seg *next;
	uint8_t *data; /* in a chunk, or body */
	size_t off, len;
	struct out_chunk *chunk;
	void *body, *arg;
	void (*body_free)(void *arg, void *body);
};

void outq_pool_init(struct outq_pool *p)
{
	*p = (struct outq_pool){.chunks = NULL};
}

void outq_pool_fini(struct outq_pool *p)
{
	while (p->chunks) {
		struct out_chunk *k = p->chunks;

		p->chunks = k->next;
		free(k);
	}
	while (p->segs) {
		struct out_seg *s = p->segs;

		p->segs = s->next;
		free(s);
	}
}

static struct out_chunk *chunk_new(struct outq_pool *p, size_t want)
{
	struct out_chunk *k = p->chunks;

	if (want <= CHUNK_BYTES && k) {
		p->chunks = k->next;
		p->chunk_count--;
	} else {
		if (want < CHUNK_BYTES)
			want = CHUNK_BYTES;
		k = mem_alloc(sizeof(*k) + want);
		k->cap = want;
	}
	k->used = 0;
	k->refs = 1;
	return k;
}

static void chunk_put(struct outq_pool *p, struct out_chunk *k)
{
	if (!k || --k->refs)
		return;
	if (k->cap == CHUNK_BYTES && p->chunk_count < CHUNKS_KEPT) {
		k->next = p->chunks;
		p->chunks = k;
		p->chunk_count++;
	} else {
		free(k);
	}
}

static struct out_seg *seg_add(struct outq_pool *p, struct outq *q)
{
	struct out_seg *s = p->segs;

	if (s) {
		p->segs = s->next;
		p->seg_count--;
	} else {
		s = mem_alloc(sizeof(*s));
	}
	*s = (struct out_seg){.next = NULL};
	if (q->tail)
		q->tail->next = s;
	else
		q->head = s;
	q->tail = s;
	return s;
}

static void seg_free(struct outq_pool *p, struct out_seg *s)
{
	if (s->body)
		s->body_free(s->arg, s->body);
	chunk_put(p, s->chunk);
	if (p->seg_count >= SEGS_KEPT) {
		free(s);
		return;
	}
	s->next = p->segs;
	p->segs = s;
	p->seg_count++;
}

uint8_t *outq_room(struct outq_pool *p, struct outq *q, size_t n)
{
	struct out_seg *s = q->tail;
	uint8_t *at;

	if (!q->fill || q->fill->cap - q->fill->used < n) {
		chunk_put(p, q->fill);
		q->fill = chunk_new(p, n);
	}
	at = q->fill->bytes + q->fill->used;
	if (!s || s->chunk != q->fill) {
		s = seg_add(p, q);
		s->data = at;
		s->chunk = q->fill;
		s->chunk->refs++;
	}
	q->fill->used += n;
	s->len += n;
	q->bytes += n;
	p->bytes += n;
	return at;
}

void outq_ref(struct outq_pool *p, struct outq *q, void *body, size_t len,
	      void (*body_free)(void *arg, void *body), void *arg)
{
	struct out_seg *s;

	if (len == 0) {
		body_free(arg, body);
		return;
	}
	s = seg_add(p, q);
	s->data = s->body = body;
	s->len = len;
	s->arg = arg;
	s->body_free = body_free;
	q->bytes += len;
	p->bytes += len;
}

unsigned outq_iov(const struct outq *q, struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	for (const struct out_seg *s = q->head; s && n < max; s = s->next)
		iov[n++] = (struct iovec){.iov_base = s->data + s->off, .iov_len = s->len - s->off};
	return n;
}

void outq_consume(struct outq_pool *p, struct outq *q, size_t n)
{
	hf_assert(n <= q->bytes);
	q->bytes -= n;
	p->bytes -= n;
	while (q->head) {
		struct out_seg *s = q->head;

		if (n < s->len - s->off) {
			s->off += n;
			return;
		}
		n -= s->len - s->off;
		q->head = s->next;
		if (!q->head)
			q->tail = NULL;
		seg_free(p, s);
	}
	hf_assert(n == 0);
	chunk_put(p, q->fill);
	q->fill = NULL;
}

void outq_drop(struct outq_pool *p, struct outq *q)
{
	outq_consume(p, q, q->bytes);
}
