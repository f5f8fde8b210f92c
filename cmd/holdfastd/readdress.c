/* readdress.c - heartbeat paths that get another address or port while everything runs.
 *
 * Nodes take a version one after the other, and none may be taken for silent meanwhile:
 *
 *  - a node whose own path changes opens the new socket beside the old one, and hears on both until every
 *    live node says that it has the version;
 *  - what is sent to a node that has not taken the version yet goes to its old address: there it listens
 *    for sure.  Whether it has is in its messages, which come over the coordination devices too.  One
 *    that is not heard at all gets both.
 *
 * A node takes the version when its new address is on one of its interfaces; so addresses are added there
 * first, and the old ones removed when all have taken the version.  While one change is not over the next
 * is refused.  Nothing of this is the brain's: it knows paths by number. */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon.h"

#define LEAST_BEATS 20 /* the old socket stays open so long at least */

static bool same_path(const struct conf_path *a, const struct conf_path *b)
{
	return a->port == b->port && memcmp(a->addr.addr, b->addr.addr, sizeof(a->addr.addr)) == 0;
}

static const struct conf_node *by_id(const struct conf_node *node, unsigned count, uint16_t id)
{
	for (unsigned i = 0; i < count; i++)
		if (node[i].id == id)
			return &node[i];
	return NULL;
}

static bool same_paths(const struct conf_node *a, const struct conf_node *b)
{
	for (unsigned i = 0; i < a->path_count && i < b->path_count; i++)
		if (!same_path(&a->path[i], &b->path[i]))
			return false;
	return true;
}

static bool any_changes(const struct conf *from, const struct conf *to)
{
	for (unsigned i = 0; i < to->node_count; i++) {
		const struct conf_node *was = by_id(from->node, from->node_count, to->node[i].id);

		if (was && !same_paths(was, &to->node[i]))
			return true;
	}
	return false;
}

/* Every node that lives has taken the last change. */
static bool all_have_it(const struct daemon *d)
{
	for (unsigned i = 0; i < d->node->peer_count; i++)
		if (peer_live(&d->node->peer[i]) &&
		    d->node->peer[i].msg.config_version < d->moved.version)
			return false;
	return true;
}

static struct net_path *other_socket(struct peer_path *p)
{
	return &p->socket[!p->now].net;
}

/* ---- may it change? -------------------------------------------------------------------------- */

static bool is_here(const struct conf_net *n)
{
	struct sockaddr_storage want;
	struct ifaddrs *all;
	bool found = conf_net_is_v4(n) && n->addr[12] == 127; /* all of 127/8 is */

	conf_net_sockaddr(n, 0, &want);
	if (found || getifaddrs(&all) < 0)
		return found;
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		const void *a = i->ifa_addr;

		if (!a || i->ifa_addr->sa_family != want.ss_family)
			continue;
		found = want.ss_family == AF_INET ?
			memcmp(&((const struct sockaddr_in *)a)->sin_addr,
			       &((const struct sockaddr_in *)&want)->sin_addr, 4) == 0 :
			memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
			       &((const struct sockaddr_in6 *)&want)->sin6_addr, 16) == 0;
	}
	freeifaddrs(all);
	return found;
}

/* Can be bound now? */
static int try_socket(const struct conf_path *p)
{
	struct sockaddr_storage addr;
	socklen_t len = conf_net_sockaddr(&p->addr, p->port, &addr);
	int fd = net_listen((const struct sockaddr *)&addr, len, SOCK_DGRAM);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static const char *own_path(struct daemon *d, unsigned i, const struct conf_path *next)
{
	static char text[128];
	char address[64];
	int rc;

	if (other_socket(&d->path[i])->fd >= 0 || other_socket(&d->path[i])->op.busy)
		return "the last change of heartbeat addresses is not over: in a moment";
	conf_net_text(&next->addr, false, address);
	if (!is_here(&next->addr)) {
		snprintf(text, sizeof(text), "%s is on no interface of %s yet: add it there first",
			 address, d->conf->node[d->self].name);
		return text;
	}
	rc = try_socket(next);
	if (rc == 0)
		return NULL;
	snprintf(text, sizeof(text), "%s port %u: the heartbeat path cannot be opened: %s", address,
		 next->port, strerror(-rc));
	return text;
}

const char *readdress_check(struct daemon *d, const struct conf *next)
{
	const struct conf_node *me = &d->conf->node[d->self],
			       *new = by_id(next->node, next->node_count, me->id);
	const char *bad = NULL;

	if (!any_changes(d->conf, next))
		return NULL;
#ifndef HF_MUTANT_READDRESS_TWICE
	if (d->moved.version && !all_have_it(d))
		return "not every node has taken the last change of heartbeat addresses: in a moment";
#endif
	for (unsigned i = 0; new && i < me->path_count && !bad; i++)
		if (!same_path(&me->path[i], &new->path[i]))
			bad = own_path(d, i, &new->path[i]);
	return bad;
}

/* ---- the change ------------------------------------------------------------------------------ */

static void change_own(struct daemon *d, unsigned i)
{
	const struct conf_path *c = &d->conf->node[d->self].path[i];
	struct peer_path *p = &d->path[i];
	char text[64];
	int rc = peers_socket(d, i, !p->now);

	conf_net_text(&c->addr, false, text);
	if (rc) { /* taken by somebody since the check: others hear this node on what it has left */
		log_err("%s port %u: the heartbeat path cannot be opened: %s", text, c->port,
			strerror(-rc));
		return;
	}
	p->now = !p->now;
	p->old_until_ns = loop_clock_ns() + LEAST_BEATS * d->times.heartbeat_ns;
	ping_close(&p->ping); /* it may be another interface */
	p->ping_refused = false;
	p->probe_begun_ns = 0;
	log_notice("path %u: now %s port %u", i, text, c->port);
}

/* `d->conf` is the new one already. */
void readdress(struct daemon *d, const struct conf *old)
{
	const struct conf_node *me = &d->conf->node[d->self],
			       *was = by_id(old->node, old->node_count, me->id);

	if (!any_changes(old, d->conf))
		return;
	d->moved.version = d->config_version;
	d->moved.count = old->node_count;
	memcpy(d->moved.node, old->node, sizeof(d->moved.node));
	for (unsigned i = 0; was && i < me->path_count; i++)
		if (!same_path(&me->path[i], &was->path[i]))
			change_own(d, i);
}

const struct conf_path *readdress_old(const struct daemon *d, const struct conf_node *to,
				      unsigned path, bool *only)
{
	const struct conf_node *was = by_id(d->moved.node, d->moved.count, to->id);

	*only = false;
	if (!d->moved.version || !was || same_path(&was->path[path], &to->path[path]))
		return NULL;
	for (unsigned i = 0; i < d->node->peer_count; i++) {
		const struct node_peer *p = &d->node->peer[i];

		if (p->id != to->id)
			continue;
		if (p->heard_ever && p->msg.config_version >= d->moved.version)
			return NULL;
		*only = peer_live(p);
#ifdef HF_MUTANT_READDRESS_AT_ONCE
		return NULL;
#endif
		return &was->path[path];
	}
	return NULL;
}

void readdress_settle(struct daemon *d)
{
	if (!d->moved.version || !all_have_it(d))
		return;
	for (unsigned i = 0; i < d->conf->node[d->self].path_count; i++) {
		struct peer_path *p = &d->path[i];

		if (other_socket(p)->fd < 0 || loop_clock_ns() < p->old_until_ns)
			continue;
		log_notice("path %u: every node has the new address; the old one is closed", i);
		net_close(other_socket(p));
	}
}
