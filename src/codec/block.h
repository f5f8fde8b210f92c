/* block.h - configuration on the coordination device: a Paxos block per node, and its texts.  Pure.
 *
 * Behind the slots (slot.h) each node has two copies of its block, one sector each, and six places
 * for the text of a configuration.  Only that node writes there.  Write number S of a block goes to
 * copy S & 1, so a write that tears leaves the one before it whole.  A text is written to a place
 * that neither copy refers to, and before the block that refers to it.
 *
 * The MAC and the CRC of a block stand where those of a slot do and are put in by whoever writes it.
 * The text is bound by its hash (BLAKE2b-256, io/seal), which the block names.  Byte tables are in
 * doc/coordination.md; what the fields mean is in core/chosen.h. */
#ifndef HF_CODEC_BLOCK_H
#define HF_CODEC_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/slot.h"

#define BLOCK_VERSION	  1
#define BLOCK_HASH_LEN	  32
#define BLOCK_NODES	  8
#define BLOCK_COPIES	  2
#define BLOCK_PLACES	  6 /* committed, accepted, one to write, and what each device may still name */
#define BLOCK_NO_PLACE	  0xff
#define BLOCK_TEXT_MAX	  65536
#define BLOCK_FIRST	  16 /* sector of node 1's first copy; 9 to 15 are reserved */
#define BLOCK_TEXT_FIRST  (BLOCK_FIRST + BLOCK_NODES * BLOCK_COPIES)
#define BLOCK_TEXT_SECTORS (1 + BLOCK_TEXT_MAX / SLOT_SIZE) /* a head, then the text */
#define BLOCK_AREA_SECTORS (BLOCK_TEXT_FIRST + BLOCK_NODES * BLOCK_PLACES * BLOCK_TEXT_SECTORS)

/* A version of the configuration: its text by hash, and what it follows. version 0: none. */
struct block_value {
	uint64_t version;
	uint32_t len;
	uint16_t author; /* node on which it was proposed, for people */
	uint64_t made_ns; /* CLOCK_REALTIME, for people */
	uint8_t hash[BLOCK_HASH_LEN], prev[BLOCK_HASH_LEN];
};

struct block {
	uint16_t node;
	uint8_t key_id;
	uint8_t cluster[16];
	uint64_t write_count;
	struct block_value committed; /* the latest that this node knows chosen */
	uint8_t committed_place;      /* where this node has its text, or BLOCK_NO_PLACE */
	uint64_t promised, accepted;  /* ballots for version committed.version + 1; 0: none */
	struct block_value value;     /* accepted with that ballot */
	uint8_t value_place;
};

uint64_t block_sector(unsigned node, uint64_t write_count);
uint64_t block_text_sector(unsigned node, unsigned place);

void block_encode(const struct block *b, uint8_t sector[SLOT_SIZE]);
/* 0; -ENODATA when blank; -EBADMSG when torn or malformed; -EPROTO for another version. */
int block_decode(struct block *b, const uint8_t sector[SLOT_SIZE]);

/* Which of the two copies counts, by what each was read as (0 or -errno): 0 or 1; -ENODATA when nothing
 * was ever written (a first write that tore beside a blank one is that too), -EBADMSG when both are
 * spoilt, which no single torn write can do. */
int block_newest(const struct block copy[BLOCK_COPIES], const int err[BLOCK_COPIES]);

/* First sector of a text's place: says what follows, for people and for repair by hand. */
struct block_text_head {
	uint16_t node;
	uint8_t key_id;
	uint8_t cluster[16];
	struct block_value value;
};
void block_text_encode(const struct block_text_head *h, uint8_t sector[SLOT_SIZE]);
int block_text_decode(struct block_text_head *h, const uint8_t sector[SLOT_SIZE]);

#endif
