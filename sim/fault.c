/* fault.c - what befalls a cluster: one table of faults, each with its undoing.
 *
 * Every seed allows a subset of the kinds and has its own pace, so that some seeds pile up many
 * faults of few kinds and others mix everything.  Durations are in tenths of T (the time base). */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "codec/slot.h"

struct fault_kind {
	const char *name;
	unsigned weight, lo, hi; /* how long, in T; 0: nothing to undo */
	bool (*begin)(struct sim *s, struct fault *f);
	void (*end)(struct sim *s, struct fault *f);
};

static uint64_t base_ns(const struct sim *s)
{
	return 2 * s->conf.times.slot_write_ns;
}

static unsigned any_host(struct sim *s)
{
	return (unsigned)below(s, s->node_count);
}

/* ---- network --------------------------------------------------------------------------------- */

static void cut(struct sim *s, unsigned from, unsigned to, unsigned path, int by)
{
	s->link[from][to][path].cut = (unsigned)((int)s->link[from][to][path].cut + by);
}

static void cut_node_paths(struct sim *s, unsigned a, int by)
{
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned p = 0; p < s->path_count; p++) {
			cut(s, a, i, p, by);
			cut(s, i, a, p, by);
		}
}

static bool cut_node(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	cut_node_paths(s, f->a, 1);
	return true;
}

static void cut_node_end(struct sim *s, struct fault *f)
{
	cut_node_paths(s, f->a, -1);
}

static void one_way(struct sim *s, const struct fault *f, int by)
{
	for (unsigned p = 0; p < s->path_count; p++)
		cut(s, f->a, f->b, p, by);
}

static bool cut_one_way(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	f->b = any_host(s);
	one_way(s, f, 1);
	return f->a != f->b;
}

static void cut_one_way_end(struct sim *s, struct fault *f)
{
	one_way(s, f, -1);
}

static void whole_path(struct sim *s, const struct fault *f, int by)
{
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned k = 0; k < s->node_count; k++)
			cut(s, i, k, f->c, by);
}

static bool cut_path(struct sim *s, struct fault *f)
{
	f->c = (unsigned)below(s, s->path_count);
	whole_path(s, f, 1);
	return true;
}

static void cut_path_end(struct sim *s, struct fault *f)
{
	whole_path(s, f, -1);
}

static void flap_turn(struct sim *s, struct sim_item *it)
{
	struct fault *f = &s->fault[it->x];

	if (!f->used || f->token != it->a)
		return;
	cut_node_paths(s, f->a, f->b ? -1 : 1);
	f->b = !f->b;
	queue_again(s, it, between(s, base_ns(s) / 2, 6 * base_ns(s)));
}

static bool flap(struct sim *s, struct fault *f)
{
	struct sim_item *it = queue_put(s, 0, flap_turn);

	f->a = any_host(s);
	f->b = 0;
	it->x = (unsigned)(f - s->fault);
	it->a = f->token;
	return true;
}

static void flap_end(struct sim *s, struct fault *f)
{
	if (f->b)
		cut_node_paths(s, f->a, -1);
}

static void all_links(struct sim *s, unsigned loss, unsigned dup, unsigned slow)
{
	for (unsigned i = 0; i < SIM_NODES; i++)
		for (unsigned k = 0; k < SIM_NODES; k++)
			for (unsigned p = 0; p < SIM_PATHS; p++) {
				s->link[i][k][p].loss = loss;
				s->link[i][k][p].dup = dup;
				s->link[i][k][p].slow = slow;
			}
}

static bool bad_net(struct sim *s, struct fault *f)
{
	(void)f;
	all_links(s, (unsigned)below(s, 700), (unsigned)below(s, 400),
		  chance(s, 500) ? (unsigned)below(s, base_ns(s) / MS * 5) + 1 : 0);
	return true;
}

static void bad_net_end(struct sim *s, struct fault *f)
{
	(void)f;
	all_links(s, 0, 0, 0);
}

static bool replay(struct sim *s, struct fault *f)
{
	(void)f;
	net_replay(s);
	return true;
}

