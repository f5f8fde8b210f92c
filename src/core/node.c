/* node.c - the step: one event in, actions out; messages; deadlines; invariants.
 *
 * A step takes the event, then lets everything run that time or the new knowledge makes due, in
 * one fixed order: verdicts, leases, placement, virtual servers, takeover, commands; then sends
 * what became news (ST-50) and goes on with the slots. */
#include "core/internal.h"

#include "base/crc32c.h"

/* ---- actions -------------------------------------------------------------------------------- */

struct action *act(struct node *n, enum act_type type)
{
	struct action *a;

	hf_assert(n->out && n->out->count < ACTIONS_MAX);
	a = &n->out->a[n->out->count++];
	memset(a, 0, sizeof(*a));
	a->type = type;
	return a;
}

uint64_t act_op(struct node *n, struct action *a)
{
	a->op = ++n->next_op;
	return a->op;
}

char *act_text(struct node *n)
{
	if (n->out->text_count == ACTIONS_MAX / 4 || n->out->count > ACTIONS_MAX * 3 / 4)
		return NULL;
	return n->out->text[n->out->text_count++];
}

void act_log(struct node *n, enum log_level level, enum reason reason, const char *text)
{
	struct action *a = act(n, ACT_LOG);

	a->log.level = level;
	a->log.reason = reason;
	a->log.text = text;
}

void act_self_fence(struct node *n, enum reason reason, const char *text)
{
	struct action *a = act(n, ACT_SELF_FENCE);

	a->log.level = LOG_L_ERR;
	a->log.reason = reason;
	a->log.text = text;
}

/* ---- small questions ------------------------------------------------------------------------ */

uint32_t node_name_id(const char *name)
{
	uint32_t id = crc32c(0, name, strlen(name));

	return id ? id : 1;
}

const char *node_name(const struct node *n, uint16_t id)
{
	for (unsigned i = 0; i < n->conf.node_count; i++)
		if (n->conf.node[i].id == id)
			return n->conf.node[i].name;
	return "?";
}

bool node_active(const struct node *n)
{
	return n->state == NODE_NORMAL || n->state == NODE_TAKEOVER;
}

static const char *check_vs(const struct node_conf *c, unsigned *units_used)
{
	for (unsigned i = 0; i < c->vs_count; i++) {
		const struct node_conf_vs *v = &c->vs[i];
		bool home = false;

		if (v->gone && (v->unit_count || v->fs_count || v->unit[0] != NODE_NO_UNIT || v->id))
			return "a virtual server that is gone has nothing";
		if (v->gone)
			continue;
		if (v->unit_count < 1 || v->unit_count > NODE_VS_UNITS_MAX)
			return "a virtual server has 1 to 4 units";
		if (v->fs_count > STATUS_FS_MAX)
			return "a virtual server has at most 8 file systems";
		for (unsigned k = 0; k < c->node_count; k++)
			home = home || c->node[k].id == v->home;
		if (!home)
			return "the home of a virtual server is not a node";
		for (unsigned k = 0; k < i; k++)
			if (c->vs[k].id == v->id)
				return "two virtual servers have names with the same id";
		for (unsigned k = 0; k < v->unit_count; k++) {
			if (v->unit[k] >= c->unit_count || c->unit[v->unit[k]].gone)
				return "a virtual server uses an unknown unit";
			if (units_used[v->unit[k]]++)
				return "a unit belongs to exactly one virtual server";
		}
	}
	return NULL;
}

const char *node_conf_check(const struct node_conf *c)
{
	unsigned units_used[NODE_UNITS_MAX] = {0};
	bool self = false;

	if (c->node_count < 1 || c->node_count > NODE_NODES_MAX)
		return "a cluster has 1 to 8 nodes";
	if (c->vs_count > NODE_VS_MAX || c->unit_count > NODE_UNITS_MAX)
		return "at most 64 virtual servers and 64 units";
	if (c->device_count < 1 || c->device_count > NODE_DEVICES_MAX)
		return "a cluster has 1 to 3 coordination devices";
	if (c->path_count > NODE_PATHS_MAX)
		return "at most 4 networks";
	for (unsigned i = 0; i < c->node_count; i++) {
		if (c->node[i].id < 1 || c->node[i].id > NODE_NODES_MAX)
			return "node ids are 1 to 8";
		self = self || c->node[i].id == c->self;
		for (unsigned k = 0; k < i; k++)
			if (c->node[k].id == c->node[i].id)
				return "two nodes have the same id";
	}
	if (!self)
		return "this node is not in the configuration";
	if (c->node_count > 1 && c->path_count < 1)
		return "at least one network is needed between nodes";
	return check_vs(c, units_used) ? check_vs(c, (unsigned[NODE_UNITS_MAX]){0})
				       : times_check(&c->times);
}

