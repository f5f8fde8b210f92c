/* ping.h - does this port still reach anybody?  (Fig. 7 of seed 000, VS-85 to VS-93)
 *
 * Asked with ARP requests, which every IPv4 neighbour answers whatever its firewall says, and which
 * are broadcasts on the wire: one frame is group and broadcast at once.  The addresses to ask are
 * learned from the kernel's neighbour table while they answer (VS-97), at most PING_TARGETS of them,
 * asked in groups of PING_GROUP.  Deciding is the caller's business. */
#ifndef HF_IO_PING_H
#define HF_IO_PING_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"

#define PING_TARGETS 32
#define PING_GROUP   8

struct ping {
	struct loop *loop;
	struct loop_op op;
	int fd, ifindex;
	char ifname[16];
	uint8_t mac[6], own[4];
	unsigned count;
	uint8_t target[PING_TARGETS][4];
	uint64_t answered_ns; /* last answer to a request of ours, 0 never */
};

/* Watches answers on the interface; 0 or -errno (-EPERM for ordinary users). */
int ping_open(struct ping *p, struct loop *l, const char *ifname, const uint8_t own[4]);
void ping_close(struct ping *p);
/* Takes new neighbours of the interface into the list; `skip` says which are not external. */
void ping_learn(struct ping *p, bool (*skip)(void *arg, const uint8_t ip[4]), void *arg);
/* Asks one more address that is not in the list. */
void ping_one(struct ping *p, const uint8_t ip[4]);
/* Asks group number `group`; false when there is no such group. */
bool ping_group(struct ping *p, unsigned group);
/* For the test: text like /proc/net/arp. */
void ping_learn_text(struct ping *p, const char *text,
		     bool (*skip)(void *arg, const uint8_t ip[4]), void *arg);

#endif
