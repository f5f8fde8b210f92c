/* t_nfs_stores.c - two stores behind one server: nothing goes from one to the other, and while one of
 * them is away its clients wait and those of the other notice nothing. */
#include "check.h"

#include <string.h>

#include "lib_nfs.h"

static struct nt *t;
static struct nt_fh two; /* root of the other store */

static void up(void)
{
	static struct nt nt;

	t = &nt;
	nt_up(t);
	nt_second(t);
	CHECK_EQ(MNT3_OK, nt_mount(t, "/two", &two));
}

/* covers: S8 - the operation begun on one store ends there, whatever store the other handle is of. */
static void t_not_across(void)
{
	struct nt_fh a, b;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "a", GUARDED, &(struct sattr3){0}, 0, &a));
	CHECK_EQ(NFS3_OK, nt_create(t, &two, "b", GUARDED, &(struct sattr3){0}, 0, &b));
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(NFS3ERR_XDEV, nt_rename(t, &t->root, "a", &two, "a"));
		CHECK_EQ(NFS3ERR_XDEV, nt_rename(t, &two, "b", &t->root, "b"));
		CHECK_EQ(NFS3ERR_XDEV, nt_link(t, &a, &two, "a2"));
		CHECK_EQ(NFS3ERR_XDEV, nt_link(t, &b, &t->root, "b2"));
		CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "d", 0755, NULL));
		CHECK_EQ(NFS3_OK, nt_rmdir(t, &t->root, "d"));
		CHECK_EQ(NFS3_OK, nt_mkdir(t, &two, "d", 0755, NULL));
		CHECK_EQ(NFS3_OK, nt_rmdir(t, &two, "d"));
	}
	CHECK_EQ(NFS3_OK, nt_rename(t, &two, "b", &two, "c"));
	CHECK_EQ(NFS3_OK, nt_link(t, &a, &t->root, "a2"));
	nt_restart(t, true);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &two, "c", &b));
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "a2", &a));
	nt_down(t);
}

/* Sent, and no answer comes. */
static bool silent(void)
{
	size_t before = t->peer->count;

	CHECK(nt_send(t));
	nt_settle(t);
	return t->peer->count == before;
}

static void getattr_begins(const struct nt_fh *fh)
{
	struct nfs_fh3 w = nt_wire(fh);

	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &w);
}

static void mount_begins(uint32_t vers, const char *path)
{
	struct xdr_bytes p = nt_text(path);

	nt_begin(t, MOUNT_PROGRAM, vers, MOUNTPROC3_MNT);
	xdr_put_bytes(&t->w, &p);
}

static unsigned listed(void)
{
	unsigned n = 0;

	nt_begin(t, MOUNT_PROGRAM, MOUNT_V3, MOUNTPROC3_EXPORT);
	nt_call(t);
	while (rd_u32(&t->r)) {
		struct xdr_bytes text;

		xdr_get_bytes(&t->r, &text, 1024);
		n++;
		while (rd_u32(&t->r))
			xdr_get_bytes(&t->r, &text, 1024);
	}
	return n;
}

static void counter(void *arg, const char *name, const char *help, uint64_t value)
{
	(void)help;
	if (strcmp(name, "unanswered") == 0)
		*(uint64_t *)arg = value;
}

/* covers: VS-155 VS-156 - a closed store: no answer and no error; the other is served. */
static void t_one_is_away(void)
{
	struct nt_fh a, b;
	uint64_t unanswered = 0;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &two, "b", GUARDED, &(struct sattr3){0}, 0, &b));
	CHECK_EQ(5, listed());
	t->other_away = true;
	nt_server_restart(t);
	getattr_begins(&two);
	CHECK(silent());
	getattr_begins(&b);
	CHECK(silent());
	mount_begins(MOUNT_V3, "/two");
	CHECK(silent());
	mount_begins(MOUNT_V1, "/two");
	CHECK(silent());
	CHECK_EQ(5, listed()); /* it is there, it only takes a while */
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "a", GUARDED, &(struct sattr3){0}, 0, &a));
	CHECK_EQ(NFS3ERR_XDEV, nt_rename(t, &t->root, "a", &two, "a"));
	CHECK_EQ(NFS3_OK, nt_write(t, &a, 0, "x", 1, FILE_SYNC, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/e", &a));
	nt_exports(t);
	getattr_begins(&b);
	CHECK(silent());
	rpc_stats_each(t->srv, counter, &unanswered);
	CHECK_EQ(5, (long long)unanswered);
	t->other_away = false;
	nt_server_restart(t);
	CHECK_EQ(NFS3_OK, nt_getattr(t, &b, NULL));
	CHECK_EQ(MNT3_OK, nt_mount(t, "/two", &a));
	CHECK_EQ(5, listed());
	nt_down(t);
}

int main(void)
{
	CASE(t_not_across);
	CASE(t_one_is_away);
	return check_end();
}
