/* lib_nfs.c - the client of lib_nfs.h. */
#include "lib_nfs.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ftw.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "check.h"

#define WAIT_ROUNDS 500
#define ROUND_NS    10000000ULL

/* ---- the peer ------------------------------------------------------------------------------- */
static void keep(struct nt_peer *p, const void *a, size_t an, const void *b, size_t bn)
{
	struct nt_reply *r = &p->last[p->count++ % NT_QUEUE_MAX];

	free(r->msg);
	r->msg = mem_alloc(an + bn);
	memcpy(r->msg, a, an);
	if (bn)
		memcpy(r->msg + an, b, bn);
	r->len = an + bn;
}

static void p_send(struct rpc_peer *p, const void *msg, size_t len)
{
	keep((struct nt_peer *)p, msg, len, NULL, 0);
}

static void p_send_bulk(struct rpc_peer *p, const void *head, size_t head_len, void *body,
			size_t body_len, void (*body_free)(void *arg, void *body), void *arg)
{
	struct nt_peer *np = (struct nt_peer *)p;

	keep(np, head, head_len, body, body_len);
	if (!np->keep_body) {
		body_free(arg, body);
		return;
	}
	np->keep_body = false;
	np->body = body;
	np->body_arg = arg;
	np->body_free = body_free;
}

/* Takes half at once, and asks for the rest; one that is to be kept is kept whole. */
static bool p_send_borrowed(struct rpc_peer *p, const void *head, size_t head_len, const void *body,
			    size_t len, const struct rpc_borrowed *b)
{
	struct nt_peer *np = (struct nt_peer *)p;
	size_t now = np->keep_body ? 0 : len / 2;
	uint8_t *whole = mem_alloc(len), *rest;

	memcpy(whole, body, now);
	rest = b->keep(b->arg, now, len - now);
	CHECK(rest != NULL);
	memcpy(whole + now, rest, len - now);
	keep(np, head, head_len, whole, len);
	free(whole);
	if (!np->keep_body) {
		b->body_free(b->free_arg, rest);
		return true;
	}
	np->keep_body = false;
	np->body = rest;
	np->body_arg = b->free_arg;
	np->body_free = b->body_free;
	return true;
}

void nt_body_sent(struct nt_peer *p)
{
	p->body_free(p->body_arg, p->body);
	p->body = NULL;
}

static struct rpc_peer *p_get(struct rpc_peer *p)
{
	((struct nt_peer *)p)->refs++;
	return p;
}

static void p_put(struct rpc_peer *p)
{
	((struct nt_peer *)p)->refs--;
}

static const struct rpc_peer_ops ops = {.send = p_send, .send_bulk = p_send_bulk,
					.send_borrowed = p_send_borrowed, .get = p_get,
					.put = p_put};

struct nt_peer *nt_peer_new(const char *remote, uint16_t port, bool stream)
{
	struct nt_peer *p = mem_zalloc(1, sizeof(*p));
	struct sockaddr_in *in = (void *)&p->peer.remote, *local = (void *)&p->peer.local;

	p->peer.ops = &ops;
	p->peer.stream = stream;
	in->sin_family = local->sin_family = AF_INET;
	in->sin_port = htons(port);
	inet_pton(AF_INET, remote, &in->sin_addr);
	local->sin_port = htons(2049);
	inet_pton(AF_INET, "192.0.2.100", &local->sin_addr);
	return p;
}

void nt_peer_free(struct nt_peer *p)
{
	for (unsigned i = 0; i < NT_QUEUE_MAX; i++)
		free(p->last[i].msg);
	free(p);
}

/* ---- life ----------------------------------------------------------------------------------- */
static void on_durable(void *arg, uint64_t lsn)
{
	struct nt *t = arg;

	if (t->srv)
		rpc_durable(t->srv, t->store, lsn);
}

static void on_other_durable(void *arg, uint64_t lsn)
{
	struct nt *t = arg;

	if (t->srv)
		rpc_durable(t->srv, t->other, lsn);
}

static void on_damage(void *arg, const char *reason)
{
	(void)arg;
	printf("store damaged: %s\n", reason);
}

static bool may_serve(void *arg)
{
	return ((struct nt *)arg)->lease;
}

static void open_one(struct nt *t, struct store **s, const char *dir,
		     void (*durable)(void *arg, uint64_t lsn))
{
	struct store_open_args a = {.dir = dir,
				    .loop = t->loop,
				    .epoch = ++t->epoch,
				    .conf = t->store_conf,
				    .on_durable = durable,
				    .on_damage = on_damage,
				    .arg = t};
	char err[256] = "";

	if (store_open(s, &a, err, sizeof(err)) != 0)
		printf("store_open: %s\n", err);
	CHECK(*s != NULL);
}

