/* survive.c - the survive test: writers that know what they were promised.
 *
 *	survive -a ADDRESS -p NFS_PORT [-m MOUNT_PORT] -e EXPORT [-n WRITERS] [-t SECONDS]
 *		[-l PERMILLE] [-u] [-s SEED]
 *
 * Each writer has a folder of its own and a model of it; every reply is held against the model: a
 * REMOVE that was acknowledged may not come back, one that is repeated (same xid, other connection)
 * must give its first answer, not NOENT.  `-l` loses that many replies in a thousand on purpose:
 *the connection is closed after the request left.  A pulse thread writes a growing number every few
 * milliseconds and a reader on another connection must never see a number smaller than one already
 * acknowledged.  The longest time without an acknowledged pulse is the pause at the client.
 *
 * At the end every folder is listed and every file is read and compared.  Closing lines: key=value,
 * then `N passed, N failed` (a writer is one test).  Exit status 0 when nothing failed. */
#include "nfsclient.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK       4096
#define BLOCKS      12
#define NAMES       32
#define WRITERS_MAX 64

struct options {
	struct nfc_where where;
	unsigned long writers, lose_permille, seed;
	bool udp;
};

static struct options opt = {.writers = 8, .where.seconds = 20, .seed = 1};
static struct nfc_fh top; /* the run's own folder below the export's root */
static atomic_bool stop;
static uint64_t give_up_ns = UINT64_MAX;

/* A file the writer knows: block stamps (0 = never written, reads as zeros) and its names. */
struct file {
	struct nfc_fh fh;
	uint32_t stamp[BLOCKS];
	unsigned blocks, links;
	uint32_t id;
};

struct entry {
	struct file *file; /* NULL: none, unless `dir` */
	bool dir;
};

struct writer {
	unsigned index;
	struct nfc c;
	struct nfc_fh dir[2];
	struct entry name[2][NAMES];
	uint32_t next_stamp, next_id;
	uint64_t ops;
	char failure[256];
	pthread_t thread;
};

/* Writes down the first failure of this writer and ends it. */
static bool fail(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct writer *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->failure[0])
		return false;
	n = snprintf(w->failure, sizeof(w->failure), "writer %u op %llu: ", w->index,
		     (unsigned long long)w->ops);
	va_start(ap, fmt);
	vsnprintf(w->failure + n, sizeof(w->failure) - (size_t)n, fmt, ap);
	va_end(ap);
	printf("survive: %s (resent %llu, lost on purpose %llu)\n", w->failure,
	       (unsigned long long)w->c.resent, (unsigned long long)w->c.lost_on_purpose);
	fflush(stdout);
	return false;
}

static bool want(struct writer *w, int expected, int got, const char *what, const char *name)
{
	if (got == expected)
		return true;
	return fail(w, "%s %s: status %d, promised %d", what, name, got, expected);
}

static void name_of(char *out, unsigned i, bool dir)
{
	snprintf(out, 16, "%c%u", dir ? 'd' : 'f', i);
}

static void fill(uint8_t *block, const struct writer *w, const struct file *f, unsigned b,
		 uint32_t stamp)
{
	uint64_t seed =
	    (uint64_t)w->index << 48 ^ (uint64_t)f->id << 32 ^ (uint64_t)b << 24 ^ stamp;

	if (stamp == 0) {
		memset(block, 0, BLOCK);
		return;
	}
	for (unsigned i = 0; i < BLOCK; i += 8) {
		uint64_t v = nfc_random(&seed);

		memcpy(block + i, &v, 8);
	}
}

static bool pick(struct writer *w, bool want_file, unsigned *d, unsigned *i)
{
	unsigned start = (unsigned)(nfc_random(&w->c.seed) % (2 * NAMES));

	for (unsigned k = 0; k < 2 * NAMES; k++) {
		unsigned at = (start + k) % (2 * NAMES);
		struct entry *e = &w->name[at / NAMES][at % NAMES];

		if (want_file ? e->file != NULL : !e->file && !e->dir) {
			*d = at / NAMES;
			*i = at % NAMES;
			return true;
		}
	}
	return false;
}

