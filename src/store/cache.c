/* cache.c - live inodes and names, and how a changed row reaches them.
 *
 * A read goes: parsed live inode (or cached name) -> active generation -> frozen generation ->
 * index.  Each answer found below is kept above, so attributes and names that are in use cost one
 * probe of a hash table.  The live copies are never ahead of the rows: apply_row() changes both,
 * here, for operations as for recovery.
 *
 * What is clean and unused goes again when there is more than conf.cache_inodes: the oldest are
 * looked at, those used since the last look get a second round.  That happens between rounds and
 * at the entry of store_inode(), never inside an operation, so pointers hold. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/store_impl.h"

#define TRIM_STEPS 256U
#define TRIM_SHARE 16U
#define TRIM_SLACK 16384U
#define CACHE_LINE 64U

int cache_init(struct store *s)
{
	htab_init(&s->inode_table);
	htab_init(&s->dent_table);
	slab_init(&s->inodes, sizeof(struct inode));
	for (unsigned i = 0; i < DENT_CLASSES; i++)
		slab_init(&s->dents[i], offsetof(struct dent, name) + DENT_FIRST + i * DENT_STEP);
	list_init(&s->inode_lru);
	list_init(&s->inode_dead);
	list_init(&s->fd_lru);
	list_init(&s->dent_lru);
	return 0;
}

/* ---- layers ------------------------------------------------------------------------------------ */

static int from_gen(const struct row *r, struct index_row *out, uint64_t *lsn)
{
	if (r->dead)
		return -ENOENT;
	*out = (struct index_row){.key = r->key, .key_len = r->key_len, .val = r->val,
				  .val_len = r->val_len};
	*lsn = r->lsn;
	return 0;
}

int row_get(struct store *s, const uint8_t *key, size_t len, struct index_row *out, uint64_t *lsn)
{
	struct row *r = gen_find(s->active, key, len);
	int err;

	if (!r && s->frozen)
		r = gen_find(s->frozen, key, len);
	if (r)
		return from_gen(r, out, lsn);
	*lsn = s->checkpoint_lsn;
	err = index_get(s->index, key, len, out);
	if (err && err != -ENOENT) {
		store_damage(s, index_error(s->index));
		return -EUCLEAN;
	}
	return err;
}

/* ---- inodes ------------------------------------------------------------------------------------ */

/* The number itself is the hash: numbers are ours, dense and never used twice, and what was made
 * together is listed together. */
struct inode *inode_cached(const struct store *s, uint64_t ino)
{
	struct htab_link *l = htab_find(&s->inode_table, ino);

	return l ? LIST_OWNER(l, struct inode, link) : NULL;
}

/* Callers see it as const. */
static char *own_target(const struct inode *ip)
{
	return (char *)(uintptr_t)ip->row.pub.target;
}

