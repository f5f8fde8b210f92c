/* dir.c - names and listings.
 *
 * A directory's entries carry cookies from a counter of the directory, so a listing is: the
 * index's rows in key order, then the frozen generation's new entries, then the active one's -
 * each layer's cookies are all greater than those below.  A row that a younger layer buried is
 * skipped.  An entry keeps its cookie as long as it lives, so listings are stable while others
 * change the directory, and a cookie never comes back. */
#include <errno.h>

#include "store/store_impl.h"

#define COOKIE_DOT    1U
#define COOKIE_DOTDOT 2U

struct listing {
	struct store *s;
	uint64_t dir, after;
	store_dir_fn *each;
	void *arg;
	bool full; /* `each` said stop */
};

static int dots(const struct inode *d, const char *name, size_t len, uint64_t *ino)
{
	if (len == 1 && name[0] == '.')
		*ino = d->row.pub.ino;
	else if (len == 2 && name[0] == '.' && name[1] == '.')
		*ino = d->row.pub.parent;
	else
		return -ENOENT;
	return 0;
}

int store_lookup(struct store *s, uint64_t dir, const char *name, size_t name_len, uint64_t *ino)
{
	struct inode *d = inode_get(s, dir);
	uint64_t cookie;

	if (!d)
		return -ESTALE;
	if (d->row.pub.type != STORE_DIR)
		return -ENOTDIR;
	if (name_len > STORE_NAME_MAX)
		return -ENAMETOOLONG;
	if (name_len == 0)
		return -ENOENT;
	if (name[0] == '.' && dots(d, name, name_len, ino) == 0)
		return 0;
	return name_get(s, dir, name, name_len, ino, &cookie);
}

static uint64_t be64(const uint8_t *p)
{
	struct rd r;

	rd_init(&r, p, 8);
	return rd_u64(&r);
}

/* One DIR row to the caller; the value is ino and name. */
static void list_row(struct listing *l, const uint8_t *key, const uint8_t *val, size_t len)
{
	uint64_t cookie = be64(key + 9);

	if (len <= 8)
		return;
	if (!l->each(l->arg, cookie, be64(val), (const char *)val + 8, len - 8))
		l->full = true;
	else
		l->after = cookie;
}

static bool buried(struct store *s, const struct index_row *row, bool look_active, bool look_frozen)
{
	return (look_active && gen_find(s->active, row->key, row->key_len)) ||
	       (look_frozen && gen_find(s->frozen, row->key, row->key_len));
}

static int list_index(struct listing *l)
{
	const struct gen_dir *active = gen_dir(l->s->active, l->dir);
	const struct gen_dir *frozen = gen_dir(l->s->frozen, l->dir);
	bool look_active = active && active->dead, look_frozen = frozen && frozen->dead;
	struct index_row row;
	uint8_t key[17];
	int err;

	key_dir(key, l->dir, l->after + 1);
	err = index_seek(l->s->index, key, sizeof(key), &row);
	while (err == 0 && !l->full && row.key_len == sizeof(key) && memcmp(row.key, key, 9) == 0) {
		if (!buried(l->s, &row, look_active, look_frozen))
			list_row(l, row.key, row.val, row.val_len);
		if (!l->full)
			err = index_next(l->s->index, &row);
	}
	if (err == -EUCLEAN)
		store_damage(l->s, index_error(l->s->index));
	return err == -ENOENT ? 0 : err;
}

static void list_gen(struct listing *l, const struct gen *g, const struct gen *above)
{
	const struct gen_dir *d = gen_dir(g, l->dir), *over = gen_dir(above, l->dir);

	for (size_t i = gen_dir_after(d, l->after); d && i < d->count && !l->full; i++) {
		const struct row *r = d->row[i];

		if (r->dead || (over && over->dead && gen_find(above, r->key, r->key_len)))
			continue;
		list_row(l, r->key, r->val, r->val_len);
	}
}

static void list_dots(struct listing *l, const struct inode *d)
{
	if (l->after < COOKIE_DOT) {
		if (!l->each(l->arg, COOKIE_DOT, l->dir, ".", 1)) {
			l->full = true;
			return;
		}
		l->after = COOKIE_DOT;
	}
	if (l->after < COOKIE_DOTDOT) {
		if (!l->each(l->arg, COOKIE_DOTDOT, d->row.pub.parent, "..", 2)) {
			l->full = true;
			return;
		}
		l->after = COOKIE_DOTDOT;
	}
}

int store_readdir(struct store *s, uint64_t dir, uint64_t after, store_dir_fn *each, void *arg,
		  bool *eof)
{
	struct listing l = {.s = s, .dir = dir, .after = after, .each = each, .arg = arg};
	struct inode *d = inode_get(s, dir);
	int err = 0;

	*eof = false;
	if (!d)
		return -ESTALE;
	if (d->row.pub.type != STORE_DIR)
		return -ENOTDIR;
	if (after >= d->row.cookie_next) {
		*eof = true;
		return 0;
	}
	list_dots(&l, d);
	if (!l.full)
		err = list_index(&l);
	if (s->frozen && !l.full)
		list_gen(&l, s->frozen, s->active);
	if (!l.full)
		list_gen(&l, s->active, NULL);
	*eof = err == 0 && !l.full;
	return err;
}
