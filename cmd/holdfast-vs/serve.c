/* serve.c - stores, RPC programs and transports put together, and taken down in order.
 *
 * Coming up:  receiving hooks -> stores (recovery; their batch hooks) -> RPC server -> sending hooks.
 * So a round is: receive and run, put the log batch on its way, send what may be sent.
 *
 * Going down (planned):  stop reading -> calls under way are answered -> stores checkpoint and
 * close -> drained.  Connections are not closed before the process ends, and stay in the store's
 * table: the successor tickles the clients. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "vs.h"

#define MS	     1000000ULL
#define BUSY_WAIT_NS (1000 * MS)
#define DRAIN_DRY_NS (20 * MS) /* after the last answer: for readers that are slow */
#define DRAIN_MAX_NS (5000 * MS)

/* ---- events from below ------------------------------------------------------------------------ */

static void on_durable(void *arg, uint64_t lsn)
{
	struct vs_store *st = arg;

	if (st->vs->rpc)
		rpc_durable(st->vs->rpc, st->s, lsn);
}

/* The log waits with the replies while the lease is gone (F4). */
static bool on_write(void *arg)
{
	struct vs_store *st = arg;

	if (lease_good(st->vs))
		return true;
	lease_watch_soon(st->vs);
	return false;
}

/* The clients' connections end with us and their requests wait at the sockets that the daemon
 * keeps open, until the store is repaired and the next worker takes them. */
static void on_damage(void *arg, const char *reason)
{
	struct vs_store *st = arg;

	log_err("store %s: damaged, closed to clients: %s", st->name, reason);
	control_damage(st->vs, st->name, reason, false);
}

static void on_failing(void *arg, const char *reason)
{
	struct vs_store *st = arg;

	log_err("store %s: the file system below fails, closed to clients: %s", st->name, reason);
	control_damage(st->vs, st->name, reason, true);
}

static bool on_call(void *arg, struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	struct vs *v = arg;

	return rpc_receive(v->rpc, from, msg, len);
}

static void on_ahead(void *arg, const struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	struct vs *v = arg;

	rpc_ahead(v->rpc, from, msg, len);
}

static void on_first_reply(void *arg)
{
	struct vs *v = arg;

	if (v->first_reply_ns)
		return;
	v->first_reply_ns = loop_clock_ns();
	control_first_reply(v);
}

static void address_of(const struct sockaddr_storage *a, uint8_t addr[16], uint16_t *port)
{
	memset(addr, 0, 16);
	*port = 0;
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)a;

		addr[10] = addr[11] = 0xff;
		memcpy(addr + 12, &in->sin_addr, 4);
		*port = ntohs(in->sin_port);
	} else if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

		memcpy(addr, &in6->sin6_addr, 16);
		*port = ntohs(in6->sin6_port);
	}
}

static void conn_of(const struct rpc_peer *p, struct store_conn *c)
{
	address_of(&p->remote, c->remote, &c->remote_port);
	address_of(&p->local, c->local, &c->local_port);
}

/* The virtual server's connections are remembered in its first store, of those that are open; who
 * comes next reads the lists of all. */
static struct store *first_store(const struct vs *v)
{
	unsigned k = 0;

	while (serve_without(v, k))
		k++;
	hf_assert(k < v->store_count);
	return v->store[k].s;
}

static void on_opened(void *arg, const struct rpc_peer *p)
{
	struct vs *v = arg;
	struct store_conn c;

	conn_of(p, &c);
	store_conn_add(first_store(v), &c);
}

static void on_closed(void *arg, const struct rpc_peer *p)
{
	struct vs *v = arg;
	struct store_conn c;

	if (v->draining)
		return;
	conn_of(p, &c);
	store_conn_del(first_store(v), &c);
}

/* ---- coming up -------------------------------------------------------------------------------- */

static enum vs_exit open_status(int err)
{
	switch (err) {
	case -EBUSY:
		return VS_EXIT_BUSY;
	case -ENOTSUP:
		return VS_EXIT_FORMAT;
	case -EUCLEAN:
		return VS_EXIT_DAMAGED;
	default:
		return vs_exit_of(err, VS_EXIT_FAILED);
	}
}

static enum vs_exit store_up(struct vs *v, struct vs_store *st, char *err, size_t err_size)
{
	struct store_open_args a = {.dir = st->dir,
				    .loop = v->loop,
				    .epoch = v->epoch,
				    .on_durable = on_durable,
				    .may_write = v->lease ? on_write : NULL,
				    .on_damage = on_damage,
				    .on_failing = on_failing,
				    .arg = st};
	uint64_t until;
	int e;

