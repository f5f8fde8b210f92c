/* addresses.c - virtual addresses up and down, announced and renewed; tickles to clients.
 *
 * An address lives for a few seconds in the kernel and is renewed while the virtual server is
 * here, so that a node whose daemon stops (paused, hung) loses it by itself (F6).  Addresses without
 * `dev` and those in 127/8 are the machine's own; they are only bound. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/log.h"
#include "daemon.h"
#include "io/address.h"

#define MS		1000000ULL
#define LIFETIME_S	4
#define RENEW_NS	(1000 * MS)
#define ANNOUNCE_NS	(200 * MS)
#define ANNOUNCE_TIMES	6
#define TICKLE_NS	(60 * MS)
#define TICKLE_TIMES	4

static bool is_ours(const struct conf_address *a, struct sockaddr_storage *ss)
{
	conf_net_sockaddr(&a->net, 0, ss);
	return a->dev[0] && !address_is_loopback(ss);
}

static unsigned prefix_of(const struct conf_net *n)
{
	return conf_net_is_v4(n) ? n->prefix - 96U : n->prefix;
}

static int add_all(struct daemon *d, unsigned vs)
{
	const struct conf_vserver *v = &d->conf->vserver[vs];
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
	const struct conf_vserver *v = &d->conf->vserver[vs];
	struct sockaddr_storage ss;

	for (unsigned i = 0; i < v->address_count; i++) {
		int rc = is_ours(&v->address[i], &ss) ? address_announce(&ss, v->address[i].dev) : 0;

		if (rc)
			log_limited(LOG_L_WARN, "vserver %s: announcing on %s: %s", v->name,
				    v->address[i].dev, strerror(-rc));
	}
}

static void tickle_all(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];
	int rc = 0;

	for (unsigned i = 0; i < w->conn_count && d->have_tickle; i++) {
		const struct worker_conn *c = &w->conn[i];
		int one = tickle_send(&d->tickle, c->local, c->local_port, c->remote,
				      c->remote_port);

		rc = one ? one : rc;
	}
	if (rc)
		log_limited(LOG_L_WARN, "tickle: %s", strerror(-rc));
}

static void on_renew(struct loop_timer *t)
{
	struct vs_addresses *a = LIST_OWNER(t, struct vs_addresses, renew_timer);

	if (!a->up)
		return;
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
		tickle_all(a->d, a->vs);
		next = TICKLE_NS;
	}
	if (next != FOREVER_NS)
		loop_timer_set(a->d->loop, t, loop_clock_ns() + next);
}

void addresses_open(struct daemon *d)
{
	int rc = tickle_open(&d->tickle);

	d->have_tickle = rc == 0;
	if (rc)
		log_notice("tickle: no raw sockets (%s): after a move clients find out by their own "
			   "timers", strerror(-rc));
	for (unsigned i = 0; i < d->conf->vserver_count; i++) {
		struct vs_addresses *a = &d->addresses[i];

		*a = (struct vs_addresses){.d = d, .vs = i};
		a->renew_timer.fire = on_renew;
		a->announce_timer.fire = on_announce;
	}
}

static void take_down(struct daemon *d, unsigned vs, bool only_stale)
{
	const struct conf_vserver *v = &d->conf->vserver[vs];
	struct sockaddr_storage ss;
	char text[64];

	for (unsigned i = 0; i < v->address_count; i++) {
		const struct conf_address *a = &v->address[i];
		int rc = is_ours(a, &ss) ? address_del(&ss, prefix_of(&a->net), a->dev) : 0;

		if (rc && rc != -EADDRNOTAVAIL && rc != -ENODEV && !only_stale)
			log_err("vserver %s: address %s cannot be removed from %s: %s", v->name,
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
	int rc = listening ? add_all(d, act->vs) : 0;

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

void addresses_down(struct daemon *d, const struct action *act)
{
	struct vs_addresses *a = &d->addresses[act->vs];

	a->up = false;
	loop_timer_clear(d->loop, &a->renew_timer);
	loop_timer_clear(d->loop, &a->announce_timer);
	take_down(d, act->vs, false);
	/* Listening sockets after the addresses: who waits in their queues hears nothing, and
	 * comes to the next owner when that one tickles him. */
	sockets_close(d, act->vs);
	worker_let_go(d, act->vs);
	brain_post_err(d, EV_ADDRESSES_DOWN, act, 0);
}

void addresses_tickle(struct daemon *d, unsigned vs)
{
	struct vs_addresses *a = &d->addresses[vs];

	a->tickle_left = TICKLE_TIMES - 1;
	announce_all(d, vs);
	tickle_all(d, vs);
	loop_timer_set(d->loop, &a->announce_timer, loop_clock_ns() + TICKLE_NS);
}

void addresses_end(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		if (d->addresses[i].up) {
			d->addresses[i].up = false;
			take_down(d, i, false);
		}
}
