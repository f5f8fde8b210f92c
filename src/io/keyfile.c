/* keyfile.c - the cluster's keys in their file. */
#include "io/keyfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/folder.h"

#define KEY_CONTEXT   "holdfast" /* crypto_kdf wants exactly eight bytes */
#define SUBKEY_PRINT  3		 /* 1 and 2 are io/seal's */
#define TEXT_MAX      4096
#define LINE_MAX_TEXT 128

/* One line `ID HEX64 [send]`; false when it is none. */
static bool take_line(struct keyfile *k, const char *line)
{
	struct keyfile_key *key = &k->key[k->count];
	const char *rest;
	size_t n = 0;
	char *end;
	unsigned long id = strtoul(line, &end, 10);

	while (*end == ' ')
		end++;
	if (id < 1 || id > 255 || k->count == KEYFILE_KEYS_MAX || keyfile_find(k, (uint8_t)id) >= 0 ||
	    sodium_hex2bin(key->secret, sizeof(key->secret), end, strlen(end), NULL, &n, &rest) ||
	    n != sizeof(key->secret))
		return false;
	while (isspace((unsigned char)*rest))
		rest++;
	key->id = (uint8_t)id;
	if (strncmp(rest, "send", 4) == 0)
		k->send = k->count;
	else if (*rest)
		return false;
	k->count++;
	return true;
}

int keyfile_parse(struct keyfile *k, const char *text, const char *name, char *err, size_t err_size)
{
	char line[LINE_MAX_TEXT];
	unsigned number = 1;
	int rc = 0;

	memset(k, 0, sizeof(*k));
	if (sodium_init() < 0)
		return -ENOSYS;
	for (const char *p = text; *p && rc == 0; number++) {
		size_t len = strcspn(p, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)(len < sizeof(line) ? len : sizeof(line)), p);
		if (line[0] != '#' && line[0] && !take_line(k, line)) {
			snprintf(err, err_size,
				 "%s:%u: not a key: `ID HEX64 [send]`, ID 1 to 255 and once, at most "
				 "%d keys", name, number, KEYFILE_KEYS_MAX);
			rc = -EINVAL;
		}
		p += len + (p[len] == '\n');
	}
	sodium_memzero(line, sizeof(line));
	if (rc == 0 && k->count == 0) {
		snprintf(err, err_size, "%s: holds no key; make one with `holdfast init`", name);
		rc = -EINVAL;
	}
	return rc;
}

static int read_text(int fd, char text[TEXT_MAX])
{
	size_t len = 0;
	ssize_t n;

	while (len < TEXT_MAX - 1 && (n = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return len == TEXT_MAX - 1 ? -EFBIG : 0;
}

int keyfile_load(struct keyfile *k, const char *path, char *err, size_t err_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	char text[TEXT_MAX];
	struct stat st;

	memset(k, 0, sizeof(*k));
	if (fd < 0) {
		rc = -errno;
		snprintf(err, err_size,
			 rc == -ENOENT ?
				 "%s: %s; make it with `holdfast init`, the same file on every node" :
				 "%s: %s",
			 path, strerror(-rc));
		return rc;
	}
	if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 077)) {
		snprintf(err, err_size,
			 "%s: must belong to the user of holdfastd and have mode 0600", path);
		rc = -EPERM;
	} else {
		rc = read_text(fd, text);
		if (rc == 0)
			rc = keyfile_parse(k, text, path, err, err_size);
		else
			snprintf(err, err_size, "%s: too long for a key file", path);
		sodium_memzero(text, sizeof(text));
	}
	close(fd);
	return rc;
}

static int write_new(const struct keyfile *k, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;
	char hex[65], line[LINE_MAX_TEXT];

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < k->count && rc == 0; i++) {
		int n = snprintf(line, sizeof(line), "%u %s%s\n", k->key[i].id,
				 sodium_bin2hex(hex, sizeof(hex), k->key[i].secret, 32),
				 i == k->send ? " send" : "");
		ssize_t done = write(fd, line, (size_t)n);

		if (done != n)
			rc = done < 0 ? -errno : -ENOSPC;
	}
	if (rc == 0 && fsync(fd))
		rc = -errno;
	sodium_memzero(hex, sizeof(hex));
	sodium_memzero(line, sizeof(line));
	close(fd);
	return rc;
}

int keyfile_save(const struct keyfile *k, const char *path, char *err, size_t err_size)
{
	char new[512 + 8];
	int rc;

	snprintf(new, sizeof(new), "%.511s.new", path);
	rc = write_new(k, new);
	if (rc == 0 && rename(new, path))
		rc = -errno;
	if (rc)
		unlink(new);
	else
		rc = folder_sync_above(path);
	if (rc)
		snprintf(err, err_size, "%s: cannot be written: %s", path, strerror(-rc));
	return rc;
}

int keyfile_find(const struct keyfile *k, uint8_t id)
{
	for (unsigned i = 0; i < k->count; i++)
		if (k->key[i].id == id)
			return (int)i;
	return -1;
}

/* Ids go up, so that a dropped one does not come back soon with another secret. */
int keyfile_make(struct keyfile *k)
{
	unsigned id = 1;

	if (sodium_init() < 0)
		return -ENOSYS;
	if (k->count == KEYFILE_KEYS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < k->count; i++)
		if (k->key[i].id >= id)
			id = k->key[i].id + 1U;
	for (unsigned low = 1; id > 255; low++)
		if (keyfile_find(k, (uint8_t)low) < 0)
			id = low;
	k->key[k->count].id = (uint8_t)id;
	randombytes_buf(k->key[k->count].secret, 32);
	return (int)k->count++;
}

void keyfile_drop(struct keyfile *k, unsigned at)
{
	for (unsigned i = at; i + 1 < k->count; i++)
		k->key[i] = k->key[i + 1];
	k->count--;
	sodium_memzero(&k->key[k->count], sizeof(k->key[0]));
	if (k->send > at)
		k->send--;
}

uint64_t keyfile_print(const struct keyfile_key *key)
{
	uint8_t out[crypto_kdf_BYTES_MIN];
	uint64_t v = 0;

	crypto_kdf_derive_from_key(out, sizeof(out), SUBKEY_PRINT, KEY_CONTEXT, key->secret);
	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | out[i];
	return v;
}

void keyfile_wipe(struct keyfile *k)
{
	sodium_memzero(k, sizeof(*k));
}
