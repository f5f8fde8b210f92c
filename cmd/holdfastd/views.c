/* views.c - `holdfast unit`: each unit looked at by a helper, the answers as JSON; claim and release, which
 * the brain decides.
 *
 * What stands on the device comes from the device now, what this node thinks of it from the brain; where
 * they differ both are shown.  A helper is bounded, so a hanging path costs its own line only.  One
 * request is worked on at a time, a few helpers at once: a fork costs the daemon time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/prin.h"
#include "ctl/spec.h"
#include "daemon.h"

#define LIMIT_NS 5000000000ULL
#define AT_ONCE	 4

struct view_job {
	struct process process;
	struct views *set;
	unsigned unit;
	int err;
	struct unit_view v;
};

struct views {
	struct daemon *d;
	uint32_t id;
	bool one; /* show: the object itself, not in a list */
	unsigned count, begun, done;
	struct view_job job[CONF_UNITS_MAX];
};

/* ---- JSON --------------------------------------------------------------------------------------- */

/* "U" unowned, a node, "foreign" a key that is none of ours, "?" it cannot be told. */
static const char *s_text(const struct daemon *d, const struct unit_view *v)
{
	return v->s_err ? "?" : v->a.owner ? daemon_node(d, v->a.owner, "?") : "U";
}

static const char *r_text(const struct daemon *d, const struct unit_view *v)
{
	return v->r_err ? "?" : !v->held ? "U" : v->a.holder ? daemon_node(d, v->a.holder, "?") : "foreign";
}

static json_t *keys_json(const struct daemon *d, const struct unit_view *v)
{
	json_t *list = json_array();
	char text[24];

	for (unsigned i = 0; i < v->key_count; i++) {
		uint16_t node = unit_key_node(v->key[i].key);

		snprintf(text, sizeof(text), "0x%016llx", (unsigned long long)v->key[i].key);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:I, s:b, s:i, s:s}", "key", text, "node",
					node ? daemon_node(d, node, "?") : "", "generation",
					(json_int_t)(node ? v->key[i].key & 0xffffffffffULL : 0), "holder",
					v->key[i].holder, "port", (int)v->key[i].port, "initiator",
					v->key[i].name));
	}
	return list;
}

static json_t *paths_json(const struct unit_view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->path_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "device", v->path[i].dev, "state",
						      v->path[i].state, "good", v->path[i].good));
	return list;
}

static json_t *vservers_json(const struct daemon *d, unsigned unit)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		for (unsigned k = 0; k < d->conf->vserver[i].store_count; k++)
			if (d->conf->vserver[i].store[k].unit == unit) {
				json_array_append_new(list, json_string(d->conf->vserver[i].name));
				break;
			}
	return list;
}

/* Who has it mounted as far as this node knows: it knows its own mounts, and what others say they serve. */
static const char *mounted_on(const struct daemon *d, unsigned unit)
{
	const struct node *n = d->node;
	uint16_t owner;

	if (n->unit[unit].mounted)
		return d->conf->node[d->self].name;
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		for (unsigned k = 0; k < n->conf.vs[i].unit_count; k++) {
			if (n->conf.vs[i].unit[k] != unit)
				continue;
			owner = node_vs_owner(n, i);
			return owner && owner != n->conf.self ? daemon_node(d, owner, "?") : "";
		}
	return "";
}

/* VS-99: what this node may do with it. */
static json_t *here_json(const struct daemon *d, unsigned unit, const struct unit_view *v, bool *usable)
{
	const struct node_unit *u = &d->node->unit[unit];

	*usable = false;
	if (u->foul)
		return json_string("unusable here: it could not be let go of; restart this node");
	if (v->s_err || v->r_err)
		return json_string("unusable here: it cannot be read");
	if (v->a.owner && v->a.owner != d->node->conf.self)
		return json_sprintf("unusable here: owned by %s", daemon_node(d, v->a.owner, "?"));
	*usable = true;
	return json_string(u->held ? "mine" : v->a.owner ? "mine, from an earlier start" : "free");
}

