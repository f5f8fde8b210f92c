/* lib_core.h - the brain, one node alone: a rig plays its shell, its disks and its partner.
 *
 * Node 1 is under test.  Its partner, node 2, is as the rig's fields say; every action succeeds at
 * once unless held back.  Time passes in rig_pass(). */
#ifndef HF_TEST_LIB_CORE_H
#define HF_TEST_LIB_CORE_H

#include "core/internal.h"

#define T 100000000ULL

struct rig {
	struct node_conf conf;
	struct node n;
	struct actions out;
	uint64_t now;
	uint8_t sector[NODE_NODES_MAX][SLOT_SIZE];
	uint64_t peer_generation, peer_sequence;
	bool peer_net, peer_slot, disk_write, disk_read;
	uint64_t epoch;
	unsigned seen[ACT_SELF_FENCE + 1];
	struct action last[ACT_SELF_FENCE + 1];
	bool hold[ACT_SELF_FENCE + 1]; /* this action is not completed by the rig */
	bool acks, peer_serves;
	bool peer_master, peer_recovers;
	uint8_t peer_wants;  /* v1 to this node; nobody has it */
	bool peer_released; /* v1, at epoch 1, for node 1 */
	bool peer_failed;   /* to serve v1 */
	struct status_msg told; /* what it sent last */
};

void rig_step(struct rig *g, struct event ev);
void rig_done(struct rig *g, const struct action *a, enum ev_type type, int err);
void rig_reserved(struct rig *g, const struct action *a, enum reserve_result result);
void rig_deliver(struct rig *g, const struct status_msg *m, unsigned path);
void rig_put_slot(struct rig *g, unsigned node, const struct status_msg *m);
void rig_poll(struct rig *g, enum poll_result result);
void rig_pass(struct rig *g, uint64_t ns);
void rig_conf(struct rig *g);
void rig_start(struct rig *g);
struct status_msg rig_peer(struct rig *g);

#endif
