/* vserver.c - one virtual server on this node, up and down (OV-14, OV-27, OV-28, VS 1.13).
 *
 *	DOWN -> RESERVE (-> FENCE) -> MOUNT -> RECOVER -> ADDRESS -> OPEN -> SERVING
 *	SERVING -> DRAIN -> EXIT -> UNMOUNT -> RELEASE -> DOWN			planned
 *	any -> EXIT ...								in haste
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> RECOVER ...		crash, lapse
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> REPAIR -> RECOVER ...	damage (VS 1.15)
 *
 * At most one operation with an op is in flight; on_<event> moves on when its completion arrives.
 * When a vs must come down while one is in flight, want_down is set and the completion turns it. */
#include "core/internal.h"

static const struct node_conf_vs *conf(const struct node *n, unsigned vs)
{
	return &n->conf.vs[vs];
}

static struct node_unit *unit_of(struct node *n, unsigned vs, unsigned at)
{
	return &n->unit[conf(n, vs)->unit[at]];
}

void vs_set_state(struct node *n, unsigned vs, enum vs_state to, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	hf_assert(vs_transition_allowed(v->state, to));
	trace_note("vs %s: %s -> %s (%s)", conf(n, vs)->name, vs_state_name(v->state),
		   vs_state_name(to), reason_name(why));
	SAY(n, LOG_L_INFO, why, "vs %s: %s -> %s epoch=%llu reason=%s", conf(n, vs)->name,
	    vs_state_name(v->state), vs_state_name(to), (unsigned long long)v->epoch,
	    reason_name(why));
	v->state = to;
	v->since_ns = n->now_ns;
	v->reason = why;
	v->op = 0;
	v->limit_ns = 0;
	n->dirty = true;
}

static struct action *vs_act(struct node *n, unsigned vs, enum act_type type)
{
	struct action *a = act(n, type);

	a->vs = vs;
	a->epoch = n->vs[vs].epoch;
	return a;
}

static struct action *unit_act(struct node *n, unsigned vs, enum act_type type)
{
	struct action *a = vs_act(n, vs, type);

	a->unit = conf(n, vs)->unit[n->vs[vs].at];
	n->vs[vs].op = act_op(n, a);
	return a;
}

static void phase_end(struct node *n, struct node_vs *v, enum vs_phase p)
{
	v->phase_ns[p] = n->now_ns - v->phase_begun_ns;
	v->total_ns += v->phase_ns[p];
	v->phase_begun_ns = n->now_ns;
}

/* ---- lease ---------------------------------------------------------------------------------- */

static bool chain_good(const struct node *n, const struct node_vs *v)
{
	return lease_valid(n) && v->chain == n->chain;
}

/* Until when may this vs serve: the node's lease, and a good look at each reservation. */
static uint64_t lease_end(struct node *n, unsigned vs)
{
	uint64_t until = n->lease_until_ns;

	for (unsigned i = 0; i < conf(n, vs)->unit_count; i++)
		if (unit_of(n, vs, i)->poll_until_ns < until)
			until = unit_of(n, vs, i)->poll_until_ns;
	return until;
}

static bool leased_state(enum vs_state s)
{
	return s == VS_RECOVER || s == VS_ADDRESS || s == VS_OPEN || s == VS_SERVING ||
	       s == VS_DRAIN;
}

void vs_give_lease(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	uint64_t until;

	if (!v->worker || !leased_state(v->state) || v->lost || !chain_good(n, v))
		return;
	until = lease_end(n, vs);
	if (until <= v->lease_until_ns || until <= n->now_ns)
		return;
	v->lease_until_ns = until;
	vs_act(n, vs, ACT_LEASE)->lease.until_ns = until;
}

static void revoke(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->lease_until_ns = 0;
	if (!v->revoked_ns)
		v->revoked_ns = n->now_ns;
	if (!v->worker)
		return;
	vs_act(n, vs, ACT_LEASE)->lease.until_ns = 0;
	vs_act(n, vs, ACT_WORKER_KILL);
}

/* ---- up ------------------------------------------------------------------------------------- */

static void reserve_next(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = unit_of(n, vs, v->at);
	struct action *a = unit_act(n, vs, ACT_RESERVE);

	a->reserve.mode = v->keep ? RESERVE_KEEP : v->victim ? RESERVE_VICTIM : RESERVE_FREE;
	a->reserve.victim = v->keep ? n->conf.self : v->victim;
	a->reserve.victim_epoch = v->keep ? u->owner_epoch : v->victim_epoch;
	a->reserve.fenced = v->fenced;
	a->reserve.generation = n->generation;
	a->reserve.epoch_min = v->epoch;
	u->reserve_begun_ns = n->now_ns;
}

