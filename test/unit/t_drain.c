/* t_drain.c - what a planned move does ahead (cmd/holdfast-vs/drain.c), with a sync that tells on it.
 *
 * covers: OV-16
 *
 * The store is a real one in a directory, the rest of the worker is here.  What must be: before the end
 * begins, everything written before the move was asked for has been through a checkpoint and a sync of
 * the file system; a sync that takes its time is waited for, and meanwhile clients are served; after one
 * that took long there is another. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../cmd/holdfast-vs/vs.h"
#include "base/mem.h"
#include "check.h"
#include "lib_storefake.h"
#include "store/store.h"

#define MS 1000000ULL

static struct fs f;
static struct vs *v;
static bool ended;
static unsigned slow_ms; /* the next sync takes so long */
/* the sync's thread, too */
static unsigned begun, done;

/* The kernel's, as drain.c and the store call it. */
int syncfs(int fd)
{
	(void)fd;
	if (!v || !v->drain_asked_ns || ended)
		return 0;
	__atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
	usleep(__atomic_exchange_n(&slow_ms, 0, __ATOMIC_SEQ_CST) * 1000);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	return 0;
}

void serve_drain(struct vs *of, void (*drained)(struct vs *v, int err))
{
	CHECK(of == v);
	ended = true;
	drained(of, 0);
}

static int said = -1;

void control_drained(struct vs *of, int err)
{
	CHECK(of == v);
	said = err;
}

static void setup(void)
{
	fs_new(&f);
	v = mem_zalloc(1, sizeof(*v));
	v->loop = f.loop;
	v->store_count = 1;
	v->store[0].s = f.s;
	snprintf(v->store[0].dir, sizeof(v->store[0].dir), "%s", f.dir);
	ended = false;
	begun = done = slow_ms = 0;
	said = -1;
}

static void teardown(void)
{
	free(v);
	v = NULL;
	fs_drop(&f);
}

static void rounds_until_end(void)
{
	for (uint64_t until = loop_clock_ns() + 20000 * MS; !ended && loop_clock_ns() < until;)
		loop_once(f.loop, 1 * MS);
}

/* What lies in the log and in objects is in the index and was synced before the end begins. */
static void t_all_ahead(void)
{
	uint64_t ino;
	struct store_info info;
	uint64_t lsn;

	setup();
	CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, "a", STORE_REG, &ino));
	CHECK_EQ(0, fs_write(&f, ino, 0, "unstable", 8, false));
	CHECK_EQ(0, fs_write(&f, ino, 8, "stable", 6, true));
	lsn = store_last_lsn(f.s);
	drain_start(v);
	rounds_until_end();
	CHECK(ended);
	store_info(f.s, &info);
	CHECK(info.checkpoint_lsn >= lsn);
	CHECK(done >= 1 && done == begun);
	CHECK_EQ(0, said);
	teardown();
}

/* Served meanwhile, waited for, and done once more: what came meanwhile is behind it. */
static void t_slow_sync(void)
{
	uint64_t ino, before;
	unsigned made = 0;
	char name[16];

	setup();
	slow_ms = 150;
	drain_start(v);
	before = loop_clock_ns();
	while (!ended && (done == 0 || loop_clock_ns() < before + 20 * MS)) {
		bool under_way = begun == 1 && done == 0;

		loop_once(f.loop, 1 * MS);
		if (!under_way || made == 20)
			continue;
		snprintf(name, sizeof(name), "n%u", made++);
		CHECK_EQ(0, fs_make(&f, STORE_ROOT_INO, name, STORE_REG, &ino));
	}
	CHECK_EQ(20, made);
	CHECK(!ended);
	rounds_until_end();
	CHECK(ended);
	CHECK(done >= 2 && done == begun);
	CHECK(v->drain_rounds >= 2);
	teardown();
}

int main(void)
{
	CASE(t_all_ahead);
	CASE(t_slow_sync);
	return check_end();
}
