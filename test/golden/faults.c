/* faults.c - random runs: some seconds of faults (safety), then everything is healed and service
 * must be back within a bound (liveness).
 *
 * The table below is what Holdfast promises to survive; each kind is a coverage mark and a range
 * of seeds fails when one was never drawn. */
#include "world.h"

#include <string.h>

#include "base/trace.h"

#define FAULT_PHASE (15 * 1000 * MS)
#define HEAL_BOUND  (20 * 1000 * MS)

static unsigned any_node(struct world *w)
{
	return (unsigned)sim_random(w, w->node_count);
}

static void f_crash(struct world *w)
{
	HF_MARK("fault.crash");
	sim_crash(w, any_node(w));
}

static void f_restart(struct world *w)
{
	HF_MARK("fault.restart");
	sim_start(w, any_node(w));
}

/* Persistent memory of an older time, or none: the slots must give the generation. */
static void f_old_memory(struct world *w)
{
	unsigned i = any_node(w);
	struct sim_node *s = &w->node[i];

	if (s->on)
		return;
	HF_MARK("fault.old_memory");
	if (sim_chance(w, 500)) {
		memcpy(s->persisted, s->persisted_old, SLOT_SIZE);
		s->has_persisted = s->has_persisted_old;
	} else {
		s->has_persisted = false;
	}
	sim_start(w, i);
}

static void f_pause(struct world *w)
{
	HF_MARK("fault.pause");
	sim_pause(w, any_node(w), false);
}

static void f_pause_daemon(struct world *w)
{
	HF_MARK("fault.pause_daemon");
	sim_pause(w, any_node(w), true);
}

static void f_resume(struct world *w)
{
	HF_MARK("fault.resume");
	sim_resume(w, any_node(w));
}

static void cut_node(struct world *w, unsigned path, unsigned i, bool out, bool in)
{
	for (unsigned k = 0; k < w->node_count; k++) {
		if (out)
			w->cut[path][i][k] = true;
		if (in)
			w->cut[path][k][i] = true;
	}
}

static void f_partition(struct world *w)
{
	unsigned i = any_node(w);

	HF_MARK("fault.partition");
	world_trace(w, i, "cut from all networks");
	for (unsigned p = 0; p < w->path_count; p++)
		cut_node(w, p, i, true, true);
	if (sim_chance(w, 500))
		sim_port(w, i, 0, 0);
}

static void f_one_way(struct world *w)
{
	unsigned i = any_node(w);
	bool out = sim_chance(w, 500);

	HF_MARK("fault.one_way");
	world_trace(w, i, "cut one way");
	for (unsigned p = 0; p < w->path_count; p++)
		cut_node(w, p, i, out, !out);
}

static void f_one_path(struct world *w)
{
	unsigned p = (unsigned)sim_random(w, w->path_count), i = any_node(w);

	HF_MARK("fault.one_path");
	world_trace(w, i, "cut from network %u", p);
	cut_node(w, p, i, true, true);
	if (p == 0)
		sim_port(w, i, 0, 0);
}

static void f_lossy(struct world *w)
{
	HF_MARK("fault.loss");
	w->loss_permille = (unsigned)sim_random(w, 500);
	w->dup_permille = (unsigned)sim_random(w, 300);
}

static void f_device_cut(struct world *w)
{
	unsigned i = any_node(w), d = (unsigned)sim_random(w, w->device_count);

	HF_MARK("fault.device_cut");
	world_trace(w, i, "cut from device %u", d);
	w->node[i].cut_device[d] = true;
}

static void f_device_dead(struct world *w)
{
	unsigned d = (unsigned)sim_random(w, w->device_count);

	HF_MARK("fault.device_dead");
	world_trace(w, 0, "device %u is gone", d);
	w->dead_device[d] = true;
}

static void f_storage_cut(struct world *w)
{
	unsigned i = any_node(w);

	HF_MARK("fault.storage_cut");
	world_trace(w, i, "cut from storage");
	w->node[i].cut_storage = true;
	if (sim_chance(w, 500))
		for (unsigned d = 0; d < w->device_count; d++)
			w->node[i].cut_device[d] = true;
}

