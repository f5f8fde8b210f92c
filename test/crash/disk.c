/* disk.c - see disk.h: files, their two images, and what a power loss leaves of the newer one.
 *
 * What may survive: a page of the page cache is one thing, so of the writes to one page a first
 * part survives, perhaps with the sectors of one more; different pages are independent, so writes
 * survive in any order.  A cut is a transaction of the file system: what comes before it cannot
 * come back once it survived, and what comes after it cannot survive without it.  Names are on
 * their own until their folder is synced. */
#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "diskfile.h"

#define SECTOR 512U

const char *const place_name[PLACES] = {
    "between",       "log-write",      "log-landed",  "index-write",   "index-sync",
    "index-synced",  "meta-write",     "meta-landed", "object-make",   "object-write",
    "object-cut",    "object-reserve", "object-sync", "object-synced", "folder-sync",
    "folder-synced", "all-sync",       "all-synced",  "object-unlink", "log-read",
    "object-read"};
const char *const fault_name[FAULTS] = {"none", "EIO", "ENOSPC", "short"};
const char *const fate_name[FATES] = {"kept",     "dropped",  "in-part",   "reordered",
				      "torn",     "cut-lost", "name-lost", "name-back",
				      "log-torn", "log-lost", "log-kept"};

uint64_t *disk_fates;

static struct file *file[FILES_MAX];
static unsigned files;
/* The images of an object that goes are kept for the next one. */
static struct file *spare[FILES_MAX];
static unsigned spares;
static unsigned loaded; /* the first so many files were */
static uint64_t free_blocks = UINT64_MAX, next_seq = 1;
static uint64_t state = 1;

/* Durable batches, for the rot. */
struct log_write {
	struct file *f;
	uint64_t off;
	size_t len;
};
static struct log_write log_writes[LOG_WRITES_MAX];
static unsigned log_write_count;