static void open_store(struct nt *t)
{
	open_one(t, &t->store, t->dir, on_durable);
}

struct setup {
	struct nfs_conf conf;
	struct store *stores[2];
	struct export_client_conf e[5];
	struct export_conf x[5];
};

static void set_up(const struct nt *t, struct setup *s)
{
	static const struct export_client_conf open = {.rw = true, .squash = SQUASH_NONE};

	*s = (struct setup){.x = {{.path = "/e"}, {.path = "/ro"}, {.path = "/squash"},
				  {.path = "/sub", .dir = t->sub_dir}},
			    .stores = {t->store, t->other_away ? NULL : t->other},
			    .conf = {.stores = s->stores,
				     .store_count = t->other ? 2 : 1,
				     .exports = s->x,
				     .export_count = t->sub_dir ? 4 : 3,
				     .nfs_port = 2049,
				     .mount_port = 2050,
				     .portmap_port = 111,
				     .read_fence_strict = t->read_fence_strict}};
	if (t->other)
		s->x[s->conf.export_count++] = (struct export_conf){.path = "/two", .store = 1};
	for (unsigned i = 0; i < 5; i++) {
		s->e[i] = open;
		s->x[i].clients = &s->e[i];
		s->x[i].client_count = 1;
	}
	s->e[0] = t->rule;
	s->e[1].rw = false;
	s->e[2].squash = SQUASH_ALL;
	s->e[2].anonuid = s->e[2].anongid = 65534;
	s->e[2].sec_none = true;
	s->e[3] = t->sub_rule;
}

static void open_server(struct nt *t)
{
	struct setup s;
	struct rpc_server_args a = {.loop = t->loop, .conf = &s.conf, .may_serve = may_serve,
				    .arg = t};
	char err[256] = "";

	set_up(t, &s);
	if (rpc_server_new(&t->srv, &a, err, sizeof(err)) != 0)
		printf("rpc_server_new: %s\n", err);
	CHECK(t->srv != NULL);
}

void nt_exports(struct nt *t)
{
	struct setup s;
	char err[256] = "";

	set_up(t, &s);
	CHECK_EQ(0, rpc_server_exports(t->srv, &s.conf, err, sizeof(err)));
}

void nt_up(struct nt *t)
{
	nt_up_sized(t, 0, 0);
}

void nt_up_sized(struct nt *t, uint64_t log_half_bytes, uint64_t index_map_bytes)
{
	char err[256] = "";
	struct nt_fh sub;

	memset(t, 0, sizeof(*t));
	log_open("test", LOG_L_ERR);
	snprintf(t->dir, sizeof(t->dir), "/tmp/hf-nfs-XXXXXX");
	CHECK(mkdtemp(t->dir) != NULL);
	CHECK_EQ(0, loop_new(&t->loop, 64));
	store_conf_default(&t->store_conf);
	if (index_map_bytes) /* small: what fills it must not stay for two minutes */
		t->store_conf.dup_keep_ns = 1500000000;
	t->store_conf.log_half_bytes = log_half_bytes ? log_half_bytes : 8 << 20;
	t->store_conf.index_map_bytes = index_map_bytes ? index_map_bytes : 64 << 20;
	if (store_create_at(t->dir, &t->store_conf, NULL, err, sizeof(err)) != 0)
		printf("store_create_at: %s\n", err);
	CHECK_EQ(0, err[0]);
	t->lease = true;
	t->rule = t->sub_rule = (struct export_client_conf){.rw = true, .squash = SQUASH_NONE};
	t->sub_dir = "sub";
	t->flavor = AUTH_SYS;
	t->xid = 1000;
	t->msg = mem_alloc(NT_MSG_SIZE);
	t->first_peer = t->peer = nt_peer_new("192.0.2.1", 700, true);
	open_store(t);
	open_server(t);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e", &t->root));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "sub", 0755, &sub));
}

