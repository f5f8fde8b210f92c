/* trace.c - the trace ring and the coverage marks. */
#include "base/trace.h"

#include <stdarg.h>
#include <string.h>

#define TRACE_LINES 256
#define TRACE_BYTES 120

static char ring[TRACE_LINES][TRACE_BYTES];
static uint64_t ring_next;
static struct trace_mark *marks;
static uint64_t mark_hits;

void trace_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ring[ring_next++ % TRACE_LINES], TRACE_BYTES, fmt, ap);
	va_end(ap);
}

void trace_dump(FILE *to)
{
	uint64_t i = ring_next > TRACE_LINES ? ring_next - TRACE_LINES : 0;

	for (; i < ring_next; i++)
		fprintf(to, "trace[%llu]: %s\n", (unsigned long long)i, ring[i % TRACE_LINES]);
}

void trace_mark_hit(struct trace_mark *m)
{
	m->last = ++mark_hits;
	if (m->hits++ == 0) {
		m->next = marks;
		marks = m;
	}
}

uint64_t trace_mark_count(const char *name)
{
	uint64_t n = 0;

	for (const struct trace_mark *m = marks; m; m = m->next)
		if (strcmp(m->name, name) == 0)
			n += m->hits;
	return n;
}

uint64_t trace_mark_now(void)
{
	return mark_hits;
}

const struct trace_mark *trace_mark_after(uint64_t since)
{
	const struct trace_mark *first = NULL;

	for (const struct trace_mark *m = marks; m; m = m->next)
		if (m->last > since && (!first || m->last < first->last))
			first = m;
	return first;
}

void trace_mark_dump(FILE *to)
{
	for (const struct trace_mark *m = marks; m; m = m->next)
		fprintf(to, "mark %s %llu\n", m->name, (unsigned long long)m->hits);
}
