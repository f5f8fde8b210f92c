/* address.c - rtnetlink requests for addresses, ARP and neighbour advertisements. */
#include "io/address.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

/* The kernel's acknowledgement: its errno, or -EPROTO when it says something else. */
static int answer_of(struct mnl_socket *nl, unsigned seq)
{
	char buf[8192];
	ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

	if (n < 0)
		return -errno;
	if (mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), NULL, NULL) < 0)
		return -errno;
	return 0;
}

static int transact(struct nlmsghdr *h)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err = 0;

	if (!nl)
		return -errno;
	h->nlmsg_seq = 1;
	h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		err = -errno;
	if (!err)
		err = answer_of(nl, h->nlmsg_seq);
	mnl_socket_close(nl);
	return err;
}

static const void *bytes_of(const struct sockaddr_storage *a, size_t *len)
{
	if (a->ss_family == AF_INET6) {
		*len = 16;
		return &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	}
	*len = 4;
	return &((const struct sockaddr_in *)(const void *)a)->sin_addr;
}

static int request(uint16_t type, uint16_t flags, const struct sockaddr_storage *a,
		   unsigned prefix_len, const char *ifname, unsigned lifetime_s)
{
	char buf[512];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *m;
	size_t len;
	const void *bytes = bytes_of(a, &len);
	unsigned ifindex = if_nametoindex(ifname);

	if (ifindex == 0)
		return -ENODEV;
	h->nlmsg_type = type;
	h->nlmsg_flags = flags;
	m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->ifa_family = (uint8_t)a->ss_family;
	m->ifa_prefixlen = (uint8_t)prefix_len;
	m->ifa_index = ifindex;
	if (a->ss_family == AF_INET6 && type == RTM_NEWADDR)
		m->ifa_flags = IFA_F_NODAD;
	mnl_attr_put(h, IFA_LOCAL, len, bytes);
	mnl_attr_put(h, IFA_ADDRESS, len, bytes);
	if (type == RTM_NEWADDR) {
		struct ifa_cacheinfo life = {.ifa_valid = lifetime_s, .ifa_prefered = lifetime_s};

		mnl_attr_put(h, IFA_CACHEINFO, sizeof(life), &life);
	}
	return transact(h);
}

int address_add(const struct sockaddr_storage *a, unsigned prefix_len, const char *ifname,
		unsigned lifetime_s)
{
	return request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, a, prefix_len, ifname,
		       lifetime_s);
}

int address_del(const struct sockaddr_storage *a, unsigned prefix_len, const char *ifname)
{
	return request(RTM_DELADDR, 0, a, prefix_len, ifname, 0);
}

bool address_is_loopback(const struct sockaddr_storage *a)
{
	size_t len;
	const uint8_t *b = bytes_of(a, &len);

	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)b);
	return b[0] == 127;
}

/* The interface's hardware address; -EAFNOSUPPORT where there is no Ethernet. */
static int hardware_address(int fd, const char *ifname, uint8_t mac[6])
{
	struct ifreq r = {0};

	strncpy(r.ifr_name, ifname, sizeof(r.ifr_name) - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &r) < 0)
		return -errno;
	if (r.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return -EAFNOSUPPORT;
	memcpy(mac, r.ifr_hwaddr.sa_data, 6);
	return 0;
}

struct arp_frame {
	struct ethhdr eth;
	struct arphdr arp;
	uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));

/* A broadcast ARP request for our own address: every cache on the wire learns from it. */
static int announce_arp(int fd, const struct sockaddr_storage *a, const uint8_t mac[6],
			unsigned ifindex)
{
	struct arp_frame f = {0};
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = (int)ifindex,
				 .sll_halen = 6};
	size_t len;
	const void *ip = bytes_of(a, &len);

	memset(f.eth.h_dest, 0xff, 6);
	memset(to.sll_addr, 0xff, 6);
	memcpy(f.eth.h_source, mac, 6);
	f.eth.h_proto = htons(ETH_P_ARP);
	f.arp.ar_hrd = htons(ARPHRD_ETHER);
	f.arp.ar_pro = htons(ETH_P_IP);
	f.arp.ar_hln = 6;
	f.arp.ar_pln = 4;
	f.arp.ar_op = htons(ARPOP_REQUEST);
	memcpy(f.sender_mac, mac, 6);
	memcpy(f.sender_ip, ip, 4);
	memcpy(f.target_ip, ip, 4);
	if (sendto(fd, &f, sizeof(f), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}

/* An unsolicited neighbour advertisement with the override flag, to all nodes (RFC 4861 7.2.6). */
static int announce_na(const struct sockaddr_storage *a, const uint8_t mac[6], unsigned ifindex)
{
	struct {
		struct nd_neighbor_advert na;
		uint8_t type, units, mac[6];
	} m = {.type = ND_OPT_TARGET_LINKADDR, .units = 1};
	struct sockaddr_in6 from = *(const struct sockaddr_in6 *)(const void *)a;
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_scope_id = ifindex};
	int hops = 255, one = 1, err = 0, index = (int)ifindex;
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);

	if (fd < 0)
		return -errno;
	m.na.nd_na_type = ND_NEIGHBOR_ADVERT;
	m.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	m.na.nd_na_target = from.sin6_addr;
	memcpy(m.mac, mac, 6);
	inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
	from.sin6_port = 0;
	from.sin6_scope_id = ifindex;
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops));
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index));
	setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    sendto(fd, &m, sizeof(m), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		err = -errno;
	close(fd);
	return err;
}

int address_announce(const struct sockaddr_storage *a, const char *ifname)
{
	/* Kept open: closing a packet socket waits some 10 ms for the whole network stack. */
	static int fd = -1;
	unsigned ifindex = if_nametoindex(ifname);
	uint8_t mac[6];
	int err;

	if (ifindex == 0)
		return -ENODEV;
	if (fd < 0)
		fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = hardware_address(fd, ifname, mac);
	if (!err)
		err = a->ss_family == AF_INET6 ? announce_na(a, mac, ifindex)
					       : announce_arp(fd, a, mac, ifindex);
	return err;
}
