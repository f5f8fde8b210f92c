/* world.c - the queue, the nodes' shells, the devices and the checkers; see world.h. */
#include "world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/trace.h"

/* ---- chance and time ------------------------------------------------------------------------ */

uint64_t sim_random(struct world *w, uint64_t below)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return below ? (w->rng * 0x2545F4914F6CDD1DULL >> 16) % below : 0;
}

bool sim_chance(struct world *w, unsigned permille)
{
	return !w->fixed && sim_random(w, 1000) < permille;
}

/* A delay around `typical`, now and then much longer. */
static uint64_t delay(struct world *w, uint64_t typical_ns)
{
	uint64_t d;

	if (w->fixed)
		return typical_ns;
	d = typical_ns / 2 + sim_random(w, typical_ns);
	if (w->chaos && sim_chance(w, 20))
		d += sim_random(w, 5 * SIM_BEAT);
	return d;
}

static uint64_t local_time(const struct world *w, const struct sim_node *s)
{
	uint64_t run = w->now_ns - s->booted_ns;

	return s->clock_base_ns + (uint64_t)((int64_t)run + (int64_t)run * s->ppm / 1000000);
}

/* World time at which the node's clock shows `local`, rounded up. */
static uint64_t world_time(const struct sim_node *s, uint64_t local)
{
	uint64_t run = local > s->clock_base_ns ? local - s->clock_base_ns : 0;

	return s->booted_ns + (uint64_t)((int64_t)run - (int64_t)run * s->ppm / 1000000) + 5000;
}

void world_trace(struct world *w, unsigned node, const char *fmt, ...)
{
	char text[320];
	va_list ap;
	int len;

	len = snprintf(text, sizeof(text), "[%6llu.%02llu] n%u ",
		       (unsigned long long)(w->now_ns / MS),
		       (unsigned long long)(w->now_ns % MS / 10000), node + 1);
	va_start(ap, fmt);
	vsnprintf(text + len, sizeof(text) - (size_t)len, fmt, ap);
	va_end(ap);
	w->trace_hash = crc32c(w->trace_hash, text, strlen(text));
	if (w->verbose)
		fprintf(w->out, "%s\n", text);
}

static void violation(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void violation(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof(w->failure), fmt, ap);
	va_end(ap);
}

/* ---- the queue ------------------------------------------------------------------------------ */

static bool before(const struct sim_item *a, const struct sim_item *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->number < b->number);
}

