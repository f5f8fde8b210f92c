/* vs_again.c - a virtual server that stays where it is: crash, lapse, damage and repair (VS 1.15).
 *
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> RECOVER ...		crash, lapse
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> REPAIR -> RECOVER ...	damage of all stores
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> RECOVER ... SERVING	of some: without them,
 *		-> RETAKE -> RESERVE (keep) -> RECOVER ...			once they are repaired
 *
 * The addresses stay where they are, and after a crash the mount too: clients wait. */
#include "core/internal.h"

/* ---- restart in place ----------------------------------------------------------------------- */

static uint64_t retake_limit(const struct node *n)
{
	return n->now_ns + 20 * n->conf.times.heartbeat_ns;
}

bool vs_too_late(struct node *n, unsigned vs)
{
	if (vs_chain_good(n, &n->vs[vs]))
		return false;
	vs_set_state(n, vs, VS_RETAKE, REASON_LEASE_LAPSED);
	n->vs[vs].limit_ns = retake_limit(n);
	return true;
}

static void retake(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	vs_revoke(n, vs);
	vs_repair_stop(n, vs);
	vs_set_state(n, vs, VS_RETAKE, why);
	v->limit_ns = retake_limit(n);
	v->phase_begun_ns = n->now_ns;
	memset(v->phase_ns, 0, sizeof(v->phase_ns));
	vs_run(n, vs);
}

void vs_retake_now(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->worker || v->op || v->address_op || !lease_valid(n))
		return;
#ifndef HF_MUTANT_RETAKEN_WHILE_REPAIRED
	if (v->repair_op)
		return;
#endif
	v->keep = true;
	v->at = 0;
	v->chain = n->chain;
	v->victim = 0;
	v->total_ns = 0;
	v->first_reply = false;
	vs_set_state(n, vs, VS_RESERVE, v->reason);
	vs_reserve_next(n, vs);
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
	case VS_REPAIR:  /* noticed when it is over */
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

static uint8_t all_stores(const struct node *n, unsigned vs)
{
	return (uint8_t)((1U << vs_conf(n, vs)->fs_count) - 1);
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

void vs_crashed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	HF_MARK("vs.worker_crash");
	if (crash_loop(n, v)) {
		vs_failed(n, vs, REASON_CRASH_LOOP);
		return;
	}
	/* The last attempt before quarantine begins with a look at the stores. */
	if (v->crashes + 1 == n->conf.times.crash_limit)
		v->closed = all_stores(n, vs);
	retake(n, vs, REASON_WORKER_CRASH);
}

/* ---- damage and repair (VS 1.15) ------------------------------------------------------------ */

/* Damage that comes back after repairs is not mended by one more. */
bool vs_damage_loop(struct node *n, struct node_vs *v)
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

uint8_t vs_stores_on(const struct node *n, unsigned vs, unsigned at)
{
	const struct node_conf_vs *c = vs_conf(n, vs);
	unsigned on = 0;

	for (unsigned i = 0; i < c->fs_count; i++)
		if (c->fs_unit[i] == at)
			on |= 1U << i;
	return (uint8_t)on;
}

/* The worker found a store damaged and is ending.  Nobody answers until the next one has begun, and for
 * the closed stores nobody before they are repaired; the addresses and the listening sockets stay,
 * so clients wait. */
void vs_damaged(struct node *n, unsigned vs, unsigned fs, bool below)
{
	struct node_vs *v = &n->vs[vs];
	unsigned hit = 1U << fs;

	if (!vs_leased_state(v->state) || v->state == VS_DRAIN)
		return; /* whoever opens it next finds it again */
	HF_MARK("vs.damaged");
	if (vs_damage_loop(n, v)) {
		vs_failed(n, vs, REASON_DAMAGED_AGAIN);
		return;
	}
	if (below) {
		hit = vs_stores_on(n, vs, vs_conf(n, vs)->fs_unit[fs]);
		v->below |= (uint8_t)hit;
	}
	v->closed |= (uint8_t)hit;
	retake(n, vs, REASON_DAMAGED);
}

/* The next unit with a closed store; false: there is none. */
static bool repair_next(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	struct action *a;
	uint8_t on = 0;

	while (v->repair_at < vs_conf(n, vs)->unit_count &&
	       !(v->closed & (on = vs_stores_on(n, vs, v->repair_at))))
		v->repair_at++;
	if (v->repair_at == vs_conf(n, vs)->unit_count)
		return false;
	a = vs_act(n, vs, ACT_REPAIR);
	a->unit = vs_conf(n, vs)->unit[v->repair_at];
	a->repair.stores = v->closed & on;
	a->repair.below = (v->below & on) != 0;
	a->repair.beside = (on & ~v->closed) != 0;
	v->repair_op = act_op(n, a);
	return true;
}

