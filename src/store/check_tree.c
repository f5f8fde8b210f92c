/* check_tree.c - names against listings against inodes, and what they add up to.
 *
 * A name has two rows: N (directory, name) -> inode, cookie; and D (directory, cookie) -> inode,
 * name.  Either brings the other back.  Where they contradict each other N counts. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/check_impl.h"

#define ULL(x) ((unsigned long long)(x))

/* The row of the other table that must mirror this one. */
static bool mirrored(struct check *k, const uint8_t *key, size_t key_len, uint64_t first,
		     const void *rest, size_t rest_len)
{
	struct index_row row;
	uint64_t lsn;

	return row_get(k->s, key, key_len, &row, &lsn) == 0 && row.val_len == 8 + rest_len &&
	       check_be64(row.val) == first && memcmp(row.val + 8, rest, rest_len) == 0;
}

static bool row_is_there(struct check *k, const uint8_t *key, size_t key_len)
{
	struct index_row row;
	uint64_t lsn;

	return row_get(k->s, key, key_len, &row, &lsn) == 0;
}

struct entry_row {
	uint64_t dir, cookie, ino;
	size_t len;
	char name[STORE_NAME_MAX + 1];
};

static bool name_ok(const struct entry_row *e)
{
	if (e->len == 0 || e->len > STORE_NAME_MAX)
		return false;
	if (memchr(e->name, '/', e->len) || memchr(e->name, 0, e->len))
		return false;
	return !(e->name[0] == '.' && (e->len == 1 || (e->len == 2 && e->name[1] == '.')));
}

/* ---- what a dangling name leads to ----------------------------------------------------------- */

static bool has_rows_of(struct check *k, enum table table, uint64_t ino)
{
	uint8_t key[9];
	struct index_row row;

	k->moved = true;
	key_inode(key, ino);
	key[0] = (uint8_t)table;
	return index_seek(k->s->index, key, sizeof(key), &row) == 0 && row.key_len > 9 &&
	       memcmp(row.key, key, 9) == 0;
}

/* True when the inode was (or just is being) made anew. */
static bool inode_back(struct check *k, uint64_t ino, uint64_t parent)
{
	uint64_t size, *made;

	if (!k->repair || ino == 0 || ino > INT64_MAX)
		return false;
	if (map64_find(&k->made, ino))
		return true;
	if (has_rows_of(k, TABLE_NAME, ino) || has_rows_of(k, TABLE_DIR, ino)) {
		fix_make_inode(k, ino, STORE_DIR, parent, false, 0);
	} else if (check_object_size(k, ino, &size)) {
		fix_make_inode(k, ino, STORE_REG, 0, true, size);
	} else {
		return false;
	}
	made = map64_put(&k->made, ino);
	*made = 1;
	return true;
}

static void dir_lost(struct check *k, const struct entry_row *e)
{
	uint64_t *made = map64_find(&k->made, e->dir);

	if (made || k->err)
		return;
	*map64_put(&k->made, e->dir) = 1;
	if (found(k, FOUND_DIR_LOST, "directory %llu: does not exist, but has \"%.*s\"", ULL(e->dir),
		  (int)e->len, e->name))
		fix_make_inode(k, e->dir, STORE_DIR, STORE_ROOT_INO, false, 0);
}

static void dangling(struct check *k, const struct entry_row *e)
{
	if (inode_back(k, e->ino, e->dir)) {
		found(k, FOUND_INODE_LOST, "directory %llu: \"%.*s\" leads to inode %llu, which is lost",
		      ULL(e->dir), (int)e->len, e->name, ULL(e->ino));
		return;
	}
	if (found(k, FOUND_NAME_DANGLING,
		  "directory %llu: \"%.*s\" leads to inode %llu, which does not exist", ULL(e->dir),
		  (int)e->len, e->name, ULL(e->ino)))
		fix_del_entry(k, e->dir, e->name, e->len, e->cookie);
}

