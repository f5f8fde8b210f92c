/* main.c - holdfastd: what must hold before a node may take part, then the loop.
 *
 * Everything that can be found wrong is found before the first packet is sent, gives one line (what,
 * where, what to do) and a status from daemon.h, and has changed nothing.  What needs privilege and
 * is refused degrades with one line.  SIGHUP reads the key file again.  SIGTERM and SIGINT hand everything
 * over and end; a second one ends at once.  What `holdfast restart` asks for ends as the same process
 * with the program begun anew. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/reboot.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "daemon.h"

#define CONF_DEFAULT  "/etc/holdfast/holdfast.conf"
#define CONF_TEXT_MAX (4U << 20)
#define RING_ENTRIES  1024
#define RT_PRIORITY   10
#define ERR_MAX	      1024
#define REAP_MS	      1000

struct options {
	const char *file, *node;
	bool check, verbose, debug;
};

static const char USAGE[] =
	"usage: holdfastd [-c FILE] [-N NODE] [-n[v]] [-d]\n"
	"       holdfastd --version\n"
	"  -c FILE  configuration (default " CONF_DEFAULT ")\n"
	"  -N NODE  this node's name (default: the host's)\n"
	"  -n       check the configuration and exit; -nv prints what is in effect\n"
	"  -d       log more\n";

static void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"version", no_argument, NULL, 'V'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "c:N:nvdhV", longs, NULL)) != -1)
		switch (c) {
		case 'c':
			o->file = optarg;
			break;
		case 'N':
			o->node = optarg;
			break;
		case 'n':
			o->check = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'd':
			o->debug = true;
			break;
		case 'h':
			fputs(USAGE, stdout);
			exit(EXIT_OK);
		case 'V':
			puts("holdfastd " HF_VERSION);
			exit(EXIT_OK);
		default:
			fputs(USAGE, stderr);
			exit(EXIT_USAGE);
		}
	if (optind != argc) {
		fprintf(stderr, "holdfastd: unexpected argument %s\n%s", argv[optind], USAGE);
		exit(EXIT_USAGE);
	}
}

/* The text is kept: workers get the very bytes that were checked here. */
static int load_conf(struct daemon *d, const char *file, char *err, size_t err_size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	snprintf(d->conf_name, sizeof(d->conf_name), "%s", file);
	d->conf_text = mem_alloc(CONF_TEXT_MAX);
	while (fd >= 0 && d->conf_len < CONF_TEXT_MAX &&
	       (n = read(fd, d->conf_text + d->conf_len, CONF_TEXT_MAX - d->conf_len)) > 0)
		d->conf_len += (size_t)n;
	if (fd < 0 || n < 0 || d->conf_len == CONF_TEXT_MAX) {
		snprintf(err, err_size, "%s: cannot be read: %s", file,
			 d->conf_len == CONF_TEXT_MAX ? "longer than 4M" : strerror(errno));
		if (fd >= 0)
			close(fd);
		return EXIT_CONFIG;
	}
	close(fd);
	d->conf_text = mem_realloc(d->conf_text, d->conf_len + 1);
	d->conf_text[d->conf_len] = 0;
	d->conf = mem_zalloc(1, sizeof(*d->conf));
	return conf_parse(d->conf, d->conf_text, d->conf_len, file, err, err_size) ? EXIT_CONFIG : 0;
}

static int find_self(struct daemon *d, const char *name, char *err, size_t err_size)
{
	struct node_conf *nc = mem_zalloc(1, sizeof(*nc));
	char host[256] = "";
	const char *bad;
	int at;

	gethostname(host, sizeof(host) - 1);
	if (!name)
		name = host;
	at = conf_find_node(d->conf, name);
	if (at < 0) {
		snprintf(err, err_size, "%s: there is no node %s; this node's name is told with -N",
			 d->conf_name, name);
		free(nc);
		return EXIT_CONFIG;
	}
	d->self = (unsigned)at;
	if (conf_path(d->run_dir, sizeof(d->run_dir) - 32, d->conf->run_dir, name) ||
	    conf_path(d->state_dir, sizeof(d->state_dir) - 32, d->conf->state_dir, name)) {
		snprintf(err, err_size, "%s: run_dir or state_dir is too long", d->conf_name);
		free(nc);
		return EXIT_CONFIG;
	}
	bad = brain_conf(d, nc);
	free(nc);
	if (bad)
		snprintf(err, err_size, "%s: %s", d->conf_name, bad);
	return bad ? EXIT_CONFIG : 0;
}

static int make_dir(const char *path, mode_t mode, char *err, size_t err_size)
{
	char at[PATH_TEXT_MAX];

	snprintf(at, sizeof(at), "%s", path);
	for (char *p = at + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		mkdir(at, 0755);
	}
	if (mkdir(at, mode) == 0 || errno == EEXIST)
		return 0;
	snprintf(err, err_size, "%s: cannot be made: %s", path, strerror(errno));
	return EXIT_FULL;
}

