/* t_base.c - cursors, lists, CRC. */
#include "check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/list.h"
#include "base/slab.h"
#include "base/sum64.h"
#include "base/trace.h"

static void t_cursor_round_trip(void)
{
	uint8_t mem[32];
	struct wr w;
	struct rd r;

	wr_init(&w, mem, sizeof(mem));
	wr_u8(&w, 0xab);
	wr_u16(&w, 0x1234);
	wr_u32(&w, 0xdeadbeef);
	wr_u64(&w, 0x0102030405060708ULL);
	CHECK(wr_ok(&w));
	CHECK_EQ(15, wr_len(&w));
	rd_init(&r, mem, wr_len(&w));
	CHECK_EQ(0xab, rd_u8(&r));
	CHECK_EQ(0x1234, rd_u16(&r));
	CHECK_EQ(0xdeadbeef, rd_u32(&r));
	CHECK_EQ(0x0102030405060708ULL, rd_u64(&r));
	CHECK(rd_done(&r));
}

static void t_cursor_short_input_is_sticky(void)
{
	uint8_t mem[3] = {1, 2, 3};
	struct rd r;

	rd_init(&r, mem, sizeof(mem));
	CHECK_EQ(0, rd_u32(&r));
	CHECK(!rd_ok(&r));
	CHECK_EQ(0, rd_u8(&r));
	CHECK(!rd_done(&r));
}

static void t_cursor_full_output_is_sticky(void)
{
	uint8_t mem[3];
	struct wr w;

	wr_init(&w, mem, sizeof(mem));
	wr_u32(&w, 7);
	CHECK(!wr_ok(&w));
	CHECK_EQ(0, wr_len(&w));
	wr_u8(&w, 7);
	CHECK_EQ(0, wr_len(&w));
}

static void t_crc32c_known_and_equal(void)
{
	uint8_t noise[7001]; /* longer than three long strands twice over */

	/* RFC 3720 B.4: 32 bytes of zeros. */
	memset(noise, 0, 32);
	CHECK_EQ(0x8a9136aaU, crc32c(0, noise, 32));
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * i * 131 + i / 7 + 7);
	for (size_t n = 0; n < sizeof(noise); n += 13)
		CHECK_EQ(crc32c_table(0, noise, n), crc32c(0, noise, n));
	CHECK_EQ(crc32c(0, noise, 100), crc32c(crc32c(0, noise, 37), noise + 37, 63));
	CHECK_EQ(crc32c_table(0, noise, 7001), crc32c(crc32c(0, noise, 401), noise + 401, 6600));
}

/* Of each length and place, and the same for ever: nodes compare sums, and the log keeps them. */
static void t_sum64_known_and_equal(void)
{
	static uint8_t noise[8192];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 131 + (i >> 8) * 17);
	CHECK_EQ(0xd724aadb1e94707fULL, sum64(noise, 0));
	CHECK_EQ(0x96e795d1eb7c52d7ULL, sum64(noise, 100));
	CHECK_EQ(0x87a6a05fa8f1bd20ULL, sum64(noise, sizeof(noise)));
	for (size_t n = 0; n < 1200; n++)
		CHECK_EQ(sum64_plain(noise + n % 37, n), sum64(noise + n % 37, n));
	CHECK_EQ(sum64_plain(noise + 3, 8003), sum64(noise + 3, 8003));
}

