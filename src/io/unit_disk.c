/* unit_disk.c - a `scsi` unit's file system is on the block device itself: what to mount, and F1.
 *
 * The ownership record has the device's last 64 KiB, so a file system that reaches into them is
 * refused before anything is mounted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/paths.h"
#include "io/reserve.h"

#define SUPER_AT   1024 /* of ext4; xfs has its own at 0 */
#define SUPER_READ 4096

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static uint64_t be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* Bytes that the file system takes, by its superblock; 0: none that is known. */
static uint64_t fs_bytes(const uint8_t *block)
{
	const uint8_t *s = block + SUPER_AT;
	uint64_t shift;

	if (memcmp(block, "XFSB", 4) == 0)
		return be(block + 4, 4) * be(block + 8, 8);
	if (s[0x38] != 0x53 || s[0x39] != 0xef)
		return 0;
	shift = le(s + 0x18, 4);
	if (shift > 6)
		return UINT64_MAX;
	return (le(s + 4, 4) | (le(s + 0x60, 4) & 0x80 ? le(s + 0x150, 4) << 32 : 0)) << (10 + shift);
}

/* 0; -EFBIG: it covers S; -ENODATA: there is none. */
static int check_super(int fd, uint64_t *area)
{
	uint8_t block[SUPER_READ];
	uint64_t bytes;
	int rc = paths_area(fd, area);

	if (rc)
		return rc;
	if (pread(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block))
		return -EIO;
	bytes = fs_bytes(block);
	return bytes == 0 ? -ENODATA : bytes > *area ? -EFBIG : 0;
}

int unit_disk_attach(const struct unit_spec *u, char dev[UNIT_DEV_MAX], char *text, size_t size)
{
	struct paths p;
	uint64_t area = 0;
	int rc = paths_open(&p, u), fd = -1, best;

	if (rc) {
		snprintf(text, size, "%.60s: %.120s", u->wwid, p.text);
		paths_close(&p);
		return rc;
	}
	best = paths_best(&p);
	snprintf(dev, UNIT_DEV_MAX, "%s", paths_data(&p, best));
	fd = open(dev, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : check_super(fd, &area);
	paths_close(&p);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	snprintf(text, size, rc == -EFBIG   ? "%.60s: the file system covers the ownership record; at "
					      "most %llu KiB are free for it" :
			     rc == -ENODATA ? "%.60s: no file system; make one of at most %llu KiB" :
					      "%.60s: cannot be read (%llu KiB)",
		 dev, (unsigned long long)(area >> 10));
	return rc;
}

/* An exclusive open claims the device before the driver is asked, so these come from one that nobody
 * holds and that is not there at the moment.  It gets no key until it answers and is proved anew. */
static bool is_away(int rc)
{
	return rc == -ENXIO || rc == -EIO || rc == -ENODEV || rc == -ENOMEDIUM;
}

int unit_disk_prove_free(const struct unit_spec *u, char *text, size_t size)
{
	struct paths p = {.good = 0};
	int rc = scan_unit(u->devices, u->wwid, &p.scan);

	if (rc)
		snprintf(text, size, "%.60s: %s", u->devices, strerror(-rc));
	for (unsigned i = 0; i < p.scan.count && rc == 0; i++) {
		rc = paths_prove(&p, i, u, false);
		if (is_away(rc))
			rc = 0;
		if (rc)
			snprintf(text, size, "%.40s: %s", p.scan.path[i].dev,
				 rc == -EBUSY ? "something holds it: a mount in some namespace, a loop "
						"device, a map" :
						strerror(-rc));
	}
	return rc;
}
