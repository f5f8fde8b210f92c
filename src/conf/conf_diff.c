/* conf_diff.c - two canonical texts compared key by key, and what each change needs. */
#include "conf/conf_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define DEPTH_MAX 4
#define SEP	  '\x1f'

/* A line of the text: the blocks it is in, its key, the count of that key in its block. */
struct entry {
	char path[256];
	char value[320];
	bool block;
};

struct text {
	struct entry *e;
	size_t count, room;
};

const char *conf_effect_name(enum conf_effect e)
{
	switch (e) {
	case CONF_ONLINE:
		return "online";
	case CONF_RESTART:
		return "restart";
	case CONF_NEVER:
		return "never";
	}
	return "none";
}

static const struct entry *find(const struct text *t, const char *path)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->e[i].path, path) == 0)
			return &t->e[i];
	return NULL;
}

static void add(struct text *t, const char *parent, const char *key, const char *value, bool block)
{
	struct entry *e;

	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 256;
		t->e = mem_realloc(t->e, t->room * sizeof(*t->e));
	}
	e = &t->e[t->count];
	for (unsigned n = 0;; n++) {
		char number[16] = "";

		if (n)
			snprintf(number, sizeof(number), "#%u", n + 1);
		if (snprintf(e->path, sizeof(e->path), "%s%s%c%.120s", parent, key, SEP, number) < 0 ||
		    !find(t, e->path))
			break;
	}
	snprintf(e->value, sizeof(e->value), "%s", value);
	e->block = block;
	t->count++;
}

/* `line` without its tabs; a block's key is all before its brace. */
static void take(struct text *t, char *line, char stack[DEPTH_MAX][256], unsigned *depth)
{
	size_t len;
	char *space;

	line += strspn(line, "\t");
	len = strlen(line);
	if (len == 0)
		return;
	if (strcmp(line, "}") == 0) {
		if (*depth)
			--*depth;
		return;
	}
	if (len > 2 && strcmp(line + len - 2, " {") == 0) {
		line[len - 2] = '\0';
		add(t, stack[*depth], line, "", true);
		if (*depth + 1 < DEPTH_MAX)
			snprintf(stack[++*depth], sizeof(stack[0]), "%s", t->e[t->count - 1].path);
		return;
	}
	space = strchr(line, ' ');
	if (space)
		*space = '\0';
	add(t, stack[*depth], line, space ? space + 1 : "", false);
}

static void read_text(struct text *t, const struct conf *c)
{
	char stack[DEPTH_MAX][256] = {""}, *text = NULL, *save = NULL;
	unsigned depth = 0;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	memset(t, 0, sizeof(*t));
	if (!f)
		return;
	conf_print(c, f);
	fclose(f);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		take(t, l, stack, &depth);
	free(text);
}

/* ---- what a change needs --------------------------------------------------------------------- */

static bool begins(const char *path, const char *with)
{
	return strncmp(path, with, strlen(with)) == 0;
}

/* The key itself, below the block it is in. */
static bool key_is(const char *path, const char *key)
{
	const char *at = strchr(path, SEP);

	return at && begins(at + 1, key) && at[1 + strlen(key)] == SEP;
}

static bool one_of(const char *path, const char *const *keys)
{
	for (; *keys; keys++)
		if (key_is(path, *keys))
			return true;
	return false;
}

static bool has_device(const struct conf *c, const char *path)
{
	for (unsigned i = 0; i < c->coord_count; i++)
		if (strcmp(c->coord[i], path) == 0)
			return true;
	return false;
}

static enum conf_effect devices(const struct conf *from, const struct conf *to, const char **why)
{
	unsigned gone = 0, came = 0;

	for (unsigned i = 0; i < from->coord_count; i++)
		gone += !has_device(to, from->coord[i]);
	for (unsigned i = 0; i < to->coord_count; i++)
		came += !has_device(from, to->coord[i]);
	if (gone + came > 1) {
		*why = "coordination devices change one at a time: the majorities before and after "
		       "must meet";
		return CONF_NEVER;
	}
	*why = "a node opens its coordination devices when it starts";
	return CONF_RESTART;
}

/* Every node that stays has as many heartbeat paths as before, of the same kinds: only addresses or
 * ports differ. */
static bool paths_alike(const struct conf *from, const struct conf *to)
{
	for (unsigned i = 0; i < to->node_count; i++) {
		const struct conf_node *b = &to->node[i], *a;
		int was = conf_find_node(from, b->name);

		if (was < 0)
			continue;
		a = &from->node[was];
		if (a->path_count != b->path_count)
			return false;
		for (unsigned k = 0; k < a->path_count; k++)
			if (a->path[k].interconnect != b->path[k].interconnect)
				return false;
	}
	return true;
}

