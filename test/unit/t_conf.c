/* t_conf.c - the configuration: the shipped example, every limit, every kind of mistake. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "conf/conf.h"
#include "conf/conf_lex.h"

static struct conf conf, again;
static char err[512];

static int parse(const char *text)
{
	err[0] = '\0';
	return conf_parse(&conf, text, strlen(text), "t.conf", err, sizeof(err));
}

/* A whole configuration with `extra` put in the place that `where` names. */
static int parse_with(const char *where, const char *extra)
{
	char text[4096];
	const char *c = strcmp(where, "cluster") ? "" : extra, *n = strcmp(where, "node") ? "" : extra,
		   *u = strcmp(where, "unit") ? "" : extra, *v = strcmp(where, "vs") ? "" : extra,
		   *s = strcmp(where, "store") ? "" : extra, *e = strcmp(where, "export") ? "" : extra;

	snprintf(text, sizeof(text),
		 "cluster t { coordination \"/c\"\n%s }\n"
		 "node a { id 1 network 127.0.0.1 port 7000 %s }\n"
		 "unit u { backend dir path \"/u\" %s }\n"
		 "vserver v { address 127.0.0.9 %s\n"
		 "store s { unit u dir \"s\" %s }\n"
		 "export \"/s\" { store s %s\nclient * rw\n } }\n",
		 c, n, u, v, s, e);
	return parse(text);
}

static void t_example(void)
{
	CHECK_EQ(0, conf_load(&conf, "test/lab/example.conf", err, sizeof(err)));
	CHECK_EQ(2, conf.node_count);
	CHECK_EQ(100 * MS_NS, conf.heartbeat_ns);
	CHECK_EQ(2, conf.coord_count);
	CHECK(conf.node[1].path[1].interconnect);
	CHECK_EQ(7401, conf.node[1].path[1].port);
	CHECK_EQ(CONF_LOOP, conf.unit[0].backend);
	CHECK(strcmp(conf.unit[0].record, "/array/u1.own") == 0);
	CHECK_EQ(64U << 20, conf.vserver[0].store[0].log_half_bytes);
	CHECK(strcmp(conf.vserver[0].address[0].dev, "net0") == 0);
	CHECK_EQ(2, conf.vserver[0].export[0].client_count);
	CHECK(!conf.vserver[0].export[0].client[1].writable);
	CHECK(conf.vserver[0].export[0].client[1].all_squash);
	CHECK(!conf.vserver[0].export[0].dir[0]);
	CHECK(strcmp(conf.vserver[0].export[1].dir, "projects/a") == 0);
}

static void t_print_back(void)
{
	char *text = NULL, *text2 = NULL;
	size_t len = 0, len2 = 0;
	FILE *f;

	CHECK_EQ(0, conf_load(&conf, "test/lab/example.conf", err, sizeof(err)));
	f = open_memstream(&text, &len);
	conf_print(&conf, f);
	fclose(f);
	CHECK_EQ(0, conf_parse(&again, text, len, "printed", err, sizeof(err)));
	f = open_memstream(&text2, &len2);
	conf_print(&again, f);
	fclose(f);
	CHECK(len == len2 && memcmp(text, text2, len) == 0);
	CHECK(conf_hash(&conf) == conf_hash(&again));
	again.node[0].path[0].port++;
	CHECK(conf_hash(&conf) != conf_hash(&again));
	again = conf;
	again.vserver[0].export[1].dir[0] = 'q';
	CHECK(conf_hash(&conf) != conf_hash(&again));
	free(text);
	free(text2);
}

/* Every cut of a good text is an error or a good text, never a crash; so is every flipped bit. */
static void t_cuts_and_flips(void)
{
	FILE *f = fopen("test/lab/example.conf", "r");
	char text[8192], turned[8192];
	size_t len;

	CHECK(f != NULL);
	len = fread(text, 1, sizeof(text), f);
	fclose(f);
	for (size_t i = 0; i < len; i += 3)
		(void)conf_parse(&conf, text, i, "cut", err, sizeof(err));
	for (size_t i = 0; i < len; i += 2) {
		memcpy(turned, text, len);
		turned[i] = (char)(turned[i] ^ (1 << (i % 8)));
		if (conf_parse(&conf, turned, len, "turned", err, sizeof(err)))
			CHECK(strncmp(err, "turned:", 7) == 0);
	}
}

