/* t_core_place.c - master, placement, rates of slot writes: what one node wants and how often it
 * says so. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;

static void order(enum control_verb verb, uint16_t node)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = verb;
	ev.control.node = node;
	ev.control.vs_id = node_name_id("v1");
	rig_step(&r, ev);
}

/* ---- master --------------------------------------------------------------------------------- */

/* Step 1102: the one that starts first becomes master; with the claim on the disk, read back.
 * covers: VS-26 VS-27 VS-122 OV-03 AM-09 */
static void t_first_is_master(void)
{
	rig_conf(&r);
	r.peer_net = r.peer_slot = false;
	r.hold[ACT_SLOT_WRITE] = true;
	rig_start(&r);
	CHECK_EQ(STATUS_ROLE_NONE, r.n.role); /* nothing is on the disk */
	r.hold[ACT_SLOT_WRITE] = false;
	rig_done(&r, &r.last[ACT_SLOT_WRITE], EV_SLOT_WRITTEN, 0);
	rig_pass(&r, 3 * T);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
	CHECK_EQ(1, r.n.master);
	CHECK_EQ(STATUS_ROLE_MASTER, r.told.role);
	CHECK_EQ(1, r.told.master);
	CHECK_EQ(1, r.told.generation);
}

/* Step 1103: who finds a master becomes a slave, also when its own id is smaller.
 * covers: VS-26 VS-123 VS-33 */
static void t_later_is_slave(void)
{
	struct status_msg m;

	rig_conf(&r);
	r.peer_master = true;
	rig_start(&r);
	CHECK_EQ(STATUS_ROLE_SLAVE, r.n.role);
	CHECK_EQ(2, r.n.master);
	rig_pass(&r, 20 * T);
	CHECK_EQ(STATUS_ROLE_SLAVE, r.n.role);
	r.peer_net = r.peer_slot = false; /* dead: the slave becomes master */
	rig_pass(&r, 3 * T);
	CHECK_EQ(2, r.n.master);
	rig_pass(&r, 6 * T);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
	m = rig_peer(&r); /* the old one comes back and still thinks so */
	rig_deliver(&r, &m, 0);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
}

/* A slot that is torn may hold a claim: it was not read, as long as its node may live.
 * covers: OV-03 AM-09 */
static void t_torn_slot_may_claim(void)
{
	struct status_msg m;

	rig_conf(&r);
	r.peer_slot = false;
	m = rig_peer(&r);
	rig_put_slot(&r, 2, &m);
	r.sector[1][900] ^= 0x5a;
	rig_start(&r);
	rig_pass(&r, 10 * T);
	CHECK_EQ(STATUS_ROLE_NONE, r.n.role);
	r.peer_slot = true; /* written again */
	rig_pass(&r, 3 * T);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
	r.peer_net = r.peer_slot = false;
	r.sector[1][900] ^= 0x5a;
	rig_pass(&r, 10 * T); /* its node is dead: no claim of its counts */
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
}

/* A node that this one never heard writes its slot and each look finds the sector half written: it lives all
 * the same, and nobody takes from it what its lease may still cover.   covers: V2 F4 ST-90 */
static void t_torn_slot_of_a_stranger(void)
{
	struct status_msg m;

	rig_conf(&r);
	r.peer_net = r.peer_slot = false;
	m = rig_peer(&r);
	rig_put_slot(&r, 2, &m);
	rig_start(&r);
	for (unsigned i = 1; i < 60; i++) {
		r.sector[1][900] = (uint8_t)i;
		rig_pass(&r, T / 2);
		CHECK(r.n.peer[0].verdict != STATUS_V_DEAD);
		CHECK(!r.n.peer[0].heard_ever);
	}
	rig_pass(&r, 10 * T); /* the sector rests */
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
}

/* After a start the slots of the devices are read one by one; one that is behind comes second and takes
 * nothing back.   covers: OV-03 ST-43 */
