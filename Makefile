# Tidemark: one make, no recursion into folders.  Build types live side by side:
#
#   make                     build/release           make BUILD=asan unit     gcc -fsanitize=address,undefined
#   make BUILD=debug         build/debug             make BUILD=tsan unit     gcc -fsanitize=thread
#   make BUILD=clang         build/clang             make BUILD=coverage      gcc --coverage; then `make coverage`
#
#   make check    headers, layers, unit tests          make test   deps + check + conformance + integration
#   make demo     the whole road on a throw-away PostgreSQL           make install DESTDIR= PREFIX=/usr/local
#
# CFLAGS and LDFLAGS are the caller's and come last; V=1 shows the commands; WERROR= keeps warnings warnings.

.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:
SHELL := /bin/bash

VERSION := 0.1.0
BUILD ?= release
OUT := build/$(BUILD)
PREFIX ?= /usr/local
DESTDIR ?=
NPROC := $(shell nproc 2>/dev/null || echo 1)
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-7s %s\n' '$(1)' '$(2)')

# ---------------------------------------------------------------- compiler

ifneq ($(filter $(BUILD),clang fuzz),)
ifeq ($(origin CC),default)
CC := clang
endif
else ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar

WERROR ?= -Werror
# One list for gcc and clang: the compiler takes all of it (the usual case, one probe), or each flag is asked for.
cc-takes = $(shell $(CC) -Werror $(1) -x c -c -o /dev/null /dev/null >/dev/null 2>&1 && echo '$(1)')
cc-has = $(or $(call cc-takes,$(1)),$(foreach f,$(1),$(call cc-takes,$(f))))

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wwrite-strings -Wformat=2 -Wvla -Wredundant-decls -Wundef -Wcast-qual
# clang takes an enum for unsigned: the int of a plugin's callback and tide_status would need a cast at every border.
# Signs of integers are gcc's to watch.
IS_CLANG := $(findstring clang,$(CC))
WARNINGS += $(if $(IS_CLANG),-Wno-sign-conversion)
PROBED := -Wlogical-op -Wduplicated-cond -fstack-protector-strong -fstack-clash-protection -fcf-protection

OPT_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
OPT_clang := $(OPT_release)
OPT_debug := -O0 -g3
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
OPT_coverage := -O0 -g --coverage -fprofile-update=atomic
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# Without the optimiser's ranges, and between a sanitizer's checks, gcc suspects every snprintf of cutting short.
OPT := $(OPT_$(BUILD)) $(if $(filter debug asan tsan coverage,$(BUILD)),-Wno-format-truncation)
ifeq ($(OPT_$(BUILD)),)
$(error BUILD=$(BUILD) is none of release debug asan tsan clang coverage)
endif

# Goals that compile nothing must work before a compiler is there.
NO_COMPILER := clean deps layers format format-check demo test test-deps
ifneq ($(if $(MAKECMDGOALS),$(filter-out $(NO_COMPILER),$(MAKECMDGOALS)),all),)
PROBED_OK := $(call cc-has,$(PROBED))
PG_INCLUDE := $(shell pg_config --includedir 2>/dev/null)
endif

ALL_CPPFLAGS := -I. -D_GNU_SOURCE= -DTIDE_VERSION='"$(VERSION)"' $(CPPFLAGS)
ALL_CFLAGS := -std=gnu17 $(OPT) $(WARNINGS) $(PROBED_OK) $(WERROR) $(CFLAGS)
ALL_LDFLAGS := -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
LIBS := -lzstd -llz4 -lxxhash -lcrypto -ljansson -lpthread -ldl -lm

# A plugin reaches nothing of the core.  clang leaves the sanitizer's runtime to the program, so there a complete
# link is impossible; gcc's shared runtime resolves.
PLUGIN_LDFLAGS := -shared $(if $(and $(IS_CLANG),$(filter asan tsan fuzz,$(BUILD))),,-Wl,-z,defs)
PLUGIN_CFLAGS := -fPIC -fvisibility=hidden
CPPFLAGS_postgresql := $(addprefix -isystem ,$(PG_INCLUDE))
LIBS_postgresql := -lpq -ljansson

# ----------------------------------------------------------------- sources

