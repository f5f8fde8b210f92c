/* wal.c - two halves, batches, group commit.
 *
 * The filling batch takes records; at the end of a loop round it is sealed and written if no other
 * write is in flight, else it goes on filling.  Exactly one write is in flight, so what is durable
 * is always a contiguous prefix, and the other half gets its first batch only after this half's
 * last one is durable (S4).  When a batch is durable the effects of its records on objects are
 * carried out, then the callers hear of it: so whoever waited for an lsn finds the data there.
 *
 * Callers that were answered together ask again together.  A write that went at once would carry the other
 * half of them, the next one these, and so on; so after a completion the next one waits a moment for those
 * who were just answered.
 *
 * A batch's place is given out when it is sealed; wal_room() counts ahead, so a batch always fits.
 * The last HALF_RESERVE bytes of a half are for the first records of coming opens. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define POOL_MAX 4U
#define HOLD_NS	 (50ULL * 1000000)

#define GATHER_MAX_NS	 200000ULL
#define GATHER_MORE_NS	 600000ULL
#define GATHER_FAILS_MAX 6U

static void on_written(struct loop_op *op, int res);
static void on_hold_over(struct loop_timer *t);
static void on_gather_over(struct loop_timer *t);
static void gather_begin(struct store *s, const struct batch *done);

/* ---- buffers ---------------------------------------------------------------------------------- */

static struct batch *batch_get(struct store *s)
{
	struct wal *l = &s->log;
	struct batch *b;

	if (!list_empty(&l->pool)) {
		b = LIST_OWNER(l->pool.next, struct batch, link);
		list_del(&b->link);
		l->pooled--;
	} else {
		b = mem_zalloc(1, sizeof(*b));
		b->buf = mem_aligned(BATCH_ALIGN, BATCH_MAX);
		b->cap = BATCH_MAX;
		b->op.done = on_written;
		list_init(&b->link);
	}
	b->store = s;
	b->len = BATCH_HEAD;
	b->count = 0;
	b->effect_count = 0;
	return b;
}

static void batch_free(struct batch *b)
{
	free(b->effect);
	free(b->buf);
	free(b);
}

static void batch_put(struct store *s, struct batch *b)
{
	if (s->log.pooled == POOL_MAX) {
		batch_free(b);
		return;
	}
	list_add_tail(&s->log.pool, &b->link);
	s->log.pooled++;
}

/* ---- life ------------------------------------------------------------------------------------- */

/* Durability rests on O_DSYNC; a file system without O_DIRECT (older tmpfs) writes through its page
 * cache, which is slower and no less true.  What the descriptor really has is asserted.  Or -errno. */
