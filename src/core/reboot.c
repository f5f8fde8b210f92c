/* reboot.c - REBOOTING, steps 251 to 258, for a process that starts and for a node that stopped.
 *
 *	251  recovery starts: the generation is one more than persistent memory says; partners are
 *	     asked what they hold of me
 *	252  own slots are read (a greater generation there wins), the new generation is made
 *	     durable, S of every unit is read: who may write what
 *	253  the others' state from the slots, own state before from persistent memory
 *	254  / 255  what is seized: own storage only, or (was in TAKEOVER) what S still names as
 *mine; placement does it right after 258, by RESERVE, which decides from S and R 256  pending
 *operations: the store's log is replayed if S still names this node, and is left alone (discarded)
 *if another has gone on since (AM-03) 257  does anything prevent takeover: it becomes the inhibit
 *flags 258  NORMAL or TAKEOVER A node whose storage another holds enters NORMAL without storage, as
 *a standby (the operator is told that a giveback brings it back, step 252).  241: no generation can
 *be had: stay. */
#include "core/internal.h"

#include <errno.h>

/* What a record says I was when I wrote it. */
static void take_state(struct node *n, const struct status_msg *m)
{
	n->own_seen = (struct node_seen){.generation = m->generation, .sequence = m->sequence};
	n->first_start = false;
	n->recovery_report = true; /* ST-48 */
	n->prior_state = m->state == NODE_REBOOTING ? m->prior_state : m->state;
#ifdef HF_MUTANT_FLAGS_BY_INDICATOR
	n->inhibit_mine = m->indicator == STATUS_NO_TAKEOVER;
	n->inhibit_cluster = m->indicator == STATUS_DISABLE;
#else
	n->inhibit_mine = status_no_takeover(m);
	n->inhibit_cluster = status_disable(m);
#endif
	n->inhibit_self = m->flags & STATUS_F_INHIBIT && m->inhibit == REASON_INHIBITED;
	for (unsigned i = 0; i < m->vs_count; i++) {
		int vs = node_vs_find(n, m->vs[i].id);

		if (vs >= 0)
			n->vs[vs].inhibit = m->vs[i].flags & STATUS_VS_INHIBIT;
	}
	note_restore(n, m);
}

/* A record of mine that a partner held, in step 251: the newest counts (ST-46). */
void reboot_own_state(struct node *n, const struct status_msg *m)
{
	if (m->generation < n->own_seen.generation ||
	    (m->generation == n->own_seen.generation && m->sequence <= n->own_seen.sequence))
		return;
	if (n->first_start)
		HF_MARK("reboot.state_from_elsewhere");
	take_state(n, m);
	if (m->generation >= n->generation)
		n->generation = m->generation + 1;
}

static void load_persistent(struct node *n)
{
	struct status_msg m;
	struct slot s;

	n->first_start = true;
	if (!n->conf.persisted || slot_decode(&s, n->conf.persisted) != 0 ||
	    s.node != n->conf.self || status_decode(&m, s.payload, s.payload_len) != 0)
		return; /* AM-27: no valid record */
	n->generation_known = true;
	take_state(n, &m);
	n->generation = s.generation;
}

void reboot_begin(struct node *n)
{
	HF_MARK("step.251");
	if (n->state == NODE_STOPPED) {
		n->prior_state = NODE_STOPPED;
		n->recovery_report = true;
		n->first_start = false;
		n->generation_known = true;
		node_set_state(n, NODE_REBOOTING, REASON_NONE);
	} else {
		load_persistent(n);
	}
#ifdef HF_MUTANT_GENERATION_NOT_INCREMENTED
	n->generation += n->generation == 0;
#else
	n->generation++;
#endif
	n->reboot_step = 251;
	n->ask_next_ns = 0;
	for (unsigned i = 0; i < n->peer_count; i++)
		n->peer[i].told_held = false;
	memory_ask(n);
	n->prompted = n->waiting = false;
	n->reboot_retry_ns = 0;
	n->reboot_limit_ns = n->now_ns + 5 * n->conf.times.heartbeat_ns;
	for (unsigned d = 0; d < n->conf.device_count; d++)
		n->device[d].read_ok_begun_ns = 0;
	for (unsigned u = 0; u < n->conf.unit_count; u++) {
		n->unit[u].known = false;
		n->unit[u].read_next_ns = 0;
	}
}

static bool own_slots_read(const struct node *n)
{
	unsigned ok = 0, tried = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++) {
		ok += n->device[d].read_ok_begun_ns != 0;
		tried += n->device[d].read_ok_begun_ns != 0 || n->device[d].read_err != 0;
	}
	if (ok == n->conf.device_count)
		return true;
	if (tried < n->conf.device_count && n->now_ns < n->reboot_limit_ns)
		return false;
	return ok > 0 || n->generation_known;
}

static void step_252(struct node *n)
{
	if (n->now_ns < n->reboot_retry_ns)
		return;
	if (n->first_start && n->conf.memory && !memory_answered(n) && n->now_ns < n->reboot_limit_ns) {
		memory_ask(n); /* a partner may know who I was */
		return;
	}
	if (!own_slots_read(n)) {
		if (n->now_ns >= n->reboot_limit_ns)
			HF_MARK("transition.241");
		return;
	}
	HF_MARK("step.252");
	n->reboot_step = 252;
	node_persist(n);
}

