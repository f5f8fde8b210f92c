/* t_daemon.c - holdfastd and holdfast as programs: two nodes on this machine, one of which dies.
 * What people get wrong is test/cli/badinput's business. */
#include <signal.h>
#include <string.h>

#include "check.h"
#include "lib_daemon.h"

/* Every node sees whose it is. covers: VS-99 VS-108 FO-19 OV-13 */
static void show_units(void)
{
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 unit list"));
	CHECK(says("<n1,n1>") && says(" mine ") && says(" label."));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 unit list"));
	CHECK(says("<n1,n1>") && says("unusable here: owned by n1"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 --json unit list"));
	CHECK(says("\"mounted_on\": \"n1\"") && says("\"usable\": false"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 unit show u"));
	CHECK(says("owner n1, boot generation 1, epoch 1") && says("for v"));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 unit show nix"));
	CHECK(says("unknown-unit") && says("holdfast unit list"));
}

/* covers: ST-55 FO-70 OV-16 OV-17 F5 */
static void t_two_nodes(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n9"));
	CHECK(says("unknown-node"));
	show_units();
	/* Alive is not yet NORMAL: the dry run says when nothing forbids it any more. */
	CHECK(exits(
	    0, "for i in $(seq 200); do $OUT/holdfast -c $D/h.conf -N n1 --dry-run vs move v n2 "
	       "&& exit; sleep 0.1; done; exit 1"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n2"));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 giveback n1"));
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
	CHECK(exits(0,
		    "printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 20 "
		    "bash -c 'exec 3<>/dev/tcp/127.%u.0.1/17480; cat >&3; cat <&3'",
		    net));
	CHECK(says("holdfast_vs_serving{vs=\"v\"} 1") && says("phase=\"first_reply\""));
	CHECK(exits(0,
		    "printf 'POST /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 20 "
		    "bash -c 'exec 3<>/dev/tcp/127.%u.0.1/17480; cat >&3; cat <&3'",
		    net));
	CHECK(says(" 405 ") && says("Allow: GET, HEAD"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 --dry-run vs move v n1"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 shutdown"));
	CHECK_EQ(0, daemon_end(n1, 0)); /* it ends by itself */
	end();
}

/* An operator's own acts on a unit: never over another owner, and released means left alone.
 * covers: FO-20 FO-22 VS-99 OV-13 OV-16 */
static void t_claim_and_release(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 unit claim u"));
	CHECK(says("it is so already"));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n2 unit claim u"));
	CHECK(says("unit-owned") && says("n1") && says("holdfast vs move"));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n2 unit release u"));
	CHECK(says("unit-owned"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 --force --dry-run unit claim u"));
	CHECK(says("would take by force v"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 --dry-run unit release u"));
	CHECK(says("would release"));
	/* Given up by one, taken by the other; given up by both, by nobody. */
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 unit release u"));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 unit release u"));
	CHECK(exits(0, "for i in $(seq 200); do $OUT/holdfast -c $D/h.conf -N n2 unit list | "
		       "grep -q ' free ' && break; sleep 0.1; done; sleep 1; "
		       "$OUT/holdfast -c $D/h.conf -N n2 unit list"));
	CHECK(says("<U,U>") && says(" free "));
	/* Claimed away from home, in spite of the home node. */
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 unit claim u"));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 10));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 unit list"));
	CHECK(says("<n2,n2>") && says(" mine "));
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	CHECK_EQ(0, daemon_end(n1, SIGTERM));
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_two_nodes);
	CASE(t_claim_and_release);
	end_all();
	return check_end();
}
