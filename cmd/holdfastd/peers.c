/* peers.c - heartbeats on the network paths, what the ports look like, the node's load. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "daemon.h"

#define PORT_BAD     0
#define PORT_UNKNOWN 1
#define PORT_GOOD    2

static void on_packet(struct net_path *net, const uint8_t *data, size_t len)
{
	struct peer_path *p = LIST_OWNER(net, struct peer_path, net);
	struct daemon *d = p->d;
	struct event ev = {.type = EV_MSG};
	uint8_t plain[NET_PACKET_MAX];
	uint16_t sender = 0, path = 0;
	size_t got = 0;
	int rc = seal_open(&d->seal, d->conf->node[d->self].id, data, len, &sender, &path, plain,
			   sizeof(plain), &got);

	if (rc || path != p->index) {
		d->forged++;
		log_limited(LOG_L_WARN, "peers: a packet on path %u was dropped: %s", p->index,
			    rc == -ENOKEY ? "unknown key" : rc == -EPROTO ? "another version" :
			    "not from this cluster");
		return;
	}
	ev.msg.from = sender;
	ev.msg.path = p->index;
	ev.msg.data = plain;
	ev.msg.len = got;
	brain_event(d, &ev);
}

static const struct conf_node *node_by_id(const struct conf *c, uint16_t id)
{
	for (unsigned i = 0; i < c->node_count; i++)
		if (c->node[i].id == id)
			return &c->node[i];
	return NULL;
}

void peers_send(struct daemon *d, const struct action *a)
{
	const struct conf_node *to = node_by_id(d->conf, a->send.to);
	uint8_t packet[NET_PACKET_MAX];
	struct sockaddr_storage addr;
	socklen_t addr_len;
	size_t len;

	if (!to || a->send.path >= to->path_count)
		return;
	len = seal_message(&d->seal, d->conf->node[d->self].id, to->id, (uint16_t)a->send.path,
			   a->send.data, a->send.len, packet, sizeof(packet));
	if (len == 0)
		return;
	addr_len = conf_net_sockaddr(&to->path[a->send.path].addr, to->path[a->send.path].port,
				     &addr);
	net_send(&d->path[a->send.path].net, (const struct sockaddr *)&addr, addr_len, packet, len);
}

/* ---- ports ------------------------------------------------------------------------------------ */

static bool same_address(const struct sockaddr *a, const struct conf_net *n)
{
	if (a->sa_family == AF_INET)
		return conf_net_is_v4(n) &&
		       memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
			      n->addr + 12, 4) == 0;
	return a->sa_family == AF_INET6 && !conf_net_is_v4(n) &&
	       memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, n->addr, 16) == 0;
}

static uint8_t quality_of(const struct ifaddrs *all, const struct conf_net *n)
{
	struct sockaddr_storage ss;

	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		if (i->ifa_addr && same_address(i->ifa_addr, n))
			return i->ifa_flags & IFF_UP && i->ifa_flags & IFF_RUNNING ? PORT_GOOD :
										     PORT_BAD;
	conf_net_sockaddr(n, 0, &ss);
	/* All of 127/8 is there without being configured. */
	return conf_net_is_v4(n) && n->addr[12] == 127 ? PORT_GOOD : PORT_BAD;
}

static void look_at_ports(struct daemon *d)
{
	const struct conf_node *me = &d->conf->node[d->self];
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return;
	for (unsigned i = 0; i < me->path_count; i++) {
		uint8_t q = quality_of(all, &me->path[i].addr);
		struct event ev = {.type = EV_PORT};

		if (q == d->path[i].quality)
			continue;
		d->path[i].quality = q;
		ev.port.path = i;
		ev.port.quality = q;
		brain_post(d, &ev);
	}
	freeifaddrs(all);
}

static void look_at_load(struct daemon *d)
{
	unsigned long long u, n, s, idle, iowait, irq, soft, busy, total;
	FILE *f = fopen("/proc/stat", "re");
	struct event ev = {.type = EV_LOAD};

	if (!f)
		return;
	if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &u, &n, &s, &idle, &iowait, &irq,
		   &soft) == 7) {
		busy = u + n + s + irq + soft;
		total = busy + idle + iowait;
		if (d->cpu_total && total > d->cpu_total) {
			ev.load.cpu_permille = (uint16_t)((busy - d->cpu_busy) * 1000 /
							  (total - d->cpu_total));
			brain_post(d, &ev);
		}
		d->cpu_busy = busy;
		d->cpu_total = total;
	}
	fclose(f);
}

static void on_port_timer(struct loop_timer *t)
{
	struct daemon *d = LIST_OWNER(t, struct daemon, port_timer);

	look_at_ports(d);
	look_at_load(d);
	loop_timer_set(d->loop, t, loop_clock_ns() + 5 * d->times.heartbeat_ns);
}

int peers_open(struct daemon *d, char *err, size_t err_size)
{
	const struct conf_node *me = &d->conf->node[d->self];
	struct sockaddr_storage addr;
	char text[64];

	for (unsigned i = 0; i < me->path_count; i++) {
		struct peer_path *p = &d->path[i];
		socklen_t len = conf_net_sockaddr(&me->path[i].addr, me->path[i].port, &addr);
		int rc;

		*p = (struct peer_path){.d = d, .index = i, .quality = PORT_UNKNOWN};
		p->net.on_packet = on_packet;
		rc = net_open(&p->net, d->loop, (const struct sockaddr *)&addr, len);
		if (rc) {
			snprintf(err, err_size, "%s port %u: the heartbeat path cannot be opened: "
				 "%s; choose another port, or end what has it",
				 conf_net_text(&me->path[i].addr, false, text), me->path[i].port,
				 strerror(-rc));
			return rc == -EADDRINUSE ? EXIT_ADDRESS : EXIT_SYSTEM;
		}
	}
	d->port_timer.fire = on_port_timer;
	loop_timer_set(d->loop, &d->port_timer, loop_clock_ns());
	return 0;
}
