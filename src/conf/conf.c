/* conf.c - the configuration's grammar: blocks of keys, a table of keys for each kind of block.
 *
 * A key takes a fixed number of values, so several may share a line; keys with a list (client,
 * coordination) take what stands on their line. */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf_lex.h"

#define TEXT_MAX (4U << 20)

struct ctx {
	struct lex x;
	struct conf *c;
};

/* `at` is the block's struct.  Keys of a table are unique in a block unless `many`. */
struct key {
	const char *word;
	void (*take)(struct ctx *p, void *at);
	bool many;
};

static void unknown_key(struct ctx *p, const char *what, const struct key *keys)
{
	char allowed[384] = "";
	size_t n = 0;

	for (unsigned i = 0; keys[i].word && n < sizeof(allowed); i++)
		n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, " %s", keys[i].word);
	lex_fail(&p->x, p->x.tok_line, "unknown key %.60s in %s, allowed%s", p->x.text, what,
		 allowed);
}

static void take_block(struct ctx *p, const char *what, const struct key *keys, void *at)
{
	unsigned begin = p->x.tok_line;
	uint64_t seen = 0;
	unsigned i;

	if (p->x.tok != TOK_OPEN) {
		lex_fail(&p->x, p->x.last_line, "{ is missing after %s", what);
		return;
	}
	lex_next(&p->x);
	while (!p->x.failed && p->x.tok != TOK_CLOSE) {
		if (p->x.tok == TOK_END) {
			lex_fail(&p->x, begin, "the block of this %s has no closing }", what);
			return;
		}
		for (i = 0; keys[i].word && !lex_is(&p->x, keys[i].word); i++)
			;
		if (!keys[i].word) {
			unknown_key(p, what, keys);
			return;
		}
		if ((seen >> i & 1) && !keys[i].many)
			lex_fail(&p->x, p->x.tok_line, "%s is given twice in this %s",
				 keys[i].word, what);
		seen |= 1ULL << i;
		lex_next(&p->x);
		keys[i].take(p, at);
	}
	lex_next(&p->x);
}

/* Room for one more in an array of `most`; false (and failed) when it is full. */
static bool one_more(struct ctx *p, unsigned *count, unsigned most, const char *what)
{
	if (p->x.failed)
		return false;
	if (*count < most) {
		++*count;
		return true;
	}
	lex_fail(&p->x, p->x.last_line, "too many: allowed at most %u %s", most, what);
	return false;
}

#define NUMBER(fn, type, field, row, cast)                                                         \
	static void fn(struct ctx *p, void *at)                                                    \
	{                                                                                          \
		((type *)at)->field = (cast)lex_number(&p->x, row);                                \
	}
#define TEXT(fn, type, field, how, word)                                                           \
	static void fn(struct ctx *p, void *at)                                                    \
	{                                                                                          \
		type *t = at;                                                                      \
		how(&p->x, word, t->field, sizeof(t->field));                                      \
	}

/* ---- cluster ------------------------------------------------------------------------------- */
NUMBER(cl_heartbeat, struct conf, heartbeat_ns, LIMIT_HEARTBEAT, uint64_t)
NUMBER(cl_path_silent, struct conf, timer.path_silent, LIMIT_PATH_SILENT, uint32_t)
NUMBER(cl_dead, struct conf, timer.dead, LIMIT_DEAD, uint32_t)
NUMBER(cl_wait, struct conf, timer.wait, LIMIT_WAIT, uint32_t)
NUMBER(cl_lease, struct conf, timer.lease, LIMIT_LEASE, uint32_t)
NUMBER(cl_drift, struct conf, timer.drift_stop, LIMIT_DRIFT_STOP, uint32_t)
NUMBER(cl_events_size, struct conf, events_size_bytes, LIMIT_EVENTS_SIZE, uint64_t)
NUMBER(cl_events_age, struct conf, events_age_ns, LIMIT_EVENTS_AGE, uint64_t)
TEXT(cl_key, struct conf, key, lex_path, "key")
TEXT(cl_run_dir, struct conf, run_dir, lex_path, "run_dir")
TEXT(cl_state_dir, struct conf, state_dir, lex_path, "state_dir")

