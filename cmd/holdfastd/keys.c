/* keys.c - the cluster's keys on this node: a rotation in steps, without a pause.
 *
 *	holdfast key add	on one node a new key is made; the others get it --from its file
 *	holdfast key use ID	on every node, in any order: it sends and signs with that key
 *	holdfast key drop ID	on every node: the old one is forgotten
 *
 * Each step is refused, with a reason and the node that is behind, until it is harmless
 * (core/keys.c).  The file is replaced before the new keys are taken, so what is in use is always in
 * the file.  Slots follow by themselves: they are written every T/2.  What lies longer is signed anew
 * when the key in use changes: S of the units by the unit's own queue, the headers of the
 * coordination devices by a helper process; `drop` asks both again and waits for them.  The blocks of
 * the configuration are each node's own to sign (config.c): of a node that is off they stay as they
 * are, and so does the key. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon.h"

struct signed_heads {
	int err[CONF_COORD_MAX];
	uint8_t key[CONF_COORD_MAX];
};

struct keys {
	struct daemon *d;
	struct process heads;
	struct signed_heads head;
	unsigned waiting; /* signatures under way */
	uint8_t unit_key[CONF_UNITS_MAX]; /* what S is signed with; 0: not known */
	char unit_text[CONF_UNITS_MAX][200];
	/* a drop that waits for them */
	uint32_t drop_request;
	uint8_t drop_id;
};

/* What a request wants, and what it answers with. */
struct change {
	struct keyfile file;
	enum reason why;
	uint16_t who;
	char text[256];
};

static void wipe(struct change *c)
{
	keyfile_wipe(&c->file);
}

static void tell_brain(struct daemon *d)
{
	struct event ev = {.type = EV_KEYS};

	ev.keys.count = (uint8_t)d->seal.count;
	for (unsigned i = 0; i < d->seal.count; i++)
		ev.keys.key[i] = (struct status_key){
			.id = d->seal.key[i].id,
			.flags = i == d->seal.send ? STATUS_KEY_SEND : 0,
			.print = d->seal.key[i].print};
	brain_post(d, &ev);
}

/* ---- signing anew ------------------------------------------------------------------------------ */

/* In the child. */
static int sign_head(const struct daemon *d, unsigned i, uint8_t *sector, uint8_t *key)
{
	int fd = open(d->slots[i].disk.path, O_RDWR | O_DSYNC | O_DIRECT | O_CLOEXEC), rc;
	struct slot_header h = {0};

	if (fd < 0 && errno == EINVAL)
		fd = open(d->slots[i].disk.path, O_RDWR | O_DSYNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = pread(fd, sector, SLOT_SIZE, 0) == SLOT_SIZE ? slot_header_decode(&h, sector) : -EIO;
	if (rc == 0 && !seal_mac_ok(&d->seal, h.key_id, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF))
		rc = -EKEYREJECTED;
	if (rc == 0 && h.key_id != seal_send_id(&d->seal)) {
		h.key_id = seal_send_id(&d->seal);
		slot_header_encode(&h, sector);
		seal_mac(&d->seal, h.key_id, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF);
		slot_finish(sector);
		rc = pwrite(fd, sector, SLOT_SIZE, 0) == SLOT_SIZE ? 0 : -EIO;
	}
	close(fd);
	*key = h.key_id;
	return rc;
}

static void sign_heads(void *arg, void *answer)
{
	const struct daemon *d = arg;
	struct signed_heads *out = answer;
	uint8_t *sector = mem_aligned(SLOT_SIZE, SLOT_SIZE);

	for (unsigned i = 0; i < d->conf->coord_count; i++)
		out->err[i] = sign_head(d, i, sector, &out->key[i]);
	free(sector);
}

static void drop_go_on(struct daemon *d);

static void on_heads(struct process *p, int err, const void *data, size_t len)
{
	struct keys *k = LIST_OWNER(p, struct keys, heads);

	if (err == 0 && len == sizeof(k->head))
		memcpy(&k->head, data, sizeof(k->head));
	for (unsigned i = 0; i < k->d->conf->coord_count; i++) {
		if (err)
			k->head.err[i] = err;
		if (k->head.err[i])
			log_warn("keys: %s: its header could not be signed anew: %s",
				 k->d->slots[i].disk.path, strerror(-k->head.err[i]));
	}
	k->waiting--;
	drop_go_on(k->d);
}

void keys_signed(struct daemon *d, unsigned unit, const struct unit_answer *out)
{
	struct keys *k = d->keys;

	k->unit_key[unit] = out->outcome == UNIT_WON ? out->key_id : 0;
	snprintf(k->unit_text[unit], sizeof(k->unit_text[unit]), "%s", out->text);
	if (out->outcome != UNIT_WON)
		log_warn("keys: unit %s: S could not be signed anew: %s", d->conf->unit[unit].name,
			 out->text);
	k->waiting--;
	drop_go_on(d);
}

static void sign_all(struct daemon *d)
{
	static const int none[] = {-1};
	struct keys *k = d->keys;

	if (k->waiting)
		return;
	k->waiting = 1;
	for (unsigned i = 0; i < d->conf->unit_count; i++)
		k->waiting += !d->conf->unit[i].gone;
	for (unsigned i = 0; i < d->conf->unit_count; i++)
		if (!d->conf->unit[i].gone)
			units_sign(d, i);
	k->heads.done = on_heads;
	for (unsigned i = 0; i < CONF_COORD_MAX; i++)
		k->head.err[i] = -EIO;
	if (process_run(d->loop, &k->heads, sign_heads, d, sizeof(k->head), none, d->times.step_ns)) {
		k->waiting--;
		drop_go_on(d);
	}
}

/* What still needs that key, or NONE. */
static enum reason still_signs(const struct daemon *d, uint8_t id, char *text, size_t size)
{
	const struct keys *k = d->keys;

	for (unsigned i = 0; i < d->conf->unit_count; i++)
		if (!d->conf->unit[i].gone && (k->unit_key[i] == id || k->unit_key[i] == 0)) {
			snprintf(text, size, "unit %s: %s", d->conf->unit[i].name,
				 k->unit_key[i] ? "S is signed with it" : k->unit_text[i]);
			return REASON_KEY_SIGNS;
		}
	for (unsigned i = 0; i < d->conf->coord_count; i++)
		if (k->head.err[i] || k->head.key[i] == id) {
			snprintf(text, size, "%.200s: %s", d->slots[i].disk.path,
				 k->head.err[i] ? strerror(-k->head.err[i]) : "its header is signed with it");
			return REASON_KEY_SIGNS;
		}
#ifndef HF_MUTANT_KEY_OF_BLOCKS_DROPPED
	if (config_signed_with(d, id, text, size))
		return REASON_KEY_SIGNS;
#endif
	return REASON_NONE;
}

/* ---- changes ----------------------------------------------------------------------------------- */

/* What is in the file is what is in use from here on. */
static const char *print_text(uint64_t print, char out[20])
{
	snprintf(out, 20, "%016llx", (unsigned long long)print);
	return out;
}

static bool has_key(const struct seal *s, uint8_t id)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->key[i].id == id)
			return true;
	return false;
}

