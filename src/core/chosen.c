/* chosen.c - Disk Paxos for the configuration (SAFETY V3); the story is in chosen.h.
 *
 * Why a version's text survives.  Who gets a value chosen has its text on a majority of the
 * devices, in a place that its block names first as accepted, then as committed; that place is
 * written again only after the block names a later version, which somebody else or another place
 * then has.  Before a text is written to a device, the block there is rewritten so that it does not
 * refer to the place (`before`): what is found by its block is always whole. */
#include "core/chosen.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/trace.h"

static const struct block_value NOTHING;

const char *chosen_phase_name(unsigned p)
{
	static const char *const names[] = {"",	      "starting", "idle",     "promise",
					    "fetch",  "accept",	  "learning", "forked"};

	return p < sizeof(names) / sizeof(names[0]) ? names[p] : "?";
}

bool chosen_same(const struct block_value *a, const struct block_value *b)
{
	return a->version == b->version && a->len == b->len &&
	       memcmp(a->hash, b->hash, sizeof(a->hash)) == 0 &&
	       memcmp(a->prev, b->prev, sizeof(a->prev)) == 0;
}

static unsigned majority(const struct chosen *c)
{
#ifdef HF_MUTANT_CHOSEN_ONE_DEVICE
	return c->conf.device_count ? 1 : 0;
#else
	return c->conf.device_count / 2 + 1;
#endif
}

unsigned chosen_devices_known(const struct chosen *c)
{
	unsigned count = 0;

	for (unsigned i = 0; i < c->conf.device_count; i++)
		count += c->device[i].known;
	return count;
}

/* ---- actions -------------------------------------------------------------------------------- */

static struct chosen_action *act(struct chosen *c, enum chosen_act_type type)
{
	struct chosen_action *a;

	hf_assert(c->out && c->out->count < CHOSEN_ACTIONS_MAX);
	a = &c->out->a[c->out->count++];
	memset(a, 0, sizeof(*a));
	a->type = type;
	return a;
}

static bool has_text(const struct chosen_device *dev, uint8_t place, const struct block_value *v)
{
	return place < BLOCK_PLACES && dev->has[place] &&
	       memcmp(dev->hash[place], v->hash, sizeof(v->hash)) == 0;
}

static struct chosen_action *begin(struct chosen *c, unsigned d, enum chosen_act_type type)
{
	struct chosen_device *dev = &c->device[d];
	struct chosen_action *a = act(c, type);

	hf_assert(dev->op == 0);
	dev->op = a->op = ++c->next_op;
	dev->doing = type;
	dev->round = c->round;
	a->device = d;
	return a;
}

static void begin_read(struct chosen *c, unsigned d)
{
	c->device[d].look = false;
	begin(c, d, CHOSEN_ACT_READ);
}

static void begin_block(struct chosen *c, unsigned d, const struct block *b)
{
	struct chosen_device *dev = &c->device[d];
	struct chosen_action *a = begin(c, d, CHOSEN_ACT_BLOCK);

	dev->writing = *b;
	dev->writing.node = c->conf.self;
	memcpy(dev->writing.cluster, c->conf.cluster, sizeof(dev->writing.cluster));
	dev->writing.write_count = dev->mine.write_count + 1;
	hf_assert(dev->known && dev->mine.committed.version <= b->committed.version);
	if (!has_text(dev, b->committed_place, &b->committed))
		dev->writing.committed_place = BLOCK_NO_PLACE;
	/* Nothing is accepted on a device before its text is there; what it said before stands. */
	if (b->accepted && !has_text(dev, b->value_place, &b->value)) {
		bool said = dev->mine.accepted &&
			    dev->mine.committed.version == b->committed.version;

		dev->writing.accepted = said ? dev->mine.accepted : 0;
		dev->writing.value = said ? dev->mine.value : NOTHING;
		dev->writing.value_place = said ? dev->mine.value_place : BLOCK_NO_PLACE;
	}
	a->block = dev->writing;
}

static void begin_text(struct chosen *c, unsigned d, uint8_t place, const struct block_value *v)
{
	struct chosen_device *dev = &c->device[d];
	struct chosen_action *a = begin(c, d, CHOSEN_ACT_TEXT);

	a->place = dev->writing_place = place;
	a->value = dev->writing_text = *v;
	dev->has[a->place] = false;
}

static void reply(struct chosen *c, int err)
{
	struct chosen_action *a;

	if (!c->proposing)
		return;
	a = act(c, CHOSEN_ACT_REPLY);
	a->id = c->id;
	a->err = err;
	a->value = c->proposal;
	c->proposing = c->offered = false;
}

