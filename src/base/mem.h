/* mem.h - heap memory that is never NULL: running out ends the process (the partner takes over). */
#ifndef HF_BASE_MEM_H
#define HF_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
/* Zeroed memory for `count` things of `size` bytes. */
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *old, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
/* Cache-line or sector aligned memory; `align` is a power of two.  Freed with free(). */
void *mem_aligned(size_t align, size_t size) __attribute__((malloc, returns_nonnull));
/* Page aligned, in huge pages where it is that large and the system gives them.  Freed with free(). */
void *mem_huge(size_t size) __attribute__((malloc, returns_nonnull));

#endif
