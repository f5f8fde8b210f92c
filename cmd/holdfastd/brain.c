/* brain.c - events in, actions out.
 *
 * Effects may complete while the actions of a step are being carried out; their events wait in a
 * queue which the loop's hook empties, so node_step() is never entered twice.  Within one step's
 * actions the addresses go down first and the worker is killed after: the kernel closes a dead
 * worker's connections at once, and a client that hears this while the address is still ours
 * would come back to us instead of waiting for the new owner. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "daemon.h"

static void perform_network(struct daemon *d, const struct action *a)
{
	switch (a->type) {
	case ACT_SEND:
		peers_send(d, a);
		break;
	case ACT_SLOT_WRITE:
		slots_write(d, a);
		break;
	case ACT_SLOT_READ:
		slots_read(d, a);
		break;
	case ACT_PERSIST:
		persist_write(d, a);
		break;
	case ACT_MEMORY_WRITE:
		partners_write(d, a);
		break;
	case ACT_MEMORY_KEEP:
		partners_keep(d, a);
		break;
	case ACT_MEMORY_ASK:
		partners_ask(d, a);
		break;
	case ACT_ADDRESS_UP:
		addresses_up(d, a);
		break;
	case ACT_TICKLE:
		addresses_tickle(d, a->vs);
		break;
	case ACT_REPLY:
		requests_reply(d, a);
		break;
	case ACT_LOG:
		log_at((enum log_level)a->log.level, "%s", a->log.text);
		diary_brain(d, a);
		break;
	case ACT_RESTART:
		requests_restart(d);
		break;
	case ACT_SELF_FENCE:
		daemon_self_fence(d, a->log.text);
		break;
	case ACT_UNIT_READ:
	case ACT_RESERVE:
	case ACT_RELEASE:
	case ACT_FENCE:
	case ACT_MOUNT:
	case ACT_UNMOUNT:
	case ACT_REPAIR:
	case ACT_REPAIR_STOP:
	case ACT_WORKER_START:
	case ACT_WORKER_DRAIN:
	case ACT_WORKER_KILL:
	case ACT_LEASE:
	case ACT_ADDRESS_DOWN:
	case ACT_OPEN:
		break;
	}
}

static void perform_service(struct daemon *d, const struct action *a)
{
	switch (a->type) {
	case ACT_UNIT_READ:
	case ACT_RESERVE:
	case ACT_RELEASE:
	case ACT_FENCE:
	case ACT_MOUNT:
	case ACT_UNMOUNT:
	case ACT_REPAIR:
		units_act(d, a);
		break;
	case ACT_REPAIR_STOP:
		units_repair_stop(d, a->unit);
		break;
	case ACT_WORKER_START:
		worker_start(d, a);
		break;
	case ACT_WORKER_DRAIN:
		worker_drain(d, a);
		break;
	case ACT_WORKER_KILL:
		worker_kill(d, a->vs);
		break;
	case ACT_OPEN:
		worker_open(d, a);
		break;
	case ACT_SEND:
	case ACT_SLOT_WRITE:
	case ACT_SLOT_READ:
	case ACT_PERSIST:
	case ACT_MEMORY_WRITE:
	case ACT_MEMORY_KEEP:
	case ACT_MEMORY_ASK:
	case ACT_ADDRESS_UP:
	case ACT_ADDRESS_DOWN:
	case ACT_TICKLE:
	case ACT_LEASE:
	case ACT_REPLY:
	case ACT_LOG:
	case ACT_RESTART:
	case ACT_SELF_FENCE:
		break;
	}
}

static void perform_all(struct daemon *d)
{
	const struct actions *as = d->actions;

	for (unsigned i = 0; i < as->count; i++)
		if (as->a[i].type == ACT_LEASE)
			worker_lease_set(d, as->a[i].vs, as->a[i].epoch, as->a[i].lease.until_ns);
	for (unsigned i = 0; i < as->count; i++)
		if (as->a[i].type == ACT_ADDRESS_DOWN)
			addresses_down(d, &as->a[i]);
	for (unsigned i = 0; i < as->count; i++)
		perform_network(d, &as->a[i]);
	for (unsigned i = 0; i < as->count; i++)
		perform_service(d, &as->a[i]);
}

static void step(struct daemon *d, struct event *ev)
{
	uint64_t took;

	hf_assert(!d->in_step);
	d->in_step = true;
	ev->now_ns = loop_clock_ns();
	node_step(d->node, ev, d->actions);
	perform_all(d);
	diary_watch(d);
	d->in_step = false;
	took = loop_clock_ns() - ev->now_ns;
	d->steps++;
	if (took > d->step_ns_max)
		d->step_ns_max = took;
}

static void set_tick(struct daemon *d)
{
	uint64_t at = node_deadline_ns(d->node);

	if (at == FOREVER_NS || at == 0)
		at = loop_clock_ns() + d->times.heartbeat_ns;
	loop_timer_set(d->loop, &d->tick, at);
}

static void empty_queue(struct loop_hook *h)
{
	struct daemon *d = LIST_OWNER(h, struct daemon, hook);
	bool any = d->queue_len > 0;

	while (d->queue_len) {
		struct event ev = d->queue[d->queue_head];

		d->queue_head = (d->queue_head + 1) % EVENT_QUEUE;
		d->queue_len--;
		step(d, &ev);
	}
	if (any)
		set_tick(d);
}

void brain_post(struct daemon *d, const struct event *ev)
{
	/* One completion an operation, and those are bounded: the queue cannot overflow. */
	hf_assert(d->queue_len < EVENT_QUEUE);
	d->queue[(d->queue_head + d->queue_len++) % EVENT_QUEUE] = *ev;
	loop_again(d->loop);
}

