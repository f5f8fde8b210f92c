/* t_daemon.c - holdfastd and holdfast as programs: every bad input gives one clear line and the
 * documented exit status and changes nothing; then two nodes on this machine, one of which dies. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "codec/slot.h"

static char dir[64], out_dir[256], said[65536], conf_file[96];
static unsigned net; /* second byte of this run's own loopback addresses */

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* A shell command with $OUT and $D set; its output in `said`. Exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[2048];
	size_t n = (size_t)snprintf(command, sizeof(command), "exec 2>&1; OUT=%s D=%s; ", out_dir, dir);
	va_list ap;
	FILE *f;
	int st;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - n, fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	CHECK(f != NULL);
	said[fread(said, 1, sizeof(said) - 1, f)] = '\0';
	st = pclose(f);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static bool says(const char *text)
{
	if (strstr(said, text))
		return true;
	printf("# wanted: %s\n# got: %s\n", text, said);
	return false;
}

static void write_conf(const char *more)
{
	FILE *f = fopen(conf_file, "w");

	fprintf(f,
		"cluster \"t%d\" {\n\theartbeat 50ms\n\tkey \"%s/key\"\n"
		"\tcoordination \"%s/coord.a\" \"%s/coord.b\"\n"
		"\trun_dir \"%s/%%n\"\n\tstate_dir \"%s/%%n.state\"\n\tself_fence stop\n}\n"
		"node n1 { id 1 network 127.%u.0.1 port 17400 metrics 127.%u.0.1 port 17480 }\n"
		"node n2 { id 2 network 127.%u.0.2 port 17400 }\n"
		"unit u { backend dir path \"%s/u\" }\n"
		"vserver v {\n\thome n1\n\taddress 127.%u.0.9\n\tnfs_port 12049\n\tportmap off\n"
		"\tstore fs { unit u dir \"fs\" log_half 4M index_map 64M }\n"
		"\texport \"/fs\" {\n\t\tstore fs\n\t\tclient 127.0.0.0/8 rw insecure\n\t}\n}\n%s",
		(int)getpid(), dir, dir, dir, dir, dir, net, net, net, dir, net, more);
	fclose(f);
}

static void begin(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hf-daemon.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(conf_file, sizeof(conf_file), "%s/h.conf", dir);
	write_conf("");
}

static void begin_made(void)
{
	begin();
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf init"));
}

static void end(void)
{
	nftw(dir, drop, 32, FTW_DEPTH | FTW_PHYS);
}

static void t_usage(void)
{
	begin();
	CHECK_EQ(64, run("$OUT/holdfastd -x"));
	CHECK_EQ(64, run("$OUT/holdfastd stray"));
	CHECK_EQ(0, run("$OUT/holdfastd -c $D/h.conf -n") || !says("h.conf: ok"));
	CHECK_EQ(0, run("$OUT/holdfastd -c $D/h.conf -nv > $D/again.conf && "
			"$OUT/holdfastd -c $D/again.conf -n"));
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/none.conf -n"));
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n9"));
	CHECK(says("there is no node n9"));
	write_conf("colour red\n");
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("h.conf:23: unknown key colour"));
	CHECK_EQ(78, run("sed 's/heartbeat 50ms/heartbeat 1ms/' $D/h.conf > $D/r.conf; "
			 "$OUT/holdfastd -c $D/r.conf -N n1"));
	CHECK(says("r.conf:2: heartbeat 1ms is out of range, allowed 20ms to 10s"));
	CHECK_EQ(0, run("test ! -e $D/n1 -a ! -e $D/n1.state")); /* nothing was made */
	end();
}

static void t_not_made(void)
{
	begin();
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("key: ") && says("holdfast init"));
	CHECK_EQ(0, run("$OUT/holdfast -c $D/h.conf init && chmod 644 $D/key"));
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK_EQ(0, run("chmod 600 $D/key; mv $D/u/.holdfast-unit $D/kept"));
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says(".holdfast-unit") && says("holdfast init"));
	CHECK_EQ(0, run("mv $D/kept $D/u/.holdfast-unit"));
	/* A key of somebody else does not open what is there. */
	CHECK_EQ(0, run("mv $D/key $D/key.1; cp -r $D/u $D/u.1; mv $D/coord.a $D/coord.1;"
			"$OUT/holdfast -c $D/h.conf init"));
	CHECK(says("made  key") && says("kept  coordination device"));
	CHECK_EQ(78, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("another cluster key"));
	end();
}

/* Sets the version of a sector to one that does not exist yet. */
static void make_newer(const char *name)
{
	uint8_t sector[SLOT_SIZE];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR);
	CHECK(pread(fd, sector, SLOT_SIZE, 0) == SLOT_SIZE);
	sector[9] = 99;
	slot_finish(sector);
	CHECK(pwrite(fd, sector, SLOT_SIZE, 0) == SLOT_SIZE);
	close(fd);
}

