/* leftover.h - TCP connections that an earlier ownership of a virtual address left in the kernel.
 *
 * A worker that ends after its address has gone leaves connections whose FIN nobody acknowledges;
 * the kernel keeps them for a minute or more.  When the address comes back in that time, a client
 * that used the same port again for a newer connection (NFS clients do) meets the old one: no
 * tickle resets it, and its next connection is answered by the wrong one.  So they go first. */
#ifndef HF_IO_LEFTOVER_H
#define HF_IO_LEFTOVER_H

#include <sys/socket.h>

/* Ends every TCP connection with this local address (the port is ignored); listening sockets stay.
 * Returns how many, or -errno: -EPERM without CAP_NET_ADMIN, -EOPNOTSUPP where the kernel cannot. */
int leftover_drop(const struct sockaddr_storage *local);

#endif
