/* control.c - operators' commands, and requests from node to node.
 *
 * A command that another node must carry out becomes the request field of my messages, on all
 * paths, the mailbox too (V2), and is repeated until that node's answer names its id or the
 * command's time is over.  Every command gets exactly one reply. */
#include "core/internal.h"

static void reply(struct node *n, uint32_t id, enum reason reason, const char *text)
{
	struct action *a = act(n, ACT_REPLY);

	a->reply.id = id;
	a->reply.ok = reason == REASON_NONE || reason == REASON_ALREADY_THERE;
	a->reply.reason = reason;
	a->reply.text = text;
}

/* True when the command may go on; else it was answered: refused with every veto, or a dry run
 * that says what `would` happen, and which vetoes --force would go over. */
static bool may(struct node *n, const struct event *ev, const char *would)
{
	enum reason why;
	char *text;

	node_vetoes(n, ev, &n->vetoes);
	why = veto_first(&n->vetoes, ev->control.force);
	if (why == REASON_NONE && !ev->control.dry_run)
		return true;
	text = act_text(n);
	if (why == REASON_NONE)
		reply(n, ev->control.id, why, would);
	else if (n->vetoes.count && text)
		reply(n, ev->control.id, why, node_veto_text(n, &n->vetoes.v[0], text));
	else
		reply(n, ev->control.id, why, "");
	n->out->a[n->out->count - 1].reply.vetoes = &n->vetoes;
	return false;
}

int node_vs_find(const struct node *n, uint32_t id)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->conf.vs[i].id == id && !n->conf.vs[i].gone)
			return (int)i;
	return -1;
}

bool request_send(struct node *n, enum status_request_type type, uint16_t to, uint16_t target,
		  uint32_t vs_id, bool force)
{
	if (n->request.type != STATUS_REQ_NONE)
		return false;
	n->request.type = (uint8_t)type;
	n->request.to = (uint8_t)to;
	n->request.target = (uint8_t)target;
	n->request.flags = force ? STATUS_REQ_F_FORCE : 0;
	n->request.vs = vs_id;
	n->request.id = ++n->request_next;
	n->request_since_ns = n->now_ns;
	n->dirty = true;
	return true;
}

static void remember(struct node *n, const struct event *ev, uint32_t request_id)
{
	for (unsigned i = 0; i < NODE_CONTROLS_MAX; i++) {
		struct node_control *c = &n->control[i];

		if (c->used)
			continue;
		c->used = true;
		c->id = ev->control.id;
		c->verb = ev->control.verb;
		c->node = ev->control.node;
		c->vs_id = ev->control.vs_id;
		c->begun_ns = n->now_ns;
		c->limit_ns = n->now_ns + n->conf.times.step_ns +
			      (ev->control.verb == CONTROL_TAKEOVER
				   ? ev->control.in_ns + n->conf.times.countdown_ns
				   : 0);
		c->request_id = request_id;
		return;
	}
	reply(n, ev->control.id, REASON_BUSY, "too many commands in progress");
}

static bool claim_failed(const struct node *n, const struct node_control *c)
{
	int vs = node_vs_find(n, c->vs_id);

	return vs >= 0 && n->vs[vs].failed && n->vs[vs].state == VS_DOWN;
}

static void finish(struct node *n, struct node_control *c, enum reason why)
{
	reply(n, c->id, why, "");
	if (c->request_id && n->request.id == c->request_id)
		n->request.type = STATUS_REQ_NONE;
#ifndef HF_MUTANT_REPLY_TWICE
	c->used = false;
#endif
}

/* ---- commands ------------------------------------------------------------------------------- */

static void vs_move_command(struct node *n, const struct event *ev)
{
	int vs = node_vs_find(n, ev->control.vs_id);
	uint16_t to = ev->control.node, owner = vs < 0 ? 0 : node_vs_owner(n, (unsigned)vs);

	if (!may(n, ev, "would move"))
		return;
	HF_MARK("control.move");
	if (owner == n->conf.self)
		vs_move(n, (unsigned)vs, to, REASON_OPERATOR);
	else if (owner == 0)
		place_assign(n, (unsigned)vs, to);
	else
		request_send(n, STATUS_REQ_RELEASE_VS, owner, to, ev->control.vs_id,
			     ev->control.force);
	remember(n, ev, owner == n->conf.self || owner == 0 ? 0 : n->request.id);
}

