/* record.h - the bytes of the store: log batches, records, changes, index rows, LABEL.  Pure.
 *
 * Everything on disk is big-endian and bounded; decoders take bytes from a disk that may be
 * damaged or hostile and answer 0 or -EBADMSG (-ENOTSUP: a valid thing that this version does
 * not know).  Tables with offsets and a worked example: doc/store.md. */
#ifndef HF_STORE_RECORD_H
#define HF_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "store/store.h"

/* ---- LABEL ---------------------------------------------------------------------------------- */
#define LABEL_SIZE    4096U
#define LABEL_VERSION 2U
#define LABEL_USED    76U /* before its checksum */

struct label {
	uint8_t uuid[16];
	uint8_t handle_key[16];
	uint64_t half_bytes;
	int64_t created_ns;
	uint32_t version;
};
void label_encode(const struct label *l, uint8_t out[LABEL_SIZE]);
/* 0, -EBADMSG, or -ENOTSUP with l->version set (made by a newer program). */
int label_decode(struct label *l, const uint8_t *in, size_t len);

/* ---- log batch ------------------------------------------------------------------------------ */
#define BATCH_HEAD    80U
#define BATCH_ALIGN   4096U
#define BATCH_MAX     (STORE_WRITE_MAX + (192U << 10))
#define BATCH_VERSION 1U

struct batch_head {
	uint8_t uuid[16];
	uint64_t epoch;
	uint64_t first_lsn;
	uint64_t durable_lsn; /* known durable when this batch was built (S5) */
	uint64_t service_ns;  /* the store's service clock then */
	uint32_t count;	      /* records */
	uint32_t length;      /* header and records, without padding */
	uint32_t prev_crc;    /* `crc` of the batch before: the chain (S3) */
	uint32_t body_crc;
	uint32_t crc; /* of the header, so of everything */
};
/* Fills in body_crc and crc, writes the header in front of the body already at buf + BATCH_HEAD. */
void batch_seal(struct batch_head *h, uint8_t *buf);
/* Only the header's own validity; the body is for batch_body_ok(). */
int batch_head_decode(struct batch_head *h, const uint8_t *in, size_t len);
bool batch_body_ok(const struct batch_head *h, const uint8_t *buf, size_t len);
static inline uint64_t batch_padded(uint64_t len)
{
	return (len + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN;
}

/* ---- record --------------------------------------------------------------------------------- */
#define REC_HEAD   32U
#define REC_CALLER 40U

/* 64 and up: locks and lock clients; 128 and up: mirror membership.  Unknown: refuse to open. */
enum rec_type {
	REC_EPOCH = 1, /* first of every open */
	REC_REPLY,     /* nothing but a reply to remember */
	REC_SETATTR,
	REC_CREATE,
	REC_LINK,
	REC_REMOVE,
	REC_RMDIR,
	REC_RENAME,
	REC_WRITE,
	REC_COMMIT,
	REC_TOUCH,
	REC_CONN,
	REC_FORGET,
	REC_NOTE, /* nothing: an lsn to wait for */
	REC_TYPE_END
};

struct record {
	uint64_t lsn;
	enum rec_type type;
	int64_t time_ns;
	bool has_caller;
	struct store_caller caller;
	unsigned change_count;
	const uint8_t *changes, *reply; /* into the input */
	size_t changes_len, reply_len;
};
/* Reserves the head; rec_end() fills it in when changes and reply are there. */
void rec_begin(struct wr *w, const struct store_caller *c);
void rec_end(struct wr *w, const struct record *r);
/* Takes one record from a batch's body. */
int rec_decode(struct record *r, struct rd *in);

/* ---- changes -------------------------------------------------------------------------------- */
/* 32 and up: locks; 64 and up: mirror.  Unknown: refuse to open. */
enum change_type {
	CHANGE_PUT = 1, /* index row: key, value */
	CHANGE_DEL,	/* index row: key */
	CHANGE_WRITE,	/* object: ino, offset, data */
	CHANGE_TRUNC,	/* object: ino; bytes from size on are gone */
	CHANGE_NEWOBJ,	/* object: ino; the file exists from here on */
	CHANGE_UNLINK,	/* object: ino; goes after the checkpoint that holds this record */
	CHANGE_SYNCED,	/* object: ino; effects up to lsn were in it when it was made durable (S2) */
	CHANGE_XDROP,	/* index rows: all extended attributes of ino go */
	CHANGE_TYPE_END
};

struct change {
	enum change_type type;
	const uint8_t *key, *val; /* PUT, DEL; WRITE: val is the data */
	size_t key_len, val_len;
	uint64_t ino, arg; /* arg: offset, size, or lsn */
};
void change_encode(struct wr *w, const struct change *c);
int change_decode(struct change *c, struct rd *in);

/* ---- index rows ----------------------------------------------------------------------------- */
#define ROW_KEY_MAX   (1 + 8 + STORE_NAME_MAX)
#define ROW_INODE_MAX (144 + STORE_TARGET_MAX + 1)

enum table {
	TABLE_INODE = 'I',  /* ino -> inode */
	TABLE_NAME = 'N',   /* directory, name -> ino, cookie */
	TABLE_DIR = 'D',    /* directory, cookie -> ino, name */
	TABLE_CONN = 'C',   /* client connection -> nothing */
	TABLE_FORGET = 'F', /* client -> its duplicate entries up to this lsn are void */
	TABLE_STATE = 'S',  /* named value of the store */
	TABLE_XATTR = 'X',  /* ino, name -> extended attribute */
	/* written by checkpoints only */
	TABLE_REPLIES = 'R', /* chunk number -> duplicate cache entries */
	TABLE_ROLL = 'Q',    /* number of its first chunk -> what to know of their entries at open */
	TABLE_UNLINK = 'U',  /* ino -> object to be unlinked after the commit */
	TABLE_META = 'M',    /* one row */
};
/* The key of a numbered row: 9 bytes. */
size_t table_key(uint8_t key[9], enum table t, uint64_t id);

struct inode_row {
	struct store_inode pub; /* target: into the value; lsn not stored */
	uint64_t entries;     /* directories: without . and .. */
	uint64_t cookie_next; /* directories */
	uint32_t target_len;
	bool has_object;
	bool has_xattr; /* there are rows of TABLE_XATTR */
};
size_t inode_row_encode(const struct inode_row *r, uint8_t *out, size_t size);
int inode_row_decode(struct inode_row *r, const uint8_t *in, size_t len);

size_t key_inode(uint8_t *out, uint64_t ino);
size_t key_name(uint8_t *out, uint64_t dir, const void *name, size_t len);
size_t key_dir(uint8_t *out, uint64_t dir, uint64_t cookie);

/* An extended attribute's row: version, flags, value.  `out` has room for XATTR_HEAD + len. */
#define XATTR_HEAD	2U
#define XATTR_VALUE_MAX 65536U
size_t key_xattr(uint8_t *out, uint64_t ino, const void *name, size_t len);
size_t xattr_encode(uint8_t *out, const void *value, size_t len);
int xattr_decode(const uint8_t *in, size_t len, const uint8_t **value, size_t *value_len);

struct meta {
	uint64_t checkpoint_lsn;
	uint32_t chain_crc; /* of the last batch up to it */
	unsigned next_half; /* where the log goes on, at offset 0 */
	uint64_t epoch, next_ino, files, service_ns;
	int64_t time_ns;
	bool clean;
};
#define META_SIZE 64U
void meta_encode(const struct meta *m, uint8_t out[META_SIZE]);
int meta_decode(struct meta *m, const uint8_t *in, size_t len);

#endif
