/* sum64.h - a checksum of 64 bits over many bytes: it tells requests apart.
 *
 * The same on every machine, whatever its processor can do: nodes compare sums with each other.  No
 * defence against somebody who looks for two inputs with one sum. */
#ifndef HF_BASE_SUM64_H
#define HF_BASE_SUM64_H

#include <stddef.h>
#include <stdint.h>

uint64_t sum64(const void *data, size_t len);

/* The plain one, which sum64() must equal; for its test. */
uint64_t sum64_plain(const void *data, size_t len);

#endif
