/* ops.c - the changing calls.
 *
 * Each has two halves.  First everything is checked and may fail, or ask to wait, with nothing
 * changed; then it emits its changes, which cannot fail: emit() puts each into the record and
 * applies it.  The room for the record was secured by store_op_begin().
 *
 * The last lsn with an effect on an object (inode.effect_lsn) orders everything about data:
 * reading, an unstable write, COMMIT and whatever depends on a cut wait until it is durable, for
 * the effect is carried out only then (S1). */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define BLOCK	     4096U
#define DIR_SIZE     4096U
#define READ_SMALL (16U << 10) /* read through blocks that are kept */
#define RELATIME_NS  (24 * 3600 * (int64_t)NSEC)
#define COOKIE_FIRST 3U

/* ---- begin, end -------------------------------------------------------------------------------- */

static int64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NSEC + ts.tv_nsec;
}

/* Of this round: READs of a round need not all ask. */
static int64_t round_time(struct store *s)
{
	uint64_t round = loop_now_ns(s->loop);

	if (s->round_began_ns != round) {
		s->round_began_ns = round;
		s->round_time_ns = clock_now();
	}
	return s->round_time_ns;
}

/* Time never goes back, whatever the clock does (S10). */
static int64_t record_time(struct store *s)
{
	int64_t now = clock_now();

#ifdef HF_MUTANT_TIME_GOES_BACK
	(void)s;
#else
	if (now <= s->time_ns)
		now = s->time_ns + 1;
#endif
	return now;
}

int store_op_begin(struct store *s, const struct store_caller *c, uint64_t *wait_lsn)
{
	hf_assert(!s->op.active && !s->cp.closed);
	*wait_lsn = NO_LSN;
	if (s->damaged)
		return STORE_WAIT;
	if (!wal_room(s, OP_ROOM)) {
		*wait_lsn = s->last_lsn + 1;
		return STORE_WAIT;
	}
	op_start(s, c);
	return 0;
}

void op_start(struct store *s, const struct store_caller *c)
{
	struct op *op = &s->op;

	wal_reserve(s, OP_ROOM);
	op->active = true;
	op->unstable = false;
	op->shown_lsn = 0;
	op->has_caller = c != NULL;
	if (c)
		op->caller = *c;
	op->type = REC_REPLY;
	op->lsn = s->last_lsn + 1;
	op->time_ns = record_time(s);
	op->changes = op->effects = 0;
	wr_init(&op->w, s->log.fill->buf + s->log.fill->len, s->log.fill->cap - s->log.fill->len);
	rec_begin(&op->w, c);
}

uint64_t store_op_end(struct store *s, const void *reply, size_t reply_len)
{
	struct op *op = &s->op;
	struct record r = {.lsn = op->lsn, .type = op->type, .time_ns = op->time_ns,
			   .has_caller = op->has_caller, .change_count = op->changes,
			   .reply = reply, .reply_len = reply_len};

	hf_assert(op->active && reply_len <= STORE_REPLY_MAX);
	/* A full index has no room for the memory of failures: the checkpoint must not fail. */
	if (op->changes == 0 && op->has_caller && !index_has_room(s, false)) {
		HF_MARK("store.failure_forgotten");
		op->active = false;
		return s->last_lsn;
	}
	rec_end(&op->w, &r);
	s->last_lsn = op->lsn;
	s->time_ns = op->time_ns;
	wal_append(s, wr_len(&op->w));
	op->active = false;
	if (op->has_caller)
		dup_add(s, &op->caller, reply, reply_len, op->lsn, store_service_ns(s));
#ifdef HF_MUTANT_REPLY_EARLY
	return 0;
#endif
	return op->unstable ? op->shown_lsn : op->lsn;
}

int op_note(struct store *s, uint64_t *wait_lsn)
{
	int err = store_op_begin(s, NULL, wait_lsn);

	if (err)
		return err;
	s->op.type = REC_NOTE;
	store_op_end(s, NULL, 0);
	return 0;
}

