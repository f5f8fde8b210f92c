/* conf_lex.c - the configuration's tokens and values. */
#include "conf/conf_lex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_ROW(row, key, unit, lo, hi, def) [LIMIT_##row] = {key, unit, lo, hi, def},
const struct limit conf_limit[LIMIT_ROWS] = {CONF_LIMITS(LIMIT_ROW)};

static const struct {
	const char *suffix;
	uint64_t factor;
} TIMES[] = {{"us", 1000}, {"ms", MS_NS}, {"s", S_NS}, {"m", 60 * S_NS}, {"h", 3600 * S_NS}},
  SIZES[] = {{"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {"T", 1ULL << 40}};

void lex_fail(struct lex *x, unsigned line, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (x->failed)
		return;
	x->failed = true;
	x->tok = TOK_END;
	x->p = x->end;
	n = snprintf(x->err, x->err_size, "%s:%u: ", x->name, line);
	if (n < 0 || (size_t)n >= x->err_size)
		return;
	va_start(ap, fmt);
	vsnprintf(x->err + n, x->err_size - (size_t)n, fmt, ap);
	va_end(ap);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';';
}

static void skip_space(struct lex *x)
{
	for (; x->p < x->end; x->p++) {
		if (*x->p == '#') {
			while (x->p < x->end && *x->p != '\n')
				x->p++;
			if (x->p == x->end)
				return;
		}
		if (!is_space(*x->p))
			return;
		if (*x->p == '\n')
			x->line++;
	}
}

static void take_string(struct lex *x)
{
	size_t n = 0;

	for (x->p++; x->p < x->end && *x->p != '"' && *x->p != '\n'; x->p++) {
		if (*x->p == '\\' && x->p + 1 < x->end && (x->p[1] == '"' || x->p[1] == '\\'))
			x->p++;
		if (n + 1 == sizeof(x->text) || *x->p == '\0') {
			lex_fail(x, x->line, "a string has at most %zu bytes and no zero byte",
				 sizeof(x->text) - 1);
			return;
		}
		x->text[n++] = *x->p;
	}
	x->text[n] = '\0';
	if (x->p == x->end || *x->p != '"') {
		lex_fail(x, x->tok_line, "the string that begins here has no closing quote");
		return;
	}
	x->p++;
	x->tok = TOK_STRING;
}

static void take_word(struct lex *x)
{
	size_t n = 0;

	for (; x->p < x->end && !is_space(*x->p) && !strchr("{}\"#", *x->p); x->p++) {
		unsigned char c = (unsigned char)*x->p;

		if (c <= ' ' || c >= 127) {
			lex_fail(x, x->line, "byte 0x%02x is not allowed outside of quotes", c);
			return;
		}
		if (n + 1 == sizeof(x->text)) {
			lex_fail(x, x->line, "a word has at most %zu bytes", sizeof(x->text) - 1);
			return;
		}
		x->text[n++] = *x->p;
	}
	x->text[n] = '\0';
	x->tok = TOK_WORD;
}

void lex_next(struct lex *x)
{
	x->last_line = x->tok_line;
	skip_space(x);
	x->tok_line = x->line;
	x->text[0] = '\0';
	x->tok = TOK_END;
	if (x->failed || x->p == x->end)
		return;
	if (*x->p == '{' || *x->p == '}') {
		x->tok = *x->p == '{' ? TOK_OPEN : TOK_CLOSE;
		x->text[0] = *x->p++;
		x->text[1] = '\0';
	} else if (*x->p == '"') {
		take_string(x);
	} else if (*x->p == '\0') {
		lex_fail(x, x->line, "byte 0x00 is not allowed");
	} else {
		take_word(x);
	}
}

/* Length of the UTF-8 sequence at `p`, 0 when it is none (RFC 3629). */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 :
		   *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

/* All of it, comments too, goes to other nodes and to people as JSON; a byte that does not would
 * take what follows with it. */
static void text_check(struct lex *x)
{
	const uint8_t *p = (const uint8_t *)x->p, *end = (const uint8_t *)x->end;
	unsigned line = 1;
	size_t n;

	for (; p < end && !x->failed; p += n) {
		n = utf8_len(p, (size_t)(end - p));
		if (n == 0)
			lex_fail(x, line, "byte 0x%02x is not allowed: the file is not UTF-8", *p);
		else if ((*p < ' ' && *p != '\t' && *p != '\n' && *p != '\r') || *p == 0x7f)
			lex_fail(x, line, "byte 0x%02x is not allowed", *p);
		line += *p == '\n';
		if (n == 0)
			return;
	}
}

void lex_init(struct lex *x, const char *text, size_t len, const char *name, char *err,
	      size_t err_size)
{
	*x = (struct lex){.name = name, .p = text, .end = text + len, .line = 1, .tok_line = 1,
			  .err = err, .err_size = err_size};
	text_check(x);
	lex_next(x);
}

bool lex_is(const struct lex *x, const char *word)
{
	return x->tok == TOK_WORD && strcmp(x->text, word) == 0;
}

bool lex_more(const struct lex *x)
{
	return (x->tok == TOK_WORD || x->tok == TOK_STRING) && x->tok_line == x->last_line;
}

static bool has_value(struct lex *x, const char *key)
{
	if (x->tok == TOK_WORD || x->tok == TOK_STRING)
		return true;
	lex_fail(x, x->last_line, "%s needs a value", key);
	return false;
}

void lex_string(struct lex *x, const char *key, char *out, size_t size)
{
	size_t n = strlen(x->text);

	if (!has_value(x, key))
		return;
	if (n == 0 || n >= size) {
		lex_fail(x, x->tok_line, "%s has %zu bytes, allowed 1 to %zu", key, n, size - 1);
		return;
	}
	memcpy(out, x->text, n + 1);
	lex_next(x);
}

/* Names stand in file names, log lines and key=value output: letters, digits, - and _. */
void lex_name(struct lex *x, const char *key, char *out, size_t size)
{
	const char *c = x->text;

	if (!has_value(x, key))
		return;
	for (; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		      (*c >= '0' && *c <= '9') || ((*c == '-' || *c == '_') && c > x->text)))
			break;
	if (*c || c == x->text)
		lex_fail(x, x->tok_line, "%s \"%s\" is no name, allowed letters, digits, - and _",
			 key, x->text);
	lex_string(x, key, out, size);
}

void lex_path(struct lex *x, const char *key, char *out, size_t size)
{
	if (has_value(x, key) && x->text[0] != '/')
		lex_fail(x, x->tok_line, "%s \"%s\" must be an absolute path", key, x->text);
	lex_string(x, key, out, size);
}

bool lex_on_off(struct lex *x, const char *key)
{
	static const char *const words[] = {"off", "on", NULL};

	return lex_choice(x, key, words) == 1;
}

unsigned lex_choice(struct lex *x, const char *key, const char *const *words)
{
	char all[128];
	size_t n = 0;

	if (!has_value(x, key))
		return 0;
	for (unsigned i = 0; words[i]; i++)
		if (strcmp(x->text, words[i]) == 0) {
			lex_next(x);
			return i;
		}
	all[0] = '\0';
	for (unsigned i = 0; words[i] && n < sizeof(all); i++)
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", i ? " or " : "", words[i]);
	lex_fail(x, x->tok_line, "%s %s is unknown, allowed %s", key, x->text, all);
	return 0;
}

/* Digits, and for beats up to three decimals; `rest` is what follows. */
static bool take_digits(const char *s, bool milli, uint64_t *out, const char **rest)
{
	uint64_t v = 0, scale = 1000;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX / 1000 - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (p == s)
		return false;
	if (milli) {
		v *= 1000;
		if (*p == '.') {
			for (p++; *p >= '0' && *p <= '9' && scale > 1; p++) {
				scale /= 10;
				v += (uint64_t)(*p - '0') * scale;
			}
		}
	}
	*out = v;
	*rest = p;
	return true;
}

static uint64_t factor_of(enum limit_unit unit, const char *suffix)
{
	if (unit == LIMIT_TIME) {
		for (size_t i = 0; i < sizeof(TIMES) / sizeof(TIMES[0]); i++)
			if (strcmp(suffix, TIMES[i].suffix) == 0)
				return TIMES[i].factor;
		return 0;
	}
	if (unit == LIMIT_SIZE)
		for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++)
			if (strcmp(suffix, SIZES[i].suffix) == 0)
				return SIZES[i].factor;
	return *suffix == '\0';
}

