/* vs.h - the parts of holdfast-vs, the process that serves one virtual server.
 *
 *	main.c     arguments, and the order in which a worker comes up, first as a spare
 *	alone.c    the same without a daemon, for tests and benchmarks
 *	serve.c    stores, RPC programs and transports put together; drain
 *	drain.c    before the end: what can be done while serving
 *	control.c  the socket to holdfastd
 *	lease.c    may we serve at this moment?
 *	repair.c   --repair: a store checked and repaired, in a process of its own
 *	stats.c    numbers as JSON */
#ifndef HF_CMD_VS_H
#define HF_CMD_VS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/worker.h"
#include "conf/conf.h"
#include "io/dgram.h"
#include "io/loop.h"
#include "io/stream.h"
#include "nfs/rpc.h"
#include "store/store.h"

/* Exit statuses; holdfast-vs(8) lists them. */
enum vs_exit {
	VS_EXIT_OK = 0,	     /* drained */
	VS_EXIT_FAILED = 1,  /* an operation failed while serving */
	VS_EXIT_USAGE = 2,
	VS_EXIT_BUSY = 3,    /* a store is in use by another process */
	VS_EXIT_FORMAT = 4,  /* a store is of a newer format */
	VS_EXIT_DAMAGED = 5, /* a store is damaged */
	VS_EXIT_REVOKED = 6, /* the lease was revoked, or the daemon has gone */
	VS_EXIT_SYSTEM = 7,  /* io_uring refused, no such user, no sandbox */
	VS_EXIT_STORAGE = 8, /* what is below a store does not read or write */
};

#define VS_LOCKS_MAX 4

struct vs;

struct vs_store {
	struct vs *vs;
	char name[CONF_NAME_MAX];
	char dir[CONF_PATH_MAX * 2];
	const struct conf_store *conf;
	struct store *s; /* NULL: it is being repaired, and whoever asks for it gets no answer */
	bool closed;
	uint64_t checkpoints_before; /* the one made ahead of a drain */
};

struct vs {
	/* arguments */
	char name[CONF_NAME_MAX], node[CONF_NAME_MAX];
	uint64_t epoch; /* 0: a spare, before TAKE */
	uint8_t away;	/* bit k: store k is not opened */
	int control_fd; /* -1: none */
	unsigned lock_count;
	int lock_fd[VS_LOCKS_MAX]; /* one for each unit */
	const struct worker_lease *lease; /* NULL: always (no daemon) */
	struct conf *conf;
	const struct conf_vserver *vserver;
	bool sandbox;
	/* what runs */
	struct loop *loop;
	struct stream *stream;
	struct dgram *dgram;
	struct rpc_server *rpc;
	unsigned store_count;
	struct vs_store store[CONF_STORES_MAX];
	uint64_t started_ns, opened_ns, first_reply_ns;
	/* control.c */
	bool ready; /* READY was said: before it, what came behind TAKE waits in the socket */
	struct loop_op control_op;
	struct loop_timer lease_timer;
	/* drain */
	struct loop_timer drain_timer;
	uint64_t drain_asked_ns, drain_round_ns;
	enum { DRAIN_SYNC_NONE, DRAIN_SYNC_RUNS, DRAIN_SYNC_DONE } drain_sync; /* a thread's, too */
	uint64_t drain_sync_ns; /* its begin, then how long it took */
	bool drain_brief;	/* the round's checkpoint was short */
	pthread_t drain_thread;
	struct loop_hook drain_hook;
	uint64_t drain_since_ns, drain_dry_ns, drain_close_ns;
	unsigned drain_rounds;
	unsigned closing;
	int close_err;
	void (*drained)(struct vs *v, int err);
	bool draining, serving;
	bool drained_said; /* all is done; the connections stay until the daemon hangs up */
};

/* ---- lease.c -------------------------------------------------------------------------------- */
/* Maps the page. 0 or -errno. */
int lease_map(struct vs *v, int fd);
/* May state be read and may a reply leave now?  Does not return when the lease was revoked. */
bool lease_good(void *vs);
/* Looks for a revocation now and then although nobody calls. */
void lease_watch(struct vs *v);
/* It is gone and something waits for it: look again in a moment. */
void lease_watch_soon(struct vs *v);

/* ---- serve.c -------------------------------------------------------------------------------- */
/* Recovers the stores and builds the server; VS_EXIT_OK or the status to exit with and a line. */
enum vs_exit serve_open(struct vs *v, char *err, size_t err_size);
/* Is store k left out, because it is being repaired? */
static inline bool serve_without(const struct vs *v, unsigned k)
{
	return v->away >> k & 1;
}
/* Serves on a socket, which is taken over. 0 or -errno. */
int serve_socket(struct vs *v, enum worker_role role, int fd);
/* Finish what is under way, close the stores, then v->drained(). */
void serve_drain(struct vs *v, void (*drained)(struct vs *v, int err));

/* The exports of v->vserver, from now on; 0 or -errno with a line, and the old ones stay. */
int serve_exports(struct vs *v, char *err, size_t err_size);

/* ---- drain.c -------------------------------------------------------------------------------- */
/* Work ahead while clients are served, then serve_drain(). */
void drain_start(struct vs *v);

/* ---- control.c ------------------------------------------------------------------------------ */
void control_start(struct vs *v);
/* Says that we are prepared and waits for TAKE: the epoch and the locks are set on return. */
void control_wait(struct vs *v);
void control_ready(struct vs *v);
void control_first_reply(struct vs *v);
/* Says so and ends at once: whatever this call found must not be answered (VS 1.15).  `below`: the
 * file system under the store fails.  In any thread. */
_Noreturn void control_damage(struct vs *v, const char *store, const char *reason, bool below);
/* All is on disk: DRAINED.  For serve_drain(). */
void control_drained(struct vs *v, int err);
/* VS_EXIT_STORAGE for an error of what is below a store, else `other`. */
enum vs_exit vs_exit_of(int err, enum vs_exit other);
/* Says why and exits. */
_Noreturn void vs_fail(struct vs *v, enum vs_exit status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- stats.c -------------------------------------------------------------------------------- */
/* JSON text, to be freed. */
char *stats_json(struct vs *v);

/* ---- alone.c -------------------------------------------------------------------------------- */
struct alone_args {
	const char *dir;
	unsigned listen_count;
	const char *listen[8];
	const char *export;
	const char *user;
	uint64_t log_half_bytes, checkpoint_ns, poll_ns;
	bool udp, verbose;
	const char *repair; /* --repair: no serving */
};
/* A store checked and repaired, with the exit statuses of fsck(8). */
_Noreturn void repair_run(const char *dir, const char *user);
_Noreturn void alone_run(struct vs *v, const struct alone_args *a);

/* ---- main.c --------------------------------------------------------------------------------- */
/* What needs no storage: user, ring, system calls; in that order. Exits when one fails. */
void vs_prepare(struct vs *v);
/* Another text of the configuration; 0 or -errno with a line, and the old one stays. */
int config_take(struct vs *v, int fd, char *err, size_t err_size);
/* The storage is ours: locks into the ring, files confined to the stores. Exits when one fails. */
void vs_own(struct vs *v);

#endif
