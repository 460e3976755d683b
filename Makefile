# Only python3.11 or newer and make are assumed. Everything is installed into .venv.

PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(if $(shell command -v $(p)),$(p))))
BIN := .venv/bin

.PHONY: run ui test lint faults bench clean

# dev tools too; .env gives Dagster's commands DAGSTER_HOME
.venv: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("imgassets needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	echo 'DAGSTER_HOME=$(CURDIR)/dagster_home' > .env
	touch .venv

run: .venv
	$(BIN)/imgassets sample-data
	$(BIN)/imgassets backfill '*' --set csv_size_gb=0.02
	@echo 'Raw inputs and artifacts are in dagster_home/; `make ui` shows them in the browser.'

ui: .venv
	DAGSTER_HOME=$(CURDIR)/dagster_home $(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1

test: .venv
	$(BIN)/python -m pytest -m 'not slow'

faults: .venv
	$(BIN)/python -m pytest -m slow

bench: .venv
	for script in tests/bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .env
