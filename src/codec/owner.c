/* owner.c - the ownership record S. */
#include "codec/owner.h"

#include <errno.h>

#include "base/buf.h"
#include "base/crc32c.h"

_Static_assert(OWNER_MAC_OFF + OWNER_MAC_LEN == OWNER_CRC_OFF, "the CRC covers the MAC");

static const uint8_t magic[8] = {'H', 'F', 'O', 'W', 'N', 'E', 'R', '1'};

void owner_encode(const struct owner *o, uint8_t record[OWNER_SIZE])
{
	struct wr w;

	memset(record, 0, OWNER_SIZE);
	wr_init(&w, record, OWNER_SIZE);
	wr_bytes(&w, magic, 8);
	wr_u16(&w, OWNER_VERSION);
	wr_u16(&w, o->node);
	wr_u8(&w, o->key_id);
	wr_zero(&w, 1);
	wr_u16(&w, o->previous_node);
	wr_bytes(&w, o->cluster, 16);
	wr_bytes(&w, o->unit_uuid, 16);
	wr_u32(&w, o->unit);
	wr_u32(&w, o->pid);
	wr_u64(&w, o->generation);
	wr_u64(&w, o->epoch);
	wr_u64(&w, o->previous_epoch);
	wr_u64(&w, o->written_ns);
	wr_bytes(&w, o->boot_id, 16);
	wr_bytes(&w, o->node_name, strnlen(o->node_name, sizeof(o->node_name) - 1));
}

void owner_finish(uint8_t record[OWNER_SIZE])
{
	put_u32(record + OWNER_CRC_OFF, crc32c(0, record, OWNER_CRC_OFF));
}

static bool blank(const uint8_t *record)
{
	for (unsigned i = 0; i < OWNER_SIZE; i++)
		if (record[i])
			return false;
	return true;
}

static bool intact(const uint8_t *record)
{
	struct rd r;

	rd_init(&r, record + OWNER_CRC_OFF, 4);
	return memcmp(record, magic, 8) == 0 && rd_u32(&r) == crc32c(0, record, OWNER_CRC_OFF);
}

int owner_decode(struct owner *o, const uint8_t record[OWNER_SIZE])
{
	struct rd r;

	memset(o, 0, sizeof(*o));
	if (blank(record))
		return -ENODATA;
	if (!intact(record))
		return -EBADMSG;
	rd_init(&r, record + 8, OWNER_MAC_OFF - 8);
	if (rd_u16(&r) != OWNER_VERSION)
		return -EPROTO;
	o->node = rd_u16(&r);
	o->key_id = rd_u8(&r);
	rd_u8(&r);
	o->previous_node = rd_u16(&r);
	rd_copy(&r, o->cluster, 16);
	rd_copy(&r, o->unit_uuid, 16);
	o->unit = rd_u32(&r);
	o->pid = rd_u32(&r);
	o->generation = rd_u64(&r);
	o->epoch = rd_u64(&r);
	o->previous_epoch = rd_u64(&r);
	o->written_ns = rd_u64(&r);
	rd_copy(&r, o->boot_id, 16);
	rd_copy(&r, o->node_name, sizeof(o->node_name));
	o->node_name[sizeof(o->node_name) - 1] = '\0';
	return rd_ok(&r) ? 0 : -EBADMSG;
}

uint64_t owner_key(uint16_t node, uint64_t generation)
{
	return 0x4846ULL << 48 | (uint64_t)(node & 0xff) << 40 | (generation & 0xffffffffffULL);
}
