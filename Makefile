# Everything runs in .venv, which the first target that needs it makes.
#   make quickstart   set up, train the miniature on OpenMoji, show where the before/after picture is
#   make test         set up and run the tests
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
# Windows (Git Bash): BIN is .venv/Scripts
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
endif

.DEFAULT_GOAL := help
.PHONY: help quickstart sweep-demo demo test test-all lint notebooks format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  A Linux machine without GPU saves gigabytes with the CPU build of torch:"
	@echo "  make quickstart PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'"

.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[hub,wandb,demo,sweep,joblib,dev]'
	@touch $@

quickstart: .venv/installed ## train the miniature on OpenMoji, before and after as a picture
	$(BIN)/python train.py experiment=quickstart

sweep-demo: .venv/installed ## which rank, how long? 12 jobs on the miniature, and the report
	$(BIN)/python train.py experiment=sweep/demo

demo: .venv/installed ## draw, compare, cut out and pack in a browser
	$(BIN)/emote demo

test: .venv/installed ## the tests that take minutes
	$(BIN)/python -m pytest -n auto -m 'not slow'

test-all: .venv/installed ## the slow ones as well
	$(BIN)/python -m pytest -n auto

lint: .venv/installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: .venv/installed ## run the notebooks; inference draws with the newest run
	$(BIN)/emote notebooks execute=true

format: .venv/installed ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches, not the runs
	rm -rf .venv .cache/emote .pytest_cache .ruff_cache .mypy_cache *.egg-info
