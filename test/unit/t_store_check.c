/* t_store_check.c - the check finds every kind of planted damage, the repair puts it right.
 *
 * Each case makes the same small store, damages it in one way, and wants: the finding's code, a
 * repair that leaves nothing, a second check that is clean, a store that opens. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "lib_storefake.h"
#include "store/index.h"
#include "store/pages.h"
#include "store/record.h"

#define ROOT STORE_ROOT_INO
#define FAR  4000 /* a number nobody has */

static struct fs f;
static uint64_t dir_d, file_a, file_b, link_l, dir_e;
static char codes[8192];
static struct store_check_result res;

/* ---- the store, and what is done to it ------------------------------------------------------- */

static void make(void)
{
	fs_new(&f);
	CHECK_EQ(0, fs_make(&f, ROOT, "d", STORE_DIR, &dir_d));
	CHECK_EQ(0, fs_make(&f, dir_d, "a", STORE_REG, &file_a));
	CHECK_EQ(0, fs_write(&f, file_a, 0, "data of a", 9, true));
	CHECK_EQ(0, fs_link(&f, file_a, ROOT, "h"));
	CHECK_EQ(0, fs_make(&f, dir_d, "b", STORE_REG, &file_b));
	CHECK_EQ(0, fs_write(&f, file_b, 5000, "data of b", 9, true));
	CHECK_EQ(0, fs_make(&f, dir_d, "l", STORE_LNK, &link_l));
	CHECK_EQ(0, fs_make(&f, dir_d, "e", STORE_DIR, &dir_e));
	CHECK_EQ(0, fs_make(&f, dir_e, "deep", STORE_REG, NULL));
	fs_close(&f);
}

static struct index *edit(void)
{
	struct index *x;
	char path[96];

	snprintf(path, sizeof(path), "%s/index", f.dir);
	CHECK_EQ(0, index_open(&x, path, f.conf.index_map_bytes, false, false));
	CHECK_EQ(0, index_write_begin(x));
	return x;
}

static void save(struct index *x)
{
	CHECK_EQ(0, index_write_commit(x));
	index_close(x);
}

static void del_row(const uint8_t *key, size_t len)
{
	struct index *x = edit();

	CHECK_EQ(0, index_del(x, key, len));
	save(x);
}

static void put_row(const uint8_t *key, size_t len, const void *val, size_t val_len)
{
	struct index *x = edit();

	CHECK_EQ(0, index_put(x, key, len, val, val_len));
	save(x);
}

typedef void inode_fn(struct inode_row *r);

static void edit_inode(uint64_t ino, inode_fn *change)
{
	uint8_t key[9], val[ROW_INODE_MAX];
	struct index *x = edit();
	struct index_row row;
	struct inode_row r;

	CHECK_EQ(0, index_write_get(x, key, key_inode(key, ino), &row));
	CHECK_EQ(0, inode_row_decode(&r, row.val, row.val_len));
	change(&r);
	CHECK_EQ(0, index_put(x, key, key_inode(key, ino), val,
			      inode_row_encode(&r, val, sizeof(val))));
	save(x);
}

static void put_name(uint64_t dir, const char *name, uint64_t cookie, uint64_t ino, bool listed)
{
	uint8_t key[ROW_KEY_MAX], val[300];
	struct wr w;

	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_u64(&w, cookie);
	put_row(key, key_name(key, dir, name, strlen(name)), val, wr_len(&w));
	if (!listed)
		return;
	wr_init(&w, val, sizeof(val));
	wr_u64(&w, ino);
	wr_bytes(&w, name, strlen(name));
	put_row(key, key_dir(key, dir, cookie), val, wr_len(&w));
}

static void object(uint64_t ino, char *out, size_t size)
{
	snprintf(out, size, "%s/objects/%02x/%02x/%016llx", f.dir, (unsigned)(ino >> 10 & 15),
		 (unsigned)(ino >> 6 & 15), (unsigned long long)ino);
}

static void file_put(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ((ssize_t)len, write(fd, data, len));
	close(fd);
}

/* ---- check and repair ------------------------------------------------------------------------ */

static void on_found(void *arg, const struct store_finding *s)
{
	size_t n = strlen(codes);

	(void)arg;
	if (getenv("VERBOSE"))
		printf("  %s: %s%s\n", s->code, s->text, s->repaired ? " (repaired)" : "");
	snprintf(codes + n, sizeof(codes) - n, "%s ", s->code);
}

static int run(bool repair)
{
	struct store_check_args a = {.dir = f.dir, .repair = repair, .found = on_found};
	char err[512];
	int code;

	codes[0] = '\0';
	code = store_check_run(&a, &res, err, sizeof(err));
	if (code < 0)
		printf("  check: %s\n", err);
	return code;
}

static bool says(const char *code)
{
	char want[64];

	snprintf(want, sizeof(want), "%s ", code);
	return strstr(codes, want) != NULL;
}

/* The damage is told, nothing is changed by looking, the repair mends it all. */
static void mend(const char *code)
{
	CHECK_EQ(1, run(false));
	CHECK(says(code));
	CHECK_EQ(0, res.repaired);
	CHECK_EQ(1, run(false));
	CHECK(says(code));
	CHECK_EQ(1, run(true));
	CHECK(says(code));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	if (codes[0])
		printf("  left after %s: %s\n", code, codes);
	CHECK_EQ(0, fs_open(&f));
}

