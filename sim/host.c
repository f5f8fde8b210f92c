/* host.c - a node: its machine, its clock, its holdfastd.
 *
 * Every event goes through host_step(): the brain is stepped, its invariants are checked, its
 * actions are carried out, the next tick is arranged.  A paused node's events wait for it, in
 * order; what was for an instance that is gone is dropped. */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define RATE     (1 << 20)
#define HELD_MAX 500 /* packets beyond this are lost in the socket buffer */

/* ---- clock ---------------------------------------------------------------------------------- */

uint64_t host_local_ns(const struct host *h, uint64_t real_ns)
{
	uint64_t up = real_ns - h->offset_ns;

	return (uint64_t)((int64_t)up + (int64_t)up * h->rate / RATE + h->shift_ns);
}

uint64_t host_real_ns(const struct host *h, uint64_t local_ns)
{
	int64_t up = (int64_t)local_ns - h->shift_ns;
	int64_t real = up - up * h->rate / RATE;
	uint64_t t;

	if (real < 0)
		real = 0;
	t = (uint64_t)real + h->offset_ns;
	while (host_local_ns(h, t) < local_ns)
		t += 1 + (local_ns - host_local_ns(h, t));
	return t;
}

/* ---- things to come ------------------------------------------------------------------------- */

struct sim_item *host_put(struct sim *s, struct host *h, uint64_t delay_ns, sim_fn *fn)
{
	struct sim_item *it = queue_put(s, delay_ns, fn);

	it->bound = BOUND_PROCESS;
	it->host = h->at;
	it->instance = h->process;
	return it;
}

struct sim_item *kernel_put(struct sim *s, struct host *h, uint64_t delay_ns, sim_fn *fn)
{
	struct sim_item *it = queue_put(s, delay_ns, fn);

	it->bound = BOUND_KERNEL;
	it->host = h->at;
	it->instance = h->kernel;
	return it;
}

struct sim_item *completion(struct sim *s, struct host *h, const struct action *a,
			    enum ev_type type, uint64_t delay_ns)
{
	struct sim_item *it = host_put(s, h, delay_ns, host_deliver);

	it->ev.type = type;
	it->ev.op = a->op;
	it->ev.epoch = a->epoch;
	it->ev.vs = a->vs;
	it->ev.unit = a->unit;
	return it;
}

/* ---- old completions, repeated -------------------------------------------------------------- */

static int old_slot(enum ev_type t)
{
	static const enum ev_type kinds[8] = {EV_RESERVED, EV_RELEASED,      EV_FENCED,
					      EV_MOUNTED,  EV_UNMOUNTED,     EV_ADDRESSES_UP,
					      EV_OPENED,   EV_ADDRESSES_DOWN};

	for (int i = 0; i < 8; i++)
		if (kinds[i] == t)
			return i;
	return -1;
}

static enum ev_type completes(enum act_type t)
{
	return t == ACT_RESERVE        ? EV_RESERVED
	       : t == ACT_RELEASE      ? EV_RELEASED
	       : t == ACT_FENCE        ? EV_FENCED
	       : t == ACT_MOUNT        ? EV_MOUNTED
	       : t == ACT_UNMOUNT      ? EV_UNMOUNTED
	       : t == ACT_ADDRESS_UP   ? EV_ADDRESSES_UP
	       : t == ACT_ADDRESS_DOWN ? EV_ADDRESSES_DOWN
	       : t == ACT_OPEN         ? EV_OPENED
				       : EV_TICK;
}

/* A completion that was delivered before comes again: nothing may change. */
static void deliver_stale(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct node_vs vs[SIM_VS];
	struct node_unit unit[SIM_UNITS];
	struct host_unit known[SIM_UNITS];
	struct event tick = {.type = EV_TICK};

	host_step(s, h, &tick);
	tick.type = EV_TICK;
	host_step(s, h, &tick);
	memcpy(vs, h->node.vs, sizeof(vs));
	memcpy(unit, h->node.unit, sizeof(unit));
	memcpy(known, h->unit, sizeof(known));
	mark("sim.stale_completion");
	host_step(s, h, &it->ev);
	memcpy(h->unit, known, sizeof(known));
	for (unsigned i = 0; i < s->vs_count; i++)
		if (vs[i].state != h->node.vs[i].state || vs[i].op != h->node.vs[i].op ||
		    vs[i].epoch != h->node.vs[i].epoch || vs[i].worker != h->node.vs[i].worker)
			sim_fail(s, "stale", "n%u: an old %s (op %llu) changed vs %u", h->at + 1,
				 ev_name(it->ev.type), (unsigned long long)it->ev.op, i);
	for (unsigned i = 0; i < s->unit_count; i++)
		if (unit[i].held != h->node.unit[i].held ||
		    unit[i].mounted != h->node.unit[i].mounted ||
		    unit[i].owner_epoch != h->node.unit[i].owner_epoch)
			sim_fail(s, "stale", "n%u: an old %s (op %llu) changed unit %u", h->at + 1,
				 ev_name(it->ev.type), (unsigned long long)it->ev.op, i);
}

