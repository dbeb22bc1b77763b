# Two commands do all the set-up: `make demo` and `make test`.
# PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench lock docs clean system

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock pyproject.toml scripts/make-venv
	@scripts/make-venv "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(STAMP) ## a Dockerfile, two architectures, our registry, real clients
	@scripts/system-packages demo
	@$(BIN)/python scripts/demo.py

test: $(STAMP) ## the whole suite, against real peers
	@scripts/system-packages test
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports > /dev/null || $(BIN)/lint-imports
	$(PYTEST) -n 2 --dist loadgroup

check: $(STAMP) ## the quick gate: format, lint, types, imports, fast tests
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports > /dev/null || $(BIN)/lint-imports
	$(PYTEST) -q -n 2 --hypothesis-profile=quick -m "not slow and not peer and not root"

format: $(STAMP) ## make it as the formatter wants it
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

bench: $(STAMP) ## measure against the peers, side by side; results in bench/results/
	@scripts/system-packages test
	$(BIN)/python -m bench

lock: $(STAMP) ## pin every dependency anew (no index address in the file)
	@scripts/lock "$(BIN)"

docs: $(STAMP) ## write the generated parts of the docs anew
	$(BIN)/python scripts/write_docs.py
	$(BIN)/python scripts/write_dashboard.py

system: ## install the system packages tests and demo use (root), or say how
	@scripts/system-packages test

clean: ## remove what was made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis var
