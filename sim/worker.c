/* worker.c - workers with their lease pages, addresses with kernel lifetimes, and the clients.
 *
 * A worker answers while it lives, was opened, and finds its lease valid by its node's clock (F4);
 * each answer may write.  A paused one goes on with what its page says when it wakes.  Writes in
 * flight outlive the worker and keep its byte of the lock (F5). */
#include "sim.h"

#include <errno.h>
#include <string.h>

#define ADDRESS_LIFE_NS (4 * SECOND)
#define RENEW_NS        SECOND

static bool over(const struct worker *w)
{
	return !w->used || (!w->alive && !w->inflight);
}

static void retire(struct worker *w)
{
	if (over(w))
		w->used = false;
}

struct worker *worker_find(struct sim *s, unsigned host, unsigned vs, uint64_t epoch)
{
	for (unsigned i = 0; i < s->worker_end; i++) {
		struct worker *w = &s->worker[i];

		if (w->used && w->alive && w->host == host && w->vs == vs && w->epoch == epoch &&
		    w->process == s->host[host].process)
			return w;
	}
	return NULL;
}

bool worker_uses(const struct sim *s, unsigned vs, unsigned unit, uint8_t closed)
{
	const struct node_conf_vs *c = &s->conf.vs[vs];

	for (unsigned i = 0; i < c->fs_count; i++)
		if (c->unit[c->fs_unit[i]] == unit && !(closed >> i & 1))
			return true;
	return false;
}

/* The at-th unit of its virtual server. */
static bool uses_at(const struct sim *s, const struct worker *w, unsigned at)
{
	return worker_uses(s, w->vs, s->conf.vs[w->vs].unit[at], w->closed);
}

bool worker_quiet(const struct sim *s, unsigned unit, int host)
{
	for (unsigned i = 0; i < s->worker_end; i++) {
		const struct worker *w = &s->worker[i];

		if (w->used && (w->alive || w->inflight) &&
		    worker_uses(s, w->vs, unit, w->closed) &&
		    (host < 0 || w->host == (unsigned)host))
			return false;
	}
	for (unsigned i = 0; i < s->node_count; i++)
		if (s->host[i].unit[unit].repair.op && (host < 0 || i == (unsigned)host))
			return false;
	return true;
}

static bool leased(const struct sim *s, const struct worker *w)
{
#ifdef HF_MUTANT_WORKER_IGNORES_LEASE
	return s != NULL && w->ready;
#else
	return !w->revoked && host_local_ns(&s->host[w->host], s->now_ns) < w->page_until_ns;
#endif
}

bool worker_answers(const struct sim *s, const struct worker *w)
{
	const struct host *h = &s->host[w->host];

	return w->used && w->alive && w->open && h->powered && !h->paused && leased(s, w);
}

/* ---- life ----------------------------------------------------------------------------------- */

static struct sim_item *tell(struct sim *s, const struct worker *w, enum ev_type type,
			     uint64_t delay_ns)
{
	struct host *h = &s->host[w->host];
	struct sim_item *it = host_put(s, h, delay_ns, host_deliver);

	it->instance = w->process;
	it->ev.type = type;
	it->ev.vs = w->vs;
	it->ev.epoch = w->epoch;
	it->ev.worker.at_ns = host_local_ns(h, s->now_ns);
	return it;
}

void worker_dies(struct sim *s, struct worker *w)
{
	if (!w->alive)
		return;
	w->alive = w->open = false;
	tell(s, w, EV_WORKER_EXITED, between(s, 50 * US, 2 * MS));
	retire(w);
}

static void goes_wrong(struct sim *s, struct worker *w, bool storage)
{
	struct sim_item *it;
	unsigned fs = (unsigned)(w->epoch / 4) % s->conf.vs[w->vs].fs_count;

	while (w->closed >> fs & 1)
		fs = (fs + 1) % s->conf.vs[w->vs].fs_count;
	if (!storage && w->epoch % 2) { /* a damaged store, or what is below it */
		it = tell(s, w, EV_FS, 0);
		mark("sim.damaged");
		it->ev.fs.fs = fs;
		it->ev.fs.state = STATUS_FS_DAMAGED;
		it->ev.fs.below = w->epoch % 4 == 3;
		worker_dies(s, w);
		return;
	}
	it = tell(s, w, EV_WORKER_FAILED, 0);
	mark(storage ? "sim.worker_storage_error" : "sim.worker_fails");
	it->ev.worker.storage = storage;
	it->ev.worker.text = storage ? "input/output error" : "gives up";
	worker_dies(s, w);
}

