/* crash.c - random histories against the real store, crashed everywhere.
 *
 * A life is: open a store, compare it with the model, do operations, close it and compare again.
 * At boundaries of the simulated disk (every write, sync, name, and between operations) the
 * process forks; the child is the machine after the crash: it lets the disk decide what survived,
 * opens what is left, and lives on - so it crashes during recovery and in its second life as well.
 * Each crash is a test: nothing that was acknowledged may be missing, the state must be exactly
 * the one after the last record that survived, repeated requests must get their first answers,
 * and the offline check must find nothing.
 *
 *	crash-rig [-s first seed] [-n seeds] [-p crash points wanted] [-q] [-v]
 *
 * -q: the first failure ends the run.  With -p it goes on with further seeds until that many crash
 * points were reached, and the run fails, too, when a kind of crash or of loss never happened: then
 * it would have shown nothing.
 *
 * covers: S1 S2 S3 S4 S6 S7 S9 S11 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "fakeloop.h"
#include "model.h"
#include "simdisk.h"

#define OPS_MAX	  600U
#define NAMES	  10U
#define DEPTH_MAX 3U

static const char *const marks[] = {
    "store.checkpoint", "store.synced_skip", "store.leftover_cut", "store.inode_evicted",
    "store.log_full",	"store.defer_on_demand", "store.defer_done"};
#define MARKS (sizeof(marks) / sizeof(marks[0]))

/* Shared by all processes of the run. */
struct shared {
	struct sim_counts counts;
	uint64_t mark[MARKS];
	uint64_t points, serial, failed, kills, losses, recovering, closes;
	uint64_t ops[OP_TYPES];
};
static struct shared *sh;

static char base[64];
static uint64_t seed, points_wanted;
static bool verbose, quick;

/* This life. */
static unsigned depth;
static char dir[96];
static struct loop *loop;
static struct store *s;
static struct store_conf conf;
static uint64_t epoch, verifier;
static bool opening; /* until what was recovered is known to be right */
static unsigned opens_crashed;
static struct op ops[OPS_MAX];
static unsigned op_count, acked;
static struct op trying; /* an unstable write may be in the object before its record exists */
static bool is_trying;
static struct model model, base_model; /* now; and as this life found it */
static struct op before[4000]; /* of earlier lives, survived */
static unsigned before_count;
static uint32_t next_xid = 1;
static uint64_t durable;
static unsigned commits_open;
static bool storm; /* large writes, slow checkpoints: both halves fill */

static void tell(const char *what)
{
	fprintf(stderr, "seed %llu depth %u ops %u acked %u dir %s: %s\n", (unsigned long long)seed,
		depth, op_count, acked, dir, what);
}

_Noreturn static void wrong(const char *what)
{
	tell(what);
	unsigned long long only = 0;
	char command[300];

	if (getenv("CRASH_KEEP")) {
		snprintf(command, sizeof(command), "cp -a %s %s", dir, getenv("CRASH_KEEP"));
		if (system(command) != 0)
			tell("cannot keep it");
	}

	sscanf(what, "inode %llu", &only);
	for (unsigned i = op_count > 12 && !only ? op_count - 12 : 0; verbose && i < op_count; i++) {
		if (only && ops[i].ino != only)
			continue;
		fprintf(stderr, "  op %u type %d ino %llu dir %llu %s %s off %llu len %zu size %llu "
			"stable %d began %u xid %u lsn %llu wait %llu\n", i, ops[i].type,
			(unsigned long long)ops[i].ino, (unsigned long long)ops[i].dir, ops[i].name,
			ops[i].name2, (unsigned long long)ops[i].off, ops[i].len,
			(unsigned long long)ops[i].size, ops[i].stable, ops[i].began, ops[i].xid,
			(unsigned long long)ops[i].lsn, (unsigned long long)ops[i].wait_lsn);
	}
	_exit(1);
}

