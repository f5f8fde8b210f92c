/* status.c - encode and decode the status message.
 *
 * Decoding trusts nothing: lengths are checked against the bytes that are there, counts against
 * our capacities, enumerations against their ranges; the result is then safe to index with. */
#include "codec/status.h"

#include <errno.h>

#include "base/assert.h"
#include "base/buf.h"

#define MAGIC        0x48465331U /* "HFS1" */
#define MUST_KNOW    0x8000U
#define PEER_BYTES   20
#define VS_BYTES     18
#define REQ_BYTES    12
#define ANSWER_BYTES 8
#define MEMORY_BYTES 18
#define KEY_BYTES    10
#define NOTE_BYTES   6

enum section { SEC_PEERS = 1, SEC_VS, SEC_REQUEST, SEC_ANSWER, SEC_MEMORY, SEC_KEYS, SEC_NOTES, SEC_COUNT };

_Static_assert(STATUS_HEAD + 7 * 4 + STATUS_NODES_MAX * (PEER_BYTES + MEMORY_BYTES) +
		       STATUS_KEYS_MAX * KEY_BYTES + STATUS_VS_MAX * (VS_BYTES + STATUS_FS_MAX) +
		       STATUS_NOTES_MAX * (NOTE_BYTES + STATUS_NOTE_MAX) + REQ_BYTES +
		       ANSWER_BYTES <=
		   STATUS_MAX,
	       "a full message fits a coordination slot");

static void put_head(struct wr *w, const struct status_msg *m)
{
	wr_u32(w, MAGIC);
	wr_u8(w, m->version);
	wr_u8(w, m->version_max);
	wr_u16(w, m->sender);
	wr_u8(w, m->indicator);
	wr_u8(w, m->state);
	wr_u8(w, m->role);
	wr_u8(w, m->master);
	wr_u16(w, m->flags);
	wr_u8(w, m->inhibit);
	wr_u8(w, m->bar_node);
	wr_u64(w, m->generation);
	wr_u64(w, m->sequence);
	wr_u64(w, m->sent_ns);
	wr_u64(w, m->features);
	wr_u64(w, m->config_hash);
	wr_u64(w, m->config_version);
	wr_u16(w, m->cpu_permille);
	wr_u16(w, m->worker_count);
	wr_u32(w, m->iops);
	wr_u8(w, m->prior_state);
	wr_u8(w, m->path_count);
	wr_u16(w, 0); /* total length, at the end */
	wr_bytes(w, m->port_quality, STATUS_PATHS_MAX);
	wr_zero(w, 16);
}

static void put_peers(struct wr *w, const struct status_msg *m)
{
	wr_u16(w, SEC_PEERS);
	wr_u16(w, (uint16_t)(m->peer_count * PEER_BYTES));
	for (unsigned i = 0; i < m->peer_count; i++) {
		wr_u16(w, m->peer[i].node);
		wr_u8(w, m->peer[i].verdict);
		wr_u8(w, m->peer[i].takeover);
		wr_u64(w, m->peer[i].generation);
		wr_u64(w, m->peer[i].acked);
	}
}

static void put_vs(struct wr *w, const struct status_msg *m)
{
	unsigned bytes = 0;

	for (unsigned i = 0; i < m->vs_count; i++) {
		hf_assert(m->vs[i].fs_count <= STATUS_FS_MAX);
		bytes += VS_BYTES + m->vs[i].fs_count;
	}
	wr_u16(w, SEC_VS);
	wr_u16(w, (uint16_t)bytes);
	for (unsigned i = 0; i < m->vs_count; i++) {
		const struct status_vs *v = &m->vs[i];

		wr_u32(w, v->id);
		wr_u8(w, v->state);
		wr_u8(w, v->flags);
		wr_u8(w, v->target);
		wr_u8(w, v->reason);
		wr_u64(w, v->epoch);
		wr_u8(w, v->owner);
		wr_u8(w, v->fs_count);
		wr_bytes(w, v->fs_state, v->fs_count);
	}
}

static void put_request(struct wr *w, const struct status_request *q)
{
	wr_u16(w, SEC_REQUEST);
	wr_u16(w, REQ_BYTES);
	wr_u8(w, q->type);
	wr_u8(w, q->to);
	wr_u8(w, q->target);
	wr_u8(w, q->flags);
	wr_u32(w, q->vs);
	wr_u32(w, q->id);
}

