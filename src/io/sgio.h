/* sgio.h - asking a block device about itself: SG_IO for SCSI, the passthrough for NVMe.
 *
 * All of it reads.  A UNIT ATTENTION tells of something past and is read over, a few of them (F2);
 * everything else that is not GOOD is an error: -EBADE reservation conflict, -EOPNOTSUPP illegal
 * request, -ENODATA not ready, -ETIMEDOUT, -EIO. */
#ifndef HF_IO_SGIO_H
#define HF_IO_SGIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/prin.h"

#define SGIO_MS 3000

/* VPD page 83h; its length or -errno. */
int sgio_page83(int fd, uint8_t *page, size_t size);
/* Keys, reservation and, where asked for, who the registrants are and whether the device remembers
 * them through a power loss. */
int sgio_status(int fd, bool nvme, bool details, struct prin_status *st);
/* REGISTER (with `old` 0: AND IGNORE EXISTING KEY) without APTPL, for targets that have none of it. */
int sgio_register_plain(int fd, uint64_t old, uint64_t new);
/* Takes waiting UNIT ATTENTIONs off the device. */
void sgio_settle(int fd);

#endif