/* ---- operations: each returns false when the writer must end ---- */
static bool op_create(struct writer *w)
{
	unsigned d, i;
	char name[16];
	struct file *f;
	enum nfc_how how = (enum nfc_how)(nfc_random(&w->c.seed) % 3);
	int st;

	if (!pick(w, false, &d, &i))
		return true;
	name_of(name, i, false);
	f = calloc(1, sizeof(*f));
	f->id = ++w->next_id;
	st = nfc_create(&w->c, &w->dir[d], name, how, nfc_random(&w->c.seed) | 1, &f->fh);
	f->links = 1;
	w->name[d][i].file = f;
	return want(w, 0, st, how == NFC_EXCLUSIVE ? "CREATE EXCLUSIVE" : "CREATE", name);
}

static bool op_mkdir(struct writer *w)
{
	unsigned d, i;
	char name[16];
	struct nfc_fh fh;

	if (!pick(w, false, &d, &i))
		return true;
	name_of(name, i, true);
	w->name[d][i].dir = true;
	return want(w, 0, nfc_mkdir(&w->c, &w->dir[d], name, &fh), "MKDIR", name);
}

static bool op_rmdir(struct writer *w)
{
	char name[16];

	for (unsigned k = 0; k < 2 * NAMES; k++) {
		struct entry *e = &w->name[k / NAMES][k % NAMES];

		if (!e->dir)
			continue;
		name_of(name, k % NAMES, true);
		e->dir = false;
		return want(w, 0, nfc_remove(&w->c, NFC_RMDIR, &w->dir[k / NAMES], name), "RMDIR",
			    name);
	}
	return true;
}

static void unlink_model(struct entry *e)
{
	if (--e->file->links == 0)
		free(e->file);
	e->file = NULL;
}

static bool op_remove(struct writer *w)
{
	unsigned d, i;
	char name[16];
	int st;

	if (!pick(w, true, &d, &i))
		return true;
	name_of(name, i, false);
	st = nfc_remove(&w->c, NFC_REMOVE, &w->dir[d], name);
	unlink_model(&w->name[d][i]);
	return want(w, 0, st, "REMOVE", name);
}

static bool op_rename(struct writer *w)
{
	unsigned d, i, td, ti;
	char from[16], to[16];
	struct entry *src, *dst;
	int st;

	if (!pick(w, true, &d, &i))
		return true;
	td = (unsigned)(nfc_random(&w->c.seed) % 2);
	ti = (unsigned)(nfc_random(&w->c.seed) % NAMES);
	src = &w->name[d][i];
	dst = &w->name[td][ti];
	if (dst->dir || dst->file == src->file)
		return true; /* onto itself or onto a link of itself: not this test's matter */
	name_of(from, i, false);
	name_of(to, ti, false);
	st = nfc_rename(&w->c, &w->dir[d], from, &w->dir[td], to);
	if (dst->file)
		unlink_model(dst);
	dst->file = src->file;
	src->file = NULL;
	return want(w, 0, st, "RENAME", from);
}

static bool op_link(struct writer *w)
{
	unsigned d, i, td, ti;
	char name[16];

	if (!pick(w, true, &d, &i) || !pick(w, false, &td, &ti))
		return true;
	name_of(name, ti, false);
	w->name[td][ti].file = w->name[d][i].file;
	w->name[d][i].file->links++;
	return want(w, 0, nfc_link(&w->c, &w->name[d][i].file->fh, &w->dir[td], name), "LINK",
		    name);
}

static bool op_write(struct writer *w)
{
	unsigned d, i, b;
	uint8_t data[BLOCK];
	uint64_t verifier;
	struct file *f;

	if (!pick(w, true, &d, &i))
		return true;
	f = w->name[d][i].file;
	b = (unsigned)(nfc_random(&w->c.seed) % BLOCKS);
	f->stamp[b] = ++w->next_stamp;
	if (b >= f->blocks)
		f->blocks = b + 1;
	fill(data, w, f, b, f->stamp[b]);
	return want(w, 0,
		    nfc_write(&w->c, &f->fh, (uint64_t)b * BLOCK, data, BLOCK, true, &verifier),
		    "WRITE", "");
}

