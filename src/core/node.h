/* node.h - the cluster brain: one function from events to actions (DESIGN 5).
 *
 * Pure: no system call, no clock, no memory after node_init(); the caller owns struct node.  Called
 * by holdfastd's shell (io, cmd/holdfastd) and by the simulator, with the same object code.
 *
 *	node_init(n, conf, now) -> node_step(n, &event, &actions) ... whenever something happened,
 *	and EV_TICK at node_deadline_ns(n) at the latest.
 *
 * Rules of the interface, both sides:
 *  - Every action with an `op` is answered by exactly one completion event that carries the same
 *    op (and vs epoch); the shell bounds each by a time limit of its own (times.step_ns) and then
 *    reports -ETIMEDOUT only after the helper is gone.  A completion nobody waits for any more is
 *    dropped here.
 *  - Actions of one step may be carried out in any order and at once.  What must follow something
 *    is emitted when that one's completion arrives (OV-27, OV-28).
 *  - Payloads of an event are valid during the step; payloads of actions until the next step.
 *  - Times are CLOCK_BOOTTIME nanoseconds (F4).
 *
 * Bringing a vs up:    RESERVE its units -> MOUNT -> WORKER_START .. EV_WORKER_READY
 *	-> ADDRESS_UP -> OPEN -> EV_OPENED (then TICKLE), network last.
 * Taking it down:      WORKER_DRAIN -> EV_WORKER_DRAINED -> ADDRESS_DOWN and EV_WORKER_EXITED
 *	-> UNMOUNT -> RELEASE.   In haste: LEASE 0 + WORKER_KILL + ADDRESS_DOWN -> UNMOUNT -> RELEASE.
 * A damaged store:     RESERVE (keep) -> REPAIR beside WORKER_START -> ... -> OPEN without it; when it
 *	is repaired, RESERVE (keep) -> WORKER_START -> ... -> OPEN with all.  The addresses stay.  When
 *	no store is left to be served: RESERVE (keep) -> REPAIR -> WORKER_START -> ... -> OPEN.
 * A crashed worker:    RESERVE (keep) with the next epoch -> WORKER_START -> ... -> OPEN; the
 *	mount and the addresses stay.
 *
 * Invariants (node_check): a lease beyond 0 implies owned units, a worker, and an unbroken chain of
 * good slot writes since the reservation was asked for; a vs opens only with a valid lease; one
 * operation in flight per vs; TAKEOVER implies a victim; state changes only by the setters. */
#ifndef HF_CORE_NODE_H
#define HF_CORE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/drop.h"
#include "codec/slot.h"
#include "codec/status.h"
#include "core/times.h"

#define NODE_NODES_MAX	  8
#define NODE_VS_MAX	  64
#define NODE_UNITS_MAX	  64
#define NODE_NO_UNIT	  NODE_UNITS_MAX
#define NODE_VS_UNITS_MAX 4
#define NODE_DEVICES_MAX  3
#define NODE_PATHS_MAX	  4
#define NODE_PATH_MEMORY  NODE_PATHS_MAX /* a remote write over the interconnect (ST-28) */
#define NODE_NAME_MAX	  32
#define NODE_TEXT_MAX	  160
#define NODE_CONTROLS_MAX 16
#define NODE_SENT_RING	  256
#define NODE_REPAIRS_MAX  8
#define ACTIONS_MAX	  640

enum reason {
#define REASON(sym, name, todo) REASON_##sym,
#include "core/tbl_reason.h"
#undef REASON
	REASON_COUNT
};
const char *reason_name(unsigned r);
const char *reason_todo(unsigned r);

/* Fig. 2 of seed 003 with AM-26: the diagram is in doc/failover.md and held equal by a test. */
enum node_state { NODE_REBOOTING = 1, NODE_NORMAL, NODE_TAKEOVER, NODE_STOPPED };
#define NODE_STATE_COUNT 5
const char *node_state_name(unsigned s);

