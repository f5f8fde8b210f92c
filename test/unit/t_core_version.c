/* t_core_version.c - protocol versions: the lowest that all live members understand is spoken, and who is
 * not understood lives, and nothing is taken from it. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "lib_core.h"

static struct rig r;

/* A message of a version to come: only its first fields mean anything here. */
static void from_the_future(struct status_msg *m, unsigned path)
{
	struct event ev = {.type = EV_MSG};
	uint8_t bytes[STATUS_MAX];

	ev.msg.from = 2;
	ev.msg.path = path;
	ev.msg.data = bytes;
	ev.msg.len = status_encode(m, bytes, sizeof(bytes));
	bytes[4] = bytes[5] = 9;
	rig_step(&r, ev);
}

/* covers: ST-41 */
static void t_peek(void)
{
	struct status_msg m = rig_peer(&r), back;
	uint8_t bytes[STATUS_MAX];
	struct status_peek p;
	size_t len;

	m.generation = 7;
	m.sequence = 8;
	len = status_encode(&m, bytes, sizeof(bytes));
	bytes[4] = 9;
	CHECK_EQ(-EPROTO, status_decode(&back, bytes, len));
	CHECK_EQ(0, status_peek(&p, bytes, len));
	CHECK(p.version == 9 && p.sender == 2 && p.generation == 7 && p.sequence == 8);
	for (size_t cut = 0; cut < 32; cut++)
		CHECK_EQ(-EBADMSG, status_peek(&p, bytes, cut));
}

/* covers: ST-53 OV-15 */
static void t_not_understood(void)
{
	struct status_msg m, first;

	rig_conf(&r);
	rig_start(&r);
	r.peer_net = r.peer_slot = false;
	first = rig_peer(&r);
	for (unsigned i = 0; i < 20; i++) {
		m = rig_peer(&r);
		from_the_future(&m, 0);
		rig_pass(&r, T / 2);
		CHECK_EQ(STATUS_V_ALIVE, r.n.peer[0].verdict);
	}
	CHECK_EQ(REASON_VERSION_MISMATCH, takeover_blocked(&r.n, &r.n.peer[0]));
	CHECK_EQ(20, (long long)r.n.drops.n[0][DROP_VERSION]);
	for (unsigned i = 0; i < 20; i++) { /* the same again is no life */
		from_the_future(&m, 0);
		rig_pass(&r, T / 2);
	}
	CHECK_EQ(STATUS_V_DEAD, r.n.peer[0].verdict);
	CHECK_EQ(REASON_VERSION_MISMATCH, takeover_blocked(&r.n, &r.n.peer[0]));
	(void)first;
	m = rig_peer(&r);
	rig_deliver(&r, &m, 0);
	CHECK_EQ(REASON_NONE, takeover_blocked(&r.n, &r.n.peer[0]));
}

/* A peer that knows more is spoken to in what both know. */
static void t_lowest_for_all(void)
{
	struct status_msg m;

	rig_conf(&r);
	rig_start(&r);
	m = rig_peer(&r);
	m.version_max = 9;
	rig_deliver(&r, &m, 0);
	rig_pass(&r, 0);
	CHECK_EQ(STATUS_VERSION, r.told.version_max);
	CHECK(r.told.version <= STATUS_VERSION && r.told.version >= STATUS_VERSION_MIN);
}

int main(void)
{
	rig_conf(&r);
	CASE(t_peek);
	CASE(t_not_understood);
	CASE(t_lowest_for_all);
	return check_end();
}
