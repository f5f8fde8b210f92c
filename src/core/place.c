/* place.c - where each virtual server should be (VS-124, OV-03, OV-11, OV-18, OV-19).
 *
 * A vs that somebody has stays there.  One that nobody has goes to the node its last owner
 * released it for, else home, else to the least loaded node that may have it and has room; in
 * order of priority, each counted before the next is placed (VS-24, VS-63, VS-67).  A node that
 * failed to serve it is not asked again until the failure expires or is cleared (AM-29).
 *
 * The master decides (master.c); while there is none each node follows its own wishes, which are
 * the same wherever the knowledge is.  No safety hangs on it: who follows a wish still has to win
 * the reservation, so two opinions cost at most a lost RESERVE. */
#include "core/internal.h"

bool peer_works(const struct node_peer *p)
{
	return peer_live(p) && p->heard_ever &&
	       (p->msg.state == NODE_NORMAL || p->msg.state == NODE_TAKEOVER);
}

/* An old claim, of one who is not there to renew it: S went on since. */
static bool outdated(const struct node *n, const struct node_peer *p, unsigned vs, uint64_t epoch)
{
	const struct node_unit *u = &n->unit[n->conf.vs[vs].unit[0]];

	return !peer_live(p) && u->known && u->owner != p->id && u->owner_epoch > epoch;
}

uint16_t node_vs_owner(const struct node *n, unsigned vs)
{
	if (n->vs[vs].state != VS_DOWN)
		return n->conf.self;
	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct node_peer *p = &n->peer[i];
		const struct status_vs *s = peer_vs(n, p, vs);

		if (p->verdict == STATUS_V_DEAD || p->verdict == STATUS_V_LEAVING || !s)
			continue;
		if (s->state != VS_DOWN && !(s->flags & STATUS_VS_GAVE_UP) &&
		    !outdated(n, p, vs, s->epoch))
			return p->id;
	}
	return 0;
}

unsigned vs_weight(const struct node *n, unsigned vs)
{
	return n->conf.vs[vs].weight ? n->conf.vs[vs].weight : 1;
}

static void count_load(struct node *n)
{
	memset(n->load, 0, sizeof(n->load));
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint16_t owner = node_vs_owner(n, i);

		if (owner)
			n->load[owner] += vs_weight(n, i);
	}
}

/* Why `id` cannot be asked to serve `vs`, or NONE. */
enum reason place_refuses(const struct node *n, unsigned vs, uint16_t id)
{
	struct vetoes v;

	v.count = v.left_off = 0;
	place_vetoes(n, vs, id, &v);
	return veto_first(&v, false);
}

/* A bad port last, then home, then load, then the id; the smallest is the best.  A port that was not tried
 * yet is no worse than a good one: just started, the home node would lose what is its own. */
unsigned place_rank(const struct node *n, unsigned vs, uint16_t id)
{
	const struct node_peer *p = peer_get(n, id);
	bool bad = client_quality(n, p ? p->msg.port_quality : n->port_quality) == 0;
	unsigned busy = (p ? p->msg.cpu_permille : n->cpu_permille) / 250U;

	return (bad ? 10000000U : 0U) + (id != n->conf.vs[vs].home) * 1000000U +
	       (n->load[id] + busy) * 16U + id;
}

uint16_t place_best(const struct node *n, unsigned vs, bool not_self)
{
	uint16_t best = 0;

	for (unsigned i = 0; i < n->conf.node_count; i++) {
		uint16_t id = n->conf.node[i].id;

		if ((not_self && id == n->conf.self) || place_refuses(n, vs, id) != REASON_NONE)
			continue;
		if (best == 0 || place_rank(n, vs, id) < place_rank(n, vs, best))
			best = id;
	}
	return best;
}

/* The node that the last owner released it for, if that node can. */
static uint16_t released_for(const struct node *n, unsigned vs)
{
	const struct node_vs *v = &n->vs[vs];
	uint16_t to = v->released ? v->move_to : 0;
	uint64_t epoch = to ? v->epoch : 0;
	struct vetoes vetoes;

	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct status_vs *s = peer_vs(n, &n->peer[i], vs);

		if (s && peer_live(&n->peer[i]) && s->state == VS_DOWN &&
		    s->flags & STATUS_VS_RELEASED && s->target && s->epoch >= epoch) {
			epoch = s->epoch;
			to = s->target;
		}
	}
	/* Somebody's word: flags that yield to --force do not stop it. */
	vetoes.count = vetoes.left_off = 0;
	place_vetoes(n, vs, to, &vetoes);
	return to && veto_first(&vetoes, true) == REASON_NONE ? to : 0;
}

