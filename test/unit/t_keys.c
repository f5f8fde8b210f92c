/* t_keys.c - the key file, when a step of a rotation may be taken, and a rotation from one key to
 * the next on two nodes that serve, with a client that notices every gap and every error. covers:
 * AM-25 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "core/node.h"
#include "io/keyfile.h"
#include "lib_core.h"
#include "lib_daemon.h"

/* ---- the file ----------------------------------------------------------------------------------
 */

static void t_keyfile(void)
{
	struct keyfile k = {.count = 0}, back;
	char path[128], err[256];
	struct stat st;

	begin();
	snprintf(path, sizeof(path), "%s/k", dir);
	for (int i = 0; i < KEYFILE_KEYS_MAX; i++)
		CHECK_EQ(i, keyfile_make(&k));
	CHECK_EQ(-ENOSPC, keyfile_make(&k));
	k.send = 2;
	CHECK_EQ(0, keyfile_save(&k, path, err, sizeof(err)));
	CHECK_EQ(0, keyfile_load(&back, path, err, sizeof(err)));
	CHECK(memcmp(&k, &back, sizeof(k)) == 0);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK(keyfile_print(&k.key[0]) != keyfile_print(&k.key[1]));
	keyfile_drop(&k, 0); /* the one in use stays in use */
	CHECK_EQ(3, k.key[k.send].id);
	CHECK_EQ(-1, keyfile_find(&k, 1));
	CHECK_EQ(3, keyfile_make(&k)); /* an id does not come back at once */
	CHECK_EQ(5, k.key[3].id);
	CHECK_EQ(-EINVAL, keyfile_parse(&k, "1 00\n", "x", err, sizeof(err)));
	CHECK_EQ(0, keyfile_save(&back, path, err, sizeof(err)));
	CHECK(exits(0, "head -1 %s > %s.two; head -1 %s >> %s.two; chmod 600 %s.two", path, path,
		    path, path, path));
	snprintf(path, sizeof(path), "%s/k.two", dir);
	CHECK_EQ(-EINVAL, keyfile_load(&back, path, err, sizeof(err))); /* one id twice */
	end();
}

/* ---- the rule ----------------------------------------------------------------------------------
 */

static void have(struct node *n, uint8_t send)
{
	n->key_count = 2;
	n->key[0] = (struct status_key){.id = 1, .print = 11};
	n->key[1] = (struct status_key){.id = 2, .print = 22};
	n->key[send - 1].flags = STATUS_KEY_SEND;
}

static void peer_has(struct node_peer *p, unsigned count, uint8_t send, uint64_t print)
{
	p->msg.key_count = (uint8_t)count;
	p->msg.key[0] = (struct status_key){.id = 1, .print = 11};
	p->msg.key[1] = (struct status_key){.id = 2, .print = print};
	p->msg.key[send - 1].flags = STATUS_KEY_SEND;
}

