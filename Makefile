# Everything runs in .venv, made here. Needs make, and python3 of any age to bootstrap uv when uv is not there.
.DEFAULT_GOAL := help
UV := $(shell command -v uv 2>/dev/null || echo .venv-uv/bin/uv)
RUN := .venv/bin/

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/installed: pyproject.toml constraints.txt .python-version Makefile
	@test -x "$(UV)" || { python3 -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; }
	@test -x .venv/bin/python || $(UV) venv --quiet .venv
	$(UV) pip install --quiet --python .venv/bin/python --constraint constraints.txt --group dev --editable .
	@touch $@

install: .venv/installed  ## make .venv with vtrial and its development tools

demo: install  ## check and run the main scenario, print the risks, write reports/starting_dose/
	$(RUN)vtrial check scenarios/starting_dose.yaml
	$(RUN)vtrial run scenarios/starting_dose.yaml -o reports/starting_dose

test: install  ## the default test suite
	$(RUN)python -m pytest -n 2

test-slow: install  ## the tests that take minutes
	$(RUN)python -m pytest -n 2 -m slow

test-browser: install  ## the page in a Chromium, which must be there (Debian: apt-get install chromium)
	$(RUN)python -m pytest -m browser

docs: install  ## the documentation site, docs/_build/index.html
	$(UV) pip install --quiet --python .venv/bin/python --constraint constraints.txt --group docs
	$(RUN)sphinx-build -W -E --keep-going -q docs docs/_build

bench: install  ## micro benchmarks; tests/bench/side_by_side.py compares engines
	$(RUN)python -m pytest tests/bench -m bench --benchmark-columns=median,min,iqr,rounds

lint: install  ## style and types
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)pyright

schema: install  ## write scenarios/schema.json again
	$(RUN)vtrial schema > scenarios/schema.json

.PHONY: help install demo test test-slow test-browser docs bench lint schema
