/* making.c - the making of a store, stopped everywhere.
 *
 *	crash-making [--seed A] [--count N] [--trace]
 *
 * A store is made in a real folder while every call that changes something is written down (these
 * are interposed by symbol, as in the rig beside this one).  Then the power goes at one of them:
 * what no sync covered survives or not - names one by one, data by pages, the owner that was given
 * - and what is left is put into a new folder.  There the store is made again, perhaps stopped
 * again, perhaps with an error of the disk.  At all times: LABEL is there, and the store is whole
 * and its owner's; or it is not, and making it works.  What was acknowledged is there.
 *
 * Each history is of a seed.  From 100 on the run fails, too, when a numbered step of doc/store.md
 * (G) was never stopped at, or an error never met: then it would have shown nothing.
 *
 * covers: S7 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../gone.h"
#include "base/log.h"
#include "base/trace.h"
#include "store/store.h"

#define REAL(nr, ...) syscall(SYS_##nr, __VA_ARGS__)
#define PAGE	  ((size_t)4096)
#define NODES_MAX 700U
#define OPS_MAX	  1500U
#define PAGES_MAX 64U /* of a file; behind them are zeros only */
#define LIVES_MAX 4U
#define GIVEN	  01000U /* the mode bit that stands for the owner: the rig need not be root */
#define MODES	  0777U

/* ---- dice ------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t below(uint64_t n)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % n;
}

/* ---- the model of a file system: nodes, and names that lead to them ----------------------------- */

enum op_kind { OP_DIR, OP_FILE, OP_WRITE, OP_CUT, OP_GIVE, OP_SYNC, OP_SYNC_DIR, OP_SYNC_ALL,
	       OP_RENAME, OP_UNLINK, OP_KINDS };

struct node {
	bool used, dir, given;
	unsigned mode;
	uint64_t size;
	uint8_t *page[PAGES_MAX]; /* NULL: zeros */
};
struct name {
	bool used;
	unsigned dir, node;
	char text[24];
};
struct fs {
	struct node node[NODES_MAX]; /* 0: the top */
	unsigned nodes;
	struct name name[NODES_MAX];
};

struct op {
	enum op_kind kind;
	unsigned node, dir; /* dir, text: the name that is changed */
	char text[24], text2[24], path[64];
	uint64_t off;
	size_t len;
	uint8_t *data;
	unsigned mode;
	bool durable; /* a synchronous write */
	bool late;    /* the name LABEL was given before */
};

static struct fs *now;  /* while a making is written down */
static struct op ops[OPS_MAX];
static unsigned op_count;
static bool recording, named, faulted, trace;
static char top[64]; /* the real folder */
static enum op_kind fault_kind; /* the call of this kind that fails: the so manieth */
static unsigned fault_in;
static int fault_errno;
static uint64_t seed_now, fault_count[OP_KINDS][2];

_Noreturn static void wrong(const char *what, const char *more)
{
	recording = false;
	printf("seed %llu: %s: %s\n", (unsigned long long)seed_now, what, more);
	printf("0 passed, 1 failed\n");
	fflush(stdout);
	REAL(exit_group, 1);
	abort();
}

static struct name *name_find(struct fs *f, unsigned dir, const char *text)
{
	for (unsigned i = 0; i < NODES_MAX; i++)
		if (f->name[i].used && f->name[i].dir == dir && strcmp(f->name[i].text, text) == 0)
			return &f->name[i];
	return NULL;
}

static void name_set(struct fs *f, unsigned dir, const char *text, unsigned node)
{
	struct name *n = name_find(f, dir, text);

	for (unsigned i = 0; !n && i < NODES_MAX; i++)
		if (!f->name[i].used)
			n = &f->name[i];
	if (!n)
		abort();
	*n = (struct name){.used = true, .dir = dir, .node = node};
	snprintf(n->text, sizeof(n->text), "%s", text);
}

static void fs_free(struct fs *f)
{
	for (unsigned i = 0; i < f->nodes; i++)
		for (unsigned p = 0; p < PAGES_MAX; p++)
			free(f->node[i].page[p]);
	free(f);
}

static struct fs *fs_copy(const struct fs *from)
{
	struct fs *f = malloc(sizeof(*f));

	if (!f)
		abort();
	memcpy(f, from, sizeof(*f));
	for (unsigned i = 0; i < f->nodes; i++)
		for (unsigned p = 0; p < PAGES_MAX; p++)
			if (from->node[i].page[p]) {
				f->node[i].page[p] = malloc(PAGE);
				if (!f->node[i].page[p])
					abort();
				memcpy(f->node[i].page[p], from->node[i].page[p], PAGE);
			}
	return f;
}

