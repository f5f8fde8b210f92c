# Benchmarks: an echo server (the limit), a load generator, test/bench/run to use them beside
# nfs-ganesha, test/bench/report to make tables of what it wrote.  doc/bench.md is the report of the
# results that are committed; `make bench` leaves its own beside the programs.
BENCH := $(OUT)/bench/echo $(OUT)/bench/load
.PHONY: bench bench-tools
bench-tools: $(BENCH)
$(OUT)/bench/echo: $(OUT)/test/bench/echo.o
$(OUT)/bench/load: $(patsubst %.c,$(OUT)/%.o,$(filter-out %/echo.c,$(wildcard test/bench/*.c)))
$(BENCH):
	@mkdir -p $(@D)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^
BENCH_SUITES ?= all
bench: $(BENCH) $(OUT)/holdfast-vs
	@rm -f $(OUT)/bench.tsv
	OUT=$(OUT) test/bench/run -o $(OUT)/bench.tsv $(BENCH_SUITES) > /dev/null
	@test/bench/report -o $(OUT)/bench.md $(OUT)/bench.tsv && cat $(OUT)/bench.md
# An hour of the same: memory must not grow.
.PHONY: churn-soak
churn-soak: $(BENCH) $(OUT)/holdfast-vs
	@OUT=$(OUT) test/bench/run -s holdfast --churn 3600 --churn-rate 10000 churn > $(OUT)/churn.tsv
# Hostile and broken clients, against any address and port.
bench-tools: $(OUT)/abuse
$(OUT)/abuse: $(OUT)/test/lab/abuse.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^
# t_worker runs the program.
unit: $(OUT)/holdfast-vs
