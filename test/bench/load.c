/* load.c - load generator for NFSv3 servers, on raw sockets.
 *
 *	load [-c CONNS] [-q DEPTH] [-t SECONDS] [-p SERVER_PID] [-e EXPORT] [-m MOUNT_PORT]
 *	     [-F FILES] [-n TREE_FILES] [-D PER_DIRECTORY] [-w NAME] [-k] [-l] [-W SET] [-R RATE]
 *	     [-L FILE] ADDRESS PORT OP ...
 *
 * CONNS connections with DEPTH calls in flight each; every reply is checked (xid, status, and what
 * it should contain).  One line per OP on stdout:
 *
 *	op=GETATTR conns=4 depth=16 calls=... secs=... rate=... server_us=... p50_us=... p99_us=...
 *	p999_us=... entries=... rss_kb=... errors=0
 *
 * server_us is CPU time of the server process per call: its CPU clock counts all its threads,
 * io_uring's too, also those that have ended, and its dead children.  entries: directory entries
 * in the replies.  rss_kb: what the server has in memory afterwards.
 *
 * OPs: ECHO, ECHO4K, ECHO1M (replies of 112 bytes, 4 KiB, 1 MiB), ECHOW4K, ECHOW1M (calls of such
 * a size) for test/bench/echo; NULL GETATTR SETATTR LOOKUP ACCESS READLINK READ4K READ1M WRITE4K
 * (unstable) WRITE4KS (stable) WRITE1M (unstable) CREATE MKDIR REMOVE (removes what CREATE made)
 * RMDIR RENAME READDIR READDIRPLUS FSSTAT COMMIT, and MIX, SPEC SFS2008's shares of these.
 * READ and WRITE go to FILES files of 1 MiB (32) at random.
 *
 * With -n there is a tree of TREE_FILES empty files, PER_DIRECTORY (10,000) in each directory, and
 * TLOOKUP, TGETATTR of any of them, LIST (READDIRPLUS of a whole directory), and CREATE and REMOVE
 * work in its first directory.  With -W only the first SET files of it are looked at: a working set.
 *
 * With -l handles of the tree's files are neither kept nor looked for: what an earlier run made (-w)
 * is there at once, and a tree may have any size; TGETATTR does not work then.
 *
 * With -R calls come at that rate a second, whatever the server does: each has its moment, from
 * which its time is counted, also when it had to wait for a free place among those in flight.
 * STEADY is a fifth each of CREATE, stable WRITE, unstable WRITE, TLOOKUP and READ4K, its files made
 * in any directory of the tree.  -L writes each call's moment and time, ns, as two 8-byte numbers.
 *
 * It works in a directory of its own, bench.PID or NAME, below the export, and takes it away again
 * unless -k is given; with -w what an earlier run left there is used again. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define BULK_WAKE_BYTES (256 * 1024)
#define HIST_SUB  16U
#define HIST_SIZE (64 * HIST_SUB)

struct load L = {.export = "/export", .conns = 4, .depth = 16, .secs = 2, .files = 32,
		 .tree_per_dir = 10000, .rnd = 88172645463325252ULL};
static uint64_t hist[HIST_SIZE];
static FILE *each; /* -L: of each call when it was to be sent and how long it took */

_Noreturn void die(const char *what)
{
	fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts); /* as the server's own lines have it */
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* ---- latency histogram: powers of two, each in 16 parts --------------------------------------- */

static unsigned hist_bin(uint64_t ns)
{
	unsigned top = ns ? 63U - (unsigned)__builtin_clzll(ns) : 0;

	if (top < 4)
		return (unsigned)ns;
	return top * HIST_SUB + (unsigned)((ns >> (top - 4)) & (HIST_SUB - 1));
}

static double hist_us(double share)
{
	uint64_t want = (uint64_t)((double)L.calls * share), sum = 0;

	for (unsigned i = 0; i < HIST_SIZE; i++) {
		unsigned top = i / HIST_SUB;

		sum += hist[i];
		if (sum > want && top < 4)
			return (double)i / 1e3;
		if (sum > want)
			return (double)((HIST_SUB + i % HIST_SUB) * (1ULL << (top - 4))) / 1e3;
	}
	return 0;
}

/* ---- the server's CPU time -------------------------------------------------------------------- */

