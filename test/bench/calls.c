/* calls.c - what each operation of the load generator sends, and what its reply must hold.
 *
 * The bytes of a file are a function of file and offset, so that what is read can be verified;
 * names are numbered, so that no call of the load refuses for a reason of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

const struct op_info ops[OP_COUNT] = {
#define X(name, proc) {#name, proc},
    OPS(X)
#undef X
};

uint32_t rnd(uint32_t below)
{
	L.rnd ^= L.rnd << 13;
	L.rnd ^= L.rnd >> 7;
	L.rnd ^= L.rnd << 17;
	return (uint32_t)(L.rnd >> 32) % below;
}

/* ---- building calls --------------------------------------------------------------------------- */

void put_header(struct wr *w, uint32_t xid, uint32_t prog, uint32_t proc)
{
	wr_u32(w, 0); /* record mark, filled in at the end */
	wr_u32(w, xid);
	wr_u32(w, 0); /* CALL */
	wr_u32(w, 2);
	wr_u32(w, prog);
	wr_u32(w, 3);
	wr_u32(w, proc);
	wr_u32(w, 1); /* AUTH_SYS: stamp, machine name, uid, gid, no further groups */
	wr_u32(w, 28);
	wr_u32(w, 1);
	wr_u32(w, 5);
	wr_bytes(w, "bench\0\0\0", 8);
	wr_zero(w, 12);
	wr_zero(w, 8); /* verifier: none */
}

void mark_set(uint8_t *at, size_t len)
{
	put_u32(at, 0x80000000U | (uint32_t)(len - 4));
}

void put_opaque(struct wr *w, const void *data, size_t len)
{
	wr_u32(w, (uint32_t)len);
	wr_bytes(w, data, len);
	wr_zero(w, (4 - (len & 3)) & 3);
}

void put_fh(struct wr *w, const struct fh *fh)
{
	put_opaque(w, fh->data, fh->len);
}

static void put_name(struct wr *w, const char *what, uint32_t n)
{
	char name[32];
	int len = snprintf(name, sizeof(name), "%s%u", what, n);

	put_opaque(w, name, (size_t)len);
}

void put_sattr(struct wr *w)
{
	wr_u32(w, 1);
	wr_u32(w, 0644);
	wr_zero(w, 5 * 4);
}

static void pattern(uint8_t *out, uint32_t file, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = (off + i + file) * 0x9e3779b97f4a7c15ULL;

		memcpy(out + i, &v, 8);
	}
}

/* Of a megabyte only each first 4 KiB is made anew: the client must not be the slow one. */
static void put_write(struct wr *w, uint32_t file, uint64_t off, uint32_t len, uint32_t stable)
{
	uint8_t *at;

	put_fh(w, &L.file[file]);
	wr_u64(w, off);
	wr_u32(w, len);
	wr_u32(w, stable);
	wr_u32(w, len);
	at = wr_room(w, len);
	if (at)
		for (uint32_t i = 0; i < len; i += 4096)
			pattern(at + i, file, off + i, len == MIB ? 8 : 4096);
}

/* SPEC SFS2008 for NFSv3: the shares of its operations, of 100. */
static enum op mix_op(void)
{
	static const struct {
		uint32_t share;
		enum op op;
	} mix[] = {{26, OP_GETATTR}, {24, OP_LOOKUP}, {18, OP_READ4K},	   {11, OP_ACCESS},
		   {10, OP_WRITE4K}, {4, OP_SETATTR}, {2, OP_READDIRPLUS}, {1, OP_READDIR},
		   {1, OP_READLINK}, {1, OP_CREATE},  {1, OP_REMOVE},	   {1, OP_FSSTAT}};
	uint32_t n = rnd(100);

	for (size_t i = 0; i < sizeof(mix) / sizeof(mix[0]); i++) {
		if (n < mix[i].share)
			return mix[i].op;
		n -= mix[i].share;
	}
	return OP_GETATTR;
}

