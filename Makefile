# Every command of the project, for people, pre-commit and CI alike. `make` lists them.
#
# Nothing has to be prepared: the first target that needs an environment makes it, with
# scripts/bootstrap.sh, from any Python >= 3.12 on the machine. A stamp file in the environment
# keeps later runs fast.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# The tests start hundreds of interpreters; without bytecode each compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTHON := $(BIN)/python
SETUP := pyproject.toml .python-version scripts/bootstrap.sh
JOBS ?= auto
ARGS ?=
# COV=1 turns a test run into a measured one; the floor is fail_under in pyproject.toml.
COVERAGE := $(if $(COV),--cov --cov-report=term-missing:skip-covered --cov-report=xml)
# What attacks stores and readers for minutes, and what runs programs one by one.
LONG_ONES := tests/reliability tests/processes tests/docs tests/test_examples.py tests/test_many_workers.py tests/test_howto

.PHONY: help install lint fix format format-check typecheck imports security deps spelling \
	checks test test-3.13 test-lowest test-voice test-fastrtc smoke coverage all demo demo-voice bench soak docs docs-serve build clean distclean \
	test-extras typed generated changelog

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- Environments ---------------------------------------------------------------------------

.venv/.stamp: $(SETUP)
	@scripts/bootstrap.sh sync .venv dev
	@rm -f .venv/.stamp-docs
	@touch $@

.venv/.stamp-docs: .venv/.stamp
	@scripts/bootstrap.sh sync .venv "dev docs"
	@touch $@

.venv313/.stamp: $(SETUP)
	@scripts/bootstrap.sh sync .venv313 dev 3.13
	@touch $@

install: .venv/.stamp ## Make the environment .venv with everything needed to work on RoomKit

# --- Checks ---------------------------------------------------------------------------------

lint: .venv/.stamp ## Look for mistakes with ruff
	$(BIN)/ruff check .

fix: .venv/.stamp ## Let ruff repair what it can, then format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

format: .venv/.stamp ## Format the code with ruff
	$(BIN)/ruff format .

format-check: .venv/.stamp ## Fail when some file is not formatted
	$(BIN)/ruff format --check .

typecheck: .venv/.stamp ## Check types with mypy, strictly
	$(BIN)/mypy src/roomkit examples

imports: .venv/.stamp ## Check which module may import which
	$(BIN)/lint-imports

security: .venv/.stamp ## Look for unsafe calls with bandit
	$(BIN)/bandit --quiet --recursive src --configfile pyproject.toml

deps: .venv/.stamp ## Compare what is imported with what is declared
	$(BIN)/deptry src

spelling: .venv/.stamp ## Look for misspelt words
	$(BIN)/codespell

checks: lint format-check typecheck imports security deps spelling ## All checks, without the tests

# --- Tests ----------------------------------------------------------------------------------

test: .venv/.stamp ## Run the tests (ARGS="-k name" selects, COV=1 measures)
	$(PYTHON) -m pytest -n $(JOBS) $(COVERAGE) $(ARGS)

test-3.13: .venv313/.stamp ## Run the tests on Python 3.13, in an environment of their own (SHORT=1: without the long attacks)
	.venv313/bin/python -m pytest -n $(JOBS) $(if $(SHORT),$(LONG_ONES:%=--ignore=%)) $(ARGS)

test-lowest: ## Run the providers' tests against the oldest releases the extras promise (ARGS=ai: one group)
	@scripts/lowest.sh $(ARGS)

test-voice: ## Run the tests of local speech with real models, in an environment of their own
	@scripts/voice_local.sh $(ARGS)

test-fastrtc: ## Run the tests of FastRTC, voice and realtime, in an environment of their own
	@scripts/fastrtc.sh $(ARGS)

test-extras: .venv/.stamp ## Install each extra alone and use it once (ARGS=--full: the large ones too)
	$(PYTHON) -m scripts.extras $(ARGS)

typed: .venv/.stamp ## Check the types a user gets, with mypy and pyright
	$(PYTHON) -m scripts.typed

smoke: .venv/.stamp ## Install without extras somewhere else and run the quick start there
	@scripts/smoke.sh

coverage: ## Run the tests and fail below the coverage floor
	@$(MAKE) test COV=1

all: checks coverage ## Everything a change must pass

soak: .venv/.stamp ## Run the long tests under load
	$(PYTHON) -m pytest -m soak --timeout=1800 $(ARGS)

bench: .venv/.stamp ## Run the benchmarks
	$(PYTHON) -m benchmarks

# --- Using it -------------------------------------------------------------------------------

demo: .venv/.stamp ## Show a conversation across channels, offline
	$(PYTHON) examples/demo.py

demo-voice: ## Talk to an assistant offline: real speech, real models, no cloud
	@scripts/voice_local.sh demo

docs: .venv/.stamp-docs ## Build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: .venv/.stamp-docs ## Serve the documentation while writing it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

generated: .venv/.stamp ## Write anew what is made from the code: public names, help texts
	$(PYTHON) -m scripts.public_api
	$(PYTHON) -m scripts.cli_page

changelog: .venv/.stamp ## Show what the next release would tell
	$(BIN)/towncrier build --draft --version next

build: .venv/.stamp ## Build the source archive and the wheel into dist/
	$(PYTHON) -m build --no-isolation

clean: ## Remove what builds, tests and checks leave behind
	rm -rf build dist site htmlcov coverage.xml .coverage .coverage.* .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks scripts -name __pycache__ -type d -prune \
		-exec rm -rf {} + 2>/dev/null || true

distclean: clean ## Also remove the environments
	rm -rf .venv .venv313 .venvlow .venvrtc .venvvoice .tools uv.lock