enum vs_state {
	VS_DOWN = 1,
	VS_RESERVE,	/* RESERVE in flight, unit by unit */
	VS_FENCE,	/* step 213d: FENCE in flight */
	VS_MOUNT,
	VS_RECOVER,	/* worker started, not READY */
	VS_ADDRESS,
	VS_OPEN,	/* waits for lease and open_not_before, then OPEN in flight */
	VS_SERVING,
	VS_DRAIN,
	VS_EXIT,	/* worker exit and ADDRESS_DOWN awaited */
	VS_RETAKE,	/* crash or lapse: worker exit awaited; then RESERVE (keep); mount stays */
	VS_UNMOUNT,
	VS_RELEASE,
	VS_STUCK,	/* could not be unmounted: the unit is not touched again */
	VS_REPAIR,	/* every store is closed: REPAIR in flight (VS 1.15); addresses stay, clients wait */
};
#define VS_STATE_COUNT 16
const char *vs_state_name(unsigned s);

/* Phases of a bring-up, for status and metrics (issue 2: phase by phase). */
enum vs_phase {
	PHASE_DETECT,	/* last sign of life -> verdict */
	PHASE_ANNOUNCE, /* steps 213a and b */
	PHASE_RESERVE,
	PHASE_MOUNT,
	PHASE_RECOVER,
	PHASE_OPEN,	/* addresses and sockets */
	PHASE_FIRST_REPLY,
	PHASE_COUNT
};
const char *vs_phase_name(unsigned p);

/* ---- configuration -------------------------------------------------------------------------- */

struct node_conf_peer {
	uint16_t id; /* 1 to 8, also the slot */
	uint16_t capacity; /* greatest sum of weights that is placed there; 0: no limit */
	char name[NODE_NAME_MAX];
};

struct node_conf_vs {
	char name[NODE_NAME_MAX];
	uint32_t id; /* node_name_id(name) */
	uint16_t home;
	int priority; /* greater first */
	bool no_migrate, giveback_auto;
	bool off;  /* nobody serves it */
	bool gone; /* removed while it ran: a free number, with no unit; see reconf.c */
	bool assign_manual;	    /* VS-125: its first node is an operator's to name */
	uint16_t weight;	    /* 0: 1 */
	uint16_t nodes;		    /* who may have it, bit per id; 0: everybody */
	uint64_t hold_down_ns;	    /* 0: times.hold_down_ns */
	uint64_t giveback_delay_ns; /* 0: the hold-down */
	uint64_t serving; /* of what it is served with: another one, and it is brought up again */
	uint8_t unit_count, fs_count;
	uint8_t unit[NODE_VS_UNITS_MAX]; /* index into units; of one gone: NODE_NO_UNIT */
	uint8_t fs_unit[STATUS_FS_MAX];	 /* of each store: the place of its unit in unit[] */
};

struct node_conf_unit {
	char name[NODE_NAME_MAX];
	uint32_t id;
	bool fence_command; /* one is configured */
	bool gone;
};

struct node_conf {
	uint16_t self;
	uint8_t cluster[16];
	uint64_t config_hash, config_version;
	unsigned node_count; /* with self */
	struct node_conf_peer node[NODE_NODES_MAX];
	unsigned path_count; /* network paths, the same number for every node */
	bool path_clients[NODE_PATHS_MAX]; /* this network also carries clients */
	unsigned device_count; /* coordination devices */
	unsigned vs_count;
	struct node_conf_vs vs[NODE_VS_MAX];
	unsigned unit_count;
	struct node_conf_unit unit[NODE_UNITS_MAX];
	struct times times;
	bool takeover_off; /* "takeover = off": never by force */
	bool reboot_manual; /* ST-72: STOPPED until EV_CONTROL reboot */
	bool standby_off;   /* ST-76: REBOOTING until another gives my storage back */
	/* Persistent memory as the last ACT_PERSIST left it, or NULL: no valid state (AM-27). */
	const uint8_t *persisted;
	/* There is an interconnect: each node keeps the others' latest message durably (ST-04); what it
	 * kept of node i + 1, or NULL. */
	bool memory;
	const uint8_t *held[NODE_NODES_MAX];
};

/* The 32-bit id of a vs or unit name; the shell refuses two names with one id. */
uint32_t node_name_id(const char *name);
/* NULL, or a text that says what the brain cannot work with. */
const char *node_conf_check(const struct node_conf *c);

/* ---- events --------------------------------------------------------------------------------- */