/* ---- state ---------------------------------------------------------------------------------- */

void node_set_state(struct node *n, enum node_state to, enum reason why)
{
	hf_assert(node_transition_allowed(n->state, to));
	trace_note("node: %s -> %s (%s)", node_state_name(n->state), node_state_name(to),
		   reason_name(why));
	SAY(n, LOG_L_NOTICE, why, "node: %s -> %s reason=%s", node_state_name(n->state),
	    node_state_name(to), reason_name(why));
	n->state = to;
	n->state_reason = why;
	n->state_since_ns = n->now_ns;
	n->dirty = true;
	if (to != NODE_REBOOTING) /* reboot.c makes the new generation durable itself */
		node_persist(n);
}

/* ---- messages ------------------------------------------------------------------------------- */

static enum status_indicator indicator(const struct node *n)
{
	if (n->state == NODE_REBOOTING)
		return STATUS_REBOOTING;
	if (n->state == NODE_STOPPED)
		return STATUS_STOPPED;
	if (n->inhibit_cluster)
		return STATUS_DISABLE;
	if (n->inhibit_mine)
		return STATUS_NO_TAKEOVER;
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].step >= 'a' && n->peer[i].step <= 'd')
			return STATUS_TAKEOVER;
	if (n->giveback_to)
		return STATUS_NORMAL; /* 222b */
	return n->state == NODE_TAKEOVER ? STATUS_TAKEOVER : STATUS_NORMAL;
}

static enum reason inhibit_reason(const struct node *n)
{
	if (n->inhibit_self)
		return REASON_INHIBITED;
	if (n->inhibit_cluster)
		return REASON_DISABLED;
	if (n->inhibit_mine)
		return REASON_NO_TAKEOVER;
	return n->memory_err ? REASON_MEMORY : REASON_NONE;
}

static uint16_t flags(const struct node *n)
{
	unsigned f = 0;

	f |= n->recovery_report ? STATUS_F_RECOVERY : 0U;
	f |= n->leaving ? STATUS_F_LEAVING : 0U;
	f |= n->giveback_to ? STATUS_F_BAR : 0U;
	f |= node_has_majority(n) ? STATUS_F_MAJORITY : 0U;
	f |= n->tilt ? STATUS_F_TILT : 0U;
	f |= inhibit_reason(n) != REASON_NONE ? STATUS_F_INHIBIT : 0U;
	f |= n->waiting ? STATUS_F_WAITING : 0U;
	f |= n->inhibit_mine ? STATUS_F_NO_TAKEOVER : 0U;
	f |= n->inhibit_cluster ? STATUS_F_DISABLE : 0U;
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		f |= n->vs[i].reason == REASON_STORAGE_DOWN && n->vs[i].failed ? STATUS_F_FAILING
									       : 0U;
	return (uint16_t)f;
}

static void fill_peer(const struct node *n, const struct node_peer *p, struct status_peer *out)
{
	out->node = p->id;
	out->verdict = (uint8_t)p->verdict;
	out->generation = p->latest.generation;
	out->acked = p->latest.sequence;
	/* The announcement is about one instance; a later one must not take it for itself. */
#ifdef HF_MUTANT_NOT_ANNOUNCED
	out->takeover = 0;
#else
	out->takeover = p->victim_generation == p->latest.generation ? p->step : 0;
#endif
	(void)n;
}

static uint64_t unit_epoch(const struct node *n, unsigned vs)
{
	uint64_t epoch = 0;

	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++)
		if (n->unit[n->conf.vs[vs].unit[i]].owner_epoch > epoch)
			epoch = n->unit[n->conf.vs[vs].unit[i]].owner_epoch;
	return epoch;
}

bool vs_surely_silent(const struct node *n, const struct node_vs *v)
{
	return v->gave_up && v->revoked_ns && n->now_ns >= v->revoked_ns + n->conf.times.drift_ns;
}

