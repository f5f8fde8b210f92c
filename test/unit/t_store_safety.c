/* t_store_safety.c - the S rules of SAFETY.md, one by one, on a real store. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "lib_storefake.h"
#include "store/index.h"
#include "base/trace.h"
#include "store/record.h"

#define ROOT STORE_ROOT_INO

static struct fs f;

/* Size of an inode's object, -1: there is none. */
static long object_size(uint64_t ino)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/objects/%02x/%02x/%016llx", f.dir, (unsigned)(ino >> 10 & 15),
		 (unsigned)(ino >> 6 & 15), (unsigned long long)ino);
	return stat(path, &st) ? -1 : (long)st.st_size;
}

static int half_open(unsigned half)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/log/%u", f.dir, half);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Where the batch with this first lsn lies in half 0, or -1. */
static long batch_at(uint64_t lsn, struct batch_head *h)
{
	uint8_t buf[BATCH_HEAD];
	int fd = half_open(0);
	long found = -1;

	for (long at = 0; found < 0 && at < 1 << 20; at += BATCH_ALIGN)
		if (pread(fd, buf, sizeof(buf), at) == sizeof(buf) &&
		    batch_head_decode(h, buf, sizeof(buf)) == 0 && h->first_lsn == lsn)
			found = at;
	close(fd);
	return found;
}

static void damage(long at)
{
	int fd = half_open(0);

	if (pwrite(fd, "\xff\xff\xff\xff", 4, at + 100) != 4)
		abort();
	close(fd);
}

static void drop_store(void)
{
	store_free(f.s);
	f.s = NULL;
	while (loop_busy(f.loop))
		loop_once(f.loop, 1000000);
}

/* covers: S1 - nothing of an object changes before the record is durable, and it goes only after
 * the index has forgotten it. */
static void t_s1_write_ahead(void)
{
	struct store_caller c = fs_caller(77);
	struct store_attr a = {.set_size = true, .size = 0};
	uint64_t ino, wait, lsn;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "0123456789", 10, true);
	CHECK_EQ(10, object_size(ino));
	CHECK_EQ(0, store_op_begin(f.s, &c, &wait));
	CHECK_EQ(0, store_setattr(f.s, ino, &a, &wait));
	lsn = store_op_end(f.s, "x", 1);
	CHECK_EQ(10, object_size(ino));
	fs_wait(&f, lsn);
	CHECK_EQ(0, object_size(ino));
	CHECK_EQ(0, fs_write(&f, ino, 0, "0123", 4, true));
	CHECK_EQ(0, fs_remove(&f, ROOT, "a"));
	CHECK_EQ(4, object_size(ino));
	fs_checkpoint(&f);
	CHECK_EQ(-1, object_size(ino));
	fs_drop(&f);
}

/* covers: S2 - a committed unstable write stays over an older stable one. */
static void t_s2_synced_mark(void)
{
	uint64_t ino;
	char buf[8];

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "AAAA", 4, true);
	fs_write(&f, ino, 1, "BB", 2, false);
	CHECK_EQ(0, fs_commit(&f, ino));
	fs_write(&f, ino, 3, "C", 1, true);
	fs_crash(&f);
	CHECK_EQ(4, fs_read(&f, ino, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, "ABBC", 4) == 0);
	fs_drop(&f);
}

/* covers: S2 - what an unfinished write left behind the end is zeros when the file grows. */
static void t_s2_leftover(void)
{
	uint64_t ino;
	char buf[32], path[128];
	int fd;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "AAAA", 4, true);
	fs_close(&f);
	snprintf(path, sizeof(path), "%s/objects/00/00/%016llx", f.dir, (unsigned long long)ino);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK_EQ(8, pwrite(fd, "leftover", 8, 10));
	close(fd);
	CHECK_EQ(0, fs_open(&f));
	fs_write(&f, ino, 20, "Z", 1, true);
	CHECK_EQ(21, fs_read(&f, ino, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, "AAAA\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0Z", 21) == 0);
	fs_drop(&f);
}

