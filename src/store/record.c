/* record.c - encoders and decoders of everything the store keeps on disk.  Pure. */
#include "store/record.h"

#include <errno.h>

#include "base/assert.h"
#include "base/crc32c.h"

#define BATCH_MAGIC  0x48464231U /* "HFB1" */
#define CALLER_FLAG  1U
#define INODE_ROW	2U
/* Flags of an inode row: which parts follow, in this order.  Without its part a thing is as usual. */
#define INODE_OBJECT	1U
#define INODE_XATTR	2U
#define INODE_LINKS	4U     /* not 1; a directory: not 2 */
#define INODE_OWNER	8U     /* not 0 and 0 */
#define INODE_DEVICE	0x10U
#define INODE_SIZE	0x20U  /* not 0 */
#define INODE_USED	0x40U  /* not the size in whole blocks */
#define INODE_ATIME	0x80U  /* not mtime */
#define INODE_CTIME	0x100U /* not mtime */
#define INODE_DIR	0x200U
#define INODE_VERIFIER	0x400U
#define INODE_TARGET	0x800U
#define INODE_FLAGS	0xfffU
#define XATTR_VERSION	1U
#define META_VERSION	1U
#define META_CLEAN	1U

static const uint8_t label_magic[8] = {'H', 'O', 'L', 'D', 'F', 'A', 'S', 'T'};

/* ---- LABEL ---------------------------------------------------------------------------------- */

void label_encode(const struct label *l, uint8_t out[LABEL_SIZE])
{
	struct wr w;

	memset(out, 0, LABEL_SIZE);
	wr_init(&w, out, LABEL_SIZE);
	wr_bytes(&w, label_magic, sizeof(label_magic));
	wr_u32(&w, LABEL_VERSION);
	wr_u32(&w, 0);
	wr_bytes(&w, l->uuid, 16);
	wr_bytes(&w, l->handle_key, 16);
	wr_u64(&w, l->half_bytes);
	wr_u64(&w, (uint64_t)l->created_ns);
	wr_u64(&w, 0);
	wr_u32(&w, 0);
	hf_assert(wr_len(&w) == LABEL_USED);
	put_u32(out + LABEL_USED, crc32c(0, out, LABEL_USED));
}

int label_decode(struct label *l, const uint8_t *in, size_t len)
{
	uint8_t magic[8];
	uint32_t crc;
	struct rd r;

	memset(l, 0, sizeof(*l));
	rd_init(&r, in, len);
	rd_copy(&r, magic, sizeof(magic));
	l->version = rd_u32(&r);
	rd_u32(&r);
	rd_copy(&r, l->uuid, 16);
	rd_copy(&r, l->handle_key, 16);
	l->half_bytes = rd_u64(&r);
	l->created_ns = (int64_t)rd_u64(&r);
	rd_u64(&r);
	rd_u32(&r);
	crc = rd_u32(&r);
	if (!rd_ok(&r) || crc != crc32c(0, in, LABEL_USED) || memcmp(magic, label_magic, 8) != 0)
		return -EBADMSG;
	if (l->version != LABEL_VERSION)
		return -ENOTSUP;
	return 0;
}

/* ---- log batch ------------------------------------------------------------------------------ */

void batch_seal(struct batch_head *h, uint8_t *buf)
{
	uint8_t head[BATCH_HEAD];
	struct wr w;

	h->body_crc = crc32c(0, buf + BATCH_HEAD, h->length - BATCH_HEAD);
	wr_init(&w, head, BATCH_HEAD);
	wr_u32(&w, BATCH_MAGIC);
	wr_u32(&w, BATCH_VERSION << 16);
	wr_bytes(&w, h->uuid, 16);
	wr_u64(&w, h->epoch);
	wr_u64(&w, h->first_lsn);
	wr_u64(&w, h->durable_lsn);
	wr_u64(&w, h->service_ns);
	wr_u32(&w, h->count);
	wr_u32(&w, h->length);
	wr_u32(&w, h->prev_crc);
	wr_u32(&w, h->body_crc);
	wr_u32(&w, 0);
	h->crc = crc32c(0, head, wr_len(&w));
	wr_u32(&w, h->crc);
	hf_assert(wr_ok(&w) && wr_len(&w) == BATCH_HEAD);
	memcpy(buf, head, sizeof(head));
}

