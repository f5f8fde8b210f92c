/* history.c - see history.h.  What is done is chosen here; what must come of it says the model.
 *
 * After each crash the state must be the model's after the last record that survived, every
 * acknowledged operation must be among the survivors, repeated requests get their first answers,
 * those that did not survive are carried out as if new, the write verifier differs, and record
 * times go on upwards. */
#include "history.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "base/trace.h"
#include "fakeloop.h"

#define OPS_MAX    300U
#define BEFORE_MAX 1200U
#define NAMES      9U
#define CLIENTS    3U
#define LIVES_MAX  5U
#define COUNT(c)   __atomic_add_fetch(&(c), 1, __ATOMIC_RELAXED)

const char *const phase_name[PHASES] = {"service", "checkpoint", "open", "close"};
const char *const history_marks[] = {
    "store.checkpoint", "store.synced_skip",     "store.leftover_cut",   "store.inode_evicted",
    "store.log_full",   "store.defer_on_demand", "store.defer_done",     "store.index_full",
    "store.no_space",   "store.log_rot",         "store.open_half_full", "store.failure_forgotten",
    "store.write_held",  "store.gathered"};
const unsigned history_mark_count = sizeof(history_marks) / sizeof(history_marks[0]);

struct counts *counts;

enum end { END_POWER, END_KILL, END_FATAL, END_FINISHED };

static struct history h;
static jmp_buf ended;
static enum end how;

/* What will happen to this life. */
static struct plan {
	bool crash, power, at_place;
	enum place place, fault_place;
	uint64_t crash_in;
	enum fault fault;
	uint64_t fault_in;
	bool rot;
} plan;

/* This life. */
static unsigned life;
static bool alive, opening, closing, comparing, faulted, rotted, child;
static uint64_t boundary, digest;
static struct loop *loop;
static struct store *s;
static struct store_conf conf;
static uint64_t epoch, verifier;
static unsigned opens_crashed;
static struct op ops[OPS_MAX];
static unsigned op_count, acked;
static struct op trying; /* an unstable write may be in the object before its record exists */
static bool is_trying;
static struct model model, base_model; /* now; and as this life found it */
static struct op before[BEFORE_MAX];   /* of earlier lives, survived */
static unsigned before_count;
static struct op again[OPS_MAX]; /* did not survive, and the client sends them again */
static unsigned again_count;
static uint32_t next_xid;
static int64_t last_time;
static unsigned commits_open;
static unsigned idle;            /* rounds, for one that never ends */
static bool storm, cramped;      /* large writes; little room */
static bool rooting;             /* killed in writing the root page, then a power loss */
static bool stubborn, unlinking; /* crash after crash while opening; about unlinked objects */

/* ---- saying -----------------------------------------------------------------------------------
 */

static void tell(const char *what)
{
	dprintf(OUR_STDERR, "seed %llu life %u boundary %llu ops %u acked %u: %s\n",
		(unsigned long long)h.seed, life, (unsigned long long)boundary, op_count, acked,
		what);
}

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Everything that happens goes into the digest: two runs of a seed must agree. */
static void note(const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (const char *p = line; *p; p++)
		digest = (digest ^ (uint8_t)*p) * 0x100000001b3ULL;
	if (h.trace)
		printf("%s\n", line);
}

static void real_exit(int status)
{
	fflush(stdout);
	syscall(SYS_exit_group, status);
	abort();
}

_Noreturn static void wrong(const char *what)
{
	alive = false;
	tell(what);
	if (h.keep[0]) {
		mkdir(h.keep, 0700);
		disk_save(h.keep);
	}
	real_exit(1);
	abort();
}

static void op_show(const struct op *op, const char *what, int err)
{
	note("op %s type %d/%d ino %llu dir %llu %s to %llu %s off %llu len %zu size %llu stable "
	     "%d xid "
	     "%u lsn %llu wait %llu: %d",
	     what, op->type, op->asked, (unsigned long long)op->ino, (unsigned long long)op->dir,
	     op->name, (unsigned long long)op->dir2, op->name2, (unsigned long long)op->off,
	     op->len, (unsigned long long)op->attr.size, op->stable, op->xid,
	     (unsigned long long)op->lsn, (unsigned long long)op->wait_lsn, err);
}

/* ---- boundaries and faults ----------------------------------------------------------------------
 */

static enum phase phase_now(void)
{
	if (fake_in_helper())
		return closing ? IN_CLOSE : IN_CHECKPOINT;
	return opening ? IN_OPEN : closing ? IN_CLOSE : IN_SERVICE;
}

_Noreturn static void end_life(enum end e)
{
	alive = false;
	how = e;
	longjmp(ended, 1);
}

/* The code under test ends the process only after an error that was injected. */
_Noreturn void _exit(int status)
{
	if (alive && status == STORE_EXIT_FATAL) {
		if (!faulted)
			wrong("the store ended its process though nothing failed");
		COUNT(counts->fatals);
		note("fatal");
		end_life(END_FATAL);
	}
	real_exit(status);
	abort();
}

