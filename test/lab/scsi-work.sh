#!/bin/bash
# scsi-work.sh OUT [tgt] [PART ...] - runs inside the guest: what a unit on real SCSI disks must do.
#
# The target is the kernel's own (LIO), or with the word `tgt` the daemon of that name, which forgets
# reservations when it ends, behind two iSCSI portals; each node has a session to each, so a node's
# unit has two paths, and there are three nodes: n1, n2 and the stranger n3, who has no
# business here.  Each node sees only its own disks (a folder of links, `devices` in the
# configuration).  unitctl makes the calls that holdfastd's helpers make.
out=$1
shift
target=lio
if [ "$1" = tgt ]; then target=tgt; shift; fi
if [ $target = lio ]; then all="basic fence restart leftover paths names map daemons"
else all="basic fence restart leftover paths map daemons"; fi
if [ $target = lio ]; then remembers=yes initiator=iqn.2026-01.test:n1; else remembers="*" initiator=; fi
parts=${*:-$all}
D=/run/scsi
T=/sys/kernel/config/target
IQN=iqn.2026-01.test:lun
SERIAL=11112222-3333-4444-5555-666677778888
WWID=naa.60014051111222233334444555566667
MIB=96
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p $D && cd $D || exit 1

n=0 bad=0
ok() { echo "ok   $1"; n=$((n + 1)); }
fail() { echo "FAIL $1: ${2//$'\n'/ / }"; bad=$((bad + 1)); }
# text, wanted pattern, what came
expect() { case $3 in $2) ok "$1" ;; *) fail "$1" "got: $3" ;; esac; }
step() { echo "-- $1 at $(cut -d' ' -f1 /proc/uptime)"; }
has_part() { case " $parts " in *" $1 "*) return 0 ;; esac; return 1; }

# ---- target: LIO, tgt, and what is common
adm() { tgtadm -C 7 --lld iscsi "$@" >/dev/null 2>&1; }
tgt_up() {
	mkdir -p /run/tgtd
	rm -f /run/tgtd/*
	tgtd -f -C 7 --iscsi portal=127.0.0.1:3260,portal=127.0.0.2:3260 >$D/tgtd.log 2>&1 &
	tgtd=$!
	for i in $(seq 50); do adm --op show --mode sys && break; sleep 0.1; done
	adm --op new --mode target --tid 1 -T $IQN
	adm --op new --mode logicalunit --tid 1 --lun 1 --bstype rdwr -b $D/lun.img
	adm --op bind --mode target --tid 1 -I ALL
}
tgt_down() { kill -9 $tgtd; wait $tgtd 2>/dev/null; }
target_up() { if [ $target = tgt ]; then tgt_up; else target_core "$1"; target_ports; fi; }
target_down() { ${target}_down; }
target_core() { # the disk; $1: with reservations it remembers
	B=$T/core/fileio_0/d0
	mkdir -p $B
	echo "fd_dev_name=$D/lun.img,fd_dev_size=$((MIB << 20))" >$B/control
	echo $SERIAL >$B/wwn/vpd_unit_serial
	echo 1 >$B/enable
	local f=/run/target/pr/aptpl_$SERIAL line=
	if [ -n "$1" ] && [ -s $f ]; then
		cp $f $D/aptpl
		while read -r l; do
			case $l in
			PR_REG_START*) line= ;;
			PR_REG_END*) echo "$line" >$B/pr/res_aptpl_metadata || echo "aptpl: refused: $line" ;;
			*) line=$line${line:+,}$l ;;
			esac
		done <$D/aptpl
	fi
}
target_ports() {
	mkdir -p $T/iscsi/$IQN
	for p in 1 2; do
		local g=$T/iscsi/$IQN/tpgt_$p
		mkdir -p $g/lun/lun_0
		ln -s $T/core/fileio_0/d0 $g/lun/lun_0/d0
		echo 0 >$g/attrib/authentication
		for i in n1 n2 n3; do
			mkdir -p $g/acls/iqn.2026-01.test:$i/lun_0
			ln -s $g/lun/lun_0 $g/acls/iqn.2026-01.test:$i/lun_0/l
			echo 0 >$g/acls/iqn.2026-01.test:$i/lun_0/write_protect
		done
		mkdir $g/np/127.0.0.$p:3260
		echo 1 >$g/enable
	done
}
lio_down() {
	for p in 1 2; do
		local g=$T/iscsi/$IQN/tpgt_$p
		echo 0 >$g/enable
		rmdir $g/np/*
		for i in n1 n2 n3; do
			rm $g/acls/iqn.2026-01.test:$i/lun_0/l
			rmdir $g/acls/iqn.2026-01.test:$i/lun_0 $g/acls/iqn.2026-01.test:$i
		done
		rm -f $g/lun/lun_0/d*
		rmdir $g/lun/lun_0 $g
	done
	rmdir $T/iscsi/$IQN $T/core/fileio_0/d0
}

# ---- initiators
declare -A session
login() { # node path: its disk becomes $D/node.dev/pPATH
	local s host d i
	s=$("$out/iscsilogin" 127.0.0.$2 3260 iqn.2026-01.test:$1 $IQN $2 2) || { fail login "$1 $2"; return; }
	s=${s#session=}
	s=${s%% *}
	session[$1.$2]=$s
	for i in $(seq 100); do
		d=$(echo /sys/class/iscsi_session/session$s/device/target*/*/block/sd*)
		[ -e "$d" ] && break
		sleep 0.1
	done
	mkdir -p $D/$1.dev
	ln -sfn /dev/${d##*/} $D/$1.dev/p$2
}
logout() { "$out/iscsilogin" -d ${session[$1.$2]}; rm -f $D/$1.dev/p$2; }
login_all() { for i in n1 n2 n3; do for p in 1 2; do login $i $p; done; done; }
logout_all() { for i in n1 n2 n3; do for p in 1 2; do logout $i $p; done; done; }
disk() { readlink $D/$1.dev/p$2; }
state() { echo "$3" >/sys/block/"$(basename "$(disk $1 $2)")"/device/state; }

