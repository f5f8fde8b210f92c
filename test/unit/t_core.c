/* t_core.c - the brain, one node alone: a rig plays its shell, its disks and its partner.
 *
 * Whole clusters are the business of the golden traces and of the simulator; here are the rules
 * that one node can be held to by itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;

/* covers: ST-07 OV-14 OV-19 OV-27 */
static void t_home_serves(void)
{
	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_OPEN]);
	CHECK(r.last[ACT_LEASE].lease.until_ns > r.now);
	CHECK_EQ(1, node_vs_owner(&r.n, 0));
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
}

/* The port opens last: with each step held back, none after it is begun.
 * covers: OV-27 FO-44 VS-141 VS-142 */
static void t_order_up(void)
{
	static const enum act_type order[] = {ACT_RESERVE, ACT_MOUNT, ACT_WORKER_START,
					      ACT_ADDRESS_UP, ACT_OPEN};

	for (unsigned i = 0; i < 5; i++) {
		rig_conf(&r);
		r.hold[order[i]] = true;
		rig_start(&r);
		for (unsigned k = 0; k < 5; k++)
			CHECK_EQ(k <= i, r.seen[order[k]]);
	}
}

/* covers: OV-28 VS-136 VS-140 FO-49 FO-54 */
static void t_order_down(void)
{
	struct event ev = {.type = EV_CONTROL};

	rig_conf(&r);
	rig_start(&r);
	ev.control.id = 1;
	ev.control.verb = CONTROL_VS_MOVE;
	ev.control.node = 2;
	ev.control.vs_id = node_name_id("v1");
	rig_step(&r, ev);
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_ADDRESS_DOWN]);
	r.hold[ACT_ADDRESS_DOWN] = true;
	rig_step(&r, (struct event){.type = EV_WORKER_DRAINED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(VS_EXIT, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_ADDRESS_DOWN]);
	CHECK_EQ(0, r.seen[ACT_UNMOUNT]);
	rig_done(&r, &r.last[ACT_ADDRESS_DOWN], EV_ADDRESSES_DOWN, 0);
	CHECK_EQ(0, r.seen[ACT_UNMOUNT]); /* the worker still lives */
	r.hold[ACT_RELEASE] = true;
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(1, r.seen[ACT_UNMOUNT]);
	CHECK_EQ(VS_RELEASE, r.n.vs[0].state);
	rig_done(&r, &r.last[ACT_RELEASE], EV_RELEASED, 0);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK(r.n.vs[0].released);
}

/* covers: ST-36 ST-37 ST-106 */
static void t_generation_grows(void)
{
	static uint8_t memory[SLOT_SIZE];
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(1, r.n.generation);
	memcpy(memory, r.n.persist_buf, SLOT_SIZE);
	slot_finish(memory);
	for (uint64_t want = 2; want < 5; want++) {
		rig_conf(&r);
		r.conf.persisted = memory;
		rig_start(&r);
		CHECK_EQ((long long)want, (long long)r.n.generation);
		memcpy(memory, r.n.persist_buf, SLOT_SIZE);
		slot_finish(memory);
	}
	rig_conf(&r); /* memory lost: the slot knows */
	m = rig_peer(&r);
	m.sender = 1;
	m.generation = 41;
	rig_put_slot(&r, 1, &m);
	rig_start(&r);
	CHECK_EQ(42, r.n.generation);
}

/* Neither memory nor a slot can be read: a used generation might come again; 241.
 * covers: ST-75 */
