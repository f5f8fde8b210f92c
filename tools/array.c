/* array.c - a disk array for tests: images seen by each node as files of its own FUSE mount.
 *
 *	array DIR NODE[,NODE...] UNIT[,UNIT...]
 *
 * One process outside the nodes.  DIR/img/UNIT.img are the images.  Of each unit the last
 * 64 KiB are its ownership area, so a node finds in DIR/mnt/NODE
 *
 *	UNIT.img	the disk, fit for a loop device (losetup --direct-io=on)
 *	UNIT.own	the ownership area: same reservation
 *	coordA, coordB	units whose names begin with "coord" are shown whole, without suffix
 *
 * and in DIR/ctl/NODE/control the socket for reservation commands (io/arrayctl.h).  A write or
 * flush by a path that the reservation shuts out gives EBADE, on a path that is cut EIO.  What a node
 * wrote and did not flush is lost with its power (array_vol.h).  Each write is a line of DIR/writes.log:
 *
 *	time_ns=BOOTTIME node=n1 key=0x.. unit=u1 op=write offset=N length=N result=ok|EBADE|EIO
 *
 * DIR/admin takes `cut NODE [UNIT]`, `heal NODE` (all of it), `poweroff NODE` (cut, and drop what was not
 * flushed), `poweron NODE`, `sync` (the log is on disk), `status`, `quit`; each is answered with one
 * line that begins with OK or ERROR when it is done. Files of a mount stay answerable by killing this
 * process: nothing here waits for a mount of its own. */
#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "array_vol.h"
#include "base/mem.h"
#include "io/arrayctl.h"

#define OWN_BYTES   (64u << 10)
#define UNITS_MAX   32
#define FILES_MAX   (UNITS_MAX * 2)
#define FIRST_INO   2u
#define WRITE_MAX   (1u << 20)
#define ATTR_VALID  3600.0
#define PR_IO_FLUSH 57 /* PR_SET_IO_FLUSHER, Linux 5.6 */

/* A file is a window onto a unit. */
struct file {
	char name[48];
	struct vol *vol;
	uint64_t start, size;
};

struct node {
	char name[32];
	unsigned path; /* index: the I_T nexus */
	bool cut, off; /* (a) both stop I/O */
	bool cut_vol[UNITS_MAX]; /* (a) the path to this one alone */
	struct fuse_session *se;
};

static struct {
	const char *dir;
	struct node node[PR_PATHS_MAX];
	unsigned node_count;
	struct vol vol[UNITS_MAX];
	unsigned vol_count;
	struct file file[FILES_MAX];
	unsigned file_count;
	FILE *log;
	pthread_mutex_t log_lock, admin_lock; /* admin_lock: (a) */
} array = {.log_lock = PTHREAD_MUTEX_INITIALIZER, .admin_lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the write log ------------------------------------------------------------------------ */
struct entry {
	const struct node *node;
	const struct vol *vol;
	const char *op;
	uint64_t at_ns, key, off, len;
	int err;
};

static const char *result_name(int err, char buf[16])
{
	if (!err)
		return "ok";
	snprintf(buf, 16, "%s", err == -EBADE ? "EBADE" : err == -EIO ? "EIO" : "error");
	return buf;
}

static void log_entry(const struct entry *e)
{
	char buf[16];

	pthread_mutex_lock(&array.log_lock);
	fprintf(array.log,
		"time_ns=%" PRIu64 " node=%s key=0x%016" PRIx64 " unit=%s op=%s offset=%" PRIu64
		" length=%" PRIu64 " result=%s\n",
		e->at_ns, e->node->name, e->key, e->vol->name, e->op, e->off, e->len,
		result_name(e->err, buf));
	pthread_mutex_unlock(&array.log_lock);
}

/* ---- the files ------------------------------------------------------------------------------ */
static const struct file *file_of(fuse_ino_t ino)
{
	return ino >= FIRST_INO && ino - FIRST_INO < array.file_count
		       ? &array.file[ino - FIRST_INO]
		       : NULL;
}

static bool attr_of(fuse_ino_t ino, struct stat *st)
{
	const struct file *f = file_of(ino);

	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_blksize = VOL_PAGE;
	if (ino == FUSE_ROOT_ID) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return true;
	}
	if (!f)
		return false;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	st->st_size = (off_t)f->size;
	st->st_blocks = (blkcnt_t)(f->size / 512);
	return true;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;

	memset(&e, 0, sizeof(e));
	for (unsigned i = 0; parent == FUSE_ROOT_ID && i < array.file_count; i++) {
		if (strcmp(array.file[i].name, name) != 0)
			continue;
		e.ino = FIRST_INO + i;
		e.attr_timeout = e.entry_timeout = ATTR_VALID;
		attr_of(e.ino, &e.attr);
		fuse_reply_entry(req, &e);
		return;
	}
	fuse_reply_err(req, ENOENT);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (attr_of(ino, &st))
		fuse_reply_attr(req, &st, ATTR_VALID);
	else
		fuse_reply_err(req, ENOENT);
}

