/* check.h - the unit tests' harness: a program is a list of cases.
 *
 *	static void t_one(void) { CHECK(1 + 1 == 2); CHECK_EQ(3, f()); }
 *	int main(void) { CASE(t_one); return check_end(); }
 *
 * A failed check prints where and what and ends its case; the others still run, unless the
 * environment has CHECK_FIRST.  A program that said check_fairly() has time limits of real daemons in its
 * cases: one that failed while the machine itself stood still (see lib_check.c) is judged again, at
 * most three times, and the last word counts.  The program closes with `N passed, N failed`.  A case about a
 * requirement or safety rule names its ID in a comment of the form `covers: S3 ST-42` for
 * doc/trace.md. */
#ifndef HF_TEST_CHECK_H
#define HF_TEST_CHECK_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

extern jmp_buf check_out;
extern unsigned check_passed, check_failed;

_Noreturn void check_fail(const char *file, int line, const char *what);
_Noreturn void check_fail_eq(const char *file, int line, const char *what, long long want,
			     long long got);
void check_case(const char *name, void (*fn)(void));
void check_fairly(void);
/* So long, or so often, where something is waited for: `least`, or four times that where nobody waits for
 * a planted fault to be caught. */
int check_patience(int least);
int check_end(void);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			check_fail(__FILE__, __LINE__, #cond);                                     \
	} while (0)
#define CHECK_EQ(want, got)                                                                        \
	do {                                                                                       \
		long long w_ = (long long)(want), g_ = (long long)(got);                           \
		if (w_ != g_)                                                                      \
			check_fail_eq(__FILE__, __LINE__, #want " == " #got, w_, g_);              \
	} while (0)
#define CASE(fn) check_case(#fn, fn)

#endif
