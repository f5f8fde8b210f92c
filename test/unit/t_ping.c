/* t_ping.c - what a port learns from the neighbour table, and, with the right to make a network
 * namespace, an answer from the other end of a wire and the silence of an address that is not there. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <sys/socket.h>

#include "check.h"
#include "io/ping.h"

#define TITLE "IP address       HW type     Flags       HW address            Mask     Device\n"

static bool is_nine(void *arg, const uint8_t ip[4])
{
	(void)arg;
	return ip[3] == 9;
}

/* covers: VS-97 */
static void t_learn(void)
{
	struct ping p = {.ifname = "net0"};
	char line[256];

	ping_learn_text(&p, TITLE, is_nine, NULL);
	CHECK_EQ(0, p.count);
	ping_learn_text(&p, TITLE
			"192.0.2.1  0x1  0x2  02:00:00:00:00:01  *  net0\n"
			"192.0.2.2  0x1  0x0  00:00:00:00:00:00  *  net0\n" /* no answer yet */
			"192.0.2.3  0x1  0x2  02:00:00:00:00:03  *  other\n"
			"192.0.2.9  0x1  0x2  02:00:00:00:00:09  *  net0\n"
			"garbage\n",
			is_nine, NULL);
	CHECK_EQ(1, p.count);
	CHECK_EQ(1, p.target[0][3]);
	for (int i = 20; i < 20 + PING_TARGETS; i++) {
		snprintf(line, sizeof(line), TITLE "192.0.2.%d 0x1 0x2 02:00:00:00:00:01 * net0\n", i);
		ping_learn_text(&p, line, NULL, NULL);
		ping_learn_text(&p, line, NULL, NULL);
	}
	CHECK_EQ(PING_TARGETS, p.count);
	CHECK_EQ(20, p.target[0][3]); /* the oldest went */
}

/* What the other end of the wire would say. */
static void answer(const struct ping *p, const uint8_t from[4], uint16_t op)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = (int)if_nametoindex("vb"),
				 .sll_halen = 6};
	struct ether_arp a = {.arp_op = htons(op), .arp_hln = 6, .arp_pln = 4};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));

	memcpy(to.sll_addr, p->mac, 6);
	a.arp_hrd = htons(ARPHRD_ETHER);
	a.arp_pro = htons(ETHERTYPE_IP);
	memcpy(a.arp_spa, from, 4);
	memcpy(a.arp_tpa, p->own, 4);
	memcpy(a.arp_tha, p->mac, 6);
	CHECK(sendto(fd, &a, sizeof(a), 0, (struct sockaddr *)&to, sizeof(to)) > 0);
	close(fd);
}

static bool is_answered(struct ping *p, struct loop *l, uint64_t since, int rounds)
{
	for (int i = 0; i < rounds && p->answered_ns < since; i++)
		loop_once(l, 10000000);
	return p->answered_ns >= since;
}

/* covers: VS-85 VS-86 VS-89 */
static void t_answer(void)
{
	const uint8_t own[4] = {192, 0, 2, 1}, other[4] = {192, 0, 2, 2};
	struct loop *l;
	struct ping p;
	uint64_t now;

	if (unshare(CLONE_NEWNET) < 0 ||
	    system("ip link set lo up && ip link add va type veth peer name vb &&"
		   " ip link set va up && ip link set vb up") != 0) {
		printf("# no network namespace here: skipped\n");
		return;
	}
	CHECK_EQ(0, loop_new(&l, 64));
	CHECK_EQ(0, ping_open(&p, l, "va", own));
	now = loop_clock_ns();
	ping_one(&p, other);
	CHECK(!is_answered(&p, l, now, 15)); /* nobody is there; our own request is no answer */
	answer(&p, other, ARPOP_REQUEST);
	CHECK(!is_answered(&p, l, now, 15));
	answer(&p, other, ARPOP_REPLY);
	CHECK(is_answered(&p, l, now, 1000));
	ping_close(&p);
	loop_once(l, 10000000);
	loop_free(l);
	CHECK(ping_open(&p, NULL, "nosuch", own) == -ENODEV);
}

int main(void)
{
	CASE(t_learn);
	CASE(t_answer);
	return check_end();
}
