/* array_vol.h - one unit of the array: an image file, and what each path wrote and did not flush.
 *
 * Writes go to a volatile cache of the path that wrote (sectors of 512 bytes); a flush moves
 * them to the image, the loss of the node's power drops them.  A path reads the image with its own
 * cached sectors over it; what others have not flushed it does not see.  One lock a unit: a
 * flush is whole or not at all, and after PREEMPT returns nothing of the victim lands.
 *
 * Every call takes the time of its decision under the lock, so the log's order is the true one. */
#ifndef HF_TOOLS_ARRAY_VOL_H
#define HF_TOOLS_ARRAY_VOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "array_pr.h"

#define VOL_PAGE 4096u

struct vol_page {
	uint8_t dirty; /* a bit for each sector */
	uint8_t data[VOL_PAGE];
};

/* The volatile cache of one path. */
struct vol_cache {
	struct vol_page **page; /* by number, sparse; NULL until the first write */
	uint32_t *list;		/* numbers of those that exist */
	size_t count, room;
};

struct vol {
	char name[32];
	char *image, *pr_file;
	int fd;
	uint64_t size;
	pthread_mutex_t lock;
	struct pr pr;					/* (l) */
	struct vol_cache cache[PR_PATHS_MAX];		/* (l) */
	bool off[PR_PATHS_MAX]; /* (l) path without power or cut: EIO */
};

/* 0 or -errno; the image exists. */
int vol_open(struct vol *v, const char *name, const char *image);
void vol_close(struct vol *v);

/* Bytes read or written, or -EIO (path off) or -EBADE (reservation). *key: what the path had. */
int64_t vol_read(struct vol *v, unsigned path, void *buf, size_t len, uint64_t off);
int64_t vol_write(struct vol *v, unsigned path, const void *buf, size_t len, uint64_t off,
		  bool through, uint64_t *key, uint64_t *at_ns);
int vol_flush(struct vol *v, unsigned path, uint64_t *key, uint64_t *at_ns);
/* Power loss: drops the cache; returns how many bytes were lost. */
uint64_t vol_drop(struct vol *v, unsigned path);
void vol_set_off(struct vol *v, unsigned path, bool off);

/* Runs a reservation command under the lock and writes the state to disk; drops the caches of
 * paths that lost their right to write. */
typedef enum pr_result vol_pr_fn(struct pr *p, unsigned path, uint64_t key, uint64_t victim);
enum pr_result vol_pr(struct vol *v, unsigned path, vol_pr_fn *fn, uint64_t key, uint64_t victim,
		      uint64_t *at_ns);
void vol_pr_state(struct vol *v, struct pr *out);
bool vol_pr_attention(struct vol *v, unsigned path);
bool vol_is_off(struct vol *v, unsigned path);

uint64_t vol_now_ns(void);

#endif
