# What a checkout needs, each in one command. All of it happens in .venv; nothing else on the machine is touched.
#
#   make up       install, and serve on http://127.0.0.1:8080
#   make test     install, and run the tests
#   make install  make .venv with penstock in it

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# A virtual environment does not survive being moved or copied, nor the removal of the Python that made it.
ifneq ($(shell head -3 $(BIN)/pip 2>/dev/null | grep -qF '$(CURDIR)/$(BIN)/python' && $(BIN)/python -c '' && echo sound),sound)
$(shell rm -f $(BIN)/.installed $(BIN)/.installed-dev)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up install dev test slow faults races lint format types shape check docs bench bench-long clean

help: ## Say what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

up: $(BIN)/.installed ## Install, and serve a real model on http://127.0.0.1:8080.
	@exec $(BIN)/penstock up

install: $(BIN)/.installed ## Make .venv with penstock in it.
	@echo "==> $(BIN)/penstock is installed"

dev: $(BIN)/.installed-dev ## The same, with what the tests need.

# Two at a time, in two parts. First what needs no server, file by file, as they come: the dear ones are not the last.
# Then whole servers, one at a time: what they promise of times would not hold among many. Beside them goes on what
# promises none, tests that share one name, of which xdist would run but one, and what clients expect.
BESIDE := tests/docs tests/edge/http/test_openapi.py tests/edge/http/test_openapi_admin.py $(addprefix tests/e2e/, \
	conformance access/test_capture.py access/test_secrets.py caches/test_semantic.py releases/test_mirrored.py \
	test_disk_full.py test_junk_bodies.py test_junk_deployment.py test_junk_requests.py test_prompts.py test_tls.py test_websocket.py)
TEST := $(BIN)/python -m pytest -m 'not slow'
# Set, each of a thousand processes would compile all of its code anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: dev ## Install, and run the tests.
	@echo "==> Running the tests"
	@$(TEST) -n 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,tests/e2e $(BESIDE)) tests
	@$(TEST) $(BESIDE) & beside=$$!; $(TEST) $(addprefix --ignore=,$(BESIDE)) tests/e2e; failed=$$?; \
	wait $$beside && exit $$failed

slow: dev ## Run the tests that take long.
	@exec $(BIN)/python -m pytest -m slow

faults: dev ## Try what takes long to fail: ten thousand requests through a bad hour, readers that stall.
	@exec $(BIN)/python -m pytest -s -m slow tests/e2e/faults tests/e2e/test_rolling_all.py

races: dev ## Try limits and budgets for more than a minute: 64 clients, killed workers, two gateways.
	@exec $(BIN)/python -m pytest -s tests/e2e/races

lint: dev ## Check style and form.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: dev ## Put the code in form.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: dev ## Check types, strictly.
	@$(BIN)/mypy

shape: dev ## Check the rules of the house.
	@$(BIN)/python -m pytest tests/shape

check: lint types shape test ## Everything that a change must pass.

docs: dev ## Write the reference pages from the code.
	@$(BIN)/python docs/generate.py

bench: dev ## Measure, side by side with peers.
	@exec $(BIN)/python -m benchmarks

bench-long: dev ## Measure what takes long: streams held for a minute, memory over a million requests.
	@$(BIN)/python -m benchmarks held
	@$(BIN)/python -m benchmarks held --over 0 --seconds 10
	@exec $(BIN)/python -m benchmarks memory

clean: ## Remove .venv and what tools have left.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(BIN)/.installed: pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "Penstock needs Python 3.11 or newer with its venv module, and there is none on the PATH." >&2; \
		echo "Install it, or say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi
	@if [ ! -e $@ ]; then \
		echo "==> Making $(VENV) with $$($(PYTHON) --version)"; \
		if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv --clear $(VENV); \
		else $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; fi; \
	fi
	@echo "==> Installing penstock into $(VENV)"
	@$(PIP) install --progress-bar on --editable .
	@touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	@echo "==> Installing what the tests need into $(VENV)"
	@$(PIP) install --progress-bar on --editable '.[s3,postgres,redis,parquet,gpu,semantic,dev]'
	@touch $@
