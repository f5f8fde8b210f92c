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

#include "io/peer.h"

struct rpc_server;

/* One call message.  `msg` is valid during this call only.  A message that is no RPC call at all
 * is counted and dropped; the return value is false then, and a stream is to be closed. */
bool rpc_receive(struct rpc_server *s, struct rpc_peer *from, const uint8_t *msg, size_t len);

#endif
