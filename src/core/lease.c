/* lease.c - the coordination devices and the lease that hangs on them (SAFETY F4, V1).
 *
 * Own slot: a round writes device 0, then device 1, ... (ST-27: never at once); a device that does
 * not answer within slot_timeout does not hold up the next one, and gets no new write before the
 * old one returned.
 *
 * How often depends on role and state of the cluster (VS-49 to VS-54, OV-08).  A node is
 * "lost" when it did not acknowledge lately: from then on my lease hangs on the slot, whoever is
 * master, so all write fast (AM-10).  News is written at once at any rate (ST-50).
 *
 * The lease.  Whoever would take over from me needs a *majority* of devices on which he saw
 * nothing of mine for dead_ns, with reads begun less than fresh_ns ago.  So a write that is on
 * D - majority + 1 devices is on at least one of his.  A message that he acknowledged restarted
 * his clock as well: acknowledgements of every other node serve as well as the devices, so losing
 * all coordination devices alone never stops service.  Either way the lease counts from the
 * *start* of the write or sending.
 *
 * The chain.  A lease that lapsed is never lengthened: a write that completes too late proves
 * nothing, since he may have been certain already.  What was reserved under the old chain serves
 * again only after RESERVE (keep) with a new epoch; a taker that knew the old epoch then loses. */
#include "core/internal.h"

static unsigned majority(const struct node *n)
{
	return n->conf.device_count / 2 + 1;
}

bool lease_valid(const struct node *n)
{
	return !n->lease_lapsed && n->now_ns < n->lease_until_ns;
}

unsigned devices_written_since(const struct node *n, uint64_t begun_ns)
{
	unsigned count = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++)
		count +=
		    n->device[d].write_ok_begun_ns >= begun_ns && n->device[d].write_ok_begun_ns;
	return count;
}

/* A configured node that has not acknowledged for as long as makes a path silent. */
static bool lost_somebody(const struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].acked_ns + n->conf.times.path_silent_ns <= n->now_ns)
			return true;
	return false;
}

enum scribble scribble_state(const struct node *n)
{
	unsigned lost = lost_somebody(n);

	if (n->role == STATUS_ROLE_MASTER)
		return SCRIBBLE_MASTER + lost;
	if (n->role == STATUS_ROLE_SLAVE)
		return SCRIBBLE_SLAVE + lost;
	return SCRIBBLE_DETACHED + lost;
}

/* When the next round is due at the rate in force, or earlier because there is news. */
static uint64_t write_due_ns(const struct node *n)
{
	uint64_t every = n->conf.times.scribble_ns[scribble_state(n)];
	uint64_t due = every ? n->round_begun_ns + every : UINT64_MAX;

	return n->next_write_ns < due ? n->next_write_ns : due;
}

/* Read and written lately enough to prove something (V1).  At a slow rate, while everybody
 * answers, a write that did not fail will do: nothing is proven then but that the device works. */
bool device_fresh(const struct node *n, unsigned d)
{
	const struct node_device *dev = &n->device[d];
	uint64_t fresh = n->conf.times.fresh_ns;
	uint64_t every = n->conf.times.scribble_ns[scribble_state(n)];
	bool slow = every == 0 || every > n->conf.times.slot_write_ns;

	if (!dev->read_since_ns || !dev->read_ok_begun_ns || !dev->write_ok_begun_ns ||
	    dev->read_ok_begun_ns + fresh < n->now_ns)
		return false;
	return slow ? dev->write_err == 0 : dev->write_ok_begun_ns + fresh >= n->now_ns;
}

bool node_has_majority(const struct node *n)
{
	unsigned fresh = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++)
		fresh += device_fresh(n, d);
	return fresh >= majority(n);
}

/* The latest time such that enough devices hold a write begun then or later. */
static uint64_t slot_base(const struct node *n)
{
#ifdef HF_MUTANT_LEASE_ONE_DEVICE
	unsigned need = 1;
#else
	unsigned need = n->conf.device_count - majority(n) + 1;
#endif
	uint64_t best = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++) {
		uint64_t t = n->device[d].write_ok_begun_ns;

		if (t > best && devices_written_since(n, t) >= need)
			best = t;
	}
	return best;
}

static uint64_t ack_base(const struct node *n)
{
	uint64_t base = UINT64_MAX;

	for (unsigned i = 0; i < n->peer_count; i++)
#ifdef HF_MUTANT_LEASE_ONE_ACK
		if (base == UINT64_MAX || n->peer[i].acked_ns > base)
#else
		if (n->peer[i].acked_ns < base)
#endif
			base = n->peer[i].acked_ns;
	return n->peer_count ? base : 0;
}

void lease_renew(struct node *n)
{
	uint64_t slot = slot_base(n), ack = ack_base(n), base = slot > ack ? slot : ack;
	uint64_t until = base + n->conf.times.lease_ns;

	if (base <= n->lease_base_ns || until <= n->now_ns)
		return;
	if (n->lease_lapsed || n->lease_until_ns == 0) {
		if (base < n->lease_until_ns)
			return; /* begun before the lapse: too late */
		n->lease_lapsed = false;
		HF_MARK("lease.new_chain");
	} else if (n->now_ns >= n->lease_until_ns) {
		return; /* lease_check() has not seen the lapse yet */
	}
	if (ack > slot)
		HF_MARK("lease.by_acknowledgement");
	n->lease_base_ns = base;
	n->lease_until_ns = until;
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_give_lease(n, i);
}

