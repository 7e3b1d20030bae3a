# Five verbs first: setup, fmt, check, test, demo. Everything a fresh Debian or Ubuntu machine needs, the targets bring.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY      := .venv/bin/python
STAMP   := .venv/.stamp
DEMO    := demo-output
HOME_DIR := $(DEMO)/home
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Unit tests run in a network namespace of their own: unix sockets work there, a stray connection does not.
NETLESS := $(SUDO) unshare -n --

VENDORS := digits reviews

# `make demo DEVICE=simulated` is one cell on a device of our own making, DEVICE=<UUID of an accelerator> on a real one.
DEVICE  :=
STANDIN := GPU-57a2d111-0000-4000-8000-000000000001

# `make soak SOAK="--only root --executions 1000"` soaks less.
SOAK    :=

# `make demo TASK=speech-to-text` is one of the ten tasks with its real model and data, downloaded by digest.
TASK    :=

.PHONY: help setup fmt check test test-all test-oracles soak bench bench-peers demo demo-runner proto docs images \
  images-frameworks images-vendors engine lock clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 19

$(STAMP): pyproject.toml requirements/dev.txt
	@.ci/prepare
	@echo "jouleseal: installing the locked Python packages into .venv"
	@test -x $(PY) || python3 -m venv .venv
	@$(PY) -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

setup: $(STAMP) ## Install system and Python packages into .venv

engine: ## Start a Docker engine where none answers (a running one is left alone)
	@.ci/engine up

images: $(STAMP) engine ## Build the base, reference and test images, with no registry
	@$(SUDO) $(PY) reference_containers/build.py
	@$(SUDO) $(PY) reference_containers/build.py runner

images-frameworks: $(STAMP) engine ## Build the same network in four frameworks (about 700 MB of downloads)
	@$(SUDO) $(PY) reference_containers/build.py frameworks

images-vendors: images ## Build the reference vendors whose models are downloaded, too (about 300 MB)
	@$(SUDO) $(PY) reference_containers/build.py vendors

fmt: $(STAMP) ## Format
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

check: $(STAMP) ## Lint, types, import contracts, and everything generated against its source
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/buf lint
	@$(PY) -m protocol.wire.generate --check
	@$(PY) -m orchestrator.launch.seccomp --check
	@$(PY) -m orchestrator.launch.page --check
	@$(PY) -m orchestrator.conformance.page --check
	@$(PY) docs/generate.py --check
	@$(PY) -m tests.golden.vectors --check

test: $(STAMP) images ## All tests but the slow ones, with the real engine
	@$(NETLESS) $(PY) -m pytest -n auto -m "not slow" tests/unit
	@$(PY) -m pytest -m "not slow" tests/packages
	@$(SUDO) $(PY) -m pytest -m "not slow" tests/engine

test-all: $(STAMP) images images-frameworks ## All tests, the slow ones too
	@$(NETLESS) $(PY) -m pytest -n auto tests/unit
	@.ci/prepare data
	@$(PY) -m pytest -n auto tests/packages
	@$(SUDO) $(PY) -m pytest tests/engine

test-oracles: $(STAMP) ## Ask other people's verifiers (brings them into build/oracles)
	@$(PY) -m tests.oracles
	@$(PY) -m pytest tests/oracles

soak: $(STAMP) ## A million executions of every parser of untrusted bytes; writes docs/soak.md
	@test -e build/soak-site/atheris || $(PY) -m pip install --quiet --require-hashes --target build/soak-site -r requirements/soak.txt
	@PYTHONPATH=build/soak-site $(PY) -m tests.soak --write $(SOAK)

proto: $(STAMP) ## Generate the wire code, its page and its golden descriptor
	@$(PY) -m protocol.wire.generate

docs: $(STAMP) ## Generate the pages that are made from the code
	@$(PY) -m orchestrator.launch.seccomp
	@$(PY) -m orchestrator.launch.page
	@$(PY) -m orchestrator.conformance.page
	@$(PY) docs/generate.py

ifneq ($(TASK),)
demo: $(STAMP) images
	@$(SUDO) .ci/demo-task $(TASK) $(DEMO)/$(TASK)
else ifeq ($(DEVICE),)
demo: $(STAMP) images ## Measure both reference vendors whole, sign, verify (about five minutes)
	@mkdir -p $(DEMO)
	@test -e $(HOME_DIR)/trust/root.json || $(SUDO) .venv/bin/jouleseal init --home $(HOME_DIR)
	@$(SUDO) .venv/bin/jouleseal doctor --home $(HOME_DIR)
	@$(SUDO) .venv/bin/jouleseal run --home $(HOME_DIR) --out $(DEMO) \
	  $(foreach v,$(VENDORS),reference_containers/$(v)/submission.yaml)
	@.venv/bin/jouleseal label $(DEMO)/bundle.tar --campaign 1 --out $(DEMO)/label.svg
	@.venv/bin/jouleseal label $(DEMO)/bundle.tar --campaign 2 --out $(DEMO)/label-2.svg
	@.venv/bin/jouleseal report $(DEMO)/bundle.tar --campaign 1 --out $(DEMO)/report
	@.venv/bin/jouleseal report $(DEMO)/bundle.tar --campaign 2 --out $(DEMO)/report-2
	@.venv/bin/jouleseal-verify $(DEMO)/bundle.tar --root $(DEMO)/root.json
else ifeq ($(DEVICE),simulated)
demo: $(STAMP) images
	@$(SUDO) $(PY) -m tests.standin -- .ci/demo-device $(STANDIN) $(DEMO)/simulated
else
demo: $(STAMP) images
	@$(SUDO) .ci/demo-device $(DEVICE) $(DEMO)/$(DEVICE)
endif

demo-runner: $(STAMP) images ## The same demo, from the image of Dockerfile.runner
	@$(SUDO) .ci/demo-runner $(DEMO)/runner

bench: $(STAMP) images ## Print the tables of docs/benchmarks.md, measured here in one run
	@$(SUDO) $(PY) benchmarks/run.py

bench-peers: $(STAMP) ## Measure our meter beside its peers and write docs/benchmarks-peers.md (installs them into build/)
	@$(SUDO) $(PY) -m benchmarks.peers --write

lock: ## Renew the locked packages (needs uv and npm)
	@mkdir -p requirements
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements/dev.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links requirements/oracles.in -o requirements/oracles.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links requirements/soak.in -o requirements/soak.txt
	@cd tests/oracles && npm install --package-lock-only --omit-lockfile-registry-resolved --silent --no-audit --no-fund

clean: ## Remove what the targets made, but not the images
	@rm -rf .venv $(DEMO) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
