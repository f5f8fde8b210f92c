/* dup.c - the duplicate request cache (S11).
 *
 * An entry is made when an operation ends and again when recovery meets its record, so it is as
 * durable as the operation itself.  Its reply lies encoded in a chunk's body, in the order they
 * came.  A checkpoint writes the chunks made since the last one as single rows (cheap: one put
 * for dozens of entries, in key order, a page full each), and rolls that say for many chunks in
 * one row what the table needs; then the body leaves memory, and a repeat that comes so late that
 * its reply is in the index only is answered from there.  Opening reads the rolls alone: that is
 * why it is quick after any length of service (FO-57).  Rows go when their entries have all gone.
 *
 * What is kept, for each client by itself: everything younger than conf.dup_keep_ns of service
 * time (time during which the store was being served: a long outage ages nothing), and the last
 * 4,096 up to 15 minutes.  No client pushes out another's. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define CHUNK_BYTES    4064U /* one page of the index, so none must lie side by side */
#define CHUNK_ENTRIES  56U
#define HASH_LEAD      16U
#define SPAN_MAX       0x7fffffffU /* of lsns and milliseconds in a chunk */
#define MS	       1000000ULL
#define KEEP_COUNT     4096U
#define EXPIRE_ADD     8U    /* old entries to let go of at most, when one is added */
#define EXPIRE_FREEZE  4096U /* ... and at a checkpoint */
#define KEEP_COUNT_NS  (15 * 60 * NSEC)

static size_t chunk_size(unsigned room)
{
	return sizeof(struct dup_chunk) + room * sizeof(struct dup_ent);
}

/* Chunks and bodies made while serving are of one size each, and each lives in a slab: a hundred of
 * them come and go each second for as long as the store is open, and would scatter the heap. */
struct dup_chunk *dup_chunk_new(struct store *s, uint64_t id, unsigned room, uint64_t lsn,
				uint64_t service_ms)
{
	struct dup_chunk *c =
	    room == CHUNK_ENTRIES ? slab_get(&s->dup.chunks) : mem_alloc(chunk_size(room));

	*c = (struct dup_chunk){.id = id, .room = room, .lsn = lsn, .service_ms = service_ms};
	list_init(&c->link);
	return c;
}

static uint8_t *body_new(struct store *s, size_t size)
{
	return size == CHUNK_BYTES ? slab_get(&s->dup.bodies) : mem_alloc(size);
}

static void body_free(struct store *s, struct dup_chunk *c)
{
	if (c->body && c->size == CHUNK_BYTES)
		slab_put(&s->dup.bodies, c->body);
	else
		free(c->body);
	c->body = NULL;
}

static void chunk_free(struct store *s, struct dup_chunk *c)
{
	body_free(s, c);
	if (c->room == CHUNK_ENTRIES)
		slab_put(&s->dup.chunks, c);
	else
		free(c);
}

/* ---- finding ----------------------------------------------------------------------------------- */

static bool same_caller(const struct store_caller *a, const struct store_caller *b)
{
	return a->sum == b->sum && a->xid == b->xid && a->proc == b->proc && a->vers == b->vers &&
	       a->prog == b->prog && memcmp(a->client, b->client, sizeof(a->client)) == 0;
}

/* Kept in the rolls: so keyed with the store's own secret, and the same at each open. */
static uint64_t caller_hash_new(const struct store *s, const struct store_caller *c)
{
	uint8_t key[REC_CALLER + 4] = "dup";
	uint64_t hash;

	_Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash");
	_Static_assert(sizeof(s->label.handle_key) == crypto_shorthash_KEYBYTES, "SipHash");
	memcpy(key + 4, c->client, 16);
	memcpy(key + 20, &c->xid, 4);
	memcpy(key + 24, &c->prog, 4);
	memcpy(key + 28, &c->vers, 4);
	memcpy(key + 32, &c->proc, 4);
	memcpy(key + 36, &c->sum, 8);
	crypto_shorthash((unsigned char *)&hash, key, sizeof(key), s->label.handle_key);
	return hash;
}