/* ---- rounds ------------------------------------------------------------ */

static void on_durable(void *arg, uint64_t lsn)
{
	(void)arg;
	durable = lsn;
	/* Unstable writes wait for nothing: they may be undone. */
	for (unsigned i = acked; i < op_count && ops[i].wait_lsn <= durable; i++)
		if (ops[i].wait_lsn)
			acked = i + 1;
}

static void on_damage(void *arg, const char *reason)
{
	(void)arg;
	wrong(reason);
}

static void round_once(void)
{
	static unsigned idle;

	loop_once(loop, 0);
	if (++idle > 2000000)
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

/* ---- crashing ------------------------------------------------------------ */

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

static void life(bool fresh);

static void marks_collect(void)
{
	for (size_t i = 0; i < MARKS; i++)
		__atomic_add_fetch(&sh->mark[i], trace_mark_count(marks[i]), __ATOMIC_RELAXED);
}

_Noreturn static void after_crash(bool power, uint64_t number)
{
	char next[96];

	depth++;
	opens_crashed += opening;
	sim_seed(seed * 1000003 + number);
	snprintf(next, sizeof(next), "%.60s/%llu", base, (unsigned long long)number);
	mkdir(next, 0700);
	if (power)
		sim_power_loss(next);
	else
		sim_process_kill(next);
	snprintf(dir, sizeof(dir), "%s", next);
	fake_forget_helper();
	sim_watch(dir);
	life(false);
	marks_collect();
	_exit(0);
}

static void crash_here(enum sim_place where)
{
	bool power = sim_below(4) != 0;
	uint64_t number = ++sh->serial;
	char path[96];
	int status;
	pid_t pid;

	sh->points++;
	sh->counts.place[where]++;
	*(power ? &sh->losses : &sh->kills) += 1;
	sh->recovering += opening;
	pid = fork();
	if (pid == 0)
		after_crash(power, number);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		sh->failed++;
		fprintf(stderr, "crash %llu: seed %llu depth %u at %s, %s%s: status 0x%x\n",
			(unsigned long long)number, (unsigned long long)seed, depth,
			sim_place_name[where], power ? "power loss" : "kill",
			opening ? " while opening" : "", (unsigned)status);
		if (quick)
			_exit(1);
	}
	snprintf(path, sizeof(path), "%.60s/%llu", base, (unsigned long long)number);
	nftw(path, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_boundary(enum sim_place where)
{
	static const unsigned one_in[DEPTH_MAX] = {14, 40, 400};

	if (depth < DEPTH_MAX && !(points_wanted && sh->points >= points_wanted)) {
		unsigned n = one_in[depth];

		if (where == SIM_DSYNC || where == SIM_LOG || (opening && depth == 1))
			n = n / 3 + 1; /* these are few */
		if (sim_below(n) == 0)
			crash_here(where);
	}
	fake_give_way();
}

/* ---- operations ------------------------------------------------------------ */

static struct store_caller caller(const struct op *op)
{
	struct store_caller c = {.xid = op->xid, .prog = 100003, .vers = 3, .proc = op->type,
				 .sum = op->xid * 977ULL};

	c.client[0] = (uint8_t)(op->xid % 3);
	return c;
}

static int call(struct op *op, uint64_t *wait)
{
	struct store_attr a = {.set_mode = op->type == OP_CHMOD, .mode = op->mode,
			       .set_size = op->type == OP_TRUNCATE, .size = op->size};
	struct store_new n = {.type = op->kind, .target = "target", .target_len = 6,
			      .attr = {.set_mode = true, .mode = op->mode}};
	static uint8_t data[STORE_WRITE_MAX];

	switch (op->type) {
	case OP_CREATE:
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
	case OP_TRUNCATE:
	case OP_CHMOD:
		return store_setattr(s, op->ino, &a, wait);
	case OP_COMMIT:
	case OP_TYPES:
		break;
	}
	abort();
}

static void op_done(struct op *op)
{
	const struct store_inode *p = op->ino ? store_inode(s, op->ino) : NULL;

	op->lsn = store_last_lsn(s);
	op->ctime_ns = p ? p->ctime_ns : 0;
	if (op->type == OP_REMOVE || op->type == OP_RENAME) {
		const struct entry *e = model_entry(&model, op->dir, op->name);

		p = e ? store_inode(s, e->ino) : NULL;
		op->ctime_ns = p ? p->ctime_ns : 0;
		e = op->type == OP_RENAME ? model_entry(&model, op->dir2, op->name2) : NULL;
		p = e ? store_inode(s, e->ino) : NULL;
		op->ctime2_ns = p ? p->ctime_ns : 0;
	}
	model_apply(&model, op);
	ops[op_count++] = *op;
	__atomic_add_fetch(&sh->ops[op->type], 1, __ATOMIC_RELAXED);
	on_durable(NULL, store_durable_lsn(s));
}

static void op_run(struct op *op)
{
	struct store_caller c;
	uint64_t wait, lsn;
	int err, want;

	op->xid = next_xid++;
	c = caller(op);
	for (;;) {
		while (store_op_begin(s, &c, &wait))
			wait_for(wait);
		want = model_expect(&model, op);
		trying = *op;
		is_trying = op->type == OP_WRITE && !op->stable;
		err = call(op, &wait);
		if (err != STORE_WAIT)
			break;
		is_trying = false;
		store_op_cancel(s);
		wait_for(wait);
		if (op->ino && op->type != OP_CREATE && !model_node(&model, op->ino))
			return;
	}
	if (err != want) {
		char line[96];

		snprintf(line, sizeof(line), "operation %d answered %d, should be %d", op->type, err,
			 want);
		wrong(line);
	}
	if (err) {
		store_op_cancel(s);
		is_trying = false;
		return;
	}
	lsn = store_op_end(s, &op->xid, sizeof(op->xid));
	op->wait_lsn = lsn;
	op_done(op);
	is_trying = false;
}

/* ---- COMMIT ------------------------------------------------------------ */

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
		ops[op_count++] = *op;
		sh->ops[OP_COMMIT]++;
		on_durable(NULL, store_durable_lsn(s));
	}
	free(op);
}

