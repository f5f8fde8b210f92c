/* t_nfs_access.c - permission rules and exports: the parts that need no store. */
#include "check.h"

#include <errno.h>
#include <string.h>

#include "nfs/access.h"
#include "nfs/exports.h"
#include "xdr/nfs3_xdr.h"

static struct store_inode file(uint32_t mode, uint32_t uid, uint32_t gid)
{
	return (struct store_inode){.type = STORE_REG, .mode = mode, .uid = uid, .gid = gid};
}

static struct store_inode folder(uint32_t mode, uint32_t uid, uint32_t gid)
{
	return (struct store_inode){.type = STORE_DIR, .mode = mode, .uid = uid, .gid = gid};
}

static const struct cred root = {.uid = 0}, ann = {.uid = 1, .gid = 10, .gid_count = 1, .gids = {20}},
			 bob = {.uid = 2, .gid = 30};

static void t_mode_classes(void)
{
	struct store_inode f = file(0640, 1, 20), mine_only_group = file(0070, 1, 20);

	CHECK_EQ(0, access_check(&f, &ann, MAY_READ | MAY_WRITE));
	CHECK_EQ(-EACCES, access_check(&f, &ann, MAY_EXEC));
	CHECK_EQ(-EACCES, access_check(&f, &bob, MAY_READ));
	/* The first class that fits decides: an owner is not helped by the group's bits. */
	CHECK_EQ(-EACCES, access_check(&mine_only_group, &ann, MAY_READ));
	f.uid = 9;
	CHECK_EQ(0, access_check(&f, &ann, MAY_READ));
	CHECK_EQ(-EACCES, access_check(&f, &ann, MAY_WRITE));
}

static void t_superuser(void)
{
	struct store_inode f = file(0, 1, 1), d = folder(0, 1, 1);

	CHECK_EQ(0, access_check(&f, &root, MAY_READ | MAY_WRITE));
	CHECK_EQ(-EACCES, access_check(&f, &root, MAY_EXEC));
	f.mode = 0001;
	CHECK_EQ(0, access_check(&f, &root, MAY_EXEC));
	CHECK_EQ(0, access_check(&d, &root, MAY_READ | MAY_WRITE | MAY_EXEC));
}

static void t_owner_uses_own_open_file(void)
{
	struct store_inode f = file(0000, 1, 10), x = file(0111, 9, 9);

	CHECK_EQ(0, access_data(&f, &ann, MAY_READ));
	CHECK_EQ(0, access_data(&f, &ann, MAY_WRITE));
	CHECK_EQ(-EACCES, access_data(&f, &bob, MAY_READ));
	CHECK_EQ(0, access_data(&x, &ann, MAY_READ)); /* running needs reading */
	CHECK_EQ(-EACCES, access_data(&x, &ann, MAY_WRITE));
}

static void t_sticky(void)
{
	struct store_inode d = folder(01777, 9, 9), f = file(0666, 1, 10);

	CHECK_EQ(0, access_remove(&d, &f, &ann));
	CHECK_EQ(-EPERM, access_remove(&d, &f, &bob));
	CHECK_EQ(0, access_remove(&d, &f, &root));
	d.uid = 2;
	CHECK_EQ(0, access_remove(&d, &f, &bob));
	d.uid = 9;
	d.mode = 0777;
	CHECK_EQ(0, access_remove(&d, &f, &bob));
	d.mode = 0555;
	CHECK_EQ(-EACCES, access_remove(&d, &f, &bob));
}

static void t_access_procedure(void)
{
	struct store_inode f = file(0754, 1, 30), d = folder(0754, 1, 30);

	CHECK_EQ(ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_EXECUTE,
		 access_nfs3(&f, &ann, 0x3f, true));
	CHECK_EQ(ACCESS3_READ | ACCESS3_EXECUTE, access_nfs3(&f, &ann, 0x3f, false));
	CHECK_EQ(ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE,
		 access_nfs3(&d, &ann, 0x3f, true));
	CHECK_EQ(ACCESS3_READ | ACCESS3_LOOKUP, access_nfs3(&d, &bob, 0x3f, true));
	CHECK_EQ(ACCESS3_LOOKUP, access_nfs3(&d, &bob, ACCESS3_LOOKUP, true));
}