static void push(struct world *w, struct sim_item *it)
{
	size_t i = w->heap_count;

	if (w->heap_count == w->heap_size) {
		w->heap_size = w->heap_size ? w->heap_size * 2 : 1024;
		w->heap = mem_realloc(w->heap, w->heap_size * sizeof(*w->heap));
	}
	it->number = w->number++;
	w->heap[w->heap_count++] = it;
	while (i > 0 && before(it, w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = it;
}

static struct sim_item *pop(struct world *w)
{
	struct sim_item *top = w->heap[0], *last = w->heap[--w->heap_count];
	size_t i = 0;

	for (;;) {
		size_t k = 2 * i + 1;

		if (k >= w->heap_count)
			break;
		if (k + 1 < w->heap_count && before(w->heap[k + 1], w->heap[k]))
			k++;
		if (!before(w->heap[k], last))
			break;
		w->heap[i] = w->heap[k];
		i = k;
	}
	w->heap[i] = last;
	return top;
}

static struct sim_item *item(struct world *w, enum sim_kind kind, unsigned node, uint64_t after_ns)
{
	struct sim_item *it = mem_zalloc(1, sizeof(*it));

	it->kind = kind;
	it->node = node;
	it->life = w->node[node].life;
	it->at_ns = w->now_ns + after_ns;
	return it;
}

static void item_free(struct sim_item *it)
{
	free(it->payload);
	free(it);
}

static void payload(struct sim_item *it, const void *data, size_t len)
{
	it->payload = mem_alloc(len);
	it->payload_len = len;
	memcpy(it->payload, data, len);
}

/* ---- workers and checkers ------------------------------------------------------------------- */

static bool running(const struct sim_node *s)
{
	return s->on && !s->paused;
}

/* Would this worker answer a client now? */
static bool serves(const struct world *w, unsigned node, unsigned vs)
{
	const struct sim_node *s = &w->node[node];
	const struct sim_worker *k = &s->worker[vs];

	return running(s) && k->alive && k->open && local_time(w, s) < k->lease_until_ns;
}

int sim_server(const struct world *w, unsigned vs)
{
	for (unsigned i = 0; i < w->node_count; i++)
		if (serves(w, i, vs) && w->node[i].address[vs])
			return (int)i;
	return -1;
}

/* F4, section 1 rule 2: one worker answers, one address with a lease. */
static void check_one_server(struct world *w)
{
	for (unsigned v = 0; v < w->vs_count; v++) {
		int first = -1;

		for (unsigned i = 0; i < w->node_count; i++) {
			if (!serves(w, i, v))
				continue;
			if (first >= 0)
				violation(w, "two workers serve v%u: n%d and n%u", v + 1, first + 1,
					  i + 1);
			first = (int)i;
		}
	}
}

/* A worker's write: storage lets it through by the key alone; then epochs must never go back. */
static void try_write(struct world *w, unsigned node, unsigned vs)
{
	struct sim_unit *u = &w->unit[vs];
	struct sim_node *s = &w->node[node];
	uint64_t epoch = s->worker[vs].epoch;

	if (s->cut_storage || u->holder != node + 1 || u->holder_generation != s->brain->generation)
		return; /* EIO or EBADE */
	u->writes++;
	if (epoch < u->last_epoch || (epoch == u->last_epoch && u->last_writer != node + 1))
		violation(w, "unit u%u: n%u writes at epoch %llu after n%u at %llu", vs + 1,
			  node + 1, (unsigned long long)epoch, u->last_writer,
			  (unsigned long long)u->last_epoch);
	if (!s->mounted[vs])
		violation(w, "unit u%u: n%u writes without a mount", vs + 1, node + 1);
	u->last_epoch = epoch;
	u->last_writer = (uint16_t)(node + 1);
}

static void deliver_worker(struct world *w, unsigned node, enum ev_type type, unsigned vs,
			   uint64_t after_ns)
{
	struct sim_item *it = item(w, SIM_DELIVER, node, after_ns);

	it->ev.type = type;
	it->ev.vs = vs;
	it->ev.epoch = w->node[node].worker[vs].epoch;
	push(w, it);
}

static void worker_dies(struct world *w, unsigned node, unsigned vs, uint64_t after_ns)
{
	struct sim_worker *k = &w->node[node].worker[vs];

	k->alive = k->open = k->ready = false;
	k->life++;
	deliver_worker(w, node, EV_WORKER_EXITED, vs, after_ns);
}

/* Every few ms each worker does something: writes while it recovers, reads and writes. */
static void work(struct world *w)
{
	for (unsigned i = 0; i < w->node_count; i++)
		for (unsigned v = 0; v < w->vs_count; v++) {
			struct sim_worker *k = &w->node[i].worker[v];

			if (!running(&w->node[i]) || !k->alive)
				continue;
			if (!k->ready || k->draining || serves(w, i, v))
				try_write(w, i, v);
			if (serves(w, i, v)) {
				w->served_ops++;
				if (w->node[i].cut_storage && sim_chance(w, 100)) {
					struct sim_item *it = item(w, SIM_DELIVER, i, MS);

					it->ev.type = EV_WORKER_FAILED;
					it->ev.vs = v;
					it->ev.epoch = k->epoch;
					it->ev.worker.storage = true;
					push(w, it);
				}
			}
		}
}

/* ---- a node's step -------------------------------------------------------------------------- */

static void perform(struct world *w, unsigned node, const struct action *a);

static void schedule_tick(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];
	uint64_t at = world_time(s, node_deadline_ns(s->brain));
	struct sim_item *it = item(w, SIM_TICK, node, 0);

	it->at_ns = at > w->now_ns ? at : w->now_ns + 10000;
	it->tick_number = ++s->tick_number;
	push(w, it);
}

/* The numbered steps of the seeds that the brain went through just now; one that repeats while it
 * waits is shown once. */
static void trace_steps(struct world *w, unsigned node, uint64_t since)
{
	struct sim_node *s = &w->node[node];
	const struct trace_mark *m;

	while ((m = trace_mark_after(since)) != NULL) {
		const char *dot = strchr(m->name, '.');

		since = m->last;
		if ((strncmp(m->name, "step.", 5) != 0 &&
		     strncmp(m->name, "transition.", 11) != 0) ||
		    s->shown == m->name)
			continue;
		s->shown = m->name;
		world_trace(w, node, "-- %.*s %s", (int)(dot - m->name), m->name, dot + 1);
	}
}

static void step(struct world *w, unsigned node, struct event *ev)
{
	struct sim_node *s = &w->node[node];
	uint64_t since = trace_mark_now();

	ev->now_ns = local_time(w, s);
	w->steps++;
	node_step(s->brain, ev, &w->actions);
	if (w->verbose)
		trace_steps(w, node, since);
	for (unsigned i = 0; i < w->actions.count; i++)
		perform(w, node, &w->actions.a[i]);
	node_check(s->brain);
	schedule_tick(w, node);
}

static void deliver(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];
	uint8_t(*sectors)[SLOT_SIZE];

	if (it->ev.type == EV_MSG || it->ev.type == EV_HELD) {
		it->ev.msg.data = it->payload;
		it->ev.msg.len = it->payload_len;
	} else if (it->ev.type == EV_SLOT_READ && it->payload) {
		sectors = (uint8_t(*)[SLOT_SIZE])(void *)it->payload;
		it->ev.slots.sector = (const uint8_t(*)[SLOT_SIZE])sectors;
	} else if (it->ev.type == EV_FIRST_REPLY) {
		it->ev.worker.at_ns = local_time(w, s);
	} else if (it->ev.type == EV_WORKER_READY && s->worker[it->ev.vs].alive &&
		   s->worker[it->ev.vs].epoch == it->ev.epoch) {
		s->worker[it->ev.vs].ready = true;
	}
	step(w, it->node, &it->ev);
}

/* ---- actions: what the shell does ----------------------------------------------------------- */

static void complete(struct world *w, unsigned node, const struct action *a, enum ev_type type,
		     int err, uint64_t after_ns)
{
	struct sim_item *it = item(w, SIM_DELIVER, node, after_ns);

	it->ev.type = type;
	it->ev.op = a->op;
	it->ev.epoch = a->epoch;
	it->ev.vs = a->vs;
	it->ev.unit = a->unit;
	it->ev.err = err;
	push(w, it);
	if (w->chaos && sim_chance(w, 3)) { /* a completion that comes twice */
		struct sim_item *again = item(w, SIM_DELIVER, node, after_ns + delay(w, SIM_BEAT));

		HF_MARK("fault.stale_completion");
		again->ev = it->ev;
		again->ev.err = 0;
		push(w, again);
	}
}

