/* sandbox.h - a data path process gives away what it does not need.
 *
 * Three steps, in this order: become the configured user (no way back), confine the system calls
 * (seccomp), confine the file system to some directories (Landlock).  A worker parses bytes from
 * the network; what an attacker of that parser may reach is its own store and the sockets it was
 * handed, nothing else.
 *
 * The last step is one of its own and quick, because the directories may not be there yet when all
 * else is done: a file system that is mounted later is another directory under the same name.  So
 * the system calls of Landlock stay allowed; what they can do to a process is confine it more.
 *
 * Threads that exist already are not confined: do both before the store starts its helper. */
#ifndef HF_IO_SANDBOX_H
#define HF_IO_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#define SANDBOX_DIRS_MAX 16

/* Becomes `user` with its groups and without capabilities; does nothing when `user` is empty or
 * we are it already.  0 or -errno with a line for people. */
int sandbox_user(const char *user, char *err, size_t err_size);

/* No new privileges, no capabilities, seccomp.  0 or -errno with a line. */
int sandbox_calls(char *err, size_t err_size);

struct sandbox_conf {
	unsigned dir_count;
	const char *dir[SANDBOX_DIRS_MAX]; /* regular files and directories below: everything */
};
/* After sandbox_calls(): Landlock, as much of it as the kernel has (none: one line in the log). */
int sandbox_files(const struct sandbox_conf *c, char *err, size_t err_size);
/* The version of Landlock in this kernel, 0: none. */
int sandbox_landlock_abi(void);

#endif
