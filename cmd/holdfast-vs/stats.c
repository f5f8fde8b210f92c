/* stats.c - numbers of a worker as JSON, for holdfastd's /metrics and `holdfast status`. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "vs.h"

static void set(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void counter(void *arg, const char *name, const char *help, uint64_t value)
{
	(void)help;
	set(arg, name, value);
}

static void proc(void *arg, const char *program, const char *name, uint64_t calls, uint64_t errors)
{
	json_t *programs = arg, *p = json_object_get(programs, program), *o;

	if (calls == 0)
		return;
	if (!p) {
		p = json_object();
		json_object_set_new(programs, program, p);
	}
	o = json_object();
	set(o, "calls", calls);
	set(o, "errors", errors);
	json_object_set_new(p, name, o);
}

static json_t *stream_json(const struct vs *v)
{
	struct stream_stats s;
	json_t *o = json_object();

	stream_stats(v->stream, &s);
	set(o, "open", s.open);
	set(o, "accepted", s.accepted);
	set(o, "refused", s.refused);
	set(o, "evicted", s.evicted);
	set(o, "closed", s.closed);
	set(o, "records", s.records);
	set(o, "recvs", s.recvs);
	set(o, "sends", s.sends);
	set(o, "bytes_in", s.bytes_in);
	set(o, "bytes_out", s.bytes_out);
	set(o, "bad_records", s.bad_records);
	set(o, "slow_senders", s.slow_senders);
	set(o, "slow_readers", s.slow_readers);
	set(o, "lapses", s.lapses);
	set(o, "queued_bytes", s.out_bytes);
	set(o, "call_bytes", s.call_bytes);
	return o;
}

/* [upper bound in us, how many] */
static json_t *bins_json(const uint64_t *bin, unsigned bins)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < bins; i++) {
		json_t *o;

		if (bin[i] == 0)
			continue;
		o = json_object();
		set(o, "below_us", 1ULL << i);
		set(o, "count", bin[i]);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *dgram_json(const struct vs *v)
{
	struct dgram_stats s;
	json_t *o = json_object();

	dgram_stats(v->dgram, &s);
	set(o, "calls", s.calls);
	set(o, "replies", s.replies);
	set(o, "bad", s.bad);
	set(o, "too_long", s.too_long);
	set(o, "dropped", s.dropped);
	set(o, "lapsed", s.lapsed);
	return o;
}

static json_t *store_json(const struct vs_store *st)
{
	struct store_stats s;
	struct store_info i;
	json_t *o = json_object();

	store_stats(st->s, &s);
	store_info(st->s, &i);
	json_object_set_new(o, "name", json_string(st->name));
	set(o, "last_lsn", i.last_lsn);
	set(o, "durable_lsn", i.durable_lsn);
	set(o, "checkpoint_lsn", i.checkpoint_lsn);
	set(o, "recovered_records", i.recovered_records);
	set(o, "recovery_ns", i.recovery_ns);
	json_object_set_new(o, "was_clean", json_boolean(i.was_clean));
	set(o, "records", s.records);
	set(o, "batches", s.batches);
	set(o, "log_bytes", s.log_bytes);
	set(o, "checkpoints", s.checkpoints);
	set(o, "checkpoint_ns_last", s.checkpoint_ns_last);
	set(o, "checkpoint_ns_max", s.checkpoint_ns_max);
	set(o, "cold_reads", s.cold_reads);
	set(o, "overlay_bytes", s.overlay_bytes);
	set(o, "cached_inodes", s.cached_inodes);
	set(o, "cached_names", s.cached_names);
	set(o, "dup_entries", s.dup_entries);
	set(o, "dup_clients", s.dup_clients);
	set(o, "stalls", s.stalls);
	set(o, "gathered", s.gathered);
	set(o, "gathered_short", s.gathered_short);
	set(o, "paced", s.paced);
	set(o, "paced_ns", s.paced_ns);
	set(o, "half_used_bytes", s.half_used_bytes);
	set(o, "half_size_bytes", s.half_size_bytes);
	return o;
}

struct export_list {
	json_t *all;
	uint64_t missing;
};

static void export_json(void *arg, const char *path, const char *dir, bool found)
{
	struct export_list *l = arg;

	l->missing += !found;
	json_array_append_new(l->all, json_pack("{s:s, s:s, s:b}", "path", path, "dir", dir,
						"found", found));
}

char *stats_json(struct vs *v)
{
	json_t *o = json_object(), *nfs = json_object(), *procs = json_object(),
	       *stores = json_array();
	struct export_list exports = {.all = json_array()};
	char *text;

	json_object_set_new(o, "vserver", json_string(v->name));
	json_object_set_new(o, "node", json_string(v->node));
	set(o, "epoch", v->epoch);
	set(o, "now_ns", loop_clock_ns());
	set(o, "started_ns", v->started_ns);
	set(o, "opened_ns", v->opened_ns);
	set(o, "first_reply_ns", v->first_reply_ns);
	json_object_set_new(o, "draining", json_boolean(v->draining));
	json_object_set_new(o, "lease_good", json_boolean(lease_good(v)));
	rpc_stats_each(v->rpc, counter, nfs);
	rpc_procs_each(v->rpc, proc, procs);
	json_object_set_new(o, "nfs", nfs);
	json_object_set_new(o, "procedures", procs);
	rpc_exports_each(v->rpc, export_json, &exports);
	json_object_set_new(o, "exports", exports.all);
	set(o, "exports_missing", exports.missing);
	/* How long replies waited for the log; how long the loop was busy without a look at the kernel. */
	json_object_set_new(o, "reply_waits", bins_json(rpc_waits(v->rpc), RPC_WAIT_BINS));
	json_object_set_new(o, "rounds", bins_json(loop_rounds(v->loop)->bin, LOOP_ROUND_BINS));
	set(o, "round_longest_ns", loop_rounds(v->loop)->longest_ns);
	json_object_set_new(o, "tcp", stream_json(v));
	json_object_set_new(o, "udp", dgram_json(v));
	for (unsigned i = 0; i < v->store_count; i++)
		if (!serve_without(v, i))
			json_array_append_new(stores, store_json(&v->store[i]));
	json_object_set_new(o, "stores", stores);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text ? text : mem_strdup("{}");
}
