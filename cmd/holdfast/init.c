/* init.c - `holdfast init`: makes what the configuration names and does not exist yet.
 *
 * In order: folders, the cluster's key, the areas of the coordination devices, the ownership record
 * of each unit, the stores in it.  What is there already is kept and said so; nothing is ever
 * overwritten, so it can be repeated after an error.  Run it once, on one node, before any
 * holdfastd runs; then copy the key to the other nodes. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/slot.h"
#include "conf/conf.h"
#include "ctl/spec.h"
#include "io/disk.h"
#include "io/folder.h"
#include "io/seal.h"
#include "store/store.h"

struct init {
	const struct cli *c;
	json_t *made, *kept; /* NULL: told line by line */
	struct conf *conf;
	const char *node;
	struct seal seal;
	char err[512];
};

static int say(json_t *list, const char *did, const char *what, const char *where)
{
	char safe[2048];

	if (list)
		json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "where",
						      cli_text(safe, sizeof(safe), where)));
	else
		printf("%s  %s %s\n", did, what, where);
	return CLI_OK;
}

static int say_made(const struct init *in, const char *what, const char *where)
{
	return say(in->made, "made", what, where);
}

static int say_kept(const struct init *in, const char *what, const char *where)
{
	return say(in->kept, "kept", what, where);
}

static int say_failed(const struct init *in, const char *what, const char *where, int rc)
{
	return cli_fail(in->c, CLI_EXISTS, NULL, "init: %s %s: %s", what, where, strerror(-rc));
}

/* The path and all above it, mode 0700 for what is new. */
static int make_dirs(const char *path)
{
	char at[600];

	snprintf(at, sizeof(at), "%s", path);
	for (char *p = at + 1;; p++) {
		char c = *p;

		if (c != '/' && c != 0)
			continue;
		*p = 0;
		if (mkdir(at, strcmp(at, path) == 0 ? 0700 : 0755) && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == 0)
			return 0;
	}
}

static int make_dir(const struct init *in, const char *path, const char *what)
{
	char at[512];
	struct stat st;
	int rc = conf_path(at, sizeof(at), path, in->node);

	if (rc == 0 && stat(at, &st) == 0)
		return S_ISDIR(st.st_mode) ? say_kept(in, what, at) : say_failed(in, what, at, -ENOTDIR);
	if (rc == 0)
		rc = make_dirs(at);
	return rc ? say_failed(in, what, at, rc) : say_made(in, what, at);
}

static int make_key(struct init *in)
{
	char at[512], *slash;
	int rc = conf_path(at, sizeof(at), in->conf->key, in->node), made;

	if (rc)
		return say_failed(in, "key", in->conf->key, rc);
	slash = strrchr(at, '/');
	if (slash && slash != at) {
		*slash = 0;
		make_dirs(at);
		*slash = '/';
	}
	made = seal_create(at);
	if (made && made != -EEXIST)
		return say_failed(in, "key", at, made);
	if (seal_load(&in->seal, at, in->err, sizeof(in->err))) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: %s", in->err);
	}
	return made ? say_kept(in, "key", at) : say_made(in, "key", at);
}

static void make_parent(const char *path)
{
	char at[600], *slash;

	snprintf(at, sizeof(at), "%s", path);
	slash = strrchr(at, '/');
	if (slash && slash != at) {
		*slash = 0;
		make_dirs(at);
	}
}

static int make_device(struct init *in, unsigned i)
{
	struct slot_header h = {.device = (uint16_t)i,
				.device_count = (uint16_t)in->conf->coord_count,
				.node_count = 8,
				.key_id = seal_send_id(&in->seal)};
	uint8_t *sector = mem_aligned(SLOT_SIZE, SLOT_SIZE);
	struct timespec ts;
	char at[512];
	int rc = conf_path(at, sizeof(at), in->conf->coord[i], in->node);

	clock_gettime(CLOCK_REALTIME, &ts);
	h.made_ns = (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
	seal_cluster_id(in->conf->name, h.cluster);
	slot_header_encode(&h, sector);
	seal_mac(&in->seal, 0, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF);
	slot_finish(sector);
	make_parent(at);
	if (rc == 0)
		rc = disk_make(at, sector, in->err, sizeof(in->err));
	free(sector);
	if (rc == -EEXIST)
		return say_kept(in, "coordination device", at);
	if (rc) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: %s", in->err);
	}
	return say_made(in, "coordination device", at);
}

/* What is kept must be usable by the worker. */
static int kept_store(const struct init *in, const char *dir, const char *label, const char *user)
{
	const struct passwd *pw = *user && geteuid() == 0 ? getpwnam(user) : NULL;
	struct stat st;

	if (pw && stat(label, &st) == 0 && st.st_uid != pw->pw_uid)
		fprintf(stderr, "holdfast: init: store %s belongs to user %u, not to %s: chown -R %s %s\n",
			dir, st.st_uid, user, user, dir);
	return say_kept(in, "store", dir);
}