static void cl_coordination(struct ctx *p, void *at)
{
	struct conf *c = at;

	do {
		if (!one_more(p, &c->coord_count, CONF_COORD_MAX, "coordination devices"))
			return;
		if (c->coord_count > 1 && *p->x.text != '/')
			lex_fail(&p->x, p->x.tok_line, "coordination \"%.200s\" is no absolute path; a key "
				 "behind the devices stands on a line of its own", p->x.text);
		lex_path(&p->x, "coordination", c->coord[c->coord_count - 1], CONF_PATH_MAX);
	} while (lex_more(&p->x));
}

static void cl_takeover(struct ctx *p, void *at)
{
	((struct conf *)at)->takeover_off = !lex_on_off(&p->x, "takeover");
}

static void cl_self_fence(struct ctx *p, void *at)
{
	static const char *const words[] = {"reboot", "stop", NULL};

	((struct conf *)at)->self_fence =
		(enum conf_self_fence)lex_choice(&p->x, "self_fence", words);
}

static void cl_standby(struct ctx *p, void *at)
{
	((struct conf *)at)->standby_off = !lex_on_off(&p->x, "standby");
}

static void cl_profile(struct ctx *p, void *at)
{
	static const char *const words[] = {"fast", "classic", NULL};

	((struct conf *)at)->profile = (enum conf_profile)lex_choice(&p->x, "profile", words);
}

static void cl_reboot(struct ctx *p, void *at)
{
	static const char *const words[] = {"auto", "manual", NULL};

	((struct conf *)at)->reboot = (enum conf_reboot)lex_choice(&p->x, "reboot", words);
}

NUMBER(cl_countdown, struct conf, countdown_ns, LIMIT_COUNTDOWN, uint64_t)

static const struct key CLUSTER_KEYS[] = {
	{"heartbeat", cl_heartbeat, false},
	{"path_silent", cl_path_silent, false},
	{"dead", cl_dead, false},
	{"wait", cl_wait, false},
	{"lease", cl_lease, false},
	{"drift_stop", cl_drift, false},
	{"profile", cl_profile, false},
	{"standby", cl_standby, false},
	{"reboot", cl_reboot, false},
	{"countdown", cl_countdown, false},
	{"key", cl_key, false},
	{"coordination", cl_coordination, false},
	{"run_dir", cl_run_dir, false},
	{"state_dir", cl_state_dir, false},
	{"events_size", cl_events_size, false},
	{"events_age", cl_events_age, false},
	{"takeover", cl_takeover, false},
	{"self_fence", cl_self_fence, false},
	{NULL, NULL, false},
};

/* ---- node ---------------------------------------------------------------------------------- */
static void take_port(struct ctx *p, struct conf_path *to, enum limit_row row)
{
	to->port = (uint16_t)conf_limit[row].def;
	if (!lex_is(&p->x, "port") || !lex_more(&p->x))
		return;
	lex_next(&p->x);
	to->port = (uint16_t)lex_number(&p->x, row);
}

static void take_net_path(struct ctx *p, struct conf_node *n, bool interconnect)
{
	struct conf_path *to;

	if (!one_more(p, &n->path_count, CONF_PATHS_MAX, "heartbeat paths in a node"))
		return;
	to = &n->path[n->path_count - 1];
	to->interconnect = interconnect;
	lex_net(&p->x, interconnect ? "interconnect" : "network", false, &to->addr);
	take_port(p, to, LIMIT_PORT);
}

static void nd_network(struct ctx *p, void *at)
{
	take_net_path(p, at, false);
}

static void nd_interconnect(struct ctx *p, void *at)
{
	take_net_path(p, at, true);
}

static void nd_metrics(struct ctx *p, void *at)
{
	struct conf_node *n = at;

	lex_net(&p->x, "metrics", false, &n->metrics.addr);
	take_port(p, &n->metrics, LIMIT_PORT);
}

NUMBER(nd_id, struct conf_node, id, LIMIT_ID, uint16_t)
NUMBER(nd_capacity, struct conf_node, capacity, LIMIT_CAPACITY, uint16_t)

static const struct key NODE_KEYS[] = {
	{"id", nd_id, false},
	{"capacity", nd_capacity, false},
	{"network", nd_network, true},
	{"interconnect", nd_interconnect, true},
	{"metrics", nd_metrics, false},
	{NULL, NULL, false},
};