static enum op steady_op(void)
{
	static const enum op op[] = {OP_CREATE, OP_WRITE4KS, OP_WRITE4K, OP_TLOOKUP, OP_READ4K};

	return op[rnd(sizeof(op) / sizeof(op[0]))];
}

enum op op_now(enum op op)
{
	if (op == OP_STEADY)
		return steady_op();
	if (op == OP_MIX) {
		op = mix_op();
		return op == OP_REMOVE && L.there.len == 0 ? OP_CREATE : op;
	}
	if ((op == OP_REMOVE && L.there.len == 0) || (op == OP_RMDIR && L.made == 0) ||
	    ((op == OP_FILLTREE || op == OP_FINDTREE) && L.filled == L.tree_files) ||
	    (op == OP_FILLDATA && L.filled == L.files))
		return OP_COUNT;
	return op;
}

/* READ and WRITE: `arg` is the number of the 4 KiB block among those of all files. */
static void put_data_args(struct wr *w, struct slot *s)
{
	bool big = s->op == OP_READ1M || s->op == OP_WRITE1M || s->op == OP_FILLDATA;
	uint32_t len = big ? MIB : 4096, file;
	uint64_t off;

	s->arg = big ? rnd(L.files) * 256 : rnd(L.files * 256);
	if (s->op == OP_FILLDATA)
		s->arg = L.filled++ * 256;
	file = s->arg / 256;
	off = s->arg % 256 * 4096ULL;
	if (s->op == OP_READ4K || s->op == OP_READ1M) {
		put_fh(w, &L.file[file]);
		wr_u64(w, off);
		wr_u32(w, len);
	} else {
		put_write(w, file, off, len, s->op == OP_WRITE4KS ? 2 : 0);
	}
}

/* Where CREATE and REMOVE work. */
static const struct fh *create_dir(uint32_t number)
{
	if (!L.tree_dirs)
		return &L.dir;
	return &L.tree_dir[L.spread ? (uint32_t)(number * 2654435761ULL >> 7) % L.tree_dirs : 0];
}

static void put_create(struct wr *w, struct slot *s)
{
	s->arg = L.created++;
	put_fh(w, create_dir(s->arg));
	put_name(w, "c", s->arg);
	wr_u32(w, 1); /* GUARDED */
	put_sattr(w);
}

static void put_name_args(struct wr *w, struct slot *s, uint32_t number)
{
	if (s->op == OP_REMOVE) {
		uint32_t n = L.there.at[--L.there.len];

		put_fh(w, create_dir(n));
		put_name(w, "c", n);
		return;
	}
	put_fh(w, &L.dir);
	if (s->op == OP_MKDIR) {
		put_name(w, "d", L.made++);
		put_sattr(w);
	} else if (s->op == OP_RMDIR) {
		put_name(w, "d", --L.made);
	} else { /* RENAME there and back */
		put_name(w, s->flipped ? "rb" : "ra", number);
		put_fh(w, &L.dir);
		put_name(w, s->flipped ? "ra" : "rb", number);
		s->flipped = !s->flipped;
	}
}

static void put_tree_args(struct wr *w, struct slot *s)
{
	bool in_order = s->op == OP_FILLTREE || s->op == OP_FINDTREE;

	s->arg = in_order ? L.filled++ : rnd(L.tree_set);
	if (s->op == OP_TGETATTR) {
		put_opaque(w, L.tree_fh + (size_t)s->arg * L.tree_fh_len, L.tree_fh_len);
		return;
	}
	put_fh(w, &L.tree_dir[s->arg / L.tree_per_dir]);
	put_name(w, "f", s->arg);
	if (s->op == OP_FILLTREE) {
		wr_u32(w, 1); /* GUARDED */
		put_sattr(w);
	}
}

static void put_list_args(struct wr *w, struct slot *s, uint32_t number)
{
	bool big = s->op == OP_LIST;

	put_fh(w, big ? &L.tree_dir[number % L.tree_dirs] : &L.list);
	wr_u64(w, big ? s->cookie : 0);
	wr_u64(w, big ? s->verf : 0);
	wr_u32(w, big ? 65536 : 8192);
	if (s->op != OP_READDIR)
		wr_u32(w, big ? 65536 : 32768);
}

