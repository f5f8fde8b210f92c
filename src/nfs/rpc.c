/* rpc.c - the dispatcher: header, credentials, table, reply.
 *
 * A message is checked in the order of RFC 5531: RPC version, program, version, procedure,
 * credentials, arguments; each failure has its own reply and its own counter.  The procedure then
 * runs to completion, and its reply is sent or held.  Nothing here allocates, logs or calls the
 * system on the way of a good call. */
#include "nfs/rpc.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "nfs/rpc_int.h"

#define RETRY_NS   1000000 /* for what waits for something else than the log */
#define PARKED_MAX 8192	   /* what a server keeps while its lease is gone; beyond it is dropped */

static const struct rpc_program *const programs[] = {
    &nfs3_program, &mount3_program, &mount1_program, &pmap2_program, &rpcb3_program, &rpcb4_program,
};
#define PROGRAM_COUNT (sizeof(programs) / sizeof(programs[0]))

static bool may_serve(struct rpc_server *s)
{
	if (s->may_serve == NULL || s->may_serve(s->arg))
		return true;
	s->stats.silent++;
	return false;
}

void rpc_put_head(struct wr *w, uint32_t xid)
{
	uint8_t *b = wr_room(w, RPC_REPLY_HEAD);

	if (b == NULL)
		return;
	memset(b, 0, RPC_REPLY_HEAD);
	put_u32(b, xid);
	put_u32(b + 4, REPLY);
}

static void note_reply(struct rpc_server *s)
{
	s->stats.replies++;
	if (s->replied)
		return;
	s->replied = true;
	if (s->on_first_reply)
		s->on_first_reply(s->arg);
}

void rpc_send(struct rpc_server *s, struct rpc_peer *peer, const void *msg, size_t len, void *bulk,
	      size_t bulk_len)
{
	if (bulk)
		peer->ops->send_bulk(peer, msg, len, bulk, bulk_len, bulk_put, s);
	else
		peer->ops->send(peer, msg, len);
	note_reply(s);
}

void rpc_reply(struct rpc_server *s, struct rpc_peer *peer, struct fs *fs, uint64_t lsn,
	       const struct store_caller *key, const struct wr *out, void *bulk, size_t bulk_len)
{
	struct held *h;

	if (fs && lsn == LSN_LAST)
		lsn = store_last_lsn(fs->store);
#ifndef HF_MUTANT_NFS_LOOSE_FENCE
	if (fs && s->read_fence_strict)
		lsn = store_fence(fs->store);
#endif
#ifdef HF_MUTANT_NFS_REPLY_EARLY
	fs = NULL;
#endif
	if (fs == NULL || lsn <= store_durable_lsn(fs->store)) {
		rpc_send(s, peer, out->start, wr_len(out), bulk, bulk_len);
		return;
	}
	h = held_new(s, HELD_REPLY, peer, out->start, wr_len(out));
	h->bulk = bulk;
	h->bulk_len = bulk_len;
	if (key)
		held_key(s, h, key);
	held_wait(s, h, fs, lsn);
	s->stats.held++;
}

static void retry_soon(struct rpc_server *s)
{
	if (s->loop && !s->retry.deadline_ns)
		loop_timer_set(s->loop, &s->retry, loop_clock_ns() + RETRY_NS);
}

/* Silence, not loss: what came or would have left without a lease is put aside.  It goes on when
 * the lease is back; when it never comes back the process ends, and all this with it. */
void rpc_park(struct rpc_server *s, struct held *h)
{
	if (s->parked_count >= PARKED_MAX) {
		held_free(s, h);
		return;
	}
	HF_MARK("nfs.parked");
	s->parked_count++;
	list_del(&h->link);
	list_add_tail(&s->parked, &h->link);
	retry_soon(s);
}