/* ---- unit ---------------------------------------------------------------------------------- */
TEXT(un_path, struct conf_unit, path, lex_path, "path")
TEXT(un_fence, struct conf_unit, fence_command, lex_path, "fence_command")
TEXT(un_repair, struct conf_unit, repair_command, lex_path, "repair_command")
TEXT(un_image, struct conf_unit, image, lex_path, "image")
TEXT(un_record, struct conf_unit, record, lex_path, "record")
TEXT(un_mount_point, struct conf_unit, mount_point, lex_path, "mount_point")
TEXT(un_control, struct conf_unit, control, lex_path, "control")

static void un_backend(struct ctx *p, void *at)
{
	static const char *const words[] = {"dir", "loop", "iscsi", "scsi", NULL};

	((struct conf_unit *)at)->backend = (enum conf_backend)lex_choice(&p->x, "backend", words);
}

TEXT(un_wwid, struct conf_unit, wwid, lex_string, "wwid")
TEXT(un_devices, struct conf_unit, devices, lex_string, "devices")
TEXT(un_target, struct conf_unit, target, lex_string, "target")
TEXT(un_initiator, struct conf_unit, initiator, lex_string, "initiator")
TEXT(un_chap, struct conf_unit, chap_file, lex_path, "chap_file")
NUMBER(un_lun, struct conf_unit, lun, LIMIT_LUN, unsigned)

static void un_portal(struct ctx *p, void *at)
{
	struct conf_unit *u = at;
	struct conf_path *to;

	if (!one_more(p, &u->portal_count, CONF_PORTALS_MAX, "portals in a unit"))
		return;
	to = &u->portal[u->portal_count - 1];
	lex_net(&p->x, "portal", false, &to->addr);
	take_port(p, to, LIMIT_PORTAL_PORT);
}

static void un_type(struct ctx *p, void *at)
{
	static const char *const words[] = {"ext4", "xfs", NULL};

	((struct conf_unit *)at)->fstype = (enum conf_fstype)lex_choice(&p->x, "type", words);
}

static const struct key UNIT_KEYS[] = {
	{"backend", un_backend, false},	 {"path", un_path, false},
	{"fence_command", un_fence, false}, {"repair_command", un_repair, false}, {"image", un_image, false},
	{"record", un_record, false},	 {"mount_point", un_mount_point, false},
	{"control", un_control, false},	 {"type", un_type, false},
	{"portal", un_portal, true},	 {"target", un_target, false},
	{"lun", un_lun, false},		 {"initiator", un_initiator, false},
	{"wwid", un_wwid, false},	 {"devices", un_devices, false},
	{"chap_file", un_chap, false},
	{NULL, NULL, false},
};

/* ---- vserver ------------------------------------------------------------------------------- */
static bool client_id(struct ctx *p, const char *option, enum limit_row row, uint32_t *out)
{
	size_t n = strlen(option);
	uint64_t v = 0;

	if (strncmp(p->x.text, option, n) != 0)
		return false;
	if (limit_parse(&p->x, row, p->x.text + n, &v))
		*out = (uint32_t)v;
	return true;
}

/* sec=sys:none, as exports(5) writes it. */
static bool client_sec(struct ctx *p, struct conf_client *cl)
{
	const char *s = p->x.text + 4;

	if (strncmp(p->x.text, "sec=", 4) != 0)
		return false;
	cl->sec = 0;
	for (;;) {
		size_t n = strcspn(s, ":");

		if (n == 3 && strncmp(s, "sys", 3) == 0)
			cl->sec |= CONF_SEC_SYS;
		else if (n == 4 && strncmp(s, "none", 4) == 0)
			cl->sec |= CONF_SEC_NONE;
		else
			lex_fail(&p->x, p->x.tok_line, "%s is unknown, allowed sys and none",
				 p->x.text);
		if (p->x.failed || !s[n])
			return true;
		s += n + 1;
	}
}

