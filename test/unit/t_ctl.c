/* t_ctl.c - the control socket: a real loop on one side, the blocking client in a child on the
 * other. */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"

static char dir[] = "/tmp/t_ctl.XXXXXX", path[64];
static struct loop *loop;
static struct ctl *ctl;
static uint32_t late_id;

static void handle(void *arg, uint32_t id, const char *verb, json_t *request)
{
	(void)arg;
	(void)request;
	if (strcmp(verb, "ping") == 0)
		ctl_reply(ctl, id, json_pack("{s:s}", "text", "pong"));
	else if (strcmp(verb, "later") == 0)
		late_id = id;
	else
		ctl_refuse(ctl, id, "no-such-verb", verb, "see the manual");
}

/* Runs `client` in a child while the loop serves here; its exit status. */
static int with_client(int (*client)(void))
{
	int st = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(client());
	for (int i = 0; waitpid(pid, &st, WNOHANG) == 0; i++) {
		if (i == 6000)
			kill(pid, SIGKILL);
		loop_once(loop, 10000000);
		if (late_id) {
			ctl_reply(ctl, 999999, json_object()); /* nobody's: ignored */
			ctl_reply(ctl, late_id, json_pack("{s:s}", "text", "at last"));
			late_id = 0;
		}
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : 99;
}

static int ask(const char *verb, const char *key, const char *expected)
{
	char err[256];
	json_t *a = ctl_call(path, json_pack("{s:s}", "verb", verb), 30000, err, sizeof(err));
	const json_t *o = json_is_true(json_object_get(a, "ok")) ? json_object_get(a, "result") : a;
	const char *got = json_string_value(json_object_get(o, key));

	return got && strcmp(got, expected) == 0 ? 0 : 1;
}

static int c_ping(void)
{
	return ask("ping", "text", "pong");
}

static int c_later(void)
{
	return ask("later", "text", "at last");
}

static int c_unknown(void)
{
	return ask("dance", "reason", "no-such-verb");
}

/* Sends raw bytes, expects a refusal or the end of the connection. */
static int raw(const char *bytes, size_t len, const char *expected)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char in[512] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return 2;
	if (send(fd, bytes, len, MSG_NOSIGNAL) < 0)
		return 3;
	if (recv(fd, in, sizeof(in) - 1, 0) < 0)
		return 4;
	return expected && !strstr(in, expected) ? 1 : 0;
}

static int c_garbage(void)
{
	return raw("{]\n", 3, "bad-request");
}

static int c_old_version(void)
{
	return raw("{\"control\":0,\"verb\":\"ping\"}\n", 28, "control-version");
}

static int c_endless_line(void)
{
	char *big = malloc(200000);

	memset(big, 'x', 200000);
	return raw(big, 200000, NULL) <= 4 ? 0 : 1;
}

static int c_gone(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return 2;
	return send(fd, "{\"control\":1,\"verb\":\"later\"}\n", 29, 0) == 29 ? 0 : 1;
}

static void t_requests(void)
{
	CHECK_EQ(0, with_client(c_ping));
	CHECK_EQ(0, with_client(c_later));
	CHECK_EQ(0, with_client(c_unknown));
}

static void t_bad_input_leaves_it_serving(void)
{
	CHECK_EQ(0, with_client(c_garbage));
	CHECK_EQ(0, with_client(c_old_version));
	CHECK_EQ(0, with_client(c_endless_line));
	CHECK_EQ(0, with_client(c_gone));
	CHECK_EQ(0, with_client(c_ping));
}

static void t_one_daemon_a_socket(void)
{
	struct ctl *second;

	CHECK_EQ(-EADDRINUSE, ctl_open(&second, loop, path, handle, NULL));
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	if (loop_new(&loop, 64) || ctl_open(&ctl, loop, path, handle, NULL))
		return 1;
	CASE(t_requests);
	CASE(t_bad_input_leaves_it_serving);
	CASE(t_one_daemon_a_socket);
	ctl_close(ctl);
	for (int i = 0; i < 20; i++)
		loop_once(loop, 1000000);
	loop_free(loop);
	unlink(path);
	rmdir(dir);
	return check_end();
}
