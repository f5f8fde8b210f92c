/* client.c - the command line's side of the control socket: one request, one answer. */
#include "ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

static int dial(const char *path, char *err, size_t err_size)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path)) {
		snprintf(err, err_size, "%s: the path of the control socket is too long", path);
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		snprintf(err, err_size,
			 "%s: %s; is holdfastd running here, and may you talk to it?", path,
			 strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static bool send_line(int fd, json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0, at = 0;
	bool ok = text != NULL;

	while (ok && at <= len) {
		/* The newline goes where the terminating NUL stands. */
		ssize_t n;

		text[len] = '\n';
		n = send(fd, text + at, len + 1 - at, MSG_NOSIGNAL);
		ok = n > 0;
		if (ok)
			at += (size_t)n;
	}
	free(text);
	return ok;
}

/* Reads up to the newline; a malloced text, or NULL. */
static char *read_line(int fd, unsigned timeout_ms)
{
	size_t have = 0, room = 16384;
	char *text = mem_alloc(room);

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, (int)timeout_ms) <= 0)
			break;
		if (have + 1 == room)
			text = mem_realloc(text, room *= 2);
		n = recv(fd, text + have, room - have - 1, 0);
		if (n <= 0)
			break;
		have += (size_t)n;
		if (text[have - 1] == '\n') {
			text[have - 1] = 0;
			return text;
		}
	}
	free(text);
	return NULL;
}

json_t *ctl_call(const char *path, json_t *request, unsigned timeout_ms, char *err, size_t err_size)
{
	int fd = dial(path, err, err_size);
	json_t *answer = NULL;
	json_error_t e;
	char *text = NULL;

	json_object_set_new(request, "control", json_integer(CTL_VERSION));
	if (fd >= 0) {
		if (send_line(fd, request))
			text = read_line(fd, timeout_ms);
		close(fd);
		if (!text)
			snprintf(err, err_size, "%s: no answer from holdfastd within %u ms", path,
				 timeout_ms);
	}
	json_decref(request);
	if (!text)
		return NULL;
	answer = json_loads(text, 0, &e);
	if (!answer)
		snprintf(err, err_size, "%s: holdfastd answered something unreadable: %s", path,
			 e.text);
	free(text);
	return answer;
}
