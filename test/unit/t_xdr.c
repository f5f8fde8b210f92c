/* t_xdr.c - the generated codecs: round trips, every truncation, bounds, golden bytes. */
#include "check.h"

#include <string.h>

#include "xdr/mount_xdr.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/pmap_xdr.h"
#include "xdr/rpc_xdr.h"

static uint8_t mem[4096];

/* Decodes what `put` made, encodes it again, compares; then every shorter message must fail. */
#define ROUND_TRIP(type, value)                                                                    \
	do {                                                                                       \
		struct type in_ = (value), out_;                                                   \
		uint8_t again_[sizeof(mem)];                                                       \
		struct wr wx_;                                                                      \
		struct rd r_;                                                                      \
		size_t n_;                                                                         \
		wr_init(&wx_, mem, sizeof(mem));                                                    \
		xdr_put_##type(&wx_, &in_);                                                         \
		CHECK(wr_ok(&wx_));                                                                 \
		n_ = wr_len(&wx_);                                                                  \
		CHECK_EQ(0, n_ % 4);                                                               \
		rd_init(&r_, mem, n_);                                                             \
		memset(&out_, 0xa5, sizeof(out_));                                                 \
		xdr_get_##type(&r_, &out_);                                                        \
		CHECK(rd_done(&r_));                                                               \
		wr_init(&wx_, again_, sizeof(again_));                                              \
		xdr_put_##type(&wx_, &out_);                                                        \
		CHECK_EQ(n_, wr_len(&wx_));                                                         \
		CHECK_EQ(0, memcmp(mem, again_, n_));                                              \
		for (size_t cut_ = 0; cut_ < n_; cut_++) {                                         \
			rd_init(&r_, mem, cut_);                                                   \
			xdr_get_##type(&r_, &out_);                                                \
			CHECK(!rd_ok(&r_));                                                        \
		}                                                                                  \
		for (size_t cut_ = 0; cut_ < n_; cut_++) {                                         \
			wr_init(&wx_, again_, cut_);                                                \
			xdr_put_##type(&wx_, &in_);                                                 \
			CHECK(!wr_ok(&wx_));                                                        \
		}                                                                                  \
	} while (0)

static struct xdr_bytes text(const char *s)
{
	return (struct xdr_bytes){(const uint8_t *)s, (uint32_t)strlen(s)};
}

static struct fattr3 some_attr(void)
{
	return (struct fattr3){.type = NF3REG,
			       .mode = 0644,
			       .nlink = 2,
			       .uid = 1000,
			       .gid = 100,
			       .size = 0x123456789aULL,
			       .used = 4096,
			       .rdev = {7, 8},
			       .fsid = 0xfeedfacecafebeefULL,
			       .fileid = 42,
			       .atime = {1, 2},
			       .mtime = {3, 4},
			       .ctime = {5, 6}};
}

static struct sattr3 some_sattr(void)
{
	return (struct sattr3){.mode = {true, 0755},
			       .uid = {false, 0},
			       .gid = {true, 5},
			       .size = {true, 77},
			       .atime = {SET_TO_SERVER_TIME, {0, 0}},
			       .mtime = {SET_TO_CLIENT_TIME, {9, 10}}};
}

static void t_nfs3_args(void)
{
	struct diropargs3 where = {{text("0123456789abcdef")}, text("name")};

	ROUND_TRIP(GETATTR3args, ((struct GETATTR3args){{text("handle")}}));
	ROUND_TRIP(SETATTR3args, ((struct SETATTR3args){{text("h")}, some_sattr(), {true, {1, 2}}}));
	ROUND_TRIP(LOOKUP3args, ((struct LOOKUP3args){where}));
	ROUND_TRIP(WRITE3args,
		   ((struct WRITE3args){{text("h")}, 1ULL << 40, 5, FILE_SYNC, text("hello")}));
	ROUND_TRIP(CREATE3args, ((struct CREATE3args){where, {GUARDED, {some_sattr()}}}));
	ROUND_TRIP(CREATE3args,
		   ((struct CREATE3args){where, {EXCLUSIVE, {.verf = {1, 2, 3, 4, 5, 6, 7, 8}}}}));
	ROUND_TRIP(SYMLINK3args, ((struct SYMLINK3args){where, {some_sattr(), text("/a/b")}}));
	ROUND_TRIP(MKNOD3args,
		   ((struct MKNOD3args){where, {NF3CHR, {.device = {some_sattr(), {1, 3}}}}}));
	ROUND_TRIP(RENAME3args, ((struct RENAME3args){where, where}));
	ROUND_TRIP(READDIRPLUS3args,
		   ((struct READDIRPLUS3args){{text("h")}, 9, {1, 2}, 512, 8192}));
}

