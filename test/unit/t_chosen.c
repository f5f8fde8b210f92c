/* t_chosen.c - Disk Paxos step by step: one or two nodes on devices in memory.
 *
 * The model in sim/config.c tries what can go wrong; here each rule is seen once, by hand. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "core/chosen.h"

#define NODES 2
#define MS    1000000ULL

struct rig {
	uint64_t now_ns;
	struct chosen c[NODES];
	struct block block[CHOSEN_DEVICES_MAX][BLOCK_NODES];
	uint64_t text[CHOSEN_DEVICES_MAX][BLOCK_NODES][BLOCK_PLACES];
	bool dead[CHOSEN_DEVICES_MAX], torn[CHOSEN_DEVICES_MAX];
	bool stop_after_accept; /* the first accepting write ends the node */
	bool stopped[NODES];
	unsigned writes, texts_before_blocks;
	uint64_t adopted[NODES], replies;
	int last_reply;
};

static struct rig r;

static uint64_t number(const struct block_value *v)
{
	return v->hash[0];
}

static struct block_value value(uint64_t version, uint8_t hash, uint8_t prev)
{
	struct block_value v = {.version = version, .len = 10, .author = 1};

	v.hash[0] = hash;
	v.prev[0] = prev;
	return v;
}

static void start(unsigned n, unsigned devices)
{
	struct chosen_conf conf = {.self = (uint16_t)(n + 1), .device_count = devices,
				   .members = 3, .poll_ns = 1000 * MS, .retry_ns = 100 * MS,
				   .nudge_ns = 2000 * MS, .give_up_ns = 5000 * MS};
	struct block_value none = {0};

	chosen_init(&r.c[n], &conf, &none, r.now_ns);
	r.stopped[n] = false;
}

static void step(unsigned n, struct chosen_event *ev);

static void done(unsigned n, enum chosen_ev_type type, uint64_t op, int err,
		 const struct chosen_seen *seen)
{
	struct chosen_event ev = {.type = type, .op = op, .err = err, .seen = seen};

	step(n, &ev);
}

static void write_block(unsigned n, const struct chosen_action *a)
{
	unsigned d = a->device;

	if (r.dead[d]) {
		done(n, CHOSEN_EV_WRITTEN, a->op, -EIO, NULL);
		return;
	}
	r.block[d][n] = a->block;
	r.writes++;
	if (a->block.accepted && a->block.value_place < BLOCK_PLACES &&
	    r.text[d][n][a->block.value_place] == number(&a->block.value))
		r.texts_before_blocks++;
	if (r.stop_after_accept && a->block.accepted) {
		r.stopped[n] = true;
		return;
	}
	done(n, CHOSEN_EV_WRITTEN, a->op, 0, NULL);
}

static void carry_out(unsigned n, const struct chosen_action *a)
{
	struct chosen_seen seen[BLOCK_NODES] = {{.damaged = false}};
	unsigned d = a->device;

	switch (a->type) {
	case CHOSEN_ACT_READ:
		for (unsigned i = 0; i < BLOCK_NODES; i++)
			seen[i].block = r.block[d][i];
		seen[1 - n].damaged = r.torn[d];
		done(n, CHOSEN_EV_READ, a->op, r.dead[d] ? -EIO : 0, seen);
		return;
	case CHOSEN_ACT_BLOCK:
		write_block(n, a);
		return;
	case CHOSEN_ACT_TEXT:
		if (!r.dead[d])
			r.text[d][n][a->place] = number(&a->value);
		done(n, CHOSEN_EV_WRITTEN, a->op, r.dead[d] ? -EIO : 0, NULL);
		return;
	case CHOSEN_ACT_FETCH:
		done(n, CHOSEN_EV_FETCHED, a->op,
		     r.text[d][a->node - 1][a->place] == number(&a->value) ? 0 : -EBADMSG, NULL);
		return;
	case CHOSEN_ACT_ADOPT:
		r.adopted[n] = number(&a->value);
		return;
	case CHOSEN_ACT_REPLY:
		r.replies++;
		r.last_reply = a->err;
		return;
	}
}

static void step(unsigned n, struct chosen_event *ev)
{
	struct chosen_actions out;

	ev->now_ns = r.now_ns;
	chosen_step(&r.c[n], ev, &out);
	chosen_check(&r.c[n]);
	for (unsigned i = 0; i < out.count && !r.stopped[n]; i++)
		carry_out(n, &out.a[i]);
}

