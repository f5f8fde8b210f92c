/* t_reserve.c - the decisions about reservations over a transport of the test's own: targets that lack
 * commands, forget a path, hold other types.  Real targets are in t_reserve_iscsi and the guests' tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "io/reserve.h"

static const struct unit_self n1 = {.node = 1, .node_name = "n1", .generation = 10};
static struct unit_answer out;
static struct seal seal;
static char dir[64];
static struct unit_spec spec;

static struct {
	struct rsv_state st;
	uint8_t block[RSV_BLOCK];
	int abort_rc, reset_rc; /* what PREEMPT AND ABORT and LUN RESET come back with */
	bool deaf_register;	/* the key is listed, but not for this path */
	unsigned count[RSV_RESET + 1];
} t;

static void drop_key(uint64_t key)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t.st.count; i++)
		if (t.st.key[i] != key)
			t.st.key[n++] = t.st.key[i];
	t.st.count = n;
}

static int fake_state(struct reserve *r, uint64_t mine, struct rsv_state *st)
{
	(void)r;
	(void)mine;
	*st = t.st;
	return 0;
}

static int fake_command(struct reserve *r, enum rsv_verb verb, uint64_t mine, uint64_t victim)
{
	(void)r;
	t.count[verb]++;
	switch (verb) {
	case RSV_REGISTER:
		if (!t.deaf_register)
			t.st.registered = true;
		drop_key(mine);
		t.st.key[t.st.count++] = mine;
		return 0;
	case RSV_UNREGISTER:
		drop_key(mine);
		t.st.registered = false;
		if (t.st.holder == mine)
			t.st.held = false;
		return 0;
	case RSV_RESERVE:
		t.st.held = true;
		t.st.holder = mine;
		return 0;
	case RSV_PREEMPT_ABORT:
		if (t.abort_rc)
			return t.abort_rc;
		__attribute__((fallthrough));
	case RSV_PREEMPT:
		drop_key(victim);
		if (t.st.holder == victim || victim == mine) {
			t.st.holder = mine;
			t.st.wrong_type = false;
			drop_key(mine);
			t.st.key[t.st.count++] = mine;
		}
		return 0;
	case RSV_RESET:
		return t.reset_rc;
	}
	return -EINVAL;
}

static int fake_record(struct reserve *r, uint8_t block[RSV_BLOCK], bool write)
{
	(void)r;
	if (write)
		memcpy(t.block, block, RSV_BLOCK);
	else
		memcpy(block, t.block, RSV_BLOCK);
	return 0;
}

static const struct rsv_ops fake = {.name = "fake", .read_state = fake_state, .command = fake_command,
				    .record = fake_record};

static struct reserve visit(void)
{
	return (struct reserve){.ops = &fake, .u = &spec, .role = RSV_ACT, .fd = -1};
}

/* S names node 2 at epoch 4, which holds; the fake has been told nothing else. */
static void begin(void)
{
	const struct unit_self n2 = {.node = 2, .node_name = "n2", .generation = 20};
	struct owner o = {.unit = spec.id};
	struct reserve r = visit();

	memset(&t, 0, sizeof(t));
	CHECK_EQ(0, unit_record_write(&r, &seal, &o, &n2, 4));
	t.st.held = true;
	t.st.holder = t.st.key[0] = owner_key(2, 20);
	t.st.count = 1;
}

static void take(void)
{
	struct unit_ask ask = {.how = UNIT_VICTIM, .victim = 2, .victim_epoch = 4};
	struct reserve r = visit();

	memset(&out, 0, sizeof(out));
	reserve_acquire(&r, &seal, &n1, &ask, &out);
}

/* covers: F2 */
static void t_abort(void)
{
	begin();
	take();
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(0, out.labels);
	CHECK(t.count[RSV_PREEMPT_ABORT] == 1 && t.count[RSV_PREEMPT] == 0 && t.count[RSV_RESET] == 0);
}

/* No PREEMPT AND ABORT, or no answer to it: PREEMPT, then LUN RESET; both once for each victim.
 * covers: F2 */
static void t_no_abort(void)
{
	static const int rc[] = {-EOPNOTSUPP, -ETIMEDOUT};

	for (unsigned i = 0; i < 2; i++) {
		begin();
		t.abort_rc = rc[i];
		t.st.key[t.st.count++] = owner_key(2, 19); /* a leftover */
		take();
		CHECK_EQ(UNIT_WON, out.outcome);
		CHECK_EQ(UNIT_LABEL_NO_ABORT, out.labels);
		CHECK_EQ(1, t.count[RSV_PREEMPT_ABORT]);
		CHECK_EQ(2, t.count[RSV_PREEMPT]);
		CHECK_EQ(2, t.count[RSV_RESET]);
		CHECK_EQ(1, t.st.count);
	}
}

/* Nor LUN RESET: it is said.   covers: F2 */
static void t_no_reset(void)
{
	begin();
	t.abort_rc = t.reset_rc = -EOPNOTSUPP;
	take();
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(out.labels & UNIT_LABEL_QUEUED);
	CHECK(strstr(unit_label_text(out.labels), "queued") != NULL);
}

/* A status other than "cannot" chooses nothing and decides nothing. */
static void t_status_lies(void)
{
	begin();
	t.abort_rc = -EIO; /* never works, is never replaced by a weaker one */
	take();
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK_EQ(0, t.count[RSV_PREEMPT]);
	CHECK(t.st.holder == owner_key(2, 20));
	for (unsigned i = 0; i < t.st.count; i++)
		CHECK(t.st.key[i] != owner_key(1, 10)); /* nothing of mine stays */
}

/* The key stands there from an earlier path; this one is not registered.  It is not believed. */
static void t_other_path(void)
{
	begin();
	drop_key(owner_key(2, 20));
	t.st.held = false;
	t.st.key[t.st.count++] = owner_key(1, 10);
	take();
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(1, t.count[RSV_REGISTER]);
	begin();
	t.deaf_register = true;
	take();
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK(t.st.holder == owner_key(2, 20));
}

/* Mine, but of a type that lets others write: made right.  All registrants (holder 0): likewise. */
static void t_types(void)
{
	begin();
	t.st.holder = t.st.key[0] = owner_key(1, 10);
	t.st.wrong_type = true;
	take();
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(!t.st.wrong_type && t.st.holder == owner_key(1, 10));
	begin();
	t.st.holder = 0;
	t.st.wrong_type = true;
	take();
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(t.st.holder == owner_key(1, 10) && t.st.count == 1);
}

int main(void)
{
	char path[96], err[256];

	snprintf(dir, sizeof(dir), "/tmp/hf-rsv.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	spec = (struct unit_spec){.backend = UNIT_LOOP, .name = "u1", .id = 5};
	snprintf(spec.root, sizeof(spec.root), "%s/mnt", dir);
	snprintf(spec.image, sizeof(spec.image), "%s/img", dir);
	snprintf(path, sizeof(path), "%s/key", dir);
	close(open(spec.image, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	CHECK_EQ(0, seal_create(path));
	CHECK_EQ(0, seal_load(&seal, path, err, sizeof(err)));
	CASE(t_abort);
	CASE(t_no_abort);
	CASE(t_no_reset);
	CASE(t_status_lies);
	CASE(t_other_path);
	CASE(t_types);
	unlink(path);
	unlink(spec.image);
	rmdir(dir);
	return check_end();
}