static void t_nfs3_results(void)
{
	struct post_op_attr attr = {true, some_attr()};
	struct wcc_data wcc = {{true, {1, {2, 3}, {4, 5}}}, attr};

	ROUND_TRIP(fattr3, some_attr());
	ROUND_TRIP(GETATTR3res, ((struct GETATTR3res){NFS3_OK, {some_attr()}}));
	ROUND_TRIP(GETATTR3res, ((struct GETATTR3res){.status = NFS3ERR_STALE}));
	ROUND_TRIP(wcc_data, wcc);
	ROUND_TRIP(WRITE3res,
		   ((struct WRITE3res){NFS3_OK, {.resok = {wcc, 5, FILE_SYNC, {1, 2, 3}}}}));
	ROUND_TRIP(RENAME3res, ((struct RENAME3res){NFS3ERR_NOENT, {.resfail = {wcc, wcc}}}));
	ROUND_TRIP(PATHCONF3res,
		   ((struct PATHCONF3res){
		       NFS3_OK, {.resok = {attr, 65000, 255, true, true, false, true}}}));
}

static void t_rpc_mount_pmap(void)
{
	ROUND_TRIP(authsys_parms,
		   ((struct authsys_parms){1, text("client"), 1000, 100, {3, {1, 2, 3}}}));
	ROUND_TRIP(opaque_auth, ((struct opaque_auth){AUTH_SYS, text("body")}));
	ROUND_TRIP(mountres3,
		   ((struct mountres3){MNT3_OK, {text("0123456789abcdef"), {1, {AUTH_SYS}}}}));
	ROUND_TRIP(mapping, ((struct mapping){NFS_PROGRAM, 3, 6, 2049}));
	ROUND_TRIP(rpcb, ((struct rpcb){1, 2, text("tcp"), text("127.0.0.1.8.1"), text("me")}));
}

static void t_bounds_are_the_protocols(void)
{
	static const uint8_t long_handle[4 + 68] = {0, 0, 0, 65};
	static const uint8_t bad_arm[] = {0, 0, 0, 2};
	static const uint8_t gids[] = {0, 0, 0, 0,  0, 0, 0, 0, 0, 0,
				       0, 0, 0, 0, 0, 0, 0, 0, 0, 17};
	struct nfs_fh3 fh;
	struct post_op_attr attr;
	struct authsys_parms p;
	struct rd r;

	rd_init(&r, long_handle, sizeof(long_handle));
	xdr_get_nfs_fh3(&r, &fh);
	CHECK(!rd_ok(&r));
	rd_init(&r, bad_arm, sizeof(bad_arm));
	xdr_get_post_op_attr(&r, &attr);
	CHECK(!rd_ok(&r));
	rd_init(&r, gids, sizeof(gids));
	xdr_get_authsys_parms(&r, &p);
	CHECK(!rd_ok(&r));
}

static void t_huge_length_is_no_overflow(void)
{
	static const uint8_t msg[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4};
	struct xdr_bytes b;
	struct rd r;

	rd_init(&r, msg, sizeof(msg));
	xdr_get_bytes(&r, &b, UINT32_MAX);
	CHECK(!rd_ok(&r));
	CHECK_EQ(0, b.n);
}

static void t_golden_lookup_args(void)
{
	static const uint8_t golden[] = {0, 0, 0, 4, 0xde, 0xad, 0xbe, 0xef, /* handle */
					 0, 0, 0, 5, 'h',  'e',	 'l',  'l',  'o', 0, 0, 0};
	struct LOOKUP3args a;
	struct rd r;

	rd_init(&r, golden, sizeof(golden));
	xdr_get_LOOKUP3args(&r, &a);
	CHECK(rd_done(&r));
	CHECK_EQ(4, a.what.dir.data.n);
	CHECK(a.what.dir.data.p == golden + 4); /* in place */
	CHECK_EQ(5, a.what.name.n);
	CHECK_EQ(0, memcmp(a.what.name.p, "hello", 5));
}

int main(void)
{
	CASE(t_nfs3_args);
	CASE(t_nfs3_results);
	CASE(t_rpc_mount_pmap);
	CASE(t_bounds_are_the_protocols);
	CASE(t_huge_length_is_no_overflow);
	CASE(t_golden_lookup_args);
	return check_end();
}
