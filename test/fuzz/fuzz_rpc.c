/* fuzz_rpc.c - whole messages against a whole server on a real store.
 *
 * An input is a sequence of messages, each `length(2) how(1) bytes`.  how 0: the bytes are the
 * message.  Otherwise they are `procedure(1) handle(1) arguments`: the harness puts a good header
 * of program `how` in front, and for NFS a good handle (root, directory, file, link), so that the
 * fuzzer gets past the MAC to the procedures.  The peer checks that each reply is one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "nfs/handle.h"
#include "nfs/rpc.h"
#include "xdr/mount_xdr.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/pmap_xdr.h"
#include "xdr/rpc_xdr.h"

#define OBJECTS 5
#define HANDLES (2 * OBJECTS) /* through the store's export, through that of directory o1 */

static struct loop *loop;
static struct store *store;
static struct rpc_server *srv;
static uint8_t handles[HANDLES][HANDLE_SIZE];
static uint32_t xid = 1;

/* ---- the peer ------------------------------------------------------------------------------- */
static void check_reply(const uint8_t *m, size_t len)
{
	if (len < 20 || len % 4 != 0 || m[7] != 1)
		abort();
}

static void p_send(struct rpc_peer *p, const void *msg, size_t len)
{
	(void)p;
	check_reply(msg, len);
}

static void p_bulk(struct rpc_peer *p, const void *head, size_t head_len, void *body,
		   size_t body_len, void (*body_free)(void *arg, void *body), void *arg)
{
	(void)p;
	check_reply(head, head_len);
	if (body_len % 4 != 0)
		abort();
	body_free(arg, body);
}

static struct rpc_peer *p_get(struct rpc_peer *p)
{
	return p;
}

static void p_put(struct rpc_peer *p)
{
	(void)p;
}

static const struct rpc_peer_ops ops = {
    .send = p_send, .send_bulk = p_bulk, .get = p_get, .put = p_put};
static struct rpc_peer peer = {.ops = &ops, .stream = true};

/* ---- the server ------------------------------------------------------------------------------ */
static void on_durable(void *arg, uint64_t lsn)
{
	(void)arg;
	if (srv)
		rpc_durable(srv, store, lsn);
}

static void on_damage(void *arg, const char *reason)
{
	(void)arg, (void)reason;
	abort();
}

static void make_handles(void)
{
	static const enum store_type types[] = {STORE_DIR, STORE_REG, STORE_LNK, STORE_FIFO};
	struct store_info info;
	uint64_t ino[OBJECTS] = {STORE_ROOT_INO}, wait;
	struct rd r;

	for (unsigned i = 1; i < OBJECTS; i++) {
		char name[] = {'o', (char)('0' + i)};
		struct store_new n = {.type = types[i - 1], .attr = {.set_mode = true, .mode = 0777,
				      .set_uid = true, .set_gid = true}, .target = "t",
				      .target_len = 1};

		if (store_op_begin(store, NULL, &wait) != 0 ||
		    store_create(store, STORE_ROOT_INO, name, 2, &n, &ino[i]) != 0)
			abort();
		store_op_end(store, NULL, 0);
	}
	store_info(store, &info);
	rd_init(&r, info.uuid, 8);
	struct handle h = {.export_id = conf_export_id("/e", ""), .fsid = rd_u64(&r)};
	for (unsigned i = 0; i < HANDLES; i++) {
		if (i == OBJECTS)
			h.export_id = conf_export_id("/e/o1", "o1");
		h.ino = ino[i % OBJECTS];
		h.generation = store_inode(store, h.ino)->generation;
		handle_encode(handles[i], &h, info.handle_key);
	}
}

static char dir[] = "/tmp/hf-fuzz-XXXXXX";

static void clean(void)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd) != 0)
		perror(dir);
}

static void start(void)
{
	struct export_client_conf any = {.rw = true, .insecure = true, .sec_none = true,
					 .squash = SQUASH_NONE};
	struct export_conf x[] = {
	    {.path = "/e", .clients = &any, .client_count = 1},
	    {.path = "/e/o1", .dir = "o1", .clients = &any, .client_count = 1}};
	struct nfs_conf conf = {.stores = &store, .store_count = 1, .exports = x,
				.export_count = 2, .nfs_port = 2049, .mount_port = 2049,
				.portmap_port = 111};
	struct store_open_args a = {.dir = dir, .epoch = 1, .on_durable = on_durable,
				    .on_damage = on_damage};
	struct rpc_server_args sa = {.conf = &conf};
	char err[256] = "";

	log_open("fuzz", LOG_L_ERR);
	store_conf_default(&a.conf);
	a.conf.log_half_bytes = 4 << 20;
	a.conf.index_map_bytes = 64 << 20;
	if (!mkdtemp(dir) || loop_new(&loop, 64) != 0)
		abort();
	atexit(clean);
	a.loop = sa.loop = loop;
	if (store_create_at(dir, &a.conf, NULL, err, sizeof(err)) != 0 ||
	    store_open(&store, &a, err, sizeof(err)) != 0 ||
	    rpc_server_new(&srv, &sa, err, sizeof(err)) != 0) {
		fprintf(stderr, "%s\n", err);
		abort();
	}
	make_handles();
	((struct sockaddr_in *)(void *)&peer.remote)->sin_family = AF_INET;
	((struct sockaddr_in *)(void *)&peer.local)->sin_family = AF_INET;
}

/* ---- one input -------------------------------------------------------------------------------- */
static void built(uint8_t how, const uint8_t *b, size_t n)
{
	static const uint32_t progs[][2] = {{NFS_PROGRAM, 3}, {MOUNT_PROGRAM, 3},
					    {MOUNT_PROGRAM, 1}, {PMAP_PROG, 2},
					    {PMAP_PROG, 3}, {PMAP_PROG, 4}};
	static uint8_t msg[8192];
	const uint32_t *p = progs[how % 6];
	struct wr w;

	if (n < 2)
		return;
	wr_init(&w, msg, sizeof(msg));
	xdr_put_rpc_call_head(&w, &(struct rpc_call_head){xid++, CALL, 2, p[0], p[1], b[0]});
	wr_zero(&w, 16); /* AUTH_NONE, twice */
	if (p[0] == NFS_PROGRAM) {
		wr_u32(&w, HANDLE_SIZE);
		wr_bytes(&w, handles[b[1] % HANDLES], HANDLE_SIZE);
	}
	wr_bytes(&w, b + 2, n - 2);
	peer.stream = (b[1] & 0x80) == 0;
	if (!wr_ok(&w))
		return;
	rpc_ahead(srv, &peer, msg, wr_len(&w));
	rpc_receive(srv, &peer, msg, wr_len(&w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r;

	if (srv == NULL)
		start();
	rd_init(&r, data, size);
	while (rd_left(&r) >= 3) {
		size_t n = rd_u16(&r);
		uint8_t how = rd_u8(&r);

		if (n > rd_left(&r))
			n = rd_left(&r);
		const uint8_t *b = rd_bytes(&r, n);
		if (how != 0) {
			built(how - 1, b, n);
			continue;
		}
		rpc_ahead(srv, &peer, b, n);
		rpc_receive(srv, &peer, b, n);
	}
	loop_once(loop, 0);
	return 0;
}