/* ---- a directory has one name ---------------------------------------------------------------- */

static void drop_by_cookie(struct check *k, uint64_t dir, uint64_t cookie)
{
	struct index_row row;
	uint8_t key[17];
	char name[STORE_NAME_MAX];
	size_t len;

	if (fix_get(k, key, key_dir(key, dir, cookie), &row) || row.val_len <= 8 ||
	    row.val_len > 8 + sizeof(name))
		return;
	len = row.val_len - 8;
	memcpy(name, row.val + 8, len);
	fix_del_entry(k, dir, name, len, cookie);
}

static void uncount(struct check *k, uint64_t dir)
{
	struct known_dir *d = known_dir_get(k, dir);

	if (!d)
		return;
	d->names--;
	d->subdirs--;
}

/* False when this name was dropped. */
static bool dir_named(struct check *k, struct known *n, const struct entry_row *e)
{
	struct known_dir *d = known_dir_get(k, e->ino);
	bool first_goes;

	if (!d)
		return true;
	if (e->ino == STORE_ROOT_INO || n->links > 1) {
		first_goes = e->ino != STORE_ROOT_INO && e->dir == d->parent &&
			     d->named_in != d->parent;
		if (!found(k, FOUND_DIR_TWICE, "directory %llu: \"%.*s\" in %llu is one name too many",
			   ULL(e->ino), (int)e->len, e->name, ULL(e->dir)))
			return true;
		n->links--;
		if (!first_goes) {
			fix_del_entry(k, e->dir, e->name, e->len, e->cookie);
			return false;
		}
		drop_by_cookie(k, d->named_in, d->named_cookie);
		uncount(k, d->named_in);
	}
	d->named_in = e->dir;
	d->named_cookie = e->cookie;
	return true;
}

static void count_name(struct check *k, const struct entry_row *e)
{
	struct known_dir *d = known_dir_get(k, e->dir);
	struct known *n = known_get(k, e->ino);

	n->links++;
	if (known_type(n) == STORE_DIR && !dir_named(k, n, e))
		return;
	d->names++;
	if (known_type(n) == STORE_DIR)
		d->subdirs++;
	if (e->cookie > d->cookie_max)
		d->cookie_max = e->cookie;
}

/* ---- N rows ---------------------------------------------------------------------------------- */

static void list_again(struct check *k, struct entry_row *e)
{
	struct known_dir *d = known_dir_get(k, e->dir);
	uint8_t key[17];

	if (row_is_there(k, key, key_dir(key, e->dir, e->cookie)) || e->cookie < 3) {
		/* Another is listed there. */
		e->cookie = d->cookie_next > d->cookie_max ? d->cookie_next : d->cookie_max + 1;
		d->cookie_next = e->cookie + 1;
		d->cookie_max = e->cookie;
	}
	fix_put_entry(k, e->dir, e->name, e->len, e->cookie, e->ino);
}

static void on_name(struct check *k, const struct index_row *row)
{
	struct entry_row e = {.len = row->key_len > 9 ? row->key_len - 9 : 0};
	const struct known *d;
	uint8_t key[17];

	if (e.len && e.len <= STORE_NAME_MAX)
		memcpy(e.name, row->key + 9, e.len);
	if (row->val_len != 16 || !name_ok(&e)) {
		if (found(k, FOUND_NAME, "name row cannot be decoded"))
			fix_del(k, row->key, row->key_len);
		return;
	}
	e.dir = check_be64(row->key + 1);
	e.ino = check_be64(row->val);
	e.cookie = check_be64(row->val + 8);
	d = known_get(k, e.dir);
	if (!d) {
		dir_lost(k, &e);
		return;
	}
	if (known_type(d) != STORE_DIR) {
		if (found(k, FOUND_NAME_NOT_DIR, "inode %llu: is no directory, but has \"%.*s\"",
			  ULL(e.dir), (int)e.len, e.name))
			fix_del_entry(k, e.dir, e.name, e.len, e.cookie);
		return;
	}
	if (!known_get(k, e.ino)) {
		dangling(k, &e);
		return;
	}
	count_name(k, &e);
	if (!mirrored(k, key, key_dir(key, e.dir, e.cookie), e.ino, e.name, e.len) &&
	    found(k, FOUND_UNLISTED, "directory %llu: \"%.*s\" is missing in listings", ULL(e.dir),
		  (int)e.len, e.name))
		list_again(k, &e);
}

