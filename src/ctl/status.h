/* status.h - what the brain knows, as JSON: the body of `holdfast status --json`. */
#ifndef HF_CTL_STATUS_H
#define HF_CTL_STATUS_H

#include <jansson.h>
#include <stdint.h>

#include "conf/conf.h"
#include "core/node.h"

/* Node, peers, vservers, units, devices; a new reference.  The daemon adds what only it knows. */
json_t *ctl_status(const struct node *n, const struct conf *conf, uint64_t now_ns);

/* A list of {reason, about, todo, force}: empty when nothing is in the way. */
json_t *ctl_vetoes(const struct node *n, const struct vetoes *all);

#endif
