/* calm.c - how long clients wait when exactly one thing happens to a healthy cluster.
 *
 * Each seed does one thing to the node that serves vs v1: power loss, a pause, a cut from
 * everything, a crash of the worker, or a planned move; the longest gap between two answers of each
 * vs that was there is its pause.  The time of helpers and workers is modelled (mount 4 to 40 ms,
 * recovery 5 to 80 ms), so these are the brain's own times and no replacement for the lab's. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES 4096

enum what { DIES, PAUSES, CUT_OFF, WORKER_DIES, MOVES, WHAT_COUNT };

static struct series {
	const char *name;
	unsigned limit_ms;
	unsigned count;
	uint64_t ns[SAMPLES];
} series[WHAT_COUNT] = {
    [DIES] = {.name = "power_loss", .limit_ms = 1000},
    [PAUSES] = {.name = "pause", .limit_ms = 1000},
    [CUT_OFF] = {.name = "cut_off", .limit_ms = 1000},
    [WORKER_DIES] = {.name = "worker_crash", .limit_ms = 150},
    [MOVES] = {.name = "planned_move", .limit_ms = 250},
};

static struct worker *server(struct sim *s, unsigned vs)
{
	for (unsigned i = 0; i < s->worker_end; i++)
		if (s->worker[i].vs == vs && worker_answers(s, &s->worker[i]))
			return &s->worker[i];
	return NULL;
}

static void cut_off(struct sim *s, unsigned host)
{
	for (unsigned i = 0; i < s->node_count; i++)
		for (unsigned p = 0; p < s->path_count; p++)
			s->link[host][i][p].cut = s->link[i][host][p].cut = 1;
	for (unsigned d = 0; d < s->device_count; d++)
		s->device[d].cut[host] = 1;
	for (unsigned u = 0; u < s->unit_count; u++)
		s->unit[u].cut[host] = 1;
}

static void move(struct sim *s, unsigned host)
{
	struct event ev = {.type = EV_CONTROL};

	ev.control.verb = CONTROL_VS_MOVE;
	ev.control.vs_id = s->conf.vs[0].id;
	ev.control.node = (uint16_t)(1 + (host + 1) % s->node_count);
	host_control(s, &s->host[host], &ev);
}

static void measure(struct sim *s, struct sim_item *it)
{
	struct series *r = &series[it->x];

	for (unsigned v = 0; v < s->vs_count; v++) {
		if (s->answered_ns[v] + SECOND < s->now_ns)
			sim_fail(s, "liveness", "vs %u is not served after one %s", v, r->name);
		if (!(it->a >> v & 1))
			continue;
		if (s->gap_ns[v] > r->limit_ms * MS)
			sim_fail(s, "pause", "clients of vs %u waited %.1f ms after one %s", v,
				 (double)s->gap_ns[v] / 1e6, r->name);
		s->measured |= 1U << v;
	}
	s->done = true;
}

void calm_count(uint64_t seed, unsigned measured, const uint64_t *gap_ns)
{
	struct series *r = &series[seed % WHAT_COUNT];

	for (unsigned v = 0; v < SIM_VS; v++)
		if (measured >> v & 1 && r->count < SAMPLES)
			r->ns[r->count++] = gap_ns[v];
}

static void happen(struct sim *s, struct sim_item *it)
{
	const struct worker *w = server(s, 0);
	enum what what = (enum what)(s->seed % WHAT_COUNT);
	uint64_t touched = 1;

	if (!w)
		sim_fail(s, "liveness", "vs 0 is not served by a healthy cluster");
	for (unsigned v = 0; v < s->vs_count; v++) {
		const struct worker *x = server(s, v);

		s->gap_ns[v] = 0;
		if (x && x->host == w->host && what != WORKER_DIES && what != MOVES)
			touched |= 1ULL << v;
	}
	switch (what) {
	case DIES:
		host_power_off(s, &s->host[w->host], "power loss");
		break;
	case PAUSES:
		host_pause(s, &s->host[w->host]);
		break;
	case CUT_OFF:
		cut_off(s, w->host);
		break;
	case WORKER_DIES:
		worker_dies(s, &s->worker[w - s->worker]);
		break;
	case MOVES:
		move(s, w->host);
		break;
	case WHAT_COUNT:
		break;
	}
	it = queue_put(s, 5 * SECOND, measure);
	it->x = (unsigned)what;
	it->a = touched;
}

/* Healthy: the fast profile, one unit a vs, nothing pinned, nobody gives back by itself. */
void calm_start(struct sim *s)
{
	s->conf.takeover_off = false;
	times_fast(&s->conf.times, 100 * MS);
	for (unsigned v = 0; v < s->vs_count; v++) {
		s->conf.vs[v].unit_count = s->conf.vs[v].fs_count = 1;
		memset(s->conf.vs[v].fs_unit, 0, sizeof(s->conf.vs[v].fs_unit));
		s->conf.vs[v].no_migrate = s->conf.vs[v].giveback_auto = false;
		s->unit[s->conf.vs[v].unit[0]].dir = false;
	}
	queue_put(s, between(s, 12 * SECOND, 13 * SECOND), happen);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void calm_report(void)
{
	for (unsigned i = 0; i < WHAT_COUNT; i++) {
		struct series *r = &series[i];

		if (r->count == 0)
			continue;
		qsort(r->ns, r->count, sizeof(r->ns[0]), by_size);
		printf("pause_ms %s count=%u median=%.0f p99=%.0f max=%.0f limit=%u\n", r->name,
		       r->count, (double)r->ns[r->count / 2] / 1e6,
		       (double)r->ns[r->count * 99 / 100] / 1e6, (double)r->ns[r->count - 1] / 1e6,
		       r->limit_ms);
	}
}
