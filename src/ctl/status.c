/* status.c - what `holdfast status --json` shows of the brain.
 *
 * Ages and durations are milliseconds with fractions, phases microseconds; -1 stands for "never".
 * Members are only ever added. */
#include "ctl/status.h"

#include <string.h>

static json_t *age_ms(uint64_t now_ns, uint64_t then_ns)
{
	if (then_ns == 0)
		return json_integer(-1);
	return json_real(now_ns > then_ns ? (double)(now_ns - then_ns) / 1e6 : 0.0);
}

static const char *node_name(const struct node *n, unsigned id)
{
	for (unsigned i = 0; i < n->conf.node_count; i++)
		if (n->conf.node[i].id == id)
			return n->conf.node[i].name;
	return "";
}

static json_t *phases(const struct node_vs *v)
{
	json_t *o = json_object();

	for (unsigned p = 0; p < PHASE_COUNT; p++)
		json_object_set_new(o, vs_phase_name(p),
				    json_integer((json_int_t)(v->phase_ns[p] / 1000)));
	return o;
}

json_t *ctl_vetoes(const struct node *n, const struct vetoes *all)
{
	json_t *list = json_array();
	char about[NODE_TEXT_MAX];

	for (unsigned i = 0; all && i < all->count; i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:b, s:s}", "reason",
				    reason_name(all->v[i].reason), "about",
				    node_veto_text(n, &all->v[i], about), "todo",
				    reason_todo(all->v[i].reason), "force", all->v[i].yields,
				    "text", node_veto_note(n, &all->v[i])));
	return list;
}

/* ---- inhibit flags (OV-15) ------------------------------------------------------------------- */

static void add_inhibit(json_t *list, const char *level, const char *by, const char *vs,
			enum reason why, const char *text)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "level", level, "by",
					      by, "vs", vs, "reason", reason_name(why), "todo",
					      reason_todo(why), "text", text));
}

static void peer_inhibits(const struct node *n, const struct node_peer *p, json_t *list)
{
	const char *by = node_name(n, p->id);

	if (!p->heard_ever)
		return;
	if (status_disable(&p->msg))
		add_inhibit(list, "cluster", by, "", REASON_DISABLED,
			    node_note(n, p->id, INHIBIT_CLUSTER, 0));
	if (status_no_takeover(&p->msg))
		add_inhibit(list, "node", by, "", REASON_NO_TAKEOVER,
			    node_note(n, p->id, INHIBIT_MINE, 0));
	if (p->msg.flags & STATUS_F_INHIBIT && p->msg.inhibit != REASON_DISABLED &&
	    p->msg.inhibit != REASON_NO_TAKEOVER)
		add_inhibit(list, "node", by, "", (enum reason)p->msg.inhibit,
			    p->msg.inhibit == REASON_INHIBITED ?
				    node_note(n, p->id, INHIBIT_SELF, 0) : "");
	for (unsigned i = 0; i < p->msg.vs_count; i++) {
		int at = node_vs_find(n, p->msg.vs[i].id);

		if (at >= 0 && p->msg.vs[i].flags & STATUS_VS_INHIBIT)
			add_inhibit(list, "vs", by, n->conf.vs[at].name, REASON_VS_INHIBITED,
				    node_note(n, p->id, INHIBIT_VS, p->msg.vs[i].id));
	}
}

/* Every flag that is known here: mine, and what the others' last messages say. */
static json_t *inhibits(const struct node *n)
{
	const char *me = node_name(n, n->conf.self);
	json_t *list = json_array();

	if (n->conf.takeover_off)
		add_inhibit(list, "cluster", "configuration", "", REASON_TAKEOVER_OFF, "");
	if (n->inhibit_cluster)
		add_inhibit(list, "cluster", me, "", REASON_DISABLED,
			    node_note(n, n->conf.self, INHIBIT_CLUSTER, 0));
	if (n->inhibit_self)
		add_inhibit(list, "node", me, "", REASON_INHIBITED,
			    node_note(n, n->conf.self, INHIBIT_SELF, 0));
	if (n->inhibit_mine)
		add_inhibit(list, "node", me, "", REASON_NO_TAKEOVER,
			    node_note(n, n->conf.self, INHIBIT_MINE, 0));
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		if (n->conf.vs[i].off)
			add_inhibit(list, "vs", "configuration", n->conf.vs[i].name,
				    REASON_SWITCHED_OFF, "");
		if (n->conf.vs[i].no_migrate)
			add_inhibit(list, "vs", "configuration", n->conf.vs[i].name,
				    REASON_NO_MIGRATE, "");
		if (n->vs[i].inhibit)
			add_inhibit(list, "vs", me, n->conf.vs[i].name, REASON_VS_INHIBITED,
				    node_note(n, n->conf.self, INHIBIT_VS, n->conf.vs[i].id));
	}
	for (unsigned i = 0; i < n->peer_count; i++)
		peer_inhibits(n, &n->peer[i], list);
	return list;
}

/* ---- virtual servers ------------------------------------------------------------------------- */