/* ---- D rows ---------------------------------------------------------------------------------- */

static void unnamed_listing(struct check *k, struct entry_row *e)
{
	uint8_t key[ROW_KEY_MAX], listing[17];
	bool other = row_is_there(k, key, key_name(key, e->dir, e->name, e->len));

	if (!found(k, FOUND_UNNAMED_LISTING, "directory %llu: listed \"%.*s\" has no name", ULL(e->dir),
		   (int)e->len, e->name))
		return;
	if (!other && known_get(k, e->ino)) {
		fix_put_entry(k, e->dir, e->name, e->len, e->cookie, e->ino);
		count_name(k, e);
	} else if (!other && inode_back(k, e->ino, e->dir)) {
		fix_put_entry(k, e->dir, e->name, e->len, e->cookie, e->ino);
	} else {
		fix_del(k, listing, key_dir(listing, e->dir, e->cookie));
	}
}

static void on_dir(struct check *k, const struct index_row *row)
{
	struct entry_row e = {.len = row->val_len > 8 ? row->val_len - 8 : 0};
	uint8_t key[ROW_KEY_MAX], rest[8];
	struct known_dir *d;
	struct wr w;

	if (e.len && e.len <= STORE_NAME_MAX)
		memcpy(e.name, row->val + 8, e.len);
	if (row->key_len != 17 || !name_ok(&e)) {
		if (found(k, FOUND_LISTING, "listing row cannot be decoded"))
			fix_del(k, row->key, row->key_len);
		return;
	}
	e.dir = check_be64(row->key + 1);
	e.cookie = check_be64(row->key + 9);
	e.ino = check_be64(row->val);
	d = known_dir_get(k, e.dir);
	if (!d && known_get(k, e.dir)) {
		if (found(k, FOUND_LISTING, "inode %llu: is no directory, but lists \"%.*s\"",
			  ULL(e.dir), (int)e.len, e.name))
			fix_del(k, row->key, row->key_len);
		return;
	}
	if (!d) {
		dir_lost(k, &e);
		return;
	}
	if (e.cookie > d->cookie_max)
		d->cookie_max = e.cookie;
	wr_init(&w, rest, sizeof(rest));
	wr_u64(&w, e.cookie);
	if (!mirrored(k, key, key_name(key, e.dir, e.name, e.len), e.ino, rest, sizeof(rest)))
		unnamed_listing(k, &e);
}

