# Black-box tests of what people type.
.PHONY: badinput
badinput: $(CMDBIN)
	@OUT=$(OUT) test/cli/badinput
.PHONY: operator
operator: $(CMDBIN)
	@OUT=$(OUT) test/cli/operator