static void t_no_generation_no_start(void)
{
	rig_conf(&r);
	r.disk_read = false;
	rig_start(&r);
	rig_pass(&r, 20 * T);
	CHECK_EQ(NODE_REBOOTING, r.n.state);
	CHECK_EQ(0, r.seen[ACT_SLOT_WRITE]);
	CHECK_EQ(0, r.seen[ACT_SEND]);
	r.disk_read = true;
	rig_pass(&r, 5 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
}

/* covers: F4 */
static void t_lease_from_start_of_write(void)
{
	uint64_t begun;

	rig_conf(&r);
	rig_start(&r);
	r.peer_net = r.peer_slot = false;
	r.hold[ACT_SLOT_WRITE] = true;
	while (!r.n.device[0].write_op)
		rig_pass(&r, T / 10);
	begun = r.n.device[0].write_begun_ns;
	rig_pass(&r, T);
	rig_done(&r, &r.last[ACT_SLOT_WRITE], EV_SLOT_WRITTEN, 0);
	CHECK_EQ((long long)(begun + 3 * T), (long long)r.n.lease_until_ns);
}

/* A write that completes after the lapse does not lengthen the lease; the vs comes back only by
 * RESERVE (keep) with a new epoch.   covers: F3 F4 */
static void t_lapse_is_final(void)
{
	uint64_t chain, epoch;

	rig_conf(&r);
	rig_start(&r);
	r.peer_net = false;
	rig_pass(&r, T);
	chain = r.n.chain;
	epoch = r.n.vs[0].epoch;
	r.hold[ACT_SLOT_WRITE] = true;
	while (!r.n.device[0].write_op)
		rig_pass(&r, T / 10);
	rig_pass(&r, 4 * T);
	CHECK(r.n.lease_lapsed);
	CHECK_EQ((long long)chain + 1, (long long)r.n.chain);
	CHECK_EQ(VS_RETAKE, r.n.vs[0].state);
	CHECK_EQ(0, (long long)r.last[ACT_LEASE].lease.until_ns);
	CHECK_EQ(1, r.seen[ACT_WORKER_KILL]);
	rig_done(&r, &r.last[ACT_SLOT_WRITE], EV_SLOT_WRITTEN, 0);
	CHECK(r.n.lease_lapsed);
	r.hold[ACT_SLOT_WRITE] = false;
	rig_pass(&r, T);
	CHECK(!r.n.lease_lapsed);
	CHECK_EQ(RESERVE_KEEP, r.last[ACT_RESERVE].reserve.mode);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK(r.n.vs[0].epoch > epoch);
	CHECK_EQ(1, r.seen[ACT_MOUNT]);
	CHECK_EQ(1, r.seen[ACT_ADDRESS_UP]);
}

/* The addresses failed to go up while the lease lapsed: served in the end with addresses, not without. */
static void t_address_fails_in_a_lapse(void)
{
	rig_conf(&r);
	r.hold[ACT_ADDRESS_UP] = true;
	rig_start(&r);
	rig_pass(&r, T);
	CHECK_EQ(VS_ADDRESS, r.n.vs[0].state);
	r.peer_net = false;
	r.hold[ACT_SLOT_WRITE] = true;
	rig_pass(&r, 5 * T);
	CHECK_EQ(VS_RETAKE, r.n.vs[0].state);
	r.hold[ACT_ADDRESS_UP] = false;
	rig_done(&r, &r.last[ACT_ADDRESS_UP], EV_ADDRESSES_UP, -EADDRINUSE);
	r.hold[ACT_SLOT_WRITE] = false;
	rig_done(&r, &r.last[ACT_SLOT_WRITE], EV_SLOT_WRITTEN, 0);
	rig_pass(&r, 5 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(2, r.seen[ACT_ADDRESS_UP]);
}

/* Losing the coordination devices alone never stops service.   covers: V1 */
static void t_lease_by_acknowledgement(void)
{
	rig_conf(&r);
	r.acks = true;
	rig_start(&r);
	r.disk_write = r.disk_read = r.peer_slot = false;
	rig_pass(&r, 20 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_RESERVE]);
	CHECK(!node_has_majority(&r.n));
	r.peer_net = false; /* and now nobody vouches for me */
	rig_pass(&r, 4 * T);
	CHECK(r.n.vs[0].state != VS_SERVING);
}

static void t_stale_completion(void)
{
	struct event ev = {.type = EV_RESERVED, .epoch = 9};

	rig_conf(&r);
	r.hold[ACT_RESERVE] = true;
	rig_start(&r);
	CHECK_EQ(VS_RESERVE, r.n.vs[0].state);
	ev.op = r.n.vs[0].op - 1;
	ev.unit_state.result = RESERVE_WON;
	rig_step(&r, ev);
	CHECK_EQ(VS_RESERVE, r.n.vs[0].state);
	CHECK(!r.n.unit[0].held);
	rig_reserved(&r, &r.last[ACT_RESERVE], RESERVE_WON);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	ev.op = 0;
	ev.type = EV_MOUNTED;
	rig_step(&r, ev);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* covers: F2 F3 */
static void t_lost_reservation_is_lost(void)
{
	rig_conf(&r);
	r.hold[ACT_RESERVE] = true;
	rig_start(&r);
	r.hold[ACT_UNIT_READ] = true;
	rig_reserved(&r, &r.last[ACT_RESERVE], RESERVE_LOST);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_MOUNT]);
	CHECK_EQ(2, r.n.unit[0].owner);
}

/* The owner looks at its reservation and stops when it is not its own; the node goes passive and
 * comes back as a standby with a new generation.   covers: F2 AM-26 ST-71 ST-73 ST-74 */
static void t_poll_lost(void)
{
	uint64_t generation;

	rig_conf(&r);
	rig_start(&r);
	generation = r.n.generation;
	r.hold[ACT_WORKER_KILL] = r.hold[ACT_RESERVE] = true;
	rig_poll(&r, POLL_LOST);
	CHECK_EQ(NODE_STOPPED, r.n.state);
	CHECK_EQ(0, (long long)r.last[ACT_LEASE].lease.until_ns);
	CHECK_EQ(1, r.seen[ACT_WORKER_KILL]);
	CHECK_EQ(0, r.seen[ACT_UNMOUNT]);
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(1, r.seen[ACT_UNMOUNT]);
	rig_pass(&r, 2 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK_EQ((long long)generation + 1, (long long)r.n.generation);
}

/* What cannot be unmounted ends in a reboot.   covers: F1 */
static void t_stuck(void)
{
	rig_conf(&r);
	rig_start(&r);
	r.hold[ACT_UNMOUNT] = true;
	rig_poll(&r, POLL_LOST);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(0, r.seen[ACT_SELF_FENCE]);
		rig_done(&r, &r.last[ACT_UNMOUNT], EV_UNMOUNTED, -EBUSY);
	}
	CHECK_EQ(1, r.seen[ACT_SELF_FENCE]);
	CHECK_EQ(VS_STUCK, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_RELEASE]);
}

