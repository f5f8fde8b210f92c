/* unit_loop.c - the loop backend's reservation: persistent reservations of the test array, spoken
 * over its command socket (io/arrayctl.h).
 *
 * Nothing here trusts an answer to a command (F2): each turn reads keys, holder and S, decides,
 * gives one command, and reads again.  The order of a taker:
 *
 *	nothing of ours is attached (F1) -> read S -> REGISTER -> RESERVE or PREEMPT (AND ABORT) each
 *	foreign key -> the only key is mine and I hold -> S is as it was -> write S
 *
 * While S names another than the holder by R, somebody is between those steps; he is given a
 * moment, then preempted too: whoever lost R can no longer write S, so that is safe. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/arrayctl.h"
#include "io/loop.h"
#include "io/unit.h"

#define KEYS_MAX      32
#define TURNS_MAX     64
#define COMMAND_S     15 /* PREEMPT AND ABORT may take so long (FACTS 3) */
#define STRANGER_NS   2000000000ULL
#define NS_A_MS	      1000000ULL

struct pr_state {
	uint64_t holder;
	unsigned count;
	uint64_t key[KEYS_MAX];
};

static int array_connect(const struct unit_spec *u)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = COMMAND_S};
	int fd, rc;

	if (strlen(u->control) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, u->control, strlen(u->control) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* One command, one line back (without its newline). 0 or -errno. */
static int array_call(int fd, char line[ARRAYCTL_LINE_MAX])
{
	size_t len = strlen(line);
	ssize_t n;

	line[len++] = '\n';
	if (send(fd, line, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -EIO;
	for (len = 0; len < ARRAYCTL_LINE_MAX - 1; len += (size_t)n) {
		n = recv(fd, line + len, ARRAYCTL_LINE_MAX - 1 - len, 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EIO;
		if (line[len + (size_t)n - 1] == '\n') {
			line[len + (size_t)n - 1] = '\0';
			return 0;
		}
	}
	return -EBADMSG;
}

/* A unit attention reports something past and the command is to be repeated. */
static int array_ask(int fd, const char *command, char line[ARRAYCTL_LINE_MAX])
{
	int rc;

	for (int i = 0; i < 4; i++) {
		snprintf(line, ARRAYCTL_LINE_MAX - 1, "%s", command);
		rc = array_call(fd, line);
		if (rc || strcmp(line, ARRAYCTL_ATTENTION) != 0)
			break;
	}
	if (rc)
		return rc;
	if (strncmp(line, ARRAYCTL_OK, 2) == 0)
		return 0;
	return strcmp(line, ARRAYCTL_CONFLICT) == 0 ? -EBADE : -EIO;
}

static int read_state(int fd, const struct unit_spec *u, struct pr_state *st)
{
	char command[64], line[ARRAYCTL_LINE_MAX], *at, *end;
	int rc;

	memset(st, 0, sizeof(*st));
	snprintf(command, sizeof(command), "READKEYS %s", u->name);
	rc = array_ask(fd, command, line);
	if (rc)
		return rc;
	at = strstr(line, "keys=");
	for (at = at ? at + 5 : NULL; at && *at && st->count < KEYS_MAX; at = *end ? end + 1 : end) {
		uint64_t key = strtoull(at, &end, 16);

		if (end == at)
			break;
		if (key)
			st->key[st->count++] = key;
	}
	snprintf(command, sizeof(command), "READRES %s", u->name);
	rc = array_ask(fd, command, line);
	if (rc)
		return rc;
	at = strstr(line, "holder=");
	if (!at)
		return -EBADMSG;
	st->holder = strtoull(at + 7, NULL, 16); /* "none" reads as 0 */
	return 0;
}

static bool has_key(const struct pr_state *st, uint64_t key)
{
	for (unsigned i = 0; i < st->count; i++)
		if (st->key[i] == key)
			return true;
	return false;
}

static void command_key(int fd, const struct unit_spec *u, const char *verb, uint64_t key,
			uint64_t victim)
{
	char command[128], line[ARRAYCTL_LINE_MAX];

	if (victim)
		snprintf(command, sizeof(command), "%s %s 0x%016llx 0x%016llx", verb, u->name,
			 (unsigned long long)key, (unsigned long long)victim);
	else
		snprintf(command, sizeof(command), "%s %s 0x%016llx", verb, u->name,
			 (unsigned long long)key);
	/* The answer decides nothing: the next turn reads the state. */
	(void)array_ask(fd, command, line);
}

/* One turn of taking R.  1: it is mine alone; 0: a command was given, look again. */
static int turn(int fd, const struct unit_spec *u, const struct pr_state *st, uint64_t mine)
{
	if (!has_key(st, mine)) {
		command_key(fd, u, "REGISTER", mine, 0);
		return 0;
	}
	if (st->holder == 0) {
		command_key(fd, u, "RESERVE", mine, 0);
		return 0;
	}
	if (st->holder != mine) {
		command_key(fd, u, "PREEMPT", mine, st->holder);
		return 0;
	}
	for (unsigned i = 0; i < st->count; i++)
#ifdef HF_MUTANT_UNIT_LOOP_FOREIGN_KEYS
		if (st->key[i] == ~mine) {
#else
		if (st->key[i] != mine) {
#endif
			command_key(fd, u, "PREEMPT", mine, st->key[i]);
			return 0;
		}
	return 1;
}

/* Is the holder by R somebody who is just taking it from whom S still names? */
static bool is_stranger(const struct owner *o, const struct unit_self *self, uint64_t holder)
{
	uint16_t node = unit_key_node(holder);

	return holder && node != o->node && node != self->node;
}

static int take_reservation(int fd, const struct unit_spec *u, const struct seal *s,
			    const struct unit_self *self, const struct unit_ask *ask,
			    struct owner *o, struct unit_answer *out)
{
	uint64_t mine = owner_key(self->node, self->generation);
	uint64_t patience_until = loop_clock_ns() + STRANGER_NS;
	struct pr_state st;
	int rc;

	for (int i = 0; i < TURNS_MAX;) {
		rc = read_state(fd, u, &st);
		if (rc == 0)
			rc = unit_record_read(u, s, o);
		if (rc)
			return rc;
		if (!unit_allowed(o, self, ask, out))
			return -EBADE;
		if (is_stranger(o, self, st.holder) && loop_clock_ns() < patience_until) {
			unit_sleep_ms(20);
			continue;
		}
		i++;
		if (turn(fd, u, &st, mine))
			return 0;
	}
	return -EAGAIN;
}

static int keep_reservation(int fd, const struct unit_spec *u, const struct seal *s,
			    const struct unit_self *self, const struct unit_ask *ask,
			    struct owner *o, struct unit_answer *out)
{
	uint64_t mine = owner_key(self->node, self->generation);
	struct pr_state st;
	int rc = read_state(fd, u, &st);

	if (rc == 0)
		rc = unit_record_read(u, s, o);
	if (rc)
		return rc;
	if (!unit_allowed(o, self, ask, out))
		return -EBADE;
#ifdef HF_MUTANT_UNIT_LOOP_TRUST_S
	if (mine)
#else
	if (st.holder == mine && st.count == 1)
#endif
		return 0;
	out->holder = unit_key_node(st.holder);
	unit_say(out, UNIT_LOST, 0, "the reservation is no longer mine");
	return -EBADE;
}

/* S goes last: whoever reads my name there may rely on R. Then both are read back. */
static int write_owner(int fd, const struct unit_spec *u, const struct seal *s,
		       const struct unit_self *self, const struct owner *o, uint64_t epoch)
{
	struct pr_state st;
	struct owner back;
	int rc = unit_record_write(u, s, o, self, epoch);

	if (rc == 0)
		rc = unit_record_read(u, s, &back);
	if (rc == 0)
		rc = read_state(fd, u, &st);
	if (rc)
		return rc;
	return back.node == self->node && back.epoch == epoch &&
	       back.generation == self->generation &&
	       st.holder == owner_key(self->node, self->generation) ? 0 : -EBADE;
}

static void forget_mine(int fd, const struct unit_spec *u, const struct unit_self *self)
{
	command_key(fd, u, "UNREGISTER", owner_key(self->node, self->generation), 0);
}

void unit_loop_acquire(const struct unit_spec *u, const struct seal *s,
		       const struct unit_self *self, const struct unit_ask *ask,
		       struct unit_answer *out)
{
	bool keep = ask->how == UNIT_KEEP;
	struct owner o;
	uint64_t epoch;
	int fd, rc;

	/* What an earlier instance of this daemon left mounted goes before a key of ours could
	 * bring its old pages to life (F1). */
	if (!keep && ((rc = unit_unmount(u, true, out->text, sizeof(out->text))) != 0 ||
		      (rc = unit_prove_free(u, out->text, sizeof(out->text))) != 0)) {
		out->outcome = UNIT_ERROR;
		out->err = rc;
		return;
	}
	fd = array_connect(u);
	if (fd < 0) {
		unit_say(out, UNIT_ERROR, fd, "%s: %s", u->control, strerror(-fd));
		return;
	}
	rc = keep ? keep_reservation(fd, u, s, self, ask, &o, out) :
		    take_reservation(fd, u, s, self, ask, &o, out);
	if (rc == 0) {
		epoch = (o.epoch > ask->epoch_min ? o.epoch : ask->epoch_min) + 1;
		rc = write_owner(fd, u, s, self, &o, epoch);
		if (rc == 0) {
			unit_say(out, UNIT_WON, 0, "won");
			out->owner = out->holder = self->node;
			out->epoch = out->owner_epoch = epoch;
			out->owner_generation = self->generation;
		}
	}
	if (rc && out->outcome != UNIT_LOST)
		unit_say(out, rc == -EBADE ? UNIT_LOST : UNIT_ERROR, rc, "%s: %s", u->control,
			 strerror(-rc));
	if (rc && !keep)
		forget_mine(fd, u, self);
	close(fd);
}

void unit_loop_release(const struct unit_spec *u, const struct seal *s,
		       const struct unit_self *self, struct unit_answer *out)
{
	struct pr_state st;
	struct owner o;
	int fd, named = 0, rc = unit_prove_free(u, out->text, sizeof(out->text));

	if (rc) {
		out->outcome = UNIT_ERROR;
		out->err = rc;
		return;
	}
	fd = array_connect(u);
	rc = fd < 0 ? fd : read_state(fd, u, &st);
	if (rc == 0)
		rc = unit_record_read(u, s, &o);
	if (rc == 0 && o.node == self->node && o.generation == self->generation) {
		if (st.holder == owner_key(self->node, self->generation))
			rc = unit_record_write(u, s, &o, NULL, o.epoch + 1);
		else
			named = -EBADE; /* S goes on naming me, and that is out of my hands */
	}
	if (rc == 0 && has_key(&st, owner_key(self->node, self->generation))) {
		forget_mine(fd, u, self);
		rc = read_state(fd, u, &st);
		if (rc == 0 && has_key(&st, owner_key(self->node, self->generation)))
			rc = -EIO;
	}
	if (fd >= 0)
		close(fd);
	rc = rc ? rc : named;
	if (rc)
		unit_say(out, UNIT_ERROR, rc, "%s: cannot be released: %s", u->control,
			 strerror(-rc));
	else
		unit_say(out, UNIT_WON, 0, "released");
}

int unit_loop_holder(const struct unit_spec *u, uint64_t *key)
{
	struct pr_state st;
	int fd = array_connect(u), rc;

	if (fd < 0)
		return fd;
	rc = read_state(fd, u, &st);
	close(fd);
	*key = st.holder;
	return rc;
}