/* Unstable writes, then COMMIT; a changed verifier means they may be lost: all again. */
static bool op_unstable(struct writer *w)
{
	unsigned d, i, first, n;
	uint8_t data[BLOCK];
	uint64_t v = 0, v0 = 0;
	struct file *f;

	if (!pick(w, true, &d, &i))
		return true;
	f = w->name[d][i].file;
	first = (unsigned)(nfc_random(&w->c.seed) % BLOCKS);
	n = 1 + (unsigned)(nfc_random(&w->c.seed) % (BLOCKS - first));
	w->next_stamp++;
	for (unsigned tries = 0; tries < 50; tries++) {
		bool same = true;

		for (unsigned b = first; b < first + n; b++) {
			f->stamp[b] = w->next_stamp;
			fill(data, w, f, b, f->stamp[b]);
			if (!want(w, 0,
				  nfc_write(&w->c, &f->fh, (uint64_t)b * BLOCK, data, BLOCK, false,
					    &v),
				  "unstable WRITE", ""))
				return false;
			if (b == first)
				v0 = v;
			same &= v == v0;
		}
		if (first + n > f->blocks)
			f->blocks = first + n;
		if (!want(w, 0, nfc_commit(&w->c, &f->fh, &v), "COMMIT", ""))
			return false;
		if (same && v == v0)
			return true;
	}
	return fail(w, "COMMIT: the verifier never stayed the same");
}

static bool verify_block(struct writer *w, struct file *f, unsigned b)
{
	uint8_t data[BLOCK], expected[BLOCK];
	uint32_t got = 0;
	int st = nfc_read(&w->c, &f->fh, (uint64_t)b * BLOCK, data, BLOCK, &got);

	if (!want(w, 0, st, "READ", ""))
		return false;
	if (got != BLOCK)
		return fail(w, "READ block %u of %u: %u bytes", b, f->blocks, got);
	fill(expected, w, f, b, f->stamp[b]);
	if (memcmp(data, expected, BLOCK) != 0)
		return fail(w, "READ block %u of file id %u: not what was acknowledged (stamp %u)",
			    b, f->id, f->stamp[b]);
	return true;
}

static bool op_read(struct writer *w)
{
	unsigned d, i;
	struct file *f;

	if (!pick(w, true, &d, &i))
		return true;
	f = w->name[d][i].file;
	return f->blocks == 0 || verify_block(w, f, (unsigned)(nfc_random(&w->c.seed) % f->blocks));
}

static bool verify_attr(struct writer *w, struct file *f)
{
	struct nfc_attr a;

	if (!want(w, 0, nfc_getattr(&w->c, &f->fh, &a), "GETATTR", ""))
		return false;
	if (a.size != (uint64_t)f->blocks * BLOCK || a.nlink != f->links)
		return fail(w, "GETATTR: size %llu links %u, acknowledged %llu and %u",
			    (unsigned long long)a.size, a.nlink,
			    (unsigned long long)f->blocks * BLOCK, f->links);
	return true;
}

static bool op_attr(struct writer *w)
{
	unsigned d, i;

	return !pick(w, true, &d, &i) || verify_attr(w, w->name[d][i].file);
}

static bool op_lookup(struct writer *w)
{
	unsigned d = (unsigned)(nfc_random(&w->c.seed) % 2),
		 i = (unsigned)(nfc_random(&w->c.seed) % NAMES);
	char name[16];
	struct nfc_fh fh;

	name_of(name, i, false);
	return want(w, w->name[d][i].file ? 0 : 2, nfc_lookup(&w->c, &w->dir[d], name, &fh),
		    "LOOKUP", name);
}

static bool (*const ops[])(struct writer *) = {
    op_create, op_create,   op_create, op_write,  op_write,  op_write,
    op_write,  op_unstable, op_read,   op_attr,   op_lookup, op_mkdir,
    op_rmdir,  op_remove,   op_remove, op_rename, op_rename, op_link,
};

/* ---- the end: everything compared ---- */
struct listing {
	struct writer *w;
	unsigned d, seen;
};

static void listed(void *arg, const char *name, uint64_t fileid)
{
	struct listing *l = arg;
	unsigned i = (unsigned)strtoul(name + 1, NULL, 10);
	struct entry *e;

	(void)fileid;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "sub") == 0)
		return;
	e = i < NAMES ? &l->w->name[l->d][i] : NULL;
	if (e && (name[0] == 'f' ? e->file != NULL : e->dir))
		l->seen++;
	else
		fail(l->w, "READDIR shows %s, which should not be there", name);
}

