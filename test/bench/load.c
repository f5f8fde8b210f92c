/* load.c - load generator for NFSv3 servers, on raw sockets.
 *
 *	load [-c CONNS] [-q DEPTH] [-t SECONDS] [-p SERVER_PID] [-e EXPORT] ADDRESS PORT OP ...
 *
 * CONNS connections with DEPTH calls in flight each; every reply is checked (xid, status, and what
 * it should contain).  One line per OP on stdout:
 *
 *	op=GETATTR conns=4 depth=16 calls=... secs=... rate=... server_us=... p50_us=... p99_us=...
 *	p999_us=... errors=0
 *
 * server_us is CPU time of the server process (its CPU clock: all threads) per call.  OPs: ECHO (a
 * server of test/bench/echo), NULL GETATTR ACCESS LOOKUP READ4K WRITE4K (unstable) WRITE4KS
 * (stable) CREATE REMOVE (removes what CREATE made) MKDIR RMDIR RENAME READDIRPLUS READ1M WRITE1M
 * COMMIT SETATTR FSSTAT MIX (SPEC SFS2008's shares of these).
 *
 * It works in a directory of its own, bench.PID, below the export, and takes it away again. */
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

#include "base/buf.h"

#define PROG_NFS   100003
#define PROG_MOUNT 100005
#define FH_MAX	   64
#define MIB	   (1024U * 1024)
#define FILES	   64U /* of 1 MiB, for reading and writing */
#define HIST_SUB   16U
#define HIST_SIZE  (64 * HIST_SUB)

#define OPS(X)                                                                                     \
	X(ECHO, 1)                                                                                 \
	X(NULL, 0)                                                                                 \
	X(GETATTR, 1)                                                                              \
	X(ACCESS, 4)                                                                               \
	X(LOOKUP, 3)                                                                               \
	X(READ4K, 6)                                                                               \
	X(WRITE4K, 7)                                                                              \
	X(WRITE4KS, 7)                                                                             \
	X(CREATE, 8)                                                                               \
	X(REMOVE, 12)                                                                              \
	X(MKDIR, 9)                                                                                \
	X(RMDIR, 13)                                                                               \
	X(RENAME, 14)                                                                              \
	X(READDIRPLUS, 17)                                                                         \
	X(READ1M, 6)                                                                               \
	X(WRITE1M, 7)                                                                              \
	X(COMMIT, 21)                                                                              \
	X(SETATTR, 2)                                                                              \
	X(FSSTAT, 18)                                                                              \
	X(MIX, 0)

enum op {
#define X(name, proc) OP_##name,
	OPS(X)
#undef X
	    OP_COUNT
};

static const struct {
	const char *name;
	uint32_t proc;
} ops[OP_COUNT] = {
#define X(name, proc) {#name, proc},
    OPS(X)
#undef X
};

struct fh {
	uint32_t len;
	uint8_t data[FH_MAX];
};

/* A call in flight. */
struct slot {
	uint32_t xid;
	enum op op;
	uint64_t sent_ns;
	uint32_t arg; /* by operation: number of a name, file or block */
	bool flipped; /* RENAME: where its file is now */
};

struct conn {
	int fd;
	unsigned id, in_flight;
	struct slot *slot;
	uint8_t *in, *out;
	size_t in_len, out_len, out_sent;
	bool want_out;
};

static struct {
	const char *addr, *export;
	uint16_t port;
	unsigned conns, depth;
	double secs;
	int pid;
	struct conn *conn;
	struct fh root, dir, file[FILES];
	size_t in_size, out_size;
	uint32_t next_xid;
	uint32_t created, removed, made; /* numbers of names given out */
	uint64_t calls, errors, hist[HIST_SIZE];
	uint64_t rnd;
	int ep;
	bool stop;
} L = {.export = "/export", .conns = 4, .depth = 16, .secs = 2, .rnd = 88172645463325252ULL};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static uint32_t rnd(uint32_t below)
{
	L.rnd ^= L.rnd << 13;
	L.rnd ^= L.rnd >> 7;
	L.rnd ^= L.rnd << 17;
	return (uint32_t)(L.rnd >> 32) % below;
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

		sum += L.hist[i];
		if (sum > want && top < 4)
			return (double)i / 1e3;
		if (sum > want)
			return (double)((HIST_SUB + i % HIST_SUB) * (1ULL << (top - 4))) / 1e3;
	}
	return 0;
}

/* ---- the server's CPU time -------------------------------------------------------------------- */