static void f_slow_disk(struct world *w)
{
	HF_MARK("fault.slow_disk");
	w->node[any_node(w)].slow_ns = sim_random(w, 6 * SIM_BEAT);
}

static void f_worker_kill(struct world *w)
{
	HF_MARK("fault.worker_kill");
	sim_kill_worker(w, (unsigned)sim_random(w, w->vs_count));
}

static void f_bring_up(struct world *w)
{
	struct sim_node *s = &w->node[any_node(w)];

	HF_MARK("fault.bring_up");
	s->mount_fails = sim_chance(w, 500);
	s->worker_fails = !s->mount_fails;
}

static void f_command(struct world *w)
{
	static const enum control_verb verb[] = {CONTROL_VS_MOVE,  CONTROL_VS_MOVE,
						 CONTROL_TAKEOVER, CONTROL_GIVEBACK,
						 CONTROL_INHIBIT,  CONTROL_VS_START};
	enum control_verb v = verb[sim_random(w, 6)];
	unsigned at = any_node(w), to = any_node(w), vs = (unsigned)sim_random(w, w->vs_count);
	bool force = sim_chance(w, 300);

	HF_MARK("fault.command");
	world_trace(w, at, "command %d node=n%u vs=v%u force=%d", (int)v, to + 1, vs + 1, force);
	sim_control(w, at, v, to + 1, vs, force, sim_chance(w, 300));
}

static void f_shutdown(struct world *w)
{
	HF_MARK("fault.shutdown");
	sim_control(w, any_node(w), CONTROL_SHUTDOWN, 0, 0, false, false);
}

static void heal_network(struct world *w)
{
	memset(w->cut, 0, sizeof(w->cut));
	w->loss_permille = w->dup_permille = 0;
	for (unsigned i = 0; i < w->node_count; i++)
		sim_port(w, i, 0, 2);
}

static void heal_disks(struct world *w)
{
	memset(w->dead_device, 0, sizeof(w->dead_device));
	for (unsigned i = 0; i < w->node_count; i++) {
		memset(w->node[i].cut_device, 0, sizeof(w->node[i].cut_device));
		w->node[i].cut_storage = w->node[i].mount_fails = w->node[i].worker_fails = false;
		w->node[i].slow_ns = 0;
	}
}

static void f_heal(struct world *w)
{
	HF_MARK("fault.heal");
	if (sim_chance(w, 500))
		heal_network(w);
	else
		heal_disks(w);
}

static void (*const fault[])(struct world *) = {
    f_crash,      f_restart,     f_restart,     f_old_memory, f_pause,       f_pause_daemon,
    f_resume,     f_resume,      f_partition,   f_one_way,    f_one_path,    f_lossy,
    f_device_cut, f_device_dead, f_storage_cut, f_slow_disk,  f_worker_kill, f_bring_up,
    f_command,    f_command,     f_command,     f_shutdown,   f_heal,        f_heal,
};

static bool fault_phase(struct world *w)
{
	unsigned kinds = sizeof(fault) / sizeof(fault[0]);
	uint64_t until = w->now_ns + FAULT_PHASE;

	while (w->now_ns < until) {
		if (!world_run(w, w->now_ns + (100 + sim_random(w, 1500)) * MS))
			return false;
		fault[sim_random(w, kinds)](w);
	}
	return true;
}

static void heal_all(struct world *w)
{
	world_trace(w, 0, "everything is healed");
	w->chaos = false;
	heal_network(w);
	heal_disks(w);
	for (unsigned i = 0; i < w->node_count; i++) {
		sim_resume(w, i);
		if (w->node[i].on && w->node[i].brain->leaving)
			sim_crash(w, i);
		sim_start(w, i);
	}
	for (unsigned i = 0; i < w->node_count; i++)
		for (unsigned scope = 0; scope < 3; scope++)
			sim_control(w, i, CONTROL_INHIBIT, 0, scope, false, false);
}

