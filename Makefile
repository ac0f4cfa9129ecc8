# Each target works alone on a fresh machine with Python 3.11 or later and make; the virtual environment is set up as needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=

.PHONY: help install demo check test lint docs bench soak clean
help:                 ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

install: $(VENV)/.installed      ## set up .venv with everything the demo needs

demo: $(VENV)/.installed         ## the main job, end to end (DEMO_ARGS="--once --seed 1" is passed on)
	$(BIN)/candor demo $(DEMO_ARGS)

check: lint           ## lint, types, unit tests and contracts: within 90 s on two cores
	$(BIN)/python -m pytest -q -n 2 tests/unit tests/contract

test: $(VENV)/.installed-dev     ## all tests
	$(BIN)/coverage erase
	$(BIN)/python -m pytest --cov --cov-report=term $(TEST_ARGS)
	$(BIN)/python tests/coverage_floor.py

lint: $(VENV)/.installed-dev     ## format, lint, types, and the arrows between rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs    ## the documentation as a site in build/docs; broken links and anchors are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

soak: $(VENV)/.installed-dev     ## kills under load, 100,000 broken requests, ten minutes of storm (some two hours)
	$(BIN)/python -m tests.soak $(SOAK_ARGS)
	FUZZ_EXAMPLES=200 $(BIN)/python -m pytest tests/e2e/test_serving_schemathesis.py
	$(BIN)/python -m benchmarks.serving.storm --minutes 10

bench: $(VENV)/.installed-dev    ## throughput of serving as a ratio to raw ONNX Runtime
	$(BIN)/python -m benchmarks.serving $(BENCH_ARGS)

clean:                ## remove what these targets made
	rm -rf $(VENV) build *.egg-info demo-output

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Candor needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -e ".[train]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -e ".[train,torchserve,grpc,dev]"
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -e ".[docs]"
	@touch $@