static void write_part(struct node *n, uint64_t off, const uint8_t *data, size_t len)
{
	uint64_t p = off / PAGE;
	static const uint8_t zero[PAGE];

	if (memcmp(data, zero, len) == 0 && (p >= PAGES_MAX || !n->page[p]))
		return;
	if (p >= PAGES_MAX)
		abort();
	if (!n->page[p]) {
		n->page[p] = calloc(1, PAGE);
		if (!n->page[p])
			abort();
	}
	memcpy(n->page[p] + off % PAGE, data, len);
}

/* Of a write that is not durable each page survives with `chance` in 8. */
static void apply_write(struct node *n, const struct op *op, bool whole, unsigned chance)
{
	for (size_t at = 0; at < op->len;) {
		size_t len = PAGE - (op->off + at) % PAGE;

		len = len > op->len - at ? op->len - at : len;
		if (whole || below(8) < chance) {
			write_part(n, op->off + at, op->data + at, len);
			if (op->off + at + len > n->size)
				n->size = op->off + at + len;
		}
		at += len;
	}
}

static void apply(struct fs *f, const struct op *op, bool whole, unsigned chance)
{
	struct node *n = &f->node[op->node];
	struct name *name;

	if (op->node >= f->nodes)
		f->nodes = op->node + 1;
	if (op->kind != OP_WRITE && !whole && below(8) >= chance)
		return;
	switch (op->kind) {
	case OP_DIR:
	case OP_FILE:
		n->used = true;
		n->dir = op->kind == OP_DIR;
		n->mode = op->mode;
		name_set(f, op->dir, op->text, op->node);
		break;
	case OP_WRITE:
		apply_write(n, op, whole, chance);
		break;
	case OP_CUT:
		for (uint64_t p = op->off / PAGE; p < PAGES_MAX; p++) {
			free(n->page[p]);
			n->page[p] = NULL;
		}
		n->size = op->off;
		break;
	case OP_GIVE:
		n->given = true;
		break;
	case OP_RENAME: /* carries the file with it, also one whose first name was never durable */
		n->used = true;
		n->mode = op->mode;
		name_set(f, op->dir, op->text2, op->node);
		/* fall through */
	case OP_UNLINK:
		name = name_find(f, op->dir, op->text);
		if (name)
			name->used = false;
		break;
	case OP_SYNC:
	case OP_SYNC_DIR:
	case OP_SYNC_ALL:
	case OP_KINDS:
		break;
	}
}

/* ---- writing down ------------------------------------------------------------------------------- */

/* The path below the top of what a call names; false: it is elsewhere, or nothing is written down. */
static bool path_of(int at, const char *path, char out[64])
{
	char base[PATH_MAX] = "", link[40];
	size_t n = strlen(top);
	ssize_t len = 0;

	if (!recording)
		return false;
	if (path[0] != '/') {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
		len = at == AT_FDCWD ? 0 : REAL(readlinkat, AT_FDCWD, link, base, sizeof(base) - 2);
		if (len <= 0)
			return false;
		base[len] = 0;
		if (*path)
			snprintf(base + len, sizeof(base) - (size_t)len, "/%s", path);
	} else {
		snprintf(base, sizeof(base), "%s", path);
	}
	if (strncmp(base, top, n) != 0 || (base[n] != '/' && base[n] != 0))
		return false;
	snprintf(out, 64, "%s", base[n] ? base + n + 1 : "");
	if (strcmp(out, ".") == 0)
		out[0] = 0;
	return true;
}

/* The folder of `path` and the last part of it; the node, or -1. */
static int lookup(const char *path, unsigned *dir, const char **text)
{
	const char *slash;
	const struct name *n;
	char part[24];

	*dir = 0;
	*text = path;
	if (!*path)
		return 0;
	while ((slash = strchr(*text, '/')) != NULL) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - *text), *text);
		n = name_find(now, *dir, part);
		if (!n)
			return -1;
		*dir = n->node;
		*text = slash + 1;
	}
	n = name_find(now, *dir, *text);
	return n ? (int)n->node : -1;
}

static struct op *op_new(enum op_kind kind, const char *path)
{
	const char *text;
	struct op *op;
	int node;

