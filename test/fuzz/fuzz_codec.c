/* fuzz_codec.c - cluster messages, slots, ownership records, envelopes, worker messages, what is held:
 * the first byte chooses the decoder.  What decodes must encode to something that decodes the same
 * way. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/envelope.h"
#include "codec/held.h"
#include "codec/owner.h"
#include "codec/slot.h"
#include "codec/status.h"
#include "codec/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
	if (!cond)
		abort();
}

static void try_status(const uint8_t *data, size_t size)
{
	static struct status_msg m, again;
	uint8_t one[STATUS_MAX], two[STATUS_MAX];
	size_t n;

	if (status_decode(&m, data, size))
		return;
	n = status_encode(&m, one, sizeof(one));
	must(n != 0 && status_decode(&again, one, n) == 0);
	must(status_encode(&again, two, sizeof(two)) == n && memcmp(one, two, n) == 0);
}

/* Sectors and records have a fixed size and a checksum: both are given to what the fuzzer made. */
static void try_slot(const uint8_t *data, size_t size)
{
	static uint8_t sector[SLOT_SIZE], again[SLOT_SIZE];
	struct slot_header h;
	struct slot s;

	memset(sector, 0, sizeof(sector));
	memcpy(sector, data, size < SLOT_SIZE ? size : SLOT_SIZE);
	slot_header_decode(&h, sector);
	if (slot_decode(&s, sector) == 0)
		must(s.payload_len <= SLOT_PAYLOAD_MAX && s.mailbox_len <= SLOT_MAILBOX_MAX);
	slot_finish(sector);
	if (slot_decode(&s, sector))
		return;
	slot_encode(&s, again);
	slot_finish(again);
	must(slot_decode(&s, again) == 0);
}

static void try_owner(const uint8_t *data, size_t size)
{
	uint8_t record[OWNER_SIZE], again[OWNER_SIZE];
	struct owner o;

	memset(record, 0, sizeof(record));
	memcpy(record, data, size < OWNER_SIZE ? size : OWNER_SIZE);
	owner_decode(&o, record);
	owner_finish(record);
	if (owner_decode(&o, record))
		return;
	owner_encode(&o, again);
	owner_finish(again);
	must(owner_decode(&o, again) == 0);
	must(memchr(o.node_name, 0, sizeof(o.node_name)) != NULL);
}

static void try_envelope(const uint8_t *data, size_t size)
{
	struct envelope e;

	if (envelope_decode(&e, data, size) == 0)
		must(e.body + e.body_len == data + size);
}

static void try_worker(const uint8_t *data, size_t size)
{
	static struct worker_msg m;
	static uint8_t out[WORKER_MSG_MAX];

	if (worker_decode(&m, data, size) == 0)
		must(worker_encode(&m, out, sizeof(out)) == size);
}

static void try_held(const uint8_t *data, size_t size)
{
	static uint8_t out[HELD_HEAD + STATUS_MAX];
	struct held h;
	size_t n;

	if (held_decode(&h, data, size))
		return;
	n = held_encode(&h, out, sizeof(out));
	must(n == size && memcmp(out + 8, data + 8, n - 8) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(const uint8_t *, size_t) = {try_status, try_slot, try_owner,
								 try_envelope, try_worker, try_held};

	if (size > 1)
		tries[data[0] % 6](data + 1, size - 1);
	return 0;
}
