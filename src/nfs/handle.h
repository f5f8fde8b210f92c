/* handle.h - file handles: 32 bytes that nobody can guess.
 *
 *	off size field
 *	  0    1 format, 1
 *	  1    3 export (exports.h: derived from its path)
 *	  4    8 file system: the first 8 bytes of the store's uuid
 *	 12    8 inode number
 *	 20    4 inode generation
 *	 24    8 SipHash-2-4 of bytes 0 to 23 with the store's secret key
 *
 * All big-endian.  The MAC makes a handle an access check: a client has only handles that a
 * MOUNT or a LOOKUP gave out for that export.  32 bytes fit every client, MOUNT version 1 too.
 * Everything in it belongs to the store or the configuration, so any node makes the same one. */
#ifndef HF_NFS_HANDLE_H
#define HF_NFS_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDLE_SIZE	 32
#define HANDLE_KEY_SIZE	 16
#define HANDLE_EXPORT_MAX 0xffffffU

struct handle {
	uint32_t export_id; /* 24 bits */
	uint64_t fsid;
	uint64_t ino;
	uint32_t generation;
};

void handle_encode(uint8_t out[HANDLE_SIZE], const struct handle *h,
		   const uint8_t key[HANDLE_KEY_SIZE]);
/* The same with a MAC that was kept from an earlier one. */
void handle_encode_with(uint8_t out[HANDLE_SIZE], const struct handle *h, uint64_t mac);
uint64_t handle_mac(const uint8_t handle[HANDLE_SIZE]);
/* Reads the fields; false when size or format are wrong.  They are the client's words until
 * handle_authentic() has said yes with the key of that file system. */
bool handle_decode(struct handle *h, const uint8_t *data, size_t len);
bool handle_authentic(const uint8_t data[HANDLE_SIZE], const uint8_t key[HANDLE_KEY_SIZE]);

#endif