static int unlink_it(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void on_closed(void *arg, int err)
{
	((struct nt *)arg)->closed = true;
	if (err)
		printf("store_close: %d\n", err);
}

static void close_one(struct nt *t, struct store **s, bool crash)
{
	if (!*s)
		return;
	if (!crash) {
		t->closed = false;
		store_close(*s, on_closed, t);
		for (unsigned i = 0; i < WAIT_ROUNDS && !t->closed; i++)
			loop_once(t->loop, ROUND_NS);
		CHECK(t->closed);
	}
	store_free(*s);
	*s = NULL;
}

static void close_all(struct nt *t, bool crash)
{
	close_one(t, &t->store, crash);
	close_one(t, &t->other, crash);
	rpc_server_free(t->srv);
	t->srv = NULL;
}

void nt_down(struct nt *t)
{
	close_all(t, false);
	CHECK_EQ(0, t->first_peer->refs);
	loop_free(t->loop);
	nt_peer_free(t->first_peer);
	free(t->msg);
	nftw(t->dir, unlink_it, 16, FTW_DEPTH | FTW_PHYS);
	if (t->other_dir[0])
		nftw(t->other_dir, unlink_it, 16, FTW_DEPTH | FTW_PHYS);
}

void nt_second(struct nt *t)
{
	char err[256] = "";

	snprintf(t->other_dir, sizeof(t->other_dir), "/tmp/hf-nfs-XXXXXX");
	CHECK(mkdtemp(t->other_dir) != NULL);
	CHECK_EQ(0, store_create_at(t->other_dir, &t->store_conf, NULL, err, sizeof(err)));
	open_one(t, &t->other, t->other_dir, on_other_durable);
	nt_server_restart(t);
}

void nt_restart(struct nt *t, bool crash)
{
	close_all(t, crash);
	for (unsigned i = 0; i < 20; i++)
		loop_once(t->loop, 1000000);
	open_store(t);
	if (t->other_dir[0])
		open_one(t, &t->other, t->other_dir, on_other_durable);
	open_server(t);
}

void nt_dir_moves(struct nt *t)
{
	char from[sizeof(t->dir)], command[256];

	memcpy(from, t->dir, sizeof(from));
	snprintf(t->dir, sizeof(t->dir), "/tmp/hf-nfs-XXXXXX");
	CHECK(mkdtemp(t->dir) != NULL);
	snprintf(command, sizeof(command), "cp -R --sparse=always %s/. %s && rm -r %s", from, t->dir,
		 from);
	CHECK_EQ(0, system(command));
}

void nt_server_restart(struct nt *t)
{
	nt_settle(t);
	rpc_server_free(t->srv);
	open_server(t);
}

void nt_settle(struct nt *t)
{
	for (unsigned i = 0; i < WAIT_ROUNDS && rpc_pending(t->srv); i++)
		loop_once(t->loop, ROUND_NS);
}

/* ---- calls ---------------------------------------------------------------------------------- */
struct xdr_bytes nt_text(const char *s)
{
	return (struct xdr_bytes){(const uint8_t *)s, (uint32_t)strlen(s)};
}

struct sattr3 nt_mode(uint32_t mode)
{
	return (struct sattr3){.mode = {true, mode}};
}

struct nfs_fh3 nt_wire(const struct nt_fh *fh)
{
	return (struct nfs_fh3){{fh->b, fh->n}};
}

static void put_cred(struct nt *t)
{
	uint8_t body[256];
	struct authsys_parms p = {.machinename = nt_text("test"),
				  .uid = t->cred.uid,
				  .gid = t->cred.gid,
				  .gids = {.n = t->cred.gid_count}};
	struct opaque_auth a = {.flavor = t->flavor}, none = {0};
	struct wr w;

	memcpy(p.gids.at, t->cred.gids, sizeof(p.gids.at));
	wr_init(&w, body, sizeof(body));
	xdr_put_authsys_parms(&w, &p);
	if (t->flavor == AUTH_SYS)
		a.body = (struct xdr_bytes){body, (uint32_t)wr_len(&w)};
	xdr_put_opaque_auth(&t->w, &a);
	xdr_put_opaque_auth(&t->w, &none);
}

void nt_begin(struct nt *t, uint32_t prog, uint32_t vers, uint32_t proc)
{
	struct rpc_call_head h = {++t->xid, CALL, RPC_VERSION, prog, vers, proc};

	wr_init(&t->w, t->msg, NT_MSG_SIZE);
	xdr_put_rpc_call_head(&t->w, &h);
	put_cred(t);
}

bool nt_send(struct nt *t)
{
	CHECK(wr_ok(&t->w));
	t->msg_len = wr_len(&t->w);
	rpc_ahead(t->srv, &t->peer->peer, t->msg, t->msg_len);
	return rpc_receive(t->srv, &t->peer->peer, t->msg, t->msg_len);
}

bool nt_wait(struct nt *t, struct nt_peer *p, size_t count)
{
	for (int i = 0; i < check_patience(WAIT_ROUNDS) && p->count < count; i++)
		loop_once(t->loop, ROUND_NS);
	return p->count >= count;
}

int nt_reply_stat(struct nt *t, const struct nt_peer *p)
{
	const struct nt_reply *m = &p->last[(p->count - 1) % NT_QUEUE_MAX];
	uint32_t stat;

	rd_init(&t->r, m->msg, m->len);
	CHECK_EQ(t->xid, rd_u32(&t->r));
	CHECK_EQ(REPLY, rd_u32(&t->r));
	if (rd_u32(&t->r) == MSG_DENIED)
		return rd_u32(&t->r) == AUTH_ERROR ? (int)(100 + rd_u32(&t->r)) : 200;
	CHECK_EQ(0, rd_u64(&t->r)); /* verifier */
	stat = rd_u32(&t->r);
	CHECK(rd_ok(&t->r));
	return (int)stat;
}

int nt_call_stat(struct nt *t)
{
	size_t before = t->peer->count;

	if (!nt_send(t) || !nt_wait(t, t->peer, before + 1))
		return -1;
	CHECK_EQ(before + 1, t->peer->count);
	return nt_reply_stat(t, t->peer);
}

void nt_call(struct nt *t)
{
	CHECK_EQ(SUCCESS, nt_call_stat(t));
}

void nt_repeat(struct nt *t)
{
	size_t before = t->peer->count;

	CHECK(rpc_receive(t->srv, &t->peer->peer, t->msg, t->msg_len));
	CHECK(nt_wait(t, t->peer, before + 1));
	CHECK_EQ(SUCCESS, nt_reply_stat(t, t->peer));
}

/* ---- procedures ----------------------------------------------------------------------------- */
#define CALL3(NAME, args)                                                                          \
	do {                                                                                       \
		nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_##NAME);                                 \
		xdr_put_##NAME##3args(&t->w, &(args));                                             \
		nt_call(t);                                                                        \
	} while (0)

static struct diropargs3 where(const struct nt_fh *dir, const char *name)
{
	return (struct diropargs3){nt_wire(dir), nt_text(name)};
}

static void keep_fh(struct nt_fh *out, const struct nfs_fh3 *fh)
{
	if (out == NULL)
		return;
	out->n = fh->data.n;
	memcpy(out->b, fh->data.p, fh->data.n);
}

uint32_t nt_mount(struct nt *t, const char *path, struct nt_fh *out)
{
	struct mnt_dirpath a = {nt_text(path)};
	struct mountres3 r;

	nt_begin(t, MOUNT_PROGRAM, MOUNT_V3, MOUNTPROC3_MNT);
	xdr_put_mnt_dirpath(&t->w, &a);
	nt_call(t);
	xdr_get_mountres3(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.fhs_status == MNT3_OK)
		keep_fh(out, &(struct nfs_fh3){r.mountinfo.fhandle});
	return r.fhs_status;
}

uint32_t nt_getattr(struct nt *t, const struct nt_fh *fh, struct fattr3 *out)
{
	struct GETATTR3args a = {nt_wire(fh)};
	struct GETATTR3res r;

	CALL3(GETATTR, a);
	xdr_get_GETATTR3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK && out)
		*out = r.resok.obj_attributes;
	return r.status;
}

