/* veto.c - everything that forbids something (OV-15, ST-53).
 *
 * Takeover inhibit flags exist at three levels: the cluster (DISABLE, said by any live node or by
 * the victim), the node (the victim's NO-TAKEOVER, my own "I take nothing", what my state or my
 * knowledge forbids) and the virtual server.  All must be clear.
 *
 * The questions are asked here once: step 213 and placement stop at the first veto, a command and
 * its dry run show them all. */
#include "core/internal.h"

static void add(struct vetoes *out, enum reason why, uint16_t node, int vs, bool yields)
{
	for (unsigned i = 0; i < out->count; i++)
		if (out->v[i].reason == why && out->v[i].node == node && out->v[i].vs == vs)
			return;
	if (out->count == VETOES_MAX) {
		out->left_off++;
		return;
	}
	out->v[out->count++] =
	    (struct veto){.reason = why, .node = node, .vs = (int16_t)vs, .yields = yields};
}

enum reason veto_first(const struct vetoes *v, bool force)
{
	for (unsigned i = 0; i < v->count; i++)
		if (!force || !v->v[i].yields)
			return v->v[i].reason;
	return REASON_NONE;
}

const char *node_veto_text(const struct node *n, const struct veto *v, char *text)
{
	bool vs = v->vs >= 0;

	snprintf(text, NODE_TEXT_MAX, "%s%s%s", vs ? n->conf.vs[v->vs].name : "",
		 vs && v->node ? " on " : "", v->node ? node_name(n, v->node) : "");
	return text;
}

/* ---- one virtual server to one node --------------------------------------------------------- */

/* Who says that it stays where it is: I, a node that lives, or the one that S names; else 0. */
static uint16_t inhibited_by(const struct node *n, unsigned vs)
{
	uint16_t owner = n->unit[n->conf.vs[vs].unit[0]].owner;

	if (n->vs[vs].inhibit)
		return n->conf.self;
	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct node_peer *p = &n->peer[i];
		const struct status_vs *s = peer_vs(n, p, vs);

		bool heard = peer_live(p) || p->id == owner;

#ifdef HF_MUTANT_VS_FLAG_DIES
		heard = heard && peer_live(p);
#endif
		if (s && s->flags & STATUS_VS_INHIBIT && heard)
			return p->id;
	}
	return 0;
}

bool vs_inhibited(const struct node *n, unsigned vs)
{
	return inhibited_by(n, vs) != 0;
}

static unsigned capacity(const struct node *n, uint16_t id)
{
	for (unsigned i = 0; i < n->conf.node_count; i++)
		if (n->conf.node[i].id == id)
			return n->conf.node[i].capacity;
	return 0;
}

/* It is there to be served. */
bool vs_wanted(const struct node *n, unsigned vs)
{
	return !n->conf.vs[vs].gone && !n->conf.vs[vs].off;
}

static void vs_vetoes(const struct node *n, unsigned vs, uint16_t id, struct vetoes *out)
{
	uint16_t owner = n->unit[n->conf.vs[vs].unit[0]].owner;
	uint16_t by = owner && owner != id ? inhibited_by(n, vs) : 0;

	unsigned room = capacity(n, id);

	if (!vs_wanted(n, vs))
		add(out, REASON_SWITCHED_OFF, 0, (int)vs, false);
	if (n->conf.vs[vs].nodes && !(n->conf.vs[vs].nodes >> id & 1))
		add(out, REASON_NOT_CANDIDATE, id, (int)vs, false);
	if (room && node_vs_owner(n, vs) != id && n->load[id] + vs_weight(n, vs) > room)
		add(out, REASON_NO_CAPACITY, id, (int)vs, true);
	if (n->conf.vs[vs].no_migrate && id != n->conf.vs[vs].home)
		add(out, REASON_NO_MIGRATE, 0, (int)vs, true);
	if (by)
		add(out, REASON_VS_INHIBITED, by, (int)vs, true);
}

