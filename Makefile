# Every verb does its own set-up, once: `make demo` in a fresh clone just works.

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
FOLDER ?= .
SIZE   ?= small
export FOLDER

BIN   := .venv/bin
READY := .venv/.ready
# Three workers for two cores: half of the time, tests wait for processes and leases.
TESTS := $(BIN)/python -m pytest -n 3 --dist worksteal
# Tests of what is written, not of what it does, belong to `make check`.
WRITTEN := tests/typing $(addprefix tests/project/test_,$(addsuffix .py,circles files glossary main_path names sizes words))

.PHONY: help setup demo test test-all values check format images bench soak clean

help:
	@echo "make demo      report on a folder:  make demo FOLDER=/some/folder"
	@echo "make test      the tests, in about ten minutes"
	@echo "make test-all  the same, at length"
	@echo "make values    the tests of values, with the lowest and the newest pydantic"
	@echo "make check     format, lint, types, layers, sizes, words"
	@echo "make format    write the format that check wants"
	@echo "make images    take the pictures of the pages again (needs chromium)"
	@echo "make bench     measure against the floor"
	@echo "make soak      inject every fault, at SIZE=small, normal or large"
	@echo "make setup     only prepare .venv      make clean  remove what was made"
	@echo "Choose an interpreter with PYTHON=python3.12 (before the first set-up, or after a clean)."

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "gorkflow needs Python 3.11 or newer; there is no $(PYTHON)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gorkflow needs Python 3.11 or newer, but %s is %s; say which to use: make PYTHON=/path/to/python3.11" % (sys.executable, sys.version.split()[0]))'
	@echo "Setting up .venv with $$($(PYTHON) --version) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python examples/folder_report.py "$$FOLDER"

test: $(READY)
	$(TESTS) $(addprefix --ignore=,$(WRITTEN))

test-all: $(READY)
	GORKFLOW_TEST_SIZE=full $(TESTS) --timeout 3600

values: $(READY)
	.ci/values $(BIN)/python

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src
	$(BIN)/basedpyright --pythonpath $(BIN)/python src
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 $(WRITTEN)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

images: $(READY)
	$(BIN)/python scripts/live_tree.py
	$(BIN)/python scripts/screenshots.py

bench: $(READY)
	$(BIN)/python bench/run.py

soak: $(READY)
	$(BIN)/python -m tests.faults.soak --size $(SIZE) --write

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
