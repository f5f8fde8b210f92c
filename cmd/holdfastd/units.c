/* units.c - storage units: one helper process at a time for each, and the owner's poll.
 *
 * Actions for a unit are carried out in the order they came.  The lock's descriptor lives here: it
 * is opened before the helper is forked, so the lock that the helper takes is ours when it ends.
 * While a unit is ours its pair <S,R> is looked at every heartbeat (F2): for `dir` right here, for
 * `loop` by a small helper, since a cut path may hang; a look that has not come back by the next
 * one counts as failed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "ctl/spec.h"
#include "daemon.h"

struct unit_queue {
	struct unit_queue *next;
	struct action a;
	bool sign; /* no action of the brain's: S is signed anew (keys.c) */
};

/* What a helper is given; it sees the parent's memory as of the fork. */
struct unit_task {
	struct unit_job *job;
	const struct action *a;
	bool sign;
	struct unit_self self;
	char command[CONF_PATH_MAX * 2];
	/* repair */
	unsigned store_count;
	char store[CONF_STORES_MAX][CONF_PATH_MAX * 2];
	const char *user;
};

static void start_next(struct unit_job *j);

static struct unit_self self_of(const struct daemon *d)
{
	struct unit_self s = {.node = d->conf->node[d->self].id, .generation = d->node->generation};

	snprintf(s.node_name, sizeof(s.node_name), "%s", d->conf->node[d->self].name);
	memcpy(s.boot_id, d->boot_id, 16);
	return s;
}

/* ---- in the child ----------------------------------------------------------------------------- */

static void do_reserve(struct unit_task *t, struct unit_answer *out)
{
	static const enum unit_how how[] = {[RESERVE_FREE] = UNIT_FREE,
					    [RESERVE_KEEP] = UNIT_KEEP,
					    [RESERVE_VICTIM] = UNIT_VICTIM};
	struct unit_self self = t->self;
	struct unit_ask ask = {.how = how[t->a->reserve.mode],
			       .victim = t->a->reserve.victim,
			       .victim_epoch = t->a->reserve.victim_epoch,
			       .epoch_min = t->a->reserve.epoch_min,
			       .fenced = t->a->reserve.fenced,
			       .can_fence = t->job->d->conf->unit[t->job->index].fence_command[0] !=
					    '\0'};

	self.generation = t->a->reserve.generation;
	unit_acquire(&t->job->spec, &t->job->d->seal, &self, &ask, t->job->lock_fd, out);
}

static void set_error(struct unit_answer *out, int rc)
{
	out->outcome = rc ? UNIT_ERROR : UNIT_WON;
	out->err = rc;
}

/* The worker's program as the worker's user; fsck(8)'s statuses. */
static int repair_store(const struct unit_task *t, const char *dir, struct unit_answer *out)
{
	char program[PATH_TEXT_MAX * 2];
	const char *const argv[] = {program, "--repair", dir, "--user", t->user, NULL};
	int rc;

	snprintf(program, sizeof(program), "%s/holdfast-vs", t->job->d->libexec);
	rc = process_exec(argv);
	if (rc == 0 || rc == 1)
		return 0;
	snprintf(out->text, sizeof(out->text), "%.150s: the repair ended with status %d", dir, rc);
	return rc == 4 ? -EUCLEAN : -EIO;
}

static int repair_stores(const struct unit_task *t, struct unit_answer *out)
{
	int rc = 0;

	for (unsigned i = 0; i < t->store_count && rc == 0; i++)
		rc = repair_store(t, t->store[i], out);
	return rc;
}

/* Holds the worker's lock meanwhile (F5): who takes the unit waits until nothing writes to it. If the
 * stores cannot be mended on the file system as it is, that one is looked at first, unless other
 * stores on it are being served. */
static void do_repair(struct unit_task *t, struct unit_answer *out)
{
	const struct unit_spec *u = &t->job->spec;
	bool beside = t->a->repair.beside, own = u->backend != UNIT_DIR && !beside;
	int lock = unit_lock_repair(u, beside), rc = lock < 0 ? lock : 0;
	bool below = t->a->repair.below && own;

	if (rc)
		snprintf(out->text, sizeof(out->text), "%.150s: %s", u->lock, strerror(-rc));
	if (rc == 0 && !below) {
		rc = repair_stores(t, out);
		below = rc != 0 && own;
	}
	if (lock >= 0 && below) {
		rc = unit_fsck(u, t->command, out->text, sizeof(out->text));
		if (rc == 0)
			rc = repair_stores(t, out);
	}
	set_error(out, rc);
}