/* A field of the server's stat file, counted as proc(5) does; 0 when there is none. */
static uint64_t server_stat(int field)
{
	char path[64], line[1024], *at = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", L.pid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		at = strrchr(line, ')'); /* behind the name: the space before field 3 */
	if (f)
		fclose(f);
	for (int i = 2; at && i < field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

/* Of all its threads, also those that have ended (a checkpoint's), and of dead children. */
static uint64_t server_cpu_ns(void)
{
	uint64_t tick_ns = 1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec ts;
	clockid_t clock;

	if (!L.pid)
		return 0;
	if (clock_getcpuclockid(L.pid, &clock) || clock_gettime(clock, &ts))
		die("no such server process");
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec +
	       (server_stat(16) + server_stat(17)) * tick_ns;
}

static uint64_t server_rss_kb(void)
{
	return L.pid ? server_stat(24) * (uint64_t)sysconf(_SC_PAGESIZE) / 1024 : 0;
}

/* ---- the load --------------------------------------------------------------------------------- */

static bool is_echo(enum op op)
{
	return op == OP_ECHO || op == OP_ECHO4K || op == OP_ECHO1M || op == OP_ECHOW4K ||
	       op == OP_ECHOW1M;
}

static bool no_result(enum op op)
{
	return op == OP_NULL || is_echo(op);
}

static void note(uint64_t sent_ns, uint64_t took_ns)
{
	uint64_t both[2] = {sent_ns, took_ns};

	hist[hist_bin(took_ns)]++;
	if (each && fwrite(both, sizeof(both), 1, each) != 1)
		die("writing the times");
}

static void on_reply(struct conn *c, const uint8_t *msg, size_t len)
{
	struct rd r;
	uint32_t xid, at;
	struct slot *s;

	rd_init(&r, msg, len);
	xid = rd_u32(&r);
	at = xid % (L.conns * L.depth);
	s = &c->slot[at % L.depth];
	errno = 0;
	if (at / L.depth != c->id || s->xid != xid)
		die("a reply with an unknown xid");
	if (!(header_ok(&r) && (no_result(s->op) || reply_ok(&r, s))) && L.errors++ < 3)
		fprintf(stderr, "load: %s: wrong reply (%zu bytes, status %u)\n", ops[s->op].name,
			len, len >= 28 ? (unsigned)msg[26] << 8 | msg[27] : 0);
	L.calls++;
	note(s->sent_ns, now_ns() - s->sent_ns);
	s->xid = 0;
	c->in_flight--;
}

int dial(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (inet_pton(AF_INET, L.addr, &a.sin_addr) != 1)
		die("bad address");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void put_call(struct conn *c, unsigned i, enum op op, uint64_t at_ns)
{
	struct slot *s = &c->slot[i];
	uint32_t slots = L.conns * L.depth, number = c->id * L.depth + i;
	struct wr w;

	op = op_now(op);
	if (op == OP_COUNT) {
		L.stop = true;
		return;
	}
	s->op = op;
	s->xid = ++L.next_xid * slots + number;
	wr_init(&w, c->out + c->out_len, L.out_size - c->out_len);
	put_header(&w, s->xid, PROG_NFS, ops[s->op].proc);
	put_args(&w, s, number);
	if (!wr_ok(&w))
		die("output buffer too small");
	mark_set(c->out + c->out_len, wr_len(&w));
	c->out_len += wr_len(&w);
	s->sent_ns = at_ns;
	c->in_flight++;
}

static void flush(struct conn *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			die("send");
		c->out_sent += (size_t)n;
	}
	if (c->out_sent == c->out_len)
		c->out_sent = c->out_len = 0;
	if ((c->out_len > 0) != c->want_out) {
		struct epoll_event ev = {.events = EPOLLIN | (c->want_out ? 0 : EPOLLOUT),
					 .data.ptr = c};

		c->want_out = !c->want_out;
		epoll_ctl(L.ep, EPOLL_CTL_MOD, c->fd, &ev);
	}
}

static void refill(struct conn *c, enum op op)
{
	if (c->out_len == 0) /* else: what is there first, or the buffer would creep */
		for (unsigned i = 0; i < L.depth && !L.stop; i++)
			if (c->slot[i].xid == 0)
				put_call(c, i, op, now_ns());
	flush(c);
}

/* Those whose moment has come, each to the next connection that has a place. */
static struct {
	uint64_t began_ns, sent;
	unsigned conn;
} pace;

static bool slot_free(const struct conn *c, unsigned *i)
{
	for (*i = 0; *i < L.depth; ++*i)
		if (c->slot[*i].xid == 0)
			return true;
	return false;
}

static uint64_t pace_next(void)
{
	return pace.began_ns + (uint64_t)((double)pace.sent * 1e9 / L.rate);
}

static void pace_send(enum op op)
{
	uint64_t now = now_ns();

	for (unsigned full = 0; full < L.conns && pace_next() <= now && !L.stop;) {
		struct conn *c = &L.conn[pace.conn++ % L.conns];
		unsigned i;

		if (c->in_flight == L.depth || !slot_free(c, &i)) {
			full++;
			continue;
		}
		full = 0;
		put_call(c, i, op, pace_next());
		pace.sent++;
	}
	for (unsigned i = 0; i < L.conns; i++)
		flush(&L.conn[i]);
}

static void take_replies(struct conn *c)
{
	size_t at = 0;
	ssize_t n = recv(c->fd, c->in + c->in_len, L.in_size - c->in_len, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("connection closed by the server");
	c->in_len += (size_t)n;
	while (c->in_len - at >= 4) {
		struct rd r;
		uint32_t len;

		rd_init(&r, c->in + at, 4);
		len = rd_u32(&r) & 0x7fffffff;
		if (len > L.in_size - 4)
			die("reply too long");
		if (c->in_len - at - 4 < len)
			break;
		on_reply(c, c->in + at + 4, len);
		at += 4 + len;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static bool busy(void)
{
	for (unsigned i = 0; i < L.conns; i++)
		if (L.conn[i].in_flight)
			return true;
	return false;
}

static void conns_open(void)
{
	L.ep = epoll_create1(EPOLL_CLOEXEC);
	L.conn = calloc(L.conns, sizeof(*L.conn));
	for (unsigned i = 0; i < L.conns; i++) {
		struct conn *c = &L.conn[i];
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

		c->id = i;
		c->fd = dial(L.port);
		c->slot = calloc(L.depth, sizeof(*c->slot));
		c->in = malloc(L.in_size);
		c->out = malloc(L.out_size);
		if (!c->slot || !c->in || !c->out)
			die("memory");
		epoll_ctl(L.ep, EPOLL_CTL_ADD, c->fd, &ev);
	}
}

static void round_trip(enum op op)
{
	struct timespec wait = {.tv_nsec = L.rate > 0 ? 50000 : 999999999};
	struct epoll_event ev[64];
	int n = epoll_pwait2(L.ep, ev, 64, &wait, NULL);

	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			take_replies(c);
		if (L.rate <= 0 || L.stop)
			refill(c, op);
	}
	if (L.rate > 0)
		pace_send(op);
}

/* Bulk replies come in many segments.  To be woken for each of them would cost the server, on the
 * other core of this machine, more than to send it; a client elsewhere costs it nothing. */
static void wake_at(int bytes)
{
	for (unsigned i = 0; i < L.conns; i++)
		setsockopt(L.conn[i].fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

void drive(enum op op, uint64_t end)
{
	bool bulk = (op == OP_READ1M || op == OP_ECHO1M) && L.depth > 1;
	uint64_t t1;

	L.stop = false;
	if (bulk)
		wake_at(BULK_WAKE_BYTES);
	pace.began_ns = now_ns();
	pace.sent = 0;
	for (unsigned i = 0; i < L.conns && L.rate <= 0; i++)
		refill(&L.conn[i], op);
	while (now_ns() < end && !L.stop)
		round_trip(op);
	L.stop = true;
	if (bulk)
		wake_at(1);
	t1 = now_ns();
	while (busy() && now_ns() < t1 + 10000000000ULL)
		round_trip(op);
	errno = 0;
	if (busy())
		die("replies are missing after 10 s");
}

static void measure(enum op op)
{
	uint64_t t0 = now_ns(), cpu = server_cpu_ns();
	double secs;

	memset(hist, 0, sizeof(hist));
	L.calls = L.errors = L.entries = 0;
	if (L.times && !(each = fopen(L.times, "we")))
		die(L.times);
	L.rate = L.want_rate;
	drive(op, t0 + (uint64_t)(L.secs * 1e9));
	L.rate = 0;
	if (each && fclose(each))
		die(L.times);
	each = NULL;
	cpu = server_cpu_ns() - cpu;
	secs = (double)(now_ns() - t0) / 1e9;
	printf("op=%s conns=%u depth=%u calls=%llu secs=%.2f rate=%.0f server_us=%.3f "
	       "p50_us=%.0f p99_us=%.0f p999_us=%.0f entries=%llu rss_kb=%llu "
	       "errors=%llu\n",
	       ops[op].name, L.conns, L.depth, (unsigned long long)L.calls, secs,
	       (double)L.calls / secs, L.calls ? (double)cpu / 1e3 / (double)L.calls : 0,
	       hist_us(0.5), hist_us(0.99), hist_us(0.999), (unsigned long long)L.entries,
	       (unsigned long long)server_rss_kb(), (unsigned long long)L.errors);
	fflush(stdout);
}

static enum op op_by_name(const char *name)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (strcmp(ops[i].name, name) == 0)
			return (enum op)i;
	errno = 0;
	die("unknown operation");
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: load [-c CONNS] [-q DEPTH] [-t SECONDS] [-p SERVER_PID] [-e EXPORT] "
			"[-m MOUNT_PORT]\n\t[-F FILES] [-n TREE_FILES] [-D PER_DIRECTORY] [-w NAME] "
			"[-k] [-l]\n\t[-W SET] [-R RATE] [-L FILE] ADDRESS PORT OP ...\n");
	exit(2);
}

static void options(int argc, char **argv)
{
	static char work[32];
	int o;

	while ((o = getopt(argc, argv, "c:q:t:p:e:m:F:n:D:w:klR:L:W:")) != -1) {
		switch (o) {
		case 'c':
			L.conns = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'q':
			L.depth = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			L.secs = strtod(optarg, NULL);
			break;
		case 'p':
			L.pid = (int)strtol(optarg, NULL, 10);
			break;
		case 'e':
			L.export = optarg;
			break;
		case 'm':
			L.mount_port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 'F':
			L.files = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			L.tree_files = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'D':
			L.tree_per_dir = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			L.work = optarg;
			break;
		case 'k':
			L.keep = true;
			break;
		case 'l':
			L.lazy = true;
			break;
		case 'W':
			L.tree_set = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'R':
			L.want_rate = strtod(optarg, NULL);
			break;
		case 'L':
			L.times = optarg;
			break;
		default:
			usage();
		}
	}
	if (argc - optind < 3 || !L.conns || !L.depth || L.secs <= 0 || !L.files ||
	    !L.tree_per_dir)
		usage();
	if (!L.work) {
		snprintf(work, sizeof(work), "bench.%d", (int)getpid());
		L.work = work;
	}
	L.addr = argv[optind];
	L.port = (uint16_t)strtoul(argv[optind + 1], NULL, 10);
	if (!L.mount_port)
		L.mount_port = L.port;
}

int main(int argc, char **argv)
{
	bool nfs = false;
	uint64_t errors = 0;

	options(argc, argv);
	for (int i = optind + 2; i < argc; i++) {
		enum op op = op_by_name(argv[i]);

		nfs |= !is_echo(op);
		if (!L.tree_files && (op == OP_LIST || op == OP_TLOOKUP || op == OP_TGETATTR ||
				      op == OP_STEADY))
			usage();
		L.spread |= op == OP_STEADY;
		if (!L.tree_set || L.tree_set > L.tree_files)
			L.tree_set = L.tree_files;
	}
	L.in_size = 2UL * MIB;
	L.out_size = L.depth * (MIB + 4096UL);
	/* Xids of this run differ from those of an earlier one: a duplicate cache lives long. */
	L.next_xid = (uint32_t)(now_ns() >> 10) % 100000000 / (L.conns * L.depth) + 1;
	conns_open();
	if (nfs)
		set_up();
	for (int i = optind + 2; i < argc; i++) {
		measure(op_by_name(argv[i]));
		errors += L.errors;
	}
	if (nfs)
		clean_up();
	return errors ? 1 : 0;
}
