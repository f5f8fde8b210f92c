/* conf.h - the cluster's configuration: one file, the same on all nodes.
 *
 * conf_parse() turns text into one plain struct without pointers, so it can be copied, compared
 * and handed to another process; conf_print() writes it back in the same grammar, every default
 * spelt out, which is also the text that conf_hash() is taken of.  Nothing here looks at the
 * system: whether a path exists or an address is free is found out by those who use it.
 *
 * Errors are one line: `file:line: what is wrong, what is allowed`.  Unknown keys are errors.  The
 * limits of every number stand in one table (conf_limits.h).
 *
 * `%n` in a path stands for the node's name (several nodes on one machine): conf_path(). */
#ifndef HF_CONF_CONF_H
#define HF_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define CONF_NAME_MAX	  32  /* with the NUL, like all below */
#define CONF_PATH_MAX	  256
#define CONF_NODES_MAX	  8
#define CONF_COORD_MAX	  3
#define CONF_PATHS_MAX	  4 /* heartbeat paths of a node */
#define CONF_UNITS_MAX	  32
#define CONF_VSERVERS_MAX 32
#define CONF_PORTALS_MAX  4   /* per unit */
#define CONF_WWID_MAX	  96
#define CONF_IQN_MAX	  224 /* RFC 3720: 223 bytes */
#define CONF_ADDRS_MAX	  8 /* per vserver, like those below */
#define CONF_STORES_MAX	  8
#define CONF_EXPORTS_MAX  16
#define CONF_CLIENTS_MAX  16 /* per export */

/* An address or network; IPv4 as ::ffff:a.b.c.d with 96 added to the prefix. */
struct conf_net {
	uint8_t addr[16];
	uint8_t prefix; /* 0 to 128 */
};

struct conf_path {
	struct conf_net addr;
	uint16_t port; /* 0: not set */
	bool interconnect;
};

struct conf_node {
	char name[CONF_NAME_MAX];
	unsigned line;
	uint16_t id; /* 1 to 8: its slot on the coordination devices */
	uint16_t capacity; /* greatest sum of weights placed there; 0: no limit */
	unsigned path_count;
	struct conf_path path[CONF_PATHS_MAX]; /* networks and interconnects, in the file's order */
	struct conf_path metrics;	       /* port 0: none */
};

enum conf_backend { CONF_DIR, CONF_LOOP, CONF_ISCSI, CONF_SCSI };
enum conf_fstype { CONF_EXT4, CONF_XFS };

struct conf_unit {
	char name[CONF_NAME_MAX];
	unsigned line;
	bool gone; /* was removed while it ran: its number is free (conf_diff.h) */
	enum conf_backend backend;
	char path[CONF_PATH_MAX];	   /* dir: the unit itself */
	char fence_command[CONF_PATH_MAX]; /* dir: must report success before a live holder is
					    * thrown out; empty: never */
	char image[CONF_PATH_MAX], record[CONF_PATH_MAX]; /* loop */
	char mount_point[CONF_PATH_MAX];   /* all but dir */
	char control[CONF_PATH_MAX]; /* loop: socket of the array, io/arrayctl.h */
	char repair_command[CONF_PATH_MAX]; /* not dir: mends the file system on device %d; empty: its own */
	enum conf_fstype fstype;
	char wwid[CONF_WWID_MAX]; /* codec/wwid.h */
	/* iscsi */
	unsigned portal_count;
	struct conf_path portal[CONF_PORTALS_MAX];
	char target[CONF_IQN_MAX], initiator[CONF_IQN_MAX]; /* initiator: %n is the node */
	char chap_file[CONF_PATH_MAX]; /* io/chap.h; %n is the node */
	unsigned lun;
	char devices[CONF_PATH_MAX]; /* scsi: where its paths are looked for, globs; %n is the node */
};

struct conf_address {
	unsigned line;
	struct conf_net net;
	char dev[16]; /* empty: bound, but not configured by us */
};

struct conf_store {
	char name[CONF_NAME_MAX];
	unsigned line;
	unsigned unit;		 /* index into conf.unit */
	char unit_name[CONF_NAME_MAX];
	char dir[CONF_PATH_MAX]; /* below the unit */
	uint64_t log_half_bytes, index_map_bytes, checkpoint_ns, cache_inodes, dup_keep_ns;
	uint64_t read_cache_bytes; /* 0: none */
};

enum conf_sec { CONF_SEC_SYS = 1, CONF_SEC_NONE = 2 }; /* bits */

struct conf_client {
	unsigned line;
	struct conf_net net;
	bool writable, root_squash, all_squash;
	bool secure; /* only from ports below 1024 */
	uint32_t anonuid, anongid;
	unsigned sec; /* enum conf_sec bits */
};

struct conf_export {
	char path[CONF_PATH_MAX];
	char dir[CONF_PATH_MAX]; /* of the store; empty: all of it */
	unsigned line;
	unsigned store; /* index into vserver.store */
	char store_name[CONF_NAME_MAX];
	unsigned client_count;
	struct conf_client client[CONF_CLIENTS_MAX]; /* the first that matches decides */
};

/* What a node does when it cannot prove that it let go of a unit (SAFETY F1). */
enum conf_self_fence { CONF_FENCE_REBOOT, CONF_FENCE_STOP };

