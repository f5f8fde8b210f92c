# test/fuzz: one program fuzz_NAME.c per decoder, its corpus in corpus/NAME.
#
# fuzz-corpus   replays every committed input under ASan and UBSan; part of the check tier
# fuzz-run      libFuzzer (clang), FUZZ_SECONDS for each program, starting from the corpus
# An input that found something is minimised and committed as corpus/NAME/WHAT.

FUZZ_SECONDS ?= 40
FUZZSRC := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZBIN := $(FUZZSRC:test/fuzz/%.c=$(OUT)/fuzz/%)
FUZZ_CC := clang
FUZZOUT := $(BUILD)/libfuzzer
FUZZ_CFLAGS := -std=c17 -D_GNU_SOURCE -g -O1 -w -Isrc -fno-strict-aliasing \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZOBJ := $(LIBSRC:%.c=$(FUZZOUT)/%.o)

.PHONY: fuzz-corpus fuzz-replay fuzz-replay-build fuzz-build fuzz-run

fuzz-corpus:
	@$(MAKE) --no-print-directory VARIANT=asan fuzz-replay

$(OUT)/fuzz/%: $(OUT)/test/fuzz/%.o $(OUT)/test/fuzz/replay.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

fuzz-replay-build: $(FUZZBIN)

fuzz-replay: $(FUZZBIN)
	@test/fuzz/replay $(FUZZBIN)

$(FUZZOUT)/%.o: %.c
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(FUZZOUT)/lib.a: $(FUZZOBJ)
	@rm -f $@; ar rcs $@ $^

$(FUZZOUT)/fuzz_%: $(FUZZOUT)/test/fuzz/fuzz_%.o $(FUZZOUT)/lib.a
	@echo "  LD $@"; $(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)

fuzz-build: $(FUZZSRC:test/fuzz/%.c=$(FUZZOUT)/%)

fuzz-run: fuzz-build
	@test/fuzz/run $(FUZZ_SECONDS) $(FUZZSRC:test/fuzz/%.c=$(FUZZOUT)/%)

-include $(shell find $(FUZZOUT) -name '*.d' 2>/dev/null)
