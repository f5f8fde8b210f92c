/* lib_tgt.c - tgtd for tests; see lib_tgt.h. */
#include "lib_tgt.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static pid_t tgtd;
static char image[128];

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			printf("%s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static bool enter_namespaces(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];
	int flags = CLONE_NEWNET | CLONE_NEWNS;

	if (uid != 0)
		flags |= CLONE_NEWUSER;
	if (unshare(flags) < 0)
		return false;
	if (uid != 0) {
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		put("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %u 1", gid);
		put("/proc/self/gid_map", map);
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("run", "/run", "tmpfs", 0, "mode=0755") == 0 &&
	       mkdir("/run/tgtd", 0755) == 0 && system("ip link set lo up") == 0;
}

static int adm(const char *rest)
{
	char command[400];

	snprintf(command, sizeof(command), "tgtadm -C 7 --lld iscsi %s >/dev/null 2>&1", rest);
	return system(command);
}

static bool start(void)
{
	char lun[300];
	pid_t parent = getpid();

	fflush(stdout);
	tgtd = fork();
	if (tgtd == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(null, 1);
		dup2(null, 2);
		execlp("tgtd", "tgtd", "-f", "-C", "7", "--iscsi",
		       "portal=127.0.0.1:3260,portal=127.0.0.2:3260", NULL);
		_exit(127);
	}
	for (int i = 0; i < 2000 && adm("--op show --mode sys") != 0; i++)
		usleep(10000);
	snprintf(lun, sizeof(lun), "--op new --mode logicalunit --tid 1 --lun 1 --bstype rdwr -b %s", image);
	return adm("--op new --mode target --tid 1 -T " TGT_IQN) == 0 && adm(lun) == 0 &&
	       adm("--op bind --mode target --tid 1 -I ALL") == 0;
}

bool tgt_begin(const char *dir)
{
	int fd;

	snprintf(image, sizeof(image), "%s/lun.img", dir);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(0, ftruncate(fd, 64 << 20));
	close(fd);
	if (enter_namespaces() && start())
		return true;
	printf("no target for this user: %s\n", strerror(errno));
	return false;
}

void tgt_kill(void)
{
	kill(tgtd, SIGKILL);
	waitpid(tgtd, NULL, 0);
	unlink("/run/tgtd/socket.7");
	unlink("/run/tgtd/socket.7.lock");
}

void tgt_restart(void)
{
	tgt_kill();
	CHECK(start());
}

bool tgt_silence(unsigned which, bool on)
{
	char command[300];

	snprintf(command, sizeof(command),
		 "nft 'table ip hf%u {}; delete table ip hf%u; table ip hf%u { chain c { type filter hook "
		 "input priority 0; %s }; }' 2>/dev/null",
		 which, which, which, on ? which == 1 ? "ip daddr 127.0.0.1 tcp dport 3260 drop;" :
						       "ip daddr 127.0.0.2 tcp dport 3260 drop;" : "");
	return system(command) == 0;
}

void tgt_end(void)
{
	tgt_kill();
}

void tgt_spec(struct unit_spec *u, const char *dir, const char *node)
{
	*u = (struct unit_spec){.backend = UNIT_ISCSI, .name = "u1", .id = 5, .fstype = "ext4",
				.portal_count = 2, .target_lun = 1};
	snprintf(u->root, sizeof(u->root), "%s/mnt", dir);
	snprintf(u->lock, sizeof(u->lock), "%s/%s.lock", dir, node);
	snprintf(u->lun_dir, sizeof(u->lun_dir), "%s/%s.lun", dir, node);
	snprintf(u->image, sizeof(u->image), "%s/%s.lun/lun", dir, node);
	snprintf(u->portal[0], sizeof(u->portal[0]), "127.0.0.1:3260");
	snprintf(u->portal[1], sizeof(u->portal[1]), "127.0.0.2:3260");
	snprintf(u->target, sizeof(u->target), "%s", TGT_IQN);
	snprintf(u->initiator, sizeof(u->initiator), "iqn.2026-01.test:%s", node);
}
