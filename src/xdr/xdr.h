/* xdr.h - what the generated codecs (tools/xdrgen) stand on: XDR over the cursors of base/buf.h.
 *
 * xdr_get_X(reader, &x) decodes in place: a struct xdr_bytes points into the message, which must
 * outlive it.  xdr_put_X(writer, &x) encodes.  Errors are the cursor's sticky ones, asked for
 * once at the end: after a bad read the struct's fields mean nothing. */
#ifndef HF_XDR_XDR_H
#define HF_XDR_XDR_H

#include "base/buf.h"

/* A string or an opaque of variable length; no NUL at its end. */
struct xdr_bytes {
	const uint8_t *p;
	uint32_t n;
};

static inline size_t xdr_padded(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

static inline uint32_t xdr_take32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline uint64_t xdr_take64(const uint8_t *b)
{
	return (uint64_t)xdr_take32(b) << 32 | xdr_take32(b + 4);
}

static inline void xdr_put64(uint8_t *b, uint64_t v)
{
	put_u32(b, (uint32_t)(v >> 32));
	put_u32(b + 4, (uint32_t)v);
}

/* Any padding bytes are accepted; senders differ. */
static inline void xdr_get_bytes(struct rd *r, struct xdr_bytes *v, uint32_t max)
{
	v->n = rd_u32(r);
	if (v->n > max)
		r->bad = true;
	v->p = rd_bytes(r, xdr_padded(v->n));
	if (v->p == NULL)
		v->n = 0;
}

static inline void xdr_put_bytes(struct wr *w, const struct xdr_bytes *v)
{
	uint8_t *b = wr_room(w, 4 + xdr_padded(v->n));

	if (b == NULL)
		return;
	put_u32(b, v->n);
	if (v->n == 0)
		return;
	memset(b + xdr_padded(v->n), 0, 4);
	memcpy(b + 4, v->p, v->n);
}

#endif
