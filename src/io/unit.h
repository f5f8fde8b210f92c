/* unit.h - a storage unit: who owns it (the pair <S,R>), and putting it into use.  Blocking calls,
 * made in helper processes (io/process.h) and by `holdfast init`; they decide nothing but what
 * SAFETY F1, F2 and F5 ask, from the state that they read back.
 *
 *	backend	S, the ownership record		R, the reservation
 *	dir	PATH/.holdfast-unit		OFD lock on a byte of that file (one machine only)
 *	loop	the record file of the array	persistent reservation WE-RO, one key for each
 *		(same reservation as the image)	(node, boot generation)
 *	iscsi	the unit's last 64 KiB		the same, of the target, by libiscsi
 *	scsi	the unit's last 64 KiB		the same, by the kernel's block devices
 *
 * All also have a lock file (for `dir` the record itself) with OFD locks on single bytes:
 *
 *	UNIT_LOCK_MUTEX		a helper, from reading S to writing it
 *	UNIT_LOCK_WORKER	the worker's ring: held until its last write in flight is done, also
 *				when it was killed.  To acquire is to have seen it free.
 *	UNIT_LOCK_REPAIR	a repair of stores beside a worker that serves others on the unit: as
 *				that byte is seen free, so must this one be
 *	UNIT_LOCK_LUN		`iscsi`: the holdfast-lun that shows the unit, as long as it lives
 *	UNIT_LOCK_OWNER(epoch)	`dir`: the daemon whose S has this epoch; it is the reservation R.
 *				A byte of its own for each epoch, so a paused former owner that was
 *				fenced keeps nothing that anybody still asks for. */
#ifndef HF_IO_UNIT_H
#define HF_IO_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/owner.h"
#include "io/seal.h"

#define UNIT_PATH_MAX	 512
#define UNIT_PORTALS_MAX 4
#define UNIT_IQN_MAX	 224
#define UNIT_DEV_MAX	 64
#define UNIT_LOCK_MUTEX	 8192
#define UNIT_LOCK_WORKER 8193
#define UNIT_LOCK_LUN	 8194
#define UNIT_LOCK_REPAIR 8195
#define UNIT_LUN_INO	 2 /* of the file that holdfast-lun shows */
#define UNIT_LOCK_OWNER(epoch) (off_t)((1ULL << 20) + (epoch))

enum unit_backend { UNIT_DIR, UNIT_LOOP, UNIT_ISCSI, UNIT_SCSI };

struct unit_spec {
	enum unit_backend backend;
	char name[32];
	uint32_t id; /* hash of the name, as core has it */
	uint8_t cluster[16];
	char root[UNIT_PATH_MAX]; /* dir: the path; loop: the mount point */
	char lock[UNIT_PATH_MAX];
	char image[UNIT_PATH_MAX], record[UNIT_PATH_MAX], control[UNIT_PATH_MAX];
	const char *fstype;
	/* iscsi: `image` is the file that holdfast-lun shows in lun_dir */
	char lun_dir[UNIT_PATH_MAX];
	unsigned portal_count, target_lun;
	char portal[UNIT_PORTALS_MAX][72]; /* "198.51.100.1:3260", "[2001:db8::1]:3260" */
	char target[UNIT_IQN_MAX], initiator[UNIT_IQN_MAX];
	char chap[UNIT_PATH_MAX]; /* file of chap.h; empty: the target asks for none */
	char wwid[96]; /* codec/wwid.h */
	char devices[UNIT_PATH_MAX]; /* scsi: where to look for its paths, globs */
	uint64_t key;  /* what holdfast-lun registers at the mount; 0: the unit has no owner (init) */
};

/* Who asks. */
struct unit_self {
	uint16_t node;
	char node_name[32];
	uint64_t generation;
	uint8_t boot_id[16]; /* of this machine */
};

enum unit_how {
	UNIT_FREE = 1, /* if S names nobody or this node */
	UNIT_KEEP,     /* if S names this generation at `victim_epoch` or less; stays mounted */
	UNIT_VICTIM,   /* like FREE, or from `victim` at `victim_epoch` or less */
};

struct unit_ask {
	enum unit_how how;
	uint16_t victim;
	uint64_t victim_epoch, epoch_min;
	bool fenced;   /* the victim is surely off: a fence command said so just now */
	bool can_fence; /* there is such a command: a holder that lives is reported at once */
};

enum unit_outcome {
	UNIT_WON = 1, /* S and R are mine; `epoch` */
	UNIT_LOST,    /* another has it; nothing of mine is registered */
	UNIT_HELD,    /* the holder must be fenced first (dir) */
	UNIT_ERROR,   /* err; nothing of mine is registered as far as it could be undone */
};

/* What makes a target less than F2 asks; shown, never a reason to refuse. */
enum unit_label {
	UNIT_LABEL_FORGETS = 1,	 /* reservations end with the target (no APTPL): not for production */
	UNIT_LABEL_NO_ABORT = 2, /* no PREEMPT AND ABORT: PREEMPT, then LUN RESET */
	UNIT_LABEL_QUEUED = 4,	 /* no LUN RESET either: a victim's queued write may land late */
};

/* One line for people; the text of the gravest when several bits are set, "" for none. */
const char *unit_label_text(unsigned labels);

struct unit_answer {
	enum unit_outcome outcome;
	int err;
	uint64_t epoch; /* WON: the new one */
	unsigned labels; /* enum unit_label bits */
	/* what S and R say */
	uint16_t owner, holder;
	uint8_t key_id; /* that S is signed with; by unit_sign() */
	uint64_t owner_epoch, owner_generation;
	char text[200]; /* one line for people when not WON */
};

/* Opens (and makes) the lock file; descriptor or -errno.  The daemon keeps it as long as it owns
 * the unit; children inherit it. */