static void t_limits(void)
{
	static const struct {
		enum limit_row row;
		const char *where;
	} rows[] = {{LIMIT_HEARTBEAT, "cluster"},  {LIMIT_PRIORITY, "vs"},
		    {LIMIT_HOLD_DOWN, "vs"}, {LIMIT_COUNTDOWN, "cluster"},
		    {LIMIT_WEIGHT, "vs"}, {LIMIT_GIVEBACK_DELAY, "vs"},	   {LIMIT_NFS_PORT, "vs"},
		    {LIMIT_MOUNT_PORT, "vs"},	   {LIMIT_LOG_HALF, "store"},
		    {LIMIT_INDEX_MAP, "store"},	   {LIMIT_CHECKPOINT, "store"},
		    {LIMIT_CACHE_INODES, "store"}, {LIMIT_DUP_KEEP, "store"}};
	char line[128], text[32];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct limit *l = &conf_limit[rows[i].row];
		uint64_t step = l->unit == LIMIT_TIME ? 1000 : 1;

		snprintf(line, sizeof(line), "%s %s", l->key, limit_text(l->unit, l->lo, text));
		CHECK_EQ(0, parse_with(rows[i].where, line));
		snprintf(line, sizeof(line), "%s %s", l->key, limit_text(l->unit, l->hi, text));
		CHECK_EQ(0, parse_with(rows[i].where, line));
		snprintf(line, sizeof(line), "%s %s", l->key,
			 limit_text(l->unit, l->hi + step, text));
		CHECK_EQ(-EINVAL, parse_with(rows[i].where, line));
		CHECK(strstr(err, "out of range, allowed ") && strncmp(err, "t.conf:", 7) == 0);
		if (l->lo == 0)
			continue;
		snprintf(line, sizeof(line), "%s %s", l->key,
			 limit_text(l->unit, l->lo - step, text));
		CHECK_EQ(-EINVAL, parse_with(rows[i].where, line));
	}
	CHECK_EQ(-EINVAL, parse_with("cluster", "heartbeat 99999999999999999999s"));
	CHECK_EQ(-EINVAL, parse_with("cluster", "heartbeat 100"));
	CHECK_EQ(-EINVAL, parse_with("store", "log_half 64Q"));
}

/* covers: F4 */
/* covers: OV-08 ST-51 FO-73 VS-124 VS-125 ST-72 ST-76 */
static void t_brain_keys(void)
{
	CHECK_EQ(0, parse_with("cluster", "profile classic countdown 10s standby off reboot manual"));
	CHECK_EQ(-EINVAL, parse_with("cluster", "profile classic heartbeat 200ms"));
	CHECK(strstr(err, "profile classic has its own figures") != NULL);
	CHECK_EQ(-EINVAL, parse_with("cluster", "profile slow"));
	CHECK_EQ(0, parse_with("vs", "weight 3 assign manual giveback_delay 5s nodes a"));
	CHECK_EQ(-EINVAL, parse_with("vs", "nodes nowhere"));
	CHECK(strstr(err, "there is no node nowhere") != NULL);
}

/* The part of holdfast.conf(5) about a key: from its .It line to the next. */
static bool man_says(const char *man, const char *key, const char *words)
{
	char want[64];
	const char *at = man, *end;

	snprintf(want, sizeof(want), "Cm %s ", key);
	while ((at = strstr(at, want)) != NULL) {
		const char *line = at;

		while (line > man && line[-1] != '\n')
			line--;
		at += strlen(want);
		if (strncmp(line, ".It ", 4) != 0)
			continue;
		end = strstr(at, "\n.It ");
		for (const char *p = at; (p = strstr(p, words)) != NULL && (!end || p < end); p++)
			if (strchr(",. \n", p[strlen(words)]))
				return true;
	}
	return false;
}

