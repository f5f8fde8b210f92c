/* t_core_veto.c - what forbids a takeover, a move, a giveback; all of it is listed (OV-15). */
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;
static struct vetoes v;

static void ask(enum control_verb verb, uint16_t node, bool force)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.verb = verb;
	ev.control.node = node;
	ev.control.vs_id = node_name_id("v1");
	ev.control.force = force;
	node_vetoes(&r.n, &ev, &v);
}

static const struct veto *find(enum reason why)
{
	for (unsigned i = 0; i < v.count; i++)
		if (v.v[i].reason == why)
			return &v.v[i];
	return NULL;
}

static void inhibit(enum inhibit_scope scope, bool on)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = scope;
	ev.control.vs_id = node_name_id("v1");
	ev.control.on = on;
	rig_step(&r, ev);
	CHECK(r.last[ACT_REPLY].reply.ok);
}

/* v1 is at home on n2, which serves it. */
static void other_serves(void)
{
	struct event ev = {.type = EV_UNIT_READ};

	rig_conf(&r);
	r.conf.vs[0].home = 2;
	r.peer_serves = true;
	r.hold[ACT_UNIT_READ] = true;
	rig_start(&r);
	ev.op = r.last[ACT_UNIT_READ].op;
	ev.unit_state.owner = 2;
	ev.unit_state.owner_epoch = 1;
	rig_step(&r, ev);
	CHECK_EQ(2, node_vs_owner(&r.n, 0));
}

/* covers: OV-15 ST-53 ST-56 */
static void t_all_levels_are_listed(void)
{
	struct status_msg m;

	other_serves();
	ask(CONTROL_TAKEOVER, 2, false);
	CHECK_EQ(0, v.count);
	r.peer_net = r.peer_slot = false;
	m = rig_peer(&r);
	m.indicator = STATUS_NO_TAKEOVER;
	m.config_hash++;
	m.vs[0].flags = STATUS_VS_INHIBIT;
	rig_deliver(&r, &m, 0);
	inhibit(INHIBIT_CLUSTER, true);
	inhibit(INHIBIT_SELF, true);
	r.n.conf.vs[0].no_migrate = true;
	r.n.tilt = true;
	ask(CONTROL_TAKEOVER, 2, false);
	CHECK_EQ(7, v.count);
	CHECK(find(REASON_DISABLED) && find(REASON_DISABLED)->node == 1);
	CHECK(find(REASON_NO_TAKEOVER) && find(REASON_NO_TAKEOVER)->node == 2);
	CHECK(find(REASON_INHIBITED) && !find(REASON_INHIBITED)->yields);
	CHECK(find(REASON_CONFIG_MISMATCH) && !find(REASON_CONFIG_MISMATCH)->yields);
	CHECK(find(REASON_TILT) && !find(REASON_TILT)->yields);
	CHECK(find(REASON_VS_INHIBITED) && find(REASON_VS_INHIBITED)->node == 2);
	CHECK(find(REASON_NO_MIGRATE) && find(REASON_NO_MIGRATE)->vs == 0);
	for (unsigned i = 0; i < v.count; i++)
		CHECK(reason_todo(v.v[i].reason)[0] != '\0');
}

/* A node that starts takes nothing, not even to release what an older instance of it left. */
static void t_release_while_starting(void)
{
	struct event ev = {.type = EV_CONTROL};

	rig_conf(&r);
	r.peer_net = r.peer_slot = false;
	r.peer_serves = r.hold[ACT_UNIT_READ] = true;
	node_init(&r.n, &r.conf, r.now);
	while (!lease_valid(&r.n)) /* it writes its slots and reads storage */
		rig_pass(&r, T / 10);
	CHECK_EQ(NODE_REBOOTING, r.n.state);
	for (unsigned u = 0; u < r.n.conf.unit_count; u++) {
		r.n.unit[u].known = true;
		r.n.unit[u].owner = 1;
	}
	ask(CONTROL_RELEASE, 0, false);
	CHECK(find(REASON_NOT_NORMAL) && !find(REASON_NOT_NORMAL)->yields);
	ev.control.id = 9;
	ev.control.verb = CONTROL_RELEASE;
	ev.control.vs_id = node_name_id("v1");
	rig_step(&r, ev);
	CHECK(!r.last[ACT_REPLY].reply.ok);
	CHECK_EQ(REASON_NOT_NORMAL, r.last[ACT_REPLY].reply.reason);
	CHECK(!r.n.vs[0].cleaning);
}

/* Each flag alone bars step 213 when the other dies, and nothing else does.
 * covers: OV-15 ST-53 ST-56 ST-61 */
static void t_each_flag_bars(void)
{
	for (enum inhibit_scope s = INHIBIT_SELF; s <= INHIBIT_VS; s++) {
		if (s == INHIBIT_MINE) /* bars the others */
			continue;
		other_serves();
		inhibit(s, true);
		r.peer_net = r.peer_slot = false;
		rig_pass(&r, 20 * T);
		CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
		CHECK_EQ(0, r.seen[ACT_RESERVE]);
		CHECK_EQ(NODE_NORMAL, r.n.state);
		inhibit(s, false);
		rig_pass(&r, 10 * T);
		CHECK_EQ(NODE_TAKEOVER, r.n.state);
		CHECK_EQ(VS_SERVING, r.n.vs[0].state);
	}
}

/* The flag of a vs was said by its owner, which died: it still holds.   covers: OV-15 */
static void t_vs_flag_outlives_its_owner(void)
{
	struct status_msg m;

	other_serves();
	m = rig_peer(&r);
	m.vs[0].flags = STATUS_VS_INHIBIT;
	r.peer_net = r.peer_slot = false;
	rig_deliver(&r, &m, 0);
	rig_pass(&r, 20 * T);
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
	CHECK_EQ(0, r.seen[ACT_RESERVE]);
	ask(CONTROL_TAKEOVER, 2, true);
	CHECK(find(REASON_VS_INHIBITED) && find(REASON_VS_INHIBITED)->yields);
	CHECK_EQ(REASON_NONE, veto_first(&v, true));
}

/* ... and survives a restart of the node that said it.   covers: ST-47 OV-15 */
static void t_vs_flag_is_persistent(void)
{
	static uint8_t memory[SLOT_SIZE];

	rig_conf(&r);
	rig_start(&r);
	inhibit(INHIBIT_VS, true);
	rig_pass(&r, T);
	memcpy(memory, r.n.persist_buf, SLOT_SIZE);
	slot_finish(memory);
	rig_conf(&r);
	r.conf.persisted = memory;
	rig_start(&r);
	CHECK(r.n.vs[0].inhibit);
	CHECK(r.told.vs[0].flags & STATUS_VS_INHIBIT);
}

static void start_again(uint8_t memory[SLOT_SIZE])
{
	memcpy(memory, r.n.persist_buf, SLOT_SIZE);
	slot_finish(memory);
	rig_conf(&r);
	r.conf.persisted = memory;
}

/* All of an operator's flags do, though the indicator says but one of them.
 * covers: ST-34 ST-35 ST-47 ST-53 */
static void t_flags_are_persistent(void)
{
	static uint8_t memory[SLOT_SIZE];

	rig_conf(&r);
	rig_start(&r);
	inhibit(INHIBIT_MINE, true);
	inhibit(INHIBIT_CLUSTER, true);
	inhibit(INHIBIT_SELF, true);
	rig_pass(&r, T);
	start_again(memory);
	rig_start(&r);
	CHECK_EQ(NODE_NORMAL, r.n.state);
	CHECK(r.n.inhibit_mine && r.n.inhibit_cluster && r.n.inhibit_self);
	CHECK(status_no_takeover(&r.told) && status_disable(&r.told));
	inhibit(INHIBIT_CLUSTER, false);
	inhibit(INHIBIT_MINE, false);
	rig_pass(&r, T);
	CHECK(!status_no_takeover(&r.told) && !status_disable(&r.told));
}

static bool inhibit_for(enum inhibit_scope scope, uint32_t vs, bool on, const char *why)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.id = 9;
	ev.control.verb = CONTROL_INHIBIT;
	ev.control.scope = scope;
	ev.control.vs_id = vs;
	ev.control.on = on;
	snprintf(ev.control.text, sizeof(ev.control.text), "%s", why);
	rig_step(&r, ev);
	return r.last[ACT_REPLY].reply.ok;
}

/* An operator's words go with the flag: to the others, over a restart, and away with it.
 * covers: OV-15 ST-47 */
