/* daemon.h - holdfastd: the shell around the brain, in parts.
 *
 *	main.c	      arguments, what must hold before a node may start, signals
 *	brain.c	      events into node_step(), actions out to the parts below
 *	slots.c	      coordination devices, persistent memory
 *	peers.c	      heartbeats on the network paths
 *	partners.c    the other nodes' messages in this node's persistent memory
 *	drops.c	      messages that are not taken: counted, logged, shown
 *	ports.c	      quality of the node's ports (Fig. 7), load
 *	units.c	      helper processes for storage units, the owner's poll (F2)
 *	launch.c      holdfast-vs processes, made ahead: spares
 *	workers.c     workers: start, messages, lease, end
 *	sockets.c     the sockets that a worker serves on
 *	addresses.c   virtual addresses, announcements, tickles
 *	stranded.c    clients whom only this node's kernel knows when an address goes
 *	keys.c	      the cluster's keys: rotation in steps
 *	trouble.c     what stands in a virtual server's way, in words
 *	views.c	      storage units as operators see them
 *	diary.c	      what goes into the event log
 *	requests.c    the control socket's verbs
 *	metrics.c     /metrics
 *
 * One thread, one loop.  No part calls the brain while it works: effects that complete at once
 * post their event, and the queue is emptied at the end of the round. */
#ifndef HF_CMD_DAEMON_H
#define HF_CMD_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "codec/worker.h"
#include "conf/conf.h"
#include "core/node.h"
#include "ctl/ctl.h"
#include "io/disk.h"
#include "io/loop.h"
#include "io/net.h"
#include "io/ping.h"
#include "io/process.h"
#include "io/seal.h"
#include "io/tickle.h"
#include "io/unit.h"

/* Exit statuses, listed in holdfastd(8) (sysexits.h). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_USAGE = 64,
	EXIT_FORMAT = 65,   /* a damaged or newer record, slot or key */
	EXIT_ADDRESS = 69,  /* an address or port is taken */
	EXIT_INTERNAL = 70, /* io_uring refused; self-fenced; our own fault */
	EXIT_SYSTEM = 71,   /* the system refuses something that cannot be done without */
	EXIT_FULL = 73,	    /* state or coordination cannot be written */
	EXIT_IN_USE = 75,   /* another holdfastd of this node runs */
	EXIT_CONFIG = 78,
};

#define PATH_TEXT_MAX  512
#define SOCKETS_MAX    WORKER_FDS_MAX
#define EVENT_QUEUE    1024
#define OPEN_TRIES     20 /* what a daemon that has just ended still has, ... */
#define OPEN_WAIT_MS   50 /* ... so long apart */
#define STRANDED_MAX   WORKER_CONNS_MAX
#define FOREVER_NS     UINT64_MAX
/* A spare is made so long after the daemon's start, and after the last was taken. */
#define SPARE_FIRST_NS 1000000000ULL

struct daemon;

/* A coordination device. */
struct slots_device {
	struct daemon *d;
	struct disk disk;
	unsigned index;
};

struct peer_path;

struct peer_socket {
	struct peer_path *path;
	struct net_path net;
};

struct peer_path {
	struct daemon *d;
	unsigned index;
	/* The one in use, and that of the address before while not all know the new one (readdress.c). */
	struct peer_socket socket[2];
	unsigned now;
	uint64_t old_until_ns;
	uint8_t quality; /* 0 bad, 1 unknown, 2 good */
	struct ping ping;
	bool ping_refused;
	uint64_t probe_begun_ns; /* 0: no test under way */
	unsigned probe_group;
};

/* A unit, and the one helper process at work on it. */
struct unit_job {
	struct daemon *d;
	unsigned index;
	struct unit_spec spec;
	struct process process;
	struct unit_queue *queue; /* jobs that wait */
	struct unit_queue *now;
	int lock_fd; /* -1: not mine */
	bool held, lost;
	uint64_t epoch;
	unsigned labels; /* enum unit_label bits that were told */
	/* poll */
	struct loop_timer poll_timer;
	struct process poll;
	uint64_t poll_begun_ns;
};

