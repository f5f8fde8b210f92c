/* workers.c - holdfast-vs processes: started, talked to, leased, ended.
 *
 * A worker gets its socket pair, the configuration's text and the lease page as descriptors
 * (codec/worker.h), and a descriptor that holds its unit's lock byte (F5).  It dies with the daemon, by
 * SIGKILL through its pidfd when its ownership goes, and it is done with only when the pidfd says
 * so: then exactly one EV_WORKER_EXITED is posted for its start.
 *
 * A worker that has drained keeps its connections open until the addresses are gone: closing
 * them earlier would send every client back to an address that is still here. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon.h"

#define LEASE_LAPSED 1 /* not good yet; 0 would be final */
#define ARGS_MAX     (16 + 2 * CONF_STORES_MAX + 2 * NODE_VS_UNITS_MAX)
#define MESSAGES_A_ROUND 64

/* ---- cgroups ---------------------------------------------------------------------------------- */

/* Folder of the worker's own cgroup v2, or an empty text. */
static void cgroup_path(char *out, size_t size, const char *vs)
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
		int n = snprintf(out, size, "%s%s/vs-%s", mount, strcmp(own, "/") ? own : "", vs);

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

static void cgroup_make(char *dir, size_t size, const char *vs)
{
	static bool said;

	cgroup_path(dir, size, vs);
	if (dir[0] && (mkdir(dir, 0755) == 0 || errno == EEXIST))
		return;
	if (!said)
		log_info("workers: no cgroup of their own (%s)", dir[0] ? strerror(errno) : "no v2");
	said = true;
	dir[0] = '\0';
}

/* ---- messages --------------------------------------------------------------------------------- */

static struct event event_of(const struct worker *w, enum ev_type type)
{
	return (struct event){.type = type, .vs = w->vs, .epoch = w->epoch};
}

static void finish_open(struct worker *w, int err)
{
	struct event ev = event_of(w, EV_OPENED);

	if (!w->open_op)
		return;
	ev.op = w->open_op;
	ev.err = err;
	w->open_op = 0;
	brain_post(w->d, &ev);
}

static void on_ready(struct worker *w, const struct worker_msg *m)
{
	struct event ev = event_of(w, EV_WORKER_READY);

	free(w->conn);
	w->conn_count = m->conn_count;
	w->conn = mem_zalloc(m->conn_count + 1, sizeof(*w->conn));
	memcpy(w->conn, m->conn, m->conn_count * sizeof(*w->conn));
	ev.worker.at_ns = loop_clock_ns();
	ev.worker.recovered_records = m->recovered_records;
	ev.worker.recovery_ns = m->recovery_ns;
	ev.worker.was_clean = m->was_clean;
	log_info("vserver %s: recovered %llu records in %llu us, %u client connections before",
		 w->d->conf->vserver[w->vs].name, (unsigned long long)m->recovered_records,
		 (unsigned long long)m->recovery_ns / 1000, m->conn_count);
	brain_post(w->d, &ev);
}

/* The unit's fault, not the worker's: then another node may do better at once (F3). */
static bool says_storage(const char *text)
{
	return strstr(text, strerror(EIO)) || strstr(text, strerror(EBADE)) ||
	       strstr(text, strerror(EROFS)) || strstr(text, strerror(ESHUTDOWN));
}

static void on_trouble(struct worker *w, const struct worker_msg *m)
{
	struct event ev = event_of(w, m->type == WORKER_FAILED ? EV_WORKER_FAILED : EV_FS);
	const struct conf_vserver *v = &w->d->conf->vserver[w->vs];
	char text[WORKER_TEXT_MAX + 1];

	snprintf(text, sizeof(text), "%.*s", (int)(m->text_len > WORKER_TEXT_MAX ? WORKER_TEXT_MAX :
						   m->text_len), m->text ? m->text : "");
	log_err("vserver %s: %s: %s", v->name,
		m->type == WORKER_FAILED ? "its worker cannot go on" : "damage", text);
	if (m->type == WORKER_FAILED) {
		ev.worker.at_ns = loop_clock_ns();
		ev.worker.storage = says_storage(text);
		ev.worker.text = "";
		w->failed_said = true;
	} else {
		ev.fs.state = STATUS_FS_DAMAGED;
		for (unsigned i = 0; i < v->store_count; i++)
			if (strncmp(text, v->store[i].name, strlen(v->store[i].name)) == 0)
				ev.fs.fs = i;
	}
	brain_post(w->d, &ev);
}

