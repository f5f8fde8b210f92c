/* alone.c - holdfast-vs without a daemon: one store, one export, for tests and benchmarks.
 *
 * There is no ownership and no lease: nothing keeps a second machine from serving the same files.
 * The directory's store is made when it is empty.  SIGTERM drains, SIGUSR1
 * prints the numbers. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "vs.h"

static struct {
	struct vs *v;
	struct loop_wake wake, stats;
} term;

static void on_drained(struct vs *v, int err)
{
	(void)v;
	_exit(err ? VS_EXIT_FAILED : VS_EXIT_OK);
}

static void term_call(struct loop_wake *w)
{
	(void)w;
	serve_drain(term.v, on_drained);
}

static void stats_call(struct loop_wake *w)
{
	char *json = stats_json(term.v);

	(void)w;
	puts(json);
	fflush(stdout);
	free(json);
}

static void on_signal(int sig)
{
	loop_wake(sig == SIGUSR1 ? &term.stats : &term.wake);
}

static bool dir_is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool empty = true;

	if (!d)
		return false;
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			empty = false;
	closedir(d);
	return empty;
}

/* Its owner counts epochs by itself, and would be refused the store from then on. */
static void refuse_unit(struct vs *v, const char *dir)
{
	char at[PATH_MAX], record[PATH_MAX + 32], above[PATH_MAX], *slash;

	snprintf(above, sizeof(above), "%s", dir);
	if (!realpath(dir, at) && !realpath(dirname(above), at))
		return; /* making it says why */
	do {
		snprintf(record, sizeof(record), "%s/.holdfast-unit", at);
		if (access(record, F_OK) == 0)
			vs_fail(v, VS_EXIT_USAGE, "%s is in the storage unit at %s: holdfastd serves it",
				dir, at);
		slash = strrchr(at, '/');
		if (slash)
			*slash = '\0';
	} while (slash && slash != at);
}

static void store_make(struct vs *v, const struct alone_args *a)
{
	struct store_conf c;
	char err[512];

	refuse_unit(v, a->dir);
	if (mkdir(a->dir, 0700) && errno != EEXIST)
		vs_fail(v, VS_EXIT_FAILED, "%s: %s", a->dir, strerror(errno));
	if (!dir_is_empty(a->dir) && !store_is_half_made(a->dir))
		return;
	store_conf_default(&c);
	if (a->log_half_bytes)
		c.log_half_bytes = a->log_half_bytes;
	if (store_create_at(a->dir, &c, NULL, err, sizeof(err)))
		vs_fail(v, VS_EXIT_FAILED, "%s", err);
}

/* Everything to everybody. */
static void vserver_make(struct conf_vserver *cv, const struct alone_args *a)
{
	struct conf_client *c = &cv->export[0].client[0];
	struct store_conf store;

	store_conf_default(&store);
	snprintf(cv->name, sizeof(cv->name), "alone");
	snprintf(cv->user, sizeof(cv->user), "%s", a->user ? a->user : "");
	cv->store_count = cv->export_count = 1;
	cv->poll_ns = a->poll_ns;
	cv->store[0].log_half_bytes = a->log_half_bytes;
	cv->store[0].read_cache_bytes = store.read_cache_bytes;
	cv->store[0].checkpoint_ns = a->checkpoint_ns;
	snprintf(cv->export[0].path, sizeof(cv->export[0].path), "%s",
		 a->export ? a->export : "/export");
	cv->export[0].client_count = 1;
	c->net.prefix = 0;
	c->writable = true;
	c->sec = CONF_SEC_SYS;
	c->anonuid = c->anongid = 65534;
}

static int socket_make(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) ||
	    (ai->ai_socktype == SOCK_STREAM && listen(fd, 4096))) {
		int e = errno;

		close(fd);
		return -e;
	}
	return fd;
}

struct bound {
	int fd;
	enum worker_role role;
};

static int bind_one(struct vs *v, const char *text, int type)
{
	struct addrinfo hints = {.ai_socktype = type,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE},
			*ai;
	char host[128];
	const char *colon = strrchr(text, ':');
	int fd;

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		vs_fail(v, VS_EXIT_USAGE, "--listen: ADDRESS:PORT is wanted, not %s", text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &ai))
		vs_fail(v, VS_EXIT_USAGE, "--listen: bad address or port: %s", text);
	fd = socket_make(ai);
	freeaddrinfo(ai);
	if (fd < 0)
		vs_fail(v, VS_EXIT_FAILED, "--listen: %s: %s", text, strerror(-fd));
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	/* The port is at the same place for both families. */
	return getsockname(fd, (struct sockaddr *)&a, &len) ? 0 : ntohs(a.sin6_port);
}

static unsigned bind_all(struct vs *v, const struct alone_args *a, struct bound out[16])
{
	unsigned n = 0;

	for (unsigned i = 0; i < a->listen_count; i++) {
		out[n++] = (struct bound){bind_one(v, a->listen[i], SOCK_STREAM),
					  WORKER_ROLE_NFS_TCP};
		if (a->udp)
			out[n++] = (struct bound){bind_one(v, a->listen[i], SOCK_DGRAM),
						  WORKER_ROLE_NFS_UDP};
	}
	return n;
}

static void serve_all(struct vs *v, const struct bound *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int e = serve_socket(v, b[i].role, b[i].fd);

		if (e)
			vs_fail(v, VS_EXIT_FAILED, "socket: %s", strerror(-e));
	}
}

void alone_run(struct vs *v, const struct alone_args *a)
{
	struct conf_vserver *cv;
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct bound b[16];
	struct timespec ts;
	char err[512] = "";
	enum vs_exit st;
	unsigned n;
	int e;

	log_open("alone", a->verbose ? LOG_L_DEBUG : LOG_L_INFO);
	if (!a->listen_count)
		vs_fail(v, VS_EXIT_USAGE, "--standalone needs --listen");
	v->conf = mem_zalloc(1, sizeof(*v->conf));
	cv = &v->conf->vserver[0];
	vserver_make(cv, a);
	v->vserver = cv;
	snprintf(v->name, sizeof(v->name), "alone");
	snprintf(v->node, sizeof(v->node), "local");
	clock_gettime(CLOCK_REALTIME, &ts);
	v->epoch = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	v->store_count = 1;
	v->store[0].conf = &cv->store[0];
	snprintf(v->store[0].name, sizeof(v->store[0].name), "fs");
	snprintf(v->store[0].dir, sizeof(v->store[0].dir), "%s", a->dir);
	store_make(v, a);
	n = bind_all(v, a, b);
	cv->nfs_port = cv->mount_port = port_of(b[0].fd);
	vs_prepare(v);
	vs_own(v);
	control_start(v);
	term.v = v;
	e = loop_wake_init(v->loop, &term.wake, term_call);
	if (e == 0)
		e = loop_wake_init(v->loop, &term.stats, stats_call);
	if (e)
		vs_fail(v, VS_EXIT_SYSTEM, "eventfd: %s", strerror(-e));
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	st = serve_open(v, err, sizeof(err));
	if (st != VS_EXIT_OK)
		vs_fail(v, st, "%s", err);
	serve_all(v, b, n);
	v->opened_ns = loop_clock_ns();
	printf("ready port=%u pid=%d export=%s\n", port_of(b[0].fd), (int)getpid(),
	       cv->export[0].path);
	fflush(stdout);
	e = loop_run(v->loop);
	vs_fail(v, VS_EXIT_FAILED, "event loop: %s", strerror(-e));
}
