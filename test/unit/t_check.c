/* t_check.c - the harness itself: a case that fails on a machine that stood still is judged again, one that
 * fails on a machine that did not is not, and one that never passes fails. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static int ask[2], said[2];
static unsigned tries, good_at;

/* The parent lets this process stand still, or not, and then says so. */
static void one_case(void)
{
	char c = 'x';

	CHECK_EQ(1, write(ask[1], &c, 1));
	CHECK_EQ(1, read(said[0], &c, 1));
	CHECK(++tries == good_at);
}

static void child(bool fair)
{
	if (freopen("/dev/null", "w", stdout) == NULL)
		_exit(99);
	unsetenv("CHECK_FIRST");
	check_passed = check_failed = 0;
	if (fair)
		check_fairly();
	CASE(one_case);
	_exit((int)(check_passed * 10 + check_failed));
}

/* How often the case was tried; `how`: passed * 10 + failed. */
static unsigned run(bool fair, unsigned good, unsigned stalls, int *how)
{
	unsigned n = 0;
	char c;
	pid_t pid;
	int st;

	CHECK(pipe(ask) == 0 && pipe(said) == 0);
	good_at = good;
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(fair);
	close(ask[1]);
	close(said[0]);
	while (read(ask[0], &c, 1) == 1) {
		if (n++ < stalls) {
			kill(pid, SIGSTOP);
			usleep(400000);
			kill(pid, SIGCONT);
		}
		CHECK_EQ(1, write(said[1], &c, 1));
	}
	close(ask[0]);
	close(said[1]);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st));
	*how = WEXITSTATUS(st);
	return n;
}

static void t_judged_again(void)
{
	int how;

	CHECK_EQ(2, run(true, 2, 1, &how));
	CHECK_EQ(10, how);
	CHECK_EQ(4, run(true, 99, 99, &how)); /* not for ever */
	CHECK_EQ(1, how);
	CHECK_EQ(1, run(false, 2, 99, &how)); /* only who asked for it */
	CHECK_EQ(1, how);
}

/* On a machine that stands still by itself this one is judged again too. */
static void t_not_judged_again(void)
{
	int how;

	CHECK_EQ(1, run(true, 2, 0, &how));
	CHECK_EQ(1, how);
	CHECK_EQ(1, run(true, 1, 1, &how));
	CHECK_EQ(10, how);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	CASE(t_judged_again);
	check_fairly();
	CASE(t_not_judged_again);
	return check_end();
}