CORE_DIRS := $(addprefix orchestrator/,base config store pipe repository plugin daemon) wal pitr
CORE_SRC := $(sort $(wildcard $(addsuffix /*.c,$(CORE_DIRS))))
CLI_SRC := $(sort $(wildcard orchestrator/cli/*.c))
FETCH_SRC := $(sort $(wildcard orchestrator/cli/fetch/*.c))
PLUGIN_SRC := $(sort $(wildcard plugins/*/*.c))
PLUGINS := $(sort $(patsubst plugins/%/,%,$(dir $(PLUGIN_SRC))))
TEMPLATE_SRC := $(sort $(wildcard examples/template_plugin/*.c))
SUPPORT_SRC := $(sort $(wildcard tests/support/*.c))
UNIT_SRC := $(sort $(wildcard tests/unit/*_test.c))
CONF_SRC := $(sort $(wildcard tests/conformance/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*_fuzz.c))
BENCH_SRC := $(sort $(wildcard tests/bench/*_bench.c))
TOOL_SRC := $(sort $(wildcard tests/tools/*.c))
HEADERS := $(sort $(wildcard $(addsuffix /*.h,$(CORE_DIRS) orchestrator/cli orchestrator/cli/fetch plugins plugins/*) \
	tests/support/*.h tests/conformance/*.h))
ALL_SRC := $(CORE_SRC) $(CLI_SRC) $(FETCH_SRC) $(PLUGIN_SRC) $(TEMPLATE_SRC) $(SUPPORT_SRC) $(UNIT_SRC) $(CONF_SRC) \
	$(FUZZ_SRC) $(BENCH_SRC) $(TOOL_SRC)
FORMATTED := $(HEADERS) $(ALL_SRC)

obj = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
LIB := $(OUT)/libtidemark.a
SUPPORT := $(if $(SUPPORT_SRC),$(OUT)/libtestsupport.a)
PLUGIN_SO := $(PLUGINS:%=$(OUT)/plugins/%.so)
TEMPLATE_SO := $(if $(TEMPLATE_SRC),$(OUT)/plugins-test/template.so)
PROGRAMS := $(if $(CLI_SRC),$(OUT)/tidemark) $(if $(FETCH_SRC),$(OUT)/tidemark-fetch)
UNIT := $(UNIT_SRC:tests/unit/%.c=$(OUT)/unit/%)
CONFORMANCE := $(if $(CONF_SRC),$(OUT)/tidemark-conformance)
BENCH := $(BENCH_SRC:tests/bench/%.c=$(OUT)/bench/%)
TOOLS := $(TOOL_SRC:tests/tools/%.c=$(OUT)/tools/%)

.PHONY: all
all: $(LIB) $(PROGRAMS) $(PLUGIN_SO)

# What the command line says belongs to every object: another compiler or flag rebuilds.
FLAGS := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)
.PHONY: FORCE
FORCE:
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS))' >$@

# $(CPPFLAGS_<plugin>) for what lies in plugins/<plugin>/
folder = $(word 2,$(subst /, ,$(1)))
compile = $(CC) $(ALL_CPPFLAGS) $(if $(filter plugins/%,$(1)),$(CPPFLAGS_$(call folder,$(1))) $(PLUGIN_CFLAGS)) \
	$(if $(filter examples/%,$(1)),$(PLUGIN_CFLAGS)) $(ALL_CFLAGS)

$(OUT)/obj/%.o: %.c $(OUT)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(call compile,$<) -MMD -MP -c -o $@ $<

$(LIB): $(call obj,$(CORE_SRC))
	$(call say,AR,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

$(OUT)/libtestsupport.a: $(call obj,$(SUPPORT_SRC))
	$(call say,AR,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

link = $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)

$(OUT)/tidemark: $(call obj,$(CLI_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) -o $@ $^ $(LIBS)

$(OUT)/tidemark-fetch: $(call obj,$(FETCH_SRC))
	$(call say,LINK,$@)
	$(Q)$(link) -o $@ $^

$(OUT)/plugins/%.so: $$(call obj,$$(sort $$(wildcard plugins/$$*/*.c)))
	$(call say,PLUGIN,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(PLUGIN_LDFLAGS) -o $@ $^ $(LIBS_$*)

$(OUT)/plugins-test/template.so: $(call obj,$(TEMPLATE_SRC))
	$(call say,PLUGIN,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(PLUGIN_LDFLAGS) -o $@ $^

# A test names more in its first 15 lines:
#   // OBJECTS: plugins/postgresql/wal_record.c      sources of ours outside the library
#   // LDFLAGS: -Wl,--wrap=fsync                     words for the linker
said = $(shell sed -n '1,15s,^// $(1): *,,p' $(2))
test-link = $(link) -o $@ $(filter %.o,$^) $(call said,LDFLAGS,$(1)) $(SUPPORT) $(LIB) -lcmocka $(LIBS)

$(OUT)/unit/%: $(OUT)/obj/tests/unit/%.o $$(call obj,$$(call said,OBJECTS,tests/unit/$$*.c)) $(SUPPORT) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call test-link,tests/unit/$*.c)

$(OUT)/bench/%: $(OUT)/obj/tests/bench/%.o $$(call obj,$$(call said,OBJECTS,tests/bench/$$*.c)) $(SUPPORT) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call test-link,tests/bench/$*.c)

