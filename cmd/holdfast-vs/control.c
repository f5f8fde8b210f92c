/* control.c - the socket to holdfastd (codec/worker.h has the messages).
 *
 * SEQPACKET, one message a packet.  When the other end has gone, the daemon has died: nobody
 * extends our lease and nobody may take us over but by force, so we end at once. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "vs.h"

static bool packet_take(struct vs *v);

static void control_send(struct vs *v, struct worker_msg *m)
{
	uint8_t packet[WORKER_MSG_MAX];
	size_t len;

	if (v->control_fd < 0)
		return;
	m->epoch = v->epoch;
	len = worker_encode(m, packet, sizeof(packet));
	/* The daemon reads all the time; a full socket means that it does not live. */
	if (len == 0 || send(v->control_fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
		log_limited(LOG_L_WARN, "control: message %d not sent: %s", (int)m->type,
			    len ? strerror(errno) : "too long");
}

static void send_type(struct vs *v, enum worker_type type)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));

	m->type = type;
	control_send(v, m);
	free(m);
}

static void send_text(struct vs *v, enum worker_type type, const char *text, size_t max)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));

	m->type = type;
	m->text = text;
	m->text_len = strlen(text) < max ? strlen(text) : max;
	control_send(v, m);
	free(m);
}

enum vs_exit vs_exit_of(int err, enum vs_exit other)
{
	switch (err) {
	case -EIO:
	case -EBADE: /* reserved for another node */
	case -EROFS:
	case -ESHUTDOWN:
		return VS_EXIT_STORAGE;
	default:
		return other;
	}
}

void vs_fail(struct vs *v, enum vs_exit status, const char *fmt, ...)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));
	char text[WORKER_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_err("%s", text);
	m->type = WORKER_FAILED;
	m->failure = status == VS_EXIT_STORAGE ? WORKER_FAIL_STORAGE : WORKER_FAIL_ITSELF;
	m->text = text;
	m->text_len = strlen(text);
	control_send(v, m);
	_exit((int)status);
}

_Noreturn void control_damage(struct vs *v, const char *store, const char *reason, bool below)
{
	char text[WORKER_TEXT_MAX];

	snprintf(text, sizeof(text), "%s: %s", store, reason);
	log_err("%s: %s", below ? "storage fails" : "damaged", text);
	send_text(v, below ? WORKER_FAILING : WORKER_DAMAGE, text, WORKER_TEXT_MAX);
	_exit(VS_EXIT_DAMAGED);
}

static void conn_each(void *arg, const struct store_conn *c)
{
	struct worker_msg *m = arg;
	struct worker_conn *w;

	if (m->conn_count == WORKER_CONNS_MAX)
		return; /* the rest find out by themselves, a retransmission later */
	w = &m->conn[m->conn_count++];
	memcpy(w->remote, c->remote, 16);
	memcpy(w->local, c->local, 16);
	w->remote_port = c->remote_port;
	w->local_port = c->local_port;
}

void control_ready(struct vs *v)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));

	m->type = WORKER_READY;
	m->was_clean = true;
	for (unsigned i = 0; i < v->store_count; i++) {
		struct store_info info;

		if (serve_without(v, i))
			continue;
		store_info(v->store[i].s, &info);
		m->recovered_records += info.recovered_records;
		m->recovery_ns += info.recovery_ns;
		m->was_clean &= info.was_clean;
		m->write_verifier = info.write_verifier;
		store_conn_each(v->store[i].s, conn_each, m);
	}
	control_send(v, m);
	free(m);
	v->ready = true;
	/* What came behind TAKE while nobody looked: the poll tells of what is new only. */
	while (packet_take(v))
		;
}

void control_first_reply(struct vs *v)
{
	struct worker_msg *m = mem_zalloc(1, sizeof(*m));

	m->type = WORKER_FIRST_REPLY;
	m->at_ns = v->first_reply_ns;
	control_send(v, m);
	free(m);
}

/* ---- from the daemon -------------------------------------------------------------------------- */

/* The storage is this node's: locks held, epoch written.  The rest is done outside of the loop
 * (control_wait() returns), where recovery may run the loop itself. */
static void on_take(struct vs *v, const struct worker_msg *m, const int *fds, unsigned fd_count)
{
	if (m->lock_count != fd_count || fd_count > VS_LOCKS_MAX)
		vs_fail(v, VS_EXIT_FAILED, "control: %u descriptors came for %u locks", fd_count,
			m->lock_count);
	memcpy(v->lock_fd, fds, fd_count * sizeof(*fds));
	v->lock_count = fd_count;
	v->epoch = m->epoch;
#ifndef HF_MUTANT_OPENS_CLOSED_STORES
	v->away = m->closed;
#endif
	loop_stop(v->loop);
}

void control_drained(struct vs *v, int err)
{
	if (err)
		vs_fail(v, vs_exit_of(err, VS_EXIT_FAILED),
			"drain: the store could not be closed: %s", strerror(-err));
	/* Closing the connections now would bring every client back to an address that is still
	 * here; when the daemon has taken it down, it hangs up. */
	v->drained_said = true;
	send_type(v, WORKER_DRAINED);
}