uint64_t store_fence(struct store *s)
{
	uint64_t wait;

	hf_assert(!s->op.active);
	if (s->log.fill->count == 0 && !s->cp.closed && op_note(s, &wait))
		return wait;
	return s->last_lsn;
}

void store_op_cancel(struct store *s)
{
	hf_assert(s->op.active && s->op.changes == 0);
	s->op.active = false;
}

/* ---- emitting changes ---------------------------------------------------------------------------- */

static void effect_add(struct store *s, const struct change *c)
{
	struct inode *ip = inode_cached(s, c->ino);
	struct op *op = &s->op;

	hf_assert(ip && op->effects < OP_EFFECTS);
	op->effect[op->effects++] = (struct effect){.ip = ip, .type = c->type, .off = c->arg,
						    .lsn = op->lsn, .len = c->val_len,
						    .data = op->w.p - c->val_len};
	ip->effect_lsn = op->lsn;
#ifdef HF_MUTANT_EFFECT_BEFORE_DURABLE
	object_effect(s, &op->effect[op->effects - 1]);
#endif
	if (c->type == CHANGE_TRUNC) {
		object_known(ip);
		ip->obj->trunc_lsn = op->lsn;
	}
}

void emit(struct store *s, const struct change *c, bool fresh)
{
	change_encode(&s->op.w, c);
	hf_assert(wr_ok(&s->op.w));
	s->op.changes++;
	apply_change(s, c, s->op.lsn, fresh);
	if (c->type == CHANGE_WRITE || c->type == CHANGE_TRUNC)
		effect_add(s, c);
}

/* The part of a change that recovery and live operation share to the letter. */
void apply_change(struct store *s, const struct change *c, uint64_t lsn, bool fresh)
{
	switch (c->type) {
	case CHANGE_PUT:
	case CHANGE_DEL:
		apply_row(s, c, lsn, fresh);
		return;
	case CHANGE_WRITE:
	case CHANGE_TRUNC:
		gen_touch(s->active, c->ino, TOUCH_SYNC);
		return;
	case CHANGE_NEWOBJ:
		gen_touch(s->active, c->ino, TOUCH_SYNC | TOUCH_NEW);
		return;
	case CHANGE_UNLINK:
#ifdef HF_MUTANT_UNLINK_EARLY
		object_unlink(s, c->ino);
#endif
		gen_unlink_add(s->active, c->ino);
		return;
	case CHANGE_XDROP:
		gen_xdrop_add(s->active, c->ino);
		return;
	case CHANGE_SYNCED: /* speaks to recovery only */
		return;
	case CHANGE_TYPE_END:
		break;
	}
	HF_UNREACHABLE("change type");
}

static void emit_inode(struct store *s, const struct inode_row *r, bool fresh)
{
	uint8_t key[9], val[ROW_INODE_MAX];
	struct change c = {.type = CHANGE_PUT, .key = key, .val = val};

	c.key_len = key_inode(key, r->pub.ino);
	c.val_len = inode_row_encode(r, val, sizeof(val));
	emit(s, &c, fresh);
}

static void emit_object(struct store *s, enum change_type type, uint64_t ino, uint64_t arg)
{
	struct change c = {.type = type, .ino = ino, .arg = arg};

	emit(s, &c, false);
}

/* A file of an earlier life without an object may have one all the same: an unstable write makes
 * it before its record is durable; so may one for which a write was refused. */
static bool may_have_object(const struct store *s, const struct inode_row *r)
{
	return r->has_object || (r->pub.type == STORE_REG && r->pub.ino < s->first_ino);
}

static void emit_inode_gone(struct store *s, const struct inode_row *r)
{
	uint8_t key[9];
	struct change c = {.type = CHANGE_DEL, .key = key};

	c.key_len = key_inode(key, r->pub.ino);
	if (may_have_object(s, r))
		emit_object(s, CHANGE_UNLINK, r->pub.ino, 0);
#ifndef HF_MUTANT_XATTR_KEPT
	if (r->has_xattr)
		emit_object(s, CHANGE_XDROP, r->pub.ino, 0);
#endif
	emit(s, &c, false);
}

struct name {
	uint64_t dir;
	const char *text;
	size_t len;
};