/* One daemon a node: the lock lives as long as the process. */
static int lock_run_dir(struct daemon *d, char *err, size_t err_size)
{
	char path[PATH_TEXT_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/holdfastd.lock", d->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		snprintf(err, err_size, "%s: cannot be opened: %s", path, strerror(errno));
		return EXIT_FULL;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	snprintf(err, err_size, "%s: another holdfastd of node %s runs; end it first", path,
		 d->conf->node[d->self].name);
	close(fd);
	return EXIT_IN_USE;
}

static void read_boot_id(uint8_t out[16])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned byte, n = 0;
	int c;

	while (f && n < 32 && (c = fgetc(f)) != EOF) {
		if (c == '-' || c == '\n')
			continue;
		byte = (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) & 15;
		out[n / 2] = (uint8_t)(n % 2 ? out[n / 2] | byte : byte << 4);
		n++;
	}
	if (f)
		fclose(f);
}

/* holdfast-vs is beside us, in the build folder as in an installation. */
static int find_libexec(struct daemon *d, char *err, size_t err_size)
{
	char path[PATH_TEXT_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", d->libexec, sizeof(d->libexec) - 1);
	char *slash;

	d->libexec[n > 0 ? n : 0] = '\0';
	slash = strrchr(d->libexec, '/');
	if (slash)
		*slash = '\0';
	snprintf(path, sizeof(path), "%s/holdfast-vs", d->libexec);
	if (access(path, X_OK) == 0)
		return 0;
	snprintf(err, err_size, "%s: %s; it belongs beside holdfastd", path, strerror(errno));
	return EXIT_SYSTEM;
}

/* With a small limit locking succeeds now and an allocation fails later: then rather not. */
static bool may_lock_memory(void)
{
	struct rlimit r;

	return geteuid() == 0 ||
	       (getrlimit(RLIMIT_MEMLOCK, &r) == 0 && r.rlim_cur == RLIM_INFINITY);
}

/* Load alone must not look like death (DESIGN 5). */
static void harden(void)
{
	struct sched_param p = {.sched_priority = RT_PRIORITY};
	struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};
	struct rlimit locked = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	if (!may_lock_memory() || mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		log_notice("daemon: memory is not locked (RLIMIT_MEMLOCK): heavy load may look like "
			   "death to other nodes");
	if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p) < 0 &&
	    setpriority(PRIO_PROCESS, 0, -10) < 0)
		log_notice("daemon: no real-time priority: %s", strerror(errno));
	setrlimit(RLIMIT_NOFILE, &files);
	/* For the workers' rings, as far as it may (holdfast-vs, no_ring()). */
	(void)setrlimit(RLIMIT_MEMLOCK, &locked);
}

static void on_signal(struct loop_op *op, int res)
{
	struct daemon *d = LIST_OWNER(op, struct daemon, signal_op);
	struct signalfd_siginfo si;

	if (res < 0)
		return;
	while (read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGHUP) {
			keys_reload(d);
			continue;
		}
		log_notice("daemon: signal %u: %s", si.ssi_signo,
			   d->leaving ? "leaving at once" : "handing over");
		d->again = false;
		if (d->leaving)
			daemon_stop(d, EXIT_OK);
		requests_shutdown(d);
	}
	loop_poll_once(d->loop, op, d->signal_fd, POLLIN);
}

static void watch_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->signal_op.done = on_signal;
	loop_poll_once(d->loop, &d->signal_op, d->signal_fd, POLLIN);
}

void daemon_stop(struct daemon *d, int status)
{
	d->exit_status = status;
	loop_stop(d->loop);
}

/* In a container or namespace reboot() ends just that, which is what its storage knows as a node. */
void daemon_self_fence(struct daemon *d, const char *why)
{
	bool any_disk = false;

	for (unsigned i = 0; i < d->conf->unit_count; i++)
		any_disk |= !d->conf->unit[i].gone && d->conf->unit[i].backend != CONF_DIR;
	log_err("%s: fencing myself", why);
	workers_end(d);
	addresses_end(d);
	diary_fence(d, why);
	if (any_disk && d->conf->self_fence == CONF_FENCE_REBOOT)
		syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			LINUX_REBOOT_CMD_RESTART, NULL);
	daemon_stop(d, EXIT_INTERNAL);
}

