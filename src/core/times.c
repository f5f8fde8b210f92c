/* times.c - the timer table and its invariants. */
#include "core/times.h"

#include <stddef.h>
#include <string.h>

void times_fast(struct times *t, uint64_t T)
{
	memset(t, 0, sizeof(*t));
	t->heartbeat_ns = T;
	t->slot_write_ns = T / 2;
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

/* Seed 003: mailbox timeout 2.5 s, network 0.5 s, judged dead at a multiple of 2 (ST-51, ST-52);
 * one T of 1.25 s gives a mailbox timeout of two slot intervals. */
void times_classic(struct times *t)
{
	const uint64_t ms = 1000000;

	times_fast(t, 1250 * ms);
	t->heartbeat_ns = 500 * ms / 3;
	t->path_silent_ns = 500 * ms;
	t->dead_ns = 5000 * ms;
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
	return NULL;
}
