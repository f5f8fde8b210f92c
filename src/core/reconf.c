/* reconf.c - another configuration while everything runs (DESIGN 10; SAFETY V1, V3).
 *
 * Only what carries no promise to another node may change here: priority, home, giveback, migration,
 * hold-down, whether takeover is on; and who belongs to the cluster.  The timers, devices and units
 * are what verdicts and leases rest on (F4, V1); with those a node starts anew.
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

static const char *units_same(const struct node *n, const struct node_conf *c)
{
	if (c->unit_count != n->conf.unit_count)
		return "units come and go with a restart of holdfastd";
	for (unsigned i = 0; i < c->unit_count; i++)
		if (c->unit[i].id != n->conf.unit[i].id)
			return "units come and go with a restart of holdfastd";
	return NULL;
}

static const char *vs_same(const struct node *n, const struct node_conf *c)
{
	if (c->vs_count != n->conf.vs_count)
		return "virtual servers come and go with a restart of holdfastd";
	for (unsigned i = 0; i < c->vs_count; i++) {
		const struct node_conf_vs *a = &n->conf.vs[i], *b = &c->vs[i];

		if (a->id != b->id)
			return "virtual servers come and go with a restart of holdfastd";
		if (a->unit_count != b->unit_count || a->fs_count != b->fs_count ||
		    memcmp(a->unit, b->unit, sizeof(a->unit)) != 0)
			return "the stores of a virtual server need a restart of holdfastd";
	}
	return NULL;
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
		bad = units_same(n, c);
	if (!bad)
		bad = vs_same(n, c);
	return bad;
}

const char *node_reconfigure(struct node *n, const struct node_conf *c)
{
	const uint8_t *persisted = n->conf.persisted;
	bool reboot_manual = n->conf.reboot_manual;
	const char *bad = node_reconfigure_check(n, c);

	if (bad)
		return bad;
	join_and_leave(n, c);
	HF_MARK("node.reconfigured");
	n->conf = *c;
	n->conf.persisted = persisted;
	n->conf.reboot_manual = reboot_manual;
	node_sort(n);
	n->dirty = true;
	return NULL;
}