/* Of all its threads, also those that have ended (a checkpoint's). */
static uint64_t server_cpu_ns(void)
{
	struct timespec ts;
	clockid_t clock;

	if (!L.pid)
		return 0;
	if (clock_getcpuclockid(L.pid, &clock) || clock_gettime(clock, &ts))
		die("no such server process");
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* ---- building calls --------------------------------------------------------------------------- */

static void put_header(struct wr *w, uint32_t xid, uint32_t prog, uint32_t proc)
{
	wr_u32(w, 0); /* record mark, filled in at the end */
	wr_u32(w, xid);
	wr_u32(w, 0); /* CALL */
	wr_u32(w, 2);
	wr_u32(w, prog);
	wr_u32(w, 3);
	wr_u32(w, proc);
	wr_u32(w, 1); /* AUTH_SYS: stamp, machine name, uid, gid, no further groups */
	wr_u32(w, 28);
	wr_u32(w, 1);
	wr_u32(w, 5);
	wr_bytes(w, "bench\0\0\0", 8);
	wr_zero(w, 12);
	wr_zero(w, 8); /* verifier: none */
}

static void put_opaque(struct wr *w, const void *data, size_t len)
{
	wr_u32(w, (uint32_t)len);
	wr_bytes(w, data, len);
	wr_zero(w, (4 - (len & 3)) & 3);
}

static void put_fh(struct wr *w, const struct fh *fh)
{
	put_opaque(w, fh->data, fh->len);
}

static void put_name(struct wr *w, const char *what, uint32_t n)
{
	char name[32];
	int len = snprintf(name, sizeof(name), "%s%u", what, n);

	put_opaque(w, name, (size_t)len);
}

/* Mode 0644 and nothing else. */
static void put_sattr(struct wr *w)
{
	wr_u32(w, 1);
	wr_u32(w, 0644);
	wr_zero(w, 5 * 4);
}

/* The bytes of a file are a function of file and offset, so that replies can be verified. */
static void pattern(uint8_t *out, uint32_t file, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = (off + i + file) * 0x9e3779b97f4a7c15ULL;

		memcpy(out + i, &v, 8);
	}
}

static void put_write(struct wr *w, uint32_t file, uint64_t off, uint32_t len, uint32_t stable)
{
	uint8_t *at;

	put_fh(w, &L.file[file]);
	wr_u64(w, off);
	wr_u32(w, len);
	wr_u32(w, stable);
	wr_u32(w, len);
	at = wr_room(w, len);
	if (at)
		pattern(at, file, off, len);
}

/* SPEC SFS2008 for NFSv3: the shares of what we have. */
static enum op mix_op(void)
{
	static const struct {
		uint32_t share;
		enum op op;
	} mix[] = {{26, OP_GETATTR}, {24, OP_LOOKUP}, {18, OP_READ4K},	   {11, OP_ACCESS},
		   {10, OP_WRITE4K}, {4, OP_SETATTR}, {2, OP_READDIRPLUS}, {2, OP_COMMIT},
		   {1, OP_CREATE},   {1, OP_FSSTAT},  {1, OP_NULL}};
	uint32_t n = rnd(100);

	for (size_t i = 0; i < sizeof(mix) / sizeof(mix[0]); i++) {
		if (n < mix[i].share)
			return mix[i].op;
		n -= mix[i].share;
	}
	return OP_GETATTR;
}

static void put_data_args(struct wr *w, struct slot *s)
{
	bool big = s->op == OP_READ1M || s->op == OP_WRITE1M;
	uint32_t len = big ? MIB : 4096, file;
	uint64_t off;

	s->arg = big ? rnd(FILES) * 256 : rnd(FILES * 256);
	file = s->arg / 256;
	off = s->arg % 256 * 4096ULL;
	if (s->op == OP_READ4K || s->op == OP_READ1M) {
		put_fh(w, &L.file[file]);
		wr_u64(w, off);
		wr_u32(w, len);
	} else {
		put_write(w, file, off, len, s->op == OP_WRITE4KS ? 2 : 0);
	}
}

static void put_name_args(struct wr *w, struct slot *s, uint32_t number)
{
	put_fh(w, &L.dir);
	if (s->op == OP_CREATE) {
		put_name(w, "c", L.created++);
		wr_u32(w, 1); /* GUARDED */
		put_sattr(w);
	} else if (s->op == OP_REMOVE) {
		put_name(w, "c", L.removed++);
	} else if (s->op == OP_MKDIR) {
		put_name(w, "d", L.made++);
		put_sattr(w);
	} else if (s->op == OP_RMDIR) {
		put_name(w, "d", --L.made);
	} else { /* RENAME there and back */
		put_name(w, s->flipped ? "rb" : "ra", number);
		put_fh(w, &L.dir);
		put_name(w, s->flipped ? "ra" : "rb", number);
		s->flipped = !s->flipped;
	}
}

