/* dgram.c - serving RPC over UDP; see dgram.h.
 *
 * One batch of receive buffers is shared by all sockets.  A reply is copied behind its peer's
 * struct and waits in a list for the sending hook.  A socket's turn is at most BATCH datagrams a
 * round; it comes back by loop_again() when it had that many.
 *
 * A pause of a minute before the check behind recvmmsg: the calls are dropped; before the check in
 * the sending hook: the replies are dropped; between that check and sendmmsg: the source address
 * has run out (F6), the kernel refuses to send from it. */
#include "io/dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"

#define BATCH	      32
#define BUF_BYTES     (64U * 1024)
#define CONTROL_BYTES 128
#define PEERS_KEEP    256

struct sock {
	struct loop_op op;
	struct dgram *d;
	void *arg;
	int fd;
	struct sockaddr_storage local; /* of the socket; the port counts */
	bool readable;
};

struct dpeer {
	struct rpc_peer peer;
	struct sock *sock;
	struct list link; /* in d->out when it has a reply, in d->unused when it is free */
	uint8_t *reply;
	size_t reply_len, reply_cap;
	unsigned refs;
};

struct dgram {
	struct loop *l;
	struct dgram_ops ops;
	void *arg;
	struct loop_hook in_hook, out_hook;
	struct list out, unused;
	unsigned unused_count, sock_count;
	struct sock *socks[DGRAM_SOCKETS_MAX];
	struct dgram_stats n;
	bool draining, freeing, answered;
	uint8_t *bufs; /* BATCH of BUF_BYTES */
};

static struct dpeer *dpeer_of(struct rpc_peer *p)
{
	return LIST_OWNER(p, struct dpeer, peer);
}

static void server_maybe_free(struct dgram *d)
{
	if (!d->freeing || d->n.peers)
		return;
	for (unsigned i = 0; i < d->sock_count; i++)
		if (d->socks[i]->op.busy)
			return;
	for (unsigned i = 0; i < d->sock_count; i++)
		free(d->socks[i]);
	while (!list_empty(&d->unused)) {
		struct dpeer *p = LIST_OWNER(d->unused.next, struct dpeer, link);

		list_del(&p->link);
		free(p->reply);
		free(p);
	}
	free(d->bufs);
	free(d);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static struct dpeer *dpeer_new(struct dgram *d, struct sock *sock)
{
	struct dpeer *p;

	if (list_empty(&d->unused)) {
		p = mem_zalloc(1, sizeof(*p));
		list_init(&p->link);
	} else {
		p = LIST_OWNER(d->unused.next, struct dpeer, link);
		list_del(&p->link);
		d->unused_count--;
	}
	p->sock = sock;
	p->refs = 1;
	p->reply_len = 0;
	d->n.peers++;
	return p;
}

static struct rpc_peer *peer_get(struct rpc_peer *rp)
{
	dpeer_of(rp)->refs++;
	return rp;
}

static void peer_put(struct rpc_peer *rp)
{
	struct dpeer *p = dpeer_of(rp);
	struct dgram *d = p->sock->d;

	hf_assert(p->refs > 0);
	if (--p->refs)
		return;
	d->n.peers--;
	if (d->unused_count < PEERS_KEEP) {
		list_add_head(&d->unused, &p->link);
		d->unused_count++;
	} else {
		free(p->reply);
		free(p);
	}
	server_maybe_free(d);
}

/* Room for the reply; NULL: too long, or nobody is there to send it. */
static uint8_t *reply_room(struct dpeer *p, size_t len)
{
	struct dgram *d = p->sock->d;

	if (d->freeing || !list_empty(&p->link)) {
		d->n.dropped++;
		return NULL;
	}
	if (len > DGRAM_REPLY_MAX) {
		d->n.too_long++;
		log_limited(LOG_L_WARN, "dgram: reply of %zu bytes does not fit a datagram", len);
		return NULL;
	}
	if (p->reply_cap < len) {
		p->reply_cap = len < 512 ? 512 : len;
		p->reply = mem_realloc(p->reply, p->reply_cap);
	}
	p->reply_len = len;
	list_add_tail(&d->out, &p->link);
	p->refs++; /* until it was sent */
	return p->reply;
}

static void peer_send(struct rpc_peer *rp, const void *msg, size_t len)
{
	uint8_t *at = reply_room(dpeer_of(rp), len);

	if (at)
		memcpy(at, msg, len);
}

static void peer_send_bulk(struct rpc_peer *rp, const void *head, size_t head_len, void *body,
			   size_t body_len, void (*body_free)(void *arg, void *body), void *arg)
{
	uint8_t *at = reply_room(dpeer_of(rp), head_len + body_len);

	if (at) {
		memcpy(at, head, head_len);
		memcpy(at + head_len, body, body_len);
	}
	body_free(arg, body);
}

static const struct rpc_peer_ops peer_ops = {
    .send = peer_send, .send_bulk = peer_send_bulk, .get = peer_get, .put = peer_put};

/* ---- receiving ------------------------------------------------------------------------------ */

/* The address the datagram was sent to, with the socket's port. */
static void local_address(const struct sock *k, struct msghdr *mh, struct sockaddr_storage *out)
{
	*out = k->local;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
		    out->ss_family == AF_INET) {
			struct in_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			((struct sockaddr_in *)out)->sin_addr = i.ipi_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
			   out->ss_family == AF_INET6) {
			struct in6_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			((struct sockaddr_in6 *)out)->sin6_addr = i.ipi6_addr;
			((struct sockaddr_in6 *)out)->sin6_scope_id = i.ipi6_ifindex;
		}
	}
}