static void put_answer(struct wr *w, const struct status_answer *a)
{
	wr_u16(w, SEC_ANSWER);
	wr_u16(w, ANSWER_BYTES);
	wr_u8(w, a->to);
	wr_u8(w, a->result);
	wr_u8(w, a->reason);
	wr_u8(w, 0);
	wr_u32(w, a->id);
}

static void put_memory(struct wr *w, const struct status_msg *m)
{
	wr_u16(w, SEC_MEMORY);
	wr_u16(w, (uint16_t)(m->memory_count * MEMORY_BYTES));
	for (unsigned i = 0; i < m->memory_count; i++) {
		wr_u16(w, m->memory[i].node);
		wr_u64(w, m->memory[i].generation);
		wr_u64(w, m->memory[i].sequence);
	}
}

static void put_keys(struct wr *w, const struct status_msg *m)
{
	wr_u16(w, SEC_KEYS);
	wr_u16(w, (uint16_t)(m->key_count * KEY_BYTES));
	for (unsigned i = 0; i < m->key_count; i++) {
		wr_u8(w, m->key[i].id);
		wr_u8(w, m->key[i].flags);
		wr_u64(w, m->key[i].print);
	}
}

static void put_notes(struct wr *w, const struct status_msg *m)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < m->note_count; i++)
		bytes += NOTE_BYTES + strlen(m->note[i].text);
	wr_u16(w, SEC_NOTES);
	wr_u16(w, (uint16_t)bytes);
	for (unsigned i = 0; i < m->note_count; i++) {
		size_t len = strlen(m->note[i].text);

		wr_u8(w, m->note[i].scope);
		wr_u8(w, (uint8_t)len);
		wr_u32(w, m->note[i].vs);
		wr_bytes(w, m->note[i].text, len);
	}
}

size_t status_encode(const struct status_msg *m, uint8_t *out, size_t size)
{
	struct wr w;
	size_t len;

	hf_assert(m->peer_count <= STATUS_NODES_MAX && m->vs_count <= STATUS_VS_MAX);
	hf_assert(m->memory_count <= STATUS_NODES_MAX && m->key_count <= STATUS_KEYS_MAX);
	hf_assert(m->note_count <= STATUS_NOTES_MAX);
	wr_init(&w, out, size);
	put_head(&w, m);
	if (m->peer_count)
		put_peers(&w, m);
	if (m->vs_count)
		put_vs(&w, m);
	if (m->request.type != STATUS_REQ_NONE)
		put_request(&w, &m->request);
	if (m->answer.result)
		put_answer(&w, &m->answer);
	if (m->memory_count)
		put_memory(&w, m);
	if (m->key_count)
		put_keys(&w, m);
	if (m->note_count)
		put_notes(&w, m);
#ifdef HF_PROTOCOL_NEXT
	if (m->version >= 2)
		wr_u64(&w, m->next);
#endif
	len = wr_len(&w);
	if (!wr_ok(&w))
		return 0;
	out[74] = (uint8_t)(len >> 8);
	out[75] = (uint8_t)len;
	return len;
}

static uint16_t get_head(struct rd *r, struct status_msg *m)
{
	uint16_t total;

	m->sender = rd_u16(r);
	m->indicator = rd_u8(r);
	m->state = rd_u8(r);
	m->role = rd_u8(r);
	m->master = rd_u8(r);
	m->flags = rd_u16(r);
	m->inhibit = rd_u8(r);
	m->bar_node = rd_u8(r);
	m->generation = rd_u64(r);
	m->sequence = rd_u64(r);
	m->sent_ns = rd_u64(r);
	m->features = rd_u64(r);
	m->config_hash = rd_u64(r);
	m->config_version = rd_u64(r);
	m->cpu_permille = rd_u16(r);
	m->worker_count = rd_u16(r);
	m->iops = rd_u32(r);
	m->prior_state = rd_u8(r);
	m->path_count = rd_u8(r);
	total = rd_u16(r);
	rd_copy(r, m->port_quality, STATUS_PATHS_MAX);
	rd_bytes(r, 16);
	return total;
}

static bool head_in_range(const struct status_msg *m)
{
	return m->sender >= 1 && m->sender <= STATUS_NODES_MAX && m->indicator >= STATUS_NORMAL &&
	       m->indicator <= STATUS_STOPPED && m->state >= 1 && m->state <= 4 &&
	       m->role >= STATUS_ROLE_NONE && m->role <= STATUS_ROLE_SLAVE &&
	       m->master <= STATUS_NODES_MAX && m->bar_node <= STATUS_NODES_MAX &&
	       m->path_count <= STATUS_PATHS_MAX && m->prior_state <= 4 && m->generation > 0;
}

