/* show.c - the tables that people read.  Everything comes from the JSON of `holdfast status`. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

const char *cli_text(char *out, size_t size, const char *text)
{
	json_t *valid = json_string(text);
	const unsigned char *p = (const unsigned char *)text;
	size_t at = 0;

	for (; *p && at + 5 < size; p++) {
		if (*p >= 0x20 && *p != 0x7f && *p != '\\' && (*p < 0x80 || valid))
			out[at++] = (char)*p;
		else
			at += (size_t)snprintf(out + at, size - at, "\\x%02x", *p);
	}
	while (*p && at > 0 && (out[at - 1] & 0x80)) /* cut, but not inside of a letter */
		at--;
	out[at] = 0;
	json_decref(valid);
	return out;
}

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

/* What its clients cannot mount, as its worker last said. */
static void show_missing(const json_t *status, const json_t *v)
{
	size_t i, k;
	json_t *w, *x;

	if (strcmp(cli_string(v, "state"), "SERVING") != 0)
		return;
	json_array_foreach(json_object_get(status, "workers"), i, w)
	{
		if (strcmp(cli_string(w, "vserver"), cli_string(v, "name")) != 0)
			continue;
		json_array_foreach(json_object_get(json_object_get(w, "stats"), "exports"), k, x)
			if (json_is_false(json_object_get(x, "found")))
				printf("  %s: export %s cannot be mounted: no directory \"%s\" in "
				       "its store\n", cli_string(v, "name"), cli_string(x, "path"),
				       cli_string(x, "dir"));
	}
}

/* What an operator gave as the reason. */
static void show_text(FILE *to, const json_t *o)
{
	const char *text = json_string_value(json_object_get(o, "text"));

	if (text && *text)
		fprintf(to, " \"%s\"", text);
}

/* One veto, inhibit flag or other hindrance, with its remedy. */
static void show_veto(FILE *to, const json_t *v)
{
	const char *about = cli_string(v, "about"), *todo = cli_string(v, "todo");

	fprintf(to, "  %s%s%s%s", cli_string(v, "reason"), *about == '-' ? "" : " (",
		*about == '-' ? "" : about, *about == '-' ? "" : ")");
	show_text(to, v);
	fprintf(to, "%s%s%s\n", *todo == '-' ? "" : ": ", *todo == '-' ? "" : todo,
		json_is_true(json_object_get(v, "force")) ? "; --force goes over it" : "");
}

void show_vetoes(FILE *to, const json_t *list)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v) show_veto(to, v);
}

/* Who has it, as that one says; since when this node has seen that. */
void show_vservers(const json_t *status)
{
	char since[32];
	size_t i;
	json_t *v;

	printf("%-16s %-10s %-10s %-10s %8s  %-10s %s\n", "VSERVER", "STATE", "NODE", "HOME",
	       "EPOCH", "SINCE", "REASON");
	json_array_foreach(json_object_get(status, "vservers"), i, v)
	{
		const json_t *o = json_object_get(v, "owner");
		bool none = *cli_string(o, "node") == '-';
		const char *reason = cli_string(none ? v : o, "reason");

		printf("%-16s %-10s %-10s %-10s %8.0f  %-10s %s%s%s\n", cli_string(v, "name"),
		       none ? cli_string(v, "state") : cli_string(o, "says"), cli_string(o, "node"),
		       cli_string(v, "home"), cli_number(o, "epoch"),
		       cli_age(cli_number(none ? v : o, "since_ms"), since),
		       strcmp(reason, "none") == 0 ? "-" : reason,
		       *cli_string(v, "move_to") == '-' ? "" : ", on its way to ",
		       *cli_string(v, "move_to") == '-' ? "" : cli_string(v, "move_to"));
	}
	json_array_foreach(json_object_get(status, "vservers"), i, v)
	{
		show_trouble(v);
		show_missing(status, v);
	}
}

bool show_vserver(const json_t *status, const char *name)
{
	size_t i;
	json_t *v, *us;
	const char *phase;
	char text[32];

	json_array_foreach(json_object_get(status, "vservers"), i, v)
	{
		bool serving = strcmp(cli_string(v, "state"), "SERVING") == 0;

		if (strcmp(cli_string(v, "name"), name) != 0)
			continue;
		printf("%s: %s here, served by %s (home %s), epoch %.0f, for %s\n", name,
		       cli_string(v, "state"), cli_string(v, "node"), cli_string(v, "home"),
		       cli_number(json_object_get(v, "owner"), "epoch"),
		       cli_age(cli_number(json_object_get(v, "owner"), "since_ms"), text));
		printf("  why:");
		say_reason(json_object_get(v, "owner"), "reason");
		if (*cli_string(v, "detail") != '-')
			printf("\n  in the way here: %s", cli_string(v, "detail"));
		if (cli_number(v, "repairing_ms") >= 0)
			printf("\n  %s for %s; %s",
			       serving ? "a file system of it is being repaired" : "being repaired",
			       cli_age(cli_number(v, "repairing_ms"), text),
			       serving ? "its clients wait, the others are served" : "clients wait");
		if (cli_number(v, "repairs") + cli_number(v, "repairs_failed") > 0)
			printf("\n  repairs here: %.0f, failed %.0f, the last took %s",
			       cli_number(v, "repairs"), cli_number(v, "repairs_failed"),
			       cli_age(cli_number(v, "repair_ms_last"), text));
		printf("\n  last bring-up on this node:");
		json_object_foreach(json_object_get(v, "phases_us"), phase, us)
		    printf(" %s %.1f ms", phase, json_number_value(us) / 1000);
		printf(", all %.1f ms\n", cli_number(v, "total_us") / 1000);
		show_missing(status, v);
		return true;
	}
	return false;
}

