/* sandbox.c - user, Landlock, seccomp; see sandbox.h.
 *
 * Landlock is called by its raw system calls: the C library has no wrappers, and the rights that
 * are asked for depend on the kernel's version of it (each version refuses bits it does not know).
 * It holds for files opened through io_uring too.
 *
 * The seccomp list is what the store, LMDB, the loop, the transports and the C library use while
 * serving.  Everything else fails with EPERM, which a library can cope with; what only an attacker
 * would try (running a program, tracing, mounting, loading) ends the process, which is logged by
 * the kernel and seen by the daemon. */
#include "io/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* ---- user ------------------------------------------------------------------------------------ */

int sandbox_user(const char *user, char *err, size_t err_size)
{
	struct passwd *pw;

	if (user[0] == '\0')
		return 0;
	errno = 0;
	pw = getpwnam(user);
	if (!pw) {
		snprintf(err, err_size, "user %s: there is no such user; create it or change `user`",
			 user);
		return errno ? -errno : -ENOENT;
	}
	if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid)
		return 0;
	if (initgroups(user, pw->pw_gid) || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid)) {
		int e = errno;

		snprintf(err, err_size, "user %s: cannot become that user: %s", user, strerror(e));
		return -e;
	}
	return 0;
}

/* Also for a root that stays root (a test, a container): nothing but the identity is left. */
static int caps_drop(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	memset(d, 0, sizeof(d));
	/* File ownership checks stay overridable for root: its store may belong to another user. */
	if (geteuid() == 0)
		d[0].effective = d[0].permitted =
		    1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_DAC_READ_SEARCH;
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

/* ---- Landlock -------------------------------------------------------------------------------- */

/* Newer than the headers that we are built with. */
#define FS_TRUNCATE  (1ULL << 14) /* version 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* version 5 */
#define NET_TCP_BOTH 3ULL	  /* version 4: bind and connect */
#define SCOPE_BOTH   3ULL	  /* version 6: abstract UNIX sockets and signals */

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

#define FILE_RIGHTS                                                                                \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
#define DIR_RIGHTS                                                                                 \
	(LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |                             \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                            \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER)
#define OTHER_RIGHTS                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                               \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                             \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | FS_IOCTL_DEV)

int sandbox_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static uint64_t fs_rights(int abi)
{
	uint64_t all = FILE_RIGHTS | DIR_RIGHTS | OTHER_RIGHTS;

	if (abi < 2)
		all &= ~(uint64_t)LANDLOCK_ACCESS_FS_REFER;
	if (abi < 3)
		all &= ~FS_TRUNCATE;
	if (abi < 5)
		all &= ~FS_IOCTL_DEV;
	return all;
}

static int dir_allow(int ruleset, const char *dir, uint64_t rights)
{
	struct landlock_path_beneath_attr a = {.allowed_access = rights};
	long r;
	int e;

	a.parent_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (a.parent_fd < 0)
		return -errno;
	r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
	e = errno;
	close(a.parent_fd);
	return r ? -e : 0;
}

static int ruleset_fill(int fd, const struct sandbox_conf *c, uint64_t rights, char *err,
			size_t err_size)
{
	for (unsigned i = 0; i < c->dir_count; i++) {
		int e = dir_allow(fd, c->dir[i], (FILE_RIGHTS | DIR_RIGHTS) & rights);

		if (e) {
			snprintf(err, err_size, "sandbox: %s: %s", c->dir[i], strerror(-e));
			return e;
		}
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0)) {
		int e = errno;

		snprintf(err, err_size, "sandbox: landlock: %s", strerror(e));
		return -e;
	}
	return 0;
}

int sandbox_files(const struct sandbox_conf *c, char *err, size_t err_size)
{
	int abi = sandbox_landlock_abi(), fd, e;
	struct ruleset_attr a = {.fs = fs_rights(abi)};
	size_t size = sizeof(a.fs);

	if (abi == 0) {
		log_notice("sandbox: this kernel has no Landlock; files are confined by user only");
		return 0;
	}
	if (abi >= 4) {
		a.net = NET_TCP_BOTH;
		size = sizeof(a.fs) + sizeof(a.net);
	}
	if (abi >= 6) {
		a.scoped = SCOPE_BOTH;
		size = sizeof(a);
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &a, size, 0);
	if (fd < 0) {
		e = -errno;
		snprintf(err, err_size, "sandbox: landlock: %s", strerror(-e));
		return e;
	}
	e = ruleset_fill(fd, c, a.fs, err, err_size);
	close(fd);
	return e;
}

