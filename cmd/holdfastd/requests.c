/* requests.c - the control socket's verbs: names to ids, the brain's answers to JSON.
 *
 * What acts goes to the brain as one EV_CONTROL and is answered by its ACT_REPLY, whenever that
 * comes; status is answered at once from what the brain and the shell know. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "ctl/status.h"
#include "daemon.h"

#define END_NS	     100000000ULL
#define DAY_MS	     86400000
#define OWN_SHUTDOWN 0xffffffffU /* id of the shutdown that a signal asked for */

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_t *worker_json(const struct daemon *d, unsigned vs)
{
	const struct worker *w = &d->worker[vs];
	json_t *stats = w->stats ? json_loads(w->stats, 0, NULL) : NULL;
	json_t *o = json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:b}", "vserver",
			      d->conf->vserver[vs].name, "pid", w->now ? (int)w->now->pid : 0,
			      "spare_pid",
			      w->spare && w->spare->prepared ? (int)w->spare->pid : 0, "epoch",
			      (json_int_t)w->epoch, "starts", (json_int_t)w->starts, "crashes",
			      (json_int_t)w->crashes, "addresses_up", d->addresses[vs].up);

	json_object_set_new(o, "damages", json_integer((json_int_t)w->damages));
	json_object_set_new(o, "damage", json_string(w->damage));
	json_object_set_new(o, "damage_ms",
			    json_real(w->damage_ns ? (double)(loop_clock_ns() - w->damage_ns) / 1e6 :
						     -1.0));
	if (stats)
		json_object_set_new(o, "stats", stats);
	return o;
}

static json_t *path_json(const struct daemon *d, unsigned i)
{
	const struct conf_path *c = &d->conf->node[d->self].path[i];
	const struct net_path *n = peers_net(d, i);
	char text[64];

	return json_pack("{s:s, s:i, s:b, s:i, s:I, s:I, s:I}", "address",
			 conf_net_text(&c->addr, false, text), "port", c->port, "interconnect",
			 c->interconnect, "quality", d->path[i].quality, "sent",
			 (json_int_t)n->sent, "send_errors", (json_int_t)n->send_errors,
			 "received", (json_int_t)n->received);
}

static void vserver_more(const struct daemon *d, unsigned i, json_t *o)
{
	uint64_t since = diary_owner_since_ns(d, i);

	json_object_set_new(o, "detail", json_string(trouble_text(d, i)));
	json_object_set_new(json_object_get(o, "owner"), "since_ms",
			    json_real(since ? (double)(loop_clock_ns() - since) / 1e6 : -1.0));
}

static json_t *status_json(struct daemon *d)
{
	json_t *o = ctl_status(d->node, d->conf, loop_clock_ns()), *workers = json_array(),
	       *paths = json_array();

	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		if (!d->conf->vserver[i].gone)
			json_array_append_new(workers, worker_json(d, i));
	for (unsigned i = 0; i < d->conf->node[d->self].path_count; i++)
		json_array_append_new(paths, path_json(d, i));
	for (unsigned i = 0, at = 0; i < d->conf->vserver_count; i++)
		if (!d->conf->vserver[i].gone)
			vserver_more(d, i, json_array_get(json_object_get(o, "vservers"), at++));
	json_object_set_new(o, "cluster", json_string(d->conf->name));
	json_object_set_new(o, "config", config_json(d));
	json_object_set_new(o, "workers", workers);
	json_object_set_new(o, "paths", paths);
	json_object_set_new(o, "dropped", drops_json(d));
	json_object_set_new(o, "events_lost", json_integer((json_int_t)diary_lost(d)));
	json_object_set_new(o, "longest_step_us", json_integer((json_int_t)(d->step_ns_max / 1000)));
	json_object_set_new(o, "up_ms", json_real((double)(loop_clock_ns() - d->started_ns) / 1e6));
	return o;
}

/* What operators ask for, and what becomes of it, is in the event log. */
static void note_command(struct daemon *d, const char *verb, const json_t *request)
{
	char object[128];
	const char *scope = text_of(request, "scope"), *vs = text_of(request, "vs"),
		   *node = text_of(request, "node");

	snprintf(object, sizeof(object), "%s %s", *vs ? "vs" : "node",
		 *vs ? vs : *node ? node : d->conf->node[d->self].name);
	diary_say(d, LOG_L_NOTICE, object, REASON_OPERATOR, "command: %s%s%s%s%s%s%s%s%s", verb,
		  *vs && *node ? " to " : "", *vs ? node : "", *scope ? " " : "", scope,
		  *scope ? json_is_true(json_object_get(request, "on")) ? " on" : " off" : "",
		  json_is_true(json_object_get(request, "force")) ? " --force" : "",
		  *text_of(request, "text") ? ": " : "", text_of(request, "text"));
}

