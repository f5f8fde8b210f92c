/* trace.h - a small ring of what happened last, always on, printed by a panic.
 *
 * For developers; operators read the log.  One ring a process, written by its event loop only.
 * A mark names a place that a test must reach: tests and the simulator print which marks were
 * hit and fail when one they require was not. */
#ifndef HF_BASE_TRACE_H
#define HF_BASE_TRACE_H

#include <stdint.h>
#include <stdio.h>

/* Remembers one event; the text is cut at 119 bytes. */
void trace_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints the ring, oldest first. */
void trace_dump(FILE *to);

/* A coverage mark; registers itself at its first hit. */
struct trace_mark {
	const char *name;
	uint64_t hits;
	uint64_t last; /* number of its last hit, among all hits of all marks */
	struct trace_mark *next;
};
void trace_mark_hit(struct trace_mark *m);
/* Hits of the mark with this name so far, 0 when it was never reached. */
uint64_t trace_mark_count(const char *name);
void trace_mark_dump(FILE *to);
/* The mark that was hit first after hit number `since`, NULL when there is none. */
const struct trace_mark *trace_mark_after(uint64_t since);
uint64_t trace_mark_now(void);

#define HF_MARK(mark_name)                                                                         \
	do {                                                                                       \
		static struct trace_mark mark_ = {.name = (mark_name)};                            \
		trace_mark_hit(&mark_);                                                            \
	} while (0)

#endif
