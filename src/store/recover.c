/* recover.c - from an index at some checkpoint, and two halves of log, to a running state.
 *
 * The chain of batches goes on in the half that META names, then perhaps in the other half: each
 * batch must carry our uuid, the next lsn, the CRC of the batch before, and an epoch that is not
 * older (S3).  It ends at the first that does not.  What was acknowledged is all before that end,
 * unless the medium rotted: every later batch says what was durable when it was built, so one that
 * names an lsn beyond the end proves the rot, and then we do not serve (S5).
 *
 * Nothing is written back to the index here.  The first half's records become the frozen
 * generation, the other half's the active one, just as they were; the checkpoint that was under
 * way begins anew in the background, and so does what records say of objects (defer.c).  So the time
 * is reading the log and filling hash tables.
 *
 * A repair (check.c) reads on where others stop: s->on_log hears of each damaged place, and the chain
 * goes on with the next batch behind it that is whole.
 *
 * Objects: records up to the greatest `synced` mark of their inode are in the object already and
 * are not done again, for unstable writes that were committed later may lie over them (S2). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define READ_STEP   ((uint64_t)1 << 20)
#define FIRST_STEP  ((uint64_t)256 << 10) /* most often enough: see untouched() */
/* How far behind the end we look for later batches: the one that rotted is at most BATCH_MAX long. */
#define ROT_WINDOW  (2 * (uint64_t)BATCH_MAX)
#define PIECES_MAX  64U

/* Batches without a gap; a sound half is one. */
struct piece {
	uint64_t from, end, first_lsn;
};

struct half {
	uint8_t *buf;
	uint64_t loaded; /* bytes read so far */
	uint64_t end;	 /* where the chain ended */
	uint64_t batches;
	struct piece piece[PIECES_MAX];
	unsigned pieces;
};

struct recovery {
	struct store *s;
	struct half half[2];
	struct map64 synced; /* ino -> greatest mark */
	struct meta meta;
	uint64_t next_lsn, epoch, service_ns;
	uint64_t beyond; /* repair: greatest lsn that the halves speak of, and one more */
	uint32_t crc;
	bool dry;
	char *err;
	size_t err_size;
};

static int bad(struct recovery *r, int code, const char *what)
{
	return say(r->err, r->err_size, code, "%s: %s", r->s->path, what);
}

/* ---- reading the halves ----------------------------------------------------------------------- */

static int half_load(struct recovery *r, unsigned i, uint64_t upto)
{
	struct half *h = &r->half[i];
	uint64_t size = r->s->log.half_bytes;

	if (!h->buf)
		h->buf = mem_aligned(BATCH_ALIGN, size);
	while (h->loaded < upto && h->loaded < size) {
		uint64_t step = h->loaded ? READ_STEP : FIRST_STEP;
		ssize_t n;

		if (step > size - h->loaded)
			step = size - h->loaded;
		n = pread(r->s->log.fd[i], h->buf + h->loaded, step, (off_t)h->loaded);
		if (n < 0)
			return bad(r, -errno, "the log cannot be read");
		if ((uint64_t)n != step)
			return bad(r, -EUCLEAN, "a log half is shorter than LABEL says; restore the file");
		h->loaded += step;
	}
	return 0;
}

/* The batch at this place if it continues the chain: 1, 0 (it does not), or -errno. */
static int batch_take(struct recovery *r, unsigned i, struct batch_head *b)
{
	struct half *h = &r->half[i];
	uint64_t size = r->s->log.half_bytes;
	int err;

	if (h->end + BATCH_ALIGN > size)
		return 0;
	if ((err = half_load(r, i, h->end + BATCH_ALIGN)) != 0)
		return err;
	err = batch_head_decode(b, h->buf + h->end, BATCH_HEAD);
	if (err == -ENOTSUP)
		return bad(r, err, "the log was written by a newer version; use that one");
	if (err || memcmp(b->uuid, r->s->label.uuid, 16) != 0 || b->first_lsn != r->next_lsn)
		return 0;
#ifndef HF_MUTANT_NO_CHAIN
	if (b->prev_crc != r->crc || b->epoch < r->epoch)
		return 0;
#endif
	if (h->end + batch_padded(b->length) > size)
		return 0;
	if ((err = half_load(r, i, h->end + batch_padded(b->length))) != 0)
		return err;
	return batch_body_ok(b, h->buf + h->end, b->length) ? 1 : 0;
}