static void t_in_words(void)
{
	static uint8_t memory[SLOT_SIZE];
	uint32_t v1 = node_name_id("v1");

	rig_conf(&r);
	rig_start(&r);
	CHECK(inhibit_for(INHIBIT_VS, v1, true, "its disk is changed"));
	CHECK(inhibit_for(INHIBIT_MINE, 0, true, "upgrade"));
	CHECK(inhibit_for(INHIBIT_SELF, 0, true, "no room"));
	CHECK(inhibit_for(INHIBIT_SELF, 0, true, "")); /* said again, without */
	rig_pass(&r, 2 * T);
	CHECK_EQ(2, r.told.note_count);
	CHECK(strcmp(r.told.note[0].text, "its disk is changed") == 0 && r.told.note[0].vs == v1);
	memcpy(memory, r.n.persist_buf, SLOT_SIZE);
	slot_finish(memory);
	rig_conf(&r);
	r.conf.persisted = memory;
	rig_start(&r);
	CHECK(strcmp(node_note(&r.n, 1, INHIBIT_MINE, 0), "upgrade") == 0);
	CHECK(strcmp(node_note(&r.n, 1, INHIBIT_VS, v1), "its disk is changed") == 0);
	CHECK(strcmp(node_note(&r.n, 1, INHIBIT_VS, v1 + 1), "") == 0);
	CHECK(strcmp(node_note(&r.n, 2, INHIBIT_MINE, 0), "") == 0);
	CHECK(inhibit_for(INHIBIT_VS, v1, false, ""));
	rig_pass(&r, 2 * T);
	CHECK_EQ(1, r.told.note_count);
	CHECK_EQ(INHIBIT_MINE, r.told.note[0].scope);
}

/* One too many is refused, and its flag with it. */
static void t_words_have_their_room(void)
{
	char name[NODE_NAME_MAX];

	rig_conf(&r);
	r.conf.vs_count = r.conf.unit_count = STATUS_NOTES_MAX + 1;
	for (unsigned i = 0; i <= STATUS_NOTES_MAX; i++) {
		r.conf.vs[i] = r.conf.vs[0];
		snprintf(name, sizeof(name), "v%u", i + 1);
		memcpy(r.conf.vs[i].name, name, sizeof(name));
		r.conf.vs[i].id = node_name_id(name);
		r.conf.vs[i].unit[0] = (uint8_t)i;
	}
	rig_start(&r);
	for (unsigned i = 0; i < STATUS_NOTES_MAX; i++)
		CHECK(inhibit_for(INHIBIT_VS, r.conf.vs[i].id, true, "why"));
	CHECK(!inhibit_for(INHIBIT_VS, r.conf.vs[STATUS_NOTES_MAX].id, true, "why"));
	CHECK_EQ(REASON_NOTES_FULL, r.last[ACT_REPLY].reply.reason);
	CHECK(!r.n.vs[STATUS_NOTES_MAX].inhibit);
	CHECK(inhibit_for(INHIBIT_VS, r.conf.vs[STATUS_NOTES_MAX].id, true, ""));
	CHECK(inhibit_for(INHIBIT_VS, r.conf.vs[3].id, true, "other words"));
	CHECK(inhibit_for(INHIBIT_VS, r.conf.vs[3].id, false, ""));
	CHECK(inhibit_for(INHIBIT_MINE, 0, true, "now there is room"));
}

/* A peer's words stand beside its veto. */
static void t_words_of_the_other(void)
{
	struct status_msg m;

	other_serves();
	r.peer_net = r.peer_slot = false;
	m = rig_peer(&r);
	m.indicator = STATUS_NO_TAKEOVER;
	m.vs[0].flags = STATUS_VS_INHIBIT;
	m.note_count = 2;
	m.note[0] = (struct status_note){.scope = INHIBIT_VS, .vs = m.vs[0].id, .text = "a"};
	m.note[1] = (struct status_note){.scope = INHIBIT_MINE, .text = "b"};
	rig_deliver(&r, &m, 0);
	ask(CONTROL_TAKEOVER, 2, false);
	CHECK(strcmp(node_veto_note(&r.n, find(REASON_VS_INHIBITED)), "a") == 0);
	CHECK(strcmp(node_veto_note(&r.n, find(REASON_NO_TAKEOVER)), "b") == 0);
}

/* Step 257: what prevented takeover before the interruption is the indicator after it.
 * covers: ST-87 AM-05 ST-34 ST-35 */
