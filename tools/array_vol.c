/* array_vol.c - the volatile caches and the image behind them; see array_vol.h. */
#include "array_vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define SECTOR 512u

uint64_t vol_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* ---- life ---------------------------------------------------------------------------------- */
static int load_pr(struct vol *v)
{
	char text[8192];
	FILE *f = fopen(v->pr_file, "re");
	size_t n;

	pr_init(&v->pr);
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	return pr_load(&v->pr, text);
}

/* Registrations outlive a restart of the array (APTPL). */
static void save_pr(struct vol *v)
{
	char text[8192], *tmp;
	size_t n = pr_save(&v->pr, text, sizeof(text));
	FILE *f;

	if (asprintf(&tmp, "%s.new", v->pr_file) < 0)
		return;
	f = fopen(tmp, "we");
	if (f) {
		if (fwrite(text, 1, n, f) == n && fclose(f) == 0)
			rename(tmp, v->pr_file);
	}
	free(tmp);
}

int vol_open(struct vol *v, const char *name, const char *image)
{
	struct stat st;

	memset(v, 0, sizeof(*v));
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->image = mem_strdup(image);
	if (asprintf(&v->pr_file, "%s.pr", image) < 0)
		return -ENOMEM;
	v->fd = open(image, O_RDWR | O_CLOEXEC);
	if (v->fd < 0 || fstat(v->fd, &st) < 0)
		return -errno;
	v->size = (uint64_t)st.st_size;
	pthread_mutex_init(&v->lock, NULL);
	return load_pr(v);
}

void vol_close(struct vol *v)
{
	for (unsigned i = 0; i < PR_PATHS_MAX; i++) {
		vol_drop(v, i);
		free(v->cache[i].page);
		free(v->cache[i].list);
	}
	close(v->fd);
	free(v->image);
	free(v->pr_file);
	pthread_mutex_destroy(&v->lock);
}

/* ---- the cache of one path ------------------------------------------------------------------ */
static struct vol_page *cached(const struct vol_cache *c, uint64_t number)
{
	return c->page ? c->page[number] : NULL;
}

static struct vol_page *cached_or_new(struct vol *v, struct vol_cache *c, uint64_t number)
{
	if (!c->page)
		c->page = mem_zalloc(v->size / VOL_PAGE + 1, sizeof(*c->page));
	if (c->page[number])
		return c->page[number];
	if (c->count == c->room) {
		c->room = c->room ? c->room * 2 : 256;
		c->list = mem_realloc(c->list, c->room * sizeof(*c->list));
	}
	c->list[c->count++] = (uint32_t)number;
	c->page[number] = mem_alloc(sizeof(struct vol_page));
	c->page[number]->dirty = 0;
	return c->page[number];
}

static void forget(struct vol_cache *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->page[c->list[i]]);
		c->page[c->list[i]] = NULL;
	}
	c->count = 0;
}

static int read_image(struct vol *v, void *buf, size_t len, uint64_t off)
{
	ssize_t n = pread(v->fd, buf, len, (off_t)off);

	if (n < 0)
		return -errno;
	memset((char *)buf + n, 0, len - (size_t)n);
	return 0;
}

