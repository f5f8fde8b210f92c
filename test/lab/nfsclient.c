/* nfsclient.c - the test client: records, retries, and NFSv3 by hand (RFC 1813, RFC 5531). */
#include "nfsclient.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define PROG_NFS        100003
#define PROG_MOUNT      100005
#define UDP_REPEAT_MS   300
#define TCP_PATIENCE_MS 15000 /* a connection that stays silent this long is given up */

/* ---- options ---------------------------------------------------------------------------------- */

bool nfc_number(const char *text, unsigned long least, unsigned long most, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 10);
	return errno == 0 && end != text && !*end && *text != '-' && *out >= least && *out <= most;
}

int nfc_where(struct nfc_where *w, int option, const char *value)
{
	unsigned long v;

	switch (option) {
	case 'a':
		w->server.sin_family = AF_INET;
		return inet_pton(AF_INET, value, &w->server.sin_addr) == 1 ? 1 : -1;
	case 'e':
		w->export = value;
		return 1;
	case 'p':
	case 'm':
		if (!nfc_number(value, 1, UINT16_MAX, &v))
			return -1;
		if (option == 'p')
			w->server.sin_port = htons((uint16_t)v);
		else
			w->mount_port = (uint16_t)v;
		return 1;
	case 't':
		if (!nfc_number(value, 0, 1000000, &v))
			return -1;
		w->seconds = (unsigned)v;
		return 1;
	default:
		return 0;
	}
}

bool nfc_where_done(struct nfc_where *w)
{
	if (w->mount_port == 0)
		w->mount_port = ntohs(w->server.sin_port);
	return w->export && w->server.sin_port && w->server.sin_family;
}

uint64_t nfc_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

uint64_t nfc_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

void nfc_init(struct nfc *c, const struct sockaddr_in *server, bool udp, uint64_t seed)
{
	memset(c, 0, sizeof(*c));
	c->server = *server;
	c->udp = udp;
	c->fd = -1;
	c->seed = seed;
	c->xid = (uint32_t)nfc_random(&c->seed);
	c->give_up_ns = UINT64_MAX;
}

static void drop(struct nfc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void nfc_fini(struct nfc *c)
{
	drop(c);
}

/* Binds below 1024 when we may: servers ask for it ("secure" exports). */
static void bind_low(int fd, uint64_t *seed)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	for (int i = 0; i < 40; i++) {
		a.sin_port = htons((uint16_t)(600 + nfc_random(seed) % 400));
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EACCES)
			return;
	}
}

static int connect_once(struct nfc *c)
{
	int one = 1, err = 0;
	socklen_t len = sizeof(err);
	struct pollfd p;
	int fd =
	    socket(AF_INET, (c->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!c->udp) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	bind_low(fd, &c->seed);
	if (connect(fd, (struct sockaddr *)&c->server, sizeof(c->server)) && errno != EINPROGRESS) {
		err = errno;
		close(fd);
		return -err;
	}
	p = (struct pollfd){.fd = fd, .events = POLLOUT};
	if (poll(&p, 1, 1000) <= 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		close(fd);
		return err ? -err : -ETIMEDOUT;
	}
	c->fd = fd;
	c->reconnects++;
	return 0;
}

void nfc_begin(struct nfc *c, uint32_t prog, uint32_t vers, uint32_t proc)
{
	wr_init(&c->out, c->out_mem, sizeof(c->out_mem));
	wr_u32(&c->out, 0); /* record mark, set when sent */
	wr_u32(&c->out, ++c->xid);
	wr_u32(&c->out, 0); /* call */
	wr_u32(&c->out, 2);
	wr_u32(&c->out, prog);
	wr_u32(&c->out, vers);
	wr_u32(&c->out, proc);
	wr_u32(&c->out, 1); /* AUTH_SYS: stamp, name "t", uid 0, gid 0, no more groups */
	wr_u32(&c->out, 24);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 1);
	wr_bytes(&c->out, "t\0\0\0", 4);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 0); /* no verifier */
	wr_u32(&c->out, 0);
}

