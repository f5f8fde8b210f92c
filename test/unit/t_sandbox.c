/* t_sandbox.c - what a confined process can and cannot do; each case in a child. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/sandbox.h"

static char dir[] = "/tmp/t_sandbox.XXXXXX", beside[] = "/tmp/t_sandbox_beside.XXXXXX";

static int in_child(int (*fn)(void))
{
	int st = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct sandbox_conf c = {.dir_count = 1, .dir = {dir}};
		char err[256];

		if (sandbox_calls(err, sizeof(err)) || sandbox_files(&c, err, sizeof(err))) {
			fprintf(stderr, "%s\n", err);
			_exit(99);
		}
		_exit(fn());
	}
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
}

static int own_files(void)
{
	char path[128], other[128];
	int fd;

	snprintf(path, sizeof(path), "%s/sub", dir);
	if (mkdir(path, 0700))
		return 1;
	snprintf(path, sizeof(path), "%s/sub/file", dir);
	snprintf(other, sizeof(other), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) || ftruncate(fd, 0))
		return 2;
	if (rename(path, other) || unlink(other))
		return 3;
	snprintf(path, sizeof(path), "%s/sub", dir);
	return rmdir(path) ? 4 : 0;
}

static int other_files(void)
{
	if (open("/etc/passwd", O_RDONLY) >= 0)
		return 1;
	if (open("/tmp/t_sandbox.other", O_RDWR | O_CREAT, 0600) >= 0)
		return 2;
	if (open(beside, O_RDONLY | O_DIRECTORY) >= 0) /* another virtual server's store */
		return 3;
	return 0;
}

static int no_sockets(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM ? 0 : 1;
}

static int no_programs(void)
{
	execl("/bin/true", "true", (char *)NULL);
	return 1;
}

static int no_processes(void)
{
	return fork() < 0 ? 0 : 1;
}

static void *nothing(void *arg)
{
	return arg;
}

static int threads(void)
{
	pthread_t t;
	int x = 0;
	void *r = NULL;

	if (pthread_create(&t, NULL, nothing, &x) || pthread_join(t, &r))
		return 1;
	return r == &x ? 0 : 2;
}

static void t_may(void)
{
	CHECK_EQ(0, in_child(own_files));
	CHECK_EQ(0, in_child(threads));
}

/* covers: VS-19 */
static void t_may_not(void)
{
	if (sandbox_landlock_abi() > 0)
		CHECK_EQ(0, in_child(other_files));
	CHECK_EQ(0, in_child(no_sockets));
	CHECK_EQ(-SIGSYS, in_child(no_programs));
	CHECK_EQ(0, in_child(no_processes));
}

/* A ring made before is used within, and its file opens are confined as well. */
static struct loop_note {
	struct loop_op op;
	int res;
	bool called;
} note;

static void note_done(struct loop_op *op, int res)
{
	(void)op;
	note.res = res;
	note.called = true;
}

static int ring_child(void)
{
	struct sandbox_conf c = {.dir_count = 1, .dir = {dir}};
	struct loop *l = NULL;
	char err[256], path[128];
	int fd;

	if (loop_new(&l, 8) || sandbox_calls(err, sizeof(err)) ||
	    sandbox_files(&c, err, sizeof(err)))
		return 1;
	snprintf(path, sizeof(path), "%s/ring", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	note.op.done = note_done;
	loop_write(l, &note.op, fd, "abc", 3, 0);
	while (!note.called)
		if (loop_once(l, 100000000))
			return 2;
	unlink(path);
	return note.res == 3 ? 0 : 3;
}

static void t_ring(void)
{
	int st = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(ring_child());
	waitpid(pid, &st, 0);
	CHECK(WIFEXITED(st));
	CHECK_EQ(0, WEXITSTATUS(st));
}

static void t_user(void)
{
	char err[256] = "";

	CHECK_EQ(0, sandbox_user("", err, sizeof(err)));
	CHECK(sandbox_user("no-such-user-here", err, sizeof(err)) < 0);
	CHECK(strstr(err, "no such user") != NULL);
	if (getuid() == 0) {
		int st = 0;
		pid_t pid = fork();

		if (pid == 0)
			_exit(sandbox_user("nobody", err, sizeof(err)) == 0 && getuid() != 0 &&
				      setuid(0) != 0
				  ? 0
				  : 1);
		waitpid(pid, &st, 0);
		CHECK_EQ(0, st);
	}
}

int main(void)
{
	if (!mkdtemp(dir) || !mkdtemp(beside))
		return 1;
	CASE(t_user);
	CASE(t_may);
	CASE(t_may_not);
	CASE(t_ring);
	rmdir(dir);
	rmdir(beside);
	return check_end();
}