/* A disk keeps its size, whatever a careless open(O_TRUNC) asks for. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	(void)attr;
	(void)to_set;
	on_getattr(req, ino, fi);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!file_of(ino)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->direct_io = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct node *n = fuse_req_userdata(req);
	const struct file *f = file_of(ino);
	int64_t got;
	void *buf;

	(void)fi;
	if ((uint64_t)off >= f->size)
		size = 0;
	else if (size > f->size - (uint64_t)off)
		size = (size_t)(f->size - (uint64_t)off);
	buf = mem_aligned(VOL_PAGE, size ? size : 1);
	got = vol_read(f->vol, n->path, buf, size, f->start + (uint64_t)off);
	if (got < 0)
		fuse_reply_err(req, (int)-got);
	else
		fuse_reply_buf(req, buf, (size_t)got);
	free(buf);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	const struct node *n = fuse_req_userdata(req);
	const struct file *f = file_of(ino);
	struct entry e = {.node = n, .vol = f->vol, .op = "write", .len = size};
	int64_t done;

	if ((uint64_t)off >= f->size || size > f->size - (uint64_t)off) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	e.off = f->start + (uint64_t)off;
	done = vol_write(f->vol, n->path, buf, size, e.off, fi->flags & (O_DSYNC | O_SYNC),
			 &e.key, &e.at_ns);
	e.err = done < 0 ? (int)done : 0;
	log_entry(&e);
	if (done < 0)
		fuse_reply_err(req, (int)-done);
	else
		fuse_reply_write(req, (size_t)done);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	const struct node *n = fuse_req_userdata(req);
	const struct file *f = file_of(ino);
	struct entry e = {.node = n, .vol = f->vol, .op = "flush"};

	(void)datasync;
	(void)fi;
	e.err = vol_flush(f->vol, n->path, &e.key, &e.at_ns);
	if (e.err)
		log_entry(&e);
	fuse_reply_err(req, -e.err);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	char *buf = mem_alloc(size);
	size_t at = 0;

	(void)fi;
	for (unsigned i = (unsigned)off; ino == FUSE_ROOT_ID && i < array.file_count; i++) {
		struct stat st;
		size_t n;

		attr_of(FIRST_INO + i, &st);
		n = fuse_add_direntry(req, buf + at, size - at, array.file[i].name, &st, i + 1);
		if (n > size - at)
			break;
		at += n;
	}
	fuse_reply_buf(req, buf, at);
	free(buf);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
	.readdir = on_readdir,
};

static void *serve_files(void *arg)
{
	struct node *n = arg;
	struct fuse_loop_config c = {.clone_fd = 0, .max_idle_threads = 8};

	fuse_session_loop_mt(n->se, &c);
	return NULL;
}

/* ---- reservation commands -------------------------------------------------------------------- */
static enum pr_result do_register(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	(void)victim;
	return pr_register(p, path, key);
}

static enum pr_result do_unregister(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	(void)victim;
	return pr_unregister(p, path, key);
}

static enum pr_result do_reserve(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	(void)victim;
	return pr_reserve(p, path, key);
}

static enum pr_result do_release(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	(void)victim;
	return pr_release(p, path, key);
}

