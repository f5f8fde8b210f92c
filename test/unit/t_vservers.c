/* t_vservers.c - virtual servers as programs: two nodes with one each, several addresses and several file
 * systems, what one cannot see of another, and a move that the client is not told of. */
#include <signal.h>
#include <string.h>

#include "check.h"
#include "lib_daemon.h"

/* v has two addresses in two networks and two file systems; w is at home on n2. */
static void two_vservers(void)
{
	begin();
	CHECK(exits(0,
		    "sed -i 's,^\\taddress 127.%u.0.9$,&\\n\\taddress 127.%u.1.9,; "
		    "s,^\\tstore fs .*,&\\n\\tstore fs2 { unit u dir \"fs2\" log_half 4M index_map 64M }\\n"
		    "\\texport \"/fs2\" { store fs2\\n client 127.0.0.0/8 rw insecure all_squash "
		    "anonuid=0 },; "
		    "s/rw insecure$/& all_squash anonuid=0/' $D/h.conf",
		    net, net));
	CHECK(exits(0,
		    "cat >>$D/h.conf <<E\n"
		    "unit w { backend dir path \"$D/w\" }\n"
		    "vserver w { home n2 address 127.%u.0.10 nfs_port 12049 portmap off\n"
		    "store fsw { unit w dir \"fsw\" log_half 4M index_map 64M }\n"
		    "export \"/fsw\" { store fsw\n client 127.0.0.0/8 rw insecure all_squash "
		    "anonuid=0\n} }\nE\n"
		    "$OUT/holdfast -c $D/h.conf init",
		    net));
}

/* nfs-cp between a file in $D and one at an address of the net. */
static int copy(bool there, const char *file, const char *address, const char *path)
{
	return run("U=\"nfs://127.%u.%s/%s?nfsport=12049&mountport=12049\"; cd $D; "
		   "timeout 60 nfs-cp %s\"$U\" %s >/dev/null",
		   net, address, path, there ? "data " : "", there ? "" : file);
}

static void same(const char *file)
{
	CHECK(exits(0, "cmp $D/data $D/%s && rm $D/%s", file, file));
}

/* Each network leads to it, and each of its file systems is served beside the other; v's things are not
 * w's.  covers: VS-07 VS-16 VS-18 VS-19 VS-25 */
static void one_and_the_other(void)
{
	CHECK_EQ(0, copy(true, "data", "0.9", "fs/a"));
	CHECK_EQ(0, copy(false, "back", "1.9", "fs/a"));
	same("back");
	CHECK_EQ(0, copy(true, "data", "1.9", "fs2/b"));
	CHECK_EQ(0, copy(false, "back", "0.9", "fs2/b"));
	same("back");
	CHECK(copy(false, "back", "0.9", "fs/b") != 0);
	CHECK_EQ(0, copy(true, "data", "0.10", "fsw/c"));
	CHECK(copy(false, "back", "0.10", "fs/a") != 0);
	CHECK(copy(false, "back", "0.9", "fsw/c") != 0);
	/* Not even its folder, were its worker broken into: w's is not among what it may open. */
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 --json vs show v"));
	CHECK(!strstr(said, "fsw"));
}

/* Own and partner's disks are reached from both. covers: ST-01 FO-02 VS-99 */
static void both_see_both(void)
{
	for (unsigned i = 1; i <= 2; i++) {
		CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n%u unit list | sed -n '/^UNIT/,$p'", i));
		CHECK(says("<n1,n1>") && says("<n2,n2>"));
		CHECK(strstr(said, "mine") && strstr(said, i == 1 ? "owned by n2" : "owned by n1"));
	}
}

/* w goes to the other node: same address, same file, and by a last checkpoint nothing is left to recover.
 * covers: VS-22 FO-51 */
static void a_move(void)
{
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 vs move w n1"));
	CHECK(wait_status("n1", "\"name\":\"w\",\"state\":\"SERVING\"", 60));
	CHECK_EQ(0, copy(false, "back", "0.10", "fsw/c"));
	same("back");
	CHECK(exits(0, "grep 'vserver w: recovered' $D/n1.log"));
	CHECK(says("recovered 0 records"));
}

static void t_vservers(void)
{
	pid_t n1, n2;

	two_vservers();
	n1 = daemon_start("n1");
	n2 = daemon_start("n2");
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 60));
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(exits(0, "head -c 300000 /dev/urandom >$D/data"));
	one_and_the_other();
	both_see_both();
	a_move();
	CHECK_EQ(0, copy(false, "back", "0.9", "fs/a"));
	same("back");
	daemon_end(n2, SIGKILL);
	/* Not flushed by a move: the records are there to be recovered. */
	daemon_end(n1, SIGKILL);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_vservers);
	end_all();
	return check_end();
}
