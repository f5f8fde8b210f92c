/* vs_done.c - completions: what follows when an operation of a virtual server is over. */
#include "core/internal.h"

/* True when this completes the operation that the vs waits for. */
bool vs_awaited(struct node *n, unsigned vs, const struct event *ev, enum vs_state state)
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

/* ---- on the way up -------------------------------------------------------------------------- */

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

/* A file system that its own checker must see first is mounted by the repair. */
static void mount_next(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	while (v->at < vs_conf(n, vs)->unit_count && (v->below & vs_stores_on(n, vs, v->at)))
		vs_unit(n, vs, v->at++)->mounted = true; /* undone like a mount */
	if (v->at < vs_conf(n, vs)->unit_count) {
		vs_unit_act(n, vs, ACT_MOUNT);
		return;
	}
	vs_phase_end(n, v, PHASE_MOUNT);
	if (!vs_too_late(n, vs))
		vs_bring_up(n, vs);
}

static void won(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = vs_unit(n, vs, v->at);

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
		vs_down_instead(n, vs);
		return;
	}
	if (++v->at < vs_conf(n, vs)->unit_count) {
		vs_reserve_next(n, vs);
		return;
	}
	if (v->cleaning) {
		vs_down_instead(n, vs);
		return;
	}
	vs_phase_end(n, v, PHASE_RESERVE);
	takeover_won(n, vs);
	v->at = 0;
	if (vs_too_late(n, vs)) {
		HF_MARK("vs.won_too_late");
	} else if (vs_unit(n, vs, vs_conf(n, vs)->unit_count - 1)->mounted) {
		vs_bring_up(n, vs);
	} else {
		vs_set_state(n, vs, VS_MOUNT, v->reason);
		mount_next(n, vs);
	}
}

static void lost(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u = vs_unit(n, vs, v->at);
	bool had = v->keep;

	note_owner(n, u, ev);
	u->held = false;
	if (v->cleaning) { /* that one is not mine; the next may be */
		if (++v->at < vs_conf(n, vs)->unit_count)
			vs_reserve_next(n, vs);
		else
			vs_down_instead(n, vs);
		return;
	}
	v->lost = true;
	v->reason = REASON_OWNERSHIP_LOST;
	HF_MARK("vs.reserve_lost");
	vs_down_instead(n, vs);
	if (had)
		node_stop(n, REASON_OWNERSHIP_LOST);
}

static void on_reserved(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u;

	if (!vs_awaited(n, vs, ev, VS_RESERVE))
		return;
	v->op = 0;
	u = vs_unit(n, vs, v->at);
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
		    n->conf.unit[vs_conf(n, vs)->unit[v->at]].fence_command) {
			HF_MARK("step.213d");
			vs_set_state(n, vs, VS_FENCE, v->reason);
			vs_unit_act(n, vs, ACT_FENCE)->fence.node = v->victim;
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
	SAY(n, LOG_L_ERR, v->reason, "vs %s: reserve of %s: %s; %s", vs_conf(n, vs)->name,
	    n->conf.unit[vs_conf(n, vs)->unit[v->at]].name, reason_name(v->reason),
	    reason_todo(v->reason));
	vs_down_instead(n, vs);
}

static void on_fenced(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!vs_awaited(n, vs, ev, VS_FENCE))
		return;
	v->op = 0;
	if (v->want_down) {
		vs_down_instead(n, vs);
		return;
	}
	if (ev->err) {
		v->failed = true;
		v->failed_until_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
		v->reason = REASON_FENCE_FAILED;
		HF_MARK("vs.fence_failed");
		vs_down_instead(n, vs);
		return;
	}
	v->fenced = true;
	vs_set_state(n, vs, VS_RESERVE, v->reason);
	vs_reserve_next(n, vs);
}

/* What mounting a file system says that its own checker can mend: EUCLEAN, EBADMSG (a bad
 * checksum), EINVAL (no superblock to be seen). */
static bool is_corrupt(int err)
{
	return err == -117 || err == -74 || err == -22;
}

static void on_mounted(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!vs_awaited(n, vs, ev, VS_MOUNT))
		return;
	v->op = 0;
	vs_unit(n, vs, v->at)->mounted = true; /* a failed mount is undone like a mount */
	if (v->want_down) {
		vs_down_instead(n, vs);
		return;
	}
	if (is_corrupt(ev->err) && vs_stores_on(n, vs, v->at) && !vs_damage_loop(n, v)) {
		HF_MARK("vs.mount_repair");
		v->closed |= vs_stores_on(n, vs, v->at);
		v->below |= vs_stores_on(n, vs, v->at);
		v->reason = REASON_DAMAGED;
	} else if (ev->err) {
		v->want_down = false;
		v->failed = true;
		v->failed_until_ns = n->now_ns + n->conf.times.hold_down_ns;
		v->reason = REASON_MOUNT_FAILED;
		HF_MARK("vs.mount_failed");
		vs_down_instead(n, vs);
		return;
	}
	v->at++;
	mount_next(n, vs);
}

static void on_worker_ready(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_RECOVER || ev->epoch != v->epoch) {
		n->stale_completions++;
		return;
	}
	vs_phase_end(n, v, PHASE_RECOVER);
	v->recovered_records = ev->worker.recovered_records;
	v->recovery_ns = ev->worker.recovery_ns;
	for (unsigned i = 0; i < vs_conf(n, vs)->fs_count; i++)
		if (v->fs_state[i] == STATUS_FS_RECOVERING)
			v->fs_state[i] = STATUS_FS_UP;