static bool crash_due(enum place where)
{
	if (stubborn && opening && plan.crash && where == AT_META_LANDED)
		return below(2) == 0;
	if (!plan.crash || (plan.at_place && plan.place != where))
		return false;
	return --plan.crash_in == 0;
}

static void fork_here(enum place where, bool power);

void disk_at_boundary(enum place where)
{
	if (!alive)
		return;
	boundary++;
	note("at %s %s", place_name[where], phase_name[phase_now()]);
	if (h.every && life == 0 && !child && !opening) {
		fork_here(where, true);
		fork_here(where, false);
	}
	if (crash_due(where)) {
		COUNT(counts->crash[phase_now()][where]);
		end_life(plan.power ? END_POWER : END_KILL);
	}
	fake_give_way();
}

unsigned faults_of(enum place where)
{
	static const unsigned eio = 1U << FAULT_EIO, full = 1U << FAULT_ENOSPC,
			      part = 1U << FAULT_SHORT;

	switch (where) {
	case AT_LOG_WRITE:
	case AT_INDEX_WRITE:
	case AT_META_WRITE:
	case AT_OBJECT_WRITE:
		return eio | full | part;
	case AT_OBJECT_MAKE:
	case AT_OBJECT_RESERVE:
		return eio | full;
	case AT_INDEX_SYNC:
	case AT_OBJECT_CUT:
	case AT_OBJECT_SYNC:
	case AT_FOLDER_SYNC:
	case AT_ALL_SYNC:
	case AT_OBJECT_UNLINK:
	case AT_LOG_READ:
	case AT_OBJECT_READ:
		return eio;
	case AT_BETWEEN:
	case AT_LOG_LANDED:
	case AT_INDEX_SYNCED:
	case AT_META_LANDED:
	case AT_OBJECT_SYNCED:
	case AT_FOLDER_SYNCED:
	case AT_ALL_SYNCED:
	case PLACES:
		return 0;
	}
	return 0;
}

static enum fault fault_forked(enum place where);

enum fault disk_fault(enum place where)
{
	enum fault f = plan.fault;

	if (!alive || comparing)
		return FAULT_NONE;
	if (h.every && life == 0 && !child && !opening) {
		f = fault_forked(where);
		if (f == FAULT_NONE)
			return f;
	} else if (f == FAULT_NONE || plan.fault_place != where || --plan.fault_in != 0) {
		return FAULT_NONE;
	}
	faulted = true;
	plan.fault = FAULT_NONE;
	COUNT(counts->fault[where][f]);
	note("fault %s at %s", fault_name[f], place_name[where]);
	return f;
}

/* ---- every boundary
 * ------------------------------------------------------------------------------ */

static uint64_t forks;

/* True in the child. */
static bool fork_child(void)
{
	uint64_t number = ++forks;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		child = true;
		dice_seed(h.seed * 1000003 + number);
		return true;
	}
	COUNT(counts->histories);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		COUNT(counts->failed);
		dprintf(OUR_STDERR, "seed %llu fork %llu: status 0x%x\n",
			(unsigned long long)h.seed, (unsigned long long)number, (unsigned)status);
	}
	return false;
}

static void fork_here(enum place where, bool power)
{
	if (!fork_child())
		return;
	plan = (struct plan){
	    .crash = true, .power = power, .at_place = true, .place = where, .crash_in = 1};
}

static enum fault fault_forked(enum place where)
{
	for (unsigned f = 1; f < FAULTS; f++)
		if ((faults_of(where) & 1U << f) && fork_child())
			return (enum fault)f;
	return FAULT_NONE;
}

/* ---- rounds
 * -------------------------------------------------------------------------------------- */

static void ack(void)
{
	uint64_t durable = store_durable_lsn(s);

	/* Unstable writes wait for nothing: they may be undone. */
	for (unsigned i = acked; i < op_count; i++) {
		if (ops[i].known)
			acked = i + 1;
		if (ops[i].wait_lsn > durable)
			break;
		if (ops[i].wait_lsn)
			acked = i + 1;
	}
}

static void on_durable(void *arg, uint64_t lsn)
{
	(void)arg, (void)lsn;
	ack();
}

static void on_damage(void *arg, const char *reason)
{
	(void)arg;
	if (!faulted)
		wrong(reason);
	note("damage");
	end_life(END_FATAL);
}

/* The storage's owner may have to hold its writes (F4). */
static bool may_write(void *arg)
{
	(void)arg;
	return below(20) != 0;
}

static void round_once(void)
{
	loop_once(loop, 0);
	if (++idle > 400000)
		wrong("nothing moves any more");
}

static void wait_for(uint64_t lsn)
{
	for (unsigned i = 0; store_durable_lsn(s) < lsn; i++) {
		if (i > 5000)
			wrong("an lsn does not become durable");
		round_once();
	}
}

/* ---- operations
 * ----------------------------------------------------------------------------------- */

static struct store_caller caller(const struct op *op)
{
	struct store_caller c = {
	    .xid = op->xid, .prog = 100003, .vers = 3, .proc = op->asked, .sum = op->xid * 977ULL};

