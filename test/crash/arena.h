/* arena.h - memory that a crash cannot leak: between arena_begin() and arena_end() malloc() and its
 * family give from one region, which the next arena_begin() takes back as a whole. */
#ifndef HF_TEST_ARENA_H
#define HF_TEST_ARENA_H

void arena_begin(void);
void arena_end(void);

#endif
