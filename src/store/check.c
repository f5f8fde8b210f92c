/* check.c - offline check: does everything that the store says agree with itself? and repair.
 *
 * Looking only, the log is read back into memory and nothing is written anywhere, so what is
 * checked is the state that an open would serve.  Repairing, the store is first brought to one
 * consistency point: salvage.c makes it fit to be opened, recovery carries out what the log says,
 * a checkpoint empties the log; then the passes work on index and objects alone.
 *
 * What every kind of finding is and what is done about it stands in tbl_finding.h, for people in
 * doc/check.md. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "store/check_impl.h"

#define PASSES_MAX    8U
#define PROGRESS_STEP 16384U

static const struct finding_kind {
	const char *name;
	enum finding_class class;
	const char *repair;
} kinds[] = {
#define FINDING(sym, text, cls, what) {text, CLASS_##cls, what},
#include "store/tbl_finding.h"
#undef FINDING
};

bool found(struct check *k, enum finding f, const char *fmt, ...)
{
	const struct finding_kind *kind = &kinds[f];
	struct store_finding out = {.code = kind->name, .text = k->line, .repair = kind->repair,
				    .lost = kind->class == CLASS_LOST};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(k->line, sizeof(k->line), fmt, ap);
	va_end(ap);
	out.repaired = k->repair && kind->class != CLASS_LEFT && k->pass < PASSES_MAX;
	k->res->findings++;
	if (out.repaired)
		k->res->repaired++;
	else
		k->res->left++;
	if (out.lost)
		k->res->lost++;
	if (k->a->found)
		k->a->found(k->a->arg, &out);
	return out.repaired;
}

void progress(struct check *k, const char *phase, uint64_t done, uint64_t all)
{
	if (k->a->progress && (done % PROGRESS_STEP == 0 || done == all))
		k->a->progress(k->a->arg, phase, done, all);
}

uint64_t check_be64(const uint8_t *p)
{
	struct rd r;

	rd_init(&r, p, 8);
	return rd_u64(&r);
}

/* ---- what is known of inodes: two arrays, sorted by number ----------------------------------- */

