/* peer.c - the others: one ordered stream from all paths (ST-42 to ST-45), silence, verdict.
 *
 * Verdict (OV-10, V1, V2):
 *	a network path heard lately				alive
 *	network silent, a slot moves on				unreachable
 *	all silent for dead_ns, and on a majority of devices I read and write freshly
 *	and saw nothing of him for dead_ns			dead
 *	silent, but not proven so				silent
 *	not observed long enough yet				unknown
 * Silence is counted from what I observed myself since I started, since my last pause (TILT), and
 * since I last learnt an epoch of his by other means than his messages. */
#include "core/internal.h"

#include <errno.h>

#include "base/crc32c.h"

struct node_peer *peer_find(struct node *n, uint16_t id)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].id == id)
			return &n->peer[i];
	return NULL;
}

const struct node_peer *peer_get(const struct node *n, uint16_t id)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].id == id)
			return &n->peer[i];
	return NULL;
}

bool peer_live(const struct node_peer *p)
{
	return p->verdict == STATUS_V_ALIVE || p->verdict == STATUS_V_UNREACHABLE;
}

const struct status_vs *peer_vs(const struct node *n, const struct node_peer *p, unsigned vs)
{
	if (n->conf.vs[vs].gone)
		return NULL;
	/* The same configuration, the same order; else look for it. */
	if (vs < p->msg.vs_count && p->msg.vs[vs].id == n->conf.vs[vs].id)
		return &p->msg.vs[vs];
	for (unsigned i = 0; i < p->msg.vs_count; i++)
		if (p->msg.vs[i].id == n->conf.vs[vs].id)
			return &p->msg.vs[i];
	return NULL;
}

static bool newer(const struct node_seen *old, const struct status_msg *m)
{
	return m->generation > old->generation ||
	       (m->generation == old->generation && m->sequence > old->sequence);
}

/* `seen` is newer than this one: it is not the same message read again. */
static bool newer_seen(const struct node_seen *seen, const struct status_msg *m)
{
	return seen->generation > m->generation ||
	       (seen->generation == m->generation && seen->sequence > m->sequence);
}

static void remember(struct node_seen *seen, const struct status_msg *m)
{
	seen->generation = m->generation;
	seen->sequence = m->sequence;
}

/* ST-40: what he acknowledged restarted his silence clock no earlier than I sent it. */
static void acknowledged(struct node *n, struct node_peer *p, const struct status_msg *m)
{
	for (unsigned i = 0; i < m->peer_count; i++) {
		const struct status_peer *me = &m->peer[i];
		unsigned at = me->acked % NODE_SENT_RING;

		if (me->node == n->conf.self && n->reboot_step == 251 && me->generation >= n->generation) {
			HF_MARK("reboot.generation_from_peer");
			n->generation = me->generation + 1; /* ST-37: he knows a later one */
		}
		if (me->node != n->conf.self || me->generation != n->generation || !me->acked)
			continue;
		if (n->sent_seq[at] == me->acked && n->sent_ns[at] > p->acked_ns)
			p->acked_ns = n->sent_ns[at];
	}
}

/* The epoch at which `p` answers for the vs, 0: it does not. */
static uint64_t answers_at(const struct node *n, const struct node_peer *p, unsigned vs)
{
	const struct status_vs *s = peer_live(p) ? peer_vs(n, p, vs) : NULL;

	return s && s->state == VS_SERVING ? s->epoch : 0;
}

/* Two that serve a vs at one epoch, or an answer to what I never said: no view of the cluster that
 * can be true has that in it. */
static const char *impossible(const struct node *n, const struct node_peer *p,
			      const struct status_msg *m)
{
	for (unsigned i = 0; i < m->peer_count; i++)
		if (m->peer[i].node == n->conf.self && m->peer[i].generation == n->generation &&
		    n->persisted_generation == n->generation && m->peer[i].acked >= n->sequence)
			return "it acknowledges what was never sent";
	for (unsigned i = 0; i < n->conf.vs_count; i++) {
		uint64_t epoch = answers_at(n, p, i);

		if (epoch && n->vs[i].state == VS_SERVING && n->vs[i].epoch == epoch)
			return "it serves what is served here, at the same epoch";
		for (unsigned k = 0; epoch && k < n->peer_count; k++)
			if (&n->peer[k] != p && answers_at(n, &n->peer[k], i) == epoch)
				return "it serves what another serves, at the same epoch";
	}
	return NULL;
}

