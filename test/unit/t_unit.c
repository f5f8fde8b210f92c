/* t_unit.c - ownership of a `dir` unit: every way to ask for it, locks that outlive, wrong records;
 * helper processes and coordination areas on the way. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "codec/slot.h"
#include "io/disk.h"
#include "io/process.h"
#include "io/unit.h"

static char dir[64];
static struct unit_spec spec;
static struct seal seal, other_seal;
static struct unit_self n1 = {.node = 1, .node_name = "n1", .generation = 10, .boot_id = {7}};
static struct unit_self n2 = {.node = 2, .node_name = "n2", .generation = 20, .boot_id = {7}};
static struct unit_answer out;

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void make_seal(struct seal *s, const char *name)
{
	char path[128], err[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	CHECK_EQ(0, seal_create(path));
	CHECK_EQ(0, seal_load(s, path, err, sizeof(err)));
}

static void begin(void)
{
	char err[256];

	snprintf(dir, sizeof(dir), "/tmp/hf-unit.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	make_seal(&seal, "key");
	make_seal(&other_seal, "other");
	spec = (struct unit_spec){.backend = UNIT_DIR, .name = "u", .id = 77, .cluster = {1, 2}};
	snprintf(spec.root, sizeof(spec.root), "%s", dir);
	snprintf(spec.record, sizeof(spec.record), "%s/.holdfast-unit", dir);
	snprintf(spec.lock, sizeof(spec.lock), "%s/.holdfast-unit", dir);
	CHECK_EQ(0, unit_make(&spec, &seal, err, sizeof(err)));
	CHECK_EQ(-EALREADY, unit_make(&spec, &seal, err, sizeof(err)));
}

static void end(void)
{
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void acquire(const struct unit_self *self, struct unit_ask ask, int fd)
{
	memset(&out, 0, sizeof(out));
	unit_acquire(&spec, &seal, self, &ask, fd, &out);
}

/* covers: FO-17 FO-19 F5 */
static void t_free_keep_release(void)
{
	int a, b;

	begin();
	a = unit_lock_open(&spec);
	b = unit_lock_open(&spec);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE, .epoch_min = 4}, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(5, out.epoch);
	CHECK_EQ(0, unit_dir_poll(&spec, &seal, &n1, 5, a));
	CHECK_EQ(-ESTALE, unit_dir_poll(&spec, &seal, &n1, 4, a));
	CHECK_EQ(-ESTALE, unit_dir_poll(&spec, &seal, &n2, 5, a));

	acquire(&n2, (struct unit_ask){.how = UNIT_FREE}, b);
	CHECK_EQ(UNIT_LOST, out.outcome);
	CHECK_EQ(1, out.owner);
	CHECK_EQ(5, out.owner_epoch);

	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 5}, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(6, out.epoch);
	/* KEEP of an epoch that is no longer so: somebody was in between. */
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 5}, a);
	CHECK_EQ(UNIT_LOST, out.outcome);

	memset(&out, 0, sizeof(out));
	unit_release(&spec, &seal, &n1, &out);
	CHECK_EQ(UNIT_WON, out.outcome);
	close(a);
	acquire(&n2, (struct unit_ask){.how = UNIT_FREE}, b);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(8, out.epoch);
	close(b);
	end();
}

