/* t_array.c - the test array's reservations and its volatile caches.  What the fence rests on in the
 * lab must itself be right. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../tools/array_pr.h"
#include "../../tools/array_vol.h"

#define K1 0x1111000000000001ULL
#define K2 0x2222000000000002ULL
#define K3 0x3333000000000003ULL

/* ---- reservations ---------------------------------------------------------------------------- */
static void two_registered_first_holds(struct pr *p)
{
	pr_init(p);
	CHECK_EQ(PR_OK, pr_register(p, 0, K1));
	CHECK_EQ(PR_OK, pr_register(p, 1, K2));
	CHECK_EQ(PR_OK, pr_reserve(p, 0, K1));
}

/* covers: F2 */
static void t_only_registrants_write(void)
{
	struct pr p;

	pr_init(&p);
	CHECK(pr_may_write(&p, 0) && pr_may_write(&p, 1));
	CHECK_EQ(PR_CONFLICT, pr_reserve(&p, 0, K1));
	CHECK_EQ(PR_OK, pr_register(&p, 0, K1));
	CHECK_EQ(PR_OK, pr_reserve(&p, 0, K1));
	CHECK(pr_may_write(&p, 0) && !pr_may_write(&p, 1));
	CHECK_EQ(PR_OK, pr_register(&p, 1, K2));
	CHECK(pr_may_write(&p, 1));
	CHECK_EQ(PR_CONFLICT, pr_reserve(&p, 1, K2));
	CHECK(pr_check(&p));
}

/* covers: F2 */
static void t_preempt_takes_and_shuts_out(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	CHECK_EQ(PR_OK, pr_preempt(&p, 1, K2, K1));
	CHECK_EQ(1, p.holder);
	CHECK(pr_may_write(&p, 1) && !pr_may_write(&p, 0));
	CHECK(pr_take_attention(&p, 0) && !pr_take_attention(&p, 0));
	CHECK_EQ(PR_CONFLICT, pr_reserve(&p, 0, K1));
	/* The loser of a race preempts a key that is no longer there. */
	CHECK_EQ(PR_CONFLICT, pr_preempt(&p, 0, K1, K2));
	CHECK_EQ(PR_CONFLICT, pr_preempt(&p, 1, K2, K1));
}

/* covers: F2 */
static void t_preempt_of_a_bystander_leaves_the_holder(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	pr_register(&p, 2, K3);
	CHECK_EQ(PR_OK, pr_preempt(&p, 1, K2, K3));
	CHECK_EQ(0, p.holder);
	CHECK(!pr_may_write(&p, 2));
	CHECK_EQ(PR_INVALID, pr_preempt(&p, 1, K2, 0));
}

/* covers: F2 */
static void t_preempt_by_a_stranger_is_refused(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	CHECK_EQ(PR_CONFLICT, pr_preempt(&p, 2, K3, K1));
	CHECK_EQ(PR_CONFLICT, pr_preempt(&p, 1, K3, K1));
	CHECK_EQ(0, p.holder);
}

static void t_holder_preempting_itself_stays(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	CHECK_EQ(PR_OK, pr_preempt(&p, 0, K1, K1));
	CHECK_EQ(0, p.holder);
	CHECK(pr_may_write(&p, 0));
}

/* covers: F2 */
static void t_reservation_goes_with_its_holder(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	CHECK_EQ(PR_CONFLICT, pr_unregister(&p, 0, K2));
	CHECK_EQ(PR_OK, pr_unregister(&p, 0, K1));
	CHECK_EQ(PR_NOBODY, p.holder);
	CHECK(pr_take_attention(&p, 1));
	CHECK(pr_may_write(&p, 2));
	CHECK_EQ(PR_OK, pr_release(&p, 1, K2));
	two_registered_first_holds(&p);
	CHECK_EQ(PR_OK, pr_release(&p, 1, K2));
	CHECK_EQ(0, p.holder);
	CHECK_EQ(PR_OK, pr_release(&p, 0, K1));
	CHECK_EQ(PR_NOBODY, p.holder);
}

static void t_generation_counts_registrations(void)
{
	struct pr p;

	two_registered_first_holds(&p);
	CHECK_EQ(2, p.generation);
	pr_preempt(&p, 1, K2, K1);
	CHECK_EQ(3, p.generation);
	pr_release(&p, 1, K2);
	CHECK_EQ(3, p.generation);
	CHECK_EQ(PR_OK, pr_clear(&p, 1, K2));
	CHECK_EQ(4, p.generation);
	CHECK_EQ(PR_CONFLICT, pr_clear(&p, 1, K2));
}

