# `make help` lists the targets. Everything happens in .venv, which is made once and then reused, but for the tests at
# other versions, which have a .venv-newest and a .venv-minimum.
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-full test-long test-cluster test-newest test-minimum coverage lint docs clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The first Python that will do; `make PYTHON=/path/to/python3.12 ...` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		2>/dev/null && echo "$$python" && break; done)
NEEDS_PYTHON = test -n "$(PYTHON)" || { echo "make: needs Python 3.11, 3.12 or 3.13 with venv, found none on PATH; \
	install one or call 'make PYTHON=/path/to/python'" >&2; exit 1; }
# kdstudy with every extra, which the tests need.
EVERYTHING := .[export,dashboard,timm,hf,cluster,server]
QUIETLY := --quiet --disable-pip-version-check
# One thread a process: results repeat, and processes do not fight for the cores.
export OMP_NUM_THREADS ?= 1
# A file's tests in one process, several files side by side; each starts a Ray of its own, hence not more. The longest
# files come first: tests/conftest.py.
SUITE := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	-m "not slow and not long and not cluster"

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

quickstart: $(READY) ## set up, then run a complete study on embedded data: studies/quickstart.yaml
	$(BIN)/kdstudy run studies/quickstart.yaml
	@echo "kdstudy is $(BIN)/kdstudy; 'source $(BIN)/activate' puts it on this shell's path"

test: lint ## set up, then lint and the tests, whole studies on real Ray and MLflow included
	$(BIN)/python $(SUITE)

test-full: $(READY) ## on top of that: the tests marked slow, against real servers
	$(BIN)/python -m pytest -m "slow and not long"

test-long: $(READY) ## before a release: whole studies for minutes, of what faster tests cover in parts
	$(BIN)/python -m pytest -m long

test-cluster: $(READY) ## a Ray cluster of three hosts in namespaces, processes and hosts killed; as root, with PostgreSQL
	$(BIN)/python -m pytest -m cluster

coverage: ## `make test`, with the share of lines that it runs: fails below the floor in pyproject.toml
	PYTEST_ADDOPTS='--cov --cov-report=term' $(MAKE) test

test-newest: ## the tests of `make test` with the newest packages that pip finds, in .venv-newest
	@$(NEEDS_PYTHON)
	"$(PYTHON)" -m venv .venv-newest
	.venv-newest/bin/python -m pip install $(QUIETLY) --upgrade pip
	.venv-newest/bin/python -m pip install $(QUIETLY) --upgrade --upgrade-strategy eager -e '$(EVERYTHING)' --group test
	.venv-newest/bin/python $(SUITE)

test-minimum: ## the same with the oldest that pyproject.toml allows, in .venv-minimum
	@$(NEEDS_PYTHON)
	"$(PYTHON)" -m venv .venv-minimum
	.venv-minimum/bin/python -m pip install $(QUIETLY) -c constraints.txt pip
	.venv-minimum/bin/python -m pip install $(QUIETLY) -c constraints.txt --group oldest
	.venv-minimum/bin/uv pip install --quiet --python .venv-minimum/bin/python --upgrade --resolution lowest-direct \
		-e '$(EVERYTHING)' --group test
	.venv-minimum/bin/python $(SUITE)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) ## the documentation site, in build/site; runs its notebooks
	$(BIN)/python -m sphinx -W --keep-going -q -c docs . build/site
	@echo "open build/site/index.html"

clean: ## remove every .venv and caches; studies in kdstudy-data stay
	rm -rf $(VENV) .venv-newest .venv-minimum .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* build docs/plugins *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set up again only where the pins or the package's metadata changed. First pip itself: what Python bundles may be
# older than 25.1, which brought --group.
$(READY): constraints.txt pyproject.toml
	@$(NEEDS_PYTHON)
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install $(QUIETLY) -c constraints.txt pip
	$(BIN)/python -m pip install $(QUIETLY) -c constraints.txt -e '$(EVERYTHING)' --group dev
	@touch $(READY)
