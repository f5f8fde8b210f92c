/* fakeloop.h - what the crash rig needs of fakeloop.c beyond io/loop.h. */
#ifndef HF_TEST_FAKELOOP_H
#define HF_TEST_FAKELOOP_H

#include <stdbool.h>
#include <stdint.h>

/* In the helper: back to the loop, which goes on with the helper in a later round. */
void fake_give_way(void);
/* It goes on in one of so many rounds. */
void fake_helper_pace(unsigned one_in);
/* After a crash: there is no helper any more. */
void fake_forget_helper(void);
bool fake_in_helper(void);
/* The wall clock, which may jump. */
void fake_clock_jump(int64_t by_ns);
void fake_clock_reset(void);

#endif
