/* tbl_drop.h - why a message from a path is dropped.
 *
 * DROP(symbol, stable name, help text).  The name is what `holdfast status`, JSON and /metrics
 * carry; doc/wire.md lists them. */
DROP(MALFORMED, "malformed", "cut, torn, or nothing that this cluster sends")
DROP(VERSION, "version", "of a version that this node does not speak")
DROP(UNKNOWN_KEY, "unknown-key", "made with a key id that this node does not have")
DROP(FORGED, "forged", "not authentic: forged, altered, or another cluster's")
DROP(CLUSTER, "other-cluster", "authentic, of a cluster with another name")
DROP(SENDER, "sender", "not from one of the other nodes, or not meant for this one")
DROP(PATH, "path", "arrived on another path than it was sent on")
DROP(REPLAYED, "replayed", "not newer than what had come on that path")