static void t_rule(void)
{
	static struct node n;
	struct node_peer *p = &n.peer[0];
	uint16_t who;

	n.conf.self = 1;
	n.peer_count = 1;
	p->id = 2;
	p->verdict = STATUS_V_ALIVE;
	have(&n, 1);
	peer_has(p, 1, 1, 0);
	CHECK_EQ(REASON_KEY_MISSING, node_key_refuses(&n, KEY_USE, 2, 22, &who));
	CHECK_EQ(2, who);
	peer_has(p, 2, 1, 33);
	CHECK_EQ(REASON_KEY_DIFFERS, node_key_refuses(&n, KEY_USE, 2, 22, &who));
	CHECK_EQ(REASON_KEY_DIFFERS, node_key_refuses(&n, KEY_ADD, 2, 22, &who));
	peer_has(p, 2, 1, 22);
	CHECK_EQ(REASON_NONE, node_key_refuses(&n, KEY_USE, 2, 22, &who));
	CHECK_EQ(0, who);
	CHECK_EQ(REASON_KEY_MISSING, node_key_refuses(&n, KEY_USE, 3, 44, &who));
	CHECK_EQ(1, who);
	CHECK_EQ(REASON_KEY_IN_USE, node_key_refuses(&n, KEY_DROP, 1, 0, &who));
	CHECK_EQ(1, who);
	have(&n, 2);
	CHECK_EQ(REASON_KEY_IN_USE, node_key_refuses(&n, KEY_DROP, 1, 0, &who));
	CHECK_EQ(2, who);
	CHECK_EQ(REASON_KEY_UNKNOWN, node_key_refuses(&n, KEY_DROP, 7, 0, &who));
	p->verdict = STATUS_V_DEAD; /* it is not waited for */
	n.key[0].flags = 0;
	CHECK_EQ(REASON_NONE, node_key_refuses(&n, KEY_DROP, 1, 0, &who));
	p->verdict = STATUS_V_UNKNOWN; /* it may live: nobody has looked yet */
	CHECK_EQ(REASON_KEY_IN_USE, node_key_refuses(&n, KEY_DROP, 1, 0, &who));
}

/* ---- two nodes ---------------------------------------------------------------------------------
 */

static int key(const char *node, const char *words)
{
	return run("$OUT/holdfast -c $D/h.conf -N %s key %s", node, words);
}

/* The others hear of a step with the next heartbeat. */
static bool becomes(int want, const char *node, const char *words)
{
	int got = -1;

	for (int i = 0; i < 100 && got != want; i++) {
		got = key(node, words);
		if (got != want)
			usleep(50000);
	}
	if (got != want)
		printf("# %s key %s: status %d: %s\n", node, words, got, said);
	return got == want;
}

static unsigned byte_at(const char *file, unsigned offset)
{
	CHECK(exits(0, "od -An -tu1 -j%u -N1 %s", offset, file));
	return (unsigned)strtoul(said, NULL, 10);
}

/* What cannot be read is said as it is, and the daemon is not asked. */
static void t_files_refused(void)
{
	begin_made();
	CHECK_EQ(1, key("n2", "add --from $D/nothing"));
	CHECK(says("/nothing: No such file or directory"));
	CHECK_EQ(1, key("n2", "--json add --from $D"));
	CHECK(says("Is a directory") && says("\"ok\": false"));
	CHECK(exits(0, "head -c 5000 /dev/zero | tr '\\0' a >$D/long"));
	CHECK_EQ(1, key("n2", "add --from $D/long"));
	CHECK(says("/long: File too large"));
	CHECK(exits(0, "printf '\\377\\376' >$D/bytes"));
	CHECK_EQ(1, key("n2", "add --from $D/bytes"));
	CHECK(says("/bytes: is no key file"));
	end();
}

static void rotate(void)
{
	CHECK_EQ(1, key("n1", "use 2"));
	CHECK(says("no-such-key"));
	CHECK_EQ(0, key("n1", "--dry-run add"));
	CHECK_EQ(1, key("n1", "use 2"));
	CHECK_EQ(0, key("n1", "add"));
	CHECK_EQ(1, key("n1", "use 2"));
	CHECK(says("key-missing") && says("n2"));
	CHECK(exits(0, "cp $D/n1.key $D/copy; chmod 600 $D/copy"));
	CHECK(becomes(0, "n2", "add --from $D/copy"));
	CHECK(becomes(0, "n1", "--dry-run use 2"));
	CHECK(exits(0, "head -1 $D/copy | sed 's/^1 ..../2 0000/' >$D/wrong"));
	CHECK_EQ(1, key("n2", "add --from $D/wrong"));
	CHECK(says("key-differs"));
	CHECK_EQ(1, key("n1", "drop 1"));
	CHECK(says("key-in-use"));
	CHECK_EQ(0, key("n1", "use 2"));
	CHECK(becomes(1, "n1", "--dry-run drop 1"));
	CHECK(says("key-in-use") && says("n2"));
	CHECK_EQ(0, key("n2", "use 2"));
	CHECK(becomes(0, "n2", "drop 1"));
	CHECK(becomes(0, "n1", "drop 1"));
}

