/* launch.c - making holdfast-vs processes, ahead of the need for them.
 *
 * A process is started without an epoch, as a spare: it gets its socket pair, the configuration's text
 * and its lease page as descriptors (codec/worker.h), does everything that needs no storage and waits.
 * TAKE makes it the worker: epoch and locks.  A start takes 15 to 60 ms, most of it before the storage
 * is looked at, so for each virtual server that may come here one spare is kept ready: a planned
 * move, a takeover and the restart after a crash begin with recovery (doc/decisions/0008).
 *
 * A spare is nobody: it has no lock, its lease page says epoch 0, its cgroup is its own.  The brain
 * does not know of it.  It dies with the daemon like a worker. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon.h"

#define LEASE_LAPSED   1 /* not good yet; 0 would be final */
#define ARGS_MAX       (16 + 2 * CONF_STORES_MAX)
#define SPARE_RETRY_NS 5000000000ULL /* after one that ended by itself */
#define SPARE_NEXT_NS  200000000ULL  /* between two: they shall not all start at once */

/* ---- cgroups ---------------------------------------------------------------------------------- */

/* Folder of the process's own cgroup v2, or an empty text.  Named by cluster and node too: of two nodes
 * on one machine one must not kill what is the other's. */
static void cgroup_path(char *out, size_t size, const struct daemon *d, const char *vs,
			unsigned place)
{
	char line[PATH_TEXT_MAX], mount[PATH_TEXT_MAX] = "", own[PATH_TEXT_MAX] = "";
	FILE *f = fopen("/proc/self/mountinfo", "re");

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") && !mount[0] &&
		    sscanf(line, "%*s %*s %*s %*s %511s", mount) != 1)
			mount[0] = '\0';
	if (f)
		fclose(f);
	f = fopen("/proc/self/cgroup", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(own, sizeof(own), "%s", line + 3);
		}
	if (f)
		fclose(f);
	if (mount[0] && own[0]) {
		int n = snprintf(out, size, "%s%s/vs-%s-%s-%s.%u", mount,
				 strcmp(own, "/") ? own : "", d->conf->name,
				 d->conf->node[d->self].name, vs, place);

		if (n < 0 || (size_t)n >= size)
			out[0] = '\0';
	}
}

static void cgroup_write(const char *dir, const char *file, const char *text)
{
	char path[PATH_TEXT_MAX * 2];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		log_debug("cgroup %s: %s", path, strerror(errno));
	close(fd);
}

static void cgroup_make(char *dir, size_t size, const struct daemon *d, const char *vs,
			unsigned place)
{
	static bool said;

	cgroup_path(dir, size, d, vs, place);
	if (dir[0] && (mkdir(dir, 0755) == 0 || errno == EEXIST))
		return;
	if (!said)
		log_info("workers: no cgroup of their own (%s)", dir[0] ? strerror(errno) : "no v2");
	said = true;
	dir[0] = '\0';
}

/* ---- the lease -------------------------------------------------------------------------------- */

