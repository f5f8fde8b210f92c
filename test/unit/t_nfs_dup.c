/* t_nfs_dup.c - repeated calls: every non-idempotent procedure gives its first answer, in progress,
 * afterwards, from another connection, after a crash; replies wait for the log. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "lib_nfs.h"

static struct nt *t;
static const struct sattr3 plain = {.mode = {true, 0644}};

static void up(void)
{
	static struct nt nt;

	t = &nt;
	nt_up(t);
}

static void down(void)
{
	nt_down(t);
}

static struct diropargs3 where(const struct nt_fh *dir, const char *name)
{
	return (struct diropargs3){nt_wire(dir), nt_text(name)};
}

/* ---- one call of every kind ------------------------------------------------------------------ */
struct fixture {
	struct nt_fh file, dir;
};

static struct fixture fixture(void)
{
	struct fixture f;

	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "file", GUARDED, &plain, 0, &f.file));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "dir", 0755, &f.dir));
	CHECK_EQ(NFS3_OK, nt_mkdir(t, &t->root, "old", 0755, NULL));
	return f;
}

static void begin(uint32_t proc)
{
	nt_begin(t, NFS_PROGRAM, NFS_V3, proc);
}

static void c_setattr(const struct fixture *f)
{
	begin(NFSPROC3_SETATTR);
	xdr_put_SETATTR3args(&t->w, &(struct SETATTR3args){nt_wire(&f->file), plain, {0}});
}

static void c_write(const struct fixture *f)
{
	begin(NFSPROC3_WRITE);
	xdr_put_WRITE3args(&t->w, &(struct WRITE3args){nt_wire(&f->file), 0, 3, FILE_SYNC,
						       nt_text("abc")});
}

static void c_create(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_CREATE);
	xdr_put_CREATE3args(&t->w, &(struct CREATE3args){where(&t->root, "c"),
							 {.mode = GUARDED,
							  .u.obj_attributes = plain}});
}

static void c_mkdir(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_MKDIR);
	xdr_put_MKDIR3args(&t->w, &(struct MKDIR3args){where(&t->root, "m"), plain});
}

static void c_symlink(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_SYMLINK);
	xdr_put_SYMLINK3args(&t->w, &(struct SYMLINK3args){where(&t->root, "s"),
							   {plain, nt_text("target")}});
}

static void c_mknod(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_MKNOD);
	xdr_put_MKNOD3args(&t->w, &(struct MKNOD3args){where(&t->root, "p"),
						       {.type = NF3FIFO, .u.pipe_attributes = plain}});
}

static void c_remove(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_REMOVE);
	xdr_put_REMOVE3args(&t->w, &(struct REMOVE3args){where(&t->root, "file")});
}

static void c_rmdir(const struct fixture *f)
{
	(void)f;
	begin(NFSPROC3_RMDIR);
	xdr_put_REMOVE3args(&t->w, &(struct REMOVE3args){where(&t->root, "old")});
}

static void c_rename(const struct fixture *f)
{
	begin(NFSPROC3_RENAME);
	xdr_put_RENAME3args(&t->w, &(struct RENAME3args){where(&t->root, "old"),
							 where(&f->dir, "new")});
}

static void c_link(const struct fixture *f)
{
	begin(NFSPROC3_LINK);
	xdr_put_LINK3args(&t->w, &(struct LINK3args){nt_wire(&f->file), where(&f->dir, "l")});
}

static void (*const kinds[])(const struct fixture *) = {
    c_setattr, c_write,  c_create, c_mkdir,  c_symlink,
    c_mknod,   c_remove, c_rmdir,  c_rename, c_link,
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct answer {
	uint8_t bytes[512];
	size_t len;
};

static struct answer last_answer(const struct nt_peer *p)
{
	const struct nt_reply *m = &p->last[(p->count - 1) % NT_QUEUE_MAX];
	struct answer a;

	CHECK(m->len <= sizeof(a.bytes));
	memcpy(a.bytes, m->msg, m->len);
	a.len = m->len;
	return a;
}

static bool same(const struct answer *a, const struct answer *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* covers: S11 */
static void t_every_repeat_gets_its_first_answer(void)
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct fixture f;
		struct answer first, again;

		up();
		f = fixture();
		kinds[k](&f);
		nt_call(t);
		CHECK_EQ(NFS3_OK, rd_u32(&t->r));
		first = last_answer(t->peer);
		nt_repeat(t);
		again = last_answer(t->peer);
		CHECK(same(&first, &again));
		CHECK_EQ(1, nt_counter(t, "repeats"));
		down();
	}
}

