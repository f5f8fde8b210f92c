/* tree.c - what comes before and after the measuring: mount, files, directories.
 *
 * Everything is made below one directory of the export and taken away again, unless it is to be
 * found by a later run, or the whole store is thrown away anyway (-k). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static void send_fully(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		data += n;
		len -= (size_t)n;
	}
}

static void recv_fully(int fd, uint8_t *data, size_t len)
{
	ssize_t n = recv(fd, data, len, MSG_WAITALL);

	if (n != (ssize_t)len)
		die("recv");
}

/* Returns the reply behind the RPC header. */
static struct rd call(int fd, uint32_t prog, uint32_t proc, struct wr *args)
{
	static uint8_t out[8192], in[8192];
	struct wr w;
	struct rd r;
	uint32_t len;

	wr_init(&w, out, sizeof(out));
	put_header(&w, ++L.next_xid | 0x40000000, prog, proc);
	wr_bytes(&w, args->start, wr_len(args));
	mark_set(out, wr_len(&w));
	send_fully(fd, out, wr_len(&w));
	recv_fully(fd, in, 4);
	rd_init(&r, in, 4);
	len = rd_u32(&r) & 0x7fffffff;
	if (len > sizeof(in))
		die("reply too long");
	recv_fully(fd, in, len);
	rd_init(&r, in, len);
	rd_u32(&r);
	errno = 0;
	if (!header_ok(&r))
		die("call refused");
	return r;
}

static struct fh take_fh(struct rd *r)
{
	struct fh fh = {.len = rd_u32(r)};

	if (fh.len > FH_MAX)
		die("file handle too long");
	rd_copy(r, fh.data, fh.len);
	return fh;
}

static struct fh find(int fd, const struct fh *dir, const char *name)
{
	uint8_t b[512];
	struct wr a;
	struct rd r;

	wr_init(&a, b, sizeof(b));
	put_fh(&a, dir);
	put_opaque(&a, name, strlen(name));
	r = call(fd, PROG_NFS, 3, &a);
	if (rd_u32(&r))
		die("LOOKUP failed");
	return take_fh(&r);
}

/* CREATE 8, MKDIR 9, SYMLINK 10; what an earlier run left is found. */
static struct fh make(int fd, uint32_t proc, const struct fh *dir, const char *name)
{
	uint8_t b[512];
	struct wr a;
	struct rd r;
	uint32_t st;

	wr_init(&a, b, sizeof(b));
	put_fh(&a, dir);
	put_opaque(&a, name, strlen(name));
	if (proc == 8)
		wr_u32(&a, 0);
	put_sattr(&a);
	if (proc == 10)
		put_opaque(&a, "where it points to", 18);
	r = call(fd, PROG_NFS, proc, &a);
	st = rd_u32(&r);
	if (st == 17) {
		L.found = true;
		return find(fd, dir, name);
	}
	if (st || rd_u32(&r) != 1) {
		fprintf(stderr, "load: %s: status %u\n", name, st);
		exit(1);
	}
	return take_fh(&r);
}

static struct fh make_numbered(int fd, uint32_t proc, const struct fh *dir, const char *what,
			       uint32_t n)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%u", what, n);
	return make(fd, proc, dir, name);
}

static void remove_name(int fd, uint32_t proc, const struct fh *dir, const char *what, int n)
{
	char name[64];
	uint8_t b[512];
	struct wr a;

	if (n < 0)
		snprintf(name, sizeof(name), "%s", what);
	else
		snprintf(name, sizeof(name), "%s%d", what, n);
	wr_init(&a, b, sizeof(b));
	put_fh(&a, dir);
	put_opaque(&a, name, strlen(name));
	call(fd, PROG_NFS, proc, &a);
}

static struct fh mount_export(void)
{
	int fd = dial(L.mount_port);
	uint8_t b[512];
	struct wr a;
	struct rd r;
	struct fh fh;

	wr_init(&a, b, sizeof(b));
	put_opaque(&a, L.export, strlen(L.export));
	r = call(fd, PROG_MOUNT, 1, &a);
	if (rd_u32(&r))
		die("mount refused");
	fh = take_fh(&r);
	close(fd);
	return fh;
}

static void commit_files(int fd)
{
	uint8_t b[512];

	for (uint32_t i = 0; i < L.files; i++) {
		struct wr a;
		struct rd r;

		wr_init(&a, b, sizeof(b));
		put_fh(&a, &L.file[i]);
		wr_zero(&a, 12);
		r = call(fd, PROG_NFS, 21, &a);
		if (rd_u32(&r))
			die("COMMIT failed");
	}
}

static void make_tree(int fd)
{
	L.tree_dirs = (L.tree_files + L.tree_per_dir - 1) / L.tree_per_dir;
	L.tree_dir = calloc(L.tree_dirs, sizeof(*L.tree_dir));
	if (!L.tree_dir)
		die("memory");
	for (uint32_t i = 0; i < L.tree_dirs; i++)
		L.tree_dir[i] = make_numbered(fd, 9, &L.dir, "tree", i);
	L.filled = 0;
	if (!L.found || !L.lazy)
		drive(L.found ? OP_FINDTREE : OP_FILLTREE, UINT64_MAX);
}

void set_up(void)
{
	int fd;

	L.root = mount_export();
	fd = dial(L.port);
	L.dir = make(fd, 9, &L.root, L.work);
	L.list = make(fd, 9, &L.dir, "list");
	L.link = make(fd, 10, &L.dir, "link");
	L.file = calloc(L.files, sizeof(*L.file));
	if (!L.file)
		die("memory");
	for (uint32_t i = 0; i < L.files; i++)
		L.file[i] = make_numbered(fd, 8, &L.dir, "file", i);
	if (L.found) /* names that no earlier run used */
		L.created = (uint32_t)(now_ns() / 1000000000ULL % 4000 * 1000000);
	if (!L.found) {
		drive(OP_FILLDATA, UINT64_MAX);
		commit_files(fd);
	}
	for (uint32_t i = 0; i < LIST_FILES; i++)
		make_numbered(fd, 8, &L.list, "entry.number.", i);
	for (uint32_t i = 0; i < L.conns * L.depth; i++)
		make_numbered(fd, 8, &L.dir, "ra", i);
	if (L.tree_files)
		make_tree(fd);
	close(fd);
}

void clean_up(void)
{
	int fd;

	if (L.keep)
		return;
	fd = dial(L.port);
	for (int i = 0; i < (int)L.files; i++)
		remove_name(fd, 12, &L.dir, "file", i);
	for (int i = 0; i < (int)LIST_FILES; i++)
		remove_name(fd, 12, &L.list, "entry.number.", i);
	for (int i = 0; i < (int)(L.conns * L.depth * 2); i++)
		remove_name(fd, 12, &L.dir, i & 1 ? "ra" : "rb", i / 2);
	drive(OP_REMOVE, UINT64_MAX);
	drive(OP_RMDIR, UINT64_MAX);
	for (uint32_t i = 0; i < L.tree_files; i++)
		remove_name(fd, 12, &L.tree_dir[i / L.tree_per_dir], "f", (int)i);
	for (uint32_t i = 0; i < L.tree_dirs; i++)
		remove_name(fd, 13, &L.dir, "tree", (int)i);
	remove_name(fd, 12, &L.dir, "link", -1);
	remove_name(fd, 13, &L.dir, "list", -1);
	remove_name(fd, 13, &L.root, L.work, -1);
	close(fd);
}