/* Other stores are served while the closed ones are repaired (VS-156). */
void vs_bring_up(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	hf_assert(!v->repair_op);
	if (!v->closed) {
		vs_start_worker(n, vs, v->reason);
		return;
	}
	v->repair_begun_ns = n->now_ns;
	v->repair_at = 0;
	v->repair_stopped = false;
	if (v->closed == all_stores(n, vs)) {
		vs_set_state(n, vs, VS_REPAIR, v->reason);
		(void)repair_next(n, vs);
		return;
	}
	HF_MARK("vs.repair_beside");
	(void)repair_next(n, vs);
	vs_start_worker(n, vs, v->reason);
}

/* It begins anew with the next worker, or is the next owner's. */
void vs_repair_stop(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->repair_op || v->repair_stopped)
		return;
	HF_MARK("vs.repair_stop");
	v->repair_stopped = true;
	vs_act(n, vs, ACT_REPAIR_STOP)->unit = vs_conf(n, vs)->unit[v->repair_at];
}

void vs_storage_down(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->failed = v->storage_lost = true;
	v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
	vs_hard_down(n, vs, REASON_STORAGE_DOWN);
}

/* S of each of its units was read here a moment ago, and since it failed. */
static bool storage_proven(struct node *n, unsigned vs)
{
	const struct node_vs *v = &n->vs[vs];
	uint64_t recent = 10 * n->conf.times.heartbeat_ns;
	bool proven = true;

	for (unsigned i = 0; i < vs_conf(n, vs)->unit_count; i++) {
		struct node_unit *u = vs_unit(n, vs, i);

		if (u->proven_ns > v->since_ns && u->proven_ns + recent > n->now_ns)
			continue;
		u->prove = true;
		proven = false;
	}
	return proven;
}

/* Its storage failed here, and nobody is left who has it or could: once the storage is seen to work
 * again, waiting for the hold-down to end would only lengthen the outage.  Not at once: what can be
 * read may still fail in other ways (AM-29). */
void vs_storage_back(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	bool proven;

	if (!v->failed || !v->storage_lost || v->state != VS_DOWN ||
	    n->now_ns < v->since_ns + 20 * n->conf.times.heartbeat_ns || node_vs_owner(n, vs) ||
	    place_best(n, vs, true))
		return;
	proven = storage_proven(n, vs);
#ifdef HF_MUTANT_STORAGE_BACK_UNSEEN
	proven = true;
#endif
	if (!proven)
		return;
	HF_MARK("vs.storage_back");
	SAY(n, LOG_L_NOTICE, REASON_STORAGE_DOWN,
	    "vs %s: its storage works again here, and no other node can serve it: a candidate again",
	    vs_conf(n, vs)->name);
	v->failed = false;
	n->dirty = true;
}

/* What could not be mended beside others is tried with its whole unit closed, and once. */
static void repair_failed(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	uint8_t on = vs_stores_on(n, vs, v->repair_at);

	v->repairs_failed++;
	if (vs_unit(n, vs, v->repair_at)->poll_errors) {
		vs_storage_down(n, vs);
	} else if (on & ~v->closed) {
		HF_MARK("vs.repair_alone");
		v->closed |= on;
		v->below |= on;
		retake(n, vs, REASON_DAMAGED);
	} else {
		vs_failed(n, vs, REASON_REPAIR_FAILED);
	}
}

static void all_repaired(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	HF_MARK("vs.repaired");
#ifdef HF_MUTANT_CLOSED_FOR_EVER
	return;
#endif
	v->closed = v->below = 0;
	v->repairs++;
	SAY(n, LOG_L_NOTICE, v->reason, "vs %s: repaired in %llu ms", vs_conf(n, vs)->name,
	    (unsigned long long)v->repair_took_ns / 1000000);
	if (v->state != VS_REPAIR) { /* the worker has the others only: the next has all */
		HF_MARK("vs.repaired_beside");
		retake(n, vs, REASON_DAMAGED);
	} else if (!vs_too_late(n, vs)) {
		vs_start_worker(n, vs, v->reason);
	}
}

void vs_repaired(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->repair_op || v->repair_op != ev->op) {
		n->stale_completions++;
		return;
	}
	v->repair_op = 0;
	vs_unit(n, vs, v->repair_at)->mounted = true; /* or half so: unmounting it is right in any case */
	v->repair_took_ns = n->now_ns - v->repair_begun_ns;
	switch (v->state) {
	case VS_EXIT:
		vs_exit_over(n, vs);
		return;
	case VS_RETAKE:
		vs_retake_now(n, vs);
		return;
	case VS_DRAIN: /* whoever opens it next finds it as it is */
		return;
	case VS_RECOVER:
	case VS_ADDRESS:
	case VS_OPEN:
	case VS_SERVING:
	case VS_REPAIR:
		break;
	case VS_DOWN:
	case VS_RESERVE:
	case VS_FENCE:
	case VS_MOUNT:
	case VS_UNMOUNT:
	case VS_RELEASE:
	case VS_STUCK:
		HF_UNREACHABLE("nothing is repaired in these states");
	}
	if (ev->err) {
		repair_failed(n, vs);
		return;
	}
	v->repair_at++;
	if (!repair_next(n, vs))
		all_repaired(n, vs);
}