/* Reads S of every unit that is not known or shall prove that it can be reached, not too often. */
void units_read(struct node *n)
{
	for (unsigned u = 0; u < n->conf.unit_count; u++) {
		struct node_unit *unit = &n->unit[u];
		struct action *a;

		if (n->conf.unit[u].gone || (unit->known && !unit->prove) || unit->held ||
		    unit->read_op || n->now_ns < unit->read_next_ns)
			continue;
		a = act(n, ACT_UNIT_READ);
		a->unit = u;
		a->vs = unit->vs;
		unit->read_op = act_op(n, a);
		unit->read_begun_ns = n->now_ns;
		unit->read_next_ns = n->now_ns + 5 * n->conf.times.heartbeat_ns;
	}
}

void unit_read_done(struct node *n, const struct event *ev)
{
	struct node_unit *u = &n->unit[ev->unit];
	struct node_peer *p = peer_find(n, ev->unit_state.owner);

	if (!u->read_op || u->read_op != ev->op) {
		n->stale_completions++;
		return;
	}
	u->read_op = 0;
	if (ev->err || u->held)
		return;
	/* His silence proves something about this epoch only from now on (see peer.c). */
	if (p && (u->owner != p->id || u->owner_epoch != ev->unit_state.owner_epoch) &&
	    ev->unit_state.owner_epoch > u->owner_epoch)
		p->observe_since_ns = n->now_ns;
	u->known = true;
	u->prove = false;
	u->proven_ns = u->read_begun_ns;
	u->owner = ev->unit_state.owner;
	u->owner_epoch = ev->unit_state.owner_epoch;
	u->owner_generation = ev->unit_state.owner_generation;
}

/* What others own may have changed hands without a word to me. */
static void units_ask_again(struct node *n)
{
	for (unsigned u = 0; u < n->conf.unit_count; u++)
		if (n->unit[u].owner != n->conf.self && n->unit[u].owner &&
		    n->now_ns >= n->unit[u].read_next_ns)
			n->unit[u].known = false;
}

static bool units_known(const struct node *n)
{
	for (unsigned u = 0; u < n->conf.unit_count; u++)
		if (!n->unit[u].known && !n->conf.unit[u].gone)
			return false;
	return true;
}

bool node_wants_giveback(const struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint16_t owner = n->unit[n->conf.vs[i].unit[0]].owner;

		if (n->conf.vs[i].home == n->conf.self && owner && owner != n->conf.self)
			return true;
	}
	return false;
}

/* ST-76, ST-81: without storage, and not content to stand by; a holder that died gives nothing
 * back. */
static bool waits_for_giveback(const struct node *n)
{
	if (!n->conf.standby_off)
		return false;
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		const struct node_peer *p = peer_get(n, n->unit[n->conf.vs[i].unit[0]].owner);

		if (n->conf.vs[i].home == n->conf.self && p && p->verdict != STATUS_V_DEAD)
			return true;
	}
	return false;
}

static bool still_hold_taken(const struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->conf.vs[i].home != n->conf.self &&
		    n->unit[n->conf.vs[i].unit[0]].owner == n->conf.self)
			return true;
	return false;
}

static void step_253(struct node *n)
{
	bool both;

	if (!units_known(n) && n->now_ns < n->reboot_limit_ns)
		return;
	if (node_wants_giveback(n) && !n->prompted) {
		HF_MARK("step.252_prompt");
		n->prompted = true;
		SAY(n, LOG_L_NOTICE, REASON_TAKEN_OVER,
		    "node: another node has my storage; holdfast giveback brings it back");
	}
	if (waits_for_giveback(n)) {
		if (!n->waiting)
			HF_MARK("step.252_waits");
		n->dirty = n->dirty || !n->waiting;
		n->waiting = true;
		units_ask_again(n);
		return;
	}
	n->waiting = false;
	HF_MARK("step.253");
	both = n->prior_state == NODE_TAKEOVER && still_hold_taken(n);
	if (both)
		HF_MARK("step.255");
	else
		HF_MARK("step.254");
	HF_MARK("step.256");
	HF_MARK("step.257");
	HF_MARK("step.258");
	n->reboot_step = 0;
	peer_observe_anew(n);
	if (both) {
		HF_MARK("transition.243");
		n->resumed_ns = n->now_ns;
		for (unsigned i = 0; i < n->conf.vs_count; i++)
			if (n->conf.vs[i].home != n->conf.self &&
			    n->unit[n->conf.vs[i].unit[0]].owner == n->conf.self)
				peer_find(n, n->conf.vs[i].home)->taken = true;
		node_set_state(n, NODE_TAKEOVER, REASON_NONE);
	} else {
		HF_MARK("transition.242");
		node_set_state(n, NODE_NORMAL, n->first_start ? REASON_FIRST_START : REASON_NONE);
	}
}

/* The latest content is durable, or could not be made so. */
void reboot_persisted(struct node *n, int err)
{
	if (n->state != NODE_REBOOTING || n->reboot_step != 252)
		return;
	if (err) {
		HF_MARK("transition.241");
		SAY(n, LOG_L_ERR, REASON_NONE, "node: persistent memory cannot be written: %d",
		    err);
		n->reboot_step = 251;
		n->reboot_retry_ns = n->now_ns + 5 * n->conf.times.heartbeat_ns;
		return;
	}
	n->persisted_generation = n->generation;
	n->reboot_step = 253;
	n->reboot_limit_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
	n->next_send_ns = n->next_write_ns = n->now_ns;
}

void reboot_run(struct node *n)
{
	if (n->reboot_step == 0)
		reboot_begin(n);
	if (n->reboot_step == 251)
		step_252(n);
	if (n->reboot_step == 253) {
		units_read(n);
		step_253(n);
	}
}