static void survive_starts(void)
{
	CHECK(exits(0,
		    "($OUT/survive -a 127.%u.0.9 -p 12049 -e /fs -n 2 -t 4 >$D/survive.log 2>&1; "
		    "echo status=$? >>$D/survive.log) >/dev/null 2>&1 & "
		    "for i in $(seq 100); do grep -q ready $D/survive.log && break; sleep 0.1; done",
		    net));
}

/* Nothing that was acknowledged is lost; the longest gap between two replies. */
static long survive_ends(void)
{
	CHECK(exits(
	    0, "for i in $(seq 300); do grep -q status= $D/survive.log && break; sleep 0.1; done; "
	       "cat $D/survive.log"));
	CHECK(says("status=0") && says("pause_ms="));
	return strtol(strstr(said, "pause_ms=") + 9, NULL, 10);
}

static void t_rotation(void)
{
	long pause_ms, usual_ms = 0;
	pid_t n1, n2;

	begin();
	CHECK(exits(0,
		    "sed -i 's,/key\",/%%n.key\",; s/insecure/insecure no_root_squash/' $D/h.conf; "
		    "$OUT/holdfast -c $D/h.conf -N n1 init && "
		    "cp -p $D/n1.key $D/n2.key && mkdir -p $D/n2.state"));
	daemons_start(&n1, &n2);
	survive_starts();
	rotate();
	CHECK(exits(
	    0, "test $(wc -l <$D/n1.key) = 1 && cmp $D/n1.key $D/n2.key && grep -q '^2 .* send' "
	       "$D/n1.key"));
	/* Nothing that lies on shared storage needs the old one. */
	CHECK_EQ(2, byte_at("$C/coord.a", 12));
	CHECK_EQ(2, byte_at("$C/coord.b", 12));
	CHECK_EQ(2, byte_at("$C/coord.a", 4096 + 12));
	CHECK_EQ(2, byte_at("$C/coord.b", 2 * 4096 + 12));
	CHECK_EQ(2, byte_at("$D/u/.holdfast-unit", 12));
	pause_ms = survive_ends();
	if (pause_ms >= 250) { /* the machine's own gaps, then */
		survive_starts();
		usual_ms = survive_ends();
		printf("# a pause of %ld ms; without a rotation %ld ms\n", pause_ms, usual_ms);
	}
	CHECK(pause_ms < 250 || pause_ms < 2 * usual_ms);
	CHECK(exits(1, "grep -hE 'dropped reason|verdict|alive -> (silent|dead|unreachable)' "
		       "$D/n1.log $D/n2.log"));
	/* Each step, and each that was refused, is in the event log; no key is. */
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 events | grep -E 'key |keys '"));
	CHECK(says("key 2: added, fingerprint ") && says("key 2: in use") &&
	      says("key 1: dropped, fingerprint ") && says("refused: key 2: n2 [key-missing"));
	CHECK(strstr(said, "key 2: added") < strstr(said, "key 2: in use") &&
	      strstr(said, "key 2: in use") < strstr(said, "key 1: dropped"));
	CHECK(exits(1, "k=$(cut -d' ' -f2 $D/n1.key); grep -q $k $D/n1.state/events* $D/n1.log"));
	/* The next start finds everything signed with what it has. */
	daemon_end(n2, SIGTERM);
	n2 = daemon_start("n2");
	CHECK(wait_status("n2", "\"verdict\":\"alive\"", 50));
	/* By hand: a step at a time here too. */
	CHECK(exits(0,
		    "sed 's/^2 ..../3 0000/; s/ send//' $D/n1.key >>$D/n1.key; "
		    "kill -HUP %d",
		    n1));
	for (int i = 0; i < 100; i++) { /* it reads the file when it comes to it */
		CHECK_EQ(0, key("n1", "show"));
		if (strstr(said, "\n  3  "))
			break;
		usleep(50000);
	}
	CHECK(says("\n  3  "));
	CHECK(exits(0,
		    "sed -i 's/ send//; /^3/s/$/ send/' $D/n1.key; "
		    "kill -HUP %d",
		    n1));
	CHECK(wait_log("n1", "was not taken over reason=key-missing", 50));
	CHECK(wait_status("n1", "\"verdict\":\"alive\"", 1));
	daemon_end(n2, SIGKILL);
	daemon_end(n1, SIGKILL);
	end();
}

