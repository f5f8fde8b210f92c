/* disk.c - sectors of coordination devices through io_uring. */
#include "io/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/block.h"

#define AREA ((size_t)DISK_SECTORS * DISK_SECTOR)

static void on_written(struct loop_op *op, int res)
{
	struct disk *d = LIST_OWNER(op, struct disk, write_op);

	d->on_written(d, d->write_tag, res < 0 ? res : res == DISK_SECTOR ? 0 : -EIO);
}

static void on_read(struct loop_op *op, int res)
{
	struct disk *d = LIST_OWNER(op, struct disk, read_op);

	d->on_read(d, d->read_tag, res < 0 ? res : res == (int)AREA ? 0 : -EIO);
}

static int open_device(const char *path, bool *direct)
{
	int fd = open(path, O_RDWR | O_DSYNC | O_DIRECT | O_CLOEXEC);

	*direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDWR | O_DSYNC | O_CLOEXEC);
	return fd;
}

int disk_open(struct disk *d, struct loop *l, const char *path, char *err, size_t err_size)
{
	int rc;

	snprintf(d->path, sizeof(d->path), "%s", path);
	d->loop = l;
	d->write_op = (struct loop_op){.done = on_written};
	d->read_op = (struct loop_op){.done = on_read};
	d->fd = open_device(path, &d->direct);
	if (d->fd < 0) {
		rc = -errno;
		snprintf(err, err_size, "%s: the coordination device cannot be opened: %s%s", path,
			 strerror(-rc), rc == -ENOENT ? " (make it: holdfast init)" : "");
		return rc;
	}
	if (!d->direct)
		log_notice("disk %s: direct I/O is refused here, going through the page cache",
			   path);
	if (!d->out) {
		d->out = mem_aligned(DISK_SECTOR, DISK_SECTOR);
		d->in = mem_aligned(DISK_SECTOR, AREA);
	}
	return 0;
}

void disk_close(struct disk *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	/* Buffers of operations that the kernel has not given back stay: it may still use them. */
	if (d->write_op.busy || d->read_op.busy)
		return;
	free(d->out);
	free(d->in);
	d->out = NULL;
	d->in = NULL;
}

int disk_write(struct disk *d, unsigned sector, const uint8_t data[DISK_SECTOR], uint64_t tag)
{
	if (d->fd < 0)
		return -ENODEV;
	if (d->write_op.busy)
		return -EBUSY;
	memcpy(d->out, data, DISK_SECTOR);
	d->write_tag = tag;
	loop_write(d->loop, &d->write_op, d->fd, d->out, DISK_SECTOR,
		   (uint64_t)sector * DISK_SECTOR);
	return 0;
}

int disk_read(struct disk *d, uint64_t tag)
{
	if (d->fd < 0)
		return -ENODEV;
	if (d->read_op.busy)
		return -EBUSY;
	d->read_tag = tag;
	loop_read(d->loop, &d->read_op, d->fd, d->in, AREA, 0);
	return 0;
}

/* Configuration blocks and texts (codec/block.h): written now, so there is room for them later. */
static int make_blocks(int fd)
{
	uint8_t *zero = mem_aligned(DISK_SECTOR, DISK_SECTOR);
	int rc = 0;

	memset(zero, 0, DISK_SECTOR);
	for (uint64_t s = DISK_SECTORS; s < BLOCK_AREA_SECTORS && rc == 0; s++) {
		ssize_t n = pwrite(fd, zero, DISK_SECTOR, (off_t)(s * DISK_SECTOR));

		if (n != DISK_SECTOR)
			rc = n < 0 ? -errno : -ENOSPC;
	}
	free(zero);
	return rc;
}

static int make_area(int fd, uint8_t *area, const uint8_t header[DISK_SECTOR])
{
	ssize_t n = pread(fd, area, AREA, 0);
	int rc;

	if (n < 0)
		return -errno;
	for (ssize_t i = 0; i < n; i++)
		if (area[i])
			return -EEXIST;
	memset(area, 0, AREA);
	memcpy(area, header, DISK_SECTOR);
	n = pwrite(fd, area, AREA, 0);
	if (n != (ssize_t)AREA)
		return n < 0 ? -errno : -ENOSPC;
	rc = make_blocks(fd);
	if (rc)
		return rc;
	return fsync(fd) < 0 ? -errno : 0;
}

int disk_make(const char *path, const uint8_t header[DISK_SECTOR], char *err, size_t err_size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc;
	bool made = fd >= 0;
	uint8_t *area;

	if (fd < 0 && errno == EEXIST)
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		snprintf(err, err_size, "%s: the coordination device cannot be made: %s", path,
			 strerror(-rc));
		return rc;
	}
	area = mem_aligned(DISK_SECTOR, AREA);
	rc = make_area(fd, area, header);
	free(area);
	close(fd);
	if (rc && made)
		unlink(path);
	if (rc == -EEXIST)
		snprintf(err, err_size, "%s: is not blank, nothing was changed (wipe it by hand if "
			 "it is really meant)", path);
	else if (rc)
		snprintf(err, err_size, "%s: the coordination area cannot be written: %s", path,
			 strerror(-rc));
	return rc;
}