/* covers: S11 S8 */
static void t_repeat_after_a_crash(void)
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct fixture f;
		struct answer first, again;

		up();
		f = fixture();
		kinds[k](&f);
		nt_call(t);
		CHECK_EQ(NFS3_OK, rd_u32(&t->r));
		first = last_answer(t->peer);
		nt_restart(t, true);
		nt_repeat(t);
		again = last_answer(t->peer);
		CHECK(same(&first, &again));
		nt_restart(t, false); /* the checkpoint carries it too */
		nt_repeat(t);
		again = last_answer(t->peer);
		CHECK(same(&first, &again));
		down();
	}
}

/* What is on the disk at the very moment when the first reply leaves: a successor that gets just
 * that knows the change and the answer, and carries nothing out twice.
 * covers: FO-57 OV-32 */
static void t_on_disk_before_the_reply(void)
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct fixture f;
		struct answer first, again;
		struct store_info info;
		size_t before;
		uint64_t wait;

		up();
		f = fixture();
		nt_settle(t);
		before = t->peer->count;
		kinds[k](&f);
		CHECK(nt_send(t));
		CHECK(nt_wait(t, t->peer, before + 1));
		nt_dir_moves(t); /* the old owner's own is of no help any more */
		CHECK_EQ(SUCCESS, nt_reply_stat(t, t->peer));
		CHECK_EQ(NFS3_OK, rd_u32(&t->r));
		first = last_answer(t->peer);
		wait = store_last_lsn(t->store);
		nt_restart(t, true);
		store_info(t->store, &info);
		CHECK(info.recovered_records > 0 && store_last_lsn(t->store) > wait);
		nt_repeat(t);
		again = last_answer(t->peer);
		CHECK(same(&first, &again));
		CHECK_EQ(1, nt_counter(t, "repeats"));
		down();
	}
}

/* covers: S11 */
static void t_repeat_from_a_new_connection(void)
{
	struct nt_peer *other = nt_peer_new("192.0.2.1", 999, true);
	struct nt_peer *stranger = nt_peer_new("192.0.2.2", 700, true);
	struct fixture f;
	struct answer first, again;

	up();
	f = fixture();
	c_remove(&f);
	nt_call(t);
	first = last_answer(t->peer);
	t->peer = other; /* same host, new port */
	nt_repeat(t);
	again = last_answer(other);
	CHECK(same(&first, &again));
	t->peer = stranger; /* another host's call is its own */
	nt_repeat(t);
	CHECK_EQ(NFS3ERR_NOENT, rd_u32(&t->r));
	t->peer = t->first_peer;
	t->xid--; /* the same xid with other arguments is another call */
	begin(NFSPROC3_REMOVE);
	xdr_put_REMOVE3args(&t->w, &(struct REMOVE3args){where(&t->root, "none")});
	nt_call(t);
	CHECK_EQ(NFS3ERR_NOENT, rd_u32(&t->r));
	down();
	nt_peer_free(other);
	nt_peer_free(stranger);
}

/* covers: S11 */
static void t_repeat_in_progress_goes_to_the_newest_connection(void)
{
	struct nt_peer *other = nt_peer_new("192.0.2.1", 999, true);
	struct fixture f;
	size_t before;

	up();
	f = fixture();
	before = t->peer->count;
	c_mkdir(&f);
	CHECK(nt_send(t));
	CHECK_EQ(before, t->peer->count); /* waits for the log */
	CHECK(rpc_receive(t->srv, &other->peer, t->msg, t->msg_len));
	CHECK(nt_wait(t, other, 1));
	nt_settle(t);
	CHECK_EQ(1, other->count);
	CHECK_EQ(before, t->peer->count);
	CHECK_EQ(1, nt_counter(t, "repeats_pending"));
	CHECK(trace_mark_count("nfs.repeat_pending") > 0);
	CHECK_EQ(0, other->refs);
	CHECK_EQ(SUCCESS, nt_reply_stat(t, other));
	CHECK_EQ(NFS3_OK, rd_u32(&t->r));
	down();
	nt_peer_free(other);
}