static void tell_port(struct sim *s, unsigned host, unsigned path)
{
	struct host *h = &s->host[host];
	struct sim_item *it;

	if (!h->up)
		return;
	it = host_put(s, h, below(s, 30 * MS), host_deliver);
	it->ev.type = EV_PORT;
	it->ev.port.path = path;
	it->ev.port.quality = h->port_bad[path] ? 0 : 2;
}

static bool port_down(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	f->c = (unsigned)below(s, s->path_count);
	s->host[f->a].port_bad[f->c]++;
	for (unsigned i = 0; i < s->node_count; i++) {
		cut(s, f->a, i, f->c, 1);
		cut(s, i, f->a, f->c, 1);
	}
	tell_port(s, f->a, f->c);
	return true;
}

static void port_down_end(struct sim *s, struct fault *f)
{
	s->host[f->a].port_bad[f->c]--;
	for (unsigned i = 0; i < s->node_count; i++) {
		cut(s, f->a, i, f->c, -1);
		cut(s, i, f->a, f->c, -1);
	}
	tell_port(s, f->a, f->c);
}

static void maze_by(struct sim *s, const struct fault *f, int by)
{
	for (unsigned i = 0; i < s->node_count; i++) {
		for (unsigned k = 0; k < i; k++)
			for (unsigned p = 0;
			     p < s->path_count && f->links >> (i * SIM_NODES + k) & 1; p++) {
				cut(s, i, k, p, by);
				cut(s, k, i, p, by);
			}
		for (unsigned d = 0; d < s->device_count; d++)
			if (f->ways >> (i * SIM_DEVICES + d) & 1)
				s->device[d].cut[i] = (unsigned)((int)s->device[d].cut[i] + by);
	}
}

/* ---- coordination devices -------------------------------------------------------------------- */

static bool device_bad(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	s->device[f->a].bad++;
	return true;
}

static void device_bad_end(struct sim *s, struct fault *f)
{
	s->device[f->a].bad--;
}

static bool device_path(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	f->b = any_host(s);
	s->device[f->a].cut[f->b]++;
	return true;
}

static void device_path_end(struct sim *s, struct fault *f)
{
	s->device[f->a].cut[f->b]--;
}

static bool device_slow(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	f->b = 1 + (unsigned)below(s, 4 * base_ns(s) / MS);
	s->device[f->a].slow += f->b;
	return true;
}

static void device_slow_end(struct sim *s, struct fault *f)
{
	s->device[f->a].slow -= f->b;
}

static bool device_hang(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	s->device[f->a].hang++;
	return true;
}

static void device_hang_end(struct sim *s, struct fault *f)
{
	s->device[f->a].hang--;
}

static bool device_stale(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	s->device[f->a].stale = true;
	return true;
}

static void device_stale_end(struct sim *s, struct fault *f)
{
	s->device[f->a].stale = false;
	s->device[f->a].stale_until_ns = s->now_ns;
}

static bool device_torn(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->device_count);
	s->device[f->a].torn++;
	return true;
}

static void device_torn_end(struct sim *s, struct fault *f)
{
	s->device[f->a].torn--;
}

static bool memory_fails(struct sim *s, struct fault *f)
{
	s->host[f->a = any_host(s)].memory_bad++;
	return true;
}

static void memory_fails_end(struct sim *s, struct fault *f)
{
	s->host[f->a].memory_bad--;
}

/* Who reaches whom, and which device, becomes a matter of chance: splits of every shape. */
static bool maze(struct sim *s, struct fault *f)
{
	unsigned permille = 200 + (unsigned)below(s, 500);

	f->links = f->ways = 0;
	for (unsigned i = 0; i < s->node_count; i++) {
		for (unsigned k = 0; k < i; k++)
			f->links |= (uint64_t)chance(s, permille) << (i * SIM_NODES + k);
		for (unsigned d = 0; d < s->device_count; d++)
			f->ways |= (uint64_t)chance(s, permille) << (i * SIM_DEVICES + d);
	}
	maze_by(s, f, 1);
	return true;
}

static void maze_end(struct sim *s, struct fault *f)
{
	maze_by(s, f, -1);
}

