/* t_reserve_iscsi.c - taking and giving up units of a real target (tgtd 1.0.85, over libiscsi): it has
 * no PREEMPT AND ABORT, forgets all reservations when it restarts and takes a nexus that comes back
 * for another one. Doing it to a target that has all of that is the LIO guest's test. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "codec/wwid.h"
#include "io/loop.h"
#include "io/lu.h"
#include "lib_tgt.h"

static char dir[64], wwid[WWID_MAX];
static struct unit_spec spec[4]; /* of node 1, 2, 3 */
static struct seal seal;
static const struct unit_self n1 = {.node = 1, .node_name = "n1", .generation = 10};
static const struct unit_self n2 = {.node = 2, .node_name = "n2", .generation = 20};
static struct unit_answer out;

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static uint64_t key_of(const struct unit_self *s)
{
	return owner_key(s->node, s->generation);
}

static void connect_as(struct lu *l, unsigned node, enum rsv_role role)
{
	CHECK_EQ(0, lu_connect(l, &spec[node], role, ~0U, 2000));
}

static struct rsv_state state(void)
{
	struct rsv_state st = {0};
	struct lu l;

	connect_as(&l, 3, RSV_LOOK);
	CHECK_EQ(0, lu_pr_state(&l, &st));
	lu_close(&l);
	return st;
}

/* The unit as new: no key, S unowned. */
static void begin(void)
{
	uint8_t zero[RSV_BLOCK] = {0};
	struct lu_command c;
	char err[300];
	struct lu l;

	tgt_restart();
	for (unsigned n = 1; n <= 3; n++)
		memcpy(spec[n].wwid, wwid, sizeof(wwid));
	connect_as(&l, 1, RSV_ACT);
	lu_cdb_rw(&c, &l, true, true, l.bytes - RSV_AREA, zero, sizeof(zero));
	CHECK_EQ(0, lu_run(&l, &c, 1000));
	lu_close(&l);
	CHECK_EQ(0, unit_make(&spec[1], &seal, err, sizeof(err)));
	CHECK_EQ(-EALREADY, unit_make(&spec[2], &seal, err, sizeof(err)));
	CHECK_EQ(0, state().count);
}

static void acquire(const struct unit_self *self, struct unit_ask ask)
{
	int fd = unit_lock_open(&spec[self->node]);

	memset(&out, 0, sizeof(out));
	unit_acquire(&spec[self->node], &seal, self, &ask, fd, &out);
	if (out.outcome == UNIT_ERROR)
		printf("acquire: %s\n", out.text);
	close(fd);
}

static void release(const struct unit_self *self)
{
	memset(&out, 0, sizeof(out));
	unit_release(&spec[self->node], &seal, self, &out);
	if (out.outcome == UNIT_ERROR)
		printf("release: %s\n", out.text);
}

static void look(unsigned node)
{
	memset(&out, 0, sizeof(out));
	unit_read(&spec[node], &seal, &out);
}

static void poll_owner(unsigned node)
{
	memset(&out, 0, sizeof(out));
	unit_poll(&spec[node], &seal, &out);
}

static bool all_keys_are(uint64_t key)
{
	struct rsv_state st = state();

	for (unsigned i = 0; i < st.count; i++)
		if (st.key[i] != key)
			return false;
	return st.count > 0 && st.held && !st.wrong_type && st.holder == key;
}

static int write_at(struct lu *l, uint64_t at)
{
	static uint8_t data[4096];
	struct lu_command c;

	lu_cdb_rw(&c, l, true, false, at, data, sizeof(data));
	return lu_run(l, &c, 1000);
}

/* covers: FO-15 FO-17 FO-18 FO-19 FO-22 OV-13 F2 */
static void t_life(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(1, out.epoch);
	CHECK(out.labels & UNIT_LABEL_FORGETS);
	CHECK(strstr(unit_label_text(out.labels), "unfit for production") != NULL);
	CHECK(all_keys_are(key_of(&n1)));
	acquire(&n2, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_LOST, out.outcome);
	CHECK_EQ(1, out.owner);
	CHECK(all_keys_are(key_of(&n1))); /* nothing of n2 */
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(2, out.epoch);
	look(2);
	CHECK(out.outcome == UNIT_WON && out.owner == 1 && out.holder == 1 && out.owner_epoch == 2);
	poll_owner(1);
	CHECK(out.outcome == UNIT_WON && out.owner == 1 && out.holder == 1 &&
	      out.owner_generation == 10);
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(0, state().count); /* those of ended sessions as well */
	look(1);
	CHECK(out.owner == 0 && out.holder == 0 && out.owner_epoch == 3);
}

