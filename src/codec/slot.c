/* slot.c - sectors of the coordination device. */
#include "codec/slot.h"

#include <errno.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/crc32c.h"

#define PAYLOAD_OFF 64
#define MAILBOX_OFF (PAYLOAD_OFF + SLOT_PAYLOAD_MAX)

_Static_assert(MAILBOX_OFF + SLOT_MAILBOX_MAX <= SLOT_MAC_OFF, "areas do not overlap");
_Static_assert(SLOT_MAC_OFF + SLOT_MAC_LEN == SLOT_CRC_OFF, "the CRC covers the MAC");

static const uint8_t slot_magic[8] = {'H', 'F', 'S', 'L', 'O', 'T', '0', '1'};
static const uint8_t head_magic[8] = {'H', 'F', 'C', 'O', 'O', 'R', 'D', '1'};

void slot_encode(const struct slot *s, uint8_t sector[SLOT_SIZE])
{
	struct wr w;

	hf_assert(s->payload_len <= SLOT_PAYLOAD_MAX && s->mailbox_len <= SLOT_MAILBOX_MAX);
	memset(sector, 0, SLOT_SIZE);
	wr_init(&w, sector, SLOT_SIZE);
	wr_bytes(&w, slot_magic, 8);
	wr_u16(&w, SLOT_VERSION);
	wr_u16(&w, s->node);
	wr_u8(&w, s->key_id);
	wr_zero(&w, 3);
	wr_bytes(&w, s->cluster, 16);
	wr_u64(&w, s->generation);
	wr_u64(&w, s->sequence);
	wr_u64(&w, s->write_count);
	wr_u32(&w, (uint32_t)s->payload_len);
	wr_u32(&w, (uint32_t)s->mailbox_len);
	hf_assert(wr_ok(&w) && wr_len(&w) == PAYLOAD_OFF);
	wr_bytes(&w, s->payload, s->payload_len);
	if (s->mailbox_len)
		memcpy(sector + MAILBOX_OFF, s->mailbox, s->mailbox_len);
}

void slot_finish(uint8_t sector[SLOT_SIZE])
{
	put_u32(sector + SLOT_CRC_OFF, crc32c(0, sector, SLOT_CRC_OFF));
}

bool slot_blank(const uint8_t sector[SLOT_SIZE])
{
	for (unsigned i = 0; i < SLOT_SIZE; i++)
		if (sector[i])
			return false;
	return true;
}

bool slot_crc_good(const uint8_t sector[SLOT_SIZE])
{
	struct rd r;

	rd_init(&r, sector + SLOT_CRC_OFF, 4);
	return rd_u32(&r) == crc32c(0, sector, SLOT_CRC_OFF);
}

bool slot_intact(const uint8_t sector[SLOT_SIZE])
{
	return memcmp(sector, slot_magic, 8) == 0 && slot_crc_good(sector);
}

int slot_decode(struct slot *s, const uint8_t sector[SLOT_SIZE])
{
	memset(s, 0, sizeof(*s));
	if (slot_blank(sector))
		return -ENODATA;
	if (!slot_intact(sector))
		return -EBADMSG;
	return slot_parse(s, sector);
}

int slot_parse(struct slot *s, const uint8_t sector[SLOT_SIZE])
{
	struct rd r;

	memset(s, 0, sizeof(*s));
	if (memcmp(sector, slot_magic, 8) != 0)
		return -EBADMSG;
	rd_init(&r, sector + 8, SLOT_SIZE - 8);
	if (rd_u16(&r) != SLOT_VERSION)
		return -EPROTO;
	s->node = rd_u16(&r);
	s->key_id = rd_u8(&r);
	rd_bytes(&r, 3);
	rd_copy(&r, s->cluster, 16);
	s->generation = rd_u64(&r);
	s->sequence = rd_u64(&r);
	s->write_count = rd_u64(&r);
	s->payload_len = rd_u32(&r);
	s->mailbox_len = rd_u32(&r);
	if (s->payload_len > SLOT_PAYLOAD_MAX || s->mailbox_len > SLOT_MAILBOX_MAX)
		return -EBADMSG;
	s->payload = sector + PAYLOAD_OFF;
	s->mailbox = sector + MAILBOX_OFF;
	return 0;
}

void slot_header_encode(const struct slot_header *h, uint8_t sector[SLOT_SIZE])
{
	struct wr w;

	memset(sector, 0, SLOT_SIZE);
	wr_init(&w, sector, SLOT_SIZE);
	wr_bytes(&w, head_magic, 8);
	wr_u16(&w, SLOT_VERSION);
	wr_u16(&w, h->device);
	wr_u8(&w, h->key_id);
	wr_zero(&w, 3);
	wr_bytes(&w, h->cluster, 16);
	wr_u16(&w, h->device_count);
	wr_u16(&w, h->node_count);
	wr_zero(&w, 4);
	wr_u64(&w, h->made_ns);
}

int slot_header_decode(struct slot_header *h, const uint8_t sector[SLOT_SIZE])
{
	struct rd r;

	memset(h, 0, sizeof(*h));
	if (slot_blank(sector))
		return -ENODATA;
	if (memcmp(sector, head_magic, 8) != 0 || !slot_crc_good(sector))
		return -EBADMSG;
	rd_init(&r, sector + 8, SLOT_SIZE - 8);
	if (rd_u16(&r) != SLOT_VERSION)
		return -EPROTO;
	h->device = rd_u16(&r);
	h->key_id = rd_u8(&r);
	rd_bytes(&r, 3);
	rd_copy(&r, h->cluster, 16);
	h->device_count = rd_u16(&r);
	h->node_count = rd_u16(&r);
	rd_bytes(&r, 4);
	h->made_ns = rd_u64(&r);
	return rd_ok(&r) ? 0 : -EBADMSG;
}

bool slot_bad_news(struct slot_bad *b, const uint8_t sector[SLOT_SIZE], int err)
{
	const uint8_t *tail = sector + SLOT_MAC_OFF;
#ifdef HF_MUTANT_SLOT_BAD_AT_ONCE
	bool again = true;
#else
	bool again = b->bad;
#endif

	b->bad = err && err != -ENODATA;
	if (!b->bad || !again || (b->told && memcmp(b->tail, tail, sizeof(b->tail)) == 0))
		return false;
	b->told = true;
	memcpy(b->tail, tail, sizeof(b->tail));
	return true;
}
