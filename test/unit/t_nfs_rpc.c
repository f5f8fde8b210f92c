/* t_nfs_rpc.c - RPC refusals, credentials, MOUNT, portmapper, exports through the whole server. */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib_nfs.h"

static struct nt *t;

static void up(void)
{
	static struct nt nt;

	t = &nt;
	nt_up(t);
}

static void down(void)
{
	nt_down(t);
}

/* ---- RPC ------------------------------------------------------------------------------------ */
static void t_refusals(void)
{
	up();
	nt_begin(t, 999999, 1, 0);
	CHECK_EQ(PROG_UNAVAIL, nt_call_stat(t));
	nt_begin(t, NFS_PROGRAM, 4, 0);
	CHECK_EQ(PROG_MISMATCH, nt_call_stat(t));
	CHECK_EQ(3, rd_u32(&t->r));
	CHECK_EQ(3, rd_u32(&t->r));
	nt_begin(t, MOUNT_PROGRAM, 2, 0);
	CHECK_EQ(PROG_MISMATCH, nt_call_stat(t));
	CHECK_EQ(1, rd_u32(&t->r));
	CHECK_EQ(3, rd_u32(&t->r));
	nt_begin(t, NFS_PROGRAM, NFS_V3, 22);
	CHECK_EQ(PROC_UNAVAIL, nt_call_stat(t));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
	CHECK_EQ(GARBAGE_ARGS, nt_call_stat(t));
	CHECK_EQ(1, nt_counter(t, "bad_args"));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	put_u32(t->msg + 8, 3);
	CHECK_EQ(200, nt_call_stat(t));
	CHECK_EQ(2, rd_u32(&t->r));
	CHECK_EQ(2, rd_u32(&t->r));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	nt_call(t);
	CHECK(rd_done(&t->r));
	down();
}

static void t_what_is_no_call(void)
{
	static const uint8_t junk[12] = {1, 2, 3, 4, 0, 0, 0, 1};
	size_t before;

	up();
	before = t->peer->count;
	CHECK(!rpc_receive(t->srv, &t->peer->peer, junk, 0));
	CHECK(!rpc_receive(t->srv, &t->peer->peer, junk, sizeof(junk)));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	put_u32(t->msg + 4, REPLY);
	CHECK(!nt_send(t));
	/* every truncation of the header */
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	for (size_t n = 0; n < wr_len(&t->w); n++) {
		rpc_ahead(t->srv, &t->peer->peer, t->msg, n);
		CHECK(!rpc_receive(t->srv, &t->peer->peer, t->msg, n));
	}
	CHECK_EQ(before, t->peer->count);
	down();
}

/* covers: VS-152 VS-155 - who finds a store damaged gets no answer, no error, and nor does anybody after. */
static void t_damage_is_not_answered(void)
{
	struct READ3args args = {.count = 100};
	struct nt_fh fh;
	struct sattr3 mode = nt_mode(0644);
	char command[128];
	size_t before;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", UNCHECKED, &mode, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, "data", 4, FILE_SYNC, NULL));
	nt_restart(t, false);
	snprintf(command, sizeof(command), "rm %s/objects/*/*/*", t->dir);
	CHECK_EQ(0, system(command));
	before = t->peer->count;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_READ);
	args.file = nt_wire(&fh);
	xdr_put_READ3args(&t->w, &args);
	CHECK(nt_send(t));
	nt_settle(t);
	CHECK(store_is_damaged(t->store));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &args.file);
	CHECK(nt_send(t));
	nt_settle(t);
	CHECK_EQ(before, t->peer->count);
	nt_restart(t, true); /* what waited goes with the process */
	down();
}

static void t_credentials(void)
{
	uint32_t got;

	up();
	t->flavor = RPCSEC_GSS;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	CHECK_EQ(SUCCESS, nt_call_stat(t));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
	CHECK_EQ(100 + AUTH_REJECTEDCRED, nt_call_stat(t));
	t->flavor = AUTH_NONE;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{t->root.b, t->root.n}});
	CHECK_EQ(100 + AUTH_TOOWEAK, nt_call_stat(t));
	t->flavor = AUTH_SYS;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	put_u32(t->msg + 28, 8); /* a body too short for what it says it is */
	CHECK(nt_call_stat(t) != SUCCESS);
	t->cred.gid_count = 16;
	CHECK_EQ(NFS3_OK, nt_access(t, &t->root, 0x3f, &got));
	CHECK_EQ(0x1f, got);
	down();
}

