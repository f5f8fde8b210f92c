/* net.h - heartbeat datagrams: one UDP socket for each path of this node.
 *
 * Packets are sealed before they come here and opened after; this file knows addresses only. */
#ifndef HF_IO_NET_H
#define HF_IO_NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/loop.h"

#define NET_PACKET_MAX 4096

struct net_path {
	void (*on_packet)(struct net_path *p, const uint8_t *data, size_t len);
	/* (net) */
	struct loop *loop;
	struct loop_op op;
	int fd;
	struct sockaddr_storage from; /* of the packet at hand, as it says */
	uint64_t sent, send_errors, received;
};

/* Binds; 0 or -errno (-EADDRINUSE, -EADDRNOTAVAIL). */
int net_open(struct net_path *p, struct loop *l, const struct sockaddr *local, socklen_t len);
void net_close(struct net_path *p);
/* Never waits: a datagram that does not fit into the queue is lost like any other. */
void net_send(struct net_path *p, const struct sockaddr *to, socklen_t to_len, const void *data,
	      size_t len);

/* A listening TCP or bound UDP socket for a worker; the address may come later (IP_FREEBIND).
 * Descriptor, or -errno. */
int net_listen(const struct sockaddr *local, socklen_t len, int socktype);

#endif
