/* store.c - the life of an open store: open, rounds, close; numbers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define FD_MAX 4096U

/* What a file system says when it, or the device below it, is at fault. */
static bool is_failing(int err)
{
	return err == EIO || err == EROFS || err == EUCLEAN || err == ESHUTDOWN || err == EBADMSG ||
	       err == ENXIO || err == ENODEV;
}

void store_fatal(const struct store *s, const char *what, const char *where, int err)
{
	char text[160];

	log_err("store %s: %s: %s: %s; the process ends, nothing is retried", s->path, where, what,
		strerror(err));
	if (s->on_failing && is_failing(err)) {
		snprintf(text, sizeof(text), "%s: %s: %s", where, what, strerror(err));
		s->on_failing(s->arg, text);
	}
	fflush(NULL);
	_exit(STORE_EXIT_FATAL);
}

int store_io_error(struct store *s, const char *what, int err)
{
	char text[160];

	if (!is_failing(err) || s->damaged)
		return -err;
	HF_MARK("store.failing");
	s->damaged = true;
	snprintf(text, sizeof(text), "%s: %s", what, strerror(err));
	log_err("store %s: the file system below fails: %s; no longer served", s->path, text);
	if (s->on_failing)
		s->on_failing(s->arg, text);
	else if (s->on_damage)
		s->on_damage(s->arg, text);
	return -EIO;
}

bool store_is_damaged(const struct store *s)
{
	return s->damaged;
}

void store_damage(struct store *s, const char *reason)
{
	if (s->damaged)
		return;
	s->damaged = true;
	log_err("store %s: damaged: %s; no longer served", s->path, reason);
	if (s->on_damage)
		s->on_damage(s->arg, reason);
}

/* Time during which the store was being served, over all its opens (S11). */
uint64_t store_service_ns(const struct store *s)
{
	if (s->opened_ns == 0)
		return s->replaying ? s->replay_service_ns : s->service_base_ns;
	return s->service_base_ns + (loop_now_ns(s->loop) - s->opened_ns);
}

/* A damaged store cannot be brought to a clean end. */
static void close_damaged(struct store *s)
{
	void (*done)(void *arg, int err) = s->close_done;

	s->close_done = NULL;
	if (done)
		done(s->close_arg, -EUCLEAN);
}

/* The end of each loop round. */
static void on_round(struct loop_hook *h)
{
	struct store *s = LIST_OWNER(h, struct store, hook);

	hf_assert(!s->op.active);
	if (s->damaged) {
		close_damaged(s);
		return;
	}
	commit_progress(s);
	object_cut_progress(s);
	conn_progress(s);
	defer_progress(s);
	checkpoint_progress(s);
	wal_submit(s);
	cache_trim(s);
	fd_trim(s);
}

/* ---- open ------------------------------------------------------------------------------------- */

static size_t fd_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return 256;
	return rl.rlim_cur / 4 < FD_MAX ? (size_t)rl.rlim_cur / 4 + 1 : FD_MAX;
}

static struct store *store_new(const struct store_open_args *a)
{
	struct store *s = mem_zalloc(1, sizeof(*s));

	s->path = mem_strdup(a->dir);
	s->conf = a->conf;
	s->loop = a->loop;
	s->arg = a->arg;
	s->dir_fd = s->label_fd = s->objects_fd = s->log.fd[0] = s->log.fd[1] = -1;
	list_init(&s->log.queue);
	list_init(&s->log.pool);
	list_init(&s->conns);
	list_init(&s->commits);
	list_init(&s->colds);
	list_init(&s->cuts);
	list_init(&s->hook.link);
	s->hook.call = on_round;
	s->fd_max = fd_limit();
	if (getrandom(&s->seed, sizeof(s->seed), 0) != sizeof(s->seed))
		s->seed = loop_clock_ns();
	s->active = gen_new(s->seed);
	cache_init(s);
	dup_init(s);
	return s;
}

static int open_files(struct store *s, bool read_only, char *err, size_t err_size)
{
	size_t n = strlen(s->path) + 8;
	char *path;
	int code;

	s->dir_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return say(err, err_size, -errno, "%s: cannot open the directory: %s", s->path,
			   strerror(errno));
	code = label_read(&s->label, s->dir_fd, s->path, &s->label_fd, err, err_size);
	if (code == 0)
		code = label_lock(s->label_fd, s->path, err, err_size);
	if (code)
		return code;
	s->log.half_bytes = s->label.half_bytes;
	s->objects_fd = openat(s->dir_fd, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->objects_fd < 0)
		return say(err, err_size, -errno, "%s/objects: cannot open: %s", s->path,
			   strerror(errno));
	code = wal_open(s, read_only ? O_RDONLY : O_RDWR | O_DSYNC, err, err_size);
	if (code)
		return code;
	path = mem_alloc(n);
	snprintf(path, n, "%s/index", s->path);
	code = index_open(&s->index, path, s->conf.index_map_bytes, false, read_only);
	free(path);
	if (code)
		return say(err, err_size, code == -ENOTSUP || code == -ENOENT ? -EUCLEAN : code,
			   "%s/index: cannot open: %s; restore from a copy", s->path, strerror(-code));
	return 0;
}