void vs_up(struct node *n, unsigned vs, uint16_t victim, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	hf_assert(v->state == VS_DOWN && lease_valid(n));
	for (unsigned i = 0; i < PHASE_COUNT; i++)
		v->phase_ns[i] = 0;
	v->total_ns = 0;
	v->phase_begun_ns = n->now_ns;
	v->victim = victim;
	v->victim_epoch = 0;
	for (unsigned i = 0; victim && i < conf(n, vs)->unit_count; i++)
		if (unit_of(n, vs, i)->owner == victim &&
		    unit_of(n, vs, i)->owner_epoch > v->victim_epoch)
			v->victim_epoch = unit_of(n, vs, i)->owner_epoch;
	v->keep = v->lost = v->want_down = v->gave_up = v->released = v->fenced = false;
	v->cleaning = false;
	v->first_reply = v->drained = false;
	v->move_to = 0;
	v->at = 0;
	v->chain = n->chain;
	v->open_not_before_ns = 0;
	v->revoked_ns = 0;
	v->release_tries = 0;
	v->repair = VS_REPAIR_NONE;
	vs_set_state(n, vs, VS_RESERVE, why);
	reserve_next(n, vs);
}

static void start_worker(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	vs_set_state(n, vs, VS_RECOVER, why);
	v->worker = true;
	v->drained = false;
	v->lease_until_ns = 0;
	v->revoked_ns = 0;
	for (unsigned i = 0; i < conf(n, vs)->fs_count; i++)
		v->fs_state[i] = STATUS_FS_RECOVERING;
	vs_act(n, vs, ACT_WORKER_START);
	vs_give_lease(n, vs);
}

static void open_if_allowed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct action *a;

#ifndef HF_MUTANT_OPEN_EARLY
	if (n->now_ns < v->open_not_before_ns)
		return;
#endif
	if (v->op || !chain_good(n, v))
		return;
	vs_give_lease(n, vs);
	if (v->lease_until_ns <= n->now_ns)
		return;
	a = vs_act(n, vs, ACT_OPEN);
	v->op = act_op(n, a);
}

static void failed(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	v->failed = true;
	v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
	if (why == REASON_CRASH_LOOP || why == REASON_REPAIR_FAILED || why == REASON_DAMAGED_AGAIN)
		v->failed_until_ns = 0; /* an operator's turn */
	SAY(n, LOG_L_ERR, why, "vs %s: cannot serve it here: %s; %s", conf(n, vs)->name,
	    reason_name(why), reason_todo(why));
	HF_MARK("vs.bring_up_failed");
	vs_hard_down(n, vs, why);
}

void vs_clear_failed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->failed = false;
	v->crashes = v->damages = 0;
	v->not_before_ns = 0;
	n->dirty = true;
}

/* ---- down ----------------------------------------------------------------------------------- */

/* EXIT is over when the worker is gone and no address is left. */
static void exit_over(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_EXIT || v->worker || v->address_op)
		return;
	if (v->addresses) {
		struct action *a = vs_act(n, vs, ACT_ADDRESS_DOWN);

		v->address_op = act_op(n, a);
		return;
	}
	v->at = 0;
	vs_set_state(n, vs, VS_UNMOUNT, v->reason);
	unit_act(n, vs, ACT_UNMOUNT);
}

static void addresses_down(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->addresses || v->address_op)
		return;
	v->address_op = act_op(n, vs_act(n, vs, ACT_ADDRESS_DOWN));
}

void vs_hard_down(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	switch (v->state) {
	case VS_DOWN:
	case VS_EXIT:
	case VS_UNMOUNT:
	case VS_RELEASE:
	case VS_STUCK:
		if (v->state == VS_EXIT && v->worker && !v->revoked_ns)
			revoke(n, vs);
		return;
	case VS_RESERVE:
	case VS_FENCE:
	case VS_MOUNT:
		v->want_down = true; /* the completion turns it */
		v->reason = why;
		return;
	case VS_REPAIR:
		if (!v->op)
			break;
		if (!v->want_down)
			vs_act(n, vs, ACT_REPAIR_STOP)->unit = conf(n, vs)->unit[v->at];
		v->want_down = true;
		v->reason = why;
		return;
	case VS_RECOVER:
	case VS_ADDRESS:
	case VS_OPEN:
	case VS_SERVING:
	case VS_DRAIN:
	case VS_RETAKE:
		break;
	}
	revoke(n, vs);
	v->gave_up = !v->lost;
	vs_set_state(n, vs, VS_EXIT, why);
	addresses_down(n, vs);
	exit_over(n, vs);
}

