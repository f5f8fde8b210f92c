/* stream.c - serving RPC over TCP.
 *
 * Life of a connection:
 *
 *	accept -> [poll says readable] -> ready list -> receiving hook: one recv, whole records to
 *	receive() -> replies queued (now, or when the store says durable) -> dirty list ->
 *	sending hook: sendmsg -> ... -> closed (no more calls) -> freed when the kernel and the
 *	last held reply let go of it
 *
 * Readable is an edge: `readable` stays true until a recv came back short (and after the
 * client's FIN until the recv that says so: the FIN may have shared the last data's edge), so a
 * connection that is not read for a reason of ours (too much queued, lease gone) is put on the
 * ready list again when the reason has gone.  Each pass reads a connection once, at most
 * RECV_BYTES plus the rest of a large record; what is left waits for the next round behind the
 * others (fairness).
 *
 * Bytes that were received but may not be handed over yet are copied to `held`; they go first.
 *
 * What a pause of a minute does (F4), by place: before recv or before the check behind it: the
 * check finds the lease gone, nothing was read.  Between that check and the reply's send: state may
 * be read late, but the check before sendmsg keeps the answer in.  Between that check and the
 * sendmsg: the segment leaves a connection whose address the next owner has had for a minute; that
 * owner resets the client's connection when it takes the address (tickle) and this node's copy of
 * the address has run out (F6), so nobody takes the segment.  After sendmsg: the kernel has it; it
 * was true when it was sent and is late like any packet. */
#include "io/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/outq.h"
#include "io/record.h"

#define RECV_BYTES	 (256U * 1024)
#define BORROWED_HEAD	 512U
#define AHEAD_MAX	 512U /* bytes of a record that is worth a look before its time: calls without data */
#define SEND_IOV	 128U
#define MS		 1000000ULL
#define LAPSE_RECHECK_NS (2 * MS)
#define ACCEPT_RETRY_NS	 (50 * MS) /* when nothing could be done about it */
#define ACCEPT_AGAIN_NS	 (2 * MS)  /* when room was made */
#define SWEEP_NS	 (500 * MS)
#define FDS_RESERVED	 128U /* and a quarter: for everything that is not a connection */
#define EVICT_LOOK_MAX	 256

struct listener {
	struct loop_op op;
	struct loop_timer retry;
	struct stream *s;
	void *arg;
	int fd;
	bool announced;
};

struct conn {
	struct rpc_peer peer;
	struct stream *s;
	const struct listener *from;
	struct loop_op in_op, out_op;
	struct list all_link;	  /* in s->all, longest idle first */
	struct list ready_link;	  /* in s->ready: to be read */
	struct list dirty_link;	  /* in s->dirty: has something to send */
	struct list partial_link; /* in s->partial, by partial_since_ns */
	struct list blocked_link; /* in s->blocked, by blocked_since_ns */
	struct record_in rec;
	struct outq out;
	uint8_t *held;
	size_t held_off, held_len;
	uint64_t partial_since_ns, blocked_since_ns;
	unsigned refs;	   /* replies held elsewhere */
	size_t call_bytes; /* of their requests; each put() takes an average one off */
	int fd;
	bool readable, hangup, eof, closed;
};

struct stream {
	struct loop *l;
	struct stream_conf c;
	struct stream_ops ops;
	void *arg;
	struct loop_hook in_hook, out_hook;
	struct loop_timer lapse_timer, sweep_timer;
	struct list all, ready, dirty, partial, blocked;
	struct record_pool records;
	struct outq_pool outs;
	struct listener *listeners[STREAM_LISTENERS_MAX];
	unsigned listener_count;
	unsigned conns, zombies; /* open; closed but not yet freed */
	uint64_t refs;
	size_t call_bytes;
	struct stream_stats n;
	bool silent, draining, freeing, started, answered;
	bool starved; /* some were not read because of call_bytes_total_max */
	uint8_t *recv_buf;
};