static void reads(uint64_t dir, const char *name, const char *want)
{
	uint64_t ino = fs_look(&f, dir, name);
	char buf[16] = "";

	CHECK(ino != 0);
	CHECK_EQ((long)strlen(want), fs_read(&f, ino, 0, buf, sizeof(buf)));
	CHECK(memcmp(buf, want, strlen(want)) == 0);
}

static uint64_t found_dir(void)
{
	return fs_look(&f, ROOT, "lost+found");
}

/* ---- inodes, names, directories -------------------------------------------------------------- */

static void nlink_5(struct inode_row *r)
{
	r->pub.nlink = 5;
}

static void parent_far(struct inode_row *r)
{
	r->pub.parent = FAR;
}

static void entries_9(struct inode_row *r)
{
	r->entries = 9;
}

static void cookie_3(struct inode_row *r)
{
	r->cookie_next = 3;
}

static void size_1(struct inode_row *r)
{
	r->pub.size = 1;
}

static void t_clean(void)
{
	make();
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, run(true));
	CHECK_EQ(0, res.findings);
	CHECK(res.kept[0] == '\0');
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_make(&f, ROOT, "new", STORE_REG, NULL));
	fs_crash(&f); /* an end without order is no damage, and repair leaves nothing to recover */
	store_free(f.s);
	f.s = NULL;
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, run(true));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK(fs_look(&f, ROOT, "new") != 0);
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* covers: VS-153 */
static void t_counts(void)
{
	make();
	edit_inode(file_a, nlink_5);
	mend("link-count");
	CHECK_EQ(2, store_inode(f.s, file_a)->nlink);
	fs_close(&f);
	edit_inode(dir_d, nlink_5);
	mend("link-count");
	CHECK_EQ(3, store_inode(f.s, dir_d)->nlink);
	fs_close(&f);
	edit_inode(dir_d, entries_9);
	mend("directory-entries");
	fs_close(&f);
	edit_inode(dir_d, cookie_3);
	mend("cookie");
	CHECK_EQ(0, fs_make(&f, dir_d, "another", STORE_REG, NULL));
	fs_close(&f);
	edit_inode(dir_e, parent_far);
	mend("parent");
	CHECK_EQ(dir_d, store_inode(f.s, dir_e)->parent);
	fs_close(&f);
	edit_inode(link_l, size_1);
	mend("link-size");
	fs_drop(&f);
}

static void t_rows_mirror(void)
{
	uint8_t key[ROW_KEY_MAX];

	make();
	del_row(key, key_dir(key, ROOT, 3));
	mend("name-not-listed");
	CHECK_EQ(dir_d, fs_look(&f, ROOT, "d"));
	fs_close(&f);
	del_row(key, key_name(key, dir_d, "a", 1));
	mend("listing-without-name");
	reads(dir_d, "a", "data of a");
	fs_close(&f);
	put_name(dir_d, "b", 300, file_b, false); /* its listing is at another cookie */
	mend("listing-without-name");
	reads(dir_d, "a", "data of a");
	fs_close(&f);
	put_name(dir_d, "x/y", 400, file_b, false);
	mend("name-row");
	fs_close(&f);
	put_row(key, key_dir(key, dir_d, 500), "short", 5);
	mend("listing-row");
	fs_drop(&f);
}

static void t_inode_without_name(void)
{
	uint8_t key[ROW_KEY_MAX];
	struct index *x;
	uint64_t lf;
	char name[32];

	make();
	x = edit();
	CHECK_EQ(0, index_del(x, key, key_name(key, dir_d, "b", 1)));
	CHECK_EQ(0, index_del(x, key, key_dir(key, dir_d, 4)));
	CHECK_EQ(0, index_del(x, key, key_name(key, dir_d, "e", 1)));
	CHECK_EQ(0, index_del(x, key, key_dir(key, dir_d, 6)));
	save(x);
	mend("inode-without-name");
	lf = found_dir();
	CHECK(lf != 0);
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)file_b);
	CHECK_EQ(file_b, fs_look(&f, lf, name));
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)dir_e);
	CHECK_EQ(dir_e, fs_look(&f, lf, name));
	CHECK_EQ(lf, store_inode(f.s, dir_e)->parent);
	CHECK(fs_look(&f, dir_e, "deep") != 0);
	fs_drop(&f);
}