# ---- nodes
declare -A gen=([n1]=11 [n2]=22)
u() { local i=$1; shift; timeout 40 "$out/unitctl" $D/conf $i ${gen[$i]} u1 "$@"; }
settle() { # node path: past its unit attentions
	local i
	for i in 1 2 3 4; do sg_persist -n -r "$(disk $1 $2)" >/dev/null 2>&1 && return; done
}
keys() { # path: what the stranger sees there
	settle n3 ${1:-1}
	sg_persist -n -k "$(disk n3 ${1:-1})" 2>/dev/null | grep -v generation | grep -o '0x[0-9a-f]*' | sort | uniq -c | awk '{printf "%s%sx%s", s, $1, $2; s=" "}'
}
key() { printf '0x4846%02x%010x' "${1#n}" "${gen[$1]}"; }
poke() { # node path: a direct write to the last block before the record; words of its end
	local i said
	for i in 1 2 3 4 5; do # a session that the guest neglected too long is an error once, no verdict
		said=$(dd if=/dev/zero of="$(disk $1 $2)" bs=4096 seek=$(((MIB << 8) - 32)) count=1 oflag=direct conv=notrunc 2>&1 |
			sed -n 's/.*writing.*: //p;s/.*bytes.*copied.*/written/p' | head -1)
		[ "$said" = "Input/output error" ] || break
		sleep 0.5
	done
	echo "$said"
}
epoch() { sed -n 's/.* epoch=\([0-9]*\).*/\1/p' <<<"$1"; }

mp() { modprobe -d /run/root "$@"; }
if [ $target = lio ]; then
	mp configfs
	mount -t configfs none /sys/kernel/config
	mp target_core_mod
	mkdir -p /run/target/pr /run/target/alua
	echo /run/target >$T/dbroot
	mp -a target_core_file iscsi_target_mod || { echo "no LIO here"; exit 1; }
