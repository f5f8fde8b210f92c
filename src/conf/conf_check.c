/* conf_check.c - what no single key can be wrong about: references, doubles, the timers.
 *
 * The timers' invariants are safety (SAFETY F4): a former owner must have stopped before the
 * taker opens, so lease + drift and stop < dead + wait; a path is not called silent on one lost
 * message; the wait of step 213b leaves time for a slot to be written, read and acted upon. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/crc32c.h"
#include "codec/wwid.h"
#include "conf/conf.h"
#include "conf/conf_lex.h"

#define SLOT_MILLI 500 /* slots are written and read every half heartbeat */
#define STOP_MILLI 500

struct check {
	const char *name;
	char *err;
	size_t err_size;
};

__attribute__((format(printf, 3, 4))) static int bad(const struct check *k, unsigned line,
						     const char *fmt, ...)
{
	va_list ap;
	int n;

	if (line)
		n = snprintf(k->err, k->err_size, "%s:%u: ", k->name, line);
	else
		n = snprintf(k->err, k->err_size, "%s: ", k->name);
	if (n > 0 && (size_t)n < k->err_size) {
		va_start(ap, fmt);
		vsnprintf(k->err + n, k->err_size - (size_t)n, fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

int conf_find_node(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->node_count; i++)
		if (strcmp(c->node[i].name, name) == 0)
			return (int)i;
	return -1;
}

int conf_find_unit(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->unit_count; i++)
		if (strcmp(c->unit[i].name, name) == 0)
			return (int)i;
	return -1;
}

int conf_find_vserver(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->vserver_count; i++)
		if (strcmp(c->vserver[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int check_timers(const struct check *k, const struct conf *c)
{
	const struct conf_timers *t = &c->timer;
	char a[32], b[32];

	if (c->profile == CONF_CLASSIC) {
		if (c->heartbeat_ns != conf_limit[LIMIT_HEARTBEAT].def ||
		    t->path_silent != conf_limit[LIMIT_PATH_SILENT].def ||
		    t->dead != conf_limit[LIMIT_DEAD].def || t->wait != conf_limit[LIMIT_WAIT].def ||
		    t->lease != conf_limit[LIMIT_LEASE].def ||
		    t->drift_stop != conf_limit[LIMIT_DRIFT_STOP].def)
			return bad(k, 0, "profile classic has its own figures, allowed beside it is "
					 "no heartbeat, path_silent, dead, wait, lease or drift_stop");
		return 0;
	}
#ifndef HF_MUTANT_CONF_ANY_LEASE
	if (t->lease + t->drift_stop >= t->dead + t->wait)
		return bad(k, 0,
			   "lease + drift_stop is %s heartbeats, allowed less than dead + wait, %s",
			   limit_text(LIMIT_BEATS, t->lease + t->drift_stop, a),
			   limit_text(LIMIT_BEATS, t->dead + t->wait, b));
#endif
	if (t->wait <= 2 * SLOT_MILLI + STOP_MILLI)
		return bad(k, 0, "wait is %s heartbeats, allowed more than 1.5",
			   limit_text(LIMIT_BEATS, t->wait, a));
	if (t->dead < t->path_silent)
		return bad(k, 0, "dead is %s heartbeats, allowed at least path_silent, %s",
			   limit_text(LIMIT_BEATS, t->dead, a),
			   limit_text(LIMIT_BEATS, t->path_silent, b));
	return 0;
}

static bool path_is_of(const struct conf_node *n, const struct conf_path *p)
{
	for (unsigned i = 0; i < n->path_count; i++)
		if (n->path[i].port == p->port &&
		    memcmp(n->path[i].addr.addr, p->addr.addr, 16) == 0)
			return true;
	return false;
}

static int check_node(const struct check *k, const struct conf *c, unsigned at)
{
	const struct conf_node *n = &c->node[at];
	char text[64];

	if (n->id == 0)
		return bad(k, n->line, "node %s needs an id, allowed 1 to 8", n->name);
	if (n->path_count == 0)
		return bad(k, n->line, "node %s needs a network", n->name);
	for (unsigned i = 0; i < at; i++) {
		if (strcmp(c->node[i].name, n->name) == 0)
			return bad(k, n->line, "node %s is there twice", n->name);
		if (c->node[i].id == n->id)
			return bad(k, n->line, "id %u is that of node %s already", n->id,
				   c->node[i].name);
		if (c->node[i].path_count != n->path_count)
			return bad(k, n->line, "node %s has %u heartbeat paths, node %s %u: allowed "
				   "the same number, path by path", n->name, n->path_count,
				   c->node[i].name, c->node[i].path_count);
		for (unsigned p = 0; p < n->path_count; p++)
			if (path_is_of(&c->node[i], &n->path[p]))
				return bad(k, n->line, "node %s has %s port %u of node %s", n->name,
					   conf_net_text(&n->path[p].addr, false, text),
					   n->path[p].port, c->node[i].name);
	}
	return 0;
}

/* "./a//b/" -> "a/b", "." -> "" */
static void dir_plain(const char *dir, char out[CONF_PATH_MAX])
{
	size_t n = 0;

	while (*dir) {
		size_t len = strcspn(dir, "/");

		if (len > 1 || (len == 1 && *dir != '.')) {
			if (n)
				out[n++] = '/';
			memcpy(out + n, dir, len);
			n += len;
		}
		dir += len + (dir[len] == '/');
	}
	out[n] = '\0';
}

/* Are they one directory, or is one inside of the other? */
static bool dirs_meet(const char *a, const char *b)
{
	char x[CONF_PATH_MAX], y[CONF_PATH_MAX];
	size_t n, m, least;

	dir_plain(a, x);
	dir_plain(b, y);
	n = strlen(x);
	m = strlen(y);
	least = n < m ? n : m;
	return memcmp(x, y, least) == 0 &&
	       (n == m || least == 0 || (n < m ? y : x)[least] == '/');
}

/* What another backend's units have. */
static bool has_iscsi(const struct conf_unit *u)
{
	return u->portal_count || u->target[0] || u->initiator[0] || u->chap_file[0];
}

static int check_iscsi(const struct check *k, struct conf_unit *u)
{
	if (!u->portal_count || !u->target[0] || !u->wwid[0] || !u->mount_point[0])
		return bad(k, u->line, "unit %s with backend iscsi needs portal, target, wwid and "
			   "mount_point", u->name);
	if (u->path[0] || u->fence_command[0] || u->image[0] || u->record[0] || u->control[0])
		return bad(k, u->line, "unit %s: path, fence_command, image, record and control do not "
			   "belong to backend iscsi", u->name);
	for (unsigned i = 0; i < u->portal_count; i++)
		for (unsigned j = 0; j < i; j++)
			if (memcmp(&u->portal[i], &u->portal[j], sizeof(u->portal[0])) == 0)
				return bad(k, u->line, "unit %s has a portal twice", u->name);
	if (!wwid_is_valid(u->wwid))
		return bad(k, u->line, "unit %s: wwid %s: allowed naa. or eui. with hexadecimal digits "
			   "(small), t10. with text, as `holdfast-lun --list` shows it", u->name,
			   u->wwid);
	return 0;
}

static int check_scsi(const struct check *k, struct conf_unit *u)
{
	static const char usual[] = "/dev/sd* /dev/nvme*n*"; /* io/scan.h */

	if (!u->wwid[0] || !u->mount_point[0])
		return bad(k, u->line, "unit %s with backend scsi needs wwid and mount_point", u->name);
	if (u->path[0] || u->fence_command[0] || u->image[0] || u->record[0] || u->control[0])
		return bad(k, u->line, "unit %s: path, fence_command, image, record and control do not "
			   "belong to backend scsi", u->name);
	if (!wwid_is_valid(u->wwid))
		return bad(k, u->line, "unit %s: wwid %s: allowed naa. or eui. with hexadecimal digits "
			   "(small), t10. with text, as `holdfast unit scan` shows it", u->name, u->wwid);
	if (!u->devices[0])
		memcpy(u->devices, usual, sizeof(usual));
	return 0;
}

static int check_unit(const struct check *k, struct conf *c, unsigned at)
{
	struct conf_unit *u = &c->unit[at];

	for (unsigned i = 0; i < at; i++) {
		if (strcmp(c->unit[i].name, u->name) == 0)
			return bad(k, u->line, "unit %s is there twice", u->name);
		if (!c->unit[i].gone && ((u->path[0] && strcmp(c->unit[i].path, u->path) == 0) ||
					 (u->image[0] && strcmp(c->unit[i].image, u->image) == 0)))
			return bad(k, u->line, "units %s and %s have the same %s", c->unit[i].name,
				   u->name, u->path[0] ? "path" : "image");
	}
	for (unsigned i = 0; i < at && u->wwid[0]; i++)
		if (strcmp(c->unit[i].wwid, u->wwid) == 0)
			return bad(k, u->line, "units %s and %s have the same wwid", c->unit[i].name,
				   u->name);
	if (u->backend != CONF_ISCSI && has_iscsi(u))
		return bad(k, u->line, "unit %s: portal, target, initiator and chap_file belong to "
			   "backend iscsi", u->name);
	if (u->backend != CONF_SCSI && u->devices[0])
		return bad(k, u->line, "unit %s: devices belongs to backend scsi", u->name);
	switch (u->backend) {
	case CONF_SCSI:
		return check_scsi(k, u);
	case CONF_ISCSI:
		return check_iscsi(k, u);
	case CONF_DIR:
		if (!u->path[0])
			return bad(k, u->line, "unit %s with backend dir needs a path", u->name);
		if (u->image[0] || u->mount_point[0] || u->control[0] || u->record[0] ||
		    u->repair_command[0])
			return bad(k, u->line,
				   "unit %s: image, record, mount_point, control and repair_command "
				   "belong to backend loop", u->name);
		return 0;
	case CONF_LOOP:
		if (!u->image[0] || !u->mount_point[0] || !u->control[0])
			return bad(k, u->line, "unit %s with backend loop needs image, mount_point "
				   "and control", u->name);
		if (u->path[0] || u->fence_command[0])
			return bad(k, u->line,
				   "unit %s: path and fence_command belong to backend dir",
				   u->name);
		break;
	}
	/* The ownership record is a file of the same array beside the image: u1.img -> u1.own. */
	if (!u->record[0]) {
		size_t n = strlen(u->image);

		if (n > 4 && strcmp(u->image + n - 4, ".img") == 0)
			n -= 4;
		if (n + 5 > sizeof(u->record))
			return bad(k, u->line, "unit %s: image is too long", u->name);
		memcpy(u->record, u->image, n);
		memcpy(u->record + n, ".own", 5);
	}
	return 0;
}

static int check_stores(const struct check *k, struct conf *c, struct conf_vserver *v)
{
	for (unsigned i = 0; i < v->store_count; i++) {
		struct conf_store *s = &v->store[i];
		int unit = conf_find_unit(c, s->unit_name);

		if (!s->unit_name[0] || !s->dir[0])
			return bad(k, s->line, "store %s needs unit and dir", s->name);
		if (unit < 0)
			return bad(k, s->line, "store %s: there is no unit %s", s->name,
				   s->unit_name);
		s->unit = (unsigned)unit;
		for (const struct conf_vserver *w = c->vserver; w <= v; w++)
			for (unsigned j = 0; j < w->store_count; j++) {
				const struct conf_store *o = &w->store[j];

				if (o == s)
					break;
				if (w == v && strcmp(o->name, s->name) == 0)
					return bad(k, s->line, "store %s is there twice", s->name);
				if (o->unit == s->unit && dirs_meet(o->dir, s->dir))
					return bad(k, s->line, "store %s is in the place of store %s",
						   s->name, o->name);
				if (o->unit == s->unit && w != v)
					return bad(k, s->line,
						   "unit %s is used by vserver %s already: a unit "
						   "moves as a whole, so it belongs to one vserver",
						   s->unit_name, w->name);
			}
	}
	return 0;
}

size_t conf_tidy_path(char *out, const char *path, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
#ifdef HF_MUTANT_CONF_SLASHES_COUNT
		out[len++] = path[i];
#else
		if (path[i] != '/' || len == 0 || out[len - 1] != '/')
			out[len++] = path[i];
#endif
	}
	while (len > 1 && out[len - 1] == '/')
		len--;
	out[len] = '\0';
	return len;
}

uint32_t conf_export_id(const char *path, const char *dir)
{
	size_t n = strlen(path);
	uint32_t id;

	while (n > 1 && path[n - 1] == '/')
		n--;
	id = crc32c(0, path, n);
	if (*dir) {
		id = crc32c(id, "", 1); /* the NUL between them */
		id = crc32c(id, dir, strlen(dir));
	}
	id &= CONF_EXPORT_ID_MAX;
	return id ? id : 1;
}

/* Nor may handles mean two exports: nobody could serve the virtual server (nfs/exports.h). */
static int check_twins(const struct check *k, const struct conf_export *e,
		       const struct conf_export *with)
{
	char tidy[2][CONF_PATH_MAX];

	conf_tidy_path(tidy[0], e->path, strlen(e->path));
	conf_tidy_path(tidy[1], with->path, strlen(with->path));
	if (strcmp(tidy[0], tidy[1]) == 0)
		return bad(k, e->line, "export %s is there twice", e->path);
	if (conf_export_id(e->path, e->dir) == conf_export_id(with->path, with->dir))
		return bad(k, e->line,
			   "exports %s and %s have the same number in file handles: give one "
			   "another path",
			   with->path, e->path);
	return 0;
}

static int check_exports(const struct check *k, struct conf_vserver *v)
{
	for (unsigned i = 0; i < v->export_count; i++) {
		struct conf_export *e = &v->export[i];
		unsigned j;

		for (j = 0; j < v->store_count && strcmp(v->store[j].name, e->store_name); j++)
			;
		if (j == v->store_count)
			return bad(k, e->line, "export %s: vserver %s has no store %s", e->path,
				   v->name, e->store_name[0] ? e->store_name : "named");
		e->store = j;
		if (e->client_count == 0)
			return bad(k, e->line, "export %s has no client line: nobody could use it",
				   e->path);
		for (j = 0; j < i; j++)
			if (check_twins(k, e, &v->export[j]))
				return -EINVAL;
	}
	return 0;
}

static int check_addresses(const struct check *k, const struct conf *c,
			   const struct conf_vserver *v)
{
	char text[64];

	for (unsigned i = 0; i < v->address_count; i++) {
		const struct conf_address *a = &v->address[i];

		for (const struct conf_vserver *w = c->vserver; w <= v; w++)
			for (unsigned j = 0; j < w->address_count; j++) {
				if (&w->address[j] == a)
					break;
				if (memcmp(w->address[j].net.addr, a->net.addr, 16) == 0)
					return bad(k, a->line,
						   "address %s is that of vserver %s already",
						   conf_net_text(&a->net, false, text), w->name);
			}
		for (unsigned n = 0; n < c->node_count && a->dev[0]; n++)
			for (unsigned j = 0; j < c->node[n].path_count; j++)
				if (memcmp(c->node[n].path[j].addr.addr, a->net.addr, 16) == 0)
					return bad(k, a->line, "address %s is node %s's own",
						   conf_net_text(&a->net, false, text),
						   c->node[n].name);
	}
	return 0;
}

static int check_vserver(const struct check *k, struct conf *c, unsigned at)
{
	struct conf_vserver *v = &c->vserver[at];
	int home = v->home_name[0] ? conf_find_node(c, v->home_name) : 0, rc;

	for (unsigned i = 0; i < at; i++)
		if (strcmp(c->vserver[i].name, v->name) == 0)
			return bad(k, v->line, "vserver %s is there twice", v->name);
	if (home < 0)
		return bad(k, v->line, "vserver %s: there is no node %s", v->name, v->home_name);
	v->home = (unsigned)home;
	memcpy(v->home_name, c->node[home].name, sizeof(v->home_name));
	for (unsigned i = 0; i < v->node_count; i++)
		if (conf_find_node(c, v->node_name[i]) < 0)
			return bad(k, v->line, "vserver %s: there is no node %s", v->name,
				   v->node_name[i]);
	if (v->address_count == 0 || v->store_count == 0)
		return bad(k, v->line, "vserver %s needs at least one address and one store",
			   v->name);
	rc = check_stores(k, c, v);
	if (rc == 0)
		rc = check_exports(k, v);
	return rc ? rc : check_addresses(k, c, v);
}

int conf_check(struct conf *c, const char *name, char *err, size_t err_size)
{
	struct check k = {name, err, err_size};
	int rc = check_timers(&k, c);

	if (rc == 0 && !c->name[0])
		rc = bad(&k, 0, "cluster is missing");
	if (rc == 0 && c->node_count == 0)
		rc = bad(&k, 0, "there is no node");
	if (rc == 0 && c->node_count > 1 && c->coord_count == 0)
		rc = bad(&k, 0, "coordination is missing, allowed 1 to %d devices", CONF_COORD_MAX);
	for (unsigned i = 0; i < c->coord_count && rc == 0; i++)
		for (unsigned j = 0; j < i; j++)
			if (strcmp(c->coord[i], c->coord[j]) == 0)
				rc = bad(&k, 0, "coordination device %s is there twice", c->coord[i]);
	for (unsigned i = 0; i < c->node_count && rc == 0; i++)
		rc = check_node(&k, c, i);
	for (unsigned i = 0; i < c->unit_count && rc == 0; i++)
		rc = c->unit[i].gone ? 0 : check_unit(&k, c, i);
	for (unsigned i = 0; i < c->vserver_count && rc == 0; i++)
		rc = c->vserver[i].gone ? 0 : check_vserver(&k, c, i);
	return rc;
}
