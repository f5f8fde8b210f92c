/* fuzz_xdr.c - the generated decoders: the first byte chooses the type, the rest is the message.
 * What decodes must encode, and decode to the same bytes again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xdr/mount_xdr.h"
#include "xdr/nfs3_xdr.h"
#include "xdr/pmap_xdr.h"
#include "xdr/rpc_xdr.h"

#define TYPES(T)                                                                                   \
	T(opaque_auth) T(authsys_parms) T(rpc_call_head) T(mapping) T(rpcb) T(rpcb_entry)          \
	T(mnt_dirpath) T(mountres3) T(fhstatus) T(mount_entry) T(fattr3) T(wcc_data) T(sattr3)     \
	T(GETATTR3args) T(SETATTR3args) T(LOOKUP3args) T(ACCESS3args) T(READLINK3args)             \
	T(READ3args) T(WRITE3args) T(CREATE3args) T(MKDIR3args) T(SYMLINK3args) T(MKNOD3args)      \
	T(REMOVE3args) T(RENAME3args) T(LINK3args) T(READDIR3args) T(READDIRPLUS3args)             \
	T(COMMIT3args) T(GETATTR3res) T(SETATTR3res) T(LOOKUP3res) T(ACCESS3res) T(READLINK3res)   \
	T(READ3res) T(WRITE3res) T(CREATE3res) T(REMOVE3res) T(RENAME3res) T(LINK3res)             \
	T(READDIR3res) T(READDIRPLUS3res) T(FSSTAT3res) T(FSINFO3res) T(PATHCONF3res) T(COMMIT3res)

#define FN(type)                                                                                   \
	static void try_##type(const uint8_t *data, size_t size)                                   \
	{                                                                                          \
		struct type v, again;                                                              \
		size_t room = size + 64;                                                           \
		uint8_t *one = malloc(room), *two = malloc(room);                                  \
		struct wr w, w2;                                                                   \
		struct rd r;                                                                       \
		rd_init(&r, data, size);                                                           \
		xdr_get_##type(&r, &v);                                                            \
		if (rd_ok(&r)) {                                                                   \
			wr_init(&w, one, room);                                                    \
			xdr_put_##type(&w, &v);                                                    \
			if (!wr_ok(&w))                                                            \
				abort();                                                           \
			rd_init(&r, one, wr_len(&w));                                              \
			xdr_get_##type(&r, &again);                                                \
			wr_init(&w2, two, room);                                                   \
			xdr_put_##type(&w2, &again);                                               \
			if (!rd_done(&r) || wr_len(&w) != wr_len(&w2) ||                           \
			    memcmp(one, two, wr_len(&w)) != 0)                                     \
				abort();                                                           \
		}                                                                                  \
		free(one);                                                                         \
		free(two);                                                                         \
	}
TYPES(FN)

static void (*const tries[])(const uint8_t *, size_t) = {
#define ROW(type) try_##type,
    TYPES(ROW)
#undef ROW
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size)
		tries[data[0] % (sizeof(tries) / sizeof(tries[0]))](data + 1, size - 1);
	return 0;
}