/* covers: S8 */
static void t_golden_getattr_reply(void)
{
	static const uint8_t head[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
				       0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
				       0, 0, 1, 0xed, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0};
	const struct nt_reply *m;
	struct store_info info;
	struct fattr3 a;

	up();
	CHECK_EQ(NFS3_OK, nt_getattr(t, &t->root, &a));
	m = &t->peer->last[(t->peer->count - 1) % NT_QUEUE_MAX];
	CHECK_EQ(24 + 4 + 84, m->len);
	CHECK_EQ(0, memcmp(m->msg + 4, head + 4, sizeof(head) - 4));
	store_info(t->store, &info);
	CHECK_EQ(0, memcmp(m->msg + 24 + 4 + 44, info.uuid, 8)); /* fsid */
	CHECK_EQ(STORE_ROOT_INO, a.fileid);
	down();
}

/* ---- MOUNT ---------------------------------------------------------------------------------- */
static void t_mount(void)
{
	struct nt_fh fh, sub, found;

	up();
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e/", &fh));
	CHECK_EQ(HANDLE_SIZE, fh.n);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e/sub", &sub)); /* a directory below an export */
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "sub", &found));
	CHECK_EQ(0, memcmp(sub.b, found.b, HANDLE_SIZE));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/e/none", &fh));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/nothing", &fh));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "", &fh));
	CHECK_EQ(MNT3_OK, nt_mount(t, "//e", &fh));
	CHECK_EQ(0, memcmp(t->root.b, fh.b, HANDLE_SIZE));
	CHECK_EQ(MNT3_OK, nt_mount(t, "///e///sub//", &fh));
	CHECK_EQ(0, memcmp(sub.b, fh.b, HANDLE_SIZE));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "//nothing//", &fh));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "//", &fh));
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/e/sub/../..", &fh));
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "file", GUARDED, &(struct sattr3){0}, 0, &fh));
	CHECK_EQ(MNT3ERR_NOTDIR, nt_mount(t, "/e/file", &fh));
	CHECK_EQ(MNT3ERR_NOTDIR, nt_mount(t, "/e/file/x", &fh));
	down();
}

static unsigned count_list(unsigned words)
{
	unsigned n = 0;
	struct xdr_bytes b;

	while (rd_u32(&t->r) == 1) {
		for (unsigned i = 0; i < words; i++)
			xdr_get_bytes(&t->r, &b, 1024);
		CHECK(rd_ok(&t->r));
		n++;
	}
	return n;
}

static void mount_proc(uint32_t vers, uint32_t proc, const char *path)
{
	nt_begin(t, MOUNT_PROGRAM, vers, proc);
	if (path)
		xdr_put_mnt_dirpath(&t->w, &(struct mnt_dirpath){nt_text(path)});
	nt_call(t);
}

static void t_mount_lists(void)
{
	struct xdr_bytes b;
	unsigned n = 0;
	struct nt_fh fh;

	up();
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e/sub", &fh));
	mount_proc(MOUNT_V3, MOUNTPROC3_DUMP, NULL);
	CHECK_EQ(2, count_list(2));
	CHECK(rd_done(&t->r));
	mount_proc(MOUNT_V3, MOUNTPROC3_UMNT, "/e/sub");
	mount_proc(MOUNT_V1, MOUNTPROC1_DUMP, NULL);
	CHECK_EQ(1, count_list(2));
	mount_proc(MOUNT_V3, MOUNTPROC3_UMNTALL, NULL);
	mount_proc(MOUNT_V3, MOUNTPROC3_DUMP, NULL);
	CHECK_EQ(0, count_list(2));
	mount_proc(MOUNT_V3, MOUNTPROC3_EXPORT, NULL);
	while (rd_u32(&t->r) == 1) {
		xdr_get_bytes(&t->r, &b, 1024);
		CHECK_EQ(1, count_list(1));
		n++;
	}
	CHECK_EQ(4, n);
	CHECK(rd_done(&t->r));
	down();
}

