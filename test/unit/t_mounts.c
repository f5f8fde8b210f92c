/* t_mounts.c - what is a mount point, by whatever name it is asked for. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "io/mounts.h"

static char dir[64];

static const char *at(const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* What every machine has.   covers: F1 */
static void t_names(void)
{
	struct stat st;
	dev_t dev = 0;

	CHECK_EQ(0, stat("/proc", &st));
	CHECK_EQ(1, mounts_find("/proc", &dev));
	CHECK(dev == st.st_dev);
	CHECK_EQ(1, mounts_find("/", NULL));
	CHECK_EQ(1, mounts_find("//proc//", NULL));
	CHECK_EQ(1, mounts_find("/proc/self/..", NULL));
	CHECK_EQ(0, symlink("/", at("up")));
	CHECK_EQ(0, symlink("/proc", at("there")));
	CHECK_EQ(1, mounts_find(at("up/proc"), NULL)); /* a link above it */
	CHECK_EQ(1, mounts_find(at("there"), NULL));   /* it is one itself */
	CHECK_EQ(0, mounts_find(at("nothing/below"), NULL));
	CHECK_EQ(0, mounts_find(at("nothing"), NULL));
	CHECK_EQ(0, mounts_find("/pro", NULL));
	CHECK_EQ(0, mounts_find("/proc/self", NULL));
	CHECK_EQ(-EINVAL, mounts_find("proc", NULL));
	CHECK_EQ(-EINVAL, mounts_find("", NULL));
}

/* In a namespace of its own, and a child: nothing stays mounted. */
static int odd_bytes(void)
{
	static const char *const name[] = {"with space", "tab\tnew\nline", "back\\slash", "plain"};
	dev_t low, high;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 77; /* not root: the names above must do */
	for (unsigned i = 0; i < 4; i++) {
		if (mkdir(at(name[i]), 0700) || mounts_find(at(name[i]), NULL) != 0 ||
		    mount("t", at(name[i]), "tmpfs", 0, NULL) || mounts_find(at(name[i]), &low) != 1 ||
		    mount("t", at(name[i]), "tmpfs", 0, NULL) || mounts_find(at(name[i]), &high) != 1 ||
		    low == high)
			return 1; /* of two on each other the upper counts */
		if (umount(at(name[i])) || mounts_find(at(name[i]), &high) != 1 || low != high ||
		    umount(at(name[i])) || mounts_find(at(name[i]), NULL) != 0 || rmdir(at(name[i])))
			return 2;
	}
	return 0;
}

static void t_odd_bytes(void)
{
	pid_t pid = fork();
	int st;

	if (pid == 0)
		_exit(odd_bytes());
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st));
	CHECK(WEXITSTATUS(st) == 0 || (WEXITSTATUS(st) == 77 && geteuid() != 0));
}

int main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hf-mounts-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	CASE(t_names);
	CASE(t_odd_bytes);
	unlink(at("up"));
	unlink(at("there"));
	rmdir(dir);
	return check_end();
}
