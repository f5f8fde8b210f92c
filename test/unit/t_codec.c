/* t_codec.c - the cluster's bytes: envelope, status message, slot, device header, owner record.
 *
 * For each: what is encoded comes back; every truncation and every flipped bit is refused or still
 * gives values in range; the examples of the documents decode to what they say. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec/block.h"
#include "codec/drop.h"
#include "codec/envelope.h"
#include "codec/held.h"
#include "codec/owner.h"
#include "codec/slot.h"
#include "codec/status.h"

static struct status_msg sample(void)
{
	struct status_msg m = {.version = 1, .version_max = 1, .sender = 1};

	m.indicator = STATUS_TAKEOVER;
	m.state = 3;
	m.role = STATUS_ROLE_MASTER;
	m.master = 1;
	m.flags = STATUS_F_MAJORITY | STATUS_F_RECOVERY;
	m.generation = 7;
	m.sequence = 1234;
	m.sent_ns = 5000000000ULL;
	m.config_hash = 0x1122334455667788ULL;
	m.config_version = 3;
	m.cpu_permille = 250;
	m.worker_count = 1;
	m.iops = 900;
	m.prior_state = 2;
	m.path_count = 2;
	m.port_quality[0] = 2;
	m.port_quality[1] = 1;
	m.peer_count = 1;
	m.peer[0] = (struct status_peer){.node = 2, .verdict = STATUS_V_DEAD, .takeover = 'b'};
	m.peer[0].generation = 4;
	m.peer[0].acked = 99;
	m.vs_count = 1;
	m.vs[0].id = 0xaabbccdd;
	m.vs[0].state = 8;
	m.vs[0].target = 1;
	m.vs[0].reason = 2;
	m.vs[0].epoch = 12;
	m.vs[0].owner = 1;
	m.vs[0].fs_count = 2;
	m.vs[0].fs_state[0] = STATUS_FS_UP;
	m.vs[0].fs_state[1] = STATUS_FS_DAMAGED;
	m.request = (struct status_request){.type = STATUS_REQ_RELEASE_VS, .to = 2, .target = 1};
	m.request.vs = 0xaabbccdd;
	m.request.id = 17;
	m.answer = (struct status_answer){.to = 2, .result = 1, .id = 5};
	m.memory_count = 1;
	m.memory[0] = (struct status_memory){.node = 2, .generation = 4, .sequence = 90};
	m.key_count = 2;
	m.key[0] = (struct status_key){.id = 1, .flags = STATUS_KEY_SEND, .print = 0x0102030405060708};
	m.key[1] = (struct status_key){.id = 2, .print = 0x1112131415161718};
	return m;
}

/* covers: ST-30 ST-31 ST-36 ST-38 ST-39 ST-40 ST-41 OV-07 */
static void t_status_round_trip(void)
{
	struct status_msg m = sample(), back;
	uint8_t bytes[STATUS_MAX];
	size_t len = status_encode(&m, bytes, sizeof(bytes));

	CHECK(len > STATUS_HEAD);
	CHECK_EQ(0, status_decode(&back, bytes, len));
	CHECK(memcmp(&m, &back, sizeof(m)) == 0);
	CHECK_EQ(0, (long long)status_encode(&m, bytes, len - 1));
}

static void t_status_full(void)
{
	struct status_msg m = sample(), back;
	uint8_t bytes[STATUS_MAX];
	size_t len;

	m.peer_count = STATUS_NODES_MAX;
	for (unsigned i = 0; i < STATUS_NODES_MAX; i++)
		m.peer[i] =
		    (struct status_peer){.node = (uint16_t)(i + 1), .verdict = STATUS_V_ALIVE};
	m.memory_count = STATUS_NODES_MAX;
	for (unsigned i = 0; i < STATUS_NODES_MAX; i++)
		m.memory[i].node = (uint16_t)(i + 1);
	m.key_count = STATUS_KEYS_MAX;
	m.vs_count = STATUS_VS_MAX;
	for (unsigned i = 0; i < STATUS_VS_MAX; i++) {
		m.vs[i] = m.vs[0];
		m.vs[i].fs_count = STATUS_FS_MAX;
	}
	m.note_count = STATUS_NOTES_MAX;
	for (unsigned i = 0; i < STATUS_NOTES_MAX; i++) {
		m.note[i] = (struct status_note){.scope = 4, .vs = i};
		memset(m.note[i].text, 'n', STATUS_NOTE_MAX);
	}
	len = status_encode(&m, bytes, sizeof(bytes));
	CHECK(len > 0 && len <= STATUS_MAX);
	CHECK_EQ(0, status_decode(&back, bytes, len));
	CHECK(memcmp(&m, &back, sizeof(m)) == 0);
}