/* All of them have a type: false for one that is only now read into memory. */
static bool same_access(const struct store_inode *a, const struct store_inode *b)
{
#ifdef HF_MUTANT_ENTER_LSN_KEPT
	if (a->type)
		return true;
#endif
	return a->type == b->type && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

/* Takes over what a row says. */
static int inode_parse(struct inode *ip, uint64_t ino, const uint8_t *val, size_t len, uint64_t lsn)
{
	struct store_note note = ip->row.pub.note;
	uint64_t enter_lsn = ip->row.pub.enter_lsn;
	char *target = own_target(ip);
	struct inode_row row;
	int err = inode_row_decode(&row, val, len);

	if (err)
		return err;
	if (row.pub.target && (!target || strcmp(target, row.pub.target) != 0)) {
		free(target);
		target = mem_strdup(row.pub.target);
	}
	if (!same_access(&ip->row.pub, &row.pub))
		enter_lsn = lsn;
	ip->row = row;
	ip->row.pub.enter_lsn = enter_lsn;
	ip->row.pub.target = target;
	ip->row.pub.note = note;
	ip->row.pub.ino = ino;
#ifdef HF_MUTANT_STALE_LSN
	lsn = ip->row.pub.lsn;
#endif
	ip->row.pub.lsn = lsn;
	return 0;
}

static struct inode *inode_add(struct store *s, uint64_t ino, const uint8_t *val, size_t len,
			       uint64_t lsn)
{
	struct inode *ip = slab_get(&s->inodes);

	if (inode_parse(ip, ino, val, len, lsn)) {
		slab_put(&s->inodes, ip);
		store_damage(s, "an inode row of the index cannot be decoded");
		return NULL;
	}
	ip->obj = (struct object *)(uintptr_t)&object_none; /* read-only memory: written by nobody */
	htab_grow(&s->inode_table, s->inode_count);
	htab_put(&s->inode_table, &ip->link, ino);
	list_add_head(&s->inode_lru, &ip->lru);
	s->inode_count++;
	return ip;
}

struct inode *inode_get(struct store *s, uint64_t ino)
{
	struct inode *ip = inode_cached(s, ino);
	struct index_row row;
	uint8_t key[9];
	uint64_t lsn;

	if (ip) {
		if (!ip->ref)
			ip->ref = true;
		return ip->row.pub.nlink ? ip : NULL;
	}
	if (ino == 0 || ino >= s->next_ino || row_get(s, key, key_inode(key, ino), &row, &lsn))
		return NULL;
	return inode_add(s, ino, row.val, row.val_len, lsn);
}

static void inode_drop(struct store *s, struct inode *ip)
{
	htab_del(&s->inode_table, &ip->link);
	object_close(s, ip);
	list_del(&ip->lru);
	s->inode_count--;
	free(own_target(ip));
	if (ip->obj != &object_none)
		free(ip->obj);
	slab_put(&s->inodes, ip);
}

/* Effects and fsyncs under way still point to it, and a cut still to come is known only here. */
static bool inode_busy(const struct store *s, const struct inode *ip)
{
	return ip->pins > 0 || ip->effect_lsn > s->durable_lsn;
}

/* ---- names ------------------------------------------------------------------------------------- */

static uint64_t dent_hash(const struct store *s, uint64_t dir, const char *name, size_t len)
{
	return name_hash(s->seed, dir, name, len);
}

void cache_hint_name(const struct store *s, uint64_t dir, const char *name, size_t len)
{
	uint64_t hash = dent_hash(s, dir, name, len);

	__builtin_prefetch(htab_at(&s->dent_table, hash));
	gen_hint_name(s->active, hash);
}

static struct dent *dent_find(struct store *s, uint64_t hash, uint64_t dir, const char *name,
			      size_t len)
{
	struct htab_look k;

	for (struct htab_link *l = htab_first(&k, &s->dent_table, hash); l; l = htab_next(&k)) {
		struct dent *d = LIST_OWNER(l, struct dent, link);

		if (d->link.hash == hash && d->dir == dir && d->len == len &&
		    memcmp(d->name, name, len) == 0)
			return d;
	}
	return NULL;
}

static struct slab *dent_slab(struct store *s, size_t len)
{
	return &s->dents[len <= DENT_FIRST ? 0 : (len - DENT_FIRST + DENT_STEP - 1) / DENT_STEP];
}

static void dent_set(struct store *s, uint64_t dir, const char *name, size_t len, uint64_t ino,
		     uint64_t cookie)
{
	uint64_t hash = dent_hash(s, dir, name, len);
	struct dent *d = dent_find(s, hash, dir, name, len);

	if (!d) {
		htab_grow(&s->dent_table, s->dent_count);
		d = slab_get(dent_slab(s, len));
		d->dir = dir;
		d->len = (uint8_t)len;
		memcpy(d->name, name, len);
		htab_put(&s->dent_table, &d->link, hash);
		list_add_head(&s->dent_lru, &d->lru);
		s->dent_count++;
	}
	d->ino = ino;
	d->cookie = cookie;
}

static void dent_drop(struct store *s, struct dent *d)
{
	htab_del(&s->dent_table, &d->link);
	list_del(&d->lru);
	s->dent_count--;
	slab_put(dent_slab(s, d->len), d);
}

/* A removed name: the overlay knows that it is gone, and names that never come back would push out
 * those in use. */
static void dent_forget(struct store *s, uint64_t dir, const char *name, size_t len)
{
	struct dent *d = dent_find(s, dent_hash(s, dir, name, len), dir, name, len);

	if (d)
		dent_drop(s, d);
}

int name_get(struct store *s, uint64_t dir, const char *name, size_t len, uint64_t *ino,
	     uint64_t *cookie)
{
	struct dent *d = dent_find(s, dent_hash(s, dir, name, len), dir, name, len);
	const struct inode *parent;
	uint8_t key[ROW_KEY_MAX];
	struct index_row row;
	uint64_t lsn;
	struct rd r;
	int err;

	*ino = *cookie = 0;
	if (d) {
		d->ref = true;
		*ino = d->ino;
		*cookie = d->cookie;
		return d->ino ? 0 : -ENOENT;
	}
	parent = inode_cached(s, dir);
	if (parent && parent->whole)
		return -ENOENT;
	err = row_get(s, key, key_name(key, dir, name, len), &row, &lsn);
	if (err && err != -ENOENT)
		return err;
	if (err == 0) {
		rd_init(&r, row.val, row.val_len);
		*ino = rd_u64(&r);
		*cookie = rd_u64(&r);
		if (!rd_done(&r) || *ino == 0) {
			store_damage(s, "a name row of the index cannot be decoded");
			return -EUCLEAN;
		}
	}
	dent_set(s, dir, name, len, *ino, *cookie);
	return err;
}

/* ---- applying ---------------------------------------------------------------------------------- */

static uint64_t be64(const uint8_t *p)
{
	struct rd r;

	rd_init(&r, p, 8);
	return rd_u64(&r);
}

static void apply_inode(struct store *s, const struct change *c, uint64_t lsn)
{
	uint64_t ino = be64(c->key + 1);
	struct inode *ip = inode_cached(s, ino);

	if (c->type == CHANGE_PUT && ino >= s->next_ino) {
		s->next_ino = ino + 1;
		s->files++;
	} else if (c->type == CHANGE_DEL) {
		s->files--;
	}
	if (ip && c->type == CHANGE_PUT) {
		if (inode_parse(ip, ino, c->val, c->val_len, lsn))
			HF_UNREACHABLE("an inode row of ours does not decode");
	} else if (ip) {
		ip->row.pub.nlink = 0; /* goes when its last effect is done (dead_trim) */
		list_del(&ip->lru);
		list_add_tail(&s->inode_dead, &ip->lru);
	}
}

static void apply_name(struct store *s, const struct change *c)
{
	const char *name = (const char *)c->key + 9;
	uint64_t dir = be64(c->key + 1);

	if (c->type == CHANGE_DEL)
		dent_forget(s, dir, name, c->key_len - 9);
	else
		dent_set(s, dir, name, c->key_len - 9, be64(c->val), be64(c->val + 8));
}

static void apply_state(struct store *s, const struct change *c)
{
	if (c->type == CHANGE_PUT && c->key_len == 2 && c->key[1] == 'v' && c->val_len == 8)
		s->verifier = be64(c->val);
}

void apply_row(struct store *s, const struct change *c, uint64_t lsn, bool fresh)
{
	gen_put(s->active, c->key, c->key_len, c->type == CHANGE_PUT ? c->val : NULL, c->val_len, lsn,
		fresh);
	switch (c->key[0]) {
	case TABLE_INODE:
		apply_inode(s, c, lsn);
		return;
	case TABLE_NAME:
		apply_name(s, c);
		return;
	case TABLE_CONN:
		conn_apply(s, c->key, c->type == CHANGE_PUT);
		return;
	case TABLE_FORGET:
		dup_forget_apply(s, c->key + 1, lsn);
		return;
	case TABLE_STATE:
		apply_state(s, c);
		return;
	default:
		return;
	}
}

/* ---- letting go -------------------------------------------------------------------------------- */

/* How many to look at in one round: few enough that nobody feels it, and more the further behind. */
static size_t trim_steps(size_t count, uint64_t keep)
{
	return count > keep ? TRIM_STEPS + (count - keep) / TRIM_SHARE : 0;
}

static void inodes_trim(struct store *s)
{
	size_t steps = trim_steps(s->inode_count, s->conf.cache_inodes);
	struct inode *ip;

	for (; steps > 0 && s->inode_count > s->conf.cache_inodes; steps--) {
		if (list_empty(&s->inode_lru))
			return;
		ip = LIST_OWNER(s->inode_lru.prev, struct inode, lru);
		if (ip->ref || inode_busy(s, ip)) {
			ip->ref = false;
			list_del(&ip->lru);
			list_add_head(&s->inode_lru, &ip->lru);
			continue;
		}
		HF_MARK("store.inode_evicted");
		inode_drop(s, ip);
	}
}

void cache_whole(struct store *s, uint64_t dir)
{
	struct inode *ip = inode_get(s, dir);

	if (ip)
		ip->whole = true;
}

static void cache_partial(struct store *s, uint64_t dir)
{
	struct inode *ip = inode_cached(s, dir);

	if (!ip || !ip->whole)
		return;
	HF_MARK("store.dir_partial");
#ifndef HF_MUTANT_WHOLE_KEPT
	ip->whole = false;
#endif
}

static void dents_trim(struct store *s)
{
	size_t steps = trim_steps(s->dent_count, s->conf.cache_inodes * 2);

	for (; steps > 0 && s->dent_count > s->conf.cache_inodes * 2; steps--) {
		struct dent *d = LIST_OWNER(s->dent_lru.prev, struct dent, lru);

		if (d->ref) {
			d->ref = false;
			list_del(&d->lru);
			list_add_head(&s->dent_lru, &d->lru);
			continue;
		}
		if (d->ino)
			cache_partial(s, d->dir);
		dent_drop(s, d);
	}
}

/* Removed files: their descriptors would keep the space that unlinking should free. */
static void dead_trim(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->inode_dead) {
		struct inode *ip = LIST_OWNER(it, struct inode, lru);

		if (!inode_busy(s, ip))
			inode_drop(s, ip);
	}
}

