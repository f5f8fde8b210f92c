/* t_store_gather.c - which records a log write waits for, and that it does not wait for long. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "io/loop.h"
#include "lib_storefake.h"

static struct fs f;

/* A record without waiting for it; its lsn. */
static uint64_t begin(unsigned n)
{
	struct store_new what = {.type = STORE_REG,
				 .attr = {.set_mode = true, .set_uid = true, .set_gid = true}};
	char name[16];
	uint64_t ino, wait;

	snprintf(name, sizeof(name), "f%u", n);
	CHECK_EQ(0, store_op_begin(f.s, NULL, &wait));
	CHECK_EQ(0, store_create(f.s, STORE_ROOT_INO, name, strlen(name), &what, &ino));
	return store_op_end(f.s, NULL, 0);
}

/* Puts a record into the log that a write in flight does not carry; returns in the round of that
 * write's completion. */
static void one_behind_another(unsigned n)
{
	uint64_t first = begin(n);

	loop_again(f.loop);
	loop_once(f.loop, 0); /* it is written at this round's end */
	begin(n + 1);
	while (store_durable_lsn(f.s) < first)
		loop_once(f.loop, 100000000);
}

static uint64_t batches(void)
{
	struct store_stats st;

	store_stats(f.s, &st);
	return st.batches;
}

/* The caller that was just answered comes back at once: one write for it and for the one that waited. */
static void t_together(void)
{
	uint64_t before;

	fs_new(&f);
	fs_settle(&f);
	before = batches();
	one_behind_another(0);
	fs_wait(&f, begin(2));
	CHECK_EQ(before + 2, batches());
	fs_drop(&f);
}

/* It does not: the other one's write goes all the same, soon; and after some such disappointments mostly
 * without any wait. */
static void t_nobody_comes(void)
{
	struct store_stats st;
	time_t until;

	fs_new(&f);
	fs_settle(&f);
	until = time(NULL) + check_patience(10);
	for (unsigned n = 0; n < 100; n += 2) {
		one_behind_another(n);
		while (store_durable_lsn(f.s) < store_last_lsn(f.s) && time(NULL) < until)
			loop_once(f.loop, 10000000);
		CHECK(time(NULL) < until);
	}
	store_stats(f.s, &st);
	CHECK(st.gathered_short >= 3);
	CHECK(st.gathered <= 12); /* of 50 */
	fs_drop(&f);
}

static void spin(uint64_t ns)
{
	uint64_t until = loop_clock_ns() + ns;

	while (loop_clock_ns() < until)
		;
}

/* Four are answered while one waits; two come back late, two in the round after that.  Batches. */
static uint64_t late_callers(unsigned n)
{
	uint64_t first = 0, before = batches();

	for (unsigned i = 0; i < 4; i++)
		first = begin(n + i);
	loop_again(f.loop);
	loop_once(f.loop, 0);
	begin(n + 4);
	while (store_durable_lsn(f.s) < first)
		loop_once(f.loop, 100000000);
	spin(250000); /* longer than a write waits for anybody */
	begin(n + 5);
	begin(n + 6);
	loop_again(f.loop);
	loop_once(f.loop, 0);
	begin(n + 7);
	begin(n + 8);
	fs_wait(&f, store_last_lsn(f.s));
	return batches() - before;
}

/* While each round brings more the write waits, up to a limit; on a busy machine not in every try. */
static void t_while_they_come(void)
{
	bool together = false;

	fs_new(&f);
	fs_settle(&f);
	for (unsigned n = 0; n < 200 && !together; n++)
		together = late_callers(n * 10) == 2;
	CHECK(together);
	fs_drop(&f);
}

/* Closing waits for nobody. */
static void t_close_at_once(void)
{
	fs_new(&f);
	one_behind_another(0);
	fs_restart(&f);
	CHECK(fs_look(&f, STORE_ROOT_INO, "f1") != 0);
	fs_drop(&f);
}

int main(void)
{
	CASE(t_together);
	CASE(t_nobody_comes);
	CASE(t_while_they_come);
	CASE(t_close_at_once);
	return check_end();
}
