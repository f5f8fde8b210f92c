/* lib_core.c - see lib_core.h. */
#include "lib_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"

static void answer(struct rig *g, const struct action *a);


void rig_step(struct rig *g, struct event ev)
{
	struct actions *out = mem_zalloc(1, sizeof(*out));

	ev.now_ns = g->now;
	node_step(&g->n, &ev, out);
	node_check(&g->n);
	for (unsigned i = 0; i < out->count; i++) {
		g->seen[out->a[i].type]++;
		g->last[out->a[i].type] = out->a[i];
		if (out->a[i].type == ACT_SEND)
			CHECK_EQ(0, status_decode(&g->told, out->a[i].send.data, out->a[i].send.len));
	}
	for (unsigned i = 0; i < out->count; i++)
		answer(g, &out->a[i]);
	free(out);
}

void rig_done(struct rig *g, const struct action *a, enum ev_type type, int err)
{
	struct event ev = {.type = type, .op = a->op, .epoch = a->epoch, .vs = a->vs};

	ev.unit = a->unit;
	ev.err = err;
	rig_step(g, ev);
}

void rig_reserved(struct rig *g, const struct action *a, enum reserve_result result)
{
	struct event ev = {.type = EV_RESERVED, .op = a->op, .vs = a->vs, .unit = a->unit};

	g->epoch += result == RESERVE_WON;
	ev.epoch = ev.unit_state.owner_epoch = g->epoch;
	ev.unit_state.result = result;
	ev.unit_state.owner = result == RESERVE_WON ? 1 : 2;
	rig_step(g, ev);
}

static void slots_read(struct rig *g, const struct action *a)
{
	struct event ev = {.type = EV_SLOT_READ, .op = a->op, .err = g->disk_read ? 0 : -EIO};
	uint8_t copy[NODE_NODES_MAX][SLOT_SIZE];

	memcpy(copy, g->sector, sizeof(copy));
	ev.slots.device = a->slot.device;
	ev.slots.sector = (const uint8_t(*)[SLOT_SIZE])copy;
	for (unsigned i = 0; i < NODE_NODES_MAX; i++)
		ev.slots.err[i] = slot_blank(copy[i])    ? -ENODATA
				  : slot_intact(copy[i]) ? 0
							 : -EBADMSG;
	rig_step(g, ev);
}

/* The shell: everything succeeds at once, unless held back. */
static void answer(struct rig *g, const struct action *a)
{
	if (g->hold[a->type])
		return;
	if (a->type == ACT_SLOT_WRITE)
		rig_done(g, a, EV_SLOT_WRITTEN, g->disk_write ? 0 : -EIO);
	else if (a->type == ACT_SLOT_READ)
		slots_read(g, a);
	else if (a->type == ACT_MEMORY_KEEP)
		rig_done(g, a, EV_KEPT, 0);
	else if (a->type == ACT_PERSIST)
		rig_done(g, a, EV_PERSISTED, 0);
	else if (a->type == ACT_UNIT_READ)
		rig_done(g, a, EV_UNIT_READ, 0);
	else if (a->type == ACT_RESERVE)
		rig_reserved(g, a, RESERVE_WON);
	else if (a->type == ACT_RELEASE)
		rig_done(g, a, EV_RELEASED, 0);
	else if (a->type == ACT_MOUNT)
		rig_done(g, a, EV_MOUNTED, 0);
	else if (a->type == ACT_UNMOUNT)
		rig_done(g, a, EV_UNMOUNTED, 0);
	else if (a->type == ACT_REPAIR)
		rig_done(g, a, EV_REPAIRED, 0);
	else if (a->type == ACT_WORKER_START)
		rig_done(g, a, EV_WORKER_READY, 0);
	else if (a->type == ACT_WORKER_KILL)
		rig_done(g, a, EV_WORKER_EXITED, 0);
	else if (a->type == ACT_ADDRESS_UP)
		rig_done(g, a, EV_ADDRESSES_UP, 0);
	else if (a->type == ACT_ADDRESS_DOWN)
		rig_done(g, a, EV_ADDRESSES_DOWN, 0);
	else if (a->type == ACT_OPEN)
		rig_done(g, a, EV_OPENED, 0);
}

struct status_msg rig_peer(struct rig *g)
{
	struct status_msg m = {.version = 1, .version_max = 1, .sender = 2};

