/* fuzz_device.c - bytes from a storage device: names, keys, reservations, sense; the first byte chooses. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/prin.h"
#include "codec/wwid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
	if (!cond)
		abort();
}

static void try_wwid(const uint8_t *data, size_t size)
{
	char name[WWID_COUNT][WWID_MAX];
	int n = wwid_list(data, size, name);

	must(n <= WWID_COUNT);
	for (int i = 0; i < n; i++)
		must(memchr(name[i], 0, WWID_MAX) != NULL && wwid_has(data, size, name[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct prin_status st;
	struct prin_sense sense;
	size_t n = size - 1;

	if (size == 0)
		return 0;
	memset(&st, 0, sizeof(st));
	switch (*data++ % 7) {
	case 0:
		try_wwid(data, n);
		break;
	case 1:
		prin_keys(data, n, &st);
		break;
	case 2:
		prin_reservation(data, n, &st);
		break;
	case 3:
		prin_capabilities(data, n, &st);
		break;
	case 4:
		prin_full(data, n, &st);
		break;
	case 5:
		prin_nvme(data, n, &st);
		break;
	case 6:
		prin_sense(data, n, &sense);
		break;
	}
	must(st.count <= PRIN_KEYS_MAX && st.count <= st.total);
	for (unsigned i = 0; i < st.count; i++)
		must(memchr(st.registrant[i].name, 0, PRIN_NAME_MAX) != NULL);
	return 0;
}
