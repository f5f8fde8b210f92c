"""nfs3 - as much of an NFSv3 client as the adopt test needs: plain sockets, nothing of ours."""
import os
import socket
import struct


class Error(Exception):
    pass


def opaque(b):
    return struct.pack(">I", len(b)) + b + b"\0" * (-len(b) % 4)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def u32(self):
        self.at += 4
        return struct.unpack_from(">I", self.data, self.at - 4)[0]

    def u64(self):
        self.at += 8
        return struct.unpack_from(">Q", self.data, self.at - 8)[0]

    def opaque(self):
        n = self.u32()
        out = self.data[self.at:self.at + n]
        self.at += n + -n % 4
        return out

    def attr(self):
        kind, mode, nlink, uid, gid = (self.u32() for _ in range(5))
        size, used = self.u64(), self.u64()
        major, minor = self.u32(), self.u32()
        self.u64()
        fileid = self.u64()
        times = [self.u32() * 10**9 + self.u32() for _ in range(3)]
        return dict(type=kind, mode=mode, nlink=nlink, uid=uid, gid=gid, size=size, used=used,
                    rdev=(major, minor), fileid=fileid, atime=times[0], mtime=times[1])

    def post_op(self):
        return self.attr() if self.u32() else None

    def wcc(self):
        if self.u32():
            self.at += 24
        self.post_op()


class Client:
    def __init__(self, host, port, export):
        self.s = socket.create_connection((host, port), timeout=30)
        self.xid = 1000
        r = self.call(100005, 1, opaque(export))
        if r.u32():
            raise Error("mount refused")
        self.root = r.opaque()

    def exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.s.recv(n - len(out))
            if not part:
                raise Error("connection closed")
            out += part
        return out

    def call(self, prog, proc, args):
        self.xid += 1
        cred = struct.pack(">I", 0) + opaque(b"test") + struct.pack(">III", os.geteuid(), os.getegid(), 0)
        msg = struct.pack(">IIIIII", self.xid, 0, 2, prog, 3, proc)
        msg += struct.pack(">I", 1) + opaque(cred) + struct.pack(">II", 0, 0) + args
        self.s.sendall(struct.pack(">I", len(msg) | 1 << 31) + msg)
        data, last = b"", False
        while not last:
            head = struct.unpack(">I", self.exactly(4))[0]
            last = bool(head >> 31)
            data += self.exactly(head & 0x7fffffff)
        r = Reader(data)
        if r.u32() != self.xid or r.u32() != 1 or r.u32() != 0:
            raise Error("bad reply")
        r.u32(), r.opaque()
        if r.u32():
            raise Error("call not accepted")
        return r

    def nfs(self, proc, args):
        r = self.call(100003, proc, args)
        status = r.u32()
        if status:
            raise Error("nfs status %d of procedure %d" % (status, proc))
        return r

    def getattr(self, fh):
        return self.nfs(1, opaque(fh)).attr()

    def lookup(self, fh, name):
        return self.nfs(3, opaque(fh) + opaque(name)).opaque()

    def path(self, path):
        fh = self.root
        for name in path.split(b"/") if path else []:
            fh = self.lookup(fh, name)
        return fh

    def split(self, path):
        top, _, name = path.rpartition(b"/")
        return opaque(self.path(top)) + opaque(name)

    def readlink(self, fh):
        r = self.nfs(5, opaque(fh))
        r.post_op()
        return r.opaque()

    def read(self, fh, off, count):
        r = self.nfs(6, opaque(fh) + struct.pack(">QI", off, count))
        r.post_op(), r.u32()
        eof = r.u32()
        return r.opaque(), eof

    def readdir(self, fh):
        names, cookie, verf = [], 0, b"\0" * 8
        while True:
            r = self.nfs(16, opaque(fh) + struct.pack(">Q", cookie) + verf + struct.pack(">I", 8192))
            r.post_op()
            verf = r.data[r.at:r.at + 8]
            r.at += 8
            while r.u32():
                r.u64()
                name = r.opaque()
                cookie = r.u64()
                if name not in (b".", b".."):
                    names.append(name)
            if r.u32():
                return names

    # ---- changes; paths from the root --------------------------------------------------------
    def sattr(self, mode=None, uid=None, gid=None, size=None, mtime=None):
        out = b""
        for v in (mode, uid, gid):
            out += struct.pack(">I", 0) if v is None else struct.pack(">II", 1, v)
        out += struct.pack(">I", 0) if size is None else struct.pack(">IQ", 1, size)
        out += struct.pack(">I", 0)
        out += (struct.pack(">I", 0) if mtime is None
                else struct.pack(">III", 2, mtime // 10**9, mtime % 10**9))
        return out

    def setattr(self, path, **attrs):
        self.nfs(2, opaque(self.path(path)) + self.sattr(**attrs) + struct.pack(">I", 0))

    def write(self, path, off, data, stable=2):
        self.nfs(7, opaque(self.path(path)) + struct.pack(">QII", off, len(data), stable) + opaque(data))

    def create(self, path, mode):
        self.nfs(8, self.split(path) + struct.pack(">I", 0) + self.sattr(mode=mode))

    def mkdir(self, path, mode):
        self.nfs(9, self.split(path) + self.sattr(mode=mode))

    def symlink(self, path, target):
        self.nfs(10, self.split(path) + self.sattr() + opaque(target))

    def remove(self, path):
        self.nfs(12, self.split(path))

    def rmdir(self, path):
        self.nfs(13, self.split(path))

    def rename(self, old, new):
        self.nfs(14, self.split(old) + self.split(new))

    def link(self, path, new):
        self.nfs(15, opaque(self.path(path)) + self.split(new))
