/* stream.h - serving RPC over TCP: accept, receive whole records, send replies in batches.
 *
 * Shape (DESIGN 4, FACTS 6): a wake-up takes every request that is there with one recv per
 * connection into one buffer that all connections share, and runs each request to completion; the
 * replies of a round leave together, one sendmsg per connection.  An idle connection owns its
 * struct and nothing else.
 *
 * The lease (SAFETY F4) comes in through may_serve(): asked after each recv, before a request may
 * touch any state, and right before each sendmsg.  While it says no, the server is silent: bytes
 * that were received are kept, replies stay queued, nothing is answered; it asks again until the
 * answer is yes or somebody ends the process.
 *
 * Bounds: connections (at the limit the longest idle one makes room), queued replies of one
 * connection and of all, requests under way of one connection (then its socket is not read), time
 * for a record to arrive and for a reader to take something (then it is closed). */
#ifndef HF_IO_STREAM_H
#define HF_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "io/peer.h"

#define STREAM_LISTENERS_MAX 16

struct stream;

struct stream_conf {
	size_t record_max;	     /* a little above the largest transfer and its headers */
	size_t out_max;		     /* queued bytes of one connection: then it is not read */
	size_t out_total_max;	     /* of all: then the slowest reader is closed */
	size_t partial_total_max;    /* incomplete records of all: then the slowest sender is closed */
	unsigned conns_max;	     /* 0: what the descriptor limit allows */
	unsigned calls_max;	     /* requests under way of one connection */
	size_t call_bytes_max;	     /* ... and their bytes: then it is not read */
	size_t call_bytes_total_max; /* of all: then only those with nothing under way are read */
	uint64_t record_deadline_ns; /* from a record's first byte to its last */
	uint64_t reader_deadline_ns; /* without taking a byte of what is queued */
};
void stream_conf_default(struct stream_conf *c);

struct stream_ops {
	/* One whole record; false: garbage, close the connection. */
	bool (*receive)(void *arg, struct rpc_peer *from, const uint8_t *msg, size_t len);
	/* All may be NULL. */
	/* A record that receive() is about to get, behind the one that it gets now: to be looked at only,
	 * so that what it needs from memory is on its way. */
	void (*ahead)(void *arg, const struct rpc_peer *from, const uint8_t *msg, size_t len);
	bool (*may_serve)(void *arg);
	void (*opened)(void *arg, const struct rpc_peer *p);
	void (*closed)(void *arg, const struct rpc_peer *p);
	/* The first reply since stream_new() was given to the kernel. */
	void (*first_sent)(void *arg);
};

struct stream_stats {
	uint64_t accepted, refused, evicted, closed, open;
	uint64_t records, recvs, sends, bytes_in, bytes_out;
	uint64_t bad_records; /* too long, too many fragments, no RPC: connection closed */
	uint64_t slow_senders, slow_readers;
	uint64_t lapses;    /* times the lease was found gone */
	uint64_t out_bytes;  /* queued now */
	uint64_t call_bytes; /* of requests under way now */
};

/* Adds its receiving hook to the loop: make it before the store whose batches follow it. */
void stream_new(struct stream **sp, struct loop *l, const struct stream_conf *c,
		const struct stream_ops *ops, void *arg);
/* Adds its sending hook: after the store, so that a log batch is on its way before the replies. */
void stream_start(struct stream *s);
/* Serves a listening socket, which it takes over.  `arg` goes to ops->receive() for its records;
 * opened() and closed() are called for its connections when `announced`. 0 or -errno. */
int stream_listen(struct stream *s, int fd, void *arg, bool announced);
/* Takes no more connections and reads no more; replies still leave. */
void stream_drain(struct stream *s);
/* Nothing is under way: no reply is queued and no peer is held. */
bool stream_quiet(const struct stream *s);
/* Closes everything, unsent replies too.  Peers that are still held stay until their put(). */
void stream_free(struct stream *s);
void stream_stats(const struct stream *s, struct stream_stats *out);

#endif
