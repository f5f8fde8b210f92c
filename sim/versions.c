/* versions.c - another configuration every few seconds while faults happen (`--versions`).
 *
 * A version switches a virtual server off or on, removes one that is off or brings one back, changes
 * its priority, or what it is served with; now and then a node is told to begin anew
 * (core/restart.c).  A version is proposed by a node for which the production
 * checks allow it, and each node takes it at a time of its own, later if it cannot yet, as
 * cmd/holdfastd/config.c does; who boots starts with the latest.  How a version is chosen is another
 * model's matter (config.c).  s->conf stays what it was: its numbers are everybody's here, and the
 * checkers go by them.  After the healing everything is switched on again. */
#include <string.h>

#include "sim.h"

static void take(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct node_conf *c = &s->taking;
	const char *bad;

	if (h->node.conf.config_version >= s->version.config_version)
		return;
	*c = s->version;
	c->self = h->node.conf.self;
	bad = node_reconfigure(&h->node, c);
	if (bad) {
		mark("versions.later");
		queue_again(s, it, 100 * MS);
		return;
	}
	mark("versions.taken");
	say(s, h, "st", "version", "%llu", (unsigned long long)c->config_version);
}

static void spread(struct sim *s)
{
	s->version.config_version++;
	s->version.config_hash++;
	for (unsigned i = 0; i < s->node_count; i++)
		if (s->host[i].up)
			host_put(s, &s->host[i], below(s, 800 * MS), take);
}

static void back(struct sim *s, unsigned vs)
{
	s->version.vs[vs] = s->conf.vs[vs];
	for (unsigned k = 0; k < s->conf.vs[vs].unit_count; k++) {
		unsigned u = s->conf.vs[vs].unit[k];

		s->version.unit[u] = s->conf.unit[u];
	}
}

static void away(struct sim *s, unsigned vs)
{
	for (unsigned k = 0; k < s->conf.vs[vs].unit_count; k++)
		s->version.unit[s->conf.vs[vs].unit[k]] = (struct node_conf_unit){.gone = true};
	s->version.vs[vs] = (struct node_conf_vs){.gone = true, .unit = {NODE_NO_UNIT}};
}

/* Asked by a node that has the present version, as `config apply` is. */
static bool allowed(struct sim *s)
{
	const struct host *h = &s->host[below(s, s->node_count)];
	char text[NODE_TEXT_MAX];

	if (!h->up || h->paused || h->node.conf.config_version != s->before.config_version)
		return false;
	s->taking = s->version;
	s->taking.self = h->node.conf.self;
	return !node_removal_check(&h->node, &s->taking, text) &&
	       !node_reconfigure_check(&h->node, &s->taking);
}

static void change(struct sim *s)
{
	unsigned vs = (unsigned)below(s, s->vs_count);
	struct node_conf_vs *v = &s->version.vs[vs];

	if (v->gone)
		back(s, vs);
	else if (v->off && chance(s, 600))
		away(s, vs);
	else if (v->off || chance(s, 300))
		v->off = !v->off;
	else if (chance(s, 500))
		v->serving++;
	else
		v->priority = (int)below(s, 10);
}

/* `holdfast restart`, asked on any node for any: with versions that differ, too. */
static void restart_one(struct sim *s)
{
	struct host *h = &s->host[below(s, s->node_count)];
	struct event ev = {.type = EV_CONTROL};

	ev.control.verb = CONTROL_RESTART;
	ev.control.node = (uint16_t)(1 + below(s, s->node_count));
	ev.control.force = chance(s, 500);
	if (host_control(s, h, &ev))
		mark("versions.restart_asked");
}

static void next(struct sim *s, struct sim_item *it)
{
	if (s->phase != PHASE_FAULTS) {
		for (unsigned i = 0; i < s->vs_count; i++)
			back(s, i);
		spread(s);
		return;
	}
	if (chance(s, 200))
		restart_one(s);
	s->before = s->version;
	change(s);
	if (allowed(s)) {
		mark("versions.chosen");
		spread(s);
	} else {
		mark("versions.refused");
		s->version = s->before;
	}
	queue_again(s, it, between(s, 500 * MS, 6 * SECOND));
}

void versions_start(struct sim *s)
{
	s->version = s->conf;
	queue_put(s, between(s, SECOND, 6 * SECOND), next);
}