fi
mp -a iscsi_tcp sd_mod || { echo "no iscsi_tcp here"; exit 1; }
truncate -s ${MIB}M $D/lun.img
target_up ""
login_all
[ $target = lio ] || WWID=$(cat /sys/block/"$(basename "$(disk n1 1)")"/device/wwid)
cat >$D/conf <<EOF
cluster "t" {
	key "$D/key"
	coordination "$D/coord"
	run_dir "$D/%n"
	state_dir "$D/%n"
}
node n1 { id 1 network 127.0.0.1 port 7400 }
node n2 { id 2 network 127.0.0.2 port 7400 }
unit u1 {
	backend scsi
	wwid "$WWID"
	devices "$D/%n.dev/*"
	mount_point "$D/%n/u1"
	type ext4
}
EOF
mkdir -p n1 n2
(umask 77; echo "1 $(printf '5a%.0s' $(seq 32)) send" >key)
step ready
area=$(((MIB << 10) - 64))

# covers: F1 FO-16 FO-18 FO-19 FO-21 VS-98 OV-13
if has_part basic; then
	r=$(u n1 free)
	expect "a blank record is no record" "outcome=error*blank*" "$r"
	r=$(u n1 make)
	expect "the record is made" "rc=0*" "$r"
	r=$(u n1 make)
	expect "and never made twice" "rc=-114*" "$r"
	r=$(u n1 free)
	expect "an unowned unit is won" "outcome=won owner=1 holder=1*" "$r"
	expect "with a key on both paths, APTPL" "2x$(key n1)" "$(keys)"
	[ $target = tgt ] || expect "the target was asked to remember" "*labels=0*" "$r"
	r=$(u n1 mount)
	expect "a unit without a file system says so" "rc=-61*$area KiB*" "$r"
	mkfs.ext4 -q -F "$(disk n1 1)" 2>&1
	r=$(u n1 mount)
	expect "a file system over the record is not mounted" "rc=-27*$area KiB*" "$r"
	# mkfs has written over the record: once more
	mkfs.ext4 -q -F "$(disk n1 1)" ${area}k 2>&1
	u n1 make >/dev/null
	r=$(u n1 free)
	expect "won" "outcome=won*" "$r"
	r=$(u n1 mount)
	expect "and mounted" "rc=0*" "$r"
	echo kept >n1/u1/file && sync -f n1/u1/file
	r=$(u n2 read)
	expect "another node reads the pair" "outcome=won owner=1 holder=1*" "$r"
	r=$(u n2 free)
	expect "and does not get it" "outcome=lost owner=1*" "$r"
	expect "nor leaves a key" "2x$(key n1)" "$(keys)"
	expect "a stranger cannot write" "Invalid exchange" "$(poke n3 1)"
	expect "nor the other node, on any path" "Invalid exchange" "$(poke n2 2)"
	expect "the owner can, on both" "written written" "$(poke n1 1) $(poke n1 2)"
	# F1
	unshare -m --propagation private sleep 300 &
	ns=$!
	for i in $(seq 100); do
		[ "$(cat /proc/$ns/comm)" = sleep ] && break
		sleep 0.1
	done
	r=$(u n1 unmount)
	expect "F1: a mount left in another namespace is found" "rc=-16*something holds it*" "$r"
	r=$(u n1 release)
	expect "F1: and nothing is released" "outcome=error*" "$r"
	expect "F1: the reservation stays" "2x$(key n1)" "$(keys)"
	kill $ns; wait $ns 2>/dev/null
	r=$(u n1 release)
	expect "released when it is gone" "outcome=won*" "$r"
	expect "no key is left" "" "$(keys)"
	r=$(u n2 read)
	expect "the pair is <U,U>" "outcome=won owner=0 holder=0*" "$r"
	step basic
else
	mkfs.ext4 -q -F "$(disk n1 1)" ${area}k 2>&1
	u n1 make >/dev/null
fi