static void t_reservations_survive_a_restart(void)
{
	struct pr p, q;
	char text[4096];

	two_registered_first_holds(&p);
	CHECK(pr_save(&p, text, sizeof(text)) > 0);
	CHECK_EQ(0, pr_load(&q, text));
	CHECK_EQ(0, q.holder);
	CHECK_EQ(2, q.generation);
	CHECK(q.key[0] == K1 && q.key[1] == K2);
	CHECK_EQ(-EBADMSG, pr_load(&q, "gen 1 holder 3\n"));
	CHECK_EQ(-EBADMSG, pr_load(&q, "noise"));
	CHECK_EQ(-EBADMSG, pr_load(&q, "gen 1 holder -1\npath 99 key 1\n"));
}

/* ---- volatile caches --------------------------------------------------------------------------- */
static struct vol vol;
static char image[] = "/tmp/t_array.XXXXXX";

static void vol_begin(void)
{
	int fd;

	memcpy(image + sizeof(image) - 7, "XXXXXX", 6);
	fd = mkstemp(image);
	CHECK(fd >= 0);
	CHECK_EQ(0, ftruncate(fd, 1 << 20));
	close(fd);
	CHECK_EQ(0, vol_open(&vol, "u1", image));
}

static void vol_end(void)
{
	unlink(vol.pr_file);
	vol_close(&vol);
	unlink(image);
}

static int64_t put(unsigned path, const char *text, uint64_t off, bool through)
{
	uint64_t key, at;

	return vol_write(&vol, path, text, strlen(text), off, through, &key, &at);
}

static bool sees(unsigned path, const char *text, uint64_t off)
{
	char buf[64];

	return vol_read(&vol, path, buf, strlen(text), off) == (int64_t)strlen(text) &&
	       memcmp(buf, text, strlen(text)) == 0;
}

static int flush(unsigned path)
{
	uint64_t key, at;

	return vol_flush(&vol, path, &key, &at);
}

static void t_power_loss_drops_what_was_not_flushed(void)
{
	vol_begin();
	CHECK_EQ(4, put(0, "aaaa", 510, false));
	CHECK(sees(0, "aaaa", 510) && !sees(1, "aaaa", 510));
	CHECK_EQ(0, flush(0));
	CHECK(sees(1, "aaaa", 510));
	CHECK_EQ(4, put(0, "bbbb", 510, false));
	CHECK_EQ(4, put(0, "cccc", 8192, false));
	CHECK(sees(0, "bbbb", 510) && sees(0, "cccc", 8192));
	CHECK_EQ(1536, vol_drop(&vol, 0));
	CHECK(sees(0, "aaaa", 510) && !sees(0, "cccc", 8192));
	CHECK_EQ(4, put(0, "dddd", 4094, true));
	vol_drop(&vol, 0);
	CHECK(sees(1, "dddd", 4094));
	vol_end();
}

/* covers: F2 */
static void t_a_preempted_path_neither_writes_nor_flushes(void)
{
	uint64_t at;

	vol_begin();
	CHECK_EQ(PR_OK, pr_register(&vol.pr, 0, K1));
	CHECK_EQ(PR_OK, pr_register(&vol.pr, 1, K2));
	CHECK_EQ(PR_OK, pr_reserve(&vol.pr, 0, K1));
	CHECK_EQ(3, put(0, "old", 0, false));
	CHECK_EQ(PR_OK, vol_pr(&vol, 1, pr_preempt, K2, K1, &at));
	CHECK_EQ(-EBADE, put(0, "new", 0, false));
	CHECK_EQ(-EBADE, flush(0));
	CHECK(!sees(1, "old", 0) && !sees(0, "old", 0));
	CHECK_EQ(3, put(1, "two", 0, true));
	CHECK(sees(0, "two", 0));
	vol_end();
}

static void t_a_cut_path_gives_eio(void)
{
	char buf[4];

	vol_begin();
	CHECK_EQ(3, put(0, "one", 0, false));
	vol_set_off(&vol, 0, true);
	CHECK_EQ(-EIO, put(0, "two", 0, false));
	CHECK_EQ(-EIO, flush(0));
	CHECK_EQ(-EIO, vol_read(&vol, 0, buf, 3, 0));
	vol_set_off(&vol, 0, false);
	CHECK_EQ(0, flush(0));
	CHECK(sees(1, "one", 0));
	CHECK_EQ(-ENOSPC, put(0, "end", (1 << 20) - 2, false));
	CHECK_EQ(0, vol_read(&vol, 0, buf, 3, 1 << 20));
	vol_end();
}

int main(void)
{
	CASE(t_only_registrants_write);
	CASE(t_preempt_takes_and_shuts_out);
	CASE(t_preempt_of_a_bystander_leaves_the_holder);
	CASE(t_preempt_by_a_stranger_is_refused);
	CASE(t_holder_preempting_itself_stays);
	CASE(t_reservation_goes_with_its_holder);
	CASE(t_generation_counts_registrations);
	CASE(t_reservations_survive_a_restart);
	CASE(t_power_loss_drops_what_was_not_flushed);
	CASE(t_a_preempted_path_neither_writes_nor_flushes);
	CASE(t_a_cut_path_gives_eio);
	return check_end();
}
