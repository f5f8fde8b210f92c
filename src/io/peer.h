/* peer.h - the other end of an RPC conversation, as the server programs see it.
 *
 * The boundary between the transports (io/stream.c: TCP with record marking; io/dgram.c: UDP) and
 * the RPC programs (room nfs).  The transport hands over one whole call message at a time and
 * takes whole reply messages; it knows nothing of what they say.
 *
 * A UDP peer belongs to one datagram: it exists until its last put().  A TCP peer is a connection;
 * it may be closed while replies to it are still held back: sending to it is a quiet no-op. */
#ifndef HF_IO_PEER_H
#define HF_IO_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct rpc_peer;

struct rpc_borrowed {
	void *(*keep)(void *arg, size_t from, size_t len);
	void *arg;
	void (*body_free)(void *arg, void *body);
	void *free_arg;
};

struct rpc_peer_ops {
	/* Queues one whole reply message (without record mark); the bytes are copied. */
	void (*send)(struct rpc_peer *p, const void *msg, size_t len);
	/* The same for bulk: `head` is copied, `body` is taken over and freed with body_free(). */
	void (*send_bulk)(struct rpc_peer *p, const void *head, size_t head_len, void *body,
			  size_t body_len, void (*body_free)(void *arg, void *body), void *arg);
	/* The same for bulk that lies where it may change as soon as this call is over: what the kernel
	 * takes at once it copies from there, the rest is asked for (keep() gives a buffer with bytes
	 * `from` on, which is taken over, or NULL: the connection ends).  False: nothing was sent, the
	 * bytes cannot be read there.  NULL: this peer cannot. */
	bool (*send_borrowed)(struct rpc_peer *p, const void *head, size_t head_len,
			      const void *body, size_t body_len, const struct rpc_borrowed *b);
	/* A held reply keeps its peer alive: get() when it is put by, put() after its send(). */
	struct rpc_peer *(*get)(struct rpc_peer *p);
	void (*put)(struct rpc_peer *p);
};

struct rpc_peer {
	const struct rpc_peer_ops *ops;
	struct sockaddr_storage remote, local;
	bool stream; /* TCP: no message size limit but ours; UDP: replies at most 64 KiB - 1 KiB */
};

#endif