static void commit_start(uint64_t ino)
{
	struct op *op = calloc(1, sizeof(*op));
	uint64_t wait;
	int err;

	op->type = OP_COMMIT;
	op->ino = ino;
	op->began = next_xid;
	while ((err = store_commit(s, ino, on_commit, op, &wait)) == STORE_WAIT) {
		wait_for(wait);
		if (!model_node(&model, ino))
			break;
		op->began = next_xid;
	}
	if (err)
		free(op);
	else
		commits_open++;
}

/* ---- what to do next ------------------------------------------------------------ */

static uint64_t pick(enum store_type type)
{
	for (unsigned i = 0; i < 30; i++) {
		const struct node *n = &model.node[sim_below(model.nodes)];

		if (n->type == type)
			return n->ino;
	}
	return type == STORE_DIR ? STORE_ROOT_INO : 0;
}

static void name_pick(char name[16])
{
	snprintf(name, 16, "n%u", (unsigned)sim_below(NAMES));
}

static void write_pick(struct op *op)
{
	op->type = OP_WRITE;
	op->ino = pick(STORE_REG);
	op->stable = sim_below(3) != 0;
	op->fill = next_xid;
	op->off = sim_below(12000);
	op->len = 1 + sim_below(5000);
	if (sim_below(storm ? 2 : 20) == 0) {
		op->off = sim_below(2) ? 0 : 4096 * sim_below(20);
		op->len = storm ? 100000 + sim_below(450000) : 20000 + sim_below(60000);
	}
}

