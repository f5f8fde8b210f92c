# The simulator: whole clusters on virtual time (doc/sim.md).
SIMBIN := $(OUT)/holdfast-sim
SIMOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard sim/*.c))
tools: $(SIMBIN)
$(SIMBIN): $(SIMOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(SIMOBJ) $(LIB)

# About a minute, ten minutes and forty minutes of one core; SIM_SEEDS=A-B for others.
.PHONY: sim sim-long sim-soak
sim: $(SIMBIN)
	@$(SIMBIN) --seed 7 --trace | cksum >$(OUT)/sim.first
	@$(SIMBIN) --seed 7 --trace | cksum | cmp - $(OUT)/sim.first
	@$(SIMBIN) --calm --seeds 1-300
	@$(SIMBIN) --seeds $(or $(SIM_SEEDS),1-1000) $(if $(SIM_SEEDS),,--require sim/marks.txt)
sim-long: $(SIMBIN)
	@$(SIMBIN) --seeds $(or $(SIM_SEEDS),1001-13000)
sim-soak: $(SIMBIN)
	@$(SIMBIN) --seeds $(or $(SIM_SEEDS),100001-150000)