int batch_head_decode(struct batch_head *h, const uint8_t *in, size_t len)
{
	uint32_t magic;
	uint16_t version;
	struct rd r;

	rd_init(&r, in, len);
	magic = rd_u32(&r);
	if (magic != BATCH_MAGIC || len < BATCH_HEAD)
		return -EBADMSG;
	version = rd_u16(&r);
	rd_u16(&r);
	rd_copy(&r, h->uuid, 16);
	h->epoch = rd_u64(&r);
	h->first_lsn = rd_u64(&r);
	h->durable_lsn = rd_u64(&r);
	h->service_ns = rd_u64(&r);
	h->count = rd_u32(&r);
	h->length = rd_u32(&r);
	h->prev_crc = rd_u32(&r);
	h->body_crc = rd_u32(&r);
	rd_u32(&r);
	h->crc = rd_u32(&r);
	if (h->crc != crc32c(0, in, BATCH_HEAD - 4))
		return -EBADMSG;
	if (version != BATCH_VERSION)
		return -ENOTSUP;
	if (h->length < BATCH_HEAD || h->length > BATCH_MAX || h->count == 0)
		return -EBADMSG;
	return 0;
}

bool batch_body_ok(const struct batch_head *h, const uint8_t *buf, size_t len)
{
	return len >= h->length &&
	       crc32c(0, buf + BATCH_HEAD, h->length - BATCH_HEAD) == h->body_crc;
}

/* ---- record --------------------------------------------------------------------------------- */

void rec_begin(struct wr *w, const struct store_caller *c)
{
	wr_room(w, REC_HEAD);
	if (!c)
		return;
	wr_bytes(w, c->client, 16);
	wr_u32(w, c->xid);
	wr_u32(w, c->prog);
	wr_u32(w, c->vers);
	wr_u32(w, c->proc);
	wr_u64(w, c->sum);
}

void rec_end(struct wr *w, const struct record *r)
{
	struct wr head;
	size_t len;

	wr_bytes(w, r->reply, r->reply_len);
	hf_assert(wr_ok(w));
	len = wr_len(w);
	wr_init(&head, w->start, REC_HEAD);
	wr_u32(&head, (uint32_t)len);
	wr_u16(&head, (uint16_t)r->type);
	wr_u16(&head, r->has_caller ? CALLER_FLAG : 0);
	wr_u64(&head, r->lsn);
	wr_u64(&head, (uint64_t)r->time_ns);
	wr_u32(&head, r->change_count);
	wr_u32(&head, (uint32_t)r->reply_len);
}

static int caller_decode(struct record *r, struct rd *in)
{
	rd_copy(in, r->caller.client, 16);
	r->caller.xid = rd_u32(in);
	r->caller.prog = rd_u32(in);
	r->caller.vers = rd_u32(in);
	r->caller.proc = rd_u32(in);
	r->caller.sum = rd_u64(in);
	return rd_ok(in) ? 0 : -EBADMSG;
}

