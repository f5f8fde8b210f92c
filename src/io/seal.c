/* seal.c - keys, envelopes, MACs. */
#include "io/seal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "codec/envelope.h"

#define KEY_CONTEXT "holdfast" /* crypto_kdf wants exactly eight bytes */
#define AAD_BYTES   (ENVELOPE_AAD + 16)

static void derive(struct seal_key *k, const uint8_t master[32])
{
	crypto_kdf_derive_from_key(k->message, sizeof(k->message), 1, KEY_CONTEXT, master);
	crypto_kdf_derive_from_key(k->disk, sizeof(k->disk), 2, KEY_CONTEXT, master);
}

void seal_set(struct seal *s, const struct keyfile *k)
{
	s->count = k->count;
	s->send = k->send;
	for (unsigned i = 0; i < k->count; i++) {
		s->key[i].id = k->key[i].id;
		s->key[i].print = keyfile_print(&k->key[i]);
		derive(&s->key[i], k->key[i].secret);
	}
}

int seal_load(struct seal *s, const char *path, char *err, size_t err_size)
{
	struct keyfile k;
	int rc = keyfile_load(&k, path, err, err_size);

	memset(s, 0, sizeof(*s));
	if (rc)
		return rc;
	seal_set(s, &k);
	keyfile_wipe(&k);
	return 0;
}

int seal_create(const char *path)
{
	struct keyfile k = {.count = 0};
	char err[256];
	int rc;

	if (access(path, F_OK) == 0)
		return -EEXIST;
	rc = keyfile_make(&k);
	rc = rc < 0 ? rc : keyfile_save(&k, path, err, sizeof(err));
	keyfile_wipe(&k);
	return rc;
}

static const struct seal_key *key_by_id(const struct seal *s, uint8_t id)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->key[i].id == id)
			return &s->key[i];
	return NULL;
}

void seal_bind(struct seal *s, const char *cluster_name)
{
	seal_cluster_id(cluster_name, s->cluster);
}

/* What is authenticated beside the text: the head of the envelope, and the cluster, unsent. */
static void additional(const struct seal *s, const uint8_t *packet, uint8_t out[AAD_BYTES])
{
	memcpy(out, packet, ENVELOPE_AAD);
#ifdef HF_MUTANT_SEAL_ANY_CLUSTER
	memset(out + ENVELOPE_AAD, 0, sizeof(s->cluster));
#else
	memcpy(out + ENVELOPE_AAD, s->cluster, sizeof(s->cluster));
#endif
}

uint8_t seal_send_id(const struct seal *s)
{
	return s->key[s->send].id;
}

size_t seal_message(const struct seal *s, uint16_t sender, uint16_t receiver, uint16_t path,
		    const void *plain, size_t len, uint8_t *out, size_t size)
{
	const struct seal_key *k = &s->key[s->send];
	struct envelope e = {.version = 1,
			     .key_id = k->id,
			     .sender = sender,
			     .receiver = receiver,
			     .path = path,
			     .body_len = (uint32_t)(len + ENVELOPE_TAG)};
	uint8_t aad[AAD_BYTES];
	unsigned long long n = 0;

	if (size < len + ENVELOPE_OVERHEAD || envelope_encode(&e, out, size) != ENVELOPE_HEAD)
		return 0;
	additional(s, out, aad);
	randombytes_buf(out + ENVELOPE_AAD, ENVELOPE_NONCE);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out + ENVELOPE_HEAD, &n, plain, len, aad,
						   sizeof(aad), NULL, out + ENVELOPE_AAD,
						   k->message);
	return ENVELOPE_HEAD + (size_t)n;
}

int seal_open(const struct seal *s, uint16_t receiver, const uint8_t *in, size_t in_len,
	      uint16_t *sender, uint16_t *path, uint8_t *plain, size_t size, size_t *len)
{
	const struct seal_key *k;
	struct envelope e;
	uint8_t aad[AAD_BYTES];
	unsigned long long n = 0;
	int err = envelope_decode(&e, in, in_len);

	if (err)
		return err;
	k = key_by_id(s, e.key_id);
	if (!k)
		return -ENOKEY;
	if (e.body_len < ENVELOPE_TAG || e.body_len - ENVELOPE_TAG > size)
		return -EBADMSG;
	additional(s, in, aad);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, &n, NULL, e.body, e.body_len, aad,
						       sizeof(aad), e.nonce, k->message))
		return -EKEYREJECTED;
	if (e.receiver != receiver)
		return -EDESTADDRREQ;
	*sender = e.sender;
	*path = e.path;
	*len = (size_t)n;
	return 0;
}

bool seal_mac(const struct seal *s, uint8_t id, const void *data, size_t len,
	      uint8_t mac[SEAL_MAC_LEN])
{
	const struct seal_key *k = id ? key_by_id(s, id) : &s->key[s->send];

	if (!k)
		return false;
	crypto_generichash(mac, SEAL_MAC_LEN, data, len, k->disk, sizeof(k->disk));
	return true;
}

bool seal_mac_ok(const struct seal *s, uint8_t id, const void *data, size_t len,
		 const uint8_t mac[SEAL_MAC_LEN])
{
	uint8_t own[SEAL_MAC_LEN];

	return id && seal_mac(s, id, data, len, own) && sodium_memcmp(own, mac, SEAL_MAC_LEN) == 0;
}

void seal_cluster_id(const char *name, uint8_t id[16])
{
	crypto_generichash(id, 16, (const uint8_t *)name, strlen(name), NULL, 0);
}

void seal_hash(const void *data, size_t len, uint8_t hash[SEAL_MAC_LEN])
{
	crypto_generichash(hash, SEAL_MAC_LEN, data, len, NULL, 0);
}
