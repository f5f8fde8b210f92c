/* events_file.c - the files of the event log: appended, turned over, read back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "ctl/events.h"
#include "io/folder.h"

#define SUM_LEN	 9 /* eight hex digits and a space */
#define FILE_MAX (512U << 20)

static void part_path(char *out, size_t size, const char *dir, unsigned part)
{
	if (part)
		snprintf(out, size, "%s/events.%u", dir, part);
	else
		snprintf(out, size, "%s/events", dir);
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* The event of a line without its newline: a new reference, or NULL. */
static json_t *line_decode(const char *line, size_t len)
{
	char sum[SUM_LEN + 1];

	if (len < SUM_LEN + 2 || line[SUM_LEN - 1] != ' ')
		return NULL;
	snprintf(sum, sizeof(sum), "%08x ", crc32c(0, line + SUM_LEN, len - SUM_LEN));
#ifndef HF_MUTANT_EVENTS_NO_SUM
	if (memcmp(sum, line, SUM_LEN) != 0)
		return NULL;
#endif
	return json_loadb(line + SUM_LEN, len - SUM_LEN, 0, NULL);
}

/* Calls `take` for each line: its event (borrowed), or NULL when it is damaged. */
typedef void line_taker(void *arg, json_t *event);

/* Returns the length of all whole lines. */
static size_t each_line(const char *text, size_t len, line_taker *take, void *arg)
{
	size_t at = 0;
	const char *end;

	while ((end = memchr(text + at, '\n', len - at)) != NULL) {
		size_t n = (size_t)(end - (text + at));
		json_t *event = line_decode(text + at, n);

		take(arg, event);
		json_decref(event);
		at += n + 1;
	}
	return at;
}

/* The whole file in memory, *len bytes; NULL with errno. */
static char *slurp(int fd, size_t *len)
{
	struct stat st;
	char *text;
	ssize_t n = 0;
	int err;

	*len = 0;
	if (fstat(fd, &st) < 0)
		return NULL;
	if (st.st_size > FILE_MAX) {
		errno = EFBIG;
		return NULL;
	}
	text = mem_alloc((size_t)st.st_size + 1);
	while (*len < (size_t)st.st_size &&
	       (n = pread(fd, text + *len, (size_t)st.st_size - *len, (off_t)*len)) > 0)
		*len += (size_t)n;
	if (n >= 0)
		return text;
	err = errno;
	free(text);
	errno = err;
	return NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct reading {
	json_t *list;
	struct events_seen *seen;
};

static void take_event(void *arg, json_t *event)
{
	struct reading *r = arg;

	if (event) {
		json_array_append(r->list, event);
		r->seen->lines++;
	} else {
		r->seen->damaged++;
	}
}

int events_read_file(const char *path, json_t *list, struct events_seen *seen)
{
	struct reading r = {.list = list, .seen = seen};
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	size_t len;
	char *text;

	if (fd < 0)
		return -errno;
	text = slurp(fd, &len);
	if (text)
		seen->torn = each_line(text, len, take_event, &r) < len;
	else
		rc = -errno;
	free(text);
	close(fd);
	return rc;
}

static ino_t present_ino(const char *dir)
{
	char path[600];
	struct stat st;

	part_path(path, sizeof(path), dir, 0);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static int read_parts(const char *dir, json_t *list, struct events_seen *seen)
{
	char path[600];

	for (unsigned part = EVENTS_PARTS; part-- > 0;) {
		int rc;

		part_path(path, sizeof(path), dir, part);
		rc = events_read_file(path, list, seen);
		if (rc && rc != -ENOENT)
			return rc;
		if (seen->torn && part) { /* a part is turned over whole */
			seen->torn = false;
			seen->damaged++;
		}
	}
	return 0;
}

/* Turned over while it is read, a part would be passed over: then all are read again. */
int events_read_dir(const char *dir, json_t *list, struct events_seen *seen)
{
	const struct events_seen was = *seen;
	size_t n = json_array_size(list);
	ino_t before;
	int rc;

	for (unsigned i = 0;; i++) {
		before = present_ino(dir);
		rc = read_parts(dir, list, seen);
		if (rc || i == 10 || present_ino(dir) == before)
			return rc;
		while (json_array_size(list) > n)
			json_array_remove(list, json_array_size(list) - 1);
		*seen = was;
	}
}

/* ---- writing -------------------------------------------------------------------------------- */

static void take_number(void *arg, json_t *event)
{
	struct events_file *f = arg;
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));

	/* A damaged line had a number too: none is given twice. */
	f->next_seq = event && seq + 1 > f->next_seq ? seq + 1 : f->next_seq + !event;
	if (event && f->first_ns == 0)
		f->first_ns = (uint64_t)json_integer_value(json_object_get(event, "time_ns"));
}

static int learn_numbers(struct events_file *f, int fd, size_t *whole)
{
	size_t len;
	char *text = slurp(fd, &len);

	if (!text)
		return -errno;
	*whole = each_line(text, len, take_number, f);
	free(text);
	return 0;
}

/* Of the part before: it has the last number when the present one was turned over just now. */
static int learn_before(struct events_file *f)
{
	char path[600];
	size_t whole;
	int fd, rc;

	part_path(path, sizeof(path), f->dir, 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = learn_numbers(f, fd, &whole);
	close(fd);
	f->first_ns = 0;
	return rc;
}

static int open_present(struct events_file *f)
{
	char path[600];

	part_path(path, sizeof(path), f->dir, 0);
	f->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return f->fd < 0 ? -errno : folder_sync(AT_FDCWD, f->dir);
}

int events_file_open(struct events_file *f, const char *dir, uint64_t size_bytes, uint64_t age_ns)
{
	size_t whole = 0;
	int rc;

	*f = (struct events_file){.fd = -1, .size_bytes = size_bytes, .age_ns = age_ns,
				  .next_seq = 1};
	snprintf(f->dir, sizeof(f->dir), "%s", dir);
	rc = learn_before(f);
	if (rc == 0)
		rc = open_present(f);
	if (rc == 0)
		rc = learn_numbers(f, f->fd, &whole);
#ifndef HF_MUTANT_EVENTS_TORN_TAIL
	if (rc == 0 && ftruncate(f->fd, (off_t)whole) < 0) /* a torn last line */
		rc = -errno;
#endif
	f->part_bytes = whole;
	if (rc)
		events_file_close(f);
	return rc;
}

void events_file_close(struct events_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* events -> events.1 -> ... -> gone. */
static int turn_over(struct events_file *f)
{
	char from[600], to[600];

	if (fdatasync(f->fd) < 0)
		return -errno;
	for (unsigned part = EVENTS_PARTS - 1; part > 0; part--) {
		part_path(from, sizeof(from), f->dir, part - 1);
		part_path(to, sizeof(to), f->dir, part);
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	events_file_close(f);
	f->part_bytes = 0;
	f->first_ns = 0;
	return open_present(f);
}

int events_file_age(struct events_file *f, uint64_t now_ns)
{
	char path[600];
	struct stat st;
	int rc = 0;

	if (f->part_bytes && f->first_ns + f->age_ns / EVENTS_PARTS < now_ns)
		rc = turn_over(f);
	for (unsigned part = 1; part < EVENTS_PARTS; part++) {
		part_path(path, sizeof(path), f->dir, part);
		if (stat(path, &st) == 0 &&
		    (uint64_t)st.st_mtim.tv_sec * 1000000000 + f->age_ns < now_ns)
			unlink(path);
	}
	return rc;
}

static int write_whole(struct events_file *f, const char *line, size_t len)
{
	ssize_t n = write(f->fd, line, len);

	if (n == (ssize_t)len) {
		f->part_bytes += len;
		return 0;
	}
	/* Half a line would spoil the next one. */
	if (n > 0 && ftruncate(f->fd, (off_t)f->part_bytes) < 0)
		return -errno;
	return n < 0 ? -errno : -ENOSPC;
}

int events_file_add(struct events_file *f, const char *body, size_t len, uint64_t now_ns)
{
	char line[EVENTS_LINE_MAX + 64], sum[SUM_LEN + 1];
	int rc = 0, n;

	if (len < 3 || len > EVENTS_LINE_MAX || body[0] != '{')
		return -EINVAL;
	n = snprintf(line + SUM_LEN, sizeof(line) - SUM_LEN, "{\"seq\":%llu,%.*s",
		     (unsigned long long)f->next_seq, (int)len - 1, body + 1);
	snprintf(sum, sizeof(sum), "%08x ", crc32c(0, line + SUM_LEN, (size_t)n));
	memcpy(line, sum, SUM_LEN);
	n += SUM_LEN;
	line[n++] = '\n';
	if (f->fd < 0) /* the last turning over could not open the next part */
		rc = open_present(f);
	if (rc == 0 && f->part_bytes + (size_t)n > f->size_bytes / EVENTS_PARTS && f->part_bytes)
		rc = turn_over(f);
	if (rc == 0)
		rc = events_file_age(f, now_ns);
	if (rc == 0)
		rc = write_whole(f, line, (size_t)n);
	if (rc)
		return rc;
	f->next_seq++;
	if (f->first_ns == 0)
		f->first_ns = now_ns;
	return 0;
}

int events_file_sync(struct events_file *f)
{
	return f->fd >= 0 && fdatasync(f->fd) < 0 ? -errno : 0;
}
