/* loop.c - the event loop on io_uring.
 *
 * The ring is made with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): the kernel then touches
 * completions only inside our own io_uring_enter, which is what makes "a round" well defined and
 * spares the interrupts of the working thread.  Where a kernel or a container refuses these flags
 * we fall back step by step to a plain ring; everything works there, a little slower.
 *
 * A round:  enter (submit what was queued, wait)  ->  completions  ->  due timers  ->  hooks.
 *
 * Multishot operations end whenever the kernel's completion queue was full.  For polls that is
 * repaired here by starting them again, which looks at the level anew, so no edge is lost.
 *
 * Polling (loop_set_poll) spares the two wake-ups of a round trip with one call at a time: before it
 * sleeps the loop watches the ring's shared memory for a while, without a system call (the kernel
 * raises IORING_SQ_TASKRUN there).  Only while the waits of late were short: an idle server sleeps.
 *
 * Cancel requests carry user data 0 and their own completions are ignored; the cancelled
 * operation reports for itself. */
#include "io/loop.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"

#define NSEC	       1000000000ULL
#define WAIT_FOREVER   UINT64_MAX
#define HELD_FILES_MAX 8
#define CQ_ENTRIES_MIN 4096U
#define POLL_SPINS     16 /* looks at the ring between looks at the clock */
#define POLL_WORTH     2U /* a sleep of twice the polling time, wake-up included, was short */
#define POLL_SCORE_MAX 8U

struct loop {
	struct io_uring ring;
	struct list hooks;
	struct loop_timer **heap;
	size_t heap_len, heap_cap;
	uint64_t now_ns;
	unsigned busy;
	unsigned held_files; /* slots used of the registered file table */
	bool stop, again, has_table;
	uint64_t poll_ns;
	unsigned short_waits; /* of late; each long one halves it */
	struct loop_rounds rounds;
};

/* ---- life ---------------------------------------------------------------------------------- */

static int ring_init(struct io_uring *ring, unsigned entries)
{
	static const unsigned choice[] = {
	    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
		IORING_SETUP_TASKRUN_FLAG,
	    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG,
	    0,
	};
	int err = -ENOSYS;

	for (size_t i = 0; i < sizeof(choice) / sizeof(choice[0]); i++) {
		struct io_uring_params p = {.flags = choice[i] | IORING_SETUP_CQSIZE};

		p.cq_entries = entries * 4 < CQ_ENTRIES_MIN ? CQ_ENTRIES_MIN : entries * 4;
		err = io_uring_queue_init_params(entries, ring, &p);
		if (err == 0) {
			/* A child that had the ring mapped would keep what is under way in it, and
			 * so our sockets, for as long as it lives. */
#ifndef HF_MUTANT_RING_INHERITED
			io_uring_ring_dontfork(ring);
#endif
			if (i > 0)
				log_info("loop: io_uring without deferred task work (flags 0x%x)",
					 choice[i]);
			return 0;
		}
		if (err != -EINVAL)
			return err;
	}
	return err;
}

int loop_new(struct loop **lp, unsigned entries)
{
	struct loop *l = mem_zalloc(1, sizeof(*l));
	int err = ring_init(&l->ring, entries);

	if (err) {
		free(l);
		return err;
	}
	list_init(&l->hooks);
	l->now_ns = loop_clock_ns();
	*lp = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	io_uring_queue_exit(&l->ring);
	free(l->heap);
	free(l);
}