static void t_manual(void)
{
	static char man[65536];
	FILE *in = fopen("man/holdfast.conf.5", "r");
	char words[64], text[32];

	CHECK(in != NULL);
	man[fread(man, 1, sizeof(man) - 1, in)] = '\0';
	fclose(in);
	for (unsigned i = 0; i < LIMIT_ROWS; i++) {
		const struct limit *l = &conf_limit[i];

		if (i == LIMIT_ID || i == LIMIT_ANONUID || i == LIMIT_ANONGID || i == LIMIT_MOUNT_PORT)
			continue; /* without a default, or told in words */
		snprintf(words, sizeof(words), "default%s %s", i == LIMIT_PORT ? " port" :
			 i == LIMIT_PORTAL_PORT ? " port" : "", limit_text(l->unit, l->def, text));
		if (l->unit == LIMIT_BEATS && l->def % 1000 == 500)
			snprintf(words, sizeof(words), "default 0.5");
		if (i == LIMIT_NFS_PORT)
			snprintf(words, sizeof(words), "Default %s", text);
		if (!man_says(man, i == LIMIT_PORT ? "network" : i == LIMIT_PORTAL_PORT ? "portal" :
			      l->key, words))
			printf("# holdfast.conf(5): %s: \"%s\" is missing\n", l->key, words);
		CHECK(man_says(man, i == LIMIT_PORT ? "network" : i == LIMIT_PORTAL_PORT ? "portal" :
			       l->key, words));
	}
}

static void t_timers(void)
{
	CHECK_EQ(0, parse_with("cluster", "lease 3 dead 4 wait 2 drift_stop 0.5"));
	CHECK_EQ(3000, conf.timer.lease);
	CHECK_EQ(-EINVAL, parse_with("cluster", "lease 5.5"));
	CHECK(strstr(err, "lease + drift_stop is 6 heartbeats") != NULL);
	CHECK_EQ(0, parse_with("cluster", "lease 5.499"));
	CHECK_EQ(-EINVAL, parse_with("cluster", "path_silent 2"));
	CHECK_EQ(-EINVAL, parse_with("cluster", "wait 1.5"));
	CHECK_EQ(-EINVAL, parse_with("cluster", "path_silent 5"));
}

/* Two portals, by their defaults and spelt out; what is missing or one too many.
 * covers: VS-100 VS-108 VS-109 */
static void t_iscsi(void)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", NULL},
		{"initiator \"iqn.2026-01.test:%n\" lun 3 chap_file \"/etc/%n.chap\"", NULL},
		{"chap_file \"chap\"", "must be an absolute path"},
		{"portal 192.0.2.10", "has a portal twice"},
		{"portal 192.0.2.11 portal 192.0.2.12 portal 192.0.2.13", "allowed at most 4 portals"},
		{"path \"/u\"", "do not belong to backend iscsi"},
		{"fence_command \"/bin/true\"", "do not belong to backend iscsi"},
	};
	char text[2048];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		snprintf(text, sizeof(text),
			 "cluster t { coordination \"/c\" }\nnode a { id 1 network 127.0.0.1 }\n"
			 "unit u { backend iscsi portal 192.0.2.10 portal 192.0.2.138 port 3261\n"
			 "target \"iqn.2026-01.test:lun\" wwid \"naa.600000000000002a\"\n"
			 "mount_point \"/m\" %s }\n",
			 rows[i].text);
		if (rows[i].says) {
			CHECK_EQ(-EINVAL, parse(text));
			CHECK(strstr(err, rows[i].says) != NULL);
			continue;
		}
		CHECK_EQ(0, parse(text));
		CHECK_EQ(2, conf.unit[0].portal_count);
		CHECK_EQ(3260, conf.unit[0].portal[0].port);
		CHECK_EQ(3261, conf.unit[0].portal[1].port);
		CHECK_EQ(i ? 3 : 0, conf.unit[0].lun);
	}
	CHECK_EQ(-EINVAL, parse("cluster t { coordination \"/c\" }\nnode a { id 1 network 127.0.0.1 }\n"
				"unit u { backend iscsi portal 192.0.2.10 target \"x\"\n"
				"mount_point \"/m\" wwid \"sda\" }"));
	CHECK(strstr(err, "wwid sda: allowed naa.") != NULL);
}

/* A unit of the kernel's own disks has a name and nothing else; where its paths are looked for may differ
 * from node to node. covers: VS-107 VS-108 VS-109 */