uint64_t dice(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

void dice_seed(uint64_t seed)
{
	state = seed;
}

static void fated(enum fate f)
{
	if (disk_fates)
		disk_fates[f]++;
}

/* ---- files --------------------------------------------------------------------------------------
 */

static uint8_t *image(size_t room)
{
	void *p = disk_real_map(room);

	if (!p)
		abort();
	return p;
}

static enum file_kind kind_of(const char *path)
{
	if (strncmp(path, "log/", 4) == 0)
		return FILE_LOG;
	if (strncmp(path, "index/", 6) == 0)
		return FILE_INDEX;
	return strncmp(path, "objects/", 8) == 0 ? FILE_OBJECT : FILE_OTHER;
}

struct file *file_find(const char *path)
{
	for (unsigned i = 0; i < files; i++)
		if (strcmp(file[i]->path, path) == 0)
			return file[i];
	return NULL;
}

struct file *file_make(const char *path)
{
	static const size_t rooms[] = {[FILE_LOG] = LOG_ROOM,
				       [FILE_INDEX] = INDEX_ROOM,
				       [FILE_OBJECT] = OBJECT_ROOM,
				       [FILE_OTHER] = DISK_BLOCK};
	struct file *f;

	if (files == FILES_MAX)
		abort();
	if (kind_of(path) == FILE_OBJECT && spares) {
		f = spare[--spares];
		*f = (struct file){.now = f->now, .disk = f->disk};
	} else {
		f = (struct file *)(void *)image((sizeof(*f) + 63) / 64 * 64);
	}
	file[files++] = f;
	snprintf(f->path, sizeof(f->path), "%s", path);
	f->kind = kind_of(path);
	f->room = rooms[f->kind];
	if (f->now)
		return f;
	f->now = image(f->room);
	/* The log is only ever written synchronously: one image is both. */
	f->disk = f->kind == FILE_LOG ? f->now : image(f->room);
	return f;
}

void file_original(struct file *f)
{
	uint8_t *copy = image(f->size);

	memcpy(copy, f->now, f->size);
	f->original = copy;
	f->original_size = f->high = f->size;
	f->live = f->durable = true;
}

static void image_reset(struct file *f, uint8_t *to)
{
	if (f->high > f->original_size)
		memset(to + f->original_size, 0, f->high - f->original_size);
	memcpy(to, f->original, f->original_size);
}

void disk_reset(void)
{
	if (!loaded)
		loaded = files;
	for (unsigned i = loaded; i < files; i++) {
		struct file *f = file[i];

		memset(f->now, 0, f->high);
		memset(f->disk, 0, f->high);
		spare[spares++] = f;
	}
	files = loaded;
	for (unsigned i = 0; i < files; i++) {
		struct file *f = file[i];

		image_reset(f, f->now);
		if (f->disk != f->now)
			image_reset(f, f->disk);
		f->size = f->disk_size = f->high = f->original_size;
		f->first = f->last = NULL;
		f->live = f->durable = true;
		f->log_buf = NULL;
		memset(f->taken, 0, sizeof(f->taken));
		memset(f->leaving, 0, sizeof(f->leaving));
		memset(f->written, 0, sizeof(f->written));
		for (uint64_t p = 0; p * DISK_BLOCK < f->size; p++)
			f->written[p / 8] |= (uint8_t)(1U << p % 8);
	}
	free_blocks = UINT64_MAX;
	for (unsigned i = 0; i < files; i++)
		file_take(file[i], 0, file[i]->size);
	next_seq = 1;
	log_write_count = 0;
	disk_fds_gone();
}

struct file *file_nth(unsigned i)
{
	return i < files ? file[i] : NULL;
}

/* ---- blocks -------------------------------------------------------------------------------------
 */

static bool bit(const uint8_t *map, uint64_t i)
{
	return map[i / 8] >> (i % 8) & 1;
}

static bool block_take(struct file *f, uint64_t page)
{
	f->leaving[page / 8] &= (uint8_t) ~(1U << page % 8);
	if (f->kind == FILE_LOG || f->kind == FILE_OTHER || bit(f->taken, page))
		return true;
	if (free_blocks == 0)
		return false;
	if (free_blocks != UINT64_MAX)
		free_blocks--;
	f->taken[page / 8] |= (uint8_t)(1U << page % 8);
	return true;
}

static void block_leave(struct file *f, uint64_t p)
{
	f->leaving[p / 8] &= (uint8_t) ~(1U << p % 8);
	f->taken[p / 8] &= (uint8_t) ~(1U << p % 8);
	if (free_blocks != UINT64_MAX)
		free_blocks++;
}

static void blocks_leave(struct file *f)
{
	for (uint64_t p = 0; p < f->room / DISK_BLOCK; p++)
		if (bit(f->taken, p))
			block_leave(f, p);
}

void file_name_durable(struct file *f)
{
	f->durable = f->live;
	if (!f->live)
		blocks_leave(f);
}

/* Blocks given up by an unlink or a cut are to be had again when that is durable; a file system
 * that runs out sees to it. */
static void journal_commit(void)
{
	for (unsigned i = 0; i < files; i++) {
		file_name_durable(file[i]);
		for (const struct pending *p = file[i]->first; p; p = p->next)
			if (p->cut) {
				file_synced(file[i], UINT64_MAX);
				break;
			}
	}
}

/* How many of these bytes find room: all, or up to the first block that does not. */
size_t file_take(struct file *f, uint64_t off, size_t len)
{
	if (off + len > f->room)
		abort(); /* a history that needs more must say so: OBJECT_ROOM and the like */
	for (uint64_t p = off / DISK_BLOCK; p * DISK_BLOCK < off + len; p++) {
		if (block_take(f, p))
			continue;
		journal_commit();
		if (!block_take(f, p))
			return p * DISK_BLOCK > off ? p * DISK_BLOCK - off : 0;
	}
	return len;
}

uint64_t file_blocks(const struct file *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(f->taken); i++)
		n += (unsigned)__builtin_popcount(f->taken[i]);
	return n;
}

void disk_set_free(uint64_t blocks)
{
	free_blocks = blocks;
}

uint64_t disk_free(void)
{
	return free_blocks;
}

/* ---- writes -------------------------------------------------------------------------------------
 */

