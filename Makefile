# The maintainers' verbs, and the two of a newcomer: quickstart and test.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

# Beside this checkout: a project inside it would be part of it.
DEST ?= ../my-model
FLAVOUR ?= laptop
ARGS ?=
VERSION ?=
# Clones and reports of a fleet.
WORKSPACE ?= ../fleet
# A checkout of the branch `examples`.
EXAMPLES ?=
RESULTS ?= results.xml

# uv, wherever it is; without one it is fetched from the package index into .uv/.
export UV ?= $(or $(shell command -v uv),$(CURDIR)/.uv/bin/uv)
# uv finds the parts of its environment out for itself.
unexport VIRTUAL_ENV
RUN := "$(UV)" run --no-sync --quiet
# What is shown and written is UTF-8, whatever the locale.
export PYTHONUTF8 := 1
# From the environment, so that no shell reads what stands in them.
export DEST FLAVOUR VERSION WORKSPACE EXAMPLES RESULTS

##@ Try it

.PHONY: quickstart
quickstart: environment ## Generate a project where DEST= says, train a model and ask it
	@$(RUN) python -m scripts.quickstart

.PHONY: test
test: environment ## Run every test, as CI does (ARGS= for pytest)
	@$(RUN) pytest -n auto --dist loadgroup $(ARGS)

##@ Change it

.PHONY: help
help: ## Show the verbs
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-zA-Z_-]+:.*## / {printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

.PHONY: render
render: environment ## Generate FLAVOUR= from the working tree, where DEST= says
	@$(RUN) python -m scripts.render

.PHONY: check
check: environment ## Check style and types
	@$(RUN) ruff check --quiet . && $(RUN) ruff format --check --quiet . && $(RUN) mypy

.PHONY: test-fast
test-fast: environment ## Run the tests that need no project's environment, in under a minute
	@$(RUN) pytest -n auto --dist loadgroup -m "not project and not updates and not terraform and not actions" $(ARGS)

.PHONY: test-workshop
test-workshop: environment ## Solve the workshop's labs in generated projects; where an engine is, in containers too
	@$(RUN) pytest -n auto --dist loadgroup -m workshop $(ARGS)

.PHONY: newcomer
newcomer: environment ## Walk a newcomer's path, quickstart, labs 1 to 9, an update, and show how long it takes
	@$(RUN) pytest -q -n 0 tests/test_workshop.py -k "test_labs and laptop" $(ARGS)

.PHONY: format
format: environment ## Format the code, and mend what can be mended
	@$(RUN) ruff check --fix --quiet . ; $(RUN) ruff format --quiet .

.PHONY: reference
reference: $(UV) ## Write docs/reference anew, from the questions
	@$(RUN) python -m scripts.reference

.PHONY: docs
docs: environment ## Build the documentation as a site, with a project of each flavour to browse
	@$(RUN) python -m scripts.site

.PHONY: proof
proof: environment ## Show what a run of the tests says of each claim (RESULTS=, made by ARGS=--junitxml=)
	@$(RUN) python -m scripts.proof

.PHONY: drift-table
drift-table: environment ## Simulate how often drift is alarmed and found, and write docs/reference/drift.md
	@$(RUN) python -m scripts.drift_table

.PHONY: updates
updates: environment ## Update every release with every edit of the corpus, and write what came of it
	@$(RUN) python -m scripts.updates

.PHONY: fleet-demo
fleet-demo: environment ## Update N=50 projects of the oldest release, with SEED='s edits, and count what came of it
	@env -u PYTHONDONTWRITEBYTECODE $(RUN) python -m scripts.fleet_demo

.PHONY: bench
bench: environment ## Measure what has a limit, each figure beside its floor (ARGS=--json)
	@env -u PYTHONDONTWRITEBYTECODE $(RUN) python -m scripts.bench $(ARGS)

.PHONY: examples
examples: environment ## Generate every flavour of a release, where DEST= says (VERSION=: the newest)
	@$(RUN) python -m scripts.examples

.PHONY: candidate
candidate: environment ## Update the newest release's example of FLAVOUR= to this checkout, and try it (EXAMPLES=)
	@$(RUN) python -m scripts.candidate

.PHONY: on-kind
on-kind: environment ## Install the components on a cluster of kind, and apply what FLAVOUR= generates
	@$(RUN) python -m scripts.on_kind

.PHONY: release
release: environment ## Release this commit as VERSION=
	@$(RUN) python -m scripts.release

##@ Keep projects current

.PHONY: fleet
fleet: environment ## Show the projects of PROJECTS=: release, edits, what an update would meet (TO= JSON=1)
	@$(RUN) python -m scripts.fleet status

.PHONY: fleet-update
fleet-update: environment ## Update them, a branch each (TO= PUSH=1 CHECKS=1 JSON=1)
	@$(RUN) python -m scripts.fleet update

# uv makes the environment as pyproject.toml says, which takes no time once it is so.
.PHONY: environment
environment:
	@command -v "$(UV)" > /dev/null || python3 -I template/tools/get_uv.py .uv
	@"$(UV)" sync --quiet || { \
		echo "✗ The tools could not be installed. Read the lines above: is the network there, and Python 3.11 or newer?" >&2; exit 1; }
