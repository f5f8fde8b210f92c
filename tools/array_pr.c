/* array_pr.c - the rules behind array_pr.h; section numbers are those of SPC-4. */
#include "array_pr.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void pr_init(struct pr *p)
{
	memset(p, 0, sizeof(*p));
	p->holder = PR_NOBODY;
}

static bool has_key(const struct pr *p, unsigned path, uint64_t key)
{
	return path < PR_PATHS_MAX && key && p->key[path] == key;
}

/* Takes a registration away; the reservation goes with its holder (5.12.11.2.1). */
static void drop(struct pr *p, unsigned path)
{
	p->key[path] = 0;
	if (p->holder == (int)path)
		p->holder = PR_NOBODY;
}

static void drop_by_other(struct pr *p, unsigned path)
{
	drop(p, path);
	p->attention[path] = true;
}

enum pr_result pr_register(struct pr *p, unsigned path, uint64_t key)
{
	if (path >= PR_PATHS_MAX || !key)
		return PR_INVALID;
	p->key[path] = key;
	p->generation++;
	return PR_OK;
}

enum pr_result pr_unregister(struct pr *p, unsigned path, uint64_t key)
{
	if (!has_key(p, path, key))
		return PR_CONFLICT;
	/* Registrants-only: the others learn that the reservation is gone (5.12.11.2.2). */
	if (p->holder == (int)path) {
		for (unsigned i = 0; i < PR_PATHS_MAX; i++)
			if (i != path && p->key[i])
				p->attention[i] = true;
	}
	drop(p, path);
	p->generation++;
	return PR_OK;
}

enum pr_result pr_reserve(struct pr *p, unsigned path, uint64_t key)
{
	if (!has_key(p, path, key))
		return PR_CONFLICT;
	if (p->holder != PR_NOBODY && p->holder != (int)path)
		return PR_CONFLICT;
	p->holder = (int)path;
	return PR_OK;
}

enum pr_result pr_release(struct pr *p, unsigned path, uint64_t key)
{
	if (!has_key(p, path, key))
		return PR_CONFLICT;
	/* Releasing what another holds is good and does nothing (5.12.11.2.2). */
	if (p->holder == (int)path)
		p->holder = PR_NOBODY;
	return PR_OK;
}

enum pr_result pr_preempt(struct pr *p, unsigned path, uint64_t key, uint64_t victim)
{
	bool of_holder, found = false;

	if (!victim)
		return PR_INVALID;
	if (!has_key(p, path, key))
		return PR_CONFLICT;
	of_holder = p->holder != PR_NOBODY && p->key[p->holder] == victim;
	for (unsigned i = 0; i < PR_PATHS_MAX; i++) {
		if (p->key[i] != victim)
			continue;
		found = true;
#ifdef HF_MUTANT_ARRAY_PREEMPT
		continue;
#else
		if (i != path)
			drop_by_other(p, i);
#endif
	}
	/* A key that nobody has (5.12.11.2.5): how the loser of a race learns that it lost. */
	if (!found)
		return PR_CONFLICT;
	if (of_holder)
		p->holder = (int)path;
	p->generation++;
	return PR_OK;
}

enum pr_result pr_clear(struct pr *p, unsigned path, uint64_t key)
{
	if (!has_key(p, path, key))
		return PR_CONFLICT;
	for (unsigned i = 0; i < PR_PATHS_MAX; i++) {
		if (i == path)
			drop(p, i);
		else if (p->key[i])
			drop_by_other(p, i);
	}
	p->holder = PR_NOBODY;
	p->generation++;
	return PR_OK;
}

bool pr_may_write(const struct pr *p, unsigned path)
{
#ifdef HF_MUTANT_ARRAY_OPEN
	return path < PR_PATHS_MAX || p->holder == PR_NOBODY;
#else
	return p->holder == PR_NOBODY || (path < PR_PATHS_MAX && p->key[path]);
#endif
}

bool pr_take_attention(struct pr *p, unsigned path)
{
	bool had = path < PR_PATHS_MAX && p->attention[path];

	if (had)
		p->attention[path] = false;
	return had;
}

bool pr_check(const struct pr *p)
{
	if (p->holder == PR_NOBODY)
		return true;
	return p->holder >= 0 && p->holder < PR_PATHS_MAX && p->key[p->holder];
}

size_t pr_save(const struct pr *p, char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, "gen %" PRIu32 " holder %d\n", p->generation,
				     p->holder);

	for (unsigned i = 0; i < PR_PATHS_MAX; i++) {
		if (!p->key[i] || at >= size)
			continue;
		at += (size_t)snprintf(out + at, size - at, "path %u key %016" PRIx64 "\n", i,
				       p->key[i]);
	}
	return at < size ? at : 0;
}

int pr_load(struct pr *p, const char *text)
{
	unsigned path;
	uint64_t key;
	int used = 0;

	pr_init(p);
	if (sscanf(text, "gen %" SCNu32 " holder %d\n%n", &p->generation, &p->holder, &used) != 2)
		return -EBADMSG;
	for (text += used; *text; text += used) {
		if (sscanf(text, "path %u key %" SCNx64 "\n%n", &path, &key, &used) != 2 ||
		    path >= PR_PATHS_MAX)
			return -EBADMSG;
		p->key[path] = key;
	}
	return pr_check(p) ? 0 : -EBADMSG;
}