/* First start: the home node may be a moment later than the others (OV-19). */
static bool wait_for_home(const struct node *n, unsigned vs)
{
	const struct node_peer *home = peer_get(n, n->conf.vs[vs].home);

	if (!home || place_refuses(n, vs, home->id) == REASON_NONE)
		return false;
	if (n->unit[n->conf.vs[vs].unit[0]].owner == n->conf.self)
		return false; /* 255: it was here before the interruption */
	if (home->verdict == STATUS_V_DEAD || home->verdict == STATUS_V_LEAVING)
		return false;
	if (n->vs[vs].epoch || home->msg.flags & (STATUS_F_LEAVING | STATUS_F_FAILING))
		return false;
	/* It came with a version that its home has not taken yet. */
	if (n->now_ns < n->vs[vs].since_ns + n->conf.times.home_wait_ns && peer_works(home) &&
	    home->msg.config_hash != n->conf.config_hash)
		return true;
	return n->now_ns < n->state_since_ns + n->conf.times.home_wait_ns &&
	       (home->verdict == STATUS_V_UNKNOWN || home->msg.state == NODE_REBOOTING);
}

/* Somebody serves it or is about to.  What I gave up is free as soon as the others may seize it: a master
 * that cannot reach its storage must not make them wait until it has failed to release it. */
static uint16_t holder(const struct node *n, unsigned vs)
{
#ifndef HF_MUTANT_MASTER_CLINGS
	if (n->vs[vs].state != VS_DOWN && vs_surely_silent(n, &n->vs[vs]))
		return 0;
#endif
	return node_vs_owner(n, vs);
}

static uint16_t wish(const struct node *n, unsigned vs)
{
	uint16_t owner = holder(n, vs), to;
	const struct node_peer *p = peer_get(n, n->unit[n->conf.vs[vs].unit[0]].owner);

	if (!owner && !vs_wanted(n, vs))
		return p && p->id != n->conf.self && p->forced ? n->conf.self : 0;
	if (p && p->forced)
		return n->conf.self; /* an operator's takeover of it */
	if (owner)
		return owner == n->conf.self && n->vs[vs].move_to ? n->vs[vs].move_to : owner;
	to = released_for(n, vs);
	if (to)
		return to;
	if (n->conf.vs[vs].assign_manual && n->unit[n->conf.vs[vs].unit[0]].owner_epoch == 0)
		return 0; /* VS-125 */
	return wait_for_home(n, vs) ? 0 : place_best(n, vs, false);
}

/* The master's wish, if there is a master to hear. */
static uint16_t masters_wish(const struct node *n, unsigned vs)
{
	const struct node_peer *master = peer_get(n, n->master);
	const struct status_vs *s = master && peer_live(master) ? peer_vs(n, master, vs) : NULL;

	return s ? s->target : 0;
}

static void set_targets(struct node *n)
{
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];
		bool free = holder(n, i) == 0;
		uint16_t to = wish(n, i), his = masters_wish(n, i);

		/* His wish may be older than the last owner's release: that one goes first. */
		if (his && free && vs_wanted(n, i) && released_for(n, i) == 0)
			to = his;
		if (free && to)
			n->load[to] += vs_weight(n, i);
		if (to == n->vs[i].target)
			continue;
		n->vs[i].target = to;
		n->dirty = true;
	}
}

