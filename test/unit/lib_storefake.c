/* lib_storefake.c - see lib_storefake.h. */
#include "lib_storefake.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_NS 100000000ULL

static void must(bool ok, const char *what, const char *detail)
{
	if (ok)
		return;
	fprintf(stderr, "lib_storefake: %s: %s\n", what, detail);
	abort();
}

static void on_durable(void *arg, uint64_t lsn)
{
	((struct fs *)arg)->durable = lsn;
}

static void on_damage(void *arg, const char *reason)
{
	struct fs *f = arg;

	snprintf(f->damage, sizeof(f->damage), "%s", reason);
}

int fs_open(struct fs *f)
{
	struct store_open_args a = {.dir = f->dir, .loop = f->loop, .epoch = ++f->epoch,
				    .conf = f->conf, .on_durable = on_durable,
				    .on_damage = on_damage, .arg = f};

	f->closed = false;
	f->damage[0] = 0;
	return store_open(&f->s, &a, f->err, sizeof(f->err));
}

static void loop_renew(struct fs *f)
{
	if (f->loop)
		loop_free(f->loop);
	must(loop_new(&f->loop, 64) == 0, "loop_new", "io_uring");
}

void fs_new(struct fs *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/hf-store-XXXXXX");
	must(mkdtemp(f->dir) != NULL, "mkdtemp", f->dir);
	store_conf_default(&f->conf);
	f->conf.log_half_bytes = 4 << 20;
	f->conf.index_map_bytes = 64 << 20;
	f->conf.checkpoint_interval_ns = 3600000000000ULL;
	must(store_create_at(f->dir, &f->conf, NULL, f->err, sizeof(f->err)) == 0, "create", f->err);
	loop_renew(f);
	must(fs_open(f) == 0, "open", f->err);
}

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

/* Completions of the dropped store are still to come: they free its buffers. */
static void loop_settle(struct fs *f)
{
	while (loop_busy(f->loop) > 0)
		loop_once(f->loop, WAIT_NS);
}