/* covers: ST-90 ST-91 OV-10 V1 V2 ST-17 ST-49 ST-52 ST-103 VS-40 VS-47 */
static void t_verdict(void)
{
	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(STATUS_V_ALIVE, r.n.peer[0].verdict);
	r.peer_net = false;
	rig_pass(&r, 30 * T);
	CHECK_EQ(STATUS_V_UNREACHABLE, r.n.peer[0].verdict);
	r.peer_slot = false;
	rig_pass(&r, 10 * T);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
	rig_conf(&r);
	rig_start(&r);
	r.peer_net = r.peer_slot = r.disk_read = r.disk_write = false;
	rig_pass(&r, 30 * T);
	CHECK_EQ(STATUS_V_SILENT, r.n.peer[0].verdict);
	rig_conf(&r);
	rig_start(&r);
	r.peer_net = r.peer_slot = r.disk_write = false; /* reading alone proves nothing */
	rig_pass(&r, 30 * T);
	CHECK_EQ(STATUS_V_SILENT, r.n.peer[0].verdict);
}

/* Who stood still knows nothing: no verdict from old timers.   covers: OV-10 */
static void t_tilt(void)
{
	rig_conf(&r);
	rig_start(&r);
	r.peer_net = r.peer_slot = false;
	r.now += 50 * T;
	rig_step(&r, (struct event){.type = EV_TICK});
	CHECK(r.n.tilt);
	rig_pass(&r, 2 * T);
	CHECK(r.n.peer[0].verdict != STATUS_V_DEAD);
	rig_pass(&r, 4 * T);
	CHECK(!r.n.tilt);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
}

/* covers: ST-42 ST-43 ST-44 OV-32 */
static void t_replayed_messages(void)
{
	struct status_msg old, m;

	rig_conf(&r);
	rig_start(&r);
	old = rig_peer(&r);
	rig_deliver(&r, &old, 0);
	r.peer_net = r.peer_slot = false;
	for (unsigned i = 0; i < 100; i++) {
		rig_pass(&r, T / 2);
		rig_deliver(&r, &old, 0);
	}
	CHECK(r.n.peer[0].verdict == STATUS_V_DEAD);
	CHECK(r.n.peer[0].replays >= 100);
	CHECK_EQ((long long)r.n.peer[0].replays, (long long)r.n.drops.n[0][DROP_REPLAYED]);
	m = rig_peer(&r); /* an older instance, with a greater sequence number */
	m.generation--;
	rig_deliver(&r, &m, 0);
	CHECK(r.n.peer[0].verdict == STATUS_V_DEAD);
	m.generation += 2;
	m.sequence = 1;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(STATUS_V_ALIVE, r.n.peer[0].verdict);
}

/* What it says of itself and of the other, message by message.
 * covers: ST-30 ST-36 ST-38 ST-39 ST-40 ST-41 VS-35 */
static void t_what_is_sent(void)
{
	uint64_t last;

	rig_conf(&r);
	rig_start(&r);
	for (unsigned i = 0; i < 20; i++) {
		last = r.told.sequence;
		rig_pass(&r, T);
		CHECK_EQ(1, r.told.sender);
		CHECK_EQ(STATUS_VERSION, r.told.version);
		CHECK_EQ((long long)r.n.generation, (long long)r.told.generation);
		CHECK(r.told.sequence > last);
		CHECK_EQ(1, r.told.peer_count);
		CHECK_EQ(2, r.told.peer[0].node);
		CHECK_EQ(5, (long long)r.told.peer[0].generation);
		CHECK(r.told.peer[0].acked > 0 && r.told.peer[0].acked <= r.peer_sequence);
	}
	last = r.told.peer[0].acked;
	CHECK(last + 8 > r.peer_sequence); /* the newest, give or take what came since */
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 2 * T);
	last = r.told.peer[0].acked;
	rig_pass(&r, 2 * T);
	CHECK_EQ((long long)last, (long long)r.told.peer[0].acked);
	r.peer_generation = 6; /* a new instance begins anew */
	r.peer_sequence = 0;
	r.peer_net = true;
	rig_pass(&r, 2 * T);
	CHECK_EQ(6, (long long)r.told.peer[0].generation);
	CHECK(r.told.peer[0].acked <= r.peer_sequence);
}

/* What the three kinds of paths carry differs in its wrapping alone; on the network it goes to the clients'
 * network and to the interconnect.  covers: ST-15 ST-14 FO-12 */
static void t_one_payload(void)
{
	static struct actions out;
	struct event ev = {.type = EV_CONTROL};
	struct status_msg m, first;
	struct slot s;
	uint8_t sector[SLOT_SIZE];
	unsigned seen = 0;

	rig_conf(&r);
	r.conf.memory = true;
	r.conf.path_count = 2;
	rig_start(&r);
	rig_pass(&r, 6 * T);
	ev.control.id = 9;
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = INHIBIT_MINE;
	ev.control.on = true;
	for (unsigned i = 0; i < 100 && seen != 15; i++) {
		ev.now_ns = r.now += T / 20;
		node_step(&r.n, &ev, &out);
		ev = (struct event){.type = EV_TICK};
		for (unsigned k = 0; k < out.count; k++) {
			const struct action *a = &out.a[k];
			unsigned kind = a->type == ACT_SEND	      ? 1U << a->send.path
					: a->type == ACT_SLOT_WRITE   ? 4
					: a->type == ACT_MEMORY_WRITE ? 8
								      : 0;

			if (!kind)
				continue;
			if (kind == 4) {
				memcpy(sector, a->slot.sector, SLOT_SIZE);
				slot_finish(sector);
				CHECK_EQ(0, slot_decode(&s, sector));
				CHECK_EQ(0, status_decode(&m, s.payload, s.payload_len));
			} else {
				CHECK_EQ(0, status_decode(&m, a->send.data, a->send.len));
			}
			if (m.indicator != STATUS_NO_TAKEOVER)
				continue; /* from before */
			m.sequence = m.sent_ns = m.peer[0].acked = 0;
			m.memory_count = 0;
			if (seen)
				CHECK(memcmp(&m, &first, sizeof(m)) == 0);
			first = m;
			seen |= kind;
		}
		for (unsigned k = 0; k < out.count; k++)
			if (out.a[k].type == ACT_SLOT_WRITE)
				rig_done(&r, &out.a[k], EV_SLOT_WRITTEN, 0);
	}
	CHECK_EQ(15, seen);
}