/* One mount is one row, however its path is written. */
static void t_mount_slashes(void)
{
	static const char *const ways[] = {"/e/sub", "//e/sub", "/e/sub/", "/e//sub//"};
	struct xdr_bytes b;
	struct nt_fh fh;

	up();
	mount_proc(MOUNT_V3, MOUNTPROC3_UMNTALL, NULL);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 4; k++)
			CHECK_EQ(MNT3_OK, nt_mount(t, ways[k], &fh));
		mount_proc(MOUNT_V3, MOUNTPROC3_DUMP, NULL);
		CHECK_EQ(1, rd_u32(&t->r));
		xdr_get_bytes(&t->r, &b, 1024);
		xdr_get_bytes(&t->r, &b, 1024);
		CHECK_EQ(6, b.n);
		CHECK_EQ(0, memcmp(b.p, "/e/sub", 6));
		CHECK_EQ(0, rd_u32(&t->r));
		mount_proc(MOUNT_V3, MOUNTPROC3_UMNT, ways[i]);
		mount_proc(MOUNT_V3, MOUNTPROC3_DUMP, NULL);
		CHECK_EQ(0, count_list(2));
	}
	down();
}

/* The longest path that MOUNT has room for, and one of slashes alone. */
static void t_mount_long(void)
{
	char text[MNTPATHLEN + 1];
	struct nt_fh fh;

	up();
	memset(text, '/', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, text, &fh));
	text[MNTPATHLEN - 1] = 'e';
	CHECK_EQ(MNT3_OK, nt_mount(t, text, &fh));
	memset(text, 'e', sizeof(text) - 1);
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, text, &fh));
	down();
}

static void t_mount_version_1(void)
{
	struct fhstatus r;
	struct nt_fh fh = {.n = FHSIZE};

	up();
	mount_proc(MOUNT_V1, MOUNTPROC1_MNT, "/e");
	xdr_get_fhstatus(&t->r, &r);
	CHECK(rd_done(&t->r));
	CHECK_EQ(0, r.fhs_status);
	memcpy(fh.b, r.fhs_fhandle, FHSIZE);
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, NULL));
	mount_proc(MOUNT_V1, MOUNTPROC1_MNT, "/none");
	xdr_get_fhstatus(&t->r, &r);
	CHECK_EQ(MNT3ERR_NOENT, r.fhs_status);
	down();
}