/* A step for the event log, whoever asked for it; keys themselves are in no log. */
static void say_step(struct daemon *d, uint8_t id, const char *step, uint64_t print)
{
	char object[16], text[20];

	snprintf(object, sizeof(object), "key %u", id);
	diary_say(d, LOG_L_NOTICE, object, REASON_NONE, "%s, fingerprint %s", step,
		  print_text(print, text));
}

static void say_steps(struct daemon *d, const struct seal *old)
{
	const struct seal *now = &d->seal;

	for (unsigned i = 0; i < now->count; i++)
		if (!has_key(old, now->key[i].id))
			say_step(d, now->key[i].id, "added", now->key[i].print);
	if (old->key[old->send].id != seal_send_id(now))
		say_step(d, seal_send_id(now), "in use: this node sends and signs with it",
			 now->key[now->send].print);
	for (unsigned i = 0; i < old->count; i++)
		if (!has_key(now, old->key[i].id))
			say_step(d, old->key[i].id, "dropped", old->key[i].print);
}

static void say_refused(struct daemon *d, const struct change *c)
{
	char object[CONF_NAME_MAX + 8];

	snprintf(object, sizeof(object), "node %s", daemon_node(d, d->node->conf.self, ""));
	diary_say(d, LOG_L_WARN, object, c->why, "a step of the keys was refused: %s", c->text);
}

static void take(struct daemon *d, const struct keyfile *f)
{
	uint8_t before = seal_send_id(&d->seal);
	struct seal old = d->seal;

	seal_set(&d->seal, f);
	say_steps(d, &old);
	sodium_memzero(&old, sizeof(old));
	tell_brain(d);
	memset(d->slot_bad, 0, sizeof(d->slot_bad));
	log_notice("keys: %u known, sending with %u", d->seal.count, seal_send_id(&d->seal));
	if (seal_send_id(&d->seal) != before) {
		sign_all(d);
		config_look(d);
	}
}

static void save_and_take(struct daemon *d, struct change *c)
{
	if (keyfile_save(&c->file, d->key_path, c->text, sizeof(c->text)))
		c->why = REASON_KEY_FILE;
	else
		take(d, &c->file);
}

