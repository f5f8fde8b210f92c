/* abuse.c - what hostile and broken clients do to an RPC server, while a good one watches.
 *
 *	abuse [-i IDLE] [-t SECONDS] ADDRESS PORT
 *
 * Stages, each for SECONDS: random bytes; records cut short; giant fragments; endless empty
 * fragments; RPC headers with nonsense behind; slow senders; slow readers; IDLE connections that
 * say nothing (default 10,000); datagrams of garbage.  All the time one well-behaved connection
 * calls NFS NULL every few milliseconds and must be answered within a second; it may be closed
 * (then it connects again at once), never left without service.
 *
 * stdout: a line `stage=NAME probes=N worst_ms=N lost=N reconnects=N` each, then `served=yes|no`.
 * Exit status 0 when every probe was answered. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CROWD	  64
#define IDLE_MAX  60000
#define CALL_LEN  44 /* record mark and an RPC header without credentials */
#define ANSWER_MS 1000

static struct {
	struct sockaddr_in at;
	unsigned idle;
	double secs;
	int probe;
	uint32_t xid;
	unsigned probes, lost, reconnects;
	double worst_ms;
	uint64_t rnd;
} A = {.idle = 10000, .secs = 1, .probe = -1, .rnd = 0x9e3779b97f4a7c15ULL};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint32_t rnd(void)
{
	A.rnd ^= A.rnd << 13;
	A.rnd ^= A.rnd >> 7;
	A.rnd ^= A.rnd << 17;
	return (uint32_t)(A.rnd >> 32);
}

static void put_u32(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

/* A NULL call of NFS version 3. */
static void put_call(uint8_t b[CALL_LEN], uint32_t xid)
{
	static const uint32_t rest[] = {0, 2, 100003, 3, 0, 0, 0, 0, 0};

	put_u32(b, 0x80000000U | (CALL_LEN - 4));
	put_u32(b + 4, xid);
	for (unsigned i = 0; i < 9; i++)
		put_u32(b + 8 + 4 * i, rest[i]);
}

/* -1 with errno when it does not connect within a second. */
static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, err = 0;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(err);

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&A.at, sizeof(A.at)) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	if (poll(&p, 1, ANSWER_MS) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		close(fd);
		errno = err ? err : ETIMEDOUT;
		return -1;
	}
	return fd;
}

/* ---- the good client -------------------------------------------------------------------------- */

/* Waits for the reply with our xid; false: closed or too late. */
static bool probe_answer(double until)
{
	uint8_t b[28];
	size_t have = 0;

	while (have < sizeof(b)) {
		struct pollfd p = {.fd = A.probe, .events = POLLIN};
		double left = until - now_s();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)(left * 1e3) + 1) < 0)
			return false;
		n = recv(A.probe, b + have, sizeof(b) - have, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n > 0)
			have += (size_t)n;
	}
	return ntohl(*(const uint32_t *)(const void *)(b + 4)) == A.xid;
}

static void probe(void)
{
	double t0 = now_s(), took;
	uint8_t b[CALL_LEN];
	bool ok = false;

	A.probes++;
	while (!ok && now_s() < t0 + ANSWER_MS / 1e3) {
		if (A.probe < 0) {
			A.probe = dial();
			A.reconnects++;
			if (A.probe < 0)
				continue;
		}
		put_call(b, ++A.xid);
		ok = send(A.probe, b, sizeof(b), MSG_NOSIGNAL) == (ssize_t)sizeof(b) &&
		     probe_answer(t0 + ANSWER_MS / 1e3);
		if (!ok) {
			close(A.probe);
			A.probe = -1;
		}
	}
	took = (now_s() - t0) * 1e3;
	A.lost += !ok;
	if (took > A.worst_ms)
		A.worst_ms = took;
}

/* ---- the others ------------------------------------------------------------------------------- */

typedef size_t fill_fn(uint8_t *b, size_t size);

static size_t fill_random(uint8_t *b, size_t size)
{
	size_t n = 1 + rnd() % size;

	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)rnd();
	return n;
}

/* The beginning of a record, then the connection ends. */
static size_t fill_truncated(uint8_t *b, size_t size)
{
	size_t n = rnd() % (CALL_LEN - 1) + 1;

	(void)size;
	put_call(b, rnd());
	if (rnd() & 1)
		put_u32(b, 0x80000000U | rnd() % (1024 * 1024));
	return n;
}

static size_t fill_giant(uint8_t *b, size_t size)
{
	(void)size;
	put_u32(b, (rnd() & 1 ? 0x80000000U : 0) | (0x7fffffffU - rnd() % 1000));
	put_u32(b + 4, rnd());
	return 8;
}

static size_t fill_empty_fragments(uint8_t *b, size_t size)
{
	memset(b, 0, size);
	return size & ~(size_t)3;
}

/* A plausible header, then anything. */
static size_t fill_nonsense(uint8_t *b, size_t size)
{
	size_t n = CALL_LEN + rnd() % 400;

	(void)size;
	put_call(b, rnd());
	for (size_t i = CALL_LEN; i < n; i++)
		b[i] = (uint8_t)rnd();
	put_u32(b, 0x80000000U | (uint32_t)(n - 4));
	put_u32(b + 16, rnd() & 3 ? 100003 : rnd());
	put_u32(b + 24, rnd() % 24);
	if (rnd() & 1)
		put_u32(b + 32, rnd() & 1 ? rnd() : 64);
	return n;
}