/* To the echo server: how long its reply shall be, and what to carry there. */
static void put_echo_args(struct wr *w, enum op op)
{
	uint32_t reply = op == OP_ECHO4K ? 4096 + 128 : op == OP_ECHO1M ? MIB + 128 : 112;
	uint32_t carry = op == OP_ECHOW4K ? 4096 + 60 : op == OP_ECHOW1M ? MIB + 60 : 36;

	wr_u32(w, reply);
	wr_zero(w, carry);
}

void put_args(struct wr *w, struct slot *s, uint32_t number)
{
	switch (s->op) {
	case OP_ECHO:
	case OP_ECHO4K:
	case OP_ECHO1M:
	case OP_ECHOW4K:
	case OP_ECHOW1M:
		put_echo_args(w, s->op);
		break;
	case OP_GETATTR:
		put_fh(w, &L.file[number % L.files]);
		break;
	case OP_FSSTAT:
		put_fh(w, &L.dir);
		break;
	case OP_READLINK:
		put_fh(w, &L.link);
		break;
	case OP_ACCESS:
		put_fh(w, &L.file[number % L.files]);
		wr_u32(w, 0x3f);
		break;
	case OP_LOOKUP:
		put_fh(w, &L.dir);
		put_name(w, "file", s->arg = rnd(L.files));
		break;
	case OP_READ4K:
	case OP_READ1M:
	case OP_WRITE4K:
	case OP_WRITE4KS:
	case OP_WRITE1M:
	case OP_FILLDATA:
		put_data_args(w, s);
		break;
	case OP_COMMIT:
		put_fh(w, &L.file[rnd(L.files)]);
		wr_zero(w, 12);
		break;
	case OP_SETATTR:
		put_fh(w, &L.file[number % L.files]);
		put_sattr(w);
		wr_u32(w, 0);
		break;
	case OP_CREATE:
		put_create(w, s);
		break;
	case OP_REMOVE:
	case OP_MKDIR:
	case OP_RMDIR:
	case OP_RENAME:
		put_name_args(w, s, number);
		break;
	case OP_READDIR:
	case OP_READDIRPLUS:
	case OP_LIST:
		put_list_args(w, s, number);
		break;
	case OP_TLOOKUP:
	case OP_TGETATTR:
	case OP_FILLTREE:
	case OP_FINDTREE:
		put_tree_args(w, s);
		break;
	case OP_NULL:
	case OP_MIX:
	case OP_STEADY:
	case OP_COUNT:
		break;
	}
}

/* ---- checking replies ------------------------------------------------------------------------- */

static void post_op_attr_skip(struct rd *r)
{
	if (rd_u32(r))
		rd_bytes(r, 84);
}

static bool data_is(const uint8_t *got, uint32_t file, uint64_t off, uint32_t len)
{
	static uint8_t want[4096];

	pattern(want, file, off, len);
	return memcmp(got, want, len) == 0;
}

/* Large writes leave only the first bytes of each 4 KiB known. */
static bool read_ok(struct rd *r, const struct slot *s)
{
	uint32_t len = s->op == OP_READ1M ? MIB : 4096;

	post_op_attr_skip(r);
	if (rd_u32(r) != len)
		return false;
	rd_u32(r);
	return rd_u32(r) == len && rd_left(r) == len &&
	       data_is(r->p, s->arg / 256, s->arg % 256 * 4096ULL, 8);
}

static bool write_ok(struct rd *r, const struct slot *s)
{
	bool big = s->op == OP_WRITE1M || s->op == OP_FILLDATA;

	if (rd_u32(r))
		rd_bytes(r, 24);
	post_op_attr_skip(r);
	return rd_u32(r) == (big ? MIB : 4096) && rd_u32(r) >= (s->op == OP_WRITE4KS ? 2U : 0U);
}

