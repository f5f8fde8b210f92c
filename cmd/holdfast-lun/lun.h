/* lun.h - holdfast-lun: one logical unit of an iSCSI target as one file, many commands at once.
 *
 *	file.c	what the kernel asks of the file system (FUSE): becomes requests
 *	paths.c	sessions, which one is used, commands in flight, retries
 *	main.c	options, start, the loop
 *
 * One thread does all of that; only making a session (it may hang) is left to a thread for each
 * portal, which hands over a session that is ready to be used.
 *
 * One path is used at a time.  When it fails its commands are repeated on another, but a write that
 * it may still carry out late must not come after its repetition: if writes were in flight, the
 * new path begins with LUN RESET, and where that fails the writes fail.
 *
 * A session that is made anew registers first and then looks who holds the reservation (SAFETY F1):
 * whoever lost it in between is not registered any more, and whoever had lost it before sees that,
 * unregisters and is done for good: everything is answered EBADE from then on, as it is after the
 * first RESERVATION CONFLICT (F3). */
#ifndef HF_CMD_LUN_H
#define HF_CMD_LUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/lu.h"
#include "io/unit.h"

#define LUN_NAME "lun"

struct fuse_session;
struct fuse_req;
struct scsi_task;

enum lun_kind { LUN_READ = 1, LUN_WRITE, LUN_SYNC, LUN_PING, LUN_RESET };

struct lun_path;

struct lun_req {
	struct lun_req *next;
	struct fuse_req *fuse; /* NULL: ours */
	enum lun_kind kind;
	bool then_sync; /* the file was opened with O_DSYNC */
	unsigned again; /* repeated so often on one path */
	uint64_t begun_ns, sent_ns, not_before_ns;
	uint64_t at;
	size_t len;
	uint8_t *data;
	struct lun_path *path; /* in flight there */
	struct scsi_task *task;
};

struct lun_path {
	struct lun *lun;
	unsigned portal;
	struct lu lu;		/* c != NULL: up */
	struct lun_req *flight; /* newest first */
	uint64_t used_ns;
	bool failed; /* to be taken down from the loop, not from a callback */
	/* shared with the thread */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	bool wanted, made, enrolling, quit;
	int rc;
	struct lu fresh;
};

struct lun {
	struct unit_spec spec;
	bool unit; /* has an ownership area and a reservation */
	uint64_t bytes, give_up_ns;
	uint64_t answer_ns; /* a path that does not answer for so long has failed */
	struct fuse_session *session;
	const char *dir;
	int event_fd;
	struct lun_path path[UNIT_PORTALS_MAX];
	struct lun_path *active;
	struct lun_req *wait, **wait_end;
	bool lost;	 /* the reservation is not mine: for good */
	bool must_reset; /* writes of a path that failed may still be on their way */
	char why[120];	 /* the last path's failure */
};

/* paths.c */
void paths_start(struct lun *l);
/* Takes `r` (and its data); the reply comes later. */
void paths_submit(struct lun *l, struct lun_req *r);
/* After poll(): sessions that were made, answers, times; sends what waits. */
void paths_turn(struct lun *l);
/* Before the end. */
void paths_settle(struct lun *l);
bool paths_any(const struct lun *l);

/* file.c */
int file_mount(struct lun *l);
/* The end of a request that the kernel sent. */
void file_reply(struct lun_req *r, int err, const void *data, size_t len);

#endif
