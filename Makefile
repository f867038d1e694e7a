# Trimtab. `make` lists the targets; each installs what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export DO_NOT_TRACK := 1
export VLLM_NO_USAGE_STATS := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Some images set it. Then every process of the stack would compile all its imports at each start, which
# takes longer than the rest of the start.
unexport PYTHONDONTWRITEBYTECODE

PYTHON3 ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(VENV)/bin/pytest -q
# Two workers for two cores, each computing on one thread.
UNIT := OMP_NUM_THREADS=1 $(PYTEST) -n 2 tests/unit
# Mostly waiting: two files at a time, in the order in which they are named. The files of a worker share its real parts.
REAL := $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations 10
# The longest goes first, so that the other worker is not done long before it.
GATE := tests/integration/gate/
E2E := $(REAL) -m "not replicas and not teams" tests/e2e
STACK := $(PY) -m infra.local
DATA := $(or $(TRIMTAB_DATA),.trimtab)
INSTALLED := $(VENV)/.installed
ONLY = $(if $(PART),--only $(PART))

.PHONY: help setup parts demo up down status logs clean
.PHONY: lock test test-unit test-contract test-integration test-e2e test-replicas test-teams test-chart test-platform lint format proto migration bench bench-idle bench-ingest bench-mining bench-people bench-proxy bench-reward bench-rollout bench-training

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- setting up -----------------------------------------------------------------------------

$(VENV)/bin/uv:
	@command -v $(PYTHON3) >/dev/null || { echo "error: Python 3.11 or later is missing: install it, e.g. apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed, but $(PYTHON3) is $$($(PYTHON3) --version); set PYTHON3 to a newer one" >&2; exit 1; }
	@echo "environment: creating $(VENV)"
	@$(PYTHON3) -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"

$(INSTALLED): requirements.lock | $(VENV)/bin/uv
	@echo "environment: installing $$(grep -c == requirements.lock) packages"
	@$(VENV)/bin/uv pip sync -q --python $(PY) requirements.lock
	@$(VENV)/bin/uv pip install -q --python $(PY) --no-deps -e .
	@touch $@

lock: | $(VENV)/bin/uv ## Update requirements.lock from pyproject.toml (pins that still fit are kept)
	@$(VENV)/bin/uv pip compile -q --python $(PY) pyproject.toml --all-extras --override overrides.txt \
	  --no-emit-index-url --no-annotate --no-header -o requirements.lock

parts: $(INSTALLED)
	@$(STACK) setup

setup: parts ## Install everything: environment, broker, models, tools

# -- the local stack ------------------------------------------------------------------------

demo: parts ## Run the whole loop and print its results as a table (POPULATION=path for other users)
	@$(PY) -m infra.demo $(if $(POPULATION),--population $(POPULATION))

up: parts ## Start the stack and wait until every health check passes (PART=a,b for some parts)
	@$(STACK) up $(ONLY)

down: $(INSTALLED) ## Stop everything
	@$(STACK) down

status: $(INSTALLED) ## Show each part's state, port and health
	@$(STACK) status

logs: $(INSTALLED) ## Follow the logs (PART=name for one part)
	@$(STACK) logs $(ONLY)

# -- checking -------------------------------------------------------------------------------

test: ## Run every test: unit, contract and integration, e2e
	@$(MAKE) parts
	$(UNIT)
	$(REAL) $(GATE) tests/contract $(filter-out $(GATE),$(wildcard tests/integration/*/))
	$(E2E)

test-unit: parts ## Run the unit tests: no network, no broker
	$(UNIT)

test-contract: parts ## Run the contract tests: each port's twin and its real adapter
	$(REAL) tests/contract

test-integration: parts ## Run the integration tests: real Kafka, MLflow, vLLM
	$(REAL) tests/integration

test-e2e: parts ## Run the e2e tests: the whole loop, and services killed in the middle of it
	$(E2E)

test-replicas: parts ## Run the whole loop on PostgreSQL with replicas, and compare its counts with SQLite
	$(PYTEST) -m replicas tests/e2e

test-teams: parts ## Close the loops of two tenants with opposed wishes at the same time
	$(PYTEST) -m teams tests/e2e

test-chart: parts ## Run the chart's tests on a Kubernetes with fake nodes, and as root with a real one (needs Go, to build it)
	@$(PY) -m infra.kubernetes tools >/dev/null
	$(PYTEST) -m "not platform" -rs tests/chart

test-platform: parts ## Install the chart's small values on a real node and play the small loop there (root, Go, Debian's packages)
	@$(PY) -m infra.kubernetes packages
	@$(PY) -m infra.kubernetes tools >/dev/null
	$(PYTEST) -m platform tests/chart

lint: parts ## Check style, types, import rules, protos and sizes
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache --config infra/lint/imports.toml
	$(PY) -m infra.lint.protos
	$(PY) protos/generate.py --check
	$(PY) -m infra.lint.lines
	$(PY) -m infra.lint.places
	$(PY) -m infra.lint.chart

format: $(INSTALLED) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

proto: parts ## Generate shared/gen from protos/
	$(PY) protos/generate.py

migration: parts ## Write the next migration of a service, or of the keyring (SERVICE=name MESSAGE="what changes")
	@$(PY) -m infra.migrations $(SERVICE) "$(MESSAGE)"

bench: parts ## Run the benchmarks
	$(PY) -m tests.benchmarks

bench-proxy: parts ## Measure what the proxy adds to a chat, compared with LiteLLM's proxy
	$(PY) -m tests.benchmarks.proxy

bench-idle: parts ## Measure what the idle stack uses: CPU and memory of each part
	$(PY) -m tests.benchmarks.idle $(OPTIONS)

bench-ingest: parts ## Measure ingest compared with Phoenix and MLflow, time to queryable, import of 1 GB (IMPORT_MB)
	$(PY) -m tests.benchmarks.ingest $(OPTIONS)
	$(PY) -m tests.benchmarks.imports --mb $(or $(IMPORT_MB),1000)

bench-mining: parts ## Measure the offline judge of follow-ups on labelled data (TRIMTAB_REAL_DATA)
	$(PY) -m tests.benchmarks.mining $(OPTIONS)

bench-people: parts ## Measure whom a loop helps and whom it hurts: groups, rollouts; whole loops by OPTIONS="--only loops"
	$(PY) -m tests.benchmarks.people $(OPTIONS)

bench-reward: parts ## Measure offline reward models: accuracy, groups of users, trust
	$(PY) -m tests.benchmarks.reward $(OPTIONS)

bench-rollout: parts ## Measure what rollouts make of canaries, and what switching costs while users chat
	$(PY) -m tests.benchmarks.rollout $(OPTIONS)

bench-training: parts ## Measure training on two threads, compared with TRL's DPOTrainer: speed, memory, losses (OPTIONS)
	$(PY) -m tests.benchmarks.training $(OPTIONS)

# -- cleaning -------------------------------------------------------------------------------

clean: ## Stop everything and remove the data folder, including parts and caches
	@if [ -x $(PY) ]; then $(STACK) clean; else rm -rf "$(DATA)"; fi
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
