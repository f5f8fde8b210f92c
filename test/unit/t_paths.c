/* t_paths.c - status messages that must not be taken, on every way they can come, to daemons that
 * serve: dropped, counted by way and reason, logged with a limit, and nothing else happens.
 * covers: AM-25 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "lib_daemon.h"
#include "lib_forge.h"

#include "codec/envelope.h"
#include "codec/held.h"
#include "codec/status.h"
#include "core/node.h"

static struct forge forge_of(uint16_t sender, uint16_t receiver)
{
	struct forge f = {.sender = sender, .receiver = receiver, .generation = 99, .sequence = 1};
	char path[128], name[32], err[256];

	snprintf(path, sizeof(path), "%s/key", dir);
	snprintf(name, sizeof(name), "t%d", (int)getpid());
	CHECK_EQ(0, seal_load(&f.seal, path, err, sizeof(err)));
	seal_bind(&f.seal, name);
	return f;
}

static json_t *status_of(const char *node)
{
	json_t *o;

	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N %s --json status", node));
	o = json_loads(said, 0, NULL);
	CHECK(o != NULL);
	return o;
}

/* How many n1 has dropped there for that reason. */
static long long dropped(const char *way, int number, enum drop why)
{
	json_t *o = status_of("n1"), *d;
	long long n = 0;
	size_t i;

	json_array_foreach(json_object_get(o, "dropped"), i, d)
	{
		if (strcmp(json_string_value(json_object_get(d, "way")), way) == 0 &&
		    json_integer_value(json_object_get(d, "number")) == number &&
		    strcmp(json_string_value(json_object_get(d, "reason")), drop_name(why)) == 0)
			n += json_integer_value(json_object_get(d, "count"));
	}
	json_decref(o);
	return n;
}

static bool dropped_becomes(const char *way, int number, enum drop why, long long want)
{
	long long n = 0;

	for (int i = 0; i < 100; i++) {
		n = dropped(way, number, why);
		if (n >= want)
			break;
		usleep(50000);
	}
	if (n != want)
		printf("# %s %d %s: %lld wanted, %lld counted\n", way, number, drop_name(why), want,
		       n);
	return n == want;
}

