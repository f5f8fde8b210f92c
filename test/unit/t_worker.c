/* t_worker.c - holdfast-vs as its daemon sees it: started with descriptors, spoken to over the
 * control socket as a spare and as the worker, its lease let lapse, extended and revoked; drained,
 * killed, started again.
 *
 * The program under test is the one beside this test's folder. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec/worker.h"
#include "io/loop.h"
#include "store/store.h"

#define MS 1000000ULL
#define SOON_MS check_patience(5000)

static char program[512], top[] = "/tmp/t_worker.XXXXXX", dir[256];

static struct {
	pid_t pid;
	int control;
	struct worker_lease *lease;
	uint64_t epoch;
	struct worker_msg m;
	uint8_t packet[WORKER_MSG_MAX];
} w;

static const char config[] =
    "cluster \"t\" {\n heartbeat 100ms\n key \"/k\"\n coordination \"/a\"\n"
    " run_dir \"/r\"\n state_dir \"/s\"\n}\n"
    "node n1 {\n id 1\n network 127.0.0.1 port 7400\n}\n"
    "unit u {\n backend dir\n path \"/u\"\n}\n"
    "vserver v1 {\n home n1\n address 127.0.0.1/8\n"
    " store fs1 {\n unit u\n dir \"fs1\"\n log_half 4M\n }\n"
    " export \"/fs1\" {\n store fs1\n client 127.0.0.0/8 rw no_root_squash insecure\n }\n}\n";

static int memfd(const char *name, const void *data, size_t len)
{
	int fd = memfd_create(name, 0);

	CHECK_EQ(len, write(fd, data, len));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* A spare: no epoch, no lease. */
static void start_spare(void)
{
	struct worker_lease l = {.until_ns = 1};
	int sv[2], conf = memfd("conf", config, strlen(config)), lease = memfd("lease", &l, sizeof(l));
	char a_control[12], a_conf[12], a_lease[12], a_store[300];

	CHECK_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	fcntl(sv[0], F_SETFD, FD_CLOEXEC);
	snprintf(a_control, sizeof(a_control), "%d", sv[1]);
	snprintf(a_conf, sizeof(a_conf), "%d", conf);
	snprintf(a_lease, sizeof(a_lease), "%d", lease);
	snprintf(a_store, sizeof(a_store), "fs1=%s", dir);
	w.epoch = 0;
	w.lease = mmap(NULL, sizeof(*w.lease), PROT_READ | PROT_WRITE, MAP_SHARED, lease, 0);
	w.control = sv[0];
	w.pid = fork();
	if (w.pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		execl(program, "holdfast-vs", "--vs", "v1", "--node", "n1", "--control",
		      a_control, "--config", a_conf, "--lease", a_lease, "--store", a_store,
		      (char *)NULL);
		_exit(127);
	}
	close(sv[1]);
	close(conf);
	close(lease);
}

/* The next message, or type 0 after the time. */
static enum worker_type hear(int ms)
{
	struct pollfd p = {.fd = w.control, .events = POLLIN};
	ssize_t n;

	w.m.type = 0;
	if (poll(&p, 1, ms) != 1)
		return 0;
	n = recv(w.control, w.packet, sizeof(w.packet), 0);
	if (n <= 0)
		return 0;
	CHECK_EQ(0, worker_decode(&w.m, w.packet, (size_t)n));
	CHECK_EQ(w.epoch, w.m.epoch);
	if (w.m.type == WORKER_FAILED)
		printf("worker: %.*s\n", (int)w.m.text_len, w.m.text);
	return w.m.type;
}

/* `fd`: a socket for OPEN, a lock for TAKE; -1: none. */
static void say(enum worker_type type, uint64_t epoch, int fd)
{
	static struct worker_msg m;
	static uint8_t packet[WORKER_MSG_MAX];
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec iov = {.iov_base = packet};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.epoch = epoch;
	if (fd >= 0) {
		m.role_count = m.lock_count = 1;
		m.role[0] = WORKER_ROLE_NFS_TCP;
		memset(&c, 0, sizeof(c));
		mh.msg_control = &c;
		mh.msg_controllen = sizeof(c);
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_RIGHTS;
		c.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.align), &fd, sizeof(int));
	}
	iov.iov_len = worker_encode(&m, packet, sizeof(packet));
	CHECK(sendmsg(w.control, &mh, 0) > 0);
}

