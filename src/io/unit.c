/* unit.c - ownership of storage units: locks, the record S, acquiring and releasing.
 *
 *	acquire:  mutex -> S says it may be -> no worker's write in flight -> R -> S again -> write S
 *	release:  mutex -> nothing holds it -> S unowned -> R
 *
 * A lock is waited for, never a pid (F5): a killed worker's writes are in flight until its ring is
 * gone, and with the ring goes the lock. */
#include "io/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/reserve.h"

#define MS		 1000000ULL
#define WAIT_OWN_NS	 (5000 * MS)  /* my own last instance grows quiet */
#define WAIT_LIVE_NS	 (100 * MS)   /* a dead daemon's lock has long gone, a live one's never goes */
#define WAIT_DRAIN_NS	 (2000 * MS)  /* its daemon is dead; its worker's writes may still drain */
#define WAIT_FENCED_NS	 (15000 * MS) /* it is off; its writes may still drain */

void unit_sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

void unit_say(struct unit_answer *out, enum unit_outcome outcome, int err, const char *fmt, ...)
{
	va_list ap;

	out->outcome = outcome;
	out->err = err;
	va_start(ap, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, ap);
	va_end(ap);
}

const char *unit_label_text(unsigned labels)
{
	if (labels & UNIT_LABEL_FORGETS)
		return "the target forgets reservations when it restarts (no APTPL): unfit for production";
	if (labels & UNIT_LABEL_QUEUED)
		return "the target can neither PREEMPT AND ABORT nor LUN RESET: a former owner's queued "
		       "write may land late";
	if (labels & UNIT_LABEL_NO_ABORT)
		return "the target has no PREEMPT AND ABORT: PREEMPT and LUN RESET are used";
	return "";
}

/* ---- locks ----------------------------------------------------------------------------------- */
static int set_lock(int fd, short type, off_t start, off_t len)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

int unit_lock_open(const struct unit_spec *u)
{
	/* Only `init` makes a record; a lock file beside nothing is made on the way. */
	int flags = O_RDWR | O_CLOEXEC | (u->backend == UNIT_DIR ? 0 : O_CREAT);
	int fd = open(u->lock, flags, 0600);

	return fd < 0 ? -errno : fd;
}

static int lock_byte(const struct unit_spec *u, off_t byte)
{
	int fd = unit_lock_open(u), rc;

	if (fd < 0)
		return fd;
	rc = set_lock(fd, F_WRLCK, byte, 1);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int unit_lock_worker(const struct unit_spec *u)
{
	return lock_byte(u, UNIT_LOCK_WORKER);
}

int unit_lock_beside(const struct unit_spec *u)
{
	return lock_byte(u, UNIT_LOCK_REPAIR);
}

/* Does another description hold the byte? */
static bool is_locked(int fd, off_t byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &fl) < 0 || fl.l_type != F_UNLCK;
}

/* A worker, or what it had in flight, or a repair beside it. */
static bool in_use(int fd)
{
	return is_locked(fd, UNIT_LOCK_WORKER) || is_locked(fd, UNIT_LOCK_REPAIR);
}