static void send(struct world *w, unsigned node, const struct action *a)
{
	unsigned to = a->send.to - 1U, copies = sim_chance(w, w->dup_permille) ? 2 : 1;

	if (w->cut[a->send.path][node][to] || sim_chance(w, w->loss_permille))
		return;
	for (; copies > 0; copies--) {
		struct sim_item *it = item(w, SIM_DELIVER, to, delay(w, MS / 2));

		it->ev.type = EV_MSG;
		it->ev.msg.from = (uint16_t)(node + 1);
		it->ev.msg.path = a->send.path;
		payload(it, a->send.data, a->send.len);
		push(w, it);
	}
}

/* The remote-write agent answers from what it holds; it needs no brain. Path 1 is the interconnect. */
static void memory_ask(struct world *w, unsigned node, const struct action *a)
{
	unsigned to = a->send.to - 1U;
	struct sim_node *s = &w->node[to];
	struct sim_item *it;

	if (!s->on || s->paused || s->daemon_paused || w->cut[1][node][to] || w->cut[1][to][node])
		return;
	it = item(w, SIM_DELIVER, node, delay(w, MS));
	it->ev.type = EV_HELD;
	it->ev.msg.from = a->send.to;
	if (s->has_held[node]) {
		struct slot held;

		hf_assert(slot_decode(&held, s->held[node]) == 0);
		payload(it, held.payload, held.payload_len);
	}
	push(w, it);
}

static void memory_write(struct world *w, unsigned node, const struct action *a)
{
	struct sim_item *it;
	unsigned to = a->send.to - 1U;

	if (w->cut[1][node][to])
		return;
	it = item(w, SIM_DELIVER, to, delay(w, MS / 2));
	it->ev.type = EV_MSG;
	it->ev.msg.from = (uint16_t)(node + 1);
	it->ev.msg.path = NODE_PATH_MEMORY;
	payload(it, a->send.data, a->send.len);
	push(w, it);
}

static void later(struct world *w, unsigned node, const struct action *a, uint64_t typical_ns)
{
	struct sim_item *it = item(w, SIM_EFFECT, node, delay(w, typical_ns));

	it->act = *a;
	if (a->type == ACT_SLOT_WRITE || a->type == ACT_PERSIST || a->type == ACT_MEMORY_KEEP)
		payload(it, a->slot.sector, SLOT_SIZE);
	if (a->type == ACT_SLOT_WRITE || a->type == ACT_SLOT_READ)
		it->at_ns += w->node[node].slow_ns ? sim_random(w, w->node[node].slow_ns) : 0;
	push(w, it);
}

static void note_announcement(struct world *w, unsigned node)
{
	const struct node *b = w->node[node].brain;

	for (unsigned i = 0; i < b->peer_count; i++) {
		unsigned victim = b->peer[i].id - 1U;

		if (b->peer[i].step < 'a' || b->peer[i].step > 'd')
			w->announced_ns[node][victim] = 0;
		else if (!w->announced_ns[node][victim])
			w->announced_ns[node][victim] = local_time(w, &w->node[node]);
	}
}

/* ST-58: by force only after the announcement was out for the wait of 213b. */
static void check_wait(struct world *w, unsigned node, const struct action *a)
{
	const struct node *b = w->node[node].brain;
	unsigned victim = a->reserve.victim - 1U;
	uint64_t since;

	if (a->reserve.mode != RESERVE_VICTIM || b->vs[a->vs].reason == REASON_GAVE_UP)
		return;
	since = w->announced_ns[node][victim];
	if (!since || local_time(w, &w->node[node]) < since + b->conf.times.wait_ns)
		violation(w, "n%u takes from n%u by force before the wait of 213b is over",
			  node + 1, victim + 1);
	if (!a->reserve.fenced && !node_has_majority(b))
		violation(w, "n%u takes by force without a majority of the devices", node + 1);
}

static const char *mode_name(enum reserve_mode m)
{
	return m == RESERVE_FREE ? "free" : m == RESERVE_KEEP ? "keep" : "victim";
}

