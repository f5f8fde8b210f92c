/* vs_again.c - a virtual server that stays where it is: crash, lapse, damage and repair (VS 1.15).
 *
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> RECOVER ...		crash, lapse
 *	RECOVER..SERVING -> RETAKE -> RESERVE (keep) -> REPAIR -> RECOVER ...	damage
 *
 * The addresses stay where they are, and after a crash the mount too: clients wait. */
#include "core/internal.h"

/* ---- restart in place ----------------------------------------------------------------------- */

static void retake(struct node *n, unsigned vs, enum reason why)
{
	struct node_vs *v = &n->vs[vs];

	vs_revoke(n, vs);
	vs_set_state(n, vs, VS_RETAKE, why);
	v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
	v->phase_begun_ns = n->now_ns;
	memset(v->phase_ns, 0, sizeof(v->phase_ns));
	vs_run(n, vs);
}

void vs_retake_now(struct node *n, unsigned vs)
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
		v->repair = VS_REPAIR_STORE;
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

/* The worker found a store damaged and is ending.  Nobody answers from here on; the addresses and
 * the listening sockets stay, so clients wait. */
void vs_damaged(struct node *n, unsigned vs, bool below)
{
	struct node_vs *v = &n->vs[vs];
	enum vs_repair want = below ? VS_REPAIR_BELOW : VS_REPAIR_STORE;

	if (!vs_leased_state(v->state) || v->state == VS_DRAIN)
		return; /* whoever opens it next finds it again */
	HF_MARK("vs.damaged");
	if (vs_damage_loop(n, v)) {
		vs_failed(n, vs, REASON_DAMAGED_AGAIN);
		return;
	}
	if (want > v->repair)
		v->repair = want;
	retake(n, vs, REASON_DAMAGED);
}

static void repair_next(struct node *n, unsigned vs)
{
	vs_unit_act(n, vs, ACT_REPAIR)->repair.below = n->vs[vs].repair == VS_REPAIR_BELOW;
}

void vs_repair_begin(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->at = 0;
	v->repair_begun_ns = n->now_ns;
	vs_set_state(n, vs, VS_REPAIR, v->reason);
	repair_next(n, vs);
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

void vs_repaired(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!vs_awaited(n, vs, ev, VS_REPAIR))
		return;
	v->op = 0;
	vs_unit(n, vs, v->at)->mounted = true; /* or half so: unmounting it is right in any case */
	v->repair_took_ns = n->now_ns - v->repair_begun_ns;
	if (v->want_down) {
		vs_down_instead(n, vs);
		return;
	}
	if (ev->err) {
		v->repairs_failed++;
		if (vs_unit(n, vs, v->at)->poll_errors)
			vs_storage_down(n, vs);
		else
			vs_failed(n, vs, REASON_REPAIR_FAILED);
		return;
	}
	if (++v->at < vs_conf(n, vs)->unit_count) {
		repair_next(n, vs);
		return;
	}
	HF_MARK("vs.repaired");
	v->repair = VS_REPAIR_NONE;
	v->repairs++;
	SAY(n, LOG_L_NOTICE, v->reason, "vs %s: repaired in %llu ms", vs_conf(n, vs)->name,
	    (unsigned long long)v->repair_took_ns / 1000000);
	if (!vs_chain_good(n, v)) {
		vs_set_state(n, vs, VS_RETAKE, REASON_LEASE_LAPSED);
		v->limit_ns = n->now_ns + 20 * n->conf.times.heartbeat_ns;
		return;
	}
	vs_start_worker(n, vs, v->reason);
}
