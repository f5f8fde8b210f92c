/* buf.h - cursors over a bounded buffer, big-endian, with a sticky error.
 *
 * A reader past the end returns zeros and remembers it; a writer past the end writes nothing and
 * remembers it.  Code reads or writes all fields and asks once: rd_ok(), rd_done(), wr_ok().
 * The memory belongs to the caller. */
#ifndef HF_BASE_BUF_H
#define HF_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rd {
	const uint8_t *p, *end;
	bool bad;
};

struct wr {
	uint8_t *start, *p, *end;
	bool bad;
};

static inline void rd_init(struct rd *r, const void *data, size_t len)
{
	r->p = data;
	r->end = r->p + len;
	r->bad = false;
}

static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}

static inline bool rd_ok(const struct rd *r)
{
	return !r->bad;
}

/* Everything was read and nothing is left over. */
static inline bool rd_done(const struct rd *r)
{
	return !r->bad && r->p == r->end;
}

/* Takes `n` bytes in place; NULL (and the sticky error) when they are not there. */
static inline const uint8_t *rd_bytes(struct rd *r, size_t n)
{
	const uint8_t *at = r->p;

	if (r->bad || rd_left(r) < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return at;
}

static inline uint8_t rd_u8(struct rd *r)
{
	const uint8_t *b = rd_bytes(r, 1);

	return b ? b[0] : 0;
}

static inline uint16_t rd_u16(struct rd *r)
{
	const uint8_t *b = rd_bytes(r, 2);

	return b ? (uint16_t)((uint16_t)b[0] << 8 | b[1]) : 0;
}

static inline uint32_t rd_u32(struct rd *r)
{
	const uint8_t *b = rd_bytes(r, 4);

	return b ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

static inline uint64_t rd_u64(struct rd *r)
{
	uint64_t hi = rd_u32(r);

	return hi << 32 | rd_u32(r);
}

static inline void rd_copy(struct rd *r, void *to, size_t n)
{
	const uint8_t *b = rd_bytes(r, n);

	if (b)
		memcpy(to, b, n);
	else
		memset(to, 0, n);
}

static inline void wr_init(struct wr *w, void *data, size_t size)
{
	w->start = w->p = data;
	w->end = w->p + size;
	w->bad = false;
}

static inline size_t wr_len(const struct wr *w)
{
	return (size_t)(w->p - w->start);
}

static inline size_t wr_left(const struct wr *w)
{
	return (size_t)(w->end - w->p);
}

static inline bool wr_ok(const struct wr *w)
{
	return !w->bad;
}

/* Makes room for `n` bytes and returns where they go; NULL (and the sticky error) when full. */
static inline uint8_t *wr_room(struct wr *w, size_t n)
{
	uint8_t *at = w->p;

	if (w->bad || wr_left(w) < n) {
		w->bad = true;
		return NULL;
	}
	w->p += n;
	return at;
}

static inline void put_u32(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
	uint8_t *b = wr_room(w, 1);

	if (b)
		b[0] = v;
}

static inline void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t *b = wr_room(w, 2);

	if (b) {
		b[0] = (uint8_t)(v >> 8);
		b[1] = (uint8_t)v;
	}
}

static inline void wr_u32(struct wr *w, uint32_t v)
{
	uint8_t *b = wr_room(w, 4);

	if (b)
		put_u32(b, v);
}

static inline void wr_u64(struct wr *w, uint64_t v)
{
	uint8_t *b = wr_room(w, 8);

	if (b) {
		put_u32(b, (uint32_t)(v >> 32));
		put_u32(b + 4, (uint32_t)v);
	}
}

static inline void wr_bytes(struct wr *w, const void *data, size_t n)
{
	uint8_t *b = wr_room(w, n);

	if (b && n)
		memcpy(b, data, n);
}

static inline void wr_zero(struct wr *w, size_t n)
{
	uint8_t *b = wr_room(w, n);

	if (b && n)
		memset(b, 0, n);
}

#endif
