/* t_config.c - the committed configuration with real daemons: first version, apply while a client
 * works, two at once, a stale file, a lost device, what needs a restart. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "conf/conf_diff.h"
#include "lib_daemon.h"

/* ---- what differs ---------------------------------------------------------------------------- */

static const char BASE[] =
    "cluster c {\n heartbeat 50ms\n key \"/k\"\n coordination \"/a\" \"/b\" \"/c\"\n run_dir "
    "\"/r\"\n"
    " state_dir \"/s\"\n}\n"
    "node n1 { id 1 network 127.0.0.1 port 1 }\nnode n2 { id 2 network 127.0.0.2 port 1 }\n"
    "unit u1 { backend dir path \"/u1\" }\nunit u2 { backend dir path \"/u2\" }\n"
    "vserver v1 {\n home n1\n address 127.0.0.9\n nfs_port 2049\n portmap off\n"
    " store f { unit u1 dir \"f\" }\n export \"/f\" { store f\n client 127.0.0.0/8 rw\n }\n}\n"
    "vserver v2 {\n home n2\n address 127.0.0.10\n nfs_port 2049\n portmap off\n"
    " store f { unit u2 dir \"f\" }\n export \"/f\" { store f\n client 127.0.0.0/8 rw\n }\n}\n";

static struct conf *from, *to;
static unsigned changes;

static void count(void *arg, const struct conf_change *c)
{
	(void)arg;
	changes++;
	CHECK(c->where[0] && (c->effect == CONF_ONLINE) == (c->why == NULL));
}

static void parse(struct conf *c, const char *old, const char *new)
{
	char text[4096], err[256];
	const char *at = old ? strstr(BASE, old) : NULL;

	CHECK(!old || at);
	if (old)
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - BASE), BASE, new,
			 at + strlen(old));
	else
		snprintf(text, sizeof(text), "%s", BASE);
	if (conf_parse(c, text, strlen(text), "t", err, sizeof(err))) {
		printf("# %s\n", err);
		CHECK(false);
	}
}

static enum conf_effect effect(const char *old, const char *new)
{
	changes = 0;
	parse(from, NULL, NULL);
	parse(to, old, new);
	return conf_diff(from, to, count, NULL);
}

/* covers: VS-157 ST-53 V1 */
static void t_effects(void)
{
	from = calloc(1, sizeof(*from));
	to = calloc(1, sizeof(*to));
	CHECK_EQ(0, effect("home n1", "home \t n1 # said otherwise"));
	CHECK_EQ(0, changes);
	CHECK_EQ(CONF_ONLINE, effect("home n1", "home n2 priority 3 giveback auto migrate off"));
	CHECK_EQ(4, changes);
	CHECK_EQ(CONF_ONLINE,
		 effect("client 127.0.0.0/8 rw", "client 10.0.0.0/8 ro\n client * ro\n"));
	CHECK_EQ(CONF_ONLINE, effect(" store f { unit u1 dir \"f\" }",
				     " store f { unit u1 dir \"f\" }\n"
				     " export \"/g\" { store f\n client * ro\n }"));
	CHECK_EQ(1, changes); /* a block is told as a whole */
	CHECK_EQ(CONF_ONLINE, effect("{ store f\n", "{ store f dir \"a/b\"\n"));
	CHECK_EQ(1, changes);
	CHECK(conf_serving_hash(&from->vserver[0]) == conf_serving_hash(&to->vserver[0]));
	CHECK(conf_hash(from) != conf_hash(to));
	CHECK_EQ(CONF_ONLINE,
		 effect("unit u1", "node n3 { id 3 network 127.0.0.3 port 1 }\nunit u1"));
	CHECK_EQ(CONF_ONLINE, effect("home n1", "home n1 serve off"));
	CHECK_EQ(CONF_ONLINE, effect("unit u2 ", "unit u3 { backend dir path \"/u3\" }\nunit u2 "));
	CHECK_EQ(CONF_RESTART, effect("heartbeat 50ms", "heartbeat 60ms"));
	CHECK_EQ(CONF_ONLINE, effect("address 127.0.0.9", "address 127.0.0.8"));
	CHECK(conf_serving_hash(&from->vserver[0]) != conf_serving_hash(&to->vserver[0]));
	CHECK_EQ(CONF_ONLINE, effect("home n1", "home n2 priority 7"));
	CHECK(conf_serving_hash(&from->vserver[0]) == conf_serving_hash(&to->vserver[0]));
	CHECK_EQ(CONF_RESTART, effect("path \"/u1\"", "path \"/x\""));
	CHECK_EQ(CONF_RESTART, effect(" \"/c\"", ""));
	CHECK_EQ(CONF_ONLINE, effect("network 127.0.0.2 port 1", "network 127.0.0.3 port 9"));
	CHECK_EQ(CONF_RESTART, effect("network 127.0.0.2 port 1 }\n", "interconnect 127.0.0.2 port 1 }\n"));
	CHECK_EQ(CONF_RESTART, effect("id 2 ", "id 2 metrics 127.0.0.2 port 5 "));
	CHECK_EQ(CONF_NEVER, effect("\"/b\" \"/c\"", "\"/x\""));
	CHECK_EQ(CONF_NEVER, effect("cluster c", "cluster d"));
	free(from);
	free(to);
}