static bool may(struct daemon *d, struct change *c, enum key_step step, uint8_t id, uint64_t print)
{
	c->why = node_key_refuses(d->node, step, id, print, &c->who);
	if (c->why != REASON_NONE)
		snprintf(c->text, sizeof(c->text), "key %u%s%s", id, c->who ? ": " : "",
			 daemon_node(d, c->who, ""));
	return c->why == REASON_NONE;
}

/* Every key of `other` that is not there yet. */
static void add_from(struct daemon *d, struct change *c, const char *text)
{
	struct keyfile other;
	unsigned added = 0;

	if (keyfile_parse(&other, text, "the keys given", c->text, sizeof(c->text))) {
		c->why = REASON_KEY_FILE;
		return;
	}
	for (unsigned i = 0; i < other.count; i++) {
		const struct keyfile_key *k = &other.key[i];

		if (!may(d, c, KEY_ADD, k->id, keyfile_print(k)))
			break;
		if (keyfile_find(&c->file, k->id) < 0)
			c->file.key[c->file.count++] = *k;
		if (!has_key(&d->seal, k->id)) /* the file may have it already: nodes can share one */
			added++;
	}
	keyfile_wipe(&other);
	if (c->why == REASON_NONE)
		snprintf(c->text, sizeof(c->text), "%u key%s added", added, added == 1 ? "" : "s");
}

static void add_new(struct daemon *d, struct change *c)
{
	int at = keyfile_make(&c->file);

	if (at < 0) {
		c->why = REASON_KEYS_FULL;
		return;
	}
	if (may(d, c, KEY_ADD, c->file.key[at].id, keyfile_print(&c->file.key[at])))
		snprintf(c->text, sizeof(c->text),
			 "key %u made; next: on every other node: holdfast key add --from FILE, a copy "
			 "of this node's key file", c->file.key[at].id);
}

static void use(struct daemon *d, struct change *c, uint8_t id)
{
	int at = keyfile_find(&c->file, id);

	if (at < 0) {
		c->why = REASON_KEY_UNKNOWN;
		snprintf(c->text, sizeof(c->text), "key %u", id);
		return;
	}
	if (!may(d, c, KEY_USE, id, keyfile_print(&c->file.key[at])))
		return;
	c->file.send = (unsigned)at;
	snprintf(c->text, sizeof(c->text), "sending and signing with key %u", id);
}

static void answer(struct daemon *d, uint32_t id, const struct change *c)
{
	if (c->why == REASON_NONE)
		ctl_reply(d->ctl, id, json_pack("{s:s, s:s}", "text", c->text, "reason", "none"));
	else
		ctl_refuse(d->ctl, id, reason_name(c->why), c->text, reason_todo(c->why));
	if (c->why != REASON_NONE)
		say_refused(d, c);
}

/* Are the keys of the file those in use, but for this one?  Then another node that has the same file
 * has dropped it there. */
static bool dropped_in_file(const struct daemon *d, struct change *c, uint8_t id)
{
	const struct keyfile *f = &c->file;
	bool same = f->key[f->send].id == seal_send_id(&d->seal);

	for (unsigned i = 0; i < d->seal.count && same; i++) {
		int at = keyfile_find(f, d->seal.key[i].id);

		same = d->seal.key[i].id == id ||
		       (at >= 0 && keyfile_print(&f->key[at]) == d->seal.key[i].print);
	}
	if (same)
		return true;
	c->why = REASON_KEY_FILE;
	snprintf(c->text, sizeof(c->text), "%.180s has other keys than those in use", d->key_path);
	return false;
}

static void drop_now(struct daemon *d, uint32_t request, uint8_t id)
{
	struct change c = {.why = REASON_NONE};
	int at = -1;

	if (keyfile_load(&c.file, d->key_path, c.text, sizeof(c.text)))
		c.why = REASON_KEY_FILE;
	else
		at = keyfile_find(&c.file, id);
	if (c.why == REASON_NONE && may(d, &c, KEY_DROP, id, 0))
		c.why = still_signs(d, id, c.text, sizeof(c.text));
	if (c.why == REASON_NONE && (at >= 0 || dropped_in_file(d, &c, id))) {
		if (at >= 0)
			keyfile_drop(&c.file, (unsigned)at);
		snprintf(c.text, sizeof(c.text), "key %u forgotten", id);
		save_and_take(d, &c);
	}
	answer(d, request, &c);
	wipe(&c);
}

static void drop_go_on(struct daemon *d)
{
	struct keys *k = d->keys;
	uint32_t request = k->drop_request;

	if (k->waiting || !request)
		return;
	k->drop_request = 0;
	drop_now(d, request, k->drop_id);
}

