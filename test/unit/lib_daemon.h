/* lib_daemon.h - two nodes on this machine: n1 and n2 with one virtual server v at home on n1, in a
 * folder and on loopback addresses of their own, so tests run beside each other.
 *
 * None of these tests judges times, and the machine may be busy with others: the heartbeat is slow
 * (HEARTBEAT), the coordination areas ($C) lie in memory where there is such a folder, so that a disk
 * that others keep busy does not look like a death, and every wait is for a state.  A machine that stands
 * still for longer than a lease ends it all the same, as it should: such a case is judged again. */
#ifndef HF_TEST_LIB_DAEMON_H
#define HF_TEST_LIB_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#define HEARTBEAT "200ms"

extern char dir[64], coord_dir[64], out_dir[256], said[65536], conf_file[96];
extern unsigned net; /* second byte of this run's own loopback addresses */

void daemons_init(void);
/* A shell command with $OUT, $D and $C set; its output in `said`. Exit status.  `nfs_get URL FILE` and
 * `nfs_put FILE URL` are nfs-cp by a patient client: one that mounts again while a virtual server is on
 * its way, and that writes again what is not there (what is there it makes no more: it looks). */
int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, where one status is wanted; says what came instead and what the nodes logged. */
bool exits(int want, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The command (exit status 0) while a client writes bulk data to 127.NET.`host`, from before it to after
 * it; all that was acknowledged is then there, and in $D/data. */
bool exits_beside_writes(const char *host, const char *export, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool says(const char *text);
void write_conf(const char *more);
void begin(void);      /* a folder with a configuration, and no node of a case before */
void begin_made(void); /* and `holdfast init` */
void end(void);
pid_t daemon_start(const char *node);
pid_t daemon_start_of(const char *build, const char *node); /* holdfastd of another build */
int daemon_end(pid_t pid, int sig);
/* n1, which serves, and then n2; each takes the other for alive and has the first version. */
void daemons_start(pid_t *n1, pid_t *n2);
void daemons_end(pid_t n1, pid_t n2); /* orderly, n2 first */
/* A case that failed leaves nothing behind. */
void end_all(void);
/* Waits until the node's status, or its log, has the text; false after about `tenths` of a second, four
 * times as long where nobody waits for a planted fault to be caught. */
bool wait_status(const char *node, const char *text, int tenths);
bool wait_log(const char *node, const char *text, int tenths);

#endif