/* covers: S3 - a valid batch beyond a torn one does not become live after a second crash. */
static void t_s3_chain(void)
{
	uint8_t *buf = aligned_alloc(BATCH_ALIGN, BATCH_MAX);
	struct batch_head torn, beyond;
	uint64_t lsn;
	long at, after;
	int fd;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, NULL);
	lsn = store_last_lsn(f.s);
	fs_make(&f, ROOT, "torn", STORE_REG, NULL);
	fs_make(&f, ROOT, "beyond", STORE_REG, NULL);
	drop_store();
	at = batch_at(lsn + 1, &torn);
	after = batch_at(lsn + 2, &beyond);
	CHECK(at > 0 && after == at + (long)BATCH_ALIGN);
	/* As if both had been in flight: the second states no more than `a` as durable. */
	fd = half_open(0);
	CHECK_EQ(BATCH_ALIGN, pread(fd, buf, BATCH_ALIGN, after));
	beyond.durable_lsn = lsn;
	batch_seal(&beyond, buf);
	CHECK_EQ(BATCH_ALIGN, pwrite(fd, buf, BATCH_ALIGN, after));
	close(fd);
	damage(at);
	CHECK_EQ(0, fs_open(&f));
	CHECK(fs_look(&f, ROOT, "a") && !fs_look(&f, ROOT, "torn") && !fs_look(&f, ROOT, "beyond"));
	fs_crash(&f);
	CHECK(fs_look(&f, ROOT, "a") && !fs_look(&f, ROOT, "torn") && !fs_look(&f, ROOT, "beyond"));
	CHECK_EQ(lsn + 2, store_last_lsn(f.s)); /* two epoch records */
	free(buf);
	fs_drop(&f);
}

/* covers: S3 - an epoch that is not newer is refused. */
static void t_s3_epoch(void)
{
	fs_new(&f);
	fs_close(&f);
	f.epoch = 0;
	CHECK_EQ(-EINVAL, fs_open(&f));
	CHECK(strstr(f.err, "epoch") != NULL);
	/* One that had the clock's says what helps. */
	f.epoch = EPOCH_OF_CLOCK;
	CHECK_EQ(0, fs_open(&f));
	fs_close(&f);
	f.epoch = 7;
	CHECK_EQ(-EINVAL, fs_open(&f));
	CHECK(strstr(f.err, "adopt") != NULL);
	fs_drop(&f);
}

/* covers: S5 - damage in the middle of what was durable is not taken for a torn end. */
static void t_s5_rot(void)
{
	struct batch_head h;
	uint64_t lsn;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, NULL);
	lsn = store_last_lsn(f.s);
	fs_make(&f, ROOT, "b", STORE_REG, NULL);
	fs_make(&f, ROOT, "c", STORE_REG, NULL);
	drop_store();
	damage(batch_at(lsn, &h));
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	CHECK(strstr(f.err, "damaged") != NULL);
	CHECK_EQ(1, fs_check(&f));
	CHECK(strstr(f.err, "damaged") != NULL);
	fs_drop(&f);
}

static void first_block(void *block, bool write)
{
	int fd = half_open(0);

	if ((write ? pwrite(fd, block, BATCH_ALIGN, 0) : pread(fd, block, BATCH_ALIGN, 0)) !=
	    BATCH_ALIGN)
		abort();
	close(fd);
}

/* covers: S5 - after an orderly end only one block says that nobody came since: the first that an open
 * writes.  When that one rots, or its write was lost by the medium, the records behind it are missed. */
static void t_s5_after_close(void)
{
	static uint8_t old[BATCH_ALIGN], zero[BATCH_ALIGN];
	uint64_t seen = trace_mark_count("store.log_untouched"), lsn;
	struct batch_head h;
	int fd;

	fs_new(&f); /* its log: half 0, then 1, then 0 again, over the first records */
	fs_make(&f, ROOT, "a", STORE_REG, NULL);
	fs_restart(&f);
	CHECK_EQ(seen + 2, trace_mark_count("store.log_untouched"));
	fs_close(&f);
	first_block(old, false);
	CHECK_EQ(0, batch_head_decode(&h, old, sizeof(old)));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(seen + 3, trace_mark_count("store.log_untouched"));
	lsn = store_last_lsn(f.s);
	fs_make(&f, ROOT, "b", STORE_REG, NULL);
	fs_make(&f, ROOT, "c", STORE_REG, NULL);
	drop_store();
	CHECK_EQ(0, batch_at(lsn, &h));
	damage(0);
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	CHECK(strstr(f.err, "damaged") != NULL);
	first_block(old, true);
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	first_block(zero, true);
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	fd = half_open(0);
	CHECK_EQ(4, pwrite(fd, "HFB1", 4, 0)); /* rot of all but a word */
	close(fd);
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	CHECK_EQ(seen + 3, trace_mark_count("store.log_untouched"));
	fs_drop(&f);
}

