/* echo.c - the bare network round trip: what any RPC server on TCP pays at least.
 *
 *	echo ADDRESS PORT
 *
 * Record-marked calls in, replies with the same xid out, as long as the first word of a call's
 * arguments says (a GETATTR reply has 112 bytes).  The transport has the server's shape: one recv
 * takes every call that is there, one send carries every reply (several when they are long); one
 * thread, one epoll.  Replies are zeros written anew each time, as a server would copy its data.
 * Benchmarks print a server's cost per call as a multiple of this one's. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES   (2U * 1024 * 1024) /* a connection's: the longest call and what came with it */
#define OUT_BYTES  (256U * 1024)
#define REPLY_MAX  (2U * 1024 * 1024)
#define RECV_BYTES (256U * 1024)
#define HEAD_BYTES 68 /* of a call: header, AUTH_SYS with an 8-byte name and no groups, verifier */
#define REPLY_HEAD 24

struct conn {
	int fd;
	size_t have; /* bytes of `in` */
	uint8_t in[IN_BYTES];
};

static uint8_t out[OUT_BYTES + 4 + REPLY_MAX];

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

static size_t put_reply(uint8_t *to, const uint8_t *call, uint32_t len)
{
	memset(to, 0, 4 + len);
	to[0] = (uint8_t)(0x80 | len >> 24);
	to[1] = (uint8_t)(len >> 16);
	to[2] = (uint8_t)(len >> 8);
	to[3] = (uint8_t)len;
	memcpy(to + 4, call, 4);
	to[11] = 1; /* REPLY */
	return 4 + len;
}

/* Answers every whole call; 0 when the client is done or talks nonsense. */
static int serve(struct conn *c)
{
	size_t room = IN_BYTES - c->have, at = 0, o = 0;
	ssize_t n = recv(c->fd, c->in + c->have, room < RECV_BYTES ? room : RECV_BYTES, 0);

	if (n <= 0)
		return 0;
	c->have += (size_t)n;
	while (c->have - at >= 4) {
		uint32_t len = get_u32(c->in + at) & 0x7fffffff, reply;

		if (len < HEAD_BYTES + 4 || len > IN_BYTES - 4)
			return 0;
		if (c->have - at - 4 < len)
			break;
		reply = get_u32(c->in + at + 4 + HEAD_BYTES);
		if (reply < REPLY_HEAD || reply > REPLY_MAX)
			return 0;
		o += put_reply(out + o, c->in + at + 4, reply);
		at += 4 + len;
		if (o > OUT_BYTES) {
			send_all(c->fd, out, o);
			o = 0;
		}
	}
	c->have -= at;
	memmove(c->in, c->in + at, c->have);
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
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096)) {
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
	c = malloc(sizeof(*c)); /* pages that are never touched cost nothing */
	if (!c)
		exit(1);
	c->have = 0;
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
