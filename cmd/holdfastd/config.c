/* config.c - the committed configuration: read at the start, proposed, learned and taken.
 *
 * core/chosen.h decides which version counts; here are the sectors, the texts, the copy in the state
 * folder and what follows when a version is chosen:
 *
 *  - At the start the latest version that can be read (coordination devices, then the copy here) is
 *    what this node runs with; the file only says where to look.  A file that means something else is
 *    told, and changes nothing: the committed version wins (doc/config.md).
 *  - When there is none yet, the file's text is proposed as version 1 (VS-121).
 *  - A version that can be taken while everything runs is taken at once; of any other this node runs
 *    with the old one until its restart, says so, and takeover between nodes of different versions
 *    is barred by their hash (ST-53). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/block.h"
#include "conf/conf_diff.h"
#include "core/chosen.h"
#include "daemon.h"

#define BLOCKS_LEN  ((size_t)BLOCK_NODES * BLOCK_COPIES * SLOT_SIZE)
#define TEXT_LEN    ((size_t)BLOCK_TEXT_SECTORS * SLOT_SIZE)
#define BUFFER_LEN  (TEXT_LEN > BLOCKS_LEN ? TEXT_LEN : BLOCKS_LEN)
#define OWN_ID	    0xffffffffU
#define QUEUE_MAX   32
#define WAIT_BEATS  50
#define LIST_MAX    64

/* A text that is in memory, by its hash. */
struct text {
	uint8_t hash[BLOCK_HASH_LEN];
	size_t len;
	char *bytes;
};

struct config_device {
	struct config *c;
	struct loop_op op;
	struct chosen_action doing;
	size_t length;
	char path[PATH_TEXT_MAX];
	int fd;
	uint8_t *buf;
	bool left; /* no device of ours any more: freed when its operation is over */
	bool looked;		      /* its blocks were read since it was opened */
	uint8_t key_id[BLOCK_NODES]; /* what they are signed with; 0: never written */
};

struct config {
	struct daemon *d;
	struct chosen chosen;
	struct loop_timer timer;
	struct config_device *device[CHOSEN_DEVICES_MAX];
	struct text committed, proposal, fetched;
	struct block_value running; /* version 0: the file, nothing is chosen yet */
	char *file_text;	    /* the file as it was read at the start */
	size_t file_len;
	uint64_t propose_at_ns;
	bool started, in_step, file_differs, pending;
	uint64_t retry_ns; /* it could be taken online, but not yet: then again; 0: no */
	char why[384], said[384]; /* pending: what needs the restart, or is waited for */
	/* completions that came while a step was carried out */
	struct chosen_event queue[QUEUE_MAX];
	unsigned queue_len;
	/* an apply that is under way */
	uint32_t ask_id;
	uint64_t ask_version, ask_until_ns;
	bool ask_chosen, ask_restart;
};

/* ---- texts ----------------------------------------------------------------------------------- */

static void text_set(struct text *t, const char *bytes, size_t len)
{
	char *copy = mem_alloc(len + 1);

	memcpy(copy, bytes, len);
	copy[len] = '\0';
	free(t->bytes);
	t->bytes = copy;
	t->len = len;
	seal_hash(copy, len, t->hash);
}

static struct text *text_of(struct config *c, const struct block_value *v)
{
	struct text *all[] = {&c->committed, &c->proposal, &c->fetched};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i]->bytes && all[i]->len == v->len &&
		    memcmp(all[i]->hash, v->hash, BLOCK_HASH_LEN) == 0)
			return all[i];
	return NULL;
}