/* True: it is answered when the signatures are there. */
static bool drop(struct daemon *d, uint32_t request, struct change *c, uint8_t id, bool dry_run)
{
	if (!may(d, c, KEY_DROP, id, 0))
		return false;
	if (d->keys->drop_request || d->keys->waiting) {
		c->why = REASON_BUSY;
	} else if (dry_run) {
		snprintf(c->text, sizeof(c->text), "key %u would be forgotten, once nothing is signed "
			 "with it any more", id);
	} else {
		d->keys->drop_request = request;
		d->keys->drop_id = id;
		config_look(d);
		sign_all(d);
		return true;
	}
	return false;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static json_t *holder(const char *name, const struct status_key *key, unsigned count,
		      const struct seal_key *k)
{
	for (unsigned i = 0; i < count; i++)
		if (key[i].id == k->id && key[i].print == k->print)
			return json_pack("{s:s, s:b, s:b}", "node", name, "has", 1, "sends",
					 (key[i].flags & STATUS_KEY_SEND) != 0);
	return json_pack("{s:s, s:b, s:b}", "node", name, "has", 0, "sends", 0);
}

static json_t *show(const struct daemon *d)
{
	json_t *list = json_array();
	const struct node *n = d->node;
	char print[20];

	for (unsigned i = 0; i < d->seal.count; i++) {
		const struct seal_key *k = &d->seal.key[i];
		json_t *nodes = json_array();

		for (unsigned p = 0; p < n->peer_count; p++)
			json_array_append_new(nodes, holder(daemon_node(d, n->peer[p].id, ""),
							    n->peer[p].msg.key,
							    n->peer[p].msg.key_count, k));
		json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:o}", "id", (int)k->id,
						      "fingerprint", print_text(k->print, print),
						      "sends", i == d->seal.send, "nodes", nodes));
	}
	return json_pack("{s:o, s:s}", "keys", list, "node", daemon_node(d, n->conf.self, ""));
}

bool keys_request(struct daemon *d, uint32_t id, const char *verb, json_t *request)
{
	const char *text = json_string_value(json_object_get(request, "keys"));
	json_int_t number = json_integer_value(json_object_get(request, "id"));
	uint8_t key = number >= 1 && number <= 255 ? (uint8_t)number : 0;
	bool dry_run = json_is_true(json_object_get(request, "dry_run"));
	struct change c = {.why = REASON_NONE};
	bool later = false;

	if (strncmp(verb, "key-", 4) != 0)
		return false;
	if (strcmp(verb, "key-show") == 0) {
		ctl_reply(d->ctl, id, show(d));
		return true;
	}
	if (keyfile_load(&c.file, d->key_path, c.text, sizeof(c.text)))
		c.why = REASON_KEY_FILE;
	else if (strcmp(verb, "key-add") == 0 && text)
		add_from(d, &c, text);
	else if (strcmp(verb, "key-add") == 0)
		add_new(d, &c);
	else if (strcmp(verb, "key-use") == 0)
		use(d, &c, key);
	else if (strcmp(verb, "key-drop") == 0)
		later = drop(d, id, &c, key, dry_run);
	else
		return false;
	if (!later) {
		if (c.why == REASON_NONE && !dry_run)
			save_and_take(d, &c);
		answer(d, id, &c);
	}
	wipe(&c);
	return true;
}

/* May the file take the place of the keys in use? */
static bool may_replace(struct daemon *d, struct change *c)
{
	const struct keyfile *f = &c->file;

	for (unsigned i = 0; i < f->count; i++)
		if (!may(d, c, KEY_ADD, f->key[i].id, keyfile_print(&f->key[i])))
			return c->why == REASON_KEYS_FULL;
	if (f->key[f->send].id != seal_send_id(&d->seal) &&
	    !may(d, c, KEY_USE, f->key[f->send].id, keyfile_print(&f->key[f->send])))
		return false;
	for (unsigned i = 0; i < d->seal.count; i++)
		if (keyfile_find(f, d->seal.key[i].id) < 0) {
			c->why = REASON_KEY_SIGNS;
			snprintf(c->text, sizeof(c->text), "key %u is not in it", d->seal.key[i].id);
			return false; /* `holdfast key drop` looks what still needs it */
		}
	return true;
}

void keys_reload(struct daemon *d)
{
	struct change c = {.why = REASON_NONE};

	if (keyfile_load(&c.file, d->key_path, c.text, sizeof(c.text))) {
		log_err("keys: not read again: %s", c.text);
	} else if (may_replace(d, &c)) {
		take(d, &c.file);
	} else {
		say_refused(d, &c);
		log_err("keys: %s was not taken over reason=%s: %s; %s", d->key_path,
			reason_name(c.why), c.text, reason_todo(c.why));
	}
	wipe(&c);
}

void keys_open(struct daemon *d)
{
	d->keys = mem_zalloc(1, sizeof(*d->keys));
	d->keys->d = d;
	tell_brain(d);
}