static void op_pick(struct op *op)
{
	static const enum store_type kinds[] = {STORE_REG, STORE_REG, STORE_REG, STORE_DIR, STORE_LNK};

	memset(op, 0, sizeof(*op));
	op->dir = pick(STORE_DIR);
	op->dir2 = pick(STORE_DIR);
	name_pick(op->name);
	name_pick(op->name2);
	op->mode = (uint32_t)sim_below(01000);
	switch (sim_below(16)) {
	case 0:
	case 1:
	case 2:
		op->type = OP_CREATE;
		op->kind = kinds[sim_below(5)];
		return;
	case 3:
		op->type = OP_LINK;
		op->ino = pick(STORE_REG);
		return;
	case 4:
		op->type = OP_REMOVE;
		return;
	case 5:
		op->type = OP_RMDIR;
		return;
	case 6:
		op->type = OP_RENAME;
		return;
	case 7:
		op->type = OP_TRUNCATE;
		op->ino = pick(STORE_REG);
		op->size = sim_below(14000);
		return;
	case 8:
		op->type = OP_CHMOD;
		op->ino = pick(STORE_REG);
		return;
	case 9:
	case 10:
		op->type = OP_COMMIT;
		op->ino = pick(STORE_REG);
		return;
	default:
		write_pick(op);
		return;
	}
}

static void one_step(void)
{
	struct op op;

	op_pick(&op);
	if (op.type == OP_COMMIT && op.ino && commits_open < 4)
		commit_start(op.ino);
	else if (op.type == OP_CREATE || op.type == OP_REMOVE || op.type == OP_RMDIR ||
		 op.type == OP_RENAME || (op.ino && op.type != OP_COMMIT))
		op_run(&op);
	if (sim_below(30) == 0)
		store_checkpoint(s);
	for (unsigned k = (unsigned)sim_below(4); k > 0; k--)
		round_once();
	on_boundary(SIM_BETWEEN);
}

/* ---- a life ------------------------------------------------------------ */

static int open_store(void)
{
	struct store_open_args a = {.dir = dir, .loop = loop, .epoch = ++epoch, .conf = conf,
				    .on_durable = on_durable, .on_damage = on_damage};
	char err[256];
	int code;

	opening = true;
	code = store_open(&s, &a, err, sizeof(err));
	if (code)
		wrong(err);
	return code;
}

static void compare(void)
{
	char why[160];

	if (!model_same(&model, s, round_once, why, sizeof(why)))
		wrong(why);
}

/* Every operation that survived is known to the duplicate cache, with its answer; no other is. */
static void compare_reply(const struct op *op, bool survived)
{
	struct store_caller c = caller(op);
	const void *reply;
	uint64_t wait;
	size_t len;
	enum store_dup d;

	if (op->type == OP_COMMIT)
		return;
	d = store_dup_find(s, &c, &reply, &len, &wait);
	if (survived && (d != STORE_DUP_DONE || len != sizeof(op->xid) ||
			 memcmp(reply, &op->xid, len) != 0))
		wrong("a repeated request does not get its first answer");
	if (!survived && d != STORE_DUP_NEW)
		wrong("a request that did not survive is answered from the cache");
}

static void compare_replies(unsigned survived)
{
	for (unsigned i = 0; i < before_count; i++)
		compare_reply(&before[i], true);
	for (unsigned i = 0; i < op_count; i++)
		compare_reply(&ops[i], i < survived);
}

/* The model as of the last record that survived. */
static void model_rebuild(unsigned survived)
{
	model_fini(&model);
	model_copy(&model, &base_model);
	for (unsigned i = 0; i < survived; i++)
		model_apply(&model, &ops[i]);
	for (unsigned i = survived; i < op_count; i++)
		if (ops[i].type == OP_WRITE && !ops[i].stable)
			model_may_have(&model, &ops[i]);
	if (is_trying)
		model_may_have(&model, &trying);
}

/* After a crash while opening, the lsn behind the survivors may be an earlier open's epoch record:
 * the duplicate cache tells. */