static void start_command(struct node *n, const struct event *ev)
{
	int vs = node_vs_find(n, ev->control.vs_id);

	if (vs < 0) {
		reply(n, ev->control.id, REASON_UNKNOWN_VS, "");
		return;
	}
	if (!ev->control.dry_run) {
		HF_MARK("control.start");
		vs_clear_failed(n, (unsigned)vs);
		request_send(n, STATUS_REQ_START_VS, 0, 0, ev->control.vs_id, false);
	}
	reply(n, ev->control.id, REASON_NONE, "");
}

/* "would take v1 v2" and how, for a dry run. */
static const char *takeover_plan(struct node *n, const struct event *ev, bool ask)
{
	char *text = act_text(n);
	size_t at = 0;

	if (!text)
		return "";
	at += (size_t)snprintf(text, NODE_TEXT_MAX, ask ? "would ask for" : "would take by force");
	for (unsigned k = 0; k < n->conf.vs_count && at < NODE_TEXT_MAX - NODE_NAME_MAX - 8; k++) {
		unsigned i = n->order[k];

		if (node_vs_owner(n, i) == ev->control.node ||
		    n->unit[n->conf.vs[i].unit[0]].owner == ev->control.node)
			at += (size_t)snprintf(text + at, NODE_TEXT_MAX - at, " %s",
					       n->conf.vs[i].name);
	}
	return text;
}

static void takeover_command(struct node *n, const struct event *ev)
{
	struct node_peer *p = peer_find(n, ev->control.node);
	bool ask = p && peer_live(p) && !ev->control.force;

	if (!may(n, ev, ev->control.dry_run ? takeover_plan(n, ev, ask) : ""))
		return;
	HF_MARK("step.705");
	p->countdown_ns = n->now_ns; /* at once, unless it is asked first */
	if (ask) {
		HF_MARK("step.710");
		request_send(n, STATUS_REQ_PLEASE_SHUTDOWN, p->id, n->conf.self, 0, false);
		p->countdown_ns +=
		    ev->control.in_ns ? ev->control.in_ns : n->conf.times.countdown_ns;
	} else {
		p->forced = true;
	}
	remember(n, ev, ask ? n->request.id : 0);
}

static uint16_t holder_for(const struct node *n, uint16_t home)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint16_t owner = node_vs_owner(n, i);

		if (owner && owner != n->conf.vs[i].home && (!home || n->conf.vs[i].home == home))
			return owner;
	}
	return 0;
}

static void giveback_command(struct node *n, const struct event *ev)
{
	uint16_t holder = holder_for(n, ev->control.node);

	if (!may(n, ev, "would give back"))
		return;
	HF_MARK("step.500");
	if (holder != n->conf.self)
		request_send(n, STATUS_REQ_GIVEBACK, holder, ev->control.node, 0,
			     ev->control.force);
	else
		giveback_start(n, ev->control.node, ev->control.force);
	remember(n, ev, holder == n->conf.self ? 0 : n->request.id);
}

/* By S nobody else has it, or RESERVE will say so: then this node brings it up, wherever it is at
 * home. */
static void claim_command(struct node *n, const struct event *ev)
{
	unsigned vs;

	if (!may(n, ev, "would claim"))
		return;
	HF_MARK("control.claim");
	vs = (unsigned)node_vs_find(n, ev->control.vs_id);
	vs_clear_failed(n, vs);
	place_assign(n, vs, n->conf.self);
	remember(n, ev, 0);
}

/* Given up in order, or taken once more to be given up (what an older instance left); and not taken
 * again before somebody says so. */
