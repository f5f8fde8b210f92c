/* lib_daemon.c - holdfastd and holdfast as programs, for tests; see lib_daemon.h. */
#include "lib_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

char dir[64], coord_dir[64], out_dir[256], said[65536], conf_file[96];
unsigned net;

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static const char PATIENT[] =
    "nfs_get() { for i in $(seq 25); do timeout 60 nfs-cp \"$1\" $2 >/dev/null && return; sleep 0.2; done; "
    "return 1; }; "
    "nfs_put() { for i in $(seq 25); do timeout 60 nfs-cp $1 \"$2\" >/dev/null; "
    "timeout 60 nfs-cp \"$2\" $D/put >/dev/null && cmp -s $1 $D/put && return; sleep 0.2; done; "
    "return 1; }; ";

static int vrun(const char *fmt, va_list ap)
{
	char command[4096];
	size_t n = (size_t)snprintf(command, sizeof(command), "exec 2>&1; OUT=%s D=%s C=%s; %s", out_dir,
				    dir, coord_dir, PATIENT);
	FILE *f;
	int st;

	vsnprintf(command + n, sizeof(command) - n, fmt, ap);
	f = popen(command, "r");
	CHECK(f != NULL);
	said[fread(said, 1, sizeof(said) - 1, f)] = '\0';
	st = pclose(f);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int run(const char *fmt, ...)
{
	va_list ap;
	int st;

	va_start(ap, fmt);
	st = vrun(fmt, ap);
	va_end(ap);
	return st;
}

/* The last lines of each node's log: what a failed command was answered to. */
static void show_logs(void)
{
	run("for f in $D/*.log; do echo \"# $f:\"; tail -8 $f; done 2>/dev/null");
	printf("%s\n", said);
}

bool exits(int want, const char *fmt, ...)
{
	va_list ap;
	int st;

	va_start(ap, fmt);
	st = vrun(fmt, ap);
	va_end(ap);
	if (st == want)
		return true;
	printf("# wanted status %d, got %d: %s\n", want, st, said);
	show_logs();
	return false;
}

bool exits_beside_writes(const char *host, const char *export, const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return exits(0,
		     "rm -f $D/done; $OUT/courier -a 127.%u.%s -p 12049 -e %s -u $D/done -o $D/data "
		     ">$D/courier 2>&1 & c=$!; "
		     "until grep -q writing $D/courier; do kill -0 $c || break; sleep 0.02; done; "
		     "(%s); r=$?; touch $D/done; wait $c || r=9; cat $D/courier; exit $r",
		     net, host, export, command);
}

bool says(const char *text)
{
	if (strstr(said, text))
		return true;
	printf("# wanted: %s\n# got: %s\n", text, said);
	return false;
}

void write_conf(const char *more)
{
	FILE *f = fopen(conf_file, "w");

	fprintf(f,
		"cluster \"t%d\" {\n\theartbeat " HEARTBEAT "\n\tkey \"%s/key\"\n"
		"\tcoordination \"%s/coord.a\" \"%s/coord.b\"\n"
		"\trun_dir \"%s/%%n\"\n\tstate_dir \"%s/%%n.state\"\n\tself_fence stop\n}\n"
		"node n1 { id 1 network 127.%u.0.1 port 17400 metrics 127.%u.0.1 port 17480 }\n"
		"node n2 { id 2 network 127.%u.0.2 port 17400 }\n"
		"unit u { backend dir path \"%s/u\" }\n"
		"vserver v {\n\thome n1\n\taddress 127.%u.0.9\n\tnfs_port 12049\n\tportmap off\n"
		"\tstore fs { unit u dir \"fs\" log_half 4M index_map 64M }\n"
		"\texport \"/fs\" {\n\t\tstore fs\n\t\tclient 127.0.0.0/8 rw insecure\n\t}\n}\n%s",
		(int)getpid(), dir, coord_dir, coord_dir, dir, dir, net, net, net, dir, net, more);
	fclose(f);
}

void end(void)
{
	nftw(dir, drop, 32, FTW_DEPTH | FTW_PHYS);
	nftw(coord_dir, drop, 4, FTW_DEPTH | FTW_PHYS);
}

void begin(void)
{
	end_all();
	if (dir[0])
		end();
	snprintf(dir, sizeof(dir), "/tmp/hf-daemon.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(coord_dir, sizeof(coord_dir), "/dev/shm/hf-daemon.XXXXXX");
	if (!mkdtemp(coord_dir))
		memcpy(coord_dir, dir, sizeof(dir));
	snprintf(conf_file, sizeof(conf_file), "%s/h.conf", dir);
	write_conf("");
}

void begin_made(void)
{
	begin();
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf init"));
}

/* ---- running daemons ---------------------------------------------------------------------------
 */

static pid_t running[8];

pid_t daemon_start(const char *node)
{
	return daemon_start_of(out_dir, node);
}

pid_t daemon_start_of(const char *build, const char *node)
{
	char program[320], log[128];
	pid_t pid, parent = getpid();
	int fd;

	snprintf(program, sizeof(program), "%s/holdfastd", build);
	snprintf(log, sizeof(log), "%s/%s.log", dir, node);
	pid = fork();
	if (pid == 0) {
		/* A test that ends in the middle (a planted fault was caught) leaves no node behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
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

void end_all(void)
{
	for (unsigned i = 0; i < 8; i++)
		if (running[i]) {
			kill(running[i], SIGKILL);
			waitpid(running[i], NULL, 0);
			running[i] = 0;
		}
}

int daemon_end(pid_t pid, int sig)
{
	int st;

	for (unsigned i = 0; i < 8; i++)
		if (running[i] == pid)
			running[i] = 0;
	kill(pid, sig);
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

void daemons_start(pid_t *n1, pid_t *n2)
{
	*n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 80)); /* before the other might have it */
	*n2 = daemon_start("n2");
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 60));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 60));
	CHECK(wait_status("n2", "\"version\":1", 60));
}