static void do_task(void *arg, void *answer)
{
	struct unit_task *t = arg;
	struct unit_answer *out = answer;
	struct unit_spec *u = &t->job->spec;
	int rc;

	u->key = owner_key(t->self.node, t->self.generation);
	if (t->sign) {
		unit_sign(u, &t->job->d->seal, &t->self, out);
		return;
	}
	switch (t->a->type) {
	case ACT_RESERVE:
		do_reserve(t, out);
		break;
	case ACT_RELEASE:
		unit_release(u, &t->job->d->seal, &t->self, out);
		break;
	case ACT_UNIT_READ:
		unit_read(u, &t->job->d->seal, out);
		break;
	case ACT_MOUNT:
		set_error(out, unit_mount(u, out->text, sizeof(out->text)));
		break;
	case ACT_UNMOUNT:
		set_error(out, unit_unmount(u, t->job->lost, out->text, sizeof(out->text)));
		break;
	case ACT_REPAIR:
		do_repair(t, out);
		break;
	case ACT_FENCE:
		rc = process_command(t->command);
		unit_say(out, rc ? UNIT_ERROR : UNIT_WON, rc ? (rc < 0 ? rc : -EREMOTEIO) : 0,
			 "%s: exit status %d", t->command, rc);
		break;
	case ACT_SEND:
	case ACT_SLOT_WRITE:
	case ACT_SLOT_READ:
	case ACT_PERSIST:
	case ACT_MEMORY_WRITE:
	case ACT_MEMORY_KEEP:
	case ACT_MEMORY_ASK:
	case ACT_REPAIR_STOP:
	case ACT_WORKER_START:
	case ACT_WORKER_DRAIN:
	case ACT_WORKER_KILL:
	case ACT_LEASE:
	case ACT_ADDRESS_UP:
	case ACT_ADDRESS_DOWN:
	case ACT_OPEN:
	case ACT_TICKLE:
	case ACT_REPLY:
	case ACT_LOG:
	case ACT_RESTART:
	case ACT_SELF_FENCE:
		break;
	}
}

/* ---- the poll --------------------------------------------------------------------------------- */

static void post_poll(struct unit_job *j, enum poll_result result)
{
	struct event ev = {.type = EV_UNIT_POLL, .unit = j->index, .epoch = j->epoch};

	ev.poll.result = result;
	ev.poll.started_ns = j->poll_begun_ns;
	/* What is unmounted after a bad look is shut down, not flushed: the log has it all. */
	j->lost = result != POLL_MINE;
	brain_post(j->d, &ev);
}

static void poll_work(void *arg, void *answer)
{
	struct unit_job *j = arg;

	unit_poll(&j->spec, &j->d->seal, answer);
}

static void on_poll(struct process *p, int err, const void *data, size_t len)
{
	struct unit_job *j = LIST_OWNER(p, struct unit_job, poll);
	struct unit_self self = self_of(j->d);
	const struct unit_answer *a = data;
	bool mine;

	if (!j->held)
		return;
	if (err || len != sizeof(*a) || a->outcome != UNIT_WON) {
		post_poll(j, POLL_ERROR);
		return;
	}
	mine = a->owner == self.node && a->owner_generation == self.generation &&
	       a->holder == self.node;
	/* While a new epoch is being written by a RESERVE of ours both are right. */
	if (mine && a->owner_epoch != j->epoch && !(j->now && j->now->a.type == ACT_RESERVE))
		mine = false;
	post_poll(j, mine ? POLL_MINE : POLL_LOST);
}

static void poll_dir(struct unit_job *j)
{
	struct unit_self self = self_of(j->d);
	int rc;

	if (j->now && j->now->a.type == ACT_RESERVE)
		return;
	j->poll_begun_ns = loop_clock_ns();
	rc = unit_dir_poll(&j->spec, &j->d->seal, &self, j->epoch, j->lock_fd);
	post_poll(j, rc == 0 ? POLL_MINE : rc == -ESTALE ? POLL_LOST : POLL_ERROR);
}

