/* t_nfs_cold.c - reads of what is not in memory: others are not kept waiting, and nothing that the
 * read needs goes away meanwhile.
 * covers: S8 S12 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/trace.h"
#include "lib_nfs.h"
#include "lib_storefake.h"

#define SIZE (256U << 10)

static bool cold_here; /* this file system can say that a read would wait */
static bool probe;

static int evict_one(const char *path, const struct stat *st, int flag, struct FTW *w)
{
	uint8_t byte;
	struct iovec v = {.iov_base = &byte, .iov_len = 1};
	int fd;

	(void)w;
	if (flag != FTW_F || !strstr(path, "/objects/") || st->st_size == 0)
		return 0;
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(0, fsync(fd));
	CHECK_EQ(0, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	if (probe) /* which starts to bring it back */
		cold_here = preadv2(fd, &v, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
	close(fd);
	return 0;
}

/* Nothing of any object is in memory any more. */
static bool evict(const char *dir)
{
	cold_here = false;
	probe = true;
	nftw(dir, evict_one, 16, FTW_PHYS);
	usleep(20000);
	probe = false;
	nftw(dir, evict_one, 16, FTW_PHYS);
	return cold_here;
}

static uint8_t data[SIZE], got[SIZE];

static void fill(uint8_t seed)
{
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 7 + i / 4096 + seed);
}

static struct nt_fh make(struct nt *t, const char *name)
{
	struct sattr3 m = nt_mode(0644);
	struct nt_fh f;

	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, name, GUARDED, &m, 0, &f));
	CHECK_EQ(NFS3_OK, nt_write(t, &f, 0, data, SIZE, FILE_SYNC, NULL));
	return f;
}

static void send_read(struct nt *t, const struct nt_fh *f, uint64_t off, uint32_t count)
{
	struct READ3args a = {.file = nt_wire(f), .offset = off, .count = count};

	nt_begin(t, NFS_PROGRAM, NFS_V3, NFSPROC3_READ);
	xdr_put_READ3args(&t->w, &a);
	CHECK(nt_send(t));
}

static uint32_t reply_xid(const struct nt_peer *p, size_t at)
{
	const uint8_t *m = p->last[at % NT_QUEUE_MAX].msg;

	return (uint32_t)m[0] << 24 | (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];
}

static void t_others_go_on(void)
{
	struct nt t = {0};
	struct nt_fh f;
	struct fattr3 attr;
	uint64_t before = trace_mark_count("store.cold");
	uint32_t xid, n;
	size_t count;
	bool eof;

	nt_up(&t);
	fill(1);
	f = make(&t, "f");
	nt_settle(&t);
	if (evict(t.dir)) {
		count = t.peer->count;
		send_read(&t, &f, 4096, 8192);
		xid = t.xid;
		CHECK_EQ(count, t.peer->count);
		CHECK_EQ(before + 1, trace_mark_count("store.cold"));
		CHECK_EQ(NFS3_OK, nt_getattr(&t, &f, &attr)); /* sent later, answered first */
		CHECK(reply_xid(t.peer, count) != xid);
		CHECK(nt_wait(&t, t.peer, count + 2));
		CHECK_EQ(xid, reply_xid(t.peer, count + 1));
	}
	/* Small, large, and beyond the end. */
	evict(t.dir);
	CHECK_EQ(NFS3_OK, nt_read(&t, &f, 5000, 3000, got, &n, &eof));
	CHECK_EQ(3000, n);
	CHECK_EQ(0, memcmp(got, data + 5000, n));
	evict(t.dir);
	CHECK_EQ(NFS3_OK, nt_read(&t, &f, 10, SIZE, got, &n, &eof));
	CHECK_EQ(SIZE - 10, n);
	CHECK(eof);
	CHECK_EQ(0, memcmp(got, data + 10, n));
	nt_down(&t);
}

static void t_removed_meanwhile(void)
{
	struct nt t = {0};
	struct nt_fh f;
	size_t count;
	struct REMOVE3args a;

	nt_up(&t);
	a = (struct REMOVE3args){{nt_wire(&t.root), nt_text("f")}};
	fill(2);
	f = make(&t, "f");
	nt_settle(&t);
	if (evict(t.dir)) {
		count = t.peer->count;
		send_read(&t, &f, 0, SIZE);
		CHECK_EQ(count, t.peer->count);
		nt_begin(&t, NFS_PROGRAM, NFS_V3, NFSPROC3_REMOVE);
		xdr_put_REMOVE3args(&t.w, &a);
		CHECK(nt_send(&t));
		CHECK(nt_wait(&t, t.peer, count + 2)); /* its data, or that it is stale */
		nt_settle(&t);
	}
	nt_down(&t);
}

/* ---- the store by itself ---------------------------------------------------------------------- */

struct reading {
	struct fs *f;
	uint64_t ino;
	int calls, err;
};

static void on_warm(void *arg)
{
	struct reading *r = arg;
	uint64_t wait;
	size_t n;
	bool eof;

	r->calls++;
	r->err = store_read_try(r->f->s, r->ino, 0, SIZE, got, &n, &eof, &wait);
}

static bool begin(struct fs *f, struct reading *r)
{
	uint64_t wait;
	size_t n;
	bool eof;

	fs_new(f);
	*r = (struct reading){.f = f};
	fill(3);
	CHECK_EQ(0, fs_make(f, STORE_ROOT_INO, "f", STORE_REG, &r->ino));
	CHECK_EQ(0, fs_write(f, r->ino, 0, data, SIZE, true));
	fs_settle(f);
	if (!evict(f->dir))
		return false;
	CHECK_EQ(STORE_COLD, store_read_try(f->s, r->ino, 0, SIZE, got, &n, &eof, &wait));
	store_warm(f->s, r->ino, 0, SIZE, on_warm, r);
	CHECK_EQ(0, r->calls);
	return true;
}

static void t_close_waits(void)
{
	struct reading r;
	struct fs f;

	if (begin(&f, &r)) {
		fs_close(&f);
		CHECK_EQ(1, r.calls);
		CHECK_EQ(0, r.err);
		CHECK_EQ(0, memcmp(got, data, SIZE));
	}
	fs_drop(&f);
}

static void t_the_store_goes(void)
{
	struct reading r;
	struct fs f;

	if (begin(&f, &r)) {
		fs_crash(&f);
		for (int i = 0; i < 2000 && loop_busy(f.loop) > 1; i++)
			loop_once(f.loop, 10000000);
		CHECK_EQ(0, r.calls);
		CHECK_EQ(SIZE, fs_read(&f, r.ino, 0, got, SIZE));
		CHECK_EQ(0, memcmp(got, data, SIZE));
	}
	fs_drop(&f);
}

int main(void)
{
	CASE(t_others_go_on);
	CASE(t_removed_meanwhile);
	CASE(t_close_waits);
	CASE(t_the_store_goes);
	return check_end();
}