uint32_t nt_lookup(struct nt *t, const struct nt_fh *dir, const char *name, struct nt_fh *out)
{
	struct LOOKUP3args a = {where(dir, name)};
	struct LOOKUP3res r;

	CALL3(LOOKUP, a);
	xdr_get_LOOKUP3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK)
		keep_fh(out, &r.u.resok.object);
	return r.status;
}

uint32_t nt_setattr(struct nt *t, const struct nt_fh *fh, const struct sattr3 *attr,
		    const struct nfstime3 *guard, struct wcc_data *wcc)
{
	struct SETATTR3args a = {nt_wire(fh), *attr, {guard != NULL, {0, 0}}};
	struct SETATTR3res r;

	if (guard)
		a.guard.obj_ctime = *guard;
	CALL3(SETATTR, a);
	xdr_get_SETATTR3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (wcc)
		*wcc = r.status == NFS3_OK ? r.u.resok.wcc : r.u.resfail.wcc;
	return r.status;
}

uint32_t nt_access(struct nt *t, const struct nt_fh *fh, uint32_t want, uint32_t *got)
{
	struct ACCESS3args a = {nt_wire(fh), want};
	struct ACCESS3res r;

	CALL3(ACCESS, a);
	xdr_get_ACCESS3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	*got = r.status == NFS3_OK ? r.u.resok.access : 0;
	return r.status;
}

