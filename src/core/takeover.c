/* takeover.c - taking from a dead node (step 213), giving back (step 222), and being taken from.
 *
 * Against each other node runs one small machine, peer.step:
 *	0   nothing
 *	a   the announcement goes out on all paths; done when a majority of devices carry it
 *	b   until wait_ns after the announcement (the two overlap)
 *	c   its virtual servers are reserved and brought up, in order of priority
 *	d   inside vserver.c: fence, where the reservation alone does not make it passive
 * When all were tried 212 is complete: state TAKEOVER while something of its is held here.  Until
 * c begins the verdict must stay: one sign of life ends the attempt, nothing was touched. */
#include "core/internal.h"

static bool due_from(const struct node *n, const struct node_peer *p, unsigned vs)
{
	const struct node_vs *v = &n->vs[vs];

	if (v->state != VS_DOWN || v->target != n->conf.self || v->failed)
		return false;
	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++)
		if (n->unit[n->conf.vs[vs].unit[i]].owner == p->id)
			return true;
	return false;
}

static bool something_due(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (due_from(n, p, i))
			return true;
	return false;
}

static bool verdict_stands(const struct node_peer *p)
{
	return p->verdict == STATUS_V_DEAD || p->forced;
}

static void abort_takeover(struct node *n, struct node_peer *p, enum reason why)
{
	HF_MARK("step.213_aborted");
	SAY(n, LOG_L_NOTICE, why, "takeover of %s: given up in step 213%c: %s", node_name(n, p->id),
	    p->step, reason_name(why));
	p->step = 0;
	p->forced = false;
	n->dirty = true;
}

static void announce(struct node *n, struct node_peer *p)
{
	HF_MARK("step.213a");
	p->step = 'a';
	p->step_ns = n->now_ns;
	p->victim_generation = p->latest.generation;
	n->dirty = true;
	SAY(n, LOG_L_WARN, p->forced ? REASON_OPERATOR : REASON_NODE_DEAD,
	    "takeover of %s: announced generation=%llu", node_name(n, p->id),
	    (unsigned long long)p->latest.generation);
}

static void record_detection(struct node *n, const struct node_peer *p, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->phase_ns[PHASE_DETECT] =
	    p->heard_ns && p->step_ns > p->heard_ns ? p->step_ns - p->heard_ns : 0;
	v->phase_ns[PHASE_ANNOUNCE] = n->now_ns - p->step_ns;
	v->total_ns = v->phase_ns[PHASE_DETECT] + v->phase_ns[PHASE_ANNOUNCE];
}

static void reserve_all(struct node *n, struct node_peer *p)
{
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];

		if (!due_from(n, p, i))
			continue;
		vs_up(n, i, p->id, p->forced ? REASON_OPERATOR : REASON_NODE_DEAD);
		record_detection(n, p, i);
		/* F4: a living owner may serve from memory until its look at R is overdue. */
		if (p->verdict != STATUS_V_DEAD)
			n->vs[i].open_not_before_ns = n->now_ns + n->conf.times.step_ns;
	}
}

static bool took_something(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].victim == p->id && n->vs[i].state == VS_SERVING)
			return true;
	return false;
}

static bool in_progress(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].victim == p->id && n->vs[i].state != VS_DOWN &&
		    n->vs[i].state != VS_SERVING)
			return true;
	return false;
}

static bool announced(const struct node *n, const struct node_peer *p)
{
	return devices_written_since(n, p->step_ns) >= n->conf.device_count / 2 + 1;
}

static bool waited(const struct node *n, const struct node_peer *p)
{
#if defined(HF_MUTANT_NO_WAIT_213B)
	return n->now_ns >= p->step_ns;
#elif defined(HF_MUTANT_WAITS_TOO_LONG)
	return n->now_ns >= p->step_ns + 8 * n->conf.times.wait_ns;
#else
	return n->now_ns >= p->step_ns + n->conf.times.wait_ns;
#endif
}

static void step_213(struct node *n, struct node_peer *p)
{
	p->blocked = something_due(n, p) ? takeover_blocked(n, p) : REASON_NONE;
	switch (p->step) {
	case 0:
		if (!something_due(n, p))
			p->forced = false;
		if (verdict_stands(p) && something_due(n, p) && p->blocked == REASON_NONE)
			announce(n, p);
		return;
	case 'a':
	case 'b':
		if (!verdict_stands(p) || !something_due(n, p)) {
			abort_takeover(n, p, REASON_UNREACHABLE);
			return;
		}
		if (p->victim_generation != p->latest.generation) {
			abort_takeover(n, p, REASON_GAVE_UP); /* it obeyed, and is back */
			return;
		}
		if (p->blocked != REASON_NONE && p->blocked != REASON_NO_MAJORITY) {
			abort_takeover(n, p, p->blocked);
			return;
		}
		if (p->step == 'a' && announced(n, p)) {
			HF_MARK("step.213b");
			p->step = 'b';
		}
		if (p->step == 'b' && waited(n, p) && p->blocked == REASON_NONE) {
			HF_MARK("step.213c");
			p->step = 'c';
			reserve_all(n, p);
			n->dirty = true;
		}
		return;
	case 'c':
		if (in_progress(n, p))
			return;
		p->step = took_something(n, p) ? 'T' : 0;
		p->forced = false;
		n->dirty = true;
		HF_MARK("step.213_over");
		return;
	default: /* 'T': again when something of it is due once more */
		if (verdict_stands(p) && something_due(n, p))
			p->step = 0;
		return;
	}
}

