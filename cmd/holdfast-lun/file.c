/* file.c - a file system with one file, for the loop device above it.  See lun.h. */
#define FUSE_USE_VERSION 34
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "io/loop.h"
#include "lun.h"

#define ATTR_S	    3600.0
#define BACKGROUND  64
#define WRITE_MAX   (1U << 20)

static void fill(const struct lun *l, fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	if (ino == FUSE_ROOT_ID) {
		st->st_mode = S_IFDIR | 0700;
		st->st_nlink = 2;
		return;
	}
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	st->st_size = (off_t)l->bytes;
	st->st_blocks = (blkcnt_t)(l->bytes / 512);
	st->st_blksize = 4096;
}

static void on_init(void *arg, struct fuse_conn_info *conn)
{
	(void)arg;
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND;
	conn->max_write = WRITE_MAX;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {.ino = UNIT_LUN_INO, .attr_timeout = ATTR_S, .entry_timeout = ATTR_S};

	if (parent != FUSE_ROOT_ID || strcmp(name, LUN_NAME) != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill(fuse_req_userdata(req), UNIT_LUN_INO, &e.attr);
	fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill(fuse_req_userdata(req), ino, &st);
	fuse_reply_attr(req, &st, ATTR_S);
}

/* Times and modes mean nothing here; its size cannot be changed. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int what,
		       struct fuse_file_info *fi)
{
	const struct lun *l = fuse_req_userdata(req);

	if ((what & FUSE_SET_ATTR_SIZE) && attr->st_size != (off_t)l->bytes) {
		fuse_reply_err(req, EPERM);
		return;
	}
	on_getattr(req, ino, fi);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino != UNIT_LUN_INO) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->direct_io = 1; /* no page of it in this machine's cache */
	fuse_reply_open(req, fi);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct stat st;
	char buf[128];
	size_t n = 0;

	(void)fi;
	if (off == 0 && ino == FUSE_ROOT_ID) {
		fill(fuse_req_userdata(req), UNIT_LUN_INO, &st);
		n = fuse_add_direntry(req, buf, sizeof(buf), LUN_NAME, &st, 1);
	}
	fuse_reply_buf(req, buf, n <= size ? n : 0);
}

static struct lun_req *new_req(fuse_req_t req, enum lun_kind kind)
{
	struct lun_req *r = mem_zalloc(1, sizeof(*r));

	r->fuse = req;
	r->kind = kind;
	r->begun_ns = loop_clock_ns();
	return r;
}

/* Whole blocks inside the file; the loop device and direct I/O ask for no others. */
static bool fits(const struct lun *l, size_t *len, off_t off, bool write)
{
	if (off < 0 || ((size_t)off | *len) % 512 || *len > WRITE_MAX)
		return false;
	if ((uint64_t)off >= l->bytes)
		*len = 0;
	else if (*len > l->bytes - (uint64_t)off)
		*len = l->bytes - (uint64_t)off;
	return !write || *len;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct lun *l = fuse_req_userdata(req);
	struct lun_req *r;

	(void)ino;
	(void)fi;
	if (!fits(l, &size, off, false)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (!size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	r = new_req(req, LUN_READ);
	r->at = (uint64_t)off;
	r->len = size;
	paths_submit(l, r);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct lun *l = fuse_req_userdata(req);
	size_t asked = size;
	struct lun_req *r;

	(void)ino;
	if (!fits(l, &size, off, true) || size != asked) {
		fuse_reply_err(req, size ? EINVAL : ENOSPC);
		return;
	}
	r = new_req(req, LUN_WRITE);
	r->at = (uint64_t)off;
	r->len = size;
	r->then_sync = (fi->flags & (O_DSYNC | O_SYNC)) != 0;
	r->data = mem_alloc(size);
	memcpy(r->data, data, size);
	paths_submit(l, r);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	paths_submit(fuse_req_userdata(req), new_req(req, LUN_SYNC));
}

void file_reply(struct lun_req *r, int err, const void *data, size_t len)
{
	if (!r->fuse)
		return;
	if (err)
		fuse_reply_err(r->fuse, err);
	else if (r->kind == LUN_READ)
		fuse_reply_buf(r->fuse, data, len);
	else if (r->kind == LUN_WRITE)
		fuse_reply_write(r->fuse, r->len);
	else
		fuse_reply_err(r->fuse, 0);
	r->fuse = NULL;
}

static const struct fuse_lowlevel_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.readdir = on_readdir,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
};

int file_mount(struct lun *l)
{
	char name[] = "holdfast-lun", flag[] = "-o";
	char options[] = "fsname=holdfast-lun,subtype=iscsi,nosuid,nodev,noexec";
	char *argv[] = {name, flag, options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int fd;

	l->session = fuse_session_new(&args, &ops, sizeof(ops), l);
	fuse_opt_free_args(&args);
	if (!l->session || fuse_session_mount(l->session, l->dir) != 0)
		return -EIO;
	fd = fuse_session_fd(l->session);
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
}
