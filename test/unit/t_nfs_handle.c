/* t_nfs_handle.c - file handles: their bytes, and that they go with the store. */
#include "check.h"
#include "conf/conf.h"

#include <string.h>

#include "lib_nfs.h"
#include "nfs/exports.h"

static struct nt *t;

static void up(void)
{
	static struct nt nt;

	t = &nt;
	nt_up(t);
}

static void t_handles(void)
{
	static const uint8_t key[HANDLE_KEY_SIZE] = {1, 2, 3}, other[HANDLE_KEY_SIZE] = {9};
	const struct handle h = {0xabcdef, 0x1122334455667788ULL, 99, 7};
	struct handle got;
	uint8_t b[HANDLE_SIZE], again[HANDLE_SIZE];

	handle_encode(b, &h, key);
	handle_encode_with(again, &h, handle_mac(b));
	CHECK(memcmp(b, again, sizeof(b)) == 0);
	CHECK(handle_decode(&got, b, sizeof(b)));
	CHECK(got.export_id == h.export_id && got.fsid == h.fsid);
	CHECK(got.ino == h.ino && got.generation == h.generation);
	CHECK(handle_authentic(b, key));
	CHECK(!handle_authentic(b, other));
	CHECK(!handle_decode(&got, b, sizeof(b) - 1));
	for (size_t i = 0; i < 8 * sizeof(b); i++) {
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		CHECK(!handle_authentic(b, key));
		b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	b[0] = 2;
	CHECK(!handle_decode(&got, b, sizeof(b)));
}

/* The example of doc/nfs.md. */
static void t_golden_handle(void)
{
	static const uint8_t golden[HANDLE_SIZE] = {
	    0x01, 0xa0, 0xbf, 0x16, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
	    0xef, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00,
	    0x00, 0x07, 0xa1, 0x9e, 0x00, 0xd8, 0x60, 0x7e, 0xda, 0x99};
	const struct handle h = {conf_export_id("/fs1", ""), 0x0123456789abcdefULL, 42, 7};
	uint8_t key[HANDLE_KEY_SIZE], b[HANDLE_SIZE];

	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	handle_encode(b, &h, key);
	CHECK_EQ(0, memcmp(golden, b, sizeof(b)));
}

static struct nt_fh reference(uint64_t fsid, uint64_t ino, uint32_t generation,
			      const uint8_t key[HANDLE_KEY_SIZE])
{
	const struct handle h = {conf_export_id("/e", ""), fsid, ino, generation};
	struct nt_fh fh = {.n = HANDLE_SIZE};

	handle_encode(fh.b, &h, key);
	return fh;
}

/* Another node has the same store on other blocks below another path: names, numbers and handles
 * are what they were, for all of them come from the store itself.   covers: OV-34 */
static void t_handles_go_with_the_store(void)
{
	static const struct sattr3 plain = {.mode = {true, 0644}};
	struct fattr3 then, now;
	struct store_info info;
	struct nt_fh fh, want, root, again;
	uint64_t fsid = 0;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "gone", GUARDED, &plain, 0, NULL));
	CHECK_EQ(NFS3_OK, nt_remove(t, &t->root, "gone"));
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "file", GUARDED, &plain, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, "abc", 3, FILE_SYNC, NULL));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &then));
	nt_dir_moves(t);
	nt_restart(t, true);
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &now));
	CHECK(then.fsid == now.fsid && then.fileid == now.fileid && now.size == 3);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e", &root));
	CHECK(root.n == t->root.n && memcmp(root.b, t->root.b, root.n) == 0);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &root, "file", &again));
	CHECK(again.n == fh.n && memcmp(again.b, fh.b, fh.n) == 0);
	/* No device number, no inode number of the file system below. */
	store_info(t->store, &info);
	for (unsigned i = 0; i < 8; i++)
		fsid = fsid << 8 | info.uuid[i];
	CHECK_EQ((long long)fsid, (long long)now.fsid);
	want = reference(fsid, now.fileid, store_inode(t->store, now.fileid)->generation,
			 info.handle_key);
	CHECK(want.n == fh.n && memcmp(want.b, fh.b, fh.n) == 0);
	nt_down(t);
}

int main(void)
{
	CASE(t_handles);
	CASE(t_golden_handle);
	CASE(t_handles_go_with_the_store);
	return check_end();
}
