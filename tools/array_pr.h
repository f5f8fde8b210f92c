/* array_pr.h - persistent reservations of one unit as an array keeps them.  Pure.
 *
 * SPC-4 5.12 for one type, Write Exclusive - Registrants Only: every registered path (I_T nexus, here
 * a node's number) may write while somebody holds the reservation, nobody else may; the reservation has
 * one holder and goes when the holder unregisters, releases or is preempted.  The generation
 * counts what changes registrations (not RESERVE and RELEASE).  A path that lost its registration
 * through another gets one unit attention.
 *
 * Invariants (pr_check): at most one registration a path, no key 0, the holder is registered. */
#ifndef HF_TOOLS_ARRAY_PR_H
#define HF_TOOLS_ARRAY_PR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PR_PATHS_MAX 32
#define PR_NOBODY    (-1)

struct pr {
	uint32_t generation;
	int holder;		       /* path, or PR_NOBODY */
	uint64_t key[PR_PATHS_MAX];    /* 0: not registered */
	bool attention[PR_PATHS_MAX];  /* owes the path a unit attention */
};

enum pr_result { PR_OK, PR_CONFLICT, PR_INVALID };

void pr_init(struct pr *p);
enum pr_result pr_register(struct pr *p, unsigned path, uint64_t key);
enum pr_result pr_unregister(struct pr *p, unsigned path, uint64_t key);
enum pr_result pr_reserve(struct pr *p, unsigned path, uint64_t key);
enum pr_result pr_release(struct pr *p, unsigned path, uint64_t key);
enum pr_result pr_preempt(struct pr *p, unsigned path, uint64_t key, uint64_t victim);
enum pr_result pr_clear(struct pr *p, unsigned path, uint64_t key);
/* May this path write now? */
bool pr_may_write(const struct pr *p, unsigned path);
/* Takes the path's pending unit attention. */
bool pr_take_attention(struct pr *p, unsigned path);
bool pr_check(const struct pr *p);

/* Text for the file that survives a restart of the array; pr_load is 0 or -EBADMSG. */
size_t pr_save(const struct pr *p, char *out, size_t size);
int pr_load(struct pr *p, const char *text);

#endif
