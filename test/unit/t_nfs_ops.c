/* t_nfs_ops.c - every NFSv3 procedure on a real store: results, errors, rules of a UNIX file system. */
#include "base/trace.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib_nfs.h"

static struct nt *t;
static const struct sattr3 plain = {.mode = {true, 0644}};

static void up(void)
{
	static struct nt nt;
	struct sattr3 all = nt_mode(0777);

	t = &nt;
	nt_up(t);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &t->root, &all, NULL, NULL));
}

static void down(void)
{
	nt_down(t);
}

static void as(uint32_t uid, uint32_t gid)
{
	t->cred = (struct cred){.uid = uid, .gid = gid};
}

static struct nt_fh make(const struct nt_fh *dir, const char *name, uint32_t mode)
{
	struct sattr3 a = nt_mode(mode);
	struct nt_fh fh;

	CHECK_EQ(NFS3_OK, nt_create(t, dir, name, GUARDED, &a, 0, &fh));
	return fh;
}

static struct fattr3 attr_of(const struct nt_fh *fh)
{
	struct fattr3 a;

	CHECK_EQ(NFS3_OK, nt_getattr(t, fh, &a));
	return a;
}

/* ---- names ---------------------------------------------------------------------------------- */
static void t_lookup(void)
{
	struct nt_fh f, d, got;
	char name[300];

	up();
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &d));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "f", &got));
	CHECK_EQ(0, memcmp(f.b, got.b, HANDLE_SIZE));
	CHECK_EQ(NFS3ERR_NOENT, nt_lookup(t, &t->root, "none", &got));
	CHECK_EQ(NFS3ERR_NOTDIR, nt_lookup(t, &f, "x", &got));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &d, ".", &got));
	CHECK_EQ(0, memcmp(d.b, got.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &d, "..", &got));
	CHECK_EQ(0, memcmp(t->root.b, got.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "..", &got));
	CHECK_EQ(0, memcmp(t->root.b, got.b, HANDLE_SIZE));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &t->root, "a/b", &got));
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &t->root, "", &got));
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	make(&t->root, name, 0644);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, name, &got));
	name[255] = 'n', name[256] = '\0';
	CHECK_EQ(NFS3ERR_NAMETOOLONG, nt_lookup(t, &t->root, name, &got));
	CHECK_EQ(NFS3ERR_NAMETOOLONG, nt_create(t, &t->root, name, GUARDED, &plain, 0, NULL));
	CHECK_EQ(NFS3ERR_NAMETOOLONG, nt_remove(t, &t->root, name));
	as(5, 5);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &d, ".", &got));
	as(0, 0);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &d, &(struct sattr3){.mode = {true, 0700}}, NULL, NULL));
	as(5, 5);
	CHECK_EQ(NFS3ERR_ACCES, nt_lookup(t, &d, "x", &got));
	down();
}

static void t_bad_names_everywhere(void)
{
	static const char *const bad[] = {"a/b", ""};
	struct nt_fh f;

	up();
	f = make(&t->root, "f", 0644);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(NFS3ERR_ACCES, nt_create(t, &t->root, bad[i], GUARDED, &plain, 0, NULL));
		CHECK_EQ(NFS3ERR_ACCES, nt_mkdir(t, &t->root, bad[i], 0755, NULL));
		CHECK_EQ(NFS3ERR_ACCES, nt_symlink(t, &t->root, bad[i], "x"));
		CHECK_EQ(NFS3ERR_ACCES, nt_remove(t, &t->root, bad[i]));
		CHECK_EQ(NFS3ERR_ACCES, nt_rmdir(t, &t->root, bad[i]));
		CHECK_EQ(NFS3ERR_ACCES, nt_rename(t, &t->root, "f", &t->root, bad[i]));
		CHECK_EQ(NFS3ERR_ACCES, nt_link(t, &f, &t->root, bad[i]));
	}
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_LOOKUP);
	xdr_put_LOOKUP3args(&t->w, &(struct LOOKUP3args){{nt_wire(&t->root),
							  {(const uint8_t *)"f\0g", 3}}});
	nt_call(t);
	CHECK_EQ(NFS3ERR_ACCES, rd_u32(&t->r));
	CHECK_EQ(NFS3ERR_EXIST, nt_mkdir(t, &t->root, ".", 0755, NULL));
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &t->root, "..", UNCHECKED, &plain, 0, NULL));
	CHECK_EQ(NFS3ERR_INVAL, nt_rmdir(t, &t->root, "."));
	CHECK_EQ(NFS3ERR_EXIST, nt_rmdir(t, &t->root, ".."));
	CHECK_EQ(NFS3ERR_ISDIR, nt_remove(t, &t->root, "."));
	CHECK_EQ(NFS3ERR_INVAL, nt_rename(t, &t->root, ".", &t->root, "x"));
	CHECK_EQ(NFS3ERR_INVAL, nt_rename(t, &t->root, "f", &t->root, ".."));
	CHECK_EQ(NFS3ERR_EXIST, nt_link(t, &f, &t->root, ".."));
	down();
}

