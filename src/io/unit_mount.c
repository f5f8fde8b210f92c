/* unit_mount.c - a loop unit's file system: attach, mount, unmount, and the proof that it is gone.
 *
 * The loop device uses direct I/O, so a page that the array must not get cannot wait in a second
 * cache, and detaches itself with its last user.  An unmount is believed only when neither the
 * mount nor a loop device of that image is to be found any more (F1); nothing is unmounted lazily. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/mounts.h"
#include "io/unit.h"

#define LOOPS_MAX	256
#define ATTACH_TRIES	64
#define UNMOUNT_NS	2000000000ULL
#define FS_SHUTDOWN	0x8004587dU /* FS_IOC_SHUTDOWN of ext4 and xfs */
#define FS_NO_LOG_FLUSH 2U

__attribute__((format(printf, 4, 5))) static int say(int rc, char *text, size_t size,
						     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, size, fmt, ap);
	va_end(ap);
	return rc;
}

static int open_loop(int number, char path[UNIT_DEV_MAX])
{
	snprintf(path, UNIT_DEV_MAX, "/dev/loop%d", number);
	return open(path, O_RDWR | O_CLOEXEC);
}

static int identify(const struct unit_spec *u, struct stat *image)
{
	if (u->backend == UNIT_ISCSI)
		return unit_lun_identity(u, &image->st_dev, &image->st_ino);
	return stat(u->image, image) < 0 ? -errno : 0;
}

/* Has this loop device the image attached?  1, 0, or -errno: nobody knows. */
static int loop_has(int number, const struct stat *image)
{
	struct loop_info64 info;
	char path[32];
	int fd, rc = 0;

	snprintf(path, sizeof(path), "/dev/loop%d", number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* whoever may not open them has attached none */
		return errno == ENOENT || errno == ENXIO || errno == EACCES || errno == EPERM ? 0 : -errno;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0)
		rc = info.lo_inode == image->st_ino && info.lo_device == image->st_dev;
	else if (errno != ENXIO)
		rc = -errno;
	close(fd);
	return rc;
}

/* The loop device that has the image attached, *number: 1; 0 when none has, -errno. */
static int find_loop(const struct unit_spec *u, int *number)
{
	struct stat image;
	int rc = identify(u, &image);

	/* A FUSE mount that is gone had no open file, so no loop device has it. */
	if (rc)
		return rc == -ENOENT && u->backend == UNIT_ISCSI ? 0 : rc;
	for (*number = 0; *number < LOOPS_MAX && rc == 0; ++*number)
		rc = loop_has(*number, &image);
	--*number;
	return rc;
}

/* Neither mounted nor attached. */
static int prove_detached(const struct unit_spec *u, char *text, size_t size)
{
	int rc = mounts_find(u->root, NULL), number;

	if (rc < 0)
		return say(rc, text, size, "the mounts cannot be read: %s", strerror(-rc));
	if (rc > 0)
		return say(-EBUSY, text, size, "%s is still mounted", u->root);
	if (u->backend == UNIT_SCSI)
		return unit_disk_prove_free(u, text, size);
	rc = find_loop(u, &number);
	if (rc > 0)
		return say(-EBUSY, text, size, "/dev/loop%d still has %s attached", number, u->image);
	if (rc < 0)
		return say(rc, text, size, "%s: %s", u->image, strerror(-rc));
	return 0;
}

int unit_prove_free(const struct unit_spec *u, char *text, size_t size)
{
	int rc;

	if (u->backend == UNIT_DIR)
		return 0;
	rc = prove_detached(u, text, size);
	return rc == 0 && u->backend == UNIT_ISCSI ? unit_lun_gone(u, text, size) : rc;
}

static int configure(int loop_fd, int image_fd, const struct unit_spec *u)
{
	struct loop_config c = {
		.fd = (uint32_t)image_fd,
		.block_size = 512,
		.info = {.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR},
	};

	snprintf((char *)c.info.lo_file_name, sizeof(c.info.lo_file_name), "%.63s", u->name);
	return ioctl(loop_fd, LOOP_CONFIGURE, &c) < 0 ? -errno : 0;
}

