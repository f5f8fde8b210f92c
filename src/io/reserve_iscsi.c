/* reserve_iscsi.c - transport to an iSCSI logical unit: PERSISTENT RESERVE IN and OUT, and S by
 * direct reads and writes of the unit's last 64 KiB, all over one session of this visit (io/lu.h).
 *
 * A registration belongs to a nexus.  A target that knows nexuses by initiator name and ISID finds
 * this visit's again; one that does not (tgt) keeps the keys of sessions that have ended as
 * leftovers.  So `registered` is what this very session was told, the key is the same for all of
 * a node generation's nexuses, and to unregister is to preempt my own key first, which removes all
 * the others, then this one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/lu.h"

#define CONNECT_MS	2000
#define CONNECT_POLL_MS 1000
#define CONNECT_LOOK_MS 500
#define COMMAND_MS	3000
#define ABORT_MS	(RSV_ABORT_S * 1000)

struct visit {
	struct lu lu;
	bool registered, told_keeps;
};

static struct visit *visit_of(struct reserve *r)
{
	if (!r->own)
		r->own = mem_zalloc(1, sizeof(struct visit));
	return r->own;
}

/* What went wrong is kept as text for people. */
static int done(struct reserve *r, int rc)
{
	struct visit *v = r->own;

	if (v->lu.attention)
		v->registered = false; /* somebody changed something: register once more, it is harmless */
	v->lu.attention = false;
	if (!v->lu.c)
		v->registered = false;
	if (rc)
		memcpy(r->text, v->lu.text, sizeof(r->text));
	else
		r->text[0] = '\0';
	return rc;
}

static int need(struct reserve *r)
{
	struct visit *v = visit_of(r);
	bool keeps;
	int rc = 0;

	if (!v->lu.c) {
		v->registered = false;
		rc = lu_connect(&v->lu, r->u, r->role, ~0U,
				r->role == RSV_POLL ? CONNECT_POLL_MS : CONNECT_MS);
		v->lu.attention = false;
	}
	/* Not at every poll. A target that cannot tell is taken for one that forgets. */
	if (rc == 0 && !v->told_keeps && r->role != RSV_POLL) {
		rc = lu_pr_keeps(&v->lu, &keeps);
		if (rc == -EOPNOTSUPP)
			rc = 0;
		if (rc == 0 && !keeps)
			r->labels |= UNIT_LABEL_FORGETS;
		v->told_keeps = rc == 0;
	}
	return rc ? done(r, rc) : 0;
}

static int iscsi_read_state(struct reserve *r, uint64_t mine, struct rsv_state *st)
{
	struct visit *v;
	int rc = need(r);

	memset(st, 0, sizeof(*st));
	if (rc)
		return rc;
	v = r->own;
	rc = done(r, lu_pr_state(&v->lu, st));
	for (unsigned i = 0; i < st->count && rc == 0 && mine; i++)
		if (st->key[i] == mine)
			st->registered = v->registered;
	return rc;
}

static int register_here(struct reserve *r, uint64_t key)
{
	struct visit *v = r->own;
	int rc;

	rc = lu_pr_out(&v->lu, PR_OUT_REGISTER_IGNORE, 0, key, !(r->labels & UNIT_LABEL_FORGETS),
		       COMMAND_MS);
	if (rc == -EOPNOTSUPP && !(r->labels & UNIT_LABEL_FORGETS)) {
		r->labels |= UNIT_LABEL_FORGETS;
		rc = lu_pr_out(&v->lu, PR_OUT_REGISTER_IGNORE, 0, key, false, COMMAND_MS);
	}
	v->lu.attention = false; /* read over before it was carried out */
	v->registered = rc == 0 && key;
	return rc;
}

/* All of my key's registrations on whatever nexus, this one last. */
static int unregister_all(struct reserve *r, uint64_t mine)
{
	struct visit *v = r->own;
	int rc = v->registered ? 0 : register_here(r, mine);

	if (rc == 0)
		lu_pr_out(&v->lu, PR_OUT_PREEMPT, mine, mine, false, COMMAND_MS);
	return rc ? rc : register_here(r, 0);
}

