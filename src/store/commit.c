/* commit.c - COMMIT: the object made durable, its folder too if it is new, then the S2 mark.
 *
 * It begins only when no effect on the object is outstanding, so everything up to the last lsn of
 * that moment is in the object: that lsn is the mark.  Steps are completions; a commit whose
 * record finds no room in the log waits in the list for the next round. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

__attribute__((unused)) static bool object_is_new(struct store *s, uint64_t ino)
{
	uint64_t *a = map64_find(&s->active->touched, ino);
	uint64_t *f = s->frozen ? map64_find(&s->frozen->touched, ino) : NULL;

	return (a && (*a & TOUCH_NEW)) || (f && (*f & TOUCH_NEW));
}

static void commit_drop(struct commit *c)
{
	list_del(&c->link);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	free(c);
}

static void on_synced(struct loop_op *op, int res);

/* The first fdatasync of a new object is worth nothing without its name (S7). */
static bool commit_parent(struct commit *c)
{
	struct store *s = c->store;
	char path[48];

	object_parent(c->ino, path, sizeof(path));
	c->dir_fd = openat(s->objects_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		store_fatal(s, "cannot open a folder to make it durable", path, errno);
	c->op.done = on_synced;
	loop_fsync(s->loop, &c->op, c->dir_fd, false);
	return true;
}

static void on_synced(struct loop_op *op, int res)
{
	struct commit *c = LIST_OWNER(op, struct commit, op);
	struct store *s = c->store;

	if (!s) {
		commit_drop(c);
		return;
	}
	if (res < 0)
		store_fatal(s, "fsync failed", "objects", -res);
	if (c->parent && c->dir_fd < 0 && commit_parent(c))
		return;
	c->synced = true;
	commit_progress(s);
}

/* Writes the mark's record; false when the log has no room now. */
static bool commit_mark(struct store *s, struct commit *c, uint64_t *lsn)
{
	struct change mark = {.type = CHANGE_SYNCED, .ino = c->ino, .arg = c->mark};
	uint64_t wait;

	*lsn = c->mark;
	if (!c->needs_mark)
		return true;
	if (store_op_begin(s, NULL, &wait))
		return false;
	s->op.type = REC_COMMIT;
	emit(s, &mark, false);
	*lsn = store_op_end(s, NULL, 0);
	c->ip->obj->mark_lsn = *lsn;
	if (c->ip->obj->clean_seq < c->dirty_seq)
		c->ip->obj->clean_seq = c->dirty_seq;
	c->ip->pins--;
	return true;
}

void commit_progress(struct store *s)
{
	struct list *it, *tmp;
	uint64_t lsn;

	if (s->op.active)
		return;
	LIST_EACH_SAFE (it, tmp, &s->commits) {
		struct commit *c = LIST_OWNER(it, struct commit, link);

		if (!c->synced || !commit_mark(s, c, &lsn))
			continue;
		list_del(&c->link);
		c->done(c->arg, 0, lsn);
		commit_drop(c);
	}
}

int store_commit(struct store *s, uint64_t ino, void (*done)(void *arg, int err, uint64_t lsn),
		 void *arg, uint64_t *wait_lsn)
{
	struct inode *ip = inode_get(s, ino);
	struct commit *c;
	int err;

	if (!ip)
		return -ESTALE;
	if (ip->row.pub.type != STORE_REG)
		return ip->row.pub.type == STORE_DIR ? -EISDIR : -EINVAL;
	if (ip->effect_lsn > s->durable_lsn) {
		*wait_lsn = ip->effect_lsn;
		return STORE_WAIT;
	}
	err = ip->row.has_object ? object_open(s, ip, false) : 0;
	if (err)
		return err;
	c = mem_zalloc(1, sizeof(*c));
	*c = (struct commit){.store = s, .ino = ino, .dir_fd = -1, .done = done, .arg = arg};
	list_add_tail(&s->commits, &c->link);
	c->mark = s->last_lsn;
	if (!ip->row.has_object || ip->obj->dirty_seq == ip->obj->clean_seq) {
		/* Nothing but what the log has, and the mark of the COMMIT before. */
		c->mark = ip->row.pub.lsn > ip->obj->mark_lsn ? ip->row.pub.lsn : ip->obj->mark_lsn;
		c->synced = true;
		loop_again(s->loop);
		return 0;
	}
	c->needs_mark = true;
#ifndef HF_MUTANT_NO_PARENT_SYNC
	c->parent = object_is_new(s, ino);
#endif
	c->ip = ip;
	ip->pins++;
	c->dirty_seq = ip->obj->dirty_seq;
	c->op.done = on_synced;
	loop_fsync(s->loop, &c->op, ip->obj->fd, true);
	return 0;
}