void brain_event(struct daemon *d, struct event *ev)
{
	step(d, ev);
	set_tick(d);
}

void brain_post_err(struct daemon *d, enum ev_type type, const struct action *a, int err)
{
	struct event ev = {.type = type, .op = a->op, .epoch = a->epoch, .vs = a->vs,
			   .unit = a->unit, .err = err};

	brain_post(d, &ev);
}

static void on_tick(struct loop_timer *t)
{
	struct daemon *d = LIST_OWNER(t, struct daemon, tick);
	struct event ev = {.type = EV_TICK};

	brain_event(d, &ev);
}

static uint64_t beats(const struct conf *c, uint32_t thousandths)
{
	return c->heartbeat_ns / 1000 * thousandths;
}

static void fill_times(struct times *t, const struct conf *c)
{
	if (c->profile == CONF_CLASSIC) {
		times_classic(t, c->node_count);
	} else {
		times_fast(t, c->heartbeat_ns);
		t->path_silent_ns = beats(c, c->timer.path_silent);
		t->dead_ns = beats(c, c->timer.dead);
		t->wait_ns = beats(c, c->timer.wait);
		t->lease_ns = beats(c, c->timer.lease);
		t->drift_ns = beats(c, c->timer.drift_stop);
	}
	t->countdown_ns = c->countdown_ns;
	/* The brain has one hold-down: the longest that a virtual server asks for. */
	t->hold_down_ns = 0;
	for (unsigned i = 0; i < c->vserver_count; i++)
		if (c->vserver[i].hold_down_ns > t->hold_down_ns)
			t->hold_down_ns = c->vserver[i].hold_down_ns;
}

static void fill_vs(struct node_conf_vs *to, const struct conf *c, const struct conf_vserver *v)
{
	snprintf(to->name, sizeof(to->name), "%s", v->name);
	to->gone = v->gone;
	to->unit[0] = v->gone ? NODE_NO_UNIT : 0;
	if (v->gone)
		return;
	to->id = node_name_id(v->name);
	to->off = v->off;
	to->home = c->node[v->home].id;
	to->priority = (int)v->priority;
	to->no_migrate = !v->migrate;
	to->giveback_auto = v->giveback == CONF_GIVEBACK_AUTO;
	/* 0 stands for "as the others" there */
	to->hold_down_ns = v->hold_down_ns ? v->hold_down_ns : 1;
	to->giveback_delay_ns = v->giveback_delay_ns ? v->giveback_delay_ns : 1;
	to->weight = v->weight;
	to->assign_manual = v->assign_manual;
	for (unsigned i = 0; i < v->node_count; i++)
		to->nodes |= (uint16_t)(1U << c->node[conf_find_node(c, v->node_name[i])].id);
	to->serving = conf_serving_hash(v);
	to->fs_count = (uint8_t)v->store_count;
	for (unsigned s = 0; s < v->store_count; s++) {
		unsigned k;

		for (k = 0; k < to->unit_count && to->unit[k] != v->store[s].unit; k++)
			;
		if (k == to->unit_count && k < NODE_VS_UNITS_MAX)
			to->unit[to->unit_count++] = (uint8_t)v->store[s].unit;
		to->fs_unit[s] = (uint8_t)k;
	}
}

const char *brain_conf_of(const struct conf *c, unsigned self, uint64_t version,
			  struct node_conf *nc)
{
	const struct conf_node *me = &c->node[self];
	const char *bad;

