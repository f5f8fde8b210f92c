/* device.c - coordination devices, and the node's persistent memory.
 *
 * A write reaches the medium at some moment between its begin and its completion; a read that
 * overlaps it returns the old or the new sector.  A machine that loses power leaves a write in
 * flight done, not done, or torn. */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "codec/slot.h"

static uint64_t latency(struct sim *s, unsigned d)
{
	const struct device *dev = &s->device[d];
	uint64_t ns = between(s, 100 * US, 2 * MS);

	if (dev->slow)
		ns += below(s, dev->slow * MS);
	if (dev->hang)
		ns += between(s, 500 * MS, 4 * SECOND);
	return ns;
}

static bool reach(const struct sim *s, unsigned d, unsigned host)
{
	return !s->device[d].bad && !s->device[d].cut[host];
}

/* ---- writing -------------------------------------------------------------------------------- */

static void land(struct sim *s, struct sim_item *it)
{
	struct sector *sec = &s->device[it->x].sector[it->host];
	uint8_t *now = s->device[it->x].now[it->host];
	const struct host *h = &s->host[it->host];
	bool orphan = h->kernel != it->a;

	sec->pending--;
	if (!reach(s, it->x, it->host) || (orphan && chance(s, 500)))
		return;
	memcpy(sec->before, now, SLOT_SIZE);
	sec->before_blank = sec->blank;
	memcpy(now, it->data, SLOT_SIZE);
	sec->blank = false;
	sec->torn = orphan ? chance(s, 300) : s->device[it->x].torn && chance(s, 300);
	if (sec->torn) {
		memset(now + 512 * between(s, 1, 7), 0x5a, 64);
		mark(orphan ? "sim.torn_slot" : "sim.torn_write");
	}
	sec->landed_ns = s->now_ns;
	if (!orphan && !sec->torn) /* a late one, perhaps torn, is no sign of life */
		sec->landings[sec->landing++ % SIM_LANDINGS] = s->now_ns;
}

static void written(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	if (!reach(s, it->x, it->host) || s->device[it->x].sector[it->host].torn)
		it->ev.err = -EIO;
	if (it->ev.err == 0 && it->y && chance(s, s->step_fail))
		it->ev.err = -EIO; /* it is on the medium all the same */
	if (it->ev.err == 0)
		h->seen[it->x].write_ns = it->b;
	host_step(s, h, &it->ev);
}

void device_write(struct sim *s, struct host *h, const struct action *a)
{
	unsigned d = a->slot.device;
	uint64_t ns = latency(s, d);
	struct sim_item *it;
	struct slot slot;

	if (d >= s->device_count)
		sim_fail(s, "interface", "n%u writes coordination device %u", h->at + 1, d);
	it = queue_put(s, ns / 4 + below(s, ns / 2), land);
	it->host = h->at;
	it->x = d;
	it->a = h->kernel;
	it->data = mem_alloc(SLOT_SIZE);
	memcpy(it->data, a->slot.sector, SLOT_SIZE);
	slot_finish(it->data);
	s->device[d].sector[h->at].pending++;
	if (slot_parse(&slot, it->data) != 0)
		sim_fail(s, "interface", "n%u: a slot that cannot be decoded", h->at + 1);
	check_status(s, h, slot.payload, slot.payload_len);
	it = completion(s, h, a, EV_SLOT_WRITTEN, ns);
	it->fn = written;
	it->x = d;
	it->y = 1;
	it->b = s->now_ns;
	it->ev.err = reach(s, d, h->at) ? 0 : -EIO;
}

/* ---- reading -------------------------------------------------------------------------------- */

_Static_assert(SIM_NODES == NODE_NODES_MAX, "a device's sectors are what a read returns");

struct slots {
	uint8_t sector[NODE_NODES_MAX][SLOT_SIZE];
};

/* What an answer carries: the device's own memory, for the moments in which it is under way (which
 * is as if it had been read that much later), or a copy. */
static void deliver_slots(struct sim *s, struct sim_item *it)
{
	const struct slots *copy = it->data;
	struct host *h = &s->host[it->host];

	for (unsigned i = 0; i < s->node_count && !copy; i++)
		if (s->device[it->x].sector[i].torn && it->ev.slots.err[i] == 0)
			it->ev.slots.err[i] = -EBADMSG;
	if (it->ev.err == 0) {
		it->ev.slots.sector = copy ? copy->sector
					   : (const uint8_t(*)[SLOT_SIZE])s->device[it->x].now;
		if (it->b > h->seen[it->x].read_ns)
			h->seen[it->x].read_ns = it->b;
	}
	host_step(s, h, &it->ev);
}

