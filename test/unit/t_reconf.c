/* t_reconf.c - what the brain takes while it runs, and what it refuses without changing anything. */
#include <string.h>

#include "check.h"
#include "core/node.h"

static struct node n;
static struct node_conf base, next;

static void fresh(void)
{
	memset(&base, 0, sizeof(base));
	base.self = 1;
	base.config_hash = 7;
	base.config_version = 1;
	base.node_count = base.vs_count = base.unit_count = 2;
	base.path_count = 1;
	base.device_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		base.node[i].id = (uint16_t)(i + 1);
		base.node[i].name[0] = (char)('a' + i);
		base.vs[i] = (struct node_conf_vs){.id = i + 10, .home = 1, .priority = 5 - (int)i,
						   .unit_count = 1, .fs_count = 1};
		base.vs[i].unit[0] = (uint8_t)i;
		base.unit[i].id = i + 20;
	}
	times_fast(&base.times, 100000000);
	node_init(&n, &base, 1000000000);
	next = base;
	next.config_hash = 8;
	next.config_version = 2;
}

static void refused(void)
{
	struct node_conf before = n.conf;

	CHECK(node_reconfigure(&n, &next) != NULL);
	CHECK(memcmp(&before, &n.conf, sizeof(before)) == 0);
	CHECK_EQ(1, n.peer_count);
}

/* covers: VS-157 OV-36 */
static void t_policy(void)
{
	fresh();
	CHECK_EQ(0, n.order[0]);
	next.vs[1].priority = 9;
	next.vs[0].home = 2;
	next.vs[0].giveback_auto = true;
	next.takeover_off = true;
	next.times.hold_down_ns *= 2;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK_EQ(1, n.order[0]);
	CHECK_EQ(8, (long long)n.conf.config_hash);
	CHECK_EQ(2, (long long)n.conf.config_version);
	CHECK(n.dirty);
}

/* covers: F4 V1 */
static void t_refused(void)
{
	fresh();
	next.times.dead_ns += 1000000;
	refused();
	next = base;
	next.device_count = 1;
	refused();
	next = base;
	next.unit[1].id = 99;
	refused();
	next = base;
	next.vs_count = 1; /* numbers stay */
	refused();
	next = base;
	next.vs[0].id = 99;
	refused();
	next = base;
	next.self = 2;
	refused();
}

static void t_nodes(void)
{
	fresh();
	next.node_count = 3;
	next.node[2].id = 5;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK_EQ(2, n.peer_count);
	CHECK_EQ(5, n.peer[1].id);
	CHECK_EQ(STATUS_V_UNKNOWN, n.peer[1].verdict);
	n.peer[1].heard_ns = 77;
	n.unit[0].owner = 2; /* storage names it: it may not leave */
	next.node_count = 2;
	next.node[1] = next.node[2];
	CHECK(node_reconfigure(&n, &next) != NULL);
	CHECK_EQ(2, n.peer_count);
	n.unit[0].owner = 0;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK_EQ(1, n.peer_count);
	CHECK_EQ(5, n.peer[0].id);
	CHECK_EQ(77, (long long)n.peer[0].heard_ns); /* what is known stays */
}

static void goes(unsigned i)
{
	memset(&next.vs[i], 0, sizeof(next.vs[i]));
	next.vs[i].gone = true;
	next.vs[i].unit[0] = NODE_NO_UNIT;
	memset(&next.unit[i], 0, sizeof(next.unit[i]));
	next.unit[i].gone = true;
}

/* covers: VS-157 F3 */
static void t_vs_comes_and_goes(void)
{
	char text[NODE_TEXT_MAX];

	fresh();
	next.vs_count = next.unit_count = 3;
	next.vs[2] = (struct node_conf_vs){.id = 12, .home = 2, .unit_count = 1, .fs_count = 1,
					   .unit = {2}};
	next.unit[2].id = 22;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK_EQ(VS_DOWN, n.vs[2].state);
	CHECK_EQ(2, n.unit[2].vs);
	CHECK(!n.unit[2].known);
	/* Not while it may be served, by whom ever. */
	base = next;
	goes(0);
	CHECK(node_removal_check(&n, &next, text) && strstr(text, "serve off"));
	n.conf.vs[0].off = true;
	CHECK(node_removal_check(&n, &next, text) && strstr(text, "not read yet"));
	n.unit[0].known = true;
	n.unit[0].owner = 2;
	CHECK(node_removal_check(&n, &next, text) && strstr(text, "belongs to b"));
	n.unit[0].owner = 0;
	CHECK(node_removal_check(&n, &next, text) == NULL);
	n.vs[0].state = VS_SERVING;
	CHECK(node_removal_check(&n, &next, text) && strstr(text, "released"));
	CHECK(node_reconfigure(&n, &next) != NULL);
	/* Addresses and the like only make its owner begin again. */
	next = base;
	next.vs[0].off = next.vs[1].off = true;
	next.vs[0].serving = next.vs[1].serving = 99;
	CHECK(node_removal_check(&n, &next, text) == NULL);
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK(n.vs[0].renew_ns > 0 && n.vs[1].renew_ns == 0);
	next.vs[0].fs_count = 2;
	CHECK(node_reconfigure(&n, &next) != NULL);
	base = next;
	base.vs[0].fs_count = 1;
	next = base;
	goes(0);
	n.vs[0].state = VS_DOWN;
	n.vs[0].epoch = 7;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK(n.conf.vs[0].gone && n.vs[0].epoch == 0);
	CHECK_EQ(-1, node_vs_find(&n, 10));
	CHECK_EQ(-1, node_vs_find(&n, 0));
	/* The number is used again. */
	next.vs[0] = (struct node_conf_vs){.id = 13, .home = 2, .unit_count = 1, .fs_count = 1};
	next.unit[0] = (struct node_conf_unit){.id = 23};
	n.unit[0].owner_epoch = 5;
	CHECK(node_reconfigure(&n, &next) == NULL);
	CHECK_EQ(0, node_vs_find(&n, 13));
	CHECK_EQ(0, (long long)n.unit[0].owner_epoch);
}

int main(void)
{
	CASE(t_policy);
	CASE(t_refused);
	CASE(t_nodes);
	CASE(t_vs_comes_and_goes);
	return check_end();
}
