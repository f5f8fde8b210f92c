/* lib_check.c - the harness behind check.h. */
#include "check.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 256

jmp_buf check_out;
unsigned check_passed, check_failed;

/* ---- temporary folders ------------------------------------------------------------------------- */

/* A case that fails leaves in the middle, what it made is left.  So the tests' mkdtemp() is this one,
 * and what it made goes when the program ends; what is mounted there is left alone. */
static char folder[FOLDERS_MAX][96];
static unsigned folders;
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	(void)remove(path);
	return 0;
}

static void folders_remove(void)
{
	for (unsigned i = 0; i < folders && getpid() == owner; i++)
		(void)nftw(folder[i], remove_one, 32, FTW_PHYS | FTW_DEPTH | FTW_MOUNT);
}

char *mkdtemp(char *template)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(template);
	uint8_t random[6];

	if (n < 6 || strcmp(template + n - 6, "XXXXXX") != 0) {
		errno = EINVAL;
		return NULL;
	}
	do {
		if (getrandom(random, sizeof(random), 0) != sizeof(random))
			return NULL;
		for (unsigned i = 0; i < 6; i++)
			template[n - 6 + i] = letters[random[i] % (sizeof(letters) - 1)];
	} while (mkdir(template, 0700) && errno == EEXIST);
	if (access(template, F_OK))
		return NULL;
	if (owner != getpid()) {
		owner = getpid();
		folders = 0;
		atexit(folders_remove);
	}
	if (folders < FOLDERS_MAX && n < sizeof(folder[0]))
		memcpy(folder[folders++], template, n + 1);
	return template;
}

/* ---- cases --------------------------------------------------------------------------------------- */

void check_fail(const char *file, int line, const char *what)
{
	printf("%s:%d: failed: %s\n", file, line, what);
	longjmp(check_out, 1);
}

void check_fail_eq(const char *file, int line, const char *what, long long want, long long got)
{
	printf("%s:%d: failed: %s: wanted %lld (0x%llx), got %lld (0x%llx)\n", file, line, what, want,
	       (unsigned long long)want, got, (unsigned long long)got);
	longjmp(check_out, 1);
}

void check_case(const char *name, void (*fn)(void))
{
	if (setjmp(check_out) == 0) {
		fn();
		check_passed++;
	} else {
		check_failed++;
		printf("FAIL %s\n", name);
		if (getenv("CHECK_FIRST"))
			exit(check_end());
	}
	fflush(stdout);
}

int check_end(void)
{
	printf("%u passed, %u failed\n", check_passed, check_failed);
	return check_failed ? 1 : 0;
}
