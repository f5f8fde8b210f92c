/* log.c - the operator's log. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOG_PER_SECOND 10

static char log_ident[64] = "holdfast";
static enum log_level log_threshold = LOG_L_INFO;

static const char *const level_name[] = {
    [LOG_L_ERR] = "error",   [LOG_L_WARN] = "warning", [LOG_L_NOTICE] = "notice",
    [LOG_L_INFO] = "info",   [LOG_L_DEBUG] = "debug",
};

void log_open(const char *ident, enum log_level threshold)
{
	snprintf(log_ident, sizeof(log_ident), "%s", ident);
	log_threshold = threshold;
}

static void emit(enum log_level level, int err, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void emit(enum log_level level, int err, const char *fmt, va_list ap)
{
	char text[1024];
	struct timespec ts;
	struct tm tm;

	if (level > log_threshold)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	/* Names that clients gave may be in it: one call is one line. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	fprintf(stderr, "%02d:%02d:%02d.%03ld %s %s: %s%s%s\n", tm.tm_hour, tm.tm_min, tm.tm_sec,
		ts.tv_nsec / 1000000, log_ident, level_name[level], text, err ? ": " : "",
		err ? strerror(err) : "");
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, 0, fmt, ap);
	va_end(ap);
}

void log_at_errno(enum log_level level, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	emit(level, err, fmt, ap);
	va_end(ap);
	errno = err;
}

int log_allowed(struct log_limit *l)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	if ((uint64_t)ts.tv_sec != l->window_s) {
		if (l->dropped)
			log_at(LOG_L_INFO, "log: %llu similar lines left out",
			       (unsigned long long)l->dropped);
		l->window_s = (uint64_t)ts.tv_sec;
		l->printed = 0;
		l->dropped = 0;
	}
	if (l->printed < LOG_PER_SECOND) {
		l->printed++;
		return 1;
	}
	l->dropped++;
	return 0;
}