static struct dup_hashed *hashed_at(struct store *s, const struct store_caller *c)
{
	return &s->dup.hashed[c->xid % DUP_HASHED];
}

/* A call asks for its own more than once. */
static uint64_t caller_hash(struct store *s, const struct store_caller *c)
{
	struct dup_hashed *h = hashed_at(s, c);

	if (!h->known || !same_caller(&h->caller, c))
		*h = (struct dup_hashed){.caller = *c, .hash = caller_hash_new(s, c), .known = true};
	return h->hash;
}

void store_change_hint(struct store *s, const struct store_caller *c, uint64_t dir,
		       const char *name, size_t len)
{
	const struct dup_hashed *h = hashed_at(s, c);

	if (h->known && same_caller(&h->caller, c))
		return; /* it was seen coming: all of it is here */
	__builtin_prefetch(htab_at(&s->dup.table, caller_hash(s, c)), 1);
	if (name)
		cache_hint_name(s, dir, name, len);
}

void dup_init(struct store *s)
{
	htab_init(&s->dup.table);
	slab_init(&s->dup.chunks, chunk_size(CHUNK_ENTRIES));
	slab_init(&s->dup.bodies, CHUNK_BYTES);
	s->dup.next_id = 1;
	list_init(&s->dup.stored);
}

static uint64_t ent_lsn(const struct dup_ent *e)
{
	return e->chunk->lsn + e->lsn;
}

/* By the hash alone: two callers with the same one push out each other, which no caller can
 * bring about (it does not know the key) and chance does not. */
static struct dup_ent *ent_find(struct store *s, uint64_t hash)
{
	struct htab_link *l = htab_find(&s->dup.table, hash);

	return l ? LIST_OWNER(l, struct dup_ent, link) : NULL;
}

static int reply_find(struct store *s, const struct dup_ent *e, const struct store_caller *c)
{
	const struct dup_chunk *chunk = e->chunk;
	struct index_row row;
	uint8_t key[9];
	int err;

	if (chunk->body)
		return dup_body_find(chunk->body, chunk->used, c, ent_lsn(e), s->dup.reply);
	HF_MARK("store.dup_from_index");
	err = index_get(s->index, key, table_key(key, TABLE_REPLIES, chunk->id), &row);
	return err ? -EBADMSG : dup_body_find(row.val, row.val_len, c, ent_lsn(e), s->dup.reply);
}

enum store_dup store_dup_find(struct store *s, const struct store_caller *c, const void **reply,
			      size_t *reply_len, uint64_t *wait_lsn)
{
	const struct dup_ent *e = ent_find(s, caller_hash(s, c));
	int len;

	if (!e)
		return STORE_DUP_NEW;
	len = reply_find(s, e, c);
	if (len == -ENOENT)
		return STORE_DUP_NEW; /* another caller's, with the same hash */
	if (len < 0) {
		store_damage(s, "a row of the duplicate cache is missing or makes no sense");
		return STORE_DUP_LOST;
	}
	*reply = s->dup.reply;
	*reply_len = (size_t)len;
	*wait_lsn = ent_lsn(e);
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
	s->dup.clients++;
	return c;
}

static void chunk_begin(struct store *s, size_t need, uint64_t lsn, uint64_t service_ms)
{
	struct dup *d = &s->dup;

	if (d->fill)
		d->fill->filling = false;
	d->fill = dup_chunk_new(s, d->next_id++, CHUNK_ENTRIES, lsn, service_ms);
	d->fill->filling = true;
	d->fill->size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
	d->fill->body = body_new(s, d->fill->size);
	list_add_tail(&s->active->chunks, &d->fill->link);
	s->active->chunk_count += 1 + need / BATCH_ALIGN;
}

static bool chunk_fits(const struct dup_chunk *c, size_t need, uint64_t lsn, uint64_t service_ms)
{
	return c && c->used + need <= c->size && c->count < c->room && lsn - c->lsn < SPAN_MAX &&
	       service_ms - c->service_ms < SPAN_MAX;
}