	store_conf_default(&a.conf);
	if (st->conf->log_half_bytes)
		a.conf.log_half_bytes = st->conf->log_half_bytes;
	if (st->conf->index_map_bytes)
		a.conf.index_map_bytes = st->conf->index_map_bytes;
	if (st->conf->checkpoint_ns)
		a.conf.checkpoint_interval_ns = st->conf->checkpoint_ns;
	if (st->conf->cache_inodes)
		a.conf.cache_inodes = st->conf->cache_inodes;
	a.conf.read_cache_bytes = st->conf->read_cache_bytes;
	if (st->conf->dup_keep_ns)
		a.conf.dup_keep_ns = st->conf->dup_keep_ns;
	st->vs = v;
	/* A predecessor that was just killed may have writes in flight: its ring holds the store's
	 * lock until they have landed (F5). */
	until = loop_clock_ns() + BUSY_WAIT_NS;
	while ((e = store_open(&st->s, &a, err, err_size)) == -EBUSY && loop_clock_ns() < until)
		nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
	if (e == -EUCLEAN || e == -EIO || e == -EROFS || e == -ESHUTDOWN)
		control_damage(v, st->name, err, e != -EUCLEAN);
	return e ? open_status(e) : VS_EXIT_OK;
}

static void client_conf(const struct conf_client *from, struct export_client_conf *to)
{
	memcpy(to->addr, from->net.addr, 16);
	to->prefix = from->net.prefix;
	to->rw = from->writable;
	to->insecure = !from->secure;
	to->sec_none = (from->sec & CONF_SEC_NONE) != 0;
	to->sec_sys_off = (from->sec & CONF_SEC_SYS) == 0;
	to->squash = from->all_squash    ? SQUASH_ALL
		     : from->root_squash ? SQUASH_ROOT
					 : SQUASH_NONE;
	to->anonuid = from->anonuid;
	to->anongid = from->anongid;
}

/* Of the configuration as the RPC room wants it. */
struct nfs_setup {
	struct nfs_conf conf;
	struct export_conf exports[CONF_EXPORTS_MAX];
	struct export_client_conf clients[CONF_EXPORTS_MAX][CONF_CLIENTS_MAX];
	struct store *stores[CONF_STORES_MAX];
};

static struct nfs_setup *nfs_setup(const struct vs *v)
{
	struct nfs_setup *n = mem_zalloc(1, sizeof(*n));
	const struct conf_vserver *cv = v->vserver;

	n->conf = (struct nfs_conf){.stores = n->stores,
				    .store_count = v->store_count,
				    .exports = n->exports,
				    .export_count = cv->export_count,
				    .nfs_port = cv->nfs_port,
				    .mount_port = cv->mount_port,
				    .read_fence_strict = cv->read_fence_strict,
				    .portmap_port = cv->portmap ? 111 : 0};
	for (unsigned i = 0; i < v->store_count; i++)
		n->stores[i] = serve_without(v, i) ? NULL : v->store[i].s;
	for (unsigned i = 0; i < cv->export_count; i++) {
		const struct conf_export *x = &cv->export[i];

		for (unsigned j = 0; j < x->client_count; j++)
			client_conf(&x->client[j], &n->clients[i][j]);
		n->exports[i] = (struct export_conf){.path = x->path,
						     .dir = x->dir,
						     .store = x->store,
						     .clients = n->clients[i],
						     .client_count = x->client_count};
	}
	return n;
}

static enum vs_exit rpc_up(struct vs *v, char *err, size_t err_size)
{
	struct nfs_setup *n = nfs_setup(v);
	struct rpc_server_args a = {.loop = v->loop, .conf = &n->conf};
	/* may_serve stays NULL: the transports ask, they can keep what the lease holds up. */
	int rc = rpc_server_new(&v->rpc, &a, err, err_size);

	free(n);
	return rc ? vs_exit_of(rc, VS_EXIT_FAILED) : VS_EXIT_OK;
}

int serve_exports(struct vs *v, char *err, size_t err_size)
{
	struct nfs_setup *n = nfs_setup(v);
	int rc = rpc_server_exports(v->rpc, &n->conf, err, err_size);

	free(n);
	return rc;
}

