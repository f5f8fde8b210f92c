/* unit.c - storage units: the pair <S,R>, and what the shell's helpers do with it.
 *
 * loop: a reservation WE-RO with one key per node (nexus); only registered nodes write, S too.  A
 *	helper gives one command at a time and decides from what it reads back (F2); between two
 *	commands anything may happen, and a paused node's helper goes on where it stopped.
 * dir: a lock with an owner's and a worker's byte, on one machine; whoever holds it may write. */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

#define TURNS_MAX      64
#define STRANGER_NS    (2 * SECOND)
#define WAIT_OWN_NS    (5 * SECOND)
#define WAIT_VICTIM_NS (300 * MS)
#define WAIT_FENCED_NS (15 * SECOND)

enum stage { READ_S, LOCK, LOOK, TURN, WRITE_S, READ_BACK };

struct job {
	enum stage stage;
	enum reserve_mode mode;
	uint16_t victim;
	bool fenced, verify;
	uint64_t victim_epoch, generation, epoch_min;
	uint64_t begun_ns, lock_ns, stranger_ns;
	unsigned turns;
	uint64_t s_epoch; /* of S as read */
	uint64_t epoch;   /* written */
	struct event ev;
};

bool unit_path(const struct sim *s, unsigned unit, unsigned host)
{
	return s->unit[unit].dir || !s->unit[unit].cut[host];
}

uint64_t shell_time(struct sim *s, uint64_t lo, uint64_t hi, unsigned unit)
{
	uint64_t ns = between(s, lo, hi);

	if (unit < s->unit_count && s->unit[unit].slow)
		ns += below(s, s->unit[unit].slow * MS);
	if (unit < s->unit_count && s->unit[unit].hang)
		ns += between(s, 5, 40) * 2 * s->conf.times.slot_write_ns;
	if (chance(s, s->op_hang)) {
		mark("sim.op_hangs");
		ns += between(s, SECOND, 6 * SECOND);
	}
	return ns;
}

/* ---- writes --------------------------------------------------------------------------------- */

/* A write reaches the unit.  False: refused (EBADE, EIO).  One that is let through must be the
 * owner's.
 * covers: F2 F3 F5 */