static void emit_entry(struct store *s, const struct name *n, uint64_t cookie, uint64_t ino)
{
	uint8_t key[ROW_KEY_MAX], val[8 + STORE_NAME_MAX];
	struct change c = {.type = CHANGE_PUT, .key = key, .val = val};
	struct wr w;

	c.key_len = key_name(key, n->dir, n->text, n->len);
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_u64(&w, cookie);
	c.val_len = wr_len(&w);
	emit(s, &c, false);
	c.key_len = key_dir(key, n->dir, cookie);
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_bytes(&w, n->text, n->len);
	c.val_len = wr_len(&w);
	emit(s, &c, true);
}

static void emit_entry_gone(struct store *s, const struct name *n, uint64_t cookie, bool replaced)
{
	uint8_t key[ROW_KEY_MAX];
	struct change c = {.type = CHANGE_DEL, .key = key};

	c.key_len = key_dir(key, n->dir, cookie);
	emit(s, &c, false);
	if (replaced) /* its name row is overwritten at once */
		return;
	c.key_len = key_name(key, n->dir, n->text, n->len);
	emit(s, &c, false);
}

/* ---- checking ------------------------------------------------------------------------------------ */

static int name_ok(const struct name *n)
{
	if (n->len == 0)
		return -EINVAL;
	if (n->len > STORE_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(n->text, '/', n->len) || memchr(n->text, 0, n->len))
		return -EINVAL;
	return 0;
}

static bool name_is_dots(const struct name *n)
{
	return n->text[0] == '.' && (n->len == 1 || (n->len == 2 && n->text[1] == '.'));
}

static int dir_get(struct store *s, uint64_t ino, struct inode **out)
{
	*out = inode_get(s, ino);
	if (s->damaged)
		return -EIO;
	if (!*out)
		return -ESTALE;
	return (*out)->row.pub.type == STORE_DIR ? 0 : -ENOTDIR;
}

struct entry {
	struct inode *dir, *ip;
	uint64_t cookie;
};

static int entry_get(struct store *s, const struct name *n, struct entry *e)
{
	uint64_t ino;
	int err = dir_get(s, n->dir, &e->dir);

	e->ip = NULL;
	if (err == 0)
		err = name_ok(n);
	if (err)
		return err;
	if (name_is_dots(n))
		return -EINVAL;
	err = name_get(s, n->dir, n->text, n->len, &ino, &e->cookie);
	if (err)
		return err == -EUCLEAN ? -EIO : err;
	e->ip = inode_get(s, ino);
	if (!e->ip) {
		store_damage(s, "a name leads to an inode that does not exist");
		return -EIO;
	}
	return 0;
}

/* ---- attributes ---------------------------------------------------------------------------------- */

static uint64_t blocks_up(uint64_t size)
{
	return (size + BLOCK - 1) / BLOCK * BLOCK;
}

static void attr_apply(struct inode_row *r, const struct store_attr *a, int64_t now)
{
	struct store_inode *p = &r->pub;

	if (a->set_mode)
		p->mode = a->mode & 07777;
	if (a->set_uid)
		p->uid = a->uid;
	if (a->set_gid)
		p->gid = a->gid;
	if (a->set_size && p->type == STORE_REG) {
		p->size = a->size;
		if (p->used > blocks_up(p->size))
			p->used = blocks_up(p->size);
		p->mtime_ns = now;
	}
	if (a->set_atime != STORE_TIME_KEEP)
		p->atime_ns = a->set_atime == STORE_TIME_CLIENT ? a->atime_ns : now;
	if (a->set_mtime != STORE_TIME_KEEP)
		p->mtime_ns = a->set_mtime == STORE_TIME_CLIENT ? a->mtime_ns : now;
	p->ctime_ns = now;
}

/* May the object be touched by this record?  0, STORE_WAIT, or an error. */
static int object_settled(struct store *s, struct inode *ip, uint64_t *wait_lsn)
{
	if (!ip->obj->checked && ip->effect_lsn > s->durable_lsn) {
		*wait_lsn = ip->effect_lsn;
		return STORE_WAIT;
	}
	return object_ready(s, ip, false, wait_lsn);
}