static void throw_at(unsigned host, const uint8_t *packet, size_t len, unsigned times)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(17400)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(127U << 24 | net << 16 | host);
	CHECK(fd >= 0);
	for (unsigned i = 0; i < times; i++)
		CHECK_EQ(len, sendto(fd, packet, len, 0, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
}

/* The virtual server is where it was, at the epoch that it had; the other node is heard. */
static void undisturbed(long long epoch)
{
	json_t *o = status_of("n1");
	json_t *v = json_array_get(json_object_get(o, "vservers"), 0);
	json_t *p = json_array_get(json_object_get(o, "peers"), 0);

	CHECK(strcmp(json_string_value(json_object_get(v, "state")), "SERVING") == 0);
	CHECK_EQ(epoch, json_integer_value(json_object_get(v, "epoch")));
	CHECK(strcmp(json_string_value(json_object_get(p, "verdict")), "alive") == 0);
	json_decref(o);
}

static long long epoch_now(void)
{
	json_t *o = status_of("n1");
	long long e = json_integer_value(
	    json_object_get(json_array_get(json_object_get(o, "vservers"), 0), "epoch"));

	json_decref(o);
	return e;
}

static void two_up(pid_t *n1, pid_t *n2)
{
	begin_made();
	daemons_start(n1, n2);
}

/* Without these datagrams a node would be "unreachable" at best, by its slot.
 * covers: ST-29 ST-42 ST-44 ST-104 */
static void t_network(void)
{
	uint8_t packet[4096];
	long long want[DROP_COUNT] = {0}, epoch;
	pid_t n1, n2;
	struct forge f;

	two_up(&n1, &n2);
	epoch = epoch_now();
	f = forge_of(2, 1);
	for (const struct forge_kind *k = forge_packets; k->name; k++) {
		throw_at(1, packet, forge_packet(&f, k->name, packet, sizeof(packet)), 3);
		want[k->why] += 3;
		if (!dropped_becomes("network", 0, k->why, want[k->why])) {
			printf("# kind %s\n", k->name);
			CHECK(false);
		}
	}
	undisturbed(epoch);
	CHECK(exits(0,
		    "printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 20 "
		    "bash -c 'exec 3<>/dev/tcp/127.%u.0.1/17480; cat >&3; cat <&3'",
		    net));
	CHECK(says("holdfast_messages_dropped_total{path=\"network0\",reason=\"unknown-key\"} 3"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 status"));
	CHECK(says("dropped on network 0: 3 messages, unknown-key"));
	/* A flood costs a line, not a log. */
	throw_at(1, packet, forge_packet(&f, "altered", packet, sizeof(packet)), 3000);
	undisturbed(epoch);
	CHECK(exits(0, "test $(grep -c reason=forged $D/n1.log) -le 2"));
	CHECK(
	    exits(0, "grep -q 'message from 127.0.0.1 port [0-9]* dropped reason=path' $D/n1.log"));
	daemon_end(n2, SIGKILL);
	daemon_end(n1, SIGKILL);
	end();
}

static void put_slot(const uint8_t *sector, unsigned node)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/coord.a", coord_dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(SLOT_SIZE, pwrite(fd, sector, SLOT_SIZE, (off_t)SLOT_OFFSET(node)));
	close(fd);
}

/* What lies in a dead node's slot brings it back to life only if it is a new message of its own. */
static void t_slots(void)
{
	uint8_t sector[SLOT_SIZE];
	long long want[DROP_COUNT] = {0};
	pid_t n1, n2;
	struct forge f;

	two_up(&n1, &n2);
	daemon_end(n2, SIGKILL);
	CHECK(wait_status("n1", "\"verdict\":\"dead\"", 50));
	f = forge_of(2, 1);
	for (const struct forge_kind *k = forge_slots; k->name; k++) {
		f.sequence++;
		forge_slot(&f, k->name, sector);
		put_slot(sector, 2);
		want[k->why]++;
		if (!dropped_becomes("disk", 0, k->why, want[k->why])) {
			printf("# kind %s\n", k->name);
			CHECK(false);
		}
	}
	usleep(600000); /* read again and again: counted once */
	CHECK_EQ(want[DROP_FORGED], dropped("disk", 0, DROP_FORGED));
	CHECK_EQ(want[DROP_SENDER], dropped("disk", 0, DROP_SENDER));
	CHECK(wait_status("n1", "\"verdict\":\"dead\"", 1));
	CHECK(wait_status("n1", "\"state\":\"SERVING\"", 1));
	daemon_end(n1, SIGKILL);
	end();
}

/* With an interconnect beside the network. */
static void begin_interconnect(void)
{
	begin();
	CHECK(exits(
	    0, "sed -i 's,\\(127.[0-9]*.\\)0\\(.[12] port 17400\\),&"
	       " interconnect \\11\\2,; s,\\(interconnect [0-9.]* port\\) 17400,\\1 17401,' "
	       "$D/h.conf && $OUT/holdfastd -c $D/h.conf -n && $OUT/holdfast -c $D/h.conf init"));
}

static void throw_kind(unsigned third, unsigned port, uint16_t kind, const struct forge *f,
		       bool old)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	uint8_t packet[4096], plain[STATUS_MAX];
	struct status_msg m = {.version = 1, .version_max = 1, .sender = f->sender};
	struct held h = {.nonce = {1, 2, 3}};
	size_t len, n;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	m.indicator = STATUS_NORMAL;
	m.state = NODE_NORMAL;
	m.role = STATUS_ROLE_SLAVE;
	m.generation = old ? 1 : 1000;
	m.sequence = 1;
	len = kind == ENVELOPE_MEMORY_WRITE ? status_encode(&m, plain, sizeof(plain))
					    : held_encode(&h, plain, sizeof(plain));
	n = seal_message(&f->seal, f->sender, f->receiver, kind, plain, len, packet,
			 sizeof(packet));
	to.sin_addr.s_addr = htonl(127U << 24 | net << 16 | third << 8 | 1);
	CHECK(fd >= 0);
	CHECK_EQ(n, sendto(fd, packet, n, 0, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
}

/* Both networks brought a heartbeat less than a second ago, each by itself. */
static bool heard_on_all(const char *node)
{
	json_t *o = status_of(node),
	       *p = json_array_get(json_object_get(o, "peers"), 0), *ms;
	size_t i, good = 0;

	json_array_foreach(json_object_get(p, "path_ms"), i, ms)
		good += json_is_number(ms) && json_number_value(ms) >= 0 && json_number_value(ms) < 1000;
	json_decref(o);
	return good == 2;
}

/* A node that has lost its state folder and its slots is told by its partner who it was; and what
 * was heard before a reboot is a replay after it.  The interconnect carries heartbeats of its own.
 * covers: FO-03 FO-12 ST-04 ST-12 ST-28 ST-37 ST-100 ST-105 */
static void t_memory(void)
{
	pid_t n1, n2;
	struct forge f;

	begin_interconnect();
	daemons_start(&n1, &n2);
	CHECK(wait_status("n1", "\"in_sync\":true", 60));
	CHECK(wait_status("n2", "\"in_sync\":true", 60));
	CHECK(heard_on_all("n1") && heard_on_all("n2"));
	f = forge_of(2, 1);
	throw_kind(0, 17400, ENVELOPE_MEMORY_WRITE, &f, true); /* not over an interconnect */
	CHECK(dropped_becomes("network", 0, DROP_PATH, 1));
	throw_kind(1, 17401, ENVELOPE_MEMORY_WRITE, &f, true);
	CHECK(dropped_becomes("memory", 0, DROP_REPLAYED, 1));
	throw_kind(1, 17401, ENVELOPE_MEMORY_HELD, &f, true); /* the answer to another question */
	CHECK(dropped_becomes("memory", 0, DROP_REPLAYED, 2));
	f.sender = 7;
	throw_kind(1, 17401, ENVELOPE_MEMORY_ASK, &f, true);
	CHECK(dropped_becomes("memory", 0, DROP_SENDER, 1));
	daemon_end(n1, SIGKILL);
	CHECK(wait_status("n2", "\"state\":\"SERVING\"", 60));
	CHECK(exits(
	    0, "rm -r $D/n1.state; for c in a b; do dd if=/dev/zero of=$C/coord.$c bs=4096 seek=1 "
	       "count=1 conv=notrunc 2>/dev/null; done"));
	n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"generation\":2", 80));
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 50));
	CHECK(wait_status("n2", "\"in_sync\":true", 60)); /* it noticed the loss, and wrote again */
	daemon_end(n2, SIGKILL);
	daemon_end(n1, SIGKILL);
	/* n1 alone again: an old message of n2 is no sign of life, though this instance heard
	 * nothing yet. */
	CHECK(exits(
	    0,
	    "for c in a b; do dd if=/dev/zero of=$C/coord.$c bs=4096 seek=2 count=1 conv=notrunc "
	    "2>/dev/null; done"));
	n1 = daemon_start("n1");
	CHECK(wait_status("n1", "\"generation\":3", 80));
	f.sender = 2;
	throw_kind(1, 17401, ENVELOPE_MEMORY_WRITE, &f, true);
	CHECK(dropped_becomes("memory", 0, DROP_REPLAYED, 1));
	CHECK(wait_status("n1", "\"path_ms\":[-1,-1]", 10));
	daemon_end(n1, SIGKILL);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_network);
	end_all();
	CASE(t_slots);
	end_all();
	CASE(t_memory);
	end_all();
	return check_end();
}