/* The mutex is held through a description of the helper's own: it goes with the helper. */
static int enter(const struct unit_spec *u, uint64_t limit_ns)
{
	uint64_t until = loop_clock_ns() + limit_ns;
	int fd = unit_lock_open(u), rc;

	if (fd < 0)
		return fd;
	while ((rc = set_lock(fd, F_WRLCK, UNIT_LOCK_MUTEX, 1)) == -EBUSY &&
	       loop_clock_ns() < until)
		unit_sleep_ms(2);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* ---- the record S ---------------------------------------------------------------------------- */
int unit_record_read(struct reserve *r, const struct seal *s, struct owner *o)
{
	uint8_t *block = mem_aligned(RSV_BLOCK, RSV_BLOCK);
	int rc;

	memset(block, 0, RSV_BLOCK);
	rc = r->ops->record(r, block, false);
	if (rc == 0)
		rc = owner_decode(o, block);
#ifndef HF_MUTANT_UNIT_NO_MAC
	if (rc == 0 && (memcmp(o->cluster, r->u->cluster, 16) != 0 || o->unit != r->u->id ||
			!seal_mac_ok(s, o->key_id, block, OWNER_MAC_OFF, block + OWNER_MAC_OFF)))
		rc = -EBADMSG;
#else
	(void)s;
#endif
	free(block);
	return rc;
}

static int record_put(struct reserve *r, const struct seal *s, struct owner *o)
{
	uint8_t *block = mem_aligned(RSV_BLOCK, RSV_BLOCK);
	int rc;

	o->key_id = seal_send_id(s);
	memset(block, 0, RSV_BLOCK);
	owner_encode(o, block);
	seal_mac(s, o->key_id, block, OWNER_MAC_OFF, block + OWNER_MAC_OFF);
	owner_finish(block);
	rc = r->ops->record(r, block, true);
	free(block);
	return rc;
}

int unit_record_write(struct reserve *r, const struct seal *s, const struct owner *last,
		      const struct unit_self *self, uint64_t epoch)
{
	struct owner o = *last;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	o.previous_epoch = last->epoch;
	o.previous_node = last->node;
	o.epoch = epoch;
	o.node = self ? self->node : 0;
	o.generation = self ? self->generation : 0;
	o.written_ns = (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
	o.pid = (uint32_t)getppid();
	memset(o.node_name, 0, sizeof(o.node_name));
	if (self) {
		memcpy(o.boot_id, self->boot_id, 16);
		snprintf(o.node_name, sizeof(o.node_name), "%s", self->node_name);
	}
	return record_put(r, s, &o);
}

/* 0 when there is none: never made, or an earlier one that was broken off left an empty file. */
static int record_free(struct reserve *r, const struct seal *s, struct owner *o)
{
	struct stat st = {0};
	int fd, rc;

	if (r->u->backend == UNIT_DIR) {
		fd = open(r->u->record, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || fstat(fd, &st)) {
			rc = -errno;
			if (fd >= 0)
				close(fd);
			return rc;
		}
		close(fd);
#ifndef HF_MUTANT_UNIT_EMPTY_RECORD
		if (st.st_size == 0)
			return 0;
#endif
	}
	rc = unit_record_read(r, s, o);
	if (rc == -ENODATA)
		return 0;
	if (rc == 0)
		return o->node == 0 && o->epoch == 0 ? -EALREADY : -EEXIST;
	return r->u->backend == UNIT_DIR ? -EEXIST : rc;
}

int unit_make(const struct unit_spec *u, const struct seal *s, char *err, size_t err_size)
{
	struct owner o = {.unit = u->id};
	struct reserve r;
	int fd, rc;

	reserve_open(&r, u, RSV_ACT);
	memcpy(o.cluster, u->cluster, 16);
	rc = record_free(&r, s, &o);
	o = (struct owner){.unit = u->id};
	memcpy(o.cluster, u->cluster, 16);
	fd = open("/proc/sys/kernel/random/uuid", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		/* Sixteen characters of its text are 60 random bits: enough to tell units apart. */
		if (read(fd, o.unit_uuid, 16) != 16)
			memset(o.unit_uuid, 0, 16);
		close(fd);
	}
	if (rc == 0)
		rc = record_put(&r, s, &o);
	reserve_close(&r);
	if (rc)
		snprintf(err, err_size, "%s: the ownership record of unit %s %s%s", reserve_where(u),
			 u->name,
			 rc == -EEXIST || rc == -EALREADY ? "is there already, nothing was changed" :
							    "cannot be made: ",
			 rc == -EEXIST || rc == -EALREADY ? "" : r.text[0] ? r.text : strerror(-rc));
	return rc;
}

/* ---- deciding -------------------------------------------------------------------------------- */
bool unit_allowed(const struct owner *o, const struct unit_self *self, const struct unit_ask *ask,
		  struct unit_answer *out)
{
	bool yes = false;

	out->owner = o->node;
	out->owner_epoch = o->epoch;
	out->owner_generation = o->generation;
	switch (ask->how) {
	case UNIT_KEEP:
		yes = o->node == self->node && o->generation == self->generation &&
		      o->epoch <= ask->victim_epoch;
		break;
	case UNIT_VICTIM:
#ifdef HF_MUTANT_UNIT_ANY_EPOCH
		yes = o->node == ask->victim;
#else
		yes = o->node == ask->victim && o->epoch <= ask->victim_epoch;
#endif
		if (yes)
			break;
		__attribute__((fallthrough));
	case UNIT_FREE:
		yes = o->node == 0 || o->node == self->node;
		break;
	}
	if (!yes)
		unit_say(out, UNIT_LOST, 0, "S names node %u at epoch %llu", o->node,
			 (unsigned long long)o->epoch);
	return yes;
}

static int read_or_say(struct reserve *r, const struct seal *s, struct owner *o,
		       struct unit_answer *out)
{
	const struct unit_spec *u = r->u;
	int rc = unit_record_read(r, s, o);

	if (rc)
		unit_say(out, UNIT_ERROR, rc, "%.90s: the ownership record %s%s", reserve_where(u),
			 rc == -EBADMSG	  ? "is damaged or of another cluster or key" :
			 rc == -EPROTO	  ? "is of a newer format" :
			 rc == -ENODATA	  ? "is blank (holdfast init)" :
			 rc == -EBADE	  ? "cannot be read: somebody has an exclusive reservation" :
					    "cannot be read: ",
			 rc == -EBADMSG || rc == -EPROTO || rc == -ENODATA || rc == -EBADE ? "" :
			 r->text[0] ? r->text : strerror(-rc));
	return rc;
}

/* Whom the record names may still live (-EALREADY) or still write (-EBUSY).  0: it is quiet. */
static int is_quiet(const struct unit_spec *u, const struct owner *o, const struct unit_ask *ask,
		    int mutex, int lock_fd)
{
	bool named = o->node && u->backend == UNIT_DIR;

	if (named && !ask->fenced && is_locked(lock_fd, UNIT_LOCK_OWNER(o->epoch)))
		return -EALREADY;
#ifdef HF_MUTANT_UNIT_NO_WORKER_LOCK
	(void)mutex;
#else
	if (in_use(mutex))
		return -EBUSY;
#endif
	return 0;
}

/* How long a lock of somebody else is waited for.  A victim's owner byte that is still held when its
 * verdict has been given and step 213b waited out is that of a daemon that stands: waiting changes
 * nothing, only the fence command does, so where there is one it is asked for at once.  That this may
 * meet a daemon which is just dying does no harm: it is dead either way, and nothing is taken
 * before the command has reported success (ST-60) and the worker's byte is free (F5). */
static uint64_t patience_of(const struct owner *o, const struct unit_self *self,
			    const struct unit_ask *ask, int why)
{
	if (ask->fenced)
		return WAIT_FENCED_NS;
	if (o->node == self->node)
		return WAIT_OWN_NS;
	if (why != -EALREADY)
		return WAIT_DRAIN_NS;
	return ask->how == UNIT_VICTIM && ask->can_fence ? 0 : WAIT_LIVE_NS;
}

/* Only a fence command may say that a holder elsewhere, or one that lives, is gone (F5). */
static bool must_fence(const struct unit_spec *u, const struct owner *o,
		       const struct unit_self *self, const struct unit_ask *ask)
{
	return u->backend == UNIT_DIR && o->node && o->node != self->node && !ask->fenced;
}

static bool is_elsewhere(const struct owner *o, const struct unit_self *self)
{
#ifdef HF_MUTANT_UNIT_ANY_BOOT
	(void)o;
	(void)self;
	return false;
#else
	return memcmp(o->boot_id, self->boot_id, 16) != 0;
#endif
}

/* The mutex with the record read under it and everybody quiet: a descriptor, or -1 and said. */
static int settle(struct reserve *r, const struct seal *s, const struct unit_self *self,
		  const struct unit_ask *ask, int lock_fd, struct owner *o,
		  struct unit_answer *out)
{
	const struct unit_spec *u = r->u;
	uint64_t begun = loop_clock_ns();

	for (;;) {
		int mutex = enter(u, WAIT_OWN_NS), rc, why = 0;

		if (mutex < 0) {
			unit_say(out, UNIT_ERROR, mutex, "%s: the mutex cannot be had: %s", u->lock,
				 strerror(-mutex));
			return -1;
		}
		rc = read_or_say(r, s, o, out) || !unit_allowed(o, self, ask, out);
		if (rc == 0 && must_fence(u, o, self, ask) && is_elsewhere(o, self)) {
			unit_say(out, UNIT_HELD, 0, "S was written on another machine or boot");
			rc = -1;
		}
		if (rc == 0)
			why = is_quiet(u, o, ask, mutex, lock_fd);
		if (rc == 0 && why == 0)
			return mutex;
		close(mutex);
		if (rc)
			return -1;
		if (loop_clock_ns() > begun + patience_of(o, self, ask, why))
			break;
		unit_sleep_ms(2);
	}
	if (must_fence(u, o, self, ask))
		unit_say(out, UNIT_HELD, 0, "node %u holds the lock and is alive", o->node);
	else
		unit_say(out, UNIT_ERROR, -EBUSY, "%s: writes of node %u are still in flight",
			 u->lock, o->node);
	return -1;
}

static void finish_dir(struct reserve *r, const struct seal *s, const struct unit_self *self,
		       const struct unit_ask *ask, const struct owner *o, int lock_fd,
		       struct unit_answer *out)
{
	uint64_t epoch = (o->epoch > ask->epoch_min ? o->epoch : ask->epoch_min) + 1;
	int rc = set_lock(lock_fd, F_WRLCK, UNIT_LOCK_OWNER(epoch), 1);

	/* R before S: whoever reads my name in S finds my lock. */
	if (rc == 0)
		rc = unit_record_write(r, s, o, self, epoch);
	if (rc) {
		set_lock(lock_fd, F_UNLCK, UNIT_LOCK_OWNER(epoch), 1);
		unit_say(out, UNIT_ERROR, rc, "%s: S cannot be written: %s", r->u->record,
			 strerror(-rc));
		return;
	}
	if (o->node == self->node)
		set_lock(lock_fd, F_UNLCK, UNIT_LOCK_OWNER(o->epoch), 1);
	unit_say(out, UNIT_WON, 0, "won");
	out->owner = self->node;
	out->epoch = out->owner_epoch = epoch;
	out->owner_generation = self->generation;
}

void unit_acquire(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  const struct unit_ask *ask, int lock_fd, struct unit_answer *out)
{
	struct reserve r;
	struct owner o;
	int mutex;

	reserve_open(&r, u, RSV_ACT);
	mutex = settle(&r, s, self, ask, lock_fd, &o, out);
	if (mutex >= 0 && u->backend == UNIT_DIR)
		finish_dir(&r, s, self, ask, &o, lock_fd, out);
	else if (mutex >= 0)
		reserve_acquire(&r, s, self, ask, out);
	reserve_close(&r);
	if (mutex >= 0)
		close(mutex);
}

static void release_dir(struct reserve *r, const struct seal *s, const struct unit_self *self,
			struct unit_answer *out)
{
	struct owner o;
	int rc = 0;

	if (read_or_say(r, s, &o, out))
		return;
	if (o.node == self->node && o.generation == self->generation)
		rc = unit_record_write(r, s, &o, NULL, o.epoch + 1);
	if (rc)
		unit_say(out, UNIT_ERROR, rc, "%s: S cannot be written: %s", r->u->record,
			 strerror(-rc));
	else
		unit_say(out, UNIT_WON, 0, "released");
}

void unit_release(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  struct unit_answer *out)
{
	uint64_t until = loop_clock_ns() + WAIT_OWN_NS;
	int mutex = enter(u, WAIT_OWN_NS);
	struct reserve r;

	reserve_open(&r, u, RSV_ACT);
	while (mutex >= 0 && in_use(mutex) && loop_clock_ns() < until)
		unit_sleep_ms(2);
	if (mutex < 0 || in_use(mutex)) {
		unit_say(out, UNIT_ERROR, -EBUSY, "%s: a worker's writes may be in flight", u->lock);
	} else if (u->backend == UNIT_DIR) {
		release_dir(&r, s, self, out);
	} else {
		reserve_release(&r, s, self, out);
	}
	reserve_close(&r);
	if (mutex >= 0)
		close(mutex);
}

void unit_sign(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
	       struct unit_answer *out)
{
	int mutex = enter(u, WAIT_OWN_NS), rc;
	struct reserve r;
	struct owner o;
	bool mine;

	if (mutex < 0) {
		unit_say(out, UNIT_ERROR, mutex, "%s: the mutex cannot be had: %s", u->lock,
			 strerror(-mutex));
		return;
	}
	reserve_open(&r, u, RSV_ACT);
	rc = read_or_say(&r, s, &o, out);
	mine = o.node == 0 || (o.node == self->node && o.generation == self->generation);
	if (rc == 0 && mine && o.key_id != seal_send_id(s))
		rc = record_put(&r, s, &o);
	if (rc == 0)
		unit_say(out, UNIT_WON, 0, "signed");
	else if (out->outcome != UNIT_ERROR)
		unit_say(out, UNIT_ERROR, rc, "%s: S cannot be signed anew: %s", reserve_where(u),
			 strerror(-rc));
	out->key_id = o.key_id;
	out->owner = o.node;
	reserve_close(&r);
	close(mutex);
}

uint16_t unit_key_node(uint64_t key)
{
	uint16_t node = (uint16_t)(key >> 40 & 0xff);

	return owner_key(node, key & 0xffffffffffULL) == key ? node : 0;
}

static void look(const struct unit_spec *u, const struct seal *s, enum rsv_role role,
		 struct unit_answer *out)
{
	struct reserve r;
	struct owner o;
	int rc;

	reserve_open(&r, u, role);
	rc = read_or_say(&r, s, &o, out);
	if (rc == 0) {
		out->owner = o.node;
		out->owner_epoch = o.epoch;
		out->owner_generation = o.generation;
		rc = reserve_look(&r, out);
		if (rc)
			unit_say(out, UNIT_ERROR, rc, "%s: the reservation cannot be read: %s",
				 reserve_where(u), r.text[0] ? r.text : strerror(-rc));
		else
			unit_say(out, UNIT_WON, 0, "read");
	}
	reserve_close(&r);
}

void unit_read(const struct unit_spec *u, const struct seal *s, struct unit_answer *out)
{
	look(u, s, RSV_LOOK, out);
}

void unit_poll(const struct unit_spec *u, const struct seal *s, struct unit_answer *out)
{
	look(u, s, RSV_POLL, out);
}

int unit_dir_poll(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  uint64_t epoch, int lock_fd)
{
	struct stat by_path, by_fd;
	struct reserve r;
	struct owner o;
	int rc;

	/* The very file whose lock we hold, not another of its name. */
	if (stat(u->record, &by_path) < 0 || fstat(lock_fd, &by_fd) < 0)
		return -errno;
	if (by_path.st_ino != by_fd.st_ino || by_path.st_dev != by_fd.st_dev)
		return -ESTALE;
	reserve_open(&r, u, RSV_POLL);
	rc = unit_record_read(&r, s, &o);
	reserve_close(&r);
	if (rc)
		return rc;
	return o.node == self->node && o.generation == self->generation && o.epoch == epoch ?
		       0 : -ESTALE;
}