enum worker_life { WORKER_NONE, WORKER_RUNNING, WORKER_LEFT /* drained, kept until it is told */ };

#define WORKER_PLACES 2 /* the worker and a spare; each has its own cgroup */

struct worker_process {
	struct daemon *d;
	unsigned vs;
	pid_t pid; /* 0: none */
	int pidfd, control;
	struct worker_lease *lease;
	int lease_fd;
	struct loop_op exit_op, control_op;
	uint64_t epoch; /* 0: a spare */
	bool prepared;	/* it has said SPARE */
	char cgroup[PATH_TEXT_MAX];
};

struct worker {
	struct daemon *d;
	unsigned vs;
	enum worker_life life;
	uint64_t epoch;
	struct worker_process process[WORKER_PLACES];
	struct worker_process *now, *spare; /* NULL: none */
	uint64_t spare_not_before_ns;
	uint64_t open_op; /* ACT_OPEN that waits for SERVING; 0 none */
	uint64_t started_ns;
	bool failed_said, dead;
	char damage[WORKER_TEXT_MAX + 1]; /* the last that was found; empty: none yet */
	uint64_t damage_ns, damages;
	char *stats; /* last STATS_REPLY, JSON text */
	size_t stats_len;
	uint64_t stats_asked_ns; /* not answered yet; 0: none */
	bool stats_again;	 /* asked for since then */
	uint64_t starts, crashes;
	/* what READY said about the last owner's clients */
	unsigned conn_count;
	struct worker_conn *conn;
};

struct vs_trouble {
	char text[WORKER_TEXT_MAX + 1]; /* empty: none */
};

struct vs_sockets {
	unsigned count;
	int fd[SOCKETS_MAX];
	uint8_t role[SOCKETS_MAX];
};

struct vs_addresses {
	bool up;
	/* As they were configured when they came up: they go down the same. */
	unsigned address_count;
	struct conf_address address[CONF_ADDRS_MAX];
	unsigned announce_left, tickle_left;
	struct loop_timer renew_timer, announce_timer;
	struct daemon *d;
	unsigned vs;
};

struct stranded {
	struct daemon *d;
	unsigned vs;
	struct worker_conn conn[STRANDED_MAX];
	unsigned count, left; /* of connections; of tickles for each */
	bool accepted;	      /* those are looked for */
	uint64_t since_ns;
	struct loop_timer timer;
};

struct daemon {
	struct loop *loop;
	struct conf *conf;
	char *conf_text;
	size_t conf_len;
	char conf_name[PATH_TEXT_MAX];
	struct config *config;
	uint64_t config_version; /* in effect; 0: the file, nothing is committed */
	unsigned self; /* index into conf->node */
	char run_dir[PATH_TEXT_MAX], state_dir[PATH_TEXT_MAX];
	char libexec[PATH_TEXT_MAX]; /* where holdfast-vs is */
	uint8_t boot_id[16];
	struct seal seal;
	char key_path[PATH_TEXT_MAX];
	struct keys *keys; /* keys.c */
	struct times times;

	/* brain.c */
	struct node *node;
	struct actions *actions;
	struct loop_hook hook;
	struct loop_timer tick;
	struct event *queue;
	unsigned queue_head, queue_len;
	bool in_step;
	uint64_t steps, step_ns_max;

	/* slots.c */
	struct slots_device slots[CONF_COORD_MAX];
	int persist_fd;
	struct loop_op persist_op;
	uint8_t *persist_sector, persist_last[SLOT_SIZE];
	bool persist_known;
	uint64_t persist_tag, persist_turn;

	struct partners *partners; /* partners.c */

