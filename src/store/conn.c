/* conn.c - client connections, so that a successor can reset them (tickle ACKs).
 *
 * What the callers see is the list; the log follows lazily: each round conn_progress() writes the
 * differences, all in one record, when the log has room. Nobody waits for it. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/store_impl.h"

#define KEY_LEN	     37U
#define PER_RECORD   256U

static void conn_key(const struct store_conn *c, uint8_t key[KEY_LEN])
{
	struct wr w;

	wr_init(&w, key, KEY_LEN);
	wr_u8(&w, TABLE_CONN);
	wr_bytes(&w, c->remote, 16);
	wr_bytes(&w, c->local, 16);
	wr_u16(&w, c->remote_port);
	wr_u16(&w, c->local_port);
}

static struct conn *conn_find(struct store *s, const struct store_conn *c)
{
	for (struct list *it = s->conns.next; it != &s->conns; it = it->next) {
		struct conn *k = LIST_OWNER(it, struct conn, link);

		if (k->c.remote_port == c->remote_port && k->c.local_port == c->local_port &&
		    memcmp(k->c.remote, c->remote, 16) == 0 && memcmp(k->c.local, c->local, 16) == 0)
			return k;
	}
	return NULL;
}

static struct conn *conn_new(struct store *s, const struct store_conn *c)
{
	struct conn *k = mem_zalloc(1, sizeof(*k));

	k->c = *c;
	list_add_tail(&s->conns, &k->link);
	return k;
}

void store_conn_add(struct store *s, const struct store_conn *c)
{
	struct conn *k = conn_find(s, c);

	if (!k)
		k = conn_new(s, c);
	k->open = true;
	k->old = false;
	s->conns_dirty = true;
}

void store_conn_del(struct store *s, const struct store_conn *c)
{
	struct conn *k = conn_find(s, c);

	if (!k)
		return;
	k->open = k->old = false;
	s->conns_dirty = true;
}

void store_conn_each(struct store *s, void (*each)(void *arg, const struct store_conn *c), void *arg)
{
	for (struct list *it = s->conns.next; it != &s->conns; it = it->next) {
		struct conn *k = LIST_OWNER(it, struct conn, link);

		if (k->old)
			each(arg, &k->c);
	}
}

void store_conn_forget_all(struct store *s)
{
	for (struct list *it = s->conns.next; it != &s->conns; it = it->next) {
		struct conn *k = LIST_OWNER(it, struct conn, link);

		if (k->old)
			k->old = k->open = false;
	}
	s->conns_dirty = true;
}

static void conn_from_key(struct store_conn *c, const uint8_t *key)
{
	struct rd r;

	rd_init(&r, key + 1, KEY_LEN - 1);
	rd_copy(&r, c->remote, 16);
	rd_copy(&r, c->local, 16);
	c->remote_port = rd_u16(&r);
	c->local_port = rd_u16(&r);
}

/* A row of ours went by: in recovery it is how the previous owner's connections become known. */
void conn_apply(struct store *s, const uint8_t *key, bool put)
{
	struct store_conn c;
	struct conn *k;

	if (!s->replaying)
		return;
	conn_from_key(&c, key);
	k = conn_find(s, &c);
	if (put && !k)
		k = conn_new(s, &c);
	if (k)
		k->old = k->open = k->logged = put;
}

/* One change of the log for one connection; false when there is nothing to say. */
static bool conn_emit(struct store *s, struct conn *k)
{
	uint8_t key[KEY_LEN];
	struct change c = {.type = k->open ? CHANGE_PUT : CHANGE_DEL, .key = key, .key_len = KEY_LEN,
			   .val = key};

	if (k->open == k->logged)
		return false;
	conn_key(&k->c, key);
	emit(s, &c, false);
	k->logged = k->open;
	return true;
}

void conn_progress(struct store *s)
{
	struct list *it, *tmp;
	unsigned emitted = 0;
	uint64_t wait;

	if (!s->conns_dirty || s->close_done || store_op_begin(s, NULL, &wait))
		return;
	s->conns_dirty = false;
	s->op.type = REC_CONN;
	LIST_EACH_SAFE (it, tmp, &s->conns) {
		struct conn *k = LIST_OWNER(it, struct conn, link);

		if (emitted == PER_RECORD) {
			s->conns_dirty = true;
			break;
		}
		emitted += conn_emit(s, k);
		if (!k->open) {
			list_del(&k->link);
			free(k);
		}
	}
	if (emitted)
		store_op_end(s, NULL, 0);
	else
		store_op_cancel(s);
}

int conn_load(struct store *s)
{
	static const uint8_t first[2] = {TABLE_CONN, 0};
	struct index_row row;
	int err = index_seek(s->index, first, sizeof(first), &row);

	while (err == 0 && row.key[0] == TABLE_CONN && row.key_len == KEY_LEN) {
		struct store_conn c;
		struct conn *k;

		conn_from_key(&c, row.key);
		k = conn_new(s, &c);
		k->old = k->open = k->logged = true;
		err = index_next(s->index, &row);
	}
	return err == -EUCLEAN ? err : 0;
}

void conn_fini(struct store *s)
{
	struct list *it, *tmp;

	LIST_EACH_SAFE (it, tmp, &s->conns) {
		list_del(it);
		free(LIST_OWNER(it, struct conn, link));
	}
}
