/* held.h - "what do you hold of me?" and the answer: inside envelopes 257 and 258.  Pure.
 *
 *	off size field
 *	  0    4 magic "HFM1"
 *	  4    1 version, 1
 *	  5    3 zero
 *	  8   16 nonce of the question, repeated by the answer: an old answer answers nothing
 *	 24    . answer only: the status message of the asker that is held; nothing: none is held */
#ifndef HF_CODEC_HELD_H
#define HF_CODEC_HELD_H

#include <stddef.h>
#include <stdint.h>

#define HELD_NONCE 16
#define HELD_HEAD  24

struct held {
	uint8_t nonce[HELD_NONCE];
	const uint8_t *status; /* into the bytes after decode */
	size_t status_len;
};

/* Bytes written, or 0 when it does not fit. */
size_t held_encode(const struct held *h, uint8_t *out, size_t size);
/* 0; -EBADMSG; -EPROTO for another version. */
int held_decode(struct held *h, const uint8_t *in, size_t len);

#endif
