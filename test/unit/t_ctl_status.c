/* t_ctl_status.c - what `holdfast status` tells of the brain: prompt, countdown, flags, what bars what. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ctl/status.h"
#include "lib_core.h"

static struct rig r;
static struct conf conf; /* only the devices' names are looked at */

static void order(struct event ev)
{
	ev.type = EV_CONTROL;
	ev.now_ns = r.now;
	ev.control.id = 7;
	rig_step(&r, ev);
}

/* Node 2 serves what is at home there (v1, as the rig has it); this node is NORMAL. */
static void other_serves(void)
{
	rig_conf(&r);
	r.peer_serves = r.hold[ACT_UNIT_READ] = true;
	node_init(&r.n, &r.conf, r.now);
	rig_pass(&r, T);
	if (r.n.unit[0].read_op) {
		struct event ev = {.type = EV_UNIT_READ, .op = r.n.unit[0].read_op};

		ev.unit_state.owner = ev.unit_state.holder = 2;
		ev.unit_state.owner_epoch = 3;
		ev.now_ns = r.now;
		rig_step(&r, ev);
	}
	rig_pass(&r, 10 * T);
}

static json_t *look(void)
{
	return ctl_status(&r.n, &conf, r.now);
}

static const json_t *takeover(const json_t *s)
{
	return json_object_get(json_array_get(json_object_get(s, "peers"), 0), "takeover");
}

static const json_t *bars_of(const json_t *s)
{
	return json_object_get(takeover(s), "barred_by");
}

static bool is(const json_t *o, const char *key, const char *value)
{
	const char *got = json_string_value(json_object_get(o, key));

	return got && strcmp(got, value) == 0;
}

/* An element of `list` whose `key` is `value`. */
static const json_t *one_of(const json_t *list, const char *key, const char *value)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o) if (is(o, key, value)) return o;
	return NULL;
}

/* covers: FO-73 */
static void t_countdown(void)
{
	struct event ev = {.control.verb = CONTROL_TAKEOVER, .control.node = 2, .control.in_ns = 50 * T};
	const json_t *t;
	json_t *s;

	other_serves();
	s = look();
	CHECK(json_number_value(json_object_get(takeover(s), "countdown_ms")) < 0);
	json_decref(s);
	order(ev);
	rig_pass(&r, 10 * T);
	s = look();
	t = takeover(s);
	CHECK(json_number_value(json_object_get(t, "countdown_ms")) > 3500);
	CHECK(json_number_value(json_object_get(t, "countdown_ms")) <= 4100);
	CHECK(json_is_false(json_object_get(t, "forced")));
	json_decref(s);
}

/* covers: ST-53 ST-56 OV-15 */
static void t_inhibits(void)
{
	struct event ev = {.control.verb = CONTROL_INHIBIT, .control.on = true};
	const json_t *o, *bars;
	json_t *s;

	other_serves();
	s = look();
	CHECK_EQ(0, json_array_size(json_object_get(s, "inhibits")));
	CHECK_EQ(0, json_array_size(bars_of(s)));
	json_decref(s);
	ev.control.scope = INHIBIT_CLUSTER;
	order(ev);
	ev.control.scope = INHIBIT_SELF;
	order(ev);
	ev.control.scope = INHIBIT_VS;
	ev.control.vs_id = r.n.conf.vs[0].id;
	order(ev);
	s = look();
	CHECK_EQ(3, json_array_size(json_object_get(s, "inhibits")));
	o = one_of(json_object_get(s, "inhibits"), "level", "vs");
	CHECK(o && is(o, "vs", r.n.conf.vs[0].name) && is(o, "reason", "vs-inhibited"));
	CHECK(json_string_length(json_object_get(o, "todo")) > 0);
	CHECK(one_of(json_object_get(s, "inhibits"), "level", "cluster"));
	bars = bars_of(s);
	CHECK(one_of(bars, "reason", "takeover-disabled"));
	o = one_of(bars, "reason", "inhibited");
	CHECK(o && json_is_false(json_object_get(o, "force")));
	json_decref(s);
}

/* covers: ST-80 AM-02 */
static void t_prompt(void)
{
	const json_t *o;
	json_t *s;

	other_serves();
	s = look();
	o = json_array_get(json_object_get(s, "prompt"), 0);
	CHECK((o != NULL) == (r.n.prompted && r.n.conf.vs[0].home == 1));
	if (o)
		CHECK(is(o, "vs", r.n.conf.vs[0].name) && is(o, "node", r.n.conf.node[1].name));
	o = json_object_get(json_array_get(json_object_get(s, "vservers"), 0), "owner");
	CHECK(is(o, "says", "SERVING") && is(o, "node", r.n.conf.node[1].name));
	json_decref(s);
}

/* V1: no majority bars, and is named.   covers: V1 */
static void t_no_majority(void)
{
	const json_t *bars;
	json_t *s;

	other_serves();
	r.disk_read = r.disk_write = false;
	rig_pass(&r, 30 * T);
	s = look();
	CHECK(json_is_false(json_object_get(s, "majority")));
	bars = bars_of(s);
	CHECK(one_of(bars, "reason", "no-coordination-majority"));
	json_decref(s);
}

int main(void)
{
	memset(&conf, 0, sizeof(conf));
	CASE(t_countdown);
	CASE(t_inhibits);
	CASE(t_prompt);
	CASE(t_no_majority);
	return check_end();
}
