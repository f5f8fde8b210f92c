# Black-box tests of what people type.
.PHONY: badinput
badinput: all
	@OUT=$(OUT) test/cli/badinput
