/* lu.c - sessions and single commands to a logical unit, over libiscsi's asynchronous calls with an
 * event loop of our own: its synchronous ones know no limit while a connection is being made. */
#include "io/lu.h"

#include <errno.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "codec/wwid.h"
#include "io/chap.h"
#include "io/loop.h"

#define MS_NS	    1000000ULL
#define STAGGER_MS  40 /* a portal that takes longer is not waited for alone */
#define ATTENTIONS  8  /* read over for one command */
#define COMMAND_MS  3000
#define SENSE_ILLEGAL 5

const char *lu_error(struct iscsi_context *c, char text[LU_ERROR_MAX])
{
	const char *s = iscsi_get_error(c);

	/* What libiscsi says of a connection that ended while it may not make it anew. */
	if (!s || !*s || strstr(s, "an not reconnect"))
		s = "the connection ended";
	snprintf(text, LU_ERROR_MAX, "%.*s", (int)strcspn(s, "\n"), s);
	return text;
}

static int no_session(struct lu *l, int rc, const char *what)
{
	char text[LU_ERROR_MAX];

	if (l->c && !l->text[0])
		snprintf(l->text, sizeof(l->text), "%.40s: %.70s", what, lu_error(l->c, text));
	lu_close(l);
	return rc;
}

void lu_close(struct lu *l)
{
	struct iscsi_context *c = l->c;

	l->c = NULL;
	if (c)
		iscsi_destroy_context(c);
}

/* ---- connecting ------------------------------------------------------------------------------- */
struct attempt {
	struct iscsi_context *c;
	bool done;
	int status;
};

static void on_connected(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct attempt *a = arg;

	(void)c;
	(void)data;
	a->done = true;
	a->status = status;
}

/* The ISID is of the random kind, but fixed: RFC 3720 wants it to stay as long as the initiator's
 * configuration does.  A look from the command line may run beside others of its kind. */
static void set_isid(struct iscsi_context *c, const struct unit_spec *u, enum rsv_role role,
		     unsigned portal)
{
	uint32_t of_node = crc32c(0, u->initiator, strlen(u->initiator));
	uint32_t qualifier = (uint32_t)role << 8 | portal;

	if (role == RSV_LOOK)
		qualifier = 0x8000 | ((uint32_t)getpid() & 0x1fff) << 2 | (portal & 3);
	iscsi_set_isid_random(c, of_node & 0xffffff, qualifier);
}