static void touched(struct file *f, uint64_t end)
{
	if (end > f->high)
		f->high = end;
}

static void pending_add(struct file *f, bool cut, uint64_t off, const void *data, size_t len)
{
	struct pending *p = malloc(sizeof(*p) + len);

	if (!p)
		abort();
	*p = (struct pending){.cut = cut, .off = off, .len = len, .seq = next_seq++};
	if (len)
		memcpy(p->data, data, len);
	if (f->last)
		f->last->next = p;
	else
		f->first = p;
	f->last = p;
}

void file_write(struct file *f, uint64_t off, const void *data, size_t len)
{
	if (len == 0)
		return;
	pending_add(f, false, off, data, len);
	memcpy(f->now + off, data, len);
	touched(f, off + len);
	if (off + len > f->size)
		f->size = off + len;
}

void file_cut(struct file *f, uint64_t size)
{
	pending_add(f, true, size, NULL, 0);
	if (size < f->size)
		memset(f->now + size, 0, f->size - size);
	f->size = size;
	for (uint64_t b = (size + DISK_BLOCK - 1) / DISK_BLOCK; b < f->room / DISK_BLOCK; b++)
		if (bit(f->taken, b))
			f->leaving[b / 8] |= (uint8_t)(1U << b % 8);
}

void file_unlink(struct file *f)
{
	f->live = false;
}

/* Made again after an unlink that may come back: begins empty. */
void file_remake(struct file *f)
{
	if (f->size || f->first || f->disk_size)
		file_cut(f, 0);
	f->live = true;
}

static void disk_write(struct file *f, uint64_t off, const uint8_t *data, size_t len)
{
	memcpy(f->disk + off, data, len);
	touched(f, off + len);
	for (uint64_t p = off / DISK_BLOCK; p * DISK_BLOCK < off + len; p++)
		f->written[p / 8] |= (uint8_t)(1U << p % 8);
	if (off + len > f->disk_size)
		f->disk_size = off + len;
}

static void disk_cut(struct file *f, uint64_t size)
{
	for (uint64_t p = (size + DISK_BLOCK - 1) / DISK_BLOCK; p * DISK_BLOCK < f->disk_size; p++)
		f->written[p / 8] &= (uint8_t) ~(1U << p % 8);
	if (size < f->disk_size)
		memset(f->disk + size, 0, f->disk_size - size);
	f->disk_size = size;
}

static void pending_lands(struct file *f, const struct pending *p)
{
	if (p->cut)
		disk_cut(f, p->off);
	else
		disk_write(f, p->off, p->data, p->len);
}

static struct pending *pending_take(struct file *f)
{
	struct pending *p = f->first;

	f->first = p->next;
	if (!f->first)
		f->last = NULL;
	return p;
}

uint64_t disk_seq(void)
{
	return next_seq;
}

/* Everything written before `upto` is on the device. */
void file_synced(struct file *f, uint64_t upto)
{
	while (f->first && f->first->seq < upto) {
		struct pending *p = pending_take(f);

		pending_lands(f, p);
		for (uint64_t b = 0; p->cut && b < f->room / DISK_BLOCK; b++)
			if (bit(f->leaving, b))
				block_leave(f, b);
		free(p);
	}
}

static void pending_drop(struct file *f)
{
	while (f->first)
		free(pending_take(f));
}

/* The last write alone, by sectors: of a synchronous write that failed, or that was under way. */
static void last_lands_torn(struct file *f, const struct pending *p)
{
	for (size_t at = 0; at < p->len;) {
		size_t n = SECTOR - (p->off + at) % SECTOR;

		n = n > p->len - at ? p->len - at : n;
		if (below(2))
			disk_write(f, p->off + at, p->data + at, n);
		at += n;
	}
}

static struct pending *pending_last_take(struct file *f)
{
	struct pending **at = &f->first, *p, *before = NULL;

	while ((*at)->next) {
		before = *at;
		at = &(*at)->next;
	}
	p = *at;
	*at = NULL;
	f->last = before;
	return p;
}

