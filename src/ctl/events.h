/* events.h - the event log: what happened on this node and why, kept for operators.
 *
 * One line an event in STATE_DIR/events, the older ones in events.1 to events.3:
 *
 *	CRC JSON		crc of the JSON text: CRC-32C, eight hex digits
 *
 * with the members seq, time, time_ns (wall clock), boot_ns (CLOCK_BOOTTIME), node, generation,
 * level, object, what, reason, todo.  Text, so that it can be read with nothing but a pager when
 * everything else is down; with a sum, so that rot is seen.
 *
 * The daemon must never wait for this file: a child of its own takes the events from a socket,
 * gives them their numbers, writes, makes them durable, and turns the files over by size and age.
 * It outlives a daemon that dies until what was said is on disk.  When it cannot keep up, events
 * are left out and the next one that gets through says how many.
 *
 * A torn last line is what a power loss leaves: it is cut off before the next is written, and no
 * reader counts it as damage.  Any other line that does not fit its sum is counted and skipped. */
#ifndef HF_CTL_EVENTS_H
#define HF_CTL_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "io/loop.h"

#define EVENTS_PARTS	4 /* events, events.1, events.2, events.3 */
#define EVENTS_LINE_MAX 2048

struct events;

struct events_conf {
	const char *dir;  /* the node's state folder; exists */
	const char *node; /* both stay valid */
	uint64_t size_bytes, age_ns;
};

struct events_item {
	enum log_level level;
	uint64_t generation;
	const char *object; /* "node n2", "vs v1", "unit u1", "path n2/0", "device /dev/x" */
	const char *what;
	const char *reason, *todo; /* "" or NULL: none */
};

/* Starts the child; 0 or -errno.  If it ends it is started again. */
int events_open(struct events **ep, struct loop *l, const struct events_conf *c);
void events_say(struct events *e, const struct events_item *it);
/* No more is said; waits at most so long for the child to have it all on disk. Frees `e`. */
void events_close(struct events *e, unsigned wait_ms);
/* Left out so far because the child could not keep up. */
uint64_t events_lost(const struct events *e);

/* ---- reading, without a daemon ---- */

struct events_seen {
	uint64_t lines, damaged;
	bool torn; /* the last line is not whole */
};

/* The parts of DIR in order, or one file; each event is appended to `list` (borrowed), *seen
 * grows.  A part that is not there is none; else -errno. */
int events_read_dir(const char *dir, json_t *list, struct events_seen *seen);
int events_read_file(const char *path, json_t *list, struct events_seen *seen);
/* "subsystem name: what" as the brain says it, cut in two: what remains is returned. `node` is
 * whom a text about no other object is about. */
const char *events_object(const char *text, const char *node, char *object, size_t size);

/* What the child does, for tests: writes one batch as the child would; 0 or -errno. */
struct events_file {
	char dir[512];
	int fd;
	uint64_t size_bytes, age_ns, part_bytes, first_ns, next_seq;
};
int events_file_open(struct events_file *f, const char *dir, uint64_t size_bytes, uint64_t age_ns);
/* `body`: a JSON object without its number. Durable when events_file_sync() returned 0. */
int events_file_add(struct events_file *f, const char *body, size_t len, uint64_t now_ns);
int events_file_sync(struct events_file *f);
/* Turns over and throws away what is too old. */
int events_file_age(struct events_file *f, uint64_t now_ns);
void events_file_close(struct events_file *f);

#endif