void rpc_reply_late(struct rpc_server *s, struct held *h, uint64_t lsn, const struct wr *out)
{
	struct fs *fs = h->obj.fs;

	if (lsn == LSN_LAST)
		lsn = store_last_lsn(fs->store);
	held_unlink(s, h);
	if (lsn > store_durable_lsn(fs->store) || may_serve(s))
		rpc_reply(s, h->peer, fs, lsn, &h->key, out, NULL, 0);
	else
		rpc_park(s, held_new(s, HELD_REPLY, h->peer, out->start, wr_len(out)));
	held_free(s, h);
}

/* ---- refusals ------------------------------------------------------------------------------- */
static void refuse(struct call *c, enum reply_stat how, uint32_t why, const uint32_t *more,
		   unsigned more_count)
{
	uint8_t bytes[64];
	struct wr w;

	wr_init(&w, bytes, sizeof(bytes));
	wr_u32(&w, c->xid);
	wr_u32(&w, REPLY);
	wr_u32(&w, how);
	if (how == MSG_ACCEPTED)
		wr_u64(&w, 0); /* null verifier */
	wr_u32(&w, why);
	for (unsigned i = 0; i < more_count; i++)
		wr_u32(&w, more[i]);
	rpc_send(c->srv, c->peer, w.start, wr_len(&w), NULL, 0);
}

static void refuse_auth(struct call *c, uint32_t why)
{
	c->srv->stats.bad_auth++;
	refuse(c, MSG_DENIED, AUTH_ERROR, &why, 1);
}

static void refuse_version(struct call *c)
{
	static const uint32_t two[2] = {RPC_VERSION, RPC_VERSION};

	c->srv->stats.bad_version++;
	refuse(c, MSG_DENIED, RPC_MISMATCH, two, 2);
}

static bool program_served(const struct rpc_server *s, const struct rpc_program *p)
{
	return p->prog != PMAP_PROG || s->portmap_port != 0;
}

static void refuse_program(struct call *c, uint32_t prog)
{
	uint32_t range[2] = {UINT32_MAX, 0};

	c->srv->stats.bad_program++;
	for (size_t i = 0; i < PROGRAM_COUNT; i++) {
		const struct rpc_program *p = programs[i];

		if (p->prog != prog || !program_served(c->srv, p))
			continue;
		range[0] = p->vers < range[0] ? p->vers : range[0];
		range[1] = p->vers > range[1] ? p->vers : range[1];
	}
	if (range[1])
		refuse(c, MSG_ACCEPTED, PROG_MISMATCH, range, 2);
	else
		refuse(c, MSG_ACCEPTED, PROG_UNAVAIL, NULL, 0);
}

/* ---- the header ----------------------------------------------------------------------------- */
uint16_t rpc_client_of(const struct rpc_peer *p, uint8_t client[16])
{
	const struct sockaddr_storage *ss = &p->remote;

	memset(client, 0, 16);
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)ss;

		memcpy(client, &in6->sin6_addr, 16);
		return ntohs(in6->sin6_port);
	} else {
		const struct sockaddr_in *in = (const void *)ss;

		client[10] = client[11] = 0xff;
		memcpy(client + 12, &in->sin_addr, 4);
		return ntohs(in->sin_port);
	}
}

static bool parse_sys(struct call *c, const struct xdr_bytes *body)
{
	struct authsys_parms p;
	struct rd r;

	rd_init(&r, body->p, body->n);
	xdr_get_authsys_parms(&r, &p);
	if (!rd_ok(&r))
		return false;
	c->cred.uid = p.uid;
	c->cred.gid = p.gid;
	c->cred.gid_count = p.gids.n;
	for (uint32_t i = 0; i < p.gids.n; i++)
		c->cred.gids[i] = p.gids.at[i];
	return true;
}

/* AUTH_OK, or why not. Procedure 0 of any program never needs credentials. */
static uint32_t parse_cred(struct call *c, const struct opaque_auth *cred, bool null_proc)
{
	c->sys = false;
	memset(&c->cred, 0, offsetof(struct cred, gids));
	if (cred->flavor == AUTH_SYS) {
		c->sys = true;
		return parse_sys(c, &cred->body) ? AUTH_OK : AUTH_BADCRED;
	}
	if (cred->flavor == AUTH_NONE || null_proc)
		return AUTH_OK;
	return AUTH_REJECTEDCRED;
}