/* What runs keeps its numbers, whatever the order in the file. */
static void t_arranged(void)
{
	from = calloc(1, sizeof(*from));
	to = calloc(1, sizeof(*to));
	parse(from, NULL, NULL);
	parse(to, "unit u1 { backend dir path \"/u1\" }\nunit u2 { backend dir path \"/u2\" }\n",
	      "unit u2 { backend dir path \"/u2\" }\nunit u1 { backend dir path \"/u1\" }\n");
	CHECK_EQ(1, to->vserver[0].store[0].unit);
	CHECK_EQ(0, conf_arrange(to, from));
	CHECK_EQ(0, to->vserver[0].store[0].unit);
	CHECK_EQ(0, conf_find_unit(to, "u1"));
	CHECK(conf_hash(to) == conf_hash(from)); /* the order says nothing */
	/* What goes leaves its number, what comes takes one that was free before. */
	parse(to, "vserver v1 {", "vserver v3 {");
	CHECK_EQ(0, conf_arrange(to, from));
	CHECK_EQ(3, to->vserver_count);
	CHECK(to->vserver[0].gone && conf_find_vserver(to, "v2") == 1);
	CHECK_EQ(2, conf_find_vserver(to, "v3"));
	*from = *to;
	parse(to, NULL, NULL);
	CHECK_EQ(0, conf_arrange(to, from));
	CHECK_EQ(0, conf_find_vserver(to, "v1"));
	CHECK(to->vserver[2].gone);
	parse(from, NULL, NULL);
	CHECK(conf_hash(to) == conf_hash(from));
	free(from);
	free(to);
}

/* ---- daemons --------------------------------------------------------------------------------- */

static bool wait_show(const char *node, const char *text)
{
	for (int i = 0; i < 180; i++) {
		if (run("$OUT/holdfast -c $D/h.conf -N %s config show", node) == 0 &&
		    strstr(said, text))
			return true;
		usleep(100000);
	}
	says(text);
	run("tail -5 $D/%s.log", node);
	printf("%s\n", said);
	return false;
}

static void edit(const char *name, const char *sed)
{
	CHECK(exits(0, "sed '%s' $D/h.conf >$D/%s.conf", sed, name));
}

/* The folder, for a replacement of sed's. */
static const char *escaped(void)
{
	static char out[128];
	size_t n = 0;

	for (const char *p = dir; *p && n + 2 < sizeof(out); p++) {
		if (*p == '/')
			out[n++] = '\\';
		out[n++] = *p;
	}
	out[n] = '\0';
	return out;
}

