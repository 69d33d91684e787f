# flowd: `make run` to see it, `make test` to check it, `make help` for the rest.
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
DEMO ?= 1
RUN := .venv/bin
export PATH := $(CURDIR)/.tools/debian/usr/bin:$(CURDIR)/.tools/debian/usr/sbin:$(PATH)
export OPENBLAS_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-second-kernel test-switches lint accuracy bench demo-down cluster cluster-down test-cluster proto docs screenshot setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## Start the agent, the demo gateway and its traffic, and open `flowd top` (DEMO=0: this machine alone)
	@$(RUN)/python tools/run.py --demo $(DEMO)

test: setup-test lint ## Set up, check style, types and contracts, and run every test this machine can run
	@echo "==> tests"
	@$(RUN)/pytest $(ARGS)

lint: setup-test ## Style (ruff), types (pyright strict), import contracts, freshness of generated files
	@echo "==> ruff" && $(RUN)/ruff check -q . && $(RUN)/ruff format -q --check .
	@echo "==> pyright" && PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(RUN)/pyright
	@echo "==> import contracts" && $(RUN)/lint-imports --no-logo > .tools/contracts.log || (cat .tools/contracts.log; exit 1)
	@echo "==> generated files" && $(RUN)/python tools/proto.py --check && $(RUN)/python tools/docs_configuration.py --check && $(RUN)/python tools/docs_metrics.py --check && $(RUN)/python tools/docs_attribution.py --check && $(RUN)/python tools/docs_rooms.py --check && $(RUN)/python tools/docs_migration.py --check

test-second-kernel: setup-test ## Run tests/kernel on a stock Debian 6.1 kernel, emulated (ARGS: for pytest)
	@$(RUN)/python -m tests.kernel.second_kernel $(ARGS)

test-switches: setup-test ## Compile and load the kernel programs with every combination of switches (ARGS=--second-kernel: on 6.1)
	@$(RUN)/python -m $(if $(findstring --second-kernel,$(ARGS)),tests.kernel.second_kernel --run) tests.kernel.every_combination

accuracy: setup-test ## Compare with the kernel's own counters and write docs/accuracy.md (ARGS=--second-kernel: on 6.1, emulated)
	@$(RUN)/python -m tests.kernel.accuracy_page $(ARGS)

bench: setup-test ## Rates and costs, several runs each, as tables on stdout
	@for module in $$(ls tests/bench/bench_*.py | sed 's/.*\/\(.*\)\.py/\1/'); do \
	  echo "==> $$module"; $(RUN)/python -m tests.bench.$$module || exit 1; done

cluster: setup-test ## Start a real Kubernetes cluster on this machine, with flowd in it (GATEWAY_API=1.6.1; the first time builds for an hour)
	@$(RUN)/python -m tests.cluster up

cluster-down: ## Take the cluster down; nothing stays but its cache of parts
	@$(RUN)/python -m tests.cluster down

test-cluster: setup-test ## Run the tests that need the cluster of `make cluster` (ARGS: for pytest)
	@FLOWD_CLUSTER=1 $(RUN)/pytest tests/cluster/live $(ARGS)

fuzz: setup-test ## Feed every decoder of untrusted input with mutations (MINUTES=5 each)
	@$(RUN)/python -m tests.fuzz $(or $(MINUTES),5)

demo-down: ## Take the demo and its agent down; nothing stays
	@$(RUN)/python tools/run.py --down

proto: setup-test ## Generate Python from the .proto files
	@$(RUN)/python tools/proto.py

docs: setup-test ## Generate docs/configuration.md, metrics.md, attribution.md, architecture.md, migration.md
	@$(RUN)/python tools/docs_configuration.py && $(RUN)/python tools/docs_metrics.py && $(RUN)/python tools/docs_attribution.py && $(RUN)/python tools/docs_rooms.py && $(RUN)/python tools/docs_migration.py

screenshot: setup-test ## Make docs/top.svg from the real program and the demo
	@$(RUN)/python tools/run.py --screenshot docs/top.svg

setup: ## Install what `make run` needs (quick the second time)
	@PYTHON="$(PYTHON)" tools/setup.sh run

.PHONY: setup-test
setup-test:
	@PYTHON="$(PYTHON)" tools/setup.sh test

clean: ## Remove what the other targets made in this folder
	rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
