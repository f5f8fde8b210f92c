/* t_store_points.c - consistency points and the two log sections, on a real store. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "lib_storefake.h"
#include "store/record.h"

#define ROOT	STORE_ROOT_INO
#define NEVER	(3600ULL * 1000000000)
#define TENTH_NS 100000000ULL

static struct fs f;

/* The half that has the batch with this first lsn, -1: none has. */
static int half_of(uint64_t lsn)
{
	uint8_t buf[BATCH_HEAD];
	struct batch_head h;
	int found = -1;

	for (int half = 0; half < 2; half++) {
		char path[96];
		int fd;

		snprintf(path, sizeof(path), "%s/log/%d", f.dir, half);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		for (long at = 0; at < 4 << 20; at += BATCH_ALIGN)
			if (pread(fd, buf, sizeof(buf), at) == sizeof(buf) &&
			    batch_head_decode(&h, buf, sizeof(buf)) == 0 && h.first_lsn == lsn)
				found = half;
		close(fd);
	}
	return found;
}

static uint64_t points(void)
{
	struct store_stats st;

	store_stats(f.s, &st);
	return st.checkpoints;
}

static uint64_t point_lsn(void)
{
	struct store_info i;

	store_info(f.s, &i);
	return i.checkpoint_lsn;
}

static void fresh(uint64_t interval_ns)
{
	fs_new(&f);
	f.conf.checkpoint_interval_ns = interval_ns;
	fs_restart(&f);
	fs_settle(&f);
}

/* Nobody asks for one and the section is nearly empty: the interval alone.
 * covers: FO-59 */
static void t_point_at_intervals(void)
{
	uint64_t before = 0, lsn = 0;
	char name[16];

	fresh(TENTH_NS);
	for (int k = 0; k < 2; k++) {
		/* A log that is written more slowly than the interval may have its point already. */
		for (int i = 0; i < 100 && (i == 0 || point_lsn() >= lsn); i++) {
			before = points();
			snprintf(name, sizeof(name), "%d.%d", k, i);
			fs_make(&f, ROOT, name, STORE_REG, NULL);
			lsn = store_last_lsn(f.s);
		}
		CHECK(point_lsn() < lsn);
		for (int i = 0; i < 50 && point_lsn() < lsn; i++)
			loop_once(f.loop, TENTH_NS);
		CHECK(points() > before); /* on a slow machine one may begin before the record is there */
		CHECK(point_lsn() >= lsn);
	}
	fs_drop(&f);
}

/* The interval is far away: a section that fills is flushed all the same.
 * covers: FO-59 FO-60 */
static void t_point_when_a_section_fills(void)
{
	static char data[200000];
	uint64_t before, ino;
	unsigned n;

	fresh(NEVER);
	before = points();
	fs_make(&f, ROOT, "a", STORE_REG, &ino);
	for (n = 0; n < 200 && points() < before + 4; n++)
		CHECK_EQ(0, fs_write(&f, ino, n * sizeof(data), data, sizeof(data), true));
	CHECK_EQ(before + 4, points());
	CHECK(n > 4 * 10); /* each time about a whole section of 4 MiB, not some record or other */
	fs_drop(&f);
}

/* A key event: giving the store back leaves nothing in the log for whoever opens it next.
 * covers: FO-59 */
static void t_point_at_giveback(void)
{
	struct store_info i;
	uint64_t lsn;

	fresh(NEVER);
	fs_make(&f, ROOT, "a", STORE_REG, NULL);
	lsn = store_last_lsn(f.s);
	CHECK(point_lsn() < lsn);
	fs_restart(&f);
	store_info(f.s, &i);
	CHECK(i.was_clean);
	CHECK_EQ(0, i.recovered_records);
	CHECK(i.checkpoint_lsn >= lsn);
	CHECK(fs_look(&f, ROOT, "a") != 0);
	/* Without it there is: the same, but the owner dies. */
	fs_make(&f, ROOT, "b", STORE_REG, NULL);
	fs_crash(&f);
	store_info(f.s, &i);
	CHECK(!i.was_clean);
	CHECK(i.recovered_records > 0);
	CHECK(fs_look(&f, ROOT, "b") != 0);
	fs_drop(&f);
}

/* One change that is durable while the flush of the other section is still under way.  The helper
 * may be quicker than the log now and then, hence some tries. */
static bool filled_meanwhile(unsigned try, int *section)
{
	uint64_t before = points(), lsn;
	char name[16];

	snprintf(name, sizeof(name), "n%u", try);
	store_checkpoint(f.s);
	loop_once(f.loop, 0); /* the sections change places at the end of a round */
	fs_make(&f, ROOT, name, STORE_REG, NULL); /* waits until it is durable */
	lsn = store_last_lsn(f.s);
	if (points() != before || point_lsn() >= lsn)
		return false;
	*section = half_of(lsn);
	while (points() == before)
		loop_once(f.loop, TENTH_NS);
	return true;
}

/* covers: FO-60 */
static void t_one_fills_while_the_other_is_flushed(void)
{
	bool seen[2] = {false, false};
	int section, old;
	char name[16];
	uint64_t ino;

	fresh(NEVER);
	for (unsigned try = 0; try < 40 && !(seen[0] && seen[1]); try++) {
		for (unsigned i = 0; i < 20; i++) { /* so that there is something to flush */
			snprintf(name, sizeof(name), "f%u.%u", try, i);
			fs_make(&f, ROOT, name, STORE_REG, &ino);
			fs_write(&f, ino, 0, name, sizeof(name), true);
		}
		old = half_of(store_last_lsn(f.s));
		CHECK(old >= 0);
		if (!filled_meanwhile(try, &section))
			continue;
		CHECK_EQ(1 - old, section);
		seen[section] = true;
	}
	CHECK(seen[0] && seen[1]);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_point_at_intervals);
	CASE(t_point_when_a_section_fills);
	CASE(t_point_at_giveback);
	CASE(t_one_fills_while_the_other_is_flushed);
	return check_end();
}
