# Everything sets itself up: a virtual environment in $(VENV) with the versions of constraints.txt.
#   make train                          train and evaluate with the defaults
#   make train ARGS="--seed 3 ..."      with options of `edgecloud train`
#   VENV=/tmp/env make test             in another environment

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help setup train test lint types check ci clean distclean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: $(STAMP)  ## create the environment; quick when it is up to date

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed; name it with PYTHON=..." >&2; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP)  ## train a policy and compare it with the rules on held-out traces
	$(PY) train.py --env edgecloud-v0 $(ARGS)

test: $(STAMP)  ## run the tests, doctests included
	$(PY) -m pytest $(ARGS)

lint: $(STAMP)  ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP)  ## mypy --strict on the package as it is installed from its wheel
	.ci/types $(PY)

check: lint types test  ## lint, types and test in the local environment

ci:  ## all of it in a fresh environment, as the continuous integration does
	.ci/run

clean:  ## remove what builds and tests leave behind
	rm -rf build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove the environment
	rm -rf .venv
