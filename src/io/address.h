/* address.h - virtual addresses on this node's interfaces, by rtnetlink (libmnl).
 *
 * An address is added with a lifetime that the caller renews; when the caller stops (paused, dead)
 * the kernel removes the address by itself (SAFETY F6).  The kernel counts whole seconds.  IPv6
 * addresses skip duplicate address detection: the former owner may still hold it for a moment.
 *
 * Also the announcements that go with a move (VS-76): gratuitous ARP, unsolicited neighbour
 * advertisement. All calls are quick and never wait for the network.  They need CAP_NET_ADMIN and
 * CAP_NET_RAW.  0 or -errno. */
#ifndef HF_IO_ADDRESS_H
#define HF_IO_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* `a` is AF_INET or AF_INET6 (the port is ignored); adding one that is there renews it. */
int address_add(const struct sockaddr_storage *a, unsigned prefix_len, const char *ifname,
		unsigned lifetime_s);
/* -EADDRNOTAVAIL when it was not there. */
int address_del(const struct sockaddr_storage *a, unsigned prefix_len, const char *ifname);
/* One announcement: who has the address now (call it several times, spread over a second). */
int address_announce(const struct sockaddr_storage *a, const char *ifname);
/* Is it an address that needs no interface of ours: loopback (127/8, ::1)? */
bool address_is_loopback(const struct sockaddr_storage *a);

#endif
