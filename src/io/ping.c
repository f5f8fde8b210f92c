/* ping.c - ARP requests out, answers in. */
#include "io/ping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"

#define FRAMES_A_ROUND 64
#define TABLE_MAX      65536

static void on_frame(struct loop_op *op, int res)
{
	struct ping *p = LIST_OWNER(op, struct ping, op);
	struct ether_arp a;

	if (res < 0)
		return;
	for (int i = 0; i < FRAMES_A_ROUND && p->fd >= 0; i++) {
		ssize_t n = recv(p->fd, &a, sizeof(a), MSG_DONTWAIT);

		if (n < 0)
			break;
		if (n == (ssize_t)sizeof(a) && a.arp_op == htons(ARPOP_REPLY) &&
		    memcmp(a.arp_tpa, p->own, 4) == 0 && memcmp(a.arp_tha, p->mac, 6) == 0)
			p->answered_ns = loop_clock_ns();
	}
	if (p->fd >= 0)
		loop_poll_once(p->loop, op, p->fd, POLLIN);
}

int ping_open(struct ping *p, struct loop *l, const char *ifname, const uint8_t own[4])
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP)};
	struct ifreq ifr = {0};
	int rc = 0;

	memset(p, 0, sizeof(*p));
	p->loop = l;
	memcpy(p->own, own, 4);
	snprintf(p->ifname, sizeof(p->ifname), "%s", ifname);
	memcpy(ifr.ifr_name, p->ifname, sizeof(p->ifname));
	p->op.done = on_frame;
	p->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ARP));
	if (p->fd < 0)
		return -errno;
	if (ioctl(p->fd, SIOCGIFINDEX, &ifr) < 0)
		rc = -errno;
	p->ifindex = at.sll_ifindex = ifr.ifr_ifindex;
	if (rc == 0 && ioctl(p->fd, SIOCGIFHWADDR, &ifr) < 0)
		rc = -errno;
	if (rc == 0 && ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		rc = -EPROTONOSUPPORT;
	memcpy(p->mac, ifr.ifr_hwaddr.sa_data, 6);
	if (rc == 0 && bind(p->fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		rc = -errno;
	if (rc) {
		close(p->fd);
		p->fd = -1;
		return rc;
	}
	loop_poll_once(l, &p->op, p->fd, POLLIN);
	return 0;
}

void ping_close(struct ping *p)
{
	if (p->fd < 0)
		return;
	if (p->op.busy)
		loop_cancel(p->loop, &p->op);
	close(p->fd);
	p->fd = -1;
}

static void learn(struct ping *p, const uint8_t ip[4])
{
	for (unsigned i = 0; i < p->count; i++)
		if (memcmp(p->target[i], ip, 4) == 0)
			return;
	/* Full: the oldest makes room. */
	if (p->count == PING_TARGETS)
		memmove(p->target[0], p->target[1], sizeof(p->target) - 4);
	else
		p->count++;
	memcpy(p->target[p->count - 1], ip, 4);
}

void ping_learn_text(struct ping *p, const char *text,
		     bool (*skip)(void *arg, const uint8_t ip[4]), void *arg)
{
	char ip_text[32], dev[32];
	unsigned flags;
	uint8_t ip[4];

	/* IP address, HW type, Flags, HW address, Mask, Device; a title before. */
	for (const char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
		if (sscanf(line + 1, "%31s %*s %x %*s %*s %31s", ip_text, &flags, dev) != 3 ||
		    !(flags & ATF_COM) || strcmp(dev, p->ifname) != 0 ||
		    inet_pton(AF_INET, ip_text, ip) != 1 || (skip && skip(arg, ip)))
			continue;
		learn(p, ip);
	}
}

void ping_learn(struct ping *p, bool (*skip)(void *arg, const uint8_t ip[4]), void *arg)
{
	FILE *f = fopen("/proc/net/arp", "re");
	char *text = f ? malloc(TABLE_MAX) : NULL;

	if (text) {
		text[fread(text, 1, TABLE_MAX - 1, f)] = '\0';
		ping_learn_text(p, text, skip, arg);
		free(text);
	}
	if (f)
		fclose(f);
}

void ping_one(struct ping *p, const uint8_t ip[4])
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = p->ifindex,
				 .sll_halen = 6};
	struct ether_arp a = {.arp_op = htons(ARPOP_REQUEST)};

	if (p->fd < 0)
		return;
	memset(to.sll_addr, 0xff, 6);
	a.arp_hrd = htons(ARPHRD_ETHER);
	a.arp_pro = htons(ETHERTYPE_IP);
	a.arp_hln = 6;
	a.arp_pln = 4;
	memcpy(a.arp_sha, p->mac, 6);
	memcpy(a.arp_spa, p->own, 4);
	memcpy(a.arp_tpa, ip, 4);
	(void)sendto(p->fd, &a, sizeof(a), MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof(to));
}

bool ping_group(struct ping *p, unsigned group)
{
	unsigned from = group * PING_GROUP;

	for (unsigned i = from; i < p->count && i < from + PING_GROUP; i++)
		ping_one(p, p->target[i]);
	return from < p->count;
}