enum ev_type {
	EV_TICK,
	EV_MSG,		   /* msg: an authenticated status message came in */
	EV_SLOT_READ,	   /* slots: completion of ACT_SLOT_READ */
	EV_SLOT_WRITTEN,   /* err: completion of ACT_SLOT_WRITE */
	EV_KEPT,	   /* err: completion of ACT_MEMORY_KEEP */
	EV_HELD,	   /* msg: what a partner holds of me, len 0: nothing; after ACT_MEMORY_ASK */
	EV_PERSISTED,	   /* err: completion of ACT_PERSIST */
	EV_RESERVED,	   /* unit: completion of ACT_RESERVE */
	EV_RELEASED,	   /* err: completion of ACT_RELEASE */
	EV_UNIT_READ,	   /* unit: completion of ACT_UNIT_READ */
	EV_UNIT_POLL,	   /* poll: unasked, each poll_ns for every unit reserved and not released */
	EV_FENCED,	   /* err: completion of ACT_FENCE; 0 = the victim is surely off */
	EV_MOUNTED,	   /* err: completion of ACT_MOUNT */
	EV_UNMOUNTED,	   /* err: completion of ACT_UNMOUNT; 0 = proven that nothing is mounted */
	EV_REPAIRED,	   /* err: completion of ACT_REPAIR; 0 = mounted, and its stores are sound */
	EV_WORKER_READY,   /* worker: recovered */
	EV_WORKER_FAILED,  /* worker: it says it cannot go on (EV_WORKER_EXITED follows) */
	EV_WORKER_DRAINED, /* worker: all on disk, store closed (EV_WORKER_EXITED follows) */
	EV_WORKER_EXITED,  /* worker: exactly one for each ACT_WORKER_START, also when that failed */
	EV_ADDRESSES_UP,   /* err: completion of ACT_ADDRESS_UP */
	EV_ADDRESSES_DOWN, /* err: completion of ACT_ADDRESS_DOWN */
	EV_OPENED,	   /* err: completion of ACT_OPEN: the worker polls its sockets */
	EV_FIRST_REPLY,	   /* worker: first reply to a client left at at_ns */
	EV_FS,		   /* fs: a file system changed state */
	EV_PORT,	   /* port: what the shell knows about a network path's own port */
	EV_LOAD,	   /* load */
	EV_KEYS,	   /* keys: the cluster's keys as this node has them now; at start too */
	EV_CONTROL,	   /* control: an operator's command; answered by ACT_REPLY with its id */
};

enum reserve_result {
	RESERVE_WON = 1,   /* S and R are mine, every foreign key gone; `epoch` is the new one */
	RESERVE_LOST,	   /* another has it: owner, owner_epoch; nothing of mine is registered */
	RESERVE_HELD,	   /* step 213d wanted: the holder must be fenced first (dir, F5) */
	RESERVE_ERROR,	   /* err: could not be done or told; nothing of mine is registered */
};

enum poll_result { POLL_MINE = 1, POLL_LOST, POLL_ERROR };

enum control_verb {
	CONTROL_VS_MOVE = 1, /* vs -> node */
	CONTROL_VS_START,    /* vs: forget failures and quarantine everywhere */
	CONTROL_TAKEOVER,    /* node: FO-70; force: without asking it first */
	CONTROL_GIVEBACK,    /* node: what is at home there, 0 = to every node */
	CONTROL_SHUTDOWN,    /* give everything away, then answer */
	CONTROL_INHIBIT,     /* scope, on */
	CONTROL_REBOOT,	     /* 231 by hand */
	CONTROL_CLAIM,	     /* vs: its units for this node, if S names nobody else */
	CONTROL_RELEASE,     /* vs: its units away from this node, which leaves them then */
	CONTROL_CANCEL,	     /* node: of it, a countdown (715) or a giveback that waits (222) */
	CONTROL_RESTART,     /* node: hands over and begins anew; answered when it begins to */
};

/* OV-15: takeover inhibit flags; every one must be clear. */
enum inhibit_scope {
	INHIBIT_SELF = 1, /* node: I take nothing */
	INHIBIT_MINE,	  /* node: NO-TAKEOVER, nobody takes mine */
	INHIBIT_CLUSTER,  /* DISABLE: nobody takes anything */
	INHIBIT_VS,	  /* vs: it stays with the node that S names */
};