/* covers: S11 */
static void t_failures_are_remembered(void)
{
	struct fixture f;

	up();
	f = fixture();
	(void)f;
	begin(NFSPROC3_REMOVE);
	xdr_put_REMOVE3args(&t->w, &(struct REMOVE3args){where(&t->root, "later")});
	nt_call(t);
	CHECK_EQ(NFS3ERR_NOENT, rd_u32(&t->r));
	{
		uint8_t *msg = mem_alloc(t->msg_len);
		size_t len = t->msg_len;
		uint32_t xid = t->xid;

		memcpy(msg, t->msg, len);
		CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "later", GUARDED, &plain, 0, NULL));
		memcpy(t->msg, msg, len);
		t->msg_len = len;
		t->xid = xid;
		free(msg);
	}
	nt_repeat(t); /* late: must not take away what was made since */
	CHECK_EQ(NFS3ERR_NOENT, rd_u32(&t->r));
	t->xid += 10;
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "later", NULL));
	down();
}

static void t_idempotent_calls_run_again(void)
{
	struct fattr3 a;
	struct nt_fh fh;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &fh));
	begin(NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{fh.b, fh.n}});
	nt_call(t);
	nt_repeat(t);
	CHECK_EQ(NFS3_OK, rd_u32(&t->r));
	xdr_get_fattr3(&t->r, &a);
	CHECK_EQ(0, a.size);
	CHECK_EQ(0, nt_counter(t, "repeats"));
	down();
}

/* Two mounts of one client may use an xid for the same block at the same time: what differs in the
 * middle of its data is another call.  covers: S11 */
static void t_same_xid_other_data(void)
{
	static const uint32_t differ[] = {0, 300, 4096, 40000, 65535};
	static uint8_t data[65536], back[65536];
	struct nt_fh fh;
	uint32_t got;
	bool eof;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, sizeof(data), UNSTABLE, NULL));
	for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++) {
		data[differ[i]]++;
		t->xid--;
		CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, sizeof(data), UNSTABLE, NULL));
	}
	CHECK_EQ(0, nt_counter(t, "repeats"));
	CHECK_EQ(NFS3_OK, nt_read(t, &fh, 0, sizeof(back), back, &got, &eof));
	CHECK(got == sizeof(back) && memcmp(back, data, sizeof(back)) == 0);
	down();
}

/* Looking at a call ahead of time sums short arguments only; the key that counts has every byte of
 * either, wherever the limit is.  covers: S11 */
static void t_long_calls_have_whole_keys(void)
{
	static uint8_t data[32768];
	struct nt_fh fh;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &fh));
	for (uint32_t size = 8192; size <= sizeof(data); size += 8192) {
		uint64_t ahead = trace_mark_count("nfs.ahead"),
			 left = trace_mark_count("nfs.ahead_long"),
			 repeats = nt_counter(t, "repeats");

		CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, size, UNSTABLE, NULL));
		CHECK_EQ(size < 16384, trace_mark_count("nfs.ahead") == ahead + 1);
		CHECK_EQ(size >= 16384, trace_mark_count("nfs.ahead_long") == left + 1);
		t->xid--;
		CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, size, UNSTABLE, NULL));
		CHECK_EQ(repeats + 1, nt_counter(t, "repeats"));
		for (uint32_t at = 0; at < size; at += at % 2 ? 210 : 211) {
			data[at]++;
			t->xid--;
			CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, size, UNSTABLE, NULL));
		}
		data[size - 1]++;
		t->xid--;
		CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, data, size, UNSTABLE, NULL));
		CHECK_EQ(repeats + 1, nt_counter(t, "repeats"));
	}
	down();
}

/* A COMMIT under way is joined by its repeat. */
static void t_commit_repeated_in_progress(void)
{
	struct nt_peer *other = nt_peer_new("192.0.2.1", 999, true);
	struct nt_fh fh;
	size_t before;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &fh));
	CHECK_EQ(NFS3_OK, nt_write(t, &fh, 0, "abc", 3, UNSTABLE, NULL));
	before = t->peer->count;
	begin(NFSPROC3_COMMIT);
	xdr_put_COMMIT3args(&t->w, &(struct COMMIT3args){nt_wire(&fh), 0, 0});
	CHECK(nt_send(t));
	CHECK_EQ(before, t->peer->count);
	CHECK(rpc_receive(t->srv, &other->peer, t->msg, t->msg_len));
	CHECK(nt_wait(t, other, 1));
	nt_settle(t);
	CHECK_EQ(before, t->peer->count);
	CHECK_EQ(1, other->count);
	down();
	nt_peer_free(other);
}

