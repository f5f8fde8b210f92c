/* slab.h - many things of one size: side by side in large pieces, so that going through them in the
 * order of their making stays cheap.  No huge pages are asked for: making room for one can hold up
 * the caller for most of a second.
 *
 * What is given back is used again first; the pieces go with slab_fini() only. */
#ifndef HF_BASE_SLAB_H
#define HF_BASE_SLAB_H

#include <stddef.h>

#define SLAB_PIECE_BYTES ((size_t)2 << 20)

struct slab_piece;

struct slab {
	size_t size; /* of one thing, rounded up */
	struct slab_piece *pieces;
	size_t used; /* of the newest piece, bytes */
	void *unused; /* a chain through what was given back */
};

void slab_init(struct slab *s, size_t size);
void slab_fini(struct slab *s);
/* Zeroed. */
void *slab_get(struct slab *s) __attribute__((malloc, returns_nonnull));
void slab_put(struct slab *s, void *thing);

#endif
