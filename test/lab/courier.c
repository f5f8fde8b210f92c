/* courier.c - carries bulk data into an export while the cluster does something, and proves it arrived.
 *
 *	courier -a ADDRESS -p NFS_PORT [-m MOUNT_PORT] -e EXPORT [-n NAME] [-b MIB] [-u FILE] [-o FILE]
 *	        [-t SECONDS]
 *
 * LANES connections write one file in segments of 1 MiB, each lane its own part: one segment
 * FILE_SYNC, the next UNSTABLE and then COMMIT.  Segments whose verifier changed may rightly be lost and
 * are written again; all others are promised.  Round after round, each with other random bytes, until
 * every segment was written and FILE (-u) exists: whatever makes that file happened while writes were
 * under way.  Then all is read back and compared.  `-o` leaves what must be there in a local file.
 *
 * Ordinary copying tools are of no use where a worker may die: nfs-cp writes UNSTABLE, sends one COMMIT
 * and never looks at the verifiers, so what it says it copied may be missing with nobody to blame. */
#include "nfsclient.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENT ((size_t)1 << 20)
#define PIECE   ((size_t)1 << 16)
#define LANES   4
#define MIB_MAX 256

static struct {
	struct nfc_where where;
	const char *name, *until, *out;
	unsigned long segments;
} opt = {.name = "data", .segments = 32, .where.seconds = 60};

struct lane {
	struct nfc c;
	pthread_t thread;
	unsigned index;
	uint64_t rounds, stable, committed, again;
	int failed; /* a status that nothing excuses */
};

static struct nfc_fh file;
static uint32_t stamp[MIB_MAX]; /* the round whose bytes each segment has */
static uint64_t seed;
static atomic_bool stop;

static void fill(uint8_t *to, unsigned segment, size_t at, uint32_t round)
{
	uint64_t s = seed ^ (uint64_t)segment << 40 ^ (uint64_t)at << 4 ^ round;

	for (size_t i = 0; i < PIECE; i += 8) {
		uint64_t v = nfc_random(&s);

		memcpy(to + i, &v, 8);
	}
}

/* 0: promised; 1: the verifier changed on the way; else what went wrong. */
static int write_once(struct lane *l, unsigned segment, uint32_t round, bool stable)
{
	uint8_t data[PIECE];
	uint64_t v = 0, first = 0;
	bool same = true;
	int st;

	for (size_t at = 0; at < SEGMENT; at += PIECE) {
		fill(data, segment, at, round);
		st = nfc_write(&l->c, &file, segment * SEGMENT + at, data, PIECE, stable, &v);
		if (st)
			return st < 0 ? st : -10000 - st;
		if (at == 0)
			first = v;
		same &= v == first;
	}
	if (stable)
		return 0;
	st = nfc_commit(&l->c, &file, &v);
	if (st)
		return st < 0 ? st : -10000 - st;
	return same && v == first ? 0 : 1;
}

static bool write_segment(struct lane *l, unsigned segment, uint32_t round)
{
	bool stable = (segment / LANES + round) % 2 == 0;
	int rc;

	for (;;) {
		rc = write_once(l, segment, round, stable);
		if (rc != 1)
			break;
		l->again++;
	}
	if (rc) {
		l->failed = rc;
		printf("courier: segment %u of round %u: status %d\n", segment, round, rc);
		return false;
	}
	stamp[segment] = round;
	*(stable ? &l->stable : &l->committed) += 1;
	return true;
}

static void *lane_thread(void *arg)
{
	struct lane *l = arg;

	for (uint32_t round = 1; round == 1 || !stop; round++)
		for (unsigned s = l->index; s < opt.segments && (round == 1 || !stop); s += LANES)
			if (!write_segment(l, s, round))
				return NULL;
	return NULL;
}