static int wait_end(pid_t pid)
{
	int st;

	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

/* A client writes while its export's rules change, by the same connection and worker. */
static void apply_under_load(void)
{
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 --json status | tr -d ' \\n' | "
		       "grep -o '\"workers\":.*' | grep -o '\"pid\":[0-9]*' | head -1 >$D/pid1"));
	edit("root", "s/rw insecure/rw insecure all_squash anonuid=0/");
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/root.conf"));
	CHECK(says("version 2 is committed") && says("in effect on n2 n1"));
	edit("more", "s/client 127.0.0.0.8 rw insecure/client 127.250.0.0\\/16 ro\\n\\t\\t"
		     "client 127.0.0.0\\/8 rw insecure all_squash anonuid=0/; s/nfs_port 12049/nfs_port "
		     "12049 priority 5/");
	CHECK(exits_beside_writes("0.9", "/fs",
				  "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/more.conf"));
	CHECK(says("version 3 is committed") && says(" 0 calls resent"));
	CHECK(exits(
	    0, "$OUT/holdfast -c $D/h.conf -N n1 --json status | tr -d ' \\n' | "
	       "grep -o '\"workers\":.*' | grep -o '\"pid\":[0-9]*' | head -1 | cmp - $D/pid1"));
	edit("ro", "s/rw insecure/ro insecure/; s/nfs_port 12049/nfs_port 12049 priority 5/");
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/ro.conf"));
	CHECK(run("timeout 5 nfs-cp $D/h.conf "
		  "\"nfs://127.%u.0.9/fs/new?nfsport=12049&mountport=12049\"",
		  net) != 0);
}

/* Of /fs with root's rights, and of the folders `part` (if any) and `later` in its store. */
static void apply_parts(const char *name, const char *part, const char *options)
{
	char sed[600];

	snprintf(sed, sizeof(sed),
		 "s/rw insecure/rw insecure all_squash anonuid=0 anongid=0/; s/\texport .*/%s%s%s%s%s"
		 "\texport \"\\/later\" { store fs dir \"later\"\\n\t\tclient * }\\n&/",
		 part ? "\texport \"\\/part\" { store fs dir \"" : "", part ? part : "",
		 part ? "\"\\n\t\tclient 127.0.0.0\\/8 " : "", part ? options : "",
		 part ? " }\\n" : "");
	edit(name, sed);
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/%s.conf", name));
}

static int nfs(const char *tool, const char *path, const char *before)
{
	return run("timeout 30 nfs-%s %s \"nfs://127.%u.0.9%s?nfsport=12049&mountport=12049\"", tool,
		   before, net, path);
}

/* Exports of folders come, change and go; their client keeps to its folder. */
static void apply_directories(void)
{
	char top[64] = "", inner[96], file[96];

	apply_parts("wide", NULL, NULL);
	CHECK(exits(0, "$OUT/survive -a 127.%u.0.9 -p 12049 -e /fs -n 1 -t 1", net));
	CHECK_EQ(0, nfs("ls", "/fs", ""));
	if (strstr(said, "survive-"))
		sscanf(strstr(said, "survive-"), "%63s", top);
	CHECK(top[0]);
	CHECK(nfs("ls", "/part", "") != 0);
	apply_parts("part", top, "rw insecure all_squash anonuid=0 anongid=0");
	CHECK_EQ(0, nfs("ls", "/part", ""));
	CHECK(says("pulse") && says("w0") && !strstr(said, "data"));
	CHECK_EQ(0, nfs("ls", "/part/w0", "")); /* a folder below it */
	CHECK(says("sub"));
	CHECK_EQ(0, nfs("cp", "/part/new", "$D/h.conf"));
	snprintf(file, sizeof(file), "/fs/%s/new", top);
	CHECK_EQ(0, nfs("cat", file, ""));
	CHECK(says("vserver v"));
	CHECK(nfs("cat", "/part/../data", "") != 0);
	CHECK(nfs("ls", "/later", "") != 0);
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 status"));
	CHECK(says("export /later cannot be mounted: no directory \"later\""));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 --json status | "
		       "grep '\"exports_missing\": *1'"));
	apply_parts("ro", top, "ro insecure all_squash anonuid=0 anongid=0");
	CHECK(nfs("cp", "/part/more", "$D/h.conf") != 0);
	CHECK_EQ(0, nfs("cat", "/part/new", ""));
	snprintf(inner, sizeof(inner), "%s\\/w0", top);
	apply_parts("inner", inner, "ro insecure all_squash anonuid=0 anongid=0");
	CHECK(nfs("cat", "/part/new", "") != 0);
	CHECK_EQ(0, nfs("ls", "/part/sub", ""));
	apply_parts("none", NULL, NULL);
	CHECK(nfs("ls", "/part", "") != 0);
}

