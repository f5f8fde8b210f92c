/* prom.c - see prom.h. */
#include "ctl/prom.h"

#include <stdarg.h>
#include <stdint.h>

#define WHOLE_MAX 9007199254740992.0 /* up to here a double has every whole number */

static void put_value(FILE *to, const char *value)
{
	for (; *value; value++)
#ifdef HF_MUTANT_PROM_LABELS_RAW
		fputc(*value, to);
#else
		if (*value == '\n')
			fputs("\\n", to);
		else if (*value == '"' || *value == '\\')
			fprintf(to, "\\%c", *value);
		else
			fputc(*value, to);
#endif
}

static void put_number(FILE *to, double number)
{
#ifndef HF_MUTANT_PROM_SIX_DIGITS
	if (number >= -WHOLE_MAX && number <= WHOLE_MAX && number == (double)(int64_t)number) {
		fprintf(to, "%lld", (long long)number);
		return;
	}
#endif
	fprintf(to, "%g", number);
}

void prom_put(FILE *to, const char *name, double number, ...)
{
	const char *key, *before = "{";
	va_list labels;

	fputs(name, to);
	va_start(labels, number);
	while ((key = va_arg(labels, const char *)) != NULL) {
		fprintf(to, "%s%s=\"", before, key);
		put_value(to, va_arg(labels, const char *));
		fputc('"', to);
		before = ",";
	}
	va_end(labels);
	if (*before == ',')
		fputc('}', to);
	fputc(' ', to);
	put_number(to, number);
	fputc('\n', to);
}
