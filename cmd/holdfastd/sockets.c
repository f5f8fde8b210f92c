/* sockets.c - the sockets of a virtual server: made here, because binding low ports and addresses
 * that are not up yet needs privilege, and handed to the worker with OPEN.
 *
 * The daemon keeps its own copies while the addresses are here: when a worker dies, clients that
 * come back wait in the queue for the next one instead of being refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon.h"

#define PORTMAP_PORT 111

struct want {
	uint16_t port;
	int type;
	enum worker_role role;
};

static int open_one(struct daemon *d, unsigned vs, const struct conf_net *net,
		    const struct want *w)
{
	struct vs_sockets *s = &d->sockets[vs];
	struct sockaddr_storage addr;
	socklen_t len = conf_net_sockaddr(net, w->port, &addr);
	char text[64];
	int fd;

	if (s->count == SOCKETS_MAX)
		return -E2BIG;
	fd = net_listen((const struct sockaddr *)&addr, len, w->type);
	if (fd == -EACCES && w->port == PORTMAP_PORT) {
		log_limited(LOG_L_NOTICE, "vserver %s: no portmapper on %s: port 111 needs "
			    "privilege; clients must name the ports",
			    d->conf->vserver[vs].name, conf_net_text(net, false, text));
		return 0;
	}
	if (fd < 0) {
		trouble_say(d, vs, "%s %s port %u: %s%s", w->type == SOCK_STREAM ? "TCP" : "UDP",
			    conf_net_text(net, false, text), w->port, strerror(-fd),
			    fd == -EADDRINUSE ? "; end what has it, or choose another port" :
			    fd == -EACCES ? "; ports below 1024 need privilege" : "");
		return fd;
	}
	s->fd[s->count] = fd;
	s->role[s->count++] = (uint8_t)w->role;
	return 0;
}

int sockets_open(struct daemon *d, unsigned vs)
{
	const struct conf_vserver *v = &d->conf->vserver[vs];
	struct vs_sockets *s = &d->sockets[vs];
	const struct want all[] = {
		{v->nfs_port, SOCK_STREAM, WORKER_ROLE_NFS_TCP},
		{v->nfs_port, SOCK_DGRAM, WORKER_ROLE_NFS_UDP},
		{PORTMAP_PORT, SOCK_STREAM, WORKER_ROLE_PMAP_TCP},
		{PORTMAP_PORT, SOCK_DGRAM, WORKER_ROLE_PMAP_UDP},
		{v->mount_port, SOCK_STREAM, WORKER_ROLE_MOUNT_TCP},
		{v->mount_port, SOCK_DGRAM, WORKER_ROLE_MOUNT_UDP},
	};
	int rc = 0;

	if (s->count)
		return 0;
	for (unsigned i = 0; i < v->address_count && rc == 0; i++)
		for (size_t k = 0; k < sizeof(all) / sizeof(all[0]) && rc == 0; k++) {
			if ((k == 2 || k == 3) && !v->portmap)
				continue;
			if (k >= 4 && v->mount_port == v->nfs_port)
				continue;
			rc = open_one(d, vs, &v->address[i].net, &all[k]);
		}
	if (rc)
		sockets_close(d, vs);
	return rc;
}

void sockets_close(struct daemon *d, unsigned vs)
{
	struct vs_sockets *s = &d->sockets[vs];

	for (unsigned i = 0; i < s->count; i++)
		close(s->fd[i]);
	s->count = 0;
}