int rec_decode(struct record *r, struct rd *in)
{
	const uint8_t *at;
	struct rd body;
	uint32_t len, reply_len;
	uint16_t type, flags;

	memset(r, 0, sizeof(*r));
	len = rd_u32(in);
	if (!rd_ok(in) || len < REC_HEAD)
		return -EBADMSG;
	at = rd_bytes(in, len - 4);
	if (!at)
		return -EBADMSG;
	rd_init(&body, at, len - 4);
	type = rd_u16(&body);
	flags = rd_u16(&body);
	r->lsn = rd_u64(&body);
	r->time_ns = (int64_t)rd_u64(&body);
	r->change_count = rd_u32(&body);
	reply_len = rd_u32(&body);
	if (type == 0 || type >= REC_TYPE_END || (flags & ~CALLER_FLAG))
		return -ENOTSUP;
	r->type = (enum rec_type)type;
	r->has_caller = flags & CALLER_FLAG;
	if (r->has_caller && caller_decode(r, &body))
		return -EBADMSG;
	if (rd_left(&body) < reply_len)
		return -EBADMSG;
	r->changes = body.p;
	r->changes_len = rd_left(&body) - reply_len;
	r->reply = body.p + r->changes_len;
	r->reply_len = reply_len;
	return 0;
}

/* ---- changes -------------------------------------------------------------------------------- */

void change_encode(struct wr *w, const struct change *c)
{
	wr_u8(w, (uint8_t)c->type);
	switch (c->type) {
	case CHANGE_PUT:
		wr_u16(w, (uint16_t)c->key_len);
		wr_u32(w, (uint32_t)c->val_len);
		wr_bytes(w, c->key, c->key_len);
		wr_bytes(w, c->val, c->val_len);
		return;
	case CHANGE_DEL:
		wr_u16(w, (uint16_t)c->key_len);
		wr_bytes(w, c->key, c->key_len);
		return;
	case CHANGE_WRITE:
		wr_u64(w, c->ino);
		wr_u64(w, c->arg);
		wr_u32(w, (uint32_t)c->val_len);
		wr_bytes(w, c->val, c->val_len);
		return;
	case CHANGE_TRUNC:
	case CHANGE_SYNCED:
		wr_u64(w, c->ino);
		wr_u64(w, c->arg);
		return;
	case CHANGE_NEWOBJ:
	case CHANGE_UNLINK:
	case CHANGE_XDROP:
		wr_u64(w, c->ino);
		return;
	case CHANGE_TYPE_END:
		break;
	}
	HF_UNREACHABLE("change type");
}

static bool row_key_known(const uint8_t *key, size_t len)
{
	if (len < 2 || len > ROW_KEY_MAX)
		return false;
	switch (key[0]) {
	case TABLE_INODE:
		return len == 9;
	case TABLE_NAME:
	case TABLE_XATTR:
		return len > 9;
	case TABLE_DIR:
		return len == 17;
	case TABLE_CONN:
		return len == 37;
	case TABLE_FORGET:
		return len == 17;
	case TABLE_STATE:
		return true;
	default:
		return false;
	}
}

static int change_row_decode(struct change *c, struct rd *in)
{
	c->key_len = rd_u16(in);
	if (c->type == CHANGE_PUT)
		c->val_len = rd_u32(in);
	c->key = rd_bytes(in, c->key_len);
	if (c->type == CHANGE_PUT)
		c->val = rd_bytes(in, c->val_len);
	if (!rd_ok(in))
		return -EBADMSG;
	return row_key_known(c->key, c->key_len) ? 0 : -ENOTSUP;
}

int change_decode(struct change *c, struct rd *in)
{
	uint8_t type = rd_u8(in);

	memset(c, 0, sizeof(*c));
	if (!rd_ok(in))
		return -EBADMSG;
	if (type == 0 || type >= CHANGE_TYPE_END)
		return -ENOTSUP;
	c->type = (enum change_type)type;
	if (c->type == CHANGE_PUT || c->type == CHANGE_DEL)
		return change_row_decode(c, in);
	c->ino = rd_u64(in);
	if (c->type == CHANGE_WRITE || c->type == CHANGE_TRUNC || c->type == CHANGE_SYNCED)
		c->arg = rd_u64(in);
	if (c->type == CHANGE_WRITE) {
		c->val_len = rd_u32(in);
		c->val = rd_bytes(in, c->val_len);
	}
	if (!rd_ok(in) || c->ino == 0)
		return -EBADMSG;
	if (c->type == CHANGE_WRITE &&
	    (c->arg > STORE_FILE_SIZE_MAX || c->val_len > STORE_FILE_SIZE_MAX - c->arg))
		return -EBADMSG;
	if (c->type == CHANGE_TRUNC && c->arg > STORE_FILE_SIZE_MAX)
		return -EBADMSG;
	return 0;
}