struct event {
	enum ev_type type;
	uint64_t now_ns;
	uint64_t op;	/* of the action that this completes */
	uint64_t epoch; /* worker events: of the ACT_WORKER_START; EV_UNIT_POLL: of the RESERVE won */
	unsigned vs;	/* index: vs, worker, address events */
	unsigned unit;	/* index: unit events */
	int err;	/* 0 or -errno */
	union {
		struct {
			uint16_t from; /* as authenticated */
			unsigned path;
			const uint8_t *data; /* plain status message */
			size_t len;
		} msg;
		struct {
			unsigned device;
			/* Sectors of nodes 1 to 8, in order; err[i] of node i+1: 0 read, CRC and MAC good,
			 * -ENODATA never written, -EBADMSG torn, forged or of another cluster. */
			const uint8_t (*sector)[SLOT_SIZE];
			int err[NODE_NODES_MAX];
		} slots;
		struct {
			enum reserve_result result; /* EV_RESERVED */
			uint16_t owner;		    /* by S; 0 unowned */
			uint64_t owner_epoch, owner_generation;
			uint16_t holder; /* by R; 0 none or unknown (EV_UNIT_READ) */
		} unit_state;
		struct {
			enum poll_result result;
			uint64_t started_ns;
		} poll;
		struct {
			uint64_t at_ns;
			uint64_t recovered_records, recovery_ns;
			bool was_clean, storage; /* FAILED: storage = an I/O error of the unit */
			const char *text;
		} worker;
		struct {
			unsigned fs;
			enum status_fs state;
			bool below; /* DAMAGED: what is below the store fails */
		} fs;
		struct {
			unsigned path;
			uint8_t quality; /* 0 bad, 1 unknown, 2 good */
		} port;
		struct {
			uint8_t count;
			struct status_key key[STATUS_KEYS_MAX];
		} keys;
		struct {
			uint16_t cpu_permille;
			uint32_t iops;
		} load;
		struct {
			uint32_t id; /* the shell's */
			enum control_verb verb;
			uint16_t node;
			uint32_t vs_id;
			enum inhibit_scope scope;
			bool on, force, dry_run;
			uint64_t in_ns; /* countdown; 0: the default */
			char text[STATUS_NOTE_MAX + 1]; /* INHIBIT on: why (status_note_ok()), or "" */
		} control;
	};
};

/* ---- vetoes --------------------------------------------------------------------------------- */

#define VETOES_MAX 160

/* One thing that stands in the way of a command.  All are listed, each with its own remedy
 * (reason_todo()); `yields`: --force goes over it. */
struct veto {
	enum reason reason;
	uint16_t node; /* that says it or is in the way, 0 none */
	int16_t vs;    /* index of the vs it is about, -1 none */
	bool yields;
};

struct vetoes {
	unsigned count, left_off; /* left_off: more than there is room for */
	struct veto v[VETOES_MAX];
};

/* ---- actions -------------------------------------------------------------------------------- */

enum act_type {
	ACT_SEND,	   /* send: seal and send; no completion */
	ACT_SLOT_WRITE,	   /* slot: MAC, CRC, write at SLOT_OFFSET(self) of device */
	ACT_SLOT_READ,	   /* slot: read all node sectors of device in one go */
	ACT_MEMORY_WRITE,  /* send: into the persistent memory of node `to`, over the interconnect */
	ACT_MEMORY_KEEP,   /* slot: of node `device`: CRC, keep it durably */
	ACT_MEMORY_ASK,	   /* send.to: what does it hold of me? Over every network; no completion */
	ACT_PERSIST,	   /* slot.sector: CRC, write to state_dir durably */
	ACT_UNIT_READ,	   /* unit: read S and, where possible, R; change nothing */
	ACT_RESERVE,	   /* unit: acquire or preempt, and write S, deciding from state (F1, F2) */
	ACT_RELEASE,	   /* unit: prove nothing holds it; set S to unowned when it is mine; unregister */
	ACT_FENCE,	   /* unit, node: run its fence_command against node */
	ACT_MOUNT,	   /* unit */
	ACT_UNMOUNT,	   /* unit; a unit that is not mounted is success */
	ACT_REPAIR,	   /* unit, vs, repair: mend those stores of the vs on it; no limit */
	ACT_REPAIR_STOP,   /* unit: end the repair under way (EV_REPAIRED says so); no completion */
	ACT_WORKER_START,  /* vs, epoch, start */
	ACT_WORKER_DRAIN,  /* vs */
	ACT_WORKER_KILL,   /* vs: SIGKILL, also helpers (F7) */
	ACT_LEASE,	   /* vs, until_ns: into the lease page; 0 = revoked for good */
	ACT_ADDRESS_UP,	   /* vs: with announcements (F6) */
	ACT_ADDRESS_DOWN,  /* vs; addresses that are not up are success */
	ACT_OPEN,	   /* vs: hand the listening sockets to the worker */
	ACT_TICKLE,	   /* vs: make the last owner's client connections reconnect */
	ACT_REPLY,	   /* reply: to a control request */
	ACT_LOG,	   /* log: an operator event */
	ACT_RESTART,	   /* nothing is left here: the process shall begin anew; no completion */
	ACT_SELF_FENCE,	   /* log: what cannot be proved ends in a reboot (F1) */
};