static int half_open(struct store *s, const char *name, int flags)
{
	int direct = O_DIRECT, fd;
	struct stat st;

	/* Looked at first: to open a pipe would wait for its other end. */
	if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return -EUCLEAN;
#ifdef HF_MUTANT_LOG_NOT_SYNC
	flags &= ~O_DSYNC;
#endif
	fd = openat(s->dir_fd, name, flags | direct | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EINVAL) {
		direct = 0;
		fd = openat(s->dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	if (!direct)
		log_notice("store %s: %s: no direct writes on this file system", s->path, name);
	direct |= flags & O_DSYNC;
	hf_assert((fcntl(fd, F_GETFL) & direct) == direct);
	return fd;
}

int wal_open(struct store *s, int flags, char *err, size_t err_size)
{
	static const char *const name[2] = {"log/0", "log/1"};

	for (unsigned i = 0; i < 2; i++) {
		s->log.fd[i] = half_open(s, name[i], flags);
		if (s->log.fd[i] < 0)
			return say(err, err_size, s->log.fd[i], "%s/%s: cannot open the log: %s", s->path,
				   name[i], strerror(-s->log.fd[i]));
	}
	return 0;
}

void wal_start(struct store *s, unsigned half, uint64_t off, uint32_t chain_crc)
{
	s->log.half = half;
	s->log.off = off;
	s->log.chain_crc = chain_crc;
	s->log.fill = batch_get(s);
	s->log.held.fire = on_hold_over;
	s->log.gather.timer.fire = on_gather_over;
}

void wal_close(struct store *s)
{
	struct wal *l = &s->log;
	struct list *it, *tmp;

	if (l->held.deadline_ns)
		loop_timer_clear(s->loop, &l->held);
	if (l->gather.timer.deadline_ns)
		loop_timer_clear(s->loop, &l->gather.timer);
	/* A write in flight owns its buffer until the kernel is done with it. */
	if (l->in_flight)
		l->in_flight->store = NULL;
	if (l->fill)
		batch_free(l->fill);
	LIST_EACH_SAFE (it, tmp, &l->queue)
		batch_free(LIST_OWNER(it, struct batch, link));
	LIST_EACH_SAFE (it, tmp, &l->pool)
		batch_free(LIST_OWNER(it, struct batch, link));
	for (int i = 0; i < 2; i++)
		if (l->fd[i] >= 0)
			close(l->fd[i]);
}

uint64_t wal_half_used(const struct store *s)
{
	const struct batch *b = s->log.fill;

	return s->log.off + (b && b->count ? batch_padded(b->len) : 0);
}

/* ---- filling ---------------------------------------------------------------------------------- */

bool wal_room(struct store *s, size_t len)
{
	struct wal *l = &s->log;
	uint64_t most = batch_padded(l->fill->len) + batch_padded(BATCH_HEAD + len);

	if (l->off + most + HALF_RESERVE <= l->half_bytes)
		return true;
	if (s->frozen) {
		HF_MARK("store.log_full");
		if (!l->stalled)
			s->stats.stalls++;
		l->stalled = true;
		return false;
	}
	checkpoint_freeze(s);
	return true;
}

void wal_seal(struct store *s)
{
	struct wal *l = &s->log;
	struct batch *b = l->fill, *next;

	if (b->count == 0)
		return;
	b->half = l->half;
	b->off = l->off;
	b->first_lsn = s->last_lsn - b->count + 1;
	l->off += batch_padded(b->len);
	list_add_tail(&l->queue, &b->link);
	next = batch_get(s);
	if (s->op.active) { /* its record was begun behind the others: it moves along */
		size_t part = wr_len(&s->op.w);

		memcpy(next->buf + next->len, s->op.w.start, part);
		wr_init(&s->op.w, next->buf + next->len, next->cap - next->len);
		wr_room(&s->op.w, part);
	}
	l->fill = next;
}

void wal_reserve(struct store *s, size_t len)
{
	struct batch *b = s->log.fill;
	size_t part = s->op.active ? wr_len(&s->op.w) : 0;

	if (b->len + part + len > b->cap)
		wal_seal(s);
	b = s->log.fill;
	hf_assert(b->len + part + len <= b->cap);
}

static void effects_add(struct batch *b, const struct effect *e, unsigned n)
{
	if (b->effect_count + n > b->effect_cap) {
		b->effect_cap = b->effect_cap ? b->effect_cap * 2 : 64;
		b->effect = mem_realloc(b->effect, b->effect_cap * sizeof(*b->effect));
	}
	for (unsigned i = 0; i < n; i++) {
		b->effect[b->effect_count++] = e[i];
		e[i].ip->pins++;
	}
}

void wal_append(struct store *s, size_t len)
{
	struct batch *b = s->log.fill;

	b->len += len;
	b->count++;
	effects_add(b, s->op.effect, s->op.effects);
	s->active->last_lsn = s->last_lsn;
	s->active->records++;
	s->stats.records++;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void batch_finish(struct store *s, struct batch *b)
{
	struct batch_head h = {
	    .epoch = s->epoch,
	    .first_lsn = b->first_lsn,
	    .durable_lsn = s->durable_lsn,
	    .service_ns = store_service_ns(s),
	    .count = b->count,
	    .length = (uint32_t)b->len,
	    .prev_crc = s->log.chain_crc,
	};
	size_t padded = batch_padded(b->len);

	memcpy(h.uuid, s->label.uuid, 16);
	memset(b->buf + b->len, 0, padded - b->len);
	batch_seal(&h, b->buf);
	b->crc = s->log.chain_crc = h.crc;
}

static struct batch *batch_next(struct store *s)
{
	struct wal *l = &s->log;
	struct batch *b;

	if (l->in_flight)
		return NULL;
	if (list_empty(&l->queue))
		wal_seal(s);
	if (list_empty(&l->queue))
		return NULL;
	b = LIST_OWNER(l->queue.next, struct batch, link);
	list_del(&b->link);
	batch_finish(s, b);
	return b;
}

static void batch_durable(struct store *s, struct batch *b)
{
	s->durable_lsn = b->first_lsn + b->count - 1;
	s->stats.batches++;
	s->stats.log_bytes += batch_padded(b->len);
	for (size_t i = 0; i < b->effect_count; i++) {
		object_effect(s, &b->effect[i]);
		b->effect[i].ip->pins--;
	}
}

static void on_written(struct loop_op *op, int res)
{
	struct batch *b = LIST_OWNER(op, struct batch, op);
	struct store *s = b->store;

	if (!s) {
		batch_free(b);
		return;
	}
	if (res < 0 || (size_t)res != batch_padded(b->len))
		store_fatal(s, "log write failed", b->half ? "log/1" : "log/0", res < 0 ? -res : EIO);
	s->log.in_flight = NULL;
	gather_begin(s, b);
	batch_durable(s, b);
	batch_put(s, b);
	checkpoint_progress(s);
	if (s->on_durable && !s->damaged)
		s->on_durable(s->arg, s->durable_lsn);
}

/* ---- gathering ------------------------------------------------------------------------------------ */

/* The next write waits for as many records as were under way when `done` completed, but no longer than
 * that one took, or while each round brings more (then the processor has no time to lose by it).  Where
 * callers do not come back in time, ever fewer completions are waited after. */
static void gather_begin(struct store *s, const struct batch *done)
{
	struct gather *g = &s->log.gather;
	uint64_t now = loop_now_ns(s->loop), took = now - s->log.begun_ns;

	if (g->skip > 0) {
		g->skip--;
		return;
	}
	g->count = done->count + s->log.fill->count;
	g->until_ns = now + (took < GATHER_MAX_NS ? took : GATHER_MAX_NS);
	g->seen = s->log.fill->count;
	g->waited = false;
}

static void gather_end(struct store *s)
{
	struct gather *g = &s->log.gather;
	bool came = 4 * s->log.fill->count >= 3 * g->count;

	g->count = 0;
	if (!g->waited)
		return;
	if (g->timer.deadline_ns)
		loop_timer_clear(s->loop, &g->timer);
	s->stats.gathered++;
	s->stats.gathered_short += !came;
	if (came)
		g->fails = 0;
	else if (g->fails < GATHER_FAILS_MAX)
		g->fails++;
	g->skip = (1U << g->fails) - 1;
}

static void on_gather_over(struct loop_timer *t)
{
	(void)t; /* the round's end submits */
}

/* The time is over; for those who come all the while, only when they have stopped. */
static bool gather_over(const struct gather *g, unsigned count, uint64_t now)
{
#ifdef HF_MUTANT_GATHER_NO_MORE
	return now >= g->until_ns || count < g->seen;
#endif
	return now >= g->until_ns + (count > g->seen ? GATHER_MORE_NS : 0);
}

/* True while the next write waits for more records. */
static bool gathers(struct store *s)
{
	struct wal *l = &s->log;
	struct gather *g = &l->gather;
	uint64_t now = loop_now_ns(s->loop);

	if (!g->count)
		return false;
	if (l->fill->count >= g->count || gather_over(g, l->fill->count, now) ||
	    !list_empty(&l->queue) || s->close_done) {
		gather_end(s);
		return false;
	}
	if (!g->timer.deadline_ns) /* over already: one more round without a wait */
		loop_timer_set(s->loop, &g->timer, g->until_ns > now ? g->until_ns : now);
	g->seen = l->fill->count;
	g->waited = true;
#ifdef HF_MUTANT_GATHER_NEVER
	return false;
#endif
#ifdef HF_MUTANT_GATHER_FOREVER
	g->until_ns = ~0ULL / 2;
#endif
	HF_MARK("store.gathered");
	return true;
}

/* ---- back-pressure -------------------------------------------------------------------------------- */

/* While a checkpoint is late, the second part of the other half fills ever more slowly: each write
 * waits a little, the longer the less is left, so that clients are slowed before they are stopped
 * (and where it shares a processor with us, the checkpoint gets more of it). */
static uint64_t hold_ns(const struct store *s)
{
	uint64_t used = wal_half_used(s), half = s->log.half_bytes / 2, over;

	if (!s->frozen || s->close_done || used <= half)
		return 0;
	over = (used - half) * 1024 / half;
	if (over > 1024)
		over = 1024;
	return HOLD_NS * over / 1024 * over / 1024;
}

static void on_hold_over(struct loop_timer *t)
{
	struct wal *l = LIST_OWNER(t, struct wal, held);

	l->held_over = true; /* the round's end submits */
}

/* True while the next write is to wait.  One that was held is written at the end of its time. */
static bool held_back(struct store *s)
{
	struct wal *l = &s->log;
	uint64_t ns;

	if (l->held.deadline_ns) {
		if (s->frozen && !s->close_done)
			return true;
		loop_timer_clear(s->loop, &l->held);
		return false;
	}
	if (l->held_over || (ns = hold_ns(s)) == 0)
		return false;
	HF_MARK("store.paced");
	s->stats.paced++;
	s->stats.paced_ns += ns;
	loop_timer_set(s->loop, &l->held, loop_now_ns(s->loop) + ns);
	return true;
}

/* A pause of a minute before the check: it says no, the batch stays, its replies are never sent
 * unless the same owner goes on.  Between check and write: the storage itself refuses a former
 * owner's write (reservation, or the lock that the taker waits for). */
void wal_submit(struct store *s)
{
	struct wal *l = &s->log;
	struct batch *b;

#ifdef HF_MUTANT_HALVES_AT_ONCE
	if (l->in_flight && list_empty(&l->queue) && l->half != l->in_flight->half)
		l->in_flight = NULL; /* the other half is another file */
#endif
	if (l->in_flight || (list_empty(&l->queue) && l->fill->count == 0))
		return;
	if (gathers(s) || held_back(s))
		return;
#ifndef HF_MUTANT_STORE_WRITES_ANYWAY
	if (s->may_write && !s->may_write(s->arg)) {
		HF_MARK("store.write_held");
		return;
	}
#endif
	b = batch_next(s);
	if (!b)
		return;
	l->in_flight = b;
	l->held_over = false;
	l->begun_ns = loop_now_ns(s->loop);
	loop_write(s->loop, &b->op, l->fd[b->half], b->buf, batch_padded(b->len), b->off);
}

int wal_write_now(struct store *s)
{
	struct batch *b;

	while ((b = batch_next(s)) != NULL) {
		ssize_t n = pwrite(s->log.fd[b->half], b->buf, batch_padded(b->len), (off_t)b->off);

		if (n < 0 || (size_t)n != batch_padded(b->len)) {
			int err = n < 0 ? -errno : -EIO;

			batch_put(s, b);
			return err;
		}
		batch_durable(s, b);
		batch_put(s, b);
	}
	return 0;
}
