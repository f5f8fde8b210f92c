/* fuzz_conf.c - the configuration's grammar: what is taken must print and be taken again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf c, again;
	char err[512] = "", *text = NULL;
	size_t len = 0;
	FILE *f;

	if (conf_parse(&c, (const char *)data, size, "fuzz", err, sizeof(err))) {
		if (err[0] == 0)
			abort(); /* refused without a word */
		return 0;
	}
	f = open_memstream(&text, &len);
	conf_print(&c, f);
	fclose(f);
	if (conf_parse(&again, text, len, "printed", err, sizeof(err)) ||
	    conf_hash(&c) != conf_hash(&again)) {
		fprintf(stderr, "%s\n%s\n", err, text);
		abort();
	}
	free(text);
	return 0;
}
