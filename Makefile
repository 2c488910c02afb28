# make demo    segments the sample CT into demo/ (no torch needed)
# make test    runs the tests;  make test-slow also those that take minutes
# make lint    checks format, style and types
# PYTHON=...   chooses the interpreter, PYTEST=... adds arguments, DEMO=... arguments of the demo

SHELL := /bin/bash
BIN := .venv/bin

.PHONY: demo test test-slow lint format clean

demo:
	@.ci/environment cpu,slicer
	@.ci/rendering
	@$(BIN)/hlfd demo --out demo $(DEMO)

test:
	@.ci/environment cpu,train,slicer,dev
	@.ci/rendering
	@$(BIN)/python -m pytest -q $(PYTEST)

test-slow:
	@.ci/environment cpu,train,slicer,dev
	@.ci/rendering
	@$(BIN)/python -m pytest -q -m "slow or not slow" $(PYTEST)

lint:
	@.ci/environment cpu,train,slicer,dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format:
	@.ci/environment cpu,train,slicer,dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache
