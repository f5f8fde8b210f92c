/* t_events.c - the event log: numbers, torn tails, rot, turning over, and its child. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "ctl/events.h"

#define S_NS 1000000000ULL
#define NOW  (1700000000 * S_NS)

static char dir[] = "/tmp/t_events.XXXXXX";

static const char *at(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void wipe(void)
{
	unlink(at("events"));
	unlink(at("events.1"));
	unlink(at("events.2"));
	unlink(at("events.3"));
	unlink(at("events.lock"));
}

static int add(struct events_file *f, unsigned i, uint64_t now_ns)
{
	char body[200];

	snprintf(body, sizeof(body), "{\"time_ns\":%llu,\"what\":\"thing %u\"}",
		 (unsigned long long)now_ns, i);
	return events_file_add(f, body, strlen(body), now_ns);
}

static void write_some(unsigned count)
{
	struct events_file f;

	CHECK_EQ(0, events_file_open(&f, dir, 1 << 20, 3600 * S_NS));
	for (unsigned i = 0; i < count; i++)
		CHECK_EQ(0, add(&f, i, NOW));
	CHECK_EQ(0, events_file_sync(&f));
	events_file_close(&f);
}

static long long seq_of(json_t *list, size_t i)
{
	return json_integer_value(json_object_get(json_array_get(list, i), "seq"));
}

static void becomes_old(void)
{
	char from[200];

	snprintf(from, sizeof(from), "%s/events", dir);
	CHECK_EQ(0, rename(from, at("events.1")));
}

/* Numbers go on over a restart, also when the present part is new. */
static void t_numbers(void)
{
	struct events_seen seen = {0};
	json_t *list = json_array();

	wipe();
	write_some(3);
	write_some(2);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK_EQ(5, seen.lines);
	CHECK_EQ(5, seq_of(list, 4));
	becomes_old();
	write_some(1);
	json_array_clear(list);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK_EQ(6, seq_of(list, 5));
	json_decref(list);
}

static void append(const char *text)
{
	FILE *f = fopen(at("events"), "a");

	CHECK(f != NULL);
	fputs(text, f);
	fclose(f);
}

/* What a power loss leaves is no damage, and the next line stands by itself. */
static void t_torn_tail(void)
{
	struct events_seen seen = {0};
	json_t *list = json_array();

	wipe();
	write_some(2);
	append("0123abcd {\"seq\":3,\"wh");
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK(seen.torn && seen.lines == 2 && seen.damaged == 0);
	write_some(1);
	json_array_clear(list);
	seen = (struct events_seen){0};
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK(!seen.torn && seen.lines == 3 && seen.damaged == 0);
	CHECK_EQ(3, seq_of(list, 2));
	json_decref(list);
}

static void flip(long offset)
{
	int fd = open(at("events"), O_RDWR);
	char c;

	CHECK(fd >= 0 && pread(fd, &c, 1, offset) == 1);
	c ^= 1;
	CHECK_EQ(1, pwrite(fd, &c, 1, offset));
	close(fd);
}

/* Every single byte of a line is covered; the others are still read. */
static void t_rot(void)
{
	struct stat st;
	long line;

	wipe();
	write_some(3);
	CHECK_EQ(0, stat(at("events"), &st));
	line = (long)st.st_size / 3;
	for (long i = line; i < 2 * line; i++) {
		struct events_seen seen = {0};
		json_t *list = json_array();

		flip(i);
		CHECK_EQ(0, events_read_dir(dir, list, &seen));
		CHECK(seen.damaged >= 1 && seen.lines + seen.damaged >= 2 && seen.lines < 3);
		flip(i);
		json_decref(list);
	}
}

/* A number that was on a line that rotted is not given again. */
static void t_rot_keeps_numbers(void)
{
	struct events_seen seen = {0};
	json_t *list = json_array();
	struct stat st;

	wipe();
	write_some(3);
	CHECK_EQ(0, stat(at("events"), &st));
	flip((long)st.st_size - 5);
	write_some(1);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK(seen.damaged == 1 && seen.lines == 3);
	CHECK_EQ(4, seq_of(list, 2));
	json_decref(list);
}

static size_t size_of(const char *name)
{
	struct stat st;

	return stat(at(name), &st) == 0 ? (size_t)st.st_size : 0;
}

static void t_size(void)
{
	struct events_seen seen = {0};
	json_t *list = json_array();
	struct events_file f;
	size_t all;

	wipe();
	CHECK_EQ(0, events_file_open(&f, dir, 16384, 36000 * S_NS));
	for (unsigned i = 0; i < 2000; i++) {
		CHECK_EQ(0, add(&f, i, NOW));
		all = size_of("events") + size_of("events.1") + size_of("events.2") +
		      size_of("events.3");
		CHECK(all <= 16384);
	}
	events_file_close(&f);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK(seen.damaged == 0 && seen.lines > 100);
	CHECK_EQ(2000, seq_of(list, json_array_size(list) - 1));
	for (size_t i = 1; i < json_array_size(list); i++)
		CHECK_EQ(seq_of(list, i - 1) + 1, seq_of(list, i));
	json_decref(list);
}

static void t_age(void)
{
	struct events_file f;

	wipe();
	CHECK_EQ(0, events_file_open(&f, dir, 1 << 20, 4000 * S_NS));
	CHECK_EQ(0, add(&f, 0, NOW));
	CHECK_EQ(0, add(&f, 1, NOW + 900 * S_NS));
	CHECK_EQ(0, size_of("events.1"));
	CHECK_EQ(0, add(&f, 2, NOW + 1100 * S_NS));
	CHECK(size_of("events.1") > 0);
	/* Files' times are those of now, so this is far in the future of them. */
	CHECK_EQ(0, events_file_age(&f, 4000000000ULL * S_NS));
	CHECK(size_of("events.1") == 0 && size_of("events.2") == 0);
	events_file_close(&f);
}

static void t_refused(void)
{
	struct events_file f;
	char big[EVENTS_LINE_MAX + 10];

	wipe();
	memset(big, 'x', sizeof(big));
	big[0] = '{';
	CHECK_EQ(0, events_file_open(&f, dir, 1 << 20, S_NS));
	CHECK_EQ(-EINVAL, events_file_add(&f, big, sizeof(big), NOW));
	CHECK_EQ(-EINVAL, events_file_add(&f, "[1]", 3, NOW));
	CHECK_EQ(0, size_of("events"));
	events_file_close(&f);
	CHECK_EQ(-ENOENT, events_file_open(&f, "/nonexistent", 1 << 20, S_NS));
}

static void t_objects(void)
{
	static const struct {
		const char *text, *object, *what;
	} cases[] = {
		{"vs v1: DOWN -> RESERVE", "vs v1", "DOWN -> RESERVE"},
		{"node: NORMAL -> TAKEOVER", "node n1", "NORMAL -> TAKEOVER"},
		{"peer n2: alive -> dead", "node n2", "alive -> dead"},
		{"takeover of n2: announced", "node n2", "takeover of n2: announced"},
		{"no colon here", "node n1", "no colon here"},
	};
	char object[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *what = events_object(cases[i].text, "n1", object, sizeof(object));

		CHECK(strcmp(object, cases[i].object) == 0);
		CHECK(strcmp(what, cases[i].what) == 0);
	}
}

static struct loop *start(struct events **e)
{
	struct events_conf c = {.dir = dir, .node = "n1", .size_bytes = 1 << 20, .age_ns = 3600 * S_NS};
	struct loop *l;

	CHECK_EQ(0, loop_new(&l, 64));
	CHECK_EQ(0, events_open(e, l, &c));
	return l;
}

/* What was said before the end is on disk after it, any bytes. */
static void t_child(void)
{
	struct events_item it = {.level = LOG_L_WARN, .generation = 7, .object = "vs v1",
				 .what = "bytes \xff\xfe\" and \n", .reason = "node-dead", .todo = "look"};
	struct events_seen seen = {0};
	json_t *list = json_array(), *e;
	struct events *ev;
	struct loop *l;

	wipe();
	l = start(&ev);
	for (unsigned i = 0; i < 100; i++)
		events_say(ev, &it);
	CHECK_EQ(0, events_lost(ev));
	events_close(ev, 10000);
	loop_free(l);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK(seen.lines == 100 && seen.damaged == 0);
	e = json_array_get(list, 99);
	CHECK_EQ(100, seq_of(list, 99));
	CHECK_EQ(7, json_integer_value(json_object_get(e, "generation")));
	CHECK(strcmp("bytes ??\" and ?", json_string_value(json_object_get(e, "what"))) == 0);
	CHECK(strcmp("warning", json_string_value(json_object_get(e, "level"))) == 0);
	CHECK(strcmp("node-dead", json_string_value(json_object_get(e, "reason"))) == 0);
	CHECK(json_integer_value(json_object_get(e, "boot_ns")) > 0);
	json_decref(list);
}