/* At the end of the filling chunk, or of a new one; a chunk belongs to the active generation. */
static void chunk_append(struct store *s, const uint8_t *entry, size_t words, uint64_t lsn,
			 uint64_t service_ms)
{
	static const uint8_t none[DUP_WORDS];
	uint8_t coded[DUP_CODED];
	size_t len = dup_entry_encode(coded, entry, words, s->dup.before);

	if (!chunk_fits(s->dup.fill, len, lsn, service_ms)) {
		len = dup_entry_encode(coded, entry, words, none);
		chunk_begin(s, len, lsn, service_ms);
		memset(s->dup.before, 0, sizeof(s->dup.before));
	}
	memcpy(s->dup.fill->body + s->dup.fill->used, coded, len);
	s->dup.fill->used += len;
	memcpy(s->dup.before, entry, words * 4);
}

/* A stored chunk leaves its rows to the next checkpoint to delete; one that a checkpoint is
 * writing, or that is filling, is looked at again when that is over. */
void dup_chunk_empty(struct store *s, struct dup_chunk *c)
{
	if (c->writing || c->filling)
		return;
	if (c->roll) {
		gen_gone_add(s->active, TABLE_REPLIES, c->id);
		if (--c->roll->chunks == 0) {
			gen_gone_add(s->active, TABLE_ROLL, c->roll->id);
			free(c->roll);
		}
	}
	list_del(&c->link);
	chunk_free(s, c);
}

static void ent_unhash(struct store *s, struct dup_ent *e)
{
	if (e->gone)
		return;
	htab_del(&s->dup.table, &e->link);
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
		dup_chunk_empty(s, chunk);
}

/* At most so many: what has waited 120 s may wait a little longer, a call may not.  Returns how many
 * more there may be. */
static size_t client_expire(struct store *s, struct dup_client *c, uint64_t now, size_t most)
{
	for (; c->first && most > 0; most--) {
		uint64_t at = (c->first->chunk->service_ms + c->first->service_ms) * MS;
		uint64_t age = now > at ? now - at : 0;

		if (age < s->conf.dup_keep_ns || (c->count <= KEEP_COUNT && age < KEEP_COUNT_NS))
			break;
		client_pop(s, c);
	}
	return most;
}

static void ent_hash(struct store *s, struct dup_ent *e)
{
	struct dup_ent *old = ent_find(s, e->link.hash);

	if (old) /* the same request carried out again after a restart of its client: newest counts */
		ent_unhash(s, old);
	htab_put(&s->dup.table, &e->link, e->link.hash);
	e->gone = false;
	s->dup.count++;
}

/* The chunk's next entry, the client's last; it is in the table after ent_hash() only. */
static struct dup_ent *ent_add(struct dup_chunk *chunk, struct dup_client *c, uint64_t hash,
			       uint64_t lsn, uint64_t service_ms)
{
	struct dup_ent *e = &chunk->ent[chunk->count++];

	hf_assert(chunk->count <= chunk->room);
	*e = (struct dup_ent){.owner = c, .chunk = chunk, .link.hash = hash, .gone = true,
			      .lsn = (uint32_t)(lsn - chunk->lsn),
			      .service_ms = (uint32_t)(service_ms - chunk->service_ms) & SPAN_MAX};
	chunk->live++;
	if (c->last)
		c->last->later = e;
	else
		c->first = e;
	c->last = e;
	c->last_lsn = lsn;
	c->count++;
	return e;
}

void dup_add(struct store *s, const struct store_caller *c, const uint8_t *reply, size_t len,
	     uint64_t lsn, uint64_t service_ns)
{
	struct dup_client *client = client_get(s, c->client);
	uint8_t entry[DUP_WORDS];
	size_t words = dup_entry_words(entry, c, lsn, service_ns, reply, len);

	chunk_append(s, entry, words, lsn, service_ns / MS);
	htab_grow(&s->dup.table, s->dup.count);
	ent_hash(s, ent_add(s->dup.fill, client, caller_hash(s, c), lsn, service_ns / MS));
	client_expire(s, client, service_ns, EXPIRE_ADD);
}

