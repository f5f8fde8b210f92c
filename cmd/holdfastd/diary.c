/* diary.c - what goes into the event log (ctl/events.h).
 *
 * The brain's own lines, operators' commands and their answers, and what the shell sees: the
 * brain's state is looked at after each step, and what has changed since the last look is said:
 * paths and devices that fall silent or come back, the majority, inhibit flags, what bars a
 * takeover and why.  Looking changes nothing. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "ctl/events.h"
#include "daemon.h"

#define STALE_BEATS   10
#define END_WAIT_MS   1000
#define FENCE_WAIT_MS 100

struct diary_peer {
	enum reason blocked;
	bool path_heard[NODE_PATHS_MAX], slot_heard[NODE_DEVICES_MAX];
	uint64_t countdown_ns;
};

struct diary {
	struct events *events;
	char *node; /* its name: indices may move */
	bool majority;
	uint64_t majority_seen_ns;
	bool inhibit[INHIBIT_CLUSTER + 1];
	uint16_t master;
	int device_bad[NODE_DEVICES_MAX]; /* 0 good, else errno */
	struct diary_peer peer[NODE_NODES_MAX]; /* by id: indices move when a node leaves */
	bool vs_inhibit[NODE_VS_MAX];
	struct {
		uint16_t node;
		bool serves;
		uint64_t since_ns;
	} owner[NODE_VS_MAX];
};

void diary_say(struct daemon *d, unsigned level, const char *object, enum reason reason,
	       const char *fmt, ...)
{
	char what[512];
	struct events_item it = {.level = (enum log_level)level, .object = object, .what = what,
				 .generation = d->node ? d->node->generation : 0};
	va_list ap;

	if (!d->diary)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (reason != REASON_NONE) {
		it.reason = reason_name(reason);
		it.todo = reason_todo(reason);
	}
	events_say(d->diary->events, &it);
}

static const char *my_name(const struct daemon *d)
{
	return d->conf->node[d->self].name;
}

void diary_brain(struct daemon *d, const struct action *a)
{
	char object[128];
	const char *what = events_object(a->log.text, my_name(d), object, sizeof(object)),
		   *again = strstr(what, " reason="); /* the event has a member for it */

	if (a->log.level != LOG_L_DEBUG)
		diary_say(d, a->log.level, object, a->log.reason, "%.*s",
			  again ? (int)(again - what) : (int)strlen(what), what);
}

void diary_vserver(struct daemon *d, unsigned vs, unsigned level, const char *what)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "vs %s", d->conf->vserver[vs].name);
	diary_say(d, level, object, REASON_NONE, "%s", what);
}

int diary_open(struct daemon *d, char *err, size_t err_size)
{
	struct events_conf c = {.dir = d->state_dir, .size_bytes = d->conf->events_size_bytes,
				.age_ns = d->conf->events_age_ns};
	int rc;

	d->diary = mem_zalloc(1, sizeof(*d->diary));
	c.node = d->diary->node = mem_strdup(my_name(d));
	rc = events_open(&d->diary->events, d->loop, &c);
	if (rc == 0)
		return 0;
	snprintf(err, err_size, "%s/events: the process that keeps it cannot be started: %s",
		 d->state_dir, strerror(-rc));
	return EXIT_SYSTEM;
}

static void end(struct daemon *d, unsigned wait_ms)
{
	struct diary *y = d->diary;

	d->diary = NULL;
	if (!y)
		return;
	events_close(y->events, wait_ms);
	free(y->node);
	free(y);
}

void diary_begin(struct daemon *d)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "node %s", my_name(d));
	diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "holdfastd begins, cluster %s, configuration %016llx",
		  d->conf->name, (unsigned long long)conf_hash(d->conf));
}

void diary_end(struct daemon *d)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "node %s", my_name(d));
	diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "holdfastd ends");
	end(d, END_WAIT_MS);
}

void diary_fence(struct daemon *d, const char *why)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "node %s", my_name(d));
	diary_say(d, LOG_L_ERR, object, REASON_NONE, "fencing myself: %s", why);
	end(d, FENCE_WAIT_MS);
}

uint64_t diary_lost(const struct daemon *d)
{
	return d->diary ? events_lost(d->diary->events) : 0;
}

/* ---- what is seen ----------------------------------------------------------------------------- */

static void see_flag(struct daemon *d, bool *last, bool now, unsigned level, enum reason why,
		     const char *on, const char *off)
{
	char object[CONF_NAME_MAX + 8];

	if (*last == now)
		return;
	*last = now;
	snprintf(object, sizeof(object), "node %s", my_name(d));
	diary_say(d, now ? LOG_L_NOTICE : level, object, now ? REASON_NONE : why, "%s",
		  now ? on : off);
}