/* What the one who has it says about it; NULL: nobody, or this node. */
static const struct status_vs *owners_word(const struct node *n, unsigned i)
{
	uint16_t owner = node_vs_owner(n, i);

	for (unsigned k = 0; k < n->peer_count; k++)
		for (unsigned j = 0; n->peer[k].id == owner && j < n->peer[k].msg.vs_count; j++)
			if (n->peer[k].msg.vs[j].id == n->conf.vs[i].id)
				return &n->peer[k].msg.vs[j];
	return NULL;
}

/* Who has it: state, epoch and reason as the one says who does. */
static json_t *owner(const struct node *n, unsigned i)
{
	const struct status_vs *s = owners_word(n, i);
	const struct node_vs *v = &n->vs[i];
	uint16_t id = node_vs_owner(n, i);
	unsigned state = s ? s->state : v->state, reason = s ? s->reason : v->reason;

	return json_pack("{s:s, s:s, s:I, s:s, s:s}", "node", node_name(n, id), "says",
			 vs_state_name(state), "epoch", (json_int_t)(s ? s->epoch : v->epoch),
			 "reason", reason_name(reason), "todo", reason_todo(reason));
}

static json_t *vserver(const struct node *n, unsigned i, uint64_t now_ns)
{
	static const char *const fs_names[] = {"", "down", "recovering", "up", "damaged"};
	const struct node_vs *v = &n->vs[i];
	const struct node_conf_vs *c = &n->conf.vs[i];
	json_t *fs = json_array(), *o;

	for (unsigned k = 0; k < c->fs_count; k++)
		json_array_append_new(fs, json_string(v->fs_state[k] <= STATUS_FS_DAMAGED
							  ? fs_names[v->fs_state[k]]
							  : ""));
	o = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:I, s:i, s:I, s:o, s:I, s:I, s:I, s:o}",
	    "name",
	    c->name, "state", vs_state_name(v->state), "reason", reason_name(v->reason), "todo",
	    reason_todo(v->reason), "node", node_name(n, node_vs_owner(n, i)), "home",
	    node_name(n, c->home), "epoch", (json_int_t)v->epoch, "since_ms",
	    age_ms(now_ns, v->since_ns), "serving_ms",
	    age_ms(now_ns, v->state == VS_SERVING ? v->served_since_ns : 0), "phases_us", phases(v),
	    "total_us", (json_int_t)(v->total_ns / 1000), "crashes", (int)v->crashes,
	    "recovered_records", (json_int_t)v->recovered_records, "file_systems", fs, "repairs",
	    (json_int_t)v->repairs, "repairs_failed", (json_int_t)v->repairs_failed, "repair_ms_last",
	    (json_int_t)(v->repair_took_ns / 1000000), "repairing_ms",
	    age_ms(now_ns, v->repair_op ? v->repair_begun_ns : 0));
	json_object_set_new(o, "owner", owner(n, i));
	json_object_set_new(o, "inhibit", json_boolean(v->inhibit));
	json_object_set_new(o, "move_to", json_string(node_name(n, v->move_to)));
	return o;
}

/* What would bar step 213 against it now, --force or not. */
static json_t *bars(const struct node *n, const struct node_peer *p)
{
	struct event ev = {.type = EV_CONTROL};
	struct vetoes v;
	json_t *list;
	size_t i;
	json_t *o;

	ev.control.verb = CONTROL_TAKEOVER;
	ev.control.node = p->id;
	ev.control.force = true; /* as step 213 asks: what only delays a command is left out */
	node_vetoes(n, &ev, &v);
	list = ctl_vetoes(n, &v);
	json_array_foreach(list, i, o) /* it has nothing: no veto */
		if (strcmp(json_string_value(json_object_get(o, "reason")),
			   reason_name(REASON_ALREADY_THERE)) == 0) {
			json_array_clear(list);
			break;
		}
	return list;
}

static json_t *takeover_of(const struct node *n, const struct node_peer *p, uint64_t now_ns)
{
	char step[2] = {(char)p->step, 0};

	return json_pack("{s:s, s:b, s:f, s:o}", "step", step, "forced", p->forced, "countdown_ms",
			 p->countdown_ns > now_ns ? (double)(p->countdown_ns - now_ns) / 1e6 : -1.0,
			 "barred_by", bars(n, p));
}

/* Persistent memories (ST-04): is my latest state in its one, and what is in mine of it. */
static json_t *memory_of(const struct node *n, const struct node_peer *p, uint64_t now_ns)
{
	return json_pack("{s:b, s:b, s:o, s:I, s:I, s:i}", "on", n->conf.memory, "in_sync",
			 n->conf.memory && memory_in_sync(n, p), "written_ms",
			 age_ms(now_ns, p->memory_sent_ns), "holds_generation",
			 (json_int_t)p->kept.generation, "holds_sequence",
			 (json_int_t)p->kept.sequence, "error", -p->keep_err);
}

