/* t_store_gate.c - while the lease is gone the log is not written, whatever was begun. */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/trace.h"
#include "io/loop.h"
#include "store/store.h"

#define MS 1000000ULL

static bool gone;

static bool may_write(void *arg)
{
	(void)arg;
	return !gone;
}

static uint64_t make_file(struct store *s, const char *name)
{
	struct store_new what = {.type = STORE_REG,
				 .attr = {.set_mode = true, .set_uid = true, .set_gid = true}};
	uint64_t ino, wait;

	CHECK_EQ(0, store_op_begin(s, NULL, &wait));
	CHECK_EQ(0, store_create(s, STORE_ROOT_INO, name, strlen(name), &what, &ino));
	return store_op_end(s, NULL, 0);
}

static void log_read(const char *dir, uint8_t *out, size_t size)
{
	char path[128];
	int fd;

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/log/%d", dir, i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		CHECK_EQ(size, read(fd, out + (size_t)i * size, size));
		close(fd);
	}
}

/* covers: F4
 * A record that was begun under the lease waits with its reply when the lease has gone before the
 * write; it goes on when the same lease is back. */
static void t_gate(void)
{
	static uint8_t before[2][1 << 20], after[2][1 << 20];
	char top[] = "/tmp/t_gate.XXXXXX", err[256], cmd[64];
	struct store_open_args a = {.epoch = 1, .may_write = may_write};
	struct store *s = NULL;
	uint64_t lsn;

	CHECK(mkdtemp(top) != NULL);
	store_conf_default(&a.conf);
	a.conf.log_half_bytes = 4 << 20;
	CHECK_EQ(0, store_create_at(top, &a.conf, NULL, err, sizeof(err)));
	CHECK_EQ(0, loop_new(&a.loop, 64));
	a.dir = top;
	CHECK_EQ(0, store_open(&s, &a, err, sizeof(err)));
	lsn = make_file(s, "one");
	for (int i = 0; i < 5000 && store_durable_lsn(s) < lsn; i++)
		CHECK_EQ(0, loop_once(a.loop, 5 * MS));
	CHECK(store_durable_lsn(s) >= lsn);
	gone = true;
	log_read(top, before[0], sizeof(before[0]));
	lsn = make_file(s, "two");
	for (int i = 0; i < 40; i++)
		CHECK_EQ(0, loop_once(a.loop, 2 * MS));
	CHECK(store_durable_lsn(s) < lsn);
	log_read(top, after[0], sizeof(after[0]));
	CHECK(memcmp(before, after, sizeof(before)) == 0);
	CHECK(trace_mark_count("store.write_held") > 0);
	gone = false;
	for (int i = 0; i < 5000 && store_durable_lsn(s) < lsn; i++)
		CHECK_EQ(0, loop_once(a.loop, 5 * MS));
	CHECK(store_durable_lsn(s) >= lsn);
	store_free(s);
	for (int i = 0; i < 5000 && loop_busy(a.loop); i++)
		CHECK_EQ(0, loop_once(a.loop, 5 * MS));
	loop_free(a.loop);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	CHECK_EQ(0, system(cmd));
}

int main(void)
{
	CASE(t_gate);
	return check_end();
}