static int chain_read(struct recovery *r, unsigned i)
{
	struct half *h = &r->half[i];
	struct piece *p = &h->piece[h->pieces];
	struct batch_head b;
	int got;

	*p = (struct piece){.from = h->end, .first_lsn = r->next_lsn};
	while ((got = batch_take(r, i, &b)) == 1) {
		h->end += batch_padded(b.length);
		p->end = h->end;
		h->batches++;
		r->next_lsn += b.count;
		r->crc = b.crc;
		r->epoch = b.epoch;
		if (b.service_ns > r->service_ns)
			r->service_ns = b.service_ns;
	}
	if (p->end)
		h->pieces++;
	return got;
}

/* ---- repair: on behind a damaged place ------------------------------------------------------------ */

/* The next batch of this half, from `at` on, that is whole and of later records: true. */
static bool batch_later(struct recovery *r, unsigned i, uint64_t at, struct batch_head *b,
			uint64_t *where)
{
	struct half *h = &r->half[i];
	uint64_t size = r->s->log.half_bytes;

	if (half_load(r, i, size))
		return false;
	for (; at + BATCH_ALIGN <= size; at += BATCH_ALIGN) {
		if (batch_head_decode(b, h->buf + at, BATCH_HEAD) ||
		    memcmp(b->uuid, r->s->label.uuid, 16) != 0 || b->first_lsn < r->next_lsn ||
		    b->epoch < r->epoch || at + batch_padded(b->length) > size ||
		    !batch_body_ok(b, h->buf + at, b->length))
			continue;
		*where = at;
		return true;
	}
	return false;
}