enum vs_exit serve_open(struct vs *v, char *err, size_t err_size)
{
	const struct stream_ops sops = {.receive = on_call,
					.ahead = on_ahead,
					.may_serve = v->lease ? lease_good : NULL,
					.opened = on_opened,
					.closed = on_closed,
					.first_sent = on_first_reply};
	const struct dgram_ops dops = {.receive = on_call,
				       .may_serve = v->lease ? lease_good : NULL,
				       .first_sent = on_first_reply};
	struct stream_conf sc;
	enum vs_exit st = VS_EXIT_OK;

	stream_conf_default(&sc);
	stream_new(&v->stream, v->loop, &sc, &sops, v);
	dgram_new(&v->dgram, v->loop, &dops, v);
	for (unsigned i = 0; i < v->store_count && st == VS_EXIT_OK; i++)
		st = serve_without(v, i) ? VS_EXIT_OK : store_up(v, &v->store[i], err, err_size);
	if (st == VS_EXIT_OK)
		st = rpc_up(v, err, err_size);
	stream_start(v->stream);
	dgram_start(v->dgram);
	return st;
}

int serve_socket(struct vs *v, enum worker_role role, int fd)
{
	switch (role) {
	case WORKER_ROLE_NFS_TCP:
		return stream_listen(v->stream, fd, v, true);
	case WORKER_ROLE_PMAP_TCP:
	case WORKER_ROLE_MOUNT_TCP:
		return stream_listen(v->stream, fd, v, false);
	case WORKER_ROLE_NFS_UDP:
	case WORKER_ROLE_PMAP_UDP:
	case WORKER_ROLE_MOUNT_UDP:
		return dgram_listen(v->dgram, fd, v);
	}
	return -EINVAL; /* a daemon newer than we are */
}

/* ---- going down ------------------------------------------------------------------------------- */

/* Lets go of the units' locks now and not when the kernel gets round to ending the ring: the next
 * owner waits for them, and the unmount for the stores' files.  The closed stores have nothing in
 * flight, and have let go of their own locks. */
static void locks_drop(const struct vs *v)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	for (unsigned i = 0; i < v->lock_count; i++)
		(void)fcntl(v->lock_fd[i], F_OFD_SETLK, &fl);
	loop_release_files(v->loop);
}

static void store_closed(void *arg, int err)
{
	struct vs_store *st = arg;
	struct vs *v = st->vs;

	st->closed = true;
	if (err && !v->close_err)
		v->close_err = err;
	if (--v->closing)
		return;
	if (!v->close_err)
		locks_drop(v);
	v->drained(v, v->close_err);
}

static void stores_close(struct vs *v)
{
	v->drain_close_ns = loop_clock_ns();
	loop_hook_del(&v->drain_hook);
	v->closing = v->store_count - (unsigned)__builtin_popcount(v->away);
	for (unsigned i = 0; i < v->store_count; i++)
		if (!serve_without(v, i))
			store_close(v->store[i].s, store_closed, &v->store[i]);
}

/* At the end of each round: is everything answered?  Then the slow readers have a moment more;
 * what they do not take they will ask for again and get from the duplicate cache. */
static void drain_look(struct loop_hook *h)
{
	struct vs *v = LIST_OWNER(h, struct vs, drain_hook);
	/* Not the loop's time: that of the round in which the drain began is older than its begin, and a
	 * difference below zero would end it at once, with calls under way. */
	uint64_t now = loop_clock_ns();
	bool quiet = stream_quiet(v->stream) && dgram_quiet(v->dgram);

	if (rpc_pending(v->rpc) == 0 && v->drain_dry_ns == 0)
		v->drain_dry_ns = now;
	if ((v->drain_dry_ns && (quiet || now - v->drain_dry_ns > DRAIN_DRY_NS)) ||
	    now - v->drain_since_ns > DRAIN_MAX_NS)
		stores_close(v);
}

static void drain_tick(struct loop_timer *t)
{
	(void)t; /* a round begins: drain_look() follows */
}

void serve_drain(struct vs *v, void (*drained)(struct vs *v, int err))
{
	static struct loop_timer tick = {.fire = drain_tick};

	if (v->draining)
		return;
	v->draining = true;
	v->drained = drained;
	v->drain_since_ns = loop_clock_ns();
	v->drain_hook.call = drain_look;
	stream_drain(v->stream);
	dgram_drain(v->dgram);
	loop_hook_add(v->loop, &v->drain_hook);
	loop_timer_set(v->loop, &tick, v->drain_since_ns + DRAIN_DRY_NS + MS);
	loop_again(v->loop);
}