enum reserve_mode {
	RESERVE_FREE = 1, /* only if S names nobody or this node (any instance of it) */
	RESERVE_KEEP,	  /* only if S names me, this generation, at `victim_epoch` or less: a new
			     epoch; the unit may be mounted here and stays so */
	RESERVE_VICTIM,	  /* like FREE, and also from `victim` if S names it at `victim_epoch` or
			     less; a greater epoch means it was taken again since: LOST */
};

struct action {
	enum act_type type;
	uint64_t op;	/* 0: no completion */
	uint64_t epoch; /* worker, lease, address, open: of the ownership */
	unsigned vs, unit;
	union {
		struct {
			uint16_t to;
			unsigned path;
			const uint8_t *data;
			size_t len;
		} send;
		struct {
			unsigned device;
			const uint8_t *sector; /* SLOT_SIZE bytes; MAC and CRC still zero */
		} slot;
		struct {
			enum reserve_mode mode;
			uint16_t victim;
			uint64_t victim_epoch;
			bool fenced; /* FENCE of the victim succeeded just now */
			uint64_t generation;
			uint64_t epoch_min; /* the new epoch is greater than this and than S's */
		} reserve;
		struct {
			uint16_t node;
		} fence;
		struct {
			uint8_t stores; /* bit k: the vs's store k */
			bool below;	/* begin with the file system below the stores */
			bool beside;	/* a worker serves other stores on this unit */
		} repair;
		struct {
			uint8_t closed; /* bit k: store k is not opened; who asks for it waits */
		} start;
		struct {
			uint64_t until_ns;
		} lease;
		struct {
			uint32_t id;
			bool ok;
			enum reason reason;
			const char *text;
			/* Why not, all of it; NULL: the command has no vetoes.  With a dry run that
			 * is ok: empty, or what --force would go over. */
			const struct vetoes *vetoes;
		} reply;
		struct {
			unsigned level; /* enum log_level of base/log.h */
			enum reason reason;
			const char *text; /* `subsystem object: what happened` */
		} log;
	};
};

struct actions {
	unsigned count;
	struct action a[ACTIONS_MAX];
	unsigned text_count;
	char text[ACTIONS_MAX / 4][NODE_TEXT_MAX];
};

/* ---- the node ------------------------------------------------------------------------------- */

/* What I know about a coordination device.  begun times are those of the action. */
struct node_device {
	uint64_t write_op, write_begun_ns, write_ok_begun_ns;
	uint64_t read_op, read_begun_ns, read_ok_begun_ns;
	uint64_t read_since_ns; /* start of the present unbroken series of good reads */
	int write_err, read_err;
	uint64_t write_count;
};

struct node_seen {
	uint64_t generation, sequence;
};

