/* exports.h - what is offered to whom: close to exports(5).
 *
 * An export is a store, or a directory of one, under a name that clients mount.  A handle says
 * which export it was made for, and every call goes by that one's rules, without a look at where
 * its object lies: as with no_subtree_check of exports(5), who was let in to an object keeps it
 * when it is moved away.  What a handle leads to stays inside: names lead down, and ".." up to the
 * export's root.
 *
 * Client rules are tried in order, the first whose network holds the client's address decides.  The
 * configuration structs are plain and filled by the worker's main from its configuration; nothing
 * of them is kept.  Names of clients are not looked up: rules are addresses and networks. */
#ifndef HF_NFS_EXPORTS_H
#define HF_NFS_EXPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/access.h"
#include "store/store.h"

/* ---- configuration -------------------------------------------------------------------------- */
enum export_squash { SQUASH_ROOT, SQUASH_NONE, SQUASH_ALL };

struct export_client_conf {
	uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d, its prefix counted from 96 */
	unsigned prefix;  /* 0: everyone */
	bool rw;
	bool insecure; /* any source port; else only those below 1024 */
	bool sec_none; /* AUTH_NONE is accepted (as the anonymous user) */
	bool sec_sys_off; /* AUTH_SYS is not believed: its callers are the anonymous user */
	enum export_squash squash;
	uint32_t anonuid, anongid;
};

struct export_conf {
	const char *path; /* what is mounted: "/fs1" */
	const char *dir;  /* directory below the store's root; NULL or "": the root */
	unsigned store;	  /* index into nfs_conf.stores */
	const struct export_client_conf *clients;
	unsigned client_count;
};

struct nfs_conf {
	struct store *const *stores; /* NULL: being repaired; who asks for it gets no answer */
	unsigned store_count;
	const struct export_conf *exports;
	unsigned export_count;
	uint16_t nfs_port, mount_port;
	bool read_fence_strict;	/* replies wait for a log write begun after their request (F4) */
	uint16_t portmap_port; /* 0: off; no portmap program is answered then */
};

/* ---- what is served ------------------------------------------------------------------------- */
struct fs; /* rpc_int.h: a store and the replies that wait for it */

struct export_rule {
	uint64_t net[2], mask[2];
	char text[64]; /* for showmount */
	struct export_client_conf conf;
};

struct export {
	uint32_t id; /* 24 bits, from path and dir: the same on every node */
	struct fs *fs;
	uint64_t root_ino; /* where ".." ends; 0: the directory was never there yet */
	bool found;	   /* the directory was there when last looked for */
	char *path, *dir;
	size_t path_len;
	unsigned rule_count;
	struct export_rule *rules;
};

struct exports {
	struct export *list;
	unsigned count;
	unsigned slot_mask;
	uint16_t *slots; /* open hash of ids: index + 1, 0 = empty */
};

/* `fs_of[i]` belongs to nfs_conf.stores[i]. 0 or -EINVAL with a line for people. */
int exports_init(struct exports *e, const struct nfs_conf *c, struct fs *const *fs_of, char *err,
		 size_t err_size);
void exports_fini(struct exports *e);
struct export *exports_by_id(const struct exports *e, uint32_t id);
/* The export whose path is the longest that begins `path`, which is tidy (conf_tidy_path); *rest is
 * what follows, without the leading slash. NULL: none. */
struct export *exports_by_path(const struct exports *e, const char *path, size_t len,
			       const char **rest, size_t *rest_len);
/* The rule for this client, or NULL: it has no business here. */
const struct export_rule *export_rule_for(const struct export *x, const uint8_t client[16]);
/* The credentials that count; `sys` is false for AUTH_NONE. */
void export_squash_cred(const struct export_rule *r, bool sys, struct cred *c);
/* Looks for the export's directory, which may be another one than before; 0: it is not there. */
uint64_t export_root(struct export *x, struct store *s);
/* What ".." is in directory `ino`: the export's root is its own parent, and nothing above it is
 * shown, nor to who is in a directory that was moved out: -EACCES. */
int export_parent(const struct export *x, struct store *s, uint64_t ino, uint64_t *parent);
static inline bool export_is_whole(const struct export *x)
{
	return x->dir[0] == '\0';
}
/* Walks `path` (components by '/') below `ino` without leaving it; 0 or -errno. */
int export_walk(struct store *s, uint64_t *ino, const char *path, size_t len);
#endif
