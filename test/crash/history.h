/* history.h - one history: lives of a store that end in crashes, all decided by a seed.
 *
 * A life is: open the store, hold it against the model, do operations, end.  It ends in order, by
 * a killed process, by a power loss, or because an injected error made the store end itself; the
 * next life opens what is left, and may itself be cut short while it opens. */
#ifndef HF_TEST_HISTORY_H
#define HF_TEST_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"
#include "model.h"

/* What was going on at a boundary. */
enum phase { IN_SERVICE, IN_CHECKPOINT, IN_OPEN, IN_CLOSE, PHASES };
extern const char *const phase_name[PHASES];

#define MARKS_MAX  32U
#define OUR_STDERR 20 /* what the store says goes elsewhere */

/* Shared by all processes of the run. */
struct counts {
	uint64_t histories, failed, lives, boundaries;
	uint64_t crash[PHASES][PLACES]; /* ended here */
	uint64_t fault[PLACES][FAULTS]; /* failed here */
	uint64_t fate[FATES];
	uint64_t ops[OP_TYPES], kinds[8];
	uint64_t mark[MARKS_MAX];
	uint64_t powers, kills, fatals, closes, double_crashes, opens_failed, rots, resent,
	    repeated;
	uint64_t refused, full, checks, last_reply;
	uint64_t digest;
	uint64_t now; /* the seed that is under way */
	int status;
};
extern struct counts *counts;

struct history {
	uint64_t seed;
	bool every; /* fork at every boundary and at every call that can fail */
	bool verbose, trace;
	const char *work; /* a real directory for offline checks */
	char keep[64];    /* a failed disk is saved there, unless empty */
};
/* Returns when all is well, else says what is not and ends the process. */
void history_run(const struct history *h);
/* The faults that a call may be given: bits of enum fault. */
unsigned faults_of(enum place where);
/* Names of the code's own marks that are counted. */
extern const char *const history_marks[];
extern const unsigned history_mark_count;

#endif
