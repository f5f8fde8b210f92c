/* t_htab.c - the store's hash tables: what was put in is found, what was not is not. */
#include <stdlib.h>

#include "check.h"
#include "store/htab.h"

#define THINGS 50000U

struct thing {
	struct htab_link link;
	bool in;
};

static struct thing thing[THINGS];

static bool found(const struct htab *t, uint64_t hash, const struct thing *want)
{
	struct htab_look k;

	for (struct htab_link *l = htab_first(&k, t, hash); l; l = htab_next(&k))
		if (l == &want->link)
			return true;
	return false;
}

/* In and out in any order while it grows, with hashes of one kind; each is looked for at the end.
 */
static void in_and_out(uint64_t (*hash)(unsigned i))
{
	size_t count = 0;
	struct htab t;

	htab_init(&t);
	for (unsigned i = 0; i < THINGS; i++)
		thing[i].in = false;
	for (unsigned n = 0; n < 4 * THINGS; n++) {
		struct thing *it = &thing[(unsigned)rand() % THINGS];
		uint64_t h = hash((unsigned)(it - thing));

		CHECK_EQ(it->in, found(&t, h, it));
		if (it->in) {
			htab_del(&t, &it->link);
			count--;
		} else {
			htab_grow(&t, ++count);
			htab_put(&t, &it->link, h);
		}
		it->in = !it->in;
	}
	for (unsigned i = 0; i < THINGS; i++)
		CHECK_EQ(thing[i].in, found(&t, hash(i), &thing[i]));
	CHECK(count > THINGS / 3);
	htab_fini(&t);
}

static uint64_t dense(unsigned i)
{
	return 1000000 + i;
}

static uint64_t spread(unsigned i)
{
	return (i + 1) * 0xff51afd7ed558ccdULL;
}

static uint64_t few(unsigned i)
{
	return i % 3000; /* long chains, of equal hashes too */
}

static uint64_t mixed(unsigned i)
{
	uint64_t h = spread(i);

	h = (h ^ h >> 31) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

static size_t lines_of_the_few(const struct htab *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->buckets; i++)
		for (const struct htab_line *l = htab_bucket(t, i)->more; l; l = l->more)
			n++;
	return n;
}

/* The same number for a long time, oldest out, newest in: at no time it needs more than at another. */
static void t_steady(void)
{
	size_t early = 0, unused = 0;
	struct htab t;

	htab_init(&t);
	htab_grow(&t, THINGS);
	for (unsigned n = 0; n < 100 * THINGS; n++) {
		struct thing *it = &thing[n % THINGS];

		if (n >= THINGS)
			htab_del(&t, &it->link);
		htab_put(&t, &it->link, mixed(n));
		if (n == 2 * THINGS)
			early = lines_of_the_few(&t);
	}
	CHECK(early > 0 && lines_of_the_few(&t) < early * 5 / 4);
	for (const struct htab_line *l = t.unused; l; l = l->more)
		unused++;
	CHECK(unused < early / 2);
	htab_fini(&t);
}

static void t_dense(void)
{
	in_and_out(dense);
}

static void t_spread(void)
{
	in_and_out(spread);
}

static void t_few(void)
{
	in_and_out(few);
}

/* Most looks for what is not there look at no entry. */
static void t_tags(void)
{
	struct htab_look k;
	unsigned looked = 0;
	struct htab t;

	htab_init(&t);
	for (unsigned i = 0; i < THINGS; i++) {
		htab_grow(&t, i + 1);
		htab_put(&t, &thing[i].link, spread(i));
	}
	for (unsigned i = THINGS; i < 2 * THINGS; i++) {
		CHECK(!htab_find(&t, spread(i)));
		looked += htab_first(&k, &t, spread(i)) != NULL;
	}
	CHECK(looked < THINGS / 50);
	htab_fini(&t);
}

int main(void)
{
	srand(1);
	CASE(t_dense);
	CASE(t_steady);
	CASE(t_spread);
	CASE(t_few);
	CASE(t_tags);
	return check_end();
}
