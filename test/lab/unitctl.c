/* unitctl - a storage unit as one node's helper sees it, for tests against real targets.
 *
 *	unitctl CONF NODE GENERATION UNIT make
 *	unitctl CONF NODE GENERATION UNIT read | free | release | mount | unmount | lost
 *	unitctl CONF NODE GENERATION UNIT keep EPOCH
 *	unitctl CONF NODE GENERATION UNIT victim NODE_ID EPOCH
 *
 * The very calls that holdfastd's helpers make, one a run, with any boot generation; prints
 * `outcome= owner= holder= epoch= labels= text=` and ends with 0 for won, 1 lost, 2 held, 3 error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "ctl/spec.h"
#include "io/seal.h"
#include "io/unit.h"

static int finish(const struct unit_answer *a)
{
	static const char *const names[] = {"none", "won", "lost", "held", "error"};

	printf("outcome=%s owner=%u holder=%u epoch=%llu generation=%llu labels=%u text=%s\n",
	       names[a->outcome], a->owner, a->holder, (unsigned long long)a->owner_epoch,
	       (unsigned long long)a->owner_generation, a->labels, a->text);
	return a->outcome == UNIT_WON ? 0 : (int)a->outcome - 1;
}

static int plain(int rc, const char *text)
{
	printf("rc=%d text=%s\n", rc, text);
	return rc ? 3 : 0;
}

static int take(const struct unit_spec *u, const struct seal *s, const struct unit_self *self,
		int argc, char **argv)
{
	struct unit_ask ask = {.how = UNIT_FREE};
	struct unit_answer a = {0};
	int fd = unit_lock_open(u);

	if (strcmp(argv[5], "keep") == 0 && argc > 6) {
		ask.how = UNIT_KEEP;
		ask.victim_epoch = strtoull(argv[6], NULL, 10);
	} else if (strcmp(argv[5], "victim") == 0 && argc > 7) {
		ask.how = UNIT_VICTIM;
		ask.victim = (uint16_t)strtoul(argv[6], NULL, 10);
		ask.victim_epoch = strtoull(argv[7], NULL, 10);
	}
	if (fd < 0)
		return plain(fd, u->lock);
	unit_acquire(u, s, self, &ask, fd, &a);
	return finish(&a);
}

int main(int argc, char **argv)
{
	struct conf *c = mem_zalloc(1, sizeof(*c));
	struct unit_self self = {0};
	struct unit_spec u;
	struct unit_answer a = {0};
	struct seal s;
	char err[512] = "", key[CONF_PATH_MAX];
	const char *verb = argc > 5 ? argv[5] : "";
	int node, unit;

	if (argc < 6 || conf_load(c, argv[1], err, sizeof(err)) ||
	    (node = conf_find_node(c, argv[2])) < 0 || (unit = conf_find_unit(c, argv[4])) < 0 ||
	    spec_unit(&u, c, (unsigned)unit, argv[2]) || conf_path(key, sizeof(key), c->key, argv[2]) ||
	    seal_load(&s, key, err, sizeof(err))) {
		fprintf(stderr, "unitctl: %s\n", err);
		return 4;
	}
	self.node = c->node[node].id;
	self.generation = strtoull(argv[3], NULL, 10);
	snprintf(self.node_name, sizeof(self.node_name), "%s", argv[2]);
	u.key = owner_key(self.node, self.generation);
	if (strcmp(verb, "make") == 0)
		return plain(unit_make(&u, &s, err, sizeof(err)), err);
	if (strcmp(verb, "mount") == 0)
		return plain(unit_mount(&u, err, sizeof(err)), err);
	if (strcmp(verb, "unmount") == 0 || strcmp(verb, "lost") == 0)
		return plain(unit_unmount(&u, verb[0] == 'l', err, sizeof(err)), err);
	if (strcmp(verb, "release") == 0)
		unit_release(&u, &s, &self, &a);
	else if (strcmp(verb, "read") == 0)
		unit_read(&u, &s, &a);
	else
		return take(&u, &s, &self, argc, argv);
	return finish(&a);
}
