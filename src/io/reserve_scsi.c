/* reserve_scsi.c - the kernel's block devices as transport: SCSI, NVMe, and dm-multipath over them.
 *
 * To act: the PR ioctls of linux/pr.h, which speak each device's own language and register with APTPL.
 * To read: PERSISTENT RESERVE IN by SG_IO, NVMe's Reservation Report; no ioctl tells.
 *
 * A key is registered on every path that answers, each after the proof that nothing holds it (F1),
 * always on the devices themselves, never through a multipath map, so that no path is left out.  A
 * path that does not answer gets no key: it comes back as a stranger whose writes fail, until
 * REGISTER has gone over all paths again.  Keys stand for (nexus, key) pairs at the target, so as many
 * of mine as good paths must be read back.
 *
 * S lies in the first block of the last 64 KiB, written with O_DIRECT. */
#include <errno.h>
#include <fcntl.h>
#include <linux/pr.h>
#include <scsi/sg.h>
#include <scsi/scsi_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/paths.h"
#include "io/reserve.h"
#include "io/sgio.h"

#define TRIES	 3
#define CONFLICT 0x18 /* SCSI status, which the ioctls hand on */

struct disks {
	struct paths p;
	bool open, registered; /* REGISTER went over all good paths in this visit */
	bool asked;	       /* whether the target remembers */
};

static void disks_close(struct reserve *r)
{
	struct disks *d = r->own;

	if (d && d->open)
		paths_close(&d->p);
	free(d);
	r->own = NULL;
}

/* Opened when first needed; NULL with *rc and r->text. */
static struct disks *disks_of(struct reserve *r, int *rc)
{
	struct disks *d = r->own;

	*rc = 0;
	if (!d)
		d = r->own = mem_zalloc(1, sizeof(*d));
	if (d->open)
		return d;
	*rc = paths_open(&d->p, r->u);
	if (*rc == 0) {
		d->open = true;
		return d;
	}
	snprintf(r->text, sizeof(r->text), "%.119s", d->p.text);
	paths_close(&d->p);
	return NULL;
}

/* From the first path that answers. */
static int status_of(struct reserve *r, struct disks *d, bool details, struct prin_status *st)
{
	int rc = -EIO;

	for (unsigned i = 0; i < d->p.scan.count && rc; i++) {
		if (d->p.fd[i] < 0)
			continue;
		rc = sgio_status(d->p.fd[i], d->p.scan.path[i].nvme, details, st);
		if (rc == -EOPNOTSUPP)
			snprintf(r->text, sizeof(r->text),
				 "%.40s has no persistent reservations: unfit for a shared unit",
				 d->p.scan.path[i].dev);
		else if (rc)
			snprintf(r->text, sizeof(r->text), "%.40s: reservations cannot be read: %s",
				 d->p.scan.path[i].dev, strerror(-rc));
	}
	if (rc == 0)
		r->text[0] = '\0';
	return rc;
}

static int scsi_state(struct reserve *r, uint64_t mine, struct rsv_state *out)
{
	struct prin_status st;
	unsigned ours = 0;
	bool ask;
	int rc;
	struct disks *d = disks_of(r, &rc);

	if (!d)
		return rc;
	ask = (d->registered || r->role == RSV_LOOK) && !d->asked;
	rc = status_of(r, d, ask, &st);
	if (rc)
		return rc;
	if (st.total > st.count)
		return -E2BIG;
	*out = (struct rsv_state){.held = st.held, .holder = st.holder, .count = st.count,
				  .wrong_type = st.held && st.type != PRIN_TYPE_WE_RO};
	for (unsigned i = 0; i < st.count; i++) {
		out->key[i] = st.registrant[i].key;
		ours += mine && st.registrant[i].key == mine;
	}
	out->registered = d->registered && ours >= d->p.good;
	if (ask && ours && st.ptpl_known) {
		d->asked = true;
		if (!st.ptpl_active)
			r->labels |= UNIT_LABEL_FORGETS;
	}
	return 0;
}