static json_t *peer(const struct node *n, const struct node_peer *p, uint64_t now_ns)
{
	json_t *paths = json_array(), *slots = json_array(), *o;

	for (unsigned i = 0; i < n->conf.path_count; i++)
		json_array_append_new(paths, age_ms(now_ns, p->path_heard_ns[i]));
	for (unsigned i = 0; i < n->conf.device_count; i++)
		json_array_append_new(slots, age_ms(now_ns, p->slot_moved_ns[i]));
	o = json_pack(
	    "{s:o, s:o, s:s, s:s, s:i, s:s, s:o, s:s, s:I, s:o, s:o, s:s, s:s, s:I, s:I}", "memory",
	    memory_of(n, p, now_ns), "takeover", takeover_of(n, p, now_ns), "indicator",
	    p->heard_ever ? status_indicator_name(p->msg.indicator) : "", "name",
	    node_name(n, p->id), "id", (int)p->id, "verdict", status_verdict_name(p->verdict),
	    "verdict_ms", age_ms(now_ns, p->verdict_ns), "state",
	    p->heard_ever ? node_state_name(p->msg.state) : "", "generation",
	    (json_int_t)p->latest.generation, "path_ms", paths, "slot_ms", slots,
	    "takeover_blocked", reason_name(p->blocked), "todo", reason_todo(p->blocked),
	    "bad_messages", (json_int_t)p->bad_messages, "replays", (json_int_t)p->replays);
	json_object_set_new(o, "protocol", json_integer(p->msg.version));
	json_object_set_new(o, "config_version", json_integer((json_int_t)p->msg.config_version));
	json_object_set_new(o, "leaving",
			    json_boolean(p->heard_ever && p->msg.flags & STATUS_F_LEAVING));
	return o;
}

static json_t *device(const struct node *n, unsigned i, const struct conf *conf, uint64_t now_ns)
{
	const struct node_device *d = &n->device[i];

	return json_pack("{s:s, s:o, s:o, s:i, s:i}", "path", conf->coord[i], "write_ms",
			 age_ms(now_ns, d->write_ok_begun_ns), "read_ms",
			 age_ms(now_ns, d->read_ok_begun_ns), "write_error", -d->write_err,
			 "read_error", -d->read_err);
}

static json_t *unit(const struct node *n, unsigned i)
{
	const struct node_unit *u = &n->unit[i];

	return json_pack("{s:s, s:s, s:I, s:I, s:b, s:b}", "name", n->conf.unit[i].name, "owner",
			 node_name(n, u->owner), "epoch", (json_int_t)u->owner_epoch, "generation",
			 (json_int_t)u->owner_generation, "held", u->held, "mounted", u->mounted);
}

/* Step 252: what is at home here and with another node, which the operator has to decide about. */
static json_t *prompt(const struct node *n)
{
	json_t *list = json_array();

	for (unsigned i = 0; n->prompted && i < n->conf.vs_count; i++) {
		uint16_t owner = node_vs_owner(n, i);

		if (n->conf.vs[i].home == n->conf.self && owner && owner != n->conf.self)
			json_array_append_new(list, json_pack("{s:s, s:s}", "vs",
							      n->conf.vs[i].name, "node",
							      node_name(n, owner)));
	}
	return list;
}

json_t *ctl_status(const struct node *n, const struct conf *conf, uint64_t now_ns)
{
	json_t *peers = json_array(), *vservers = json_array(), *units = json_array(),
	       *devices = json_array();

	for (unsigned i = 0; i < n->peer_count; i++)
		json_array_append_new(peers, peer(n, &n->peer[i], now_ns));
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		if (!n->conf.vs[i].gone)
			json_array_append_new(vservers, vserver(n, i, now_ns));
	for (unsigned i = 0; i < n->conf.unit_count; i++)
		if (!n->conf.unit[i].gone)
			json_array_append_new(units, unit(n, i));
	for (unsigned i = 0; i < n->conf.device_count; i++)
		json_array_append_new(devices, device(n, i, conf, now_ns));
	return json_pack(
	    "{s:s, s:i, s:s, s:s, s:s, s:o, s:I, s:s, s:s, s:b, s:b, s:f, s:{s:b, s:b, s:b}, s:I, "
	    "s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:s, s:b, s:i}",
	    "node", node_name(n, n->conf.self), "id", (int)n->conf.self, "state",
	    node_state_name(n->state), "reason", reason_name(n->state_reason), "todo",
	    reason_todo(n->state_reason), "since_ms", age_ms(now_ns, n->state_since_ns),
	    "generation", (json_int_t)n->generation, "role", status_role_name(n->role), "master",
	    node_name(n, n->master), "majority", node_has_majority(n), "tilt", n->tilt, "lease_ms",
	    n->lease_until_ns > now_ns ? (double)(n->lease_until_ns - now_ns) / 1e6 : 0.0,
	    "inhibit", "self", n->inhibit_self, "no_takeover", n->inhibit_mine, "disable",
	    n->inhibit_cluster, "stale_completions", (json_int_t)n->stale_completions, "peers",
	    peers, "vservers", vservers, "units", units, "devices", devices, "inhibits",
	    inhibits(n), "prompt", prompt(n), "leaving", n->leaving,
	    "waiting", n->waiting, "giveback_to", node_name(n, n->giveback_to),
	    "recovery_report", n->recovery_report, "memory_error", -n->memory_err);
}
