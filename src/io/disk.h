/* disk.h - a coordination device: a file or block device with one 4 KiB sector per node.
 *
 * Written and read through the loop's io_uring with O_DIRECT and O_DSYNC, so that what was written
 * is on the device and what is read comes from it; where O_DIRECT is refused (tmpfs) one line says
 * so and the page cache of this one machine is shared instead.  At most one write and one read are
 * in flight; what the sectors say is codec/slot.h's business. */
#ifndef HF_IO_DISK_H
#define HF_IO_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

#define DISK_SECTOR  4096
#define DISK_SECTORS 9 /* a header and eight slots */

struct disk {
	/* Called from the loop; err 0 or -errno.  `tag` is what the call gave. */
	void (*on_written)(struct disk *d, uint64_t tag, int err);
	void (*on_read)(struct disk *d, uint64_t tag, int err);
	/* (disk) */
	struct loop *loop;
	char path[256];
	int fd;
	bool direct;
	struct loop_op write_op, read_op;
	uint64_t write_tag, read_tag;
	uint8_t *out, (*in)[DISK_SECTOR]; /* aligned; in: all sectors, valid in on_read */
};

/* 0 or -errno with one line in `err`.  The device must exist (holdfast init). */
int disk_open(struct disk *d, struct loop *l, const char *path, char *err, size_t err_size);
void disk_close(struct disk *d);
/* Copies one sector and writes it at its place; -EBUSY when the last write is not done. */
int disk_write(struct disk *d, unsigned sector, const uint8_t data[DISK_SECTOR], uint64_t tag);
/* Reads all sectors; -EBUSY when the last read is not done. */
int disk_read(struct disk *d, uint64_t tag);
/* Without a loop, blocking: makes a new area (-EEXIST when the header is not blank), or reads the
 * first sector. */
int disk_make(const char *path, const uint8_t header[DISK_SECTOR], char *err, size_t err_size);

#endif
