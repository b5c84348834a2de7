# The habits of this repository. `make demo` and `make test` need Python 3.11+ with venv, and make; nothing else.
.PHONY: help setup emulator demo test slow live-azure resolve lint types docs lock clean
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.synced ## install what requirements.lock pins into .venv

.venv/.synced: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; run: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x "$(UV)" || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	awk '/^[^ ]/{take=/^uv==/} take' requirements.lock > .venv/uv.txt
	test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(UV) pip sync --quiet --require-hashes requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

emulator: tests/azurite/node_modules/.synced ## install the storage emulator that tests of Azure talk to

tests/azurite/node_modules/.synced: tests/azurite/package-lock.json .venv/.synced
	cd tests/azurite && npm ci --no-audit --no-fund --ignore-scripts --loglevel error
	touch $@

demo: setup ## run the whole line on small real models
	$(BIN)/yearling demo

test: setup emulator lint types ## format, lint, types, tests
	$(BIN)/python -m pytest

slow: setup emulator ## the tests that take real models and minutes
	$(BIN)/python -m pytest -m slow --timeout 1500

live-azure: setup ## once against a subscription of yours: see docs/azure.md
	$(BIN)/python -m pytest -m live tests/azure

resolve: setup ## see that all extras go together on each Python that is supported
	for version in 3.11 3.12 3.13; do $(UV) pip compile --quiet --all-extras --python-version $$version pyproject.toml -o .venv/resolved-$$version.txt && echo "$$version: $$(grep -c == .venv/resolved-$$version.txt) packages" || exit 1; done

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

docs: setup ## write docs/cli.md, docs/knobs.md and the scores in docs/judges.md anew
	$(BIN)/python -m tools.docs
	cd tests && ../$(BIN)/python -m planted.score

lock: ## pin everything anew (needs uv)
	$(UV) lock --upgrade
	$(UV) export --quiet --all-extras --all-groups --no-emit-project --no-header --format requirements-txt --output-file requirements.lock
	rm -f uv.lock

clean: ## remove the environment and caches; runs and the ledger stay
	rm -rf .venv tests/azurite/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