static void note_refusal(struct daemon *d, const struct action *a)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "node %s", d->conf->node[d->self].name);
	diary_say(d, LOG_L_WARN, object, a->reply.reason, "a command was refused or not completed%s%s",
		  a->reply.text && *a->reply.text ? ": " : "", a->reply.text ? a->reply.text : "");
}

static const struct verb {
	const char *name;
	enum control_verb verb;
	bool vs, node, dry; /* dry: the brain knows what it would do */
} VERBS[] = {
	{"vs-move", CONTROL_VS_MOVE, true, true, true},
	{"vs-start", CONTROL_VS_START, true, false, true},
	{"takeover", CONTROL_TAKEOVER, false, true, true},
	{"giveback", CONTROL_GIVEBACK, false, true, true},
	{"shutdown", CONTROL_SHUTDOWN, false, false, false},
	{"inhibit", CONTROL_INHIBIT, false, false, true},
	{"reboot", CONTROL_REBOOT, false, false, false},
	{"cancel", CONTROL_CANCEL, false, true, false},
	{"restart", CONTROL_RESTART, false, true, true},
};

static void refuse(struct daemon *d, uint32_t id, enum reason r, const char *text)
{
	ctl_refuse(d->ctl, id, reason_name(r), text, reason_todo(r));
}

/* False when it was refused. */
static bool name_ids(struct daemon *d, uint32_t id, const struct verb *v, const json_t *request,
		     struct event *ev)
{
	const char *vs = text_of(request, "vs"), *node = text_of(request, "node");
	int at;

	if (v->vs) {
		at = conf_find_vserver(d->conf, vs);
		if (at < 0) {
			refuse(d, id, REASON_UNKNOWN_VS, vs);
			return false;
		}
		ev->control.vs_id = node_name_id(vs);
	}
	if (v->node) {
		at = conf_find_node(d->conf, node);
		if (at < 0) {
			refuse(d, id, REASON_UNKNOWN_NODE, node);
			return false;
		}
		ev->control.node = d->conf->node[at].id;
	}
	return true;
}

static bool take_scope(struct daemon *d, uint32_t id, const json_t *request, struct event *ev)
{
	static const char *const scopes[] = {[INHIBIT_SELF] = "self", [INHIBIT_MINE] = "mine",
					     [INHIBIT_CLUSTER] = "cluster",
					     [INHIBIT_VS] = "vs"};
	const char *scope = text_of(request, "scope");

	if (ev->control.verb != CONTROL_INHIBIT)
		return true;
	if (!json_object_get(request, "on")) {
		ctl_refuse(d->ctl, id, "usage", "on: true or false is wanted", "");
		return false;
	}
	for (unsigned i = INHIBIT_SELF; i <= INHIBIT_VS; i++)
		if (strcmp(scope, scopes[i]) == 0) {
			ev->control.scope = (enum inhibit_scope)i;
			ev->control.vs_id = node_name_id(text_of(request, "vs"));
			return true;
		}
	ctl_refuse(d->ctl, id, "usage", "unknown scope", "self, mine, cluster or vs");
	return false;
}

/* An operator's own words for an inhibit. */
static bool take_text(struct daemon *d, uint32_t id, const json_t *request, struct event *ev)
{
	const char *text = text_of(request, "text");

	if (!*text)
		return true;
	if (ev->control.verb == CONTROL_INHIBIT && status_note_ok(text, strlen(text))) {
		memcpy(ev->control.text, text, strlen(text) + 1);
		return true;
	}
	ctl_refuse(d->ctl, id, "usage", "a reason goes with an inhibit",
		   "at most 96 bytes of UTF-8 on one line");
	return false;
}

/* `dry_run: 1` must not be done for real, nor `on: "yes"` clear a flag, nor `in_ms: 30.5` mean now. */
static bool members_good(struct daemon *d, uint32_t id, const json_t *request)
{
	static const char *const yes_or_no[] = {"dry_run", "force", "on", "restart"};
	const json_t *v = json_object_get(request, "in_ms");

	if (v && !json_is_integer(v)) {
		ctl_refuse(d->ctl, id, "usage", "in_ms: a whole number is wanted", "");
		return false;
	}
#ifndef HF_MUTANT_DRY_RUN_ONE
	for (size_t i = 0; i < sizeof(yes_or_no) / sizeof(yes_or_no[0]); i++) {
		v = json_object_get(request, yes_or_no[i]);
		if (v && !json_is_boolean(v)) {
			ctl_refuse(d->ctl, id, "usage", yes_or_no[i], "true or false is wanted");
			return false;
		}
	}
#else
	(void)yes_or_no;
#endif
	return true;
}