/* TILT: no takeover on such a view. */
static void doubt_view(struct node *n, const struct node_peer *p, const struct status_msg *m)
{
	const char *what = impossible(n, p, m);

	if (!what)
		return;
	HF_MARK("node.view_impossible");
	if (!n->tilt)
		SAY(n, LOG_L_ERR, REASON_TILT, "peer %s: impossible: %s", node_name(n, p->id),
		    what);
	n->dirty = n->dirty || !n->tilt;
	n->view_bad_ns = n->now_ns;
	n->tilt = true;
}

/* A message from any path: newer than all before, or one that another path brought already. */
static void merge(struct node *n, struct node_peer *p, const struct status_msg *m)
{
	if (!newer(&p->latest, m)) { /* ST-44 */
		HF_MARK("peer.duplicate");
		return;
	}
	p->not_understood = false;
	acknowledged(n, p, m);
	memory_acknowledged(n, p, m);
	node_accept(n, p, m);
	doubt_view(n, p, m);
	remember(&p->latest, m);
}

static void drop(struct node *n, struct node_peer *p, unsigned way, enum drop why)
{
	drop_note(&n->drops, way, why);
	if (why == DROP_REPLAYED) {
		p->replays++;
		HF_MARK("peer.replay");
	} else {
		p->bad_messages++;
	}
}

/* An authentic message that I cannot read is a sign of life all the same, once: its first fields have
 * their places in every version.  It says too little to take anything from its sender. */
static bool not_understood(struct node *n, struct node_peer *p, const uint8_t *data, size_t len)
{
	struct status_peek peek;
	struct status_msg m;

	if (status_peek(&peek, data, len) != 0 || peek.sender != p->id)
		return false;
	m.generation = peek.generation;
	m.sequence = peek.sequence;
	if (!newer(&p->alien, &m) || !newer(&p->latest, &m))
		return false;
	remember(&p->alien, &m);
	if (!p->not_understood) {
		HF_MARK("peer.not_understood");
		SAY(n, LOG_L_WARN, REASON_VERSION_MISMATCH, "peer %s: speaks protocol version %u, I %u to %u",
		    node_name(n, p->id), peek.version, STATUS_VERSION_MIN, STATUS_VERSION);
	}
	p->not_understood = true;
	p->heard_ns = n->now_ns;
	p->heard_ever = true;
	return true;
}

