/* chosen.h - which configuration counts: Disk Paxos over the coordination devices (SAFETY V3).
 *
 * Gafni and Lamport's algorithm, one instance for each version of the configuration.  A node's block
 * (codec/block.h) holds what it promised and accepted for version committed + 1, and the version that
 * it knows chosen.  A ballot runs in two phases; in each the node writes its block to a device and
 * then reads everybody's there; a phase is over when a majority of the devices is through with it and
 * nobody was seen with a higher promise.
 *
 *	PROMISE  my block says `promised`; of what I read, the value accepted with the highest ballot
 *		 must be proposed again, else it is mine to choose
 *	FETCH	 its text is copied from the node that has it, when it is not here
 *	ACCEPT	 the text goes to a place of mine, then my block says `accepted`
 *	chosen:	 the block says `committed`; that is written too, but nothing depends on it
 *
 * A block that says `committed` is true for ever, whoever reads it and on whatever single device; a
 * node that is behind learns from it and fetches the text.  A value that is accepted and not known
 * chosen is carried to its end by whoever sees it for a while (a node may have died in between).
 *
 * What a node promised is on the devices alone: after a start nothing is written before its own
 * block was read back from a majority, and no device is written before it was read once.  Its block may
 * be of a later version than it remembers: what it says counts when that version is learnt (recall()).
 *
 * Pure, like node.h: event in, actions out, completions by `op`, stale ones dropped; the caller owns
 * the struct and remembers texts by their hash.  At most one operation is in flight a device. */
#ifndef HF_CORE_CHOSEN_H
#define HF_CORE_CHOSEN_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/block.h"

#define CHOSEN_DEVICES_MAX 3
#define CHOSEN_ACTIONS_MAX 16

enum chosen_phase {
	CHOSEN_START = 1, /* reads its own block back */
	CHOSEN_IDLE,
	CHOSEN_PROMISE,
	CHOSEN_FETCH,  /* for ACCEPT */
	CHOSEN_ACCEPT,
	CHOSEN_LEARN,  /* fetches the text of a version known chosen */
	CHOSEN_FORKED, /* two chosen texts of one version: devices of two clusters, or forged */
};
const char *chosen_phase_name(unsigned p);

struct chosen_conf {
	uint16_t self; /* 1 to 8 */
	uint8_t cluster[16];
	unsigned device_count;
	uint8_t members; /* bit node - 1; a damaged block of another node is taken for blank */
	uint64_t poll_ns, retry_ns, nudge_ns, give_up_ns;
};

enum chosen_ev_type {
	CHOSEN_EV_TICK,
	CHOSEN_EV_READ,	   /* completion of ACT_READ */
	CHOSEN_EV_WRITTEN, /* of ACT_BLOCK and ACT_TEXT */
	CHOSEN_EV_FETCHED, /* of ACT_FETCH: err 0: the shell has the text, and its hash is right */
	CHOSEN_EV_PROPOSE, /* id, value; the shell has the text; answered by one ACT_REPLY */
	CHOSEN_EV_LOOK,	   /* somebody speaks of a newer version: look now */
};

/* What a read found of one node. */
struct chosen_seen {
	struct block block; /* the newest whole copy; node 0: never written */
	bool damaged;	    /* written, and no copy can be believed */
	bool old_key;	    /* my own: to be sealed anew */
};

struct chosen_event {
	enum chosen_ev_type type;
	uint64_t now_ns, op;
	int err;
	const struct chosen_seen *seen; /* READ: of nodes 1 to 8 */
	uint32_t id;
	struct block_value value; /* PROPOSE: version and prev are of the base it was made from */
};

enum chosen_act_type {
	CHOSEN_ACT_READ = 1, /* device: everybody's blocks */
	CHOSEN_ACT_BLOCK,    /* device, block */
	CHOSEN_ACT_TEXT,     /* device, place, value: the text, durable before the completion */
	CHOSEN_ACT_FETCH,    /* device, node, place, value */
	CHOSEN_ACT_ADOPT,    /* value: it is chosen, and newer than the last that was adopted */
	CHOSEN_ACT_REPLY,    /* id, err: 0 chosen; -ESTALE another was; -EINPROGRESS not known yet;
			      * -ETIMEDOUT it was not; -EBUSY; -EUCLEAN forked */
};

struct chosen_action {
	enum chosen_act_type type;
	uint64_t op;
	unsigned device, place;
	uint16_t node;
	uint32_t id;
	int err;
	struct block_value value;
	struct block block;
};

struct chosen_actions {
	unsigned count;
	struct chosen_action a[CHOSEN_ACTIONS_MAX];
};

/* How far a device is with the present ballot or reading. */
enum chosen_step { STEP_NONE, STEP_PROMISED, STEP_LOOKED, STEP_TEXT, STEP_ACCEPTED, STEP_DONE };

struct chosen_device {
	uint64_t op; /* in flight; 0 none */
	enum chosen_act_type doing;
	uint64_t round; /* that it was begun for */
	bool known;	/* read since the start: `mine` and the texts are what is there */
	bool failed;	/* in this round */
	bool look;	/* to be read now */
	bool old_key;	/* what it has of me is to be sealed anew */
	enum chosen_step step;
	struct block mine, writing;
	unsigned writing_place;
	struct block_value writing_text;
	bool has[BLOCK_PLACES]; /* this text, whole */
	uint8_t hash[BLOCK_PLACES][BLOCK_HASH_LEN];
};

/* A value that was seen, and where its text is. */
struct chosen_found {
	struct block_value value; /* version 0: none */
	uint64_t ballot;
	unsigned count, at;
	struct {
		unsigned device;
		uint16_t node;
		uint8_t place;
	} source[CHOSEN_DEVICES_MAX * BLOCK_NODES];
};

struct chosen {
	struct chosen_conf conf;
	enum chosen_phase phase;
	/* `before`: as promised in this ballot, with what was accepted in earlier ones */
	struct block mine, before;
	uint64_t now_ns, next_op, round, ballot, ballot_seen;
	uint64_t begun_ns, next_look_ns, retry_at_ns, hanging_since_ns, fetch_since_ns;
	uint64_t behind; /* greatest version that anybody was seen to know chosen */
	unsigned tries;
	bool told;		 /* `accepted` of this ballot went out to a device */
	bool proposing, offered; /* offered: it may be chosen any time */
	uint32_t id;
	uint64_t proposed_ns;
	struct block_value proposal, text, fetched; /* text: of FETCH and ACCEPT */
	struct chosen_found pick, learn;
	uint64_t fetch_op;
	bool adopted; /* in this step */
	struct chosen_device device[CHOSEN_DEVICES_MAX];
	uint64_t stale_completions, conflicts, rounds, failed_fetches;
	struct chosen_actions *out;
};

/* `known`: a version whose text is on this node since an earlier run (version 0: none). */
void chosen_init(struct chosen *c, const struct chosen_conf *conf, const struct block_value *known,
		 uint64_t now_ns);
void chosen_step(struct chosen *c, const struct chosen_event *ev, struct chosen_actions *out);
/* When the next TICK is due. */
uint64_t chosen_deadline_ns(const struct chosen *c);
/* Asserts what must hold. */
void chosen_check(const struct chosen *c);
/* After ADOPT, before the next step: the devices and members of the configuration that counts now.
 * from[i] is the number that device i had so far, or -1 when it is new. */
void chosen_members(struct chosen *c, uint8_t members, unsigned device_count, const int *from);
/* Devices that this node has read since its start. */
unsigned chosen_devices_known(const struct chosen *c);
bool chosen_same(const struct block_value *a, const struct block_value *b);

#endif