static void on_poll_timer(struct loop_timer *t)
{
	struct unit_job *j = LIST_OWNER(t, struct unit_job, poll_timer);
	const int none[] = {-1};

	if (!j->held)
		return;
	loop_timer_set(j->d->loop, t, loop_clock_ns() + j->d->times.poll_ns);
	if (j->spec.backend == UNIT_DIR) {
		poll_dir(j);
		return;
	}
	/* A look that takes longer than a heartbeat is slow, not bad: the lease ends by itself without a
	 * good one (poll_lease_ns), and the brain gives up when they stay away. */
	if (j->poll.running)
		return;
	j->poll_begun_ns = loop_clock_ns();
	j->poll.done = on_poll;
	if (process_run(j->d->loop, &j->poll, poll_work, j, sizeof(struct unit_answer), none,
			j->d->times.step_ns))
		post_poll(j, POLL_ERROR);
}

/* ---- completions ------------------------------------------------------------------------------ */

static void won(struct unit_job *j, const struct unit_answer *a)
{
	j->held = true;
	j->lost = false;
	j->epoch = a->epoch;
	loop_timer_set(j->d->loop, &j->poll_timer, loop_clock_ns() + j->d->times.poll_ns);
}

static void let_go(struct unit_job *j)
{
	j->held = false;
	loop_timer_clear(j->d->loop, &j->poll_timer);
	if (j->lock_fd >= 0)
		close(j->lock_fd);
	j->lock_fd = -1;
}

static void complete_reserve(struct unit_job *j, const struct action *a,
			     const struct unit_answer *out)
{
	static const enum reserve_result result[] = {[UNIT_WON] = RESERVE_WON,
						     [UNIT_LOST] = RESERVE_LOST,
						     [UNIT_HELD] = RESERVE_HELD,
						     [UNIT_ERROR] = RESERVE_ERROR};
	struct event ev = {.type = EV_RESERVED, .op = a->op, .epoch = out->epoch, .vs = a->vs,
			   .unit = j->index, .err = out->err};

	ev.unit_state.result = result[out->outcome];
	ev.unit_state.owner = out->owner;
	ev.unit_state.owner_epoch = out->owner_epoch;
	ev.unit_state.owner_generation = out->owner_generation;
	ev.unit_state.holder = out->holder;
	if (out->outcome == UNIT_WON)
		won(j, out);
	else if (a->reserve.mode != RESERVE_KEEP && !j->held)
		let_go(j);
	brain_post(j->d, &ev);
}

static void complete_read(struct unit_job *j, const struct action *a,
			  const struct unit_answer *out)
{
	struct event ev = {.type = EV_UNIT_READ, .op = a->op, .unit = j->index, .vs = a->vs,
			   .err = out->outcome == UNIT_WON ? 0 : out->err ? out->err : -EIO};

	ev.unit_state.owner = out->owner;
	ev.unit_state.owner_epoch = out->owner_epoch;
	ev.unit_state.owner_generation = out->owner_generation;
	ev.unit_state.holder = out->holder;
	brain_post(j->d, &ev);
}

static void complete_plain(struct unit_job *j, const struct action *a, enum ev_type type,
			   const struct unit_answer *out)
{
	int err = out->outcome == UNIT_WON ? 0 : out->err ? out->err : -EIO;
	struct event ev = {.type = type, .op = a->op, .epoch = a->epoch, .vs = a->vs,
			   .unit = j->index, .err = err};

	if (type == EV_RELEASED && err == 0)
		let_go(j);
	brain_post(j->d, &ev);
}

/* What the target cannot do is said when it is found out, not at every poll. */
static void note_labels(struct unit_job *j, unsigned labels)
{
	if (labels & ~j->labels)
		log_limited(LOG_L_WARN, "unit %s: %s", j->spec.name, unit_label_text(labels & ~j->labels));
	j->labels |= labels;
}

static const char *verb_name(enum act_type t)
{
	return t == ACT_RESERVE ? "reserve" : t == ACT_RELEASE ? "release" : t == ACT_MOUNT ?
	       "mount" : t == ACT_UNMOUNT ? "unmount" : t == ACT_FENCE ? "fence" :
	       t == ACT_REPAIR ? "repair" : "read";
}