static bool survives(unsigned i)
{
	const void *reply;
	uint64_t wait;
	size_t len;

	if (ops[i].lsn >= store_last_lsn(s))
		return false;
	if (!opens_crashed || i < acked)
		return true;
	for (; i < op_count && ops[i].lsn < store_last_lsn(s); i++) {
		struct store_caller c = caller(&ops[i]);

		if (ops[i].type != OP_COMMIT)
			return store_dup_find(s, &c, &reply, &len, &wait) == STORE_DUP_DONE;
	}
	return false;
}

static void recovered(void)
{
	struct store_info info;
	unsigned survived = 0;

	store_info(s, &info);
	while (survived < op_count && survives(survived))
		survived++;
	opens_crashed = 0;
	if (survived < acked) {
		fprintf(stderr, "last lsn %llu, %u of %u acknowledged operations\n",
			(unsigned long long)store_last_lsn(s), survived, acked);
		wrong("an acknowledged operation is lost");
	}
	if (!info.was_clean && info.write_verifier == verifier)
		wrong("the write verifier is the same after a crash");
	verifier = info.write_verifier;
	model_rebuild(survived);
	compare();
	compare_replies(survived);
	model_after_crash(&model);
	for (unsigned i = 0; i < survived && before_count < 4000; i++)
		before[before_count++] = ops[i];
	op_count = acked = 0;
	model_fini(&base_model);
	model_copy(&base_model, &model);
	commits_open = 0;
	durable = store_durable_lsn(s);
	opening = is_trying = false;
}

static void on_finding(void *arg, const char *line)
{
	(void)arg;
	wrong(line);
}

static bool closed;

static void on_closed(void *arg, int err)
{
	(void)arg;
	closed = err == 0;
}

