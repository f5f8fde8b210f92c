/* conf_lex.h - words, strings and braces of a configuration text, and the values in them.
 *
 * Internal to this room.  The first error is kept with its place; after it every call returns
 * quickly, so the parser reads on and asks once. */
#ifndef HF_CONF_CONF_LEX_H
#define HF_CONF_CONF_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "conf/conf_limits.h"

enum tok { TOK_END, TOK_WORD, TOK_STRING, TOK_OPEN, TOK_CLOSE };

struct lex {
	const char *name, *p, *end;
	unsigned line;
	/* the token that is looked at */
	enum tok tok;
	unsigned tok_line, last_line; /* last_line: of the token taken before it */
	char text[CONF_PATH_MAX];
	char *err;
	size_t err_size;
	bool failed;
};

enum limit_unit { LIMIT_TIME, LIMIT_BEATS, LIMIT_COUNT, LIMIT_SIZE };
#define LIMIT_ENUM(row, key, unit, lo, hi, def) LIMIT_##row,
enum limit_row { CONF_LIMITS(LIMIT_ENUM) LIMIT_ROWS };

struct limit {
	const char *key;
	enum limit_unit unit;
	uint64_t lo, hi, def;
};
extern const struct limit conf_limit[LIMIT_ROWS];

void lex_init(struct lex *x, const char *text, size_t len, const char *name, char *err,
	      size_t err_size);
void lex_next(struct lex *x);
void lex_fail(struct lex *x, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool lex_is(const struct lex *x, const char *word);
/* Another argument stands on the line of the last one. */
bool lex_more(const struct lex *x);

/* Each takes one token as the value of `key`. */
void lex_name(struct lex *x, const char *key, char *out, size_t size);
void lex_path(struct lex *x, const char *key, char *out, size_t size);
void lex_string(struct lex *x, const char *key, char *out, size_t size);
uint64_t lex_number(struct lex *x, enum limit_row row);
bool lex_on_off(struct lex *x, const char *key);
unsigned lex_choice(struct lex *x, const char *key, const char *const *words);
void lex_net(struct lex *x, const char *key, bool prefix, struct conf_net *out);
/* Parses text as a number of that row; false when it is none or out of range (and failed). */
bool limit_parse(struct lex *x, enum limit_row row, const char *text, uint64_t *out);
/* The value as the grammar writes it. */
const char *limit_text(enum limit_unit unit, uint64_t v, char out[32]);
/* Could a name server know it?  Then it is no mistyped address. */
bool conf_is_host_name(const char *text);
/* "198.51.100.0/24", "198.51.100.0/255.255.255.0", "2001:db8::1", "*"; false: not an address. */
bool conf_net_parse(const char *text, bool prefix_allowed, struct conf_net *out);

#endif
