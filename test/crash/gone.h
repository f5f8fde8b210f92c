/* gone.h - the folder of a run that is ended by a signal goes with it, and so does its child.
 *
 * In a handler nothing may be allocated, so rm does it. */
#ifndef HF_CRASH_GONE_H
#define HF_CRASH_GONE_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char gone_folder[128];
static pid_t gone_owner;
static volatile pid_t gone_child; /* works in the folder; 0: none */

static void gone_on_signal(int sig)
{
	char *const argv[] = {(char[]){"rm"}, (char[]){"-rf"}, (char[]){"--"}, gone_folder, NULL};
	pid_t pid;

	if (getpid() == gone_owner) {
		if (gone_child > 0 && kill(gone_child, SIGKILL) == 0)
			waitpid(gone_child, NULL, 0);
		pid = _Fork();
		if (pid == 0) {
			execv("/bin/rm", argv);
			_exit(127);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	raise(sig); /* as it would have been without us */
}

/* A folder to work in, from a template: HF_CRASH_DIR, or memory where there is such a place. */
static bool gone_with(char *work, size_t size, const char *name)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
	struct sigaction act = {.sa_handler = gone_on_signal, .sa_flags = (int)SA_RESETHAND};
	const char *where = getenv("HF_CRASH_DIR");

	if (!where)
		where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(work, size, "%s/%s-XXXXXX", where, name);
	if (!mkdtemp(work))
		return false;
	snprintf(gone_folder, sizeof(gone_folder), "%s", work);
	gone_owner = getpid();
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaction(ends[i], &act, NULL);
	return true;
}

#endif
