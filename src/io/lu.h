/* lu.h - a logical unit of an iSCSI target, from user space (libiscsi): one session, one command
 * after the other, each with a limit of its own.
 *
 * For reservation commands, the record S and probing.  The data path (cmd/holdfast-lun) makes its
 * sessions here too and then runs many commands at once on them.
 *
 * Initiator name and ISID are fixed for (node, role, portal), so that a target which knows nexuses by
 * name finds the same one again; roles keep visits that overlap apart.  Nothing reconnects by
 * itself: a nexus that comes back must be looked at before it is used (SAFETY F1). */
#ifndef HF_IO_LU_H
#define HF_IO_LU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/prin.h"
#include "io/reserve.h"

#define LU_CDB	     16
#define LU_ERROR_MAX 100

struct iscsi_context;

enum lu_way { LU_NONE = 1, LU_READ, LU_WRITE };

struct lu {
	struct iscsi_context *c; /* NULL: no session */
	unsigned portal;	 /* of the unit's */
	unsigned target_lun;
	bool attention; /* a unit attention was read over since this was last cleared */
	uint64_t bytes;
	uint32_t block;
	char text[120]; /* why the last thing failed */
};

struct lu_command {
	uint8_t cdb[LU_CDB];
	unsigned cdb_len;
	enum lu_way way;
	uint8_t *data;
	size_t len;
	size_t got; /* read: so many bytes came */
};

/* A session through one of the portals in `portals` (bits), the lowest that answers; the next one is
 * tried as well when the one before it takes more than a moment.  The unit's WWID is compared
 * before anything else: -ENXIO when it is another's.  -errno leaves no session. */
int lu_connect(struct lu *l, const struct unit_spec *u, enum rsv_role role, unsigned portals,
	       unsigned limit_ms);
/* Any unit's names: as lu_connect() but with no comparison; wwid_list() of its page 83h. */
int lu_page83(struct lu *l, uint8_t *page, size_t size);
/* libiscsi's last error as one line without its end. */
const char *lu_error(struct iscsi_context *c, char text[LU_ERROR_MAX]);
void lu_close(struct lu *l);
/* 0; -EBADE reservation conflict; -EOPNOTSUPP illegal request; -EIO; -ETIMEDOUT and -ENOTCONN: the
 * session is gone.  Unit attentions are read over (F2). */
int lu_run(struct lu *l, struct lu_command *c, unsigned limit_ms);
/* LUN RESET: no command of anybody that is queued at the target is carried out after it. */
int lu_reset(struct lu *l, unsigned limit_ms);

/* CDBs; `at` and `len` in bytes, multiples of the block. */
void lu_cdb_rw(struct lu_command *c, const struct lu *l, bool write, bool fua, uint64_t at,
	       uint8_t *data, size_t len);
void lu_cdb_sync(struct lu_command *c);

/* PERSISTENT RESERVE OUT: service actions of SPC-4 */
enum pr_out { PR_OUT_RESERVE = 1, PR_OUT_PREEMPT = 4, PR_OUT_PREEMPT_ABORT = 5, PR_OUT_REGISTER_IGNORE = 6 };
int lu_pr_out(struct lu *l, enum pr_out action, uint64_t key, uint64_t service_key, bool aptpl,
	      unsigned limit_ms);
/* Keys and holder; with details also who registered them and whether they are kept (READ FULL STATUS,
 * REPORT CAPABILITIES), as far as the target tells. */
int lu_pr_status(struct lu *l, bool details, struct prin_status *st);
/* Keys and holder; `registered` is left alone. */
int lu_pr_state(struct lu *l, struct rsv_state *st);
/* REPORT CAPABILITIES: does it keep reservations over its own restart? */
int lu_pr_keeps(struct lu *l, bool *keeps);

#endif