static void start(struct attempt *a, const struct unit_spec *u, const struct chap *chap,
		  enum rsv_role role, unsigned portal)
{
	a->c = iscsi_create_context(u->initiator);
	a->done = true;
	a->status = -1;
	if (!a->c)
		return;
	iscsi_set_targetname(a->c, u->target);
	iscsi_set_session_type(a->c, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(a->c, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	iscsi_set_noautoreconnect(a->c, 1);
	if (chap->name[0] && iscsi_set_initiator_username_pwd(a->c, chap->name, chap->secret) != 0)
		return;
#ifndef HF_MUTANT_CHAP_ANY_TARGET
	if (chap->target_name[0] &&
	    iscsi_set_target_username_pwd(a->c, chap->target_name, chap->target_secret) != 0)
		return;
#endif
	set_isid(a->c, u, role, portal);
	a->done = iscsi_full_connect_async(a->c, u->portal[portal], (int)u->target_lun, on_connected,
					   a) != 0;
}

/* Serves whatever happens on up to UNIT_PORTALS_MAX sessions for at most `ms`. */
static void serve(struct attempt *a, unsigned count, int ms)
{
	struct pollfd fds[UNIT_PORTALS_MAX];
	unsigned of[UNIT_PORTALS_MAX], n = 0;

	for (unsigned i = 0; i < count; i++) {
		int fd = a[i].c && !a[i].done ? iscsi_get_fd(a[i].c) : -1;

		if (fd < 0)
			continue;
		fds[n] = (struct pollfd){.fd = fd, .events = (short)iscsi_which_events(a[i].c)};
		of[n++] = i;
	}
	if (poll(fds, n, ms) < 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (iscsi_service(a[of[i]].c, fds[i].revents) < 0 && !a[of[i]].done) {
			a[of[i]].done = true;
			a[of[i]].status = -1;
		}
}

static int ms_left(uint64_t until)
{
	uint64_t now = loop_clock_ns();

	return now >= until ? 0 : (int)((until - now) / MS_NS) + 1;
}

/* Index of a session that is up, or -1 when the time is over or all have failed. */
static int race(struct attempt *a, const struct unit_spec *u, const struct chap *chap,
		enum rsv_role role, unsigned portals, unsigned limit_ms)
{
	uint64_t until = loop_clock_ns() + limit_ms * MS_NS, next_at = 0;
	unsigned started = 0;

	for (;;) {
		bool open = false;

		for (unsigned i = 0; i < started; i++) {
			if (a[i].done && a[i].status == SCSI_STATUS_GOOD)
				return (int)i;
			open |= a[i].c && !a[i].done;
		}
		if (started < u->portal_count && (!open || loop_clock_ns() >= next_at)) {
			if (portals >> started & 1)
				start(&a[started], u, chap, role, started);
			started++;
			next_at = loop_clock_ns() + STAGGER_MS * MS_NS;
			continue;
		}
		if (!open || !ms_left(until))
			return -1;
		serve(a, started, ms_left(until) < STAGGER_MS ? ms_left(until) : STAGGER_MS);
	}
}

static int read_size(struct lu *l)
{
	uint8_t data[32] = {0};
	struct lu_command c = {.cdb = {0x9e, 0x10}, .cdb_len = 16, .way = LU_READ, .data = data,
			       .len = sizeof(data)};
	uint64_t last = 0;
	int rc;

	c.cdb[13] = sizeof(data);
	rc = lu_run(l, &c, COMMAND_MS);
	if (rc)
		return rc;
	for (unsigned i = 0; i < 8; i++)
		last = last << 8 | data[i];
	l->block = (uint32_t)data[8] << 24 | (uint32_t)data[9] << 16 | (uint32_t)data[10] << 8 | data[11];
	if (c.got < 12 || l->block < 512 || l->block > RSV_BLOCK || (l->block & (l->block - 1)) ||
	    last >= UINT64_MAX / l->block || (last + 1) * l->block < 2 * RSV_AREA) {
		snprintf(l->text, sizeof(l->text), "a unit of %llu blocks of %u bytes is of no use",
			 (unsigned long long)last + 1, l->block);
		return -EINVAL;
	}
	l->bytes = (last + 1) * l->block;
	return 0;
}

int lu_page83(struct lu *l, uint8_t *page, size_t size)
{
	struct lu_command c = {.cdb = {0x12, 1, 0x83, (uint8_t)(size >> 8), (uint8_t)size},
			       .cdb_len = 6, .way = LU_READ, .data = page, .len = size};
	int rc = lu_run(l, &c, COMMAND_MS);

	return rc ? rc : (int)c.got;
}

/* Nothing is written to a unit that is not the one that was meant (VS-111). */
static int check_wwid(struct lu *l, const struct unit_spec *u)
{
	char name[WWID_COUNT][WWID_MAX];
	uint8_t page[512] = {0};
	int len = lu_page83(l, page, sizeof(page)), n;

	if (len < 0)
		return len;
#ifndef HF_MUTANT_LU_ANY_WWID
	if (wwid_has(page, (size_t)len, u->wwid))
		return 0;
#else
	return 0;
#endif
	n = wwid_list(page, (size_t)len, name);
	snprintf(l->text, sizeof(l->text), "lun %u is not %.40s but %.40s", u->target_lun, u->wwid,
		 n > 0 ? name[0] : "without a name");
	return -ENXIO;
}

int lu_connect(struct lu *l, const struct unit_spec *u, enum rsv_role role, unsigned portals,
	       unsigned limit_ms)
{
	struct attempt a[UNIT_PORTALS_MAX] = {{0}};
	struct chap chap = {.name = ""};
	char text[LU_ERROR_MAX];
	int i, rc;

	*l = (struct lu){.target_lun = u->target_lun};
	signal(SIGPIPE, SIG_IGN); /* libiscsi writes to sockets whose other end may be gone */
	rc = u->chap[0] ? chap_load(&chap, u->chap, l->text, sizeof(l->text)) : 0;
	if (rc)
		return rc;
	i = race(a, u, &chap, role, portals, limit_ms);
	chap_wipe(&chap);
	if (i >= 0) {
		l->c = a[i].c;
		l->portal = (unsigned)i;
	}
	for (unsigned k = 0; k < UNIT_PORTALS_MAX; k++)
		if (a[k].c && (int)k != i) {
			if (i < 0 && a[k].done)
				snprintf(l->text, sizeof(l->text), "%.30s: %.80s", u->portal[k],
					 lu_error(a[k].c, text));
			iscsi_destroy_context(a[k].c);
		}
	if (i < 0) {
		if (!l->text[0])
			snprintf(l->text, sizeof(l->text), "no portal answers within %u ms", limit_ms);
		return -ENOTCONN;
	}
	rc = u->wwid[0] ? check_wwid(l, u) : 0;
	if (rc == 0)
		rc = read_size(l);
	return rc ? no_session(l, rc, "login") : 0;
}

/* ---- commands ------------------------------------------------------------------------------------ */
/* Outlives a command whose session is given up: the callback may come with the context's end. */
struct answer {
	bool done;
	int status;
	uint32_t response;
};

static void on_answer(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct answer *a = arg;

	(void)c;
	(void)data;
	a->done = true;
	a->status = status;
}

static void on_task_mgmt(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct answer *a = arg;

	(void)c;
	a->done = true;
	a->status = status;
	a->response = status == SCSI_STATUS_GOOD && data ? *(uint32_t *)data : UINT32_MAX;
}

static int wait_for(struct lu *l, struct answer *a, unsigned limit_ms)
{
	uint64_t until = loop_clock_ns() + limit_ms * MS_NS;

	while (!a->done) {
		struct pollfd p = {.fd = iscsi_get_fd(l->c), .events = (short)iscsi_which_events(l->c)};
		int left = ms_left(until);

		if (!left) {
			snprintf(l->text, sizeof(l->text), "no answer within %u ms", limit_ms);
			return no_session(l, -ETIMEDOUT, "command");
		}
		if (p.fd < 0 || (poll(&p, 1, left) < 0 && errno != EINTR) ||
		    iscsi_service(l->c, p.revents) < 0)
			return no_session(l, -ENOTCONN, "command");
	}
	if (a->status == SCSI_STATUS_CANCELLED || a->status == SCSI_STATUS_ERROR ||
	    a->status == SCSI_STATUS_TIMEOUT)
		return no_session(l, -ENOTCONN, "command");
	return 0;
}

static int meaning(struct lu *l, const struct scsi_task *t)
{
	switch (t->status) {
	case SCSI_STATUS_GOOD:
		return 0;
	case SCSI_STATUS_RESERVATION_CONFLICT:
		snprintf(l->text, sizeof(l->text), "reservation conflict");
		return -EBADE;
	case SCSI_STATUS_CHECK_CONDITION:
		if (t->sense.key == SCSI_SENSE_UNIT_ATTENTION)
			return -EAGAIN;
		snprintf(l->text, sizeof(l->text), "%s, %s", scsi_sense_key_str((int)t->sense.key),
			 scsi_sense_ascq_str(t->sense.ascq));
		return t->sense.key == SENSE_ILLEGAL ? -EOPNOTSUPP : -EIO;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
		return -EBUSY;
	default:
		snprintf(l->text, sizeof(l->text), "SCSI status 0x%x", (unsigned)t->status);
		return -EIO;
	}
}

static int run_once(struct lu *l, struct lu_command *c, unsigned limit_ms)
{
	static const int way[] = {[LU_NONE] = SCSI_XFER_NONE, [LU_READ] = SCSI_XFER_READ,
				  [LU_WRITE] = SCSI_XFER_WRITE};
	struct iscsi_data out = {.size = c->len, .data = c->data};
	struct answer a = {0};
	struct scsi_task *t = scsi_create_task((int)c->cdb_len, c->cdb, way[c->way], (int)c->len);
	int rc;

	if (!t)
		return -ENOMEM;
	if (iscsi_scsi_command_async(l->c, (int)l->target_lun, t, on_answer,
				     c->way == LU_WRITE ? &out : NULL, &a) < 0) {
		scsi_free_scsi_task(t);
		return no_session(l, -ENOTCONN, "command");
	}
	rc = wait_for(l, &a, limit_ms);
	if (rc == 0)
		rc = meaning(l, t);
	if (rc == 0 && c->way == LU_READ) {
		c->got = t->datain.size > 0 ? (size_t)t->datain.size : 0;
		if (c->got > c->len)
			c->got = c->len;
		if (c->got)
			memcpy(c->data, t->datain.data, c->got);
	}
	scsi_free_scsi_task(t);
	return rc;
}

int lu_run(struct lu *l, struct lu_command *c, unsigned limit_ms)
{
	int rc = -EIO;

	if (!l->c)
		return -ENOTCONN;
	l->text[0] = '\0';
	for (unsigned i = 0; i < ATTENTIONS; i++) {
		rc = run_once(l, c, limit_ms);
		if (rc == -EAGAIN)
			l->attention = true;
		else if (rc == -EBUSY)
			unit_sleep_ms(10);
		else
			return rc;
	}
	return rc == -EAGAIN ? -EIO : rc;
}

int lu_reset(struct lu *l, unsigned limit_ms)
{
	struct answer a = {0};
	int rc;

	if (!l->c)
		return -ENOTCONN;
	if (iscsi_task_mgmt_lun_reset_async(l->c, l->target_lun, on_task_mgmt, &a) < 0)
		return no_session(l, -ENOTCONN, "LUN RESET");
	rc = wait_for(l, &a, limit_ms);
	return rc ? rc : a.response == 0 ? 0 : -EOPNOTSUPP;
}

static void put_be(uint8_t *p, unsigned n, uint64_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

void lu_cdb_rw(struct lu_command *c, const struct lu *l, bool write, bool fua, uint64_t at,
	       uint8_t *data, size_t len)
{
	*c = (struct lu_command){.cdb = {write ? 0x8a : 0x88, fua ? 0x08 : 0}, .cdb_len = 16,
				 .way = write ? LU_WRITE : LU_READ, .data = data, .len = len};
	put_be(c->cdb + 2, 8, at / l->block);
	put_be(c->cdb + 10, 4, len / l->block);
}

void lu_cdb_sync(struct lu_command *c)
{
	/* SYNCHRONIZE CACHE(10), the whole unit */
	*c = (struct lu_command){.cdb = {0x35}, .cdb_len = 10, .way = LU_NONE};
}

/* ---- persistent reservations ----------------------------------------------------------------------- */
#define PR_IN_KEYS   0
#define PR_IN_RESERVATION 1
#define PR_IN_CAPABILITIES 2
#define PR_IN_FULL   3

int lu_pr_out(struct lu *l, enum pr_out action, uint64_t key, uint64_t service_key, bool aptpl,
	      unsigned limit_ms)
{
	uint8_t data[24] = {0};
	uint8_t type = action == PR_OUT_REGISTER_IGNORE ? 0 : PRIN_TYPE_WE_RO;
	struct lu_command c = {.cdb = {0x5f, (uint8_t)action, type, 0, 0, 0, 0, 0, sizeof(data)},
			       .cdb_len = 10, .way = LU_WRITE, .data = data, .len = sizeof(data)};

	put_be(data, 8, key);
	put_be(data + 8, 8, service_key);
	data[20] = aptpl ? 1 : 0;
	return lu_run(l, &c, limit_ms);
}

static int pr_in(struct lu *l, unsigned action, uint8_t *data, size_t len, size_t *got)
{
	struct lu_command c = {.cdb = {0x5e, (uint8_t)action, [7] = (uint8_t)(len >> 8), (uint8_t)len},
			       .cdb_len = 10, .way = LU_READ, .data = data, .len = len};
	int rc = lu_run(l, &c, COMMAND_MS);

	*got = c.got;
	return rc;
}

int lu_pr_status(struct lu *l, bool details, struct prin_status *st)
{
	uint8_t *data = mem_zalloc(1, PRIN_SIZE);
	size_t got;
	int rc = pr_in(l, PR_IN_KEYS, data, 8 + 8 * PRIN_KEYS_MAX, &got);

	if (rc == 0)
		rc = prin_keys(data, got, st);
	if (rc == 0)
		rc = pr_in(l, PR_IN_RESERVATION, data, 24, &got);
	if (rc == 0)
		rc = prin_reservation(data, got, st);
	/* Of what a target need not know the rest is shown without. */
	if (rc == 0 && details && pr_in(l, PR_IN_CAPABILITIES, data, 8, &got) == 0)
		prin_capabilities(data, got, st);
	if (rc == 0 && details && pr_in(l, PR_IN_FULL, data, PRIN_SIZE, &got) == 0)
		prin_full(data, got, st);
	free(data);
	return rc;
}

int lu_pr_state(struct lu *l, struct rsv_state *st)
{
	struct prin_status p = {0};
	int rc = lu_pr_status(l, false, &p);

	if (rc)
		return rc;
	st->held = p.held;
	st->holder = p.holder;
	st->wrong_type = p.held && p.type != PRIN_TYPE_WE_RO;
	for (unsigned i = 0; i < p.count && st->count < RSV_KEYS_MAX; i++)
		st->key[st->count++] = p.registrant[i].key;
	return 0;
}

int lu_pr_keeps(struct lu *l, bool *keeps)
{
	struct prin_status p = {0};
	uint8_t data[8] = {0};
	size_t got;
	int rc = pr_in(l, PR_IN_CAPABILITIES, data, sizeof(data), &got);

	*keeps = rc == 0 && prin_capabilities(data, got, &p) == 0 && p.ptpl_capable;
	return rc;
}
