# The two commands to know: `make demo` and `make test`. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
BIN := .venv/bin
COMMAND := $(BIN)/audio-upload-aioz-stream

.PHONY: demo listen test check format snapshot bench clean

demo: .venv/demo
	$(COMMAND) upload samples/*.mp3 --sandbox --verify
	@echo "To hear it: make listen"

listen: .venv/demo
	$(COMMAND) upload samples/*.mp3 --sandbox --verify --stay

test: check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

snapshot: .venv/test
	$(BIN)/python tests/tool_snapshot.py

bench: .venv/test
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/picture.py

clean:
	rm -rf .venv

.venv/demo: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[sandbox]'
	@touch $@

.venv/test: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@
