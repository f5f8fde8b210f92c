/* mem.c - allocation that does not fail quietly. */
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"

#define HUGE_BYTES ((uintptr_t)2 << 20)

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	hf_assert(p != NULL);
	return p;
}

/* What is looked up all over in much memory. */
static void in_huge_pages(void *p, size_t size)
{
	uintptr_t from = ((uintptr_t)p + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	uintptr_t to = ((uintptr_t)p + size) & ~(HUGE_BYTES - 1);

	if (size >= 2 * HUGE_BYTES)
		(void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

void *mem_zalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	hf_assert(p != NULL);
	in_huge_pages(p, count * size); /* a table this big is fresh from the kernel */
	return p;
}

void *mem_realloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	hf_assert(p != NULL);
	return p;
}

char *mem_strdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(mem_alloc(n), s, n);
}

void *mem_aligned(size_t align, size_t size)
{
	void *p = NULL;

	hf_assert(posix_memalign(&p, align, size) == 0);
	return p;
}

void *mem_huge(size_t size)
{
	void *p = mem_aligned(size >= 2 * HUGE_BYTES ? HUGE_BYTES : 4096, size);

	in_huge_pages(p, size);
	return p;
}