/* The child writes by itself: waits until so many lines are on disk. */
static bool lines_become(uint64_t want)
{
	for (int tries = 0; tries < check_patience(50); tries++) {
		struct events_seen seen = {0};
		json_t *list = json_array();

		CHECK_EQ(0, events_read_dir(dir, list, &seen));
		json_decref(list);
		if (seen.lines >= want)
			return true;
		usleep(100000);
	}
	return false;
}

/* The child's pid. */
static int child_pid(void)
{
	int pid = 0, tries = 1000;

	while (pid == 0 && tries--) {
		FILE *f = popen("for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = "
				"holdfast-events ] && grep -q \"PPid:.$PPID\\$\" $p/status && "
				"echo ${p#/proc/}; done", "r");

		if (fscanf(f, "%d", &pid) != 1)
			usleep(10000);
		pclose(f);
	}
	CHECK(pid > 0);
	return pid;
}

/* A child that stands still holds nobody up: what it cannot take is counted and told. */
static void t_slow_child(void)
{
	struct events_item it = {.level = LOG_L_INFO, .object = "vs v1", .what = "x"};
	struct events_seen seen = {0};
	json_t *list = json_array();
	uint64_t begun, lost;
	struct events *ev;
	struct loop *l;
	int pid;

	wipe();
	l = start(&ev);
	pid = child_pid();
	kill(pid, SIGSTOP);
	CHECK_EQ(pid, waitpid(pid, NULL, WUNTRACED)); /* it does stand */
	begun = loop_clock_ns();
	for (unsigned i = 0; i < 20000; i++)
		events_say(ev, &it);
	CHECK(loop_clock_ns() - begun < 20 * S_NS);
	lost = events_lost(ev);
	CHECK(lost > 0);
	kill(pid, SIGCONT);
	CHECK(lines_become(20000 - lost));
	events_say(ev, &it);
	events_close(ev, 10000);
	loop_free(l);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK_EQ(20000 - lost + 2, seen.lines); /* the one that tells, and the last */
	json_decref(list);
}

/* A child that is killed is replaced, and numbers go on. */
static void t_child_again(void)
{
	struct events_item it = {.level = LOG_L_INFO, .object = "vs v1", .what = "x"};
	struct events_seen seen = {0};
	json_t *list = json_array();
	struct events *ev;
	struct loop *l;
	int pid;

	wipe();
	l = start(&ev);
	events_say(ev, &it);
	CHECK(lines_become(1));
	pid = child_pid();
	kill(pid, SIGKILL);
	for (unsigned i = 0; i < 30 || child_pid() == pid; i++) {
		CHECK(i < 1000);
		CHECK_EQ(0, loop_once(l, 50000000));
	}
	events_say(ev, &it);
	events_close(ev, 10000);
	loop_free(l);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK_EQ(2, seen.lines);
	CHECK_EQ(2, seq_of(list, 1));
	json_decref(list);
}

/* A part that could not be opened once, for want of a descriptor or room, is opened by the next event. */
static void t_opened_later(void)
{
	struct events_seen seen = {0};
	json_t *list = json_array();
	struct events_file f;

	wipe();
	CHECK_EQ(0, events_file_open(&f, dir, 65536, 3600 * S_NS));
	events_file_close(&f); /* as it is after a turning over that failed */
	CHECK_EQ(0, events_file_sync(&f));
	CHECK_EQ(0, events_file_add(&f, "{\"what\":\"x\"}", 12, 1));
	CHECK_EQ(0, events_file_sync(&f));
	events_file_close(&f);
	CHECK_EQ(0, events_read_dir(dir, list, &seen));
	CHECK_EQ(1, seen.lines);
	json_decref(list);
}

int main(void)
{
	CHECK(mkdtemp(dir) != NULL);
	CASE(t_numbers);
	CASE(t_opened_later);
	CASE(t_torn_tail);
	CASE(t_rot);
	CASE(t_rot_keeps_numbers);
	CASE(t_size);
	CASE(t_age);
	CASE(t_refused);
	CASE(t_objects);
	CASE(t_child);
	CASE(t_slow_child);
	CASE(t_child_again);
	wipe();
	rmdir(dir);
	return check_end();
}
