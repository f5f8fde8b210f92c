/* keys.c - when a step of a key rotation may be taken.
 *
 *	add	every node accepts the new key			(any order, any time)
 *	use	all send and sign with it			each: when every live node has it
 *	drop	the old one is forgotten			each: when no live node sends with it
 *
 * Each node says in its messages which keys it has and which one it sends with (by fingerprint), so
 * a step is judged by what the others said on any path.  Who is silent is not waited for: it comes
 * back with a key file that somebody has to bring up to date, and says so. */
#include "core/internal.h"

static const struct status_key *key_in(const struct status_key *key, unsigned count, uint8_t id)
{
	for (unsigned i = 0; i < count; i++)
		if (key[i].id == id)
			return &key[i];
	return NULL;
}

/* One node, by what it says of itself. */
static enum reason refuses(const struct status_key *key, unsigned count, enum key_step step,
			   uint8_t id, uint64_t print)
{
	const struct status_key *k = key_in(key, count, id);

	switch (step) {
	case KEY_ADD:
		return k && k->print != print ? REASON_KEY_DIFFERS : REASON_NONE;
	case KEY_USE:
		return !k ? REASON_KEY_MISSING : k->print != print ? REASON_KEY_DIFFERS : REASON_NONE;
	case KEY_DROP:
#ifdef HF_MUTANT_KEY_DROPPED_EARLY
		return count > STATUS_KEYS_MAX ? REASON_KEY_IN_USE : REASON_NONE;
#else
		return k && k->flags & STATUS_KEY_SEND ? REASON_KEY_IN_USE : REASON_NONE;
#endif
	}
	return REASON_NONE;
}

enum reason node_key_refuses(const struct node *n, enum key_step step, uint8_t id, uint64_t print,
			     uint16_t *who)
{
	enum reason why = refuses(n->key, n->key_count, step, id, print);

	*who = n->conf.self;
	if (why == REASON_NONE && step == KEY_DROP && !key_in(n->key, n->key_count, id))
		why = REASON_KEY_UNKNOWN;
	if (why == REASON_NONE && step == KEY_ADD && n->key_count == STATUS_KEYS_MAX &&
	    !key_in(n->key, n->key_count, id))
		why = REASON_KEYS_FULL;
	for (unsigned i = 0; i < n->peer_count && why == REASON_NONE; i++) {
		const struct node_peer *p = &n->peer[i];

		if (!peer_live(p) && p->verdict != STATUS_V_UNKNOWN) /* unknown: I have just begun */
			continue;
		*who = p->id;
		why = refuses(p->msg.key, p->msg.key_count, step, id, print);
	}
	if (why == REASON_NONE)
		*who = 0;
	return why;
}