static bool client_flag(struct ctx *p, struct conf_client *cl)
{
	const struct {
		const char *word;
		bool *field;
		bool value;
	} flags[] = {
		{"rw", &cl->writable, true},
		{"ro", &cl->writable, false},
		{"root_squash", &cl->root_squash, true},
		{"no_root_squash", &cl->root_squash, false},
		{"all_squash", &cl->all_squash, true},
		{"no_all_squash", &cl->all_squash, false},
		{"secure", &cl->secure, true},
		{"insecure", &cl->secure, false},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(p->x.text, flags[i].word) == 0) {
			*flags[i].field = flags[i].value;
			return true;
		}
	/* What holds always here: every reply is durable, handles are checked by a MAC. */
	return lex_is(&p->x, "sync") || lex_is(&p->x, "no_subtree_check");
}

/* What exports(5) allows besides addresses is refused with the way to write it (decision 0009). */
static void client_who(struct ctx *p, struct conf_net *net)
{
	const char *who = p->x.text;

	if (lex_is(&p->x, "*")) {
		lex_next(&p->x);
	} else if (p->x.tok == TOK_WORD && strchr(who, '(')) {
		lex_fail(&p->x, p->x.tok_line, "client %.80s: options stand behind the address, with spaces "
			 "between: client 192.0.2.0/24 rw secure", who);
	} else if (p->x.tok == TOK_WORD && *who == '@') {
		lex_fail(&p->x, p->x.tok_line, "client %.80s: netgroups are not looked up; write a client "
			 "line with the address of each member (getent netgroup %.60s)", who, who + 1);
	} else if (p->x.tok == TOK_WORD && strpbrk(who, "*?[")) {
		lex_fail(&p->x, p->x.tok_line, "client %.80s: patterns of names are not matched; write the "
			 "network, as in client 192.0.2.0/24", who);
	} else if (p->x.tok == TOK_WORD && conf_is_host_name(who)) {
		lex_fail(&p->x, p->x.tok_line, "client %.80s: host names are not looked up; write the "
			 "address (getent ahosts %.60s)", who, who);
	} else {
		lex_net(&p->x, "client", true, net);
	}
}

static void ex_client(struct ctx *p, void *at)
{
	struct conf_export *e = at;
	struct conf_client *cl;

	if (!one_more(p, &e->client_count, CONF_CLIENTS_MAX, "client lines in an export"))
		return;
	cl = &e->client[e->client_count - 1];
	*cl = (struct conf_client){.root_squash = true,
				   .line = p->x.tok_line,
				   .anonuid = (uint32_t)conf_limit[LIMIT_ANONUID].def,
				   .anongid = (uint32_t)conf_limit[LIMIT_ANONGID].def,
				   .sec = CONF_SEC_SYS};
	client_who(p, &cl->net);
	while (lex_more(&p->x)) {
		if (!client_flag(p, cl) && !client_sec(p, cl) &&
		    !client_id(p, "anonuid=", LIMIT_ANONUID, &cl->anonuid) &&
		    !client_id(p, "anongid=", LIMIT_ANONGID, &cl->anongid))
			lex_fail(&p->x, p->x.tok_line,
				 "unknown client option %s, allowed rw ro root_squash "
				 "no_root_squash all_squash no_all_squash secure insecure "
				 "anonuid= anongid= sec=",
				 p->x.text);
		lex_next(&p->x);
	}
}

TEXT(ex_store, struct conf_export, store_name, lex_name, "store")

/* One spelling for each directory: it is part of what makes handles. */
static bool is_plain_dir(const char *dir)
{
	for (const char *at = dir;; at++) {
		size_t n = strcspn(at, "/");

		if (n == 0 || (n <= 2 && strncmp(at, "..", n) == 0))
			return false;
		at += n;
		if (*at == '\0')
			return true;
	}
}

static void ex_dir(struct ctx *p, void *at)
{
	struct conf_export *e = at;

	if ((p->x.tok == TOK_WORD || p->x.tok == TOK_STRING) && !is_plain_dir(p->x.text))
		lex_fail(&p->x, p->x.tok_line,
			 "dir \"%s\" must be names below the store's root with one / between them, "
			 "no . or ..; without dir all of the store is exported",
			 p->x.text);
	lex_string(&p->x, "dir", e->dir, sizeof(e->dir));
}

static const struct key EXPORT_KEYS[] = {
	{"store", ex_store, false},
	{"dir", ex_dir, false},
	{"client", ex_client, true},
	{NULL, NULL, false},
};