static void release_command(struct node *n, const struct event *ev)
{
	unsigned vs;

	if (!may(n, ev, "would release"))
		return;
	HF_MARK("control.release");
	vs = (unsigned)node_vs_find(n, ev->control.vs_id);
	n->vs[vs].failed = true;
	n->vs[vs].failed_until_ns = 0;
	if (n->vs[vs].state == VS_SERVING)
		vs_move(n, vs, 0, REASON_OPERATOR);
	else
		vs_clean(n, vs);
	remember(n, ev, 0);
}

static void move_everything(struct node *n, uint16_t to, enum reason why)
{
	for (unsigned k = 0; k < n->conf.vs_count; k++) {
		unsigned i = n->order[k];

		if (n->vs[i].state != VS_DOWN)
			vs_move(n, i, to ? to : place_best(n, i, true), why);
	}
}

static void inhibit_set(struct node *n, const struct event *ev, int vs)
{
	switch (ev->control.scope) {
	case INHIBIT_SELF:
		n->inhibit_self = ev->control.on;
		return;
	case INHIBIT_MINE:
		n->inhibit_mine = ev->control.on;
		return;
	case INHIBIT_CLUSTER:
		n->inhibit_cluster = ev->control.on;
		return;
	case INHIBIT_VS:
		n->vs[vs].inhibit = ev->control.on;
		return;
	}
}

static void inhibit_command(struct node *n, const struct event *ev)
{
	int vs = node_vs_find(n, ev->control.vs_id);

	if (ev->control.scope == INHIBIT_VS && vs < 0) {
		reply(n, ev->control.id, REASON_UNKNOWN_VS, "");
		return;
	}
	if (ev->control.on && ev->control.text[0] &&
	    !note_fits(n, ev->control.scope, ev->control.vs_id)) {
		reply(n, ev->control.id, REASON_NOTES_FULL, "");
		return;
	}
	if (!ev->control.dry_run) {
		inhibit_set(n, ev, vs);
		note_set(n, ev->control.scope, ev->control.vs_id,
			 ev->control.on ? ev->control.text : "");
		HF_MARK("control.inhibit");
		n->dirty = true;
		/* While it starts its generation is not settled; what it writes then has the flags.
		 */
		if (n->state != NODE_REBOOTING)
			node_persist(n);
	}
	reply(n, ev->control.id, REASON_NONE, "");
}

/* Answered when it begins to: who asks sees it go and come in the status. */
static void restart_command(struct node *n, const struct event *ev)
{
	uint16_t id = ev->control.node ? ev->control.node : n->conf.self;
	const struct node_peer *p = peer_get(n, id);

	if (!may(n, ev, "would hand over and begin anew"))
		return;
	HF_MARK("control.restart");
	if (!p) {
		reply(n, ev->control.id, REASON_NONE, "");
		restart_begin(n);
		return;
	}
	request_send(n, STATUS_REQ_RESTART, id, 0, (uint32_t)p->latest.generation, ev->control.force);
	remember(n, ev, n->request.id);
}

/* The commands that wait for what is cancelled are answered too. */
static void cancel_command(struct node *n, const struct event *ev)
{
	enum reason why = takeover_cancel(n, ev->control.node);

	for (unsigned i = 0; why == REASON_NONE && i < NODE_CONTROLS_MAX; i++) {
		struct node_control *c = &n->control[i];

		if (c->used && c->node == ev->control.node &&
		    (c->verb == CONTROL_TAKEOVER || c->verb == CONTROL_GIVEBACK))
			finish(n, c, REASON_CANCELLED);
	}
	reply(n, ev->control.id, why, "");
}

