/* drop.h - messages that are dropped: the ways they come and the reasons, one table for all.  Pure.
 *
 * A way is what the receiver merges into its one stream (ST-45): the network paths, the coordination
 * devices, and the persistent memory behind the interconnect. */
#ifndef HF_CODEC_DROP_H
#define HF_CODEC_DROP_H

#include <errno.h>
#include <stdint.h>

enum drop {
#define DROP(sym, name, help) DROP_##sym,
#include "codec/tbl_drop.h"
#undef DROP
	DROP_COUNT
};

#define DROP_WAY_DEVICE	 4 /* network paths 0 to 3 come before */
#define DROP_WAY_MEMORY	 7
#define DROP_WAYS	 8

struct drops {
	uint64_t n[DROP_WAYS][DROP_COUNT];
	uint64_t all;
	unsigned way; /* of the last one */
	enum drop why;
};

const char *drop_name(unsigned why);
const char *drop_help(unsigned why);
/* "network", "disk" or "memory", and the number among those. */
const char *drop_way_name(unsigned way, unsigned *number);
void drop_note(struct drops *d, unsigned way, enum drop why);
/* What the decoders' and io/seal's -errno mean. */
enum drop drop_reason(int err);

#endif
