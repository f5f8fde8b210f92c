/* model.c - see model.h. */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t op_byte(const struct op *op, size_t i)
{
	return (uint8_t)((op->fill * 2654435761U >> 8) + i * 7 + (i >> 9) * 13) | 1U;
}

void model_init(struct model *m, int64_t root_ctime_ns)
{
	memset(m, 0, sizeof(*m));
	m->nodes = 1;
	m->node[0] = (struct node){.ino = STORE_ROOT_INO, .parent = STORE_ROOT_INO, .type = STORE_DIR,
				   .nlink = 2, .mode = 0755, .ctime_ns = root_ctime_ns};
}

static void node_free(struct node *n)
{
	free(n->val);
	free(n->was);
	free(n->state);
	free(n->seq);
}

void model_fini(struct model *m)
{
	for (unsigned i = 0; i < m->nodes; i++)
		node_free(&m->node[i]);
	m->nodes = 0;
}

static void bytes_make(struct node *n);

void model_copy(struct model *to, const struct model *from)
{
	*to = *from;
	for (unsigned i = 0; i < to->nodes; i++) {
		struct node *n = &to->node[i];
		const struct node *f = &from->node[i];

		if (!f->val)
			continue;
		n->val = NULL;
		bytes_make(n);
		memcpy(n->val, f->val, f->size);
		memcpy(n->was, f->was, f->size);
		memcpy(n->state, f->state, f->size);
		memcpy(n->seq, f->seq, f->size * sizeof(*f->seq));
	}
}

struct node *model_node(struct model *m, uint64_t ino)
{
	for (unsigned i = 0; i < m->nodes; i++)
		if (m->node[i].ino == ino)
			return &m->node[i];
	return NULL;
}

static const struct node *node_const(const struct model *m, uint64_t ino)
{
	for (unsigned i = 0; i < m->nodes; i++)
		if (m->node[i].ino == ino)
			return &m->node[i];
	return NULL;
}

const struct entry *model_entry(const struct model *m, uint64_t dir, const char *name)
{
	for (unsigned i = 0; i < m->entries; i++)
		if (m->entry[i].dir == dir && strcmp(m->entry[i].name, name) == 0)
			return &m->entry[i];
	return NULL;
}

static bool is_empty(const struct model *m, uint64_t dir)
{
	for (unsigned i = 0; i < m->entries; i++)
		if (m->entry[i].dir == dir)
			return false;
	return true;
}

static bool below(const struct model *m, uint64_t dir, uint64_t top)
{
	for (;;) {
		if (dir == top)
			return true;
		if (dir == STORE_ROOT_INO)
			return false;
		dir = node_const(m, dir)->parent;
	}
}

/* ---- what must come out ------------------------------------------------------------ */

static int expect_rename(const struct model *m, const struct op *op)
{
	const struct entry *from = model_entry(m, op->dir, op->name);
	const struct entry *to = model_entry(m, op->dir2, op->name2);
	const struct node *a, *b;

	if (!from)
		return -ENOENT;
	a = node_const(m, from->ino);
	if (a->type == STORE_DIR && below(m, op->dir2, from->ino))
		return -EINVAL;
	if (!to || to->ino == from->ino)
		return 0;
	b = node_const(m, to->ino);
	if (a->type == STORE_DIR)
		return b->type != STORE_DIR ? -ENOTDIR : is_empty(m, b->ino) ? 0 : -ENOTEMPTY;
	return b->type == STORE_DIR ? -EISDIR : 0;
}

