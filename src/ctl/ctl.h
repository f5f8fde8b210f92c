/* ctl.h - the control socket: how `holdfast` talks to the node's daemon.
 *
 * A UNIX stream socket RUN_DIR/control.sock, mode 0600.  One JSON object a line each way:
 *
 *	-> {"control":1,"verb":"vs-move","vs":"v1","node":"n2"}
 *	<- {"control":1,"ok":true,"result":{...}}
 *	<- {"control":1,"ok":false,"reason":"unknown-node","text":"...","todo":"..."}
 *
 * "control" is the protocol's version; a tool of another version gets reason "control-version".
 * Verbs and their members are in man holdfast(8); the daemon's handler knows them, not this file.
 *
 * The server side runs on the daemon's loop: a request is handed over once, the answer may come at
 * any later time by its id; a client that went away is no error.  One request at a time on a
 * connection.  Lines are at most 192 KiB in,
 * at most 32 clients at once; bad lines are answered and counted. */
#ifndef HF_CTL_CTL_H
#define HF_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

#define CTL_VERSION 1

struct ctl;

/* A request: `verb` and the whole object are valid during the call. */
typedef void ctl_handler(void *arg, uint32_t id, const char *verb, json_t *request);

/* 0 or -errno.  A stale socket file of a dead daemon is replaced. */
int ctl_open(struct ctl **cp, struct loop *l, const char *path, ctl_handler *handler, void *arg);
/* Stops listening, removes the socket, ends the clients; frees itself when the loop has brought
 * back what was in flight. */
void ctl_close(struct ctl *c);

/* Answers a request; `result` is taken over. Unknown ids (the client left) are ignored. */
void ctl_reply(struct ctl *c, uint32_t id, json_t *result);
void ctl_refuse(struct ctl *c, uint32_t id, const char *reason, const char *text, const char *todo);
/* The same with every veto, `"vetoes":[{"reason","about","todo","force","text"}, ...]` (taken over). */
void ctl_refuse_all(struct ctl *c, uint32_t id, const char *reason, const char *text,
		    const char *todo, json_t *vetoes);

/* ---- the client side, blocking, for the command line ---- */
/* Sends one request (taken over) and waits for the answer: a new reference, or NULL with a line
 * for people in `err` (no daemon, no permission, it hung up, time over). */
json_t *ctl_call(const char *path, json_t *request, unsigned timeout_ms, char *err,
		 size_t err_size);

#endif