int store_setattr(struct store *s, uint64_t ino, const struct store_attr *a, uint64_t *wait_lsn)
{
	struct inode *ip = inode_get(s, ino);
	struct inode_row row;
	bool cut;
	int err;

	hf_assert(s->op.active);
	if (!ip)
		return -ESTALE;
	if (a->set_size && ip->row.pub.type != STORE_REG)
		return ip->row.pub.type == STORE_DIR ? -EISDIR : -EINVAL;
	if (a->set_size && a->size > STORE_FILE_SIZE_MAX)
		return -EFBIG;
	if (!index_has_room(s, false))
		return -ENOSPC;
	cut = a->set_size && ip->row.has_object && a->size < ip->row.pub.size;
	if (a->set_size && ip->row.has_object && a->size != ip->row.pub.size) {
		err = object_settled(s, ip, wait_lsn);
		if (err)
			return err;
	}
	s->op.type = REC_SETATTR;
	row = ip->row;
	attr_apply(&row, a, s->op.time_ns);
	emit_inode(s, &row, false);
	if (cut)
		emit_object(s, CHANGE_TRUNC, ino, a->size);
	return 0;
}

static bool touched_lately(struct store *s, const struct store_inode *in)
{
	return in->atime_ns > in->mtime_ns && in->atime_ns > in->ctime_ns &&
	       round_time(s) - in->atime_ns < RELATIME_NS;
}

void store_touch(struct store *s, uint64_t ino)
{
	struct inode *ip = inode_get(s, ino);
	struct inode_row row;
	uint64_t wait, shown;

	if (!ip || s->op.active || s->damaged || touched_lately(s, &ip->row.pub))
		return;
	if (!index_has_room(s, false) || store_op_begin(s, NULL, &wait))
		return;
	row = ip->row;
	shown = row.pub.lsn;
	row.pub.atime_ns = s->op.time_ns;
	s->op.type = REC_TOUCH;
	emit_inode(s, &row, false);
	ip->row.pub.lsn = shown; /* nobody waits for an access time */
	store_op_end(s, NULL, 0);
}

/* ---- making -------------------------------------------------------------------------------------- */

static void dir_changed(struct store *s, struct inode_row *d)
{
	d->pub.mtime_ns = d->pub.ctime_ns = s->op.time_ns;
}

static uint32_t generation_new(struct store *s, uint64_t ino)
{
	uint64_t h = row_hash(s->seed, (const uint8_t *)&ino, sizeof(ino));

	return (uint32_t)(h ^ (uint64_t)s->op.time_ns) | 1U;
}

static int create_check(struct store *s, const struct name *n, const struct store_new *what,
			struct inode **dir)
{
	struct entry e;
	int err = entry_get(s, n, &e);

	if (err == -EINVAL && n->len && name_is_dots(n))
		return -EEXIST;
	if (err == 0)
		return -EEXIST;
	if (err != -ENOENT)
		return err;
	*dir = e.dir;
	if (what->type == STORE_DIR && e.dir->row.pub.nlink >= STORE_SUBDIR_MAX)
		return -EMLINK;
	if (what->type == STORE_LNK && what->target_len > STORE_TARGET_MAX)
		return -ENAMETOOLONG;
	if (what->type == STORE_LNK &&
	    (what->target_len == 0 || memchr(what->target, 0, what->target_len)))
		return -EINVAL;
	if (what->attr.set_size && what->attr.size > STORE_FILE_SIZE_MAX)
		return -EFBIG;
	return index_has_room(s, true) ? 0 : -ENOSPC;
}

static void inode_row_new(struct store *s, struct inode_row *r, const struct store_new *what,
			  uint64_t dir)
{
	bool is_dir = what->type == STORE_DIR;

	memset(r, 0, sizeof(*r));
	r->pub.ino = s->next_ino;
	r->pub.generation = generation_new(s, s->next_ino);
	r->pub.type = what->type;
	r->pub.nlink = is_dir ? 2 : 1;
	r->pub.major = what->major;
	r->pub.minor = what->minor;
	r->pub.verifier = what->verifier;
	r->pub.atime_ns = r->pub.mtime_ns = s->op.time_ns;
	if (is_dir) {
		r->pub.size = r->pub.used = DIR_SIZE;
		r->pub.parent = dir;
		r->cookie_next = COOKIE_FIRST;
	}
	attr_apply(r, &what->attr, s->op.time_ns);
}