void cache_trim(struct store *s)
{
	dead_trim(s);
	inodes_trim(s);
	dents_trim(s);
}

const struct store_inode *store_inode(struct store *s, uint64_t ino)
{
	struct inode *ip;

	if (s->inode_count > s->conf.cache_inodes + TRIM_SLACK && !s->op.active)
		cache_trim(s);
	ip = inode_get(s, ino);
	return ip ? &ip->row.pub : NULL;
}

const struct store_inode *store_inode_here(const struct store *s, uint64_t ino)
{
	const struct inode *ip = inode_cached(s, ino);

	return ip && ip->row.pub.nlink ? &ip->row.pub : NULL;
}

const struct store_inode *store_inode_passing(struct store *s, uint64_t ino)
{
	struct inode *ip = inode_cached(s, ino);
	struct index_row row;
	uint8_t key[9];
	uint64_t lsn;

	if (ip)
		return ip->row.pub.nlink ? &ip->row.pub : NULL;
	if (row_get(s, key, key_inode(key, ino), &row, &lsn))
		return NULL;
#ifndef HF_MUTANT_PASSING_KEEPS
	free(own_target(&s->passing));
	s->passing = (struct inode){0};
#endif
	if (inode_parse(&s->passing, ino, row.val, row.val_len, lsn)) {
		store_damage(s, "an inode row of the index cannot be decoded");
		return NULL;
	}
	HF_MARK("store.inode_passing");
	return &s->passing.row.pub;
}

void store_inode_hint(const struct store *s, uint64_t ino, bool second)
{
	struct htab_look k;
	const char *ip;

	if (!second) {
		__builtin_prefetch(htab_at(&s->inode_table, ino));
		return;
	}
	ip = (const char *)htab_first(&k, &s->inode_table, ino);
	for (size_t i = 0; ip && i < offsetof(struct inode, lru); i += CACHE_LINE)
		__builtin_prefetch(ip + i);
}

void cache_fini(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->inode_dead)
		inode_drop(s, LIST_OWNER(it, struct inode, lru));
	LIST_EACH_SAFE (it, tmp, &s->inode_lru)
		inode_drop(s, LIST_OWNER(it, struct inode, lru));
	LIST_EACH_SAFE (it, tmp, &s->dent_lru)
		dent_drop(s, LIST_OWNER(it, struct dent, lru));
	free(own_target(&s->passing));
	blocks_free(s->blocks);
	slab_fini(&s->inodes);
	for (unsigned i = 0; i < DENT_CLASSES; i++)
		slab_fini(&s->dents[i]);
	htab_fini(&s->inode_table);
	htab_fini(&s->dent_table);
}
