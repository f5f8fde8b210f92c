/* roll.c - the duplicate cache's rows in the index (S11).
 *
 * Two tables.  A chunk's row has the replies: what a repeat is answered with.  A roll's row has of
 * each entry of up to 64 chunks what the table in memory needs: 18 bytes instead of some 150, side
 * by side instead of one page among others.  Byte tables in doc/ondisk.md.
 *
 * Rows are the store's own, but a disk may lie: everything read is checked, and what makes no
 * sense is damage. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define ROLL_VERSION 1U
#define ROLL_CHUNKS  64U
#define ROLL_CHUNK   6U	 /* bytes before a chunk's entries */
#define ROLL_ENTRY   18U
#define ROLL_HEAD    24U
#define ENTRY_FIXED  60U /* up to and with the reply's length */
#define MS	     1000000ULL

/* ---- a chunk's body ------------------------------------------------------------------------------ */

static uint32_t word_at(const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

size_t dup_entry_size(const uint8_t *reply, size_t len)
{
	size_t words = len / 4, n = ENTRY_FIXED + (words + 7) / 8 + len % 4;

	for (size_t i = 0; i < words; i++)
		n += word_at(reply + i * 4) ? 4 : 0;
	return n;
}

/* XDR is half zeros: a bit for each whole word of the reply that is not zero, then those words,
 * then the rest. */
static void reply_encode(struct wr *w, const uint8_t *reply, size_t len)
{
	size_t words = len / 4;
	uint8_t *bits = wr_room(w, (words + 7) / 8);

	hf_assert(bits || words == 0);
	if (words)
		memset(bits, 0, (words + 7) / 8);
	for (size_t i = 0; i < words; i++) {
		if (!word_at(reply + i * 4))
			continue;
		bits[i / 8] |= (uint8_t)(1U << i % 8);
		wr_bytes(w, reply + i * 4, 4);
	}
	wr_bytes(w, reply + words * 4, len % 4);
}

/* `out` NULL: stepped over. */
static int reply_decode(struct rd *r, uint8_t *out, size_t len)
{
	size_t words = len / 4;
	const uint8_t *bits = rd_bytes(r, (words + 7) / 8);

	if (!bits && words)
		return -EBADMSG;
	if (out)
		memset(out, 0, words * 4);
	for (size_t i = 0; i < words; i++) {
		const uint8_t *word = bits[i / 8] >> i % 8 & 1 ? rd_bytes(r, 4) : NULL;

		if (word && out)
			memcpy(out + i * 4, word, 4);
	}
	bits = rd_bytes(r, len % 4);
	if (out && bits && len % 4)
		memcpy(out + words * 4, bits, len % 4);
	return rd_ok(r) ? 0 : -EBADMSG;
}

void dup_entry_encode(struct dup_chunk *c, const struct store_caller *caller, uint64_t lsn,
		      uint64_t service_ns, const uint8_t *reply, size_t len)
{
	struct wr w;

	wr_init(&w, c->body + c->used, c->size - c->used);
	wr_u64(&w, lsn);
	wr_u64(&w, service_ns);
	wr_bytes(&w, caller->client, 16);
	wr_u32(&w, caller->xid);
	wr_u32(&w, caller->prog);
	wr_u32(&w, caller->vers);
	wr_u32(&w, caller->proc);
	wr_u64(&w, caller->sum);
	wr_u32(&w, (uint32_t)len);
	reply_encode(&w, reply, len);
	hf_assert(wr_ok(&w));
	c->used += wr_len(&w);
}

static void caller_decode(struct rd *r, struct store_caller *c)
{
	*c = (struct store_caller){0};
	rd_copy(r, c->client, 16);
	c->xid = rd_u32(r);
	c->prog = rd_u32(r);
	c->vers = rd_u32(r);
	c->proc = rd_u32(r);
	c->sum = rd_u64(r);
}

static bool caller_same(const struct store_caller *a, const struct store_caller *b)
{
	return a->xid == b->xid && a->sum == b->sum && a->proc == b->proc && a->prog == b->prog &&
	       a->vers == b->vers && memcmp(a->client, b->client, 16) == 0;
}

int dup_body_find(const uint8_t *body, size_t len, const struct store_caller *caller, uint64_t lsn,
		  uint8_t reply[STORE_REPLY_MAX])
{
	struct store_caller c;
	uint64_t at_lsn;
	uint32_t n;
	struct rd r;

	rd_init(&r, body, len);
	while (rd_left(&r) > 0) {
		at_lsn = rd_u64(&r);
		rd_u64(&r);
		caller_decode(&r, &c);
		n = rd_u32(&r);
		if (!rd_ok(&r) || n > STORE_REPLY_MAX)
			return -EBADMSG;
		if (at_lsn == lsn && !caller_same(&c, caller))
			return -ENOENT;
		if (reply_decode(&r, at_lsn == lsn ? reply : NULL, n))
			return -EBADMSG;
		if (at_lsn == lsn)
			return (int)n;
	}
	return -EBADMSG; /* the roll said that it is here */
}

/* ---- writing rolls (helper) ------------------------------------------------------------------------ */

/* The next chunks of a frozen generation, as many as one roll names. */
struct group {
	struct list *head, *first, *end; /* end: the one after */
	unsigned chunks;
	size_t entries;
};

static bool group_next(struct group *g)
{
	g->first = g->end;
	g->chunks = 0;
	g->entries = 0;
	while (g->end != g->head && g->chunks < ROLL_CHUNKS) {
		g->entries += LIST_OWNER(g->end, struct dup_chunk, link)->count;
		g->chunks++;
		g->end = g->end->next;
	}
	return g->chunks > 0;
}

/* An entry's client by its place in the roll's list of them. */
static uint16_t client_at(struct wr *w, struct dup_client *c, uint64_t roll, uint16_t *count)
{
	if (c->roll_id != roll) {
		c->roll_id = roll;
		c->roll_at = (*count)++;
		wr_bytes(w, c->client, 16);
	}
	return c->roll_at;
}

static uint32_t delta(uint64_t v, uint64_t base, uint64_t unit)
{
	uint64_t d = v > base ? (v - base) / unit : 0;

	return d < UINT32_MAX ? (uint32_t)d : UINT32_MAX;
}

static void roll_entries(struct wr *w, const struct dup_chunk *c, const struct dup_ent *base)
{
	wr_u32(w, (uint32_t)(c->id - base->chunk->id));
	wr_u16(w, (uint16_t)c->count);
	for (unsigned i = 0; i < c->count; i++) {
		const struct dup_ent *e = &c->ent[i];

		hf_assert(e->lsn - base->lsn < UINT32_MAX);
		wr_u64(w, e->hash);
		wr_u32(w, (uint32_t)(e->lsn - base->lsn));
		wr_u32(w, delta(e->service_ns, base->service_ns, MS));
		wr_u16(w, e->owner->roll_at);
	}
}

/* Reads only what never changes after an entry was made. */
static size_t roll_encode(const struct group *g, uint8_t *out, size_t size)
{
	const struct dup_ent *base = LIST_OWNER(g->first, struct dup_chunk, link)->ent;
	uint16_t clients = 0;
	uint8_t *head;
	struct wr w, h;

	wr_init(&w, out, size);
	head = wr_room(&w, ROLL_HEAD);
	for (struct list *it = g->first; it != g->end; it = it->next) {
		const struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		for (unsigned i = 0; i < c->count; i++)
			client_at(&w, c->ent[i].owner, base->chunk->id, &clients);
	}
	for (struct list *it = g->first; it != g->end; it = it->next)
		roll_entries(&w, LIST_OWNER(it, struct dup_chunk, link), base);
	hf_assert(wr_ok(&w) && head);
	wr_init(&h, head, ROLL_HEAD);
	wr_u32(&h, ROLL_VERSION);
	wr_u16(&h, clients);
	wr_u16(&h, (uint16_t)g->chunks);
	wr_u64(&h, base->lsn);
	wr_u64(&h, base->service_ns);
	return wr_len(&w);
}

static int roll_put(struct store *s, const struct group *g)
{
	size_t room = ROLL_HEAD + g->chunks * ROLL_CHUNK + g->entries * (ROLL_ENTRY + 16);
	uint8_t key[9], *val = mem_alloc(room);
	size_t len = roll_encode(g, val, room);
	uint64_t id = LIST_OWNER(g->first, struct dup_chunk, link)->id;
	int err = index_put(s->index, key, table_key(key, TABLE_ROLL, id), val, len);

	free(val);
	return err;
}

int rolls_put(struct store *s)
{
	struct list *head = &s->frozen->chunks;
	struct group g = {.head = head, .end = head->next};
	uint8_t key[9];
	int err = 0;

	while (!err && group_next(&g))
		err = roll_put(s, &g);
	for (struct list *it = head->next; it != head && !err; it = it->next) {
		const struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		err = index_put(s->index, key, table_key(key, TABLE_REPLIES, c->id), c->body, c->used);
	}
	return err;
}

/* ---- the loop's side -------------------------------------------------------------------------------- */

void rolls_written(struct store *s)
{
	struct list *head = &s->frozen->chunks;
	struct group g = {.head = head, .end = head->next};

	while (group_next(&g)) {
		struct dup_roll *roll = mem_zalloc(1, sizeof(*roll));

		roll->id = LIST_OWNER(g.first, struct dup_chunk, link)->id;
		roll->chunks = g.chunks;
		for (struct list *it = g.first; it != g.end; it = it->next)
			LIST_OWNER(it, struct dup_chunk, link)->roll = roll;
	}
}

/* ---- loading ----------------------------------------------------------------------------------------- */

struct roll_reader {
	struct rd r;
	const uint8_t *client;
	uint64_t *forgotten; /* of each client: entries before this lsn are void */
	uint64_t lsn, service_ns, id;
	uint16_t clients, chunks;
};

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

static int roll_head(struct store *s, struct roll_reader *x, const struct index_row *row)
{
	rd_init(&x->r, row->key + 1, row->key_len - 1);
	x->id = rd_u64(&x->r);
	rd_init(&x->r, row->val, row->val_len);
	if (rd_u32(&x->r) != ROLL_VERSION)
		return -EBADMSG;
	x->clients = rd_u16(&x->r);
	x->chunks = rd_u16(&x->r);
	x->lsn = rd_u64(&x->r);
	x->service_ns = rd_u64(&x->r);
	x->client = rd_bytes(&x->r, 16U * x->clients);
	if (!x->client || x->clients == 0)
		return -EBADMSG;
	x->forgotten = mem_alloc(x->clients * sizeof(*x->forgotten));
	for (unsigned i = 0; i < x->clients; i++)
		x->forgotten[i] = forgotten_up_to(s, x->client + 16 * i);
	return 0;
}

static int chunk_read(struct store *s, struct roll_reader *x, struct dup_chunk *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t hash = rd_u64(&x->r), lsn = x->lsn + rd_u32(&x->r);
		uint64_t service_ns = x->service_ns + rd_u32(&x->r) * MS;
		unsigned client = rd_u16(&x->r);

		if (!rd_ok(&x->r) || client >= x->clients)
			return -EBADMSG;
		if (lsn >= x->forgotten[client])
			dup_restore(s, c, x->client + 16 * client, hash, lsn, service_ns);
	}
	return 0;
}