	m.indicator = STATUS_NORMAL;
	m.state = NODE_NORMAL;
	m.role = STATUS_ROLE_SLAVE;
	m.generation = g->peer_generation;
	m.sequence = ++g->peer_sequence;
	m.flags = STATUS_F_MAJORITY;
	m.config_hash = g->conf.config_hash;
	if (g->peer_serves) {
		m.vs_count = 1;
		m.vs[0].id = g->conf.vs[0].id;
		m.vs[0].state = VS_SERVING;
		m.vs[0].target = m.vs[0].owner = 2;
		m.vs[0].epoch = 1;
		m.vs[0].fs_count = 1;
		m.vs[0].fs_state[0] = STATUS_FS_UP;
	}
	if (g->peer_master) {
		m.role = STATUS_ROLE_MASTER;
		m.master = 2;
	}
	if (g->peer_recovers)
		m.flags |= STATUS_F_RECOVERY;
	if (g->peer_wants) {
		m.vs_count = 1;
		m.vs[0] = (struct status_vs){.id = g->conf.vs[0].id, .state = VS_DOWN};
		m.vs[0].target = g->peer_wants;
		m.vs[0].fs_count = 1;
		m.vs[0].fs_state[0] = STATUS_FS_DOWN;
	}
	if (g->peer_released) {
		m.vs_count = 1;
		m.vs[0] = (struct status_vs){.id = g->conf.vs[0].id, .state = VS_DOWN};
		m.vs[0].flags = STATUS_VS_RELEASED;
		m.vs[0].target = m.vs[0].fs_count = 1;
		m.vs[0].epoch = 1;
		m.vs[0].fs_state[0] = STATUS_FS_DOWN;
	}
	if (g->peer_failed) {
		m.vs_count = 1;
		m.vs[0] = (struct status_vs){.id = g->conf.vs[0].id, .state = VS_DOWN};
		m.vs[0].flags = STATUS_VS_FAILED;
		m.vs[0].fs_count = 1;
		m.vs[0].fs_state[0] = STATUS_FS_DOWN;
	}
	if (g->acks) {
		m.peer_count = 1;
		m.peer[0].node = 1;
		m.peer[0].verdict = STATUS_V_ALIVE;
		m.peer[0].generation = g->n.generation;
		m.peer[0].acked = g->n.sequence - 1;
	}
	return m;
}

void rig_deliver(struct rig *g, const struct status_msg *m, unsigned path)
{
	struct event ev = {.type = EV_MSG};
	uint8_t bytes[STATUS_MAX];

	ev.msg.from = 2;
	ev.msg.path = path;
	ev.msg.data = bytes;
	ev.msg.len = status_encode(m, bytes, sizeof(bytes));
	rig_step(g, ev);
}

void rig_put_slot(struct rig *g, unsigned node, const struct status_msg *m)
{
	uint8_t bytes[STATUS_MAX];
	struct slot s = {.node = (uint16_t)node, .generation = m->generation};

	s.sequence = m->sequence;
	s.payload = bytes;
	s.payload_len = status_encode(m, bytes, sizeof(bytes));
	slot_encode(&s, g->sector[node - 1]);
	slot_finish(g->sector[node - 1]);
}

void rig_poll(struct rig *g, enum poll_result result)
{
	struct event ev = {.type = EV_UNIT_POLL, .epoch = g->n.unit[0].owner_epoch};

	if (!g->n.unit[0].held)
		return;
	ev.poll.result = result;
	ev.poll.started_ns = g->now;
	rig_step(g, ev);
}

/* Lets `ns` pass in small steps. */
void rig_pass(struct rig *g, uint64_t ns)
{
	for (uint64_t until = g->now + ns; g->now < until;) {
		uint64_t next = node_deadline_ns(&g->n);
		struct event tick = {.type = EV_TICK};
		struct status_msg m = rig_peer(g);

		g->now = next > g->now && next < g->now + T / 4 ? next : g->now + T / 4;
		if (g->peer_slot)
			rig_put_slot(g, 2, &m);
		if (g->peer_net)
			rig_deliver(g, &m, 0);
		rig_poll(g, POLL_MINE);
		rig_step(g, tick);
	}
}

void rig_conf(struct rig *g)
{
	struct node_conf *c = &g->conf;

	memset(g, 0, sizeof(*g));
	c->self = 1;
	c->config_hash = 77;
	c->node_count = 2;
	c->node[0] = (struct node_conf_peer){.id = 1, .name = "n1"};
	c->node[1] = (struct node_conf_peer){.id = 2, .name = "n2"};
	c->path_count = 1;
	c->path_clients[0] = true;
	c->device_count = 1;
	c->vs_count = c->unit_count = 1;
	snprintf(c->vs[0].name, sizeof(c->vs[0].name), "v1");
	c->vs[0].id = node_name_id("v1");
	c->vs[0].home = 1;
	c->vs[0].unit_count = c->vs[0].fs_count = 1;
	times_fast(&c->times, T);
	g->now = 1000 * T;
	g->peer_generation = 5;
	g->disk_write = g->disk_read = g->peer_net = g->peer_slot = true;
}

void rig_start(struct rig *g)
{
	node_init(&g->n, &g->conf, g->now);
	rig_step(g, (struct event){.type = EV_TICK});
	rig_pass(g, 3 * T);
}
