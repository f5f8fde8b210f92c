/* fuzz_store.c - what the store reads back from a disk: LABEL, batches, records, changes, rows. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_label(const uint8_t *data, size_t size)
{
	struct label l;

	label_decode(&l, data, size);
}

static void try_batch(const uint8_t *data, size_t size)
{
	struct batch_head h;

	if (batch_head_decode(&h, data, size) == 0 && h.length <= size)
		batch_body_ok(&h, data, size);
}

static void walk_changes(const struct record *r)
{
	struct change c;
	struct rd in;

	rd_init(&in, r->changes, r->changes_len);
	for (unsigned i = 0; i < r->change_count; i++)
		if (change_decode(&c, &in))
			return;
}

static void try_records(const uint8_t *data, size_t size)
{
	struct record r;
	struct rd in;

	rd_init(&in, data, size);
	while (rd_left(&in) && rec_decode(&r, &in) == 0)
		walk_changes(&r);
}

static void try_inode(const uint8_t *data, size_t size)
{
	static uint8_t out[ROW_INODE_MAX];
	struct inode_row row, again;

	if (inode_row_decode(&row, data, size))
		return;
	if (inode_row_decode(&again, out, inode_row_encode(&row, out, sizeof(out))))
		abort();
}

static void try_meta(const uint8_t *data, size_t size)
{
	struct meta m;

	meta_decode(&m, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(const uint8_t *, size_t) = {try_label, try_batch, try_records,
								 try_inode, try_meta};

	if (size > 1)
		tries[data[0] % 5](data + 1, size - 1);
	return 0;
}
