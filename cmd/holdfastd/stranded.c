/* stranded.c - clients whose connections nobody else knows of when an address goes.
 *
 * The next owner resets the connections that the store's table names (ACT_TICKLE).  Some are in no
 * table: those that wait in the queue of a listening socket, and, where the worker ended because
 * its storage fails, those that it accepted last and could not write down any more.  Such a
 * client's request was acknowledged by our kernel, so he would wait for his own timer, a minute or
 * more.  The worker's end does not help him: the kernel closes what a ring of io_uring waits for
 * some milliseconds after the process, and when the address has gone by then no segment is sent.
 *
 * So the kernel is asked who is connected, and whoever that is gets a tickle from here once
 * another node is seen to serve the address: his answer reaches a node that knows no such
 * connection, and is reset.  Not before: a client answers one stray packet in 500 ms, and the
 * answer that finds no owner would cost him the next owner's tickle. */
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "core/node.h"
#include "daemon.h"
#include "io/leftover.h"

#define MS          1000000ULL
#define LOOK_NS     (20 * MS)
#define AGAIN_NS    (200 * MS)
#define TIMES       10
#define PATIENCE_NS (5000 * MS) /* a node that sees no owner may see the clients all the same */

static void on_timer(struct loop_timer *t)
{
	struct stranded *s = LIST_OWNER(t, struct stranded, timer);
	uint64_t now = loop_clock_ns();

	if (!node_vs_served(s->d->node, s->vs) && now < s->since_ns + PATIENCE_NS) {
		loop_timer_set(s->d->loop, t, now + LOOK_NS);
		return;
	}
	for (unsigned i = 0; i < s->count; i++) {
		const struct worker_conn *c = &s->conn[i];

		tickle_send(&s->d->tickle, c->local, c->local_port, c->remote, c->remote_port);
	}
	if (--s->left)
		loop_timer_set(s->d->loop, t, now + AGAIN_NS);
}

void stranded_add(struct daemon *d, unsigned vs)
{
	struct stranded *s = &d->stranded[vs];

	loop_timer_clear(d->loop, &s->timer);
	s->d = d;
	s->vs = vs;
	s->count = s->left = 0;
	s->timer.fire = on_timer;
}

static void on_found(void *arg, const struct leftover *f)
{
	struct stranded *s = arg;
	struct worker_conn *c = &s->conn[s->count];

	if (s->count == STRANDED_MAX || f->accepted != s->accepted)
		return;
	memcpy(c->local, f->local, sizeof(c->local));
	memcpy(c->remote, f->remote, sizeof(c->remote));
	c->local_port = f->local_port;
	c->remote_port = f->remote_port;
	s->count++;
}

void stranded_note(struct daemon *d, unsigned vs, const struct sockaddr_storage *local,
		   bool accepted)
{
	struct stranded *s = &d->stranded[vs];
	int rc;

	s->accepted = accepted;
	rc = d->have_tickle ? leftover_list(local, on_found, s) : 0;
	if (rc < 0)
		log_limited(
		    LOG_L_NOTICE,
		    "vserver %s: the kernel does not tell who is connected (%s): those whom no "
		    "worker has written down find out by their own timers",
		    d->conf->vserver[vs].name, strerror(-rc));
}

void stranded_begin(struct daemon *d, unsigned vs)
{
	struct stranded *s = &d->stranded[vs];

	if (s->count == 0)
		return;
	log_info("vserver %s: %u connections are left behind; the next owner resets them",
		 d->conf->vserver[vs].name, s->count);
	s->left = TIMES;
	s->since_ns = loop_clock_ns();
	loop_timer_set(d->loop, &s->timer, s->since_ns + LOOK_NS);
}