static int by_ino(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int dir_by_ino(const void *a, const void *b)
{
	const struct known_dir *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

struct known *known_get(struct check *k, uint64_t ino)
{
	struct known want = {.ino = ino};

	return k->count ? bsearch(&want, k->inode, k->count, sizeof(want), by_ino) : NULL;
}

struct known_dir *known_dir_get(struct check *k, uint64_t ino)
{
	struct known_dir want = {.ino = ino};

	return k->dir_count ? bsearch(&want, k->dir, k->dir_count, sizeof(want), dir_by_ino) : NULL;
}

enum store_type known_type(const struct known *n)
{
	return (enum store_type)(n->said >> KNOWN_TYPE & 7);
}

static void known_add(struct check *k, const struct inode_row *r)
{
	const struct store_inode *p = &r->pub;
	struct known *n;

	if (k->count == k->cap) {
		k->cap = k->cap ? k->cap + k->cap / 2 : k->s->files + 1024;
		k->inode = mem_realloc(k->inode, k->cap * sizeof(*k->inode));
	}
	n = &k->inode[k->count++];
	*n = (struct known){.ino = p->ino, .said = p->nlink < KNOWN_NLINK ? p->nlink : KNOWN_NLINK};
	n->said |= (uint32_t)p->type << KNOWN_TYPE | (r->has_object ? KNOWN_OBJECT : 0) |
		   (r->has_xattr ? KNOWN_XATTR : 0);
	if (p->type != STORE_DIR)
		return;
	if (k->dir_count == k->dir_cap) {
		k->dir_cap = k->dir_cap ? k->dir_cap + k->dir_cap / 2 : 256;
		k->dir = mem_realloc(k->dir, k->dir_cap * sizeof(*k->dir));
	}
	k->dir[k->dir_count++] = (struct known_dir){.ino = p->ino, .parent = p->parent,
						    .entries = r->entries,
						    .cookie_next = r->cookie_next};
}

/* Rows of the overlay come after those of the index. */
static void known_sort(struct check *k)
{
	for (size_t i = 1; i < k->count; i++) {
		if (k->inode[i - 1].ino < k->inode[i].ino)
			continue;
		qsort(k->inode, k->count, sizeof(*k->inode), by_ino);
		qsort(k->dir, k->dir_count, sizeof(*k->dir), dir_by_ino);
		return;
	}
}

/* ---- every live row of a table, through the layers ------------------------------------------- */

static void gen_rows(struct check *k, const struct gen *g, const struct gen *above, uint8_t table,
		     check_row_fn *each)
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

static bool in_overlay(const struct store *s, const struct index_row *row)
{
	return gen_find(s->active, row->key, row->key_len) ||
	       (s->frozen && gen_find(s->frozen, row->key, row->key_len));
}

int check_rows(struct check *k, enum table table, const char *phase, check_row_fn *each)
{
	uint8_t key[ROW_KEY_MAX + 256] = {(uint8_t)table};
	struct store *s = k->s;
	struct index_row row;
	uint64_t done = 0;
	size_t len;
	int err = index_seek(s->index, key, 1, &row);

	while (err == 0 && row.key_len > 0 && row.key[0] == (uint8_t)table && !k->err) {
		len = row.key_len;
		memcpy(key, row.key, len);
		if (!in_overlay(s, &row))
			each(k, &row);
		if (k->moved && (err = index_seek(s->index, key, len, &row)) != 0)
			break;
		k->moved = false;
		progress(k, phase, ++done, 0);
		err = index_next(s->index, &row);
	}
	gen_rows(k, s->frozen, s->active, (uint8_t)table, each);
	gen_rows(k, s->active, NULL, (uint8_t)table, each);
	if (k->err)
		return k->err;
	if (err && err != -ENOENT)
		found(k, FOUND_INDEX_PAGE, "index: %s", index_error(s->index));
	return err && err != -ENOENT ? err : 0;
}

/* ---- a pass ---------------------------------------------------------------------------------- */

static void on_inode(struct check *k, const struct index_row *row)
{
	struct inode_row r;
	uint64_t ino = row->key_len == 9 ? check_be64(row->key + 1) : 0;

	if (ino == 0 || inode_row_decode(&r, row->val, row->val_len)) {
		if (found(k, FOUND_INODE, "inode row %llu cannot be decoded",
			  (unsigned long long)ino))
			fix_del(k, row->key, row->key_len);
		return;
	}
	r.pub.ino = ino;
	if (ino >= k->next_ino)
		k->next_ino = ino + 1;
	if (r.pub.type == STORE_LNK && r.pub.size != r.target_len &&
	    found(k, FOUND_TARGET, "inode %llu: size %llu of a link to %u bytes",
		  (unsigned long long)ino, (unsigned long long)r.pub.size, r.target_len)) {
		r.pub.size = r.target_len;
		fix_put_inode(k, &r);
	}
	known_add(k, &r);
}

static void numbers_check(struct check *k)
{
	if (k->next_ino == k->s->next_ino)
		return;
	if (found(k, FOUND_NUMBER, "inode %llu: number was never given out",
		  (unsigned long long)k->next_ino - 1))
		k->fixes++;
}

static void root_check(struct check *k)
{
	const struct known *root = known_get(k, STORE_ROOT_INO);

	if (root && known_type(root) == STORE_DIR)
		return;
	if (found(k, FOUND_ROOT, "there is no root directory"))
		fix_make_inode(k, STORE_ROOT_INO, STORE_DIR, STORE_ROOT_INO, false, 0);
}

static int one_pass(struct check *k)
{
	int err;

	k->count = k->dir_count = k->unnamed_count = 0;
	k->fixes = 0;
	k->rebuilt = false;
	k->files = k->s->files;
	k->next_ino = k->s->next_ino;
	map64_clear(&k->made);
	err = check_rows(k, TABLE_INODE, "inodes", on_inode);
	known_sort(k);
	numbers_check(k);
	root_check(k);
	if (err == 0)
		err = check_tree(k);
	if (err == 0)
		err = check_small(k);
	if (err == 0)
		err = check_objects(k);
	if (err)
		return err;
	/* What was made anew in this pass has not been counted: that is for the next. */
	if (!k->rebuilt) {
		check_sums(k);
		fix_attach(k);
	}
	fix_meta(k);
	return fix_commit(k);
}

static int passes(struct check *k)
{
	int err;

	do {
		err = one_pass(k);
		k->pass++;
		HF_MARK("store.check_pass");
	} while (err == 0 && k->fixes > 0 && k->pass <= PASSES_MAX);
	k->res->inodes = k->count;
	k->res->passes = k->pass;
	return err;
}

/* ---- look ------------------------------------------------------------------------------------ */

static int look(struct check *k, char *err, size_t err_size)
{
	struct recovered from;
	int code = salvage_look(k, -1);

	if (code == 0)
		code = store_open_dry(&k->s, k->a->dir, &from, err, err_size);
	if (code == -EUCLEAN) {
		found(k, FOUND_STORE, "%s", err);
		err[0] = '\0';
	}
	if (code)
		return code == -EUCLEAN || code > 0 ? 0 : code;
	code = passes(k);
	store_free(k->s);
	return code == -EUCLEAN ? 0 : code;
}

/* ---- repair ---------------------------------------------------------------------------------- */

static void on_log_finding(void *arg, bool rot, const char *text)
{
	found(arg, rot ? FOUND_LOG_ROT : FOUND_LOG_RECORD, "%s", text);
}

static int repair_store(struct check *k, char *err, size_t err_size)
{
	int code = salvage(k);

	if (code == 0)
		code = store_open_repair(&k->s, k->a->dir, on_log_finding, k, err, err_size);
	if (code == 0) {
		code = passes(k);
		store_free(k->s);
	}
	return code;
}

static int repair(struct check *k, char *err, size_t err_size)
{
	bool owner = store_as_owner(k->a->dir);
	int code = repair_store(k, err, err_size);

	if (owner && code == -EACCES && !err[0])
		snprintf(err, err_size, "%s: its owner, LABEL's, may not do it: chown -R it to that user",
			 k->a->dir);
	if (code == -EUCLEAN && err[0]) {
		k->repair = false; /* as far as it went */
		found(k, FOUND_STORE, "%s", err);
		err[0] = '\0';
		code = 0;
	}
	snprintf(k->res->kept, sizeof(k->res->kept), "%s", k->keep.name);
	keep_end(k);
	store_as_self(owner);
	return code;
}

int store_check_run(const struct store_check_args *a, struct store_check_result *res, char *err,
		    size_t err_size)
{
	struct check k = {.a = a, .res = res, .repair = a->repair, .keep = {.fd = -1}};
	int code;

	memset(res, 0, sizeof(*res));
	err[0] = '\0';
	code = a->repair ? repair(&k, err, err_size) : look(&k, err, err_size);
	free(k.inode);
	free(k.dir);
	free(k.unnamed);
	map64_fini(&k.made);
	if (code && err[0] == '\0')
		snprintf(err, err_size, "%s: %s", a->dir, strerror(-code));
	return code ? code : res->findings > 0;
}

/* ---- the short way --------------------------------------------------------------------------- */

struct short_way {
	void (*say)(void *arg, const char *line);
	void *arg;
};

static void on_finding(void *arg, const struct store_finding *f)
{
	const struct short_way *w = arg;

	w->say(w->arg, f->text);
}

int store_check(const char *dir, void (*on_line)(void *arg, const char *line), void *arg)
{
	struct short_way w = {on_line, arg};
	struct store_check_args a = {.dir = dir, .found = on_finding, .arg = &w};
	struct store_check_result res;
	char err[512];
	int code = store_check_run(&a, &res, err, sizeof(err));

	if (code < 0)
		on_line(arg, err);
	return code;
}
