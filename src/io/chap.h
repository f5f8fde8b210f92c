/* chap.h - names and secrets of CHAP: with which a target knows this initiator, and this initiator the
 * target.
 *
 * They are in a file of their owner's alone: a line NAME SECRET, and where the target is to prove itself,
 * too, a second one with its name and secret.  Only the file's path is in the configuration, on command
 * lines and in logs. */
#ifndef HF_IO_CHAP_H
#define HF_IO_CHAP_H

#include <stddef.h>

#define CHAP_TEXT_MAX	256 /* libiscsi's, with the zero */
#define CHAP_SECRET_MIN 12  /* RFC 7143, 12.1.4: less than 96 bits is no secret */

struct chap {
	char name[CHAP_TEXT_MAX], secret[CHAP_TEXT_MAX];
	char target_name[CHAP_TEXT_MAX], target_secret[CHAP_TEXT_MAX]; /* empty: it need not prove itself */
};

/* 0, or -errno with one line for people in `err`, without anything of what is in the file. */
int chap_load(struct chap *c, const char *path, char *err, size_t err_size);
void chap_wipe(struct chap *c);

#endif