int store_create(struct store *s, uint64_t dir, const char *name, size_t name_len,
		 const struct store_new *what, uint64_t *ino)
{
	struct name n = {.dir = dir, .text = name, .len = name_len};
	struct inode_row row, d;
	char target[STORE_TARGET_MAX + 1];
	struct inode *dp;
	int err;

	hf_assert(s->op.active);
	err = create_check(s, &n, what, &dp);
	if (err)
		return err;
	s->op.type = REC_CREATE;
	inode_row_new(s, &row, what, dir);
	if (what->type == STORE_LNK) {
		memcpy(target, what->target, what->target_len);
		target[what->target_len] = 0;
		row.pub.target = target;
		row.target_len = (uint32_t)what->target_len;
		row.pub.size = what->target_len;
	}
	*ino = row.pub.ino;
	d = dp->row;
	emit_inode(s, &row, true);
	emit_entry(s, &n, d.cookie_next++, row.pub.ino);
	d.entries++;
	if (what->type == STORE_DIR)
		d.pub.nlink++;
	dir_changed(s, &d);
	emit_inode(s, &d, false);
	if (what->type == STORE_DIR)
		cache_whole(s, *ino);
	return 0;
}

int store_link(struct store *s, uint64_t ino, uint64_t dir, const char *name, size_t name_len)
{
	struct name n = {.dir = dir, .text = name, .len = name_len};
	struct inode *ip = inode_get(s, ino);
	struct inode_row row, d;
	struct entry e;
	int err;

	hf_assert(s->op.active);
	if (!ip)
		return -ESTALE;
	if (ip->row.pub.type == STORE_DIR)
		return -EISDIR;
	err = entry_get(s, &n, &e);
	if (err == -EINVAL && name_len && name_is_dots(&n))
		return -EEXIST;
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	if (ip->row.pub.nlink >= STORE_LINK_MAX)
		return -EMLINK;
	if (!index_has_room(s, true))
		return -ENOSPC;
	s->op.type = REC_LINK;
	row = ip->row;
	row.pub.nlink++;
	row.pub.ctime_ns = s->op.time_ns;
	d = e.dir->row;
	emit_inode(s, &row, false);
	emit_entry(s, &n, d.cookie_next++, ino);
	d.entries++;
	dir_changed(s, &d);
	emit_inode(s, &d, false);
	return 0;
}

/* ---- removing ------------------------------------------------------------------------------------ */

/* One name less for a non-directory, or the whole of a directory. */
static void emit_unlinked(struct store *s, const struct inode *ip)
{
	struct inode_row row = ip->row;

	if (row.pub.type == STORE_DIR || row.pub.nlink <= 1) {
		emit_inode_gone(s, &row);
		return;
	}
	row.pub.nlink--;
	row.pub.ctime_ns = s->op.time_ns;
	emit_inode(s, &row, false);
}

static void remove_entry(struct store *s, const struct name *n, const struct entry *e)
{
	struct inode_row d = e->dir->row;
	bool is_dir = e->ip->row.pub.type == STORE_DIR;

	emit_entry_gone(s, n, e->cookie, false);
	emit_unlinked(s, e->ip);
	d.entries--;
	if (is_dir)
		d.pub.nlink--;
	dir_changed(s, &d);
	emit_inode(s, &d, false);
}

int store_remove(struct store *s, uint64_t dir, const char *name, size_t name_len)
{
	struct name n = {.dir = dir, .text = name, .len = name_len};
	struct entry e;
	int err;

	hf_assert(s->op.active);
	err = entry_get(s, &n, &e);
	if (err)
		return err;
	if (e.ip->row.pub.type == STORE_DIR)
		return -EISDIR;
	if (!index_has_room(s, false))
		return -ENOSPC;
	s->op.type = REC_REMOVE;
	remove_entry(s, &n, &e);
	return 0;
}

