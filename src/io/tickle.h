/* tickle.h - making the clients of a moved address reconnect at once.
 *
 * A client whose TCP connection died with the former owner waits for its retransmission timer, up
 * to seconds.  A bare ACK with a nonsense sequence number from the virtual address makes its stack
 * answer with its own idea of the connection; our stack knows no such connection and answers RST;
 * the client reconnects within a round trip.  Nothing is guessed, and a client that is alive and
 * well elsewhere is not harmed (RFC 5961 challenge ACK).
 *
 * The address must be up on this node and the port must listen before (else the reconnection is
 * refused, and clients then wait for seconds).  Needs CAP_NET_RAW.  Repeat it a few times. */
#ifndef HF_IO_TICKLE_H
#define HF_IO_TICKLE_H

#include <stdint.h>

struct tickle {
	int fd4, fd6; /* raw sockets, -1: not available */
};

/* 0, or -errno when not even one family works (-EPERM for ordinary users). */
int tickle_open(struct tickle *t);
void tickle_close(struct tickle *t);
/* Addresses as 16 bytes, IPv4 as ::ffff:a.b.c.d; ports in host order. 0 or -errno. */
int tickle_send(const struct tickle *t, const uint8_t local[16], uint16_t local_port,
		const uint8_t remote[16], uint16_t remote_port);

#endif