static void put_args(struct wr *w, struct slot *s, uint32_t number)
{
	switch (s->op) {
	case OP_ECHO:
		wr_zero(w, 40);
		break;
	case OP_GETATTR:
		put_fh(w, &L.file[number % FILES]);
		break;
	case OP_FSSTAT:
		put_fh(w, &L.dir);
		break;
	case OP_ACCESS:
		put_fh(w, &L.file[number % FILES]);
		wr_u32(w, 0x3f);
		break;
	case OP_LOOKUP:
		put_fh(w, &L.dir);
		put_name(w, "file", s->arg = rnd(FILES));
		break;
	case OP_READ4K:
	case OP_READ1M:
	case OP_WRITE4K:
	case OP_WRITE4KS:
	case OP_WRITE1M:
		put_data_args(w, s);
		break;
	case OP_COMMIT:
		put_fh(w, &L.file[rnd(FILES)]);
		wr_zero(w, 12);
		break;
	case OP_SETATTR:
		put_fh(w, &L.file[number % FILES]);
		put_sattr(w);
		wr_u32(w, 0);
		break;
	case OP_CREATE:
	case OP_REMOVE:
	case OP_MKDIR:
	case OP_RMDIR:
	case OP_RENAME:
		put_name_args(w, s, number);
		break;
	case OP_READDIRPLUS:
		put_fh(w, &L.dir);
		wr_zero(w, 16);
		wr_u32(w, 8192);
		wr_u32(w, 32768);
		break;
	case OP_NULL:
	case OP_MIX:
	case OP_COUNT:
		break;
	}
}

static void mark_set(uint8_t *at, size_t len)
{
	put_u32(at, 0x80000000U | (uint32_t)(len - 4));
}

/* ---- checking replies ------------------------------------------------------------------------- */

static void post_op_attr_skip(struct rd *r)
{
	if (rd_u32(r))
		rd_bytes(r, 84);
}

static bool data_is(const uint8_t *got, uint32_t file, uint64_t off, uint32_t len)
{
	static uint8_t want[4096];

	pattern(want, file, off, len);
	return memcmp(got, want, len) == 0;
}

static bool read_ok(struct rd *r, const struct slot *s)
{
	uint32_t len = s->op == OP_READ1M ? MIB : 4096;

	post_op_attr_skip(r);
	if (rd_u32(r) != len)
		return false;
	rd_u32(r);
	/* Of a megabyte a sample: the client must not be the slow one. */
	return rd_u32(r) == len && rd_left(r) == len &&
	       data_is(r->p, s->arg / 256, s->arg % 256 * 4096ULL, 4096);
}

static bool write_ok(struct rd *r, const struct slot *s)
{
	if (rd_u32(r))
		rd_bytes(r, 24);
	post_op_attr_skip(r);
	return rd_u32(r) == (s->op == OP_WRITE1M ? MIB : 4096) &&
	       rd_u32(r) >= (s->op == OP_WRITE4KS ? 2U : 0U);
}

static bool reply_ok(struct rd *r, const struct slot *s)
{
	uint32_t n;

	if (rd_u32(r) != 0) /* NFS3_OK */
		return false;
	if (s->op == OP_READ4K || s->op == OP_READ1M)
		return read_ok(r, s);
	if (s->op == OP_WRITE4K || s->op == OP_WRITE4KS || s->op == OP_WRITE1M)
		return write_ok(r, s);
	if (s->op == OP_GETATTR)
		return rd_bytes(r, 84) && rd_done(r);
	if (s->op == OP_LOOKUP) {
		n = rd_u32(r);
		return n == L.file[s->arg].len && rd_left(r) >= n &&
		       memcmp(r->p, L.file[s->arg].data, n) == 0;
	}
	if (s->op == OP_CREATE || s->op == OP_MKDIR)
		return rd_u32(r) == 1 && rd_u32(r) <= FH_MAX;
	return rd_ok(r);
}

