/* model.c - see model.h. */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EARLIER UINT32_MAX /* a write of an earlier life */

uint8_t op_byte(const struct op *op, size_t i)
{
	return (uint8_t)((op->fill * 2654435761U >> 8) + i * 7 + (i >> 9) * 13) | 1U;
}

void model_target(const struct op *op, char out[16])
{
	snprintf(out, 16, "t%u", op->fill % 1000000);
}

void model_init(struct model *m, int64_t root_time_ns)
{
	memset(m, 0, sizeof(*m));
	m->nodes = 1;
	m->node[0] = (struct node){.ino = STORE_ROOT_INO,
				   .parent = STORE_ROOT_INO,
				   .type = STORE_DIR,
				   .nlink = 2,
				   .mode = 0755,
				   .atime_ns = root_time_ns,
				   .mtime_ns = root_time_ns,
				   .ctime_ns = root_time_ns};
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

static void bytes_make(struct node *n, uint64_t size);

void model_copy(struct model *to, const struct model *from)
{
	*to = *from;
	for (unsigned i = 0; i < to->nodes; i++) {
		struct node *n = &to->node[i];
		const struct node *f = &from->node[i];

		if (!f->val)
			continue;
		n->room = 0;
		n->val = n->was = n->state = NULL;
		n->seq = NULL;
		bytes_make(n, f->room);
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
		return !e                     ? -ENOENT
		       : n->type != STORE_DIR ? -ENOTDIR
		       : is_empty(m, n->ino)  ? 0
					      : -ENOTEMPTY;
	case OP_RENAME:
		return expect_rename(m, op);
	case OP_WRITE:
	case OP_SETATTR:
	case OP_COMMIT:
	case OP_TOUCH:
	case OP_FORGET:
	case OP_FAILED:
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

static void dir_changed(struct model *m, uint64_t dir, const struct op *op)
{
	struct node *n = model_node(m, dir);

	n->mtime_ns = n->ctime_ns = op->time_ns;
	n->lsn = op->lsn;
}

static void node_changed(struct node *n, const struct op *op)
{
	n->ctime_ns = op->time_ns;
	n->lsn = op->lsn;
}

static void node_unlink(struct model *m, uint64_t ino, const struct op *op)
{
	struct node *n = model_node(m, ino);

	if (n->type != STORE_DIR && n->nlink > 1) {
		n->nlink--;
		node_changed(n, op);
		return;
	}
	if (n->type == STORE_DIR)
		model_node(m, n->parent)->nlink--;
	node_free(n);
	*n = m->node[--m->nodes];
}

static void attr_apply(struct node *n, const struct op *op)
{
	const struct store_attr *a = &op->attr;

	if (a->set_mode)
		n->mode = a->mode;
	if (a->set_uid)
		n->uid = a->uid;
	if (a->set_gid)
		n->gid = a->gid;
	if (a->set_size)
		n->mtime_ns = op->time_ns;
	if (a->set_atime != STORE_TIME_KEEP) {
		n->atime_ns = a->set_atime == STORE_TIME_CLIENT ? a->atime_ns : op->time_ns;
		n->touched = false;
	}
	if (a->set_mtime != STORE_TIME_KEEP)
		n->mtime_ns = a->set_mtime == STORE_TIME_CLIENT ? a->mtime_ns : op->time_ns;
	node_changed(n, op);
}

static void apply_create(struct model *m, const struct op *op)
{
	struct node *n = &m->node[m->nodes++];

	if (m->nodes == MODEL_NODES)
		abort();
	*n = (struct node){.ino = op->ino,
			   .parent = op->dir,
			   .type = op->kind,
			   .nlink = op->kind == STORE_DIR ? 2 : 1,
			   .major = op->major,
			   .minor = op->minor,
			   .verifier = op->verifier,
			   .atime_ns = op->time_ns,
			   .mtime_ns = op->time_ns};
	attr_apply(n, op);
	if (op->kind == STORE_LNK) {
		model_target(op, n->target);
		n->size = strlen(n->target);
	}
	if (op->attr.set_size)
		n->size = op->attr.size;
	entry_add(m, op->dir, op->name, op->ino);
	if (op->kind == STORE_DIR)
		model_node(m, op->dir)->nlink++;
	dir_changed(m, op->dir, op);
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
		node_unlink(m, gone, op);
	}
	entry_del(m, op->dir, op->name);
	entry_add(m, op->dir2, op->name2, moved);
	dir_changed(m, op->dir, op);
	dir_changed(m, op->dir2, op);
	n = model_node(m, moved);
	node_changed(n, op);
	if (n->type != STORE_DIR)
		return;
	model_node(m, n->parent)->nlink--;
	n->parent = op->dir2;
	model_node(m, op->dir2)->nlink++;
}

static void *grown(void *old, size_t had, size_t want)
{
	uint8_t *p = realloc(old, want);

	if (!p)
		abort();
	memset(p + had, 0, want - had);
	return p;
}

static void bytes_make(struct node *n, uint64_t size)
{
	size_t room = n->room ? n->room : 4096;

	if (size > MODEL_FILE_MAX)
		abort();
	while (room < size)
		room *= 2;
	if (room == n->room)
		return;
	n->val = grown(n->val, n->room, room);
	n->was = grown(n->was, n->room, room);
	n->state = grown(n->state, n->room, room);
	n->seq = grown(n->seq, n->room * sizeof(*n->seq), room * sizeof(*n->seq));
	n->room = room;
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
	uint64_t lsn = n->lsn;

	bytes_make(n, op->off + op->len > n->size ? op->off + op->len : n->size);
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
	n->mtime_ns = op->time_ns;
	node_changed(n, op);
	if (!op->stable)
		n->lsn = lsn;
}

/* A byte that was free before and is covered has its last value for certain, too. */
static void apply_commit(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	if (!n || !n->val)
		return;
	for (uint64_t i = 0; i < n->size; i++)
		if (n->state[i] != BYTE_ANY && n->seq[i] < op->began)
			n->state[i] = BYTE_CERTAIN; /* written since the verifier is this one */
}

static void apply_setattr(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	attr_apply(n, op);
	if (!op->attr.set_size)
		return;
	bytes_make(n, op->attr.size > n->size ? op->attr.size : n->size);
	if (op->attr.size > n->size)
		bytes_zero(n, n->size, op->attr.size);
	n->size = op->attr.size;
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
		node_changed(model_node(m, op->ino), op);
		dir_changed(m, op->dir, op);
		return;
	case OP_REMOVE:
	case OP_RMDIR: {
		uint64_t ino = model_entry(m, op->dir, op->name)->ino;

		entry_del(m, op->dir, op->name);
		node_unlink(m, ino, op);
		dir_changed(m, op->dir, op);
		return;
	}
	case OP_RENAME:
		apply_rename(m, op);
		return;
	case OP_WRITE:
		apply_write(m, op);
		return;
	case OP_SETATTR:
		apply_setattr(m, op);
		return;
	case OP_COMMIT:
		apply_commit(m, op);
		return;
	case OP_TOUCH:
		if (model_node(m, op->ino))
			model_node(m, op->ino)->touched = true;
		return;
	case OP_FAILED:
		if (op->asked == OP_WRITE && !op->stable)
			model_may_have(m, op);
		return;
	case OP_FORGET:
	case OP_TYPES:
		return;
	}
}

void model_may_have(struct model *m, const struct op *op)
{
	struct node *n = model_node(m, op->ino);

	for (uint64_t i = op->off; n && n->val && i < op->off + op->len && i < n->size; i++) {
		n->state[i] = BYTE_ANY;
		n->seq[i] = op->xid;
	}
}

void model_settle(struct model *m)
{
	for (unsigned k = 0; k < m->nodes; k++) {
		struct node *n = &m->node[k];

		for (uint64_t i = 0; n->val && i < n->size; i++)
			if (n->state[i] == BYTE_OPEN || n->state[i] == BYTE_FREE)
				n->state[i] = n->seq[i] == EARLIER ? BYTE_ANY : BYTE_CERTAIN;
	}
}

/* What was written under an earlier verifier is promised by nobody, not by a COMMIT either: the
 * client has to send it again. */
void model_after_crash(struct model *m)
{
	for (unsigned k = 0; k < m->nodes; k++) {
		struct node *n = &m->node[k];

		for (uint64_t i = 0; n->val && i < n->size; i++) {
			if (n->state[i] == BYTE_CERTAIN)
				continue;
			n->state[i] = BYTE_FREE;
			n->seq[i] = EARLIER;
		}
	}
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
		if (!n->val)
			continue;
		n->val[i] = buf[i]; /* what it is from now on, until the next crash */
		if (state == BYTE_ANY)
			n->state[i] = BYTE_FREE;
	}
	if (i < n->size)
		snprintf(why, size, "inode %llu: byte %llu of %llu is 0x%02x, should be 0x%02x",
			 (unsigned long long)n->ino, (unsigned long long)i,
			 (unsigned long long)n->size, buf[i], n->val ? n->val[i] : 0);
	free(buf);
	return i == n->size;
}