/* ---- acting -------------------------------------------------------------------------------------- */
/* The answer to an ioctl: a SCSI status, PR_STS_* or -1.  A unit attention spoils one try. */
static int act(int fd, unsigned long request, void *arg)
{
	int rc = -EIO;

	for (int i = 0; i < TRIES; i++) {
		sgio_settle(fd);
		rc = ioctl(fd, request, arg);
		rc = rc < 0 ? -errno : rc == 0 ? 0 : rc == CONFLICT ? -EBADE : -EIO;
		if (rc == 0 || rc == -EBADE)
			break;
	}
	return rc;
}

/* `new` in place of `old`; of 0: of whatever stands there. */
static int register_key(const struct paths *p, unsigned at, uint64_t old, uint64_t new)
{
	struct pr_registration reg = {.old_key = old, .new_key = new,
				      .flags = old ? 0 : PR_FL_IGNORE_KEY};
	int rc = act(p->fd[at], IOC_PR_REGISTER, &reg);

	/* The kernel asks for APTPL, and some targets refuse just that, for a key that goes, too. */
	if (rc && rc != -EBADE && !p->scan.path[at].nvme)
		rc = sgio_register_plain(p->fd[at], old, new);
	return rc;
}

static int register_all(struct reserve *r, struct disks *d, uint64_t mine)
{
	int rc = 0, one;

	for (unsigned i = 0; i < d->p.scan.count; i++) {
		if (d->p.fd[i] < 0)
			continue;
		one = paths_prove(&d->p, i, r->u, true);
		if (one) {
			snprintf(r->text, sizeof(r->text), "%.40s: something else holds it: %s",
				 d->p.scan.path[i].dev, strerror(-one));
			return one;
		}
#ifdef HF_MUTANT_SCSI_ONE_PATH
		if (d->registered)
			break;
		d->p.good = 1;
#endif
		one = register_key(&d->p, i, 0, mine);
		d->registered = true;
		rc = rc ? rc : one;
	}
	return rc;
}

/* What stands on paths that are gone goes by a preempting of my own key; then the good paths, one by
 * one.  All of it may fail: the next look tells. */
static int unregister_all(struct disks *d, uint64_t mine)
{
	struct pr_preempt self = {.old_key = mine, .new_key = mine,
				  .type = PR_WRITE_EXCLUSIVE_REG_ONLY};
	int rc = 0, best = paths_best(&d->p);

	d->registered = false;
	if (best >= 0)
		act(d->p.fd[best], IOC_PR_PREEMPT, &self);
	for (unsigned i = 0; i < d->p.scan.count; i++)
		if (d->p.fd[i] >= 0)
			rc = register_key(&d->p, i, mine, 0);
	return rc;
}

static int preempt(struct disks *d, unsigned long request, uint64_t mine, uint64_t victim)
{
	struct pr_preempt pre = {.old_key = mine, .new_key = victim,
				 .type = PR_WRITE_EXCLUSIVE_REG_ONLY};
	int rc = act(d->p.fd[paths_best(&d->p)], request, &pre);

	return request == IOC_PR_PREEMPT_ABORT && rc && rc != -EBADE ? -EOPNOTSUPP : rc;
}

