/* t_nfs_exports.c - exports of directories below a store's root: nobody climbs out, each has its
 * own rules, and directories and exports come, go and move while clients are in them. */
#include "check.h"

#include <string.h>

#include "lib_nfs.h"

static struct nt *t;
static struct nt_fh sub, in, deep; /* of /sub: its root, sub/in, sub/in/deep */

static void up(void)
{
	static struct nt nt;

	t = &nt;
	nt_up(t);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &sub));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &sub, "in", 0755, &in));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &in, "deep", 0755, &deep));
}

static void down(void)
{
	nt_down(t);
}

static bool same(const struct nt_fh *a, const struct nt_fh *b)
{
	return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

/* LOOKUP ".." leads from one to the other. */
static bool leads_up(const struct nt_fh *from, const struct nt_fh *to)
{
	struct nt_fh fh;

	return nt_lookup(t, from, "..", &fh) == NFS3_OK && same(&fh, to);
}

/* What READDIRPLUS shows of "..". */
static struct nt_dirent dotdot(const struct nt_fh *dir)
{
	static struct nt_dirent e[16];
	uint8_t verf[8] = {0};
	unsigned n;
	bool eof;

	CHECK_EQ(NFS3_OK, nt_readdir(t, dir, 0, verf, 8192, 8192, e, 16, &n, &eof));
	CHECK(n >= 2 && strcmp(e[1].name, "..") == 0 && e[0].has_fh);
	return e[1];
}

static void t_up_to_the_root(void)
{
	struct nt_dirent e;

	up();
	CHECK(leads_up(&deep, &in));
	CHECK(leads_up(&in, &sub));
	CHECK(leads_up(&sub, &sub));
	e = dotdot(&sub);
	CHECK(e.has_fh && same(&e.fh, &sub));
	e = dotdot(&in); /* a name: where it leads LOOKUP says */
	CHECK(!e.has_fh && !e.has_attr);
	e = dotdot(&t->root);
	CHECK(e.has_fh && same(&e.fh, &t->root));
	down();
}

/* Whoever is in a directory that is moved out of the export stays in it, but gets no further. */
static void t_moved_out(void)
{
	struct nt_fh fh;
	struct nt_dirent e;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "other", 0755, NULL));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "sub", &fh));
	CHECK_EQ(NFS3_OK, nt_rename(t, &fh, "in", &t->root, "out"));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &in, NULL));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &in, "deep", &fh));
	CHECK_EQ(NFS3_OK, nt_create(t, &deep, "f", GUARDED, &(struct sattr3){0}, 0, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &in, "..", &fh));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &deep, "..", &fh));
	e = dotdot(&in);
	CHECK(!e.has_fh && !e.has_attr);
	nt_restart(t, true); /* nor on the next node */
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &in, "..", &fh));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "other", &fh));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "out", &fh, "in"));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &in, "..", &fh));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "other", &fh));
	CHECK_EQ(NFS3_OK, nt_rename(t, &fh, "in", &t->root, "in"));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "sub", &fh));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "in", &fh, "in"));
	CHECK(leads_up(&deep, &in));
	CHECK(leads_up(&in, &sub));
	down();
}

/* The export's directory is moved, another takes its name, that is removed, a link takes it. */
static void t_root_changes(void)
{
	struct nt_fh fh, next;

	up();
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "sub", &t->root, "was"));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub/in", &fh));
	CHECK(leads_up(&sub, &sub));
	CHECK(leads_up(&in, &sub));
	nt_restart(t, true); /* the new server never knew it */
	CHECK_EQ(NFS3_OK, nt_getattr(t, &sub, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &sub, "..", &fh));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &in, "..", &fh));
	CHECK(!dotdot(&sub).has_fh);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "sub", 0755, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &next));
	CHECK(!same(&next, &sub) && leads_up(&next, &next));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &sub, "..", &fh));
	CHECK_EQ(NFS3_OK, nt_rmdir(t, &t->root, "sub"));
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &next, NULL));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	CHECK_EQ(NFS3_OK, nt_symlink(t, &t->root, "sub", "was"));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	CHECK_EQ(NFS3_OK, nt_remove(t, &t->root, "sub"));
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "sub", GUARDED, &(struct sattr3){0}, 0, NULL));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	CHECK_EQ(NFS3_OK, nt_remove(t, &t->root, "sub"));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "was", &t->root, "sub"));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &fh));
	CHECK(same(&fh, &sub) && leads_up(&in, &sub));
	down();
}