static void t_chown_is_restricted(void)
{
	struct store_inode f = file(06755, 1, 10);
	struct store_attr a = {.set_uid = true, .uid = 2};

	CHECK_EQ(-EPERM, access_setattr(&f, &ann, &a));
	a = (struct store_attr){.set_gid = true, .gid = 20};
	CHECK_EQ(0, access_setattr(&f, &ann, &a));
	CHECK(a.set_mode);
	CHECK_EQ(0755, a.mode); /* set-ID bits fall */
	a = (struct store_attr){.set_gid = true, .gid = 77};
	CHECK_EQ(-EPERM, access_setattr(&f, &ann, &a));
	a = (struct store_attr){.set_gid = true, .gid = 20};
	CHECK_EQ(-EPERM, access_setattr(&f, &bob, &a));
	a = (struct store_attr){.set_uid = true, .uid = 2, .set_gid = true, .gid = 77};
	CHECK_EQ(0, access_setattr(&f, &root, &a));
	CHECK_EQ(0755, a.mode);
}

static void t_chmod(void)
{
	struct store_inode f = file(0644, 1, 77), d = folder(0755, 1, 77);
	struct store_attr a = {.set_mode = true, .mode = 02755};

	CHECK_EQ(-EPERM, access_setattr(&f, &bob, &a));
	CHECK_EQ(0, access_setattr(&f, &ann, &a));
	CHECK_EQ(0755, a.mode); /* not a group of hers */
	a = (struct store_attr){.set_mode = true, .mode = 02755};
	CHECK_EQ(0, access_setattr(&f, &root, &a));
	CHECK_EQ(02755, a.mode);
	d.gid = 20;
	a = (struct store_attr){.set_mode = true, .mode = 03755};
	CHECK_EQ(0, access_setattr(&d, &ann, &a));
	CHECK_EQ(03755, a.mode);
}

static void t_times_and_size(void)
{
	struct store_inode f = file(0666, 1, 10), ro = file(0444, 9, 9);
	struct store_attr a = {.set_mtime = STORE_TIME_CLIENT};

	CHECK_EQ(-EPERM, access_setattr(&f, &bob, &a));
	CHECK_EQ(0, access_setattr(&f, &ann, &a));
	a = (struct store_attr){.set_mtime = STORE_TIME_SERVER};
	CHECK_EQ(0, access_setattr(&f, &bob, &a));
	CHECK_EQ(-EACCES, access_setattr(&ro, &bob, &a));
	a = (struct store_attr){.set_size = true, .size = 5};
	CHECK_EQ(-EACCES, access_setattr(&ro, &bob, &a));
	CHECK_EQ(0, access_setattr(&f, &bob, &a));
	a.size = (uint64_t)STORE_FILE_SIZE_MAX + 1;
	CHECK_EQ(-EFBIG, access_setattr(&f, &bob, &a));
	f.type = STORE_DIR;
	CHECK_EQ(-EISDIR, access_setattr(&f, &ann, &a));
}

static void t_set_id_falls_with_writes(void)
{
	struct store_inode f = file(06775, 1, 10), locky = file(02665, 1, 10);
	struct store_attr a = {.set_size = true};
	uint32_t mode = 0;

	CHECK(access_write_clears(&f, &bob, &mode));
	CHECK_EQ(0775, mode);
	CHECK(!access_write_clears(&f, &root, &mode));
	CHECK(!access_write_clears(&locky, &bob, &mode));
	CHECK_EQ(0, access_setattr(&f, &ann, &a));
	CHECK(a.set_mode);
	CHECK_EQ(0775, a.mode);
}

static void t_new_objects(void)
{
	struct store_inode d = folder(0777, 9, 50), sg = folder(02777, 9, 50);
	struct store_attr a = {.set_mode = true, .mode = 02755, .set_uid = true, .uid = 5};

	access_new(&d, &ann, STORE_REG, &a);
	CHECK_EQ(1, a.uid);
	CHECK_EQ(10, a.gid);
	CHECK_EQ(02755, a.mode);
	access_new(&sg, &ann, STORE_REG, &a);
	CHECK_EQ(50, a.gid);
	CHECK_EQ(0755, a.mode); /* not her group */
	a = (struct store_attr){.set_mode = true, .mode = 0755};
	access_new(&sg, &ann, STORE_DIR, &a);
	CHECK_EQ(50, a.gid);
	CHECK_EQ(02755, a.mode); /* directories hand it on */
	a = (struct store_attr){.set_mode = true, .mode = 0600, .set_uid = true, .uid = 5};
	access_new(&d, &root, STORE_REG, &a);
	CHECK_EQ(5, a.uid);
}