void control_event(struct node *n, const struct event *ev)
{
	switch (ev->control.verb) {
	case CONTROL_VS_MOVE:
		vs_move_command(n, ev);
		return;
	case CONTROL_VS_START:
		start_command(n, ev);
		return;
	case CONTROL_TAKEOVER:
		takeover_command(n, ev);
		return;
	case CONTROL_GIVEBACK:
		giveback_command(n, ev);
		return;
	case CONTROL_SHUTDOWN:
		HF_MARK("control.shutdown");
		n->leaving = true;
		n->restarting = false; /* the later word counts */
		n->dirty = true;
		move_everything(n, 0, REASON_SHUTDOWN);
		remember(n, ev, 0);
		return;
	case CONTROL_INHIBIT:
		inhibit_command(n, ev);
		return;
	case CONTROL_CLAIM:
		claim_command(n, ev);
		return;
	case CONTROL_RELEASE:
		release_command(n, ev);
		return;
	case CONTROL_CANCEL:
		cancel_command(n, ev);
		return;
	case CONTROL_RESTART:
		restart_command(n, ev);
		return;
	case CONTROL_REBOOT:
#ifndef HF_MUTANT_REBOOT_ANY_STATE
		if (n->state != NODE_STOPPED) {
			reply(n, ev->control.id, REASON_NOT_STOPPED, "-");
			return;
		}
#endif
		n->conf.reboot_manual = false;
		reply(n, ev->control.id, REASON_NONE, "");
		return;
	}
}

/* ---- how they end --------------------------------------------------------------------------- */

static bool serves(const struct node *n, unsigned vs, uint16_t node)
{
	const struct node_peer *p = peer_get(n, node);
	const struct status_vs *s = p ? peer_vs(n, p, vs) : NULL;

	if (node == n->conf.self)
		return n->vs[vs].state == VS_SERVING;
	return s && peer_live(p) && s->state == VS_SERVING;
}

bool node_vs_served(const struct node *n, unsigned vs)
{
	uint16_t owner = node_vs_owner(n, vs);

	return owner && serves(n, vs, owner);
}

static bool all_home(const struct node *n, uint16_t home)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (vs_wanted(n, i) && (!home || n->conf.vs[i].home == home) &&
		    !serves(n, i, n->conf.vs[i].home))
			return false;
	return true;
}

static bool all_served_elsewhere(const struct node *n, uint16_t node)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint16_t owner = node_vs_owner(n, i);

		if (owner == 0 && !vs_wanted(n, i))
			continue;
		if (owner == 0 || owner == node || !serves(n, i, owner))
			return false;
	}
	return true;
}

static bool nothing_here(const struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (n->vs[i].state != VS_DOWN && n->vs[i].state != VS_STUCK)
			return false;
	return true;
}

static bool let_go(const struct node *n, unsigned vs)
{
	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++)
		if (n->unit[n->conf.vs[vs].unit[i]].held)
			return false;
	return n->vs[vs].state == VS_DOWN;
}

static bool done(const struct node *n, const struct node_control *c)
{
	int vs = node_vs_find(n, c->vs_id);

	if (c->verb == CONTROL_VS_MOVE)
		return vs >= 0 && serves(n, (unsigned)vs, c->node);
	if (c->verb == CONTROL_TAKEOVER)
		return all_served_elsewhere(n, c->node);
	if (c->verb == CONTROL_GIVEBACK)
		return all_home(n, c->node);
	if (c->verb == CONTROL_CLAIM)
		return vs >= 0 && serves(n, (unsigned)vs, n->conf.self);
	if (c->verb == CONTROL_RELEASE)
		return vs >= 0 && let_go(n, (unsigned)vs);
	return c->verb == CONTROL_SHUTDOWN && nothing_here(n);
}

/* A move whose target failed to serve it: somebody else has it again. */
static bool in_vain(const struct node *n, const struct node_control *c)
{
	int vs = node_vs_find(n, c->vs_id);
	uint16_t owner = vs < 0 ? 0 : node_vs_owner(n, (unsigned)vs);

	return c->verb == CONTROL_VS_MOVE && owner && owner != c->node &&
	       serves(n, (unsigned)vs, owner) &&
	       place_refuses(n, (unsigned)vs, c->node) == REASON_NO_CANDIDATE;
}

/* The answer to the request in the air, or NULL. */
static const struct status_answer *answer_of(const struct node *n)
{
	const struct node_peer *p = peer_get(n, n->request.to);

	if (n->request.type == STATUS_REQ_NONE || !p || p->msg.answer.to != n->conf.self ||
	    p->msg.answer.id != n->request.id)
		return NULL;
	return &p->msg.answer;
}