/* PREEMPT AND ABORT is refused: PREEMPT and LUN RESET, and it says so.  covers: F2 FO-16 FO-21 OV-14 */
static void t_victim(void)
{
	struct lu victim;

	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	connect_as(&victim, 1, RSV_DATA);
	CHECK_EQ(0, lu_pr_out(&victim, PR_OUT_REGISTER_IGNORE, 0, key_of(&n1), false, 1000));
	CHECK_EQ(0, write_at(&victim, 0));
	acquire(&n2, (struct unit_ask){.how = UNIT_VICTIM, .victim = 1, .victim_epoch = 1});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK_EQ(2, out.epoch);
	CHECK(out.labels & UNIT_LABEL_NO_ABORT);
	CHECK(!(out.labels & UNIT_LABEL_QUEUED));
	CHECK(all_keys_are(key_of(&n2)));
	/* The session of the former owner: a unit attention, then conflicts, for S as for data. */
	victim.attention = false;
	CHECK_EQ(-EBADE, write_at(&victim, 0));
	CHECK(victim.attention);
	CHECK_EQ(-EBADE, write_at(&victim, victim.bytes - RSV_AREA));
	lu_close(&victim);
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_LOST, out.outcome);
	release(&n1);
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(all_keys_are(key_of(&n2)));
	look(1);
	CHECK(out.owner == 2 && out.holder == 2);
}

/* A third initiator may read, never write.  covers: FO-16 VS-98 */
static void t_third(void)
{
	uint8_t data[4096];
	struct lu_command c;
	struct lu third;

	begin();
	connect_as(&third, 3, RSV_DATA);
	CHECK_EQ(0, write_at(&third, 0)); /* nobody has it yet */
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(-EBADE, write_at(&third, 0));
	CHECK_EQ(-EBADE, write_at(&third, third.bytes - RSV_AREA));
	lu_cdb_rw(&c, &third, false, false, 0, data, sizeof(data));
	CHECK_EQ(0, lu_run(&third, &c, 1000));
	lu_close(&third);
	look(3);
	CHECK(out.owner == 1 && out.holder == 1);
}

/* Keys of a generation that is long dead go with the taking.  covers: F2 */
static void t_leftovers(void)
{
	struct lu old;

	begin();
	for (unsigned generation = 3; generation < 6; generation++) {
		connect_as(&old, 2, RSV_DATA);
		CHECK_EQ(0, lu_pr_out(&old, PR_OUT_REGISTER_IGNORE, 0, owner_key(2, generation), false,
				      1000));
		lu_close(&old);
	}
	CHECK_EQ(3, state().count);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(all_keys_are(key_of(&n1)));
}

/* The target starts anew and has forgotten: S stands, R is gone.  The owner's next poll says so, nobody
 * else may take it, the owner may.   covers: F2 F3 FO-20 */
static void t_restart(void)
{
	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	tgt_kill();
	poll_owner(1);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	tgt_restart();
	poll_owner(1);
	CHECK(out.outcome == UNIT_WON && out.owner == 1 && out.holder == 0); /* <1,U> */
	acquire(&n1, (struct unit_ask){.how = UNIT_KEEP, .victim_epoch = 1});
	CHECK_EQ(UNIT_LOST, out.outcome);
	acquire(&n2, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_LOST, out.outcome);
	CHECK_EQ(0, state().count);
	release(&n1); /* S goes on naming it, and it says that */
	CHECK_EQ(UNIT_ERROR, out.outcome);
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(all_keys_are(key_of(&n1)));
}

/* <U,3>: somebody has R and S names nobody: he is given time.  <U,?> of another type: likewise.
 * covers: FO-20 OV-13 F2 */