static void run(unsigned n, uint64_t ms)
{
	for (uint64_t i = 0; i < ms / 50 && !r.stopped[n]; i++) {
		struct chosen_event ev = {.type = CHOSEN_EV_TICK};

		r.now_ns += 50 * MS;
		step(n, &ev);
	}
}

static void propose(unsigned n, struct block_value v)
{
	struct chosen_event ev = {.type = CHOSEN_EV_PROPOSE, .id = 1, .value = v};

	r.last_reply = 1;
	step(n, &ev);
}

static void fresh(unsigned devices)
{
	memset(&r, 0, sizeof(r));
	start(0, devices);
	start(1, devices);
	run(0, 200);
	run(1, 200);
}

/* covers: V3 VS-121 VS-158 */
static void t_first_and_next(void)
{
	fresh(3);
	propose(0, value(1, 11, 0));
	run(0, 100);
	CHECK_EQ(0, r.last_reply);
	CHECK_EQ(11, r.adopted[0]);
	CHECK(r.texts_before_blocks >= 2);
	run(1, 2000);
	CHECK_EQ(11, r.adopted[1]); /* learned */
	propose(1, value(2, 12, 11));
	run(1, 100);
	CHECK_EQ(0, r.last_reply);
	run(0, 2000);
	CHECK_EQ(12, r.adopted[0]);
}

/* covers: V3 */
static void t_base_must_be_the_latest(void)
{
	fresh(3);
	propose(0, value(1, 11, 0));
	run(0, 100);
	propose(0, value(1, 12, 0));
	CHECK_EQ(-ESTALE, r.last_reply);
	propose(0, value(2, 12, 99)); /* another history */
	CHECK_EQ(-ESTALE, r.last_reply);
	propose(1, value(1, 13, 0)); /* it does not know yet */
	run(1, 3000);
	CHECK_EQ(-ESTALE, r.last_reply);
	CHECK_EQ(11, r.adopted[1]);
}

/* covers: V1 V3 */
static void t_majority(void)
{
	fresh(3);
	r.dead[0] = true;
	propose(0, value(1, 11, 0));
	run(0, 500);
	CHECK_EQ(0, r.last_reply);
	r.dead[1] = true;
	propose(0, value(2, 12, 11));
	run(0, 6000);
	CHECK_EQ(-ETIMEDOUT, r.last_reply);
	r.dead[0] = r.dead[1] = false;
	run(0, 3000);
	propose(0, value(2, 13, 11)); /* refused for certain: free for another */
	run(0, 3000);
	CHECK_EQ(0, r.last_reply);
	CHECK_EQ(13, r.adopted[0]);
}

/* Dead between accepting and knowing it: another carries it to its end. */
static void t_carried_on(void)
{
	fresh(1);
	r.stop_after_accept = true;
	propose(0, value(1, 11, 0));
	run(0, 100);
	CHECK(r.stopped[0]);
	r.stop_after_accept = false;
	run(1, 8000);
	CHECK_EQ(11, r.adopted[1]);
}

/* The same node after its restart knows what it accepted from the device alone. */
static void t_own_accepted_is_read_back(void)
{
	fresh(1);
	r.stop_after_accept = true;
	propose(0, value(1, 11, 0));
	r.stop_after_accept = false;
	start(0, 1);
	propose(0, value(1, 12, 0));
	run(0, 8000);
	CHECK_EQ(-ESTALE, r.last_reply);
	CHECK_EQ(11, r.adopted[0]);
}

/* After a start one device has the next version in the place where another, which is behind, still
 * has this one: what is committed and what is accepted never share a place. */
static void t_place_of_two_versions(void)
{
	struct block_value v1 = value(1, 11, 0), v2 = value(2, 12, 11);
	struct chosen_conf conf;

	fresh(3);
	conf = r.c[0].conf;
	r.block[0][0] = (struct block){.node = 1, .write_count = 8, .committed = v1, .value = v2,
				       .committed_place = BLOCK_NO_PLACE, .promised = 16,
				       .accepted = 16, .value_place = 3};
	r.block[1][0] = (struct block){.node = 1, .write_count = 5, .promised = 8, .accepted = 8,
				       .committed_place = BLOCK_NO_PLACE, .value = v1,
				       .value_place = 3};
	r.block[2][0] = (struct block){.node = 1, .write_count = 2, .value_place = BLOCK_NO_PLACE,
				       .committed_place = BLOCK_NO_PLACE};
	r.text[0][0][3] = number(&v2);
	r.text[1][0][3] = number(&v1);
	chosen_init(&r.c[0], &conf, &v1, r.now_ns);
	run(0, 100); /* step() has chosen_check() look */
	CHECK(r.c[0].mine.accepted && r.c[0].mine.value_place == 3);
	CHECK_EQ(BLOCK_NO_PLACE, r.c[0].mine.committed_place);
	run(0, 5000);
	CHECK_EQ(12, r.adopted[0]); /* and it is carried to its end */
}

