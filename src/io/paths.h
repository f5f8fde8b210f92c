/* paths.h - the block devices of one `scsi` unit, opened and asked who they are.
 *
 * A device is a path of the unit only if it says so itself now.  One that says another name than the
 * kernel remembers has had something else put behind it: then the whole unit is refused, because
 * nobody knows which of the two views the file system would get (VS-107). */
#ifndef HF_IO_PATHS_H
#define HF_IO_PATHS_H

#include "io/scan.h"
#include "io/unit.h"

struct paths {
	struct scan scan;
	int fd[SCAN_PATHS_MAX]; /* read-only, not exclusive; -1: this path is bad */
	int err[SCAN_PATHS_MAX]; /* why */
	unsigned good;
	char text[160];
};

/* 0; -ENODEV nothing has that name; -EXDEV something else is behind a path; -EIO none answers.  Then
 * `text` is a line for people. paths_close() in any case. */
int paths_open(struct paths *p, const struct unit_spec *u);
void paths_close(struct paths *p);
/* What to mount: the multipath map over the paths, else the first good one; -1: none. */
int paths_best(const struct paths *p);
const char *paths_data(const struct paths *p, int at);
/* F1: nothing holds path `at`, in any namespace; its buffers are dropped.  `ours`: the unit's own mount
 * may.  0, -EBUSY, -errno. */
int paths_prove(const struct paths *p, unsigned at, const struct unit_spec *u, bool ours);
/* Bytes before the unit's last 64 KiB, where S is; 0 or -errno. */
int paths_area(int fd, uint64_t *at);

#endif