static int make_lease(struct worker_process *p)
{
	void *page;

	p->lease_fd = memfd_create("lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (p->lease_fd < 0 || ftruncate(p->lease_fd, sizeof(*p->lease)) < 0)
		return -errno;
	page = mmap(NULL, sizeof(*p->lease), PROT_READ | PROT_WRITE, MAP_SHARED, p->lease_fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	/* The worker can map it for reading only from here on. */
	fcntl(p->lease_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
	p->lease = page;
	p->lease->epoch = 0;
	p->lease->until_ns = LEASE_LAPSED;
	return 0;
}

/* ---- the start -------------------------------------------------------------------------------- */

struct launch {
	char *argv[ARGS_MAX];
	unsigned argc;
	int fd[4];
	unsigned fd_count;
};

static void arg(struct launch *l, const char *name, const char *value)
{
	hf_assert(l->argc + 3 <= ARGS_MAX);
	l->argv[l->argc++] = mem_strdup(name);
	l->argv[l->argc++] = mem_strdup(value);
}

/* The launch owns the descriptor, but the two that the daemon keeps. */
static void arg_fd(struct launch *l, const char *name, int fd)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", fd);
	arg(l, name, text);
	l->fd[l->fd_count++] = fd;
}

int launch_conf_fd(const struct daemon *d)
{
	int fd = memfd_create("config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (write(fd, d->conf_text, d->conf_len) != (ssize_t)d->conf_len) {
		close(fd);
		return -ENOSPC;
	}
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return fd;
}

static int add_stores(struct daemon *d, struct launch *l, const struct conf_vserver *v)
{
	char dir[PATH_TEXT_MAX * 2], text[PATH_TEXT_MAX * 2 + CONF_NAME_MAX];

	for (unsigned i = 0; i < v->store_count; i++) {
		if (conf_store_dir(dir, sizeof(dir), d->conf, &v->store[i],
				   d->conf->node[d->self].name))
			return -ENAMETOOLONG;
		snprintf(text, sizeof(text), "%s=%s", v->store[i].name, dir);
		arg(l, "--store", text);
	}
	return 0;
}

static int prepare(struct worker_process *p, struct launch *l, int *their_end)
{
	struct daemon *d = p->d;
	const struct conf_vserver *v = &d->conf->vserver[p->vs];
	char text[PATH_TEXT_MAX * 2];
	int pair[2], fd, rc;

	snprintf(text, sizeof(text), "%s/holdfast-vs", d->libexec);
	l->argv[l->argc++] = mem_strdup(text);
	arg(l, "--vs", v->name);
	arg(l, "--node", d->conf->node[d->self].name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	p->control = pair[0];
	*their_end = pair[1];
	arg_fd(l, "--control", pair[1]);
	fd = launch_conf_fd(d);
	if (fd < 0)
		return fd;
	arg_fd(l, "--config", fd);
	rc = make_lease(p);
	if (rc)
		return rc;
	fd = fcntl(p->lease_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	arg_fd(l, "--lease", fd);
	return add_stores(d, l, v);
}

static _Noreturn void become_worker(const struct launch *l, const char *cgroup, pid_t parent)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (cgroup[0])
		cgroup_write(cgroup, "cgroup.procs", "0");
	for (unsigned i = 0; i < l->fd_count; i++)
		fcntl(l->fd[i], F_SETFD, 0);
	execv(l->argv[0], l->argv);
	log_err_errno("worker: %s", l->argv[0]);
	_exit(127);
}

static int spawn(struct worker_process *p, const struct launch *l)
{
	struct daemon *d = p->d;
	pid_t parent = getpid();

	cgroup_make(p->cgroup, sizeof(p->cgroup), d, d->conf->vserver[p->vs].name,
		    (unsigned)(p - d->worker[p->vs].process));
	p->pid = fork();
	if (p->pid < 0) {
		p->pid = 0;
		return -errno;
	}
	if (p->pid == 0)
		become_worker(l, p->cgroup, parent);
	p->pidfd = pidfd_open_of(p->pid);
	hf_assert(p->pidfd >= 0);
	p->control_op = (struct loop_op){.done = worker_control_done};
	p->exit_op = (struct loop_op){.done = worker_exit_done};
	loop_poll_once(d->loop, &p->control_op, p->control, POLLIN);
	loop_poll_once(d->loop, &p->exit_op, p->pidfd, POLLIN);
	return 0;
}

static struct worker_process *free_place(struct worker *w)
{
	for (unsigned i = 0; i < WORKER_PLACES; i++) {
		struct worker_process *p = &w->process[i];

		if (p->pid == 0 && !p->control_op.busy && !p->exit_op.busy)
			return p;
	}
	return NULL;
}

int launch_spare(struct worker *w)
{
	struct worker_process *p = free_place(w);
	struct launch l = {.argc = 0};
	int theirs = -1, rc;

	hf_assert(!w->spare);
	if (!p)
		return -EBUSY; /* one that was killed is not gone yet */
	*p = (struct worker_process){.d = w->d, .vs = w->vs, .pidfd = -1, .control = -1,
				     .lease_fd = -1};
	rc = prepare(p, &l, &theirs);
	if (rc == 0)
		rc = spawn(p, &l);
	for (unsigned i = 0; i < l.fd_count; i++)
		close(l.fd[i]);
	for (unsigned i = 0; i < l.argc; i++)
		free(l.argv[i]);
	if (rc)
		launch_close(p);
	else
		w->spare = p;
	return rc;
}

void launch_close(struct worker_process *p)
{
	if (p->control >= 0) {
		if (p->control_op.busy)
			loop_cancel(p->d->loop, &p->control_op);
		close(p->control);
	}
	p->control = -1;
	if (p->lease)
		munmap(p->lease, sizeof(*p->lease));
	p->lease = NULL;
	if (p->lease_fd >= 0)
		close(p->lease_fd);
	p->lease_fd = -1;
}

void launch_kill(struct worker_process *p)
{
	if (p->lease)
		__atomic_store_n(&p->lease->until_ns, 0, __ATOMIC_RELEASE);
	pidfd_kill(p->pidfd, SIGKILL);
	if (p->cgroup[0])
		cgroup_write(p->cgroup, "cgroup.kill", "1");
}

/* ---- from spare to worker ----------------------------------------------------------------------- */

int launch_send(struct worker_process *p, struct worker_msg *m, const int *fds,
		unsigned count)
{
	uint8_t packet[1024];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * WORKER_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = packet};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (p->control < 0)
		return -EPIPE;
	m->epoch = p->epoch;
	iov.iov_len = worker_encode(m, packet, sizeof(packet));
	hf_assert(iov.iov_len > 0 && count <= WORKER_FDS_MAX);
	if (count) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	}
	return sendmsg(p->control, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Is a store on the at-th unit to be opened? */
static bool has_open(const struct node_conf_vs *v, unsigned at, uint8_t closed)
{
	for (unsigned i = 0; i < v->fs_count; i++)
		if (v->fs_unit[i] == at && !(closed >> i & 1))
			return true;
	return false;
}

static void drop_locks(const int *fd, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fd[i]);
}

/* One lock for each unit that is used: their number; or -errno and none. */
static int take_locks(struct daemon *d, unsigned vs, uint8_t closed, int fd[NODE_VS_UNITS_MAX])
{
	const struct node_conf_vs *v = &d->node->conf.vs[vs];
	unsigned count = 0;

	for (unsigned i = 0; i < v->unit_count; i++) {
		if (!has_open(v, i, closed))
			continue;
		fd[count] = unit_lock_worker(&d->unit[v->unit[i]].spec);
		if (fd[count++] >= 0)
			continue;
		trouble_say(d, vs, "%s: an earlier worker's lock: %s",
			    d->unit[v->unit[i]].spec.lock, strerror(-fd[count - 1]));
		drop_locks(fd, count - 1);
		return fd[count - 1];
	}
	return (int)count;
}

/* The spare becomes the worker; when it has just died, a new one does. */
static int take(struct worker *w, const struct action *a, const int *locks, unsigned count)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));
	int rc = -EPIPE;

	m->type = WORKER_TAKE;
	m->lock_count = count;
	m->closed = a->start.closed;
	for (int i = 0; i < 2 && rc == -EPIPE; i++) {
		struct worker_process *p;

		rc = w->spare ? 0 : launch_spare(w);
		if (rc)
			break;
		p = w->spare;
		w->spare = NULL;
		p->epoch = a->epoch;
		/* Before the message: who reads that finds the page as it must be (F4). */
		__atomic_store_n(&p->lease->epoch, a->epoch, __ATOMIC_RELEASE);
		rc = launch_send(p, m, locks, count);
		if (rc == 0)
			w->now = p;
		else
			launch_kill(p);
	}
	free(m);
	return rc;
}

