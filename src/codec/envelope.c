/* envelope.c - the frame of a cluster message on a network path. */
#include "codec/envelope.h"

#include <errno.h>

#include "base/buf.h"

#define MAGIC   0x48464531U /* "HFE1" */
#define VERSION 1

size_t envelope_encode(const struct envelope *e, uint8_t *out, size_t size)
{
	struct wr w;

	if (size < ENVELOPE_HEAD || size - ENVELOPE_HEAD < e->body_len)
		return 0;
	wr_init(&w, out, size);
	wr_u32(&w, MAGIC);
	wr_u8(&w, VERSION);
	wr_u8(&w, e->key_id);
	wr_u16(&w, e->sender);
	wr_u16(&w, e->receiver);
	wr_u16(&w, e->path);
	wr_u32(&w, e->body_len);
	wr_zero(&w, ENVELOPE_NONCE);
	return wr_len(&w);
}

int envelope_decode(struct envelope *e, const uint8_t *in, size_t len)
{
	struct rd r;

	memset(e, 0, sizeof(*e));
	rd_init(&r, in, len);
	if (rd_u32(&r) != MAGIC)
		return -EBADMSG;
	e->version = rd_u8(&r);
	if (rd_ok(&r) && e->version != VERSION)
		return -EPROTO;
	e->key_id = rd_u8(&r);
	e->sender = rd_u16(&r);
	e->receiver = rd_u16(&r);
	e->path = rd_u16(&r);
	e->body_len = rd_u32(&r);
	e->nonce = rd_bytes(&r, ENVELOPE_NONCE);
	if (!rd_ok(&r) || e->body_len < ENVELOPE_TAG || e->body_len != rd_left(&r))
		return -EBADMSG;
	e->body = rd_bytes(&r, e->body_len);
	return rd_done(&r) ? 0 : -EBADMSG;
}
