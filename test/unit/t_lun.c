/* t_lun.c - holdfast-lun on a real target: reads, writes and flushes; an owner that is preempted while it
 * writes; a session made anew after the unit was lost; paths that fail; a server that hangs.
 * The program itself runs, started as holdfastd starts it. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "io/loop.h"
#include "io/lu.h"
#include "lib_tgt.h"

#define SIZE (4096 * 8)

static char dir[64];
static struct unit_spec spec;
static const uint64_t key1 = 0x4846010000000001, key2 = 0x4846020000000001;
static uint8_t *buf, *back;
static int fd = -1;

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Node `n`'s own session, registered or not. */
static void connect_as(struct lu *l, const char *name, enum rsv_role role)
{
	struct unit_spec u = spec;

	snprintf(u.initiator, sizeof(u.initiator), "iqn.2026-01.test:%s", name);
	CHECK_EQ(0, lu_connect(l, &u, role, ~0U, 2000));
}

static void own(const char *name, uint64_t key, uint64_t victim)
{
	struct lu l;

	connect_as(&l, name, RSV_ACT);
	CHECK_EQ(0, lu_pr_out(&l, PR_OUT_REGISTER_IGNORE, 0, key, false, 1000));
	CHECK_EQ(0, lu_pr_out(&l, victim ? PR_OUT_PREEMPT : PR_OUT_RESERVE, key, victim, false, 1000));
	lu_close(&l);
}

static bool has_key(uint64_t key)
{
	struct rsv_state st = {0};
	bool found = false;
	struct lu l;

	connect_as(&l, "look", RSV_LOOK);
	CHECK_EQ(0, lu_pr_state(&l, &st));
	lu_close(&l);
	for (unsigned i = 0; i < st.count; i++)
		found |= st.key[i] == key;
	return found;
}

/* A path that was just coming up registers, looks and takes the key away again (paths.c). */
static bool key_goes(uint64_t key)
{
	for (unsigned i = 0; i < 200; i++) {
		if (!has_key(key))
			return true;
		unit_sleep_ms(10);
	}
	return false;
}

static void begin(bool owned)
{
	char text[200] = "";
	int rc;

	tgt_restart();
	if (owned)
		own("n1", key1, 0);
	spec.key = owned ? key1 : 0;
	CHECK_EQ(0, unit_lun_gone(&spec, text, sizeof(text)));
	rc = unit_lun_start(&spec, text, sizeof(text));
	if (rc)
		printf("%s\n", text);
	CHECK_EQ(0, rc);
	CHECK_EQ(-EBUSY, unit_lun_gone(&spec, text, sizeof(text)));
	fd = open(spec.image, O_RDWR | O_DIRECT | O_CLOEXEC);
	CHECK(fd >= 0);
}

static void end(void)
{
	char text[200] = "";

	close(fd);
	CHECK_EQ(0, unit_lun_end(&spec, text, sizeof(text)));
	CHECK_EQ(0, unit_lun_gone(&spec, text, sizeof(text)));
}

static int put(uint8_t with, off_t at)
{
	memset(buf, with, SIZE);
	return pwrite(fd, buf, SIZE, at) == SIZE ? 0 : -errno;
}