static void t_first_slots_in_any_order(void)
{
	struct event ev = {.type = EV_SLOT_READ};
	struct status_msg m;

	for (unsigned last = 0; last < 2; last++) {
		rig_conf(&r);
		r.conf.device_count = 3;
		node_init(&r.n, &r.conf, r.now);
		ev.slots.sector = r.sector;
		for (unsigned i = 0; i < NODE_NODES_MAX; i++)
			ev.slots.err[i] = i == 1 ? 0 : -ENODATA;
		for (unsigned d = 0; d < 2; d++) {
			m = rig_peer(&r);
			m.sequence = d == last ? 900 : 100;
			m.master = d == last ? 2 : 0;
			rig_put_slot(&r, 2, &m);
			peer_slots(&r.n, d, &ev);
		}
		CHECK_EQ(900, (long long)r.n.peer[0].msg.sequence);
		CHECK_EQ(2, r.n.peer[0].msg.master);
	}
}

/* The post hangs on the lease; without the devices nobody becomes master.   covers: OV-03 V1 */
static void t_post_ends_with_the_lease(void)
{
	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
	r.disk_write = false;
	rig_pass(&r, 5 * T);
	CHECK_EQ(STATUS_ROLE_NONE, r.n.role);
	CHECK_EQ(0, r.n.master);
	r.disk_write = true;
	rig_pass(&r, 3 * T);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
}

/* A device that gave back what was there before let two of them through: one goes on.
 * covers: OV-03 VS-33 */
static void t_one_of_two_masters(void)
{
	for (unsigned mine = 1; mine <= 3; mine += 2) {
		rig_conf(&r);
		r.conf.self = (uint16_t)mine;
		r.conf.node[0].id = (uint16_t)mine;
		r.conf.vs[0].home = (uint16_t)mine;
		rig_start(&r);
		CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
		r.peer_master = true;
		rig_pass(&r, 3 * T);
		CHECK_EQ(mine == 1 ? STATUS_ROLE_MASTER : STATUS_ROLE_SLAVE, r.n.role);
		CHECK_EQ(mine == 1 ? 1 : 2, r.n.master);
	}
}

/* The master itself gives up what it serves, and cannot even release it: the others need its word to seize
 * it, and get it as soon as it is silent for certain.   covers: F3 F4 OV-03 */
static void t_master_gives_up(void)
{
	rig_conf(&r);
	rig_start(&r);
	CHECK_EQ(STATUS_ROLE_MASTER, r.n.role);
	r.hold[ACT_RELEASE] = true;
	for (unsigned i = 0; i < 20 && r.n.vs[0].state == VS_SERVING; i++) {
		rig_poll(&r, POLL_ERROR);
		r.now += T / 4;
		rig_step(&r, (struct event){.type = EV_TICK});
	}
	CHECK_EQ(VS_RELEASE, r.n.vs[0].state);
	rig_pass(&r, 10 * T);
	CHECK_EQ(VS_RELEASE, r.n.vs[0].state);
	CHECK_EQ(STATUS_VS_GAVE_UP, r.told.vs[0].flags & STATUS_VS_GAVE_UP);
	CHECK_EQ(2, r.told.vs[0].target);
}

static void storage_fails(void)
{
	for (unsigned i = 0; i < 20 && r.n.vs[0].state == VS_SERVING; i++) {
		rig_poll(&r, POLL_ERROR);
		r.now += T / 4;
		rig_step(&r, (struct event){.type = EV_TICK});
	}
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(REASON_STORAGE_DOWN, r.n.vs[0].reason);
}

/* Its storage failed, and the other failed before it: who sees S again serves, without waiting for
 * the hold-down to end; and not before.   covers: ST-48 OV-18 AM-29 */
