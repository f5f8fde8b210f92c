# The lab's own programs: the survive test's client.
SURVIVE := $(OUT)/survive
tools: $(SURVIVE)
$(SURVIVE): $(OUT)/test/lab/survive.o $(OUT)/test/lab/nfsclient.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ -lpthread

# Power loss on loop-mounted ext4 and xfs, seen by clients.
.PHONY: crash-fs
crash-fs: tools all
	@OUT=$(OUT) test/lab/crash-fs
