/* t_wwid.c - names of storage units out of VPD page 83h, with pages that lie about their lengths. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec/wwid.h"

/* T10 first, then a port's NAA, two NAA of the unit, an EUI: the unit's own, best first. */
static const uint8_t page[] = {
	0, 0x83, 0, 75,
	2, 0x01, 0, 20, 'I', 'E', 'T', ' ', ' ', ' ', ' ', ' ', '0', '0', '0', '1', '0', '0', '0', '1',
	' ', ' ', ' ', ' ',
	1, 0x13, 0, 8, 0x50, 1, 2, 3, 4, 5, 6, 7,
	1, 0x03, 0, 8, 0x60, 0, 0, 0, 0, 0, 0, 0x2a,
	1, 0x03, 0, 3, 0x30, 0xab, 0xcd,
	1, 0x02, 0, 8, 0, 0x17, 0x38, 0, 0, 0, 0, 1,
};

/* covers: VS-107 VS-108 */
static void t_list(void)
{
	char name[WWID_COUNT][WWID_MAX];

	CHECK_EQ(4, wwid_list(page, sizeof(page), name));
	CHECK(strcmp(name[0], "naa.600000000000002a") == 0);
	CHECK(strcmp(name[1], "naa.30abcd") == 0);
	CHECK(strcmp(name[2], "eui.0017380000000001") == 0);
	CHECK(strcmp(name[3], "t10.IET     00010001") == 0);
	CHECK(wwid_has(page, sizeof(page), "naa.600000000000002a"));
	CHECK(!wwid_has(page, sizeof(page), "naa.5001020304050607")); /* the port's */
	CHECK(!wwid_has(page, sizeof(page), "naa.60000000"));
}

/* Every cut and every length byte: within the page or refused. */
static void t_broken(void)
{
	char name[WWID_COUNT][WWID_MAX];

	CHECK_EQ(-EBADMSG, wwid_list(page, 3, name));
	CHECK_EQ(-EBADMSG, wwid_list((const uint8_t *)"\0\x80\0\0", 4, name));
	for (size_t len = 4; len <= sizeof(page); len++) {
		uint8_t *copy = malloc(len); /* the sanitizers see its end */

		memcpy(copy, page, len);
		CHECK(wwid_list(copy, len, name) <= 4);
		for (unsigned v = 0; v < 256; v += 5)
			for (size_t i = 4; i < len; i++) {
				uint8_t was = copy[i];

				copy[i] = (uint8_t)v;
				CHECK(wwid_list(copy, len, name) >= 0);
				copy[i] = was;
			}
		free(copy);
	}
}

static void t_valid(void)
{
	CHECK(wwid_is_valid("naa.600000000000002a") && wwid_is_valid("eui.0017380000000001"));
	CHECK(wwid_is_valid("t10.IET     00010001"));
	CHECK(wwid_is_valid("uuid.2f8a0c1e-0000-4000-8000-00000000000a"));
	CHECK(wwid_is_valid("nvme.144d-5334-53-00000001") && !wwid_is_valid("uuid."));
	CHECK(!wwid_is_valid("naa.") && !wwid_is_valid("naa.6") && !wwid_is_valid("naa.6G"));
	CHECK(!wwid_is_valid("naa.60AB") && !wwid_is_valid("sda") && !wwid_is_valid("t10.x "));
	CHECK(!wwid_is_valid(""));
}

int main(void)
{
	CASE(t_list);
	CASE(t_broken);
	CASE(t_valid);
	return check_end();
}
