# Benchmarks: an echo server (the limit), a load generator, and test/bench/run to use them.
BENCH := $(OUT)/bench/echo $(OUT)/bench/load
.PHONY: bench bench-tools
bench-tools: $(BENCH)
$(OUT)/bench/%: $(OUT)/test/bench/%.o
	@mkdir -p $(@D)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^
bench: $(BENCH) $(OUT)/holdfast-vs
	OUT=$(OUT) test/bench/run
# Hostile and broken clients, against any address and port.
bench-tools: $(OUT)/abuse
$(OUT)/abuse: $(OUT)/test/lab/abuse.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^
# t_worker runs the program.
unit: $(OUT)/holdfast-vs
