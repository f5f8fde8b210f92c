#!/usr/bin/env python3
"""listing DIR - everything that can be said of each name below DIR, one line a name, sorted.

Written against the kernel's calls alone, to compare a tree with itself before and after: type, mode,
owner, group, size, blocks, mtime, device, link count and which names are one inode, extended
attributes, target, SHA-256 of the data.  Options: --nfs leaves out what NFS does not show (blocks,
access times, extended attributes); --top says DIR itself, too.
"""
import hashlib
import os
import stat
import sys


def digest(path):
    h = hashlib.sha256()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    except PermissionError:
        return "unreadable"
    try:
        size, at = os.fstat(fd).st_size, 0
        while at < size:  # data only: holes may be terabytes
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, at, os.SEEK_HOLE)
            at -= at % 65536  # blocks at the same places, wherever the holes are
            while at < end:
                block = os.pread(fd, 65536, at)
                digest_add(h, at, block)
                at += len(block)
    finally:
        os.close(fd)
    return h.hexdigest()


def digest_add(h, at, block):
    """Zeros and holes are the same."""
    block = block.rstrip(b"\0")
    if block:
        h.update(b"%d:" % at + block)


def line(name, st, group, target, sha, rest):
    """st: a dict as nfs3.getattr gives it, with st_mode."""
    mode = st["st_mode"]
    out = [stat.filemode(mode), "%o" % mode, st["uid"], st["gid"]]
    if stat.S_ISREG(mode):
        out += ["size=%d" % st["size"], sha]
    if not stat.S_ISDIR(mode):
        out += ["nlink=%d" % st["nlink"], "same=%s" % ascii(group)]
    if target is not None:
        out += ["target=%s" % ascii(target)]
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        out += ["dev=%d,%d" % st["rdev"]]
    return " ".join(str(x) for x in [ascii(name)] + out + ["mtime=%d" % st["mtime"]] + rest)


class Tree:
    def __init__(self, top, nfs=False, itself=False, skip=()):
        self.skip = skip  # names at the top
        self.nfs, self.groups, self.lines = nfs, {}, []
        self.top = os.fsencode(top)
        if itself:
            self.say(self.top, b".")
        self.walk(self.top, b"")

    def rest(self, path, st):
        out = []
        if stat.S_ISREG(st.st_mode):
            out += ["blocks=%d" % st.st_blocks]
        if not stat.S_ISLNK(st.st_mode):  # readlink touches it
            out += ["atime=%d" % st.st_atime_ns]
        for x in sorted(os.listxattr(path, follow_symlinks=False)):
            value = os.getxattr(path, x, follow_symlinks=False)
            out += ["%s=%d:%s" % (x, len(value), hashlib.sha256(value).hexdigest()[:16])]
        return out

    def say(self, path, name):
        st = os.lstat(path)
        group = self.groups.setdefault(st.st_ino, name)
        d = dict(st_mode=st.st_mode, uid=st.st_uid, gid=st.st_gid, size=st.st_size, nlink=st.st_nlink,
                 mtime=st.st_mtime_ns, rdev=(os.major(st.st_rdev), os.minor(st.st_rdev)))
        rest = [] if self.nfs else self.rest(path, st)
        target = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
        sha = digest(path) if stat.S_ISREG(st.st_mode) else ""
        self.lines.append(line(name, d, group, target, sha, rest))

    def names(self, path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
        except PermissionError:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.fsencode(n) for n in os.listdir(fd))
        finally:
            os.close(fd)

    def walk(self, path, name):
        for n in self.names(path):
            if not name and n in self.skip:
                continue
            self.say(path + b"/" + n, name + n)
            if stat.S_ISDIR(os.lstat(path + b"/" + n).st_mode):
                self.walk(path + b"/" + n, name + n + b"/")


if __name__ == "__main__":
    flags = {a for a in sys.argv[1:] if a.startswith("--")}
    where = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(where) != 1:
        sys.exit("usage: listing.py [--nfs] [--top] DIR")
    print("\n".join(Tree(where[0], "--nfs" in flags, "--top" in flags).lines))