	c.client[0] = (uint8_t)(op->xid % CLIENTS);
	return c;
}

static int call(struct op *op, uint64_t *wait)
{
	char target[16];
	struct store_new n = {.type = op->kind,
			      .target = target,
			      .major = op->major,
			      .minor = op->minor,
			      .verifier = op->verifier,
			      .attr = op->attr};
	static uint8_t data[STORE_WRITE_MAX];
	uint8_t client[16] = {op->client};

	switch (op->type) {
	case OP_CREATE:
		model_target(op, target);
		n.target_len = strlen(target);
		return store_create(s, op->dir, op->name, strlen(op->name), &n, &op->ino);
	case OP_LINK:
		return store_link(s, op->ino, op->dir, op->name, strlen(op->name));
	case OP_REMOVE:
		return store_remove(s, op->dir, op->name, strlen(op->name));
	case OP_RMDIR:
		return store_rmdir(s, op->dir, op->name, strlen(op->name));
	case OP_RENAME:
		return store_rename(s, op->dir, op->name, strlen(op->name), op->dir2, op->name2,
				    strlen(op->name2));
	case OP_WRITE:
		for (size_t i = 0; i < op->len; i++)
			data[i] = op_byte(op, i);
		return store_write(s, op->ino, op->off, data, op->len, op->stable, wait);
	case OP_SETATTR:
		return store_setattr(s, op->ino, &op->attr, wait);
	case OP_FORGET:
		store_dup_forget(s, client);
		return 0;
	case OP_TOUCH:
	case OP_COMMIT:
	case OP_FAILED:
	case OP_TYPES:
		break;
	}
	abort();
}

static void ops_add(const struct op *op)
{
	ops[op_count++] = *op;
	COUNT(counts->ops[op->type]);
}

static bool same_now(uint64_t ino, char *why, size_t size)
{
	const struct node *n = ino ? model_node(&model, ino) : NULL;

	return !n || model_node_same(n, s, true, why, size);
}

/* The record's time is on what it changed; greater than any before (S10). */
static void op_time(struct op *op)
{
	bool on_dir = op->type != OP_WRITE && op->type != OP_SETATTR;
	const struct store_inode *p = store_inode(s, on_dir ? op->dir : op->ino);
	const struct entry *e, *e2;

	if (op->type == OP_FORGET || op->type == OP_FAILED)
		return;
	if (op->type == OP_RENAME) {
		e = model_entry(&model, op->dir, op->name);
		e2 = model_entry(&model, op->dir2, op->name2);
		if (e2 && e->ino == e2->ino)
			return;
	}
	if (!p)
		wrong("what was changed is gone");
	op->time_ns = p->ctime_ns;
	if (op->time_ns <= last_time)
		wrong("time went back");
	last_time = op->time_ns;
}

static void op_done(struct op *op)
{
	char why[160];

	op->lsn = store_last_lsn(s);
	op_time(op);
	model_apply(&model, op);
	ops_add(op);
	if (op->type == OP_CREATE)
		COUNT(counts->kinds[op->kind]);
	if (op->type == OP_FAILED || op->type == OP_FORGET)
		return;
	if (!same_now(op->dir, why, sizeof(why)) || !same_now(op->dir2, why, sizeof(why)) ||
	    !same_now(op->ino, why, sizeof(why)))
		wrong(why);
}

static bool may_fail(int err)
{
	if (faulted && (err == -EIO || err == -ENOSPC))
		return true;
	return cramped && err == -ENOSPC;
}

/* Refused: as the model says, or for want of room, or because of an injected error. */
static void op_refused(struct op *op, int err, int want)
{
	uint64_t lsn = store_last_lsn(s);
	char line[96];

	if (err != want && !may_fail(err)) {
		snprintf(line, sizeof(line), "operation %d answered %d, should be %d", op->type,
			 err, want);
		wrong(line);
	}
	COUNT(counts->refused);
	if (err == -ENOSPC)
		COUNT(counts->full);
	op->type = OP_FAILED;
	/* An unstable write may have been written in part; its range is anything then. */
	op->stable = op->stable || op->asked != OP_WRITE || err == want;
	if (below(2) && op->stable) {
		store_op_cancel(s);
		return;
	}
	op->wait_lsn = store_op_end(s, &op->xid, sizeof(op->xid));
	if (store_last_lsn(s) == lsn) /* not even that had room: nothing is remembered */
		op->forgotten = true;
	op_done(op);
}

/* True when it was carried out or refused; false when it makes no sense any more. */
static bool op_try(struct op *op, int *err, int *want)
{
	struct store_caller c = caller(op);
	uint64_t wait;

	for (;;) {
		while (store_op_begin(s, &c, &wait))
			wait_for(wait);
		*want = model_expect(&model, op);
		trying = *op;
		is_trying = op->type == OP_WRITE && !op->stable;
		*err = call(op, &wait);
		if (*err != STORE_WAIT)
			return true;
		is_trying = false;
		store_op_cancel(s);
		wait_for(wait);
		if (op->ino && op->type != OP_CREATE && !model_node(&model, op->ino))
			return false;
		if ((op->dir && !model_node(&model, op->dir)) ||
		    (op->dir2 && !model_node(&model, op->dir2)))
			return false;
	}
}

