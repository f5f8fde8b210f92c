/* peers.c - heartbeats on the network paths: sealed, sent, opened. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "codec/envelope.h"
#include "daemon.h"

/* Whom the packet at hand says it came from. */
static const char *address(const struct net_path *net, char text[80])
{
	char host[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (net->from.ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)&net->from;

		inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
		port = ntohs(a->sin_port);
	} else if (net->from.ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&net->from;

		inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
		port = ntohs(a->sin6_port);
	}
	snprintf(text, 80, "%s port %u", host, port);
	return text;
}

/* A message of the stream; `way` is where drops are counted. */
static void heartbeat(struct daemon *d, uint16_t sender, unsigned path, const uint8_t *data,
		      size_t len, const char *from)
{
	struct event ev = {.type = EV_MSG};

	ev.msg.from = sender;
	ev.msg.path = path;
	ev.msg.data = data;
	ev.msg.len = len;
	brain_event(d, &ev);
	drops_look(d, from);
}

static void on_packet(struct net_path *net, const uint8_t *data, size_t len)
{
	struct peer_path *p = LIST_OWNER(net, struct peer_socket, net)->path;
	struct daemon *d = p->d;
	uint8_t plain[NET_PACKET_MAX];
	uint16_t sender = 0, path = 0;
	char text[80];
	size_t got = 0;
	int rc = seal_open(&d->seal, d->conf->node[d->self].id, data, len, &sender, &path, plain,
			   sizeof(plain), &got);

	address(net, text);
	if (rc)
		drops_note(d, p->index, drop_reason(rc), text);
	else if (path == p->index)
		heartbeat(d, sender, p->index, plain, got, text);
	else if (path == ENVELOPE_MEMORY_WRITE && d->conf->node[d->self].path[p->index].interconnect)
		heartbeat(d, sender, NODE_PATH_MEMORY, plain, got, text);
	else if (path == ENVELOPE_MEMORY_ASK || path == ENVELOPE_MEMORY_HELD)
		partners_packet(d, sender, path, plain, got, text);
	else
		drops_note(d, p->index, DROP_PATH, text);
}

static const struct conf_node *node_by_id(const struct conf *c, uint16_t id)
{
	for (unsigned i = 0; i < c->node_count; i++)
		if (c->node[i].id == id)
			return &c->node[i];
	return NULL;
}

const char *daemon_node(const struct daemon *d, unsigned id, const char *none)
{
	const struct conf_node *n = node_by_id(d->conf, (uint16_t)id);

	return n ? n->name : none;
}

static void send_to(struct daemon *d, unsigned path, const struct conf_path *to, const void *packet,
		    size_t len)
{
	struct sockaddr_storage addr;
	socklen_t addr_len = conf_net_sockaddr(&to->addr, to->port, &addr);
	struct peer_path *p = &d->path[path];

	net_send(&p->socket[p->now].net, (const struct sockaddr *)&addr, addr_len, packet, len);
}

/* Over that network, as that kind of envelope. */
static void send_as(struct daemon *d, const struct conf_node *to, unsigned path, uint16_t kind,
		    const void *data, size_t data_len)
{
	uint8_t packet[NET_PACKET_MAX];
	const struct conf_path *old;
	bool only;
	size_t len = seal_message(&d->seal, d->conf->node[d->self].id, to->id, kind, data, data_len,
				  packet, sizeof(packet));

	if (len == 0)
		return;
	old = readdress_old(d, to, path, &only);
	if (old)
		send_to(d, path, old, packet, len);
	if (!old || !only)
		send_to(d, path, &to->path[path], packet, len);
}

void peers_send(struct daemon *d, const struct action *a)
{
	const struct conf_node *to = node_by_id(d->conf, a->send.to);

	if (to && a->send.path < to->path_count)
		send_as(d, to, a->send.path, (uint16_t)a->send.path, a->send.data, a->send.len);
}

void peers_send_all(struct daemon *d, uint16_t node, uint16_t kind, const void *data, size_t len)
{
	const struct conf_node *to = node_by_id(d->conf, node);

	for (unsigned i = 0; to && i < to->path_count; i++)
		if (kind != ENVELOPE_MEMORY_WRITE || to->path[i].interconnect)
			send_as(d, to, i, kind, data, len);
}

const struct net_path *peers_net(const struct daemon *d, unsigned path)
{
	return &d->path[path].socket[d->path[path].now].net;
}

int peers_socket(struct daemon *d, unsigned path, unsigned which)
{
	const struct conf_path *c = &d->conf->node[d->self].path[path];
	struct peer_socket *s = &d->path[path].socket[which];
	struct sockaddr_storage addr;
	socklen_t len = conf_net_sockaddr(&c->addr, c->port, &addr);

	*s = (struct peer_socket){.path = &d->path[path]};
	s->net.on_packet = on_packet;
	return net_open(&s->net, d->loop, (const struct sockaddr *)&addr, len);
}

int peers_open(struct daemon *d, char *err, size_t err_size)
{
	const struct conf_node *me = &d->conf->node[d->self];
	char text[64];

	for (unsigned i = 0; i < me->path_count; i++) {
		struct peer_path *p = &d->path[i];
		int rc;

		*p = (struct peer_path){.d = d, .index = i, .quality = 1};
		p->socket[1].net.fd = -1;
		rc = peers_socket(d, i, 0);
		/* A daemon that has just ended: the kernel ends its ring a moment later. */
		for (int k = 0; k < OPEN_TRIES && rc == -EADDRINUSE; k++) {
			poll(NULL, 0, OPEN_WAIT_MS);
			rc = peers_socket(d, i, 0);
		}
		if (rc) {
			snprintf(err, err_size, "%s port %u: the heartbeat path cannot be opened: "
				 "%s; choose another port, or end what has it",
				 conf_net_text(&me->path[i].addr, false, text), me->path[i].port,
				 strerror(-rc));
			return rc == -EADDRINUSE ? EXIT_ADDRESS : EXIT_SYSTEM;
		}
	}
	return 0;
}
