/* t_store_damage.c - when the medium fails: damage with a reason, an end with a status, findings. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "lib_storefake.h"

#define ROOT STORE_ROOT_INO

static struct fs f;

static void path_of(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/%s", f.dir, name);
}

/* The index's file loses its pages under a running store: told once, with a reason. */
static void t_index_bus(void)
{
	char path[96], name[16];

	fs_new(&f);
	f.conf.cache_inodes = 4;
	fs_crash(&f);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		CHECK_EQ(0, fs_make(&f, ROOT, name, STORE_REG, NULL));
	}
	fs_checkpoint(&f);
	loop_again(f.loop);
	loop_once(f.loop, 0); /* lets go of clean inodes */
	path_of(path, sizeof(path), "index/data.mdb");
	CHECK_EQ(0, truncate(path, 8192));
	for (uint64_t ino = 2; ino < 200 && f.damage[0] == 0; ino++)
		store_inode(f.s, ino);
	CHECK(strstr(f.damage, "SIGBUS") != NULL);
	fs_drop(&f);
}

/* covers: S6 - a failed log write ends the process with its status; nothing is retried. */
static void t_log_error(void)
{
	struct rlimit small = {.rlim_cur = 4096, .rlim_max = 4096};
	int status;
	pid_t pid;

	fs_new(&f);
	fs_close(&f);
	f.epoch++;
	pid = fork();
	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		loop_new(&f.loop, 64);
		f.epoch--;
		if (fs_open(&f))
			_exit(1);
		setrlimit(RLIMIT_FSIZE, &small);
		fs_make(&f, ROOT, "a", STORE_REG, NULL);
		_exit(2);
	}
	CHECK_EQ(pid, waitpid(pid, &status, 0));
	CHECK(WIFEXITED(status));
	CHECK_EQ(STORE_EXIT_FATAL, WEXITSTATUS(status));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_look(&f, ROOT, "a"));
	fs_drop(&f);
}

static int close_err;

static void on_close_failed(void *arg, int err)
{
	(void)arg;
	close_err = err;
}

/* An object that must be there is not: the client gets an error, the store says why. */
static void t_object_lost(void)
{
	char path[128], buf[8];
	uint64_t ino;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "data", 4, true);
	fs_close(&f);
	snprintf(path, sizeof(path), "%s/objects/00/00/%016llx", f.dir, (unsigned long long)ino);
	CHECK_EQ(0, unlink(path));
	CHECK_EQ(1, fs_check(&f));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(-EIO, fs_read(&f, ino, 0, buf, sizeof(buf)));
	CHECK(strstr(f.damage, "missing") != NULL);
	store_close(f.s, on_close_failed, NULL);
	loop_once(f.loop, 0);
	CHECK_EQ(-EUCLEAN, close_err);
	fs_drop(&f);
}

/* A link in an object's place is as good as none: neither followed nor written through. */
static void t_object_linked(void)
{
	char path[128], victim[160], buf[8] = "";
	uint64_t ino;
	int fd;

	fs_new(&f);
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	fs_write(&f, ino, 0, "data", 4, true);
	fs_close(&f);
	snprintf(path, sizeof(path), "%s/objects/00/00/%016llx", f.dir, (unsigned long long)ino);
	snprintf(victim, sizeof(victim), "%s.victim", f.dir);
	CHECK_EQ(0, rename(path, victim));
	CHECK_EQ(0, symlink(victim, path));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(-EIO, fs_write(&f, ino, 0, "over", 4, false));
	CHECK(strstr(f.damage, "missing") != NULL);
	fd = open(victim, O_RDONLY);
	CHECK(read(fd, buf, sizeof(buf)) == 4 && memcmp(buf, "data", 4) == 0);
	close(fd);
	CHECK_EQ(0, unlink(victim));
	fs_drop(&f);
}

int main(void)
{
	CASE(t_index_bus);
	CASE(t_log_error);
	CASE(t_object_lost);
	CASE(t_object_linked);
	return check_end();
}