void stream_conf_default(struct stream_conf *c)
{
	*c = (struct stream_conf){
	    .record_max = 1024 * 1024 + 64 * 1024,
	    .out_max = 4U * 1024 * 1024,
	    .out_total_max = 512U * 1024 * 1024,
	    .partial_total_max = 512U * 1024 * 1024,
	    .conns_max = 0,
	    .calls_max = 1024,
	    .call_bytes_max = 32U * 1024 * 1024,
	    .call_bytes_total_max = 256U * 1024 * 1024,
	    .record_deadline_ns = 30000 * MS,
	    .reader_deadline_ns = 120000 * MS,
	};
}

static struct conn *conn_of(struct rpc_peer *p)
{
	return LIST_OWNER(p, struct conn, peer);
}

/* ---- lease ---------------------------------------------------------------------------------- */

static void ready_add(struct conn *c)
{
	if (!c->closed && list_empty(&c->ready_link))
		list_add_tail(&c->s->ready, &c->ready_link);
}

static void lapse_check(struct loop_timer *t)
{
	struct stream *s = LIST_OWNER(t, struct stream, lapse_timer);

	if (!s->ops.may_serve(s->arg)) {
		loop_timer_set(s->l, t, loop_clock_ns() + LAPSE_RECHECK_NS);
		return;
	}
	HF_MARK("stream.lease_back");
	log_notice("stream: lease is valid again, serving");
	s->silent = false; /* the lists of ready and dirty connections were kept */
	loop_again(s->l);
}

/* Is the lease good at this moment?  A lapse starts the silence. */
static bool lease_good(struct stream *s)
{
	if (s->silent)
		return false;
#ifdef HF_MUTANT_STREAM_NO_LEASE
	return true;
#else
	if (!s->ops.may_serve || s->ops.may_serve(s->arg))
		return true;
	HF_MARK("stream.lapse");
	s->n.lapses++;
	s->silent = true;
	log_limited(LOG_L_WARN, "stream: lease has lapsed, silent until it is extended");
	loop_timer_set(s->l, &s->lapse_timer, loop_clock_ns() + LAPSE_RECHECK_NS);
	return false;
#endif
}

/* ---- closing -------------------------------------------------------------------------------- */

static void server_maybe_free(struct stream *s)
{
	if (!s->freeing || s->conns || s->zombies)
		return;
	for (unsigned i = 0; i < s->listener_count; i++)
		if (s->listeners[i]->op.busy)
			return;
	for (unsigned i = 0; i < s->listener_count; i++)
		free(s->listeners[i]);
	record_pool_fini(&s->records);
	outq_pool_fini(&s->outs);
	free(s->recv_buf);
	free(s);
}

static void conn_maybe_free(struct conn *c)
{
	struct stream *s = c->s;

	if (!c->closed || c->refs || c->in_op.busy || c->out_op.busy)
		return;
	s->zombies--;
	free(c);
	server_maybe_free(s);
}

static void held_free(struct conn *c)
{
	free(c->held);
	c->held = NULL;
	c->held_off = c->held_len = 0;
}

static void conn_close(struct conn *c)
{
	struct stream *s = c->s;

	if (c->closed)
		return;
	c->closed = true;
	list_del(&c->all_link);
	list_del(&c->ready_link);
	list_del(&c->dirty_link);
	list_del(&c->partial_link);
	list_del(&c->blocked_link);
	record_drop(&s->records, &c->rec);
	outq_drop(&s->outs, &c->out);
	held_free(c);
	loop_cancel(s->l, &c->in_op);
	loop_cancel(s->l, &c->out_op);
	close(c->fd); /* the poll holds the file a little longer: shutdown() need not wait for it */
	c->fd = -1;
	s->conns--;
	s->zombies++;
	s->n.closed++;
	if (c->from->announced && s->ops.closed)
		s->ops.closed(s->arg, &c->peer);
	conn_maybe_free(c);
}