/* covers: S8 */
static void t_replies_wait_for_the_log(void)
{
	struct nt_peer *reader = nt_peer_new("192.0.2.3", 700, true), *writer;
	struct fixture f;
	size_t before;
	struct nt_fh fh;

	up();
	f = fixture();
	fh = f.file;
	nt_settle(t);
	writer = t->peer;
	before = writer->count;
	c_setattr(&f);
	CHECK(nt_send(t));
	CHECK_EQ(before, writer->count);
	t->peer = reader;
	/* What shows the change waits with it, whoever asks. */
	begin(NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{fh.b, fh.n}});
	CHECK(nt_send(t));
	CHECK_EQ(0, reader->count);
	/* An error or a listing waits for whatever was last. */
	begin(NFSPROC3_LOOKUP);
	xdr_put_LOOKUP3args(&t->w, &(struct LOOKUP3args){where(&t->root, "none")});
	CHECK(nt_send(t));
	CHECK_EQ(0, reader->count);
	/* Another inode that did not change is shown at once. */
	begin(NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{f.dir.b, f.dir.n}});
	CHECK(nt_send(t));
	CHECK_EQ(1, reader->count);
	CHECK(nt_wait(t, reader, 3));
	nt_settle(t);
	CHECK_EQ(before + 1, writer->count);
	CHECK_EQ(3, reader->count);
	CHECK_EQ(0, reader->refs);
	t->peer = writer;
	down();
	nt_peer_free(reader);
}

static void c_getattr(const struct nt_fh *fh)
{
	begin(NFSPROC3_GETATTR);
	xdr_put_nfs_fh3(&t->w, &(struct nfs_fh3){{fh->b, fh->n}});
}

static void c_lookup(const struct nt_fh *dir, const char *name)
{
	begin(NFSPROC3_LOOKUP);
	xdr_put_LOOKUP3args(&t->w, &(struct LOOKUP3args){where(dir, name)});
}

static void c_mode(const struct nt_fh *fh, uint32_t mode)
{
	begin(NFSPROC3_SETATTR);
	xdr_put_SETATTR3args(&t->w, &(struct SETATTR3args){nt_wire(fh), nt_mode(mode), {0}});
}

static void c_unstable(const struct nt_fh *fh)
{
	begin(NFSPROC3_WRITE);
	xdr_put_WRITE3args(&t->w, &(struct WRITE3args){nt_wire(fh), 0, 3, UNSTABLE, nt_text("abc")});
}

/* Sends what was put together and says whether the reply came at once. */
static bool at_once(void)
{
	size_t before = t->peer->count;

	CHECK(nt_send(t));
	return t->peer->count > before;
}

/* What an unstable write did may be seen before its record is durable, what else changed may not; nor
 * by the reply to the write.   covers: S8 */
static void t_unstable_writes_are_seen_at_once(void)
{
	struct fixture f;

	up();
	f = fixture();
	CHECK_EQ(NFS3_OK, nt_write(t, &f.file, 0, "x", 1, FILE_SYNC, NULL));
	nt_settle(t);
	c_unstable(&f.file);
	CHECK(at_once());
	CHECK(store_last_lsn(t->store) > store_durable_lsn(t->store));
	c_getattr(&f.file);
	CHECK(at_once());
	c_lookup(&t->root, "file");
	CHECK(at_once());
	c_mode(&f.file, 0600);
	CHECK(!at_once());
	c_getattr(&f.file);
	CHECK(!at_once());
	c_unstable(&f.file);
	CHECK(!at_once());
	c_getattr(&f.file); /* the write does not hide the change before it */
	CHECK(!at_once());
	nt_settle(t);
	c_getattr(&f.file);
	CHECK(at_once());
	down();
}

