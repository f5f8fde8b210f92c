/* sim.h - the simulator: whole clusters on virtual time, driving the production brain.
 *
 *	holdfast-sim --seed N [--trace | --brief]
 *	holdfast-sim --seeds A-B [--require sim/marks.txt | --calm]
 *
 * One thread, one priority queue of events in virtual time, one seeded generator.  Everything that
 * the shell, the kernel, the disks and the networks do for node_step() is modelled here; nothing of
 * src/io is linked in.  The same seed gives the same trace, byte by byte.
 *
 * How it is cut:
 *	queue.c		the event queue: time, then order of insertion; the generator
 *	world.c		makes a cluster from a seed; the main loop; safety phase, healing, liveness
 *	host.c		a node: instance, clock, pause and crash; steps the brain, carries out actions
 *	net.c		network paths: latency, loss, duplication, reorder, cuts, replays
 *	device.c	coordination devices and persistent memory
 *	unit.c		storage units: reservation R, record S, RESERVE and RELEASE as the shell does
 *	worker.c	workers with lease pages, addresses with kernel lifetimes, the clients
 *	fault.c		faults and operator commands, and how each is undone
 *	check.c		the checkers, the trace, the coverage marks
 *	calm.c		one thing happens to a healthy cluster: how long clients wait
 *	range.c		a range of seeds over the processors
 *	main.c		command line, totals, required marks
 *
 * Three kinds of things happen at a time: what a process of a node does (dropped when that instance
 * is gone, held back while the node is paused), what its kernel does (dropped when the machine lost
 * power), and what the world does (always).  doc/sim.md has the fault table and the checkers. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/node.h"

#define SIM_NODES    8
#define SIM_VS       5
#define SIM_UNITS    8
#define SIM_PATHS    3
#define SIM_DEVICES  3
#define SIM_WORKERS  96
#define SIM_FAULTS   32
#define SIM_CONTROLS 64
#define SIM_LANDINGS 16
#define SIM_FOREIGN  SIM_NODES /* an initiator that is no node */
#define SIM_JOBS     64
#define US           1000ULL
#define MS           1000000ULL
#define SECOND       1000000000ULL

struct sim;
struct sim_item;
typedef void sim_fn(struct sim *s, struct sim_item *it);

enum sim_bound { BOUND_WORLD, BOUND_KERNEL, BOUND_PROCESS };

/* Something that happens at a time. */
struct sim_item {
	uint64_t at_ns;
	sim_fn *fn;
	enum sim_bound bound;
	unsigned host;
	uint64_t instance; /* of the process or of the kernel, by `bound`; 0: any */
	uint64_t a, b;
	unsigned x, y;
	struct event ev;
	void *data; /* freed with the item */
	size_t len;
	bool queued; /* else the loop frees it when fn returns */
	struct sim_item *next;
};

/* The times are beside the pointers, so that moving through the heap touches no item. */
struct sim_due {
	uint64_t at_ns, order;
	struct sim_item *item;
};

struct sim_queue {
	struct sim_due *heap;
	size_t count, room;
	uint64_t order;
	struct sim_item *spare;
};

struct sim_prng {
	uint64_t s[4];
};

/* What the shell of a node knows about a unit, and what its kernel does. */
struct host_unit {
	bool won;              /* told so to the brain, and not released since */
	bool mounted;          /* by the kernel */
	uint64_t mount_kernel; /* in which run of the kernel */
	uint64_t epoch;        /* of S as won */
	uint64_t poll_token;
	struct action repair;  /* under way; its op is 0 when none is */
};

struct host_vs {
	uint64_t page_epoch, page_until_ns; /* the lease page */
	uint64_t address_until_ns;          /* kernel lifetime; 0: not up */
	uint64_t address_since_ns;
	bool address_kept;                  /* holdfastd renews it */
	unsigned worker_op;                 /* workers started and not yet reported gone */
	uint8_t closed;                     /* stores that the last of them did not open */
};

struct host_control {
	uint32_t id;
	uint64_t since_ns;
	enum control_verb verb;
};