int store_rmdir(struct store *s, uint64_t dir, const char *name, size_t name_len)
{
	struct name n = {.dir = dir, .text = name, .len = name_len};
	struct entry e;
	int err;

	hf_assert(s->op.active);
	err = entry_get(s, &n, &e);
	if (err == -EINVAL && name_len == 2 && name_is_dots(&n))
		return -ENOTEMPTY;
	if (err)
		return err;
	if (e.ip->row.pub.type != STORE_DIR)
		return -ENOTDIR;
	if (e.ip->row.entries)
		return -ENOTEMPTY;
	if (!index_has_room(s, false))
		return -ENOSPC;
	s->op.type = REC_RMDIR;
	remove_entry(s, &n, &e);
	return 0;
}

/* ---- renaming ------------------------------------------------------------------------------------ */

struct move {
	struct name from, to;
	struct entry src, dst; /* dst.ip NULL: nothing there */
};

/* Is `ino` on the way from directory `at` up to the root? */
static bool is_above(struct store *s, uint64_t ino, const struct inode *at)
{
	while (at && at->row.pub.ino != ino) {
		if (at->row.pub.ino == STORE_ROOT_INO)
			return false;
		at = inode_get(s, at->row.pub.parent);
	}
	return true;
}

static int rename_check(struct store *s, struct move *m)
{
	bool is_dir;
	int err = entry_get(s, &m->from, &m->src);

	if (err)
		return err;
	err = entry_get(s, &m->to, &m->dst);
	if (err == -EINVAL && m->to.len && name_is_dots(&m->to))
		return -EEXIST;
	if (err && err != -ENOENT)
		return err;
	is_dir = m->src.ip->row.pub.type == STORE_DIR;
	if (is_dir && is_above(s, m->src.ip->row.pub.ino, m->dst.dir))
		return -EINVAL;
	if (m->dst.ip && m->dst.ip != m->src.ip) {
		bool onto_dir = m->dst.ip->row.pub.type == STORE_DIR;

		if (is_dir && !onto_dir)
			return -ENOTDIR;
		if (!is_dir && onto_dir)
			return -EISDIR;
		if (onto_dir && m->dst.ip->row.entries)
			return -ENOTEMPTY;
	}
	if (is_dir && !m->dst.ip && m->src.dir != m->dst.dir &&
	    m->dst.dir->row.pub.nlink >= STORE_SUBDIR_MAX)
		return -EMLINK;
	return index_has_room(s, false) ? 0 : -ENOSPC;
}

static void rename_dirs(struct store *s, const struct move *m, bool is_dir, struct inode_row *from,
			struct inode_row *to)
{
	bool same = m->src.dir == m->dst.dir;
	struct inode_row *t = same ? from : to;

	from->entries--;
	t->entries++;
	if (m->dst.ip)
		t->entries--;
	if (is_dir) {
		from->pub.nlink--;
		if (!m->dst.ip)
			t->pub.nlink++;
	}
	dir_changed(s, from);
	dir_changed(s, t);
	emit_inode(s, from, false);
	if (!same)
		emit_inode(s, to, false);
}

int store_rename(struct store *s, uint64_t from_dir, const char *from, size_t from_len,
		 uint64_t to_dir, const char *to, size_t to_len)
{
	struct move m = {.from = {.dir = from_dir, .text = from, .len = from_len},
			 .to = {.dir = to_dir, .text = to, .len = to_len}};
	struct inode_row row, fd, td;
	uint64_t cookie;
	int err;

	hf_assert(s->op.active);
	err = rename_check(s, &m);
	if (err)
		return err;
	s->op.type = REC_RENAME;
	if (m.dst.ip == m.src.ip) /* the same file: nothing to do, and that is success */
		return 0;
	row = m.src.ip->row;
	fd = m.src.dir->row;
	td = m.dst.dir->row;
	cookie = td.cookie_next++;
	if (m.src.dir == m.dst.dir)
		fd.cookie_next = td.cookie_next;
	emit_entry_gone(s, &m.from, m.src.cookie, false);
	if (m.dst.ip) {
		emit_entry_gone(s, &m.to, m.dst.cookie, true);
		emit_unlinked(s, m.dst.ip);
	}
	emit_entry(s, &m.to, cookie, row.pub.ino);
	row.pub.ctime_ns = s->op.time_ns;
	if (row.pub.type == STORE_DIR)
		row.pub.parent = to_dir;
	emit_inode(s, &row, false);
	rename_dirs(s, &m, row.pub.type == STORE_DIR, &fd, &td);
	return 0;
}