/* covers: S5 - a medium that gives zeros for a whole stretch, beginning with the first block that an open
 * wrote: in a half that was never used before nothing else tells it from an orderly end. */
static void t_s5_zeros(void)
{
	static uint8_t data[64 << 10], zero[512 << 10];
	struct batch_head h;
	uint64_t ino, lsn = 0;
	int fd;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	memset(data, 'x', sizeof(data));
	for (unsigned i = 0; i < 12; i++) {
		CHECK_EQ(0, fs_write(&f, ino, i * sizeof(data), data, sizeof(data), true));
		lsn = store_last_lsn(f.s);
	}
	drop_store();
	CHECK(batch_at(lsn, &h) > (long)sizeof(zero));
	fd = half_open(0);
	CHECK_EQ(sizeof(zero), pwrite(fd, zero, sizeof(zero), 0));
	close(fd);
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	CHECK(strstr(f.err, "damaged") != NULL);
	fs_drop(&f);
}

/* covers: K9 - what an orderly end left to be unlinked goes with the next checkpoint, and its row after. */
static void t_unlinks_after_close(void)
{
	uint64_t ino;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "0123", 4, true);
	fs_checkpoint(&f);
	fs_remove(&f, ROOT, "a");
	fs_close(&f);
	CHECK_EQ(4, object_size(ino)); /* the successor's clients do not wait for that */
	CHECK_EQ(0, fs_check(&f));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(4, object_size(ino));
	fs_crash(&f);
	fs_checkpoint(&f);
	CHECK_EQ(-1, object_size(ino));
	fs_make(&f, ROOT, "b", STORE_REG, NULL);
	fs_checkpoint(&f);
	fs_close(&f);
	CHECK_EQ(0, fs_check(&f));
	fs_drop(&f);
}

/* covers: S6 - a full index is an answer before anything was decided; removing still works. */
static void t_s6_space(void)
{
	char name[256];
	int err = 0;
	unsigned n;

	fs_new(&f);
	f.conf.index_map_bytes = 16 << 20;
	fs_crash(&f);
	memset(name, 'x', sizeof(name));
	for (n = 0; n < 60000 && err == 0; n++) {
		struct store_caller c = fs_caller(5000 + n);
		struct store_new what = {.type = STORE_LNK, .target = name, .target_len = 250};
		uint64_t wait, ino;

		while (store_op_begin(f.s, &c, &wait))
			fs_wait(&f, wait);
		snprintf(name, sizeof(name), "%05u", n);
		name[5] = 'x';
		err = store_create(f.s, ROOT, name, 250, &what, &ino);
		if (err)
			store_op_cancel(f.s);
		else
			store_op_end(f.s, "ok", 2);
		if (n % 256 == 0)
			loop_once(f.loop, 0);
	}
	CHECK_EQ(-ENOSPC, err);
	CHECK(n > 1000);
	fs_settle(&f);
	snprintf(name, sizeof(name), "00000");
	name[5] = 'x';
	name[250] = 0;
	CHECK_EQ(0, fs_remove(&f, ROOT, name));
	fs_close(&f);
	CHECK_EQ(0, fs_check(&f));
	fs_drop(&f);
}

/* covers: S8 - what is shown knows the lsn that a reply must wait for. */
static void t_s8_waiting(void)
{
	struct store_caller c = fs_caller(9);
	struct store_new n = {.type = STORE_REG};
	uint64_t ino, wait, lsn;

	fs_new(&f);
	CHECK_EQ(0, store_op_begin(f.s, &c, &wait));
	CHECK_EQ(0, store_create(f.s, ROOT, "a", 1, &n, &ino));
	lsn = store_op_end(f.s, "x", 1);
	CHECK(lsn > store_durable_lsn(f.s));
	CHECK_EQ(lsn, store_inode(f.s, ino)->lsn);
	CHECK_EQ(lsn, store_inode(f.s, ROOT)->lsn);
	fs_wait(&f, lsn);
	CHECK_EQ(f.durable, lsn);
	fs_drop(&f);
}

/* covers: S9 - the write verifier: new after a crash, kept by a planned restart. */
static void t_s9_verifier(void)
{
	struct store_info a, b;

	fs_new(&f);
	store_info(f.s, &a);
	fs_restart(&f);
	store_info(f.s, &b);
	CHECK(a.write_verifier == b.write_verifier);
	fs_make(&f, ROOT, "a", STORE_REG, NULL);
	fs_crash(&f);
	store_info(f.s, &b);
	CHECK(a.write_verifier != b.write_verifier);
	fs_drop(&f);
}

