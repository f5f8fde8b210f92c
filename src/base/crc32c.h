/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the processor's instruction where
 * there is one.  Chain calls by passing the previous result; start with 0. */
#ifndef HF_BASE_CRC32C_H
#define HF_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The table version, for machines without the instruction and for the test of the other. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
