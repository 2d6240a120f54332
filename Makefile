# Every target makes its own virtual environment if there is none and installs what it needs into it.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart reproduce test parity slow check format clean

quickstart: $(VENV)/.base
	$(BIN)/jaxreason weights fetch smollm2-135m
	$(BIN)/jaxreason evaluate configs/quickstart.yaml

reproduce: $(VENV)/.base
	$(BIN)/jaxreason reproduce

test: $(VENV)/.test
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

parity: $(VENV)/.parity
	$(BIN)/jaxreason weights fetch smollm2-135m
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m '' -o python_files='*_parity.py' -rP --no-header -q tests/parity

slow: $(VENV)/.test
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -m slow

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy jaxreason
	$(MAKE) test

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.test $(VENV)/.check $(VENV)/.parity: $(VENV)/.%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test,$*]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