/* What the acknowledgement waits for; 0: it says nothing that lasts, an unstable write may be undone.
 * Its reply waits for the change before it all the same, whose result it shows. */
static uint64_t op_end(struct op *op)
{
	bool undone = op->type == OP_WRITE && !op->stable;
	const struct node *n = undone ? model_node(&model, op->ino) : NULL;
	uint64_t wait = store_op_end(s, &op->xid, sizeof(op->xid));

	if (n && op->len && wait < n->lsn)
		wrong("the reply to an unstable write would show what is not durable");
	return undone ? 0 : wait;
}

static void op_run(struct op *op)
{
	uint64_t lsn;
	int err, want;

	op->asked = op->type;
	if (!op_try(op, &err, &want))
		return;
	lsn = store_last_lsn(s);
	op_show(op, "run", err);
	if (err) {
		op_refused(op, err, want);
	} else if (want) {
		wrong("an operation was carried out that should be refused");
	} else {
		op->wait_lsn = op_end(op);
		op->known = op->wait_lsn == 0 && (op->type != OP_WRITE || (op->stable && op->len));
		if (op->type == OP_WRITE && op->len == 0) {
			op->type = OP_FAILED;
			op->stable = true;
			op->forgotten = store_last_lsn(s) == lsn;
		}
		op_done(op);
	}
	is_trying = false;
	ack();
}

/* ---- COMMIT
 * ------------------------------------------------------------------------------------------ */

static void on_commit(void *arg, int err, uint64_t lsn)
{
	struct op *op = arg;

	if (err)
		wrong("a COMMIT failed");
	commits_open--;
	if (op_count < OPS_MAX - 8 && model_node(&model, op->ino)) {
		/* One that had nothing to make durable waits for an earlier lsn. */
		op->lsn = op->wait_lsn = lsn;
		if (op_count && op->lsn < ops[op_count - 1].lsn)
			op->lsn = op->wait_lsn = ops[op_count - 1].lsn;
		model_apply(&model, op);
		ops_add(op);
		op_show(op, "committed", 0);
		ack();
	}
	free(op);
}

static void commit_start(uint64_t ino)
{
	struct op *op = calloc(1, sizeof(*op));
	uint64_t wait;
	int err;

	op->type = op->asked = OP_COMMIT;
	op->ino = ino;
	op->began = next_xid;
	while ((err = store_commit(s, ino, on_commit, op, &wait)) == STORE_WAIT) {
		wait_for(wait);
		if (!model_node(&model, ino))
			break;
		op->began = next_xid;
	}
	if (err && err != STORE_WAIT && !may_fail(err))
		wrong("a COMMIT was refused");
	if (err)
		free(op);
	else
		commits_open++;
}

/* ---- what to do next
 * ---------------------------------------------------------------------------------- */

static uint64_t pick(enum store_type type)
{
	for (unsigned i = 0; i < 30; i++) {
		const struct node *n = &model.node[below(model.nodes)];

		if (type == 0 || n->type == type)
			return n->ino;
	}
	return type == STORE_DIR ? STORE_ROOT_INO : 0;
}

/* A file that was made or written a moment ago is more interesting than others. */
static uint64_t pick_file(void)
{
	for (unsigned i = op_count; i > 0 && i + 6 > op_count && below(2); i--) {
		const struct node *n = ops[i - 1].ino ? model_node(&model, ops[i - 1].ino) : NULL;

		if (n && n->type == STORE_REG)
			return n->ino;
	}
	return pick(STORE_REG);
}

static void name_pick(char name[16])
{
	snprintf(name, 16, "n%u", (unsigned)below(NAMES));
}

static void write_pick(struct op *op)
{
	op->type = OP_WRITE;
	op->ino = pick_file();
	op->stable = below(3) != 0;
	op->off = below(3) ? below(12000) : 512 * below(24);
	op->len = below(40) ? 1 + below(5000) : 0;
	op->stable |= stubborn;
	if (stubborn || below(storm ? 2 : 16) == 0) {
		op->off = below(2) ? 0 : 4096 * below(20);
		op->len = 10000 + below(storm ? 70000 : 30000);
	}
}

static void attr_pick(struct op *op)
{
	struct store_attr *a = &op->attr;

	op->type = OP_SETATTR;
	op->ino = below(3) ? pick_file() : pick(0);
	if (below(3) == 0)
		*a = (struct store_attr){.set_mode = true, .mode = (uint32_t)below(010000)};
	if (below(4) == 0) {
		a->set_uid = a->set_gid = true;
		a->uid = (uint32_t)below(70000);
		a->gid = (uint32_t)below(70000);
	}
	if (below(4) == 0) {
		a->set_atime = (enum store_set_time)below(3);
		a->set_mtime = (enum store_set_time)below(3);
		a->atime_ns = (int64_t)below(1ULL << 60);
		a->mtime_ns = (int64_t)below(1ULL << 60);
	}
	if (op->ino && model_node(&model, op->ino)->type == STORE_REG && below(3)) {
		a->set_size = true;
		a->size =
		    below(3) ? below(14000) : 512 * below(40); /* both ways, and past the end */
	}
}

