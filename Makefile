# The verbs of this repository; each does all the set-up it needs.
.PHONY: help index setup demo test search check format docs bench soak services services-stop clean lock surface protos
.DEFAULT_GOAL := help

PY := .venv/bin/python

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 15

setup:  ## prepare .venv with everything for development
	@scripts/setup dev

demo:  ## the main job: a shop dying of leaked tasks, the same shop living, and the line that leaks
	@scripts/setup demo
	@$(PY) -m backstay lab compare leaky-checkout --out out

test: setup  ## the whole test suite on this Python
	@scripts/run-suite .venv

search: setup  ## look for new counter-examples: the property tests with fresh examples, ROUNDS times (3)
	@scripts/search-examples $(ROUNDS)

check: setup  ## lint, formatting, layers, types, docstrings, API surface
	@scripts/check

format: setup  ## let the formatter have its way
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .

docs: setup  ## links, reachability and every runnable snippet of the documentation
	@$(PY) -m pytest -q tests/contracts/test_docs.py

bench: setup  ## every promise in benchmarks/, gated by its budget
	@$(PY) -m benchmarks

soak:  ## ten minutes of the shop at 60 % of its knee, with faults that come and go
	@scripts/setup demo
	@$(PY) -m backstay lab soak soak --out out

services:  ## start the real servers of the optional tiers; .services/addresses.env says where they are
	@scripts/services start

services-stop:  ## stop them, and leave nothing behind
	@scripts/services stop

lock: setup  ## regenerate the locks after editing requirements/*.in
	@scripts/lock

index: setup  ## regenerate docs/README.md after adding a page
	@$(PY) scripts/docs_index.py

surface: setup  ## regenerate api-surface.txt after a deliberate change of the public API
	@$(PY) scripts/api_surface.py --write

protos: setup  ## regenerate the gRPC code of the shop
	@scripts/regenerate-protos

clean:  ## remove what set-up, demo and tests have made
	@scripts/services stop >/dev/null 2>&1 || true
	@rm -rf .services .venv .venv-* out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f src/backstay/_accel*.so src/backstay/_accel*.pyd
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
