/* dup.c - the duplicate request cache (S11).
 *
 * An entry is made when an operation ends and again when recovery meets its record, so it is as
 * durable as the operation itself.  Entries lie in chunks of memory, in the order they came; a
 * checkpoint writes the chunks made since the last one as single rows (cheap: one put for dozens
 * of entries, in key order, a page full each) and deletes rows whose entries have all gone.
 *
 * What is kept, for each client by itself: everything younger than conf.dup_keep_ns of service
 * time (time during which the store was being served: a long outage ages nothing), and the last
 * 4,096 up to 15 minutes.  No client pushes out another's. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define CHUNK_BYTES    ((size_t)10 << 10) /* in memory */
#define CHUNK_ENCODED  4064U		  /* on disk: one page of the index, so none must lie side by side */
#define BUCKETS_MIN    4096U
#define KEEP_COUNT     4096U
#define KEEP_COUNT_NS  (15 * 60 * NSEC)
#define CHUNK_VERSION  1U
#define ENT_FIXED      60U /* on disk, up to and with the reply's length */

static struct dup_chunk *chunk_new(uint64_t id, size_t size)
{
	struct dup_chunk *c = mem_alloc(sizeof(*c) + size);

	memset(c, 0, sizeof(*c));
	c->id = id;
	c->size = size;
	list_init(&c->link);
	return c;
}

void dup_init(struct store *s)
{
	s->dup.mask = BUCKETS_MIN - 1;
	s->dup.bucket = mem_zalloc(BUCKETS_MIN, sizeof(*s->dup.bucket));
	s->dup.next_id = 1;
	list_init(&s->dup.stored);
}

/* ---- finding ----------------------------------------------------------------------------------- */

static uint64_t caller_hash(const struct store *s, const struct store_caller *c)
{
	uint8_t key[REC_CALLER];

	memcpy(key, c->client, 16);
	memcpy(key + 16, &c->xid, 4);
	memcpy(key + 20, &c->prog, 4);
	memcpy(key + 24, &c->vers, 4);
	memcpy(key + 28, &c->proc, 4);
	memcpy(key + 32, &c->sum, 8);
	return row_hash(s->seed, key, sizeof(key));
}

static bool caller_same(const struct store_caller *a, const struct store_caller *b)
{
	return a->xid == b->xid && a->sum == b->sum && a->proc == b->proc && a->prog == b->prog &&
	       a->vers == b->vers && memcmp(a->client, b->client, 16) == 0;
}

static struct dup_ent **ent_slot(struct store *s, uint64_t hash, const struct store_caller *c)
{
	struct dup_ent **at = &s->dup.bucket[hash & s->dup.mask];

	while (*at && !((*at)->hash == hash && caller_same(&(*at)->caller, c)))
		at = &(*at)->next;
	return at;
}

enum store_dup store_dup_find(struct store *s, const struct store_caller *c, const void **reply,
			      size_t *reply_len, uint64_t *wait_lsn)
{
	struct dup_ent *e = *ent_slot(s, caller_hash(s, c), c);

	if (!e)
		return STORE_DUP_NEW;
	*reply = e->reply;
	*reply_len = e->reply_len;
	*wait_lsn = e->lsn;
	return STORE_DUP_DONE;
}

/* ---- making ------------------------------------------------------------------------------------ */

static struct dup_client *client_get(struct store *s, const uint8_t client[16])
{
	struct dup_client **at =
	    &s->dup.client[row_hash(s->seed, client, 16) % (sizeof(s->dup.client) / sizeof(void *))];

	for (struct dup_client *c = *at; c; c = c->next)
		if (memcmp(c->client, client, 16) == 0)
			return c;
	struct dup_client *c = mem_zalloc(1, sizeof(*c));

	memcpy(c->client, client, 16);
	c->next = *at;
	*at = c;
	return c;
}

static void table_grow(struct dup *d)
{
	size_t mask = d->mask * 4 + 3;
	struct dup_ent **bucket = mem_zalloc(mask + 1, sizeof(*bucket)), *next;

	for (size_t i = 0; i <= d->mask; i++) {
		for (struct dup_ent *e = d->bucket[i]; e; e = next) {
			next = e->next;
			e->next = bucket[e->hash & mask];
			bucket[e->hash & mask] = e;
		}
	}
	free(d->bucket);
	d->bucket = bucket;
	d->mask = mask;
}