void control_run(struct node *n)
{
	const struct status_answer *answer = answer_of(n);
	uint32_t refused = answer && answer->result == 2 ? n->request.id : 0,
		 accepted = answer && answer->result == 1 ? n->request.id : 0;

	for (unsigned i = 0; i < NODE_CONTROLS_MAX; i++) {
		struct node_control *c = &n->control[i];

		if (!c->used)
			continue;
		if (done(n, c) ||
		    (c->verb == CONTROL_RESTART && accepted && c->request_id == accepted))
			finish(n, c, REASON_NONE);
		else if (refused && c->request_id == refused)
			finish(n, c, (enum reason)answer->reason);
		else if (c->verb == CONTROL_CLAIM && claim_failed(n, c))
			finish(n, c, n->vs[node_vs_find(n, c->vs_id)].reason);
		else if (in_vain(n, c))
			finish(n, c, REASON_NO_CANDIDATE);
		else if (n->now_ns >= c->limit_ns)
			finish(n, c, REASON_TIMEOUT);
	}
	if (answer || (n->request.type != STATUS_REQ_NONE &&
		       n->now_ns >= n->request_since_ns + 20 * n->conf.times.heartbeat_ns))
		n->request.type = STATUS_REQ_NONE;
}

/* ---- requests received ---------------------------------------------------------------------- */

static enum reason release_asked(struct node *n, const struct node_peer *p,
				 const struct status_request *q)
{
	int vs = node_vs_find(n, q->vs);
	struct vetoes v;
	enum reason why;

	if (vs < 0)
		return REASON_UNKNOWN_VS;
	if (n->vs[vs].state == VS_DOWN)
		return REASON_NOT_OWNER;
	/* V2: asked through the mailbox alone, I stay unless my own port is the worse one. */
	if (p->verdict == STATUS_V_UNREACHABLE &&
	    client_quality(n, n->port_quality) >= client_quality(n, p->msg.port_quality))
		return REASON_UNREACHABLE;
	v.count = v.left_off = 0;
	place_vetoes(n, (unsigned)vs, q->target, &v);
	why = veto_first(&v, q->flags & STATUS_REQ_F_FORCE);
	if (why == REASON_NONE && n->vs[vs].state != VS_SERVING)
		why = REASON_BUSY;
	if (why == REASON_NONE)
		vs_move(n, (unsigned)vs, q->target,
			p->verdict == STATUS_V_UNREACHABLE ? REASON_PORT_DOWN : REASON_OPERATOR);
	return why;
}

static enum reason carry_out(struct node *n, const struct node_peer *p,
			     const struct status_request *q)
{
	int vs;

	switch ((enum status_request_type)q->type) {
	case STATUS_REQ_RELEASE_VS:
		return release_asked(n, p, q);
	case STATUS_REQ_PLEASE_SHUTDOWN:
		HF_MARK("step.720");
		move_everything(n, q->target, REASON_OPERATOR);
		return REASON_NONE;
	case STATUS_REQ_GIVEBACK:
		return giveback_start(n, q->target, q->flags & STATUS_REQ_F_FORCE);
	case STATUS_REQ_START_VS:
		vs = node_vs_find(n, q->vs);
		if (vs >= 0)
			vs_clear_failed(n, (unsigned)vs);
		return REASON_NONE;
	case STATUS_REQ_RESTART:
		return restart_asked(n, q);
	case STATUS_REQ_NONE:
		break;
	}
	return REASON_INHIBITED; /* of a newer version: refuse what I do not know */
}

void request_received(struct node *n, struct node_peer *p)
{
	const struct status_request *q = &p->msg.request;
	enum reason why;

	if (q->type == STATUS_REQ_NONE || q->id == p->answered_id)
		return;
	if (q->to != n->conf.self && !(q->to == 0 && q->type == STATUS_REQ_START_VS))
		return;
	if (!node_active(n))
		return;
	HF_MARK("control.request");
	p->answered_id = q->id;
	why = carry_out(n, p, q);
	p->answer.to = (uint8_t)p->id;
	p->answer.result = why == REASON_NONE ? 1 : 2;
	p->answer.reason = (uint8_t)why;
	p->answer.id = q->id;
	n->answer_peer = p->id;
	n->dirty = true;
}