int launch_worker(struct worker *w, const struct action *a)
{
	int fd[NODE_VS_UNITS_MAX];
	int count = take_locks(w->d, w->vs, a->start.closed, fd), rc;

	if (count < 0)
		return count;
	rc = take(w, a, fd, (unsigned)count);
	/* The locks are the worker's alone from here on (F5): they go with its ring. */
	drop_locks(fd, (unsigned)count);
	launch_later(w, SPARE_FIRST_NS);
	return rc;
}

/* ---- keeping one ready -------------------------------------------------------------------------- */

static bool may_come_here(const struct daemon *d, unsigned vs)
{
	const struct conf_vserver *v = &d->conf->vserver[vs];

	return !v->gone && (v->migrate || v->home == d->self);
}

static void on_spare_timer(struct loop_timer *t)
{
	struct daemon *d = LIST_OWNER(t, struct daemon, spare_timer);
	uint64_t now = loop_clock_ns(), next = FOREVER_NS;
	bool launched = false;

	for (unsigned i = 0; i < d->conf->vserver_count && !d->leaving; i++) {
		struct worker *w = &d->worker[i];

		if (w->spare || !may_come_here(d, i))
			continue;
		if (!launched && now >= w->spare_not_before_ns) {
			int rc = launch_spare(w);

			launched = true;
			if (rc == 0)
				continue;
			log_limited(LOG_L_WARN, "vserver %s: no spare worker: %s",
				    d->conf->vserver[i].name, strerror(-rc));
			w->spare_not_before_ns = now + SPARE_RETRY_NS;
		}
		if (w->spare_not_before_ns < next)
			next = w->spare_not_before_ns;
	}
	if (next != FOREVER_NS)
		loop_timer_set(d->loop, t, next > now + SPARE_NEXT_NS ? next : now + SPARE_NEXT_NS);
}

void launch_later(struct worker *w, uint64_t ns)
{
	struct daemon *d = w->d;

	w->spare_not_before_ns = loop_clock_ns() + ns;
	loop_timer_set(d->loop, &d->spare_timer, loop_clock_ns() + SPARE_NEXT_NS);
}

void launch_spare_ended(struct worker *w, int status)
{
	w->spare = NULL;
	if (!w->d->leaving && !w->d->conf->vserver[w->vs].gone)
		log_limited(LOG_L_WARN, "vserver %s: its spare worker ended, status=%d",
			    w->d->conf->vserver[w->vs].name, status);
	launch_later(w, SPARE_RETRY_NS);
}

void launch_open(struct daemon *d)
{
	d->spare_timer.fire = on_spare_timer;
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		launch_later(&d->worker[i], SPARE_FIRST_NS);
}
