# How a policy in C is built and tested. A package's Makefile sets SDK and HOOKS, and includes this:
#   SDK    the directory of this file
#   HOOKS  what the policy answers: commands, rows or both
# SOURCES are the policy's own files, TEST its tests.

SOURCES ?= policy.c
TEST ?= policy_test.c
OUT ?= build/module.wasm

WARNINGS := -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wno-missing-field-initializers
HEADERS := $(wildcard $(SDK)/*.h *.h)
PORTABLE := $(SDK)/portcullis.c $(SDK)/json.c

# The module that `portcullis policy build` makes a component of. It keeps the names of functions, for backtraces, but no path
# of the machine. Zig takes NDEBUG for granted where the optimiser is on; here `assert` is what stops a policy that has gone wrong.
.PHONY: module
module: $(OUT)
$(OUT): $(SOURCES) $(PORTABLE) $(SDK)/guest.c $(HEADERS) $(MAKEFILE_LIST)
	@mkdir -p $(@D)
	zig cc -target wasm32-wasi -mexec-model=reactor -O2 -UNDEBUG $(WARNINGS) -I$(SDK) $(HOOKS:%=-DPC_HOOK_%) \
	  -ffile-prefix-map=$(SDK)=sdk -ffile-prefix-map=$(CURDIR)=. -Wl,--strip-debug -Wl,-z,stack-size=1048576 -Wl,--export=portcullis_scratch \
	  -o $@ $(SOURCES) $(PORTABLE) $(SDK)/guest.c

# The policy's own tests, on this machine, with the doubles of testing.h.
.PHONY: test
test: build/test
	./build/test
build/test: $(SOURCES) $(TEST) $(PORTABLE) $(SDK)/testing.c $(HEADERS) $(MAKEFILE_LIST)
	@mkdir -p $(@D)
	$(CC) -g -fsanitize=address,undefined -fno-sanitize-recover $(WARNINGS) -I$(SDK) -o $@ $(SOURCES) $(TEST) $(PORTABLE) $(SDK)/testing.c

.PHONY: clean
clean:
	rm -rf build