/* What reply_encode() will make of it. */
static size_t reply_encoded(const uint8_t *reply, size_t len)
{
	size_t words = len / 4, n = (words + 7) / 8 + len % 4;

	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, reply + i * 4, 4);
		n += word ? 4 : 0;
	}
	return n;
}

/* Room for an entry at the end of the filling chunk; a chunk belongs to the active generation. */
static struct dup_ent *ent_room(struct store *s, const uint8_t *reply, size_t reply_len)
{
	struct dup *d = &s->dup;
	size_t need = (sizeof(struct dup_ent) + reply_len + 15) & ~(size_t)15;
	size_t encoded = ENT_FIXED + reply_encoded(reply, reply_len);
	struct dup_ent *e;

	if (!d->fill || d->fill->used + need > d->fill->size ||
	    d->fill->encoded + encoded > CHUNK_ENCODED) {
		if (d->fill)
			d->fill->filling = false;
		d->fill = chunk_new(d->next_id++, need > CHUNK_BYTES ? need : CHUNK_BYTES);
		d->fill->filling = true;
		list_add_tail(&s->active->chunks, &d->fill->link);
		s->active->chunk_count += 1 + need / BATCH_ALIGN;
	}
	e = (struct dup_ent *)(void *)(d->fill->mem + d->fill->used);
	e->chunk = d->fill;
	d->fill->used += need;
	d->fill->encoded += encoded;
	d->fill->live++;
	return e;
}

/* All its entries are gone. A stored chunk leaves its row to the next checkpoint to delete; one
 * that a checkpoint is writing, or that is filling, is looked at again when that is over. */
static void chunk_empty(struct store *s, struct dup_chunk *c)
{
	if (c->writing || c->filling)
		return;
	if (c->stored)
		gen_chunk_gone_add(s->active, c->id);
	list_del(&c->link);
	free(c);
}

static void ent_unhash(struct store *s, struct dup_ent *e)
{
	if (e->gone)
		return;
	*ent_slot(s, e->hash, &e->caller) = e->next;
	e->gone = true;
	s->dup.count--;
}

/* Takes the client's oldest entry out for good. */
static void client_pop(struct store *s, struct dup_client *c)
{
	struct dup_ent *e = c->first;
	struct dup_chunk *chunk = e->chunk;

	ent_unhash(s, e);
	c->first = e->later;
	if (!c->first)
		c->last = NULL;
	c->count--;
	if (--chunk->live == 0)
		chunk_empty(s, chunk);
}

static void client_expire(struct store *s, struct dup_client *c, uint64_t now)
{
	while (c->first) {
		uint64_t age = now > c->first->service_ns ? now - c->first->service_ns : 0;

		if (age < s->conf.dup_keep_ns || (c->count <= KEEP_COUNT && age < KEEP_COUNT_NS))
			return;
		client_pop(s, c);
	}
}

static void ent_link(struct store *s, struct dup_ent *e)
{
	struct dup_client *c = client_get(s, e->caller.client);
	struct dup_ent **at;

	at = ent_slot(s, e->hash, &e->caller);
	if (*at) /* the same request carried out again after a restart of its client: newest counts */
		ent_unhash(s, *at);
	if (s->dup.count * 2 > s->dup.mask)
		table_grow(&s->dup);
	at = &s->dup.bucket[e->hash & s->dup.mask];
	e->next = *at;
	*at = e;
	s->dup.count++;
	e->owner = c;
	e->later = NULL;
	if (c->last)
		c->last->later = e;
	else
		c->first = e;
	c->last = e;
	c->count++;
}

void dup_add(struct store *s, const struct store_caller *c, const uint8_t *reply, size_t len,
	     uint64_t lsn, uint64_t service_ns)
{
	struct dup_ent *e = ent_room(s, reply, len);

	e->caller = *c;
	e->hash = caller_hash(s, c);
	e->lsn = lsn;
	e->service_ns = service_ns;
	e->reply_len = (uint32_t)len;
	e->gone = false;
	if (len)
		memcpy(e->reply, reply, len);
	ent_link(s, e);
	client_expire(s, e->owner, service_ns);
}

/* ---- forgetting -------------------------------------------------------------------------------- */