static void verify_all(struct writer *w)
{
	for (unsigned d = 0; d < 2; d++) {
		struct listing l = {.w = w, .d = d};
		unsigned known = 0;

		for (unsigned i = 0; i < NAMES && !w->failure[0]; i++) {
			struct file *f = w->name[d][i].file;

			known += f || w->name[d][i].dir;
			if (!f || !verify_attr(w, f))
				continue;
			for (unsigned b = 0; b < f->blocks; b++)
				if (!verify_block(w, f, b))
					return;
		}
		if (w->failure[0])
			return;
		if (!want(w, 0, nfc_readdir(&w->c, &w->dir[d], listed, &l), "READDIR", ""))
			return;
		if (l.seen != known)
			fail(w, "READDIR of folder %u shows %u of %u entries", d, l.seen, known);
	}
}

static void *write_thread(void *arg)
{
	struct writer *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "w%u", w->index);
	w->c.lose_permille = (unsigned)opt.lose_permille;
	if (!want(w, 0, nfc_mkdir(&w->c, &top, name, &w->dir[0]), "MKDIR", name) ||
	    !want(w, 0, nfc_mkdir(&w->c, &w->dir[0], "sub", &w->dir[1]), "MKDIR", "sub"))
		return NULL;
	while (!stop) {
		w->ops++;
		if (!ops[nfc_random(&w->c.seed) % (sizeof(ops) / sizeof(ops[0]))](w))
			return NULL;
	}
	w->c.lose_permille = 0;
	verify_all(w);
	return NULL;
}

/* ---- pulse and its reader ---- */
static struct nfc_fh pulse_fh;
static atomic_ullong pulse_acked;
static uint64_t pause_ns, pause_at_ns, pulses, first_at_ns;
static char pulse_failure[128], reader_failure[128];

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void *pulse_thread(void *arg)
{
	struct nfc *c = arg;
	uint64_t last_ns = nfc_now_ns(), verifier;

	for (uint64_t n = 1; !stop; n++) {
		uint8_t data[8];
		uint64_t now_ns;
		struct wr w;
		int st;

		wr_init(&w, data, 8);
		wr_u64(&w, n);
		st = nfc_write(c, &pulse_fh, 0, data, 8, true, &verifier);
		if (st) {
			snprintf(pulse_failure, sizeof(pulse_failure), "pulse %llu: status %d",
				 (unsigned long long)n, st);
			break;
		}
		pulse_acked = n;
		now_ns = nfc_now_ns();
		if (!first_at_ns)
			first_at_ns = wall_ns();
		if (now_ns - last_ns > pause_ns) {
			pause_ns = now_ns - last_ns;
			pause_at_ns = wall_ns() - pause_ns;
		}
		last_ns = now_ns;
		pulses = n;
		usleep(2000);
	}
	return NULL;
}

static void *reader_thread(void *arg)
{
	struct nfc *c = arg;

	while (!stop) {
		uint64_t floor = pulse_acked, seen;
		uint8_t data[8] = {0};
		uint32_t got = 0;
		struct rd r;
		int st = nfc_read(c, &pulse_fh, 0, data, 8, &got);

		rd_init(&r, data, 8);
		seen = rd_u64(&r);
		if (st || seen < floor) {
			snprintf(reader_failure, sizeof(reader_failure),
				 "read %llu (status %d) after %llu was acknowledged",
				 (unsigned long long)seen, st, (unsigned long long)floor);
			break;
		}
		usleep(3000);
	}
	return NULL;
}

static void on_signal(int sig)
{
	(void)sig;
	stop = true;
}

static int usage(void)
{
	fprintf(stderr, "usage: survive -a ADDRESS -p NFS_PORT [-m MOUNT_PORT] -e EXPORT [-n "
			"WRITERS] [-t SECONDS]\n"
			"               [-l LOST_PERMILLE] [-u] [-s SEED]\n");
	return 2;
}

static bool option(int o)
{
	switch (o) {
	case 'n':
		return nfc_number(optarg, 1, WRITERS_MAX, &opt.writers);
	case 'l':
		return nfc_number(optarg, 0, 1000, &opt.lose_permille);
	case 'u':
		opt.udp = true;
		return true;
	case 's':
		return nfc_number(optarg, 0, UINT32_MAX, &opt.seed);
	default:
		return nfc_where(&opt.where, o, optarg) == 1;
	}
}