/* The figures of DESIGN, or those of the documents that Holdfast implements (core/times.h). */
enum conf_profile { CONF_FAST, CONF_CLASSIC };
enum conf_reboot { CONF_REBOOT_AUTO, CONF_REBOOT_MANUAL };

enum conf_giveback { CONF_GIVEBACK_MANUAL, CONF_GIVEBACK_AUTO };

struct conf_vserver {
	char name[CONF_NAME_MAX];
	unsigned line;
	bool gone; /* as that of a unit */
	bool off;  /* nobody serves it */
	char home_name[CONF_NAME_MAX];
	unsigned home; /* index into conf.node */
	unsigned priority;
	char user[CONF_NAME_MAX]; /* empty: as the daemon */
	uint64_t hold_down_ns;	  /* after an automatic move: none for so long */
	enum conf_giveback giveback;
	uint64_t giveback_delay_ns; /* giveback auto: served elsewhere for so long */
	uint16_t weight;	    /* of a node's capacity */
	bool assign_manual;	    /* an operator names its first node */
	unsigned node_count;	    /* who may have it; 0: every node */
	char node_name[CONF_NODES_MAX][CONF_NAME_MAX];
	bool migrate; /* false: never moved automatically */
	bool portmap;
	uint16_t nfs_port, mount_port;
	bool read_fence_strict; /* replies wait for a log write begun after their request (F4) */
	uint64_t poll_ns; /* how long the worker watches before it sleeps; 0: not at all */
	unsigned address_count, store_count, export_count;
	struct conf_address address[CONF_ADDRS_MAX];
	struct conf_store store[CONF_STORES_MAX];
	struct conf_export export[CONF_EXPORTS_MAX];
};

/* Timers in thousandths of the heartbeat. */
struct conf_timers {
	uint32_t path_silent, dead, wait, lease, drift_stop;
};

struct conf {
	char name[CONF_NAME_MAX];
	uint64_t heartbeat_ns;
	struct conf_timers timer;
	char key[CONF_PATH_MAX]; /* io/seal.h */
	char run_dir[CONF_PATH_MAX], state_dir[CONF_PATH_MAX];
	uint64_t events_size_bytes, events_age_ns; /* how much of the event log is kept */
	bool takeover_off; /* never by force */
	bool standby_off;  /* REBOOTING until another gives the storage back */
	enum conf_profile profile;
	enum conf_reboot reboot;
	uint64_t countdown_ns; /* of a planned takeover, then by force */
	enum conf_self_fence self_fence;
	unsigned coord_count, node_count, unit_count, vserver_count;
	char coord[CONF_COORD_MAX][CONF_PATH_MAX];
	struct conf_node node[CONF_NODES_MAX];
	struct conf_unit unit[CONF_UNITS_MAX];
	struct conf_vserver vserver[CONF_VSERVERS_MAX];
};

/* 0, or -EINVAL with one line in `err`.  `name` is what the line calls the text.  The struct is
 * large: allocate it. conf_check() is included. */
int conf_parse(struct conf *c, const char *text, size_t len, const char *name, char *err,
	       size_t err_size);
/* What spans blocks: names that are used exist, nothing is there twice, the timers' invariants. */
int conf_check(struct conf *c, const char *name, char *err, size_t err_size);
/* Reads the whole of a descriptor or file and parses it; also -errno of the reading. */
int conf_load(struct conf *c, const char *file, char *err, size_t err_size);
int conf_load_fd(struct conf *c, int fd, const char *name, char *err, size_t err_size);

/* The effective configuration in the same grammar. */
void conf_print(const struct conf *c, FILE *to);
/* Equal on nodes whose configuration means the same: of conf_print()'s text, block by block, in
 * whatever order they stand. */
uint64_t conf_hash(const struct conf *c);
/* Of what a worker, its sockets and addresses are made from: with another, who serves it starts again. */
uint64_t conf_serving_hash(const struct conf_vserver *v);

/* -1 when there is none. */
int conf_find_node(const struct conf *c, const char *name);
int conf_find_unit(const struct conf *c, const char *name);
int conf_find_vserver(const struct conf *c, const char *name);

/* `path` with %n replaced by the node's name (%% is a percent sign); -ENAMETOOLONG. */
int conf_path(char *out, size_t size, const char *path, const char *node);
/* Where a store is on this node: below the unit's path or mount point. */
int conf_store_dir(char *out, size_t size, const struct conf *c, const struct conf_store *s,
		   const char *node);

/* The one way to write a path that a client or the configuration names: no slash twice, none at its
 * end.  out has room for n + 1 bytes and may be what is read; the length. */
size_t conf_tidy_path(char *out, const char *path, size_t n);
/* What file handles say of the export they are for (doc/nfs.md): 24 bits of its path, without
 * slashes at its end, and of its directory, so that a handle means the same on every node and ends
 * when either changes. */
#define CONF_EXPORT_ID_MAX 0xffffffU
uint32_t conf_export_id(const char *path, const char *dir);

bool conf_net_is_v4(const struct conf_net *n);
/* Is `addr` (IPv4 mapped) inside `n`? */
bool conf_net_has(const struct conf_net *n, const uint8_t addr[16]);
/* "198.51.100.1" or with "/24"; `out` has room for 64 bytes. */
const char *conf_net_text(const struct conf_net *n, bool with_prefix, char out[64]);
/* Returns the address's length. */
socklen_t conf_net_sockaddr(const struct conf_net *n, uint16_t port, struct sockaddr_storage *out);

#endif