static void emit_verifier(struct store *s)
{
	static const uint8_t key[2] = {TABLE_STATE, 'v'};
	uint64_t verifier;
	uint8_t val[8];
	struct wr w;

	if (getrandom(&verifier, sizeof(verifier), 0) != sizeof(verifier))
		verifier = s->seed;
#ifdef HF_MUTANT_KEEP_VERIFIER
	verifier = s->verifier;
#endif
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, verifier);
	emit(s, &(struct change){.type = CHANGE_PUT, .key = key, .key_len = sizeof(key), .val = val,
				 .val_len = sizeof(val)}, false);
}

/* The epoch is durable before anything else is written (S3). */
static int epoch_begin(struct store *s, uint64_t epoch, const struct recovered *from, char *err,
		       size_t err_size)
{
	int code = 0;

	if (epoch <= from->epoch && from->epoch >= EPOCH_OF_CLOCK)
		return say(err, err_size, -EINVAL,
			   "%s: epoch %llu is not greater than %llu, which comes from the clock: it was "
			   "served by holdfast-vs --standalone. holdfast release gives its tree back, "
			   "holdfast adopt makes a new store of that", s->path,
			   (unsigned long long)epoch, (unsigned long long)from->epoch);
	if (epoch <= from->epoch)
		return say(err, err_size, -EINVAL,
			   "%s: epoch %llu is not greater than %llu, which the log has; take ownership "
			   "anew", s->path, (unsigned long long)epoch, (unsigned long long)from->epoch);
	wal_start(s, from->half, from->off, from->chain_crc);
	if (s->log.off + HALF_RESERVE / 2 > s->log.half_bytes) {
		while (s->frozen && s->defer)
			defer_progress(s);
		if (s->frozen)
			code = checkpoint_now(s);
		if (code)
			return say(err, err_size, code, "%s: the index cannot be written", s->path);
		HF_MARK("store.open_half_full");
		checkpoint_switch(s, s->log.half);
		s->frozen->chain_crc = from->chain_crc;
		s->frozen->chain_known = true;
		s->log.half ^= 1U;
		s->log.off = 0;
	}
	s->epoch = epoch;
	op_start(s, NULL);
	s->op.type = REC_EPOCH;
	if (!s->was_clean)
		emit_verifier(s);
	store_op_end(s, NULL, 0);
	code = wal_write_now(s);
	if (code)
		return say(err, err_size, code, "%s/log: cannot be written: %s", s->path,
			   strerror(-code));
	return 0;
}

static int store_start(struct store *s, const struct store_open_args *a, char *err, size_t err_size)
{
	uint64_t began = loop_clock_ns();
	struct recovered from;
	int code = recover(s, false, &from, err, err_size);

	if (code == 0) { /* one that looks clean may have been killed in its last write */
#ifndef HF_MUTANT_ROOT_UNSETTLED
		code = index_settle(s->index);
#endif
		if (code)
			say(err, err_size, code, "%s/index: cannot be written: %s", s->path,
			    strerror(-code));
	}
	if (code == 0)
		code = checkpoint_init(s);
	if (code)
		return code;
	index_allocate(s);
	code = epoch_begin(s, a->epoch, &from, err, err_size);
	if (code == 0 && s->damaged)
		code = say(err, err_size, -EUCLEAN, "%s: damaged; run: holdfast check --repair %s",
			   s->path, s->path);
	if (code)
		return code;
	s->recovery_ns = loop_clock_ns() - began;
	s->opened_ns = loop_now_ns(s->loop);
	s->first_ino = s->next_ino;
	s->on_durable = a->on_durable;
	s->may_write = a->may_write;
	s->on_damage = a->on_damage;
	s->on_failing = a->on_failing;
	/* A write that the kernel still has in hand when we die keeps the lock (F5). */
	code = loop_hold_file(s->loop, s->label_fd);
	if (code)
		log_warn("store %s: the lock cannot be tied to the ring: %s", s->path, strerror(-code));
	loop_hook_add(s->loop, &s->hook);
	checkpoint_progress(s);
	return 0;
}

int store_open(struct store **sp, const struct store_open_args *a, char *err, size_t err_size)
{
	struct store *s = store_new(a);
	int code = open_files(s, false, err, err_size);

	if (code == 0)
		code = store_start(s, a, err, err_size);
	if (code) {
		store_free(s);
		return code;
	}
	log_info("store %s: open epoch=%llu lsn=%llu clean=%d records=%llu us=%llu", s->path,
		 (unsigned long long)s->epoch, (unsigned long long)s->last_lsn, s->was_clean,
		 (unsigned long long)s->recovered_records,
		 (unsigned long long)(s->recovery_ns / 1000));
	*sp = s;
	return 0;
}

/* The index may have grown beyond what a configuration that is not at hand allows. */
static uint64_t map_for(const char *dir, uint64_t least)
{
	size_t n = strlen(dir) + 24;
	char *path = mem_alloc(n);
	struct stat st;

	snprintf(path, n, "%s/index/data.mdb", dir);
	if (stat(path, &st) == 0 && (uint64_t)st.st_size * 2 > least)
		least = (uint64_t)st.st_size * 2;
	free(path);
	return least;
}