int check_tree(struct check *k)
{
	int err = check_rows(k, TABLE_NAME, "names", on_name);

	return err ? err : check_rows(k, TABLE_DIR, "listings", on_dir);
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void unnamed_add(struct check *k, uint64_t ino)
{
	if (k->unnamed_count == k->unnamed_cap) {
		k->unnamed_cap = k->unnamed_cap ? 2 * k->unnamed_cap : 64;
		k->unnamed = mem_realloc(k->unnamed, k->unnamed_cap * sizeof(*k->unnamed));
	}
	k->unnamed[k->unnamed_count++] = ino;
}

/* What the row of a directory should say; true when it has to be written. */
static bool dir_sums(struct check *k, const struct known *n, struct known_dir *d, bool *unnamed)
{
	uint32_t nlink = n->said & KNOWN_NLINK;
	bool fix = false;

	if (d->ino == STORE_ROOT_INO)
		d->named_in = STORE_ROOT_INO;
	*unnamed = d->named_in == 0 && found(k, FOUND_UNNAMED, "directory %llu: has no name", ULL(d->ino));
	if (d->named_in && d->parent != d->named_in)
		fix |= found(k, FOUND_PARENT,
			     "directory %llu: says that its parent is %llu, but its name is in %llu",
			     ULL(d->ino), ULL(d->parent), ULL(d->named_in));
	if (d->entries != d->names)
		fix |= found(k, FOUND_ENTRIES, "directory %llu: %llu names, says it has %llu",
			     ULL(d->ino), ULL(d->names), ULL(d->entries));
	if (nlink != d->subdirs + 2)
		fix |= found(k, FOUND_LINKS, "directory %llu: link count %u, should be %u", ULL(d->ino),
			     nlink, d->subdirs + 2);
	if (d->cookie_max >= d->cookie_next || d->cookie_next < 3)
		fix |= found(k, FOUND_COOKIE, "directory %llu: cookie %llu was never given out",
			     ULL(d->ino), ULL(d->cookie_max));
	return fix;
}

static void dir_fix(struct check *k, const struct known_dir *d)
{
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;

	if (fix_get_inode(k, d->ino, &r, target))
		return;
	if (d->named_in)
		r.pub.parent = d->named_in;
	r.entries = d->names;
	r.pub.nlink = d->subdirs + 2;
	r.cookie_next = d->cookie_next;
	if (r.cookie_next <= d->cookie_max)
		r.cookie_next = d->cookie_max + 1;
	if (r.cookie_next < 3)
		r.cookie_next = 3;
	fix_put_inode(k, &r);
}

static void file_sums(struct check *k, const struct known *n)
{
	uint32_t nlink = n->said & KNOWN_NLINK;
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;

	if (n->links == 0) {
		if (found(k, FOUND_UNNAMED, "inode %llu: has no name", ULL(n->ino)))
			unnamed_add(k, n->ino);
		return;
	}
	if (nlink == n->links ||
	    !found(k, FOUND_LINKS, "inode %llu: link count %u, should be %u", ULL(n->ino), nlink,
		   n->links) ||
	    fix_get_inode(k, n->ino, &r, target))
		return;
	r.pub.nlink = n->links;
	fix_put_inode(k, &r);
}

/* Up to the root, or to where an earlier walk came by; a walk that meets itself is a loop. */
static void walk_up(struct check *k, struct known_dir *d, uint32_t walk)
{
	struct known_dir *at = d;

	while (at && at->ino != STORE_ROOT_INO && at->walk == 0 && at->named_in) {
		at->walk = walk;
		at = known_dir_get(k, at->named_in);
	}
	if (!at || at->ino == STORE_ROOT_INO || at->walk != walk)
		return;
	if (!found(k, FOUND_DIR_LOOP, "directory %llu: is below itself", ULL(at->ino)))
		return;
	drop_by_cookie(k, at->named_in, at->named_cookie);
	uncount(k, at->named_in);
	if (known_dir_get(k, at->named_in))
		dir_fix(k, known_dir_get(k, at->named_in));
	at->named_in = 0;
	unnamed_add(k, at->ino);
}

void check_sums(struct check *k)
{
	bool unnamed, fix;

	for (size_t i = 0, at = 0; i < k->count; i++) {
		const struct known *n = &k->inode[i];

		if (known_type(n) != STORE_DIR) {
			file_sums(k, n);
			continue;
		}
		fix = dir_sums(k, n, &k->dir[at], &unnamed);
		if (fix && k->repair)
			dir_fix(k, &k->dir[at]);
		if (unnamed)
			unnamed_add(k, n->ino);
		at++;
	}
	for (size_t i = 0; i < k->dir_count; i++)
		if (k->dir[i].walk == 0)
			walk_up(k, &k->dir[i], (uint32_t)i + 1);
	if (k->count == k->s->files)
		return;
	if (found(k, FOUND_FILES, "%zu inodes, the index says %llu", k->count, ULL(k->s->files)))
		k->fixes++;
}
