/* note.c - why a takeover inhibit is on, in an operator's words (OV-15: with reasons).
 *
 * A note belongs to one flag of this node: it comes and goes with it, is in every message and in
 * persistent memory, and is shown by every node.  It decides nothing.  What messages have room for
 * bounds their number; a command with one too many is refused, so none is lost silently. */
#include "core/internal.h"

#include <string.h>

/* Its index, or `count`. */
static unsigned find(const struct status_note *note, unsigned count, enum inhibit_scope scope,
		     uint32_t vs)
{
	unsigned i = 0;

	while (i < count && (note[i].scope != scope || (scope == INHIBIT_VS && note[i].vs != vs)))
		i++;
	return i;
}

bool note_fits(const struct node *n, enum inhibit_scope scope, uint32_t vs)
{
	return find(n->note, n->note_count, scope, vs) < STATUS_NOTES_MAX;
}

void note_set(struct node *n, enum inhibit_scope scope, uint32_t vs, const char *text)
{
	unsigned at = find(n->note, n->note_count, scope, vs);
	struct status_note *o = &n->note[at];

	if (!*text) {
#ifndef HF_MUTANT_NOTE_STAYS
		if (at < n->note_count)
			*o = n->note[--n->note_count];
#endif
		return;
	}
	hf_assert(at < STATUS_NOTES_MAX && status_note_ok(text, strlen(text)));
	if (at == n->note_count)
		n->note_count++;
	*o = (struct status_note){.scope = (uint8_t)scope, .vs = scope == INHIBIT_VS ? vs : 0};
	memcpy(o->text, text, strlen(text));
	HF_MARK("note.set");
}

static bool still_on(const struct node *n, const struct status_note *o)
{
	int vs = o->scope == INHIBIT_VS ? node_vs_find(n, o->vs) : -1;

	return (o->scope == INHIBIT_SELF && n->inhibit_self) ||
	       (o->scope == INHIBIT_MINE && n->inhibit_mine) ||
	       (o->scope == INHIBIT_CLUSTER && n->inhibit_cluster) || (vs >= 0 && n->vs[vs].inhibit);
}

/* Virtual servers may have gone, and their flags with them. */
void note_prune(struct node *n)
{
	for (unsigned i = n->note_count; i-- > 0;)
		if (!still_on(n, &n->note[i]))
			n->note[i] = n->note[--n->note_count];
}

/* Of a record of mine, after its flags. */
void note_restore(struct node *n, const struct status_msg *m)
{
	n->note_count = 0;
	for (unsigned i = 0; i < m->note_count; i++)
		if (still_on(n, &m->note[i]))
			note_set(n, (enum inhibit_scope)m->note[i].scope, m->note[i].vs,
				 m->note[i].text);
}

const char *node_note(const struct node *n, uint16_t id, enum inhibit_scope scope, uint32_t vs)
{
	const struct node_peer *p = peer_get(n, id);
	const struct status_note *note = p ? p->msg.note : n->note;
	unsigned count = p ? p->msg.note_count : id == n->conf.self ? n->note_count : 0;
	unsigned at = find(note, count, scope, vs);

	return at < count ? note[at].text : "";
}

const char *node_veto_note(const struct node *n, const struct veto *v)
{
	uint32_t vs = v->vs >= 0 ? n->conf.vs[v->vs].id : 0;

	if (v->reason == REASON_INHIBITED)
		return node_note(n, v->node, INHIBIT_SELF, 0);
	if (v->reason == REASON_NO_TAKEOVER)
		return node_note(n, v->node, INHIBIT_MINE, 0);
	if (v->reason == REASON_DISABLED)
		return node_note(n, v->node, INHIBIT_CLUSTER, 0);
	return v->reason == REASON_VS_INHIBITED ? node_note(n, v->node, INHIBIT_VS, vs) : "";
}
