/* slots.c - this node's slot and the others' on the coordination devices; persistent memory.
 *
 * The brain fills sectors, here they get key id, MAC and CRC.  Persistent memory is a file in the
 * state folder with two copies of the last sector, written in turn, so one is always whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon.h"

#define COPIES 2

static void on_written(struct disk *disk, uint64_t tag, int err)
{
	struct slots_device *s = LIST_OWNER(disk, struct slots_device, disk);
	struct event ev = {.type = EV_SLOT_WRITTEN, .op = tag, .err = err};

	brain_event(s->d, &ev);
}

/* A sector is the node's only with a MAC of a key of this cluster. */
static int sector_error(const struct seal *s, const uint8_t *sector)
{
	struct slot slot;
	uint8_t mac[SEAL_MAC_LEN];
	int rc = slot_decode(&slot, sector);

	if (rc == 0 && !seal_mac(s, slot.key_id, sector, SLOT_MAC_OFF, mac))
		rc = -ENOKEY;
	if (rc == 0 && !seal_mac_ok(s, slot.key_id, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF))
		rc = -EKEYREJECTED;
	return rc;
}

/* Counted and said, when it is news. */
static void note_bad(struct slots_device *s, unsigned node, const uint8_t *sector, int err)
{
	char from[PATH_TEXT_MAX];

	if (!slot_bad_news(&s->d->slot_bad[s->index][node], sector, err))
		return;
	snprintf(from, sizeof(from), "%s slot %u", s->disk.path, node + 1);
	drops_note(s->d, DROP_WAY_DEVICE + s->index, drop_reason(err), from);
}

static void on_read(struct disk *disk, uint64_t tag, int err)
{
	struct slots_device *s = LIST_OWNER(disk, struct slots_device, disk);
	struct event ev = {.type = EV_SLOT_READ, .op = tag, .err = err};

	ev.slots.device = s->index;
	ev.slots.sector = (const uint8_t(*)[SLOT_SIZE])disk->in + 1;
	for (unsigned i = 0; i < NODE_NODES_MAX; i++) {
		ev.slots.err[i] = err ? err : sector_error(&s->d->seal, ev.slots.sector[i]);
		if (!err)
			note_bad(s, i, ev.slots.sector[i], ev.slots.err[i]);
	}
	brain_event(s->d, &ev);
	drops_look(s->d, disk->path);
}

void slots_write(struct daemon *d, const struct action *a)
{
	uint8_t sector[SLOT_SIZE];
	int rc;

	memcpy(sector, a->slot.sector, SLOT_SIZE);
	sector[SLOT_KEY_ID_OFF] = seal_send_id(&d->seal);
	seal_mac(&d->seal, 0, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF);
	slot_finish(sector);
	rc = disk_write(&d->slots[a->slot.device].disk, d->conf->node[d->self].id, sector, a->op);
	if (rc)
		brain_post_err(d, EV_SLOT_WRITTEN, a, rc);
}

/* A read that cannot begin has no sectors; the brain looks at err first. */
static void post_no_slots(struct daemon *d, const struct action *a, int rc)
{
	struct event ev = {.type = EV_SLOT_READ, .op = a->op, .err = rc};

	ev.slots.device = a->slot.device;
	for (unsigned i = 0; i < NODE_NODES_MAX; i++)
		ev.slots.err[i] = rc;
	brain_post(d, &ev);
}

void slots_read(struct daemon *d, const struct action *a)
{
	int rc = disk_read(&d->slots[a->slot.device].disk, a->op);

	if (rc)
		post_no_slots(d, a, rc);
}

/* Says what a device's header is; a device that cannot be read now may come back later. */
static int check_header(struct daemon *d, unsigned i, char *err, size_t err_size)
{
	struct disk *disk = &d->slots[i].disk;
	uint8_t *sector = mem_aligned(SLOT_SIZE, SLOT_SIZE), cluster[16];
	ssize_t n = pread(disk->fd, sector, SLOT_SIZE, 0);
	struct slot_header h;
	int rc;

	if (n != SLOT_SIZE) {
		log_warn("disk %s: cannot be read now", disk->path);
		free(sector);
		return 0;
	}
	rc = slot_header_decode(&h, sector);
	if (rc == 0 && !seal_mac_ok(&d->seal, h.key_id, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF))
		rc = -EKEYREJECTED;
	free(sector);
	seal_cluster_id(d->conf->name, cluster);
	if (rc == 0 && memcmp(h.cluster, cluster, 16) != 0)
		rc = -EXDEV;
	/* Its number is that of the first version; later ones may have removed others. */
	if (rc == 0 && d->config_version <= 1 &&
	    (h.device != i || h.device_count != d->conf->coord_count))
		rc = -EINVAL;
	if (rc == 0)
		return 0;
	snprintf(err, err_size, "%s: %s", disk->path,
		 rc == -ENODATA ? "is no coordination device yet: holdfast init" :
		 rc == -EPROTO	? "is of a newer format: upgrade this node" :
		 rc == -EKEYREJECTED ? "was made with another cluster key: is `key` the right one?" :
		 rc == -EXDEV	? "belongs to another cluster: check `coordination`" :
		 rc == -EINVAL	? "was made as another of the devices: check `coordination`" :
				  "its header is damaged: restore it, or wipe it and holdfast init");
	return rc == -EXDEV || rc == -EINVAL || rc == -EKEYREJECTED ? EXIT_CONFIG : EXIT_FORMAT;
}