struct host {
	unsigned at;  /* index; node id - 1 */
	bool up;      /* holdfastd runs */
	bool powered; /* the machine runs */
	bool paused;
	uint64_t process, kernel; /* instances */
	uint64_t cleared_process; /* operators spoke to it after healing */
	unsigned port_bad[SIM_PATHS];
	uint64_t offset_ns, resume_order;
	int64_t rate, shift_ns; /* rate: how much faster, in 2^-20 */
	uint64_t back_ns; /* fault: the next event is stamped that much too early */
	unsigned slow;    /* fault: late ticks */
	unsigned memory_bad; /* fault: persistent memory cannot be written */
	bool persist_valid, persist_old_valid;
	uint8_t persist[SLOT_SIZE];
	uint8_t persist_old[SLOT_SIZE]; /* as it was two starts ago: an image that is restored */
	bool recalls;                   /* starts with such an image: its slots can be read */
	bool mem_valid[SIM_NODES]; /* the others' messages in its persistent memory */
	uint8_t mem[SIM_NODES][SLOT_SIZE];
	uint64_t tick_token, tick_at_ns;
	unsigned tick_storm;
	struct sim_item *held, **held_end; /* while paused */
	unsigned held_count;
	struct host_unit unit[SIM_UNITS];
	struct host_vs vs[SIM_VS];
	struct host_control control[SIM_CONTROLS];
	unsigned control_count;
	uint64_t generation_max;          /* sent by earlier instances */
	uint64_t generation_sent;         /* by this one */
	uint64_t announced_ns[SIM_NODES]; /* step 213a against whom, first seen going out */
	bool by_force[SIM_NODES];         /* an operator told it to take from whom */
	struct {
		uint64_t read_ns, write_ns; /* begin of the last good one, real time */
	} seen[SIM_DEVICES];
	struct event old[SIM_VS][8]; /* completions of this instance, for stale repeats */
	bool has_old[SIM_VS][8];
	/* as the setters said */
	enum node_state said_state;
	enum vs_state said_vs[SIM_VS];
	struct node node;
};

struct link {
	unsigned cut; /* counts faults in force */
	unsigned loss, dup, slow;
	struct sim_item *memory; /* an old message, to be replayed */
};

struct sector {
	uint8_t before[SLOT_SIZE]; /* the present one is in the device */
	bool blank, before_blank, torn;
	uint64_t landed_ns, landings[SIM_LANDINGS];
	unsigned landing;
	unsigned pending;
};

struct device {
	unsigned bad, slow, hang, torn;
	bool stale;
	uint64_t stale_until_ns; /* what was read before that may be old */
	unsigned cut[SIM_NODES], deaf[SIM_NODES]; /* deaf: only reads fail */
	struct sector sector[SIM_NODES];
	uint8_t now[SIM_NODES][SLOT_SIZE];
};

struct unit {
	bool dir; /* else loop: reservations, reached through a path */
	unsigned cut[SIM_NODES], slow, hang;
	/* S */
	uint16_t owner;
	uint64_t epoch, generation;
	/* R: a key per node (nexus), 0: not registered; the holder's index + 1 */
	uint64_t key[SIM_NODES + 1]; /* the last: of an initiator that is no node */
	unsigned holder;
	bool attention[SIM_NODES];
	/* dir: the owner's byte of the lock, by host + 1 and instance */
	unsigned lock_host;
	uint64_t lock_process;
};

struct worker {
	bool used, alive;
	unsigned host, vs;
	uint64_t process, kernel; /* whose child */
	uint64_t epoch, generation;
	uint64_t page_until_ns;
	uint64_t unit_epoch[NODE_VS_UNITS_MAX];
	bool revoked, open, ready, replied, drain, dead_told;
	unsigned inflight; /* writes */
	uint8_t closed;	   /* stores that it did not open */
};

struct fault {
	const struct fault_kind *kind;
	bool used;
	uint64_t token;
	unsigned a, b, c;
	uint64_t links, ways;
};

enum sim_phase { PHASE_FAULTS, PHASE_HEALED };

extern jmp_buf sim_out;

