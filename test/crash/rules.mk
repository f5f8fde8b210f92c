# The crash rig: the store on a disk in memory, stopped at its boundaries (doc/store.md).
#   make crash [SEEDS=first:count] [EVERY=seeds]     about a minute
#   build/release/crash-making --count N             the making of a store
CRASHOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/crash/*.c))
CRASH    := $(OUT)/crash
tools: $(CRASH)
$(CRASH): $(CRASHOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(CRASHOBJ) $(LIB) $(LDLIBS)

# The making of a store, the same way, in real folders.
MAKING := $(OUT)/crash-making
tools: $(MAKING)
$(MAKING): $(OUT)/test/crash/making/making.o $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

SEEDS ?= 1:20000
EVERY ?= 6
.PHONY: crash
crash: $(CRASH) $(MAKING)
	@a=$$($(CRASH) --quick --count 60 | grep digest) && b=$$($(CRASH) --quick --count 60 | grep digest) && \
	 { [ "$$a" = "$$b" ] || { echo "the same seeds gave another run: $$a, $$b"; exit 1; }; }
	@$(MAKING) --count 130
	@test/crash/ended $(CRASH) --count 1000000 && test/crash/ended $(MAKING) --count 1000000
	@$(CRASH) --seed $(firstword $(subst :, ,$(SEEDS))) --count $(lastword $(subst :, ,$(SEEDS))) --every $(EVERY)
