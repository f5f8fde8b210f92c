/* label.c - LABEL: what this directory is; the lock that says who has it; whose it is. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define HALF_LEAST ((uint64_t)256 << 10)
#define HALF_MAX  ((uint64_t)1 << 30)
#define LOCK_TRIES    400U
#define LOCK_PAUSE_US 2000U

int say(char *err, size_t size, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	return code;
}

void store_conf_default(struct store_conf *c)
{
	*c = (struct store_conf){
	    .log_half_bytes = (uint64_t)16 << 20, /* what two halves hold is replayed within the pause */
	    .index_map_bytes = (uint64_t)16 << 30,
	    .checkpoint_interval_ns = 5 * NSEC,
	    .cache_inodes = 500000,
	    .read_cache_bytes = 64U << 20,
	    .dup_keep_ns = 120 * NSEC,
	};
}

/* ---- reading ---------------------------------------------------------------------------------- */

static int no_label(int dir_fd, const char *dir, char *err, size_t err_size)
{
	if (faccessat(dir_fd, ADOPT_WORK, F_OK, 0) == 0)
		return say(err, err_size, -ENOENT,
			   "%s: an adopt of it is not finished; run holdfast adopt again", dir);
	if (faccessat(dir_fd, RELEASE_WORK, F_OK, 0) == 0)
		return say(err, err_size, -ENOENT,
			   "%s: a release of it is not finished; run holdfast release again", dir);
	return say(err, err_size, -ENOENT,
		   "%s: not a store (no LABEL); make one or give its directory", dir);
}

int label_read(struct label *l, int dir_fd, const char *dir, int *fd, char *err, size_t err_size)
{
	uint8_t buf[LABEL_SIZE] = {0};
	ssize_t n;
	int code;

	*fd = openat(dir_fd, "LABEL", O_RDWR | O_CLOEXEC);
	if (*fd < 0 && errno == EROFS) /* to be looked at; who wants to write hears it from the log */
		*fd = openat(dir_fd, "LABEL", O_RDONLY | O_CLOEXEC);
	if (*fd < 0 && errno == ENOENT)
		return no_label(dir_fd, dir, err, err_size);
	if (*fd < 0)
		return say(err, err_size, -errno, "%s/LABEL: cannot open: %s; check owner and mode", dir,
			   strerror(errno));
	n = pread(*fd, buf, sizeof(buf), 0);
	code = n < 0 ? -errno : label_decode(l, buf, (size_t)n);
	if (code == 0 && (l->half_bytes < HALF_LEAST || l->half_bytes > HALF_MAX ||
			  l->half_bytes % BATCH_ALIGN))
		code = -EBADMSG;
	if (code == -ENOTSUP && l->version < LABEL_VERSION)
		say(err, err_size, 0, "%s/LABEL: format %u is older than this program's %u; make a plain "
		    "tree of it with the program that wrote it (holdfast release), then adopt that",
		    dir, l->version, LABEL_VERSION);
	else if (code == -ENOTSUP)
		say(err, err_size, 0, "%s/LABEL: format %u is newer than this program's %u; use a newer "
		    "program", dir, l->version, LABEL_VERSION);
	else if (code == -EBADMSG)
		code = say(err, err_size, -EUCLEAN, "%s/LABEL: damaged; restore it from a copy", dir);
	else if (code)
		say(err, err_size, 0, "%s/LABEL: cannot be read: %s", dir, strerror(-code));
	if (code) {
		close(*fd);
		*fd = -1;
	}
	return code;
}

/* A killed process is gone before its ring is: the kernel ends the ring's writes and lets go of
 * the lock a moment later (F5). That moment is waited for here, with the lock, not the pid. */
int label_lock(int fd, const char *dir, char *err, size_t err_size)
{
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES)
			break;
		HF_MARK("store.lock_waited");
		usleep(LOCK_PAUSE_US);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return say(err, err_size, -EBUSY, "%s: in use by another process; stop that one first",
			   dir);
	return say(err, err_size, -errno, "%s/LABEL: cannot be locked: %s", dir, strerror(errno));
}

/* ---- whose it is ------------------------------------------------------------------------------ */

bool store_as_owner(const char *dir)
{
	size_t n = strlen(dir) + sizeof("/LABEL");
	char *path = mem_alloc(n);
	struct stat st;
	bool is = false;

	snprintf(path, n, "%s/LABEL", dir);
#ifndef HF_MUTANT_REPAIR_AS_ROOT
	is = geteuid() == 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid != 0;
#endif
	free(path);
	if (!is)
		return false;
	HF_MARK("store.as_owner");
	setfsgid(st.st_gid);
	setfsuid(st.st_uid); /* with this go the rights over others' files, until it is 0 again */
	return true;
}

void store_as_self(bool owner)
{
	if (!owner)
		return;
	setfsuid(geteuid());
	setfsgid(getegid());
}