static enum pr_result do_clear(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	(void)victim;
	return pr_clear(p, path, key);
}

static const struct command {
	const char *word, *op; /* op: the log's word */
	vol_pr_fn *fn;
	int keys;
} commands[] = {
	{"REGISTER", "register", do_register, 1}, {"UNREGISTER", "unregister", do_unregister, 1},
	{"RESERVE", "reserve", do_reserve, 1},	  {"RELEASE", "release", do_release, 1},
	{"PREEMPT", "preempt", pr_preempt, 2},	  {"CLEAR", "clear", do_clear, 1},
};

static void answer_keys(const struct pr *p, char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, ARRAYCTL_OK " gen=%" PRIu32 " keys=", p->generation);
	const char *comma = "";

	for (unsigned i = 0; i < PR_PATHS_MAX && at < size; i++) {
		if (!p->key[i])
			continue;
		at += (size_t)snprintf(out + at, size - at, "%s0x%016" PRIx64, comma, p->key[i]);
		comma = ",";
	}
}

static void answer_holder(const struct pr *p, char *out, size_t size)
{
	if (p->holder == PR_NOBODY)
		snprintf(out, size, ARRAYCTL_OK " gen=%" PRIu32 " holder=none", p->generation);
	else
		snprintf(out, size, ARRAYCTL_OK " gen=%" PRIu32 " holder=0x%016" PRIx64,
			 p->generation, p->key[p->holder]);
}

static bool answer_query(struct vol *v, const char *word, char *out, size_t size)
{
	struct pr p;

	vol_pr_state(v, &p);
	if (strcmp(word, "READKEYS") == 0)
		answer_keys(&p, out, size);
	else if (strcmp(word, "READRES") == 0)
		answer_holder(&p, out, size);
	else if (strcmp(word, "INFO") == 0)
		snprintf(out, size, ARRAYCTL_OK " size=%" PRIu64, v->size - OWN_BYTES);
	else
		return false;
	return true;
}

static void answer_change(const struct node *n, struct vol *v, const struct command *c,
			  uint64_t key, uint64_t victim, char *out, size_t size)
{
	struct entry e = {.node = n, .vol = v, .op = c->op, .key = key};
	enum pr_result r;

	if (vol_pr_attention(v, n->path)) {
		snprintf(out, size, ARRAYCTL_ATTENTION);
		return;
	}
	r = vol_pr(v, n->path, c->fn, key, victim, &e.at_ns);
	e.err = r == PR_OK ? 0 : -EBADE;
	log_entry(&e);
	switch (r) {
	case PR_OK:
		snprintf(out, size, ARRAYCTL_OK);
		break;
	case PR_CONFLICT:
		snprintf(out, size, ARRAYCTL_CONFLICT);
		break;
	case PR_INVALID:
		snprintf(out, size, ARRAYCTL_ERROR " invalid key");
		break;
	}
}

static struct vol *find_vol(const char *name)
{
	for (unsigned i = 0; i < array.vol_count; i++)
		if (strcmp(array.vol[i].name, name) == 0)
			return &array.vol[i];
	return NULL;
}

static void answer_control(struct node *n, const char *line, char *out, size_t size)
{
	char word[16] = "", unit[32] = "", a[24] = "", b[24] = "";
	int words = sscanf(line, "%15s %31s %23s %23s", word, unit, a, b);
	struct vol *v = find_vol(unit);

	if (!v) {
		snprintf(out, size, ARRAYCTL_ERROR " no such unit");
		return;
	}
	if (vol_is_off(v, n->path)) {
		snprintf(out, size, ARRAYCTL_ERROR " the path is cut");
		return;
	}
	if (words == 2 && answer_query(v, word, out, size))
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->word, word) != 0 || words != 2 + c->keys)
			continue;
		answer_change(n, v, c, strtoull(a, NULL, 0), strtoull(b, NULL, 0), out, size);
		return;
	}
	snprintf(out, size, ARRAYCTL_ERROR " what?");
}

/* ---- faults ------------------------------------------------------------------------------- */
static struct node *find_node(const char *name)
{
	for (unsigned i = 0; i < array.node_count; i++)
		if (strcmp(array.node[i].name, name) == 0)
			return &array.node[i];
	return NULL;
}

