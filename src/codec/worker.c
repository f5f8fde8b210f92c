/* worker.c - encode and decode the messages between holdfastd and holdfast-vs. */
#include "codec/worker.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

#define MAGIC 0x48465731U /* "HFW1" */

static void put_ready(struct wr *w, const struct worker_msg *m)
{
	wr_u64(w, m->recovered_records);
	wr_u64(w, m->recovery_ns);
	wr_u64(w, m->write_verifier);
	wr_u8(w, m->was_clean);
	wr_u16(w, (uint16_t)m->conn_count);
	for (unsigned i = 0; i < m->conn_count; i++) {
		wr_bytes(w, m->conn[i].remote, 16);
		wr_bytes(w, m->conn[i].local, 16);
		wr_u16(w, m->conn[i].remote_port);
		wr_u16(w, m->conn[i].local_port);
	}
}

static void get_ready(struct rd *r, struct worker_msg *m)
{
	m->recovered_records = rd_u64(r);
	m->recovery_ns = rd_u64(r);
	m->write_verifier = rd_u64(r);
	m->was_clean = rd_u8(r) != 0;
	m->conn_count = rd_u16(r);
	if (m->conn_count > WORKER_CONNS_MAX) {
		r->bad = true;
		return;
	}
	for (unsigned i = 0; i < m->conn_count; i++) {
		rd_copy(r, m->conn[i].remote, 16);
		rd_copy(r, m->conn[i].local, 16);
		m->conn[i].remote_port = rd_u16(r);
		m->conn[i].local_port = rd_u16(r);
	}
}

size_t worker_encode(const struct worker_msg *m, uint8_t *out, size_t size)
{
	struct wr w;

	hf_assert(m->conn_count <= WORKER_CONNS_MAX);
	hf_assert(m->role_count <= WORKER_FDS_MAX && m->lock_count <= WORKER_FDS_MAX);
	wr_init(&w, out, size);
	wr_u32(&w, MAGIC);
	wr_u16(&w, (uint16_t)m->type);
	wr_u16(&w, m->type == WORKER_FAILED ? (uint16_t)m->failure : 0);
	wr_u64(&w, m->epoch);
	switch (m->type) {
	case WORKER_OPEN:
		wr_u8(&w, (uint8_t)m->role_count);
		wr_bytes(&w, m->role, m->role_count);
		break;
	case WORKER_TAKE:
		wr_u8(&w, (uint8_t)m->lock_count);
		wr_u8(&w, m->closed);
		break;
	case WORKER_READY:
		put_ready(&w, m);
		break;
	case WORKER_FIRST_REPLY:
		wr_u64(&w, m->at_ns);
		break;
	case WORKER_STATS_REPLY:
	case WORKER_FAILED:
	case WORKER_DAMAGE:
	case WORKER_FAILING:
		wr_bytes(&w, m->text, m->text_len);
		break;
	case WORKER_DRAIN:
	case WORKER_STATS:
	case WORKER_CHECKPOINT:
	case WORKER_CONFIG:
	case WORKER_SERVING:
	case WORKER_DRAINED:
	case WORKER_SPARE:
		break;
	}
	return wr_ok(&w) ? wr_len(&w) : 0;
}

int worker_decode(struct worker_msg *m, const uint8_t *in, size_t len)
{
	struct rd r;

	memset(m, 0, sizeof(*m));
	rd_init(&r, in, len);
	if (rd_u32(&r) != MAGIC)
		return -EBADMSG;
	m->type = (enum worker_type)rd_u16(&r);
	m->failure = rd_u16(&r) == WORKER_FAIL_STORAGE ? WORKER_FAIL_STORAGE : WORKER_FAIL_ITSELF;
	m->epoch = rd_u64(&r);
	switch (m->type) {
	case WORKER_OPEN:
		m->role_count = rd_u8(&r);
		if (m->role_count > WORKER_FDS_MAX)
			return -EBADMSG;
		rd_copy(&r, m->role, m->role_count);
		break;
	case WORKER_TAKE:
		m->lock_count = rd_u8(&r);
		m->closed = rd_u8(&r);
		if (m->lock_count > WORKER_FDS_MAX)
			return -EBADMSG;
		break;
	case WORKER_READY:
		get_ready(&r, m);
		break;
	case WORKER_FIRST_REPLY:
		m->at_ns = rd_u64(&r);
		break;
	case WORKER_STATS_REPLY:
	case WORKER_FAILED:
	case WORKER_DAMAGE:
	case WORKER_FAILING:
		m->text_len = rd_left(&r);
		m->text = (const char *)rd_bytes(&r, m->text_len);
		break;
	case WORKER_DRAIN:
	case WORKER_STATS:
	case WORKER_CHECKPOINT:
	case WORKER_CONFIG:
	case WORKER_SERVING:
	case WORKER_DRAINED:
	case WORKER_SPARE:
		break;
	default:
		return -EPROTO;
	}
	return rd_done(&r) ? 0 : -EBADMSG;
}
