/* unit_view.c - a unit as `holdfast unit` shows it: the pair <S,R>, keys, paths.  Changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "codec/prin.h"
#include "io/reserve.h"
#include "io/unit.h"

/* R of `dir` is the lock of the record's epoch: does anybody hold it? */
static int view_lock(const struct unit_spec *u, struct unit_view *v)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET,
			   .l_start = UNIT_LOCK_OWNER(v->a.owner_epoch), .l_len = 1};
	int fd = open(u->record, O_RDWR | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		rc = -errno;
	v->held = rc == 0 && fl.l_type != F_UNLCK;
	v->a.holder = v->held ? v->a.owner : 0;
	close(fd);
	return rc;
}

static int view_state(struct reserve *r, struct unit_view *v)
{
	struct rsv_state st;
	int rc = r->ops->read_state(r, 0, &st);

	if (rc)
		return rc;
	v->held = st.held;
	v->type = st.held && !st.wrong_type ? PRIN_TYPE_WE_RO : 0;
	v->a.holder = unit_key_node(st.holder);
	v->key_total = st.count;
	for (unsigned i = 0; i < st.count && i < UNIT_VIEW_KEYS; i++) {
		v->key[i].key = st.key[i];
		v->key[i].holder = st.held && st.key[i] == st.holder;
		v->key_count++;
	}
	return 0;
}

static void view_record(struct reserve *r, const struct seal *s, struct unit_view *v)
{
	struct owner o;

	v->s_err = unit_record_read(r, s, &o);
	if (v->s_err)
		return;
	v->a.owner = o.node;
	v->a.owner_epoch = o.epoch;
	v->a.owner_generation = o.generation;
	v->previous = o.previous_node;
	v->written_ns = o.written_ns;
	for (unsigned i = 0; i < 16 && o.unit_uuid[i] > 0x20 && o.unit_uuid[i] < 0x7f; i++)
		v->label[i] = (char)o.unit_uuid[i];
	memcpy(v->owner_name, o.node_name, sizeof(v->owner_name));
	v->owner_name[sizeof(v->owner_name) - 1] = '\0';
}

static const char *record_trouble(int err)
{
	return err == -ENODATA ? "the ownership record is blank (holdfast init)" :
	       err == -EBADMSG ? "the ownership record is damaged or of another cluster or key" :
	       err == -EPROTO  ? "the ownership record is of a newer format" :
				 "the ownership record cannot be read: ";
}

void unit_view(const struct unit_spec *u, const struct seal *s, struct unit_view *out)
{
	struct reserve r;
	const char *why = "";

	memset(out, 0, sizeof(*out));
	reserve_open(&r, u, RSV_LOOK);
	view_record(&r, s, out);
	if (out->s_err)
		why = record_trouble(out->s_err);
	if (u->backend == UNIT_DIR)
		out->r_err = out->s_err ? out->s_err : view_lock(u, out);
	else
		out->r_err = r.ops->view ? r.ops->view(&r, out) : view_state(&r, out);
	out->a.labels |= r.labels;
	if (out->s_err == 0 && out->r_err)
		why = "the reservation cannot be read: ";
	if (out->s_err || out->r_err)
		unit_say(&out->a, UNIT_ERROR, out->s_err ? out->s_err : out->r_err, "%s%s", why,
			 why[0] && why[strlen(why) - 1] != ' ' ? "" :
			 r.text[0] ? r.text : strerror(-(out->s_err ? out->s_err : out->r_err)));
	else
		unit_say(&out->a, UNIT_WON, 0, "read");
	reserve_close(&r);
}
