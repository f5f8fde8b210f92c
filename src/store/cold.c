/* cold.c - reads of what is not in memory: the loop goes on while the disk is read.
 *
 * A read that would wait gives STORE_COLD and leaves nothing behind; store_warm() then has the ring
 * read the same range, into memory that nobody looks at: what counts is that the pages are in the
 * page cache afterwards.  Then the caller runs its call again, from the beginning: so no buffer, no
 * attribute and no permission is older than the reply, and whoever was quicker is answered first.
 *
 * In that second run the read waits for the disk where it must (pages may have gone again, and the
 * error of a bad disk must be met by somebody): no read is put off for ever. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

struct cold {
	struct list link;
	struct loop_op op;
	struct store *store; /* NULL: the store is gone, the read is not */
	struct inode *ip;    /* pinned: its descriptor stays open */
	uint64_t off;
	size_t left;
	void (*done)(void *arg);
	void *arg;
};

/* Where all of them read to, at the same time: nothing of it is used. */
static uint8_t nowhere[STORE_WRITE_MAX];

static void cold_start(struct cold *c)
{
	size_t len = c->left < sizeof(nowhere) ? c->left : sizeof(nowhere);

	loop_read(c->store->loop, &c->op, c->ip->obj->fd, nowhere, len, c->off);
}

static void cold_end(struct cold *c)
{
	struct store *s = c->store;

	c->ip->pins--;
	list_del(&c->link);
	s->reads_wait = true;
	c->done(c->arg);
	s->reads_wait = false;
	free(c);
}

static void on_cold(struct loop_op *op, int res)
{
	struct cold *c = LIST_OWNER(op, struct cold, op);

	if (!c->store) {
		free(c);
		return;
	}
	/* An error or the end of the object: the second run sees it. */
	if (res > 0 && (size_t)res < c->left) {
		c->off += (size_t)res;
		c->left -= (size_t)res;
		cold_start(c);
		return;
	}
	cold_end(c);
}

void store_warm(struct store *s, uint64_t ino, uint64_t off, size_t len, void (*done)(void *arg),
		void *arg)
{
	struct cold *c = mem_alloc(sizeof(*c));

	HF_MARK("store.cold");
	*c = (struct cold){.store = s, .ip = inode_cached(s, ino), .off = off, .left = len,
			   .op.done = on_cold, .done = done, .arg = arg};
	hf_assert(c->ip && c->ip->obj->fd >= 0 && len > 0); /* it said STORE_COLD a moment ago */
	c->ip->pins++;
	list_add_tail(&s->colds, &c->link);
	s->stats.cold_reads++;
	cold_start(c);
}

void colds_abandon(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->colds) {
		struct cold *c = LIST_OWNER(it, struct cold, link);

		list_del(&c->link);
		c->store = NULL; /* on_cold() frees it */
	}
}