/* ---- data ---------------------------------------------------------------------------------------- */

static int must_wait(uint64_t lsn, uint64_t *wait_lsn)
{
	*wait_lsn = lsn;
	return STORE_WAIT;
}

static int reg_get(struct store *s, uint64_t ino, struct inode **out)
{
	*out = inode_get(s, ino);
	if (s->damaged)
		return -EIO;
	if (!*out)
		return -ESTALE;
	if ((*out)->row.pub.type == STORE_DIR)
		return -EISDIR;
	return (*out)->row.pub.type == STORE_REG ? 0 : -EINVAL;
}

static int do_read(struct store *s, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *got,
		   bool *eof, uint64_t *wait_lsn, bool try)
{
	struct inode *ip;
	uint64_t left;
	int err = reg_get(s, ino, &ip);

	*got = 0;
	*eof = true;
	if (err)
		return err;
	if (ip->effect_lsn > s->durable_lsn)
		return must_wait(ip->effect_lsn, wait_lsn);
	if (off >= ip->row.pub.size)
		return 0;
	left = ip->row.pub.size - off;
	if (len > left)
		len = (size_t)left;
	if (ip->row.has_object && len <= READ_SMALL)
		err = object_read_small(s, ip, off, len, buf, try);
	else if (ip->row.has_object)
		err = object_read(s, ip, off, len, buf, try);
	else
		memset(buf, 0, len);
	if (err)
		return err;
	*got = len;
	*eof = len == left;
	return 0;
}

int store_read(struct store *s, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *got,
	       bool *eof, uint64_t *wait_lsn)
{
	return do_read(s, ino, off, len, buf, got, eof, wait_lsn, false);
}

int store_read_try(struct store *s, uint64_t ino, uint64_t off, size_t len, void *buf, size_t *got,
		   bool *eof, uint64_t *wait_lsn)
{
	return do_read(s, ino, off, len, buf, got, eof, wait_lsn, !s->reads_wait);
}

/* All of the range is there, and what the object is to become it is. */
static bool may_show(struct store *s, uint64_t ino, uint64_t off, size_t len, struct inode **ip)
{
	return reg_get(s, ino, ip) == 0 && (*ip)->effect_lsn <= s->durable_lsn &&
	       (*ip)->row.has_object && off < (*ip)->row.pub.size &&
	       len <= (*ip)->row.pub.size - off;
}

void *store_lend(struct store *s, uint64_t ino, uint64_t off, size_t len, struct blocks **from)
{
	struct inode *ip;

	if (!may_show(s, ino, off, len, &ip))
		return NULL;
	*from = s->blocks;
	return (void *)(uintptr_t)object_lend(s, ip, off, len);
}

void store_lend_hint(const struct store *s, uint64_t ino, uint64_t off)
{
	const struct inode *ip = inode_cached(s, ino);

	if (ip)
		object_lend_hint(s, ip, off);
}

void store_give_back(void *from, void *data)
{
	blocks_give_back(from, data);
}

const void *store_read_here(struct store *s, uint64_t ino, uint64_t off, size_t len)
{
	struct inode *ip;

	return may_show(s, ino, off, len, &ip) ? object_here(s, ip, off, len) : NULL;
}