static void trace_action(struct world *w, unsigned node, const struct action *a)
{
	static const char *const name[] = {[ACT_RELEASE] = "release",
					   [ACT_FENCE] = "fence",
					   [ACT_MOUNT] = "mount",
					   [ACT_UNMOUNT] = "unmount",
					   [ACT_REPAIR] = "repair",
					   [ACT_REPAIR_STOP] = "repair-stop",
					   [ACT_WORKER_START] = "worker-start",
					   [ACT_WORKER_DRAIN] = "worker-drain",
					   [ACT_WORKER_KILL] = "worker-kill",
					   [ACT_ADDRESS_UP] = "address-up",
					   [ACT_ADDRESS_DOWN] = "address-down",
					   [ACT_OPEN] = "open",
					   [ACT_TICKLE] = "tickle",
					   [ACT_RESTART] = "restart",
					   [ACT_SELF_FENCE] = "SELF-FENCE"};
	/* Figs. 8 and 9 of seed 000, Fig. 5 of seed 001; the worker does what has two. */
	static const char *const number[] = {[ACT_MOUNT] = "  (1501)",
					     [ACT_WORKER_START] = "  (1504)",
					     [ACT_ADDRESS_UP] = "  (1502)",
					     [ACT_OPEN] = "  (1503)",
					     [ACT_WORKER_DRAIN] = "  (505, 510, 1402, 1403)",
					     [ACT_ADDRESS_DOWN] = "  (1401)",
					     [ACT_UNMOUNT] = "  (1405)",
					     [ACT_RELEASE] = "  (525)",
					     [ACT_SELF_FENCE] = NULL};

	if (a->type == ACT_LOG)
		world_trace(w, node, "%s", a->log.text);
	else if (a->type == ACT_RESERVE)
		world_trace(w, node, "  * reserve u%u %s victim=n%u epoch=%llu", a->unit + 1,
			    mode_name(a->reserve.mode), a->reserve.victim,
			    (unsigned long long)a->reserve.victim_epoch);
	else if (a->type == ACT_LEASE && a->lease.until_ns == 0)
		world_trace(w, node, "  * revoke v%u", a->vs + 1);
	else if (a->type == ACT_REPLY)
		world_trace(w, node, "  * reply %s %s", a->reply.ok ? "ok" : "refused",
			    reason_name(a->reply.reason));
	else if (a->type < sizeof(name) / sizeof(name[0]) && name[a->type])
		world_trace(w, node, "  * %s v%u%s", name[a->type], a->vs + 1,
			    number[a->type] ? number[a->type] : "");
}

static void start_worker(struct world *w, unsigned node, const struct action *a)
{
	struct sim_node *s = &w->node[node];
	struct sim_worker *k = &s->worker[a->vs];

	if (k->alive)
		violation(w, "n%u starts a second worker for v%u", node + 1, a->vs + 1);
	memset(k, 0, sizeof(*k));
	k->alive = true;
	k->epoch = a->epoch;
	if (s->worker_fails && sim_chance(w, 700)) {
		worker_dies(w, node, a->vs, delay(w, 5 * MS));
		return;
	}
	deliver_worker(w, node, EV_WORKER_READY, a->vs, delay(w, 30 * MS));
}

static void worker_action(struct world *w, unsigned node, const struct action *a)
{
	struct sim_node *s = &w->node[node];
	struct sim_worker *k = &s->worker[a->vs];

	if (a->type == ACT_LEASE) {
		if (k->alive && k->epoch == a->epoch &&
		    (a->lease.until_ns == 0 || k->lease_until_ns != 1))
			k->lease_until_ns = a->lease.until_ns ? a->lease.until_ns : 1;
	} else if (a->type == ACT_WORKER_KILL) {
		if (k->alive)
			worker_dies(w, node, a->vs, delay(w, 4 * MS));
	} else if (k->alive && a->type == ACT_WORKER_DRAIN) {
		k->draining = true;
		k->open = false;
		if (s->drain_hangs)
			return;
		deliver_worker(w, node, EV_WORKER_DRAINED, a->vs, delay(w, 10 * MS));
		/* it exits by itself, after that */
		worker_dies(w, node, a->vs, 40 * MS);
		k->alive = false;
	}
}

static void perform(struct world *w, unsigned node, const struct action *a)
{
	trace_action(w, node, a);
	note_announcement(w, node);
	switch (a->type) {
	case ACT_SEND:
		send(w, node, a);
		return;
	case ACT_MEMORY_WRITE:
		memory_write(w, node, a);
		return;
	case ACT_MEMORY_ASK:
		memory_ask(w, node, a);
		return;
	case ACT_MEMORY_KEEP:
	case ACT_SLOT_WRITE:
	case ACT_SLOT_READ:
	case ACT_PERSIST:
	case ACT_UNIT_READ:
	case ACT_OPEN:
		later(w, node, a, 2 * MS);
		return;
	case ACT_RESERVE:
		check_wait(w, node, a);
		later(w, node, a, 5 * MS);
		return;
	case ACT_RELEASE:
	case ACT_ADDRESS_UP:
	case ACT_ADDRESS_DOWN:
		later(w, node, a, 5 * MS);
		return;
	case ACT_MOUNT:
	case ACT_UNMOUNT:
		later(w, node, a, 15 * MS);
		return;
	case ACT_FENCE:
		later(w, node, a, 50 * MS);
		return;
	case ACT_REPAIR:
		later(w, node, a, 400 * MS);
		return;
	case ACT_REPAIR_STOP:
		return;
	case ACT_WORKER_START:
		start_worker(w, node, a);
		return;
	case ACT_WORKER_DRAIN:
	case ACT_WORKER_KILL:
	case ACT_LEASE:
		worker_action(w, node, a);
		return;
	case ACT_REPLY:
		w->last_reply_ok = a->reply.ok;
		w->last_reply_reason = (uint16_t)a->reply.reason;
		return;
	case ACT_RESTART:
	case ACT_SELF_FENCE:
		later(w, node, a, MS);
		return;
	case ACT_TICKLE:
	case ACT_LOG:
		return;
	}
}

/* ---- effects: what devices do --------------------------------------------------------------- */

static void put_sector(uint8_t *to, uint8_t *from, bool torn)
{
	if (!torn) {
		slot_finish(from);
		memcpy(to, from, SLOT_SIZE);
	} else {
		memcpy(to, from, SLOT_SIZE / 8);
	}
}