static void t_garbage_is_counted(void)
{
	struct event ev = {.type = EV_MSG};
	uint8_t bytes[300];

	rig_conf(&r);
	rig_start(&r);
	ev.msg.from = 2;
	ev.msg.data = bytes;
	for (unsigned i = 0; i < 300; i++) {
		memset(bytes, (int)i, sizeof(bytes));
		ev.msg.len = i;
		rig_step(&r, ev);
	}
	CHECK_EQ(300, (long long)r.n.peer[0].bad_messages);
	CHECK_EQ(300, (long long)r.n.drops.n[0][DROP_MALFORMED]);
	ev.msg.from = 1; /* reflected */
	rig_step(&r, ev);
	CHECK_EQ(1, (long long)r.n.drops.n[0][DROP_SENDER]);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* covers: ST-58 ST-101 ST-102 AM-28 */
static void t_taken_over(void)
{
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	m = rig_peer(&r);
	m.indicator = STATUS_TAKEOVER;
	m.peer_count = 1;
	m.peer[0] = (struct status_peer){.node = 1, .verdict = STATUS_V_DEAD, .takeover = 'a'};
	m.peer[0].generation = r.n.generation - 1; /* about another instance */
	rig_deliver(&r, &m, 0);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	r.hold[ACT_WORKER_KILL] = true;
	m.peer[0].generation = r.n.generation;
	m.sequence = ++r.peer_sequence;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(NODE_STOPPED, r.n.state);
	CHECK_EQ(1, r.seen[ACT_WORKER_KILL]);
}

/* covers: ST-53 ST-56 OV-15 */
static void t_disable_bars_takeover(void)
{
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	m = rig_peer(&r);
	r.peer_net = r.peer_slot = false;
	m.indicator = STATUS_NO_TAKEOVER;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(REASON_NO_TAKEOVER, takeover_blocked(&r.n, &r.n.peer[0]));
	m.indicator = STATUS_NORMAL;
	m.sequence = ++r.peer_sequence;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(REASON_NONE, takeover_blocked(&r.n, &r.n.peer[0]));
	m.config_hash++;
	m.sequence = ++r.peer_sequence;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(REASON_CONFIG_MISMATCH, takeover_blocked(&r.n, &r.n.peer[0]));
}

static void order(enum control_verb verb, enum inhibit_scope scope, bool on)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = verb;
	ev.control.scope = scope;
	ev.control.on = on;
	rig_step(&r, ev);
	rig_pass(&r, 2 * T);
}

/* The vs is at home on n2, which serves it. */
static void other_serves(void)
{
	rig_conf(&r);
	r.conf.vs[0].home = 2;
	r.peer_serves = true;
	rig_start(&r);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(STATUS_NORMAL, r.told.indicator);
}

static void other_dies(void)
{
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 20 * T);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
}

/* NORMAL while nothing is taken, TAKEOVER for as long as the storage of another is held.
 * covers: ST-32 ST-33 */
static void t_indicator_takeover(void)
{
	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(STATUS_NORMAL, r.told.indicator);

	other_serves();
	other_dies();
	CHECK_EQ(NODE_TAKEOVER, r.n.state);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(STATUS_TAKEOVER, r.told.indicator);
	rig_pass(&r, 20 * T);
	CHECK_EQ(STATUS_TAKEOVER, r.told.indicator);
}

/* DISABLE: said in every message and obeyed by both sides, by the one that says it ...
 * covers: ST-35 */
