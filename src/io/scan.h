/* scan.h - which block devices are paths to a storage unit (VS-107, VS-108, VS-111).
 *
 * A unit is known by its WWID alone.  What the kernel read from each device when it found it
 * (sysfs: VPD page 83h, NVMe's uuid, nguid or eui) says which devices to look at, without any I/O;
 * who means to use one asks the device itself (sgio_wwid()), because a target may have put
 * another unit behind a path since.
 *
 * Several devices with one WWID are paths of one unit.  If device-mapper multipath has put them
 * together, its map is what is mounted and the paths below are where keys are registered. */
#ifndef HF_IO_SCAN_H
#define HF_IO_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/wwid.h"

#define SCAN_PATHS_MAX 16
#define SCAN_DEV_MAX   64
#define SCAN_DEFAULT   "/dev/sd* /dev/nvme*n*"

struct scan_path {
	char dev[SCAN_DEV_MAX];
	unsigned major, minor;
	bool nvme;
	bool up;	/* by the kernel's own view of it */
	char state[24]; /* its word for that */
	char map[SCAN_DEV_MAX]; /* the multipath map on it; empty: none */
};

struct scan {
	unsigned count;
	struct scan_path path[SCAN_PATHS_MAX];
	unsigned left_off; /* more than there is room for */
};

/* Paths of the unit among the devices that `globs` (words) name, each once.  0 or -errno. */
int scan_unit(const char *globs, const char *wwid, struct scan *out);

/* For people: every device, with the names it has (best first); `fn` returns false to stop. */
typedef bool scan_fn(void *arg, const struct scan_path *p, int names, char name[][WWID_MAX],
		     uint64_t bytes);
int scan_all(const char *globs, scan_fn *fn, void *arg);

#endif