static const struct rpc_program *find_program(const struct rpc_server *s, uint32_t prog,
					      uint32_t vers)
{
	for (size_t i = 0; i < PROGRAM_COUNT; i++) {
		const struct rpc_program *p = programs[i];

		if (p->prog == prog && p->vers == vers)
			return program_served(s, p) ? p : NULL;
	}
	return NULL;
}

struct proc_stat *rpc_stat(const struct call *c)
{
	size_t at = 0;

	for (size_t i = 0; programs[i] != c->program; i++)
		at += programs[i]->proc_count;
	return &c->srv->proc_stats[at + (size_t)(c->proc - c->program->procs)];
}

/* Everything up to the arguments; false when the call was answered (or dropped) already. */
static bool prepare(struct call *c, const struct rpc_call_head *head, const struct opaque_auth *cred)
{
	uint32_t why;

	c->program = find_program(c->srv, head->prog, head->vers);
	if (c->program == NULL) {
		refuse_program(c, head->prog);
		return false;
	}
	if (head->proc >= c->program->proc_count || !c->program->procs[head->proc].run) {
		c->srv->stats.bad_procedure++;
		refuse(c, MSG_ACCEPTED, PROC_UNAVAIL, NULL, 0);
		return false;
	}
	c->proc = &c->program->procs[head->proc];
	why = parse_cred(c, cred, head->proc == 0);
	if (why != AUTH_OK) {
		refuse_auth(c, why);
		return false;
	}
	if (c->proc->decode) {
		struct rd args = c->in;

		c->proc->decode(&args, &c->args);
		if (!rd_ok(&args)) {
			c->srv->stats.bad_args++;
			refuse(c, MSG_ACCEPTED, GARBAGE_ARGS, NULL, 0);
			return false;
		}
	}
	return true;
}

/* ---- running -------------------------------------------------------------------------------- */
static void put_by(struct call *c)
{
	struct rpc_server *s = c->srv;
	struct held *h = held_new(s, HELD_CALL, c->peer, c->msg, c->msg_len);

	if (c->keyed)
		held_key(s, h, &c->key);
	held_wait(s, h, c->fs, c->wait_lsn);
	s->stats.rerun++;
	/* What it waits for may be something else than the log: then the timer runs it again. */
	if (c->wait_lsn <= store_durable_lsn(c->fs->store))
		retry_soon(s);
}

/* A store that was found damaged answers nothing any more, not even what it found: the request
 * waits, for the process that serves it next (VS 1.15). */
static bool held_by_damage(struct call *c)
{
	struct rpc_server *s = c->srv;

	for (unsigned i = 0; i < s->fs_count && !c->fs; i++)
		if (s->fs[i].store && store_is_damaged(s->fs[i].store))
			c->fs = &s->fs[i];
#ifdef HF_MUTANT_NFS_ANSWERS_DAMAGE
	return false;
#endif
	return c->fs && store_is_damaged(c->fs->store);
}

/* What the socket does not take. */
static void *keep_rest(void *arg, size_t from, size_t len)
{
	struct call *c = arg;
	void *rest = bulk_get(c->srv, len);
	uint64_t wait;
	size_t got;
	bool eof;

	if (store_read(c->fs->store, c->obj.ino, c->args.read.offset + from, len, rest, &got, &eof,
		       &wait) == 0 && got == len)
		return rest;
	bulk_put(c->srv, rest);
	return NULL;
}

/* Bulk that waits for nothing goes from the page cache to the socket with one copy, in this call: so
 * its bytes are those of this moment (S12).  False: they could not be read there. */
static bool sent_from_here(struct call *c)
{
	struct rpc_borrowed b = {.keep = keep_rest, .arg = c, .body_free = bulk_put,
				 .free_arg = c->srv};

	if (!c->peer->ops->send_borrowed(c->peer, c->out.start, wr_len(&c->out), c->here,
					 c->bulk_len, &b))
		return false;
	note_reply(c->srv);
	return true;
}

