# Everything is installed in .venv and kept in .drillcore; nothing is written outside the checkout.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# uv's cache stands inside the environment, so that packages are linked, not copied.
export UV_CACHE_DIR := $(CURDIR)/$(VENV)/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
WORKERS ?= auto

.PHONY: run test test-slow coverage lint format docs bench lock setup clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"drillcore needs Python 3.11 to 3.13, this is {v.major}.{v.minor}; set PYTHON=...")'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --no-cache-dir "uv>=0.10"; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

run: $(READY)  ## the main job end to end on the bundled sample data
	@$(BIN)/drillcore run

test: $(READY)  ## the tests, in parallel
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not gpu"

test-slow: $(READY)  ## the long ones: kills, whole flows
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "slow and not gpu"

coverage: $(READY)  ## branch coverage of the tests; TESTS=tests/store for a room's alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not gpu" --cov --cov-branch --cov-report=term $(TESTS)

lint: $(READY)  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## the documentation site, strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY)  ## every benchmark that fits this machine; reports go to benchmarks/results/
	for name in score store retrain dense serve heads dbn ships; do $(BIN)/drillcore bench $$name || exit 1; done

lock: $(READY)  ## resolve again after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --output-file requirements.lock
	$(BIN)/python deploy/derive_requirements.py  # what the images install

clean:  ## remove the environment and all state; data/ too
	rm -rf $(VENV) .drillcore data