static void t_indicator_disable(void)
{
	other_serves();
	order(CONTROL_INHIBIT, INHIBIT_CLUSTER, true);
	CHECK_EQ(STATUS_DISABLE, r.told.indicator);
	other_dies();
	CHECK_EQ(STATUS_DISABLE, r.told.indicator);
	CHECK_EQ(REASON_DISABLED, takeover_blocked(&r.n, &r.n.peer[0]));
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	order(CONTROL_INHIBIT, INHIBIT_CLUSTER, false);
	rig_pass(&r, 10 * T);
	CHECK_EQ(NODE_TAKEOVER, r.n.state);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* ... and by the one that heard it, also after the sayer died.   covers: ST-35 */
static void t_indicator_disable_heard(void)
{
	struct status_msg m;

	other_serves();
	m = rig_peer(&r);
	m.indicator = STATUS_DISABLE;
	rig_deliver(&r, &m, 0);
	other_dies();
	CHECK_EQ(REASON_DISABLED, takeover_blocked(&r.n, &r.n.peer[0]));
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	CHECK_EQ(NODE_NORMAL, r.n.state);
}

/* A worker that crashes is restarted in place; one that keeps crashing is quarantined. */
static void t_crash_loop(void)
{
	rig_conf(&r);
	rig_start(&r);
	for (unsigned i = 1; i < r.conf.times.crash_limit; i++) {
		rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
		CHECK_EQ(VS_SERVING, r.n.vs[0].state);
		CHECK_EQ(RESERVE_KEEP, r.last[ACT_RESERVE].reserve.mode);
		CHECK_EQ(1, r.seen[ACT_MOUNT]);
	}
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK(r.n.vs[0].failed);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(REASON_CRASH_LOOP, r.n.vs[0].reason);
	rig_pass(&r, 200 * T);
	CHECK_EQ(VS_DOWN,
		 r.n.vs[0].state); /* the partner does not have it, it is not mine to try */
}

/* The last attempt before quarantine begins with a look at the stores. */
static void t_crash_then_repair(void)
{
	rig_conf(&r);
	rig_start(&r);
	for (unsigned i = 1; i < r.conf.times.crash_limit; i++) {
		CHECK_EQ(0, r.seen[ACT_REPAIR]);
		rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	}
	CHECK_EQ(1, r.seen[ACT_REPAIR]);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

static void damage_of(unsigned fs, bool below)
{
	struct event ev = {.type = EV_FS, .epoch = r.n.vs[0].epoch};

	ev.fs.fs = fs;
	ev.fs.state = STATUS_FS_DAMAGED;
	ev.fs.below = below;
	rig_step(&r, ev);
}

static void damage(bool below)
{
	damage_of(0, below);
}

/* covers: VS-152 VS-153 VS-154 - closed, repaired, opened, with the addresses where they are. */
static void t_damage_is_repaired(void)
{
	uint64_t epoch;

	rig_conf(&r);
	rig_start(&r);
	epoch = r.n.vs[0].epoch;
	r.hold[ACT_REPAIR] = true;
	damage(false);
	CHECK_EQ(VS_REPAIR, r.n.vs[0].state);
	CHECK_EQ(REASON_DAMAGED, r.n.vs[0].reason);
	CHECK_EQ(RESERVE_KEEP, r.last[ACT_RESERVE].reserve.mode);
	CHECK(!r.last[ACT_REPAIR].repair.below);
	CHECK_EQ(0, (long long)r.last[ACT_LEASE].lease.until_ns);
	CHECK_EQ(STATUS_FS_DAMAGED, r.n.vs[0].fs_state[0]);
	rig_pass(&r, 600 * T); /* as long as it takes */
	CHECK_EQ(VS_REPAIR, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_ADDRESS_DOWN]);
	CHECK_EQ(1, r.seen[ACT_WORKER_START]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_ADDRESS_UP]);
	CHECK_EQ(2, r.seen[ACT_WORKER_START]);
	CHECK(r.n.vs[0].epoch > epoch);
	CHECK_EQ(1, (long long)r.n.vs[0].repairs);
	CHECK_EQ(STATUS_FS_UP, r.n.vs[0].fs_state[0]);
	damage(true);
	CHECK(r.last[ACT_REPAIR].repair.below);
}

/* A second virtual server, on a unit of its own. */
static void another(void)
{
	rig_conf(&r);
	r.conf.vs_count = r.conf.unit_count = 2;
	r.conf.vs[1] = r.conf.vs[0];
	snprintf(r.conf.vs[1].name, sizeof(r.conf.vs[1].name), "v2");
	r.conf.vs[1].id = node_name_id("v2");
	r.conf.vs[1].unit[0] = 1;
}

/* covers: VS-156 - who has no part in it is served on, its worker and its lease as they were. */
static void t_damage_is_one_vservers(void)
{
	uint64_t epoch, lease;

	another();
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[1].state);
	epoch = r.n.vs[1].epoch;
	r.hold[ACT_REPAIR] = true;
	damage(false);
	CHECK_EQ(VS_REPAIR, r.n.vs[0].state);
	for (unsigned i = 0; i < 100; i++) {
		rig_step(&r, (struct event){.type = EV_UNIT_POLL, .epoch = r.n.unit[1].owner_epoch, .unit = 1,
					    .poll = {.result = POLL_MINE, .started_ns = r.now}});
		lease = r.n.vs[1].lease_until_ns;
		rig_pass(&r, T);
		CHECK_EQ(VS_SERVING, r.n.vs[1].state);
		CHECK(r.n.vs[1].lease_until_ns > lease);
	}
	CHECK_EQ(VS_REPAIR, r.n.vs[0].state);
	CHECK_EQ((long long)epoch, (long long)r.n.vs[1].epoch);
}

