/* lib_daemon.h - two nodes on this machine: n1 and n2 with one virtual server v at home on n1, in a
 * folder and on loopback addresses of their own, so tests run beside each other. */
#ifndef HF_TEST_LIB_DAEMON_H
#define HF_TEST_LIB_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

extern char dir[64], out_dir[256], said[65536], conf_file[96];
extern unsigned net; /* second byte of this run's own loopback addresses */

void daemons_init(void);
/* A shell command with $OUT and $D set; its output in `said`. Exit status. */
int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, where one status is wanted; says what came instead and what the nodes logged. */
bool exits(int want, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool says(const char *text);
void write_conf(const char *more);
void begin(void);      /* a folder with a configuration, and no node of a case before */
void begin_made(void); /* and `holdfast init` */
void end(void);
pid_t daemon_start(const char *node);
pid_t daemon_start_of(const char *build, const char *node); /* holdfastd of another build */
int daemon_end(pid_t pid, int sig);
/* A case that failed leaves nothing behind. */
void end_all(void);
/* Waits until the node's status has the text; false after `tenths` of a second. */
bool wait_status(const char *node, const char *text, int tenths);

#endif
