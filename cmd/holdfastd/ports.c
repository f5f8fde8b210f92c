/* ports.c - the quality of this node's ports (Fig. 7: steps 1200 to 1208).
 *
 * Heartbeats that arrive on a path prove its port better than any ping, so the test begins when
 * nobody was heard there for a while: first the other nodes' addresses and the neighbours that were
 * learned before, group by group, each as one broadcast ARP request.  An answer within the wait
 * time: good (1201).  None: bad (1208), but only where somebody outside the cluster used to answer;
 * with nobody to ask the port is unknown, which moves nothing. */
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
#define WAIT_BEATS_TENTHS 25 /* 2.5 T */

static bool same_address(const struct sockaddr *a, const struct conf_net *n)
{
	if (a->sa_family == AF_INET)
		return conf_net_is_v4(n) &&
		       memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
			      n->addr + 12, 4) == 0;
	return a->sa_family == AF_INET6 && !conf_net_is_v4(n) &&
	       memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, n->addr, 16) == 0;
}

static bool is_node(const struct conf *c, const uint8_t ip[4])
{
	for (unsigned i = 0; i < c->node_count; i++)
		for (unsigned k = 0; k < c->node[i].path_count; k++)
			if (conf_net_is_v4(&c->node[i].path[k].addr) &&
			    memcmp(c->node[i].path[k].addr.addr + 12, ip, 4) == 0)
				return true;
	return false;
}

/* Our own addresses say nothing about a port. */
static bool is_inside(void *arg, const uint8_t ip[4])
{
	const struct conf *c = arg;

	for (unsigned v = 0; v < c->vserver_count; v++)
		for (unsigned i = 0; i < c->vserver[v].address_count; i++)
			if (memcmp(c->vserver[v].address[i].net.addr + 12, ip, 4) == 0)
				return true;
	return is_node(c, ip);
}

static const struct ifaddrs *port_of(const struct ifaddrs *all, const struct conf_net *n)
{
	for (; all; all = all->ifa_next)
		if (all->ifa_addr && same_address(all->ifa_addr, n))
			return all;
	return NULL;
}

static bool heard_on(const struct daemon *d, unsigned path, uint64_t now)
{
	for (unsigned i = 0; i < d->node->peer_count; i++) {
		uint64_t at = d->node->peer[i].path_heard_ns[path];

		if (at && now < at + d->times.path_silent_ns)
			return true;
	}
	return false;
}

/* One turn of the test; the port keeps its quality until the test has a result. */
static uint8_t probe(struct daemon *d, struct peer_path *p, uint64_t now)
{
	uint64_t wait = d->times.heartbeat_ns * WAIT_BEATS_TENTHS / 10;

	if (p->ping.fd < 0)
		return PORT_UNKNOWN;
	if (p->probe_begun_ns == 0) {
		p->probe_begun_ns = now;
		p->probe_group = 0;
	}
	if (p->ping.answered_ns >= p->probe_begun_ns) {
		p->probe_begun_ns = 0;
		return PORT_GOOD;
	}
	/* In turn, and from the start again as long as nobody answers. */
	if (!ping_group(&p->ping, p->probe_group++))
		p->probe_group = 0;
	for (unsigned i = 0; i < d->conf->node_count; i++)
		if (i != d->self && conf_net_is_v4(&d->conf->node[i].path[p->index].addr))
			ping_one(&p->ping, d->conf->node[i].path[p->index].addr.addr + 12);
	if (now < p->probe_begun_ns + wait)
		return p->quality;
	return p->ping.count ? PORT_BAD : PORT_UNKNOWN;
}

static uint8_t quality_of(struct daemon *d, struct peer_path *p, const struct ifaddrs *all,
			  uint64_t now)
{
	const struct conf_net *n = &d->conf->node[d->self].path[p->index].addr;
	const struct ifaddrs *port = port_of(all, n);

	/* All of 127/8 is there without being configured. */
	if (conf_net_is_v4(n) && n->addr[12] == 127)
		return PORT_GOOD;
	if (!port || !(port->ifa_flags & IFF_UP) || !(port->ifa_flags & IFF_RUNNING))
		return PORT_BAD;
	if (p->ping.fd < 0 && !p->ping.op.busy && !p->ping_refused && conf_net_is_v4(n)) {
		int rc = ping_open(&p->ping, d->loop, port->ifa_name, n->addr + 12);

		p->ping_refused = rc != 0;
		if (rc)
			log_notice("ports: %s cannot be tested: %s", port->ifa_name, strerror(-rc));
	}
	if (heard_on(d, p->index, now)) {
		p->probe_begun_ns = 0;
		if (p->ping.fd >= 0 && d->port_turn % 10 == 0)
			ping_learn(&p->ping, is_inside, d->conf);
		return PORT_GOOD;
	}
	return probe(d, p, now);
}

static void look_at_ports(struct daemon *d)
{
	static const char *const names[] = {"bad", "unknown", "good"};
	const struct conf_node *me = &d->conf->node[d->self];
	uint64_t now = loop_clock_ns();
	struct ifaddrs *all;
	char object[32];

	if (getifaddrs(&all) < 0)
		return;
	for (unsigned i = 0; i < me->path_count; i++) {
		uint8_t q = quality_of(d, &d->path[i], all, now);
		struct event ev = {.type = EV_PORT};

		if (q == d->path[i].quality)
			continue;
		log_at(q == PORT_BAD ? LOG_L_WARN : LOG_L_INFO, "port of path %u: %s -> %s", i,
		       names[d->path[i].quality], names[q]);
		snprintf(object, sizeof(object), "port %u", i);
		diary_say(d, q == PORT_BAD ? LOG_L_WARN : LOG_L_INFO, object, REASON_NONE, "%s -> %s",
			  names[d->path[i].quality], names[q]);
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
	readdress_settle(d);
	if (d->port_turn++ % 10 == 0)
		look_at_load(d);
	loop_timer_set(d->loop, t, loop_clock_ns() + d->times.heartbeat_ns);
}

void ports_open(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->node[d->self].path_count; i++)
		d->path[i].ping.fd = -1;
	d->port_timer.fire = on_port_timer;
	loop_timer_set(d->loop, &d->port_timer, loop_clock_ns());
}
