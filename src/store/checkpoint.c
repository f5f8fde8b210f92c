/* checkpoint.c - from log to index and objects, without stopping service.
 *
 *	IDLE -> FROZEN    the active generation is frozen, the other log half takes over, at once
 *	FROZEN -> RUNNING when the frozen half's last batch is durable: the helper thread starts
 *	RUNNING -> IDLE   the helper is done: the reader renews, the generation is dropped, and only
 *	                  then is its half free
 *
 * The helper makes objects durable, then commits the index with its lsn, then unlinks what the
 * commit dropped (S1, S7).  It reads the frozen generation, which nobody changes, and shares
 * nothing else with the loop.  Any error of its steps ends the process: the log still has
 * everything, and a half is never freed after a failed step (S6).
 *
 * A thread for each checkpoint, not one for life: so it has the sandbox of the process as it is
 * then, and nothing of it is left between checkpoints. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define SYNC_ALL_ABOVE 256U  /* objects: from here on one syncfs is cheaper */
#define HELPER_NICE    10
#define INDEX_STEP     2048U /* pages */
#define INDEX_SLACK    64U
#define RUN_LONG       64U
#define XDROP_PAGES    8U /* that the attributes of one inode lie on */

/* ---- the index file's room (S6) ------------------------------------------------------------------ */

/* Pages that writing a generation may take, at worst: each row lands on a page of its own, but
 * never more pages than there are plus what the new bytes fill. */
static uint64_t gen_pages(const struct gen *g, uint64_t pages_used)
{
	uint64_t fill, touch;

	if (!g)
		return 0;
	fill = g->arena.bytes / 2048 + g->touched.count / 64;
	fill += g->chunk_count + (g->chunk_count + g->gone_count) / 8;
	touch = g->rows + g->rows / 8 + g->xdrop_count * XDROP_PAGES;
	if (touch > pages_used + pages_used / 8)
		touch = pages_used + pages_used / 8;
	return fill + touch + INDEX_SLACK;
}

static uint64_t pages_needed(const struct store *s)
{
	uint64_t frozen = gen_pages(s->frozen, s->index_pages);

	/* By then the frozen one's pages are there to be touched, too. */
	return frozen + gen_pages(s->active, s->index_pages + frozen);
}

/* True when the index file has blocks for so many pages, or for all that there may be.  An fallocate
 * that fails may have eaten what was left, so it is not tried in vain. */
static bool index_take(struct store *s, const struct index_size *z, uint64_t pages)
{
	uint64_t want = (pages > z->pages_max ? z->pages_max : pages) * z->page_bytes;
	int fd = index_fd(s->index);
	struct statvfs v;
	struct stat st;

	if (want <= s->index_allocated)
		return true;
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 < want) {
		uint64_t more = want - (uint64_t)st.st_blocks * 512;

		defer_space(s, more);
		if (fstatvfs(fd, &v) == 0 && v.f_bavail * v.f_frsize < more)
			return false;
	}
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want) && errno != EOPNOTSUPP)
		return false;
	s->index_allocated = want;
	return true;
}

void index_allocate(struct store *s)
{
	struct index_size z;
	uint64_t need = pages_needed(s);

	index_size(s->index, &z);
	if (z.page_bytes == 0)
		return;
	s->index_pages = z.pages_used;
	/* A large index in large steps: each may wait for the kernel file system's journal. */
	if (!index_take(s, &z, z.pages_used + need + need / 2 + INDEX_STEP + z.pages_used / 64))
		index_take(s, &z, z.pages_used + need);
	s->index_room = s->index_allocated / z.page_bytes;
	s->index_room = s->index_room > z.pages_used ? s->index_room - z.pages_used : 0;
	s->index_room += z.pages_free;
}

