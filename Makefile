# Two commands on a fresh machine: `make reproduce` and `make test`. Each makes .venv if there is none.
PYTHON ?= python3
BIN := .venv/bin
# What is never imported need not be compiled: that takes half of the time of an installation.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

# What is imported is compiled once and kept, even where the environment says that it should not be.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: reproduce test test-all check validate acceptance install clean

reproduce: .venv/run.stamp    ## run the experiments, print their claims, write results/index.html
	$(BIN)/sandbox reproduce

test: .venv/dev.stamp         ## the tests that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/ray.stamp     ## the slow tier too, and all of it as users compile it: optimized
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/dev.stamp        ## before a commit: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

validate: .venv/run.stamp     ## every optimizer beside its Optax twin, kept on the page of results
	$(BIN)/sandbox validate --results results

acceptance: .venv/dev.stamp   ## every "done when" line: command, wanted, measured
	$(BIN)/python experiments/acceptance.py

install: .venv/dev.stamp      ## the environment alone

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sandbox needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[dev]"
	touch .venv/run.stamp $@

.venv/ray.stamp: .venv/dev.stamp
	$(INSTALL) -e ".[dev,ray]"
	touch $@

clean:                        ## everything that can be made again
	rm -rf .venv build *.egg-info results/*/*.zarr .mypy_cache .ruff_cache .hypothesis .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
