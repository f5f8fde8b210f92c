/* world.c - one seed: makes a cluster, lets it suffer, heals it, and requires service.
 *
 * Safety phase: at least 60 virtual seconds with faults.  Then everything is healed, operators
 * take back what they forbade, and within the bound every virtual server must answer. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFETY_NS  (60 * SECOND)
#define FAULTS_MIN 3

jmp_buf sim_out;

static void make_times(struct sim *s)
{
	uint64_t pick = below(s, 100);

	if (pick < 4) {
		times_classic(&s->conf.times, s->conf.node_count);
		mark("sim.classic");
	} else {
		times_fast(&s->conf.times, pick < 12 ? 50 * MS : pick < 20 ? 300 * MS : 100 * MS);
	}
}

static void make_vs(struct sim *s, unsigned i)
{
	struct node_conf_vs *v = &s->conf.vs[i];
	unsigned units = 1 + (unsigned)(below(s, 100) < 25);

	snprintf(v->name, sizeof(v->name), "v%u", i + 1);
	v->id = node_name_id(v->name);
	v->home = (uint16_t)(1 + below(s, s->node_count));
	v->priority = (int)below(s, 3);
	v->no_migrate = chance(s, 60);
	v->giveback_auto = chance(s, 400);
	for (unsigned k = 0; k < units && s->unit_count < SIM_UNITS; k++) {
		struct node_conf_unit *u = &s->conf.unit[s->unit_count];

		snprintf(u->name, sizeof(u->name), "u%u", s->unit_count);
		u->id = node_name_id(u->name);
		v->unit[v->unit_count++] = (uint8_t)s->unit_count++;
	}
	/* A store on each unit, and one more on the first. */
	v->fs_count = (uint8_t)(v->unit_count + 1);
	for (unsigned k = 0; k < v->fs_count; k++)
		v->fs_unit[k] = (uint8_t)(k % v->unit_count);
}

static void make_units(struct sim *s)
{
	unsigned kind = (unsigned)below(s, 4); /* 0, 1: loop, 2: dir, 3: both */

	for (unsigned i = 0; i < s->unit_count; i++) {
		s->unit[i].dir = kind == 2 || (kind == 3 && chance(s, 500));
		s->conf.unit[i].fence_command = s->unit[i].dir && chance(s, 700);
	}
}

static void make_world(struct sim *s, const struct sim_mode *mode)
{
	static const unsigned nodes[] = {2, 2, 2, 3, 3, 4, 5};
	struct node_conf *c = &s->conf;

	c->node_count = s->node_count = nodes[below(s, 7)];
	if (mode->nodes_lo)
		c->node_count = s->node_count =
		    mode->nodes_lo + (unsigned)below(s, mode->nodes_hi - mode->nodes_lo + 1);
	c->device_count = s->device_count = 1 + (unsigned)below(s, 3);
	c->path_count = s->path_count = 1 + (unsigned)below(s, 3);
	c->path_clients[0] = true;
	c->memory = c->path_count > 1; /* the others are interconnects */
	c->config_hash = 77;
	c->config_version = 1;
	c->takeover_off = chance(s, 30);
	c->reboot_manual = chance(s, 100);
	make_times(s);
	for (unsigned i = 0; i < s->node_count; i++) {
		c->node[i].id = (uint16_t)(i + 1);
		snprintf(c->node[i].name, sizeof(c->node[i].name), "n%u", i + 1);
	}
	s->vs_count = 1 + (unsigned)below(s, 4);
	for (unsigned i = 0; i < s->vs_count; i++)
		make_vs(s, i);
	c->vs_count = s->vs_count;
	c->unit_count = s->unit_count;
	make_units(s);
	for (unsigned d = 0; d < s->device_count; d++)
		for (unsigned i = 0; i < s->node_count; i++)
			s->device[d].sector[i].blank = s->device[d].sector[i].before_blank = true;
	for (unsigned i = 0; i < s->node_count; i++) {
		s->host[i].at = i;
		s->host[i].held_end = &s->host[i].held;
	}
}

/* ---- healing and liveness -------------------------------------------------------------------- */

/* A store that is repaired is served again, for good. */
static const char *closed_vs(const struct sim *s)
{
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned v = 0; v < s->vs_count; v++)
			if (s->host[i].up && s->host[i].node.vs[v].state == VS_SERVING &&
			    s->host[i].node.vs[v].closed)
				return s->conf.vs[v].name;
	return NULL;
}

