# The simulator: whole clusters on virtual time (doc/sim.md).
SIMBIN := $(OUT)/holdfast-sim
SIMOBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard sim/*.c))
tools: $(SIMBIN)
$(SIMBIN): $(SIMOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(SIMOBJ) $(LIB)

# 10,000, 7,000 and 200,000 seeds over all processors (doc/sim.md has the minutes); SIM_SEEDS=A-B
# for others.
.PHONY: sim sim-long sim-soak
sim: $(SIMBIN)
	@$(SIMBIN) --seed 7 --trace | cksum >$(OUT)/sim.first
	@$(SIMBIN) --seed 7 --trace | cksum | cmp - $(OUT)/sim.first
	@$(SIMBIN) --list sim/seeds.txt
	@$(SIMBIN) --calm --seeds 1-300
	@$(SIMBIN) --versions --seeds 1-300
	@$(SIMBIN) --only op.unit,op.move,node,dev.lost,unit.path --seeds 1-150
	@$(SIMBIN) --seeds $(or $(SIM_SEEDS),1-10000) $(if $(SIM_SEEDS),,--require sim/marks.txt)
sim-long: $(SIMBIN)
	@$(SIMBIN) --nodes 2-8 --seeds $(or $(SIM_SEEDS),10001-17000)
sim-soak: $(SIMBIN)
	@$(SIMBIN) --nodes 2-8 --seeds $(or $(SIM_SEEDS),100001-300000)
# The configuration's own model (sim/config.c): 2,000 seeds take about 3 s.
.PHONY: sim-config
sim: sim-config
sim-config: $(SIMBIN)
	@$(SIMBIN) --config --seeds 1-2000
	@$(SIMBIN) --config --seeds 7003956-7003956 # one place for two versions after a start
	@$(SIMBIN) --config --seeds 7021337-7021337 # forgot what it had got chosen: learnt the one before
