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

static json_t *vserver(const struct node *n, unsigned i, uint64_t now_ns)
{
	static const char *const fs_names[] = {"", "down", "recovering", "up", "damaged"};
	const struct node_vs *v = &n->vs[i];
	const struct node_conf_vs *c = &n->conf.vs[i];
	json_t *fs = json_array();

	for (unsigned k = 0; k < c->fs_count; k++)
		json_array_append_new(fs, json_string(v->fs_state[k] <= STATUS_FS_DAMAGED
							  ? fs_names[v->fs_state[k]]
							  : ""));
	return json_pack(
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
	    age_ms(now_ns, v->state == VS_REPAIR ? v->repair_begun_ns : 0));
}

static json_t *peer(const struct node *n, const struct node_peer *p, uint64_t now_ns)
{
	json_t *paths = json_array(), *slots = json_array();

	for (unsigned i = 0; i < n->conf.path_count; i++)
		json_array_append_new(paths, age_ms(now_ns, p->path_heard_ns[i]));
	for (unsigned i = 0; i < n->conf.device_count; i++)
		json_array_append_new(slots, age_ms(now_ns, p->slot_moved_ns[i]));
	return json_pack(
	    "{s:s, s:i, s:s, s:o, s:s, s:I, s:o, s:o, s:s, s:s, s:I, s:I}", "name",
	    node_name(n, p->id), "id", (int)p->id, "verdict", status_verdict_name(p->verdict),
	    "verdict_ms", age_ms(now_ns, p->verdict_ns), "state",
	    p->heard_ever ? node_state_name(p->msg.state) : "", "generation",
	    (json_int_t)p->latest.generation, "path_ms", paths, "slot_ms", slots,
	    "takeover_blocked", reason_name(p->blocked), "todo", reason_todo(p->blocked),
	    "bad_messages", (json_int_t)p->bad_messages, "replays", (json_int_t)p->replays);
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

json_t *ctl_status(const struct node *n, const struct conf *conf, uint64_t now_ns)
{
	json_t *peers = json_array(), *vservers = json_array(), *units = json_array(),
	       *devices = json_array();

	for (unsigned i = 0; i < n->peer_count; i++)
		json_array_append_new(peers, peer(n, &n->peer[i], now_ns));
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		json_array_append_new(vservers, vserver(n, i, now_ns));
	for (unsigned i = 0; i < n->conf.unit_count; i++)
		json_array_append_new(units, unit(n, i));
	for (unsigned i = 0; i < n->conf.device_count; i++)
		json_array_append_new(devices, device(n, i, conf, now_ns));
	return json_pack(
	    "{s:s, s:i, s:s, s:s, s:s, s:o, s:I, s:s, s:s, s:b, s:b, s:f, s:{s:b, s:b, s:b}, s:I, "
	    "s:o, s:o, "
	    "s:o, s:o}",
	    "node", node_name(n, n->conf.self), "id", (int)n->conf.self, "state",
	    node_state_name(n->state), "reason", reason_name(n->state_reason), "todo",
	    reason_todo(n->state_reason), "since_ms", age_ms(now_ns, n->state_since_ns),
	    "generation", (json_int_t)n->generation, "role", status_role_name(n->role), "master",
	    node_name(n, n->master), "majority", node_has_majority(n), "tilt", n->tilt, "lease_ms",
	    n->lease_until_ns > now_ns ? (double)(n->lease_until_ns - now_ns) / 1e6 : 0.0,
	    "inhibit", "self", n->inhibit_self, "no_takeover", n->inhibit_mine, "disable",
	    n->inhibit_cluster, "stale_completions", (json_int_t)n->stale_completions, "peers",
	    peers, "vservers", vservers, "units", units, "devices", devices);
}