int model_expect(const struct model *m, const struct op *op)
{
	const struct entry *e = model_entry(m, op->dir, op->name);
	const struct node *n = e ? node_const(m, e->ino) : NULL;

	switch (op->type) {
	case OP_CREATE:
		return e ? -EEXIST : 0;
	case OP_LINK:
		return e ? -EEXIST : 0;
	case OP_REMOVE:
		return !e ? -ENOENT : n->type == STORE_DIR ? -EISDIR : 0;
	case OP_RMDIR:
		return !e ? -ENOENT : n->type != STORE_DIR ? -ENOTDIR :
		       is_empty(m, n->ino) ? 0 : -ENOTEMPTY;
	case OP_RENAME:
		return expect_rename(m, op);
	case OP_WRITE:
	case OP_TRUNCATE:
	case OP_CHMOD:
	case OP_COMMIT:
	case OP_TYPES:
		return 0;
	}
	return 0;
}

/* ---- carrying it out ------------------------------------------------------------ */

static void entry_add(struct model *m, uint64_t dir, const char *name, uint64_t ino)
{
	struct entry *e = &m->entry[m->entries++];

	if (m->entries == MODEL_ENTRIES)
		abort();
	e->dir = dir;
	e->ino = ino;
	snprintf(e->name, sizeof(e->name), "%s", name);
}

static void entry_del(struct model *m, uint64_t dir, const char *name)
{
	for (unsigned i = 0; i < m->entries; i++)
		if (m->entry[i].dir == dir && strcmp(m->entry[i].name, name) == 0) {
			m->entry[i] = m->entry[--m->entries];
			return;
		}
}

static void node_unlink(struct model *m, uint64_t ino)
{
	struct node *n = model_node(m, ino);

	if (n->type != STORE_DIR && --n->nlink > 0)
		return;
	if (n->type == STORE_DIR)
		model_node(m, n->parent)->nlink--;
	node_free(n);
	*n = m->node[--m->nodes];
}

static void apply_create(struct model *m, const struct op *op)
{
	struct node *n = &m->node[m->nodes++];

	if (m->nodes == MODEL_NODES)
		abort();
	*n = (struct node){.ino = op->ino, .parent = op->dir, .type = op->kind,
			   .nlink = op->kind == STORE_DIR ? 2 : 1, .mode = op->mode,
			   .ctime_ns = op->ctime_ns, .size = op->kind == STORE_LNK ? 6 : 0};
	entry_add(m, op->dir, op->name, op->ino);
	if (op->kind == STORE_DIR)
		model_node(m, op->dir)->nlink++;
}

static void apply_rename(struct model *m, const struct op *op)
{
	uint64_t moved = model_entry(m, op->dir, op->name)->ino;
	const struct entry *to = model_entry(m, op->dir2, op->name2);
	struct node *n;

	if (to && to->ino == moved)
		return;
	if (to) {
		uint64_t gone = to->ino;

		entry_del(m, op->dir2, op->name2);
		node_unlink(m, gone);
		if (model_node(m, gone))
			model_node(m, gone)->ctime_ns = op->ctime2_ns;
	}
	entry_del(m, op->dir, op->name);
	entry_add(m, op->dir2, op->name2, moved);
	n = model_node(m, moved);
	n->ctime_ns = op->ctime_ns;
	if (n->type != STORE_DIR)
		return;
	model_node(m, n->parent)->nlink--;
	n->parent = op->dir2;
	model_node(m, op->dir2)->nlink++;
}

static void bytes_make(struct node *n)
{
	if (n->val)
		return;
	n->val = calloc(1, MODEL_FILE_MAX);
	n->was = calloc(1, MODEL_FILE_MAX);
	n->state = calloc(1, MODEL_FILE_MAX);
	n->seq = calloc(MODEL_FILE_MAX, sizeof(*n->seq));
	if (!n->val || !n->was || !n->state || !n->seq)
		abort();
}

static void bytes_zero(struct node *n, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	memset(n->val + from, 0, to - from);
	memset(n->was + from, 0, to - from);
	memset(n->state + from, BYTE_CERTAIN, to - from);
}