/* Connections that come, send what `fill` makes, maybe listen, and go. */
static void stage_bytes(fill_fn *fill)
{
	static uint8_t b[16384];
	double end = now_s() + A.secs;
	int fd[CROWD];

	for (int i = 0; i < CROWD; i++)
		fd[i] = -1;
	for (unsigned i = 0; now_s() < end; i = (i + 1) % CROWD) {
		uint8_t in[256];

		if (fd[i] >= 0 && (rnd() & 3) == 0) {
			close(fd[i]);
			fd[i] = -1;
		}
		if (fd[i] < 0)
			fd[i] = dial();
		if (fd[i] >= 0 && send(fd[i], b, fill(b, sizeof(b)), MSG_NOSIGNAL) < 0 &&
		    errno != EAGAIN) {
			close(fd[i]);
			fd[i] = -1;
		}
		if (fd[i] >= 0)
			(void)!recv(fd[i], in, sizeof(in), 0);
		if (i % 16 == 0)
			probe();
	}
	for (int i = 0; i < CROWD; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

/* A byte now and then of a record that says it is a megabyte. */
static void stage_slow_senders(void)
{
	double end = now_s() + A.secs;
	int fd[CROWD];

	for (int i = 0; i < CROWD; i++) {
		fd[i] = dial();
		if (fd[i] >= 0)
			(void)!send(fd[i], "\x80\x0f\xff\xff", 4, MSG_NOSIGNAL);
	}
	while (now_s() < end) {
		for (int i = 0; i < CROWD; i++)
			(void)!send(fd[i], "x", 1, MSG_NOSIGNAL);
		probe();
		usleep(5000);
	}
	for (int i = 0; i < CROWD; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

/* Calls without end and not one reply taken. */
static void stage_slow_readers(void)
{
	double end = now_s() + A.secs;
	uint8_t b[CALL_LEN * 100];
	int fd[CROWD];

	for (unsigned i = 0; i < 100; i++)
		put_call(b + i * CALL_LEN, i);
	for (int i = 0; i < CROWD; i++)
		fd[i] = dial();
	while (now_s() < end) {
		for (int i = 0; i < CROWD; i++)
			(void)!send(fd[i], b, sizeof(b), MSG_NOSIGNAL);
		probe();
	}
	for (int i = 0; i < CROWD; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static void stage_idle(void)
{
	static int fd[IDLE_MAX];
	double end;
	unsigned up = 0;

	for (unsigned i = 0; i < A.idle; i++) {
		fd[i] = dial();
		up += fd[i] >= 0;
		if (i % 100 == 0)
			probe();
	}
	fprintf(stderr, "abuse: %u idle connections\n", up);
	end = now_s() + A.secs;
	while (now_s() < end) {
		probe();
		usleep(2000);
	}
	for (unsigned i = 0; i < A.idle; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static void stage_datagrams(void)
{
	static uint8_t b[16384];
	double end = now_s() + A.secs;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	while (now_s() < end) {
		for (int i = 0; i < 50; i++) {
			size_t n = rnd() & 1 ? fill_random(b, 9000) : fill_nonsense(b, sizeof(b));
			size_t skip = rnd() & 1 ? 4 : 0; /* with and without a record mark */

			if (n > skip)
				(void)!sendto(fd, b + skip, n - skip, 0, (struct sockaddr *)&A.at,
					      sizeof(A.at));
		}
		probe();
	}
	close(fd);
}

static void stage(const char *name, fill_fn *fill, void (*run)(void), unsigned *lost)
{
	A.probes = A.lost = A.reconnects = 0;
	A.worst_ms = 0;
	if (fill)
		stage_bytes(fill);
	else
		run();
	printf("stage=%s probes=%u worst_ms=%.1f lost=%u reconnects=%u\n", name, A.probes, A.worst_ms,
	       A.lost, A.reconnects);
	fflush(stdout);
	*lost += A.lost;
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: abuse [-i IDLE] [-t SECONDS] ADDRESS PORT\n");
	exit(2);
}

int main(int argc, char **argv)
{
	struct rlimit rl;
	unsigned lost = 0;
	int o;

	signal(SIGPIPE, SIG_IGN);
	while ((o = getopt(argc, argv, "i:t:")) != -1) {
		if (o == 'i')
			A.idle = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 't')
			A.secs = strtod(optarg, NULL);
		else
			usage();
	}
	if (argc - optind != 2 || A.idle > IDLE_MAX)
		usage();
	A.at.sin_family = AF_INET;
	A.at.sin_port = htons((uint16_t)strtoul(argv[optind + 1], NULL, 10));
	if (inet_pton(AF_INET, argv[optind], &A.at.sin_addr) != 1)
		usage();
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_max < A.idle + 100)
		A.idle = rl.rlim_max > 200 ? (unsigned)rl.rlim_max - 100 : 0;
	stage("random", fill_random, NULL, &lost);
	stage("truncated", fill_truncated, NULL, &lost);
	stage("giant", fill_giant, NULL, &lost);
	stage("empty_fragments", fill_empty_fragments, NULL, &lost);
	stage("nonsense", fill_nonsense, NULL, &lost);
	stage("slow_senders", NULL, stage_slow_senders, &lost);
	stage("slow_readers", NULL, stage_slow_readers, &lost);
	stage("idle", NULL, stage_idle, &lost);
	stage("datagrams", NULL, stage_datagrams, &lost);
	printf("served=%s\n", lost ? "no" : "yes");
	return lost ? 1 : 0;
}