bool unit_write(struct sim *s, unsigned unit, unsigned host, uint64_t generation, uint64_t epoch)
{
	struct unit *u = &s->unit[unit];

#ifdef HF_MUTANT_STORAGE_WITHOUT_FENCE
	if (!u->dir && u->cut[host]) {
#else
	if (!u->dir && (u->cut[host] || u->key[host] == 0)) {
#endif
		s->writes_refused++;
		return false;
	}
	if (u->owner != host + 1 || u->generation != generation || u->epoch != epoch)
		sim_fail(s, "one-writer",
			 "n%u wrote unit %u as generation %llu epoch %llu; S names n%u generation "
			 "%llu epoch %llu",
			 host + 1, unit, (unsigned long long)generation, (unsigned long long)epoch,
			 u->owner, (unsigned long long)u->generation, (unsigned long long)u->epoch);
	s->writes_ok++;
	return true;
}

static void set_s(struct sim *s, unsigned unit, uint16_t owner, uint64_t generation, uint64_t epoch)
{
	struct unit *u = &s->unit[unit];

	check_epoch(s, unit, epoch);
	u->owner = owner;
	u->generation = generation;
	u->epoch = epoch;
	say(s, NULL, "un", "S", "unit=u%u owner=n%u generation=%llu epoch=%llu", unit, owner,
	    (unsigned long long)generation, (unsigned long long)epoch);
}

/* ---- the helper of ACT_RESERVE -------------------------------------------------------------- */

static void begin_poll(struct sim *s, struct host *h, unsigned unit, uint64_t epoch);

static void finish(struct sim *s, struct sim_item *it, enum reserve_result result, int err)
{
	struct job *j = it->data;
	struct host *h = &s->host[it->host];
	const struct unit *u = &s->unit[it->x];
	struct sim_item *to = host_put(s, h, between(s, 20 * US, 200 * US), host_deliver);

	to->ev = j->ev;
	to->ev.err = err;
	to->ev.unit_state.result = result;
	to->ev.unit_state.owner = u->owner;
	to->ev.unit_state.owner_epoch = u->epoch;
	to->ev.unit_state.owner_generation = u->generation;
	to->ev.epoch = result == RESERVE_WON ? j->epoch : 0;
	mark("sim.reserve_%s", result == RESERVE_WON    ? "won"
			       : result == RESERVE_LOST ? "lost"
			       : result == RESERVE_HELD ? "held"
							: "error");
	if (result == RESERVE_WON)
		begin_poll(s, h, it->x, j->epoch);
}

/* Not won: nothing of mine stays registered, if it can be reached. */
static void give_up(struct sim *s, struct sim_item *it, enum reserve_result result, int err)
{
	struct job *j = it->data;
	struct unit *u = &s->unit[it->x];
	struct host *h = &s->host[it->host];

	if (j->mode != RESERVE_KEEP) {
		if (!u->dir && unit_path(s, it->x, it->host)) {
			u->key[it->host] = 0;
			if (u->holder == it->host + 1)
				u->holder = 0;
		}
		if (u->dir && u->lock_host == it->host + 1 && u->lock_process == h->process)
			u->lock_host = 0;
	}
	finish(s, it, result, err);
}

static bool allowed(const struct unit *u, const struct host *h, const struct job *j)
{
	switch (j->mode) {
	case RESERVE_KEEP:
		return u->owner == h->at + 1 && u->generation == j->generation &&
		       u->epoch <= j->victim_epoch;
	case RESERVE_VICTIM:
		if (u->owner == j->victim && u->epoch <= j->victim_epoch)
			return true;
		__attribute__((fallthrough));
	case RESERVE_FREE:
		return u->owner == 0 || u->owner == h->at + 1;
	}
	return false;
}

static bool lock_taken(const struct sim *s, unsigned unit, const struct host *h)
{
	const struct unit *u = &s->unit[unit];
	const struct host *o;

	if (!u->dir)
		return !worker_quiet(s, unit, (int)h->at);
	if (!worker_quiet(s, unit, -1))
		return true;
	if (u->lock_host == 0)
		return false;
	o = &s->host[u->lock_host - 1];
	return o != h && o->up && o->process == u->lock_process;
}

static uint64_t patience(const struct unit *u, const struct host *h, const struct job *j)
{
	if (j->mode == RESERVE_VICTIM && u->owner == j->victim && j->fenced)
		return WAIT_FENCED_NS;
	return u->owner == h->at + 1 ? WAIT_OWN_NS : WAIT_VICTIM_NS;
}

/* True when the lock is had. */
static bool stage_lock(struct sim *s, struct sim_item *it)
{
	struct job *j = it->data;
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];

	if (!lock_taken(s, it->x, h)) {
		if (u->dir) {
			u->lock_host = h->at + 1;
			u->lock_process = h->process;
		}
		return true;
	}
	if (!j->lock_ns)
		j->lock_ns = s->now_ns + patience(u, h, j);
	if (s->now_ns < j->lock_ns) {
		queue_again(s, it, 5 * MS);
		return false;
	}
	if (u->dir && j->mode == RESERVE_VICTIM && u->owner == j->victim && !j->fenced)
		give_up(s, it, RESERVE_HELD, 0);
	else
		give_up(s, it, RESERVE_ERROR, -EBUSY);
	return false;
}

/* One command of taking R, or 1 when it is mine alone. */
static int command(struct sim *s, struct unit *u, const struct host *h, const struct job *j)
{
	unsigned me = h->at;

	if (u->attention[me]) { /* 29h, 2Ah: it was not carried out; the state tells (F2) */
		u->attention[me] = false;
		mark("sim.unit_attention");
		return 0;
	}
	/* A command whose answer says failure may have been done or not: the state tells. */
	if (chance(s, s->step_fail) && chance(s, 500)) {
		mark("sim.command_lost");
		return 0;
	}
	if (u->key[me] != j->generation) {
		u->key[me] = j->generation; /* REGISTER */
		return 0;
	}
	if (u->holder == 0) {
		u->holder = me + 1; /* RESERVE */
		return 0;
	}
	if (u->holder != me + 1) {
		mark("sim.preempt");
		say(s, h, "un", "preempt", "unit=u%u victim=n%u", (unsigned)(u - s->unit),
		    u->holder);
		if (u->holder <= SIM_NODES)
			u->attention[u->holder - 1] = true;
		u->key[u->holder - 1] = 0; /* PREEMPT AND ABORT */
		u->holder = me + 1;
		return 0;
	}
	for (unsigned i = 0; i <= SIM_FOREIGN; i++)
		if (i != me && u->key[i]) {
			mark(i == SIM_FOREIGN ? "sim.preempt_foreign" : "sim.preempt_bystander");
			u->key[i] = 0;
			return 0;
		}
	return 1;
}

