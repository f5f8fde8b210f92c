/* tbl_finding.h - every kind of finding that `holdfast check` knows.
 *
 * FINDING(symbol, stable name, class, what --repair does about it)
 * The name is what is printed, what JSON carries and what doc/check.md explains; it never changes
 * once released.  Classes: FIX is put right by --repair; LOST likewise, but something that was
 * acknowledged is gone for good; LEFT is out of its reach. */
/* the store as a whole */
FINDING(STORE, "store-unreadable", LEFT, "restore what the line names, then check again")
FINDING(INDEX_PAGE, "index-page", LOST, "every row that can be read goes into a new index")
FINDING(INDEX_GONE, "index-gone", LOST,
	"a new index: names live only in the index, objects go to lost+found")
FINDING(META, "meta", FIX, "made anew from the log")
FINDING(VERIFIER, "write-verifier", FIX, "a new one: clients send uncommitted data again")
FINDING(STATE, "state-row", FIX, "removed")
FINDING(TABLE, "unknown-row", LEFT, "use the version that wrote it")
FINDING(FILES, "inode-count", FIX, "set to what was counted")
FINDING(NUMBER, "inode-number", FIX, "numbers are given out from behind it on")
/* the log */
FINDING(LOG_GONE, "log-gone", LOST, "made anew, empty")
FINDING(LOG_ROT, "log-rot", LOST, "what is behind the damaged place is kept, the records in it are gone")
FINDING(LOG_RECORD, "log-record", LOST, "the rest of its batch is left out")
/* inodes and names */
FINDING(ROOT, "root-gone", LOST, "a new root directory; what it held is found by its entries")
FINDING(INODE, "inode-row", LOST, "removed; what can be told from names and object is made anew")
FINDING(TARGET, "link-size", FIX, "set to the length of the target")
FINDING(NAME, "name-row", FIX, "removed; the listing's row may bring it back")
FINDING(NAME_NOT_DIR, "name-in-no-directory", FIX, "removed; the inode goes to lost+found if it has no other")
FINDING(DIR_LOST, "directory-lost", LOST,
	"made anew with its entries and default attributes, in lost+found")
FINDING(NAME_DANGLING, "name-without-inode", LOST, "removed")
FINDING(INODE_LOST, "inode-lost", LOST, "made anew from its object or entries, with default attributes")
FINDING(UNLISTED, "name-not-listed", FIX, "listed again")
FINDING(LISTING, "listing-row", FIX, "removed")
FINDING(UNNAMED_LISTING, "listing-without-name", FIX, "gets its name back, or goes with its inode")
FINDING(COOKIE, "cookie", FIX, "cookies are given out from behind it on")
FINDING(PARENT, "parent", FIX, "set to the directory that has its name")
FINDING(DIR_TWICE, "directory-twice", FIX, "all names but one are removed")
FINDING(DIR_LOOP, "directory-loop", FIX, "cut; one of the loop goes to lost+found")
FINDING(ENTRIES, "directory-entries", FIX, "set to what was counted")
FINDING(LINKS, "link-count", FIX, "set to what was counted")
FINDING(UNNAMED, "inode-without-name", FIX, "goes to lost+found")
FINDING(XATTR, "attribute-row", FIX, "removed; one whose inode exists is kept")
/* objects */
FINDING(FOLDER, "object-folder", FIX, "made again")
FINDING(OBJECT_NAME, "object-name", FIX, "moved away, kept")
FINDING(OBJECT_PLACE, "object-place", FIX, "moved to where it belongs")
FINDING(OBJECT_MISSING, "object-missing", LOST, "the file is empty from now on: its data are gone")
FINDING(OBJECT_UNKNOWN, "object-without-inode", FIX, "becomes a file in lost+found")
FINDING(UNLINK, "unlink-row", FIX, "removed: the object stays")
/* memory of calls and connections */
FINDING(REPLIES, "replies", LOST, "removed: a repeat of these calls may be carried out a second time")
FINDING(CONN, "connection-row", FIX, "removed")
