/* t_dgram.c - RPC over UDP: batches, the address a reply leaves from, bulk, the lease. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/trace.h"
#include "io/dgram.h"
#include "io/loop.h"

#define MS 1000000ULL

static struct {
	struct loop *l;
	struct dgram *d;
	struct sockaddr_in at;
	struct rpc_peer *held;
	int received, freed, first;
	bool lease_gone;
} sv;

static void bulk_free(void *arg, void *body)
{
	(*(int *)arg)++;
	free(body);
}

static bool receive(void *arg, struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	(void)arg;
	sv.received++;
	if (len == 0 || msg[0] == 'x')
		return false;
	if (msg[0] == 'h') {
		sv.held = from->ops->get(from);
	} else if (msg[0] == 'b' || msg[0] == 'B') {
		size_t n = msg[0] == 'b' ? 60000 : 70000;
		char *body = malloc(n);

		memset(body, 'B', n);
		from->ops->send_bulk(from, "bulk", 4, body, n, bulk_free, &sv.freed);
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

static void first_sent(void *arg)
{
	(void)arg;
	sv.first++;
}

static void server_up(void)
{
	static const struct dgram_ops ops = {
	    .receive = receive, .may_serve = may_serve, .first_sent = first_sent};
	socklen_t len = sizeof(sv.at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memset(&sv, 0, sizeof(sv));
	sv.at.sin_family = AF_INET; /* any address */
	CHECK_EQ(0, bind(fd, (struct sockaddr *)&sv.at, len));
	CHECK_EQ(0, getsockname(fd, (struct sockaddr *)&sv.at, &len));
	CHECK_EQ(0, loop_new(&sv.l, 64));
	dgram_new(&sv.d, sv.l, &ops, &sv);
	dgram_start(sv.d);
	CHECK_EQ(0, dgram_listen(sv.d, fd, &sv));
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
	dgram_free(sv.d);
	SOON(loop_busy(sv.l) == 0);
	loop_free(sv.l);
}

static int client(uint32_t server_addr)
{
	struct sockaddr_in a = sv.at;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* Connected: the kernel drops what comes from another address. */
	a.sin_addr.s_addr = htonl(server_addr);
	CHECK_EQ(0, connect(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

static ssize_t hear_within(int rounds, int fd, void *buf, size_t size)
{
	for (int i = 0; i < rounds; i++) {
		ssize_t n;

		turn(1);
		n = recv(fd, buf, size, 0);
		if (n >= 0)
			return n;
	}
	return -1;
}

static ssize_t hear(int fd, void *buf, size_t size)
{
	return hear_within(2000, fd, buf, size);
}

/* No answer: for as long as one would take many times over. */
static bool is_silent(int fd)
{
	char buf[64];

	return hear_within(50, fd, buf, sizeof(buf)) < 0;
}

static void t_addresses(void)
{
	char out[64];
	int a, b;

	server_up();
	a = client(0x7f000005);
	b = client(0x7f000009);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(4, send(i & 1 ? a : b, "echo", 4, 0));
	}
	for (int i = 0; i < 100; i++)
		CHECK_EQ(4, hear(i & 1 ? a : b, out, sizeof(out)));
	CHECK_EQ(100, sv.received);
	CHECK_EQ(1, sv.first);
	close(a);
	close(b);
	server_down();
}

static void t_bulk_and_garbage(void)
{
	static char out[65536];
	struct dgram_stats st;
	int a;

	server_up();
	a = client(0x7f000001);
	CHECK_EQ(1, send(a, "b", 1, 0));
	CHECK_EQ(60004, hear(a, out, sizeof(out)));
	CHECK_EQ(1, send(a, "B", 1, 0));
	SOON(sv.freed >= 2);
	CHECK(is_silent(a));
	CHECK_EQ(2, sv.freed);
	CHECK_EQ(1, send(a, "x", 1, 0));
	CHECK_EQ(0, send(a, "", 0, 0));
	CHECK_EQ(4, send(a, "echo", 4, 0));
	CHECK_EQ(4, hear(a, out, sizeof(out)));
	dgram_stats(sv.d, &st);
	CHECK_EQ(2, st.bad);
	CHECK_EQ(1, st.too_long);
	CHECK_EQ(0, st.peers);
	close(a);
	server_down();
}

/* covers: F4 */
static void t_lease(void)
{
	char out[64];
	int a;

	server_up();
	a = client(0x7f000001);
	CHECK_EQ(1, send(a, "h", 1, 0));
	SOON(sv.received == 1);
	CHECK(!dgram_quiet(sv.d));
	sv.held->ops->send(sv.held, "late", 4);
	sv.held->ops->put(sv.held);
	sv.lease_gone = true;
	CHECK_EQ(4, send(a, "echo", 4, 0));
	SOON(trace_mark_count("dgram.lapse") > 0);
	CHECK(is_silent(a));
	CHECK_EQ(1, sv.received);
	CHECK(trace_mark_count("dgram.lapse") > 0);
	CHECK(trace_mark_count("dgram.lapse_reply") > 0);
	CHECK(dgram_quiet(sv.d));
	sv.lease_gone = false;
	CHECK_EQ(4, send(a, "echo", 4, 0));
	CHECK_EQ(4, hear(a, out, sizeof(out)));
	close(a);
	server_down();
}

/* The server goes while a reply is held. */
static void t_free_while_held(void)
{
	int a;

	server_up();
	a = client(0x7f000001);
	CHECK_EQ(1, send(a, "h", 1, 0));
	SOON(sv.received == 1);
	dgram_drain(sv.d);
	dgram_free(sv.d);
	turn(3);
	sv.held->ops->send(sv.held, "late", 4);
	sv.held->ops->put(sv.held);
	SOON(loop_busy(sv.l) == 0);
	loop_free(sv.l);
	close(a);
}

int main(void)
{
	CASE(t_addresses);
	CASE(t_bulk_and_garbage);
	CASE(t_lease);
	CASE(t_free_while_held);
	return check_end();
}
