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
	next.vs_count = 1;
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

int main(void)
{
	CASE(t_policy);
	CASE(t_refused);
	CASE(t_nodes);
	return check_end();
}
