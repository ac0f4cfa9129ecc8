# Each target works on a fresh machine that has make and Python 3.11 or later; it sets up .venv as needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -c requirements/constraints.txt
# a folder model_store/ where a user works would hide a package that is found by a finder
EDITABLE := --config-settings editable_mode=compat -e
DEMO_ARGS ?=
PYTEST := $(BIN)/python -m pytest -q
# How many processes: tests/conftest.py. Which tests share one: tests/builders/scheduling.py.
IN_PARALLEL := -n auto
# torch brings its CUDA packages; a machine takes the build of it that it can use, so none of them is pinned.
LOCK_EXTRAS := train traces postgres parquet s3 remote ray signatures signing torchserve docs dev
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) pyproject.toml
HASHED = $(COMPILE) --generate-hashes --constraint requirements/constraints.txt
# What the images install (docs/how-to/container.md).
SERVING_EXTRAS := postgres s3 signatures
FULL_EXTRAS := dicom parquet traces
TRAINING_EXTRAS := train dicom s3 signatures signing
TORCHSERVE_EXTRAS := torchserve s3 signatures
# Tests start hundreds of processes, and without files of bytecode each would compile all of Candor.
unexport PYTHONDONTWRITEBYTECODE
DOCKER ?= docker
IMAGES ?= serving torchserve training gpu
PINNED := Dockerfile compose.yaml $(wildcard .github/workflows/*.yml)

.PHONY: help install demo check quick test coverage nightly lint docs pictures lock dist test-wheel test-lowest test-signing test-newest test-smoke test-ray audit images pin-images test-images bench soak clean
help:                 ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

install: $(VENV)/.installed      ## set up .venv with everything the demo needs

demo: $(VENV)/.installed         ## run the whole cycle on real images (passes on DEMO_ARGS="--once --seed 1")
	$(BIN)/candor demo $(DEMO_ARGS)

check:                ## lint and the quick unit and contract tests, at the same time: a minute on two cores
	$(MAKE) --no-print-directory -j2 lint quick

quick: $(VENV)/.installed-dev
	$(PYTEST) -n 2 --hypothesis-profile quick -m "not slow and not nightly" tests/unit tests/contract

test: $(VENV)/.installed-dev     ## all tests but the nightly ones: eleven minutes on two cores
	$(PYTEST) $(IN_PARALLEL) -m "not nightly" --durations=40 $(TEST_ARGS)

coverage: $(VENV)/.installed-dev   ## all tests, the nightly ones too, with the floors of branch coverage
	$(BIN)/coverage erase
	$(PYTEST) $(IN_PARALLEL) --cov --cov-report= --durations=40 $(TEST_ARGS)
	$(BIN)/python tests/coverage_floor.py

nightly: $(VENV)/.installed-ray coverage test-wheel test-lowest test-signing test-newest test-smoke soak $(if $(TEST_IMAGES),,test-images)
nightly:              ## what takes too long for each commit: hours (TEST_IMAGES="serving" names images built before)

lint: $(VENV)/.installed-dev     ## check format, lint rules, types and the imports between packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs    ## build the documentation in build/docs; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@if command -v node > /dev/null; then node docs/generators/search.js build/docs; else \
	  echo "The site's search was not asked: apt-get install nodejs"; [ -z "$$REQUIRE_PROGRAMS" ]; fi

pictures: $(VENV)/.installed-dev   ## draw the pictures of docs/ and README.md from the running program
	$(BIN)/python -m docs.generators.pictures
	$(BIN)/python -m docs.generators.loop

lock: | $(BIN)/uv      ## resolve pyproject.toml into requirements/ (LOCK_ARGS=--upgrade takes newer releases)
	$(COMPILE) $(LOCK_EXTRAS:%=--extra %) --output-file requirements/constraints.txt
	sed -i -E '/^(torch|torchvision|triton|setuptools)==|^(nvidia|cuda)-/d' requirements/constraints.txt
	$(HASHED) $(SERVING_EXTRAS:%=--extra %) --output-file requirements/serving.txt
	$(HASHED) $(SERVING_EXTRAS:%=--extra %) $(FULL_EXTRAS:%=--extra %) --output-file requirements/full.txt
	$(HASHED) $(SERVING_EXTRAS:%=--extra %) --extra gpu --override requirements/gpu.override.txt --output-file requirements/gpu.txt
	$(HASHED) $(TRAINING_EXTRAS:%=--extra %) --output-file requirements/training.txt
	$(HASHED) $(TORCHSERVE_EXTRAS:%=--extra %) --output-file requirements/torchserve.txt
	sed -i -E '/^(torch|torchvision|triton)==|^(nvidia|cuda)-/,/[^\\]$$/d' requirements/training.txt requirements/torchserve.txt
	$(COMPILE:pyproject.toml=requirements/image.in) --generate-hashes --output-file requirements/image.txt

images:               ## build the images in IMAGES with DOCKER, and write their bills of materials to build/
	@mkdir -p build
	@set -e; for target in $(IMAGES); do \
	  $(DOCKER) build --target $$target --tag candor-$$target $(IMAGE_ARGS) \
	    --build-arg VERSION=$$(sed -nE 's/^version = "(.*)"/\1/p' pyproject.toml) \
	    --build-arg REVISION=$$(git rev-parse HEAD) . ; \
	  $(DOCKER) run --rm --entrypoint cat candor-$$target /opt/sbom/sbom.cdx.json > build/candor-$$target.cdx.json; \
	done

pin-images:           ## write the newest digest of every image that Dockerfile, compose.yaml and workflows name; needs docker's buildx
	@set -e; for name in $$(grep -hoE '[a-z/-]+:[A-Za-z0-9._-]+@sha256' $(PINNED) | sed 's/@sha256//' | sort -u); do \
	  digest=$$($(DOCKER) buildx imagetools inspect $$name --format '{{json .Manifest}}' | grep -oE 'sha256:[0-9a-f]{64}' | head -1); \
	  [ -n "$$digest" ] || { echo "no digest of $$name" >&2; exit 1; }; \
	  sed -i "s|$$name@sha256:[0-9a-f]*|$$name@$$digest|" $(PINNED); \
	done

test-images: DOCKER = podman
test-images: $(VENV)/.installed-dev images   ## build the images in IMAGES with podman, look into them and try them
	TEST_IMAGES="$(IMAGES)" $(PYTEST) $(TEST_ARGS) tests/e2e/test_image*.py tests/e2e/test_docs_container.py

dist: | $(BIN)/uv      ## build the sdist, and from it the wheel, in dist/
	$(BIN)/uv build --quiet --clear --out-dir dist

test-wheel: $(VENV)/.installed | $(BIN)/uv     ## run the demo from the wheel alone, in a fresh environment
	$(BIN)/python -m tests.release wheel

test-lowest: $(VENV)/.installed | $(BIN)/uv    ## test with the lowest releases that pyproject.toml allows (TESTS="tests/unit")
	$(BIN)/python -m tests.release lowest $(TESTS)

test-signing: $(VENV)/.installed | $(BIN)/uv   ## test signatures with the lowest releases, model-signing's among them
	$(BIN)/python -m tests.release signing $(TESTS)

test-newest: $(VENV)/.installed | $(BIN)/uv    ## test with the newest releases of everything
	$(BIN)/python -m tests.release newest $(TESTS)

audit: | $(BIN)/uv     ## ask for known vulnerabilities of every pinned release; needs a connection to the advisories
	$(BIN)/uvx --quiet pip-audit --strict --disable-pip --no-deps --requirement requirements/constraints.txt
	$(BIN)/uvx --quiet pip-audit --strict --disable-pip --require-hashes --requirement requirements/serving.txt

soak: $(VENV)/.installed-dev     ## long runs: kills, full disks, hostile clients, broken requests (SOAK_KILLS=100 FUZZ_REQUESTS=100000 for hours)
	SOAK_KILLS=$(or $(SOAK_KILLS),20) FUZZ_REQUESTS=$(or $(FUZZ_REQUESTS),20000) FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),100) \
	  $(PYTEST) -s $(TEST_ARGS) tests/e2e/test_soak.py tests/e2e/test_serving_hostile.py tests/e2e/test_serving_fuzz.py tests/e2e/test_serving_schemathesis.py

test-smoke: $(VENV)/.installed   ## every method once, on digits
	$(BIN)/candor experiment compare --preset smoke --out build/smoke

test-ray: $(VENV)/.installed-ray   ## tests on Ray clusters of several nodes (ten minutes)
	$(PYTEST) $(TEST_ARGS) tests/e2e/test_ray_*.py

bench: $(VENV)/.installed-dev    ## measure serving throughput as a ratio to raw ONNX Runtime
	$(BIN)/python -m benchmarks.serving $(BENCH_ARGS)

clean:                ## remove what these targets made
	rm -rf $(VENV) build *.egg-info demo-output

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Candor needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv

$(VENV)/.installed: pyproject.toml requirements/constraints.txt | $(BIN)/python
	@echo "Installing Candor and what the demo needs into $(VENV); the first time this takes a minute or more ..."
	$(PIP) $(EDITABLE) ".[train]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements/constraints.txt | $(BIN)/python
	@echo "Installing what the tests need into $(VENV); the first time this takes a minute or more ..."
	$(PIP) $(EDITABLE) ".[train,torchserve,traces,s3,signing,dev]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-ray: $(VENV)/.installed-dev
	@echo "Installing Ray into $(VENV) ..."
	$(PIP) $(EDITABLE) ".[ray]"
	@touch $@

$(VENV)/.installed-docs: pyproject.toml requirements/constraints.txt | $(BIN)/python
	@echo "Installing what the documentation needs into $(VENV) ..."
	$(PIP) $(EDITABLE) ".[docs]"
	@touch $@