/* The client has said all it will: close when nothing is owed to it any more. */
static bool conn_finished(struct conn *c)
{
	if (!c->eof || c->refs || c->out.bytes || c->held)
		return false;
	conn_close(c);
	return true;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static bool conn_may_read(const struct conn *c)
{
	struct stream *s = c->s;

	if (s->silent || s->draining || c->out.bytes > s->c.out_max ||
	    c->refs >= s->c.calls_max || c->call_bytes > s->c.call_bytes_max)
		return false;
	if (c->call_bytes && s->call_bytes > s->c.call_bytes_total_max) {
		s->starved = true;
		return false;
	}
	return true;
}

/* The reason not to read it may be gone. */
static void conn_resume(struct conn *c)
{
	if ((c->readable || c->held) && conn_may_read(c))
		ready_add(c);
}

static enum record_verdict conn_record(void *arg, const uint8_t *msg, size_t len)
{
	struct conn *c = arg;
	unsigned refs = c->refs;
	const uint8_t *next;
	size_t next_len;

	c->s->n.records++;
	next = c->s->ops.ahead ? record_ahead(&c->rec, AHEAD_MAX, &next_len) : NULL;
	if (next)
		c->s->ops.ahead(c->from->arg, &c->peer, next, next_len);
	if (!c->s->ops.receive(c->from->arg, &c->peer, msg, len))
		return RECORD_CLOSE;
	if (c->refs > refs) {
		c->call_bytes += len;
		c->s->call_bytes += len;
	}
	return conn_may_read(c) ? RECORD_NEXT : RECORD_PAUSE;
}

static void conn_bad(struct conn *c, int err)
{
	HF_MARK("stream.bad_record");
	c->s->n.bad_records++;
	log_limited(LOG_L_INFO, "stream: connection closed: %s",
		    err == -EMSGSIZE   ? "record longer than the limit"
		    : err == -EPROTO   ? "record of too many fragments"
				       : "a record is no RPC call");
	conn_close(c);
}

/* Remembers since when a record is incomplete, and bounds what all of them hold. */
static void partial_note(struct conn *c)
{
	struct stream *s = c->s;

	if (!record_partial(&c->rec)) {
		list_del(&c->partial_link);
		return;
	}
	if (list_empty(&c->partial_link)) {
		c->partial_since_ns = loop_now_ns(s->l);
		list_add_tail(&s->partial, &c->partial_link);
	}
	if (s->records.bytes > s->c.partial_total_max) {
		struct conn *slowest = LIST_OWNER(s->partial.next, struct conn, partial_link);

		s->n.slow_senders++;
		log_limited(LOG_L_INFO, "stream: slowest sender closed: too many incomplete records");
		conn_close(slowest);
	}
}

/* Hands over what may be handed over; returns how much was taken, or -1 when it closed. */
static ssize_t conn_feed(struct conn *c, const uint8_t *data, size_t len)
{
	size_t used;
	int err = record_feed(&c->s->records, &c->rec, data, len, &used, conn_record, c);

	if (err) {
		conn_bad(c, err);
		return -1;
	}
	return (ssize_t)used;
}

static void held_set(struct conn *c, const uint8_t *data, size_t len)
{
	c->held = mem_alloc(len);
	memcpy(c->held, data, len);
	c->held_off = 0;
	c->held_len = len;
}

/* What was kept back goes first; false: there is still some, or the connection closed. */
static bool held_feed(struct conn *c)
{
	ssize_t n;

	if (!c->held)
		return true;
	n = conn_feed(c, c->held + c->held_off, c->held_len - c->held_off);
	if (n < 0)
		return false;
	c->held_off += (size_t)n;
	if (c->held_off < c->held_len)
		return false;
	held_free(c);
	return true;
}

/* Where the next recv goes: into a large incomplete fragment, then into the shared buffer.  Never
 * the fragment's last byte: a record cannot become complete before the lease was looked at, and its
 * end comes through feed() like everything else. */
static size_t recv_plan(struct conn *c, struct iovec iov[2], unsigned *count)
{
	size_t room = 0;
	uint8_t *at = record_direct(&c->rec, &room);

	*count = 0;
	if (at)
		iov[(*count)++] = (struct iovec){.iov_base = at, .iov_len = --room};
	iov[(*count)++] = (struct iovec){.iov_base = c->s->recv_buf, .iov_len = RECV_BYTES};
	return room;
}

/* `n` bytes have arrived, the first `room` of them (if so many) in the fragment. */
static void conn_take(struct conn *c, size_t n, size_t room)
{
	struct stream *s = c->s;
	size_t direct = n < room ? n : room, rest = n - direct;
	ssize_t used = 0;

	s->n.bytes_in += n;
	list_del(&c->all_link);
	list_add_tail(&s->all, &c->all_link);
	record_landed(&c->rec, direct);
	if (lease_good(s))
		used = conn_feed(c, s->recv_buf, rest);
	if (used < 0)
		return;
	if ((size_t)used < rest)
		held_set(c, s->recv_buf + used, rest - (size_t)used);
	partial_note(c);
}

static void conn_recv(struct conn *c)
{
	struct stream *s = c->s;
	struct iovec iov[2];
	struct msghdr mh = {.msg_iov = iov};
	unsigned count;
	size_t room = recv_plan(c, iov, &count);
	ssize_t n;

	mh.msg_iovlen = count;
	n = count == 1 ? recv(c->fd, s->recv_buf, RECV_BYTES, MSG_DONTWAIT)
		       : recvmsg(c->fd, &mh, MSG_DONTWAIT);
	s->n.recvs++;
	if (n > 0) {
		c->readable = (size_t)n == room + RECV_BYTES || c->hangup;
		conn_take(c, (size_t)n, room);
	} else if (n == 0) {
		c->readable = false;
		c->eof = true;
		conn_finished(c);
	} else if (errno == EAGAIN) {
		c->readable = false;
	} else if (errno != EINTR) {
		conn_close(c);
	}
}

/* One turn of a connection. */
static void conn_pump(struct conn *c)
{
	struct stream *s = c->s;

	if (c->held && conn_may_read(c) && lease_good(s) && held_feed(c)) {
		partial_note(c);
		conn_finished(c);
	}
	if (!c->closed && !c->held && c->readable && conn_may_read(c))
		conn_recv(c);
	/* More is there: behind those that wait, in the next round.  While we may not read it for
	 * a reason of its own, conn_resume() brings it back. */
	if ((c->readable || c->held) && (conn_may_read(c) || s->silent))
		ready_add(c);
}

/* Somebody waits for the next round. */
static void ready_again(struct stream *s)
{
	if (!list_empty(&s->ready) && !s->silent)
		loop_again(s->l);
}

static void hook_in(struct loop_hook *h)
{
	struct stream *s = LIST_OWNER(h, struct stream, in_hook);
	struct list now, *first;

	if (list_empty(&s->ready) || s->silent)
		return;
	/* Those that are there now; who is added meanwhile waits for the next round. */
	list_init(&now);
	now.next = s->ready.next;
	now.prev = s->ready.prev;
	now.next->prev = now.prev->next = &now;
	list_init(&s->ready);
	while (!list_empty(&now)) {
		struct conn *c;

		first = now.next;
		c = LIST_OWNER(first, struct conn, ready_link);
		list_del(first);
		if (s->silent)
			list_add_tail(&s->ready, first);
		else
			conn_pump(c);
	}
	ready_again(s);
}

/* True: there is no connection any more, whatever was polled for. */
static bool poll_over(struct conn *c, int res)
{
	if (c->closed)
		conn_maybe_free(c);
	else if (res < 0)
		conn_close(c);
	else
		return false;
	return true;
}

static void in_done(struct loop_op *op, int res)
{
	struct conn *c = LIST_OWNER(op, struct conn, in_op);

	if (poll_over(c, res))
		return;
	c->readable = true;
	c->hangup |= (res & POLLRDHUP) != 0;
	if (conn_may_read(c) || c->s->silent)
		ready_add(c);
	if ((res & (POLLERR | POLLHUP)) && !conn_may_read(c) && !c->s->silent)
		conn_close(c); /* reset while we were not reading it */
}

/* ---- sending -------------------------------------------------------------------------------- */

static void dirty_add(struct conn *c)
{
	if (list_empty(&c->dirty_link) && !c->out_op.busy)
		list_add_tail(&c->s->dirty, &c->dirty_link);
}

static void blocked_note(struct conn *c, bool progress)
{
	struct stream *s = c->s;

	if (!progress && !list_empty(&c->blocked_link))
		return;
	list_del(&c->blocked_link);
	c->blocked_since_ns = loop_now_ns(s->l);
	list_add_tail(&s->blocked, &c->blocked_link);
}

static ssize_t conn_sendmsg(struct conn *c)
{
	struct iovec iov[SEND_IOV];
	struct msghdr mh = {.msg_iov = iov};

	mh.msg_iovlen = outq_iov(&c->out, iov, SEND_IOV);
	c->s->n.sends++;
	return sendmsg(c->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void note_answer(struct stream *s)
{
	if (s->answered)
		return;
	s->answered = true;
	if (s->ops.first_sent)
		s->ops.first_sent(s->arg);
}

/* False: the lease is gone, the connection stays dirty. */
static bool conn_flush(struct conn *c)
{
	struct stream *s = c->s;
	bool progress = false;
	ssize_t n;

	while (c->out.bytes) {
		if (!lease_good(s))
			return false;
		n = conn_sendmsg(c);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
				list_del(&c->dirty_link);
				loop_poll_once(s->l, &c->out_op, c->fd, POLLOUT);
				blocked_note(c, progress);
				return true;
			}
			conn_close(c);
			return true;
		}
		progress = true;
		s->n.bytes_out += (uint64_t)n;
		outq_consume(&s->outs, &c->out, (size_t)n);
		note_answer(s);
	}
	list_del(&c->dirty_link);
	list_del(&c->blocked_link);
	if (!conn_finished(c))
		conn_resume(c);
	return true;
}

static void hook_out(struct loop_hook *h)
{
	struct stream *s = LIST_OWNER(h, struct stream, out_hook);

	while (!list_empty(&s->dirty) && !s->silent)
		if (!conn_flush(LIST_OWNER(s->dirty.next, struct conn, dirty_link)))
			break;
	while (s->outs.bytes > s->c.out_total_max && !list_empty(&s->blocked)) {
		HF_MARK("stream.out_total");
		s->n.slow_readers++;
		conn_close(LIST_OWNER(s->blocked.next, struct conn, blocked_link));
	}
	ready_again(s);
}

static void out_done(struct loop_op *op, int res)
{
	struct conn *c = LIST_OWNER(op, struct conn, out_op);

	if (!poll_over(c, res))
		dirty_add(c);
}

static void peer_send(struct rpc_peer *p, const void *msg, size_t len)
{
	struct conn *c = conn_of(p);
	uint8_t *at;

	if (c->closed)
		return;
	at = outq_room(&c->s->outs, &c->out, 4 + len);
	at[0] = (uint8_t)(0x80 | len >> 24);
	at[1] = (uint8_t)(len >> 16);
	at[2] = (uint8_t)(len >> 8);
	at[3] = (uint8_t)len;
	memcpy(at + 4, msg, len);
	dirty_add(c);
}

static void peer_send_bulk(struct rpc_peer *p, const void *head, size_t head_len, void *body,
			   size_t body_len, void (*body_free)(void *arg, void *body), void *arg)
{
	struct conn *c = conn_of(p);
	size_t len = head_len + body_len;
	uint8_t *at;

	if (c->closed) {
		body_free(arg, body);
		return;
	}
	at = outq_room(&c->s->outs, &c->out, 4 + head_len);
	at[0] = (uint8_t)(0x80 | len >> 24);
	at[1] = (uint8_t)(len >> 16);
	at[2] = (uint8_t)(len >> 8);
	at[3] = (uint8_t)len;
	memcpy(at + 4, head, head_len);
	outq_ref(&c->s->outs, &c->out, body, body_len, body_free, arg);
	dirty_add(c);
}

/* Sends queue, head and body as far as the socket takes them now: how much, 0, or -EFAULT. */
static ssize_t send_through(struct conn *c, const void *head, size_t head_len, const void *body,
			    size_t body_len)
{
	struct iovec iov[SEND_IOV];
	struct msghdr mh = {.msg_iov = iov};
	unsigned n = outq_iov(&c->out, iov, SEND_IOV - 1);
	ssize_t sent;

	if (c->out_op.busy || c->s->silent || n > SEND_IOV - 2 || !lease_good(c->s))
		return 0;
	iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)head, .iov_len = head_len};
	iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)body, .iov_len = body_len};
	mh.msg_iovlen = n;
	sent = sendmsg(c->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EFAULT ? -EFAULT : 0; /* the end of the round meets any other */
	c->s->n.sends++;
	c->s->n.bytes_out += (uint64_t)sent;
	if (sent > 0)
		note_answer(c->s);
	return sent;
}