TEXT(st_unit, struct conf_store, unit_name, lex_name, "unit")
NUMBER(st_log_half, struct conf_store, log_half_bytes, LIMIT_LOG_HALF, uint64_t)
NUMBER(st_index_map, struct conf_store, index_map_bytes, LIMIT_INDEX_MAP, uint64_t)
NUMBER(st_checkpoint, struct conf_store, checkpoint_ns, LIMIT_CHECKPOINT, uint64_t)
NUMBER(st_cache, struct conf_store, cache_inodes, LIMIT_CACHE_INODES, uint64_t)
NUMBER(st_read_cache, struct conf_store, read_cache_bytes, LIMIT_READ_CACHE, uint64_t)
NUMBER(st_dup_keep, struct conf_store, dup_keep_ns, LIMIT_DUP_KEEP, uint64_t)

/* Below the unit, and never out of it. */
static void st_dir(struct ctx *p, void *at)
{
	struct conf_store *s = at;

	if (p->x.text[0] == '/' || strstr(p->x.text, ".."))
		lex_fail(&p->x, p->x.tok_line,
			 "dir \"%s\" must be relative to the unit and without ..", p->x.text);
	lex_string(&p->x, "dir", s->dir, sizeof(s->dir));
}

static const struct key STORE_KEYS[] = {
	{"unit", st_unit, false},	      {"dir", st_dir, false},
	{"log_half", st_log_half, false},     {"index_map", st_index_map, false},
	{"checkpoint", st_checkpoint, false}, {"cache_inodes", st_cache, false},
	{"dup_keep", st_dup_keep, false},     {"read_cache", st_read_cache, false},
	{NULL, NULL, false},
};

static void vs_store(struct ctx *p, void *at)
{
	struct conf_vserver *v = at;
	struct conf_store *s;

	if (!one_more(p, &v->store_count, CONF_STORES_MAX, "stores in a vserver"))
		return;
	s = &v->store[v->store_count - 1];
	*s = (struct conf_store){.line = p->x.tok_line,
				 .log_half_bytes = conf_limit[LIMIT_LOG_HALF].def,
				 .index_map_bytes = conf_limit[LIMIT_INDEX_MAP].def,
				 .checkpoint_ns = conf_limit[LIMIT_CHECKPOINT].def,
				 .cache_inodes = conf_limit[LIMIT_CACHE_INODES].def,
				 .dup_keep_ns = conf_limit[LIMIT_DUP_KEEP].def,
				 .read_cache_bytes = conf_limit[LIMIT_READ_CACHE].def};
	lex_name(&p->x, "store", s->name, sizeof(s->name));
	take_block(p, "store", STORE_KEYS, s);
}

static void vs_export(struct ctx *p, void *at)
{
	struct conf_vserver *v = at;
	struct conf_export *e;

	if (!one_more(p, &v->export_count, CONF_EXPORTS_MAX, "exports in a vserver"))
		return;
	e = &v->export[v->export_count - 1];
	e->line = p->x.tok_line;
	lex_path(&p->x, "export", e->path, sizeof(e->path));
	take_block(p, "export", EXPORT_KEYS, e);
}

static void vs_address(struct ctx *p, void *at)
{
	struct conf_vserver *v = at;
	struct conf_address *a;

	if (!one_more(p, &v->address_count, CONF_ADDRS_MAX, "addresses in a vserver"))
		return;
	a = &v->address[v->address_count - 1];
	a->line = p->x.tok_line;
	lex_net(&p->x, "address", true, &a->net);
	if (!lex_is(&p->x, "dev") || !lex_more(&p->x))
		return;
	lex_next(&p->x);
	/* It is printed back as a word. */
	if (strpbrk(p->x.text, " \t/{}\"#;"))
		lex_fail(&p->x, p->x.tok_line, "dev \"%s\" is no network interface", p->x.text);
	lex_string(&p->x, "dev", a->dev, sizeof(a->dev));
}

static void vs_giveback(struct ctx *p, void *at)
{
	static const char *const words[] = {"manual", "auto", NULL};

	((struct conf_vserver *)at)->giveback =
		(enum conf_giveback)lex_choice(&p->x, "giveback", words);
}

static void vs_read_fence(struct ctx *p, void *at)
{
	static const char *const words[] = {"lease", "strict", NULL};

	((struct conf_vserver *)at)->read_fence_strict = lex_choice(&p->x, "read_fence", words) == 1;
}

