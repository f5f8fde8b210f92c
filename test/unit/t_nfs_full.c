/* t_nfs_full.c - a store that is full: NOSPC, nothing corrupted, and it can be emptied again. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "lib_nfs.h"

#define WINDOW 256
#define TRIES  400000
#define NOT_THERE 1000000U

static struct nt *t;
static const struct sattr3 plain = {.mode = {true, 0644}};

static void begin_name(uint32_t proc, unsigned number)
{
	char name[64];

	snprintf(name, sizeof(name), "a-name-of-some-length-%08u", number);
	nt_begin(t, NFS_PROGRAM, NFS_V3, proc);
	if (proc == NFSPROC3_CREATE)
		xdr_put_CREATE3args(&t->w, &(struct CREATE3args){
					       {nt_wire(&t->root), nt_text(name)},
					       {.mode = GUARDED, .u.obj_attributes = plain}});
	else
		xdr_put_REMOVE3args(&t->w,
				    &(struct REMOVE3args){{nt_wire(&t->root), nt_text(name)}});
}

static uint32_t status_of(size_t nth)
{
	const struct nt_reply *m = &t->peer->last[nth % NT_QUEUE_MAX];
	struct rd r;

	rd_init(&r, m->msg + 24, m->len - 24);
	return rd_u32(&r);
}

static bool there[TRIES];

/* Sends up to a window of calls for numbers from *first on: CREATE for all, REMOVE for those that
 * are there, or (from NOT_THERE on) for none that is.  An answer may be NOSPC, which a REMOVE too
 * gets for a moment: until a checkpoint has made room.  How many were `want`. */
static unsigned window(uint32_t proc, unsigned *first, unsigned end, uint32_t want, unsigned *full)
{
	size_t before = t->peer->count;
	unsigned hits = 0, sent = 0, number[WINDOW];

	for (; *first < end && sent < WINDOW; ++*first) {
		if (proc == NFSPROC3_REMOVE && *first < TRIES && !there[*first])
			continue;
		number[sent++] = *first;
		begin_name(proc, *first);
		CHECK(nt_send(t));
	}
	CHECK(nt_wait(t, t->peer, before + sent));
	for (unsigned i = 0; i < sent; i++) {
		uint32_t status = status_of(before + i);

		CHECK(status == want || status == NFS3ERR_NOSPC);
		hits += status == want;
		*full += status == NFS3ERR_NOSPC;
		if (status == NFS3_OK)
			there[number[i]] = proc == NFSPROC3_CREATE;
	}
	return hits;
}

static void fill(unsigned *made, unsigned *numbers)
{
	unsigned refused = 0;

	while (*numbers < TRIES && refused < 4 * WINDOW)
		*made += window(NFSPROC3_CREATE, numbers, TRIES, NFS3_OK, &refused);
	CHECK(*made > 1000);
	CHECK(refused >= 4 * WINDOW);
}

static unsigned empty(unsigned made, unsigned numbers)
{
	unsigned gone = 0;

	for (unsigned round = 0; round < 400 && gone < made; round++) {
		unsigned full = 0;

		for (unsigned i = 0; i < numbers && !full;)
			gone += window(NFSPROC3_REMOVE, &i, numbers, NFS3_OK, &full);
		store_checkpoint(t->store);
		for (unsigned i = 0; i < 10; i++)
			loop_once(t->loop, 10000000);
	}
	return gone;
}

/* There is room when the checkpoint that has the removals is over. */
static uint32_t create_again(struct nt_fh *fh)
{
	uint32_t status = NFS3ERR_NOSPC;

	for (unsigned i = 0; i < 100 && status == NFS3ERR_NOSPC; i++) {
		for (unsigned round = 0; round < 10; round++)
			loop_once(t->loop, 10000000);
		status = nt_create(t, &t->root, "again", GUARDED, &plain, 0, fh);
	}
	return status;
}

/* covers: S6 */
static void t_full_index(void)
{
	static struct nt nt;
	unsigned made = 0, numbers = 0, full = 0;
	struct nt_fh fh;

	t = &nt;
	nt_up_sized(t, 4 << 20, 16 << 20);
	fill(&made, &numbers);
	/* Failures go on being remembered; they must not fill what is full. */
	for (unsigned n = NOT_THERE; n < NOT_THERE + 150 * WINDOW;)
		window(NFSPROC3_REMOVE, &n, UINT32_MAX, NFS3ERR_NOENT, &full);
	nt_restart(t, true);
	CHECK_EQ(NFS3_OK, nt_lookup(t, &t->root, "a-name-of-some-length-00000000", &fh));
	CHECK_EQ(NFS3_OK, nt_getattr(t, &fh, NULL));
	CHECK_EQ(made, empty(made, numbers));
	CHECK_EQ(NFS3_OK, create_again(&fh));
	nt_down(t);
}

int main(void)
{
	CASE(t_full_index);
	return check_end();
}