/* What is left of a message of which `sent` bytes are gone. */
static void queue_rest(struct conn *c, const uint8_t *head, size_t head_len, size_t body_len,
		       size_t sent, const struct rpc_borrowed *b)
{
	void *rest;

	if (sent < head_len) {
		memcpy(outq_room(&c->s->outs, &c->out, head_len - sent), head + sent,
		       head_len - sent);
		sent = head_len;
	}
	if (sent == head_len + body_len)
		return;
	HF_MARK("stream.borrowed_rest");
	rest = b->keep(b->arg, sent - head_len, head_len + body_len - sent);
	if (rest)
		outq_ref(&c->s->outs, &c->out, rest, head_len + body_len - sent, b->body_free,
			 b->free_arg);
	else
		conn_close(c);
}

static bool peer_send_borrowed(struct rpc_peer *p, const void *head, size_t head_len,
			       const void *body, size_t body_len, const struct rpc_borrowed *b)
{
	struct conn *c = conn_of(p);
	size_t len = head_len + body_len, queued = c->out.bytes;
	uint8_t all[BORROWED_HEAD];
	ssize_t sent;

	if (c->closed)
		return true;
	if (head_len + 4 > sizeof(all))
		return false;
	all[0] = (uint8_t)(0x80 | len >> 24);
	all[1] = (uint8_t)(len >> 16);
	all[2] = (uint8_t)(len >> 8);
	all[3] = (uint8_t)len;
	memcpy(all + 4, head, head_len);
	sent = send_through(c, all, head_len + 4, body, body_len);
	if (sent < 0)
		return false;
	if ((size_t)sent < queued) {
		outq_consume(&c->s->outs, &c->out, (size_t)sent);
		queued = (size_t)sent;
	} else {
		outq_consume(&c->s->outs, &c->out, queued);
	}
	queue_rest(c, all, head_len + 4, body_len, (size_t)sent - queued, b);
	if (!c->closed)
		dirty_add(c);
	return true;
}