/* Step 252: it is REBOOTING, and what it waits for is this giveback (ST-65, ST-81). */
static bool waits_for(const struct node *n, unsigned vs, const struct node_peer *p)
{
	return n->conf.vs[vs].home == p->id && peer_live(p) && p->heard_ever &&
	       p->msg.state == NODE_REBOOTING && p->msg.flags & STATUS_F_WAITING;
}

void place_vetoes(const struct node *n, unsigned vs, uint16_t id, struct vetoes *out)
{
	const struct node_peer *p = peer_get(n, id);
	const struct status_vs *s = p ? peer_vs(n, p, vs) : NULL;

	vs_vetoes(n, vs, id, out);
	if (id == n->conf.self) {
		if (!node_active(n) || n->leaving)
			add(out, REASON_NOT_NORMAL, id, -1, false);
		if (n->vs[vs].failed)
			add(out, REASON_NO_CANDIDATE, id, (int)vs, false);
		return;
	}
	if (!p) {
		add(out, REASON_UNKNOWN_NODE, id, -1, false);
		return;
	}
	if ((!peer_works(p) && !waits_for(n, vs, p)) ||
	    p->msg.flags & (STATUS_F_LEAVING | STATUS_F_FAILING))
		add(out, REASON_NOT_NORMAL, id, -1, false);
	if (p->not_understood)
		add(out, REASON_VERSION_MISMATCH, id, -1, false);
	if (p->heard_ever && p->msg.config_hash != n->conf.config_hash)
		add(out, REASON_CONFIG_MISMATCH, id, -1, false);
	if (s && s->flags & STATUS_VS_FAILED)
		add(out, REASON_NO_CANDIDATE, id, (int)vs, false);
}

/* ---- takeover of a node --------------------------------------------------------------------- */

/* What an operator said (ST-34, ST-35, ST-56); --force goes over it, but not over my own. */
static void flag_vetoes(const struct node *n, const struct node_peer *victim, struct vetoes *out)
{
	if (n->conf.takeover_off)
		add(out, REASON_TAKEOVER_OFF, n->conf.self, -1, false);
	if (n->inhibit_self)
		add(out, REASON_INHIBITED, n->conf.self, -1, false);
	if (n->inhibit_cluster)
		add(out, REASON_DISABLED, n->conf.self, -1, true);
	for (unsigned i = 0; i < n->peer_count; i++)
		if ((peer_live(&n->peer[i]) || &n->peer[i] == victim) &&
		    status_disable(&n->peer[i].msg))
			add(out, REASON_DISABLED, n->peer[i].id, -1, true);
	if (status_no_takeover(&victim->msg))
		add(out, REASON_NO_TAKEOVER, victim->id, -1, true);
}

/* What my state and my knowledge forbid. */
static void state_vetoes(const struct node *n, const struct node_peer *victim, struct vetoes *out)
{
	if (!node_active(n))
		add(out, REASON_NOT_NORMAL, n->conf.self, -1, false);
	if (n->tilt)
		add(out, REASON_TILT, n->conf.self, -1, false);
	if (n->memory_err || victim->keep_err) /* ST-53 (b) */
		add(out, REASON_MEMORY, n->conf.self, -1, false);
	if (victim->not_understood) /* ST-53 (c) */
		add(out, REASON_VERSION_MISMATCH, victim->id, -1, false);
	if (victim->msg.generation && victim->msg.config_hash != n->conf.config_hash)
		add(out, REASON_CONFIG_MISMATCH, victim->id, -1, false);
}

static void majority_veto(const struct node *n, struct vetoes *out)
{
	if (!node_has_majority(n) || !lease_valid(n)) /* V1, ST-103 */
		add(out, REASON_NO_MAJORITY, n->conf.self, -1, false);
}

/* Everything that forbids step 213 against `p`, or NONE. */
enum reason takeover_blocked(const struct node *n, const struct node_peer *p)
{
	struct vetoes v;

	v.count = v.left_off = 0;
	flag_vetoes(n, p, &v);
	state_vetoes(n, p, &v);
	majority_veto(n, &v);
	return veto_first(&v, p->forced);
}

