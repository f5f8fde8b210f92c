/* check.c - offline check: does everything that the store says agree with itself?
 *
 * The log is read back into memory first (nothing is written anywhere), so what is checked is the
 * state that an open would serve: inodes against names, names against listings, link counts,
 * emptiness, parents, objects that must exist, and objects that nobody knows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/store_impl.h"

struct seen {
	enum store_type type;
	bool has_object, has_xattr;
	uint32_t nlink;
	uint64_t parent, entries, cookie_next;
	uint64_t links, subdirs, names; /* counted */
};

struct check {
	struct store *s;
	struct map64 inode; /* ino -> struct seen * */
	void (*say)(void *arg, const char *line);
	void *arg;
	unsigned findings;
	char line[512];
};

static void find(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void find(struct check *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(k->line, sizeof(k->line), fmt, ap);
	va_end(ap);
	k->findings++;
	k->say(k->arg, k->line);
}

static struct seen *seen_get(struct check *k, uint64_t ino)
{
	uint64_t *at = ino ? map64_find(&k->inode, ino) : NULL;

	return at ? (struct seen *)(uintptr_t)*at : NULL;
}

static uint64_t be64(const uint8_t *p)
{
	struct rd r;

	rd_init(&r, p, 8);
	return rd_u64(&r);
}

/* ---- every live row of a table, through the layers ------------------------------------------------ */

typedef void row_fn(struct check *k, const struct index_row *row);

static void gen_rows(struct check *k, const struct gen *g, const struct gen *above, uint8_t table,
		     row_fn *each)
{
	for (size_t i = 0; g && i <= g->mask; i++) {
		for (const struct row *r = g->bucket[i]; r; r = r->next) {
			if (r->key[0] != table || r->dead ||
			    (above && gen_find(above, r->key, r->key_len)))
				continue;
			each(k, &(struct index_row){.key = r->key, .key_len = r->key_len,
						    .val = r->val, .val_len = r->val_len});
		}
	}
}

static int rows(struct check *k, enum table table, row_fn *each)
{
	uint8_t first[2] = {(uint8_t)table, 0};
	struct store *s = k->s;
	struct index_row row;
	int err = index_seek(s->index, first, 1, &row);

	while (err == 0 && row.key_len > 0 && row.key[0] == (uint8_t)table) {
		if (!gen_find(s->active, row.key, row.key_len) &&
		    !(s->frozen && gen_find(s->frozen, row.key, row.key_len)))
			each(k, &row);
		err = index_next(s->index, &row);
	}
	gen_rows(k, s->frozen, s->active, (uint8_t)table, each);
	gen_rows(k, s->active, NULL, (uint8_t)table, each);
	return err == -EUCLEAN ? err : 0;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static void on_inode(struct check *k, const struct index_row *row)
{
	struct inode_row r;
	struct seen *n;
	uint64_t ino;

	if (row->key_len != 9 || inode_row_decode(&r, row->val, row->val_len)) {
		find(k, "inode row cannot be decoded");
		return;
	}
	ino = be64(row->key + 1);
	if (ino == 0 || ino >= k->s->next_ino) {
		find(k, "inode %llu: number was never given out", (unsigned long long)ino);
		return;
	}
	n = mem_zalloc(1, sizeof(*n));
	*n = (struct seen){.type = r.pub.type, .has_object = r.has_object,
			   .has_xattr = r.has_xattr, .nlink = r.pub.nlink,
			   .parent = r.pub.parent, .entries = r.entries,
			   .cookie_next = r.cookie_next};
	*map64_put(&k->inode, ino) = (uint64_t)(uintptr_t)n;
	if (r.pub.type == STORE_LNK && r.pub.size != r.target_len)
		find(k, "inode %llu: size %llu of a link to %zu bytes", (unsigned long long)ino,
		     (unsigned long long)r.pub.size, r.target_len);
}

/* The row of the other table that must mirror this one. */
static bool mirrored(struct check *k, const uint8_t *key, size_t key_len, uint64_t first,
		     const void *rest, size_t rest_len)
{
	struct index_row row;
	uint64_t lsn;

	return row_get(k->s, key, key_len, &row, &lsn) == 0 && row.val_len == 8 + rest_len &&
	       be64(row.val) == first && memcmp(row.val + 8, rest, rest_len) == 0;
}

static void count_name(struct check *k, uint64_t dir, uint64_t ino, const char *name, int len)
{
	struct seen *d = seen_get(k, dir), *n = seen_get(k, ino);

	if (!d || d->type != STORE_DIR) {
		find(k, "name \"%.*s\": its directory %llu does not exist", len, name,
		     (unsigned long long)dir);
		return;
	}
	d->names++;
	if (!n) {
		find(k, "directory %llu: \"%.*s\" leads to inode %llu, which does not exist",
		     (unsigned long long)dir, len, name, (unsigned long long)ino);
		return;
	}
	n->links++;
	if (n->type != STORE_DIR)
		return;
	d->subdirs++;
	if (n->parent != dir)
		find(k, "directory %llu: says that its parent is %llu, but is \"%.*s\" in %llu",
		     (unsigned long long)ino, (unsigned long long)n->parent, len, name,
		     (unsigned long long)dir);
}

static void on_name(struct check *k, const struct index_row *row)
{
	const char *name = (const char *)row->key + 9;
	int len = (int)row->key_len - 9;
	uint64_t dir, ino, cookie;
	uint8_t key[17], text[STORE_NAME_MAX];

	if (len < 1 || len > (int)STORE_NAME_MAX || row->val_len != 16) {
		find(k, "name row cannot be decoded");
		return;
	}
	memcpy(text, name, (size_t)len);
	dir = be64(row->key + 1);
	ino = be64(row->val);
	cookie = be64(row->val + 8);
	count_name(k, dir, ino, name, len);
	if (!mirrored(k, key, key_dir(key, dir, cookie), ino, text, (size_t)len))
		find(k, "directory %llu: \"%.*s\" is missing in listings", (unsigned long long)dir, len,
		     (const char *)text);
}

static void on_dir(struct check *k, const struct index_row *row)
{
	uint8_t key[ROW_KEY_MAX], text[STORE_NAME_MAX], rest[8];
	uint64_t dir, cookie, ino;
	struct seen *d;
	struct wr w;
	size_t len;

	if (row->key_len != 17 || row->val_len <= 8 || row->val_len > 8 + STORE_NAME_MAX) {
		find(k, "listing row cannot be decoded");
		return;
	}
	dir = be64(row->key + 1);
	cookie = be64(row->key + 9);
	ino = be64(row->val);
	len = row->val_len - 8;
	memcpy(text, row->val + 8, len);
	d = seen_get(k, dir);
	if (!d || cookie >= d->cookie_next)
		find(k, "directory %llu: cookie %llu was never given out", (unsigned long long)dir,
		     (unsigned long long)cookie);
	wr_init(&w, rest, sizeof(rest));
	wr_u64(&w, cookie);
	if (!mirrored(k, key, key_name(key, dir, text, len), ino, rest, sizeof(rest)))
		find(k, "directory %llu: listed \"%.*s\" has no name", (unsigned long long)dir, (int)len,
		     (const char *)text);
}

static void on_xattr(struct check *k, const struct index_row *row)
{
	const uint8_t *value;
	size_t len;
	struct seen *n;
	uint64_t ino;

	if (row->key_len <= 9 || xattr_decode(row->val, row->val_len, &value, &len)) {
		find(k, "extended attribute cannot be decoded");
		return;
	}
	ino = be64(row->key + 1);
	n = seen_get(k, ino);
	if ((!n || !n->has_xattr) && !gen_xdrops(k->s->active, ino) &&
	    !gen_xdrops(k->s->frozen, ino))
		find(k, "inode %llu: has no extended attributes, but there is \"%.*s\"",
		     (unsigned long long)ino, (int)row->key_len - 9, (const char *)row->key + 9);
}

/* ---- sums -------------------------------------------------------------------------------------- */

static void check_dir(struct check *k, uint64_t ino, const struct seen *n)
{
	if (n->names != n->entries)
		find(k, "directory %llu: has %llu names, says %llu", (unsigned long long)ino,
		     (unsigned long long)n->names, (unsigned long long)n->entries);
	if (n->nlink != 2 + n->subdirs)
		find(k, "directory %llu: link count %u, should be %llu", (unsigned long long)ino, n->nlink,
		     (unsigned long long)(2 + n->subdirs));
	if (n->links != (ino == STORE_ROOT_INO ? 0 : 1))
		find(k, "directory %llu: is in %llu directories", (unsigned long long)ino,
		     (unsigned long long)n->links);
}

/* Files that only the log knows are made when it is replayed. */
static bool object_in_log(const struct store *s, uint64_t ino)
{
	uint64_t *a = map64_find(&s->active->touched, ino);
	uint64_t *f = s->frozen ? map64_find(&s->frozen->touched, ino) : NULL;

	return (a && (*a & (TOUCH_NEW | TOUCH_GONE))) || (f && (*f & (TOUCH_NEW | TOUCH_GONE)));
}

static void check_inode(struct check *k, uint64_t ino, const struct seen *n)
{
	struct stat st;
	char path[48];

	if (n->type == STORE_DIR)
		check_dir(k, ino, n);
	else if (n->links == 0)
		find(k, "inode %llu: has no name", (unsigned long long)ino);
	else if (n->nlink != n->links)
		find(k, "inode %llu: link count %u, should be %llu", (unsigned long long)ino, n->nlink,
		     (unsigned long long)n->links);
	object_path(ino, path, sizeof(path));
	if (n->has_object && !object_in_log(k->s, ino) && fstatat(k->s->objects_fd, path, &st, 0))
		find(k, "inode %llu: its object objects/%s: %s", (unsigned long long)ino, path,
		     strerror(errno));
}

static void check_inodes(struct check *k)
{
	if (!seen_get(k, STORE_ROOT_INO))
		find(k, "there is no root directory");
	if (k->inode.count != k->s->files)
		find(k, "%zu inodes, the index says %llu", k->inode.count,
		     (unsigned long long)k->s->files);
	for (size_t i = 0; k->inode.count && i <= k->inode.mask; i++)
		if (k->inode.slot[i].key)
			check_inode(k, k->inode.slot[i].key,
				    (const struct seen *)(uintptr_t)k->inode.slot[i].val);
}

/* ---- objects that nobody knows ------------------------------------------------------------------ */

static bool to_be_unlinked(const struct store *s, uint64_t ino)
{
	for (size_t i = 0; i < s->cp.gone_count; i++)
		if (s->cp.gone[i] == ino)
			return true;
	return object_in_log(s, ino);
}

static void check_object(struct check *k, const char *folder, const char *name)
{
	unsigned long long ino;
	struct seen *n;
	char path[48], want[48], junk;

	if (strlen(name) != 16 || sscanf(name, "%16llx%c", &ino, &junk) != 1) {
		find(k, "objects/%s/%s: not a file of the store", folder, name);
		return;
	}
	object_path(ino, want, sizeof(want));
	snprintf(path, sizeof(path), "%.8s/%.20s", folder, name);
	n = seen_get(k, ino);
	if (strcmp(path, want) != 0)
		find(k, "objects/%s: belongs to objects/%s", path, want);
	else if ((!n || n->type != STORE_REG) && !to_be_unlinked(k->s, ino))
		find(k, "objects/%s: belongs to no inode", path);
}

static void check_folder(struct check *k, const char *folder)
{
	int fd = openat(k->s->objects_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		find(k, "objects/%s: %s", folder, strerror(errno));
		return;
	}
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			check_object(k, folder, e->d_name);
	closedir(d);
}

static int check_all(struct check *k)
{
	char folder[16];
	int err = rows(k, TABLE_INODE, on_inode);

	if (err == 0)
		err = rows(k, TABLE_NAME, on_name);
	if (err == 0)
		err = rows(k, TABLE_DIR, on_dir);
	if (err == 0)
		err = rows(k, TABLE_XATTR, on_xattr);
	if (err)
		find(k, "index: %s", index_error(k->s->index));
	check_inodes(k);
	for (uint64_t i = 0; i < 256; i++) {
		object_parent(i << 6, folder, sizeof(folder));
		check_folder(k, folder);
	}
	return k->findings > 0;
}

int store_check(const char *dir, void (*on_finding)(void *arg, const char *line), void *arg)
{
	struct check k = {.say = on_finding, .arg = arg};
	struct recovered from;
	int err = store_open_dry(&k.s, dir, &from, k.line, sizeof(k.line));

	if (err) {
		on_finding(arg, k.line);
		return err == -EUCLEAN ? 1 : err;
	}
	err = check_all(&k);
	for (size_t i = 0; k.inode.count && i <= k.inode.mask; i++)
		free((struct seen *)(uintptr_t)k.inode.slot[i].val);
	map64_fini(&k.inode);
	store_free(k.s);
	return err;
}