static struct rpc_peer *peer_get(struct rpc_peer *p)
{
	struct conn *c = conn_of(p);

	c->refs++;
	c->s->refs++;
	return p;
}

/* Nobody says which of the requests under way has ended: an average one. */
static void call_bytes_release(struct conn *c)
{
	struct stream *s = c->s;
	size_t n = c->call_bytes / c->refs;
	struct list *it, *tmp;

	c->call_bytes -= n;
	s->call_bytes -= n;
	if (!s->starved || s->call_bytes > s->c.call_bytes_total_max)
		return;
	HF_MARK("stream.starved_over");
	s->starved = false;
	LIST_EACH_SAFE(it, tmp, &s->all)
		conn_resume(LIST_OWNER(it, struct conn, all_link));
}

static void peer_put(struct rpc_peer *p)
{
	struct conn *c = conn_of(p);

	hf_assert(c->refs > 0);
	call_bytes_release(c);
	c->refs--;
	c->s->refs--;
	if (c->closed) {
		conn_maybe_free(c);
		return;
	}
	conn_resume(c);
	if (c->eof)
		dirty_add(c); /* the sending hook closes it when it was the last */
}

static const struct rpc_peer_ops peer_ops = {
    .send = peer_send,
    .send_bulk = peer_send_bulk, .send_borrowed = peer_send_borrowed, .get = peer_get, .put = peer_put};

