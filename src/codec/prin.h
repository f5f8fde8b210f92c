/* prin.h - what a device says about reservations and about itself: bytes into structs.  Pure.
 *
 *	SCSI	PERSISTENT RESERVE IN (SPC-4 6.15): keys, reservation, capabilities, full status;
 *		fixed and descriptor sense data (4.5)
 *	NVMe	Reservation Report with extended data (base specification, figure "Reservation Status
 *		Extended")
 *
 * The bytes come from a target over a wire: lengths in them are not trusted, and what is longer than
 * what arrived is said (`total`), never read. */
#ifndef HF_CODEC_PRIN_H
#define HF_CODEC_PRIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRIN_KEYS_MAX 64
#define PRIN_SIZE     8192 /* enough for PRIN_KEYS_MAX registrants of full status */
#define PRIN_NAME_MAX 80

#define PRIN_TYPE_WE_RO 5 /* Write Exclusive - Registrants Only, in SCSI's numbers */

/* One registrant: a key on one way from an initiator port to a target port. */
struct prin_registrant {
	uint64_t key;
	bool holder;
	uint16_t port;		  /* relative target port; NVMe: the controller */
	char name[PRIN_NAME_MAX]; /* of the initiator, as far as it is text; NVMe: the host */
};

struct prin_status {
	uint32_t generation;
	bool held;
	uint8_t type; /* SCSI's numbers, NVMe's are translated; 0: none */
	uint64_t holder; /* 0: nobody, or all registrants */
	unsigned count, total; /* total: what the device says it has */
	struct prin_registrant registrant[PRIN_KEYS_MAX];
	bool ptpl_known, ptpl_capable, ptpl_active; /* survives a power loss of the target (APTPL) */
};

/* Each fills in its part of `st` and leaves the rest: keys without names; then the holder.  0 or
 * -EBADMSG. */
int prin_keys(const uint8_t *p, size_t len, struct prin_status *st);
int prin_reservation(const uint8_t *p, size_t len, struct prin_status *st);
int prin_capabilities(const uint8_t *p, size_t len, struct prin_status *st);
/* Registrants, and the holder if one of them has it. */
int prin_full(const uint8_t *p, size_t len, struct prin_status *st);
/* All of it at once. */
int prin_nvme(const uint8_t *p, size_t len, struct prin_status *st);

struct prin_sense {
	uint8_t key, asc, ascq;
};
#define SENSE_NOT_READY	    2
#define SENSE_ILLEGAL	    5
#define SENSE_ATTENTION	    6

/* False when there is none. */
bool prin_sense(const uint8_t *p, size_t len, struct prin_sense *out);
/* SCSI's number of a type of NVMe; 0 for one that does not exist. */
uint8_t prin_type_of_nvme(uint8_t type);
const char *prin_type_name(uint8_t type);

#endif
