/* portmap.c - port mapper version 2 and rpcbind versions 3 and 4 (RFC 1833), read only.
 *
 * A virtual server answers for itself on its own address: the list is what this server serves,
 * nothing can be registered, and calls are not forwarded (CALLIT and its kin let anybody bounce
 * packets).  Universal addresses are made of the address that the client has used. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nfs/rpc_int.h"

#define NETIDS 2 /* tcp and udp of the address family in use */
#define SEMANTICS_CLTS	   1 /* as in TI-RPC's netconfig */
#define SEMANTICS_COTS_ORD 3

struct service {
	uint32_t prog, vers;
	uint16_t port;
};

static unsigned services(const struct rpc_server *s, struct service out[8])
{
	const struct service all[] = {
	    {PMAP_PROG, PMAP_VERS, s->portmap_port}, {PMAP_PROG, RPCBVERS3, s->portmap_port},
	    {PMAP_PROG, RPCBVERS4, s->portmap_port}, {NFS_PROGRAM, NFS_V3, s->nfs_port},
	    {MOUNT_PROGRAM, MOUNT_V1, s->mount_port}, {MOUNT_PROGRAM, MOUNT_V3, s->mount_port},
	};

	memcpy(out, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

/* The port of a program: that version's, else (unless `exact`) any version's; 0: not here. */
static uint16_t port_of(const struct rpc_server *s, uint32_t prog, uint32_t vers, bool exact)
{
	struct service list[8];
	unsigned n = services(s, list);
	uint16_t any = 0;

	for (unsigned i = 0; i < n; i++) {
		if (list[i].prog != prog)
			continue;
		if (list[i].vers == vers)
			return list[i].port;
		any = list[i].port;
	}
	return exact ? 0 : any;
}

/* ---- version 2 ------------------------------------------------------------------------------ */
static int null_proc(struct call *c)
{
	(void)c;
	return 0;
}

static int refuse_change(struct call *c)
{
	wr_u32(&c->out, 0);
	return 0;
}

static int getport(struct call *c)
{
	const struct mapping *m = &c->args.mapping;
	bool transport = m->prot == IPPROTO_TCP || m->prot == IPPROTO_UDP;

	wr_u32(&c->out, transport ? port_of(c->srv, m->prog, m->vers, false) : 0);
	return 0;
}

static int dump2(struct call *c)
{
	static const uint32_t prot[NETIDS] = {IPPROTO_TCP, IPPROTO_UDP};
	struct service list[8];
	unsigned n = services(c->srv, list);

	for (unsigned i = 0; i < n * NETIDS; i++) {
		const struct service *sv = &list[i / NETIDS];

		wr_u32(&c->out, 1);
		wr_u32(&c->out, sv->prog);
		wr_u32(&c->out, sv->vers);
		wr_u32(&c->out, prot[i % NETIDS]);
		wr_u32(&c->out, sv->port);
	}
	wr_u32(&c->out, 0);
	return 0;
}

/* ---- versions 3 and 4 ----------------------------------------------------------------------- */
static bool is_v6(const struct call *c)
{
	const struct sockaddr_in6 *in6 = (const void *)&c->peer->local;

	return c->peer->local.ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
}

static const char *netid(const struct call *c, bool tcp)
{
	if (is_v6(c))
		return tcp ? "tcp6" : "udp6";
	return tcp ? "tcp" : "udp";
}

/* "192.0.2.1.8.1": the address and the port's two bytes, RFC 5665. */
static void uaddr(const struct call *c, uint16_t port, char *out, size_t size)
{
	const struct sockaddr_in6 *in6 = (const void *)&c->peer->local;
	const struct sockaddr_in *in = (const void *)&c->peer->local;
	char host[INET6_ADDRSTRLEN] = "";

	if (is_v6(c))
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
	else if (c->peer->local.ss_family == AF_INET6)
		inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
	else
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
	snprintf(out, size, "%s.%u.%u", host, port >> 8, port & 255U);
}

static void put_text(struct wr *w, const char *text)
{
	struct xdr_bytes b = {(const uint8_t *)text, (uint32_t)strlen(text)};

	xdr_put_bytes(w, &b);
}

static bool text_is(const struct xdr_bytes *b, const char *text)
{
	return b->n == strlen(text) && memcmp(b->p, text, b->n) == 0;
}

/* Version 3 answers for the transport that the call came by; 4 for the one it names. */
static bool wanted_transport(const struct call *c)
{
	const struct xdr_bytes *id = &c->args.rpcb.r_netid;

	if (c->program->vers == RPCBVERS3 || id->n == 0)
		return true;
	return text_is(id, netid(c, true)) || text_is(id, netid(c, false));
}

static int addr_answer(struct call *c, bool exact)
{
	const struct rpcb *a = &c->args.rpcb;
	uint16_t port = wanted_transport(c) ? port_of(c->srv, a->r_prog, a->r_vers, exact) : 0;
	char text[RPCB_UADDR_MAX] = "";

	if (port)
		uaddr(c, port, text, sizeof(text));
	put_text(&c->out, text);
	return 0;
}

static int getaddr(struct call *c)
{
	return addr_answer(c, false);
}

static int getversaddr(struct call *c)
{
	return addr_answer(c, true);
}

static int dump3(struct call *c)
{
	struct service list[8];
	unsigned n = services(c->srv, list);
	char text[RPCB_UADDR_MAX];

	for (unsigned i = 0; i < n * NETIDS; i++) {
		const struct service *sv = &list[i / NETIDS];

		uaddr(c, sv->port, text, sizeof(text));
		wr_u32(&c->out, 1);
		wr_u32(&c->out, sv->prog);
		wr_u32(&c->out, sv->vers);
		put_text(&c->out, netid(c, i % NETIDS == 0));
		put_text(&c->out, text);
		put_text(&c->out, "superuser");
	}
	wr_u32(&c->out, 0);
	return 0;
}

static int gettime(struct call *c)
{
	wr_u32(&c->out, (uint32_t)time(NULL));
	return 0;
}

static int getaddrlist(struct call *c)
{
	const struct rpcb *a = &c->args.rpcb;
	uint16_t port = port_of(c->srv, a->r_prog, a->r_vers, true);
	char text[RPCB_UADDR_MAX];

	for (unsigned i = 0; port && i < NETIDS; i++) {
		bool tcp = i == 0;

		uaddr(c, port, text, sizeof(text));
		wr_u32(&c->out, 1);
		put_text(&c->out, text);
		put_text(&c->out, netid(c, tcp));
		wr_u32(&c->out, tcp ? SEMANTICS_COTS_ORD : SEMANTICS_CLTS);
		put_text(&c->out, is_v6(c) ? "inet6" : "inet");
		put_text(&c->out, tcp ? "tcp" : "udp");
	}
	wr_u32(&c->out, 0);
	return 0;
}

#define ROW(V, NAME, fn)                                                                           \
	[V##_##NAME] = {#NAME, xdr_args_##V##_##NAME, fn, RPC_PLAIN, FAIL_NONE, 128}
#define PLAIN(V, NAME, fn) [V##_##NAME] = {#NAME, NULL, fn, RPC_PLAIN, FAIL_NONE, 0}

static const struct rpc_proc procs2[] = {
    PLAIN(PMAPPROC, NULL, null_proc),	  ROW(PMAPPROC, SET, refuse_change),
    ROW(PMAPPROC, UNSET, refuse_change),  ROW(PMAPPROC, GETPORT, getport),
    PLAIN(PMAPPROC, DUMP, dump2),	  PLAIN(PMAPPROC, CALLIT, NULL),
};
static const struct rpc_proc procs3[] = {
    PLAIN(RPCB3PROC, NULL, null_proc),	  ROW(RPCB3PROC, SET, refuse_change),
    ROW(RPCB3PROC, UNSET, refuse_change), ROW(RPCB3PROC, GETADDR, getaddr),
    PLAIN(RPCB3PROC, DUMP, dump3),	  PLAIN(RPCB3PROC, CALLIT, NULL),
    PLAIN(RPCB3PROC, GETTIME, gettime),	  PLAIN(RPCB3PROC, UADDR2TADDR, NULL),
    PLAIN(RPCB3PROC, TADDR2UADDR, NULL),
};
static const struct rpc_proc procs4[] = {
    PLAIN(RPCB4PROC, NULL, null_proc),	    ROW(RPCB4PROC, SET, refuse_change),
    ROW(RPCB4PROC, UNSET, refuse_change),   ROW(RPCB4PROC, GETADDR, getaddr),
    PLAIN(RPCB4PROC, DUMP, dump3),	    PLAIN(RPCB4PROC, BCAST, NULL),
    PLAIN(RPCB4PROC, GETTIME, gettime),	    PLAIN(RPCB4PROC, UADDR2TADDR, NULL),
    PLAIN(RPCB4PROC, TADDR2UADDR, NULL),    ROW(RPCB4PROC, GETVERSADDR, getversaddr),
    PLAIN(RPCB4PROC, INDIRECT, NULL),	    ROW(RPCB4PROC, GETADDRLIST, getaddrlist),
    PLAIN(RPCB4PROC, GETSTAT, NULL),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
const struct rpc_program pmap2_program = {"pmap2", PMAP_PROG,	  PMAP_VERS,
					  procs2,  COUNT(procs2), NULL};
const struct rpc_program rpcb3_program = {"rpcbind3", PMAP_PROG,     RPCBVERS3,
					  procs3,     COUNT(procs3), NULL};
const struct rpc_program rpcb4_program = {"rpcbind4", PMAP_PROG,     RPCBVERS4,
					  procs4,     COUNT(procs4), NULL};
