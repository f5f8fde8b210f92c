/* keyfile.h - the file that holds the cluster's keys: one a line, `ID HEX64 [send]`.
 *
 * The marked one is used for sending and signing, all are accepted.  The file must belong to us and be
 * readable by nobody else; a new one replaces it whole (rename), so a reader never sees half of it. */
#ifndef HF_IO_KEYFILE_H
#define HF_IO_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_KEYS_MAX 4

struct keyfile_key {
	uint8_t id; /* 1 to 255 */
	uint8_t secret[32];
};

struct keyfile {
	unsigned count, send; /* `send`: index of the key in use */
	struct keyfile_key key[KEYFILE_KEYS_MAX];
};

/* 0, or -errno with one line for people in `err`. */
int keyfile_load(struct keyfile *k, const char *path, char *err, size_t err_size);
/* What is in a text of the same form, e.g. another node's file. */
int keyfile_parse(struct keyfile *k, const char *text, const char *name, char *err, size_t err_size);
/* Replaces the file, durably. */
int keyfile_save(const struct keyfile *k, const char *path, char *err, size_t err_size);
int keyfile_find(const struct keyfile *k, uint8_t id); /* index, or -1 */
/* A random key under the lowest free id above all that are there; its index, or -ENOSPC. */
int keyfile_make(struct keyfile *k);
void keyfile_drop(struct keyfile *k, unsigned at); /* not the one in use */
/* Says nothing about the secret, and tells keys apart. */
uint64_t keyfile_print(const struct keyfile_key *key);
void keyfile_wipe(struct keyfile *k);

#endif