/* Whole and its user's, or not at all: an init that was broken off can be repeated. */
static int make_whole(struct init *in, const struct store_conf *sc, const char *dir, const char *user)
{
	const struct passwd *pw = *user && geteuid() == 0 ? getpwnam(user) : NULL;
	struct store_owner owner = {0};
	bool there;
	int rc;

	if (pw)
		owner = (struct store_owner){.uid = pw->pw_uid, .gid = pw->pw_gid};
	make_parent(dir);
	there = mkdir(dir, 0700) != 0;
	if (there && errno != EEXIST)
		return say_failed(in, "store", dir, -errno);
	if (store_create_at(dir, sc, pw ? &owner : NULL, in->err, sizeof(in->err))) {
		if (!there)
			rmdir(dir);
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: %s", in->err);
	}
	rc = folder_sync_above(dir);
	return rc ? say_failed(in, "store", dir, rc) : say_made(in, "store", dir);
}

static int make_store(struct init *in, const struct conf_vserver *v, const struct conf_store *cs)
{
	struct store_conf sc;
	char dir[512], label[600];
	int rc = conf_store_dir(dir, sizeof(dir), in->conf, cs, in->node);

	if (rc)
		return say_failed(in, "store", cs->dir, rc);
	snprintf(label, sizeof(label), "%s/LABEL", dir);
	if (access(label, F_OK) == 0)
		return kept_store(in, dir, label, v->user);
	if (*v->user && geteuid() == 0 && !getpwnam(v->user)) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: vserver %s: there is no user %s",
				v->name, v->user);
	}
	store_conf_default(&sc);
	sc.log_half_bytes = cs->log_half_bytes;
	sc.index_map_bytes = cs->index_map_bytes;
	return make_whole(in, &sc, dir, v->user);
}

static int make_stores(struct init *in, unsigned unit)
{
	int status = CLI_OK;

	for (unsigned v = 0; v < in->conf->vserver_count; v++) {
		const struct conf_vserver *cv = &in->conf->vserver[v];

		for (unsigned s = 0; s < cv->store_count && status == CLI_OK; s++)
			if (cv->store[s].unit == unit)
				status = make_store(in, cv, &cv->store[s]);
	}
	return status;
}

/* A unit that somebody owned is in use: its stores exist, nothing is to be made there. */
static int make_unit(struct init *in, unsigned i)
{
	struct unit_spec u;
	int rc = spec_unit(&u, in->conf, i, in->node), status;

	if (rc)
		return say_failed(in, "unit", in->conf->unit[i].name, rc);
	if (make_dirs(u.root))
		return say_failed(in, "unit", u.root, -errno);
	chmod(u.root, 0755); /* workers of several users pass through */
	rc = unit_make(&u, &in->seal, in->err, sizeof(in->err));
	if (rc == -EEXIST && u.backend != UNIT_DIR)
		return say_kept(in, "unit", u.name);
	if (rc && rc != -EEXIST && rc != -EALREADY) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: %s", in->err);
	}
	if (rc)
		say_kept(in, "unit", u.name);
	else
		say_made(in, "unit", u.name);
	if (u.backend == UNIT_DIR)
		return make_stores(in, i);
	rc = unit_mount(&u, in->err, sizeof(in->err));
	if (rc) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: unit %s: %s", u.name, in->err);
	}
	chmod(u.root, 0755);
	status = make_stores(in, i);
	if (unit_unmount(&u, false, in->err, sizeof(in->err))) {
		return cli_fail(in->c, CLI_EXISTS, NULL, "init: unit %s: %s", u.name, in->err);
	}
	return status;
}

static int make_all(struct init *in)
{
	int status = make_dir(in, in->conf->run_dir, "folder");

	if (status == CLI_OK)
		status = make_dir(in, in->conf->state_dir, "folder");
	if (status == CLI_OK)
		status = make_key(in);
	for (unsigned i = 0; i < in->conf->coord_count && status == CLI_OK; i++)
		status = make_device(in, i);
	for (unsigned i = 0; i < in->conf->unit_count && status == CLI_OK; i++)
		status = make_unit(in, i);
	return status;
}

static void show_json(const struct init *in)
{
	json_t *o = json_pack("{s:b, s:O, s:O}", "ok", 1, "made", in->made, "kept", in->kept);

	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

int cli_init(struct cli *c)
{
	struct init in = {.c = c,
			  .made = c->json ? json_array() : NULL,
			  .kept = c->json ? json_array() : NULL,
			  .conf = mem_zalloc(1, sizeof(*in.conf)), .node = c->node};
	int status = CLI_CONFIG;

	if (conf_load(in.conf, c->conf_path, in.err, sizeof(in.err))) {
		cli_fail(c, CLI_CONFIG, NULL, "%s", in.err);
	} else if (c->node && conf_find_node(in.conf, c->node) < 0) {
		cli_fail(c, CLI_CONFIG, NULL, "%s: has no node %s", c->conf_path, c->node);
	} else {
		if (!in.node)
			in.node = in.conf->node[0].name;
		status = make_all(&in);
		if (status == CLI_OK && c->json)
			show_json(&in);
	}
	json_decref(in.made);
	json_decref(in.kept);
	free(in.conf);
	return status;
}