$(OUT)/tools/%: $(OUT)/obj/tests/tools/%.o $$(call obj,$$(call said,OBJECTS,tests/tools/$$*.c)) $(SUPPORT) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call test-link,tests/tools/$*.c)

$(OUT)/tidemark-conformance: $(call obj,$(CONF_SRC)) $(SUPPORT) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) -o $@ $(filter %.o,$^) $(SUPPORT) $(LIB) $(LIBS)

-include $(patsubst %.c,$(OUT)/obj/%.d,$(ALL_SRC))

# ------------------------------------------------------------------- tests

RUN = TIDE_BUILD='$(CURDIR)/$(OUT)' TIDE_MAKE='$(MAKE)' BUILD='$(BUILD)' tests/run.sh
SCRIPTS = $(sort $(foreach s,$(wildcard tests/$(1)/*.sh),$(if $(or $(if $(T),,1),$(findstring $(T),$(s))),$(s))))

.PHONY: unit conformance integration crash bench fuzz tests-built
tests-built: all $(UNIT) $(CONFORMANCE) $(TEMPLATE_SO) $(TOOLS)

# T=word: only the tests with that in their name.
UNIT_CHOSEN = $(if $(T),$(foreach u,$(UNIT),$(if $(findstring $(T),$(u)),$(u))),$(UNIT))
unit: $$(UNIT_CHOSEN) $(TEMPLATE_SO)
	@$(RUN) unit $(UNIT_CHOSEN)

CONFORMANCE_RUNS = $(foreach p,$(PLUGIN_SO) $(TEMPLATE_SO),'$(CONFORMANCE) $(p)')
conformance: $(CONFORMANCE) all $(TEMPLATE_SO)
	@$(RUN) conformance $(if $(CONFORMANCE),$(CONFORMANCE_RUNS)) $(call SCRIPTS,conformance)

integration: tests-built
	@$(RUN) integration $(call SCRIPTS,integration)

crash: tests-built
	@$(RUN) -t 1800 crash $(call SCRIPTS,crash)

bench: tests-built $(BENCH)
	@tests/support/deps.sh bench
	@for b in $(BENCH) $(call SCRIPTS,bench); do \
	    echo "== $$b"; TIDE_BUILD='$(CURDIR)/$(OUT)' "$$b" || exit 1; done

# Each fuzz target for FUZZ_SECONDS under clang's libFuzzer; `replay` runs the corpora with any compiler.
FUZZ_SECONDS ?= 60
FUZZERS := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/fuzz/%)
REPLAY := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/replay/%)
ifeq ($(BUILD),fuzz)
FUZZ_ENGINE := -fsanitize=fuzzer
endif

$(OUT)/fuzz/%: $(OUT)/obj/tests/fuzz/%.o $$(call obj,$$(call said,OBJECTS,tests/fuzz/$$*.c)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(FUZZ_ENGINE) -o $@ $(filter %.o,$^) $(LIB) $(LIBS)

$(OUT)/replay/%: $(OUT)/obj/tests/fuzz/%.o $(OUT)/obj/tests/fuzz/replay.o $$(call obj,$$(call said,OBJECTS,tests/fuzz/$$*.c)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -o $@ $(filter %.o,$^) $(LIB) $(LIBS)

.PHONY: fuzz-run replay
fuzz:
	@tests/support/deps.sh base dev
	@$(MAKE) --no-print-directory BUILD=fuzz fuzz-run
fuzz-run: $(FUZZERS)
	@for f in $(FUZZERS); do n=$${f##*/}; mkdir -p $(OUT)/corpus/$$n; echo "== $$n"; \
	    $$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -artifact_prefix=$(OUT)/ $(OUT)/corpus/$$n \
	        $$(test -d tests/fuzz/corpus/$$n && echo tests/fuzz/corpus/$$n) || exit 1; done

CORPORA = $(foreach r,$(REPLAY),'$(r) tests/fuzz/corpus/$(notdir $(r))')
replay: $(REPLAY)
	@$(RUN) fuzz-corpus $(CORPORA)

# Each header alone, by the flags of its folder.
HEADERS_OK := $(HEADERS:%=$(OUT)/headers/%.ok)
$(OUT)/headers/%.ok: % $(OUT)/flags
	@mkdir -p $(@D)
	$(Q)printf '#include "%s"\n' $< | $(call compile,$<) -fsyntax-only -MMD -MP -MF $(@:.ok=.d) -MT $@ -x c -
	@touch $@
-include $(HEADERS_OK:.ok=.d)

.PHONY: headers layers exports format format-check
headers: $(HEADERS_OK)
layers:
	@tests/layers.sh --self-test && tests/layers.sh
exports: all $(TEMPLATE_SO)
	@tests/exports.sh $(OUT)

CLANG_FORMAT ?= clang-format
format-check:
	@$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)
format:
	@$(CLANG_FORMAT) -i $(FORMATTED)

CHECKS := make:headers make:layers make:exports
.PHONY: check
check: tests-built $(REPLAY)
	@$(RUN) check $(CHECKS) $(UNIT) $(CORPORA)

# ------------------------------------------- the first command on a machine

.PHONY: deps test test-run demo
deps:
	@tests/support/deps.sh

# A goal that installs the compiler cannot know its flags: the second make does.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(NPROC))
test:
	@tests/support/deps.sh
	@$(MAKE) --no-print-directory $(JOBS) tests-built replay-built
	@$(MAKE) --no-print-directory test-run
.PHONY: replay-built
replay-built: $(REPLAY)
test-run:
	@$(RUN) -q test $(CHECKS) $(UNIT) $(CORPORA) $(if $(CONFORMANCE),$(CONFORMANCE_RUNS)) \
	    $(call SCRIPTS,conformance) $(call SCRIPTS,integration)

demo:
	@tests/support/deps.sh
	@$(MAKE) --no-print-directory $(JOBS) all
	@TIDE_BUILD='$(CURDIR)/$(OUT)' tests/demo.sh

# ------------------------------------------------------------------ others

# tidemark.conf(5) is in the tree, so that installing runs nothing that was just built; a test compares.
.PHONY: man
man: $(OUT)/tools/write_man
	@$< >orchestrator/config/tidemark.conf.5.tmp && mv orchestrator/config/tidemark.conf.5.tmp orchestrator/config/tidemark.conf.5

.PHONY: compile_commands.json coverage install clean
json-entry = {"directory":"$(CURDIR)","file":"$(1)","command":"$(subst ",\",$(subst \,\\,$(call compile,$(1)) -c $(1)))"}
comma := ,
define newline


endef
compile_commands.json:
	$(file >$@,[$(foreach s,$(ALL_SRC),$(call json-entry,$(s))$(comma)$(newline))$(newline)])
	@sed -i -e ':a' -e 'N;$$!ba' -e 's/,[[:space:]]*\]$$/\n]/' $@

coverage:
	@$(MAKE) --no-print-directory BUILD=coverage $(JOBS) check
	@tests/coverage.sh build/coverage

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/tidemark/plugins $(DESTDIR)$(PREFIX)/libexec/tidemark \
	    $(DESTDIR)$(PREFIX)/include/tidemark/plugins $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/tidemark
	$(if $(CLI_SRC),install -m 755 $(OUT)/tidemark $(DESTDIR)$(PREFIX)/bin/)
	$(if $(FETCH_SRC),install -m 755 $(OUT)/tidemark-fetch $(DESTDIR)$(PREFIX)/libexec/tidemark/)
	$(if $(PLUGIN_SO),install -m 644 $(PLUGIN_SO) $(DESTDIR)$(PREFIX)/lib/tidemark/plugins/)
	install -m 644 plugins/tide_plugin.h $(DESTDIR)$(PREFIX)/include/tidemark/plugins/
	$(foreach m,$(wildcard orchestrator/cli/*.1),install -m 644 $(m) $(DESTDIR)$(PREFIX)/share/man/man1/$(newline)	)
	$(foreach m,$(wildcard orchestrator/config/*.5),install -m 644 $(m) $(DESTDIR)$(PREFIX)/share/man/man5/$(newline)	)
	$(if $(wildcard examples/*),cp -r --no-preserve=ownership examples $(DESTDIR)$(PREFIX)/share/tidemark/)

clean:
	rm -rf build compile_commands.json