/* ---- seccomp --------------------------------------------------------------------------------- */

static const int allowed[] = {
    /* bytes */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(sendfile), SCMP_SYS(splice), SCMP_SYS(copy_file_range), SCMP_SYS(lseek),
    /* sockets that were handed over */
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto),
    SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(shutdown),
    /* files, within what Landlock and the user leave */
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(stat),
    SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(getdents64),
    SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat),
    SCMP_SYS(ftruncate), SCMP_SYS(truncate), SCMP_SYS(fallocate), SCMP_SYS(fsync),
    SCMP_SYS(fdatasync), SCMP_SYS(syncfs), SCMP_SYS(sync_file_range), SCMP_SYS(fadvise64),
    SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(dup), SCMP_SYS(dup3), SCMP_SYS(umask),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
    /* the ring, waiting, time */
    SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(futex), SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    SCMP_SYS(time), SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield),
    /* memory and threads */
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(mincore), SCMP_SYS(msync), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(mlockall),
    SCMP_SYS(membarrier), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(set_tid_address),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(setpriority), SCMP_SYS(gettid), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    /* who and how much */
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(getrandom), SCMP_SYS(getrlimit), SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(getcpu), SCMP_SYS(times),
    /* the last step, sandbox_files() */
    SCMP_SYS(landlock_create_ruleset), SCMP_SYS(landlock_add_rule),
    SCMP_SYS(landlock_restrict_self),
};

static const int deadly[] = {
    SCMP_SYS(execve),	   SCMP_SYS(execveat),	    SCMP_SYS(ptrace),	  SCMP_SYS(process_vm_writev),
    SCMP_SYS(mount),	   SCMP_SYS(umount2),	    SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(init_module), SCMP_SYS(finit_module),  SCMP_SYS(kexec_load), SCMP_SYS(bpf),
    SCMP_SYS(setns),	   SCMP_SYS(userfaultfd),   SCMP_SYS(keyctl),	  SCMP_SYS(perf_event_open),
    SCMP_SYS(fork),	   SCMP_SYS(vfork),
};

#define CLONE_THREAD_FLAG 0x00010000

/* Calls that are fine with some arguments only. */
static int rules_with_arguments(scmp_filter_ctx f)
{
	int e = 0;

	/* Threads, not processes; clone3 hides its flags in memory: the C library falls back. */
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD_FLAG, CLONE_THREAD_FLAG));
	e |= seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* No code is made at run time. */
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			      SCMP_A2(SCMP_CMP_MASKED_EQ, 4 /* PROT_EXEC */, 0));
	/* Reading limits, not changing those of others. */
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0));
	/* abort() */
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
			      SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
	e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			      SCMP_A1(SCMP_CMP_EQ, 0x5401 /* TCGETS: isatty */));
	return e;
}

static int seccomp_enter(char *err, size_t err_size)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int e = f ? 0 : -ENOMEM;

	for (size_t i = 0; f && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		e |= seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; f && i < sizeof(deadly) / sizeof(deadly[0]); i++)
		e |= seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
	if (f) {
		e |= rules_with_arguments(f);
		e |= seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	}
	if (e == 0)
		e = seccomp_load(f);
	seccomp_release(f);
	if (e == 0)
		return 0;
	snprintf(err, err_size, "sandbox: seccomp filter cannot be loaded: %s",
		 strerror(e < 0 && e > -4096 ? -e : EINVAL));
	return -EPERM;
}

int sandbox_calls(char *err, size_t err_size)
{
	int e;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		e = -errno;
		snprintf(err, err_size, "sandbox: no_new_privs: %s", strerror(-e));
		return e;
	}
	e = caps_drop();
	if (e) {
		snprintf(err, err_size, "sandbox: capabilities: %s", strerror(-e));
		return e;
	}
	return seccomp_enter(err, err_size);
}