/* ---- what was found ------------------------------------------------------------------------- */

static void found_clear(struct chosen_found *f)
{
	memset(f, 0, sizeof(*f));
}

static void found_at(struct chosen_found *f, unsigned device, uint16_t node, uint8_t place)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->source[i].device == device && f->source[i].node == node &&
		    f->source[i].place == place)
			return;
	if (place >= BLOCK_PLACES || f->count == CHOSEN_DEVICES_MAX * BLOCK_NODES)
		return;
	f->source[f->count].device = device;
	f->source[f->count].node = node;
	f->source[f->count++].place = place;
}

/* The value with the highest ballot, and every place that has it. */
static void pick(struct chosen *c, const struct block *b, unsigned device)
{
	struct chosen_found *f = &c->pick;

	if (b->accepted < f->ballot || b->accepted == 0)
		return;
	if (b->accepted > f->ballot) {
		found_clear(f);
		f->ballot = b->accepted;
		f->value = b->value;
	}
	if (chosen_same(&f->value, &b->value))
		found_at(f, device, b->node, b->value_place);
}

/* A version beyond mine that somebody knows chosen. */
static void learn(struct chosen *c, const struct block *b)
{
	struct chosen_found *f = &c->learn;

	if (b->committed.version <= c->mine.committed.version)
		return;
	if (b->committed.version > c->behind)
		c->behind = b->committed.version;
	if (b->committed.version > f->value.version) {
		found_clear(f);
		f->value = b->committed;
	}
}

/* In a second round over the same blocks: where the text is. */
static void learn_where(struct chosen *c, const struct block *b, unsigned device)
{
	struct chosen_found *f = &c->learn;

	if (f->value.version == 0)
		return;
	if (chosen_same(&b->committed, &f->value))
		found_at(f, device, b->node, b->committed_place);
	if (b->accepted && chosen_same(&b->value, &f->value))
		found_at(f, device, b->node, b->value_place);
}

/* ---- a version is chosen -------------------------------------------------------------------- */

static bool ahead(const struct chosen *c, const struct block_value *v)
{
	return v->version == c->mine.committed.version + 1 &&
	       memcmp(v->prev, c->mine.committed.hash, sizeof(v->prev)) == 0;
}

/* What became of my proposal when `v` is chosen. */
static void answer(struct chosen *c, const struct block_value *v)
{
	const struct block_value *p = &c->proposal;

	if (!c->proposing || v->version < p->version)
		return;
	if (chosen_same(v, p))
		reply(c, 0);
	else if (v->version == p->version)
		reply(c, -ESTALE);
	else if (v->version == p->version + 1)
		reply(c, memcmp(v->prev, p->hash, sizeof(p->hash)) == 0 ? 0 : -ESTALE);
	else
		reply(c, c->offered ? -EINPROGRESS : -ESTALE);
}

static void recall(struct chosen *c, const struct chosen_device *dev);

