/* prin.c - PERSISTENT RESERVE IN, Reservation Report and sense data. */
#include "codec/prin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEAD	       8  /* PRGENERATION, ADDITIONAL LENGTH */
#define FULL_HEAD      24 /* of one descriptor of full status */
#define NVME_HEAD      64
#define NVME_ONE       64
#define NVME_HOLDER    1  /* RCSTS bit */
#define TYPE_ALL_WE    7
#define TYPE_ALL_EA    8
#define TRANSPORT_FC   0
#define TRANSPORT_ISCSI 5
#define TRANSPORT_SAS  6

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static uint64_t get64_le(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/* What arrived of the list that the header announces. */
static int list_of(const uint8_t *p, size_t len, struct prin_status *st, size_t *said, size_t *have)
{
	if (len < HEAD)
		return -EBADMSG;
	st->generation = get32(p);
	*said = get32(p + 4);
	*have = *said < len - HEAD ? *said : len - HEAD;
	return 0;
}

int prin_keys(const uint8_t *p, size_t len, struct prin_status *st)
{
	size_t said, have;
	int rc = list_of(p, len, st, &said, &have);

	if (rc)
		return rc;
	if (said % 8)
		return -EBADMSG;
	st->total = (unsigned)(said / 8);
	st->count = 0;
	for (size_t at = 0; at + 8 <= have && st->count < PRIN_KEYS_MAX; at += 8)
		st->registrant[st->count++] =
			(struct prin_registrant){.key = get64(p + HEAD + at)};
	return 0;
}

int prin_reservation(const uint8_t *p, size_t len, struct prin_status *st)
{
	size_t said, have;
	int rc = list_of(p, len, st, &said, &have);

	if (rc)
		return rc;
	st->held = false;
	st->type = 0;
	st->holder = 0;
	if (said == 0)
		return 0;
	if (have < 16)
		return -EBADMSG;
	st->held = true;
	st->type = p[HEAD + 13] & 15;
	/* With all registrants nobody in particular holds it. */
	if (st->type != TYPE_ALL_WE && st->type != TYPE_ALL_EA)
		st->holder = get64(p + HEAD);
	return 0;
}

int prin_capabilities(const uint8_t *p, size_t len, struct prin_status *st)
{
	if (len < 8 || get16(p) < 8)
		return -EBADMSG;
	st->ptpl_known = true;
	st->ptpl_capable = p[2] & 1;
	st->ptpl_active = p[3] & 1;
	return 0;
}

/* Bytes as text where they are text; the rest of a name says nothing. */
static void put_text(char *out, size_t size, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && i + 1 < size && p[i] > 0x20 && p[i] < 0x7f; i++)
		out[i] = (char)p[i];
	out[i] = '\0';
}

static void put_hex(char *out, size_t size, const uint8_t *p, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n && at + 3 <= size; i++)
		at += (size_t)snprintf(out + at, size - at, "%02x", p[i]);
}

static void put_transport(struct prin_registrant *r, const uint8_t *id, size_t n)
{
	if (n < 4)
		return;
	switch (id[0] & 15) {
	case TRANSPORT_ISCSI:
		put_text(r->name, sizeof(r->name), id + 4,
			 get16(id + 2) < n - 4 ? get16(id + 2) : n - 4);
		return;
	case TRANSPORT_SAS:
		if (n >= 12)
			put_hex(r->name, sizeof(r->name), id + 4, 8);
		return;
	case TRANSPORT_FC:
		if (n >= 16)
			put_hex(r->name, sizeof(r->name), id + 8, 8);
		return;
	default:
		snprintf(r->name, sizeof(r->name), "transport-%u", (unsigned)id[0] & 15);
	}
}

int prin_full(const uint8_t *p, size_t len, struct prin_status *st)
{
	size_t said, have, at = 0;
	int rc = list_of(p, len, st, &said, &have);

	if (rc)
		return rc;
	st->count = st->total = 0;
	st->held = false;
	st->type = 0;
	st->holder = 0;
	while (at + FULL_HEAD <= have) {
		const uint8_t *d = p + HEAD + at;
		size_t id = get32(d + 20), room = have - at - FULL_HEAD;
		struct prin_registrant r = {.key = get64(d), .holder = d[12] & 1,
					    .port = get16(d + 18)};

		st->total++;
		put_transport(&r, d + FULL_HEAD, id < room ? id : room);
		if (r.holder) {
			st->held = true;
			st->type = d[13] & 15;
			if (st->type != TYPE_ALL_WE && st->type != TYPE_ALL_EA)
				st->holder = r.key;
		}
		if (st->count < PRIN_KEYS_MAX)
			st->registrant[st->count++] = r;
		if (id > room)
			break;
		at += FULL_HEAD + id;
	}
	return said > have || at == have ? 0 : -EBADMSG;
}

uint8_t prin_type_of_nvme(uint8_t type)
{
	static const uint8_t scsi[] = {0, 1, 3, 5, 6, 7, 8};

	return type < sizeof(scsi) ? scsi[type] : 0;
}

int prin_nvme(const uint8_t *p, size_t len, struct prin_status *st)
{
	size_t count;

	if (len < NVME_HEAD)
		return -EBADMSG;
	*st = (struct prin_status){.ptpl_known = true};
	st->generation = (uint32_t)(p[0] | p[1] << 8 | p[2] << 16) | (uint32_t)p[3] << 24;
	st->type = prin_type_of_nvme(p[4]);
	if (p[4] && !st->type)
		return -EBADMSG;
	st->held = st->type != 0;
	count = (size_t)(p[5] | p[6] << 8);
	st->total = (unsigned)count;
	st->ptpl_capable = st->ptpl_active = p[9] & 1;
	for (size_t i = 0; i < count && st->count < PRIN_KEYS_MAX; i++) {
		const uint8_t *d = p + NVME_HEAD + i * NVME_ONE;
		struct prin_registrant *r = &st->registrant[st->count];

		if (NVME_HEAD + (i + 1) * NVME_ONE > len)
			break;
		st->count++;
		*r = (struct prin_registrant){.key = get64_le(d + 8), .holder = d[2] & NVME_HOLDER,
					      .port = (uint16_t)(d[0] | d[1] << 8)};
		put_hex(r->name, sizeof(r->name), d + 16, 16);
		if (r->holder && st->type != TYPE_ALL_WE && st->type != TYPE_ALL_EA)
			st->holder = r->key;
	}
	return 0;
}

bool prin_sense(const uint8_t *p, size_t len, struct prin_sense *out)
{
	*out = (struct prin_sense){0};
	if (len < 4)
		return false;
	switch (p[0] & 0x7f) {
	case 0x70:
	case 0x71:
		out->key = p[2] & 15;
		if (len > 13 && p[7] >= 6) {
			out->asc = p[12];
			out->ascq = p[13];
		}
		return true;
	case 0x72:
	case 0x73:
		out->key = p[1] & 15;
		out->asc = p[2];
		out->ascq = p[3];
		return true;
	default:
		return false;
	}
}

const char *prin_type_name(uint8_t type)
{
	switch (type) {
	case 0:
		return "none";
	case 1:
		return "write-exclusive";
	case 3:
		return "exclusive-access";
	case PRIN_TYPE_WE_RO:
		return "write-exclusive-registrants-only";
	case 6:
		return "exclusive-access-registrants-only";
	case TYPE_ALL_WE:
		return "write-exclusive-all-registrants";
	case TYPE_ALL_EA:
		return "exclusive-access-all-registrants";
	default:
		return "unknown";
	}
}
