/* lib_forge.c - messages that must not be taken; see lib_forge.h. */
#include "lib_forge.h"

#include <string.h>

#include "codec/envelope.h"
#include "codec/status.h"

const struct forge_kind forge_packets[] = {
	{"junk", DROP_MALFORMED},	 {"cut", DROP_MALFORMED},
	{"status-cut", DROP_MALFORMED},	 {"envelope-version", DROP_VERSION},
	{"future", DROP_VERSION},	 {"past", DROP_VERSION},
	{"unknown-key", DROP_UNKNOWN_KEY}, {"wrong-key", DROP_FORGED},
	{"altered", DROP_FORGED},	 {"other-cluster", DROP_FORGED},
	{"other-receiver", DROP_SENDER}, {"reflected", DROP_SENDER},
	{"stranger", DROP_SENDER},	 {"sender-differs", DROP_SENDER},
	{"other-path", DROP_PATH},	 {"old", DROP_REPLAYED},
	{NULL, DROP_COUNT},
};

const struct forge_kind forge_slots[] = {
	{"torn", DROP_MALFORMED},	 {"status-cut", DROP_MALFORMED},
	{"slot-version", DROP_VERSION},	 {"future", DROP_VERSION},
	{"unknown-key", DROP_UNKNOWN_KEY}, {"wrong-key", DROP_FORGED},
	{"altered", DROP_FORGED},	 {"other-cluster", DROP_CLUSTER},
	{"other-slot", DROP_SENDER},	 {"sender-differs", DROP_SENDER},
	{"old", DROP_REPLAYED},		 {NULL, DROP_COUNT},
};

static bool is(const char *kind, const char *name)
{
	return strcmp(kind, name) == 0;
}

static size_t status(const struct forge *f, const char *kind, uint8_t *out)
{
	struct status_msg m = {.version = 1, .version_max = 1, .sender = f->sender};
	size_t len;

	m.indicator = STATUS_TAKEOVER; /* it would be obeyed */
	m.state = 3;
	m.role = STATUS_ROLE_MASTER;
	m.generation = f->generation;
	m.sequence = f->sequence;
	m.peer_count = 1;
	m.peer[0] = (struct status_peer){.node = f->receiver, .verdict = STATUS_V_DEAD};
	m.peer[0].takeover = 'c';
	m.peer[0].generation = 1;
	if (is(kind, "future"))
		m.version = m.version_max = 99;
	if (is(kind, "past"))
		m.version = 0;
	if (is(kind, "sender-differs"))
		m.sender = f->receiver;
	if (is(kind, "old"))
		m.generation = m.sequence = 1;
	len = status_encode(&m, out, STATUS_MAX);
	return is(kind, "status-cut") ? len - 1 : len;
}

/* The keys as that kind has them. */
static struct seal keys(const struct forge *f, const char *kind)
{
	struct seal s = f->seal;

	if (is(kind, "unknown-key"))
		s.key[s.send].id = 250;
	if (is(kind, "wrong-key")) { /* each by itself: one taken from the other may be right */
		s.key[s.send].message[3] ^= 0x55;
		s.key[s.send].disk[3] ^= 0x55;
	}
	if (is(kind, "other-cluster"))
		s.cluster[0] ^= 1;
	return s;
}

size_t forge_packet(const struct forge *f, const char *kind, uint8_t *out, size_t size)
{
	struct seal s = keys(f, kind);
	uint8_t plain[STATUS_MAX];
	size_t len = status(f, kind, plain), n;
	uint16_t from = is(kind, "reflected") ? f->receiver : is(kind, "stranger") ? 7 : f->sender;
	uint16_t to = is(kind, "other-receiver") ? f->sender : f->receiver;
	uint16_t path = (uint16_t)(f->path + is(kind, "other-path"));

	if (is(kind, "junk")) {
		for (n = 0; n < 200 && n < size; n++)
			out[n] = (uint8_t)(n * 37 + 11);
		return n;
	}
	n = seal_message(&s, from, to, path, plain, len, out, size);
	if (is(kind, "cut"))
		n /= 2;
	if (is(kind, "envelope-version"))
		out[4] = 9;
	if (is(kind, "altered"))
		out[ENVELOPE_HEAD + 20] ^= 1;
	return n;
}

void forge_slot(const struct forge *f, const char *kind, uint8_t sector[SLOT_SIZE])
{
	struct seal s = keys(f, kind);
	uint8_t plain[STATUS_MAX];
	struct slot slot = {.generation = f->generation, .sequence = f->sequence, .payload = plain};

	slot.node = is(kind, "other-slot") ? f->receiver : f->sender;
	slot.payload_len = status(f, kind, plain);
	if (is(kind, "old"))
		slot.generation = slot.sequence = 1;
	memcpy(slot.cluster, s.cluster, sizeof(slot.cluster));
	slot_encode(&slot, sector);
	if (is(kind, "slot-version"))
		sector[9] = 9;
	sector[SLOT_KEY_ID_OFF] = seal_send_id(&s);
	seal_mac(&s, 0, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF);
	if (is(kind, "altered"))
		sector[80] ^= 1;
	slot_finish(sector);
	if (is(kind, "torn"))
		sector[2000] ^= 1;
}
