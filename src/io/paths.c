/* paths.c - opening a unit's paths, and the proof that nothing holds them. */
#include "io/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/mounts.h"
#include "io/reserve.h"
#include "io/sgio.h"

#define PAGE_MAX 1024

/* NVMe's kernel name is the namespace's own and cannot change under an open device. */
static int identify(const struct scan_path *p, int fd, const char *wwid, char *seen)
{
	uint8_t page[PAGE_MAX];
	char name[WWID_COUNT][WWID_MAX];
	int n;

	if (p->nvme)
		return 0;
	n = sgio_page83(fd, page, sizeof(page));
	if (n < 0)
		return n;
#ifdef HF_MUTANT_SCSI_TRUST_CACHE
	return 0;
#endif
	if (wwid_has(page, (size_t)n, wwid))
		return 0;
	n = wwid_list(page, (size_t)n, name);
	memcpy(seen, n > 0 ? name[0] : "nothing", n > 0 ? sizeof(name[0]) : sizeof("nothing"));
	return -EXDEV;
}

static void open_one(struct paths *p, unsigned at, const struct unit_spec *u)
{
	const struct scan_path *sp = &p->scan.path[at];
	char seen[WWID_MAX] = "";
	int fd, rc;

	p->err[at] = -ENXIO;
	if (!sp->up)
		return;
	fd = open(sp->dev, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	rc = fd < 0 ? -errno : identify(sp, fd, u->wwid, seen);
	p->err[at] = rc;
	if (rc == -EXDEV)
		snprintf(p->text, sizeof(p->text), "%.32s is %.60s now, not the unit; rescan it",
			 sp->dev, seen);
	if (rc == 0) {
		p->fd[at] = fd;
		p->good++;
	} else if (fd >= 0) {
		close(fd);
	}
}

int paths_open(struct paths *p, const struct unit_spec *u)
{
	int rc = scan_unit(u->devices, u->wwid, &p->scan);

	p->text[0] = '\0';
	p->good = 0;
	for (unsigned i = 0; i < SCAN_PATHS_MAX; i++)
		p->fd[i] = -1;
	if (rc)
		return rc;
	for (unsigned i = 0; i < p->scan.count; i++)
		open_one(p, i, u);
	for (unsigned i = 0; i < p->scan.count; i++)
		if (p->err[i] == -EXDEV)
			return -EXDEV;
	if (p->scan.count == 0)
		snprintf(p->text, sizeof(p->text), "no device here has that WWID (holdfast unit scan)");
	else if (p->good == 0)
		snprintf(p->text, sizeof(p->text), "none of %u paths answers, the first: %.32s: %s",
			 p->scan.count, p->scan.path[0].dev,
			 p->scan.path[0].up ? strerror(-p->err[0]) : p->scan.path[0].state);
	return p->scan.count == 0 ? -ENODEV : p->good == 0 ? -EIO : 0;
}

void paths_close(struct paths *p)
{
	for (unsigned i = 0; i < SCAN_PATHS_MAX; i++) {
		if (p->fd[i] >= 0)
			close(p->fd[i]);
		p->fd[i] = -1;
	}
}

int paths_best(const struct paths *p)
{
	int best = -1;

	for (unsigned i = 0; i < p->scan.count; i++)
		if (p->fd[i] >= 0 && (best < 0 || (p->scan.path[i].map[0] && !p->scan.path[best].map[0])))
			best = (int)i;
	return best;
}

const char *paths_data(const struct paths *p, int at)
{
	return p->scan.path[at].map[0] ? p->scan.path[at].map : p->scan.path[at].dev;
}

/* A loop device does not claim what it stands on. */
static bool has_loop(dev_t dev)
{
	char path[512];
	struct stat st;
	bool found = false;
	glob_t g = {0};

	if (glob("/sys/block/loop*/loop/backing_file", 0, NULL, &g) != 0)
		return false;
	for (size_t i = 0; i < g.gl_pathc && !found; i++) {
		FILE *f = fopen(g.gl_pathv[i], "re");

		if (f && fgets(path, sizeof(path), f)) {
			path[strcspn(path, "\n")] = '\0';
			found = stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == dev;
		}
		if (f)
			fclose(f);
	}
	globfree(&g);
	return found;
}

static int prove_dev(const char *dev, dev_t mine)
{
	struct stat st;
	int fd, rc = 0;

	if (stat(dev, &st) < 0)
		return -errno;
	if (mine && st.st_rdev == mine)
		return 0;
	fd = open(dev, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (has_loop(st.st_rdev))
		rc = -EBUSY;
	/* Read S past every cache; what anybody left in this one must not be written later. */
	if (rc == 0 && ioctl(fd, BLKFLSBUF, 0) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int paths_prove(const struct paths *p, unsigned at, const struct unit_spec *u, bool ours)
{
	const struct scan_path *sp = &p->scan.path[at];
	dev_t mine = 0;
	int rc = ours ? mounts_find(u->root, &mine) : 0;

	if (rc >= 0)
		rc = prove_dev(sp->dev, mine);

#ifdef HF_MUTANT_SCSI_NO_PROOF
	return 0;
#endif
	/* The map holds it; then nothing may hold the map. */
	if (rc == -EBUSY && sp->map[0])
		rc = prove_dev(sp->map, mine);
	return rc;
}

int paths_area(int fd, uint64_t *at)
{
	uint64_t bytes = 0;

	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	if (bytes < 16 * RSV_AREA)
		return -ENOSPC;
	*at = (bytes - RSV_AREA) & ~(uint64_t)(RSV_BLOCK - 1);
	return 0;
}