/* Puts META with a time in the future, as a machine with a wrong clock would have left it. */
static void meta_shift(int64_t by_ns)
{
	static const uint8_t key[2] = {TABLE_META, 0};
	uint8_t val[META_SIZE];
	struct index_row row;
	struct index *x;
	struct meta m;
	char path[96];

	snprintf(path, sizeof(path), "%s/index", f.dir);
	CHECK_EQ(0, index_open(&x, path, f.conf.index_map_bytes, false, false));
	CHECK_EQ(0, index_get(x, key, sizeof(key), &row));
	CHECK_EQ(0, meta_decode(&m, row.val, row.val_len));
	m.time_ns += by_ns;
	meta_encode(&m, val);
	CHECK_EQ(0, index_write_begin(x));
	CHECK_EQ(0, index_put(x, key, sizeof(key), val, sizeof(val)));
	CHECK_EQ(0, index_write_commit(x));
	index_close(x);
}

/* covers: S10 - time never goes back. */
static void t_s10_time(void)
{
	struct timespec now;
	uint64_t a, b;
	int64_t first;

	fs_new(&f);
	fs_close(&f);
	meta_shift(3600LL * 1000000000);
	CHECK_EQ(0, fs_open(&f));
	fs_make(&f, ROOT, "a", STORE_REG, &a);
	first = store_inode(f.s, a)->ctime_ns;
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(first > (now.tv_sec + 3000) * 1000000000LL);
	fs_make(&f, ROOT, "b", STORE_REG, &b);
	CHECK(store_inode(f.s, b)->ctime_ns > first);
	fs_crash(&f);
	fs_make(&f, ROOT, "c", STORE_REG, &b);
	CHECK(store_inode(f.s, b)->ctime_ns > first + 1);
	CHECK(store_inode(f.s, a)->ctime_ns == first);
	fs_drop(&f);
}

static enum store_dup find(uint32_t xid, uint8_t client, char *reply)
{
	struct store_caller c = fs_caller(xid);
	const void *r;
	uint64_t wait;
	size_t len;
	enum store_dup d;

	c.client[0] = client;
	d = store_dup_find(f.s, &c, &r, &len, &wait);
	if (d == STORE_DUP_DONE && reply)
		snprintf(reply, 16, "%.*s", (int)len, (const char *)r);
	return d;
}

static void remember(uint32_t xid, uint8_t client)
{
	struct store_caller c = fs_caller(xid);
	char text[16];
	uint64_t wait;

	c.client[0] = client;
	snprintf(text, sizeof(text), "r%u", xid);
	while (store_op_begin(f.s, &c, &wait))
		fs_wait(&f, wait);
	store_op_end(f.s, text, strlen(text));
}

/* covers: S11 - first answers survive crash, checkpoint and restart. */
static void t_s11_first_answer(void)
{
	char r[16];

	fs_new(&f);
	remember(1, 1);
	fs_settle(&f);
	fs_crash(&f);
	CHECK(find(1, 1, r) == STORE_DUP_DONE && strcmp(r, "r1") == 0);
	CHECK(find(1, 2, r) == STORE_DUP_NEW);
	fs_checkpoint(&f);
	fs_restart(&f);
	CHECK(find(1, 1, r) == STORE_DUP_DONE && strcmp(r, "r1") == 0);
	fs_drop(&f);
}

/* covers: S11 - no client pushes out another's; the last 4,096 of each stay beyond their time. */
static void t_s11_bounds(void)
{
	fs_new(&f);
	f.conf.dup_keep_ns = 0;
	fs_crash(&f);
	remember(1, 1);
	for (uint32_t i = 0; i < 5000; i++) {
		remember(10 + i, 2);
		if (i % 500 == 0)
			loop_once(f.loop, 0);
	}
	fs_settle(&f);
	CHECK(find(1, 1, NULL) == STORE_DUP_DONE);
	CHECK(find(10, 2, NULL) == STORE_DUP_NEW);
	CHECK(find(10 + 4999, 2, NULL) == STORE_DUP_DONE);
	CHECK(find(10 + 4999 - 4095, 2, NULL) == STORE_DUP_DONE);
	fs_checkpoint(&f);
	fs_crash(&f);
	CHECK(find(10 + 4999, 2, NULL) == STORE_DUP_DONE);
	fs_drop(&f);
}

