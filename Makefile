PYTHON ?= python3
PORT ?= 8000
TESTS ?= tests
UV_VERSION := 0.13.9
BIN := .venv/bin
# A group of tests shares what takes long to start, and is for one worker.
PYTEST := .venv/bin/python -m pytest --dist loadgroup --numprocesses
EDITABLE := $(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
SDK := build/sdk
# Compiled modules are kept, whatever the shell says: without them a process of the service takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed ## Makes .venv with everything, from nothing

.venv/installed: .venv/made pyproject.toml requirements-dev.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements-dev.lock
	@$(EDITABLE)
	@touch .venv/running $@

# What running needs, and no more: a third of what developers need.
.venv/running: .venv/made pyproject.toml requirements.lock deploy/store.lock deploy/build.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes \
		-r requirements.lock -r deploy/store.lock -r deploy/build.lock
	@$(EDITABLE)
	@touch $@

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12, say"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

run: .venv/running ## Installs what running needs, then runs everything on this machine (HOST=0.0.0.0 lets phones in)
	@$(BIN)/tokenvend dev --port $(PORT) $(if $(filter command,$(firstword $(origin HOST))),--host $(HOST))

admin: .venv/running ## Makes an administrator of what `make run` runs (EMAIL=you@example.org)
	@test -n "$(EMAIL)" || { echo "Say whose: make admin EMAIL=you@example.org"; exit 2; }
	@TOKENVEND_ENVIRONMENT=development TOKENVEND_DATABASE_URL=sqlite:///var/tokenvend.db \
		$(BIN)/tokenvend admin create --email "$(EMAIL)"

clean: ## Removes all that make has made, and keeps var/: the accounts and pictures of `make run`
	@pid=$$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' var/running.json 2>/dev/null); \
		if [ -n "$$pid" ] && kill -0 "$$pid" 2>/dev/null; then \
			echo "The service runs as process $$pid, from what this would remove: stop it first, with Ctrl-C"; exit 1; \
		fi
	rm -rf .venv .checks .docs build dist *.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

test: install ## Tests every rule, on one database, in four minutes (TESTS=tests/auth for some)
	$(PYTEST) 3 --tier quick $(TESTS)

# The short bench runs beside the SDKs: it shows that it works, and nobody reads its figures.
test-all: test sdk build/kotlin/compiled docs ## And the rest: both databases, a browser, Ceph, Redis, faults, SDKs, the bench, the documents
	$(PYTEST) 3 --tier all --ignore=tests/chaos tests
	$(BIN)/python -m pytest --tier all --capture=no tests/chaos
	@$(BIN)/python -m tests.bench --quick & bench=$$!; \
		$(BIN)/python -m pytest --numprocesses 2 --dist loadscope -m "not long" tests/sdk; sdk=$$?; \
		wait $$bench && exit $$sdk

test-long: install ## What takes minutes each, into docs/test-long.md (LONG="storm bench" for some)
	$(BIN)/python -m tests.long $(LONG)

clients: install ## Drives each S3 client with vended credentials, and writes docs/app/clients.md (CLIENTS=rclone for some)
	$(BIN)/python -m tests.clients $(CLIENTS)

chaos: install ## Stops each part of a deployment under load (minutes; needs haproxy, PostgreSQL 15, Redis)
	$(BIN)/python -m pytest --tier long --capture=no tests/chaos

check: install ## Format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## Measures speed and size against floors taken in the same run (BASELINE=commit: and an earlier build)
	$(BIN)/python -m tests.bench

bench-large: install ## The queries of each phone's calls with 10,000,000 users (an hour, 25 GB)
	$(BIN)/python -m tests.bench many --many 10000000

storm: install ## Attacks the service from one address and from a hundred, beside an idle one (6 minutes)
	$(BIN)/python -m tests.storms.attacks

deploy-check: .checks/installed ## Checks what is in deploy/ with the tools of its trade
	deploy/checks/run

.checks/installed: deploy/checks/requirements.lock .venv/installed
	@$(PYTHON) -m venv .checks
	$(BIN)/uv pip install --python .checks/bin/python --quiet --require-hashes -r deploy/checks/requirements.lock
	@touch $@

wheel: install ## Builds the package that a machine without an image installs: dist/
	$(BIN)/python -m hatchling build -t wheel -d dist

audit: .checks/installed ## Asks PyPI for published weaknesses of what is locked (needs a network)
	.checks/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock $$($(BIN)/python -m deploy.advisories)

sbom: ## Lists what is installed, as CycloneDX: build/sbom.json
	@mkdir -p build
	$(PYTHON) deploy/sbom.py >build/sbom.json

format: install ## Formats and mends what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sdk: $(SDK)/made ## Generates clients for Kotlin, Swift, Dart, TypeScript and Python into build/sdk

$(SDK)/made: build/tools/installed $(shell find deploy/sdk -type f)
	@command -v java >/dev/null || { echo "Java 17 or newer is needed. On Debian and Ubuntu: apt install default-jre-headless"; exit 1; }
	PATH="$(CURDIR)/build/tools/bin:$(CURDIR)/build/node_modules/.bin:$$PATH" deploy/sdk/generate.sh $(SDK)
	@touch $@

sdk-test: install sdk build/kotlin/compiled ## Generates them, and uses each as far as this machine can
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope tests/sdk

# The client in Kotlin, and apps made of it with AWS's SDK.
build/kotlin/compiled: build/kotlin/client/compiled $(wildcard tests/sdk/kotlin/*.kt)
	tests/sdk/kotlin/compile build/kotlin apps
	@touch $@

build/kotlin/client/compiled: build/kotlin/fetched $(SDK)/made tests/sdk/kotlin/compile
	tests/sdk/kotlin/compile build/kotlin client $(SDK)/kotlin
	@touch $@

build/kotlin/fetched: tests/sdk/kotlin/pom.xml tests/sdk/kotlin/jars.sha256
	@command -v mvn >/dev/null || { echo "Maven is needed. On Debian and Ubuntu: apt install maven"; exit 1; }
	mvn --batch-mode --quiet --file $< -Dfolder=$(CURDIR)/build/kotlin initialize
	@cd build/kotlin && sha256sum --check --quiet --strict $(CURDIR)/tests/sdk/kotlin/jars.sha256
	@touch $@

build/tools/installed: .venv/installed requirements-sdk.lock deploy/sdk/package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 or newer is needed, with npm"; exit 1; }
	@$(PYTHON) -m venv build/tools
	$(BIN)/uv pip install --python build/tools/bin/python --quiet --require-hashes -r requirements-sdk.lock
	@cp deploy/sdk/package.json deploy/sdk/package-lock.json deploy/sdk/.npmrc build/
	npm ci --silent --prefix build
	@touch $@

openapi: install ## Renews deploy/sdk/openapi.json, which clients are generated from
	$(BIN)/tokenvend openapi deploy/sdk/openapi.json

docs: .docs/installed ## Builds the site of the documents, with search: build/docs
	.docs/bin/sphinx-build -q -W --keep-going -b html -c docs -d build/docs-read . build/docs

docs-serve: docs ## Builds the site and serves it on this machine
	@echo "http://127.0.0.1:$(PORT)"
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)

.docs/installed: docs/requirements.lock .venv/installed
	@$(PYTHON) -m venv .docs
	$(BIN)/uv pip install --python .docs/bin/python --quiet --require-hashes -r docs/requirements.lock
	@touch $@

docs-reference: install ## Writes the tables of docs/reference from the code
	$(BIN)/python -m deploy.reference

release: install .docs/installed ## Cuts a version (VERSION=0.2.0): its number, its changelog, the document that clients are compared with
	@echo "$(VERSION)" | grep -Eqx '[0-9]+\.[0-9]+\.[0-9]+' || { echo "Say which: make release VERSION=0.2.0"; exit 2; }
	sed -i.before 's/^version = ".*"/version = "$(VERSION)"/' pyproject.toml
	sed -i.before 's/"version": ".*"/"version": "$(VERSION)"/' deploy/sdk/typescript/package.json
	@rm pyproject.toml.before deploy/sdk/typescript/package.json.before
	@$(EDITABLE)
	$(BIN)/tokenvend openapi deploy/sdk/openapi.json
	cp deploy/sdk/openapi.json deploy/sdk/released.json
	.docs/bin/towncrier build --yes --version $(VERSION)

lock: install ## Renews the locks from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --extra redis --extra otel --extra saml \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --extra dev \
		--constraints requirements.lock --custom-compile-command "make lock" pyproject.toml \
		--output-file requirements-dev.lock
	for part in build store; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
			--constraints requirements-dev.lock --custom-compile-command "make lock" deploy/$$part.in \
			--output-file deploy/$$part.lock || exit 1; \
	done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" deploy/checks/requirements.in --output-file deploy/checks/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" docs/requirements.in --output-file docs/requirements.lock
	for lock in tests/clients/python/*.in; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
			--custom-compile-command "make lock" $$lock --output-file $${lock%.in}.lock || exit 1; \
	done
	for name in django:3.12 libraries:3.11; do \
		lock=tests/systems/python/$${name%:*}; \
		$(BIN)/uv pip compile --quiet --universal --python-version $${name#*:} --generate-hashes --upgrade \
			--custom-compile-command "make lock" $$lock.in --output-file $$lock.lock || exit 1; \
	done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --group sdk \
		--custom-compile-command "make lock" --output-file requirements-sdk.lock

.PHONY: help install run admin clean test test-all test-long chaos check bench bench-large storm format lock deploy-check wheel audit sbom openapi sdk sdk-test docs docs-serve docs-reference release