static int send_all(struct nfc *c)
{
	size_t len = wr_len(&c->out), at = c->udp ? 4 : 0;

	put_u32(c->out_mem, 0x80000000U | (uint32_t)(len - 4));
	while (at < len) {
		ssize_t n = send(c->fd, c->out_mem + at, len - at, MSG_NOSIGNAL);

		if (n > 0) {
			at += (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = c->fd, .events = POLLOUT};

			if (poll(&p, 1, TCP_PATIENCE_MS) <= 0)
				return -ETIMEDOUT;
		} else {
			return -errno;
		}
	}
	return 0;
}

/* Exactly `len` bytes; -ETIMEDOUT, -ECONNRESET and the like when the connection is of no use. */
static int recv_all(struct nfc *c, uint8_t *to, size_t len)
{
	size_t at = 0;

	while (at < len) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, TCP_PATIENCE_MS) <= 0)
			return -ETIMEDOUT;
		n = recv(c->fd, to + at, len - at, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0)
			at += (size_t)n;
	}
	return 0;
}

static int recv_record(struct nfc *c, size_t *len)
{
	uint8_t mark[4];
	struct rd r;
	bool last = false;

	*len = 0;
	while (!last) {
		uint32_t m;
		int err = recv_all(c, mark, 4);

		if (err)
			return err;
		rd_init(&r, mark, 4);
		m = rd_u32(&r);
		last = (m & 0x80000000U) != 0;
		m &= 0x7fffffffU;
		if (m > sizeof(c->in_mem) - *len)
			return -EPROTO;
		err = recv_all(c, c->in_mem + *len, m);
		if (err)
			return err;
		*len += m;
	}
	return 0;
}

static int recv_datagram(struct nfc *c, size_t *len)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, UDP_REPEAT_MS) <= 0)
		return -ETIMEDOUT;
	n = recv(c->fd, c->in_mem, sizeof(c->in_mem), 0);
	if (n < 0)
		return -errno;
	*len = (size_t)n;
	return 0;
}

/* One try: send, wait for the reply with our xid. */
static int try_once(struct nfc *c)
{
	size_t len = 0;
	int err;

	if (c->fd < 0) {
		err = connect_once(c);
		if (err)
			return err;
	}
	err = send_all(c);
	if (err)
		return err;
	if (c->lose_permille && nfc_random(&c->seed) % 1000 < c->lose_permille) {
		struct timespec ts = {.tv_nsec = (long)(nfc_random(&c->seed) % 3000000)};

		nanosleep(&ts, NULL);
		c->lost_on_purpose++;
		return -ECONNABORTED;
	}
	for (;;) {
		err = c->udp ? recv_datagram(c, &len) : recv_record(c, &len);
		if (err)
			return err;
		rd_init(&c->in, c->in_mem, len);
		if (rd_u32(&c->in) == c->xid)
			return 0;
	}
}

/* Over the reply header; -EPROTO when the server refused the call as such. */
static int reply_header(struct nfc *c)
{
	uint32_t len;

	if (rd_u32(&c->in) != 1 || rd_u32(&c->in) != 0)
		return -EPROTO;
	rd_u32(&c->in);
	len = rd_u32(&c->in);
	rd_bytes(&c->in, (len + 3) & ~3U);
	if (rd_u32(&c->in) != 0 || !rd_ok(&c->in))
		return -EPROTO;
	return 0;
}

int nfc_call(struct nfc *c)
{
	uint64_t start_ns = nfc_now_ns();
	unsigned tries = 0;
	int err;

	c->calls++;
	for (;;) {
		err = try_once(c);
		if (err == 0)
			break;
		drop(c);
		if (nfc_now_ns() > c->give_up_ns)
			return err;
		c->resent++;
		if (tries++ && err != -ECONNABORTED)
			usleep(10000);
	}
	if (nfc_now_ns() - start_ns > c->latency_max_ns)
		c->latency_max_ns = nfc_now_ns() - start_ns;
	return reply_header(c);
}

/* ---- pieces ---- */
void nfc_put_fh(struct nfc *c, const struct nfc_fh *fh)
{
	wr_u32(&c->out, fh->len);
	wr_bytes(&c->out, fh->data, fh->len);
	wr_zero(&c->out, -fh->len & 3U);
}

void nfc_put_name(struct nfc *c, const char *name)
{
	uint32_t n = (uint32_t)strlen(name);

	wr_u32(&c->out, n);
	wr_bytes(&c->out, name, n);
	wr_zero(&c->out, -n & 3U);
}