static void on_message(struct worker *w, const struct worker_msg *m)
{
	struct event ev;

	if (m->epoch != w->epoch)
		return;
	switch (m->type) {
	case WORKER_READY:
		on_ready(w, m);
		break;
	case WORKER_SERVING:
		finish_open(w, 0);
		break;
	case WORKER_FIRST_REPLY:
		ev = event_of(w, EV_FIRST_REPLY);
		ev.worker.at_ns = m->at_ns;
		brain_post(w->d, &ev);
		break;
	case WORKER_DRAINED:
		w->life = WORKER_LEFT;
		ev = event_of(w, EV_WORKER_DRAINED);
		ev.worker.at_ns = loop_clock_ns();
		brain_post(w->d, &ev);
		break;
	case WORKER_STATS_REPLY:
		free(w->stats);
		w->stats = mem_alloc(m->text_len + 1);
		memcpy(w->stats, m->text, m->text_len);
		w->stats[m->text_len] = '\0';
		w->stats_len = m->text_len;
		break;
	case WORKER_FAILED:
	case WORKER_DAMAGE:
		on_trouble(w, m);
		break;
	case WORKER_OPEN:
	case WORKER_DRAIN:
	case WORKER_STATS:
	case WORKER_CHECKPOINT:
		log_limited(LOG_L_WARN, "vserver %s: the worker sent a daemon's message",
			    w->d->conf->vserver[w->vs].name);
		break;
	}
}

static void read_messages(struct worker *w)
{
	static uint8_t packet[WORKER_MSG_MAX];
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));

	for (int i = 0; i < MESSAGES_A_ROUND && w->control >= 0; i++) {
		ssize_t n = recv(w->control, packet, sizeof(packet), MSG_DONTWAIT);

		if (n <= 0)
			break;
		if (worker_decode(m, packet, (size_t)n) == 0)
			on_message(w, m);
		else
			log_limited(LOG_L_WARN, "vserver %s: a message of its worker is malformed",
				    w->d->conf->vserver[w->vs].name);
	}
	free(m);
}

static void on_control(struct loop_op *op, int res)
{
	struct worker *w = LIST_OWNER(op, struct worker, control_op);

	if (res < 0 || w->control < 0)
		return;
	read_messages(w);
	if (!(res & (POLLHUP | POLLERR)))
		loop_poll_once(w->d->loop, &w->control_op, w->control, POLLIN);
}

static int send_message(struct worker *w, struct worker_msg *m, const int *fds, unsigned count)
{
	uint8_t packet[1024];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * WORKER_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = packet};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (w->control < 0)
		return -EPIPE;
	m->epoch = w->epoch;
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
	return sendmsg(w->control, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_type(struct worker *w, enum worker_type type)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));
	int rc;

	m->type = type;
	rc = send_message(w, m, NULL, 0);
	free(m);
	return rc;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void close_all(struct worker *w)
{
	if (w->control >= 0) {
		if (w->control_op.busy)
			loop_cancel(w->d->loop, &w->control_op);
		close(w->control);
	}
	w->control = -1;
	if (w->lease)
		munmap(w->lease, sizeof(*w->lease));
	w->lease = NULL;
	if (w->lease_fd >= 0)
		close(w->lease_fd);
	w->lease_fd = -1;
}

