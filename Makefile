# `make help` lists what there is. Python 3.11 to 3.13 and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= examples/eileen-collins.jpg
OUT ?= ./demo
PROFILE ?= all
SEED ?= 1
PHOTOS ?= wider

.DEFAULT_GOAL := help
.PHONY: help demo run env test test-fast test-faults test-hostile test-stack lint format lock clean bench-service bench-bulk bench-detector bench-peers scaling models

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/runtime ## One photo through the whole service: IMAGE=path OUT=folder
	@$(BIN)/facet demo --image "$(IMAGE)" --out "$(OUT)"

run: $(VENV)/runtime ## The embedded stack in the foreground; Ctrl-C ends it
	@$(BIN)/facet up --exit-with-parent

test: $(VENV)/dev ## All tests
	$(BIN)/pytest

test-fast: $(VENV)/dev ## The tests that start no process: no stack, server, browser or command
	$(BIN)/pytest -m "not processes"

test-faults: $(VENV)/dev ## Kill, stop and fill each part of a running service: PROFILE=embedded SEED=7
	$(BIN)/python -m tests.faults --profile "$(PROFILE)" --seed "$(SEED)"

test-hostile: $(VENV)/dev ## Every hostile file through the real API and a worker: a table, then one JSON line
	@$(BIN)/python -m tests.hostile.run

test-stack: $(VENV)/dev ## The image and docker-compose.yaml on a Docker engine, restarted and upgraded under load
	@$(BIN)/python -m tests.stack

env: ## A .env and a folder of random secrets for docker compose
	@$(PYTHON) -m deployments.containers.make_env

bench-detector: $(VENV)/dev ## The detector beside the reference engine: parity, accuracy, speed
	$(BIN)/python -m benchmarks.bench_detector

bench-service: $(VENV)/dev ## The service beside the bare detector and a stock worker: PHOTOS=phone
	$(BIN)/python -m benchmarks.bench_service --photos "$(PHOTOS)"

bench-bulk: $(VENV)/dev ## Bulk reprocessing beside the bare detector, and submissions beside it
	$(BIN)/python -m benchmarks.bench_bulk

bench-peers: $(VENV)/dev ## The service beside the Celery design that it replaces, as that was and a kinder one
	$(BIN)/python -m benchmarks.bench_peers

scaling: $(VENV)/dev ## What a load needs, by the costs that were measured: RATES="1 100"
	@$(BIN)/python -m benchmarks.scaling $(RATES)

models: $(VENV)/dev ## The networks that the detector loads, built anew out of the mtcnn wheel's weights
	$(BIN)/python -m tools.build_models

lint: $(VENV)/dev ## Style, types, the direction of imports, and the Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deployments/Dockerfile tests/stack/Dockerfile

format: $(VENV)/dev ## Put the code in its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/uv ## Resolve the dependencies anew into the lock files
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  --all-extras --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra docker --extra heif --extra redis -c requirements-dev.lock pyproject.toml -o deployments/requirements-onnx.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra docker --extra heif --extra redis --extra tensorflow -c requirements-dev.lock pyproject.toml \
	  -o deployments/requirements-tensorflow.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  -c requirements-dev.lock benchmarks/peers/requirements.txt -o benchmarks/peers/requirements.lock

clean: ## Remove the environment and the caches; state under FACET_HOME is kept
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"Python 3.11, 3.12 or 3.13 is needed, and {sys.executable} is {v[0]}.{v[1]}: set PYTHON=path.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode

$(VENV)/runtime: requirements.lock pyproject.toml | $(VENV)/uv
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/runtime
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
