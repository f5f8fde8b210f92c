/* spec.h - from the configuration to what a storage unit is on this node. */
#ifndef HF_CTL_SPEC_H
#define HF_CTL_SPEC_H

#include "conf/conf.h"
#include "io/unit.h"

/* 0 or -ENAMETOOLONG. */
int spec_unit(struct unit_spec *u, const struct conf *c, unsigned index, const char *node);

#endif
