/* metrics.c - /metrics in the text format of Prometheus.
 *
 * One table gives name, type and help of every number.  libmicrohttpd runs without threads: its
 * epoll descriptor is one more descriptor of our loop. */
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "ctl/prom.h"
#include "daemon.h"

/* Who connects and says nothing must not keep those out for long who would ask. */
#define CONNECTIONS_MAX 64U
#define IDLE_S		3U

static struct {
	struct daemon *d;
	struct MHD_Daemon *http;
	struct loop_op op;
	struct loop_timer timer;
} metrics;

struct metric {
	const char *name, *type, *help;
	/* Writes its lines. */
	void (*put)(FILE *to, const char *name, struct daemon *d);
};

static void each_vs(FILE *to, const char *name, struct daemon *d, double (*value)(struct daemon *,
										  unsigned))
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		if (!d->conf->vserver[i].gone)
			prom_put(to, name, value(d, i), "vs", d->conf->vserver[i].name, NULL);
}

static double is_serving(struct daemon *d, unsigned vs)
{
	return d->node->vs[vs].state == VS_SERVING;
}

static double vs_epoch(struct daemon *d, unsigned vs)
{
#ifdef HF_MUTANT_METRIC_EPOCH
	return (double)d->worker[vs].starts - 1;
#endif
	return (double)d->node->vs[vs].epoch;
}

static double vs_starts(struct daemon *d, unsigned vs)
{
	return (double)d->worker[vs].starts;
}

static double vs_spare(struct daemon *d, unsigned vs)
{
	return d->worker[vs].spare && d->worker[vs].spare->prepared;
}

static double vs_crashes(struct daemon *d, unsigned vs)
{
	return (double)d->worker[vs].crashes;
}

static double vs_total(struct daemon *d, unsigned vs)
{
	return (double)d->node->vs[vs].total_ns / 1e9;
}

static double vs_repairs(struct daemon *d, unsigned vs)
{
	return (double)d->node->vs[vs].repairs;
}

static double vs_repairs_failed(struct daemon *d, unsigned vs)
{
	return (double)d->node->vs[vs].repairs_failed;
}

static double vs_repair_seconds(struct daemon *d, unsigned vs)
{
	return (double)d->node->vs[vs].repair_took_ns / 1e9;
}

static double vs_repairing(struct daemon *d, unsigned vs)
{
	return d->node->vs[vs].repair_op != 0;
}

static double vs_damages(struct daemon *d, unsigned vs)
{
	return (double)d->worker[vs].damages;
}

static void put_repairs(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_repairs);
}

static void put_repairs_failed(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_repairs_failed);
}

static void put_repair_seconds(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_repair_seconds);
}

static void put_repairing(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_repairing);
}

static void put_damages(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_damages);
}

static void put_serving(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, is_serving);
}

static void put_epoch(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_epoch);
}

static void put_starts(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_starts);
}

static void put_spares(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_spare);
}

static void put_crashes(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_crashes);
}

static void put_total(FILE *to, const char *name, struct daemon *d)
{
	each_vs(to, name, d, vs_total);
}

static void put_phases(FILE *to, const char *name, struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++)
		for (unsigned p = 0; p < PHASE_COUNT && !d->conf->vserver[i].gone; p++)
			prom_put(to, name, (double)d->node->vs[i].phase_ns[p] / 1e9, "vs",
				 d->conf->vserver[i].name, "phase", vs_phase_name(p), NULL);
}

static void put_state(FILE *to, const char *name, struct daemon *d)
{
	for (unsigned s = NODE_REBOOTING; s < NODE_STATE_COUNT; s++)
		prom_put(to, name, d->node->state == s, "state", node_state_name(s), NULL);
}

static void put_peers(FILE *to, const char *name, struct daemon *d)
{
	for (unsigned i = 0; i < d->node->peer_count; i++) {
		const struct node_peer *p = &d->node->peer[i];
		char id[16];

		snprintf(id, sizeof(id), "%u", p->id);
		prom_put(to, name, 1, "node_id", id, "verdict", status_verdict_name(p->verdict),
			 NULL);
	}
}

static void put_majority(FILE *to, const char *name, struct daemon *d)
{
	prom_put(to, name, node_has_majority(d->node), NULL);
}

