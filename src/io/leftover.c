/* leftover.c - sock_diag: list the connections of one local address, or destroy them. */
#include "io/leftover.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#define AT_ONCE_MAX 64 /* found in one pass over the kernel's table */
#define PASSES_MAX  64

/* Which connections are wanted, and what is done with each. */
struct search {
	const void *address;
	size_t len;
	void (*each)(struct search *s, const struct inet_diag_msg *m);
	unsigned count; /* for leftover_drop(): these are to be ended */
	struct inet_diag_sockid id[AT_ONCE_MAX];
	leftover_fn *told; /* for leftover_list() */
	void *arg;
};

static int on_socket(const struct nlmsghdr *h, void *arg)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	struct search *s = arg;

	if (mnl_nlmsg_get_payload_len(h) >= sizeof(*m) &&
	    memcmp(m->id.idiag_src, s->address, s->len) == 0)
		s->each(s, m);
	return MNL_CB_OK;
}

static struct inet_diag_req_v2 *request_put(char *buf, uint16_t type, uint16_t flags, int family)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *r;

	h->nlmsg_type = type;
	h->nlmsg_flags = flags;
	h->nlmsg_seq = 1;
	r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
	r->sdiag_family = (uint8_t)family;
	r->sdiag_protocol = IPPROTO_TCP;
	return r;
}

/* Sends what is in buf, reads answers to their end. */
static int ask(struct mnl_socket *nl, char *buf, mnl_cb_t each, void *arg)
{
	const struct nlmsghdr *h = (const void *)buf;
	char in[16384];
	int rc = MNL_CB_OK;

	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		return -errno;
	while (rc > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, in, sizeof(in));

		if (n < 0)
			return -errno;
		rc = mnl_cb_run(in, (size_t)n, 1, mnl_socket_get_portid(nl), each, arg);
	}
	return rc < 0 ? -errno : 0;
}

static int search(struct mnl_socket *nl, int family, struct search *s)
{
	char buf[256] __attribute__((aligned(8)));
	struct inet_diag_req_v2 *r =
	    request_put(buf, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family);

	r->idiag_states = ~(1U << TCP_LISTEN | 1U << TCP_TIME_WAIT);
	return ask(nl, buf, on_socket, s);
}

/* A netlink socket, and the address to look for; NULL with errno. */
static struct mnl_socket *begin(const struct sockaddr_storage *local, struct search *s)
{
	bool v6 = local->ss_family == AF_INET6;
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int err;

	s->len = v6 ? 16 : 4;
	s->address =
	    v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)local)->sin6_addr
	       : (const void *)&((const struct sockaddr_in *)(const void *)local)->sin_addr;
	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = errno;
		mnl_socket_close(nl);
		errno = err;
		return NULL;
	}
	return nl;
}

/* ---- telling -------------------------------------------------------------------------------- */

static void sixteen(uint8_t out[16], const void *address, size_t len)
{
	memset(out, 0, 16);
	if (len == 4)
		out[10] = out[11] = 0xff;
	memcpy(out + 16 - len, address, len);
}

static void tell(struct search *s, const struct inet_diag_msg *m)
{
	struct leftover f = {.local_port = ntohs(m->id.idiag_sport),
			     .remote_port = ntohs(m->id.idiag_dport),
#ifdef HF_MUTANT_LEFTOVER_WAITS
			     .accepted = false};
#else
			     .accepted = m->idiag_inode != 0};
#endif

	sixteen(f.local, m->id.idiag_src, s->len);
	sixteen(f.remote, m->id.idiag_dst, s->len);
	s->told(s->arg, &f);
}

int leftover_list(const struct sockaddr_storage *local, leftover_fn *each, void *arg)
{
	struct search s = {.each = tell, .told = each, .arg = arg};
	struct mnl_socket *nl = begin(local, &s);
	int rc;

	if (!nl)
		return -errno;
	rc = search(nl, local->ss_family, &s);
	mnl_socket_close(nl);
	return rc;
}

static void nobody(void *arg, const struct leftover *f)
{
	(void)arg;
	(void)f;
}

int leftover_ready(void)
{
	struct sockaddr_storage none = {.ss_family = AF_INET};

	return leftover_list(&none, nobody, NULL);
}

/* ---- ending --------------------------------------------------------------------------------- */

static void keep(struct search *s, const struct inet_diag_msg *m)
{
	if (s->count < AT_ONCE_MAX)
		s->id[s->count++] = m->id;
}

static int destroy(struct mnl_socket *nl, int family, const struct inet_diag_sockid *id)
{
	char buf[256] __attribute__((aligned(8)));
	struct inet_diag_req_v2 *r =
	    request_put(buf, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, family);

	r->id = *id;
	return ask(nl, buf, NULL, NULL);
}

/* One pass; how many were ended, *full when there may be more. */
static int pass(struct mnl_socket *nl, int family, struct search *s, bool *full)
{
	int ended = 0, err;

	s->count = 0;
	err = search(nl, family, s);
	*full = s->count == AT_ONCE_MAX;
	for (unsigned i = 0; i < s->count && !err; i++) {
		err = destroy(nl, family, &s->id[i]);
		if (err == 0)
			ended++;
		else if (err == -ENOENT) /* it ended by itself */
			err = 0;
	}
	return err ? err : ended;
}

int leftover_drop(const struct sockaddr_storage *local)
{
	struct search s = {.each = keep};
	struct mnl_socket *nl = begin(local, &s);
	bool full = true;
	int rc = 0, all = 0;

	if (!nl)
		return -errno;
	for (unsigned i = 0; i < PASSES_MAX && full && rc >= 0; i++) {
		rc = pass(nl, local->ss_family, &s, &full);
		all += rc > 0 ? rc : 0;
		if (rc == 0)
			break;
	}
	mnl_socket_close(nl);
	return rc < 0 ? rc : all;
}