void store_dup_forget(struct store *s, const uint8_t client[16])
{
	uint8_t key[17] = {TABLE_FORGET};
	struct change c = {.type = CHANGE_PUT, .key = key, .key_len = sizeof(key), .val = key};
	uint8_t val[8];
	struct wr w;

	hf_assert(s->op.active);
	memcpy(key + 1, client, 16);
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, s->op.lsn);
	c.val = val;
	c.val_len = sizeof(val);
	s->op.type = REC_FORGET;
	emit(s, &c, false);
}

/* Everything of the client up to this record; later entries of it are of its new life. */
void dup_forget_apply(struct store *s, const uint8_t client[16], uint64_t lsn)
{
	struct dup_client *c = client_get(s, client);

	while (c->first && c->first->lsn < lsn)
		client_pop(s, c);
}

void dup_expire(struct store *s)
{
	uint64_t now = store_service_ns(s);

	for (size_t i = 0; i < sizeof(s->dup.client) / sizeof(void *); i++) {
		for (struct dup_client *c = s->dup.client[i]; c; c = c->next)
			client_expire(s, c, now);
	}
}

/* ---- checkpoints ------------------------------------------------------------------------------- */

/* The active generation is about to be frozen: its chunks are not written to any more. */
void dup_freeze(struct store *s)
{
	struct list *it, *tmp;

	dup_expire(s);
	if (s->dup.fill)
		s->dup.fill->filling = false;
	s->dup.fill = NULL;
	LIST_EACH_SAFE (it, tmp, &s->active->chunks) {
		struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		if (c->live == 0)
			chunk_empty(s, c);
		else
			c->writing = true;
	}
}

/* The frozen generation is in the index. */
void dup_written(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->frozen->chunks) {
		struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		c->writing = false;
		c->stored = true;
		list_del(&c->link);
		list_add_tail(&s->dup.stored, &c->link);
		if (c->live == 0)
			chunk_empty(s, c);
	}
}

/* XDR is half zeros: a bit for each whole word of the reply that is not zero, then those words,
 * then the rest. */
static void reply_encode(struct wr *w, const uint8_t *reply, size_t len)
{
	size_t words = len / 4;
	uint8_t *bits = wr_room(w, (words + 7) / 8);

	hf_assert(bits || words == 0);
	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		if (i % 8 == 0)
			bits[i / 8] = 0;
		memcpy(&word, reply + i * 4, 4);
		if (!word)
			continue;
		bits[i / 8] |= (uint8_t)(1U << i % 8);
		wr_bytes(w, &word, 4);
	}
	wr_bytes(w, reply + words * 4, len % 4);
}

static int reply_decode(struct rd *r, uint8_t *out, size_t len)
{
	size_t words = len / 4;
	const uint8_t *bits = rd_bytes(r, (words + 7) / 8);

	if (!bits)
		return -EBADMSG;
	memset(out, 0, words * 4);
	for (size_t i = 0; i < words; i++)
		if (bits[i / 8] >> i % 8 & 1)
			rd_copy(r, out + i * 4, 4);
	rd_copy(r, out + words * 4, len % 4);
	return rd_ok(r) ? 0 : -EBADMSG;
}

/* Runs in the helper thread: reads only what never changes after an entry was made.  An entry is
 * never longer on disk than in memory. */
size_t dup_chunk_encode(const struct dup_chunk *c, uint8_t *out, size_t size)
{
	size_t at = 0;
	struct wr w;

	wr_init(&w, out, size);
	wr_u32(&w, CHUNK_VERSION);
	while (at < c->used) {
		const struct dup_ent *e = (const struct dup_ent *)(const void *)(c->mem + at);

		wr_u64(&w, e->lsn);
		wr_u64(&w, e->service_ns);
		wr_bytes(&w, e->caller.client, 16);
		wr_u32(&w, e->caller.xid);
		wr_u32(&w, e->caller.prog);
		wr_u32(&w, e->caller.vers);
		wr_u32(&w, e->caller.proc);
		wr_u64(&w, e->caller.sum);
		wr_u32(&w, e->reply_len);
		reply_encode(&w, e->reply, e->reply_len);
		at += (sizeof(*e) + e->reply_len + 15) & ~(size_t)15;
	}
	hf_assert(wr_ok(&w));
	return wr_len(&w);
}

/* ---- loading ----------------------------------------------------------------------------------- */