bool index_has_room(struct store *s, bool growing)
{
	uint64_t need = pages_needed(s) + INDEX_SLACK + (growing ? INDEX_STEP / 4 : 0);

	if (need <= s->index_room)
		return true;
	/* Asking again costs system calls: not for each of a stream of refused ones. */
	if (loop_now_ns(s->loop) < s->index_asked_ns + NSEC / 10)
		return false;
	s->index_asked_ns = loop_now_ns(s->loop);
	index_allocate(s);
	if (need > s->index_room) {
		HF_MARK("store.index_full");
		return false;
	}
	s->index_asked_ns = 0; /* it grew: the next step may be due at any time */
	return true;
}

/* ---- the helper -------------------------------------------------------------------------------- */

static void fail(struct store *s, const char *what, const char *where, int err)
{
	if (err == -EUCLEAN)
		s->cp.damage = what;
	else
		store_fatal(s, what, where, -err);
}

/* Each folder once. */
static int sync_parent(struct store *s, struct map64 *done, uint64_t ino)
{
	uint64_t *at = map64_put(done, (ino >> 6 & 255) + 1);

	if (*at)
		return 0;
	*at = 1;
	return object_sync_parent(s, ino);
}

__attribute__((unused)) static int sync_objects(struct store *s)
{
	struct map64 parents = {0};
	int err = 0;

	if (s->cp.close || s->frozen->touched.count > SYNC_ALL_ABOVE)
		return syncfs(s->objects_fd) ? -errno : 0;
	/* Removed names must stay removed before the index forgets that they were to go. */
	for (size_t i = 0; i < s->cp.gone_count && !err; i++)
		err = sync_parent(s, &parents, s->cp.gone[i]);
	for (size_t i = 0; s->frozen->touched.count && i <= s->frozen->touched.mask && !err; i++) {
		const struct map64_slot *t = &s->frozen->touched.slot[i];

		if (!t->key || (t->val & TOUCH_GONE))
			continue;
		err = object_sync(s, t->key);
		if (err == -ENOENT && s->on_log)
			err = 0; /* the repair's check says what is lost */
		if (err == 0 && (t->val & TOUCH_NEW))
			err = sync_parent(s, &parents, t->key);
	}
	map64_fini(&parents);
	return err;
}

static int put_row(struct store *s, const struct row *r)
{
	int err = 0;

	if (!r->dead)
		err = index_put(s->index, r->key, r->key_len, r->val, r->val_len);
	else if (!r->fresh)
		err = index_del(s->index, r->key, r->key_len);
	return err == -ENOENT ? 0 : err;
}

/* How many of the next rows all come before the next row that the index has. */
static int run_length(struct store *s, struct row *const *all, size_t count, size_t *run)
{
	const uint8_t *next;
	size_t next_len, n = 0;
	int err = index_after(s->index, all[0]->key, all[0]->key_len, &next, &next_len);

	*run = 0;
	if (err)
		return err == -ENOENT ? 0 : err;
	while (n < count && !all[n]->dead &&
	       memcmp(all[n]->key, next, next_len < all[n]->key_len ? next_len : all[n]->key_len) < 0)
		n++;
	*run = n;
	return 0;
}

static int put_run(struct store *s, struct row *const *all, size_t count)
{
	const struct row *last = all[count - 1];
	struct index_row end = {.key = last->key, .key_len = last->key_len, .val = last->val,
				.val_len = last->val_len};
	int err = index_run(s->index, all[0]->key, all[0]->key_len, &end);

	for (size_t i = 0; i + 1 < count && !err; i++)
		err = index_run_put(s->index, all[i]->key, all[i]->key_len, all[i]->val,
				    all[i]->val_len);
	return err ? err : index_run_end(s->index);
}

/* In key order.  Long runs of new rows, such as inodes and the entries of a directory, fill their
 * pages (index_run()); to look for one costs as much as a row, so not at each. */
