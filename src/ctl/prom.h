/* prom.h - one line of the text format of Prometheus. */
#ifndef HF_CTL_PROM_H
#define HF_CTL_PROM_H

#include <stdio.h>

/* name{key="value",...} number; the labels are pairs of strings up to a NULL.  What a value has of
 * quotes, backslashes and ends of lines is escaped.  A whole number is written whole: of a counter of
 * bytes six digits would stand still for megabytes. */
void prom_put(FILE *to, const char *name, double number, ...) __attribute__((sentinel));

#endif
