/* repair.c - holdfast-vs --repair: a store checked and repaired, for holdfastd (VS 1.15).
 *
 * A process of its own, as the virtual server's user, so that what it makes belongs to whom it must.
 * Findings and progress go to the log.  It may be killed at any moment. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "io/sandbox.h"
#include "vs.h"

#define FOUND_SHOWN 100U
#define SAY_NS	    5000000000ULL

/* fsck(8)'s own. */
enum repair_exit { REPAIR_CLEAN = 0, REPAIR_DONE = 1, REPAIR_LEFT = 4, REPAIR_ERROR = 8 };

struct shown {
	const char *dir;
	unsigned count;
	uint64_t said_ns;
};

static void found(void *arg, const struct store_finding *f)
{
	struct shown *s = arg;

	if (s->count++ < FOUND_SHOWN)
		log_warn("repair %s: %s: %s; %s%s", s->dir, f->code, f->text,
			 f->repaired ? "" : "left; ", f->repair);
	else if (s->count == FOUND_SHOWN + 1)
		log_warn("repair %s: more findings are not listed here", s->dir);
}

static void progress(void *arg, const char *phase, uint64_t done, uint64_t all)
{
	struct shown *s = arg;
	uint64_t now = loop_clock_ns();

	if (now < s->said_ns + SAY_NS)
		return;
	s->said_ns = now;
	log_info("repair %s: %s: %llu of %llu", s->dir, phase, (unsigned long long)done,
		 (unsigned long long)all);
}

_Noreturn void repair_run(const char *dir, const char *user)
{
	struct shown s = {.dir = dir, .said_ns = loop_clock_ns()};
	struct store_check_args a = {.dir = dir, .repair = true, .found = found,
				     .progress = progress, .arg = &s};
	uint64_t began = loop_clock_ns();
	struct store_check_result r;
	char err[512];
	int code;

	log_open("repair", LOG_L_INFO);
	if (sandbox_user(user, err, sizeof(err))) {
		log_err("repair: %s", err);
		exit(REPAIR_ERROR);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	code = store_check_run(&a, &r, err, sizeof(err));
	if (code < 0) {
		log_err("repair %s: %s", dir, err);
		exit(REPAIR_ERROR);
	}
	log_notice("repair %s: %llu findings, %llu repaired, %llu lost something, %llu left; %llu "
		   "inodes in %llu ms%s%s", dir, (unsigned long long)r.findings,
		   (unsigned long long)r.repaired, (unsigned long long)r.lost,
		   (unsigned long long)r.left, (unsigned long long)r.inodes,
		   (unsigned long long)(loop_clock_ns() - began) / 1000000,
		   r.kept[0] ? "; what was thrown away is in " : "", r.kept);
	exit(code == 0 ? REPAIR_CLEAN : r.left ? REPAIR_LEFT : REPAIR_DONE);
}
