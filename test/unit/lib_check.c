/* lib_check.c - the harness behind check.h. */
#include "check.h"

#include <stdlib.h>

jmp_buf check_out;
unsigned check_passed, check_failed;

void check_fail(const char *file, int line, const char *what)
{
	printf("%s:%d: failed: %s\n", file, line, what);
	longjmp(check_out, 1);
}

void check_fail_eq(const char *file, int line, const char *what, long long want, long long got)
{
	printf("%s:%d: failed: %s: wanted %lld (0x%llx), got %lld (0x%llx)\n", file, line, what, want,
	       (unsigned long long)want, got, (unsigned long long)got);
	longjmp(check_out, 1);
}

void check_case(const char *name, void (*fn)(void))
{
	if (setjmp(check_out) == 0) {
		fn();
		check_passed++;
	} else {
		check_failed++;
		printf("FAIL %s\n", name);
		if (getenv("CHECK_FIRST"))
			exit(check_end());
	}
	fflush(stdout);
}

int check_end(void)
{
	printf("%u passed, %u failed\n", check_passed, check_failed);
	return check_failed ? 1 : 0;
}
