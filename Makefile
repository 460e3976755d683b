# Only python3.11 or newer and make are assumed. Everything is installed into .venv.

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALL := pip install --quiet --disable-pip-version-check
TESTED := .ci/constraints.txt
RAW := $(or $(IMGASSETS_RAW),$(CURDIR)/dagster_home/raw)

.PHONY: run ui test test-newest lint check faults fuzz interop wheel bench clean

# Dev tools too. .env gives Dagster's commands DAGSTER_HOME; they let it override the environment, unless it asks that first.
.venv: pyproject.toml $(TESTED)
	@test -n '$(PYTHON)' || { echo 'imgassets needs Python 3.11 or newer: none was found'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) --constraint $(TESTED) --editable '.[dev]'
	echo 'DAGSTER_HOME="$${DAGSTER_HOME:-$(CURDIR)/dagster_home}"' > .env
	touch .venv

# TensorFlow reads the shards in a test; an environment of its own: 1.6 GB, and it asks for an older h5py
.venv/tensorflow: | .venv
	$(PYTHON) -m venv .venv/tensorflow
	.venv/tensorflow/bin/$(INSTALL) tensorflow-cpu==2.21.0 tensorflow-datasets==4.9.10 || { rm -rf $@; exit 1; }
	touch .venv/tensorflow

# zarr-python reads the stores of the codec in tests/packages
.venv/zarr: | .venv
	$(PYTHON) -m venv .venv/zarr
	.venv/zarr/bin/$(INSTALL) zarr==3.1.5 || { rm -rf $@; exit 1; }
	touch .venv/zarr

# Trainers that tests run over our loader, and programs that read our files, in an environment of their own that sees the packages of .venv as well
.venv/interop: | .venv
	$(BIN)/python -m venv .venv/interop
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > "$$(.venv/interop/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	.venv/interop/bin/$(INSTALL) --constraint $(TESTED) \
	  lightning==2.6.6 accelerate==1.15.0 torchdata==0.11.0 datasets==5.2.0 duckdb==2.0.1 grain==0.2.18 \
	  monai==1.6.1 nibabel==5.4.2 pandas==3.1.1 polars==2.1.0 || { rm -rf $@; exit 1; }
	touch .venv/interop

# CT volumes of the demo come from the sample data, not from the hub
run: export IMGASSETS_CT_REPO ?= $(RAW)/ct_rate
run: .venv
	$(BIN)/imgassets sample-data
	$(BIN)/imgassets backfill '*' --set csv_size_gb=0.02
	@echo 'Raw inputs and artifacts are in dagster_home/; `make ui` shows them in the browser.'

ui: export IMGASSETS_CT_REPO ?= $(or $(wildcard $(RAW)/ct_rate),ibrahimhamamci/CT-RATE)
ui: .venv
	DAGSTER_HOME=$${DAGSTER_HOME:-$(CURDIR)/dagster_home} $(BIN)/imgassets ui

test: .venv
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

# The newest versions that pyproject.toml allows, in an environment of their own; but for torch, whose newest brings CUDA
test-newest: .venv
	$(PYTHON) -m venv .venv/newest
	.venv/newest/bin/$(INSTALL) --upgrade --upgrade-strategy eager "$$(grep ^torch== $(TESTED))" --editable '.[dev]'
	.venv/newest/bin/python -m pytest -n 2 -m "not slow and not gpu"

# A seeded sample of the faults (FAULT_SEED=... repeats it); with ALL=1 all of them, which writes the page's table
faults: .venv
	$(if $(ALL),FAULT_ALL=1 FAULT_PAGE=imgassets/docs/reliability.md) $(BIN)/python -m pytest -m "slow and not gpu"

# Changes bytes of whatever is read, for ten minutes (FUZZ_SECONDS); what is found names its seed (FUZZ_SEED repeats it)
fuzz: .venv
	$(BIN)/python -m tests.fuzz

interop: .venv/interop
	$(BIN)/python -m pytest tests/interop

# The wheel of this checkout in an environment of its own, with what it needs and no more
wheel: .venv
	test -d .venv/wheel || $(PYTHON) -m venv .venv/wheel
	rm -rf .venv/dist && $(BIN)/pip wheel --quiet --no-deps --wheel-dir .venv/dist .
	.venv/wheel/bin/$(INSTALL) --constraint $(TESTED) "$$(echo .venv/dist/*.whl)[dg]"
	.venv/wheel/bin/$(INSTALL) --force-reinstall --no-deps .venv/dist/*.whl
	$(BIN)/python -m pytest tests/wheel

bench: .venv
	for script in tests/bench/bench_*.py; do PYTHONPATH=. $(BIN)/python $$script || exit 1; done

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/packages/*/*.py

# what to run while working: mypy remembers what has not changed
check: lint
	$(BIN)/python .ci/check.py

clean:
	rm -rf .venv .env