static void complete(struct unit_job *j, const struct unit_queue *q, const struct unit_answer *out)
{
	const struct action *a = &q->a;
	const char *why = out->text[0] ? out->text : strerror(-out->err);

	note_labels(j, out->labels);
	if (q->sign) {
		keys_signed(j->d, j->index, out);
		return;
	}
	/* What stands in the way is the damage, which was said; the repair's own lines are in the log. */
	if (out->outcome == UNIT_LOST ||
	    (out->outcome != UNIT_WON && (a->type == ACT_UNIT_READ || a->type == ACT_REPAIR)))
		log_limited(LOG_L_WARN, "unit %s: %s: %s", j->spec.name, verb_name(a->type), why);
	else if (out->outcome != UNIT_WON)
		trouble_say(j->d, a->vs, "unit %s: %s: %s", j->spec.name, verb_name(a->type), why);
	if (a->type == ACT_RESERVE)
		complete_reserve(j, a, out);
	else if (a->type == ACT_UNIT_READ)
		complete_read(j, a, out);
	else
		complete_plain(j, a,
			       a->type == ACT_RELEASE ? EV_RELEASED :
			       a->type == ACT_MOUNT   ? EV_MOUNTED :
			       a->type == ACT_UNMOUNT ? EV_UNMOUNTED :
			       a->type == ACT_REPAIR  ? EV_REPAIRED :
							EV_FENCED,
			       out);
}

static void on_done(struct process *p, int err, const void *data, size_t len)
{
	struct unit_job *j = LIST_OWNER(p, struct unit_job, process);
	struct unit_answer out = {.outcome = UNIT_ERROR, .err = err};
	struct unit_queue *q = j->now;

	if (err == 0 && len == sizeof(out))
		memcpy(&out, data, sizeof(out));
	else if (err == 0)
		out.err = -EIO;
	if (out.outcome < UNIT_WON || out.outcome > UNIT_ERROR)
		out.outcome = UNIT_ERROR;
	j->now = NULL;
	complete(j, q, &out);
	free(q);
	start_next(j);
}

/* ---- starting --------------------------------------------------------------------------------- */

/* fence_command with %n for the victim's name, %u for the unit's. */
static int fence_text(char *out, size_t size, const struct daemon *d, const struct unit_job *j,
		      uint16_t node)
{
	const char *name = "", *p = d->conf->unit[j->index].fence_command;
	size_t n = 0;

	for (unsigned i = 0; i < d->conf->node_count; i++)
		if (d->conf->node[i].id == node)
			name = d->conf->node[i].name;
	for (; *p; p++) {
		char one[2] = {*p, '\0'};
		const char *add = one;

		if (p[0] == '%' && (p[1] == 'n' || p[1] == 'u'))
			add = *++p == 'n' ? name : j->spec.name;
		if (n + strlen(add) >= size)
			return -ENAMETOOLONG;
		memcpy(out + n, add, strlen(add));
		n += strlen(add);
	}
	out[n] = '\0';
	return n ? 0 : -ENOENT;
}

/* The damaged stores on this unit, and the file system's own repair command. */
static int repair_text(struct unit_task *t, const struct daemon *d, const struct unit_job *j,
		       const struct action *a)
{
	const struct conf_vserver *v = &d->conf->vserver[a->vs];

	t->user = v->user;
	snprintf(t->command, sizeof(t->command), "%s", d->conf->unit[j->index].repair_command);
	for (unsigned i = 0; i < v->store_count; i++) {
		if (v->store[i].unit != j->index || !(a->repair.stores >> i & 1))
			continue;
		if (conf_store_dir(t->store[t->store_count], sizeof(t->store[0]), d->conf,
				   &v->store[i], d->conf->node[d->self].name))
			return -ENAMETOOLONG;
		t->store_count++;
	}
	return 0;
}

void units_repair_stop(struct daemon *d, unsigned unit)
{
	struct unit_job *j = &d->unit[unit];

	if (j->now && j->now->a.type == ACT_REPAIR)
		process_kill(&j->process);
}