/* A planned move (OV-16): drain; or, when it does not serve yet, down at once. */
void vs_move(struct node *n, unsigned vs, uint16_t to, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	v->move_to = to;
	v->move_reason = why;
	v->move_since_ns = n->now_ns;
	if (v->state != VS_SERVING) {
		vs_hard_down(n, vs, why);
		return;
	}
	HF_MARK("step.505"); /* no new requests, 510: finish and checkpoint */
	vs_set_state(n, vs, VS_DRAIN, why);
	v->limit_ns = n->now_ns + n->conf.times.step_ns;
	vs_act(n, vs, ACT_WORKER_DRAIN);
}

/* S names an older instance of this node, and somebody else shall have it: reserve it, which
 * clears every key of that instance, and release it again. */
void vs_clean(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	bool gave_up = v->gave_up;

	HF_MARK("vs.clean_leftover");
	vs_up(n, vs, 0, REASON_NONE);
	v->want_down = v->cleaning = true;
	v->gave_up = gave_up; /* the others may still take it meanwhile */
	v->revoked_ns = n->now_ns - n->conf.times.drift_ns;
}

/* ---- restart in place ----------------------------------------------------------------------- */

static void retake(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	revoke(n, vs);
	vs_set_state(n, vs, VS_RETAKE, why);
	v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
	v->phase_begun_ns = n->now_ns;
	memset(v->phase_ns, 0, sizeof(v->phase_ns));
	vs_run(n, vs);
}

static void retake_now(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->worker || v->op || v->address_op || !lease_valid(n))
		return;
	v->keep = true;
	v->at = 0;
	v->chain = n->chain;
	v->victim = 0;
	v->total_ns = 0;
	v->first_reply = false;
	vs_set_state(n, vs, VS_RESERVE, v->reason);
	reserve_next(n, vs);
}

/* The chain broke : silence now, and a new epoch. */
void vs_lapsed(struct node *n, unsigned vs, enum reason why)
{
	switch (n->vs[vs].state) {
	case VS_RECOVER:
	case VS_OPEN:
	case VS_SERVING:
	case VS_ADDRESS:
		HF_MARK("vs.lapse");
		retake(n, vs, why);
		return;
	case VS_DRAIN:
		vs_hard_down(n, vs, why);
		return;
	case VS_DOWN:
	case VS_REPAIR: /* noticed when it is over */
	case VS_RESERVE: /* noticed when it is won */
	case VS_FENCE:
	case VS_MOUNT:
	case VS_EXIT:
	case VS_RETAKE:
	case VS_UNMOUNT:
	case VS_RELEASE:
	case VS_STUCK:
		return;
	}
}

static bool crash_loop(struct node *n, struct node_vs *v)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < v->crashes; i++)
		if (v->crash_ns[i] + n->conf.times.crash_window_ns > n->now_ns)
			v->crash_ns[kept++] = v->crash_ns[i];
	v->crash_ns[kept++] = n->now_ns;
	v->crashes = kept;
	return kept >= n->conf.times.crash_limit;
}

static void crashed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	HF_MARK("vs.worker_crash");
	if (crash_loop(n, v)) {
		failed(n, vs, REASON_CRASH_LOOP);
		return;
	}
	/* The last attempt before quarantine begins with a look at the stores. */
	if (v->crashes + 1 == n->conf.times.crash_limit)
		v->repair = VS_REPAIR_STORE;
	retake(n, vs, REASON_WORKER_CRASH);
}

/* ---- damage and repair (VS 1.15) ------------------------------------------------------------ */

/* Damage that comes back after repairs is not mended by one more. */
static bool damage_loop(struct node *n, struct node_vs *v)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < v->damages; i++)
		if (v->repair_at_ns[i] + n->conf.times.damage_window_ns > n->now_ns)
			v->repair_at_ns[kept++] = v->repair_at_ns[i];
	v->repair_at_ns[kept++] = n->now_ns;
	v->damages = kept;
#ifdef HF_MUTANT_DAMAGE_FOR_EVER
	v->damages = 0;
	return false;
#endif
	return kept >= n->conf.times.damage_limit;
}

/* The worker found a store damaged and is ending.  Nobody answers from here on; the addresses and
 * the listening sockets stay, so clients wait. */
static void damaged(struct node *n, unsigned vs, bool below)
{
	struct node_vs *v = &n->vs[vs];
	enum vs_repair want = below ? VS_REPAIR_BELOW : VS_REPAIR_STORE;

	if (!leased_state(v->state) || v->state == VS_DRAIN)
		return; /* whoever opens it next finds it again */
	HF_MARK("vs.damaged");
	if (damage_loop(n, v)) {
		failed(n, vs, REASON_DAMAGED_AGAIN);
		return;
	}
	if (want > v->repair)
		v->repair = want;
	retake(n, vs, REASON_DAMAGED);
}

