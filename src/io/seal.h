/* seal.h - the cluster's secrets at work (libsodium): messages sealed, sectors and records signed.
 *
 * The key file (io/keyfile.h) holds up to four keys; one is used for sending and signing, all are
 * accepted (that is how keys are rotated: add, use, drop, each a step that a running cluster
 * survives, core/keys.c).
 *
 * Each key gives two derived ones: for messages on network paths (XChaCha20-Poly1305, random
 * nonces) and for the MAC of what lies on shared disks (keyed BLAKE2b-256). */
#ifndef HF_IO_SEAL_H
#define HF_IO_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/keyfile.h"

#define SEAL_KEYS_MAX KEYFILE_KEYS_MAX
#define SEAL_MAC_LEN  32

struct seal_key {
	uint8_t id; /* 1 to 255 */
	uint64_t print; /* fingerprint, public */
	uint8_t message[32], disk[32];
};

struct seal {
	unsigned count, send; /* `send`: index of the key in use */
	uint8_t cluster[16]; /* authenticated with every message; see seal_bind() */
	struct seal_key key[SEAL_KEYS_MAX];
};

void seal_set(struct seal *s, const struct keyfile *k);
/* Reads a key file; 0, or -errno with one line for people in `err`. */
int seal_load(struct seal *s, const char *path, char *err, size_t err_size);
/* Makes a new key file (mode 0600) with one random key; -EEXIST when there is one. */
int seal_create(const char *path);

/* Whose messages these are: two clusters with one key do not hear each other. */
void seal_bind(struct seal *s, const char *cluster_name);

/* Seals a status message into an envelope packet; its length, 0 when it does not fit. */
size_t seal_message(const struct seal *s, uint16_t sender, uint16_t receiver, uint16_t path,
		    const void *plain, size_t len, uint8_t *out, size_t size);
/* Opens a packet meant for `receiver`: 0 and *len plain bytes, who sent it and on which path;
 * -EBADMSG (not ours, cut), -EPROTO (another version), -ENOKEY (unknown key id), -EKEYREJECTED
 * (forged, altered, or of another cluster), -EDESTADDRREQ (authentic, for another node). */
int seal_open(const struct seal *s, uint16_t receiver, const uint8_t *in, size_t in_len,
	      uint16_t *sender, uint16_t *path, uint8_t *plain, size_t size, size_t *len);

/* The key id that seal_mac() with `id` 0 uses. */
uint8_t seal_send_id(const struct seal *s);
/* MAC of what goes to a shared disk, with key `id`; false when that key is unknown. */
bool seal_mac(const struct seal *s, uint8_t id, const void *data, size_t len,
	      uint8_t mac[SEAL_MAC_LEN]);
/* BLAKE2b-256 without a key, for what a sealed sector names. */
void seal_hash(const void *data, size_t len, uint8_t hash[SEAL_MAC_LEN]);
/* The 16 bytes that stand for the cluster's name in every shared format. */
void seal_cluster_id(const char *name, uint8_t id[16]);
/* Compares in constant time. */
bool seal_mac_ok(const struct seal *s, uint8_t id, const void *data, size_t len,
		 const uint8_t mac[SEAL_MAC_LEN]);

#endif
