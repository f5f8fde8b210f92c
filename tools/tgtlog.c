/* tgtlog.c - stands in front of an iSCSI target and logs every write that reaches it, by node.
 *
 *	tgtlog LOG TARGET:PORT LUN=UNIT,LUN=UNIT... ADDR:PORT...
 *
 * Listens on ADDR:PORT..., connects each connection through to the target, and passes the bytes on
 * unchanged while it reads the iSCSI PDUs among them: SCSI commands with their logical unit, address
 * and length, task management, and the target's responses.  A node is who connects from an address
 * that ends in its number (192.0.2.K, 192.0.2.(128+K)), whatever name it gives: that, the wire and
 * the target's own answers are the evidence; nothing is taken from the node's side.
 *
 * The log has the lines of the test array's (doc/lab.md), in the order of the target's responses:
 *	time_ns=T node=n1 key=0xK unit=u1 op=write offset=N length=N result=ok|EBADE|EIO
 * and op=register, unregister, reserve, release, preempt, clear, reset.  For tests and the lab alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINKS	128
#define BUFFER	65536
#define TASKS	512
#define UNITS	32
#define KEEP	64 /* of a PDU's data: parameters, sense */
#define BLOCK	512
#define LISTEN_MAX 4

/* A direction: what was read and not yet written, and where in a PDU it is. */
struct flow {
	uint8_t buf[BUFFER];
	size_t len;
	uint8_t head[48], data[KEEP];
	size_t head_len, left, kept; /* left: of AHS, data and padding; kept: of the data */
	size_t ahs;
};

struct task {
	bool used;
	uint32_t tag;
	uint8_t cdb[16], lun, function; /* function: of task management */
	uint8_t data[24];
	size_t data_len;
};

struct link {
	int fd[2]; /* initiator, target; -1: free */
	unsigned node;
	struct flow in, out; /* from the initiator, from the target */
	struct task task[TASKS];
	uint64_t key[UNITS]; /* what this nexus registered */
};

static struct link *links[LINKS];
static char unit_name[UNITS][32];
static struct sockaddr_in target;
static FILE *log_file;

static uint64_t be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* ---- the log -------------------------------------------------------------------------------------- */
static const char *result_text(uint8_t status)
{
	return status == 0 ? "ok" : status == 0x18 ? "EBADE" : "EIO";
}

static void put(const struct link *k, const struct task *t, const char *op, uint64_t off, uint64_t len,
		uint8_t status)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	fprintf(log_file,
		"time_ns=%llu node=n%u key=0x%016llx unit=%s op=%s offset=%llu length=%llu result=%s\n",
		(unsigned long long)ts.tv_sec * 1000000000ULL + (unsigned long long)ts.tv_nsec, k->node,
		(unsigned long long)k->key[t->lun], unit_name[t->lun][0] ? unit_name[t->lun] : "-", op,
		(unsigned long long)off, (unsigned long long)len, result_text(status));
	fflush(log_file);
}

static void log_reserve(struct link *k, const struct task *t, uint8_t status)
{
	static const char *const op[] = {"register", "reserve", "release", "clear", "preempt", "preempt",
					 "register"};
	unsigned action = t->cdb[1] & 31;
	uint64_t service_key = be(t->data + 8, 8);

	if (action >= sizeof(op) / sizeof(*op))
		return;
	if ((action == 0 || action == 6) && status == 0 && service_key)
		k->key[t->lun] = service_key;
	put(k, t, (action == 0 || action == 6) && !service_key ? "unregister" : op[action], 0, 0, status);
}

static void log_done(struct link *k, const struct task *t, uint8_t status)
{
	switch (t->cdb[0]) {
	case 0x0a: /* WRITE(6) */
		put(k, t, "write", be(t->cdb + 1, 3) % (1 << 21) * BLOCK, t->cdb[4] * BLOCK, status);
		break;
	case 0x2a: /* WRITE(10), WRITE AND VERIFY(10), WRITE SAME(10) */
	case 0x2e:
	case 0x41:
		put(k, t, "write", be(t->cdb + 2, 4) * BLOCK, be(t->cdb + 7, 2) * BLOCK, status);
		break;
	case 0x8a: /* the same with 16 bytes, and COMPARE AND WRITE */
	case 0x8e:
	case 0x93:
	case 0x89:
		put(k, t, "write", be(t->cdb + 2, 8) * BLOCK, be(t->cdb + 10, 4) * BLOCK, status);
		break;
	case 0x42: /* UNMAP */
		put(k, t, "write", 0, 0, status);
		break;
	case 0x5f:
		log_reserve(k, t, status);
		break;
	default:
		break;
	}
}