static void deaf_by(struct sim *s, const struct fault *f, int by)
{
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned p = 0; p < s->path_count; p++)
			cut(s, i, f->a, p, by);
	for (unsigned d = 0; d < s->device_count; d++)
		s->device[d].deaf[f->a] = (unsigned)((int)s->device[d].deaf[f->a] + by);
}

static void force_it(struct sim *s, struct sim_item *it)
{
	struct event ev = {.type = EV_CONTROL};
	struct host *h = &s->host[it->x];

	if (!h->up || h->paused || it->x == it->y || s->phase != PHASE_FAULTS)
		return;
	ev.control.verb = CONTROL_TAKEOVER;
	ev.control.node = (uint16_t)(1 + it->y);
	ev.control.force = true;
	h->by_force[it->y] = true;
	mark("sim.forced_from_deaf");
	host_control(s, h, &ev);
}

/* A node that serves something, if there is one. */
static unsigned serving_host(struct sim *s)
{
	unsigned first = (unsigned)below(s, SIM_WORKERS);

	for (unsigned i = 0; i < SIM_WORKERS; i++) {
		const struct worker *w = &s->worker[(first + i) % SIM_WORKERS];

		if (worker_answers(s, w))
			return w->host;
	}
	return any_host(s);
}

/* A node that writes and sends, but reads and hears nothing: no announcement reaches it.  An
 * operator may force a takeover of it. */
static bool deaf(struct sim *s, struct fault *f)
{
	struct sim_item *it;

	f->a = serving_host(s);
	deaf_by(s, f, 1);
	if (chance(s, 800)) {
		it = queue_put(s, between(s, MS, 5 * base_ns(s)), force_it);
		it->x = (f->a + 1 + (unsigned)below(s, s->node_count - 1)) % s->node_count;
		it->y = f->a;
	}
	return true;
}

static void deaf_end(struct sim *s, struct fault *f)
{
	deaf_by(s, f, -1);
}

/* One node loses every way to the others: network and devices. */
static bool isolate(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	cut_node_paths(s, f->a, 1);
	for (unsigned d = 0; d < s->device_count; d++)
		s->device[d].cut[f->a]++;
	return true;
}

static void isolate_end(struct sim *s, struct fault *f)
{
	cut_node_paths(s, f->a, -1);
	for (unsigned d = 0; d < s->device_count; d++)
		s->device[d].cut[f->a]--;
}

/* ---- storage units --------------------------------------------------------------------------- */

static bool storage_path(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->unit_count);
	f->b = any_host(s);
	s->unit[f->a].cut[f->b]++;
	return !s->unit[f->a].dir;
}

static void storage_path_end(struct sim *s, struct fault *f)
{
	s->unit[f->a].cut[f->b]--;
}

static bool storage_slow(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->unit_count);
	f->b = 1 + (unsigned)below(s, 6 * base_ns(s) / MS);
	s->unit[f->a].slow += f->b;
	return true;
}

static void storage_slow_end(struct sim *s, struct fault *f)
{
	s->unit[f->a].slow -= f->b;
}

static bool storage_hang(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->unit_count);
	s->unit[f->a].hang++;
	return true;
}

static void storage_hang_end(struct sim *s, struct fault *f)
{
	s->unit[f->a].hang--;
}

static void attention(struct unit *u)
{
	for (unsigned i = 0; i < SIM_NODES; i++)
		u->attention[i] = true;
}

/* An initiator that is no node registers, and may take the reservation, or the holder's; what it
 * leaves behind may stay. */
static bool foreign(struct sim *s, struct fault *f)
{
	struct unit *u = &s->unit[f->a = (unsigned)below(s, s->unit_count)];

	if (u->dir)
		return false;
	u->key[SIM_FOREIGN] = 0x4711;
	if (u->holder && chance(s, 400)) {
		u->key[u->holder - 1] = 0;
		if (u->holder <= SIM_NODES)
			u->attention[u->holder - 1] = true;
		u->holder = 0;
		mark("sim.preempted_by_foreign");
	}
	if (!u->holder && chance(s, 600))
		u->holder = SIM_FOREIGN + 1;
	return true;
}

