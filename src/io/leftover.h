/* leftover.h - TCP connections of a virtual address that the kernel still has.
 *
 * A worker that ends after its address has gone leaves connections whose FIN nobody acknowledges;
 * the kernel keeps them for a minute or more.  When the address comes back in that time, a client
 * that used the same port again for a newer connection (NFS clients do) meets the old one: no
 * tickle resets it, and its next connection is answered by the wrong one.  So they go first. */
#ifndef HF_IO_LEFTOVER_H
#define HF_IO_LEFTOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Ends every TCP connection with this local address (the port is ignored); listening sockets stay.
 * Returns how many, or -errno: -EPERM without CAP_NET_ADMIN, -EOPNOTSUPP where the kernel cannot. */
int leftover_drop(const struct sockaddr_storage *local);

struct leftover {
	uint8_t local[16], remote[16]; /* IPv4 addresses as mapped ones */
	uint16_t local_port, remote_port;
	bool accepted; /* a process has it; else it waits in a listening socket's queue, or nobody has it */
};
typedef void leftover_fn(void *arg, const struct leftover *f);

/* Tells `each` of every TCP connection with this local address, whatever its port.  0 or -errno. */
int leftover_list(const struct sockaddr_storage *local, leftover_fn *each, void *arg);
/* The first question may make the kernel load a module: it is asked when there is time.  0 or -errno. */
int leftover_ready(void);

#endif
