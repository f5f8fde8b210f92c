/* t_loop.c - the event loop: files, polls, accepts, timers, hooks, wake-ups, cancelling, F5. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/trace.h"
#include "io/loop.h"

#define MS 1000000ULL

struct note {
	struct loop_op op;
	int calls, last;
};

static void note_done(struct loop_op *op, int res)
{
	struct note *n = LIST_OWNER(op, struct note, op);

	n->calls++;
	n->last = res;
}

static struct loop *loop_make(void)
{
	struct loop *l = NULL;

	CHECK_EQ(0, loop_new(&l, 8));
	return l;
}

static void until(struct loop *l, const int *what, int value)
{
	for (int i = 0; i < 200 && *what < value; i++)
		CHECK_EQ(0, loop_once(l, 20 * MS));
	CHECK_EQ(value, *what);
}

static void t_file(void)
{
	struct loop *l = loop_make();
	struct note n = {.op.done = note_done};
	char path[] = "/tmp/t_loop.XXXXXX", buf[16] = "";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	loop_write(l, &n.op, fd, "holdfast", 8, 4);
	CHECK(n.op.busy);
	until(l, &n.calls, 1);
	CHECK_EQ(8, n.last);
	CHECK(!n.op.busy);
	loop_fsync(l, &n.op, fd, true);
	until(l, &n.calls, 2);
	CHECK_EQ(0, n.last);
	loop_read(l, &n.op, fd, buf, sizeof(buf), 4);
	until(l, &n.calls, 3);
	CHECK_EQ(8, n.last);
	CHECK(memcmp(buf, "holdfast", 8) == 0);
	loop_read(l, &n.op, 9999, buf, sizeof(buf), 0);
	until(l, &n.calls, 4);
	CHECK_EQ(-EBADF, n.last);
	CHECK_EQ(0, loop_busy(l));
	close(fd);
	unlink(path);
	loop_free(l);
}

/* More operations than the queue has entries. */
static void t_many(void)
{
	struct loop *l = loop_make();
	struct note n[100];
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	memset(n, 0, sizeof(n));
	for (int i = 0; i < 100; i++) {
		n[i].op.done = note_done;
		loop_write(l, &n[i].op, fd, "x", 1, 0);
	}
	for (int i = 0; i < 100; i++)
		until(l, &n[i].calls, 1);
	CHECK(trace_mark_count("loop.queue_full") > 0);
	close(fd);
	loop_free(l);
}

static void t_poll(void)
{
	struct loop *l = loop_make();
	struct note n = {.op.done = note_done};
	int p[2];

	CHECK_EQ(0, pipe2(p, O_NONBLOCK | O_CLOEXEC));
	loop_poll(l, &n.op, p[0], POLLIN);
	CHECK_EQ(0, loop_once(l, 0));
	CHECK_EQ(0, n.calls);
	CHECK_EQ(1, write(p[1], "a", 1));
	until(l, &n.calls, 1);
	CHECK(n.last & POLLIN);
	CHECK(n.op.busy);
	CHECK_EQ(1, write(p[1], "b", 1));
	until(l, &n.calls, 2);
	loop_cancel(l, &n.op);
	until(l, &n.calls, 3);
	CHECK_EQ(-ECANCELED, n.last);
	CHECK(!n.op.busy);
	loop_cancel(l, &n.op); /* harmless */
	loop_poll_once(l, &n.op, p[0], POLLIN);
	until(l, &n.calls, 4);
	CHECK(!n.op.busy);
	close(p[0]);
	close(p[1]);
	loop_free(l);
}