static void create_pick(struct op *op)
{
	static const enum store_type kinds[] = {STORE_REG, STORE_REG,  STORE_REG, STORE_REG,
						STORE_DIR, STORE_DIR,  STORE_LNK, STORE_FIFO,
						STORE_CHR, STORE_SOCK, STORE_BLK};

	op->type = OP_CREATE;
	op->kind = kinds[below(sizeof(kinds) / sizeof(kinds[0]))];
	op->attr = (struct store_attr){.set_mode = true,
				       .set_uid = true,
				       .set_gid = true,
				       .mode = (uint32_t)below(010000),
				       .uid = (uint32_t)below(9),
				       .gid = (uint32_t)below(9)};
	if (op->kind == STORE_CHR || op->kind == STORE_BLK) {
		op->major = (uint32_t)below(1 << 12);
		op->minor = (uint32_t)below(1 << 20);
	}
	if (op->kind == STORE_REG && below(3) == 0)
		op->verifier = 1 + dice() / 2;
	if (op->kind == STORE_REG && below(8) == 0) {
		op->attr.set_size = true;
		op->attr.size = below(9000);
	}
}

static void op_pick(struct op *op)
{
	unsigned roll = (unsigned)below(20);

	memset(op, 0, sizeof(*op));
	op->xid = op->fill = next_xid++;
	op->dir = op->dir2 = pick(STORE_DIR);
	if (below(2))
		op->dir2 = pick(STORE_DIR);
	name_pick(op->name);
	name_pick(op->name2);
	if (roll < 4) {
		create_pick(op);
	} else if (roll < 5) {
		op->type = OP_LINK;
		op->ino = pick_file();
	} else if (roll < 7) {
		op->type = OP_REMOVE;
	} else if (roll < 8) {
		op->type = OP_RMDIR;
	} else if (roll < 10) {
		op->type = OP_RENAME;
	} else if (roll < 12) {
		attr_pick(op);
	} else if (roll < 14) {
		op->type = OP_COMMIT;
		op->ino = pick_file();
	} else {
		write_pick(op);
		if (below(60) == 0) {
			op->type = OP_FORGET;
			op->ino = 0;
			op->client = (uint8_t)below(CLIENTS);
		}
	}
	if (op->type != OP_RENAME)
		op->dir2 = 0;
	if (op->type == OP_WRITE || op->type == OP_SETATTR || op->type == OP_FORGET)
		op->dir = 0;
}

static bool needs_ino(const struct op *op)
{
	return op->type == OP_WRITE || op->type == OP_SETATTR || op->type == OP_COMMIT ||
	       op->type == OP_LINK;
}

static void compare(void)
{
	char why[160];

	comparing = true;
	if (!model_same(&model, s, round_once, why, sizeof(why)))
		wrong(why);
	comparing = false;
}

/* An access time: a record of its own that nobody waits for. */
static void touch(void)
{
	struct op op = {.type = OP_TOUCH, .asked = OP_TOUCH, .ino = pick(0)};
	uint64_t lsn = store_last_lsn(s);

	store_touch(s, op.ino);
	op.lsn = store_last_lsn(s);
	if (op.lsn == lsn)
		return;
	op_show(&op, "touch", 0);
	model_apply(&model, &op);
	ops_add(&op);
}

/* A read that may meet an error of the disk; what is read is compared elsewhere. */
static void look(void)
{
	static uint8_t buf[20000];
	uint64_t ino = pick_file(), wait;
	size_t got;
	bool eof;
	int err;

	while (ino &&
	       (err = store_read(s, ino, below(9000), sizeof(buf), buf, &got, &eof, &wait))) {
		if (err != STORE_WAIT && !(faulted && err == -EIO))
			wrong("a read fails");
		if (err != STORE_WAIT)
			return;
		wait_for(wait);
		if (!model_node(&model, ino))
			return;
	}
}

static void connection(void)
{
	struct store_conn c = {.remote_port = (uint16_t)below(3), .local_port = 2049};

	if (below(2))
		store_conn_add(s, &c);
	else
		store_conn_del(s, &c);
}

static void one_step(void)
{
	struct op op;

	op_pick(&op);
	if (op.type == OP_COMMIT && op.ino && commits_open < 4)
		commit_start(op.ino);
	else if (op.type != OP_COMMIT && (op.ino || !needs_ino(&op)))
		op_run(&op);
	if (below(24) == 0)
		store_checkpoint(s);
	if (below(24) == 0)
		touch();
	if (below(30) == 0)
		connection();
	if (below(12) == 0)
		look();
	if (below(30) == 0)
		fake_clock_jump((int64_t)below(2000000000) - 1000000000);
	if (below(60) == 0 && !faulted)
		compare();
	for (unsigned k = (unsigned)below(4); k > 0; k--)
		round_once();
	disk_at_boundary(AT_BETWEEN);
}

