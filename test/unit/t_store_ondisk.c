/* t_store_ondisk.c - the bytes of the store: the examples of doc/store.md, round trips, and that
 * damage of any kind is an answer, not an accident. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "store/record.h"

static size_t example(const char *name, uint8_t *out, size_t size)
{
	FILE *doc = fopen("doc/store.md", "r");
	char line[256], want[64];
	bool inside = false;
	size_t len = 0;

	CHECK(doc != NULL);
	snprintf(want, sizeof(want), "example %s\n", name);
	while (fgets(line, sizeof(line), doc)) {
		if (!inside) {
			inside = strcmp(line, want) == 0;
			continue;
		}
		if (strncmp(line, "```", 3) == 0)
			break;
		for (char *p = line + 4, *end; len < size; p = end) { /* after the offset */
			unsigned long v = strtoul(p, &end, 16);

			if (end == p)
				break;
			out[len++] = (uint8_t)v;
		}
	}
	fclose(doc);
	return len;
}

static void t_label_example(void)
{
	uint8_t bytes[LABEL_SIZE] = {0}, again[LABEL_SIZE];
	struct label l;

	CHECK_EQ(80, example("label", bytes, sizeof(bytes)));
	CHECK_EQ(0, label_decode(&l, bytes, sizeof(bytes)));
	CHECK_EQ(4 << 20, l.half_bytes);
	CHECK(l.uuid[0] == 0xa0 && l.handle_key[15] == 0x5f);
	label_encode(&l, again);
	CHECK(memcmp(bytes, again, sizeof(bytes)) == 0);
	bytes[70] ^= 1;
	CHECK_EQ(-EBADMSG, label_decode(&l, bytes, sizeof(bytes)));
}

static void t_batch_example(void)
{
	uint8_t bytes[1024];
	struct batch_head h;
	struct inode_row row;
	struct record rec;
	struct change c;
	struct rd in, ch;
	size_t len = example("batch", bytes, sizeof(bytes));

	CHECK_EQ(0, batch_head_decode(&h, bytes, len));
	CHECK_EQ(len, h.length);
	CHECK(batch_body_ok(&h, bytes, len));
	CHECK(h.epoch == 3 && h.first_lsn == 42 && h.durable_lsn == 41 && h.prev_crc == 0x5eed5eed);
	rd_init(&in, bytes + BATCH_HEAD, len - BATCH_HEAD);
	CHECK_EQ(0, rec_decode(&rec, &in));
	CHECK(rd_done(&in) && rec.lsn == 42 && rec.type == REC_WRITE && rec.has_caller);
	CHECK(rec.caller.xid == 0x11223344 && rec.caller.sum == 0x0123456789abcdef);
	CHECK_EQ(4, rec.reply_len);
	rd_init(&ch, rec.changes, rec.changes_len);
	CHECK_EQ(0, change_decode(&c, &ch));
	CHECK(c.type == CHANGE_NEWOBJ && c.ino == 2);
	CHECK_EQ(0, change_decode(&c, &ch));
	CHECK(c.type == CHANGE_PUT && c.key[0] == TABLE_INODE);
	CHECK_EQ(0, inode_row_decode(&row, c.val, c.val_len));
	CHECK(row.has_object && row.pub.mode == 0644 && row.pub.size == 5 && row.pub.uid == 1000);
	CHECK_EQ(0, change_decode(&c, &ch));
	CHECK(c.type == CHANGE_WRITE && c.val_len == 5 && memcmp(c.val, "hello", 5) == 0);
	CHECK(rd_done(&ch));
}