static void fill_vs(const struct node *n, unsigned vs, struct status_vs *out)
{
	const struct node_vs *v = &n->vs[vs];

	out->id = n->conf.vs[vs].id;
	out->state = (uint8_t)v->state;
	out->flags = (uint8_t)((vs_surely_silent(n, v) ? STATUS_VS_GAVE_UP : 0U) |
			       (v->failed ? STATUS_VS_FAILED : 0U) |
			       (v->released ? STATUS_VS_RELEASED : 0U) |
			       (v->inhibit ? STATUS_VS_INHIBIT : 0U));
	out->target = (uint8_t)(v->released ? v->move_to : v->target);
	out->reason = (uint8_t)v->reason;
	out->epoch = unit_epoch(n, vs);
	out->owner = (uint8_t)n->unit[n->conf.vs[vs].unit[0]].owner;
	out->fs_count = n->conf.vs[vs].fs_count;
	memcpy(out->fs_state, v->fs_state, sizeof(out->fs_state));
}

/* The lowest of what the live members understand (ST-41); who comes back with an older one is heard
 * first, and answered in its version from then on. */
static uint8_t version_for_all(const struct node *n)
{
	uint8_t v = STATUS_VERSION;

	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct node_peer *p = &n->peer[i];

		if (peer_live(p) && p->msg.version_max && p->msg.version_max < v)
			v = p->msg.version_max;
	}
	return v < STATUS_VERSION_MIN ? STATUS_VERSION_MIN : v;
}

void node_fill(const struct node *n, struct status_msg *m)
{
	const struct node_peer *asked = peer_get(n, n->answer_peer);

	memset(m, 0, sizeof(*m));
	m->version = version_for_all(n);
	m->version_max = STATUS_VERSION;
	m->sender = n->conf.self;
	m->indicator = (uint8_t)indicator(n);
	m->state = (uint8_t)n->state;
	m->role = (uint8_t)n->role;
	m->master = (uint8_t)n->master;
	m->flags = flags(n);
	m->inhibit = (uint8_t)inhibit_reason(n);
	m->bar_node = (uint8_t)n->giveback_to;
	m->generation = n->generation;
	m->sequence = n->sequence;
	m->sent_ns = n->now_ns;
	m->config_hash = n->conf.config_hash;
	m->config_version = n->conf.config_version;
	m->cpu_permille = n->cpu_permille;
	m->iops = n->iops;
	m->prior_state = n->prior_state;
	m->path_count = (uint8_t)n->conf.path_count;
	memcpy(m->port_quality, n->port_quality, sizeof(m->port_quality));
	m->peer_count = (uint8_t)n->peer_count;
	for (unsigned i = 0; i < n->peer_count; i++)
		fill_peer(n, &n->peer[i], &m->peer[i]);
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		if (n->conf.vs[i].gone)
			continue;
		fill_vs(n, i, &m->vs[m->vs_count++]);
		m->worker_count = (uint16_t)(m->worker_count + n->vs[i].worker);
	}
	memory_fill(n, m);
	m->key_count = n->key_count;
	memcpy(m->key, n->key, sizeof(m->key));
	m->note_count = n->note_count;
	memcpy(m->note, n->note, sizeof(m->note));
	m->request = n->request;
	if (asked)
		m->answer = asked->answer;
}

/* What others say about S is as good as having read it, when its epoch is greater. */
static void learn_owner(struct node *n, const struct node_peer *p, unsigned vs,
			const struct status_vs *s)
{
	struct node_peer *owner = peer_find(n, s->owner);

	for (unsigned i = 0; i < n->conf.vs[vs].unit_count; i++) {
		struct node_unit *u = &n->unit[n->conf.vs[vs].unit[i]];

		if (u->held || n->vs[vs].state == VS_RESERVE)
			continue;
		if (n->conf.vs[vs].unit_count > 1) {
			/* Its epoch is the greatest of all, its owner the first's: read each. */
			if (s->epoch > u->owner_epoch && s->epoch > n->vs[vs].heard_epoch)
				u->known = false;
		} else if (s->epoch > u->owner_epoch) {
			u->known = true;
			u->owner = s->owner;
			u->owner_epoch = s->epoch;
			if (owner && owner != p) /* see peer.c: silence counts from here */
				owner->observe_since_ns = n->now_ns;
		} else if (s->epoch == u->owner_epoch && u->owner == p->id && s->owner == 0) {
			u->owner = 0;
		}
	}
	if (s->epoch > n->vs[vs].heard_epoch)
		n->vs[vs].heard_epoch = s->epoch;
}