	/* peers.c */
	struct peer_path path[CONF_PATHS_MAX];
	struct { /* the last change of addresses: the nodes as they were before; version 0: none */
		uint64_t version;
		unsigned count;
		struct conf_node node[CONF_NODES_MAX];
	} moved;
	struct loop_timer port_timer;
	unsigned port_turn;
	uint64_t cpu_busy, cpu_total;

	/* drops.c: what the shell drops; what the brain drops is in struct node */
	struct drops drops;
	uint64_t drops_seen; /* of the brain's */
	uint64_t drops_said_ns[DROP_WAYS][DROP_COUNT];
	struct slot_bad slot_bad[CONF_COORD_MAX][NODE_NODES_MAX]; /* as it was last read */

	struct unit_job unit[CONF_UNITS_MAX];
	struct worker worker[CONF_VSERVERS_MAX];
	struct loop_timer spare_timer;
	struct vs_sockets sockets[CONF_VSERVERS_MAX];
	struct vs_addresses addresses[CONF_VSERVERS_MAX];
	struct stranded stranded[CONF_VSERVERS_MAX];
	struct vs_trouble trouble[CONF_VSERVERS_MAX];
	struct tickle tickle;
	bool have_tickle;

	struct diary *diary; /* NULL: not open (yet) */
	struct views *views; /* being made for a client; NULL: none */
	struct ctl *ctl;
	struct loop_op signal_op;
	int signal_fd;
	bool leaving, again; /* again: the program begins anew at the end */
	uint32_t shutdown_id; /* of a client's shutdown request; 0 none */
	struct loop_timer end_timer;
	uint64_t started_ns;
	int exit_status;
};

/* main.c */
void daemon_stop(struct daemon *d, int status);
/* What cannot be proved ends in a reboot (F1), or, if so configured, with the daemon. */
void daemon_self_fence(struct daemon *d, const char *why);

/* brain.c */
void brain_init(struct daemon *d, const uint8_t *persisted);
/* Queues an event that carries no pointers; now_ns is filled in. */
void brain_post(struct daemon *d, const struct event *ev);
/* Steps at once: from completions only, for events with payloads that live no longer. */
void brain_event(struct daemon *d, struct event *ev);
void brain_post_err(struct daemon *d, enum ev_type type, const struct action *a, int err);
/* NULL, or what in the configuration the brain cannot work with. */
const char *brain_conf(struct daemon *d, struct node_conf *nc);
const char *brain_conf_of(const struct conf *c, unsigned self, uint64_t version,
			  struct node_conf *nc);
/* Takes a configuration while everything runs; NULL, or why not (nothing is changed then). Nodes,
 * units and vservers have the indices of the one in effect. */
const char *brain_reconfigure(struct daemon *d, const struct conf *next);
const char *brain_parts_check(struct daemon *d, const struct conf *next);

/* config.c: the committed configuration */
/* What this node runs with, before anything is opened: 0 or exit status. */
int config_start(struct daemon *d, char *err, size_t err_size);
void config_run(struct daemon *d);
/* config-show and config-apply; false: another verb. */
bool config_request(struct daemon *d, uint32_t id, const char *verb, json_t *request);
json_t *config_json(const struct daemon *d);
/* True, and what: a member's block is signed with that key.  Without it nobody could read the block,
 * not even that node, and then nothing is chosen any more (V3). */
bool config_signed_with(const struct daemon *d, uint8_t id, char *text, size_t size);
/* Reads the blocks now, and signs this node's own anew where that is due. */
void config_look(struct daemon *d);

/* slots.c */
int slots_open(struct daemon *d, char *err, size_t err_size);
void slots_write(struct daemon *d, const struct action *a);
void slots_read(struct daemon *d, const struct action *a);
/* Reads persistent memory; *found false when there is none yet. 0 or exit status. */
int persist_open(struct daemon *d, bool *found, char *err, size_t err_size);
void persist_write(struct daemon *d, const struct action *a);

