/* times.h - the one time base: every timer is a multiple of the heartbeat T (DESIGN 5).
 *
 * times_fast() fills the table of DESIGN, times_classic() the seeds' own figures (profile
 * `classic`): of seed 003 for a pair, of seed 000 for more nodes (OV-08); the shell may
 * change single values from the configuration and then asks times_check(), which names the broken
 * invariant.  All times are nanoseconds on CLOCK_BOOTTIME. */
#ifndef HF_CORE_TIMES_H
#define HF_CORE_TIMES_H

#include <stdint.h>

/* How often the own coordination slot is written, by role and state of the cluster (VS-49). */
enum scribble {
	SCRIBBLE_MASTER,	/* VS-50 */
	SCRIBBLE_MASTER_LOST,	/* VS-51: it has lost a node */
	SCRIBBLE_SLAVE,		/* VS-52: under a master's control */
	SCRIBBLE_SLAVE_LOST,	/* VS-53: it has lost its master, or another node */
	SCRIBBLE_DETACHED,	/* VS-54: neither */
	SCRIBBLE_DETACHED_LOST, /* neither, and alone: as fast as the others */
	SCRIBBLE_COUNT
};

struct times {
	uint64_t heartbeat_ns;	   /* T: status message on each network path */
	uint64_t slot_write_ns;	   /* own coordination slot, when it matters: the fast rate */
	uint64_t scribble_ns[SCRIBBLE_COUNT]; /* the rate in force; 0: only what is news */
	uint64_t slot_read_ns;	   /* the others' slots */
	uint64_t slot_timeout_ns;  /* a write not done by then does not hold up the next device */
	uint64_t path_silent_ns;   /* a network path counts as silent */
	uint64_t dead_ns;	   /* all paths silent for this long */
	uint64_t fresh_ns;	   /* a read or write begun longer ago proves nothing (V1) */
	uint64_t wait_ns;	   /* step 213b */
	uint64_t lease_ns;	   /* of a worker, from the start of the last good slot write (F4) */
	uint64_t poll_ns;	   /* the owner looks at its reservation (F2); done by the shell */
	uint64_t poll_lease_ns;	   /* and serves no longer than this after a good look */
	uint64_t drift_ns;	   /* assumed clock drift over a lease plus time to stop */
	uint64_t tilt_ns;	   /* a longer gap between two steps: observe anew before acting */
	uint64_t step_ns;	   /* limit of one bring-up or bring-down step */
	uint64_t countdown_ns;	   /* "please shutdown": then by force (FO-73) */
	uint64_t home_wait_ns;	   /* first start: how long to wait for the home node */
	uint64_t giveback_wait_ns; /* AM-07: then storage is taken again */
	uint64_t unreachable_ns;   /* V2: paths disagree for this long: act on it */
	uint64_t reboot_cap_ns;	   /* announced reboot, hard cap */
	uint64_t hold_down_ns;	   /* of a vs between two automatic moves */
	uint64_t crash_window_ns;  /* this window and ... */
	unsigned crash_limit;	   /* ... this many worker crashes in it: quarantine */
	uint64_t damage_window_ns; /* this window and ... */
	unsigned damage_limit;	   /* ... this many damages found in it: quarantine */
};

void times_fast(struct times *t, uint64_t heartbeat_ns);
void times_classic(struct times *t, unsigned nodes);
/* NULL when every invariant holds, else a text that names the broken one. */
const char *times_check(const struct times *t);

#endif