static int run(struct unit_job *j, struct unit_queue *q)
{
	struct unit_task t = {.job = j, .a = &q->a, .sign = q->sign, .self = self_of(j->d)};
	int keep[2] = {-1, -1};
	int rc = 0;

	if ((q->a.type == ACT_RESERVE || q->a.type == ACT_RELEASE) && j->lock_fd < 0) {
		j->lock_fd = unit_lock_open(&j->spec);
		if (j->lock_fd < 0)
			return j->lock_fd;
	}
	if (q->a.type == ACT_FENCE)
		rc = fence_text(t.command, sizeof(t.command), j->d, j, q->a.fence.node);
	else if (q->a.type == ACT_REPAIR)
		rc = repair_text(&t, j->d, j, &q->a);
	if (rc)
		return rc;
	keep[0] = j->lock_fd;
	j->process.done = on_done;
	return process_run(j->d->loop, &j->process, do_task, &t, sizeof(struct unit_answer), keep,
			   q->a.type == ACT_REPAIR ? 0 : j->d->times.step_ns);
}

/* A directory is neither mounted nor unmounted: no helper is needed to do nothing. */
static bool is_nothing(const struct unit_job *j, const struct unit_queue *q)
{
	return !q->sign && j->spec.backend == UNIT_DIR &&
	       (q->a.type == ACT_MOUNT || q->a.type == ACT_UNMOUNT);
}

static void start_next(struct unit_job *j)
{
	while (!j->now && j->queue) {
		struct unit_queue *q = j->queue;
		struct unit_answer out = {.outcome = UNIT_ERROR};

		j->queue = q->next;
		if (is_nothing(j, q)) {
			set_error(&out, 0);
			complete(j, q, &out);
			free(q);
			continue;
		}
		j->now = q;
		out.err = run(j, q);
		if (out.err == 0)
			return;
		unit_say(&out, UNIT_ERROR, out.err, "%s: %s", j->spec.lock, strerror(-out.err));
		j->now = NULL;
		complete(j, q, &out);
		free(q);
	}
}

static void enqueue(struct unit_job *j, const struct action *a, bool sign)
{
	struct unit_queue *q = mem_zalloc(1, sizeof(*q)), **end = &j->queue;

	q->a = *a;
	q->sign = sign;
	while (*end)
		end = &(*end)->next;
	*end = q;
	start_next(j);
}

void units_act(struct daemon *d, const struct action *a)
{
	enqueue(&d->unit[a->unit], a, false);
}

/* Behind whatever is under way there: two visits of one node must not overlap. */
void units_sign(struct daemon *d, unsigned unit)
{
	const struct action a = {.type = ACT_UNIT_READ, .unit = unit};

	enqueue(&d->unit[unit], &a, true);
}

/* 0, or the exit status of a node that cannot work with it. */
static int look_at(struct unit_spec *spec, const struct conf *c, unsigned unit, const char *node,
		   char *err, size_t err_size)
{
	struct stat st;

	if (spec_unit(spec, c, unit, node)) {
		snprintf(err, err_size, "unit %s: a path is too long", c->unit[unit].name);
		return EXIT_CONFIG;
	}
	if (spec->backend == UNIT_DIR && stat(spec->record, &st) < 0) {
		snprintf(err, err_size, "%s: %s; make the unit with: holdfast init", spec->record,
			 strerror(errno));
		return EXIT_CONFIG;
	}
	return 0;
}

int units_check(const struct conf *c, unsigned unit, const char *node, char *err, size_t err_size)
{
	struct unit_spec spec;

	return look_at(&spec, c, unit, node, err, err_size);
}

int units_add(struct daemon *d, unsigned unit, char *err, size_t err_size)
{
	struct unit_job *j = &d->unit[unit];

	hf_assert(!j->now && !j->queue && !j->held);
	memset(j, 0, sizeof(*j));
	j->d = d;
	j->index = unit;
	j->lock_fd = -1;
	j->poll_timer.fire = on_poll_timer;
	return look_at(&j->spec, d->conf, unit, d->conf->node[d->self].name, err, err_size);
}

int units_open(struct daemon *d, char *err, size_t err_size)
{
	int rc = 0;

	for (unsigned i = 0; i < d->conf->unit_count && rc == 0; i++)
		rc = units_add(d, i, err, err_size);
	return rc;
}