/* Whom to take it from: 0 nobody has it; *wait: not yet, or by step 213. */
static uint16_t seize_from(const struct node *n, unsigned vs, bool *wait)
{
	const struct node_unit *u = NULL;
	const struct node_peer *p;
	const struct status_vs *s;

	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++) {
		const struct node_unit *it = &n->unit[n->conf.vs[vs].unit[i]];

		if (!it->known || it->foul) {
			*wait = true;
			return 0;
		}
		if (it->owner && it->owner != n->conf.self &&
		    (!u || it->owner_epoch > u->owner_epoch))
			u = it; /* he must have given up the latest of them */
	}
	p = u ? peer_get(n, u->owner) : NULL;
	if (!p)
		return 0;
	s = peer_vs(n, p, vs);
	if (s && peer_live(p) && p->heard_ever && s->flags & STATUS_VS_GAVE_UP &&
	    s->epoch >= u->owner_epoch)
		return p->id;
	*wait = true;
	return 0;
}

/* S named a live node that says it has nothing: look again. */
static void doubt(struct node *n, unsigned vs)
{
	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++) {
		struct node_unit *u = &n->unit[n->conf.vs[vs].unit[i]];
		const struct node_peer *p = peer_get(n, u->owner);
		const struct status_vs *s = p ? peer_vs(n, p, vs) : NULL;

		if (s && u->known && n->vs[vs].state == VS_DOWN && peer_live(p) &&
		    s->state == VS_DOWN && !(s->flags & STATUS_VS_GAVE_UP))
			u->known = false;
	}
}

/* Why it is free: what its last owner said, if that one said anything. */
static enum reason why_free(const struct node *n, unsigned vs)
{
	enum reason why = n->vs[vs].released ? n->vs[vs].reason : REASON_NONE;
	uint64_t epoch = n->vs[vs].released ? n->vs[vs].epoch : 0;

	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct status_vs *s = peer_vs(n, &n->peer[i], vs);

		if (s && s->flags & STATUS_VS_RELEASED && s->epoch >= epoch && s->reason) {
			epoch = s->epoch;
			why = (enum reason)s->reason;
		}
	}
	if (why == REASON_NONE && n->unit[n->conf.vs[vs].unit[0]].owner_epoch == 0)
		return REASON_FIRST_START;
	return why;
}

#ifdef HF_MUTANT_TWO_MASTERS_TRUSTED
static bool masters_word(const struct node *n, unsigned vs)
{
	const struct node_peer *master = peer_get(n, n->master);
	const struct status_vs *s = master ? peer_vs(n, master, vs) : NULL;

	return n->master == n->conf.self || (s && s->target == n->conf.self);
}
#endif

static void bring_up(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];
	bool wait = false;
	uint16_t victim;

	if (v->state != VS_DOWN || v->target != n->conf.self || v->failed || n->leaving ||
	    !vs_wanted(n, vs) || node_vs_owner(n, vs) || !lease_valid(n) || n->now_ns < v->not_before_ns)
		return;
	victim = seize_from(n, vs, &wait);
#ifdef HF_MUTANT_TWO_MASTERS_TRUSTED
	if (wait && masters_word(n, vs)) { /* he says it is mine: then its owner must be gone */
		victim = n->unit[n->conf.vs[vs].unit[0]].owner;
		wait = false;
	}
#endif
	if (wait)
		return;
	v->not_before_ns = n->now_ns + n->conf.times.heartbeat_ns;
	if (victim)
		HF_MARK("place.from_one_that_gave_up");
	vs_up(n, vs, victim, victim ? REASON_GAVE_UP : why_free(n, vs));
}

static bool names_me(const struct node *n, unsigned vs)
{
	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++) {
		const struct node_unit *u = &n->unit[n->conf.vs[vs].unit[i]];

		if (u->known && !u->foul && u->owner == n->conf.self)
			return true;
	}
	return false;
}

/* S of its units names an older instance of me, and another node shall have them. */
static void clean_leftover(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_DOWN || (vs_wanted(n, vs) && (!v->target || v->target == n->conf.self)) ||
	    !lease_valid(n) ||
	    n->now_ns < v->not_before_ns || !names_me(n, vs))
		return;
	v->not_before_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
	vs_clean(n, vs);
}

static uint64_t hold_down_ns(const struct node *n, unsigned vs)
{
	uint64_t ns = n->conf.vs[vs].hold_down_ns;

	return ns ? ns : n->conf.times.hold_down_ns;
}