static void vs_portmap(struct ctx *p, void *at)
{
	((struct conf_vserver *)at)->portmap = lex_on_off(&p->x, "portmap");
}

static void vs_migrate(struct ctx *p, void *at)
{
	((struct conf_vserver *)at)->migrate = lex_on_off(&p->x, "migrate");
}

static void vs_serve(struct ctx *p, void *at)
{
	((struct conf_vserver *)at)->off = !lex_on_off(&p->x, "serve");
}

TEXT(vs_home, struct conf_vserver, home_name, lex_name, "home")
TEXT(vs_user, struct conf_vserver, user, lex_string, "user")
NUMBER(vs_priority, struct conf_vserver, priority, LIMIT_PRIORITY, unsigned)
NUMBER(vs_hold_down, struct conf_vserver, hold_down_ns, LIMIT_HOLD_DOWN, uint64_t)
NUMBER(vs_poll, struct conf_vserver, poll_ns, LIMIT_POLL, uint64_t)
NUMBER(vs_nfs_port, struct conf_vserver, nfs_port, LIMIT_NFS_PORT, uint16_t)
NUMBER(vs_mount_port, struct conf_vserver, mount_port, LIMIT_MOUNT_PORT, uint16_t)

NUMBER(vs_giveback_delay, struct conf_vserver, giveback_delay_ns, LIMIT_GIVEBACK_DELAY, uint64_t)
NUMBER(vs_weight, struct conf_vserver, weight, LIMIT_WEIGHT, uint16_t)

static void vs_assign(struct ctx *p, void *at)
{
	static const char *const words[] = {"auto", "manual", NULL};

	((struct conf_vserver *)at)->assign_manual = lex_choice(&p->x, "assign", words);
}

static void vs_nodes(struct ctx *p, void *at)
{
	struct conf_vserver *v = at;

	do {
		if (!one_more(p, &v->node_count, CONF_NODES_MAX, "nodes of a virtual server"))
			return;
		lex_name(&p->x, "nodes", v->node_name[v->node_count - 1], CONF_NAME_MAX);
	} while (lex_more(&p->x));
}

static const struct key VSERVER_KEYS[] = {
	{"giveback_delay", vs_giveback_delay, false},
	{"weight", vs_weight, false},	    {"assign", vs_assign, false},
	{"nodes", vs_nodes, false},
	{"home", vs_home, false},	    {"priority", vs_priority, false},
	{"user", vs_user, false},	    {"hold_down", vs_hold_down, false},
	{"giveback", vs_giveback, false},   {"migrate", vs_migrate, false},
	{"serve", vs_serve, false},
	{"portmap", vs_portmap, false},	    {"nfs_port", vs_nfs_port, false},
	{"mount_port", vs_mount_port, false}, {"address", vs_address, true},
	{"store", vs_store, true},	    {"export", vs_export, true},
	{"poll", vs_poll, false},	    {"read_fence", vs_read_fence, false},
	{NULL, NULL, false},
};

/* ---- the whole ------------------------------------------------------------------------------ */
static void top_cluster(struct ctx *p)
{
	if (p->c->name[0])
		lex_fail(&p->x, p->x.last_line, "cluster is given twice");
	lex_name(&p->x, "cluster", p->c->name, sizeof(p->c->name));
	take_block(p, "cluster", CLUSTER_KEYS, p->c);
}

static void top_node(struct ctx *p)
{
	struct conf_node *n;

	if (!one_more(p, &p->c->node_count, CONF_NODES_MAX, "nodes"))
		return;
	n = &p->c->node[p->c->node_count - 1];
	n->line = p->x.tok_line;
	lex_name(&p->x, "node", n->name, sizeof(n->name));
	take_block(p, "node", NODE_KEYS, n);
}

static void top_unit(struct ctx *p)
{
	struct conf_unit *u;

	if (!one_more(p, &p->c->unit_count, CONF_UNITS_MAX, "units"))
		return;
	u = &p->c->unit[p->c->unit_count - 1];
	u->line = p->x.tok_line;
	lex_name(&p->x, "unit", u->name, sizeof(u->name));
	take_block(p, "unit", UNIT_KEYS, u);
}