/* ---- exports -------------------------------------------------------------------------------- */
static void t_squash(void)
{
	struct nt_fh sq, fh;
	struct fattr3 a;
	struct sattr3 open_mode = nt_mode(0777);

	up();
	CHECK_EQ(NFS3_OK, nt_setattr(t, &t->root, &open_mode, NULL, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/squash", &sq));
	CHECK_EQ(NFS3_OK, nt_create(t, &sq, "a", GUARDED, &open_mode, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK_EQ(65534, a.uid);
	CHECK_EQ(65534, a.gid);
	t->flavor = AUTH_NONE; /* sec=none is allowed there */
	CHECK_EQ(NFS3_OK, nt_create(t, &sq, "b", GUARDED, &open_mode, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK_EQ(65534, a.uid);
	t->flavor = AUTH_SYS;
	t->rule.squash = SQUASH_ROOT;
	t->rule.anonuid = t->rule.anongid = 4242;
	nt_server_restart(t);
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "c", GUARDED, &open_mode, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK_EQ(4242, a.uid);
	t->cred.uid = 7;
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "d", GUARDED, &open_mode, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK_EQ(7, a.uid);
	down();
}

static void t_read_only(void)
{
	struct nt_fh ro, fh;
	struct sattr3 m = nt_mode(0600);
	uint32_t got;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &m, 0, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/ro", &ro));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &ro, "f", &fh));
	CHECK_EQ(NFS3ERR_ROFS, nt_write(t, &fh, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3ERR_ROFS, nt_setattr(t, &fh, &m, NULL, NULL));
	CHECK_EQ(NFS3ERR_ROFS, nt_create(t, &ro, "g", GUARDED, &m, 0, NULL));
	CHECK_EQ(NFS3ERR_ROFS, nt_remove(t, &ro, "f"));
	CHECK_EQ(NFS3ERR_ROFS, nt_rename(t, &ro, "f", &ro, "g"));
	CHECK_EQ(NFS3ERR_ROFS, nt_link(t, &fh, &ro, "g"));
	CHECK_EQ(NFS3_OK, nt_access(t, &fh, 0x3f, &got));
	CHECK_EQ(ACCESS3_READ, got);
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, NULL));
	down();
}

static void t_clients_and_ports(void)
{
	struct nt_peer *far, *high;
	struct nt_fh fh;

	up();
	t->rule.addr[10] = t->rule.addr[11] = 0xff;
	memcpy(t->rule.addr + 12, "\xc0\x00\x02\x00", 4);
	t->rule.prefix = 96 + 24;
	nt_server_restart(t);
	far = nt_peer_new("198.51.100.9", 700, true);
	high = nt_peer_new("192.0.2.9", 4000, true);
	t->peer = far;
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/e", &fh));
	CHECK_EQ(NFS3ERR_ACCES, nt_getattr(t, &t->root, NULL)); /* a handle is not enough */
	CHECK_EQ(2, nt_counter(t, "refused_client"));
	t->peer = high;
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/e", &fh));
	CHECK_EQ(NFS3ERR_PERM, nt_getattr(t, &t->root, NULL));
	CHECK_EQ(2, nt_counter(t, "refused_port"));
	t->rule.insecure = true;
	nt_server_restart(t);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e", &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &t->root, NULL));
	t->peer = t->first_peer;
	nt_peer_free(far);
	nt_peer_free(high);
	down();
}

static void t_export_of_a_subdirectory(void)
{
	struct nt_fh sub, inner, up_fh, bad;
	struct fattr3 a, b;
	struct nt_dirent e[8];
	uint8_t verf[8] = {0};
	unsigned n;
	bool eof;

	up();
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e/sub", &inner));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &inner, "in", 0755, NULL));
	nt_server_restart(t); /* "/sub" had no directory when the server began */
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &sub));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &sub, "..", &up_fh)); /* its root is its own parent */
	CHECK_EQ(0, memcmp(up_fh.b, sub.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_readdir(t, &sub, 0, verf, 4096, 0, e, 8, &n, &eof));
	CHECK_EQ(3, n);
	CHECK(strcmp(e[1].name, "..") == 0 && e[0].fileid == e[1].fileid);
	CHECK_EQ(NFS3_OK, nt_readdir(t, &sub, 0, verf, 4096, 4096, e, 8, &n, &eof));
	CHECK_EQ(0, memcmp(e[1].fh.b, sub.b, HANDLE_SIZE));
	/* In the wider export ".." of the same directory goes up. */
	CHECK_EQ(NFS3_OK, nt_lookup(t, &inner, "..", &up_fh));
	CHECK_EQ(0, memcmp(up_fh.b, t->root.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &sub, &a));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &inner, &b));
	CHECK_EQ(a.fileid, b.fileid);
	/* A handle does not pass from one export to another. */
	bad = sub;
	memcpy(bad.b + 1, t->root.b + 1, 3);
	CHECK_EQ(NFS3ERR_BADHANDLE, nt_getattr(t, &bad, NULL));
	CHECK_EQ(NFS3ERR_XDEV, nt_rename(t, &sub, "in", &t->root, "out"));
	down();
}

static void t_handles(void)
{
	struct nt_fh fh, gone;

	up();
	CHECK_EQ(NFS3_OK, nt_getattr(t, &t->root, NULL)); /* what was proved is noted */
	for (unsigned bit = 0; bit < 8 * HANDLE_SIZE; bit++) {
		uint32_t status;

		fh = t->root;
		fh.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		status = nt_getattr(t, &fh, NULL);
		CHECK(status == NFS3ERR_BADHANDLE || status == NFS3ERR_STALE);
	}
	fh = t->root;
	fh.n = 16;
	CHECK_EQ(NFS3ERR_BADHANDLE, nt_getattr(t, &fh, NULL));
	fh.n = 0;
	CHECK_EQ(NFS3ERR_BADHANDLE, nt_getattr(t, &fh, NULL));
	fh.n = 64;
	CHECK_EQ(NFS3ERR_BADHANDLE, nt_getattr(t, &fh, NULL));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &gone));
	CHECK_EQ(NFS3_OK, nt_rmdir(t, &t->root, "d"));
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &gone, NULL));
	nt_restart(t, false); /* handles outlive the process */
	CHECK_EQ(NFS3_OK, nt_getattr(t, &t->root, NULL));
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &gone, NULL));
	down();
}

