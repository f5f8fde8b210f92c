/* key.c - `holdfast key`: the cluster's keys, rotated in steps.
 *
 * `add` makes a key on the first node, and on the others takes it from a copy of that node's file;
 * then `use` on every node, then `drop` on every node.  The daemon refuses what is too early. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 4096

static int ask_and_say(struct cli *c, json_t *request)
{
	int status;
	json_t *r = cli_ask(c, request, &status);

	if (!r)
		return status;
	if (c->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		printf("%s%s\n", c->dry_run ? "would do: " : "", cli_string(r, "text"));
	}
	json_decref(r);
	return status;
}

/* All of the file, or -errno. */
static int read_keys(const char *file, char text[FILE_MAX])
{
	FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	int rc = 0;

	if (!f)
		return -errno;
	errno = 0;
	text[fread(text, 1, FILE_MAX - 1, f)] = '\0';
	if (ferror(f))
		rc = -(errno ? errno : EIO);
	else if (!feof(f) && fgetc(f) != EOF)
		rc = -EFBIG;
	if (f != stdin)
		fclose(f);
	return rc;
}

int cli_key_add(struct cli *c)
{
	json_t *request = json_pack("{s:s}", "verb", "key-add"), *keys;
	char text[FILE_MAX] = "";
	int rc;

	if (!c->from)
		return ask_and_say(c, request);
	rc = read_keys(c->from, text);
	keys = rc ? NULL : json_string(text);
	explicit_bzero(text, sizeof(text));
	/* Without its keys the request would be one for a new key. */
	if (!keys || json_object_set_new(request, "keys", keys)) {
		json_decref(request);
		return cli_fail(c, CLI_FAILED, NULL, "%s: %s", c->from,
				rc ? strerror(-rc) : "is no key file");
	}
	return ask_and_say(c, request);
}

int cli_key_step(struct cli *c, const char *verb, const char *id)
{
	char *end;
	long number = strtol(id, &end, 10);

	if (*end || end == id || number < 1 || number > 255)
		return cli_fail(c, CLI_USAGE, NULL,
				"%s: a key's id is 1 to 255; see: holdfast key show", id);
	return ask_and_say(c, json_pack("{s:s, s:I}", "verb", verb, "id", (json_int_t)number));
}

static void print_key(const json_t *key, const char *here)
{
	size_t i;
	json_t *n;

	printf("%3.0f  %s  %s: %s", cli_number(key, "id"), cli_string(key, "fingerprint"), here,
	       json_is_true(json_object_get(key, "sends")) ? "sends" : "accepts");
	json_array_foreach(json_object_get(key, "nodes"), i, n)
	    printf(", %s: %s", cli_string(n, "node"),
		   json_is_true(json_object_get(n, "sends")) ? "sends" :
		   json_is_true(json_object_get(n, "has"))   ? "accepts" :
							       "does not have it");
	printf("\n");
}

int cli_key_show(struct cli *c)
{
	int status;
	json_t *key, *r = cli_ask(c, json_pack("{s:s}", "verb", "key-show"), &status);
	size_t i;

	if (!r)
		return status;
	if (c->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		printf(" ID  FINGERPRINT       NODES\n");
		json_array_foreach(json_object_get(r, "keys"), i, key)
			print_key(key, cli_string(r, "node"));
	}
	json_decref(r);
	return status;
}
