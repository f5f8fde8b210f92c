/* nfsclient.h - a small NFSv3 client of our own for tests: one call at a time, and it never gives
 * up.
 *
 * A call that gets no answer because the connection broke is sent again over a new connection with
 * the same xid, as the Linux client does; over UDP it is repeated every 300 ms.  So a failover
 * shows as one slow call.  On demand a connection is torn down before the reply is read, which is
 * what a client sees when the server dies between "log durable" and "reply sent".
 *
 * Everything here talks raw bytes (base/buf.h), so nothing of the server's own code checks itself.
 */
#ifndef HF_TEST_NFSCLIENT_H
#define HF_TEST_NFSCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>

#include "base/buf.h"

#define NFC_FH_MAX   64
#define NFC_NAME_MAX 256
#define NFC_MSG_MAX  (1 << 17)

enum nfc_proc {
	NFC_NULL,
	NFC_GETATTR,
	NFC_SETATTR,
	NFC_LOOKUP,
	NFC_ACCESS,
	NFC_READLINK,
	NFC_READ,
	NFC_WRITE,
	NFC_CREATE,
	NFC_MKDIR,
	NFC_SYMLINK,
	NFC_MKNOD,
	NFC_REMOVE,
	NFC_RMDIR,
	NFC_RENAME,
	NFC_LINK,
	NFC_READDIR,
	NFC_READDIRPLUS,
	NFC_FSSTAT,
	NFC_FSINFO,
	NFC_PATHCONF,
	NFC_COMMIT,
};

struct nfc_fh {
	uint32_t len;
	uint8_t data[NFC_FH_MAX];
};

struct nfc {
	struct sockaddr_in server;
	bool udp;
	int fd; /* -1: not connected */
	uint32_t xid;
	uint64_t give_up_ns;    /* CLOCK_MONOTONIC: past this a call fails with -ETIMEDOUT */
	unsigned lose_permille; /* how many replies are lost on purpose */
	uint64_t seed;
	/* figures */
	uint64_t calls, resent, lost_on_purpose, reconnects, latency_max_ns;
	/* the call being built and the reply received */
	struct wr out;
	struct rd in;
	uint8_t out_mem[NFC_MSG_MAX], in_mem[NFC_MSG_MAX];
};

/* Where a program's calls go, and for how long: what the programs of this folder are all told. */
struct nfc_where {
	struct sockaddr_in server; /* -a ADDRESS -p NFS_PORT */
	uint16_t mount_port;	   /* -m; else the NFS port */
	const char *export;	   /* -e EXPORT */
	unsigned seconds;	   /* -t SECONDS */
};
#define NFC_WHERE "a:p:m:e:t:"
/* Takes one of these: 1 it is, 0 it is another option, -1 it is wrong. */
int nfc_where(struct nfc_where *w, int option, const char *value);
/* Is all of it there? */
bool nfc_where_done(struct nfc_where *w);
bool nfc_number(const char *text, unsigned long least, unsigned long most, unsigned long *out);

uint64_t nfc_now_ns(void);
uint64_t nfc_random(uint64_t *seed);
void nfc_init(struct nfc *c, const struct sockaddr_in *server, bool udp, uint64_t seed);
void nfc_fini(struct nfc *c);

/* Begins a call: arguments are then written to c->out. */
void nfc_begin(struct nfc *c, uint32_t prog, uint32_t vers, uint32_t proc);
/* Sends it until it is answered; 0 with c->in at the results, or -errno (-EPROTO: an RPC error). */
int nfc_call(struct nfc *c);

/* Mounts `path` on the MOUNT service at `port`; 0, or the mount status (> 0), or -errno. */
int nfc_mount(struct nfc *c, uint16_t port, const char *path, struct nfc_fh *root);

/* Pieces of arguments and results. */
void nfc_put_fh(struct nfc *c, const struct nfc_fh *fh);
void nfc_put_name(struct nfc *c, const char *name);
void nfc_put_sattr(struct nfc *c, int mode, int64_t size); /* -1: not set */
void nfc_get_fh(struct nfc *c, struct nfc_fh *fh);
void nfc_skip_post_attr(struct nfc *c);
void nfc_skip_wcc(struct nfc *c);
struct nfc_attr {
	uint32_t type, mode, nlink;
	uint64_t size, fileid;
};
void nfc_get_attr(struct nfc *c, struct nfc_attr *a);

/* Whole calls. They return the NFS status (>= 0) or -errno. */
int nfc_lookup(struct nfc *c, const struct nfc_fh *dir, const char *name, struct nfc_fh *out);
int nfc_getattr(struct nfc *c, const struct nfc_fh *fh, struct nfc_attr *a);
enum nfc_how { NFC_UNCHECKED, NFC_GUARDED, NFC_EXCLUSIVE };
int nfc_create(struct nfc *c, const struct nfc_fh *dir, const char *name, enum nfc_how how,
	       uint64_t verifier, struct nfc_fh *out);
int nfc_mkdir(struct nfc *c, const struct nfc_fh *dir, const char *name, struct nfc_fh *out);
int nfc_remove(struct nfc *c, enum nfc_proc proc, const struct nfc_fh *dir, const char *name);
int nfc_rename(struct nfc *c, const struct nfc_fh *from, const char *a, const struct nfc_fh *to,
	       const char *b);
int nfc_link(struct nfc *c, const struct nfc_fh *file, const struct nfc_fh *dir, const char *name);
int nfc_write(struct nfc *c, const struct nfc_fh *fh, uint64_t off, const void *data, uint32_t len,
	      bool stable, uint64_t *verifier);
int nfc_commit(struct nfc *c, const struct nfc_fh *fh, uint64_t *verifier);
int nfc_read(struct nfc *c, const struct nfc_fh *fh, uint64_t off, void *buf, uint32_t len,
	     uint32_t *got);
/* Calls `each` for every name of the directory. */
int nfc_readdir(struct nfc *c, const struct nfc_fh *dir,
		void (*each)(void *arg, const char *name, uint64_t fileid), void *arg);

#endif
