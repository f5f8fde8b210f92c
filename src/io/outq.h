/* outq.h - a connection's replies on their way out: a queue of segments.
 *
 * Small things are copied one behind the other into chunks (what lies side by side becomes one iovec
 * however many replies it holds); bulk is kept by reference and freed when the kernel has it, and what
 * comes behind it goes on in the same chunk.  Chunks come from a pool that all connections share, so a
 * connection with nothing to say owns nothing. */
#ifndef HF_IO_OUTQ_H
#define HF_IO_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct out_seg;
struct out_chunk;

struct outq_pool {
	struct out_chunk *chunks; /* unused ones */
	struct out_seg *segs;
	unsigned chunk_count, seg_count;
	size_t bytes; /* queued in all queues of this pool */
};

struct outq {
	struct out_seg *head, *tail;
	struct out_chunk *fill; /* where the next small thing goes */
	size_t bytes;
};

void outq_pool_init(struct outq_pool *p);
void outq_pool_fini(struct outq_pool *p);

/* `n` consecutive bytes at the end of the queue, to be filled in at once. */
uint8_t *outq_room(struct outq_pool *p, struct outq *q, size_t n);
/* Takes `body` over; body_free(arg, body) when it was sent or dropped. */
void outq_ref(struct outq_pool *p, struct outq *q, void *body, size_t len,
	      void (*body_free)(void *arg, void *body), void *arg);
/* The first bytes of the queue as at most `max` iovecs; returns how many. */
unsigned outq_iov(const struct outq *q, struct iovec *iov, unsigned max);
/* The first `n` bytes are gone. */
void outq_consume(struct outq_pool *p, struct outq *q, size_t n);
void outq_drop(struct outq_pool *p, struct outq *q);

#endif