static void t_mixed(void)
{
	static const uint8_t types[] = {5, 7, 6}; /* WE-RO, WE-AR, EA-RO */

	for (unsigned i = 0; i < sizeof(types); i++) {
		uint8_t data[24] = {0};
		struct lu_command c = {.cdb = {0x5f, 1, types[i], 0, 0, 0, 0, 0, 24}, .cdb_len = 10,
				       .way = LU_WRITE, .data = data, .len = 24};
		uint64_t key = owner_key(3, 7), begun;
		struct lu l;

		begin();
		connect_as(&l, 3, RSV_DATA);
		CHECK_EQ(0, lu_pr_out(&l, PR_OUT_REGISTER_IGNORE, 0, key, false, 1000));
		for (unsigned b = 0; b < 8; b++)
			data[b] = (uint8_t)(key >> (56 - 8 * b));
		CHECK_EQ(0, lu_run(&l, &c, 1000));
		if (types[i] == 5) {
			look(1);
			CHECK(out.owner == 0 && out.holder == 3);
		}
		begun = loop_clock_ns();
		acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
		if (types[i] == 5)
			CHECK(loop_clock_ns() - begun > 1000000000ULL);
		if (types[i] == 6) { /* nobody else may even read S: not to be judged, so left alone */
			CHECK_EQ(UNIT_ERROR, out.outcome);
			CHECK(strstr(out.text, "exclusive") != NULL);
			CHECK(all_keys_are(key) || state().wrong_type);
			lu_close(&l);
			continue;
		}
		CHECK_EQ(UNIT_WON, out.outcome);
		CHECK(all_keys_are(key_of(&n1)));
		CHECK_EQ(-EBADE, write_at(&l, 0));
		lu_close(&l);
	}
}

/* A portal that accepts and says nothing, one that refuses, one that is well.  covers: VS-100 VS-103 */
static void t_paths(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(3260)};
	int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct unit_spec was = spec[1];
	uint64_t begun;

	begin();
	inet_pton(AF_INET, "127.0.0.9", &at.sin_addr);
	CHECK_EQ(0, bind(mute, (struct sockaddr *)&at, sizeof(at)));
	CHECK_EQ(0, listen(mute, 8));
	spec[1].portal_count = 3;
	snprintf(spec[1].portal[0], sizeof(spec[1].portal[0]), "127.0.0.9:3260");
	snprintf(spec[1].portal[1], sizeof(spec[1].portal[1]), "127.0.0.8:3260");
	snprintf(spec[1].portal[2], sizeof(spec[1].portal[2]), "127.0.0.2:3260");
	begun = loop_clock_ns();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_WON, out.outcome);
	CHECK(loop_clock_ns() - begun < 1000000000ULL);
	spec[1].portal_count = 2; /* none that is well */
	poll_owner(1);
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK(out.text[0] != '\0');
	close(mute);
	spec[1] = was;
}

/* Another unit than the one that was meant: nothing is read from it, nothing written.
 * covers: VS-107 VS-108 VS-111 */
static void t_wwid(void)
{
	begin();
	snprintf(spec[1].wwid, sizeof(spec[1].wwid), "naa.60000000000000ff");
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	CHECK_EQ(UNIT_ERROR, out.outcome);
	CHECK_EQ(-ENXIO, out.err);
	CHECK_EQ(0, state().count);
	look(2);
	CHECK(out.outcome == UNIT_WON && out.owner == 0 && out.owner_epoch == 0);
}

/* What `holdfast unit show` has of it: pair, keys with their holder, paths, one of them closed.
 * covers: FO-19 FO-20 VS-99 */
static void t_view(void)
{
	struct unit_spec was = spec[2];
	static struct unit_view v;

	begin();
	acquire(&n1, (struct unit_ask){.how = UNIT_FREE});
	snprintf(spec[2].portal[1], sizeof(spec[2].portal[1]), "127.0.0.8:3260");
	unit_view(&spec[2], &seal, &v);
	CHECK(v.s_err == 0 && v.r_err == 0 && v.held);
	CHECK(v.a.owner == 1 && v.a.holder == 1);
	CHECK(v.key_count == 1 && v.key[0].key == key_of(&n1) && v.key[0].holder);
	CHECK(v.memory_known && !v.remembers && (v.a.labels & UNIT_LABEL_FORGETS));
	CHECK(v.path_count == 2 && v.path[0].good && !v.path[1].good && v.path_good == 1);
	tgt_restart();
	unit_view(&spec[2], &seal, &v);
	CHECK(v.s_err == 0 && v.r_err == 0 && !v.held && v.a.owner == 1 && v.a.holder == 0);
	spec[2] = was;
}

static void learn_wwid(void)
{
	char name[WWID_COUNT][WWID_MAX];
	uint8_t page[512];
	struct lu l;
	int n;

	connect_as(&l, 1, RSV_LOOK);
	n = lu_page83(&l, page, sizeof(page));
	CHECK(n > 0);
	CHECK(wwid_list(page, (size_t)n, name) > 0);
	memcpy(wwid, name[0], WWID_MAX);
	printf("the target's unit is %s, %s\n", name[0], name[1]);
	lu_close(&l);
}