static uint32_t created(struct nt *t, struct nt_fh *out)
{
	struct CREATE3res r;

	xdr_get_CREATE3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK) {
		CHECK(r.u.resok.obj.handle_follows && r.u.resok.obj_attributes.attributes_follow);
		CHECK(r.u.resok.dir_wcc.before.attributes_follow);
		CHECK(r.u.resok.dir_wcc.after.attributes_follow);
		keep_fh(out, &r.u.resok.obj.handle);
	}
	return r.status;
}

uint32_t nt_create(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t how,
		   const struct sattr3 *attr, uint64_t verf, struct nt_fh *out)
{
	struct CREATE3args a = {.where = where(dir, name), .how = {.mode = how}};

	if (how == EXCLUSIVE)
		xdr_put64(a.how.u.verf, verf);
	else
		a.how.u.obj_attributes = *attr;
	CALL3(CREATE, a);
	return created(t, out);
}

uint32_t nt_mkdir(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t mode,
		  struct nt_fh *out)
{
	struct MKDIR3args a = {where(dir, name), nt_mode(mode)};

	CALL3(MKDIR, a);
	return created(t, out);
}

uint32_t nt_symlink(struct nt *t, const struct nt_fh *dir, const char *name, const char *target)
{
	struct SYMLINK3args a = {where(dir, name), {nt_mode(0777), nt_text(target)}};

	CALL3(SYMLINK, a);
	return created(t, NULL);
}

uint32_t nt_mknod(struct nt *t, const struct nt_fh *dir, const char *name, uint32_t type,
		  struct nt_fh *out)
{
	struct MKNOD3args a = {.where = where(dir, name), .what = {.type = type}};

	if (type == NF3CHR || type == NF3BLK)
		a.what.u.device = (struct devicedata3){nt_mode(0600), {1, 3}};
	else
		a.what.u.pipe_attributes = nt_mode(0600);
	CALL3(MKNOD, a);
	return created(t, out);
}

uint32_t nt_readlink(struct nt *t, const struct nt_fh *fh, char *out, size_t size)
{
	struct READLINK3args a = {nt_wire(fh)};
	struct READLINK3res r;

	CALL3(READLINK, a);
	xdr_get_READLINK3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK)
		snprintf(out, size, "%.*s", (int)r.u.resok.data.n, (const char *)r.u.resok.data.p);
	return r.status;
}

uint32_t nt_read(struct nt *t, const struct nt_fh *fh, uint64_t off, uint32_t count, void *data,
		 uint32_t *got, bool *eof)
{
	struct READ3args a = {nt_wire(fh), off, count};
	struct READ3res r;
	struct xdr_bytes b;

	*got = 0;
	CALL3(READ, a);
	xdr_get_READ3res(&t->r, &r);
	if (r.status == NFS3_OK) {
		xdr_get_bytes(&t->r, &b, count);
		CHECK(r.u.resok.file_attributes.attributes_follow);
		CHECK_EQ(b.n, r.u.resok.count);
		if (b.n)
			memcpy(data, b.p, b.n);
		*got = b.n;
		*eof = r.u.resok.eof;
	}
	CHECK(rd_done(&t->r));
	return r.status;
}

uint32_t nt_write(struct nt *t, const struct nt_fh *fh, uint64_t off, const void *data, uint32_t n,
		  uint32_t stable, struct WRITE3resok *out)
{
	struct WRITE3args a = {nt_wire(fh), off, n, stable, {data, n}};
	struct WRITE3res r;

	CALL3(WRITE, a);
	xdr_get_WRITE3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK && out)
		*out = r.u.resok;
	return r.status;
}

uint32_t nt_commit(struct nt *t, const struct nt_fh *fh, uint8_t verf[8])
{
	struct COMMIT3args a = {nt_wire(fh), 0, 0};
	struct COMMIT3res r;

	CALL3(COMMIT, a);
	xdr_get_COMMIT3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	if (r.status == NFS3_OK)
		memcpy(verf, r.u.resok.verf, 8);
	return r.status;
}

static uint32_t removed(struct nt *t)
{
	struct REMOVE3res r;

	xdr_get_REMOVE3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	return r.status;
}