static void top_vserver(struct ctx *p)
{
	struct conf_vserver *v;

	if (!one_more(p, &p->c->vserver_count, CONF_VSERVERS_MAX, "vservers"))
		return;
	v = &p->c->vserver[p->c->vserver_count - 1];
	v->line = p->x.tok_line;
	v->priority = (unsigned)conf_limit[LIMIT_PRIORITY].def;
	v->hold_down_ns = conf_limit[LIMIT_HOLD_DOWN].def;
	v->giveback_delay_ns = conf_limit[LIMIT_GIVEBACK_DELAY].def;
	v->weight = (uint16_t)conf_limit[LIMIT_WEIGHT].def;
	v->migrate = v->portmap = true;
	v->nfs_port = (uint16_t)conf_limit[LIMIT_NFS_PORT].def;
	lex_name(&p->x, "vserver", v->name, sizeof(v->name));
	take_block(p, "vserver", VSERVER_KEYS, v);
	if (v->mount_port == 0)
		v->mount_port = v->nfs_port;
}

static void take_all(struct ctx *p)
{
	while (!p->x.failed && p->x.tok != TOK_END) {
		static const struct {
			const char *word;
			void (*take)(struct ctx *p);
		} tops[] = {{"cluster", top_cluster},
			    {"node", top_node},
			    {"unit", top_unit},
			    {"vserver", top_vserver}};
		size_t i, n = sizeof(tops) / sizeof(tops[0]);

		for (i = 0; i < n && !lex_is(&p->x, tops[i].word); i++)
			;
		if (i == n) {
			lex_fail(&p->x, p->x.tok_line,
				 "unknown key %s, allowed cluster, node, unit or vserver",
				 p->x.text);
			return;
		}
		lex_next(&p->x);
		tops[i].take(p);
	}
}

int conf_parse(struct conf *c, const char *text, size_t len, const char *name, char *err,
	       size_t err_size)
{
	struct ctx p = {.c = c};

	memset(c, 0, sizeof(*c));
	c->heartbeat_ns = conf_limit[LIMIT_HEARTBEAT].def;
	c->countdown_ns = conf_limit[LIMIT_COUNTDOWN].def;
	c->timer = (struct conf_timers){.path_silent = (uint32_t)conf_limit[LIMIT_PATH_SILENT].def,
					.dead = (uint32_t)conf_limit[LIMIT_DEAD].def,
					.wait = (uint32_t)conf_limit[LIMIT_WAIT].def,
					.lease = (uint32_t)conf_limit[LIMIT_LEASE].def,
					.drift_stop = (uint32_t)conf_limit[LIMIT_DRIFT_STOP].def};
	c->events_size_bytes = conf_limit[LIMIT_EVENTS_SIZE].def;
	c->events_age_ns = conf_limit[LIMIT_EVENTS_AGE].def;
	snprintf(c->key, sizeof(c->key), "/etc/holdfast/cluster.key");
	snprintf(c->run_dir, sizeof(c->run_dir), "/run/holdfast");
	snprintf(c->state_dir, sizeof(c->state_dir), "/var/lib/holdfast");
	lex_init(&p.x, text, len, name, err, err_size);
	take_all(&p);
	return p.x.failed ? -EINVAL : conf_check(c, name, err, err_size);
}

int conf_load_fd(struct conf *c, int fd, const char *name, char *err, size_t err_size)
{
	char *text = mem_alloc(TEXT_MAX);
	size_t len = 0;
	ssize_t n;
	int rc;

	while ((n = pread(fd, text + len, TEXT_MAX - len, (off_t)len)) > 0 && len < TEXT_MAX)
		len += (size_t)n;
	if (n < 0) {
		rc = -errno;
		snprintf(err, err_size, "%s: cannot be read: %s", name, strerror(errno));
	} else if (len == TEXT_MAX) {
		rc = -EFBIG;
		snprintf(err, err_size, "%s: is too long, allowed below 4M", name);
	} else {
		rc = conf_parse(c, text, len, name, err, err_size);
	}
	free(text);
	return rc;
}

int conf_load(struct conf *c, const char *file, char *err, size_t err_size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0) {
		rc = -errno;
		snprintf(err, err_size, "%s: cannot be opened: %s", file, strerror(errno));
		return rc;
	}
	rc = conf_load_fd(c, fd, file, err, err_size);
	close(fd);
	return rc;
}
