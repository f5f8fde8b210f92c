/* workers.c - the workers of the virtual servers that are here: talked to, leased, ended.
 *
 * launch.c makes the processes; a spare becomes the worker by TAKE.  A worker dies with the daemon, by
 * SIGKILL through its pidfd when its ownership goes, and it is done with only when the pidfd says
 * so: then exactly one EV_WORKER_EXITED is posted for its start.
 *
 * A worker that has drained keeps its connections open until the addresses are gone: closing
 * them earlier would send every client back to an address that is still here. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon.h"

#define MESSAGES_A_ROUND 64

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
	if (err == 0 && !w->d->node->vs[w->vs].closed)
		trouble_over(w->d, w->vs);
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

/* Which store the line "NAME: why" is about. */
static unsigned store_said(const struct conf_vserver *v, const char *text)
{
	size_t len = strcspn(text, ":");

	for (unsigned i = 0; i < v->store_count; i++)
		if (strlen(v->store[i].name) == len && memcmp(text, v->store[i].name, len) == 0)
			return i;
	return 0;
}

static void on_trouble(struct worker *w, const struct worker_msg *m)
{
	struct event ev = event_of(w, m->type == WORKER_FAILED ? EV_WORKER_FAILED : EV_FS);
	const struct conf_vserver *v = &w->d->conf->vserver[w->vs];
	char text[WORKER_TEXT_MAX + 1];

	snprintf(text, sizeof(text), "%.*s", (int)(m->text_len > WORKER_TEXT_MAX ? WORKER_TEXT_MAX :
						   m->text_len), m->text ? m->text : "");
	if (m->type == WORKER_FAILED) {
		trouble_keep(w->d, w->vs, text); /* the worker's own line is in the log */
		ev.worker.at_ns = loop_clock_ns();
		/* The unit's fault, not the worker's: then another node may do better at once (F3). */
		ev.worker.storage = m->failure == WORKER_FAIL_STORAGE;
		w->failed_said = true;
	} else {
		trouble_say(w->d, w->vs, "damage: %s", text);
		ev.fs.state = STATUS_FS_DAMAGED;
		ev.fs.below = m->type == WORKER_FAILING;
		memcpy(w->damage, text, sizeof(w->damage));
		w->damage_ns = loop_clock_ns();
		w->damages++;
		w->dead = true; /* its end is no crash */
		ev.fs.fs = store_said(v, text);
	}
	brain_post(w->d, &ev);
}

static void on_message(struct worker *w, const struct worker_msg *m)
{
	struct event ev;

	switch (m->type) {
	case WORKER_READY:
		on_ready(w, m);
		break;
	case WORKER_SERVING:
		finish_open(w, 0);
		worker_ask_stats(w->d, w->vs);
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
		w->stats_asked_ns = 0;
		if (w->stats_again)
			worker_ask_stats(w->d, w->vs);
		break;
	case WORKER_FAILED:
	case WORKER_DAMAGE:
	case WORKER_FAILING:
		on_trouble(w, m);
		break;
	case WORKER_OPEN:
	case WORKER_DRAIN:
	case WORKER_STATS:
	case WORKER_CHECKPOINT:
	case WORKER_TAKE:
	case WORKER_CONFIG:
	case WORKER_SPARE:
		log_limited(LOG_L_WARN, "vserver %s: the worker sent a daemon's message",
			    w->d->conf->vserver[w->vs].name);
		break;
	}
}

/* What a spare says, or one that has not read its TAKE yet: epoch 0. */
static void on_spare_message(struct worker_process *p, const struct worker_msg *m)
{
	struct worker *w = &p->d->worker[p->vs];

	if (m->type == WORKER_SPARE)
		p->prepared = true;
	else if (m->type == WORKER_FAILED && p == w->now)
		on_trouble(w, m);
	else if (m->type == WORKER_FAILED)
		log_limited(LOG_L_WARN, "vserver %s: its spare worker: %.*s",
			    p->d->conf->vserver[p->vs].name, (int)m->text_len, m->text);
}