static void maybe_stale(struct sim *s, struct host *h, const struct action *a)
{
	enum ev_type t = completes(a->type);
	int k = old_slot(t);
	struct sim_item *it;

	if (k < 0 || a->vs >= s->vs_count || !h->has_old[a->vs][k] || !chance(s, s->stale))
		return;
	it = host_put(s, h, below(s, 300 * US), deliver_stale);
	it->ev = h->old[a->vs][k];
}

void host_deliver(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	int k = old_slot(it->ev.type);

	if (k >= 0 && it->ev.vs < s->vs_count) {
		h->old[it->ev.vs][k] = it->ev;
		h->has_old[it->ev.vs][k] = true;
	}
	host_step(s, h, &it->ev);
}

/* ---- control -------------------------------------------------------------------------------- */

static void exit_in_order(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	host_daemon_dies(s, h, "shut down");
	mark("sim.shutdown");
	host_restart_later(s, h, between(s, SECOND, 8 * SECOND));
}

/* The process is replaced: what was let go of stays so, and the next instance begins soon. */
static void begin_anew(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	host_daemon_dies(s, h, "begins anew");
	mark("sim.restart");
	host_restart_later(s, h, between(s, 10 * MS, SECOND));
}

static void reply(struct sim *s, struct host *h, const struct action *a)
{
	for (unsigned i = 0; i < h->control_count; i++) {
		struct host_control *c = &h->control[i];

		if (c->id != a->reply.id)
			continue;
		if (a->reply.ok && c->verb == CONTROL_SHUTDOWN)
			host_put(s, h, MS, exit_in_order);
		mark(a->reply.ok ? "sim.reply_ok" : "sim.reply_refused");
		*c = h->control[--h->control_count];
		return;
	}
	sim_fail(s, "reply", "n%u answers request %u, which it does not have", h->at + 1,
		 a->reply.id);
}

uint32_t host_control(struct sim *s, struct host *h, struct event *ev)
{
	struct host_control *c = &h->control[h->control_count];

	if (!h->up || h->paused || h->control_count == SIM_CONTROLS)
		return 0;
	h->control_count++;
	c->id = ev->control.id = ++s->control_id;
	c->since_ns = s->now_ns;
	c->verb = ev->control.verb;
	ev->type = EV_CONTROL;
	host_step(s, h, ev);
	return ev->control.id;
}

/* ---- stepping ------------------------------------------------------------------------------- */

static void reboot_machine(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	mark("sim.self_fence");
	host_power_off(s, h, "fenced itself");
	host_restart_later(s, h, between(s, 2 * SECOND, 6 * SECOND));
}

static void carry_out(struct sim *s, struct host *h, const struct action *a)
{
	check_action(s, h, a);
	maybe_stale(s, h, a);
	switch (a->type) {
	case ACT_SEND:
		net_send(s, h, a);
		return;
	case ACT_SLOT_WRITE:
		device_write(s, h, a);
		return;
	case ACT_SLOT_READ:
		device_read(s, h, a);
		return;
	case ACT_MEMORY_WRITE:
		net_memory_write(s, h, a);
		return;
	case ACT_MEMORY_ASK:
		net_memory_ask(s, h, a);
		return;
	case ACT_MEMORY_KEEP:
		device_keep(s, h, a);
		return;
	case ACT_PERSIST:
		device_persist(s, h, a);
		return;
	case ACT_UNIT_READ:
		unit_look(s, h, a);
		return;
	case ACT_RESERVE:
		check_vote(s, h, a);
		unit_reserve(s, h, a);
		return;
	case ACT_RELEASE:
		unit_release(s, h, a);
		return;
	case ACT_FENCE:
		unit_fence(s, h, a);
		return;
	case ACT_MOUNT:
		unit_mount(s, h, a);
		return;
	case ACT_UNMOUNT:
		unit_unmount(s, h, a);
		return;
	case ACT_REPAIR:
		unit_repair(s, h, a);
		return;
	case ACT_REPAIR_STOP:
		unit_repair_stop(s, h, a);
		return;
	case ACT_WORKER_START:
		worker_start(s, h, a);
		return;
	case ACT_WORKER_DRAIN:
		worker_drain(s, h, a);
		return;
	case ACT_WORKER_KILL:
		worker_kill(s, h, a);
		return;
	case ACT_LEASE:
		worker_lease(s, h, a);
		return;
	case ACT_ADDRESS_UP:
		address_up(s, h, a);
		return;
	case ACT_ADDRESS_DOWN:
		address_down(s, h, a);
		return;
	case ACT_OPEN:
		worker_open(s, h, a);
		return;
	case ACT_REPLY:
		reply(s, h, a);
		return;
	case ACT_RESTART:
		host_put(s, h, between(s, MS, 100 * MS), begin_anew);
		return;
	case ACT_SELF_FENCE:
		host_put(s, h, 5 * MS, reboot_machine);
		return;
	case ACT_TICKLE:
	case ACT_LOG:
		return;
	}
}

