/* t_prin.c - what devices say about reservations, with lists that lie about their lengths. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec/prin.h"

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* Three keys, as READ KEYS of a target with two nodes and a stranger. */
static const uint8_t keys[] = {
	0, 0, 0, 7, 0, 0, 0, 24,
	0x48, 0x46, 1, 0, 0, 0, 0, 11,
	0x48, 0x46, 1, 0, 0, 0, 0, 11,
	0, 0, 0, 0, 0, 0, 0xde, 0xad,
};

static const uint8_t reservation[] = {
	0, 0, 0, 7, 0, 0, 0, 16,
	0x48, 0x46, 1, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0x05, 0, 0,
};

/* covers: F2 FO-18 */
static void t_keys(void)
{
	struct prin_status st = {0};

	CHECK_EQ(0, prin_keys(keys, sizeof(keys), &st));
	CHECK_EQ(7, st.generation);
	CHECK_EQ(3, st.count);
	CHECK_EQ(3, st.total);
	CHECK(st.registrant[1].key == 0x484601000000000bULL);
	CHECK(st.registrant[2].key == 0xdead);
	/* Cut short: what arrived, and that there is more. */
	CHECK_EQ(0, prin_keys(keys, 20, &st));
	CHECK_EQ(1, st.count);
	CHECK_EQ(3, st.total);
	CHECK_EQ(-EBADMSG, prin_keys(keys, 7, &st));
	CHECK_EQ(-EBADMSG, prin_keys((const uint8_t *)"\0\0\0\1\0\0\0\7.......", 15, &st));
}

/* covers: F2 FO-18 */
static void t_reservation(void)
{
	struct prin_status st = {.holder = 5, .held = true};
	uint8_t all[sizeof(reservation)];

	CHECK_EQ(0, prin_reservation((const uint8_t *)"\0\0\0\7\0\0\0\0", 8, &st));
	CHECK(!st.held && st.holder == 0);
	CHECK_EQ(0, prin_reservation(reservation, sizeof(reservation), &st));
	CHECK(st.held && st.holder == 0x484601000000000bULL && st.type == PRIN_TYPE_WE_RO);
	/* Of all registrants: nobody in particular. */
	memcpy(all, reservation, sizeof(all));
	all[21] = 7;
	CHECK_EQ(0, prin_reservation(all, sizeof(all), &st));
	CHECK(st.held && st.holder == 0 && st.type == 7);
	CHECK_EQ(-EBADMSG, prin_reservation(reservation, 20, &st));
}

static void t_capabilities(void)
{
	struct prin_status st = {0};

	CHECK_EQ(0, prin_capabilities((const uint8_t *)"\0\10\1\200\0\0\0\0", 8, &st));
	CHECK(st.ptpl_known && st.ptpl_capable && !st.ptpl_active);
	CHECK_EQ(0, prin_capabilities((const uint8_t *)"\0\10\1\201\0\0\0\0", 8, &st));
	CHECK(st.ptpl_active);
	CHECK_EQ(-EBADMSG, prin_capabilities((const uint8_t *)"\0\7\1\201\0\0\0\0", 8, &st));
	CHECK_EQ(-EBADMSG, prin_capabilities((const uint8_t *)"\0\10\1", 3, &st));
}

/* One full status descriptor; its length. */
static size_t put_full(uint8_t *p, uint64_t key, bool holder, uint8_t protocol, const void *id, size_t n)
{
	memset(p, 0, 24);
	put64(p, key);
	p[12] = holder;
	p[13] = holder ? 5 : 0;
	p[19] = 2;
	p[23] = (uint8_t)(n + 4);
	p[24] = protocol;
	p[25] = p[26] = 0;
	p[27] = (uint8_t)n;
	memcpy(p + 28, id, n);
	return 28 + n;
}

static size_t make_full(uint8_t *p)
{
	size_t n = 8;

	n += put_full(p + n, 0xa1, true, 0x45, "iqn.x:n1,i,0x8\0", 16);
	n += put_full(p + n, 0xb2, false, 0x06, "\x60\x01\x40\x50\0\0\x01\x11", 8);
	n += put_full(p + n, 0xb2, false, 0x09, "????", 4);
	memset(p, 0, 8);
	p[7] = (uint8_t)(n - 8);
	return n;
}