static void t_scsi(void)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", NULL},
		{"devices \"/dev/%n/* /dev/x*\" type xfs", NULL},
		{"image \"/i\"", "do not belong to backend scsi"},
		{"fence_command \"/bin/true\"", "do not belong to backend scsi"},
		{"portal 192.0.2.10", "belong to backend iscsi"},
		{"} unit w { backend scsi mount_point \"/w\"\n"
		 "wwid \"naa.600000000000002a\"",
		 "units u and w have the same wwid"},
		{"} unit w { backend scsi mount_point \"/w\" wwid \"sdb\"", "wwid sdb: allowed naa."},
		{"} unit w { backend scsi mount_point \"/w\"", "needs wwid and mount_point"},
		{"} unit w { backend dir path \"/w\" devices \"/dev/sd*\"",
		 "devices belongs to backend scsi"},
	};
	char text[2048];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		snprintf(text, sizeof(text),
			 "cluster t { coordination \"/c\" }\nnode a { id 1 network 127.0.0.1 }\n"
			 "unit u { backend scsi wwid \"naa.600000000000002a\" mount_point \"/m\" %s }\n",
			 rows[i].text);
		if (rows[i].says) {
			CHECK_EQ(-EINVAL, parse(text));
			CHECK(strstr(err, rows[i].says) != NULL);
			continue;
		}
		CHECK_EQ(0, parse(text));
		CHECK_EQ(CONF_SCSI, conf.unit[0].backend);
		CHECK(strcmp(conf.unit[0].devices, i ? "/dev/%n/* /dev/x*" :
						       "/dev/sd* /dev/nvme*n*") == 0);
	}
}