/* One file in two exports of a store: who may do what goes by the handle. */
static void t_own_rules(void)
{
	struct nt_fh fh, wide, bad;
	struct sattr3 m = nt_mode(0666);
	struct fattr3 a;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &sub, "f", GUARDED, &m, 0, &fh));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e/sub", &wide));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &wide, "f", &wide));
	t->sub_rule.rw = false;
	nt_exports(t);
	CHECK_EQ(NFS3ERR_ROFS, nt_write(t, &fh, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3_OK, nt_write(t, &wide, 0, "x", 1, FILE_SYNC, NULL));
	t->sub_rule = (struct export_client_conf){.rw = true, .squash = SQUASH_ALL,
						  .anonuid = 77, .anongid = 78};
	nt_exports(t);
	m = nt_mode(0777);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "sub", &bad));
	CHECK_EQ(NFS3_OK, nt_setattr(t, &bad, &m, NULL, NULL));
	CHECK_EQ(NFS3_OK, nt_create(t, &sub, "g", GUARDED, &m, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK(a.uid == 77 && a.gid == 78);
	CHECK_EQ(NFS3_OK, nt_create(t, &bad, "h", GUARDED, &m, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, &a));
	CHECK_EQ(0, a.uid);
	/* From one to the other nothing is renamed or linked. */
	CHECK_EQ(NFS3ERR_XDEV, nt_rename(t, &sub, "g", &bad, "i"));
	CHECK_EQ(NFS3ERR_XDEV, nt_link(t, &fh, &sub, "i"));
	down();
}

/* A client that has rules in the directory's export only. */
static void t_only_below(void)
{
	struct nt_fh fh, forged;

	up();
	t->rule.addr[10] = t->rule.addr[11] = 0xff;
	memcpy(t->rule.addr + 12, "\xc6\x33\x64\x00", 4); /* 198.51.100.0/24 */
	t->rule.prefix = 96 + 24;
	nt_exports(t);
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/e", &fh));
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/e/sub", &fh));
	CHECK_EQ(NFS3ERR_ACCES, nt_getattr(t, &t->root, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub/in/deep", &fh));
	CHECK(same(&fh, &deep));
	CHECK(leads_up(&deep, &in) && leads_up(&in, &sub) && leads_up(&sub, &sub));
	CHECK_EQ(MNT3ERR_ACCES, nt_mount(t, "/sub/in/../..", &fh));
	/* The root of the store under this export's number is a handle that nobody made. */
	forged = t->root;
	memcpy(forged.b + 1, sub.b + 1, 3);
	CHECK_EQ(NFS3ERR_BADHANDLE, nt_getattr(t, &forged, NULL));
	down();
}

/* Handles end with their export and with its directory; they come back with both. */
static void t_exports_change(void)
{
	struct nt_fh fh;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "two", 0755, NULL));
	t->sub_dir = "two";
	nt_exports(t);
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &sub, NULL));
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &in, NULL));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub/in", &fh));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &fh));
	t->sub_dir = NULL;
	nt_exports(t);
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &fh, NULL));
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	t->sub_dir = "sub/in";
	nt_exports(t);
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &in, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &fh));
	CHECK(leads_up(&fh, &fh) && !same(&fh, &in));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub/deep", &fh));
	t->sub_dir = "sub";
	nt_exports(t);
	CHECK_EQ(NFS3_OK, nt_getattr(t, &sub, NULL));
	CHECK(leads_up(&in, &sub));
	down();
}

static void on_export(void *arg, const char *path, const char *dir, bool found)
{
	if (strcmp(path, "/sub") == 0) {
		CHECK(strcmp(dir, t->sub_dir) == 0);
		*(bool *)arg = found;
	} else {
		CHECK(found && !*dir);
	}
}

/* How many exports EXPORT lists. */
static unsigned listed(void)
{
	struct xdr_bytes b;
	unsigned n = 0;

	nt_begin(t, MOUNT_PROGRAM, MOUNT_V3, MOUNTPROC3_EXPORT);
	nt_call(t);
	while (rd_u32(&t->r) == 1) {
		xdr_get_bytes(&t->r, &b, 1024);
		while (rd_u32(&t->r) == 1)
			xdr_get_bytes(&t->r, &b, 1024);
		n++;
	}
	CHECK(rd_done(&t->r));
	return n;
}

/* Without its directory an export is there all the same, and takes it when it comes. */
static void t_made_later(void)
{
	struct nt_fh fh;
	bool found = true;

	up();
	t->sub_dir = "new/one";
	nt_exports(t);
	rpc_exports_each(t->srv, on_export, &found);
	CHECK(!found);
	CHECK_EQ(3, listed());
	CHECK_EQ(MNT3ERR_NOENT, nt_mount(t, "/sub", &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &t->root, NULL));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "new", 0755, &fh));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &fh, "one", 0755, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/sub", &fh));
	CHECK(leads_up(&fh, &fh));
	rpc_exports_each(t->srv, on_export, &found);
	CHECK(found);
	CHECK_EQ(4, listed());
	down();
}

int main(void)
{
	CASE(t_up_to_the_root);
	CASE(t_moved_out);
	CASE(t_root_changes);
	CASE(t_own_rules);
	CASE(t_only_below);
	CASE(t_exports_change);
	CASE(t_made_later);
	return check_end();
}