static void fail_not_served(struct sim *s)
{
	if (closed_vs(s))
		sim_fail(s, "liveness", "vs %s is served without one of its stores", closed_vs(s));
	for (unsigned v = 0; v < s->vs_count; v++)
		if (s->answered_ns[v] + SECOND < s->now_ns || s->answered_ns[v] < s->healed_ns)
			sim_fail(s, "liveness",
				 "vs %u does not answer %llu s after everything was healed", v,
				 (unsigned long long)((s->now_ns - s->healed_ns) / SECOND));
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned k = 0; k < s->host[i].control_count; k++)
			if (s->host[i].control[k].since_ns + s->bound_ns < s->now_ns)
				sim_fail(s, "reply", "n%u never answered request %u (verb %d)",
					 i + 1, s->host[i].control[k].id,
					 (int)s->host[i].control[k].verb);
}

static bool all_served(const struct sim *s)
{
	for (unsigned v = 0; v < s->vs_count; v++)
		if (s->answered_ns[v] < s->healed_ns || s->answered_ns[v] + 200 * MS < s->now_ns)
			return false;
	for (unsigned i = 0; i < s->node_count; i++)
		if (!s->host[i].up || s->host[i].node.state == NODE_REBOOTING)
			return false;
	return !closed_vs(s);
}

static void control(struct sim *s, struct host *h, struct event ev)
{
	host_control(s, h, &ev);
}

/* Operators allow again what they forbade, and start what is in quarantine. */
static void operators_clear(struct sim *s, struct host *h)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.verb = CONTROL_INHIBIT;
	for (unsigned scope = INHIBIT_SELF; scope <= INHIBIT_CLUSTER; scope++) {
		ev.control.scope = (enum inhibit_scope)scope;
		control(s, h, ev);
	}
	for (unsigned v = 0; v < s->vs_count; v++) {
		ev.control.vs_id = s->conf.vs[v].id;
		ev.control.verb = CONTROL_INHIBIT;
		ev.control.scope = INHIBIT_VS;
		control(s, h, ev);
		ev.control.verb = CONTROL_VS_START;
		control(s, h, ev);
	}
}

static void watch(struct sim *s, struct sim_item *it)
{
	struct event reboot = {.type = EV_CONTROL};

	reboot.control.verb = CONTROL_REBOOT;
	for (unsigned i = 0; i < s->node_count; i++) {
		struct host *h = &s->host[i];

		if (h->up && h->cleared_process != h->process) {
			h->cleared_process = h->process;
			operators_clear(s, h);
		}
		if (h->up && h->node.state == NODE_STOPPED && h->node.conf.reboot_manual)
			control(s, h, reboot);
	}
	if (all_served(s) && ++s->calm >= 20) {
		s->done = true;
		return;
	}
	if (!all_served(s))
		s->calm = 0;
	if (s->now_ns > s->healed_ns + s->bound_ns) {
		fail_not_served(s);
		s->done = true; /* served, but somebody keeps rebooting */
		sim_fail(s, "liveness", "no calm %llu s after everything was healed",
			 (unsigned long long)((s->now_ns - s->healed_ns) / SECOND));
	}
	queue_again(s, it, 250 * MS);
}

static void heal(struct sim *s, struct sim_item *it)
{
	/* A seed is at least so much (--only may name faults that cannot begin here). */
	if (s->faults_begun < FAULTS_MIN && !s->only && s->now_ns < 600 * SECOND) {
		queue_again(s, it, SECOND);
		return;
	}
	if (!s->only && (s->faults_begun < FAULTS_MIN || s->now_ns < SAFETY_NS + SECOND))
		sim_fail(s, "interface", "only %llu faults in %llu s",
			 (unsigned long long)s->faults_begun,
			 (unsigned long long)(s->now_ns / SECOND));
	say(s, NULL, "st", "heal", "faults=%llu", (unsigned long long)s->faults_begun);
	s->phase = PHASE_HEALED;
	faults_heal(s);
	for (unsigned i = 0; i < s->node_count; i++) {
		host_resume(s, &s->host[i]);
		host_boot(s, &s->host[i]);
	}
	s->healed_ns = s->now_ns;
	/* countdowns, giveback waits and hanging helpers run out; see doc/sim.md */
	s->bound_ns = 800 * 2 * s->conf.times.slot_write_ns;
	queue_put(s, SECOND, watch);
}

static void boot(struct sim *s, struct sim_item *it)
{
	host_boot(s, &s->host[it->x]);
}