/* A single late read is no news. */
static void see_majority(struct daemon *d, struct diary *y)
{
	bool has = node_has_majority(d->node);

	if (has)
		y->majority_seen_ns = d->node->now_ns;
	else if (d->node->now_ns < y->majority_seen_ns + STALE_BEATS / 2 * d->times.heartbeat_ns)
		return;
	see_flag(d, &y->majority, has, LOG_L_WARN, REASON_NO_MAJORITY,
		 "a majority of the coordination devices is read and written",
		 "no majority of the coordination devices: nothing can be taken over");
}

static int device_error(const struct daemon *d, const struct node_device *v)
{
	uint64_t now = d->node->now_ns, stale = STALE_BEATS * d->times.heartbeat_ns;

	if (v->write_err || v->read_err)
		return v->write_err ? -v->write_err : -v->read_err;
	if (now < d->started_ns + stale)
		return 0;
	return v->write_ok_begun_ns + stale < now || v->read_ok_begun_ns + stale < now ? ETIMEDOUT :
											 0;
}

static void see_devices(struct daemon *d, struct diary *y)
{
	char object[CONF_PATH_MAX + 8];

	for (unsigned i = 0; i < d->conf->coord_count; i++) {
		int bad = device_error(d, &d->node->device[i]);

		if (!bad == !y->device_bad[i])
			continue;
		y->device_bad[i] = bad;
		snprintf(object, sizeof(object), "device %s", d->conf->coord[i]);
		if (bad)
			diary_say(d, LOG_L_WARN, object, REASON_NONE, "cannot be used: %s",
				  strerror(bad));
		else
			diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "is used again");
	}
}

static bool heard(const struct daemon *d, uint64_t at_ns)
{
	return at_ns && at_ns + d->times.path_silent_ns > d->node->now_ns;
}

static void see_paths(struct daemon *d, struct diary_peer *y, const struct node_peer *p,
		      const char *name)
{
	char object[CONF_NAME_MAX + 32], text[64];

	for (unsigned i = 0; i < d->node->conf.path_count; i++) {
		const struct conf_path *c = &d->conf->node[d->self].path[i];
		bool now = heard(d, p->path_heard_ns[i]);

		if (now == y->path_heard[i])
			continue;
		y->path_heard[i] = now;
		snprintf(object, sizeof(object), "path %s/%u", name, i);
		diary_say(d, now ? LOG_L_INFO : LOG_L_WARN, object, REASON_NONE, "%s (%s, mine is %s)",
			  now ? "heard" : "silent", c->interconnect ? "interconnect" : "network",
			  conf_net_text(&c->addr, false, text));
	}
	for (unsigned i = 0; i < d->conf->coord_count; i++) {
		bool now = heard(d, p->slot_moved_ns[i]);

		if (now == y->slot_heard[i])
			continue;
		y->slot_heard[i] = now;
		snprintf(object, sizeof(object), "slot %s/%u", name, i);
		diary_say(d, now ? LOG_L_INFO : LOG_L_WARN, object, REASON_NONE, "%s (device %s)",
			  now ? "moves" : "stands still", d->conf->coord[i]);
	}
}

static void see_peer(struct daemon *d, struct diary_peer *y, const struct node_peer *p)
{
	char object[CONF_NAME_MAX + 8];
	const char *name = daemon_node(d, p->id, "nobody");
	struct veto bar = {.reason = p->blocked, .node = p->id, .vs = -1};
	const char *why = node_veto_note(d->node, &bar);

	snprintf(object, sizeof(object), "node %s", name);
	see_paths(d, y, p, name);
	if (p->blocked != y->blocked) {
		y->blocked = p->blocked;
		if (p->blocked != REASON_NONE)
			diary_say(d, LOG_L_WARN, object, p->blocked, "takeover of %s is barred%s%s",
				  name, *why ? ": " : "", why);
		else
			diary_say(d, LOG_L_NOTICE, object, REASON_NONE,
				  "nothing bars a takeover of %s any more", name);
	}
	if (p->countdown_ns && p->countdown_ns != y->countdown_ns && p->countdown_ns > d->node->now_ns)
		diary_say(d, LOG_L_WARN, object, REASON_OPERATOR,
			  "is asked to hand everything over; by force in %llu ms",
			  (unsigned long long)(p->countdown_ns - d->node->now_ns) / 1000000);
	else if (!p->countdown_ns && y->countdown_ns)
		diary_say(d, LOG_L_NOTICE, object, REASON_OPERATOR, "the countdown is over: %s",
			  p->forced ? "what is left is taken by force" : "nothing is left there");
	y->countdown_ns = p->countdown_ns;
}