/* In any order and at once: every other step is carried out in a random order. */
static void carry_all(struct sim *s, struct host *h)
{
	struct actions *out = &s->actions;

	if (out->count > 1 && chance(s, 500))
		for (unsigned i = out->count - 1; i > 0; i--) {
			unsigned j = (unsigned)below(s, i + 1);
			struct action t = out->a[i];

			out->a[i] = out->a[j];
			out->a[j] = t;
		}
	for (unsigned i = 0; i < out->count; i++)
		carry_out(s, h, &out->a[i]);
}

static void tick(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	if (it->a != h->tick_token)
		return;
	h->tick_at_ns = 0;
	it->ev.type = EV_TICK;
	host_step(s, h, &it->ev);
}

static void arrange_tick(struct sim *s, struct host *h)
{
	uint64_t local = node_deadline_ns(&h->node), at = s->now_ns, late;

	if (local > host_local_ns(h, s->now_ns)) {
		at = local > h->node.now_ns + 100 * SECOND ? s->now_ns + 100 * SECOND
							   : host_real_ns(h, local);
		h->tick_storm = 0;
	} else if (++h->tick_storm > 2000) {
		sim_fail(s, "interface", "n%u: its deadline stays in the past", h->at + 1);
	}
	if (h->tick_at_ns && h->tick_at_ns <= at)
		return; /* one comes soon enough, as late as that may be */
	late = h->slow ? below(s, h->slow * MS) : below(s, 300 * US);
	h->tick_at_ns = at;
	h->tick_token++;
	host_put(s, h, at + late - s->now_ns, tick)->a = h->tick_token;
}

void host_step(struct sim *s, struct host *h, struct event *ev)
{
	ev->now_ns = host_local_ns(h, s->now_ns) - h->back_ns;
	h->back_ns = 0;
	check_event(s, h, ev);
	node_step(&h->node, ev, &s->actions);
	check_step(s, h);
	if (h->node.persisted_generation == h->node.generation && h->node.generation)
		h->recalls = false;
	carry_all(s, h);
	arrange_tick(s, h);
}

/* ---- life and death ------------------------------------------------------------------------- */