uint32_t nt_remove(struct nt *t, const struct nt_fh *dir, const char *name)
{
	struct REMOVE3args a = {where(dir, name)};

	CALL3(REMOVE, a);
	return removed(t);
}

uint32_t nt_rmdir(struct nt *t, const struct nt_fh *dir, const char *name)
{
	struct REMOVE3args a = {where(dir, name)};

	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_RMDIR);
	xdr_put_REMOVE3args(&t->w, &a);
	nt_call(t);
	return removed(t);
}

uint32_t nt_rename(struct nt *t, const struct nt_fh *from, const char *name,
		   const struct nt_fh *to, const char *name2)
{
	struct RENAME3args a = {where(from, name), where(to, name2)};
	struct RENAME3res r;

	CALL3(RENAME, a);
	xdr_get_RENAME3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	return r.status;
}

uint32_t nt_link(struct nt *t, const struct nt_fh *fh, const struct nt_fh *dir, const char *name)
{
	struct LINK3args a = {nt_wire(fh), where(dir, name)};
	struct LINK3res r;

	CALL3(LINK, a);
	xdr_get_LINK3res(&t->r, &r);
	CHECK(rd_done(&t->r));
	return r.status;
}

static void take_entry(struct nt *t, struct nt_dirent *e, bool plus)
{
	struct xdr_bytes name;
	struct post_op_attr attr;
	struct post_op_fh3 fh;

	memset(e, 0, sizeof(*e));
	e->fileid = rd_u64(&t->r);
	xdr_get_bytes(&t->r, &name, 255);
	snprintf(e->name, sizeof(e->name), "%.*s", (int)name.n, (const char *)name.p);
	e->cookie = rd_u64(&t->r);
	if (!plus)
		return;
	xdr_get_post_op_attr(&t->r, &attr);
	xdr_get_post_op_fh3(&t->r, &fh);
	e->has_attr = attr.attributes_follow;
	e->attr = attr.attributes;
	e->has_fh = fh.handle_follows;
	if (e->has_fh)
		keep_fh(&e->fh, &fh.handle);
}

static void put_readdir(struct nt *t, const struct nt_fh *dir, uint64_t cookie,
			const uint8_t verf[8], uint32_t count, uint32_t maxcount)
{
	struct READDIR3args a = {nt_wire(dir), cookie, {0}, count};
	struct READDIRPLUS3args p = {nt_wire(dir), cookie, {0}, count, maxcount};

	memcpy(a.cookieverf, verf, 8);
	memcpy(p.cookieverf, verf, 8);
	nt_begin(t, NFS_PROGRAM, NFS_V3, maxcount ? NFSPROC3_READDIRPLUS : NFSPROC3_READDIR);
	if (maxcount)
		xdr_put_READDIRPLUS3args(&t->w, &p);
	else
		xdr_put_READDIR3args(&t->w, &a);
}

uint32_t nt_readdir(struct nt *t, const struct nt_fh *dir, uint64_t cookie, uint8_t verf[8],
		    uint32_t count, uint32_t maxcount, struct nt_dirent *out, unsigned max,
		    unsigned *got, bool *eof)
{
	struct READDIR3res r;
	size_t size;

	*got = 0;
	put_readdir(t, dir, cookie, verf, count, maxcount);
	nt_call(t);
	size = rd_left(&t->r) - 4;
	xdr_get_READDIR3res(&t->r, &r);
	if (r.status != NFS3_OK) {
		CHECK(rd_done(&t->r));
		return r.status;
	}
	CHECK(size <= (maxcount ? maxcount : count));
	memcpy(verf, r.u.resok.cookieverf, 8);
	while (rd_u32(&t->r) == 1) {
		CHECK(*got < max);
		take_entry(t, &out[(*got)++], maxcount != 0);
		CHECK(rd_ok(&t->r));
	}
	*eof = rd_u32(&t->r) != 0;
	CHECK(rd_done(&t->r));
	return r.status;
}

struct counter {
	const char *name;
	uint64_t value;
};

static void on_counter(void *arg, const char *name, const char *help, uint64_t value)
{
	struct counter *c = arg;

	CHECK(help[0] != '\0');
	if (strcmp(name, c->name) == 0)
		c->value = value;
}

uint64_t nt_counter(const struct nt *t, const char *name)
{
	struct counter c = {name, UINT64_MAX};

	rpc_stats_each(t->srv, on_counter, &c);
	CHECK(c.value != UINT64_MAX);
	return c.value;
}