/* ---- commands ------------------------------------------------------------------------------- */

static bool has(const struct node *n, unsigned vs, uint16_t node)
{
	return node_vs_owner(n, vs) == node || n->unit[n->conf.vs[vs].unit[0]].owner == node;
}

static bool has_any(const struct node *n, uint16_t node)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (has(n, i, node))
			return true;
	return false;
}

static void request_veto(const struct node *n, struct vetoes *out)
{
	if (n->request.type != STATUS_REQ_NONE)
		add(out, REASON_BUSY, n->request.to, -1, false);
}

static void takeover_vetoes(const struct node *n, const struct event *ev, struct vetoes *out)
{
	const struct node_peer *p = peer_get(n, ev->control.node);

	if (!p) {
		add(out, REASON_UNKNOWN_NODE, ev->control.node, -1, false);
		return;
	}
	if (!has_any(n, p->id)) {
		add(out, REASON_ALREADY_THERE, p->id, -1, false);
		return;
	}
	flag_vetoes(n, p, out);
	state_vetoes(n, p, out);
	if (peer_live(p) && !ev->control.force) /* it will be asked, and may well release */
		request_veto(n, out);
	else
		majority_veto(n, out);
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		if (!has(n, i, p->id))
			continue;
		vs_vetoes(n, i, n->conf.self, out);
		if (n->vs[i].failed)
			add(out, REASON_NO_CANDIDATE, n->conf.self, (int)i, false);
	}
}

static void move_vetoes(const struct node *n, const struct event *ev, struct vetoes *out)
{
	int vs = node_vs_find(n, ev->control.vs_id);
	uint16_t owner = vs < 0 ? 0 : node_vs_owner(n, (unsigned)vs);

	if (vs < 0) {
		add(out, REASON_UNKNOWN_VS, 0, -1, false);
		return;
	}
	if (owner == ev->control.node) {
		add(out, REASON_ALREADY_THERE, owner, vs, false);
		return;
	}
	if (owner == 0 && n->unit[n->conf.vs[vs].unit[0]].owner) /* S names somebody: 213 */
		add(out, REASON_NOT_SERVING, 0, vs, false);
	place_vetoes(n, (unsigned)vs, ev->control.node, out);
	if (owner == n->conf.self && n->vs[vs].state != VS_SERVING)
		add(out, REASON_BUSY, owner, vs, false);
	if (owner && owner != n->conf.self)
		request_veto(n, out);
}

static void giveback_vetoes(const struct node *n, const struct event *ev, struct vetoes *out)
{
	uint16_t home = ev->control.node;
	bool any = false;

	if (home && home != n->conf.self && !peer_get(n, home)) {
		add(out, REASON_UNKNOWN_NODE, home, -1, false);
		return;
	}
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint16_t owner = node_vs_owner(n, i), to = n->conf.vs[i].home;

		if (owner == 0 || owner == to || (home && home != to))
			continue;
		if (owner != n->conf.self && !any)
			request_veto(n, out);
		any = true;
		place_vetoes(n, i, to, out);
		if (owner == n->conf.self && n->vs[i].state != VS_SERVING)
			add(out, REASON_BUSY, owner, (int)i, false);
	}
	if (!any)
		add(out, REASON_ALREADY_THERE, home, -1, false);
}

/* Whom S of its units names: me, somebody else, nobody. */
static void s_vetoes(const struct node *n, unsigned vs, bool *mine, struct vetoes *out)
{
	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++) {
		const struct node_unit *u = &n->unit[n->conf.vs[vs].unit[i]];

		if (!u->known)
			add(out, REASON_BUSY, n->conf.self, (int)vs, false);
		else if (u->owner && u->owner != n->conf.self)
			add(out, REASON_UNIT_OWNED, u->owner, (int)vs, false);
		if (u->foul)
			add(out, REASON_UNMOUNT_FAILED, n->conf.self, (int)vs, false);
		*mine = *mine || (u->known && u->owner == n->conf.self);
	}
}

