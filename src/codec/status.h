/* status.h - the status message: one payload for every path (ST-15, ST-26 to ST-45, OV-07).  Pure.
 *
 * A fixed head of 96 bytes, then sections, each `type u16, length u16, bytes`.  Unknown sections
 * are skipped unless bit 15 of the type ("must understand") is set.  Big-endian.  Byte tables and
 * a decoded example are in doc/wire.md. */
#ifndef HF_CODEC_STATUS_H
#define HF_CODEC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The newest version that is spoken here, and the oldest.  A node speaks the lowest that every live
 * member understands (ST-41).  HF_PROTOCOL_NEXT: a build for tests, with one field more. */
#ifdef HF_PROTOCOL_NEXT
#define STATUS_VERSION	 2
#else
#define STATUS_VERSION	 1
#endif
#define STATUS_VERSION_MIN 1
#define STATUS_HEAD	 96
#define STATUS_MAX	 3008 /* also what a coordination slot has room for */
#define STATUS_NODES_MAX 8
#define STATUS_VS_MAX	 64
#define STATUS_FS_MAX	 8 /* of one virtual server */
#define STATUS_PATHS_MAX 4

/* ST-31 to ST-35 with the additions of AM-06. */
enum status_indicator {
	STATUS_NORMAL = 1,
	STATUS_TAKEOVER,
	STATUS_NO_TAKEOVER, /* do not take my storage */
	STATUS_DISABLE,	    /* takeover disabled for both */
	STATUS_REBOOTING,
	STATUS_STOPPED,
};

enum status_flag {
	STATUS_F_RECOVERY = 1 << 0, /* recovery report: I came back from an interruption (ST-48) */
	STATUS_F_FAILING = 1 << 1,  /* "I am failing" (FO-25) */
	STATUS_F_LEAVING = 1 << 2,  /* announced reboot or shutdown: not death; hard cap */
	STATUS_F_BAR = 1 << 3,	    /* step 222c: 212 barred for the node in bar_node */
	STATUS_F_MAJORITY = 1 << 4, /* fresh reads and writes on a majority of devices */
	STATUS_F_TILT = 1 << 5,
	STATUS_F_INHIBIT = 1 << 6,  /* operator or mismatch: I take nothing; reason beside it */
	STATUS_F_WAITING = 1 << 7,  /* step 252: another has my storage, I wait for its giveback */
	/* What an operator ordered, in every state: the indicator says one thing only, and while I am
	 * REBOOTING not this (ST-34, ST-35). Nodes before these flags send the indicator alone. */
	STATUS_F_NO_TAKEOVER = 1 << 8,
	STATUS_F_DISABLE = 1 << 9,
};

enum status_role { STATUS_ROLE_NONE = 1, STATUS_ROLE_MASTER, STATUS_ROLE_SLAVE };

/* What the sender thinks of another node. */
enum status_verdict {
	STATUS_V_UNKNOWN = 1, /* not observed long enough */
	STATUS_V_ALIVE,
	STATUS_V_UNREACHABLE, /* network silent, slot advancing */
	STATUS_V_SILENT,      /* all silent, but not proven dead (no majority) */
	STATUS_V_DEAD,
	STATUS_V_LEAVING,     /* silent after an announced shutdown */
};

struct status_peer {
	uint16_t node;
	uint8_t verdict;	/* enum status_verdict */
	uint8_t takeover;	/* 0, or the letter of step 213 reached: 'a'..'d'; 'T' = completed */
	uint64_t generation;	/* ST-39 */
	uint64_t acked;		/* ST-40: latest new sequence */
};

enum status_vs_flag {
	STATUS_VS_GAVE_UP = 1 << 0, /* had it at `epoch`; lease revoked, nothing answers, R not released */
	STATUS_VS_FAILED = 1 << 1,  /* could not serve it here (reason); not a candidate */
	STATUS_VS_RELEASED = 1 << 2,/* released at `epoch` for `target` */
	STATUS_VS_INHIBIT = 1 << 3, /* an operator said: no takeover of it (OV-15) */
};

struct status_vs {
	uint32_t id;	 /* of its name, node_name_id() */
	uint8_t state;	 /* enum vs_state of core/node.h */
	uint8_t flags;
	uint8_t target;	 /* where the sender wants it: node, 0 = no wish */
	uint8_t reason;	 /* enum reason */
	uint64_t epoch;	 /* of the sender's ownership, the last it knows otherwise */
	uint8_t owner;	 /* by the last S the sender saw, 0 = unowned or unknown */
	uint8_t fs_count;
	uint8_t fs_state[STATUS_FS_MAX]; /* enum status_fs */
};

enum status_fs { STATUS_FS_DOWN = 1, STATUS_FS_RECOVERING, STATUS_FS_UP, STATUS_FS_DAMAGED };

