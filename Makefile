# Every target sets up what it needs in .venv; nothing else has to be installed by hand.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The newest Python that starts and is new enough; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
    && { echo $$p; break; }; done)

.PHONY: help setup demo test test-slow check format protos bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

setup: $(READY)  ## install everything into .venv (the other targets do it by themselves)

# The stamp is older than pyproject.toml when dependencies changed: then pip runs again.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "t2i needs Python 3.11 or newer on PATH, or make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (on Debian: python3-venv)"; exit 1; }
	@echo "Setting up $(VENV); the first time this takes a minute or more ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[all,dev]'
	@touch $@

demo: $(READY)  ## draw "small bird with red head" through the real server; files in demo/
	@$(BIN)/python examples/demo.py

# One thread a process: the processes keep the cores busy. A file's tests share what they set up.
test: $(READY)  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY)  ## the claims that take minutes of training
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## style, types, import contracts, protocol
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cd protos && ../$(BIN)/buf lint
	cd protos && ../$(BIN)/buf breaking --against released.binpb

format: $(READY)  ## put imports and layout in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

protos: $(READY)  ## generate t2i/protocol/ from protos/
	$(BIN)/python protos/generate.py

bench: $(READY)  ## run every benchmark that needs no data of yours; each prints JSON
	@for name in $(filter-out equal_compute,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
	  echo "# $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:  ## remove .venv, caches, demo/ (never runs/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
