/* rpc.h - ONC RPC (RFC 5531) on the server side, between a transport and the programs.
 *
 * The transport (io/stream.c for TCP record marking, io/dgram.c for UDP) hands over one whole
 * call message at a time and takes whole reply messages; it knows nothing of what they say.  The
 * programs (portmap, mount, nfs3) see decoded arguments and a reply cursor.
 *
 * A reply may leave only when what it reveals is durable (SAFETY S8), so a procedure names the
 * lsn its reply waits for; the dispatcher holds the reply until the store reports that lsn.  A
 * procedure may also ask to be run again once an lsn is durable (an object with writes under
 * way), or finish later by itself (COMMIT). */
#ifndef HF_NFS_RPC_H
#define HF_NFS_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "io/peer.h"
#include "nfs/exports.h"

struct rpc_server;

struct rpc_server_args {
	struct loop *loop;	     /* for the retry timer; NULL: rpc_durable() alone drives it */
	const struct nfs_conf *conf; /* copied; its stores are open already and stay so */
	/* SAFETY F4: may state be read and may replies leave?  Asked after a call was received and
	 * before each reply that was held; "no" means silence: the call or reply is put aside until
	 * the answer is yes again.  NULL: always. */
	bool (*may_serve)(void *arg);
	/* The first reply is on its way.  May be NULL. */
	void (*on_first_reply)(void *arg);
	void *arg;
};

/* 0 or -errno with a line for people. */
int rpc_server_new(struct rpc_server **sp, const struct rpc_server_args *a, char *err,
		   size_t err_size);
/* Drops what is held.  Before it: the transports are closed (they may own bulk buffers of ours)
 * and the stores too (a commit under way calls back). */
void rpc_server_free(struct rpc_server *s);
/* Other exports, client rules and options from now on, over the same stores; connections stay.  0, or
 * -EINVAL with a line for people, and the old ones stay. */
int rpc_server_exports(struct rpc_server *s, const struct nfs_conf *conf, char *err, size_t err_size);
/* Every export; `found`: its directory was there when last looked for (start, new exports, MNT). */
void rpc_exports_each(const struct rpc_server *s,
		      void (*each)(void *arg, const char *path, const char *dir, bool found),
		      void *arg);
/* What a store's on_durable() is passed on to: releases the replies that waited for it. */
void rpc_durable(struct rpc_server *s, struct store *store, uint64_t lsn);
/* Calls and replies that have not left yet: 0 means a drain is done. */
size_t rpc_pending(const struct rpc_server *s);

/* Counters (nfs/stats.h has their help texts): `each` gets every one. */
void rpc_stats_each(const struct rpc_server *s,
		    void (*each)(void *arg, const char *name, const char *help, uint64_t value),
		    void *arg);
/* Per procedure: program and version as in "nfs3", procedure as in "GETATTR". */
void rpc_procs_each(const struct rpc_server *s,
		    void (*each)(void *arg, const char *program, const char *proc, uint64_t calls,
				 uint64_t errors),
		    void *arg);

/* How long replies were held back, from the round in which the call came to the one in which the
 * reply was given to the transport: bin i counts those below 2^i us (and not below 2^(i-1)), the
 * last one all others.  Replies that were never held are not in it. */
#define RPC_WAIT_BINS 24
const uint64_t *rpc_waits(const struct rpc_server *s);

/* One call message.  `msg` is valid during this call only.  A message that is no RPC call at all
 * is counted and dropped; the return value is false then, and a stream is to be closed. */
bool rpc_receive(struct rpc_server *s, struct rpc_peer *from, const uint8_t *msg, size_t len);
/* That message will be received soon: what it will look at comes from memory meanwhile. */
void rpc_ahead(const struct rpc_server *s, const struct rpc_peer *from, const uint8_t *msg, size_t len);

#endif