static void apply_write(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	bytes_make(n);
	bytes_zero(n, n->size, op->off + op->len > n->size ? op->off + op->len : n->size);
	if (op->off + op->len > n->size)
		n->size = op->off + op->len;
	for (size_t i = 0; i < op->len; i++) {
		uint64_t at = op->off + i;

		if (op->stable) {
			n->state[at] = BYTE_CERTAIN;
		} else {
			n->was[at] = n->val[at];
			n->state[at] = n->state[at] == BYTE_CERTAIN ? BYTE_OPEN : BYTE_FREE;
			n->seq[at] = op->xid;
		}
		n->val[at] = op_byte(op, i);
	}
	n->ctime_ns = op->ctime_ns;
}

/* A byte that was free before and is covered has its last value for certain, too. */
static void apply_commit(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	if (!n || !n->val)
		return;
	for (uint64_t i = 0; i < n->size; i++)
		if (n->state[i] != BYTE_CERTAIN && n->seq[i] < op->began)
			n->state[i] = BYTE_CERTAIN;
}

static void apply_attr(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	n->ctime_ns = op->ctime_ns;
	if (op->type == OP_CHMOD) {
		n->mode = op->mode;
		return;
	}
	bytes_make(n);
	if (op->size > n->size)
		bytes_zero(n, n->size, op->size);
	n->size = op->size;
}

void model_apply(struct model *m, const struct op *op)
{
	m->applied++;
	switch (op->type) {
	case OP_CREATE:
		apply_create(m, op);
		return;
	case OP_LINK:
		entry_add(m, op->dir, op->name, op->ino);
		model_node(m, op->ino)->nlink++;
		model_node(m, op->ino)->ctime_ns = op->ctime_ns;
		return;
	case OP_REMOVE:
	case OP_RMDIR: {
		uint64_t ino = model_entry(m, op->dir, op->name)->ino;

		entry_del(m, op->dir, op->name);
		node_unlink(m, ino);
		if (op->type == OP_REMOVE && model_node(m, ino))
			model_node(m, ino)->ctime_ns = op->ctime_ns;
		return;
	}
	case OP_RENAME:
		apply_rename(m, op);
		return;
	case OP_WRITE:
		apply_write(m, op);
		return;
	case OP_TRUNCATE:
	case OP_CHMOD:
		apply_attr(m, op);
		return;
	case OP_COMMIT:
		apply_commit(m, op);
		return;
	case OP_TYPES:
		return;
	}
}

void model_may_have(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	for (uint64_t i = op->off; n && n->val && i < op->off + op->len && i < n->size; i++) {
		n->state[i] = BYTE_FREE;
		n->seq[i] = op->xid;
	}
}

static void each_open(struct model *m, enum certainty from, enum certainty to)
{
	for (unsigned k = 0; k < m->nodes; k++) {
		struct node *n = &m->node[k];

		for (uint64_t i = 0; n->val && i < n->size; i++)
			if (n->state[i] == from)
				n->state[i] = (uint8_t)to;
	}
}

void model_settle(struct model *m)
{
	each_open(m, BYTE_OPEN, BYTE_CERTAIN);
	each_open(m, BYTE_FREE, BYTE_CERTAIN);
}

void model_after_crash(struct model *m)
{
	each_open(m, BYTE_OPEN, BYTE_FREE);
}

/* ---- holding the store against it ----------------------------------------------------------- */

struct listing {
	struct model *m;
	uint64_t dir, last;
	unsigned count;
	const char *wrong;
};

static bool list_one(void *arg, uint64_t cookie, uint64_t ino, const char *name, size_t len)
{
	struct listing *l = arg;
	const struct entry *e;
	char text[16];

	if (cookie <= l->last)
		l->wrong = "cookies are not in order";
	l->last = cookie;
	l->count++;
	if (cookie <= 2)
		return true;
	snprintf(text, sizeof(text), "%.*s", (int)len, name);
	e = model_entry(l->m, l->dir, text);
	if (!e)
		l->wrong = "lists a name that should not be there";
	else if (e->ino != ino)
		l->wrong = "lists a name with another inode";
	return true;
}