static void read_messages(struct worker_process *p)
{
	static uint8_t packet[WORKER_MSG_MAX];
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));
	struct worker *w = &p->d->worker[p->vs];

	for (int i = 0; i < MESSAGES_A_ROUND && p->control >= 0; i++) {
		ssize_t n = recv(p->control, packet, sizeof(packet), MSG_DONTWAIT);

		if (n <= 0)
			break;
		if (worker_decode(m, packet, (size_t)n) != 0)
			log_limited(LOG_L_WARN, "vserver %s: a message of its worker is malformed",
				    w->d->conf->vserver[w->vs].name);
		else if (m->epoch == 0)
			on_spare_message(p, m);
		else if (p == w->now && m->epoch == p->epoch)
			on_message(w, m);
	}
	free(m);
}

void worker_control_done(struct loop_op *op, int res)
{
	struct worker_process *p = LIST_OWNER(op, struct worker_process, control_op);

	if (res < 0 || p->control < 0)
		return;
	read_messages(p);
	if (!(res & (POLLHUP | POLLERR)))
		loop_poll_once(p->d->loop, &p->control_op, p->control, POLLIN);
}

static int send_type(struct worker *w, enum worker_type type)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));
	int rc;

	m->type = type;
	rc = w->now ? launch_send(w->now, m, NULL, 0) : -EPIPE;
	free(m);
	return rc;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void post_exit(struct worker *w)
{
	struct event ev = event_of(w, EV_WORKER_EXITED);

	ev.worker.at_ns = loop_clock_ns();
	ev.worker.text = "";
	brain_post(w->d, &ev);
}

static void worker_ended(struct worker *w, const siginfo_t *si)
{
	const char *name = w->d->conf->vserver[w->vs].name;

	if (si->si_code == CLD_EXITED)
		log_info("vserver %s: worker ended status=%d", name, si->si_status);
	else
		log_at(w->dead ? LOG_L_INFO : LOG_L_ERR, "vserver %s: worker killed signal=%d",
		       name, si->si_status);
	if (!w->dead && w->life != WORKER_LEFT)
		diary_vserver(w->d, w->vs, LOG_L_ERR, "its worker ended by itself");
	if (!w->dead && w->life != WORKER_LEFT)
		w->crashes++;
	w->now = NULL;
	w->stats_asked_ns = 0;
	w->life = WORKER_NONE;
	finish_open(w, -EPIPE);
	post_exit(w);
}

void worker_exit_done(struct loop_op *op, int res)
{
	struct worker_process *p = LIST_OWNER(op, struct worker_process, exit_op);
	struct worker *w = &p->d->worker[p->vs];
	siginfo_t si = {0};

	(void)res;
	read_messages(p);
	waitid(P_PID, (id_t)p->pid, &si, WEXITED);
	if (p->cgroup[0])
		rmdir(p->cgroup); /* busy when a helper is still ending: then the next one uses it */
	close(p->pidfd);
	p->pidfd = -1;
	launch_close(p);
	p->pid = 0;
	if (p == w->now)
		worker_ended(w, &si);
	else if (p == w->spare)
		launch_spare_ended(w, si.si_status);
}

void worker_kill(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

	if (w->life == WORKER_NONE)
		return;
	w->dead = true;
	launch_kill(w->now);
}

void worker_let_go(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

	if (w->life == WORKER_LEFT && w->now->control >= 0)
		shutdown(w->now->control, SHUT_RDWR);
}

void workers_end(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++) {
		worker_kill(d, i);
		if (d->worker[i].spare)
			launch_kill(d->worker[i].spare);
	}
}

/* ---- the lease, the start ------------------------------------------------------------------------ */

void worker_lease_set(struct daemon *d, unsigned vs, uint64_t epoch, uint64_t until_ns)
{
	struct worker *w = &d->worker[vs];

	if (w->now && w->epoch == epoch && !w->dead)
		__atomic_store_n(&w->now->lease->until_ns, until_ns, __ATOMIC_RELEASE);
}

