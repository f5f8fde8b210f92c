/* lease.c - may we serve at this moment?  (SAFETY F4)
 *
 * holdfastd writes into a page that we share until when the lease runs, on CLOCK_BOOTTIME, counted
 * from the start of its last good slot write.  We compare; the clock comes from the vDSO, so a
 * check costs no system call.  The transports ask after each receive, before a request may touch
 * state, and before each send.
 *
 * A pause of a minute at each line:
 *	until = load	  the old value was read; it lies before `now`: lapsed.
 *	now = clock	  `now` is a minute old and the answer may be a wrong yes.  What follows is
 *			  a request run too late, or one send; see io/stream.c for what becomes of
 *			  either.  No window can be closed by a check alone; the taker's order of
 *			  steps (reserve first, address next, listen last) closes it.
 *	return		  the same.
 * That is why the clock is read last. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "vs.h"

#define WATCH_NS 100000000ULL
#define SOON_NS	 2000000ULL

int lease_map(struct vs *v, int fd)
{
	void *p = mmap(NULL, sizeof(*v->lease), PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	v->lease = p;
	return 0;
}

static uint64_t lease_until(const struct vs *v)
{
	return __atomic_load_n(&v->lease->until_ns, __ATOMIC_ACQUIRE);
}

/* Final: all sockets are closed with the process, the log is not touched.  _exit() runs nothing
 * of ours; writes in flight end before the lock that the ring holds is let go (F5). */
static _Noreturn void revoked(const char *why)
{
	log_warn("lease: %s; leaving without a word to anyone", why);
	_exit(VS_EXIT_REVOKED);
}

bool lease_good(void *vs)
{
	struct vs *v = vs;
	uint64_t until, now;

	if (!v->lease)
		return true;
	until = lease_until(v);
#ifndef HF_MUTANT_VS_IGNORES_REVOCATION
	if (until == 0)
		revoked("revoked");
#endif
	if (v->lease->epoch != v->epoch)
		revoked("it is for another epoch");
	now = loop_clock_ns();
	return now < until;
}

static void watch(struct loop_timer *t)
{
	struct vs *v = LIST_OWNER(t, struct vs, lease_timer);

	(void)lease_good(v);
	loop_timer_set(v->loop, t, loop_clock_ns() + WATCH_NS);
}

void lease_watch(struct vs *v)
{
	if (!v->lease)
		return;
	v->lease_timer.fire = watch;
	loop_timer_set(v->loop, &v->lease_timer, loop_clock_ns() + WATCH_NS);
}

void lease_watch_soon(struct vs *v)
{
	v->lease_timer.fire = watch;
	loop_timer_set(v->loop, &v->lease_timer, loop_clock_ns() + SOON_NS);
}