static void hex(char *out, const uint8_t hash[BLOCK_HASH_LEN])
{
	for (unsigned i = 0; i < BLOCK_HASH_LEN; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static bool unhex(uint8_t hash[BLOCK_HASH_LEN], const char *in)
{
	for (unsigned i = 0; i < BLOCK_HASH_LEN; i++) {
		unsigned v;

		if (sscanf(in + 2 * i, "%2x", &v) != 1)
			return false;
		hash[i] = (uint8_t)v;
	}
	return true;
}

/* ---- the copy in the state folder ------------------------------------------------------------ */

static void cache_path(const struct config *c, const char *suffix, char *out, size_t size)
{
	snprintf(out, size, "%s/config%s", c->d->state_dir, suffix);
}

/* Not synced: after a loss of power the devices have it, and the hash tells a spoilt copy. */
static void cache_write(struct config *c, const struct block_value *v)
{
	char path[PATH_TEXT_MAX + 32], tmp[PATH_TEXT_MAX + 32], hash[65], prev[65];
	FILE *f;
	int fd;

	cache_path(c, "", path, sizeof(path));
	cache_path(c, ".new", tmp, sizeof(tmp));
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		log_warn("config: %s: %s", tmp, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	hex(hash, v->hash);
	hex(prev, v->prev);
	fprintf(f, "holdfast-config 1 %llu %u %u %llu %s %s\n", (unsigned long long)v->version,
		v->len, v->author, (unsigned long long)v->made_ns, hash, prev);
	fwrite(c->committed.bytes, 1, c->committed.len, f);
	if (fclose(f) || rename(tmp, path))
		log_warn("config: %s: %s", path, strerror(errno));
}

static bool cache_read(struct config *c, struct block_value *v)
{
	char path[PATH_TEXT_MAX + 32], hash[65] = "", prev[65] = "", *text;
	unsigned long long version = 0, made = 0;
	unsigned author = 0;
	size_t len;
	bool good;
	FILE *f;

	cache_path(c, "", path, sizeof(path));
	f = fopen(path, "re");
	if (!f)
		return false;
	memset(v, 0, sizeof(*v));
	good = fscanf(f, "holdfast-config 1 %llu %u %u %llu %64s %64s", &version, &v->len, &author,
		      &made, hash, prev) == 6 &&
	       fgetc(f) == '\n' && v->len <= BLOCK_TEXT_MAX && unhex(v->hash, hash) &&
	       unhex(v->prev, prev);
	text = mem_alloc(BLOCK_TEXT_MAX + 1);
	len = fread(text, 1, BLOCK_TEXT_MAX + 1, f);
	fclose(f);
	v->version = version;
	v->author = (uint16_t)author;
	v->made_ns = made;
	if (good && len == v->len)
		text_set(&c->fetched, text, len);
	free(text);
	if (good && version && text_of(c, v))
		return true;
	log_warn("config: %s is damaged; not used", path);
	return false;
}

/* ---- sectors --------------------------------------------------------------------------------- */

static int block_error(const struct daemon *d, const uint8_t *sector, unsigned node,
		       struct block *b)
{
	uint8_t cluster[16];
	int rc = block_decode(b, sector);

	if (rc)
		return rc == -ENODATA ? rc : -EBADMSG;
	seal_cluster_id(d->conf->name, cluster);
	if (b->node != node || memcmp(b->cluster, cluster, sizeof(cluster)) != 0 ||
	    !seal_mac_ok(&d->seal, b->key_id, sector, SLOT_MAC_OFF, sector + SLOT_MAC_OFF))
		return -EBADMSG;
	return 0;
}

/* What the blocks of a device say. */
static void decode_blocks(const struct daemon *d, const uint8_t *area, const char *path,
			  struct chosen_seen seen[BLOCK_NODES])
{
	struct block copy[BLOCK_COPIES];
	int err[BLOCK_COPIES], at;

	memset(seen, 0, BLOCK_NODES * sizeof(*seen));
	for (unsigned n = 0; n < BLOCK_NODES; n++) {
		for (unsigned i = 0; i < BLOCK_COPIES; i++)
			err[i] = block_error(d, area + (n * BLOCK_COPIES + i) * SLOT_SIZE, n + 1,
					     &copy[i]);
		at = block_newest(copy, err);
		if (at >= 0)
			seen[n].block = copy[at];
		seen[n].damaged = at == -EBADMSG;
		seen[n].old_key = at >= 0 && copy[at].key_id != seal_send_id(&d->seal);
		if (seen[n].damaged)
			log_limited(LOG_L_WARN, "disk %s: the configuration block of node %u is "
				    "torn, forged or of another cluster", path, n + 1);
	}
}

static int text_check(struct config *c, const uint8_t *area, const struct block_value *v)
{
	uint8_t hash[BLOCK_HASH_LEN];

	seal_hash(area + SLOT_SIZE, v->len, hash);
	if (memcmp(hash, v->hash, BLOCK_HASH_LEN) != 0)
		return -EBADMSG;
	text_set(&c->fetched, (const char *)area + SLOT_SIZE, v->len);
	return 0;
}

static size_t encode_text(struct config *c, uint8_t *area, const struct block_value *v)
{
	struct block_text_head h = {.node = c->d->conf->node[c->d->self].id,
				    .key_id = seal_send_id(&c->d->seal), .value = *v};
	const struct text *t = text_of(c, v);

	if (!t)
		return 0;
	seal_cluster_id(c->d->conf->name, h.cluster);
	memset(area, 0, TEXT_LEN);
	block_text_encode(&h, area);
	seal_mac(&c->d->seal, 0, area, SLOT_MAC_OFF, area + SLOT_MAC_OFF);
	slot_finish(area);
	memcpy(area + SLOT_SIZE, t->bytes, t->len);
	return (SLOT_SIZE + t->len + SLOT_SIZE - 1) / SLOT_SIZE * SLOT_SIZE;
}

/* ---- devices --------------------------------------------------------------------------------- */

static void step(struct config *c, struct chosen_event *ev);

static struct config_device *device_open(struct config *c, const char *conf_text)
{
	struct config_device *v = mem_zalloc(1, sizeof(*v));

	v->c = c;
	if (conf_path(v->path, sizeof(v->path), conf_text, c->d->conf->node[c->d->self].name))
		v->path[0] = '\0';
	v->fd = open(v->path, O_RDWR | O_DSYNC | O_DIRECT | O_CLOEXEC);
	if (v->fd < 0 && errno == EINVAL)
		v->fd = open(v->path, O_RDWR | O_DSYNC | O_CLOEXEC);
	v->buf = mem_aligned(SLOT_SIZE, BUFFER_LEN);
	return v;
}

static void device_free(struct config_device *v)
{
	if (v->fd >= 0)
		close(v->fd);
	free(v->buf);
	free(v);
}

/* A device made before there were blocks ends earlier: what is not there was never written. */
static int whole(struct config_device *v, int res, size_t len)
{
	struct stat st;

	if (res < 0)
		return res;
	if ((size_t)res == len)
		return 0;
	if (fstat(v->fd, &st) || !S_ISREG(st.st_mode))
		return -EIO;
	memset(v->buf + res, 0, len - (size_t)res);
	return 0;
}

static void note_keys(struct config_device *v, const struct chosen_seen seen[BLOCK_NODES])
{
	v->looked = true;
	for (unsigned i = 0; i < BLOCK_NODES; i++)
		v->key_id[i] = seen[i].block.node ? seen[i].block.key_id : 0;
}

static void done(struct config_device *v, struct chosen_event *ev, int res)
{
	static struct chosen_seen seen[BLOCK_NODES];
	struct config *c = v->c;

	ev->op = v->doing.op;
	switch (v->doing.type) {
	case CHOSEN_ACT_READ:
		ev->type = CHOSEN_EV_READ;
		ev->err = whole(v, res, v->length);
		ev->seen = seen;
		if (ev->err)
			break;
		decode_blocks(c->d, v->buf, v->path, seen);
		note_keys(v, seen);
		break;
	case CHOSEN_ACT_FETCH:
		ev->type = CHOSEN_EV_FETCHED;
		ev->err = whole(v, res, v->length);
		if (ev->err == 0)
			ev->err = text_check(c, v->buf, &v->doing.value);
		break;
	case CHOSEN_ACT_BLOCK:
	case CHOSEN_ACT_TEXT:
		ev->type = CHOSEN_EV_WRITTEN;
		ev->err = res < 0 ? res : (size_t)res == v->length ? 0 : -EIO;
		break;
	case CHOSEN_ACT_ADOPT:
	case CHOSEN_ACT_REPLY:
		break;
	}
}

static void on_done(struct loop_op *op, int res)
{
	struct config_device *v = LIST_OWNER(op, struct config_device, op);
	struct chosen_event ev = {.err = 0};

	if (v->left) {
		device_free(v);
		return;
	}
	done(v, &ev, res);
	step(v->c, &ev);
}

static void later(struct config *c, const struct chosen_event *ev)
{
	hf_assert(c->queue_len < QUEUE_MAX);
	c->queue[c->queue_len++] = *ev;
}

static void begin(struct config *c, const struct chosen_action *a)
{
	struct config_device *v = c->device[a->device];
	struct chosen_event ev = {.op = a->op, .err = v->fd < 0 ? -ENODEV : 0};
	uint64_t sector = BLOCK_FIRST;
	struct block b;

	v->doing = *a;
	v->op.done = on_done;
	v->length = BLOCKS_LEN;
	ev.type = a->type == CHOSEN_ACT_READ	 ? CHOSEN_EV_READ :
		  a->type == CHOSEN_ACT_FETCH ? CHOSEN_EV_FETCHED :
						   CHOSEN_EV_WRITTEN;
	if (a->type == CHOSEN_ACT_FETCH) {
		sector = block_text_sector(a->node, a->place);
		v->length = TEXT_LEN;
	} else if (a->type == CHOSEN_ACT_TEXT) {
		sector = block_text_sector(c->chosen.conf.self, a->place);
		v->length = encode_text(c, v->buf, &a->value);
	} else if (a->type == CHOSEN_ACT_BLOCK) {
		sector = block_sector(a->block.node, a->block.write_count);
		v->length = SLOT_SIZE;
		b = a->block;
		b.key_id = seal_send_id(&c->d->seal);
		block_encode(&b, v->buf);
		seal_mac(&c->d->seal, 0, v->buf, SLOT_MAC_OFF, v->buf + SLOT_MAC_OFF);
		slot_finish(v->buf);
	}
	/* What is in memory needs no reading; what cannot be written must not look written. */
	if (ev.err || v->length == 0 || (a->type == CHOSEN_ACT_FETCH && text_of(c, &a->value))) {
		if (v->length == 0)
			ev.err = -ENOENT;
		later(c, &ev);
	} else if (ev.type == CHOSEN_EV_WRITTEN) {
		loop_write(c->d->loop, &v->op, v->fd, v->buf, v->length, sector * SLOT_SIZE);
	} else {
		loop_read(c->d->loop, &v->op, v->fd, v->buf, v->length, sector * SLOT_SIZE);
	}
}

/* ---- what is chosen is taken ----------------------------------------------------------------- */

static uint8_t members(const struct conf *conf)
{
	uint8_t bits = 0;

	for (unsigned i = 0; i < conf->node_count; i++)
		bits = (uint8_t)(bits | 1U << (conf->node[i].id - 1));
	return bits;
}

static void use_devices(struct config *c, const struct conf *conf)
{
	struct config_device *old[CHOSEN_DEVICES_MAX] = {NULL}, *v;
	unsigned count = c->chosen.conf.device_count;
	int from[CHOSEN_DEVICES_MAX];

	memcpy(old, c->device, sizeof(old));
	memset(c->device, 0, sizeof(c->device));
	for (unsigned i = 0; i < conf->coord_count; i++) {
		v = device_open(c, conf->coord[i]);
		from[i] = -1;
		for (unsigned k = 0; k < count; k++)
			if (old[k] && strcmp(old[k]->path, v->path) == 0) {
				device_free(v);
				v = old[k];
				old[k] = NULL;
				from[i] = (int)k;
				break;
			}
		c->device[i] = v;
	}
	for (unsigned k = 0; k < count; k++) {
		if (!old[k])
			continue;
		old[k]->left = true;
		if (!old[k]->op.busy)
			device_free(old[k]);
	}
	chosen_members(&c->chosen, members(conf), conf->coord_count, from);
}

struct first_reason {
	struct config *c;
	enum conf_effect worst;
};

static void keep_reason(void *arg, const struct conf_change *ch)
{
	struct first_reason *r = arg;

	if (ch->effect <= CONF_ONLINE || ch->effect <= r->worst)
		return;
	r->worst = ch->effect;
	snprintf(r->c->why, sizeof(r->c->why), "%s: %s", ch->where, ch->why);
}

static void run_with(struct config *c, const struct block_value *v)
{
	c->running = *v;
	c->pending = false;
	c->retry_ns = 0;
	c->why[0] = '\0';
	c->d->config_version = v->version;
}

static void hold_back(struct config *c, uint64_t version)
{
	bool said = c->pending && strcmp(c->said, c->why) == 0;

	c->pending = true;
	snprintf(c->said, sizeof(c->said), "%s", c->why);
	if (c->retry_ns && !said)
		log_notice("config: version %llu is chosen and taken as soon as this is over: %s",
			   (unsigned long long)version, c->why);
	if (c->retry_ns)
		return;
	log_warn("config: version %llu is chosen and waits for a restart of holdfastd here (%s); "
		 "version %llu is in effect", (unsigned long long)version, c->why,
		 (unsigned long long)c->running.version);
}

/* Takes it while everything runs, or says why not; nothing is changed then. */
static bool take_online(struct config *c, struct conf *next, const struct block_value *v,
			bool same)
{
	const char *bad;

	if (conf_arrange(next, c->d->conf)) {
		snprintf(c->why, sizeof(c->why), "there were too many units or vservers since the "
			 "start of holdfastd");
		return false;
	}
	c->d->config_version = v->version;
	bad = brain_reconfigure(c->d, next);
	if (bad) {
		c->d->config_version = c->running.version;
		snprintf(c->why, sizeof(c->why), "%s", bad);
		c->retry_ns = loop_clock_ns() + 2 * c->d->times.heartbeat_ns;
		return false;
	}
	free(c->d->conf_text);
	c->d->conf_text = mem_strdup(c->committed.bytes);
	c->d->conf_len = c->committed.len;
	if (!same)
		workers_configure(c->d);
	return true;
}

static void take(struct config *c, const struct block_value *v, bool again)
{
	struct first_reason r = {.c = c};
	struct conf *next = mem_zalloc(1, sizeof(*next));
	enum conf_effect effect;
	char err[512] = "";
	int me;

	c->why[0] = '\0';
	c->retry_ns = 0;
	if (conf_parse(next, c->committed.bytes, c->committed.len, "configuration", err,
		       sizeof(err))) {
		snprintf(c->why, sizeof(c->why), "%.300s: upgrade this node", err);
		hold_back(c, v->version);
		free(next);
		return;
	}
	if (!again)
		use_devices(c, next);
	me = conf_find_node(next, c->d->conf->node[c->d->self].name);
	if (me < 0) {
		log_warn("config: version %llu has no node %s: leaving",
			 (unsigned long long)v->version, c->d->conf->node[c->d->self].name);
		requests_shutdown(c->d);
	} else if ((effect = conf_diff(c->d->conf, next, keep_reason, &r)) <= CONF_ONLINE &&
		   take_online(c, next, v, effect == 0)) {
		run_with(c, v);
		log_notice("config: version %llu is in effect", (unsigned long long)v->version);
	} else {
		hold_back(c, v->version);
	}
	free(next);
}

static void adopt(struct config *c, const struct block_value *v)
{
	const struct text *t = text_of(c, v);

	hf_assert(t); /* chosen.h adopts nothing whose text was not fetched or proposed */
	if (t != &c->committed)
		text_set(&c->committed, t->bytes, t->len);
	cache_write(c, v);
	diary_say(c->d, LOG_L_NOTICE, "config", REASON_OPERATOR, "version %llu is chosen",
		  (unsigned long long)v->version);
	take(c, v, false);
}

/* ---- an apply that is under way -------------------------------------------------------------- */

static bool has_taken(const struct config *c, const struct node_peer *p)
{
	return p->msg.config_version >= c->ask_version;
}

static void reply_taken(struct config *c)
{
	struct daemon *d = c->d;
	json_t *taken = json_array(), *missing = json_array(), *absent = json_array();

	json_array_append_new(c->running.version >= c->ask_version ? taken : missing,
			      json_string(d->conf->node[d->self].name));
	for (unsigned i = 0; i < d->node->peer_count; i++) {
		const struct node_peer *p = &d->node->peer[i];

		for (unsigned k = 0; k < d->conf->node_count; k++)
			if (d->conf->node[k].id == p->id)
				json_array_append_new(has_taken(c, p)			   ? taken :
						      p->verdict == STATUS_V_ALIVE ? missing :
										     absent,
						      json_string(d->conf->node[k].name));
	}
	ctl_reply(d->ctl, c->ask_id,
		  json_pack("{s:I, s:o, s:o, s:o, s:b}", "version", (json_int_t)c->ask_version,
			    "taken", taken, "missing", missing, "absent", absent, "restart",
			    c->ask_restart));
	c->ask_id = 0;
}

/* Answered when every live node has it, or has had its time. */
static void look_at_ask(struct config *c)
{
	const struct node *n = c->d->node;
	bool all = c->running.version >= c->ask_version;

	if (!c->ask_id || !c->ask_chosen)
		return;
	for (unsigned i = 0; i < n->peer_count; i++)
		all = all && (n->peer[i].verdict != STATUS_V_ALIVE || has_taken(c, &n->peer[i]));
	if (all || c->ask_restart || loop_clock_ns() >= c->ask_until_ns)
		reply_taken(c);
}

static void refuse_err(struct config *c, int err)
{
	static const struct {
		int err;
		const char *reason, *text, *todo;
	} rows[] = {
		{-ESTALE, "config-changed", "the version changed meanwhile",
		 "holdfast config diff FILE against the new version, then apply again"},
		{-EINPROGRESS, "config-unsure", "the devices did not answer in time: it may be "
		 "chosen yet", "see: holdfast config show"},
		{-ETIMEDOUT, "no-majority", "no majority of the coordination devices answered; "
		 "nothing was changed", "see the devices in holdfast status"},
		{-EBUSY, "busy", "another change is under way on this node", "apply again"},
		{-EUCLEAN, "config-forked", "the coordination devices have two histories",
		 "see doc/config.md, A fork"},
		{0, "failed", "the version was not chosen", "see the log of holdfastd"},
	};

	size_t i = 0;

	while (i + 1 < sizeof(rows) / sizeof(rows[0]) && rows[i].err != err)
		i++;
	ctl_refuse(c->d->ctl, c->ask_id, rows[i].reason, rows[i].text, rows[i].todo);
	c->ask_id = 0;
}

static void replied(struct config *c, const struct chosen_action *a)
{
	if (a->id == OWN_ID) {
		if (a->err == 0)
			log_notice("config: the file is version 1");
		return;
	}
	if (a->id != c->ask_id || !c->ask_id)
		return;
	if (a->err) {
		refuse_err(c, a->err);
		return;
	}
	c->ask_chosen = true;
	c->ask_until_ns = loop_clock_ns() + WAIT_BEATS * c->d->times.heartbeat_ns;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void carry_out(struct config *c, const struct chosen_action *a)
{
	switch (a->type) {
	case CHOSEN_ACT_READ:
	case CHOSEN_ACT_BLOCK:
	case CHOSEN_ACT_TEXT:
	case CHOSEN_ACT_FETCH:
		begin(c, a);
		return;
	case CHOSEN_ACT_ADOPT:
		adopt(c, &a->value);
		return;
	case CHOSEN_ACT_REPLY:
		replied(c, a);
		return;
	}
}

static void set_timer(struct config *c)
{
	uint64_t now = loop_clock_ns(), at = chosen_deadline_ns(&c->chosen),
		 beat = now + c->d->times.heartbeat_ns;

	if (c->ask_id && beat < at)
		at = beat;
	if (c->propose_at_ns && c->propose_at_ns < at)
		at = c->propose_at_ns;
	if (c->retry_ns && c->retry_ns < at)
		at = c->retry_ns;
	if (at != UINT64_MAX)
		loop_timer_set(c->d->loop, &c->timer, at > now ? at : now + 1);
}

static void step(struct config *c, struct chosen_event *ev)
{
	struct chosen_actions *out = mem_zalloc(1, sizeof(*out));

	hf_assert(!c->in_step);
	c->in_step = true;
	for (;;) {
		ev->now_ns = loop_clock_ns();
		chosen_step(&c->chosen, ev, out);
		for (unsigned i = 0; i < out->count; i++)
			carry_out(c, &out->a[i]);
		if (c->queue_len == 0)
			break;
		*ev = c->queue[0];
		memmove(&c->queue[0], &c->queue[1], --c->queue_len * sizeof(c->queue[0]));
	}
	c->in_step = false;
	free(out);
	look_at_ask(c);
	set_timer(c);
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void propose(struct config *c, uint32_t id, const char *text, size_t len)
{
	const struct block_value *base = &c->chosen.mine.committed;
	struct chosen_event ev = {.type = CHOSEN_EV_PROPOSE, .id = id};

	text_set(&c->proposal, text, len);
	ev.value.version = base->version + 1;
	ev.value.len = (uint32_t)len;
	ev.value.author = c->chosen.conf.self;
	ev.value.made_ns = wall_ns();
	memcpy(ev.value.hash, c->proposal.hash, BLOCK_HASH_LEN);
	memcpy(ev.value.prev, base->hash, BLOCK_HASH_LEN);
	c->ask_version = ev.value.version;
	step(c, &ev);
}

/* VS-121: nothing is chosen yet, so what the file says is proposed, the lowest id first. */
static void propose_first(struct config *c)
{
	uint64_t now = loop_clock_ns();

	if (!c->propose_at_ns || now < c->propose_at_ns)
		return;
	c->propose_at_ns = 0;
	if (c->chosen.mine.committed.version || c->d->leaving)
		return;
	c->propose_at_ns = now + WAIT_BEATS * c->d->times.heartbeat_ns;
	if (c->chosen.phase == CHOSEN_IDLE && !c->chosen.proposing && !c->ask_id)
		propose(c, OWN_ID, c->file_text, c->file_len);
}

static void on_timer(struct loop_timer *t)
{
	struct config *c = LIST_OWNER(t, struct config, timer);
	struct chosen_event ev = {.type = CHOSEN_EV_TICK};

	propose_first(c);
	if (c->retry_ns && loop_clock_ns() >= c->retry_ns)
		take(c, &c->chosen.mine.committed, true);
	step(c, &ev);
}

/* ---- the start ------------------------------------------------------------------------------- */

/* Waits for a device: nothing of this node runs yet. */
static bool read_now(struct config *c, struct config_device *v, uint64_t sector, size_t len)
{
	ssize_t n = v->fd < 0 ? -1 : pread(v->fd, v->buf, len, (off_t)(sector * SLOT_SIZE));

	(void)c;
	return n >= 0 && whole(v, (int)n, len) == 0;
}

/* True: it can be read, and nothing was ever written there. */
static bool latest_of(struct config *c, struct config_device *v, struct block_value *best)
{
	struct chosen_seen *seen = mem_zalloc(BLOCK_NODES, sizeof(*seen));
	bool blank = read_now(c, v, BLOCK_FIRST, BLOCKS_LEN);

	if (blank)
		decode_blocks(c->d, v->buf, v->path, seen);
	for (unsigned n = 0; n < BLOCK_NODES; n++)
		blank = blank && !seen[n].block.node && !seen[n].damaged;
	for (unsigned n = 0; n < BLOCK_NODES; n++) {
		const struct block *b = &seen[n].block;

		if (!b->node || b->committed.version <= best->version ||
		    b->committed_place >= BLOCK_PLACES)
			continue;
		if (read_now(c, v, block_text_sector(b->node, b->committed_place), TEXT_LEN) &&
		    text_check(c, v->buf, &b->committed) == 0) {
			*best = b->committed;
			text_set(&c->committed, c->fetched.bytes, c->fetched.len);
		}
	}
	free(seen);
	return blank;
}

/* The version this node runs with: 0, or an exit status. */
static int run_committed(struct config *c, const struct block_value *v, char *err, size_t err_size)
{
	struct daemon *d = c->d;
	struct conf *file = d->conf, *conf = mem_zalloc(1, sizeof(*conf));
	char name[CONF_NAME_MAX];
	int me;

	memcpy(name, file->node[d->self].name, sizeof(name));
	if (conf_parse(conf, c->committed.bytes, c->committed.len, "committed configuration", err,
		       err_size)) {
		free(conf);
		return EXIT_CONFIG;
	}
	me = conf_find_node(conf, name);
	if (me < 0) {
		snprintf(err, err_size, "configuration version %llu of this cluster has no node %s: "
			 "add it there first (holdfast config apply FILE on a node that runs)",
			 (unsigned long long)v->version, name);
		free(conf);
		return EXIT_CONFIG;
	}
	c->file_differs = conf_hash(file) != conf_hash(conf);
	if (c->file_differs)
		log_warn("config: %s differs from version %llu, which is in effect; holdfast config "
			 "diff %s shows it", d->conf_name, (unsigned long long)v->version,
			 d->conf_name);
	d->conf = conf;
	d->self = (unsigned)me;
	free(file);
	d->conf_text = mem_strdup(c->committed.bytes);
	d->conf_len = c->committed.len;
	run_with(c, v);
	return 0;
}

int config_start(struct daemon *d, char *err, size_t err_size)
{
	struct config *c = mem_zalloc(1, sizeof(*c));
	struct block_value v = {0};
	unsigned blank = 0;
	int rc = 0;

	d->config = c;
	c->d = d;
	c->file_text = d->conf_text;
	c->file_len = d->conf_len;
	if (cache_read(c, &v))
		text_set(&c->committed, c->fetched.bytes, c->fetched.len);
	for (unsigned i = 0; i < d->conf->coord_count; i++) {
		c->device[i] = device_open(c, d->conf->coord[i]);
		blank += latest_of(c, c->device[i], &v);
	}
	for (unsigned i = 0; i < CHOSEN_DEVICES_MAX; i++)
		if (c->device[i])
			device_free(c->device[i]);
	memset(c->device, 0, sizeof(c->device));
	/* A version is on a majority of its devices: these were made anew, so the cluster is new. */
	if (v.version && blank > d->conf->coord_count / 2) {
		log_warn("config: the coordination devices are new: version %llu that this node "
			 "remembers is not used", (unsigned long long)v.version);
		memset(&v, 0, sizeof(v));
	}
#ifdef HF_MUTANT_CONFIG_FILE_WINS
	v.version = 0;
#endif
	if (v.version)
		rc = run_committed(c, &v, err, err_size);
	else
		d->conf_text = mem_strdup(c->file_text);
	return rc;
}

void config_run(struct daemon *d)
{
	struct config *c = d->config;
	uint64_t t = d->times.heartbeat_ns;
	struct chosen_conf conf = {.self = d->conf->node[d->self].id,
				   .device_count = d->conf->coord_count,
				   .members = members(d->conf),
				   .poll_ns = 5 * t,
				   .retry_ns = t,
				   .nudge_ns = 20 * t,
				   .give_up_ns = 50 * t};
	struct chosen_event ev = {.type = CHOSEN_EV_TICK};

	seal_cluster_id(d->conf->name, conf.cluster);
	for (unsigned i = 0; i < d->conf->coord_count; i++)
		c->device[i] = device_open(c, d->conf->coord[i]);
	chosen_init(&c->chosen, &conf, &c->running, loop_clock_ns());
	c->timer.fire = on_timer;
	if (c->running.version == 0 && c->file_len <= BLOCK_TEXT_MAX)
		c->propose_at_ns = loop_clock_ns() + (1 + 5ULL * d->self) * t;
	else if (c->running.version == 0)
		log_warn("config: %s is longer than %u bytes: it cannot be committed", d->conf_name,
			 BLOCK_TEXT_MAX);
	c->started = true;
	step(c, &ev);
}

/* ---- keys ------------------------------------------------------------------------------------- */

bool config_signed_with(const struct daemon *d, uint8_t id, char *text, size_t size)
{
	const struct config *c = d->config;

	for (unsigned i = 0; i < c->chosen.conf.device_count; i++) {
		const struct config_device *v = c->device[i];

		if (!v->looked) {
			snprintf(text, size, "%.150s: the configuration there was not read yet", v->path);
			return true;
		}
		for (unsigned n = 0; n < BLOCK_NODES; n++)
			if (v->key_id[n] == id && c->chosen.conf.members >> n & 1) {
				snprintf(text, size, "%.150s: the configuration block of %s is signed "
					 "with it; remove that node from the configuration if it does "
					 "not come back", v->path, daemon_node(d, n + 1, "a node"));
				return true;
			}
	}
	return false;
}

void config_look(struct daemon *d)
{
	struct chosen_event ev = {.type = CHOSEN_EV_LOOK};

	if (d->config && d->config->started)
		step(d->config, &ev);
}

/* ---- what people ask ------------------------------------------------------------------------- */

json_t *config_json(const struct daemon *d)
{
	const struct config *c = d->config;
	const struct block_value *v = &c->chosen.mine.committed;
	char hash[65];

	hex(hash, v->hash);
	return json_pack("{s:I, s:I, s:s, s:s, s:I, s:i, s:b, s:s, s:b, s:s, s:I, s:I}", "version",
			 (json_int_t)v->version, "running", (json_int_t)c->running.version, "hash",
			 v->version ? hash : "", "file", d->conf_name, "made_ns",
			 (json_int_t)v->made_ns, "author", (int)v->author, "waits_for_restart",
			 c->pending, "why", c->why, "file_differs", c->file_differs, "phase",
			 chosen_phase_name(c->chosen.phase), "conflicts",
			 (json_int_t)c->chosen.conflicts, "devices_read",
			 (json_int_t)chosen_devices_known(&c->chosen));
}

static void show(struct config *c, uint32_t id)
{
	json_t *o = config_json(c->d);
	const struct text *t = &c->committed;

	if (c->chosen.mine.committed.version == 0) {
		json_decref(o);
		ctl_refuse(c->d->ctl, id, "no-version", "no configuration is committed yet",
			   "a majority of the coordination devices must be readable: holdfast status");
		return;
	}
	json_object_set_new(o, "text", json_stringn(t->bytes, t->len));
	ctl_reply(c->d->ctl, id, o);
}

struct list_of {
	json_t *array;
	char first[512];
	enum conf_effect worst;
};

static void list_change(void *arg, const struct conf_change *ch)
{
	struct list_of *l = arg;

	if (ch->effect > l->worst) {
		l->worst = ch->effect;
		snprintf(l->first, sizeof(l->first), "%s: %s", ch->where, ch->why ? ch->why : "");
	}
	if (json_array_size(l->array) < LIST_MAX)
		json_array_append_new(l->array,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "where", ch->where,
						"from", ch->from, "to", ch->to, "effect",
						conf_effect_name(ch->effect), "why",
						ch->why ? ch->why : ""));
}

/* NULL, or why this node could not run with it; `online`: could not take it now. */
static const char *unfit(struct config *c, const struct conf *next, bool online)
{
	static char text[NODE_TEXT_MAX];
	struct node_conf *nc = mem_zalloc(1, sizeof(*nc));
	struct conf *copy = mem_zalloc(1, sizeof(*copy));
	int me = conf_find_node(next, c->d->conf->node[c->d->self].name);
	const char *bad = NULL;

	*copy = *next;
	if (me < 0)
		bad = online ? "a node cannot remove itself: apply it on another" : NULL;
	else if (online && conf_arrange(copy, c->d->conf))
		bad = "there were too many units or vservers since the start of holdfastd";
	else
		bad = brain_conf_of(copy, (unsigned)me, 0, nc);
	if (!bad && online)
		bad = node_removal_check(c->d->node, nc, text);
	if (!bad && online)
		bad = brain_parts_check(c->d, copy);
	if (!bad && online)
		bad = node_reconfigure_check(c->d->node, nc);
	free(copy);
	free(nc);
	return bad;
}

static bool may_apply(struct config *c, uint32_t id, json_t *request, struct conf *next,
		      struct list_of *l)
{
	struct ctl *ctl = c->d->ctl;
	const struct block_value *v = &c->chosen.mine.committed;
	json_int_t base = json_integer_value(json_object_get(request, "base"));
	const char *text = json_string_value(json_object_get(request, "text")), *bad;
	struct conf *now = mem_zalloc(1, sizeof(*now));
	char err[512] = "";

	l->array = json_array();
	if (v->version == 0 || conf_parse(now, c->committed.bytes, c->committed.len, "configuration",
					  err, sizeof(err)))
		memcpy(now, c->d->conf, sizeof(*now));
	if (!text || strlen(text) > BLOCK_TEXT_MAX)
		ctl_refuse(ctl, id, "usage", "a text of at most 65536 bytes is wanted", "");
	else if (conf_parse(next, text, strlen(text), "FILE", err, sizeof(err)))
		ctl_refuse(ctl, id, "config-invalid", err, "");
	else if ((bad = unfit(c, next, false)))
		ctl_refuse(ctl, id, "config-invalid", bad, "");
	else if (v->version == 0)
		ctl_refuse(ctl, id, "no-version", "no configuration is committed yet",
			   "a majority of the coordination devices must be readable: holdfast status");
	else if (base && base != (json_int_t)v->version)
		ctl_refuse(ctl, id, "config-changed", "the version changed meanwhile",
			   "holdfast config diff FILE against the new version, then apply again");
	else if (conf_diff(now, next, list_change, l) == CONF_NEVER)
		ctl_refuse(ctl, id, "config-never", l->first, "");
	else if (l->worst == CONF_RESTART && !json_is_true(json_object_get(request, "restart")) &&
		 !json_is_true(json_object_get(request, "dry_run")))
		ctl_refuse(ctl, id, "needs-restart", l->first,
			   "--restart commits it; each node takes it when its holdfastd restarts");
	else if (c->pending && l->worst == CONF_ONLINE)
		ctl_refuse(ctl, id, "needs-restart", c->why,
			   "restart holdfastd on every node: an earlier version waits for that");
	else if (l->worst == CONF_ONLINE && (bad = unfit(c, next, true)))
		ctl_refuse(ctl, id, "not-now", bad, "");
	else {
		free(now);
		return true;
	}
	free(now);
	json_decref(l->array);
	return false;
}

static void apply(struct config *c, uint32_t id, json_t *request)
{
	struct conf *next = mem_zalloc(1, sizeof(*next));
	const char *text = json_string_value(json_object_get(request, "text"));
	bool dry_run = json_is_true(json_object_get(request, "dry_run"));
	struct list_of l = {.array = NULL};

	if (!may_apply(c, id, request, next, &l)) {
		free(next);
		return;
	}
	free(next);
	if (dry_run || l.worst == 0) {
		ctl_reply(c->d->ctl, id,
			  json_pack("{s:I, s:b, s:o}", "version",
				    (json_int_t)c->chosen.mine.committed.version, "same",
				    l.worst == 0, "changes", l.array));
		return;
	}
	json_decref(l.array);
	if (c->ask_id || c->chosen.proposing) {
		ctl_refuse(c->d->ctl, id, "busy", "another change is under way on this node",
			   "apply again");
		return;
	}
	c->ask_id = id;
	c->ask_chosen = false;
	c->ask_restart = l.worst == CONF_RESTART;
	propose(c, id, text, strlen(text));
}

bool config_request(struct daemon *d, uint32_t id, const char *verb, json_t *request)
{
	struct config *c = d->config;

	if (strcmp(verb, "config-show") == 0)
		show(c, id);
	else if (strcmp(verb, "config-apply") == 0)
		apply(c, id, request);
	else
		return false;
	return true;
}
