/* t_core_states.c - transitions, steps 213, 222 and 251 to 258, one node at a time: what the golden
 * traces show for a whole cluster is held here branch by branch. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;

static void order(enum control_verb verb, uint16_t node, bool force)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = verb;
	ev.control.node = node;
	ev.control.force = force;
	rig_step(&r, ev);
}

/* S of v1's unit, as the rig's shell reads it. */
static void unit_says(uint16_t owner, uint64_t epoch)
{
	struct event ev = {.type = EV_UNIT_READ, .op = r.last[ACT_UNIT_READ].op};

	CHECK(r.n.unit[0].read_op == ev.op && ev.op);
	ev.unit_state.owner = owner;
	ev.unit_state.owner_epoch = epoch;
	rig_step(&r, ev);
}

static void other_serves(void)
{
	rig_conf(&r);
	r.conf.vs[0].home = 2;
	r.peer_serves = true;
	r.hold[ACT_UNIT_READ] = true;
	rig_start(&r);
	unit_says(2, 1);
	CHECK_EQ(NODE_NORMAL, r.n.state);
}

/* 211: the other is NORMAL too; nothing changes, whatever time passes.   covers: ST-54 */
static void t_211(void)
{
	other_serves();
	rig_pass(&r, 100 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	CHECK_EQ(0, r.n.peer[0].step);
}

/* The wait of 213b exceeds the mailbox interval plus the time to stop; nothing is reserved before.
 * covers: ST-57 ST-58 ST-59 AM-08 */
static void t_213_in_order(void)
{
	uint64_t begun = 0;

	other_serves();
	r.peer_net = r.peer_slot = false;
	while (!r.seen[ACT_RESERVE]) {
		rig_pass(&r, T / 4);
		if (r.n.peer[0].step == 'a' || r.n.peer[0].step == 'b') {
			begun = begun ? begun : r.n.peer[0].step_ns;
			CHECK_EQ(STATUS_TAKEOVER, r.told.indicator);
			CHECK_EQ(0, r.seen[ACT_RESERVE]);
		}
	}
	CHECK(begun && r.now >= begun + r.n.conf.times.wait_ns);
	CHECK(r.n.conf.times.wait_ns > r.n.conf.times.slot_write_ns + r.n.conf.times.slot_read_ns +
					   r.n.conf.times.drift_ns);
	CHECK_EQ(NODE_TAKEOVER, r.n.state);
}

/* The resource may be anything that one of several has at a time: here it holds no file system at all, and
 * the nodes are two of many.  covers: ST-92 */
static void t_any_resource(void)
{
	rig_conf(&r);
	r.conf.vs[0].fs_count = 0;
	r.conf.vs[0].home = 2;
	r.conf.node_count = 3;
	r.conf.node[2] = (struct node_conf_peer){.id = 8, .name = "n8"};
	CHECK(node_conf_check(&r.conf) == NULL);
	r.peer_serves = true;
	r.hold[ACT_UNIT_READ] = true;
	rig_start(&r);
	unit_says(2, 1);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 10 * T);
	CHECK_EQ(1, r.seen[ACT_RESERVE]);
	CHECK_EQ(NODE_TAKEOVER, r.n.state);
	CHECK_EQ(1, node_vs_owner(&r.n, 0));
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(0, r.told.vs[0].fs_count);
}

/* One sign of life before c: nothing was touched, back to NORMAL.   covers: ST-61 */
static void t_213_given_up(void)
{
	other_serves();
	r.peer_net = r.peer_slot = false;
	while (r.n.peer[0].step == 0)
		rig_pass(&r, T / 4);
	r.peer_net = true;
	rig_pass(&r, 10 * T);
	CHECK_EQ(0, r.n.peer[0].step);
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ(STATUS_NORMAL, r.told.indicator);
}

/* Persistent memory that cannot be written: this node takes nothing until it can be.
 * covers: ST-53 ST-47 ST-63 */
static void t_memory_lost(void)
{
	struct event ev = {.type = EV_CONTROL};

	other_serves();
	r.hold[ACT_PERSIST] = true;
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = INHIBIT_MINE;
	ev.control.on = true;
	rig_step(&r, ev);
	rig_done(&r, &r.last[ACT_PERSIST], EV_PERSISTED, -EIO);
	CHECK_EQ(-EIO, r.n.memory_err);
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 9 * T);
	CHECK_EQ(REASON_MEMORY, r.n.peer[0].blocked);
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	r.hold[ACT_PERSIST] = false;
	rig_pass(&r, 20 * T);
	CHECK_EQ(0, r.n.memory_err);
	CHECK_EQ(NODE_TAKEOVER, r.n.state);
}

/* Both announce in the same interval: the smaller id goes on, the greater stops.
 * covers: AM-28 ST-93 ST-99 */
