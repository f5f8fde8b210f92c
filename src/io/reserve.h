/* reserve.h - the way to one storage unit's pair <S,R>: several transports, one set of decisions.
 *
 *	transport	S, the ownership record			R, the reservation
 *	dir		a file (io/unit.c locks it)		none here
 *	loop		a file of the test array		its command socket
 *	iscsi		the unit's last 64 KiB, libiscsi	PERSISTENT RESERVE, libiscsi
 *	scsi	the unit's last 64 KiB, O_DIRECT	linux/pr.h, SG_IO, NVMe's Reservation Report
 *
 * A transport only carries: it reads the state, gives one command, reads and writes the record's
 * block.  What to do is decided once, in reserve.c, from what was read and never from a command's
 * status (SAFETY F2).  A new transport fills in a struct rsv_ops and is named in ops_of().
 *
 * One struct reserve is one visit in one helper process: it is opened, used and closed; nothing is
 * registered by opening.  A transport connects when it is first asked for something. */
#ifndef HF_IO_RESERVE_H
#define HF_IO_RESERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/owner.h"
#include "io/seal.h"
#include "io/unit.h"

#define RSV_KEYS_MAX 64
#define RSV_BLOCK    4096	 /* what is read and written for S: the record is in its first 512 bytes */
#define RSV_AREA     (64U << 10) /* S is the first block of the unit's last so many bytes */
#define RSV_ABORT_S  15		 /* PREEMPT AND ABORT may take so long (FACTS 3) */

/* What READ KEYS and READ RESERVATION (or their like) say. */
struct rsv_state {
	bool held;	   /* somebody has a reservation */
	bool wrong_type;   /* of another type than Write Exclusive - Registrants Only */
	bool registered;   /* the key asked about stands for the paths that this visit uses */
	uint64_t holder;   /* its key; 0: none, or all registrants */
	unsigned count;
	uint64_t key[RSV_KEYS_MAX]; /* one for each registered path */
};

enum rsv_verb {
	RSV_REGISTER = 1,  /* and ignore what was there, on every path of this visit */
	RSV_UNREGISTER,	   /* every registration that has my key, on whatever path */
	RSV_RESERVE,	   /* Write Exclusive - Registrants Only */
	RSV_PREEMPT_ABORT, /* -EOPNOTSUPP or -ETIMEDOUT: RSV_PREEMPT and RSV_RESET follow instead */
	RSV_PREEMPT,
	RSV_RESET,	   /* LUN RESET: writes that are queued at the target end */
};

struct reserve;

struct rsv_ops {
	const char *name;
	void (*close)(struct reserve *r);
	int (*read_state)(struct reserve *r, uint64_t mine, struct rsv_state *st);
	/* 0 or -errno, which decides nothing but the choice between the two ways to preempt. */
	int (*command)(struct reserve *r, enum rsv_verb verb, uint64_t mine, uint64_t victim);
	/* Past every cache, durable on return.  -EBADE: reservation conflict. */
	int (*record)(struct reserve *r, uint8_t block[RSV_BLOCK], bool write);
	/* NULL: read_state() tells all there is.  Paths (always), then R: 0 or -errno. */
	int (*view)(struct reserve *r, struct unit_view *v);
};

/* Visits that may overlap in one node differ in role; a nexus is (node, role, path). */
enum rsv_role { RSV_ACT = 1, RSV_DATA = 2, RSV_POLL = 3, RSV_LOOK = 4 };

struct reserve {
	const struct rsv_ops *ops;
	const struct unit_spec *u;
	enum rsv_role role;
	bool no_abort;	       /* PREEMPT AND ABORT was refused or did not come back */
	unsigned labels;       /* enum unit_label bits, as found out so far */
	int fd;		       /* (transport) */
	void *own;	       /* (transport) */
	char text[120];	       /* (transport) why the last thing failed; may be empty */
};

void reserve_open(struct reserve *r, const struct unit_spec *u, enum rsv_role role);
void reserve_close(struct reserve *r);
/* What to call the way in an error: a path or address. */
const char *reserve_where(const struct unit_spec *u);

/* ---- decisions (reserve.c); not for `dir` ------------------------------------------------------ */
/* Acquire and release, under the mutex, no worker's write in flight. */
void reserve_acquire(struct reserve *r, const struct seal *s, const struct unit_self *self,
		     const struct unit_ask *ask, struct unit_answer *out);
void reserve_release(struct reserve *r, const struct seal *s, const struct unit_self *self,
		     struct unit_answer *out);
/* The holder by R into `out`; 0 or -errno. */
int reserve_look(struct reserve *r, struct unit_answer *out);

/* ---- transports --------------------------------------------------------------------------------- */
extern const struct rsv_ops rsv_dir_ops, rsv_loop_ops, rsv_iscsi_ops, rsv_scsi_ops;
/* S as a file, for those that have one. */
int rsv_file_record(struct reserve *r, uint8_t block[RSV_BLOCK], bool write);

#endif