static void adopt(struct chosen *c, const struct block_value *v)
{
	uint8_t place = BLOCK_NO_PLACE;
	struct chosen_action *a;

	hf_assert(v->version > c->mine.committed.version);
	if (c->mine.accepted && chosen_same(&c->mine.value, v))
		place = c->mine.value_place;
	if (c->phase == CHOSEN_LEARN)
		HF_MARK("chosen.learned");
	else
		HF_MARK("chosen.chosen");
	c->mine.committed = *v;
	c->mine.committed_place = place;
	c->mine.promised = c->mine.accepted = 0;
	c->mine.value = NOTHING;
	c->mine.value_place = BLOCK_NO_PLACE;
	c->ballot_seen = 0;
	c->tries = 0;
	c->hanging_since_ns = 0;
	found_clear(&c->learn);
	found_clear(&c->pick);
	c->phase = CHOSEN_IDLE;
	c->round++;
	c->fetch_op = 0;
	c->adopted = true;
	/* Who learns may have been further once: before a start that lost its memory. */
#ifndef HF_MUTANT_CHOSEN_LEARNS_AND_FORGETS
	for (unsigned i = 0; i < c->conf.device_count; i++)
		recall(c, &c->device[i]);
#endif
	a = act(c, CHOSEN_ACT_ADOPT);
	a->value = *v;
	answer(c, v);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static uint64_t ballot_above(const struct chosen *c, uint64_t least)
{
	return ((least >> 3) + 1) << 3 | (c->conf.self - 1U);
}

static void new_round(struct chosen *c, enum chosen_phase phase)
{
	c->phase = phase;
	c->round++;
	c->begun_ns = c->now_ns;
	c->fetch_op = 0;
	for (unsigned i = 0; i < c->conf.device_count; i++) {
		c->device[i].step = STEP_NONE;
		c->device[i].failed = false;
	}
}

static void pick_own(struct chosen *c)
{
	if (!c->mine.accepted)
		return;
	if (c->mine.accepted > c->pick.ballot) {
		found_clear(&c->pick);
		c->pick.ballot = c->mine.accepted;
		c->pick.value = c->mine.value;
	}
	for (unsigned i = 0; i < c->conf.device_count; i++)
		if (chosen_same(&c->pick.value, &c->mine.value) &&
		    has_text(&c->device[i], c->mine.value_place, &c->mine.value))
			found_at(&c->pick, i, c->conf.self, c->mine.value_place);
}

static void accept_begin(struct chosen *c);

static void start_round(struct chosen *c)
{
	uint64_t least = c->ballot_seen > c->mine.promised ? c->ballot_seen : c->mine.promised;

	c->ballot = ballot_above(c, least);
	c->mine.promised = c->ballot;
	c->before = c->mine;
	c->rounds++;
	new_round(c, CHOSEN_PROMISE);
	found_clear(&c->pick);
	pick_own(c);
	if (c->proposing)
		HF_MARK("chosen.propose");
	else
		HF_MARK("chosen.nudge");
#ifdef HF_MUTANT_CHOSEN_NO_PROMISE
	if (c->proposing) {
		c->text = c->proposal;
		accept_begin(c);
	}
#endif
}

/* Doubles up to 16 times; ids and tries keep two nodes from meeting for ever. */
static uint64_t back_off_ns(const struct chosen *c)
{
	uint64_t times = 1ULL << (c->tries < 4 ? c->tries : 4);
	uint64_t spread = (c->conf.self * 7919U + c->tries * 104729U + c->rounds * 31U) % 16;

	return c->conf.retry_ns * times / 2 + c->conf.retry_ns * times * spread / 16;
}

/* What was not said on any device was not accepted. */
static void unsay(struct chosen *c)
{
	if (c->phase != CHOSEN_ACCEPT || c->told)
		return;
	HF_MARK("chosen.never_said");
	c->mine.accepted = c->before.accepted;
	c->mine.value = c->before.value;
	c->mine.value_place = c->before.value_place;
}

static void back_off(struct chosen *c)
{
	unsay(c);
	c->retry_at_ns = c->now_ns + back_off_ns(c);
	c->tries++;
	c->phase = CHOSEN_IDLE;
	c->round++;
	c->fetch_op = 0;
	if (c->hanging_since_ns)
		c->hanging_since_ns = c->now_ns;
	c->next_look_ns = c->now_ns;
}

static uint8_t free_place(const struct chosen *c)
{
	for (uint8_t p = 0; p < BLOCK_PLACES; p++) {
		bool used = p == c->mine.committed_place ||
			    (c->mine.accepted && p == c->mine.value_place);

		for (unsigned i = 0; i < c->conf.device_count; i++)
			used = used || (c->device[i].mine.accepted &&
					c->device[i].mine.value_place == p);
		if (!used)
			return p;
	}
	hf_assert(!"one of six places is free");
	return 0;
}

static void accept_begin(struct chosen *c)
{
	if (!c->mine.accepted || !chosen_same(&c->mine.value, &c->text) ||
	    c->mine.value_place == BLOCK_NO_PLACE)
		c->mine.value_place = free_place(c);
	c->mine.accepted = c->ballot;
	c->mine.value = c->text;
	c->fetch_op = 0;
	c->told = false;
	c->phase = CHOSEN_ACCEPT;
}

/* The promises of a majority are there: what may be proposed? */
static void promised(struct chosen *c)
{
	pick_own(c);
	if (c->pick.ballot) {
		HF_MARK("chosen.carry_on");
		c->text = c->pick.value;
		c->phase = CHOSEN_FETCH;
		c->fetch_since_ns = c->now_ns;
		return;
	}
	if (!c->proposing) {
		c->phase = CHOSEN_IDLE;
		c->hanging_since_ns = 0;
		return;
	}
	c->text = c->proposal;
	accept_begin(c);
}

static unsigned count_at(const struct chosen *c, enum chosen_step least, unsigned *over)
{
	unsigned good = 0;

	*over = 0;
	for (unsigned i = 0; i < c->conf.device_count; i++) {
		const struct chosen_device *dev = &c->device[i];

		if (dev->failed)
			++*over;
		else if (dev->step >= least)
			good++, ++*over;
	}
	return good;
}

/* Own text, found by others or by me: is the majority there? */
static void progress(struct chosen *c)
{
	unsigned over;

	if (c->phase == CHOSEN_START) {
		if (chosen_devices_known(c) >= majority(c)) {
			HF_MARK("chosen.started");
			c->phase = CHOSEN_IDLE;
			c->next_look_ns = c->now_ns;
		}
		return;
	}
	if (c->phase == CHOSEN_PROMISE) {
		if (count_at(c, STEP_LOOKED, &over) >= majority(c))
			promised(c);
		else if (over == c->conf.device_count)
			back_off(c);
	} else if (c->phase == CHOSEN_ACCEPT) {
		if (count_at(c, STEP_DONE, &over) >= majority(c)) {
			struct block_value v = c->text;

			adopt(c, &v);
		} else if (over == c->conf.device_count) {
			back_off(c);
		}
	}
}

/* ---- reading -------------------------------------------------------------------------------- */

/* What my own block there says of the version after the one that I know: accepted in an earlier run, or
 * on a device that was not there then. */
static void recall(struct chosen *c, const struct chosen_device *dev)
{
	const struct block *b = &dev->mine;

	if (!dev->known || b->node == 0)
		return;
#ifndef HF_MUTANT_CHOSEN_PLACE_TWICE
	/* Chosen before I could say so here; on other devices the place may have the next one by now. */
	if (c->mine.committed_place == BLOCK_NO_PLACE && b->accepted &&
	    chosen_same(&b->value, &c->mine.committed) &&
	    !(c->mine.accepted && c->mine.value_place == b->value_place))
#else
	if (c->mine.committed_place == BLOCK_NO_PLACE && b->accepted &&
	    chosen_same(&b->value, &c->mine.committed))
#endif
		c->mine.committed_place = b->value_place;
	if (b->committed.version != c->mine.committed.version)
		return;
	if (c->mine.committed_place == BLOCK_NO_PLACE &&
	    !(c->mine.accepted && c->mine.value_place == b->committed_place))
		c->mine.committed_place = b->committed_place;
	if (b->promised > c->ballot_seen)
		c->ballot_seen = b->promised;
#ifndef HF_MUTANT_CHOSEN_FORGETS
	if (b->accepted > c->mine.accepted && c->phase != CHOSEN_ACCEPT &&
	    c->phase != CHOSEN_FETCH) {
		HF_MARK("chosen.own_accepted_read_back");
		c->mine.accepted = c->before.accepted = b->accepted;
		c->mine.value = c->before.value = b->value;
		c->mine.value_place = c->before.value_place =
			b->value_place == c->mine.committed_place ? BLOCK_NO_PLACE : b->value_place;
		if (b->promised > c->mine.promised)
			c->mine.promised = b->promised;
	}
#endif
}

/* False: I promised more once than I remember. */
static bool read_own(struct chosen *c, struct chosen_device *dev, const struct chosen_seen *s)
{
	const struct block *b = &s->block;

	dev->mine = *b;
	dev->old_key = s->old_key;
	if (!dev->known)
		memset(dev->has, 0, sizeof(dev->has));
	dev->known = true;
	if (b->node == 0)
		return true;
	if (b->committed_place < BLOCK_PLACES) {
		dev->has[b->committed_place] = true;
		memcpy(dev->hash[b->committed_place], b->committed.hash, BLOCK_HASH_LEN);
	}
	if (b->accepted && b->value_place < BLOCK_PLACES) {
		dev->has[b->value_place] = true;
		memcpy(dev->hash[b->value_place], b->value.hash, BLOCK_HASH_LEN);
	}
	recall(c, dev);
	if (b->committed.version != c->mine.committed.version)
		return true;
#ifndef HF_MUTANT_CHOSEN_FORGETS
	if (c->phase == CHOSEN_PROMISE)
		pick(c, b, (unsigned)(dev - c->device));
#endif
	return b->promised <= c->ballot;
}

/* False: somebody promised more than I did. */
static bool read_other(struct chosen *c, const struct block *b, unsigned device)
{
	if (b->committed.version == c->mine.committed.version && b->committed.version &&
	    !chosen_same(&b->committed, &c->mine.committed)) {
		HF_MARK("chosen.forked");
		c->phase = CHOSEN_FORKED;
		reply(c, -EUCLEAN);
		return true;
	}
	if (b->committed.version != c->mine.committed.version)
		return true;
	if (b->promised > c->ballot_seen)
		c->ballot_seen = b->promised;
	if (b->accepted && c->hanging_since_ns == 0)
		c->hanging_since_ns = c->now_ns;
	if (c->phase == CHOSEN_PROMISE)
		pick(c, b, device);
	return b->promised <= c->ballot;
}

static bool damaged(const struct chosen *c, const struct chosen_seen *seen)
{
	bool any = seen[c->conf.self - 1].damaged;

	for (unsigned i = 0; i < BLOCK_NODES; i++)
		any = any || (seen[i].damaged && c->conf.members >> i & 1);
	return any;
}

static void on_read(struct chosen *c, unsigned d, const struct chosen_event *ev)
{
	struct chosen_device *dev = &c->device[d];
	bool mine = dev->round == c->round, good;

	if (ev->err || ev->seen[c->conf.self - 1].damaged) {
		dev->failed = dev->failed || mine;
		return;
	}
	good = read_own(c, dev, &ev->seen[c->conf.self - 1]);
	for (unsigned i = 0; i < BLOCK_NODES; i++)
		if (ev->seen[i].block.node)
			learn(c, &ev->seen[i].block);
	for (unsigned i = 0; i < BLOCK_NODES; i++)
		if (ev->seen[i].block.node)
			learn_where(c, &ev->seen[i].block, d);
	for (unsigned i = 0; i < BLOCK_NODES; i++)
		if (ev->seen[i].block.node && i != c->conf.self - 1U)
			good = read_other(c, &ev->seen[i].block, d) && good;
	if (!mine || c->phase == CHOSEN_FORKED)
		return;
	if (damaged(c, ev->seen)) {
		HF_MARK("chosen.damaged");
		dev->failed = true;
		return;
	}
	if (!good && (c->phase == CHOSEN_PROMISE || c->phase == CHOSEN_FETCH ||
		      c->phase == CHOSEN_ACCEPT)) {
		HF_MARK("chosen.conflict");
		c->conflicts++;
		back_off(c);
		return;
	}
	if (dev->step == STEP_PROMISED)
		dev->step = STEP_LOOKED;
	else if (dev->step == STEP_ACCEPTED)
		dev->step = STEP_DONE;
}

/* ---- completions ---------------------------------------------------------------------------- */

static void on_block(struct chosen *c, unsigned d, int err)
{
	struct chosen_device *dev = &c->device[d];
	bool mine = dev->round == c->round;

	if (err) {
		dev->failed = dev->failed || mine;
		return;
	}
	dev->mine = dev->writing;
	dev->old_key = false;
	if (!mine)
		return;
	if (dev->step == STEP_NONE)
		dev->step = STEP_PROMISED;
	else if (dev->step == STEP_TEXT)
		dev->step = STEP_ACCEPTED;
}

static void on_text(struct chosen *c, unsigned d, int err)
{
	struct chosen_device *dev = &c->device[d];
	bool mine = dev->round == c->round;

	if (err) {
		dev->failed = dev->failed || mine;
		return;
	}
	dev->has[dev->writing_place] = true;
	memcpy(dev->hash[dev->writing_place], dev->writing_text.hash, BLOCK_HASH_LEN);
	if (mine)
		dev->step = STEP_TEXT;
}

static struct chosen_found *fetching(struct chosen *c)
{
	return c->phase == CHOSEN_LEARN ? &c->learn : &c->pick;
}

static void next_source(struct chosen *c)
{
	c->fetch_op = 0;
	c->failed_fetches++;
	c->fetch_since_ns = c->now_ns;
	fetching(c)->at++;
	if (fetching(c)->at < fetching(c)->count)
		return;
	HF_MARK("chosen.no_text");
	found_clear(&c->learn);
	back_off(c);
}

static void on_fetched(struct chosen *c, uint64_t op, int err)
{
	struct block_value v;

	if (op != c->fetch_op || (c->phase != CHOSEN_FETCH && c->phase != CHOSEN_LEARN)) {
		c->stale_completions++;
		return;
	}
	if (!chosen_same(&c->fetched, &fetching(c)->value)) {
		HF_MARK("chosen.newer_meanwhile");
		c->fetch_op = 0;
		c->fetch_since_ns = c->now_ns;
		return;
	}
	if (err) {
		next_source(c);
		return;
	}
	if (c->phase == CHOSEN_FETCH) {
		accept_begin(c);
		return;
	}
	v = c->learn.value;
	adopt(c, &v);
}

static void completed(struct chosen *c, const struct chosen_event *ev)
{
	for (unsigned d = 0; d < c->conf.device_count; d++) {
		struct chosen_device *dev = &c->device[d];

		if (ev->op == 0 || dev->op != ev->op)
			continue;
		dev->op = 0;
		switch (dev->doing) {
		case CHOSEN_ACT_READ:
			on_read(c, d, ev);
			return;
		case CHOSEN_ACT_BLOCK:
			on_block(c, d, ev->err);
			return;
		case CHOSEN_ACT_TEXT:
			on_text(c, d, ev->err);
			return;
		case CHOSEN_ACT_FETCH:
			on_fetched(c, ev->op, ev->err);
			return;
		case CHOSEN_ACT_ADOPT:
		case CHOSEN_ACT_REPLY:
			break;
		}
	}
	c->stale_completions++;
}

static void on_propose(struct chosen *c, const struct chosen_event *ev)
{
	struct chosen_action *a;
	int err = 0;

	if (c->phase == CHOSEN_FORKED)
		err = -EUCLEAN;
	else if (c->proposing)
		err = -EBUSY;
	else if (c->phase != CHOSEN_START && !ahead(c, &ev->value))
		err = -ESTALE;
	if (err) {
		a = act(c, CHOSEN_ACT_REPLY);
		a->id = ev->id;
		a->err = err;
		a->value = ev->value;
		return;
	}
	c->proposing = true;
	c->offered = false;
	c->id = ev->id;
	c->proposal = ev->value;
	c->proposed_ns = c->now_ns;
	c->tries = 0;
	if (c->retry_at_ns > c->now_ns)
		c->retry_at_ns = c->now_ns;
}

/* Nothing is written over what is ahead of me, my own blocks above all. */
static bool behind(const struct chosen *c)
{
	return c->behind > c->mine.committed.version;
}

/* ---- what each device does next ------------------------------------------------------------- */

static void say_accepted(struct chosen *c, unsigned d)
{
	c->told = true;
	if (c->proposing && chosen_same(&c->text, &c->proposal))
		c->offered = true;
	begin_block(c, d, &c->mine);
}

static void next_accept(struct chosen *c, unsigned d)
{
	struct chosen_device *dev = &c->device[d];

	switch (dev->step) {
	case STEP_NONE:
		begin_block(c, d, &c->before);
		return;
	case STEP_PROMISED:
	case STEP_LOOKED:
#ifndef HF_MUTANT_CHOSEN_TEXT_LATE
		if (!has_text(dev, c->mine.value_place, &c->text)) {
			begin_text(c, d, c->mine.value_place, &c->text);
			return;
		}
#endif
		dev->step = STEP_TEXT;
		say_accepted(c, d);
		return;
	case STEP_TEXT:
		say_accepted(c, d);
		return;
	case STEP_ACCEPTED:
		begin_read(c, d);
		return;
	case STEP_DONE:
		return;
	}
}

/* What is chosen is told on every device, and its text is put there; nothing depends on it. */
static void next_idle(struct chosen *c, unsigned d)
{
	struct chosen_device *dev = &c->device[d];
	uint8_t place = c->mine.committed_place;

	if (dev->look) {
		begin_read(c, d);
		return;
	}
	if (!dev->known || dev->failed || behind(c))
		return;
	if (place == BLOCK_NO_PLACE) {
		if (dev->old_key && dev->mine.node)
			begin_block(c, d, &c->mine);
		return;
	}
	if (dev->mine.committed.version < c->mine.committed.version || dev->old_key) {
		begin_block(c, d, &c->mine);
	} else if (!has_text(dev, place, &c->mine.committed)) {
		if (!(dev->mine.accepted && dev->mine.value_place == place))
			begin_text(c, d, place, &c->mine.committed);
	} else if (dev->mine.committed_place != place) {
		HF_MARK("chosen.text_spread");
		begin_block(c, d, &c->mine);
	}
}

static void next_fetch(struct chosen *c)
{
	const struct chosen_found *f = fetching(c);
	unsigned d = f->source[f->at].device;
	struct chosen_action *a;

	if (f->at >= f->count) {
		next_source(c);
		return;
	}
	if (c->fetch_op || c->device[d].op)
		return;
	a = begin(c, d, CHOSEN_ACT_FETCH);
	a->node = f->source[f->at].node;
	a->place = f->source[f->at].place;
	a->value = c->fetched = f->value;
	c->fetch_op = a->op;
}

static void next_of(struct chosen *c, unsigned d)
{
	struct chosen_device *dev = &c->device[d];

	if (dev->op)
		return;
	switch (c->phase) {
	case CHOSEN_START:
		if (!dev->known && !dev->failed)
			begin_read(c, d);
		return;
	case CHOSEN_PROMISE:
	case CHOSEN_ACCEPT:
		if (dev->failed)
			return;
		if (!dev->known) {
			begin_read(c, d);
		} else if (c->phase == CHOSEN_ACCEPT) {
			next_accept(c, d);
		} else if (dev->step == STEP_NONE) {
			begin_block(c, d, &c->before);
		} else if (dev->step == STEP_PROMISED) {
			begin_read(c, d);
		}
		return;
	case CHOSEN_IDLE:
		next_idle(c, d);
		return;
	case CHOSEN_FETCH:
	case CHOSEN_LEARN:
	case CHOSEN_FORKED:
		return;
	}
}

/* ---- time ----------------------------------------------------------------------------------- */

static uint64_t nudge_at(const struct chosen *c)
{
	uint64_t at;

	if (c->hanging_since_ns == 0)
		return UINT64_MAX;
	at = c->hanging_since_ns + c->conf.nudge_ns + c->conf.self * c->conf.retry_ns;
	return at > c->retry_at_ns ? at : c->retry_at_ns;
}

static void give_up(struct chosen *c)
{
	bool round = c->phase != CHOSEN_START && c->phase != CHOSEN_IDLE && c->phase != CHOSEN_FORKED;

	if (c->proposing && c->now_ns >= c->proposed_ns + c->conf.give_up_ns) {
		HF_MARK("chosen.gave_up");
		if (c->phase == CHOSEN_ACCEPT && !c->told) /* or it would be said after the answer */
			back_off(c);
		reply(c, c->offered ? -EINPROGRESS : -ETIMEDOUT);
		if (c->mine.accepted && c->hanging_since_ns == 0)
			c->hanging_since_ns = c->now_ns;
	}
	if (round && c->now_ns >= c->begun_ns + c->conf.give_up_ns)
		back_off(c);
	if ((c->phase == CHOSEN_FETCH || c->phase == CHOSEN_LEARN) && c->fetch_op &&
	    c->now_ns >= c->fetch_since_ns + 4 * c->conf.retry_ns)
		next_source(c);
}

static void idle(struct chosen *c)
{
	if (c->proposing && !ahead(c, &c->proposal))
		reply(c, -ESTALE); /* it came while the start was under way */
	if (c->mine.accepted && c->hanging_since_ns == 0)
		c->hanging_since_ns = c->now_ns;
	if (c->learn.count && c->now_ns >= c->retry_at_ns) {
		c->phase = CHOSEN_LEARN;
		c->begun_ns = c->fetch_since_ns = c->now_ns;
	} else if (!behind(c) &&
		   ((c->proposing && c->now_ns >= c->retry_at_ns) || c->now_ns >= nudge_at(c))) {
		start_round(c);
	} else if (c->now_ns >= c->next_look_ns) {
		c->next_look_ns = c->now_ns + c->conf.poll_ns;
		for (unsigned d = 0; d < c->conf.device_count; d++) {
			c->device[d].look = true;
			c->device[d].failed = false;
		}
	}
}

static void run(struct chosen *c)
{
	give_up(c);
	/* What others know chosen ends whatever I was about. */
	if (behind(c) &&
	    (c->phase == CHOSEN_PROMISE || c->phase == CHOSEN_FETCH || c->phase == CHOSEN_ACCEPT)) {
		unsay(c);
		c->phase = CHOSEN_IDLE;
		c->round++;
		c->fetch_op = 0;
		c->next_look_ns = c->now_ns; /* for the places of its text */
		c->retry_at_ns = c->now_ns;
	}
	if (c->phase == CHOSEN_START && c->now_ns >= c->retry_at_ns) {
		c->retry_at_ns = c->now_ns + c->conf.retry_ns;
		for (unsigned d = 0; d < c->conf.device_count; d++)
			c->device[d].failed = false;
	}
	progress(c);
	if (c->phase == CHOSEN_IDLE && !c->adopted)
		idle(c);
	if (c->adopted) /* the devices may be others before the next step */
		return;
	if (c->phase == CHOSEN_FETCH || c->phase == CHOSEN_LEARN)
		next_fetch(c);
	for (unsigned d = 0; d < c->conf.device_count; d++)
		next_of(c, d);
}

uint64_t chosen_deadline_ns(const struct chosen *c)
{
	uint64_t t = UINT64_MAX;

	if (c->adopted)
		return c->now_ns;
	if (c->proposing)
		t = c->proposed_ns + c->conf.give_up_ns;
	switch (c->phase) {
	case CHOSEN_START:
		return c->retry_at_ns < t ? c->retry_at_ns : t;
	case CHOSEN_IDLE:
		if (c->next_look_ns < t)
			t = c->next_look_ns;
		if ((c->learn.count || (c->proposing && !behind(c))) && c->retry_at_ns < t)
			t = c->retry_at_ns;
		return !behind(c) && nudge_at(c) < t ? nudge_at(c) : t;
	case CHOSEN_FETCH:
	case CHOSEN_LEARN:
		if (c->fetch_op && c->fetch_since_ns + 4 * c->conf.retry_ns < t)
			t = c->fetch_since_ns + 4 * c->conf.retry_ns;
		return c->begun_ns + c->conf.give_up_ns < t ? c->begun_ns + c->conf.give_up_ns : t;
	case CHOSEN_PROMISE:
	case CHOSEN_ACCEPT:
		return c->begun_ns + c->conf.give_up_ns < t ? c->begun_ns + c->conf.give_up_ns : t;
	case CHOSEN_FORKED:
		break;
	}
	return t;
}

/* ---- the outside ---------------------------------------------------------------------------- */

void chosen_init(struct chosen *c, const struct chosen_conf *conf, const struct block_value *known,
		 uint64_t now_ns)
{
	hf_assert(conf->self >= 1 && conf->self <= BLOCK_NODES);
	hf_assert(conf->device_count <= CHOSEN_DEVICES_MAX);
	memset(c, 0, sizeof(*c));
	c->conf = *conf;
	c->phase = CHOSEN_START;
	c->now_ns = now_ns;
	c->mine.node = conf->self;
	c->mine.committed = *known;
	c->mine.committed_place = c->mine.value_place = BLOCK_NO_PLACE;
	c->before = c->mine;
	c->round = 1;
	c->retry_at_ns = now_ns;
}

void chosen_step(struct chosen *c, const struct chosen_event *ev, struct chosen_actions *out)
{
	out->count = 0;
	c->out = out;
	c->adopted = false;
	if (ev->now_ns > c->now_ns)
		c->now_ns = ev->now_ns;
	switch (ev->type) {
	case CHOSEN_EV_TICK:
		break;
	case CHOSEN_EV_READ:
	case CHOSEN_EV_WRITTEN:
	case CHOSEN_EV_FETCHED:
		completed(c, ev);
		break;
	case CHOSEN_EV_PROPOSE:
		on_propose(c, ev);
		break;
	case CHOSEN_EV_LOOK:
		c->next_look_ns = c->now_ns;
		break;
	}
	if (c->phase != CHOSEN_FORKED)
		run(c);
	c->out = NULL;
}

void chosen_members(struct chosen *c, uint8_t members, unsigned device_count, const int *from)
{
	struct chosen_device to[CHOSEN_DEVICES_MAX];

	hf_assert(device_count <= CHOSEN_DEVICES_MAX && c->phase != CHOSEN_ACCEPT);
	memset(to, 0, sizeof(to));
	for (unsigned i = 0; i < device_count; i++)
		if (from[i] >= 0)
			to[i] = c->device[from[i]];
	memcpy(c->device, to, sizeof(to));
	c->conf.members = members;
	c->conf.device_count = device_count;
	found_clear(&c->learn); /* its places are of the old numbers */
	found_clear(&c->pick);
	c->next_look_ns = c->now_ns;
}

void chosen_check(const struct chosen *c)
{
	hf_assert(c->mine.accepted <= c->mine.promised);
	hf_assert(c->mine.accepted == 0 ||
		  c->mine.value.version == c->mine.committed.version + 1);
	hf_assert(c->mine.accepted == 0 || c->mine.value_place == BLOCK_NO_PLACE ||
		  c->mine.value_place != c->mine.committed_place);
	hf_assert(c->phase != CHOSEN_ACCEPT || c->mine.accepted == c->ballot);
	hf_assert(!c->offered || c->proposing);
}