/* ---- the lease ------------------------------------------------------------------------------ */
/* covers: F4 S8 */
static void t_silence_without_a_lease(void)
{
	size_t before;

	up();
	before = t->peer->count;
	t->lease = false;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_NULL);
	CHECK(nt_send(t));
	CHECK(!t->srv || t->peer->count == before);
	for (int i = 0; i < 10; i++)
		loop_once(t->loop, 2000000);
	CHECK_EQ(before, t->peer->count);
	t->lease = true;
	CHECK(nt_wait(t, t->peer, before + 1));
	/* A reply that waited for the log while the lease went is silent too. */
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_MKDIR);
	xdr_put_MKDIR3args(&t->w, &(struct MKDIR3args){{nt_wire(&t->root), nt_text("x")}, nt_mode(0)});
	CHECK(nt_send(t));
	CHECK_EQ(before + 1, t->peer->count); /* held: not durable yet */
	t->lease = false;
	for (int i = 0; i < 20; i++)
		loop_once(t->loop, 2000000);
	CHECK_EQ(before + 1, t->peer->count);
	t->lease = true;
	CHECK(nt_wait(t, t->peer, before + 2));
	CHECK_EQ(SUCCESS, nt_reply_stat(t, t->peer));
	CHECK_EQ(NFS3_OK, rd_u32(&t->r));
	CHECK(nt_counter(t, "silent") >= 2);
	down();
}

/* All is durable and yet an answer waits, for a write of the log that began after its question; one
 * write does for many.   covers: F4 */
static void t_read_fence(void)
{
	static uint8_t body[64 << 10]; /* more than is copied */
	struct sattr3 mode = nt_mode(0644);
	struct nt_fh f;
	size_t before;
	uint64_t lsn;

	up();
	t->read_fence_strict = true;
	nt_server_restart(t);
	nt_settle(t);
	before = t->peer->count;
	lsn = store_last_lsn(t->store);
	CHECK_EQ(lsn, store_durable_lsn(t->store));
	for (int i = 0; i < 3; i++) {
		nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
		xdr_put_GETATTR3args(&t->w, &(struct GETATTR3args){nt_wire(&t->root)});
		CHECK(nt_send(t));
	}
	CHECK_EQ(before, t->peer->count);
	CHECK_EQ(lsn + 1, store_last_lsn(t->store));
	CHECK(nt_wait(t, t->peer, before + 3));
	CHECK(store_durable_lsn(t->store) >= lsn + 1);
	/* Changes bring their own write. */
	lsn = store_last_lsn(t->store);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, NULL));
	CHECK_EQ(lsn + 1, store_last_lsn(t->store));
	/* Bulk that lies in memory waits like any other answer. */
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "big", GUARDED, &mode, 0, &f));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, body, sizeof(body), FILE_SYNC, NULL));
	nt_settle(t);
	lsn = store_last_lsn(t->store);
	before = t->peer->count;
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_READ);
	xdr_put_READ3args(&t->w, &(struct READ3args){.file = nt_wire(&f), .count = sizeof(body)});
	CHECK(nt_send(t));
	CHECK_EQ(before, t->peer->count);
	CHECK_EQ(lsn + 1, store_last_lsn(t->store));
	CHECK(nt_wait(t, t->peer, before + 1));
	t->read_fence_strict = false;
	down();
}

/* Data too, from wherever it is sent: small and kept, or large.   covers: F4 */
static void t_read_fence_data(void)
{
	enum { SIZE = 100000 };
	static uint8_t data[SIZE];
	struct sattr3 mode = nt_mode(0644);
	struct nt_fh f;
	uint32_t n;
	bool eof;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", UNCHECKED, &mode, 0, &f));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, data, SIZE, FILE_SYNC, NULL));
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 4096, data, &n, &eof));
	t->read_fence_strict = true;
	nt_server_restart(t);
	for (unsigned i = 0; i < 2; i++) {
		size_t before = t->peer->count;

		nt_settle(t);
		nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_READ);
		xdr_put_READ3args(&t->w, &(struct READ3args){nt_wire(&f), 0, i ? SIZE : 4096});
		CHECK(nt_send(t));
		CHECK_EQ(before, t->peer->count);
		CHECK(nt_wait(t, t->peer, before + 1));
	}
	t->read_fence_strict = false;
	down();
}

/* ---- portmapper ----------------------------------------------------------------------------- */
static uint32_t getport(uint32_t prog, uint32_t vers, uint32_t prot)
{
	nt_begin(t, PMAP_PROG, PMAP_VERS, PMAPPROC_GETPORT);
	xdr_put_mapping(&t->w, &(struct mapping){prog, vers, prot, 0});
	nt_call(t);
	return rd_u32(&t->r);
}