static void foreign_end(struct sim *s, struct fault *f)
{
	struct unit *u = &s->unit[f->a];

	if (s->phase == PHASE_FAULTS && chance(s, 400))
		return;
	u->key[SIM_FOREIGN] = 0;
	if (u->holder == SIM_FOREIGN + 1)
		u->holder = 0;
}

/* The target started again and forgot every key; it still refuses who is not registered.  (One that
 * then lets everybody write is labelled unfit: F2.) */
static bool target_restart(struct sim *s, struct fault *f)
{
	struct unit *u = &s->unit[f->a = (unsigned)below(s, s->unit_count)];

	if (u->dir)
		return false;
	memset(u->key, 0, sizeof(u->key));
	u->holder = 0;
	attention(u);
	return true;
}

/* LUN RESET by somebody: nothing is forgotten, everybody is told. */
static bool unit_attention(struct sim *s, struct fault *f)
{
	f->a = (unsigned)below(s, s->unit_count);
	attention(&s->unit[f->a]);
	return !s->unit[f->a].dir;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static bool crash(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	if (!s->host[f->a].powered)
		return false;
	host_power_off(s, &s->host[f->a], "power loss");
	return true;
}

static void crash_end(struct sim *s, struct fault *f)
{
	host_boot(s, &s->host[f->a]);
}

static bool daemon_dies(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	if (!s->host[f->a].up)
		return false;
	host_daemon_dies(s, &s->host[f->a], "crash");
	return true;
}

static bool all_crash(struct sim *s, struct fault *f)
{
	(void)f;
	for (unsigned i = 0; i < s->node_count; i++)
		host_power_off(s, &s->host[i], "power loss of all");
	return true;
}

static void all_crash_end(struct sim *s, struct fault *f)
{
	(void)f;
	for (unsigned i = 0; i < s->node_count; i++)
		host_restart_later(s, &s->host[i], below(s, 3 * SECOND));
}

static bool pause_node(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	if (!s->host[f->a].up || s->host[f->a].paused)
		return false;
	host_pause(s, &s->host[f->a]);
	return true;
}

static void pause_end(struct sim *s, struct fault *f)
{
	host_resume(s, &s->host[f->a]);
}

/* Greater than what counts as standing still; smaller jumps break the assumption about clocks. */
static bool clock_jump(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	s->host[f->a].shift_ns +=
	    (int64_t)(s->conf.times.tilt_ns + between(s, 2 * base_ns(s), 50 * base_ns(s)));
	return true;
}

/* An event that was stamped before one that came in earlier. */
static bool clock_back(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	s->host[f->a].back_ns = between(s, US, 5 * MS);
	return true;
}

static bool slow_node(struct sim *s, struct fault *f)
{
	f->a = any_host(s);
	f->b = 1 + (unsigned)below(s, base_ns(s) / MS);
	s->host[f->a].slow += f->b;
	return true;
}

static void slow_node_end(struct sim *s, struct fault *f)
{
	s->host[f->a].slow -= f->b;
}

/* Its slots hold what it last used: losing them and persistent memory at once is more than is
 * promised. */
static bool slots_know(const struct sim *s, const struct host *h)
{
	struct slot slot;

	for (unsigned d = 0; d < s->device_count; d++) {
		const struct sector *sec = &s->device[d].sector[h->at];

		if (sec->torn || sec->pending || slot_decode(&slot, s->device[d].now[h->at]) != 0 ||
		    slot.generation != h->generation_sent)
			return false;
	}
	return true;
}

/* A node that is off comes back with a new state directory. */
static bool persist_lost(struct sim *s, struct fault *f)
{
	struct host *h = &s->host[f->a = any_host(s)];

	if (h->up || !h->persist_valid || !slots_know(s, h))
		return false;
	h->persist_valid = false;
	memset(h->mem_valid, 0, sizeof(h->mem_valid));
	return true;
}

/* A node that is off comes back with an old image of its state directory. */
static bool persist_old(struct sim *s, struct fault *f)
{
	struct host *h = &s->host[f->a = any_host(s)];

	if (h->up || !h->persist_valid || !h->persist_old_valid || !slots_know(s, h))
		return false;
	memcpy(h->persist, h->persist_old, SLOT_SIZE);
	h->recalls = true;
	return true;
}

/* ---- the shell's operations -------------------------------------------------------------------
 */

static bool steps_fail(struct sim *s, struct fault *f)
{
	(void)f;
	s->step_fail = 20 + (unsigned)below(s, 250);
	return true;
}

static void steps_fail_end(struct sim *s, struct fault *f)
{
	(void)f;
	s->step_fail = 0;
}

static bool steps_hang(struct sim *s, struct fault *f)
{
	(void)f;
	s->op_hang = 20 + (unsigned)below(s, 200);
	return true;
}

static void steps_hang_end(struct sim *s, struct fault *f)
{
	(void)f;
	s->op_hang = 0;
}

static bool stale(struct sim *s, struct fault *f)
{
	(void)f;
	s->stale = 500;
	return true;
}

static void stale_end(struct sim *s, struct fault *f)
{
	(void)f;
	s->stale = 0;
}

static bool worker_crash(struct sim *s, struct fault *f)
{
	(void)f;
	worker_fault(s, "crash");
	return true;
}

static bool worker_fail(struct sim *s, struct fault *f)
{
	(void)f;
	worker_fault(s, "fail");
	return true;
}

static bool worker_storage(struct sim *s, struct fault *f)
{
	(void)f;
	worker_fault(s, "storage");
	return true;
}

/* ---- operators ---------------------------------------------------------------------------------
 */

static bool command(struct sim *s, unsigned host, struct event *ev)
{
	return host_control(s, &s->host[host], ev) != 0;
}

static bool op_move(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_VS_MOVE;
	ev.control.vs_id = s->conf.vs[below(s, s->vs_count)].id;
	ev.control.node = (uint16_t)(1 + any_host(s));
	ev.control.dry_run = chance(s, 50);
	return command(s, any_host(s), &ev);
}

static bool op_takeover(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	f->a = any_host(s);
	f->b = any_host(s);
	if (!s->host[f->a].up || s->host[f->a].paused || f->a == f->b)
		return false;
	ev.control.verb = CONTROL_TAKEOVER;
	ev.control.node = (uint16_t)(1 + f->b);
	ev.control.force = chance(s, 400);
	ev.control.in_ns = chance(s, 500) ? between(s, 10, 100) * base_ns(s) : 0;
	s->host[f->a].by_force[f->b] = true;
	return command(s, f->a, &ev);
}

static bool op_giveback(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_GIVEBACK;
	ev.control.node = (uint16_t)(chance(s, 300) ? 0 : 1 + any_host(s));
	return command(s, any_host(s), &ev);
}

static bool op_inhibit(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	f->a = any_host(s);
	f->b = 1 + (unsigned)below(s, 4);
	f->c = (unsigned)below(s, s->vs_count);
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = (enum inhibit_scope)f->b;
	ev.control.vs_id = s->conf.vs[f->c].id;
	ev.control.on = true;
	return command(s, f->a, &ev);
}

static void op_inhibit_end(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = (enum inhibit_scope)f->b;
	ev.control.vs_id = s->conf.vs[f->c].id;
	command(s, f->a, &ev);
}

static bool op_cancel(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_CANCEL;
	ev.control.node = (uint16_t)(1 + any_host(s));
	return command(s, any_host(s), &ev);
}

static bool op_shutdown(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_SHUTDOWN;
	return command(s, any_host(s), &ev);
}

static bool op_reboot(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_REBOOT;
	return command(s, any_host(s), &ev);
}

static bool op_start(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = CONTROL_VS_START;
	ev.control.vs_id = chance(s, 900) ? s->conf.vs[below(s, s->vs_count)].id : 4711;
	return command(s, any_host(s), &ev);
}

static bool op_unit(struct sim *s, struct fault *f)
{
	struct event ev = {.type = EV_CONTROL};

	(void)f;
	ev.control.verb = chance(s, 500) ? CONTROL_CLAIM : CONTROL_RELEASE;
	ev.control.vs_id = s->conf.vs[below(s, s->vs_count)].id;
	return command(s, any_host(s), &ev);
}

static bool load(struct sim *s, struct fault *f)
{
	struct host *h = &s->host[any_host(s)];
	struct sim_item *it;

	(void)f;
	if (!h->up)
		return false;
	it = host_put(s, h, 0, host_deliver);
	it->ev.type = EV_LOAD;
	it->ev.load.cpu_permille = (uint16_t)below(s, 1000);
	it->ev.load.iops = (uint32_t)below(s, 100000);
	return true;
}

static const struct fault_kind kinds[] = {
    {"net.cut_node", 6, 1, 120, cut_node, cut_node_end},
    {"net.one_way", 6, 1, 120, cut_one_way, cut_one_way_end},
    {"net.cut_path", 6, 1, 120, cut_path, cut_path_end},
    {"net.flap", 3, 10, 100, flap, flap_end},
    {"net.bad", 5, 5, 150, bad_net, bad_net_end},
    {"net.replay", 4, 0, 0, replay, NULL},
    {"net.port", 4, 5, 200, port_down, port_down_end},
    {"dev.lost", 5, 1, 150, device_bad, device_bad_end},
    {"dev.path", 5, 1, 150, device_path, device_path_end},
    {"dev.slow", 4, 5, 150, device_slow, device_slow_end},
    {"dev.hang", 3, 5, 60, device_hang, device_hang_end},
    {"dev.stale", 4, 5, 150, device_stale, device_stale_end},
    {"dev.torn", 4, 5, 100, device_torn, device_torn_end},
    {"net.maze", 6, 3, 150, maze, maze_end},
    {"node.deaf", 4, 8, 60, deaf, deaf_end},
    {"node.isolated", 6, 1, 150, isolate, isolate_end},
    {"node.crash", 9, 5, 150, crash, crash_end},
    {"node.daemon", 5, 1, 80, daemon_dies, crash_end},
    {"node.all_crash", 1, 5, 60, all_crash, all_crash_end},
    {"node.pause", 9, 1, 120, pause_node, pause_end},
    {"node.clock", 3, 0, 0, clock_jump, NULL},
    {"node.clock_back", 1, 0, 0, clock_back, NULL},
    {"node.slow", 3, 10, 100, slow_node, slow_node_end},
    {"node.persistent_memory", 3, 0, 0, persist_lost, NULL},
    {"node.memory_fails", 2, 5, 150, memory_fails, memory_fails_end},
    {"node.old_memory", 3, 0, 0, persist_old, NULL},
    {"unit.path", 6, 1, 400, storage_path, storage_path_end},
    {"unit.slow", 3, 5, 150, storage_slow, storage_slow_end},
    {"unit.hang", 3, 5, 80, storage_hang, storage_hang_end},
    {"unit.foreign", 3, 5, 100, foreign, foreign_end},
    {"unit.restart", 2, 0, 0, target_restart, NULL},
    {"unit.attention", 3, 0, 0, unit_attention, NULL},
    {"shell.fails", 4, 10, 100, steps_fail, steps_fail_end},
    {"shell.hangs", 3, 10, 80, steps_hang, steps_hang_end},
    {"shell.stale", 4, 50, 200, stale, stale_end},
    {"worker.crash", 5, 0, 0, worker_crash, NULL},
    {"worker.fails", 2, 0, 0, worker_fail, NULL},
    {"worker.storage", 2, 0, 0, worker_storage, NULL},
    {"op.move", 8, 0, 0, op_move, NULL},
    {"op.takeover", 4, 0, 0, op_takeover, NULL},
    {"op.giveback", 5, 0, 0, op_giveback, NULL},
    {"op.inhibit", 2, 10, 200, op_inhibit, op_inhibit_end},
    {"op.cancel", 2, 0, 0, op_cancel, NULL},
    {"op.shutdown", 2, 0, 0, op_shutdown, NULL},
    {"op.reboot", 1, 0, 0, op_reboot, NULL},
    {"op.start", 2, 0, 0, op_start, NULL},
    {"load", 1, 0, 0, load, NULL},
    {"op.unit", 0, 0, 0, op_unit, NULL}, /* when it is named only: other seeds stay what they were */
};
#define NAMED_WEIGHT 6
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void end_fault(struct sim *s, struct fault *f)
{
	say(s, NULL, "fa", "over", "%s", f->kind->name);
	if (f->kind->end)
		f->kind->end(s, f);
	f->used = false;
}

static void fault_over(struct sim *s, struct sim_item *it)
{
	struct fault *f = &s->fault[it->x];

	if (f->used && f->token == it->a)
		end_fault(s, f);
}

static unsigned weight_of(const struct sim *s, unsigned kind)
{
	if (!(s->fault_allowed >> kind & 1))
		return 0;
	return kinds[kind].weight ? kinds[kind].weight : NAMED_WEIGHT;
}

static const struct fault_kind *pick(struct sim *s)
{
	unsigned total = 0, at;

	for (unsigned i = 0; i < KINDS; i++)
		total += weight_of(s, i);
	at = (unsigned)below(s, total);
	for (unsigned i = 0; i < KINDS; i++) {
		unsigned weight = weight_of(s, i);

		if (at < weight)
			return &kinds[i];
		at -= weight;
	}
	return NULL;
}

static bool running(const struct sim *s, const struct fault_kind *k)
{
	for (unsigned i = 0; i < SIM_FAULTS; i++)
		if (s->fault[i].used && s->fault[i].kind == k)
			return true;
	return false;
}

/* Some kinds are settings of the whole world and run once at a time. */
static bool alone(const struct fault_kind *k)
{
	return k->begin == device_stale || k->begin == bad_net || k->begin == steps_fail ||
	       k->begin == steps_hang || k->begin == stale;
}

static void begin_fault(struct sim *s, const struct fault_kind *k)
{
	struct fault *f = NULL;
	struct sim_item *it;

	for (unsigned i = 0; i < SIM_FAULTS && !f; i++)
		if (!s->fault[i].used)
			f = &s->fault[i];
	if (!f || (alone(k) && running(s, k)))
		return;
	memset(f, 0, sizeof(*f));
	f->kind = k;
	f->token = ++s->fault_token;
	f->used = true;
	if (!k->begin(s, f)) {
		if (k->end && (k->begin == storage_path || k->begin == cut_one_way))
			k->end(s, f);
		f->used = false;
		return;
	}
	s->faults_begun++;
	mark("fault.%s", k->name);
	say(s, NULL, "fa", k->name, "a=%u b=%u c=%u", f->a, f->b, f->c);
	if (k->hi == 0) {
		f->used = false;
		return;
	}
	it = queue_put(s, between(s, k->lo * base_ns(s), k->hi * base_ns(s)), fault_over);
	it->x = (unsigned)(f - s->fault);
	it->a = f->token;
}

static void next_fault(struct sim *s, struct sim_item *it)
{
	const struct fault_kind *k;

	if (s->phase != PHASE_FAULTS)
		return;
	k = pick(s);
	if (k)
		begin_fault(s, k);
	/* `b` is the mean distance */
	queue_again(s, it, it->b / 10 + below(s, 2 * it->b));
}

/* `only` is a list of beginnings of names, divided by commas. */
static bool named(const char *only, const char *name)
{
	for (size_t len; *only; only += len + (only[len] == ',')) {
		len = strcspn(only, ",");
		if (len && strncmp(name, only, len) == 0)
			return true;
	}
	return false;
}

void faults_start(struct sim *s, const char *only)
{
	struct sim_item *it = queue_put(s, between(s, SECOND, 5 * SECOND), next_fault);

	it->b = between(s, 300, 4000) * MS;
	for (unsigned i = 0; i < KINDS; i++)
		if (kinds[i].weight)
			s->fault_allowed |= (uint64_t)chance(s, 550) << i;
	if (chance(s, 250) || s->fault_allowed == 0)
		for (unsigned i = 0; i < KINDS; i++)
			s->fault_allowed |= (uint64_t)(kinds[i].weight != 0) << i;
	if (!only)
		return;
	s->fault_allowed = 0;
	for (unsigned i = 0; i < KINDS; i++)
		if (named(only, kinds[i].name))
			s->fault_allowed |= 1ULL << i;
}

void faults_heal(struct sim *s)
{
	for (unsigned i = 0; i < SIM_FAULTS; i++)
		if (s->fault[i].used)
			end_fault(s, &s->fault[i]);
}
