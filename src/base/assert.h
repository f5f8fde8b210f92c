/* assert.h - assertions about our own state, on in every build.
 *
 * hf_assert() states an invariant of ours; when it is false the process prints where it is, dumps
 * the trace ring and dies, and the supervisor or the partner node takes over.  Never use it on
 * bytes that came from a client, a peer, a disk or a configuration file: such input gets a
 * protocol status or a clear error, a counter and a rate-limited log line. */
#ifndef HF_BASE_ASSERT_H
#define HF_BASE_ASSERT_H

_Noreturn void hf_panic(const char *file, int line, const char *func, const char *what);

#define hf_assert(cond)                                                                            \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			hf_panic(__FILE__, __LINE__, __func__, #cond);                             \
	} while (0)

#define HF_UNREACHABLE(what) hf_panic(__FILE__, __LINE__, __func__, what)

#endif
