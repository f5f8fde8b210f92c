/* scan.c - `holdfast unit scan`: the disks of this machine by name (VS-111).
 *
 * The order of discovery: the devices, what each calls itself, and whom the configuration, which is the
 * same on all nodes, calls by that name.  Device names are shown last, for they mean nothing elsewhere. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "io/scan.h"

#define GLOBS_MAX 512

struct disks {
	const struct conf *conf; /* NULL: none could be read */
	json_t *list;
};

static const char *unit_called(const struct conf *c, const char *wwid)
{
	for (unsigned i = 0; c && i < c->unit_count; i++)
		if (c->unit[i].wwid[0] && strcmp(c->unit[i].wwid, wwid) == 0)
			return c->unit[i].name;
	return "";
}

static json_t *find_disk(json_t *list, const char *wwid)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o) if (*wwid && strcmp(cli_string(o, "wwid"), wwid) == 0) return o;
	return NULL;
}

/* Names that the disk has besides; the configuration may use any. */
static bool add_path(void *arg, const struct scan_path *p, int names, char name[][WWID_MAX],
		     uint64_t bytes)
{
	struct disks *d = arg;
	const char *wwid = names > 0 ? name[0] : "", *unit = "";
	json_t *o, *others = json_array();

	for (int i = 0; i < names && !*unit; i++)
		unit = unit_called(d->conf, name[i]);
	for (int i = 1; i < names; i++)
		json_array_append_new(others, json_string(name[i]));
	o = find_disk(d->list, wwid);
	if (!o) {
		o = json_pack("{s:s, s:O, s:s, s:I, s:[]}", "wwid", wwid, "other_names", others, "unit",
			      unit, "bytes", (json_int_t)bytes, "paths");
		json_array_append_new(d->list, o);
	}
	json_decref(others);
	json_array_append_new(json_object_get(o, "paths"),
			      json_pack("{s:s, s:s, s:b, s:s}", "device", p->dev, "state", p->state, "up",
					p->up, "map", p->map));
	return true;
}

static void show(const json_t *list)
{
	size_t i, k;
	json_t *o, *p;

	printf("%-40s %-12s %10s  %s\n", "WWID", "UNIT", "GIB", "PATHS");
	json_array_foreach(list, i, o)
	{
		printf("%-40s %-12s %10.1f ", cli_string(o, "wwid"), cli_string(o, "unit"),
		       cli_number(o, "bytes") / (1 << 30));
		json_array_foreach(json_object_get(o, "paths"), k, p)
		{
			printf(" %s%s%s", cli_string(p, "device"),
			       json_is_true(json_object_get(p, "up")) ? "" : "!",
			       json_is_true(json_object_get(p, "up")) ? "" : cli_string(p, "state"));
			if (*cli_string(p, "map") != '-')
				printf("(%s)", cli_string(p, "map"));
		}
		printf("\n");
	}
}

/* The patterns of all units, each once, and the usual ones. */
static void globs_of(const struct conf *c, const char *node, char out[GLOBS_MAX])
{
	char one[CONF_PATH_MAX];
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; c && i < c->unit_count; i++) {
		if (c->unit[i].backend != CONF_SCSI ||
		    conf_path(one, sizeof(one), c->unit[i].devices, node) || strstr(out, one))
			continue;
		if (n + strlen(one) + 2 < GLOBS_MAX)
			n += (size_t)snprintf(out + n, GLOBS_MAX - n, "%s ", one);
	}
	if (n == 0)
		snprintf(out, GLOBS_MAX, "%s", SCAN_DEFAULT);
}

int cli_unit_scan(struct cli *c)
{
	struct conf *conf = mem_zalloc(1, sizeof(*conf));
	char err[512], globs[GLOBS_MAX];
	struct disks d = {.list = json_array()};
	int rc;

	if (conf_load(conf, c->conf_path, err, sizeof(err)) == 0)
		d.conf = conf;
	else
		fprintf(stderr, "holdfast: %s; units are not named\n", err);
	globs_of(d.conf, c->node ? c->node : d.conf ? conf->node[0].name : "", globs);
	rc = scan_all(globs, add_path, &d);
	if (rc)
		cli_fail(c, CLI_FAILED, NULL, "unit scan: %s", strerror(-rc));
	else if (!c->json)
		show(d.list);
	else if (json_dumpf(d.list, stdout, JSON_INDENT(2)) == 0)
		putchar('\n');
	json_decref(d.list);
	free(conf);
	return rc ? CLI_FAILED : CLI_OK;
}