uint64_t loop_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now_ns(const struct loop *l)
{
	return l->now_ns;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

void loop_set_poll(struct loop *l, uint64_t ns)
{
	l->poll_ns = ns;
	l->short_waits = 0;
}

const struct loop_rounds *loop_rounds(const struct loop *l)
{
	return &l->rounds;
}

void loop_again(struct loop *l)
{
	l->again = true;
}

unsigned loop_busy(const struct loop *l)
{
	return l->busy;
}

int loop_hold_file(struct loop *l, int fd)
{
	int err;

	if (!l->has_table) {
		err = io_uring_register_files_sparse(&l->ring, HELD_FILES_MAX);
		if (err)
			return err;
		l->has_table = true;
	}
	if (l->held_files == HELD_FILES_MAX)
		return -ENOSPC;
	err = io_uring_register_files_update(&l->ring, l->held_files, &fd, 1);
	if (err < 0)
		return err;
	l->held_files++;
	return 0;
}

void loop_release_files(struct loop *l)
{
	if (!l->has_table)
		return;
	(void)io_uring_unregister_files(&l->ring);
	l->has_table = false;
	l->held_files = 0;
}

/* ---- starting operations -------------------------------------------------------------------- */

static struct io_uring_sqe *sqe_get(struct loop *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	/* The submission queue is full: hand it over; the kernel takes all of it (SUBMIT_ALL), or
	 * says EAGAIN or EBUSY when it is short of memory or completions must be taken first. */
	while (!sqe) {
		int n = io_uring_submit(&l->ring);

		if (n == -EBUSY)
			n = io_uring_get_events(&l->ring);
		hf_assert(n >= 0 || n == -EAGAIN || n == -EINTR);
		HF_MARK("loop.queue_full");
		sqe = io_uring_get_sqe(&l->ring);
	}
	return sqe;
}

static struct io_uring_sqe *op_start(struct loop *l, struct loop_op *op, int fd)
{
	hf_assert(!op->busy);
	op->busy = true;
	op->multishot = false;
	op->accepting = false;
	op->fd = fd;
	l->busy++;
	return sqe_get(l);
}

void loop_read(struct loop *l, struct loop_op *op, int fd, void *buf, size_t len, uint64_t off)
{
	struct io_uring_sqe *sqe = op_start(l, op, fd);

	hf_assert(len <= INT32_MAX);
	io_uring_prep_read(sqe, fd, buf, (unsigned)len, off);
	io_uring_sqe_set_data(sqe, op);
}

void loop_write(struct loop *l, struct loop_op *op, int fd, const void *buf, size_t len,
		uint64_t off)
{
	struct io_uring_sqe *sqe = op_start(l, op, fd);

	hf_assert(len <= INT32_MAX);
	io_uring_prep_write(sqe, fd, buf, (unsigned)len, off);
	io_uring_sqe_set_data(sqe, op);
}

void loop_fsync(struct loop *l, struct loop_op *op, int fd, bool data_only)
{
	struct io_uring_sqe *sqe = op_start(l, op, fd);

	io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
	io_uring_sqe_set_data(sqe, op);
}

static void multishot_queue(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe = sqe_get(l);

	if (op->accepting)
		io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL,
					       SOCK_NONBLOCK | SOCK_CLOEXEC);
	else
		io_uring_prep_poll_multishot(sqe, op->fd, op->events);
	io_uring_sqe_set_data(sqe, op);
}

static void multishot_start(struct loop *l, struct loop_op *op, int fd, bool accepting)
{
	hf_assert(!op->busy);
	op->busy = true;
	op->multishot = true;
	op->accepting = accepting;
	op->fd = fd;
	l->busy++;
	multishot_queue(l, op);
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
	op->events = events;
	multishot_start(l, op, fd, false);
}

void loop_accept(struct loop *l, struct loop_op *op, int fd)
{
	multishot_start(l, op, fd, true);
}

void loop_poll_once(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
	struct io_uring_sqe *sqe = op_start(l, op, fd);

	io_uring_prep_poll_add(sqe, fd, events);
	io_uring_sqe_set_data(sqe, op);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->busy)
		return;
	op->multishot = false; /* it is not to be started again */
	sqe = sqe_get(l);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

/* ---- timers: a binary heap, each timer knows its place --------------------------------------- */

static void heap_put(struct loop *l, size_t at, struct loop_timer *t)
{
	l->heap[at] = t;
	t->heap_at = at;
}

static void heap_up(struct loop *l, size_t at)
{
	struct loop_timer *t = l->heap[at];

	while (at > 0) {
		size_t up = (at - 1) / 2;

		if (l->heap[up]->deadline_ns <= t->deadline_ns)
			break;
		heap_put(l, at, l->heap[up]);
		at = up;
	}
	heap_put(l, at, t);
}