void peer_message(struct node *n, const struct event *ev)
{
	struct node_peer *p = peer_find(n, ev->msg.from);
	struct status_msg m;
	unsigned way = ev->msg.path == NODE_PATH_MEMORY ? DROP_WAY_MEMORY : ev->msg.path;
	int err;

	if (ev->msg.path >= n->conf.path_count &&
	    (ev->msg.path != NODE_PATH_MEMORY || !n->conf.memory))
		return;
	if (!p) { /* also what I sent myself */
		drop_note(&n->drops, way, DROP_SENDER);
		return;
	}
	err = status_decode(&m, ev->msg.data, ev->msg.len);
	if (err == -EPROTO && not_understood(n, p, ev->msg.data, ev->msg.len))
		p->path_heard_ns[ev->msg.path] = n->now_ns;
	if (err || m.sender != p->id) {
		drop(n, p, way, err ? drop_reason(err) : DROP_SENDER);
		return;
	}
#ifdef HF_MUTANT_REPLAYS_COUNT_AS_LIFE
	if (m.generation == 0) {
#else
	if (!newer(&p->by_path[ev->msg.path], &m)) {
#endif
		drop(n, p, way, DROP_REPLAYED);
		return;
	}
	remember(&p->by_path[ev->msg.path], &m);
	if (m.generation < p->latest.generation) { /* an instance that is gone */
		drop(n, p, way, DROP_REPLAYED);
		return;
	}
	p->path_heard_ns[ev->msg.path] = n->now_ns;
	p->heard_ns = n->now_ns;
	p->heard_ever = true;
	merge(n, p, &m);
	if (ev->msg.path == NODE_PATH_MEMORY)
		memory_keep(n, p, ev);
	lease_renew(n);
}

/* My own slot: a greater generation than mine means that persistent memory was lost. */
static void own_slot(struct node *n, const uint8_t *sector)
{
	struct slot s;

	if (slot_parse(&s, sector) != 0 || memcmp(s.cluster, n->conf.cluster, 16) != 0)
		return;
	for (unsigned d = 0; d < n->conf.device_count; d++)
		if (n->device[d].write_count < s.write_count)
			n->device[d].write_count = s.write_count;
	if (n->persisted_generation != n->generation && s.generation >= n->generation) {
		n->generation = s.generation + 1;
		HF_MARK("reboot.generation_from_slot");
	} else if (n->persisted_generation == n->generation && s.generation > n->generation &&
		   node_active(n)) {
		HF_MARK(
		    "node.same_id"); /* a later instance of me runs somewhere: I am the old one */
		act_self_fence(n, REASON_SAME_ID, "node: another machine runs with my id");
		node_stop(n, REASON_SAME_ID);
	}
}

/* It lies there and is read again and again: counted once. */
static void drop_slot(struct node *n, struct node_peer *p, unsigned device, const struct slot *s,
		      enum drop why)
{
	struct node_seen *last = &p->dropped[device];

	if (last->generation == s->generation && last->sequence == s->sequence)
		return;
	*last = (struct node_seen){.generation = s->generation, .sequence = s->sequence};
	drop(n, p, DROP_WAY_DEVICE + device, why);
}

static int slot_message(const struct node *n, const struct node_peer *p, const uint8_t *sector,
			struct slot *s, struct status_msg *m)
{
	int err = slot_parse(s, sector);

	if (err)
		return err;
	if (memcmp(s->cluster, n->conf.cluster, sizeof(s->cluster)) != 0)
		return -EXDEV;
	if (s->node != p->id)
		return -EDESTADDRREQ;
	err = status_decode(m, s->payload, s->payload_len);
	return err ? err : m->sender != p->id ? -EDESTADDRREQ : 0;
}

static void peer_slot(struct node *n, struct node_peer *p, unsigned device, const uint8_t *sector)
{
	struct status_msg m;
	struct slot s;
	struct node_seen said = {.generation = p->msg.generation, .sequence = p->msg.sequence};
	bool first = p->by_device[device].generation == 0;
	bool blind = p->alien.generation == 0; /* nobody knows how old the first one is */
	int err = slot_message(n, p, sector, &s, &m);

	if (err == -EPROTO && s.payload && s.node == p->id &&
	    not_understood(n, p, s.payload, s.payload_len) && !blind)
		p->slot_moved_ns[device] = n->now_ns;
	if (err) {
		drop_slot(n, p, device, &s, drop_reason(err));
		return;
	}
	p->slot_read_ns[device] = n->device[device].read_ok_begun_ns;
	if (!newer(&p->by_device[device], &m)) {
		if (newer_seen(&p->by_device[device], &m))
			drop_slot(n, p, device, &s, DROP_REPLAYED);
		return;
	}
	remember(&p->by_device[device], &m);
	if (first) { /* nobody knows how old it is: what it says counts, as no sign of life */
#ifndef HF_MUTANT_FIRST_SLOT_WINS
		if (newer(&p->latest, &m) && newer(&said, &m))
#else
		if (newer(&p->latest, &m) && said.generation <= m.generation)
#endif
			p->msg = m;
		return;
	}
	p->slot_moved_ns[device] = n->now_ns;
	p->heard_ns = n->now_ns;
	p->heard_ever = true;
	merge(n, p, &m);
}

/* A sector that says nothing: torn, or forged.  One that changes is being written all the same, and
 * whose writes land now and then, each torn by the next, still has a lease from the good ones: so it
 * counts as a sign of life, which can only delay a takeover; also of one that this instance never heard,
 * for who lives is no question of whom I know. */
static void unread_slot(struct node *n, struct node_peer *p, unsigned device, const uint8_t *sector)
{
	uint32_t noise = crc32c(0, sector, SLOT_SIZE) | 1U;
	bool first = !p->slot_noise[device] && p->by_device[device].generation == 0;

#ifdef HF_MUTANT_NOISE_OF_STRANGERS
	first = !p->heard_ever;
#endif
	p->bad_messages++;
	if (noise == p->slot_noise[device])
		return;
	p->slot_noise[device] = noise;
	if (first) /* nobody knows how old it is */
		return;
	HF_MARK("peer.slot_noise");
	p->slot_moved_ns[device] = n->now_ns;
#ifdef HF_MUTANT_NOISE_IS_SILENCE
	p->slot_moved_ns[device] = 0;
#endif
}

void peer_slots(struct node *n, unsigned device, const struct event *ev)
{
	for (unsigned i = 0; i < NODE_NODES_MAX; i++) {
		struct node_peer *p = peer_find(n, (uint16_t)(i + 1));

		if (i + 1 == n->conf.self && ev->slots.err[i] == 0)
			own_slot(n, ev->slots.sector[i]);
		if (!p)
			continue;
		if (ev->slots.err[i] == 0)
			peer_slot(n, p, device, ev->slots.sector[i]);
		else if (ev->slots.err[i] == -ENODATA)
			p->slot_read_ns[device] = n->device[device].read_ok_begun_ns;
		else
			unread_slot(n, p, device, ev->slots.sector[i]);
	}
	lease_renew(n);
}

void peer_observe_anew(struct node *n)
{
	n->observe_since_ns = n->now_ns;
	for (unsigned i = 0; i < n->peer_count; i++)
		n->peer[i].observe_since_ns = n->now_ns;
	for (unsigned d = 0; d < n->conf.device_count; d++)
		n->device[d].read_since_ns = 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Silence on the network counts from here. */
static uint64_t network_since(const struct node *n, const struct node_peer *p)
{
	uint64_t since = later(p->observe_since_ns, n->observe_since_ns);

	for (unsigned i = 0; i <= NODE_PATH_MEMORY; i++) /* never heard: 0 */
		since = later(since, p->path_heard_ns[i]);
	return since;
}

static uint64_t device_since(const struct node *n, const struct node_peer *p, unsigned d)
{
	uint64_t since = later(p->observe_since_ns, p->slot_moved_ns[d]);

	return later(since, n->device[d].read_since_ns);
}

static bool network_heard(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i <= NODE_PATH_MEMORY; i++)
		if (p->path_heard_ns[i] &&
		    p->path_heard_ns[i] + n->conf.times.path_silent_ns > n->now_ns)
			return true;
	return false;
}

static bool slot_moves(const struct node *n, const struct node_peer *p)
{
#ifdef HF_MUTANT_VERDICT_WITHOUT_DISK
	return n->conf.device_count == 0 && p->id;
#endif
	for (unsigned d = 0; d < n->conf.device_count; d++)
		if (p->slot_moved_ns[d] && p->slot_moved_ns[d] + n->conf.times.dead_ns > n->now_ns)
			return true;
	return false;
}

/* V1: fresh reads and writes on a majority, and silence on all of those. */
static bool slots_prove_death(const struct node *n, const struct node_peer *p)
{
	unsigned silent = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++)
		silent += device_fresh(n, d) &&
			  device_since(n, p, d) + n->conf.times.dead_ns <= n->now_ns;
#ifdef HF_MUTANT_VERDICT_WITHOUT_DISK
	return silent <= n->conf.device_count;
#else
	return silent >= n->conf.device_count / 2 + 1;
#endif
}