/* A new message in the one ordered stream. */
void node_accept(struct node *n, struct node_peer *p, const struct status_msg *m)
{
	if (m->generation > p->latest.generation) {
		HF_MARK("peer.new_generation");
		p->answered_id = 0;
		p->acked_ns = 0;
		if (p->step != 'c') /* an announcement is about one instance: make it again */
			p->step = 0;
		n->dirty = true; /* it does not know my generation yet */
	}
	if (n->state == NODE_NORMAL && m->state == NODE_NORMAL && p->msg.state != NODE_NORMAL)
		HF_MARK("transition.211");
	p->msg = *m;
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		const struct status_vs *s = peer_vs(n, p, i);

		if (s)
			learn_owner(n, p, i, s);
	}
	takeover_of_me(n, p);
	request_received(n, p);
}

static void broadcast(struct node *n)
{
	struct status_msg m;
	size_t len;

	node_fill(n, &m);
	len = status_encode(&m, n->msg_buf, sizeof(n->msg_buf));
	hf_assert(len > 0);
	n->sent_seq[n->sequence % NODE_SENT_RING] = n->sequence;
	n->sent_ns[n->sequence % NODE_SENT_RING] = n->now_ns;
	n->sequence++;
	for (unsigned i = 0; i < n->peer_count; i++)
		for (unsigned path = 0; path < n->conf.path_count; path++) {
			struct action *a = act(n, ACT_SEND);

			a->send.to = n->peer[i].id;
			a->send.path = path;
			a->send.data = n->send_buf;
			a->send.len = len;
		}
	memcpy(n->send_buf, n->msg_buf, len);
	n->next_send_ns = n->now_ns + n->conf.times.heartbeat_ns;
}

/* Persistent memory: the same payload as everywhere else (ST-47).  One write at a time; what
 * changes meanwhile is written after it.  Returns the op, or 0 when it has to wait. */
uint64_t node_persist(struct node *n)
{
	struct slot s = {
	    .node = n->conf.self, .generation = n->generation, .sequence = n->sequence};
	struct status_msg m;
	struct action *a;

	memory_news(n);
	if (n->persist_op) {
		n->persist_again = true;
		return 0;
	}
	a = act(n, ACT_PERSIST);
	node_fill(n, &m);
	s.payload = n->msg_buf;
	s.payload_len = status_encode(&m, n->msg_buf, sizeof(n->msg_buf));
	memcpy(s.cluster, n->conf.cluster, sizeof(s.cluster));
	slot_encode(&s, n->persist_buf);
	a->slot.sector = n->persist_buf;
	n->persist_op = act_op(n, a);
	return n->persist_op;
}

static void on_persisted(struct node *n, const struct event *ev)
{
	if (!n->persist_op || ev->op != n->persist_op) {
		n->stale_completions++;
		return;
	}
	n->persist_op = 0;
	if (n->memory_err && !ev->err)
		SAY(n, LOG_L_NOTICE, REASON_NONE, "node: persistent memory can be written again");
	if (ev->err && !n->memory_err && node_active(n)) {
		HF_MARK("node.memory_lost");
		SAY(n, LOG_L_ERR, REASON_MEMORY, "node: persistent memory cannot be written: %d",
		    ev->err);
	}
	n->dirty = n->dirty || (ev->err != 0) != (n->memory_err != 0);
	n->memory_err = ev->err;
	n->persist_retry_ns = n->now_ns + 10 * n->conf.times.heartbeat_ns;
	if (n->persist_again) { /* this one is old already */
		n->persist_again = false;
		HF_MARK("node.persist_again");
		node_persist(n);
		return;
	}
	reboot_persisted(n, ev->err);
}

/* ---- the step ------------------------------------------------------------------------------- */

void node_sort(struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		unsigned k = i;

		while (k > 0 && n->conf.vs[n->order[k - 1]].priority < n->conf.vs[i].priority) {
			n->order[k] = n->order[k - 1];
			k--;
		}
		n->order[k] = (uint8_t)i;
	}
}