static int put_rows(struct store *s)
{
	struct row **all = gen_sorted(s->frozen);
	size_t rows = s->frozen->rows, i = 0, run, look_at = 0;
	int err = 0;

	while (i < rows && !err) {
		run = 0;
		if (i >= look_at) {
			err = run_length(s, all + i, rows - i, &run);
			look_at = i + RUN_LONG;
		}
		if (run >= RUN_LONG && !err) {
			err = put_run(s, all + i, run);
			i += run;
			look_at = i;
		} else if (!err) {
			err = put_row(s, all[i++]);
		}
	}
	free(all);
	return err;
}

static int put_replies(struct store *s)
{
	uint8_t key[9];
	int err = rolls_put(s);

	for (size_t i = 0; i < s->frozen->gone_count && !err; i++) {
		uint64_t row = s->frozen->gone[i];

		err = index_del(s->index, key,
				table_key(key, (enum table)(row >> 56), row & ~(0xffULL << 56)));
		if (err == -ENOENT)
			err = 0;
	}
	return err;
}

static int put_unlinks(struct store *s)
{
	uint8_t key[9];
	int err = 0;

	for (size_t i = 0; i < s->cp.gone_count && !err; i++) {
		err = index_del(s->index, key, table_key(key, TABLE_UNLINK, s->cp.gone[i]));
		if (err == -ENOENT)
			err = 0;
	}
	for (size_t i = s->frozen->unlink_rows; i < s->frozen->unlink_count && !err; i++)
		err = index_put(s->index, key,
				table_key(key, TABLE_UNLINK, s->frozen->unlink[i]), "", 0);
	return err;
}

/* After the rows: one of them may be such an attribute. */
static int put_xdrops(struct store *s)
{
	uint8_t key[9];
	int err = 0;

	for (size_t i = 0; i < s->frozen->xdrop_count && !err; i++)
		err = index_del_prefix(s->index, key,
				       table_key(key, TABLE_XATTR, s->frozen->xdrop[i]));
	return err;
}

static int put_meta(struct store *s)
{
	static const uint8_t key[2] = {TABLE_META, 0};
	uint8_t val[META_SIZE];

	meta_encode(&s->cp.meta, val);
	return index_put(s->index, key, sizeof(key), val, sizeof(val));
}

static int write_index(struct store *s)
{
	int err = index_write_begin(s->index);

	if (err == 0)
		err = put_rows(s);
	if (err == 0)
		err = put_xdrops(s);
	if (err == 0)
		err = put_replies(s);
	if (err == 0)
		err = put_unlinks(s);
	if (err == 0)
		err = put_meta(s);
	return err ? err : index_write_commit(s->index);
}

/* Those that are gone come first; the others keep their rows. */
static int unlink_objects(struct store *s)
{
	uint64_t *list = s->frozen->unlink;
	size_t done = 0;
	int err = 0;

	for (size_t i = 0; i < s->frozen->unlink_count; i++) {
		uint64_t ino = list[i];
		int e = object_unlink(s, ino);

		if (e) {
			err = e;
			continue;
		}
		list[i] = list[done];
		list[done++] = ino;
	}
	s->cp.unlinked = done;
	return err;
}

static void checkpoint_write(struct store *s)
{
	int err;

#if !defined(HF_MUTANT_NO_OBJECT_SYNC) && !defined(HF_MUTANT_INDEX_BEFORE_OBJECTS)
	err = sync_objects(s);
	if (err == -ENOENT) {
		s->cp.damage = "an object file is missing";
		return;
	}
	if (err)
		store_fatal(s, "an object cannot be made durable", "objects", -err);
#endif
	err = write_index(s);
#ifdef HF_MUTANT_INDEX_BEFORE_OBJECTS
	sync_objects(s);
#endif
	if (err) {
		fail(s, index_error(s->index), "index", err);
		return;
	}
	s->cp.unlinked = 0;
	err = s->cp.close ? 0 : unlink_objects(s);
	if (err) /* they stay on the index's list and the next open tries again */
		log_limited(LOG_L_WARN, "store %s: removed objects cannot be unlinked: %s", s->path,
			    strerror(-err));
}