/* ---- accepting ------------------------------------------------------------------------------ */

static void socket_tune(int fd)
{
	int one = 1, idle = 60, interval = 10, count = 6;

	/* Best effort each: a UNIX socket (tests) knows none of them. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* Closes the connection that was idle longest; false: all of the first few are busy. */
static bool evict_idle(struct stream *s)
{
	struct list *it, *tmp;
	int looked = 0;

	LIST_EACH_SAFE(it, tmp, &s->all) {
		struct conn *c = LIST_OWNER(it, struct conn, all_link);

		if (!c->refs && !c->out.bytes && !c->held && !record_partial(&c->rec)) {
			HF_MARK("stream.evict");
			s->n.evicted++;
			conn_close(c);
			return true;
		}
		if (++looked == EVICT_LOOK_MAX)
			break;
	}
	return false;
}

static void conn_new(struct stream *s, const struct listener *from, int fd)
{
	struct conn *c = mem_zalloc(1, sizeof(*c));
	socklen_t len = sizeof(c->peer.remote);

	c->peer.ops = &peer_ops;
	c->peer.stream = true;
	c->s = s;
	c->from = from;
	c->fd = fd;
	c->in_op.done = in_done;
	c->out_op.done = out_done;
	list_init(&c->ready_link);
	list_init(&c->dirty_link);
	list_init(&c->partial_link);
	list_init(&c->blocked_link);
	if (getpeername(fd, (struct sockaddr *)&c->peer.remote, &len)) {
		close(fd); /* gone again already */
		free(c);
		return;
	}
	len = sizeof(c->peer.local);
	(void)getsockname(fd, (struct sockaddr *)&c->peer.local, &len);
	socket_tune(fd);
	list_add_tail(&s->all, &c->all_link);
	s->conns++;
	s->n.accepted++;
	if (from->announced && s->ops.opened)
		s->ops.opened(s->arg, &c->peer);
	loop_poll(s->l, &c->in_op, fd, POLLIN | POLLRDHUP);
}

static void accept_retry(struct loop_timer *t)
{
	struct listener *li = LIST_OWNER(t, struct listener, retry);

	if (!li->op.busy && !li->s->draining)
		loop_accept(li->s->l, &li->op, li->fd);
}

/* No descriptor or no memory for one: make room and try again in a moment.  The client's SYN
 * waits in the backlog. */
static void accept_failed(struct listener *li, int res)
{
	struct stream *s = li->s;
	unsigned room = 0, want = s->conns / 8 + 1;

	log_limited(LOG_L_WARN, "stream: accept: %s; open connections: %u", strerror(-res), s->conns);
	if (res == -EMFILE || res == -ENFILE) {
		HF_MARK("stream.emfile");
		while (room < want && evict_idle(s))
			room++;
	}
	if (!li->op.busy)
		loop_timer_set(s->l, &li->retry,
			       loop_clock_ns() + (room ? ACCEPT_AGAIN_NS : ACCEPT_RETRY_NS));
}

static void accept_done(struct loop_op *op, int res)
{
	struct listener *li = LIST_OWNER(op, struct listener, op);
	struct stream *s = li->s;

	if (s->draining) {
		if (res >= 0)
			close(res);
		server_maybe_free(s);
		return;
	}
	if (res < 0) {
		accept_failed(li, res);
		return;
	}
	if (s->conns >= s->c.conns_max && !evict_idle(s)) {
		s->n.refused++;
		log_limited(LOG_L_WARN, "stream: connection refused: limit of %u reached",
			    s->c.conns_max);
		close(res);
		return;
	}
	conn_new(s, li, res);
}

int stream_listen(struct stream *s, int fd, void *arg, bool announced)
{
	struct listener *li;

	if (s->listener_count == STREAM_LISTENERS_MAX)
		return -ENOSPC;
	li = mem_zalloc(1, sizeof(*li));
	*li = (struct listener){.op.done = accept_done,
				.retry.fire = accept_retry,
				.s = s,
				.arg = arg,
				.fd = fd,
				.announced = announced};
	s->listeners[s->listener_count++] = li;
	loop_accept(s->l, &li->op, fd);
	return 0;
}

/* ---- sweeping: those that take too long ------------------------------------------------------ */

static void sweep_partial(struct stream *s, uint64_t now)
{
	while (!list_empty(&s->partial)) {
		struct conn *c = LIST_OWNER(s->partial.next, struct conn, partial_link);

		if (c->partial_since_ns + s->c.record_deadline_ns > now)
			return;
		if (!conn_may_read(c) || c->held) {
			/* We did not read it: the time is ours, not the sender's. */
			c->partial_since_ns = now;
			list_del(&c->partial_link);
			list_add_tail(&s->partial, &c->partial_link);
			continue;
		}
		HF_MARK("stream.slow_sender");
		s->n.slow_senders++;
		log_limited(LOG_L_INFO, "stream: connection closed: a record took too long");
		conn_close(c);
	}
}

static void sweep_blocked(struct stream *s, uint64_t now)
{
	while (!list_empty(&s->blocked)) {
		struct conn *c = LIST_OWNER(s->blocked.next, struct conn, blocked_link);

		if (c->blocked_since_ns + s->c.reader_deadline_ns > now)
			return;
		HF_MARK("stream.slow_reader");
		s->n.slow_readers++;
		log_limited(LOG_L_INFO, "stream: connection closed: its replies are not read");
		conn_close(c);
	}
}

static void sweep(struct loop_timer *t)
{
	struct stream *s = LIST_OWNER(t, struct stream, sweep_timer);
	uint64_t now = loop_clock_ns();

	if (!s->silent) {
		sweep_partial(s, now);
		sweep_blocked(s, now);
	}
	loop_timer_set(s->l, t, now + SWEEP_NS);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* As many connections as descriptors; the soft limit is raised as far as we may. */
static unsigned conns_allowed(unsigned wanted)
{
	struct rlimit rl;
	rlim_t room;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return wanted ? wanted : 1;
	if (rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &rl))
			(void)getrlimit(RLIMIT_NOFILE, &rl);
	}
	if (rl.rlim_cur > 1000000)
		rl.rlim_cur = 1000000;
	room = rl.rlim_cur / 4 * 3; /* the rest: objects that the store keeps open */
	room = room > 2 * FDS_RESERVED ? room - FDS_RESERVED : FDS_RESERVED;
	return wanted && wanted < room ? wanted : (unsigned)room;
}

