/* drop.c - names and counters of dropped messages. */
#include "codec/drop.h"

#include "base/assert.h"

static const struct {
	const char *name, *help;
} table[DROP_COUNT] = {
#define DROP(sym, name, help) {name, help},
#include "codec/tbl_drop.h"
#undef DROP
};

const char *drop_name(unsigned why)
{
	return why < DROP_COUNT ? table[why].name : "?";
}

const char *drop_help(unsigned why)
{
	return why < DROP_COUNT ? table[why].help : "?";
}

const char *drop_way_name(unsigned way, unsigned *number)
{
	*number = way < DROP_WAY_DEVICE ? way : way < DROP_WAY_MEMORY ? way - DROP_WAY_DEVICE : 0;
	return way < DROP_WAY_DEVICE ? "network" : way < DROP_WAY_MEMORY ? "disk" : "memory";
}

void drop_note(struct drops *d, unsigned way, enum drop why)
{
	hf_assert(way < DROP_WAYS && why < DROP_COUNT);
	d->n[way][why]++;
	d->all++;
	d->way = way;
	d->why = why;
}

enum drop drop_reason(int err)
{
	switch (err) {
	case -EPROTO:
		return DROP_VERSION;
	case -ENOKEY:
		return DROP_UNKNOWN_KEY;
	case -EKEYREJECTED:
		return DROP_FORGED;
	case -EXDEV:
		return DROP_CLUSTER;
	case -EDESTADDRREQ:
		return DROP_SENDER;
	default:
		return DROP_MALFORMED;
	}
}
