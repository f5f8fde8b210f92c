/* access.h - who may do what: the rules of a UNIX file system as functions of attributes and
 * credentials.  Pure; the credentials are those after squashing (exports.h).
 *
 * Answers are 0 or -EACCES / -EPERM as a local file system gives them (EPERM: only the owner or
 * the superuser ever may; EACCES: the mode says no). */
#ifndef HF_NFS_ACCESS_H
#define HF_NFS_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

#define CRED_GIDS_MAX 16

struct cred {
	uint32_t uid, gid;
	uint32_t gid_count;
	uint32_t gids[CRED_GIDS_MAX];
};

enum { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4 };

#define MODE_SETUID 04000U
#define MODE_SETGID 02000U
#define MODE_STICKY 01000U

bool access_in_group(const struct cred *c, uint32_t gid);
/* The MAY_ bits that the mode gives to `c`. */
unsigned access_bits(const struct store_inode *in, const struct cred *c);
/* 0 when all of `want` are given. */
int access_check(const struct store_inode *in, const struct cred *c, unsigned want);
/* The same for the data of a regular file, whose owner is let through: a client checks the mode
 * when it opens, the mode may change while the file is open, and NFS knows no open.  With
 * `want` MAY_READ, an executable file may be read: running it is reading it. */
int access_data(const struct store_inode *in, const struct cred *c, unsigned want);
/* May the entry for `victim` be removed from `dir` or renamed away (write, search, sticky)? */
int access_remove(const struct store_inode *dir, const struct store_inode *victim,
		  const struct cred *c);
/* The answer to NFSPROC3_ACCESS: those of the asked bits that are granted. */
uint32_t access_nfs3(const struct store_inode *in, const struct cred *c, uint32_t asked,
		     bool writable);

/* May `c` change these attributes?  Edits `a` the way a UNIX does on the way: set-user-ID and
 * set-group-ID bits fall with a change of owner, group or size; a set-group-ID bit is not given
 * to a group that the caller is not in. */
int access_setattr(const struct store_inode *in, const struct cred *c, struct store_attr *a);
/* Writing takes these mode bits away (0: none); `mode` is then what remains. */
bool access_write_clears(const struct store_inode *in, const struct cred *c, uint32_t *mode);
/* Owner, group and mode bits of a new object in `dir`; what the client asked for is in `a`. */
void access_new(const struct store_inode *dir, const struct cred *c, enum store_type type,
		struct store_attr *a);

#endif