/* peers.c */
int peers_open(struct daemon *d, char *err, size_t err_size);
/* Opens one of the two sockets of a path at the address that is configured now; 0 or -errno. */
int peers_socket(struct daemon *d, unsigned path, unsigned which);
const struct net_path *peers_net(const struct daemon *d, unsigned path);
void peers_send(struct daemon *d, const struct action *a);
/* Over every network; a write into persistent memory over the interconnects only. */
/* Its name, or `none` when there is no node of this id (0 is nobody's). */
const char *daemon_node(const struct daemon *d, unsigned id, const char *none);
void peers_send_all(struct daemon *d, uint16_t node, uint16_t kind, const void *data, size_t len);

/* readdress.c: heartbeat paths that get other addresses */
/* NULL, or why not now. */
const char *readdress_check(struct daemon *d, const struct conf *next);
void readdress(struct daemon *d, const struct conf *old);
/* Where that node listens as long as it has not taken the change, or NULL; `only`: there alone. */
const struct conf_path *readdress_old(const struct daemon *d, const struct conf_node *to,
				      unsigned path, bool *only);
/* Closes what nobody sends to any more. */
void readdress_settle(struct daemon *d);

/* partners.c */
int partners_open(struct daemon *d, char *err, size_t err_size);
/* The sector kept of that node, or NULL. */
const uint8_t *partners_held(const struct daemon *d, unsigned node);
void partners_write(struct daemon *d, const struct action *a);
void partners_keep(struct daemon *d, const struct action *a);
void partners_ask(struct daemon *d, const struct action *a);
void partners_packet(struct daemon *d, uint16_t sender, uint16_t kind, const uint8_t *data,
		     size_t len, const char *from);

/* keys.c */
/* After brain_init(): tells the brain which keys there are. */
void keys_open(struct daemon *d);
/* key-show, key-add, key-use, key-drop; false: none of these. */
bool keys_request(struct daemon *d, uint32_t id, const char *verb, json_t *request);
/* SIGHUP: the file was changed by hand; taken over if every step in it may be taken now. */
void keys_reload(struct daemon *d);
void keys_signed(struct daemon *d, unsigned unit, const struct unit_answer *out);

/* drops.c */
/* `from` is text for people: an address, a node. */
void drops_note(struct daemon *d, unsigned way, enum drop why, const char *from);
/* After a step: logs what the brain dropped in it. */
void drops_look(struct daemon *d, const char *from);
uint64_t drops_count(const struct daemon *d, unsigned way, enum drop why);
/* Is there such a way here? */
bool drops_way(const struct daemon *d, unsigned way);
json_t *drops_json(const struct daemon *d);

