/* object.c - one plain file per regular file that was ever written to.
 *
 * objects/aa/bb/ID: sixteen folders of sixteen, sixty-four neighbouring inode numbers in one
 * folder, so that a checkpoint makes few folders durable for many new files.  The folders exist
 * from the creation of the store (S7).
 *
 * An object may be shorter than its inode (the rest reads as zeros), never longer while it is
 * changed: what an unfinished write left behind its end is cut before the first change in this life
 * of the inode in memory (object_ready), so a gap left by extending a file reads as zeros.  That cut
 * is a record of its own, for whom a power loss after the next kill must not find the leftover
 * again: an ftruncate that is seen in the page cache need not be on the disk.
 *
 * Descriptors are kept open in a bounded list, oldest use first out. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/folder.h"
#include "store/store_impl.h"

#define BLOCK	      4096U
#define LINE	      64U
#define MAP_STEP      ((uint64_t)16 << 20)
#define MAP_MAX	      ((uint64_t)1 << 36)
#define MAP_PAGES     257U /* of the longest read */
#define WRITE_PIECE   (32U << 10)
#define FOLLOW_MAX    (64U << 10) /* a longer write drops what is kept of the blocks it changes */
#define RESERVE_AHEAD ((uint64_t)1 << 20)

void object_parent(uint64_t ino, char *out, size_t size)
{
	snprintf(out, size, "%02x/%02x", (unsigned)(ino >> 10 & 15), (unsigned)(ino >> 6 & 15));
}

size_t object_path(uint64_t ino, char *out, size_t size)
{
	int n = snprintf(out, size, "%02x/%02x/%016llx", (unsigned)(ino >> 10 & 15),
			 (unsigned)(ino >> 6 & 15), (unsigned long long)ino);

	return (size_t)n;
}

int objects_make(int dir_fd)
{
	char path[32];

	if (mkdirat(dir_fd, "objects", 0700))
		return -errno;
	for (unsigned a = 0; a < 16; a++) {
		snprintf(path, sizeof(path), "objects/%02x", a);
		if (mkdirat(dir_fd, path, 0700))
			return -errno;
		for (unsigned b = 0; b < 16; b++) {
			snprintf(path, sizeof(path), "objects/%02x/%02x", a, b);
			if (mkdirat(dir_fd, path, 0700))
				return -errno;
		}
	}
	return 0;
}

