/* t_readdress.c - heartbeat addresses and ports that change while real nodes run: nobody is taken for
 * silent, also when one of them cannot take the version for a while.
 *
 * Here a silence is the fault that is looked for, so a node that did not run for a while must not look
 * like one: the heartbeat is slower still than in other tests, a path is silent after 1.2 s. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "lib_daemon.h"

#define H "$OUT/holdfast -c $D/h.conf "

static pid_t n1, n2;

static int taken = -1; /* the socket that has a port a node wants */

static void give_port(void)
{
	if (taken >= 0)
		close(taken);
	taken = -1;
}

static void both(void)
{
	give_port();
	begin();
	CHECK(exits(0, "sed -i 's/heartbeat " HEARTBEAT "/heartbeat 300ms/' $D/h.conf"));
	CHECK(exits(0, "grep -q 'heartbeat 300ms' $D/h.conf && " H "init"));
	daemons_start(&n1, &n2);
}

/* Longer than a path may be quiet, by half of that. */
static void nobody_silent(void)
{
	usleep(1800000);
	CHECK(exits(1, "grep -E 'peer n.: alive -> (silent|unreachable|dead)' $D/n1.log $D/n2.log"));
}

/* Address of one node and port of the other in one version; then one dies, and the rest works as ever.
 * covers: VS-157 ST-28 */
static void t_both_change(void)
{
	both();
	CHECK(exits(0, "sed 's/\\.0\\.2 port 17400/.0.22 port 17400/; s/\\.0\\.1 port 17400/.0.1 port "
		       "17410/' $D/h.conf >$D/new.conf"));
	CHECK(exits(0, H "-N n1 config diff $D/new.conf"));
	CHECK(says("node n2: network") && says("taken online") && !strstr(said, "needs a restart"));
	CHECK(exits(0, H "-N n1 config apply $D/new.conf"));
	CHECK(says("version 2 is committed") && says("in effect on n1 n2"));
	CHECK(wait_log("n1", "path 0: every node has the new address; the old one is closed", 60));
	CHECK(wait_log("n2", "path 0: every node has the new address; the old one is closed", 60));
	nobody_silent();
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 20));
	CHECK(exits(0, H "-N n2 --json status | tr -d ' \\n' | grep -o '\"paths\":.*'"));
	CHECK(says(".0.22\",\"port\":17400"));
	CHECK(exits(1, "grep -i ' 0200%02X7F:43F8 ' /proc/net/udp", net)); /* the old ones are closed */
	CHECK(exits(1, "grep -i ' 0100%02X7F:43F8 ' /proc/net/udp", net));
	CHECK(exits(0, "grep -i ' 0100%02X7F:4402 ' /proc/net/udp", net));
	/* Back again: the places of the old sockets are used once more. */
	CHECK(exits(0, H "-N n2 config apply $D/h.conf"));
	CHECK(says("in effect on n2 n1"));
	nobody_silent();
	CHECK_EQ(128 + SIGKILL, daemon_end(n1, SIGKILL));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	end();
}

static void take_port(unsigned node, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	a.sin_addr.s_addr = htonl(127U << 24 | net << 16 | node);
	taken = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(bind(taken, (struct sockaddr *)&a, sizeof(a)) == 0);
}

/* One cannot take it yet: it is sent to where it listens, and the next change waits for it.
 * covers: VS-157 */
static void t_one_is_late(void)
{
	both();
	take_port(2, 17499);
	CHECK(exits(0, "sed 's/\\.0\\.2 port 17400/.0.2 port 17499/; s/\\.0\\.1 port 17400/.0.1 port 17410/' "
		       "$D/h.conf >$D/new.conf; sed 's/port 17410/port 17411/' $D/new.conf >$D/next.conf"));
	CHECK(exits(1, H "-N n2 config apply $D/new.conf"));
	CHECK(says("not-now") && says("cannot be opened"));
	CHECK(exits(1, H "-N n1 config apply $D/new.conf")); /* committed, and one lacks it */
	CHECK(says("version 2 is committed") && says("not yet on n2"));
	nobody_silent();
	CHECK(exits(1, H "-N n1 config apply $D/next.conf"));
	CHECK(says("not-now") && says("not every node has taken the last change"));
	/* The one that did takes a version that it knows nothing of yet. */
	give_port();
	CHECK(wait_log("n2", "version 2 is in effect", 30));
	CHECK(wait_log("n1", "the old one is closed", 60));
	CHECK(exits(0, H "-N n1 config apply $D/next.conf"));
	CHECK(says("in effect on n1 n2"));
	nobody_silent();
	daemons_end(n1, n2);
	end();
}

/* An address that is on no interface: not before it is there.   covers: VS-157 */
static void t_not_here(void)
{
	both();
	CHECK(exits(0, "sed 's/127.%u.0.1 port 17400/192.0.2.77 port 17400/' $D/h.conf >$D/new.conf", net));
	CHECK(exits(1, H "-N n1 config apply $D/new.conf"));
	CHECK(says("not-now") && says("192.0.2.77 is on no interface of n1 yet"));
	/* Another path is another matter. */
	CHECK(exits(0, "sed 's/network 127.%u.0.\\([12]\\) port 17400/& network 127.%u.1.\\1 port 17400/' "
		       "$D/h.conf >$D/more.conf", net, net));
	CHECK(exits(1, H "-N n1 config apply $D/more.conf"));
	CHECK(says("needs-restart"));
	daemons_end(n1, n2);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_both_change);
	CASE(t_one_is_late);
	CASE(t_not_here);
	end_all();
	return check_end();
}