static bool unit_works(const struct sim *s, const struct worker *w)
{
	for (unsigned i = 0; i < s->conf.vs[w->vs].unit_count; i++) {
		unsigned u = s->conf.vs[w->vs].unit[i];

		if (uses_at(s, w, i) && (!unit_path(s, u, w->host) ||
					 (!s->unit[u].dir && !s->unit[u].key[w->host])))
			return false;
	}
	return true;
}

static void ready(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];

	if (!w->used || !w->alive || w->epoch != it->a || w->host != it->host)
		return;
	if (chance(s, s->step_fail)) {
		mark("sim.worker_crash_early");
		worker_dies(s, w);
	} else if (!unit_works(s, w) || chance(s, s->step_fail)) {
		goes_wrong(s, w, !unit_works(s, w));
	} else {
		w->ready = true;
		tell(s, w, EV_WORKER_READY, between(s, 20 * US, 100 * US));
	}
}

void worker_start(struct sim *s, struct host *h, const struct action *a)
{
	struct worker *w;
	unsigned at = 0;
	struct sim_item *it;

	while (at < s->worker_end && !over(&s->worker[at]))
		at++;
	if (at == SIM_WORKERS)
		sim_fail(s, "interface", "too many workers");
	w = &s->worker[at];
	if (at == s->worker_end)
		s->worker_end++;
	while (s->worker_end > at + 1 && over(&s->worker[s->worker_end - 1]))
		s->worker[--s->worker_end].used = false;
	memset(w, 0, sizeof(*w));
	w->used = w->alive = true;
	w->host = h->at;
	w->vs = a->vs;
	w->process = h->process;
	w->kernel = h->kernel;
	w->epoch = a->epoch;
	w->generation = h->node.generation;
	w->closed = a->start.closed;
	for (unsigned i = 0; i < s->conf.vs[a->vs].unit_count; i++)
		w->unit_epoch[i] = h->unit[s->conf.vs[a->vs].unit[i]].epoch;
	if (h->vs[a->vs].page_epoch == a->epoch) /* the lease came first */
		w->page_until_ns = h->vs[a->vs].page_until_ns;
	it = host_put(s, h, shell_time(s, 5 * MS, 80 * MS, SIM_UNITS), ready);
	it->x = at;
	it->a = w->epoch;
}

static void killed(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];

	if (w->used && w->alive && w->epoch == it->a && w->host == it->host && w->vs == it->y)
		worker_dies(s, w);
}

void worker_kill(struct sim *s, struct host *h, const struct action *a)
{
	struct worker *w = worker_find(s, h->at, a->vs, a->epoch);
	struct sim_item *it;

	if (!w)
		return;
	it = kernel_put(s, h, shell_time(s, 100 * US, 5 * MS, SIM_UNITS), killed);
	it->x = (unsigned)(w - s->worker);
	it->y = a->vs;
	it->a = a->epoch;
}

void worker_lease(struct sim *s, struct host *h, const struct action *a)
{
	struct worker *w = worker_find(s, h->at, a->vs, a->epoch);
	struct host_vs *page = &h->vs[a->vs];

	page->page_epoch = a->epoch;
	page->page_until_ns = a->lease.until_ns;
	if (!w)
		return;
	w->page_until_ns = a->lease.until_ns;
	if (a->lease.until_ns == 0)
		w->revoked = true;
}