void nfc_put_sattr(struct nfc *c, int mode, int64_t size)
{
	wr_u32(&c->out, mode >= 0);
	if (mode >= 0)
		wr_u32(&c->out, (uint32_t)mode);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, size >= 0);
	if (size >= 0)
		wr_u64(&c->out, (uint64_t)size);
	wr_u32(&c->out, 0);
	wr_u32(&c->out, 0);
}

void nfc_get_fh(struct nfc *c, struct nfc_fh *fh)
{
	fh->len = rd_u32(&c->in);
	if (fh->len > NFC_FH_MAX) {
		c->in.bad = true;
		return;
	}
	rd_copy(&c->in, fh->data, fh->len);
	rd_bytes(&c->in, -fh->len & 3U);
}

void nfc_get_attr(struct nfc *c, struct nfc_attr *a)
{
	a->type = rd_u32(&c->in);
	a->mode = rd_u32(&c->in);
	a->nlink = rd_u32(&c->in);
	rd_bytes(&c->in, 8);
	a->size = rd_u64(&c->in);
	rd_bytes(&c->in, 8 + 8 + 8);
	a->fileid = rd_u64(&c->in);
	rd_bytes(&c->in, 24);
}

void nfc_skip_post_attr(struct nfc *c)
{
	if (rd_u32(&c->in))
		rd_bytes(&c->in, 84);
}

void nfc_skip_wcc(struct nfc *c)
{
	if (rd_u32(&c->in))
		rd_bytes(&c->in, 24);
	nfc_skip_post_attr(c);
}

int nfc_mount(struct nfc *c, uint16_t port, const char *path, struct nfc_fh *root)
{
	struct sockaddr_in nfs = c->server;
	int err, st = 0;

	drop(c);
	c->server.sin_port = htons(port);
	nfc_begin(c, PROG_MOUNT, 3, 1);
	nfc_put_name(c, path);
	err = nfc_call(c);
	if (err == 0) {
		st = (int)rd_u32(&c->in);
		if (st == 0)
			nfc_get_fh(c, root);
	}
	drop(c);
	c->server = nfs;
	return err ? err : rd_ok(&c->in) ? st : -EPROTO;
}

static int status(struct nfc *c)
{
	int err = nfc_call(c);

	return err ? err : (int)rd_u32(&c->in);
}

static int ended(struct nfc *c, int st)
{
	return rd_ok(&c->in) ? st : -EPROTO;
}

static void begin_nfs(struct nfc *c, enum nfc_proc proc, const struct nfc_fh *fh)
{
	nfc_begin(c, PROG_NFS, 3, proc);
	nfc_put_fh(c, fh);
}

int nfc_lookup(struct nfc *c, const struct nfc_fh *dir, const char *name, struct nfc_fh *out)
{
	int st;

	begin_nfs(c, NFC_LOOKUP, dir);
	nfc_put_name(c, name);
	st = status(c);
	if (st == 0)
		nfc_get_fh(c, out);
	return ended(c, st);
}

int nfc_getattr(struct nfc *c, const struct nfc_fh *fh, struct nfc_attr *a)
{
	int st;

	begin_nfs(c, NFC_GETATTR, fh);
	st = status(c);
	if (st == 0)
		nfc_get_attr(c, a);
	return ended(c, st);
}

/* Results of CREATE and MKDIR: an optional handle. */
static int created(struct nfc *c, int st, struct nfc_fh *out)
{
	if (st)
		return st;
	if (rd_u32(&c->in) == 0)
		return -EPROTO;
	nfc_get_fh(c, out);
	return ended(c, 0);
}

int nfc_create(struct nfc *c, const struct nfc_fh *dir, const char *name, enum nfc_how how,
	       uint64_t verifier, struct nfc_fh *out)
{
	begin_nfs(c, NFC_CREATE, dir);
	nfc_put_name(c, name);
	wr_u32(&c->out, how);
	if (how == NFC_EXCLUSIVE)
		wr_u64(&c->out, verifier);
	else
		nfc_put_sattr(c, 0644, -1);
	return created(c, status(c), out);
}

