/* main.c - holdfast-vs: serves one virtual server on the node that owns its storage.
 *
 * Started by holdfastd only (codec/worker.h), or by hand with --standalone for tests.  It comes up
 * in this order: arguments and configuration -> user (no way back) -> ring -> system calls confined
 * -> SPARE ... TAKE -> the locks' descriptors into the ring (F5) -> files confined -> recovery ->
 * READY -> OPEN brings sockets -> serving.  The network opens last: a client sees a pause, not an
 * error.
 *
 * Before TAKE the storage belongs to somebody else, perhaps to a worker on another node that is
 * serving it: nothing of it is opened, read or waited for.
 *
 * Crashing is fine at any point: the log has what was acknowledged, the daemon starts another. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "io/sandbox.h"
#include "vs.h"

#define RING_ENTRIES 1024

static const char usage_text[] =
    "usage: holdfast-vs --vs NAME --node NAME --control FD --config FD --lease FD\n"
    "                   --store NAME=DIR ...\n"
    "       holdfast-vs --standalone DIR --listen ADDRESS:PORT [--export PATH] [--udp]\n"
    "                   [--log-half BYTES] [--checkpoint-ms N] [--poll-us N] [--user NAME]\n"
    "                   [--verbose] [--no-sandbox]\n"
    "       holdfast-vs --repair DIR [--user NAME]\n"
    "       holdfast-vs --version\n";

enum option_id {
	OPT_VS = 256,
	OPT_NODE,
	OPT_CONTROL,
	OPT_CONFIG,
	OPT_LEASE,
	OPT_STORE,
	OPT_STANDALONE,
	OPT_LISTEN,
	OPT_EXPORT,
	OPT_UDP,
	OPT_LOG_HALF,
	OPT_POLL_US,
	OPT_CHECKPOINT_MS,
	OPT_VERBOSE,
	OPT_USER,
	OPT_NO_SANDBOX,
	OPT_REPAIR,
	OPT_HELP,
};

static const struct option options[] = {
    {"vs", required_argument, NULL, OPT_VS},
    {"node", required_argument, NULL, OPT_NODE},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"lease", required_argument, NULL, OPT_LEASE},
    {"store", required_argument, NULL, OPT_STORE},
    {"standalone", required_argument, NULL, OPT_STANDALONE},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"export", required_argument, NULL, OPT_EXPORT},
    {"udp", no_argument, NULL, OPT_UDP},
    {"log-half", required_argument, NULL, OPT_LOG_HALF},
    {"poll-us", required_argument, NULL, OPT_POLL_US},
    {"checkpoint-ms", required_argument, NULL, OPT_CHECKPOINT_MS},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"user", required_argument, NULL, OPT_USER},
    {"no-sandbox", no_argument, NULL, OPT_NO_SANDBOX},
    {"repair", required_argument, NULL, OPT_REPAIR},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

struct args {
	struct alone_args alone;
	int config_fd, lease_fd;
};

static _Noreturn void usage(const char *why)
{
	fprintf(stderr, "holdfast-vs: %s\n%s", why, usage_text);
	exit(VS_EXIT_USAGE);
}

static uint64_t number(const char *text, const char *what)
{
	char *end, why[128];
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-') {
		snprintf(why, sizeof(why), "%s: not a number: %.40s", what, text);
		usage(why);
	}
	return n;
}

static int fd_number(const char *text, const char *what)
{
	uint64_t n = number(text, what);

	if (n > 1000000)
		usage("a descriptor's number is too large");
	return (int)n;
}

static void name_set(char out[CONF_NAME_MAX], const char *text, size_t len, const char *what)
{
	if (len == 0 || len >= CONF_NAME_MAX)
		usage(what);
	memcpy(out, text, len);
	out[len] = '\0';
}

static void store_arg(struct vs *v, const char *text)
{
	const char *eq = strchr(text, '=');
	struct vs_store *st;

	if (!eq || v->store_count == CONF_STORES_MAX)
		usage("--store: NAME=DIR is wanted, at most as many as a vserver may have");
	st = &v->store[v->store_count++];
	name_set(st->name, text, (size_t)(eq - text), "--store: bad name");
	if ((size_t)snprintf(st->dir, sizeof(st->dir), "%s", eq + 1) >= sizeof(st->dir))
		usage("--store: directory name too long");
}

static void worker_option(struct vs *v, struct args *a, int id)
{
	switch (id) {
	case OPT_VS:
		name_set(v->name, optarg, strlen(optarg), "--vs: bad name");
		break;
	case OPT_NODE:
		name_set(v->node, optarg, strlen(optarg), "--node: bad name");
		break;
	case OPT_CONTROL:
		v->control_fd = fd_number(optarg, "--control");
		break;
	case OPT_CONFIG:
		a->config_fd = fd_number(optarg, "--config");
		break;
	case OPT_LEASE:
		a->lease_fd = fd_number(optarg, "--lease");
		break;
	case OPT_STORE:
		store_arg(v, optarg);
		break;
	default:
		usage("unknown option");
	}
}

static void option(struct vs *v, struct args *a, int id)
{
	switch (id) {
	case OPT_STANDALONE:
		a->alone.dir = optarg;
		break;
	case OPT_LISTEN:
		if (a->alone.listen_count == sizeof(a->alone.listen) / sizeof(a->alone.listen[0]))
			usage("--listen: too many");
		a->alone.listen[a->alone.listen_count++] = optarg;
		break;
	case OPT_EXPORT:
		a->alone.export = optarg;
		break;
	case OPT_UDP:
		a->alone.udp = true;
		break;
	case OPT_LOG_HALF:
		a->alone.log_half_bytes = number(optarg, "--log-half");
		break;
	case OPT_CHECKPOINT_MS:
		a->alone.checkpoint_ns = number(optarg, "--checkpoint-ms") * 1000000;
		break;
	case OPT_POLL_US:
		a->alone.poll_ns = number(optarg, "--poll-us") * 1000;
		break;
	case OPT_VERBOSE:
		a->alone.verbose = true;
		break;
	case OPT_USER:
		a->alone.user = optarg;
		break;
	case OPT_NO_SANDBOX:
		v->sandbox = false;
		break;
	case OPT_REPAIR:
		a->alone.repair = optarg;
		break;
	case OPT_HELP:
		fputs(usage_text, stdout);
		exit(VS_EXIT_OK);
	case 'V':
		puts("holdfast-vs " HF_VERSION);
		exit(VS_EXIT_OK);
	default:
		worker_option(v, a, id);
	}
}

static void args_parse(struct vs *v, struct args *a, int argc, char **argv)
{
	int id;

	while ((id = getopt_long(argc, argv, "V", options, NULL)) != -1)
		option(v, a, id);
	if (optind < argc)
		usage("unexpected argument");
	if (a->alone.dir || a->alone.repair)
		return;
	if (!v->name[0] || !v->node[0] || v->control_fd < 0 || a->config_fd < 0 ||
	    a->lease_fd < 0 || !v->store_count)
		usage("--vs, --node, --control, --config, --lease and --store are needed");
	if (!v->sandbox)
		usage("--no-sandbox is for --standalone only");
}

/* The very bytes that the daemon checked; still they are parsed like any other file. */
static void config_read(struct vs *v, int fd)
{
	char err[512];
	int i;

	v->conf = mem_zalloc(1, sizeof(*v->conf));
	if (conf_load_fd(v->conf, fd, "configuration", err, sizeof(err)))
		vs_fail(v, VS_EXIT_USAGE, "%s", err);
	close(fd);
	i = conf_find_vserver(v->conf, v->name);
	if (i < 0)
		vs_fail(v, VS_EXIT_USAGE, "configuration: no vserver %s", v->name);
	v->vserver = &v->conf->vserver[i];
	if (v->store_count != v->vserver->store_count)
		vs_fail(v, VS_EXIT_USAGE, "configuration: vserver %s has %u stores, %u were given",
			v->name, v->vserver->store_count, v->store_count);
	/* Exports name stores by their place in the configuration: theirs is ours. */
	for (unsigned k = 0; k < v->store_count; k++) {
		v->store[k].conf = &v->vserver->store[k];
		if (strcmp(v->store[k].name, v->vserver->store[k].name) != 0)
			vs_fail(v, VS_EXIT_USAGE, "configuration: store %u is %s, not %s", k,
				v->vserver->store[k].name, v->store[k].name);
	}
}

