# The crash rig: the store on a simulated disk, crashed at its write boundaries.
#   make crash [SEEDS=first:points]     one process, about a minute
CRASHOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/crash/*.c))
CRASH    := $(OUT)/crash-rig
tools: $(CRASH)
$(CRASH): $(CRASHOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(CRASHOBJ) $(LIB) $(LDLIBS)

SEEDS ?= 1:1000
.PHONY: crash
crash: $(CRASH)
	@$(CRASH) -s $(firstword $(subst :, ,$(SEEDS))) -p $(lastword $(subst :, ,$(SEEDS)))