struct sim {
	uint64_t seed, now_ns, hash;
	struct sim_prng rng;
	struct sim_queue queue;
	bool trace, brief, only;
	bool quiet; /* one thing happens, see calm.c */
	enum sim_phase phase;
	uint64_t faults_end_ns, healed_ns, bound_ns;
	bool done;
	unsigned calm;
	unsigned measured; /* --calm: bit for each vs that was there */
	struct node_conf conf; /* `self` and `persisted` differ by node */
	bool versions;	       /* it changes while it runs: versions.c */
	struct node_conf version, before, taking;
	unsigned node_count, vs_count, unit_count, device_count, path_count;
	struct host host[SIM_NODES];
	struct device device[SIM_DEVICES];
	struct unit unit[SIM_UNITS];
	struct worker worker[SIM_WORKERS];
	unsigned worker_end; /* all beyond are unused */
	struct link link[SIM_NODES][SIM_NODES][SIM_PATHS];
	unsigned step_fail, op_hang; /* permille of failing and hanging shell operations */
	unsigned stale;              /* permille of repeated old completions */
	/* clients */
	uint64_t answered_epoch[SIM_VS], answered_ns[SIM_VS], answers[SIM_VS];
	uint64_t gap_ns[SIM_VS]; /* longest between two answers */
	uint64_t writes_ok, writes_refused;
	/* faults */
	struct fault fault[SIM_FAULTS];
	uint64_t fault_token, fault_allowed, faults_begun;
	uint32_t control_id;
	struct actions actions;
	char failed[256];
};

/* queue.c */
struct sim_item *queue_put(struct sim *s, uint64_t delay_ns, sim_fn *fn);
struct sim_item *queue_pop(struct sim *s);
void queue_again(struct sim *s, struct sim_item *it, uint64_t delay_ns); /* keeps its contents */
void queue_free(struct sim *s, struct sim_item *it);
void queue_clear(struct sim *s);
void prng_seed(struct sim_prng *r, uint64_t seed);
uint64_t prng_next(struct sim_prng *r);
uint64_t below(struct sim *s, uint64_t n);
bool chance(struct sim *s, unsigned permille);
uint64_t between(struct sim *s, uint64_t lo, uint64_t hi);

/* versions.c */
void versions_start(struct sim *s);

/* world.c */
/* How a seed is run. */
struct sim_mode {
	bool trace, brief, calm, versions;
	const char *only;            /* fault kinds that begin so, or NULL */
	unsigned nodes_lo, nodes_hi; /* how many nodes; 0: as the seed says, 2 to 5 */
};
int sim_run(struct sim *s, uint64_t seed, const struct sim_mode *mode);

/* main.c */
/* What a seed came to. */
enum seed_state { SEED_NOT_RUN, SEED_PASSED, SEED_FAILED };
struct seed_result {
	enum seed_state state;
	unsigned measured;
	uint64_t hash, now_ns, heal_ns, answers, writes, gap_ns[SIM_VS];
};

struct sim_total {
	uint64_t passed, failed, hash, answers, writes, virtual_ns, slowest, slowest_ns;
};

/* 0 passed, 1 a checker spoke, 2 an assertion did: no further seed in this process. */
int sim_guarded(struct sim *s, uint64_t seed, const struct sim_mode *mode);
void sim_result(const struct sim *s, struct seed_result *r);
void sim_report(uint64_t seed, double at_s, const char *text, const struct sim_mode *mode);
void total_add(struct sim_total *sum, uint64_t seed, const struct seed_result *r);

/* range.c */
struct sim_range {
	uint64_t first, last;
	unsigned jobs, failures_max;
	struct sim_mode mode;
};
void range_run(const struct sim_range *r, struct sim_total *sum);

/* host.c */
void host_boot(struct sim *s, struct host *h);
void host_power_off(struct sim *s, struct host *h, const char *why);
void host_daemon_dies(struct sim *s, struct host *h, const char *why);
void host_restart_later(struct sim *s, struct host *h, uint64_t delay_ns);
void host_pause(struct sim *s, struct host *h);
void host_resume(struct sim *s, struct host *h);
void host_hold(struct sim *s, struct host *h, struct sim_item *it);
void host_step(struct sim *s, struct host *h, struct event *ev);
struct sim_item *host_put(struct sim *s, struct host *h, uint64_t delay_ns, sim_fn *fn);
struct sim_item *kernel_put(struct sim *s, struct host *h, uint64_t delay_ns, sim_fn *fn);
/* Delivers it->ev. */
sim_fn host_deliver;
uint64_t host_local_ns(const struct host *h, uint64_t real_ns);
uint64_t host_real_ns(const struct host *h, uint64_t local_ns);
/* The completion of `a` as an event to be filled in. */
struct sim_item *completion(struct sim *s, struct host *h, const struct action *a,
			    enum ev_type type, uint64_t delay_ns);