static void t_mistakes(void)
{
	static const struct {
		const char *where, *text, *says;
	} rows[] = {
		{"cluster", "colour red", "t.conf:2: unknown key colour in cluster, allowed heartbeat "},
		{"node", "id 2", "id is given twice"},
		{"node", "interconnect 1.2.3", "is no address"},
		{"node", "network 1.2.3.4 port 0", "port 0 is out of range, allowed 1 to 65535"},
		{"unit", "image \"/x\"", "belong to backend loop"},
		{"unit", "target \"iqn.x\"", "belong to backend iscsi"},
		{"unit", "chap_file \"/x\"", "belong to backend iscsi"},
		{"unit", "lun 16384", "allowed 0 to 16383"},
		{"unit", "portal 1.2.3.4 port 0", "port 0 is out of range, allowed 1 to 65535"},
		{"unit", "fence_command \"fence\"", "must be an absolute path"},
		{"unit", "repair_command \"/sbin/fsck %d\"", "belong to backend loop"},
		{"vs", "home b", "there is no node b"},
		{"vs", "portmap maybe", "allowed off or on"},
		{"vs", "address 127.0.0.9", "address 127.0.0.9 is that of vserver v already"},
		{"vs", "store s { unit u dir \"other\" }", "store s is there twice"},
		{"vs", "store t { unit u dir \"s\" }", "is in the place of store"},
		{"vs", "store t { unit u dir \"./s//\" }", "is in the place of store"},
		{"vs", "store t { unit u dir \"s/objects\" }", "is in the place of store"},
		{"vs", "store t { unit u dir \".\" }", "is in the place of store"},
		{"vs", "store t { unit x dir \"t\" }", "there is no unit x"},
		{"vs", "address 127.0.0.8 dev \"eth0 #\"", "is no network interface"},
		{"cluster", "# f\xfcr alle", "t.conf:2: byte 0xfc is not allowed: the file is not UTF-8"},
		{"cluster", "\n# \xed\xa0\x80", "t.conf:3: byte 0xed is not allowed"},
		{"unit", "fence_command \"/a\x1b[2J\"", "byte 0x1b is not allowed"},
		{"vs", "export \"/s\" { store s\nclient * }", "export /s is there twice"},
		{"vs", "export \"/t\" { store s }", "has no client line"},
		{"store", "dir \"../up\"", "dir is given twice"},
		{"vs", "export \"/s/\" { store s\nclient * }", "export /s is there twice"},
		{"vs", "export \"//s\" { store s\nclient * }", "export /s is there twice"},
		{"export", "dir \"/a\"", "dir \"/a\" must be names below the store's root"},
		{"export", "dir \"a/\"", "dir \"a/\" must be names"},
		{"export", "dir \"a//b\"", "must be names"},
		{"export", "dir \"a/../b\"", "no . or .."},
		{"export", "dir \"..\"", "must be names"},
		{"export", "dir \"./a\"", "must be names"},
		{"export", "dir \"a/.\"", "must be names"},
		{"export", "dir \"\"", "without dir all of the store is exported"},
		{"export", "dir {", "dir needs a value"},
		{"vs", "export \"/kcmfol\" { store s\nclient * }\n"
		       "export \"/ospl\" { store s\nclient * }",
		 "exports /kcmfol and /ospl have the same number in file handles"},
		{"export", "client 10.0.0.0/33 ro", "is no address"},
		{"export", "client 10.0.0.0/255.0.255.0", "is no address"},
		{"export", "client build1.example.com rw",
		 "host names are not looked up; write the address (getent ahosts build1.example.com)"},
		{"export", "client build1 rw", "getent ahosts build1)"},
		{"export", "client @staff rw", "write a client line with the address of each member"},
		{"export", "client *.example.com rw", "write the network, as in client 192.0.2.0/24"},
		{"export", "client 192.0.2.* rw", "write the network, as in client 192.0.2.0/24"},
		{"export", "client 192.0.2.0/24(rw,sync)", "options stand behind the address"},
		{"export", "client 10.0.0.0/8 async", "unknown client option async"},
		{"export", "client 10.0.0.0/8 sec=krb5", "allowed sys and none"},
		{"export", "client 10.0.0.0/8 anonuid=-2", "anonuid -2 is no such number"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_EQ(-EINVAL, parse_with(rows[i].where, rows[i].text));
		if (!strstr(err, rows[i].says))
			printf("# %s\n", err);
		CHECK(strstr(err, rows[i].says) != NULL);
	}
	CHECK_EQ(0, parse_with("vs", "store t { unit u dir \"s2\" } # f\xc3\xbcr alle"));
	CHECK_EQ(-EINVAL, conf_parse(&conf, "cluster t {\n}\n# \0 node", 24, "t.conf", err, sizeof(err)));
	CHECK(strstr(err, "t.conf:3: byte 0x00 is not allowed") != NULL);
	CHECK_EQ(-EINVAL, parse("cluster t { coordination \"/c\" }"
				" node a { id 1 network 127.0.0.1 port 7000 }\n"
				"node b { id 2 network 127.0.0.1 port 7000 }"));
	CHECK(strstr(err, "t.conf:2: node b has 127.0.0.1 port 7000 of node a") != NULL);
	CHECK_EQ(-EINVAL, parse("cluster t { } node a { id 1 network 127.0.0.1 port 7000 }\n"
				"unit u { backend dir path \"/u\" }\nunit w { backend dir path \"/u\" }"));
	CHECK(strstr(err, "t.conf:3: units u and w have the same path") != NULL);
	CHECK_EQ(-EINVAL, parse("cluster x {"));
	CHECK_EQ(-EINVAL, parse("cluster \"x"));
	CHECK_EQ(-EINVAL, parse("cluster x y"));
	CHECK_EQ(-EINVAL, parse(""));
	CHECK_EQ(-ENOENT, conf_load(&conf, "/nonexistent/x.conf", err, sizeof(err)));
	CHECK_EQ(-EINVAL, parse("cluster t { coordination \"/c\" run_dir \"/r\"\n}\n"));
	CHECK(strstr(err, "\"run_dir\" is no absolute path; a key behind the devices stands on") != NULL);
}

/* A virtual server is addresses and file systems, at least one of each, and what is one's is nobody else's.
 * covers: VS-16 VS-17 VS-18 VS-19 */
static void t_exclusive(void)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"address 127.0.0.8\nstore x { unit w dir \"x\" }", NULL},
		{"address 127.0.0.8\naddress 127.0.0.7\nstore x { unit w dir \"x\" }\n"
		 "store y { unit w dir \"y\" }", NULL},
		{"store x { unit w dir \"x\" }", "vserver z needs at least one address"},
		{"address 127.0.0.8", "vserver z needs at least one address and one store"},
		{"address 127.0.0.9\nstore x { unit w dir \"x\" }",
		 "address 127.0.0.9 is that of vserver z already"},
		{"address 127.0.0.8\nstore x { unit u dir \"x\" }", "it belongs to one vserver"},
		{"address 127.0.0.8\nstore x { unit u dir \"s\" }", "is in the place of store x"},
		{"address 127.0.0.8\nstore x { unit w dir \"x\" }\n"
		 "export \"/s\" { store s\nclient * rw\n }", "vserver z has no store s"},
	};
	char text[1024];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		snprintf(text, sizeof(text),
			 "} unit w { backend dir path \"/w\" }\nvserver z { %s }\n"
			 "node b { id 2 network 127.0.0.2 port 7000", rows[i].text);
		CHECK_EQ(rows[i].says ? -EINVAL : 0, parse_with("unit", text));
		if (rows[i].says && !strstr(err, rows[i].says))
			printf("# %s\n", err);
		CHECK(!rows[i].says || strstr(err, rows[i].says) != NULL);
	}
}