static void log_say(struct recovery *r, bool rot, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void log_say(struct recovery *r, bool rot, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->s->on_log(r->s->on_log_arg, rot, text);
}

/* A batch in flight when the process died is no gap: nothing whole is behind it. */
static int chain_mend(struct recovery *r, unsigned i)
{
	struct half *h = &r->half[i];
	struct batch_head b;
	uint64_t at;
	int err = 0;

#ifdef HF_MUTANT_LOG_NOT_MENDED
	return 0;
#endif
	while (err == 0 && h->pieces < PIECES_MAX && batch_later(r, i, h->end, &b, &at)) {
		log_say(r, true, "log/%u: damaged at offset %llu: records %llu to %llu are gone", i,
			(unsigned long long)h->end, (unsigned long long)r->next_lsn,
			(unsigned long long)b.first_lsn - 1);
		HF_MARK("store.log_mended");
		h->end = at;
		r->next_lsn = b.first_lsn;
		r->crc = b.prev_crc;
		r->epoch = b.epoch;
		err = chain_read(r, i);
	}
	return err;
}

/* What was said to be durable, also by batches that could not be used: no record to come may have
 * a number of that time. */
static void lsn_beyond(struct recovery *r)
{
	struct batch_head b;

	for (unsigned i = 0; i < 2; i++) {
		if (half_load(r, i, r->s->log.half_bytes))
			return;
		for (uint64_t at = 0; at + BATCH_ALIGN <= r->s->log.half_bytes; at += BATCH_ALIGN) {
			if (batch_head_decode(&b, r->half[i].buf + at, BATCH_HEAD) ||
			    memcmp(b.uuid, r->s->label.uuid, 16) != 0)
				continue;
			if (b.first_lsn + b.count > r->beyond)
				r->beyond = b.first_lsn + b.count;
			if (b.durable_lsn + 1 > r->beyond)
				r->beyond = b.durable_lsn + 1;
		}
	}
}

static int rot_look(struct recovery *r, unsigned i)
{
#ifdef HF_MUTANT_ROT_IGNORED
	if (r->s)
		return 0;
#endif
	struct half *h = &r->half[i];
	uint64_t size = r->s->log.half_bytes, at = h->end, to = at + ROT_WINDOW;
	struct batch_head b;
	int err;

	if (to > size)
		to = size;
	err = half_load(r, i, to);
	for (; !err && at < to; at += BATCH_ALIGN) {
		if (batch_head_decode(&b, h->buf + at, BATCH_HEAD) ||
		    memcmp(b.uuid, r->s->label.uuid, 16) != 0 || b.durable_lsn < r->next_lsn)
			continue;
		HF_MARK("store.log_rot");
		return say(r->err, r->err_size, -EUCLEAN,
			   "%s/log/%u: damaged: record %llu cannot be read at offset %llu, but a later "
			   "batch says that %llu was durable; restore from a copy",
			   r->s->path, i, (unsigned long long)r->next_lsn,
			   (unsigned long long)h->end, (unsigned long long)b.durable_lsn);
	}
	return err;
}

static bool block_empty(const uint8_t *block)
{
	for (size_t n = 0; n < BATCH_ALIGN; n++)
		if (block[n])
			return false;
	return true;
}

/* Is the first block what an orderly end left: the head of a batch that the index has, or nothing
 * yet? */
static bool first_block_old(const struct recovery *r, const uint8_t *block)
{
	struct batch_head b;

	if (block_empty(block))
		return true;
	return batch_head_decode(&b, block, BATCH_HEAD) == 0 &&
	       memcmp(b.uuid, r->s->label.uuid, 16) == 0 && b.first_lsn + b.count <= r->next_lsn;
}

/* Whoever opens after an orderly end writes its epoch over the first block of the half in which the log
 * goes on, before it writes anything else.  While an old batch is there, or nothing, there was nobody,
 * and no rot to look for behind it; for the case that just this write was lost, those that would have
 * followed are looked for nearby.  Nothing may also be what a medium gives back in place of what it lost,
 * a whole stretch at once, and is rare otherwise (a half that was never used): there we look as far as
 * behind any other end.  In all other cases both halves are looked at as after a crash. */
static int untouched(struct recovery *r, unsigned i, bool *yes)
{
	struct half *h = &r->half[i];
	struct batch_head b;
	int err;

	*yes = false;
	if (!r->meta.clean || r->dry || r->s->on_log)
		return 0;
	err = half_load(r, i, FIRST_STEP);
	if (err)
		return err;
#ifdef HF_MUTANT_CLEAN_TRUSTED
	if (batch_head_decode(&b, h->buf, BATCH_HEAD)) {
		*yes = true;
		return 0;
	}
#endif
	*yes = first_block_old(r, h->buf);
#ifndef HF_MUTANT_ZEROS_TRUSTED
	if (*yes && block_empty(h->buf) && (err = half_load(r, i, ROT_WINDOW)) != 0)
		return err;
#endif
	for (uint64_t at = BATCH_ALIGN; *yes && at < h->loaded; at += BATCH_ALIGN)
		*yes = batch_head_decode(&b, h->buf + at, BATCH_HEAD) ||
		       memcmp(b.uuid, r->s->label.uuid, 16) != 0 || b.durable_lsn < r->next_lsn;
	return 0;
}

/* ---- walking the records ------------------------------------------------------------------------ */

typedef int record_fn(struct recovery *r, const struct record *rec);

static int batch_walk(struct recovery *r, const uint8_t *buf, record_fn *each, uint64_t *lsn)
{
	struct batch_head b;
	struct record rec;
	struct rd in;
	int err = batch_head_decode(&b, buf, BATCH_HEAD);

	hf_assert(err == 0);
	r->s->replay_service_ns = b.service_ns;
	rd_init(&in, buf + BATCH_HEAD, b.length - BATCH_HEAD);
	for (uint32_t i = 0; i < b.count; i++) {
		err = rec_decode(&rec, &in);
		if (err == 0 && rec.lsn != *lsn)
			err = -EBADMSG;
		if (err == 0)
			err = each(r, &rec);
		if (err == -EBADMSG && r->s->on_log) {
			log_say(r, false, "log: record %llu makes no sense", (unsigned long long)*lsn);
			err = 0;
			break;
		}
		if (err)
			break;
		(*lsn)++;
	}
	if (err == -ENOTSUP)
		return bad(r, err, "the log has a record of a newer version; use that one");
	if (err == -EBADMSG)
		return bad(r, -EUCLEAN, "a log record with a good checksum makes no sense");
	return err;
}

static int half_walk(struct recovery *r, unsigned i, record_fn *each, uint64_t *lsn)
{
	struct half *h = &r->half[i];
	struct batch_head b;
	int err = 0;

	for (unsigned n = 0; n < h->pieces; n++) {
		const struct piece *p = &h->piece[n];

		for (uint64_t at = p->from; at < p->end && !err; at += batch_padded(b.length)) {
			batch_head_decode(&b, h->buf + at, BATCH_HEAD);
			*lsn = b.first_lsn;
			err = batch_walk(r, h->buf + at, each, lsn);
		}
	}
	return err;
}

static int note_synced(struct recovery *r, const struct record *rec)
{
	struct change c;
	struct rd in;
	int err = 0;

	rd_init(&in, rec->changes, rec->changes_len);
	for (unsigned i = 0; i < rec->change_count && !err; i++) {
		err = change_decode(&c, &in);
		if (err == 0 && c.type == CHANGE_SYNCED) {
			uint64_t *at = map64_put(&r->synced, c.ino);

			if (c.arg > *at)
				*at = c.arg;
		}
	}
	return err ? err : rd_done(&in) ? 0 : -EBADMSG;
}

static void replay_object(struct recovery *r, const struct change *c, uint64_t lsn)
{
	uint64_t *mark = map64_find(&r->synced, c->ino);

	if (r->dry)
		return;
#ifdef HF_MUTANT_IGNORE_SYNCED
	mark = NULL;
#endif
	if (mark && lsn <= *mark && (c->type == CHANGE_WRITE || c->type == CHANGE_TRUNC)) {
		HF_MARK("store.synced_skip");
		return;
	}
	defer_add(r->s, c);
}

/* A row in the log that does not decode must not reach code that trusts rows. */
static int row_sane(const struct change *c)
{
	struct inode_row row;
	const uint8_t *value;
	size_t len;

	if (c->type != CHANGE_PUT)
		return 0;
	if (c->key[0] == TABLE_INODE)
		return inode_row_decode(&row, c->val, c->val_len);
	if (c->key[0] == TABLE_NAME)
		return c->val_len == 16 ? 0 : -EBADMSG;
	if (c->key[0] == TABLE_DIR)
		return c->val_len > 8 && c->val_len <= 8 + STORE_NAME_MAX ? 0 : -EBADMSG;
	if (c->key[0] == TABLE_XATTR)
		return xattr_decode(c->val, c->val_len, &value, &len);
	return 0;
}

static int replay(struct recovery *r, const struct record *rec)
{
	struct store *s = r->s;
	struct change c;
	struct rd in;
	int err = 0;

	rd_init(&in, rec->changes, rec->changes_len);
	for (unsigned i = 0; i < rec->change_count && !err; i++) {
		err = change_decode(&c, &in);
		if (err == 0)
			err = row_sane(&c);
		if (err)
			return err;
		apply_change(s, &c, rec->lsn, false);
		if (c.type == CHANGE_WRITE || c.type == CHANGE_TRUNC ||
		    c.type == CHANGE_NEWOBJ || c.type == CHANGE_UNLINK)
			replay_object(r, &c, rec->lsn);
	}
#ifdef HF_MUTANT_REPLIES_LOST
	if (rec->lsn == 0)
#endif
	if (rec->has_caller)
		dup_add(s, &rec->caller, rec->reply, rec->reply_len, rec->lsn, s->replay_service_ns);
	if (rec->time_ns > s->time_ns)
		s->time_ns = rec->time_ns;
	s->last_lsn = s->active->last_lsn = rec->lsn;
	s->active->records++;
	s->recovered_records++;
	return err;
}

/* ---- the whole -------------------------------------------------------------------------------- */

static int meta_load(struct recovery *r)
{
	static const uint8_t meta_key[2] = {TABLE_META, 0}, verifier_key[2] = {TABLE_STATE, 'v'};
	struct store *s = r->s;
	struct index_row row;
	struct rd rd;
	int err = index_get(s->index, meta_key, sizeof(meta_key), &row);

	if (err)
		return bad(r, -EUCLEAN, "the index has no META row; restore from a copy");
	err = meta_decode(&r->meta, row.val, row.val_len);
	if (err == -ENOTSUP)
		return bad(r, err, "the index was written by a newer version; use that one");
	if (err)
		return bad(r, -EUCLEAN, "the META row of the index makes no sense; restore from a copy");
	if (index_get(s->index, verifier_key, sizeof(verifier_key), &row))
		return bad(r, -EUCLEAN, "the index has no write verifier; restore from a copy");
	rd_init(&rd, row.val, row.val_len);
	s->verifier = rd_u64(&rd);
	s->checkpoint_lsn = s->last_lsn = r->meta.checkpoint_lsn;
	s->next_ino = r->meta.next_ino;
	s->files = r->meta.files;
	s->time_ns = r->meta.time_ns;
	r->next_lsn = r->meta.checkpoint_lsn + 1;
	r->crc = r->meta.chain_crc;
	r->epoch = r->meta.epoch;
	r->service_ns = r->meta.service_ns;
	return 0;
}

/* Both halves' chains; what the first one's last batch said is for META later. */
static int chains_read(struct recovery *r, struct recovered *first_end)
{
	unsigned first = r->meta.next_half;
	bool none;
	int err = untouched(r, first, &none);

	first_end->chain_crc = r->crc;
	first_end->epoch = r->epoch;
	if (err || none) {
		if (none)
			HF_MARK("store.log_untouched");
		return err;
	}
	err = chain_read(r, first);
	if (err == 0 && r->s->on_log)
		err = chain_mend(r, first);
	first_end->chain_crc = r->crc;
	first_end->epoch = r->epoch;
	if (err == 0)
		err = chain_read(r, first ^ 1U);
	if (err == 0 && r->s->on_log) {
		err = chain_mend(r, first ^ 1U);
		lsn_beyond(r);
		return err;
	}
	if (err == 0 && r->half[first ^ 1U].batches == 0)
		err = rot_look(r, first);
	return err ? err : rot_look(r, first ^ 1U);
}

/* Objects whose rows went with the last commit, but that were not unlinked any more.  Where clients wait
 * they go with the first checkpoint; their rows stay until then. */
static int unlinks_finish(struct recovery *r)
{
	static const uint8_t key[9] = {TABLE_UNLINK};
	struct checkpoint *cp = &r->s->cp;
	struct index_row row;
	size_t cap = 0;
	int err = index_seek(r->s->index, key, sizeof(key), &row);

	while (err == 0 && row.key[0] == TABLE_UNLINK && row.key_len == sizeof(key)) {
		struct rd rd;

		rd_init(&rd, row.key + 1, 8);
		if (r->s->loop && !r->dry) {
			gen_unlink_add(r->s->active, rd_u64(&rd));
			r->s->active->unlink_rows++;
			err = index_next(r->s->index, &row);
			continue;
		}
		if (cp->gone_count == cap) {
			cap = cap ? cap * 2 : 64;
			cp->gone = mem_realloc(cp->gone, cap * sizeof(*cp->gone));
		}
		cp->gone[cp->gone_count] = rd_u64(&rd);
		/* One that stays keeps its row, for the next open. */
		if (r->dry || object_unlink(r->s, cp->gone[cp->gone_count]) == 0)
			cp->gone_count++;
		err = index_next(r->s->index, &row);
	}
	return err == -ENOENT ? 0 : err;
}

static int rebuild(struct recovery *r, const struct recovered *first_end)
{
	unsigned first = r->meta.next_half, other = first ^ 1U;
	struct store *s = r->s;
	uint64_t lsn = r->meta.checkpoint_lsn + 1;
	int err = half_walk(r, first, note_synced, &lsn);

	if (err == 0)
		err = half_walk(r, other, note_synced, &lsn);
	lsn = r->meta.checkpoint_lsn + 1;
	if (err == 0)
		err = half_walk(r, first, replay, &lsn);
	if (err == 0 && r->half[other].batches > 0) {
		checkpoint_switch(s, first);
		s->frozen->chain_crc = first_end->chain_crc;
		s->frozen->chain_known = true;
		s->cp.meta.epoch = first_end->epoch; /* later batches may be of later epochs */
		err = half_walk(r, other, replay, &lsn);
	}
	return err;
}

static int recover_steps(struct recovery *r, struct recovered *out)
{
	struct store *s = r->s;
	struct recovered first_end;
	unsigned last;
	int err = meta_load(r);

	if (err == 0)
		err = chains_read(r, &first_end);
	if (err)
		return err;
	s->epoch = r->epoch;
	s->service_base_ns = r->service_ns;
	s->was_clean = r->meta.clean && r->next_lsn == r->meta.checkpoint_lsn + 1;
	err = dup_load(s);
	if (err == 0)
		err = conn_load(s);
	if (err == 0)
		err = unlinks_finish(r);
	if (err)
		return bad(r, -EUCLEAN, "a row of the index makes no sense; restore from a copy");
	err = rebuild(r, &first_end);
	if (r->beyond > s->last_lsn + 1)
		s->last_lsn = r->beyond - 1;
	s->durable_lsn = s->last_lsn;
	last = r->half[r->meta.next_half ^ 1U].batches ? r->meta.next_half ^ 1U : r->meta.next_half;
	*out = (struct recovered){.half = last, .off = r->half[last].end, .chain_crc = r->crc,
				  .epoch = r->epoch};
	return err;
}

int recover(struct store *s, bool dry, struct recovered *out, char *err, size_t err_size)
{
	struct recovery r = {.s = s, .dry = dry, .err = err, .err_size = err_size};
	int code;

	s->replaying = true;
	code = recover_steps(&r, out);
	s->replaying = false;
	map64_fini(&r.synced);
	defer_keep(s, 0, r.half[0].buf);
	defer_keep(s, 1, r.half[1].buf);
	return code;
}