void file_last_synced(struct file *f, bool failed)
{
	struct pending *p = pending_last_take(f);

	if (failed)
		last_lands_torn(f, p);
	else
		pending_lands(f, p);
	free(p);
}

/* ---- the power loss
 * ------------------------------------------------------------------------------ */

struct landing {
	struct file *f;
	unsigned count, from,
	    to;               /* writes from..to are up to each page; before: landed; after: lost */
	unsigned stop_one_in; /* a page's later writes are lost with this chance at each */
	bool kept_late, lost_early, torn;
	uint8_t stopped[OBJECT_PAGES_MAX / 8];
};

static void land_page(struct landing *l, uint64_t off, const uint8_t *data, size_t len)
{
	uint64_t page = off / DISK_BLOCK;
	struct pending one;

	if (page >= OBJECT_PAGES_MAX)
		abort();
	if (bit(l->stopped, page))
		return;
	if (!l->stop_one_in || below(l->stop_one_in)) {
		disk_write(l->f, off, data, len);
		l->kept_late |= l->lost_early;
		return;
	}
	l->stopped[page / 8] |= (uint8_t)(1U << page % 8);
	l->lost_early = true;
	if (below(2) || len <= SECTOR)
		return;
	one = (struct pending){.off = off, .len = len};
	for (size_t at = 0; at < len;) {
		size_t n = SECTOR - (off + at) % SECTOR;

		n = n > len - at ? len - at : n;
		if (below(2)) {
			disk_write(l->f, one.off + at, data + at, n);
			l->torn = true;
		}
		at += n;
	}
}

static void land_pages(struct landing *l, const struct pending *p)
{
	for (size_t at = 0; at < p->len;) {
		size_t n = DISK_BLOCK - (p->off + at) % DISK_BLOCK;

		n = n > p->len - at ? p->len - at : n;
		land_page(l, p->off + at, p->data + at, n);
		at += n;
	}
}

/* The cuts are transactions in order: some first part of them survived.  A failed sync loses data,
 * but no transaction, or the file system would have stopped. */
static void landing_cuts(struct landing *l, bool all)
{
	unsigned cuts = 0, keep, i = 0;

	for (const struct pending *p = l->f->first; p; p = p->next) {
		l->count++;
		cuts += p->cut;
	}
	keep = all ? cuts : (unsigned)below(cuts + 1);
	l->from = 0;
	l->to = l->count;
	cuts = 0;
	for (const struct pending *p = l->f->first; p; p = p->next, i++) {
		if (!p->cut)
			continue;
		if (cuts++ < keep) {
			l->from = i + 1;
		} else {
			l->to = i;
			fated(FATE_CUT_LOST);
			return;
		}
	}
}

static void land(struct file *f, bool all_cuts)
{
	static const unsigned chances[] = {0, 1, 2, 3, 8};
	struct landing l = {.f = f, .stop_one_in = chances[below(5)]};
	unsigned i = 0;

	if (!f->first)
		return;
	landing_cuts(&l, all_cuts);
	for (const struct pending *p = f->first; p && i < l.to; p = p->next, i++) {
		if (i < l.from || p->cut)
			pending_lands(f, p);
		else
			land_pages(&l, p);
	}
	if (l.torn)
		fated(FATE_TORN);
	if (l.kept_late)
		fated(FATE_REORDERED);
	fated(l.stop_one_in == 0 && l.to == l.count ? FATE_KEPT
	      : l.stop_one_in == 1 && l.from == 0   ? FATE_DROPPED
						    : FATE_PART);
	pending_drop(f);
}

/* A sync that failed: something may have landed, the rest is marked clean and never written, while
 * the page cache goes on showing it. */
void file_sync_failed(struct file *f)
{
	land(f, true);
}