/* ---- PDUs --------------------------------------------------------------------------------------- */
static struct task *task_of(struct link *k, uint32_t tag, bool fresh)
{
	for (unsigned i = 0; i < TASKS; i++)
		if (k->task[i].used && k->task[i].tag == tag)
			return &k->task[i];
	for (unsigned i = 0; i < TASKS && fresh; i++)
		if (!k->task[i].used) {
			k->task[i] = (struct task){.used = true, .tag = tag};
			return &k->task[i];
		}
	if (fresh) {
		fprintf(stderr, "tgtlog: too many commands at once: the log would have holes\n");
		exit(1);
	}
	return NULL;
}

static void from_initiator(struct link *k, const struct flow *f)
{
	const uint8_t *h = f->head;
	uint32_t tag = (uint32_t)be(h + 16, 4);
	struct task *t;

	switch (h[0] & 0x3f) {
	case 0x01: /* SCSI Command */
		t = task_of(k, tag, true);
		t->lun = h[9] % UNITS;
		memcpy(t->cdb, h + 32, 16);
		break;
	case 0x02: /* Task Management */
		t = task_of(k, tag, true);
		t->lun = h[9] % UNITS;
		t->function = h[1] & 0x7f;
		return;
	case 0x05: /* Data-Out */
		t = task_of(k, tag, false);
		break;
	default:
		return;
	}
	if (t && t->data_len == 0 && f->kept) {
		t->data_len = f->kept < sizeof(t->data) ? f->kept : sizeof(t->data);
		memcpy(t->data, f->data, t->data_len);
	}
}

static void from_target(struct link *k, const struct flow *f)
{
	const uint8_t *h = f->head;
	struct task *t = task_of(k, (uint32_t)be(h + 16, 4), false);

	switch (h[0] & 0x3f) {
	case 0x21: /* SCSI Response */
		if (t)
			log_done(k, t, h[2] ? 0xff : h[3]);
		break;
	case 0x22: /* Task Management */
		if (t && t->function == 5)
			put(k, t, "reset", 0, 0, h[2] ? 0xff : 0);
		break;
	case 0x25: /* Data-In: ends its command when it has the status */
		if (!(h[1] & 1))
			return;
		break;
	case 0x23: /* Login: the lengths below know no digests */
		if (memmem(f->data, f->kept, "Digest=CRC32C", 13)) {
			fprintf(stderr, "tgtlog: digests were agreed upon\n");
			exit(1);
		}
		return;
	default:
		return;
	}
	if (t)
		t->used = false;
}

/* Walks over `n` new bytes. */
static void walk(struct link *k, struct flow *f, const uint8_t *p, size_t n, bool initiator)
{
	while (n || (f->head_len == 48 && !f->left)) {
		size_t take;

		if (f->head_len < 48) {
			take = 48 - f->head_len < n ? 48 - f->head_len : n;
			memcpy(f->head + f->head_len, p, take);
			f->head_len += take;
			p += take;
			n -= take;
			if (f->head_len < 48)
				return;
			f->ahs = (size_t)f->head[4] * 4;
			f->left = f->ahs + ((be(f->head + 5, 3) + 3) & ~3ULL);
			f->kept = 0;
			continue;
		}
		take = f->left < n ? f->left : n;
		for (size_t i = 0; i < take && f->kept < KEEP; i++) {
			if (f->ahs)
				f->ahs--;
			else
				f->data[f->kept++] = p[i];
		}
		f->left -= take;
		p += take;
		n -= take;
		if (f->left)
			return;
		if (initiator)
			from_initiator(k, f);
		else
			from_target(k, f);
		f->head_len = 0;
	}
}

