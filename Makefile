# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up: needed are Python >= 3.10 with its headers, a C compiler, and a network once.

VENV := .venv
SECONDS ?= 10
TRANSPORT ?= pair
MINUTES ?= 30
# So much of the soak and of the fuzzing is in `make test`.
BRIEF_MINUTES := 2
BRIEF_FUZZ_SECONDS := 30
# The first of these that can make an environment and compile for itself; `make PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
    $$p tests/packaging/usable.py >/dev/null 2>&1 && command -v $$p && break; done)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
SOURCES := setup.py $(wildcard src/_fast/*.pyx src/_fast/*.h src/plexo/_fast/*.pxd)
STEP := @printf '\n== %s\n'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types unit docs rust packaging wheels sim soak soak-briefly fuzz fuzz-briefly bench bench-briefly instructions build format clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20
	@echo '  Options: SECONDS=10 (demo; 300 for fuzz), TRANSPORT=multicast (demo), MINUTES=30 and SOAK=--uvloop (soak), SEEDS=20000 (sim), TESTS="tests/unit -k x" (unit),'
	@echo '           PYTHON=/path/to/python (after make clean); ROWS=pair,rtt REPEAT=5 BRIEF=1 JSON=… CHART=… (bench)'

demo: $(VENV)/compiled $(VENV)/with-demo ## this machine's sensors, sent from one process to another, for SECONDS=10
	@exec $(PY) -m plexo demo --seconds $(SECONDS) --transport $(TRANSPORT)

test: lint types docs unit bench-briefly instructions soak-briefly fuzz-briefly packaging ## everything that .ci/run checks
	$(STEP) 'all passed'

lint: $(VENV)/with-lint ## style and format
	$(STEP) 'ruff'
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check . || { echo 'not formatted: run make format'; exit 1; }
	$(STEP) 'workflows'
	@$(VENV)/bin/zizmor --quiet --offline --persona=pedantic .github/workflows
	@if command -v actionlint >/dev/null; then actionlint; else echo 'actionlint is not installed: left out'; fi

format: $(VENV)/with-lint ## let the formatter rewrite the tree
	@$(VENV)/bin/ruff format .

types: $(VENV)/compiled $(VENV)/with-test $(VENV)/with-types ## mypy --strict, and the stubs against the compiled modules
	$(STEP) 'mypy --strict'
	@$(VENV)/bin/mypy
	$(STEP) 'stubtest'
	@$(VENV)/bin/stubtest plexo._fast --concise --allowlist tests/typing/stubtest_allowlist.txt

TESTS ?=
unit: $(VENV)/compiled $(VENV)/with-test ## pytest
	$(STEP) 'pytest'
	@$(PY) -m pytest -q --benchmark-disable $(TESTS)

# Nothing of the package is imported, so nothing has to be compiled. Not --quiet: that would hide warnings from --strict.
docs: $(VENV)/with-docs ## the documentation, into build/site; every warning is an error
	$(STEP) 'documentation'
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@$(PY) tests/docs/check_site.py

rust: $(VENV)/compiled $(VENV)/with-test ## the Rust program of docs/rust-peer.md, built by cargo, against the Python one
	@PLEXO_RUST_PEER=1 $(PY) -m pytest -q tests/docs/test_rust_peer.py

SEEDS ?= 20000
FIRST ?= 0
sim: $(VENV)/compiled $(VENV)/with-test ## the allocation of groups under faults, for SEEDS=20000 scenarios from FIRST=0 on
	@exec $(PY) -m tests.paxos.sim --seeds $(SEEDS) --first $(FIRST)

packaging: $(VENV)/with-build ## sdist, wheel from it, an empty environment, a smoke test
	$(STEP) 'packaging'
	@$(PY) -m tests.packaging.check

wheels: $(VENV)/compiled $(VENV)/with-wheels ## every wheel that can be proved on this machine (an hour; as root)
	$(STEP) 'wheels'
	@$(PY) -m tests.packaging.wheels

SOAK ?=
soak: $(VENV)/compiled $(VENV)/with-test ## two processes, restarted at random, for MINUTES=30: memory, descriptors, books
	@exec $(PY) -m tests.soak --minutes $(MINUTES) $(SOAK)

soak-briefly: $(VENV)/compiled $(VENV)/with-test
	$(STEP) 'soak, $(BRIEF_MINUTES) minutes'
	@$(PY) -m tests.soak --minutes $(BRIEF_MINUTES) $(SOAK)

# SECONDS has the demo's default, unless somebody gave it.
fuzz_seconds = $(if $(filter file,$(origin SECONDS)),300,$(SECONDS))
fuzz: $(VENV)/compiled $(VENV)/with-fuzz ## hostile bytes to every parser and to whole links, for SECONDS=300
	@exec $(PY) -m tests.fuzz --seconds $(fuzz_seconds)

fuzz-briefly: $(VENV)/compiled $(VENV)/with-fuzz
	$(STEP) 'fuzz, $(BRIEF_FUZZ_SECONDS) seconds'
	@$(PY) -m tests.fuzz --seconds $(BRIEF_FUZZ_SECONDS)

# Of the board: which rows (all), how many turns, whether it is to be over in minutes, where results go (.cache/bench).
ROWS ?=
REPEAT ?= 5
BRIEF ?=
board_options = $(if $(ROWS),--rows $(ROWS)) --repeat $(REPEAT) $(if $(BRIEF),--brief) \
    $(if $(JSON),--json $(JSON)) $(if $(CHART),--chart $(CHART))
bench: $(VENV)/compiled $(VENV)/with-bench ## ours and the rivals in turn: table, JSON, chart; ROWS=pair,rtt for a part
	@exec $(PY) -m bench.compare $(board_options)

bench-briefly: $(VENV)/compiled $(VENV)/with-bench
	$(STEP) 'each row of the board once, ours alone'
	@mkdir -p .cache
	@$(PY) -m bench.compare --ours --brief --repeat 1 >.cache/bench-briefly.txt \
	    || { cat .cache/bench-briefly.txt; exit 1; }

instructions: $(VENV)/compiled $(VENV)/with-test ## instructions per message, against the record; needs valgrind, else it is skipped
	$(STEP) 'instructions per message, counted against the record'
	@$(PY) bench/instructions.py --check

build: $(VENV)/with-build ## sdist and wheel, into dist/
	@$(PY) -m build --outdir dist .

clean: ## remove what the targets made
	rm -rf $(VENV) build dist .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks src/*.egg-info
	rm -f src/plexo/_fast/*.so
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# -- set-up: a stamp is touched last, so an interrupted step is done again ---------------------------------------

$(VENV)/made:
	@test -n '$(PYTHON)' || { python3 tests/packaging/usable.py; \
	    echo 'no usable Python found; name one: make PYTHON=/path/to/python'; exit 1; }
	@$(PYTHON) tests/packaging/usable.py
	@echo 'making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/installed: pyproject.toml setup.py | $(VENV)/made
	@echo 'compiling and installing plexo into $(VENV)'
	@$(PIP) install --group compile
	@$(PIP) install --no-build-isolation --editable .
	@touch $@

$(VENV)/compiled: $(SOURCES) $(VENV)/installed
	@$(PY) setup.py --quiet build_ext --inplace
	@touch $@

$(VENV)/with-%: pyproject.toml | $(VENV)/made
	@echo 'installing what `$*` needs'
	@$(PIP) install --group $*
	@touch $@