/* ---- CREATE and its kin --------------------------------------------------------------------- */
static void t_create_modes(void)
{
	struct nt_fh a, b;
	struct sattr3 cut = {.size = {true, 0}};
	struct fattr3 at;

	up();
	a = make(&t->root, "f", 04755);
	CHECK_EQ(04755, attr_of(&a).mode); /* no umask here */
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &b));
	CHECK_EQ(NFS3_OK, nt_write(t, &a, 0, "hello", 5, FILE_SYNC, NULL));
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", UNCHECKED, &plain, 0, &b));
	CHECK_EQ(0, memcmp(a.b, b.b, HANDLE_SIZE));
	CHECK_EQ(5, attr_of(&a).size);
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", UNCHECKED, &cut, 0, &b));
	at = attr_of(&a);
	CHECK_EQ(0, at.size);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, NULL));
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &t->root, "d", UNCHECKED, &plain, 0, NULL));
	as(9, 9);
	CHECK_EQ(NFS3ERR_ACCES, nt_create(t, &t->root, "f", UNCHECKED, &cut, 0, &b));
	down();
}

static void t_create_with_size(void)
{
	struct sattr3 big = {.mode = {true, 0600}, .size = {true, 5ULL << 30}};
	struct nt_fh f;
	uint8_t b[4];
	uint32_t n;
	bool eof;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &big, 0, &f));
	CHECK_EQ(5ULL << 30, attr_of(&f).size);
	CHECK_EQ(NFS3_OK, nt_read(t, &f, (5ULL << 30) - 2, 4, b, &n, &eof));
	CHECK_EQ(2, n);
	CHECK(eof && b[0] == 0 && b[1] == 0);
	down();
}

/* covers: S11 */
static void t_create_exclusive(void)
{
	struct nt_fh a, b;

	up();
	as(7, 8);
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "x", EXCLUSIVE, NULL, 77, &a));
	CHECK_EQ(7, attr_of(&a).uid);
	CHECK_EQ(8, attr_of(&a).gid);
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "x", EXCLUSIVE, NULL, 77, &b)); /* another xid */
	CHECK_EQ(0, memcmp(a.b, b.b, HANDLE_SIZE));
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &t->root, "x", EXCLUSIVE, NULL, 78, &b));
	nt_restart(t, true); /* the verifier is on disk */
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "x", EXCLUSIVE, NULL, 77, &b));
	CHECK_EQ(0, memcmp(a.b, b.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_setattr(t, &a, &plain, NULL, NULL));
	make(&t->root, "y", 0600);
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &t->root, "y", EXCLUSIVE, NULL, 0, &b));
	down();
}

static void t_mkdir_rmdir(void)
{
	struct nt_fh d, e;
	struct fattr3 before, after;

	up();
	before = attr_of(&t->root);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0750, &d));
	after = attr_of(&t->root);
	CHECK_EQ(before.nlink + 1, after.nlink);
	CHECK(memcmp(&before.mtime, &after.mtime, sizeof(after.mtime)) != 0);
	CHECK_EQ(2, attr_of(&d).nlink);
	CHECK_EQ(NF3DIR, attr_of(&d).type);
	CHECK_EQ(NFS3ERR_EXIST, nt_mkdir(t, &t->root, "d", 0750, NULL));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &d, "e", 0755, &e));
	CHECK_EQ(3, attr_of(&d).nlink);
	CHECK_EQ(NFS3ERR_NOTEMPTY, nt_rmdir(t, &t->root, "d"));
	make(&t->root, "f", 0644);
	CHECK_EQ(NFS3ERR_NOTDIR, nt_rmdir(t, &t->root, "f"));
	CHECK_EQ(NFS3ERR_NOENT, nt_rmdir(t, &t->root, "none"));
	CHECK_EQ(NFS3ERR_ISDIR, nt_remove(t, &t->root, "d"));
	CHECK_EQ(NFS3_OK, nt_rmdir(t, &d, "e"));
	CHECK_EQ(NFS3_OK, nt_rmdir(t, &t->root, "d"));
	CHECK_EQ(before.nlink, attr_of(&t->root).nlink);
	down();
}

static void t_setgid_directory(void)
{
	struct nt_fh d, f, e;
	struct sattr3 sg = {.mode = {true, 02777}, .gid = {true, 50}};

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0777, &d));
	CHECK_EQ(NFS3_OK, nt_setattr(t, &d, &sg, NULL, NULL));
	CHECK_EQ(02777, attr_of(&d).mode);
	as(7, 8);
	f = make(&d, "f", 0644);
	CHECK_EQ(50, attr_of(&f).gid);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &d, "e", 0755, &e));
	CHECK_EQ(50, attr_of(&e).gid);
	CHECK_EQ(02755, attr_of(&e).mode);
	down();
}

