/* fail.c - what went wrong before, behind or without the daemon, in the shape in which it refuses. */
#include "cli.h"

#include <stdarg.h>
#include <string.h>

static const char *reason_of(int status)
{
	switch ((enum cli_exit)status) {
	case CLI_USAGE:
		return "usage";
	case CLI_DAMAGED:
		return "damaged";
	case CLI_UNAVAILABLE:
		return "no-daemon";
	case CLI_INTERNAL:
		return "internal";
	case CLI_EXISTS:
		return "cannot-make";
	case CLI_IN_USE:
		return "in-use";
	case CLI_CONFIG:
		return "configuration";
	case CLI_OK:
	case CLI_FAILED:
		break;
	}
	return "failed";
}

int cli_fail(const struct cli *c, int status, const char *reason, const char *fmt, ...)
{
	char text[1024], safe[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->json) {
		json_t *o = json_pack("{s:b, s:s, s:s}", "ok", 0, "reason",
				      reason ? reason : reason_of(status), "text",
				      cli_text(safe, sizeof(safe), text));

		json_dumpf(o, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(o);
	}
	fprintf(stderr, "holdfast: %s\n", text);
	return status;
}