/* Where everybody stood when a checker spoke. */
static void say_where(struct sim *s)
{
	for (unsigned i = 0; i < s->node_count; i++) {
		const struct host *h = &s->host[i];
		const struct node *n = &h->node;

		say(s, h, "wh", "node",
		    "up=%d paused=%d %s master=n%u lease=%d majority=%d tilt=%d gen=%llu", h->up,
		    h->paused, node_state_name(n->state), n->master, !n->lease_lapsed,
		    h->up && node_has_majority(n), n->tilt, (unsigned long long)n->generation);
		for (unsigned k = 0; k < n->peer_count; k++)
			say(s, h, "wh", "peer", "n%u verdict=%s state=%u step=%c blocked=%s",
			    n->peer[k].id, status_verdict_name(n->peer[k].verdict),
			    n->peer[k].msg.state, n->peer[k].step ? n->peer[k].step : '0',
			    reason_name(n->peer[k].blocked));
		for (unsigned v = 0; v < s->vs_count; v++) {
			const struct node_vs *x = &n->vs[v];
			const struct node_unit *u = &n->unit[s->conf.vs[v].unit[0]];

			say(s, h, "wh", s->conf.vs[v].name,
			    "%s target=n%u failed=%d gave_up=%d released=%d move_to=n%u reason=%s "
			    "S=n%u/%llu known=%d",
			    vs_state_name(x->state), x->target, x->failed, x->gave_up, x->released,
			    x->move_to, reason_name(x->reason), u->owner,
			    (unsigned long long)u->owner_epoch, u->known);
		}
	}
	for (unsigned u = 0; u < s->unit_count; u++)
		say(s, NULL, "wh", s->conf.unit[u].name, "%s S=n%u/%llu holder=n%u",
		    s->unit[u].dir ? "dir" : "loop", s->unit[u].owner,
		    (unsigned long long)s->unit[u].epoch, s->unit[u].holder);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool due(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	switch (it->bound) {
	case BOUND_WORLD:
		return true;
	case BOUND_KERNEL:
		return h->powered && h->kernel == it->instance;
	case BOUND_PROCESS:
		if (!h->up || (it->instance && h->process != it->instance))
			return false;
		if (!h->paused)
			return true;
		host_hold(s, h, it);
		return false;
	}
	return false;
}

static void loop(struct sim *s)
{
	struct sim_item *it;

	while (!s->done && (it = queue_pop(s)) != NULL) {
		s->now_ns = it->at_ns;
		if (due(s, it)) {
			it->fn(s, it);
			check_world(s);
		}
		if (!it->queued)
			queue_free(s, it);
	}
}

static void clean_up(struct sim *s)
{
	for (unsigned i = 0; i < SIM_NODES; i++) {
		while (s->host[i].held) {
			struct sim_item *it = s->host[i].held;

			s->host[i].held = it->next;
			queue_free(s, it);
		}
		for (unsigned k = 0; k < SIM_NODES; k++)
			for (unsigned p = 0; p < SIM_PATHS; p++)
				if (s->link[i][k][p].memory)
					queue_free(s, s->link[i][k][p].memory);
	}
	queue_clear(s);
}

int sim_run(struct sim *s, uint64_t seed, const struct sim_mode *mode)
{
	int rc;

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->trace = mode->trace;
	s->brief = mode->brief;
	s->quiet = mode->calm;
	s->versions = mode->versions;
	s->only = mode->only != NULL;
	s->hash = 0xcbf29ce484222325ULL;
	prng_seed(&s->rng, seed);
	for (unsigned i = 0; i < SIM_NODES; i++)
		s->host[i].process = s->host[i].kernel = 1; /* 0 means any */
	rc = setjmp(sim_out);
	if (rc == 0) {
		make_world(s, mode);
		s->now_ns = SECOND;
		for (unsigned i = 0; i < s->node_count; i++)
			queue_put(s, below(s, 3) ? below(s, 500 * MS) : below(s, 6 * SECOND), boot)
			    ->x = i;
		clients_start(s);
		if (s->quiet) {
			calm_start(s);
		} else {
			faults_start(s, mode->only);
			if (mode->versions)
				versions_start(s);
			s->faults_end_ns = s->now_ns + SAFETY_NS + below(s, 30 * SECOND);
			queue_put(s, s->faults_end_ns - s->now_ns, heal);
		}
		loop(s);
	} else {
		say_where(s);
		say(s, NULL, "st", "FAILED", "%s", s->failed);
	}
	s->hash ^= s->rng.s[0];
	clean_up(s);
	return rc;
}
