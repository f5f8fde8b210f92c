/* t_address.c - addresses with lifetimes, announcements and tickles, in network namespaces of our
 * own. covers: F6 VS-76
 *
 * Two namespaces joined by a veth pair: the client's side connects to a virtual address, the
 * address moves (here: the server's socket vanishes without a word), a tickle resets the client's
 * connection. Ordinary users cannot make namespaces: then the cases say so and count as passed. */
#include "check.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "io/address.h"
#include "io/leftover.h"
#include "io/tickle.h"

static bool ready;

static struct sockaddr_storage ip4(const char *text, uint16_t port)
{
	struct sockaddr_storage s = {0};
	struct sockaddr_in *a = (struct sockaddr_in *)(void *)&s;

	a->sin_family = AF_INET;
	a->sin_port = htons(port);
	inet_pton(AF_INET, text, &a->sin_addr);
	return s;
}

/* A namespace of our own with a dummy-like interface: a veth pair whose both ends are here. */
static bool enter_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return false;
	return system("ip link set lo up && ip link add va type veth peer name vb && ip link set "
		      "va up &&"
		      " ip link set vb up") == 0;
}

static bool has(const char *text)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "ip -o addr show dev va | grep -q '%s'", text);
	return system(cmd) == 0;
}

static void t_add_renew_expire_delete(void)
{
	struct sockaddr_storage a = ip4("192.0.2.77", 0);

	if (!ready)
		return;
	CHECK_EQ(0, address_add(&a, 24, "va", 60));
	CHECK(has("192.0.2.77/24"));
	CHECK_EQ(0, address_add(&a, 24, "va", 1)); /* renewed, now with one second left */
	for (int i = 0; i < 40 && has("192.0.2.77"); i++)
		usleep(100000);
	CHECK(!has("192.0.2.77")); /* nobody renewed it */
	CHECK_EQ(0, address_add(&a, 24, "va", 60));
	CHECK_EQ(0, address_del(&a, 24, "va"));
	CHECK(!has("192.0.2.77"));
	CHECK_EQ(-EADDRNOTAVAIL, address_del(&a, 24, "va"));
	CHECK_EQ(-ENODEV, address_add(&a, 24, "nosuch", 60));
}

static void t_announce_is_seen_on_the_wire(void)
{
	struct sockaddr_storage a = ip4("192.0.2.78", 0);
	uint8_t frame[128];
	int fd;
	struct pollfd p;

	if (!ready)
		return;
	CHECK_EQ(0, address_add(&a, 24, "va", 60));
	fd = socket(AF_PACKET, SOCK_RAW, htons(0x0806));
	CHECK(fd >= 0);
	CHECK_EQ(0, address_announce(&a, "va"));
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	for (;;) {
		ssize_t n;

		CHECK_EQ(1, poll(&p, 1, 20000));
		n = recv(fd, frame, sizeof(frame), 0);
		if (n >= 42 && memcmp(frame + 28, "\xc0\x00\x02\x4e", 4) == 0)
			break;
	}
	CHECK(memcmp(frame, "\xff\xff\xff\xff\xff\xff", 6) == 0);
	CHECK(memcmp(frame + 38, "\xc0\x00\x02\x4e", 4) == 0); /* target is itself: gratuitous */
	close(fd);
}

static void mapped(uint8_t out[16], const struct sockaddr_in *a)
{
	memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	memcpy(out + 12, &a->sin_addr, 4);
}

/* The server's end disappears silently (TCP_REPAIR close sends nothing), as when a node dies. */
static void t_tickle_resets_the_client(void)
{
	struct sockaddr_storage a = ip4("127.0.0.9", 0);
	struct sockaddr_in local, remote;
	socklen_t len = sizeof(local);
	uint8_t l[16], r[16];
	struct tickle t;
	int ls, c, s, one = 1;
	struct pollfd p;

	if (!ready)
		return;
	ls = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(0, bind(ls, (struct sockaddr *)&a, sizeof(struct sockaddr_in)));
	CHECK_EQ(0, listen(ls, 4));
	CHECK_EQ(0, getsockname(ls, (struct sockaddr *)&local, &len));
	c = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(0, connect(c, (struct sockaddr *)&local, sizeof(local)));
	s = accept(ls, NULL, NULL);
	len = sizeof(remote);
	CHECK_EQ(0, getpeername(s, (struct sockaddr *)&remote, &len));
	CHECK_EQ(0, setsockopt(s, IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one)));
	close(s);
	p = (struct pollfd){.fd = c, .events = POLLIN};
	CHECK_EQ(0, poll(&p, 1, 100)); /* the client knows nothing */
	CHECK_EQ(0, tickle_open(&t));
	mapped(l, &local);
	mapped(r, &remote);
	CHECK_EQ(0, tickle_send(&t, l, ntohs(local.sin_port), r, ntohs(remote.sin_port)));
	CHECK_EQ(1, poll(&p, 1, 20000));
	CHECK_EQ(-1, recv(c, l, 1, 0));
	CHECK_EQ(ECONNRESET, errno);
	tickle_close(&t);
	close(c);
	close(ls);
}