static int write_image(struct vol *v, const uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(v->fd, buf, len, (off_t)off);

		if (n < 0)
			return -errno;
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Lays the path's own sectors over what was read. */
static void overlay(const struct vol_cache *c, uint8_t *buf, size_t len, uint64_t off)
{
	for (uint64_t s = off / SECTOR; s * SECTOR < off + len; s++) {
		const struct vol_page *p = cached(c, s * SECTOR / VOL_PAGE);
		uint64_t from = s * SECTOR < off ? off : s * SECTOR;
		uint64_t to = (s + 1) * SECTOR > off + len ? off + len : (s + 1) * SECTOR;

		if (!p) { /* nothing of this page: go on with the next */
			s = (s * SECTOR / VOL_PAGE + 1) * (VOL_PAGE / SECTOR) - 1;
			continue;
		}
		if (p->dirty >> (s % (VOL_PAGE / SECTOR)) & 1)
			memcpy(buf + (from - off), p->data + from % VOL_PAGE, to - from);
	}
}

/* A write of part of a sector takes the rest of it from what the path sees now. */
static int store_sector(struct vol *v, struct vol_cache *c, uint64_t sector, const uint8_t *from,
			size_t at, size_t len)
{
	struct vol_page *p = cached_or_new(v, c, sector * SECTOR / VOL_PAGE);
	unsigned bit = (unsigned)(sector % (VOL_PAGE / SECTOR));
	uint8_t *to = p->data + bit * SECTOR;
	int err;

	if (len < SECTOR && !(p->dirty >> bit & 1)) {
		err = read_image(v, to, SECTOR, sector * SECTOR);
		if (err)
			return err;
	}
	memcpy(to + at, from, len);
	p->dirty = (uint8_t)(p->dirty | 1u << bit);
	return 0;
}

static int store(struct vol *v, struct vol_cache *c, const uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		size_t at = (size_t)(off % SECTOR), n = SECTOR - at;
		int err;

		if (n > len)
			n = len;
		err = store_sector(v, c, off / SECTOR, buf, at, n);
		if (err)
			return err;
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* Runs of dirty sectors of one page go to the image. */
static int write_page(struct vol *v, const struct vol_page *p, uint64_t number)
{
	unsigned sectors = VOL_PAGE / SECTOR;

	for (unsigned a = 0, b; a < sectors; a = b) {
		int err;

		for (b = a; b < sectors && (p->dirty >> b & 1); b++)
			;
		if (b == a) {
			b++;
			continue;
		}
		err = write_image(v, p->data + a * SECTOR, (b - a) * SECTOR,
				  number * VOL_PAGE + a * SECTOR);
		if (err)
			return err;
	}
	return 0;
}

static int flush_cache(struct vol *v, struct vol_cache *c)
{
	for (size_t i = 0; i < c->count; i++) {
		int err = write_page(v, c->page[c->list[i]], c->list[i]);

		if (err)
			return err;
	}
	forget(c);
	return 0;
}

/* ---- what paths do ---------------------------------------------------------------------------- */
static int may_write(const struct vol *v, unsigned path, uint64_t *key, uint64_t *at_ns)
{
	*at_ns = vol_now_ns();
	*key = v->pr.key[path];
	if (v->off[path])
		return -EIO;
	return pr_may_write(&v->pr, path) ? 0 : -EBADE;
}

int64_t vol_read(struct vol *v, unsigned path, void *buf, size_t len, uint64_t off)
{
	int64_t res;

	if (off >= v->size)
		return 0;
	if (len > v->size - off)
		len = (size_t)(v->size - off);
	pthread_mutex_lock(&v->lock);
	res = v->off[path] ? -EIO : read_image(v, buf, len, off);
	if (!res) {
		overlay(&v->cache[path], buf, len, off);
		res = (int64_t)len;
	}
	pthread_mutex_unlock(&v->lock);
	return res;
}

int64_t vol_write(struct vol *v, unsigned path, const void *buf, size_t len, uint64_t off,
		  bool through, uint64_t *key, uint64_t *at_ns)
{
	int64_t res;

	if (off >= v->size || len > v->size - off)
		return -ENOSPC;
	pthread_mutex_lock(&v->lock);
	res = may_write(v, path, key, at_ns);
	if (!res)
		res = store(v, &v->cache[path], buf, len, off);
	/* FUA: this and, what is more than asked, everything before it. */
	if (!res && through)
		res = flush_cache(v, &v->cache[path]);
	pthread_mutex_unlock(&v->lock);
	return res ? res : (int64_t)len;
}

int vol_flush(struct vol *v, unsigned path, uint64_t *key, uint64_t *at_ns)
{
	int res;

	pthread_mutex_lock(&v->lock);
	res = may_write(v, path, key, at_ns);
	if (!res)
		res = flush_cache(v, &v->cache[path]);
	pthread_mutex_unlock(&v->lock);
	return res;
}

static uint64_t drop_locked(struct vol *v, unsigned path)
{
	struct vol_cache *c = &v->cache[path];
	uint64_t lost = 0;

	for (size_t i = 0; i < c->count; i++)
		lost += (uint64_t)__builtin_popcount(c->page[c->list[i]]->dirty) * SECTOR;
	forget(c);
	return lost;
}

uint64_t vol_drop(struct vol *v, unsigned path)
{
	uint64_t lost;

	pthread_mutex_lock(&v->lock);
	lost = drop_locked(v, path);
	pthread_mutex_unlock(&v->lock);
	return lost;
}

void vol_set_off(struct vol *v, unsigned path, bool off)
{
	pthread_mutex_lock(&v->lock);
	v->off[path] = off;
	pthread_mutex_unlock(&v->lock);
}

bool vol_is_off(struct vol *v, unsigned path)
{
	bool off;

	pthread_mutex_lock(&v->lock);
	off = v->off[path];
	pthread_mutex_unlock(&v->lock);
	return off;
}

enum pr_result vol_pr(struct vol *v, unsigned path, vol_pr_fn *fn, uint64_t key, uint64_t victim,
		      uint64_t *at_ns)
{
	enum pr_result res;

	pthread_mutex_lock(&v->lock);
	*at_ns = vol_now_ns();
	res = fn(&v->pr, path, key, victim);
	for (unsigned i = 0; i < PR_PATHS_MAX; i++)
		if (!pr_may_write(&v->pr, i))
			drop_locked(v, i);
	if (res == PR_OK)
		save_pr(v);
	pthread_mutex_unlock(&v->lock);
	return res;
}

void vol_pr_state(struct vol *v, struct pr *out)
{
	pthread_mutex_lock(&v->lock);
	*out = v->pr;
	pthread_mutex_unlock(&v->lock);
}

bool vol_pr_attention(struct vol *v, unsigned path)
{
	bool had;

	pthread_mutex_lock(&v->lock);
	had = pr_take_attention(&v->pr, path);
	pthread_mutex_unlock(&v->lock);
	return had;
}