/* Stores 0 and 2 on the first unit, store 1 on the second; served. */
static void three_stores(void)
{
	rig_conf(&r);
	r.conf.unit_count = r.conf.vs[0].unit_count = 2;
	r.conf.vs[0].unit[1] = 1;
	r.conf.vs[0].fs_count = 3;
	r.conf.vs[0].fs_unit[1] = 1;
	r.hold[ACT_REPAIR] = true;
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* Both units are seen to be ours for that long. */
static void time_passes(unsigned beats)
{
	for (unsigned i = 0; i < beats; i++) {
		for (unsigned u = 0; u < 2; u++)
			rig_step(&r, (struct event){.type = EV_UNIT_POLL, .unit = u,
						    .epoch = r.n.unit[u].owner_epoch,
						    .poll = {.result = POLL_MINE, .started_ns = r.now}});
		rig_pass(&r, T);
	}
}

static bool served_without(uint8_t closed)
{
	return r.n.vs[0].state == VS_SERVING && r.n.vs[0].closed == closed &&
	       r.last[ACT_WORKER_START].start.closed == closed;
}

/* covers: VS-156 - the other stores of the same virtual server go on, on the same unit too. */
static void t_damage_is_one_stores(void)
{
	three_stores();
	damage_of(2, false);
	CHECK(served_without(4));
	CHECK_EQ(4, r.last[ACT_REPAIR].repair.stores);
	CHECK(r.last[ACT_REPAIR].repair.beside && !r.last[ACT_REPAIR].repair.below);
	CHECK_EQ(0, r.last[ACT_REPAIR].unit);
	CHECK_EQ(STATUS_FS_UP, r.n.vs[0].fs_state[0]);
	CHECK_EQ(STATUS_FS_DAMAGED, r.n.vs[0].fs_state[2]);
	time_passes(600);
	CHECK(served_without(4));
	CHECK_EQ(2, r.seen[ACT_WORKER_START]);
	CHECK_EQ(1, r.seen[ACT_ADDRESS_UP]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK(served_without(0));
	CHECK_EQ(3, r.seen[ACT_WORKER_START]);
	CHECK_EQ(1, r.seen[ACT_ADDRESS_UP]);
	CHECK_EQ(1, r.seen[ACT_REPAIR]);
	CHECK_EQ(1, (long long)r.n.vs[0].repairs);
	CHECK_EQ(STATUS_FS_UP, r.n.vs[0].fs_state[2]);
}

/* covers: VS-156 - what is below fails: all of that unit is closed, the other unit is served. */
static void t_damage_below_one_unit(void)
{
	three_stores();
	damage_of(0, true);
	CHECK(served_without(5));
	CHECK_EQ(5, r.last[ACT_REPAIR].repair.stores);
	CHECK(r.last[ACT_REPAIR].repair.below && !r.last[ACT_REPAIR].repair.beside);
	/* Another store while the repair runs: it is ended first, and begun anew with both. */
	damage_of(1, false);
	CHECK_EQ(1, r.seen[ACT_REPAIR_STOP]);
	CHECK_EQ(VS_RETAKE, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_REPAIR]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -ETIMEDOUT);
	CHECK_EQ(VS_REPAIR, r.n.vs[0].state);
	CHECK_EQ(2, r.seen[ACT_REPAIR]);
	CHECK_EQ(5, r.last[ACT_REPAIR].repair.stores);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK_EQ(3, r.seen[ACT_REPAIR]);
	CHECK_EQ(2, r.last[ACT_REPAIR].repair.stores);
	CHECK_EQ(1, r.last[ACT_REPAIR].unit);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK(served_without(0));
	CHECK_EQ(0, (long long)r.n.vs[0].repairs_failed);
}

/* A worker's crash, or a lapse, ends the repair beside it too, and begins it anew. */
static void t_crash_beside_a_repair(void)
{
	three_stores();
	damage_of(1, false);
	CHECK(served_without(2));
	CHECK(!r.last[ACT_REPAIR].repair.beside); /* alone on its unit */
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(VS_RETAKE, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_REPAIR_STOP]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0); /* it was just over: looked at again */
	CHECK(served_without(2));
	CHECK_EQ(2, r.seen[ACT_REPAIR]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK(served_without(0));
}

/* What cannot be mended beside others is tried once more alone; then it is for people. */
static void t_repair_beside_fails(void)
{
	three_stores();
	damage_of(0, false);
	CHECK(served_without(1));
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -EIO);
	CHECK(served_without(5));
	CHECK_EQ(5, r.last[ACT_REPAIR].repair.stores);
	CHECK(r.last[ACT_REPAIR].repair.below && !r.last[ACT_REPAIR].repair.beside);
	CHECK_EQ(1, (long long)r.n.vs[0].repairs_failed);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -EIO);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(REASON_REPAIR_FAILED, r.n.vs[0].reason);
}

/* Moved away while a store is repaired: the drain goes on beside it, then the repair is ended, and only
 * then the units are unmounted. */