/* ---- index rows ----------------------------------------------------------------------------- */

static void st32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static void st64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t ld32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static uint64_t ld64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

/* An inode row has what every inode has, and what this one has besides. */
#define INODE_FIXED 18U
#define BLOCK	    4096U

static const struct {
	unsigned flag, size;
} inode_part[] = {
    {INODE_LINKS, 4}, {INODE_OWNER, 8}, {INODE_DEVICE, 8}, {INODE_SIZE, 8},	 {INODE_USED, 8},
    {INODE_ATIME, 8}, {INODE_CTIME, 8}, {INODE_DIR, 24},   {INODE_VERIFIER, 8}, {INODE_TARGET, 2},
};

static uint32_t links_usual(enum store_type type)
{
	return type == STORE_DIR ? 2 : 1;
}

static uint64_t used_usual(uint64_t size)
{
	return (size + BLOCK - 1) / BLOCK * BLOCK;
}

static unsigned inode_flags(const struct inode_row *r)
{
	const struct store_inode *p = &r->pub;

	return (r->has_object ? INODE_OBJECT : 0) | (r->has_xattr ? INODE_XATTR : 0) |
	       (p->nlink != links_usual(p->type) ? INODE_LINKS : 0) |
	       (p->uid || p->gid ? INODE_OWNER : 0) | (p->major || p->minor ? INODE_DEVICE : 0) |
	       (p->size ? INODE_SIZE : 0) | (p->used != used_usual(p->size) ? INODE_USED : 0) |
	       (p->atime_ns != p->mtime_ns ? INODE_ATIME : 0) |
	       (p->ctime_ns != p->mtime_ns ? INODE_CTIME : 0) |
	       (p->parent || r->entries || r->cookie_next ? INODE_DIR : 0) |
	       (p->verifier ? INODE_VERIFIER : 0) | (r->target_len ? INODE_TARGET : 0);
}

static uint8_t *add32(uint8_t *at, uint32_t v)
{
	st32(at, v);
	return at + 4;
}

static uint8_t *add64(uint8_t *at, uint64_t v)
{
	st64(at, v);
	return at + 8;
}

/* What only some have, in the order of the flags. */
static uint8_t *inode_parts_encode(const struct inode_row *r, unsigned flags, uint8_t *at)
{
	const struct store_inode *p = &r->pub;

	if (flags & INODE_LINKS)
		at = add32(at, p->nlink);
	if (flags & INODE_OWNER)
		at = add32(add32(at, p->uid), p->gid);
	if (flags & INODE_DEVICE)
		at = add32(add32(at, p->major), p->minor);
	if (flags & INODE_SIZE)
		at = add64(at, p->size);
	if (flags & INODE_USED)
		at = add64(at, p->used);
	if (flags & INODE_ATIME)
		at = add64(at, (uint64_t)p->atime_ns);
	if (flags & INODE_CTIME)
		at = add64(at, (uint64_t)p->ctime_ns);
	if (flags & INODE_DIR)
		at = add64(add64(add64(at, p->parent), r->entries), r->cookie_next);
	if (flags & INODE_VERIFIER)
		at = add64(at, p->verifier);
	return at;
}