/* ---- after a crash
 * -------------------------------------------------------------------------------------- */

static bool has_reply(const struct op *op)
{
	return op->asked != OP_COMMIT && op->asked != OP_TOUCH && !op->forgotten;
}

static bool forgets(const struct op *f, const struct op *op)
{
	return f->type == OP_FORGET && f->client == op->xid % CLIENTS;
}

/* Every operation that survived is known to the duplicate cache, with its answer; no other is. */
static void compare_reply(const struct op *op, bool known)
{
	struct store_caller c = caller(op);
	const void *reply;
	uint64_t wait;
	size_t len;
	enum store_dup d;

	if (!has_reply(op))
		return;
	d = store_dup_find(s, &c, &reply, &len, &wait);
	if (known &&
	    (d != STORE_DUP_DONE || len != sizeof(op->xid) || memcmp(reply, &op->xid, len) != 0))
		op_show(op, "repeated", (int)d);
	if (known &&
	    (d != STORE_DUP_DONE || len != sizeof(op->xid) || memcmp(reply, &op->xid, len) != 0))
		wrong("a repeated request does not get its first answer");
	if (!known && d != STORE_DUP_NEW)
		wrong("a request that did not survive is answered from the cache");
	if (known)
		COUNT(counts->repeated);
}

static void compare_replies(unsigned survived)
{
	uint64_t void_at[CLIENTS] = {0}; /* the last FORGET's lsn; of those before this life 1 */

	for (unsigned i = 0; i < survived; i++)
		if (ops[i].type == OP_FORGET)
			void_at[ops[i].client] = ops[i].lsn;
	for (unsigned i = 0; i < before_count; i++)
		compare_reply(&before[i], void_at[before[i].xid % CLIENTS] == 0);
	for (unsigned i = 0; i < op_count; i++)
		compare_reply(&ops[i], i < survived && ops[i].lsn >= void_at[ops[i].xid % CLIENTS]);
}

/* The model as of the last record that survived. */
static void model_rebuild(unsigned survived)
{
	model_fini(&model);
	model_copy(&model, &base_model);
	for (unsigned i = 0; i < survived; i++)
		model_apply(&model, &ops[i]);
	for (unsigned i = survived; i < op_count; i++) {
		if (ops[i].asked == OP_WRITE && !ops[i].stable)
			model_may_have(&model, &ops[i]);
		if (ops[i].type == OP_TOUCH) /* nothing tells whether it survived */
			model_apply(&model, &ops[i]);
	}
	if (is_trying)
		model_may_have(&model, &trying);
}

static bool is_known(const struct op *op)
{
	struct store_caller c = caller(op);
	const void *reply;
	uint64_t wait;
	size_t len;

	return has_reply(op) && store_dup_find(s, &c, &reply, &len, &wait) == STORE_DUP_DONE;
}

/* How many operations survived.  After a crash while opening, the lsn behind the survivors may be
 * an earlier open's epoch record: the duplicate cache tells. */
static unsigned survivors(void)
{
	uint64_t last = store_last_lsn(s);
	unsigned n = 0;

	while (n < op_count && ops[n].lsn < last)
		n++;
	while (opens_crashed && n > acked && !is_known(&ops[n - 1]))
		n--;
	return n;
}

static void survivors_keep(unsigned survived)
{
	again_count = 0;
	for (unsigned i = 0; i < survived; i++) {
		if (ops[i].type == OP_FORGET) {
			unsigned n = 0;

			for (unsigned k = 0; k < before_count; k++)
				if (!forgets(&ops[i], &before[k]))
					before[n++] = before[k];
			before_count = n;
		}
		if (before_count < BEFORE_MAX && has_reply(&ops[i]))
			before[before_count++] = ops[i];
		if (ops[i].time_ns > last_time)
			last_time = ops[i].time_ns;
	}
	for (unsigned i = survived; i < op_count; i++)
		if (ops[i].type != OP_FORGET && has_reply(&ops[i]))
			again[again_count++] = ops[i];
}

static void recovered(void)
{
	struct store_info info;
	unsigned survived = survivors();

	store_info(s, &info);
	opens_crashed = 0;
	note("recovered lsn %llu: %u of %u, %u acknowledged", (unsigned long long)info.last_lsn,
	     survived, op_count, acked);
	if (survived < acked)
		wrong("an acknowledged operation is lost");
	counts->last_reply += survived > acked; /* durable, and the reply never sent */
	if (!info.was_clean && info.write_verifier == verifier)
		wrong("the write verifier is the same after a crash");
	last_time = 0;
	for (unsigned i = 0; i < before_count; i++)
		if (before[i].time_ns > last_time)
			last_time = before[i].time_ns;
	model_rebuild(survived);
	compare();
	compare_replies(survived);
	verifier = info.write_verifier;
	model_after_crash(&model);
	survivors_keep(survived);
	op_count = acked = 0;
	model_fini(&base_model);
	model_copy(&base_model, &model);
	commits_open = 0;
	opening = is_trying = false;
}