static bool stranger(const struct unit *u, const struct host *h)
{
	return u->holder && u->holder != u->owner && u->holder != h->at + 1;
}

static void next(struct sim *s, struct sim_item *it, enum stage to)
{
	((struct job *)it->data)->stage = to;
	queue_again(s, it, shell_time(s, 100 * US, MS, it->x));
}

/* Reads keys, holder and S, and decides what to do next. */
static void look(struct sim *s, struct sim_item *it)
{
	struct job *j = it->data;
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];

	if (!allowed(u, h, j)) {
		give_up(s, it, RESERVE_LOST, 0);
		return;
	}
	j->s_epoch = u->epoch;
	if (u->dir) {
		next(s, it, WRITE_S);
		return;
	}
	if (j->mode == RESERVE_KEEP) {
		if (u->holder == it->host + 1 && u->key[it->host] == j->generation) {
			next(s, it, WRITE_S);
			return;
		}
		give_up(s, it, RESERVE_LOST, 0);
		return;
	}
	if (stranger(u, h) && s->now_ns < j->begun_ns + STRANGER_NS) {
		queue_again(s, it, 20 * MS);
		return;
	}
	j->verify = u->holder == it->host + 1 && u->key[it->host] == j->generation;
	for (unsigned i = 0; i <= SIM_FOREIGN; i++)
		if (i != it->host && u->key[i])
			j->verify = false;
	if (j->verify) {
		next(s, it, WRITE_S);
		return;
	}
	if (++j->turns > TURNS_MAX) {
		give_up(s, it, RESERVE_ERROR, -EAGAIN);
		return;
	}
	next(s, it, TURN);
}

static void write_s(struct sim *s, struct sim_item *it)
{
	struct job *j = it->data;
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];
	uint64_t base = j->s_epoch > j->epoch_min ? j->s_epoch : j->epoch_min;

	if (!u->dir && u->key[it->host] != j->generation) { /* EBADE */
		give_up(s, it, RESERVE_LOST, -EBADE);
		return;
	}
#ifdef HF_MUTANT_EPOCH_NOT_RAISED
	j->epoch = base + (base == 0);
#else
	j->epoch = base + 1;
#endif
	set_s(s, it->x, (uint16_t)(h->at + 1), j->generation, j->epoch);
	next(s, it, READ_BACK);
}

static void read_back(struct sim *s, struct sim_item *it)
{
	struct job *j = it->data;
	struct unit *u = &s->unit[it->x];
	bool mine = u->owner == it->host + 1 && u->epoch == j->epoch &&
		    u->generation == j->generation &&
		    (u->dir || (u->holder == it->host + 1 && u->key[it->host] == j->generation));

	if (mine)
		finish(s, it, RESERVE_WON, 0);
	else
		give_up(s, it, RESERVE_LOST, -EBADE);
}

/* An item that no stage queued again is over; the loop frees it with its job. */
static void stage(struct sim *s, struct sim_item *it)
{
	struct job *j = it->data;
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];

	if (!unit_path(s, it->x, it->host)) {
		give_up(s, it, RESERVE_ERROR, -EIO);
		return;
	}
	if (s->now_ns > j->begun_ns + s->conf.times.step_ns) {
		give_up(s, it, RESERVE_ERROR, -ETIMEDOUT);
		return;
	}
	switch (j->stage) {
	case READ_S:
		if (!allowed(u, h, j)) {
			give_up(s, it, RESERVE_LOST, 0);
		} else {
			next(s, it, LOCK);
		}
		return;
	case LOCK:
		if (!stage_lock(s, it))
			return;
		/* F1: what an earlier instance left mounted goes before a key could revive it. */
		if (j->mode != RESERVE_KEEP && h->unit[it->x].mounted) {
			mark("sim.leftover_mount");
			h->unit[it->x].mounted = false;
		}
		next(s, it, LOOK);
		return;
	case LOOK:
		look(s, it);
		return;
	case TURN:
		command(s, u, h, j);
		next(s, it, LOOK);
		return;
	case WRITE_S:
		write_s(s, it);
		return;
	case READ_BACK:
		read_back(s, it);
		return;
	}
}

