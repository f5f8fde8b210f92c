/* defer.c - effects on objects that recovery found in the log, carried out after service began.
 *
 * Opening thousands of objects on a cold file system is the longest part of a recovery, and no
 * client needs it before it asks for one of them.  So recovery only lists the effects (their data
 * stay where the log was read into) and the store opens; from then on
 *
 *   - object_open(), the one way to an object, first carries out what is listed for that inode;
 *   - each round of the loop carries out a few more, in lsn order;
 *   - a checkpoint begins only when the list is empty, so the log that holds them is not freed.
 *
 * The disk's blocks that the list still needs were reserved before these records were acknowledged,
 * but a power loss may have undone the reservation.  So whoever takes blocks meanwhile asks
 * defer_space() first; on a disk that is nearly full it carries everything out at once (S6).
 *
 * For the same reason what a later record cuts or unlinks is not written first: its blocks may be
 * somebody else's by now.
 *
 * A crash meanwhile loses nothing: the next recovery finds the same records.  Within one inode the
 * order is that of the log. */
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define NONE	    UINT32_MAX
#define ROUND_MAX   32U
#define CAP_FIRST   1024U
#define BLOCK	    4096U

struct deferred {
	struct change c;
	uint32_t next; /* of the same inode */
	bool done;
};

struct defer {
	struct deferred *e;
	size_t count, cap, at; /* everything before `at` is done */
	struct map64 first, last; /* ino -> index + 1 of its first not done, its last */
	uint8_t *buf[2];
	uint64_t bytes; /* that the effects may take on the disk */
	struct replay_fds fds;
};

static struct defer *defer_of(struct store *s)
{
	if (!s->defer)
		s->defer = mem_zalloc(1, sizeof(*s->defer));
	return s->defer;
}

/* Of what is listed for this inode only the first `size` bytes will remain.  Its file is made all
 * the same: the checkpoint of the older half looks for it. */
static void trim(struct defer *d, const struct change *c)
{
	uint64_t *first = d ? map64_find(&d->first, c->ino) : NULL;
	uint64_t size = c->type == CHANGE_TRUNC ? c->arg : 0;

	for (uint64_t i = first ? *first - 1 : NONE; i != NONE; i = d->e[i].next) {
		struct deferred *e = &d->e[i];

		if (e->c.type == CHANGE_WRITE && e->c.arg + e->c.val_len > size) {
			HF_MARK("store.defer_trim");
			e->done = e->done || e->c.arg >= size;
			e->c.val_len = e->c.arg >= size ? 0 : (size_t)(size - e->c.arg);
		}
	}
}

void defer_add(struct store *s, const struct change *c)
{
	struct defer *d;
	uint64_t *first, *last;

	if (c->type == CHANGE_TRUNC || c->type == CHANGE_UNLINK)
		trim(s->defer, c);
	if (c->type == CHANGE_UNLINK)
		return;
	d = defer_of(s);

	if (d->count == d->cap) {
		d->cap = d->cap ? 2 * d->cap : CAP_FIRST;
		d->e = mem_realloc(d->e, d->cap * sizeof(*d->e));
	}
	d->e[d->count] = (struct deferred){.c = *c, .next = NONE};
	last = map64_put(&d->last, c->ino);
	if (*last)
		d->e[*last - 1].next = (uint32_t)d->count;
	*last = d->count + 1;
	first = map64_put(&d->first, c->ino);
	if (!*first)
		*first = d->count + 1;
	d->count++;
	d->bytes += c->val_len + 2 * BLOCK;
}

void defer_keep(struct store *s, unsigned half, uint8_t *buf)
{
	if (s->defer)
		s->defer->buf[half] = buf;
	else
		free(buf);
}

void defer_fini(struct store *s)
{
	struct defer *d = s->defer;

	if (!d)
		return;
	replay_fds_close(&d->fds);
	map64_fini(&d->first);
	map64_fini(&d->last);
	free(d->buf[0]);
	free(d->buf[1]);
	free(d->e);
	free(d);
	s->defer = NULL;
}

static void carry_out(struct store *s, struct deferred *e)
{
	int err;

	if (e->done)
		return;
	e->done = true;
	err = object_replay(s, &s->defer->fds, &e->c);
	if (err == -ENOENT) { /* the check says it in a repair */
		HF_MARK("store.defer_lost");
		if (!s->on_log)
			store_damage(s, "an object file is missing");
		return;
	}
	if (err)
		store_fatal(s, "an object cannot be brought up to the log", "objects", -err);
}

void defer_inode(struct store *s, uint64_t ino)
{
	uint64_t *first = s->defer ? map64_find(&s->defer->first, ino) : NULL;
	uint64_t i;

	if (!first || !*first)
		return;
	HF_MARK("store.defer_on_demand");
	for (i = *first - 1; i != NONE; i = s->defer->e[i].next)
		carry_out(s, &s->defer->e[i]);
	*first = 0;
}

void defer_space(struct store *s, uint64_t bytes)
{
	struct statvfs v;

	if (!s->defer)
		return;
	if (fstatvfs(s->objects_fd, &v) == 0 &&
	    v.f_bavail * v.f_frsize > s->defer->bytes + bytes + bytes / 8)
		return;
	HF_MARK("store.defer_space");
	while (s->defer)
		defer_progress(s);
}

void defer_progress(struct store *s)
{
	struct defer *d = s->defer;

	if (!d)
		return;
	for (unsigned n = 0; n < ROUND_MAX && d->at < d->count; n++)
		carry_out(s, &d->e[d->at++]);
	if (d->at == d->count) {
		HF_MARK("store.defer_done");
		defer_fini(s);
	} else {
		loop_again(s->loop);
	}
}

void defer_all(struct store *s)
{
	struct defer *d = s->defer;

	while (d && d->at < d->count)
		carry_out(s, &d->e[d->at++]);
	defer_fini(s);
}
