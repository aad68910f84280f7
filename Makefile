.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
# Processes that share the tests; a Ray cluster in each wants about 5 GB.
WORKERS ?= 2
# How long `make soak` breaks things, which of all moments for it, and how often a controller is
# killed amid rollouts.
MINUTES ?= 20
SEED ?= 1
KILLS ?= 50
VENV := .venv
BIN := $(VENV)/bin
# The two halves of the fast tests; each imports only what its own need.
SHARES := fast-serving fast-others
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

# State of a clone stays in the clone; a deployment sets its own.
export RAYFLEET_HOME ?= $(CURDIR)/.rayfleet
CONFIG ?= configs/fleet.yaml
# Else every process of the hundreds that tests start would compile our modules anew, and
# pytest all of its assertions.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: $(SHARES) help install demo serve stop test test-fast test-thorough test-production test-gpu soak lint kuberay-validate format proto bench bench-tuning clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip's configuration decides which build of torch it is. uv installs the rest in a fifth of
# pip's time, but does not know pip's configuration: where that names an index, and where uv
# fails, pip goes on.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --progress-bar off
define install
@if ! $(1)/bin/python -m pip config list | grep -Eq '\.(index-url|no-index)=' \
    && $(BIN)/uv pip install --quiet --compile-bytecode --python $(1)/bin/python $(2); then :; \
else echo "make: installing with pip" && $(1)/bin/python $(PIP_INSTALL) $(2); fi
endef

# Rebuilt only when a pinned version or a declared dependency changes.
$(VENV)/.installed: pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on the PATH; say PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --no-compile -c requirements.lock torch uv
	$(call install,$(VENV),-c requirements.lock -e '.[dev]')
	@touch $@

# Stock inference clients pin protobuf below 7, so they live apart.
.venvs/clients/.installed: tests/clients/requirements.lock $(VENV)/.installed
	test -x .venvs/clients/bin/python || $(PYTHON) -m venv .venvs/clients
	$(call install,.venvs/clients,-r $<)
	@touch $@

install: $(VENV)/.installed ## Create .venv with pinned dependencies

demo: install ## Tune, register, serve, predict and split, end to end on real data
	@$(BIN)/rayfleet demo

serve: install ## Host the registered models in the foreground; Ctrl-C ends it
	@$(BIN)/rayfleet serve $(CONFIG)

stop: install ## Stop what make serve left running
	@$(BIN)/rayfleet stop

test: install .venvs/clients/.installed ## Run what is fast, and serving, rollouts and sweeps on a real cluster
	$(PYTEST) -m "not thorough and not gpu"

test-thorough: install .venvs/clients/.installed ## Run the tests that take longest
	$(PYTEST) -m "thorough and not gpu"

test-fast: install ## Run the tests that need neither Ray nor a server
	@$(MAKE) --no-print-directory --keep-going --jobs 2 $(SHARES)

$(SHARES): fast-%:
	FAST_TESTS=$* $(BIN)/python -m pytest -q --hypothesis-profile brief -m "not ray" --ignore=tests/integration

test-production: install ## Run the integration tests on PostgreSQL, S3 and Redis
	$(BIN)/python -m pytest --stores production tests/integration/fleet tests/integration/test_sweeps.py tests/integration/test_sweep_recovery.py tests/integration/test_sweep_faults.py

test-gpu: install ## Run the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu tests/integration/test_gpu.py

soak: install ## Kill, stop, flood and mislead a fleet under load; MINUTES=20 SEED=1 KILLS=50
	$(BIN)/python -m pytest -m soak --capture=no --minutes $(MINUTES) --seed $(SEED) --kills $(KILLS) tests/soak

lint: install ## Check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kuberay-validate: install ## Render the manifests for KubeRay and check them
	@$(BIN)/python -m kuberay.checks

format: install ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: install ## Compile the messages of gRPC
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. deployments/protocols/*.proto

bench: install ## Measure requests per second beside the peers, as ratios
	$(BIN)/python -m benchmarks.serving

bench-tuning: install ## Measure what trials cost, how many fit side by side, what a search needs
	$(BIN)/python -m benchmarks.tuning overhead
	$(BIN)/python -m benchmarks.tuning crowd
	$(BIN)/python -m benchmarks.tuning growth
	$(BIN)/python -m benchmarks.reaching
	$(BIN)/python -m benchmarks.nodes

clean: ## Remove what make created: environments, state, caches
	@if test -x $(BIN)/rayfleet; then $(BIN)/rayfleet stop; fi
	rm -rf $(VENV) .venvs .rayfleet benchmarks/results .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