/* As an open, but nothing is written and nothing runs: for the check. */
int store_open_dry(struct store **sp, const char *dir, struct recovered *from, char *err,
		   size_t err_size)
{
	struct store_open_args a = {.dir = dir};
	struct store *s;
	int code;

	store_conf_default(&a.conf);
	a.conf.index_map_bytes = map_for(dir, a.conf.index_map_bytes);
	s = store_new(&a);
	code = open_files(s, true, err, err_size);
	if (code == 0)
		code = recover(s, true, from, err, err_size);
	if (code)
		store_free(s);
	else
		*sp = s;
	return code;
}

/* Both generations into index and objects; the log is empty then. */
static int log_empty(struct store *s, const struct recovered *from)
{
	int code = 0;

	defer_all(s);
	if (s->frozen)
		code = checkpoint_now(s);
	if (code || (s->was_clean && s->active->records == 0))
		return code;
	checkpoint_switch(s, from->half);
	s->frozen->chain_crc = from->chain_crc;
	s->frozen->chain_known = true;
	return checkpoint_now(s);
}

int store_open_repair(struct store **sp, const char *dir,
		      void (*on_log)(void *arg, bool rot, const char *text), void *arg, char *err,
		      size_t err_size)
{
	struct store_open_args a = {.dir = dir};
	struct recovered from;
	struct store *s;
	int code;

	store_conf_default(&a.conf);
	a.conf.index_map_bytes = map_for(dir, a.conf.index_map_bytes);
	s = store_new(&a);
	s->on_log = on_log;
	s->on_log_arg = arg;
	code = open_files(s, false, err, err_size);
	if (code == 0)
		code = recover(s, false, &from, err, err_size);
	if (code == 0)
		code = log_empty(s, &from);
	if (code)
		store_free(s);
	else
		*sp = s;
	return code;
}

/* ---- end -------------------------------------------------------------------------------------- */

void store_close(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	hf_assert(!s->op.active && !s->close_done && !s->cp.closed);
	s->close_done = done;
	s->close_arg = arg;
	loop_again(s->loop);
}

static void commits_abandon(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->commits) {
		struct commit *c = LIST_OWNER(it, struct commit, link);

		list_del(&c->link);
		c->store = NULL;
		if (!c->op.busy)
			free(c);
	}
}

void store_free(struct store *s)
{
	if (!s)
		return;
	loop_hook_del(&s->hook);
	commits_abandon(s); /* before anything that takes completions */
	colds_abandon(s);
	if (s->cp.wake.call)
		checkpoint_fini(s);
	else
		free(s->cp.gone);
	defer_fini(s);
	dup_fini(s);
	cache_fini(s);
	conn_fini(s);
	wal_close(s);
	gen_free(s->active);
	gen_free(s->frozen);
	gen_free(s->spare);
	index_close(s->index);
	if (s->label_fd >= 0) {
		flock(s->label_fd, LOCK_UN); /* the ring may still hold the description */
		close(s->label_fd);
	}
	if (s->objects_fd >= 0)
		close(s->objects_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->path);
	free(s);
}

/* ---- numbers ---------------------------------------------------------------------------------- */

uint64_t store_last_lsn(const struct store *s)
{
	return s->last_lsn;
}

uint64_t store_durable_lsn(const struct store *s)
{
	return s->durable_lsn;
}

void store_info(const struct store *s, struct store_info *out)
{
	*out = (struct store_info){.write_verifier = s->verifier, .epoch = s->epoch,
				   .last_lsn = s->last_lsn, .durable_lsn = s->durable_lsn,
				   .checkpoint_lsn = s->checkpoint_lsn,
				   .recovered_records = s->recovered_records,
				   .recovery_ns = s->recovery_ns, .was_clean = s->was_clean};
	memcpy(out->uuid, s->label.uuid, 16);
	memcpy(out->handle_key, s->label.handle_key, 16);
}

int store_space(struct store *s, struct store_space *out)
{
	struct statvfs v;

	if (fstatvfs(s->objects_fd, &v))
		return -errno;
	*out = (struct store_space){.bytes_total = v.f_blocks * v.f_frsize,
				    .bytes_free = v.f_bfree * v.f_frsize,
				    .bytes_avail = v.f_bavail * v.f_frsize,
				    .files_total = s->files + v.f_favail,
				    .files_free = v.f_favail};
	return 0;
}

void store_stats(const struct store *s, struct store_stats *out)
{
	*out = s->stats;
	out->overlay_bytes = s->active->arena.bytes + (s->frozen ? s->frozen->arena.bytes : 0);
	out->cached_inodes = s->inode_count;
	out->cached_names = s->dent_count;
	out->dup_entries = s->dup.count;
	out->dup_clients = s->dup.clients;
	out->half_used_bytes = wal_half_used(s);
	out->half_size_bytes = s->log.half_bytes;
}