static bool all_served(const struct world *w)
{
	for (unsigned v = 0; v < w->vs_count; v++)
		if (sim_server(w, v) < 0)
			return false;
	return true;
}

static void not_served(struct world *w)
{
	for (unsigned v = 0; v < w->vs_count; v++)
		if (sim_server(w, v) < 0)
			snprintf(w->failure, sizeof(w->failure),
				 "v%u is not served %llu ms after everything was healed", v + 1,
				 (unsigned long long)(HEAL_BOUND / MS));
	for (unsigned i = 0; w->verbose && i < w->node_count; i++)
		for (unsigned v = 0; v < w->vs_count; v++) {
			const struct node_vs *x = &w->node[i].brain->vs[v];

			world_trace(
			    w, i,
			    "v%u %s target=n%u owner=n%u failed=%d gave_up=%d S=n%u/%llu known=%d",
			    v + 1, vs_state_name(x->state), x->target,
			    node_vs_owner(w->node[i].brain, v), x->failed, x->gave_up,
			    w->node[i].brain->unit[v].owner,
			    (unsigned long long)w->node[i].brain->unit[v].owner_epoch,
			    w->node[i].brain->unit[v].known);
		}
}

/* A shutdown that was still on its way. */
static void restart_leaving(struct world *w)
{
	for (unsigned i = 0; i < w->node_count; i++)
		if (w->node[i].on && w->node[i].brain->leaving) {
			sim_crash(w, i);
			sim_start(w, i);
		}
}

static bool heal_phase(struct world *w)
{
	uint64_t until;

	heal_all(w);
	until = w->now_ns + HEAL_BOUND;
	if (!world_run(w, w->now_ns + 1000 * MS))
		return false;
	for (unsigned i = 0; i < w->node_count; i++)
		for (unsigned v = 0; v < w->vs_count; v++)
			sim_control(w, i, CONTROL_VS_START, 0, v, false, false);
	restart_leaving(w);
	for (unsigned in_a_row = 0; in_a_row < 10 && !w->failure[0];) {
		if (!world_run(w, w->now_ns + 50 * MS))
			return false;
		in_a_row = all_served(w) ? in_a_row + 1 : 0;
		if (!in_a_row && w->now_ns > until)
			not_served(w);
	}
	return !w->failure[0];
}

int faults_run(uint64_t seed, bool verbose, uint32_t *hash)
{
	static struct world w;
	unsigned nodes = seed % 3 == 0 ? 3 + (unsigned)(seed / 3 % 3) : 2;
	bool good;

	world_init(&w, seed, nodes, 1 + (unsigned)(seed % 3), 1 + (unsigned)(seed / 7 % 4));
	w.verbose = verbose;
	w.chaos = seed % 2;
	for (unsigned i = 0; i < nodes; i++)
		w.node[i].ppm = (int64_t)sim_random(&w, 20000) - 10000;
	for (unsigned v = 0; v < w.vs_count; v++)
		if (seed % 5 == 4) {
			w.unit[v].local = true;
			for (unsigned i = 0; i < nodes; i++)
				w.node[i].conf.unit[v].fence_command = true;
		}
	if (seed % 4 == 3)
		for (unsigned i = 0; i < nodes; i++)
			for (unsigned v = 0; v < w.vs_count; v++)
				w.node[i].conf.vs[v].giveback_auto = true;
	for (unsigned i = 0; i < nodes; i++) {
		sim_start(&w, i);
		world_run(&w, w.now_ns + sim_random(&w, 500 * MS));
	}
	good = world_run(&w, w.now_ns + 3000 * MS) && fault_phase(&w) && heal_phase(&w);
	if (!good)
		fprintf(w.out, "seed %llu: FAILED at %llu ms: %s\n", (unsigned long long)seed,
			(unsigned long long)(w.now_ns / MS), w.failure);
	*hash = w.trace_hash;
	world_free(&w);
	return good ? 0 : 1;
}