static void effect_slot_write(struct world *w, struct sim_item *it)
{
	unsigned d = it->act.slot.device;
	struct sim_node *s = &w->node[it->node];
	bool gone = it->life != s->life;

	if (w->dead_device[d] || s->cut_device[d]) {
		if (!gone)
			complete(w, it->node, &it->act, EV_SLOT_WRITTEN, -EIO, delay(w, MS));
		return;
	}
	if (gone && sim_chance(w, 600))
		return;
	memcpy(w->sector_old[d][it->node], w->sector[d][it->node], SLOT_SIZE);
	if (gone && sim_chance(w, 500)) {
		HF_MARK("fault.torn_slot");
		put_sector(w->sector[d][it->node], it->payload, true);
		return;
	}
	put_sector(w->sector[d][it->node], it->payload, false);
	if (!gone)
		complete(w, it->node, &it->act, EV_SLOT_WRITTEN, 0, delay(w, MS));
}

static void effect_slot_read(struct world *w, struct sim_item *it)
{
	unsigned d = it->act.slot.device;
	struct sim_item *done = item(w, SIM_DELIVER, it->node, delay(w, MS));
	const uint8_t *from = &w->sector[d][0][0];

	done->ev.type = EV_SLOT_READ;
	done->ev.op = it->act.op;
	done->ev.slots.device = d;
	if (w->dead_device[d] || w->node[it->node].cut_device[d]) {
		done->ev.err = -EIO;
		push(w, done);
		return;
	}
	payload(done, from, sizeof(w->sector[d]));
	for (unsigned i = 0; i < SIM_NODES; i++) {
		uint8_t *sector = done->payload + (size_t)i * SLOT_SIZE;

		done->ev.slots.err[i] = slot_blank(sector)    ? -ENODATA
					: slot_intact(sector) ? 0
							      : -EBADMSG;
	}
	push(w, done);
}

static void effect_keep(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];
	unsigned of = it->act.slot.device - 1;

	put_sector(s->held[of], it->payload, false);
	s->has_held[of] = true;
	complete(w, it->node, &it->act, EV_KEPT, 0, delay(w, MS));
}

static void effect_persist(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];

	if (it->life != s->life && sim_chance(w, 500))
		return;
	if (s->memory_fails) {
		complete(w, it->node, &it->act, EV_PERSISTED, -EIO, delay(w, MS));
		return;
	}
	memcpy(s->persisted_old, s->persisted, SLOT_SIZE);
	s->has_persisted_old = s->has_persisted;
	put_sector(s->persisted, it->payload, false);
	s->has_persisted = true;
	if (it->life == s->life)
		complete(w, it->node, &it->act, EV_PERSISTED, 0, delay(w, MS));
}

static bool may_take(const struct sim_unit *u, unsigned node, const struct action *a)
{
	bool mine = u->owner == 0 || u->owner == node + 1;

	switch (a->reserve.mode) {
	case RESERVE_FREE:
		return mine;
	case RESERVE_KEEP:
		return u->owner == node + 1 && u->generation == a->reserve.generation &&
		       u->epoch <= a->reserve.victim_epoch;
	case RESERVE_VICTIM:
		return mine ||
		       (u->owner == a->reserve.victim && u->epoch <= a->reserve.victim_epoch);
	}
	return false;
}

static enum reserve_result reserve(struct world *w, unsigned node, const struct action *a)
{
	struct sim_unit *u = &w->unit[a->unit];
	struct sim_node *s = &w->node[node];

	if (s->cut_storage)
		return RESERVE_ERROR;
	if (sim_chance(w, w->chaos ? 10 : 0)) {
		HF_MARK("fault.reserve_error");
		return RESERVE_ERROR;
	}
	if (!may_take(u, node, a))
		return RESERVE_LOST;
	if (u->local && u->owner && u->owner != node + 1 && !a->reserve.fenced &&
	    w->node[u->owner - 1].on)
		return RESERVE_HELD;
	u->owner = u->holder = (uint16_t)(node + 1);
	u->generation = u->holder_generation = a->reserve.generation;
	u->epoch = (u->epoch > a->reserve.epoch_min ? u->epoch : a->reserve.epoch_min) + 1;
	return RESERVE_WON;
}

static void effect_reserve(struct world *w, struct sim_item *it)
{
	struct sim_unit *u = &w->unit[it->act.unit];
	struct sim_node *s = &w->node[it->node];
	enum reserve_result result;
	struct sim_item *done;

	if (it->life != s->life && sim_chance(w, 500))
		return;
	result = reserve(w, it->node, &it->act);
	if (it->life != s->life)
		return;
	done = item(w, SIM_DELIVER, it->node, delay(w, 2 * MS));
	done->ev.type = EV_RESERVED;
	done->ev.op = it->act.op;
	done->ev.vs = it->act.vs;
	done->ev.unit = it->act.unit;
	done->ev.epoch = u->epoch;
	done->ev.unit_state.result = result;
	done->ev.unit_state.owner = u->owner;
	done->ev.unit_state.owner_epoch = u->epoch;
	done->ev.unit_state.owner_generation = u->generation;
	push(w, done);
	s->polling[it->act.unit] = result == RESERVE_WON || (it->act.reserve.mode == RESERVE_KEEP &&
							     result == RESERVE_ERROR);
	s->poll_epoch[it->act.unit] = u->epoch;
}

