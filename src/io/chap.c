/* chap.c - see chap.h. */
#include "io/chap.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPACE " \t\r\n"

void chap_wipe(struct chap *c)
{
	sodium_memzero(c, sizeof(*c));
}

/* A line of two words and its end; the place behind it, or NULL. */
static const char *parse_line(const char *text, char *name, char *secret)
{
	size_t n = strcspn(text, SPACE), gap = strspn(text + n, " \t"), len;
	const char *from = text + n + gap, *end;

	len = strcspn(from, SPACE);
	end = from + len + strspn(from + len, " \t\r");
	if (n == 0 || n >= CHAP_TEXT_MAX || gap == 0 || len < CHAP_SECRET_MIN || len >= CHAP_TEXT_MAX ||
	    (*end && *end != '\n'))
		return NULL;
	memcpy(name, text, n);
	memcpy(secret, from, len);
	return end + strspn(end, SPACE);
}

/* RFC 7143, 12.1.3: the two secrets must differ, or a false target could send our challenge back. */
static int parse(struct chap *c, const char *text)
{
	const char *rest = parse_line(text, c->name, c->secret);

	if (rest && *rest)
		rest = parse_line(rest, c->target_name, c->target_secret);
	return rest && !*rest && strcmp(c->secret, c->target_secret) ? 0 : -EINVAL;
}

int chap_load(struct chap *c, const char *path, char *err, size_t err_size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), rc = -errno;
	char text[4 * CHAP_TEXT_MAX + 16] = "";
	struct stat st;
	ssize_t n;

	memset(c, 0, sizeof(*c));
	if (fd < 0) {
		snprintf(err, err_size, "%.70s: %s", path, strerror(-rc));
		return rc;
	}
#ifdef HF_MUTANT_CHAP_ANYBODYS
	if (fstat(fd, &st)) {
#else
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 077)) {
#endif
		snprintf(err, err_size, "%.60s: must be a file of its user, mode 0600", path);
		close(fd);
		return -EPERM;
	}
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	rc = n < 0 ? -EIO : strlen(text) == (size_t)n ? parse(c, text) : -EINVAL;
	sodium_memzero(text, sizeof(text));
	if (rc == 0)
		return 0;
	chap_wipe(c);
	snprintf(err, err_size,
		 "%.50s: wanted NAME SECRET (12 to 255 bytes), and a second such line if the "
		 "target must prove itself", path);
	return rc;
}
