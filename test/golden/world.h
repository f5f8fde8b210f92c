/* world.h - whole clusters on virtual time around the production brain.
 *
 * Fake: networks, coordination devices, storage units with reservations, mounts, workers with
 * leases, addresses, persistent memory, clocks.  Real: core and codec, the same objects as in
 * holdfastd.  Everything that happens is an entry of one queue ordered by (time, number), every
 * random choice comes from one generator, so a seed reproduces byte for byte.
 *
 * What survives what: an effect on a device or unit happens at one moment between an action and
 * its completion; a crash may fall before or after it; a pause of a node freezes its helpers and
 * workers but not the I/O under way. */
#ifndef HF_SIM_WORLD_H
#define HF_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/node.h"

#define MS        1000000ULL
#define SIM_NODES NODE_NODES_MAX
#define SIM_VS    8
#define SIM_DEV   NODE_DEVICES_MAX
#define SIM_BEAT  (100 * MS)

struct sim_worker {
	bool alive, ready, open, draining;
	uint64_t epoch, lease_until_ns;
	unsigned life;
};

struct sim_node {
	bool on;            /* powered */
	bool paused;        /* frozen whole */
	bool daemon_paused; /* only holdfastd is */
	unsigned life;      /* completions of an older life are dropped */
	uint64_t booted_ns; /* world time */
	int64_t ppm;        /* clock rate */
	uint64_t clock_base_ns;
	uint64_t tick_number;
	struct node_conf conf;
	struct node *brain;
	uint8_t persisted[SLOT_SIZE];
	bool has_persisted;
	uint8_t persisted_old[SLOT_SIZE];
	bool has_persisted_old;
	uint8_t held[SIM_NODES][SLOT_SIZE]; /* of the others, in its persistent memory */
	bool has_held[SIM_NODES];
	struct sim_worker worker[SIM_VS];
	bool address[SIM_VS], mounted[SIM_VS];
	bool polling[SIM_VS];
	uint64_t poll_epoch[SIM_VS];
	struct sim_item *backlog, **backlog_end;
	/* faults */
	bool cut_device[SIM_DEV], cut_storage;
	bool mount_fails, worker_fails, drain_hangs, memory_fails;
	const char *shown; /* step that was traced last */
	uint64_t slow_ns; /* added to its device I/O */
};

struct sim_unit {
	uint16_t owner; /* S */
	uint64_t generation, epoch;
	uint16_t holder; /* R: key is (holder, holder_generation) */
	uint64_t holder_generation;
	bool local; /* like `dir`: the holder must be gone or fenced */
	/* evidence */
	uint16_t last_writer;
	uint64_t last_epoch, writes;
};

enum sim_kind { SIM_DELIVER, SIM_EFFECT, SIM_TICK, SIM_WORK, SIM_POLL, SIM_SCRIPT };

struct sim_item {
	uint64_t at_ns, number;
	enum sim_kind kind;
	unsigned node, life;
	struct event ev;
	struct action act;
	uint8_t *payload;
	size_t payload_len;
	uint64_t tick_number;
	struct sim_item *next; /* backlog */
};

struct world {
	uint64_t seed, rng;
	bool fixed; /* golden traces: fixed delays, no chance */
	bool verbose;
	FILE *out;
	uint64_t now_ns, number;
	struct sim_item **heap;
	size_t heap_count, heap_size;
	unsigned node_count, device_count, vs_count, path_count;
	struct sim_node node[SIM_NODES];
	struct sim_unit unit[SIM_VS];
	uint8_t sector[SIM_DEV][SIM_NODES][SLOT_SIZE];
	uint8_t sector_old[SIM_DEV][SIM_NODES][SLOT_SIZE];
	bool dead_device[SIM_DEV];
	bool cut[NODE_PATHS_MAX][SIM_NODES][SIM_NODES]; /* one way: from, to */
	unsigned loss_permille, dup_permille;
	bool chaos; /* long delays, reordering, stale reads */
	struct actions actions;
	uint32_t trace_hash;
	uint64_t steps, served_ops;
	uint32_t control_next;
	uint16_t last_reply_reason;
	bool last_reply_ok;
	/* ST-58: when each node's TAKEOVER of a victim was first on its way */
	uint64_t announced_ns[SIM_NODES][SIM_NODES];
	char failure[256];
};

/* rng.c part */
uint64_t sim_random(struct world *w, uint64_t below);
bool sim_chance(struct world *w, unsigned permille);

void world_init(struct world *w, uint64_t seed, unsigned nodes, unsigned devices, unsigned vs);
void world_free(struct world *w);
/* Runs until the virtual time; false when a checker failed (w->failure says which). */
bool world_run(struct world *w, uint64_t until_ns);
void world_trace(struct world *w, unsigned node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void sim_start(struct world *w, unsigned node);
void sim_crash(struct world *w, unsigned node);
void sim_pause(struct world *w, unsigned node, bool daemon_only);
void sim_resume(struct world *w, unsigned node);
/* A node that is off: its state folder and its slots are blank when it comes back. */
void sim_forget(struct world *w, unsigned node);
void sim_kill_worker(struct world *w, unsigned vs);
/* Its worker finds its store (`below`: what is below it) damaged. */
void sim_damage(struct world *w, unsigned vs, bool below);
void sim_control(struct world *w, unsigned node, enum control_verb verb, unsigned target,
		 unsigned vs, bool force, bool on);
void sim_port(struct world *w, unsigned node, unsigned path, unsigned quality);
/* Index of the node that serves vs now, or -1. */
void sim_inhibit(struct world *w, unsigned node, enum inhibit_scope scope, unsigned vs, bool on);
int sim_server(const struct world *w, unsigned vs);

/* faults.c: one random run; 0 = good. */
int faults_run(uint64_t seed, bool verbose, uint32_t *hash);
/* golden.c: one scenario file to stdout. */
int golden_run(const char *path);

#endif