static void effect_unit_read(struct world *w, struct sim_item *it)
{
	struct sim_unit *u = &w->unit[it->act.unit];
	struct sim_item *done = item(w, SIM_DELIVER, it->node, delay(w, 2 * MS));

	done->ev.type = EV_UNIT_READ;
	done->ev.op = it->act.op;
	done->ev.unit = it->act.unit;
	done->ev.vs = it->act.vs;
	done->ev.err = w->node[it->node].cut_storage ? -EIO : 0;
	done->ev.unit_state.owner = u->owner;
	done->ev.unit_state.owner_epoch = u->epoch;
	done->ev.unit_state.owner_generation = u->generation;
	done->ev.unit_state.holder = u->holder;
	push(w, done);
}

static void effect_release(struct world *w, struct sim_item *it)
{
	struct sim_unit *u = &w->unit[it->act.unit];
	struct sim_node *s = &w->node[it->node];

	if (it->life != s->life && sim_chance(w, 500))
		return;
	if (s->mounted[it->act.unit] && it->life == s->life)
		violation(w, "n%u releases u%u while it is mounted", it->node + 1,
			  it->act.unit + 1);
	if (s->cut_storage) {
		if (it->life == s->life)
			complete(w, it->node, &it->act, EV_RELEASED, -EIO, delay(w, MS));
		return;
	}
	if (u->owner == it->node + 1)
		u->owner = 0;
	if (u->holder == it->node + 1)
		u->holder = 0;
	s->polling[it->act.unit] = false;
	if (it->life == s->life)
		complete(w, it->node, &it->act, EV_RELEASED, 0, delay(w, MS));
}

static void effect_mount(struct world *w, struct sim_item *it)
{
	struct sim_unit *u = &w->unit[it->act.unit];
	struct sim_node *s = &w->node[it->node];
	bool good = !s->cut_storage && u->holder == it->node + 1 &&
		    !(s->mount_fails && (w->fixed || sim_chance(w, 700)));

	if (it->act.type == ACT_REPAIR) {
		if (s->worker[it->act.vs].alive)
			violation(w, "n%u repairs u%u under its worker", it->node + 1,
				  it->act.unit + 1);
		complete(w, it->node, &it->act, EV_REPAIRED, good ? 0 : -EIO, delay(w, MS));
		return;
	}
	if (it->act.type == ACT_UNMOUNT) {
		bool alive = s->worker[it->act.vs].alive;

		if (alive)
			violation(w, "n%u unmounts u%u under its worker", it->node + 1,
				  it->act.unit + 1);
		s->mounted[it->act.unit] = false;
		complete(w, it->node, &it->act, EV_UNMOUNTED, 0, delay(w, MS));
		return;
	}
	if (good)
		s->mounted[it->act.unit] = true;
	complete(w, it->node, &it->act, EV_MOUNTED, good ? 0 : -EIO, delay(w, MS));
}

static void effect_open(struct world *w, struct sim_item *it)
{
	struct sim_worker *k = &w->node[it->node].worker[it->act.vs];
	bool good = k->alive && k->epoch == it->act.epoch && !k->draining;

	if (good)
		k->open = true;
	if (good && !w->node[it->node].address[it->act.vs])
		violation(w, "n%u opens v%u without its address", it->node + 1, it->act.vs + 1);
	complete(w, it->node, &it->act, EV_OPENED, good ? 0 : -EPIPE, delay(w, MS));
	if (good)
		deliver_worker(w, it->node, EV_FIRST_REPLY, it->act.vs, delay(w, 5 * MS));
}

/* What the helpers of a node do; frozen with it, gone with it. */
static bool by_helper(enum act_type t)
{
	return t != ACT_SLOT_WRITE && t != ACT_SLOT_READ && t != ACT_PERSIST && t != ACT_MEMORY_KEEP;
}

static void effect(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];
	enum act_type t = it->act.type;

	if (it->life != s->life && t != ACT_SLOT_WRITE && t != ACT_PERSIST && t != ACT_RESERVE &&
	    t != ACT_RELEASE)
		return;
	if (t == ACT_SLOT_WRITE)
		effect_slot_write(w, it);
	else if (t == ACT_SLOT_READ)
		effect_slot_read(w, it);
	else if (t == ACT_PERSIST)
		effect_persist(w, it);
	else if (t == ACT_MEMORY_KEEP)
		effect_keep(w, it);
	else if (t == ACT_RESERVE)
		effect_reserve(w, it);
	else if (t == ACT_RELEASE)
		effect_release(w, it);
	else if (t == ACT_UNIT_READ)
		effect_unit_read(w, it);
	else if (t == ACT_MOUNT || t == ACT_UNMOUNT || t == ACT_REPAIR)
		effect_mount(w, it);
	else if (t == ACT_OPEN)
		effect_open(w, it);
	else if (t == ACT_ADDRESS_UP || t == ACT_ADDRESS_DOWN) {
		s->address[it->act.vs] = t == ACT_ADDRESS_UP;
		complete(w, it->node, &it->act,
			 t == ACT_ADDRESS_UP ? EV_ADDRESSES_UP : EV_ADDRESSES_DOWN, 0,
			 delay(w, MS));
	} else if (t == ACT_FENCE) {
		if (w->node[it->act.fence.node - 1].on)
			sim_crash(w, it->act.fence.node - 1U);
		complete(w, it->node, &it->act, EV_FENCED, sim_chance(w, 100) ? -EIO : 0, MS);
	} else if (t == ACT_SELF_FENCE || t == ACT_RESTART) {
		sim_crash(w, it->node);
		sim_start(w, it->node);
	}
}

