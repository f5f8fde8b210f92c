/* unit_repair.c - a unit's file system mended by its own checker (VS 1.15).
 *
 * The file system is unmounted first, by shutting it down: what it could not write it must not write
 * now, and everything that was promised is in the log of its stores, which was written past its
 * cache.  Then the checker runs on the device, and the file system is mounted again.
 *
 * An xfs with an unfinished log is not looked at by xfs_repair before the log was replayed, which is
 * what a mount does; only if even that fails is the log thrown away. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop.h"
#include "io/process.h"
#include "io/unit.h"

#define LOCK_NS	    2000000000ULL
#define XFS_DIRTY   2
#define E2FSCK_LEFT 4

int unit_lock_repair(const struct unit_spec *u, bool beside)
{
	uint64_t until = loop_clock_ns() + LOCK_NS;
	int fd;

	while ((fd = beside ? unit_lock_beside(u) : unit_lock_worker(u)) == -EBUSY &&
	       loop_clock_ns() < until)
		unit_sleep_ms(5);
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
	return fd;
}

static int run(const char *a, const char *b, const char *c, const char *d)
{
	const char *const argv[] = {a, b, c, d, NULL};
	int rc = process_exec(argv);

	log_notice("repair: %s %s %s %s: status %d", a, b ? b : "", c ? c : "", d ? d : "", rc);
	return rc;
}

static int fsck_ext4(const char *dev)
{
	int rc = run("e2fsck", "-fp", dev, NULL);

	if (rc < 0 || !(rc & E2FSCK_LEFT))
		return rc;
	return run("e2fsck", "-fy", dev, NULL);
}

static void xfs_replay(const struct unit_spec *u, const char *dev)
{
	if (mount(dev, u->root, "xfs", MS_NOATIME, "") == 0)
		umount2(u->root, 0);
}

static int fsck_xfs(const struct unit_spec *u, const char *dev)
{
	int rc;

	xfs_replay(u, dev);
	rc = run("xfs_repair", dev, NULL, NULL);
	if (rc == XFS_DIRTY)
		rc = run("xfs_repair", "-L", dev, NULL);
	return rc;
}

/* With the device for each %d. */
static int fsck_command(const char *command, const char *dev)
{
	char line[1024];
	size_t n = 0;

	for (const char *p = command; *p; p++) {
		char one[2] = {*p, '\0'};
		const char *add = one;

		if (p[0] == '%' && p[1] == 'd') {
			add = dev;
			p++;
		}
		if (n + strlen(add) >= sizeof(line))
			return -ENAMETOOLONG;
		memcpy(line + n, add, strlen(add));
		n += strlen(add);
	}
	line[n] = '\0';
	log_notice("repair: %s", line);
	return process_command(line);
}

static int fsck_device(const struct unit_spec *u, const char *command, const char *dev)
{
	if (command[0])
		return fsck_command(command, dev);
	return strcmp(u->fstype, "xfs") == 0 ? fsck_xfs(u, dev) : fsck_ext4(dev);
}

int unit_fsck(const struct unit_spec *u, const char *command, char *text, size_t size)
{
	char dev[UNIT_DEV_MAX];
	int rc, fd;

	rc = unit_unmount(u, true, text, size);
	if (rc)
		return rc;
	fd = unit_attach(u, dev, text, size);
	if (fd < 0)
		return fd;
	ioctl(fd, BLKFLSBUF, 0);
	rc = fsck_device(u, command, dev);
	ioctl(fd, BLKFLSBUF, 0); /* nothing that the checker read is taken for what it wrote */
	close(fd);
	/* 1: corrected; 2: corrected, and whoever had it mounted must begin anew, as we do. */
	if (rc < 0 || (rc & ~3)) {
		snprintf(text, size, "%.150s: its checker ended with status %d", u->image, rc);
		return rc < 0 ? rc : -EUCLEAN;
	}
	return unit_mount(u, text, size);
}