void worker_start(struct daemon *d, const struct action *a)
{
	struct worker *w = &d->worker[a->vs];
	int rc;

	hf_assert(w->life == WORKER_NONE);
	w->epoch = a->epoch;
	w->dead = w->failed_said = false;
	w->open_op = 0;
	w->started_ns = loop_clock_ns();
	w->starts++;
	rc = launch_worker(w, a);
	if (rc == 0) {
		w->life = WORKER_RUNNING;
		return;
	}
	trouble_say(d, a->vs, "no worker: %s", strerror(-rc));
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

	/* Its ports were taken when the addresses were to go up, and are free now. */
	if (rc == 0 && !d->addresses[a->vs].up)
		rc = -EADDRNOTAVAIL;
	if (rc == 0) {
		m = mem_zalloc(1, sizeof(*m));
		m->type = WORKER_OPEN;
		m->role_count = s->count;
		memcpy(m->role, s->role, s->count);
		rc = launch_send(w->now, m, s->fd, s->count);
		free(m);
	}
	w->open_op = rc == 0 ? a->op : 0;
	if (rc)
		brain_post_err(d, EV_OPENED, a, rc);
}

static void configure(struct worker_process *p, int fd)
{
	struct worker_msg *m;
	int rc;

	if (!p)
		return;
	m = mem_zalloc(1, sizeof(*m));
	m->type = WORKER_CONFIG;
	rc = launch_send(p, m, &fd, 1);
	if (rc)
		log_warn("vserver %s: its worker did not take the configuration: %s",
			 p->d->conf->vserver[p->vs].name, strerror(-rc));
	free(m);
}

void workers_configure(struct daemon *d)
{
	int fd = launch_conf_fd(d);

	if (fd < 0) {
		log_err("config: memfd: %s", strerror(-fd));
		return;
	}
	for (unsigned i = 0; i < d->conf->vserver_count; i++) {
		if (d->conf->vserver[i].gone)
			continue;
		configure(d->worker[i].now, fd);
		configure(d->worker[i].spare, fd);
		worker_ask_stats(d, i); /* which exports have no directory */
	}
	close(fd);
}

/* One question is in the air at a time, however often somebody asks us: a queue full of them has no
 * room for DRAIN, and a worker that cannot be told to drain is ended. */
void worker_ask_stats(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

#ifndef HF_MUTANT_STATS_EACH_ASKED
	w->stats_again = w->stats_asked_ns != 0;
	if (w->stats_again)
		return;
#endif
	if (w->life == WORKER_RUNNING && send_type(w, WORKER_STATS) == 0)
		w->stats_asked_ns = loop_clock_ns();
}

/* No process of an earlier one that had this number. */
bool workers_idle(const struct daemon *d, unsigned vs)
{
	const struct worker *w = &d->worker[vs];

	for (unsigned i = 0; i < WORKER_PLACES; i++)
		if (w->process[i].pid || w->process[i].control_op.busy ||
		    w->process[i].exit_op.busy)
			return false;
	return w->life == WORKER_NONE;
}

void workers_add(struct daemon *d, unsigned vs)
{
	hf_assert(workers_idle(d, vs));
	d->worker[vs] = (struct worker){.d = d, .vs = vs};
	launch_later(&d->worker[vs], SPARE_FIRST_NS);
}

/* A spare that was made for another configuration. */
void workers_renew(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

	if (!w->spare)
		return;
	launch_kill(w->spare);
	w->spare = NULL;
	launch_later(w, 0);
}

/* It is not served here: what is left is a spare. */
void workers_remove(struct daemon *d, unsigned vs)
{
	struct worker *w = &d->worker[vs];

	workers_renew(d, vs);
	free(w->stats);
	free(w->conn);
	w->stats = NULL;
	w->conn = NULL;
	w->conn_count = 0;
	w->stats_len = 0;
}

void workers_open(struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		d->worker[i] = (struct worker){.d = d, .vs = i};
	launch_open(d);
}