static void t_symlink_readlink(void)
{
	char target[5000], got[5000];
	struct nt_fh l, f;

	up();
	memset(target, 't', sizeof(target));
	target[4095] = '\0';
	CHECK_EQ(NFS3_OK, nt_symlink(t, &t->root, "l", "/some/where"));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "l", &l));
	CHECK_EQ(NF3LNK, attr_of(&l).type);
	CHECK_EQ(11, attr_of(&l).size);
	CHECK_EQ(NFS3_OK, nt_readlink(t, &l, got, sizeof(got)));
	CHECK_EQ(0, strcmp(got, "/some/where"));
	CHECK_EQ(NFS3_OK, nt_symlink(t, &t->root, "long", target));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "long", &l));
	CHECK_EQ(NFS3_OK, nt_readlink(t, &l, got, sizeof(got)));
	CHECK_EQ(0, strcmp(got, target));
	target[4095] = 't', target[4096] = '\0';
	CHECK_EQ(NFS3ERR_NAMETOOLONG, nt_symlink(t, &t->root, "longer", target));
	CHECK_EQ(NFS3ERR_INVAL, nt_symlink(t, &t->root, "empty", ""));
	CHECK_EQ(NFS3ERR_EXIST, nt_symlink(t, &t->root, "l", "x"));
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3ERR_INVAL, nt_readlink(t, &f, got, sizeof(got)));
	down();
}

static void t_mknod(void)
{
	struct nt_fh fh;
	struct fattr3 a;

	up();
	CHECK_EQ(NFS3_OK, nt_mknod(t, &t->root, "c", NF3CHR, &fh));
	a = attr_of(&fh);
	CHECK_EQ(NF3CHR, a.type);
	CHECK_EQ(1, a.rdev.specdata1);
	CHECK_EQ(3, a.rdev.specdata2);
	CHECK_EQ(NFS3_OK, nt_mknod(t, &t->root, "b", NF3BLK, &fh));
	CHECK_EQ(NFS3ERR_BADTYPE, nt_mknod(t, &t->root, "r", NF3REG, &fh));
	CHECK_EQ(NFS3ERR_BADTYPE, nt_mknod(t, &t->root, "r", 99, &fh));
	as(5, 5);
	CHECK_EQ(NFS3ERR_PERM, nt_mknod(t, &t->root, "c2", NF3CHR, &fh));
	CHECK_EQ(NFS3_OK, nt_mknod(t, &t->root, "p", NF3FIFO, &fh));
	CHECK_EQ(NF3FIFO, attr_of(&fh).type);
	CHECK_EQ(NFS3_OK, nt_mknod(t, &t->root, "s", NF3SOCK, &fh));
	CHECK_EQ(NF3SOCK, attr_of(&fh).type);
	CHECK_EQ(NFS3ERR_INVAL, nt_write(t, &fh, 0, "x", 1, FILE_SYNC, NULL));
	down();
}

/* ---- REMOVE, RENAME, LINK -------------------------------------------------------------------- */
static void t_remove_and_links(void)
{
	struct nt_fh f, d, got;

	up();
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &d));
	CHECK_EQ(NFS3_OK, nt_link(t, &f, &d, "g"));
	CHECK_EQ(2, attr_of(&f).nlink);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &d, "g", &got));
	CHECK_EQ(0, memcmp(f.b, got.b, HANDLE_SIZE));
	CHECK_EQ(NFS3ERR_EXIST, nt_link(t, &f, &d, "g"));
	CHECK_EQ(NFS3ERR_PERM, nt_link(t, &d, &t->root, "dd"));
	CHECK_EQ(NFS3ERR_NOTDIR, nt_link(t, &f, &f, "x"));
	CHECK_EQ(NFS3_OK, nt_remove(t, &t->root, "f"));
	CHECK_EQ(1, attr_of(&f).nlink);
	CHECK_EQ(NFS3_OK, nt_remove(t, &d, "g"));
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &f, NULL));
	CHECK_EQ(NFS3ERR_NOENT, nt_remove(t, &d, "g"));
	down();
}

static void t_sticky_directory(void)
{
	struct nt_fh tmp;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "tmp", 01777, &tmp));
	as(1, 1);
	make(&tmp, "mine", 0666);
	as(2, 2);
	CHECK_EQ(NFS3ERR_PERM, nt_remove(t, &tmp, "mine"));
	CHECK_EQ(NFS3ERR_PERM, nt_rename(t, &tmp, "mine", &tmp, "yours"));
	make(&tmp, "other", 0666);
	CHECK_EQ(NFS3ERR_PERM, nt_rename(t, &tmp, "other", &tmp, "mine"));
	as(1, 1);
	CHECK_EQ(NFS3_OK, nt_rename(t, &tmp, "mine", &tmp, "still"));
	CHECK_EQ(NFS3_OK, nt_remove(t, &tmp, "still"));
	down();
}

