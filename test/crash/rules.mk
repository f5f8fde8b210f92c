# The crash rig: the store on a disk in memory, stopped at its boundaries (doc/store.md).
#   make crash [SEEDS=first:count] [EVERY=seeds]     about a minute
CRASHOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/crash/*.c))
CRASH    := $(OUT)/crash
tools: $(CRASH)
$(CRASH): $(CRASHOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(CRASHOBJ) $(LIB) $(LDLIBS)

SEEDS ?= 1:20000
EVERY ?= 6
.PHONY: crash
crash: $(CRASH)
	@a=$$($(CRASH) --quick --count 60 | grep digest) && b=$$($(CRASH) --quick --count 60 | grep digest) && \
	 { [ "$$a" = "$$b" ] || { echo "the same seeds gave another run: $$a, $$b"; exit 1; }; }
	@$(CRASH) --seed $(firstword $(subst :, ,$(SEEDS))) --count $(lastword $(subst :, ,$(SEEDS))) --every $(EVERY)
