/* mounts.c - see mounts.h.  The kernel lists mount points by their real names, with octal for spaces. */
#include "io/mounts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The name that the kernel uses: real folders above it; itself only where it is a link, for to look at
 * it would be to ask the file system that is mounted on it. */
static int real_name(const char *path, char out[PATH_MAX])
{
	char above[PATH_MAX], link[2], *base;
	size_t n = strlen(path);

	if (n == 0 || path[0] != '/' || n >= PATH_MAX)
		return -EINVAL;
#ifdef HF_MUTANT_MOUNTS_AS_WRITTEN
	memcpy(out, path, n + 1);
	return 0;
#endif
	if (readlink(path, link, sizeof(link)) >= 0)
		return realpath(path, out) ? 0 : -errno;
	memcpy(above, path, n + 1);
	while (n > 1 && above[n - 1] == '/')
		above[--n] = '\0';
	base = strrchr(above, '/');
	*base++ = '\0';
	if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return realpath(path, out) ? 0 : -errno;
	if (!realpath(above[0] ? above : "/", out))
		return -errno;
	n = strlen(out);
	if (n + 1 + strlen(base) >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(out + n, PATH_MAX - n, "%s%s", n > 1 && *base ? "/" : "", base);
	return 0;
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned v;

		if (*s == '\\' && sscanf(s + 1, "%3o", &v) == 1) {
			*to++ = (char)v;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /mnt1 /mnt2 ...": 98:0 on /mnt2. */
static char *point_of(char *line, dev_t *dev)
{
	unsigned major, minor;
	char *word, *rest = line;

	for (unsigned i = 0; i < 3; i++)
		word = strsep(&rest, " ");
	if (!rest || sscanf(word, "%u:%u", &major, &minor) != 2)
		return NULL;
	strsep(&rest, " ");
	word = strsep(&rest, " ");
	if (word)
		unescape(word);
	*dev = makedev(major, minor);
	return word;
}

int mounts_find(const char *path, dev_t *dev)
{
	char *line = NULL, *at, name[PATH_MAX];
	int rc = real_name(path, name), found = 0;
	size_t room = 0;
	dev_t d;
	FILE *f;

	if (rc)
		return rc == -ENOENT ? 0 : rc; /* no folder, so nothing on it */
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -errno;
	while (getline(&line, &room, f) >= 0) {
		at = point_of(line, &d);
		if (!at || strcmp(at, name) != 0)
			continue;
		found = 1;
		if (dev)
			*dev = d;
	}
	rc = ferror(f) ? -EIO : found;
	free(line);
	fclose(f);
	return rc;
}
