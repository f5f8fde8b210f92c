/* partners.c - the remote-write agent: this node's persistent memory for the others (ST-04, ST-12).
 *
 * STATE_DIR/partners has two copies of a sector for each node, written in turn, so one is always
 * whole.  What the brain found new is written through the loop's ring (O_DSYNC); nothing waits for
 * it but its acknowledgement.  A node that boots asks what is held of it; the answer comes from what is
 * on disk, carries the question's nonce, and needs no brain. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/envelope.h"
#include "codec/held.h"
#include "daemon.h"

#define COPIES 2

struct partner {
	struct daemon *d;
	unsigned node; /* id - 1 */
	struct loop_op op;
	uint64_t tag;
	unsigned turn;
	bool held;
	uint8_t *out;		   /* aligned; being written */
	uint8_t sector[SLOT_SIZE]; /* as on disk */
};

struct partners {
	int fd;
	uint8_t nonce[HELD_NONCE]; /* of this instance's question */
	struct partner of[NODE_NODES_MAX];
};

static uint64_t offset_of(unsigned node, unsigned turn)
{
	return ((uint64_t)node * COPIES + turn) * SLOT_SIZE;
}

/* The older copy, or the one whose writing failed: the other is whole, and stays so. */
static unsigned next_copy(const struct partner *p)
{
	return (p->turn + 1) % COPIES;
}

static void on_kept(struct loop_op *op, int res)
{
	struct partner *p = LIST_OWNER(op, struct partner, op);
	struct event ev = {.type = EV_KEPT, .op = p->tag};

	ev.err = res < 0 ? res : res == SLOT_SIZE ? 0 : -EIO;
	if (ev.err) {
		log_limited(LOG_L_ERR, "%s/partners: cannot be written: %s", p->d->state_dir,
			    strerror(-ev.err));
	} else {
		memcpy(p->sector, p->out, SLOT_SIZE);
		p->held = true;
		p->turn = next_copy(p);
	}
	brain_event(p->d, &ev);
}

void partners_keep(struct daemon *d, const struct action *a)
{
	struct partner *p = &d->partners->of[a->slot.device - 1];

	if (p->op.busy) {
		brain_post_err(d, EV_KEPT, a, -EBUSY);
		return;
	}
	memcpy(p->out, a->slot.sector, SLOT_SIZE);
	slot_finish(p->out);
	p->tag = a->op;
	loop_write(d->loop, &p->op, d->partners->fd, p->out, SLOT_SIZE,
		   offset_of(p->node, next_copy(p)));
}

void partners_write(struct daemon *d, const struct action *a)
{
	peers_send_all(d, a->send.to, ENVELOPE_MEMORY_WRITE, a->send.data, a->send.len);
}

void partners_ask(struct daemon *d, const struct action *a)
{
	uint8_t body[HELD_HEAD];
	struct held h = {.status_len = 0};

	memcpy(h.nonce, d->partners->nonce, sizeof(h.nonce));
	peers_send_all(d, a->send.to, ENVELOPE_MEMORY_ASK, body, held_encode(&h, body, sizeof(body)));
}

static void tell(struct daemon *d, uint16_t sender, struct held *h)
{
	uint8_t body[HELD_HEAD + STATUS_MAX];
	struct slot s;

	h->status_len = 0;
	if (d->partners->of[sender - 1].held &&
	    slot_decode(&s, d->partners->of[sender - 1].sector) == 0) {
		h->status = s.payload;
		h->status_len = s.payload_len;
	}
	peers_send_all(d, sender, ENVELOPE_MEMORY_HELD, body, held_encode(h, body, sizeof(body)));
}

static void told(struct daemon *d, uint16_t sender, const struct held *h, const char *from)
{
	struct event ev = {.type = EV_HELD};

	if (memcmp(h->nonce, d->partners->nonce, sizeof(h->nonce)) != 0) {
		drops_note(d, DROP_WAY_MEMORY, DROP_REPLAYED, from);
		return;
	}
	ev.msg.from = sender;
	ev.msg.data = h->status;
	ev.msg.len = h->status_len;
	brain_event(d, &ev);
}

void partners_packet(struct daemon *d, uint16_t sender, uint16_t kind, const uint8_t *data,
		     size_t len, const char *from)
{
	bool known = false;
	struct held h;
	int rc = held_decode(&h, data, len);

	for (unsigned i = 0; i < d->node->peer_count; i++)
		known = known || d->node->peer[i].id == sender;
	if (rc || !known)
		drops_note(d, DROP_WAY_MEMORY, rc ? drop_reason(rc) : DROP_SENDER, from);
	else if (kind == ENVELOPE_MEMORY_ASK)
		tell(d, sender, &h);
	else
		told(d, sender, &h, from);
}

const uint8_t *partners_held(const struct daemon *d, unsigned node)
{
	return d->partners->of[node].held ? d->partners->of[node].sector : NULL;
}

static bool is_newer(const struct slot *a, const struct slot *b)
{
	return a->generation > b->generation ||
	       (a->generation == b->generation && a->sequence > b->sequence);
}

static void load(struct partner *p, int fd)
{
	struct slot best = {.node = 0}, s;

	for (unsigned i = 0; i < COPIES; i++) {
		if (pread(fd, p->out, SLOT_SIZE, (off_t)offset_of(p->node, i)) != SLOT_SIZE ||
		    slot_decode(&s, p->out) != 0 || s.node != p->node + 1 ||
		    (p->held && !is_newer(&s, &best)))
			continue;
		p->held = true;
		best = s;
		p->turn = i;
		memcpy(p->sector, p->out, SLOT_SIZE);
	}
}

int partners_open(struct daemon *d, char *err, size_t err_size)
{
	struct partners *all = mem_zalloc(1, sizeof(*all));
	char path[PATH_TEXT_MAX + 16];
	int rc;

	snprintf(path, sizeof(path), "%s/partners", d->state_dir);
	all->fd = open(path, O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC, 0600);
	if (all->fd < 0) {
		snprintf(err, err_size, "%s: cannot be opened: %s", path, strerror(errno));
		free(all);
		return EXIT_FULL;
	}
	rc = posix_fallocate(all->fd, 0, (off_t)offset_of(NODE_NODES_MAX, 0));
	if (rc) {
		snprintf(err, err_size, "%s: no room for %llu bytes: %s; make room there", path,
			 (unsigned long long)offset_of(NODE_NODES_MAX, 0), strerror(rc));
		close(all->fd);
		free(all);
		return EXIT_FULL;
	}
	randombytes_buf(all->nonce, sizeof(all->nonce));
	for (unsigned i = 0; i < NODE_NODES_MAX; i++) {
		struct partner *p = &all->of[i];

		*p = (struct partner){.d = d, .node = i, .op.done = on_kept};
		p->out = mem_aligned(SLOT_SIZE, SLOT_SIZE);
		load(p, all->fd);
	}
	d->partners = all;
	return 0;
}
