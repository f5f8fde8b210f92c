/* ctl.c - the control socket's server side. */
#include "ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#define LINE_MAX_BYTES 196608 /* a configuration of 64 KiB, quoted */
#define CLIENTS_MAX    32

struct client {
	struct loop_op op;
	struct list link;
	struct ctl *ctl;
	int fd;
	uint32_t waiting; /* id of the request not yet answered, 0: none */
	bool closing;     /* freed when its poll has ended */
	size_t have;
	char in[LINE_MAX_BYTES];
	char *out; /* what the socket would not take yet */
	size_t out_len, out_at;
};

struct ctl {
	struct loop *loop;
	struct loop_op accept_op;
	ctl_handler *handler;
	void *arg;
	int fd;
	uint32_t next_id;
	unsigned clients;
	bool closing;
	struct list list;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static void free_when_done(struct ctl *c)
{
	if (!c->closing || c->clients || c->accept_op.busy)
		return;
	close(c->fd);
	free(c);
}

static void client_free(struct client *k)
{
	struct ctl *c = k->ctl;

	list_del(&k->link);
	close(k->fd);
	free(k->out);
	free(k);
	c->clients--;
	free_when_done(c);
}

static void client_end(struct client *k)
{
	if (k->closing)
		return;
	k->closing = true;
	if (k->op.busy)
		loop_cancel(k->ctl->loop, &k->op);
	else
		client_free(k);
}

/* Sends what is left; the rest waits for POLLOUT. */
static void client_flush(struct client *k)
{
	while (k->out_at < k->out_len) {
		ssize_t n = send(k->fd, k->out + k->out_at, k->out_len - k->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno != EAGAIN)
				client_end(k);
			return;
		}
		k->out_at += (size_t)n;
	}
	free(k->out);
	k->out = NULL;
	k->out_len = k->out_at = 0;
}

static void client_send(struct client *k, json_t *answer)
{
	char *text;
	size_t n;

	/* A text that is no UTF-8, cut perhaps: whoever waits must hear something. */
	if (!answer)
		answer = json_pack("{s:b, s:s, s:s, s:s}", "ok", 0, "reason", "internal", "text",
				   "the answer cannot be said in JSON", "todo", "see the daemon's log");
	json_object_set_new(answer, "control", json_integer(CTL_VERSION));
	text = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
	k->waiting = 0;
	if (!text || k->closing) {
		free(text);
		return;
	}
	n = strlen(text);
	k->out = mem_realloc(k->out, k->out_len + n + 1);
	memcpy(k->out + k->out_len, text, n);
	k->out[k->out_len + n] = '\n';
	k->out_len += n + 1;
	free(text);
	client_flush(k);
}

static struct client *client_of(struct ctl *c, uint32_t id)
{
	for (struct list *l = c->list.next; l != &c->list; l = l->next) {
		struct client *k = LIST_OWNER(l, struct client, link);

		if (id && k->waiting == id && !k->closing)
			return k;
	}
	return NULL;
}

void ctl_reply(struct ctl *c, uint32_t id, json_t *result)
{
	struct client *k = client_of(c, id);

	if (!k) {
		json_decref(result);
		return;
	}
	client_send(k, json_pack("{s:b, s:o}", "ok", 1, "result", result));
}

static json_t *refusal(const char *reason, const char *text, const char *todo)
{
	return json_pack("{s:b, s:s, s:s, s:s}", "ok", 0, "reason", reason, "text", text, "todo",
			 todo ? todo : "");
}

void ctl_refuse_all(struct ctl *c, uint32_t id, const char *reason, const char *text,
		    const char *todo, json_t *vetoes)
{
	struct client *k = client_of(c, id);
	json_t *o;

	if (!k) {
		json_decref(vetoes);
		return;
	}
	o = refusal(reason, text, todo);
	if (vetoes)
		json_object_set_new(o, "vetoes", vetoes);
	client_send(k, o);
}

void ctl_refuse(struct ctl *c, uint32_t id, const char *reason, const char *text, const char *todo)
{
	ctl_refuse_all(c, id, reason, text, todo, NULL);
}

