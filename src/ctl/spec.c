/* spec.c - paths of a unit with the node's name filled in. */
#include "ctl/spec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/node.h"

static int path_of(char out[UNIT_PATH_MAX], const char *path, const char *more, const char *node)
{
	int rc = conf_path(out, UNIT_PATH_MAX, path, node);
	size_t n = rc ? 0 : strlen(out);

	if (rc)
		return rc;
	if (n + strlen(more) >= UNIT_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(out + n, more, strlen(more) + 1);
	return 0;
}

static int spec_dir(struct unit_spec *u, const struct conf_unit *c, const char *node)
{
	int rc = path_of(u->root, c->path, "", node);

	if (rc == 0)
		rc = path_of(u->record, c->path, "/.holdfast-unit", node);
	if (rc == 0)
		rc = path_of(u->lock, c->path, "/.holdfast-unit", node);
	return rc;
}

static int spec_loop(struct unit_spec *u, const struct conf *c, const struct conf_unit *cu,
		     const char *node)
{
	char lock[CONF_NAME_MAX + 16];
	int rc = path_of(u->root, cu->mount_point, "", node);

	snprintf(lock, sizeof(lock), "/%s.lock", cu->name);
	if (rc == 0)
		rc = path_of(u->image, cu->image, "", node);
	if (rc == 0)
		rc = path_of(u->record, cu->record, "", node);
	if (rc == 0)
		rc = path_of(u->control, cu->control, "", node);
	if (rc == 0)
		rc = path_of(u->lock, c->run_dir, lock, node);
	u->fstype = cu->fstype == CONF_XFS ? "xfs" : "ext4";
	return rc;
}

int spec_unit(struct unit_spec *u, const struct conf *c, unsigned index, const char *node)
{
	const struct conf_unit *cu = &c->unit[index];

	memset(u, 0, sizeof(*u));
	u->backend = cu->backend == CONF_DIR ? UNIT_DIR : UNIT_LOOP;
	memcpy(u->name, cu->name, sizeof(u->name));
	u->id = node_name_id(cu->name);
	seal_cluster_id(c->name, u->cluster);
	return u->backend == UNIT_DIR ? spec_dir(u, cu, node) : spec_loop(u, c, cu, node);
}
