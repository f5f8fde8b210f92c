/* t_codec_worker.c - the messages between holdfastd and holdfast-vs. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "codec/worker.h"

static uint8_t packet[WORKER_MSG_MAX];
static struct worker_msg in, back;

static size_t encode(enum worker_type type)
{
	memset(&in, 0, sizeof(in));
	in.type = type;
	in.epoch = 0x1122334455667788ULL;
	in.role_count = type == WORKER_OPEN ? 3 : 0;
	in.lock_count = type == WORKER_TAKE ? 2 : 0;
	in.closed = type == WORKER_TAKE ? 5 : 0;
	in.role[2] = WORKER_ROLE_PMAP_UDP;
	in.recovered_records = 10;
	in.recovery_ns = 20;
	in.write_verifier = 30;
	in.was_clean = true;
	in.conn_count = type == WORKER_READY ? 2 : 0;
	in.conn[1].remote[15] = 7;
	in.conn[1].remote_port = 999;
	in.at_ns = 40;
	in.text = "why";
	in.text_len = 3;
	return worker_encode(&in, packet, sizeof(packet));
}

static const enum worker_type types[] = {WORKER_OPEN,        WORKER_DRAIN,   WORKER_STATS,
					 WORKER_CHECKPOINT,  WORKER_READY,   WORKER_SERVING,
					 WORKER_FIRST_REPLY, WORKER_DRAINED, WORKER_STATS_REPLY,
					 WORKER_FAILED,      WORKER_DAMAGE,  WORKER_TAKE,
					 WORKER_SPARE};

static void t_round_trip(void)
{
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t len = encode(types[i]);

		CHECK(len >= 16);
		CHECK_EQ(0, worker_decode(&back, packet, len));
		CHECK_EQ(types[i], back.type);
		CHECK(back.epoch == in.epoch);
		CHECK_EQ(in.role_count, back.role_count);
		CHECK_EQ(in.lock_count, back.lock_count);
		CHECK_EQ(in.closed, back.closed);
		CHECK_EQ(in.conn_count, back.conn_count);
	}
	encode(WORKER_READY);
	CHECK_EQ(0, worker_decode(&back, packet, encode(WORKER_READY)));
	CHECK(memcmp(back.conn, in.conn, 2 * sizeof(in.conn[0])) == 0);
	CHECK_EQ(30, (long long)back.write_verifier);
	CHECK(back.was_clean);
	CHECK_EQ(0, worker_decode(&back, packet, encode(WORKER_FAILED)));
	CHECK_EQ(3, (long long)back.text_len);
	CHECK(memcmp(back.text, "why", 3) == 0);
	CHECK_EQ(0, worker_decode(&back, packet, encode(WORKER_FIRST_REPLY)));
	CHECK_EQ(40, (long long)back.at_ns);
}

/* Another node is asked at once only when the storage is to blame; what says neither is the worker's. */
static void t_whose_failure(void)
{
	size_t len = encode(WORKER_FAILED);

	CHECK_EQ(0, worker_decode(&back, packet, len));
	CHECK_EQ(WORKER_FAIL_ITSELF, back.failure);
	in.failure = WORKER_FAIL_STORAGE;
	CHECK_EQ(len, worker_encode(&in, packet, sizeof(packet)));
	CHECK_EQ(1, packet[7]);
	CHECK_EQ(0, worker_decode(&back, packet, len));
	CHECK_EQ(WORKER_FAIL_STORAGE, back.failure);
	CHECK(back.text_len == 3 && memcmp(back.text, "why", 3) == 0);
	packet[7] = 77;
	CHECK_EQ(0, worker_decode(&back, packet, len));
	CHECK_EQ(WORKER_FAIL_ITSELF, back.failure);
	in.type = WORKER_DAMAGE; /* bytes that are no other message's stay zero */
	CHECK(worker_encode(&in, packet, sizeof(packet)) > 0 && packet[6] == 0 && packet[7] == 0);
}

static void t_damaged(void)
{
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t len = encode(types[i]);
		bool text = types[i] == WORKER_STATS_REPLY || types[i] == WORKER_FAILED ||
			    types[i] == WORKER_DAMAGE;

		for (size_t cut = 0; cut < (text ? 16 : len); cut++)
			CHECK(worker_decode(&back, packet, cut) != 0);
		for (size_t bit = 0; bit < len * 8; bit++) {
			packet[bit / 8] ^= (uint8_t)(1U << bit % 8);
			if (worker_decode(&back, packet, len) == 0)
				CHECK(back.conn_count <= WORKER_CONNS_MAX &&
				      back.role_count <= WORKER_FDS_MAX &&
				      back.lock_count <= WORKER_FDS_MAX);
			packet[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
		packet[len] = 0;
		CHECK(text || worker_decode(&back, packet, len + 1) != 0);
	}
	encode(WORKER_DRAIN);
	packet[5] = 99;
	CHECK_EQ(-EPROTO, worker_decode(&back, packet, 16));
}

static void t_too_small(void)
{
	encode(WORKER_READY);
	CHECK_EQ(0, (long long)worker_encode(&in, packet, 40));
}

int main(void)
{
	CASE(t_round_trip);
	CASE(t_whose_failure);
	CASE(t_damaged);
	CASE(t_too_small);
	return check_end();
}
