/* outq.c - queue of reply segments; see outq.h. */
#include "io/outq.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define CHUNK_BYTES  32640U /* with its header and malloc's a little below 32 KiB */
#define POOL_KEEP    64

struct out_seg {
	struct out_seg *next;
	uint8_t *data; /* own[] or body */
	size_t off, len, cap;
	void *body, *arg;
	void (*body_free)(void *arg, void *body);
	uint8_t own[];
};

void outq_pool_init(struct outq_pool *p)
{
	*p = (struct outq_pool){.unused = NULL};
}

void outq_pool_fini(struct outq_pool *p)
{
	while (p->unused) {
		struct out_seg *s = p->unused;

		p->unused = s->next;
		free(s);
	}
}

static void append(struct outq *q, struct out_seg *s)
{
	s->next = NULL;
	if (q->tail)
		q->tail->next = s;
	else
		q->head = s;
	q->tail = s;
}

static struct out_seg *chunk_new(struct outq_pool *p, size_t want)
{
	struct out_seg *s = p->unused;

	if (want <= CHUNK_BYTES && s) {
		p->unused = s->next;
		p->unused_count--;
		s->off = s->len = 0;
		return s;
	}
	if (want < CHUNK_BYTES)
		want = CHUNK_BYTES;
	s = mem_alloc(sizeof(*s) + want);
	*s = (struct out_seg){.cap = want};
	s->data = s->own;
	return s;
}

static void seg_free(struct outq_pool *p, struct out_seg *s)
{
	if (s->body) {
		s->body_free(s->arg, s->body);
		free(s);
	} else if (s->cap == CHUNK_BYTES && p->unused_count < POOL_KEEP) {
		s->next = p->unused;
		p->unused = s;
		p->unused_count++;
	} else {
		free(s);
	}
}

uint8_t *outq_room(struct outq_pool *p, struct outq *q, size_t n)
{
	struct out_seg *s = q->tail;
	uint8_t *at;

	if (!s || s->body || s->cap - s->len < n) {
		s = chunk_new(p, n);
		append(q, s);
	}
	at = s->data + s->len;
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
	s = mem_alloc(sizeof(*s));
	*s = (struct out_seg){
	    .data = body, .len = len, .cap = len, .body = body, .arg = arg, .body_free = body_free};
	append(q, s);
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
}

void outq_drop(struct outq_pool *p, struct outq *q)
{
	outq_consume(p, q, q->bytes);
}