void dup_restore(struct store *s, struct dup_chunk *c, const uint8_t client[16], uint64_t hash,
		 uint64_t lsn, uint64_t service_ms)
{
	ent_add(c, client_get(s, client), hash, lsn, service_ms);
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

	while (c->first && ent_lsn(c->first) < lsn)
		client_pop(s, c);
}

/* Clients without entries go, too: an address that was seen once is not remembered for ever. */
void dup_expire(struct store *s, uint64_t now, size_t most)
{
	for (size_t i = 0; i < sizeof(s->dup.client) / sizeof(void *); i++) {
		struct dup_client **at = &s->dup.client[i], *c;

		while ((c = *at) != NULL) {
			most = client_expire(s, c, now, most);
			/* The helper reads the address of each entry that it writes, also of one gone. */
			if (c->first || c->last_lsn > s->checkpoint_lsn) {
				at = &c->next;
				continue;
			}
			HF_MARK("store.dup_client_gone");
			*at = c->next;
			free(c);
			s->dup.clients--;
		}
	}
}

/* ---- checkpoints ------------------------------------------------------------------------------- */

/* The active generation is about to be frozen: its chunks are not written to any more. */
void dup_freeze(struct store *s)
{
	struct list *it, *tmp;

	dup_expire(s, store_service_ns(s), EXPIRE_FREEZE);
	if (s->dup.fill)
		s->dup.fill->filling = false;
	s->dup.fill = NULL;
	LIST_EACH_SAFE (it, tmp, &s->active->chunks) {
		struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		if (c->live == 0)
			dup_chunk_empty(s, c);
		else
			c->writing = true;
	}
}

/* The frozen generation is in the index: bodies are read from there now. */
void dup_written(struct store *s)
{
	struct list *it, *tmp;

	rolls_written(s);
	LIST_EACH_SAFE (it, tmp, &s->frozen->chunks) {
		struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		c->writing = false;
		body_free(s, c);
		list_del(&c->link);
		list_add_tail(&s->dup.stored, &c->link);
		if (c->live == 0)
			dup_chunk_empty(s, c);
	}
}

/* All of a client's.  The table does not fit any cache: what is looked at soon is asked for now. */
static void client_hash(struct store *s, const struct dup_client *c)
{
	struct dup_ent *ahead = c->first;
	unsigned lead = 0;

	for (struct dup_ent *e = c->first; e; e = e->later) {
		for (; ahead && lead < HASH_LEAD; lead++, ahead = ahead->later)
			__builtin_prefetch(htab_at(&s->dup.table, ahead->link.hash), 1);
		ent_hash(s, e);
		lead--;
	}
}

/* After the rows: what has expired (rows whose deletion no checkpoint has met yet, and of rolls
 * that a younger entry keeps) needs no place in the table, and then its size is known. */
int dup_load(struct store *s)
{
	size_t clients = sizeof(s->dup.client) / sizeof(s->dup.client[0]);
	uint64_t count = 0;
	int err = rolls_load(s);

	if (err)
		return err;
	dup_expire(s, s->service_base_ns, SIZE_MAX);
	for (size_t i = 0; i < clients; i++)
		for (struct dup_client *c = s->dup.client[i]; c; c = c->next)
			count += c->count;
	htab_grow(&s->dup.table, count);
	for (size_t i = 0; i < clients; i++)
		for (struct dup_client *c = s->dup.client[i]; c; c = c->next)
			client_hash(s, c);
	return 0;
}

static void chunks_free(struct store *s, struct list *head)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, head) {
		struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		if (c->roll && --c->roll->chunks == 0)
			free(c->roll);
		list_del(it);
		chunk_free(s, c);
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
		chunks_free(s, &s->dup.stored);
	if (s->active)
		chunks_free(s, &s->active->chunks);
	if (s->frozen)
		chunks_free(s, &s->frozen->chunks);
	htab_fini(&s->dup.table);
	slab_fini(&s->dup.chunks);
	slab_fini(&s->dup.bodies);
}
