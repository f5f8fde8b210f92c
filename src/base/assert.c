/* assert.c - the one place a process of ours dies on purpose. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/trace.h"

void hf_panic(const char *file, int line, const char *func, const char *what)
{
	static int entered;

	if (entered++)
		abort();
	fprintf(stderr, "panic: %s:%d %s: %s\n", file, line, func, what);
	trace_dump(stderr);
	fflush(stderr);
	abort();
}