#ifdef HF_MUTANT_ADDRESS_TAKEN_FOR_UP
	v->addresses_short = false;
#endif
	if (v->addresses && !v->addresses_short) {
		vs_set_state(n, vs, VS_ADDRESS, v->reason);
		vs_set_state(n, vs, VS_OPEN, v->reason);
		vs_open_if_allowed(n, vs);
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
			    vs_conf(n, vs)->name, ev->err);
		if (ev->err) /* tried again by vs_run() */
			v->limit_ns = n->now_ns + n->conf.times.heartbeat_ns;
		else
			vs_exit_over(n, vs);
		return;
	}
	v->addresses = true; /* also when it failed half-way: ADDRESS_DOWN cleans */
	v->addresses_short = ev->err != 0;
	if (v->state == VS_EXIT) {
		vs_exit_over(n, vs);
	} else if (v->state == VS_ADDRESS && ev->err) {
		vs_failed(n, vs, REASON_ADDRESS_FAILED);
	} else if (v->state == VS_ADDRESS) {
		vs_set_state(n, vs, VS_OPEN, v->reason);
		vs_open_if_allowed(n, vs);
	}
}

static void on_opened(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!vs_awaited(n, vs, ev, VS_OPEN))
		return;
	if (ev->err) {
		vs_failed(n, vs, REASON_OPEN_FAILED);
		return;
	}
	HF_MARK("step.420");
	vs_phase_end(n, v, PHASE_OPEN);
	vs_set_state(n, vs, VS_SERVING, v->reason);
	v->served_since_ns = n->now_ns;
	vs_act(n, vs, ACT_TICKLE);
	SAY(n, LOG_L_NOTICE, v->reason, "vs %s: serving epoch=%llu after %llu us reason=%s",
	    vs_conf(n, vs)->name, (unsigned long long)v->epoch,
	    (unsigned long long)v->total_ns / 1000, reason_name(v->reason));
}

static void on_worker_failed(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!v->worker || ev->epoch != v->epoch || !vs_leased_state(v->state))
		return;
	if (ev->worker.text) /* NULL: it is in the log already */
		SAY(n, LOG_L_ERR, REASON_WORKER_FAILED, "vs %s: worker: %s", vs_conf(n, vs)->name,
		    ev->worker.text);
	vs_failed(n, vs, ev->worker.storage ? REASON_STORAGE_DOWN : REASON_WORKER_FAILED);
}

/* ---- on the way down ------------------------------------------------------------------------ */

static void on_unmounted(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];

	if (!vs_awaited(n, vs, ev, VS_UNMOUNT))
		return;
	v->op = 0;
	if (ev->err && ++v->release_tries < 3) {
		vs_unit_act(n, vs, ACT_UNMOUNT);
		return;
	}
	if (ev->err) { /* F1: what cannot be proved ends in a reboot */
		HF_MARK("vs.stuck");
		vs_unit(n, vs, v->at)->foul = true;
		vs_set_state(n, vs, VS_STUCK, REASON_UNMOUNT_FAILED);
		act_self_fence(n, REASON_UNMOUNT_FAILED, "node: a unit cannot be unmounted");
		return;
	}
	vs_unit(n, vs, v->at)->mounted = false;
	if (++v->at < vs_conf(n, vs)->unit_count) {
		vs_unit_act(n, vs, ACT_UNMOUNT);
		return;
	}
	v->at = 0;
	v->release_tries = 0;
	HF_MARK("step.525");
	vs_set_state(n, vs, VS_RELEASE, v->reason);
	vs_unit_act(n, vs, ACT_RELEASE);
}

static void all_released(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	v->released = !v->lost && !v->gave_up;
	for (unsigned i = 0; i < vs_conf(n, vs)->fs_count; i++)
		v->fs_state[i] = STATUS_FS_DOWN;
	v->keep = false;
	v->victim = 0;
	if (v->move_to && v->move_reason != REASON_OPERATOR)
		v->moved_ns = n->now_ns;
#ifdef HF_MUTANT_STATE_WITHOUT_SETTER
	v->state = VS_DOWN;
#else
	vs_set_state(n, vs, VS_DOWN, v->reason);
#endif
}

static void on_released(struct node *n, unsigned vs, const struct event *ev)
{
	struct node_vs *v = &n->vs[vs];
	struct node_unit *u;

	if (!vs_awaited(n, vs, ev, VS_RELEASE))
		return;
	v->op = 0;
	u = vs_unit(n, vs, v->at);
	if (ev->err && !v->lost && ++v->release_tries < 3) {
		vs_unit_act(n, vs, ACT_RELEASE);
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
	if (++v->at < vs_conf(n, vs)->unit_count) {
		vs_unit_act(n, vs, ACT_RELEASE);
		return;
	}
	all_released(n, vs);
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
	vs_addresses_down(n, vs);
	vs_exit_over(n, vs);
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
		vs_crashed(n, vs);
		return;
	case VS_DRAIN: /* crashed while draining: the next one recovers */
		vs_set_state(n, vs, VS_EXIT, v->reason);
		vs_addresses_down(n, vs);
		return;
	case VS_EXIT:
		vs_exit_over(n, vs);
		return;
	case VS_RETAKE:
		vs_retake_now(n, vs);
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

/* ---- all of them ---------------------------------------------------------------------------- */

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
		vs_repaired(n, ev->vs, ev);
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
			vs_damaged(n, ev->vs, ev->fs.fs, ev->fs.below);
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
		if (++u->poll_errors < 2 || !vs_leased_state(v->state))
			return;
		HF_MARK("vs.storage_down");
		vs_storage_down(n, u->vs);
		return;
	}
}
