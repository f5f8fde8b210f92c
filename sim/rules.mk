# The simulator: whole clusters on virtual time (doc/sim.md).
SIMBIN := $(OUT)/holdfast-sim
SIMOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard sim/*.c))
tools: $(SIMBIN)
$(SIMBIN): $(SIMOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(SIMOBJ) $(LIB)

.PHONY: sim sim-long sim-soak
sim: $(SIMBIN)
	@$(SIMBIN) --seeds $(or $(SEEDS),1-200) --require sim/marks.txt
sim-long: $(SIMBIN)
	@$(SIMBIN) --seeds $(or $(SEEDS),1001-3000)
sim-soak: $(SIMBIN)
	@$(SIMBIN) --seeds $(or $(SEEDS),100001-120000)