/* ---- exports ---- */
#define V4(a, b, c, d) {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}

static void t_rules(void)
{
	const struct export_client_conf rules[] = {
	    {.addr = V4(192, 0, 2, 7), .prefix = 128, .rw = true, .squash = SQUASH_NONE},
	    {.addr = V4(192, 0, 2, 0), .prefix = 96 + 24, .squash = SQUASH_ROOT, .anonuid = 65534},
	    {.addr = {0x20, 1, 0xd, 0xb8}, .prefix = 32, .rw = true},
	};
	const struct export_conf conf[] = {
	    {.path = "/a", .clients = rules, .client_count = 3},
	    {.path = "/a/b/", .clients = rules, .client_count = 1},
	};
	const struct nfs_conf nc = {.store_count = 1, .exports = conf, .export_count = 2};
	const uint8_t host[16] = V4(192, 0, 2, 7), net[16] = V4(192, 0, 2, 8),
		      far[16] = V4(198, 51, 100, 1), six[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	struct fs *fs_of[1] = {NULL};
	struct exports e;
	const char *rest;
	size_t n;
	char err[200];
	struct cred c = {.uid = 0, .gid = 0, .gid_count = 1, .gids = {0}};

	CHECK_EQ(0, exports_init(&e, &nc, fs_of, err, sizeof(err)));
	CHECK(export_rule_for(&e.list[0], host)->conf.rw);
	CHECK(!export_rule_for(&e.list[0], net)->conf.rw);
	CHECK(export_rule_for(&e.list[0], far) == NULL);
	CHECK(export_rule_for(&e.list[0], six)->conf.rw);
	CHECK_EQ(0, strcmp(e.list[0].rules[1].text, "192.0.2.0/24"));
	CHECK_EQ(0, strcmp(e.list[0].rules[2].text, "2001:db8::/32"));
	CHECK(exports_by_path(&e, "/a/b/c", 6, &rest, &n) == &e.list[1]);
	CHECK_EQ(2, n);
	CHECK(exports_by_path(&e, "/ab", 3, &rest, &n) == NULL);
	CHECK(exports_by_path(&e, "/a", 2, &rest, &n) == &e.list[0]);
	CHECK(exports_by_id(&e, e.list[1].id) == &e.list[1]);
	CHECK(exports_by_id(&e, 5) == NULL);
	export_squash_cred(&e.list[0].rules[0], true, &c);
	CHECK_EQ(0, c.uid);
	export_squash_cred(&e.list[0].rules[1], true, &c);
	CHECK_EQ(65534, c.uid);
	CHECK_EQ(0, c.gids[0]); /* anongid is 0 in that rule */
	exports_fini(&e);
}

static void t_bad_exports(void)
{
	const struct export_conf twice[] = {{.path = "/a"}, {.path = "/a/"}};
	const struct export_conf relative[] = {{.path = "a"}};
	struct nfs_conf nc = {.store_count = 1, .exports = twice, .export_count = 2};
	struct fs *fs_of[1] = {NULL};
	struct exports e;
	char err[200] = "";

	CHECK_EQ(-EINVAL, exports_init(&e, &nc, fs_of, err, sizeof(err)));
	CHECK(strstr(err, "twice") != NULL);
	nc.exports = relative;
	nc.export_count = 1;
	CHECK_EQ(-EINVAL, exports_init(&e, &nc, fs_of, err, sizeof(err)));
}

int main(void)
{
	CASE(t_mode_classes);
	CASE(t_superuser);
	CASE(t_owner_uses_own_open_file);
	CASE(t_sticky);
	CASE(t_access_procedure);
	CASE(t_chown_is_restricted);
	CASE(t_chmod);
	CASE(t_times_and_size);
	CASE(t_set_id_falls_with_writes);
	CASE(t_new_objects);
	CASE(t_rules);
	CASE(t_bad_exports);
	return check_end();
}
