/* seal.c - keys, envelopes, MACs. */
#include "io/seal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/envelope.h"

#define KEY_CONTEXT "holdfast" /* crypto_kdf wants exactly eight bytes */
#define AAD_BYTES   (ENVELOPE_AAD + 16)

static void derive(struct seal_key *k, const uint8_t master[32])
{
	crypto_kdf_derive_from_key(k->message, sizeof(k->message), 1, KEY_CONTEXT, master);
	crypto_kdf_derive_from_key(k->disk, sizeof(k->disk), 2, KEY_CONTEXT, master);
}

/* One line `ID HEX64 [send]`; false when it is none. */
static bool take_line(struct seal *s, char *line)
{
	struct seal_key *k = &s->key[s->count];
	uint8_t master[32];
	size_t n = 0;
	char *end;
	unsigned long id = strtoul(line, &end, 10);
	const char *rest;

	while (*end == ' ')
		end++;
	if (id < 1 || id > 255 || s->count == SEAL_KEYS_MAX ||
	    sodium_hex2bin(master, sizeof(master), end, strlen(end), NULL, &n, &rest) ||
	    n != sizeof(master))
		return false;
	while (isspace((unsigned char)*rest))
		rest++;
	k->id = (uint8_t)id;
	derive(k, master);
	sodium_memzero(master, sizeof(master));
	if (strncmp(rest, "send", 4) == 0)
		s->send = s->count;
	else if (*rest)
		return false;
	s->count++;
	return true;
}

static int load(struct seal *s, FILE *f, const char *path, char *err, size_t err_size)
{
	char line[256];

	for (unsigned n = 1; fgets(line, sizeof(line), f); n++) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (!take_line(s, line)) {
			snprintf(
			    err, err_size,
			    "%s:%u: not a key: `ID HEX64 [send]`, ID 1 to 255, at most %d keys",
			    path, n, SEAL_KEYS_MAX);
			sodium_memzero(line, sizeof(line));
			return -EINVAL;
		}
	}
	sodium_memzero(line, sizeof(line));
	if (s->count == 0) {
		snprintf(err, err_size, "%s: holds no key; make one with `holdfast init`", path);
		return -EINVAL;
	}
	return 0;
}

int seal_load(struct seal *s, const char *path, char *err, size_t err_size)
{
	struct stat st;
	FILE *f;
	int res;

	memset(s, 0, sizeof(*s));
	if (sodium_init() < 0)
		return -ENOSYS;
	f = fopen(path, "re");
	if (!f) {
		res = -errno;
		snprintf(err, err_size,
			 "%s: %s; make it with `holdfast init`, the same file on every node", path,
			 strerror(-res));
		return res;
	}
	if (fstat(fileno(f), &st) || st.st_uid != geteuid() || (st.st_mode & 077)) {
		snprintf(err, err_size,
			 "%s: must belong to the user of holdfastd and have mode 0600", path);
		res = -EPERM;
	} else {
		res = load(s, f, path, err, err_size);
	}
	fclose(f);
	return res;
}

int seal_create(const char *path)
{
	uint8_t master[32];
	char hex[65], line[96];
	int fd, n, err = 0;

	if (sodium_init() < 0)
		return -ENOSYS;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	randombytes_buf(master, sizeof(master));
	n = snprintf(line, sizeof(line), "1 %s send\n",
		     sodium_bin2hex(hex, sizeof(hex), master, sizeof(master)));
	if (write(fd, line, (size_t)n) != n || fsync(fd))
		err = errno ? -errno : -EIO;
	sodium_memzero(master, sizeof(master));
	sodium_memzero(line, sizeof(line));
	sodium_memzero(hex, sizeof(hex));
	close(fd);
	if (err) /* half a key is worse than none */
		unlink(path);
	return err;
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
