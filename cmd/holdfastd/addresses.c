/* addresses.c - virtual addresses up and down, announced and renewed; tickles to clients.
 *
 * An address lives for a few seconds in the kernel and is renewed while the virtual server is
 * here, so that a node whose daemon stops (paused, hung) or that cannot see its reservation any more
 * loses it by itself (F6).  Addresses without
 * `dev` and those in 127/8 are the machine's own; they are only bound. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "daemon.h"
#include "io/address.h"
#include "io/leftover.h"

#define MS		1000000ULL
#define LIFETIME_S	4
#define RENEW_NS	(1000 * MS)
#define ANNOUNCE_NS	(200 * MS)
#define ANNOUNCE_TIMES	6
/* A client answers one stray packet in 500 ms for each connection.  When its answer to the first
 * tickle is lost, only one that comes later than that gets another: hence the slow ones. */
#define TICKLE_NS	(60 * MS)
#define TICKLE_SLOW_NS	(200 * MS)
#define TICKLE_TIMES	9
#define TICKLE_SLOW	5 /* the last of them */
/* The kernel makes an IPv6 address usable some time after it has acknowledged it. */
#define USABLE_V6_NS	(10 * MS)

static bool is_ours(const struct conf_address *a, struct sockaddr_storage *ss)
{
	conf_net_sockaddr(&a->net, 0, ss);
	return a->dev[0] && !address_is_loopback(ss);
}

static unsigned prefix_of(const struct conf_net *n)
{
	return conf_net_is_v4(n) ? n->prefix - 96U : n->prefix;
}

/* What an earlier ownership here left behind is in the way of the clients' newer connections. */
static void drop_leftovers(struct daemon *d, unsigned vs)
{
	const struct vs_addresses *v = &d->addresses[vs];
	struct sockaddr_storage ss;
	char text[64];

	for (unsigned i = 0; i < v->address_count; i++) {
		int n = is_ours(&v->address[i], &ss) ? leftover_drop(&ss) : 0;

		if (n < 0)
			log_limited(LOG_L_NOTICE, "vserver %s: old connections of %s stay: %s",
				    d->conf->vserver[vs].name,
				    conf_net_text(&v->address[i].net, false, text), strerror(-n));
		else if (n > 0)
			log_info("vserver %s: %d old connections of %s ended",
				 d->conf->vserver[vs].name, n,
				 conf_net_text(&v->address[i].net, false, text));
	}
}

static int add_all(struct daemon *d, unsigned vs)
{
	const struct vs_addresses *v = &d->addresses[vs];
	struct sockaddr_storage ss;
	char text[64];
	int rc, first = 0;

	for (unsigned i = 0; i < v->address_count; i++) {
		const struct conf_address *a = &v->address[i];

		if (!is_ours(a, &ss))
			continue;
		rc = address_add(&ss, prefix_of(&a->net), a->dev, LIFETIME_S);
		if (rc) {
			trouble_say(d, vs, "address %s on %s: %s",
				    conf_net_text(&a->net, true, text), a->dev, strerror(-rc));
			first = first ? first : rc;
		}
	}
	return first;
}

static void announce_all(struct daemon *d, unsigned vs)
{
	const struct vs_addresses *v = &d->addresses[vs];
	struct sockaddr_storage ss;

	for (unsigned i = 0; i < v->address_count; i++) {
		int rc = is_ours(&v->address[i], &ss) ? address_announce(&ss, v->address[i].dev) : 0;

		if (rc)
			log_limited(LOG_L_WARN, "vserver %s: announcing on %s: %s", d->conf->vserver[vs].name,
				    v->address[i].dev, strerror(-rc));
	}
}

static bool is_v4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(addr, mapped, sizeof(mapped)) == 0;
}

/* False: some wait until their address is usable. */
static bool tickle(struct daemon *d, unsigned vs, bool v6)
{
	struct worker *w = &d->worker[vs];
	bool all = true;
	int rc = 0;

	for (unsigned i = 0; i < w->conn_count && d->have_tickle; i++) {
		const struct worker_conn *c = &w->conn[i];
		int one;

		if (!v6 && !is_v4(c->local)) {
			all = false;
			continue;
		}
		one = tickle_send(&d->tickle, c->local, c->local_port, c->remote,
				      c->remote_port);

		rc = one ? one : rc;
	}
	if (rc)
		log_limited(LOG_L_WARN, "tickle: %s", strerror(-rc));
	return all;
}

static void on_renew(struct loop_timer *t)
{
	struct vs_addresses *a = LIST_OWNER(t, struct vs_addresses, renew_timer);

	if (!a->up)
		return;
	if (node_vs_held(a->d->node, a->vs, loop_clock_ns()))
		add_all(a->d, a->vs);
	loop_timer_set(a->d->loop, t, loop_clock_ns() + RENEW_NS);
}

static void on_announce(struct loop_timer *t)
{
	struct vs_addresses *a = LIST_OWNER(t, struct vs_addresses, announce_timer);
	uint64_t next = FOREVER_NS;

	if (!a->up)
		return;
	if (a->announce_left) {
		a->announce_left--;
		announce_all(a->d, a->vs);
		next = ANNOUNCE_NS;
	}
	if (a->tickle_left) {
		a->tickle_left--;
		tickle(a->d, a->vs, true);
		next = a->tickle_left < TICKLE_SLOW ? TICKLE_SLOW_NS : TICKLE_NS;
	}
	if (next != FOREVER_NS)
		loop_timer_set(a->d->loop, t, loop_clock_ns() + next);
}