static void see_inhibits(struct daemon *d, struct diary *y)
{
	const struct node *n = d->node;

	see_flag(d, &y->inhibit[INHIBIT_SELF], n->inhibit_self, LOG_L_NOTICE, REASON_NONE,
		 "inhibit self: this node takes nothing over", "inhibit self is off");
	see_flag(d, &y->inhibit[INHIBIT_MINE], n->inhibit_mine, LOG_L_NOTICE, REASON_NONE,
		 "inhibit mine: nobody takes over from this node", "inhibit mine is off");
	see_flag(d, &y->inhibit[INHIBIT_CLUSTER], n->inhibit_cluster, LOG_L_NOTICE, REASON_NONE,
		 "inhibit cluster: nobody takes anything over", "inhibit cluster is off");
}

/* Serves it, as he says himself; *epoch. */
static bool says_serving(const struct node *n, uint16_t id, unsigned vs, uint64_t *epoch)
{
	for (unsigned k = 0; k < n->peer_count; k++) {
		const struct status_msg *m = &n->peer[k].msg;

		for (unsigned j = 0; n->peer[k].id == id && j < m->vs_count; j++)
			if (m->vs[j].id == n->conf.vs[vs].id) {
				*epoch = m->vs[j].epoch;
				return m->vs[j].state == VS_SERVING;
			}
	}
	*epoch = n->vs[vs].epoch;
	return id == n->conf.self && n->vs[vs].state == VS_SERVING;
}

/* Who has it, on every node; the one who does says much more himself. */
static void see_owner(struct daemon *d, struct diary *y, unsigned vs)
{
	char object[CONF_NAME_MAX + 8];
	uint16_t id = node_vs_owner(d->node, vs);
	uint64_t epoch;
	bool serves = says_serving(d->node, id, vs, &epoch);

	if (id == y->owner[vs].node && serves == y->owner[vs].serves)
		return;
	if (id != y->owner[vs].node || serves)
		y->owner[vs].since_ns = d->node->now_ns;
	snprintf(object, sizeof(object), "vs %s", d->conf->vserver[vs].name);
	if (id == 0)
		diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "nobody has it (before: %s)",
			  daemon_node(d, y->owner[vs].node, "nobody"));
	else if (serves && id != d->node->conf.self)
		diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "is served by %s, epoch %llu",
			  daemon_node(d, id, "nobody"), (unsigned long long)epoch);
	y->owner[vs].node = id;
	y->owner[vs].serves = serves;
}

uint64_t diary_owner_since_ns(const struct daemon *d, unsigned vs)
{
	return d->diary ? d->diary->owner[vs].since_ns : 0;
}

static void see_vservers(struct daemon *d, struct diary *y)
{
	char object[CONF_NAME_MAX + 8];

	for (unsigned i = 0; i < d->node->conf.vs_count; i++) {
		if (d->node->conf.vs[i].gone)
			continue;
		see_owner(d, y, i);
		if (d->node->vs[i].inhibit == y->vs_inhibit[i])
			continue;
		y->vs_inhibit[i] = d->node->vs[i].inhibit;
		snprintf(object, sizeof(object), "vs %s", d->conf->vserver[i].name);
		diary_say(d, LOG_L_NOTICE, object,
			  y->vs_inhibit[i] ? REASON_VS_INHIBITED : REASON_NONE, "%s",
			  y->vs_inhibit[i] ? "inhibit vs: it stays with the node that has it" :
					     "inhibit vs is off");
	}
}

void diary_forget(struct daemon *d, unsigned vs)
{
	if (!d->diary)
		return;
	d->diary->vs_inhibit[vs] = false;
	memset(&d->diary->owner[vs], 0, sizeof(d->diary->owner[vs]));
}

static void see_master(struct daemon *d, struct diary *y)
{
	if (y->master == d->node->master)
		return;
	y->master = d->node->master;
	diary_say(d, LOG_L_NOTICE, "master", REASON_NONE, "is %s", daemon_node(d, y->master, "nobody"));
}

void diary_watch(struct daemon *d)
{
	struct diary *y = d->diary;

	if (!y)
		return;
	see_devices(d, y);
	see_majority(d, y);
	see_inhibits(d, y);
	see_master(d, y);
	see_vservers(d, y);
	for (unsigned i = 0; i < d->node->peer_count; i++)
		see_peer(d, &y->peer[d->node->peer[i].id - 1], &d->node->peer[i]);
}