static bool options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, NFC_WHERE "n:l:us:")) != -1)
		if (!option(o))
			return false;
	return optind == argc && nfc_where_done(&opt.where);
}

/* Mounts and makes the folder of this run. */
static bool prepare(struct nfc *c)
{
	struct nfc_fh root;
	char name[48];
	int st = nfc_mount(c, opt.where.mount_port, opt.where.export, &root);

	if (st) {
		printf("survive: mount %s: status %d\n", opt.where.export, st);
		return false;
	}
	snprintf(name, sizeof(name), "survive-%ld-%llu", (long)getpid(),
		 (unsigned long long)wall_ns());
	st = nfc_mkdir(c, &root, name, &top);
	if (st == 0)
		st = nfc_create(c, &top, "pulse", NFC_GUARDED, 0, &pulse_fh);
	if (st)
		printf("survive: making the folder: status %d\n", st);
	return st == 0;
}

static unsigned report(struct writer *w)
{
	uint64_t ops_all = 0, resent = 0, lost = 0, slowest = 0;
	unsigned failed = 0;

	for (unsigned i = 0; i < opt.writers; i++) {
		ops_all += w[i].ops;
		resent += w[i].c.resent;
		lost += w[i].c.lost_on_purpose;
		if (w[i].c.latency_max_ns > slowest)
			slowest = w[i].c.latency_max_ns;
		failed += w[i].failure[0] != 0;
	}
	if (pulse_failure[0])
		printf("survive: %s\n", pulse_failure);
	if (reader_failure[0])
		printf("survive: stale: %s\n", reader_failure);
	failed += pulse_failure[0] != 0;
	failed += reader_failure[0] != 0;
	/* What the pause is worth is for the reader to judge: from when on there was a pulse, and when the
	 * longest gap between two of them began (wall clock). */
	printf("ops=%llu\nresent=%llu\nlost_on_purpose=%llu\npulses=%llu\npulse_from_ms=%llu\n"
	       "pause_ms=%llu\npause_at_ms=%llu\nslowest_ms=%llu\n",
	       (unsigned long long)ops_all, (unsigned long long)resent, (unsigned long long)lost,
	       (unsigned long long)pulses, (unsigned long long)(first_at_ns / 1000000),
	       (unsigned long long)(pause_ns / 1000000),
	       (unsigned long long)(pause_at_ns / 1000000),
	       (unsigned long long)(slowest / 1000000));
	printf("%lu passed, %u failed\n", opt.writers + 2 - failed, failed);
	return failed;
}

int main(int argc, char **argv)
{
	static struct writer w[WRITERS_MAX];
	static struct nfc first, pulse, reader;
	pthread_t pulse_id, reader_id;

	if (!options(argc, argv))
		return usage();
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	give_up_ns = nfc_now_ns() + (opt.where.seconds + 60ULL) * 1000000000U;
	nfc_init(&first, &opt.where.server, false, opt.seed * 7919);
	first.give_up_ns = nfc_now_ns() + 15000000000ULL;
	if (!prepare(&first))
		return 1;
	printf("ready=1\n");
	fflush(stdout);
	nfc_init(&pulse, &opt.where.server, opt.udp, opt.seed * 7919 + 1);
	nfc_init(&reader, &opt.where.server, opt.udp, opt.seed * 7919 + 2);
	pulse.give_up_ns = reader.give_up_ns = give_up_ns;
	pthread_create(&pulse_id, NULL, pulse_thread, &pulse);
	pthread_create(&reader_id, NULL, reader_thread, &reader);
	for (unsigned i = 0; i < opt.writers; i++) {
		w[i].index = i;
		nfc_init(&w[i].c, &opt.where.server, opt.udp, opt.seed * 7919 + 10 + i);
		w[i].c.give_up_ns = give_up_ns;
		pthread_create(&w[i].thread, NULL, write_thread, &w[i]);
	}
	for (unsigned i = 0; i < opt.where.seconds * 20 && !stop; i++)
		usleep(50000);
	stop = true;
	pthread_join(pulse_id, NULL);
	pthread_join(reader_id, NULL);
	for (unsigned i = 0; i < opt.writers; i++)
		pthread_join(w[i].thread, NULL);
	return report(w) ? 1 : 0;
}
