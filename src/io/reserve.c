/* reserve.c - who gets a unit: decisions over the transports of io/reserve.h.
 *
 * Nothing here trusts an answer to a command (F2): each turn reads keys, holder and S, decides,
 * gives one command, and reads again.  The order of a taker:
 *
 *	nothing of ours is attached (F1) -> read S -> REGISTER -> RESERVE or PREEMPT (AND ABORT) each
 *	foreign key -> the only key is mine and I hold -> S is as it was -> write S
 *
 * While S names another than the holder by R, somebody is between those steps; he is given a
 * moment, then preempted too: whoever lost R can no longer write S, so that is safe.
 *
 * A target that has no PREEMPT AND ABORT, or does not come back from it, gets PREEMPT and then LUN
 * RESET, so that no write queued by the victim lands later; one that refuses the reset as well is
 * labelled (F2). */
#include "io/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/loop.h"

#define TURNS_MAX   96
#define STRANGER_NS 2000000000ULL

/* ---- a visit ---------------------------------------------------------------------------------- */
static const struct rsv_ops *ops_of(enum unit_backend b)
{
	switch (b) {
	case UNIT_DIR:
		return &rsv_dir_ops;
	case UNIT_LOOP:
		return &rsv_loop_ops;
	case UNIT_ISCSI:
		return &rsv_iscsi_ops;
	case UNIT_SCSI:
		return &rsv_scsi_ops;
	}
	hf_assert(0);
	return NULL;
}

void reserve_open(struct reserve *r, const struct unit_spec *u, enum rsv_role role)
{
	*r = (struct reserve){.ops = ops_of(u->backend), .u = u, .role = role,
			      .fd = -1};
}

void reserve_close(struct reserve *r)
{
	if (r->ops->close)
		r->ops->close(r);
}

const char *reserve_where(const struct unit_spec *u)
{
	return u->target[0] ? u->target : u->wwid[0] ? u->wwid : u->control[0] ? u->control : u->record;
}

int rsv_file_record(struct reserve *r, uint8_t block[RSV_BLOCK], bool write)
{
	int flags = (write ? O_RDWR | O_DSYNC : O_RDONLY) | O_CLOEXEC;
	int fd = open(r->u->record, flags | O_DIRECT), rc;
	ssize_t n;

	if (fd < 0 && errno == EINVAL)
		fd = open(r->u->record, flags);
	if (fd < 0)
		return -errno;
	n = write ? pwrite(fd, block, RSV_BLOCK, 0) : pread(fd, block, RSV_BLOCK, 0);
	/* O_DSYNC is enough, for a file that this write makes longer, too; fsync(2) would wait for
	 * whatever else the file system's journal has under way. */
	rc = n < 0 ? -errno : n == RSV_BLOCK ? 0 : -EIO;
	close(fd);
	return rc;
}

const struct rsv_ops rsv_dir_ops = {.name = "dir", .record = rsv_file_record};

/* ---- taking ------------------------------------------------------------------------------------- */
static bool has_key(const struct rsv_state *st, uint64_t key)
{
	for (unsigned i = 0; i < st->count; i++)
		if (st->key[i] == key)
			return true;
	return false;
}

/* Is R mine and nobody else's? */
static bool is_mine_alone(const struct rsv_state *st, uint64_t mine)
{
	if (!st->held || st->holder != mine || st->wrong_type || !st->count)
		return false;
	for (unsigned i = 0; i < st->count; i++)
		if (st->key[i] != mine)
			return false;
	return true;
}

/* The status chooses the way of the next preempting, no more: success is seen in the next state. */
static void preempt(struct reserve *r, uint64_t mine, uint64_t victim)
{
	int rc;

	if (!r->no_abort) {
		rc = r->ops->command(r, RSV_PREEMPT_ABORT, mine, victim);
		if (rc != -EOPNOTSUPP && rc != -ETIMEDOUT)
			return;
		r->no_abort = true;
		r->labels |= UNIT_LABEL_NO_ABORT;
	}
	r->ops->command(r, RSV_PREEMPT, mine, victim);
#ifdef HF_MUTANT_RSV_NO_RESET
	return;
#endif
	if (r->ops->command(r, RSV_RESET, mine, 0) != 0)
		r->labels |= UNIT_LABEL_QUEUED;
}