# covers: F2 F3 FO-21 OV-14
if has_part fence; then
	r=$(u n1 free)
	e=$(epoch "$r")
	u n1 mount >/dev/null
	echo before >n1/u1/file; sync -f n1/u1/file
	# The victim writes on both paths without a pause, to blocks of the free end, numbered.
	for p in 1 2; do
		(i=0; while printf '%-4096s' "$i" | dd of="$(disk n1 $p)" bs=4096 seek=$(((MIB << 8) - 30 - p)) count=1 \
			oflag=direct conv=notrunc iflag=fullblock 2>/dev/null; do i=$((i + 1)); echo "$i" >writer.$p; done) &
		w[p]=$!
	done
	for i in $(seq 300); do # both write
		[ -s writer.1 ] && [ -s writer.2 ] && break
		sleep 0.1
	done
	sleep 0.5
	t=$(date +%s%N)
	r=$(u n2 victim 1 "$e")
	t=$((($(date +%s%N) - t) / 1000000))
	expect "takeover from a writing owner ($t ms)" "outcome=won owner=2 holder=2*" "$r"
	a=$(dd if="$(disk n2 1)" bs=4096 skip=$(((MIB << 8) - 32)) count=2 iflag=direct 2>/dev/null | md5sum)
	wait ${w[1]} ${w[2]}
	sleep 0.3
	b=$(dd if="$(disk n2 1)" bs=4096 skip=$(((MIB << 8) - 32)) count=2 iflag=direct 2>/dev/null | md5sum)
	expect "no write of the former owner came after" "$a" "$b"
	expect "it wrote until then" "[1-9]*" "$(cat writer.1)"
	expect "only the winner's keys stand" "2x$(key n2)" "$(keys)"
	expect "the former owner's writes conflict" "Invalid exchange Invalid exchange" "$(poke n1 1) $(poke n1 2)"
	r=$(u n1 read)
	expect "past its unit attention it reads who has it" "outcome=won owner=2 holder=2*" "$r"
	r=$(u n1 keep 99)
	expect "it keeps nothing" "outcome=lost owner=2*" "$r"
	r=$(u n1 lost)
	expect "what it had mounted is shut down and gone" "rc=0*" "$r"
	gen[n1]=12
	r=$(u n1 free)
	expect "nor gets it with a new generation" "*outcome=lost*" "$r"
	expect "and no key came back" "2x$(key n2)" "$(keys)"
	r=$(u n2 mount)
	expect "the winner mounts" "rc=0*" "$r"
	expect "what was on disk is there" "before" "$(cat n2/u1/file)"
	r=$(u n2 keep 99)
	expect "it goes on with a new epoch, mounted" "outcome=won owner=2*" "$r"
	u n2 unmount >/dev/null
	r=$(u n2 release)
	expect "released" "outcome=won*" "$r"
	step fence
fi

