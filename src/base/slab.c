/* slab.c - pieces of 2 MiB, filled from the front; see slab.h. */
#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define ALIGN 16U

/* At the beginning of each piece, in room of its own. */
struct slab_piece {
	struct slab_piece *next;
};

void slab_init(struct slab *s, size_t size)
{
	*s = (struct slab){.size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1)};
	hf_assert(s->size && s->size <= SLAB_PIECE_BYTES - ALIGN);
}

void slab_fini(struct slab *s)
{
	while (s->pieces) {
		struct slab_piece *p = s->pieces;

		s->pieces = p->next;
		free(p);
	}
	s->unused = NULL;
}

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer shall see each thing: use after its end, and what was forgotten. */
void *slab_get(struct slab *s)
{
	return mem_zalloc(1, s->size);
}

void slab_put(struct slab *s, void *thing)
{
	(void)s;
	free(thing);
}
#else
static void piece_add(struct slab *s)
{
	struct slab_piece *p = mem_aligned(SLAB_PIECE_BYTES, SLAB_PIECE_BYTES);

	p->next = s->pieces;
	s->pieces = p;
	s->used = ALIGN;
}

void *slab_get(struct slab *s)
{
	void *at = s->unused;

	if (at) {
		memcpy(&s->unused, at, sizeof(s->unused));
	} else {
		if (!s->pieces || SLAB_PIECE_BYTES - s->used < s->size)
			piece_add(s);
		at = (char *)s->pieces + s->used;
		s->used += s->size;
	}
	return memset(at, 0, s->size);
}

void slab_put(struct slab *s, void *thing)
{
	memcpy(thing, &s->unused, sizeof(s->unused));
	s->unused = thing;
}
#endif
