/* t_damage.c - one store of a virtual server is damaged: it is repaired while the others are served.
 *
 * The nodes run a build of their own in which a repair waits until the test lets it go: so what is
 * served meanwhile can be seen without a race. */
#include <signal.h>
#include <string.h>

#include "check.h"
#include "lib_daemon.h"

#define PORTS "?nfsport=12049&mountport=12049"

static pid_t n1, n2;

/* Three stores: fs and fs2 on one unit, the one behind /fs3 on its own; its name is how the others begin. */
static void configure(void)
{
	begin();
	CHECK(exits(
	    0, "sed -i 's,log_half 4M,& checkpoint 200ms,; s/rw insecure$/& all_squash anonuid=0/; "
	       "s,^\\tstore fs .*,&\\n"
	       "\\tstore fs2 { unit u dir \"fs2\" log_half 4M checkpoint 200ms index_map 64M }\\n"
	       "\\tstore f { unit u3 dir \"fs3\" log_half 4M checkpoint 200ms index_map 64M }\\n"
	       "\\texport \"/fs2\" { store fs2\\n client 127.0.0.0/8 rw insecure all_squash "
	       "anonuid=0 }\\n"
	       "\\texport \"/fs3\" { store f\\n client 127.0.0.0/8 rw insecure all_squash "
	       "anonuid=0 },; "
	       "s,^unit u .*,&\\nunit u3 { backend dir path \"'$D'/u3\" },' $D/h.conf && "
	       "$OUT/holdfast -c $D/h.conf init"));
	CHECK(exits(0, "mkdir $D/build && cp $OUT/holdfastd $OUT/holdfast $D/build && "
		       "cat >$D/build/holdfast-vs <<E\n#!/bin/sh\n"
		       "if [ \"\\$1\" = --repair ]; then\n"
		       "echo \"\\$2\" >>$D/repairing; until test -e $D/go; do sleep 0.02; done\nfi\n"
		       "exec $OUT/holdfast-vs \"\\$@\"\nE\n"
		       "chmod 755 $D/build/holdfast-vs; head -c 300000 /dev/urandom >$D/data"));
}

static void begin_damage(void)
{
	char build[128];

	configure();
	snprintf(build, sizeof(build), "%s/build", dir);
	n1 = daemon_start_of(build, "n1");
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 80));
	n2 = daemon_start_of(build, "n2");
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 60));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 60));
	CHECK(wait_status("n2", "\"version\":1", 60));
}

static bool serves(const char *fs)
{
	return exits(0,
		     "rm -f $D/put $D/back; head -c 10000 /dev/urandom >$D/some; "
		     "U=\"nfs://127.%u.0.9/%s/$$" PORTS "\"; "
		     "nfs_put $D/some \"$U\" && nfs_get \"$U\" $D/back && cmp $D/some $D/back",
		     net, fs);
}

/* No answer, and no error either. */
static bool waits(const char *fs)
{
	return exits(124, "timeout 2 nfs-ls \"nfs://127.%u.0.9/%s" PORTS "\"", net, fs);
}

/* The object of a file goes, as a disk loses it, after a move to n2: no log makes it anew, no worker has it
 * open.  Who reads the file finds out, and waits. */
static void damage(const char *fs, const char *unit)
{
	CHECK(exits(0, "rm -f $D/put; nfs_put $D/data \"nfs://127.%u.0.9/%s/victim" PORTS "\"", net,
		    fs));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n2"));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 100));
	CHECK(exits(0, "rm $(find $D/%s/%s/objects -type f -size 300000c)", unit, fs));
	CHECK(exits(0,
		    "timeout 60 nfs-cat \"nfs://127.%u.0.9/%s/victim" PORTS "\" >/dev/null 2>&1 & "
		    "echo $! >$D/reader; for i in $(seq 300); do "
		    "grep -q %s/%s $D/repairing 2>/dev/null && exit 0; sleep 0.1; done; exit 1",
		    net, fs, unit, fs));
}

/* Whoever asks now gets what is left of the file.  The one that found the damage had asked for the size
 * before: what it makes of a shorter file is its own affair. */
static void file_is_empty(const char *fs)
{
	CHECK(exits(0,
		    "timeout 20 nfs-cat \"nfs://127.%u.0.9/%s/victim" PORTS "\" >$D/left && "
		    "test ! -s $D/left; "
		    "r=$?; kill $(cat $D/reader) 2>/dev/null; exit $r",
		    net, fs));
}

/* covers: VS-152 VS-153 VS-154 VS-155 VS-156 - the others are served, on the same unit too; who asks for
 * the damaged one waits, and gets an answer when it is repaired. */
static void t_others_are_served(void)
{
	begin_damage();
	CHECK(serves("fs") && serves("fs2") && serves("fs3"));
	damage("fs2", "u");
	CHECK(wait_status("n2", "\"file_systems\":[\"up\",\"damaged\",\"up\"]", 60));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(serves("fs") && serves("fs3"));
	CHECK(waits("fs2"));
	CHECK(serves("fs"));
	CHECK(exits(0, "kill -0 $(cat $D/reader)")); /* it waits too */
	CHECK(exits(0, "touch $D/go"));
	CHECK(wait_status("n2", "\"repairs\":1", 100));
	CHECK(wait_status("n2", "\"file_systems\":[\"up\",\"up\",\"up\"]", 100));
	file_is_empty("fs2");
	CHECK(serves("fs") && serves("fs2") && serves("fs3"));
	daemons_end(n1, n2);
	end();
}

/* A move does not wait for a repair: it is ended, and the next owner finds the damage for itself.  Here
 * the store is alone on its unit. */
static void t_moved_meanwhile(void)
{
	begin_damage();
	damage("fs3", "u3");
	CHECK(wait_status("n2", "\"file_systems\":[\"up\",\"up\",\"damaged\"]", 60));
	CHECK(serves("fs") && serves("fs2"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 vs move v n1"));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 100));
	CHECK(serves("fs") && serves("fs2"));
	CHECK(exits(0, "touch $D/go"));
	CHECK(wait_status("n1", "\"repairs\":1", 100));
	CHECK(wait_status("n1", "\"file_systems\":[\"up\",\"up\",\"up\"]", 100));
	file_is_empty("fs3");
	CHECK(serves("fs3"));
	daemons_end(n1, n2);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_others_are_served);
	CASE(t_moved_meanwhile);
	end_all();
	return check_end();
}
