# The lab's own programs: the survive test's client.
SURVIVE := $(OUT)/survive
tools: $(SURVIVE)
$(SURVIVE): $(OUT)/test/lab/survive.o $(OUT)/test/lab/nfsclient.o
	@echo "  LD $@"; $(CC) $(LDFLAGS) -o $@ $^ -lpthread