static uint64_t forgotten_up_to(struct store *s, const uint8_t client[16])
{
	uint8_t key[17] = {TABLE_FORGET};
	struct index_row row;
	struct rd r;

	memcpy(key + 1, client, 16);
	if (index_get(s->index, key, sizeof(key), &row))
		return 0;
	rd_init(&r, row.val, row.val_len);
	return rd_u64(&r);
}

/* Decodes to the end of the chunk's memory. */
static int ent_load(struct store *s, struct dup_chunk *c, struct rd *r)
{
	struct dup_ent *e = (struct dup_ent *)(void *)(c->mem + c->used);
	uint32_t len;

	if (c->used + sizeof(*e) > c->size)
		return -EBADMSG;
	e->lsn = rd_u64(r);
	e->service_ns = rd_u64(r);
	rd_copy(r, e->caller.client, 16);
	e->caller.xid = rd_u32(r);
	e->caller.prog = rd_u32(r);
	e->caller.vers = rd_u32(r);
	e->caller.proc = rd_u32(r);
	e->caller.sum = rd_u64(r);
	len = rd_u32(r);
	if (len > STORE_REPLY_MAX || c->used + sizeof(*e) + len > c->size)
		return -EBADMSG;
	e->reply_len = len;
	if (reply_decode(r, e->reply, len))
		return -EBADMSG;
	e->gone = false;
	e->chunk = c;
	c->used += (sizeof(*e) + len + 15) & ~(size_t)15;
	if (e->lsn < forgotten_up_to(s, e->caller.client))
		return 0; /* keeps its place, is in no table */
	e->hash = caller_hash(s, &e->caller);
	c->live++;
	ent_link(s, e);
	return 0;
}

/* How much memory a stored chunk takes; 0 when it makes no sense. */
static size_t chunk_memory(const struct index_row *row)
{
	uint8_t skip[STORE_REPLY_MAX];
	size_t size = 0;
	struct rd r;

	rd_init(&r, row->val, row->val_len);
	if (rd_u32(&r) != CHUNK_VERSION)
		return 0;
	while (rd_left(&r) > 0) {
		uint32_t len;

		rd_bytes(&r, ENT_FIXED - 4);
		len = rd_u32(&r);
		if (!rd_ok(&r) || len > STORE_REPLY_MAX || reply_decode(&r, skip, len))
			return 0;
		size += (sizeof(struct dup_ent) + len + 15) & ~(size_t)15;
	}
	return size ? size : 16;
}

static int chunk_load(struct store *s, const struct index_row *row)
{
	struct dup_chunk *c;
	struct rd r;
	uint64_t id;
	size_t size;
	int err = 0;

	rd_init(&r, row->key + 1, row->key_len - 1);
	id = rd_u64(&r);
	size = chunk_memory(row);
	if (size == 0)
		return -EBADMSG;
	c = chunk_new(id, size);
	rd_init(&r, row->val, row->val_len);
	rd_u32(&r);
	while (err == 0 && rd_left(&r) > 0)
		err = ent_load(s, c, &r);
	if (err || !rd_ok(&r)) {
		free(c);
		return -EBADMSG;
	}
	c->stored = true;
	s->dup.next_id = c->id + 1;
	list_add_tail(&s->dup.stored, &c->link);
	if (c->live == 0)
		chunk_empty(s, c);
	return 0;
}

int dup_load(struct store *s)
{
	static const uint8_t first[9] = {TABLE_REPLIES};
	struct index_row row;
	int err = index_seek(s->index, first, sizeof(first), &row);

	while (err == 0 && row.key[0] == TABLE_REPLIES && row.key_len == sizeof(first)) {
		err = chunk_load(s, &row);
		if (err == 0)
			err = index_next(s->index, &row);
	}
	return err == -ENOENT ? 0 : err;
}

static void chunks_free(struct list *head)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, head) {
		list_del(it);
		free(LIST_OWNER(it, struct dup_chunk, link));
	}
}

void dup_fini(struct store *s)
{
	struct dup_client *next;

	for (size_t i = 0; i < sizeof(s->dup.client) / sizeof(void *); i++) {
		for (struct dup_client *c = s->dup.client[i]; c; c = next) {
			next = c->next;
			free(c);
		}
	}
	if (s->dup.stored.next)
		chunks_free(&s->dup.stored);
	if (s->active)
		chunks_free(&s->active->chunks);
	if (s->frozen)
		chunks_free(&s->frozen->chunks);
	free(s->dup.bucket);
}
