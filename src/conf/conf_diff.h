/* conf_diff.h - what differs between two configurations, and what it takes to change it.
 *
 * Works on the canonical text of conf_print(), key by key, so a key that this file has never heard of
 * is found too, and is then one that needs a restart.  `effect` is what the two texts alone can tell;
 * whether a node to be removed serves something is known to daemons only. */
#ifndef HF_CONF_CONF_DIFF_H
#define HF_CONF_CONF_DIFF_H

#include "conf/conf.h"

enum conf_effect {
	CONF_ONLINE = 1, /* taken while everything runs */
	CONF_RESTART,	 /* taken by each node when its holdfastd starts the next time */
	CONF_NEVER,	 /* refused */
};
const char *conf_effect_name(enum conf_effect e);

struct conf_change {
	enum conf_effect effect;
	char where[256];   /* `vserver v1: export "/fs1": client` */
	char from[320], to[320]; /* empty: there is none */
	const char *why;   /* not ONLINE: the reason; else NULL */
};

typedef void conf_change_fn(void *arg, const struct conf_change *c);

/* Calls `each` for every change; the greatest effect, or 0 when both mean the same. */
enum conf_effect conf_diff(const struct conf *from, const struct conf *to, conf_change_fn *each,
			   void *arg);

/* `next`, just parsed, with the units and vservers of `now` at the indices they have there: what is
 * running keeps its numbers.  What is missing leaves its number `gone`; what is new takes one that
 * was gone in `now` already, else the next.  References are set anew.  0, -ENOSPC when there is no
 * number left. */
int conf_arrange(struct conf *next, const struct conf *now);

#endif