void host_boot(struct sim *s, struct host *h)
{
	struct node_conf conf = s->conf;
	struct sim_item *it;

	if (h->up)
		return;
	if (!h->powered) {
		h->powered = true;
		h->offset_ns = s->now_ns - (s->now_ns ? below(s, s->now_ns) : 0);
		h->shift_ns = (int64_t)between(s, 4 * SECOND, 100 * SECOND);
		h->rate = (int64_t)below(s, 10001) - 5000; /* 0.5 % */
	}
	h->up = true;
	if (h->generation_sent > h->generation_max)
		h->generation_max = h->generation_sent;
	h->generation_sent = 0;
	h->control_count = 0;
	h->tick_at_ns = 0;
	h->tick_storm = 0;
	memset(h->announced_ns, 0, sizeof(h->announced_ns));
	memset(h->by_force, 0, sizeof(h->by_force));
	memset(h->seen, 0, sizeof(h->seen));
	memset(h->has_old, 0, sizeof(h->has_old));
	memset(h->vs, 0, sizeof(h->vs));
	for (unsigned u = 0; u < s->unit_count; u++) {
		h->unit[u].won = false;
		h->unit[u].epoch = 0;
		h->unit[u].poll_token++;
	}
	if (s->versions && s->version.config_version)
		conf = s->version;
	conf.self = (uint16_t)(h->at + 1);
	conf.persisted = h->persist_valid ? h->persist : NULL;
	if (h->persist_valid && !h->persist_old_valid) {
		memcpy(h->persist_old, h->persist, SLOT_SIZE);
		h->persist_old_valid = true;
	}
	for (unsigned i = 0; i < SIM_NODES; i++)
		conf.held[i] = h->mem_valid[i] ? h->mem[i] : NULL;
	say(s, h, "st", "boot", "persistent=%d", h->persist_valid);
	node_init(&h->node, &conf, host_local_ns(h, s->now_ns));
	h->said_state = h->node.state;
	for (unsigned v = 0; v < s->vs_count; v++)
		h->said_vs[v] = h->node.vs[v].state;
	it = host_put(s, h, between(s, US, MS), tick);
	it->a = ++h->tick_token;
	for (unsigned p = 0; p < s->path_count; p++) {
		it = host_put(s, h, between(s, MS, 300 * MS), host_deliver);
		it->ev.type = EV_PORT;
		it->ev.port.path = p;
		it->ev.port.quality = h->port_bad[p] ? 0 : 2;
	}
}

static void process_ends(struct sim *s, struct host *h)
{
	h->up = false;
	h->process++;
	if (h->paused)
		h->paused = false;
	while (h->held) {
		struct sim_item *it = h->held;

		h->held = it->next;
		queue_free(s, it);
	}
	h->held_end = &h->held;
	h->held_count = 0;
	for (unsigned u = 0; u < s->unit_count; u++) {
		h->unit[u].won = false;
		h->unit[u].repair.op = 0; /* it dies with us */
	}
}

void host_power_off(struct sim *s, struct host *h, const char *why)
{
	if (!h->powered)
		return;
	say(s, h, "st", "power-off", "%s", why);
	process_ends(s, h);
	h->powered = false;
	h->kernel++;
	for (unsigned i = 0; i < s->worker_end; i++)
		if (s->worker[i].used && s->worker[i].host == h->at)
			s->worker[i].alive = false;
	for (unsigned v = 0; v < s->vs_count; v++)
		h->vs[v].address_until_ns = 0;
	for (unsigned u = 0; u < s->unit_count; u++)
		h->unit[u].mounted = false;
}

static void orphan_dies(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];

	if (w->host == it->host && w->process == it->a) /* its place may be another's by now */
		w->alive = false;
}

/* Its workers notice by their control sockets, a little later; mounts stay. */
void host_daemon_dies(struct sim *s, struct host *h, const char *why)
{
	if (!h->up)
		return;
	say(s, h, "st", "exit", "%s", why);
	for (unsigned i = 0; i < s->worker_end; i++)
		if (s->worker[i].used && s->worker[i].alive && s->worker[i].host == h->at) {
			struct sim_item *it = kernel_put(s, h, below(s, 400 * MS), orphan_dies);

			it->x = i;
			it->a = s->worker[i].process;
		}
	process_ends(s, h);
}

static void restart(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	if (h->process == it->a)
		host_boot(s, h);
}

void host_restart_later(struct sim *s, struct host *h, uint64_t delay_ns)
{
	struct sim_item *it = queue_put(s, delay_ns, restart);

	it->host = h->at;
	it->a = h->process;
}

void host_pause(struct sim *s, struct host *h)
{
	if (!h->up || h->paused)
		return;
	say(s, h, "st", "pause", " ");
	h->paused = true;
}

void host_hold(struct sim *s, struct host *h, struct sim_item *it)
{
	if (it->ev.type == EV_SLOT_READ)
		device_keep_read(s, it);
	it->queued = true;
	it->next = NULL;
	*h->held_end = it;
	h->held_end = &it->next;
	h->held_count++;
}

/* What waited happens now, in order. */
void host_resume(struct sim *s, struct host *h)
{
	struct sim_item *it = h->held, *next;
	unsigned packets = 0;

	if (!h->paused)
		return;
	h->paused = false;
	say(s, h, "st", "resume", "held=%u", h->held_count);
	h->held = NULL;
	h->held_end = &h->held;
	h->held_count = 0;
	for (; it; it = next) {
		next = it->next;
		if (it->ev.type == EV_MSG && it->data && ++packets > HELD_MAX)
			queue_free(s, it);
		else
			queue_again(s, it, 0);
	}
}
