/* t_stream.c - RPC over TCP: batches, fragments, pipelining, held replies, slow and hostile
 * clients, limits, the lease. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/trace.h"
#include "io/loop.h"
#include "io/stream.h"

#define MS 1000000ULL

/* A server of one-byte commands: e echo, h hold the reply, b 100,000 bytes of bulk, l 9 MiB
 * that are lent only, x garbage. */
struct server {
	struct loop *l;
	struct stream *s;
	struct sockaddr_in at;
	struct rpc_peer *held[64];
	int held_count, received, freed, kept, opened, closed, first;
	bool lease_gone;
};

static struct server sv;

static void bulk_free(void *arg, void *body)
{
	(*(int *)arg)++;
	free(body);
}

#define LENT ((size_t)9 << 20)

static void lent_fill(uint8_t *out, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)((from + i) * 31 >> 7);
}

static void *lent_keep(void *arg, size_t from, size_t len)
{
	uint8_t *rest = malloc(len);

	(*(int *)arg)++;
	lent_fill(rest, from, len);
	return rest;
}

/* What was lent is another's as soon as the call is over. */
static void lend(struct rpc_peer *to)
{
	struct rpc_borrowed b = {lent_keep, &sv.kept, bulk_free, &sv.freed};
	void *nothing = mmap(NULL, LENT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *body = malloc(LENT);

	CHECK(!to->ops->send_borrowed(to, "lent", 4, nothing, LENT, &b));
	lent_fill(body, 0, LENT);
	CHECK(to->ops->send_borrowed(to, "lent", 4, body, LENT, &b));
	memset(body, 0, LENT);
	free(body);
	munmap(nothing, LENT);
}

static bool receive(void *arg, struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	CHECK(arg == &sv);
	sv.received++;
	if (len == 0 || msg[0] == 'x')
		return false;
	if (msg[0] == 'h') {
		sv.held[sv.held_count++] = from->ops->get(from);
	} else if (msg[0] == 'l') {
		lend(from);
	} else if (msg[0] == 'b') {
		char *body = malloc(100000);

		memset(body, 'B', 100000);
		from->ops->send_bulk(from, "bulk", 4, body, 100000, bulk_free, &sv.freed);
	} else {
		from->ops->send(from, msg, len);
	}
	return true;
}

static bool may_serve(void *arg)
{
	(void)arg;
	return !sv.lease_gone;
}

static void opened(void *arg, const struct rpc_peer *p)
{
	(void)arg;
	CHECK_EQ(AF_INET, p->remote.ss_family);
	sv.opened++;
}

static void closed(void *arg, const struct rpc_peer *p)
{
	(void)arg;
	(void)p;
	sv.closed++;
}

static void first_sent(void *arg)
{
	(void)arg;
	sv.first++;
}

static void server_up(const struct stream_conf *c)
{
	static const struct stream_ops ops = {.receive = receive,
					      .may_serve = may_serve,
					      .opened = opened,
					      .closed = closed,
					      .first_sent = first_sent};
	socklen_t len = sizeof(sv.at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(&sv, 0, sizeof(sv));
	sv.at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	CHECK_EQ(0, bind(fd, (struct sockaddr *)&sv.at, len));
	CHECK_EQ(0, listen(fd, 512));
	CHECK_EQ(0, getsockname(fd, (struct sockaddr *)&sv.at, &len));
	CHECK_EQ(0, loop_new(&sv.l, 64));
	stream_new(&sv.s, sv.l, c, &ops, &sv);
	stream_start(sv.s);
	CHECK_EQ(0, stream_listen(sv.s, fd, &sv, true));
}

static void turn(int rounds)
{
	for (int i = 0; i < rounds; i++)
		CHECK_EQ(0, loop_once(sv.l, 2 * MS));
}

/* Runs the server until it is so: on a busy machine what was sent may be on its way for a while. */
#define SOON(cond)                                                                                 \
	do {                                                                                       \
		for (int i_ = 0; i_ < 2000 && !(cond); i_++)                                       \
			turn(1);                                                                   \
		CHECK(cond);                                                                       \
	} while (0)

static void server_down(void)
{
	stream_free(sv.s);
	SOON(loop_busy(sv.l) == 0);
	loop_free(sv.l);
}

static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_EQ(0, connect(fd, (struct sockaddr *)&sv.at, sizeof(sv.at)));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static size_t put(uint8_t *out, bool last, const void *data, size_t n)
{
	out[0] = (uint8_t)((last ? 0x80 : 0) | n >> 24);
	out[1] = (uint8_t)(n >> 16);
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	memcpy(out + 4, data, n);
	return n + 4;
}

static void say(int fd, const char *text)
{
	uint8_t b[256];
	size_t n = put(b, true, text, strlen(text));

	CHECK_EQ(n, send(fd, b, n, 0));
}

/* Runs the server until `want` bytes of replies came; 0 at the end of the connection. */
static size_t hear(int fd, uint8_t *buf, size_t want)
{
	size_t got = 0;

	for (int i = 0; i < 2000 && got < want; i++) {
		ssize_t n;

		turn(1);
		n = recv(fd, buf + got, want - got, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n > 0)
			got += (size_t)n;
	}
	return got;
}

static bool is_closed(int fd)
{
	uint8_t b[64];

	if (hear(fd, b, 1) != 0)
		return false;
	errno = 0;
	return recv(fd, b, 1, 0) <= 0 && errno != EAGAIN;
}

static struct stream_conf conf(void)
{
	struct stream_conf c;

	stream_conf_default(&c);
	return c;
}

/* Many requests in one segment: one recv takes them, one send answers them. */
static void t_batch(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t in[2000], out[2000];
	size_t n = 0;
	int fd;

	server_up(&c);
	fd = client();
	turn(2);
	for (int i = 0; i < 100; i++)
		n += put(in + n, true, "echo me", 7);
	CHECK_EQ(n, send(fd, in, n, 0));
	CHECK_EQ(n, hear(fd, out, n));
	CHECK(memcmp(in, out, n) == 0);
	stream_stats(sv.s, &st);
	CHECK_EQ(100, st.records);
	CHECK_EQ(1, st.recvs);
	CHECK_EQ(1, st.sends);
	CHECK_EQ(1, sv.first);
	CHECK_EQ(1, sv.opened);
	close(fd);
	SOON(sv.closed > 0);
	CHECK_EQ(1, sv.closed);
	server_down();
}

static void t_fragments_and_dribble(void)
{
	struct stream_conf c = conf();
	uint8_t in[64], out[64];
	size_t n;
	int fd;

	server_up(&c);
	fd = client();
	n = put(in, false, "ech", 3);
	n += put(in + n, false, "o ", 2);
	n += put(in + n, true, "back", 4);
	for (size_t i = 0; i < n; i++) {
		CHECK_EQ(1, send(fd, in + i, 1, 0));
		turn(1);
	}
	CHECK_EQ(13, hear(fd, out, 13));
	CHECK(memcmp(out + 4, "echo back", 9) == 0);
	close(fd);
	server_down();
}

static void t_large_and_bulk(void)
{
	struct stream_conf c = conf();
	size_t big = 1024 * 1024;
	uint8_t *in = malloc(big + 4), *out = malloc(big + 4);
	size_t n, sent = 0, got = 0;
	int fd;

	server_up(&c);
	fd = client();
	memset(out, 'e', big);
	n = put(in, true, out, big);
	for (int i = 0; i < 5000 && got < n; i++) {
		ssize_t k = sent < n ? send(fd, in + sent, n - sent, 0) : 0;

		if (k > 0)
			sent += (size_t)k;
		turn(1);
		k = recv(fd, out + got, n - got, 0);
		if (k > 0)
			got += (size_t)k;
	}
	CHECK_EQ(n, got);
	CHECK(memcmp(in, out, n) == 0);
	say(fd, "bulk");
	CHECK_EQ(100008, hear(fd, out, 100008));
	CHECK(memcmp(out + 4, "bulkBBBB", 8) == 0);
	SOON(sv.freed > 0);
	CHECK_EQ(1, sv.freed);
	close(fd);
	server_down();
	free(in);
	free(out);
}

/* In front of it another reply, behind it one, and more than the socket takes at once. */
static void t_lent(void)
{
	struct stream_conf c = conf();
	uint8_t *out = malloc(LENT + 64), *want = malloc(LENT);
	int fd;

	server_up(&c);
	fd = client();
	say(fd, "echo");
	say(fd, "lent");
	say(fd, "end");
	CHECK_EQ(8 + 8 + LENT + 7, hear(fd, out, 8 + 8 + LENT + 7));
	CHECK_EQ(0, memcmp(out + 4, "echo", 4));
	CHECK_EQ(0, memcmp(out + 12, "lent", 4));
	lent_fill(want, 0, LENT);
	CHECK_EQ(0, memcmp(out + 16, want, LENT));
	CHECK_EQ(0, memcmp(out + 16 + LENT + 4, "end", 3));
	CHECK_EQ(1, sv.kept);
	SOON(sv.freed > 0);
	CHECK_EQ(1, sv.freed);
	close(fd);
	server_down();
	free(out);
	free(want);
}

static void t_garbage(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t out[64];
	int bad[3], good;

	server_up(&c);
	good = client();
	for (int i = 0; i < 3; i++)
		bad[i] = client();
	CHECK_EQ(4, send(bad[0], "\xff\xff\xff\xff", 4, 0)); /* a giant fragment */
	say(bad[1], "x is no call");
	CHECK_EQ(18, send(bad[2], "GET / HTTP/1.1\r\n\r\n", 18, 0));
	for (int i = 0; i < 3; i++)
		CHECK(is_closed(bad[i]));
	say(good, "ok");
	CHECK_EQ(6, hear(good, out, 6));
	stream_stats(sv.s, &st);
	CHECK_EQ(3, st.bad_records);
	CHECK_EQ(1, st.open);
	for (int i = 0; i < 3; i++)
		close(bad[i]);
	close(good);
	server_down();
}

/* A reply is held, the client goes away, the reply comes: nothing happens, nothing leaks. */
static void t_held_and_gone(void)
{
	struct stream_conf c = conf();
	uint8_t out[64];
	int a, b;

	server_up(&c);
	a = client();
	b = client();
	say(a, "hold");
	say(b, "hold");
	SOON(sv.held_count >= 2);
	CHECK_EQ(2, sv.held_count);
	CHECK(!stream_quiet(sv.s));
	close(a);
	turn(5);
	for (int i = 0; i < 2; i++) {
		sv.held[i]->ops->send(sv.held[i], "late", 4);
		sv.held[i]->ops->put(sv.held[i]);
	}
	CHECK_EQ(8, hear(b, out, 8));
	SOON(stream_quiet(sv.s));
	say(b, "hold");
	SOON(sv.held_count == 3);
	close(b);
	stream_drain(sv.s);
	CHECK(!stream_quiet(sv.s));
	stream_free(sv.s);
	turn(3);
	sv.held[2]->ops->put(sv.held[2]); /* frees the server */
	SOON(loop_busy(sv.l) == 0);
	loop_free(sv.l);
}

/* A client that half-closes still gets what it asked for. */
static void t_half_close(void)
{
	struct stream_conf c = conf();
	uint8_t out[64];
	int fd;

	server_up(&c);
	fd = client();
	say(fd, "hold");
	shutdown(fd, SHUT_WR);
	SOON(sv.held_count > 0);
	turn(5);
	CHECK_EQ(1, sv.held_count);
	CHECK_EQ(0, sv.closed);
	sv.held[0]->ops->send(sv.held[0], "late", 4);
	sv.held[0]->ops->put(sv.held[0]);
	CHECK_EQ(8, hear(fd, out, 8));
	CHECK(is_closed(fd));
	CHECK_EQ(1, sv.closed);
	close(fd);
	server_down();
}

/* Bounded: requests under way, and what a client that does not read has queued. */
static void t_backpressure(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t in[400], *out = malloc(100008);
	size_t n = 0, got = 0;
	int fd;

	c.calls_max = 3;
	c.out_max = 300000;
	server_up(&c);
	fd = client();
	for (int i = 0; i < 5; i++)
		n += put(in + n, true, "h", 1);
	CHECK_EQ(n, send(fd, in, n, 0));
	SOON(sv.held_count >= 3);
	turn(10);
	CHECK_EQ(3, sv.held_count);
	sv.held[0]->ops->put(sv.held[0]);
	SOON(sv.held_count >= 4);
	turn(5);
	CHECK_EQ(4, sv.held_count);
	for (int i = 1; i < 4; i++)
		sv.held[i]->ops->put(sv.held[i]);
	SOON(sv.held_count >= 5);
	CHECK_EQ(5, sv.held_count);
	sv.held[4]->ops->put(sv.held[4]);
	for (n = 0; n < 400 - 5;)
		n += put(in + n, true, "b", 1);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(n, send(fd, in, n, 0));
	SOON(sv.received > 5);
	turn(30);
	stream_stats(sv.s, &st);
	CHECK(st.out_bytes > 0 && st.out_bytes < 600000);
	CHECK(sv.received < 5 + 4 * 79);
	for (int i = 0; i < 20000 && got < 4 * 79 * 100008UL; i++) {
		ssize_t k = recv(fd, out, 100008, 0);

		if (k > 0)
			got += (size_t)k;
		turn(k > 0 ? 0 : 1);
	}
	CHECK_EQ(4 * 79 * 100008UL, got);
	SOON(sv.freed >= 4 * 79);
	CHECK_EQ(4 * 79, sv.freed);
	close(fd);
	server_down();
	free(out);
}

static void put_all(void)
{
	for (int i = 0; i < sv.held_count; i++)
		sv.held[i]->ops->put(sv.held[i]);
	sv.held_count = 0;
}

/* Large requests under way: a connection, and all together, hold so many bytes and no more. */
static void t_call_bytes(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	static uint8_t in[20 * 10004], body[10000] = "h";
	size_t n = 0;
	int a, b, d;
	uint8_t out[64];

	c.call_bytes_max = 50000;
	c.call_bytes_total_max = 80000;
	server_up(&c);
	a = client();
	b = client();
	d = client();
	for (int i = 0; i < 20; i++)
		n += put(in + n, true, body, sizeof(body));
	CHECK_EQ(n, send(a, in, n, 0));
	SOON(sv.held_count >= 6);
	turn(10);
	CHECK_EQ(6, sv.held_count); /* the one that goes beyond is the last */
	CHECK_EQ(n, send(b, in, n, 0));
	SOON(sv.held_count >= 9);
	turn(10);
	CHECK_EQ(9, sv.held_count);
	say(d, "ok"); /* nothing under way: read all the same */
	CHECK_EQ(6, hear(d, out, 6));
	stream_stats(sv.s, &st);
	CHECK_EQ(90000, st.call_bytes);
	for (int i = 0; i < 1000 && sv.received < 41; i++) {
		put_all();
		turn(3);
	}
	CHECK_EQ(41, sv.received);
	put_all();
	stream_stats(sv.s, &st);
	CHECK_EQ(0, st.call_bytes);
	CHECK(trace_mark_count("stream.starved_over") > 0);
	close(a);
	close(b);
	close(d);
	server_down();
}

static void t_slow_ones(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t in[400];
	size_t n = 0;
	int sender, reader, idle;

	c.record_deadline_ns = 50 * MS;
	c.reader_deadline_ns = 50 * MS;
	c.out_max = 3000000;
	server_up(&c);
	sender = client();
	reader = client();
	idle = client();
	CHECK_EQ(6, send(sender, "\x80\x00\x10\x00xy", 6, 0));
	while (n < 395)
		n += put(in + n, true, "b", 1);
	CHECK_EQ(n, send(reader, in, n, 0));
	SOON(sv.closed >= 2);
	stream_stats(sv.s, &st);
	CHECK_EQ(1, st.slow_senders);
	CHECK_EQ(1, st.slow_readers);
	CHECK_EQ(1, st.open);
	close(sender);
	close(reader);
	close(idle);
	server_down();
}

static void t_limits(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t out[64];
	int fd[8];

	c.conns_max = 4;
	server_up(&c);
	for (int i = 0; i < 8; i++) {
		fd[i] = client();
		SOON(sv.opened == i + 1);
	}
	stream_stats(sv.s, &st);
	CHECK_EQ(4, st.open);
	CHECK_EQ(4, st.evicted);
	CHECK(is_closed(fd[0]));
	for (int i = 4; i < 8; i++) {
		say(fd[i], "h");
		SOON(sv.held_count == i - 3);
	}
	close(fd[0]);
	fd[0] = client(); /* all are at work: refused */
	CHECK(is_closed(fd[0]));
	stream_stats(sv.s, &st);
	CHECK_EQ(1, st.refused);
	for (int i = 0; i < 4; i++)
		sv.held[i]->ops->put(sv.held[i]);
	say(fd[5], "ok");
	CHECK_EQ(6, hear(fd[5], out, 6));
	for (int i = 0; i < 8; i++)
		close(fd[i]);
	server_down();
}

/* Out of descriptors: an idle connection makes room, the new one is served. */
static void t_emfile(void)
{
	struct stream_conf c = conf();
	struct rlimit old, low;
	uint8_t out[64];
	int fd[40], got = 0;

	getrlimit(RLIMIT_NOFILE, &old);
	server_up(&c);
	for (int i = 0; i < 40; i++)
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	low = old;
	low.rlim_cur = (rlim_t)fd[39] + 10;
	CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &low));
	for (int i = 0; i < 40; i++) {
		CHECK_EQ(0, connect(fd[i], (struct sockaddr *)&sv.at, sizeof(sv.at)));
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
		turn(1);
	}
	turn(60);
	say(fd[39], "ok");
	for (int i = 0; i < 2000 && got < 6; i++) {
		turn(1);
		got = (int)recv(fd[39], out, 6, 0);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	CHECK_EQ(6, got);
	CHECK(trace_mark_count("stream.emfile") > 0);
	for (int i = 0; i < 40; i++)
		close(fd[i]);
	server_down();
}

/* covers: F4
 * Without a lease nothing is read into the state and nothing is answered; with it again, the
 * kept requests and replies go on. */
static void t_lease(void)
{
	struct stream_conf c = conf();
	struct stream_stats st;
	uint8_t out[64];
	int a, b;

	server_up(&c);
	a = client();
	b = client();
	say(b, "hold");
	SOON(sv.received == 1);
	sv.lease_gone = true;
	say(a, "echo");
	sv.held[0]->ops->send(sv.held[0], "late", 4);
	sv.held[0]->ops->put(sv.held[0]);
	turn(20);
	CHECK_EQ(1, sv.received);
	CHECK(recv(a, out, 64, 0) < 0 && errno == EAGAIN);
	CHECK(recv(b, out, 64, 0) < 0 && errno == EAGAIN);
	say(a, "more");
	turn(5);
	CHECK_EQ(1, sv.received);
	for (int i = 0; i < 1000; i++) {
		stream_stats(sv.s, &st);
		if (st.lapses)
			break;
		turn(1);
	}
	CHECK_EQ(1, st.lapses);
	CHECK_EQ(2, st.open);
	sv.lease_gone = false;
	CHECK_EQ(16, hear(a, out, 16));
	CHECK(memcmp(out + 4, "echo", 4) == 0 && memcmp(out + 12, "more", 4) == 0);
	CHECK_EQ(8, hear(b, out, 8));
	close(a);
	close(b);
	server_down();
}

/* The lease goes between a request's work and its reply: the reply stays. */
static void t_lease_before_send(void)
{
	struct stream_conf c = conf();
	uint8_t out[64];
	int a;

	server_up(&c);
	a = client();
	say(a, "hold");
	SOON(sv.held_count == 1);
	sv.held[0]->ops->send(sv.held[0], "late", 4);
	sv.held[0]->ops->put(sv.held[0]);
	sv.lease_gone = true;
	turn(10);
	CHECK(recv(a, out, 64, 0) < 0 && errno == EAGAIN);
	CHECK(trace_mark_count("stream.lapse") > 0);
	close(a);
	server_down();
}

static void t_drain(void)
{
	struct stream_conf c = conf();
	uint8_t out[64];
	int a;

	server_up(&c);
	a = client();
	say(a, "hold");
	SOON(sv.held_count == 1);
	stream_drain(sv.s);
	say(a, "more");
	turn(5);
	CHECK_EQ(1, sv.received);
	sv.held[0]->ops->send(sv.held[0], "late", 4);
	sv.held[0]->ops->put(sv.held[0]);
	CHECK_EQ(8, hear(a, out, 8));
	SOON(stream_quiet(sv.s));
	close(a);
	server_down();
}

int main(void)
{
	CASE(t_batch);
	CASE(t_fragments_and_dribble);
	CASE(t_large_and_bulk);
	CASE(t_lent);
	CASE(t_garbage);
	CASE(t_held_and_gone);
	CASE(t_half_close);
	CASE(t_backpressure);
	CASE(t_call_bytes);
	CASE(t_slow_ones);
	CASE(t_limits);
	CASE(t_emfile);
	CASE(t_lease);
	CASE(t_lease_before_send);
	CASE(t_drain);
	return check_end();
}