void lease_check(struct node *n)
{
	if (n->lease_lapsed || n->lease_until_ns == 0 || n->now_ns < n->lease_until_ns)
		return;
	n->lease_lapsed = true;
	n->chain++;
	HF_MARK("lease.lapse");
	for (unsigned i = 0; i < n->conf.vs_count; i++)
		vs_lapsed(n, i, REASON_LEASE_LAPSED);
}

static void write_slot(struct node *n, unsigned d)
{
	struct node_device *dev = &n->device[d];
	struct status_msg m;
	struct slot s = {.node = n->conf.self, .generation = n->generation};
	struct action *a = act(n, ACT_SLOT_WRITE);

	node_fill(n, &m);
	n->sent_seq[n->sequence % NODE_SENT_RING] = n->sequence;
	n->sent_ns[n->sequence % NODE_SENT_RING] = n->now_ns;
	s.sequence = n->sequence++;
	s.write_count = ++dev->write_count;
	s.payload = n->msg_buf;
	s.payload_len = status_encode(&m, n->msg_buf, sizeof(n->msg_buf));
	hf_assert(s.payload_len > 0);
	memcpy(s.cluster, n->conf.cluster, sizeof(s.cluster));
	slot_encode(&s, n->sector_buf[d]);
	a->slot.device = d;
	a->slot.sector = n->sector_buf[d];
	dev->write_op = act_op(n, a);
	dev->write_begun_ns = n->now_ns;
}

/* Begins a round, goes on to the next device, or ends the round. */
static void write_round(struct node *n)
{
	if (!n->write_round) {
		if (n->now_ns < write_due_ns(n) && !n->dirty)
			return;
		n->write_round = true;
		n->write_at = 0;
		n->next_write_ns = UINT64_MAX;
		n->round_begun_ns = n->now_ns;
	} else {
		const struct node_device *dev = &n->device[n->write_at];

		if (dev->write_op &&
		    n->now_ns < dev->write_begun_ns + n->conf.times.slot_timeout_ns)
			return;
		n->write_at++;
	}
	while (n->write_at < n->conf.device_count && n->device[n->write_at].write_op)
		n->write_at++;
	if (n->write_at < n->conf.device_count)
		write_slot(n, n->write_at);
	else
		n->write_round = false;
}

static void read_slots(struct node *n)
{
	if (n->now_ns < n->next_read_ns)
		return;
	n->next_read_ns = n->now_ns + n->conf.times.slot_read_ns;
	for (unsigned d = 0; d < n->conf.device_count; d++) {
		struct action *a;

		if (n->device[d].read_op)
			continue;
		a = act(n, ACT_SLOT_READ);
		a->slot.device = d;
		n->device[d].read_op = act_op(n, a);
		n->device[d].read_begun_ns = n->now_ns;
	}
}

void lease_run(struct node *n)
{
	read_slots(n);
	if (n->persisted_generation == n->generation && n->generation)
		write_round(n);
}

static int device_of(const struct node *n, uint64_t op, bool write)
{
	for (unsigned d = 0; d < n->conf.device_count; d++)
		if (op && op == (write ? n->device[d].write_op : n->device[d].read_op))
			return (int)d;
	return -1;
}

void lease_written(struct node *n, const struct event *ev)
{
	int d = device_of(n, ev->op, true);
	struct node_device *dev;

	if (d < 0) {
		n->stale_completions++;
		return;
	}
	dev = &n->device[d];
	dev->write_op = 0;
	dev->write_err = ev->err;
	if (ev->err == 0) {
#ifdef HF_MUTANT_LEASE_FROM_END
		dev->write_ok_begun_ns = n->now_ns;
#else
		dev->write_ok_begun_ns = dev->write_begun_ns;
#endif
	}
	lease_renew(n);
}

void lease_read(struct node *n, const struct event *ev)
{
	int d = device_of(n, ev->op, false);
	struct node_device *dev;

	if (d < 0) {
		n->stale_completions++;
		return;
	}
	dev = &n->device[d];
	dev->read_op = 0;
	dev->read_err = ev->err;
	if (ev->err) {
		dev->read_since_ns = 0;
		return;
	}
	/* A gap in the series: silence counts from this read on. */
	if (dev->read_since_ns &&
	    dev->read_begun_ns > dev->read_ok_begun_ns + n->conf.times.tilt_ns)
		dev->read_since_ns = 0;
	if (dev->read_since_ns == 0)
		dev->read_since_ns = n->now_ns;
	dev->read_ok_begun_ns = dev->read_begun_ns;
	peer_slots(n, (unsigned)d, ev);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the next of those who still acknowledge will count as lost: the rate changes then. */
static uint64_t lost_at_ns(const struct node *n)
{
	uint64_t t = UINT64_MAX;

	for (unsigned i = 0; i < n->peer_count; i++) {
		uint64_t at = n->peer[i].acked_ns + n->conf.times.path_silent_ns;

		if (at > n->now_ns)
			t = earlier(t, at);
	}
	return t;
}

uint64_t lease_deadline_ns(const struct node *n)
{
	uint64_t t = n->next_read_ns;

	if (n->persisted_generation != n->generation) {
		return t; /* nothing is written before the generation is durable */
	} else if (n->write_round) {
		const struct node_device *dev = &n->device[n->write_at];
		uint64_t until = dev->write_begun_ns + n->conf.times.slot_timeout_ns;

		if (until < t)
			t = until;
	} else {
		t = earlier(t, write_due_ns(n));
		t = earlier(t, lost_at_ns(n));
	}
	if (!n->lease_lapsed && n->lease_until_ns && n->lease_until_ns < t)
		t = n->lease_until_ns;
	return t;
}