static void poll_units(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];

	for (unsigned u = 0; u < w->vs_count; u++) {
		struct sim_item *it;

		if (!s->polling[u])
			continue;
		it = item(w, SIM_DELIVER, node, delay(w, 2 * MS));
		it->ev.type = EV_UNIT_POLL;
		it->ev.unit = u;
		it->ev.epoch = s->poll_epoch[u];
		it->ev.poll.started_ns = local_time(w, s);
		it->ev.poll.result = s->cut_storage ? POLL_ERROR
				     : w->unit[u].holder == node + 1 &&
					     w->unit[u].holder_generation == s->brain->generation &&
					     w->unit[u].epoch == s->poll_epoch[u]
					 ? POLL_MINE
					 : POLL_LOST;
		push(w, it);
	}
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void to_backlog(struct sim_node *s, struct sim_item *it)
{
	it->next = NULL;
	*s->backlog_end = it;
	s->backlog_end = &it->next;
}

/* Frozen things wait; true when the item was kept. */
static bool held_back(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];
	bool daemon = s->paused || s->daemon_paused;

	if (it->life != s->life)
		return false;
	if (it->kind == SIM_DELIVER && daemon) {
		to_backlog(s, it);
		return true;
	}
	if (it->kind == SIM_EFFECT && s->paused && by_helper(it->act.type)) {
		to_backlog(s, it);
		return true;
	}
	return false;
}

static void run_item(struct world *w, struct sim_item *it)
{
	struct sim_node *s = &w->node[it->node];
	bool current = s->on && it->life == s->life;

	switch (it->kind) {
	case SIM_DELIVER:
		if (it->ev.type == EV_MSG ? s->on : current)
			deliver(w, it);
		return;
	case SIM_EFFECT:
		effect(w, it);
		return;
	case SIM_TICK:
		if (current && !s->paused && !s->daemon_paused &&
		    it->tick_number == s->tick_number) {
			struct event ev = {.type = EV_TICK};

			step(w, it->node, &ev);
		}
		return;
	case SIM_WORK:
		work(w);
		push(w, item(w, SIM_WORK, 0, 7 * MS));
		return;
	case SIM_POLL:
		if (current) {
			if (!s->paused)
				poll_units(w, it->node);
			push(w, item(w, SIM_POLL, it->node, SIM_BEAT));
		}
		return;
	case SIM_SCRIPT:
		return;
	}
}

bool world_run(struct world *w, uint64_t until_ns)
{
	while (w->heap_count && w->heap[0]->at_ns <= until_ns && !w->failure[0]) {
		struct sim_item *it = pop(w);

		w->now_ns = it->at_ns;
		if (it->kind == SIM_DELIVER && it->ev.type == EV_MSG)
			it->life = w->node[it->node].life; /* it meets whoever lives there now */
		if (held_back(w, it))
			continue;
		run_item(w, it);
		item_free(it);
		check_one_server(w);
	}
	if (!w->failure[0] && w->now_ns < until_ns)
		w->now_ns = until_ns;
	return !w->failure[0];
}

/* ---- power, pauses, commands ---------------------------------------------------------------- */

static void drop_backlog(struct sim_node *s)
{
	while (s->backlog) {
		struct sim_item *it = s->backlog;

		s->backlog = it->next;
		item_free(it);
	}
	s->backlog_end = &s->backlog;
}

void sim_start(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];
	struct event ev = {.type = EV_TICK};

	if (s->on)
		return;
	world_trace(w, node, "power on");
	s->on = true;
	s->paused = s->daemon_paused = false;
	s->life++;
	s->booted_ns = w->now_ns;
	s->clock_base_ns = (100 + sim_random(w, w->fixed ? 1 : 1000)) * 1000 * MS;
	s->conf.persisted = s->has_persisted ? s->persisted : NULL;
	for (unsigned i = 0; i < SIM_NODES; i++)
		s->conf.held[i] = s->has_held[i] ? s->held[i] : NULL;
	if (!s->brain)
		s->brain = mem_zalloc(1, sizeof(*s->brain));
	node_init(s->brain, &s->conf, local_time(w, s));
	push(w, item(w, SIM_POLL, node, SIM_BEAT));
	for (unsigned p = 0; p < w->path_count; p++)
		sim_port(w, node, p, 2);
	step(w, node, &ev);
}

void sim_forget(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];

	world_trace(w, node, "state folder and slots lost");
	s->has_persisted = s->has_persisted_old = false;
	memset(s->has_held, 0, sizeof(s->has_held));
	for (unsigned d = 0; d < SIM_DEV; d++) {
		memset(w->sector[d][node], 0, SLOT_SIZE);
		memset(w->sector_old[d][node], 0, SLOT_SIZE);
	}
}

void sim_crash(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];

	if (!s->on)
		return;
	world_trace(w, node, "power off");
	s->on = s->paused = s->daemon_paused = false;
	s->life++;
	memset(s->worker, 0, sizeof(s->worker));
	memset(s->address, 0, sizeof(s->address));
	memset(s->mounted, 0, sizeof(s->mounted));
	memset(s->polling, 0, sizeof(s->polling));
	drop_backlog(s);
}

void sim_pause(struct world *w, unsigned node, bool daemon_only)
{
	struct sim_node *s = &w->node[node];

	if (!s->on || s->paused || s->daemon_paused)
		return;
	world_trace(w, node, daemon_only ? "holdfastd stands still" : "paused");
	if (daemon_only)
		s->daemon_paused = true;
	else
		s->paused = true;
}

