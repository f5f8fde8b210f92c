/* exports.c - exports, client rules and squashing. */
#include "nfs/exports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "nfs/handle.h"

_Static_assert(CONF_EXPORT_ID_MAX == HANDLE_EXPORT_MAX, "a handle has room for an export's number");

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static uint64_t take64(const uint8_t *b)
{
	struct rd r;

	rd_init(&r, b, 8);
	return rd_u64(&r);
}

static uint64_t mask64(unsigned bits)
{
	if (bits == 0)
		return 0;
	return bits >= 64 ? UINT64_MAX : ~(UINT64_MAX >> bits);
}

static void rule_text(struct export_rule *r)
{
	const struct export_client_conf *c = &r->conf;
	char addr[INET6_ADDRSTRLEN] = "";
	bool v4 = memcmp(c->addr, v4_mapped, 12) == 0 && c->prefix >= 96;

	if (c->prefix == 0) {
		snprintf(r->text, sizeof(r->text), "*");
		return;
	}
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? c->addr + 12 : c->addr, addr, sizeof(addr));
	if (c->prefix == 128)
		snprintf(r->text, sizeof(r->text), "%s", addr);
	else
		snprintf(r->text, sizeof(r->text), "%s/%u", addr, v4 ? c->prefix - 96 : c->prefix);
}

static void rule_init(struct export_rule *r, const struct export_client_conf *c)
{
	r->conf = *c;
	r->mask[0] = mask64(c->prefix);
	r->mask[1] = c->prefix > 64 ? mask64(c->prefix - 64) : 0;
	r->net[0] = take64(c->addr) & r->mask[0];
	r->net[1] = take64(c->addr + 8) & r->mask[1];
	rule_text(r);
}

static int export_init(struct export *x, const struct export_conf *c, struct fs *fs)
{
	x->path = mem_strdup(c->path);
	x->dir = mem_strdup(c->dir ? c->dir : "");
	x->id = conf_export_id(x->path, x->dir); /* as it is written: handles that are out keep it */
	x->path_len = conf_tidy_path(x->path, x->path, strlen(x->path));
	x->fs = fs;
	x->rule_count = c->client_count;
	x->rules = mem_zalloc(c->client_count, sizeof(*x->rules));
	for (unsigned i = 0; i < c->client_count; i++) {
		if (c->clients[i].prefix > 128)
			return -EINVAL;
		rule_init(&x->rules[i], &c->clients[i]);
	}
	return x->path[0] == '/' ? 0 : -EINVAL;
}

static void slots_init(struct exports *e)
{
	unsigned size = 8;

	while (size < 4 * e->count)
		size *= 2;
	e->slot_mask = size - 1;
	e->slots = mem_zalloc(size, sizeof(*e->slots));
	for (unsigned i = 0; i < e->count; i++) {
		unsigned at = e->list[i].id & e->slot_mask;

		while (e->slots[at])
			at = (at + 1) & e->slot_mask;
		e->slots[at] = (uint16_t)(i + 1);
	}
}

static int no_twins(const struct exports *e, char *err, size_t err_size)
{
	for (unsigned i = 0; i < e->count; i++) {
		for (unsigned j = 0; j < i; j++) {
			bool same = strcmp(e->list[i].path, e->list[j].path) == 0;

			if (e->list[i].id != e->list[j].id && !same)
				continue;
			snprintf(err, err_size, "exports %s and %s: %s; give one another path",
				 e->list[j].path, e->list[i].path,
				 same ? "the same path twice" : "their handle numbers collide");
			return -EINVAL;
		}
	}
	return 0;
}

int exports_init(struct exports *e, const struct nfs_conf *c, struct fs *const *fs_of, char *err,
		 size_t err_size)
{
	memset(e, 0, sizeof(*e));
	if (c->export_count >= UINT16_MAX) {
		snprintf(err, err_size, "exports: %u, at most 65534", c->export_count);
		return -EINVAL;
	}
	e->list = mem_zalloc(c->export_count, sizeof(*e->list));
	e->count = c->export_count;
	for (unsigned i = 0; i < c->export_count; i++) {
		const struct export_conf *x = &c->exports[i];

		if (x->store >= c->store_count ||
		    export_init(&e->list[i], x, fs_of[x->store]) != 0) {
			snprintf(err, err_size,
				 "export %s: a path from / on, a store, prefixes of 0 to 128 are wanted",
				 x->path);
			exports_fini(e);
			return -EINVAL;
		}
	}
	if (no_twins(e, err, err_size) != 0) {
		exports_fini(e);
		return -EINVAL;
	}
	slots_init(e);
	return 0;
}

void exports_fini(struct exports *e)
{
	for (unsigned i = 0; i < e->count; i++) {
		free(e->list[i].path);
		free(e->list[i].dir);
		free(e->list[i].rules);
	}
	free(e->list);
	free(e->slots);
	memset(e, 0, sizeof(*e));
}

struct export *exports_by_id(const struct exports *e, uint32_t id)
{
	unsigned at = id & e->slot_mask;

	for (; e->slots[at]; at = (at + 1) & e->slot_mask) {
		struct export *x = &e->list[e->slots[at] - 1];

		if (x->id == id)
			return x;
	}
	return NULL;
}

static bool path_begins(const struct export *x, const char *path, size_t len)
{
	if (x->path_len == 1)
		return len >= 1 && path[0] == '/';
	return len >= x->path_len && memcmp(path, x->path, x->path_len) == 0 &&
	       (len == x->path_len || path[x->path_len] == '/');
}

struct export *exports_by_path(const struct exports *e, const char *path, size_t len,
			       const char **rest, size_t *rest_len)
{
	struct export *best = NULL;

	for (unsigned i = 0; i < e->count; i++) {
		struct export *x = &e->list[i];

		if (path_begins(x, path, len) && (!best || x->path_len > best->path_len))
			best = x;
	}
	if (best) {
		*rest = path + best->path_len;
		*rest_len = len - best->path_len;
	}
	return best;
}

const struct export_rule *export_rule_for(const struct export *x, const uint8_t client[16])
{
	uint64_t hi = take64(client), lo = take64(client + 8);

	for (unsigned i = 0; i < x->rule_count; i++) {
		const struct export_rule *r = &x->rules[i];

		if ((hi & r->mask[0]) == r->net[0] && (lo & r->mask[1]) == r->net[1])
			return r;
	}
	return NULL;
}

void export_squash_cred(const struct export_rule *r, bool sys, struct cred *c)
{
	const struct export_client_conf *x = &r->conf;

	if (!sys || x->squash == SQUASH_ALL || x->sec_sys_off) {
		c->uid = x->anonuid;
		c->gid = x->anongid;
		c->gid_count = 0;
		return;
	}
	if (x->squash == SQUASH_NONE)
		return;
	if (c->uid == 0)
		c->uid = x->anonuid;
	if (c->gid == 0)
		c->gid = x->anongid;
	for (uint32_t i = 0; i < c->gid_count; i++) {
		if (c->gids[i] == 0)
			c->gids[i] = x->anongid;
	}
}
