# The two commands to know: `make demo` and `make test`. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
BIN := .venv/bin
COMMAND := $(BIN)/audio-upload-aioz-stream

.PHONY: demo listen test test-apps screenshots check format bench clean

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

# The player in headless Chromium, played and heard.
test-apps: .cache/test-apps/ready
	$(BIN)/mypy server tests
	$(BIN)/pytest tests/apps

screenshots: .cache/test-apps/ready
	SCREENSHOTS=docs/player $(BIN)/pytest tests/apps -k every_state

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/test
	$(BIN)/python benchmarks/run.py

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

.cache/test-apps/ready: .venv/test tests/apps/prepare
	tests/apps/prepare $(BIN)/python .cache/test-apps
	@touch $@