static void set_paths(struct node *n)
{
	for (unsigned i = 0; i < array.vol_count; i++)
		vol_set_off(&array.vol[i], n->path, n->cut || n->off || n->cut_vol[i]);
}

static uint64_t drop_all(const struct node *n)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < array.vol_count; i++)
		lost += vol_drop(&array.vol[i], n->path);
	return lost;
}

static void answer_status(char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, ARRAYCTL_OK);

	for (unsigned i = 0; i < array.node_count && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, " %s=%s", array.node[i].name,
				       array.node[i].off   ? "off"
				       : array.node[i].cut ? "cut"
							   : "up");
}

static void answer_fault(const char *word, struct node *n, const char *unit, char *out, size_t size)
{
	struct vol *v = *unit ? find_vol(unit) : NULL;
	uint64_t lost = 0;

	if (*unit && (!v || strcmp(word, "cut") != 0)) {
		snprintf(out, size, ARRAYCTL_ERROR " %s", v ? "what?" : "no such unit");
		return;
	}
	if (v)
		n->cut_vol[v - array.vol] = true;
	else if (strcmp(word, "cut") == 0)
		n->cut = true;
	else if (strcmp(word, "heal") == 0) {
		n->cut = false;
		memset(n->cut_vol, 0, sizeof(n->cut_vol));
	}
	else if (strcmp(word, "poweroff") == 0)
		n->off = true;
	else if (strcmp(word, "poweron") == 0)
		n->off = false;
	else {
		snprintf(out, size, ARRAYCTL_ERROR " what?");
		return;
	}
	set_paths(n);
	if (n->off)
		lost = drop_all(n);
	snprintf(out, size, ARRAYCTL_OK " lost=%" PRIu64, lost);
}

static void answer_admin(struct node *unused, const char *line, char *out, size_t size)
{
	char word[16] = "", name[32] = "", unit[32] = "";
	struct node *n;

	(void)unused;
	sscanf(line, "%15s %31s %31s", word, name, unit);
	n = find_node(name);
	pthread_mutex_lock(&array.admin_lock);
	pthread_mutex_lock(&array.log_lock);
	fflush(array.log);
	pthread_mutex_unlock(&array.log_lock);
	if (strcmp(word, "sync") == 0)
		snprintf(out, size, ARRAYCTL_OK);
	else if (strcmp(word, "status") == 0)
		answer_status(out, size);
	else if (strcmp(word, "quit") == 0)
		kill(getpid(), SIGTERM);
	else if (n)
		answer_fault(word, n, unit, out, size);
	else
		snprintf(out, size, ARRAYCTL_ERROR " no such node");
	pthread_mutex_unlock(&array.admin_lock);
}

/* ---- sockets: a thread for each connection --------------------------------------------------- */
struct listener {
	int fd;
	struct node *node; /* NULL: the admin socket */
	void (*answer)(struct node *n, const char *line, char *out, size_t size);
};

static void *serve_connection(void *arg)
{
	struct listener *l = arg;
	char line[ARRAYCTL_LINE_MAX], out[ARRAYCTL_LINE_MAX];
	FILE *f = fdopen(l->fd, "r");

	while (f && fgets(line, sizeof(line), f)) {
		out[0] = 0;
		l->answer(l->node, line, out, sizeof(out) - 1);
		out[strlen(out) + 1] = 0;
		out[strlen(out)] = '\n';
		if (send(l->fd, out, strlen(out), MSG_NOSIGNAL) < 0)
			break;
	}
	if (f)
		fclose(f);
	free(l);
	return NULL;
}

static void start_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg) != 0) {
		fprintf(stderr, "array: no thread\n");
		exit(1);
	}
	pthread_detach(t);
}

static void *accept_all(void *arg)
{
	struct listener *l = arg;

	for (;;) {
		struct listener *c = mem_alloc(sizeof(*c));

		*c = *l;
		c->fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (c->fd < 0) {
			free(c);
			continue;
		}
		start_thread(serve_connection, c);
	}
	return NULL;
}

