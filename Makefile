# Everything runs in .venv, which is made on first use. Needs Python >= 3.11 and make.
PYTHON ?= python3
PYTEST_ARGS ?=
PYTEST_WORKERS ?= auto

BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

define CHECK_VERSION
import sys
found = "Separax needs Python 3.11 or newer; %s is Python %s." % (
    sys.executable, sys.version.split()[0])
sys.exit(None if sys.version_info >= (3, 11) else found + sys.argv[1])
endef
export CHECK_VERSION

.PHONY: help setup parity demo test lint format-check types pytest format tables clean
.DEFAULT_GOAL := help

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/.test ## Install the packages with everything that the tests need

parity: .venv/.parity ## Add PyTorch, for the tests that compare with it

demo: .venv/.runtime ## Solve an equation and print what came out
	@$(BIN)/python -m pinns.demo

# One stage after the other, whatever -j says: the first that fails ends the run.
test: .venv/.test ## Lint, check formatting and types, run the tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory format-check
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory pytest

lint: .venv/.test ## ruff check
	$(BIN)/ruff check .

format-check: .venv/.test ## ruff format, changing nothing
	$(BIN)/ruff format --check .

types: .venv/.test ## mypy
	$(BIN)/mypy

pytest: .venv/.test ## The tests alone; PYTEST_ARGS are handed on
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

format: .venv/.test ## Sort imports and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: .venv/.test ## Write the tables in README and docs from benchmarks/results
	$(BIN)/python -m benchmarks.tables

clean: ## Remove the environment, caches and outputs
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	rm -rf demo_output runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "Separax needs Python 3.11 or newer; there is no '$(PYTHON)'. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c "$$CHECK_VERSION" " Try: make PYTHON=/path/to/python3.11"
	"$(PYTHON)" -m venv .venv
	@$(BIN)/python -c "$$CHECK_VERSION" " Remove .venv and try again."
	@touch $@

.venv/.runtime: pyproject.toml constraints.txt | .venv/.created
	@echo "Installing Separax into .venv (some minutes the first time)"
	@$(PIP) -c constraints.txt -e .
	@touch $@

.venv/.test: pyproject.toml constraints.txt | .venv/.created
	@echo "Installing Separax and its test tools into .venv (some minutes the first time)"
	@$(PIP) -c constraints.txt -e ".[test]"
	@touch .venv/.runtime $@

.venv/.parity: pyproject.toml constraints.txt | .venv/.test
	@echo "Installing PyTorch into .venv for the tests that compare with it"
	@$(PIP) -c constraints.txt -e ".[parity]"
	@touch $@