static void put_drops(FILE *to, const char *name, struct daemon *d)
{
	unsigned number;

	for (unsigned way = 0; way < DROP_WAYS; way++)
		for (unsigned why = 0; why < DROP_COUNT && drops_way(d, way); why++) {
			const char *kind = drop_way_name(way, &number);
			char path[32];

			snprintf(path, sizeof(path), "%s%u", kind, number);
			prom_put(to, name, (double)drops_count(d, way, why), "path", path, "reason",
				 drop_name(why), NULL);
		}
}

static void put_events_lost(FILE *to, const char *name, struct daemon *d)
{
	prom_put(to, name, (double)diary_lost(d), NULL);
}

static void put_step(FILE *to, const char *name, struct daemon *d)
{
	prom_put(to, name, (double)d->step_ns_max / 1e9, NULL);
}

static void put_packets(FILE *to, const char *name, struct daemon *d)
{
	char path[16];

	for (unsigned i = 0; i < d->conf->node[d->self].path_count; i++) {
		snprintf(path, sizeof(path), "%u", i);
		prom_put(to, name, (double)peers_net(d, i)->received, "path", path, NULL);
	}
}

/* Every number of the worker's statistics, nested names joined; what is listed goes by its name, as
 * the stores do. */
static void put_tree(FILE *to, const char *name, const char *vs, const char *prefix,
		     const json_t *o)
{
	const char *key, *own;
	char joined[192];
	json_t *v, *e;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		int n = snprintf(joined, sizeof(joined), "%s%s%s", prefix, *prefix ? "." : "", key);

		if (n >= (int)sizeof(joined))
			continue;
		if (json_is_object(v))
			put_tree(to, name, vs, joined, v);
		json_array_foreach(v, i, e)
		{
			own = json_string_value(json_object_get(e, "name"));
			snprintf(joined + n, sizeof(joined) - (size_t)n, ".%s", own ? own : "");
			if (own)
				put_tree(to, name, vs, joined, e);
			joined[n] = '\0';
		}
		if (json_is_number(v))
			prom_put(to, name, json_number_value(v), "vs", vs, "name", joined, NULL);
	}
}

/* Of those that run here: what one that is gone had counted last is nobody's number. */
static void put_worker(FILE *to, const char *name, struct daemon *d)
{
	for (unsigned i = 0; i < d->conf->vserver_count; i++) {
		const struct worker *w = &d->worker[i];
		json_t *o = w->stats && w->life != WORKER_NONE ? json_loads(w->stats, 0, NULL) : NULL;

		if (o)
			put_tree(to, name, d->conf->vserver[i].name, "", o);
		json_decref(o);
	}
}

static void put_build(FILE *to, const char *name, struct daemon *d)
{
	(void)d;
	prom_put(to, name, 1, "version", HF_VERSION, NULL);
}

static const struct metric METRICS[] = {
	{"holdfast_build_info", "gauge", "1; the label is the version", put_build},
	{"holdfast_node_state", "gauge", "1 for the state that this node is in", put_state},
	{"holdfast_majority", "gauge",
	 "1 when a majority of the coordination devices was read and written just now",
	 put_majority},
	{"holdfast_peer_verdict", "gauge", "what this node thinks of another", put_peers},
	{"holdfast_vs_serving", "gauge", "1 when this node serves the virtual server", put_serving},
	{"holdfast_vs_epoch", "gauge", "epoch of this node's last ownership", put_epoch},
	{"holdfast_failover_phase_seconds", "gauge",
	 "how long each phase of the last bring-up on this node took", put_phases},
	{"holdfast_failover_seconds", "gauge", "the last bring-up on this node as a whole",
	 put_total},
	{"holdfast_worker_starts_total", "counter", "workers started", put_starts},
	{"holdfast_worker_spare", "gauge", "1 when a worker is prepared for the next start", put_spares},
	{"holdfast_worker_crashes_total", "counter", "workers that ended by themselves",
	 put_crashes},
	{"holdfast_damages_total", "counter", "times that a worker found its store or file system damaged",
	 put_damages},
	{"holdfast_repairs_total", "counter", "repairs after which service went on", put_repairs},
	{"holdfast_repairs_failed_total", "counter", "repairs that did not help", put_repairs_failed},
	{"holdfast_repair_seconds", "gauge", "how long the last repair took", put_repair_seconds},
	{"holdfast_repairing", "gauge", "1 while a repair is under way: clients of what is damaged wait",
	 put_repairing},
	{"holdfast_events_lost_total", "counter",
	 "events left out of the event log because its disk did not keep up", put_events_lost},
	{"holdfast_packets_received_total", "counter", "heartbeat datagrams on each path",
	 put_packets},
	{"holdfast_messages_dropped_total", "counter",
	 "status messages that were not taken, by path and reason", put_drops},
	{"holdfast_step_seconds_max", "gauge", "longest step of the brain with its actions",
	 put_step},
	{"holdfast_worker", "untyped", "the workers' own statistics, by name", put_worker},
};

