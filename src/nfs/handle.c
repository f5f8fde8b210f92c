/* handle.c - the bytes of handle.h. */
#include "nfs/handle.h"

#include <sodium.h>
#include <string.h>

#include "base/buf.h"

#define FORMAT 1
#define MAC_AT 24

_Static_assert(crypto_shorthash_KEYBYTES == HANDLE_KEY_SIZE, "SipHash takes the store's key");
_Static_assert(crypto_shorthash_BYTES == HANDLE_SIZE - MAC_AT, "the MAC is the rest of the handle");

static void put_fields(uint8_t out[HANDLE_SIZE], const struct handle *h)
{
	put_u32(out, (uint32_t)FORMAT << 24 | (h->export_id & HANDLE_EXPORT_MAX));
	put_u32(out + 4, (uint32_t)(h->fsid >> 32));
	put_u32(out + 8, (uint32_t)h->fsid);
	put_u32(out + 12, (uint32_t)(h->ino >> 32));
	put_u32(out + 16, (uint32_t)h->ino);
	put_u32(out + 20, h->generation);
}

void handle_encode(uint8_t out[HANDLE_SIZE], const struct handle *h,
		   const uint8_t key[HANDLE_KEY_SIZE])
{
	put_fields(out, h);
	crypto_shorthash(out + MAC_AT, out, MAC_AT, key);
}

void handle_encode_with(uint8_t out[HANDLE_SIZE], const struct handle *h, uint64_t mac)
{
	put_fields(out, h);
	memcpy(out + MAC_AT, &mac, sizeof(mac));
}

uint64_t handle_mac(const uint8_t handle[HANDLE_SIZE])
{
	uint64_t mac;

	memcpy(&mac, handle + MAC_AT, sizeof(mac));
	return mac;
}

bool handle_decode(struct handle *h, const uint8_t *data, size_t len)
{
	struct rd r;
	uint32_t first;

	if (len != HANDLE_SIZE)
		return false;
	rd_init(&r, data, len);
	first = rd_u32(&r);
	h->export_id = first & HANDLE_EXPORT_MAX;
	h->fsid = rd_u64(&r);
	h->ino = rd_u64(&r);
	h->generation = rd_u32(&r);
	return first >> 24 == FORMAT;
}

bool handle_authentic(const uint8_t data[HANDLE_SIZE], const uint8_t key[HANDLE_KEY_SIZE])
{
	uint8_t mac[crypto_shorthash_BYTES];

#ifdef HF_MUTANT_NFS_ANY_HANDLE
	(void)data, (void)key, (void)mac;
	return true;
#else
	crypto_shorthash(mac, data, MAC_AT, key);
	return sodium_memcmp(mac, data + MAC_AT, sizeof(mac)) == 0;
#endif
}
