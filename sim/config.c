/* config.c - the configuration's own model: nodes that run core/chosen.c over devices that fail.
 *
 *	holdfast-sim --config --seeds A-B [--trace]
 *
 * Two to five nodes, one to three of four devices.  Devices are slow, hang, fail with and without
 * having written, tear the sector or the text they were writing; nodes lose power (what was in flight
 * lands, tears or vanishes), restart with or without what they remembered, pause and go on; operators
 * on any nodes propose at once, also to add and remove devices.  After a minute all is healed.
 *
 * Checkers: one value a version, and each names the one before; what was acknowledged is never lost
 * and what was refused is never chosen; nobody adopts a text it does not have or goes back; when all
 * is well every node has the same version soon, and a new one can be chosen. */
#include "sim.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "core/chosen.h"

#define NODES	    5
#define DEVICES	    4
#define VALUES	    4096
#define VERSIONS    4096
#define FAULTS_END  (60 * SECOND)
#define HEAL_BOUND  (60 * SECOND)
#define HEALED_END  (FAULTS_END + HEAL_BOUND)
#define CHOOSE_BOUND (60 * SECOND)

enum copy_state { COPY_BLANK, COPY_WHOLE, COPY_TORN };

struct medium {
	struct {
		enum copy_state state[BLOCK_COPIES];
		struct block copy[BLOCK_COPIES];
		bool text_whole[BLOCK_PLACES];
		uint64_t text[BLOCK_PLACES];
	} node[BLOCK_NODES];
	bool cut[NODES];
	unsigned fail, slow_ms;
};

struct member {
	bool up;
	uint64_t instance, paused_until_ns, tick;
	struct chosen c;
	struct block_value kept; /* what it remembers over a restart */
	unsigned device_count;
	unsigned device[CHOSEN_DEVICES_MAX]; /* physical */
	bool has[VALUES];		     /* texts in memory */
	uint32_t asked;			     /* id of the proposal under way, 0 none */
};

enum kind { K_TICK, K_LAND, K_SAMPLE, K_DONE, K_FAULT, K_OPERATOR, K_BOOT };

struct item {
	uint64_t at_ns, order;
	enum kind kind;
	unsigned node, device; /* device: physical */
	uint64_t instance;
	struct chosen_action a;
	int err;
	struct chosen_seen seen[BLOCK_NODES];
};

/* What a proposal says; its number is its hash. */
struct proposal {
	struct block_value value;
	uint8_t devices; /* bits */
	int fate;	 /* 0 open, 1 acknowledged, -1 refused for certain */
};

static struct world {
	uint64_t seed, now_ns, order, hash;
	struct sim_prng rng;
	struct item **heap;
	size_t count, room;
	struct medium medium[DEVICES];
	struct member member[NODES];
	unsigned nodes;
	uint8_t first_devices;
	unsigned values;
	struct proposal value[VALUES];
	uint64_t chosen[VERSIONS]; /* value by version; 0 none */
	uint64_t last, acknowledged, refused, unsure;
	bool trace, quiet, healed;
} *w;

static uint64_t all_chosen, all_acknowledged, all_refused, all_unsure;

/* ---- small things --------------------------------------------------------------------------- */

static uint64_t pick(uint64_t n)
{
	return n ? prng_next(&w->rng) % n : 0;
}