static void on_request(void *arg, uint32_t id, const char *verb, json_t *request)
{
	struct daemon *d = arg;
	struct event ev = {.type = EV_CONTROL};
	json_int_t in_ms;

	if (strcmp(verb, "status") == 0) {
		for (unsigned i = 0; i < d->conf->vserver_count; i++)
			worker_ask_stats(d, i);
		ctl_reply(d->ctl, id, status_json(d));
		return;
	}
	if (!members_good(d, id, request))
		return;
	if (keys_request(d, id, verb, request) || config_request(d, id, verb, request))
		return;
	if (units_request(d, id, verb, request))
		return;
	for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++) {
		if (strcmp(verb, VERBS[i].name) != 0)
			continue;
		ev.control.id = id;
		ev.control.verb = VERBS[i].verb;
		ev.control.on = json_is_true(json_object_get(request, "on"));
		ev.control.force = json_is_true(json_object_get(request, "force"));
		ev.control.dry_run = json_is_true(json_object_get(request, "dry_run"));
		in_ms = json_integer_value(json_object_get(request, "in_ms"));
		if (in_ms < 0 || in_ms > DAY_MS) {
			ctl_refuse(d->ctl, id, "usage", "in_ms: at most 24 hours", "");
			return;
		}
		ev.control.in_ns = (uint64_t)in_ms * 1000000;
#ifndef HF_MUTANT_SHUTDOWN_DRY
		if (ev.control.dry_run && !VERBS[i].dry) {
			ctl_refuse(d->ctl, id, "usage", "there is no dry run of it",
				   "leave dry_run out to have it done");
			return;
		}
#endif
		if (!name_ids(d, id, &VERBS[i], request, &ev) ||
		    !take_scope(d, id, request, &ev) || !take_text(d, id, request, &ev))
			return;
		if (!ev.control.dry_run)
			note_command(d, verb, request);
		if (ev.control.verb == CONTROL_SHUTDOWN && !ev.control.dry_run)
			d->shutdown_id = id;
		brain_post(d, &ev);
		return;
	}
	ctl_refuse(d->ctl, id, "unknown-verb", verb, "use a holdfast command of this version");
}

static void on_end(struct loop_timer *t)
{
	daemon_stop(LIST_OWNER(t, struct daemon, end_timer), EXIT_OK);
}

/* The client hears that all is handed over, then the daemon ends. */
static void end_soon(struct daemon *d)
{
	d->leaving = true;
	d->end_timer.fire = on_end;
	loop_timer_set(d->loop, &d->end_timer, loop_clock_ns() + END_NS);
}

void requests_reply(struct daemon *d, const struct action *a)
{
	if (a->reply.id == OWN_SHUTDOWN) {
		const char *text = a->reply.text ? a->reply.text : "";

		log_notice("daemon: %s%s%s", a->reply.ok ? "handed over" : "could not hand over",
			   *text ? ": " : "", text);
		daemon_stop(d, EXIT_OK);
		return;
	}
	if (a->reply.ok && a->reply.id == d->shutdown_id)
		end_soon(d);
	if (!a->reply.ok)
		note_refusal(d, a);
	if (!a->reply.ok)
		ctl_refuse_all(d->ctl, a->reply.id, reason_name(a->reply.reason),
			       a->reply.text ? a->reply.text : "", reason_todo(a->reply.reason),
			       ctl_vetoes(d->node, a->reply.vetoes));
	else
		ctl_reply(d->ctl, a->reply.id,
			  json_pack("{s:s, s:s, s:o}", "text",
				    a->reply.text && *a->reply.text ? a->reply.text : "done",
				    "reason", reason_name(a->reply.reason), "vetoes",
				    ctl_vetoes(d->node, a->reply.vetoes)));
}

/* Nothing is left here; the others hear so before the next instance begins. */
void requests_restart(struct daemon *d)
{
	d->again = true;
	end_soon(d);
}

void requests_shutdown(struct daemon *d)
{
	struct event ev = {.type = EV_CONTROL};

	if (d->leaving)
		return;
	d->leaving = true;
	ev.control.id = OWN_SHUTDOWN;
	ev.control.verb = CONTROL_SHUTDOWN;
	brain_post(d, &ev);
}

int requests_open(struct daemon *d, char *err, size_t err_size)
{
	char path[PATH_TEXT_MAX + 16];
	int rc;

	snprintf(path, sizeof(path), "%s/control.sock", d->run_dir);
	rc = ctl_open(&d->ctl, d->loop, path, on_request, d);
	/* As for the heartbeat's ports: a daemon that has just ended listens for a moment more. */
	for (int k = 0; k < OPEN_TRIES && rc == -EADDRINUSE; k++) {
		poll(NULL, 0, OPEN_WAIT_MS);
		rc = ctl_open(&d->ctl, d->loop, path, on_request, d);
	}
	if (rc)
		snprintf(err, err_size, "%s: the control socket cannot be made: %s", path,
			 strerror(-rc));
	return rc ? EXIT_SYSTEM : 0;
}
