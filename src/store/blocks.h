/* blocks.h - what is read again and again, in blocks of 4 KiB in our own memory.
 *
 * The page cache has it too; but a system call to it costs as much as all the rest of a small
 * READ.  A bounded number of blocks, eight to a set; a block comes in when it is read a second
 * time, so that one pass over much data throws nothing out.
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
void blocks_free(struct blocks *b);
/* The block's bytes, or NULL; valid until the next blocks_add(). */
const uint8_t *blocks_find(struct blocks *b, uint64_t id, uint64_t block);
/* It was read and not found: is it worth keeping?  Remembers that it was asked for. */
bool blocks_wanted(struct blocks *b, uint64_t id, uint64_t block);
/* Room for a block that is not there, to be filled by the caller (or dropped again). */
uint8_t *blocks_add(struct blocks *b, uint64_t id, uint64_t block);
void blocks_drop(struct blocks *b, uint64_t id, uint64_t block);

#endif
