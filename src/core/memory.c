/* memory.c - the partners' persistent memory over the interconnect (ST-04, ST-12, ST-28).
 *
 *	n1 changes its state                 n2's remote-write agent
 *	  MEMORY_WRITE  ---- interconnect ---->  a message like any other, one more path (ST-45);
 *	                                         MEMORY_KEEP: durable in its state_dir
 *	  `memory` section of n2's messages  <---  "I hold (generation, sequence) of you"
 *
 *	n1 boots     MEMORY_ASK ---- any network ---->  HELD: n1's own last message
 *
 * A remote write costs the partner an fsync of its system disk, and what it holds is read at a boot
 * only: so one is sent when my state changes (whatever node_persist() makes durable here), repeated
 * until it is acknowledged, and otherwise each WRITE_BEATS heartbeats.  That bounds the age of the
 * other use of what is kept: after a reboot of mine messages that are not newer than it are replays,
 * though I have heard nothing yet.
 *
 * At a boot the newest record of my own state counts, of my persistent memory and what partners hold
 * (ST-46, ST-107), and the greatest generation of these and my slots.  If there is nothing in mine,
 * partners are waited for (until the limit of step 251): an instance without a past would reuse
 * its generations. */
#include "core/internal.h"

#define WRITE_BEATS  10
#define REPEAT_BEATS 3
#define ASK_BEATS    1

/* What was kept before I was started: nothing older is new (ST-43). */
static void load(struct node *n, struct node_peer *p)
{
	const uint8_t *sector = n->conf.held[p->id - 1];
	struct status_msg m;
	struct slot s;

	if (!sector || slot_decode(&s, sector) != 0 || s.node != p->id ||
	    memcmp(s.cluster, n->conf.cluster, sizeof(s.cluster)) != 0 ||
	    status_decode(&m, s.payload, s.payload_len) != 0 || m.sender != p->id)
		return;
	p->kept = (struct node_seen){.generation = m.generation, .sequence = m.sequence};
#ifndef HF_MUTANT_MEMORY_FORGETS_REPLAYS
	p->latest = p->kept;
	for (unsigned i = 0; i <= NODE_PATH_MEMORY; i++)
		p->by_path[i] = p->kept;
#endif
	p->msg = m;
}

void memory_init(struct node *n)
{
	for (unsigned i = 0; i < n->peer_count && n->conf.memory; i++)
		load(n, &n->peer[i]);
}

/* ---- my own state at a boot ----------------------------------------------------------------- */

void memory_ask(struct node *n)
{
	if (!n->conf.memory || n->now_ns < n->ask_next_ns || memory_answered(n))
		return;
	n->ask_next_ns = n->now_ns + ASK_BEATS * n->conf.times.heartbeat_ns;
	for (unsigned i = 0; i < n->peer_count; i++)
		if (!n->peer[i].told_held)
			act(n, ACT_MEMORY_ASK)->send.to = n->peer[i].id;
}

bool memory_answered(const struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (!n->peer[i].told_held)
			return false;
	return true;
}

void memory_held(struct node *n, const struct event *ev)
{
	struct node_peer *p = peer_find(n, ev->msg.from);
	struct status_msg m;

	if (!p || n->state != NODE_REBOOTING || n->reboot_step != 251)
		return;
	p->told_held = true;
	if (ev->msg.len == 0 || status_decode(&m, ev->msg.data, ev->msg.len) != 0 ||
	    m.sender != n->conf.self)
		return;
	HF_MARK("memory.held");
	reboot_own_state(n, &m);
}

/* ---- the others' state ---------------------------------------------------------------------- */

/* It was new on this path.  While the last one is still being written this one is left: its sender
 * repeats what I do not say that I hold. */
void memory_keep(struct node *n, struct node_peer *p, const struct event *ev)
{
	struct slot s = {.node = p->id, .payload = ev->msg.data, .payload_len = ev->msg.len};
	struct action *a;

	if (p->keep_op || ev->msg.len > SLOT_PAYLOAD_MAX)
		return;
	p->keeping = p->by_path[NODE_PATH_MEMORY];
	s.generation = p->keeping.generation;
	s.sequence = p->keeping.sequence;
	memcpy(s.cluster, n->conf.cluster, sizeof(s.cluster));
	slot_encode(&s, n->keep_buf);
	a = act(n, ACT_MEMORY_KEEP);
	a->slot.device = p->id;
	a->slot.sector = n->keep_buf;
	p->keep_op = act_op(n, a);
}

void memory_kept(struct node *n, const struct event *ev)
{
	for (unsigned i = 0; i < n->peer_count; i++) {
		struct node_peer *p = &n->peer[i];

		if (!ev->op || p->keep_op != ev->op)
			continue;
		p->keep_op = 0;
		p->keep_err = ev->err;
		if (ev->err == 0)
			p->kept = p->keeping;
		else
			HF_MARK("memory.not_kept");
		return;
	}
	n->stale_completions++;
}

/* ---- writing -------------------------------------------------------------------------------- */

void memory_fill(const struct node *n, struct status_msg *m)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].kept.generation)
			m->memory[m->memory_count++] =
			    (struct status_memory){.node = n->peer[i].id,
						   .generation = n->peer[i].kept.generation,
						   .sequence = n->peer[i].kept.sequence};
}

void memory_acknowledged(struct node *n, struct node_peer *p, const struct status_msg *m)
{
	p->mirrored = (struct node_seen){.generation = 0}; /* it may have lost its memory */
	for (unsigned i = 0; i < m->memory_count; i++)
		if (m->memory[i].node == n->conf.self && m->memory[i].generation == n->generation)
			p->mirrored = (struct node_seen){.generation = n->generation,
							 .sequence = m->memory[i].sequence};
}

/* My state has changed. */
void memory_news(struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		n->peer[i].memory_now = true;
}

bool memory_in_sync(const struct node *n, const struct node_peer *p)
{
	return !p->memory_now && p->mirrored.generation == n->generation &&
	       p->mirrored.sequence >= p->memory_sent;
}

static uint64_t due_ns(const struct node *n, const struct node_peer *p)
{
	uint64_t beats = memory_in_sync(n, p) ? WRITE_BEATS : REPEAT_BEATS;

	return p->memory_now ? 0 : p->memory_sent_ns + beats * n->conf.times.heartbeat_ns;
}

void memory_run(struct node *n)
{
	struct status_msg m;
	size_t len = 0;

	for (unsigned i = 0; i < n->peer_count && n->conf.memory; i++) {
		struct node_peer *p = &n->peer[i];
		struct action *a;

		if (n->now_ns < due_ns(n, p))
			continue;
		if (len == 0) {
			node_fill(n, &m);
			len = status_encode(&m, n->memory_buf, sizeof(n->memory_buf));
			hf_assert(len > 0);
			n->sent_seq[n->sequence % NODE_SENT_RING] = n->sequence;
			n->sent_ns[n->sequence % NODE_SENT_RING] = n->now_ns;
			n->sequence++;
		}
		a = act(n, ACT_MEMORY_WRITE);
		a->send.to = p->id;
		a->send.path = NODE_PATH_MEMORY;
		a->send.data = n->memory_buf;
		a->send.len = len;
		p->memory_now = false;
		p->memory_sent = m.sequence;
		p->memory_sent_ns = n->now_ns;
	}
}

uint64_t memory_deadline_ns(const struct node *n)
{
	uint64_t t = UINT64_MAX;

	for (unsigned i = 0; i < n->peer_count && n->conf.memory; i++)
		if (due_ns(n, &n->peer[i]) < t)
			t = due_ns(n, &n->peer[i]);
	return t;
}
