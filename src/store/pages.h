/* pages.h - the index file as its pages, read without LMDB.
 *
 * LMDB believes its file.  A page that rotted leads it astray: to wrong addresses, to an assertion,
 * or to "there is no such row".  Here every page is looked at before it is believed: is it the page
 * that was asked for, of the kind that belongs there, with nodes inside its bounds, keys in order
 * and between those of the branch above.  Used by the check, and to carry what is sound into a new
 * index.
 *
 * The layout is that of LMDB 0.9 (data version 1) on this kind of machine, as LMDB itself demands. */
#ifndef HF_STORE_PAGES_H
#define HF_STORE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_KEY_MAX 511U

struct pages {
	int fd;
	uint32_t page_bytes;
	uint64_t file_pages;		/* whole ones in the file */
	uint64_t last;			/* number of the last page in use; inside the file */
	uint64_t said_last;		/* ... as the head has it: the file's end may not be written yet */
	uint64_t head;			/* the page that holds the younger head */
	bool too_many;			/* the head counts pages that cannot be */
	bool headless;			/* the other head is none: LMDB would not open this */
	uint64_t broken_head;		/* ... its page */
	uint64_t root, free_root, txn;	/* UINT64_MAX: that tree is empty */
	unsigned depth, free_depth;
	/* walking */
	uint8_t *seen, *spare;		/* a bit for each page: reached; free */
	uint64_t bad, bad_branches;
	uint64_t done;
	void *arg;
	/* A row of a sound page; false: stop. */
	bool (*row)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val,
		    size_t val_len);
	/* A page that cannot be believed. */
	void (*damage)(void *arg, uint64_t page, const char *why);
	void (*step)(void *arg, uint64_t done, uint64_t all);
};

/* 0; -EUCLEAN: neither of the two heads of the file is one; -errno. */
int pages_open(struct pages *p, int fd);
void pages_close(struct pages *p);
/* Both trees, rows in key order.  0 or -ECANCELED. */
int pages_walk(struct pages *p);
/* After a walk that met damaged branches: rows of sound leaves that nothing leads to any more. */
int pages_strays(struct pages *p);

#endif