static void t_portmap_2(void)
{
	unsigned n = 0;
	struct mapping m;

	up();
	CHECK_EQ(2049, getport(NFS_PROGRAM, 3, IPPROTO_TCP));
	CHECK_EQ(2049, getport(NFS_PROGRAM, 3, IPPROTO_UDP));
	CHECK_EQ(2050, getport(MOUNT_PROGRAM, 3, IPPROTO_TCP));
	CHECK_EQ(111, getport(PMAP_PROG, 2, IPPROTO_UDP));
	CHECK_EQ(0, getport(NFS_PROGRAM, 3, 99));
	CHECK_EQ(0, getport(100021, 4, IPPROTO_TCP));
	nt_begin(t, PMAP_PROG, PMAP_VERS, PMAPPROC_DUMP);
	nt_call(t);
	while (rd_u32(&t->r) == 1) {
		xdr_get_mapping(&t->r, &m);
		n++;
	}
	CHECK(rd_done(&t->r));
	CHECK_EQ(12, n);
	nt_begin(t, PMAP_PROG, PMAP_VERS, PMAPPROC_SET);
	xdr_put_mapping(&t->w, &(struct mapping){1, 2, 6, 4});
	nt_call(t);
	CHECK_EQ(0, rd_u32(&t->r));
	nt_begin(t, PMAP_PROG, PMAP_VERS, PMAPPROC_CALLIT);
	CHECK_EQ(PROC_UNAVAIL, nt_call_stat(t));
	down();
}

static void get_addr(uint32_t vers, uint32_t proc, const char *netid, const char *want)
{
	struct rpcb a = {NFS_PROGRAM, 3, nt_text(netid), nt_text(""), nt_text("")};
	struct xdr_bytes b;

	nt_begin(t, PMAP_PROG, vers, proc);
	xdr_put_rpcb(&t->w, &a);
	nt_call(t);
	xdr_get_bytes(&t->r, &b, 64);
	CHECK(rd_done(&t->r));
	CHECK_EQ(strlen(want), b.n);
	CHECK_EQ(0, memcmp(want, b.p, b.n));
}

static void t_rpcbind(void)
{
	unsigned n = 0;

	up();
	get_addr(RPCBVERS3, RPCB3PROC_GETADDR, "tcp", "192.0.2.100.8.1");
	get_addr(RPCBVERS4, RPCB4PROC_GETADDR, "udp", "192.0.2.100.8.1");
	get_addr(RPCBVERS4, RPCB4PROC_GETVERSADDR, "tcp", "192.0.2.100.8.1");
	get_addr(RPCBVERS4, RPCB4PROC_GETADDR, "tcp6", "");
	nt_begin(t, PMAP_PROG, RPCBVERS4, RPCB4PROC_DUMP);
	nt_call(t);
	while (rd_u32(&t->r) == 1) {
		struct rpcb r;

		xdr_get_rpcb(&t->r, &r);
		n++;
	}
	CHECK(rd_done(&t->r));
	CHECK_EQ(12, n);
	nt_begin(t, PMAP_PROG, RPCBVERS3, RPCB3PROC_GETTIME);
	nt_call(t);
	CHECK(rd_u32(&t->r) > 1700000000U);
	nt_begin(t, PMAP_PROG, RPCBVERS4, RPCB4PROC_GETADDRLIST);
	xdr_put_rpcb(&t->w, &(struct rpcb){MOUNT_PROGRAM, 3, nt_text(""), nt_text(""), nt_text("")});
	nt_call(t);
	for (n = 0; rd_u32(&t->r) == 1; n++) {
		struct rpcb_entry e;

		xdr_get_rpcb_entry(&t->r, &e);
	}
	CHECK(rd_done(&t->r));
	CHECK_EQ(2, n);
	down();
}

int main(void)
{
	CASE(t_refusals);
	CASE(t_what_is_no_call);
	CASE(t_damage_is_not_answered);
	CASE(t_credentials);
	CASE(t_golden_getattr_reply);
	CASE(t_mount);
	CASE(t_mount_lists);
	CASE(t_mount_slashes);
	CASE(t_mount_long);
	CASE(t_mount_version_1);
	CASE(t_squash);
	CASE(t_read_only);
	CASE(t_clients_and_ports);
	CASE(t_export_of_a_subdirectory);
	CASE(t_handles);
	CASE(t_silence_without_a_lease);
	CASE(t_read_fence);
	CASE(t_read_fence_data);
	CASE(t_portmap_2);
	CASE(t_rpcbind);
	return check_end();
}