static int scsi_command(struct reserve *r, enum rsv_verb verb, uint64_t mine, uint64_t victim)
{
	struct pr_reservation res = {.key = mine, .type = PR_WRITE_EXCLUSIVE_REG_ONLY};
	int reset = SG_SCSI_RESET_DEVICE, rc;
	struct disks *d = disks_of(r, &rc);

	if (!d)
		return rc;
	switch (verb) {
	case RSV_REGISTER:
		return register_all(r, d, mine);
	case RSV_UNREGISTER:
		return unregister_all(d, mine);
	case RSV_RESERVE:
		return act(d->p.fd[paths_best(&d->p)], IOC_PR_RESERVE, &res);
	case RSV_PREEMPT_ABORT:
		return preempt(d, IOC_PR_PREEMPT_ABORT, mine, victim);
	case RSV_PREEMPT:
		return preempt(d, IOC_PR_PREEMPT, mine, victim);
	case RSV_RESET:
		return ioctl(d->p.fd[paths_best(&d->p)], SG_SCSI_RESET, &reset) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

/* ---- S -------------------------------------------------------------------------------------------- */
static int record_on(const char *dev, uint8_t *block, bool write)
{
	int fd = open(dev, (write ? O_RDWR | O_DSYNC : O_RDONLY) | O_DIRECT | O_CLOEXEC), rc;
	uint64_t at = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	rc = paths_area(fd, &at);
	if (rc == 0) {
		n = write ? pwrite(fd, block, RSV_BLOCK, (off_t)at) :
			    pread(fd, block, RSV_BLOCK, (off_t)at);
		rc = n < 0 ? -errno : n == RSV_BLOCK ? 0 : -EIO;
	}
	close(fd);
	return rc;
}

/* What a file system could not write before it was shut down is reported to the first who syncs the
 * device after it.  So a failed write is done once more, all of it, on a descriptor of its own. */
static int record_again(const char *dev, uint8_t *block, bool write)
{
	int rc = record_on(dev, block, write);

	return rc == -EIO && write ? record_on(dev, block, write) : rc;
}

/* A path that fails with anything but a conflict may have a better neighbour. */
static int scsi_record(struct reserve *r, uint8_t block[RSV_BLOCK], bool write)
{
	int rc;
	struct disks *d = disks_of(r, &rc);

	if (!d)
		return rc;
	rc = -EIO;
	for (unsigned i = 0; i < d->p.scan.count && rc && rc != -EBADE; i++)
		if (d->p.fd[i] >= 0)
			rc = record_again(d->p.scan.path[i].dev, block, write);
	return rc;
}

/* ---- for people ------------------------------------------------------------------------------------- */
static void view_paths(const struct paths *p, struct unit_view *v)
{
	v->paths_known = true;
	v->path_total = p->scan.count + p->scan.left_off;
	v->path_good = p->good;
	for (unsigned i = 0; i < p->scan.count && i < UNIT_VIEW_PATHS; i++) {
		const struct scan_path *sp = &p->scan.path[i];

		snprintf(v->path[i].dev, sizeof(v->path[i].dev), "%.39s", sp->dev);
		snprintf(v->path[i].state, sizeof(v->path[i].state), "%.23s",
			 p->err[i] == 0 ? sp->state : !sp->up ? sp->state : strerror(-p->err[i]));
		v->path[i].good = p->fd[i] >= 0;
		v->path_count++;
	}
}

static int scsi_view(struct reserve *r, struct unit_view *v)
{
	struct prin_status st;
	int rc;
	struct disks *d = disks_of(r, &rc);

	if (!d) { /* none of them is good, but they may be there */
		d = r->own;
		view_paths(&d->p, v);
		return rc;
	}
	view_paths(&d->p, v);
	rc = status_of(r, d, true, &st);
	if (rc)
		return rc;
	v->held = st.held;
	v->type = st.type;
	v->a.holder = unit_key_node(st.holder);
	v->memory_known = st.ptpl_known && st.count;
	v->remembers = st.ptpl_active;
	v->key_total = st.total;
	for (unsigned i = 0; i < st.count && i < UNIT_VIEW_KEYS; i++) {
		const struct prin_registrant *g = &st.registrant[i];

		v->key[i].key = g->key;
		v->key[i].holder = g->holder;
		v->key[i].port = g->port;
		snprintf(v->key[i].name, sizeof(v->key[i].name), "%.45s", g->name);
		v->key_count++;
	}
	if (v->memory_known && !v->remembers)
		v->a.labels |= UNIT_LABEL_FORGETS;
	return 0;
}

const struct rsv_ops rsv_scsi_ops = {.name = "scsi", .close = disks_close, .read_state = scsi_state,
				     .command = scsi_command, .record = scsi_record,
				     .view = scsi_view};