/* My port is bad and another's is not (OV-11). */
static bool move_from_bad_port(struct node *n, unsigned vs)
{
	uint16_t best;
	const struct node_peer *p;

	if (client_quality(n, n->port_quality) != 0)
		return false;
	best = place_best(n, vs, true);
	p = peer_get(n, best);
	if (!p || client_quality(n, p->msg.port_quality) == 0)
		return false;
	HF_MARK("place.port_down");
	vs_move(n, vs, best, REASON_PORT_DOWN);
	return true;
}

/* Giveback by itself: served here for the delay, and home has not just come back from an
 * interruption, so that two nodes cannot go on seizing it from each other (OV-18, ST-48). */
static void giveback_auto(struct node *n, unsigned vs)
{
	const struct node_conf_vs *c = &n->conf.vs[vs];
	const struct node_peer *p = peer_get(n, c->home);
	uint64_t delay = c->giveback_delay_ns ? c->giveback_delay_ns : hold_down_ns(n, vs);

	if (!c->giveback_auto || !p || (n->giveback_to && n->giveback_to != c->home) ||
	    n->vs[vs].served_since_ns + delay > n->now_ns)
		return;
	if (p->msg.flags & STATUS_F_RECOVERY || client_quality(n, p->msg.port_quality) == 0 ||
	    place_refuses(n, vs, c->home) != REASON_NONE)
		return;
	HF_MARK("place.auto_giveback");
	giveback_one(n, vs);
}

/* What I have and another could serve better; not again within the hold-down (OV-18). */
static void move_on(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state == VS_SERVING && !vs_wanted(n, vs)) {
		HF_MARK("place.switched_off");
		vs_move(n, vs, 0, REASON_SWITCHED_OFF);
		return;
	}
	if (v->state == VS_SERVING && v->renew_ns && n->now_ns >= v->renew_ns && !n->leaving) {
		HF_MARK("place.renewed");
		v->renew_ns = 0;
		vs_move(n, vs, n->conf.self, REASON_RECONFIGURED);
		return;
	}
	if (v->state != VS_SERVING || n->leaving ||
	    (v->moved_ns && v->moved_ns + hold_down_ns(n, vs) > n->now_ns))
		return;
	if (!move_from_bad_port(n, vs))
		giveback_auto(n, vs);
}

/* An operator's word about a vs that nobody has: as if it had been released for that node. */
void place_assign(struct node *n, unsigned vs, uint16_t to)
{
	struct node_vs *v = &n->vs[vs];

	HF_MARK("place.assigned_by_hand");
	v->released = true;
	v->move_to = to;
	v->since_ns = n->now_ns;
	v->reason = REASON_OPERATOR;
	n->dirty = true;
}

/* V2: the network is silent, the slot moves, and his clients cannot reach him: ask him. */
static void ask_unreachable(struct node *n, unsigned vs)
{
	const struct node_peer *p = peer_get(n, node_vs_owner(n, vs));

	if (!p || p->verdict != STATUS_V_UNREACHABLE || n->request.type != STATUS_REQ_NONE ||
	    n->now_ns < p->unreachable_since_ns + n->conf.times.unreachable_ns)
		return;
	if (client_quality(n, n->port_quality) <= client_quality(n, p->msg.port_quality) ||
	    place_refuses(n, vs, n->conf.self) != REASON_NONE)
		return;
	HF_MARK("place.ask_through_mailbox");
	request_send(n, STATUS_REQ_RELEASE_VS, p->id, n->conf.self, n->conf.vs[vs].id, false);
}

/* The node it was released for does not take it: try anybody. */
static void move_overdue(struct node *n, unsigned vs)
{
	struct node_vs *v = &n->vs[vs];

	if (v->state != VS_DOWN || !v->move_to)
		return;
	if (node_vs_owner(n, vs) == v->move_to ||
	    n->now_ns > v->since_ns + 30 * n->conf.times.heartbeat_ns) {
		v->move_to = 0;
		n->dirty = true;
	}
}

void place_run(struct node *n)
{
	master_run(n);
	if (!node_active(n))
		return;
	units_read(n);
	count_load(n);
#ifndef HF_MUTANT_HELD_DOWN_ALONE
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_storage_back(n, i);
#endif
	set_targets(n);
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];

		move_overdue(n, i);
		doubt(n, i);
		bring_up(n, i);
		clean_leftover(n, i);
		move_on(n, i);
		ask_unreachable(n, i);
	}
}
