/* mount.c - the MOUNT protocol, versions 3 (RFC 1813 appendix I) and 1 (RFC 1094 appendix A).
 *
 * MNT gives the handle of an export or of a directory below it.  Who mounted what is remembered
 * for DUMP only, in memory, as the protocol says: it means nothing for access, and a successor
 * starts with an empty list.  Replies show directories, so they wait like any other (S8). */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "nfs/rpc_int.h"

/* ---- the list of mounts --------------------------------------------------------------------- */
/* A client may name it in one way to mount it and in another to unmount it. */
static struct xdr_bytes tidy_path(const struct call *c, char room[MNTPATHLEN + 1])
{
	const struct xdr_bytes *path = &c->args.dirpath.path;
	size_t n = conf_tidy_path(room, (const char *)path->p, path->n);

	return (struct xdr_bytes){(const uint8_t *)room, (uint32_t)n};
}

static bool row_is(const struct mount_row *m, const struct call *c, const struct xdr_bytes *path)
{
	if (memcmp(m->client, c->client, sizeof(m->client)) != 0)
		return false;
	return path == NULL || (strlen(m->path) == path->n &&
				memcmp(m->path, path->p, path->n) == 0);
}

/* Forgets one path of this client, or (NULL) all. */
static void forget(struct call *c, const struct xdr_bytes *path)
{
	struct rpc_server *s = c->srv;
	unsigned kept = 0;

	for (unsigned i = 0; i < s->mount_count; i++) {
		if (!row_is(&s->mounts[i], c, path))
			s->mounts[kept++] = s->mounts[i];
	}
	s->mount_count = kept;
}

static void remember(struct call *c, const struct xdr_bytes *path)
{
	struct rpc_server *s = c->srv;
	struct mount_row *m;

	forget(c, path);
	if (s->mounts == NULL)
		s->mounts = mem_zalloc(MOUNTS_MAX, sizeof(*s->mounts));
	if (s->mount_count == MOUNTS_MAX) {
		memmove(s->mounts, s->mounts + 1, (MOUNTS_MAX - 1) * sizeof(*s->mounts));
		s->mount_count--;
	}
	m = &s->mounts[s->mount_count++];
	memcpy(m->client, c->client, sizeof(m->client));
	memcpy(m->path, path->p, path->n);
	m->path[path->n] = '\0';
}

void mount_fini(struct rpc_server *s)
{
	free(s->mounts);
	s->mounts = NULL;
	s->mount_count = 0;
}

/* ---- MNT ------------------------------------------------------------------------------------ */
#define MNT_SILENT UINT32_MAX /* no status: the store is being repaired, the client asks again */

static uint32_t status_of(int err)
{
	switch (err) {
	case -ENOENT:
		return MNT3ERR_NOENT;
	case -ENOTDIR:
		return MNT3ERR_NOTDIR;
	case -EACCES:
		return MNT3ERR_ACCES;
	case -ENAMETOOLONG:
		return MNT3ERR_NAMETOOLONG;
	default:
		return MNT3ERR_IO;
	}
}

/* Walks from the export's root to the directory asked for. */
static uint32_t find_dir(struct export *x, const char *rest, size_t len,
			 const struct store_inode **dir)
{
	struct store *s = x->fs->store;
	const struct store_inode *in;
	uint64_t ino;
	int err;

	ino = export_root(x, s);
	if (ino == 0) {
		log_limited(LOG_L_WARN,
			    "export %s: a client cannot mount it: no directory \"%s\" in its store",
			    x->path, x->dir);
		return MNT3ERR_NOENT;
	}
	err = export_walk(s, &ino, rest, len);
	if (err)
		return status_of(err);
	in = store_inode(s, ino);
	if (in == NULL)
		return MNT3ERR_NOENT;
	*dir = in;
	return in->type == STORE_DIR ? MNT3_OK : MNT3ERR_NOTDIR;
}

static uint32_t do_mount(struct call *c, struct export **xp, const struct export_rule **rule,
			 const struct store_inode **dir)
{
	char room[MNTPATHLEN + 1];
	struct xdr_bytes path = tidy_path(c, room);
	const char *rest;
	size_t rest_len;
	struct export *x;
	uint32_t status;

	if (memchr(path.p, 0, path.n))
		return MNT3ERR_INVAL;
	x = exports_by_path(&c->srv->exports, (const char *)path.p, path.n, &rest, &rest_len);
	if (x == NULL)
		return MNT3ERR_NOENT;
	*xp = x;
	if (export_admit(c, x, rule) != NFS3_OK)
		return MNT3ERR_ACCES;
	if (x->fs->store == NULL)
		return MNT_SILENT;
	c->fs = x->fs;
	status = find_dir(x, rest, rest_len, dir);
	if (status == MNT3_OK) {
		remember(c, &path);
		c->srv->stats.mounts++;
	}
	return status;
}

static void put_flavors(struct wr *w, const struct export_rule *rule)
{
	bool sys = !rule->conf.sec_sys_off, none = rule->conf.sec_none;

	wr_u32(w, (uint32_t)sys + (uint32_t)none);
	if (sys)
		wr_u32(w, AUTH_SYS);
	if (none)
		wr_u32(w, AUTH_NONE);
}