/* What only a node that is off could sign anew keeps the key: without it nobody could read that block
 * any more, and no configuration be chosen, not even one without that node.   covers: V3 AM-25 */
static void t_drop_beside_a_node_that_is_off(void)
{
	pid_t n1, n2;

	begin();
	CHECK(exits(0,
		    "sed -i 's,/key\",/%%n.key\",' $D/h.conf; grep -v '^node n2' $D/h.conf >$D/one.conf; "
		    "$OUT/holdfast -c $D/h.conf -N n1 init && "
		    "cp -p $D/n1.key $D/n2.key && mkdir -p $D/n2.state"));
	daemons_start(&n1, &n2);
	CHECK(exits(0, "sed 's/home n1/home n1 hold_down 9s/' $D/h.conf >$D/two.conf; "
		       "$OUT/holdfast -c $D/h.conf -N n2 config apply $D/two.conf"));
	daemon_end(n2, SIGKILL);
	CHECK(wait_status("n1", "\"verdict\":\"dead\"", 30));
	CHECK_EQ(0, key("n1", "add"));
	CHECK_EQ(0, key("n1", "use 2"));
	/* Its own blocks and the devices' headers are signed anew soon; then only those of n2 are left. */
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(1, key("n1", "drop 1"));
		if (strstr(said, "block of n2"))
			break;
		usleep(100000);
	}
	CHECK(says("key-signs-storage") && says("block of n2"));
	CHECK(exits(0, "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/one.conf"));
	CHECK(becomes(0, "n1", "drop 1"));
	CHECK(exits(0, "sed 's/home n1/home n1 hold_down 8s/' $D/one.conf >$D/two.conf; "
		       "$OUT/holdfast -c $D/h.conf -N n1 config apply $D/two.conf"));
	daemon_end(n1, SIGTERM);
	end();
}

/* Nodes that have one key file: what the first step puts there the others must still take, one by
 * one, and forget it although it is gone from the file. covers: AM-25 */
static void t_one_file_for_all(void)
{
	pid_t n1, n2;

	begin_made();
	daemons_start(&n1, &n2);
	CHECK_EQ(0, key("n1", "add"));
	CHECK_EQ(0, key("n2", "add --from $D/key"));
	CHECK(says("1 key added"));
	CHECK(becomes(0, "n1", "use 2"));
	CHECK(becomes(0, "n2", "use 2"));
	CHECK(becomes(0, "n1", "drop 1"));
	CHECK(becomes(0, "n2", "drop 1"));
	CHECK(says("key 1 forgotten"));
	CHECK_EQ(0, key("n2", "show"));
	CHECK(says("\n  2  ") && !strstr(said, "\n  1  "));
	CHECK_EQ(1, key("n2", "drop 1"));
	CHECK(says("no-such-key"));
	daemon_end(n2, SIGTERM);
	daemon_end(n1, SIGTERM);
	end();
}

int main(void)
{
	daemons_init();
	CASE(t_keyfile);
	CASE(t_rule);
	CASE(t_files_refused);
	CASE(t_rotation);
	CASE(t_drop_beside_a_node_that_is_off);
	CASE(t_one_file_for_all);
	end_all();
	return check_end();
}
