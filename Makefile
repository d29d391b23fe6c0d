PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(PYTHON) -m tools.install $(VENV)
AUDIOCRAFT := .venv-audiocraft
SPACE := .venv-space
APT := apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=20

.PHONY: demo test check browser javascript space benchmark kernels parity-audiocraft train-smoke requirements docs screenshots clean

demo: $(VENV)/demo.installed  ## Set everything up and serve the page on port 7860.
	$(BIN)/python app.py

test: check browser javascript space $(VENV)/training.installed  ## Set everything up; lint, types and all tests.
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A browser for the tests: Debian's without a window, else another on the PATH, else Playwright's.
browser: $(VENV)/dev.installed
	@command -v chromium-headless-shell >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && $(APT) -q update \
	     && $(APT) -qy install --no-install-recommends chromium-headless-shell; } \
	|| command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| $(BIN)/playwright install --only-shell chromium

# Gradio's client for JavaScript, for a test that skips without it.
JAVASCRIPT := tests/javascript
javascript: $(JAVASCRIPT)/node_modules/.package-lock.json

$(JAVASCRIPT)/node_modules/.package-lock.json: $(JAVASCRIPT)/package-lock.json
	@{ command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --prefix $(JAVASCRIPT); } \
	|| echo "No npm, or it found nothing: no program in JavaScript is tried."

# A Python as Spaces have it, with what the page needs where no music is made. A test starts there
# what `musicgen-space deploy` uploads, and skips without it.
space: $(SPACE)/installed

$(SPACE)/installed: requirements-hosted.txt $(VENV)/demo.installed
	@{ python=$$($(PYTHON) -m tools.pythons 3.12) && $$python -m venv $(SPACE) \
	   && PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTHON) -m tools.install $(SPACE) requirements-hosted.txt \
	   && touch $@; } || echo "No Python 3.12: no Space is tried."

benchmark: $(VENV)/demo.installed  ## Ours against transformers, on this machine.
	$(BIN)/python -m benchmarks.cpu

kernels: $(VENV)/dev.installed  ## Cross-compile the prebuilt native kernels.
	$(BIN)/python -m musicgen_space.engine.runtimes.native.build_prebuilt

parity-audiocraft: $(VENV)/dev.installed $(AUDIOCRAFT)/installed  ## AudioCraft itself against us.
	$(AUDIOCRAFT)/bin/python -W ignore tests/audiocraft/reference.py .cache/audiocraft
	$(BIN)/python -m tests.audiocraft.compare .cache/audiocraft --write docs/parity.md
	$(BIN)/python -m pytest tests/audiocraft/real_backend.py

train-smoke: $(VENV)/training.installed  ## Make a tiny checkpoint, stage by stage: runs/smoke.
	$(BIN)/python -m training run --preset smoke

requirements:  ## Write the requirements*.txt from pyproject.toml.
	$(PYTHON) -m tools.requirements

docs: $(VENV)/demo.installed  ## Write the pages of documentation that are made of the code.
	$(BIN)/python -m tools.docs

screenshots: $(VENV)/dev.installed browser  ## Make the pictures of the page in the documentation.
	$(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf $(VENV) $(AUDIOCRAFT) $(SPACE)

$(AUDIOCRAFT)/installed: $(wildcard tests/audiocraft/install.py tests/audiocraft/stand_ins/*/*.py)
	$(PYTHON) tests/audiocraft/install.py $(AUDIOCRAFT)
	@touch $@

# Of tinysoundfont not what it says it depends on: pyaudio needs a compiler and PortAudio's headers
# to install, and only plays sound.
$(VENV)/training.installed: requirements-training.txt $(VENV)/demo.installed
	$(INSTALL) requirements-training.txt
	@$(BIN)/pip install -q --no-deps "tinysoundfont>=0.3.7,<0.4" \
	|| echo "No tinysoundfont (ready-made for Python 3.11 and 3.12): no music is rendered, its tests skip."
	@touch $@

$(VENV)/dev.installed: requirements-dev.txt $(VENV)/demo.installed
	$(INSTALL) requirements-dev.txt
	@touch $@

$(VENV)/demo.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) requirements.txt
	$(BIN)/pip install -q --no-deps --editable .
	@touch $@