static int chunk_load(struct store *s, struct roll_reader *x, struct dup_roll *roll)
{
	uint64_t id = x->id + rd_u32(&x->r);
	unsigned count = rd_u16(&x->r);
	struct dup_chunk *c;
	int err;

	if (!rd_ok(&x->r) || (uint64_t)count * ROLL_ENTRY > rd_left(&x->r) ||
	    id < s->dup.next_id)
		return -EBADMSG;
	c = dup_chunk_new(id, count);
	c->roll = roll;
	roll->chunks++;
	s->dup.next_id = id + 1;
	list_add_tail(&s->dup.stored, &c->link);
	err = chunk_read(s, x, c, count);
	if (c->live == 0)
		dup_chunk_empty(s, c);
	return err;
}

static int roll_load(struct store *s, const struct index_row *row)
{
	struct roll_reader x = {0};
	struct dup_roll *roll = mem_zalloc(1, sizeof(*roll));
	int err = roll_head(s, &x, row);

	roll->id = x.id;
	roll->chunks = 1; /* ours, until all are there */
	for (unsigned i = 0; i < x.chunks && !err; i++)
		err = chunk_load(s, &x, roll);
	if (!err && !rd_done(&x.r))
		err = -EBADMSG;
	free(x.forgotten);
	if (--roll->chunks == 0) {
		if (!err)
			gen_gone_add(s->active, TABLE_ROLL, x.id);
		free(roll);
	}
	return err;
}

int rolls_load(struct store *s)
{
	static const uint8_t first[9] = {TABLE_ROLL};
	struct index_row row;
	int err = index_seek(s->index, first, sizeof(first), &row);

	while (err == 0 && row.key[0] == TABLE_ROLL && row.key_len == sizeof(first)) {
		err = roll_load(s, &row);
		if (err == 0)
			err = index_next(s->index, &row);
	}
	return err == -ENOENT ? 0 : err;
}
