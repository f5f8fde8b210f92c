/* queue.c - what happens next: a binary heap over virtual time, and the seeded generator. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool sooner(const struct sim_due *a, const struct sim_due *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void insert(struct sim_queue *q, struct sim_item *it)
{
	struct sim_due due = {.at_ns = it->at_ns, .order = q->order++, .item = it};
	size_t i;

	if (q->count == q->room) {
		q->room = q->room ? 2 * q->room : 1024;
		q->heap = mem_realloc(q->heap, q->room * sizeof(*q->heap));
	}
	for (i = q->count++; i > 0 && sooner(&due, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		q->heap[i] = q->heap[(i - 1) / 2];
	q->heap[i] = due;
}

struct sim_item *queue_put(struct sim *s, uint64_t delay_ns, sim_fn *fn)
{
	struct sim_queue *q = &s->queue;
	struct sim_item *it = q->spare;

	if (it)
		q->spare = it->next;
	else
		it = mem_alloc(sizeof(*it));
	memset(it, 0, sizeof(*it));
	it->fn = fn;
	queue_again(s, it, delay_ns);
	return it;
}

void queue_again(struct sim *s, struct sim_item *it, uint64_t delay_ns)
{
	it->at_ns = s->now_ns + delay_ns;
	it->queued = true;
	insert(&s->queue, it);
}

struct sim_item *queue_pop(struct sim *s)
{
	struct sim_queue *q = &s->queue;
	struct sim_item *top;
	struct sim_due last;
	size_t i = 0;

	if (q->count == 0)
		return NULL;
	top = q->heap[0].item;
	last = q->heap[--q->count];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && sooner(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!sooner(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = last;
	top->queued = false;
	return top;
}

void queue_free(struct sim *s, struct sim_item *it)
{
	free(it->data);
	it->data = NULL;
	it->next = s->queue.spare;
	s->queue.spare = it;
}

void queue_clear(struct sim *s)
{
	struct sim_queue *q = &s->queue;

	while (q->count)
		queue_free(s, q->heap[--q->count].item);
	while (q->spare) {
		struct sim_item *it = q->spare;

		q->spare = it->next;
		free(it);
	}
	free(q->heap);
	memset(q, 0, sizeof(*q));
}

/* xoshiro256**, seeded by splitmix64. */
void prng_seed(struct sim_prng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
		r->s[i] = z ^ z >> 31;
	}
}

static uint64_t rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

uint64_t prng_next(struct sim_prng *r)
{
	uint64_t result = rotate(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rotate(r->s[3], 45);
	return result;
}

uint64_t below(struct sim *s, uint64_t n)
{
	return n ? prng_next(&s->rng) % n : 0;
}

bool chance(struct sim *s, unsigned permille)
{
	return permille && below(s, 1000) < permille;
}

uint64_t between(struct sim *s, uint64_t lo, uint64_t hi)
{
	return lo + below(s, hi - lo + 1);
}