void node_init(struct node *n, const struct node_conf *c, uint64_t now_ns)
{
	hf_assert(node_conf_check(c) == NULL);
	memset(n, 0, sizeof(*n));
	n->conf = *c;
	n->state = NODE_REBOOTING;
	n->state_since_ns = n->now_ns = n->last_step_ns = n->observe_since_ns = now_ns;
	n->role = STATUS_ROLE_NONE;
	n->sequence = 1;
	n->chain = 1;
	n->next_read_ns = n->next_send_ns = n->next_write_ns = now_ns;
	memset(n->port_quality, 1, sizeof(n->port_quality));
	for (unsigned i = 0; i < c->node_count; i++)
		if (c->node[i].id != c->self) {
			n->peer[n->peer_count].id = c->node[i].id;
			n->peer[n->peer_count].verdict = STATUS_V_UNKNOWN;
			n->peer[n->peer_count++].observe_since_ns = now_ns;
		}
	for (unsigned i = 0; i < c->vs_count; i++)
		vs_init(n, i);
	memory_init(n);
	node_sort(n);
}

/* A clock that went back further than leases allow for: what was promised until a time may be
 * promised for ever.  Nothing here can be trusted (F4). */
static void clock_impossible(struct node *n, uint64_t back_ns)
{
	HF_MARK("node.clock_impossible");
	SAY(n, LOG_L_ERR, REASON_TILT, "node: the clock went back by %llu ms",
	    (unsigned long long)back_ns / 1000000);
	act_self_fence(n, REASON_TILT, "node: the clock went back");
	node_stop(n, REASON_TILT);
}

/* A pause or a clock jump: what I believe about the others is old (TILT). */
static void notice_time(struct node *n, uint64_t now_ns)
{
	uint64_t back_ns = now_ns < n->last_step_ns ? n->last_step_ns - now_ns : 0;

	if (back_ns) {
		HF_MARK("node.clock_backwards");
		n->clock_backwards++;
		now_ns = n->last_step_ns;
	}
	n->now_ns = now_ns;
	if (back_ns > n->conf.times.drift_ns && node_active(n))
		clock_impossible(n, back_ns);
	if (now_ns - n->last_step_ns > n->conf.times.tilt_ns) {
		HF_MARK("node.tilt");
		SAY(n, LOG_L_WARN, REASON_TILT, "node: stood still for %llu ms; observing anew",
		    (unsigned long long)(now_ns - n->last_step_ns) / 1000000);
		n->tilt = true;
		peer_observe_anew(n);
	}
	if (n->tilt && now_ns >= n->observe_since_ns + n->conf.times.dead_ns &&
	    (!n->view_bad_ns || now_ns >= n->view_bad_ns + n->conf.times.dead_ns))
		n->tilt = false;
	n->last_step_ns = now_ns;
}

static void on_port(struct node *n, const struct event *ev)
{
	if (ev->port.path >= n->conf.path_count || ev->port.quality > 2)
		return;
	if (n->port_quality[ev->port.path] != ev->port.quality) {
		n->port_quality[ev->port.path] = ev->port.quality;
		n->dirty = true;
	}
}

static void dispatch(struct node *n, const struct event *ev)
{
	switch (ev->type) {
	case EV_TICK:
		return;
	case EV_MSG:
		peer_message(n, ev);
		return;
	case EV_SLOT_READ:
		lease_read(n, ev);
		return;
	case EV_SLOT_WRITTEN:
		lease_written(n, ev);
		return;
	case EV_PERSISTED:
		on_persisted(n, ev);
		return;
	case EV_KEPT:
		memory_kept(n, ev);
		return;
	case EV_HELD:
		memory_held(n, ev);
		return;
	case EV_UNIT_READ:
		unit_read_done(n, ev);
		return;
	case EV_UNIT_POLL:
		vs_poll(n, ev);
		return;
	case EV_RESERVED:
	case EV_RELEASED:
	case EV_FENCED:
	case EV_MOUNTED:
	case EV_UNMOUNTED:
	case EV_REPAIRED:
	case EV_WORKER_READY:
	case EV_WORKER_FAILED:
	case EV_WORKER_DRAINED:
	case EV_WORKER_EXITED:
	case EV_ADDRESSES_UP:
	case EV_ADDRESSES_DOWN:
	case EV_OPENED:
	case EV_FIRST_REPLY:
	case EV_FS:
		hf_assert(ev->vs < n->conf.vs_count);
		vs_event(n, ev);
		return;
	case EV_PORT:
		on_port(n, ev);
		return;
	case EV_LOAD:
		n->cpu_permille = ev->load.cpu_permille;
		n->iops = ev->load.iops;
		return;
	case EV_KEYS:
		hf_assert(ev->keys.count <= STATUS_KEYS_MAX);
		n->key_count = ev->keys.count;
		memcpy(n->key, ev->keys.key, sizeof(n->key));
		n->dirty = true;
		return;
	case EV_CONTROL:
		control_event(n, ev);
		return;
	}
}

