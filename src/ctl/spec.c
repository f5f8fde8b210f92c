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

/* Letters that an iSCSI name may not have become '-' (RFC 3722). */
static void iqn_text(char *s)
{
	for (; *s; s++) {
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
		if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || strchr("-.:", *s)))
			*s = '-';
	}
}

static int spec_iscsi(struct unit_spec *u, const struct conf *c, const struct conf_unit *cu,
		      const char *node)
{
	char lock[CONF_NAME_MAX + 16], lun[CONF_NAME_MAX + 16], file[CONF_NAME_MAX + 16], text[64];
	int rc = path_of(u->root, cu->mount_point, "", node);

	snprintf(lock, sizeof(lock), "/%s.lock", cu->name);
	snprintf(lun, sizeof(lun), "/%s.lun", cu->name);
	snprintf(file, sizeof(file), "/%s.lun/lun", cu->name);
	if (rc == 0)
		rc = path_of(u->lock, c->run_dir, lock, node);
	if (rc == 0)
		rc = path_of(u->lun_dir, c->run_dir, lun, node);
	if (rc == 0)
		rc = path_of(u->image, c->run_dir, file, node);
	if (rc == 0 && cu->chap_file[0])
		rc = conf_path(u->chap, sizeof(u->chap), cu->chap_file, node);
	if (rc == 0 && cu->initiator[0])
		rc = conf_path(u->initiator, sizeof(u->initiator), cu->initiator, node);
	if (!cu->initiator[0])
		snprintf(u->initiator, sizeof(u->initiator), "iqn.2026-01.net.holdfast:%s.%s", c->name,
			 node);
	iqn_text(u->initiator);
	for (unsigned i = 0; i < cu->portal_count; i++) {
		bool v4 = conf_net_is_v4(&cu->portal[i].addr);

		snprintf(u->portal[i], sizeof(u->portal[i]), v4 ? "%s:%u" : "[%s]:%u",
			 conf_net_text(&cu->portal[i].addr, false, text), cu->portal[i].port);
	}
	u->portal_count = cu->portal_count;
	u->target_lun = cu->lun;
	memcpy(u->target, cu->target, sizeof(u->target));
	memcpy(u->wwid, cu->wwid, sizeof(u->wwid));
	u->fstype = cu->fstype == CONF_XFS ? "xfs" : "ext4";
	return rc;
}

static int spec_scsi(struct unit_spec *u, const struct conf *c, const struct conf_unit *cu,
		     const char *node)
{
	char lock[CONF_NAME_MAX + 16];
	int rc = path_of(u->root, cu->mount_point, "", node);

	snprintf(lock, sizeof(lock), "/%s.lock", cu->name);
	if (rc == 0)
		rc = path_of(u->lock, c->run_dir, lock, node);
	if (rc == 0)
		rc = path_of(u->devices, cu->devices, "", node);
	memcpy(u->wwid, cu->wwid, sizeof(u->wwid));
	u->fstype = cu->fstype == CONF_XFS ? "xfs" : "ext4";
	return rc;
}

int spec_unit(struct unit_spec *u, const struct conf *c, unsigned index, const char *node)
{
	const struct conf_unit *cu = &c->unit[index];

	memset(u, 0, sizeof(*u));
	memcpy(u->name, cu->name, sizeof(u->name));
	u->id = node_name_id(cu->name);
	seal_cluster_id(c->name, u->cluster);
	switch (cu->backend) {
	case CONF_DIR:
		u->backend = UNIT_DIR;
		return spec_dir(u, cu, node);
	case CONF_LOOP:
		u->backend = UNIT_LOOP;
		return spec_loop(u, c, cu, node);
	case CONF_ISCSI:
		u->backend = UNIT_ISCSI;
		return spec_iscsi(u, c, cu, node);
	case CONF_SCSI:
		u->backend = UNIT_SCSI;
		return spec_scsi(u, c, cu, node);
	}
	return -EINVAL;
}