static void call_one(struct dgram *d, struct sock *k, struct mmsghdr *m, const uint8_t *buf)
{
	struct dpeer *p;

	if (m->msg_hdr.msg_flags & MSG_TRUNC) {
		d->n.bad++;
		return;
	}
	p = dpeer_new(d, k);
	p->peer.ops = &peer_ops;
	p->peer.stream = false;
	memset(&p->peer.remote, 0, sizeof(p->peer.remote));
	memcpy(&p->peer.remote, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen);
	local_address(k, &m->msg_hdr, &p->peer.local);
	d->n.calls++;
	if (!d->ops.receive(k->arg, &p->peer, buf, m->msg_len))
		d->n.bad++;
	peer_put(&p->peer);
}

static void sock_pump(struct dgram *d, struct sock *k)
{
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage from[BATCH];
	uint8_t control[BATCH][CONTROL_BYTES] __attribute__((aligned(8)));
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = d->bufs + i * BUF_BYTES, .iov_len = BUF_BYTES};
		m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
					       .msg_namelen = sizeof(from[i]),
					       .msg_iov = &iov[i],
					       .msg_iovlen = 1,
					       .msg_control = control[i],
					       .msg_controllen = CONTROL_BYTES};
	}
	n = recvmmsg(k->fd, m, BATCH, MSG_DONTWAIT, NULL);
	k->readable = n == BATCH || (n < 0 && errno != EAGAIN);
	if (n <= 0)
		return; /* an ICMP error of an earlier reply is reported once and taken away */
	if (d->ops.may_serve && !d->ops.may_serve(d->arg)) {
		HF_MARK("dgram.lapse");
		d->n.lapsed += (unsigned)n;
		return;
	}
	for (int i = 0; i < n; i++)
		call_one(d, k, &m[i], d->bufs + (size_t)i * BUF_BYTES);
}

static void hook_in(struct loop_hook *h)
{
	struct dgram *d = LIST_OWNER(h, struct dgram, in_hook);

	for (unsigned i = 0; i < d->sock_count && !d->draining; i++) {
		if (!d->socks[i]->readable)
			continue;
		sock_pump(d, d->socks[i]);
		if (d->socks[i]->readable)
			loop_again(d->l);
	}
}

static void in_done(struct loop_op *op, int res)
{
	struct sock *k = LIST_OWNER(op, struct sock, op);

	if (k->d->draining) {
		server_maybe_free(k->d);
		return;
	}
	k->readable = true;
	if (res < 0)
		log_limited(LOG_L_ERR, "dgram: poll: %s", strerror(-res));
	if (!op->busy)
		loop_poll(k->d->l, op, k->fd, POLLIN);
}

/* ---- sending -------------------------------------------------------------------------------- */

union source {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* "Send from this address." */
static void source_set(struct msghdr *mh, union source *u, const struct sockaddr_storage *local)
{
	struct cmsghdr *c = &u->align;

	memset(u, 0, sizeof(*u));
	mh->msg_control = u->bytes;
	if (local->ss_family == AF_INET) {
		struct in_pktinfo i = {
		    .ipi_spec_dst = ((const struct sockaddr_in *)local)->sin_addr};

		mh->msg_controllen = CMSG_SPACE(sizeof(i));
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(i));
		memcpy(CMSG_DATA(c), &i, sizeof(i));
	} else if (local->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)local;
		struct in6_pktinfo i = {.ipi6_addr = a->sin6_addr,
					.ipi6_ifindex = a->sin6_scope_id};

		mh->msg_controllen = CMSG_SPACE(sizeof(i));
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(i));
		memcpy(CMSG_DATA(c), &i, sizeof(i));
	} else {
		mh->msg_control = NULL;
		mh->msg_controllen = 0;
	}
}

/* Takes up to BATCH replies of one socket from the head of the list. */
static unsigned batch_take(struct dgram *d, struct dpeer *who[BATCH])
{
	unsigned n = 0;

	while (n < BATCH && !list_empty(&d->out)) {
		struct dpeer *p = LIST_OWNER(d->out.next, struct dpeer, link);

		if (n && p->sock != who[0]->sock)
			break;
		list_del(&p->link);
		who[n++] = p;
	}
	return n;
}