/* REPLY, accepted, no verifier, success. */
static bool header_ok(struct rd *r)
{
	return rd_u32(r) == 1 && rd_u32(r) == 0 && rd_u32(r) == 0 && rd_u32(r) == 0 &&
	       rd_u32(r) == 0 && rd_ok(r);
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
	if (s->op != OP_ECHO &&
	    !(header_ok(&r) && (s->op == OP_NULL || reply_ok(&r, s))) && L.errors++ < 3)
		fprintf(stderr, "load: %s: wrong reply (%zu bytes, status %u)\n", ops[s->op].name,
			len, len >= 28 ? (unsigned)msg[26] << 8 | msg[27] : 0);
	L.calls++;
	L.hist[hist_bin(now_ns() - s->sent_ns)]++;
	s->xid = 0;
	c->in_flight--;
}

/* ---- single calls: what comes before and after the measuring ---------------------------------- */

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(L.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (inet_pton(AF_INET, L.addr, &a.sin_addr) != 1)
		die("bad address");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void send_fully(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		data += n;
		len -= (size_t)n;
	}
}

static void recv_fully(int fd, uint8_t *data, size_t len)
{
	ssize_t n = recv(fd, data, len, MSG_WAITALL);

	if (n != (ssize_t)len)
		die("recv");
}

/* Returns the reply behind the RPC header. */
static struct rd call(int fd, uint32_t prog, uint32_t proc, struct wr *args)
{
	static uint8_t out[MIB + 8192], in[MIB + 8192];
	struct wr w;
	struct rd r;
	uint32_t len;

	wr_init(&w, out, sizeof(out));
	put_header(&w, ++L.next_xid | 0x40000000, prog, proc);
	wr_bytes(&w, args->start, wr_len(args));
	mark_set(out, wr_len(&w));
	send_fully(fd, out, wr_len(&w));
	recv_fully(fd, in, 4);
	rd_init(&r, in, 4);
	len = rd_u32(&r) & 0x7fffffff;
	if (len > sizeof(in))
		die("reply too long");
	recv_fully(fd, in, len);
	rd_init(&r, in, len);
	rd_u32(&r);
	errno = 0;
	if (!header_ok(&r))
		die("call refused");
	return r;
}

static struct fh take_fh(struct rd *r)
{
	struct fh fh = {.len = rd_u32(r)};

	if (fh.len > FH_MAX)
		die("file handle too long");
	rd_copy(r, fh.data, fh.len);
	return fh;
}

static struct fh make(int fd, uint32_t proc, const struct fh *dir, const char *name)
{
	uint8_t b[512];
	struct wr a;
	struct rd r;
	uint32_t st;

	wr_init(&a, b, sizeof(b));
	put_fh(&a, dir);
	put_opaque(&a, name, strlen(name));
	if (proc == 8)
		wr_u32(&a, 0);
	put_sattr(&a);
	r = call(fd, PROG_NFS, proc, &a);
	st = rd_u32(&r);
	if (st || rd_u32(&r) != 1) {
		fprintf(stderr, "load: %s: status %u\n", name, st);
		exit(1);
	}
	return take_fh(&r);
}

static void remove_name(int fd, uint32_t proc, const struct fh *dir, const char *name)
{
	uint8_t b[512];
	struct wr a;

	wr_init(&a, b, sizeof(b));
	put_fh(&a, dir);
	put_opaque(&a, name, strlen(name));
	call(fd, PROG_NFS, proc, &a);
}

static void fill_file(int fd, uint32_t n)
{
	static uint8_t b[MIB + 4096];
	struct wr a;
	struct rd r;

	wr_init(&a, b, sizeof(b));
	put_write(&a, n, 0, MIB, 0);
	r = call(fd, PROG_NFS, 7, &a);
	if (rd_u32(&r))
		die("WRITE failed");
	wr_init(&a, b, sizeof(b));
	put_fh(&a, &L.file[n]);
	wr_zero(&a, 12);
	r = call(fd, PROG_NFS, 21, &a);
	if (rd_u32(&r))
		die("COMMIT failed");
}

static void set_up(void)
{
	char name[64];
	uint8_t b[512];
	struct wr a;
	struct rd r;
	int fd = dial();

	wr_init(&a, b, sizeof(b));
	put_opaque(&a, L.export, strlen(L.export));
	r = call(fd, PROG_MOUNT, 1, &a);
	if (rd_u32(&r))
		die("mount refused");
	L.root = take_fh(&r);
	snprintf(name, sizeof(name), "bench.%d", (int)getpid());
	L.dir = make(fd, 9, &L.root, name);
	for (uint32_t i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		L.file[i] = make(fd, 8, &L.dir, name);
		fill_file(fd, i);
	}
	for (uint32_t i = 0; i < L.conns * L.depth; i++) {
		snprintf(name, sizeof(name), "ra%u", i);
		make(fd, 8, &L.dir, name);
	}
	close(fd);
}