void unit_reserve(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it = host_put(s, h, shell_time(s, 500 * US, 2 * MS, a->unit), stage);
	struct job *j = mem_zalloc(1, sizeof(*j));

	it->x = a->unit;
	it->data = j;
	j->mode = a->reserve.mode;
	j->victim = a->reserve.victim;
	j->victim_epoch = a->reserve.victim_epoch;
	j->fenced = a->reserve.fenced;
	j->generation = a->reserve.generation;
	j->epoch_min = a->reserve.epoch_min;
	j->begun_ns = s->now_ns;
	j->ev.type = EV_RESERVED;
	j->ev.op = a->op;
	j->ev.vs = a->vs;
	j->ev.unit = a->unit;
}

/* ---- polls ---------------------------------------------------------------------------------- */

static bool poll_mine(const struct sim *s, unsigned unit, const struct host *h, uint64_t epoch)
{
	const struct unit *u = &s->unit[unit];

	if (u->owner != h->at + 1 || u->epoch != epoch)
		return false;
	return u->dir || (u->holder == h->at + 1 && u->key[h->at] == u->generation);
}

static void poll_asked(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct sim_item *to;

	if (h->kernel != it->instance)
		return;
	to = queue_put(s, between(s, 20 * US, 200 * US), host_deliver);
	to->bound = BOUND_PROCESS;
	to->host = it->host;
	to->instance = it->a;
	to->ev = it->ev;
	to->ev.poll.result = !unit_path(s, it->x, it->host)         ? POLL_ERROR
			     : poll_mine(s, it->x, h, it->ev.epoch) ? POLL_MINE
								    : POLL_LOST;
}

static void poll(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct sim_item *ask;
	uint64_t ns;

	if (h->unit[it->x].poll_token != it->a)
		return;
	ns = shell_time(s, 200 * US, MS, it->x);
	ask = queue_put(s, ns, poll_asked);
	ask->host = it->host;
	ask->instance = h->kernel;
	ask->a = h->process;
	ask->x = it->x;
	ask->ev.type = EV_UNIT_POLL;
	ask->ev.unit = it->x;
	ask->ev.epoch = it->b;
	ask->ev.poll.started_ns = host_local_ns(h, s->now_ns);
	/* One at a time: the next when this one is answered. */
	queue_again(s, it, ns > s->conf.times.poll_ns ? ns : s->conf.times.poll_ns);
}

static void begin_poll(struct sim *s, struct host *h, unsigned unit, uint64_t epoch)
{
	struct sim_item *it = host_put(s, h, s->conf.times.poll_ns, poll);

	it->x = unit;
	it->a = ++h->unit[unit].poll_token;
	it->b = epoch;
}

/* ---- RELEASE, UNIT_READ, FENCE -------------------------------------------------------------- */

static void unregister(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];

	if (!unit_path(s, it->x, it->host)) {
		it->ev.err = -EIO;
	} else if (!u->dir) {
		u->key[h->at] = 0;
		if (u->holder == h->at + 1)
			u->holder = 0;
	} else if (u->lock_host == h->at + 1) {
		u->lock_host = 0;
	}
	if (it->ev.err == 0)
		h->unit[it->x].poll_token++;
	mark(it->ev.err ? "sim.release_failed" : "sim.released");
	host_deliver(s, it);
}

static void let_go(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct unit *u = &s->unit[it->x];
	uint64_t generation = h->node.generation;

	if (!unit_path(s, it->x, it->host))
		it->ev.err = -EIO;
	else if (h->unit[it->x].mounted || !worker_quiet(s, it->x, (int)h->at))
		it->ev.err = -EBUSY;
	else if (chance(s, s->step_fail))
		it->ev.err = -EIO;
	else if (poll_mine(s, it->x, h, u->epoch) && u->generation == generation)
		set_s(s, it->x, 0, 0, u->epoch + 1);
	else if (u->owner == h->at + 1 && u->generation == generation)
		it->ev.err = -EBADE; /* S goes on naming me, and that I cannot change */
	it->fn = it->ev.err ? host_deliver : unregister;
	queue_again(s, it, shell_time(s, 200 * US, 2 * MS, it->x));
}

void unit_release(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it =
	    completion(s, h, a, EV_RELEASED, shell_time(s, 200 * US, 2 * MS, a->unit));

	it->fn = let_go;
	it->x = a->unit;
}

static void looked(struct sim *s, struct sim_item *it)
{
	const struct unit *u = &s->unit[it->ev.unit];

	it->ev.err = unit_path(s, it->ev.unit, it->host) && !chance(s, s->step_fail) ? 0 : -EIO;
	if (it->ev.err == 0) {
		it->ev.unit_state.owner = u->owner;
		it->ev.unit_state.owner_epoch = u->epoch;
		it->ev.unit_state.owner_generation = u->generation;
		it->ev.unit_state.holder = (uint16_t)u->holder;
	}
	it->fn = host_deliver;
	queue_again(s, it, between(s, 50 * US, 500 * US));
}