static void drained(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];

	if (!w->used || !w->alive || w->epoch != it->a || w->host != it->host)
		return;
	if (!leased(s, w)) { /* the end is final */
		mark("sim.drain_without_lease");
		worker_dies(s, w);
		return;
	}
	for (unsigned i = 0; i < s->conf.vs[w->vs].unit_count; i++)
		if (uses_at(s, w, i) &&
		    !unit_write(s, s->conf.vs[w->vs].unit[i], w->host, w->generation,
				w->unit_epoch[i])) {
			goes_wrong(s, w, true);
			return;
		}
	tell(s, w, EV_WORKER_DRAINED, 0);
	worker_dies(s, w);
}

void worker_drain(struct sim *s, struct host *h, const struct action *a)
{
	struct worker *w = worker_find(s, h->at, a->vs, a->epoch);
	struct sim_item *it;

	if (!w)
		return;
	w->open = false;
	w->drain = true;
	it = host_put(s, h, shell_time(s, 3 * MS, 30 * MS, SIM_UNITS), drained);
	it->x = (unsigned)(w - s->worker);
	it->a = a->epoch;
}

static void opened(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct worker *w = worker_find(s, h->at, it->ev.vs, it->ev.epoch);

	if (!w || !w->ready || w->drain)
		it->ev.err = -ESRCH;
	else if (chance(s, s->step_fail))
		it->ev.err = -EADDRINUSE;
	else
		w->open = true;
	mark(it->ev.err ? "sim.open_fails" : "sim.opened");
	host_deliver(s, it);
}

void worker_open(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_OPENED, between(s, 300 * US, 3 * MS))->fn = opened;
}

/* Something befalls one of the workers. */
void worker_fault(struct sim *s, const char *how)
{
	unsigned first = (unsigned)below(s, SIM_WORKERS);

	for (unsigned i = 0; i < SIM_WORKERS; i++) {
		struct worker *w = &s->worker[(first + i) % SIM_WORKERS];

		if (!w->used || !w->alive || w->process != s->host[w->host].process)
			continue;
		if (how[0] == 'c')
			worker_dies(s, w);
		else
			goes_wrong(s, w, how[0] == 's');
		return;
	}
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void renew(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct host_vs *v = &h->vs[it->x];

	if (!v->address_kept)
		return;
	if (node_vs_held(&h->node, it->x, host_local_ns(h, s->now_ns))) {
		v->address_until_ns = s->now_ns + ADDRESS_LIFE_NS;
		check_address(s, h, it->x);
	} else {
		mark("sim.address_not_renewed");
	}
	queue_again(s, it, RENEW_NS);
}

static void is_up(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct host_vs *v = &h->vs[it->ev.vs];

	if (chance(s, s->step_fail)) {
		it->ev.err = -EADDRINUSE;
		mark("sim.address_fails");
	}
	if (it->ev.err == 0 || chance(s, 500)) { /* or half-way */
		if (!v->address_kept)
			host_put(s, h, RENEW_NS, renew)->x = it->ev.vs;
		v->address_kept = true;
		v->address_since_ns = s->now_ns;
		v->address_until_ns = s->now_ns + ADDRESS_LIFE_NS;
		/* What a paused node had begun is done when it wakes, and never renewed. */
		if (node_vs_held(&h->node, it->ev.vs, host_local_ns(h, s->now_ns)))
			check_address(s, h, it->ev.vs);
		else
			mark("sim.address_up_too_late");
	}
	host_deliver(s, it);
}

void address_up(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_ADDRESSES_UP, shell_time(s, 500 * US, 4 * MS, SIM_UNITS))->fn =
	    is_up;
}

static void is_down(struct sim *s, struct sim_item *it)
{
	struct host_vs *v = &s->host[it->host].vs[it->ev.vs];

	if (chance(s, s->step_fail)) {
		it->ev.err = -EBUSY;
		mark("sim.address_stays");
	} else {
		v->address_kept = false;
		v->address_until_ns = 0;
	}
	host_deliver(s, it);
}

void address_down(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_ADDRESSES_DOWN, shell_time(s, 300 * US, 3 * MS, SIM_UNITS))->fn =
	    is_down;
}

/* ---- clients -------------------------------------------------------------------------------- */

