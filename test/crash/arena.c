/* arena.c - malloc() for histories: lists by size, and one pointer that is set back.
 *
 * A life that ends in the middle leaves everything allocated; so many histories can still run in
 * one process, on pages that are there already: page faults were two thirds of their time. */
#include "arena.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
void arena_begin(void)
{
}

void arena_end(void)
{
}
#else

#define SIZE    ((size_t)4 << 30)
#define CLASSES 32U
#define HEAD    16U

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static uint8_t *base, *at;
static bool on;
static void *free_list[CLASSES];

void arena_begin(void)
{
	if (!base)
		base = (uint8_t *)syscall(SYS_mmap, NULL, SIZE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
	at = base;
	memset(free_list, 0, sizeof(free_list));
	on = true;
}

void arena_end(void)
{
	on = false;
}

static bool ours(const void *p)
{
	return base && (const uint8_t *)p >= base && (const uint8_t *)p < base + SIZE;
}

/* The head of 16 bytes has the class and the distance to the block's begin. */
static uint32_t *head(void *p)
{
	return (uint32_t *)(void *)((uint8_t *)p - HEAD);
}

static unsigned class_of(size_t size)
{
	unsigned c = 5;

	while (((size_t)1 << c) < size)
		c++;
	return c;
}

static void *give(size_t size, size_t align)
{
	unsigned c = class_of(size + HEAD + (align > HEAD ? align : 0));
	uint8_t *block = free_list[c], *p;

	if (block) {
		memcpy(&free_list[c], block, sizeof(void *));
	} else {
		block = at;
		at += (size_t)1 << c;
		if (at > base + SIZE)
			abort();
	}
	p = block + HEAD;
	p += -(uintptr_t)p & (align - 1);
	head(p)[0] = c;
	head(p)[1] = (uint32_t)(p - block);
	return p;
}

void *malloc(size_t size)
{
	return on ? give(size, HEAD) : __libc_malloc(size);
}

void free(void *p)
{
	uint8_t *block;
	uint32_t c;

	if (!ours(p)) {
		__libc_free(p);
		return;
	}
	block = (uint8_t *)p - head(p)[1];
	c = head(p)[0];
	memcpy(block, &free_list[c], sizeof(void *));
	free_list[c] = block;
}

void *calloc(size_t n, size_t size)
{
	void *p;

	if (!on)
		return __libc_calloc(n, size);
	p = give(n * size, HEAD);
	return memset(p, 0, n * size);
}

void *realloc(void *old, size_t size)
{
	size_t had;
	void *p;

	if (!old)
		return malloc(size);
	if (!ours(old))
		return __libc_realloc(old, size);
	had = ((size_t)1 << head(old)[0]) - head(old)[1];
	if (size <= had)
		return old;
	p = malloc(size);
	memcpy(p, old, had);
	free(old);
	return p;
}

void *aligned_alloc(size_t align, size_t size)
{
	return on ? give(size, align < HEAD ? HEAD : align) : __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	*out = aligned_alloc(align, size);
	return *out ? 0 : ENOMEM;
}
#endif