static void claim_vetoes(const struct node *n, unsigned vs, struct vetoes *out)
{
	uint16_t owner = node_vs_owner(n, vs);
	bool mine = false;

	if (owner) {
		add(out, owner == n->conf.self ? REASON_ALREADY_THERE : REASON_UNIT_OWNED, owner,
		    (int)vs, false);
		return;
	}
	if (!node_active(n) || n->leaving)
		add(out, REASON_NOT_NORMAL, n->conf.self, -1, false);
	s_vetoes(n, vs, &mine, out);
	vs_vetoes(n, vs, n->conf.self, out);
	majority_veto(n, out);
}

static void release_vetoes(const struct node *n, unsigned vs, struct vetoes *out)
{
	bool mine = false;

	if (n->vs[vs].state == VS_SERVING)
		return;
#ifndef HF_MUTANT_RELEASE_WHILE_STARTING
	if (!node_active(n)) /* nothing is reserved then, not even to be released */
		add(out, REASON_NOT_NORMAL, n->conf.self, -1, false);
#endif
	s_vetoes(n, vs, &mine, out);
	if (n->vs[vs].state != VS_DOWN)
		add(out, n->vs[vs].state == VS_STUCK ? REASON_UNMOUNT_FAILED : REASON_BUSY,
		    n->conf.self, (int)vs, false);
	else if (!mine && !out->count)
		add(out, REASON_ALREADY_THERE, 0, (int)vs, false);
	majority_veto(n, out);
}

static void unit_vetoes(const struct node *n, const struct event *ev, struct vetoes *out)
{
	int vs = node_vs_find(n, ev->control.vs_id);

	if (vs < 0)
		add(out, REASON_UNKNOWN_VS, 0, -1, false);
	else if (ev->control.verb == CONTROL_CLAIM)
		claim_vetoes(n, (unsigned)vs, out);
	else
		release_vetoes(n, (unsigned)vs, out);
}

void restart_vetoes(const struct node *n, uint16_t id, struct vetoes *out)
{
	const struct node_peer *p = peer_get(n, id);

	if (id != n->conf.self && !p) {
		add(out, REASON_UNKNOWN_NODE, id, -1, false);
		return;
	}
	if (p ? !peer_works(p) || p->msg.flags & STATUS_F_LEAVING : !node_active(n) || n->leaving)
		add(out, REASON_NOT_NORMAL, id, -1, false);
	if (p && p->not_understood)
		add(out, REASON_VERSION_MISMATCH, id, -1, false);
	if (p)
		request_veto(n, out);
#ifndef HF_MUTANT_RESTART_NO_HEIR_ASKED
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (node_vs_owner(n, i) == id && vs_wanted(n, i) && !restart_heir(n, i, id))
			add(out, REASON_NOBODY_ELSE, id, (int)i, true);
#endif
	for (unsigned i = 0; !p && i < n->conf.unit_count; i++)
		if (n->unit[i].foul)
			add(out, REASON_UNMOUNT_FAILED, id, -1, false);
}

void node_vetoes(const struct node *n, const struct event *command, struct vetoes *out)
{
	out->count = out->left_off = 0;
	switch (command->control.verb) {
	case CONTROL_TAKEOVER:
		takeover_vetoes(n, command, out);
		return;
	case CONTROL_VS_MOVE:
		move_vetoes(n, command, out);
		return;
	case CONTROL_GIVEBACK:
		giveback_vetoes(n, command, out);
		return;
	case CONTROL_CLAIM:
	case CONTROL_RELEASE:
		unit_vetoes(n, command, out);
		return;
	case CONTROL_RESTART:
		restart_vetoes(n, command->control.node ? command->control.node : n->conf.self, out);
		return;
	case CONTROL_VS_START:
	case CONTROL_SHUTDOWN:
	case CONTROL_INHIBIT:
	case CONTROL_REBOOT:
	case CONTROL_CANCEL:
		return;
	}
}