	memset(nc, 0, sizeof(*nc));
	nc->self = me->id;
	seal_cluster_id(c->name, nc->cluster);
	nc->config_hash = conf_hash(c);
	nc->config_version = version;
	nc->node_count = c->node_count;
	for (unsigned i = 0; i < c->node_count; i++) {
		nc->node[i].id = c->node[i].id;
		nc->node[i].capacity = c->node[i].capacity;
		snprintf(nc->node[i].name, sizeof(nc->node[i].name), "%s", c->node[i].name);
	}
	nc->path_count = me->path_count;
	for (unsigned i = 0; i < me->path_count; i++) {
		nc->path_clients[i] = !me->path[i].interconnect;
		nc->memory = nc->memory || me->path[i].interconnect;
	}
	nc->device_count = c->coord_count;
	nc->vs_count = c->vserver_count;
	for (unsigned i = 0; i < c->vserver_count; i++)
		fill_vs(&nc->vs[i], c, &c->vserver[i]);
	nc->unit_count = c->unit_count;
	for (unsigned i = 0; i < c->unit_count; i++) {
		snprintf(nc->unit[i].name, sizeof(nc->unit[i].name), "%s", c->unit[i].name);
		nc->unit[i].gone = c->unit[i].gone;
		nc->unit[i].id = c->unit[i].gone ? 0 : node_name_id(c->unit[i].name);
		nc->unit[i].fence_command = c->unit[i].fence_command[0] != '\0';
	}
	fill_times(&nc->times, c);
	nc->takeover_off = c->takeover_off;
	nc->standby_off = c->standby_off;
	nc->reboot_manual = c->reboot == CONF_REBOOT_MANUAL;
	bad = times_check(&nc->times);
	return bad ? bad : node_conf_check(nc);
}

const char *brain_conf(struct daemon *d, struct node_conf *nc)
{
	const char *bad = brain_conf_of(d->conf, d->self, d->config_version, nc);

	d->times = nc->times;
	return bad;
}

static bool has_unit(const struct conf *c, unsigned i)
{
	return i < c->unit_count && !c->unit[i].gone;
}

static bool has_vserver(const struct conf *c, unsigned i)
{
	return i < c->vserver_count && !c->vserver[i].gone;
}

/* NULL, or why the parts of the shell cannot take it now. */
const char *brain_parts_check(struct daemon *d, const struct conf *next)
{
	const char *me = d->conf->node[d->self].name;
	static char err[PATH_TEXT_MAX + 128];

	for (unsigned i = 0; i < next->unit_count; i++) {
		bool was = has_unit(d->conf, i), is = has_unit(next, i);

		if (is && !was && units_check(next, i, me, err, sizeof(err)))
			return err;
		if (is != was && (d->unit[i].now || d->unit[i].queue || d->unit[i].held))
			return "a helper is still at work on a unit: in a moment";
	}
	for (unsigned i = 0; i < next->vserver_count; i++)
		if (has_vserver(next, i) && !has_vserver(d->conf, i) && !workers_idle(d, i))
			return "a process of a virtual server that was removed is still ending";
	return readdress_check(d, next);
}

static void parts_change(struct daemon *d, const struct conf *next)
{
	static struct conf old;
	char err[PATH_TEXT_MAX + 128] = "";

	old = *d->conf;
	*d->conf = *next;
	for (unsigned i = 0; i < next->unit_count; i++)
		if (has_unit(next, i) && !has_unit(&old, i) && units_add(d, i, err, sizeof(err)))
			log_err("%s", err); /* its record went since the check: reading it fails */
	for (unsigned i = 0; i < next->vserver_count; i++) {
		if (has_vserver(next, i) == has_vserver(&old, i)) {
			if (has_vserver(next, i) && conf_serving_hash(&next->vserver[i]) !=
							conf_serving_hash(&old.vserver[i]))
				workers_renew(d, i);
			continue;
		}
		trouble_over(d, i);
		diary_forget(d, i);
		if (has_vserver(next, i)) {
			workers_add(d, i);
			addresses_add(d, i);
		} else {
			workers_remove(d, i);
		}
	}
	readdress(d, &old);
}

const char *brain_reconfigure(struct daemon *d, const struct conf *next)
{
	struct node_conf *nc = mem_zalloc(1, sizeof(*nc));
	struct event ev = {.type = EV_TICK};
	int self = conf_find_node(next, d->conf->node[d->self].name);
	const char *bad = self < 0 ? "this node is not in it" :
			  brain_conf_of(next, (unsigned)self, d->config_version, nc);

	if (!bad)
		bad = brain_parts_check(d, next);
	if (!bad)
		bad = node_reconfigure(d->node, nc);
	if (!bad) {
		d->times = nc->times;
		d->self = (unsigned)self;
		parts_change(d, next);
		brain_post(d, &ev);
	}
	free(nc);
	return bad;
}

void brain_init(struct daemon *d, const uint8_t *persisted)
{
	struct node_conf *nc = mem_zalloc(1, sizeof(*nc));
	const char *bad = brain_conf(d, nc);
	struct event ev = {.type = EV_TICK};

	hf_assert(!bad);
	nc->persisted = persisted;
	for (unsigned i = 0; i < NODE_NODES_MAX; i++)
		nc->held[i] = partners_held(d, i);
	d->node = mem_zalloc(1, sizeof(*d->node));
	d->actions = mem_zalloc(1, sizeof(*d->actions));
	d->queue = mem_zalloc(EVENT_QUEUE, sizeof(*d->queue));
	d->hook.call = empty_queue;
	d->tick.fire = on_tick;
	node_init(d->node, nc, loop_clock_ns());
	free(nc);
	loop_hook_add(d->loop, &d->hook);
	brain_post(d, &ev);
}
