/* t_core_restart.c - a node that begins anew: what goes first, what bars it, whose word counts. */
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;

static void order(uint16_t node, bool force)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = CONTROL_RESTART;
	ev.control.node = node;
	ev.control.force = force;
	rig_step(&r, ev);
}

static void serving(void)
{
	rig_conf(&r);
	rig_start(&r);
	rig_pass(&r, 3 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* The worker has drained and is gone. */
static void drained(void)
{
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	rig_done(&r, &r.last[ACT_WORKER_DRAIN], EV_WORKER_DRAINED, 0);
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	rig_pass(&r, T);
}

static void asks(uint32_t generation, uint8_t flags)
{
	struct status_msg m = rig_peer(&r);

	m.request = (struct status_request){.type = STATUS_REQ_RESTART, .to = 1, .flags = flags};
	m.request.vs = generation;
	m.request.id = 4;
	rig_deliver(&r, &m, 0);
}

/* Everything is drained and released before the process may go; it is said on all paths.
 * covers: OV-16 OV-28 F1 */
static void t_hands_over_first(void)
{
	serving();
	r.hold[ACT_RELEASE] = true;
	order(1, false);
	CHECK(r.last[ACT_REPLY].reply.ok);
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	CHECK_EQ(REASON_RESTART, r.n.vs[0].reason);
	CHECK_EQ(2, r.n.vs[0].move_to);
	CHECK(r.told.flags & STATUS_F_LEAVING);
	CHECK_EQ(0, r.seen[ACT_RESTART]);
	drained();
	CHECK_EQ(VS_RELEASE, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_RESTART]);
	rig_done(&r, &r.last[ACT_RELEASE], EV_RELEASED, 0);
	rig_pass(&r, T);
	CHECK_EQ(1, r.seen[ACT_RESTART]);
	CHECK(r.told.flags & STATUS_F_LEAVING);
	CHECK_EQ(1, r.seen[ACT_RESERVE]); /* and takes nothing more */
}

/* What it cannot let go of: it stays, as it was, and serves.   covers: F1 */
static void t_cannot(void)
{
	serving();
	r.hold[ACT_RELEASE] = true;
	order(0, false);
	drained();
	CHECK_EQ(0, r.seen[ACT_RESTART]);
	r.n.restart_limit_ns = r.now + T;
	rig_pass(&r, 2 * T);
	CHECK(!r.n.restarting && !r.n.leaving);
	CHECK_EQ(0, r.seen[ACT_RESTART]);
	r.hold[ACT_RELEASE] = false;
	rig_done(&r, &r.last[ACT_RELEASE], EV_RELEASED, 0);
	r.n.vs[0].move_to = 0; /* the rig's other node does not take it */
	rig_pass(&r, 40 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	/* A shutdown that comes behind it is what is done. */
	r.hold[ACT_RELEASE] = true;
	order(0, false);
	drained();
	rig_step(&r, (struct event){.type = EV_CONTROL, .control = {.verb = CONTROL_SHUTDOWN, .id = 3}});
	rig_pass(&r, T);
	rig_done(&r, &r.last[ACT_RELEASE], EV_RELEASED, 0);
	rig_pass(&r, 3 * T);
	CHECK_EQ(0, r.seen[ACT_RESTART]);
	CHECK_EQ(3, r.last[ACT_REPLY].reply.id);
}

/* Asked by another: about this instance only, so what is repeated or replayed restarts nobody.
 * covers: ST-36 ST-43 */
static void t_asked(void)
{
	serving();
	asks((uint32_t)r.n.generation - 1, STATUS_REQ_F_FORCE);
	CHECK(!r.n.restarting);
	CHECK_EQ(2, r.told.answer.result);
	CHECK_EQ(REASON_ALREADY_THERE, r.told.answer.reason);
	serving();
	asks((uint32_t)r.n.generation, 0);
	CHECK(r.n.restarting);
	CHECK_EQ(1, r.told.answer.result);
	drained();
	CHECK_EQ(1, r.seen[ACT_RESTART]);
	/* And asking: the one it knows. */
	serving();
	r.peer_generation = 12;
	rig_pass(&r, 2 * T);
	order(2, false);
	CHECK_EQ(STATUS_REQ_RESTART, r.told.request.type);
	CHECK_EQ(2, r.told.request.to);
	CHECK_EQ(12, r.told.request.vs);
	CHECK(!r.n.restarting);
}

/* A node with another version may have what was let go of in order; one with the same goes first.
 * covers: ST-53 VS-157 */
static void t_other_version(void)
{
	serving();
	r.conf.config_hash = 78; /* of the other node */
	rig_pass(&r, 2 * T);
	CHECK_EQ(REASON_CONFIG_MISMATCH, place_refuses(&r.n, 0, 2));
	CHECK_EQ(2, restart_heir(&r.n, 0, 1));
	order(1, false);
	CHECK(r.last[ACT_REPLY].reply.ok);
	CHECK_EQ(2, r.n.vs[0].move_to);
}

/* Nobody else can have it: a word with its name, over which an operator may go.
 * covers: OV-13 OV-15 */
static void t_nobody_else(void)
{
	serving();
	r.n.conf.vs[0].nodes = 1U << 1;
	order(1, false);
	CHECK(!r.last[ACT_REPLY].reply.ok);
	CHECK_EQ(REASON_NOBODY_ELSE, r.last[ACT_REPLY].reply.reason);
	CHECK_EQ(1, r.last[ACT_REPLY].reply.vetoes->count);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	asks((uint32_t)r.n.generation, 0);
	CHECK(!r.n.restarting);
	CHECK_EQ(REASON_NOBODY_ELSE, r.told.answer.reason);
	order(1, true);
	CHECK(r.last[ACT_REPLY].reply.ok);
	drained();
	CHECK_EQ(1, r.seen[ACT_RESTART]);
	/* A node that is not there, or starting, is not asked. */
	serving();
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 10 * T);
	order(2, true);
	CHECK_EQ(REASON_NOT_NORMAL, r.last[ACT_REPLY].reply.reason);
	order(3, true);
	CHECK_EQ(REASON_UNKNOWN_NODE, r.last[ACT_REPLY].reply.reason);
}

int main(void)
{
	CASE(t_hands_over_first);
	CASE(t_cannot);
	CASE(t_asked);
	CASE(t_other_version);
	CASE(t_nobody_else);
	return check_end();
}
