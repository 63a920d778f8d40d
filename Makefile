# CodeNAS. `make help` lists the targets; ARGS is passed to the command: make test ARGS="tests/serve -x".
# Every target builds .venv once and builds it again only when pyproject.toml or constraints.txt changes.

PYTHON ?= python3.11 python3 python
PIP_ARGS ?=
CMAKE_ARGS ?=
JOBS ?= 2
ARGS ?=
N ?= 500
SEED ?= 1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)
PINS := $(VENV)/constraints.txt
NATIVE := codenas/decode/native
LIBRARY := build/native/.up-to-date
READY := $(STAMP) $(LIBRARY)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup native demo test test-fast test-options docs check lint types architecture docker-lint fmt bench bench-data bench-models bench-search clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## build .venv with the pinned packages, and the native decoding library

native: $(STAMP) ## build the native decoding library beside its sources, and show what the compiler says
	@export PATH="$(abspath $(BIN)):$$PATH"; mkdir -p build; \
	{ cmake -S $(NATIVE) -B build/native -G Ninja $(CMAKE_ARGS) && cmake --build build/native && \
	  cmake --install build/native --prefix $(NATIVE); } >build/native.log 2>&1 || { cat build/native.log >&2; exit 2; }

demo: $(READY) ## run all stages on this machine: prepare, search, train, evaluate, serve, complete
	@$(BIN)/codenas demo $(ARGS)

# Hundreds of processes would compile the same modules where bytecode is not kept.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## run all tests, JOBS files at a time
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(READY) ## run the tests that start neither Ray nor processes
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --fast -m "not cluster" $(ARGS)

test-options: $(READY) ## draw N pairs of options for each command (N=500, SEED=1) and run them
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --pairs $(N) --pairs-seed $(SEED) tests/options $(ARGS)

docs: $(STAMP) ## build the documentation into build/docs; a warning is an error
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs
	@echo "build/docs/index.html"

check: lint types architecture docker-lint ## lint, types, architecture rules and container files

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

architecture: $(STAMP) ## test the layers of imports and the limits on size
	@$(BIN)/python -m pytest -q tests/architecture

docker-lint: $(STAMP) ## lint the container files, the shell scripts and YAML; needs no container engine
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/shellcheck docker/entrypoint.sh .ci/run
	@$(BIN)/yamllint --strict docker/compose.yaml .pre-commit-config.yaml .yamllint.yaml
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

fmt: $(STAMP) ## format, and fix what ruff can fix
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(READY) ## run all benchmarks, one JSON line each
	@$(BIN)/python -m benchmarks $(ARGS)

bench-data: $(READY) ## benchmarks of the corpus: near-duplicates, token statistics, throughput, memory, kills
	@$(BIN)/python -m benchmarks dedup token_stats prepare_throughput prepare_memory prepare_kills $(ARGS)

bench-models: $(READY) ## benchmarks of models and training: throughput, learning speed, families, causality, GPU utilisation
	@$(BIN)/python -m benchmarks training recipe mixers decoding causality gpu $(ARGS)

bench-search: $(READY) ## benchmarks of the search: strategies, promotion, fidelity, overhead
	@$(BIN)/python -m benchmarks strategies adaptive fidelity overhead $(ARGS)

clean: ## remove build and cache files; keeps .venv, runs and corpora
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf

# torch comes first and alone: resolving all packages at once may choose another build.
# A torch that is already in .venv (such as another CUDA build) stays: its version replaces the pinned one.
$(STAMP): pyproject.toml constraints.txt
	@python=; for candidate in $(PYTHON); do \
	    if "$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "none of '$(PYTHON)' is Python 3.11 or newer with its venv module; install it, or run: make PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi; \
	[ -x $(BIN)/pip ] || { echo "building $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV); }
	@[ -n "$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("torch") or "")')" ] \
	    || { echo "installing torch"; $(PIP) --constraint constraints.txt torch; }
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))'); \
	sed "s/^torch==.*/torch==$$version/" constraints.txt > $(PINS)
	@echo "installing CodeNAS and its other packages"
	@$(PIP) --constraint $(PINS) --editable '.[all]'
	@touch $@

# Built again when its sources change, after a `git pull` for example. Where it cannot be built, torch decodes.
$(LIBRARY): $(wildcard $(NATIVE)/src/*) $(NATIVE)/codenas_native.h $(NATIVE)/CMakeLists.txt | $(STAMP)
	@echo "building the native decoding library"
	@$(MAKE) --no-print-directory native >/dev/null 2>&1 \
	    || { rm -f $(NATIVE)/*.so; echo "the native decoding library was not built: torch decodes instead; 'make native' shows why"; }
	@mkdir -p $(@D) && touch $@