# covers: F2 F3 FO-17 FO-20 VS-107
if has_part restart; then
	r=$(u n1 free)
	expect "n1 has it" "outcome=won*" "$r"
	if [ $target = lio ]; then # tgt remembers nothing
		logout_all
		target_down
		target_up remembered
		login n2 2; login n2 1; login n3 1; login n3 2; login n1 2; login n1 1
		r=$(u n2 read)
		expect "APTPL: the target came back with the reservation" "outcome=won owner=1 holder=1*" "$r"
		expect "APTPL: with both keys" "2x$(key n1)" "$(keys)"
		expect "APTPL: a stranger still cannot write" "Invalid exchange" "$(poke n3 1)"
		r=$(u n1 keep 99)
		expect "APTPL: the owner goes on, its disks have other names" "outcome=won*" "$r"
	fi
	logout_all
	target_down
	rm -f /run/target/pr/*
	target_up ""
	login_all
	r=$(u n1 read)
	expect "a target that forgot: the pair is <n1,U>" "outcome=won owner=1 holder=0*" "$r"
	r=$(u n1 keep 99)
	expect "then even the owner by S keeps nothing (F3)" "outcome=lost*" "$r"
	r=$(u n2 free)
	expect "S is definitive: another does not get it" "outcome=lost owner=1*" "$r"
	gen[n1]=13
	r=$(u n1 free)
	expect "its owner takes it anew" "outcome=won owner=1 holder=1*" "$r"
	r=$(u n1 release)
	expect "and releases it" "outcome=won*" "$r"
	step restart
fi

# covers: F2
if has_part leftover; then
	sg_persist -n -o -G -S 0xdead "$(disk n3 1)" >/dev/null 2>&1
	sg_persist -n -o -R -K 0xdead -T 1 "$(disk n3 1)" >/dev/null 2>&1
	expect "a stranger has an exclusive reservation" "1x0xdead" "$(keys)"
	r=$(u n2 free)
	expect "leftover keys and a reservation of another type are cleared" "outcome=won owner=2 holder=2*" "$r"
	expect "only mine are left" "2x$(key n2)" "$(keys)"
	expect "of the right type" "*registrants only*" "$(sg_persist -n -r "$(disk n3 1)" 2>/dev/null | tail -1)"
	settle n3 2
	sg_persist -n -o -G -S 0xbeef "$(disk n3 2)" >/dev/null 2>&1
	r=$(u n2 keep 99)
	expect "somebody registered beside the owner: it keeps nothing" "outcome=lost*" "$r"
	r=$(u n2 free)
	expect "a whole takeover clears that" "outcome=won*" "$r"
	expect "only mine again" "2x$(key n2)" "$(keys)"
	u n2 release >/dev/null
	step leftover
fi

# covers: F1 VS-100 VS-103 FO-22
if has_part paths; then
	state n1 1 offline
	r=$(u n1 free)
	expect "one of two paths is gone: won by the other" "outcome=won*" "$r"
	expect "with one key" "1x$(key n1)" "$(keys)"
	r=$(u n1 mount)
	expect "mounted on what is left" "rc=0*" "$r"
	state n1 1 running
	r=$(u n1 keep 99)
	expect "the path is back and gets its key" "outcome=won*" "$r"
	expect "two keys" "2x$(key n1)" "$(keys)"
	state n1 1 offline; state n1 2 offline
	r=$(u n1 read)
	expect "no path at all is an error, with words" "outcome=error*none of 2 paths answers*" "$r"
	r=$(u n1 release)
	expect "nothing is released that cannot be proved" "outcome=error*" "$r"
	r=$(u n1 lost)
	expect "what is mounted on lost paths can be let go of" "rc=0*" "$r"
	state n1 1 running; state n1 2 running
	# A session that ends leaves a registration behind which no path of mine has any more.
	logout n1 1
	r=$(u n1 release)
	expect "release takes the keys of lost paths along" "outcome=won*" "$r"
	expect "no key is left behind" "" "$(keys)"
	login n1 1
	step paths
fi

# covers: VS-107 VS-108 VS-109 VS-111
if has_part names; then
	mkdir -p $T/core/fileio_1/d1
	truncate -s ${MIB}M other.img
	echo "fd_dev_name=$D/other.img,fd_dev_size=$((MIB << 20))" >$T/core/fileio_1/d1/control
	echo 99992222-3333-4444-5555-666677778888 >$T/core/fileio_1/d1/wwn/vpd_unit_serial
	echo 1 >$T/core/fileio_1/d1/enable
	r=$(cd / && "$out/holdfast" -c $D/conf -N n1 unit scan 2>&1)
	expect "scan lists the unit by its name in the configuration" "*$WWID*u1*" "$r"
	# Behind path 2 there is another unit now; the kernel does not know yet.
	g=$T/iscsi/$IQN/tpgt_2
	for i in n1 n2 n3; do rm $g/acls/iqn.2026-01.test:$i/lun_0/l; rmdir $g/acls/iqn.2026-01.test:$i/lun_0; done
	rm $g/lun/lun_0/d0
	ln -s $T/core/fileio_1/d1 $g/lun/lun_0/d1
	for i in n1 n2 n3; do mkdir $g/acls/iqn.2026-01.test:$i/lun_0; ln -s $g/lun/lun_0 $g/acls/iqn.2026-01.test:$i/lun_0/l; done
	r=$(u n1 free)
	expect "another unit behind a path: the unit is refused" "outcome=error*is naa.60014059999222233334444555566667 now*" "$r"
	expect "no key on either" " " "$(keys 1) $(keys 2)"
	logout n1 2; login n1 2
	r=$(u n1 free)
	expect "rescanned, that device is no path and the other serves" "outcome=won*" "$r"
	expect "one key, on the right unit" "1x$(key n1) " "$(keys 1) $(keys 2)"
	u n1 release >/dev/null
	for i in n1 n2 n3; do rm $g/acls/iqn.2026-01.test:$i/lun_0/l; rmdir $g/acls/iqn.2026-01.test:$i/lun_0; done
	rm $g/lun/lun_0/d1
	ln -s $T/core/fileio_0/d0 $g/lun/lun_0/d0
	for i in n1 n2 n3; do mkdir $g/acls/iqn.2026-01.test:$i/lun_0; ln -s $g/lun/lun_0 $g/acls/iqn.2026-01.test:$i/lun_0/l; echo 0 >$g/acls/iqn.2026-01.test:$i/lun_0/write_protect; done
	for i in n1 n2 n3; do logout $i 2; login $i 2; done
	step names
fi

# covers: VS-100 VS-104
if has_part map; then
	if mp -a dm-mod dm-multipath dm-round-robin 2>/dev/null && command -v dmsetup >/dev/null; then
		a=$(cat /sys/block/"$(basename "$(disk n1 1)")"/dev) b=$(cat /sys/block/"$(basename "$(disk n1 2)")"/dev)
		echo "0 $((MIB << 11)) multipath 0 0 1 1 round-robin 0 2 1 $a 1 $b 1" |
			dmsetup create -u "mpath-$WWID" --verifyudev mp1 2>/dev/null ||
			echo "0 $((MIB << 11)) multipath 0 0 1 1 round-robin 0 2 1 $a 1 $b 1" | dmsetup create --noudevsync -u "mpath-$WWID" mp1
		dmsetup mknodes 2>/dev/null
		r=$(u n1 free)
		expect "multipath: won below the map" "outcome=won*" "$r"
		expect "multipath: a key on each path" "2x$(key n1)" "$(keys)"
		r=$(u n1 mount)
		expect "multipath: mounted" "rc=0*" "$r"
		expect "multipath: the map is" "*dm*|*mapper*" "$(grep " $D/n1/u1 " /proc/mounts | cut -d' ' -f1 | sed 's/$/|/;s/^\(.*mapper.*\)|/dm \1|mapper/')"
		expect "multipath: another mount of the map would be found" "outcome=error*" "$(u n1 release)"
		u n1 unmount
		r=$(u n1 release)
		expect "multipath: released" "outcome=won*" "$r"
		dmsetup remove mp1
	else
		echo "-- no dm-multipath here"
	fi
	step map
fi

# Two daemons, one guest: what the parts above did by hand they do by themselves.
hf() { local i=$1; shift; timeout 30 "$out/holdfast" -c $D/hf.conf -N $i "$@" 2>&1; }
wait_for() { # tenths text command...
	local t=$1 text=$2 i
	shift 2
	for ((i = 0; i < t; i++)); do
		case $("$@" 2>&1) in *$text*) return 0 ;; esac
		sleep 0.1
	done
	return 1
}
serving() { hf $1 --json vs show v1; }
nfs() { echo "nfs://127.0.0.50/fs1/$1?version=3&nfsport=20490&mountport=20490"; }
# covers: F2 F3 VS-98 VS-99 FO-15 FO-22 OV-13 OV-16
if has_part daemons; then
	{
		sed '/^unit u1/,$d;s/^cluster "t" {/&\n\theartbeat 300ms\n\tself_fence stop/' conf
		sed -n '/^unit u1/,$p' conf
		cat <<EOF
vserver v1 {
	home n1
	address 127.0.0.50
	nfs_port 20490
	mount_port 20490
	portmap off
	store fs1 { unit u1 dir "fs1" log_half 4M index_map 64M }
	export "/fs1" { store fs1 client 127.0.0.0/8 rw no_root_squash insecure }
}
EOF
	} >hf.conf
	dd if=/dev/zero of="$(disk n1 1)" bs=1M seek=$((MIB - 1)) count=1 oflag=direct 2>/dev/null
	mkfs.ext4 -q -F "$(disk n1 1)" ${area}k 2>&1
	r=$(hf n1 init)
	expect "init makes record and store on the disk" "*made*unit*u1*" "$r"
	for i in n1 n2; do "$out/holdfastd" -c hf.conf -N $i >$i.log 2>&1 & d[${i#n}]=$!; done
	if wait_for 150 '"state": "SERVING"' serving n1; then ok "n1 serves"; else fail "n1 serves" "$(tail -3 n1.log)"; fi
	wait_for 50 alive hf n2 status
	r=$(hf n2 unit list)
	expect "n2 sees whose it is, by which paths" "*<n1,n1>*n1*2/2*unusable here: owned by n1*$WWID*" "$r"
	r=$(hf n1 unit show u1)
	expect "n1 shows its keys and that the target remembers" "*a power loss of the target: $remembers*n1, generation 1*$initiator*" "$r"
	echo one >one; echo two >two
	nfs-cp one "$(nfs one)" >/dev/null 2>&1
	expect "written through NFS" "one" "$(nfs-cat "$(nfs one)" 2>&1)"
	kill -9 ${d[1]}; wait ${d[1]} 2>/dev/null
	if wait_for 150 '"state": "SERVING"' serving n2; then ok "killed: n2 takes over by reservation"; else fail "takeover" "$(tail -5 n2.log)"; fi
	expect "what was acknowledged is there" "one" "$(nfs-cat "$(nfs one)" 2>&1)"
	expect "only n2's keys stand" "2x0x4846020000000001" "$(keys)"
	nfs-cp two "$(nfs two)" >/dev/null 2>&1
	"$out/holdfastd" -c hf.conf -N n1 >n1.log2 2>&1 &
	d[1]=$!
	wait_for 100 NORMAL hf n1 status
	wait_for 50 alive hf n2 status
	# A node that loses its storage, on every path.
	state n2 1 offline; state n2 2 offline
	if wait_for 150 '"state": "SERVING"' serving n1; then ok "no path left: n1 takes over, n2's keys are preempted"; else fail "takeover back" "$(tail -5 n1.log2)"; fi
	expect "all of it is there" "one two" "$(nfs-cat "$(nfs one)" 2>&1) $(nfs-cat "$(nfs two)" 2>&1)"
	state n2 1 running; state n2 2 running
	wait_for 100 "unusable here: owned by n1" hf n2 unit list
	expect "n2 comes back and leaves it alone" "*<n1,n1>*unusable here: owned by n1*" "$(hf n2 unit list)"
	expect "with no mount left" "" "$(grep -o "$D/n2/u1" /proc/mounts)"
	expect "only n1's new keys stand" "2x0x4846010000000002" "$(keys)"
	r=$(hf n1 unit release u1)
	expect "an operator has n1 release it" "done*" "$r"
	if wait_for 100 '"state": "SERVING"' serving n2; then ok "then n2 has it"; else fail "n2 after the release" "$(tail -5 n2.log)"; fi
	hf n2 shutdown >/dev/null
	hf n1 shutdown >/dev/null
	wait ${d[1]} ${d[2]} 2>/dev/null
	expect "shut down: no key is left" "" "$(keys)"
	step daemons
fi
echo "-- end at $(cut -d' ' -f1 /proc/uptime)"
[ $bad -eq 0 ] && [ $n -gt 0 ]
