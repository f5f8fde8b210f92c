/* worker.h - what holdfastd and its holdfast-vs processes say to each other.  Pure.
 *
 * A SOCK_SEQPACKET socket pair, one message a packet, descriptors beside it (SCM_RIGHTS):
 *
 *	off size field
 *	  0    4 magic "HFW1"
 *	  4    2 type (enum worker_type)     6   2 FAILED: enum worker_failure; else zero
 *	  8    8 epoch of the ownership this is about; a message of another epoch is ignored
 *	 16    . body by type, big-endian
 *
 * The worker is started as
 *	holdfast-vs --vs NAME --node NAME --control FD --config FD --lease FD --store FS=DIR ...
 * with the configuration's text in a memfd (the very bytes that the daemon checked) and the lease
 * page, another memfd, below.  It does all that needs no storage, drops its privileges and says
 * SPARE.  It may stay a spare for months: no epoch (0), no lock, no lease, no socket, and nothing
 * below its stores' directories is opened.  TAKE says that the storage is this node's, brings the
 * epoch and the locks; then it recovers, says READY, and serves only from OPEN on. */
#ifndef HF_CODEC_WORKER_H
#define HF_CODEC_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKER_MSG_MAX	 65536
#define WORKER_FDS_MAX	 16
#define WORKER_TEXT_MAX	 256
#define WORKER_CONNS_MAX 1024

enum worker_type {
	/* daemon -> worker */
	WORKER_OPEN = 1,   /* sockets to serve on: body lists a role for each descriptor */
	WORKER_DRAIN,	   /* stop taking requests, finish, checkpoint, close the store: DRAINED */
	WORKER_STATS,	   /* asks for STATS_REPLY */
	WORKER_CHECKPOINT, /* start one now */
	WORKER_TAKE,	   /* to a spare: its epoch, and what not to open; beside it a lock for each unit */
	WORKER_CONFIG,	   /* also to a spare: another configuration's text, a memfd beside it */
	/* worker -> daemon */
	WORKER_READY = 64,  /* store recovered; times and the last owner's client connections */
	WORKER_SERVING,	    /* after OPEN: the sockets are polled */
	WORKER_FIRST_REPLY, /* after OPEN: a client got its first reply (time in ns) */
	WORKER_DRAINED,	    /* all is on disk, the store is closed; when the daemon hangs up, exit 0 */
	WORKER_STATS_REPLY, /* JSON text */
	WORKER_FAILED,	    /* it cannot go on: reason; exits */
	WORKER_DAMAGE,	    /* a store is damaged and not served any more: reason; exits */
	WORKER_SPARE,	    /* epoch 0: prepared, waits for TAKE */
	WORKER_FAILING,	    /* the same as DAMAGE, but what is below the store fails: reason */
};

/* Why a worker FAILED; a value that is not known is the worker's own failure. */
enum worker_failure {
	WORKER_FAIL_ITSELF = 0,
	WORKER_FAIL_STORAGE = 1, /* what is below a store: another node may do better at once */
};

enum worker_role {
	WORKER_ROLE_NFS_TCP = 1, /* NFS and MOUNT on one port */
	WORKER_ROLE_NFS_UDP,
	WORKER_ROLE_PMAP_TCP,
	WORKER_ROLE_PMAP_UDP,
	WORKER_ROLE_MOUNT_TCP, /* where the mount port is its own */
	WORKER_ROLE_MOUNT_UDP,
};

struct worker_conn {
	uint8_t remote[16], local[16];
	uint16_t remote_port, local_port;
};

struct worker_msg {
	enum worker_type type;
	uint64_t epoch;
	/* TAKE */
	unsigned lock_count;
	uint8_t closed; /* bit k: store k is being repaired: who asks for it gets no answer */
	/* OPEN */
	unsigned role_count;
	uint8_t role[WORKER_FDS_MAX];
	/* READY */
	uint64_t recovered_records, recovery_ns, write_verifier;
	bool was_clean;
	unsigned conn_count;
	struct worker_conn conn[WORKER_CONNS_MAX];
	/* FIRST_REPLY */
	uint64_t at_ns; /* CLOCK_BOOTTIME */
	enum worker_failure failure; /* FAILED */
	/* FAILED, DAMAGE, FAILING: text; STATS_REPLY: JSON. Points into the packet after decode. */
	const char *text;
	size_t text_len;
};

/* Bytes written, or 0 when it does not fit. */
size_t worker_encode(const struct worker_msg *m, uint8_t *out, size_t size);
/* 0, or -EBADMSG (-EPROTO for an unknown type). */
int worker_decode(struct worker_msg *m, const uint8_t *in, size_t len);

/* The lease page (SAFETY F4), written by the daemon, read by the worker after it received
 * requests, before it reads any state, and again before it sends.  All in CLOCK_BOOTTIME ns.
 * Serving is allowed while now < until_ns and epoch is the worker's own. A single writer; each
 * field is one aligned 64-bit store; epoch is 0 for a spare and set once, before TAKE is sent. */
struct worker_lease {
	uint64_t epoch;
	uint64_t until_ns; /* 0 = revoked for good */
};

#endif