uint32_t host_control(struct sim *s, struct host *h, struct event *ev);

/* net.c */
void net_send(struct sim *s, struct host *h, const struct action *a);
void net_replay(struct sim *s);
void net_memory_write(struct sim *s, struct host *h, const struct action *a);
void net_memory_ask(struct sim *s, struct host *h, const struct action *a);

/* device.c */
/* A paused node keeps what was read before it stopped. */
void device_keep_read(struct sim *s, struct sim_item *it);
void device_write(struct sim *s, struct host *h, const struct action *a);
void device_read(struct sim *s, struct host *h, const struct action *a);
void device_persist(struct sim *s, struct host *h, const struct action *a);
void device_keep(struct sim *s, struct host *h, const struct action *a);

/* unit.c */
void unit_reserve(struct sim *s, struct host *h, const struct action *a);
void unit_release(struct sim *s, struct host *h, const struct action *a);
void unit_look(struct sim *s, struct host *h, const struct action *a);
void unit_fence(struct sim *s, struct host *h, const struct action *a);
void unit_mount(struct sim *s, struct host *h, const struct action *a);
void unit_repair(struct sim *s, struct host *h, const struct action *a);
void unit_repair_stop(struct sim *s, struct host *h, const struct action *a);
/* Has a worker of the vs without the `closed` stores one on that unit? */
bool worker_uses(const struct sim *s, unsigned vs, unsigned unit, uint8_t closed);
void unit_unmount(struct sim *s, struct host *h, const struct action *a);
bool unit_path(const struct sim *s, unsigned unit, unsigned host);
bool unit_write(struct sim *s, unsigned unit, unsigned host, uint64_t generation, uint64_t epoch);
uint64_t shell_time(struct sim *s, uint64_t lo, uint64_t hi, unsigned unit);

/* worker.c */
void worker_start(struct sim *s, struct host *h, const struct action *a);
void worker_drain(struct sim *s, struct host *h, const struct action *a);
void worker_kill(struct sim *s, struct host *h, const struct action *a);
void worker_lease(struct sim *s, struct host *h, const struct action *a);
void worker_open(struct sim *s, struct host *h, const struct action *a);
void worker_dies(struct sim *s, struct worker *w);
struct worker *worker_find(struct sim *s, unsigned host, unsigned vs, uint64_t epoch);
bool worker_quiet(const struct sim *s, unsigned unit, int host); /* host -1: anywhere */
bool worker_answers(const struct sim *s, const struct worker *w);
void worker_fault(struct sim *s, const char *how);
void address_up(struct sim *s, struct host *h, const struct action *a);
void address_down(struct sim *s, struct host *h, const struct action *a);
void clients_start(struct sim *s);

/* fault.c */
void faults_start(struct sim *s, const char *only);
void faults_heal(struct sim *s);
bool faults_quiet(const struct sim *s);
void fault_mark_names(void (*each)(const char *name));

/* calm.c */
void calm_start(struct sim *s);
void calm_count(uint64_t seed, unsigned measured, const uint64_t *gap_ns);
void calm_report(void);

/* config.c: the model of its own for core/chosen.h; exit status */
int config_main(int argc, char **argv);

/* check.c */
_Noreturn void sim_fail(struct sim *s, const char *checker, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void say(struct sim *s, const struct host *h, const char *kind, const char *name, const char *fmt,
	 ...) __attribute__((format(printf, 5, 6)));
void check_world(struct sim *s);
void check_action(struct sim *s, struct host *h, const struct action *a);
void check_event(struct sim *s, struct host *h, const struct event *ev);
void check_step(struct sim *s, struct host *h);
void check_answer(struct sim *s, const struct worker *w);
void check_address(struct sim *s, const struct host *h, unsigned vs);
void check_epoch(struct sim *s, unsigned unit, uint64_t epoch);
void check_vote(struct sim *s, struct host *h, const struct action *a);
void check_status(struct sim *s, struct host *h, const uint8_t *data, size_t len);
const char *ev_name(enum ev_type t);
const char *act_name(enum act_type t);
void mark(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t mark_hits(const char *name);
void mark_add(const char *name, uint64_t hits);
void mark_dump(FILE *to);

#endif