static bool still_makes_sense(const struct op *op)
{
	if ((op->dir && !model_node(&model, op->dir)) ||
	    (op->dir2 && !model_node(&model, op->dir2)))
		return false;
	return op->type == OP_CREATE || !op->ino || model_node(&model, op->ino);
}

/* The clients send what was not answered once more. */
static void send_again(void)
{
	for (unsigned i = 0; i < again_count && op_count < OPS_MAX - 16; i++) {
		struct op op = again[i];

		op.type = op.asked;
		op.known = op.forgotten = false;
		if (op.type == OP_CREATE)
			op.ino = 0;
		op.time_ns = 0;
		if (!still_makes_sense(&op))
			continue;
		COUNT(counts->resent);
		op.stable = op.stable || op.type != OP_WRITE;
		op_run(&op);
	}
	again_count = 0;
}

/* ---- a life
 * -----------------------------------------------------------------------------------------------
 */

static void plan_fault(void)
{
	static const enum place where[] = {
	    AT_LOG_WRITE,    AT_INDEX_WRITE,   AT_INDEX_SYNC,     AT_META_WRITE,  AT_OBJECT_MAKE,
	    AT_OBJECT_WRITE, AT_OBJECT_CUT,    AT_OBJECT_RESERVE, AT_OBJECT_SYNC, AT_FOLDER_SYNC,
	    AT_ALL_SYNC,     AT_OBJECT_UNLINK, AT_LOG_READ,       AT_OBJECT_READ};

	if (below(3))
		return;
	plan.fault_place = where[below(sizeof(where) / sizeof(where[0]))];
	do
		plan.fault = (enum fault)(1 + below(FAULTS - 1));
	while (!(faults_of(plan.fault_place) & 1U << plan.fault));
	plan.fault_in = 1 + below(1ULL << below(5));
}

static void plan_life(void)
{
	memset(&plan, 0, sizeof(plan));
	if (h.every)
		return;
	plan.power = below(4) != 0;
	plan.rot = below(24) == 0;
	plan.crash = life == 0 || (life < LIVES_MAX && below(3) != 0);
	if (life == 0) {
		plan.at_place = below(2);
		plan.place = (enum place)below(AT_OBJECT_UNLINK + 1);
		plan.crash_in =
		    plan.at_place ? 1 + below(1ULL << below(4)) : 1 + below(1ULL << (2 + below(8)));
	} else {
		plan.at_place = below(3) == 0;
		plan.place = (enum place)below(AT_OBJECT_UNLINK + 1);
		plan.crash_in = 1 + below(plan.at_place ? 2 : below(2) ? 8 : 60);
	}
	plan_fault();
	if (stubborn && life < 40)
		plan = (struct plan){.crash = true,
				     .power = below(2),
				     .at_place = life > 0,
				     .place = below(16) ? AT_LOG_LANDED : AT_META_LANDED,
				     .crash_in = life ? 1 : 60 + below(90)};
	if (rooting && life < 2)
		plan = (struct plan){.crash = true,
				     .power = life == 1,
				     .at_place = life == 0,
				     .place = AT_META_WRITE,
				     .crash_in = life ? 10 + below(50) : 1};
	if (unlinking && life < 4)
		plan = (struct plan){.crash = true,
				     .power = below(2),
				     .at_place = true,
				     .place = life ? AT_OBJECT_UNLINK : AT_META_LANDED,
				     .crash_in = 1 + below(2)};
}

static void open_store(void)
{
	struct store_open_args a = {.dir = DISK_ROOT,
				    .loop = loop,
				    .epoch = ++epoch,
				    .conf = conf,
				    .on_durable = on_durable,
				    .on_damage = on_damage,
				    .may_write = may_write};
	char err[256];
	int code = store_open(&s, &a, err, sizeof(err));

	note("open %d", code);
	if (code == 0)
		return;
	COUNT(counts->opens_failed);
	if (code == -EUCLEAN && rotted)
		end_life(END_FINISHED); /* S5: it says so, and serves nothing */
	if (!faulted)
		wrong(err);
	end_life(END_KILL);
}

static void life_begin(void)
{
	loop_new(&loop, 0);
	conf.cache_inodes = below(2) ? 4 : 1000;
	fake_helper_pace(stubborn ? 100 : storm ? 12 : below(3) ? 1 : 6);
	s = NULL;
	faulted = closing = comparing = false;
	opening = alive = true;
	COUNT(counts->lives);
	open_store();
	if (life > 0) {
		recovered();
		send_again();
	} else {
		struct store_info info;

		store_info(s, &info);
		verifier = info.write_verifier;
		opening = false;
	}
}

static bool closed;

static void on_closed(void *arg, int err)
{
	(void)arg;
	closed = err == 0;
}

