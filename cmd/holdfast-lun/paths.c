/* paths.c - the sessions to the unit and the commands on them.  See lun.h. */
#include <errno.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "lun.h"

#define MS_NS	   1000000ULL
#define CONNECT_MS 1000
#define PR_MS	   1000
#define RETRY_MS   200
#define PING_NS	   (2000 * MS_NS) /* one that nobody uses is asked so often whether it is there */
#define SETTLE_NS  (1500 * MS_NS)
#define BUSY_NS	   (10 * MS_NS)
#define AGAIN_MAX  8 /* unit attentions in a row; 3 are normal */

/* ---- making sessions, in a thread for each portal ------------------------------------------------ */
/* Registered first, then looked at: see lun.h. */
static int enrol(struct lu *lu, uint64_t key)
{
	struct rsv_state st = {0};
	int rc = lu_pr_out(lu, PR_OUT_REGISTER_IGNORE, 0, key, true, PR_MS);

	if (rc == -EOPNOTSUPP)
		rc = lu_pr_out(lu, PR_OUT_REGISTER_IGNORE, 0, key, false, PR_MS);
	if (rc == 0)
		rc = lu_pr_state(lu, &st);
	if (rc)
		return rc == -EBADE ? -EIO : rc;
#ifndef HF_MUTANT_LUN_BLIND_REGISTER
	if (st.held && st.holder == key && !st.wrong_type)
		return 0;
#else
	return 0;
#endif
	lu_pr_out(lu, PR_OUT_REGISTER_IGNORE, 0, 0, false, PR_MS);
	snprintf(lu->text, sizeof(lu->text), "the reservation is not mine");
	return -EBADE;
}

static int make_session(struct lun_path *p, struct lu *lu)
{
	struct lun *l = p->lun;
	int rc = lu_connect(lu, &l->spec, RSV_DATA, 1U << p->portal, CONNECT_MS);

	if (rc == 0 && l->unit && l->spec.key) {
		pthread_mutex_lock(&p->lock);
		p->enrolling = !p->quit;
		pthread_mutex_unlock(&p->lock);
		rc = p->enrolling ? enrol(lu, l->spec.key) : -ECANCELED;
	}
	if (rc)
		lu_close(lu);
	return rc;
}

static void *session_thread(void *arg)
{
	struct lun_path *p = arg;
	struct lu lu;
	uint64_t one = 1;
	int rc;

	for (;;) {
		pthread_mutex_lock(&p->lock);
		while (!p->wanted)
			pthread_cond_wait(&p->turn, &p->lock);
		pthread_mutex_unlock(&p->lock);
		rc = make_session(p, &lu);
		pthread_mutex_lock(&p->lock);
		p->fresh = lu;
		p->rc = rc;
		p->made = true;
		p->wanted = p->enrolling = false;
		pthread_mutex_unlock(&p->lock);
		if (write(p->lun->event_fd, &one, sizeof(one)) < 0)
			log_err_errno("eventfd");
		if (rc)
			unit_sleep_ms(RETRY_MS);
	}
	return NULL;
}

static void want(struct lun_path *p)
{
	pthread_mutex_lock(&p->lock);
	p->wanted = true;
	pthread_cond_signal(&p->turn);
	pthread_mutex_unlock(&p->lock);
}

void paths_start(struct lun *l)
{
	l->wait_end = &l->wait;
	l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	hf_assert(l->event_fd >= 0);
	for (unsigned i = 0; i < l->spec.portal_count; i++) {
		struct lun_path *p = &l->path[i];

		p->lun = l;
		p->portal = i;
		p->wanted = true;
		pthread_mutex_init(&p->lock, NULL);
		pthread_cond_init(&p->turn, NULL);
		hf_assert(pthread_create(&p->thread, NULL, session_thread, p) == 0);
	}
}

/* No thread is left between its registering and its look: it would leave a key behind.  One that
 * is still connecting does no harm. */
void paths_settle(struct lun *l)
{
	uint64_t until = loop_clock_ns() + SETTLE_NS;

	for (unsigned i = 0; i < l->spec.portal_count; i++)
		for (bool busy = true; busy && loop_clock_ns() < until;) {
			pthread_mutex_lock(&l->path[i].lock);
			l->path[i].quit = true;
			busy = l->path[i].enrolling;
			pthread_mutex_unlock(&l->path[i].lock);
			if (busy)
				unit_sleep_ms(1);
		}
}

/* ---- requests ------------------------------------------------------------------------------------- */
static void put_waiting(struct lun *l, struct lun_req *r)
{
	r->next = NULL;
	*l->wait_end = r;
	l->wait_end = &r->next;
}

static void end(struct lun_req *r, int err, const void *data, size_t len)
{
	file_reply(r, err, data, len);
	if (r->task)
		scsi_free_scsi_task(r->task);
	free(r->data);
	free(r);
}

void paths_submit(struct lun *l, struct lun_req *r)
{
	put_waiting(l, r);
}

static void lose(struct lun *l, const char *why)
{
	if (!l->lost)
		log_warn("%s: %s: nothing is read or written any more", l->spec.target, why);
	l->lost = true;
}

