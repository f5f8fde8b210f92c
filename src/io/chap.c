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

/* One line of two words, and nothing behind it but white space. */
static int parse(struct chap *c, const char *text)
{
	size_t name = strcspn(text, SPACE), gap = strspn(text + name, " \t"), secret;

	secret = strcspn(text + name + gap, SPACE);
	if (name == 0 || name >= sizeof(c->name) || gap == 0 || secret < CHAP_SECRET_MIN ||
	    secret >= sizeof(c->secret) ||
	    text[name + gap + secret + strspn(text + name + gap + secret, SPACE)])
		return -EINVAL;
	memcpy(c->name, text, name);
	memcpy(c->secret, text + name + gap, secret);
	return 0;
}

int chap_load(struct chap *c, const char *path, char *err, size_t err_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -errno;
	char text[2 * CHAP_TEXT_MAX + 16] = "";
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
	if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 077)) {
#endif
		snprintf(err, err_size, "%.60s: must belong to its user, mode 0600", path);
		close(fd);
		return -EPERM;
	}
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	rc = n < 0 ? -EIO : strlen(text) == (size_t)n ? parse(c, text) : -EINVAL;
	sodium_memzero(text, sizeof(text));
	if (rc)
		snprintf(err, err_size, "%.50s: wanted one line, NAME SECRET of 12 to 255 bytes", path);
	return rc;
}
