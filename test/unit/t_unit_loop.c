/* t_unit_loop.c - taking and giving up reservations, against an array of our own that misbehaves
 * as real ones do: unit attentions, answers that lie about what was done, somebody in between.
 * The image is a plain file; attaching and mounting are the lab's tests. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "io/arrayctl.h"
#include "io/unit.h"

#define KEYS 8

static char dir[64];
static struct unit_spec spec;
static struct seal seal;
static const struct unit_self n1 = {.node = 1, .node_name = "n1", .generation = 10};
static const struct unit_self n2 = {.node = 2, .node_name = "n2", .generation = 20};
static struct unit_answer out;

/* ---- the array ---------------------------------------------------------------------------------- */
static struct {
	pthread_mutex_t lock;
	int listener;
	uint64_t key[KEYS], holder; /* key[i]: of path i; this test's node uses one path: its own */
	unsigned me;
	unsigned attentions; /* so many commands are answered with ATTENTION first */
	bool lie;	     /* changes are carried out and answered with CONFLICT */
	bool dead;	     /* every answer is ERROR */
	unsigned commands;
} array = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void drop_key(uint64_t key)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (array.key[i] == key)
			array.key[i] = 0;
	if (array.holder == key)
		array.holder = 0;
}

static bool is_registered(void)
{
	return array.key[array.me] != 0;
}

static void carry_out(const char *verb, uint64_t key, uint64_t victim)
{
	if (strcmp(verb, "REGISTER") == 0) {
		array.key[array.me] = key;
	} else if (strcmp(verb, "UNREGISTER") == 0) {
		drop_key(key);
	} else if (!is_registered()) {
		return;
	} else if (strcmp(verb, "RESERVE") == 0) {
		if (!array.holder)
			array.holder = key;
	} else if (strcmp(verb, "PREEMPT") == 0) {
		bool held = array.holder == victim;

		drop_key(victim);
		if (held)
			array.holder = key;
	}
}

static void answer(char *line, size_t size, char *reply, size_t reply_size)
{
	char verb[16] = "", unit[32] = "";
	unsigned long long key = 0, victim = 0;
	size_t n;

	(void)size;
	sscanf(line, "%15s %31s %llx %llx", verb, unit, &key, &victim);
	array.commands++;
	if (array.dead) {
		snprintf(reply, reply_size, "ERROR the path is cut\n");
	} else if (array.attentions) {
		array.attentions--;
		snprintf(reply, reply_size, "ATTENTION\n");
	} else if (strcmp(verb, "READKEYS") == 0) {
		n = (size_t)snprintf(reply, reply_size, "OK gen=1 keys=");
		for (unsigned i = 0; i < KEYS; i++)
			if (array.key[i])
				n += (size_t)snprintf(reply + n, reply_size - n, "%s0x%016llx",
						      reply[n - 1] == '=' ? "" : ",",
						      (unsigned long long)array.key[i]);
		snprintf(reply + n, reply_size - n, "\n");
	} else if (strcmp(verb, "READRES") == 0 && array.holder) {
		snprintf(reply, reply_size, "OK gen=1 holder=0x%016llx\n",
			 (unsigned long long)array.holder);
	} else if (strcmp(verb, "READRES") == 0) {
		snprintf(reply, reply_size, "OK gen=1 holder=none\n");
	} else {
		carry_out(verb, key, victim);
		snprintf(reply, reply_size, "%s\n", array.lie ? "CONFLICT" : "OK");
	}
}