int config_take(struct vs *v, int fd, char *err, size_t err_size)
{
	const struct conf_vserver *was = v->vserver;
	struct conf *next = mem_zalloc(1, sizeof(*next)), *old = v->conf;
	int at, rc = conf_load_fd(next, fd, "configuration", err, err_size);

	at = rc ? -1 : conf_find_vserver(next, v->name);
	if (rc == 0 && (at < 0 || next->vserver[at].store_count != v->store_count)) {
		snprintf(err, err_size, "vserver %s is not there or has other stores", v->name);
		rc = -EINVAL;
	}
	for (unsigned k = 0; k < v->store_count && rc == 0; k++)
		if (strcmp(v->store[k].name, next->vserver[at].store[k].name) != 0) {
			snprintf(err, err_size, "store %s is not where it was", v->store[k].name);
			rc = -EINVAL;
		}
	if (rc) {
		free(next);
		return rc;
	}
	v->conf = next;
	v->vserver = &next->vserver[at];
	rc = v->rpc ? serve_exports(v, err, err_size) : 0;
	if (rc) {
		v->conf = old;
		v->vserver = was;
		free(next);
		return rc;
	}
	for (unsigned k = 0; k < v->store_count; k++)
		v->store[k].conf = &v->vserver->store[k];
	free(old);
	return 0;
}

