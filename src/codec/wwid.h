/* wwid.h - what a storage unit is called by its device: designators of VPD page 83h.  Pure.
 *
 * A unit is known by a designator of the logical unit itself, never by a device name or address
 * (VS-107, VS-108).  As text, in the form that udev and multipath use:
 *
 *	naa.600508b1001c4d1f	NAA (type 3), binary, lower case
 *	eui.0017380000001234	EUI-64 (type 2)
 *	t10.IET     00010001	T10 vendor identification (type 1), trailing blanks cut, others kept
 *	uuid.2f8a..., nvme.144d-...	NVMe, as the kernel says it (sysfs `wwid`; eui. too)
 *
 * A logical unit may have several; the page comes from a target and is not trusted. */
#ifndef HF_CODEC_WWID_H
#define HF_CODEC_WWID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WWID_MAX   96 /* with the NUL */
#define WWID_COUNT 8

/* The page's names into `out`, at most WWID_COUNT, best first (naa, eui, t10); how many.
 * -EBADMSG: no such page. */
int wwid_list(const uint8_t *page, size_t len, char out[WWID_COUNT][WWID_MAX]);
/* Is `wwid` one of them? */
bool wwid_has(const uint8_t *page, size_t len, const char *wwid);
/* Could `text` be one at all?  For the configuration. */
bool wwid_is_valid(const char *text);

#endif