static void *serve(void *arg)
{
	char line[ARRAYCTL_LINE_MAX], reply[ARRAYCTL_LINE_MAX];

	(void)arg;
	for (;;) {
		int fd = accept(array.listener, NULL, NULL);
		size_t len = 0;
		ssize_t n;

		if (fd < 0)
			return NULL;
		while ((n = read(fd, line + len, 1)) == 1) {
			if (line[len++] != '\n' && len < sizeof(line) - 1)
				continue;
			line[len - 1] = '\0';
			len = 0;
			pthread_mutex_lock(&array.lock);
			answer(line, sizeof(line), reply, sizeof(reply));
			pthread_mutex_unlock(&array.lock);
			if (write(fd, reply, strlen(reply)) < 0)
				break;
		}
		close(fd);
	}
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static pthread_t server;

static void begin(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char err[256], path[128];
	int fd;

	snprintf(dir, sizeof(dir), "/tmp/hf-loop.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	spec = (struct unit_spec){.backend = UNIT_LOOP, .name = "u1", .id = 5, .fstype = "ext4"};
	snprintf(spec.root, sizeof(spec.root), "%s/mnt", dir);
	snprintf(spec.lock, sizeof(spec.lock), "%s/u1.lock", dir);
	snprintf(spec.image, sizeof(spec.image), "%s/u1.img", dir);
	snprintf(spec.record, sizeof(spec.record), "%s/u1.own", dir);
	snprintf(spec.control, sizeof(spec.control), "%s/control", dir);
	for (int i = 0; i < 2; i++) {
		fd = open(i ? spec.image : spec.record, O_RDWR | O_CREAT, 0600);
		CHECK_EQ(0, ftruncate(fd, 65536));
		close(fd);
	}
	snprintf(path, sizeof(path), "%s/key", dir);
	CHECK_EQ(0, seal_create(path));
	CHECK_EQ(0, seal_load(&seal, path, err, sizeof(err)));
	CHECK_EQ(0, unit_make(&spec, &seal, err, sizeof(err)));
	CHECK_EQ(-EALREADY, unit_make(&spec, &seal, err, sizeof(err)));
	memset(array.key, 0, sizeof(array.key));
	array.holder = 0;
	array.attentions = array.commands = 0;
	array.lie = array.dead = false;
	array.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/control", dir);
	CHECK_EQ(0, bind(array.listener, (struct sockaddr *)&at, sizeof(at)));
	CHECK_EQ(0, listen(array.listener, 8));
	CHECK_EQ(0, pthread_create(&server, NULL, serve, NULL));
}

static void end(void)
{
	shutdown(array.listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(array.listener);
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void acquire(const struct unit_self *self, struct unit_ask ask)
{
	int fd = unit_lock_open(&spec);

	array.me = self->node;
	memset(&out, 0, sizeof(out));
	unit_acquire(&spec, &seal, self, &ask, fd, &out);
	close(fd);
}

static void release(const struct unit_self *self)
{
	array.me = self->node;
	memset(&out, 0, sizeof(out));
	unit_release(&spec, &seal, self, &out);
}

static unsigned registered(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < KEYS; i++)
		n += array.key[i] != 0;
	return n;
}

/* covers: FO-15 FO-18 FO-19 FO-22 F2 */
static void t_life(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(1, out.epoch);
	CHECK(array.holder == owner_key(1, 10) && registered() == 1);
	acquire(&n2, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_LOST, out.outcome);
	CHECK_EQ(1, out.owner);
	CHECK(array.holder == owner_key(1, 10) && registered() == 1); /* nothing of n2 */
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(2, out.epoch);
	memset(&out, 0, sizeof(out));
	unit_read(&spec, &seal, &out);
	CHECK(out.outcome == UNIT_WON && out.owner == 1 && out.holder == 1 && out.owner_epoch == 2);
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(array.holder == 0 && registered() == 0);
	memset(&out, 0, sizeof(out));
	unit_read(&spec, &seal, &out);
	CHECK(out.owner == 0 && out.holder == 0 && out.owner_epoch == 3);
	end();
}

/* Every foreign key goes, not the holder's alone.  covers: F2 FO-21 ST-59 */
static void t_victim(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	array.key[5] = owner_key(5, 1); /* a third path with a key */
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(2, out.epoch);
	CHECK(array.holder == owner_key(2, 20) && registered() == 1);
	/* The former owner learns it whatever he tries. */
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_LOST, out.outcome);
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(array.holder == owner_key(2, 20));
	memset(&out, 0, sizeof(out));
	unit_read(&spec, &seal, &out);
	CHECK(out.owner == 2);
	end();
}

/* R was lost, S still names me: KEEP must not trust S alone.  covers: F2 F3 */
static void t_keep_without_reservation(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	array.key[1] = 0;
	array.key[2] = array.holder = owner_key(2, 20);
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_LOST, out.outcome);
	CHECK_EQ(2, out.holder);
	end();
}

/* Answers decide nothing.  covers: F2 */
static void t_answers_lie(void)
{
	begin();
	array.lie = true;
	array.attentions = 3;
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(array.holder == owner_key(2, 20) && registered() == 1);
	end();
}

/* Somebody preempted and died before he wrote S: he is given time, then it is safe to take. */
static void t_stranger(void)
{
	begin();
	array.key[3] = array.holder = owner_key(3, 7);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(array.holder == owner_key(1, 10) && registered() == 1);
	end();
}

static void t_cut(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	array.dead = true;
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1});
	CHECK_EQ(UNIT_ERROR, out.outcome);
	release(&n1);
	CHECK_EQ(UNIT_ERROR, out.outcome); /* S still names n1: nobody was told a lie */
	memset(&out, 0, sizeof(out));
	unit_read(&spec, &seal, &out);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	array.dead = false;
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	end();
}

static int loop_attach(void)
{
	char command[160];

	snprintf(command, sizeof(command), "losetup -f %s/u1.img 2>/dev/null", dir);
	return system(command);
}

static void loop_detach(void)
{
	char command[160];

	snprintf(command, sizeof(command), "losetup -d $(losetup -j %s/u1.img -n -O NAME)", dir);
	CHECK_EQ(0, system(command));
}

/* While the image is attached anywhere, no key of ours may bring its old pages to life, and none is
 * given up.  Only root can attach.   covers: F1 */
static void t_attached(void)
{
	begin();
	if (geteuid() != 0 || loop_attach() != 0) {
		printf("no loop devices for this user\n");
		end();
		return;
	}
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK_EQ(-EBUSY, out.err);
	CHECK(strstr(out.text, "still has") != NULL);
	CHECK(array.holder == 0 && registered() == 0 && array.commands == 0);
	loop_detach();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(0, loop_attach());
	release(&n1);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK(array.holder == owner_key(1, 10) && registered() == 1);
	loop_detach();
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(registered() == 0);
	end();
}

int main(void)
{
	CASE(t_life);
	CASE(t_victim);
	CASE(t_keep_without_reservation);
	CASE(t_answers_lie);
	CASE(t_stranger);
	CASE(t_cut);
	CASE(t_attached);
	return check_end();
}
