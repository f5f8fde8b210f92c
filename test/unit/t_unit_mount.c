/* t_unit_mount.c - a loop unit's file system on a real loop device: mounted, unmounted, and the
 * proof that nothing of it is left, wherever it may still be in use.
 *
 * Attaching needs root and loop devices; where there are none the cases say so and pass. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "io/unit.h"

static char dir[64], text[200];
static struct unit_spec spec;
static bool able;

static int sh(const char *command)
{
	char line[512];
	int st;

	snprintf(line, sizeof(line), "D=%s; %s", dir, command);
	st = system(line);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void begin(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hf-mount-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	spec = (struct unit_spec){.backend = UNIT_LOOP, .name = "u1", .fstype = "ext4"};
	snprintf(spec.root, sizeof(spec.root), "%s/mnt", dir);
	snprintf(spec.image, sizeof(spec.image), "%s/u1.img", dir);
	CHECK_EQ(0, sh("truncate -s 4M $D/u1.img && mke2fs -q -t ext4 -F $D/u1.img"));
}

static void end(void)
{
	CHECK_EQ(0, sh("rm -r $D"));
}

static int free_now(void)
{
	return unit_prove_free(&spec, text, sizeof(text));
}

static void t_mount_and_unmount(void)
{
	begin();
	CHECK_EQ(0, unit_loop_blank(&spec));
	CHECK_EQ(0, sh("truncate -s 0 $D/u1.img && truncate -s 4M $D/u1.img"));
	CHECK_EQ(1, unit_loop_blank(&spec));
	end();
	if (!able)
		return;
	begin();
	CHECK_EQ(0, free_now());
	CHECK_EQ(0, unit_mount(&spec, text, sizeof(text)));
	CHECK_EQ(-EBUSY, free_now());
	CHECK(strstr(text, "is still mounted") != NULL);
	CHECK_EQ(0, sh("echo x >$D/mnt/file"));
	CHECK_EQ(0, unit_unmount(&spec, false, text, sizeof(text)));
	CHECK_EQ(0, free_now());
	CHECK_EQ(0, unit_unmount(&spec, false, text, sizeof(text))); /* not mounted is success */
	CHECK_EQ(0, unit_mount(&spec, text, sizeof(text)));
	CHECK_EQ(0, sh("grep -q x $D/mnt/file"));
	CHECK_EQ(0, unit_unmount(&spec, true, text, sizeof(text))); /* shut down first */
	CHECK_EQ(0, free_now());
	end();
}

/* Somebody has a file open: the unmount fails, within its time, and nothing is proved. */
static void t_in_use(void)
{
	int fd;

	if (!able)
		return;
	begin();
	CHECK_EQ(0, unit_mount(&spec, text, sizeof(text)));
	CHECK_EQ(0, sh("echo x >$D/mnt/file"));
	fd = open(spec.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_EQ(-EBUSY, unit_unmount(&spec, false, text, sizeof(text)));
	CHECK_EQ(-EBUSY, free_now());
	/* A lazy unmount hides it; it does not end it. */
	CHECK_EQ(0, umount2(spec.root, MNT_DETACH));
	CHECK_EQ(-EBUSY, free_now());
	CHECK(strstr(text, "still has") != NULL);
	close(fd);
	CHECK_EQ(0, unit_unmount(&spec, false, text, sizeof(text)));
	end();
}

/* Another namespace has a copy of the mount that ours cannot see.  covers: F1 */
static void t_other_namespace(void)
{
	int up[2];
	pid_t pid;
	char c;

	if (!able)
		return;
	begin();
	CHECK_EQ(0, unit_mount(&spec, text, sizeof(text)));
	CHECK_EQ(0, pipe(up));
	pid = fork();
	if (pid == 0) {
		c = (char)(unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL));
		if (write(up[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	CHECK_EQ(1, read(up[0], &c, 1));
	CHECK_EQ(0, c);
	CHECK(unit_unmount(&spec, false, text, sizeof(text)) == -EBUSY);
	CHECK_EQ(-EBUSY, free_now());
	CHECK(strstr(text, "still has") != NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_EQ(0, unit_unmount(&spec, false, text, sizeof(text)));
	CHECK_EQ(0, free_now());
	close(up[0]);
	close(up[1]);
	end();
}

int main(void)
{
	able = geteuid() == 0 && access("/dev/loop-control", R_OK | W_OK) == 0;
	if (!able)
		printf("no loop devices for this user: mounting is not tried\n");
	/* Nobody who takes a copy of the machine's mounts meanwhile shall get ours with it. */
	else if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 1;
	CASE(t_mount_and_unmount);
	CASE(t_in_use);
	CASE(t_other_namespace);
	return check_end();
}