static void get_peers(struct rd *r, struct status_msg *m)
{
	size_t count = rd_left(r) / PEER_BYTES;

	if (count > STATUS_NODES_MAX || count * PEER_BYTES != rd_left(r)) {
		r->bad = true;
		return;
	}
	m->peer_count = (uint8_t)count;
	for (unsigned i = 0; i < count; i++) {
		struct status_peer *p = &m->peer[i];

		p->node = rd_u16(r);
		p->verdict = rd_u8(r);
		p->takeover = rd_u8(r);
		p->generation = rd_u64(r);
		p->acked = rd_u64(r);
		if (p->node < 1 || p->node > STATUS_NODES_MAX || p->verdict < STATUS_V_UNKNOWN ||
		    p->verdict > STATUS_V_LEAVING)
			r->bad = true;
	}
}

static void get_one_vs(struct rd *r, struct status_vs *v)
{
	v->id = rd_u32(r);
	v->state = rd_u8(r);
	v->flags = rd_u8(r);
	v->target = rd_u8(r);
	v->reason = rd_u8(r);
	v->epoch = rd_u64(r);
	v->owner = rd_u8(r);
	v->fs_count = rd_u8(r);
	if (v->fs_count > STATUS_FS_MAX || v->target > STATUS_NODES_MAX ||
	    v->owner > STATUS_NODES_MAX || v->state < 1) {
		r->bad = true;
		return;
	}
	rd_copy(r, v->fs_state, v->fs_count);
}

static void get_vs(struct rd *r, struct status_msg *m)
{
	while (rd_ok(r) && rd_left(r) > 0) {
		if (m->vs_count == STATUS_VS_MAX) {
			r->bad = true;
			return;
		}
		get_one_vs(r, &m->vs[m->vs_count++]);
	}
}

static void get_request(struct rd *r, struct status_request *q)
{
	q->type = rd_u8(r);
	q->to = rd_u8(r);
	q->target = rd_u8(r);
	q->flags = rd_u8(r);
	q->vs = rd_u32(r);
	q->id = rd_u32(r);
	if (q->to > STATUS_NODES_MAX || q->target > STATUS_NODES_MAX)
		r->bad = true;
}

static void get_answer(struct rd *r, struct status_answer *a)
{
	a->to = rd_u8(r);
	a->result = rd_u8(r);
	a->reason = rd_u8(r);
	rd_u8(r);
	a->id = rd_u32(r);
	if (a->to > STATUS_NODES_MAX)
		r->bad = true;
}

static void get_memory(struct rd *r, struct status_msg *m)
{
	size_t count = rd_left(r) / MEMORY_BYTES;

	if (count > STATUS_NODES_MAX || count * MEMORY_BYTES != rd_left(r)) {
		r->bad = true;
		return;
	}
	m->memory_count = (uint8_t)count;
	for (unsigned i = 0; i < count; i++) {
		m->memory[i].node = rd_u16(r);
		m->memory[i].generation = rd_u64(r);
		m->memory[i].sequence = rd_u64(r);
		if (m->memory[i].node < 1 || m->memory[i].node > STATUS_NODES_MAX)
			r->bad = true;
	}
}

static void get_keys(struct rd *r, struct status_msg *m)
{
	size_t count = rd_left(r) / KEY_BYTES;

	if (count > STATUS_KEYS_MAX || count * KEY_BYTES != rd_left(r)) {
		r->bad = true;
		return;
	}
	m->key_count = (uint8_t)count;
	for (unsigned i = 0; i < count; i++) {
		m->key[i].id = rd_u8(r);
		m->key[i].flags = rd_u8(r);
		m->key[i].print = rd_u64(r);
	}
}