static int attach_loop(const struct unit_spec *u, char path[UNIT_DEV_MAX])
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int image = open(u->image, O_RDWR | O_DIRECT | O_CLOEXEC);
	int fd = -EBUSY, rc;

	if (control < 0 || image < 0)
		fd = -errno;
	for (int i = 0; i < ATTACH_TRIES && fd == -EBUSY; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);

		if (number < 0) {
			fd = -errno;
			break;
		}
		fd = open_loop(number, path);
		rc = fd < 0 ? -errno : configure(fd, image, u);
		if (rc == 0)
			break;
		/* Another took it in between: the next free one. */
		if (fd >= 0)
			close(fd);
		fd = rc;
		if (fd == -EBUSY)
			unit_sleep_ms(2);
	}
	if (control >= 0)
		close(control);
	if (image >= 0)
		close(image);
	return fd;
}

static void make_parents(const char *path)
{
	char at[UNIT_PATH_MAX];

	snprintf(at, sizeof(at), "%s", path);
	for (char *p = at + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(at, 0755);
		*p = '/';
	}
	mkdir(at, 0755);
}

int unit_attach(const struct unit_spec *u, char path[UNIT_DEV_MAX], char *text, size_t size)
{
	int fd, rc;

	if (u->backend == UNIT_SCSI)
		return unit_disk_attach(u, path, text, size);
	/* The one that a repair started serves the mount after it too. */
	if (u->backend == UNIT_ISCSI && unit_lun_gone(u, text, size) == 0) {
		make_parents(u->lun_dir);
		rc = unit_lun_start(u, text, size);
		if (rc)
			return rc;
	}
	fd = attach_loop(u, path);
	return fd < 0 ? say(fd, text, size, "%.150s: no loop device: %s", u->image, strerror(-fd)) : fd;
}

int unit_mount(const struct unit_spec *u, char *text, size_t size)
{
	char dev[UNIT_DEV_MAX];
	int fd, rc = 0;

	if (u->backend == UNIT_DIR)
		return 0;
	make_parents(u->root);
	fd = unit_attach(u, dev, text, size);
	if (fd < 0)
		return fd;
	/* No page of an earlier life of this device number may be taken for the disk's. */
	ioctl(fd, BLKFLSBUF, 0);
	if (mount(dev, u->root, u->fstype, MS_NOATIME | MS_NODEV | MS_NOSUID | MS_NOEXEC, "") < 0)
		rc = say(-errno, text, size, "%s on %s: mount: %s", dev, u->root,
			 strerror(errno));
	close(fd);
	return rc;
}

static void shut_down(const struct unit_spec *u)
{
	unsigned how = FS_NO_LOG_FLUSH;
	int fd = open(u->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	ioctl(fd, FS_SHUTDOWN, &how);
	close(fd);
}

int unit_unmount(const struct unit_spec *u, bool lost, char *text, size_t size)
{
	uint64_t until = loop_clock_ns() + UNMOUNT_NS;
	int rc = 0, n;

	if (u->backend == UNIT_DIR)
		return 0;
	if (lost && u->backend == UNIT_ISCSI)
		unit_lun_cut(u);
	if (lost && mounts_find(u->root, NULL) > 0)
		shut_down(u);
	while ((n = mounts_find(u->root, NULL)) > 0) {
		if (umount2(u->root, 0) == 0)
			continue;
		rc = -errno;
		if (rc != -EBUSY || loop_clock_ns() >= until)
			return say(rc, text, size, "%s: unmount: %s", u->root, strerror(-rc));
		unit_sleep_ms(5);
	}
	/* Detached when its last writes are done. A cut path cannot tell its image any more. */
	while ((rc = prove_detached(u, text, size)) == -EBUSY && loop_clock_ns() < until)
		unit_sleep_ms(2);
	if (rc == 0 && u->backend == UNIT_ISCSI)
		rc = unit_lun_end(u, text, size);
	if (rc == 0)
		rc = unit_prove_free(u, text, size);
	return n < 0 ? n : rc;
}

int unit_loop_blank(const struct unit_spec *u)
{
	size_t size = 1 << 20;
	int fd = open(u->image, O_RDONLY | O_CLOEXEC), blank = 1;
	uint8_t *p;
	ssize_t n;

	if (fd < 0)
		return -errno;
	p = malloc(size);
	n = p ? pread(fd, p, size, 0) : -1;
	close(fd);
	for (ssize_t i = 0; i < n; i++)
		if (p[i])
			blank = 0;
	free(p);
	return n < 0 ? -EIO : blank;
}
