/* slot.h - the coordination device: a header sector and one 4 KiB sector per node.  Pure.
 *
 * Sector 0 is the header, sector N (1 to 8) the slot of node N.  A slot is written whole, in one
 * write, by its node only.  Byte tables are in doc/coordination.md.
 *
 * The MAC (keyed BLAKE2b-256 of bytes 0 to 4059, by io/seal) and then the CRC over bytes 0 to 4091
 * are put in by whoever writes the sector: slot_encode() leaves both zero, the writer puts the MAC
 * at SLOT_MAC_OFF and calls slot_finish().  The reader checks slot_intact(), the MAC, and hands
 * the sector to core, which decodes it.  The same sector without a MAC is the node's persistent
 * memory (a file in state_dir). */
#ifndef HF_CODEC_SLOT_H
#define HF_CODEC_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_SIZE	 4096
#define SLOT_VERSION	 1
#define SLOT_PAYLOAD_MAX 3008
#define SLOT_MAILBOX_MAX 960 /* reserved for messages beyond the status payload; length 0 now */
#define SLOT_KEY_ID_OFF	 12 /* for whoever puts in the MAC */
#define SLOT_MAC_OFF	 4060
#define SLOT_MAC_LEN	 32
#define SLOT_CRC_OFF	 4092
#define SLOT_OFFSET(node) ((uint64_t)(node)*SLOT_SIZE)

struct slot {
	uint16_t node;
	uint8_t key_id;
	uint8_t cluster[16];
	uint64_t generation, sequence;
	uint64_t write_count; /* of this sector since the device was made */
	const uint8_t *payload; /* a status message; into the sector after decode */
	size_t payload_len;
	const uint8_t *mailbox;
	size_t mailbox_len;
};

void slot_encode(const struct slot *s, uint8_t sector[SLOT_SIZE]);
void slot_finish(uint8_t sector[SLOT_SIZE]);
bool slot_blank(const uint8_t sector[SLOT_SIZE]);  /* never written */
bool slot_intact(const uint8_t sector[SLOT_SIZE]); /* magic and CRC */
bool slot_crc_good(const uint8_t sector[SLOT_SIZE]); /* of any sector in a shared area */
/* 0; -ENODATA when blank; -EBADMSG when torn or malformed; -EPROTO for another version. */
int slot_decode(struct slot *s, const uint8_t sector[SLOT_SIZE]);
/* The same without the CRC, for a sector that was found intact already: MAC and CRC cover it. */
int slot_parse(struct slot *s, const uint8_t sector[SLOT_SIZE]);

/* What the last read of a sector found, if it was bad. */
struct slot_bad {
	bool bad, told;
	uint8_t tail[SLOT_SIZE - SLOT_MAC_OFF];
};
/* Is it news that this read found it bad (`err`, of slot_decode() or of its MAC)?  Once for as long as
 * the same sector lies there, and only if the read before was bad too: a read in the middle of its
 * owner's write may be torn (a file is no disk), and the next is whole. */
bool slot_bad_news(struct slot_bad *b, const uint8_t sector[SLOT_SIZE], int err);

/* Sector 0: names the cluster and the device, so that a wrong disk is noticed. */
struct slot_header {
	uint8_t cluster[16];
	uint16_t device;       /* number, from 0 */
	uint16_t device_count; /* of the cluster when it was made */
	uint16_t node_count;   /* slots reserved, 8 */
	uint8_t key_id;
	uint64_t made_ns; /* CLOCK_REALTIME */
};
void slot_header_encode(const struct slot_header *h, uint8_t sector[SLOT_SIZE]);
int slot_header_decode(struct slot_header *h, const uint8_t sector[SLOT_SIZE]);

#endif
