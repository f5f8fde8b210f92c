# Holdfast: build and test.   make | demo | check | check-full | soak | mutants | fuzz | clean
#
# Every .c of a room belongs to it; the rooms and what each may include are in tools/rooms-check.
# VARIANT=release|asan|fault chooses flags; objects go to build/VARIANT (BUILD= overrides).

VARIANT ?= release
BUILD   ?= build
OUT     := $(BUILD)/$(VARIANT)
CC      := gcc

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wvla -Wundef -Wswitch-enum \
	-Wimplicit-fallthrough -Wno-stringop-overflow -Wconversion -Wdouble-promotion -Werror
CFLAGS.release := -O2 -D_FORTIFY_SOURCE=2
CFLAGS.asan    := -O1 -Wno-conversion -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS.fault   := -O1 -DHF_FAULTS=1
LDFLAGS.asan   := -fsanitize=address,undefined
CFLAGS  := -std=c17 -D_GNU_SOURCE -g3 $(WARN) -fno-strict-aliasing -fno-common \
	-fstack-protector-strong -Isrc $(CFLAGS.$(VARIANT)) $(EXTRA_CFLAGS)
LDFLAGS := $(LDFLAGS.$(VARIANT))
LDLIBS  := -luring -llmdb -lmnl -lsodium -ljansson -lmicrohttpd -lseccomp -lpthread -Wl,--as-needed -liscsi

ROOMS   := base codec xdr core store nfs io ctl conf
LIBSRC  := $(sort $(foreach r,$(ROOMS),$(wildcard src/$(r)/*.c)))
LIBOBJ  := $(LIBSRC:%.c=$(OUT)/%.o)
LIB     := $(OUT)/libholdfast.a

# Each folder of cmd/ is one program; each tools/NAME.c or sim/holdfast-sim.c likewise.
CMDS    := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
CMDBIN  := $(CMDS:%=$(OUT)/%)

UNITSRC := $(sort $(wildcard test/unit/t_*.c))
UNITBIN := $(UNITSRC:test/unit/%.c=$(OUT)/unit/%)
HELPSRC := $(sort $(wildcard test/unit/lib_*.c))
HELPOBJ := $(HELPSRC:%.c=$(OUT)/%.o)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all tools unit unit-build gates mutants check check-full soak clean

all: packages $(CMDBIN)
tools:

.PHONY: packages
packages:
	@tools/need-packages build

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"; $(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIBOBJ)
	@rm -f $@
	@echo "  AR $@"; ar rcsP $@ $^

define CMD_RULE
$(OUT)/$(1): $$(patsubst %.c,$(OUT)/%.o,$$(wildcard cmd/$(1)/*.c)) $(LIB)
	@echo "  LD $$@"; $$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach c,$(CMDS),$(eval $(call CMD_RULE,$(c))))

$(OUT)/unit/%: $(OUT)/test/unit/%.o $(HELPOBJ) $(LIB)
	@mkdir -p $(@D)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(LDLIBS)

$(OUT)/holdfast-lun: LDLIBS += -lfuse3
$(OUT)/cmd/holdfast-lun/%.o: CFLAGS += $(shell pkg-config --cflags fuse3 2>/dev/null)

unit-build: $(UNITBIN) $(CMDBIN)
unit: unit-build
	@test/run-unit $(UNITBIN)

mutants:
	@test/run-mutants

check check-full soak:
	@test/tier $@

gates: $(LIB)
	@OUT=$(OUT) tools/rooms-check
	@tools/style-check
	@tools/claims

clean:
	rm -rf $(BUILD)

# Further targets of a room, a tool or a test tier live beside it in a small fragment.
include $(sort $(wildcard test/*/rules.mk sim/rules.mk tools/rules.mk xdr/rules.mk))

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
