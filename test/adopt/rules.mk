# Adopt and release: an existing tree becomes a store and comes back, with the process killed at its
# points, and (check-full) the power lost on loop-mounted ext4 and xfs, and a hundred thousand files.
ADOPTRIG := $(OUT)/adopt-rig
tools: $(ADOPTRIG)
$(ADOPTRIG): $(OUT)/test/adopt/rig.o $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: adopt adopt-full
adopt: tools all
	@OUT=$(OUT) test/adopt/run quick
adopt-full: tools all
	@OUT=$(OUT) test/adopt/run full