/* A vs was reserved: if that was by force, or on an operator's takeover, 212 is complete. */
void takeover_won(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct node_peer *home = peer_find(n, n->conf.vs[vs].home);

	if (v->open_not_before_ns && !v->keep)
		v->open_not_before_ns =
		    n->now_ns + n->conf.times.poll_lease_ns + n->conf.times.drift_ns;
	if (v->keep || !home ||
	    (!v->victim && !home->countdown_ns && v->reason != REASON_TAKEN_OVER))
		return; /* not taken: again, my own, or moved here */
	home->taken = true;
	if (n->state == NODE_NORMAL) {
		HF_MARK("transition.212");
		node_set_state(n, NODE_TAKEOVER, v->reason);
	}
}

/* ---- being taken from ----------------------------------------------------------------------- */

/* Whatever runs here ends at once; when nothing is left, transition 231. */
void node_stop(struct node *n, enum reason why)
{
	if (!node_active(n))
		return;
	HF_MARK("transition.into_stopped");
	n->giveback_to = 0;
	n->resumed_ns = 0;
	node_set_state(n, NODE_STOPPED, why);
	for (unsigned i = 0; i < n->peer_count; i++) {
		n->peer[i].step = 0;
		n->peer[i].taken = n->peer[i].forced = false;
		n->peer[i].countdown_ns = 0;
	}
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_hard_down(n, i, why);
}

/* Whatever is released now is meant for the one who takes over. */
static void leave_to(struct node *n, uint16_t to)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN) {
			n->vs[i].move_to = to;
			n->vs[i].move_reason = REASON_TAKEN_OVER;
		}
}

/* AM-28: both announced in the same interval; the smaller id goes on, the other stops. */
static bool mine_comes_first(const struct node *n, const struct node_peer *p)
{
	bool announced =
	    p->step >= 'a' && p->step <= 'c' && p->victim_generation == p->latest.generation;

#ifdef HF_MUTANT_TIE_BOTH_STOP
	announced = false;
#endif
	if (announced && n->conf.self < p->id) {
		HF_MARK("takeover.tie_won");
		return true;
	}
	if (announced)
		HF_MARK("takeover.tie_lost");
	return false;
}

/* ST-102: somebody announces that he takes my storage, and means this instance of me. */
void takeover_of_me(struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < p->msg.peer_count; i++) {
		const struct status_peer *me = &p->msg.peer[i];

		if (me->node == n->conf.self && me->generation == n->generation && me->takeover &&
		    node_active(n) && !mine_comes_first(n, p)) {
			HF_MARK("takeover.of_me");
			node_stop(n, REASON_TAKEN_OVER);
			leave_to(n, p->id);
		}
	}
}

static void run_stopped(struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN)
			return;
	if (n->conf.reboot_manual)
		return;
	HF_MARK("transition.231");
	reboot_begin(n);
}

/* ---- giveback ------------------------------------------------------------------------------- */

static bool held_for(const struct node *n, uint16_t home)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN && n->conf.vs[i].home == home && home != n->conf.self)
			return true;
	return false;
}

/* 222a, 500: drain and release it for its home. */
void giveback_one(struct node *n, unsigned vs)
{
	HF_MARK("step.222a");
	n->giveback_to = n->conf.vs[vs].home;
	n->giveback_since_ns = n->now_ns;
	vs_move(n, vs, n->giveback_to, REASON_GIVEBACK);
}

enum reason giveback_start(struct node *n, uint16_t to, bool force)
{
	enum reason why = REASON_NOT_OWNER;
	struct vetoes v;

	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];
		uint16_t home = n->conf.vs[i].home;

		if (n->vs[i].state == VS_DOWN || home == n->conf.self || (to && home != to))
			continue;
		v.count = v.left_off = 0;
		place_vetoes(n, i, home, &v);
		why = veto_first(&v, force);
		if (why != REASON_NONE)
			return why;
		if (n->vs[i].state != VS_SERVING)
			return REASON_BUSY;
	}
	if (why != REASON_NONE)
		return why;
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];
		uint16_t home = n->conf.vs[i].home;

		if (n->vs[i].state == VS_SERVING && home != n->conf.self && (!to || home == to))
			giveback_one(n, i);
	}
	return REASON_NONE;
}

/* AM-07: what was released for it and not taken is taken again. */
static void giveback_end(struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].move_to == n->giveback_to && n->vs[i].move_reason == REASON_GIVEBACK &&
		    node_vs_owner(n, i) != n->giveback_to)
			n->vs[i].move_to = n->conf.self;
	n->giveback_to = 0;
	n->dirty = true;
}