static void t_rename(void)
{
	struct nt_fh f, d, e, got;

	up();
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &d));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &d, "e", 0755, &e));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "f", &t->root, "f")); /* onto itself */
	CHECK_EQ(NFS3_OK, nt_link(t, &f, &t->root, "g"));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "f", &t->root, "g")); /* two names of one file */
	CHECK_EQ(2, attr_of(&f).nlink);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "f", &got));
	make(&t->root, "h", 0644);
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "h", &t->root, "g")); /* replaces */
	CHECK_EQ(1, attr_of(&f).nlink);
	CHECK_EQ(NFS3ERR_NOENT, nt_rename(t, &t->root, "h", &t->root, "i"));
	CHECK_EQ(NFS3ERR_ISDIR, nt_rename(t, &t->root, "f", &t->root, "d"));
	CHECK_EQ(NFS3ERR_NOTDIR, nt_rename(t, &t->root, "d", &t->root, "f"));
	CHECK_EQ(NFS3ERR_INVAL, nt_rename(t, &t->root, "d", &e, "loop"));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "full", 0755, &got));
	make(&got, "x", 0644);
	CHECK_EQ(NFS3ERR_NOTEMPTY, nt_rename(t, &t->root, "d", &t->root, "full"));
	CHECK_EQ(NFS3_OK, nt_rename(t, &d, "e", &t->root, "e2"));
	CHECK_EQ(2, attr_of(&d).nlink);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &e, "..", &got));
	CHECK_EQ(0, memcmp(got.b, t->root.b, HANDLE_SIZE));
	CHECK_EQ(NFS3_OK, nt_rename(t, &t->root, "e2", &t->root, "d")); /* onto an empty one */
	CHECK_EQ(NFS3ERR_STALE, nt_getattr(t, &d, NULL));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &e, NULL));
	down();
}

static void t_directory_permissions(void)
{
	struct nt_fh d, ro;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "ro", 0755, &ro));
	make(&ro, "f", 0666);
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &ro, "sub", 0755, &d));
	as(5, 5);
	CHECK_EQ(NFS3ERR_ACCES, nt_create(t, &ro, "g", GUARDED, &plain, 0, NULL));
	CHECK_EQ(NFS3ERR_EXIST, nt_create(t, &ro, "f", GUARDED, &plain, 0, NULL));
	CHECK_EQ(NFS3_OK, nt_create(t, &ro, "f", UNCHECKED, &plain, 0, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_remove(t, &ro, "f"));
	CHECK_EQ(NFS3ERR_ACCES, nt_rmdir(t, &ro, "sub"));
	CHECK_EQ(NFS3ERR_ACCES, nt_rename(t, &ro, "f", &t->root, "f"));
	make(&t->root, "mine", 0644);
	CHECK_EQ(NFS3ERR_ACCES, nt_rename(t, &t->root, "mine", &ro, "mine"));
	down();
}

/* ---- SETATTR --------------------------------------------------------------------------------- */
static void t_setattr(void)
{
	struct sattr3 size = {.size = {true, 6ULL << 30}}, mode = nt_mode(0600);
	struct sattr3 times = {.atime = {SET_TO_CLIENT_TIME, {1000, 5}},
			       .mtime = {SET_TO_CLIENT_TIME, {2000, 999999999}}};
	struct sattr3 now = {.atime = {.set_it = SET_TO_SERVER_TIME},
			     .mtime = {.set_it = SET_TO_SERVER_TIME}};
	struct sattr3 huge = {.size = {true, UINT64_MAX}};
	struct wcc_data wcc;
	struct fattr3 a;
	struct nt_fh f;

	up();
	as(1, 1);
	f = make(&t->root, "f", 0666);
	a = attr_of(&f);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &mode, &a.ctime, &wcc));
	CHECK(wcc.before.attributes_follow && wcc.after.attributes_follow);
	CHECK_EQ(0, memcmp(&wcc.before.attributes.ctime, &a.ctime, sizeof(a.ctime)));
	CHECK_EQ(0600, wcc.after.attributes.mode);
	CHECK_EQ(NFS3ERR_NOT_SYNC, nt_setattr(t, &f, &mode, &a.ctime, &wcc)); /* it moved on */
	CHECK(wcc.before.attributes_follow && wcc.after.attributes_follow);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &size, NULL, NULL));
	CHECK_EQ(6ULL << 30, attr_of(&f).size);
	CHECK_EQ(NFS3ERR_FBIG, nt_setattr(t, &f, &huge, NULL, NULL));
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &times, NULL, NULL));
	a = attr_of(&f);
	CHECK_EQ(1000, a.atime.seconds);
	CHECK_EQ(5, a.atime.nseconds);
	CHECK_EQ(2000, a.mtime.seconds);
	CHECK_EQ(999999999, a.mtime.nseconds);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &now, NULL, NULL));
	CHECK(attr_of(&f).mtime.seconds > 1700000000U);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &(struct sattr3){0}, NULL, NULL)); /* nothing */
	CHECK_EQ(NFS3ERR_ISDIR, nt_setattr(t, &t->root, &size, NULL, NULL));
	as(2, 2);
	CHECK_EQ(NFS3ERR_PERM, nt_setattr(t, &f, &mode, NULL, NULL));
	CHECK_EQ(NFS3ERR_PERM, nt_setattr(t, &f, &times, NULL, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_setattr(t, &f, &now, NULL, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_setattr(t, &f, &size, NULL, NULL));
	down();
}

static void t_chown(void)
{
	struct sattr3 give = {.uid = {true, 2}}, group = {.gid = {true, 20}};
	struct nt_fh f;

	up();
	as(1, 1);
	t->cred.gid_count = 1;
	t->cred.gids[0] = 20;
	f = make(&t->root, "f", 06755);
	CHECK_EQ(NFS3ERR_PERM, nt_setattr(t, &f, &give, NULL, NULL));
	CHECK_EQ(06755, attr_of(&f).mode);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &group, NULL, NULL));
	CHECK_EQ(0755, attr_of(&f).mode);
	CHECK_EQ(20, attr_of(&f).gid);
	as(0, 0);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &give, NULL, NULL));
	CHECK_EQ(2, attr_of(&f).uid);
	down();
}

