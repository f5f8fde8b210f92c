/* internal.h - what the files of the brain share; nobody outside core includes it.
 *
 *	node.c      the step, messages in and out, deadlines, invariants
 *	peer.c      what I know about the others: silence, verdict (OV-10, V1, V2)
 *	lease.c     coordination devices, chain of good writes, leases (F4)
 *	vserver.c   one virtual server up and down (OV-27, OV-28)
 *	vs_again.c  ... again where it is: crash, lapse, damage and repair
 *	vs_done.c   ... completions
 *	takeover.c  steps 213a-d and 222a-c, STOPPED
 *	reboot.c    steps 251 to 258
 *	master.c    who is master
 *	place.c     placement
 *	reconf.c    another configuration while everything runs
 *	veto.c      everything that forbids something (OV-15)
 *	memory.c    the partners' persistent memory (ST-04, ST-28)
 *	control.c   operator commands and requests between nodes
 */
#ifndef HF_CORE_INTERNAL_H
#define HF_CORE_INTERNAL_H

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "core/node.h"

/* node.c */
struct action *act(struct node *n, enum act_type type);
uint64_t act_op(struct node *n, struct action *a);
char *act_text(struct node *n); /* NODE_TEXT_MAX bytes, or NULL when there is no room */
void act_log(struct node *n, enum log_level level, enum reason reason, const char *text);
void act_self_fence(struct node *n, enum reason reason, const char *text);
void node_set_state(struct node *n, enum node_state to, enum reason why);
void node_sort(struct node *n); /* n->order, by priority */
bool node_active(const struct node *n); /* NORMAL or TAKEOVER */
uint64_t node_persist(struct node *n);
void node_fill(const struct node *n, struct status_msg *m);
void node_accept(struct node *n, struct node_peer *p, const struct status_msg *m);
const char *node_name(const struct node *n, uint16_t id);

#define SAY(n, level, reason, ...)                                                                 \
	do {                                                                                       \
		char *text_ = act_text(n);                                                         \
		if (text_) {                                                                       \
			snprintf(text_, NODE_TEXT_MAX, __VA_ARGS__);                               \
			act_log(n, level, reason, text_);                                          \
		}                                                                                  \
	} while (0)

/* peer.c */
struct node_peer *peer_find(struct node *n, uint16_t id);
const struct node_peer *peer_get(const struct node *n, uint16_t id);

/* note.c: the texts of inhibit flags */
bool note_fits(const struct node *n, enum inhibit_scope scope, uint32_t vs);
void note_set(struct node *n, enum inhibit_scope scope, uint32_t vs, const char *text);
void note_prune(struct node *n);
void note_restore(struct node *n, const struct status_msg *m);

const struct status_vs *peer_vs(const struct node *n, const struct node_peer *p, unsigned vs);
void peer_message(struct node *n, const struct event *ev);
void peer_slots(struct node *n, unsigned device, const struct event *ev);
void peer_observe_anew(struct node *n);
void peer_verdicts(struct node *n);
uint64_t peer_deadline_ns(const struct node *n);
/* It gave it up and is silent for certain: revoked, and the time to stop is over (F4). */
bool vs_surely_silent(const struct node *n, const struct node_vs *v);
uint8_t client_quality(const struct node *n, const uint8_t *quality);

/* memory.c */
void memory_init(struct node *n);
void memory_ask(struct node *n);
bool memory_answered(const struct node *n);
void memory_held(struct node *n, const struct event *ev);
void memory_keep(struct node *n, struct node_peer *p, const struct event *ev);
void memory_kept(struct node *n, const struct event *ev);
void memory_acknowledged(struct node *n, struct node_peer *p, const struct status_msg *m);
void memory_fill(const struct node *n, struct status_msg *m);
void memory_news(struct node *n);
void memory_run(struct node *n);
uint64_t memory_deadline_ns(const struct node *n);

/* lease.c */
void lease_run(struct node *n);
void lease_check(struct node *n); /* lapse */
bool lease_valid(const struct node *n);
void lease_written(struct node *n, const struct event *ev);
void lease_read(struct node *n, const struct event *ev);
void lease_renew(struct node *n);
unsigned devices_written_since(const struct node *n, uint64_t begun_ns);
enum scribble scribble_state(const struct node *n);
bool device_fresh(const struct node *n, unsigned d);
uint64_t lease_deadline_ns(const struct node *n);

/* vserver.c */
void vs_set_state(struct node *n, unsigned vs, enum vs_state to, enum reason why);
void vs_init(struct node *n, unsigned vs);
void vs_up(struct node *n, unsigned vs, uint16_t victim, enum reason why);
void vs_move(struct node *n, unsigned vs, uint16_t to, enum reason why);
void vs_hard_down(struct node *n, unsigned vs, enum reason why);
void vs_clean(struct node *n, unsigned vs);
void vs_lapsed(struct node *n, unsigned vs, enum reason why);
void vs_event(struct node *n, const struct event *ev);
void vs_poll(struct node *n, const struct event *ev);
void vs_run(struct node *n, unsigned vs);
void vs_give_lease(struct node *n, unsigned vs);
void vs_clear_failed(struct node *n, unsigned vs);
uint64_t vs_deadline_ns(const struct node *n, unsigned vs);
void vs_check(const struct node *n, unsigned vs);

