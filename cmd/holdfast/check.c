/* check.c - `holdfast check DIR`: looks at a store that is not open, changes nothing. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/store.h"

struct findings {
	bool json;
	json_t *list;
	unsigned count;
};

static void found(void *arg, const char *line)
{
	struct findings *f = arg;

	f->count++;
	if (f->json)
		json_array_append_new(f->list, json_string(line));
	else
		printf("%s\n", line);
}

int cli_check(struct cli *c, const char *dir)
{
	struct findings f = {.json = c->json, .list = json_array()};
	int res = store_check(dir, found, &f);

	if (c->json) {
		json_t *o = json_pack("{s:s, s:b, s:i, s:O}", "store", dir, "clean", res == 0,
				      "error", res < 0 ? -res : 0, "findings", f.list);

		json_dumpf(o, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(o);
	} else if (res == 0) {
		printf("%s: clean\n", dir);
	} else if (res > 0) {
		printf("%s: %u findings; nothing was changed\n", dir, f.count);
	}
	json_decref(f.list);
	if (res < 0 && f.count == 0)
		fprintf(stderr, "holdfast: %s: cannot be checked: %s\n", dir, strerror(-res));
	if (res == -EBUSY || res == -EAGAIN)
		return CLI_IN_USE;
	return res == 0 ? CLI_OK : CLI_DAMAGED;
}
