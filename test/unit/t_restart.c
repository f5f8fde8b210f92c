/* t_restart.c - `holdfast restart` and `config apply --rolling` with real daemons: nodes begin anew one
 * after the other, in the same process, while clients work; what stops a walk, and where. */
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

static void both(const char *sed)
{
	give_port();
	begin_made();
	CHECK(exits(0, "sed -i 's/rw insecure/& all_squash anonuid=0 anongid=0/; %s' $D/h.conf", sed));
	daemons_start(&n1, &n2);
}

static void end_both(void)
{
	daemons_end(n1, n2);
	end();
}

/* No more descriptors than these, soon: each instance makes its spare worker at a time of its own. */
static bool descriptors(pid_t pid, unsigned long want)
{
	for (int i = 0; i < 200; i++) {
		run("ls /proc/%d/fd | wc -l", (int)pid);
		if (strtoul(said, NULL, 10) <= want)
			return true;
		usleep(100000);
	}
	printf("# wanted %lu, there are: %s\n", want, said);
	return false;
}

/* As many as it has when nothing more comes for a second and a half: its spare is there. */
static unsigned long settled_descriptors(pid_t pid)
{
	unsigned long last = 0, now;

	for (int same = 0, i = 0; same < 15 && i < 300; i++) {
		run("ls /proc/%d/fd | wc -l", (int)pid);
		now = strtoul(said, NULL, 10);
		same = now == last ? same + 1 : 0;
		last = now;
		usleep(100000);
	}
	return last;
}

/* A client copies while both begin anew; all is where it was, and no process was started by anybody.
 * covers: OV-16 ST-36 */
static void t_all(void)
{
	unsigned long before;

	both("");
	before = settled_descriptors(n2);
	CHECK(exits(0, H "-N n2 restart --all --dry-run"));
	CHECK(says("n1: would hand over 1") && says("n2: would hand over 0") && says("dry run"));
	CHECK(exits(64, H "-N n2 restart"));
	CHECK(exits(1, H "-N n2 restart n3"));
	CHECK(exits_beside_writes("0.9", "/fs", H "-N n2 restart --all"));
	CHECK(says("all of it is there") && says("n2: begins anew (1 of 2)\n") && says("v: back to n1"));
	CHECK(says("n1: begins anew (2 of 2), hands over first") && says("2 nodes began anew"));
	CHECK(exits(0, H "-N n2 --json status | tr -d ' \\n'"));
	CHECK(says("\"name\":\"n1\",\"id\":1,\"verdict\":\"alive\"") && says("\"generation\":2"));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 20));
	CHECK(descriptors(n2, before));
	CHECK(exits(1, "ps -o stat= --ppid %d,%d | grep Z", (int)n1, (int)n2));
	CHECK(exits(0, "grep -c 'begins anew: ' $D/n1.log"));
	CHECK(exits(1, "grep -E 'node-dead|fencing|worker-crash' $D/n1.log $D/n2.log"));
	/* One alone, asked on itself, for machines. */
	CHECK(exits(0, H "-N n1 --json restart n1 2>/dev/null"));
	CHECK(says("\"done\": true") && says("\"from_generation\": 2") && says("\"vs\": \"v\""));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 20));
	end_both();
}

/* Another heartbeat: one command, every node runs with it, a client feels planned moves.
 * covers: VS-157 ST-53 */
static void t_apply_rolling(void)
{
	both("");
	CHECK(exits(0, "sed 's/heartbeat 200ms/heartbeat 220ms/' $D/h.conf >$D/hb.conf"));
	CHECK(exits(0, H "-N n1 config apply --rolling --dry-run $D/hb.conf"));
	CHECK(says("needs a restart") && says("n1: would hand over 1") && says("dry run"));
	CHECK(exits_beside_writes("0.9", "/fs", H "-N n1 config apply --rolling $D/hb.conf"));
	CHECK(says("all of it is there") && says("version 2 is committed") && says("2 nodes began anew"));
	for (unsigned i = 1; i <= 2; i++) {
		CHECK(exits(0, H "-N n%u config show", i));
		CHECK(says("# version 2, in effect here: version 2") && says("heartbeat 220ms"));
	}
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 20));
	/* Again: nobody lacks it. */
	CHECK(exits(0, H "-N n1 config apply --rolling $D/hb.conf"));
	CHECK(says("no difference to version 2") && says("0 nodes began anew"));
	end_both();
}

