/* held.c - what waits: replies for their lsn, calls to be run again, commits under way.
 *
 * Each store has one list, lowest lsn first; a call to on_durable releases its head.  Memory
 * comes from free lists by size class, so a call in the steady state allocates nothing.  Those
 * that carry the key of a duplicate-cache entry are in a hash as well: a repeat finds its own
 * first copy and redirects the reply to where the repeat came from (SAFETY S11). */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "nfs/rpc_int.h"

/* Behind so many later ones a reply with a lower lsn is put in line with its neighbour: waiting
 * a little longer than needed is always right, and inserting stays cheap. */
#define INSERT_STEPS_MAX 32

static const size_t held_size[HELD_CLASSES] = {512, 8192, 128 * 1024, 1280 * 1024};
static const unsigned held_keep[HELD_CLASSES] = {4096, 512, 64, 8};
static const size_t bulk_size[BULK_CLASSES] = {64 * 1024 + 64, 256 * 1024 + 64, 1024 * 1024 + 64};
static const unsigned bulk_keep[BULK_CLASSES] = {256, 64, 32};

/* In front of a bulk buffer's bytes. */
struct bulk {
	struct bulk *next;
	unsigned size_class;
	_Alignas(64) uint8_t bytes[];
};

static unsigned class_of(const size_t *sizes, unsigned classes, size_t len)
{
	unsigned i = 0;

	while (i < classes && sizes[i] < len)
		i++;
	hf_assert(i < classes);
	return i;
}

static struct held *held_take(struct rpc_server *s, size_t len)
{
	unsigned size_class = class_of(held_size, HELD_CLASSES, len);
	struct held *h = s->held_free[size_class];

	if (h) {
		s->held_free[size_class] = h->hash_next;
		s->held_free_count[size_class]--;
	} else {
		h = mem_alloc(sizeof(*h) + held_size[size_class]);
	}
	h->size_class = size_class;
	return h;
}

struct held *held_new(struct rpc_server *s, enum held_kind kind, struct rpc_peer *peer,
		      const void *data, size_t len)
{
	struct held *h = held_take(s, len);

	list_init(&h->link);
	h->hash_next = NULL;
	h->kind = kind;
	h->keyed = false;
	h->peer = peer->ops->get(peer);
	h->fs = NULL;
	h->lsn = 0;
	h->since_ns = s->loop ? loop_now_ns(s->loop) : 0;
	h->bulk = NULL;
	h->bulk_len = 0;
	h->srv = s;
	h->len = len;
	if (len)
		memcpy(h->data, data, len);
	s->pending++;
	return h;
}

static struct held **hash_slot(struct rpc_server *s, const struct store_caller *key)
{
	uint64_t x = (key->sum ^ key->xid) * 0x9e3779b97f4a7c15ULL;

	return &s->hash[x >> 54 & (HELD_HASH_SIZE - 1)];
}

static void unhash(struct rpc_server *s, struct held *h)
{
	struct held **at;

	if (!h->keyed)
		return;
	at = hash_slot(s, &h->key);
	while (*at != h)
		at = &(*at)->hash_next;
	*at = h->hash_next;
	h->keyed = false;
}

void held_unlink(struct rpc_server *s, struct held *h)
{
	unhash(s, h);
	list_del(&h->link);
}

static void wait_count(struct rpc_server *s, const struct held *h)
{
	uint64_t us = s->loop ? (loop_now_ns(s->loop) - h->since_ns) / 1000 : 0;
	unsigned bin = us ? 64U - (unsigned)__builtin_clzll(us) : 0;

	s->waits[bin < RPC_WAIT_BINS ? bin : RPC_WAIT_BINS - 1]++;
}

const uint64_t *rpc_waits(const struct rpc_server *s)
{
	return s->waits;
}

void held_free(struct rpc_server *s, struct held *h)
{
	wait_count(s, h);
	held_unlink(s, h);
	h->peer->ops->put(h->peer);
	h->peer = NULL;
	if (h->bulk)
		bulk_put(s, h->bulk);
	h->bulk = NULL;
	s->pending--;
	if (s->held_free_count[h->size_class] >= held_keep[h->size_class]) {
		free(h);
		return;
	}
	h->hash_next = s->held_free[h->size_class];
	s->held_free[h->size_class] = h;
	s->held_free_count[h->size_class]++;
}

void held_key(struct rpc_server *s, struct held *h, const struct store_caller *key)
{
	struct held **at = hash_slot(s, key);

	h->key = *key;
	h->keyed = true;
	h->hash_next = *at;
	*at = h;
}

static bool same_caller(const struct store_caller *a, const struct store_caller *b)
{
	return a->sum == b->sum && a->xid == b->xid && a->proc == b->proc && a->prog == b->prog &&
	       a->vers == b->vers && memcmp(a->client, b->client, sizeof(a->client)) == 0;
}

struct held *held_find(const struct rpc_server *s, const struct store_caller *key)
{
	uint64_t x = (key->sum ^ key->xid) * 0x9e3779b97f4a7c15ULL;
	struct held *h = s->hash[x >> 54 & (HELD_HASH_SIZE - 1)];

	while (h && !same_caller(&h->key, key))
		h = h->hash_next;
	return h;
}

void held_wait(struct rpc_server *s, struct held *h, struct fs *fs, uint64_t lsn)
{
	struct list *at = fs->held.prev;
	unsigned steps = 0;

	(void)s;
	h->fs = fs;
	h->lsn = lsn;
	while (at != &fs->held && LIST_OWNER(at, struct held, link)->lsn > lsn) {
		if (++steps > INSERT_STEPS_MAX) {
			HF_MARK("nfs.held_in_line");
			h->lsn = LIST_OWNER(at, struct held, link)->lsn;
			break;
		}
		at = at->prev;
	}
	list_add_head(at, &h->link);
}

static void drop_list(struct rpc_server *s, struct list *l)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE(it, tmp, l)
		held_free(s, LIST_OWNER(it, struct held, link));
}

void held_fini(struct rpc_server *s)
{
	for (unsigned i = 0; i < s->fs_count; i++)
		drop_list(s, &s->fs[i].held);
	drop_list(s, &s->later);
	drop_list(s, &s->parked);
	for (unsigned i = 0; i < HELD_CLASSES; i++) {
		while (s->held_free[i]) {
			struct held *h = s->held_free[i];

			s->held_free[i] = h->hash_next;
			free(h);
		}
	}
	for (unsigned i = 0; i < BULK_CLASSES; i++) {
		while (s->bulk_free[i]) {
			struct bulk *b = s->bulk_free[i];

			s->bulk_free[i] = b->next;
			free(b);
		}
	}
}

void *bulk_get(struct rpc_server *s, size_t len)
{
	unsigned size_class = class_of(bulk_size, BULK_CLASSES, len);
	struct bulk *b = s->bulk_free[size_class];

	if (b) {
		s->bulk_free[size_class] = b->next;
		s->bulk_free_count[size_class]--;
	} else {
		b = mem_aligned(64, sizeof(*b) + bulk_size[size_class]);
		b->size_class = size_class;
	}
	return b->bytes;
}

void bulk_put(void *server, void *body)
{
	struct rpc_server *s = server;
	struct bulk *b = LIST_OWNER(body, struct bulk, bytes);

	if (s->bulk_free_count[b->size_class] >= bulk_keep[b->size_class]) {
		free(b);
		return;
	}
	b->next = s->bulk_free[b->size_class];
	s->bulk_free[b->size_class] = b;
	s->bulk_free_count[b->size_class]++;
}