static enum conf_effect judge(const struct conf *from, const struct conf *to, const char *path,
			      const char **why)
{
	static const char *const cluster[] = {"takeover", "self_fence", NULL};
	static const char *const timers[] = {"profile", "heartbeat", "path_silent", "dead", "wait",
					     "lease", "drift_stop", NULL};
	static const char *const node[] = {"capacity", NULL}, *const paths[] = {"network", "interconnect",
										NULL};
	const char *at = strchr(path, SEP);
	bool whole = at && at[1] == '\0';

	*why = NULL;
	if (begins(path, "cluster ")) {
		*why = "a cluster keeps its name";
		if (whole)
			return CONF_NEVER;
		if (key_is(path, "coordination"))
			return devices(from, to, why);
		*why = one_of(path, timers) ? "leases and verdicts of all nodes rest on the timers: each "
					      "takes them when its holdfastd starts" :
					      "it is read when holdfastd starts";
		return one_of(path, cluster) ? CONF_ONLINE : CONF_RESTART;
	}
	*why = "it is read when holdfastd starts";
	if (begins(path, "node ") && (whole || one_of(path, node)))
		return CONF_ONLINE;
	if (begins(path, "node ") && one_of(path, paths)) {
		*why = "heartbeat paths come and go when holdfastd starts; addresses and ports change online";
		return paths_alike(from, to) ? CONF_ONLINE : CONF_RESTART;
	}
	if (whole && (begins(path, "vserver ") || begins(path, "unit ")))
		return CONF_ONLINE;
	if (begins(path, "vserver "))
		return CONF_ONLINE;
	return CONF_RESTART;
}

/* ---- the comparison -------------------------------------------------------------------------- */

struct walk {
	const struct conf *from, *to;
	conf_change_fn *each;
	void *arg;
	enum conf_effect worst;
	char skip[256]; /* a block that is told as a whole */
};

static void people(char *out, size_t size, const char *path)
{
	size_t n = 0;

	for (; *path && n + 3 < size; path++) {
		if (*path != SEP) {
			out[n++] = *path;
			continue;
		}
		if (path[1] == '\0')
			break;
		if (path[1] == '#')
			continue;
		out[n++] = ':';
		out[n++] = ' ';
	}
	out[n] = '\0';
}

static void tell(struct walk *w, const char *path, const struct entry *a, const struct entry *b)
{
	struct conf_change c = {.from = ""};

	c.effect = judge(w->from, w->to, path, &c.why);
	if (c.effect == CONF_ONLINE)
		c.why = NULL;
	people(c.where, sizeof(c.where), path);
	if (a)
		snprintf(c.from, sizeof(c.from), "%s", a->block ? "{...}" : a->value);
	if (b)
		snprintf(c.to, sizeof(c.to), "%s", b->block ? "{...}" : b->value);
	if (c.effect > w->worst)
		w->worst = c.effect;
	if (w->each)
		w->each(w->arg, &c);
}

/* Entries of `one`; `forward`: changed and removed, else what only `one` has. */
static void walk(struct walk *w, const struct text *one, const struct text *other, bool forward)
{
	w->skip[0] = '\0';
	for (size_t i = 0; i < one->count; i++) {
		const struct entry *e = &one->e[i], *o;

		if (w->skip[0] && begins(e->path, w->skip))
			continue;
		w->skip[0] = '\0';
		o = find(other, e->path);
		if (o && (!forward || strcmp(o->value, e->value) == 0))
			continue;
		if (!o && e->block)
			snprintf(w->skip, sizeof(w->skip), "%s", e->path);
		tell(w, e->path, forward ? e : o, forward ? o : e);
	}
}

enum conf_effect conf_diff(const struct conf *from, const struct conf *to, conf_change_fn *each,
			   void *arg)
{
	struct walk w = {.from = from, .to = to, .each = each, .arg = arg};
	struct text a, b;

	read_text(&a, from);
	read_text(&b, to);
	walk(&w, &a, &b, true);
	walk(&w, &b, &a, false);
	free(a.e);
	free(b.e);
	return w.worst;
}

/* ---- numbers kept ---------------------------------------------------------------------------- */

/* What runs keeps its number; what is new takes one that is free, or the next. */
#define ARRANGE(field, count, find, max)                                                           \
	do {                                                                                       \
		bool placed[max] = {false};                                                        \
		unsigned n = now->count;                                                           \
		memset(next->field, 0, sizeof(next->field));                                       \
		for (unsigned i = 0; i < n; i++) {                                                 \
			int at = now->field[i].gone ? -1 : find(old, now->field[i].name);          \
			if (at >= 0) {                                                             \
				next->field[i] = old->field[at];                                   \
				placed[at] = true;                                                 \
			} else {                                                                   \
				next->field[i].gone = true;                                        \
			}                                                                          \
		}                                                                                  \
		for (unsigned at = 0, i = 0; at < old->count; at++) {                              \
			if (placed[at])                                                            \
				continue;                                                          \
			while (i < now->count && !now->field[i].gone)                              \
				i++;                                                               \
			if (i >= now->count && n == (max))                                         \
				return -ENOSPC;                                                    \
			next->field[i < now->count ? i++ : n++] = old->field[at];                  \
		}                                                                                  \
		next->count = n;                                                                   \
	} while (0)

static int arrange(struct conf *next, const struct conf *now, struct conf *old)
{
	char err[512];

	*old = *next;
	ARRANGE(unit, unit_count, conf_find_unit, CONF_UNITS_MAX);
	ARRANGE(vserver, vserver_count, conf_find_vserver, CONF_VSERVERS_MAX);
	return conf_check(next, "configuration", err, sizeof(err));
}

int conf_arrange(struct conf *next, const struct conf *now)
{
	struct conf *old = mem_zalloc(1, sizeof(*old));
	int rc = arrange(next, now, old);

	free(old);
	return rc;
}
