/* reconf.c - another configuration while everything runs (DESIGN 10; SAFETY V1, V3).
 *
 * Only what carries no promise to another node may change here: priority, home, giveback, migration,
 * hold-down, whether takeover is on; who belongs to the cluster; and which units and virtual servers
 * there are.  The timers and devices are what verdicts and leases rest on (F4, V1); with those a node
 * starts anew.
 *
 * Numbers (indexes) of units and virtual servers are a node's own affair: messages, slots and storage
 * name them by id.  What is there keeps its number, since completions and the shell's parts go by it;
 * what was removed leaves an empty one, `gone`, which a later version may use again.
 *
 * What a virtual server is served with (addresses, ports, options of its stores) may change while it is
 * served: its owner then moves it to itself.
 *
 * Nothing goes, and no virtual server gets other stores, while anybody might serve it: it must have
 * been switched off (`off`) in the version that counts now, and storage must name nobody
 * (node_removal_check(), asked by the node that proposes).  Each node then lets go of it when it has
 * nothing of it, and asks again until then.
 *
 * A node that joins is not observed yet: nothing is concluded from its silence before it was heard or
 * silent for dead_ns.  One that leaves must have nothing: storage would name an owner whom nobody
 * watches.  Should it take something before it hears that it left, then reservation and record still
 * decide; it is nobody's to take back but by force (doc/config.md). */
#include "core/internal.h"

static const char *times_same(const struct node *n, const struct node_conf *c)
{
	struct times t = c->times;

	t.hold_down_ns = n->conf.times.hold_down_ns;
	return memcmp(&t, &n->conf.times, sizeof(t)) == 0 ? NULL
							   : "the timers need a restart of holdfastd";
}

static bool has_node(const struct node_conf *c, uint16_t id)
{
	for (unsigned i = 0; i < c->node_count; i++)
		if (c->node[i].id == id)
			return true;
	return false;
}

/* Serves something, or storage names it, or something is under way with it. */
static bool is_needed(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < n->conf.unit_count; i++)
		if (n->unit[i].owner == p->id)
			return true;
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (node_vs_owner(n, i) == p->id || n->vs[i].target == p->id ||
		    n->vs[i].victim == p->id || n->vs[i].move_to == p->id)
			return true;
	return p->step || p->taken || p->forced || n->giveback_to == p->id;
}

static const char *nodes_fit(const struct node *n, const struct node_conf *c)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (!has_node(c, n->peer[i].id) && is_needed(n, &n->peer[i]))
			return "a node that leaves must serve nothing: hand over first (holdfast "
			       "shutdown there)";
	for (unsigned i = 0; i < c->node_count; i++)
		for (unsigned k = 0; k < n->conf.node_count; k++)
			if (c->node[i].id == n->conf.node[k].id &&
			    strcmp(c->node[i].name, n->conf.node[k].name) != 0)
				return "the id of a node that left is free after the next version";
	if (c->device_count != n->conf.device_count)
		return "coordination devices need a restart of holdfastd";
	if (c->path_count != n->conf.path_count)
		return "heartbeat paths need a restart of holdfastd";
	return NULL;
}

/* A number keeps its unit or gives it up, when nothing of it is here or under way. */
static const char *units_fit(const struct node *n, const struct node_conf *c)
{
	if (c->unit_count < n->conf.unit_count)
		return "units keep their numbers";
	for (unsigned i = 0; i < n->conf.unit_count; i++) {
		const struct node_unit *u = &n->unit[i];

		if (n->conf.unit[i].gone)
			continue;
		if (!c->unit[i].gone && c->unit[i].id != n->conf.unit[i].id)
			return "units keep their numbers";
		if (c->unit[i].gone && (u->held || u->mounted || u->foul))
			return "a unit that goes must be released here";
		if (c->unit[i].gone && u->read_op)
			return "a unit that goes is being read: in a moment";
	}
	return NULL;
}

static bool is_idle(const struct node_vs *v)
{
	return v->state == VS_DOWN && !v->op && !v->address_op && !v->worker && !v->addresses;
}

static bool other_stores(const struct node_conf_vs *a, const struct node_conf_vs *b)
{
	return a->unit_count != b->unit_count || a->fs_count != b->fs_count ||
	       memcmp(a->unit, b->unit, sizeof(a->unit)) != 0 ||
	       memcmp(a->fs_unit, b->fs_unit, sizeof(a->fs_unit)) != 0;
}

static const char *vs_fit(const struct node *n, const struct node_conf *c)
{
	if (c->vs_count < n->conf.vs_count)
		return "virtual servers keep their numbers";
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		const struct node_conf_vs *a = &n->conf.vs[i], *b = &c->vs[i];

		if (a->gone)
			continue;
#ifndef HF_MUTANT_REMOVED_WHILE_SERVED
		if (b->gone && !is_idle(&n->vs[i]))
			return "a virtual server that goes must be released here";
#endif
		if (b->gone)
			continue;
		if (a->id != b->id)
			return "virtual servers keep their numbers";
		if (other_stores(a, b) && !is_idle(&n->vs[i]))
			return "a virtual server that gets other stores must be released here";
	}
	return NULL;
}

/* ---- what goes, as far as all the others are known ------------------------------------------- */

