/* check_small.c - the tables beside the tree: state, connections, replies, attributes, unlinks. */
#include <errno.h>
#include <stdlib.h>

#include "store/check_impl.h"

#define ULL(x) ((unsigned long long)(x))

static void on_xattr(struct check *k, const struct index_row *row)
{
	char target[STORE_TARGET_MAX + 1];
	struct inode_row r;
	const uint8_t *value;
	struct known *n;
	uint64_t ino;
	size_t len;

	if (row->key_len <= 9 || xattr_decode(row->val, row->val_len, &value, &len)) {
		if (found(k, FOUND_XATTR, "extended attribute cannot be decoded"))
			fix_del(k, row->key, row->key_len);
		return;
	}
	ino = check_be64(row->key + 1);
	n = known_get(k, ino);
	if ((n && n->said & KNOWN_XATTR) || gen_xdrops(k->s->active, ino) ||
	    gen_xdrops(k->s->frozen, ino))
		return;
	if (!found(k, FOUND_XATTR, "inode %llu: has no extended attributes, but there is \"%.*s\"",
		   ULL(ino), (int)row->key_len - 9, (const char *)row->key + 9))
		return;
	if (!n || fix_get_inode(k, ino, &r, target)) {
		fix_del(k, row->key, row->key_len);
		return;
	}
	r.has_xattr = true;
	n->said |= KNOWN_XATTR;
	fix_put_inode(k, &r);
}

static void on_unlink(struct check *k, const struct index_row *row)
{
	uint64_t ino = row->key_len == 9 ? check_be64(row->key + 1) : 0;

	if (ino && !known_get(k, ino))
		return;
	if (found(k, FOUND_UNLINK, "object of inode %llu: is to be unlinked, but the inode exists",
		  ULL(ino)))
		fix_del(k, row->key, row->key_len);
}

static void on_state(struct check *k, const struct index_row *row)
{
	if (row->key_len == 2 && row->key[1] == 'v' && row->val_len == 8) {
		k->verifier_seen = true;
		return;
	}
	if (found(k, FOUND_STATE, "a row of the store's state makes no sense"))
		fix_del(k, row->key, row->key_len);
}

static void on_replies(struct check *k, const struct index_row *row)
{
	if (!dup_row_sane(row) &&
	    found(k, FOUND_REPLIES, "a row of the duplicate cache makes no sense"))
		fix_del(k, row->key, row->key_len);
}

int check_small(struct check *k)
{
	static const uint8_t key[2] = {TABLE_STATE, 'v'};
	uint8_t val[8];
	struct wr w;
	int err = check_rows(k, TABLE_XATTR, "attributes", on_xattr);

	if (err == 0)
		err = check_rows(k, TABLE_UNLINK, "unlinks", on_unlink);
	if (err == 0)
		err = check_rows(k, TABLE_ROLL, "replies", on_replies);
	if (err == 0)
		err = check_rows(k, TABLE_REPLIES, "replies", on_replies);
	k->verifier_seen = false;
	if (err == 0)
		err = check_rows(k, TABLE_STATE, "state", on_state);
	if (err == 0 && !k->verifier_seen &&
	    found(k, FOUND_VERIFIER, "the index has no write verifier")) {
		wr_init(&w, val, sizeof(val));
		wr_u64(&w, k->s->seed);
		fix_put(k, key, sizeof(key), val, sizeof(val));
	}
	return err;
}