/* sendmmsg stops at the first failure: that one is dropped and the rest goes on; a full socket
 * buffer drops them all (the clients will repeat). */
static void batch_send(struct dgram *d, int fd, struct mmsghdr *m, unsigned n)
{
	unsigned at = 0;

	while (at < n) {
		int sent;

		if (d->ops.may_serve && !d->ops.may_serve(d->arg)) {
			HF_MARK("dgram.lapse_reply");
			break;
		}
		sent = sendmmsg(fd, m + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			at += (unsigned)sent;
			d->n.replies += (unsigned)sent;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			d->n.dropped++;
			at++;
		}
	}
	d->n.dropped += n - at;
}

static void batch(struct dgram *d)
{
	struct dpeer *who[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	union source source[BATCH];
	unsigned n = batch_take(d, who);
	uint64_t before = d->n.replies;

	for (unsigned i = 0; i < n; i++) {
		struct rpc_peer *p = &who[i]->peer;

		iov[i] = (struct iovec){.iov_base = who[i]->reply, .iov_len = who[i]->reply_len};
		m[i].msg_hdr =
		    (struct msghdr){.msg_name = &p->remote,
				    .msg_namelen = p->remote.ss_family == AF_INET6
						       ? sizeof(struct sockaddr_in6)
						       : sizeof(struct sockaddr_in),
				    .msg_iov = &iov[i],
				    .msg_iovlen = 1};
		source_set(&m[i].msg_hdr, &source[i], &p->local);
	}
	batch_send(d, who[0]->sock->fd, m, n);
	if (d->n.replies > before && !d->answered) {
		d->answered = true;
		if (d->ops.first_sent)
			d->ops.first_sent(d->arg);
	}
	for (unsigned i = 0; i < n; i++)
		peer_put(&who[i]->peer);
}

static void hook_out(struct loop_hook *h)
{
	struct dgram *d = LIST_OWNER(h, struct dgram, out_hook);

	while (!list_empty(&d->out))
		batch(d);
}

/* ---- life ----------------------------------------------------------------------------------- */

void dgram_new(struct dgram **dp, struct loop *l, const struct dgram_ops *ops, void *arg)
{
	struct dgram *d = mem_zalloc(1, sizeof(*d));

	d->l = l;
	d->ops = *ops;
	d->arg = arg;
	list_init(&d->out);
	list_init(&d->unused);
	d->bufs = mem_aligned(4096, BATCH * BUF_BYTES);
	d->in_hook.call = hook_in;
	d->out_hook.call = hook_out;
	list_init(&d->out_hook.link);
	loop_hook_add(l, &d->in_hook);
	*dp = d;
}

void dgram_start(struct dgram *d)
{
	loop_hook_add(d->l, &d->out_hook);
}

int dgram_listen(struct dgram *d, int fd, void *arg)
{
	struct sock *k;
	socklen_t len = sizeof(k->local);
	int one = 1;

	if (d->sock_count == DGRAM_SOCKETS_MAX)
		return -ENOSPC;
	k = mem_zalloc(1, sizeof(*k));
	*k = (struct sock){.op.done = in_done, .d = d, .arg = arg, .fd = fd};
	if (getsockname(fd, (struct sockaddr *)&k->local, &len) ||
	    (k->local.ss_family == AF_INET6
		 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one))
		 : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)))) {
		int err = -errno;

		free(k);
		return err;
	}
	d->socks[d->sock_count++] = k;
	loop_poll(d->l, &k->op, fd, POLLIN);
	return 0;
}

void dgram_drain(struct dgram *d)
{
	d->draining = true; /* the sockets stay open for the replies that are still to come */
	for (unsigned i = 0; i < d->sock_count; i++)
		loop_cancel(d->l, &d->socks[i]->op);
}

bool dgram_quiet(const struct dgram *d)
{
	return d->n.peers == 0;
}

void dgram_free(struct dgram *d)
{
	if (!d)
		return;
	if (!d->draining)
		dgram_drain(d);
	loop_hook_del(&d->in_hook);
	loop_hook_del(&d->out_hook);
	d->freeing = true;
	for (unsigned i = 0; i < d->sock_count; i++)
		close(d->socks[i]->fd);
	d->n.peers++; /* not while we are here */
	while (!list_empty(&d->out)) {
		struct dpeer *p = LIST_OWNER(d->out.next, struct dpeer, link);

		list_del(&p->link);
		peer_put(&p->peer);
	}
	d->n.peers--;
	server_maybe_free(d);
}

void dgram_stats(const struct dgram *d, struct dgram_stats *out)
{
	*out = d->n;
}