/* The file as it is against what was promised; the expected bytes to `out`, if any. */
static bool verify(struct nfc *c, FILE *out)
{
	uint8_t want[PIECE], got[PIECE];
	uint32_t n = 0;

	for (unsigned s = 0; s < opt.segments; s++)
		for (size_t at = 0; at < SEGMENT; at += PIECE) {
			int st = nfc_read(c, &file, s * SEGMENT + at, got, PIECE, &n);

			fill(want, s, at, stamp[s]);
			if (st || n != PIECE || memcmp(want, got, PIECE) != 0) {
				printf("courier: LOST: at %zu (round %u): status %d, %u bytes%s\n",
				       s * SEGMENT + at, stamp[s], st, n,
				       st == 0 && n == PIECE ? ", others than acknowledged" : "");
				return false;
			}
			if (out && fwrite(want, PIECE, 1, out) != 1)
				return false;
		}
	return true;
}

static int prepare(struct nfc *c)
{
	struct nfc_fh root;
	int st = nfc_mount(c, opt.where.mount_port, opt.where.export, &root);

	if (st == 0)
		st = nfc_create(c, &root, opt.name, NFC_UNCHECKED, 0, &file);
	if (st)
		printf("courier: mounting %s or making %s: status %d\n", opt.where.export, opt.name, st);
	return st;
}

static bool option(int o)
{
	switch (o) {
	case 'n':
		opt.name = optarg;
		return true;
	case 'b':
		return nfc_number(optarg, 1, MIB_MAX, &opt.segments);
	case 'u':
		opt.until = optarg;
		return true;
	case 'o':
		opt.out = optarg;
		return true;
	default:
		return nfc_where(&opt.where, o, optarg) == 1;
	}
}

static bool options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, NFC_WHERE "n:b:u:o:")) != -1)
		if (!option(o))
			return false;
	return optind == argc && nfc_where_done(&opt.where);
}

static int carry(struct lane *lane, uint64_t give_up_ns)
{
	uint64_t stable = 0, committed = 0, again = 0, resent = 0;
	int failed = 0;

	for (unsigned i = 0; i < LANES; i++) {
		lane[i].index = i;
		nfc_init(&lane[i].c, &opt.where.server, false, seed + 1 + i);
		lane[i].c.give_up_ns = give_up_ns;
		pthread_create(&lane[i].thread, NULL, lane_thread, &lane[i]);
	}
	printf("courier: writing\n");
	fflush(stdout);
	while (opt.until && access(opt.until, F_OK) != 0 && nfc_now_ns() < give_up_ns)
		usleep(20000);
	stop = true;
	for (unsigned i = 0; i < LANES; i++) {
		pthread_join(lane[i].thread, NULL);
		nfc_fini(&lane[i].c);
		stable += lane[i].stable;
		committed += lane[i].committed;
		again += lane[i].again;
		resent += lane[i].c.resent;
		failed |= lane[i].failed;
	}
	printf("courier: %llu segments stable, %llu committed, %llu again after another verifier, %llu "
	       "calls resent\n",
	       (unsigned long long)stable, (unsigned long long)committed, (unsigned long long)again,
	       (unsigned long long)resent);
	return failed;
}

int main(int argc, char **argv)
{
	static struct lane lane[LANES];
	static struct nfc c;
	uint64_t give_up_ns;
	FILE *out = NULL;
	bool ok;

	if (!options(argc, argv)) {
		fprintf(stderr, "usage: courier -a ADDRESS -p NFS_PORT [-m MOUNT_PORT] -e EXPORT "
				"[-n NAME] [-b MIB] [-u FILE] [-o FILE] [-t SECONDS]\n");
		return 2;
	}
	seed = nfc_now_ns() ^ (uint64_t)getpid() << 32;
	give_up_ns = nfc_now_ns() + opt.where.seconds * 1000000000ULL;
	nfc_init(&c, &opt.where.server, false, seed);
	c.give_up_ns = give_up_ns;
	if (prepare(&c) || carry(lane, give_up_ns))
		return 1;
	if (opt.out && !(out = fopen(opt.out, "w")))
		return 1;
	ok = verify(&c, out);
	if (out && fclose(out))
		ok = false;
	nfc_fini(&c);
	if (ok)
		printf("courier: carried %lu MiB, all of it is there\n", opt.segments);
	return ok ? 0 : 1;
}
