/* lib_check.c - the harness behind check.h. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDERS_MAX 256

jmp_buf check_out;
unsigned check_passed, check_failed;

/* ---- temporary folders ------------------------------------------------------------------------- */

/* A case that fails leaves in the middle, what it made is left.  So the tests' mkdtemp() and
 * mkstemp() are these, and what they made goes when the program ends, also by a failed assertion
 * or because somebody ends it (SIGTERM, SIGINT, SIGHUP); what is mounted there is left alone. */
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

/* In a handler nothing may be allocated, so rm does it; then the signal has its way.  What a test
 * forked leaves that to the test. */
static void on_signal(int sig)
{
	static char rm[] = "rm", all[] = "-rf", here[] = "--one-file-system", names[] = "--";
	static char *argv[FOLDERS_MAX + 5] = {rm, all, here, names};
	pid_t pid;

	if (getpid() == owner) {
		for (unsigned i = 0; i < folders; i++)
			argv[4 + i] = folder[i];
		argv[4 + folders] = NULL;
		pid = _Fork();
		if (pid == 0) {
			execv("/bin/rm", argv);
			_exit(127);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	raise(sig);
}

/* But where a test has something to say to it itself. */
static void ends_by(int sig)
{
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, was;

	if (sigaction(sig, NULL, &was) == 0 && was.sa_handler == SIG_DFL)
		sigaction(sig, &act, NULL);
}

static void goes_at_the_end(const char *path, size_t n)
{
	static const int ends[] = {SIGABRT, SIGTERM, SIGINT, SIGHUP};

	if (owner != getpid()) {
		owner = getpid();
		folders = 0;
		atexit(folders_remove);
		for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
			ends_by(ends[i]);
	}
	if (folders < FOLDERS_MAX && n < sizeof(folder[0]))
		memcpy(folder[folders++], path, n + 1);
}

/* A descriptor, 0 for a folder, or -1. */
static int make_temporary(char *template, bool is_folder)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(template);
	uint8_t random[6];
	int fd;

	if (n < 6 || strcmp(template + n - 6, "XXXXXX") != 0) {
		errno = EINVAL;
		return -1;
	}
	do {
		if (getrandom(random, sizeof(random), 0) != sizeof(random))
			return -1;
		for (unsigned i = 0; i < 6; i++)
			template[n - 6 + i] = letters[random[i] % (sizeof(letters) - 1)];
		fd = is_folder ? mkdir(template, 0700) : open(template, O_RDWR | O_CREAT | O_EXCL, 0600);
	} while (fd < 0 && errno == EEXIST);
	if (fd >= 0)
		goes_at_the_end(template, n);
	return fd;
}

char *mkdtemp(char *template)
{
	return make_temporary(template, true) == 0 ? template : NULL;
}

int mkstemp(char *template)
{
	return make_temporary(template, false);
}

/* ---- the machine --------------------------------------------------------------------------------- */

#define NAP_MS 20
#define NAPS_A_WRITE 10
#define STALL_MS 150 /* as for the lab (test/lab/run); a beat of the real daemons' tests is 200 */
#define AGAIN 3

static bool fairly;
static unsigned again; /* cases judged again */

/* The machine's own gaps beside a case: how late a sleeper wakes, how long 4 KiB take to the disk. */
static struct {
	pthread_t thread;
	bool begun, over;
	int worst_ms;
} machine;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* No moment is between two looks at the clock that is in neither gap. */
static void *machine_watch(void *arg)
{
	static const uint8_t block[4096];
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int64_t last_ms = now_ms(), this_ms;

	(void)arg;
	__atomic_store_n(&machine.begun, true, __ATOMIC_RELEASE);
	for (unsigned n = 1; !__atomic_load_n(&machine.over, __ATOMIC_RELAXED); n++) {
		usleep(NAP_MS * 1000);
		if (n % NAPS_A_WRITE == 0 && pwrite(fd, block, sizeof(block), 0) > 0)
			(void)fdatasync(fd);
		this_ms = now_ms();
		if (this_ms - last_ms - NAP_MS > machine.worst_ms)
			machine.worst_ms = (int)(this_ms - last_ms - NAP_MS);
		last_ms = this_ms;
	}
	close(fd);
	return NULL;
}

static bool machine_begin(void)
{
	if (!fairly || getenv("CHECK_FIRST"))
		return false;
	machine.begun = machine.over = false;
	machine.worst_ms = 0;
	if (pthread_create(&machine.thread, NULL, machine_watch, NULL))
		return false;
	while (!__atomic_load_n(&machine.begun, __ATOMIC_ACQUIRE))
		usleep(1000);
	return true;
}

static int machine_end(void)
{
	__atomic_store_n(&machine.over, true, __ATOMIC_RELAXED);
	pthread_join(machine.thread, NULL);
	return machine.worst_ms;
}

void check_fairly(void)
{
	fairly = true;
}

/* What a case that is judged again had in its hands when it failed is no leak of the product's. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return again > 0;
}

int check_patience(int least)
{
	return getenv("CHECK_FIRST") ? least : 4 * least;
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

static bool passes(void (*fn)(void))
{
	if (setjmp(check_out))
		return false;
	fn();
	return true;
}

/* Is a case that failed to be judged again? */
static bool stood_still(const char *name, bool watched, unsigned before)
{
	int worst_ms = watched ? machine_end() : 0;

	if (worst_ms < STALL_MS || before == AGAIN)
		return false;
	again++;
	printf("# %s: judged again, for the machine itself stood still for %d ms\n", name, worst_ms);
	return true;
}

void check_case(const char *name, void (*fn)(void))
{
	for (unsigned before = 0;; before++) {
		bool watched = machine_begin();

		if (passes(fn)) {
			if (watched)
				machine_end();
			check_passed++;
			break;
		}
		if (stood_still(name, watched, before))
			continue;
		check_failed++;
		printf("FAIL %s\n", name);
		if (getenv("CHECK_FIRST"))
			exit(check_end());
		break;
	}
	fflush(stdout);
}

int check_end(void)
{
	printf("%u passed, %u failed\n", check_passed, check_failed);
	return check_failed ? 1 : 0;
}
