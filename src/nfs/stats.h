/* stats.h - the counters of the RPC server: one row is the field, its name and its help. */
#ifndef HF_NFS_STATS_H
#define HF_NFS_STATS_H

#include <stdint.h>

#define NFS_STATS(ROW)                                                                             \
	ROW(calls, "RPC calls received that were well formed")                                     \
	ROW(replies, "replies handed to the transport")                                            \
	ROW(held, "replies that waited for the log")                                               \
	ROW(rerun, "calls put by and run again later (busy object or full log)")                   \
	ROW(cold, "READs of data that were not in memory")                                         \
	ROW(repeats, "repeated calls answered with their first answer")                            \
	ROW(repeats_pending, "repeats of a call still in progress, its reply redirected")          \
	ROW(silent, "calls and replies put aside because the lease had ended")                       \
	ROW(unanswered, "calls for a store that is being repaired: clients ask again")              \
	ROW(bytes_read, "bytes of READ payload sent")                                              \
	ROW(bytes_written, "bytes of WRITE payload taken")                                         \
	ROW(bad_message, "messages that are no RPC call; the connection was closed")               \
	ROW(bad_version, "calls of another RPC version")                                           \
	ROW(bad_program, "calls for a program or version not served here")                         \
	ROW(bad_procedure, "calls for an unknown procedure")                                       \
	ROW(bad_args, "calls whose arguments could not be decoded")                                \
	ROW(bad_auth, "calls whose credentials were malformed or of a refused flavor")             \
	ROW(bad_handle, "file handles of a wrong size, format or MAC")                             \
	ROW(stale_handle, "file handles of an object or export that is gone")                      \
	ROW(refused_client, "calls or mounts by clients the export is not for")                    \
	ROW(refused_port, "calls or mounts from an unprivileged port on a secure export")          \
	ROW(mounts, "successful MNT calls")

struct nfs_stats {
#define ROW(name, help) uint64_t name;
	NFS_STATS(ROW)
#undef ROW
};

#endif
