/* rig.c - adopt or release, ended on purpose at one of its points.
 *
 *	adopt-rig adopt|release DIR [--at N] [--shutdown MOUNT] [--uid UID]
 *
 * Counts the points (the ends of numbered steps, and each name inside them).  Without --at it runs
 * to the end and prints how many there were of each step.  With it the process is gone at point N
 * as by SIGKILL (status 9); with --shutdown the file system below goes first and takes with it
 * what was not flushed: a power loss. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "store/adopt.h"

#define FS_SHUTDOWN       0x8004587dUL
#define SHUTDOWN_NO_FLUSH 2U
#define STEPS             10U

static unsigned long at, points;
static unsigned long count[STEPS][2];
static int mount_fd = -1;

static void on_point(void *arg, unsigned step, bool inside)
{
	unsigned flags = SHUTDOWN_NO_FLUSH;

	(void)arg;
	count[step][inside]++;
	if (++points != at)
		return;
	if (mount_fd >= 0 && ioctl(mount_fd, FS_SHUTDOWN, &flags))
		perror("shutdown");
	printf("ended step=%u inside=%d\n", step, inside);
	fflush(stdout);
	_exit(9);
}

static void on_finding(void *arg, enum adopt_finding f, const char *path, const char *what)
{
	(void)arg;
	printf("%s: %s: %s\n", f == ADOPT_CANNOT ? "cannot" : "note", path, what);
}

static void show(void)
{
	printf("points=%lu", points);
	for (unsigned i = 0; i < STEPS; i++)
		if (count[i][0] + count[i][1])
			printf(" step%u=%lu+%lu", i, count[i][1], count[i][0]);
	printf("\n");
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"at", required_argument, NULL, 'a'},
					      {"shutdown", required_argument, NULL, 's'},
					      {"uid", required_argument, NULL, 'u'},
					      {NULL, 0, NULL, 0}};
	struct adopt_args a = {
	    .uid = geteuid(), .gid = getegid(), .point = on_point, .finding = on_finding};
	struct adopt_counts n;
	char err[512];
	int o, res;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (o == 'a') {
			at = strtoul(optarg, NULL, 10);
		} else if (o == 's') {
			mount_fd = open(optarg, O_RDONLY | O_DIRECTORY);
		} else if (o == 'u') {
			a.give = true;
			a.uid = (uid_t)strtoul(optarg, NULL, 10);
			a.gid = a.uid;
		} else {
			return 64;
		}
	}
	if (argc - optind != 2)
		return 64;
	log_open("rig", LOG_L_WARN);
	store_conf_default(&a.conf);
	a.conf.log_half_bytes = (uint64_t)4 << 20;
	a.dir = argv[optind + 1];
	res = strcmp(argv[optind], "adopt") == 0 ? store_adopt(&a, &n, err, sizeof(err))
						 : store_release(&a, &n, err, sizeof(err));
	if (res)
		fprintf(stderr, "%s\n", err);
	else
		show();
	return res ? 1 : 0;
}