size_t inode_row_encode(const struct inode_row *r, uint8_t *out, size_t size)
{
	const struct store_inode *p = &r->pub;
	unsigned flags = inode_flags(r);
	uint8_t *at;

	hf_assert(size >= ROW_INODE_MAX && r->target_len <= STORE_TARGET_MAX && p->mode <= 07777);
	st32(out, INODE_ROW << 24 | (uint32_t)p->type << 16 | flags);
	st32(out + 4, p->generation);
	out[8] = (uint8_t)(p->mode >> 8);
	out[9] = (uint8_t)p->mode;
	st64(out + 10, (uint64_t)p->mtime_ns);
	at = inode_parts_encode(r, flags, out + INODE_FIXED);
	if (r->target_len) {
		*at++ = (uint8_t)(r->target_len >> 8);
		*at++ = (uint8_t)r->target_len;
		memcpy(at, p->target, r->target_len);
		at += r->target_len;
		*at++ = 0;
	}
	return (size_t)(at - out);
}

static bool inode_row_sane(const struct inode_row *r)
{
	enum store_type type = r->pub.type;

	if (type < STORE_REG || type > STORE_FIFO)
		return false;
	if (r->has_object && type != STORE_REG)
		return false;
	if ((type == STORE_LNK) != (r->target_len > 0))
		return false;
	return r->pub.size <= STORE_FILE_SIZE_MAX && r->pub.mode <= 07777;
}

static uint32_t take32(const uint8_t **at)
{
	*at += 4;
	return ld32(*at - 4);
}

static uint64_t take64(const uint8_t **at)
{
	*at += 8;
	return ld64(*at - 8);
}

static void inode_parts_decode(struct inode_row *r, unsigned flags, const uint8_t *at)
{
	struct store_inode *p = &r->pub;

	if (flags & INODE_LINKS)
		p->nlink = take32(&at);
	if (flags & INODE_OWNER) {
		p->uid = take32(&at);
		p->gid = take32(&at);
	}
	if (flags & INODE_DEVICE) {
		p->major = take32(&at);
		p->minor = take32(&at);
	}
	if (flags & INODE_SIZE)
		p->size = take64(&at);
	p->used = flags & INODE_USED ? take64(&at) : used_usual(p->size);
	if (flags & INODE_ATIME)
		p->atime_ns = (int64_t)take64(&at);
	if (flags & INODE_CTIME)
		p->ctime_ns = (int64_t)take64(&at);
	if (flags & INODE_DIR) {
		p->parent = take64(&at);
		r->entries = take64(&at);
		r->cookie_next = take64(&at);
	}
	if (flags & INODE_VERIFIER)
		p->verifier = take64(&at);
}

/* The target, or NULL: it is none. */
static const uint8_t *inode_target(const uint8_t *at, const uint8_t *end, uint32_t *len)
{
	*len = (uint32_t)at[0] << 8 | at[1];
	at += 2;
	if ((size_t)(end - at) != (size_t)*len + 1 || at[*len] != 0 || memchr(at, 0, *len))
		return NULL;
	return at;
}

int inode_row_decode(struct inode_row *r, const uint8_t *in, size_t len)
{
	size_t want = INODE_FIXED;
	unsigned flags;

	if (len < INODE_FIXED || in[0] != INODE_ROW)
		return -EBADMSG;
	flags = (unsigned)in[2] << 8 | in[3];
	for (size_t i = 0; i < sizeof(inode_part) / sizeof(inode_part[0]); i++)
		if (flags & inode_part[i].flag)
			want += inode_part[i].size;
	if ((flags & ~INODE_FLAGS) || len < want || (len > want && !(flags & INODE_TARGET)))
		return -EBADMSG;
	*r = (struct inode_row){.has_object = flags & INODE_OBJECT, .has_xattr = flags & INODE_XATTR};
	r->pub.type = (enum store_type)in[1];
	r->pub.generation = ld32(in + 4);
	r->pub.mode = (uint32_t)in[8] << 8 | in[9];
	r->pub.nlink = links_usual(r->pub.type);
	r->pub.mtime_ns = r->pub.atime_ns = r->pub.ctime_ns = (int64_t)ld64(in + 10);
	inode_parts_decode(r, flags, in + INODE_FIXED);
	if (flags & INODE_TARGET) {
		r->pub.target = (const char *)inode_target(in + want - 2, in + len, &r->target_len);
		if (!r->pub.target)
			return -EBADMSG;
	}
	return inode_row_sane(r) ? 0 : -EBADMSG;
}