static bool lookup_ok(struct rd *r, const struct slot *s)
{
	uint32_t n = rd_u32(r);
	const uint8_t *got = rd_bytes(r, n);

	if (!got)
		return false;
	if (s->op == OP_LOOKUP)
		return n == L.file[s->arg].len && memcmp(got, L.file[s->arg].data, n) == 0;
	return L.lazy ||
	       (n == L.tree_fh_len && memcmp(got, L.tree_fh + (size_t)s->arg * n, n) == 0);
}

static bool create_ok(struct rd *r, const struct slot *s)
{
	struct names *t = &L.there;

	if (s->op == OP_CREATE) {
		if (t->len == t->cap) {
			t->cap = t->cap ? 2 * t->cap : 4096;
			t->at = realloc(t->at, t->cap * sizeof(*t->at));
			if (!t->at)
				die("memory");
		}
		t->at[t->len++] = s->arg;
	}
	return rd_u32(r) == 1 && rd_u32(r) <= FH_MAX;
}

static bool found_ok(struct rd *r, const struct slot *s)
{
	uint32_t n = rd_u32(r);

	if (L.lazy)
		return n <= FH_MAX;
	if (!L.tree_fh) {
		L.tree_fh_len = n;
		L.tree_fh = malloc((size_t)L.tree_files * n);
		if (!L.tree_fh)
			die("memory");
	}
	if (n != L.tree_fh_len || rd_left(r) < n)
		return false;
	rd_copy(r, L.tree_fh + (size_t)s->arg * n, n);
	return true;
}

/* Counts the entries; remembers where a listing goes on. */
static bool list_ok(struct rd *r, struct slot *s)
{
	post_op_attr_skip(r);
	s->verf = rd_u64(r);
	while (rd_u32(r)) {
		rd_u64(r);
		rd_bytes(r, (rd_u32(r) + 3) & ~3U);
		s->cookie = rd_u64(r);
		if (s->op != OP_READDIR) {
			post_op_attr_skip(r);
			if (rd_u32(r))
				rd_bytes(r, (rd_u32(r) + 3) & ~3U);
		}
		L.entries++;
	}
	if (rd_u32(r))
		s->cookie = s->verf = 0;
	return rd_done(r);
}

bool reply_ok(struct rd *r, struct slot *s)
{
	if (rd_u32(r) != 0) /* NFS3_OK */
		return false;
	switch (s->op) {
	case OP_READ4K:
	case OP_READ1M:
		return read_ok(r, s);
	case OP_WRITE4K:
	case OP_WRITE4KS:
	case OP_WRITE1M:
	case OP_FILLDATA:
		return write_ok(r, s);
	case OP_GETATTR:
	case OP_TGETATTR:
		return rd_bytes(r, 84) && rd_done(r);
	case OP_LOOKUP:
	case OP_TLOOKUP:
		return lookup_ok(r, s);
	case OP_CREATE:
	case OP_MKDIR:
		return create_ok(r, s);
	case OP_FILLTREE:
		return rd_u32(r) == 1 && found_ok(r, s);
	case OP_FINDTREE:
		return found_ok(r, s);
	case OP_READDIR:
	case OP_READDIRPLUS:
	case OP_LIST:
		return list_ok(r, s);
	case OP_ECHO:
	case OP_ECHO4K:
	case OP_ECHO1M:
	case OP_ECHOW4K:
	case OP_ECHOW1M:
	case OP_NULL:
	case OP_SETATTR:
	case OP_ACCESS:
	case OP_READLINK:
	case OP_REMOVE:
	case OP_RMDIR:
	case OP_RENAME:
	case OP_FSSTAT:
	case OP_COMMIT:
	case OP_MIX:
	case OP_STEADY:
	case OP_COUNT:
		break;
	}
	return rd_ok(r);
}

/* REPLY, accepted, no verifier, success. */
bool header_ok(struct rd *r)
{
	return rd_u32(r) == 1 && rd_u32(r) == 0 && rd_u32(r) == 0 && rd_u32(r) == 0 &&
	       rd_u32(r) == 0 && rd_ok(r);
}