enum reason takeover_cancel(struct node *n, uint16_t node)
{
	struct node_peer *p = peer_find(n, node);

	if (!p)
		return REASON_UNKNOWN_NODE;
	if (p->countdown_ns) {
		HF_MARK("step.715_cancelled");
		p->countdown_ns = 0;
	} else if (n->giveback_to == node) {
		HF_MARK("step.222_cancelled");
		giveback_end(n);
	} else {
		return REASON_ALREADY_THERE;
	}
	SAY(n, LOG_L_NOTICE, REASON_OPERATOR, "node: cancelled what was under way with %s",
	    node_name(n, node));
	return REASON_NONE;
}

static bool home_has_all(const struct node *n, uint16_t home)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->conf.vs[i].home == home && node_vs_owner(n, i) != home && vs_wanted(n, i))
			return false;
	return true;
}

/* 222a under way: on its way down here, for it. */
static bool releasing(const struct node *n, uint16_t home)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN && n->vs[i].move_to == home)
			return true;
	return false;
}

/* 222b and c: NORMAL is announced (node_fill), 212 barred, until the other is NORMAL and serves. */
static void step_222(struct node *n)
{
	const struct node_peer *p = peer_get(n, n->giveback_to);

	if (!p || releasing(n, n->giveback_to))
		return;
	if (held_for(n, n->giveback_to)) { /* it could not; I have it again */
		HF_MARK("step.222_came_back");
		giveback_end(n);
		return;
	}
	HF_MARK("step.222b");
	if (home_has_all(n, n->giveback_to) && p->msg.state != NODE_REBOOTING && peer_live(p)) {
		HF_MARK("step.222c");
		n->giveback_to = 0;
		n->dirty = true;
		return;
	}
	if (n->now_ns < n->giveback_since_ns + n->conf.times.giveback_wait_ns)
		return;
	HF_MARK("step.222_taken_again"); /* AM-07 */
	SAY(n, LOG_L_WARN, REASON_PEER_NOT_BACK, "giveback to %s: it does not take its storage",
	    node_name(n, n->giveback_to));
	giveback_end(n);
}

/* 221: back to NORMAL when nothing taken is left. */
static void leave_takeover(struct node *n)
{
	bool any = false;

	if (n->resumed_ns && n->now_ns < n->resumed_ns + n->conf.times.home_wait_ns)
		return;
	n->resumed_ns = 0;
	for (unsigned i = 0; i < n->peer_count; i++) {
		struct node_peer *p = &n->peer[i];

		if (p->taken && !held_for(n, p->id) && n->giveback_to != p->id && p->step != 'c') {
			p->taken = false;
			if (p->step == 'T')
				p->step = 0;
			n->dirty = true;
		}
		any = any || p->taken || p->step == 'c';
	}
	if (n->state == NODE_TAKEOVER && !any && !n->giveback_to) {
		HF_MARK("transition.221");
		node_set_state(n, NODE_NORMAL, REASON_GIVEBACK);
	}
}

static bool owns_nothing(const struct node *n, uint16_t id)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (node_vs_owner(n, i) == id || n->unit[n->conf.vs[i].unit[0]].owner == id ||
		    (n->vs[i].state != VS_DOWN && n->vs[i].state < VS_SERVING))
			return false;
	return true;
}

/* 720: it released everything; no need to wait. */
static void released_early(struct node *n, struct node_peer *p)
{
	if (p->countdown_ns && owns_nothing(n, p->id)) {
		HF_MARK("step.720_released");
		p->countdown_ns = 0;
	}
}

/* 725: expiry, not a word of the other, is the condition (FO-75).  Before placement: what is taken
 * by force from now on is wanted here from now on. */
void takeover_countdowns(struct node *n)
{
	for (unsigned i = 0; node_active(n) && i < n->peer_count; i++) {
		struct node_peer *p = &n->peer[i];

		if (!p->countdown_ns || n->now_ns < p->countdown_ns || owns_nothing(n, p->id))
			continue;
		HF_MARK("step.725");
		p->countdown_ns = 0;
		p->forced = true;
	}
}

void takeover_run(struct node *n)
{
	if (n->state == NODE_STOPPED) {
		run_stopped(n);
		return;
	}
	if (!node_active(n))
		return;
	for (unsigned i = 0; i < n->peer_count; i++) {
		released_early(n, &n->peer[i]);
		step_213(n, &n->peer[i]);
	}
	if (n->giveback_to)
		step_222(n);
	leave_takeover(n);
}

uint64_t takeover_deadline_ns(const struct node *n)
{
	uint64_t t = UINT64_MAX;

	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct node_peer *p = &n->peer[i];

		if ((p->step == 'a' || p->step == 'b') &&
		    p->step_ns + n->conf.times.wait_ns > n->now_ns &&
		    p->step_ns + n->conf.times.wait_ns < t)
			t = p->step_ns + n->conf.times.wait_ns;
		if (p->countdown_ns > n->now_ns && p->countdown_ns < t)
			t = p->countdown_ns;
	}
	return t;
}