static void heap_down(struct loop *l, size_t at)
{
	struct loop_timer *t = l->heap[at];

	for (;;) {
		size_t kid = 2 * at + 1;

		if (kid >= l->heap_len)
			break;
		if (kid + 1 < l->heap_len &&
		    l->heap[kid + 1]->deadline_ns < l->heap[kid]->deadline_ns)
			kid++;
		if (t->deadline_ns <= l->heap[kid]->deadline_ns)
			break;
		heap_put(l, at, l->heap[kid]);
		at = kid;
	}
	heap_put(l, at, t);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	if (deadline_ns == 0)
		deadline_ns = 1;
	if (t->deadline_ns == 0) {
		if (l->heap_len == l->heap_cap) {
			l->heap_cap = l->heap_cap ? 2 * l->heap_cap : 16;
			l->heap = mem_realloc(l->heap, l->heap_cap * sizeof(*l->heap));
		}
		heap_put(l, l->heap_len++, t);
	}
	t->deadline_ns = deadline_ns;
	heap_up(l, t->heap_at);
	heap_down(l, t->heap_at);
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	struct loop_timer *last;
	size_t at = t->heap_at;

	if (t->deadline_ns == 0)
		return;
	hf_assert(at < l->heap_len && l->heap[at] == t);
	t->deadline_ns = 0;
	last = l->heap[--l->heap_len];
	if (last == t)
		return;
	heap_put(l, at, last);
	heap_up(l, at);
	heap_down(l, last->heap_at);
}

/* Only timers that were due when the round began: one that sets itself for "now" waits a round. */
static void timers_fire(struct loop *l)
{
	while (l->heap_len && l->heap[0]->deadline_ns <= l->now_ns) {
		struct loop_timer *t = l->heap[0];

		loop_timer_clear(l, t);
		t->fire(t);
		if (t->deadline_ns && t->deadline_ns <= l->now_ns)
			break; /* set again for the past: not for ever in one round */
	}
}

/* ---- rounds ---------------------------------------------------------------------------------- */

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	list_add_tail(&l->hooks, &h->link);
}

void loop_hook_del(struct loop_hook *h)
{
	list_del(&h->link);
}