/* The sender gives them back. */
static void send_lent(struct call *c)
{
	c->peer->ops->send_bulk(c->peer, c->out.start, wr_len(&c->out), c->lent, c->bulk_len,
				store_give_back, c->lent_from);
	note_reply(c->srv);
}

static void finish(struct call *c, enum call_end end)
{
	if (held_by_damage(c)) {
		HF_MARK("nfs.held_by_damage");
		c->wait_lsn = LSN_LAST; /* which never comes */
		if (c->bulk)
			bulk_put(c->srv, c->bulk);
		if (c->lent)
			store_give_back(c->lent_from, c->lent);
		if (end != CALL_LATER)
			put_by(c);
		return;
	}
	switch (end) {
	case CALL_REPLY:
		hf_assert(wr_ok(&c->out));
		if (c->here) {
			if (!sent_from_here(c))
				put_by(c); /* run again, it reads them and says what is wrong */
			return;
		}
		if (c->lent) {
			send_lent(c);
			return;
		}
		rpc_reply(c->srv, c->peer, c->fs, c->wait_lsn, c->keyed ? &c->key : NULL, &c->out,
			  c->bulk, c->bulk_len);
		break;
	case CALL_AGAIN:
		put_by(c);
		break;
	case CALL_LATER:
		break;
	case CALL_TOO_WEAK:
		refuse_auth(c, AUTH_TOOWEAK);
		break;
	case CALL_SILENT:
		HF_MARK("nfs.silent");
		c->srv->stats.unanswered++;
		break;
	}
}

static enum call_end call_plain(struct call *c)
{
	return c->proc->run(c) == RUN_SILENT ? CALL_SILENT : CALL_REPLY;
}

static void run_proc(struct call *c, bool again)
{
	struct proc_stat *st = rpc_stat(c);
	enum call_end end;

	c->wait_lsn = LSN_LAST;
	c->failed = c->keyed = false;
	c->bulk = NULL;
	c->here = c->lent = NULL;
	c->bulk_len = 0;
	c->fs = NULL;
	c->obj.known = c->obj2.known = false;
	wr_init(&c->out, c->srv->scratch, RPC_SCRATCH_SIZE);
	rpc_put_head(&c->out, c->xid);
	end = c->program->call ? c->program->call(c) : call_plain(c);
	if (!again)
		st->calls++;
	if (c->failed && end != CALL_AGAIN)
		st->errors++;
	finish(c, end);
}

/* Reads the header; false: this is no call at all. */
static bool read_head(struct call *c, struct rpc_call_head *head, struct opaque_auth *cred)
{
	struct opaque_auth verf;

	rd_init(&c->in, c->msg, c->msg_len);
	xdr_get_rpc_call_head(&c->in, head);
	if (!rd_ok(&c->in) || head->mtype != CALL)
		return false;
	c->xid = head->xid;
	if (head->rpcvers != RPC_VERSION)
		return true;
	xdr_get_opaque_auth(&c->in, cred);
	xdr_get_opaque_auth(&c->in, &verf);
	return rd_ok(&c->in);
}

static bool run_message(struct rpc_server *s, struct rpc_peer *peer, const uint8_t *msg, size_t len,
			bool again)
{
	struct call *c = &s->call;
	struct rpc_call_head head;
	struct opaque_auth cred = {0};

	c->srv = s;
	c->peer = peer;
	c->msg = msg;
	c->msg_len = len;
	if (!read_head(c, &head, &cred)) {
		s->stats.bad_message++;
		return false;
	}
	if (!may_serve(s)) {
		rpc_park(s, held_new(s, HELD_CALL, peer, msg, len));
		return true;
	}
	if (!again)
		s->stats.calls++;
	c->port = rpc_client_of(peer, c->client);
	if (head.rpcvers != RPC_VERSION)
		refuse_version(c);
	else if (prepare(c, &head, &cred))
		run_proc(c, again);
	return true;
}

