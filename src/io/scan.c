/* scan.c - block devices and their names out of sysfs. */
#include "io/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PAGE_MAX  1024
#define GLOBS_MAX 512

/* A file of the device's sysfs folder; bytes read, or -errno. */
static ssize_t sys_read(const struct scan_path *p, const char *file, void *buf, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", p->major, p->minor, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

/* One line without its newline; empty when there is none. */
static void sys_text(const struct scan_path *p, const char *file, char *out, size_t size)
{
	ssize_t n = sys_read(p, file, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static bool sys_has(const struct scan_path *p, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", p->major, p->minor, file);
	return access(path, F_OK) == 0;
}

/* The multipath map that holds the device, as a node that can be opened. */
static void find_map(struct scan_path *p)
{
	char path[400], text[160];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", p->major, p->minor);
	d = opendir(path);
	if (!d)
		return;
	while ((e = readdir(d))) {
		if (strncmp(e->d_name, "dm-", 3) != 0)
			continue;
		snprintf(path, sizeof(path), "holders/%.60s/dm/uuid", e->d_name);
		sys_text(p, path, text, sizeof(text));
		if (strncmp(text, "mpath-", 6) != 0)
			continue;
		snprintf(path, sizeof(path), "holders/%.60s/dm/name", e->d_name);
		sys_text(p, path, text, sizeof(text));
		snprintf(p->map, sizeof(p->map), "/dev/mapper/%.48s", text);
		if (access(p->map, F_OK) != 0)
			snprintf(p->map, sizeof(p->map), "/dev/%.48s", e->d_name);
	}
	closedir(d);
}

/* False for what is no whole disk. */
static bool look_at(const char *dev, struct scan_path *p)
{
	struct stat st;

	if (strlen(dev) >= sizeof(p->dev) || stat(dev, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	*p = (struct scan_path){.major = major(st.st_rdev), .minor = minor(st.st_rdev)};
	memcpy(p->dev, dev, strlen(dev) + 1);
	if (sys_has(p, "partition") || !sys_has(p, "device"))
		return false;
	p->nvme = sys_has(p, "nsid");
	sys_text(p, "device/state", p->state, sizeof(p->state));
	p->up = strcmp(p->state, p->nvme ? "live" : "running") == 0 || !p->state[0];
	find_map(p);
	return true;
}

/* What the kernel knows it by. */
static int names_of(const struct scan_path *p, char name[WWID_COUNT][WWID_MAX])
{
	uint8_t page[PAGE_MAX];
	ssize_t n;
	int rc;

	if (p->nvme) {
		sys_text(p, "wwid", name[0], WWID_MAX);
		return name[0][0] != '\0';
	}
	n = sys_read(p, "device/vpd_pg83", page, sizeof(page));
	rc = n > 0 ? wwid_list(page, (size_t)n, name) : 0;
	return rc > 0 ? rc : 0;
}

/* Every word of `globs`; GLOB_NOMATCH is no error. */
static int expand(const char *globs, glob_t *g)
{
	char text[GLOBS_MAX], *save = NULL, *word;
	int rc = 0, flags = 0;

	if (strlen(globs) >= sizeof(text))
		return -ENAMETOOLONG;
	memcpy(text, globs, strlen(globs) + 1);
	for (word = strtok_r(text, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		rc = glob(word, flags, NULL, g);
		if (rc == GLOB_NOSPACE)
			return -ENOMEM;
		if (rc == 0)
			flags = GLOB_APPEND;
	}
	return 0;
}

static bool is_there(const struct scan *s, const struct scan_path *p)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->path[i].major == p->major && s->path[i].minor == p->minor)
			return true;
	return false;
}

int scan_all(const char *globs, scan_fn *fn, void *arg)
{
	char name[WWID_COUNT][WWID_MAX], text[32];
	struct scan_path p;
	glob_t g = {0};
	int rc = expand(globs, &g), count;

	for (size_t i = 0; rc == 0 && i < g.gl_pathc; i++) {
		if (!look_at(g.gl_pathv[i], &p))
			continue;
		count = names_of(&p, name);
		sys_text(&p, "size", text, sizeof(text));
		if (!fn(arg, &p, count, name, strtoull(text, NULL, 10) * 512))
			break;
	}
	globfree(&g);
	return rc;
}

struct wanted {
	const char *wwid;
	struct scan *out;
};

static bool take_path(void *arg, const struct scan_path *p, int names, char name[][WWID_MAX],
		      uint64_t bytes)
{
	struct wanted *w = arg;
	bool same = false;

	(void)bytes;
	for (int i = 0; i < names; i++)
		same = same || strcmp(name[i], w->wwid) == 0;
	if (!same || is_there(w->out, p))
		return true;
	if (w->out->count < SCAN_PATHS_MAX)
		w->out->path[w->out->count++] = *p;
	else
		w->out->left_off++;
	return true;
}

int scan_unit(const char *globs, const char *wwid, struct scan *out)
{
	struct wanted w = {wwid, out};

	memset(out, 0, sizeof(*out));
	return scan_all(globs, take_path, &w);
}
