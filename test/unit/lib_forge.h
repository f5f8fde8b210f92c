/* lib_forge.h - status messages as an attacker, a broken network or a wrong node would send them.
 *
 * Who has no key can send junk and repeat what it has recorded; the other kinds are made with the
 * cluster's own key, so that each check behind the authentication is met too. */
#ifndef HF_TEST_LIB_FORGE_H
#define HF_TEST_LIB_FORGE_H

#include <stddef.h>
#include <stdint.h>

#include "codec/drop.h"
#include "codec/slot.h"
#include "io/seal.h"

struct forge {
	struct seal seal; /* loaded and bound */
	uint16_t sender, receiver, path;
	uint64_t generation, sequence;
};

struct forge_kind {
	const char *name;
	enum drop why; /* what the receiver must say */
};

extern const struct forge_kind forge_packets[], forge_slots[]; /* end with name NULL */

/* A datagram of that kind; its length. */
size_t forge_packet(const struct forge *f, const char *kind, uint8_t *out, size_t size);
/* A sector for the sender's slot. */
void forge_slot(const struct forge *f, const char *kind, uint8_t sector[SLOT_SIZE]);

#endif