/* ---- passing on ------------------------------------------------------------------------------------ */
static void drop(unsigned i)
{
	close(links[i]->fd[0]);
	close(links[i]->fd[1]);
	free(links[i]);
	links[i] = NULL;
}

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&target, sizeof(target)) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void take_link(int listener)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int to = fd < 0 ? -1 : dial(), one = 1;

	for (unsigned i = 0; to >= 0 && i < LINKS; i++) {
		if (links[i])
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		links[i] = calloc(1, sizeof(*links[i]));
		if (!links[i])
			abort();
		links[i]->fd[0] = fd;
		links[i]->fd[1] = to;
		links[i]->node = ntohl(from.sin_addr.s_addr) & 0x7f;
		return;
	}
	if (to >= 0)
		close(to);
	if (fd >= 0)
		close(fd);
}

/* Reads what is there and writes it on; false: the link is over. */
static bool pass(struct link *k, struct flow *f, int from, int to, bool initiator, short events)
{
	ssize_t n;

	if ((events & (POLLIN | POLLHUP | POLLERR)) && f->len < BUFFER) {
		n = recv(from, f->buf + f->len, BUFFER - f->len, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n > 0) {
			walk(k, f, f->buf + f->len, (size_t)n, initiator);
			f->len += (size_t)n;
		}
	}
	if (!f->len)
		return true;
	n = send(to, f->buf, f->len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN;
	f->len -= (size_t)n;
	memmove(f->buf, f->buf + n, f->len);
	return true;
}

static bool parse_address(const char *text, struct sockaddr_in *at)
{
	const char *colon = strrchr(text, ':');
	char host[64];

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return false;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	*at = (struct sockaddr_in){.sin_family = AF_INET, 
				    .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
	return inet_pton(AF_INET, host, &at->sin_addr) == 1;
}

static int open_listener(const char *text)
{
	struct sockaddr_in at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (!parse_address(text, &at))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0 ? -1 : fd;
}

static void name_units(char *list)
{
	char *at;

	while ((at = strsep(&list, ","))) {
		char *name;
		unsigned long lun = strtoul(at, &name, 10);

		if (*name == '=' && lun < UNITS)
			snprintf(unit_name[lun], sizeof(unit_name[0]), "%s", name + 1);
	}
}

/* What a socket waits for that fills `from` and takes what is in `to`. */
static short wanted(const struct flow *from, const struct flow *to)
{
	return (short)((from->len < BUFFER ? POLLIN : 0) | (to->len ? POLLOUT : 0));
}

static void turn(const int *listener, unsigned listeners)
{
	struct pollfd fds[LISTEN_MAX + 2 * LINKS];
	unsigned of[LINKS], n = listeners, count = 0;

	for (unsigned i = 0; i < listeners; i++)
		fds[i] = (struct pollfd){.fd = listener[i], .events = POLLIN};
	for (unsigned i = 0; i < LINKS; i++) {
		struct link *k = links[i];

		if (!k)
			continue;
		of[count++] = i;
		fds[n++] = (struct pollfd){.fd = k->fd[0], .events = wanted(&k->in, &k->out)};
		fds[n++] = (struct pollfd){.fd = k->fd[1], .events = wanted(&k->out, &k->in)};
	}
	if (poll(fds, n, -1) < 0)
		return;
	for (unsigned i = 0; i < count; i++) {
		struct link *k = links[of[i]];
		const struct pollfd *p = &fds[listeners + 2 * i];

		if (!pass(k, &k->in, k->fd[0], k->fd[1], true, p[0].revents) ||
		    !pass(k, &k->out, k->fd[1], k->fd[0], false, p[1].revents))
			drop(of[i]);
	}
	for (unsigned i = 0; i < listeners; i++)
		if (fds[i].revents)
			take_link(listener[i]);
}

int main(int argc, char **argv)
{
	int listener[LISTEN_MAX];
	unsigned listeners = 0;

	if (argc < 5 || argc > 4 + LISTEN_MAX || !parse_address(argv[2], &target)) {
		fprintf(stderr, "usage: tgtlog LOG TARGET:PORT LUN=UNIT,... ADDR:PORT...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	log_file = fopen(argv[1], "ae");
	name_units(argv[3]);
	for (int i = 4; i < argc; i++)
		if ((listener[listeners++] = open_listener(argv[i])) < 0) {
			fprintf(stderr, "tgtlog: %s: %s\n", argv[i], strerror(errno));
			return 1;
		}
	if (!log_file) {
		fprintf(stderr, "tgtlog: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	for (;;)
		turn(listener, listeners);
}
