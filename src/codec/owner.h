/* owner.h - the ownership record S of a storage unit (FO-17, OV-13, F2, F3, F5).  Pure.
 *
 * One 512-byte record, written in one sector.  MAC (keyed BLAKE2b-256 of bytes 0 to 475, by
 * io/seal) and CRC are put in like those of a slot.  An owner of 0 is "U", unowned; the epoch is
 * never lowered. */
#ifndef HF_CODEC_OWNER_H
#define HF_CODEC_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OWNER_SIZE    512
#define OWNER_VERSION 1
#define OWNER_MAC_OFF 476
#define OWNER_MAC_LEN 32
#define OWNER_CRC_OFF 508

struct owner {
	uint8_t cluster[16];
	uint8_t unit_uuid[16];	/* given to the unit when it was made */
	uint32_t unit;		/* node_name_id() of the unit's name */
	uint16_t node;		/* 0: unowned */
	uint8_t key_id;
	uint64_t generation;	/* boot generation of the owner */
	uint64_t epoch;		/* grows with every change of S */
	uint64_t previous_epoch;/* what the writer found */
	uint16_t previous_node;
	uint8_t boot_id[16];	/* of the owner's machine (dir: F5) */
	uint32_t pid;		/* of the owner's holdfastd, for people */
	uint64_t written_ns;	/* CLOCK_REALTIME, for people */
	char node_name[32];	/* for people */
};

void owner_encode(const struct owner *o, uint8_t record[OWNER_SIZE]);
void owner_finish(uint8_t record[OWNER_SIZE]);
/* 0; -ENODATA when blank; -EBADMSG when torn or malformed; -EPROTO for another version. */
int owner_decode(struct owner *o, const uint8_t record[OWNER_SIZE]);
/* The 64-bit reservation key of one instance of a node: never 0, other for every generation. */
uint64_t owner_key(uint16_t node, uint64_t generation);

#endif