static int open_one(struct daemon *d, unsigned i, char *err, size_t err_size)
{
	struct slots_device *s = &d->slots[i];
	char path[PATH_TEXT_MAX];
	int rc = conf_path(path, sizeof(path), d->conf->coord[i], d->conf->node[d->self].name);

	*s = (struct slots_device){.d = d, .index = i};
	s->disk.on_written = on_written;
	s->disk.on_read = on_read;
	s->disk.fd = -1;
	if (rc == 0)
		rc = disk_open(&s->disk, d->loop, path, err, err_size);
	return rc == 0 ? 0 : rc == -ENOENT ? EXIT_CONFIG : EXIT_FULL;
}

/* A node of a cluster that has a version starts also without one of its devices, as it goes on when it loses
 * one: it fails to read and write there, and that bars what needs a majority (V1).  None at all, or no
 * version yet (then the path may simply be wrong): it does not start. */
int slots_open(struct daemon *d, char *err, size_t err_size)
{
	unsigned missing = 0;
	int rc;

	for (unsigned i = 0; i < d->conf->coord_count; i++) {
		rc = open_one(d, i, err, err_size);
#ifndef HF_MUTANT_DEVICE_GONE_BARS_START
		if (rc && (d->config_version == 0 || ++missing == d->conf->coord_count))
#else
		if (rc && ++missing)
#endif
			return rc;
		if (rc)
			log_warn("%s; starting without it", err);
		else
			rc = check_header(d, i, err, err_size);
		if (rc && d->slots[i].disk.fd >= 0)
			return rc;
	}
	return 0;
}

/* ---- persistent memory ----------------------------------------------------------------------- */

/* The older copy, or the one whose writing failed: the other is whole, and stays so. */
static uint64_t next_copy(const struct daemon *d)
{
	return (d->persist_turn + 1) % COPIES;
}

static void on_persisted(struct loop_op *op, int res)
{
	struct daemon *d = LIST_OWNER(op, struct daemon, persist_op);
	struct event ev = {.type = EV_PERSISTED, .op = d->persist_tag};

	ev.err = res < 0 ? res : res == SLOT_SIZE ? 0 : -EIO;
	if (ev.err)
		log_limited(LOG_L_ERR, "%s/memory: cannot be written: %s", d->state_dir,
			    strerror(-ev.err));
	else
		d->persist_turn = next_copy(d);
	brain_event(d, &ev);
}

void persist_write(struct daemon *d, const struct action *a)
{
	if (d->persist_op.busy) {
		brain_post_err(d, EV_PERSISTED, a, -EBUSY);
		return;
	}
	memcpy(d->persist_sector, a->slot.sector, SLOT_SIZE);
	slot_finish(d->persist_sector);
	d->persist_tag = a->op;
	loop_write(d->loop, &d->persist_op, d->persist_fd, d->persist_sector, SLOT_SIZE,
		   next_copy(d) * SLOT_SIZE);
}

static bool is_newer(const struct slot *a, const struct slot *b)
{
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return a->sequence != b->sequence ? a->sequence > b->sequence :
					    a->write_count > b->write_count;
}

int persist_open(struct daemon *d, bool *found, char *err, size_t err_size)
{
	char path[PATH_TEXT_MAX + 16];
	struct slot best = {0}, slot;
	int rc, damaged = 0;

	snprintf(path, sizeof(path), "%s/memory", d->state_dir);
	d->persist_op.done = on_persisted;
	d->persist_sector = mem_aligned(SLOT_SIZE, SLOT_SIZE);
	d->persist_fd = open(path, O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC, 0600);
	*found = false;
	if (d->persist_fd < 0) {
		snprintf(err, err_size, "%s: cannot be opened: %s", path, strerror(errno));
		return EXIT_FULL;
	}
	rc = posix_fallocate(d->persist_fd, 0, COPIES * SLOT_SIZE);
	if (rc) { /* now, and not when there is something to remember */
		snprintf(err, err_size, "%s: no room for %u bytes: %s; make room there", path,
			 COPIES * SLOT_SIZE, strerror(rc));
		return EXIT_FULL;
	}
	for (unsigned i = 0; i < COPIES; i++) {
		if (pread(d->persist_fd, d->persist_sector, SLOT_SIZE, (off_t)i * SLOT_SIZE) !=
		    SLOT_SIZE)
			continue;
		rc = slot_decode(&slot, d->persist_sector);
		if (rc == -EPROTO) {
			snprintf(err, err_size, "%s: is of a newer format: upgrade this node", path);
			return EXIT_FORMAT;
		}
		damaged += rc == -EBADMSG;
		if (rc || (*found && !is_newer(&slot, &best)))
			continue;
		*found = true;
		best = slot;
		memcpy(d->persist_last, d->persist_sector, SLOT_SIZE);
		d->persist_turn = i;
	}
	/* One torn copy is what a power loss leaves; the other has the state before. */
	if (damaged && !*found) {
		snprintf(err, err_size, "%s: is damaged: remove it only if the coordination devices "
			 "are whole", path);
		return EXIT_FORMAT;
	}
	return 0;
}