/* ---- the load --------------------------------------------------------------------------------- */

static void put_call(struct conn *c, unsigned i, enum op op)
{
	struct slot *s = &c->slot[i];
	uint32_t slots = L.conns * L.depth, number = c->id * L.depth + i;
	struct wr w;

	if ((op == OP_REMOVE && L.removed == L.created) || (op == OP_RMDIR && L.made == 0)) {
		L.stop = true;
		return;
	}
	s->op = op == OP_MIX ? mix_op() : op;
	s->xid = ++L.next_xid * slots + number;
	wr_init(&w, c->out + c->out_len, L.out_size - c->out_len);
	put_header(&w, s->xid, PROG_NFS, ops[s->op].proc);
	put_args(&w, s, number);
	if (!wr_ok(&w))
		die("output buffer too small");
	mark_set(c->out + c->out_len, wr_len(&w));
	c->out_len += wr_len(&w);
	s->sent_ns = now_ns();
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
				put_call(c, i, op);
	flush(c);
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
		c->fd = dial();
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
	struct epoll_event ev[64];
	int n = epoll_wait(L.ep, ev, 64, 1000);

	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			take_replies(c);
		refill(c, op);
	}
}

/* Keeps all slots busy with `op` until `end` or until there is nothing left to do. */
static void drive(enum op op, uint64_t end)
{
	uint64_t t1;

	L.stop = false;
	for (unsigned i = 0; i < L.conns; i++)
		refill(&L.conn[i], op);
	while (now_ns() < end && !L.stop)
		round_trip(op);
	L.stop = true;
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

	memset(L.hist, 0, sizeof(L.hist));
	L.calls = L.errors = 0;
	drive(op, t0 + (uint64_t)(L.secs * 1e9));
	cpu = server_cpu_ns() - cpu;
	secs = (double)(now_ns() - t0) / 1e9;
	printf("op=%s conns=%u depth=%u calls=%llu secs=%.2f rate=%.0f server_us=%.3f "
	       "p50_us=%.0f p99_us=%.0f p999_us=%.0f errors=%llu\n",
	       ops[op].name, L.conns, L.depth, (unsigned long long)L.calls, secs,
	       (double)L.calls / secs, L.calls ? (double)cpu / 1e3 / (double)L.calls : 0,
	       hist_us(0.5), hist_us(0.99), hist_us(0.999), (unsigned long long)L.errors);
	fflush(stdout);
}

static void clean_up(void)
{
	char name[64];
	int fd = dial();

	for (uint32_t i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		remove_name(fd, 12, &L.dir, name);
	}
	for (uint32_t i = 0; i < L.conns * L.depth * 2; i++) {
		snprintf(name, sizeof(name), i & 1 ? "ra%u" : "rb%u", i / 2);
		remove_name(fd, 12, &L.dir, name);
	}
	drive(OP_REMOVE, UINT64_MAX);
	drive(OP_RMDIR, UINT64_MAX);
	snprintf(name, sizeof(name), "bench.%d", (int)getpid());
	remove_name(fd, 13, &L.root, name);
	close(fd);
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
			"ADDRESS PORT OP ...\n");
	exit(2);
}

static void options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "c:q:t:p:e:")) != -1) {
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
		default:
			usage();
		}
	}
	if (argc - optind < 3 || !L.conns || !L.depth || L.secs <= 0)
		usage();
	L.addr = argv[optind];
	L.port = (uint16_t)strtoul(argv[optind + 1], NULL, 10);
}

int main(int argc, char **argv)
{
	bool nfs = false, big = false;
	uint64_t errors = 0;

	options(argc, argv);
	for (int i = optind + 2; i < argc; i++) {
		enum op op = op_by_name(argv[i]);

		nfs |= op != OP_ECHO;
		big |= op == OP_READ1M || op == OP_WRITE1M;
	}
	L.in_size = 2UL * MIB;
	L.out_size = L.depth * (big ? MIB + 4096UL : 8192UL);
	/* Xids of this run differ from those of an earlier one: a duplicate cache lives long. */
	L.next_xid = (uint32_t)(now_ns() >> 10) % 100000000 / (L.conns * L.depth) + 1;
	if (nfs)
		set_up();
	conns_open();
	for (int i = optind + 2; i < argc; i++) {
		measure(op_by_name(argv[i]));
		errors += L.errors;
	}
	if (nfs)
		clean_up();
	return errors ? 1 : 0;
}
