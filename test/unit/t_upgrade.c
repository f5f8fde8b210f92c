/* t_upgrade.c - a rolling upgrade of the protocol: a node of this version beside one of the next,
 * real daemons.  covers: ST-41 ST-53 */
#include <signal.h>
#include <stdio.h>

#include "check.h"
#include "lib_daemon.h"

static void t_rolling(void)
{
	char next[300];
	pid_t n1, n2;

	snprintf(next, sizeof(next), "%s/next", out_dir);
	begin_made();
	n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60)); /* before the other might have it */
	n2 = daemon_start_of(next, "n2");
	/* They understand each other in the older version, and one takes over from the other. */
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 50));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 50));
	CHECK(wait_status("n1", "\"protocol\":1", 20));
	daemon_end(n1, SIGKILL);
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	/* The other is upgraded too: the next version is spoken. */
	n1 = daemon_start_of(next, "n1");
	CHECK(wait_status("n1", "\"protocol\":2", 60));
	CHECK(wait_status("n2", "\"protocol\":2", 60));
	/* And one goes back: it is not understood for a moment, then all speak the older one again.
	 */
	daemon_end(n1, SIGKILL);
	CHECK(wait_status("n2", "\"verdict\":\"dead\"", 60));
	n1 = daemon_start("n1");
	CHECK(wait_status("n2", "\"protocol\":1", 60));
	CHECK(wait_status("n1", "\"protocol\":1", 60));
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 50));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 giveback n1"));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60));
	daemon_end(n2, SIGKILL);
	daemon_end(n1, SIGKILL);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_rolling);
	end_all();
	return check_end();
}