static void repair_next(struct node *n, unsigned vs)
{
	unit_act(n, vs, ACT_REPAIR)->repair.below = n->vs[vs].repair == VS_REPAIR_BELOW;
}

static void repair_begin(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->at = 0;
	v->repair_begun_ns = n->now_ns;
	vs_set_state(n, vs, VS_REPAIR, v->reason);
	repair_next(n, vs);
}

static void storage_down(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->failed = true;
	v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
	vs_hard_down(n, vs, REASON_STORAGE_DOWN);
}

/* ---- completions ---------------------------------------------------------------------------- */

/* True when this completes the operation that the vs waits for. */
static bool awaited(struct node *n, unsigned vs, const struct event *ev, enum vs_state state)
{
	struct node_vs *v = &n->vs[vs];

#ifdef HF_MUTANT_STALE_COMPLETION
	if (v->state == state && ev->op)
		return true;
#else
	if (v->state == state && v->op && v->op == ev->op)
		return true;
#endif
	n->stale_completions++;
	return false;
}

static void down_instead(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->want_down = false;
	revoke(n, vs);
	vs_set_state(n, vs, VS_EXIT, v->reason);
	addresses_down(n, vs);
	exit_over(n, vs);
}

static void note_owner(struct node *n, struct node_unit *u, const struct event *ev)
{
	struct node_peer *p = peer_find(n, ev->unit_state.owner);

	/* His silence proves something about this epoch only from now on. */
	if (p && (u->owner != p->id || u->owner_epoch != ev->unit_state.owner_epoch))
		p->observe_since_ns = n->now_ns;
	u->known = true;
	u->owner = ev->unit_state.owner;
	u->owner_epoch = ev->unit_state.owner_epoch;
	u->owner_generation = ev->unit_state.owner_generation;
}

static void won(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = unit_of(n, vs, v->at);

	u->held = true;
	u->known = true;
	u->owner = n->conf.self;
	u->owner_epoch = ev->epoch;
	u->owner_generation = n->generation;
	u->poll_until_ns = u->reserve_begun_ns + n->conf.times.poll_lease_ns;
	u->poll_errors = 0;
	if (ev->epoch > v->epoch)
		v->epoch = ev->epoch;
	if (v->want_down && !v->cleaning) {
		down_instead(n, vs);
		return;
	}
	if (++v->at < conf(n, vs)->unit_count) {
		reserve_next(n, vs);
		return;
	}
	if (v->cleaning) {
		down_instead(n, vs);
		return;
	}
	phase_end(n, v, PHASE_RESERVE);
	takeover_won(n, vs);
	v->at = 0;
	if (!chain_good(n, v)) { /* a pause in between: the reservation is too old for a lease */
		HF_MARK("vs.won_too_late");
		vs_set_state(n, vs, VS_RETAKE, REASON_LEASE_LAPSED);
		v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
	} else if (v->repair) {
		repair_begin(n, vs);
	} else if (unit_of(n, vs, conf(n, vs)->unit_count - 1)->mounted) {
		start_worker(n, vs, v->reason);
	} else {
		vs_set_state(n, vs, VS_MOUNT, v->reason);
		unit_act(n, vs, ACT_MOUNT);
	}
}

static void lost(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = unit_of(n, vs, v->at);
	bool had = v->keep;

	note_owner(n, u, ev);
	u->held = false;
	if (v->cleaning) { /* that one is not mine; the next may be */
		if (++v->at < conf(n, vs)->unit_count)
			reserve_next(n, vs);
		else
			down_instead(n, vs);
		return;
	}
	v->lost = true;
	v->reason = REASON_OWNERSHIP_LOST;
	HF_MARK("vs.reserve_lost");
	down_instead(n, vs);
	if (had)
		node_stop(n, REASON_OWNERSHIP_LOST);
}

