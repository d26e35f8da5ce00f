# One target a habit. A second run installs nothing.
TORCH_SPEC ?= torch==2.13.0
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test lint types imports clean

.venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q "$(TORCH_SPEC)"
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

imports: .venv/dev
	$(BIN)/lint-imports

test: lint types imports
	$(BIN)/pytest -q -m "not gpu"

clean:
	rm -rf .venv build *.egg-info