const char *limit_text(enum limit_unit unit, uint64_t v, char out[32])
{
	const char *suffix = "";
	uint64_t factor = 1;

	switch (unit) {
	case LIMIT_TIME:
		suffix = v ? "us" : "s";
		factor = 1000;
		for (size_t i = 0; i < 3 && v; i++)
			if (v % TIMES[i].factor == 0)
				suffix = TIMES[i].suffix, factor = TIMES[i].factor;
		break;
	case LIMIT_SIZE:
		for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]) && v; i++)
			if (v % SIZES[i].factor == 0)
				suffix = SIZES[i].suffix, factor = SIZES[i].factor;
		break;
	case LIMIT_BEATS:
		if (v % 1000) {
			snprintf(out, 32, "%llu.%03llu", (unsigned long long)(v / 1000),
				 (unsigned long long)(v % 1000));
			return out;
		}
		factor = 1000;
		break;
	case LIMIT_COUNT:
		break;
	}
	snprintf(out, 32, "%llu%s", (unsigned long long)(v / factor), suffix);
	return out;
}

bool limit_parse(struct lex *x, enum limit_row row, const char *text, uint64_t *out)
{
	const struct limit *l = &conf_limit[row];
	char lo[32], hi[32];
	const char *rest;
	uint64_t v = 0, f = 0;

	if (take_digits(text, l->unit == LIMIT_BEATS, &v, &rest))
		f = factor_of(l->unit, rest);
	if (f && v <= UINT64_MAX / f && v * f >= l->lo && v * f <= l->hi) {
		*out = v * f;
		return true;
	}
	lex_fail(x, x->tok_line, "%s %s is %s, allowed %s to %s%s", l->key, text,
		 f ? "out of range" : "no such number", limit_text(l->unit, l->lo, lo),
		 limit_text(l->unit, l->hi, hi), l->unit == LIMIT_BEATS ? " heartbeats" : "");
	return false;
}

uint64_t lex_number(struct lex *x, enum limit_row row)
{
	uint64_t v = 0;

	if (has_value(x, conf_limit[row].key) && limit_parse(x, row, x->text, &v))
		lex_next(x);
	return v;
}

void lex_net(struct lex *x, const char *key, bool prefix, struct conf_net *out)
{
	if (!has_value(x, key))
		return;
	if (!conf_net_parse(x->text, prefix, out)) {
		lex_fail(x, x->tok_line, "%s %s is no address, allowed 192.0.2.1%s or 2001:db8::1%s",
			 key, x->text, prefix ? "/24" : "", prefix ? "/64" : "");
		return;
	}
	lex_next(x);
}
