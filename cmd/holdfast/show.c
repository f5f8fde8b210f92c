/* show.c - the tables that people read.  Everything comes from the JSON of `holdfast status`. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

const char *cli_string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && *s ? s : "-";
}

double cli_number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

const char *cli_age(double ms, char out[32])
{
	static const struct {
		double below_ms, unit_ms;
		const char *name;
		int digits;
	} scale[] = {{1000, 1, "ms", 0},
		     {60e3, 1e3, "s", 1},
		     {3600e3, 60e3, "min", 0},
		     {48 * 3600e3, 3600e3, "h", 0}};

	if (ms < 0)
		return "never";
	for (size_t i = 0; i < sizeof(scale) / sizeof(scale[0]); i++) {
		if (ms < scale[i].below_ms) {
			snprintf(out, 32, "%.*f %s", scale[i].digits, ms / scale[i].unit_ms,
				 scale[i].name);
			return out;
		}
	}
	snprintf(out, 32, "%.0f d", ms / (24 * 3600e3));
	return out;
}

/* A reason other than "none", with what to do about it. */
static void say_reason(const json_t *o, const char *key)
{
	const char *reason = cli_string(o, key), *todo = cli_string(o, "todo");

	if (strcmp(reason, "none") != 0 && strcmp(reason, "-") != 0)
		printf("  (%s%s%s)", reason, *todo == '-' ? "" : ": ", *todo == '-' ? "" : todo);
}

/* What nobody serves: what stands in the way here, and what to do. */
static void show_trouble(const json_t *v)
{
	const char *detail = cli_string(v, "detail"), *todo = cli_string(v, "todo");

	if (*cli_string(v, "node") != '-')
		return;
	if (*detail != '-')
		printf("  %s: %s\n", cli_string(v, "name"), detail);
	if (*todo != '-')
		printf("  %s: %s: %s\n", cli_string(v, "name"), cli_string(v, "reason"), todo);
}

void show_vservers(const json_t *status)
{
	char since[32];
	size_t i;
	json_t *v;

	printf("%-16s %-10s %-10s %-10s %8s  %-10s %s\n", "VSERVER", "STATE", "NODE", "HOME",
	       "EPOCH", "SINCE", "REASON");
	json_array_foreach(json_object_get(status, "vservers"), i, v)
	{
		printf("%-16s %-10s %-10s %-10s %8.0f  %-10s %s\n", cli_string(v, "name"),
		       cli_string(v, "state"), cli_string(v, "node"), cli_string(v, "home"),
		       cli_number(v, "epoch"), cli_age(cli_number(v, "since_ms"), since),
		       cli_string(v, "reason"));
	}
	json_array_foreach(json_object_get(status, "vservers"), i, v) show_trouble(v);
}

bool show_vserver(const json_t *status, const char *name)
{
	size_t i;
	json_t *v, *us;
	const char *phase;
	char text[32];

	json_array_foreach(json_object_get(status, "vservers"), i, v)
	{
		if (strcmp(cli_string(v, "name"), name) != 0)
			continue;
		printf("%s: %s here, served by %s (home %s), epoch %.0f, for %s\n", name,
		       cli_string(v, "state"), cli_string(v, "node"), cli_string(v, "home"),
		       cli_number(v, "epoch"), cli_age(cli_number(v, "since_ms"), text));
		printf("  why:");
		say_reason(v, "reason");
		if (*cli_string(v, "detail") != '-')
			printf("\n  in the way here: %s", cli_string(v, "detail"));
		if (cli_number(v, "repairing_ms") >= 0)
			printf("\n  being repaired for %s; clients wait",
			       cli_age(cli_number(v, "repairing_ms"), text));
		if (cli_number(v, "repairs") + cli_number(v, "repairs_failed") > 0)
			printf("\n  repairs here: %.0f, failed %.0f, the last took %s",
			       cli_number(v, "repairs"), cli_number(v, "repairs_failed"),
			       cli_age(cli_number(v, "repair_ms_last"), text));
		printf("\n  last bring-up on this node:");
		json_object_foreach(json_object_get(v, "phases_us"), phase, us)
		    printf(" %s %.1f ms", phase, json_number_value(us) / 1000);
		printf(", all %.1f ms\n", cli_number(v, "total_us") / 1000);
		return true;
	}
	return false;
}

static void show_peers(const json_t *status)
{
	char age[32];
	size_t i, k;
	json_t *p, *ms;

	json_array_foreach(json_object_get(status, "peers"), i, p)
	{
		printf("node %-10s %-11s %-10s heard on paths:", cli_string(p, "name"),
		       cli_string(p, "verdict"), cli_string(p, "state"));
		json_array_foreach(json_object_get(p, "path_ms"), k, ms)
		    printf(" %s", cli_age(json_number_value(ms), age));
		printf("; slots:");
		json_array_foreach(json_object_get(p, "slot_ms"), k, ms)
		    printf(" %s", cli_age(json_number_value(ms), age));
		say_reason(p, "takeover_blocked");
		printf("\n");
	}
}

/* Messages that were not taken: somebody sends what is not ours, or a node is misconfigured. */
static void show_drops(const json_t *status)
{
	size_t i;
	json_t *o;

	json_array_foreach(json_object_get(status, "dropped"), i, o)
	    printf("dropped on %s %.0f: %.0f messages, %s: %s\n", cli_string(o, "way"),
		   cli_number(o, "number"), cli_number(o, "count"), cli_string(o, "reason"),
		   cli_string(o, "help"));
}

void show_status(const json_t *status)
{
	char since[32];
	size_t i;
	json_t *o;
	const json_t *inhibit = json_object_get(status, "inhibit");

	printf("node %-10s %-11s for %s, boot generation %.0f, master %s%s%s",
	       cli_string(status, "node"), cli_string(status, "state"),
	       cli_age(cli_number(status, "since_ms"), since), cli_number(status, "generation"),
	       cli_string(status, "master"),
	       json_is_true(json_object_get(status, "majority"))
		   ? ""
		   : ", NO MAJORITY of coordination devices",
	       json_is_true(json_object_get(status, "tilt")) ? ", TILT" : "");
	say_reason(status, "reason");
	printf("\n");
	show_peers(status);
	json_array_foreach(json_object_get(status, "devices"), i, o)
	{
		char w[32], r[32];

		printf("coordination %s: written %s ago, read %s ago%s\n", cli_string(o, "path"),
		       cli_age(cli_number(o, "write_ms"), w), cli_age(cli_number(o, "read_ms"), r),
		       cli_number(o, "write_error") + cli_number(o, "read_error") > 0 ? ", FAILING"
										      : "");
	}
	if (json_is_true(json_object_get(inhibit, "self")) ||
	    json_is_true(json_object_get(inhibit, "no_takeover")) ||
	    json_is_true(json_object_get(inhibit, "disable")))
		printf("takeover inhibited: self %d, no-takeover %d, disable %d\n",
		       json_is_true(json_object_get(inhibit, "self")),
		       json_is_true(json_object_get(inhibit, "no_takeover")),
		       json_is_true(json_object_get(inhibit, "disable")));
	show_drops(status);
	printf("\n");
	show_vservers(status);
}
