# The two commands to know: `make demo` and `make test`. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
BIN := .venv/bin
COMMAND := $(BIN)/audio-upload-aioz-stream

CLIENTS := .cache/clients

.PHONY: demo listen test test-clients test-apps screenshots bundle icon check format snapshot bench clean

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

# Hosts and clients as their users have them, each against the wheel, the bundle or the plugin; needs npm too.
test-clients: .venv/clients $(CLIENTS)/installed
	$(BIN)/python -m pytest -m clients tests/clients

bundle: $(CLIENTS)/installed
	mkdir -p dist
	PATH="$(CURDIR)/$(CLIENTS)/node/node_modules/node/bin:$$PATH" $(CLIENTS)/node_modules/.bin/mcpb pack . dist/audio-upload-aioz-stream.mcpb

icon:
	$(PYTHON) assets/draw_icon.py

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

.venv/clients: .venv/test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[clients]'
	@touch $@

# Node comes first: npm chooses the versions of the others by the Node that it runs on.
$(CLIENTS)/installed: tests/clients/package.json
	mkdir -p $(CLIENTS)
	cp $< $(CLIENTS)/package.json
	npm install --prefix $(CLIENTS)/node --no-save --no-package-lock --no-audit --no-fund node@24
	PATH="$(CURDIR)/$(CLIENTS)/node/node_modules/node/bin:$$PATH" npm install --prefix $(CLIENTS) --no-package-lock --no-audit --no-fund
	@touch $@

.cache/test-apps/ready: .venv/test tests/apps/prepare
	tests/apps/prepare $(BIN)/python .cache/test-apps
	@touch $@