static void take_port(unsigned node, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	a.sin_addr.s_addr = htonl(127U << 24 | net << 16 | node);
	taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(bind(taken, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(taken, 1) == 0);
}

/* What cannot go anywhere bars it, unless by force; a node that does not come back ends the walk, and the
 * others serve on with what they have.   covers: OV-13 */
static void t_stops(void)
{
	both("s/home n1/home n1 nodes n1/");
	CHECK(exits(1, H "-N n2 restart --all"));
	CHECK(says("nobody-else") && says("nothing was done"));
	CHECK(exits(0, H "-N n2 restart n1 --force"));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 50));
	daemons_end(n1, n2);
	end();
	both("");
	/* A port that somebody else has. */
	take_port(2, 17499);
	CHECK(exits(0, "sed 's/0.2 port 17400/& metrics 127.%u.0.2 port 17499/' $D/h.conf >$D/bad.conf",
		    net));
	CHECK(exits(1, H "-N n1 --timeout 3s config apply --rolling $D/bad.conf"));
	CHECK(says("version 2 is committed") && says("n2: begins anew (1 of 2)"));
	CHECK(says("something is missing") && !strstr(said, "n1: begins anew"));
	CHECK_EQ(69, daemon_end(n2, 0));
	give_port();
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 10));
	CHECK(exits(0, "nfs_put $D/h.conf \"nfs://127.%u.0.9/fs/f?nfsport=12049&mountport=12049\"", net));
	/* The way back: another version, and the node started by hand. */
	CHECK(exits(0, H "-N n1 config apply --restart $D/h.conf"));
	n2 = daemon_start("n2");
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 60));
	CHECK(wait_status("n1", "\"running\":3", 30)); /* it means what n1 runs with anyhow */
	CHECK(exits(0, H "-N n1 config apply --rolling $D/h.conf"));
	CHECK(says("0 nodes began anew"));
	end_both();
}

/* One of two coordination devices is lost and made anew at its place.   covers: V1 VS-120 */
static void t_device_replaced(void)
{
	both("");
	/* Gone altogether: nodes begin anew without it, and serve. */
	CHECK(exits(0, "rm $C/coord.b"));
	CHECK(exits(0, H "-N n1 --timeout 60s restart --all"));
	CHECK(says("2 nodes began anew"));
	CHECK(wait_status("n1", "\"majority\":false", 30));
	CHECK(exits(0, "grep 'coord.b: the coordination device cannot be opened.*starting' $D/n1.log"));
	CHECK(exits(0, "nfs_put $D/h.conf \"nfs://127.%u.0.9/fs/g?nfsport=12049&mountport=12049\"", net));
	CHECK(exits(0, H "init"));
	CHECK(exits(0, H "-N n1 --timeout 60s restart --all"));
	CHECK(says("2 nodes began anew"));
	CHECK(wait_status("n1", "\"majority\":true", 30));
	CHECK(wait_status("n2", "\"majority\":true", 30));
	CHECK(exits(0, "sed 's/nfs_port 12049/nfs_port 12049 priority 9/' $D/h.conf >$D/p.conf; "
		       H "-N n1 config apply $D/p.conf"));
	CHECK(says("version 2 is committed") && says("in effect on n1 n2"));
	CHECK_EQ(128 + SIGKILL, daemon_end(n1, SIGKILL));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_all);
	CASE(t_apply_rolling);
	CASE(t_stops);
	CASE(t_device_replaced);
	end_all();
	return check_end();
}
