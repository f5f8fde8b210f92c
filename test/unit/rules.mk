# A holdfastd that speaks the protocol's next version, for t_upgrade: only what knows the version is built
# again, the rest is the library.
NEXTSRC := $(wildcard src/codec/*.c src/core/*.c src/ctl/*.c cmd/holdfastd/*.c)
NEXTOBJ := $(NEXTSRC:%.c=$(OUT)/next/%.o)
$(OUT)/next/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC next $<"; $(CC) $(CFLAGS) -DHF_PROTOCOL_NEXT -MMD -MP -c -o $@ $<
$(OUT)/next/holdfastd: $(NEXTOBJ) $(LIB)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
	@ln -sf ../holdfast-vs $(OUT)/next/holdfast-vs
unit-build: $(OUT)/next/holdfastd

# The worker's part of a planned move, without the rest of the worker.
$(OUT)/unit/t_drain: $(OUT)/cmd/holdfast-vs/drain.o