/* What is wrong with the target, or with the pair: nothing that stops service by itself. */
static const char *remark(const struct unit_view *v, bool mixed)
{
	if (v->a.labels)
		return unit_label_text(v->a.labels);
	return mixed ? "S and R differ: S counts; the next takeover makes them one" : "";
}

static json_t *view_json(const struct daemon *d, const struct view_job *j)
{
	static const char *const backends[] = {[CONF_DIR] = "dir", [CONF_LOOP] = "loop",
					       [CONF_ISCSI] = "iscsi", [CONF_SCSI] = "scsi"};
	const struct conf_unit *c = &d->conf->unit[j->unit];
	const struct unit_view *v = &j->v;
	const char *s = s_text(d, v), *r = r_text(d, v);
	bool mixed = !v->s_err && !v->r_err && strcmp(s, r) != 0, usable;
	json_t *here = here_json(d, j->unit, v, &usable), *o;
	const struct node_unit *u = &d->node->unit[j->unit];

	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:b}", "name", c->name, "backend",
		      backends[c->backend], "wwid", c->wwid, "label", v->label, "s", s, "r", r, "type",
		      prin_type_name(v->type), "pair", json_sprintf("<%s,%s>", s, r), "mixed", mixed);
	json_object_update_new(
		o, json_pack("{s:I, s:I, s:s, s:I, s:b, s:b, s:s, s:o, s:b}", "epoch",
			     (json_int_t)v->a.owner_epoch, "generation", (json_int_t)v->a.owner_generation,
			     "previous", v->previous ? daemon_node(d, v->previous, "?") : "U", "written_ns",
			     (json_int_t)v->written_ns, "held", u->held, "mounted", u->mounted, "mounted_on",
			     mounted_on(d, j->unit), "here", here, "usable", usable));
	json_object_update_new(
		o, json_pack("{s:o, s:i, s:i, s:o, s:i, s:s, s:s, s:s, s:o}", "paths", paths_json(v),
			     "paths_good", v->paths_known ? (int)v->path_good : -1, "paths_total",
			     v->paths_known ? (int)v->path_total : -1, "keys", keys_json(d, v), "keys_total",
			     (int)v->key_total, "remembers",
			     v->memory_known ? v->remembers ? "yes" : "no" : "unknown", "remark",
			     remark(v, mixed), "error", v->a.outcome == UNIT_WON ? "" : v->a.text, "vservers",
			     vservers_json(d, j->unit)));
	return o;
}

/* ---- helpers -------------------------------------------------------------------------------------- */

static void start_jobs(struct views *w);

static void look(void *arg, void *answer)
{
	struct view_job *j = arg;

	unit_view(&j->set->d->unit[j->unit].spec, &j->set->d->seal, answer);
}

static void reply(struct views *w)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < w->count; i++)
		json_array_append_new(list, view_json(w->d, &w->job[i]));
	if (w->one)
		ctl_reply(w->d->ctl, w->id, json_incref(json_array_get(list, 0)));
	else
		ctl_reply(w->d->ctl, w->id,
			  json_pack("{s:s, s:O}", "node", w->d->conf->node[w->d->self].name, "units", list));
	json_decref(list);
	w->d->views = NULL;
	free(w);
}

static void failed(struct view_job *j, int err)
{
	j->v.s_err = j->v.r_err = err;
	unit_say(&j->v.a, UNIT_ERROR, err, "it could not be looked at: %s",
		 err == -ETIMEDOUT ? "no answer within 5 s" : strerror(-err));
}

static void on_done(struct process *p, int err, const void *data, size_t len)
{
	struct view_job *j = LIST_OWNER(p, struct view_job, process);
	struct views *w = j->set;

	if (err || len != sizeof(j->v))
		failed(j, err ? err : -EIO);
	else
		memcpy(&j->v, data, sizeof(j->v));
	w->done++;
	start_jobs(w);
}

