/* unit_lun.c - the program that shows an iscsi unit as a file: started before the mount, ended after it.
 *
 * holdfast-lun shows the unit, without its last 64 KiB, as LUN_DIR/lun.  It holds the byte
 * UNIT_LOCK_LUN of the unit's lock file as long as it lives, and its pid is the file's first line:
 * the lock is the proof, the pid is only for ending it.
 *
 * To end it for good (what it did not write must never be written): abort the FUSE connection, which
 * no hung server can prevent, and kill it.  Only then may the file system above be shut down and
 * unmounted, since that writes too and would hang with it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/mounts.h"
#include "io/process.h"
#include "io/unit.h"

#define START_MS 5000
#define END_NS	 2000000000ULL

static int lock_state(const struct unit_spec *u, bool *held)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = UNIT_LOCK_LUN, .l_len = 1};
	int fd = unit_lock_open(u), rc = 0;

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		rc = -errno;
	*held = fl.l_type != F_UNLCK;
	close(fd);
	return rc;
}

int unit_lun_identity(const struct unit_spec *u, dev_t *dev, ino_t *ino)
{
	int rc = mounts_find(u->lun_dir, dev);

	*ino = UNIT_LUN_INO;
	return rc < 0 ? rc : rc == 0 ? -ENOENT : 0;
}

/* ---- starting ---------------------------------------------------------------------------------- */
/* It lies beside the program that asks; a test's program lies one folder deeper. */
static int find_program(char *out, size_t size)
{
	static const char *const where[] = {"", "/.."};
	char self[UNIT_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	for (unsigned i = 0; i < 2; i++) {
		if (snprintf(out, size, "%s%s/holdfast-lun", self, where[i]) >= (int)size)
			return -ENAMETOOLONG;
		if (access(out, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

static _Noreturn void be_lun(const struct unit_spec *u, const char *program, int ready)
{
	char lun[16], key[24], fd[16];
	const char *argv[24 + 2 * UNIT_PORTALS_MAX] = {program};
	unsigned n = 1;
	sigset_t none;

	snprintf(lun, sizeof(lun), "%u", u->target_lun);
	snprintf(key, sizeof(key), "0x%016llx", (unsigned long long)u->key);
	snprintf(fd, sizeof(fd), "%d", ready);
	for (unsigned i = 0; i < u->portal_count; i++) {
		argv[n++] = "--portal";
		argv[n++] = u->portal[i];
	}
	argv[n++] = "--target";
	argv[n++] = u->target;
	argv[n++] = "--lun";
	argv[n++] = lun;
	argv[n++] = "--initiator";
	argv[n++] = u->initiator;
	if (u->chap[0]) {
		argv[n++] = "--chap";
		argv[n++] = u->chap;
	}
	if (u->wwid[0]) {
		argv[n++] = "--wwid";
		argv[n++] = u->wwid;
	}
	argv[n++] = "--unit";
	argv[n++] = key;
	argv[n++] = "--lock";
	argv[n++] = u->lock;
	argv[n++] = "--ready-fd";
	argv[n++] = fd;
	argv[n++] = u->lun_dir;
	argv[n] = NULL;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* A repair's programs inherit the worker's lock; this one outlives the repair. */
	if (ready > 3)
		syscall(SYS_close_range, 3, (unsigned)ready - 1, 0);
	syscall(SYS_close_range, (unsigned)ready + 1, ~0U, 0);
	fcntl(ready, F_SETFD, 0);
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* One line from it: "ready", or what is wrong. */
static int wait_ready(int fd, char *text, size_t size)
{
	uint64_t until = loop_clock_ns() + START_MS * 1000000ULL;
	size_t len = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = loop_clock_ns();
		ssize_t n;

		if (now >= until || poll(&p, 1, (int)((until - now) / 1000000) + 1) <= 0)
			break;
		n = read(fd, text + len, size - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		text[len] = '\0';
		if (text[len - 1] == '\n') {
			text[len - 1] = '\0';
			return strcmp(text, "ready") == 0 ? 0 : -EIO;
		}
		if (len >= size - 1)
			break;
	}
	snprintf(text, size, "holdfast-lun does not start");
	return -ETIMEDOUT;
}

/* A grandchild: nobody here waits for it, it outlives this helper and the daemon. */
int unit_lun_start(const struct unit_spec *u, char *text, size_t size)
{
	char program[UNIT_PATH_MAX + 32];
	int ends[2], rc = find_program(program, sizeof(program));
	pid_t pid;

	if (rc) {
		snprintf(text, size, "holdfast-lun is not beside this program");
		return rc;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		if (fork() == 0)
			be_lun(u, program, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	rc = pid < 0 ? -EAGAIN : wait_ready(ends[0], text, size);
	close(ends[0]);
	return rc;
}

/* ---- ending ------------------------------------------------------------------------------------- */
static void kill_it(const struct unit_spec *u)
{
	int fd = unit_lock_open(u), pidfd;
	char text[24] = "", path[64], comm[24] = "";
	long pid;

	if (fd < 0)
		return;
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '\0';
	close(fd);
	pid = strtol(text, NULL, 10);
	pidfd = pid > 1 ? pidfd_open_of((pid_t)pid) : -1;
	if (pidfd < 0)
		return;
	/* The pid may be another's by now; the descriptor is this process's whatever happens next. */
	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, comm, sizeof(comm) - 1) > 0 && strcmp(comm, "holdfast-lun\n") == 0)
		pidfd_kill(pidfd, SIGKILL);
	if (fd >= 0)
		close(fd);
	close(pidfd);
}

/* Nothing that it has not sent yet is sent any more; everybody who waits for it gets an error. */
void unit_lun_cut(const struct unit_spec *u)
{
	bool held = false;
	dev_t dev;

	/* MNT_FORCE aborts the connection, also where the mount is busy and stays. */
	if (mounts_find(u->lun_dir, &dev) > 0)
		umount2(u->lun_dir, MNT_FORCE);
	if (lock_state(u, &held) == 0 && held)
		kill_it(u);
}

int unit_lun_end(const struct unit_spec *u, char *text, size_t size)
{
	uint64_t until = loop_clock_ns() + END_NS;
	bool held = false;
	int rc, n;
	dev_t dev;

	while ((n = mounts_find(u->lun_dir, &dev)) > 0 && umount2(u->lun_dir, 0) < 0) {
		rc = -errno;
		if (loop_clock_ns() >= until) {
			snprintf(text, size, "%.100s: unmount: %s", u->lun_dir, strerror(-rc));
			return rc;
		}
		unit_sleep_ms(2);
	}
	if (n < 0)
		return n;
	/* It ends by itself once it is unmounted; one that hangs is killed. */
	until = loop_clock_ns() + END_NS / 2;
	while ((rc = lock_state(u, &held)) == 0 && held && loop_clock_ns() < until)
		unit_sleep_ms(2);
	if (rc == 0 && held)
		kill_it(u);
	until = loop_clock_ns() + END_NS / 2;
	while (rc == 0 && held && loop_clock_ns() < until) {
		unit_sleep_ms(2);
		rc = lock_state(u, &held);
	}
	if (rc == 0 && held) {
		snprintf(text, size, "%.100s: holdfast-lun does not end", u->lun_dir);
		rc = -EBUSY;
	}
	return rc;
}

int unit_lun_gone(const struct unit_spec *u, char *text, size_t size)
{
	bool held = false;
	dev_t dev;
	int rc = mounts_find(u->lun_dir, &dev);

	if (rc > 0)
		snprintf(text, size, "%.100s is still mounted", u->lun_dir);
	if (rc)
		return rc > 0 ? -EBUSY : rc;
	rc = lock_state(u, &held);
	if (rc == 0 && held)
		snprintf(text, size, "%.100s: holdfast-lun still runs", u->lun_dir);
	return rc ? rc : held ? -EBUSY : 0;
}
