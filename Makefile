# `make demo` and `make test` need nothing but Python 3.11: each installs what is missing first.
SHELL := /bin/bash
FLAVOUR := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin
INSTALLED := .venv/.installed-$(FLAVOUR)
# Several processes share the cores; one thread each is fastest.
export OMP_NUM_THREADS ?= 1
# Packages are installed without bytecode; if no process may keep it either, each compiles torch, Ray and vLLM anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo demo-offline evidence-offline evidence-paper evidence-worlds test test-slow test-cluster lint bench evidence pocket lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(INSTALLED) ## make .venv with exact versions

$(INSTALLED): pyproject.toml requirements/$(FLAVOUR).txt scripts/install.sh
	scripts/install.sh $(FLAVOUR)
	@touch $@

demo: $(INSTALLED) ## learn to close a drawer from the ratings of a vision-language model, on this machine
	$(BIN)/likert run tune_configs/demo.yaml

demo-offline: $(INSTALLED) ## score recorded trajectories with a vision-language model, learn from that by IQL, compare
	scripts/offline.sh demo_offline report/demo_offline \
	  num_episodes=400 'chain_lengths=[1,2,3]' 'babyai={subtasks: [goto, pickup]}'

evidence: $(INSTALLED) ## seeds 0, 1, 2 of two tasks with controls; tables and figures into docs/evidence (about 2 hours)
	scripts/evidence.sh tune_configs/demo.yaml docs/evidence/drawer_close
	scripts/evidence.sh tune_configs/button_press.yaml docs/evidence/button_press

evidence-worlds: $(INSTALLED) ## seeds 0, 1, 2 of a world with instructions and of one seen as pictures, with controls (2.5 hours)
	scripts/evidence.sh tune_configs/evidence_worlds/babyai_goto.yaml docs/evidence/babyai_goto babyai 8431
	scripts/evidence.sh tune_configs/evidence_worlds/pendulum_pixels.yaml docs/evidence/pendulum_pixels pendulum 8432

evidence-paper: $(INSTALLED) ## the paper's comparison of rewards on its three tasks, 63 runs; into docs/evidence/paper (about 5 hours)
	scripts/evidence_paper.sh

evidence-offline: $(INSTALLED) ## five seeds, forms of reward, right and wrong scores; tables and figures into docs/evidence (hours)
	scripts/offline.sh evidence_detours docs/evidence/detours \
	  num_episodes=2000 'chain_lengths=[1,2,3]' 'babyai={subtasks: [goto, pickup]}' \
	  'detours={probability: 0.9, failing_share: 0.1}'

pocket: $(INSTALLED) ## train the pocket rater anew (about 40 minutes)
	$(BIN)/likert pocket train

bench: $(INSTALLED) ## the benchmarks; each prints a ratio
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

test: $(INSTALLED) ## the tests
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout=3000 -n 2 --dist loadfile --no-loadscope-reorder

test-cluster: $(INSTALLED) ## a real `ray up` and a machine that crashes, between network namespaces (root; 15 minutes)
	$(BIN)/python -m tests.cluster

lint: $(INSTALLED) ## style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: $(INSTALLED) ## resolve pyproject.toml into requirements/ (needs uv)
	scripts/lock.sh

clean: ## remove the environment; runs and ratings stay
	rm -rf .venv build *.egg-info