static void on_reserved(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u;

	if (!awaited(n, vs, ev, VS_RESERVE))
		return;
	v->op = 0;
	u = unit_of(n, vs, v->at);
	switch (ev->unit_state.result) {
	case RESERVE_WON:
		won(n, vs, ev);
		return;
	case RESERVE_LOST:
#ifdef HF_MUTANT_PREEMPT_FAILURE_IGNORED
		if (v->keep)
			lost(n, vs, ev);
		else
			won(n, vs, ev);
#else
		lost(n, vs, ev);
#endif
		return;
	case RESERVE_HELD:
		if (!v->want_down && v->victim && !v->fenced &&
		    n->conf.unit[conf(n, vs)->unit[v->at]].fence_command) {
			HF_MARK("step.213d");
			vs_set_state(n, vs, VS_FENCE, v->reason);
			unit_act(n, vs, ACT_FENCE)->fence.node = v->victim;
			return;
		}
		v->reason = REASON_NEED_FENCE;
		break;
	case RESERVE_ERROR:
		v->reason = REASON_RESERVE_FAILED;
		break;
	}
	if (v->keep) { /* mine as far as anyone knows, but out of reach */
		u->held = true;
		v->gave_up = true;
	} else {
		u->held = false;
		v->failed = true;
		v->failed_until_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
	}
	HF_MARK("vs.reserve_failed");
	SAY(n, LOG_L_ERR, v->reason, "vs %s: reserve of %s: %s; %s", conf(n, vs)->name,
	    n->conf.unit[conf(n, vs)->unit[v->at]].name, reason_name(v->reason),
	    reason_todo(v->reason));
	down_instead(n, vs);
}

static void on_fenced(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!awaited(n, vs, ev, VS_FENCE))
		return;
	v->op = 0;
	if (v->want_down) {
		down_instead(n, vs);
		return;
	}
	if (ev->err) {
		v->failed = true;
		v->failed_until_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
		v->reason = REASON_FENCE_FAILED;
		HF_MARK("vs.fence_failed");
		down_instead(n, vs);
		return;
	}
	v->fenced = true;
	vs_set_state(n, vs, VS_RESERVE, v->reason);
	reserve_next(n, vs);
}

/* What mounting a file system says that its own checker can mend: EUCLEAN, EBADMSG (a bad checksum),
 * EINVAL (no superblock to be seen). */
static bool is_corrupt(int err)
{
	return err == -117 || err == -74 || err == -22;
}

static void on_mounted(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!awaited(n, vs, ev, VS_MOUNT))
		return;
	v->op = 0;
	unit_of(n, vs, v->at)->mounted = true; /* a failed mount is undone like a mount */
	if (v->want_down) {
		down_instead(n, vs);
		return;
	}
	if (is_corrupt(ev->err) && !v->repair && !damage_loop(n, v)) {
		HF_MARK("vs.mount_repair");
		v->repair = VS_REPAIR_BELOW;
		v->reason = REASON_DAMAGED;
		repair_begin(n, vs);
		return;
	}
	if (ev->err) {
		v->want_down = false;
		v->failed = true;
		v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
		v->reason = REASON_MOUNT_FAILED;
		HF_MARK("vs.mount_failed");
		down_instead(n, vs);
		return;
	}
	if (++v->at < conf(n, vs)->unit_count) {
		unit_act(n, vs, ACT_MOUNT);
		return;
	}
	phase_end(n, v, PHASE_MOUNT);
	if (!chain_good(n, v)) {
		vs_set_state(n, vs, VS_RETAKE, REASON_LEASE_LAPSED);
		v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
		return;
	}
	start_worker(n, vs, v->reason);
}

static void on_repaired(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!awaited(n, vs, ev, VS_REPAIR))
		return;
	v->op = 0;
	unit_of(n, vs, v->at)->mounted = true; /* or half so: unmounting it is right in any case */
	v->repair_took_ns = n->now_ns - v->repair_begun_ns;
	if (v->want_down) {
		down_instead(n, vs);
		return;
	}
	if (ev->err) {
		v->repairs_failed++;
		if (unit_of(n, vs, v->at)->poll_errors)
			storage_down(n, vs);
		else
			failed(n, vs, REASON_REPAIR_FAILED);
		return;
	}
	if (++v->at < conf(n, vs)->unit_count) {
		repair_next(n, vs);
		return;
	}
	HF_MARK("vs.repaired");
	v->repair = VS_REPAIR_NONE;
	v->repairs++;
	SAY(n, LOG_L_NOTICE, v->reason, "vs %s: repaired in %llu ms", conf(n, vs)->name,
	    (unsigned long long)v->repair_took_ns / 1000000);
	if (!chain_good(n, v)) {
		vs_set_state(n, vs, VS_RETAKE, REASON_LEASE_LAPSED);
		v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
		return;
	}
	start_worker(n, vs, v->reason);
}