static void t_storage_is_back(void)
{
	rig_conf(&r);
	rig_start(&r);
	r.peer_failed = true;
	r.hold[ACT_UNIT_READ] = true;
	storage_fails();
	rig_pass(&r, 40 * T);
	rig_done(&r, &r.last[ACT_UNIT_READ], EV_UNIT_READ, -5);
	rig_pass(&r, 40 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(STATUS_VS_FAILED, r.told.vs[0].flags & STATUS_VS_FAILED);
	r.hold[ACT_UNIT_READ] = false;
	rig_done(&r, &r.last[ACT_UNIT_READ], EV_UNIT_READ, 0);
	/* A while ago, by the clock of the look: seen once more. */
	rig_pass(&r, 10 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK_EQ(0, r.told.vs[0].flags & STATUS_VS_FAILED);
}

/* Another can have it: the hold-down stands, and nobody is in a hurry.   covers: OV-18 AM-29 */
static void t_storage_is_back_elsewhere(void)
{
	rig_conf(&r);
	rig_start(&r);
	storage_fails();
	rig_pass(&r, 40 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(2, r.n.vs[0].target);
	/* It may be seen, and fail all the same: not tried at every heartbeat. */
	r.peer_failed = true;
	r.hold[ACT_RESERVE] = true;
	rig_pass(&r, 12 * T);
	CHECK_EQ(VS_RESERVE, r.n.vs[0].state);
	rig_reserved(&r, &r.last[ACT_RESERVE], RESERVE_ERROR);
	rig_pass(&r, 5 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
}

/* Two claim at once: the smaller id goes first.   covers: OV-03 VS-33 */
static void t_smaller_claim_first(void)
{
	for (unsigned mine = 1; mine <= 3; mine += 2) {
		struct status_msg m;

		rig_conf(&r);
		r.conf.self = (uint16_t)mine;
		r.conf.node[0].id = (uint16_t)mine;
		r.conf.vs[0].home = (uint16_t)mine;
		r.peer_net = false;
		node_init(&r.n, &r.conf, r.now);
		while (!r.n.claim_ns)
			rig_pass(&r, T / 4);
		CHECK_EQ(STATUS_ROLE_NONE, r.n.role); /* claimed, not read back */
		m = rig_peer(&r);
		m.role = STATUS_ROLE_NONE;
		m.master = 2;
		rig_deliver(&r, &m, 0);
		CHECK_EQ(mine == 1 ? 1 : 0, r.n.master);
	}
}

/* ---- rates ---------------------------------------------------------------------------------- */

static unsigned writes_in(uint64_t ns)
{
	unsigned before = r.seen[ACT_SLOT_WRITE];

	rig_pass(&r, ns);
	return r.seen[ACT_SLOT_WRITE] - before;
}

static void classic(bool master)
{
	rig_conf(&r);
	times_classic(&r.conf.times, 3);
	r.acks = true;
	r.peer_master = !master;
	rig_start(&r);
	rig_pass(&r, 100 * T);
	CHECK_EQ(master ? STATUS_ROLE_MASTER : STATUS_ROLE_SLAVE, r.n.role);
}

/* covers: VS-49 VS-50 VS-51 VS-52 VS-53 VS-54 OV-08 */
static void t_scribble_rates(void)
{
	const uint64_t s = 10 * T;

	classic(true);
	CHECK_EQ(SCRIBBLE_MASTER, scribble_state(&r.n));
	CHECK_EQ(2, writes_in(120 * s));
	r.acks = false;
	rig_pass(&r, 4 * s);
	CHECK_EQ(SCRIBBLE_MASTER_LOST, scribble_state(&r.n));
	CHECK(writes_in(60 * s) >= 19);

	classic(false);
	CHECK_EQ(SCRIBBLE_SLAVE, scribble_state(&r.n));
	CHECK_EQ(0, writes_in(600 * s));
	CHECK(node_has_majority(&r.n));
	CHECK(lease_valid(&r.n));
	r.acks = false;
	rig_pass(&r, 4 * s);
	CHECK_EQ(SCRIBBLE_SLAVE_LOST, scribble_state(&r.n));
	CHECK(writes_in(60 * s) >= 19);
	CHECK(lease_valid(&r.n));
	r.n.role = STATUS_ROLE_NONE;
	CHECK_EQ(SCRIBBLE_DETACHED_LOST, scribble_state(&r.n));
	r.n.peer[0].acked_ns = r.now;
	CHECK_EQ(SCRIBBLE_DETACHED, scribble_state(&r.n));
	CHECK_EQ(60 * s, r.n.conf.times.scribble_ns[SCRIBBLE_DETACHED]);
	CHECK_EQ(3 * s, r.n.conf.times.scribble_ns[SCRIBBLE_SLAVE_LOST]);
}

/* A slot that does not move is no death while its node answers, nor before it had the time to
 * notice and to write; a pair has seed 003's figures.
 * covers: VS-38 VS-39 VS-55 ST-51 ST-52 AM-01 AM-10 OV-08 OV-09 */
static void t_stale_slot_is_no_death(void)
{
	const uint64_t s = 10 * T;
	struct times t;

	classic(true);
	r.peer_slot = false;
	rig_pass(&r, 600 * s);
	CHECK_EQ(STATUS_V_ALIVE, r.n.peer[0].verdict);
	r.peer_net = false;
	rig_pass(&r, 4 * s);
	CHECK(r.n.peer[0].verdict != STATUS_V_DEAD);
	r.peer_slot = true; /* it has noticed */
	rig_pass(&r, 20 * s);
	CHECK_EQ(STATUS_V_UNREACHABLE, r.n.peer[0].verdict);
	r.peer_slot = false;
	rig_pass(&r, 20 * s);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);

	times_classic(&t, 2);
	CHECK_EQ(T / 2 * 10, t.path_silent_ns);
	CHECK_EQ(2 * 25 * T, t.dead_ns);
	for (unsigned i = 0; i < SCRIBBLE_COUNT; i++)
		CHECK_EQ(t.slot_write_ns, t.scribble_ns[i]);
}

/* covers: OV-09 OV-08 */
static void t_rates_are_checked(void)
{
	struct times t;

	times_classic(&t, 3);
	t.scribble_ns[SCRIBBLE_SLAVE_LOST] = 0;
	CHECK(strstr(times_check(&t), "fast rate") != NULL);
	times_classic(&t, 3);
	t.lease_ns = 10000000000;
	CHECK(strstr(times_check(&t), "lease must be at least path silent") != NULL);
	times_classic(&t, 3);
	t.dead_ns = 12000000000;
	t.lease_ns = 8000000000;
	CHECK(times_check(&t) != NULL);
}

/* ---- placement ------------------------------------------------------------------------------ */

static void two_of_mine(void)
{
	rig_conf(&r);
	r.conf.vs_count = r.conf.unit_count = 2;
	r.conf.vs[1] = r.conf.vs[0];
	snprintf(r.conf.vs[1].name, sizeof(r.conf.vs[1].name), "v2");
	r.conf.vs[1].id = node_name_id("v2");
	r.conf.vs[1].unit[0] = 1;
	r.conf.vs[1].priority = 5;
}

/* No room for both: the one of higher priority is served, the other goes where there is room.
 * covers: VS-67 VS-124 VS-24 */
static void t_capacity(void)
{
	two_of_mine();
	r.conf.node[0].capacity = 3;
	r.conf.vs[0].weight = r.conf.vs[1].weight = 2;
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[1].state);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(2, r.n.vs[0].target);
	CHECK_EQ(REASON_NO_CAPACITY, place_refuses(&r.n, 0, 1));
}

/* covers: VS-68 VS-124 */
static void t_candidates(void)
{
	rig_conf(&r);
	r.conf.vs[0].nodes = 1 << 2;
	rig_start(&r);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(2, r.n.vs[0].target);
	CHECK_EQ(REASON_NOT_CANDIDATE, place_refuses(&r.n, 0, 1));
	CHECK_EQ(REASON_NONE, place_refuses(&r.n, 0, 2));
}

/* covers: VS-125 */
static void t_by_hand(void)
{
	rig_conf(&r);
	r.conf.vs[0].assign_manual = true;
	rig_start(&r);
	rig_pass(&r, 100 * T);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	CHECK_EQ(0, r.n.vs[0].target);
	order(CONTROL_VS_MOVE, 1);
	rig_pass(&r, 2 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	CHECK(r.last[ACT_REPLY].reply.ok);
}

/* What a node has and how busy it is is in every message, so whoever is master knows it.
 * covers: VS-29 VS-31 VS-32 OV-05 OV-07 */
static void t_reports(void)
{
	struct event ev = {.type = EV_LOAD};

	rig_conf(&r);
	rig_start(&r);
	ev.load.cpu_permille = 420;
	ev.load.iops = 1234;
	rig_step(&r, ev);
	rig_pass(&r, 2 * T);
	CHECK_EQ(420, r.told.cpu_permille);
	CHECK_EQ(1234, r.told.iops);
	CHECK_EQ(1, r.told.vs_count);
	CHECK_EQ(VS_SERVING, r.told.vs[0].state);
	CHECK_EQ(1, r.told.vs[0].owner);
	CHECK_EQ(STATUS_FS_UP, r.told.vs[0].fs_state[0]);
}

/* covers: VS-28 OV-03 */
static void t_master_decides(void)
{
	rig_conf(&r);
	r.peer_master = true;
	r.peer_wants = 2; /* v1, which nobody has */
	r.hold[ACT_PERSIST] = true;
	rig_start(&r);
	r.hold[ACT_PERSIST] = false;
	rig_done(&r, &r.last[ACT_PERSIST], EV_PERSISTED, 0);
	rig_pass(&r, 3 * T);
	CHECK_EQ(2, r.n.vs[0].target);
	CHECK_EQ(VS_DOWN, r.n.vs[0].state);
	r.peer_wants = 1;
	rig_pass(&r, 2 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
}

/* Home by itself: after the delay, not within the hold-down, not while home reports its recovery.
 * covers: OV-17 OV-18 ST-48 ST-97 FO-54 */
static void t_giveback_auto(void)
{
	rig_conf(&r);
	r.conf.vs[0].giveback_auto = true;
	r.conf.vs[0].giveback_delay_ns = 50 * T;
	r.conf.path_clients[0] = false;
	rig_start(&r);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	r.n.conf.vs[0].home = 2;
	rig_pass(&r, 40 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	r.peer_recovers = true;
	rig_pass(&r, 40 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	r.n.vs[0].moved_ns = r.now;
	r.peer_recovers = false;
	rig_pass(&r, 90 * T);
	CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	rig_pass(&r, 20 * T);
	CHECK_EQ(VS_DRAIN, r.n.vs[0].state);
	CHECK_EQ(REASON_GIVEBACK, r.n.vs[0].reason);
}

int main(void)
{
	CASE(t_first_is_master);
	CASE(t_later_is_slave);
	CASE(t_torn_slot_may_claim);
	CASE(t_torn_slot_of_a_stranger);
	CASE(t_first_slots_in_any_order);
	CASE(t_post_ends_with_the_lease);
	CASE(t_master_gives_up);
	CASE(t_storage_is_back);
	CASE(t_storage_is_back_elsewhere);
	CASE(t_one_of_two_masters);
	CASE(t_smaller_claim_first);
	CASE(t_scribble_rates);
	CASE(t_stale_slot_is_no_death);
	CASE(t_rates_are_checked);
	CASE(t_capacity);
	CASE(t_candidates);
	CASE(t_by_hand);
	CASE(t_reports);
	CASE(t_master_decides);
	CASE(t_giveback_auto);
	return check_end();
}