void unit_look(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_UNIT_READ, shell_time(s, 200 * US, 2 * MS, a->unit))->fn = looked;
}

static void fenced(struct sim *s, struct sim_item *it)
{
	struct host *victim = &s->host[it->y];

	if (chance(s, 100 + s->step_fail)) {
		it->ev.err = -EIO;
		mark("sim.fence_fails");
	} else if (victim->powered) {
		mark("sim.fenced");
		host_power_off(s, victim, "fenced");
		host_restart_later(s, victim, between(s, 2 * SECOND, 10 * SECOND));
	}
	host_deliver(s, it);
}

void unit_fence(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it =
	    completion(s, h, a, EV_FENCED, shell_time(s, 50 * MS, 500 * MS, a->unit));

	if (!s->conf.unit[a->unit].fence_command)
		sim_fail(s, "interface", "n%u fences for unit %u, which has no command", h->at + 1,
			 a->unit);
	it->y = a->fence.node - 1U;
	it->fn = fenced;
}

/* ---- mounts --------------------------------------------------------------------------------- */

static void mounted(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	const struct unit *u = &s->unit[it->ev.unit];

	if (!unit_path(s, it->ev.unit, it->host))
		it->ev.err = -EIO;
	else if (!u->dir && u->key[it->host] == 0)
		it->ev.err = -EBADE; /* the journal cannot be replayed */
	else if (chance(s, s->step_fail))
		it->ev.err = -EUCLEAN;
	else
		h->unit[it->ev.unit].mounted = true;
	mark(it->ev.err ? "sim.mount_fails" : "sim.mounted");
	host_deliver(s, it);
}

void unit_mount(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_MOUNTED, shell_time(s, 4 * MS, 40 * MS, a->unit))->fn = mounted;
}

/* What the checkers do takes its time, and ends well if the unit can be reached and written. */
static void repaired(struct sim *s, struct sim_item *it)
{
	const struct unit *u = &s->unit[it->ev.unit];
	struct host *h = &s->host[it->host];

	if (h->unit[it->ev.unit].repair.op != it->ev.op)
		return; /* it was stopped, or its process is gone */
	h->unit[it->ev.unit].repair.op = 0;
	if (it->ev.err)
		mark("sim.repair_stopped");
	else if (!unit_path(s, it->ev.unit, it->host))
		it->ev.err = -EIO;
	else if (!u->dir && u->key[it->host] == 0)
		it->ev.err = -EBADE;
	else if (chance(s, s->step_fail))
		it->ev.err = -EUCLEAN;
	else
		h->unit[it->ev.unit].mounted = true;
	mark(it->ev.err ? "sim.repair_fails" : "sim.repaired");
	host_deliver(s, it);
}

void unit_repair(struct sim *s, struct host *h, const struct action *a)
{
	if (a->repair.beside)
		mark("sim.repair_beside");
	if (a->repair.below)
		h->unit[a->unit].mounted = false;
	h->unit[a->unit].repair = *a;
	completion(s, h, a, EV_REPAIRED, shell_time(s, 50 * MS, 3 * SECOND, a->unit))->fn = repaired;
}

/* The helper is killed; that it is gone comes a moment later. */
void unit_repair_stop(struct sim *s, struct host *h, const struct action *a)
{
	const struct action *r = &h->unit[a->unit].repair;
	struct sim_item *it;

	mark("sim.repair_stop");
	if (!r->op)
		return;
	it = completion(s, h, r, EV_REPAIRED, shell_time(s, 100 * US, 5 * MS, a->unit));
	it->ev.err = -ETIMEDOUT;
	it->fn = repaired;
}

static void unmounted(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	if (!worker_quiet(s, it->ev.unit, (int)h->at) || chance(s, s->step_fail))
		it->ev.err = -EBUSY;
	else
		h->unit[it->ev.unit].mounted = false;
	mark(it->ev.err ? "sim.unmount_fails" : "sim.unmounted");
	host_deliver(s, it);
}

void unit_unmount(struct sim *s, struct host *h, const struct action *a)
{
	completion(s, h, a, EV_UNMOUNTED, shell_time(s, 2 * MS, 30 * MS, a->unit))->fn = unmounted;
}