static void t_257(void)
{
	static const struct {
		enum inhibit_scope scope;
		enum status_indicator says;
	} rows[] = {{INHIBIT_SELF, STATUS_NORMAL},
		    {INHIBIT_MINE, STATUS_NO_TAKEOVER},
		    {INHIBIT_CLUSTER, STATUS_DISABLE}};
	static uint8_t memory[SLOT_SIZE];

	for (unsigned i = 0; i < 3; i++) {
		rig_conf(&r);
		rig_start(&r);
		inhibit(rows[i].scope, true);
		rig_pass(&r, T);
		memcpy(memory, r.n.persist_buf, SLOT_SIZE);
		slot_finish(memory);
		rig_conf(&r);
		r.conf.persisted = memory;
		rig_start(&r);
		CHECK_EQ(rows[i].says, r.told.indicator);
		CHECK_EQ(rows[i].scope == INHIBIT_SELF, r.n.inhibit_self);
		CHECK(r.told.flags & STATUS_F_INHIBIT);
	}
}

/* A dry run lists and changes nothing; without the flag the same is refused with the same list.
 * covers: OV-15 OV-16 */
static void t_dry_run(void)
{
	struct event ev = {.type = EV_CONTROL};

	other_serves();
	ev.control.id = 4;
	ev.control.verb = CONTROL_TAKEOVER;
	ev.control.node = 2;
	ev.control.dry_run = true;
	rig_step(&r, ev);
	CHECK(r.last[ACT_REPLY].reply.ok);
	CHECK(r.last[ACT_REPLY].reply.vetoes && r.last[ACT_REPLY].reply.vetoes->count == 0);
	CHECK_EQ(STATUS_REQ_NONE, r.n.request.type);
	inhibit(INHIBIT_VS, true);
	for (unsigned dry = 0; dry < 2; dry++) {
		ev.control.dry_run = dry;
		rig_step(&r, ev);
		CHECK(!r.last[ACT_REPLY].reply.ok);
		CHECK_EQ(REASON_VS_INHIBITED, r.last[ACT_REPLY].reply.reason);
		CHECK_EQ(1, r.last[ACT_REPLY].reply.vetoes->count);
		CHECK_EQ(STATUS_REQ_NONE, r.n.request.type);
	}
	ev.control.force = true;
	rig_step(&r, ev);
	CHECK(r.last[ACT_REPLY].reply.ok);
	CHECK_EQ(1, r.last[ACT_REPLY].reply.vetoes->count);
}

/* covers: OV-15 VS-68 VS-132 */
static void t_move_and_giveback(void)
{
	char text[NODE_TEXT_MAX];

	rig_conf(&r);
	rig_start(&r);
	ask(CONTROL_VS_MOVE, 2, false);
	CHECK_EQ(0, v.count);
	ask(CONTROL_VS_MOVE, 1, false);
	CHECK(v.count == 1 && find(REASON_ALREADY_THERE));
	ask(CONTROL_VS_MOVE, 7, false);
	CHECK(find(REASON_UNKNOWN_NODE));
	r.n.conf.vs[0].no_migrate = true;
	r.peer_net = r.peer_slot = false;
	rig_pass(&r, 20 * T);
	ask(CONTROL_VS_MOVE, 2, false);
	CHECK(find(REASON_NO_MIGRATE) && find(REASON_NOT_NORMAL));
	CHECK(strcmp("v1", node_veto_text(&r.n, find(REASON_NO_MIGRATE), text)) == 0);
	CHECK(strcmp("n2", node_veto_text(&r.n, find(REASON_NOT_NORMAL), text)) == 0);
	ask(CONTROL_GIVEBACK, 2, false);
	CHECK(v.count == 1 && find(REASON_ALREADY_THERE));
	r.n.conf.vs[0].home = 2;
	ask(CONTROL_GIVEBACK, 2, false);
	CHECK(find(REASON_NOT_NORMAL) && !find(REASON_ALREADY_THERE));
}

int main(void)
{
	CASE(t_all_levels_are_listed);
	CASE(t_release_while_starting);
	CASE(t_each_flag_bars);
	CASE(t_vs_flag_outlives_its_owner);
	CASE(t_vs_flag_is_persistent);
	CASE(t_flags_are_persistent);
	CASE(t_in_words);
	CASE(t_words_have_their_room);
	CASE(t_words_of_the_other);
	CASE(t_257);
	CASE(t_dry_run);
	CASE(t_move_and_giveback);
	return check_end();
}