static struct slots *copy_slots(struct sim *s, struct sim_item *it)
{
	if (!it->data) {
		it->data = mem_alloc(sizeof(struct slots));
		for (unsigned i = 0; i < s->node_count; i++)
			memcpy(((struct slots *)it->data)->sector[i], s->device[it->x].now[i],
			       SLOT_SIZE);
	}
	return it->data;
}

void device_keep_read(struct sim *s, struct sim_item *it)
{
	if (it->fn == deliver_slots && it->ev.err == 0)
		copy_slots(s, it);
}

/* A stale sector is what was there before the last write, up to T after that one landed; the next
 * read may bring the new one and the one after that the old one again. */
static bool stale(struct sim *s, const struct device *dev, const struct sector *sec)
{
	if (!dev->stale || !sec->landed_ns ||
	    sec->landed_ns + 2 * s->conf.times.slot_write_ns < s->now_ns || !chance(s, 600))
		return false;
	mark("sim.stale_sector");
	return true;
}

static int sector_seen(struct sim *s, struct sim_item *to, unsigned node)
{
	const struct device *dev = &s->device[to->x];
	const struct sector *sec = &dev->sector[node];
	bool overlaps = sec->landed_ns >= to->b && sec->landed_ns;

	if ((overlaps && chance(s, 400)) || stale(s, dev, sec)) {
		memcpy(copy_slots(s, to)->sector[node], sec->before, SLOT_SIZE);
		return sec->before_blank ? -ENODATA : slot_intact(sec->before) ? 0 : -EBADMSG;
	}
	if (sec->blank)
		return -ENODATA;
	/* Caught in the middle; a write that does not reach the device spoils nothing. */
	if (sec->torn || (sec->pending && chance(s, 3) && reach(s, to->x, node)))
		return -EBADMSG;
	return 0;
}

/* The device answers: from here on what it said is on its way. */
static void sample(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];
	struct sim_item *to;

	if (h->kernel != it->instance)
		return;
	to = queue_put(s, between(s, 10 * US, 100 * US), deliver_slots);
	to->bound = BOUND_PROCESS;
	to->host = it->host;
	to->instance = it->a;
	to->ev = it->ev;
	to->x = it->x;
	to->b = it->b;
	if (!h->recalls &&
	    (!reach(s, it->x, it->host) || s->device[it->x].deaf[it->host])) {
		to->ev.err = -EIO;
		return;
	}
	for (unsigned i = 0; i < NODE_NODES_MAX; i++)
		to->ev.slots.err[i] = i < s->node_count ? sector_seen(s, to, i) : -ENODATA;
}

void device_read(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it;

	if (a->slot.device >= s->device_count)
		sim_fail(s, "interface", "n%u reads coordination device %u", h->at + 1,
			 a->slot.device);
	/* Who recalls an old image has only its slots to correct it. */
	it = completion(s, h, a, EV_SLOT_READ,
			h->recalls ? between(s, 100 * US, 2 * MS) : latency(s, a->slot.device));
	it->fn = sample;
	it->bound = BOUND_WORLD;
	it->a = it->instance;
	it->instance = h->kernel;
	it->x = a->slot.device;
	it->b = s->now_ns;
	it->ev.slots.device = a->slot.device;
}

/* ---- persistent memory ---------------------------------------------------------------------- */

static void persisted(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	if (h->memory_bad) {
		it->ev.err = -EIO;
	} else {
		memcpy(h->persist, it->data, SLOT_SIZE);
		h->persist_valid = true;
	}
	host_step(s, h, &it->ev);
}

void device_persist(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it = completion(s, h, a, EV_PERSISTED, between(s, MS, 8 * MS));

	it->fn = persisted;
	it->data = mem_alloc(SLOT_SIZE);
	memcpy(it->data, a->slot.sector, SLOT_SIZE);
	slot_finish(it->data);
}

static void kept(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	memcpy(h->mem[it->x], it->data, SLOT_SIZE);
	h->mem_valid[it->x] = true;
	host_step(s, h, &it->ev);
}

void device_keep(struct sim *s, struct host *h, const struct action *a)
{
	struct sim_item *it = completion(s, h, a, EV_KEPT, between(s, MS, 8 * MS));

	it->fn = kept;
	it->x = a->slot.device - 1;
	it->data = mem_alloc(SLOT_SIZE);
	memcpy(it->data, a->slot.sector, SLOT_SIZE);
	slot_finish(it->data);
}