static uint64_t wait_length(const struct loop *l, uint64_t wait_ns)
{
	uint64_t now, next;

	if (l->again || l->stop)
		return 0;
	if (l->heap_len == 0)
		return wait_ns;
	now = loop_clock_ns();
	next = l->heap[0]->deadline_ns <= now ? 0 : l->heap[0]->deadline_ns - now;
	return next < wait_ns ? next : wait_ns;
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool ring_has_news(struct loop *l)
{
	return io_uring_cq_ready(&l->ring) ||
	       __atomic_load_n(l->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN;
}

/* Watches until something happens or its time is over. */
static void watch(struct loop *l, uint64_t until_ns)
{
	while (!ring_has_news(l) && loop_clock_ns() < until_ns)
		for (int i = 0; i < POLL_SPINS && !ring_has_news(l); i++)
			cpu_relax();
}

/* Submits and waits.  0 also when interrupted or timed out. */
static int enter(struct loop *l, uint64_t wait_ns)
{
	struct io_uring_cqe *cqe;
	int err;

	if (wait_ns == 0) {
		err = io_uring_submit_and_get_events(&l->ring);
	} else if (wait_ns == WAIT_FOREVER) {
		err = io_uring_submit_and_wait(&l->ring, 1);
	} else {
		struct __kernel_timespec ts = {.tv_sec = (long long)(wait_ns / NSEC),
					       .tv_nsec = (long long)(wait_ns % NSEC)};

		err = io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &ts, NULL);
	}
	if (err >= 0 || err == -ETIME || err == -EINTR || err == -EAGAIN || err == -EBUSY)
		return 0;
	return err;
}

static void complete(struct loop *l, struct loop_op *op, int res, unsigned flags)
{
	if (flags & IORING_CQE_F_MORE) {
		op->done(op, res);
		return;
	}
	if (op->multishot && res >= 0) {
		HF_MARK("loop.multishot_again");
		multishot_queue(l, op);
		op->done(op, res);
		return;
	}
	op->busy = false;
	op->multishot = false;
	l->busy--;
	op->done(op, res);
}

/* Those that were there when it began; more come with the next round, so that hooks (a log batch,
 * the replies) are never starved. */
static void completions(struct loop *l)
{
	unsigned n = io_uring_cq_ready(&l->ring);

	while (n-- > 0) {
		struct io_uring_cqe *cqe;
		struct loop_op *op;
		unsigned flags, head;
		int res;
		bool found = false;

		io_uring_for_each_cqe(&l->ring, head, cqe) {
			found = true;
			break;
		}
		if (!found)
			return; /* a nested loop_drain_op() took them */
		op = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		flags = cqe->flags;
		io_uring_cq_advance(&l->ring, 1);
		if (op)
			complete(l, op, res, flags);
	}
}

/* The same, watching first when that has been worth it lately. */
static int enter_polling(struct loop *l, uint64_t wait_ns)
{
	uint64_t began = loop_clock_ns();
	uint64_t most = wait_ns < l->poll_ns ? wait_ns : l->poll_ns;
	int err;

	if (wait_ns && l->short_waits) {
		err = enter(l, 0); /* what was queued must be on its way */
		if (err)
			return err;
		watch(l, began + most);
		if (ring_has_news(l)) {
			HF_MARK("loop.poll_hit");
			wait_ns = 0;
		} else if (wait_ns != WAIT_FOREVER) {
			wait_ns -= most;
		}
	}
	err = enter(l, wait_ns);
	if (loop_clock_ns() - began > POLL_WORTH * l->poll_ns)
		l->short_waits /= 2;
	else if (l->short_waits < POLL_SCORE_MAX)
		l->short_waits++;
	return err;
}

static void round_count(struct loop *l)
{
	uint64_t ns = loop_clock_ns() - l->now_ns, us = ns / 1000;
	unsigned bin = us ? 64U - (unsigned)__builtin_clzll(us) : 0;

	l->rounds.bin[bin < LOOP_ROUND_BINS ? bin : LOOP_ROUND_BINS - 1]++;
	if (ns > l->rounds.longest_ns)
		l->rounds.longest_ns = ns;
}

int loop_once(struct loop *l, uint64_t wait_ns)
{
	struct list *it, *tmp;
	int err;

	wait_ns = wait_length(l, wait_ns);
	err = l->poll_ns ? enter_polling(l, wait_ns) : enter(l, wait_ns);
	if (err)
		return err;
	l->again = false;
	l->now_ns = loop_clock_ns();
	completions(l);
	timers_fire(l);
	LIST_EACH_SAFE(it, tmp, &l->hooks) {
		struct loop_hook *h = LIST_OWNER(it, struct loop_hook, link);

		h->call(h);
	}
	round_count(l);
	return 0;
}

int loop_run(struct loop *l)
{
	int err = 0;

	l->stop = false;
	while (!l->stop && err == 0)
		err = loop_once(l, WAIT_FOREVER);
	return err;
}

void loop_drain_op(struct loop *l, struct loop_op *op)
{
	while (op->busy) {
		int err = enter(l, WAIT_FOREVER);

		hf_assert(err == 0);
		completions(l);
	}
}

/* ---- waking from another thread -------------------------------------------------------------- */

static void wake_read(struct loop_wake *w)
{
	loop_read(w->loop, &w->op, w->fd, &w->value, sizeof(w->value), 0);
}

static void wake_done(struct loop_op *op, int res)
{
	struct loop_wake *w = LIST_OWNER(op, struct loop_wake, op);

	if (res == -ECANCELED)
		return;
	wake_read(w);
	if (res > 0)
		w->call(w);
}

int loop_wake_init(struct loop *l, struct loop_wake *w, void (*call)(struct loop_wake *w))
{
	*w = (struct loop_wake){.call = call, .loop = l, .op.done = wake_done};
	w->fd = eventfd(0, EFD_CLOEXEC);
	if (w->fd < 0)
		return -errno;
	wake_read(w);
	return 0;
}

void loop_wake(struct loop_wake *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->fd, &one, sizeof(one));

	/* EINTR cannot be: an eventfd write blocks only at 2^64 - 2 wake-ups not yet taken. */
	hf_assert(n == (ssize_t)sizeof(one));
}

void loop_wake_fini(struct loop_wake *w)
{
	loop_cancel(w->loop, &w->op);
	loop_drain_op(w->loop, &w->op);
	close(w->fd);
	w->fd = -1;
}