static void t_move_beside_a_repair(void)
{
	three_stores();
	r.hold[ACT_WORKER_DRAIN] = true;
	damage_of(2, false);
	rig_step(&r, (struct event){.type = EV_CONTROL,
				    .control = {.id = 1, .verb = CONTROL_VS_MOVE, .force = true,
						.vs_id = r.conf.vs[0].id, .node = 2}});
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	CHECK_EQ(0, r.seen[ACT_REPAIR_STOP]);
	rig_step(&r, (struct event){.type = EV_WORKER_DRAINED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(VS_EXIT, r.n.vs[0].state);
	rig_step(&r, (struct event){.type = EV_WORKER_EXITED, .epoch = r.n.vs[0].epoch});
	CHECK_EQ(1, r.seen[ACT_REPAIR_STOP]);
	CHECK_EQ(0, r.seen[ACT_UNMOUNT]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -ETIMEDOUT);
	CHECK_EQ(2, r.seen[ACT_UNMOUNT]);
	CHECK_EQ(2, r.seen[ACT_RELEASE]);
}

/* covers: VS-156 - found by the mount: the other unit is mounted and served. */
static void t_damage_found_by_one_mount(void)
{
	rig_conf(&r);
	r.conf.unit_count = r.conf.vs[0].unit_count = 2;
	r.conf.vs[0].unit[1] = 1;
	r.conf.vs[0].fs_count = 2;
	r.conf.vs[0].fs_unit[1] = 1;
	r.hold[ACT_REPAIR] = r.hold[ACT_MOUNT] = true;
	rig_start(&r);
	rig_done(&r, &r.last[ACT_MOUNT], EV_MOUNTED, -EUCLEAN);
	CHECK_EQ(2, r.seen[ACT_MOUNT]);
	CHECK_EQ(VS_MOUNT, r.n.vs[0].state);
	rig_done(&r, &r.last[ACT_MOUNT], EV_MOUNTED, 0);
	CHECK(served_without(1));
	CHECK(r.last[ACT_REPAIR].repair.below && !r.last[ACT_REPAIR].repair.beside);
	CHECK_EQ(0, r.last[ACT_REPAIR].unit);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, 0);
	CHECK(served_without(0));
	CHECK_EQ(2, r.seen[ACT_MOUNT]);
}

/* covers: VS-151 - found by the worker that comes up, or by the mount: the same. */
static void t_damage_found_at_open(void)
{
	rig_conf(&r);
	r.hold[ACT_WORKER_START] = true;
	rig_start(&r);
	CHECK_EQ(VS_RECOVER, r.n.vs[0].state);
	damage(false);
	CHECK_EQ(1, r.seen[ACT_REPAIR]);
	CHECK_EQ(VS_RECOVER, r.n.vs[0].state);
	CHECK_EQ(2, r.seen[ACT_WORKER_START]);
	rig_conf(&r);
	r.hold[ACT_MOUNT] = true;
	rig_start(&r);
	rig_done(&r, &r.last[ACT_MOUNT], EV_MOUNTED, -EUCLEAN);
	CHECK_EQ(1, r.seen[ACT_REPAIR]);
	CHECK(r.last[ACT_REPAIR].repair.below);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* What comes back after repairs, and what cannot be repaired, is left to people. */
static void t_damage_for_people(void)
{
	rig_conf(&r);
	rig_start(&r);
	for (unsigned i = 1; i < r.conf.times.damage_limit; i++) {
		damage(false);
		CHECK_EQ(VS_SERVING, r.n.vs[0].state);
		CHECK_EQ(i, r.seen[ACT_REPAIR]);
		rig_pass(&r, 100 * T);
	}
	damage(false);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(REASON_DAMAGED_AGAIN, r.n.vs[0].reason);
	CHECK_EQ(0, (long long)r.n.vs[0].failed_until_ns);
	rig_conf(&r);
	r.hold[ACT_REPAIR] = true;
	rig_start(&r);
	damage(true);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -EUCLEAN);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(REASON_REPAIR_FAILED, r.n.vs[0].reason);
	CHECK_EQ(1, (long long)r.n.vs[0].repairs_failed);
	CHECK_EQ(0, (long long)r.n.vs[0].failed_until_ns);
}

/* Ownership lost, or an operator who wants it elsewhere: the repair is ended, then it goes down. */
static void t_repair_is_stopped(void)
{
	struct event ev = {.type = EV_UNIT_POLL};

	rig_conf(&r);
	r.hold[ACT_REPAIR] = true;
	rig_start(&r);
	damage(true);
	ev.epoch = r.n.unit[0].owner_epoch;
	ev.poll.result = POLL_LOST;
	rig_step(&r, ev);
	CHECK_EQ(1, r.seen[ACT_REPAIR_STOP]);
	CHECK_EQ(VS_EXIT, r.n.vs[0].state);
	rig_pass(&r, 10 * T);
	CHECK_EQ(1, r.seen[ACT_REPAIR_STOP]);
	CHECK_EQ(0, r.seen[ACT_UNMOUNT]);
	rig_done(&r, &r.last[ACT_REPAIR], EV_REPAIRED, -ETIMEDOUT);
	CHECK_EQ(1, r.seen[ACT_UNMOUNT]);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
}

/* covers: AM-29 */
static void t_mount_failure_is_undone(void)
{
	rig_conf(&r);
	r.hold[ACT_MOUNT] = true;
	rig_start(&r);
	rig_done(&r, &r.last[ACT_MOUNT], EV_MOUNTED, -EIO);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(1, r.seen[ACT_UNMOUNT]);
	CHECK_EQ(1, r.seen[ACT_RELEASE]);
	CHECK(r.n.vs[0].failed);
	CHECK_EQ(2, r.n.vs[0].target); /* the next candidate, once */
}

/* Two machines with one node id: the older instance ends itself. */
static void t_same_id(void)
{
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	m = rig_peer(&r);
	m.sender = 1;
	m.generation = r.n.generation + 1;
	rig_put_slot(&r, 1, &m);
	rig_pass(&r, T);
	CHECK_EQ(1, r.seen[ACT_SELF_FENCE]);
	CHECK_EQ(1, r.seen[ACT_WORKER_KILL]);
}

/* Everything at its capacity fits the actions of one step. */
static void t_full_size(void)
{
	rig_conf(&r);
	r.conf.node_count = NODE_NODES_MAX;
	r.conf.path_count = NODE_PATHS_MAX;
	r.conf.vs_count = r.conf.unit_count = NODE_VS_MAX;
	for (unsigned i = 1; i < NODE_NODES_MAX; i++)
		r.conf.node[i].id = (uint16_t)(i + 1);
	for (unsigned i = 0; i < NODE_VS_MAX; i++) {
		r.conf.vs[i] = r.conf.vs[0];
		r.conf.vs[i].id += i;
		r.conf.vs[i].unit[0] = (uint8_t)i;
		r.conf.vs[i].fs_count = STATUS_FS_MAX;
	}
	rig_start(&r);
	for (unsigned i = 0; i < NODE_VS_MAX; i++)
		CHECK_EQ(VS_SERVING, r.n.vs[i].state);
	rig_poll(&r, POLL_LOST);
	CHECK_EQ(NODE_VS_MAX, r.seen[ACT_WORKER_KILL]);
	rig_pass(&r, 2 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
}

static void t_times(void)
{
	struct times t;

	for (unsigned nodes = 1; nodes <= 8; nodes++) {
		times_classic(&t, nodes);
		CHECK(times_check(&t) == NULL);
	}
	times_fast(&t, T);
	CHECK(times_check(&t) == NULL);
	t.lease_ns = 6 * T;
	CHECK(strstr(times_check(&t), "lease + drift") != NULL);
	times_fast(&t, T);
	t.fresh_ns = 2 * T;
	CHECK(strstr(times_check(&t), "fresh") != NULL);
	times_fast(&t, T);
	t.wait_ns = T;
	CHECK(times_check(&t) != NULL);
	times_fast(&t, T);
	t.path_silent_ns = 2 * T;
	CHECK(strstr(times_check(&t), "path silent") != NULL);
	times_fast(&t, 0);
	CHECK(times_check(&t) != NULL);
}

static void t_conf_check(void)
{
	rig_conf(&r);
	CHECK(node_conf_check(&r.conf) == NULL);
	r.conf.self = 3;
	CHECK(node_conf_check(&r.conf) != NULL);
	rig_conf(&r);
	r.conf.vs[0].home = 7;
	CHECK(node_conf_check(&r.conf) != NULL);
	rig_conf(&r);
	r.conf.vs_count = 2;
	r.conf.vs[1] = r.conf.vs[0];
	CHECK(strstr(node_conf_check(&r.conf), "same id") != NULL);
	r.conf.vs[1].id++;
	CHECK(strstr(node_conf_check(&r.conf), "exactly one") != NULL);
	rig_conf(&r);
	r.conf.device_count = 0;
	CHECK(node_conf_check(&r.conf) != NULL);
	rig_conf(&r);
	r.conf.node[1].id = 1;
	CHECK(node_conf_check(&r.conf) != NULL);
}

/* doc/failover.md shows the matrices as the code has them. */
static void t_doc_matrix(void)
{
	char want[8192] = "", got[65536] = "";
	size_t at = 0;
	FILE *f = fopen("doc/failover.md", "r");

	CHECK(f != NULL);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	for (unsigned a = 1; a < NODE_STATE_COUNT; a++)
		for (unsigned b = 1; b < NODE_STATE_COUNT; b++)
			if (node_transition_allowed((enum node_state)a, (enum node_state)b))
				at += (size_t)snprintf(want + at, sizeof(want) - at, "%s -> %s\n",
						       node_state_name(a), node_state_name(b));
	CHECK(strstr(got, want) != NULL);
	at = 0;
	for (unsigned a = 1; a < VS_STATE_COUNT; a++) {
		at += (size_t)snprintf(want + at, sizeof(want) - at, "%s ->", vs_state_name(a));
		for (unsigned b = 1; b < VS_STATE_COUNT; b++)
			if (vs_transition_allowed((enum vs_state)a, (enum vs_state)b))
				at += (size_t)snprintf(want + at, sizeof(want) - at, " %s",
						       vs_state_name(b));
		at += (size_t)snprintf(want + at, sizeof(want) - at, "\n");
	}
	CHECK(strstr(got, want) != NULL);
	for (unsigned i = 1; i < REASON_COUNT; i++)
		CHECK(strstr(got, reason_name(i)) != NULL);
}

int main(void)
{
	CASE(t_home_serves);
	CASE(t_order_up);
	CASE(t_order_down);
	CASE(t_generation_grows);
	CASE(t_no_generation_no_start);
	CASE(t_lease_from_start_of_write);
	CASE(t_lapse_is_final);
	CASE(t_address_fails_in_a_lapse);
	CASE(t_lease_by_acknowledgement);
	CASE(t_stale_completion);
	CASE(t_lost_reservation_is_lost);
	CASE(t_poll_lost);
	CASE(t_stuck);
	CASE(t_verdict);
	CASE(t_tilt);
	CASE(t_replayed_messages);
	CASE(t_what_is_sent);
	CASE(t_one_payload);
	CASE(t_garbage_is_counted);
	CASE(t_taken_over);
	CASE(t_disable_bars_takeover);
	CASE(t_indicator_takeover);
	CASE(t_indicator_disable);
	CASE(t_indicator_disable_heard);
	CASE(t_crash_loop);
	CASE(t_crash_then_repair);
	CASE(t_damage_is_repaired);
	CASE(t_damage_is_one_vservers);
	CASE(t_damage_is_one_stores);
	CASE(t_damage_below_one_unit);
	CASE(t_crash_beside_a_repair);
	CASE(t_repair_beside_fails);
	CASE(t_move_beside_a_repair);
	CASE(t_damage_found_by_one_mount);
	CASE(t_damage_found_at_open);
	CASE(t_damage_for_people);
	CASE(t_repair_is_stopped);
	CASE(t_mount_failure_is_undone);
	CASE(t_same_id);
	CASE(t_full_size);
	CASE(t_times);
	CASE(t_conf_check);
	CASE(t_doc_matrix);
	return check_end();
}
