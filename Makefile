# Each target makes its own virtual environment; nothing but Python 3.10 or newer, with venv, is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
KEYFLEET ?= $(BIN)/keyfleet
JOBS ?= 2

.PHONY: demo test test-wheel lint reference build clean

demo: $(VENV)/installed  ## see it work: no API key, no server
	$(KEYFLEET) demo

test: $(VENV)/installed-dev lint  ## everything that must hold: lint, types, imports, and all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

reference: $(VENV)/installed-dev  ## the tables of docs/configuration.md, from the code
	$(BIN)/python -m docs.reference

build: $(VENV)/installed-dev  ## the wheel and the source archive, in dist/
	rm -rf dist
	$(BIN)/python -m build

test-wheel: build  ## the unit tests and whole runs against the wheel, as users install it
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-wheel/bin/python -m pip install --quiet --group dev dist/*.whl
	$(VENV)-wheel/bin/python -m pytest -n $(JOBS) --dist loadgroup tests/unit tests/integration/run

clean:
	rm -rf $(VENV) $(VENV)-wheel dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@
