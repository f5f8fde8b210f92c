/* vserver.c - one virtual server on this node, up and down (OV-14, OV-27, OV-28, VS 1.13).
 *
 *	DOWN -> RESERVE (-> FENCE) -> MOUNT -> RECOVER -> ADDRESS -> OPEN -> SERVING
 *	SERVING -> DRAIN -> EXIT -> UNMOUNT -> RELEASE -> DOWN			planned
 *	any -> EXIT ...								in haste
 *
 * What begins each way is here, with leases and what time brings about; what follows a completion
 * is in vs_done.c, being brought up again where it is in vs_again.c.  At most one operation with an
 * op is in flight; its completion moves on.  When a vs must come down while one is in flight,
 * want_down is set and the completion turns it. */
#include "core/internal.h"

const struct node_conf_vs *vs_conf(const struct node *n, unsigned vs)
{
	return &n->conf.vs[vs];
}

struct node_unit *vs_unit(struct node *n, unsigned vs, unsigned at)
{
	return &n->unit[vs_conf(n, vs)->unit[at]];
}

void vs_set_state(struct node *n, unsigned vs, enum vs_state to, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	hf_assert(vs_transition_allowed(v->state, to));
	trace_note("vs %s: %s -> %s (%s)", vs_conf(n, vs)->name, vs_state_name(v->state),
		   vs_state_name(to), reason_name(why));
	SAY(n, LOG_L_INFO, why, "vs %s: %s -> %s epoch=%llu reason=%s", vs_conf(n, vs)->name,
	    vs_state_name(v->state), vs_state_name(to), (unsigned long long)v->epoch,
	    reason_name(why));
	v->state = to;
	v->since_ns = n->now_ns;
	v->reason = why;
	v->op = 0;
	v->limit_ns = 0;
	n->dirty = true;
}

/* A number gets its virtual server, or none. */
void vs_init(struct node *n, unsigned vs)
{
	memset(&n->vs[vs], 0, sizeof(n->vs[vs]));
	n->vs[vs].state = VS_DOWN;
	n->vs[vs].since_ns = n->now_ns;
	memset(n->vs[vs].fs_state, STATUS_FS_DOWN, sizeof(n->vs[vs].fs_state));
	for (unsigned k = 0; k < vs_conf(n, vs)->unit_count; k++)
		vs_unit(n, vs, k)->vs = vs;
}

struct action *vs_act(struct node *n, unsigned vs, enum act_type type)
{
	struct action *a = act(n, type);

	a->vs = vs;
	a->epoch = n->vs[vs].epoch;
	return a;
}

struct action *vs_unit_act(struct node *n, unsigned vs, enum act_type type)
{
	struct action *a = vs_act(n, vs, type);

	a->unit = vs_conf(n, vs)->unit[n->vs[vs].at];
	n->vs[vs].op = act_op(n, a);
	return a;
}

void vs_phase_end(struct node *n, struct node_vs *v, enum vs_phase p)
{
	v->phase_ns[p] = n->now_ns - v->phase_begun_ns;
	v->total_ns += v->phase_ns[p];
	v->phase_begun_ns = n->now_ns;
}

/* ---- lease ---------------------------------------------------------------------------------- */

bool vs_chain_good(const struct node *n, const struct node_vs *v)
{
	return lease_valid(n) && v->chain == n->chain;
}

bool node_vs_held(const struct node *n, unsigned vs, uint64_t now_ns)
{
	bool held = true;

	for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++) {
		const struct node_unit *u = &n->unit[vs_conf(n, vs)->unit[i]];

#ifdef HF_MUTANT_ADDRESS_RENEWED_BLINDLY
		held = held && (u->held || now_ns);
#else
		held = held && u->held && u->poll_until_ns > now_ns;
#endif
	}
	return held;
}

/* Until when may this vs serve: the node's lease, and a good look at each reservation. */
static uint64_t lease_end(struct node *n, unsigned vs)
{
	uint64_t until = n->lease_until_ns;

	for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++)
		if (vs_unit(n, vs, i)->poll_until_ns < until)
			until = vs_unit(n, vs, i)->poll_until_ns;
	return until;
}

bool vs_leased_state(enum vs_state s)
{
	return s == VS_RECOVER || s == VS_ADDRESS || s == VS_OPEN || s == VS_SERVING ||
	       s == VS_DRAIN;
}

void vs_give_lease(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	uint64_t until;

	if (!v->worker || !vs_leased_state(v->state) || v->lost || !vs_chain_good(n, v))
		return;
	until = lease_end(n, vs);
	if (until <= v->lease_until_ns || until <= n->now_ns)
		return;
	v->lease_until_ns = until;
	vs_act(n, vs, ACT_LEASE)->lease.until_ns = until;
}

void vs_revoke(struct node *n, unsigned vs)
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

void vs_reserve_next(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = vs_unit(n, vs, v->at);
	struct action *a = vs_unit_act(n, vs, ACT_RESERVE);

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
	for (unsigned i = 0; victim && i < vs_conf(n, vs)->unit_count; i++)
		if (vs_unit(n, vs, i)->owner == victim &&
		    vs_unit(n, vs, i)->owner_epoch > v->victim_epoch)
			v->victim_epoch = vs_unit(n, vs, i)->owner_epoch;
	v->keep = v->lost = v->want_down = v->gave_up = v->released = v->fenced = false;
	v->cleaning = v->storage_lost = false;
	v->renew_ns = 0;
	v->first_reply = v->drained = false;
	v->move_to = 0;
	v->at = 0;
	v->chain = n->chain;
	v->open_not_before_ns = 0;
	v->revoked_ns = 0;
	v->release_tries = 0;
	v->closed = v->below = 0;
	vs_set_state(n, vs, VS_RESERVE, why);
	vs_reserve_next(n, vs);
}