/* vserver.c, vs_again.c, vs_done.c among themselves */
void vs_retake_now(struct node *n, unsigned vs);
void vs_storage_down(struct node *n, unsigned vs);
void vs_storage_back(struct node *n, unsigned vs);
const struct node_conf_vs *vs_conf(const struct node *n, unsigned vs);
struct node_unit *vs_unit(struct node *n, unsigned vs, unsigned at);
struct action *vs_unit_act(struct node *n, unsigned vs, enum act_type type);
bool vs_chain_good(const struct node *n, const struct node_vs *v);
/* Coming up, after a pause: the reservation is too old for a lease, so it is confirmed once more. */
bool vs_too_late(struct node *n, unsigned vs);
bool vs_leased_state(enum vs_state s);
void vs_revoke(struct node *n, unsigned vs);
void vs_reserve_next(struct node *n, unsigned vs);
void vs_start_worker(struct node *n, unsigned vs, enum reason why);
void vs_failed(struct node *n, unsigned vs, enum reason why);
void vs_down_instead(struct node *n, unsigned vs);
bool vs_awaited(struct node *n, unsigned vs, const struct event *ev, enum vs_state state);
struct action *vs_act(struct node *n, unsigned vs, enum act_type type);
void vs_phase_end(struct node *n, struct node_vs *v, enum vs_phase p);
void vs_open_if_allowed(struct node *n, unsigned vs);
void vs_exit_over(struct node *n, unsigned vs);
void vs_addresses_down(struct node *n, unsigned vs);
void vs_crashed(struct node *n, unsigned vs);
bool vs_damage_loop(struct node *n, struct node_vs *v);
void vs_damaged(struct node *n, unsigned vs, unsigned fs, bool below);
/* The stores of its at-th unit, a bit each. */
uint8_t vs_stores_on(const struct node *n, unsigned vs, unsigned at);
/* Units reserved and mounted: the worker, or what must be repaired before. */
void vs_bring_up(struct node *n, unsigned vs);
void vs_repair_stop(struct node *n, unsigned vs);
void vs_repaired(struct node *n, unsigned vs, const struct event *ev);

/* takeover.c */
void takeover_countdowns(struct node *n);
void takeover_run(struct node *n);
void takeover_won(struct node *n, unsigned vs);
void takeover_of_me(struct node *n, const struct node_peer *p);
void node_stop(struct node *n, enum reason why);
enum reason giveback_start(struct node *n, uint16_t to, bool force);
void giveback_one(struct node *n, unsigned vs);
enum reason takeover_cancel(struct node *n, uint16_t node);
uint64_t takeover_deadline_ns(const struct node *n);

/* reboot.c */
void reboot_begin(struct node *n);
void reboot_run(struct node *n);
void reboot_own_state(struct node *n, const struct status_msg *m);
void reboot_persisted(struct node *n, int err);
void unit_read_done(struct node *n, const struct event *ev);
void units_read(struct node *n);

/* master.c */
void master_run(struct node *n);

/* place.c */
unsigned vs_weight(const struct node *n, unsigned vs);
void place_assign(struct node *n, unsigned vs, uint16_t to);
void place_run(struct node *n);
bool peer_works(const struct node_peer *p);
enum reason place_refuses(const struct node *n, unsigned vs, uint16_t node);
uint16_t place_best(const struct node *n, unsigned vs, bool not_self);
/* Of those that can have it the one with the smallest is the best. */
unsigned place_rank(const struct node *n, unsigned vs, uint16_t id);

/* restart.c */
uint16_t restart_heir(const struct node *n, unsigned vs, uint16_t from);
void restart_begin(struct node *n);
enum reason restart_asked(struct node *n, const struct status_request *q);
void restart_run(struct node *n);

/* veto.c */
bool vs_wanted(const struct node *n, unsigned vs);
bool vs_inhibited(const struct node *n, unsigned vs);
void place_vetoes(const struct node *n, unsigned vs, uint16_t id, struct vetoes *out);
/* Against node `id` beginning anew. */
void restart_vetoes(const struct node *n, uint16_t id, struct vetoes *out);
enum reason veto_first(const struct vetoes *v, bool force);
enum reason takeover_blocked(const struct node *n, const struct node_peer *p);

/* control.c */
void control_event(struct node *n, const struct event *ev);
void control_run(struct node *n);
void request_received(struct node *n, struct node_peer *p);
bool request_send(struct node *n, enum status_request_type type, uint16_t to, uint16_t target,
		  uint32_t vs_id, bool force);

#endif
