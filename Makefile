# The README's two commands, and the few that a contributor needs. `make` alone lists them.
#
# The virtual environment is built once and again whenever pyproject.toml changes. Its two stamps are written
# last, so an installation that was interrupted is taken up again. Plain sh, and nothing newer than GNU make 3.81.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# How many at a time: see tests/conftest.py.
TEST_JOBS ?= -n auto --maxprocesses 8 --dist worksteal

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help demo test lint types build clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/installed ## two synthetic cameras through the whole pipeline, with its own Redis (ARGS="--help" for more)
	$(BIN)/kinestream demo $(ARGS)

test: $(VENV)/installed-dev ## run the tests (ARGS="-k name" for some of them)
	$(BIN)/python -m pytest $(TEST_JOBS) $(ARGS)

lint: $(VENV)/installed-dev ## check style and formatting with ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed-dev ## check types with mypy --strict
	$(BIN)/mypy

build: $(VENV)/installed-dev ## build the sdist, and from it the wheel, into dist/
	$(BIN)/python -m build

clean: ## remove what these targets made: environment, caches, dist/ (not kinestream-demo/, which is yours)
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/node/node_modules
	find common ingest workers consumers tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# What is missing in the system is said in one line, with what mends it, before anything is downloaded; the libraries
# that OpenCV loads can only be tried once it is there. A `.venv` that works is used as it is, whoever made it.
$(VENV)/installed: pyproject.toml
	@$(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && $(PIP) --version >/dev/null 2>&1 || { \
	  stop() { echo "$$*" >&2; exit 1; }; \
	  command -v $(PYTHON) >/dev/null || stop "$(PYTHON) is not here: apt install python3 python3-venv"; \
	  $(PYTHON) -c '$(NEW_ENOUGH)' || stop "Kinestream needs Python 3.11 or newer, $(PYTHON) is" \
	    "$$($(PYTHON) -V 2>&1): name a newer one, as in make PYTHON=python3.12 demo"; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    stop "$(PYTHON) cannot make virtual environments: apt install python3-venv"; \
	  clear=$$(test -e $(VENV)/pyvenv.cfg && echo --clear); \
  echo "$(PYTHON) -m venv $$clear $(VENV)"; $(PYTHON) -m venv $$clear $(VENV); }
	$(PIP) install -e '.[embedded]'
	@why=$$($(BIN)/python -c 'import cv2' 2>&1) || { \
	  echo "OpenCV does not load: apt install libgl1 libglib2.0-0 ($$(echo "$$why" | tail -n 1))" >&2; exit 1; }
	@touch $@

# The old pip that comes with Python 3.11 does not know dependency groups.
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install 'pip>=25.1'
	$(PIP) install -e '.[embedded]' --group dev
	@touch $@