static void take_off(struct lun_req *r)
{
	struct lun_req **at = &r->path->flight;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->path = NULL;
}

/* To be sent once more, before what came later. */
static void again(struct lun *l, struct lun_req *r, uint64_t after_ns)
{
	if (r->task)
		scsi_free_scsi_task(r->task);
	r->task = NULL;
	r->not_before_ns = after_ns ? loop_clock_ns() + after_ns : 0;
	r->next = l->wait;
	l->wait = r;
	if (!r->next)
		l->wait_end = &r->next;
}

static void on_good(struct lun *l, struct lun_req *r)
{
	if (r->kind == LUN_READ && (size_t)r->task->datain.size != r->len) {
		end(r, EIO, NULL, 0);
	} else if (r->kind == LUN_READ) {
		end(r, 0, r->task->datain.data, r->len);
	} else if (r->kind == LUN_WRITE && r->then_sync) {
		struct lun_req *s = mem_zalloc(1, sizeof(*s));

		/* The kernel's request goes on as a flush, which answers it as the write that it is. */
		*s = *r;
		s->task = NULL;
		s->then_sync = false;
		s->again = 0;
		free(s->data);
		s->data = NULL;
		scsi_free_scsi_task(r->task);
		free(r);
		again(l, s, 0);
	} else {
		end(r, 0, NULL, 0);
	}
}

static void on_check(struct lun *l, struct lun_req *r)
{
	const struct scsi_task *t = r->task;

	if (t->sense.key == SCSI_SENSE_UNIT_ATTENTION && ++r->again < AGAIN_MAX) {
		again(l, r, 0);
		return;
	}
	log_limited(LOG_L_WARN, "%s: %s at byte %llu: %s, %s", l->spec.target,
		    r->kind == LUN_READ ? "read" : r->kind == LUN_WRITE ? "write" : "flush",
		    (unsigned long long)r->at, scsi_sense_key_str((int)t->sense.key),
		    scsi_sense_ascq_str(t->sense.ascq));
	end(r, EIO, NULL, 0);
}

/* Whether it was carried out is not known: a write may still land until the unit was reset. */
static void cut_short(struct lun *l, struct lun_req *r)
{
	if (r->kind == LUN_WRITE)
		l->must_reset = true;
	if (r->fuse)
		again(l, r, 0);
	else
		end(r, EIO, NULL, 0);
}

static void on_scsi(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct lun_req *r = arg;
	struct lun_path *p = r->path;
	struct lun *l = p->lun;

	(void)c;
	(void)data;
	take_off(r);
	switch (status) {
	case SCSI_STATUS_GOOD:
		on_good(l, r);
		break;
	case SCSI_STATUS_RESERVATION_CONFLICT:
		if (r->kind != LUN_PING)
			lose(l, "reservation conflict");
		end(r, EBADE, NULL, 0);
		break;
	case SCSI_STATUS_CHECK_CONDITION:
		on_check(l, r);
		break;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
		again(l, r, BUSY_NS);
		break;
	case SCSI_STATUS_CANCELLED:
	case SCSI_STATUS_ERROR:
	case SCSI_STATUS_TIMEOUT:
		p->failed = true;
		cut_short(l, r);
		break;
	default:
		end(r, EIO, NULL, 0);
		break;
	}
}

static void on_reset(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct lun_req *r = arg;
	struct lun *l = r->path->lun;
	struct lun_path *p = r->path;
	bool done = status == SCSI_STATUS_GOOD && data && *(uint32_t *)data == 0;

	(void)c;
	take_off(r);
	end(r, 0, NULL, 0);
	if (done) {
		l->must_reset = false;
	} else if (status == SCSI_STATUS_GOOD) {
		lose(l, "a path failed in the middle of writes and the unit cannot be reset");
	} else {
		p->failed = true;
	}
}

/* ---- sending ----------------------------------------------------------------------------------------- */
static void make_task(struct lun_req *r, const struct lu *lu, struct lu_command *c)
{
	int way = SCSI_XFER_NONE;

	switch (r->kind) {
	case LUN_READ:
		lu_cdb_rw(c, lu, false, false, r->at, NULL, r->len);
		way = SCSI_XFER_READ;
		break;
	case LUN_WRITE:
		if (!r->data) { /* written; now its flush */
			lu_cdb_sync(c);
			break;
		}
		lu_cdb_rw(c, lu, true, false, r->at, r->data, r->len);
		way = SCSI_XFER_WRITE;
		break;
	case LUN_SYNC:
		lu_cdb_sync(c);
		break;
	case LUN_PING:
	case LUN_RESET:
		*c = (struct lu_command){.cdb_len = 6}; /* TEST UNIT READY */
		break;
	}
	r->task = scsi_create_task((int)c->cdb_len, c->cdb, way, (int)c->len);
	hf_assert(r->task);
}