static void write_lands(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];
	bool off = s->host[w->host].kernel != w->kernel;
	bool ok;

	w->inflight--;
	/* Power loss: what was under way to an array may be lost. */
	if (off && !s->unit[s->conf.vs[w->vs].unit[it->y]].dir && chance(s, 500)) {
		retire(w);
		return;
	}
	ok = unit_write(s, s->conf.vs[w->vs].unit[it->y], w->host, w->generation,
			w->unit_epoch[it->y]);
	if (!ok && w->alive && w->process == s->host[w->host].process)
		goes_wrong(s, w, true); /* F3: stop at the first EBADE or EIO */
	else if (!ok)
		w->alive = w->open = false;
	retire(w);
}

static void issue_write(struct sim *s, struct worker *w)
{
	unsigned at = (unsigned)below(s, s->conf.vs[w->vs].unit_count), unit;
	struct sim_item *it;

	while (!uses_at(s, w, at))
		at = (at + 1) % s->conf.vs[w->vs].unit_count;
	unit = s->conf.vs[w->vs].unit[at];
	it = queue_put(s, shell_time(s, 100 * US, 4 * MS, unit), write_lands);
	it->x = (unsigned)(w - s->worker);
	it->y = at;
	w->inflight++;
}

/* The answer leaves.  One that a pause came between is checked again (worker.h). */
static void leave(struct sim *s, struct sim_item *it)
{
	struct worker *w = &s->worker[it->x];
	const struct host *h = &s->host[w->host];

	if (!w->used || !w->alive || w->epoch != it->a || w->host != it->host)
		return;
	if (h->paused) {
		queue_again(s, it, MS);
		return;
	}
	if (h->vs[w->vs].address_until_ns <= s->now_ns)
		return;
#ifndef HF_MUTANT_ANSWER_NOT_CHECKED_AGAIN
	if (s->now_ns > it->b && !worker_answers(s, w)) {
		mark("sim.answer_held_back");
		return;
	}
#endif
	check_answer(s, w);
	if (!w->replied && h->process == w->process) {
		w->replied = true;
		tell(s, w, EV_FIRST_REPLY, 50 * US);
	}
	if (chance(s, 300) && w->inflight < 8)
		issue_write(s, w);
}

/* From its look at the lease to its leaving an answer takes a moment: the time to stop (F4). */
static void answer(struct sim *s, struct worker *w)
{
	struct host *h = &s->host[w->host];
	uint64_t stop_ns = chance(s, h->slow ? 300 : 20) ? below(s, s->conf.times.drift_ns * 2 / 5)
							 : between(s, 20 * US, 200 * US);
	struct sim_item *it = queue_put(s, stop_ns, leave);

	it->bound = BOUND_KERNEL; /* also of a worker whose holdfastd is gone */
	it->instance = w->kernel;
	it->host = w->host;
	it->x = (unsigned)(w - s->worker);
	it->a = w->epoch;
	it->b = it->at_ns;
}

/* Kernels write back what is dirty, whatever became of the workers. */
static void writeback(struct sim *s)
{
	unsigned host = (unsigned)below(s, s->node_count), unit = (unsigned)below(s, s->unit_count);
	struct host *h = &s->host[host];

	if (!h->powered || !h->unit[unit].mounted || s->unit[unit].dir)
		return;
	if (s->unit[unit].owner == host + 1) /* by whatever epoch: it is the node's own */
		unit_write(s, unit, host, s->unit[unit].generation, s->unit[unit].epoch);
	else
		unit_write(s, unit, host, 0, 0);
}

static void clients(struct sim *s, struct sim_item *it)
{
	for (unsigned i = 0; i < s->worker_end; i++) {
		struct worker *w = &s->worker[i];

		if (w->used && w->vs == it->x && worker_answers(s, w))
			answer(s, w);
	}
	if (chance(s, 200))
		writeback(s);
	queue_again(s, it, between(s, 6 * MS, 16 * MS));
}

void clients_start(struct sim *s)
{
	for (unsigned v = 0; v < s->vs_count; v++)
		queue_put(s, between(s, MS, 20 * MS), clients)->x = v;
}