static void t_accept(void)
{
	struct loop *l = loop_make();
	struct note n = {.op.done = note_done};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c[3];

	CHECK_EQ(0, bind(s, (struct sockaddr *)&a, len));
	CHECK_EQ(0, listen(s, 8));
	CHECK_EQ(0, getsockname(s, (struct sockaddr *)&a, &len));
	loop_accept(l, &n.op, s);
	for (int i = 0; i < 3; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQ(0, connect(c[i], (struct sockaddr *)&a, len));
		until(l, &n.calls, i + 1);
		CHECK(n.last >= 0);
		CHECK(fcntl(n.last, F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(n.last, F_GETFD) & FD_CLOEXEC);
		close(n.last);
		close(c[i]);
	}
	loop_cancel(l, &n.op);
	until(l, &n.calls, 4);
	CHECK_EQ(0, loop_busy(l));
	close(s);
	loop_free(l);
}

struct tick {
	struct loop_timer t;
	int *order, at;
};

static void tick_fire(struct loop_timer *t)
{
	struct tick *k = LIST_OWNER(t, struct tick, t);

	k->at = ++*k->order;
}

static void t_timers(void)
{
	struct loop *l = loop_make();
	struct tick k[50];
	int order = 0;
	uint64_t t0 = loop_clock_ns();

	for (int i = 0; i < 50; i++) {
		k[i] = (struct tick){.t.fire = tick_fire, .order = &order};
		loop_timer_set(l, &k[i].t, t0 + ((uint64_t)i * 37 % 50 + 1) * MS / 2);
	}
	loop_timer_set(l, &k[7].t, t0 + 40 * MS); /* moves */
	loop_timer_clear(l, &k[9].t);
	loop_timer_clear(l, &k[9].t);
	until(l, &order, 49);
	CHECK(loop_clock_ns() >= t0 + 40 * MS);
	CHECK_EQ(49, k[7].at);
	CHECK_EQ(0, k[9].at);
	for (int i = 0; i < 50; i++)
		for (int j = 0; j < 50; j++)
			if (i != 7 && j != 7 && i != 9 && j != 9 && (i * 37) % 50 < (j * 37) % 50)
				CHECK(k[i].at < k[j].at);
	loop_free(l);
}

static int hook_order;
struct hooked {
	struct loop_hook h;
	int at, calls;
	bool once;
};

static void hook_call(struct loop_hook *h)
{
	struct hooked *k = LIST_OWNER(h, struct hooked, h);

	k->at = ++hook_order;
	k->calls++;
	if (k->once)
		loop_hook_del(h);
}

static void t_hooks(void)
{
	struct loop *l = loop_make();
	struct hooked a = {.h.call = hook_call}, b = {.h.call = hook_call, .once = true},
		      c = {.h.call = hook_call};
	uint64_t t0;

	loop_hook_add(l, &a.h);
	loop_hook_add(l, &b.h);
	loop_hook_add(l, &c.h);
	CHECK_EQ(0, loop_once(l, 0));
	CHECK(a.at < b.at && b.at < c.at);
	CHECK_EQ(0, loop_once(l, 0));
	CHECK_EQ(2, a.calls);
	CHECK_EQ(1, b.calls);
	t0 = loop_clock_ns();
	loop_again(l);
	CHECK_EQ(0, loop_once(l, 20000 * MS));
	CHECK(loop_clock_ns() - t0 < 10000 * MS);
	loop_hook_del(&a.h);
	loop_hook_del(&c.h);
	loop_free(l);
}

struct waked {
	struct loop_wake w;
	int calls;
	struct loop *l;
};

static void wake_call(struct loop_wake *w)
{
	struct waked *k = LIST_OWNER(w, struct waked, w);

	k->calls++;
	loop_stop(k->l);
}

static void *waker(void *arg)
{
	struct waked *k = arg;

	usleep(5000);
	loop_wake(&k->w);
	return NULL;
}

static void t_wake(void)
{
	struct waked k = {.l = loop_make()};
	pthread_t th;

	CHECK_EQ(0, loop_wake_init(k.l, &k.w, wake_call));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(0, pthread_create(&th, NULL, waker, &k));
		CHECK_EQ(0, loop_run(k.l));
		CHECK_EQ(i + 1, k.calls);
		pthread_join(th, NULL);
	}
	loop_wake_fini(&k.w);
	CHECK_EQ(0, loop_busy(k.l));
	loop_free(k.l);
}

static bool lock_is_free(const char *path)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool ok = fcntl(fd, F_OFD_SETLK, &fl) == 0;

	close(fd);
	return ok;
}

/* covers: F5
 * The ring keeps the lock although the process closed its descriptor; a killed process gives it
 * back only when the kernel has ended the ring. */
static void t_held_lock(void)
{
	char path[] = "/tmp/t_loop.XXXXXX";
	int fd = mkstemp(path), p[2];
	pid_t pid;
	char c;

	CHECK_EQ(0, pipe(p));
	pid = fork();
	if (pid == 0) {
		struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		struct loop *l = NULL;
		int mine = open(path, O_RDWR);

		if (loop_new(&l, 8) || fcntl(mine, F_OFD_SETLK, &fl) || loop_hold_file(l, mine))
			_exit(1);
		close(mine);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(p[1]);
	CHECK_EQ(1, read(p[0], &c, 1));
	CHECK(!lock_is_free(path));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 400 && !lock_is_free(path); i++)
		usleep(5000);
	CHECK(lock_is_free(path));
	close(fd);
	close(p[0]);
	unlink(path);
}