/* One turn of taking R.  1: it is mine alone; 0: a command was given, look again. */
static int turn(struct reserve *r, const struct rsv_state *st, uint64_t mine)
{
	if (!st->registered || !has_key(st, mine)) {
		r->ops->command(r, RSV_REGISTER, mine, 0);
		return 0;
	}
	if (!st->held) {
		r->ops->command(r, RSV_RESERVE, mine, 0);
		return 0;
	}
	if (st->holder != mine || st->wrong_type) {
		preempt(r, mine, st->holder);
		return 0;
	}
	for (unsigned i = 0; i < st->count; i++)
#ifdef HF_MUTANT_UNIT_LOOP_FOREIGN_KEYS
		if (st->key[i] == ~mine) {
#else
		if (st->key[i] != mine) {
#endif
			preempt(r, mine, st->key[i]);
			return 0;
		}
	return 1;
}

/* Is the holder by R somebody who is just taking it from whom S still names? */
static bool is_stranger(const struct owner *o, const struct unit_self *self, uint64_t holder)
{
	uint16_t node = unit_key_node(holder);

	return holder && node != o->node && node != self->node;
}

static int take(struct reserve *r, const struct seal *s, const struct unit_self *self,
		const struct unit_ask *ask, struct owner *o, struct unit_answer *out)
{
	uint64_t mine = owner_key(self->node, self->generation);
	uint64_t patience_until = loop_clock_ns() + STRANGER_NS;
	struct rsv_state st;
	int rc;

	for (int i = 0; i < TURNS_MAX;) {
		rc = r->ops->read_state(r, mine, &st);
		if (rc == 0)
			rc = unit_record_read(r, s, o);
		if (rc)
			return rc;
		if (!unit_allowed(o, self, ask, out))
			return -EBADE;
		if (is_stranger(o, self, st.holder) && loop_clock_ns() < patience_until) {
			unit_sleep_ms(20);
			continue;
		}
		i++;
		if (turn(r, &st, mine))
			return 0;
	}
	return -EAGAIN;
}

/* S and R are mine already.  A visit whose own path is not registered yet does that first and looks
 * again: no page waits behind a path that was opened just now (F1), and if R was lost in between
 * the second look says so. */
static int keep(struct reserve *r, const struct seal *s, const struct unit_self *self,
		const struct unit_ask *ask, struct owner *o, struct unit_answer *out)
{
	uint64_t mine = owner_key(self->node, self->generation);
	struct rsv_state st;
	int rc;

	for (int i = 0; i < 4; i++) {
		rc = r->ops->read_state(r, mine, &st);
		if (rc == 0)
			rc = unit_record_read(r, s, o);
		if (rc)
			return rc;
		if (!unit_allowed(o, self, ask, out))
			return -EBADE;
#ifdef HF_MUTANT_UNIT_LOOP_TRUST_S
		st = (struct rsv_state){.held = true, .registered = true, .holder = mine,
					.count = 1, .key = {mine}};
#endif
		if (!is_mine_alone(&st, mine)) {
			out->holder = unit_key_node(st.holder);
			unit_say(out, UNIT_LOST, 0, "the reservation is no longer mine");
			return -EBADE;
		}
		if (st.registered)
			return 0;
		r->ops->command(r, RSV_REGISTER, mine, 0);
	}
	return -EAGAIN;
}

/* S goes last: whoever reads my name there may rely on R. Then both are read back. */
static int write_owner(struct reserve *r, const struct seal *s, const struct unit_self *self,
		       const struct owner *o, uint64_t epoch)
{
	uint64_t mine = owner_key(self->node, self->generation);
	struct rsv_state st;
	struct owner back;
	int rc = unit_record_write(r, s, o, self, epoch);

	if (rc == 0)
		rc = unit_record_read(r, s, &back);
	if (rc == 0)
		rc = r->ops->read_state(r, mine, &st);
	if (rc)
		return rc;
	return back.node == self->node && back.epoch == epoch &&
	       back.generation == self->generation && st.held && st.holder == mine ? 0 : -EBADE;
}

static const char *why(const struct reserve *r, int rc)
{
	return r->text[0] ? r->text : strerror(-rc);
}

void reserve_acquire(struct reserve *r, const struct seal *s, const struct unit_self *self,
		     const struct unit_ask *ask, struct unit_answer *out)
{
	bool keeping = ask->how == UNIT_KEEP;
	struct owner o;
	uint64_t epoch;
	int rc;

	/* What an earlier instance of this daemon left mounted goes before a key of ours could
	 * bring its old pages to life (F1). */
	if (!keeping && ((rc = unit_unmount(r->u, true, out->text, sizeof(out->text))) != 0 ||
			 (rc = unit_prove_free(r->u, out->text, sizeof(out->text))) != 0)) {
		out->outcome = UNIT_ERROR;
		out->err = rc;
		return;
	}
	rc = keeping ? keep(r, s, self, ask, &o, out) : take(r, s, self, ask, &o, out);
	if (rc == 0) {
		epoch = (o.epoch > ask->epoch_min ? o.epoch : ask->epoch_min) + 1;
		rc = write_owner(r, s, self, &o, epoch);
		if (rc == 0) {
			unit_say(out, UNIT_WON, 0, "won");
			out->owner = out->holder = self->node;
			out->epoch = out->owner_epoch = epoch;
			out->owner_generation = self->generation;
		}
	}
	if (rc && out->outcome != UNIT_LOST)
		unit_say(out, rc == -EBADE ? UNIT_LOST : UNIT_ERROR, rc, "%s: %s",
			 reserve_where(r->u), why(r, rc));
	if (rc && !keeping)
		r->ops->command(r, RSV_UNREGISTER, owner_key(self->node, self->generation), 0);
	out->labels = r->labels;
}

/* ---- giving up ----------------------------------------------------------------------------------- */
/* S is mine: unowned while R lets me.  -EBADE: S goes on naming me, and that is out of my hands. */
static int disown(struct reserve *r, const struct seal *s, const struct owner *o, uint64_t mine)
{
	struct rsv_state st;
	int rc = 0;

	for (int i = 0; i < 4; i++) {
		rc = r->ops->read_state(r, mine, &st);
		if (rc)
			return rc;
		if (!st.held || st.holder != mine)
			return -EBADE;
		if (st.registered)
			return unit_record_write(r, s, o, NULL, o->epoch + 1);
		r->ops->command(r, RSV_REGISTER, mine, 0);
	}
	return -EAGAIN;
}

static int unregister(struct reserve *r, uint64_t mine)
{
	struct rsv_state st;
	int rc = r->ops->read_state(r, mine, &st);

	for (int i = 0; i < 4 && rc == 0 && has_key(&st, mine); i++) {
		r->ops->command(r, RSV_UNREGISTER, mine, 0);
		rc = r->ops->read_state(r, mine, &st);
	}
	return rc ? rc : has_key(&st, mine) ? -EIO : 0;
}

void reserve_release(struct reserve *r, const struct seal *s, const struct unit_self *self,
		     struct unit_answer *out)
{
	uint64_t mine = owner_key(self->node, self->generation);
	struct owner o;
	int named = 0, rc = unit_prove_free(r->u, out->text, sizeof(out->text));

	if (rc) {
		out->outcome = UNIT_ERROR;
		out->err = rc;
		return;
	}
	rc = unit_record_read(r, s, &o);
	if (rc == 0 && o.node == self->node && o.generation == self->generation)
		named = disown(r, s, &o, mine);
	if (rc == 0 && (named == 0 || named == -EBADE))
		rc = unregister(r, mine);
	rc = rc ? rc : named;
	if (rc)
		unit_say(out, UNIT_ERROR, rc, "%.90s: cannot be released: %s", reserve_where(r->u),
			 rc == -EBADE && rc == named ? "the reservation is gone, and S goes on naming me" :
						       why(r, rc));
	else
		unit_say(out, UNIT_WON, 0, "released");
}

/* ---- looking --------------------------------------------------------------------------------------- */
int reserve_look(struct reserve *r, struct unit_answer *out)
{
	struct rsv_state st;
	int rc = r->ops->read_state ? r->ops->read_state(r, 0, &st) : 0;

	if (!r->ops->read_state || rc)
		return rc;
	out->holder = unit_key_node(st.holder);
	out->labels = r->labels;
	return 0;
}