static void post_exit(struct worker *w)
{
	struct event ev = event_of(w, EV_WORKER_EXITED);

	ev.worker.at_ns = loop_clock_ns();
	ev.worker.text = "";
	brain_post(w->d, &ev);
}

static void on_exit_of(struct loop_op *op, int res)
{
	struct worker *w = LIST_OWNER(op, struct worker, exit_op);
	const char *name = w->d->conf->vserver[w->vs].name;
	siginfo_t si = {0};

	(void)res;
	read_messages(w);
	waitid(P_PID, (id_t)w->pid, &si, WEXITED);
	if (si.si_code == CLD_EXITED)
		log_info("vserver %s: worker ended status=%d", name, si.si_status);
	else
		log_at(w->dead ? LOG_L_INFO : LOG_L_ERR, "vserver %s: worker killed signal=%d", name,
		       si.si_status);
	if (!w->dead && w->life != WORKER_LEFT)
		w->crashes++;
	close(w->pidfd);
	w->pidfd = -1;
	close_all(w);
	w->life = WORKER_NONE;
	finish_open(w, -EPIPE);
	post_exit(w);
}

void worker_kill(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];
	char dir[PATH_TEXT_MAX * 2];

	if (w->life == WORKER_NONE)
		return;
	if (w->lease)
		__atomic_store_n(&w->lease->until_ns, 0, __ATOMIC_RELEASE);
	w->dead = true;
	pidfd_kill(w->pidfd, SIGKILL);
	cgroup_path(dir, sizeof(dir), d->conf->vserver[vs].name);
	if (dir[0])
		cgroup_write(dir, "cgroup.kill", "1");
}

void worker_let_go(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

	if (w->life == WORKER_LEFT && w->control >= 0)
		shutdown(w->control, SHUT_RDWR);
}

void workers_end(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		worker_kill(d, i);
}

/* ---- the lease -------------------------------------------------------------------------------- */