/* A holder that lives is never thrown out by waiting; a dead one's lock is enough.  covers: F5 ST-60 */
static void t_victim(void)
{
	uint64_t begun;
	int a, b;

	begin();
	a = unit_lock_open(&spec);
	b = unit_lock_open(&spec);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE}, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1}, b);
	CHECK_EQ(UNIT_HELD, out.outcome);
	/* With a fence command at hand a holder that stands is not waited for: the pause of the
	 * clients would be longer by that wait.  Nor is it passed over: ST-60. */
	begun = loop_clock_ns();
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1,
				       .can_fence = true}, b);
	CHECK_EQ(UNIT_HELD, out.outcome);
	CHECK(loop_clock_ns() - begun < 50000000);
	CHECK_EQ(0, unit_dir_poll(&spec, &seal, &n1, 1, a));
	/* Paused and fenced, so its worker is gone: it keeps a lock that nobody asks for any more. */
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1,
				       .fenced = true}, b);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(-ESTALE, unit_dir_poll(&spec, &seal, &n1, 1, a));
	acquire(&n2, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 2}, b);
	CHECK_EQ(UNIT_WON, out.outcome);
	memset(&out, 0, sizeof(out));
	unit_release(&spec, &seal, &n2, &out);
	CHECK_EQ(UNIT_WON, out.outcome);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE}, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(5, out.epoch);
	close(a); /* it died */
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 4}, b);
	CHECK_EQ(UNIT_LOST, out.outcome); /* taken again since */
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 5}, b);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(6, out.epoch);
	close(b);
	end();
}

/* S of another boot: its lock says nothing here.  covers: F5 */
static void t_boot_id(void)
{
	struct unit_self elsewhere = n1;
	int a, b;

	begin();
	elsewhere.boot_id[0] = 9;
	a = unit_lock_open(&spec);
	b = unit_lock_open(&spec);
	acquire(&elsewhere, (struct unit_ask){.how = UNIT_FREE}, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	close(a);
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1}, b);
	CHECK_EQ(UNIT_HELD, out.outcome);
	acquire(&n2,
		(struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1,
				  .fenced = true},
		b);
	CHECK_EQ(UNIT_WON, out.outcome);
	close(b);
	end();
}

/* A worker's lock byte outlives its daemon: nobody acquires before it is gone.  covers: F5 */
static void t_worker_byte(void)
{
	int a, b, worker;

	begin();
	a = unit_lock_open(&spec);
	b = unit_lock_open(&spec);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE}, a);
	worker = unit_lock_worker(&spec);
	CHECK(worker >= 0);
	CHECK_EQ(-EBUSY, unit_lock_worker(&spec));
	close(a); /* the daemon is dead, the worker's writes are not */
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1}, b);
	CHECK_EQ(UNIT_HELD, out.outcome);
	/* Fenced or not: its lock is what is waited for. */
	memset(&out, 0, sizeof(out));
	unit_release(&spec, &seal, &n2, &out);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	close(worker);
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1}, b);
	CHECK_EQ(UNIT_WON, out.outcome);
	close(b);
	end();
}