static bool owns_something(const struct node *n, const struct node_peer *p)
{
	for (unsigned i = 0; i < p->msg.vs_count; i++)
		if (p->msg.vs[i].state != VS_DOWN)
			return true;
	for (unsigned u = 0; u < n->conf.unit_count; u++)
		if (n->unit[u].owner == p->id)
			return true;
	return false;
}

/* Announced leaving is not death, as long as nothing was left behind; with a hard cap. */
static bool left_in_order(const struct node *n, struct node_peer *p)
{
	if (!(p->msg.flags & STATUS_F_LEAVING) || owns_something(n, p))
		return false;
	if (!p->leaving_since_ns)
		p->leaving_since_ns = n->now_ns;
	return n->now_ns < p->leaving_since_ns + n->conf.times.reboot_cap_ns;
}

static enum status_verdict judge(const struct node *n, struct node_peer *p)
{
	uint64_t dead = n->conf.times.dead_ns;

	if (network_heard(n, p))
		return STATUS_V_ALIVE;
	if (slot_moves(n, p))
		return STATUS_V_UNREACHABLE;
	if (network_since(n, p) + dead > n->now_ns) {
		if (!p->heard_ever)
			return STATUS_V_UNKNOWN;
		return p->verdict == STATUS_V_DEAD ? STATUS_V_SILENT : p->verdict;
	}
	if (left_in_order(n, p))
		return STATUS_V_LEAVING;
	if (p->verdict == STATUS_V_DEAD)
		return STATUS_V_DEAD; /* until a sign of life; step 213 asks for fresh reads itself
				       */
	return slots_prove_death(n, p) ? STATUS_V_DEAD : STATUS_V_SILENT;
}

