/* echo.c - the bare network round trip: what any RPC server on TCP pays at least.
 *
 *	echo ADDRESS PORT
 *
 * Record-marked calls in, GETATTR-sized replies with the same xid out.  The transport has the
 * server's shape: one recv takes every call that is there, one send carries every reply; one
 * thread, one epoll.  Benchmarks print a server's cost per call as a multiple of this one's. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES    (256 * 1024)
#define REPLY_BYTES 112 /* a GETATTR reply: header 24, status 4, attributes 84 */

struct conn {
	int fd;
	size_t kept; /* bytes of an incomplete call */
	uint8_t rest[4096];
};

static uint8_t in[IN_BYTES + 4096], out[IN_BYTES];

static uint32_t get_u32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void send_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

static size_t put_reply(uint8_t *to, const uint8_t *xid)
{
	memset(to, 0, 4 + REPLY_BYTES);
	to[0] = 0x80;
	to[3] = REPLY_BYTES;
	memcpy(to + 4, xid, 4);
	to[11] = 1; /* REPLY */
	return 4 + REPLY_BYTES;
}

/* Answers every whole call; 0 when the client is done or talks nonsense. */
static int serve(struct conn *c)
{
	size_t have, at = 0, o = 0;
	ssize_t n;

	memcpy(in, c->rest, c->kept);
	n = recv(c->fd, in + c->kept, IN_BYTES, 0);
	if (n <= 0)
		return 0;
	have = c->kept + (size_t)n;
	while (have - at >= 8) {
		uint32_t len = get_u32(in + at) & 0x7fffffff;

		if (len < 4 || len > sizeof(c->rest) - 4)
			return 0;
		if (have - at - 4 < len)
			break;
		o += put_reply(out + o, in + at + 4);
		at += 4 + len;
		if (o + 4 + REPLY_BYTES > sizeof(out)) {
			send_all(c->fd, out, o);
			o = 0;
		}
	}
	c->kept = have - at;
	memcpy(c->rest, in + at, c->kept);
	send_all(c->fd, out, o);
	return 1;
}

static void add(int ep, int fd, void *ptr)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = ptr};

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static int listen_on(const char *addr, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (inet_pton(AF_INET, addr, &a.sin_addr) != 1 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 128)) {
		perror("echo: listen");
		exit(1);
	}
	return fd;
}

static void event(int ep, int lfd, struct conn *c)
{
	int one = 1;

	if (c) {
		if (!serve(c)) {
			close(c->fd);
			free(c);
		}
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		exit(1);
	c->fd = accept(lfd, NULL, NULL);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	add(ep, c->fd, c);
}

int main(int argc, char **argv)
{
	struct epoll_event ev[64];
	int ep = epoll_create1(0), lfd;

	if (argc != 3) {
		fprintf(stderr, "usage: echo ADDRESS PORT\n");
		return 2;
	}
	lfd = listen_on(argv[1], argv[2]);
	add(ep, lfd, NULL);
	printf("ready pid=%d\n", (int)getpid());
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, 64, -1);

		for (int i = 0; i < n; i++)
			event(ep, lfd, ev[i].data.ptr);
	}
}