/* Who had the address sends for it, too, when it has gone (cmd/holdfastd/stranded.c): both families. */
static void t_tickle_without_the_address(void)
{
	static const struct {
		const char *local, *remote;
		uint16_t type;
		size_t at; /* of the source in the frame */
	} rows[] = {{"::ffff:198.51.100.77", "::ffff:127.0.0.1", 0x0800, 14 + 12},
		    {"2001:db8::77", "::1", 0x86dd, 14 + 8}};
	uint8_t frame[256], l[16], r[16];
	struct tickle t;

	if (!ready)
		return;
	CHECK_EQ(0, tickle_open(&t));
	for (unsigned i = 0; i < 2; i++) {
		size_t n = rows[i].type == 0x0800 ? 4 : 16;
		int fd = socket(AF_PACKET, SOCK_RAW, htons(rows[i].type));
		struct pollfd p = {.fd = fd, .events = POLLIN};

		CHECK(fd >= 0);
		inet_pton(AF_INET6, rows[i].local, l);
		inet_pton(AF_INET6, rows[i].remote, r);
		CHECK_EQ(0, tickle_send(&t, l, 2049, r, 900));
		do {
			CHECK_EQ(1, poll(&p, 1, 20000));
		} while (recv(fd, frame, sizeof(frame), 0) < 54 ||
			 memcmp(frame + rows[i].at, l + 16 - n, n) != 0);
		close(fd);
	}
	tickle_close(&t);
}

struct told {
	unsigned accepted, waiting;
	struct leftover first; /* of those that wait */
};

static void on_told(void *arg, const struct leftover *f)
{
	struct told *t = arg;

	if (!f->accepted && t->waiting++ == 0)
		t->first = *f;
	t->accepted += f->accepted;
}

/* `accepted` have been accepted, one more waits in the queue: each is told as what it is.  Then all
 * end. */
static void told_mine(const struct sockaddr_storage *mine, const int *c, unsigned accepted)
{
	static const uint8_t local[16] = {[10] = 0xff, 0xff, 127, 0, 0, 11};
	struct sockaddr_storage peer, self;
	socklen_t len = sizeof(peer);
	struct told t = {0};
	int waiting = socket(AF_INET, SOCK_STREAM, 0);

	CHECK_EQ(0, getpeername(c[0], (struct sockaddr *)&peer, &len));
	CHECK_EQ(0, connect(waiting, (struct sockaddr *)&peer, len));
	CHECK_EQ(0, getsockname(waiting, (struct sockaddr *)&self, &len));
	for (unsigned i = 0; i < 1000 && t.waiting == 0; i++) {
		t = (struct told){0};
		CHECK_EQ(0, leftover_list(mine, on_told, &t));
	}
	CHECK_EQ(0, leftover_ready());
	CHECK_EQ(accepted, t.accepted);
	CHECK_EQ(1, t.waiting);
	CHECK(memcmp(t.first.local, local, 16) == 0);
	CHECK_EQ(127, t.first.remote[12]);
	CHECK_EQ(ntohs(((struct sockaddr_in *)(void *)&self)->sin_port), t.first.remote_port);
	CHECK_EQ(ntohs(((struct sockaddr_in *)(void *)&peer)->sin_port), t.first.local_port);
	t = (struct told){0};
	CHECK_EQ(accepted + 1, leftover_drop(mine));
	CHECK_EQ(0, leftover_list(mine, on_told, &t));
	CHECK_EQ(0, t.accepted + t.waiting);
	close(waiting);
}

/* Connections of one local address end, on both sides; listening sockets and others stay. */
static void t_leftovers(void)
{
	struct sockaddr_storage mine = ip4("127.0.0.11", 0), other = ip4("127.0.0.12", 0);
	struct sockaddr_storage *which[2] = {&mine, &other}, at;
	int ls[2], c[80], s[80];
	socklen_t len;
	struct pollfd p;

	if (!ready)
		return;
	for (unsigned i = 0; i < 2; i++) {
		ls[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK_EQ(0, bind(ls[i], (struct sockaddr *)which[i], sizeof(struct sockaddr_in)));
		CHECK_EQ(0, listen(ls[i], 100));
	}
	for (unsigned i = 0; i < 80;
	     i++) { /* 79 of mine: more than one pass takes; the last of other */
		len = sizeof(at);
		CHECK_EQ(0, getsockname(ls[i == 79], (struct sockaddr *)&at, &len));
		c[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK_EQ(0, connect(c[i], (struct sockaddr *)&at, len));
		s[i] = accept(ls[i == 79], NULL, NULL);
		CHECK(s[i] >= 0);
	}
	told_mine(&mine, c, 79); /* and ends them */
	CHECK_EQ(0, leftover_drop(&mine));
	for (unsigned i = 0; i < 80; i++) {
		p = (struct pollfd){.fd = s[i], .events = POLLIN};
		CHECK_EQ(i < 79, poll(&p, 1, i < 79 ? 20000 : 0));
		p = (struct pollfd){.fd = c[i], .events = POLLIN};
		CHECK_EQ(i < 79, poll(&p, 1, i < 79 ? 20000 : 0));
		close(c[i]);
		close(s[i]);
	}
	len = sizeof(at);
	CHECK_EQ(0, getsockname(ls[0], (struct sockaddr *)&at, &len));
	c[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(0, connect(c[0], (struct sockaddr *)&at, len));
	close(c[0]);
	close(ls[0]);
	close(ls[1]);
}

static void t_loopback(void)
{
	struct sockaddr_storage a = ip4("127.3.4.5", 0), b = ip4("192.0.2.1", 0);

	CHECK(address_is_loopback(&a));
	CHECK(!address_is_loopback(&b));
}

int main(void)
{
	ready = enter_namespace();
	if (!ready)
		printf("no network namespace of our own: only the pure case runs\n");
	CASE(t_add_renew_expire_delete);
	CASE(t_announce_is_seen_on_the_wire);
	CASE(t_tickle_resets_the_client);
	CASE(t_tickle_without_the_address);
	CASE(t_leftovers);
	CASE(t_loopback);
	return check_end();
}