/* Each bit counts, and so do order and length. */
static void t_sum64_tells_apart(void)
{
	static uint8_t a[4096], b[4096];
	uint64_t sum = sum64(a, sizeof(a));

	CHECK(sum64(a, sizeof(a) - 1) != sum);
	CHECK(sum64(a, 128) != sum64(a, 129));
	for (size_t bit = 0; bit < 8 * sizeof(a); bit += 5) {
		a[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CHECK(sum64(a, sizeof(a)) != sum);
		a[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	a[0] = b[128] = 1; /* one stripe and its neighbour changed places */
	CHECK(sum64(a, sizeof(a)) != sum64(b, sizeof(b)));
	memset(a, 7, 128);
	memset(b, 0, 256);
	memset(b + 128, 7, 128);
	CHECK(sum64(a, sizeof(a)) != sum64(b, sizeof(b)));
}

static void t_list_order_and_double_delete(void)
{
	struct list head, a, b;

	list_init(&head);
	list_add_tail(&head, &a);
	list_add_tail(&head, &b);
	CHECK(head.next == &a && head.prev == &b);
	list_del(&a);
	list_del(&a);
	CHECK(head.next == &b);
	list_del(&b);
	CHECK(list_empty(&head));
}

static void t_marks_count(void)
{
	CHECK_EQ(0, trace_mark_count("t_base.mark"));
	for (int i = 0; i < 3; i++)
		HF_MARK("t_base.mark");
	CHECK_EQ(3, trace_mark_count("t_base.mark"));
}

/* More than a piece holds; what was given back comes again, zeroed. */
static void t_slab_hands_out_and_takes_back(void)
{
	enum { COUNT = 50000, SIZE = 100 };
	static unsigned char *at[COUNT];
	struct slab s;

	slab_init(&s, SIZE);
	for (unsigned i = 0; i < COUNT; i++) {
		at[i] = slab_get(&s);
		CHECK(at[i][0] == 0 && at[i][SIZE - 1] == 0);
		memset(at[i], (int)(i & 255), SIZE);
	}
	for (unsigned i = 0; i < COUNT; i++)
		CHECK(at[i][0] == (i & 255) && at[i][SIZE - 1] == (i & 255));
	for (unsigned i = 0; i < COUNT; i += 2)
		slab_put(&s, at[i]);
	for (unsigned i = 0; i < COUNT; i += 2) {
		at[i] = slab_get(&s);
		CHECK(at[i][0] == 0 && at[i][SIZE - 1] == 0);
	}
	for (unsigned i = 0; i < COUNT; i++)
		slab_put(&s, at[i]);
	slab_fini(&s);
}

/* ---- the harness itself -------------------------------------------------------------------------- */

/* Makes a folder with something in it, tells, and waits for its end. */
static _Noreturn void make_and_wait(int sig, int tell)
{
	char dir[] = "/tmp/hf-base-XXXXXX", below[64];

	signal(sig, SIG_DFL); /* who runs us may have it ignored */
	if (!mkdtemp(dir))
		_exit(1);
	snprintf(below, sizeof(below), "%s/x", dir);
	if (symlink("nowhere", below) != 0 || write(tell, dir, sizeof(dir)) != sizeof(dir))
		_exit(1);
	for (;;)
		pause();
}

static void t_folders_go_with_who_is_ended(void)
{
	static const int sigs[] = {SIGTERM, SIGINT, SIGHUP};
	char dir[sizeof("/tmp/hf-base-XXXXXX")];
	int ends[2], status;
	struct stat st;

	for (unsigned i = 0; i < 3; i++) {
		pid_t pid;

		CHECK_EQ(0, pipe(ends));
		pid = fork();
		if (pid == 0)
			make_and_wait(sigs[i], ends[1]);
		CHECK_EQ(sizeof(dir), read(ends[0], dir, sizeof(dir)));
		close(ends[0]);
		close(ends[1]);
		CHECK_EQ(0, lstat(dir, &st));
		CHECK_EQ(0, kill(pid, sigs[i]));
		CHECK_EQ(pid, waitpid(pid, &status, 0));
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == sigs[i]);
		CHECK(lstat(dir, &st) != 0);
	}
}

int main(void)
{
	CASE(t_cursor_round_trip);
	CASE(t_cursor_short_input_is_sticky);
	CASE(t_cursor_full_output_is_sticky);
	CASE(t_crc32c_known_and_equal);
	CASE(t_sum64_known_and_equal);
	CASE(t_sum64_tells_apart);
	CASE(t_list_order_and_double_delete);
	CASE(t_marks_count);
	CASE(t_slab_hands_out_and_takes_back);
	CASE(t_folders_go_with_who_is_ended);
	return check_end();
}