static void take(uint64_t epoch, uint64_t lease_ns, int lock)
{
	w.epoch = w.lease->epoch = epoch;
	w.lease->until_ns = loop_clock_ns() + lease_ns;
	say(WORKER_TAKE, epoch, lock);
}

static void start(uint64_t epoch, uint64_t lease_ns)
{
	start_spare();
	CHECK_EQ(WORKER_SPARE, hear(SOON_MS));
	take(epoch, lease_ns, -1);
}

static int ended(void)
{
	int st = 0;

	for (int i = 0; i < check_patience(500); i++) {
		if (waitpid(w.pid, &st, WNOHANG) == w.pid) {
			munmap(w.lease, sizeof(*w.lease));
			close(w.control);
			return WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
		}
		usleep(10000);
	}
	kill(w.pid, SIGKILL);
	waitpid(w.pid, &st, 0);
	return 999;
}

static int listener(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	CHECK_EQ(0, bind(fd, (struct sockaddr *)a, len));
	CHECK_EQ(0, listen(fd, 16));
	CHECK_EQ(0, getsockname(fd, (struct sockaddr *)a, &len));
	return fd;
}

static int client(const struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK_EQ(0, connect(fd, (const struct sockaddr *)a, sizeof(*a)));
	return fd;
}

static void null_call(int fd, uint8_t xid)
{
	uint8_t b[44] = {0x80, 0, 0, 40, 0, 0, 0, xid, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xa3,
			 0,    0, 0, 3};

	CHECK_EQ(44, send(fd, b, 44, MSG_NOSIGNAL));
}

static bool answered(int fd, uint8_t xid, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t b[28];

	return poll(&p, 1, ms) == 1 && recv(fd, b, 28, MSG_WAITALL) == 28 && b[7] == xid;
}

/* Has the process anything below the store's directory open or mapped? */
static bool touches_store(void)
{
	char cmd[600];

	snprintf(cmd, sizeof(cmd), "ls -l /proc/%d/fd | grep -q %s || grep -q %s /proc/%d/maps",
		 (int)w.pid, dir, dir, (int)w.pid);
	return system(cmd) == 0;
}

/* The example of doc/worker.md. */
static void t_example(void)
{
	static const uint8_t hex[] = {0x48, 0x46, 0x57, 0x31, 0, 0x42, 0, 0,	0,    0,    0,	  0,
				      0,    0,	  0,	7,    0, 0,    0, 0x01, 0x23, 0x45, 0x67, 0x89};
	uint8_t again[64];

	CHECK_EQ(0, worker_decode(&w.m, hex, sizeof(hex)));
	CHECK_EQ(WORKER_FIRST_REPLY, w.m.type);
	CHECK_EQ(7, w.m.epoch);
	CHECK_EQ(0x123456789, w.m.at_ns);
	CHECK_EQ(sizeof(hex), worker_encode(&w.m, again, sizeof(again)));
	CHECK(memcmp(hex, again, sizeof(hex)) == 0);
}

static uint64_t next_epoch = 10;

/* Started, recovered, serving on `a`. */
static void serving(struct sockaddr_in *a)
{
	int fd = listener(a);

	start(next_epoch++, 60000 * MS);
	CHECK_EQ(WORKER_READY, hear(SOON_MS));
	say(WORKER_OPEN, w.epoch, fd);
	close(fd);
	CHECK_EQ(WORKER_SERVING, hear(SOON_MS));
}

