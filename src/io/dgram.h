/* dgram.h - serving RPC over UDP: batches in by recvmmsg, batches out by sendmmsg.
 *
 * A reply leaves from the address the call came to (IP_PKTINFO), also when the socket is bound to
 * a wildcard.  Each call has a peer of its own, alive until its reply has gone or its last put().
 * The lease is asked as in io/stream.h; UDP clients repeat what gets no answer, so while it is
 * gone calls and replies are simply dropped. */
#ifndef HF_IO_DGRAM_H
#define HF_IO_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "io/peer.h"

#define DGRAM_SOCKETS_MAX 16
#define DGRAM_REPLY_MAX	  (64U * 1024 - 512)

struct dgram;

struct dgram_ops {
	/* One datagram; false: garbage (counted). */
	bool (*receive)(void *arg, struct rpc_peer *from, const uint8_t *msg, size_t len);
	/* May be NULL. */
	bool (*may_serve)(void *arg);
	void (*first_sent)(void *arg);
};

struct dgram_stats {
	uint64_t calls, replies, bad, too_long;
	uint64_t dropped; /* replies that the socket did not take, or without a lease */
	uint64_t lapsed;  /* calls that came without a lease */
	uint64_t peers;	  /* held now */
};

/* As with stream_new() and stream_start(): before and after the store. */
void dgram_new(struct dgram **dp, struct loop *l, const struct dgram_ops *ops, void *arg);
void dgram_start(struct dgram *d);
/* Serves a bound UDP socket, which it takes over; `arg` goes to ops->receive(). 0 or -errno. */
int dgram_listen(struct dgram *d, int fd, void *arg);
void dgram_drain(struct dgram *d);
bool dgram_quiet(const struct dgram *d);
/* Peers that are still held stay until their put(). */
void dgram_free(struct dgram *d);
void dgram_stats(const struct dgram *d, struct dgram_stats *out);

#endif