/* May answer and free `w`. */
static void start_jobs(struct views *w)
{
	const int none[] = {-1};

	while (w->begun < w->count && w->begun - w->done < AT_ONCE) {
		struct view_job *j = &w->job[w->begun++];
		int rc;

		j->process.done = on_done;
		rc = process_run(w->d->loop, &j->process, look, j, sizeof(j->v), none, LIMIT_NS);
		if (rc) {
			failed(j, rc);
			w->done++;
		}
	}
	if (w->done == w->count)
		reply(w);
}

/* Of unit `unit`; -1: all. */
static void ask(struct daemon *d, uint32_t id, int unit)
{
	struct views *w;

	if (d->views) {
		ctl_refuse(d->ctl, id, "busy", "units are being looked at for somebody else",
			   "try again in a few seconds");
		return;
	}
	w = d->views = mem_zalloc(1, sizeof(*w));
	w->d = d;
	w->id = id;
	w->one = unit >= 0;
	for (unsigned i = 0; i < d->conf->unit_count; i++) {
		if (d->conf->unit[i].gone || (unit >= 0 && (unsigned)unit != i))
			continue;
		w->job[w->count].set = w;
		w->job[w->count++].unit = i;
	}
	start_jobs(w);
}

/* ---- claim and release ------------------------------------------------------------------------------ */

/* The virtual server that the unit is for; -1: none. */
static int vs_of(const struct daemon *d, unsigned unit)
{
	for (unsigned i = 0; i < d->node->conf.vs_count; i++)
		for (unsigned k = 0; k < d->node->conf.vs[i].unit_count; k++)
			if (d->node->conf.vs[i].unit[k] == unit)
				return (int)i;
	return -1;
}

/* Claiming by force from another node is a takeover of that node, with all its proofs. */
static void order(struct daemon *d, uint32_t id, unsigned unit, bool claim, const json_t *request)
{
	struct event ev = {.type = EV_CONTROL};
	char object[CONF_NAME_MAX + 8];
	int vs = vs_of(d, unit);
	uint16_t owner = d->node->unit[unit].owner;

	if (vs < 0) {
		ctl_refuse(d->ctl, id, "no-vserver", d->conf->unit[unit].name,
			   "no virtual server has a store on it: there is nothing to own it for");
		return;
	}
	if (node_vs_owner(d->node, (unsigned)vs))
		owner = node_vs_owner(d->node, (unsigned)vs);
	ev.control.id = id;
	ev.control.verb = claim ? CONTROL_CLAIM : CONTROL_RELEASE;
	ev.control.vs_id = d->node->conf.vs[vs].id;
	ev.control.force = json_is_true(json_object_get(request, "force"));
	ev.control.dry_run = json_is_true(json_object_get(request, "dry_run"));
	if (claim && ev.control.force && owner && owner != d->node->conf.self) {
		ev.control.verb = CONTROL_TAKEOVER;
		ev.control.node = owner;
	}
	snprintf(object, sizeof(object), "unit %s", d->conf->unit[unit].name);
	if (!ev.control.dry_run)
		diary_say(d, LOG_L_NOTICE, object, REASON_OPERATOR, "command: unit %s%s",
			  claim ? "claim" : "release", ev.control.force ? " --force" : "");
	brain_post(d, &ev);
}

bool units_request(struct daemon *d, uint32_t id, const char *verb, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "unit"));
	int at = conf_find_unit(d->conf, name ? name : "");

	if (strncmp(verb, "unit-", 5) != 0)
		return false;
	if (strcmp(verb, "unit-list") == 0)
		ask(d, id, -1);
	else if (at < 0)
		ctl_refuse(d->ctl, id, "unknown-unit", name ? name : "", "see: holdfast unit list");
	else if (strcmp(verb, "unit-show") == 0)
		ask(d, id, at);
	else if (strcmp(verb, "unit-claim") == 0 || strcmp(verb, "unit-release") == 0)
		order(d, id, (unsigned)at, verb[5] == 'c', request);
	else
		return false;
	return true;
}