static void t_serves_and_drains(void)
{
	struct sockaddr_in a, mine;
	socklen_t len = sizeof(mine);
	int c;
	bool found = false;

	serving(&a);
	c = client(&a);
	null_call(c, 1);
	CHECK(answered(c, 1, SOON_MS));
	CHECK_EQ(WORKER_FIRST_REPLY, hear(SOON_MS));
	CHECK(w.m.at_ns <= loop_clock_ns() && w.m.at_ns > loop_clock_ns() - 60000 * MS);
	say(WORKER_STATS, w.epoch, -1);
	CHECK_EQ(WORKER_STATS_REPLY, hear(SOON_MS));
	CHECK(w.m.text_len > 100 && w.m.text[0] == '{');
	say(WORKER_DRAIN, w.epoch + 1, -1); /* of another epoch: ignored */
	say(WORKER_CHECKPOINT, w.epoch, -1);
	null_call(c, 2);
	CHECK(answered(c, 2, SOON_MS));
	getsockname(c, (struct sockaddr *)&mine, &len);
	say(WORKER_DRAIN, w.epoch, -1);
	CHECK_EQ(WORKER_DRAINED, hear(SOON_MS));
	/* Its connections stay until the daemon, which takes the address down first, hangs up. */
	CHECK_EQ(0, waitpid(w.pid, NULL, WNOHANG));
	shutdown(w.control, SHUT_RDWR);
	CHECK_EQ(0, ended());
	/* The next owner hears of the connection that was open, for its tickle. */
	start(next_epoch++, 60000 * MS);
	CHECK_EQ(WORKER_READY, hear(SOON_MS));
	CHECK(w.m.was_clean);
	for (unsigned i = 0; i < w.m.conn_count; i++)
		found |= w.m.conn[i].remote_port == ntohs(mine.sin_port) &&
			 w.m.conn[i].local_port == ntohs(a.sin_port);
	CHECK(found);
	say(WORKER_DRAIN, w.epoch, -1);
	CHECK_EQ(WORKER_DRAINED, hear(SOON_MS));
	/* Its connections stay until the daemon, which takes the address down first, hangs up. */
	CHECK_EQ(0, waitpid(w.pid, NULL, WNOHANG));
	shutdown(w.control, SHUT_RDWR);
	CHECK_EQ(0, ended());
	close(c);
}

/* covers: F4
 * No lease, no answer; the same lease again: the answer comes after all. */
static void t_lapse(void)
{
	struct sockaddr_in a;
	int c;

	serving(&a);
	c = client(&a);
	null_call(c, 1);
	CHECK(answered(c, 1, SOON_MS));
	__atomic_store_n(&w.lease->until_ns, loop_clock_ns(), __ATOMIC_RELEASE);
	null_call(c, 2);
	CHECK(!answered(c, 2, 300));
	__atomic_store_n(&w.lease->until_ns, loop_clock_ns() + 60000 * MS, __ATOMIC_RELEASE);
	CHECK(answered(c, 2, SOON_MS));
	close(c);
	kill(w.pid, SIGKILL);
	CHECK_EQ(-SIGKILL, ended());
}

/* covers: F4 */
static void t_revoked(void)
{
	struct sockaddr_in a;
	int c;

	serving(&a);
	c = client(&a);
	__atomic_store_n(&w.lease->until_ns, 0, __ATOMIC_RELEASE);
	(void)!send(c, "x", 1, MSG_NOSIGNAL);
	CHECK_EQ(6, ended());
	close(c);
}

/* Stopped while the lease ran out, as by a frozen machine: nothing old comes out of it. */
static void t_frozen(void)
{
	struct sockaddr_in a;
	int c;

	serving(&a);
	c = client(&a);
	null_call(c, 1);
	CHECK(answered(c, 1, SOON_MS));
	kill(w.pid, SIGSTOP);
	null_call(c, 2);
	__atomic_store_n(&w.lease->until_ns, loop_clock_ns(), __ATOMIC_RELEASE);
	kill(w.pid, SIGCONT);
	CHECK(!answered(c, 2, 300));
	__atomic_store_n(&w.lease->until_ns, 0, __ATOMIC_RELEASE);
	CHECK_EQ(6, ended());
	close(c);
}

static void t_daemon_gone(void)
{
	struct sockaddr_in a;

	serving(&a);
	shutdown(w.control, SHUT_RDWR);
	CHECK_EQ(6, ended());
}

static bool is_locked(int fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};

	CHECK_EQ(0, fcntl(fd, F_OFD_GETLK, &fl));
	return fl.l_type != F_UNLCK;
}

