/* block.c - configuration blocks and the heads of their texts: bytes <-> structs. */
#include "codec/block.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

static const uint8_t block_magic[8] = {'H', 'F', 'B', 'L', 'O', 'C', 'K', '1'};
static const uint8_t text_magic[8] = {'H', 'F', 'C', 'T', 'E', 'X', 'T', '1'};

_Static_assert(BLOCK_FIRST > BLOCK_NODES, "behind the slots");

uint64_t block_sector(unsigned node, uint64_t write_count)
{
	hf_assert(node >= 1 && node <= BLOCK_NODES);
	return BLOCK_FIRST + (node - 1) * BLOCK_COPIES + (write_count & 1);
}

uint64_t block_text_sector(unsigned node, unsigned place)
{
	hf_assert(node >= 1 && node <= BLOCK_NODES && place < BLOCK_PLACES);
	return BLOCK_TEXT_FIRST + ((node - 1) * BLOCK_PLACES + place) * BLOCK_TEXT_SECTORS;
}

static void put_head(struct wr *w, const uint8_t magic[8], uint16_t node, uint8_t key_id,
		     const uint8_t cluster[16])
{
	wr_bytes(w, magic, 8);
	wr_u16(w, BLOCK_VERSION);
	wr_u16(w, node);
	wr_u8(w, key_id);
	wr_zero(w, 3);
	wr_bytes(w, cluster, 16);
}

/* 88 bytes */
static void put_value(struct wr *w, const struct block_value *v)
{
	wr_u64(w, v->version);
	wr_u64(w, v->made_ns);
	wr_u32(w, v->len);
	wr_u16(w, v->author);
	wr_zero(w, 2);
	wr_bytes(w, v->hash, BLOCK_HASH_LEN);
	wr_bytes(w, v->prev, BLOCK_HASH_LEN);
}

static void get_value(struct rd *r, struct block_value *v)
{
	v->version = rd_u64(r);
	v->made_ns = rd_u64(r);
	v->len = rd_u32(r);
	v->author = rd_u16(r);
	rd_bytes(r, 2);
	rd_copy(r, v->hash, BLOCK_HASH_LEN);
	rd_copy(r, v->prev, BLOCK_HASH_LEN);
}

void block_encode(const struct block *b, uint8_t sector[SLOT_SIZE])
{
	struct wr w;

	memset(sector, 0, SLOT_SIZE);
	wr_init(&w, sector, SLOT_SIZE);
	put_head(&w, block_magic, b->node, b->key_id, b->cluster);
	wr_u64(&w, b->write_count);
	wr_u64(&w, b->promised);
	wr_u64(&w, b->accepted);
	wr_u8(&w, b->committed_place);
	wr_u8(&w, b->value_place);
	wr_zero(&w, 6);
	put_value(&w, &b->committed);
	put_value(&w, &b->value);
	hf_assert(wr_ok(&w) && wr_len(&w) == 240);
}

static bool place_good(uint8_t place)
{
	return place < BLOCK_PLACES || place == BLOCK_NO_PLACE;
}

/* What no node of ours writes: then it is not believed, whatever the MAC says. */
static bool sane(const struct block *b)
{
	return b->node >= 1 && b->node <= BLOCK_NODES && place_good(b->committed_place) &&
	       place_good(b->value_place) && b->committed.len <= BLOCK_TEXT_MAX &&
	       b->value.len <= BLOCK_TEXT_MAX && b->promised >= b->accepted &&
	       (b->accepted == 0 || b->value.version == b->committed.version + 1);
}

/* Magic, CRC and version. */
static int open_sector(struct rd *r, const uint8_t sector[SLOT_SIZE], const uint8_t magic[8])
{
	if (slot_blank(sector))
		return -ENODATA;
	if (memcmp(sector, magic, 8) != 0 || !slot_crc_good(sector))
		return -EBADMSG;
	rd_init(r, sector + 8, SLOT_SIZE - 8);
	return rd_u16(r) == BLOCK_VERSION ? 0 : -EPROTO;
}

int block_decode(struct block *b, const uint8_t sector[SLOT_SIZE])
{
	struct rd r;
	int rc = open_sector(&r, sector, block_magic);

	memset(b, 0, sizeof(*b));
	if (rc)
		return rc;
	b->node = rd_u16(&r);
	b->key_id = rd_u8(&r);
	rd_bytes(&r, 3);
	rd_copy(&r, b->cluster, 16);
	b->write_count = rd_u64(&r);
	b->promised = rd_u64(&r);
	b->accepted = rd_u64(&r);
	b->committed_place = rd_u8(&r);
	b->value_place = rd_u8(&r);
	rd_bytes(&r, 6);
	get_value(&r, &b->committed);
	get_value(&r, &b->value);
	return rd_ok(&r) && sane(b) ? 0 : -EBADMSG;
}

void block_text_encode(const struct block_text_head *h, uint8_t sector[SLOT_SIZE])
{
	struct wr w;

	memset(sector, 0, SLOT_SIZE);
	wr_init(&w, sector, SLOT_SIZE);
	put_head(&w, text_magic, h->node, h->key_id, h->cluster);
	put_value(&w, &h->value);
	hf_assert(wr_ok(&w));
}

int block_text_decode(struct block_text_head *h, const uint8_t sector[SLOT_SIZE])
{
	struct rd r;
	int rc = open_sector(&r, sector, text_magic);

	memset(h, 0, sizeof(*h));
	if (rc)
		return rc;
	h->node = rd_u16(&r);
	h->key_id = rd_u8(&r);
	rd_bytes(&r, 3);
	rd_copy(&r, h->cluster, 16);
	get_value(&r, &h->value);
	return rd_ok(&r) && h->value.len <= BLOCK_TEXT_MAX ? 0 : -EBADMSG;
}

int block_newest(const struct block copy[BLOCK_COPIES], const int err[BLOCK_COPIES])
{
	if (err[0] == 0 && err[1] == 0)
		return copy[1].write_count > copy[0].write_count;
	if (err[0] == 0 || err[1] == 0)
		return err[0] == 0 ? 0 : 1;
	return err[0] == -ENODATA || err[1] == -ENODATA ? -ENODATA : -EBADMSG;
}