static void on_open(struct vs *v, const struct worker_msg *m, const int *fds, unsigned fd_count)
{
	if (m->role_count != fd_count)
		vs_fail(v, VS_EXIT_FAILED, "control: %u sockets came for %u roles", fd_count,
			m->role_count);
	for (unsigned i = 0; i < fd_count; i++) {
		int e = serve_socket(v, (enum worker_role)m->role[i], fds[i]);

		if (e)
			vs_fail(v, VS_EXIT_FAILED, "control: socket of role %u: %s", m->role[i],
				strerror(-e));
	}
	if (!v->serving) {
		v->serving = true;
		v->opened_ns = loop_clock_ns();
		lease_watch(v);
		/* The daemon has their list since READY; new ones come in from now on. */
		for (unsigned i = 0; i < v->store_count; i++)
			if (!serve_without(v, i))
				store_conn_forget_all(v->store[i].s);
	}
	send_type(v, WORKER_SERVING);
}

/* The daemon changes nothing here but exports and their clients (conf/conf_diff.h); what cannot be
 * taken after all is said and changes nothing. */
static void on_config(struct vs *v, const int *fds, unsigned fd_count)
{
	char err[512] = "it came without its text";

	if (fd_count != 1 || config_take(v, fds[0], err, sizeof(err)))
		log_err("control: the new configuration is not taken: %s", err);
	else
		log_info("control: the new configuration is in effect");
}

static void on_message(struct vs *v, const struct worker_msg *m, const int *fds, unsigned fd_count)
{
	char *json;

	switch (m->type) {
	case WORKER_OPEN:
		on_open(v, m, fds, fd_count);
		return; /* the sockets are taken over */
	case WORKER_DRAIN:
		drain_start(v);
		break;
	case WORKER_STATS:
		json = stats_json(v);
		send_text(v, WORKER_STATS_REPLY, json, WORKER_MSG_MAX - 64);
		free(json);
		break;
	case WORKER_CHECKPOINT:
		for (unsigned i = 0; i < v->store_count && !v->draining; i++)
			if (!serve_without(v, i))
				store_checkpoint(v->store[i].s);
		break;
	case WORKER_CONFIG:
		on_config(v, fds, fd_count);
		break;
	case WORKER_TAKE:
	case WORKER_SPARE:
	case WORKER_READY:
	case WORKER_SERVING:
	case WORKER_FIRST_REPLY:
	case WORKER_DRAINED:
	case WORKER_STATS_REPLY:
	case WORKER_FAILED:
	case WORKER_DAMAGE:
	case WORKER_FAILING:
		log_limited(LOG_L_WARN, "control: message %d is not for us", (int)m->type);
		break;
	}
	for (unsigned i = 0; i < fd_count; i++)
		close(fds[i]);
}

static unsigned fds_of(struct msghdr *mh, int fds[WORKER_FDS_MAX])
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

/* One packet; false: there is none now. */
static bool packet_take(struct vs *v)
{
	static uint8_t packet[WORKER_MSG_MAX];
	static struct worker_msg m;
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(WORKER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = packet, .iov_len = sizeof(packet)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	int fds[WORKER_FDS_MAX], e;
	unsigned fd_count;
	ssize_t n;

	/* The round that brings TAKE may bring the next message too, and there is no store yet. */
	if (v->epoch != 0 && !v->ready)
		return false;
	n = recvmsg(v->control_fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 && v->drained_said)
		_exit(VS_EXIT_OK);
	if (n <= 0) {
		if (v->epoch)
			log_warn("control: the daemon has gone; leaving");
		_exit(VS_EXIT_REVOKED);
	}
	fd_count = fds_of(&mh, fds);
	e = worker_decode(&m, packet, (size_t)n);
	if (e == 0 && v->epoch == 0 && m.type == WORKER_TAKE && m.epoch != 0) {
		on_take(v, &m, fds, fd_count);
		return false; /* what comes after it is for the worker */
	}
	if (e == 0 && m.epoch == v->epoch && (v->epoch != 0 || m.type == WORKER_CONFIG)) {
		on_message(v, &m, fds, fd_count);
		return true;
	}
	log_limited(LOG_L_WARN, "control: message ignored: %s",
		    e ? strerror(-e) : "it is about another epoch");
	for (unsigned i = 0; i < fd_count; i++)
		close(fds[i]);
	return true;
}

static void control_done(struct loop_op *op, int res)
{
	struct vs *v = LIST_OWNER(op, struct vs, control_op);

	if (res < 0)
		vs_fail(v, VS_EXIT_FAILED, "control: poll: %s", strerror(-res));
	while (packet_take(v))
		;
}

void control_start(struct vs *v)
{
	if (v->control_fd < 0)
		return;
	v->control_op.done = control_done;
	loop_poll(v->loop, &v->control_op, v->control_fd, POLLIN | POLLRDHUP);
}

void control_wait(struct vs *v)
{
	int e;

	send_type(v, WORKER_SPARE);
	e = loop_run(v->loop);
	if (e)
		vs_fail(v, VS_EXIT_FAILED, "event loop: %s", strerror(-e));
}
