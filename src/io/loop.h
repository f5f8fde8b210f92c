/* loop.h - the event loop: one thread, one io_uring, completions as calls.
 *
 * Everything that waits is a `struct loop_op` owned by its caller, who must keep it (and the
 * buffers it names) until `done` was called; cancelling only makes `done` come sooner.  The loop
 * sleeps in one io_uring_enter that also submits, handles every completion that is there (a
 * round), then calls the round hooks in the order they were added: that is where a log batch is
 * submitted and where a connection's replies leave together.
 *
 * Not here: sockets' contents (io/stream.h), what the bytes mean.  Called from one thread only,
 * but for loop_wake(). Linux 6.1: no newer io_uring feature is used. */
#ifndef HF_IO_LOOP_H
#define HF_IO_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

struct loop;

/* One operation in flight.  `res` is what the system call would have returned, or -errno. */
struct loop_op {
	void (*done)(struct loop_op *op, int res);
	bool busy;	/* (loop) true from the call that starts it until `done` is entered */
	bool multishot; /* (loop) stays busy after `done` until res < 0 or cancelled */
	bool accepting; /* (loop) which multishot it is, to start it again when the kernel ends it */
	int fd;		/* (loop) */
	uint32_t events; /* (loop) */
};

/* How long the loop was away from the kernel, round by round: whoever came meanwhile waited.
 * bin[i]: rounds shorter than 2^i us (the last: all others). */
#define LOOP_ROUND_BINS 24
struct loop_rounds {
	uint64_t bin[LOOP_ROUND_BINS];
	uint64_t longest_ns;
};

struct loop_timer {
	void (*fire)(struct loop_timer *t);
	uint64_t deadline_ns; /* (loop) CLOCK_BOOTTIME; 0 = not set */
	size_t heap_at;	      /* (loop) */
};

struct loop_hook {
	void (*call)(struct loop_hook *h);
	struct list link;
};

/* 0 or -errno; -ENOSYS or -EPERM when io_uring is refused (the caller prints one clear line). */
int loop_new(struct loop **lp, unsigned entries);
/* Nothing may be busy any more, or its memory is leaked to the kernel: cancel and drain first. */
void loop_free(struct loop *l);
/* Runs until loop_stop(); 0 or -errno. */
int loop_run(struct loop *l);
/* Handles what is there, waits at most `wait_ns` for the first completion; 0 or -errno. */
int loop_once(struct loop *l, uint64_t wait_ns);
void loop_stop(struct loop *l);
/* Before it sleeps the loop watches for `ns` whether something happens, as long as that has been
 * worth it lately; 0 (the default): never.  A round trip with one call at a time gets two wake-ups
 * shorter; the price is this thread's processor, all of it while such calls come. */
void loop_set_poll(struct loop *l, uint64_t ns);
const struct loop_rounds *loop_rounds(const struct loop *l);
/* CLOCK_BOOTTIME now, and the value read when this round began. */
uint64_t loop_clock_ns(void);
uint64_t loop_now_ns(const struct loop *l);

/* File operations.  `off` is absolute.  `buf` and `op` stay with the caller until done. */
void loop_read(struct loop *l, struct loop_op *op, int fd, void *buf, size_t len, uint64_t off);
void loop_write(struct loop *l, struct loop_op *op, int fd, const void *buf, size_t len,
		uint64_t off);
void loop_fsync(struct loop *l, struct loop_op *op, int fd, bool data_only);
/* Calls done(revents) once if one of `events` (POLLIN...) is true now, then each time something
 * new arrives, until cancelled: an edge, so the caller reads until there is no more. */
void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events);
/* Calls done(revents) once. */
void loop_poll_once(struct loop *l, struct loop_op *op, int fd, uint32_t events);
/* Calls done(new fd) for each connection until cancelled; the sockets are nonblocking, CLOEXEC.
 * A negative result (-EMFILE, ...) ends it: the caller starts it again when it sees fit. */
void loop_accept(struct loop *l, struct loop_op *op, int fd);
/* Asks the kernel to end it early: done(-ECANCELED), or its normal result if that was quicker.
 * Nothing happens when it is not busy. */
void loop_cancel(struct loop *l, struct loop_op *op);
/* Keeps `fd` as a registered file of the ring: its OFD locks then outlive every write in flight
 * (SAFETY F5). 0 or -errno. */
int loop_hold_file(struct loop *l, int fd);
/* Lets go of them now.  Only when nothing is in flight any more: with the process they go too, but
 * the kernel ends a ring at its leisure (50 ms later were seen), and a file system with a file that
 * is held cannot be unmounted. */
void loop_release_files(struct loop *l);

/* Timers: one heap.  A timer set again moves; deadline_ns is CLOCK_BOOTTIME. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* Hooks at the end of each round, in the order added; a hook may start operations and may delete
 * itself, but no other. */
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop_hook *h);
/* Makes the next wait return at once: callable from a hook (another round is wanted). */
void loop_again(struct loop *l);

/* Wakes the loop from another thread; `call` then runs in the loop's thread (once or more). */
struct loop_wake {
	void (*call)(struct loop_wake *w);
	struct loop *loop;
	struct loop_op op;
	uint64_t value;
	int fd;
};
int loop_wake_init(struct loop *l, struct loop_wake *w, void (*call)(struct loop_wake *w));
void loop_wake(struct loop_wake *w);
/* Not from a callback of the loop: it waits for the kernel to let go of `w`. */
void loop_wake_fini(struct loop_wake *w);
/* Handles completions (no timers, no hooks) until `op` is no longer busy; it was cancelled or is
 * known to end. Not from a callback of the loop. */
void loop_drain_op(struct loop *l, struct loop_op *op);
/* Operations that the kernel still holds. */
unsigned loop_busy(const struct loop *l);

#endif