/* A connection given up while it was being made: libiscsi forgets 24 bytes of it.  The helpers that
 * make connections end after their one answer. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libiscsi.so";
}

/* ---- a target that asks who is there ----------------------------------------------------------- */

static void put_chap(const char *text, unsigned mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/chap", dir);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK_EQ(0, fchmod(fd, mode));
	close(fd);
}

static int login(void)
{
	struct lu l;
	int rc = lu_connect(&l, &spec[3], RSV_LOOK, ~0U, 2000);

	/* What is wrong is said without the secret. */
	CHECK(!strstr(l.text, "secret-of-") && (rc == 0 || l.text[0]));
	lu_close(&l);
	return rc;
}

/* The target's own account. */
static void target_account(const char *secret)
{
	char cmd[300];

	snprintf(cmd, sizeof(cmd),
		 "tgtadm -C 7 --lld iscsi --op delete --mode account --user tg 2>/dev/null; "
		 "tgtadm -C 7 --lld iscsi --op new --mode account --user tg --password %s && "
		 "tgtadm -C 7 --lld iscsi --op bind --mode account --tid 1 --user tg --outgoing",
		 secret);
	CHECK_EQ(0, system(cmd));
}

static void t_chap(void)
{
	begin();
	CHECK_EQ(0, login());
	CHECK_EQ(0, system("tgtadm -C 7 --lld iscsi --op new --mode account --user hf "
			   "--password secret-of-holdfast && tgtadm -C 7 --lld iscsi --op bind "
			   "--mode account --tid 1 --user hf"));
	CHECK(login() != 0);
	snprintf(spec[3].chap, sizeof(spec[3].chap), "%s/chap", dir);
	CHECK_EQ(-ENOENT, login());
	CHECK_EQ(0, mkfifo(spec[3].chap, 0600));
	CHECK_EQ(-EPERM, login()); /* and nothing waits for whoever writes it */
	put_chap("hf secret-of-others", 0600);
	CHECK_EQ(-ENOTCONN, login());
	put_chap("hf secret-of-holdfast\n", 0640);
	CHECK_EQ(-EPERM, login());
	put_chap("hf\n", 0600);
	CHECK_EQ(-EINVAL, login());
	put_chap("hf secret-of-holdfast more\n", 0600);
	CHECK_EQ(-EINVAL, login());
	put_chap("hf secret-of-holdfast\ntg short", 0600);
	CHECK_EQ(-EINVAL, login());
	put_chap("hf secret-of-holdfast\ntg secret-of-holdfast\n", 0600);
	CHECK_EQ(-EINVAL, login()); /* a challenge sent back would do */
	put_chap("hf secret-of-holdfast\n", 0600);
	CHECK_EQ(0, login());
	/* The target must prove itself, too: it cannot, then falsely, then it does. */
	put_chap("hf secret-of-holdfast\ntg secret-of-target\n", 0600);
	CHECK_EQ(-ENOTCONN, login());
	target_account("secret-of-others");
	CHECK_EQ(-ENOTCONN, login());
	target_account("secret-of-target");
	CHECK_EQ(0, login());
	/* An owner's whole way is the same session. */
	memcpy(spec[1].chap, spec[3].chap, sizeof(spec[1].chap));
	look(1);
	CHECK_EQ(0, out.err);
}

int main(void)
{
	char err[256], path[128];
	bool there;

	snprintf(dir, sizeof(dir), "/tmp/hf-tgt.XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	there = tgt_begin(dir);
	if (there) {
		for (unsigned n = 1; n <= 3; n++) {
			snprintf(path, sizeof(path), "n%u", n);
			tgt_spec(&spec[n], dir, path);
		}
		snprintf(path, sizeof(path), "%s/key", dir);
		CHECK_EQ(0, seal_create(path));
		CHECK_EQ(0, seal_load(&seal, path, err, sizeof(err)));
		learn_wwid();
		CASE(t_life);
		CASE(t_victim);
		CASE(t_third);
		CASE(t_leftovers);
		CASE(t_restart);
		CASE(t_mixed);
		CASE(t_paths);
		CASE(t_wwid);
		CASE(t_view);
		CASE(t_chap);
		tgt_end();
	}
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
	return check_end();
}