int unit_lock_open(const struct unit_spec *u);
/* A descriptor of its own that holds the worker's byte, for one worker; -EBUSY when an earlier
 * worker's writes may still be in flight. */
int unit_lock_worker(const struct unit_spec *u);

/* The same of the byte for a repair beside it. */
int unit_lock_beside(const struct unit_spec *u);

/* Reads S, and R where that tells something; 0 in `err` when S was readable. */
void unit_read(const struct unit_spec *u, const struct seal *s, struct unit_answer *out);
/* The same for the owner's poll, which may fall together with other visits. */
void unit_poll(const struct unit_spec *u, const struct seal *s, struct unit_answer *out);
void unit_acquire(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  const struct unit_ask *ask, int lock_fd, struct unit_answer *out);
/* Fail-closed: proves that nothing holds the unit, makes S unowned if it is mine, gives up R. */
void unit_release(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  struct unit_answer *out);
/* After the cluster's key in use has changed: signs S anew, unchanged, when it is mine or nobody's;
 * another's is left alone.  WON: `key_id` is what S is signed with now. */
void unit_sign(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
	       struct unit_answer *out);
/* For the daemon's poll of dir units: is S still that record, mine, at this epoch?  Quick. */
int unit_dir_poll(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		  uint64_t epoch, int lock_fd);

/* 0 or -errno with a line in `text`. */
int unit_mount(const struct unit_spec *u, char *text, size_t size);
/* 0 only when it is proved that nothing of ours is mounted or attached.  `lost`: the reservation
 * is gone, so the file system is shut down first instead of flushed. */
int unit_unmount(const struct unit_spec *u, bool lost, char *text, size_t size);
/* Nobody here has the image attached (F1); 0, -EBUSY. */
int unit_prove_free(const struct unit_spec *u, char *text, size_t size);

/* Unmounts, lets the file system's own checker mend it (`command` with %d for the device; empty: the
 * usual one of its type), mounts again.  0 or -errno with a line in `text`. */
int unit_fsck(const struct unit_spec *u, const char *command, char *text, size_t size);
/* For a repair, inherited by the programs that it runs: the worker's byte, after a moment for a dead
 * worker's last writes; `beside` one, the byte for that. */
int unit_lock_repair(const struct unit_spec *u, bool beside);

/* Makes the unit's first record, unowned; -EEXIST when there is one, -EALREADY when that was never
 * anybody's: an init that was broken off may go on. */
int unit_make(const struct unit_spec *u, const struct seal *s, char *err, size_t err_size);

/* ---- for people: everything that can be seen of a unit ---- */
#define UNIT_VIEW_KEYS	12
#define UNIT_VIEW_PATHS 8

struct unit_view {
	struct unit_answer a; /* its text: why S or R cannot be told */
	int s_err, r_err;     /* 0: S was read; R was read (for `dir`: its lock was asked) */
	char owner_name[32];  /* as the owner wrote it */
	char label[17];	      /* given to the unit when it was made */
	uint16_t previous;
	uint64_t written_ns; /* CLOCK_REALTIME */
	bool held, memory_known, remembers; /* R: is there one; the target remembers it (APTPL) */
	uint8_t type;	     /* of R, codec/prin.h; 0: none, or of another kind than SCSI's */
	unsigned key_count, key_total;
	struct {
		uint64_t key;
		bool holder;
		uint16_t port;
		char name[46];
	} key[UNIT_VIEW_KEYS];
	bool paths_known;
	unsigned path_count, path_good, path_total;
	struct {
		char dev[40], state[24];
		bool good;
	} path[UNIT_VIEW_PATHS];
};

void unit_view(const struct unit_spec *u, const struct seal *s, struct unit_view *out);

/* ---- between the files of this module ---- */
struct reserve; /* io/reserve.h */
int unit_record_read(struct reserve *r, const struct seal *s, struct owner *o);
/* The next S: mine at `epoch`, or unowned when `self` is NULL.  Durable on return. */
int unit_record_write(struct reserve *r, const struct seal *s, const struct owner *last,
		      const struct unit_self *self, uint64_t epoch);
/* May it be taken, by what S says? Fills the answer's owner fields, and LOST when not. */
bool unit_allowed(const struct owner *o, const struct unit_self *self, const struct unit_ask *ask,
		  struct unit_answer *out);
void unit_say(struct unit_answer *out, enum unit_outcome outcome, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

uint16_t unit_key_node(uint64_t key);
/* Descriptor and path of the device that the file system is on: for `scsi` itself, else a loop device that
 * is detached when nobody has it open.  -errno with a line in `text`. */
int unit_attach(const struct unit_spec *u, char path[UNIT_DEV_MAX], char *text, size_t size);
/* scsi (unit_disk.c) */
int unit_disk_attach(const struct unit_spec *u, char dev[UNIT_DEV_MAX], char *text, size_t size);
int unit_disk_prove_free(const struct unit_spec *u, char *text, size_t size);
int unit_loop_blank(const struct unit_spec *u); /* 1: nothing in its first MiB */
/* holdfast-lun of an iscsi unit (unit_lun.c) */
int unit_lun_start(const struct unit_spec *u, char *text, size_t size);
void unit_lun_cut(const struct unit_spec *u);
int unit_lun_end(const struct unit_spec *u, char *text, size_t size);
/* 0: neither mounted nor running; -EBUSY; -errno. */
int unit_lun_gone(const struct unit_spec *u, char *text, size_t size);
/* The file as the kernel knows it, also when nobody serves it any more; -ENOENT: not mounted. */
int unit_lun_identity(const struct unit_spec *u, dev_t *dev, ino_t *ino);
void unit_sleep_ms(unsigned ms);

#endif