struct node_peer {
	uint16_t id;
	bool heard_ever;
	struct node_seen latest; /* ST-43: over all paths */
	struct node_seen by_path[NODE_PATHS_MAX + 1], by_device[NODE_DEVICES_MAX];
	struct node_seen dropped[NODE_DEVICES_MAX]; /* what lies in its slot and was refused */
	uint64_t path_heard_ns[NODE_PATHS_MAX + 1]; /* 0: never */
	struct node_seen alien; /* the latest of a version that I do not speak */
	bool not_understood;	/* what came last of it was such a one: it lives, and nothing is taken */
	struct node_seen kept, keeping; /* of its messages: in my persistent memory; on the way there */
	uint64_t keep_op;
	int keep_err;
	struct node_seen mirrored; /* of mine: in its persistent memory, as it says */
	bool told_held;		   /* it has answered ACT_MEMORY_ASK */
	bool memory_now;	   /* it has not been sent my latest change of state */
	uint64_t memory_sent, memory_sent_ns;
	uint64_t slot_moved_ns[NODE_DEVICES_MAX];
	uint32_t slot_noise[NODE_DEVICES_MAX]; /* CRC of its sector when that could not be read, or 0 */
	uint64_t slot_read_ns[NODE_DEVICES_MAX]; /* begin of the last read that showed what it says */
	uint64_t heard_ns;	 /* any path, any device */
	uint64_t observe_since_ns; /* silence is counted from here at the earliest */
	uint64_t acked_ns;	 /* my sending time of the latest message that it acknowledged */
	enum status_verdict verdict;
	uint64_t verdict_ns, unreachable_since_ns, leaving_since_ns;
	struct status_msg msg;	 /* latest new one */
	uint32_t answered_id;	 /* its request that my answer is about */
	struct status_answer answer;
	/* step 213 against it */
	uint8_t step;		 /* 0, 'a' 'b' 'c' 'd', 'T' = completed */
	bool forced;		 /* by an operator: also when it is not dead */
	uint64_t victim_generation; /* that the announcement is about */
	bool taken;		 /* what is at home on it was taken and is held here: TAKEOVER */
	uint64_t step_ns;	 /* when the announcement was made */
	uint64_t countdown_ns;	 /* FO-73: then by force; 0: none */
	enum reason blocked;	 /* why no takeover of it, for status */
	uint64_t bad_messages, replays;
};

struct node_unit {
	bool held;	       /* I won it and have not released it */
	bool mounted;
	bool known;	       /* S was read */
	bool prove;	       /* read S though it is known: does the storage work here? */
	bool foul;	       /* could not be unmounted: not touched again by this instance */
	unsigned vs;	       /* whose it is */
	uint16_t owner;	       /* by S as last seen, 0 unowned */
	uint64_t owner_epoch, owner_generation;
	uint64_t read_op, read_next_ns;
	uint64_t read_begun_ns, proven_ns; /* of the last look at S; the last that succeeded began then */
	uint64_t reserve_begun_ns, poll_until_ns;
	unsigned poll_errors;
};

struct node_vs {
	enum vs_state state;
	enum reason reason;    /* of the last change */
	uint64_t since_ns;     /* in this state */
	uint64_t served_since_ns;
	uint64_t op;	       /* the completion this state waits for; 0: none */
	uint64_t address_op;   /* ADDRESS_UP or _DOWN in flight */
	uint64_t limit_ns;     /* of this state; 0: none */
	uint64_t epoch;	       /* of my ownership; kept after release */
	uint64_t heard_epoch;  /* greatest that others spoke of */
	uint64_t chain;	       /* lease chain in which the reservation was asked for */
	uint64_t lease_until_ns;
	uint64_t open_not_before_ns;
	unsigned at;	       /* unit being worked on */
	bool worker, drained, addresses, first_reply;
	bool addresses_short;  /* not all went up: not to be opened with these */
	bool keep;	       /* restart in place: mount and addresses stay */
	bool lost;	       /* S or R name another */
	bool inhibit;	       /* INHIBIT_VS was said here */
	uint64_t renew_ns;     /* to be brought up again from then on; 0: no */
	bool cleaning;	       /* reserved only to be released: leftover of an older instance */
	bool want_down;	       /* bring it down when the operation in flight is over */
	bool gave_up, gave_up_told, failed, released;
	bool storage_lost;     /* why it failed here; storage that works again may end that */
	uint64_t revoked_ns;
	uint16_t victim;       /* from whom it is being taken, 0 nobody */
	uint64_t victim_epoch;
	bool fenced;
	uint16_t target;       /* where this node wants it */
	uint16_t move_to;      /* planned move or giveback in progress */
	uint64_t move_since_ns;
	uint64_t moved_ns;     /* last automatic move, for hold-down */
	uint64_t not_before_ns;	   /* next attempt to bring it up */
	uint64_t failed_until_ns;  /* 0: until an operator says so */
	enum reason move_reason;
	unsigned release_tries;
	uint64_t crash_ns[8];
	unsigned crashes;      /* within the window */
	uint8_t closed;	       /* bit k: store k is damaged, and served again when it is repaired */
	uint8_t below;	       /* of those: the file system below is looked at first */
	uint64_t repair_op;    /* REPAIR in flight; 0: none */
	unsigned repair_at;    /* its unit */
	bool repair_stopped;
	uint64_t repair_at_ns[NODE_REPAIRS_MAX]; /* when damage was found, within the window */
	unsigned damages;
	uint64_t repairs, repairs_failed, repair_begun_ns, repair_took_ns;
	uint64_t phase_begun_ns;
	uint64_t phase_ns[PHASE_COUNT]; /* of the last bring-up here */
	uint64_t total_ns;
	uint8_t fs_state[STATUS_FS_MAX];
	uint64_t recovered_records, recovery_ns;
};