/* The names of units are in it too: what a node's own file calls them does not count.
 * covers: VS-05 VS-110 VS-120 VS-121 VS-122 VS-123 VS-157 VS-158 V3 */
static void t_apply(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK(wait_show("n1", "# version 1, in effect here: version 1"));
	CHECK(wait_show("n2", "# version 1, in effect here: version 1"));
	apply_under_load();
	/* Two at once: one is chosen, the other told. */
	edit("a", "s/rw insecure/rw insecure/; s/nfs_port 12049/nfs_port 12049 priority 1/");
	edit("b", "s/rw insecure/rw insecure/; s/nfs_port 12049/nfs_port 12049 priority 2/");
	run("$OUT/holdfast -c $D/h.conf -N n1 config apply $D/a.conf & a=$!; "
	    "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/b.conf; echo b=$?; wait $a; echo "
	    "a=$?");
	CHECK((strstr(said, "a=0") && strstr(said, "b=1")) ||
	      (strstr(said, "a=1") && strstr(said, "b=0")) ||
	      strstr(said, "version 6 is committed")); /* or one after the other */
	CHECK(strstr(said, "the version changed meanwhile") || strstr(said, "version 6"));
	apply_directories();
	/* The restarted node takes the committed version, whatever its file says. */
	CHECK_EQ(128 + SIGKILL, daemon_end(n1, SIGKILL));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(exits(0, "sed -i 's,path \"'$D'/u\",path \"'$D'/elsewhere\",' $D/h.conf; "
		       "grep elsewhere $D/h.conf"));
	n1 = daemon_start("n1");
	CHECK(wait_show("n1", "h.conf differs from it"));
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 60));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 unit list"));
	CHECK(says("<n2,n2>"));
	daemons_end(n1, n2);
	end();
}

/* One area on a whole device, the other on a slice of one: what is beside the slice stays as it was.
 * covers: VS-56 */
static void t_on_devices(void)
{
	pid_t n1;
	bool ok;

	begin();
	if (run("cd $D; truncate -s 4M whole && head -c 12M /dev/urandom >disk && cp disk before && "
		"losetup -f --show whole >l1 && losetup -f --show -o 4M --sizelimit 4M disk >l2 && "
		"dd if=/dev/zero of=$(cat l2) bs=1M count=4 2>/dev/null")) {
		printf("no loop devices for this user\n");
		run("for l in $D/l?; do losetup -d $(cat $l); done");
		end();
		return;
	}
	ok = exits(0, "cd $D; sed -i \"s,$C/coord.a,$(cat l1),; s,$C/coord.b,$(cat l2),\" h.conf; "
		      "$OUT/holdfast -c $D/h.conf init");
	n1 = daemon_start("n1");
	ok = ok && wait_show("n1", "# version 1, in effect here: version 1") &&
	     wait_status("n1", "\"state\":\"SERVING\"", 100);
	daemon_end(n1, SIGTERM);
	CHECK(exits(0, "cd $D; losetup -d $(cat l1) $(cat l2)") && ok);
	CHECK(exits(0, "cd $D; cmp -n 4M disk before && "
		       "cmp -i 8M disk before && ! cmp -s disk before"));
	end();
}

/* covers: ST-53 V1 */
static void t_mismatch_and_loss(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK(wait_show("n1", "# version 1, in effect here: version 1"));
	edit("hb", "s/heartbeat 200ms/heartbeat 220ms/");
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/hb.conf"));
	CHECK(says("needs-restart"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply --restart $D/hb.conf"));
	CHECK(says("version 2 is committed") && says("after a restart of holdfastd on"));
	/* One has it, the other not: neither takes from the other. */
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	n2 = daemon_start("n2");
	CHECK(wait_show("n2", "# version 2, in effect here: version 2"));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 60));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n2 takeover n1 --force --dry-run"));
	CHECK(says("config-mismatch"));
	CHECK_EQ(0, daemon_end(n1, SIGTERM));
	n1 = daemon_start("n1");
	CHECK(wait_show("n1", "# version 2, in effect here: version 2"));
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 60));
	/* One of two devices: nothing can be chosen, and nothing is changed. */
	CHECK(exits(0,
		    "dd if=/dev/urandom of=$C/coord.b bs=4096 seek=16 count=16 conv=notrunc 2>&1"));
	edit("p", "s/heartbeat 200ms/heartbeat 220ms/; s/nfs_port 12049/nfs_port 12049 priority 9/");
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/p.conf"));
	CHECK(says("no-majority"));
	CHECK(wait_show("n1", "# version 2, in effect here: version 2"));
	daemons_end(n1, n2);
	end();
}