/* trouble.c */
/* Logs it, when it is not what was said last, and keeps it. */
void trouble_say(struct daemon *d, unsigned vs, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void trouble_keep(struct daemon *d, unsigned vs, const char *text); /* it was logged already */
const char *trouble_text(const struct daemon *d, unsigned vs);
void trouble_over(struct daemon *d, unsigned vs);

/* ports.c */
void ports_open(struct daemon *d);

/* units.c */
int units_open(struct daemon *d, char *err, size_t err_size);
/* Of units and virtual servers that come and go while this runs (brain_reconfigure()), each room that
 * keeps something for each number: may it be used, begin with it, end with it. */
int units_check(const struct conf *c, unsigned unit, const char *node, char *err, size_t err_size);
int units_add(struct daemon *d, unsigned unit, char *err, size_t err_size);
void units_act(struct daemon *d, const struct action *a);
/* Signs S anew with the key in use now; keys_signed() is told. */
void units_sign(struct daemon *d, unsigned unit);
/* Ends the repair that is under way there, if there is one. */
void units_repair_stop(struct daemon *d, unsigned unit);

/* launch.c */
void launch_open(struct daemon *d);
/* Makes a spare for one that has none; 0 or -errno. */
int launch_spare(struct worker *w);
/* The spare becomes the worker that WORKER_START asks for, or one that is started now; 0 or -errno. */
int launch_worker(struct worker *w, const struct action *a);
int launch_send(struct worker_process *p, struct worker_msg *m, const int *fds, unsigned count);
/* The text of the configuration in a sealed memfd, or -errno. */
int launch_conf_fd(const struct daemon *d);
void launch_kill(struct worker_process *p);
/* The process is gone, or never came to be. */
void launch_close(struct worker_process *p);
void launch_spare_ended(struct worker *w, int status);
/* A spare, if there is none, after that time. */
void launch_later(struct worker *w, uint64_t ns);

/* workers.c */
void worker_control_done(struct loop_op *op, int res);
void worker_exit_done(struct loop_op *op, int res);
void workers_open(struct daemon *d);
void worker_start(struct daemon *d, const struct action *a);
void worker_drain(struct daemon *d, const struct action *a);
void worker_kill(struct daemon *d, unsigned vs);
void worker_lease_set(struct daemon *d, unsigned vs, uint64_t epoch, uint64_t until_ns);
void worker_open(struct daemon *d, const struct action *a);
void worker_ask_stats(struct daemon *d, unsigned vs);
/* The configuration's text has changed: every worker and spare gets it. */
void workers_configure(struct daemon *d);
bool workers_idle(const struct daemon *d, unsigned vs);
void workers_add(struct daemon *d, unsigned vs);
void workers_renew(struct daemon *d, unsigned vs);
void workers_remove(struct daemon *d, unsigned vs);
/* After the addresses are gone a drained worker may close its connections. */
void worker_let_go(struct daemon *d, unsigned vs);
void workers_end(struct daemon *d);

/* sockets.c: makes those that are not open yet; 0 or -errno with a log line. */
int sockets_open(struct daemon *d, unsigned vs);
void sockets_close(struct daemon *d, unsigned vs);

/* addresses.c */
void addresses_open(struct daemon *d);
void addresses_add(struct daemon *d, unsigned vs);
void addresses_up(struct daemon *d, const struct action *a);
void addresses_down(struct daemon *d, const struct action *a);
void addresses_tickle(struct daemon *d, unsigned vs);
void addresses_end(struct daemon *d);

/* stranded.c: forgets them; asks the kernel who is connected to that address, of those whom a process
 * has accepted or of the others; has them reset once somebody serves it. */
void stranded_add(struct daemon *d, unsigned vs);
void stranded_note(struct daemon *d, unsigned vs, const struct sockaddr_storage *local, bool accepted);
void stranded_begin(struct daemon *d, unsigned vs);

/* diary.c: the event log */
int diary_open(struct daemon *d, char *err, size_t err_size);
/* level: enum log_level. */
void diary_say(struct daemon *d, unsigned level, const char *object, enum reason reason,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void diary_vserver(struct daemon *d, unsigned vs, unsigned level, const char *what);
void diary_brain(struct daemon *d, const struct action *a);
void diary_begin(struct daemon *d);
void diary_forget(struct daemon *d, unsigned vs);
/* After a step: what has changed that the brain does not say itself. */
void diary_watch(struct daemon *d);
/* The last lines; waits a little for them to be durable. */
void diary_end(struct daemon *d);
void diary_fence(struct daemon *d, const char *why);
/* Since when the one who has it has it, as far as this node saw. */
uint64_t diary_owner_since_ns(const struct daemon *d, unsigned vs);
uint64_t diary_lost(const struct daemon *d);

/* views.c: requests about units; false: it is none. */
bool units_request(struct daemon *d, uint32_t id, const char *verb, const json_t *request);

/* requests.c */
int requests_open(struct daemon *d, char *err, size_t err_size);
void requests_reply(struct daemon *d, const struct action *a);
/* Hands everything over, then stops the loop. */
void requests_shutdown(struct daemon *d);
/* The same is done already: the next instance of this node begins in this process. */
void requests_restart(struct daemon *d);

/* metrics.c */
int metrics_open(struct daemon *d, char *err, size_t err_size);
void metrics_close(struct daemon *d);

#endif
