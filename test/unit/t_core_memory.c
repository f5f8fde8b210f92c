/* t_core_memory.c - the partners' persistent memory: when the brain writes, what it keeps and says it
 * keeps, and what it learns from it at a boot. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "lib_core.h"

static struct rig r;

static void start(void)
{
	rig_conf(&r);
	r.conf.memory = true;
	rig_start(&r);
	rig_pass(&r, 5 * T); /* nobody tells it anything: the limit of step 251 */
}

/* The partner says that it holds what it was sent last. */
static void mirrored(uint64_t sequence)
{
	struct status_msg m = rig_peer(&r);

	m.memory_count = 1;
	m.memory[0] = (struct status_memory){.node = 1, .generation = r.n.generation};
	m.memory[0].sequence = sequence;
	rig_deliver(&r, &m, 0);
}

static unsigned writes_in(uint64_t ns)
{
	unsigned before = r.seen[ACT_MEMORY_WRITE];

	rig_pass(&r, ns);
	return r.seen[ACT_MEMORY_WRITE] - before;
}

/* On a change of state, again until it is acknowledged, else seldom.  covers: ST-12 ST-28 */
static void t_when_it_writes(void)
{
	unsigned seldom = 0;

	start();
	r.peer_net = r.peer_slot = false; /* the only messages are those below */
	CHECK(r.seen[ACT_MEMORY_WRITE] > 0);
	CHECK(!memory_in_sync(&r.n, &r.n.peer[0]));
	CHECK(writes_in(12 * T) >= 3); /* not acknowledged */
	mirrored(r.n.peer[0].memory_sent);
	CHECK(memory_in_sync(&r.n, &r.n.peer[0]));
	for (unsigned i = 0; i < 40; i++) {
		seldom += writes_in(T);
		mirrored(r.n.peer[0].memory_sent);
	}
	CHECK(seldom >= 3 && seldom <= 4);
	memory_news(&r.n);
	CHECK(!memory_in_sync(&r.n, &r.n.peer[0]));
	CHECK_EQ(1, writes_in(T / 4));
	mirrored(r.n.peer[0].memory_sent - 1); /* an older one is no acknowledgement */
	CHECK(!memory_in_sync(&r.n, &r.n.peer[0]));
	mirrored(r.n.peer[0].memory_sent);
	CHECK(memory_in_sync(&r.n, &r.n.peer[0]));
	r.peer_net = true; /* it has lost its memory: it speaks, and of no message of mine */
	CHECK(writes_in(4 * T) >= 1);
}

static void t_no_interconnect(void)
{
	rig_conf(&r);
	rig_start(&r);
	rig_pass(&r, 30 * T);
	CHECK_EQ(0, r.seen[ACT_MEMORY_WRITE] + r.seen[ACT_MEMORY_ASK]);
	CHECK_EQ(0, r.told.memory_count);
}

/* What it says that it holds is durable: not before the write is done.  covers: ST-04 ST-45 */
static void t_what_it_keeps(void)
{
	struct status_msg m;
	struct slot s;

	start();
	r.hold[ACT_MEMORY_KEEP] = true;
	m = rig_peer(&r);
	rig_deliver(&r, &m, NODE_PATH_MEMORY);
	CHECK_EQ(1, r.seen[ACT_MEMORY_KEEP]);
	CHECK_EQ(2, r.last[ACT_MEMORY_KEEP].slot.device);
	CHECK_EQ((long long)m.sequence, (long long)r.n.peer[0].latest.sequence); /* one stream */
	rig_pass(&r, 2 * T);
	CHECK_EQ(0, r.told.memory_count);
	rig_done(&r, &r.last[ACT_MEMORY_KEEP], EV_KEPT, 0);
	rig_pass(&r, 2 * T);
	CHECK_EQ(1, r.told.memory_count);
	CHECK_EQ((long long)m.sequence, (long long)r.told.memory[0].sequence);
	rig_deliver(&r, &m, NODE_PATH_MEMORY); /* replayed: neither news nor written again */
	CHECK_EQ(1, r.seen[ACT_MEMORY_KEEP]);
	CHECK_EQ(1, (long long)r.n.drops.n[DROP_WAY_MEMORY][DROP_REPLAYED]);
	memcpy(r.sector[7], r.n.keep_buf, SLOT_SIZE);
	slot_finish(r.sector[7]);
	CHECK_EQ(0, slot_decode(&s, r.sector[7]));
	CHECK_EQ(2, s.node);
	rig_done(&r, &r.last[ACT_MEMORY_KEEP], EV_KEPT, 0); /* nobody waits for that */
	CHECK(r.n.stale_completions > 0);
}

/* Memories that are out of step bar a takeover.  covers: ST-53 OV-15 */
static void t_out_of_step(void)
{
	struct status_msg m;

	start();
	r.hold[ACT_MEMORY_KEEP] = true;
	m = rig_peer(&r);
	rig_deliver(&r, &m, NODE_PATH_MEMORY);
	rig_done(&r, &r.last[ACT_MEMORY_KEEP], EV_KEPT, -EIO);
	CHECK_EQ(REASON_MEMORY, takeover_blocked(&r.n, &r.n.peer[0]));
	m = rig_peer(&r);
	rig_deliver(&r, &m, NODE_PATH_MEMORY);
	rig_done(&r, &r.last[ACT_MEMORY_KEEP], EV_KEPT, 0);
	CHECK_EQ(REASON_NONE, takeover_blocked(&r.n, &r.n.peer[0]));
}

