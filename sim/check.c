/* check.c - the checkers, the trace, the coverage marks.
 *
 * A checker knows the truth of the model, which no node knows, and holds what the nodes do against
 * the rules (doc/sim.md lists them).  The first violation ends the seed. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/trace.h"
#include "codec/status.h"

void sim_fail(struct sim *s, const char *checker, const char *fmt, ...)
{
	int n = snprintf(s->failed, sizeof(s->failed), "%s: ", checker);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->failed + n, sizeof(s->failed) - (size_t)n, fmt, ap);
	va_end(ap);
	longjmp(sim_out, 1);
}

/* ---- trace ---------------------------------------------------------------------------------- */

static void mix(struct sim *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 0x100000001b3ULL;
	s->hash ^= s->hash >> 29;
}

/* time in ms | node | kind | name | details */
void say(struct sim *s, const struct host *h, const char *kind, const char *name, const char *fmt,
	 ...)
{
	char who[8] = "-";
	va_list ap;

	mix(s, s->now_ns);
	mix(s, (uint64_t)(unsigned char)name[0] << 8 | (h ? h->at : 255U));
	if (!s->trace)
		return;
	if (h)
		snprintf(who, sizeof(who), "n%u", h->at + 1);
	printf("%12.6f %-3s %-2s %-14s ", (double)s->now_ns / 1e6, who, kind, name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

const char *ev_name(enum ev_type t)
{
	static const char *const name[] = {
	    [EV_TICK] = "tick",
	    [EV_MSG] = "msg",
	    [EV_SLOT_READ] = "slot-read",
	    [EV_SLOT_WRITTEN] = "slot-written",
	    [EV_KEPT] = "kept",
	    [EV_HELD] = "held",
	    [EV_PERSISTED] = "persisted",
	    [EV_RESERVED] = "reserved",
	    [EV_RELEASED] = "released",
	    [EV_UNIT_READ] = "unit-read",
	    [EV_UNIT_POLL] = "unit-poll",
	    [EV_FENCED] = "fenced",
	    [EV_MOUNTED] = "mounted",
	    [EV_UNMOUNTED] = "unmounted",
	    [EV_REPAIRED] = "repaired",
	    [EV_WORKER_READY] = "w-ready",
	    [EV_WORKER_FAILED] = "w-failed",
	    [EV_WORKER_DRAINED] = "w-drained",
	    [EV_WORKER_EXITED] = "w-exited",
	    [EV_ADDRESSES_UP] = "address-up",
	    [EV_ADDRESSES_DOWN] = "address-down",
	    [EV_OPENED] = "opened",
	    [EV_FIRST_REPLY] = "first-reply",
	    [EV_FS] = "fs",
	    [EV_PORT] = "port",
	    [EV_LOAD] = "load",
	    [EV_CONTROL] = "control",
	    [EV_KEYS] = "keys",
	};

	return name[t];
}

const char *act_name(enum act_type t)
{
	static const char *const name[] = {
	    [ACT_SEND] = "send",
	    [ACT_SLOT_WRITE] = "slot-write",
	    [ACT_SLOT_READ] = "slot-read",
	    [ACT_MEMORY_WRITE] = "memory-write",
	    [ACT_MEMORY_KEEP] = "memory-keep",
	    [ACT_MEMORY_ASK] = "memory-ask",
	    [ACT_PERSIST] = "persist",
	    [ACT_UNIT_READ] = "unit-read",
	    [ACT_RESERVE] = "reserve",
	    [ACT_RELEASE] = "release",
	    [ACT_FENCE] = "fence",
	    [ACT_MOUNT] = "mount",
	    [ACT_UNMOUNT] = "unmount",
	    [ACT_REPAIR] = "repair",
	    [ACT_REPAIR_STOP] = "repair-stop",
	    [ACT_WORKER_START] = "w-start",
	    [ACT_WORKER_DRAIN] = "w-drain",
	    [ACT_WORKER_KILL] = "w-kill",
	    [ACT_LEASE] = "lease",
	    [ACT_ADDRESS_UP] = "address-up",
	    [ACT_ADDRESS_DOWN] = "address-down",
	    [ACT_OPEN] = "open",
	    [ACT_TICKLE] = "tickle",
	    [ACT_REPLY] = "reply",
	    [ACT_LOG] = "log",
	    [ACT_RESTART] = "restart",
	    [ACT_SELF_FENCE] = "self-fence",
	};

	return name[t];
}

static bool chatter_event(enum ev_type t)
{
	return t == EV_TICK || t == EV_MSG || t == EV_SLOT_READ || t == EV_SLOT_WRITTEN ||
	       t == EV_UNIT_POLL;
}

static bool chatter_action(enum act_type t)
{
	return t == ACT_SEND || t == ACT_SLOT_READ || t == ACT_SLOT_WRITE || t == ACT_LEASE;
}

static void trace_event(struct sim *s, const struct host *h, const struct event *ev)
{
	mix(s, ev->op << 6 | (unsigned)ev->type);
	if (!s->trace || (s->brief && chatter_event(ev->type)))
		return;
	if (ev->type == EV_RESERVED || ev->type == EV_UNIT_READ)
		say(s, h, "ev", ev_name(ev->type),
		    "op=%llu vs=%u unit=u%u err=%d result=%d epoch=%llu S=n%u/%llu",
		    (unsigned long long)ev->op, ev->vs, ev->unit, ev->err,
		    (int)ev->unit_state.result, (unsigned long long)ev->epoch, ev->unit_state.owner,
		    (unsigned long long)ev->unit_state.owner_epoch);
	else if (ev->type == EV_MSG)
		say(s, h, "ev", "msg", "from=n%u path=%u len=%zu", ev->msg.from, ev->msg.path,
		    ev->msg.len);
	else if (ev->type == EV_CONTROL)
		say(s, h, "ev", "control", "id=%u verb=%d node=n%u vs=%08x force=%d",
		    ev->control.id, (int)ev->control.verb, ev->control.node, ev->control.vs_id,
		    ev->control.force);
	else
		say(s, h, "ev", ev_name(ev->type), "op=%llu vs=%u unit=u%u epoch=%llu err=%d",
		    (unsigned long long)ev->op, ev->vs, ev->unit, (unsigned long long)ev->epoch,
		    ev->err);
}

static void trace_action(struct sim *s, const struct host *h, const struct action *a)
{
	mix(s, a->op << 6 | (unsigned)a->type);
	if (!s->trace || (s->brief && chatter_action(a->type)))
		return;
	if (a->type == ACT_LOG)
		say(s, h, "lo", "log", "%s", a->log.text);
	else if (a->type == ACT_REPLY)
		say(s, h, "ac", "reply", "id=%u ok=%d %s", a->reply.id, a->reply.ok,
		    reason_name(a->reply.reason));
	else if (a->type == ACT_RESERVE)
		say(s, h, "ac", "reserve",
		    "op=%llu vs=%u unit=u%u mode=%d victim=n%u/%llu generation=%llu",
		    (unsigned long long)a->op, a->vs, a->unit, (int)a->reserve.mode,
		    a->reserve.victim, (unsigned long long)a->reserve.victim_epoch,
		    (unsigned long long)a->reserve.generation);
	else if (a->type == ACT_SEND)
		say(s, h, "ac", "send", "to=n%u path=%u len=%zu", a->send.to, a->send.path,
		    a->send.len);
	else
		say(s, h, "ac", act_name(a->type), "op=%llu vs=%u unit=u%u epoch=%llu",
		    (unsigned long long)a->op, a->vs, a->unit, (unsigned long long)a->epoch);
}

/* ---- coverage marks with made-up names ------------------------------------------------------- */

#define MARKS 1024

static struct named {
	char name[64];
	uint64_t hits;
} marks[MARKS];

static struct named *find_mark(const char *name)
{
	unsigned at = 5381;

	for (const char *p = name; *p; p++)
		at = at * 33 + (unsigned char)*p;
	for (at %= MARKS; marks[at].name[0] && strcmp(marks[at].name, name) != 0;)
		at = (at + 1) % MARKS;
	return &marks[at];
}

void mark(const char *fmt, ...)
{
	char name[64];
	struct named *m;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	m = find_mark(name);
	memcpy(m->name, name, sizeof(name));
	m->hits++;
}

void mark_add(const char *name, uint64_t hits)
{
	struct named *m = find_mark(name);

	snprintf(m->name, sizeof(m->name), "%s", name);
	m->hits += hits;
}

uint64_t mark_hits(const char *name)
{
	return find_mark(name)->hits + trace_mark_count(name);
}

void mark_dump(FILE *to)
{
	for (unsigned i = 0; i < MARKS; i++)
		if (marks[i].name[0])
			fprintf(to, "mark %s %llu\n", marks[i].name, (unsigned long long)marks[i].hits);
	trace_mark_dump(to);
}

/* ---- what goes in and out of a node ---------------------------------------------------------- */

void check_event(struct sim *s, struct host *h, const struct event *ev)
{
	trace_event(s, h, ev);
	if (ev->type == EV_RESERVED && ev->unit_state.result == RESERVE_WON) {
		h->unit[ev->unit].won = true;
		h->unit[ev->unit].epoch = ev->epoch;
	} else if (ev->type == EV_RESERVED && ev->unit_state.result == RESERVE_LOST) {
		h->unit[ev->unit].won = false;
	} else if (ev->type == EV_RELEASED && ev->err == 0) {
		h->unit[ev->unit].won = false;
	} else if (ev->type == EV_WORKER_EXITED && h->vs[ev->vs].worker_op) {
		h->vs[ev->vs].worker_op--;
	}
}

static void order(struct sim *s, const struct host *h, const struct action *a, bool fine,
		  const char *why)
{
	if (!fine)
		sim_fail(s, "order", "n%u: %s of vs %u unit %u: %s", h->at + 1, act_name(a->type),
			 a->vs, a->unit, why);
}

static void worker_start_order(struct sim *s, const struct host *h, const struct action *a)
{
	order(s, h, a, h->vs[a->vs].worker_op == 0, "an earlier worker was not reported gone");
	for (unsigned i = 0; i < s->conf.vs[a->vs].unit_count; i++) {
		unsigned u = s->conf.vs[a->vs].unit[i];

		const struct action *r = &h->unit[u].repair;

		order(s, h, a, h->unit[u].won, "a unit is not reserved");
		if (worker_uses(s, a->vs, u, a->start.closed))
			order(s, h, a, h->unit[u].mounted, "a unit is not mounted");
		if (r->op) /* VS-156: what is repaired and what is served are never the same */
			order(s, h, a, (r->repair.stores & ~a->start.closed) == 0,
			      "a store to be opened is being repaired");
		if (r->op && r->repair.below)
			order(s, h, a, !worker_uses(s, a->vs, u, a->start.closed),
			      "a unit to be used is being repaired");
	}
}

static void repair_order(struct sim *s, const struct host *h, const struct action *a)
{
	bool worker = h->vs[a->vs].worker_op;
	uint8_t closed = h->vs[a->vs].closed;

	order(s, h, a, h->unit[a->unit].won, "it is not reserved");
	order(s, h, a, !h->unit[a->unit].repair.op, "it is being repaired already");
	order(s, h, a, a->repair.stores != 0, "no store is named");
	if (worker)
		order(s, h, a, (a->repair.stores & ~closed) == 0, "its worker has that store open");
	if (worker && (a->repair.below || !a->repair.beside))
		order(s, h, a, !worker_uses(s, a->vs, a->unit, closed),
		      "its worker has another store on it open");
}

/* What follows what.
 * covers: OV-27 OV-28 */
void check_action(struct sim *s, struct host *h, const struct action *a)
{
	trace_action(s, h, a);
	if (a->type == ACT_MOUNT) {
		order(s, h, a, h->unit[a->unit].won, "it is not reserved");
	} else if (a->type == ACT_WORKER_START) {
		worker_start_order(s, h, a);
		h->vs[a->vs].worker_op++;
		h->vs[a->vs].closed = a->start.closed;
	} else if (a->type == ACT_REPAIR) {
		repair_order(s, h, a);
	} else if (a->type == ACT_UNMOUNT) {
		order(s, h, a, h->vs[a->vs].worker_op == 0, "its worker was not reported gone");
		order(s, h, a, !h->unit[a->unit].repair.op, "it is being repaired");
	} else if (a->type == ACT_RELEASE) {
		order(s, h, a, !h->unit[a->unit].mounted, "it is mounted");
	} else if (a->type == ACT_OPEN) {
		order(s, h, a, h->vs[a->vs].address_kept, "its address is not up");
	} else if (a->type == ACT_RESERVE && a->reserve.mode == RESERVE_KEEP) {
		order(s, h, a, h->vs[a->vs].worker_op == 0, "its worker was not reported gone");
		order(s, h, a, !h->unit[a->unit].repair.op, "it is being repaired");
	}
}

static unsigned majority(const struct sim *s)
{
	return s->device_count / 2 + 1;
}

/* What was believed by a stale sector may still be believed. */
static bool stale_lately(const struct sim *s, const struct device *dev)
{
	return dev->stale || (dev->stale_until_ns && dev->stale_until_ns +
							     2 * s->conf.times.dead_ns > s->now_ns);
}

/* On this device the victim was seen to write within the time that it should have been silent. */
static bool wrote_lately(const struct sim *s, const struct device *dev, const struct sector *sec)
{
	uint64_t dead = s->conf.times.dead_ns - s->conf.times.dead_ns / 50;
	uint64_t fresh = s->conf.times.fresh_ns + s->conf.times.fresh_ns / 20;

	if (stale_lately(s, dev))
		fresh += 2 * s->conf.times.slot_write_ns;

	for (unsigned i = 0; i < SIM_LANDINGS; i++)
		if (sec->landings[i] && sec->landings[i] + dead > s->now_ns &&
		    sec->landings[i] + fresh < s->now_ns)
			return true;
	return false;
}

static void check_213(struct sim *s, struct host *h, unsigned victim, const struct action *a)
{
	uint64_t fresh = s->conf.times.fresh_ns + s->conf.times.fresh_ns / 20;
	uint64_t wait = s->conf.times.wait_ns - s->conf.times.wait_ns / 50;
	unsigned proven = 0, silent = 0, carried = 0;

	for (unsigned d = 0; d < s->device_count; d++) {
		bool good = h->seen[d].read_ns && h->seen[d].read_ns + fresh >= s->now_ns &&
			    h->seen[d].write_ns && h->seen[d].write_ns + fresh >= s->now_ns;

		proven += good;
		silent += good && !wrote_lately(s, &s->device[d], &s->device[d].sector[victim]);
		carried += h->seen[d].write_ns >= h->announced_ns[victim] && h->seen[d].write_ns;
	}
	if (proven < majority(s))
		sim_fail(s, "verdict", "n%u takes from n%u with %u of %u coordination devices",
			 h->at + 1, victim + 1, proven, s->device_count);
	if (h->announced_ns[victim] == 0 || carried < majority(s))
		sim_fail(s, "announce", "n%u takes from n%u without having announced it", h->at + 1,
			 victim + 1);
	if (h->announced_ns[victim] + wait > s->now_ns)
		sim_fail(s, "wait", "n%u takes from n%u %llu us after the announcement", h->at + 1,
			 victim + 1,
			 (unsigned long long)(s->now_ns - h->announced_ns[victim]) / 1000);
	for (unsigned i = 0; i < s->worker_end && !h->by_force[victim]; i++) {
		const struct worker *w = &s->worker[i];

		/* A later epoch than the taker knows of makes RESERVE lose. */
		if (w->used && w->alive && w->open && !w->revoked && w->host == victim &&
		    w->vs == a->vs && w->unit_epoch[0] <= a->reserve.victim_epoch &&
		    host_local_ns(&s->host[victim], s->now_ns) < w->page_until_ns)
			sim_fail(s, "lease", "n%u takes from n%u, whose lease for vs %u still runs",
				 h->at + 1, victim + 1, w->vs);
	}
	if (!h->by_force[victim] && silent < majority(s))
		sim_fail(s, "verdict", "n%u takes from n%u, which writes its slots", h->at + 1,
			 victim + 1);
}

/* V1, 213b; or the victim gave it up, and then nothing of it can answer.
 * covers: V1 V2 F4 */
void check_vote(struct sim *s, struct host *h, const struct action *a)
{
	const struct node_vs *v = &h->node.vs[a->vs];
	unsigned victim = a->reserve.victim - 1U;

	if (a->reserve.mode != RESERVE_VICTIM || v->at != 0 || a->reserve.fenced)
		return;
	for (unsigned i = 0; i < h->node.peer_count; i++)
		if (h->node.peer[i].id == a->reserve.victim && h->node.peer[i].step == 'c' &&
		    v->reason != REASON_GAVE_UP) {
			check_213(s, h, victim, a);
			mark("sim.checked_213");
			return;
		}
	for (unsigned i = 0; i < s->worker_end; i++) {
		const struct worker *w = &s->worker[i];

		/* A later epoch than the one that was given up makes RESERVE lose. */
		if (w->used && w->alive && w->host == victim && w->vs == a->vs && !w->revoked &&
		    w->open && w->unit_epoch[0] <= a->reserve.victim_epoch &&
		    host_local_ns(&s->host[victim], s->now_ns) < w->page_until_ns)
			sim_fail(s, "gave-up", "n%u takes vs %u from n%u, whose worker may answer",
				 h->at + 1, a->vs, victim + 1);
	}
	mark("sim.checked_gave_up");
}

/* What a node says to all: its generation grows with each instance; announcements of step 213. */
void check_status(struct sim *s, struct host *h, const uint8_t *data, size_t len)
{
	struct status_msg m;
	int rc = status_decode(&m, data, len);

	if (rc || m.sender != h->at + 1)
		sim_fail(s, "interface", "n%u: a status message that cannot be decoded: %d",
			 h->at + 1, rc);
	if (m.generation <= h->generation_max)
		sim_fail(s, "generation", "n%u uses generation %llu again", h->at + 1,
			 (unsigned long long)m.generation);
	if (m.generation < h->generation_sent)
		sim_fail(s, "generation", "n%u went back to generation %llu", h->at + 1,
			 (unsigned long long)m.generation);
	h->generation_sent = m.generation;
	for (unsigned i = 0; i < m.peer_count; i++) {
		uint64_t *at = &h->announced_ns[m.peer[i].node - 1];

		if (m.peer[i].takeover == 0)
			*at = 0;
		else if (*at == 0)
			*at = s->now_ns;
	}
}

/* ---- states ---------------------------------------------------------------------------------- */

static unsigned state_named(const char *name, const char *(*names)(unsigned), unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		if (strcmp(names(i), name) == 0)
			return i;
	return 0;
}

static void vs_said(struct sim *s, struct host *h, unsigned vs, const char *from, const char *to)
{
	unsigned was = state_named(from, vs_state_name, VS_STATE_COUNT);

	if (vs >= s->vs_count || was != (unsigned)h->said_vs[vs])
		sim_fail(s, "setter", "n%u: vs %u was %s, not %s", h->at + 1, vs,
			 vs < s->vs_count ? vs_state_name(h->said_vs[vs]) : "unknown", from);
	h->said_vs[vs] = (enum vs_state)state_named(to, vs_state_name, VS_STATE_COUNT);
	mark("vs.%s>%s", from, to);
}

static void node_said(struct sim *s, struct host *h, const char *from, const char *to)
{
	unsigned was = state_named(from, node_state_name, NODE_STATE_COUNT);

	if (was != (unsigned)h->said_state)
		sim_fail(s, "setter", "n%u was %s, not %s", h->at + 1,
			 node_state_name(h->said_state), from);
	h->said_state = (enum node_state)state_named(to, node_state_name, NODE_STATE_COUNT);
	mark("node.%s>%s", from, to);
}

/* `vs v1: OPEN -> SERVING ...` and `node: NORMAL -> STOPPED ...` */
static void hear(struct sim *s, struct host *h, const char *text)
{
	char from[16], to[16];
	unsigned vs;

	if (sscanf(text, "vs v%u: %15[A-Z] -> %15[A-Z]", &vs, from, to) == 3)
		vs_said(s, h, vs - 1, from, to);
	else if (sscanf(text, "node: %15[A-Z] -> %15[A-Z]", from, to) == 2)
		node_said(s, h, from, to);
}

/* Every change of state was made by its setter, which says so. */
static void check_setters(struct sim *s, struct host *h)
{
	for (unsigned i = 0; i < s->actions.count; i++)
		if (s->actions.a[i].type == ACT_LOG)
			hear(s, h, s->actions.a[i].log.text);
	if (h->node.state != h->said_state)
		sim_fail(s, "setter", "n%u is %s, which no setter said", h->at + 1,
			 node_state_name(h->node.state));
	for (unsigned v = 0; v < s->vs_count; v++)
		if (h->node.vs[v].state != h->said_vs[v])
			sim_fail(s, "setter", "n%u: vs %u is %s, which no setter said", h->at + 1,
				 v, vs_state_name(h->node.vs[v].state));
}

/* Holds the post now, by its own clock. */
static bool is_master(const struct sim *s, const struct host *h)
{
	return h->up && h->node.role == STATUS_ROLE_MASTER && !h->node.lease_lapsed &&
	       host_local_ns(h, s->now_ns) < h->node.lease_until_ns;
}

/* covers: VS-26 VS-33 OV-03 AM-09 */
static void one_master(struct sim *s, const struct host *h)
{
	/* Stale sectors take the margin that only a takeover has (its wait): two may meet then. */
	for (unsigned d = 0; d < s->device_count; d++)
		if (stale_lately(s, &s->device[d]))
			return;
	for (unsigned i = 0; i < s->node_count && is_master(s, h); i++)
		if (&s->host[i] != h && is_master(s, &s->host[i]))
			sim_fail(s, "one-master", "n%u and n%u hold the post", h->at + 1, i + 1);
}

void check_step(struct sim *s, struct host *h)
{
	node_check(&h->node);
	check_setters(s, h);
	one_master(s, h);
}

/* ---- the truth ------------------------------------------------------------------------------- */

void check_epoch(struct sim *s, unsigned unit, uint64_t epoch)
{
	if (epoch <= s->unit[unit].epoch)
		sim_fail(s, "epoch", "unit %u: %llu after %llu", unit, (unsigned long long)epoch,
			 (unsigned long long)s->unit[unit].epoch);
}

/* An address is up on one live node.  A former owner that does not know yet may keep it: no longer
 * than until its next look at the reservation is overdue, and then for the lifetime that it has
 * left.  So nobody renews or brings up what the node that S names has had for that long.
 * covers: F6 */
void check_address(struct sim *s, const struct host *h, unsigned vs)
{
	uint64_t grace = s->conf.times.poll_lease_ns + s->conf.times.drift_ns;
	unsigned owner = s->unit[s->conf.vs[vs].unit[0]].owner;
	const struct host_vs *there;

	if (owner == 0 || owner == h->at + 1)
		return;
	mark("sim.address_of_another");
	there = &s->host[owner - 1].vs[vs];
	if (there->address_until_ns > s->now_ns && there->address_since_ns + grace < s->now_ns)
		sim_fail(s, "address", "n%u keeps the address of vs %u up, which n%u has for %llu ms",
			 h->at + 1, vs, owner,
			 (unsigned long long)(s->now_ns - there->address_since_ns) / MS);
}

/* F4: no answer of a former owner after the first of the new one.
 * covers: F4 */
void check_answer(struct sim *s, const struct worker *w)
{
	if (w->epoch < s->answered_epoch[w->vs])
		sim_fail(s, "fenced-read", "n%u answers for vs %u at epoch %llu after %llu",
			 w->host + 1, w->vs, (unsigned long long)w->epoch,
			 (unsigned long long)s->answered_epoch[w->vs]);
	if (s->answered_ns[w->vs] && s->now_ns - s->answered_ns[w->vs] > s->gap_ns[w->vs])
		s->gap_ns[w->vs] = s->now_ns - s->answered_ns[w->vs];
	s->answered_epoch[w->vs] = w->epoch;
	s->answered_ns[w->vs] = s->now_ns;
	s->answers[w->vs]++;
}

static void one_server(struct sim *s, unsigned vs)
{
	const struct worker *first = NULL;

	for (unsigned i = 0; i < s->worker_end; i++) {
		const struct worker *w = &s->worker[i];

		if (w->vs != vs || !worker_answers(s, w))
			continue;
		if (first)
			sim_fail(s, "one-server",
				 "vs %u is served on n%u (epoch %llu) and n%u (epoch %llu)", vs,
				 first->host + 1, (unsigned long long)first->epoch, w->host + 1,
				 (unsigned long long)w->epoch);
		first = w;
	}
}

/* After every event: only where there are two that could, the clocks are asked. */
void check_world(struct sim *s)
{
	unsigned open = 0, twice = 0;

	for (unsigned i = 0; i < s->worker_end; i++) {
		const struct worker *w = &s->worker[i];
		unsigned bit = w->used && w->alive && w->open ? 1U << w->vs : 0;

		twice |= open & bit;
		open |= bit;
	}
	for (unsigned v = 0; twice >> v; v++)
		if (twice >> v & 1)
			one_server(s, v);
}
