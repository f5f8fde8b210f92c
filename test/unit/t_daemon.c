/* t_daemon.c - holdfastd and holdfast as programs: two nodes on this machine, one of which dies.
 * What people get wrong is test/cli/badinput's business. */
#include <signal.h>
#include <string.h>

#include "check.h"
#include "lib_daemon.h"

/* covers: ST-55 FO-70 OV-16 OV-17 F5 */
static void t_two_nodes(void)
{
	pid_t n1, n2;

	begin_made();
	n1 = daemon_start("n1");
	n2 = daemon_start("n2");
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 30));
	CHECK_EQ(1, run("$OUT/holdfast -c $D/h.conf -N n1 vs move v n9"));
	CHECK(says("unknown-node"));
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf -N n1 vs move v n2"));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf -N n1 giveback n1"));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60));
	/* Killed alone: its worker goes with it, and the other takes over. */
	CHECK_EQ(128 + SIGKILL, daemon_end(n1, SIGKILL));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(strstr(said, "node-dead") != NULL);
	/* And back again, with a greater boot generation. */
	n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"generation\":2", 30));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 30));
	CHECK_EQ(0, daemon_end(n2, SIGTERM)); /* hands over */
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60));
	CHECK_EQ(0, run("printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 3 "
			"bash -c 'exec 3<>/dev/tcp/127.%u.0.1/17480; cat >&3; cat <&3'", net));
	CHECK(says("holdfast_vs_serving{vs=\"v\"} 1") && says("phase=\"first_reply\""));
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf -N n1 --dry-run vs move v n1"));
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf -N n1 shutdown"));
	CHECK_EQ(0, daemon_end(n1, 0)); /* it ends by itself */
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_two_nodes);
	end_all();
	return check_end();
}
