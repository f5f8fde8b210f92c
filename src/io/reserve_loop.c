/* reserve_loop.c - transport to the test array: reservations over its command socket
 * (io/arrayctl.h), S in the file that it shows beside the image. */
#include "io/reserve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/arrayctl.h"

static int array_connect(struct reserve *r)
{
	const struct unit_spec *u = r->u;
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = RSV_ABORT_S};
	int fd, rc;

	if (r->fd >= 0)
		return 0;
	if (strlen(u->control) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, u->control, strlen(u->control) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0) {
		r->fd = fd;
		return 0;
	}
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
static int array_ask(struct reserve *r, const char *command, char line[ARRAYCTL_LINE_MAX])
{
	int rc = array_connect(r);

	for (int i = 0; i < 4 && rc == 0; i++) {
		snprintf(line, ARRAYCTL_LINE_MAX - 1, "%s", command);
		rc = array_call(r->fd, line);
		if (rc || strcmp(line, ARRAYCTL_ATTENTION) != 0)
			break;
	}
	if (rc)
		return rc;
	if (strncmp(line, ARRAYCTL_OK, 2) == 0)
		return 0;
	return strcmp(line, ARRAYCTL_CONFLICT) == 0 ? -EBADE : -EIO;
}

static int loop_read_state(struct reserve *r, uint64_t mine, struct rsv_state *st)
{
	char command[64], line[ARRAYCTL_LINE_MAX], *at, *end;
	int rc;

	memset(st, 0, sizeof(*st));
	snprintf(command, sizeof(command), "READKEYS %s", r->u->name);
	rc = array_ask(r, command, line);
	if (rc)
		return rc;
	at = strstr(line, "keys=");
	for (at = at ? at + 5 : NULL; at && *at && st->count < RSV_KEYS_MAX;
	     at = *end ? end + 1 : end) {
		uint64_t key = strtoull(at, &end, 16);

		if (end == at)
			break;
		if (key)
			st->key[st->count++] = key;
		st->registered = st->registered || (key && key == mine);
	}
	snprintf(command, sizeof(command), "READRES %s", r->u->name);
	rc = array_ask(r, command, line);
	if (rc)
		return rc;
	at = strstr(line, "holder=");
	if (!at)
		return -EBADMSG;
	st->holder = strtoull(at + 7, NULL, 16); /* "none" reads as 0 */
	st->held = st->holder != 0;
	return 0;
}

static const char *verb_word(enum rsv_verb verb)
{
	switch (verb) {
	case RSV_REGISTER:
		return "REGISTER";
	case RSV_UNREGISTER:
		return "UNREGISTER";
	case RSV_RESERVE:
		return "RESERVE";
	case RSV_PREEMPT_ABORT:
	case RSV_PREEMPT: /* the array's one aborts */
		return "PREEMPT";
	case RSV_RESET:
		break;
	}
	return NULL;
}

static int loop_command(struct reserve *r, enum rsv_verb verb, uint64_t mine, uint64_t victim)
{
	char command[128], line[ARRAYCTL_LINE_MAX];
	const char *word = verb_word(verb);

	if (!word)
		return -EOPNOTSUPP;
	if (verb == RSV_PREEMPT || verb == RSV_PREEMPT_ABORT)
		snprintf(command, sizeof(command), "%s %s 0x%016llx 0x%016llx", word, r->u->name,
			 (unsigned long long)mine, (unsigned long long)victim);
	else
		snprintf(command, sizeof(command), "%s %s 0x%016llx", word, r->u->name,
			 (unsigned long long)mine);
	return array_ask(r, command, line);
}

static void loop_close(struct reserve *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

const struct rsv_ops rsv_loop_ops = {
	.name = "loop",
	.close = loop_close,
	.read_state = loop_read_state,
	.command = loop_command,
	.record = rsv_file_record,
};
