# Test tools in C, and the demonstration.
tools: $(OUT)/array $(OUT)/tgtlog

.PHONY: demo
demo: all tools
	@OUT=$(OUT) tools/demo

$(OUT)/array: $(OUT)/tools/array.o $(OUT)/tools/array_pr.o $(OUT)/tools/array_vol.o $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ -lfuse3 -lpthread

$(OUT)/tools/array.o: CFLAGS += $(shell pkg-config --cflags fuse3 2>/dev/null)

$(OUT)/tgtlog: $(OUT)/tools/tgtlog.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^

# The array's parts have unit tests like every module.
$(OUT)/unit/t_array: $(OUT)/tools/array_pr.o $(OUT)/tools/array_vol.o