static const char *unit_going(const struct node *n, unsigned unit, char *text)
{
	const struct node_unit *u = &n->unit[unit];
	const char *name = n->conf.unit[unit].name;

	if (!u->known)
		snprintf(text, NODE_TEXT_MAX, "unit %s: its record is not read yet: in a moment, or "
			 "see holdfast unit show %s", name, name);
	else if (u->owner)
		snprintf(text, NODE_TEXT_MAX, "unit %s belongs to %s: there first holdfast unit release "
			 "%s", name, node_name(n, u->owner), name);
	else
		return NULL;
	return text;
}

static const char *vs_going(const struct node *n, unsigned vs, char *text)
{
	const struct node_conf_vs *v = &n->conf.vs[vs];
	uint16_t owner = node_vs_owner(n, vs);
	const char *bad = NULL;

	if (!v->off) { /* else somebody might take it while the version spreads */
		snprintf(text, NODE_TEXT_MAX, "vserver %s%s%s: first apply a version where it has: "
			 "serve off", v->name, owner ? " is served by " : "",
			 owner ? node_name(n, owner) : "");
		return text;
	}
	if (owner) {
		snprintf(text, NODE_TEXT_MAX, "vserver %s is still being released by %s: in a moment",
			 v->name, node_name(n, owner));
		return text;
	}
	for (unsigned i = 0; i < v->unit_count && !bad; i++)
		bad = unit_going(n, v->unit[i], text);
	return bad;
}

const char *node_removal_check(const struct node *n, const struct node_conf *c, char *text)
{
	const char *bad = NULL;
	bool any = false;

	for (unsigned i = 0; i < n->conf.vs_count && i < c->vs_count && !bad; i++)
		if (!n->conf.vs[i].gone && (c->vs[i].gone || other_stores(&n->conf.vs[i], &c->vs[i]))) {
			any = true;
			bad = vs_going(n, i, text);
		}
	for (unsigned i = 0; i < n->conf.unit_count && i < c->unit_count && !bad; i++)
		if (c->unit[i].gone && !n->conf.unit[i].gone) {
			any = true;
			bad = unit_going(n, i, text);
		}
	for (unsigned i = 0; i < n->peer_count && any && !bad; i++)
		if (peer_live(&n->peer[i]) && n->peer[i].msg.config_hash != n->conf.config_hash) {
			snprintf(text, NODE_TEXT_MAX, "%s has not taken the present version yet",
				 node_name(n, n->peer[i].id));
			bad = text;
		}
	return bad;
}

/* ---- taking it ------------------------------------------------------------------------------- */

/* What it is served with changes by a planned move to itself, as soon as the shell has had the time
 * to make a worker ready; who does not have it has nothing to do. */
static void stays(struct node *n, unsigned vs, const struct node_conf_vs *old)
{
	const struct node_conf_vs *c = &n->conf.vs[vs];

	for (unsigned k = 0; k < c->unit_count; k++)
		n->unit[c->unit[k]].vs = vs;
	if (c->serving == old->serving || n->vs[vs].state == VS_DOWN)
		return;
	HF_MARK("node.vs_to_renew");
#ifndef HF_MUTANT_NEVER_RENEWED
	n->vs[vs].renew_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
#endif
}

/* Numbers that are used now and were not, or the other way round, begin with nothing. */
static void come_and_go(struct node *n, const struct node_conf *old)
{
	for (unsigned i = 0; i < n->conf.unit_count; i++)
		if (i >= old->unit_count || old->unit[i].gone != n->conf.unit[i].gone)
			memset(&n->unit[i], 0, sizeof(n->unit[i]));
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		if (i < old->vs_count && old->vs[i].gone == n->conf.vs[i].gone) {
			stays(n, i, &old->vs[i]);
			continue;
		}
		vs_init(n, i);
		if (n->conf.vs[i].gone)
			HF_MARK("node.vs_removed");
		else
			HF_MARK("node.vs_added");
	}
}

static void join_and_leave(struct node *n, const struct node_conf *c)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n->peer_count; i++) {
		if (!has_node(c, n->peer[i].id)) {
			HF_MARK("node.left");
			continue;
		}
		if (kept != i)
			n->peer[kept] = n->peer[i];
		kept++;
	}
	n->peer_count = kept;
	for (unsigned i = 0; i < c->node_count; i++) {
		struct node_peer *p = &n->peer[n->peer_count];

		if (c->node[i].id == c->self || has_node(&n->conf, c->node[i].id))
			continue;
		HF_MARK("node.joined");
		memset(p, 0, sizeof(*p));
		p->id = c->node[i].id;
		p->verdict = STATUS_V_UNKNOWN;
		p->observe_since_ns = n->now_ns;
		n->peer_count++;
	}
}

const char *node_reconfigure_check(const struct node *n, const struct node_conf *c)
{
	const char *bad = node_conf_check(c);

	if (!bad && (c->self != n->conf.self || memcmp(c->cluster, n->conf.cluster, 16) != 0))
		bad = "it is of another node or cluster";
	if (!bad)
		bad = times_same(n, c);
	if (!bad)
		bad = nodes_fit(n, c);
	if (!bad)
		bad = units_fit(n, c);
	if (!bad)
		bad = vs_fit(n, c);
	return bad;
}

const char *node_reconfigure(struct node *n, const struct node_conf *c)
{
	const char *bad = node_reconfigure_check(n, c);
	struct node_conf *old = &n->before;

	if (bad)
		return bad;
	join_and_leave(n, c);
	HF_MARK("node.reconfigured");
	*old = n->conf;
	n->conf = *c;
	n->conf.persisted = old->persisted;
	n->conf.reboot_manual = old->reboot_manual;
	come_and_go(n, old);
	note_prune(n);
	node_sort(n);
	n->dirty = true;
	return NULL;
}