static void on_unmounted(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!awaited(n, vs, ev, VS_UNMOUNT))
		return;
	v->op = 0;
	if (ev->err && ++v->release_tries < 3) {
		unit_act(n, vs, ACT_UNMOUNT);
		return;
	}
	if (ev->err) { /* F1: what cannot be proved ends in a reboot */
		HF_MARK("vs.stuck");
		unit_of(n, vs, v->at)->foul = true;
		vs_set_state(n, vs, VS_STUCK, REASON_UNMOUNT_FAILED);
		act_self_fence(n, REASON_UNMOUNT_FAILED, "node: a unit cannot be unmounted");
		return;
	}
	unit_of(n, vs, v->at)->mounted = false;
	if (++v->at < conf(n, vs)->unit_count) {
		unit_act(n, vs, ACT_UNMOUNT);
		return;
	}
	v->at = 0;
	v->release_tries = 0;
	HF_MARK("step.525");
	vs_set_state(n, vs, VS_RELEASE, v->reason);
	unit_act(n, vs, ACT_RELEASE);
}

static void all_released(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->released = !v->lost && !v->gave_up;
	for (unsigned i = 0; i < conf(n, vs)->fs_count; i++)
		v->fs_state[i] = STATUS_FS_DOWN;
	v->keep = false;
	v->victim = 0;
	if (v->move_to && v->move_reason != REASON_OPERATOR)
		v->moved_ns = n->now_ns;
	vs_set_state(n, vs, VS_DOWN, v->reason);
}

static void on_released(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u;

	if (!awaited(n, vs, ev, VS_RELEASE))
		return;
	v->op = 0;
	u = unit_of(n, vs, v->at);
	if (ev->err && !v->lost && ++v->release_tries < 3) {
		unit_act(n, vs, ACT_RELEASE);
		return;
	}
	if (ev->err && !v->lost) {
		HF_MARK("vs.release_failed");
		v->gave_up = true; /* S still names me: the others may take it by force */
	} else if (u->held && !v->lost) {
		u->owner = 0;
	}
	if (v->at == 0 && !ev->err)
		v->gave_up = false;
	u->held = false;
	u->poll_until_ns = 0;
	if (++v->at < conf(n, vs)->unit_count) {
		unit_act(n, vs, ACT_RELEASE);
		return;
	}
	all_released(n, vs);
}

static void on_worker_ready(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_RECOVER || ev->epoch != v->epoch) {
		n->stale_completions++;
		return;
	}
	phase_end(n, v, PHASE_RECOVER);
	v->recovered_records = ev->worker.recovered_records;
	v->recovery_ns = ev->worker.recovery_ns;
	for (unsigned i = 0; i < conf(n, vs)->fs_count; i++)
		if (v->fs_state[i] == STATUS_FS_RECOVERING)
			v->fs_state[i] = STATUS_FS_UP;
	if (v->addresses) {
		vs_set_state(n, vs, VS_ADDRESS, v->reason);
		vs_set_state(n, vs, VS_OPEN, v->reason);
		open_if_allowed(n, vs);
		return;
	}
	vs_set_state(n, vs, VS_ADDRESS, v->reason);
	v->address_op = act_op(n, vs_act(n, vs, ACT_ADDRESS_UP));
}

static void on_address(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->address_op || v->address_op != ev->op) {
		n->stale_completions++;
		return;
	}
	v->address_op = 0;
	if (ev->type == EV_ADDRESSES_DOWN) {
		if (ev->err == 0)
			v->addresses = false;
		else
			SAY(n, LOG_L_ERR, REASON_ADDRESS_FAILED, "vs %s: addresses stay up: %d",
			    conf(n, vs)->name, ev->err);
		if (ev->err) /* tried again by vs_run() */
			v->limit_ns = n->now_ns + n->conf.times.heartbeat_ns;
		else
			exit_over(n, vs);
		return;
	}
	v->addresses = true; /* also when it failed half-way: ADDRESS_DOWN cleans */
	if (v->state == VS_EXIT) {
		exit_over(n, vs);
	} else if (v->state == VS_ADDRESS && ev->err) {
		failed(n, vs, REASON_ADDRESS_FAILED);
	} else if (v->state == VS_ADDRESS) {
		vs_set_state(n, vs, VS_OPEN, v->reason);
		open_if_allowed(n, vs);
	}
}

static void on_opened(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!awaited(n, vs, ev, VS_OPEN))
		return;
	if (ev->err) {
		failed(n, vs, REASON_OPEN_FAILED);
		return;
	}
	HF_MARK("step.420");
	phase_end(n, v, PHASE_OPEN);
	vs_set_state(n, vs, VS_SERVING, v->reason);
	v->served_since_ns = n->now_ns;
	vs_act(n, vs, ACT_TICKLE);
	SAY(n, LOG_L_NOTICE, v->reason, "vs %s: serving epoch=%llu after %llu us reason=%s",
	    conf(n, vs)->name, (unsigned long long)v->epoch, (unsigned long long)v->total_ns / 1000,
	    reason_name(v->reason));
}

