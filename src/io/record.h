/* record.h - RPC record marking (RFC 5531 section 11) on the receiving side.
 *
 * A record is one or more fragments, each behind a 4-byte mark (bit 31: the last one; the rest:
 * its length).  Whole single-fragment records are handed over where they lie, which is the usual
 * case and costs nothing.  What is incomplete is kept with its connection: nothing while idle, a
 * block of the announced size while a record is coming in.  Blocks of large records come from a
 * pool that the connections share.
 *
 * Bytes come from clients: nothing here asserts on them. Not here: sockets (io/stream.c). */
#ifndef HF_IO_RECORD_H
#define HF_IO_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_FRAGMENTS_MAX 4096
#define RECORD_POOL_KEEP     16

struct record_pool {
	size_t record_max; /* (c) the longest record that is taken */
	size_t bytes;	   /* held for incomplete records now */
	unsigned kept;
	void *block[RECORD_POOL_KEEP]; /* of record_max bytes each, unused */
};

struct record_in {
	uint8_t *buf; /* the record so far; NULL while nothing is kept */
	size_t len, cap;
	uint32_t frag_left; /* of the fragment at hand */
	uint16_t fragments;
	uint8_t mark[4], mark_len;
	bool last, in_frag;
	const uint8_t *ahead; /* while a record is handed over: the bytes behind it, not yet taken */
	size_t ahead_len;
};

/* What the receiver of a record says: go on, stop after this record, or close the connection. */
enum record_verdict { RECORD_NEXT, RECORD_PAUSE, RECORD_CLOSE };
typedef enum record_verdict record_fn(void *arg, const uint8_t *msg, size_t len);

void record_pool_init(struct record_pool *p, size_t record_max);
void record_pool_fini(struct record_pool *p);

/* Takes bytes of a stream in; calls `each` for every whole record (valid during the call).  *used
 * is what was consumed: all of them unless `each` said pause.  0; -EMSGSIZE: a record longer than
 * record_max; -EPROTO: too many fragments; -ECONNABORTED: `each` said close. */
int record_feed(struct record_pool *p, struct record_in *r, const uint8_t *data, size_t len,
		size_t *used, record_fn *each, void *arg);
/* While a record is handed over: the one behind it, if all of it is there, in one fragment, and of at
 * most `max` bytes; else NULL. */
const uint8_t *record_ahead(const struct record_in *r, size_t max, size_t *len);
/* Where the next bytes of a large incomplete fragment may be received directly, and how many;
 * NULL when there is no such fragment.  record_landed() says how many arrived there: fewer than
 * all of them, so that a record becomes complete in record_feed() only. */
uint8_t *record_direct(struct record_in *r, size_t *room);
void record_landed(struct record_in *r, size_t n);
/* A record has begun and is not complete. */
bool record_partial(const struct record_in *r);
void record_drop(struct record_pool *p, struct record_in *r);

#endif