/* covers: FO-19 */
static void t_full(void)
{
	uint8_t page[256];
	size_t n = make_full(page);
	struct prin_status st = {0};

	CHECK_EQ(0, prin_full(page, n, &st));
	CHECK_EQ(3, st.count);
	CHECK(st.held && st.holder == 0xa1 && st.type == PRIN_TYPE_WE_RO);
	CHECK(strcmp(st.registrant[0].name, "iqn.x:n1,i,0x8") == 0);
	CHECK(strcmp(st.registrant[1].name, "6001405000000111") == 0);
	CHECK(strcmp(st.registrant[2].name, "transport-9") == 0);
	CHECK_EQ(2, st.registrant[0].port);
}

/* Every cut, and every byte another: nothing beyond what arrived is read. */
static void t_broken(void)
{
	uint8_t page[256], nvme[64 + 2 * 64] = {0};
	size_t n = make_full(page);
	struct prin_status st = {0};

	nvme[5] = 2;
	for (size_t len = 0; len <= n; len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, page, len);
		prin_full(copy, len, &st);
		prin_keys(copy, len, &st);
		prin_reservation(copy, len, &st);
		for (size_t i = 4; i < len; i++)
			for (unsigned v = 0; v < 256; v += 51) {
				uint8_t was = copy[i];

				copy[i] = (uint8_t)v;
				prin_full(copy, len, &st);
				CHECK(st.count <= PRIN_KEYS_MAX && st.count <= st.total);
				copy[i] = was;
			}
		free(copy);
	}
	for (size_t len = 0; len <= sizeof(nvme); len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, nvme, len);
		CHECK_EQ(len < 64 ? -EBADMSG : 0, prin_nvme(copy, len, &st));
		free(copy);
	}
}

/* covers: FO-18 */
static void t_nvme(void)
{
	uint8_t r[64 + 2 * 64] = {9, 0, 0, 0, 3, 2, 0, 0, 0, 1};
	struct prin_status st = {0};

	r[64] = 4;
	r[64 + 2] = 1;
	r[64 + 8] = 0x0b;
	r[64 + 15] = 0x48;
	r[64 + 16] = 0xab;
	r[128 + 8] = 0x16;
	CHECK_EQ(0, prin_nvme(r, sizeof(r), &st));
	CHECK_EQ(9, st.generation);
	CHECK_EQ(2, st.count);
	CHECK(st.held && st.type == PRIN_TYPE_WE_RO && st.holder == 0x480000000000000bULL);
	CHECK(st.ptpl_active && st.registrant[0].port == 4);
	CHECK(strncmp(st.registrant[0].name, "ab00", 4) == 0);
	r[4] = 9;
	CHECK_EQ(-EBADMSG, prin_nvme(r, sizeof(r), &st));
	CHECK(prin_type_of_nvme(1) == 1 && prin_type_of_nvme(2) == 3 && prin_type_of_nvme(7) == 0);
}

static void t_sense(void)
{
	static const uint8_t fixed[18] = {0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 0x03};
	static const uint8_t descriptor[8] = {0x72, 5, 0x24, 1};
	struct prin_sense s;

	CHECK(prin_sense(fixed, sizeof(fixed), &s));
	CHECK(s.key == SENSE_ATTENTION && s.asc == 0x2a && s.ascq == 3);
	CHECK(prin_sense(fixed, 8, &s) && s.key == SENSE_ATTENTION && s.asc == 0);
	CHECK(prin_sense(descriptor, 4, &s));
	CHECK(s.key == SENSE_ILLEGAL && s.asc == 0x24 && s.ascq == 1);
	CHECK(!prin_sense(descriptor, 3, &s));
	CHECK(!prin_sense((const uint8_t *)"\x42\0\0\0", 4, &s));
}

int main(void)
{
	CASE(t_keys);
	CASE(t_reservation);
	CASE(t_capabilities);
	CASE(t_full);
	CASE(t_broken);
	CASE(t_nvme);
	CASE(t_sense);
	return check_end();
}
