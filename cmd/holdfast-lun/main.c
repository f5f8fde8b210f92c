/* main.c - holdfast-lun: shows a logical unit of an iSCSI target as a file, for machines without the
 * kernel's initiator.  See lun.h and holdfast-lun(8). */
#define FUSE_USE_VERSION 34
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <getopt.h>
#include <iscsi/iscsi.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "codec/wwid.h"
#include "io/loop.h"
#include "lun.h"

#define EXIT_USAGE 2
#define START_NS   3000000000ULL
#define TICK_MS	   20
#define GIVE_UP_MS 5000
#define ANSWER_MS  1500

static const char usage[] =
	"usage: holdfast-lun --portal ADDR:PORT... --target IQN [--lun N] --initiator IQN [--wwid NAME]\n"
	"                    [--unit KEY --lock FILE] [--answer MS] [--give-up MS] [--ready-fd N]\n"
	"                    [--chap FILE] DIR\n"
	"       holdfast-lun --list --portal ADDR:PORT --target IQN [--lun N] [--chap FILE]\n"
	"       holdfast-lun --version\n";

struct options {
	bool list, unit;
	int ready_fd;
	const char *lock;
};

static const struct option longs[] = {
	{"portal", required_argument, NULL, 'p'}, {"target", required_argument, NULL, 't'},
	{"lun", required_argument, NULL, 'n'},	  {"initiator", required_argument, NULL, 'i'},
	{"wwid", required_argument, NULL, 'w'},	  {"unit", required_argument, NULL, 'u'},
	{"lock", required_argument, NULL, 'l'},	  {"give-up", required_argument, NULL, 'g'},
	{"answer", required_argument, NULL, 'a'}, {"ready-fd", required_argument, NULL, 'r'},
	{"list", no_argument, NULL, 'L'},	  {"chap", required_argument, NULL, 'c'},
	{"version", no_argument, NULL, 'V'},	  {NULL, 0, NULL, 0},
};

static bool set_text(char *out, size_t size, const char *text)
{
	return snprintf(out, size, "%s", text) < (int)size && *text;
}

static bool set_number(uint64_t *out, const char *text, uint64_t most)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return errno == 0 && *text && !*end && *out <= most;
}

static bool take_option(struct lun *l, struct options *o, int c)
{
	struct unit_spec *u = &l->spec;
	uint64_t v = 0;
	bool good = true;

	switch (c) {
	case 'p':
		good = u->portal_count < UNIT_PORTALS_MAX &&
		       set_text(u->portal[u->portal_count++], sizeof(u->portal[0]), optarg);
		break;
	case 't':
		good = set_text(u->target, sizeof(u->target), optarg);
		break;
	case 'n':
		good = set_number(&v, optarg, 16383);
		u->target_lun = (unsigned)v;
		break;
	case 'i':
		good = set_text(u->initiator, sizeof(u->initiator), optarg);
		break;
	case 'c':
		good = set_text(u->chap, sizeof(u->chap), optarg);
		break;
	case 'w':
		good = wwid_is_valid(optarg) && set_text(u->wwid, sizeof(u->wwid), optarg);
		break;
	case 'u':
		good = set_number(&u->key, optarg, UINT64_MAX);
		l->unit = o->unit = true;
		break;
	case 'l':
		o->lock = optarg;
		break;
	case 'g':
		good = set_number(&v, optarg, 3600000);
		l->give_up_ns = v * 1000000;
		break;
	case 'a':
		good = set_number(&v, optarg, 3600000) && v;
		l->answer_ns = v * 1000000;
		break;
	case 'r':
		good = set_number(&v, optarg, 1023);
		o->ready_fd = (int)v;
		break;
	case 'L':
		o->list = true;
		break;
	case 'V':
		puts("holdfast-lun " HF_VERSION);
		exit(0);
	default:
		good = false;
	}
	return good;
}

static bool take_options(struct lun *l, struct options *o, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "V", longs, NULL)) != -1)
		if (!take_option(l, o, c))
			return false;
	if (!l->spec.portal_count || !l->spec.target[0])
		return false;
	if (o->list)
		return optind == argc;
	l->dir = argv[optind];
	return optind + 1 == argc && l->spec.initiator[0] && (!o->unit || o->lock);
}

/* The line that is waited for: "ready", or what is wrong. */
static void tell(const struct options *o, const char *text)
{
	char line[160];
	int n = snprintf(line, sizeof(line), "%.150s\n", text);

	if (write(o->ready_fd, line, (size_t)n) != n)
		log_warn("nobody hears: %s", text);
	if (o->ready_fd > 2)
		close(o->ready_fd);
}

