/* show_units.c - tables about storage units. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

static const char *paths_text(const json_t *u, char out[24])
{
	double total = cli_number(u, "paths_total");

	if (total < 0)
		return "-";
	snprintf(out, 24, "%.0f/%.0f", cli_number(u, "paths_good"), total);
	return out;
}

/* What has no name of its own is known by the label that its record was given (VS-108). */
static const char *name_text(const json_t *u, char out[40])
{
	if (*cli_string(u, "wwid") != '-')
		return cli_string(u, "wwid");
	snprintf(out, 40, "label.%.24s", cli_string(u, "label"));
	return *cli_string(u, "label") == '-' ? "-" : out;
}

/* What is wrong, below the table. */
static void show_remarks(const json_t *u)
{
	const char *error = cli_string(u, "error"), *remark = cli_string(u, "remark");

	if (*error != '-')
		printf("  %s: %s\n", cli_string(u, "name"), error);
	if (*remark != '-')
		printf("  %s: %s\n", cli_string(u, "name"), remark);
}

int show_units(const json_t *list)
{
	const json_t *units = json_object_get(list, "units");
	char paths[24], pair[80], name[40];
	int status = CLI_OK;
	size_t i;
	json_t *u;

	printf("%-12s %-7s %-16s %8s %-10s %-6s %-34s %s\n", "UNIT", "BACKEND", "<S,R>", "EPOCH", "MOUNTED",
	       "PATHS", "HERE", "WWID");
	json_array_foreach(units, i, u)
	{
		snprintf(pair, sizeof(pair), "%s%s", cli_string(u, "pair"),
			 json_is_true(json_object_get(u, "mixed")) ? " mixed" : "");
		printf("%-12s %-7s %-16s %8.0f %-10s %-6s %-34s %s\n", cli_string(u, "name"),
		       cli_string(u, "backend"), pair, cli_number(u, "epoch"), cli_string(u, "mounted_on"),
		       paths_text(u, paths), cli_string(u, "here"), name_text(u, name));
		if (*cli_string(u, "error") != '-')
			status = CLI_FAILED;
	}
	json_array_foreach(units, i, u) show_remarks(u);
	return status;
}

static void show_record(const json_t *u)
{
	time_t at = (time_t)(cli_number(u, "written_ns") / 1e9);
	char when[64] = "never";
	struct tm tm;

	if (at && gmtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	printf("  S  owner %s, boot generation %.0f, epoch %.0f, written %s, before that %s\n",
	       cli_string(u, "s"), cli_number(u, "generation"), cli_number(u, "epoch"), when,
	       cli_string(u, "previous"));
}

static void show_reservation(const json_t *u)
{
	size_t i;
	json_t *k;

	printf("  R  holder %s, %s; remembered through a power loss of the target: %s\n",
	       cli_string(u, "r"), cli_string(u, "type"), cli_string(u, "remembers"));
	json_array_foreach(json_object_get(u, "keys"), i, k)
		printf("     key %s %s, generation %.0f%s  port %.0f  %s\n", cli_string(k, "key"),
		       cli_string(k, "node"), cli_number(k, "generation"),
		       json_is_true(json_object_get(k, "holder")) ? ", holder" : "", cli_number(k, "port"),
		       cli_string(k, "initiator"));
	if (cli_number(u, "keys_total") > (double)i)
		printf("     and %.0f keys more\n", cli_number(u, "keys_total") - (double)i);
}

int show_unit(const json_t *u)
{
	char name[40];
	size_t i;
	json_t *o;

	printf("%s: %s%s, %s, %s", cli_string(u, "name"), cli_string(u, "pair"),
	       json_is_true(json_object_get(u, "mixed")) ? " mixed" : "", cli_string(u, "backend"),
	       cli_string(u, "here"));
	if (*cli_string(u, "mounted_on") != '-')
		printf(", mounted on %s", cli_string(u, "mounted_on"));
	printf("\n  name %s\n  for", name_text(u, name));
	json_array_foreach(json_object_get(u, "vservers"), i, o) printf(" %s", json_string_value(o));
	printf("\n");
	show_record(u);
	show_reservation(u);
	json_array_foreach(json_object_get(u, "paths"), i, o)
		printf("  path %s: %s%s\n", cli_string(o, "device"), cli_string(o, "state"),
		       json_is_true(json_object_get(o, "good")) ? "" : ", BAD");
	show_remarks(u);
	return *cli_string(u, "error") == '-' ? CLI_OK : CLI_FAILED;
}