/* The committed version may be another than the file; the folders stay where the file said. */
static int start_config(struct daemon *d, char *err, size_t err_size)
{
	struct node_conf *nc;
	const char *bad;
	int rc = config_start(d, err, err_size);

	if (rc)
		return rc;
	nc = mem_zalloc(1, sizeof(*nc));
	bad = brain_conf(d, nc);
	free(nc);
	if (bad)
		snprintf(err, err_size, "configuration version %llu: %s",
			 (unsigned long long)d->config_version, bad);
	return bad ? EXIT_CONFIG : 0;
}

static int open_all(struct daemon *d, char *err, size_t err_size)
{
	bool remembered;
	int rc = conf_path(d->key_path, sizeof(d->key_path), d->conf->key, d->conf->node[d->self].name);

	if (rc || seal_load(&d->seal, d->key_path, err, err_size))
		return EXIT_CONFIG;
	seal_bind(&d->seal, d->conf->name);
	rc = make_dir(d->run_dir, 0755, err, err_size);
	if (rc == 0)
		rc = make_dir(d->state_dir, 0700, err, err_size);
	if (rc == 0)
		rc = lock_run_dir(d, err, err_size);
	if (rc)
		return rc;
	rc = loop_new(&d->loop, RING_ENTRIES);
	if (rc) {
		snprintf(err, err_size, "io_uring is refused here (%s): allow it (sysctl "
			 "kernel.io_uring_disabled, seccomp profile) or use Linux 6.1 or newer",
			 strerror(-rc));
		return EXIT_SYSTEM;
	}
	rc = start_config(d, err, err_size);
	if (rc == 0)
		rc = diary_open(d, err, err_size);
	if (rc == 0)
		rc = units_open(d, err, err_size);
	if (rc == 0)
		rc = slots_open(d, err, err_size);
	if (rc == 0)
		rc = persist_open(d, &remembered, err, err_size);
	if (rc == 0)
		rc = partners_open(d, err, err_size);
	if (rc == 0)
		rc = peers_open(d, err, err_size);
	if (rc)
		return rc;
	harden();
	watch_signals(d);
	workers_open(d);
	addresses_open(d);
	brain_init(d, remembered ? d->persist_last : NULL);
	keys_open(d);
	config_run(d);
	ports_open(d);
	rc = requests_open(d, err, err_size);
	return rc ? rc : metrics_open(d, err, err_size);
}

/* Workers that were killed and helpers end now: the next instance knows nothing of them. */
static void reap_all(void)
{
	char path[64];
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (f)
		fclose(f);
	for (int i = 0; i < REAP_MS / 10; i++) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return;
		poll(NULL, 0, 10);
	}
	log_warn("daemon: a helper process hangs and stays behind");
}

/* `holdfast restart`: the same process, so whoever supervises it sees nothing; the program as it is on
 * disk now.  Only when that fails does it end, with a status that has it started again. */
static int begin_anew(const struct daemon *d, char **argv)
{
	char path[PATH_TEXT_MAX + 16];

	snprintf(path, sizeof(path), "%s/holdfastd", d->libexec);
	log_notice("daemon: begins anew: %s", path);
	reap_all();
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* nothing is inherited: locks, the ring, sockets */
	execv(path, argv);
	log_err("daemon: %s: %s", path, strerror(errno));
	return EXIT_SYSTEM;
}

static int check_only(const struct daemon *d, const struct options *o)
{
	if (o->verbose)
		conf_print(d->conf, stdout);
	else
		printf("%s: ok\n", o->file);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct options o = {.file = CONF_DEFAULT};
	static struct daemon *d; /* for the life of the process */
	char err[ERR_MAX] = "";
	int rc;

	d = mem_zalloc(1, sizeof(*d));
	parse_options(&o, argc, argv);
	rc = load_conf(d, o.file, err, sizeof(err));
	/* A check needs no name when the host is none of the nodes. */
	if (rc == 0)
		rc = find_self(d, o.check && !o.node ? d->conf->node[0].name : o.node, err,
			       sizeof(err));
	if (rc == 0 && o.check)
		return check_only(d, &o);
	if (rc == 0) {
		log_open(d->conf->node[d->self].name, o.debug ? LOG_L_DEBUG : LOG_L_INFO);
		read_boot_id(d->boot_id);
		d->started_ns = loop_clock_ns();
		rc = find_libexec(d, err, sizeof(err));
	}
	if (rc == 0)
		rc = open_all(d, err, sizeof(err));
	if (rc) {
		fprintf(stderr, "holdfastd: %s\n", err);
		return rc;
	}
	diary_begin(d);
	log_notice("daemon: node %s of cluster %s", d->conf->node[d->self].name, d->conf->name);
	rc = loop_run(d->loop);
	workers_end(d);
	addresses_end(d);
	diary_end(d);
	metrics_close(d);
	if (rc == 0 && d->again && d->exit_status == EXIT_OK)
		return begin_anew(d, argv);
	return rc ? EXIT_INTERNAL : d->exit_status;
}