void sim_resume(struct world *w, unsigned node)
{
	struct sim_node *s = &w->node[node];
	struct sim_item *it = s->backlog;

	if (!s->on || (!s->paused && !s->daemon_paused))
		return;
	world_trace(w, node, "resumed");
	s->paused = s->daemon_paused = false;
	s->backlog = NULL;
	s->backlog_end = &s->backlog;
	while (it) {
		struct sim_item *next = it->next;

		it->at_ns = w->now_ns;
		it->next = NULL;
		push(w, it);
		it = next;
	}
	schedule_tick(w, node);
}

void sim_kill_worker(struct world *w, unsigned vs)
{
	for (unsigned i = 0; i < w->node_count; i++)
		if (w->node[i].on && w->node[i].worker[vs].alive) {
			world_trace(w, i, "worker of v%u killed", vs + 1);
			worker_dies(w, i, vs, MS);
		}
}

void sim_damage(struct world *w, unsigned vs, bool below)
{
	for (unsigned i = 0; i < w->node_count; i++) {
		struct sim_item *it;

		if (!w->node[i].on || !w->node[i].worker[vs].alive)
			continue;
		world_trace(w, i, "worker of v%u finds damage%s", vs + 1, below ? " below" : "");
		it = item(w, SIM_DELIVER, i, MS / 2);
		it->ev.type = EV_FS;
		it->ev.vs = vs;
		it->ev.epoch = w->node[i].worker[vs].epoch;
		it->ev.fs.state = STATUS_FS_DAMAGED;
		it->ev.fs.below = below;
		push(w, it);
		worker_dies(w, i, vs, MS);
	}
}

static void post(struct world *w, unsigned node, const struct event *ev)
{
	struct sim_item *it;

	if (!w->node[node].on)
		return;
	it = item(w, SIM_DELIVER, node, 0);
	it->ev = *ev;
	push(w, it);
}

void sim_control(struct world *w, unsigned node, enum control_verb verb, unsigned target,
		 unsigned vs, bool force, bool on)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = ++w->control_next;
	ev.control.verb = verb;
	ev.control.node = (uint16_t)target;
	ev.control.vs_id = vs < w->vs_count ? w->node[0].conf.vs[vs].id : 0;
	ev.control.force = force;
	ev.control.on = on;
	ev.control.scope = (enum inhibit_scope)(vs % 3 + 1);
	ev.control.in_ns = 20 * SIM_BEAT;
	post(w, node, &ev);
}

void sim_inhibit(struct world *w, unsigned node, enum inhibit_scope scope, unsigned vs, bool on)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = ++w->control_next;
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = scope;
	ev.control.vs_id = w->node[0].conf.vs[vs].id;
	ev.control.on = on;
	post(w, node, &ev);
}

void sim_port(struct world *w, unsigned node, unsigned path, unsigned quality)
{
	struct event ev = {.type = EV_PORT};

	ev.port.path = path;
	ev.port.quality = (uint8_t)quality;
	post(w, node, &ev);
}

static void fill_conf(struct world *w, unsigned self)
{
	struct node_conf *c = &w->node[self].conf;

	memset(c, 0, sizeof(*c));
	c->self = (uint16_t)(self + 1);
	memset(c->cluster, 0xc1, sizeof(c->cluster));
	c->config_hash = 0x1234;
	c->node_count = w->node_count;
	for (unsigned i = 0; i < w->node_count; i++) {
		c->node[i].id = (uint16_t)(i + 1);
		snprintf(c->node[i].name, sizeof(c->node[i].name), "n%u", i + 1);
	}
	c->path_count = w->path_count;
	c->path_clients[0] = true;
	c->device_count = w->device_count;
	c->vs_count = c->unit_count = w->vs_count;
	for (unsigned v = 0; v < w->vs_count; v++) {
		snprintf(c->vs[v].name, sizeof(c->vs[v].name), "v%u", v + 1);
		snprintf(c->unit[v].name, sizeof(c->unit[v].name), "u%u", v + 1);
		c->vs[v].id = node_name_id(c->vs[v].name);
		c->unit[v].id = node_name_id(c->unit[v].name);
		c->vs[v].home = (uint16_t)(v % w->node_count + 1);
		c->vs[v].priority = 10 - (int)v;
		c->vs[v].unit_count = c->vs[v].fs_count = 1;
		c->vs[v].unit[0] = (uint8_t)v;
		c->unit[v].fence_command = w->unit[v].local;
	}
	times_fast(&c->times, SIM_BEAT);
}

void world_init(struct world *w, uint64_t seed, unsigned nodes, unsigned devices, unsigned vs)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = seed * 0x9E3779B97F4A7C15ULL + 1;
	w->out = stdout;
	w->now_ns = 1;
	w->node_count = nodes;
	w->device_count = devices;
	w->vs_count = vs;
	w->path_count = 2;
	for (unsigned i = 0; i < 8; i++)
		sim_random(w, 2);
	for (unsigned i = 0; i < nodes; i++) {
		w->node[i].backlog_end = &w->node[i].backlog;
		fill_conf(w, i);
	}
	push(w, item(w, SIM_WORK, 0, 7 * MS));
}

void world_free(struct world *w)
{
	while (w->heap_count)
		item_free(pop(w));
	free(w->heap);
	for (unsigned i = 0; i < w->node_count; i++) {
		drop_backlog(&w->node[i]);
		free(w->node[i].brain);
	}
}