void rpc_run(struct rpc_server *s, struct rpc_peer *peer, const uint8_t *msg, size_t len,
	     bool again)
{
	run_message(s, peer, msg, len, again);
}

bool rpc_receive(struct rpc_server *s, struct rpc_peer *from, const uint8_t *msg, size_t len)
{
	return run_message(s, from, msg, len, false);
}

/* ---- release -------------------------------------------------------------------------------- */
void rpc_release(struct rpc_server *s, struct held *h)
{
	struct rpc_peer *peer;
	void *bulk = h->bulk;

#ifndef HF_MUTANT_NFS_NO_LEASE
	if (!may_serve(s)) {
		rpc_park(s, h);
		return;
	}
#endif
	if (h->kind == HELD_REPLY) {
		h->bulk = NULL;
		rpc_send(s, h->peer, h->data, h->len, bulk, h->bulk_len);
		held_free(s, h);
		return;
	}
	/* Run again under its own name: out of list and hash first, or it would find itself. */
	peer = h->peer->ops->get(h->peer);
	held_unlink(s, h);
	rpc_run(s, peer, h->data, h->len, true);
	held_free(s, h);
	peer->ops->put(peer);
}

static void release_all(struct rpc_server *s, struct list *ready)
{
	while (!list_empty(ready))
		rpc_release(s, LIST_OWNER(ready->next, struct held, link));
}

static void release_to(struct rpc_server *s, struct fs *fs, uint64_t lsn)
{
	struct list ready;

	list_init(&ready);
	while (!list_empty(&fs->held)) {
		struct held *h = LIST_OWNER(fs->held.next, struct held, link);

		if (h->lsn > lsn)
			break;
		list_del(&h->link);
		list_add_tail(&ready, &h->link);
	}
	release_all(s, &ready);
}

void rpc_durable(struct rpc_server *s, struct store *store, uint64_t lsn)
{
	for (unsigned i = 0; i < s->fs_count; i++) {
		if (s->fs[i].store == store)
			release_to(s, &s->fs[i], lsn);
	}
}

static void on_retry(struct loop_timer *t)
{
	struct rpc_server *s = LIST_OWNER(t, struct rpc_server, retry);
	struct list ready;

	list_init(&ready);
	while (!list_empty(&s->parked)) {
		struct list *it = s->parked.next;

		list_del(it);
		list_add_tail(&ready, it);
	}
	s->parked_count = 0;
	release_all(s, &ready);
	for (unsigned i = 0; i < s->fs_count; i++)
		if (s->fs[i].store)
			release_to(s, &s->fs[i], store_durable_lsn(s->fs[i].store));
}

size_t rpc_pending(const struct rpc_server *s)
{
	return s->pending;
}

/* ---- life ----------------------------------------------------------------------------------- */
static void fs_init(struct fs *fs, struct store *store)
{
	struct store_info info;
	struct rd r;

	list_init(&fs->held);
	if (!store)
		return;
	store_info(store, &info);
	rd_init(&r, info.uuid, sizeof(info.uuid));
	fs->store = store;
	fs->fsid = rd_u64(&r);
	memcpy(fs->handle_key, info.handle_key, sizeof(fs->handle_key));
	xdr_put64(fs->write_verf, info.write_verifier);
}

static int exports_start(struct rpc_server *s, const struct nfs_conf *conf, char *err,
			 size_t err_size)
{
	struct fs **fs_of = mem_zalloc(conf->store_count, sizeof(struct fs *));
	int ret;

	for (unsigned i = 0; i < conf->store_count; i++)
		fs_of[i] = &s->fs[i];
	ret = exports_init(&s->exports, conf, fs_of, err, err_size);
	free(fs_of);
	if (ret)
		return ret;
	for (unsigned i = 0; i < s->exports.count; i++) {
		struct export *x = &s->exports.list[i];

		if (x->fs->store && export_root(x, x->fs->store) == 0)
			log_warn("export %s: no directory \"%s\" in its store: mounts get NOENT",
				 x->path, x->dir);
	}
	return 0;
}