/* covers: FO-15 VS-98 */
static void t_file(void)
{
	struct stat st;

	begin(true);
	CHECK_EQ(0, fstat(fd, &st));
	CHECK_EQ((64 << 20) - RSV_AREA, st.st_size); /* S is not to be reached from here */
	CHECK_EQ(UNIT_LUN_INO, st.st_ino);
	CHECK_EQ(0, put(7, 0));
	CHECK_EQ(0, put(8, st.st_size - SIZE));
	CHECK_EQ(0, fsync(fd));
	CHECK_EQ(SIZE, pread(fd, back, SIZE, st.st_size - SIZE));
	CHECK(memcmp(buf, back, SIZE) == 0);
	CHECK_EQ(0, pread(fd, back, SIZE, st.st_size));
	CHECK(pwrite(fd, buf, SIZE, st.st_size - 4096) < 0);
	CHECK(pwrite(fd, buf, SIZE, st.st_size) < 0 && errno == ENOSPC);
	CHECK(ftruncate(fd, 4096) < 0);
	close(fd);
	fd = open(spec.image, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
	CHECK_EQ(0, put(9, 4096));
	end();
}

/* Another takes the unit: the first write after it fails, and so does everything from then on, also
 * when the unit is free again.  covers: F3 F2 FO-16 */
static void t_preempted(void)
{
	struct lu l;

	begin(true);
	CHECK_EQ(0, put(1, 0));
	own("n2", key2, key1);
	CHECK_EQ(-EBADE, put(2, 0));
	connect_as(&l, "n2", RSV_ACT);
	CHECK_EQ(0, lu_pr_out(&l, PR_OUT_REGISTER_IGNORE, 0, key2, false, 1000));
	CHECK_EQ(0, lu_pr_out(&l, PR_OUT_PREEMPT, key2, key2, false, 1000));
	CHECK_EQ(0, lu_pr_out(&l, PR_OUT_REGISTER_IGNORE, 0, 0, false, 1000));
	lu_close(&l);
	CHECK_EQ(-EBADE, put(3, 0));
	CHECK(pread(fd, back, SIZE, 0) < 0 && errno == EBADE);
	CHECK(fsync(fd) < 0);
	CHECK(key_goes(key1));
	end();
	spec.key = 0;
	begin(false);
	CHECK_EQ(SIZE, pread(fd, back, SIZE, 0));
	CHECK_EQ(1, back[0]); /* what was acknowledged, nothing later */
	end();
}

/* The target dies and comes back for another owner: the sessions made anew register, look and go;
 * what waited in between is never written.  covers: F1 F2 */
static void t_come_back(void)
{
	begin(true);
	CHECK_EQ(0, put(4, 0));
	tgt_restart();
	own("n2", key2, 0);
	CHECK_EQ(-EBADE, put(5, 0));
	for (int i = 0; i < 100 && has_key(key1); i++)
		unit_sleep_ms(10);
	CHECK(!has_key(key1));
	end();
	begin(false);
	CHECK_EQ(SIZE, pread(fd, back, SIZE, 0));
	CHECK_EQ(4, back[0]);
	end();
}

/* It starts only for who holds.  covers: F1 */
static void t_not_mine(void)
{
	char text[200] = "";

	tgt_restart();
	own("n2", key2, 0);
	spec.key = key1;
	CHECK(unit_lun_start(&spec, text, sizeof(text)) != 0);
	CHECK(strstr(text, "not mine") != NULL);
	CHECK(!has_key(key1));
	CHECK_EQ(0, unit_lun_end(&spec, text, sizeof(text)));
	spec.key = 0;
	snprintf(spec.wwid, sizeof(spec.wwid), "naa.60000000000000ff");
	CHECK(unit_lun_start(&spec, text, sizeof(text)) != 0);
	CHECK(strstr(text, "is not naa.60000000000000ff") != NULL);
	spec.wwid[0] = '\0';
}

/* One portal goes silent in the middle: the write is repeated on the other.  covers: VS-100 VS-103 */
static void t_path(void)
{
	uint64_t begun;

	begin(true);
	CHECK_EQ(0, put(1, 0));
	unit_sleep_ms(300); /* both are up */
	if (!tgt_silence(1, true)) {
		printf("no packet filter for this user\n");
	} else {
		begun = loop_clock_ns();
		CHECK_EQ(0, put(2, 0));
		CHECK(loop_clock_ns() - begun < 4000000000ULL);
		tgt_silence(1, false);
		tgt_silence(2, true); /* whichever was used: one of the two turns met silence */
		CHECK_EQ(0, put(3, 4096));
		tgt_silence(2, false);
		CHECK_EQ(SIZE, pread(fd, back, SIZE, 4096));
		CHECK_EQ(3, back[0]);
	}
	end();
}

/* The server stands: the connection is cut and it is killed, whoever waits gets an error, and only then it
 * is said to be gone.  covers: F1 */
static void t_hangs(void)
{
	char text[200] = "", pid[24] = "";
	int lock;

	begin(true);
	lock = open(spec.lock, O_RDONLY | O_CLOEXEC);
	CHECK(pread(lock, pid, sizeof(pid) - 1, 0) > 0);
	close(lock);
	CHECK_EQ(0, kill((pid_t)strtol(pid, NULL, 10), SIGSTOP));
	unit_lun_cut(&spec);
	CHECK(put(6, 0) != 0);
	CHECK_EQ(-EBUSY, unit_lun_gone(&spec, text, sizeof(text))); /* it is still mounted */
	end();
}

/* Also when the first failed case ends the program: what is mounted would stay. */
static void clean(void)
{
	if (spec.lun_dir[0]) {
		unit_lun_cut(&spec);
		umount2(spec.lun_dir, MNT_DETACH);
		tgt_end();
	}
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
}

/* The target asks for CHAP: only who can read the file gets the unit mounted. */
static void t_chap(void)
{
	char text[200] = "";
	int secret;

	tgt_restart();
	own("n1", key1, 0);
	spec.key = key1;
	CHECK_EQ(0, system("tgtadm -C 7 --lld iscsi --op new --mode account --user hf "
			   "--password secret-of-holdfast && tgtadm -C 7 --lld iscsi --op bind "
			   "--mode account --tid 1 --user hf"));
	CHECK(unit_lun_start(&spec, text, sizeof(text)) != 0);
	snprintf(spec.chap, sizeof(spec.chap), "%s/chap", dir);
	secret = open(spec.chap, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(22, write(secret, "hf secret-of-holdfast\n", 22));
	close(secret);
	CHECK_EQ(0, unit_lun_start(&spec, text, sizeof(text)));
	fd = open(spec.image, O_RDWR | O_DIRECT | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(0, put(7, 0));
	CHECK_EQ(0, fsync(fd));
	end();
	spec.chap[0] = '\0';
}

int main(void)
{
	bool there;

	snprintf(dir, sizeof(dir), "/tmp/hf-lun.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	atexit(clean);
	there = tgt_begin(dir);
	if (there && access("/dev/fuse", R_OK | W_OK) < 0) {
		printf("no /dev/fuse for this user\n");
		tgt_end();
		there = false;
	}
	if (there) {
		buf = aligned_alloc(4096, SIZE);
		back = aligned_alloc(4096, SIZE);
		tgt_spec(&spec, dir, "n1");
		mkdir(spec.lun_dir, 0700);
		CASE(t_file);
		CASE(t_preempted);
		CASE(t_come_back);
		CASE(t_not_mine);
		CASE(t_path);
		CASE(t_hangs);
		CASE(t_chap);
		free(buf);
		free(back);
	}
	return check_end();
}
