/* conf_print.c - the effective configuration in the grammar it was read in, and paths of nodes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/conf_lex.h"

static void put_string(FILE *to, const char *s)
{
	fputc('"', to);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', to);
		fputc(*s, to);
	}
	fputc('"', to);
}

static void put_path(FILE *to, const char *tabs, const char *key, const char *s)
{
	if (!*s)
		return;
	fprintf(to, "%s%s ", tabs, key);
	put_string(to, s);
	fputc('\n', to);
}

static void put_number(FILE *to, const char *tabs, enum limit_row row, uint64_t v)
{
	char text[32];

	fprintf(to, "%s%s %s\n", tabs, conf_limit[row].key,
		limit_text(conf_limit[row].unit, v, text));
}

static void put_cluster(FILE *to, const struct conf *c)
{
	fprintf(to, "cluster %s {\n", c->name);
	fprintf(to, "\tprofile %s\n", c->profile == CONF_CLASSIC ? "classic" : "fast");
	if (c->profile == CONF_FAST) {
		put_number(to, "\t", LIMIT_HEARTBEAT, c->heartbeat_ns);
		put_number(to, "\t", LIMIT_PATH_SILENT, c->timer.path_silent);
		put_number(to, "\t", LIMIT_DEAD, c->timer.dead);
		put_number(to, "\t", LIMIT_WAIT, c->timer.wait);
		put_number(to, "\t", LIMIT_LEASE, c->timer.lease);
		put_number(to, "\t", LIMIT_DRIFT_STOP, c->timer.drift_stop);
	}
	put_number(to, "\t", LIMIT_COUNTDOWN, c->countdown_ns);
	fprintf(to, "\tstandby %s\n\treboot %s\n", c->standby_off ? "off" : "on",
		c->reboot == CONF_REBOOT_MANUAL ? "manual" : "auto");
	put_number(to, "\t", LIMIT_EVENTS_SIZE, c->events_size_bytes);
	put_number(to, "\t", LIMIT_EVENTS_AGE, c->events_age_ns);
	fprintf(to, "\ttakeover %s\n\tself_fence %s\n", c->takeover_off ? "off" : "on",
		c->self_fence == CONF_FENCE_STOP ? "stop" : "reboot");
	put_path(to, "\t", "key", c->key);
	put_path(to, "\t", "run_dir", c->run_dir);
	put_path(to, "\t", "state_dir", c->state_dir);
	for (unsigned i = 0; i < c->coord_count; i++) {
		fputs(i ? " " : "\tcoordination ", to);
		put_string(to, c->coord[i]);
	}
	fputs(c->coord_count ? "\n}\n" : "}\n", to);
}

static void put_node(FILE *to, const struct conf_node *n)
{
	char text[64];

	fprintf(to, "node %s {\n\tid %u\n", n->name, n->id);
	put_number(to, "\t", LIMIT_CAPACITY, n->capacity);
	for (unsigned i = 0; i < n->path_count; i++)
		fprintf(to, "\t%s %s port %u\n",
			n->path[i].interconnect ? "interconnect" : "network",
			conf_net_text(&n->path[i].addr, false, text), n->path[i].port);
	if (n->metrics.port)
		fprintf(to, "\tmetrics %s port %u\n", conf_net_text(&n->metrics.addr, false, text),
			n->metrics.port);
	fputs("}\n", to);
}

static void put_unit(FILE *to, const struct conf_unit *u)
{
	char text[64];

	static const char *const backends[] = {[CONF_DIR] = "dir", [CONF_LOOP] = "loop",
					       [CONF_ISCSI] = "iscsi", [CONF_SCSI] = "scsi"};

	fprintf(to, "unit %s {\n\tbackend %s\n", u->name, backends[u->backend]);
	put_path(to, "\t", "path", u->path);
	put_path(to, "\t", "fence_command", u->fence_command);
	put_path(to, "\t", "image", u->image);
	put_path(to, "\t", "record", u->record);
	put_path(to, "\t", "mount_point", u->mount_point);
	put_path(to, "\t", "control", u->control);
	put_path(to, "\t", "repair_command", u->repair_command);
	for (unsigned i = 0; i < u->portal_count; i++)
		fprintf(to, "\tportal %s port %u\n", conf_net_text(&u->portal[i].addr, false, text),
			u->portal[i].port);
	put_path(to, "\t", "target", u->target);
	put_path(to, "\t", "initiator", u->initiator);
	put_path(to, "\t", "chap_file", u->chap_file);
	if (u->backend == CONF_ISCSI)
		fprintf(to, "\tlun %u\n", u->lun);
	put_path(to, "\t", "wwid", u->wwid);
	put_path(to, "\t", "devices", u->devices);
	if (u->backend != CONF_DIR)
		fprintf(to, "\ttype %s\n", u->fstype == CONF_XFS ? "xfs" : "ext4");
	fputs("}\n", to);
}

static void put_store(FILE *to, const struct conf_store *s)
{
	fprintf(to, "\tstore %s {\n\t\tunit %s\n", s->name, s->unit_name);
	put_path(to, "\t\t", "dir", s->dir);
	put_number(to, "\t\t", LIMIT_LOG_HALF, s->log_half_bytes);
	put_number(to, "\t\t", LIMIT_INDEX_MAP, s->index_map_bytes);
	put_number(to, "\t\t", LIMIT_CHECKPOINT, s->checkpoint_ns);
	put_number(to, "\t\t", LIMIT_CACHE_INODES, s->cache_inodes);
	put_number(to, "\t\t", LIMIT_DUP_KEEP, s->dup_keep_ns);
	put_number(to, "\t\t", LIMIT_READ_CACHE, s->read_cache_bytes);
	fputs("\t}\n", to);
}

static void put_client(FILE *to, const struct conf_client *cl)
{
	static const struct conf_net any;
	char text[64];

	fprintf(to, "\t\tclient %s %s %s %s %s anonuid=%u anongid=%u sec=%s%s%s\n",
		memcmp(&cl->net, &any, sizeof(any)) ? conf_net_text(&cl->net, true, text) : "*",
		cl->writable ? "rw" : "ro", cl->root_squash ? "root_squash" : "no_root_squash",
		cl->all_squash ? "all_squash" : "no_all_squash", cl->secure ? "secure" : "insecure",
		cl->anonuid, cl->anongid, cl->sec & CONF_SEC_SYS ? "sys" : "",
		cl->sec == (CONF_SEC_SYS | CONF_SEC_NONE) ? ":" : "",
		cl->sec & CONF_SEC_NONE ? "none" : "");
}

static void put_vserver(FILE *to, const struct conf_vserver *v)
{
	char text[64];

	fprintf(to, "vserver %s {\n\thome %s\n", v->name, v->home_name);
	put_number(to, "\t", LIMIT_PRIORITY, v->priority);
	put_path(to, "\t", "user", v->user);
	put_number(to, "\t", LIMIT_HOLD_DOWN, v->hold_down_ns);
	put_number(to, "\t", LIMIT_GIVEBACK_DELAY, v->giveback_delay_ns);
	put_number(to, "\t", LIMIT_WEIGHT, v->weight);
	fprintf(to, "\tassign %s\n", v->assign_manual ? "manual" : "auto");
	if (v->off)
		fputs("\tserve off\n", to);
	for (unsigned i = 0; i < v->node_count; i++)
		fprintf(to, "%s%s%s", i ? " " : "\tnodes ", v->node_name[i],
			i + 1 == v->node_count ? "\n" : "");
	fprintf(to, "\tgiveback %s\n\tmigrate %s\n\tportmap %s\n\tnfs_port %u\n\tmount_port %u\n",
		v->giveback == CONF_GIVEBACK_AUTO ? "auto" : "manual", v->migrate ? "on" : "off",
		v->portmap ? "on" : "off", v->nfs_port, v->mount_port);
	put_number(to, "\t", LIMIT_POLL, v->poll_ns);
	fprintf(to, "\tread_fence %s\n", v->read_fence_strict ? "strict" : "lease");
	for (unsigned i = 0; i < v->address_count; i++) {
		const struct conf_address *a = &v->address[i];

		fprintf(to, "\taddress %s%s%s\n", conf_net_text(&a->net, true, text),
			a->dev[0] ? " dev " : "", a->dev);
	}
	for (unsigned i = 0; i < v->store_count; i++)
		put_store(to, &v->store[i]);
	for (unsigned i = 0; i < v->export_count; i++) {
		const struct conf_export *e = &v->export[i];

		fputs("\texport ", to);
		put_string(to, e->path);
		fprintf(to, " {\n\t\tstore %s\n", e->store_name);
		put_path(to, "\t\t", "dir", e->dir);
		for (unsigned j = 0; j < e->client_count; j++)
			put_client(to, &e->client[j]);
		fputs("\t}\n", to);
	}
	fputs("}\n", to);
}

void conf_print(const struct conf *c, FILE *to)
{
	put_cluster(to, c);
	for (unsigned i = 0; i < c->node_count; i++)
		put_node(to, &c->node[i]);
	for (unsigned i = 0; i < c->unit_count; i++)
		if (!c->unit[i].gone)
			put_unit(to, &c->unit[i]);
	for (unsigned i = 0; i < c->vserver_count; i++)
		if (!c->vserver[i].gone)
			put_vserver(to, &c->vserver[i]);
}

/* FNV-1a: tells different files apart, is no defence (the messages that carry it are sealed).  Blocks
 * are summed: a node that took a version online has them in another order than one that started
 * with it. */