static void spoil(off_t at)
{
	uint8_t byte;
	int fd = open(spec.record, O_RDWR);

	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

/* covers: F3 OV-13 */
static void t_bad_record(void)
{
	struct unit_ask ask = {.how = UNIT_FREE};
	char moved[sizeof(spec.record) + 8];
	int a;

	begin();
	a = unit_lock_open(&spec);
	memset(&out, 0, sizeof(out));
	unit_acquire(&spec, &other_seal, &n1, &ask, a, &out);
	CHECK_EQ(UNIT_ERROR, out.outcome); /* another key */
	CHECK_EQ(-EBADMSG, out.err);
	spoil(40);
	acquire(&n1, ask, a);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK(strstr(out.text, "damaged") != NULL);
	spoil(40);
	spec.id++;
	acquire(&n1, ask, a);
	CHECK_EQ(UNIT_ERROR, out.outcome); /* another unit's record */
	spec.id--;
	acquire(&n1, ask, a);
	CHECK_EQ(UNIT_WON, out.outcome);
	/* Replaced under the same name: our lock is on something else. */
	snprintf(moved, sizeof(moved), "%s.moved", spec.record);
	CHECK_EQ(0, rename(spec.record, moved));
	CHECK(unit_dir_poll(&spec, &seal, &n1, out.epoch, a) != 0);
	unlink(moved);
	close(a);
	end();
}

static void t_key_node(void)
{
	CHECK_EQ(3, unit_key_node(owner_key(3, 12345)));
	CHECK_EQ(0, unit_key_node(0x1234));
	CHECK_EQ(0, unit_key_node(0));
}

/* ---- helper processes ------------------------------------------------------------------------- */
static int done_err, done_count;
static char done_text[32];
static struct loop *loop;

static void on_done(struct process *p, int err, const void *answer, size_t len)
{
	(void)p;
	done_err = err;
	done_count++;
	if (len)
		memcpy(done_text, answer, len < sizeof(done_text) ? len : sizeof(done_text));
	loop_stop(loop);
}

static void say_hello(void *arg, void *answer)
{
	snprintf(answer, 32, "hello %s", (const char *)arg);
}

static void hang(void *arg, void *answer)
{
	(void)arg;
	(void)answer;
	pause();
}

static void die(void *arg, void *answer)
{
	(void)arg;
	(void)answer;
	raise(SIGSEGV);
}

static void t_process(void)
{
	struct process p = {.done = on_done};
	char who[] = "you";

	CHECK_EQ(0, loop_new(&loop, 64));
	CHECK_EQ(0, process_run(loop, &p, say_hello, who, 32, NULL, 60000000000));
	CHECK_EQ(0, loop_run(loop));
	CHECK(done_err == 0 && strcmp(done_text, "hello you") == 0);
	CHECK_EQ(0, process_run(loop, &p, hang, NULL, 32, NULL, 20000000));
	CHECK_EQ(0, loop_run(loop));
	CHECK_EQ(-ETIMEDOUT, done_err);
	CHECK_EQ(0, process_run(loop, &p, die, NULL, 32, NULL, 60000000000));
	CHECK_EQ(0, loop_run(loop));
	CHECK_EQ(-ECHILD, done_err);
	CHECK_EQ(3, done_count);
	CHECK_EQ(3, process_command("exit 3"));
	loop_free(loop);
}

/* ---- coordination areas ----------------------------------------------------------------------- */
static int disk_err;
static uint64_t disk_tag;

static void on_disk(struct disk *d, uint64_t tag, int err)
{
	(void)d;
	disk_err = err;
	disk_tag = tag;
	loop_stop(loop);
}

/* covers: ST-27 ST-47 */
static void t_disk(void)
{
	uint8_t sector[DISK_SECTOR] = {0};
	struct disk d = {.on_written = on_disk, .on_read = on_disk};
	char path[96], err[256];

	begin();
	snprintf(path, sizeof(path), "%s/coord", dir);
	slot_header_encode(&(struct slot_header){.node_count = 8, .device_count = 1}, sector);
	CHECK_EQ(0, disk_make(path, sector, err, sizeof(err)));
	CHECK_EQ(-EEXIST, disk_make(path, sector, err, sizeof(err)));
	CHECK_EQ(0, loop_new(&loop, 64));
	CHECK_EQ(0, disk_open(&d, loop, path, err, sizeof(err)));
	memset(sector, 0xab, sizeof(sector));
	CHECK_EQ(0, disk_write(&d, 3, sector, 41));
	CHECK_EQ(-EBUSY, disk_write(&d, 3, sector, 42));
	CHECK_EQ(0, loop_run(loop));
	CHECK(disk_err == 0 && disk_tag == 41);
	CHECK_EQ(0, disk_read(&d, 43));
	CHECK_EQ(0, loop_run(loop));
	CHECK(disk_err == 0 && disk_tag == 43);
	CHECK(memcmp(d.in[3], sector, sizeof(sector)) == 0 && d.in[4][0] == 0);
	disk_close(&d);
	loop_free(loop);
	end();
	CHECK_EQ(-ENOENT, disk_open(&d, NULL, path, err, sizeof(err)));
	CHECK(strstr(err, "holdfast init") != NULL);
}

int main(void)
{
	CASE(t_free_keep_release);
	CASE(t_victim);
	CASE(t_boot_id);
	CASE(t_worker_byte);
	CASE(t_bad_record);
	CASE(t_key_node);
	CASE(t_process);
	CASE(t_disk);
	return check_end();
}