/* Kernels since 6.14 count rings as locked memory, for all processes of a user together: the usual
 * 8 MiB are those of 62 workers.  Who may lock memory is not counted, so a worker that is started by
 * root makes its ring before it becomes somebody else. */
static _Noreturn void no_ring(struct vs *v, int e)
{
	if (e == ENOMEM)
		vs_fail(v, VS_EXIT_SYSTEM,
			"no memory for io_uring: raise the limit of locked memory (RLIMIT_MEMLOCK), "
			"which is one for all processes of this user");
	vs_fail(v, VS_EXIT_SYSTEM,
		"io_uring is refused (%s): allow it (sysctl kernel.io_uring_disabled=0, "
		"container profile)",
		strerror(e));
}

void vs_prepare(struct vs *v)
{
	char err[256];
	int e = loop_new(&v->loop, RING_ENTRIES); /* first: see no_ring() */

	if (e)
		no_ring(v, -e);
	e = sandbox_user(v->vserver->user, err, sizeof(err));
	if (e)
		vs_fail(v, VS_EXIT_SYSTEM, "%s", err);
	/* After the change of user, which clears it.  A daemon that died before this line is
	 * noticed at the control socket. */
	if (v->control_fd >= 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	loop_set_poll(v->loop, v->vserver->poll_ns);
	if (v->sandbox && sandbox_calls(err, sizeof(err)))
		vs_fail(v, VS_EXIT_SYSTEM, "%s", err);
}

void vs_own(struct vs *v)
{
	struct sandbox_conf sc = {.dir_count = 0};
	char err[256];
	int e;

	for (unsigned i = 0; i < v->lock_count; i++) {
		e = loop_hold_file(v->loop, v->lock_fd[i]);
		if (e)
			vs_fail(v, VS_EXIT_SYSTEM, "lock: cannot be held by the ring: %s",
				strerror(-e));
	}
	for (unsigned i = 0; i < v->store_count; i++)
		if (!serve_without(v, i))
			sc.dir[sc.dir_count++] = v->store[i].dir;
	e = v->sandbox ? sandbox_files(&sc, err, sizeof(err)) : 0;
	if (e)
		vs_fail(v, vs_exit_of(e, VS_EXIT_SYSTEM), "%s", err);
}

static _Noreturn void worker_run(struct vs *v, struct args *a)
{
	char ident[2 * CONF_NAME_MAX + 2], err[512] = "";
	enum vs_exit st;
	int e;

	/* What a list of processes shows; also which of them serves. */
	prctl(PR_SET_NAME, "holdfast-spare");
	snprintf(ident, sizeof(ident), "%s/%s", v->node, v->name);
	log_open(ident, LOG_L_INFO);
	config_read(v, a->config_fd);
	e = lease_map(v, a->lease_fd);
	if (e)
		vs_fail(v, VS_EXIT_USAGE, "lease: %s", strerror(-e));
	vs_prepare(v);
	control_start(v);
#ifdef HF_MUTANT_VS_OPENS_EARLY
	(void)!open(v->store[0].dir, O_RDONLY | O_CLOEXEC);
#endif
	control_wait(v);
	prctl(PR_SET_NAME, "holdfast-vs");
	vs_own(v);
	st = serve_open(v, err, sizeof(err));
	if (st != VS_EXIT_OK)
		vs_fail(v, st, "%s", err);
	control_ready(v);
	e = loop_run(v->loop);
	vs_fail(v, VS_EXIT_FAILED, "event loop: %s", strerror(-e));
}

int main(int argc, char **argv)
{
	static struct vs v = {.control_fd = -1, .sandbox = true};
	static struct args a = {.config_fd = -1, .lease_fd = -1};

	signal(SIGPIPE, SIG_IGN);
	v.started_ns = loop_clock_ns();
	args_parse(&v, &a, argc, argv);
	if (a.alone.repair)
		repair_run(a.alone.repair, a.alone.user ? a.alone.user : "");
	if (a.alone.dir)
		alone_run(&v, &a.alone);
	/* The daemon says when we drain; a signal to the whole group is not for us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	worker_run(&v, &a);
}