static void send_on(struct lun_path *p, struct lun_req *r)
{
	struct iscsi_data out = {.size = r->len, .data = r->data};
	struct lu_command c;
	int rc;

	r->path = p;
	r->next = p->flight;
	p->flight = r;
	r->sent_ns = p->used_ns = loop_clock_ns();
	if (r->kind == LUN_RESET) {
		rc = iscsi_task_mgmt_lun_reset_async(p->lu.c, p->lun->spec.target_lun, on_reset, r);
	} else {
		make_task(r, &p->lu, &c);
		rc = iscsi_scsi_command_async(p->lu.c, (int)p->lun->spec.target_lun, r->task, on_scsi,
					      c.way == LU_WRITE ? &out : NULL, r);
	}
	if (rc < 0) {
		p->failed = true;
		take_off(r);
		if (r->fuse)
			again(p->lun, r, 0);
		else
			end(r, EIO, NULL, 0);
	}
}

static void send_ours(struct lun_path *p, enum lun_kind kind)
{
	struct lun_req *r = mem_zalloc(1, sizeof(*r));

	r->kind = kind;
	r->begun_ns = loop_clock_ns();
	send_on(p, r);
}

static bool is_up(const struct lun_path *p)
{
	return p->lu.c && !p->failed;
}

static struct lun_path *choose(struct lun *l)
{
	if (l->active && is_up(l->active))
		return l->active;
	l->active = NULL;
	for (unsigned i = 0; i < l->spec.portal_count && !l->active; i++)
		if (is_up(&l->path[i]))
			l->active = &l->path[i];
	return l->active;
}

static void pump(struct lun *l)
{
	struct lun_path *p = l->lost ? NULL : choose(l);
	struct lun_req *r, *list = l->wait;
	uint64_t now = loop_clock_ns();

	if (p && l->must_reset) {
		if (!p->flight)
			send_ours(p, LUN_RESET);
		return;
	}
	l->wait = NULL;
	l->wait_end = &l->wait;
	while ((r = list)) {
		list = r->next;
		if (l->lost)
			end(r, EBADE, NULL, 0);
		else if (p && is_up(p) && r->not_before_ns <= now)
			send_on(p, r);
		else
			put_waiting(l, r);
	}
}

/* ---- times and ends ---------------------------------------------------------------------------------- */
static void take_down(struct lun_path *p)
{
	struct lun *l = p->lun;
	char text[LU_ERROR_MAX];
	const char *why = p->lu.text[0] ? p->lu.text : lu_error(p->lu.c, text);

	snprintf(l->why, sizeof(l->why), "%.40s: %.70s", l->spec.portal[p->portal], why);
	log_warn("%s: the path by %s failed: %s", l->spec.target, l->spec.portal[p->portal], why);
	p->failed = true;
	lu_close(&p->lu); /* its commands come back cancelled */
	while (p->flight) { /* those it has forgotten */
		struct lun_req *r = p->flight;

		p->flight = r->next;
		r->path = NULL;
		cut_short(l, r);
	}
	if (l->active == p)
		l->active = NULL;
	want(p);
}

static void take_fresh(struct lun_path *p)
{
	struct lun *l = p->lun;
	bool made;

	pthread_mutex_lock(&p->lock);
	made = p->made;
	p->made = false;
	pthread_mutex_unlock(&p->lock);
	if (!made)
		return;
	if (p->rc == -EBADE)
		lose(l, "the reservation is not mine");
	if (p->rc) {
		snprintf(l->why, sizeof(l->why), "%.40s: %.70s", l->spec.portal[p->portal], p->fresh.text);
		if (!l->lost)
			want(p);
		return;
	}
	p->lu = p->fresh;
	p->failed = false;
	p->used_ns = loop_clock_ns();
	log_notice("%s: the path by %s is up", l->spec.target, l->spec.portal[p->portal]);
}

static void check_times(struct lun *l)
{
	uint64_t now = loop_clock_ns();
	struct lun_req *r, *list = l->wait;

	for (unsigned i = 0; i < l->spec.portal_count; i++) {
		struct lun_path *p = &l->path[i];

		for (r = p->flight; r; r = r->next)
			if (now - r->sent_ns > l->answer_ns && !p->failed) {
				snprintf(p->lu.text, sizeof(p->lu.text), "no answer");
				p->failed = true;
			}
		if (is_up(p) && !p->flight && now - p->used_ns > PING_NS)
			send_ours(p, LUN_PING);
	}
	l->wait = NULL;
	l->wait_end = &l->wait;
	while ((r = list)) {
		list = r->next;
		if (now - r->begun_ns > l->give_up_ns) {
			log_limited(LOG_L_WARN, "%s: no path for %llu ms: %s", l->spec.target,
				    (unsigned long long)(l->give_up_ns / MS_NS), l->why);
			end(r, EIO, NULL, 0);
		} else {
			put_waiting(l, r);
		}
	}
}

void paths_turn(struct lun *l)
{
	for (unsigned i = 0; i < l->spec.portal_count; i++)
		take_fresh(&l->path[i]);
	check_times(l);
	for (unsigned i = 0; i < l->spec.portal_count; i++)
		if (l->path[i].lu.c && l->path[i].failed)
			take_down(&l->path[i]);
	pump(l);
}

bool paths_any(const struct lun *l)
{
	for (unsigned i = 0; i < l->spec.portal_count; i++)
		if (is_up(&l->path[i]))
			return true;
	return false;
}
