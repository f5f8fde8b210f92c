# Golden traces of the brain, and random runs of the small cluster model behind them.
GOLDENBIN := $(OUT)/holdfast-golden
GOLDENOBJ := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard test/golden/*.c)))
GOLDENTXT := $(filter-out test/golden/steps.txt,$(sort $(wildcard test/golden/*.txt)))

$(GOLDENBIN): $(GOLDENOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: golden golden-accept golden-seeds
all: $(GOLDENBIN)

golden: $(GOLDENBIN)
	@test/golden/steps
	@test/golden/run check $(GOLDENBIN) $(GOLDENTXT)

golden-accept: $(GOLDENBIN)
	@test/golden/run accept $(GOLDENBIN) $(GOLDENTXT)

# make golden-seeds SEEDS=N FIRST=M
golden-seeds: $(GOLDENBIN)
	@for s in 3 17; do $(GOLDENBIN) twice $$s || exit 1; done
	@$(GOLDENBIN) seeds $(or $(FIRST),1) $(or $(SEEDS),1500) test/golden/marks

# Until sim/ has its own.
ifeq ($(wildcard sim/rules.mk),)
.PHONY: sim sim-long sim-soak
sim: golden-seeds
sim-long:
	@$(MAKE) --no-print-directory golden-seeds SEEDS=10000
sim-soak:
	@$(MAKE) --no-print-directory golden-seeds SEEDS=100000
endif
