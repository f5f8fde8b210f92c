/* restart.c - a node begins anew in order: `holdfast restart`, the way to take what cannot be taken
 * while a node runs (another configuration, another program).
 *
 * It announces that it leaves, hands over what it has as at a shutdown, and when nothing is left here
 * (every virtual server down and proven unmounted, every unit released) the shell replaces the process:
 * ACT_RESTART.  What cannot be let go of within the limit cancels it; so a restart never kills.
 *
 * The others may run with another configuration meanwhile.  That bars takeover by force (ST-53), but a
 * virtual server that was drained and released in order may go to such a node: nothing there rests on
 * timers or devices, record and reservation decide.  Nodes with the same one go first.
 *
 * A request from another node names the instance that shall begin anew, so what is repeated or
 * replayed cannot restart the next one. */
#include "core/internal.h"

/* All that stands in the way is that it has another configuration. */
static bool but_for_version(const struct vetoes *v)
{
	for (unsigned i = 0; i < v->count; i++)
		if (v->v[i].reason != REASON_CONFIG_MISMATCH)
			return false;
	return true;
}

/* Who can have it when `from` leaves, or 0. */
uint16_t restart_heir(const struct node *n, unsigned vs, uint16_t from)
{
	uint16_t best = 0, other = 0;

	for (unsigned i = 0; i < n->conf.node_count; i++) {
		uint16_t id = n->conf.node[i].id;
		struct vetoes v = {.count = 0};

		if (id == from)
			continue;
		place_vetoes(n, vs, id, &v);
		if (v.count == 0 && (!best || place_rank(n, vs, id) < place_rank(n, vs, best)))
			best = id;
		else if (v.count && but_for_version(&v) && !other)
			other = id;
	}
	return best ? best : other;
}

static bool nothing_left(const struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN)
			return false;
	for (unsigned i = 0; i < n->conf.unit_count; i++)
		if (n->unit[i].held || n->unit[i].mounted || n->unit[i].foul)
			return false;
	return true;
}

void restart_begin(struct node *n)
{
	HF_MARK("restart.begins");
	n->leaving = n->restarting = true;
	n->restart_limit_ns = n->now_ns + 2 * n->conf.times.step_ns;
	n->dirty = true;
	SAY(n, LOG_L_NOTICE, REASON_RESTART, "node: hands over and begins anew");
}

/* What is on its way up or down gets there first. */
static void hand_over(struct node *n)
{
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];

		if (n->vs[i].state == VS_SERVING)
			vs_move(n, i, restart_heir(n, i, n->conf.self), REASON_RESTART);
	}
}

/* Another node asks: of which instance, and whether over what yields to --force. */
enum reason restart_asked(struct node *n, const struct status_request *q)
{
	struct vetoes v = {.count = 0};
	enum reason why;

#ifndef HF_MUTANT_RESTART_ANY_INSTANCE
	if (q->vs != (uint32_t)n->generation)
		return REASON_ALREADY_THERE; /* it has begun anew since */
#endif
	restart_vetoes(n, n->conf.self, &v);
	why = veto_first(&v, q->flags & STATUS_REQ_F_FORCE);
	if (why == REASON_NONE)
		restart_begin(n);
	return why;
}

void restart_run(struct node *n)
{
	if (!n->restarting)
		return;
	hand_over(n);
#ifdef HF_MUTANT_RESTART_WHILE_SERVING
	if (n->restarting || nothing_left(n)) {
#else
	if (nothing_left(n)) {
#endif
		HF_MARK("restart.nothing_left");
		n->restarting = false; /* still leaving: the process ends */
		act(n, ACT_RESTART);
	} else if (n->now_ns >= n->restart_limit_ns) {
		HF_MARK("restart.cancelled");
		n->restarting = n->leaving = false;
		n->dirty = true;
		SAY(n, LOG_L_WARN, REASON_TIMEOUT,
		    "node: could not let go of everything: does not begin anew");
	}
}