/* ---- data ------------------------------------------------------------------------------------ */
static void t_write_and_read(void)
{
	static const uint32_t how[] = {UNSTABLE, DATA_SYNC, FILE_SYNC};
	struct WRITE3resok r;
	struct nt_fh f;
	char b[64];
	uint32_t n;
	bool eof;

	up();
	for (unsigned i = 0; i < 3; i++) {
		char name[8] = {'f', (char)('0' + i)};

		f = make(&t->root, name, 0644);
		CHECK_EQ(NFS3_OK, nt_write(t, &f, 3, "hello", 5, how[i], &r));
		CHECK_EQ(5, r.count);
		CHECK(how[i] == UNSTABLE || r.committed == FILE_SYNC);
		CHECK(r.file_wcc.before.attributes_follow && r.file_wcc.after.attributes_follow);
		CHECK_EQ(0, r.file_wcc.before.attributes.size);
		CHECK_EQ(8, r.file_wcc.after.attributes.size);
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 64, b, &n, &eof));
		CHECK_EQ(8, n);
		CHECK(eof);
		CHECK_EQ(0, memcmp(b, "\0\0\0hello", 8));
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 4, 3, b, &n, &eof)); /* unaligned */
		CHECK_EQ(3, n);
		CHECK(!eof);
		CHECK_EQ(0, memcmp(b, "ell", 3));
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 8, 10, b, &n, &eof));
		CHECK(n == 0 && eof);
		CHECK_EQ(NFS3_OK, nt_read(t, &f, UINT64_MAX, 10, b, &n, &eof));
		CHECK(n == 0 && eof);
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 0, b, &n, &eof));
		CHECK(n == 0 && !eof);
	}
	down();
}

static void t_write_limits(void)
{
	struct WRITE3resok r;
	struct nt_fh f;
	char b[8];
	uint32_t n;
	bool eof;

	up();
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 100, "", 0, FILE_SYNC, &r)); /* nothing is written */
	CHECK_EQ(0, r.count);
	CHECK_EQ(0, attr_of(&f).size);
	CHECK_EQ(NFS3ERR_FBIG, nt_write(t, &f, UINT64_MAX - 2, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3ERR_FBIG, nt_write(t, &f, INT64_MAX, "x", 1, UNSTABLE, NULL));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, (1ULL << 32) + 7, "far", 3, UNSTABLE, NULL)); /* sparse */
	CHECK_EQ((1ULL << 32) + 10, attr_of(&f).size);
	CHECK(attr_of(&f).used < (1 << 20));
	CHECK_EQ(NFS3_OK, nt_read(t, &f, (1ULL << 32) + 5, 8, b, &n, &eof));
	CHECK(n == 5 && eof && memcmp(b, "\0\0far", 5) == 0);
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 1ULL << 31, 4, b, &n, &eof));
	CHECK(n == 4 && memcmp(b, "\0\0\0\0", 4) == 0);
	CHECK_EQ(NFS3ERR_ISDIR, nt_write(t, &t->root, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3ERR_ISDIR, nt_read(t, &t->root, 0, 1, b, &n, &eof));
	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_WRITE);
	xdr_put_WRITE3args(&t->w, &(struct WRITE3args){nt_wire(&f), 0, 9, FILE_SYNC, nt_text("four")});
	nt_call(t);
	CHECK_EQ(NFS3ERR_INVAL, rd_u32(&t->r));
	down();
}