static void t_both_announce(void)
{
	for (unsigned self = 1; self <= 2; self++) {
		struct status_msg m;

		other_serves();
		if (self == 2) /* the partner, node 2, is the smaller one */
			r.n.conf.self = 3;
		r.n.conf.reboot_manual = true;
		order(CONTROL_TAKEOVER, 2, true);
		CHECK(r.n.peer[0].step == 'a' || r.n.peer[0].step == 'b');
		m = rig_peer(&r);
		m.indicator = STATUS_TAKEOVER;
		m.peer_count = 1;
		m.peer[0] = (struct status_peer){.node = r.n.conf.self, .verdict = STATUS_V_DEAD,
						 .takeover = 'a'};
		m.peer[0].generation = r.n.generation;
		rig_deliver(&r, &m, 0);
		CHECK_EQ(self == 1 ? NODE_NORMAL : NODE_STOPPED, r.n.state);
	}
}

/* covers: ST-71 ST-72 ST-74 */
static void t_231_by_hand(void)
{
	struct event ev = {.type = EV_UNIT_POLL};

	rig_conf(&r);
	r.conf.reboot_manual = true;
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	order(CONTROL_REBOOT, 0, false); /* refused while it runs, and not kept for later */
	ev.epoch = r.n.unit[0].owner_epoch;
	ev.poll.result = POLL_LOST;
	rig_step(&r, ev);
	rig_pass(&r, 100 * T);
	CHECK_EQ(NODE_STOPPED, r.n.state);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	order(CONTROL_REBOOT, 0, false);
	rig_pass(&r, 5 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ(2, r.n.generation);
	CHECK(r.told.flags & STATUS_F_RECOVERY);
}

/* 252 with standby off: unable to write its storage, it asks for a giveback and waits for it.
 * covers: ST-76 ST-80 ST-81 AM-02 AM-06 */
static void t_252_waits(void)
{
	rig_conf(&r);
	r.conf.standby_off = true;
	r.peer_serves = r.hold[ACT_UNIT_READ] = true;
	node_init(&r.n, &r.conf, r.now);
	rig_pass(&r, T);
	unit_says(2, 3);
	for (unsigned i = 0; i < 20; i++) {
		rig_pass(&r, 5 * T);
		if (r.n.unit[0].read_op)
			unit_says(2, 3);
		CHECK_EQ(NODE_REBOOTING, r.n.state);
		CHECK(r.n.waiting && r.n.prompted);
		CHECK(r.told.flags & STATUS_F_WAITING);
		CHECK_EQ(STATUS_REBOOTING, r.told.indicator);
	}
	r.peer_serves = false;
	while (!r.n.unit[0].read_op)
		rig_pass(&r, T);
	unit_says(0, 3);
	rig_pass(&r, 5 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK(!(r.told.flags & STATUS_F_WAITING));
}

/* ... and without (decision 0006) it is a standby at once, and says so.   covers: ST-80 AM-02 */
static void t_252_stands_by(void)
{
	rig_conf(&r);
	r.peer_serves = r.hold[ACT_UNIT_READ] = true;
	node_init(&r.n, &r.conf, r.now);
	rig_pass(&r, T);
	unit_says(2, 3);
	rig_pass(&r, T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK(r.n.prompted && node_wants_giveback(&r.n));
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
}

/* The holder waits for its partner in REBOOTING: giveback is allowed to exactly that one.
 * covers: ST-65 ST-81 */
static void t_giveback_to_one_that_waits(void)
{
	struct status_msg m;

	for (unsigned waits = 0; waits < 2; waits++) {
		rig_conf(&r);
		rig_start(&r);
		r.n.conf.vs[0].home = 2;
		r.peer_net = false;
		m = rig_peer(&r);
		m.state = NODE_REBOOTING;
		m.indicator = STATUS_REBOOTING;
		m.flags = waits ? STATUS_F_WAITING : 0;
		rig_deliver(&r, &m, 0);
		order(CONTROL_GIVEBACK, 2, false);
		CHECK_EQ(waits ? VS_DRAIN : VS_SERVING, r.n.vs[0].state);
	}
}

static void give_back(void)
{
	rig_conf(&r);
	rig_start(&r);
	r.n.conf.vs[0].home = 2;
	order(CONTROL_GIVEBACK, 2, false);
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	rig_step(&r, (struct event){.type = EV_WORKER_DRAINED, .epoch = r.n.vs[0].epoch});
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(2, r.n.giveback_to);
}

/* 222: released, NORMAL said, 212 barred; then the other has it and it is over.
 * covers: ST-67 ST-68 ST-69 ST-70 FO-54 */
static void t_222(void)
{
	give_back();
	rig_pass(&r, 2 * T);
	CHECK_EQ(STATUS_NORMAL, r.told.indicator);
	CHECK(r.told.flags & STATUS_F_BAR);
	CHECK_EQ(2, r.told.bar_node);
	CHECK_EQ(2, r.n.giveback_to);
	r.peer_serves = true;
	r.n.unit[0].owner_epoch = 0;
	rig_pass(&r, 2 * T);
	CHECK_EQ(0, r.n.giveback_to);
	CHECK(!(r.told.flags & STATUS_F_BAR));
}

/* It never comes: taken again when an operator says so, or when the time is over.
 * covers: AM-07 */
static void t_222_ends(void)
{
	give_back();
	rig_pass(&r, 5 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	order(CONTROL_CANCEL, 2, false);
	CHECK_EQ(0, r.n.giveback_to);
	rig_pass(&r, 3 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);

	give_back();
	r.n.conf.times.giveback_wait_ns = 20 * T;
	rig_pass(&r, 15 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	rig_pass(&r, 10 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* 710 to 725: asked, then by force when the countdown is over and not before; over at once when it
 * released everything; or cancelled.   covers: FO-70 FO-72 FO-73 FO-75 OV-16 */
static void t_countdown(void)
{
	other_serves();
	r.n.conf.times.countdown_ns = 30 * T;
	order(CONTROL_TAKEOVER, 2, false);
	CHECK_EQ(STATUS_REQ_PLEASE_SHUTDOWN, r.n.request.type);
	rig_pass(&r, 28 * T);
	CHECK_EQ(0, r.n.peer[0].step);
	CHECK(!r.n.peer[0].forced);
	rig_pass(&r, 8 * T);
	CHECK(r.seen[ACT_RESERVE] > 0);
	CHECK_EQ(RESERVE_VICTIM, r.last[ACT_RESERVE].reserve.mode);

	other_serves();
	order(CONTROL_TAKEOVER, 2, false);
	r.peer_serves = false;
	r.peer_released = true;
	rig_pass(&r, 5 * T);
	CHECK_EQ(0, r.n.peer[0].countdown_ns);
	CHECK(r.seen[ACT_RESERVE] > 0);
	CHECK_EQ(RESERVE_FREE, r.last[ACT_RESERVE].reserve.mode);

	other_serves();
	r.n.conf.times.countdown_ns = 30 * T;
	order(CONTROL_TAKEOVER, 2, false);
	order(CONTROL_CANCEL, 2, false);
	rig_pass(&r, 60 * T);
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
}

/* A clock that went back further than a lease allows for.   covers: F4 */
static void t_clock_went_back(void)
{
	rig_conf(&r);
	r.conf.reboot_manual = true;
	rig_start(&r);
	r.now -= r.n.conf.times.drift_ns / 2;
	rig_step(&r, (struct event){.type = EV_TICK});
	CHECK_EQ(NODE_NORMAL, r.n.state);
	r.now -= 2 * r.n.conf.times.drift_ns;
	rig_step(&r, (struct event){.type = EV_TICK});
	CHECK_EQ(1, r.seen[ACT_SELF_FENCE]);
	CHECK_EQ(NODE_STOPPED, r.n.state);
	CHECK_EQ(0, r.last[ACT_LEASE].lease.until_ns);
}

/* What cannot be true makes TILT, and TILT bars takeover; it ends by itself.   covers: OV-10 */
static void t_view_impossible(void)
{
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	m = rig_peer(&r);
	m.peer_count = 1;
	m.peer[0] = (struct status_peer){.node = 1, .verdict = STATUS_V_ALIVE};
	m.peer[0].generation = r.n.generation;
	m.peer[0].acked = r.n.sequence + 5;
	rig_deliver(&r, &m, 0);
	CHECK(r.n.tilt);
	rig_pass(&r, T);
	CHECK(r.told.flags & STATUS_F_TILT);
	CHECK_EQ(REASON_TILT, takeover_blocked(&r.n, &r.n.peer[0]));
	rig_pass(&r, 6 * T);
	CHECK(!r.n.tilt);
	r.peer_serves = true; /* at epoch 1, as here */
	rig_pass(&r, T);
	CHECK(r.n.tilt);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

int main(void)
{
	CASE(t_211);
	CASE(t_213_in_order);
	CASE(t_any_resource);
	CASE(t_213_given_up);
	CASE(t_memory_lost);
	CASE(t_both_announce);
	CASE(t_231_by_hand);
	CASE(t_252_waits);
	CASE(t_252_stands_by);
	CASE(t_giveback_to_one_that_waits);
	CASE(t_222);
	CASE(t_222_ends);
	CASE(t_countdown);
	CASE(t_clock_went_back);
	CASE(t_view_impossible);
	return check_end();
}