static void show_ages(const char *what, const json_t *list)
{
	char age[32];
	size_t k;
	json_t *ms;

	printf("%s", what);
	json_array_foreach(list, k, ms) printf("%s %s", k ? "," : "",
					       cli_age(json_number_value(ms), age));
}

static void show_takeover(const json_t *p)
{
	const json_t *t = json_object_get(p, "takeover"), *bars = json_object_get(t, "barred_by");
	const char *name = cli_string(p, "name"), *step = cli_string(t, "step");
	char left[32];

	if (cli_number(t, "countdown_ms") >= 0)
		printf("  %s is asked to hand everything over; in %s what is left is taken by force\n",
		       name, cli_age(cli_number(t, "countdown_ms"), left));
	if (*step == 'T')
		printf("  what %s had was taken over\n", name);
	else if (*step != '-')
		printf("  takeover of %s: step 213%s\n", name, step);
	if (json_array_size(bars)) {
		printf("  a takeover of %s is barred:\n", name);
		show_vetoes(stdout, bars);
	}
}

static void show_peers(const json_t *status)
{
	char age[32];
	size_t i;
	json_t *p;

	json_array_foreach(json_object_get(status, "peers"), i, p)
	{
		printf("node %-10s %-11s for %s, says %s", cli_string(p, "name"),
		       cli_string(p, "verdict"), cli_age(cli_number(p, "verdict_ms"), age),
		       cli_string(p, "state"));
		show_ages("; heard on paths", json_object_get(p, "path_ms"));
		show_ages(", slots", json_object_get(p, "slot_ms"));
		if (json_is_true(json_object_get(json_object_get(p, "memory"), "on")))
			printf("; memory %s",
			       json_is_true(json_object_get(json_object_get(p, "memory"), "in_sync"))
				       ? "in sync"
				       : "NOT IN SYNC");
		say_reason(p, "takeover_blocked");
		printf("\n");
		show_takeover(p);
	}
}

static void show_paths(const json_t *status)
{
	/* Unknown: nobody answers who could. */
	const char *const qualities[] = {
	    "BAD",
	    json_array_size(json_object_get(status, "peers")) ? "unknown" :
								"alone, nobody to test it with",
	    "good"};
	unsigned q;
	size_t i;
	json_t *o;
	char w[32], r[32];

	json_array_foreach(json_object_get(status, "paths"), i, o)
	{
		q = (unsigned)cli_number(o, "quality");
		printf("port %zu %s %s: %s\n", i,
		       json_is_true(json_object_get(o, "interconnect")) ? "interconnect" : "network",
		       cli_string(o, "address"), qualities[q < 3 ? q : 0]);
	}
	json_array_foreach(json_object_get(status, "devices"), i, o)
	{
		printf("coordination %s: written %s ago, read %s ago%s\n", cli_string(o, "path"),
		       cli_age(cli_number(o, "write_ms"), w), cli_age(cli_number(o, "read_ms"), r),
		       cli_number(o, "write_error") + cli_number(o, "read_error") > 0 ? ", FAILING"
										      : "");
	}
}

static void show_inhibits(const json_t *status)
{
	size_t i;
	json_t *o;

	json_array_foreach(json_object_get(status, "inhibits"), i, o)
	{
		printf("takeover inhibited: %s%s%s by %s", cli_string(o, "level"),
		       *cli_string(o, "vs") == '-' ? "" : " ",
		       *cli_string(o, "vs") == '-' ? "" : cli_string(o, "vs"), cli_string(o, "by"));
		show_text(stdout, o);
		say_reason(o, "reason");
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

/* Step 252: the operator is asked. */
static void show_prompt(const json_t *status)
{
	size_t i;
	json_t *o;

	json_array_foreach(json_object_get(status, "prompt"), i, o)
	{
		printf("%s is at home here and %s has it: is this node well again? Then: holdfast "
		       "giveback %s\n",
		       cli_string(o, "vs"), cli_string(o, "node"), cli_string(status, "node"));
	}
}

void show_status(const json_t *status)
{
	bool majority = json_is_true(json_object_get(status, "majority"));
	char since[32];

	printf("node %-10s %-11s for %s, boot generation %.0f, master %s%s%s%s",
	       cli_string(status, "node"), cli_string(status, "state"),
	       cli_age(cli_number(status, "since_ms"), since), cli_number(status, "generation"),
	       cli_string(status, "master"),
	       majority ? "" : ", NO MAJORITY of coordination devices: nothing can be taken over",
	       json_is_true(json_object_get(status, "tilt")) ? ", TILT: observes before it acts" : "",
	       json_is_true(json_object_get(status, "leaving")) ? ", leaving" : "");
	say_reason(status, "reason");
	printf("\n");
	show_prompt(status);
	if (json_is_true(json_object_get(status, "waiting")))
		printf("REBOOTING until that giveback (step 252)\n");
	if (*cli_string(status, "giveback_to") != '-')
		printf("giving back to %s (step 222); holdfast cancel %s ends it\n",
		       cli_string(status, "giveback_to"), cli_string(status, "giveback_to"));
	if (cli_number(status, "memory_error") > 0)
		printf("persistent memory cannot be written: no takeover by this node\n");
	show_peers(status);
	show_paths(status);
	show_drops(status);
	show_inhibits(status);
	printf("\n");
	show_vservers(status);
}