/* covers: VS-123 VS-157 V3 */
static void t_join_and_leave(void)
{
	pid_t n1, n2, n3;

	begin_made();
	edit("three", "s/^unit u /node n3 { id 3 network 127.9.0.3 port 17400 }\\nunit u /");
	daemons_start(&n1, &n2);
	CHECK(wait_show("n1", "# version 1, in effect here: version 1"));
	/* Who is not a member does not start. */
	n3 = fork();
	if (n3 == 0)
		_exit(run("$OUT/holdfastd -c $D/three.conf -N n3"));
	CHECK(wait_end(n3) == 78);
	CHECK(exits(0,
		    "sed -i 's/127.9.0.3/127.%u.0.3/' $D/three.conf; "
		    "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/three.conf; r=$?; "
		    "tail -3 $D/n2.log; exit $r",
		    net));
	CHECK(says("version 2 is committed") && says("in effect on n1 n2") && says("back: n3"));
	CHECK(exits(0, "cp $D/three.conf $D/h.conf"));
	n3 = daemon_start("n3");
	CHECK(wait_show("n3", "# version 2, in effect here: version 2"));
	CHECK(wait_status("n1", "\"name\":\"n3\",\"id\":3,\"verdict\":\"alive\"", 60));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n3"));
	CHECK(wait_status("n3", "\"state\":\"SERVING\"", 60));
	/* Who serves does not leave. */
	CHECK(exits(0, "grep -v '^node n3' $D/three.conf >$D/two.conf"));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf"));
	CHECK(says("not-now"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n2"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf"));
	CHECK(says("version 3 is committed") && says("in effect on n1 n2"));
	CHECK_EQ(0, daemon_end(n3, 0)); /* it hears so and ends */
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(strstr(said, "n3") == NULL);
	daemons_end(n1, n2);
	end();
}

static void write_two(const char *name, const char *more)
{
	CHECK(exits(0, "sed 's/^unit u /unit w { backend dir path \"%s\\/w\" }\\n&/' $D/h.conf >"
		       "$D/%s.conf; printf 'vserver w { home n2 %s address 127.%u.0.10 nfs_port 12049 "
		       "portmap off store fs { unit w dir \"fs\" log_half 4M index_map 64M } export "
		       "\"/w\" { store fs client 127.0.0.0/8 rw insecure all_squash "
		       "anonuid=0 } }\\n' >>$D/%s.conf",
		    escaped(), name, more, net, name));
}

/* covers: VS-157 V3 */
static void t_vserver_comes_and_goes(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK(wait_show("n1", "# version 1, in effect here: version 1"));
	write_two("two", "");
	/* Its unit is not made yet. */
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf"));
	CHECK(says("holdfast init"));
	CHECK(exits(0, "$OUT/holdfast -c $D/two.conf init"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf"));
	CHECK(says("version 2 is committed") && says("in effect on n1 n2"));
	CHECK(wait_status("n2", "\"name\":\"w\",\"state\":\"SERVING\"", 100));
	CHECK(exits(0, "nfs_put $D/h.conf \"nfs://127.%u.0.10/w/f?nfsport=12049&mountport=12049\"",
		    net));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move w n1"));
	CHECK(exits(0, "nfs_get \"nfs://127.%u.0.10/w/f?nfsport=12049&mountport=12049\" $D/back && cmp "
		       "$D/back $D/h.conf", net));
	/* Nothing goes that is served, or might be. */
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/h.conf"));
	CHECK(says("not-now") && says("vserver w is served by n1") && says("serve off"));
	write_two("off", "serve off");
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/off.conf"));
	CHECK(wait_status("n1", "\"name\":\"w\",\"state\":\"DOWN\"", 100));
	CHECK(exits(0, "for i in $(seq 100); do "
		       "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/h.conf && exit 0; "
		       "sleep 0.2; done; exit 1"));
	CHECK(says("version 4 is committed") && says("in effect on n2 n1"));
	CHECK(wait_status("n1", "\"name\":\"v\",\"state\":\"SERVING\"", 10));
	CHECK(strstr(said, "\"name\":\"w\"") == NULL);
	/* Once more: the number is used again, and what it had is there. */
	CHECK(exits(0, "for i in $(seq 100); do "
		       "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf && exit 0; "
		       "sleep 0.2; done; exit 1"));
	CHECK(wait_status("n2", "\"name\":\"w\",\"state\":\"SERVING\"", 100));
	CHECK(exits(0, "nfs_get \"nfs://127.%u.0.10/w/f?nfsport=12049&mountport=12049\" $D/back2 && "
		       "cmp $D/back2 $D/h.conf", net));
	/* A node that starts with this version and one that grew into it agree. */
	CHECK_EQ(128 + SIGKILL, daemon_end(n1, SIGKILL));
	n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 60));
	CHECK(exits(0, "for i in $(seq 100); do "
		       "$OUT/holdfast -c $D/h.conf -N n2 vs move w n1 && exit 0; sleep 0.3; done; exit 1"));
	daemons_end(n1, n2);
	end();
}