/* Exports of directories: as many of one store as are wanted, each with its own number. */
static void t_export_dirs(void)
{
	const struct conf_vserver *v = conf.vserver;

	CHECK_EQ(0, parse_with("vs", "export \"/a\" { store s dir \"a\"\nclient * ro }\n"
				     "export \"/b\" { dir \"..a/b c/...\" store s\nclient * rw }\n"
				     "export \"/c\" { store s dir a\nclient * }"));
	CHECK_EQ(4, v->export_count);
	CHECK(strcmp(v->export[0].dir, "a") == 0);
	CHECK(strcmp(v->export[1].dir, "..a/b c/...") == 0);
	CHECK(strcmp(v->export[2].dir, "a") == 0);
	CHECK(strcmp(v->export[3].dir, "") == 0);
	/* Without a directory it is what it always was (doc/nfs.md). */
	CHECK_EQ(0xa0bf16, conf_export_id("/fs1", ""));
	CHECK_EQ(0xa0bf16, conf_export_id("/fs1//", ""));
	CHECK_EQ(0xe24b2e, conf_export_id("/fs1", "projects/a"));
	CHECK(conf_export_id("/fs1", "projects") != conf_export_id("/fs1", "projects/a"));
}

static void t_nets(void)
{
	const uint8_t a[16] = {[10] = 255, [11] = 255, [12] = 10, [13] = 1, [14] = 2, [15] = 3};
	struct conf_net n;
	char text[64];

	CHECK(conf_net_parse("10.1.0.0/16", true, &n) && conf_net_has(&n, a));
	CHECK(conf_net_parse("10.1.2.0/23", true, &n) && conf_net_has(&n, a));
	CHECK(conf_net_parse("10.1.4.0/23", true, &n) && !conf_net_has(&n, a));
	CHECK(conf_net_parse("0.0.0.0/0", true, &n) && conf_net_has(&n, a));
	CHECK(conf_net_parse("2001:db8::/32", true, &n) && !conf_net_has(&n, a));
	CHECK(strcmp(conf_net_text(&n, true, text), "2001:db8::/32") == 0);
	CHECK(conf_net_parse("10.1.2.0/255.255.254.0", true, &n) && n.prefix == 96 + 23);
	CHECK(conf_net_parse("0.0.0.0/0.0.0.0", true, &n) && n.prefix == 96);
	CHECK(conf_net_parse("10.1.2.3/255.255.255.255", true, &n) && n.prefix == 128);
	CHECK(!conf_net_parse("10.1.2.0/255.0.255.0", true, &n));
	CHECK(!conf_net_parse("2001:db8::/255.255.0.0", true, &n));
	CHECK(!conf_net_parse("10.1.2.3/x", true, &n));
	CHECK(!conf_net_parse("", true, &n));
}

static void t_paths(void)
{
	char out[32];

	CHECK_EQ(0, conf_path(out, sizeof(out), "/x/%n/100%%", "n1"));
	CHECK(strcmp(out, "/x/n1/100%") == 0);
	CHECK_EQ(-ENAMETOOLONG, conf_path(out, 4, "/x/%n", "n1"));
	CHECK_EQ(0, parse_with("vs", ""));
	CHECK_EQ(0, conf_store_dir(out, sizeof(out), &conf, &conf.vserver[0].store[0], "n1"));
	CHECK(strcmp(out, "/u/s") == 0);
}

int main(void)
{
	CASE(t_example);
	CASE(t_print_back);
	CASE(t_cuts_and_flips);
	CASE(t_limits);
	CASE(t_manual);
	CASE(t_timers);
	CASE(t_brain_keys);
	CASE(t_iscsi);
	CASE(t_scsi);
	CASE(t_mistakes);
	CASE(t_exclusive);
	CASE(t_export_dirs);
	CASE(t_nets);
	CASE(t_paths);
	return check_end();
}