/* One recorded before my reboot is a replay after it.  covers: ST-42 ST-43 ST-95 */
static void t_replay_after_reboot(void)
{
	static uint8_t sector[SLOT_SIZE];
	struct status_msg old, m;

	start();
	old = rig_peer(&r);
	rig_deliver(&r, &old, 0);
	m = rig_peer(&r);
	rig_deliver(&r, &m, NODE_PATH_MEMORY);
	memcpy(sector, r.n.keep_buf, SLOT_SIZE);
	slot_finish(sector);
	r.peer_net = r.peer_slot = false;
	memset(r.sector, 0, sizeof(r.sector));
	r.conf.held[1] = sector;
	rig_start(&r);
	for (unsigned i = 0; i < 20; i++) {
		rig_deliver(&r, &old, 0);
		rig_deliver(&r, &m, NODE_PATH_MEMORY);
		rig_pass(&r, T / 2);
	}
	CHECK(!r.n.peer[0].heard_ever);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
	m.sequence++;
	rig_deliver(&r, &m, 0);
	CHECK_EQ(STATUS_V_ALIVE, r.n.peer[0].verdict);
}

static void told(const struct status_msg *m)
{
	struct event ev = {.type = EV_HELD};
	uint8_t bytes[STATUS_MAX];

	ev.msg.from = 2;
	ev.msg.data = bytes;
	ev.msg.len = m ? status_encode(m, bytes, sizeof(bytes)) : 0;
	rig_step(&r, ev);
}

static struct status_msg own_record(uint64_t generation)
{
	struct status_msg m = {.version = 1, .version_max = 1, .sender = 1, .indicator = STATUS_NO_TAKEOVER};

	m.state = NODE_NORMAL;
	m.role = STATUS_ROLE_SLAVE;
	m.generation = generation;
	m.sequence = 50;
	return m;
}

/* All of its own lost: it waits for its partner and becomes the next instance of what that holds.
 * Its persistent memory is then the one that is reached over the interconnect alone.
 * covers: ST-13 ST-37 ST-46 ST-107 */
static void t_told_who_it_was(void)
{
	struct status_msg m = own_record(41);

	rig_conf(&r);
	r.conf.memory = true;
	r.peer_net = r.peer_slot = false;
	node_init(&r.n, &r.conf, r.now);
	rig_step(&r, (struct event){.type = EV_TICK});
	CHECK_EQ(1, r.seen[ACT_MEMORY_ASK]);
	rig_pass(&r, 2 * T);
	CHECK(r.seen[ACT_MEMORY_ASK] > 1);
	CHECK_EQ(0, r.seen[ACT_SEND]); /* an instance without a number says nothing */
	told(&m);
	rig_pass(&r, T);
	CHECK_EQ(42, (long long)r.n.generation);
	CHECK(r.n.inhibit_mine && r.n.recovery_report && !r.n.first_start);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	m.generation = 60; /* too late to matter */
	told(&m);
	CHECK_EQ(42, (long long)r.n.generation);
}

/* An interruption of a node that was REBOOTING: its indicator said that, its flags the rest.
 * covers: ST-34 ST-35 ST-47 */
static void t_flags_of_a_rebooting_node(void)
{
	struct status_msg m = own_record(41);

	m.state = NODE_REBOOTING;
	m.prior_state = NODE_NORMAL;
	m.indicator = STATUS_REBOOTING;
	m.flags = STATUS_F_NO_TAKEOVER | STATUS_F_DISABLE;
	rig_conf(&r);
	r.conf.memory = true;
	r.peer_net = r.peer_slot = false;
	node_init(&r.n, &r.conf, r.now);
	rig_step(&r, (struct event){.type = EV_TICK});
	rig_pass(&r, T);
	told(&m);
	rig_pass(&r, T);
	CHECK(r.n.inhibit_mine && r.n.inhibit_cluster);
}

/* Nobody holds anything: at once.  Nobody answers: after the limit of step 251.  covers: OV-19 */
static void t_first_start(void)
{
	rig_conf(&r);
	r.conf.memory = true;
	r.peer_net = r.peer_slot = false;
	node_init(&r.n, &r.conf, r.now);
	rig_step(&r, (struct event){.type = EV_TICK});
	told(NULL);
	rig_pass(&r, T);
	CHECK_EQ(1, (long long)r.n.generation);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	node_init(&r.n, &r.conf, r.now);
	rig_step(&r, (struct event){.type = EV_TICK});
	rig_pass(&r, 4 * T);
	CHECK_EQ(NODE_REBOOTING, r.n.state);
	rig_pass(&r, 3 * T);
	CHECK_EQ(NODE_NORMAL, r.n.state);
}

int main(void)
{
	CASE(t_when_it_writes);
	CASE(t_no_interconnect);
	CASE(t_what_it_keeps);
	CASE(t_out_of_step);
	CASE(t_replay_after_reboot);
	CASE(t_told_who_it_was);
	CASE(t_flags_of_a_rebooting_node);
	CASE(t_first_start);
	return check_end();
}
