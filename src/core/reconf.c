/* reconf.c - another configuration while everything runs (DESIGN 10; SAFETY V1, V3).
 *
 * Only what carries no promise to another node may change here: priority, home, giveback, migration,
 * hold-down, whether takeover is on.  The timers, devices, nodes and units are what verdicts and
 * leases rest on (F4, V1); with those a node starts anew. */
#include "core/internal.h"

static const char *times_same(const struct node *n, const struct node_conf *c)
{
	struct times t = c->times;

	t.hold_down_ns = n->conf.times.hold_down_ns;
	return memcmp(&t, &n->conf.times, sizeof(t)) == 0 ? NULL
							   : "the timers need a restart of holdfastd";
}

static const char *nodes_same(const struct node *n, const struct node_conf *c)
{
	if (c->node_count != n->conf.node_count)
		return "nodes join and leave with a restart of holdfastd";
	for (unsigned i = 0; i < c->node_count; i++)
		if (c->node[i].id != n->conf.node[i].id)
			return "the id of a node needs a restart of holdfastd";
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

const char *node_reconfigure(struct node *n, const struct node_conf *c)
{
	const uint8_t *persisted = n->conf.persisted;
	bool reboot_manual = n->conf.reboot_manual;
	const char *bad = node_conf_check(c);

	if (!bad && (c->self != n->conf.self || memcmp(c->cluster, n->conf.cluster, 16) != 0))
		bad = "it is of another node or cluster";
	if (!bad)
		bad = times_same(n, c);
	if (!bad)
		bad = nodes_same(n, c);
	if (!bad)
		bad = units_same(n, c);
	if (!bad)
		bad = vs_same(n, c);
	if (bad)
		return bad;
	HF_MARK("node.reconfigured");
	n->conf = *c;
	n->conf.persisted = persisted;
	n->conf.reboot_manual = reboot_manual;
	node_sort(n);
	n->dirty = true;
	return NULL;
}
