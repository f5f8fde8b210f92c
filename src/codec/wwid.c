/* wwid.c - designators of VPD page 83h (SPC-4 7.8.6) as text. */
#include "codec/wwid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PAGE	  0x83
#define HEAD	  4 /* of the page, and of each designator */
#define SET_ASCII 2
#define TYPE_T10  1
#define TYPE_EUI  2
#define TYPE_NAA  3

static bool put_hex(char out[WWID_MAX], const char *prefix, const uint8_t *p, size_t n)
{
	size_t at = strlen(prefix);

	if (n == 0 || at + n * 2 >= WWID_MAX)
		return false;
	memcpy(out, prefix, at);
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(out + at, WWID_MAX - at, "%02x", p[i]);
	return true;
}

/* Printable ASCII only: the text goes into log lines and files. */
static bool put_t10(char out[WWID_MAX], const uint8_t *p, size_t n)
{
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\0'))
		n--;
	if (n == 0 || n + 5 > WWID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	memcpy(out, "t10.", 4);
	memcpy(out + 4, p, n);
	out[4 + n] = '\0';
	return true;
}

static bool put_one(char out[WWID_MAX], unsigned set, unsigned type, const uint8_t *p, size_t n)
{
	if (type == TYPE_T10 && set == SET_ASCII)
		return put_t10(out, p, n);
	if (set == SET_ASCII)
		return false;
	if (type == TYPE_NAA)
		return put_hex(out, "naa.", p, n);
	return type == TYPE_EUI && put_hex(out, "eui.", p, n);
}

/* Those of one type; the page is walked once for each, so that the best names come first. */
static unsigned list_type(const uint8_t *page, size_t len, unsigned want,
			  char out[WWID_COUNT][WWID_MAX], unsigned count)
{
	for (size_t at = HEAD; at + HEAD <= len && count < WWID_COUNT;) {
		const uint8_t *d = page + at;
		size_t n = d[3];
		unsigned association = d[1] >> 4 & 3, type = d[1] & 15;

		if (at + HEAD + n > len)
			break;
		if (type == want && association == 0 && put_one(out[count], d[0] & 15, type, d + HEAD, n))
			count++;
		at += HEAD + n;
	}
	return count;
}

int wwid_list(const uint8_t *page, size_t len, char out[WWID_COUNT][WWID_MAX])
{
	size_t size;
	unsigned count = 0;

	if (len < HEAD || page[1] != PAGE)
		return -EBADMSG;
	size = HEAD + ((size_t)page[2] << 8 | page[3]);
	if (size < len)
		len = size;
	count = list_type(page, len, TYPE_NAA, out, count);
	count = list_type(page, len, TYPE_EUI, out, count);
	return (int)list_type(page, len, TYPE_T10, out, count);
}

bool wwid_has(const uint8_t *page, size_t len, const char *wwid)
{
	char name[WWID_COUNT][WWID_MAX];
	int n = wwid_list(page, len, name);

	for (int i = 0; i < n; i++)
		if (strcmp(name[i], wwid) == 0)
			return true;
	return false;
}

bool wwid_is_valid(const char *text)
{
	size_t n = strlen(text);

	if (n < 5 || n >= WWID_MAX)
		return false;
	if (strncmp(text, "t10.", 4) == 0 || strncmp(text, "uuid.", 5) == 0 ||
	    strncmp(text, "nvme.", 5) == 0) {
		for (const char *p = text + 4; *p; p++)
			if (*p < 0x20 || *p > 0x7e)
				return false;
		return text[n - 1] != ' ' && text[n - 1] != '.';
	}
	if (strncmp(text, "naa.", 4) != 0 && strncmp(text, "eui.", 4) != 0)
		return false;
	for (const char *p = text + 4; *p; p++)
		if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
			return false;
	return n % 2 == 0;
}
