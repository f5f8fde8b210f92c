/* master.c - who is master (VS-26 to VS-33, OV-03, AM-09).
 *
 * The lease record of OV-03 is the head of a node's slot: `master` = its own id is a claim, with
 * its boot generation beside it; role MASTER makes it the post.  Nobody writes another's slot, so
 * the claim is made as mutual exclusion of single writers goes:
 *
 *	1. claim, and have it on a majority of the coordination devices;
 *	2. then read what each other node says there on a majority of them, begun after that;
 *	3. nobody else claims: MASTER.  Somebody does: a master, or a claimant with a smaller id, goes
 *	   first and I withdraw; one with a greater id withdraws when he reads mine: read again.
 *
 * Of two that go through 1 and 2 at least one reads the other's claim, because any two majorities
 * share a device.  A claim counts until its node is proven dead or has left.  A master holds its
 * post while its lease (lease.c) is unbroken: that ends before anybody can prove it dead.  So there
 * are never two, as long as the devices tell what is on them.  Of two that were made by one that gave
 * back what was there before, the one with the greater id withdraws when it reads the other.  Nothing
 * hangs on the post for safety: every wish still has to win a reservation.
 *
 * Without a majority there is no new master, and each node follows its own wishes. */
#include "core/internal.h"

static bool claims(const struct node_peer *p)
{
	return p->msg.master == p->id && p->verdict != STATUS_V_DEAD &&
	       p->verdict != STATUS_V_LEAVING;
}

static bool is_master(const struct node_peer *p)
{
	return claims(p) && p->msg.role == STATUS_ROLE_MASTER;
}

static uint16_t other_master(const struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (is_master(&n->peer[i]))
			return n->peer[i].id;
	return 0;
}

static bool smaller_claims(const struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (n->peer[i].id < n->conf.self && claims(&n->peer[i]))
			return true;
	return false;
}

static bool anybody_claims(const struct node *n)
{
	for (unsigned i = 0; i < n->peer_count; i++)
		if (claims(&n->peer[i]))
			return true;
	return false;
}

static unsigned majority(const struct node *n)
{
	return n->conf.device_count / 2 + 1;
}

/* On how many devices was read what this node says, since my claim was written?  A torn sector says
 * nothing; of a node that was proven dead it is enough to have looked: a living one's moves. */
static unsigned devices_read(const struct node *n, const struct node_peer *p)
{
	bool dead = p->verdict == STATUS_V_DEAD || p->verdict == STATUS_V_LEAVING;
	unsigned count = 0;

	for (unsigned d = 0; d < n->conf.device_count; d++)
		count += (dead ? n->device[d].read_ok_begun_ns : p->slot_read_ns[d]) >
			 n->claim_written_ns;
	return count;
}

/* Step 2: each node that may claim was read on enough devices since my claim was on enough of them. */
static bool read_back(struct node *n)
{
	if (!n->claim_written_ns && devices_written_since(n, n->claim_ns) >= majority(n))
		n->claim_written_ns = n->now_ns;
	if (!n->claim_written_ns)
		return false;
#ifdef HF_MUTANT_MASTER_UNREAD
	return true;
#endif
	for (unsigned i = 0; i < n->peer_count; i++)
		if (devices_read(n, &n->peer[i]) < majority(n))
			return false;
	return true;
}

static void set_role(struct node *n, enum status_role role, uint16_t master)
{
	if (role == n->role && master == n->master)
		return;
	if (role == STATUS_ROLE_MASTER)
		HF_MARK("master.post");
	if (role != n->role && role != STATUS_ROLE_NONE)
		SAY(n, LOG_L_NOTICE, REASON_NONE, "node: role %s, master %s",
		    status_role_name(role), node_name(n, master));
	n->role = role;
	n->master = master;
	n->dirty = true;
}

static void withdraw(struct node *n, uint16_t master)
{
	n->claim_ns = n->claim_written_ns = 0;
	set_role(n, master ? STATUS_ROLE_SLAVE : STATUS_ROLE_NONE, master);
}

static void claim(struct node *n)
{
	if (!n->claim_ns) {
		HF_MARK("master.claim");
		n->claim_ns = n->now_ns;
		n->claim_written_ns = 0;
		n->claim_chain = n->chain;
		set_role(n, STATUS_ROLE_NONE, n->conf.self);
		return;
	}
	if (read_back(n) && !anybody_claims(n))
		set_role(n, STATUS_ROLE_MASTER, n->conf.self);
}

/* Another one, that lives, has the post as well: it can only have it by a device that lied to one of us. */
static bool yields_to(const struct node *n, uint16_t other)
{
#ifdef HF_MUTANT_MASTER_STUBBORN
	other = 0;
#endif
	return other && other < n->conf.self && peer_live(peer_get(n, other));
}

void master_run(struct node *n)
{
	uint16_t other = other_master(n);
	bool holds = n->claim_ns && n->claim_chain == n->chain && lease_valid(n) &&
		     node_active(n) && !n->leaving;

	if (n->role == STATUS_ROLE_MASTER && holds) {
		if (!yields_to(n, other))
			return;
		HF_MARK("master.second");
	}
	if (other || !node_active(n)) {
		withdraw(n, node_active(n) ? other : 0);
	} else if (n->claim_ns && !holds) {
		HF_MARK("master.lapsed");
		withdraw(n, 0);
	} else if (n->leaving || !lease_valid(n) || !node_has_majority(n) || smaller_claims(n)) {
		withdraw(n, 0);
	} else {
		claim(n);
	}
}