static int iscsi_command(struct reserve *r, enum rsv_verb verb, uint64_t mine, uint64_t victim)
{
	struct visit *v;
	int rc = need(r);

	if (rc)
		return rc;
	v = r->own;
	switch (verb) {
	case RSV_REGISTER:
		return done(r, register_here(r, mine));
	case RSV_UNREGISTER:
		return done(r, unregister_all(r, mine));
	case RSV_RESERVE:
		return done(r, lu_pr_out(&v->lu, PR_OUT_RESERVE, mine, 0, false, COMMAND_MS));
	case RSV_PREEMPT_ABORT:
		return done(r, lu_pr_out(&v->lu, PR_OUT_PREEMPT_ABORT, mine, victim, false, ABORT_MS));
	case RSV_PREEMPT:
		return done(r, lu_pr_out(&v->lu, PR_OUT_PREEMPT, mine, victim, false, COMMAND_MS));
	case RSV_RESET:
		return done(r, lu_reset(&v->lu, COMMAND_MS));
	}
	return -EINVAL;
}

static int iscsi_record(struct reserve *r, uint8_t block[RSV_BLOCK], bool write)
{
	struct lu_command c;
	struct visit *v;
	int rc = need(r);

	if (rc)
		return rc;
	v = r->own;
	lu_cdb_rw(&c, &v->lu, write, true, v->lu.bytes - RSV_AREA, block, RSV_BLOCK);
	rc = lu_run(&v->lu, &c, COMMAND_MS);
	if (rc == -EOPNOTSUPP && write) { /* no FUA: the cache is written out below */
		lu_cdb_rw(&c, &v->lu, true, false, v->lu.bytes - RSV_AREA, block, RSV_BLOCK);
		rc = lu_run(&v->lu, &c, COMMAND_MS);
	}
	if (rc == 0 && !write && c.got != RSV_BLOCK)
		rc = -EIO;
	if (rc == 0 && write) {
		lu_cdb_sync(&c);
		rc = lu_run(&v->lu, &c, COMMAND_MS);
	}
	return done(r, rc);
}

static void iscsi_close(struct reserve *r)
{
	struct visit *v = r->own;

	if (v)
		lu_close(&v->lu);
	free(v);
	r->own = NULL;
}

/* ---- for people ----------------------------------------------------------------------------------- */
/* Each portal is logged in to by itself. */
static void view_paths(struct reserve *r, struct unit_view *v)
{
	const struct unit_spec *u = r->u;

	v->paths_known = true;
	v->path_total = u->portal_count;
	for (unsigned i = 0; i < u->portal_count && i < UNIT_VIEW_PATHS; i++) {
		struct lu l;
		int rc = lu_connect(&l, u, r->role, 1U << i, CONNECT_LOOK_MS);

		snprintf(v->path[i].dev, sizeof(v->path[i].dev), "%.39s", u->portal[i]);
		snprintf(v->path[i].state, sizeof(v->path[i].state), "%s",
			 rc == 0 ? "up" : rc == -ENXIO ? "another unit" : "no login");
		v->path[i].good = rc == 0;
		v->path_good += rc == 0;
		v->path_count++;
		lu_close(&l);
	}
}

static int iscsi_view(struct reserve *r, struct unit_view *v)
{
	struct prin_status st = {0};
	int rc = need(r);

	if (rc == 0)
		rc = done(r, lu_pr_status(&((struct visit *)r->own)->lu, true, &st));
	iscsi_close(r); /* the paths are looked at with the same name */
	view_paths(r, v);
	if (rc)
		return rc;
	v->held = st.held;
	v->type = st.type;
	v->a.holder = unit_key_node(st.holder);
	v->a.labels |= r->labels;
	v->memory_known = st.ptpl_known || (r->labels & UNIT_LABEL_FORGETS);
	v->remembers = st.ptpl_known && st.ptpl_active;
	v->key_total = st.total;
	for (unsigned i = 0; i < st.count && i < UNIT_VIEW_KEYS; i++) {
		const struct prin_registrant *g = &st.registrant[i];

		v->key[i].key = g->key;
		v->key[i].holder = g->holder || (g->key && g->key == st.holder);
		v->key[i].port = g->port;
		snprintf(v->key[i].name, sizeof(v->key[i].name), "%.45s", g->name);
		v->key_count++;
	}
	return 0;
}

const struct rsv_ops rsv_iscsi_ops = {
	.name = "iscsi",
	.close = iscsi_close,
	.read_state = iscsi_read_state,
	.command = iscsi_command,
	.record = iscsi_record,
	.view = iscsi_view,
};