int nfc_mkdir(struct nfc *c, const struct nfc_fh *dir, const char *name, struct nfc_fh *out)
{
	begin_nfs(c, NFC_MKDIR, dir);
	nfc_put_name(c, name);
	nfc_put_sattr(c, 0755, -1);
	return created(c, status(c), out);
}

int nfc_remove(struct nfc *c, enum nfc_proc proc, const struct nfc_fh *dir, const char *name)
{
	begin_nfs(c, proc, dir);
	nfc_put_name(c, name);
	return status(c);
}

int nfc_rename(struct nfc *c, const struct nfc_fh *from, const char *a, const struct nfc_fh *to,
	       const char *b)
{
	begin_nfs(c, NFC_RENAME, from);
	nfc_put_name(c, a);
	nfc_put_fh(c, to);
	nfc_put_name(c, b);
	return status(c);
}

int nfc_link(struct nfc *c, const struct nfc_fh *file, const struct nfc_fh *dir, const char *name)
{
	begin_nfs(c, NFC_LINK, file);
	nfc_put_fh(c, dir);
	nfc_put_name(c, name);
	return status(c);
}

int nfc_write(struct nfc *c, const struct nfc_fh *fh, uint64_t off, const void *data, uint32_t len,
	      bool stable, uint64_t *verifier)
{
	int st;

	begin_nfs(c, NFC_WRITE, fh);
	wr_u64(&c->out, off);
	wr_u32(&c->out, len);
	wr_u32(&c->out, stable ? 2 : 0);
	wr_u32(&c->out, len);
	wr_bytes(&c->out, data, len);
	wr_zero(&c->out, -len & 3U);
	st = status(c);
	if (st)
		return st;
	nfc_skip_wcc(c);
	if (rd_u32(&c->in) != len)
		return -EPROTO; /* our writes are small: a short one would be a finding */
	if (rd_u32(&c->in) != 2 && stable)
		return -EPROTO;
	*verifier = rd_u64(&c->in);
	return ended(c, 0);
}

int nfc_commit(struct nfc *c, const struct nfc_fh *fh, uint64_t *verifier)
{
	int st;

	begin_nfs(c, NFC_COMMIT, fh);
	wr_u64(&c->out, 0);
	wr_u32(&c->out, 0);
	st = status(c);
	if (st)
		return st;
	nfc_skip_wcc(c);
	*verifier = rd_u64(&c->in);
	return ended(c, 0);
}

int nfc_read(struct nfc *c, const struct nfc_fh *fh, uint64_t off, void *buf, uint32_t len,
	     uint32_t *got)
{
	int st;

	begin_nfs(c, NFC_READ, fh);
	wr_u64(&c->out, off);
	wr_u32(&c->out, len);
	st = status(c);
	if (st)
		return st;
	nfc_skip_post_attr(c);
	*got = rd_u32(&c->in);
	rd_u32(&c->in);
	if (rd_u32(&c->in) != *got || *got > len)
		return -EPROTO;
	rd_copy(&c->in, buf, *got);
	return ended(c, 0);
}

int nfc_readdir(struct nfc *c, const struct nfc_fh *dir,
		void (*each)(void *arg, const char *name, uint64_t fileid), void *arg)
{
	uint64_t cookie = 0;
	uint8_t verf[8] = {0};
	bool eof = false;

	while (!eof) {
		int st;

		begin_nfs(c, NFC_READDIR, dir);
		wr_u64(&c->out, cookie);
		wr_bytes(&c->out, verf, 8);
		wr_u32(&c->out, 8192);
		st = status(c);
		if (st)
			return st;
		nfc_skip_post_attr(c);
		rd_copy(&c->in, verf, 8);
		while (rd_u32(&c->in)) {
			char name[NFC_NAME_MAX] = "";
			uint64_t fileid = rd_u64(&c->in);
			uint32_t n = rd_u32(&c->in);

			if (n >= sizeof(name))
				return -EPROTO;
			rd_copy(&c->in, name, n);
			rd_bytes(&c->in, -n & 3U);
			cookie = rd_u64(&c->in);
			if (!rd_ok(&c->in))
				return -EPROTO;
			each(arg, name, fileid);
		}
		eof = rd_u32(&c->in) != 0;
		if (!rd_ok(&c->in))
			return -EPROTO;
	}
	return 0;
}
