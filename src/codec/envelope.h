/* envelope.h - what a cluster message looks like on a network path.  Pure; the crypto is done by
 * io/seal.
 *
 *	off size field
 *	  0    4 magic "HFE1"
 *	  4    1 envelope version, 1
 *	  5    1 key id (rotation: a node sends with one, accepts several)
 *	  6    2 sender node
 *	  8    2 receiver node
 *	 10    2 path: the sender's number of the network path; from 256 on what else may be inside
 *	 12    4 length of what follows the nonce: ciphertext and tag
 *	 16   24 nonce (XChaCha20-Poly1305-IETF), never used twice with one key
 *	 40    . ciphertext of the status message
 *	  .   16 tag; bytes 0 to 15 and the cluster's 16-byte id are the additional data
 *
 * Sender, receiver, path and cluster are authenticated, so a message cannot be reflected or moved to
 * another path; a replayed one is dropped by (generation, sequence) in core. */
#ifndef HF_CODEC_ENVELOPE_H
#define HF_CODEC_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#define ENVELOPE_AAD	  16
#define ENVELOPE_NONCE	  24
#define ENVELOPE_HEAD	  (ENVELOPE_AAD + ENVELOPE_NONCE)
#define ENVELOPE_TAG	  16
#define ENVELOPE_OVERHEAD (ENVELOPE_HEAD + ENVELOPE_TAG)

/* Path numbers for what is no heartbeat. */
#define ENVELOPE_MEMORY_WRITE 256 /* a status message for the receiver's persistent memory */
#define ENVELOPE_MEMORY_ASK   257 /* codec/held.h */
#define ENVELOPE_MEMORY_HELD  258 /* codec/held.h */

struct envelope {
	uint8_t version, key_id;
	uint16_t sender, receiver, path;
	uint32_t body_len;	 /* ciphertext and tag */
	const uint8_t *nonce;	 /* into the packet */
	const uint8_t *body;	 /* into the packet: ciphertext, then tag */
};

/* Writes the 40 header bytes with an empty nonce (the caller fills ENVELOPE_NONCE bytes at
 * ENVELOPE_AAD) and returns ENVELOPE_HEAD, or 0 when `size` is too small for the whole packet. */
size_t envelope_encode(const struct envelope *e, uint8_t *out, size_t size);
/* 0, -EBADMSG (not ours, cut, trailing bytes), or -EPROTO for another version. */
int envelope_decode(struct envelope *e, const uint8_t *in, size_t len);

#endif
