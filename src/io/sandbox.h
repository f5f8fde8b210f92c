/* sandbox.h - a data path process gives away what it does not need.
 *
 * Three steps, in this order: become the configured user (no way back), confine the file system
 * to some directories (Landlock), confine the system calls (seccomp).  A worker parses bytes from
 * the network; what an attacker of that parser may reach is its own store and the sockets it was
 * handed, nothing else.
 *
 * Threads that exist already are not confined: enter before the store starts its helper. */
#ifndef HF_IO_SANDBOX_H
#define HF_IO_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#define SANDBOX_DIRS_MAX 16

/* Becomes `user` with its groups and without capabilities; does nothing when `user` is empty or
 * we are it already.  0 or -errno with a line for people. */
int sandbox_user(const char *user, char *err, size_t err_size);

struct sandbox_conf {
	unsigned dir_count;
	const char *dir[SANDBOX_DIRS_MAX]; /* regular files and directories below: everything */
};
/* Landlock, as much of it as the kernel has (none: one line in the log), then seccomp. */
int sandbox_enter(const struct sandbox_conf *c, char *err, size_t err_size);
/* The version of Landlock in this kernel, 0: none. */
int sandbox_landlock_abi(void);

#endif
