# Everything runs in .venv, which the first target that needs it makes.
#   make quickstart   set up, train the miniature on OpenMoji, show where the before/after picture is
#   make test         set up and run the tests
PYTHON ?= python3
# options of pip for the installation, such as --extra-index-url; what pip is configured with counts without them
PIP_ARGS ?=
export PIP_ARGS
# containers often set this; without cached bytecode every process compiles torch and its like anew, for some 20 s
export PYTHONDONTWRITEBYTECODE :=
BIN := .venv/bin
# Windows (Git Bash): BIN is .venv/Scripts
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
endif

.DEFAULT_GOAL := help
.PHONY: help quickstart sweep-demo demo test test-all test-floors lint notebooks format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# constraints.txt names releases that need Python 3.11
.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@pinned=$$($(BIN)/python -c 'import sys; print("--constraint constraints.txt" * (sys.version_info >= (3, 11)))'); \
	$(BIN)/python scripts/install.py $$pinned --editable '.[hub,wandb,demo,sweep,joblib,dev]'
	@touch $@

# the lowest releases that pyproject.toml allows of the libraries that change most, and torch as everywhere
FLOOR_PACKAGES := diffusers|transformers|peft|pytorch-lightning|hydra-core
FLOORS := .venv/floors/$(notdir $(BIN))

.venv/floors/installed: .venv/installed
	@test -x $(FLOORS)/python || $(BIN)/python -m venv .venv/floors
	@sed -nE 's/^ *"($(FLOOR_PACKAGES))>=([0-9.]+).*/\1==\2/p' pyproject.toml > .venv/floors/floors.txt
	@grep -vE '^($(FLOOR_PACKAGES)|huggingface-hub|tokenizers)==' constraints.txt > .venv/floors/constraints.txt
	$(FLOORS)/python scripts/install.py --constraint .venv/floors/constraints.txt --requirement .venv/floors/floors.txt \
	  --editable . pytest pytest-xdist
	@touch $@

# adapter files load in an older diffusers than we draw with
.venv/diffusers-0.34/installed: .venv/floors/installed
	@test -x $(@D)/$(notdir $(BIN))/python || $(BIN)/python -m venv $(@D)
	$(@D)/$(notdir $(BIN))/python scripts/install.py --constraint .venv/floors/constraints.txt \
	  diffusers==0.34.0 transformers==4.57.1 peft==0.17.0 torch
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

# adapters, training and drawing
FLOOR_TESTS := tests/lora tests/models tests/diffusion tests/inference tests/test_mini.py \
  $(addprefix tests/training/test_,micro_batch.py module.py precision.py run.py samples.py v_prediction.py warm_start.py)

test-floors: .venv/diffusers-0.34/installed ## the oldest diffusers, transformers, peft, Lightning, Hydra that will do
	OLDER_DIFFUSERS=.venv/diffusers-0.34/$(notdir $(BIN))/python \
	  $(FLOORS)/python -m pytest -n auto -m 'not slow' $(FLOOR_TESTS)

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
