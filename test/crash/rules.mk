# The crash rig: the store on a disk in memory, stopped at its boundaries (doc/store.md).
#   make crash [SEEDS=first:count] [EVERY=seeds]     about a minute
CRASHOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/crash/*.c))
CRASH    := $(OUT)/crash
tools: $(CRASH)
$(CRASH): $(CRASHOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(CRASHOBJ) $(LIB) $(LDLIBS)

SEEDS ?= 1:20000
EVERY ?= 10
.PHONY: crash
crash: $(CRASH)
	@$(CRASH) --seed $(firstword $(subst :, ,$(SEEDS))) --count $(lastword $(subst :, ,$(SEEDS))) --every $(EVERY)
