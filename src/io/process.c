/* process.c - helper children: fork, a pipe for the answer, a pidfd for the end. */
#include "io/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"

int pidfd_open_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

int pidfd_kill(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

static bool is_kept(const int *keep, int fd)
{
	for (; keep && *keep >= 0; keep++)
		if (*keep == fd)
			return true;
	return false;
}

static void close_others(const int *keep, int pipe)
{
	unsigned from = 3;

	for (int fd = 3; fd < 1024; fd++)
		if (fd == pipe || is_kept(keep, fd)) {
			if ((unsigned)fd > from)
				syscall(SYS_close_range, from, (unsigned)fd - 1, 0);
			from = (unsigned)fd + 1;
		}
	syscall(SYS_close_range, from, ~0U, 0);
}

static _Noreturn void child(process_work *work, void *arg, size_t answer_size, const int *keep,
			    int pipe, pid_t parent)
{
	uint8_t answer[PROCESS_ANSWER_MAX] = {0};
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	close_others(keep, pipe);
	work(arg, answer);
	if (answer_size && write(pipe, answer, answer_size) != (ssize_t)answer_size)
		_exit(1);
	_exit(0);
}

static void on_end(struct loop_op *op, int res)
{
	struct process *p = LIST_OWNER(op, struct process, op);
	siginfo_t si = {0};
	ssize_t n;
	int err = 0;

	(void)res;
	if (waitid(P_PID, (id_t)p->pid, &si, WEXITED) < 0)
		log_err_errno("process: waitid");
	n = read(p->pipe, p->answer, sizeof(p->answer));
	close(p->pipe);
	close(p->pidfd);
	loop_timer_clear(p->loop, &p->timer);
	p->running = false;
	if (si.si_code != CLD_EXITED || si.si_status != 0 || n < 0)
		err = p->timed_out ? -ETIMEDOUT : -ECHILD;
	p->done(p, err, p->answer, n > 0 ? (size_t)n : 0);
}

static void on_limit(struct loop_timer *t)
{
	struct process *p = LIST_OWNER(t, struct process, timer);

	p->timed_out = true;
	pidfd_kill(p->pidfd, SIGKILL);
}

int process_run(struct loop *l, struct process *p, process_work *work, void *arg,
		size_t answer_size, const int *keep_fds, uint64_t limit_ns)
{
	pid_t parent = getpid();
	int ends[2];

	hf_assert(!p->running && answer_size <= PROCESS_ANSWER_MAX);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	p->pid = fork();
	if (p->pid < 0) {
		int rc = -errno;

		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	if (p->pid == 0)
		child(work, arg, answer_size, keep_fds, ends[1], parent);
	close(ends[1]);
	p->loop = l;
	p->pipe = ends[0];
	p->running = true;
	p->timed_out = false;
	p->pidfd = pidfd_open_of(p->pid);
	hf_assert(p->pidfd >= 0);
	p->op = (struct loop_op){.done = on_end};
	p->timer.fire = on_limit;
	loop_poll_once(l, &p->op, p->pidfd, POLLIN);
	if (limit_ns)
		loop_timer_set(l, &p->timer, loop_clock_ns() + limit_ns);
	return 0;
}

void process_kill(struct process *p)
{
	if (p->running)
		pidfd_kill(p->pidfd, SIGKILL);
}

int process_exec(const char *const argv[])
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a helper that is killed leaves nothing behind */
		if (getppid() != parent)
			_exit(127);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_command(const char *command)
{
	const char *const argv[] = {"/bin/sh", "-c", command, NULL};

	return process_exec(argv);
}