/* Addresses and options of what is served: a planned move to itself, and a client that copies all the
 * while sees no more than that.
 * covers: VS-157 OV-16 */
static void t_vserver_changes(void)
{
	pid_t n1, n2;

	begin_made();
	CHECK(exits(0, "sed -i 's/rw insecure/& all_squash anonuid=0/' $D/h.conf"));
	daemons_start(&n1, &n2);
	CHECK(wait_show("n1", "# version 1, in effect here: version 1"));
	CHECK(exits(0, "sed 's/address 127.*9/&\\n\taddress "
		       "127.%u.0.11\\n\tread_fence strict/' $D/h.conf >$D/more.conf", net));
	CHECK(exits_beside_writes(
	    "0.9", "/fs",
	    "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/more.conf || exit 1; "
	    "nfs_put $D/h.conf \"nfs://127.%u.0.11/fs/h?nfsport=12049&mountport=12049\" && "
	    "echo at the new",
	    net));
	CHECK(says("all of it is there") && says("at the new"));
	CHECK(exits(0, "grep -c 'SERVING -> DRAIN.*reason=reconfigured' $D/n1.log"));
	/* The other has it with the new addresses too; back to the old, and the new is gone. */
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move v n2"));
	CHECK(exits(0, "nfs_get \"nfs://127.%u.0.11/fs/data?nfsport=12049&mountport=12049\" $D/back2 "
		       "&& cmp $D/data $D/back2", net));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/h.conf"));
	CHECK(exits(0, "for i in $(seq 100); do sleep 0.2; "
		       "grep -q 'DRAIN.*reason=reconfigured' $D/n2.log && break; done; sleep 0.3; "
		       "nfs_get \"nfs://127.%u.0.9/fs/data?nfsport=12049&mountport=12049\" $D/back4 "
		       "&& cmp $D/data $D/back4", net));
	CHECK(run("timeout 3 nfs-cp \"nfs://127.%u.0.11/fs/data?nfsport=12049&mountport=12049\" "
		  "$D/back3", net) != 0);
	CHECK(exits(1, "grep worker-crash $D/n1.log $D/n2.log"));
	/* Other stores only when nobody serves it. */
	CHECK(exits(0, "sed 's/^\\tstore fs {/\\tstore gs { unit u dir \"gs\" log_half 4M index_map 64M "
		       "}\\n&/' $D/h.conf >$D/gs.conf; $OUT/holdfast -c $D/gs.conf init"));
	CHECK(exits(1, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/gs.conf"));
	CHECK(says("not-now") && says("vserver v is served by n") && says("serve off"));
	CHECK_EQ(0, daemon_end(n1, SIGTERM));
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	end();
}

int main(void)
{
	CASE(t_effects);
	CASE(t_arranged);
	daemons_init();
	CASE(t_apply);
	CASE(t_on_devices);
	CASE(t_mismatch_and_loss);
	CASE(t_join_and_leave);
	CASE(t_vserver_comes_and_goes);
	CASE(t_vserver_changes);
	end_all();
	return check_end();
}