void stream_new(struct stream **sp, struct loop *l, const struct stream_conf *c,
		const struct stream_ops *ops, void *arg)
{
	struct stream *s = mem_zalloc(1, sizeof(*s));

	s->l = l;
	s->c = *c;
	s->c.conns_max = conns_allowed(c->conns_max);
	s->ops = *ops;
	s->arg = arg;
	list_init(&s->all);
	list_init(&s->ready);
	list_init(&s->dirty);
	list_init(&s->partial);
	list_init(&s->blocked);
	record_pool_init(&s->records, c->record_max);
	outq_pool_init(&s->outs);
	s->recv_buf = mem_aligned(4096, RECV_BYTES);
	s->lapse_timer.fire = lapse_check;
	s->sweep_timer.fire = sweep;
	s->in_hook.call = hook_in;
	s->out_hook.call = hook_out;
	list_init(&s->out_hook.link);
	loop_hook_add(l, &s->in_hook);
	loop_timer_set(l, &s->sweep_timer, loop_clock_ns() + SWEEP_NS);
	*sp = s;
}

void stream_start(struct stream *s)
{
	hf_assert(!s->started);
	s->started = true;
	loop_hook_add(s->l, &s->out_hook);
}

void stream_drain(struct stream *s)
{
	if (s->draining)
		return;
	s->draining = true;
	for (unsigned i = 0; i < s->listener_count; i++) {
		struct listener *li = s->listeners[i];

		loop_timer_clear(s->l, &li->retry);
		loop_cancel(s->l, &li->op);
		close(li->fd);
		li->fd = -1;
	}
}

bool stream_quiet(const struct stream *s)
{
	return s->refs == 0 && s->outs.bytes == 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	stream_drain(s);
	loop_timer_clear(s->l, &s->lapse_timer);
	loop_timer_clear(s->l, &s->sweep_timer);
	loop_hook_del(&s->in_hook);
	loop_hook_del(&s->out_hook);
	while (!list_empty(&s->all))
		conn_close(LIST_OWNER(s->all.next, struct conn, all_link));
	s->freeing = true;
	server_maybe_free(s);
}

void stream_stats(const struct stream *s, struct stream_stats *out)
{
	*out = s->n;
	out->open = s->conns;
	out->out_bytes = s->outs.bytes;
	out->call_bytes = s->call_bytes;
}