bool model_node_same(const struct node *n, struct store *s, bool lsn, char *why, size_t size)
{
	const struct store_inode *p = store_inode(s, n->ino);
	bool dir = n->type == STORE_DIR;
	const char *wrong = NULL;

	if (!p)
		wrong = "does not exist";
	else if (p->type != n->type)
		wrong = "has another type";
	else if (p->nlink != n->nlink)
		wrong = "has another link count";
	else if (p->mode != n->mode || p->uid != n->uid || p->gid != n->gid)
		wrong = "has another mode or owner";
	else if (p->major != n->major || p->minor != n->minor)
		wrong = "has other device numbers";
	else if (p->verifier != n->verifier)
		wrong = "has another verifier";
	else if (!dir && p->size != n->size)
		wrong = "has another size";
	else if (n->type == STORE_LNK && strcmp(p->target, n->target) != 0)
		wrong = "has another target";
	else if (p->ctime_ns != n->ctime_ns && n->ctime_ns) /* 0: the root's, not known */
		wrong = "has another change time";
	else if (p->mtime_ns != n->mtime_ns && n->mtime_ns)
		wrong = "has another modification time";
	else if (p->atime_ns != n->atime_ns && !n->touched)
		wrong = "has another access time";
	else if (dir && p->parent != n->parent)
		wrong = "has another parent";
	else if (lsn && p->lsn < n->lsn)
		wrong = "would be shown before its last change is durable";
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

		if (!model_node_same(n, s, false, why, size))
			return false;
		if (n->type == STORE_DIR && !dir_same(m, s, n, why, size))
			return false;
		if (n->type == STORE_REG && !bytes_same(n, s, round, why, size))
			return false;
	}
	return true;
}