struct node_control {
	bool used;
	uint32_t id;
	enum control_verb verb;
	uint16_t node;
	uint32_t vs_id;
	uint64_t begun_ns, limit_ns;
	uint32_t request_id; /* forwarded as this request */
};

struct node {
	struct node_conf conf, before; /* before: of the version before, once one came while it ran */
	enum node_state state;
	enum reason state_reason;
	uint64_t state_since_ns;
	uint8_t prior_state; /* before REBOOTING (step 253) */
	unsigned reboot_step; /* 251 to 258 while REBOOTING */
	uint64_t reboot_limit_ns, reboot_retry_ns;
	uint64_t persist_op;
	bool persist_again;
	int memory_err; /* persistent memory could not be written: no takeover (ST-53) */
	uint64_t persist_retry_ns;
	uint64_t resumed_ns; /* transition 243: what was taken is about to be seized again */
	uint64_t generation, sequence, persisted_generation;
	struct node_seen own_seen; /* the latest record of my own state, wherever it was found */
	uint64_t ask_next_ns;
	uint64_t now_ns, last_step_ns, observe_since_ns;
	uint64_t next_op;
	bool tilt, dirty, first_start;
	bool generation_known; /* by my own memory: what a partner held may be older */
	uint64_t view_bad_ns; /* when what others say was last impossible (TILT); 0: never */
	enum status_role role;
	uint16_t master; /* myself, while I only claim the post; see master.c */
	uint64_t claim_ns, claim_written_ns, claim_chain;
	unsigned load[NODE_NODES_MAX + 1]; /* by node id: what it has and what was placed there */
	bool inhibit_self, inhibit_mine, inhibit_cluster, leaving, recovery_report, prompted;
	bool restarting; /* restart.c: leaving, until nothing is left here */
	uint64_t restart_limit_ns;
	bool waiting; /* step 252: for the giveback that the operator was asked for */
	uint16_t giveback_to;	   /* step 222: waiting for it to be NORMAL */
	uint64_t giveback_since_ns;
	uint64_t chain;		   /* of good slot writes or acknowledgements; see lease.c */
	uint64_t lease_base_ns, lease_until_ns;
	bool lease_lapsed;
	uint64_t next_send_ns, next_read_ns;
	uint64_t next_write_ns;	 /* news: earlier than the rate in force asks for */
	uint64_t round_begun_ns; /* of slot writes */
	bool write_round;
	unsigned write_at;
	uint64_t sent_seq[NODE_SENT_RING], sent_ns[NODE_SENT_RING];
	uint8_t port_quality[NODE_PATHS_MAX];
	uint16_t cpu_permille;
	uint32_t iops;
	uint16_t answer_peer; /* whose request the answer in my messages is about */
	struct status_request request;
	uint64_t request_since_ns;
	uint32_t request_next;
	struct node_device device[NODE_DEVICES_MAX];
	struct node_peer peer[NODE_NODES_MAX];
	unsigned peer_count; /* without self */
	struct node_unit unit[NODE_UNITS_MAX + 1]; /* the last: of what is gone, never owned */
	struct node_vs vs[NODE_VS_MAX];
	uint8_t order[NODE_VS_MAX]; /* indexes by falling priority */
	struct node_control control[NODE_CONTROLS_MAX];
	struct vetoes vetoes; /* of the command under way, for its ACT_REPLY */
	uint64_t stale_completions, clock_backwards;
	uint8_t key_count;
	struct status_key key[STATUS_KEYS_MAX];
	uint8_t note_count; /* note.c */
	struct status_note note[STATUS_NOTES_MAX];
	struct drops drops; /* authentic as far as the shell knows, and not taken */
	/* buffers of the actions */
	uint8_t msg_buf[STATUS_MAX], send_buf[STATUS_MAX];
	uint8_t sector_buf[NODE_DEVICES_MAX][SLOT_SIZE], persist_buf[SLOT_SIZE];
	uint8_t memory_buf[STATUS_MAX], keep_buf[SLOT_SIZE];
	struct actions *out; /* during a step */
};