static void put_u64(uint8_t *out, uint64_t v)
{
	put_u32(out, (uint32_t)(v >> 32));
	put_u32(out + 4, (uint32_t)v);
}

size_t key_inode(uint8_t *out, uint64_t ino)
{
	out[0] = TABLE_INODE;
	put_u64(out + 1, ino);
	return 9;
}

size_t key_name(uint8_t *out, uint64_t dir, const void *name, size_t len)
{
	out[0] = TABLE_NAME;
	put_u64(out + 1, dir);
	memcpy(out + 9, name, len);
	return 9 + len;
}

size_t key_dir(uint8_t *out, uint64_t dir, uint64_t cookie)
{
	out[0] = TABLE_DIR;
	put_u64(out + 1, dir);
	put_u64(out + 9, cookie);
	return 17;
}

size_t key_xattr(uint8_t *out, uint64_t ino, const void *name, size_t len)
{
	out[0] = TABLE_XATTR;
	put_u64(out + 1, ino);
	memcpy(out + 9, name, len);
	return 9 + len;
}

size_t xattr_encode(uint8_t *out, const void *value, size_t len)
{
	out[0] = XATTR_VERSION;
	out[1] = 0;
	if (len)
		memcpy(out + XATTR_HEAD, value, len);
	return XATTR_HEAD + len;
}

int xattr_decode(const uint8_t *in, size_t len, const uint8_t **value, size_t *value_len)
{
	if (len < XATTR_HEAD || len > XATTR_HEAD + XATTR_VALUE_MAX || in[0] == 0)
		return -EBADMSG;
	if (in[0] != XATTR_VERSION || in[1] != 0)
		return -ENOTSUP;
	*value = in + XATTR_HEAD;
	*value_len = len - XATTR_HEAD;
	return 0;
}

void meta_encode(const struct meta *m, uint8_t out[META_SIZE])
{
	struct wr w;

	wr_init(&w, out, META_SIZE);
	wr_u32(&w, META_VERSION << 16 | (m->clean ? META_CLEAN << 8 : 0) | m->next_half);
	wr_u32(&w, m->chain_crc);
	wr_u64(&w, m->checkpoint_lsn);
	wr_u64(&w, m->epoch);
	wr_u64(&w, m->next_ino);
	wr_u64(&w, m->files);
	wr_u64(&w, m->service_ns);
	wr_u64(&w, (uint64_t)m->time_ns);
	wr_u64(&w, 0);
	hf_assert(wr_ok(&w) && wr_len(&w) == META_SIZE);
}

int meta_decode(struct meta *m, const uint8_t *in, size_t len)
{
	unsigned version, flags;
	struct rd r;

	rd_init(&r, in, len);
	version = rd_u16(&r);
	flags = rd_u8(&r);
	m->next_half = rd_u8(&r);
	m->chain_crc = rd_u32(&r);
	m->checkpoint_lsn = rd_u64(&r);
	m->epoch = rd_u64(&r);
	m->next_ino = rd_u64(&r);
	m->files = rd_u64(&r);
	m->service_ns = rd_u64(&r);
	m->time_ns = (int64_t)rd_u64(&r);
	rd_u64(&r);
	if (!rd_done(&r))
		return -EBADMSG;
	if (version != META_VERSION || (flags & ~META_CLEAN))
		return -ENOTSUP;
	m->clean = flags & META_CLEAN;
	return m->next_half > 1 || m->next_ino <= STORE_ROOT_INO ? -EBADMSG : 0;
}

size_t table_key(uint8_t key[9], enum table t, uint64_t id)
{
	struct wr w;

	wr_init(&w, key, 9);
	wr_u8(&w, (uint8_t)t);
	wr_u64(&w, id);
	return wr_len(&w);
}