static int make_lease(struct worker *w)
{
	void *p;

	w->lease_fd = memfd_create("lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (w->lease_fd < 0 || ftruncate(w->lease_fd, sizeof(*w->lease)) < 0)
		return -errno;
	p = mmap(NULL, sizeof(*w->lease), PROT_READ | PROT_WRITE, MAP_SHARED, w->lease_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* The worker can map it for reading only from here on. */
	fcntl(w->lease_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
	w->lease = p;
	w->lease->epoch = w->epoch;
	w->lease->until_ns = LEASE_LAPSED;
	return 0;
}

void worker_lease_set(struct daemon *d, unsigned vs, uint64_t epoch, uint64_t until_ns)
{
	struct worker *w = &d->worker[vs];

	if (w->lease && w->epoch == epoch && !w->dead)
		__atomic_store_n(&w->lease->until_ns, until_ns, __ATOMIC_RELEASE);
}

/* ---- the start -------------------------------------------------------------------------------- */

struct launch {
	char *argv[ARGS_MAX];
	unsigned argc;
	int fd[4 + NODE_VS_UNITS_MAX];
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

static int conf_memfd(const struct daemon *d)
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

static int add_locks(struct daemon *d, struct launch *l, unsigned vs)
{
	const struct node_conf_vs *v = &d->node->conf.vs[vs];

	for (unsigned i = 0; i < v->unit_count; i++) {
		int fd = unit_lock_worker(&d->unit[v->unit[i]].spec);

		if (fd < 0) {
			log_err("vserver %s: %s: an earlier worker's lock: %s", v->name,
				d->unit[v->unit[i]].spec.lock, strerror(-fd));
			return fd;
		}
		arg_fd(l, "--lock", fd);
	}
	return 0;
}

static int prepare(struct worker *w, struct launch *l, int *their_end)
{
	struct daemon *d = w->d;
	const struct conf_vserver *v = &d->conf->vserver[w->vs];
	char text[PATH_TEXT_MAX * 2];
	int pair[2], fd, rc;

	snprintf(text, sizeof(text), "%s/holdfast-vs", d->libexec);
	l->argv[l->argc++] = mem_strdup(text);
	arg(l, "--vs", v->name);
	arg(l, "--node", d->conf->node[d->self].name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)w->epoch);
	arg(l, "--epoch", text);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	w->control = pair[0];
	*their_end = pair[1];
	arg_fd(l, "--control", pair[1]);
	fd = conf_memfd(d);
	if (fd < 0)
		return fd;
	arg_fd(l, "--config", fd);
	rc = make_lease(w);
	if (rc)
		return rc;
	fd = fcntl(w->lease_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	arg_fd(l, "--lease", fd);
	rc = add_locks(d, l, w->vs);
	return rc ? rc : add_stores(d, l, v);
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

static int launch(struct worker *w, const struct launch *l)
{
	char cgroup[PATH_TEXT_MAX * 2];
	pid_t parent = getpid();

	cgroup_make(cgroup, sizeof(cgroup), w->d->conf->vserver[w->vs].name);
	w->pid = fork();
	if (w->pid < 0)
		return -errno;
	if (w->pid == 0)
		become_worker(l, cgroup, parent);
	w->pidfd = pidfd_open_of(w->pid);
	hf_assert(w->pidfd >= 0);
	w->control_op = (struct loop_op){.done = on_control};
	w->exit_op = (struct loop_op){.done = on_exit_of};
	loop_poll_once(w->d->loop, &w->control_op, w->control, POLLIN);
	loop_poll_once(w->d->loop, &w->exit_op, w->pidfd, POLLIN);
	w->life = WORKER_RUNNING;
	return 0;
}

void worker_start(struct daemon *d, const struct action *a)
{
	struct worker *w = &d->worker[a->vs];
	struct launch l = {.argc = 0};
	int theirs = -1, rc;

	hf_assert(w->life == WORKER_NONE);
	w->epoch = a->epoch;
	w->dead = w->failed_said = false;
	w->open_op = 0;
	w->started_ns = loop_clock_ns();
	w->starts++;
	rc = prepare(w, &l, &theirs);
	if (rc == 0)
		rc = launch(w, &l);
	for (unsigned i = 0; i < l.fd_count; i++)
		close(l.fd[i]);
	for (unsigned i = 0; i < l.argc; i++)
		free(l.argv[i]);
	if (rc == 0)
		return;
	log_err("vserver %s: no worker: %s", d->conf->vserver[a->vs].name, strerror(-rc));
	close_all(w);
	post_exit(w);
}

void worker_drain(struct daemon *d, const struct action *a)
{
	struct worker *w = &d->worker[a->vs];

	/* One that cannot be told to drain is ended; its exit is what the brain hears. */
	if (w->life == WORKER_RUNNING && send_type(w, WORKER_DRAIN) != 0)
		worker_kill(d, a->vs);
}

void worker_open(struct daemon *d, const struct action *a)
{
	struct worker *w = &d->worker[a->vs];
	struct vs_sockets *s = &d->sockets[a->vs];
	struct worker_msg *m;
	int rc = w->life == WORKER_RUNNING ? sockets_open(d, a->vs) : -EPIPE;

	if (rc == 0) {
		m = mem_zalloc(1, sizeof(*m));
		m->type = WORKER_OPEN;
		m->role_count = s->count;
		memcpy(m->role, s->role, s->count);
		rc = send_message(w, m, s->fd, s->count);
		free(m);
	}
	w->open_op = rc == 0 ? a->op : 0;
	if (rc)
		brain_post_err(d, EV_OPENED, a, rc);
}

void worker_ask_stats(struct daemon *d, unsigned vs)
{
	if (d->worker[vs].life == WORKER_RUNNING)
		(void)send_type(&d->worker[vs], WORKER_STATS);
}

void workers_open(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		d->worker[i] = (struct worker){.d = d, .vs = i, .pidfd = -1, .control = -1,
					       .lease_fd = -1};
}