void node_init(struct node *n, const struct node_conf *c, uint64_t now_ns);
/* Takes another configuration between two steps; NULL, or what cannot change while running: then
 * nothing is changed.  What is there keeps its index. */
const char *node_reconfigure(struct node *n, const struct node_conf *c);
const char *node_reconfigure_check(const struct node *n, const struct node_conf *c);
/* For who proposes it: NULL, or why what is missing there must not go yet, as far as this node knows
 * of all the others.  `text` has room for NODE_TEXT_MAX. */
const char *node_removal_check(const struct node *n, const struct node_conf *c, char *text);
/* `out` is cleared and filled. */
void node_step(struct node *n, const struct event *ev, struct actions *out);
/* When the next EV_TICK is due; in the past: at once. */
uint64_t node_deadline_ns(const struct node *n);
/* Asserts every invariant. */
void node_check(const struct node *n);

/* ---- questions for status ------------------------------------------------------------------- */

/* Every veto against CONTROL_VS_MOVE, _TAKEOVER or _GIVEBACK as in `command`; changes nothing. */
void node_vetoes(const struct node *n, const struct event *command, struct vetoes *out);
/* "v1 on n2", "n2", "": what a veto is about, into NODE_TEXT_MAX bytes. */
const char *node_veto_text(const struct node *n, const struct veto *v, char *text);
/* What an operator gave as the reason for that flag on node `id`, or for the flag behind a veto; "". */
const char *node_note(const struct node *n, uint16_t id, enum inhibit_scope scope, uint32_t vs_id);
const char *node_veto_note(const struct node *n, const struct veto *v);

/* Heard, be it by its slot alone. */
bool peer_live(const struct node_peer *p);
/* Fresh reads and writes on a majority of the coordination devices (V1). */
bool node_has_majority(const struct node *n);
/* Does it hold my latest state durably? */
bool memory_in_sync(const struct node *n, const struct node_peer *p);

/* A step of a rotation of the cluster's keys. */
enum key_step {
	KEY_ADD = 1, /* accept it: every node may, at any time */
	KEY_USE,     /* send and sign with it: when every live node has it */
	KEY_DROP,    /* forget it: when no live node sends with it any more */
};
/* NONE, or why not yet, and whose fault it is (`who`, 0: nobody's). */
enum reason node_key_refuses(const struct node *n, enum key_step step, uint8_t id, uint64_t print,
			     uint16_t *who);
/* Who has the vs as far as this node knows: a live claimant, else 0. */
uint16_t node_vs_owner(const struct node *n, unsigned vs);
/* And says that it serves it. */
bool node_vs_served(const struct node *n, unsigned vs);
/* Step 252's prompt: another node has what is at home here; a giveback there brings it back. */
bool node_wants_giveback(const struct node *n);
/* A look at each of its reservations, begun less than poll_lease ago, said that it is mine.  Only
 * while this holds may its addresses be renewed (F6): who cannot tell lets them expire. */
bool node_vs_held(const struct node *n, unsigned vs, uint64_t now_ns);
/* Index of the vs with this id, or -1. */
int node_vs_find(const struct node *n, uint32_t id);
bool node_transition_allowed(enum node_state from, enum node_state to);
bool vs_transition_allowed(enum vs_state from, enum vs_state to);

#endif