/* Length of the character at s, 0: none that people should be shown. */
static size_t utf8_len(const uint8_t *s, size_t left)
{
	uint32_t c = s[0], least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f are controls */
	size_t len = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;

	if (len == 0 || len > left)
		return 0;
	if (len == 1)
		return c >= 0x20 && c != 0x7f;
	c &= 0x7fU >> len;
	for (size_t i = 1; i < len; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c >= least[len] && c <= 0x10ffff && c >> 11 != 0x1b ? len : 0;
}

bool status_note_ok(const char *text, size_t len)
{
	size_t n;

	if (len == 0 || len > STATUS_NOTE_MAX)
		return false;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_len((const uint8_t *)text + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

static void get_one_note(struct rd *r, struct status_note *o)
{
	const uint8_t *text;
	size_t len;

	o->scope = rd_u8(r);
	len = rd_u8(r);
	o->vs = rd_u32(r);
	text = rd_bytes(r, len);
	if (!text || !status_note_ok((const char *)text, len)) {
		r->bad = true;
		return;
	}
	memcpy(o->text, text, len);
}

static void get_notes(struct rd *r, struct status_msg *m)
{
	while (rd_ok(r) && rd_left(r) > 0) {
		if (m->note_count == STATUS_NOTES_MAX) {
			r->bad = true;
			return;
		}
		get_one_note(r, &m->note[m->note_count++]);
	}
}

/* One section; `seen` has a bit for each type that came already. */
static int get_section(struct rd *r, struct status_msg *m, unsigned *seen)
{
	uint16_t type = rd_u16(r), len = rd_u16(r);
	const uint8_t *body = rd_bytes(r, len);
	struct rd s;

	if (!body)
		return -EBADMSG;
	if (type == 0 || type >= SEC_COUNT)
		return type & MUST_KNOW ? -EPROTO : 0;
	if (*seen & 1U << type)
		return -EBADMSG;
	*seen |= 1U << type;
	rd_init(&s, body, len);
	switch ((enum section)type) {
	case SEC_PEERS:
		get_peers(&s, m);
		break;
	case SEC_VS:
		get_vs(&s, m);
		break;
	case SEC_REQUEST:
		get_request(&s, &m->request);
		break;
	case SEC_ANSWER:
		get_answer(&s, &m->answer);
		break;
	case SEC_MEMORY:
		get_memory(&s, m);
		break;
	case SEC_KEYS:
		get_keys(&s, m);
		break;
	case SEC_NOTES:
		get_notes(&s, m);
		break;
	case SEC_COUNT:
		return -EBADMSG;
	}
	return rd_done(&s) ? 0 : -EBADMSG;
}

int status_peek(struct status_peek *p, const uint8_t *in, size_t len)
{
	struct rd r;

	rd_init(&r, in, len);
	if (rd_u32(&r) != MAGIC)
		return -EBADMSG;
	p->version = rd_u8(&r);
	p->version_max = rd_u8(&r);
	p->sender = rd_u16(&r);
	rd_bytes(&r, 8);
	p->generation = rd_u64(&r);
	p->sequence = rd_u64(&r);
	return rd_ok(&r) ? 0 : -EBADMSG;
}

int status_decode(struct status_msg *m, const uint8_t *in, size_t len)
{
	unsigned seen = 0;
	uint16_t total;
	struct rd r;
	int err;

	memset(m, 0, sizeof(*m));
	rd_init(&r, in, len);
	if (rd_u32(&r) != MAGIC)
		return -EBADMSG;
	m->version = rd_u8(&r);
	m->version_max = rd_u8(&r);
	if (rd_ok(&r) && (m->version < STATUS_VERSION_MIN || m->version > STATUS_VERSION))
		return -EPROTO;
	total = get_head(&r, m);
	if (!rd_ok(&r) || total != len || !head_in_range(m))
		return -EBADMSG;
#ifdef HF_PROTOCOL_NEXT
	if (m->version >= 2) {
		struct rd tail;

		if (rd_left(&r) < 8)
			return -EBADMSG;
		rd_init(&tail, in + len - 8, 8);
		m->next = rd_u64(&tail);
		rd_init(&r, in + STATUS_HEAD, len - STATUS_HEAD - 8);
	}
#endif
	while (rd_left(&r) > 0) {
		err = get_section(&r, m, &seen);
		if (err)
			return err;
	}
	return 0;
}

const char *status_indicator_name(unsigned v)
{
	static const char *const name[] = {"?",       "NORMAL",    "TAKEOVER", "NO-TAKEOVER",
					   "DISABLE", "REBOOTING", "STOPPED"};

	return v <= STATUS_STOPPED ? name[v] : name[0];
}

const char *status_verdict_name(unsigned v)
{
	static const char *const name[] = {"?",      "unknown", "alive",  "unreachable",
					   "silent", "dead",    "leaving"};

	return v <= STATUS_V_LEAVING ? name[v] : name[0];
}

const char *status_role_name(unsigned v)
{
	static const char *const name[] = {"?", "none", "master", "slave"};

	return v <= STATUS_ROLE_SLAVE ? name[v] : name[0];
}
