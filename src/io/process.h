/* process.h - work that may be slow or hang, done in a forked child, its end an event.
 *
 * Mounting, reservation commands, losetup, fence commands: each may sit in the kernel for seconds.
 * process_run() forks a child that calls `work`, which writes its answer into a small buffer; the
 * parent's `done` is called from the loop once the child is gone (never earlier: a helper that
 * still lives may still act).  At `limit_ns` the child is killed and the answer is -ETIMEDOUT.
 *
 * The child keeps only standard descriptors and `keep_fd`, dies with its parent, and never returns
 * into the loop. */
#ifndef HF_IO_PROCESS_H
#define HF_IO_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/loop.h"

#define PROCESS_ANSWER_MAX 2048 /* within PIPE_BUF: written at once or not at all */

struct process {
	/* 0 when `work` returned and `answer` holds its len bytes; -ETIMEDOUT; -ECHILD when it died
	 * without an answer. The struct may be used again or freed from here. */
	void (*done)(struct process *p, int err, const void *answer, size_t len);
	/* (process) */
	struct loop *loop;
	struct loop_op op;
	struct loop_timer timer;
	pid_t pid;
	int pidfd, pipe;
	bool running, timed_out;
	uint8_t answer[PROCESS_ANSWER_MAX];
};

/* Fills `answer` (zeroed, `size` bytes) in the child. */
typedef void process_work(void *arg, void *answer);

/* 0 or -errno (then `done` is not called).  `arg` is seen by the child as it is now.  `keep_fds`
 * ends with -1. */
int process_run(struct loop *l, struct process *p, process_work *work, void *arg,
		size_t answer_size, const int *keep_fds, uint64_t limit_ns);
/* Kills it; `done` comes when it is gone. */
void process_kill(struct process *p);

/* Runs a shell command line in a child of its own and waits: for use inside `work`, or in the
 * command line tool.  Exit status, or 128 + signal; -errno. */
int process_command(const char *command);
/* Runs a program the same way; argv ends with NULL. */
int process_exec(const char *const argv[]);

int pidfd_open_of(pid_t pid);
int pidfd_kill(int pidfd, int sig);

#endif
