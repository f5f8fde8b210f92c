/* t_prom.c - lines of /metrics. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ctl/prom.h"

static char *text;
static size_t len;
static FILE *to;

static void begin(void)
{
	to = open_memstream(&text, &len);
	CHECK(to != NULL);
}

static void says(const char *wanted)
{
	bool same;

	fclose(to);
	same = strcmp(text, wanted) == 0;
	if (!same)
		printf("# %s", text);
	free(text);
	CHECK(same);
}

static void t_numbers(void)
{
	static const struct {
		double number;
		const char *says;
	} rows[] = {{0, "n 0\n"},
		    {1, "n 1\n"},
		    {-3, "n -3\n"},
		    {1234567, "n 1234567\n"},
		    {1234568, "n 1234568\n"},
		    {9007199254740991.0, "n 9007199254740991\n"},
		    {1e300, "n 1e+300\n"},
		    {0.25, "n 0.25\n"},
		    {INFINITY, "n inf\n"}};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin();
		prom_put(to, "n", rows[i].number, NULL);
		says(rows[i].says);
	}
}

static void t_labels(void)
{
	begin();
	prom_put(to, "n", 1, "vs", "v1", "name", "a\"b\\c\nd", NULL);
	says("n{vs=\"v1\",name=\"a\\\"b\\\\c\\nd\"} 1\n");
}

int main(void)
{
	CASE(t_numbers);
	CASE(t_labels);
	return check_end();
}
