# The lab's own programs: the survive test's client.
SURVIVE := $(OUT)/survive
tools unit-build: $(SURVIVE)
$(SURVIVE): $(OUT)/test/lab/survive.o $(OUT)/test/lab/nfsclient.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ -lpthread

# Bulk data carried in while something happens, by unit tests with real daemons.
COURIER := $(OUT)/courier
tools unit-build: $(COURIER)
$(COURIER): $(OUT)/test/lab/courier.o $(OUT)/test/lab/nfsclient.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ -lpthread

# Power loss on loop-mounted ext4 and xfs, seen by clients.
.PHONY: crash-fs
crash-fs: tools all
	@OUT=$(OUT) test/lab/crash-fs

# A virtual server on IPv6, in namespaces of its own.
.PHONY: ipv6
ipv6: all
	@OUT=$(OUT) test/lab/ipv6

# Clusters under faults, and a real Linux client.
.PHONY: lab-smoke lab-full lab-soak guest guest-full
lab-smoke: tools all
	@OUT=$(OUT) test/lab/run smoke
lab-full: tools all
	@OUT=$(OUT) test/lab/run full
# The same of whole clusters, two and three nodes: what they do and what they say about it.
.PHONY: cluster-smoke cluster-full
cluster-smoke: tools all
	@OUT=$(OUT) test/lab/cluster smoke
cluster-full: tools all
	@OUT=$(OUT) test/lab/cluster full
# Each word of what tools/lab promises.
.PHONY: lab-contract
lab-contract: tools all
	@OUT=$(OUT) test/lab/contract
lab-soak: tools all
	@OUT=$(OUT) test/lab/run soak
guest: tools all
	@OUT=$(OUT) test/lab/guest-test kill
guest-full: tools all
	@OUT=$(OUT) test/lab/guest-test -f 100000 plain
	@OUT=$(OUT) test/lab/guest-test move
.PHONY: abuse
abuse: tools all $(OUT)/abuse
	@OUT=$(OUT) test/lab/abuse

# Forged and replayed heartbeats.
FORGE := $(OUT)/forge
tools: $(FORGE)
$(FORGE): $(OUT)/test/lab/forge.o $(OUT)/test/unit/lib_forge.o $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# A kernel's SCSI disks by iSCSI, a real target and its initiators, all inside one guest.
UNITCTL := $(OUT)/unitctl
ISCSILOGIN := $(OUT)/iscsilogin
tools: $(UNITCTL) $(ISCSILOGIN)
$(UNITCTL): $(OUT)/test/lab/unitctl.o $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(ISCSILOGIN): $(OUT)/test/lab/iscsilogin.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^
.PHONY: guest-scsi
guest-scsi: tools all
	@OUT=$(OUT) test/lab/scsi-test
.PHONY: guest-scsi-tgt
guest-scsi-tgt: tools all
	@OUT=$(OUT) test/lab/scsi-test tgt
.PHONY: guest-scsi-short
guest-scsi-short: tools all
	@OUT=$(OUT) test/lab/scsi-test basic fence
