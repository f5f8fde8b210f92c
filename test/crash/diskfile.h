/* diskfile.h - the inside of the disk: files (disk.c) below system calls (syscalls.c). */
#ifndef HF_TEST_DISKFILE_H
#define HF_TEST_DISKFILE_H

#include "disk.h"

#define FILES_MAX        400U
#define LOG_ROOM         ((size_t)1 << 20)
#define INDEX_ROOM       ((size_t)32 << 20)
#define OBJECT_ROOM      ((size_t)256 << 10)
#define LOG_WRITES_MAX   600U
#define OBJECT_PAGES_MAX (INDEX_ROOM / DISK_BLOCK)

enum file_kind { FILE_OTHER, FILE_LOG, FILE_INDEX, FILE_OBJECT };

struct pending {
	struct pending *next;
	uint64_t off, seq;
	size_t len;
	bool cut; /* to `off` bytes */
	uint8_t data[];
};

struct file {
	char path[40]; /* below the root */
	enum file_kind kind;
	bool live, durable; /* has a name now; would have one after a power loss */
	uint8_t *now, *disk;
	uint64_t size, disk_size;
	size_t room;
	uint64_t high;           /* nothing behind this was ever written */
	const uint8_t *original; /* as loaded */
	uint64_t original_size;
	struct pending *first, *last;
	uint8_t taken[OBJECT_PAGES_MAX / 8];   /* blocks, as the running machine has them */
	uint8_t leaving[OBJECT_PAGES_MAX / 8]; /* ... and gives up when a cut is durable */
	uint8_t written[OBJECT_PAGES_MAX / 8]; /* those of them that the disk image has */
	/* (log) the batch on its way */
	const uint8_t *log_buf;
	size_t log_len;
	uint64_t log_off;
};

struct file *file_find(const char *path);
struct file *file_make(const char *path);
struct file *file_nth(unsigned i);
/* What it is now is what disk_reset() brings back. */
void file_original(struct file *f);
/* How many of these bytes find blocks. */
size_t file_take(struct file *f, uint64_t off, size_t len);
uint64_t file_blocks(const struct file *f);
void file_write(struct file *f, uint64_t off, const void *data, size_t len);
void file_cut(struct file *f, uint64_t size);
void file_unlink(struct file *f);
void file_remake(struct file *f);
void file_name_durable(struct file *f);
uint64_t disk_seq(void);
void file_synced(struct file *f, uint64_t upto);
/* The last write alone was synchronous. */
void file_last_synced(struct file *f, bool failed);
void file_sync_failed(struct file *f);
void file_log_begin(struct file *f, const void *buf, size_t len, uint64_t off);
ssize_t file_log_end(struct file *f, enum fault fault, bool durable);

/* syscalls.c */
void *disk_real_map(size_t size);
void disk_fds_gone(void);

#endif
