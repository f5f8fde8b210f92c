/* net.c - network paths between nodes.  What arrives was sent: content is authentic by
 * construction, so what a network can do is lose, delay, repeat and reorder, and bring back old
 * messages, also those of an earlier instance. */
#include "sim.h"

#include <string.h>

#include "base/mem.h"

static void arrive(struct sim *s, struct sim_item *it)
{
	struct host *h = &s->host[it->host];

	it->ev.msg.data = it->data;
	it->ev.msg.len = it->len;
	host_step(s, h, &it->ev);
}

static struct sim_item *packet(struct sim *s, unsigned from, unsigned to, unsigned path,
			       const uint8_t *data, size_t len, uint64_t delay_ns)
{
	struct sim_item *it = queue_put(s, delay_ns, arrive);

	it->bound = BOUND_PROCESS; /* of any instance: the address is what counts */
	it->host = to;
	it->ev.type = EV_MSG;
	it->ev.msg.from = (uint16_t)(from + 1);
	it->ev.msg.path = path;
	it->data = mem_alloc(len ? len : 1);
	if (len)
		memcpy(it->data, data, len);
	it->len = len;
	return it;
}

static void remember(struct sim *s, struct link *l, unsigned from, unsigned to, unsigned path,
		     const struct action *a)
{
	if (l->memory && !chance(s, 5))
		return;
	if (l->memory)
		queue_free(s, l->memory);
	/* A packet that nobody queued: taken out of the heap's hands at once. */
	l->memory = mem_zalloc(1, sizeof(*l->memory));
	l->memory->x = from;
	l->memory->y = to;
	l->memory->a = path;
	l->memory->data = mem_alloc(a->send.len);
	memcpy(l->memory->data, a->send.data, a->send.len);
	l->memory->len = a->send.len;
}

static uint64_t latency(struct sim *s, const struct link *l)
{
	uint64_t ns = between(s, 60 * US, 400 * US);

	if (chance(s, 10))
		ns += below(s, 4 * MS);
	if (l->slow)
		ns += below(s, l->slow * MS);
	return ns;
}

void net_send(struct sim *s, struct host *h, const struct action *a)
{
	unsigned to = a->send.to - 1U, path = a->send.path;
	struct link *l;

	if (a->send.to == 0 || to >= s->node_count || path >= s->path_count || to == h->at)
		sim_fail(s, "interface", "n%u sends to node %u on path %u", h->at + 1, a->send.to,
			 path);
	if (path == 0)
		check_status(s, h, a->send.data, a->send.len);
	l = &s->link[h->at][to][path];
	remember(s, l, h->at, to, path, a);
	if (l->cut || chance(s, l->loss))
		return;
	packet(s, h->at, to, path, a->send.data, a->send.len, latency(s, l));
	if (chance(s, l->dup))
		packet(s, h->at, to, path, a->send.data, a->send.len, latency(s, l));
}

/* An attacker or a confused switch brings back an old message, a few times. */
void net_replay(struct sim *s)
{
	unsigned from = (unsigned)below(s, s->node_count), to = (unsigned)below(s, s->node_count);
	const struct sim_item *m = s->link[from][to][below(s, s->path_count)].memory;

	for (unsigned i = 0; m && i < 5; i++)
		packet(s, from, to, (unsigned)m->a, m->data, m->len, i * between(s, MS, 90 * MS));
}

/* ---- the remote-write agent: path 1 is the interconnect ------------------------------------- */

void net_memory_write(struct sim *s, struct host *h, const struct action *a)
{
	unsigned to = a->send.to - 1U;
	struct link *l = &s->link[h->at][to][1];

	if (l->cut || chance(s, l->loss))
		return;
	packet(s, h->at, to, NODE_PATH_MEMORY, a->send.data, a->send.len, latency(s, l));
}

/* Answered by the partner's process from what it holds on disk. */
static void asked(struct sim *s, struct sim_item *it)
{
	const struct host *h = &s->host[it->host];
	unsigned from = it->x;
	struct link *l = &s->link[it->host][from][1];
	struct slot held = {.payload = NULL};
	struct sim_item *tell;

	if (l->cut || chance(s, l->loss))
		return;
	if (h->mem_valid[from] && slot_decode(&held, h->mem[from]) != 0)
		sim_fail(s, "interface", "n%u keeps a broken sector", it->host + 1);
	tell = packet(s, it->host, from, 1, held.payload, held.payload_len, latency(s, l));
	tell->ev.type = EV_HELD;
}

void net_memory_ask(struct sim *s, struct host *h, const struct action *a)
{
	unsigned to = a->send.to - 1U;
	struct link *l = &s->link[h->at][to][1];
	struct sim_item *it;

	if (l->cut || chance(s, l->loss))
		return;
	it = queue_put(s, latency(s, l), asked);
	it->bound = BOUND_PROCESS;
	it->host = to;
	it->x = h->at;
}
