/* times.c - the timer table and its invariants. */
#include "core/times.h"

#include <stddef.h>
#include <string.h>

static void scribble_always(struct times *t, uint64_t every_ns)
{
	for (unsigned i = 0; i < SCRIBBLE_COUNT; i++)
		t->scribble_ns[i] = every_ns;
}

void times_fast(struct times *t, uint64_t T)
{
	memset(t, 0, sizeof(*t));
	t->heartbeat_ns = T;
	t->slot_write_ns = T / 2;
	scribble_always(t, T / 2);
	t->slot_read_ns = T / 2;
	t->slot_timeout_ns = T;
	t->path_silent_ns = 4 * T;
	t->dead_ns = 4 * T;
	t->fresh_ns = T;
	t->wait_ns = 2 * T;
	t->lease_ns = 3 * T;
	t->poll_ns = T;
	t->poll_lease_ns = 5 * T;
	t->drift_ns = T / 2;
	t->tilt_ns = 3 * T;
	t->step_ns = 200 * T;
	t->countdown_ns = 300 * T;
	t->home_wait_ns = 20 * T;
	t->giveback_wait_ns = 300 * T;
	t->unreachable_ns = 8 * T;
	t->reboot_cap_ns = 600 * T;
	t->hold_down_ns = 100 * T;
	t->crash_window_ns = 600 * T;
	t->crash_limit = 4;
	t->damage_window_ns = 36000 * T;
	t->damage_limit = 4;
}

#define MS 1000000ULL

/* A takeover pair, seed 003: mailbox timeout 2.5 s (AM-01), network 0.5 s, judged at twice the
 * mailbox's (ST-51, ST-52); one T of 1.25 s is two slot intervals.  Both always write. */
static void classic_pair(struct times *t)
{
	times_fast(t, 1250 * MS);
	t->heartbeat_ns = 500 * MS / 3;
	t->path_silent_ns = 500 * MS;
	t->dead_ns = 2 * 2500 * MS;
}

/* More nodes, seed 000: answers within 3 s (VS-38), slots written slowly or not at all while
 * nothing is wrong.  The verdict leaves the suspect the time to notice (path silent) and to
 * scribble at the fast rate (VS-55, AM-10); so does the lease, which hangs on acknowledgements
 * until then. */
static void classic_many(struct times *t)
{
	times_fast(t, 1000 * MS);
	t->path_silent_ns = 3000 * MS;
	t->slot_write_ns = 3000 * MS;
	t->scribble_ns[SCRIBBLE_MASTER] = 60000 * MS;
	t->scribble_ns[SCRIBBLE_MASTER_LOST] = 3000 * MS;
	t->scribble_ns[SCRIBBLE_SLAVE] = 0;
	t->scribble_ns[SCRIBBLE_SLAVE_LOST] = 3000 * MS;
	t->scribble_ns[SCRIBBLE_DETACHED] = 60000 * MS;
	t->scribble_ns[SCRIBBLE_DETACHED_LOST] = 3000 * MS;
	t->slot_read_ns = 1000 * MS;
	t->slot_timeout_ns = 1500 * MS;
	t->fresh_ns = 4000 * MS;
	t->dead_ns = 16000 * MS;
	t->lease_ns = 12000 * MS;
	t->wait_ns = 6000 * MS;
	t->tilt_ns = 9000 * MS;
}

void times_classic(struct times *t, unsigned nodes)
{
	if (nodes <= 2)
		classic_pair(t);
	else
		classic_many(t);
}

/* Slow while all is well, fast as soon as something is not; and then in time. */
static const char *check_scribble(const struct times *t)
{
	static const enum scribble lost[] = {SCRIBBLE_MASTER_LOST, SCRIBBLE_SLAVE_LOST,
					     SCRIBBLE_DETACHED_LOST};
	static const enum scribble calm[] = {SCRIBBLE_MASTER, SCRIBBLE_SLAVE, SCRIBBLE_DETACHED};

	for (unsigned i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
		if (t->scribble_ns[lost[i]] == 0 || t->scribble_ns[lost[i]] > t->slot_write_ns)
			return "who lost another node must write at the fast rate";
	for (unsigned i = 0; i < sizeof(calm) / sizeof(calm[0]); i++) {
		uint64_t ns = t->scribble_ns[calm[i]];

		if (ns && ns <= t->slot_write_ns)
			continue;
		if (t->lease_ns < t->path_silent_ns + 3 * t->slot_write_ns)
			return "lease must be at least path silent and 3 fast slot writes";
		if (t->dead_ns < t->path_silent_ns + 3 * t->slot_write_ns + t->slot_read_ns)
			return "dead must leave the time to notice and to write 3 times";
	}
	return NULL;
}

const char *times_check(const struct times *t)
{
	if (t->heartbeat_ns == 0 || t->slot_write_ns == 0 || t->slot_read_ns == 0 ||
	    t->poll_ns == 0)
		return "no interval may be zero";
	if (t->lease_ns + t->drift_ns >= t->dead_ns + t->wait_ns)
		return "lease + drift + stop must be less than dead + wait";
	if (t->lease_ns + t->fresh_ns > t->dead_ns)
		return "lease + fresh must not exceed dead";
	if (t->path_silent_ns < 3 * t->heartbeat_ns)
		return "path silent must be at least 3 heartbeats";
	if (t->dead_ns < 3 * t->slot_write_ns + t->slot_read_ns)
		return "dead must be at least 3 slot writes and a slot read";
	if (t->dead_ns < t->path_silent_ns)
		return "dead must not be less than path silent";
	if (t->wait_ns <= t->slot_write_ns + t->slot_read_ns + t->drift_ns)
		return "wait must exceed slot write + slot read + stop";
	if (t->lease_ns < 3 * t->slot_write_ns)
		return "lease must be at least 3 slot writes";
	if (t->fresh_ns < t->slot_read_ns || t->fresh_ns < t->slot_write_ns)
		return "fresh must be at least a slot interval";
	if (t->poll_lease_ns < 3 * t->poll_ns)
		return "poll lease must be at least 3 polls";
	if (t->tilt_ns < t->slot_write_ns)
		return "tilt must be at least a slot write";
	if (t->damage_limit < 1 || t->damage_limit > 8)
		return "damage limit must be 1 to 8";
	if (t->step_ns < t->dead_ns || t->crash_limit < 1 || t->crash_limit > 8)
		return "step limit must be at least dead, crash limit 1 to 8";
	return check_scribble(t);
}