static void on_worker_exited(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->worker || ev->epoch != v->epoch) {
		n->stale_completions++;
		return;
	}
	v->worker = false;
	v->lease_until_ns = 0;
	switch (v->state) {
	case VS_RECOVER:
	case VS_ADDRESS:
	case VS_OPEN:
	case VS_SERVING:
		crashed(n, vs);
		return;
	case VS_DRAIN: /* crashed while draining: the next one recovers */
		vs_set_state(n, vs, VS_EXIT, v->reason);
		addresses_down(n, vs);
		return;
	case VS_EXIT:
		exit_over(n, vs);
		return;
	case VS_RETAKE:
		retake_now(n, vs);
		return;
	case VS_DOWN:
	case VS_RESERVE:
	case VS_FENCE:
	case VS_MOUNT:
	case VS_UNMOUNT:
	case VS_RELEASE:
	case VS_STUCK:
	case VS_REPAIR:
		HF_UNREACHABLE("no worker lives in these states");
	}
}

static void on_worker_failed(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->worker || ev->epoch != v->epoch || !leased_state(v->state))
		return;
	if (ev->worker.text) /* NULL: it is in the log already */
		SAY(n, LOG_L_ERR, REASON_WORKER_FAILED, "vs %s: worker: %s", conf(n, vs)->name,
		    ev->worker.text);
	failed(n, vs, ev->worker.storage ? REASON_STORAGE_DOWN : REASON_WORKER_FAILED);
}

static void on_worker_drained(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_DRAIN || ev->epoch != v->epoch)
		return;
	HF_MARK("step.515"); /* connections closed, 520: sockets too, by the worker's exit */
	v->drained = true;
	v->lease_until_ns = 0;
	vs_act(n, vs, ACT_LEASE)->lease.until_ns = 0;
	vs_set_state(n, vs, VS_EXIT, v->reason);
	v->limit_ns = n->now_ns + n->conf.times.step_ns;
	addresses_down(n, vs);
	exit_over(n, vs);
}

void vs_event(struct node *n, const struct event *ev)
{
	struct node_vs *v = &n->vs[ev->vs];

	if (ev->type == EV_RESERVED)
		on_reserved(n, ev->vs, ev);
	else if (ev->type == EV_RELEASED)
		on_released(n, ev->vs, ev);
	else if (ev->type == EV_FENCED)
		on_fenced(n, ev->vs, ev);
	else if (ev->type == EV_MOUNTED)
		on_mounted(n, ev->vs, ev);
	else if (ev->type == EV_UNMOUNTED)
		on_unmounted(n, ev->vs, ev);
	else if (ev->type == EV_REPAIRED)
		on_repaired(n, ev->vs, ev);
	else if (ev->type == EV_WORKER_READY)
		on_worker_ready(n, ev->vs, ev);
	else if (ev->type == EV_WORKER_FAILED)
		on_worker_failed(n, ev->vs, ev);
	else if (ev->type == EV_WORKER_DRAINED)
		on_worker_drained(n, ev->vs, ev);
	else if (ev->type == EV_WORKER_EXITED)
		on_worker_exited(n, ev->vs, ev);
	else if (ev->type == EV_ADDRESSES_UP || ev->type == EV_ADDRESSES_DOWN)
		on_address(n, ev->vs, ev);
	else if (ev->type == EV_OPENED)
		on_opened(n, ev->vs, ev);
	else if (ev->type == EV_FIRST_REPLY && ev->epoch == v->epoch && !v->first_reply) {
		v->first_reply = true;
		if (ev->worker.at_ns > v->phase_begun_ns)
			v->phase_ns[PHASE_FIRST_REPLY] = ev->worker.at_ns - v->phase_begun_ns;
	} else if (ev->type == EV_FS && ev->epoch == v->epoch &&
		   ev->fs.fs < n->conf.vs[ev->vs].fs_count) {
		v->fs_state[ev->fs.fs] = (uint8_t)ev->fs.state;
		n->dirty = true;
		if (ev->fs.state == STATUS_FS_DAMAGED)
			damaged(n, ev->vs, ev->fs.below);
	}
}