static void t_formats(void)
{
	begin_made();
	make_newer("coord.b");
	CHECK_EQ(65, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("coord.b: is of a newer format: upgrade this node"));
	CHECK_EQ(0, run("dd if=/dev/urandom of=$D/coord.b bs=4096 count=1 conv=notrunc status=none"));
	CHECK_EQ(65, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("coord.b: its header is damaged"));
	CHECK_EQ(78, run("cp $D/coord.a $D/coord.b; $OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("was made as another of the devices"));
	CHECK_EQ(73, run("sed 's|state_dir .*|state_dir \"/proc/none/x\"|' $D/h.conf > $D/s.conf; "
			 "$OUT/holdfastd -c $D/s.conf -N n1"));
	end();
}

/* ---- running daemons --------------------------------------------------------------------------- */

static pid_t running[8];

static pid_t daemon_start(const char *node)
{
	char program[320], log[128];
	pid_t pid;
	int fd;

	snprintf(program, sizeof(program), "%s/holdfastd", out_dir);
	snprintf(log, sizeof(log), "%s/%s.log", dir, node);
	pid = fork();
	if (pid == 0) {
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 2);
		execl(program, program, "-c", conf_file, "-N", node, (char *)NULL);
		_exit(127);
	}
	for (unsigned i = 0; i < 8; i++)
		if (running[i] == 0) {
			running[i] = pid;
			break;
		}
	return pid;
}

/* A case that failed leaves nothing behind. */
static void end_all(void)
{
	for (unsigned i = 0; i < 8; i++)
		if (running[i]) {
			kill(running[i], SIGKILL);
			waitpid(running[i], NULL, 0);
			running[i] = 0;
		}
}

static int daemon_end(pid_t pid, int sig)
{
	int st;

	for (unsigned i = 0; i < 8; i++)
		if (running[i] == pid)
			running[i] = 0;
	kill(pid, sig);
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

/* Waits until the node's status has the text; false after `tenths` of a second. */
static bool wait_status(const char *node, const char *text, int tenths)
{
	for (int i = 0; i < tenths; i++) {
		if (run("$OUT/holdfast -c $D/h.conf -N %s --json status | tr -d ' \\n'", node) == 0 &&
		    strstr(said, text))
			return true;
		usleep(100000);
	}
	printf("# %s never said %s: %s\n", node, text, said);
	run("cat $D/%s.log", node);
	printf("%s\n", said);
	return false;
}

static int take_port(unsigned host, uint16_t port, int type)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (type == SOCK_STREAM) /* an earlier run may have left connections in TIME_WAIT */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	a.sin_addr.s_addr = htonl(0x7f000000U | net << 16 | host);
	CHECK_EQ(0, bind(fd, (struct sockaddr *)&a, sizeof(a)));
	if (type == SOCK_STREAM)
		CHECK_EQ(0, listen(fd, 1));
	return fd;
}

static void t_taken(void)
{
	pid_t pid;
	int fd;

	begin_made();
	fd = take_port(1, 17400, SOCK_DGRAM);
	CHECK_EQ(69, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("port 17400") && says("choose another port"));
	close(fd);
	fd = take_port(1, 17480, SOCK_STREAM);
	CHECK_EQ(69, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("metrics cannot be served"));
	close(fd);
	/* The virtual server's own port: the daemon goes on, the vs says why it does not. */
	fd = take_port(9, 12049, SOCK_STREAM);
	pid = daemon_start("n1");
	CHECK(wait_status("n1", "-failed\"", 60));
	run("grep 'port 12049' $D/n1.log");
	CHECK(says("end what has it, or choose another port"));
	CHECK_EQ(75, run("$OUT/holdfastd -c $D/h.conf -N n1"));
	CHECK(says("another holdfastd of node n1 runs"));
	close(fd);
	CHECK_EQ(0, daemon_end(pid, SIGTERM));
	end();
}

/* A damaged store: no service, a reason, and the rest of the node goes on. */
static void t_damaged(void)
{
	pid_t pid;

	begin_made();
	CHECK_EQ(0, run("dd if=/dev/urandom of=$D/u/fs/LABEL bs=64 count=1 conv=notrunc status=none"));
	CHECK(run("$OUT/holdfast check $D/u/fs") == 65);
	pid = daemon_start("n1");
	CHECK(wait_status("n1", "\"reason\":\"worker-failed\"", 60));
	CHECK_EQ(0, run("grep -q LABEL $D/n1.log"));
	CHECK_EQ(0, daemon_end(pid, SIGTERM));
	end();
}

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
	ssize_t n = readlink("/proc/self/exe", out_dir, sizeof(out_dir) - 1);

	for (int i = 0; i < 2 && n > 0; i++) { /* OUT/unit/t_daemon */
		out_dir[n] = '\0';
		*strrchr(out_dir, '/') = '\0';
		n = (ssize_t)strlen(out_dir);
	}
	net = 100 + (unsigned)getpid() % 100;
	setenv("ASAN_OPTIONS", "detect_leaks=0", 0); /* programs that end at once free nothing */
	CASE(t_usage);
	CASE(t_not_made);
	CASE(t_formats);
	CASE(t_taken);
	end_all();
	CASE(t_damaged);
	end_all();
	CASE(t_two_nodes);
	end_all();
	return check_end();
}