void fs_drop(struct fs *f)
{
	store_free(f->s);
	loop_settle(f);
	loop_free(f->loop);
	nftw(f->dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	memset(f, 0, sizeof(*f));
}

void fs_crash(struct fs *f)
{
	store_free(f->s);
	f->s = NULL;
	loop_settle(f);
	loop_renew(f);
	must(fs_open(f) == 0, "open after crash", f->err);
}

static void on_closed(void *arg, int err)
{
	must(err == 0, "close", "failed");
	((struct fs *)arg)->closed = true;
}

void fs_close(struct fs *f)
{
	store_close(f->s, on_closed, f);
	while (!f->closed)
		loop_once(f->loop, WAIT_NS);
	store_free(f->s);
	f->s = NULL;
	loop_settle(f);
	loop_renew(f);
}

void fs_restart(struct fs *f)
{
	fs_close(f);
	must(fs_open(f) == 0, "open after close", f->err);
}

void fs_wait(struct fs *f, uint64_t lsn)
{
	for (int i = 0; store_durable_lsn(f->s) < lsn; i++) {
		must(i < 3000, "wait", "an lsn does not become durable");
		if (i == 0)
			loop_again(f->loop);
		loop_once(f->loop, WAIT_NS);
	}
}

void fs_settle(struct fs *f)
{
	loop_again(f->loop);
	loop_once(f->loop, 0);
	fs_wait(f, store_last_lsn(f->s));
}

void fs_checkpoint(struct fs *f)
{
	struct store_stats before, now;

	store_stats(f->s, &before);
	fs_settle(f);
	store_checkpoint(f->s);
	do {
		loop_once(f->loop, WAIT_NS);
		store_stats(f->s, &now);
	} while (now.checkpoints == before.checkpoints);
}

struct store_caller fs_caller(uint32_t xid)
{
	struct store_caller c = {.xid = xid, .prog = 100003, .vers = 3, .proc = 8, .sum = xid * 7ULL};

	c.client[15] = 1;
	return c;
}

static void begin(struct fs *f)
{
	struct store_caller c = fs_caller(++f->xid);
	uint64_t wait;

	while (store_op_begin(f->s, &c, &wait) == STORE_WAIT)
		fs_wait(f, wait);
}

static int end(struct fs *f, int err)
{
	if (err)
		store_op_cancel(f->s);
	else
		fs_wait(f, store_op_end(f->s, "ok", 2));
	return err;
}

int fs_make(struct fs *f, uint64_t dir, const char *name, enum store_type type, uint64_t *ino)
{
	struct store_new n = {.type = type, .attr = {.set_mode = true, .set_uid = true,
						     .set_gid = true, .mode = 0640, .uid = 10,
						     .gid = 20}};
	uint64_t dummy;

	if (type == STORE_LNK) {
		n.target = "some/where";
		n.target_len = 10;
	}
	begin(f);
	return end(f, store_create(f->s, dir, name, strlen(name), &n, ino ? ino : &dummy));
}

int fs_remove(struct fs *f, uint64_t dir, const char *name)
{
	begin(f);
	return end(f, store_remove(f->s, dir, name, strlen(name)));
}

int fs_rmdir(struct fs *f, uint64_t dir, const char *name)
{
	begin(f);
	return end(f, store_rmdir(f->s, dir, name, strlen(name)));
}

int fs_rename(struct fs *f, uint64_t d1, const char *from, uint64_t d2, const char *to)
{
	begin(f);
	return end(f, store_rename(f->s, d1, from, strlen(from), d2, to, strlen(to)));
}

int fs_link(struct fs *f, uint64_t ino, uint64_t dir, const char *name)
{
	begin(f);
	return end(f, store_link(f->s, ino, dir, name, strlen(name)));
}

int fs_write(struct fs *f, uint64_t ino, uint64_t off, const void *data, size_t len, bool stable)
{
	uint64_t wait;
	int err;

	for (;;) {
		begin(f);
		err = store_write(f->s, ino, off, data, len, stable, &wait);
		if (err != STORE_WAIT)
			return end(f, err);
		store_op_cancel(f->s);
		fs_wait(f, wait);
	}
}

int fs_truncate(struct fs *f, uint64_t ino, uint64_t size)
{
	struct store_attr a = {.set_size = true, .size = size};
	uint64_t wait;
	int err;

	for (;;) {
		begin(f);
		err = store_setattr(f->s, ino, &a, &wait);
		if (err != STORE_WAIT)
			return end(f, err);
		store_op_cancel(f->s);
		fs_wait(f, wait);
	}
}

struct committed {
	bool done;
	int err;
	uint64_t lsn;
};

static void on_commit(void *arg, int err, uint64_t lsn)
{
	struct committed *c = arg;

	c->done = true;
	c->err = err;
	c->lsn = lsn;
}

int fs_commit(struct fs *f, uint64_t ino)
{
	struct committed c = {0};
	uint64_t wait;
	int err;

	while ((err = store_commit(f->s, ino, on_commit, &c, &wait)) == STORE_WAIT)
		fs_wait(f, wait);
	if (err)
		return err;
	while (!c.done)
		loop_once(f->loop, WAIT_NS);
	fs_wait(f, c.lsn);
	return c.err;
}

long fs_read(struct fs *f, uint64_t ino, uint64_t off, void *buf, size_t len)
{
	uint64_t wait;
	size_t got;
	bool eof;
	int err;

	while ((err = store_read(f->s, ino, off, len, buf, &got, &eof, &wait)) == STORE_WAIT)
		fs_wait(f, wait);
	return err ? err : (long)got;
}

uint64_t fs_look(struct fs *f, uint64_t dir, const char *name)
{
	uint64_t ino;

	return store_lookup(f->s, dir, name, strlen(name), &ino) ? 0 : ino;
}

struct listing {
	char *out;
	size_t size, at;
	unsigned left;
	uint64_t last;
};

static bool list_one(void *arg, uint64_t cookie, uint64_t ino, const char *name, size_t len)
{
	struct listing *l = arg;

	(void)ino;
	if (l->left == 0)
		return false;
	l->left--;
	l->at += (size_t)snprintf(l->out + l->at, l->size - l->at, "%.*s ", (int)len, name);
	l->last = cookie;
	return true;
}

uint64_t fs_list(struct fs *f, uint64_t dir, uint64_t after, unsigned max, char *out, size_t size)
{
	struct listing l = {.out = out, .size = size, .left = max, .last = after};
	bool eof;
	int err;

	out[0] = 0;
	err = store_readdir(f->s, dir, after, list_one, &l, &eof);
	must(err == 0, "readdir", strerror(-err));
	return l.last;
}

static void on_finding(void *arg, const char *line)
{
	struct fs *f = arg;

	snprintf(f->err, sizeof(f->err), "%s", line);
}

int fs_check(struct fs *f)
{
	f->err[0] = 0;
	return store_check(f->dir, on_finding, f);
}