/* One line; false when the client is to be ended. */
static void take_line(struct client *k, const char *line, size_t len)
{
	json_error_t e;
	json_t *r = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
	const char *verb = json_string_value(json_object_get(r, "verb"));

	if (!r || !verb) {
		log_limited(LOG_L_WARN, "ctl: a line that is no request: %s",
			    r ? "no verb" : e.text);
		client_send(k, refusal("bad-request", r ? "the request has no verb" : e.text, ""));
	} else if (json_integer_value(json_object_get(r, "control")) != CTL_VERSION) {
		client_send(
		    k, refusal("control-version",
			       "this daemon speaks another version of the control protocol",
			       "use the holdfast command that belongs to the running holdfastd"));
	} else {
		if (++k->ctl->next_id == 0)
			k->ctl->next_id = 1;
		k->waiting = k->ctl->next_id;
		k->ctl->handler(k->ctl->arg, k->waiting, verb, r);
	}
	json_decref(r);
}

/* Lines that are complete, one request at a time: the next is looked at when this one is answered.
 */
static void take_lines(struct client *k)
{
	char *end;

	while (!k->waiting && !k->closing && (end = memchr(k->in, '\n', k->have)) != NULL) {
		size_t len = (size_t)(end - k->in);
		char *line = mem_alloc(len + 1);

		memcpy(line, k->in, len);
		k->have -= len + 1;
		memmove(k->in, end + 1, k->have);
		take_line(k, line, len);
		free(line);
	}
}

static void on_client(struct loop_op *op, int res)
{
	struct client *k = LIST_OWNER(op, struct client, op);
	bool ended = false;

	if (res < 0 || k->closing) {
		k->closing = true;
		if (!op->busy)
			client_free(k);
		return;
	}
	if (res & POLLOUT)
		client_flush(k);
	while (k->have < sizeof(k->in) && !ended) {
		ssize_t n = recv(k->fd, k->in + k->have, sizeof(k->in) - k->have, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		ended = n <= 0;
		if (n > 0)
			k->have += (size_t)n;
	}
	take_lines(k);
	if (ended || k->have == sizeof(k->in))
		client_end(k);
}

static void on_accept(struct loop_op *op, int res)
{
	struct ctl *c = LIST_OWNER(op, struct ctl, accept_op);
	struct client *k;

	if (res < 0) {
		if (!c->closing)
			log_limited(LOG_L_WARN, "ctl: accept: %s", strerror(-res));
		free_when_done(c);
		return;
	}
	if (c->clients == CLIENTS_MAX || c->closing) {
		close(res);
		return;
	}
	k = mem_zalloc(1, sizeof(*k));
	k->ctl = c;
	k->fd = res;
	k->op.done = on_client;
	list_add_tail(&c->list, &k->link);
	c->clients++;
	loop_poll(c->loop, &k->op, k->fd, POLLIN | POLLOUT | POLLRDHUP);
}

int ctl_open(struct ctl **cp, struct loop *l, const char *path, ctl_handler *handler, void *arg)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct ctl *c;
	mode_t mask;
	int fd, err;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN) {
		close(fd);
		return -EADDRINUSE; /* a living daemon answers there */
	}
	unlink(path);
	mask = umask(077);
	err = bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 16) ? -errno : 0;
	umask(mask);
	if (err) {
		close(fd);
		return err;
	}
	c = mem_zalloc(1, sizeof(*c));
	c->loop = l;
	c->fd = fd;
	c->handler = handler;
	c->arg = arg;
	list_init(&c->list);
	memcpy(c->path, a.sun_path, sizeof(c->path));
	c->accept_op.done = on_accept;
	loop_accept(l, &c->accept_op, fd);
	*cp = c;
	return 0;
}

void ctl_close(struct ctl *c)
{
	struct list *it, *tmp;

	c->closing = true;
	unlink(c->path);
	loop_cancel(c->loop, &c->accept_op);
	LIST_EACH_SAFE(it, tmp, &c->list)
	{
		struct client *k = LIST_OWNER(it, struct client, link);

		/* The last one to end frees `c`, but not before the accept has ended too. */
		client_end(k);
	}
}