static int mnt(struct call *c)
{
	const struct export_rule *rule = NULL;
	struct export *x = NULL;
	const struct store_inode *dir = NULL;
	uint32_t status = do_mount(c, &x, &rule, &dir);

	if (status == MNT_SILENT)
		return RUN_SILENT;
	c->failed = status != MNT3_OK;
	wr_u32(&c->out, status);
	if (status != MNT3_OK)
		return 0;
	put_handle(&c->out, x, dir);
	if (c->program->vers == MOUNT_V3) {
		put_flavors(&c->out, rule);
	} else { /* version 1: 32 bytes without a length, no flavors */
		c->out.p -= 4 + HANDLE_SIZE;
		memmove(c->out.p, c->out.p + 4, FHSIZE);
		c->out.p += FHSIZE;
	}
	return 0;
}

_Static_assert(HANDLE_SIZE == FHSIZE, "a handle of ours is one of MOUNT version 1");

/* ---- the lists ------------------------------------------------------------------------------ */
static void put_text(struct wr *w, const char *text)
{
	struct xdr_bytes b = {(const uint8_t *)text, (uint32_t)strlen(text)};

	xdr_put_bytes(w, &b);
}

/* Room for one more element and the end of the lists: what does not fit is left out. */
static bool fits(const struct wr *w, size_t len)
{
	return wr_left(w) >= len + 64;
}

static int dump(struct call *c)
{
	const struct rpc_server *s = c->srv;

	for (unsigned i = 0; i < s->mount_count; i++) {
		const struct mount_row *m = &s->mounts[i];
		bool v4 = m->client[10] == 0xff && m->client[11] == 0xff;
		char host[INET6_ADDRSTRLEN] = "";

		if (!fits(&c->out, strlen(m->path) + sizeof(host)))
			break;
		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? m->client + 12 : m->client, host,
			  sizeof(host));
		wr_u32(&c->out, 1);
		put_text(&c->out, host);
		put_text(&c->out, m->path);
	}
	wr_u32(&c->out, 0);
	return 0;
}

static int umnt(struct call *c)
{
	char room[MNTPATHLEN + 1];
	struct xdr_bytes path = tidy_path(c, room);

	forget(c, &path);
	return 0;
}

static int umntall(struct call *c)
{
	forget(c, NULL);
	return 0;
}

static void put_export(struct wr *w, const struct export *x)
{
	wr_u32(w, 1);
	put_text(w, x->path);
	for (unsigned i = 0; i < x->rule_count && fits(w, sizeof(x->rules[i].text)); i++) {
		wr_u32(w, 1);
		put_text(w, x->rules[i].text);
	}
	wr_u32(w, 0);
}

/* What cannot be mounted is left out: some clients mount all that is listed below a path together
 * with it, and give up on all of it when one is not there; then nobody could make the directory. */
static int export_list(struct call *c)
{
	struct exports *e = &c->srv->exports;

	for (unsigned i = 0; i < e->count && fits(&c->out, e->list[i].path_len + 128); i++)
		if (!e->list[i].fs->store || export_root(&e->list[i], e->list[i].fs->store) != 0)
			put_export(&c->out, &e->list[i]);
	wr_u32(&c->out, 0);
	return 0;
}

static int null_proc(struct call *c)
{
	(void)c;
	return 0;
}

#define PROCS(V)                                                                                   \
	[MOUNTPROC##V##_NULL] = {"NULL", NULL, null_proc, RPC_PLAIN, FAIL_NONE, 24},               \
	[MOUNTPROC##V##_MNT] = {"MNT",     xdr_args_MOUNTPROC##V##_MNT,                            \
				mnt,	   RPC_PLAIN,                                              \
				FAIL_NONE, 128},                                                   \
	[MOUNTPROC##V##_DUMP] = {"DUMP", NULL, dump, RPC_PLAIN, FAIL_NONE, 0},                     \
	[MOUNTPROC##V##_UMNT] = {"UMNT",    xdr_args_MOUNTPROC##V##_UMNT,                          \
				 umnt,	    RPC_PLAIN,                                             \
				 FAIL_NONE, 24},                                                   \
	[MOUNTPROC##V##_UMNTALL] = {"UMNTALL", NULL, umntall, RPC_PLAIN, FAIL_NONE, 24},           \
	[MOUNTPROC##V##_EXPORT] = {"EXPORT", NULL, export_list, RPC_PLAIN, FAIL_NONE, 0},

static const struct rpc_proc procs1[] = {PROCS(1)};
static const struct rpc_proc procs3[] = {PROCS(3)};

const struct rpc_program mount1_program = {
    "mount1", MOUNT_PROGRAM, MOUNT_V1, procs1, sizeof(procs1) / sizeof(procs1[0]), NULL,
};
const struct rpc_program mount3_program = {
    "mount3", MOUNT_PROGRAM, MOUNT_V3, procs3, sizeof(procs3) / sizeof(procs3[0]), NULL,
};