static uint64_t block_hash(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3ULL;
	return h;
}

uint64_t conf_hash(const struct conf *c)
{
	uint64_t h = 0;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return 0;
	conf_print(c, f);
	fclose(f);
	for (size_t at = 0, end = 0; end < len; end++)
		if (end >= 2 && text[end] == '\n' && text[end - 1] == '}' && text[end - 2] == '\n') {
			h += block_hash(text + at, end - at);
			at = end + 1;
		}
	free(text);
	return h;
}

uint64_t conf_serving_hash(const struct conf_vserver *v)
{
	struct conf_vserver *c = malloc(sizeof(*c));
	char *text = NULL;
	size_t len = 0;
	uint64_t h = 0;
	FILE *f = c ? open_memstream(&text, &len) : NULL;

	if (f) {
		*c = *v;
		/* Placement, which is the brain's, and exports, which a worker takes as it runs. */
		c->home_name[0] = '\0';
		c->priority = c->weight = 0;
		c->hold_down_ns = c->giveback_delay_ns = 0;
		c->giveback = CONF_GIVEBACK_MANUAL;
		c->assign_manual = c->off = c->migrate = false;
		c->node_count = c->export_count = 0;
		put_vserver(f, c);
		fclose(f);
		h = block_hash(text, len);
	}
	free(text);
	free(c);
	return h;
}

int conf_path(char *out, size_t size, const char *path, const char *node)
{
	size_t n = 0;

	for (; *path; path++) {
		const char *add = path;
		size_t len = 1;

		if (path[0] == '%' && path[1] == 'n')
			add = node, len = strlen(node), path++;
		else if (path[0] == '%' && path[1] == '%')
			path++;
		if (n + len >= size)
			return -ENAMETOOLONG;
		memcpy(out + n, add, len);
		n += len;
	}
	out[n] = '\0';
	return 0;
}

int conf_store_dir(char *out, size_t size, const struct conf *c, const struct conf_store *s,
		   const char *node)
{
	const struct conf_unit *u = &c->unit[s->unit];
	char base[CONF_PATH_MAX * 2];
	int rc = conf_path(base, sizeof(base), u->backend == CONF_DIR ? u->path : u->mount_point,
			   node);
	int n;

	if (rc)
		return rc;
	n = snprintf(out, size, "%s/%s", base, s->dir);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
