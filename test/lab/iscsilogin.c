/* iscsilogin - a Linux kernel's iSCSI session without iscsid, for guests.
 *
 *	iscsilogin ADDRESS PORT INITIATOR TARGET ISID [RECOVERY_S]
 *	iscsilogin -d SESSION
 *
 * Does the login itself (RFC 7143 section 11.12: no authentication, no digests), hands the connected
 * socket over to iscsi_tcp by its netlink interface, lets the host be scanned, and prints
 * `session=N host=N`.  Two logins with one INITIATOR and ISID are one nexus to the target; the
 * disks of the session come and go with it and have whatever name is free, which is what the tests
 * of names want.  -d ends a session.
 *
 * The kernel's structures are written down here as far as they are used (include/scsi/iscsi_if.h is
 * no user header). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BHS	     48
#define LOGIN	     0x43 /* immediate */
#define LOGIN_ANSWER 0x23
#define TRANSIT	     0x87 /* from operational negotiation to full feature */
#define TEXT_MAX     1024

enum { NL_CREATE_SESSION = 11, NL_DESTROY_SESSION, NL_CREATE_CONN, NL_DESTROY_CONN, NL_BIND_CONN,
       NL_SET_PARAM, NL_START_CONN, NL_STOP_CONN };
enum { NL_ERROR = 103, STOP_TERM = 1 };

struct uevent {
	uint32_t type, error;
	uint64_t transport;
	union {
		struct {
			uint32_t cmdsn;
			uint16_t cmds_max, queue_depth;
		} session;
		struct {
			uint32_t sid, cid, param, len;
		} set;
		struct {
			uint32_t sid, cid;
			uint64_t fd;
			uint32_t leading;
		} bind;
		struct {
			uint32_t sid, cid;
			uint64_t handle;
			uint32_t flag;
		} stop;
	} u;
	union {
		int32_t status;
		struct {
			uint32_t sid, other;
		} ids;
		uint64_t room[2];
	} r;
};

static void die(const char *what)
{
	fprintf(stderr, "iscsilogin: %s: %s\n", what, errno ? strerror(errno) : "refused");
	exit(1);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- login ------------------------------------------------------------------------------------- */

static void add_key(char *text, size_t *n, const char *key, const char *value)
{
	int k = snprintf(text + *n, TEXT_MAX - *n, "%s=%s", key, value);

	*n += (size_t)k + 1;
	if (*n >= TEXT_MAX)
		die("names");
}

static void send_all(int fd, const void *p, size_t n)
{
	if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		die("send");
}

static void recv_all(int fd, void *p, size_t n)
{
	errno = 0;
	if (recv(fd, p, n, MSG_WAITALL) != (ssize_t)n)
		die("receive");
}

/* The next StatSN that is expected after it. */
static uint32_t login(int fd, const char *initiator, const char *target, unsigned isid)
{
	static const char *const keys[][2] = {
		{"SessionType", "Normal"},	{"HeaderDigest", "None"},
		{"DataDigest", "None"},		{"InitialR2T", "Yes"},
		{"ImmediateData", "No"},	{"MaxRecvDataSegmentLength", "262144"},
		{"MaxBurstLength", "262144"},	{"FirstBurstLength", "65536"},
		{"MaxConnections", "1"},	{"DefaultTime2Wait", "0"},
		{"DefaultTime2Retain", "0"},	{"MaxOutstandingR2T", "1"},
		{"ErrorRecoveryLevel", "0"},	{"DataPDUInOrder", "Yes"},
		{"DataSequenceInOrder", "Yes"},
	};
	uint8_t bhs[BHS] = {LOGIN, TRANSIT};
	char text[TEXT_MAX + 4] = "", answer[65536];
	size_t n = 0, len;

	add_key(text, &n, "InitiatorName", initiator);
	add_key(text, &n, "TargetName", target);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		add_key(text, &n, keys[i][0], keys[i][1]);
	bhs[6] = (uint8_t)(n >> 8);
	bhs[7] = (uint8_t)n;
	bhs[8] = 0x80; /* ISID of the random kind */
	bhs[13] = (uint8_t)isid;
	bhs[27] = 1; /* CmdSN */
	send_all(fd, bhs, BHS);
	send_all(fd, text, (n + 3) & ~3UL);
	recv_all(fd, bhs, BHS);
	len = (size_t)bhs[5] << 16 | (size_t)bhs[6] << 8 | bhs[7];
	if (len > sizeof(answer) - 4)
		die("answer");
	recv_all(fd, answer, (len + 3) & ~3UL);
	if ((bhs[0] & 0x3f) != LOGIN_ANSWER || bhs[36] || (bhs[1] & 0x83) != 0x83) {
		fprintf(stderr, "iscsilogin: login refused: opcode %02x flags %02x status %02x%02x\n",
			bhs[0], bhs[1], bhs[36], bhs[37]);
		exit(1);
	}
	return get32(bhs + 24) + 1;
}

/* ---- the kernel --------------------------------------------------------------------------------- */

static int nl = -1;
static uint64_t transport;

static void nl_open(void)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK};
	FILE *f = fopen("/sys/class/iscsi_transport/tcp/handle", "re");
	char text[32] = "";

	if (!f || !fgets(text, sizeof(text), f))
		die("/sys/class/iscsi_transport/tcp (modprobe iscsi_tcp)");
	fclose(f);
	transport = strtoull(text, NULL, 10);
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ISCSI);
	if (nl < 0 || connect(nl, (const struct sockaddr *)&to, sizeof(to)) < 0)
		die("netlink");
}

