/* tickle.c - raw TCP segments: a bare ACK each. */
#include "io/tickle.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int tickle_open(struct tickle *t)
{
	int one = 1, offset = offsetof(struct tcphdr, check), err = 0;

	t->fd4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	if (t->fd4 < 0)
		err = -errno;
	else
		setsockopt(t->fd4, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one));
	t->fd6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (t->fd6 >= 0) {
		setsockopt(t->fd6, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof(offset));
		/* Also for an address that has gone; of an IPv4 header of ours nobody asks. */
		setsockopt(t->fd6, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one));
	}
	return t->fd4 < 0 && t->fd6 < 0 ? err : 0;
}

void tickle_close(struct tickle *t)
{
	if (t->fd4 >= 0)
		close(t->fd4);
	if (t->fd6 >= 0)
		close(t->fd6);
	t->fd4 = t->fd6 = -1;
}

static uint16_t checksum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (; len > 1; len -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void fill_ack(struct tcphdr *h, uint16_t from, uint16_t to)
{
	memset(h, 0, sizeof(*h));
	h->source = htons(from);
	h->dest = htons(to);
	h->doff = 5;
	h->ack = 1;
	h->window = htons(1024);
}

static int send4(int fd, const uint8_t *local, uint16_t local_port, const uint8_t *remote,
		 uint16_t remote_port)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} p;
	uint8_t pseudo[12 + sizeof(struct tcphdr)] = {0};
	struct sockaddr_in to = {.sin_family = AF_INET};

	memset(&p, 0, sizeof(p));
	p.ip.version = 4;
	p.ip.ihl = 5;
	p.ip.tot_len = htons(sizeof(p));
	p.ip.ttl = 64;
	p.ip.protocol = IPPROTO_TCP;
	memcpy(&p.ip.saddr, local, 4);
	memcpy(&p.ip.daddr, remote, 4);
	fill_ack(&p.tcp, local_port, remote_port);
	memcpy(pseudo, local, 4);
	memcpy(pseudo + 4, remote, 4);
	pseudo[9] = IPPROTO_TCP;
	pseudo[11] = sizeof(struct tcphdr);
	memcpy(pseudo + 12, &p.tcp, sizeof(p.tcp));
	p.tcp.check = htons(checksum(pseudo, sizeof(pseudo), 0));
	memcpy(&to.sin_addr, remote, 4);
	return sendto(fd, &p, sizeof(p), 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

/* The kernel writes the IPv6 header and the checksum; the source is chosen beside the packet. */
static int send6(int fd, const uint8_t *local, uint16_t local_port, const uint8_t *remote,
		 uint16_t remote_port)
{
	struct tcphdr tcp;
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control;
	struct iovec iov = {.iov_base = &tcp, .iov_len = sizeof(tcp)};
	struct msghdr m = {.msg_name = &to,
			   .msg_namelen = sizeof(to),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	struct in6_pktinfo info = {0};

	fill_ack(&tcp, local_port, remote_port);
	memset(&control, 0, sizeof(control));
	memcpy(&to.sin6_addr, remote, 16);
	memcpy(&info.ipi6_addr, local, 16);
	c->cmsg_level = IPPROTO_IPV6;
	c->cmsg_type = IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return sendmsg(fd, &m, 0) < 0 ? -errno : 0;
}

int tickle_send(const struct tickle *t, const uint8_t local[16], uint16_t local_port,
		const uint8_t remote[16], uint16_t remote_port)
{
	if (memcmp(remote, mapped, 12) != 0)
		return t->fd6 < 0 ? -EPERM : send6(t->fd6, local, local_port, remote, remote_port);
	return t->fd4 < 0 ? -EPERM
			  : send4(t->fd4, local + 12, local_port, remote + 12, remote_port);
}