static void t_a_megabyte(void)
{
	uint8_t *a = malloc(NFS3_DATA_MAX), *b = malloc(NFS3_DATA_MAX);
	struct nt_fh f;
	uint32_t n, sizes[] = {1, 4095, 16384, 16385, 65536, 262147, NFS3_DATA_MAX};
	bool eof;

	up();
	for (uint32_t i = 0; i < NFS3_DATA_MAX; i++)
		a[i] = (uint8_t)(i * 2654435761U >> 13);
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, a, NFS3_DATA_MAX, FILE_SYNC, NULL));
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, sizes[i], b, &n, &eof));
		CHECK_EQ(sizes[i], n);
		CHECK_EQ(sizes[i] == NFS3_DATA_MAX, eof);
		CHECK_EQ(0, memcmp(a, b, n));
	}
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 1, a, NFS3_DATA_MAX, UNSTABLE, NULL));
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 1, NFS3_DATA_MAX, b, &n, &eof));
	CHECK_EQ(NFS3_DATA_MAX, n);
	CHECK_EQ(0, memcmp(a, b, n));
	t->peer->peer.stream = false; /* over UDP a reply must fit a datagram */
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 1, NFS3_DATA_MAX, b, &n, &eof));
	CHECK_EQ(32768, n);
	CHECK(!eof);
	t->peer->peer.stream = true;
	free(a);
	free(b);
	down();
}

/* covers: S12 */
static void t_unsent_reply_keeps_its_bytes(void)
{
	enum { SIZE = 100000 };
	uint8_t *a = malloc(SIZE), *b = malloc(SIZE);
	struct nt_fh f;
	uint32_t n;
	bool eof;

	up();
	memset(a, 'a', SIZE);
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, a, SIZE, FILE_SYNC, NULL));
	t->peer->keep_body = true; /* a slow reader */
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, SIZE, b, &n, &eof));
	CHECK(t->peer->body != NULL);
	memset(b, 'b', SIZE);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, b, SIZE, UNSTABLE, NULL));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, b, SIZE, FILE_SYNC, NULL));
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, SIZE, b, &n, &eof));
	CHECK_EQ('b', b[0]);
	CHECK_EQ(0, memcmp(t->peer->body, a, SIZE)); /* nor was the buffer used again */
	nt_body_sent(t->peer);
	free(a);
	free(b);
	down();
}

/* A block that is kept is sent from where it is kept.   covers: S12 */
static void t_lent_block_keeps_its_bytes(void)
{
	enum { SIZE = 8192, READ = 4096 };
	uint8_t a[SIZE], b[READ];
	uint64_t lent = trace_mark_count("store.block_lent");
	struct nt_fh f;
	uint32_t n;
	bool eof;

	up();
	memset(a, 'a', SIZE);
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, a, SIZE, FILE_SYNC, NULL));
	for (unsigned i = 0; i < 2; i++) {
		t->peer->keep_body = i == 1; /* a slow reader, of what it has read before */
		CHECK_EQ(NFS3_OK, nt_read(t, &f, READ, READ, b, &n, &eof));
		CHECK_EQ(READ, n);
		CHECK(eof);
		CHECK_EQ(0, memcmp(a, b, READ));
	}
	CHECK_EQ(lent + 1, trace_mark_count("store.block_lent"));
	CHECK(t->peer->body != NULL);
	memset(b, 'b', READ);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, READ, b, READ, UNSTABLE, NULL));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, READ, b, READ, FILE_SYNC, NULL));
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(NFS3_OK, nt_read(t, &f, READ, READ, b, &n, &eof));
		CHECK_EQ('b', b[0]);
	}
	CHECK_EQ(0, memcmp(t->peer->body, a, READ));
	nt_body_sent(t->peer);
	/* Across two blocks, odd lengths, the end: as ever. */
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 4000, 3000, b, &n, &eof));
	CHECK_EQ(3000, n);
	CHECK(b[95] == 'a' && b[96] == 'b' && !eof);
	CHECK_EQ(NFS3_OK, nt_read(t, &f, READ + 1, READ, b, &n, &eof));
	CHECK_EQ(READ - 1, n);
	CHECK(eof);
	down();
}

static void t_data_permissions(void)
{
	struct nt_fh f;
	char b[4];
	uint32_t n;
	bool eof;
	struct sattr3 m;

	up();
	as(1, 1);
	f = make(&t->root, "f", 0000); /* the owner goes on with an open file */
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 4, b, &n, &eof));
	as(2, 2);
	CHECK_EQ(NFS3ERR_ACCES, nt_write(t, &f, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(NFS3ERR_ACCES, nt_read(t, &f, 0, 4, b, &n, &eof));
	as(0, 0);
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 4, b, &n, &eof));
	m = nt_mode(06777);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &f, &m, NULL, NULL));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, "x", 1, UNSTABLE, NULL));
	CHECK_EQ(06777, attr_of(&f).mode);
	as(2, 2);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, "y", 1, UNSTABLE, NULL));
	CHECK_EQ(0777, attr_of(&f).mode);
	CHECK_EQ(NFS3_OK, nt_read(t, &f, 0, 4, b, &n, &eof));
	CHECK_EQ('y', b[0]);
	down();
}

