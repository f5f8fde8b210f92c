/* fuzz_keyfile.c - a key file, as people write it or copy it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[4096], err[256];
	struct keyfile k;
	size_t n = size < sizeof(text) - 1 ? size : sizeof(text) - 1;

	memcpy(text, data, n);
	text[n] = '\0';
	if (keyfile_parse(&k, text, "fuzz", err, sizeof(err)))
		return 0;
	if (k.count < 1 || k.count > KEYFILE_KEYS_MAX || k.send >= k.count)
		abort();
	for (unsigned i = 0; i < k.count; i++)
		if (k.key[i].id == 0 || keyfile_find(&k, k.key[i].id) != (int)i)
			abort();
	return 0;
}