/* Each part by itself, and all of them. */
static void t_inode_parts(void)
{
	struct inode_row plain = {.pub = {.type = STORE_LNK, .generation = 5, .mode = 0777, .nlink = 1,
					  .atime_ns = 7, .mtime_ns = 7, .ctime_ns = 7, .target = "there"},
				  .target_len = 5};
	uint8_t bytes[ROW_INODE_MAX];

	for (unsigned parts = 0; parts < 1U << 10; parts++) {
		struct inode_row r = plain, again;
		size_t len;

		r.pub.nlink = parts & 1 ? 3 : 1;
		r.pub.gid = parts & 2 ? 100 : 0;
		r.pub.minor = parts & 4 ? 1 : 0;
		r.pub.size = parts & 8 ? 4097 : 0;
		r.pub.used = parts & 16 ? 1 : r.pub.size ? 8192 : 0;
		r.pub.atime_ns = parts & 32 ? -8 : 7;
		r.pub.ctime_ns = parts & 64 ? 9 : 7;
		r.cookie_next = parts & 128 ? 3 : 0;
		r.pub.verifier = parts & 256 ? 1 : 0;
		r.has_xattr = parts & 512;
		len = inode_row_encode(&r, bytes, sizeof(bytes));
		CHECK_EQ(0, inode_row_decode(&again, bytes, len));
		CHECK(again.pub.target && strcmp(again.pub.target, "there") == 0);
		again.pub.target = r.pub.target;
		CHECK(memcmp(&again.pub, &r.pub, sizeof(r.pub)) == 0);
		CHECK(again.cookie_next == r.cookie_next && again.has_xattr == r.has_xattr);
		CHECK_EQ(-EBADMSG, inode_row_decode(&again, bytes, len - 1));
		bytes[2] |= 0x10;
		CHECK_EQ(-EBADMSG, inode_row_decode(&again, bytes, len));
	}
}

static void t_meta_example(void)
{
	uint8_t bytes[META_SIZE], again[META_SIZE];
	struct meta m;

	CHECK_EQ(META_SIZE, example("meta", bytes, sizeof(bytes)));
	CHECK_EQ(0, meta_decode(&m, bytes, sizeof(bytes)));
	CHECK(m.checkpoint_lsn == 41 && m.next_half == 1 && m.next_ino == 3 && !m.clean);
	meta_encode(&m, again);
	CHECK(memcmp(bytes, again, sizeof(bytes)) == 0);
	bytes[1] = 2;
	CHECK_EQ(-ENOTSUP, meta_decode(&m, bytes, sizeof(bytes)));
}

/* Everything that a record can hold, cut short at every place and with every bit turned. */
static void walk(const uint8_t *buf, size_t len)
{
	struct inode_row row;
	struct record rec;
	struct change c;
	struct rd in, ch;

	rd_init(&in, buf, len);
	if (rec_decode(&rec, &in))
		return;
	rd_init(&ch, rec.changes, rec.changes_len);
	for (unsigned i = 0; i < rec.change_count && change_decode(&c, &ch) == 0; i++)
		if (c.type == CHANGE_PUT)
			inode_row_decode(&row, c.val, c.val_len);
}

static void t_damage(void)
{
	uint8_t bytes[1024], *copy;
	size_t len = example("batch", bytes, sizeof(bytes)) - BATCH_HEAD;
	const uint8_t *rec = bytes + BATCH_HEAD;
	struct batch_head h;

	for (size_t cut = 0; cut < len; cut++) {
		copy = malloc(cut + 1);
		memcpy(copy, rec, cut);
		walk(copy, cut);
		free(copy);
	}
	copy = malloc(len);
	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(copy, rec, len);
		copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
		walk(copy, len);
	}
	free(copy);
	for (size_t bit = 0; bit < BATCH_HEAD * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CHECK(batch_head_decode(&h, bytes, sizeof(bytes)) != 0);
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}

/* What a newer version wrote is refused, never skipped. */
static void t_unknown(void)
{
	uint8_t buf[64] = {0};
	struct change c;
	struct wr w;
	struct rd in;

	wr_init(&w, buf, sizeof(buf));
	wr_u8(&w, 32);
	wr_u64(&w, 5);
	rd_init(&in, buf, wr_len(&w));
	CHECK_EQ(-ENOTSUP, change_decode(&c, &in));
	wr_init(&w, buf, sizeof(buf));
	wr_u8(&w, CHANGE_DEL);
	wr_u16(&w, 9);
	wr_u8(&w, 'L');
	wr_u64(&w, 5);
	rd_init(&in, buf, wr_len(&w));
	CHECK_EQ(-ENOTSUP, change_decode(&c, &in));
}

int main(void)
{
	CASE(t_label_example);
	CASE(t_batch_example);
	CASE(t_inode_parts);
	CASE(t_meta_example);
	CASE(t_damage);
	CASE(t_unknown);
	return check_end();
}
