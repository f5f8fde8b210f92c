/* conf_limits.h - every number of the configuration: name, unit, least, greatest, default.
 * One table for the parser, its error messages, the test and doc/config.md. */
#ifndef HF_CONF_CONF_LIMITS_H
#define HF_CONF_CONF_LIMITS_H

#define MS_NS 1000000ULL
#define S_NS  1000000000ULL

/*	row		key		unit	     least	  greatest	  default */
#define CONF_LIMITS(X)                                                                             \
	X(HEARTBEAT, "heartbeat", LIMIT_TIME, 20 * MS_NS, 10 * S_NS, 100 * MS_NS)                  \
	X(PATH_SILENT, "path_silent", LIMIT_BEATS, 3000, 100000, 4000)                             \
	X(DEAD, "dead", LIMIT_BEATS, 3000, 100000, 4000)                                           \
	X(WAIT, "wait", LIMIT_BEATS, 1600, 100000, 2000)                                           \
	X(LEASE, "lease", LIMIT_BEATS, 1000, 100000, 3000)                                         \
	X(DRIFT_STOP, "drift_stop", LIMIT_BEATS, 100, 10000, 500)                                  \
	X(EVENTS_SIZE, "events_size", LIMIT_SIZE, 64ULL << 10, 256ULL << 20, 4ULL << 20)           \
	X(EVENTS_AGE, "events_age", LIMIT_TIME, 3600 * S_NS, 315360000 * S_NS, 7776000 * S_NS)     \
	X(COUNTDOWN, "countdown", LIMIT_TIME, S_NS, 86400 * S_NS, 30 * S_NS)                       \
	X(CAPACITY, "capacity", LIMIT_COUNT, 0, 1000, 0)                                           \
	X(WEIGHT, "weight", LIMIT_COUNT, 1, 1000, 1)                                               \
	X(GIVEBACK_DELAY, "giveback_delay", LIMIT_TIME, 0, 86400 * S_NS, 60 * S_NS)                \
	X(ID, "id", LIMIT_COUNT, 1, 8, 0)                                                          \
	X(PORT, "port", LIMIT_COUNT, 1, 65535, 7400)                                               \
	X(PORTAL_PORT, "port", LIMIT_COUNT, 1, 65535, 3260)                                        \
	X(LUN, "lun", LIMIT_COUNT, 0, 16383, 0)                                                    \
	X(PRIORITY, "priority", LIMIT_COUNT, 0, 1000, 100)                                         \
	X(HOLD_DOWN, "hold_down", LIMIT_TIME, 0, 86400 * S_NS, 60 * S_NS)                          \
	X(NFS_PORT, "nfs_port", LIMIT_COUNT, 1, 65535, 2049)                                       \
	X(MOUNT_PORT, "mount_port", LIMIT_COUNT, 1, 65535, 2049)                                   \
	X(LOG_HALF, "log_half", LIMIT_SIZE, 4ULL << 20, 1ULL << 30, 16ULL << 20)                   \
	X(INDEX_MAP, "index_map", LIMIT_SIZE, 16ULL << 20, 1ULL << 44, 16ULL << 30)                \
	X(CHECKPOINT, "checkpoint", LIMIT_TIME, 100 * MS_NS, 3600 * S_NS, 5 * S_NS)                \
	X(CACHE_INODES, "cache_inodes", LIMIT_COUNT, 1000, 100000000, 200000)                      \
	X(READ_CACHE, "read_cache", LIMIT_SIZE, 0, 64ULL << 30, 64ULL << 20)                       \
	X(POLL, "poll", LIMIT_TIME, 0, MS_NS, 0)                                                   \
	X(DUP_KEEP, "dup_keep", LIMIT_TIME, 120 * S_NS, 900 * S_NS, 120 * S_NS)                    \
	X(ANONUID, "anonuid", LIMIT_COUNT, 0, 4294967294, 65534)                                   \
	X(ANONGID, "anongid", LIMIT_COUNT, 0, 4294967294, 65534)

#endif
