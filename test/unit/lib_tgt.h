/* lib_tgt.h - a real iSCSI target for tests: tgtd in namespaces of the test's own. */
#ifndef HF_TEST_LIB_TGT_H
#define HF_TEST_LIB_TGT_H

#include <stdbool.h>

#include "io/unit.h"

#define TGT_IQN "iqn.2026-01.test:lun"

/* Moves this process into namespaces of its own (a user namespace when it is not root) and starts
 * tgtd on 127.0.0.1 and 127.0.0.2 with one LUN of 64 MiB in `dir`.  false, with a line on stdout:
 * this machine does not let us. */
bool tgt_begin(const char *dir);
/* SIGKILL and a fresh start on the same image: what tgtd remembers of reservations is gone. */
void tgt_restart(void);
void tgt_kill(void);
void tgt_end(void);
/* 127.0.0.`which` takes no packet any more, or again; false: there is no packet filter here. */
bool tgt_silence(unsigned which, bool on);
/* A unit there, for node `node`. */
void tgt_spec(struct unit_spec *u, const char *dir, const char *node);

#endif
