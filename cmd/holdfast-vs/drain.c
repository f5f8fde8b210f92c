/* drain.c - what a planned move asks of the owner, most of it done while clients are still served.
 *
 * A move waits for the last checkpoint, and that for everything written since the one before, also what
 * no record tells of (unstable WRITEs: a sync of the whole file system, which others may use, too); then,
 * where that is to be unmounted, for every block that its journal still holds.  So both are done ahead in
 * rounds, each with less to do than the one before, until one is short; what is left for the end is
 * short too:
 *
 *	round:  checkpoint, then sync of the file system by a thread of its own
 *	end:    no more requests, answers, last checkpoint (serve_drain) -> DRAINED
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vs.h"

#define MS	 1000000ULL
#define AHEAD_NS (3000 * MS) /* no further round after this */
#define LIMIT_NS (6000 * MS) /* nor is one waited for longer */
#define SHORT_NS (30 * MS)   /* a checkpoint like this is good enough for the end */
#define SYNC_NS	 (40 * MS)   /* and a sync like this */
#define LOOK_NS	 (1 * MS)

static unsigned long long us(uint64_t ns)
{
	return ns / 1000;
}

static void drained(struct vs *v, int err)
{
	/* The first figure is time in which clients were served, the others are part of their pause. */
	log_info("drain: rounds=%u us=%llu last_sync_us=%llu calls_us=%llu close_us=%llu",
		 v->drain_rounds, us(v->drain_since_ns - v->drain_asked_ns), us(v->drain_sync_ns),
		 us(v->drain_close_ns - v->drain_since_ns),
		 us(loop_clock_ns() - v->drain_close_ns));
	control_drained(v, err);
}

/* ---- the sync --------------------------------------------------------------------------------- */

/* Failures are for the unmount to find: this is help, not a promise. */
static void *sync_thread(void *arg)
{
	struct vs *v = arg;

	for (unsigned i = 0; i < v->store_count; i++) {
		int fd = serve_without(v, i) ? -1 :
			 open(v->store[i].dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0)
			continue;
#ifndef HF_MUTANT_DRAIN_NOT_AHEAD
		(void)syncfs(fd);
#endif
		close(fd);
	}
	__atomic_store_n(&v->drain_sync, DRAIN_SYNC_DONE, __ATOMIC_RELEASE);
	return NULL;
}

/* True when the thread runs now. */
static bool sync_begin(struct vs *v)
{
	v->drain_sync_ns = loop_clock_ns();
	if (pthread_create(&v->drain_thread, NULL, sync_thread, v))
		return false;
	pthread_detach(v->drain_thread);
	return true;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

static void round_begin(struct vs *v)
{
	v->drain_round_ns = loop_clock_ns();
	v->drain_rounds++;
	v->drain_sync = DRAIN_SYNC_NONE;
	for (unsigned i = 0; i < v->store_count; i++) {
		struct store_stats st;

		if (serve_without(v, i))
			continue;
		store_stats(v->store[i].s, &st);
		v->store[i].checkpoints_before = st.checkpoints;
		store_checkpoint(v->store[i].s);
	}
	loop_timer_set(v->loop, &v->drain_timer, v->drain_round_ns + LOOK_NS);
}

/* Since the round began, or there is nothing to write. */
static bool checkpointed(const struct vs_store *st)
{
	struct store_stats stats;
	struct store_info info;

	store_stats(st->s, &stats);
	store_info(st->s, &info);
	return stats.checkpoints != st->checkpoints_before || info.checkpoint_lsn == info.last_lsn;
}

static bool all_checkpointed(const struct vs *v)
{
	bool all = true;

	for (unsigned i = 0; i < v->store_count; i++)
		all &= serve_without(v, i) || checkpointed(&v->store[i]);
	return all;
}

/* True when the round is over; `*brief`: the next need not be shorter. */
static bool round_over(struct vs *v, uint64_t now, bool *brief)
{
	if (v->drain_sync == DRAIN_SYNC_NONE) {
		if (!all_checkpointed(v))
			return false;
		v->drain_brief = now < v->drain_round_ns + SHORT_NS;
		v->drain_sync = DRAIN_SYNC_RUNS;
		if (!sync_begin(v))
			v->drain_sync = DRAIN_SYNC_DONE;
	}
#ifndef HF_MUTANT_DRAIN_SYNC_UNWAITED
	if (__atomic_load_n(&v->drain_sync, __ATOMIC_ACQUIRE) != DRAIN_SYNC_DONE)
		return false;
#endif
	v->drain_sync_ns = loop_clock_ns() - v->drain_sync_ns;
	*brief = v->drain_brief && v->drain_sync_ns < SYNC_NS;
	return true;
}

static void on_look(struct loop_timer *t)
{
	struct vs *v = LIST_OWNER(t, struct vs, drain_timer);
	uint64_t now = loop_clock_ns();
	bool brief = false, over = round_over(v, now, &brief);

	/* On a slow disk no round may be short; then the end begins between two: a checkpoint that is
	 * half done would be part of the pause. */
	if (now > v->drain_asked_ns + AHEAD_NS)
		brief = true;
	if ((over && brief) || now > v->drain_asked_ns + LIMIT_NS)
		serve_drain(v, drained);
	else if (over)
		round_begin(v);
	else
		loop_timer_set(v->loop, t, now + LOOK_NS);
}

void drain_start(struct vs *v)
{
	if (v->drain_asked_ns)
		return;
	v->drain_asked_ns = loop_clock_ns();
	v->drain_timer.fire = on_look;
	round_begin(v);
}