/* What an operator should know about it, and do. */
static enum reason why_verdict(const struct node *n, enum status_verdict v)
{
	switch (v) {
	case STATUS_V_UNREACHABLE:
		return REASON_UNREACHABLE;
	case STATUS_V_SILENT:
		return node_has_majority(n) ? REASON_NONE : REASON_NO_MAJORITY;
	case STATUS_V_DEAD:
		return REASON_NODE_DEAD;
	case STATUS_V_LEAVING:
		return REASON_SHUTDOWN;
	case STATUS_V_UNKNOWN:
	case STATUS_V_ALIVE:
		break;
	}
	return REASON_NONE;
}

static void set_verdict(struct node *n, struct node_peer *p, enum status_verdict v)
{
	if (v == p->verdict)
		return;
	SAY(n, v == STATUS_V_ALIVE ? LOG_L_NOTICE : LOG_L_WARN, why_verdict(n, v),
	    "peer %s: %s -> %s", node_name(n, p->id), status_verdict_name(p->verdict),
	    status_verdict_name(v));
	p->verdict = v;
	p->verdict_ns = n->now_ns;
	p->unreachable_since_ns = v == STATUS_V_UNREACHABLE ? n->now_ns : 0;
	if (v == STATUS_V_DEAD)
		HF_MARK("peer.dead");
	if (v == STATUS_V_UNREACHABLE)
		HF_MARK("peer.unreachable");
	if (v == STATUS_V_SILENT)
		HF_MARK("peer.silent_not_proven");
	if (v == STATUS_V_LEAVING)
		HF_MARK("peer.left_in_order");
	n->dirty = true;
}

void peer_verdicts(struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++) {
		struct node_peer *p = &n->peer[i];

		if (p->verdict == STATUS_V_ALIVE)
			p->leaving_since_ns = 0;
		set_verdict(n, p, judge(n, p));
	}
}

static uint64_t sooner(uint64_t now, uint64_t best, uint64_t t)
{
	return t > now && t < best ? t : best;
}

uint64_t peer_deadline_ns(const struct node *n)
{
	uint64_t t = UINT64_MAX, now = n->now_ns;

	for (unsigned i = 0; i < n->peer_count; i++) {
		const struct node_peer *p = &n->peer[i];

		t = sooner(now, t, network_since(n, p) + n->conf.times.path_silent_ns);
		t = sooner(now, t, network_since(n, p) + n->conf.times.dead_ns);
		for (unsigned d = 0; d < n->conf.device_count; d++)
			t = sooner(now, t, device_since(n, p, d) + n->conf.times.dead_ns);
	}
	return t;
}

/* The worst of the ports that carry clients; good where none does. */
uint8_t client_quality(const struct node *n, const uint8_t *quality)
{
	uint8_t worst = 2;

	for (unsigned i = 0; i < n->conf.path_count; i++)
		if (n->conf.path_clients[i] && quality[i] < worst)
			worst = quality[i];
	return worst;
}
