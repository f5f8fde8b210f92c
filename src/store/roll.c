/* roll.c - the duplicate cache's rows in the index (S11).
 *
 * Two tables.  A chunk's row has the replies: what a repeat is answered with.  A roll's row has of
 * each entry of up to 64 chunks what the table in memory needs: 18 bytes instead of some 150, side
 * by side instead of one page among others.  Byte tables in doc/store.md.
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
#define ROLL_CHUNK   22U /* bytes before a chunk's entries */
#define ROLL_ENTRY   18U
#define ROLL_HEAD    8U
#define ENTRY_FIXED  60U /* bytes of an entry before its reply */

/* ---- a chunk's body ------------------------------------------------------------------------------ */

/* An entry is words of 4 bytes: first those of its lsn, service time, caller and length, then the
 * reply's, which is XDR.  Half of them are zero and half of the others are those of the entry
 * before: two bits for each word say so, and only the rest is written out. */
enum word { WORD_ZERO, WORD_SAME, WORD_NEW };

static uint32_t word_at(const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

static size_t words_of(size_t len)
{
	return (ENTRY_FIXED + len + 3) / 4;
}

static size_t bits_of(size_t words)
{
	return (words + 3) / 4;
}

size_t dup_entry_words(uint8_t out[DUP_WORDS], const struct store_caller *caller, uint64_t lsn,
		       uint64_t service_ns, const uint8_t *reply, size_t len)
{
	struct wr w;

	wr_init(&w, out, DUP_WORDS);
	wr_u32(&w, (uint32_t)len);
	wr_u64(&w, lsn);
	wr_u64(&w, service_ns);
	wr_bytes(&w, caller->client, 16);
	wr_u32(&w, caller->xid);
	wr_u32(&w, caller->prog);
	wr_u32(&w, caller->vers);
	wr_u32(&w, caller->proc);
	wr_u64(&w, caller->sum);
	wr_bytes(&w, reply, len);
	wr_zero(&w, words_of(len) * 4 - ENTRY_FIXED - len);
	hf_assert(wr_ok(&w));
	return words_of(len);
}

size_t dup_entry_encode(uint8_t out[DUP_CODED], const uint8_t *entry, size_t words,
			const uint8_t *before)
{
	uint8_t *bits = out + 4, *at = bits + bits_of(words);

	memcpy(out, entry, 4); /* the length comes first as it is: so much is to be read */
	memset(bits, 0, bits_of(words));
	for (size_t i = 1; i < words; i++) {
		uint32_t word = word_at(entry + i * 4);
		unsigned same = word == word_at(before + i * 4);
		unsigned kind = (same ? WORD_SAME : WORD_NEW) & -(unsigned)(word != 0);

		/* Which it is nobody can foretell, a processor neither: so no jumps.  What is no new word
		 * is written over by the next, or lies behind the end. */
		bits[i / 4] |= (uint8_t)(kind << i % 4 * 2);
		memcpy(at, &word, 4);
		at += kind * 2 & 4;
	}
	return (size_t)(at - out);
}

/* The next entry, in the place of the one before; its reply's length or -EBADMSG. */
static int entry_decode(struct rd *r, uint8_t entry[DUP_WORDS])
{
	uint32_t len = rd_u32(r);
	size_t words = words_of(len);
	const uint8_t *bits, *word;

	if (!rd_ok(r) || len > STORE_REPLY_MAX || (bits = rd_bytes(r, bits_of(words))) == NULL)
		return -EBADMSG;
	for (size_t i = 1; i < words; i++) {
		switch (bits[i / 4] >> i % 4 * 2 & 3) {
		case WORD_ZERO:
			memset(entry + i * 4, 0, 4);
			break;
		case WORD_SAME:
			break;
		case WORD_NEW:
			word = rd_bytes(r, 4);
			if (!word)
				return -EBADMSG;
			memcpy(entry + i * 4, word, 4);
			break;
		default:
			return -EBADMSG;
		}
	}
	return (int)len;
}

static uint64_t entry_caller(const uint8_t *entry, struct store_caller *c)
{
	uint64_t lsn;
	struct rd r;

	rd_init(&r, entry + 4, ENTRY_FIXED - 4);
	lsn = rd_u64(&r);
	rd_u64(&r);
	*c = (struct store_caller){0};
	rd_copy(&r, c->client, 16);
	c->xid = rd_u32(&r);
	c->prog = rd_u32(&r);
	c->vers = rd_u32(&r);
	c->proc = rd_u32(&r);
	c->sum = rd_u64(&r);
	return lsn;
}

static bool caller_same(const struct store_caller *a, const struct store_caller *b)
{
	return a->xid == b->xid && a->sum == b->sum && a->proc == b->proc && a->prog == b->prog &&
	       a->vers == b->vers && memcmp(a->client, b->client, 16) == 0;
}

int dup_body_find(const uint8_t *body, size_t body_len, const struct store_caller *caller,
		  uint64_t lsn, uint8_t reply[STORE_REPLY_MAX])
{
	uint8_t entry[DUP_WORDS] = {0};
	struct store_caller c;
	struct rd r;

	rd_init(&r, body, body_len);
	while (rd_left(&r) > 0) {
		int len = entry_decode(&r, entry);

		if (len < 0)
			return len;
		if (entry_caller(entry, &c) != lsn)
			continue;
		if (!caller_same(&c, caller))
			return -ENOENT;
		memcpy(reply, entry + ENTRY_FIXED, (size_t)len);
		return len;
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

static void roll_entries(struct wr *w, const struct dup_chunk *c, const struct dup_chunk *base)
{
	wr_u32(w, (uint32_t)(c->id - base->id));
	wr_u16(w, (uint16_t)c->count);
	wr_u64(w, c->lsn);
	wr_u64(w, c->service_ms);
	for (unsigned i = 0; i < c->count; i++) {
		const struct dup_ent *e = &c->ent[i];

		wr_u64(w, e->link.hash);
		wr_u32(w, e->lsn);
		wr_u32(w, e->service_ms);
		wr_u16(w, e->owner->roll_at);
	}
}

/* Reads only what never changes after an entry was made. */
static size_t roll_encode(const struct group *g, uint8_t *out, size_t size)
{
	const struct dup_chunk *base = LIST_OWNER(g->first, struct dup_chunk, link);
	uint16_t clients = 0;
	uint8_t *head;
	struct wr w, h;

	wr_init(&w, out, size);
	head = wr_room(&w, ROLL_HEAD);
	for (struct list *it = g->first; it != g->end; it = it->next) {
		const struct dup_chunk *c = LIST_OWNER(it, struct dup_chunk, link);

		for (unsigned i = 0; i < c->count; i++)
			client_at(&w, c->ent[i].owner, base->id, &clients);
	}
	for (struct list *it = g->first; it != g->end; it = it->next)
		roll_entries(&w, LIST_OWNER(it, struct dup_chunk, link), base);
	hf_assert(wr_ok(&w) && head);
	wr_init(&h, head, ROLL_HEAD);
	wr_u32(&h, ROLL_VERSION);
	wr_u16(&h, clients);
	wr_u16(&h, (uint16_t)g->chunks);
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
	uint64_t id;
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
		uint64_t hash = rd_u64(&x->r), lsn = c->lsn + rd_u32(&x->r);
		uint64_t service_ms = c->service_ms + rd_u32(&x->r);
		unsigned client = rd_u16(&x->r);

		if (!rd_ok(&x->r) || client >= x->clients)
			return -EBADMSG;
		if (lsn >= x->forgotten[client])
			dup_restore(s, c, x->client + 16 * client, hash, lsn, service_ms);
	}
	return 0;
}

static int chunk_load(struct store *s, struct roll_reader *x, struct dup_roll *roll)
{
	uint64_t id = x->id + rd_u32(&x->r);
	unsigned count = rd_u16(&x->r);
	uint64_t lsn = rd_u64(&x->r), service_ms = rd_u64(&x->r);
	struct dup_chunk *c;
	int err;

	if (!rd_ok(&x->r) || (uint64_t)count * ROLL_ENTRY > rd_left(&x->r) ||
	    id < s->dup.next_id)
		return -EBADMSG;
	c = dup_chunk_new(s, id, count, lsn, service_ms);
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

/* ---- check and repair ---------------------------------------------------------------------------- */

static bool body_sane(const struct index_row *row)
{
	uint8_t entry[DUP_WORDS] = {0};
	struct rd r;

	rd_init(&r, row->val, row->val_len);
	while (rd_left(&r) > 0)
		if (entry_decode(&r, entry) < 0)
			return false;
	return row->val_len > 0;
}

/* Behind the head and the clients: one chunk's number and the bytes of its part; false at the end
 * or when it makes no sense. */
static bool part_next(struct rd *r, uint64_t base, unsigned clients, uint64_t *id, const uint8_t **part,
		      size_t *len)
{
	struct rd in;
	unsigned count;

	rd_init(&in, r->p, rd_left(r));
	*id = base + rd_u32(&in);
	count = rd_u16(&in);
	*len = ROLL_CHUNK + (size_t)count * ROLL_ENTRY;
	*part = rd_bytes(r, *len);
	for (unsigned i = 0; *part && i < count; i++) {
		rd_init(&in, *part + ROLL_CHUNK + i * ROLL_ENTRY + 16, 2);
		if (rd_u16(&in) >= clients)
			return false;
	}
	return *part != NULL;
}

size_t dup_roll_trim(const struct index_row *row, uint8_t *out, size_t size,
		     bool (*keep)(void *arg, uint64_t chunk), void *arg)
{
	unsigned clients, chunks, version, kept = 0;
	const uint8_t *part;
	uint64_t base, id;
	uint8_t *count;
	struct wr w;
	struct rd r;
	size_t len;

	rd_init(&r, row->key + 1, row->key_len - 1);
	base = rd_u64(&r);
	rd_init(&r, row->val, row->val_len);
	wr_init(&w, out, size);
	version = rd_u32(&r);
	wr_u32(&w, version);
	clients = rd_u16(&r);
	wr_u16(&w, (uint16_t)clients);
	count = w.p;
	chunks = rd_u16(&r);
	wr_u16(&w, (uint16_t)chunks);
	part = rd_bytes(&r, 16 * clients);
	if (!part || version != ROLL_VERSION || clients == 0)
		return 0;
	wr_bytes(&w, part, 16 * clients);
	for (unsigned i = 0; i < chunks; i++) {
		if (!part_next(&r, base, clients, &id, &part, &len))
			return 0;
		if (keep && !keep(arg, id))
			continue;
		wr_bytes(&w, part, len);
		kept++;
	}
	if (rd_left(&r) > 0 || kept == 0 || !wr_ok(&w))
		return 0;
	count[0] = (uint8_t)(kept >> 8);
	count[1] = (uint8_t)kept;
	return wr_len(&w);
}

bool dup_row_sane(const struct index_row *row)
{
	uint8_t *out;
	size_t len;

	if (row->key_len != 9)
		return false;
	if (row->key[0] == TABLE_REPLIES)
		return body_sane(row);
	out = mem_alloc(row->val_len + 1);
	len = dup_roll_trim(row, out, row->val_len, NULL, NULL);
	free(out);
	return len > 0;
}