/* A wish for another node, repeated until answered (mailbox, "please shutdown", forwarding). */
enum status_request_type {
	STATUS_REQ_NONE,
	STATUS_REQ_RELEASE_VS,	    /* give `vs` to node `target` */
	STATUS_REQ_PLEASE_SHUTDOWN, /* FO-72: bring everything down, release */
	STATUS_REQ_GIVEBACK,	    /* give back what is at home on `target` */
	STATUS_REQ_START_VS,	    /* clear FAILED and quarantine of `vs` */
	STATUS_REQ_RESTART,	    /* hand over and begin anew; vs: low half of your generation */
};

#define STATUS_REQ_F_FORCE 1 /* of status_request.flags: over the vetoes that yield */

struct status_request {
	uint8_t type, to, target, flags;
	uint32_t vs, id; /* id: the sender's number, never reused in a generation */
};

struct status_answer {
	uint8_t to, result, reason, zero; /* result: 0 none, 1 done, 2 refused, 3 in progress */
	uint32_t id;
};

/* What the sender holds durably of another node (ST-04): its answer to remote writes. */
struct status_memory {
	uint16_t node;
	uint64_t generation, sequence; /* of the message that it holds */
};

/* Why a takeover inhibit is on, in an operator's words; shown to people, decides nothing. */
#define STATUS_NOTES_MAX 8
#define STATUS_NOTE_MAX	 96
struct status_note {
	uint8_t scope; /* enum inhibit_scope of core/node.h */
	uint32_t vs;   /* scope INHIBIT_VS: its id */
	char text[STATUS_NOTE_MAX + 1];
};

#define STATUS_KEYS_MAX 4
enum status_key_flag { STATUS_KEY_SEND = 1 << 0 /* it sends and signs with this one */ };

/* A key of the cluster that the sender knows, by its public fingerprint (rotation in steps). */
struct status_key {
	uint8_t id, flags;
	uint64_t print;
};

/* What has its place in every version: who, which version, and how new. */
struct status_peek {
	uint8_t version, version_max;
	uint16_t sender;
	uint64_t generation, sequence;
};

struct status_msg {
	uint8_t version, version_max;
	uint16_t sender;
	uint8_t indicator;    /* enum status_indicator */
	uint8_t state;	      /* enum node_state */
	uint8_t role;	      /* enum status_role */
	uint8_t master;	      /* whom the sender takes for master, 0 = nobody */
	uint16_t flags;	      /* enum status_flag */
	uint8_t inhibit;      /* enum reason, with STATUS_F_INHIBIT, NO_TAKEOVER, DISABLE */
	uint8_t bar_node;     /* with STATUS_F_BAR */
	uint64_t generation;  /* ST-36 */
	uint64_t sequence;    /* ST-38 */
	uint64_t sent_ns;     /* sender's CLOCK_BOOTTIME, for people */
	uint64_t features;    /* what the sender can do; all zero so far */
	uint64_t config_hash; /* differing hashes bar takeover */
	uint64_t config_version;
	uint16_t cpu_permille, worker_count;
	uint32_t iops;
	uint8_t prior_state; /* state before REBOOTING (step 253) */
	uint8_t path_count;
	uint8_t port_quality[STATUS_PATHS_MAX]; /* 0 bad, 1 unknown, 2 good */
	uint8_t peer_count;
	struct status_peer peer[STATUS_NODES_MAX];
	uint8_t vs_count;
	struct status_vs vs[STATUS_VS_MAX];
	struct status_request request;
	struct status_answer answer;
	uint8_t memory_count;
	struct status_memory memory[STATUS_NODES_MAX];
	uint8_t key_count;
	struct status_key key[STATUS_KEYS_MAX];
	uint8_t note_count;
	struct status_note note[STATUS_NOTES_MAX];
#ifdef HF_PROTOCOL_NEXT
	uint64_t next; /* behind the sections, from version 2 on */
#endif
};

/* Bytes written, or 0 when it does not fit. */
size_t status_encode(const struct status_msg *m, uint8_t *out, size_t size);
/* 0 or -EBADMSG; of a message of whatever version. */
int status_peek(struct status_peek *p, const uint8_t *in, size_t len);
/* 0; -EBADMSG when malformed; -EPROTO when it needs a version or section that we do not know. */
int status_decode(struct status_msg *m, const uint8_t *in, size_t len);

/* Whatever state the sender is in (ST-34, ST-35, ST-56). */
static inline bool status_no_takeover(const struct status_msg *m)
{
	return m->indicator == STATUS_NO_TAKEOVER || m->flags & STATUS_F_NO_TAKEOVER;
}

static inline bool status_disable(const struct status_msg *m)
{
	return m->indicator == STATUS_DISABLE || m->flags & STATUS_F_DISABLE;
}

/* 1 to STATUS_NOTE_MAX bytes of UTF-8 without control characters: fit for a log, a table and JSON. */
bool status_note_ok(const char *text, size_t len);

const char *status_indicator_name(unsigned v);
const char *status_verdict_name(unsigned v);
const char *status_role_name(unsigned v);

#endif