	if (op_count == OPS_MAX)
		abort();
	op = &ops[op_count++];
	*op = (struct op){.kind = kind, .late = named};
	named |= kind == OP_RENAME;
	node = lookup(path, &op->dir, &text);
	op->node = node < 0 ? now->nodes : (unsigned)node;
	snprintf(op->text, sizeof(op->text), "%s", text);
	snprintf(op->path, sizeof(op->path), "%s", path);
	if (op->node == NODES_MAX)
		abort();
	if (node >= 0)
		op->mode = now->node[node].mode;
	return op;
}

static void op_done(struct op *op)
{
	apply(now, op, true, 8);
	if (trace)
		printf("%u: %d %s off %llu len %zu\n", op_count - 1, op->kind, op->path,
		       (unsigned long long)op->off, op->len);
}

/* The call fails instead. */
static bool fails(enum op_kind kind)
{
	if (!recording || kind != fault_kind || fault_in == 0 || --fault_in != 0)
		return false;
	faulted = true;
	fault_count[kind][fault_errno == EIO]++;
	errno = fault_errno;
	return true;
}

static int made(int at, const char *path, int flags, unsigned mode)
{
	char rel[64];
	unsigned dir;
	const char *text;
	struct op *op;
	bool ours = (flags & O_CREAT) && path_of(at, path, rel);
	bool is = ours && lookup(rel, &dir, &text) >= 0;
	int fd;

	if (ours && !is && fails(OP_FILE))
		return -1;
	fd = (int)REAL(openat, at, path, flags, mode);
	if (fd < 0 || !ours)
		return fd;
	if (!is) {
		op = op_new(OP_FILE, rel);
		op->mode = mode & MODES;
		op_done(op);
	} else if (flags & O_TRUNC) {
		op_done(op_new(OP_CUT, rel));
	}
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = va_arg(ap, unsigned);
	va_end(ap);
	return made(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = va_arg(ap, unsigned);
	va_end(ap);
	return made(at, path, flags, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
	char rel[64];
	bool ours = path_of(at, path, rel);
	struct op *op;
	int rc;

	if (ours && fails(OP_DIR))
		return -1;
	rc = (int)REAL(mkdirat, at, path, mode);
	if (rc == 0 && ours) {
		op = op_new(OP_DIR, rel);
		op->mode = mode & MODES;
		op_done(op);
	}
	return rc;
}

static ssize_t wrote(int fd, const void *data, ssize_t n, off_t off)
{
	char rel[64];
	struct op *op;

	if (n <= 0 || !path_of(fd, "", rel))
		return n;
	op = op_new(OP_WRITE, rel);
	op->off = (uint64_t)off;
	op->len = (size_t)n;
	op->data = malloc(op->len);
	op->durable = (REAL(fcntl, fd, F_GETFL, 0) & O_DSYNC) != 0;
	if (!op->data)
		abort();
	memcpy(op->data, data, op->len);
	op_done(op);
	return n;
}

/* Zeros behind the end are not copied about. */
static ssize_t really_write(int fd, const void *data, size_t len, off_t off)
{
	const uint8_t *p = data;
	struct stat st;

	if (len < (size_t)1 << 20 || p[0] || memcmp(p, p + 1, len - 1) != 0 || fstat(fd, &st) ||
	    st.st_size > off || REAL(ftruncate, fd, off + (off_t)len))
		return REAL(pwrite64, fd, data, len, off);
	return (ssize_t)len;
}

/* Half of it may be there all the same. */
static size_t part(size_t len)
{
	return below(2) ? len / 2 / 512 * 512 : 0;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	char rel[64];
	bool bad = path_of(fd, "", rel) && fails(OP_WRITE);
	size_t want = bad ? part(len) : len;
	ssize_t n = want || !bad ? wrote(fd, data, really_write(fd, data, want, off), off) : 0;

	if (bad)
		errno = fault_errno;
	return bad && (fault_errno == EIO || n <= 0) ? -1 : n;
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	off_t off = REAL(lseek, fd, 0, SEEK_CUR);
	ssize_t sum = 0;

	for (int i = 0; i < count; i++) {
		ssize_t n = pwrite(fd, v[i].iov_base, v[i].iov_len, off + sum);

		if (n < 0)
			return -1;
		sum += n;
	}
	REAL(lseek, fd, off + sum, SEEK_SET);
	return sum;
}

static int synced(enum op_kind kind, int fd, const char *rel)
{
	if (fails(kind))
		return -1; /* and nothing of it is durable */
	(void)fd; /* nor need it be, for this run */
	op_done(op_new(kind, rel));
	return 0;
}

int fsync(int fd)
{
	char rel[64];
	struct stat st;

	if (!path_of(fd, "", rel))
		return (int)REAL(fsync, fd);
	return synced(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? OP_SYNC_DIR : OP_SYNC, fd, rel);
}

int fdatasync(int fd)
{
	return fsync(fd);
}

int syncfs(int fd)
{
	char rel[64];

	return path_of(fd, "", rel) ? synced(OP_SYNC_ALL, fd, rel) : (int)REAL(syncfs, fd);
}

int renameat(int at, const char *from, int at2, const char *to)
{
	char rel[64];
	struct op *op;
	int rc;

	if (path_of(at, from, rel) && faccessat(at, from, F_OK, 0) == 0 && fails(OP_RENAME))
		return -1;
	rc = (int)REAL(renameat, at, from, at2, to);
	if (rc == 0 && path_of(at, from, rel)) {
		op = op_new(OP_RENAME, rel);
		snprintf(op->text2, sizeof(op->text2), "%s", to);
		op_done(op);
	}
	return rc;
}

int unlinkat(int at, const char *path, int flags)
{
	char rel[64];
	int rc = (int)REAL(unlinkat, at, path, flags);

	if (rc == 0 && path_of(at, path, rel))
		op_done(op_new(OP_UNLINK, rel));
	return rc;
}

int fchownat(int at, const char *path, uid_t uid, gid_t gid, int flags)
{
	char rel[64], full[PATH_MAX];
	struct stat st;

	if (!path_of(at, path, rel))
		return (int)REAL(fchownat, at, path, uid, gid, flags);
	snprintf(full, sizeof(full), "%s/%s", top, rel);
	if (lstat(full, &st))
		return -1;
	if (fails(OP_GIVE) || chmod(full, (st.st_mode & MODES) | GIVEN))
		return -1;
	op_done(op_new(OP_GIVE, rel));
	return 0;
}

/* ---- what the power loss leaves ----------------------------------------------------------------- */

static bool is_covered(unsigned i, unsigned end)
{
	const struct op *op = &ops[i];
	bool names = op->kind == OP_DIR || op->kind == OP_FILE || op->kind == OP_RENAME ||
		     op->kind == OP_UNLINK;

	if (op->durable)
		return true;
	for (unsigned k = i + 1; k < end; k++) {
		if (ops[k].kind == OP_SYNC_ALL)
			return true;
		if (ops[k].kind == OP_SYNC_DIR && ops[k].node == (names ? op->dir : op->node))
			return true;
		if (ops[k].kind == OP_SYNC && !names && ops[k].node == op->node)
			return true;
	}
	return false;
}

static struct fs *crash(const struct fs *base, unsigned end, bool power)
{
	static const unsigned chances[] = {0, 1, 4, 7, 8};
	struct fs *f = fs_copy(base);
	unsigned chance = chances[below(5)];

	for (unsigned i = 0; i < end; i++)
		apply(f, &ops[i], !power || is_covered(i, end), chance);
	return f;
}

/* Only what has a name, numbered anew. */
static unsigned compact_into(struct fs *to, struct fs *from, unsigned node)
{
	unsigned here = to->nodes++;

	to->node[here] = from->node[node];
	memset(from->node[node].page, 0, sizeof(from->node[node].page));
	for (unsigned i = 0; i < NODES_MAX; i++)
		if (from->name[i].used && from->name[i].dir == node)
			name_set(to, here, from->name[i].text,
				 compact_into(to, from, from->name[i].node));
	return here;
}

static struct fs *compact(struct fs *from)
{
	struct fs *to = calloc(1, sizeof(*to));

	if (!to)
		abort();
	compact_into(to, from, 0);
	fs_free(from);
	return to;
}

/* ---- to and from a real folder ------------------------------------------------------------------ */

static void put_file(const struct node *n, const char *path)
{
	int fd = (int)REAL(openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 0600);

	if (fd < 0 || REAL(ftruncate, fd, n->size))
		abort();
	for (unsigned p = 0; p < PAGES_MAX && p * PAGE < n->size; p++) {
		size_t len = n->size - p * PAGE < PAGE ? n->size - p * PAGE : PAGE;

		if (n->page[p] && REAL(pwrite64, fd, n->page[p], len, p * PAGE) != (long)len)
			abort();
	}
	close(fd);
}

static void put(const struct fs *f, unsigned node, const char *path)
{
	const struct node *n = &f->node[node];
	char below_it[PATH_MAX];

	if (n->dir && mkdir(path, 0700))
		abort();
	if (!n->dir)
		put_file(n, path);
	for (unsigned i = 0; n->dir && i < NODES_MAX; i++) {
		if (!f->name[i].used || f->name[i].dir != node)
			continue;
		snprintf(below_it, sizeof(below_it), "%s/%s", path, f->name[i].text);
		put(f, f->name[i].node, below_it);
	}
	if (n->given && chmod(path, (n->dir ? 0700 : 0600) | GIVEN))
		abort();
}

static void on_finding(void *arg, const char *line)
{
	(void)arg;
	wrong("the store is damaged", line);
}

static void must_be_whole(const struct fs *f)
{
	if (store_check(top, on_finding, NULL) != 0)
		wrong("the check fails", top);
	for (unsigned i = 0; i < f->nodes; i++)
		if (!f->node[i].given)
			wrong("not all of it is its owner's", top);
}

/* What stands there is as in `f`. */
static void put_away(const struct fs *f, unsigned node, const char *path)
{
	char below_it[PATH_MAX];

	for (unsigned i = 0; f->node[node].dir && i < NODES_MAX; i++) {
		if (!f->name[i].used || f->name[i].dir != node)
			continue;
		snprintf(below_it, sizeof(below_it), "%s/%s", path, f->name[i].text);
		put_away(f, f->name[i].node, below_it);
	}
	if (f->node[node].dir ? rmdir(path) : unlink(path))
		wrong("there is something else", path);
}

/* ---- histories ---------------------------------------------------------------------------------- */

/* The steps of doc/store.md: the power went right after this. */
static const struct step {
	const char *name;
	enum op_kind kind;
	const char *path;
	bool late;
} steps[] = {
    {"G1 make: LABEL.new has its name", OP_FILE, "LABEL.new", false},
    {"G2 make: that is durable", OP_SYNC_DIR, "", false},
    {"G3 make: folder made", OP_DIR, "", false},
    {"G4 make: log half made", OP_FILE, "log/", false},
    {"G5 make: zeros on their way into it", OP_WRITE, "log/", false},
    {"G6 make: they are durable", OP_SYNC, "log/", false},
    {"G7 make: index page written", OP_WRITE, "index/", false},
    {"G8 make: index durable", OP_SYNC, "index/", false},
    {"G9 make: given to its owner", OP_GIVE, "", false},
    {"G10 make: everything durable", OP_SYNC_ALL, "", false},
    {"G11 make: the label's bytes written", OP_WRITE, "LABEL.new", false},
    {"G12 make: they are durable", OP_SYNC, "LABEL.new", false},
    {"G13 make: LABEL has its name", OP_RENAME, "LABEL.new", false},
    {"G14 make: that is durable", OP_SYNC_DIR, "", true},
    {"G15 make: a part of a broken off one removed", OP_UNLINK, "", false},
    {"G16 make: LABEL taken back after an error", OP_RENAME, "LABEL", true},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))
static uint64_t reached[STEPS], kills, powers, made_whole, made_again;

static const enum op_kind may_fail[] = {OP_DIR,  OP_FILE,     OP_WRITE,	   OP_GIVE,
					OP_SYNC, OP_SYNC_DIR, OP_SYNC_ALL, OP_RENAME};
#define MAY_FAIL (sizeof(may_fail) / sizeof(may_fail[0]))

static bool is_at(const struct op *op, const struct step *at)
{
	return op->kind == at->kind && op->late == at->late &&
	       strncmp(op->path, at->path, strlen(at->path)) == 0;
}

static void reach(const struct op *op)
{
	for (size_t i = 0; i < STEPS; i++)
		reached[i] += is_at(op, &steps[i]);
}

/* One step is as likely as another. */
static unsigned pick_end(void)
{
	const struct step *at = &steps[below(STEPS)];
	unsigned hits = 0, end = 0;

	for (unsigned i = 0; i < op_count; i++)
		if (is_at(&ops[i], at) && below(++hits) == 0)
			end = i + 1;
	return hits ? end : op_count ? 1 + (unsigned)below(op_count) : 0;
}

static void plan_fault(void)
{
	fault_in = 0;
	faulted = false;
	if (below(3))
		return;
	fault_kind = may_fail[below(MAY_FAIL)];
	fault_errno = below(2) ? EIO : ENOSPC;
	fault_in = 1 + (unsigned)below(fault_kind == OP_DIR || fault_kind == OP_GIVE ? 270 : 3);
}

static int make(struct fs *base)
{
	struct store_conf c;
	const struct store_owner owner = {.uid = 1, .gid = 1};
	char err[256] = "";
	int rc;

	store_conf_default(&c);
	c.log_half_bytes = 4 << 20;
	c.index_map_bytes = 16 << 20;
	op_count = 0;
	named = false;
	now = fs_copy(base);
	recording = true;
	rc = store_create_at(top, &c, &owner, err, sizeof(err));
	recording = false;
	if (rc && !faulted)
		wrong("it cannot be made", err);
	if (rc == 0 && faulted)
		wrong("an error was passed over", "");
	if (trace)
		printf("-- made: %d %s\n", rc, err);
	return rc;
}

static void ops_free(void)
{
	for (unsigned i = 0; i < op_count; i++)
		free(ops[i].data);
	op_count = 0;
	fs_free(now);
}

/* False: it is whole, and the history ends. */
static bool life(struct fs **base, bool last)
{
	struct fs *after;
	bool power = below(4) != 0;
	unsigned end;
	int rc;

	put(*base, 0, top);
	if (name_find(*base, 0, "LABEL")) {
		must_be_whole(*base);
		put_away(*base, 0, top);
		return false;
	}
	made_again += (*base)->nodes > 1;
	plan_fault();
	if (last)
		fault_in = 0;
	rc = make(*base);
	end = last ? op_count : pick_end();
	if (end)
		reach(&ops[end - 1]);
	powers += power;
	kills += !power;
	after = crash(*base, end, power);
	if (rc == 0 && end == op_count && !name_find(after, 0, "LABEL"))
		wrong("it was made, and is gone", "");
	made_whole += rc == 0 && end == op_count;
	if (trace)
		printf("-- %s after %u of %u\n", power ? "power loss" : "killed", end, op_count);
	put_away(now, 0, top);
	ops_free();
	fs_free(*base);
	*base = compact(after);
	return true;
}

static void history(uint64_t seed)
{
	struct fs *base = calloc(1, sizeof(*base));

	if (!base)
		abort();
	seed_now = state = seed;
	base->nodes = 1;
	base->node[0] = (struct node){.used = true, .dir = true, .mode = 0700};
	for (unsigned i = 0; life(&base, i == LIVES_MAX); i++)
		;
	fs_free(base);
}

static unsigned show(void)
{
	static const char *const kind_name[OP_KINDS] = {
	    [OP_DIR] = "mkdir",	      [OP_FILE] = "create",	    [OP_WRITE] = "write",
	    [OP_GIVE] = "chown",      [OP_SYNC] = "fsync",	    [OP_SYNC_DIR] = "folder's fsync",
	    [OP_SYNC_ALL] = "syncfs", [OP_RENAME] = "rename"};
	unsigned missing = 0;

	for (size_t i = 0; i < STEPS; i++) {
		printf("crash  %-45s %8llu\n", steps[i].name, (unsigned long long)reached[i]);
		missing += reached[i] == 0;
	}
	for (size_t i = 0; i < MAY_FAIL; i++)
		for (unsigned e = 0; e < 2; e++) {
			uint64_t n = fault_count[may_fail[i]][e];

			printf("fault  %-15s %-29s %8llu\n", kind_name[may_fail[i]],
			       e ? "EIO" : "ENOSPC", (unsigned long long)n);
			missing += n == 0;
		}
	printf("count  power losses %llu, kills %llu, made whole %llu, made again %llu (mark %llu)\n",
	       (unsigned long long)powers, (unsigned long long)kills,
	       (unsigned long long)made_whole, (unsigned long long)made_again,
	       (unsigned long long)trace_mark_count("store.made_again"));
	if (missing)
		printf("%u kinds never happened\n", missing);
	return missing;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, count = 1;
	char work[56];
	unsigned missing;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
			count = strtoull(argv[++i], NULL, 0);
		else
			return 2;
	}
	if (!gone_with(work, sizeof(work), "hf-making"))
		return 2;
	snprintf(top, sizeof(top), "%s/s", work);
	log_open("making", LOG_L_ERR);
	umask(077);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	for (uint64_t i = 0; i < count; i++)
		history(seed + i);
	remove(work);
	missing = show();
	printf("%llu passed, 0 failed\n", (unsigned long long)count);
	return count >= 100 && missing;
}
