/* fakeloop.c - io/loop.h for one store on a disk in memory, on a clock of its own, and with the
 * checkpoint's helper thread as a coroutine: everything that happens is decided by the seed.
 *
 * pthread_create() is interposed: the helper runs on a stack of its own and gives way at each
 * boundary of the disk, so its steps and the loop's mix in every order, and a crash in the middle
 * ends both. */
#include "fakeloop.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "io/loop.h"
#include "disk.h"

#define OPS_MAX    64U
#define TIMERS_MAX 4U
#define STACK_SIZE ((size_t)512 << 10)

enum kind { OP_WRITE, OP_FSYNC };

struct loop {
	struct list hooks;
	struct loop_timer *timer[TIMERS_MAX];
	struct loop_wake *wake;
	bool woken, again;
	uint64_t now_ns;
	struct {
		struct loop_op *op;
		enum kind kind;
		int fd;
		uint64_t seq;
	} todo[OPS_MAX];
	unsigned count;
};

#define CLOCK_START (1760000000LL * 1000000000)

static int64_t wall_ns = CLOCK_START;

/* ---- clocks -------------------------------------------------------------------------------------
 */

void fake_clock_reset(void)
{
	wall_ns = CLOCK_START;
}

void fake_clock_jump(int64_t by_ns)
{
	wall_ns += by_ns;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	wall_ns += 100;
	ts->tv_sec = wall_ns / 1000000000;
	ts->tv_nsec = wall_ns % 1000000000;
	return 0;
}

/* ---- the helper
 * ---------------------------------------------------------------------------------- */

static ucontext_t main_context, helper_context;
static void *(*helper_fn)(void *);
static void *helper_arg;
static bool helper_alive, in_helper;
static _Alignas(16) uint8_t helper_stack[STACK_SIZE]; /* below the main one: longjmp() insists */
static unsigned pace = 1;

static void helper_main(void)
{
	helper_fn(helper_arg);
	helper_alive = false;
	in_helper = false;
	setcontext(&main_context);
}

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	(void)attr;
	*t = pthread_self();
	helper_fn = fn;
	helper_arg = arg;
	helper_alive = true;
	getcontext(&helper_context);
	helper_context.uc_stack.ss_sp = helper_stack;
	helper_context.uc_stack.ss_size = STACK_SIZE;
	helper_context.uc_link = NULL;
	makecontext(&helper_context, helper_main, 0);
	return 0;
}

static void helper_step(void)
{
	if (!helper_alive)
		return;
	in_helper = true;
	swapcontext(&main_context, &helper_context);
}

int pthread_join(pthread_t t, void **out)
{
	(void)t, (void)out;
	while (helper_alive)
		helper_step();
	return 0;
}

void fake_give_way(void)
{
	if (!in_helper)
		return;
	in_helper = false;
	swapcontext(&helper_context, &main_context);
}

void fake_helper_pace(unsigned one_in)
{
	pace = one_in;
}

void fake_forget_helper(void)
{
	helper_alive = in_helper = false;
}

bool fake_in_helper(void)
{
	return in_helper;
}

/* ---- the loop
 * ------------------------------------------------------------------------------------- */

int loop_new(struct loop **lp, unsigned entries)
{
	struct loop *l = calloc(1, sizeof(*l));

	(void)entries;
	list_init(&l->hooks);
	l->now_ns = 1000000000;
	*lp = l;
	return 0;
}

void loop_free(struct loop *l)
{
	free(l);
}

uint64_t loop_clock_ns(void)
{
	return 1;
}

uint64_t loop_now_ns(const struct loop *l)
{
	return l->now_ns;
}

void loop_again(struct loop *l)
{
	l->again = true;
}

int loop_hold_file(struct loop *l, int fd)
{
	(void)l, (void)fd;
	return 0;
}

static void add(struct loop *l, struct loop_op *op, enum kind kind, int fd, uint64_t seq)
{
	if (l->count == OPS_MAX)
		abort();
	op->busy = true;
	l->todo[l->count].op = op;
	l->todo[l->count].kind = kind;
	l->todo[l->count].fd = fd;
	l->todo[l->count++].seq = seq;
}

void loop_write(struct loop *l, struct loop_op *op, int fd, const void *buf, size_t len,
		uint64_t off)
{
	add(l, op, OP_WRITE, fd, 0);
	disk_log_begin(fd, buf, len, off);
}

/* Only what was not in memory is read so, and here everything is. */
void loop_read(struct loop *l, struct loop_op *op, int fd, void *buf, size_t len, uint64_t off)
{
	(void)l, (void)op, (void)fd, (void)buf, (void)len, (void)off;
	abort();
}

void loop_fsync(struct loop *l, struct loop_op *op, int fd, bool data_only)
{
	(void)data_only;
	add(l, op, OP_FSYNC, fd, disk_sync_begin(fd));
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	unsigned i = 0;

	t->deadline_ns = deadline_ns;
	while (l->timer[i] && l->timer[i] != t)
		if (++i == TIMERS_MAX)
			abort();
	l->timer[i] = t;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	(void)l;
	t->deadline_ns = 0;
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	list_add_tail(&l->hooks, &h->link);
}

void loop_hook_del(struct loop_hook *h)
{
	list_del(&h->link);
}

int loop_wake_init(struct loop *l, struct loop_wake *w, void (*call)(struct loop_wake *w))
{
	*w = (struct loop_wake){.call = call, .loop = l};
	l->wake = w;
	return 0;
}

void loop_wake(struct loop_wake *w)
{
	w->loop->woken = true;
}

void loop_wake_fini(struct loop_wake *w)
{
	w->loop->wake = NULL;
}

void loop_drain_op(struct loop *l, struct loop_op *op)
{
	(void)l, (void)op;
}

unsigned loop_busy(const struct loop *l)
{
	return l->count;
}

static void finish(struct loop *l, unsigned i)
{
	struct loop_op *op = l->todo[i].op;
	uint64_t seq = l->todo[i].seq;
	int fd = l->todo[i].fd, res;

	if (l->todo[i].kind == OP_WRITE)
		res = (int)disk_log_end(fd);
	else
		res = disk_sync_end(fd, seq);
	l->todo[i] = l->todo[--l->count];
	op->busy = false;
	op->done(op, res);
}

static void timers(struct loop *l)
{
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct loop_timer *t = l->timer[i];

		if (!t || t->deadline_ns == 0 || t->deadline_ns > l->now_ns)
			continue;
		t->deadline_ns = 0;
		t->fire(t);
	}
}

/* One round; each of what is under way goes on or does not, as the dice say. */
int loop_once(struct loop *l, uint64_t wait_ns)
{
	struct list *it, *tmp;

	(void)wait_ns;
	l->again = false;
	l->now_ns += 1000000 + below(20000000);
	wall_ns += 1000000;
	for (unsigned k = below(pace) ? 0 : (unsigned)below(6); k > 0; k--)
		helper_step();
	for (unsigned i = l->count; i > 0; i--)
		if (i <= l->count && below(4) < 3)
			finish(l, i - 1);
	if (l->woken && l->wake) {
		l->woken = false;
		l->wake->call(l->wake);
	}
	timers(l);
	LIST_EACH_SAFE(it, tmp, &l->hooks)
	{
		struct loop_hook *h = LIST_OWNER(it, struct loop_hook, link);

		h->call(h);
	}
	return 0;
}