int rpc_server_exports(struct rpc_server *s, const struct nfs_conf *conf, char *err, size_t err_size)
{
	struct exports old = s->exports;
	int ret = exports_start(s, conf, err, err_size);

	if (ret) {
		s->exports = old;
		return ret;
	}
	HF_MARK("nfs.other_exports");
	s->old_exports = mem_realloc(s->old_exports,
				     (s->old_export_count + 1) * sizeof(*s->old_exports));
	s->old_exports[s->old_export_count++] = old;
	return 0;
}

void rpc_exports_each(const struct rpc_server *s,
		      void (*each)(void *arg, const char *path, const char *dir, bool found),
		      void *arg)
{
	for (unsigned i = 0; i < s->exports.count; i++) {
		const struct export *x = &s->exports.list[i];

		each(arg, x->path, x->dir, x->found || !x->fs->store);
	}
}

int rpc_server_new(struct rpc_server **sp, const struct rpc_server_args *a, char *err,
		   size_t err_size)
{
	struct rpc_server *s = mem_zalloc(1, sizeof(*s));
	const struct nfs_conf *conf = a->conf;
	size_t procs = 0;
	int ret;

	s->loop = a->loop;
	s->may_serve = a->may_serve;
	s->on_first_reply = a->on_first_reply;
	s->arg = a->arg;
	s->nfs_port = conf->nfs_port;
	s->mount_port = conf->mount_port;
	s->portmap_port = conf->portmap_port;
	s->read_fence_strict = conf->read_fence_strict;
	s->retry.fire = on_retry;
	list_init(&s->later);
	list_init(&s->parked);
	s->fs = mem_zalloc(conf->store_count, sizeof(*s->fs));
	s->fs_count = conf->store_count;
	for (unsigned i = 0; i < conf->store_count; i++)
		fs_init(&s->fs[i], conf->stores[i]);
	for (size_t i = 0; i < PROGRAM_COUNT; i++)
		procs += programs[i]->proc_count;
	s->proc_stats = mem_zalloc(procs, sizeof(*s->proc_stats));
	s->scratch = mem_aligned(64, RPC_SCRATCH_SIZE);
	s->entries = mem_zalloc(DIR_ENTRIES_MAX, sizeof(*s->entries));
	s->names = mem_alloc(RPC_SCRATCH_SIZE);
	ret = exports_start(s, conf, err, err_size);
	if (ret) {
		rpc_server_free(s);
		return ret;
	}
	*sp = s;
	return 0;
}

void rpc_server_free(struct rpc_server *s)
{
	if (s->loop && s->retry.deadline_ns)
		loop_timer_clear(s->loop, &s->retry);
	held_fini(s);
	mount_fini(s);
	exports_fini(&s->exports);
	for (unsigned i = 0; i < s->old_export_count; i++)
		exports_fini(&s->old_exports[i]);
	free(s->old_exports);
	free(s->entries);
	free(s->names);
	free(s->scratch);
	free(s->proc_stats);
	free(s->fs);
	free(s);
}

/* ---- numbers -------------------------------------------------------------------------------- */
void rpc_stats_each(const struct rpc_server *s,
		    void (*each)(void *arg, const char *name, const char *help, uint64_t value),
		    void *arg)
{
#define ROW(name, help) each(arg, #name, help, s->stats.name);
	NFS_STATS(ROW)
#undef ROW
}

void rpc_procs_each(const struct rpc_server *s,
		    void (*each)(void *arg, const char *program, const char *proc, uint64_t calls,
				 uint64_t errors),
		    void *arg)
{
	const struct proc_stat *st = s->proc_stats;

	for (size_t i = 0; i < PROGRAM_COUNT; i++) {
		for (unsigned k = 0; k < programs[i]->proc_count; k++, st++) {
			if (programs[i]->procs[k].run)
				each(arg, programs[i]->name, programs[i]->procs[k].name, st->calls,
				     st->errors);
		}
	}
}