/* A node that got version 2 chosen and lost its memory learns version 1 first: what its block says
 * of version 2 counts as soon as it does.   covers: V3 */
static void t_learns_what_it_was_beyond(void)
{
	fresh(1);
	propose(0, value(1, 11, 0));
	run(0, 500);
	run(1, 2000);
	r.stop_after_accept = true; /* version 2 is chosen with this write, and told to nobody */
	propose(0, value(2, 12, 11));
	run(0, 100);
	CHECK(r.stopped[0]);
	r.stop_after_accept = false;
	r.block[0][1].node = 2; /* where it will learn version 1 from */
	r.block[0][1].committed = value(1, 11, 0);
	r.block[0][1].committed_place = 0;
	r.text[0][1][0] = 11;
	start(0, 1);
	run(0, 300);
	CHECK_EQ(1, (long long)r.c[0].mine.committed.version);
	propose(0, value(2, 13, 11));
	run(0, 5000);
	CHECK_EQ(-ESTALE, r.last_reply);
	CHECK_EQ(12, r.adopted[0]);
}

static void t_higher_promise_wins(void)
{
	fresh(1);
	r.block[0][1] = (struct block){.node = 2, .promised = 8001, .write_count = 1,
				       .committed_place = BLOCK_NO_PLACE,
				       .value_place = BLOCK_NO_PLACE};
	propose(0, value(1, 11, 0));
	CHECK_EQ(1, r.last_reply); /* not yet */
	CHECK_EQ(1, (long long)r.c[0].conflicts);
	run(0, 2000);
	CHECK_EQ(0, r.last_reply);
	CHECK(r.c[0].ballot > 8001);
}

/* A member's block that cannot be read may say anything: the device does not count. */
static void t_damaged_device(void)
{
	fresh(1);
	r.torn[0] = true;
	propose(0, value(1, 11, 0));
	run(0, 6000);
	CHECK_EQ(-ETIMEDOUT, r.last_reply);
	r.torn[0] = false;
	run(0, 2000);
	propose(0, value(1, 11, 0));
	run(0, 2000);
	CHECK_EQ(0, r.last_reply);
}

static void t_forked(void)
{
	fresh(1);
	propose(0, value(1, 11, 0));
	run(0, 500);
	r.block[0][1] = (struct block){.node = 2, .committed = value(1, 99, 0),
				       .committed_place = 0, .value_place = BLOCK_NO_PLACE};
	run(0, 2000);
	CHECK_EQ(CHOSEN_FORKED, r.c[0].phase);
	propose(0, value(2, 12, 11));
	CHECK_EQ(-EUCLEAN, r.last_reply);
}

/* covers: V1 */
static void t_device_removed(void)
{
	int from[] = {0, 1};

	fresh(3);
	r.dead[2] = true;
	propose(0, value(1, 11, 0));
	run(0, 500);
	chosen_members(&r.c[0], 3, 2, from);
	propose(0, value(2, 12, 11));
	run(0, 500);
	CHECK_EQ(0, r.last_reply);
	CHECK_EQ(2, chosen_devices_known(&r.c[0]));
}

static void t_stale_completion(void)
{
	uint64_t before;

	fresh(1);
	before = r.c[0].stale_completions;
	done(0, CHOSEN_EV_WRITTEN, 1, 0, NULL);
	done(0, CHOSEN_EV_FETCHED, 77, 0, NULL);
	CHECK_EQ((long long)before + 2, (long long)r.c[0].stale_completions);
}

int main(void)
{
	CASE(t_first_and_next);
	CASE(t_base_must_be_the_latest);
	CASE(t_majority);
	CASE(t_carried_on);
	CASE(t_own_accepted_is_read_back);
	CASE(t_place_of_two_versions);
	CASE(t_learns_what_it_was_beyond);
	CASE(t_higher_promise_wins);
	CASE(t_damaged_device);
	CASE(t_forked);
	CASE(t_device_removed);
	CASE(t_stale_completion);
	return check_end();
}