/* covers: S9 */
static void t_commit_and_verifier(void)
{
	struct WRITE3resok w, w2;
	uint8_t verf[8];
	struct nt_fh f;

	up();
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, "abc", 3, UNSTABLE, &w));
	CHECK_EQ(NFS3_OK, nt_commit(t, &f, verf));
	CHECK_EQ(0, memcmp(verf, w.verf, 8));
	CHECK_EQ(NFS3ERR_ISDIR, nt_commit(t, &t->root, verf));
	as(9, 9);
	CHECK_EQ(NFS3ERR_ACCES, nt_commit(t, &f, verf));
	as(0, 0);
	nt_restart(t, false); /* a planned move keeps it */
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, "abc", 3, UNSTABLE, &w2));
	CHECK_EQ(0, memcmp(w2.verf, w.verf, 8));
	nt_restart(t, true); /* a crash may have lost unstable data */
	CHECK_EQ(NFS3_OK, nt_commit(t, &f, verf));
	CHECK(memcmp(verf, w.verf, 8) != 0);
	down();
}

/* ---- ACCESS, FSSTAT, FSINFO, PATHCONF --------------------------------------------------------- */
static void t_access(void)
{
	struct nt_fh f;
	uint32_t got;

	up();
	as(1, 1);
	f = make(&t->root, "f", 0640);
	CHECK_EQ(NFS3_OK, nt_access(t, &f, 0x3f, &got));
	CHECK_EQ(ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND, got);
	as(2, 1);
	CHECK_EQ(NFS3_OK, nt_access(t, &f, 0x3f, &got));
	CHECK_EQ(ACCESS3_READ, got);
	as(2, 2);
	CHECK_EQ(NFS3_OK, nt_access(t, &f, 0x3f, &got));
	CHECK_EQ(0, got);
	down();
}

static void fs_call(uint32_t proc, const struct nt_fh *fh)
{
	nt_begin(t, NFS_PROGRAM, NFS_V3, proc);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{fh->b, fh->n}});
	nt_call(t);
}

static void t_file_system_info(void)
{
	struct FSSTAT3res st;
	struct FSINFO3res in;
	struct PATHCONF3res pc;
	struct store_space sp;

	up();
	fs_call(NFSPROC3_FSSTAT, &t->root);
	xdr_get_FSSTAT3res(&t->r, &st);
	CHECK(rd_done(&t->r));
	CHECK_EQ(NFS3_OK, st.status);
	CHECK_EQ(0, store_space(t->store, &sp));
	CHECK_EQ(sp.bytes_total, st.u.resok.tbytes);
	CHECK(st.u.resok.abytes > 0 && st.u.resok.abytes <= st.u.resok.tbytes);
	CHECK(st.u.resok.ffiles > 0 && st.u.resok.tfiles > 0);
	fs_call(NFSPROC3_FSINFO, &t->root);
	xdr_get_FSINFO3res(&t->r, &in);
	CHECK(rd_done(&t->r));
	CHECK_EQ(1 << 20, in.u.resok.rtmax);
	CHECK_EQ(1 << 20, in.u.resok.wtmax);
	CHECK_EQ(0x1b, in.u.resok.properties);
	CHECK_EQ(1, in.u.resok.time_delta.nseconds);
	CHECK_EQ(INT64_MAX - 1, in.u.resok.maxfilesize);
	t->peer->peer.stream = false;
	fs_call(NFSPROC3_FSINFO, &t->root);
	xdr_get_FSINFO3res(&t->r, &in);
	CHECK_EQ(32768, in.u.resok.rtmax);
	t->peer->peer.stream = true;
	fs_call(NFSPROC3_PATHCONF, &t->root);
	xdr_get_PATHCONF3res(&t->r, &pc);
	CHECK(rd_done(&t->r));
	CHECK_EQ(255, pc.u.resok.name_max);
	CHECK(pc.u.resok.no_trunc && pc.u.resok.chown_restricted && pc.u.resok.case_preserving);
	CHECK(!pc.u.resok.case_insensitive);
	down();
}

/* ---- READDIR --------------------------------------------------------------------------------- */
#define MANY 500

static unsigned list_all(const struct nt_fh *dir, uint32_t count, uint32_t maxcount,
			 bool seen[MANY])
{
	static struct nt_dirent e[2048];
	uint8_t verf[8] = {0};
	uint64_t cookie = 0;
	unsigned n, total = 0, which;
	bool eof = false;

	while (!eof) {
		CHECK_EQ(NFS3_OK,
			 nt_readdir(t, dir, cookie, verf, count, maxcount, e, 2048, &n, &eof));
		CHECK(n > 0 || eof);
		for (unsigned i = 0; i < n; i++) {
			CHECK(e[i].cookie > cookie);
			cookie = e[i].cookie;
			if (sscanf(e[i].name, "n%u", &which) == 1) {
				CHECK(which < MANY && !seen[which]);
				seen[which] = true;
			}
			CHECK(!maxcount || (e[i].has_attr && e[i].has_fh));
			CHECK(!maxcount || e[i].attr.fileid == e[i].fileid);
		}
		total += n;
	}
	return total;
}

static void fill(const struct nt_fh *dir)
{
	size_t before = t->peer->count;
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		struct CREATE3args a = {.how = {.mode = GUARDED, .u.obj_attributes = plain}};

		snprintf(name, sizeof(name), "n%u", i);
		a.where = (struct diropargs3){nt_wire(dir), nt_text(name)};
		nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_CREATE);
		xdr_put_CREATE3args(&t->w, &a);
		CHECK(nt_send(t));
	}
	CHECK(nt_wait(t, t->peer, before + MANY));
}