void vs_start_worker(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	vs_set_state(n, vs, VS_RECOVER, why);
	v->worker = true;
	v->drained = false;
	v->lease_until_ns = 0;
	v->revoked_ns = 0;
	for (unsigned i = 0; i < vs_conf(n, vs)->fs_count; i++)
		v->fs_state[i] = v->closed >> i & 1 ? STATUS_FS_DAMAGED : STATUS_FS_RECOVERING;
#ifdef HF_MUTANT_OPENS_WHAT_IS_REPAIRED
	vs_act(n, vs, ACT_WORKER_START);
#else
	vs_act(n, vs, ACT_WORKER_START)->start.closed = v->closed;
#endif
	vs_give_lease(n, vs);
}

void vs_open_if_allowed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct action *a;

#ifndef HF_MUTANT_OPEN_EARLY
	if (n->now_ns < v->open_not_before_ns)
		return;
#endif
	if (v->op || !vs_chain_good(n, v))
		return;
	vs_give_lease(n, vs);
	if (v->lease_until_ns <= n->now_ns)
		return;
	a = vs_act(n, vs, ACT_OPEN);
	v->op = act_op(n, a);
}

void vs_failed(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	v->failed = true;
	v->storage_lost = why == REASON_STORAGE_DOWN;
	v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
	if (why == REASON_CRASH_LOOP || why == REASON_REPAIR_FAILED || why == REASON_DAMAGED_AGAIN)
		v->failed_until_ns = 0; /* an operator's turn */
	SAY(n, LOG_L_ERR, why, "vs %s: cannot serve it here: %s; %s", vs_conf(n, vs)->name,
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

/* EXIT is over when the worker is gone, nothing is being repaired and no address is left. */
void vs_exit_over(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state == VS_EXIT)
		vs_repair_stop(n, vs);
#ifdef HF_MUTANT_UNMOUNT_BEFORE_EXIT
	if (v->state != VS_EXIT || v->address_op || v->repair_op)
#else
	if (v->state != VS_EXIT || v->worker || v->address_op || v->repair_op)
#endif
		return;
	if (v->addresses) {
		struct action *a = vs_act(n, vs, ACT_ADDRESS_DOWN);

		v->address_op = act_op(n, a);
		return;
	}
	v->at = 0;
	vs_set_state(n, vs, VS_UNMOUNT, v->reason);
	vs_unit_act(n, vs, ACT_UNMOUNT);
}

void vs_addresses_down(struct node *n, unsigned vs)
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
			vs_revoke(n, vs);
		return;
	case VS_RESERVE:
	case VS_FENCE:
	case VS_MOUNT:
		v->want_down = true; /* the completion turns it */
		v->reason = why;
		return;
	case VS_RECOVER:
	case VS_ADDRESS:
	case VS_OPEN:
	case VS_SERVING:
	case VS_DRAIN:
	case VS_RETAKE:
	case VS_REPAIR:
		break;
	}
	vs_revoke(n, vs);
	v->gave_up = !v->lost;
	vs_set_state(n, vs, VS_EXIT, why);
	vs_addresses_down(n, vs);
	vs_exit_over(n, vs);
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

void vs_down_instead(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->want_down = false;
	vs_revoke(n, vs);
	vs_set_state(n, vs, VS_EXIT, v->reason);
	vs_addresses_down(n, vs);
	vs_exit_over(n, vs);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Without a good look at the reservation the lease just ends, and begins again with the next
 * good look (F4: read back as its own at the same epoch); much later it is a failure. */
static bool polls_overdue(const struct node *n, unsigned vs)
{
	uint64_t limit = 4 * n->conf.times.poll_lease_ns;

	for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++) {
		const struct node_unit *u = &n->unit[vs_conf(n, vs)->unit[i]];

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
	if (vs_leased_state(v->state) && polls_overdue(n, vs)) {
		HF_MARK("vs.poll_overdue");
		vs_storage_down(n, vs);
	}
	switch (v->state) {
	case VS_OPEN:
		vs_open_if_allowed(n, vs);
		return;
	case VS_RETAKE:
#ifdef HF_MUTANT_RETAKE_NOT_TRIED_AGAIN
		v->limit_ns = 0;
		over = false;
#else
		if (over)
			vs_hard_down(n, vs, REASON_NO_MAJORITY);
		else
			vs_retake_now(n, vs);
#endif
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
			vs_revoke(n, vs);
		vs_addresses_down(n, vs);
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
		hf_assert(v->worker && vs_leased_state(v->state) && !v->lost);
		hf_assert(v->lease_until_ns <= n->lease_until_ns);
		hf_assert(v->chain == n->chain);
		for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++)
			hf_assert(n->unit[vs_conf(n, vs)->unit[i]].held);
	}
	if (v->state == VS_DOWN || v->state == VS_UNMOUNT || v->state == VS_RELEASE)
		hf_assert(!v->worker && !v->addresses && !v->address_op && !v->repair_op);
	/* What is being repaired nobody has open, and nobody takes or gives away. */
	if (v->repair_op)
		hf_assert(v->closed && v->state != VS_RESERVE && v->state != VS_FENCE &&
			  v->state != VS_MOUNT && v->state != VS_STUCK);
	hf_assert((v->below & ~v->closed) == 0);
	if (v->state == VS_DOWN)
		for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++)
			hf_assert(!n->unit[vs_conf(n, vs)->unit[i]].held &&
				  !n->unit[vs_conf(n, vs)->unit[i]].mounted);
	if (v->state == VS_SERVING)
		hf_assert(v->worker && v->addresses && !v->addresses_short);
}
