/* blocks.h - what is read again and again, in blocks of 4 KiB in our own memory.
 *
 * The page cache has it too; but a system call to it costs as much as all the rest of a small
 * READ.  A bounded number of blocks, eight to a set; a block comes in when it is read a second
 * time, or where there is room, so that one pass over much data throws nothing out.
 *
 * A block may be lent: its bytes stay where they are and as they are until it is given back, also when
 * it is dropped or all blocks are freed meanwhile (SAFETY S12).  At most half of them are.
 *
 * Blocks go by a number of the caller's for the file's contents, which it changes when they are
 * cut, and by their place in it.  Not here: objects, and when a block is stale (object.c). */
#ifndef HF_STORE_BLOCKS_H
#define HF_STORE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCKS_SIZE 4096U

struct blocks;

/* NULL when `bytes` is too little for anything. */
struct blocks *blocks_new(size_t bytes);
/* What is lent stays until it is given back. */
void blocks_free(struct blocks *b);
/* The block's bytes, or NULL; valid until the next blocks_add(). */
const uint8_t *blocks_find(struct blocks *b, uint64_t id, uint64_t block);
/* A hint: it will be looked for in a moment. */
void blocks_hint(const struct blocks *b, uint64_t id, uint64_t block);
/* Would it come in without another one going? */
bool blocks_room(const struct blocks *b, uint64_t id, uint64_t block);
/* It was read and not found: is it worth keeping?  Remembers that it was asked for. */
bool blocks_wanted(struct blocks *b, uint64_t id, uint64_t block);
/* Room for a block that is not there, to be filled by the caller (or dropped again); NULL: there is
 * none just now. */
uint8_t *blocks_add(struct blocks *b, uint64_t id, uint64_t block);
/* Bytes of it have changed: if it is there it follows, or is dropped, for it is lent (S12). */
struct blocks_part {
	const void *data;
	size_t from, len;
};
void blocks_write(struct blocks *b, uint64_t id, uint64_t block, const struct blocks_part *p);
void blocks_drop(struct blocks *b, uint64_t id, uint64_t block);

/* Lends what blocks_find() or blocks_add() gave; false: too many are. */
bool blocks_lend(struct blocks *b, const uint8_t *data);
/* `data` is anywhere in it. */
void blocks_give_back(struct blocks *b, const uint8_t *data);

#endif