static bool note_decodes(const char *text, size_t len)
{
	struct status_msg m = sample(), back;
	uint8_t bytes[STATUS_MAX];
	size_t n;

	m.note_count = 2;
	m.note[0] = (struct status_note){.scope = 4, .vs = 0xaabbccdd};
	m.note[1] = (struct status_note){.scope = 1};
	memset(m.note[0].text, 'x', len);
	m.note[1].text[0] = 'y';
	n = status_encode(&m, bytes, sizeof(bytes));
	memcpy(bytes + n - 1 - 6 - len, text, len);
	memcpy(m.note[0].text, text, len);
	return status_decode(&back, bytes, n) == 0 && memcmp(&m, &back, sizeof(m)) == 0;
}

/* What people will read is one line of text, whatever bytes a peer sends. covers: OV-15 */
static void t_status_notes(void)
{
	static const char *const good[] = {"disk is changed", "W\xc3\xa4rme \xe2\x82\xac",
					   "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xc2\xa0"},
		    *const bad[] = {"a\nb", "\x1b[31m", "\x7f", "\xc2\x85", "\xc3", "\xc0\x80",
				    "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
				    "\x80", "a\xe2\x82"};
	char longest[STATUS_NOTE_MAX + 1];

	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
		CHECK(note_decodes(good[i], strlen(good[i])));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!note_decodes(bad[i], strlen(bad[i])));
	CHECK(!note_decodes("a\0b", 3) && !note_decodes("", 0));
	memset(longest, 'l', sizeof(longest));
	CHECK(note_decodes(longest, STATUS_NOTE_MAX));
	CHECK(!status_note_ok(longest, STATUS_NOTE_MAX + 1));
}

static bool in_range(const struct status_msg *m)
{
	bool good = m->sender >= 1 && m->sender <= STATUS_NODES_MAX &&
		    m->peer_count <= STATUS_NODES_MAX && m->vs_count <= STATUS_VS_MAX;

	for (unsigned i = 0; good && i < m->vs_count; i++)
		good = m->vs[i].fs_count <= STATUS_FS_MAX && m->vs[i].owner <= STATUS_NODES_MAX;
	return good;
}

static void t_status_damaged(void)
{
	struct status_msg m = sample(), back;
	uint8_t bytes[STATUS_MAX];
	size_t len = status_encode(&m, bytes, sizeof(bytes));

	for (size_t cut = 0; cut < len; cut++)
		CHECK(status_decode(&back, bytes, cut) != 0);
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (status_decode(&back, bytes, len) == 0)
			CHECK(in_range(&back));
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}

/* Unknown sections are skipped, unless they must be understood; another version is refused. */
static void t_status_future(void)
{
	struct status_msg m = sample(), back;
	uint8_t bytes[STATUS_MAX];
	size_t len = status_encode(&m, bytes, sizeof(bytes));
	uint8_t extra[] = {0x00, 0x63, 0x00, 0x02, 0xde, 0xad};

	memcpy(bytes + len, extra, sizeof(extra));
	len += sizeof(extra);
	bytes[74] = (uint8_t)(len >> 8);
	bytes[75] = (uint8_t)len;
	CHECK_EQ(0, status_decode(&back, bytes, len));
	bytes[len - sizeof(extra)] = 0x80;
	CHECK_EQ(-EPROTO, status_decode(&back, bytes, len));
	bytes[4] = 2;
	CHECK_EQ(-EPROTO, status_decode(&back, bytes, len));
}

static struct slot sample_slot(const uint8_t *payload, size_t len)
{
	struct slot s = {.node = 2, .key_id = 1, .generation = 7, .sequence = 8, .write_count = 9};

	memset(s.cluster, 0xc1, sizeof(s.cluster));
	s.payload = payload;
	s.payload_len = len;
	return s;
}

