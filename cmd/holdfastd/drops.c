/* drops.c - messages that are not taken, on every way they come: counted by way and reason, logged
 * with a limit, shown by `holdfast status` and /metrics.
 *
 * Two places drop.  The shell drops what is not authentic; the brain what is, and still is not to be
 * taken: replayed, of another version, by the wrong node.  Nobody who sends can fill the log: one line
 * in SAY_NS for each way and reason, the rest is counted. */
#include <string.h>

#include "base/log.h"
#include "daemon.h"

#define SAY_NS 10000000000ULL

static void say(struct daemon *d, unsigned way, enum drop why, const char *from)
{
	uint64_t now = loop_clock_ns(), *said = &d->drops_said_ns[way][why];
	unsigned number;
	const char *kind = drop_way_name(way, &number);
	char object[32];

	if (*said && now < *said + SAY_NS)
		return;
	*said = now;
	log_warn("%s %u: message from %s dropped reason=%s (%s), %llu so far", kind, number, from,
		 drop_name(why), drop_help(why), (unsigned long long)drops_count(d, way, why));
	snprintf(object, sizeof(object), "%s %u", kind, number);
	diary_say(d, LOG_L_WARN, object, REASON_NONE, "message from %s dropped: %s (%s), %llu so far",
		  from, drop_name(why), drop_help(why),
		  (unsigned long long)drops_count(d, way, why));
}

void drops_note(struct daemon *d, unsigned way, enum drop why, const char *from)
{
	drop_note(&d->drops, way, why);
	say(d, way, why, from);
}

void drops_look(struct daemon *d, const char *from)
{
	const struct drops *n = &d->node->drops;

	if (n->all == d->drops_seen)
		return;
	d->drops_seen = n->all;
	say(d, n->way, n->why, from);
}

uint64_t drops_count(const struct daemon *d, unsigned way, enum drop why)
{
	return d->drops.n[way][why] + d->node->drops.n[way][why];
}

bool drops_way(const struct daemon *d, unsigned way)
{
	if (way < DROP_WAY_DEVICE)
		return way < d->conf->node[d->self].path_count;
	if (way == DROP_WAY_MEMORY)
		return d->node->conf.memory;
	return way - DROP_WAY_DEVICE < d->conf->coord_count;
}

/* Only what has happened, with the totals in front. */
json_t *drops_json(const struct daemon *d)
{
	json_t *list = json_array();
	unsigned number;

	for (unsigned way = 0; way < DROP_WAYS; way++)
		for (unsigned why = 0; why < DROP_COUNT; why++) {
			uint64_t n = drops_count(d, way, why);
			const char *kind = drop_way_name(way, &number);

			if (n)
				json_array_append_new(
					list, json_pack("{s:s, s:i, s:s, s:I, s:s}", "way", kind,
							"number", (int)number, "reason",
							drop_name(why), "count", (json_int_t)n,
							"help", drop_help(why)));
		}
	return list;
}
