/* net.c - heartbeat sockets, and the sockets that workers are handed. */
#include "io/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"

#define PACKETS_A_ROUND 64
#define BACKLOG		1024
#define UDP_BUFFER	(4 << 20)

static void on_readable(struct loop_op *op, int res)
{
	struct net_path *p = LIST_OWNER(op, struct net_path, op);
	uint8_t packet[NET_PACKET_MAX];

	if (res < 0)
		return;
	for (int i = 0; i < PACKETS_A_ROUND && p->fd >= 0; i++) {
		socklen_t len = sizeof(p->from);
		ssize_t n = recvfrom(p->fd, packet, sizeof(packet), MSG_DONTWAIT,
				     (struct sockaddr *)&p->from, &len);

		if (n < 0) {
			/* An ICMP error of an earlier send is reported once and means nothing here. */
			if (errno == EAGAIN || errno == EINTR)
				break;
			continue;
		}
		p->received++;
		p->on_packet(p, packet, (size_t)n);
	}
	if (p->fd >= 0)
		loop_poll_once(p->loop, &p->op, p->fd, POLLIN);
}

int net_open(struct net_path *p, struct loop *l, const struct sockaddr *local, socklen_t len)
{
	int one = 1, prio = 6, tos = 0xc0; /* internetwork control: heartbeats go before bulk */
	int rc;

	p->fd = socket(local->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return -errno;
	/* The node's own address may come up after us. */
	setsockopt(p->fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	setsockopt(p->fd, SOL_SOCKET, SO_PRIORITY, &prio, sizeof(prio));
	if (local->sa_family == AF_INET)
		setsockopt(p->fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (bind(p->fd, local, len) < 0) {
		rc = -errno;
		close(p->fd);
		p->fd = -1;
		return rc;
	}
	p->loop = l;
	p->op = (struct loop_op){.done = on_readable};
	loop_poll_once(l, &p->op, p->fd, POLLIN);
	return 0;
}

void net_close(struct net_path *p)
{
	if (p->fd < 0)
		return;
	if (p->op.busy)
		loop_cancel(p->loop, &p->op);
	close(p->fd);
	p->fd = -1;
}

void net_send(struct net_path *p, const struct sockaddr *to, socklen_t to_len, const void *data,
	      size_t len)
{
	if (p->fd < 0)
		return;
	if (sendto(p->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, to, to_len) < 0)
		p->send_errors++;
	else
		p->sent++;
}

int net_listen(const struct sockaddr *local, socklen_t len, int socktype)
{
	int one = 1, size = UDP_BUFFER, rc;
	int fd = socket(local->sa_family, socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (socktype == SOCK_STREAM) {
		/* Else connections of the last worker in TIME_WAIT would bar the port. */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	} else {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
	if (local->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, local, len) < 0 || (socktype == SOCK_STREAM && listen(fd, BACKLOG) < 0)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}
