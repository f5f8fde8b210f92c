/* t_overlay.c - a generation's rows: found again, and in key order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "store/overlay.h"

#define SEED 0x1234567890abcdefULL

static size_t some_key(uint8_t key[64], unsigned i)
{
	char name[16];

	switch (i % 4) {
	case 0:
		return key_inode(key, i);
	case 1:
		snprintf(name, sizeof(name), "n%u", i * 7919 % 100003);
		return key_name(key, i % 3 + 1, name, strlen(name));
	case 2:
		return key_dir(key, i % 5 + 1, i);
	default:
		return key_xattr(key, i, "user.x", i % 8 < 4 ? 6 : 5);
	}
}

static int by_key(const void *a, const void *b)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
	size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
	int d = memcmp(x->key, y->key, n);

	return d ? d : (int)x->key_len - (int)y->key_len;
}

static struct gen *some_rows(unsigned count, unsigned step)
{
	struct gen *g = gen_new(SEED);
	uint8_t key[64];

	for (unsigned i = 0; i < count; i++) {
		unsigned n = i * step % count;
		size_t len = some_key(key, n);

		gen_put(g, key, len, key, len, n, false);
	}
	return g;
}

static void t_found_again(void)
{
	struct gen *g = some_rows(20011, 1);
	uint8_t key[64];

	for (unsigned i = 0; i < 20011; i++) {
		size_t len = some_key(key, i);
		const struct row *r = gen_find(g, key, len);

		CHECK(r && r->lsn == i && r->val_len == len && memcmp(r->val, key, len) == 0);
	}
	CHECK(gen_find(g, key, key_inode(key, 20012)) == NULL);
	gen_free(g);
}

/* Made in order, backwards, and in leaps. */
static void t_key_order(void)
{
	static const unsigned step[] = {1, 20010, 7, 997};

	for (unsigned i = 0; i < 4; i++) {
		struct gen *g = some_rows(20011, step[i]);
		struct row **sorted = gen_sorted(g);
		struct row **want = malloc(g->rows * sizeof(*want));

		memcpy(want, g->list, g->rows * sizeof(*want));
		qsort(want, g->rows, sizeof(*want), by_key);
		CHECK(memcmp(sorted, want, g->rows * sizeof(*want)) == 0);
		free(want);
		free(sorted);
		gen_free(g);
	}
}

static void t_empty(void)
{
	struct gen *g = gen_new(SEED);

	free(gen_sorted(g));
	gen_free(g);
}

int main(void)
{
	CASE(t_found_again);
	CASE(t_key_order);
	CASE(t_empty);
	return check_end();
}