/* An orderly end: everything is on disk, whatever happens then; nothing unstable is lost. */
static void life_close(void)
{
	closing = true;
	while (commits_open)
		round_once();
	closed = false;
	store_close(s, on_closed, NULL);
	while (!closed)
		round_once();
	alive = false;
	store_free(s);
	loop_free(loop);
	COUNT(counts->closes);
}

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

static void on_finding(void *arg, const char *line)
{
	(void)arg;
	wrong(line);
}

/* The offline check, on a copy in a real directory. */
static void check_offline(void)
{
	char dir[80];

	snprintf(dir, sizeof(dir), "%.60s/c%d", h.work, (int)getpid());
	mkdir(dir, 0700);
	if (!disk_save(dir) || store_check(dir, on_finding, NULL) != 0)
		wrong("the check fails");
	nftw(dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	COUNT(counts->checks);
}

/* After an orderly end the store opens as if it had never been away. */
static void closed_compare(void)
{
	struct store_info info;

	disk_power_loss();
	acked = op_count;
	model_settle(&model);
	if (below(60) == 0)
		check_offline();
	loop_new(&loop, 0);
	memset(&plan, 0, sizeof(plan));
	life++;
	alive = opening = true;
	closing = faulted = false;
	open_store();
	opening = false;
	store_info(s, &info);
	if (!info.was_clean || info.write_verifier != verifier)
		wrong("a planned restart does not look like one");
	compare();
	compare_replies(op_count);
	alive = false;
}

static void one_life(void)
{
	unsigned steps;

	life_begin();
	steps = life == 0 ? 8 + (unsigned)below(stubborn ? 90 : 40) : 2 + (unsigned)below(14);
	for (unsigned i = 0; i < steps && op_count < OPS_MAX - 16; i++)
		one_step();
	if (life < LIVES_MAX && below(3) == 0) {
		COUNT(counts->crash[IN_SERVICE][AT_BETWEEN]);
		end_life(plan.power ? END_POWER : END_KILL);
	}
	life_close();
	closed_compare();
}

/* What the crash leaves of the disk. */
static void aftermath(void)
{
	bool power = how == END_POWER || (how == END_FATAL && below(2));

	note("end %d%s", how, power ? " and power" : "");
	if (power)
		COUNT(counts->powers);
	else
		COUNT(counts->kills);
	fake_forget_helper();
	counts->double_crashes += opening && life > 0;
	opens_crashed += opening && life > 0;
	if (power)
		disk_power_loss();
	else
		disk_process_gone();
	if (power && plan.rot && !opening) {
		rotted = disk_rot();
		counts->rots += rotted;
	}
	if (!rotted && below(100) == 0)
		check_offline();
	life++;
}

static void marks_collect(void)
{
	static uint64_t before_this[MARKS_MAX]; /* they go on counting */

	for (unsigned i = 0; i < history_mark_count; i++) {
		uint64_t now = trace_mark_count(history_marks[i]);

		__atomic_add_fetch(&counts->mark[i], now - before_this[i], __ATOMIC_RELAXED);
		before_this[i] = now;
	}
	__atomic_add_fetch(&counts->boundaries, boundary, __ATOMIC_RELAXED);
	__atomic_add_fetch(&counts->digest, digest * (h.seed * 2 + 1), __ATOMIC_RELAXED);
}

/* Many histories follow one another in a process: each begins with nothing. */
static void history_begin(void)
{
	arena_begin();
	disk_reset();
	fake_forget_helper();
	fake_clock_reset();
	life = 0;
	alive = opening = closing = comparing = faulted = rotted = false;
	boundary = forks = 0;
	epoch = verifier = 0;
	opens_crashed = op_count = acked = before_count = again_count = commits_open = 0;
	is_trying = false;
	last_time = 0;
	idle = 0;
	memset(&model, 0, sizeof(model));
	memset(&base_model, 0, sizeof(base_model));
	dice_seed(h.seed);
	next_xid = 1;
	digest = 0xcbf29ce484222325ULL;
	disk_fates = counts->fate;
	stubborn = h.seed % 64 == 7;
	unlinking = h.seed % 32 == 9;
	rooting = h.seed % 32 == 11;
	storm = h.seed % 3 == 0 || stubborn;
	cramped = h.seed % 8 == 3 || h.seed % 8 == 5;
	store_conf_default(&conf);
	conf.checkpoint_interval_ns = 400000000;
	conf.index_map_bytes = h.seed % 8 == 5 ? (uint64_t)3 << 20 : (uint64_t)16 << 20;
	if (h.seed % 8 == 3)
		disk_set_free(2200 + below(120));
}

void history_run(const struct history *given)
{
	h = *given;
	history_begin();
	model_init(&model, 0);
	/* The root as it was made. */
	model.node[0].touched = true;
	for (bool first = true;; first = false) {
		plan_life();
		if (setjmp(ended) == 0) {
			if (first)
				model_copy(&base_model, &model);
			one_life();
			break;
		}
		if (how == END_FINISHED)
			break;
		aftermath();
		if (life > 60)
			wrong("it never ends");
	}
	marks_collect();
	arena_end();
	if (child)
		real_exit(0);
}