/* GAVE_UP becomes visible when the time to stop is over: that is news. */
static void announce_silence(struct node *n)
{
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		struct node_vs *v = &n->vs[i];

		if (vs_surely_silent(n, v) && !v->gave_up_told) {
			v->gave_up_told = true;
			n->dirty = true;
		} else if (!v->gave_up) {
			v->gave_up_told = false;
		}
	}
}

/* What it holds is older than I am: until it can be written again (ST-47). */
static void memory_retry(struct node *n)
{
	if (n->memory_err && n->state != NODE_REBOOTING && !n->persist_op &&
	    n->now_ns >= n->persist_retry_ns)
		node_persist(n);
}

static void speak(struct node *n)
{
	if (n->persisted_generation != n->generation || !n->generation)
		return;
	if (n->dirty && n->write_round)
		n->next_write_ns = n->now_ns; /* the news needs a round of its own */
	if (n->dirty || n->now_ns >= n->next_send_ns)
		broadcast(n);
	memory_run(n);
}

void node_step(struct node *n, const struct event *ev, struct actions *out)
{
	out->count = out->text_count = 0;
	n->out = out;
	notice_time(n, ev->now_ns);
	lease_check(n);
	dispatch(n, ev);
	peer_verdicts(n);
	if (n->state == NODE_REBOOTING)
		reboot_run(n);
	takeover_countdowns(n);
	place_run(n);
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_run(n, i);
	takeover_run(n);
	control_run(n);
	restart_run(n);
	announce_silence(n);
	memory_retry(n);
	if (n->recovery_report && node_active(n) &&
	    n->now_ns >= n->state_since_ns + n->conf.times.hold_down_ns)
		n->recovery_report = false;
	speak(n);
	lease_run(n);
	n->dirty = false;
	n->out = NULL;
}

uint64_t node_deadline_ns(const struct node *n)
{
	uint64_t t = lease_deadline_ns(n), x;

#ifdef HF_MUTANT_DEADLINE_IN_THE_PAST
	if (n->write_round)
		return n->now_ns;
#endif

	if (n->persisted_generation == n->generation && n->next_send_ns < t)
		t = n->next_send_ns;
	x = n->persisted_generation == n->generation ? memory_deadline_ns(n) : UINT64_MAX;
	t = x < t ? x : t;
	if (n->memory_err && n->persist_retry_ns < t)
		t = n->persist_retry_ns > n->now_ns ? n->persist_retry_ns : t;
	x = peer_deadline_ns(n);
	t = x < t ? x : t;
	x = takeover_deadline_ns(n);
	t = x < t ? x : t;
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		x = vs_deadline_ns(n, i);
		t = x < t ? x : t;
	}
	return t;
}

void node_check(const struct node *n)
{
	bool taken = false;

	hf_assert(n->state >= NODE_REBOOTING && n->state < NODE_STATE_COUNT);
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_check(n, i);
	for (unsigned i = 0; i < n->peer_count; i++)
		taken = taken || n->peer[i].taken || n->peer[i].step == 'c';
	if (n->state == NODE_TAKEOVER)
		hf_assert(taken || n->giveback_to);
	if (n->state == NODE_REBOOTING)
		for (unsigned i = 0; i < n->conf.vs_count; i++)
			hf_assert(n->vs[i].state == VS_DOWN || n->vs[i].state == VS_STUCK);
	for (unsigned u = 0; u < n->conf.unit_count; u++)
		hf_assert(!n->unit[u].held || n->unit[u].owner == n->conf.self);
}