static bool dir_same(struct model *m, struct store *s, const struct node *n, char *why, size_t size)
{
	struct listing l = {.m = m, .dir = n->ino};
	unsigned names = 2;
	bool eof;

	for (unsigned i = 0; i < m->entries; i++)
		names += m->entry[i].dir == n->ino;
	if (store_readdir(s, n->ino, 0, list_one, &l, &eof) || !eof)
		l.wrong = "cannot be listed";
	else if (!l.wrong && l.count != names)
		l.wrong = "lists too few or too many names";
	if (l.wrong)
		snprintf(why, size, "directory %llu: %s", (unsigned long long)n->ino, l.wrong);
	return !l.wrong;
}

static bool bytes_same(struct node *n, struct store *s, void (*round)(void), char *why, size_t size)
{
	uint8_t *buf = malloc(n->size + 1);
	uint64_t wait, i;
	size_t got;
	bool eof;
	int err;

	while ((err = store_read(s, n->ino, 0, n->size, buf, &got, &eof, &wait)) == STORE_WAIT)
		round();
	if (err || got != n->size) {
		snprintf(why, size, "inode %llu: read gives %d, %zu of %llu bytes",
			 (unsigned long long)n->ino, err, got, (unsigned long long)n->size);
		free(buf);
		return false;
	}
	for (i = 0; i < n->size; i++) {
		uint8_t want = n->val ? n->val[i] : 0, state = n->val ? n->state[i] : 0;

		if (buf[i] != want && state == BYTE_CERTAIN)
			break;
		if (buf[i] != want && state == BYTE_OPEN && buf[i] != n->was[i])
			break;
		if (n->val) /* what it is from now on, until the next crash */
			n->val[i] = buf[i];
	}
	if (i < n->size)
		snprintf(why, size, "inode %llu: byte %llu of %llu is 0x%02x, should be 0x%02x",
			 (unsigned long long)n->ino, (unsigned long long)i,
			 (unsigned long long)n->size, buf[i], n->val ? n->val[i] : 0);
	free(buf);
	return i == n->size;
}

static bool node_same(struct node *n, struct store *s, char *why, size_t size)
{
	const struct store_inode *p = store_inode(s, n->ino);
	const char *wrong = NULL;

	if (!p)
		wrong = "does not exist";
	else if (p->type != n->type)
		wrong = "has another type";
	else if (p->nlink != n->nlink)
		wrong = "has another link count";
	else if (p->mode != n->mode)
		wrong = "has another mode";
	else if (n->type != STORE_DIR && p->size != n->size)
		wrong = "has another size";
	else if (n->type != STORE_DIR && p->ctime_ns != n->ctime_ns)
		wrong = "has another change time";
	else if (n->type == STORE_DIR && p->parent != n->parent)
		wrong = "has another parent";
	if (wrong)
		snprintf(why, size, "inode %llu: %s", (unsigned long long)n->ino, wrong);
	return !wrong;
}

bool model_same(struct model *m, struct store *s, void (*round)(void), char *why, size_t size)
{
	uint64_t ino;

	for (unsigned i = 0; i < m->entries; i++) {
		const struct entry *e = &m->entry[i];

		if (store_lookup(s, e->dir, e->name, strlen(e->name), &ino) || ino != e->ino) {
			snprintf(why, size, "directory %llu: \"%s\" is not inode %llu",
				 (unsigned long long)e->dir, e->name, (unsigned long long)e->ino);
			return false;
		}
	}
	for (unsigned i = 0; i < m->nodes; i++) {
		struct node *n = &m->node[i];

		if (!node_same(n, s, why, size))
			return false;
		if (n->type == STORE_DIR && !dir_same(m, s, n, why, size))
			return false;
		if (n->type == STORE_REG && !bytes_same(n, s, round, why, size))
			return false;
	}
	return true;
}