/* covers: S11 - a client that restarted has no history, and does not get it back by a crash. */
static void t_s11_forget(void)
{
	struct store_caller c = fs_caller(50);
	uint64_t wait;

	fs_new(&f);
	remember(1, 1);
	remember(2, 2);
	fs_checkpoint(&f);
	c.client[0] = 1;
	CHECK_EQ(0, store_op_begin(f.s, NULL, &wait));
	store_dup_forget(f.s, c.client);
	fs_wait(&f, store_op_end(f.s, NULL, 0));
	CHECK(find(1, 1, NULL) == STORE_DUP_NEW && find(2, 2, NULL) == STORE_DUP_DONE);
	fs_crash(&f);
	CHECK(find(1, 1, NULL) == STORE_DUP_NEW && find(2, 2, NULL) == STORE_DUP_DONE);
	remember(1, 1);
	fs_checkpoint(&f);
	fs_crash(&f);
	CHECK(find(1, 1, NULL) == STORE_DUP_DONE && find(2, 2, NULL) == STORE_DUP_DONE);
	fs_drop(&f);
}

/* covers: S11 - a client of whom nothing is remembered any more costs nothing, once no checkpoint
 * has its entries in hand. */
static void t_s11_clients_go(void)
{
	struct store_caller c = fs_caller(50);
	struct store_stats st;
	uint64_t wait;

	fs_new(&f);
	for (uint8_t i = 1; i <= 40; i++)
		remember(i, i);
	for (uint8_t i = 2; i <= 40; i++) {
		c.client[0] = i;
		CHECK_EQ(0, store_op_begin(f.s, NULL, &wait));
		store_dup_forget(f.s, c.client);
		fs_wait(&f, store_op_end(f.s, NULL, 0));
	}
	store_stats(f.s, &st);
	CHECK(st.dup_clients >= 40);
	fs_checkpoint(&f); /* still writes the addresses of entries that have gone */
	remember(1, 100);
	fs_checkpoint(&f);
	store_stats(f.s, &st);
	CHECK(st.dup_clients <= 3);
	CHECK(find(1, 1, NULL) == STORE_DUP_DONE && find(2, 2, NULL) == STORE_DUP_NEW);
	fs_drop(&f);
}

/* covers: S11 - the reply of a stored entry is read from the index, whichever roll and chunk it is
 * in, for each client by itself; after any number of them, and after an open of the store. */
static void t_s11_stored(void)
{
	char r[16], want[16];

	fs_new(&f);
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 3000; i++) {
			remember(round * 3000 + i, (uint8_t)(i % 7));
			if (i % 500 == 0)
				loop_once(f.loop, 0);
		}
		fs_checkpoint(&f);
	}
	for (unsigned opened = 0; opened < 2; opened++) {
		for (uint32_t xid = 0; xid < 9000; xid += 37) {
			snprintf(want, sizeof(want), "r%u", xid);
			CHECK(find(xid, (uint8_t)(xid % 3000 % 7), r) == STORE_DUP_DONE);
			CHECK(strcmp(r, want) == 0);
			CHECK(find(xid, 8, NULL) == STORE_DUP_NEW);
		}
		fs_crash(&f);
	}
	fs_drop(&f);
}

static void replies_lose(void)
{
	struct index *x;
	uint8_t key[9];
	char path[96];

	snprintf(path, sizeof(path), "%s/index", f.dir);
	CHECK_EQ(0, index_open(&x, path, f.conf.index_map_bytes, false, false));
	CHECK_EQ(0, index_write_begin(x));
	CHECK_EQ(0, index_del(x, key, table_key(key, TABLE_REPLIES, 1)));
	CHECK_EQ(0, index_write_commit(x));
	index_close(x);
}

/* covers: S11 - a repeat whose reply the disk lost is damage: never carried out again. */
static void t_s11_lost(void)
{
	fs_new(&f);
	remember(1, 1);
	fs_checkpoint(&f);
	fs_close(&f);
	replies_lose();
	CHECK_EQ(0, fs_open(&f));
	CHECK(find(1, 2, NULL) == STORE_DUP_NEW);
	CHECK(find(1, 1, NULL) == STORE_DUP_LOST);
	CHECK(strstr(f.damage, "duplicate") != NULL);
	fs_drop(&f);
}

