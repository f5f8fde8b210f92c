/* mounts.h - is something mounted there?  As this process's mount namespace says it, without touching what
 * is mounted: that may hang or fail. */
#ifndef HF_IO_MOUNTS_H
#define HF_IO_MOUNTS_H

#include <sys/types.h>

/* 1: yes, and *dev (if wanted) is the device of what was mounted last; 0: no; -errno: nobody knows.  The
 * path may go through symbolic links, have slashes too many, and any bytes. */
int mounts_find(const char *path, dev_t *dev);

#endif