/* What must be over before this write may begin. */
static int write_settled(struct store *s, const struct inode *ip, bool stable, uint64_t *wait_lsn)
{
	/* The first write makes the object's file: only for an inode that cannot be undone. */
	if (!ip->row.has_object && ip->row.pub.lsn > s->durable_lsn)
		return must_wait(ip->row.pub.lsn, wait_lsn);
	if (ip->obj->trunc_lsn > s->durable_lsn)
		return must_wait(ip->obj->trunc_lsn, wait_lsn);
	if ((!stable || !ip->obj->checked) && ip->effect_lsn > s->durable_lsn)
		return must_wait(ip->effect_lsn, wait_lsn);
	return 0;
}

/* `used` is an estimate kept without system calls: blocks behind the old end count as new, blocks
 * before it only while the file is known to have holes. */
static void write_attrs(struct inode_row *r, uint64_t off, size_t len, int64_t now)
{
	uint64_t end = off + len, old = blocks_up(r->pub.size), from = off / BLOCK * BLOCK;
	uint64_t most;

	if (end > r->pub.size)
		r->pub.size = end;
	most = blocks_up(r->pub.size);
	if (r->pub.used < old)
		r->pub.used += blocks_up(end) - from;
	else if (blocks_up(end) > old)
		r->pub.used += blocks_up(end) - (from > old ? from : old);
	if (r->pub.used > most)
		r->pub.used = most;
	r->pub.mtime_ns = r->pub.ctime_ns = now;
}

static int write_prepare(struct store *s, struct inode *ip, uint64_t off, const void *data,
			 size_t len, bool stable, uint64_t *wait_lsn)
{
	int err = object_ready(s, ip, !ip->row.has_object, wait_lsn);

	if (err)
		return err;
	defer_space(s, len);
	if (stable)
		err = object_reserve(s, ip, off, len);
	else
		err = object_write(s, ip, off, data, len);
	if (err && !ip->row.has_object)
		s->first_ino = s->next_ino; /* it has one now, and says it has not */
	if (err)
		ip->obj->checked = false; /* part of it may lie behind the end */
	else if (!stable)
		ip->obj->dirty_seq++;
	return err ? store_io_error(s, "write of an object", -err) : 0;
}

int store_write(struct store *s, uint64_t ino, uint64_t off, const void *data, size_t len,
		bool stable, uint64_t *wait_lsn)
{
	struct inode_row row;
	struct inode *ip;
	int err = reg_get(s, ino, &ip);

	hf_assert(s->op.active);
	if (err)
		return err;
	if (off > STORE_FILE_SIZE_MAX || len > STORE_FILE_SIZE_MAX - off)
		return -EFBIG;
	if (len > STORE_WRITE_MAX)
		return -EINVAL;
	s->op.type = REC_WRITE;
	s->op.unstable = !stable;
	if (len == 0)
		return 0;
	if (!index_has_room(s, true))
		return -ENOSPC;
	err = write_settled(s, ip, stable, wait_lsn);
	if (err)
		return err;
	if (stable && !wal_room(s, len + OP_ROOM))
		return must_wait(s->last_lsn + 1, wait_lsn);
	err = write_prepare(s, ip, off, data, len, stable, wait_lsn);
	if (err)
		return err;
	row = ip->row;
	if (stable)
		wal_reserve(s, len + OP_ROOM);
	if (!row.has_object)
		emit_object(s, CHANGE_NEWOBJ, ino, 0);
	row.has_object = true;
	write_attrs(&row, off, len, s->op.time_ns);
	s->op.shown_lsn = row.pub.lsn;
	emit_inode(s, &row, false);
#ifdef HF_MUTANT_UNSTABLE_HIDES
	s->op.shown_lsn = 0;
#endif
#ifndef HF_MUTANT_UNSTABLE_WAITED_FOR
	if (!stable) /* a crash may take it back, size and times too (S8): nobody waits for it */
		ip->row.pub.lsn = s->op.shown_lsn;
#endif
#ifdef HF_MUTANT_WRITE_LOST
	if (off % (63 << 16) == 0 && off)
		return 0;
#endif
	if (stable)
		emit(s, &(struct change){.type = CHANGE_WRITE, .ino = ino, .arg = off, .val = data,
					 .val_len = len}, false);
	return 0;
}
