/* held.c - the question to a partner's persistent memory, and its answer. */
#include "codec/held.h"

#include <errno.h>

#include "base/buf.h"
#include "codec/status.h"

#define MAGIC	0x48464d31U /* "HFM1" */
#define VERSION 1

size_t held_encode(const struct held *h, uint8_t *out, size_t size)
{
	struct wr w;

	wr_init(&w, out, size);
	wr_u32(&w, MAGIC);
	wr_u8(&w, VERSION);
	wr_zero(&w, 3);
	wr_bytes(&w, h->nonce, HELD_NONCE);
	if (h->status_len)
		wr_bytes(&w, h->status, h->status_len);
	return wr_ok(&w) ? wr_len(&w) : 0;
}

int held_decode(struct held *h, const uint8_t *in, size_t len)
{
	uint8_t version;
	struct rd r;

	memset(h, 0, sizeof(*h));
	rd_init(&r, in, len);
	if (rd_u32(&r) != MAGIC)
		return -EBADMSG;
	version = rd_u8(&r);
	if (rd_ok(&r) && version != VERSION)
		return -EPROTO;
	rd_bytes(&r, 3);
	rd_copy(&r, h->nonce, HELD_NONCE);
	if (!rd_ok(&r) || rd_left(&r) > STATUS_MAX)
		return -EBADMSG;
	h->status_len = rd_left(&r);
	h->status = rd_bytes(&r, h->status_len);
	return rd_done(&r) ? 0 : -EBADMSG;
}