static struct MHD_Response *render(struct daemon *d)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct MHD_Response *r;

	if (!f)
		return NULL;
	for (size_t i = 0; i < sizeof(METRICS) / sizeof(METRICS[0]); i++) {
		const struct metric *m = &METRICS[i];

		fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
		m->put(f, m->name, d);
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (r)
		MHD_add_response_header(r, "Content-Type", "text/plain; version=0.0.4");
	else
		free(text);
	return r;
}

static enum MHD_Result on_http(void *cls, struct MHD_Connection *c, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *size, void **request)
{
	static char absent[] = "try GET /metrics\n";
	bool here = strcmp(url, "/metrics") == 0;
	bool found = here && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
	struct MHD_Response *r;
	enum MHD_Result rc;

	(void)version;
	(void)data;
	(void)request;
	*size = 0;
	for (unsigned i = 0; i < metrics.d->conf->vserver_count && found; i++)
		worker_ask_stats(metrics.d, i);
	r = found ? render(cls) :
		    MHD_create_response_from_buffer(sizeof(absent) - 1, absent,
						    MHD_RESPMEM_PERSISTENT);
	if (!r)
		return MHD_NO;
	if (here && !found)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	rc = MHD_queue_response(
		c, found ? MHD_HTTP_OK : here ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND, r);
	MHD_destroy_response(r);
	return rc;
}

static int epoll_fd(void)
{
	const union MHD_DaemonInfo *i = MHD_get_daemon_info(metrics.http, MHD_DAEMON_INFO_EPOLL_FD);

	return i ? i->epoll_fd : -1;
}

static void run_http(void)
{
	unsigned long long left_ms = 0;
	uint64_t at = loop_clock_ns() + 1000000000ULL;

	MHD_run(metrics.http);
	if (MHD_get_timeout(metrics.http, &left_ms) == MHD_YES && left_ms < 1000)
		at = loop_clock_ns() + (left_ms + 1) * 1000000ULL;
	loop_timer_set(metrics.d->loop, &metrics.timer, at);
}

static void on_readable(struct loop_op *op, int res)
{
	if (res < 0 || !metrics.http)
		return;
	run_http();
	loop_poll_once(metrics.d->loop, op, epoll_fd(), POLLIN);
}

static void on_timer(struct loop_timer *t)
{
	(void)t;
	run_http();
}

int metrics_open(struct daemon *d, char *err, size_t err_size)
{
	const struct conf_path *m = &d->conf->node[d->self].metrics;
	struct sockaddr_storage addr;
	char text[64];

	if (m->port == 0)
		return 0;
	conf_net_sockaddr(&m->addr, m->port, &addr);
	metrics.d = d;
	metrics.http = MHD_start_daemon(
		MHD_USE_EPOLL | (addr.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0U), m->port, NULL,
		NULL, on_http, d, MHD_OPTION_SOCK_ADDR, &addr, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
	if (!metrics.http || epoll_fd() < 0) {
		int e = errno;

		snprintf(err, err_size, "%s port %u: metrics cannot be served: %s",
			 conf_net_text(&m->addr, false, text), m->port, strerror(e));
		return EXIT_ADDRESS;
	}
	metrics.op.done = on_readable;
	metrics.timer.fire = on_timer;
	loop_poll_once(d->loop, &metrics.op, epoll_fd(), POLLIN);
	return 0;
}

void metrics_close(struct daemon *d)
{
	if (!metrics.http)
		return;
	loop_timer_clear(d->loop, &metrics.timer);
	MHD_stop_daemon(metrics.http);
	metrics.http = NULL;
}
