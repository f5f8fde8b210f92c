/* names.c - names of reasons, states and phases, and the two transition matrices. */
#include "core/internal.h"

const char *reason_name(unsigned r)
{
	static const char *const name[] = {
#define REASON(sym, text, todo) text,
#include "core/tbl_reason.h"
#undef REASON
	};

	return r < REASON_COUNT ? name[r] : "unknown";
}

const char *reason_todo(unsigned r)
{
	static const char *const todo[] = {
#define REASON(sym, text, what) what,
#include "core/tbl_reason.h"
#undef REASON
	};

	return r < REASON_COUNT ? todo[r] : "";
}

const char *node_state_name(unsigned s)
{
	static const char *const name[NODE_STATE_COUNT] = {"?", "REBOOTING", "NORMAL", "TAKEOVER",
							   "STOPPED"};

	return s < NODE_STATE_COUNT ? name[s] : name[0];
}

const char *vs_state_name(unsigned s)
{
	static const char *const name[VS_STATE_COUNT] = {
	    "?",       "DOWN",  "RESERVE", "FENCE",  "MOUNT",   "RECOVER", "ADDRESS", "OPEN",
	    "SERVING", "DRAIN", "EXIT",    "RETAKE", "UNMOUNT", "RELEASE", "STUCK",   "REPAIR"};

	return s < VS_STATE_COUNT ? name[s] : name[0];
}

const char *vs_phase_name(unsigned p)
{
	static const char *const name[PHASE_COUNT] = {"detect",  "announce", "reserve",    "mount",
						      "recover", "open",     "first_reply"};

	return p < PHASE_COUNT ? name[p] : "?";
}

/* Fig. 2 of seed 003: 212, 221, 231, 242, 243, and AM-26 into STOPPED. */
bool node_transition_allowed(enum node_state from, enum node_state to)
{
	switch (from) {
	case NODE_REBOOTING:
		return to == NODE_NORMAL || to == NODE_TAKEOVER;
	case NODE_NORMAL:
		return to == NODE_TAKEOVER || to == NODE_STOPPED;
	case NODE_TAKEOVER:
		return to == NODE_NORMAL || to == NODE_STOPPED;
	case NODE_STOPPED:
		return to == NODE_REBOOTING;
	}
	return false;
}

#define TO(s) (1U << (s))

bool vs_transition_allowed(enum vs_state from, enum vs_state to)
{
	static const unsigned allowed[VS_STATE_COUNT] = {
	    [VS_DOWN] = TO(VS_RESERVE) | TO(VS_UNMOUNT),
	    [VS_RESERVE] =
		TO(VS_FENCE) | TO(VS_MOUNT) | TO(VS_RECOVER) | TO(VS_RETAKE) | TO(VS_EXIT) |
		TO(VS_REPAIR),
	    [VS_FENCE] = TO(VS_RESERVE) | TO(VS_EXIT),
	    [VS_MOUNT] = TO(VS_RECOVER) | TO(VS_RETAKE) | TO(VS_EXIT) | TO(VS_REPAIR),
	    [VS_RECOVER] = TO(VS_ADDRESS) | TO(VS_RETAKE) | TO(VS_EXIT),
	    [VS_ADDRESS] = TO(VS_OPEN) | TO(VS_RETAKE) | TO(VS_EXIT),
	    [VS_OPEN] = TO(VS_SERVING) | TO(VS_RETAKE) | TO(VS_EXIT),
	    [VS_SERVING] = TO(VS_DRAIN) | TO(VS_RETAKE) | TO(VS_EXIT),
	    [VS_DRAIN] = TO(VS_EXIT),
	    [VS_EXIT] = TO(VS_UNMOUNT),
	    [VS_RETAKE] = TO(VS_RESERVE) | TO(VS_EXIT),
	    [VS_UNMOUNT] = TO(VS_RELEASE) | TO(VS_STUCK),
	    [VS_RELEASE] = TO(VS_DOWN),
	    [VS_STUCK] = 0,
	    [VS_REPAIR] = TO(VS_RECOVER) | TO(VS_RETAKE) | TO(VS_EXIT),
	};

	return allowed[from] & TO(to);
}