/* An orderly end: everything is on disk, whatever happens then; nothing unstable is lost. */
static void close_and_compare(void)
{
	struct store_info info;
	char next[96];

	while (commits_open)
		round_once();
	closed = false;
	store_close(s, on_closed, NULL);
	while (!closed)
		round_once();
	store_free(s);
	acked = op_count;
	model_settle(&model);
	sh->closes++;
	snprintf(next, sizeof(next), "%.80s.c", dir);
	mkdir(next, 0700);
	sim_power_loss(next);
	if (store_check(next, on_finding, NULL) != 0)
		wrong("the check fails");
	snprintf(dir, sizeof(dir), "%s", next);
	loop_free(loop);
	loop_new(&loop, 0);
	open_store();
	opening = false;
	store_info(s, &info);
	if (!info.was_clean || info.write_verifier != verifier)
		wrong("a planned restart does not look like one");
	compare();
	compare_replies(op_count);
	store_free(s);
	loop_free(loop);
	nftw(next, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void life(bool fresh)
{
	unsigned steps = fresh ? 150 + (unsigned)sim_below(150) : 10 + (unsigned)sim_below(40);

	loop_new(&loop, 0);
	conf.cache_inodes = sim_below(2) ? 4 : 1000;
	storm = fresh && seed % 3 == 0;
	fake_helper_pace(storm ? 60 : sim_below(3) ? 1 : 10);
	if (fresh)
		model_init(&model, 0);
	if (fresh)
		model_copy(&base_model, &model);
	open_store();
	if (fresh) {
		struct store_info info;

		store_info(s, &info);
		verifier = info.write_verifier;
		opening = false;
	} else {
		recovered();
	}
	for (unsigned i = 0; i < steps && op_count < OPS_MAX - 16; i++)
		one_step();
	if (depth == 0 || sim_below(3) == 0) {
		close_and_compare();
		return;
	}
	/* As it is, in the middle of everything: what a check of a crashed store finds. */
	store_free(s);
	loop_free(loop);
	sim_unwatch();
	if (store_check(dir, on_finding, NULL) != 0)
		wrong("the check fails");
}

static void one_seed(void)
{
	char err[256];

	sim_seed(seed);
	snprintf(dir, sizeof(dir), "%.60s/s", base);
	mkdir(dir, 0700);
	store_conf_default(&conf);
	conf.log_half_bytes = 4 << 20;
	conf.index_map_bytes = 64 << 20;
	conf.checkpoint_interval_ns = 400000000;
	if (store_create_at(dir, &conf, err, sizeof(err)))
		wrong(err);
	sim_watch(dir);
	sim_hook = on_boundary;
	life(true);
	marks_collect();
}

/* ---- the run ------------------------------------------------------------ */

static unsigned coverage(void)
{
	unsigned missing = 0;

	for (int i = 0; i < SIM_PLACES; i++) {
		printf("crash at %-22s %llu\n", sim_place_name[i],
		       (unsigned long long)sh->counts.place[i]);
		missing += sh->counts.place[i] == 0;
	}
	for (int i = 0; i < SIM_FATES; i++) {
		printf("unflushed: %-20s %llu\n", sim_fate_name[i],
		       (unsigned long long)sh->counts.fate[i]);
		missing += sh->counts.fate[i] == 0;
	}
	for (size_t i = 0; i < MARKS; i++) {
		printf("mark %-26s %llu\n", marks[i], (unsigned long long)sh->mark[i]);
		missing += sh->mark[i] == 0;
	}
	printf("operations:");
	for (int i = 0; i < OP_TYPES; i++) {
		printf(" %llu", (unsigned long long)sh->ops[i]);
		missing += sh->ops[i] == 0;
	}
	printf("\nkills %llu, power losses %llu, while opening %llu, orderly ends %llu\n",
	       (unsigned long long)sh->kills, (unsigned long long)sh->losses,
	       (unsigned long long)sh->recovering, (unsigned long long)sh->closes);
	missing += sh->kills == 0 || sh->losses == 0 || sh->recovering == 0 || sh->closes == 0;
	return missing;
}

static void run_seed(void)
{
	int status;
	pid_t pid;

	sh->serial = 0; /* a seed gives the same run, whichever came before */
	pid = fork();
	if (pid == 0) {
		one_seed();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		sh->failed++;
		fprintf(stderr, "seed %llu: status 0x%x\n", (unsigned long long)seed, (unsigned)status);
	}
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(base, 0700);
}

int main(int argc, char **argv)
{
	uint64_t first = 1, seeds = 1;
	unsigned missing;
	int c;

	while ((c = getopt(argc, argv, "s:n:p:qv")) != -1) {
		if (c == 's')
			first = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			seeds = strtoull(optarg, NULL, 0);
		else if (c == 'p')
			points_wanted = strtoull(optarg, NULL, 0);
		else if (c == 'q')
			quick = true;
		else if (c == 'v')
			verbose = true;
		else
			return 2;
	}
	snprintf(base, sizeof(base), "%s/hf-crash-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(base))
		return 2;
	snprintf(dir, sizeof(dir), "%.60s.empty", base);
	sim_empty_folders(dir);
	log_open("crash", verbose ? LOG_L_INFO : LOG_L_ERR);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sim_counts = &sh->counts;
	for (seed = first; seed < first + seeds || sh->points < points_wanted; seed++)
		if (run_seed(), sh->failed > (quick ? 0 : 20))
			break;
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	snprintf(dir, sizeof(dir), "%.60s.empty", base);
	nftw(dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	missing = coverage();
	if (missing)
		printf("%u kinds never happened\n", missing);
	printf("%llu crash points, seeds %llu to %llu\n", (unsigned long long)sh->points,
	       (unsigned long long)first, (unsigned long long)seed - 1);
	printf("%llu passed, %llu failed\n", (unsigned long long)(sh->points - sh->failed),
	       (unsigned long long)sh->failed);
	return sh->failed || (points_wanted && missing);
}