/* covers: F4 F5 OV-14
 * A spare is nobody: it opens nothing of the store, which another serves meanwhile; it heeds nothing
 * but TAKE, neither a lease nor sockets.  With TAKE come epoch and lock; the lock outlives the
 * daemon's copy and goes with the worker. */
static void t_spare(void)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
	char path[300];
	int c, lock, look, fd;
	struct sockaddr_in a;

	snprintf(path, sizeof(path), "%s/lock", top);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	look = open(path, O_RDWR | O_CLOEXEC);
	start_spare();
	CHECK_EQ(WORKER_SPARE, hear(SOON_MS));
	CHECK(!touches_store());
	w.lease->until_ns = loop_clock_ns() + 60000 * MS;
	fd = listener(&a);
	say(WORKER_OPEN, 0, fd);
	say(WORKER_OPEN, next_epoch, fd);
	say(WORKER_DRAIN, 0, -1);
	say(WORKER_TAKE, 0, -1);
	CHECK_EQ(0, hear(200));
	CHECK(!touches_store());
	CHECK_EQ(0, fcntl(lock, F_OFD_SETLK, &fl));
	take(next_epoch++, 60000 * MS, lock);
	close(lock);
	say(WORKER_STATS, w.epoch, -1); /* right behind it: not lost */
	CHECK_EQ(WORKER_READY, hear(SOON_MS));
	CHECK_EQ(WORKER_STATS_REPLY, hear(SOON_MS));
	CHECK(touches_store());
	CHECK(is_locked(look));
	say(WORKER_TAKE, w.epoch, -1); /* it has */
	say(WORKER_OPEN, w.epoch, fd);
	close(fd);
	CHECK_EQ(WORKER_SERVING, hear(SOON_MS));
	c = client(&a);
	null_call(c, 1);
	CHECK(answered(c, 1, SOON_MS));
	close(c);
	kill(w.pid, SIGKILL);
	CHECK_EQ(-SIGKILL, ended());
	for (int i = 0; i < 2000 && is_locked(look); i++)
		usleep(10000);
	CHECK(!is_locked(look));
	close(look);
}

static void t_spare_ends(void)
{
	start_spare();
	CHECK_EQ(WORKER_SPARE, hear(SOON_MS));
	shutdown(w.control, SHUT_RDWR);
	CHECK_EQ(6, ended());
}

static void t_busy_store(void)
{
	struct sockaddr_in a;
	pid_t first;
	struct worker_lease *lease;
	int control;

	serving(&a);
	first = w.pid;
	lease = w.lease;
	control = w.control;
	start(next_epoch++, 60000 * MS);
	CHECK_EQ(WORKER_FAILED, hear(SOON_MS));
	CHECK(w.m.text_len > 10);
	CHECK_EQ(3, ended());
	w.pid = first;
	w.lease = lease;
	w.control = control;
	kill(first, SIGKILL);
	CHECK_EQ(-SIGKILL, ended());
}

static int run(const char *a, const char *b)
{
	int st = 0;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		execl(program, "holdfast-vs", a, b, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void t_arguments(void)
{
	CHECK_EQ(2, run("--vs", "v1"));
	CHECK_EQ(2, run("--control", "x"));
	CHECK_EQ(2, run("--unknown", NULL));
	CHECK_EQ(2, run("--no-sandbox", NULL));
}

int main(int argc, char **argv)
{
	char self[400] = "", err[256], cmd[300];
	struct store_conf c;

	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(top))
		return 1;
	snprintf(program, sizeof(program), "%s/holdfast-vs", dirname(dirname(self)));
	snprintf(dir, sizeof(dir), "%s/fs1", top);
	store_conf_default(&c);
	c.log_half_bytes = 4 << 20;
	if (mkdir(dir, 0700) || store_create_at(dir, &c, NULL, err, sizeof(err))) {
		printf("cannot make a store: %s\n", err);
		return 1;
	}
	CASE(t_example);
	CASE(t_serves_and_drains);
	CASE(t_lapse);
	CASE(t_revoked);
	CASE(t_frozen);
	CASE(t_daemon_gone);
	CASE(t_spare);
	CASE(t_spare_ends);
	CASE(t_busy_store);
	CASE(t_arguments);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	return check_end() | (system(cmd) != 0);
}