static void t_readdir(void)
{
	static bool seen[MANY];
	struct nt_fh d, f;
	struct nt_dirent e[8];
	uint8_t verf[8] = {0}, foreign[8] = {9};
	unsigned n;
	bool eof;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &d));
	fill(&d);
	for (unsigned k = 0; k < 4; k++) {
		static const uint32_t limits[4][2] = {{512, 0}, {65536, 0}, {1024, 4096}, {8192, 65536}};

		memset(seen, 0, sizeof(seen));
		CHECK_EQ(MANY + 2, list_all(&d, limits[k][0], limits[k][1], seen));
	}
	CHECK_EQ(NFS3ERR_TOOSMALL, nt_readdir(t, &d, 0, verf, 90, 0, e, 8, &n, &eof));
	CHECK_EQ(NFS3ERR_TOOSMALL, nt_readdir(t, &d, 0, verf, 4096, 200, e, 8, &n, &eof));
	CHECK_EQ(NFS3ERR_BAD_COOKIE, nt_readdir(t, &d, 5, foreign, 4096, 0, e, 8, &n, &eof));
	f = make(&t->root, "f", 0644);
	CHECK_EQ(NFS3ERR_NOTDIR, nt_readdir(t, &f, 0, verf, 4096, 0, e, 8, &n, &eof));
	CHECK_EQ(NFS3_OK, nt_readdir(t, &d, 1ULL << 60, verf, 4096, 0, e, 8, &n, &eof));
	CHECK(n == 0 && eof);
	down();
}

static void t_cookies_stay_good_under_change(void)
{
	static bool seen[MANY];
	static struct nt_dirent e[2048];
	uint8_t verf[8] = {0};
	uint64_t cookie = 0;
	unsigned n, which;
	struct nt_fh d;
	bool eof = false;
	char name[32];

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, &d));
	fill(&d);
	for (unsigned round = 0; !eof; round++) {
		CHECK_EQ(NFS3_OK, nt_readdir(t, &d, cookie, verf, 700, 0, e, 2048, &n, &eof));
		for (unsigned i = 0; i < n; i++) {
			cookie = e[i].cookie;
			if (sscanf(e[i].name, "n%u", &which) == 1) {
				CHECK(!seen[which]);
				seen[which] = true;
			}
		}
		snprintf(name, sizeof(name), "new%u", round); /* behind us */
		make(&d, name, 0644);
		if (n) /* the very entry that the cookie points to */
			CHECK_EQ(NFS3_OK, nt_remove(t, &d, e[n - 1].name[0] == 'n' ? e[n - 1].name : name));
		if (round == 3)
			nt_restart(t, true);
		CHECK(round < 1000);
	}
	for (unsigned i = 0; i < MANY; i++)
		CHECK(seen[i]);
	down();
}

static void t_readdir_permissions(void)
{
	struct nt_fh d;
	struct nt_dirent e[8];
	uint8_t verf[8] = {0};
	unsigned n;
	bool eof;

	up();
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0744, &d));
	make(&d, "f", 0644);
	as(5, 5);
	CHECK_EQ(NFS3_OK, nt_readdir(t, &d, 0, verf, 4096, 4096, e, 8, &n, &eof));
	CHECK_EQ(3, n);
	CHECK(!e[2].has_attr && !e[2].has_fh); /* names may be read, nothing may be reached */
	as(0, 0);
	CHECK_EQ(NFS3_OK, nt_setattr(t, &d, &(struct sattr3){.mode = {true, 0711}}, NULL, NULL));
	as(5, 5);
	CHECK_EQ(NFS3ERR_ACCES, nt_readdir(t, &d, 0, verf, 4096, 0, e, 8, &n, &eof));
	down();
}

int main(void)
{
	CASE(t_lookup);
	CASE(t_bad_names_everywhere);
	CASE(t_create_modes);
	CASE(t_create_with_size);
	CASE(t_create_exclusive);
	CASE(t_mkdir_rmdir);
	CASE(t_setgid_directory);
	CASE(t_symlink_readlink);
	CASE(t_mknod);
	CASE(t_remove_and_links);
	CASE(t_sticky_directory);
	CASE(t_rename);
	CASE(t_directory_permissions);
	CASE(t_setattr);
	CASE(t_chown);
	CASE(t_write_and_read);
	CASE(t_write_limits);
	CASE(t_a_megabyte);
	CASE(t_unsent_reply_keeps_its_bytes);
	CASE(t_lent_block_keeps_its_bytes);
	CASE(t_data_permissions);
	CASE(t_commit_and_verifier);
	CASE(t_access);
	CASE(t_file_system_info);
	CASE(t_readdir);
	CASE(t_cookies_stay_good_under_change);
	CASE(t_readdir_permissions);
	return check_end();
}