/* One process after the other dies right after its epoch record: the reserve at the half's end is
 * used up, and opening still works. */
static void t_crash_loop(void)
{
	uint64_t ino;
	int status;
	pid_t pid;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	for (int i = 0; i < 3 * 64; i++) {
		static char data[16384];
		struct store_caller c = fs_caller(1000 + (uint32_t)i);
		uint64_t wait;

		CHECK_EQ(0, store_op_begin(f.s, &c, &wait));
		CHECK_EQ(0, store_write(f.s, ino, 0, data, sizeof(data), true, &wait));
		store_op_end(f.s, "x", 1);
	}
	fs_settle(&f);
	drop_store();
	for (int i = 0; i < 40; i++) {
		f.epoch++;
		pid = fork();
		if (pid == 0) {
			loop_new(&f.loop, 64);
			if (fs_open(&f) == 0)
				_exit(0);
			printf("open %d: %s\n", i, f.err);
			fflush(stdout);
			_exit(1);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	f.epoch++; /* the last child's */
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(ino, fs_look(&f, ROOT, "a"));
	fs_drop(&f);
}

/* A store that is in use, newer, or damaged: one clear line each, and nothing is changed. */
static void t_refusals(void)
{
	struct fs second;
	char path[96];
	uint8_t label[LABEL_SIZE], other;
	int fd;

	fs_new(&f);
	second = f;
	CHECK_EQ(-EBUSY, fs_open(&second));
	CHECK(strstr(second.err, "in use") != NULL);
	CHECK_EQ(-EBUSY, fs_check(&f));
	fs_close(&f);
	snprintf(path, sizeof(path), "%s/LABEL", f.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK_EQ(LABEL_SIZE, read(fd, label, sizeof(label)));
	other = label[20] ^ 1; /* of the uuid, which is any */
	CHECK_EQ(1, pwrite(fd, &other, 1, 20));
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	CHECK(strstr(f.err, "LABEL: damaged") != NULL);
	label[11] = 9;
	put_u32(label + 76, 0x12345678);
	CHECK_EQ(LABEL_SIZE, pwrite(fd, label, sizeof(label), 0));
	CHECK_EQ(-EUCLEAN, fs_open(&f));
	close(fd);
	CHECK_EQ(-ENOTEMPTY, store_create_at(f.dir, &f.conf, NULL, f.err, sizeof(f.err)));
	CHECK_EQ(0, unlink(path)); /* lost, not unfinished: nothing is made over */
	CHECK(!store_is_half_made(f.dir));
	CHECK_EQ(-ENOTEMPTY, store_create_at(f.dir, &f.conf, NULL, f.err, sizeof(f.err)));
	fs_drop(&f);
}

/* Connections of the previous owner. */
static void count(void *arg, const struct store_conn *c)
{
	*(unsigned *)arg += c->remote_port;
}

static void t_connections(void)
{
	struct store_conn c = {.remote_port = 1000};
	unsigned sum = 0;

	fs_new(&f);
	store_conn_add(f.s, &c);
	c.remote_port = 1;
	store_conn_add(f.s, &c);
	c.remote_port = 10;
	store_conn_add(f.s, &c);
	store_conn_del(f.s, &c);
	fs_settle(&f);
	fs_crash(&f);
	store_conn_each(f.s, count, &sum);
	CHECK_EQ(1001, sum);
	store_conn_forget_all(f.s);
	fs_settle(&f);
	fs_restart(&f);
	sum = 0;
	store_conn_each(f.s, count, &sum);
	CHECK_EQ(0, sum);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_s1_write_ahead);
	CASE(t_s2_synced_mark);
	CASE(t_s2_leftover);
	CASE(t_s3_chain);
	CASE(t_s3_epoch);
	CASE(t_s5_rot);
	CASE(t_s5_after_close);
	CASE(t_s5_zeros);
	CASE(t_unlinks_after_close);
	CASE(t_s6_space);
	CASE(t_s8_waiting);
	CASE(t_s9_verifier);
	CASE(t_s10_time);
	CASE(t_s11_first_answer);
	CASE(t_s11_bounds);
	CASE(t_s11_forget);
	CASE(t_s11_clients_go);
	CASE(t_s11_stored);
	CASE(t_s11_lost);
	CASE(t_crash_loop);
	CASE(t_refusals);
	CASE(t_connections);
	return check_end();
}