/* LOOKUP in a directory that others work in: without its attributes, but at once.   covers: S8 */
static void t_lookup_beside_changes(void)
{
	struct LOOKUP3res r = {0};
	struct fixture f;
	struct nt_fh made;

	up();
	f = fixture();
	CHECK_EQ(NFS3_OK, nt_create(t, &f.dir, "here", GUARDED, &plain, 0, &made));
	CHECK_EQ(NFS3_OK, nt_create(t, &f.dir, "goes", GUARDED, &plain, 0, &made));
	nt_settle(t);
	c_lookup(&f.dir, "here");
	nt_call(t);
	xdr_get_LOOKUP3res(&t->r, &r);
	CHECK(r.status == NFS3_OK && r.u.resok.dir_attributes.attributes_follow);
	c_rename(&f); /* old -> dir/new */
	CHECK(!at_once());
	c_lookup(&f.dir, "here");
	nt_call(t);
	CHECK(store_last_lsn(t->store) > store_durable_lsn(t->store));
	xdr_get_LOOKUP3res(&t->r, &r);
	CHECK_EQ(NFS3_OK, r.status);
	CHECK(r.u.resok.obj_attributes.attributes_follow);
	CHECK(!r.u.resok.dir_attributes.attributes_follow);
	c_lookup(&f.dir, "new"); /* what was given the name waits, */
	CHECK(!at_once());
	c_lookup(&f.dir, "none"); /* absence, */
	CHECK(!at_once());
	c_lookup(&f.dir, ".."); /* where the directory lies, */
	CHECK(!at_once());
	nt_settle(t);
	c_mode(&f.dir, 0711); /* and who may look there */
	CHECK(!at_once());
	c_lookup(&f.dir, "here");
	CHECK(!at_once());
	nt_settle(t);
	down();
}

/* A stable write under way makes a READ of the same file wait and then run. */
static void t_read_behind_a_write(void)
{
	struct fixture f;
	struct READ3res r;
	size_t before;

	up();
	f = fixture();
	nt_settle(t);
	before = t->peer->count;
	c_write(&f);
	CHECK(nt_send(t));
	begin(NFSPROC3_READ);
	xdr_put_READ3args(&t->w, &(struct READ3args){nt_wire(&f.file), 0, 10});
	CHECK(nt_send(t));
	CHECK_EQ(before, t->peer->count);
	CHECK(nt_wait(t, t->peer, before + 2));
	CHECK_EQ(SUCCESS, nt_reply_stat(t, t->peer));
	xdr_get_READ3res(&t->r, &r);
	CHECK_EQ(NFS3_OK, r.status);
	CHECK_EQ(3, r.u.resok.count);
	CHECK_EQ(1, nt_counter(t, "rerun"));
	down();
}

/* Many calls in flight at once, more than the log's half holds. */
static void t_flood(void)
{
	enum { CALLS = 400, SIZE = 60000 };
	uint8_t *data = mem_zalloc(1, SIZE);
	struct nt_fh fh;
	size_t before;

	up();
	CHECK_EQ(NFS3_OK, nt_create(t, &t->root, "f", GUARDED, &plain, 0, &fh));
	before = t->peer->count;
	for (unsigned i = 0; i < CALLS; i++) {
		begin(NFSPROC3_WRITE);
		xdr_put_WRITE3args(&t->w, &(struct WRITE3args){nt_wire(&fh), (uint64_t)i * SIZE, SIZE,
							       FILE_SYNC, {data, SIZE}});
		CHECK(nt_send(t));
	}
	CHECK(nt_wait(t, t->peer, before + CALLS));
	nt_settle(t);
	CHECK_EQ(before + CALLS, t->peer->count);
	CHECK_EQ(0, rpc_pending(t->srv));
	for (unsigned i = 0; i < CALLS; i++) {
		const struct nt_reply *m = &t->peer->last[(before + i) % NT_QUEUE_MAX];
		struct rd r;

		rd_init(&r, m->msg + 24, m->len - 24);
		CHECK_EQ(NFS3_OK, rd_u32(&r));
	}
	free(data);
	down();
}

int main(void)
{
	CASE(t_every_repeat_gets_its_first_answer);
	CASE(t_repeat_after_a_crash);
	CASE(t_on_disk_before_the_reply);
	CASE(t_repeat_from_a_new_connection);
	CASE(t_repeat_in_progress_goes_to_the_newest_connection);
	CASE(t_failures_are_remembered);
	CASE(t_idempotent_calls_run_again);
	CASE(t_same_xid_other_data);
	CASE(t_long_calls_have_whole_keys);
	CASE(t_commit_repeated_in_progress);
	CASE(t_replies_wait_for_the_log);
	CASE(t_unstable_writes_are_seen_at_once);
	CASE(t_lookup_beside_changes);
	CASE(t_read_behind_a_write);
	CASE(t_flood);
	return check_end();
}