static void land_log(struct file *f, bool torn_allowed)
{
	struct pending one = {.off = f->log_off, .len = f->log_len};
	unsigned how = (unsigned)below(torn_allowed ? 4 : 2);

	if (how == 0) {
		fated(FATE_LOG_LOST);
	} else if (how == 1) {
		fated(FATE_LOG_KEPT);
		disk_write(f, one.off, f->log_buf, one.len);
	} else {
		size_t unit = below(2) ? SECTOR : DISK_BLOCK;

		fated(FATE_LOG_TORN);
		for (size_t at = 0; at < one.len; at += unit)
			if (below(2))
				disk_write(f, one.off + at, f->log_buf + at, unit);
	}
	f->log_buf = NULL;
}

static void name_settles(struct file *f)
{
	bool yes = f->durable;

	if (f->durable != f->live && below(2))
		yes = f->live;
	if (f->live && !yes)
		fated(FATE_NAME_LOST);
	if (!f->live && yes)
		fated(FATE_NAME_BACK);
	f->live = f->durable = yes;
}

/* The page cache is what the device has; blocks that were only reserved are free again. */
static void file_reread(struct file *f)
{
	uint64_t most = f->size > f->disk_size ? f->size : f->disk_size;

	if (f->now != f->disk && most)
		memcpy(f->now, f->disk, most);
	f->size = f->disk_size;
	blocks_leave(f);
	for (uint64_t p = 0; f->live && p * DISK_BLOCK < f->size; p++)
		if (bit(f->written, p) && !block_take(f, p))
			abort();
}

static void file_gone(struct file *f)
{
	memset(f->disk, 0, f->disk_size);
	memset(f->now, 0, f->size);
	memset(f->written, 0, sizeof(f->written));
	f->size = f->disk_size = 0;
}

void disk_power_loss(void)
{
	for (unsigned i = 0; i < files; i++) {
		struct file *f = file[i];

		if (f->log_buf)
			land_log(f, true);
		land(f, false);
		name_settles(f);
		if (!f->live)
			file_gone(f);
		file_reread(f);
	}
	disk_fds_gone();
}

void disk_process_gone(void)
{
	for (unsigned i = 0; i < files; i++)
		if (file[i]->log_buf) /* the kernel has the write, or never got it */
			land_log(file[i], false);
	disk_fds_gone();
}

/* ---- the log
 * ------------------------------------------------------------------------------------- */

void file_log_begin(struct file *f, const void *buf, size_t len, uint64_t off)
{
	f->log_buf = buf;
	f->log_len = len;
	f->log_off = off;
}

static void log_note(struct file *f, uint64_t off, size_t len)
{
	unsigned n = 0;

	for (unsigned i = 0; i < log_write_count; i++) {
		const struct log_write *w = &log_writes[i];

		if (w->f == f && w->off < off + len && off < w->off + w->len)
			continue; /* overwritten */
		log_writes[n++] = *w;
	}
	if (n == LOG_WRITES_MAX)
		abort();
	log_writes[n++] = (struct log_write){.f = f, .off = off, .len = len};
	log_write_count = n;
}

ssize_t file_log_end(struct file *f, enum fault fault, bool durable)
{
	size_t len = f->log_len;
	const uint8_t *buf = f->log_buf;

	f->log_buf = NULL;
	if (f->log_off + len > f->room)
		abort();
	if (fault == FAULT_SHORT)
		len = len / 2 / SECTOR * SECTOR;
	if (fault == FAULT_EIO || fault == FAULT_ENOSPC) {
		size_t part = below(2) ? 0 : len / SECTOR * below(2) * SECTOR;

		if (part)
			disk_write(f, f->log_off, buf, part);
		errno = fault == FAULT_EIO ? EIO : ENOSPC;
		return -1;
	}
	if (!durable && below(2)) /* it was in the page cache only, and the power will go */
		return (ssize_t)len;
	disk_write(f, f->log_off, buf, len);
	if (f->disk_size > f->size)
		f->size = f->disk_size;
	if (fault == FAULT_NONE)
		log_note(f, f->log_off, len);
	return (ssize_t)len;
}

bool disk_rot(void)
{
	const struct log_write *w;

	if (log_write_count < 2)
		return false;
	w = &log_writes[below(log_write_count - 1)];
	w->f->disk[w->off + below(w->len > 600 ? 600 : w->len)] ^= (uint8_t)(1 + below(255));
	return true;
}