/* F2: the owner looks at its reservation each heartbeat and stops when it is not its own. */
void vs_poll(struct node *n, const struct event *ev)
{
	struct node_unit *u = &n->unit[ev->unit];
	struct node_vs *v = &n->vs[u->vs];

	/* While S is being written by RESERVE or RELEASE a look at it tells nothing. */
	if (!u->held || ev->epoch != u->owner_epoch || v->state == VS_RESERVE ||
	    v->state == VS_RELEASE)
		return;
	switch (ev->poll.result) {
	case POLL_MINE:
		u->poll_errors = 0;
		if (ev->poll.started_ns + n->conf.times.poll_lease_ns > u->poll_until_ns)
			u->poll_until_ns = ev->poll.started_ns + n->conf.times.poll_lease_ns;
		vs_give_lease(n, u->vs);
		return;
	case POLL_LOST:
		HF_MARK("vs.poll_lost");
		u->held = false;
		u->known = false; /* read S again */
		v->lost = true;
		vs_hard_down(n, u->vs, REASON_OWNERSHIP_LOST);
		node_stop(n, REASON_OWNERSHIP_LOST);
		return;
	case POLL_ERROR:
		if (++u->poll_errors < 2 || !leased_state(v->state))
			return;
		HF_MARK("vs.storage_down");
		storage_down(n, u->vs);
		return;
	}
}

/* Without a good look at the reservation the lease just ends, and begins again with the next
 * good look (F4: read back as its own at the same epoch); much later it is a failure. */
static bool polls_overdue(const struct node *n, unsigned vs)
{
	uint64_t limit = 4 * n->conf.times.poll_lease_ns;

	for (unsigned i = 0; i < conf(n, vs)->unit_count; i++) {
		const struct node_unit *u = &n->unit[conf(n, vs)->unit[i]];

		if (u->poll_until_ns + limit <= n->now_ns &&
		    n->vs[vs].since_ns + limit <= n->now_ns)
			return true;
	}
	return false;
}

/* What time alone brings about. */
void vs_run(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	bool over = v->limit_ns && n->now_ns >= v->limit_ns;

	if (v->failed && v->failed_until_ns && n->now_ns >= v->failed_until_ns)
		vs_clear_failed(n, vs);
	if (leased_state(v->state) && polls_overdue(n, vs)) {
		HF_MARK("vs.poll_overdue");
		storage_down(n, vs);
	}
	switch (v->state) {
	case VS_OPEN:
		open_if_allowed(n, vs);
		return;
	case VS_RETAKE:
		if (over)
			vs_hard_down(n, vs, REASON_NO_MAJORITY);
		else
			retake_now(n, vs);
		return;
	case VS_DRAIN:
		if (over)
			vs_hard_down(n, vs, REASON_TIMEOUT);
		return;
	case VS_EXIT:
		if (!over)
			return;
		v->limit_ns = n->now_ns + n->conf.times.heartbeat_ns;
		if (v->worker && !v->revoked_ns)
			revoke(n, vs);
		addresses_down(n, vs);
		return;
	case VS_DOWN:
	case VS_RESERVE:
	case VS_FENCE:
	case VS_MOUNT:
	case VS_RECOVER:
	case VS_ADDRESS:
	case VS_SERVING:
	case VS_UNMOUNT:
	case VS_RELEASE:
	case VS_STUCK:
	case VS_REPAIR:
		return;
	}
}

uint64_t vs_deadline_ns(const struct node *n, unsigned vs)
{
	const struct node_vs *v = &n->vs[vs];
	uint64_t t = v->limit_ns ? v->limit_ns : UINT64_MAX;

	if (v->state == VS_OPEN && v->open_not_before_ns > n->now_ns && v->open_not_before_ns < t)
		t = v->open_not_before_ns;
	if (v->lease_until_ns > n->now_ns && v->lease_until_ns < t)
		t = v->lease_until_ns;
	return t;
}

void vs_check(const struct node *n, unsigned vs)
{
	const struct node_vs *v = &n->vs[vs];

	hf_assert(v->state >= VS_DOWN && v->state < VS_STATE_COUNT);
	if (v->lease_until_ns) {
		hf_assert(v->worker && leased_state(v->state) && !v->lost);
		hf_assert(v->lease_until_ns <= n->lease_until_ns);
		hf_assert(v->chain == n->chain);
		for (unsigned i = 0; i < conf(n, vs)->unit_count; i++)
			hf_assert(n->unit[conf(n, vs)->unit[i]].held);
	}
	if (v->state == VS_DOWN || v->state == VS_UNMOUNT || v->state == VS_RELEASE)
		hf_assert(!v->worker && !v->addresses && !v->address_op);
	if (v->state == VS_DOWN)
		for (unsigned i = 0; i < conf(n, vs)->unit_count; i++)
			hf_assert(!n->unit[conf(n, vs)->unit[i]].held &&
				  !n->unit[conf(n, vs)->unit[i]].mounted);
	if (v->state == VS_SERVING)
		hf_assert(v->worker && v->addresses);
}