void addresses_add(struct daemon *d, unsigned vs)
{
	struct vs_addresses *a = &d->addresses[vs];

	loop_timer_clear(d->loop, &a->renew_timer);
	loop_timer_clear(d->loop, &a->announce_timer);
	stranded_add(d, vs);
	*a = (struct vs_addresses){.d = d, .vs = vs};
	a->renew_timer.fire = on_renew;
	a->announce_timer.fire = on_announce;
}

void addresses_open(struct daemon *d)
{
	int rc = tickle_open(&d->tickle);

	d->have_tickle = rc == 0;
	if (rc)
		log_notice("tickle: no raw sockets (%s): after a move clients find out by their own "
			   "timers", strerror(-rc));
	rc = leftover_ready();
	if (rc)
		log_notice("sock_diag: the kernel does not tell who is connected (%s): a client whom no "
			   "worker has written down finds out by its own timers", strerror(-rc));
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		addresses_add(d, i);
}

static void take_down(struct daemon *d, unsigned vs, bool only_stale)
{
	const struct vs_addresses *v = &d->addresses[vs];
	struct sockaddr_storage ss;
	char text[64];

	for (unsigned i = 0; i < v->address_count; i++) {
		const struct conf_address *a = &v->address[i];
		int rc = is_ours(a, &ss) ? address_del(&ss, prefix_of(&a->net), a->dev) : 0;

		if (rc && rc != -EADDRNOTAVAIL && rc != -ENODEV && !only_stale)
			log_err("vserver %s: address %s cannot be removed from %s: %s",
				d->conf->vserver[vs].name,
				conf_net_text(&a->net, true, text), a->dev, strerror(-rc));
	}
}

void addresses_up(struct daemon *d, const struct action *act)
{
	struct vs_addresses *a = &d->addresses[act->vs];
	/* The sockets listen before the address answers: a client that finds the address but no port
	 * is refused, and the Linux client then waits for seconds (doc/decisions/0003).  Nothing is
	 * accepted from their queue before the worker has them (ACT_OPEN).  When a port is taken no
	 * address goes up either, and ACT_OPEN, which tries once more, tells the brain why. */
	bool listening = sockets_open(d, act->vs) == 0;
	int rc;

	a->address_count = d->conf->vserver[act->vs].address_count;
	memcpy(a->address, d->conf->vserver[act->vs].address, sizeof(a->address));
	drop_leftovers(d, act->vs);
	rc = listening ? add_all(d, act->vs) : 0;

	if (!listening) {
		log_debug("vserver %s: no address without its ports", d->conf->vserver[act->vs].name);
	} else if (rc == 0) {
		a->up = true;
		a->announce_left = ANNOUNCE_TIMES;
		announce_all(d, act->vs);
		loop_timer_set(d->loop, &a->renew_timer, loop_clock_ns() + RENEW_NS);
		loop_timer_set(d->loop, &a->announce_timer, loop_clock_ns() + ANNOUNCE_NS);
	} else {
		take_down(d, act->vs, true);
	}
	brain_post_err(d, EV_ADDRESSES_UP, act, rc);
}

/* Who is connected: all whom the worker had, or those whom nobody has accepted. */
static void note_stranded(struct daemon *d, unsigned vs, bool accepted)
{
	const struct vs_addresses *v = &d->addresses[vs];
	struct sockaddr_storage ss;

	for (unsigned i = 0; i < v->address_count; i++)
		if (is_ours(&v->address[i], &ss))
			stranded_note(d, vs, &ss, accepted);
}

void addresses_down(struct daemon *d, const struct action *act)
{
	struct vs_addresses *a = &d->addresses[act->vs];

	a->up = false;
	loop_timer_clear(d->loop, &a->renew_timer);
	loop_timer_clear(d->loop, &a->announce_timer);
	stranded_add(d, act->vs);
	/* A connection that ends before the address goes is ended towards the client, too; later it is
	 * not.  A worker that was drained has written down what it has. */
	if (d->worker[act->vs].life != WORKER_LEFT)
		note_stranded(d, act->vs, true);
	take_down(d, act->vs, false);
	note_stranded(d, act->vs, false);
	/* Listening sockets after the addresses: nobody is refused. */
	sockets_close(d, act->vs);
	stranded_begin(d, act->vs);
	worker_let_go(d, act->vs);
	brain_post_err(d, EV_ADDRESSES_DOWN, act, 0);
}

void addresses_tickle(struct daemon *d, unsigned vs)
{
	struct vs_addresses *a = &d->addresses[vs];
	uint64_t wait;

	a->tickle_left = TICKLE_TIMES - 1;
	announce_all(d, vs);
	wait = tickle(d, vs, false) ? TICKLE_NS : USABLE_V6_NS;
	loop_timer_set(d->loop, &a->announce_timer, loop_clock_ns() + wait);
}

void addresses_end(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		if (d->addresses[i].up) {
			d->addresses[i].up = false;
			take_down(d, i, false);
		}
}
