#!/bin/bash
# guest-work.sh SERVER:/EXPORT [rounds] - runs inside the guest: what people do with a file server.
#
# Mounts NFSv3 without locking, unpacks and builds a small C source tree, copies and compares, renames
# in storms, fills a folder, writes sparse and large files, removes everything.  Any error or difference
# ends it with a line that says which step.  `progress` in /mnt/share tells the host how far it is.
export TMPDIR=/tmp
where=$1 files=${2:-2000}
m=/mnt/nfs
fail() { echo "guest-work: $*"; exit 1; }
step() { echo "$1" >>/mnt/share/progress; echo "step $1 $(cut -d' ' -f1 /proc/uptime)"; }
: >/mnt/share/progress

mount -t nfs -o vers=3,nolock,proto=tcp,timeo=100,hard "$where" $m || fail mount
step mounted

# A source tree of our own making: 12 modules, a Makefile, symbolic and hard links.
src=/tmp/src
mkdir -p $src/lib $src/include
for i in $(seq 12); do
	printf '#include "m%d.h"\nint m%d(int x){int s=0;for(int i=0;i<x;i++)s+=i*%d;return s;}\n' $i $i $i >$src/lib/m$i.c
	printf 'int m%d(int x);\n' $i >$src/include/m$i.h
done
{ for i in $(seq 12); do echo "#include \"m$i.h\""; done
  echo '#include <stdio.h>'; echo 'int main(void){long t=0;'
  for i in $(seq 12); do echo "t+=m$i(10);"; done; echo 'printf("%ld\n",t);return 0;}'; } >$src/main.c
printf 'CFLAGS=-O0 -Iinclude\nOBJ=$(patsubst %%.c,%%.o,$(wildcard lib/*.c)) main.o\nprog: $(OBJ)\n\t$(CC) -o $@ $^\n' >$src/Makefile
ln -s lib/m1.c $src/first.c; ln $src/lib/m2.c $src/second.c
chmod 640 $src/lib/m3.c; touch -d '2001-02-03 04:05:06.789' $src/lib/m4.c
tar -C /tmp -cf /tmp/src.tar src

cd $m || fail cd
rm -rf work && mkdir work && cd work || fail mkdir
tar -xf /tmp/src.tar || fail untar
diff -r --no-dereference $src src || fail "untar differs"
[ "$(stat -c %a:%Y src/lib/m3.c)" = "640:$(stat -c %Y $src/lib/m3.c)" ] || fail "mode or time of m3.c"
[ "$(stat -c %h src/second.c)" = 2 ] || fail "hard link lost"
step untar
make -s -C src prog || fail build
[ "$(src/prog)" = 3510 ] || fail "the built program says $(src/prog)"
step built
cp -a src copy || fail "cp -a"
diff -r --no-dereference src copy || fail "copy differs"
[ "$(find copy | wc -l)" = "$(find src | wc -l)" ] || fail find
step copied
dd if=/dev/urandom of=/tmp/big bs=1M count=24 2>/dev/null
dd if=/tmp/big of=big bs=1M conv=fsync 2>/dev/null || fail dd
cmp /tmp/big big || fail "big file differs"
dd if=/tmp/big of=sparse bs=1M count=1 seek=5000 conv=notrunc,fsync 2>/dev/null || fail "sparse write"
[ "$(stat -c %s sparse)" = 5243928576 ] || fail "sparse size"
dd if=sparse bs=1M skip=4999 count=1 2>/dev/null | cmp -n 1048576 - /dev/zero || fail "hole is not zero"
dd if=sparse bs=1M skip=5000 count=1 2>/dev/null | cmp -n 1048576 - /tmp/big || fail "sparse data"
step data
mkdir storm
for i in $(seq 100); do echo $i >storm/a$i; done
perl -e 'for my $r (1 .. 5) { for my $d (["a", "b"], ["b", "a"]) {
	for (1 .. 100) { rename("storm/$d->[0]$_", "storm/$d->[1]$_") or die "$_: $!\n" } } }' || fail "rename storm"
[ "$(cat storm/a77)" = 77 ] && [ "$(ls storm | wc -l)" = 100 ] || fail "rename storm"
step renames
mkdir many
(cd many && seq -f 'file-%06g' "$files" | xargs touch) || fail "many files"
[ "$(ls many | wc -l)" = "$files" ] || fail "listing of many files: $(ls many | wc -l)"
[ "$(find many -type f | sort -u | wc -l)" = "$files" ] || fail "find of many files"
step many
name=$(printf 'n%.0s' $(seq 255))
echo x >"$name" && [ "$(cat "$name")" = x ] || fail "255 byte name"
mkfifo fifo || fail mkfifo
{ echo y >"${name}z"; } 2>/dev/null && fail "256 byte name was accepted"
ln -s /nowhere/far dangling && [ "$(readlink dangling)" = /nowhere/far ] || fail symlink
step names
cd $m && rm -rf work || fail "rm -rf"
[ -z "$(ls $m | grep work)" ] || fail "left over after rm -rf"
cd /tmp && umount $m || fail umount
step done