static void listen_at(const char *file, struct listener how)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct listener *l = mem_alloc(sizeof(*l));

	*l = how;
	if (strlen(file) >= sizeof(a.sun_path)) {
		fprintf(stderr, "array: %s: too long for a socket\n", file);
		exit(1);
	}
	memcpy(a.sun_path, file, strlen(file));
	unlink(file);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l->fd, 64) < 0) {
		fprintf(stderr, "array: %s: %s\n", file, strerror(errno));
		exit(1);
	}
	start_thread(accept_all, l);
}

/* ---- start ------------------------------------------------------------------------------------ */
static char *path_of(const char *a, const char *b, const char *c)
{
	char *out;

	if (asprintf(&out, "%s/%s%s%s", array.dir, a, b, c) < 0)
		exit(1);
	return out;
}

static void add_file(const char *name, const char *suffix, struct vol *v, uint64_t start,
		     uint64_t size)
{
	struct file *f = &array.file[array.file_count++];

	snprintf(f->name, sizeof(f->name), "%s%s", name, suffix);
	f->vol = v;
	f->start = start;
	f->size = size;
}

static void add_unit(const char *name)
{
	struct vol *v = &array.vol[array.vol_count++];
	char *image = path_of("img/", name, ".img");
	int err = vol_open(v, name, image);

	if (err || v->size <= OWN_BYTES) {
		fprintf(stderr, "array: %s: %s\n", image, err ? strerror(-err) : "too small");
		exit(1);
	}
	free(image);
	if (strncmp(name, "coord", 5) == 0) {
		add_file(name, "", v, 0, v->size);
		return;
	}
	add_file(name, ".img", v, 0, v->size - OWN_BYTES);
	add_file(name, ".own", v, v->size - OWN_BYTES, OWN_BYTES);
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = WRITE_MAX;
}

static void add_node(const char *name)
{
	static struct fuse_lowlevel_ops all;
	char program[] = "array", opt[] = "-o", value[] = "allow_other,default_permissions,fsname=array";
	char *argv[] = {program, opt, value, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct node *n = &array.node[array.node_count];
	char *mnt = path_of("mnt/", name, ""), *ctl = path_of("ctl/", name, "/control");

	all = ops;
	all.init = on_init;
	n->path = array.node_count++;
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->se = fuse_session_new(&args, &all, sizeof(all), n);
	if (!n->se || fuse_session_mount(n->se, mnt) != 0) {
		fprintf(stderr, "array: cannot mount at %s\n", mnt);
		exit(1);
	}
	start_thread(serve_files, n);
	listen_at(ctl, (struct listener){.node = n, .answer = answer_control});
	fuse_opt_free_args(&args);
	free(mnt);
	free(ctl);
}

static void each_word(char *list, unsigned max, void (*fn)(const char *))
{
	char *save = NULL;

	for (char *w = strtok_r(list, ",", &save); w && max--; w = strtok_r(NULL, ",", &save))
		fn(w);
}

int main(int argc, char **argv)
{
	sigset_t set;
	char *log, *admin;
	int sig;

	if (argc != 4) {
		fprintf(stderr, "usage: array DIR NODE[,NODE...] UNIT[,UNIT...]\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_IO_FLUSH, 1, 0, 0, 0); /* writeback waits for us: do not wait for writeback */
	array.dir = argv[1];
	log = path_of("writes.log", "", "");
	array.log = fopen(log, "ae");
	if (!array.log) {
		fprintf(stderr, "array: %s: %s\n", log, strerror(errno));
		return 1;
	}
	setvbuf(array.log, NULL, _IOLBF, 1 << 16); /* whole lines, also when we are killed */
	each_word(argv[3], UNITS_MAX, add_unit);
	each_word(argv[2], PR_PATHS_MAX, add_node);
	admin = path_of("admin", "", "");
	listen_at(admin, (struct listener){.answer = answer_admin});
	printf("ready\n");
	fflush(stdout);
	sigwait(&set, &sig);
	fflush(array.log);
	for (unsigned i = 0; i < array.node_count; i++)
		fuse_session_unmount(array.node[i].se);
	return 0;
}