static bool likely(unsigned permille)
{
	return pick(1000) < permille;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *fmt, ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("%10.3f ", (double)w->now_ns / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

__attribute__((format(printf, 1, 2))) static _Noreturn void wrong(const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu at %.3f ms: ", (unsigned long long)w->seed, (double)w->now_ns / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nagain with: holdfast-sim --config --seeds %llu-%llu --trace\n",
	       (unsigned long long)w->seed, (unsigned long long)w->seed);
	exit(1);
}

static void on_abort(int sig)
{
	(void)sig;
	printf("seed %llu: assertion, see above\n", (unsigned long long)w->seed);
	fflush(stdout);
	_exit(1);
}

static bool before(const struct item *a, const struct item *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put_back(struct item *it)
{
	size_t i;

	if (w->count == w->room) {
		w->room = w->room ? 2 * w->room : 256;
		w->heap = mem_realloc(w->heap, w->room * sizeof(*w->heap));
	}
	it->order = w->order++;
	for (i = w->count++; i > 0 && before(it, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = it;
}

static struct item *put(uint64_t delay_ns, enum kind kind, unsigned node)
{
	struct item *it = mem_zalloc(1, sizeof(*it));

	it->at_ns = w->now_ns + delay_ns;
	it->kind = kind;
	it->node = node;
	it->instance = w->member[node].instance;
	put_back(it);
	return it;
}

static struct item *take(void)
{
	struct item *top = w->heap[0], *last = w->heap[--w->count];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->count)
			break;
		if (child + 1 < w->count && before(w->heap[child + 1], w->heap[child]))
			child++;
		if (!before(w->heap[child], last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

static uint64_t number_of(const struct block_value *v)
{
	uint64_t n;

	memcpy(&n, v->hash, sizeof(n));
	return n;
}

static uint64_t before_of(const struct block_value *v)
{
	uint64_t n;

	memcpy(&n, v->prev, sizeof(n));
	return n;
}

/* ---- checkers ------------------------------------------------------------------------------- */

static void check_chosen(const struct block_value *v, unsigned node)
{
	uint64_t n = number_of(v), *slot;

	if (v->version == 0 || v->version >= VERSIONS || n == 0 || n > w->values)
		wrong("n%u: a value that nobody proposed", node + 1);
	slot = &w->chosen[v->version];
	if (*slot && *slot != n)
		wrong("n%u: version %llu is value %llu, and value %llu was chosen for it", node + 1,
		      (unsigned long long)v->version, (unsigned long long)n,
		      (unsigned long long)*slot);
	if (w->value[n].fate < 0)
		wrong("n%u: value %llu was refused, and is chosen", node + 1,
		      (unsigned long long)n);
	if (w->chosen[v->version - 1] != before_of(v))
		wrong("n%u: version %llu does not follow version %llu", node + 1,
		      (unsigned long long)v->version, (unsigned long long)v->version - 1);
	*slot = n;
	if (v->version > w->last)
		w->last = v->version;
}

static void check_reply(const struct chosen_action *a, unsigned node)
{
	struct proposal *p = &w->value[number_of(&a->value)];

	w->member[node].asked = 0;
	tell("n%u reply value %llu version %llu: %s", node + 1,
	     (unsigned long long)number_of(&a->value), (unsigned long long)a->value.version,
	     a->err ? strerror(-a->err) : "chosen");
	if (a->err == 0) {
		p->fate = 1;
		w->acknowledged++;
		check_chosen(&a->value, node);
	} else if (a->err == -EINPROGRESS) {
		w->unsure++;
	} else if (a->err == -EUCLEAN) {
		wrong("n%u: forked", node + 1);
	} else {
		if (w->chosen[p->value.version] == number_of(&a->value))
			wrong("n%u: a chosen value is refused", node + 1);
		p->fate = -1;
		w->refused++;
	}
}

/* ---- devices -------------------------------------------------------------------------------- */

static uint64_t latency(const struct medium *m)
{
	uint64_t ns = 200 * US + pick(4 * MS);

	if (m->slow_ms && likely(300))
		ns += pick(m->slow_ms * MS);
	return ns;
}

static void spoil(struct medium *m, const struct item *it, bool whole)
{
	const struct chosen_action *a = &it->a;
	unsigned n = it->node, copy = (unsigned)(a->block.write_count & 1);

	if (a->type == CHOSEN_ACT_TEXT) {
		m->node[n].text_whole[a->place] = whole;
		m->node[n].text[a->place] = whole ? number_of(&a->value) : 0;
		return;
	}
	m->node[n].state[copy] = whole ? COPY_WHOLE : COPY_TORN;
	m->node[n].copy[copy] = a->block;
}

/* The write reaches the medium; the kernel's, so a pause does not hold it up. */
static void land(struct item *it)
{
	struct medium *m = &w->medium[it->device];
	struct item *done;

	if (it->instance != w->member[it->node].instance)
		return; /* decided when the power went */
	if (m->cut[it->node] || likely(m->fail)) {
		it->err = -EIO;
		if (likely(500))
			spoil(m, it, likely(500));
	} else {
		spoil(m, it, true);
	}
	done = put(latency(m) / 4, K_DONE, it->node);
	done->a = it->a;
	done->err = it->err;
}

static void sample_node(const struct medium *m, unsigned n, struct chosen_seen *to)
{
	int err[BLOCK_COPIES], at;

	for (unsigned i = 0; i < BLOCK_COPIES; i++) {
		err[i] = m->node[n].state[i] == COPY_WHOLE ? 0 :
			 m->node[n].state[i] == COPY_BLANK ? -ENODATA : -EBADMSG;
		for (size_t k = 0; k < w->count && err[i] == 0; k++) {
			const struct item *p = w->heap[k];

			if (p->kind == K_LAND && p->node == n && p->a.type == CHOSEN_ACT_BLOCK &&
			    m == &w->medium[p->device] && (p->a.block.write_count & 1) == i &&
			    likely(150))
				err[i] = -EBADMSG; /* caught in the middle */
		}
	}
	memset(to, 0, sizeof(*to));
	at = block_newest(m->node[n].copy, err);
	to->damaged = at == -EBADMSG;
	if (at >= 0)
		to->block = m->node[n].copy[at];
}

/* Sectors are read one after the other: some now, the rest at the second time. */
static bool sample(struct item *it)
{
	const struct medium *m = &w->medium[it->device];
	bool second = it->err == 1;

	if (it->instance != w->member[it->node].instance)
		return false;
	for (unsigned n = 0; n < BLOCK_NODES; n++)
		if ((n + it->a.op) % 2 == second)
			sample_node(m, n, &it->seen[n]);
	if (!second) {
		it->err = 1;
		it->at_ns = w->now_ns + pick(3 * MS);
		put_back(it);
		return true;
	}
	it->err = m->cut[it->node] || likely(m->fail) ? -EIO : 0;
	it->kind = K_DONE;
	it->at_ns = w->now_ns + pick(MS);
	put_back(it);
	return true;
}

static void fetch(unsigned node, const struct chosen_action *a)
{
	struct member *me = &w->member[node];
	struct medium *m = &w->medium[me->device[a->device]];
	uint64_t n = number_of(&a->value);
	struct item *it = put(latency(m), K_DONE, node);

	it->a = *a;
	if (me->has[n])
		return;
	if (m->cut[node] || likely(m->fail))
		it->err = -EIO;
	else if (!m->node[a->node - 1].text_whole[a->place] ||
		 m->node[a->node - 1].text[a->place] != n)
		it->err = -EBADMSG;
	else
		me->has[n] = true;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void use_devices(struct member *me, uint8_t bits)
{
	me->device_count = 0;
	for (unsigned d = 0; d < DEVICES; d++)
		if (bits >> d & 1)
			me->device[me->device_count++] = d;
}

static uint8_t devices_of(const struct block_value *v)
{
	return v->version ? w->value[number_of(v)].devices : w->first_devices;
}

static void step(unsigned node, struct chosen_event *ev);

static void adopt(unsigned node, const struct block_value *v)
{
	struct member *me = &w->member[node];
	unsigned old[CHOSEN_DEVICES_MAX], count = me->device_count;
	int from[CHOSEN_DEVICES_MAX];

	tell("n%u adopts version %llu value %llu", node + 1, (unsigned long long)v->version,
	     (unsigned long long)number_of(v));
	if (v->version <= me->kept.version)
		wrong("n%u goes back from version %llu to %llu", node + 1,
		      (unsigned long long)me->kept.version, (unsigned long long)v->version);
	check_chosen(v, node);
	if (!me->has[number_of(v)])
		wrong("n%u adopts a text it does not have", node + 1);
	me->kept = *v;
	memcpy(old, me->device, sizeof(old));
	use_devices(me, devices_of(v));
	for (unsigned i = 0; i < me->device_count; i++) {
		from[i] = -1;
		for (unsigned k = 0; k < count; k++)
			if (old[k] == me->device[i])
				from[i] = (int)k;
	}
	chosen_members(&me->c, (uint8_t)((1U << w->nodes) - 1), me->device_count, from);
}

static void carry_out(unsigned node, const struct chosen_action *a)
{
	struct member *me = &w->member[node];
	struct item *it = NULL;

	switch (a->type) {
	case CHOSEN_ACT_READ:
		it = put(latency(&w->medium[me->device[a->device]]), K_SAMPLE, node);
		break;
	case CHOSEN_ACT_BLOCK:
	case CHOSEN_ACT_TEXT:
		it = put(latency(&w->medium[me->device[a->device]]), K_LAND, node);
		break;
	case CHOSEN_ACT_FETCH:
		fetch(node, a);
		return;
	case CHOSEN_ACT_ADOPT:
		adopt(node, &a->value);
		return;
	case CHOSEN_ACT_REPLY:
		check_reply(a, node);
		return;
	}
	it->a = *a;
	it->device = me->device[a->device];
	/* A text of many sectors is spoilt from the first on. */
	if (a->type == CHOSEN_ACT_TEXT && likely(500))
		spoil(&w->medium[it->device], it, false);
}

static void step(unsigned node, struct chosen_event *ev)
{
	static struct chosen_actions out;
	struct member *me = &w->member[node];
	uint64_t at;

	ev->now_ns = w->now_ns;
	chosen_step(&me->c, ev, &out);
	chosen_check(&me->c);
	w->hash = (w->hash ^ w->now_ns ^ out.count ^ (uint64_t)me->c.phase << 32) *
		  0x100000001b3ULL;
	for (unsigned i = 0; i < out.count; i++)
		carry_out(node, &out.a[i]);
	at = chosen_deadline_ns(&me->c);
	me->tick++;
	if (at != UINT64_MAX)
		put(at > w->now_ns ? at - w->now_ns : 1, K_TICK, node)->a.op = me->tick;
}

static void boot(unsigned node)
{
	struct member *me = &w->member[node];
	struct chosen_conf conf = {.self = (uint16_t)(node + 1),
				   .members = (uint8_t)((1U << w->nodes) - 1),
				   .poll_ns = SECOND,
				   .retry_ns = 100 * MS,
				   .nudge_ns = 2 * SECOND,
				   .give_up_ns = 5 * SECOND};
	struct chosen_event ev = {.type = CHOSEN_EV_TICK};

	if (me->up)
		return;
	me->up = true;
	me->instance++;
	me->asked = 0;
	memset(me->has, 0, sizeof(me->has));
	if (likely(50)) /* the state folder is new */
		memset(&me->kept, 0, sizeof(me->kept));
	else if (me->kept.version)
		me->has[number_of(&me->kept)] = true;
	/* Without it the file counts, which is the latest or the one before: an older one may name only
	 * devices that were removed, and then the node says that it is behind and waits. */
	if (me->kept.version == 0 && w->healed)
		use_devices(me, w->value[w->chosen[w->last]].devices);
	else if (me->kept.version == 0 && w->last > 1)
		use_devices(me, w->value[w->chosen[w->last - pick(2)]].devices);
	else
		use_devices(me, devices_of(&me->kept));
	conf.device_count = me->device_count;
	tell("n%u boots with version %llu", node + 1, (unsigned long long)me->kept.version);
	chosen_init(&me->c, &conf, &me->kept, w->now_ns);
	step(node, &ev);
}

static void power_off(unsigned node)
{
	struct member *me = &w->member[node];

	tell("n%u loses power", node + 1);
	for (size_t i = 0; i < w->count; i++) {
		const struct item *it = w->heap[i];

		if (it->kind != K_LAND || it->node != node || it->instance != me->instance ||
		    likely(333))
			continue;
		spoil(&w->medium[it->device], it, likely(500));
	}
	me->up = false;
	me->paused_until_ns = 0;
	me->instance++;
	put(pick(5 * SECOND), K_BOOT, node);
}

/* ---- operators and faults ------------------------------------------------------------------- */

static uint8_t other_devices(uint8_t now)
{
	uint8_t to = (uint8_t)(now ^ 1U << pick(DEVICES)); /* one at a time */
	int count = __builtin_popcount(to);

	return count >= 1 && count <= CHOSEN_DEVICES_MAX ? to : now;
}

static void propose(unsigned node)
{
	struct member *me = &w->member[node];
	struct chosen_event ev = {.type = CHOSEN_EV_PROPOSE};
	struct proposal *p;
	uint64_t n;

	if (!me->up || me->paused_until_ns > w->now_ns || me->asked || w->values + 2 >= VALUES)
		return;
	n = ++w->values;
	p = &w->value[n];
	p->value.version = me->c.mine.committed.version + 1;
	p->value.author = (uint16_t)(node + 1);
	p->value.len = (uint32_t)(1 + pick(BLOCK_TEXT_MAX));
	memcpy(p->value.hash, &n, sizeof(n));
	memcpy(p->value.prev, me->c.mine.committed.hash, BLOCK_HASH_LEN);
	p->devices = devices_of(&me->c.mine.committed);
	if (likely(250))
		p->devices = other_devices(p->devices);
	me->has[n] = true;
	me->asked = (uint32_t)n;
	ev.id = (uint32_t)n;
	ev.value = p->value;
	tell("n%u proposes value %llu as version %llu, devices %x", node + 1,
	     (unsigned long long)n, (unsigned long long)p->value.version, p->devices);
	step(node, &ev);
}

static void operators(void)
{
	unsigned count = likely(400) ? 2 : 1;

	if (w->now_ns > FAULTS_END)
		return;
	for (unsigned i = 0; i < count; i++)
		propose((unsigned)pick(w->nodes));
	put(50 * MS + pick(3 * SECOND), K_OPERATOR, 0);
}

static void fault(void)
{
	unsigned node = (unsigned)pick(w->nodes);
	struct medium *m = &w->medium[pick(DEVICES)];
	struct member *me = &w->member[node];

	if (w->now_ns > FAULTS_END)
		return;
	switch (pick(8)) {
	case 0:
	case 1:
		if (me->up)
			power_off(node);
		break;
	case 2:
		if (me->up) {
			me->paused_until_ns = w->now_ns + pick(8 * SECOND);
			tell("n%u pauses until %.3f", node + 1, (double)me->paused_until_ns / 1e6);
		}
		break;
	case 3:
		m->cut[node] = !m->cut[node];
		break;
	case 4:
		m->fail = m->fail ? 0 : (unsigned)pick(600);
		break;
	case 5:
		m->slow_ms = m->slow_ms ? 0 : (unsigned)pick(4000);
		break;
	default:
		memset(m->cut, 0, sizeof(m->cut));
		m->fail = m->slow_ms = 0;
		break;
	}
	put(20 * MS + pick(w->quiet ? 8 * SECOND : 2 * SECOND), K_FAULT, 0);
}

static void heal(void)
{
	tell("healed");
	for (unsigned d = 0; d < DEVICES; d++) {
		memset(w->medium[d].cut, 0, sizeof(w->medium[d].cut));
		w->medium[d].fail = w->medium[d].slow_ms = 0;
	}
	for (unsigned i = 0; i < w->nodes; i++) {
		w->member[i].paused_until_ns = 0;
		boot(i);
	}
}

/* ---- a run ---------------------------------------------------------------------------------- */

static void deliver(struct item *it)
{
	struct chosen_event ev = {.op = it->a.op, .err = it->err, .seen = it->seen};

	ev.type = it->a.type == CHOSEN_ACT_READ	   ? CHOSEN_EV_READ :
		  it->a.type == CHOSEN_ACT_FETCH ? CHOSEN_EV_FETCHED :
						   CHOSEN_EV_WRITTEN;
	step(it->node, &ev);
	if (likely(5)) { /* the same once more */
		ev.now_ns = w->now_ns;
		step(it->node, &ev);
	}
}

/* True: the item lives on. */
static bool happen(struct item *it)
{
	struct member *me = &w->member[it->node];
	struct chosen_event ev = {.type = CHOSEN_EV_TICK};

	switch (it->kind) {
	case K_LAND:
		land(it);
		return false;
	case K_SAMPLE:
		return sample(it);
	case K_FAULT:
		fault();
		return false;
	case K_OPERATOR:
		operators();
		return false;
	case K_BOOT:
		boot(it->node);
		return false;
	case K_TICK:
	case K_DONE:
		break;
	}
	if (!me->up || it->instance != me->instance || (it->kind == K_TICK && it->a.op != me->tick))
		return false;
	if (me->paused_until_ns > w->now_ns) {
		it->at_ns = me->paused_until_ns;
		put_back(it);
		return true;
	}
	if (it->kind == K_TICK)
		step(it->node, &ev);
	else
		deliver(it);
	return false;
}

static bool settled(void)
{
	for (unsigned i = 0; i < w->nodes; i++) {
		const struct member *me = &w->member[i];

		if (!me->up || me->asked || me->kept.version != w->last ||
		    me->c.mine.committed.version != w->last)
			return false;
	}
	return true;
}

/* Runs until then, or until all nodes agree. */
static void run_until(uint64_t end_ns, bool until_settled)
{
	while (w->count && w->heap[0]->at_ns < end_ns && !(until_settled && settled())) {
		struct item *it = take();

		w->now_ns = it->at_ns;
		if (!happen(it))
			free(it);
	}
}

/* A node that missed so many versions that all its devices were removed needs the file. */
static void give_files(void)
{
	for (unsigned i = 0; i < w->nodes; i++) {
		struct member *me = &w->member[i];
		unsigned common = 0;

		for (unsigned d = 0; d < me->device_count && w->last; d++)
			common += w->value[w->chosen[w->last]].devices >> me->device[d] & 1;
		if (common || w->last == 0)
			continue;
		tell("n%u is given the present file", i + 1);
		me->up = false;
		memset(&me->kept, 0, sizeof(me->kept));
		boot(i);
	}
}

static void run_healed(void)
{
	uint64_t last;

	heal();
	/* Somebody may have to carry on what hangs: that comes before the count. */
	run_until(w->now_ns + 12 * SECOND, false);
	w->healed = true;
	give_files();
	run_until(HEALED_END, true);
	if (!settled())
		wrong("healed for %llu s, and the nodes do not agree on version %llu",
		      (unsigned long long)(HEAL_BOUND / SECOND), (unsigned long long)w->last);
	last = w->last;
	for (int i = 0; i < 10 && w->last == last; i++) {
		propose((unsigned)pick(w->nodes));
		run_until(w->now_ns + CHOOSE_BOUND / 10, true);
		if (!settled())
			run_until(w->now_ns + CHOOSE_BOUND / 10, true);
	}
	if (w->last == last || !settled())
		wrong("all is well, and no new version is chosen");
	for (uint64_t v = 1; v <= w->last; v++)
		if (w->chosen[v] == 0)
			wrong("version %llu was never seen chosen", (unsigned long long)v);
	for (unsigned n = 1; n <= w->values; n++)
		if (w->value[n].fate > 0 && w->chosen[w->value[n].value.version] != n)
			wrong("acknowledged value %u is lost", n);
}

static void run_seed(uint64_t seed, bool trace)
{
	static const uint8_t sets[] = {1, 3, 7, 7, 7, 11};

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->hash = seed;
	w->trace = trace;
	prng_seed(&w->rng, seed ^ 0x5eedc0f1);
	w->nodes = 2 + (unsigned)pick(NODES - 1);
	w->first_devices = sets[pick(sizeof(sets))];
	w->quiet = likely(400);
	for (unsigned i = 0; i < w->nodes; i++)
		put(pick(SECOND), K_BOOT, i);
	put(pick(SECOND), K_OPERATOR, 0);
	put(pick(3 * SECOND), K_FAULT, 0);
	run_until(FAULTS_END, false);
	w->now_ns = FAULTS_END;
	run_healed();
	while (w->count)
		free(take());
	free(w->heap);
	all_chosen += w->last;
	all_acknowledged += w->acknowledged;
	all_refused += w->refused;
	all_unsure += w->unsure;
}

static const char *const WANTED[] = {
	"chosen.started",  "chosen.propose",   "chosen.nudge",	 "chosen.chosen",
	"chosen.learned",  "chosen.carry_on",  "chosen.conflict",
	"chosen.own_accepted_read_back", "chosen.gave_up", "chosen.no_text",
};

int config_main(int argc, char **argv)
{
	uint64_t first = 1, last = 200, hash = 0;
	unsigned missing = 0;
	bool trace = false;

	for (int i = 1; i < argc; i++) {
		char *dash = NULL;

		if (strcmp(argv[i], "--trace") == 0) {
			trace = true;
		} else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
			first = strtoull(argv[++i], &dash, 10);
			last = *dash == '-' ? strtoull(dash + 1, NULL, 10) : first;
		} else {
			fputs("usage: holdfast-sim --config [--seeds A-B] [--trace]\n", stderr);
			return 2;
		}
	}
	w = mem_zalloc(1, sizeof(*w));
	signal(SIGABRT, on_abort);
	for (uint64_t seed = first; seed <= last; seed++) {
		run_seed(seed, trace);
		hash = (hash ^ w->hash) * 0x100000001b3ULL;
	}
	for (size_t i = 0; last - first >= 999 && i < sizeof(WANTED) / sizeof(WANTED[0]); i++)
		if (trace_mark_count(WANTED[i]) == 0) {
			printf("mark %s was never hit\n", WANTED[i]);
			missing++;
		}
	printf("config seeds=%llu-%llu hash=%016llx chosen=%llu acknowledged=%llu refused=%llu "
	       "unsure=%llu\n",
	       (unsigned long long)first, (unsigned long long)last, (unsigned long long)hash,
	       (unsigned long long)all_chosen, (unsigned long long)all_acknowledged,
	       (unsigned long long)all_refused, (unsigned long long)all_unsure);
	free(w);
	return missing ? 1 : 0;
}
