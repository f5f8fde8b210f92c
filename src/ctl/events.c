/* events.c - the daemon's end of the event log, and the child that keeps it. */
#include "ctl/events.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "io/process.h"

#define AGAIN_NS  1000000000ULL /* a child that ended is started again after this */
#define LOOK_MS	  3600000	/* so often age is looked at when nothing happens */
#define BATCH_MAX 256

struct events {
	struct loop *loop;
	struct events_conf conf;
	int fd; /* -1: no child */
	pid_t pid;
	int pidfd;
	struct loop_op end_op;
	struct loop_timer again;
	uint64_t lost, lost_said;
	bool closing;
};

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- the child ------------------------------------------------------------------------------ */

/* The last child of this node may still be at work on a slow disk. */
static int lock_dir(const char *dir)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/events.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return fd;
}

static void complain(struct events_file *f, int rc)
{
	log_limited(LOG_L_ERR, "events: %s/events: cannot be written: %s", f->dir, strerror(-rc));
}

/* What is there, at most a batch of it; false at the end. */
static bool take_batch(struct events_file *f, int fd)
{
	char body[EVENTS_LINE_MAX];
	int rc = 0, flags = 0;
	ssize_t n = 0;

	for (unsigned i = 0; i < BATCH_MAX; i++, flags = MSG_DONTWAIT) {
		n = recv(fd, body, sizeof(body), flags);
		if (n <= 0)
			break;
		rc = events_file_add(f, body, (size_t)n, wall_ns());
		if (rc)
			complain(f, rc);
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		flags = -1;
	rc = events_file_sync(f);
	if (rc)
		complain(f, rc);
	return flags != -1;
}

static _Noreturn void child(const struct events_conf *c, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct events_file f;
	int rc;

	prctl(PR_SET_NAME, "holdfast-events");
	signal(SIGTERM, SIG_IGN); /* it ends with what there is to write */
	signal(SIGINT, SIG_IGN);
	rc = lock_dir(c->dir);
	if (rc >= 0)
		rc = events_file_open(&f, c->dir, c->size_bytes, c->age_ns);
	if (rc) {
		log_err("events: %s/events: cannot be opened: %s", c->dir, strerror(-rc));
		_exit(1);
	}
	do {
		events_file_age(&f, wall_ns());
		while (poll(&p, 1, LOOK_MS) == 0)
			events_file_age(&f, wall_ns());
	} while (take_batch(&f, fd));
	_exit(0);
}

static void keep_only(int fd)
{
	if (fd > 3)
		syscall(SYS_close_range, 3U, (unsigned)fd - 1, 0);
	syscall(SYS_close_range, (unsigned)fd + 1, ~0U, 0);
}

static void on_child_end(struct loop_op *op, int res);

static int start_child(struct events *e)
{
	int ends[2];
	sigset_t none;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	e->pid = fork();
	if (e->pid < 0) {
		int rc = -errno;

		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	if (e->pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		keep_only(ends[1]);
		child(&e->conf, ends[1]);
	}
	close(ends[1]);
	e->fd = ends[0];
	e->pidfd = pidfd_open_of(e->pid);
	e->end_op = (struct loop_op){.done = on_child_end};
	if (e->pidfd >= 0)
		loop_poll_once(e->loop, &e->end_op, e->pidfd, POLLIN);
	return 0;
}

/* ---- the daemon's end ------------------------------------------------------------------------ */

static void on_again(struct loop_timer *t)
{
	struct events *e = LIST_OWNER(t, struct events, again);

	if (start_child(e))
		loop_timer_set(e->loop, &e->again, loop_clock_ns() + AGAIN_NS);
}

static void on_child_end(struct loop_op *op, int res)
{
	struct events *e = LIST_OWNER(op, struct events, end_op);

	if (res < 0 || e->closing)
		return;
	waitpid(e->pid, NULL, WNOHANG);
	log_limited(LOG_L_ERR, "events: the process that keeps the event log ended; starting another");
	close(e->fd);
	close(e->pidfd);
	e->fd = e->pidfd = -1;
	loop_timer_set(e->loop, &e->again, loop_clock_ns() + AGAIN_NS);
}

int events_open(struct events **ep, struct loop *l, const struct events_conf *c)
{
	struct events *e = mem_zalloc(1, sizeof(*e));
	int rc;

	e->loop = l;
	e->conf = *c;
	e->fd = e->pidfd = -1;
	e->again.fire = on_again;
	rc = start_child(e);
	if (rc) {
		free(e);
		return rc;
	}
	*ep = e;
	return 0;
}

uint64_t events_lost(const struct events *e)
{
	return e->lost;
}

/* JSON is UTF-8; what others sent us may be anything. */
static void plain(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; text && *text && n + 1 < size; text++)
		out[n++] = *text >= ' ' && *text <= '~' ? *text : '?';
	out[n] = '\0';
}

static void time_text(char out[80], uint64_t ns)
{
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;

	gmtime_r(&s, &tm);
	snprintf(out, 80, "%04d-%02d-%02dT%02d:%02d:%02d.%03lluZ", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (unsigned long long)(ns / 1000000 % 1000));
}

static char *body_of(const struct events *e, const struct events_item *it)
{
	static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
	char object[128], what[512], reason[64], todo[256], at[80];
	uint64_t now = wall_ns();
	json_t *o;
	char *text;

	plain(object, sizeof(object), it->object);
	plain(what, sizeof(what), it->what);
	plain(reason, sizeof(reason), it->reason);
	plain(todo, sizeof(todo), it->todo);
	time_text(at, now);
	o = json_pack("{s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "time", at, "time_ns",
		      (json_int_t)now, "boot_ns", (json_int_t)loop_clock_ns(), "node", e->conf.node,
		      "generation", (json_int_t)it->generation, "level", levels[it->level], "object",
		      object, "what", what, "reason", reason, "todo", todo);
	text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(o);
	return text;
}

static bool send_item(struct events *e, const struct events_item *it)
{
	char *body;
	ssize_t n;

	if (e->fd < 0)
		return false;
	body = body_of(e, it);
	n = body ? send(e->fd, body, strlen(body), MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
	free(body);
	return n > 0;
}

static void say_lost(struct events *e, uint64_t generation)
{
	char what[80];
	struct events_item it = {.level = LOG_L_WARN, .generation = generation, .object = "events",
				 .what = what};

	snprintf(what, sizeof(what), "%llu events were left out: the disk did not keep up",
		 (unsigned long long)(e->lost - e->lost_said));
	if (send_item(e, &it))
		e->lost_said = e->lost;
}

void events_say(struct events *e, const struct events_item *it)
{
	if (!e)
		return;
	if (e->lost != e->lost_said)
		say_lost(e, it->generation);
	if (!send_item(e, it))
		e->lost++;
}

void events_close(struct events *e, unsigned wait_ms)
{
	struct pollfd p;

	if (!e)
		return;
	e->closing = true;
	loop_timer_clear(e->loop, &e->again);
	if (e->fd >= 0)
		close(e->fd);
	p = (struct pollfd){.fd = e->pidfd, .events = POLLIN};
	if (e->pidfd >= 0 && poll(&p, 1, (int)wait_ms) > 0)
		waitpid(e->pid, NULL, WNOHANG);
	if (e->end_op.busy) {
		loop_cancel(e->loop, &e->end_op);
		loop_drain_op(e->loop, &e->end_op);
	}
	if (e->pidfd >= 0)
		close(e->pidfd);
	free(e);
}

/* ---- texts of the brain ----------------------------------------------------------------------- */

/* `prefix`NAME at the start of `head` (n bytes): its name, *len. */
static const char *named(const char *head, size_t n, const char *prefix, size_t *len)
{
	size_t k = strlen(prefix);

	if (n <= k || strncmp(head, prefix, k) != 0)
		return NULL;
	*len = n - k;
	return head + k;
}

const char *events_object(const char *text, const char *node, char *object, size_t size)
{
	static const char *const about_nodes[] = {"takeover of ", "giveback to ", "peer "};
	const char *colon = strstr(text, ": "), *name;
	size_t n, len;

	if (!colon) {
		snprintf(object, size, "node %s", node);
		return text;
	}
	n = (size_t)(colon - text);
	for (unsigned i = 0; i < 3; i++)
		if ((name = named(text, n, about_nodes[i], &len)) != NULL) {
			snprintf(object, size, "node %.*s", (int)len, name);
			return i < 2 ? text : colon + 2;
		}
	if (n == 4 && strncmp(text, "node", 4) == 0)
		snprintf(object, size, "node %s", node);
	else
		snprintf(object, size, "%.*s", (int)n, text);
	return colon + 2;
}
