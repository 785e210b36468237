# `make demo` and `make test` need nothing but Python 3.11: each installs what is missing first.
SHELL := /bin/bash
FLAVOUR := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin
INSTALLED := .venv/.installed-$(FLAVOUR)
# Several processes share the cores; one thread each is fastest.
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test test-slow lint bench evidence pocket lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## make .venv with exact versions

$(INSTALLED): pyproject.toml requirements/$(FLAVOUR).txt scripts/install.sh
	scripts/install.sh $(FLAVOUR)
	@touch $@

demo: $(INSTALLED) ## learn to close a drawer from the ratings of a vision-language model, on this machine
	$(BIN)/likert run tune_configs/demo.yaml

test: $(INSTALLED) ## the tests
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

test-slow: $(INSTALLED) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout=3000

lint: $(INSTALLED) ## style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: $(INSTALLED) ## resolve pyproject.toml into requirements/ (needs uv)
	scripts/lock.sh

clean: ## remove the environment; runs and ratings stay
	rm -rf .venv build *.egg-info