/* covers: ST-09 ST-10 ST-94 */
static void t_slot(void)
{
	uint8_t payload[STATUS_MAX], sector[SLOT_SIZE], copy[SLOT_SIZE];
	struct status_msg m = sample();
	struct slot s = sample_slot(payload, status_encode(&m, payload, sizeof(payload))), back;

	memset(sector, 0, sizeof(sector));
	CHECK_EQ(-ENODATA, slot_decode(&back, sector));
	CHECK(slot_blank(sector));
	slot_encode(&s, sector);
	CHECK_EQ(-EBADMSG, slot_decode(&back, sector)); /* not finished */
	slot_finish(sector);
	CHECK(slot_intact(sector));
	CHECK_EQ(0, slot_decode(&back, sector));
	CHECK_EQ(2, back.node);
	CHECK_EQ(9, (long long)back.write_count);
	CHECK(memcmp(back.cluster, s.cluster, 16) == 0);
	CHECK_EQ((long long)s.payload_len, (long long)back.payload_len);
	CHECK(memcmp(back.payload, payload, back.payload_len) == 0);
	for (size_t bit = 0; bit < SLOT_SIZE * 8; bit += 7) {
		sector[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CHECK(slot_decode(&back, sector) != 0);
		sector[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	memcpy(copy, sector, sizeof(copy)); /* torn: the first part of the next write */
	s.sequence++;
	slot_encode(&s, sector);
	slot_finish(sector);
	memcpy(copy, sector, 512);
	CHECK_EQ(-EBADMSG, slot_decode(&back, copy));
}

static void t_slot_lengths(void)
{
	uint8_t payload[16] = {1}, sector[SLOT_SIZE];
	struct slot s = sample_slot(payload, sizeof(payload)), back;

	slot_encode(&s, sector);
	sector[56] = 0xff; /* payload length */
	slot_finish(sector);
	CHECK_EQ(-EBADMSG, slot_decode(&back, sector));
	slot_encode(&s, sector);
	sector[60] = 0xff; /* mailbox length */
	slot_finish(sector);
	CHECK_EQ(-EBADMSG, slot_decode(&back, sector));
	slot_encode(&s, sector);
	sector[9] = 9; /* version */
	slot_finish(sector);
	CHECK_EQ(-EPROTO, slot_decode(&back, sector));
}

/* Of what the reads of one slot find, which is worth a word: the letters' case tells.
 * g good, n never written, t torn, f forged, z torn, and its end is zeros. */
static void t_slot_bad(void)
{
	static const char *const runs[] = {
	    "tgtgtg",	  /* read in the middle of a write, again and again */
	    "ntnt",	  /* its first write */
	    "tTttt",	  /* it lies there: once */
	    "gtTgttgfFfg", /* ... and once only, also after a good one; another is another */
	    "tFfg",	  /* two reads in a row, whatever each found */
	    "zZz",
	};

	for (unsigned i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		struct slot_bad b = {0};

		for (const char *p = runs[i]; *p; p++) {
			uint8_t sector[SLOT_SIZE] = {0};
			char c = (char)(*p | 0x20);
			int err = c == 'g' ? 0 : c == 'n' ? -ENODATA :
				  c == 'f' ? -EKEYREJECTED : -EBADMSG;

			memset(sector + SLOT_MAC_OFF, c == 'z' ? 0 : c, SLOT_SIZE - SLOT_MAC_OFF);
			CHECK_EQ(*p < 'a', slot_bad_news(&b, sector, err));
		}
	}
}

static void t_slot_header(void)
{
	struct slot_header h = {.device = 1, .device_count = 2, .node_count = 8, .key_id = 3}, back;
	uint8_t sector[SLOT_SIZE];

	memset(h.cluster, 0xc1, sizeof(h.cluster));
	h.made_ns = 77;
	slot_header_encode(&h, sector);
	CHECK_EQ(-EBADMSG, slot_header_decode(&back, sector));
	slot_finish(sector);
	CHECK_EQ(0, slot_header_decode(&back, sector));
	CHECK(memcmp(&h, &back, sizeof(h)) == 0);
	CHECK(!slot_intact(sector)); /* a header is no slot */
	memset(sector, 0, sizeof(sector));
	CHECK_EQ(-ENODATA, slot_header_decode(&back, sector));
}

static struct owner sample_owner(void)
{
	struct owner o = {.unit = 0x01020304, .node = 2, .key_id = 1, .generation = 7, .epoch = 12};

	memset(o.cluster, 0xc1, sizeof(o.cluster));
	memset(o.unit_uuid, 0xd2, sizeof(o.unit_uuid));
	memset(o.boot_id, 0xe3, sizeof(o.boot_id));
	o.previous_epoch = 11;
	o.previous_node = 1;
	o.pid = 4711;
	o.written_ns = 1700000000000000000ULL;
	snprintf(o.node_name, sizeof(o.node_name), "n2");
	return o;
}

/* covers: FO-17 OV-13 */
static void t_owner(void)
{
	struct owner o = sample_owner(), back;
	uint8_t record[OWNER_SIZE];

	memset(record, 0, sizeof(record));
	CHECK_EQ(-ENODATA, owner_decode(&back, record));
	owner_encode(&o, record);
	CHECK_EQ(-EBADMSG, owner_decode(&back, record));
	owner_finish(record);
	CHECK_EQ(0, owner_decode(&back, record));
	CHECK(memcmp(&o, &back, sizeof(o)) == 0);
	for (size_t bit = 0; bit < OWNER_SIZE * 8; bit++) {
		record[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CHECK(owner_decode(&back, record) != 0);
		record[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	record[9] = 2;
	owner_finish(record);
	CHECK_EQ(-EPROTO, owner_decode(&back, record));
}

static void t_owner_key(void)
{
	CHECK(owner_key(1, 1) != owner_key(2, 1));
	CHECK(owner_key(1, 1) != owner_key(1, 2));
	CHECK(owner_key(0, 0) != 0);
}

static size_t sample_envelope(uint8_t *packet, size_t size)
{
	struct envelope e = {.key_id = 1, .sender = 1, .receiver = 2, .path = 1, .body_len = 20};
	size_t head = envelope_encode(&e, packet, size);

	for (size_t i = 0; head && i < e.body_len; i++)
		packet[head + i] = (uint8_t)i;
	return head ? head + e.body_len : 0;
}

static void t_envelope(void)
{
	struct envelope back;
	uint8_t packet[64];
	size_t len = sample_envelope(packet, sizeof(packet));

	CHECK_EQ(60, (long long)len);
	CHECK_EQ(0, envelope_decode(&back, packet, len));
	CHECK_EQ(1, back.sender);
	CHECK_EQ(2, back.receiver);
	CHECK_EQ(1, back.path);
	CHECK_EQ(20, back.body_len);
	CHECK(back.nonce == packet + ENVELOPE_AAD && back.body == packet + ENVELOPE_HEAD);
	for (size_t cut = 0; cut < len; cut++)
		CHECK(envelope_decode(&back, packet, cut) != 0);
	CHECK_EQ(-EBADMSG, envelope_decode(&back, packet, len + 1));
	packet[4] = 2;
	CHECK_EQ(-EPROTO, envelope_decode(&back, packet, len));
	CHECK_EQ(0, (long long)sample_envelope(packet, 59));
}

static size_t sample_held(uint8_t *out, size_t size)
{
	struct held h = {.status_len = 0};

	for (unsigned i = 0; i < HELD_NONCE; i++)
		h.nonce[i] = (uint8_t)(0xa0 + i);
	return held_encode(&h, out, size);
}

static void t_held(void)
{
	uint8_t bytes[HELD_HEAD + STATUS_MAX + 1] = {0};
	struct held h, back;
	size_t len = sample_held(bytes, sizeof(bytes));

	CHECK_EQ(HELD_HEAD, (long long)len);
	CHECK_EQ(0, held_decode(&h, bytes, len));
	CHECK_EQ(0, (long long)h.status_len);
	for (size_t cut = 0; cut < len; cut++)
		CHECK_EQ(-EBADMSG, held_decode(&back, bytes, cut));
	h.status = (const uint8_t *)"status";
	h.status_len = 6;
	len = held_encode(&h, bytes, sizeof(bytes));
	CHECK_EQ(0, held_decode(&back, bytes, len));
	CHECK(back.status_len == 6 && memcmp(back.status, "status", 6) == 0);
	CHECK_EQ(0, (long long)held_encode(&h, bytes, len - 1));
	CHECK_EQ(-EBADMSG, held_decode(&back, bytes, sizeof(bytes)));
	bytes[4] = 2;
	CHECK_EQ(-EPROTO, held_decode(&back, bytes, len));
}

/* The bytes of the `hex NAME` block of a document. */
static size_t example(const char *path, const char *name, uint8_t *out, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[256], want[64];
	bool inside = false;
	size_t len = 0;

	CHECK(f != NULL);
	snprintf(want, sizeof(want), "hex %s", name);
	while (fgets(line, sizeof(line), f)) {
		if (!inside) {
			inside = strstr(line, want) != NULL;
			continue;
		}
		if (strncmp(line, "```", 3) == 0)
			break;
		for (char *p = line + 5, *end; *p; p = end) { /* after the offset */
			unsigned long v = strtoul(p, &end, 16);

			if (end == p || len == size)
				break;
			out[len++] = (uint8_t)v;
		}
	}
	fclose(f);
	return len;
}

static struct block sample_block(void)
{
	struct block b = {.node = 2, .key_id = 1, .write_count = 6, .promised = 25, .accepted = 17};

	memset(b.cluster, 0xc1, sizeof(b.cluster));
	b.committed = (struct block_value){.version = 4, .len = 900, .author = 1, .made_ns = 5};
	memset(b.committed.hash, 0xa4, BLOCK_HASH_LEN);
	memset(b.committed.prev, 0xa3, BLOCK_HASH_LEN);
	b.committed_place = 1;
	b.value = (struct block_value){.version = 5, .len = 950, .author = 2, .made_ns = 6};
	memset(b.value.hash, 0xa5, BLOCK_HASH_LEN);
	memset(b.value.prev, 0xa4, BLOCK_HASH_LEN);
	b.value_place = 0;
	return b;
}

/* covers: V3 VS-158 */
static void t_block(void)
{
	struct block b = sample_block(), back, copy[BLOCK_COPIES] = {{0}};
	struct block_text_head h = {.node = 2, .key_id = 1, .value = sample_block().value}, got;
	uint8_t sector[SLOT_SIZE] = {0};

	CHECK_EQ(-ENODATA, block_decode(&back, sector));
	block_encode(&b, sector);
	CHECK_EQ(-EBADMSG, block_decode(&back, sector)); /* no CRC yet */
	slot_finish(sector);
	CHECK_EQ(0, block_decode(&back, sector));
	CHECK(memcmp(&b, &back, sizeof(b)) == 0);
	for (unsigned i = 0; i < SLOT_SIZE; i += 7) {
		sector[i] ^= 0x10;
		CHECK(block_decode(&back, sector) != 0);
		sector[i] ^= 0x10;
	}
	sector[9] = 2; /* a later version */
	slot_finish(sector);
	CHECK_EQ(-EPROTO, block_decode(&back, sector));
	b.accepted = b.promised + 8; /* no node of ours writes that */
	block_encode(&b, sector);
	slot_finish(sector);
	CHECK_EQ(-EBADMSG, block_decode(&back, sector));
	block_text_encode(&h, sector);
	slot_finish(sector);
	CHECK_EQ(0, block_text_decode(&got, sector));
	CHECK(memcmp(&h, &got, sizeof(h)) == 0);
	CHECK_EQ(-EBADMSG, block_decode(&back, sector));
	copy[1].write_count = 7;
	copy[0].write_count = 8;
	CHECK_EQ(0, block_newest(copy, (const int[]){0, 0}));
	CHECK_EQ(1, block_newest(copy, (const int[]){-EBADMSG, 0}));
	CHECK_EQ(-ENODATA, block_newest(copy, (const int[]){-ENODATA, -EBADMSG}));
	CHECK_EQ(-EBADMSG, block_newest(copy, (const int[]){-EBADMSG, -EBADMSG}));
	CHECK_EQ(16, block_sector(1, 8));
	CHECK_EQ(31, block_sector(8, 7));
	CHECK_EQ(BLOCK_AREA_SECTORS, block_text_sector(8, BLOCK_PLACES - 1) + BLOCK_TEXT_SECTORS);
}

static void t_doc_examples(void)
{
	struct block want = sample_block(), block;
	uint8_t bytes[SLOT_SIZE] = {0};
	struct status_msg m = sample(), back;
	struct owner o = sample_owner(), got;
	struct envelope e;
	struct held held;
	struct slot s;
	size_t len = example("doc/wire.md", "status", bytes, sizeof(bytes));

	CHECK_EQ(0, status_decode(&back, bytes, len));
	CHECK(memcmp(&m, &back, sizeof(m)) == 0);
	len = example("doc/wire.md", "envelope", bytes, sizeof(bytes));
	CHECK_EQ(0, envelope_decode(&e, bytes, len));
	CHECK_EQ(2, e.receiver);
	len = example("doc/wire.md", "held", bytes, sizeof(bytes));
	CHECK_EQ(0, held_decode(&held, bytes, len));
	CHECK_EQ(0xaf, held.nonce[15]);
	memset(bytes, 0, sizeof(bytes));
	CHECK_EQ(64, (long long)example("doc/coordination.md", "slot", bytes, 64));
	slot_finish(bytes);
	CHECK_EQ(0, slot_decode(&s, bytes));
	CHECK_EQ(8, (long long)s.sequence);
	memset(bytes, 0, sizeof(bytes));
	CHECK_EQ(240, (long long)example("doc/coordination.md", "block", bytes, 240));
	slot_finish(bytes);
	CHECK_EQ(0, block_decode(&block, bytes));
	CHECK(memcmp(&want, &block, sizeof(want)) == 0);
	memset(bytes, 0, sizeof(bytes));
	len = example("doc/coordination.md", "owner", bytes, OWNER_SIZE);
	CHECK_EQ(160, (long long)len);
	owner_finish(bytes);
	CHECK_EQ(0, owner_decode(&got, bytes));
	CHECK(memcmp(&o, &got, sizeof(o)) == 0);
}

/* The document's table of reasons is the one in the code. */
static void t_doc_drops(void)
{
	FILE *f = fopen("doc/wire.md", "r");
	char text[32768], row[64];
	size_t n;

	CHECK(f != NULL);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	for (unsigned why = 0; why < DROP_COUNT; why++) {
		snprintf(row, sizeof(row), "\n| %s | ", drop_name(why));
		CHECK(strstr(text, row) != NULL);
	}
	CHECK_EQ(DROP_FORGED, drop_reason(-EKEYREJECTED));
	CHECK_EQ(DROP_MALFORMED, drop_reason(-EBADMSG));
}

static void dump(const char *name, const uint8_t *bytes, size_t len)
{
	printf("```\nhex %s\n", name);
	for (size_t i = 0; i < len; i += 16) {
		printf("%04zx ", i);
		for (size_t k = i; k < i + 16 && k < len; k++)
			printf(" %02x", bytes[k]);
		printf("\n");
	}
	printf("```\n\n");
}

/* `t_codec dump` prints the examples for the documents. */
static int dump_examples(void)
{
	uint8_t bytes[SLOT_SIZE];
	struct status_msg m = sample();
	struct owner o = sample_owner();
	struct block b = sample_block();
	struct slot s;

	dump("envelope", bytes, sample_envelope(bytes, sizeof(bytes)));
	dump("held", bytes, sample_held(bytes, sizeof(bytes)));
	dump("status", bytes, status_encode(&m, bytes, sizeof(bytes)));
	s = sample_slot(NULL, 0);
	slot_encode(&s, bytes);
	dump("slot", bytes, 64);
	block_encode(&b, bytes);
	dump("block", bytes, 240);
	owner_encode(&o, bytes);
	dump("owner", bytes, 160);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "dump") == 0)
		return dump_examples();
	CASE(t_status_round_trip);
	CASE(t_status_full);
	CASE(t_status_notes);
	CASE(t_status_damaged);
	CASE(t_status_future);
	CASE(t_slot);
	CASE(t_slot_lengths);
	CASE(t_slot_bad);
	CASE(t_slot_header);
	CASE(t_owner);
	CASE(t_owner_key);
	CASE(t_envelope);
	CASE(t_held);
	CASE(t_block);
	CASE(t_doc_examples);
	CASE(t_doc_drops);
	return check_end();
}