void objects_unmake(int dir_fd)
{
	char path[32];

	for (unsigned a = 0; a < 16; a++) {
		for (unsigned b = 0; b < 16; b++) {
			snprintf(path, sizeof(path), "objects/%02x/%02x", a, b);
			unlinkat(dir_fd, path, AT_REMOVEDIR);
		}
		snprintf(path, sizeof(path), "objects/%02x", a);
		unlinkat(dir_fd, path, AT_REMOVEDIR);
	}
	unlinkat(dir_fd, "objects", AT_REMOVEDIR);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* Most inodes in memory have no object open and never had. */
const struct object object_none = {.fd = -1};

void object_known(struct inode *ip)
{
	struct object *o;

	if (ip->obj != &object_none)
		return;
	o = mem_alloc(sizeof(*o));
	*o = (struct object){.ip = ip, .fd = -1};
	o->dirty_seq = ip->row.has_object; /* nobody knows any more what was synced */
	list_init(&o->fd_lru);
	list_init(&o->cut);
	ip->obj = o;
}

static void fd_used(struct store *s, struct inode *ip)
{
	if (list_empty(&ip->obj->fd_lru))
		s->fd_count++;
	list_del(&ip->obj->fd_lru);
	list_add_head(&s->fd_lru, &ip->obj->fd_lru);
}

void object_close(struct store *s, struct inode *ip)
{
	if (ip->obj->fd < 0)
		return;
	if (ip->obj->map)
		munmap(ip->obj->map, ip->obj->map_bytes);
	ip->obj->map = NULL;
	close(ip->obj->fd);
	ip->obj->fd = -1;
	list_del(&ip->obj->fd_lru);
	s->fd_count--;
}

void fd_trim(struct store *s)
{
	struct list *it = s->fd_lru.prev, *prev;

	for (; s->fd_count > s->fd_max && it != &s->fd_lru; it = prev) {
		struct inode *ip = LIST_OWNER(it, struct object, fd_lru)->ip;

		prev = it->prev;
		if (ip->pins == 0 && ip->effect_lsn <= s->durable_lsn)
			object_close(s, ip);
	}
}

/* An object is a file of its own.  A link in its place may lead to any file of the machine, which a
 * repair by root would then write to; a pipe or a folder holds no data: both are as good as none.
 * The file's own time of access is nobody's; to keep it dirties the inode.  An adopted file may belong
 * to somebody else: then the kernel keeps it. */
static int file_open(const struct store *s, const char *path, int flags)
{
	struct stat st;
	int fd, err;

#ifndef HF_MUTANT_OBJECT_LINK_FOLLOWED
	flags |= O_NOFOLLOW;
#endif
	flags |= O_RDWR | O_CLOEXEC;
	fd = openat(s->objects_fd, path, flags | O_NOATIME, 0600);
	if (fd < 0 && errno == EPERM)
		fd = openat(s->objects_fd, path, flags, 0600);
	err = errno;
	if (fd >= 0 ? fstat(fd, &st) : fstatat(s->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		st.st_mode = S_IFREG; /* what the open said is all there is to say */
	if (S_ISREG(st.st_mode))
		return fd < 0 ? -err : fd;
	HF_MARK("store.object_no_file");
	if (fd >= 0)
		close(fd);
	return -ENOENT;
}

int object_open(struct store *s, struct inode *ip, bool make)
{
	char path[48];
	int err;

	if (s->defer)
		defer_inode(s, ip->row.pub.ino);
	object_known(ip);
	if (ip->obj->fd < 0) {
		object_path(ip->row.pub.ino, path, sizeof(path));
		ip->obj->fd = file_open(s, path, make ? O_CREAT : 0);
		err = ip->obj->fd < 0 ? -ip->obj->fd : 0;
		if (err)
			ip->obj->fd = -1;
		if (err == ENOENT && (ip->row.has_object || make))
			store_damage(s, "an object file is missing");
		if (err)
			return err == ENOENT ? -EIO : store_io_error(s, "open of an object", err);
	}
	fd_used(s, ip);
	return 0;
}

/* Nothing of the object may be behind this. */
static uint64_t object_end(const struct inode *ip)
{
	return ip->row.has_object ? ip->row.pub.size : 0;
}

/* Only when no effect is outstanding: then everything behind the end is a leftover, and all of it
 * when the inode does not even know that it has an object. */
int object_ready(struct store *s, struct inode *ip, bool make, uint64_t *wait_lsn)
{
	struct stat st;
	int err = object_open(s, ip, make);

	if (err || ip->obj->checked)
		return err;
	if (fstat(ip->obj->fd, &st))
		return -errno;
#ifdef HF_MUTANT_LEFTOVER_KEPT
	st.st_size = 0;
#endif
	if ((uint64_t)st.st_size <= object_end(ip)) {
		ip->obj->checked = true;
		ip->obj->alloc_from = ip->obj->alloc_to = 0;
		return 0;
	}
	if (list_empty(&ip->obj->cut)) {
		list_add_tail(&s->cuts, &ip->obj->cut);
		ip->pins++;
	}
	loop_again(s->loop);
	*wait_lsn = s->last_lsn + 1;
	return STORE_WAIT;
}

void object_cut_progress(struct store *s)
{
	struct change c = {.type = CHANGE_TRUNC};
	struct list *it, *tmp;
	uint64_t wait;

	LIST_EACH_SAFE (it, tmp, &s->cuts) {
		struct inode *ip = LIST_OWNER(it, struct object, cut)->ip;

		c.ino = ip->row.pub.ino;
		c.arg = object_end(ip);
		if (inode_cached(s, c.ino) == ip) { /* not removed meanwhile */
			if (store_op_begin(s, NULL, &wait))
				return;
			HF_MARK("store.leftover_cut");
			s->op.type = REC_NOTE;
			if (!ip->row.has_object) /* recovery must find a file to cut */
				emit(s, &(struct change){.type = CHANGE_NEWOBJ, .ino = c.ino}, false);
			emit(s, &c, false);
			store_op_end(s, NULL, 0);
		}
		list_del(&ip->obj->cut);
		ip->pins--;
	}
}

/* ---- data -------------------------------------------------------------------------------------- */

/* Bytes, 0 at the end, or -1 with errno; EAGAIN: it would wait for the disk, and `try`.  A file system
 * that cannot say so (an older tmpfs) is one in memory, or it is waited for. */
static ssize_t read_some(const struct inode *ip, uint8_t *buf, size_t len, uint64_t off, bool try)
{
	struct iovec v = {.iov_base = buf, .iov_len = len};
	ssize_t n;

#ifdef HF_MUTANT_COLD_BLOCKS
	try = false;
#endif
	if (try) {
		n = preadv2(ip->obj->fd, &v, 1, (off_t)off, RWF_NOWAIT);
		if (n > 0 || (n < 0 && errno != EOPNOTSUPP))
			return n;
	}
	return pread(ip->obj->fd, buf, len, (off_t)off);
}

int object_read(struct store *s, struct inode *ip, uint64_t off, size_t len, void *buf, bool try)
{
	size_t at = 0;
	int err = object_open(s, ip, false);

	if (err)
		return err;
	while (at < len) {
		ssize_t n = read_some(ip, (uint8_t *)buf + at, len - at, off + at, try);

		if (n < 0 && errno == EAGAIN && try)
			return STORE_COLD;
		if (n < 0)
			return store_io_error(s, "read of an object", errno);
		if (n == 0)
			break;
		at += (size_t)n;
	}
	memset((uint8_t *)buf + at, 0, len - at);
	return 0;
}

/* ---- bytes where they lie ----------------------------------------------------------------------- */

/* Room ahead, so that a file that grows is not mapped again and again: only addresses are taken. */
static bool map_reach(struct inode *ip, uint64_t end)
{
	uint64_t bytes = (end / MAP_STEP + 1) * MAP_STEP;
	void *at;

	if (ip->obj->map && end <= ip->obj->map_bytes)
		return true;
	if (end > MAP_MAX)
		return false;
	if (ip->obj->map)
		munmap(ip->obj->map, ip->obj->map_bytes);
	ip->obj->map = NULL;
	at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, ip->obj->fd, 0);
	if (at == MAP_FAILED)
		return false;
	ip->obj->map = at;
	ip->obj->map_bytes = bytes;
	return true;
}

static bool all_in_memory(const uint8_t *at, size_t len)
{
	uintptr_t from = (uintptr_t)at & ~(uintptr_t)(BLOCK - 1);
	size_t bytes = (uintptr_t)at + len - from, pages = (bytes + BLOCK - 1) / BLOCK;
	unsigned char in[MAP_PAGES];

	if (pages > MAP_PAGES || mincore((void *)from, bytes, in))
		return false;
	for (size_t i = 0; i < pages; i++)
		if (!(in[i] & 1))
			return false;
	return true;
}

const uint8_t *object_here(struct store *s, struct inode *ip, uint64_t off, size_t len)
{
	struct stat st;

	if (object_open(s, ip, false) || fstat(ip->obj->fd, &st) || (uint64_t)st.st_size < off + len ||
	    !map_reach(ip, off + len) || !all_in_memory(ip->obj->map + off, len))
		return NULL;
	HF_MARK("store.read_here");
	return ip->obj->map + off;
}

/* ---- blocks kept in memory --------------------------------------------------------------------- */

/* A number for what is in the object now, or 0: nothing of it is kept. */
static uint64_t contents_id(struct store *s, struct inode *ip)
{
	if (!s->blocks && s->conf.read_cache_bytes)
		s->blocks = blocks_new(s->conf.read_cache_bytes);
	if (!s->blocks)
		return 0;
	object_known(ip);
	if (!ip->obj->contents)
		ip->obj->contents = ++s->last_contents;
	return ip->obj->contents;
}

/* It has changed there, and nobody says to what, or to more than is worth a copy. */
static void contents_drop(struct store *s, const struct inode *ip, uint64_t off, size_t len)
{
	for (uint64_t b = off / BLOCKS_SIZE; len && b <= (off + len - 1) / BLOCKS_SIZE; b++)
		blocks_drop(s->blocks, ip->obj->contents, b);
}

/* `data` is there now.  What is read and written by turns stays here; whoever writes much reads no
 * such small pieces of it. */
static void contents_write(struct store *s, const struct inode *ip, uint64_t off, const uint8_t *data,
			   size_t len)
{
#ifdef HF_MUTANT_BLOCKS_STALE
	len = 0;
#endif
	if (len > FOLLOW_MAX)
		contents_drop(s, ip, off, len);
	while (len && len <= FOLLOW_MAX) {
		size_t in = off % BLOCKS_SIZE, n = BLOCKS_SIZE - in < len ? BLOCKS_SIZE - in : len;
		struct blocks_part p = {.data = data, .from = in, .len = n};

		blocks_write(s->blocks, ip->obj->contents, off / BLOCKS_SIZE, &p);
		data += n;
		off += n;
		len -= n;
	}
}

/* Reads a block to be kept; its end may lie behind the object's: zeros. *data NULL: there is no room
 * for it. */
static int block_load(struct store *s, struct inode *ip, uint64_t block, const uint8_t **data,
		      bool try)
{
	uint8_t *at = blocks_add(s->blocks, ip->obj->contents, block);
	int err;

	*data = NULL;
	if (!at)
		return 0;
	HF_MARK("store.block_kept");
	err = object_read(s, ip, block * BLOCKS_SIZE, BLOCKS_SIZE, at, try);
	if (err)
		blocks_drop(s->blocks, ip->obj->contents, block);
	*data = at;
	return err;
}

/* All blocks of a small read that nobody has asked for yet are read at once. */
static int read_new(struct store *s, struct inode *ip, uint64_t off, size_t len, void *buf,
		    bool try)
{
	for (uint64_t b = off / BLOCKS_SIZE; b <= (off + len - 1) / BLOCKS_SIZE; b++)
		(void)blocks_wanted(s->blocks, ip->obj->contents, b);
	return object_read(s, ip, off, len, buf, try);
}

int object_read_small(struct store *s, struct inode *ip, uint64_t off, size_t len, uint8_t *buf,
		      bool try)
{
	uint64_t id = contents_id(s, ip);

	if (!id)
		return object_read(s, ip, off, len, buf, try);
	while (len) {
		uint64_t block = off / BLOCKS_SIZE;
		size_t in = off % BLOCKS_SIZE, n = BLOCKS_SIZE - in < len ? BLOCKS_SIZE - in : len;
		const uint8_t *data = blocks_find(s->blocks, id, block);
		int err = 0;

		if (!data && !blocks_wanted(s->blocks, id, block) &&
		    (n < len || !blocks_room(s->blocks, id, block)))
			return read_new(s, ip, off, len, buf, try);
		if (!data)
			err = block_load(s, ip, block, &data, try);
		if (err)
			return err;
		if (!data)
			return object_read(s, ip, off, len, buf, try);
		memmove(buf, data + in, n); /* the library's: gcc would inline a slower memcpy() */
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

void object_lend_hint(const struct store *s, const struct inode *ip, uint64_t off)
{
	if (s->blocks && ip->obj->contents)
		blocks_hint(s->blocks, ip->obj->contents, off / BLOCKS_SIZE);
}

/* The copy that sends it is made when the other calls of this round have run: its bytes may be on
 * their way meanwhile. */
static void come(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i += LINE)
		__builtin_prefetch(data + i, 0, 2);
}

const uint8_t *object_lend(struct store *s, struct inode *ip, uint64_t off, size_t len)
{
	size_t in = off % BLOCKS_SIZE;
	const uint8_t *data;

	if (in + len > BLOCKS_SIZE || !ip->obj->contents || !s->blocks)
		return NULL;
	data = blocks_find(s->blocks, ip->obj->contents, off / BLOCKS_SIZE);
	if (!data || !blocks_lend(s->blocks, data))
		return NULL;
	HF_MARK("store.block_lent");
	come(data + in, len);
	return data + in;
}

static int write_all(int fd, uint64_t off, const void *data, size_t len, size_t piece)
{
	size_t at = 0;

	while (at < len) {
		size_t want = len - at < piece ? len - at : piece;
		ssize_t n = pwrite(fd, (const uint8_t *)data + at, want, (off_t)(off + at));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

/* What is new goes in small pieces: a file system keeps what one call brought in one folio, and
 * ext4 walks through all of that folio's blocks at each later write of 4 KiB (6 us for a MiB).  What
 * is overwritten has its folios, as a rule, and one call spares the others. */
static size_t write_piece(struct object *o, uint64_t off, size_t len)
{
	uint64_t end = off + len;

	if (end <= o->pieces_to) {
		HF_MARK("store.write_over");
		return len;
	}
	if (off <= o->pieces_to)
		o->pieces_to = end;
	return WRITE_PIECE;
}

int object_write(struct store *s, struct inode *ip, uint64_t off, const void *data, size_t len)
{
	int err = write_all(ip->obj->fd, off, data, len, write_piece(ip->obj, off, len));

	if (ip->obj->contents && err)
		contents_drop(s, ip, off, len); /* a part of it may have changed */
	else if (ip->obj->contents)
		contents_write(s, ip, off, data, len);
	return err;
}

/* How far ahead of an append blocks are taken: little for small files, at most a MiB. */
static uint64_t reserve_ahead(const struct inode *ip, uint64_t end)
{
	uint64_t ahead = end / 8 / BLOCK * BLOCK;

	if (end <= ip->row.pub.size)
		return 0;
	return ahead > RESERVE_AHEAD ? RESERVE_AHEAD : ahead;
}

static void allocated(struct inode *ip, uint64_t from, uint64_t to)
{
	if (from <= ip->obj->alloc_to && to >= ip->obj->alloc_from && ip->obj->alloc_to) {
		ip->obj->alloc_from = from < ip->obj->alloc_from ? from : ip->obj->alloc_from;
		ip->obj->alloc_to = to > ip->obj->alloc_to ? to : ip->obj->alloc_to;
	} else {
		ip->obj->alloc_from = from;
		ip->obj->alloc_to = to;
	}
}

/* Overwriting: what is no hole has its blocks (or the file system's promise of them).  Asked once
 * it is known for all up to the next hole. */
static bool has_data(struct inode *ip, uint64_t from, uint64_t to)
{
	off_t hole;

	if (to > ip->row.pub.size)
		return false;
	hole = lseek(ip->obj->fd, (off_t)from, SEEK_HOLE);
	if (hole < 0 || (uint64_t)hole < to)
		return false;
	HF_MARK("store.reserve_overwrite");
	allocated(ip, from, (uint64_t)hole / BLOCK * BLOCK);
	return true;
}

int object_reserve(struct store *s, struct inode *ip, uint64_t off, size_t len)
{
	uint64_t from = off / BLOCK * BLOCK, to = (off + len + BLOCK - 1) / BLOCK * BLOCK;

	if ((from >= ip->obj->alloc_from && to <= ip->obj->alloc_to) || has_data(ip, from, to))
		return 0;
#ifdef HF_MUTANT_NO_RESERVE
	return 0;
#endif
	to += reserve_ahead(ip, off + len);
	defer_space(s, to - from);
	if (fallocate(ip->obj->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from))) {
		if (errno == EOPNOTSUPP) /* then the headroom of the file system has to do */
			return 0;
		HF_MARK("store.no_space");
		return errno == EINTR ? object_reserve(s, ip, off, len)
				      : store_io_error(s, "space for an object", errno);
	}
	allocated(ip, from, to);
	return 0;
}

/* ---- effects of durable records ------------------------------------------------------------------ */

static int object_cut(int fd, uint64_t size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size))
		return -errno;
	return 0;
}

void object_effect(struct store *s, const struct effect *e)
{
	struct inode *ip = e->ip;
	int err = 0;

	if (e->type == CHANGE_WRITE) {
		err = object_write(s, ip, e->off, e->data, e->len);
	} else if (e->type == CHANGE_TRUNC && ip->obj->fd >= 0) {
		err = object_cut(ip->obj->fd, e->off);
		ip->obj->contents = 0; /* what is kept of it is found no more */
		if (ip->obj->alloc_to > e->off) /* the blocks went with the data */
			ip->obj->alloc_from = ip->obj->alloc_to = 0;
		if (ip->obj->pieces_to > e->off)
			ip->obj->pieces_to = e->off;
	}
	if (err)
		store_fatal(s, "an object cannot be written", "objects", -err);
}

/* ---- recovery ------------------------------------------------------------------------------------ */

/* In a repair: what is no file makes room for the object; the passes find it by its name and keep it. */
static int set_aside(struct store *s, const char *path)
{
	char other[64];

	HF_MARK("store.object_set_aside");
	snprintf(other, sizeof(other), "%s.none", path);
	return renameat2(s->objects_fd, path, s->objects_fd, other, RENAME_NOREPLACE) ? -errno : 0;
}

/* Only a record that made the object makes it again: another one's that is not there was lost. */
static int replay_fd(struct store *s, struct replay_fds *fds, uint64_t ino, bool make, int *fd)
{
	unsigned at = (unsigned)(ino % REPLAY_FDS);
	char path[48];
	int err;

	if (fds->ino[at] == ino) {
		*fd = fds->fd[at];
		return 0;
	}
#ifdef HF_MUTANT_REPLAY_MAKES
	make = true;
#endif
	object_path(ino, path, sizeof(path));
	*fd = file_open(s, path, make ? O_CREAT : 0);
	if (*fd == -ENOENT && make && s->on_log && (err = set_aside(s, path)) == 0)
		*fd = file_open(s, path, O_CREAT);
	if (*fd < 0)
		return *fd;
	if (fds->ino[at])
		close(fds->fd[at]);
	fds->ino[at] = ino;
	fds->fd[at] = *fd;
	return 0;
}

void replay_fds_close(struct replay_fds *fds)
{
	for (unsigned i = 0; i < REPLAY_FDS; i++)
		if (fds->ino[i])
			close(fds->fd[i]);
}

int object_replay(struct store *s, struct replay_fds *fds, const struct change *c)
{
	int fd = -1, err = replay_fd(s, fds, c->ino, c->type == CHANGE_NEWOBJ, &fd);

	if (err)
		return err;
	if (c->type == CHANGE_WRITE)
		return write_all(fd, c->arg, c->val, c->val_len, WRITE_PIECE);
	return c->type == CHANGE_TRUNC ? object_cut(fd, c->arg) : 0;
}

/* ---- for the checkpoint's helper ----------------------------------------------------------------- */

int object_unlink(struct store *s, uint64_t ino)
{
	char path[48];

	object_path(ino, path, sizeof(path));
	if (unlinkat(s->objects_fd, path, 0) == 0 || errno == ENOENT || errno == EISDIR)
		return 0; /* a folder is none of ours: the check finds it */
	return -errno;
}

int object_sync(struct store *s, uint64_t ino)
{
	char path[48];
	int fd, err;

	object_path(ino, path, sizeof(path));
	fd = file_open(s, path, 0);
	if (fd < 0)
		return fd;
	err = fdatasync(fd) ? -errno : 0;
	close(fd);
	return err;
}

int object_sync_parent(struct store *s, uint64_t ino)
{
	char path[48];

	object_parent(ino, path, sizeof(path));
	return folder_sync(s->objects_fd, path);
}