static void ask(uint32_t type, struct uevent *ev, const char *data)
{
	struct {
		struct nlmsghdr h;
		struct uevent ev;
		char data[256];
	} m = {.h = {.nlmsg_type = (uint16_t)type, .nlmsg_flags = NLM_F_REQUEST}};
	size_t n = data ? strlen(data) + 1 : 0;
	ssize_t got;

	ev->type = type;
	ev->transport = transport;
	m.ev = *ev;
	if (data)
		memcpy(m.data, data, n);
	m.h.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(m.ev)) + n);
	if (send(nl, &m, m.h.nlmsg_len, 0) < 0)
		die("netlink send");
	do {
		got = recv(nl, &m, sizeof(m), 0);
		if (got < (ssize_t)NLMSG_LENGTH(sizeof(m.ev)))
			die("netlink answer");
	} while (m.ev.type != type && m.ev.type != NL_ERROR);
	*ev = m.ev;
	if (ev->error) {
		errno = (int)ev->error < 0 ? -(int)ev->error : (int)ev->error;
		die("iscsi_tcp");
	}
}

static void set(uint32_t sid, uint32_t param, const char *value)
{
	struct uevent ev = {.u.set = {sid, 0, param, (uint32_t)strlen(value) + 1}};

	ask(NL_SET_PARAM, &ev, value);
}

static void scan(uint32_t host)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/scsi_host/host%u/scan", host);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "- - -", 5) != 5)
		die(path);
	close(fd);
}

static void hand_over(int fd, uint32_t statsn, const char *initiator, const char *target,
		      const char *recovery_s)
{
	struct uevent ev = {.u.session = {1, 128, 32}};
	char text[32];
	uint32_t sid, host;

	ask(NL_CREATE_SESSION, &ev, NULL);
	sid = ev.r.ids.sid;
	host = ev.r.ids.other;
	ev = (struct uevent){.u.set = {.sid = sid}};
	ask(NL_CREATE_CONN, &ev, NULL);
	ev = (struct uevent){.u.bind = {sid, 0, (uint64_t)fd, 1}};
	ask(NL_BIND_CONN, &ev, NULL);
	if (ev.r.status)
		die("bind");
	set(sid, 0, "262144"); /* MaxRecvDataSegmentLength, and what may be sent */
	set(sid, 1, "8192");
	set(sid, 4, "1"); /* InitialR2T */
	set(sid, 5, "1");
	set(sid, 6, "0"); /* no immediate data */
	set(sid, 7, "65536");
	set(sid, 8, "262144");
	snprintf(text, sizeof(text), "%u", statsn);
	set(sid, 14, text);
	set(sid, 15, target);
	set(sid, 19, recovery_s);
	set(sid, 34, initiator);
	ev = (struct uevent){.u.set = {.sid = sid}};
	ask(NL_START_CONN, &ev, NULL);
	if (ev.r.status)
		die("start");
	scan(host);
	printf("session=%u host=%u\n", sid, host);
}

static int end_session(uint32_t sid)
{
	struct uevent ev = {.u.stop = {sid, 0, 0, STOP_TERM}};

	nl_open();
	ask(NL_STOP_CONN, &ev, NULL);
	ev = (struct uevent){.u.set = {.sid = sid}};
	ask(NL_DESTROY_CONN, &ev, NULL);
	ev = (struct uevent){.u.set = {.sid = sid}};
	ask(NL_DESTROY_SESSION, &ev, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd;
	unsigned isid;
	uint32_t statsn;

	if (argc == 3 && strcmp(argv[1], "-d") == 0)
		return end_session((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc < 6) {
		fprintf(stderr, "usage: iscsilogin ADDRESS PORT INITIATOR TARGET ISID [RECOVERY_S]\n"
				"       iscsilogin -d SESSION\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	isid = (unsigned)strtoul(argv[5], NULL, 10);
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		die(argv[1]);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		die(argv[1]);
	statsn = login(fd, argv[3], argv[4], isid);
	nl_open();
	hand_over(fd, statsn, argv[3], argv[4], argc > 6 ? argv[6] : "5");
	return 0;
}