static void *sender(void *arg)
{
	for (int i = 0; i < 100; i++) {
		usleep(100);
		CHECK_EQ(1, write(*(int *)arg, "x", 1));
	}
	return NULL;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

/* What comes while the loop watches is seen without sleeping; when nothing comes it sleeps. */
/* A process that outlives the one that forked it holds nothing of that one's ring. */
static void t_child_holds_nothing(void)
{
	char path[] = "/tmp/t_loop.XXXXXX";
	int fd = mkstemp(path), p[2];
	pid_t pid, child = 0;

	CHECK_EQ(0, pipe(p));
	pid = fork();
	if (pid == 0) {
		struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		struct loop *l = NULL;
		int mine = open(path, O_RDWR);

		if (loop_new(&l, 8) || fcntl(mine, F_OFD_SETLK, &fl) || loop_hold_file(l, mine))
			_exit(1);
		child = fork();
		if (child == 0) {
			close_range(0, ~0U, 0);
			pause();
		}
		if (write(p[1], &child, sizeof(child)) != sizeof(child))
			_exit(1);
		pause();
	}
	close(p[1]);
	CHECK_EQ(sizeof(child), read(p[0], &child, sizeof(child)));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 400 && !lock_is_free(path); i++)
		usleep(5000);
	CHECK(lock_is_free(path));
	CHECK_EQ(0, kill(child, SIGKILL));
	close(fd);
	close(p[0]);
	unlink(path);
}

static void t_watching(void)
{
	struct loop *l = loop_make();
	struct note n = {.op.done = note_done};
	uint64_t hits = trace_mark_count("loop.poll_hit"), cpu;
	pthread_t thread;
	char buf[128];
	int fd[2], got = 0;

	CHECK_EQ(0, pipe(fd));
	loop_set_poll(l, MS);
	loop_poll(l, &n.op, fd[0], POLLIN);
	CHECK_EQ(0, pthread_create(&thread, NULL, sender, &fd[1]));
	for (int i = 0; i < 2000 && got < 100; i++) {
		int before = n.calls;

		CHECK_EQ(0, loop_once(l, 20 * MS));
		if (n.calls > before)
			got += (int)read(fd[0], buf, sizeof(buf));
	}
	CHECK_EQ(100, got);
	CHECK_EQ(0, pthread_join(thread, NULL));
	CHECK(trace_mark_count("loop.poll_hit") > hits);
	cpu = cpu_ns();
	for (int i = 0; i < 10; i++)
		CHECK_EQ(0, loop_once(l, 20 * MS));
	CHECK(cpu_ns() - cpu < 100 * MS); /* of 200; 10 of them are meant to be used */
	loop_cancel(l, &n.op);
	loop_drain_op(l, &n.op);
	loop_free(l);
	close(fd[0]);
	close(fd[1]);
}

/* An orderly end does not wait for the kernel to end the ring: the files are let go of at once. */
static void t_released_files(void)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[] = "/tmp/t_loop.XXXXXX";
	struct loop *l = NULL;
	int fd = mkstemp(path), mine = open(path, O_RDWR);

	CHECK_EQ(0, loop_new(&l, 8));
	loop_release_files(l); /* there are none */
	CHECK_EQ(0, fcntl(mine, F_OFD_SETLK, &fl));
	CHECK_EQ(0, loop_hold_file(l, mine));
	close(mine);
	CHECK(!lock_is_free(path));
	loop_release_files(l);
	CHECK(lock_is_free(path));
	CHECK_EQ(0, loop_hold_file(l, fd)); /* and the table can be used again */
	loop_free(l);
	close(fd);
	unlink(path);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	CASE(t_file);
	CASE(t_many);
	CASE(t_poll);
	CASE(t_accept);
	CASE(t_timers);
	CASE(t_hooks);
	CASE(t_wake);
	CASE(t_held_lock);
	CASE(t_child_holds_nothing);
	CASE(t_watching);
	CASE(t_released_files);
	return check_end();
}