static int list_names(struct lun *l)
{
	char name[WWID_COUNT][WWID_MAX];
	uint8_t page[512] = {0};
	struct lu lu;
	int n, rc;

	if (!l->spec.initiator[0])
		snprintf(l->spec.initiator, sizeof(l->spec.initiator), "iqn.2026-01.net.holdfast:look");
	rc = lu_connect(&lu, &l->spec, RSV_LOOK, ~0U, 3000);
	n = rc ? rc : lu_page83(&lu, page, sizeof(page));
	if (n < 0) {
		fprintf(stderr, "holdfast-lun: %s: %s\n", l->spec.target, lu.text);
		lu_close(&lu);
		return 1;
	}
	n = wwid_list(page, (size_t)n, name);
	for (int i = 0; i < n; i++)
		printf("wwid=%s\n", name[i]);
	printf("bytes=%llu\nblock=%u\n", (unsigned long long)lu.bytes, lu.block);
	lu_close(&lu);
	return 0;
}

/* Held as long as this process lives; its pid is there for whoever must end it. */
static int take_lock(const char *path, char *text, size_t size)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = UNIT_LOCK_LUN, .l_len = 1};
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char pid[24];

	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &fl) < 0) {
		snprintf(text, size, "%.90s: %s", path,
			 fd >= 0 && errno == EAGAIN ? "another holdfast-lun runs" : strerror(errno));
		return -EBUSY;
	}
	snprintf(pid, sizeof(pid), "%-20d\n", (int)getpid());
	return pwrite(fd, pid, strlen(pid), 0) < 0 ? -errno : 0;
}

/* ---- the loop ---------------------------------------------------------------------------------- */
static void wait_once(struct lun *l, bool with_file)
{
	struct pollfd fds[UNIT_PORTALS_MAX + 2];
	struct lun_path *of[UNIT_PORTALS_MAX];
	unsigned n = 2;
	uint64_t count;

	fds[0] = (struct pollfd){.fd = with_file ? fuse_session_fd(l->session) : -1, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = l->event_fd, .events = POLLIN};
	for (unsigned i = 0; i < l->spec.portal_count; i++) {
		struct lun_path *p = &l->path[i];

		if (!p->lu.c || p->failed)
			continue;
		of[n - 2] = p;
		fds[n++] = (struct pollfd){.fd = iscsi_get_fd(p->lu.c),
					   .events = (short)iscsi_which_events(p->lu.c)};
	}
	if (poll(fds, n, TICK_MS) < 0)
		return;
	if (fds[1].revents && read(l->event_fd, &count, sizeof(count)) < 0)
		log_err_errno("eventfd");
	for (unsigned i = 2; i < n; i++)
		if (fds[i].revents && iscsi_service(of[i - 2]->lu.c, fds[i].revents) < 0)
			of[i - 2]->failed = true;
}

static void serve(struct lun *l)
{
	struct fuse_buf buf = {0};

	while (!fuse_session_exited(l->session)) {
		int n;

		wait_once(l, true);
		/* All that the kernel has: they go out together. */
		while ((n = fuse_session_receive_buf(l->session, &buf)) > 0)
			fuse_session_process_buf(l->session, &buf);
		if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
			break; /* unmounted or aborted */
		paths_turn(l);
	}
	free(buf.mem);
}

static int start_paths(struct lun *l, char *text, size_t size)
{
	uint64_t until = loop_clock_ns() + START_NS;

	paths_start(l);
	while (!paths_any(l) && !l->lost && loop_clock_ns() < until) {
		wait_once(l, false);
		paths_turn(l);
	}
	if (paths_any(l) && !l->lost) {
		for (unsigned i = 0; i < l->spec.portal_count; i++)
			if (l->path[i].lu.c)
				l->bytes = l->path[i].lu.bytes - (l->unit ? RSV_AREA : 0);
		return 0;
	}
	snprintf(text, size, "%.140s", l->why[0] ? l->why : "no portal answers");
	return l->lost ? -EBADE : -ENOTCONN;
}

int main(int argc, char **argv)
{
	struct options o = {.ready_fd = 1};
	struct lun *l = mem_zalloc(1, sizeof(*l));
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char text[160] = "";
	int rc;

	l->give_up_ns = GIVE_UP_MS * 1000000ULL;
	l->answer_ns = ANSWER_MS * 1000000ULL;
	if (!take_options(l, &o, argc, argv)) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (o.list)
		return list_names(l);
	/* Memory that is reclaimed by writing must not wait for us to be given memory. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (setrlimit(RLIMIT_MEMLOCK, &all) == 0) /* without the right to it, new threads would fail */
		mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	rc = o.lock ? take_lock(o.lock, text, sizeof(text)) : 0;
	if (rc == 0)
		rc = start_paths(l, text, sizeof(text));
	if (rc == 0 && (rc = file_mount(l)) != 0)
		snprintf(text, sizeof(text), "%.100s: cannot be mounted", l->dir);
	if (rc) {
		if (l->wait_end)
			paths_settle(l);
		tell(&o, text);
		return 1;
	}
	tell(&o, "ready");
	serve(l);
	paths_settle(l);
	/* The mount is not taken away from here: libfuse would do it lazily, and that proves nothing (F1). */
	return 0;
}