void daemons_end(pid_t n1, pid_t n2)
{
	CHECK_EQ(0, daemon_end(n2, SIGTERM));
	CHECK_EQ(0, daemon_end(n1, SIGTERM));
}

bool wait_status(const char *node, const char *text, int tenths)
{
	for (int i = 0; i < check_patience(tenths); i++) {
		if (run("$OUT/holdfast -c $D/h.conf -N %s --json status | tr -d ' \\n'", node) ==
			0 &&
		    strstr(said, text))
			return true;
		usleep(100000);
	}
	printf("# %s never said %s: %s\n", node, text, said);
	run("cat $D/%s.log", node);
	printf("%s\n", said);
	return false;
}

bool wait_log(const char *node, const char *text, int tenths)
{
	for (int i = 0; i < check_patience(tenths); i++) {
		if (run("grep -q '%s' $D/%s.log", text, node) == 0)
			return true;
		usleep(100000);
	}
	run("tail -20 $D/%s.log", node);
	printf("# %s never logged: %s\n%s\n", node, text, said);
	return false;
}

/* A number no other test of this machine has now: a name bound for as long as this process lives.
 */
static unsigned own_net(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (unsigned i = 0; i < 100; i++) {
		unsigned number = 100 + ((unsigned)getpid() + i) % 100;
		int n = snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "holdfast-test-net-%u",
				 number);

		if (bind(fd, (struct sockaddr *)&at,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
			return number;
	}
	fprintf(stderr, "lib_daemon: a hundred tests have their networks already\n");
	exit(1);
}

/* Also when a failed case ends the test at once: no node, folder or cgroup.  Nodes that were killed
 * could not take their workers' cgroups away; the workers are gone a moment later. */
static void leave_nothing(void)
{
	end_all();
	if (dir[0])
		end();
	run("for i in $(seq 20); do find /sys/fs/cgroup -depth -type d -name 'vs-t%d-*' -exec rmdir {} + "
	    "2>/dev/null && break; sleep 0.05; done",
	    (int)getpid());
}

void daemons_init(void)
{
	ssize_t n = readlink("/proc/self/exe", out_dir, sizeof(out_dir) - 1);

	for (int i = 0; i < 2 && n > 0; i++) { /* OUT/unit/t_NAME */
		out_dir[n] = '\0';
		*strrchr(out_dir, '/') = '\0';
		n = (ssize_t)strlen(out_dir);
	}
	net = own_net();
	check_fairly();
	atexit(leave_nothing);
	setenv("ASAN_OPTIONS", "detect_leaks=0", 0); /* programs that end at once free nothing */
}