/* Below the loop's thread: where the two share a processor, calls come first.  The checkpoint gets its
 * time nevertheless, for what fills the log faster than that is slowed (wal.c).  At the end clients wait
 * for the checkpoint itself, and what need not be done now, unlinking, is left to the next open. */
static void *helper(void *arg)
{
	struct store *s = arg;

	if (!s->cp.close)
		setpriority(PRIO_PROCESS, (id_t)gettid(), HELPER_NICE);
	checkpoint_write(s);
	__atomic_store_n(&s->cp.done, true, __ATOMIC_RELEASE);
	loop_wake(&s->cp.wake);
	return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------------ */

void checkpoint_switch(struct store *s, unsigned half)
{
	hf_assert(!s->frozen && s->cp.state == CHECKPOINT_IDLE);
	dup_freeze(s);
	s->frozen = s->active;
	s->frozen->half = half;
	s->active = s->spare ? s->spare : gen_new(s->seed);
	s->spare = NULL;
	s->cp.state = CHECKPOINT_FROZEN;
	s->cp.frozen_ns = loop_clock_ns();
	s->cp.meta = (struct meta){.checkpoint_lsn = s->last_lsn, .next_half = half ^ 1U,
				   .epoch = s->epoch, .next_ino = s->next_ino, .files = s->files,
				   .service_ns = store_service_ns(s), .time_ns = s->time_ns,
				   .clean = s->cp.close};
}

void checkpoint_freeze(struct store *s)
{
	unsigned half = s->log.half;

	wal_seal(s);
	checkpoint_switch(s, half);
	s->log.half = half ^ 1U;
	s->log.off = 0;
	s->cp.wanted = false;
	loop_timer_clear(s->loop, &s->cp.timer);
	checkpoint_progress(s);
}

static void checkpoint_begin(struct store *s)
{
	struct checkpoint *cp = &s->cp;

	if (!s->frozen->chain_known)
		s->frozen->chain_crc = s->log.chain_crc;
	cp->meta.chain_crc = s->frozen->chain_crc;
	cp->started_ns = loop_clock_ns();
	cp->done = false;
	cp->damage = NULL;
	cp->state = CHECKPOINT_RUNNING;
}

static void thread_start(struct store *s)
{
	sigset_t all, old;
	int err;

	checkpoint_begin(s);
	sigfillset(&all); /* signals are for the loop's thread, SIGBUS for whoever caused it */
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&s->cp.thread, NULL, helper, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		store_fatal(s, "cannot start the checkpoint's thread", "thread", err);
}

/* The next one has rows of TABLE_UNLINK to drop. */
static void remember_gone(struct store *s)
{
	struct checkpoint *cp = &s->cp;

	free(cp->gone);
	cp->gone_count = cp->unlinked;
	cp->gone = mem_alloc(cp->gone_count * sizeof(*cp->gone));
	if (cp->gone_count)
		memcpy(cp->gone, s->frozen->unlink, cp->gone_count * sizeof(*cp->gone));
}

static void checkpoint_end(struct store *s)
{
	struct checkpoint *cp = &s->cp;
	uint64_t took = loop_clock_ns() - cp->started_ns;
	int err;

	if (cp->damage) {
		store_damage(s, cp->damage);
		return;
	}
	err = index_renew(s->index);
	if (err) {
		store_damage(s, index_error(s->index));
		return;
	}
	s->checkpoint_lsn = cp->meta.checkpoint_lsn;
	dup_written(s);
	remember_gone(s);
	log_debug("store %s: checkpoint from_ns=%llu to_ns=%llu rows=%zu touched=%zu", s->path,
		  (unsigned long long)cp->frozen_ns, (unsigned long long)(cp->started_ns + took),
		  s->frozen->rows, s->frozen->touched.count);
	gen_reset(s->frozen);
	s->spare = s->frozen;
	s->frozen = NULL;
	cp->state = CHECKPOINT_IDLE;
	s->stats.checkpoints++;
	s->stats.checkpoint_ns_last = took;
	if (took > s->stats.checkpoint_ns_max)
		s->stats.checkpoint_ns_max = took;
	index_allocate(s);
	HF_MARK("store.checkpoint");
}

/* Whoever waits for room waits for the lsn after the last: this record has it. */
static void wake_stalled(struct store *s)
{
	uint64_t wait;

	if (!s->log.stalled || s->cp.closed)
		return;
	s->log.stalled = false;
	op_note(s, &wait);
}

static void on_helper_done(struct loop_wake *w)
{
	struct store *s = LIST_OWNER(w, struct store, cp.wake);

	if (s->cp.state != CHECKPOINT_RUNNING || !__atomic_load_n(&s->cp.done, __ATOMIC_ACQUIRE))
		return;
	pthread_join(s->cp.thread, NULL);
	checkpoint_end(s);
	if (s->damaged)
		return;
	wake_stalled(s);
	checkpoint_progress(s);
}

static bool checkpoint_due(struct store *s)
{
	if (s->active->records == 0)
		return false;
	/* As late as it may be: the index then takes more changes with one write of each page.  What
	 * comes meanwhile has the whole of the other half. */
	return s->cp.wanted || wal_half_used(s) > s->log.half_bytes / 8 * 7;
}

/* The last checkpoint of an orderly end: when everything else is over, records or not. */
static void close_progress(struct store *s)
{
	void (*done)(void *arg, int err) = s->close_done;

	if (s->cp.closed) {
		s->close_done = NULL;
		/* Nothing of us runs or writes any more: the next may open it. */
		loop_hook_del(&s->hook);
		loop_timer_clear(s->loop, &s->cp.timer);
		flock(s->label_fd, LOCK_UN);
		done(s->close_arg, 0);
	} else if (list_empty(&s->commits) && list_empty(&s->colds)) {
		s->cp.close = s->cp.closed = true;
		checkpoint_freeze(s);
	}
}

void checkpoint_progress(struct store *s)
{
	struct checkpoint *cp = &s->cp;

	if (s->damaged)
		return;
	if (cp->state == CHECKPOINT_FROZEN && !s->defer && s->durable_lsn >= cp->meta.checkpoint_lsn)
		thread_start(s);
	if (cp->state != CHECKPOINT_IDLE || s->op.active)
		return;
	if (s->close_done)
		close_progress(s);
	else if (checkpoint_due(s))
		checkpoint_freeze(s);
	else if (s->active->records > 0 && cp->timer.deadline_ns == 0)
		loop_timer_set(s->loop, &cp->timer,
			       loop_now_ns(s->loop) + s->conf.checkpoint_interval_ns);
}

static void on_interval(struct loop_timer *t)
{
	struct store *s = LIST_OWNER(t, struct store, cp.timer);

	s->cp.wanted = true;
}

void store_checkpoint(struct store *s)
{
	if (s->cp.state == CHECKPOINT_IDLE && s->active->records > 0)
		s->cp.wanted = true;
	loop_again(s->loop);
}

int checkpoint_now(struct store *s)
{
	checkpoint_begin(s);
	checkpoint_write(s);
	checkpoint_end(s);
	return s->damaged ? -EUCLEAN : 0;
}

int checkpoint_init(struct store *s)
{
	s->cp.timer.fire = on_interval;
	return loop_wake_init(s->loop, &s->cp.wake, on_helper_done);
}

void checkpoint_fini(struct store *s)
{
	if (s->cp.state == CHECKPOINT_RUNNING && s->cp.thread)
		pthread_join(s->cp.thread, NULL);
	loop_timer_clear(s->loop, &s->cp.timer);
	loop_wake_fini(&s->cp.wake);
	free(s->cp.gone);
}
