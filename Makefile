# The tasks of aweigh. People and CI call the same ones; `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all environments soak check lint types layers rules bench bench-peers bench-optimize bench-cold-start frameworks docs protos lock fmt clean packages

BIN := .venv/bin
PYTEST := $(BIN)/pytest --skips-by-name
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# a test that failed is taken once more, and the summary names it: servers, clocks and budgets are tested here on machines that others use too
PYTEST += --reruns 1 --reruns-delay 5 -rR
TOGETHER := -n $(JOBS) --maxprocesses 8 --dist loadfile
READY := .venv/.ready
# thousands of processes start Python here: compiled modules are kept, whatever the caller's environment says
export PYTHONDONTWRITEBYTECODE :=

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv with aweigh and everything its tests need
	@echo "ready: $(BIN)/aweigh --help"

$(READY): requirements/development.txt pyproject.toml tools/setup.sh
	@tools/setup.sh

demo: $(READY) ## Train, pack, prove, serve, ask and swap a real model
	@$(BIN)/aweigh demo

test: $(READY) packages ## The tests of every day: unit, contract, fuzz and the quick end-to-end ones
	@$(PYTEST) $(TOGETHER) -m "not alone and not slow and not index and not soak"
	@$(PYTEST) -m "alone and not slow and not index and not soak"

environments: $(READY) ## The environments of the frameworks that are not among aweigh's own dependencies: gigabytes, made once
	@$(BIN)/aweigh env make coreml executorch jax lleaves mxnet openvino optimize huggingface tensorflow torch train

test-all: test environments ## Every test: the slow ones and those that install from the package index too
	@$(PYTEST) $(TOGETHER) -m "not alone and (slow or index) and not soak"
	@$(PYTEST) -m "alone and (slow or index) and not soak"

soak: $(READY) packages ## The long runs: ten million mixed requests whose clients leave when they please; two hours of faults at random; thousands of damaged files
	@$(BIN)/pytest --skips-by-name -m soak -s

check: lint types layers rules ## Everything a machine can check without running aweigh

lint: $(READY) ## ruff: format and rules
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet

types: $(READY) ## mypy, strict
	@$(BIN)/mypy --no-error-summary

layers: $(READY) ## Which layer may import which, and which file which library
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/ledger.py

rules: $(READY) ## Dependencies, locks, file sizes, foreign addresses, reference pages and protocols are as they should be
	@failed=0; for rule in dependencies "lock --check" budgets traces "reference --check" "protos --check"; do \
	  set -- $$rule; $(BIN)/python "tools/$$1.py" $$2 || failed=1; done; exit $$failed

bench: $(READY) packages ## Speed against a bare loop, as ratios of one run; start-up and size budgets
	@$(BIN)/python -m bench

bench-peers: $(READY) packages ## Speed beside other servers (SCENARIO=iris: one alone), then docs/performance.md
	@$(BIN)/python -m bench --peers $(if $(SCENARIO),--scenario $(SCENARIO)) --write-docs

bench-optimize: $(READY) ## aweigh optimize beside Olive and NNCF (SCENARIO=mlp: one alone), then docs/optimisation.md
	@$(BIN)/python -m bench.optimize $(if $(SCENARIO),--scenario $(SCENARIO))

bench-cold-start: $(READY) ## From the process to the first answer, beside a bare `python -c pass`, and by part
	@$(BIN)/python -m bench.cold_start

frameworks: $(READY) ## Train, pack and prove a model of each framework and kind, and write docs/frameworks.md (ONLY=PyTorch: those rows)
	@$(BIN)/python tools/frameworks.py $(if $(ONLY),--only "$(ONLY)")

docs: $(READY) ## Write the generated reference pages
	@$(BIN)/python tools/reference.py

protos: $(READY) ## Compile the .proto files
	@$(BIN)/python tools/protos.py

lock: $(READY) ## Resolve the dependencies anew where pyproject.toml changed (UPGRADE=1: take newer versions)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

fmt: $(READY) ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet

packages: ## Programs that tests and benchmarks drive, from Debian's packages where that is possible
	@tools/debian-packages.sh

clean: ## Remove .venv and every cache
	@rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
