/* log.h - one line an event, for operators: `subsystem object: what happened key=value`.
 *
 * Lines go to stderr, with a syslog priority prefix when stderr is the journal.  The plain calls
 * print the text; the `_errno` ones append strerror(errno).  Each call site that bad input can
 * reach uses log_limited(), which prints at most ten lines a second and counts the rest. */
#ifndef HF_BASE_LOG_H
#define HF_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_L_ERR, LOG_L_WARN, LOG_L_NOTICE, LOG_L_INFO, LOG_L_DEBUG };

/* Sets the prefix of every line ("n1", "n1/v1") and the lowest level that is still printed. */
void log_open(const char *ident, enum log_level threshold);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_at_errno(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)          log_at(LOG_L_ERR, __VA_ARGS__)
#define log_err_errno(...)    log_at_errno(LOG_L_ERR, __VA_ARGS__)
#define log_warn(...)         log_at(LOG_L_WARN, __VA_ARGS__)
#define log_warn_errno(...)   log_at_errno(LOG_L_WARN, __VA_ARGS__)
#define log_notice(...)       log_at(LOG_L_NOTICE, __VA_ARGS__)
#define log_info(...)         log_at(LOG_L_INFO, __VA_ARGS__)
#define log_debug(...)        log_at(LOG_L_DEBUG, __VA_ARGS__)

struct log_limit {
	uint64_t window_s;
	unsigned printed;
	uint64_t dropped;
};
/* True when a line may be printed now; reports what was dropped when a new second begins. */
int log_allowed(struct log_limit *l);

#define log_limited(level, ...)                                                                    \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		if (log_allowed(&limit_))                                                          \
			log_at(level, __VA_ARGS__);                                                \
	} while (0)

#endif
