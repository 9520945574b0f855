# Everything a new machine with Python 3.11, make and git needs. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
# duckdb | spark: what builds the dbt models of `make demo`.
ENGINE ?= duckdb
RUN := $(VENV)/bin
# Without byte code every process compiles a gigabyte of libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo dev test check contracts.validate generate format bench requirements stop clean

help: ## Show what can be made
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime $(VENV)/.engine-$(ENGINE) ## Install, start PostgreSQL, take sample files to gold, evaluate every check (ENGINE=spark: on Spark)
	PLATFORM_ENGINE=$(ENGINE) $(RUN)/pipeline-platform demo

dev: $(VENV)/.runtime ## Dagster's UI and daemon on the embedded default, http://127.0.0.1:3000; HTTP service on 4020
	$(RUN)/pipeline-platform dev

test: $(VENV)/.development ## Run the whole test suite
	$(RUN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

check: $(VENV)/.development ## Lint, format, types, import rules, definitions, generated files
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache
	$(RUN)/pipeline-platform validate
	$(RUN)/pipeline-platform generate --check

generate: $(VENV)/.development ## Write anew what is made from runbooks and definitions: pages, dashboards, rules, snapshots
	$(RUN)/python -m tests.platform.test_definitions_snapshot
	$(RUN)/pipeline-platform generate

contracts.validate: $(VENV)/.runtime ## Judge every published table by its contract, with Great Expectations (exit code 1: a rule is broken)
	$(RUN)/pipeline-platform quality audit --engine great-expectations

format: $(VENV)/.development ## Rewrite the code in the house's format
	$(RUN)/ruff check --fix-only .
	$(RUN)/ruff format .

bench: $(VENV)/.development ## Measure the bars of the design side by side with bare engines
	$(RUN)/python -m benchmarks

stop: $(VENV)/.runtime ## Stop the embedded PostgreSQL
	$(RUN)/pipeline-platform database stop

clean: ## Remove the platform's home folder (all sample data) and every cache
	-$(RUN)/pipeline-platform database stop
	rm -rf .platform .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs

requirements: $(VENV)/bin/uv ## Resolve requirements*.in anew, pinned and hashed
	$(RUN)/uv pip compile --upgrade --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header -o requirements-dev.txt requirements-dev.in
	$(RUN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header -c requirements-dev.txt -o requirements.txt requirements.in
	$(RUN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header -c requirements-dev.txt -o requirements-spark.txt requirements-spark.in
	$(RUN)/uv pip compile --upgrade --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header -o requirements-installer.txt requirements-installer.in

$(VENV)/bin/uv: requirements-installer.txt
	@echo "Creating the virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --require-hashes -r requirements-installer.txt
	@touch $@

$(VENV)/.runtime: $(VENV)/bin/uv requirements.txt pyproject.toml
	@echo "Installing what runs the platform"
	$(RUN)/uv pip install --quiet --python $(RUN)/python --compile-bytecode --require-hashes -r requirements.txt
	$(RUN)/uv pip install --quiet --python $(RUN)/python --no-deps --no-build-isolation --editable .
	$(RUN)/python -c "import pipeline_platform.advisory_performance.return_kernels"
	@touch $@

$(VENV)/.engine-duckdb: $(VENV)/.runtime
	@touch $@

$(VENV)/.engine-spark: $(VENV)/.runtime requirements-spark.txt
	@echo "Installing what builds dbt models on Spark"
	$(RUN)/uv pip install --quiet --python $(RUN)/python --compile-bytecode --require-hashes -r requirements-spark.txt
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.txt
	@echo "Installing what checks and tests the platform"
	$(RUN)/uv pip install --quiet --python $(RUN)/python --compile-bytecode --require-hashes -r requirements-dev.txt
	@touch $@