static void t_name_without_inode(void)
{
	uint8_t key[9];

	make();
	put_name(dir_d, "ghost", 50, FAR, true);
	mend("name-without-inode");
	CHECK_EQ(0, fs_look(&f, dir_d, "ghost"));
	fs_close(&f);
	/* Its object is there: the file comes back under its name. */
	del_row(key, key_inode(key, file_a));
	CHECK_EQ(1, run(false));
	CHECK(says("name-without-inode"));
	CHECK_EQ(1, run(true));
	CHECK(says("inode-lost"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	reads(dir_d, "a", "data of a");
	CHECK_EQ(2, store_inode(f.s, file_a)->nlink);
	fs_close(&f);
	/* A directory's inode: known by what it holds. */
	del_row(key, key_inode(key, dir_e));
	CHECK_EQ(1, run(true));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(dir_e, fs_look(&f, dir_d, "e"));
	CHECK(fs_look(&f, dir_e, "deep") != 0);
	fs_drop(&f);
}

static void t_directories(void)
{
	uint8_t key[ROW_KEY_MAX];
	struct index *x;

	make();
	put_name(ROOT, "second", 50, dir_e, true);
	mend("directory-twice");
	CHECK_EQ(dir_e, fs_look(&f, dir_d, "e"));
	CHECK_EQ(0, fs_look(&f, ROOT, "second"));
	fs_close(&f);
	put_name(dir_e, "up", 50, ROOT, true);
	mend("directory-twice");
	fs_close(&f);
	/* d in e in d */
	x = edit();
	CHECK_EQ(0, index_del(x, key, key_name(key, ROOT, "d", 1)));
	CHECK_EQ(0, index_del(x, key, key_dir(key, ROOT, 3)));
	save(x);
	put_name(dir_e, "d", 60, dir_d, true);
	mend("directory-loop");
	CHECK(found_dir() != 0);
	CHECK(fs_look(&f, dir_e, "deep") != 0);
	fs_close(&f);
	/* Names below a file, names below nobody. */
	put_name(file_a, "below", 3, file_b, true);
	mend("name-in-no-directory");
	fs_close(&f);
	put_name(FAR, "stray", 3, file_b, true);
	mend("directory-lost");
	CHECK(fs_look(&f, FAR, "stray") == file_b);
	fs_drop(&f);
}

static void t_inode_rows(void)
{
	uint8_t key[9];

	make();
	put_row(key, key_inode(key, file_b), "garbage", 7);
	mend("inode-row");
	CHECK(fs_look(&f, dir_d, "b") == file_b);
	fs_close(&f);
	del_row(key, key_inode(key, ROOT));
	mend("root-gone");
	CHECK(fs_look(&f, ROOT, "d") == dir_d);
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

static void meta_low(void)
{
	static const uint8_t key[2] = {TABLE_META, 0};
	struct index *x = edit();
	struct index_row row;
	uint8_t val[META_SIZE];
	struct meta m;

	CHECK_EQ(0, index_write_get(x, key, 2, &row));
	CHECK_EQ(0, meta_decode(&m, row.val, row.val_len));
	m.next_ino = file_b;
	m.files = 77;
	meta_encode(&m, val);
	CHECK_EQ(0, index_put(x, key, 2, val, sizeof(val)));
	save(x);
}

static void t_meta(void)
{
	static const uint8_t key[2] = {TABLE_META, 0}, verifier[2] = {TABLE_STATE, 'v'};
	uint64_t ino;

	make();
	meta_low();
	mend("inode-number");
	CHECK(says("inode-number") || res.findings == 0);
	CHECK_EQ(0, fs_make(&f, ROOT, "n", STORE_REG, &ino));
	CHECK(ino > dir_e);
	/* A crash: the log has what the index has not; then META is lost. */
	store_free(f.s);
	f.s = NULL;
	del_row(key, 2);
	CHECK_EQ(1, run(true));
	CHECK(says("meta"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(ino, fs_look(&f, ROOT, "n"));
	reads(dir_d, "a", "data of a");
	fs_close(&f);
	del_row(verifier, 2);
	CHECK_EQ(1, run(true));
	CHECK(says("write-verifier"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	fs_drop(&f);
}

static void t_small_tables(void)
{
	uint8_t key[64] = {TABLE_REPLIES, 0, 0, 0, 0, 0, 0, 0, 1};

	make();
	put_row(key, 9, "no chunk", 8);
	CHECK_EQ(1, run(true));
	CHECK(says("replies"));
	CHECK_EQ(0, run(false));
	key[0] = TABLE_CONN;
	put_row(key, 20, "", 0);
	CHECK_EQ(1, run(true));
	CHECK(says("connection-row"));
	CHECK_EQ(0, run(false));
	key[0] = TABLE_STATE;
	key[1] = '?';
	put_row(key, 2, "x", 1);
	mend("state-row");
	fs_close(&f);
	key[0] = TABLE_XATTR;
	put_row(key, 12, "x", 1);
	mend("attribute-row");
	fs_close(&f);
	/* The open would unlink the object of a living file. */
	key_inode(key, file_a);
	key[0] = TABLE_UNLINK;
	put_row(key, 9, "", 0);
	CHECK_EQ(1, run(true));
	CHECK(says("unlink-row"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* A newer version's rows are left alone. */
static void t_unknown_table(void)
{
	static const uint8_t key[3] = {'z', 1, 2};

	make();
	put_row(key, 3, "?", 1);
	CHECK_EQ(1, run(true));
	CHECK(says("unknown-row"));
	CHECK_EQ(1, res.left);
	CHECK_EQ(0, res.repaired);
	fs_drop(&f);
}

/* ---- objects --------------------------------------------------------------------------------- */

/* covers: VS-151 VS-153 - what is gone is said, and never passed off as data. */
static void t_object_missing(void)
{
	char path[128], buf[16];

	make();
	object(file_b, path, sizeof(path));
	CHECK_EQ(0, unlink(path));
	mend("object-missing");
	CHECK_EQ(0, store_inode(f.s, file_b)->size);
	CHECK_EQ(0, fs_read(&f, file_b, 0, buf, sizeof(buf)));
	CHECK_EQ(0, fs_write(&f, file_b, 0, "new", 3, true));
	reads(dir_d, "b", "new");
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* Only part of a lost object's data is in the log: it must not come back with holes. */
static void t_object_missing_in_log(void)
{
	char path[128];

	make();
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_write(&f, file_a, 4, "NEW", 3, true));
	store_free(f.s);
	f.s = NULL;
	object(file_a, path, sizeof(path));
	CHECK_EQ(0, unlink(path));
	CHECK_EQ(1, run(false));
	CHECK(says("object-missing"));
	CHECK_EQ(1, run(true));
	CHECK(says("object-missing"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, store_inode(f.s, file_a)->size);
	fs_drop(&f);
}

static void t_objects(void)
{
	char path[128], other[160], name[32];
	uint64_t lf;

	make();
	object(FAR, path, sizeof(path));
	file_put(path, "who", 3);
	mend("object-without-inode");
	lf = found_dir();
	snprintf(name, sizeof(name), "#%u", FAR);
	reads(lf, name, "who");
	fs_close(&f);
	object(file_a, path, sizeof(path));
	snprintf(other, sizeof(other), "%s/objects/05/05/%016llx", f.dir, (unsigned long long)file_a);
	CHECK_EQ(0, rename(path, other));
	mend("object-place");
	reads(dir_d, "a", "data of a");
	fs_close(&f);
	snprintf(other, sizeof(other), "%s/objects/05/05/what", f.dir);
	file_put(other, "x", 1);
	mend("object-name");
	CHECK(res.findings == 0);
	fs_close(&f);
	object(dir_d, path, sizeof(path)); /* of a directory */
	file_put(path, "x", 1);
	mend("object-without-inode");
	fs_close(&f);
	snprintf(other, sizeof(other), "%s/objects/05/05", f.dir);
	CHECK_EQ(0, rmdir(other));
	mend("object-folder");
	fs_drop(&f);
}

/* Files where a folder should be, and a name as long as a name can be: all are kept, each. */
static void t_objects_hostile(void)
{
	char path[600], name[256];

	make();
	memset(name, 'n', 255);
	name[255] = '\0';
	snprintf(path, sizeof(path), "%s/objects/05/05/%s", f.dir, name);
	file_put(path, "x", 1);
	mend("object-name");
	fs_close(&f);
	for (unsigned i = 1; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/objects/06/%02x", f.dir, i);
		CHECK_EQ(0, rmdir(path));
		file_put(path, "x", 1);
	}
	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "%s/objects/0e/%02x", f.dir, i);
		CHECK_EQ(0, rmdir(path));
	}
	snprintf(path, sizeof(path), "%s/objects/0e", f.dir);
	CHECK_EQ(0, rmdir(path));
	file_put(path, "x", 1);
	snprintf(path, sizeof(path), "%s/objects/07/07", f.dir);
	CHECK_EQ(0, rmdir(path));
	CHECK_EQ(0, symlink("nowhere", path));
	CHECK_EQ(1, run(true));
	CHECK(says("object-folder"));
	CHECK_EQ(0, res.left);
	for (unsigned i = 1; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s/object-folder-06-%02x", f.dir, res.kept, i);
		CHECK_EQ(0, access(path, F_OK));
	}
	snprintf(path, sizeof(path), "%s/%s/object-folder-0e", f.dir, res.kept);
	CHECK_EQ(0, access(path, F_OK));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* Pipes where files and folders should be: nobody waits for their other end, all are kept, and what the
 * log has for an object whose folder is gone is brought back with it. */
static void t_places_taken(void)
{
	static const char *const places[] = {"index/data.mdb", "log/0", "log/1", "index", "log",
					     "objects/0a", "objects"};
	char path[256];
	uint64_t ino;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		make();
		snprintf(path, sizeof(path), "rm -rf %s/%s && mkfifo %s/%s", f.dir, places[i], f.dir,
			 places[i]);
		CHECK_EQ(0, system(path));
		CHECK(run(false) != 0);
		CHECK_EQ(1, run(true));
		CHECK_EQ(0, res.left);
		CHECK_EQ(0, run(false));
		fs_drop(&f);
	}
	make();
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_make(&f, ROOT, "new", STORE_REG, &ino));
	CHECK_EQ(0, fs_write(&f, ino, 0, "in the log", 10, true));
	store_free(f.s);
	f.s = NULL;
	snprintf(path, sizeof(path), "rm -rf %s/objects/00", f.dir);
	CHECK_EQ(0, system(path));
	CHECK_EQ(1, run(true));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	reads(ROOT, "new", "in the log");
	fs_drop(&f);
}

static void log_name(unsigned half, char *out, size_t size);

/* What stands outside of the store is no business of its repair. */
static void untouched(const char *victim)
{
	char buf[32] = "";
	int fd = open(victim, O_RDONLY);

	CHECK(fd >= 0 && read(fd, buf, sizeof(buf)) == 6 && memcmp(buf, "victim", 6) == 0);
	close(fd);
}

static void put_instead(unsigned kind, const char *path, const char *victim)
{
	CHECK_EQ(0, unlink(path));
	switch (kind) {
	case 0:
		CHECK_EQ(0, symlink(victim, path));
		break;
	case 1:
		CHECK_EQ(0, symlink("nowhere", path));
		break;
	case 2:
		CHECK_EQ(0, mkdir(path, 0700));
		break;
	default:
		CHECK_EQ(0, mkfifo(path, 0600));
	}
}

/* What is no file stands where an object or a log half should: nothing is written through it, it is kept,
 * and what the log has for an object made in it comes back. */
static void t_no_file(void)
{
	char path[128], victim[160];
	uint64_t ino;

	for (unsigned kind = 0; kind < 4; kind++) {
		make();
		snprintf(victim, sizeof(victim), "%s.victim", f.dir);
		file_put(victim, "victim", 6);
		CHECK_EQ(0, fs_open(&f));
		CHECK_EQ(0, fs_make(&f, ROOT, "new", STORE_REG, &ino));
		CHECK_EQ(0, fs_write(&f, ino, 0, "in the log", 10, true));
		CHECK_EQ(0, fs_write(&f, file_b, 0, "again", 5, true));
		store_free(f.s);
		f.s = NULL;
		object(ino, path, sizeof(path));
		put_instead(kind, path, victim);
		object(file_b, path, sizeof(path));
		put_instead(kind, path, victim);
		CHECK_EQ(1, run(false));
		CHECK(says("object-name"));
		untouched(victim);
		CHECK_EQ(1, run(true));
		CHECK(says("object-name") && says("object-missing"));
		CHECK_EQ(0, res.left);
		untouched(victim);
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, fs_open(&f));
		reads(ROOT, "new", "in the log");
		CHECK_EQ(0, store_inode(f.s, file_b)->size);
		fs_close(&f);
		log_name(0, path, sizeof(path));
		put_instead(kind, path, victim);
		CHECK(run(false) != 0);
		CHECK_EQ(1, run(true));
		CHECK(says("log-gone"));
		untouched(victim);
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, unlink(victim));
		fs_drop(&f);
	}
}

/* ---- who repairs ----------------------------------------------------------------------------- */

#define SOMEBODY 54321U

static int give(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return lchown(path, SOMEBODY, SOMEBODY);
}

static int strangers;

static int strange(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)type, (void)at;
	if (st->st_uid != SOMEBODY || st->st_gid != SOMEBODY)
		printf("  %s: is of user %u\n", path, st->st_uid), strangers++;
	return 0;
}

/* What root makes in a store of the worker's user must be that user's, or it cannot be served. */
static void t_whose(void)
{
	char path[128];

	if (geteuid() != 0) {
		printf("  t_whose: skipped, needs root\n");
		return;
	}
	make();
	log_name(1, path, sizeof(path));
	CHECK_EQ(0, unlink(path));
	snprintf(path, sizeof(path), "%s/objects/05/05", f.dir);
	CHECK_EQ(0, rmdir(path));
	snprintf(path, sizeof(path), "%s/index/data.mdb", f.dir);
	CHECK_EQ(0, unlink(path));
	CHECK_EQ(0, nftw(f.dir, give, 16, FTW_PHYS));
	CHECK_EQ(1, run(true));
	CHECK(says("index-gone") && says("log-gone") && says("object-folder"));
	strangers = 0;
	CHECK_EQ(0, nftw(f.dir, strange, 16, FTW_PHYS));
	CHECK_EQ(0, strangers);
	CHECK_EQ(0, run(false));
	fs_drop(&f);
}

/* ---- the log --------------------------------------------------------------------------------- */

static void log_name(unsigned half, char *out, size_t size)
{
	snprintf(out, size, "%s/log/%u", f.dir, half);
}

/* Offset of the n-th batch that is there from the start of the half that has `first_lsn` or more. */
static bool batch_find(uint64_t lsn, unsigned *half, long *at)
{
	uint8_t b[BATCH_HEAD];
	struct batch_head h;
	char path[96];

	for (*half = 0; *half < 2; ++*half) {
		FILE *in;

		log_name(*half, path, sizeof(path));
		in = fopen(path, "r");
		for (*at = 0; in && fseek(in, *at, SEEK_SET) == 0 && fread(b, sizeof(b), 1, in) == 1;
		     *at += 4096)
			if (batch_head_decode(&h, b, sizeof(b)) == 0 && h.first_lsn <= lsn &&
			    lsn < h.first_lsn + h.count) {
				fclose(in);
				return true;
			}
		if (in)
			fclose(in);
	}
	return false;
}

/* covers: S5 - a damaged record in the middle: what is before and behind it is kept, and said. */
static void t_log_rot(void)
{
	unsigned half;
	char path[96];
	uint64_t lsn;
	long at;
	int fd;

	make();
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(0, fs_make(&f, ROOT, "before", STORE_REG, NULL));
	CHECK_EQ(0, fs_make(&f, ROOT, "inside", STORE_REG, NULL));
	lsn = store_last_lsn(f.s);
	CHECK_EQ(0, fs_make(&f, ROOT, "behind", STORE_REG, NULL));
	CHECK_EQ(0, fs_make(&f, ROOT, "last", STORE_REG, NULL));
	store_free(f.s);
	f.s = NULL;
	CHECK(batch_find(lsn, &half, &at));
	log_name(half, path, sizeof(path));
	fd = open(path, O_WRONLY);
	CHECK_EQ(16, pwrite(fd, "0123456789abcdef", 16, at + 120));
	close(fd);
	CHECK_EQ(1, run(false));
	CHECK(says("store-unreadable"));
	CHECK_EQ(1, run(true));
	CHECK(says("log-rot"));
	CHECK_EQ(0, res.left);
	CHECK(res.lost > 0);
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK(fs_look(&f, ROOT, "before") != 0);
	CHECK(fs_look(&f, ROOT, "behind") != 0);
	CHECK(fs_look(&f, ROOT, "last") != 0);
	CHECK_EQ(0, fs_look(&f, ROOT, "inside"));
	fs_drop(&f);
}

static void t_log_gone(void)
{
	char path[96];

	make();
	log_name(0, path, sizeof(path));
	CHECK_EQ(0, truncate(path, 8192));
	CHECK_EQ(1, run(false)); /* looking finds what a repair would */
	CHECK(says("log-gone"));
	log_name(1, path, sizeof(path));
	CHECK_EQ(0, unlink(path));
	CHECK(run(false) != 0);
	CHECK_EQ(1, run(true));
	CHECK(says("log-gone"));
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* ---- pages of the index ---------------------------------------------------------------------- */

#define MANY 3000U

static void make_many(void)
{
	char name[32];

	make();
	CHECK_EQ(0, fs_open(&f));
	for (unsigned i = 0; i < MANY; i++) {
		struct store_new n = {.type = STORE_REG,
				      .attr = {.set_mode = true, .set_uid = true, .set_gid = true,
					       .mode = 0644, .uid = 7}};
		uint64_t ino, wait;

		snprintf(name, sizeof(name), "many-%05u", i);
		while (store_op_begin(f.s, NULL, &wait) == STORE_WAIT)
			fs_wait(&f, wait);
		CHECK_EQ(0, store_create(f.s, dir_e, name, strlen(name), &n, &ino));
		store_op_end(f.s, NULL, 0);
	}
	fs_settle(&f);
	fs_close(&f);
}

static unsigned count_many(void)
{
	unsigned there = 0;
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many-%05u", i);
		there += fs_look(&f, dir_e, name) != 0;
	}
	return there;
}

static int index_file(void)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/index/data.mdb", f.dir);
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	return fd;
}

/* Overwrites the last sound page of this kind that begins with a row of the table (0: of any). */
static void spoil_page(unsigned flags, uint8_t table, bool zeros)
{
	uint8_t page[4096], junk[4096];
	int fd = index_file();
	off_t hit = 0;

	for (unsigned i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(zeros ? 0 : i * 37 + 11);
	for (off_t at = 8192; pread(fd, page, sizeof(page), at) == sizeof(page); at += 4096) {
		uint16_t kind, first, key;
		uint64_t number;

		memcpy(&number, page, 8);
		memcpy(&kind, page + 10, 2);
		memcpy(&first, page + (flags == 1 ? 18 : 16), 2);
		if (number != (uint64_t)at / 4096 || kind != flags || first > 4080)
			continue;
		memcpy(&key, page + first + 6, 2);
		if (key > 0 && (table == 0 || page[first + 8] == table))
			hit = at;
	}
	CHECK(hit != 0);
	CHECK_EQ(4096, pwrite(fd, junk, sizeof(junk), hit));
	close(fd);
}

/* The root of the present tree: nothing leads to any row any more. */
static void spoil_root(void)
{
	uint8_t head[2][152], page[4096];
	uint64_t txn[2], root;
	uint16_t kind;
	int fd = index_file();

	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(152, pread(fd, head[i], 152, i * 4096));
		memcpy(&txn[i], head[i] + 144, 8);
	}
	memcpy(&root, head[txn[1] > txn[0]] + 128, 8);
	CHECK_EQ(4096, pread(fd, page, 4096, (off_t)root * 4096));
	memcpy(&kind, page + 10, 2);
	CHECK_EQ(1, kind); /* a branch */
	memset(page, 'x', sizeof(page));
	CHECK_EQ(4096, pwrite(fd, page, 4096, (off_t)root * 4096));
	close(fd);
}

/* One of the two heads: LMDB would not open the file, and the other head has all there is. */
static void t_page_head(void)
{
	static const struct {
		off_t at;
		uint8_t bytes[4];
	} spoils[] = {{10, {0, 0, 0, 0}}, {16, {1, 2, 3, 4}}, {20, {9, 0, 0, 0}}, {40, {0, 32, 0, 0}}};

	for (unsigned i = 0; i < 2 * sizeof(spoils) / sizeof(spoils[0]); i++) {
		int fd;

		make_many();
		fd = index_file();
		CHECK_EQ(4, pwrite(fd, spoils[i / 2].bytes, 4, spoils[i / 2].at + i % 2 * 4096));
		close(fd);
		CHECK_EQ(1, run(false));
		CHECK(says("index-page") || says("index: cannot open"));
		CHECK_EQ(1, run(true));
		CHECK(says("index-page"));
		CHECK_EQ(0, res.left);
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, fs_open(&f));
		fs_drop(&f);
	}
}

/* The length of one node is off by two: what LMDB moves next in that page goes to the wrong place. */
static void t_page_node(void)
{
	uint8_t page[4096], *node;
	bool done = false;
	int fd;

	make_many();
	fd = index_file();
	for (off_t at = 8192; !done && pread(fd, page, 4096, at) == 4096; at += 4096) {
		node = page + ((page[18] | page[19] << 8) & 4094);
		if (page[10] != 2 || page[11] != 0 || page[12] < 40 || node[8] != TABLE_INODE)
			continue;
		node[0] = (uint8_t)(node[0] - 2);
		CHECK_EQ(4096, pwrite(fd, page, 4096, at));
		(void)run(false); /* a page that nothing leads to is no finding */
		done = says("index-page");
	}
	close(fd);
	CHECK(done);
	CHECK_EQ(1, run(true));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	fs_drop(&f);
}

/* LMDB takes what the list of free pages says on trust: the root of the tree, listed as free, is written over
 * by the next commits. */
static void t_page_free(void)
{
	uint8_t head[2][4096], page[4096], *list, num[8];
	unsigned young;
	uint64_t root;
	int fd;

	for (unsigned kind = 0; kind < 3; kind++) {
		make_many();
		fd = index_file();
		for (unsigned i = 0; i < 2; i++)
			CHECK_EQ(4096, pread(fd, head[i], 4096, i * 4096));
		young = memcmp(head[0] + 144, head[1] + 144, 1) < 0; /* counts of a test are small */
		memcpy(&root, head[young] + 80, 8);
		CHECK_EQ(4096, pread(fd, page, 4096, (off_t)root * 4096));
		/* Its first node: the list of one transaction, how many first. */
		list = page + (page[16] | page[17] << 8);
		list += 8 + (list[6] | list[7] << 8);
		CHECK(list[0] > 0);
		memcpy(num, head[young] + 128, 8);
		if (kind == 1)
			memset(num, 0xff, 8);
		memcpy(list + (kind == 2 ? 0 : 8), kind == 2 ? "\xff\xff\0\0\0\0\0" : (char *)num, 8);
		CHECK_EQ(4096, pwrite(fd, page, 4096, (off_t)root * 4096));
		close(fd);
		CHECK_EQ(1, run(false));
		CHECK(says("index-page"));
		CHECK_EQ(1, run(true));
		CHECK_EQ(0, res.left);
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, fs_open(&f));
		CHECK_EQ(MANY, count_many());
		fs_drop(&f);
	}
}

/* covers: VS-151 VS-153 - a leaf of each table that the tree rests on. */
static void t_page_leaf(void)
{
	static const uint8_t tables[] = {TABLE_INODE, TABLE_NAME, TABLE_DIR};

	for (unsigned i = 0; i < 2 * sizeof(tables); i++) {
		make_many();
		spoil_page(2, tables[i / 2], i % 2);
		CHECK_EQ(1, run(false));
		CHECK(says("index-page"));
		CHECK_EQ(1, run(true));
		CHECK(says("index-page"));
		CHECK_EQ(0, res.left);
		CHECK(res.kept[0] != '\0');
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, fs_open(&f));
		reads(dir_d, "a", "data of a");
		/* Names and listings have each other; inodes without an object have nothing else, and
		 * the last page of listings has some of them. */
		if (tables[i / 2] == TABLE_NAME)
			CHECK_EQ(MANY, count_many());
		else
			CHECK(count_many() >= MANY - 60);
		fs_drop(&f);
	}
}

static void t_page_branch(void)
{
	make_many();
	for (unsigned i = 0; i < 2; i++) { /* the log forgets them: it could bring them back, too */
		CHECK_EQ(0, fs_open(&f));
		fs_close(&f);
	}
	spoil_root();
	CHECK_EQ(1, run(false));
	CHECK(says("index-page"));
	CHECK_EQ(1, run(true));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(MANY, count_many());
	reads(dir_d, "a", "data of a");
	fs_drop(&f);
}

/* A count of pages that the file cannot have is damage, and nobody looks for so many. */
static void t_page_count(void)
{
	struct pages p = {0};
	uint64_t far;
	int fd;

	make_many();
	spoil_root();
	fd = index_file();
	far = (uint64_t)lseek(fd, 0, SEEK_END) / 4096 + (1U << 31);
	for (unsigned i = 0; i < 2; i++)
		CHECK_EQ(8, pwrite(fd, &far, 8, i * 4096 + 136));
	CHECK_EQ(0, pages_open(&p, fd));
	CHECK(p.last < p.file_pages);
	CHECK(p.too_many);
	pages_close(&p);
	close(fd);
	mend("index-page");
	CHECK_EQ(MANY, count_many());
	fs_drop(&f);
}

/* Nothing of the index is left: files come back by number, names are gone, and it says so. */
static void t_index_gone(void)
{
	char name[32];
	int fd;

	make();
	fd = index_file();
	CHECK_EQ(0, ftruncate(fd, 100));
	close(fd);
	CHECK_EQ(1, run(false));
	CHECK(says("index-gone"));
	CHECK_EQ(1, run(true));
	CHECK(says("index-gone"));
	CHECK_EQ(0, res.left);
	CHECK_EQ(0, run(false));
	CHECK_EQ(0, fs_open(&f));
	/* What the log still has is there; the rest by its number. */
	if (fs_look(&f, ROOT, "d") == 0) {
		snprintf(name, sizeof(name), "#%llu", (unsigned long long)file_a);
		reads(found_dir(), name, "data of a");
	} else {
		reads(dir_d, "a", "data of a");
	}
	CHECK_EQ(0, fs_make(&f, ROOT, "again", STORE_REG, NULL));
	fs_drop(&f);
}

/* ---- interrupted, refused -------------------------------------------------------------------- */

/* A repair that is killed at any moment leaves a store that the next one mends. */
static void t_killed(void)
{
	for (unsigned us = 200; us < 40000; us *= 3) {
		int status;
		pid_t pid;

		make_many();
		spoil_page(2, TABLE_NAME, true);
		edit_inode(file_a, nlink_5);
		pid = fork();
		if (pid == 0) {
			run(true);
			_exit(0);
		}
		usleep(us);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		CHECK(run(true) >= 0);
		CHECK_EQ(0, res.left);
		CHECK_EQ(0, run(false));
		CHECK_EQ(0, fs_open(&f));
		CHECK_EQ(MANY, count_many());
		fs_drop(&f);
	}
}

/* Every call that changes a folder asks here first: the repair can end before any of them. */
static bool dying;
static unsigned calls_left;

static void may_die(void)
{
	if (dying && calls_left-- == 0)
		_exit(9);
}

int renameat(int from, const char *name, int to, const char *as)
{
	may_die();
	return (int)syscall(SYS_renameat, from, name, to, as);
}

int renameat2(int from, const char *name, int to, const char *as, unsigned how)
{
	may_die();
	return (int)syscall(SYS_renameat2, from, name, to, as, how);
}

int linkat(int from, const char *name, int to, const char *as, int how)
{
	may_die();
	return (int)syscall(SYS_linkat, from, name, to, as, how);
}

int unlinkat(int dir, const char *name, int how)
{
	may_die();
	return (int)syscall(SYS_unlinkat, dir, name, how);
}

static bool damaged_copy(const char *path, const void *want, size_t len)
{
	char *have = malloc(len + 1);
	FILE *in = fopen(path, "r");
	bool same = in && fread(have, 1, len + 1, in) == len && memcmp(have, want, len) == 0;

	if (in)
		fclose(in);
	free(have);
	return same;
}

/* In its place, or among what a repair keeps. */
static bool damaged_kept(const void *want, size_t len)
{
	char path[400];
	struct dirent *e;
	bool there;
	DIR *d;

	snprintf(path, sizeof(path), "%s/index/data.mdb", f.dir);
	there = damaged_copy(path, want, len);
	snprintf(path, sizeof(path), "%s/repaired", f.dir);
	d = opendir(path);
	while (d && !there && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/repaired/%s/index.mdb", f.dir, e->d_name);
		there = damaged_copy(path, want, len);
	}
	if (d)
		closedir(d);
	return there;
}

static size_t index_bytes(uint8_t **bytes)
{
	int fd = index_file();
	size_t len = (size_t)lseek(fd, 0, SEEK_END);

	*bytes = malloc(len);
	CHECK_EQ((long)len, pread(fd, *bytes, len, 0));
	close(fd);
	return len;
}

/* Ended before each of its changes of a folder: the damaged index is always somewhere, and so it is
 * when the next repair is through. */
static void t_swap(void)
{
	int status = 9 << 8;

	for (unsigned n = 0; status == 9 << 8; n++) {
		uint8_t *bytes;
		size_t len;
		pid_t pid;

		make_many();
		spoil_page(2, TABLE_NAME, true);
		len = index_bytes(&bytes);
		pid = fork();
		if (pid == 0) {
			dying = true;
			calls_left = n;
			run(true);
			_exit(0);
		}
		CHECK_EQ(pid, waitpid(pid, &status, 0));
		CHECK(damaged_kept(bytes, len));
		CHECK_EQ(0, run(true) < 0);
		CHECK_EQ(0, res.left);
		CHECK(damaged_kept(bytes, len));
		CHECK_EQ(0, run(false));
		free(bytes);
		CHECK_EQ(0, fs_open(&f));
		CHECK_EQ(MANY, count_many());
		fs_drop(&f);
	}
	CHECK_EQ(0, status);
}

static void t_refused(void)
{
	struct store_check_args a = {.dir = f.dir, .repair = true};
	char err[512], path[96];

	make();
	CHECK_EQ(0, fs_open(&f));
	CHECK_EQ(-EBUSY, store_check_run(&a, &res, err, sizeof(err)));
	CHECK(strstr(err, "in use") != NULL);
	fs_close(&f);
	snprintf(path, sizeof(path), "%s/LABEL", f.dir);
	CHECK_EQ(0, truncate(path, 10));
	CHECK_EQ(1, run(true));
	CHECK(says("store-unreadable"));
	CHECK_EQ(1, res.left);
	fs_drop(&f);
}

/* doc/check.md names every kind, and what is done about it, as the program does. */
static void t_documented(void)
{
	static const char *const want[] = {
#define FINDING(sym, name, class, repair) "| `" name "` |", "| " repair " |",
#include "store/tbl_finding.h"
#undef FINDING
	};
	static char text[65536];
	FILE *in = fopen("doc/check.md", "r");

	CHECK(in != NULL);
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		CHECK(strstr(text, want[i]) != NULL);
}

int main(void)
{
	CASE(t_documented);
	CASE(t_clean);
	CASE(t_counts);
	CASE(t_rows_mirror);
	CASE(t_inode_without_name);
	CASE(t_name_without_inode);
	CASE(t_directories);
	CASE(t_inode_rows);
	CASE(t_meta);
	CASE(t_small_tables);
	CASE(t_unknown_table);
	CASE(t_object_missing);
	CASE(t_object_missing_in_log);
	CASE(t_objects);
	CASE(t_objects_hostile);
	CASE(t_places_taken);
	CASE(t_no_file);
	CASE(t_whose);
	CASE(t_log_rot);
	CASE(t_log_gone);
	CASE(t_page_head);
	CASE(t_page_free);
	CASE(t_page_node);
	CASE(t_page_leaf);
	CASE(t_page_branch);
	CASE(t_page_count);
	CASE(t_index_gone);
	CASE(t_killed);
	CASE(t_swap);
	CASE(t_refused);
	return check_end();
}
